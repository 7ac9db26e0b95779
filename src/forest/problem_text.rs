//! What is wrong with one image, in words: what happened, to which file. Which kinds of problem there are is in
//! `problem`, what helps is known above; checks of an image's content are not made here.

use std::path::Path;

use thin_vec::ThinVec;

use crate::host::{Volume, printable, shell_quoted};
use crate::image::{self, BackingName, Format, ImageInfo};

use super::written::writer_of;
use super::{
    Backing, BackingState, Content, Forest, Location, Node, NodeId, Problem, ProblemKind, Reads,
};

/// Everything wrong with a node, the worst first.
pub(super) fn problems_of(forest: &Forest, id: NodeId) -> ThinVec<Problem> {
    let Some(node) = forest.get(id) else {
        return ThinVec::new();
    };
    let mut problems = ThinVec::new();
    if node.location != Location::Scanned {
        // The images that name it have the problem; what is in the trash is no trouble to anybody.
        return problems;
    }
    let mut say = |kind, message| problems.push(Problem { kind, message });
    match &node.content {
        Content::Unreadable(why) => say(ProblemKind::Unreadable, why.clone()),
        Content::Damaged(why) => say(ProblemKind::Damaged, why.clone()),
        _ => {}
    }
    let name = printable(&node.path);
    if let Some(text) = written(forest, node, &name) {
        say(ProblemKind::WrittenUnder, text);
    }
    if let Some(info) = node.info() {
        if let Some(text) = relative_data_file(node, info, &name) {
            say(ProblemKind::DirectoryDependentDataFile, text);
        }
        if let Some(text) = missing_data_file(forest, node, info, &name) {
            say(ProblemKind::MissingDataFile, text);
        }
        if let Some(why) = &info.truncated {
            say(ProblemKind::Truncated, why.clone());
        }
        if let Some(why) = &info.unopenable {
            say(
                ProblemKind::Unopenable,
                format!("{name} {}. QEMU does not open it.", printable(&*why.why)),
            );
        }
        if info.corrupt {
            say(
                ProblemKind::CorruptBit,
                format!("{name} is marked corrupt, so QEMU refuses to write it."),
            );
        }
        if info.dirty {
            say(
                ProblemKind::DirtyBit,
                format!(
                    "{name} was not closed cleanly: its reference counts may be out of date. QEMU \
                     rebuilds them when it next writes the image, as a repair does."
                ),
            );
        }
        if !info.unknown_features.is_empty() {
            let features: Vec<String> = info.unknown_features.iter().map(printable).collect();
            say(
                ProblemKind::UnknownFeature,
                format!(
                    "{name} needs a feature that is not known here ({}), so its content stays closed. \
                     A newer program may know it.",
                    features.join(", ")
                ),
            );
        }
    }
    if let Some(backing) = &node.backing {
        backing_problems(forest, node, backing, &mut say);
    }
    problems
}

