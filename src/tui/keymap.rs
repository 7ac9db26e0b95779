//! One table of everything that can be done: name, group, keys, title. Key handling, the footer,
//! the key hints on frames, `?` help, the `:` palette and the README's table are all read from it.
//! What an action does is `update`'s business; when it makes sense is `reasons`'.

use std::borrow::Cow;

use super::key::{Code, Key};

/// What a key can mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// One row down.
    Down,
    /// One row up.
    Up,
    /// Fold, or to the parent.
    Left,
    /// Unfold, or to the first child.
    Right,
    /// To the parent.
    Parent,
    /// To the first row.
    Top,
    /// To the last row.
    Bottom,
    /// One screen up.
    PageUp,
    /// One screen down.
    PageDown,
    /// Half a screen up.
    HalfUp,
    /// Half a screen down.
    HalfDown,
    /// To the sibling before.
    PreviousSibling,
    /// To the sibling after.
    NextSibling,
    /// To the root before.
    PreviousRoot,
    /// To the root after.
    NextRoot,
    /// Into the next pane.
    NextPane,
    /// Into the pane before.
    PreviousPane,
    /// Into the images pane.
    Images,
    /// Shows what is known of the image.
    Info,
    /// Shows the image's chain.
    Chain,
    /// Shows the ranges the image has changed.
    Changes,
    /// Shows where its bytes are.
    Map,
    /// Shows what is wrong with the image.
    Health,
    /// Shows its internal snapshots.
    SnapshotList,
    /// Into the detail pane.
    Enter,
    /// One step back.
    Back,
    /// A larger images pane.
    Grow,
    /// A smaller images pane.
    Shrink,
    /// Into the jobs.
    Jobs,
    /// Tree or diagram.
    Diagram,
    /// Leaves the program.
    Quit,
    /// Filters the rows.
    Filter,
    /// To the next hit.
    NextHit,
    /// To the hit before.
    PreviousHit,
    /// Chooses the order.
    Sort,
    /// Folds all.
    FoldAll,
    /// Unfolds all.
    UnfoldAll,
    /// All, leaves only, problems only.
    View,
    /// Marks the row and moves down.
    Mark,
    /// Marks a range.
    MarkRange,
    /// Marks the image and all built on it.
    MarkSubtree,
    /// Clears all marks.
    ClearMarks,
    /// Copies a path or a chain.
    Copy,
    /// A new overlay.
    Branch,
    /// Merges a layer down.
    Commit,
    /// Moves images to the trash.
    Discard,
    /// Proposes what could be discarded.
    Prune,
    /// Shows the trash.
    Trash,
    /// Takes the last operation back.
    Undo,
    /// Do again what was taken back last.
    Redo,
    /// Brings to an end what was interrupted.
    Recover,
    /// What can be done with this image.
    Actions,
    /// All actions, by name.
    Palette,
    /// All keys.
    Help,
    /// Looks at the disk again.
    Rescan,
    /// Draws the screen anew.
    Redraw,
    /// Looks through the tables of images.
    Check,
    /// Looks through the tables of all images.
    CheckAll,
    /// Copies what an image shows into a new file.
    Flatten,
    /// Takes the layers below an image out of its chain.
    FlattenHere,
    /// Another name or folder.
    Move,
    /// A larger or smaller disk.
    Resize,
    /// A new empty image.
    NewImage,
    /// Mends what is wrong.
    Repair,
    /// Changes what an image is built on.
    Rebase,
    /// Takes, applies, deletes, copies out internal snapshots.
    Snapshots,
    /// Tells where two images differ.
    Compare,
    /// Tells how large a copy would be.
    Measure,
    /// A copy, file for file.
    Clone,
    /// What an image shows as an image of another kind.
    Convert,
    /// The whole chain as a folder.
    Export,
    /// What an exported folder holds.
    Import,
    /// Takes one layer out of its chain.
    Squash,
    /// Another version or feature.
    Amend,
    /// Adds, changes, erases key slots.
    KeySlots,
    /// Adds, clears, switches, merges, removes dirty bitmaps.
    Bitmaps,
    /// The log.
    Log,
    /// A shell where the image is.
    Shell,
    /// The person's own commands.
    Own,
    /// Listens to the mouse, or no longer.
    Mouse,
    /// Stops like any program on Ctrl-Z.
    Suspend,
    /// Tries a job again.
    RetryJob,
    /// Shows a job's part of the log.
    JobLog,
    /// Says yes to a plan.
    Confirm,
    /// Leaves a dialog.
    Close,
    /// Fires what has the focus.
    Fire,
    /// To the next field or button.
    NextField,
    /// To the field or button before.
    PreviousField,
    /// What happens to the committed layer, or where a squashed one goes.
    ToggleLayer,
    /// Commits into the next image below.
    Into,
    /// Puts aside what the base shows.
    KeepOld,
    /// Proves that no other image changes.
    Verify,
    /// Gives a passphrase.
    Unlock,
    /// Scrolls down.
    ScrollDown,
    /// Scrolls up.
    ScrollUp,
    /// A way out of a refusal; its number is the key's.
    WayOut,
    /// The same as commands, shown or hidden.
    Commands,
    /// Ticks or unticks an entry.
    Tick,
    /// Ticks all or none.
    TickAll,
    /// Goes on with what is ticked.
    Proceed,
    /// Unlinks trash entries for good.
    EmptyTrash,
    /// Stops a job.
    CancelJob,
    /// Waits for the jobs, then leaves.
    QuitWhenDone,
    /// Cancels the jobs and leaves.
    QuitNow,
}

