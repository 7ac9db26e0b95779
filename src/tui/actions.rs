//! What keys mean in the panes: every action with its row of the table of keys. What an action does is
//! `update::panes`' business; when it makes sense is `disabled_reason`'s.

use super::bindings::{self, Group, Row, row};
use super::key::{Code, Key};

/// Where the cursor goes, or what the rows show for it to go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Motion {
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
    /// To the next hit.
    NextHit,
    /// To the hit before.
    PreviousHit,
    /// Folds all.
    FoldAll,
    /// Unfolds all.
    UnfoldAll,
}

/// What a key can mean in the panes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Moves about.
    Go(Motion),
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
    /// Shows the files the image has changed.
    Changes,
    /// Shows logs, caches and temporary files among them, or hides them.
    Noise,
    /// Shows where its bytes are.
    Map,
    /// Shows what its bytes are used for.
    Explain,
    /// Shows what is wrong with the image.
    Health,
    /// Shows its internal snapshots.
    SnapshotList,
    /// Shows where the space went.
    Space,
    /// Shows the files inside the image.
    Files,
    /// Into the detail pane.
    Enter,
    /// One step back.
    Back,
    /// A larger images pane.
    Grow,
    /// A smaller images pane.
    Shrink,
    /// Hides the detail pane, or shows it again.
    HideDetail,
    /// Tree or diagram.
    Diagram,
    /// Into the jobs.
    Jobs,
    /// The log.
    Log,
    /// Leaves the program.
    Quit,
    /// Filters the rows.
    Filter,
    /// Chooses the order.
    Sort,
    /// All, leaves only, problems only, by machine.
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
    /// Looks through the tables of images.
    Check,
    /// Looks through the tables of all images.
    CheckAll,
    /// Tells where two images differ.
    Compare,
    /// Tells how large a copy would be.
    Measure,
    /// A new overlay.
    Branch,
    /// Copies what an image shows into a new file.
    Flatten,
    /// A new empty image.
    NewImage,
    /// A copy, file for file.
    Clone,
    /// What an image shows as an image of another kind.
    Convert,
    /// The whole chain as a folder.
    Export,
    /// What an exported folder holds.
    Import,
    /// Merges a layer down.
    Commit,
    /// Changes what an image is built on.
    Rebase,
    /// Takes the layers below an image out of its chain.
    FlattenHere,
    /// Takes one layer out of its chain.
    Squash,
    /// Gives up what is free inside an image.
    Trim,
    /// Starts a leaf anew.
    Revert,
    /// Another name or folder.
    Move,
    /// A larger or smaller disk.
    Resize,
    /// Mends what is wrong.
    Repair,
    /// Takes, applies, deletes, copies out internal snapshots.
    Snapshots,
    /// Adds, clears, switches, merges, removes dirty bitmaps.
    Bitmaps,
    /// Another version or feature.
    Amend,
    /// Lets nobody write images.
    Protect,
    /// The note and the tags of an image.
    Note,
    /// Adds, changes, erases key slots.
    KeySlots,
    /// Starts, branches, reverts, clones, points machines here.
    Machine,
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
    /// All keys.
    Help,
    /// All actions, by name.
    Palette,
    /// Begins the tour.
    Tour,
    /// Looks at the disk again.
    Rescan,
    /// Looks at other directories.
    Open,
    /// A shell where the image is.
    Shell,
    /// A shell in the image, which is mounted meanwhile.
    Mount,
    /// The person's own commands.
    Own,
    /// Listens to the mouse, or no longer.
    Mouse,
    /// Stops like any program on Ctrl-Z.
    Suspend,
    /// Draws the screen anew.
    Redraw,
}

const fn c(c: char) -> Key {
    Key::char(c)
}

const fn k(code: Code) -> Key {
    Key::of(code)
}