fn backing_problems(
    forest: &Forest,
    node: &Node,
    backing: &Backing,
    say: &mut impl FnMut(ProblemKind, String),
) {
    let name = printable(&node.path);
    let recorded = printable(backing.name());
    let parent = node.parent.and_then(|id| forest.get(id));
    let unresolvable = unresolvable(forest, node, backing);
    match &backing.state {
        BackingState::Missing | BackingState::Elsewhere(_) if unresolvable.is_some() => say(
            ProblemKind::UnresolvableBacking,
            unresolvable.unwrap_or_default(),
        ),
        BackingState::Missing if parent.is_none_or(|p| p.location == Location::Missing) => {
            say(
                ProblemKind::MissingBacking,
                missing(forest, node, &name, &recorded),
            );
        }
        BackingState::Unreachable(why) => say(
            ProblemKind::UnreachableBacking,
            format!("{name} is built on {recorded}, which cannot be looked at: {why}"),
        ),
        _ => {}
    }
    if node.in_loop {
        say(
            ProblemKind::Loop,
            if node.parent == Some(node.id) {
                format!(
                    "{name} names itself as its backing file, so nothing can open it. It has to name the image \
                     it was made from."
                )
            } else {
                format!(
                    "The backing files of {name} run in a circle: its chain comes back to it by way \
                     of {recorded}, so nothing can open it. One image of the circle has to name what it was made \
                     from."
                )
            },
        );
    }
    if BackingName::interpret(&node.path, backing.name()).depends_on_directory() {
        say(
            ProblemKind::DirectoryDependentBacking,
            format!(
                "{name} names what it is built on by {recorded}, whose relative file name QEMU takes as seen from \
                 the folder it is started in: here that was looked for from the current one. A plain name \
                 goes by where the image is."
            ),
        );
    }
    // What the file at its end is says nothing of what is read in a way that is not understood.
    match backing.format() {
        _ if !backing.is_understood() => {}
        None => say(
            ProblemKind::NoBackingFormat,
            no_format(parent, &name, &recorded),
        ),
        Some(format) => {
            if let Some(parent) = parent
                && let Some(message) = wrong_format(forest, format, parent, &name)
            {
                say(ProblemKind::WrongBackingFormat, message);
            }
        }
    }
}

/// Who changes what is below an image, or what others are built on.
fn written(forest: &Forest, node: &Node, name: &str) -> Option<String> {
    let layer = forest.written_layer(node.id)?;
    let writer = printable(writer_of(layer)?.to_string());
    let what = if layer.id == node.id {
        format!(
            "{name} is written by {writer} although other images are built on it: what they show changes under them"
        )
    } else {
        format!(
            "{name} is built on {}, which {writer} writes: what it shows changes under it",
            printable(&layer.path)
        )
    };
    Some(format!(
        "{what}, and sooner or later makes no sense. Stop that, and have it write an overlay of its own."
    ))
}

/// Without its data file no program opens an image.
fn missing_data_file(forest: &Forest, node: &Node, info: &ImageInfo, name: &str) -> Option<String> {
    let recorded = info.data_file.as_deref()?;
    let file = BackingName::interpret(&node.path, recorded);
    let here = file.file()?;
    let mut edges = forest.also_reads(node.id).iter();
    if edges.any(|edge| edge.how == Reads::DataFile && *edge.path == *here) {
        return None;
    }
    Some(format!(
        "{name} keeps its data in {}, which is not there: it cannot be opened. Put that back, or record where it \
         is.",
        printable(here)
    ))
}

/// QEMU takes a relative data-file name from where its process is, and not, as a backing name, from where the
/// image is.
fn relative_data_file(node: &Node, info: &ImageInfo, name: &str) -> Option<String> {
    let recorded = info.data_file.as_deref()?;
    let file = BackingName::interpret(&node.path, recorded);
    let here = file.file()?;
    let named = Path::new(recorded);
    if !named.is_relative() {
        return None;
    }
    let place = std::path::absolute(here).unwrap_or_else(|_| here.to_path_buf());
    let from_here = std::path::absolute(named).unwrap_or_else(|_| named.to_path_buf());
    let differs = if from_here == place {
        String::new()
    } else {
        format!(" (from here that is {})", printable(&from_here))
    };
    Some(format!(
        "{name} names its data file by {}, a relative name, which QEMU takes from the working directory of its \
         process{differs}; here the one beside the image is read. Its whole path is the same from everywhere.",
        printable(named)
    ))
}

fn missing(forest: &Forest, node: &Node, name: &str, recorded: &str) -> String {
    let path = forest.leads_to(node);
    let place = path.map_or_else(|| recorded.to_owned(), printable);
    if let Some(volume) = path.and_then(Volume::of_node) {
        return format!(
            "{name} is built on {place}, a logical volume that is not activated (or no longer there): its device \
             is missing. Activate it: `lvchange -ay {}`.",
            shell_quoted(volume.full_name())
        );
    }
    let what = format!("{name} is built on {place}, which is not there, so it cannot be read.");
    propose(forest, node, &what, path)
}