/// Where a key is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The panes.
    Main,
    /// The jobs pane.
    Jobs,
    /// The filter line.
    Filter,
    /// A searchable list: help, palette, menus.
    List,
    /// The form of a new overlay.
    Form,
    /// A plan waiting for an answer.
    Plan,
    /// The prune checklist.
    Prune,
    /// The trash.
    Trash,
    /// The question whether to leave.
    Leave,
    /// The log.
    Log,
    /// A passphrase being typed.
    Secret,
    /// How large a copy would be.
    Measure,
}

/// How the table is grouped for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// Moving about.
    Move,
    /// Panes and pictures.
    Panes,
    /// Finding.
    Find,
    /// Marking.
    Mark,
    /// Looking.
    Look,
    /// Creating.
    Create,
    /// Changing.
    Change,
    /// Everything else.
    Any,
    /// Inside a dialog.
    Dialog,
}

impl Group {
    /// The group's name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Move => "move",
            Self::Panes => "panes",
            Self::Find => "find",
            Self::Mark => "mark",
            Self::Look => "look",
            Self::Create => "create",
            Self::Change => "change",
            Self::Any => "any time",
            Self::Dialog => "dialog",
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What it does.
    pub action: Action,
    /// Where its keys are understood.
    pub scope: Scope,
    /// Its group.
    pub group: Group,
    /// Its name: the same in the palette and, where there is one, on the command line.
    pub name: &'static str,
    /// Its keys; the first is the one shown where there is room for one.
    pub keys: Cow<'static, [Key]>,
    /// What it does, in a few words.
    pub title: &'static str,
    /// The word in the footer or on a frame, where it is worth one.
    pub hint: Option<&'static str>,
}

const fn c(c: char) -> Key {
    Key::char(c)
}

const fn k(code: Code) -> Key {
    Key::of(code)
}

const fn row(
    action: Action,
    group: Group,
    name: &'static str,
    keys: &'static [Key],
    title: &'static str,
) -> Entry {
    Entry {
        action,
        scope: Scope::Main,
        group,
        name,
        keys: Cow::Borrowed(keys),
        title,
        hint: None,
    }
}

const fn dialog(
    scope: Scope,
    action: Action,
    name: &'static str,
    keys: &'static [Key],
    title: &'static str,
    hint: &'static str,
) -> Entry {
    Entry {
        action,
        scope,
        group: Group::Dialog,
        name,
        keys: Cow::Borrowed(keys),
        title,
        hint: if hint.is_empty() { None } else { Some(hint) },
    }
}

impl Entry {
    const fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// The first key as text.
    #[must_use]
    pub fn key(&self) -> String {
        self.keys
            .first()
            .map(ToString::to_string)
            .unwrap_or_default()
    }

    /// All keys as text.
    #[must_use]
    pub fn all_keys(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        keys.join(" ")
    }

