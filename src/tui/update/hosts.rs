//! What other machines tell of their images. Each is asked by itself, and nobody waits for it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::forest::{Forest, ScannedFile};
use crate::host::{FileId, Holder};
use crate::tui::app::App;
use crate::tui::hosts::HostState;
use crate::tui::log::Kind;
use crate::tui::msg::{Effect, ScanEnd};
use crate::tui::query::QueryId;
use crate::tui::told_again::ToldAgain;
use crate::tui::ui::Ui;

use super::settle::replace_forest;

/// Asks all of them.
pub(super) fn ask_all(app: &mut App, effects: &mut Vec<Effect>) {
    for at in 0..app.hosts.list.len() {
        ask(app, at, effects);
    }
}

/// Asks one of them; what it told before stays on the screen until it has told all.
pub(super) fn ask(app: &mut App, at: usize, effects: &mut Vec<Effect>) {
    let query_id = app.query_id();
    let Some(host) = app.hosts.list.get_mut(at) else {
        return;
    };
    host.query_id = query_id;
    host.state = HostState::Asked;
    host.again = (!host.images.files.is_empty()).then(|| ToldAgain::beside(&host.images));
    host.unreadable.clear();
    app.changed();
    effects.push(Effect::ScanHost(query_id, at));
}

/// Files it has met.
pub(super) fn found(app: &mut App, query_id: QueryId, at: usize, files: Vec<ScannedFile>) {
    let Some(host) = app.hosts.asked(at, query_id) else {
        return;
    };
    match &mut host.again {
        Some(again) => again.found(&host.images, files),
        None => {
            Arc::make_mut(&mut host.images).extend(files.clone());
            app.refresh.told_meanwhile();
            Arc::make_mut(&mut app.forest).extend(files);
            app.find_folds();
        }
    }
}

/// Which of them processes have open there.
pub(super) fn held(
    app: &mut App,
    query_id: QueryId,
    at: usize,
    held: HashMap<FileId, Vec<Holder>>,
) {
    let Some(host) = app.hosts.asked(at, query_id) else {
        return;
    };
    match &mut host.again {
        Some(again) => again.held(held),
        None => {
            Arc::make_mut(&mut host.images).held.extend(held.clone());
            app.refresh.told_meanwhile();
            // What is in use is worked out for all images: once for all hosts that tell by the next frame.
            app.refresh.far_held.get_or_insert_default().extend(held);
        }
    }
}

/// Has one forest made of what all have told by now, where that is other than what is shown. Another thread makes it:
/// with many images it takes as long as many frames.
pub(super) fn gather(app: &mut App, effects: &mut Vec<Effect>) {
    if !app.refresh.is_far_outdated || app.refresh.gathering.is_some() {
        return;
    }
    app.refresh.is_far_outdated = false;
    let query_id = app.query_id();
    app.refresh.gathering = Some(query_id);
    let here = app.refresh.here.as_ref();
    let known = Arc::clone(here.unwrap_or(&app.forest));
    effects.push(Effect::Gather(query_id, known, app.hosts.told()));
}

/// The forest of all is made. One that lacks what was told meanwhile is not shown: another one is asked for.
pub(super) fn all_gathered(ui: &mut Ui, query_id: QueryId, forest: Arc<Forest>) {
    if ui.app.refresh.gathering == Some(query_id) {
        ui.app.refresh.gathering = None;
        if !ui.app.refresh.is_far_outdated {
            replace_forest(ui, forest);
        }
    }
}

/// It says nothing.
pub(super) fn silent(app: &mut App, query_id: QueryId, at: usize, seconds: u64) {
    if let Some(host) = app.hosts.asked(at, query_id) {
        host.state = HostState::Silent(seconds);
        app.changed();
    }
}