/// What was said, and the files of the name that is looked for, if there are any.
fn propose(forest: &Forest, node: &Node, what: &str, path: Option<&Path>) -> String {
    let found = path.map(|path| forest.namesakes_of(path, node.id));
    let found = found.unwrap_or_default();
    let mut places: Vec<String> = found
        .images
        .iter()
        .map(|image| printable(&image.path))
        .collect();
    if found.may_be_more {
        places.push("other places".to_owned());
    }
    match places.as_slice() {
        [] => format!("{what} Put the file back, or record where it went."),
        [only] => format!(
            "{what} A file of that name is at {only}: if it is the same disk, move it back, or record that place."
        ),
        [first @ .., last] => format!(
            "{what} Files of that name are at {} and {last}: if one of them is the same disk, move it back, or \
             record its place.",
            first.join(", ")
        ),
    }
}

fn no_format(parent: Option<&Node>, name: &str, recorded: &str) -> String {
    let is_known = |parent: &&Node| !matches!(parent.content, Content::Unopened);
    let error = format!(
        "\"format of backing image '{recorded}' of image '{name}' was not specified in the image metadata\""
    );
    let libvirt = match parent
        .filter(is_known)
        .map(|parent| parent.backing.is_some())
    {
        Some(true) => format!(
            "That file is built on another one, so libvirt starts no guest on this chain: {error}."
        ),
        Some(false) => {
            "libvirt looks into that file and starts the guest, since it is built on nothing."
                .to_owned()
        }
        None => format!(
            "If that file is built on another one, libvirt starts no guest on this chain: {error}."
        ),
    };
    format!(
        "{name} does not record the format of its backing file {recorded}. {libvirt} QEMU guesses by the \
         first bytes, which the guest of a raw disk can forge."
    )
}

/// What stands against a name that no Linux can resolve; none if it is another.
fn unresolvable(forest: &Forest, node: &Node, backing: &Backing) -> Option<String> {
    let found = image::unresolvable(backing.name())?;
    let protocol = match (&backing.state, &found.protocol) {
        (BackingState::Elsewhere(_), Some(protocol)) => {
            format!(" (QEMU takes {} for a protocol)", printable(protocol))
        }
        (BackingState::Missing, None) => String::new(),
        _ => return None,
    };
    let what = match found.is_windows {
        true => "a path of Windows, which leads nowhere here",
        false => "in which the colon is not escaped, so it leads nowhere",
    };
    let (name, recorded) = (printable(&node.path), printable(backing.name()));
    let said = format!("{name} is built on {recorded}, {what}{protocol}, so it cannot be read.");
    Some(propose(forest, node, &said, Some(Path::new(&found.file))))
}

fn wrong_format(forest: &Forest, format: &Format, parent: &Node, name: &str) -> Option<String> {
    let base = printable(&parent.path);
    if *format == Format::Raw {
        let looks = match (forest.overruled(parent.id), &parent.content) {
            (Some(Content::Qcow2(_)), _) | (None, Content::Qcow2(_)) => "qcow2",
            (Some(Content::Opaque(other)), _) | (None, Content::Opaque(other)) => other.name(),
            _ => return None,
        };
        return Some(format!(
            "{name} records raw for its backing file {base}, which begins like a {looks} image. If \
             it is one, the guest sees the file's own bytes instead of its disk, and {looks} has to be recorded. \
             If it is a raw disk, its guest wrote those bytes, and raw is right."
        ));
    }
    let actual = match &parent.content {
        Content::Qcow2(_) => Format::Qcow2,
        Content::Raw => Format::Raw,
        Content::Opaque(other) => other.clone(),
        Content::Damaged(_) | Content::Unreadable(_) | Content::Unopened => return None,
    };
    (actual != *format).then(|| {
        format!(
            "{name} records the format {} for its backing file {base}, which is {}, so QEMU cannot \
             open it.",
            printable(format.name()),
            printable(actual.name())
        )
    })
}
