//! A request whose paths hold from anywhere: what the journal remembers is read by another process,
//! in another directory, on another day.

use std::path::{Path, PathBuf, absolute};

use super::{
    BitmapAction, ConvertForm, ConvertOptions, CreateOptions, ImageOptions, Relocation, Request,
    SnapshotAction,
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
        Request::Branch {
            base, new, image, ..
        } => {
            *base = path(base);
            *new = path(new);
            *image = image_options(image);
        }
        Request::Create(CreateOptions {
            path: new, image, ..
        }) => {
            *new = path(new);
            *image = image_options(image);
        }
        Request::CreateRaw { new, .. } => *new = path(new),
        Request::Convert(options) => {
            let ConvertOptions {
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
        Request::Commit {
            overlay,
            into,
            keep_old,
            ..
        } => {
            *overlay = path(overlay);
            *into = into.as_deref().map(path);
            *keep_old = keep_old.as_deref().map(path);
        }
        Request::Uncommit {
            old,
            layers,
            children,
            ..
        } => {
            *old = path(old);
            for layer in layers {
                *layer = path(layer);
            }
            for child in children {
                child.image = path(&child.image);
            }
        }
        Request::Squash { layer, .. } => *layer = path(layer),
        Request::Relink { image, base, .. } => {
            *image = path(image);
            *base = base.as_deref().map(path);
        }
        Request::Move { moves, .. } => {
            for Relocation { from, to, .. } in moves {
                *from = path(from);
                *to = path(to);
            }
        }
        Request::Snapshot { image, action } => {
            *image = path(image);
            match action {
                SnapshotAction::Extract { new, .. } => *new = path(new),
                SnapshotAction::Create { .. }
                | SnapshotAction::Apply { .. }
                | SnapshotAction::Delete { .. } => {}
            }
        }
        Request::Clone { image, new, .. } => {
            *image = path(image);
            *new = path(new);
        }
        Request::Export { image, dir } => {
            *image = path(image);
            *dir = path(dir);
        }
        Request::Import { dir, to } => {
            *dir = path(dir);
            *to = path(to);
        }
        Request::Rebase { image, to, .. } => {
            *image = path(image);
            *to = path(to);
        }
        Request::Flatten {
            image, onto, new, ..
        } => {
            *image = path(image);
            *onto = onto.as_deref().map(path);
            *new = new.as_deref().map(path);
        }
        Request::Unlink { image }
        | Request::Repair { image, .. }
        | Request::Resize { image, .. }
        | Request::KeySlot { image, .. }
        | Request::Amend { image, .. } => *image = path(image),
        Request::Bitmap { image, action, .. } => {
            *image = path(image);
            if let BitmapAction::Merge { from, .. } = action {
                *from = from.as_deref().map(path);
            }
        }
        Request::Discard { images, spare } => {
            for image in images.iter_mut().chain(spare) {
                *image = path(image);
            }
        }
        Request::RemoveLeftovers { files } => {
            for file in files {
                *file = path(file);
            }
        }
        Request::Undo { folders, .. } | Request::Redo { folders, .. } => {
            for folder in folders {
                *folder = path(folder);
            }
        }
        Request::Recover { .. } | Request::Restore { .. } | Request::EmptyTrash { .. } => {}
    }
    request
}