impl bindings::Action for Action {
    #[rustfmt::skip] // One row a line reads as the table it is.
    const ROWS: &'static [Row<Self>] = &[
        row(Action::Go(Motion::Down), Group::Move, "down", &[c('j'), k(Code::Down)], "next row"),
        row(Action::Go(Motion::Up), Group::Move, "up", &[c('k'), k(Code::Up)], "row before"),
        row(Action::Go(Motion::Left), Group::Move, "left", &[c('h'), k(Code::Left)], "fold, or to the parent"),
        row(Action::Go(Motion::Right), Group::Move, "right", &[c('l'), k(Code::Right)], "unfold, or to the first child"),
        row(Action::Go(Motion::Parent), Group::Move, "parent", &[c('p')], "to the image it is built on"),
        row(Action::Go(Motion::PreviousSibling), Group::Move, "previous-sibling", &[c(',')], "to the sibling before"),
        row(Action::Go(Motion::NextSibling), Group::Move, "next-sibling", &[c('.')], "to the sibling after"),
        row(Action::Go(Motion::PreviousRoot), Group::Move, "previous-root", &[c('<')], "to the root before"),
        row(Action::Go(Motion::NextRoot), Group::Move, "next-root", &[c('>')], "to the root after"),
        row(Action::Go(Motion::Top), Group::Move, "top", &[c('g'), k(Code::Home)], "to the first row"),
        row(Action::Go(Motion::Bottom), Group::Move, "bottom", &[c('G'), k(Code::End)], "to the last row"),
        row(Action::Go(Motion::PageUp), Group::Move, "page-up", &[k(Code::PageUp)], "one screen up"),
        row(Action::Go(Motion::PageDown), Group::Move, "page-down", &[k(Code::PageDown)], "one screen down"),
        row(Action::Go(Motion::HalfUp), Group::Move, "half-page-up", &[Key::ctrl('u')], "half a screen up"),
        row(Action::Go(Motion::HalfDown), Group::Move, "half-page-down", &[Key::ctrl('d')], "half a screen down"),
        row(Action::NextPane, Group::Panes, "next-pane", &[k(Code::Tab)], "to the next pane"),
        row(Action::PreviousPane, Group::Panes, "previous-pane", &[k(Code::BackTab)], "to the pane before"),
        row(Action::Images, Group::Panes, "images", &[c('1')], "to the images"),
        row(Action::Info, Group::Look, "info", &[c('i'), c('2')], "info - all facts of this image"),
        row(Action::Chain, Group::Look, "chain", &[c('3')], "chain - its layers, down to the root"),
        row(Action::Changes, Group::Look, "diff", &[c('d'), c('4')], "diff - the files it has changed; again: from the root").also("changes files"),
        row(Action::Noise, Group::Look, "noise", &[c(';')], "noise - logs and caches in the diff, shown or not").also("logs cache temporary"),
        row(Action::Map, Group::Look, "map", &[c('m'), c('5')], "map - where its bytes are").also("where layout"),
        row(Action::Explain, Group::Look, "explain", &[c('$')], "explain - why it is so large: what its bytes are for").also("why large size usage deleted free files journal swap"),
        row(Action::Health, Group::Look, "health", &[c('6')], "health - what is wrong with it, and with others").also("problems errors"),
        row(Action::SnapshotList, Group::Look, "snapshot-list", &[c('7')], "snapshot list - its internal snapshots"),
        row(Action::Space, Group::Look, "space", &[c('8')], "space - where it went, and what frees most").also("disk usage du size free bars"),
        row(Action::Files, Group::Look, "files", &[c('9')], "files - browse the files inside this image").also("browse explore inside extract cat ls history find guest"),
        row(Action::Enter, Group::Panes, "detail", &[k(Code::Enter)], "into the detail pane"),
        row(Action::Back, Group::Panes, "back", &[k(Code::Esc)], "one step back; never quits"),
        row(Action::Grow, Group::Panes, "grow", &[c('+')], "a larger images pane"),
        row(Action::Shrink, Group::Panes, "shrink", &[c('_')], "a smaller images pane"),
        row(Action::HideDetail, Group::Panes, "hide-detail", &[c('0')], "hide the detail pane, or show it again").also("whole width wide full zoom"),
        row(Action::Diagram, Group::Panes, "diagram", &[c('D')], "diagram - boxes and arrows, or the tree").hint("diagram"),
        row(Action::Jobs, Group::Panes, "jobs", &[c('J')], "jobs - what runs, and what has ended").also("stop cancel abort"),
        row(Action::Log, Group::Panes, "log", &[c('L')], "log - what happened in this session"),
        row(Action::Quit, Group::Panes, "quit", &[c('q'), Key::ctrl('c')], "quit - asks while jobs run").also("exit leave close"),
        row(Action::Filter, Group::Find, "filter", &[c('/')], "filter - show only what matches").hint("filter"),
        row(Action::Go(Motion::NextHit), Group::Find, "next-hit", &[c('n')], "to the next hit"),
        row(Action::Go(Motion::PreviousHit), Group::Find, "previous-hit", &[c('N')], "to the hit before"),
        row(Action::Sort, Group::Find, "sort", &[c('s')], "sort - choose the order"),
        row(Action::View, Group::Find, "view", &[c('w')], "view - all, leaves only, problems only, by machine"),
        row(Action::Go(Motion::FoldAll), Group::Find, "fold-all", &[c('-')], "fold every tree"),
        row(Action::Go(Motion::UnfoldAll), Group::Find, "unfold-all", &[c('=')], "unfold everything"),
        row(Action::Mark, Group::Mark, "mark", &[c(' ')], "mark - this image, then go down").hint("mark"),
        row(Action::MarkRange, Group::Mark, "mark-range", &[c('v')], "mark range - from here to where it is pressed again"),
        row(Action::MarkSubtree, Group::Mark, "mark-subtree", &[c('a')], "mark subtree - this image and all built on it"),
        row(Action::ClearMarks, Group::Mark, "clear-marks", &[c('U')], "clear marks - of all images"),
        row(Action::Copy, Group::Look, "copy", &[c('y')], "copy - its path, chain or a command, to the clipboard"),
        row(Action::Check, Group::Look, "check", &[c('c')], "check - look through its tables for damage").also("fsck verify test").hint("check"),
        row(Action::CheckAll, Group::Look, "check-all", &[c('A')], "check all - look through the tables of all images"),
        row(Action::Compare, Group::Look, "compare", &[c('t')], "compare - where two images differ: mark one or both").also("difference"),
        row(Action::Measure, Group::Look, "measure", &[c('W')], "measure - how large a copy of it would be").also("size estimate"),
        row(Action::Branch, Group::Create, "branch", &[c('b')], "branch - a new overlay on this image").also("overlay new child fork").hint("branch"),
        row(Action::Flatten, Group::Create, "flatten", &[c('f')], "flatten - into a new file, without the layers below").also("stream pull copy whole full"),
        row(Action::NewImage, Group::Create, "create", &[Key::ctrl('n')], "create - a new empty image").also("new encrypt"),
        row(Action::Clone, Group::Create, "clone", &[c('u')], "clone - a copy, file for file, on the same base").also("copy cp duplicate"),
        row(Action::Convert, Group::Create, "convert", &[c('V')], "convert - copy what it shows into another format").also("encrypt encryption compress raw transcode"),
        row(Action::Export, Group::Create, "export", &[c('e')], "export - copy its whole chain into a folder").also("save backup"),
        row(Action::Import, Group::Create, "import", &[c('I')], "import - bring in what an exported folder holds").also("load restore"),
        row(Action::Commit, Group::Change, "commit", &[c('C')], "commit - merge this layer down into its base").also("merge blockcommit").hint("commit"),
        row(Action::Rebase, Group::Change, "rebase", &[c('B')], "rebase - build it on another image").also("reparent change backing"),
        row(Action::FlattenHere, Group::Change, "flatten-here", &[c('F')], "flatten here - take the layers below out of its chain").also("stream pull blockpull"),
        row(Action::Squash, Group::Change, "squash", &[c('Q')], "squash - take this layer out; others look the same").also("merge collapse"),
        row(Action::Trim, Group::Change, "trim", &[c('^')], "trim - give back what was deleted inside it").also("discard free fstrim sparsify deleted data space unmap punch"),
        row(Action::Revert, Group::Change, "revert", &[c('~')], "revert - throw away what a leaf holds, start anew").also("reset rollback"),
        row(Action::Move, Group::Change, "move", &[c('M')], "move - or rename; what refers to it follows").also("rename mv"),
        row(Action::Resize, Group::Change, "resize", &[c('E')], "resize - make its disk larger or smaller").also("grow shrink size truncate"),
        row(Action::Repair, Group::Change, "repair", &[c('R')], "repair - mend what is wrong with it").also("fix relink mend"),
        row(Action::Snapshots, Group::Change, "snapshot", &[c('S')], "snapshot - take, apply, delete, copy out").also("savevm internal"),
        row(Action::Bitmaps, Group::Change, "bitmap", &[c('K')], "bitmap - add, clear, switch, merge, remove").also("dirty backup incremental"),
        row(Action::Amend, Group::Change, "amend", &[c('O')], "amend - another version, refcount width or feature").also("upgrade compat options"),
        row(Action::Protect, Group::Change, "protect", &[c('*')], "protect - nobody may write it any more").also("chmod readonly write permission mode"),
        row(Action::Note, Group::Change, "note", &[c('#')], "note - what it is, in a few words, and its tags").also("tag comment description label golden keep"),
        row(Action::KeySlots, Group::Change, "keyslot", &[c('H')], "keyslot - add, change, erase passphrases").also("encrypt encryption passphrase password luks"),
        row(Action::Machine, Group::Change, "machine", &[c('&')], "machine - start, stop, branch, revert, clone or try").also("libvirt virsh vm domain boot run power shutdown point use source snapshot set copy"),
        row(Action::Discard, Group::Change, "discard", &[c('X')], "discard - move it and all built on it to the trash").also("delete remove rm unlink erase").hint("discard"),
        row(Action::Prune, Group::Change, "prune", &[c('P')], "prune - list old unused leaves, to discard some").also("clean gc garbage"),
        row(Action::Trash, Group::Change, "trash", &[c('T')], "trash - what is in it; restore or empty").also("restore undelete empty purge bin"),
        row(Action::Undo, Group::Change, "undo", &[c('z')], "undo - take back the last operation").also("back"),
        row(Action::Redo, Group::Change, "redo", &[c('Y')], "redo - do again what was taken back last").also("again"),
        row(Action::Recover, Group::Change, "recover", &[c('Z')], "recover - finish or take back what a crash cut off").also("resume crash interrupted"),
        row(Action::Actions, Group::Any, "actions", &[c('x')], "actions - what can be done here, and why not").hint("actions"),
        row(Action::Help, Group::Any, "help", &[c('?')], "help - all keys, searchable; Enter runs one").hint("help"),
        row(Action::Palette, Group::Any, "palette", &[c(':')], "palette - all actions by name"),
        row(Action::Tour, Group::Any, "tour", &[Key::ctrl('t')], "tour - five small tasks on the sample forests").also("tutorial learn begin"),
        row(Action::Rescan, Group::Any, "rescan", &[c('r'), Key::ctrl('r')], "rescan - look at the disk again").also("refresh reload"),
        row(Action::Open, Group::Any, "open", &[Key::ctrl('o')], "open - another folder, or one more").also("folder directory recent"),
        row(Action::Shell, Group::Any, "shell", &[c('o')], "shell - in its folder"),
        row(Action::Mount, Group::Any, "mount", &[c('@')], "mount - a shell among its files, for reading only").also("guest files disk browse extract copy out"),
        row(Action::Own, Group::Any, "own", &[c('!')], "own commands - from the configuration"),
        row(Action::Mouse, Group::Any, "mouse", &[c('%')], "mouse - use it here, or leave it to the terminal"),
        row(Action::Suspend, Group::Any, "suspend", &[Key::ctrl('z')], "suspend - until the shell's fg"),
        row(Action::Redraw, Group::Any, "redraw", &[Key::ctrl('l')], "redraw - the screen anew"),
    ];

    fn leaves(self) -> bool {
        matches!(self, Self::Quit | Self::Back)
    }
}
