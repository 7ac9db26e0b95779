//! What can be done: one file an operation, each two functions with a value between them. `plan`
//! looks and changes nothing; its [`Plan`] says what will be read, written, created and removed,
//! who is affected and what is refused; `run` does exactly that. Every rule about what is safe
//! lives here; the faces only show plans and run them. What they all rest on is in `framework`.

mod amend;
mod annotate;
mod bitmap;
mod branch;
mod branch_unchecked;
mod check;
mod clone;
mod commit;
mod convert;
mod create;
mod create_raw;
mod demo;
mod despite_machines;
mod discard;
mod empty_trash;
mod export;
mod flatten;
mod framework;
mod garbage;
mod guest_files;
mod holders;
mod import;
mod insides;
mod inspect;
mod key_slot;
mod live;
mod machine;
mod move_images;
mod permit;
mod power;
mod protect;
mod prune;
mod reading;
mod rebase;
mod recover;
mod redefine;
mod redefining;
mod redo;
mod relink;
mod remove_leftovers;
mod repair;
mod reparent;
mod resize;
mod restore;
mod retention;
mod revert;
mod snapshot;
mod space;
mod squash;
mod transfer;
mod trim;
pub mod undo;

pub use amend::AmendImage;
pub use annotate::{Annotate, AnnotateSeveral};
pub use bitmap::{BitmapAction, ChangeBitmap};
pub use branch::Branch;
pub use branch_unchecked::BranchUnchecked;
pub use check::{chain_notices, check, check_each};
pub use clone::CloneImage;
pub use commit::active::ActiveCommit;
pub use commit::live::LiveCommit;
pub use commit::request::{Commit, CommittedLayer, Relinked, Siblings, Uncommit};
pub use convert::request::{Convert, ConvertForm};
pub use create::Create;
pub use create_raw::CreateRaw;
pub use demo::demo;
pub use despite_machines::DespiteMachines;
pub use discard::Discard;
pub use empty_trash::EmptyTrash;
pub use export::Export;
pub use flatten::Flatten;
pub use framework::backing_style::BackingStyle;
pub use framework::batch::plan_each;
pub use framework::command_line::CommandLine;
pub use framework::context::{Context, Looked, LookedIn};
pub use framework::copy_file::Reflink;
pub use framework::definition_change::{
    DefinitionChange, DomainDisk, Redefinition, Step, is_defined_by_service,
};
pub use framework::error::{Error, Report};
pub use framework::fixes::{command_lines, fixes, problem_json};
pub use framework::guest_files::{GuestFate, GuestFiles, NotLooked};
pub use framework::lifecycle::run;
pub use framework::nature::{Recovery, Relocation};
pub use framework::note::{Note, NoteKind};
pub use framework::options::{
    Compress, DataFileOption, Dependants, EncryptionOption, ImageOptions,
};
pub use framework::plan::{
    Confirm, Consent, Danger, Denied, Effect, EffectKind, Outcome, Plan, Ready, SpaceNeed, Undo,
};
pub use framework::progress::{Cancelled, Controls, Phase, Progress, ProgressView};
pub use framework::refusal::{Refusal, RefusalKind, WayOut};
pub use framework::remedy::Remedy;
pub use framework::request::Request;
pub use framework::resumed::moved_to;
pub use framework::text::{Line, Part, Tone, lines_of_each};
pub use framework::unlock::is_locked;
pub use framework::{journal, trash};
pub use garbage::{Garbage, GarbageReport, Need, NeedKind, NeededBase, Sweep, garbage};
pub use guest_files::{guest_files, look_inside};
pub use holders::holders_here;
pub use import::Import;
pub use insides::{InsideProgress, InsidesByPath, insides, kept_insides, known_insides};
pub use inspect::{Inspection, inspect};
pub use key_slot::{ChangeKeySlot, KeySlotAction};
pub use live::control::{Command as JobCommand, RunningJob, ask as ask_job, running_jobs};
pub use live::offer::plan;
pub use live::{LiveBranch, LiveFlatten, LiveMove, LiveOverlay};
pub use machine::{
    BranchMachine, CloneMachine, ClonedFiles, DISK, DiskBranch, DiskRevert, RemoveMachine,
    RevertMachine, TEMPLATE, Talks, TryImage,
};
pub use move_images::MoveImages;
pub use permit::{
    MissingPermission, PermissionChange, Permit, PermitAction, PermitScope, missing_permissions,
};
pub use power::{Power, PowerAction};
pub use protect::Protect;
pub use prune::{Candidate, candidates};
pub use reading::{ReadOptions, Reading, open_to_read};
pub use rebase::Rebase;
pub use recover::RecoverEntry;
pub use redefine::{Redefine, RedefineAction};
pub use redefining::Redefining;
pub use redo::RedoEntry;
pub use relink::request::{Link, PutBackLink, Relink, RelinkSeveral, Unlink};
pub use remove_leftovers::{Leftover, RemoveLeftovers, leftovers};
pub use repair::{RepairAction, RepairImage};
pub use resize::Resize;
pub use resize::new_size::NewSize;
pub use restore::Restore;
pub use retention::{Kept, Per, Retention};
pub use revert::Revert;
pub use snapshot::request::{ChangeSnapshot, ExtractAs, SnapshotAction, SnapshotName};
pub use space::{
    ImageSpace, LayerSpace, ReadSpace, Saving, SavingKind, SpaceCache, SpacePart, SpaceQuery,
    SpaceReport, bytes_to_read, space, space_of,
};
pub use squash::{Direction, Squash};
pub use transfer::{
    ChainSource, Described, Digest, PieceSink, Receive, Sending, Source, Span, Told,
};
pub use trim::Trim;
pub use undo::UndoEntry;
