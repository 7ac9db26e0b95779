//! All facts of the selected image: one table of what there is to say, in the order it is said.

use ratatui::text::{Line, Span};

use crate::fleet::HERE;
use crate::forest::{BackingState, Content, Flags, Location, Node, NodeId, Reads};
use crate::host::printable;
use crate::image::{Encryption, ImageInfo};
use crate::inside::VolumeContents;
use crate::ops::{Remedy, fixes};
use crate::tui::app::App;
use crate::tui::hosts::HostSeen;
use crate::tui::layout::Layout;
use crate::tui::msg::LiveInfo;
use crate::tui::remedies;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::units;

/// Cells of the longest label.
const LABEL: usize = 11;

/// Neighbours named at most.
const NAMED: usize = 12;

/// One fact: a label, and what there is to say.
struct Fact {
    label: &'static str,
    text: String,
    role: Role,
    /// Whether it stands on lines of its own.
    long: bool,
}

/// The image that is told about.
struct About<'a> {
    app: &'a App,
    node: &'a Node,
    /// What the disk told of it since it was selected.
    live: Option<&'a LiveInfo>,
}

/// What there is to say of one thing, and how it looks; nothing where the image has no such thing.
type Told = Vec<(String, Role)>;

/// A row of the table: the label, whether it stands on lines of its own, and what there is to say.
type FactRow = (&'static str, bool, fn(&About<'_>) -> Told);

#[rustfmt::skip] // One row a line reads as the table it is.
const FACTS: &[FactRow] = &[
    ("host", false, host),
    ("storage", true, storage),
    ("seen as", true, seen_as),
    ("virtual", false, |it| plain(it.node.virtual_size().map(units::size))),
    ("on disk", false, on_disk),
    ("format", false, format),
    ("cluster", false, |it| of_header(it, |info| units::size(info.cluster_size))),
    ("refcounts", false, |it| of_header(it, |info| format!("{} bits", info.refcount_bits))),
    ("compression", false, |it| of_header(it, |info| info.compression.name().to_owned())),
    ("inside", true, inside),
    ("snapshots", false, |it| of_header(it, |info| info.snapshots.to_string())),
    ("bitmaps", false, bitmaps),
    ("features", false, features),
    ("encrypted", false, encrypted),
    ("data file", true, data_file),
    ("unknown", true, unknown_features),
    ("changed", false, changed),
    ("mode", false, mode),
    ("free", false, free),
    ("children", false, children),
    ("state", true, state),
    ("in use", true, in_use),
    ("machine", true, machines),
    ("tags", true, |it| plain(it.node.annotation.as_ref().map(|it| it.tag_words()).filter(|it| !it.is_empty()))),
    ("note", true, note),
    ("where", true, location),
    ("error", true, error),
    ("path", true, |it| plain(Some(it.app.shown(&it.node.path)))),
    ("also", true, other_names),
    ("backing", true, backing),
    ("leads to", true, leads_to),
    ("chain", true, chain),
    ("under", true, under),
    ("reads", true, reads),
    ("read by", true, read_by),
    ("bytes", true, bytes),
];

fn facts(app: &App, node: &Node) -> Vec<Fact> {
    let live = app.detail.info.as_ref();
    let live = live.filter(|live| live.path == node.path);
    let about = About { app, node, live };
    let mut info = Vec::new();
    for (label, long, tell) in FACTS {
        info.extend(tell(&about).into_iter().map(|(text, role)| Fact {
            label,
            text,
            role,
            long: *long,
        }));
    }
    info
}

fn plain(text: Option<String>) -> Told {
    text.into_iter().map(|text| (text, Role::Plain)).collect()
}

fn told(text: impl Into<String>, role: Role) -> Told {
    vec![(text.into(), role)]
}

/// The host that it is of, and whether nothing is changed there.
fn host(it: &About<'_>) -> Told {
    let at = it.app.hosts.of_path(&it.node.path);
    let host = at.and_then(|at| it.app.hosts.list.get(at));
    plain(host.map(HostSeen::marked_name))
}

