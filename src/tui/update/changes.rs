//! The files that differ, in the detail pane: moving among them, folding their folders, comparing one.

use std::os::unix::ffi::OsStrExt;

use crate::ops::SnapshotName;
use crate::tui::actions::Motion;
use crate::tui::app::App;
use crate::tui::browse::{ComparedWith, Comparison, Shown, Spot};
use crate::tui::change_tree::RowKind;
use crate::tui::detail_pane::Tab;
use crate::tui::dialogs::FilesDialog;
use crate::tui::file_changes::{Before, FilesQuery};
use crate::tui::layout::Layout;
use crate::tui::msg::Effect;
use crate::tui::panes::detail;
use crate::tui::ui::Ui;

/// Whether there are rows of files to move among.
pub(super) fn are_shown(app: &App) -> bool {
    !app.detail.hidden && app.detail.tab == Tab::Changes && !app.detail.files.rows.is_empty()
}

/// Moves among the rows, folds or opens folders; false where the pane does what it does elsewhere.
pub(super) fn go(app: &mut App, layout: &Layout, motion: Motion) -> bool {
    let page = usize::from(layout.detail.height.max(3)) - 2;
    let files = &mut app.detail.files;
    let last = files.rows.len().saturating_sub(1);
    let at = files.cursor;
    let to = match motion {
        Motion::Down => at + 1,
        Motion::Up => at.saturating_sub(1),
        Motion::PageDown => at + page,
        Motion::PageUp => at.saturating_sub(page),
        Motion::HalfDown => at + page.div_ceil(2),
        Motion::HalfUp => at.saturating_sub(page.div_ceil(2)),
        Motion::Top => 0,
        Motion::Bottom => last,
        Motion::Right if files.fold(true) => at,
        // Into the folder; a file leads nowhere.
        Motion::Right => {
            at + usize::from(files.row().is_some_and(|row| row.kind.is_open().is_some()))
        }
        Motion::Left if files.fold(false) => at,
        Motion::Left | Motion::Parent => match files.above() {
            Some(above) => above,
            // Out of the outermost folder it is the pane that moves on.
            None => return false,
        },
        _ => return false,
    };
    files.cursor = to.min(last);
    follow(app, layout);
    true
}

/// Scrolls so that the cursor is seen; on the first row what stands before it as well.
fn follow(app: &mut App, layout: &Layout) {
    let page = usize::from(layout.detail.height.max(3)) - 2;
    let Some(line) = detail::line_of_change(app, layout) else {
        return;
    };
    let first = if app.detail.files.cursor == 0 {
        0
    } else {
        line
    };
    let least = (line + 1).saturating_sub(page);
    app.detail.scroll = app.detail.scroll.min(first).max(least);
}

/// Folds or opens the folder under the cursor, or compares the file there.
pub(super) fn enter(ui: &mut Ui, effects: &mut Vec<Effect>) {
    let files = &mut ui.app.detail.files;
    match files.row().map(|row| row.kind) {
        Some(RowKind::Folder(_, is_open)) => {
            files.fold(!is_open);
        }
        Some(RowKind::File(_)) => {
            if let Some(what) = comparison(&ui.app) {
                let dialog = FilesDialog::compare(&mut ui.app, what, effects);
                ui.dialogs.open_alone(dialog);
            }
        }
        Some(RowKind::More(_)) => ui.app.tell("`qanopy diff` lists all of them."),
        None => {}
    }
}

/// The file under the cursor, in both states.
fn comparison(app: &App) -> Option<Comparison> {
    let files = &app.detail.files;
    let row = files.row()?;
    let RowKind::File(at) = row.kind else {
        return None;
    };
    let volume = files.changes()?.volumes.get(row.volume)?;
    let change = volume.changes.get(at)?;
    let Some(FilesQuery::Changes {
        after,
        format,
        before,
    }) = &files.asked
    else {
        return None;
    };
    let newer = Shown {
        image: after.clone(),
        format: format.clone(),
        snapshot: None,
    };
    let older = match before {
        Before::Base => ComparedWith::Base,
        Before::Root => ComparedWith::Root,
        Before::Image(path) => ComparedWith::Other(Shown {
            image: path.clone(),
            format: None,
            snapshot: None,
        }),
        // The one that the rows are of: the cursor may be on another one by now.
        Before::Snapshot(SnapshotName::Id(id)) => ComparedWith::Other(Shown {
            snapshot: Some(id.as_bytes().to_vec()),
            ..newer.clone()
        }),
        Before::Snapshot(SnapshotName::Name(_)) => return None,
    };
    Some(Comparison {
        newer,
        older,
        spot: Spot {
            volume: volume.name.to_string(),
            path: change.path.clone(),
            node: None,
        },
        from: change.from.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::guest::diff::{Change, ChangeKind, VolumeDiff, VolumeState};
    use crate::guest::disk::VolumeName;
    use crate::tui::change_tree::ChangeRow;
    use crate::tui::file_changes::{Changes, FilesAnswer};
    use crate::tui::settings::Settings;

    #[test]
    fn a_file_is_compared_with_the_snapshot_that_the_rows_are_of() {
        let change = Change {
            kind: ChangeKind::Modified,
            path: b"etc/hostname".to_vec(),
            from: None,
            snapshot_of: None,
            content: true,
            before: None,
            after: None,
            bytes: 1,
        };
        let volume = VolumeDiff {
            name: VolumeName::Disk,
            kind: "ext4".to_owned(),
            state: VolumeState::Compared,
            changed_bytes: 1,
            changes: vec![change],
        };
        // No snapshot is under the cursor any more.
        let mut app = App::new(Settings::default(), (80, 24));
        let files = &mut app.detail.files;
        files.asked = Some(FilesQuery::Changes {
            after: "/vm/image.qcow2".into(),
            format: None,
            before: Before::Snapshot(SnapshotName::Id("7".into())),
        });
        files.answer = Some(FilesAnswer::Changes(Arc::new(Changes::new(
            1,
            vec![volume],
        ))));
        files.rows = vec![ChangeRow {
            volume: 0,
            depth: 0,
            kind: RowKind::File(0),
        }];
        let Some(ComparedWith::Other(older)) = comparison(&app).map(|found| found.older) else {
            panic!("it is compared with a snapshot")
        };
        assert_eq!(older.snapshot.as_deref(), Some(&b"7"[..]));
    }
}
