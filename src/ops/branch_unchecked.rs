//! An overlay on an image that is not there yet, as `qemu-img create -u` makes it: nothing of the base can be
//! looked at, so that its format and the size are what the person says, and agreed to by number.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::host::{FileKind, printable};
use crate::image::Format;
use crate::units::size;

use super::framework::format::{command, name, shown};
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::{backing_name, new_file, new_image, resolve};
use super::{
    BackingStyle, CommandLine, EffectKind, ImageOptions, NoteKind, Plan, RefusalKind, Undo, create,
};

/// A new overlay on an image that is not there yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchUnchecked {
    /// Where the image to build on is going to be.
    pub base: PathBuf,
    /// Of which format it is going to be.
    pub format: Format,
    /// The file to create.
    pub new: PathBuf,
    /// Its virtual size in bytes.
    pub size: u64,
    /// How the backing name is recorded.
    pub style: BackingStyle,
    /// How it is made.
    pub image: ImageOptions,
}

impl Operation for BranchUnchecked {
    fn name(&self) -> &'static str {
        "create"
    }

    fn verb(&self) -> &'static str {
        "Create"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::CreatesImage(&self.new)
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.base));
        visit(Name::Path(&mut self.new));
        self.image.each_name(visit);
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        let line = CommandLine::new(&["create"])
            .path(&self.new)
            .plain(self.size)
            .option_path("--backing", Some(&self.base))
            .flag("--unchecked", true)
            .option("--backing-format", Some(self.format.name()))
            .flag("--absolute", self.style == BackingStyle::Absolute);
        Some(self.image.add_to(line))
    }

    fn plan(&self, plan: &mut Plan) {
        plan_unchecked(plan, self)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Content)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        half.finish_making(self.clone())
    }

    fn can_roll_back(&self) -> bool {
        true
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        half.unmake()
    }
}

/// Plans the overlay.
fn plan_unchecked(plan: &mut Plan, request: &BranchUnchecked) {
    let BranchUnchecked {
        base, format, new, ..
    } = request;
    plan.title = format!("Branch {} on {}, unchecked", name(new), name(base));
    if !is_a_name(format) {
        return plan.refuse(
            RefusalKind::Invalid,
            "the base's format is a word such as qcow2 or raw",
        );
    }
    match plan.host().stat_link(base) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            plan.preconditions.add_absent(base)
        }
        Ok(stat) if stat.kind == FileKind::Symlink && plan.host().stat(base).is_err() => {
            return plan.refuse(
                RefusalKind::Invalid,
                format!(
                    "{} is a link that leads nowhere: name the file that it is to lead to",
                    shown(base)
                ),
            );
        }
        Ok(_) => {
            return plan.refuse(
                RefusalKind::AlreadyExists,
                format!(
                    "{} is there, so it has to be looked at: make an overlay the usual way",
                    shown(base)
                ),
            );
        }
        Err(error) => return plan.refuse_for(resolve::unseen(base, &error)),
    }
    let recorded = match backing_name::to_missing(plan.host(), new, base, request.style) {
        Ok(recorded) => recorded,
        Err(reason) => return plan.refuse_for(reason),
    };
    let whole = new_file::whole_sectors(plan, request.size);
    let backing = Some((recorded.clone(), format.clone()));
    let Some(made) = new_image::check(plan, new, whole, backing, &request.image, 0) else {
        return;
    };
    let needed = made.len.image_blocks;
    plan.effect(
        EffectKind::Creates,
        new,
        Some(needed),
        format!(
            "{}, a disk of {}, built on {} ({}), which is not there",
            size(needed),
            size(whole),
            printable(&recorded),
            printable(format.name())
        ),
    );
    plan.effect(
        EffectKind::Breaks,
        new,
        None,
        format!(
            "cannot be opened before {} is there, and shows whatever that holds then",
            name(base)
        ),
    );
    plan.warn(NoteKind::Base, format!(
        "{} is not there, so that nobody can say whether it will be of format {} or how large: of another \
         format its bytes are taken for what they are not, and where it is longer the guest does not see its end",
        shown(base),
        printable(format.name())
    ));
    new_image::describe_data_file(plan, &made);
    new_image::describe_encryption(plan, &made);
    plan.undo = Undo::Possible(format!("discard {}", name(new)));
    let mut words = ["qemu-img", "create", "-u", "-f", "qcow2", "-F"]
        .map(Into::into)
        .to_vec();
    words.extend([format.name().into(), "-b".into(), recorded]);
    words.extend(new_image::qemu_secret(&made.options));
    if let Some(options) = new_image::qemu_options(&made.options) {
        words.extend(["-o".into(), options]);
    }
    words.extend([new.as_os_str().to_owned(), whole.to_string().into()]);
    plan.commands.push(command(&words));
    plan.job = Some(Arc::new(create::CreateJob {
        new: new.to_path_buf(),
        options: made.options,
    }));
}

/// Whether it can be the name of a format; which ones QEMU knows is its own matter.
fn is_a_name(format: &Format) -> bool {
    let name = format.name();
    let is_of_a_name =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.bytes().all(is_of_a_name)
}