    /// Whether it changes, creates or removes files; hidden when the program is only to look.
    #[must_use]
    pub fn changes(&self) -> bool {
        matches!(self.group, Group::Create | Group::Change)
    }
}

/// Everything that can be done.
#[rustfmt::skip] // One row a line reads as the table it is.
pub const TABLE: &[Entry] = &[
    row(Action::Down, Group::Move, "down", &[c('j'), k(Code::Down)], "next row"),
    row(Action::Up, Group::Move, "up", &[c('k'), k(Code::Up)], "row before"),
    row(Action::Left, Group::Move, "left", &[c('h'), k(Code::Left)], "fold, or to the parent"),
    row(Action::Right, Group::Move, "right", &[c('l'), k(Code::Right)], "unfold, or to the first child"),
    row(Action::Parent, Group::Move, "parent", &[c('p')], "to the image it is built on"),
    row(Action::PreviousSibling, Group::Move, "previous-sibling", &[c(',')], "to the sibling before"),
    row(Action::NextSibling, Group::Move, "next-sibling", &[c('.')], "to the sibling after"),
    row(Action::PreviousRoot, Group::Move, "previous-root", &[c('<')], "to the root before"),
    row(Action::NextRoot, Group::Move, "next-root", &[c('>')], "to the root after"),
    row(Action::Top, Group::Move, "top", &[c('g'), k(Code::Home)], "to the first row"),
    row(Action::Bottom, Group::Move, "bottom", &[c('G'), k(Code::End)], "to the last row"),
    row(Action::PageUp, Group::Move, "page-up", &[k(Code::PageUp)], "one screen up"),
    row(Action::PageDown, Group::Move, "page-down", &[k(Code::PageDown)], "one screen down"),
    row(Action::HalfUp, Group::Move, "half-page-up", &[Key::ctrl('u')], "half a screen up"),
    row(Action::HalfDown, Group::Move, "half-page-down", &[Key::ctrl('d')], "half a screen down"),
    row(Action::NextPane, Group::Panes, "next-pane", &[k(Code::Tab)], "to the next pane"),
    row(Action::PreviousPane, Group::Panes, "previous-pane", &[k(Code::BackTab)], "to the pane before"),
    row(Action::Images, Group::Panes, "images", &[c('1')], "to the images"),
    row(Action::Info, Group::Look, "info", &[c('i'), c('2')], "all facts of this image"),
    row(Action::Chain, Group::Look, "chain", &[c('3')], "its chain, down to the root"),
    row(Action::Changes, Group::Look, "diff", &[c('d'), c('4')], "the ranges it has changed"),
    row(Action::Map, Group::Look, "map", &[c('m'), c('5')], "where its bytes are"),
    row(Action::Health, Group::Look, "health", &[c('6')], "what is wrong with it, and with others"),
    row(Action::SnapshotList, Group::Look, "snapshot-list", &[c('7')], "its internal snapshots"),
    row(Action::Enter, Group::Panes, "detail", &[k(Code::Enter)], "into the detail pane"),
    row(Action::Back, Group::Panes, "back", &[k(Code::Esc)], "one step back; never quits"),
    row(Action::Grow, Group::Panes, "grow", &[c('+')], "a larger images pane"),
    row(Action::Shrink, Group::Panes, "shrink", &[c('_')], "a smaller images pane"),
    row(Action::Diagram, Group::Panes, "diagram", &[c('D')], "tree, or boxes and arrows").hint("diagram"),
    row(Action::Jobs, Group::Panes, "jobs", &[c('J')], "to the jobs"),
    row(Action::Log, Group::Panes, "log", &[c('L')], "what happened in this session"),
    row(Action::Quit, Group::Panes, "quit", &[c('q'), Key::ctrl('c')], "leave; asks while jobs run"),
    row(Action::Filter, Group::Find, "filter", &[c('/')], "show only what matches").hint("filter"),
    row(Action::NextHit, Group::Find, "next-hit", &[c('n')], "to the next hit"),
    row(Action::PreviousHit, Group::Find, "previous-hit", &[c('N')], "to the hit before"),
    row(Action::Sort, Group::Find, "sort", &[c('s')], "choose the order"),
    row(Action::View, Group::Find, "view", &[c('w')], "all, leaves only, problems only"),
    row(Action::FoldAll, Group::Find, "fold-all", &[c('-')], "fold every tree"),
    row(Action::UnfoldAll, Group::Find, "unfold-all", &[c('=')], "unfold everything"),
    row(Action::Mark, Group::Mark, "mark", &[c(' ')], "mark this image, and down").hint("mark"),
    row(Action::MarkRange, Group::Mark, "mark-range", &[c('v')], "mark from here to where it is pressed again"),
    row(Action::MarkSubtree, Group::Mark, "mark-subtree", &[c('a')], "mark this image and all built on it"),
    row(Action::ClearMarks, Group::Mark, "clear-marks", &[c('U')], "clear all marks"),
    row(Action::Copy, Group::Look, "copy", &[c('y')], "copy its path, chain or a command to the clipboard"),
    row(Action::Check, Group::Look, "check", &[c('c')], "look through its tables for what is wrong").hint("check"),
    row(Action::CheckAll, Group::Look, "check-all", &[c('A')], "look through the tables of all images"),
    row(Action::Compare, Group::Look, "compare", &[c('t')], "where two images differ: mark both, or one of them"),
    row(Action::Measure, Group::Look, "measure", &[c('W')], "how large a copy of it would be"),
    row(Action::Branch, Group::Create, "branch", &[c('b')], "a new overlay on this image").hint("branch"),
    row(Action::Flatten, Group::Create, "flatten", &[c('f')], "a new file that shows the same without the layers below"),
    row(Action::NewImage, Group::Create, "create", &[Key::ctrl('n')], "a new empty image"),
    row(Action::Clone, Group::Create, "clone", &[c('u')], "a copy, file for file, built on the same"),
    row(Action::Convert, Group::Create, "convert", &[c('V')], "what it shows as a new image of another kind"),
    row(Action::Export, Group::Create, "export", &[c('e')], "its whole chain as a folder that stands alone"),
    row(Action::Import, Group::Create, "import", &[c('I')], "what an exported folder holds, to here"),
    row(Action::Commit, Group::Change, "commit", &[c('C')], "merge this layer down into what it is built on").hint("commit"),
    row(Action::Rebase, Group::Change, "rebase", &[c('B')], "build it on another image"),
    row(Action::FlattenHere, Group::Change, "flatten-here", &[c('F')], "take the layers below it out of its chain"),
    row(Action::Squash, Group::Change, "squash", &[c('Q')], "take this layer out of its chain; all others stay as they look"),
    row(Action::Move, Group::Change, "move", &[c('M')], "move or rename it; what refers to it follows"),
    row(Action::Resize, Group::Change, "resize", &[c('E')], "a larger or smaller disk"),
    row(Action::Repair, Group::Change, "repair", &[c('R')], "mend what is wrong with it"),
    row(Action::Snapshots, Group::Change, "snapshot", &[c('S')], "take, apply, delete, copy out internal snapshots"),
    row(Action::Bitmaps, Group::Change, "bitmap", &[c('K')], "add, clear, switch, merge, remove dirty bitmaps"),
    row(Action::Amend, Group::Change, "amend", &[c('O')], "another version, refcount width or feature"),
    row(Action::KeySlots, Group::Change, "keyslot", &[c('H')], "add, change, erase passphrases of an encrypted image"),
    row(Action::Discard, Group::Change, "discard", &[c('X')], "move it and all built on it to the trash").hint("discard"),
    row(Action::Prune, Group::Change, "prune", &[c('P')], "list leaves that nothing uses, to discard them"),
    row(Action::Trash, Group::Change, "trash", &[c('T')], "what is in the trash; restore from it"),
    row(Action::Undo, Group::Change, "undo", &[c('z')], "take back the last operation"),
    row(Action::Redo, Group::Change, "redo", &[c('Y')], "do again what was taken back last"),
    row(Action::Recover, Group::Change, "recover", &[c('Z')], "what a crash interrupted: finish it, or take it back"),
    row(Action::Actions, Group::Any, "actions", &[c('x')], "what can be done with this image, and why not").hint("actions"),
    row(Action::Help, Group::Any, "help", &[c('?')], "all keys, searchable; Enter runs one").hint("help"),
    row(Action::Palette, Group::Any, "palette", &[c(':')], "all actions by name"),
    row(Action::Rescan, Group::Any, "rescan", &[c('r'), Key::ctrl('r')], "look at the disk again"),
    row(Action::Shell, Group::Any, "shell", &[c('o')], "a shell in its directory"),
    row(Action::Own, Group::Any, "own", &[c('!')], "commands of your own, from the configuration"),
    row(Action::Mouse, Group::Any, "mouse", &[c('%')], "listen to the mouse, or leave it to the terminal"),
    row(Action::Suspend, Group::Any, "suspend", &[Key::ctrl('z')], "stop until the shell's fg"),
    row(Action::Redraw, Group::Any, "redraw", &[Key::ctrl('l')], "draw the screen anew"),
    dialog(Scope::Filter, Action::Fire, "filter-keep", &[k(Code::Enter)], "keep the filter", "keep"),
    dialog(Scope::Filter, Action::Close, "filter-drop", &[k(Code::Esc)], "drop the filter", "drop"),
    dialog(Scope::Filter, Action::Down, "filter-down", &[k(Code::Down)], "next row", ""),
    dialog(Scope::Filter, Action::Up, "filter-up", &[k(Code::Up)], "row before", ""),
    dialog(Scope::List, Action::Fire, "list-run", &[k(Code::Enter)], "run the entry", "run"),
    dialog(Scope::List, Action::Close, "list-close", &[k(Code::Esc), Key::ctrl('c')], "close the list", "close"),
    dialog(Scope::List, Action::Down, "list-down", &[k(Code::Down), Key::ctrl('n')], "next entry", ""),
    dialog(Scope::List, Action::Up, "list-up", &[k(Code::Up), Key::ctrl('p')], "entry before", ""),
    dialog(Scope::List, Action::PageDown, "list-page-down", &[k(Code::PageDown)], "one screen down", ""),
    dialog(Scope::List, Action::PageUp, "list-page-up", &[k(Code::PageUp)], "one screen up", ""),
    dialog(Scope::Form, Action::Fire, "form-create", &[k(Code::Enter)], "create it", "create"),
    dialog(Scope::Form, Action::NextField, "form-next", &[k(Code::Tab), k(Code::Down)], "complete a name, or to the next field", "next field"),
    dialog(Scope::Form, Action::PreviousField, "form-previous", &[k(Code::BackTab), k(Code::Up)], "field before", ""),
    dialog(Scope::Form, Action::ScrollDown, "form-down", &[k(Code::PageDown)], "scroll down", ""),
    dialog(Scope::Form, Action::ScrollUp, "form-up", &[k(Code::PageUp)], "scroll up", ""),
    dialog(Scope::Form, Action::Close, "form-cancel", &[k(Code::Esc), Key::ctrl('c')], "nothing happens", "cancel"),
    dialog(Scope::Plan, Action::Confirm, "plan-yes", &[c('y')], "do it", ""),
    dialog(Scope::Plan, Action::Close, "plan-no", &[k(Code::Esc), Key::ctrl('c')], "nothing happens", ""),
    dialog(Scope::Plan, Action::Fire, "plan-fire", &[k(Code::Enter)], "what has the focus", ""),
    dialog(Scope::Plan, Action::NextField, "plan-next", &[k(Code::Tab), k(Code::Right)], "next button", ""),
    dialog(Scope::Plan, Action::PreviousField, "plan-previous", &[k(Code::BackTab), k(Code::Left)], "button before", ""),
    dialog(Scope::Plan, Action::WayOut, "plan-instead", &[c('1'), c('2'), c('3'), c('4'), c('5'), c('6'), c('7'), c('8'), c('9')], "plan that instead", ""),
    dialog(Scope::Plan, Action::ToggleLayer, "plan-layer", &[c('t')], "committed layer: to the trash, or kept and emptied; squashed layer: down or up", ""),
    dialog(Scope::Plan, Action::Into, "plan-into", &[c('i')], "commit into the next image below", ""),
    dialog(Scope::Plan, Action::KeepOld, "plan-keep-old", &[c('o')], "put aside what the base shows now, or not", ""),
    dialog(Scope::Plan, Action::Verify, "plan-verify", &[c('v')], "read all images around before and after, and prove that the others show the same", ""),
    dialog(Scope::Plan, Action::Unlock, "plan-unlock", &[c('u')], "give the passphrase of an encrypted image", ""),
    dialog(Scope::Secret, Action::Fire, "secret-use", &[k(Code::Enter)], "open the image with it", "open it"),
    dialog(Scope::Secret, Action::Close, "secret-cancel", &[k(Code::Esc), Key::ctrl('c')], "back, without it", "back"),
    dialog(Scope::Plan, Action::Commands, "plan-commands", &[c('p')], "the same as qemu-img commands", ""),
    dialog(Scope::Plan, Action::ScrollDown, "plan-down", &[k(Code::Down), c('j'), k(Code::PageDown)], "scroll down", ""),
    dialog(Scope::Plan, Action::ScrollUp, "plan-up", &[k(Code::Up), c('k'), k(Code::PageUp)], "scroll up", ""),
    dialog(Scope::Prune, Action::Tick, "prune-tick", &[c(' ')], "tick or untick", "tick"),
    dialog(Scope::Prune, Action::TickAll, "prune-all", &[c('a')], "tick all or none", "all/none"),
    dialog(Scope::Prune, Action::Proceed, "prune-plan", &[k(Code::Enter)], "plan the discard of what is ticked", "plan"),
    dialog(Scope::Prune, Action::Close, "prune-close", &[k(Code::Esc), c('q'), Key::ctrl('c')], "nothing happens", "close"),
    dialog(Scope::Prune, Action::Down, "prune-down", &[k(Code::Down), c('j')], "next entry", ""),
    dialog(Scope::Prune, Action::Up, "prune-up", &[k(Code::Up), c('k')], "entry before", ""),
    dialog(Scope::Prune, Action::PageDown, "prune-page-down", &[k(Code::PageDown)], "one screen down", ""),
    dialog(Scope::Prune, Action::PageUp, "prune-page-up", &[k(Code::PageUp)], "one screen up", ""),
    dialog(Scope::Trash, Action::Tick, "trash-tick", &[c(' ')], "mark an entry", "mark"),
    dialog(Scope::Trash, Action::TickAll, "trash-all", &[c('a')], "mark all or none", "all/none"),
    dialog(Scope::Trash, Action::Proceed, "trash-restore", &[k(Code::Enter), c('r')], "plan to restore it", "restore"),
    dialog(Scope::Trash, Action::EmptyTrash, "trash-empty", &[c('E')], "plan to delete it for good", "delete for good"),
    dialog(Scope::Trash, Action::Close, "trash-close", &[k(Code::Esc), c('q'), Key::ctrl('c')], "close", "close"),
    dialog(Scope::Trash, Action::Down, "trash-down", &[k(Code::Down), c('j')], "next entry", ""),
    dialog(Scope::Trash, Action::Up, "trash-up", &[k(Code::Up), c('k')], "entry before", ""),
    dialog(Scope::Trash, Action::PageDown, "trash-page-down", &[k(Code::PageDown)], "one screen down", ""),
    dialog(Scope::Trash, Action::PageUp, "trash-page-up", &[k(Code::PageUp)], "one screen up", ""),
    dialog(Scope::Jobs, Action::CancelJob, "jobs-cancel", &[c('X')], "stop this job", "cancel"),
    dialog(Scope::Jobs, Action::Close, "jobs-leave", &[k(Code::Esc), c('J'), k(Code::Tab)], "back to the images", "back"),
    dialog(Scope::Jobs, Action::Down, "jobs-down", &[k(Code::Down), c('j')], "next job", ""),
    dialog(Scope::Jobs, Action::Up, "jobs-up", &[k(Code::Up), c('k')], "job before", ""),
    dialog(Scope::Jobs, Action::Quit, "jobs-quit", &[c('q'), Key::ctrl('c')], "leave; asks while jobs run", ""),
    dialog(Scope::Jobs, Action::JobLog, "jobs-log", &[k(Code::Enter)], "the job's part of the log", "log"),
    dialog(Scope::Jobs, Action::RetryJob, "jobs-retry", &[c('r')], "plan it again", "retry"),
    dialog(Scope::Log, Action::Close, "log-close", &[k(Code::Esc), c('q'), c('L'), Key::ctrl('c')], "close the log", "close"),
    dialog(Scope::Log, Action::ScrollUp, "log-up", &[k(Code::Up), c('k')], "scroll up", "scroll"),
    dialog(Scope::Log, Action::ScrollDown, "log-down", &[k(Code::Down), c('j')], "scroll down", ""),
    dialog(Scope::Log, Action::PageUp, "log-page-up", &[k(Code::PageUp), Key::ctrl('u')], "one screen up", ""),
    dialog(Scope::Log, Action::PageDown, "log-page-down", &[k(Code::PageDown), Key::ctrl('d')], "one screen down", ""),
    dialog(Scope::Log, Action::Top, "log-top", &[c('g'), k(Code::Home)], "to the first line", ""),
    dialog(Scope::Log, Action::Bottom, "log-bottom", &[c('G'), k(Code::End)], "to the last line", ""),
    dialog(Scope::Measure, Action::Close, "measure-close", &[k(Code::Esc), k(Code::Enter), c('q'), c('W'), Key::ctrl('c')], "close", "close"),
    dialog(Scope::Leave, Action::QuitWhenDone, "leave-when-done", &[c('w')], "wait for the jobs, then leave", "wait, then leave"),
    dialog(Scope::Leave, Action::QuitNow, "leave-now", &[c('c'), Key::ctrl('c')], "cancel the jobs and leave", "cancel jobs and leave"),
    dialog(Scope::Leave, Action::Close, "leave-not", &[k(Code::Esc)], "stay", "stay"),
];

