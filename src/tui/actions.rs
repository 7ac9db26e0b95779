//! What keys mean in the panes: every action with its row of the table of keys. What an action does is
//! `update::panes`' business; when it makes sense is `disabled_reason`'s.

use super::bindings::{self, Group, Row, Scope, row};
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
    /// Adds, changes, erases key slots.
    KeySlots,
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
    /// Looks at the disk again.
    Rescan,
    /// A shell where the image is.
    Shell,
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
    const SCOPE: Scope = Scope::Main;

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
        row(Action::Go(Motion::NextHit), Group::Find, "next-hit", &[c('n')], "to the next hit"),
        row(Action::Go(Motion::PreviousHit), Group::Find, "previous-hit", &[c('N')], "to the hit before"),
        row(Action::Sort, Group::Find, "sort", &[c('s')], "choose the order"),
        row(Action::View, Group::Find, "view", &[c('w')], "all, leaves only, problems only"),
        row(Action::Go(Motion::FoldAll), Group::Find, "fold-all", &[c('-')], "fold every tree"),
        row(Action::Go(Motion::UnfoldAll), Group::Find, "unfold-all", &[c('=')], "unfold everything"),
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
        row(Action::Revert, Group::Change, "revert", &[c('~')], "throw away what a leaf holds, and start it anew"),
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
    ];

    fn leaves(self) -> bool {
        matches!(self, Self::Quit | Self::Back)
    }
}