/// The name that the storage has for it which several machines see.
fn storage(it: &About<'_>) -> Told {
    let sharing = it.node.sharing.as_deref();
    plain(sharing.map(|sharing| printable(&*sharing.name)))
}

/// By which machines it is seen, and by which names; what is done is done on the first of them.
fn seen_as(it: &About<'_>) -> Told {
    let names = it.app.forest.names_on_hosts(it.node, HERE);
    let more = names.len().saturating_sub(NAMED);
    let rest = (more > 0).then(|| (format!("and {more} more"), Role::Dim));
    let names = names.iter().take(NAMED);
    let names = names.map(|name| (printable(name), Role::Plain));
    names.chain(rest).collect()
}

/// What the header of a qcow2 image says.
fn of_header(it: &About<'_>, text: fn(&ImageInfo) -> String) -> Told {
    plain(it.node.info().map(text))
}

/// What is on its disk: the operating system, and each volume.
fn inside(it: &About<'_>) -> Told {
    let known = it.app.detail.files.contents.as_ref();
    let Some((_, contents)) = known.filter(|(path, _)| *path == it.node.path) else {
        // What was found before, until it is looked at anew.
        let kept = it.app.insides.found.get(&it.node.path);
        return plain(kept.and_then(|inside| inside.system_text()));
    };
    let mut lines = Told::new();
    if let Some(system) = contents.system() {
        let host = system
            .hostname
            .as_ref()
            .map(|name| format!(", host {name}"));
        let written = system
            .written
            .map(|at| format!(", written {}", units::utc(at)));
        let (host, written) = (host.unwrap_or_default(), written.unwrap_or_default());
        lines.push((
            text::safe(&format!("{}{host}{written}", system.name)),
            Role::Plain,
        ));
    }
    for volume in contents.volumes.iter().take(NAMED) {
        let label = if volume.label.is_empty() {
            String::new()
        } else {
            format!(" \"{}\"", volume.label)
        };
        let space = match (volume.used, volume.total) {
            (Some(used), Some(total)) => {
                format!(", {} of {} used", units::size(used), units::size(total))
            }
            _ => format!(", {}", units::size(volume.len)),
        };
        let role = if volume.caution.is_some() {
            Role::Warning
        } else {
            Role::Plain
        };
        lines.push((
            text::safe(&format!(
                "{}: {}{}{label}{space}",
                volume.name,
                volume.kind,
                opens(volume)
            )),
            role,
        ));
        lines.extend(
            volume
                .caution
                .iter()
                .map(|why| (text::safe(why), Role::Warning)),
        );
    }
    lines
}

/// What is said of an encrypted volume besides what is on it.
fn opens(volume: &VolumeContents) -> String {
    match (volume.is_locked, volume.encryption) {
        (true, _) => " (the list of files asks for it)".to_owned(),
        (false, Some(how)) => format!(" in {how}"),
        (false, None) => String::new(),
    }
}

/// What people have noted of it, line by line.
fn note(it: &About<'_>) -> Told {
    let noted = it.node.annotation.as_ref();
    let lines = noted.into_iter().flat_map(|noted| noted.text.lines());
    lines.map(|line| (text::safe(line), Role::Plain)).collect()
}

fn on_disk(it: &About<'_>) -> Told {
    let Some(bytes) = it.node.size_on_disk() else {
        return Told::new();
    };
    let share = it
        .node
        .virtual_size()
        .filter(|all| *all > 0)
        .map(|all| u128::from(bytes) * 1000 / u128::from(all))
        .map(|tenths| format!(" ({}.{}%)", tenths / 10, tenths % 10))
        .unwrap_or_default();
    plain(Some(format!("{}{share}", units::size(bytes))))
}