/// The row of an action in a scope, with the keys it has unless the person binds others.
#[must_use]
pub fn entry(scope: Scope, action: Action) -> Option<&'static Entry> {
    TABLE
        .iter()
        .find(|entry| entry.scope == scope && entry.action == action)
}

/// The table with the person's own keys: what the interface goes by.
#[derive(Debug, Clone)]
pub struct Keymap {
    rows: Vec<Entry>,
}

impl Default for Keymap {
    fn default() -> Self {
        Self {
            rows: TABLE.to_vec(),
        }
    }
}

impl Keymap {
    /// What the key means there.
    #[must_use]
    pub fn action(&self, scope: Scope, key: Key) -> Option<Action> {
        self.entries(scope)
            .find(|entry| entry.keys.contains(&key))
            .map(|entry| entry.action)
    }

    /// The row of an action in a scope.
    #[must_use]
    pub fn entry(&self, scope: Scope, action: Action) -> Option<&Entry> {
        self.entries(scope).find(|entry| entry.action == action)
    }

    /// The rows of one scope.
    pub fn entries(&self, scope: Scope) -> impl Iterator<Item = &Entry> {
        self.rows.iter().filter(move |entry| entry.scope == scope)
    }

    /// All rows.
    #[must_use]
    pub fn all(&self) -> &[Entry] {
        &self.rows
    }

