//! The register of operations: one line each. What an operation is asked with and what it does stands in its
//! own file; what all of them answer is [`Operation`].

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::absolute;
use super::command_line::CommandLine;
use super::operation::Operation;

/// Something that a request names.
pub(in crate::ops) enum Name<'a> {
    /// A file or a directory.
    Path(&'a mut PathBuf),
    /// An entry of the trash.
    TrashEntry(&'a mut String),
    /// Entries of the trash; another number of them may take their place.
    TrashEntries(&'a mut Vec<String>),
    /// A connection of libvirt's.
    Connection(&'a mut String),
}

/// Makes the register: the enumeration of requests, and the way from each to its operation.
macro_rules! requests {
    ($($(#[$doc:meta])+ $variant:ident($operation:ident),)+) => {
        /// One thing asked, complete: planning it needs nothing else. Its serialised form is what journals hold.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Request {
            $($(#[$doc])+ $variant(crate::ops::$operation),)+
        }

        impl Request {
            /// What it asks for.
            pub(in crate::ops) fn operation(&self) -> &dyn Operation {
                match self {
                    $(Self::$variant(operation) => operation,)+
                }
            }

            fn operation_mut(&mut self) -> &mut dyn Operation {
                match self {
                    $(Self::$variant(operation) => operation,)+
                }
            }
        }

        $(impl From<crate::ops::$operation> for Request {
            fn from(operation: crate::ops::$operation) -> Self {
                Self::$variant(operation)
            }
        })+
    };
}

requests! {
    /// A new overlay `new` on `base`.
    Branch(Branch),
    /// A new overlay `new` on `base`, which is not there yet.
    BranchUnchecked(BranchUnchecked),
    /// A new image without a backing file.
    Create(Create),
    /// A new raw image.
    CreateRaw(CreateRaw),
    /// What an image shows, as a new image of another kind.
    Convert(Convert),
    /// Merge `overlay`, and all that is between, down into an image it is built on.
    Commit(Commit),
    /// Change what an image's header says about its backing file, and nothing else.
    Relink(Relink),
    /// Make an image one that is built on nothing, by its header alone: it receives nothing.
    Unlink(Unlink),
    /// Have an image's header name again what it named before a relink.
    PutBackLink(PutBackLink),
    /// Change what the headers of several images say about their backing files, all by one plan.
    RelinkSeveral(RelinkSeveral),
    /// Make the disk of an image longer or shorter.
    Resize(Resize),
    /// Build an image on another one, and keep what it shows: it receives what would show otherwise.
    Rebase(Rebase),
    /// Take one layer out of its chain; every other image shows what it showed.
    Squash(Squash),
    /// Give up what the filesystems inside an image call free.
    Trim(Trim),
    /// Take the layers between an image and one it is built on out of its chain: it receives what they
    /// hold.
    Flatten(Flatten),
    /// Give images another name or place; whatever refers to them follows.
    Move(MoveImages),
    /// Make an image of another version, refcount width or feature.
    Amend(AmendImage),
    /// Let nobody write an image, or give it a mode.
    Protect(Protect),
    /// Change who may do what with files, for the sake of a user.
    Permit(Permit),
    /// Change what is noted of an image.
    Annotate(Annotate),
    /// Change what is noted of several images.
    AnnotateSeveral(AnnotateSeveral),
    /// Have other passphrases open an image that is encrypted with LUKS.
    KeySlot(ChangeKeySlot),
    /// Do something with a dirty bitmap of an image.
    Bitmap(ChangeBitmap),
    /// Copy an image, file for file; the copy is built on the same base.
    Clone(CloneImage),
    /// Copy an image and all it is built on into a new folder that stands alone.
    Export(Export),
    /// Copy what an exported folder holds to where it is to live.
    Import(Import),
    /// Copy an image and all it is built on from where its files cannot be read.
    Receive(Receive),
    /// Do something with the internal snapshots of an image.
    Snapshot(ChangeSnapshot),
    /// Bring the tables of an image back in line with each other, or take that back.
    Repair(RepairImage),
    /// Move these images and everything built on them to the trash.
    Discard(Discard),
    /// Take back a commit that kept what its base showed: the layers come back, what was built on them is
    /// built on them again, and the base receives its old content.
    Uncommit(Uncommit),
    /// Have the guest of a machine that runs go on in new overlays.
    LiveBranch(LiveBranch),
    /// Have a machine that runs merge a layer that it only reads into an image below.
    LiveCommit(LiveCommit),
    /// Have a machine that runs merge the layer that it writes into an image below, and write that one.
    ActiveCommit(ActiveCommit),
    /// Have an image of a machine that runs take in what layers below it hold.
    LiveFlatten(LiveFlatten),
    /// Have the guest of a machine that runs go on in another file that shows the same.
    LiveMove(LiveMove),
    /// Bring entries back from the trash.
    Restore(Restore),
    /// Throw away what a leaf holds and start it anew under the same name, or take that back.
    Revert(Revert),
    /// Take back an operation of the journal.
    Undo(UndoEntry),
    /// Do again an operation of the journal that was taken back.
    Redo(RedoEntry),
    /// Bring an interrupted operation of the journal to an end.
    Recover(RecoverEntry),
    /// Unlink what was half made by processes that have ended.
    RemoveLeftovers(RemoveLeftovers),
    /// Unlink entries of the trash for good.
    EmptyTrash(EmptyTrash),
    /// Change what the definition of a machine says of one of its disks.
    Redefine(Redefine),
    /// Start a machine, or end it.
    Power(Power),
    /// Have disks of a machine be new overlays.
    BranchMachine(BranchMachine),
    /// Have all disks of a machine go on from layers they had before.
    RevertMachine(RevertMachine),
    /// Define another machine that has what a machine has.
    CloneMachine(CloneMachine),
    /// Undefine a machine that was made here, with the files that were made with it.
    RemoveMachine(RemoveMachine),
    /// Run a machine on an overlay that is thrown away.
    TryImage(TryImage),
    /// One of the others with the definitions of machines changed along.
    Redefining(Redefining),
    /// One of the others although it harms machines that are defined.
    DespiteMachines(DespiteMachines),
}

impl Request {
    /// The one new image it makes, if it makes one.
    #[must_use]
    pub fn creates(&self) -> Option<&Path> {
        self.operation().nature().image()
    }

    /// The word that asks for it at a command line, and by which people know it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.operation().name()
    }

    /// The word for doing it, as it stands on the button that says yes.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        self.operation().verb()
    }

    /// The command line that asks for exactly this; none where no command line does.
    #[must_use]
    pub fn command_line(&self) -> Option<CommandLine> {
        self.operation().command_line()
    }

    /// Whether it only adds files or changes nothing that can be read, so that no other image can be
    /// affected.
    #[must_use]
    pub fn only_adds(&self) -> bool {
        self.operation().nature().only_adds()
    }

    /// Whether it speaks of images, not of what the journal remembers.
    pub(in crate::ops) fn is_of_images(&self) -> bool {
        self.operation().nature().is_of_images()
    }

    /// Visits whatever it names that lies outside the request.
    pub(in crate::ops) fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        self.operation_mut().each_name(visit);
    }

    /// The files and directories that it names.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        self.clone().each_name(&mut |name| match name {
            Name::Path(path) => paths.push(path.clone()),
            Name::TrashEntry(_) | Name::TrashEntries(_) | Name::Connection(_) => {}
        });
        paths
    }

    /// The connections of libvirt's that it names.
    #[must_use]
    pub fn connections(&self) -> Vec<String> {
        let mut connections = Vec::new();
        self.clone().each_name(&mut |name| match name {
            Name::Connection(connection) => connections.push(connection.clone()),
            Name::Path(_) | Name::TrashEntry(_) | Name::TrashEntries(_) => {}
        });
        connections
    }

    /// The same with each of its connections changed; none where one of them cannot be.
    #[must_use]
    pub fn with_connections(
        mut self,
        change: &mut dyn FnMut(&str) -> Option<String>,
    ) -> Option<Self> {
        let mut are_all = true;
        self.each_name(&mut |name| match name {
            Name::Connection(connection) => match change(connection) {
                Some(changed) => *connection = changed,
                None => are_all = false,
            },
            Name::Path(_) | Name::TrashEntry(_) | Name::TrashEntries(_) => {}
        });
        are_all.then_some(self)
    }

    /// The same with each of its paths changed; none where one of them cannot be.
    #[must_use]
    pub fn with_paths(mut self, change: &mut dyn FnMut(&Path) -> Option<PathBuf>) -> Option<Self> {
        let mut are_all = true;
        self.each_name(&mut |name| match name {
            Name::Path(path) => match change(path) {
                Some(changed) => *path = changed,
                None => are_all = false,
            },
            Name::TrashEntry(_) | Name::TrashEntries(_) | Name::Connection(_) => {}
        });
        are_all.then_some(self)
    }

    /// The same with paths that hold from anywhere: what the journal remembers is read by another process, in
    /// another directory, on another day.
    pub(in crate::ops) fn absolute(mut self) -> Self {
        self.each_name(&mut |name| match name {
            Name::Path(path) => *path = absolute::path(path),
            Name::TrashEntry(_) | Name::TrashEntries(_) | Name::Connection(_) => {}
        });
        self
    }
}