fn format(it: &About<'_>) -> Told {
    let Some(info) = it.node.info() else {
        return plain(it.node.format().map(|format| text::safe(format.name())));
    };
    let compat = if info.version < 3 { "0.10" } else { "1.1" };
    plain(Some(format!("qcow2 v{} (compat {compat})", info.version)))
}

fn bitmaps(it: &About<'_>) -> Told {
    let count = it.node.info().map(|info| info.bitmaps);
    plain(
        count
            .filter(|count| *count > 0)
            .map(|count| count.to_string()),
    )
}

fn features(it: &About<'_>) -> Told {
    let Some(info) = it.node.info() else {
        return Told::new();
    };
    let features: Vec<&str> = [
        (info.extended_l2, "subclusters"),
        (info.lazy_refcounts, "lazy refcounts"),
        (info.external_data, "external data file"),
        (info.data_file_raw, "raw external data"),
    ]
    .into_iter()
    .filter_map(|(is_on, name)| is_on.then_some(name))
    .collect();
    plain((!features.is_empty()).then(|| features.join(", ")))
}

fn encrypted(it: &About<'_>) -> Told {
    let encryption = it.node.info().and_then(|info| info.encryption);
    let name = encryption.map(|encryption| match encryption {
        Encryption::Aes => "AES (legacy)",
        Encryption::Luks => "LUKS",
    });
    name.map_or_else(Told::new, |name| told(name, Role::Warning))
}

fn data_file(it: &About<'_>) -> Told {
    let file = it.node.info().and_then(|info| info.data_file.as_ref());
    plain(file.map(printable))
}

fn unknown_features(it: &About<'_>) -> Told {
    match it.node.info() {
        Some(info) if !info.unknown_features.is_empty() => {
            told(text::safe(&info.unknown_features.join(", ")), Role::Warning)
        }
        _ => Told::new(),
    }
}

fn changed(it: &About<'_>) -> Told {
    let stat = it.node.stat.as_ref();
    plain(stat.map(|stat| format!("{} ago", text::age(stat.modified, it.app.now()))))
}

fn mode(it: &About<'_>) -> Told {
    let stat = it.node.stat.as_ref();
    plain(stat.map(|stat| format!("{:o}", stat.mode & 0o7777)))
}

fn free(it: &About<'_>) -> Told {
    let space = it.live.and_then(|live| live.space);
    plain(space.map(|space| {
        format!(
            "{} of {}",
            units::size(space.available),
            units::size(space.total)
        )
    }))
}

fn children(it: &About<'_>) -> Told {
    let all = it.node.children.len();
    plain(Some(
        match it.app.forest.trashed_children(it.node).count() {
            0 => all.to_string(),
            trashed => format!("{} and {trashed} in the trash", all.saturating_sub(trashed)),
        },
    ))
}

fn state(it: &About<'_>) -> Told {
    let flags = it.app.forest.flags(it.node.id);
    let state = match it.node.location {
        Location::Missing => "missing: the file is not there",
        Location::Elsewhere => "not a local file",
        Location::InTrash => "in the trash: kept as it is until the trash is emptied",
        _ if flags.contains(Flags::FROZEN) => "frozen: others are built on it, it is only read",
        _ if flags.contains(Flags::ACTIVE) => "active: nothing is built on it, it may be written",
        _ => return Told::new(),
    };
    told(state, Role::Plain)
}

fn in_use(it: &About<'_>) -> Told {
    let holders = it
        .live
        .map_or(it.node.holders.as_slice(), |live| &live.holders);
    if holders.is_empty() {
        let is_used = it.app.forest.flags(it.node.id).contains(Flags::IN_USE);
        return match is_used {
            true => told("through an image built on it", Role::InUse),
            false => Told::new(),
        };
    }
    let names = holders.iter().map(|holder| {
        let how = if holder.writes { "writes" } else { "reads" };
        if holder.is_unseen() {
            return format!("by whom cannot be seen: it {how}");
        }
        format!("{} {how}", text::safe(&holder.to_string()))
    });
    told(names.collect::<Vec<_>>().join(", "), Role::InUse)
}