    /// Gives an action the person's keys instead of its own; whatever else has one of them in the
    /// same place loses it.
    ///
    /// # Errors
    /// A sentence, if no action has that name or its keys are not to be changed.
    pub fn bind(&mut self, name: &str, keys: &[Key]) -> Result<(), String> {
        let Some(at) = self.rows.iter().position(|entry| entry.name == name) else {
            return Err(format!("no action is called {name:?}"));
        };
        let scope = self.rows.get(at).map(|entry| entry.scope);
        if scope == Some(Scope::Plan) {
            return Err(format!(
                "{name} keeps its keys: what says yes to a plan is the same everywhere"
            ));
        }
        for (i, entry) in self.rows.iter_mut().enumerate() {
            if i == at {
                entry.keys = Cow::Owned(keys.to_vec());
            } else if Some(entry.scope) == scope {
                entry.keys.to_mut().retain(|key| !keys.contains(key));
            }
        }
        Ok(())
    }
}

/// The panes' part of the table as Markdown, for the README.
#[must_use]
pub fn markdown_table() -> String {
    let mut out = String::from("| keys | what happens |\n|---|---|\n");
    let groups = [
        Group::Move,
        Group::Panes,
        Group::Find,
        Group::Mark,
        Group::Look,
        Group::Create,
        Group::Change,
        Group::Any,
    ];
    for group in groups {
        out.push_str(&format!("| **{}** | |\n", group.name()));
        let rows = TABLE.iter().filter(|entry| entry.scope == Scope::Main);
        for entry in rows.filter(|entry| entry.group == group) {
            let keys: Vec<String> = entry.keys.iter().map(|key| format!("`{key}`")).collect();
            out.push_str(&format!("| {} | {} |\n", keys.join(" "), entry.title));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_key_means_two_things_in_one_place() {
        let mut seen = HashSet::new();
        for entry in TABLE {
            for key in entry.keys.iter() {
                assert!(seen.insert((entry.scope, *key)), "{} {key}", entry.name);
            }
        }
    }

    #[test]
    fn every_action_has_one_name_and_a_key() {
        let mut names = HashSet::new();
        for entry in TABLE {
            assert!(names.insert(entry.name), "{}", entry.name);
            assert!(!entry.keys.is_empty(), "{}", entry.name);
            assert!(!entry.title.is_empty(), "{}", entry.name);
        }
    }

    #[test]
    fn the_confirming_key_opens_no_dialog_and_is_no_moving_key_of_a_dialog() {
        let confirm = entry(Scope::Plan, Action::Confirm).unwrap();
        let opening = [
            entry(Scope::Main, Action::Branch),
            entry(Scope::Main, Action::Commit),
            entry(Scope::Main, Action::Discard),
            entry(Scope::Main, Action::Rebase),
            entry(Scope::Main, Action::Flatten),
            entry(Scope::Main, Action::FlattenHere),
            entry(Scope::Main, Action::Resize),
            entry(Scope::Main, Action::Move),
            entry(Scope::Main, Action::Repair),
            entry(Scope::Main, Action::Snapshots),
            entry(Scope::Main, Action::Clone),
            entry(Scope::Main, Action::Convert),
            entry(Scope::Main, Action::Export),
            entry(Scope::Main, Action::Import),
            entry(Scope::Main, Action::Squash),
            entry(Scope::Main, Action::Amend),
            entry(Scope::Main, Action::Bitmaps),
            entry(Scope::Main, Action::KeySlots),
            entry(Scope::Main, Action::Prune),
            entry(Scope::Main, Action::Undo),
            entry(Scope::Main, Action::Redo),
            entry(Scope::Main, Action::Recover),
            entry(Scope::Main, Action::Trash),
            entry(Scope::Prune, Action::Proceed),
            entry(Scope::Trash, Action::Proceed),
            entry(Scope::Trash, Action::EmptyTrash),
        ];
        for entry in opening {
            let entry = entry.unwrap();
            assert!(
                entry.keys.iter().all(|key| !confirm.keys.contains(key)),
                "{}",
                entry.name
            );
        }
    }

    #[test]
    fn existing_data_is_reached_through_uppercase_keys_only() {
        let keymap = Keymap::default();
        let rows = keymap.entries(Scope::Main);
        for entry in rows.filter(|entry| entry.group == Group::Change) {
            // Undo gives back; it is a plan with a question as well.
            if entry.action == Action::Undo {
                continue;
            }
            for key in entry.keys.iter() {
                assert!(
                    matches!(key.code, Code::Char(c) if c.is_ascii_uppercase()),
                    "{}",
                    entry.name
                );
            }
        }
    }

    #[test]
    fn a_key_of_the_persons_own_is_taken_from_whatever_had_it() {
        let mut keymap = Keymap::default();
        keymap
            .bind("commit", &[Key::char('K'), Key::char('X')])
            .unwrap();
        assert_eq!(
            keymap.action(Scope::Main, Key::char('X')),
            Some(Action::Commit)
        );
        assert_eq!(keymap.action(Scope::Main, Key::char('C')), None);
        let discard = keymap.entry(Scope::Main, Action::Discard).unwrap();
        assert!(discard.keys.is_empty());
        assert!(keymap.bind("plan-yes", &[Key::char('j')]).is_err());
        assert!(keymap.bind("comit", &[Key::char('j')]).is_err());
    }

    #[test]
    fn the_markdown_table_names_every_key_of_the_panes() {
        let table = markdown_table();
        for entry in Keymap::default().entries(Scope::Main) {
            assert!(table.contains(entry.title), "{}", entry.name);
        }
    }
}