/// It has told all, or why it cannot.
pub(super) fn scanned(app: &mut App, query_id: QueryId, at: usize, ended: Result<ScanEnd, String>) {
    let Some(host) = app.hosts.asked(at, query_id) else {
        return;
    };
    let again = host.again.take();
    if again.is_none() {
        Arc::make_mut(&mut host.images).sort();
    }
    match ended {
        Err(why) => {
            host.state = HostState::Failed(why.clone());
            app.note(None, Kind::Bad, &why);
        }
        Ok(end) => {
            host.state = HostState::Told;
            host.unreadable = end.unreadable;
            // What several hosts see becomes one by that.
            let is_first = again.is_none() && host.images.is_shared;
            app.refresh.is_far_outdated |= is_first;
            // Mostly nothing has changed since; then the forest is what it was.
            if let Some(told) = again.and_then(|again| again.end(&host.images)) {
                host.images = Arc::new(told);
                // Those of all hosts that have told by then are taken in at once.
                app.refresh.is_far_outdated = true;
            }
        }
    }
    app.changed();
    app.detail.asked = None;
    let unreadable = app.hosts.list.get(at).map(|host| host.unreadable.clone());
    for why in unreadable.into_iter().flatten() {
        app.note(None, Kind::Note, &format!("Cannot read {why}"));
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;
    use std::path::{Path, PathBuf};
    use std::time::SystemTime;

    use super::*;
    use crate::fleet::{Destination, FarFolders};
    use crate::forest::{Content, Sharing};
    use crate::host::{FileKind, Stat};
    use crate::tui::filter::Filter;
    use crate::tui::hosts::{Hosts, gathered_anew};
    use crate::tui::msg::Msg;
    use crate::tui::places::Places;
    use crate::tui::settings::Settings;
    use crate::tui::update::update;

    fn file(path: &str) -> ScannedFile {
        ScannedFile {
            path: PathBuf::from(path),
            symlink: false,
            stat: None,
            content: Content::Raw,
            backing: None,
            also: Vec::new(),
            holders: Vec::new(),
            annotation: None,
            sharing: None,
        }
    }

    fn host(name: &str) -> FarFolders {
        FarFolders {
            to: Destination::of(name, &[], None),
            folders: vec![PathBuf::from("/srv")],
            scan: Vec::new(),
            tell: Vec::new(),
            read: Vec::new(),
        }
    }

    fn names(ui: &Ui) -> Vec<PathBuf> {
        let mut names: Vec<_> = ui
            .app
            .forest
            .nodes()
            .map(|node| node.path.clone())
            .collect();
        names.sort();
        names
    }

    /// The forests that are asked for.
    fn asked(effects: Vec<Effect>) -> Vec<(QueryId, Arc<Forest>)> {
        let made = |effect| match effect {
            Effect::Gather(query_id, known, told) => Some((query_id, gathered_anew(known, &told))),
            _ => None,
        };
        effects.into_iter().filter_map(made).collect()
    }

    #[test]
    fn what_hosts_tell_again_becomes_one_forest_and_what_comes_meanwhile_is_in_the_next() {
        let hosts = ["one", "two", "new"].map(host);
        let mut ui = Ui::new(Settings::default(), (80, 24));
        ui.app.hosts = Hosts::of(&hosts);
        let mut effects = Vec::new();
        ask_all(&mut ui.app, &mut effects);
        let id = |ui: &Ui, at: usize| ui.app.hosts.list[at].query_id;
        for (at, name) in [(0, "one:/srv/a"), (1, "two:/srv/a")] {
            let told = Msg::FarFound(id(&ui, at), at, vec![file(name)]);
            update(&mut ui, told);
            let told = Msg::FarScanned(id(&ui, at), at, Ok(ScanEnd::default()));
            update(&mut ui, told);
        }
        assert!(asked(update(&mut ui, Msg::Resize(80, 24))).is_empty());
        assert_eq!(names(&ui), ["one:/srv/a", "two:/srv/a"].map(PathBuf::from));

        // What is told once more as it was needs no other forest.
        ask(&mut ui.app, 0, &mut effects);
        let told = Msg::FarFound(id(&ui, 0), 0, vec![file("one:/srv/a")]);
        update(&mut ui, told);
        let told = Msg::FarScanned(id(&ui, 0), 0, Ok(ScanEnd::default()));
        update(&mut ui, told);
        assert!(asked(update(&mut ui, Msg::Resize(80, 24))).is_empty());

        // Two of them tell other images now, and one frame later one forest is asked for.
        for (at, name) in [(0, "one:/srv/b"), (1, "two:/srv/b")] {
            ask(&mut ui.app, at, &mut effects);
            let told = Msg::FarFound(id(&ui, at), at, vec![file(name)]);
            update(&mut ui, told);
            let told = Msg::FarScanned(id(&ui, at), at, Ok(ScanEnd::default()));
            update(&mut ui, told);
        }
        let gathers = asked(update(&mut ui, Msg::Resize(80, 24)));
        let [(first, forest)] = gathers.try_into().unwrap();
        assert_eq!(names(&ui), ["one:/srv/a", "two:/srv/a"].map(PathBuf::from));

        // A host that tells its first images is shown at once, and not lost with what was asked before.
        let told = Msg::FarFound(id(&ui, 2), 2, vec![file("new:/srv/a")]);
        update(&mut ui, told);
        assert!(asked(update(&mut ui, Msg::Resize(80, 24))).is_empty());
        let shown = ["new:/srv/a", "one:/srv/a", "two:/srv/a"].map(PathBuf::from);
        let gathers = asked(update(&mut ui, Msg::Gathered(first, forest)));
        assert_eq!(names(&ui), shown);
        let [(second, forest)] = gathers.try_into().unwrap();
        // Nor is what it tells of their use.
        let told = Msg::FarHeld(id(&ui, 2), 2, HashMap::new());
        update(&mut ui, told);
        let gathers = asked(update(&mut ui, Msg::Gathered(second, forest)));
        assert_eq!(names(&ui), shown);
        let [(third, forest)] = gathers.try_into().unwrap();
        assert!(asked(update(&mut ui, Msg::Gathered(third, forest))).is_empty());
        assert_eq!(
            names(&ui),
            ["new:/srv/a", "one:/srv/b", "two:/srv/b"].map(PathBuf::from)
        );
    }

    #[test]
    fn an_image_that_two_hosts_see_is_one_row_of_both() {
        let shared = |path: &str, machine: u16| {
            let stat = Stat {
                id: FileId {
                    device: 1,
                    inode: 7,
                }
                .on_machine(NonZeroU16::new(machine).unwrap())
                .unwrap(),
                kind: FileKind::Regular,
                len: 1,
                allocated: 1,
                modified: SystemTime::UNIX_EPOCH,
                changed: SystemTime::UNIX_EPOCH,
                mode: 0o644,
                uid: 0,
                gid: 0,
                links: 1,
            };
            ScannedFile {
                stat: Some(stat),
                sharing: Some(Box::new(Sharing {
                    name: Path::new("nas:/a").into(),
                    keeps_inodes: true,
                    is_read_only: false,
                    seen_as: Vec::new(),
                })),
                ..file(path)
            }
        };
        let mut ui = Ui::new(Settings::default(), (120, 24));
        ui.app.hosts = Hosts::of(&["one", "two"].map(host));
        let mut effects = Vec::new();
        ask_all(&mut ui.app, &mut effects);
        let id = |ui: &Ui, at: usize| ui.app.hosts.list[at].query_id;
        for (at, name) in [(1, "two:/m/a"), (0, "one:/n/a")] {
            let file = shared(name, u16::try_from(at).unwrap() + 1);
            let told = Msg::FarFound(id(&ui, at), at, vec![file, self::file("two:/own")]);
            update(&mut ui, told);
            let told = Msg::FarScanned(id(&ui, at), at, Ok(ScanEnd::default()));
            let mut effects = update(&mut ui, told);
            effects.extend(update(&mut ui, Msg::Resize(120, 24)));
            for (made, forest) in asked(effects) {
                update(&mut ui, Msg::Gathered(made, forest));
            }
        }
        assert_eq!(names(&ui), ["one:/n/a", "two:/own"].map(PathBuf::from));
        let forest = &ui.app.forest;
        let node = forest.by_path(Path::new("one:/n/a")).unwrap();
        for (line, is_found) in [("host:one", true), ("host:two", true), ("host:x", false)] {
            let places = Places {
                roots: &[],
                home: None,
            };
            let hits = Filter::parse(line).hits(forest, places, SystemTime::UNIX_EPOCH);
            assert_eq!(hits.contains(node.id), is_found, "{line}");
        }
    }

    #[test]
    fn what_is_made_of_older_images_of_this_machine_is_not_shown() {
        let mut ui = Ui::new(Settings::default(), (80, 24));
        ui.app.hosts = Hosts::of(&[host("one")]);
        ui.app.refresh.refreshing = Some(7);
        let mut forest = Forest::new();
        forest.extend([file("/srv/old")]);
        ui.app.forest = Arc::new(forest.clone());
        ui.app.refresh.here = Some(Arc::new(forest));
        ui.app.refresh.is_far_outdated = true;
        let gathers = asked(update(&mut ui, Msg::Resize(80, 24)));
        let [(made, forest)] = gathers.try_into().unwrap();
        let mut newer = Forest::new();
        newer.extend([file("/srv/new")]);
        update(&mut ui, Msg::Refreshed(7, Arc::new(newer)));
        update(&mut ui, Msg::Gathered(made, forest));
        assert_eq!(names(&ui), ["/srv/new"].map(PathBuf::from));
    }
}