fn machines(it: &About<'_>) -> Told {
    let uses = it.app.forest.uses(it.node).into_iter().take(NAMED);
    uses.map(|used| (text::safe(&used.to_string()), Role::Plain))
        .collect()
}

fn location(it: &About<'_>) -> Told {
    if it.node.is_awaited() {
        let text = "not looked at yet: the scan comes to it last";
        told(text, Role::Dim)
    } else if it.node.location == Location::OutsideScan {
        let text = "outside the scanned folders: not opened, only looked at";
        told(text, Role::Warning)
    } else {
        Told::new()
    }
}

fn error(it: &About<'_>) -> Told {
    match &it.node.content {
        Content::Unreadable(why) | Content::Damaged(why) if it.node.problems.is_empty() => {
            told(text::safe(why), Role::Error)
        }
        _ => Told::new(),
    }
}

fn other_names(it: &About<'_>) -> Told {
    let names = it.node.other_names.iter();
    names
        .map(|other| (it.app.shown(other), Role::Plain))
        .collect()
}

fn backing(it: &About<'_>) -> Told {
    plain(it.node.backing.as_ref().map(|backing| {
        let format = backing.format().map_or_else(
            || "no format recorded".to_owned(),
            |format| text::safe(format.name()),
        );
        format!("{} ({format})", printable(backing.name()))
    }))
}

fn leads_to(it: &About<'_>) -> Told {
    let Some(backing) = &it.node.backing else {
        return Told::new();
    };
    match (&backing.state, it.app.forest.leads_to(it.node)) {
        (BackingState::Present(_), Some(path)) if !backing.is_understood() => {
            let text = format!("{}, read in a way not understood", it.app.shown(path));
            told(text, Role::Warning)
        }
        (BackingState::Present(_), Some(path)) => told(it.app.shown(path), Role::Plain),
        (BackingState::Missing, _) => told("nothing: the file is missing", Role::Error),
        (BackingState::Unreachable(why), _) => told(text::safe(why), Role::Error),
        (BackingState::Elsewhere(protocol), _) => {
            let text = format!("not a plain local file: {}", text::safe(protocol));
            told(text, Role::Plain)
        }
        (BackingState::Present(_), None) => Told::new(),
    }
}

fn chain(it: &About<'_>) -> Told {
    let app = it.app;
    let arrow = if app.settings.ascii { " <- " } else { " ← " };
    let layers = &app.detail.chain.ids;
    if layers.len() < 2 {
        return Told::new();
    }
    // From the root on; of a long chain only both ends.
    let names = |part: &[NodeId]| -> Vec<String> {
        let nodes = part.iter().rev().filter_map(|id| app.forest.get(*id));
        nodes.map(|node| units::file_name(&node.path)).collect()
    };
    let shown = match (layers.first_chunk::<4>(), layers.last_chunk::<4>()) {
        (Some(near), Some(far)) if layers.len() > 12 => {
            let mut short = names(far);
            short.push(format!("({} more)", layers.len() - 8));
            short.extend(names(near));
            short
        }
        _ => names(layers),
    };
    told(shown.join(arrow), Role::Plain)
}

fn under(it: &About<'_>) -> Told {
    let children = &it.node.children;
    if children.is_empty() {
        return Told::new();
    }
    let nodes = children.iter().take(NAMED);
    let nodes = nodes.filter_map(|id| it.app.forest.get(*id));
    let names = nodes.map(|child| {
        let name = units::file_name(&child.path);
        if child.is_in_trash() {
            format!("{name} (in the trash)")
        } else {
            name
        }
    });
    let names = names.collect::<Vec<_>>().join(", ");
    let more = match children.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    told(format!("{names}{more}"), Role::Plain)
}

