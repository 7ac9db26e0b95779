//! A request whose paths hold from anywhere: what the journal remembers is read by another process,
//! in another directory, on another day.

use std::path::{Path, PathBuf, absolute};

use super::{
    AmendImage, BitmapAction, Branch, ChangeBitmap, ChangeKeySlot, ChangeSnapshot, CloneImage,
    Commit, Convert, ConvertForm, Create, CreateRaw, Discard, Export, Flatten, ImageOptions,
    Import, MoveImages, Rebase, RedoEntry, Relink, Relocation, RemoveLeftovers, RepairImage,
    Request, Resize, SnapshotAction, Squash, Uncommit, UndoEntry, Unlink,
};

/// The path from the root of the file tree; one that cannot be made so (an empty one) stays as it is.
pub(super) fn path(path: &Path) -> PathBuf {
    absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

fn image_options(options: &ImageOptions) -> ImageOptions {
    let mut options = options.clone();
    if let Some(data) = &mut options.data_file {
        data.path = path(&data.path);
    }
    options
}

/// The same request, whatever the current directory is.
pub(super) fn request(request: &Request) -> Request {
    let mut request = request.clone();
    // Every kind is named, so that a new one is not forgotten.
    match &mut request {
        Request::BranchUnchecked(options) => {
            options.base = path(&options.base);
            options.new = path(&options.new);
            options.image = image_options(&options.image);
        }
        Request::Branch(Branch {
            base, new, image, ..
        }) => {
            *base = path(base);
            *new = path(new);
            *image = image_options(image);
        }
        Request::Create(Create {
            path: new, image, ..
        }) => {
            *new = path(new);
            *image = image_options(image);
        }
        Request::CreateRaw(CreateRaw { new, .. }) => *new = path(new),
        Request::Convert(options) => {
            let Convert {
                sources,
                new,
                form,
                backing,
                ..
            } = options.as_mut();
            for source in sources {
                *source = path(source);
            }
            *new = path(new);
            *backing = backing.as_deref().map(path);
            if let ConvertForm::Qcow2 { image, .. } = form {
                *image = image_options(image);
            }
        }
        Request::Commit(Commit {
            overlay,
            into,
            keep_old,
            ..
        }) => {
            *overlay = path(overlay);
            *into = into.as_deref().map(path);
            *keep_old = keep_old.as_deref().map(path);
        }
        Request::Uncommit(Uncommit {
            old,
            layers,
            children,
            ..
        }) => {
            *old = path(old);
            for layer in layers {
                *layer = path(layer);
            }
            for child in children {
                child.image = path(&child.image);
            }
        }
        Request::Squash(Squash { layer, .. }) => *layer = path(layer),
        Request::Relink(Relink { image, base, .. }) => {
            *image = path(image);
            *base = base.as_deref().map(path);
        }
        Request::Move(MoveImages { moves, .. }) => {
            for Relocation { from, to, .. } in moves {
                *from = path(from);
                *to = path(to);
            }
        }
        Request::Snapshot(ChangeSnapshot { image, action }) => {
            *image = path(image);
            match action {
                SnapshotAction::Extract { new, .. } => *new = path(new),
                SnapshotAction::Create { .. }
                | SnapshotAction::Apply { .. }
                | SnapshotAction::Delete { .. } => {}
            }
        }
        Request::Clone(CloneImage { image, new, .. }) => {
            *image = path(image);
            *new = path(new);
        }
        Request::Export(Export { image, dir }) => {
            *image = path(image);
            *dir = path(dir);
        }
        Request::Import(Import { dir, to }) => {
            *dir = path(dir);
            *to = path(to);
        }
        Request::Rebase(Rebase { image, to, .. }) => {
            *image = path(image);
            *to = path(to);
        }
        Request::Flatten(Flatten {
            image, onto, new, ..
        }) => {
            *image = path(image);
            *onto = onto.as_deref().map(path);
            *new = new.as_deref().map(path);
        }
        Request::Unlink(Unlink { image })
        | Request::Repair(RepairImage { image, .. })
        | Request::Resize(Resize { image, .. })
        | Request::KeySlot(ChangeKeySlot { image, .. })
        | Request::Amend(AmendImage { image, .. }) => *image = path(image),
        Request::Bitmap(ChangeBitmap { image, action, .. }) => {
            *image = path(image);
            if let BitmapAction::Merge { from, .. } = action {
                *from = from.as_deref().map(path);
            }
        }
        Request::Discard(Discard { images, spare }) => {
            for image in images.iter_mut().chain(spare) {
                *image = path(image);
            }
        }
        Request::RemoveLeftovers(RemoveLeftovers { files }) => {
            for file in files {
                *file = path(file);
            }
        }
        Request::Undo(UndoEntry { folders, .. }) | Request::Redo(RedoEntry { folders, .. }) => {
            for folder in folders {
                *folder = path(folder);
            }
        }
        Request::Recover(_) | Request::Restore(_) | Request::EmptyTrash(_) => {}
    }
    request
}