fn reads(it: &About<'_>) -> Told {
    let edges = it.app.forest.also_reads(it.node.id);
    let tell = |edge: &crate::forest::Edge| {
        let text = format!("{}, {}", it.app.shown(&edge.path), reading(edge.how));
        (text, Role::Warning)
    };
    edges.iter().map(tell).collect()
}

fn read_by(it: &About<'_>) -> Told {
    let readers = it.app.forest.readers(it.node.id).into_iter();
    let others = readers.filter(|reader| reader.how != Reads::Backing);
    let tell = others.take(NAMED).filter_map(|reader| {
        let image = it.app.forest.get(reader.node)?;
        let text = format!("{}, {}", it.app.shown(&image.path), reading(reader.how));
        Some((text, Role::Warning))
    });
    tell.collect()
}

fn bytes(it: &About<'_>) -> Told {
    let Some(stat) = &it.node.stat else {
        return Told::new();
    };
    let mut bytes = format!(
        "{} long, {} allocated",
        units::grouped(stat.len),
        units::grouped(stat.allocated)
    );
    if let Some(size) = it.node.virtual_size() {
        bytes.push_str(&format!(", guest sees {}", units::grouped(size)));
    }
    told(bytes, Role::Quiet)
}

/// How an image reads a file, in words.
fn reading(how: Reads) -> &'static str {
    match how {
        Reads::Backing => "as its backing file",
        Reads::NotUnderstood => "in a way not understood",
        Reads::OtherName => "when opened by another name",
        Reads::DataFile => "as its data file",
    }
}

/// All facts: problems first, since they are what one looks for.
pub(in crate::tui) fn lines(
    app: &App,
    layout: &Layout,
    node: &Node,
    width: usize,
) -> Vec<Line<'static>> {
    let theme = app.settings.theme;
    let mut lines = Vec::new();
    for problem in &node.problems {
        let mut helps = fixes(&app.forest, node, problem.kind);
        helps.retain(|one| !app.settings.read_only || matches!(one, Remedy::Check(_)));
        let words = remedies::told(app, &problem.message, &helps, Some(&node.path));
        for (i, part) in text::wrap(&words, width.saturating_sub(4), 0)
            .into_iter()
            .enumerate()
        {
            let sign = if i == 0 { " ! " } else { "   " };
            lines.push(Line::from(vec![
                Span::styled(sign, theme.style(Role::Error)),
                Span::raw(text::safe(&part)),
            ]));
        }
    }
    // A tall narrow pane has a line for each fact; a flat wide one puts them side by side.
    let flat = layout.detail.height < 14;
    let mut row: Vec<Span<'static>> = vec![Span::raw(" ")];
    let mut used = 1;
    for fact in facts(app, node) {
        if flat && !fact.long {
            let needed = text::width(fact.label) + 1 + text::width(&fact.text) + 3;
            if used + needed > width && used > 1 {
                lines.push(Line::from(std::mem::replace(
                    &mut row,
                    vec![Span::raw(" ")],
                )));
                used = 1;
            }
            used += needed;
            row.push(Span::styled(
                format!("{} ", fact.label),
                theme.style(Role::Quiet),
            ));
            row.push(Span::styled(fact.text, theme.style(fact.role)));
            row.push(Span::raw("   "));
            continue;
        }
        if used > 1 {
            lines.push(Line::from(std::mem::replace(
                &mut row,
                vec![Span::raw(" ")],
            )));
            used = 1;
        }
        let label = text::pad(fact.label, LABEL, app.settings.ascii);
        let parts = text::wrap(&fact.text, width.saturating_sub(LABEL + 3), 0);
        for (i, part) in parts.into_iter().enumerate() {
            let label = if i == 0 {
                label.clone()
            } else {
                " ".repeat(LABEL)
            };
            lines.push(Line::from(vec![
                Span::styled(format!(" {label} "), theme.style(Role::Quiet)),
                Span::styled(part, theme.style(fact.role)),
            ]));
        }
    }
    if used > 1 {
        lines.push(Line::from(row));
    }
    lines
}
