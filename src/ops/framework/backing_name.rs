//! The name by which an overlay will know its base: computed here, read by every program that
//! opens the overlay. What a recorded name means is [`crate::image::BackingName`]'s business.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf, absolute};

use crate::forest::Node;
use crate::host::{Host, io_text, printable};
use crate::image::{BackingName, taken_from};
use crate::qcow2::limits::MAX_BACKING_NAME_BYTES;

use super::backing_style::BackingStyle;
use super::context::Context;
use super::copy_file::folder;
use super::format::shown;
use super::refusal::{Reason, RefusalKind};
use super::resolve::unseen;

/// How `child` will name `base`: relative or absolute, as it named its backing file before.
pub(in crate::ops) fn leading_to(
    context: &Context,
    child: &Node,
    base: &Path,
    style: Option<BackingStyle>,
) -> Result<OsString, String> {
    let style = style.unwrap_or_else(|| recorded_style(child));
    leading_from_all(context, child, base, style)
}

/// The name of `base` as recorded in an overlay that lies in `dir`. Both paths are absolute and
/// their directories free of links, since `..` means the directory on disk, not the one in the name.
fn record(dir: &Path, base: &Path, style: BackingStyle) -> OsString {
    match style {
        BackingStyle::Absolute => base.as_os_str().to_owned(),
        BackingStyle::Relative => guarded(relative(dir, base).as_os_str()),
    }
}

/// How a recorded name was recorded.
pub(in crate::ops) fn style_of(recorded: &OsStr) -> BackingStyle {
    if Path::new(recorded).is_absolute() {
        BackingStyle::Absolute
    } else {
        BackingStyle::Relative
    }
}

/// How an image's backing name was recorded; relative where it has none.
pub(in crate::ops) fn recorded_style(node: &Node) -> BackingStyle {
    let backing = node.backing.as_ref();
    backing.map_or(BackingStyle::Relative, |backing| style_of(backing.name()))
}

/// The name by which `overlay`, which need not exist yet, will know `base`: proven to lead there,
/// whatever links lie in between.
///
/// # Errors
/// A sentence that says why there is no such name.
pub(in crate::ops) fn leading(
    host: &dyn Host,
    overlay: &Path,
    base: &Path,
    style: BackingStyle,
) -> Result<OsString, String> {
    let recorded = between(host, overlay, base, style)?;
    let overlay_there = home(host, overlay)?;
    let leads_to = BackingName::interpret(&overlay_there, &recorded)
        .file()
        .and_then(|path| host.stat(path).ok())
        .map(|stat| stat.id);
    if leads_to.is_none() || leads_to != host.stat(base).ok().map(|stat| stat.id) {
        return Err(format!(
            "from {} the name {} does not lead to {}: choose another place, or an absolute name",
            shown(overlay),
            printable(&recorded),
            shown(base)
        ));
    }
    Ok(recorded)
}

/// [`leading`] for an image that is there: the name leads to the base from every name that is known of the
/// image. Where no relative one does, it is absolute.
///
/// # Errors
/// A sentence that says why there is no such name.
pub(in crate::ops) fn leading_from_all(
    context: &Context,
    overlay: &Node,
    base: &Path,
    style: BackingStyle,
) -> Result<OsString, String> {
    let host = context.host.as_ref();
    let names = context.forest.names(overlay);
    let recorded = leading(host, &overlay.path, base, style).and_then(|recorded| {
        leads_from_all(host, overlay, &names, base, &recorded).map(|()| recorded)
    });
    match recorded {
        Err(_) if style == BackingStyle::Relative && names.len() > 1 => {
            let recorded = leading(host, &overlay.path, base, BackingStyle::Absolute)?;
            leads_from_all(host, overlay, &names, base, &recorded).map(|()| recorded)
        }
        other => other,
    }
}

/// Whether a recorded name leads to the base from every name of the image.
fn leads_from_all(
    host: &dyn Host,
    overlay: &Node,
    names: &[PathBuf],
    base: &Path,
    recorded: &OsStr,
) -> Result<(), String> {
    let wanted = host.stat(base).ok().map(|stat| stat.id);
    for name in names.iter().filter(|name| {
        let there = host.stat(name).ok().map(|stat| stat.id);
        there.is_some() && there == overlay.file_id()
    }) {
        let end = BackingName::interpret(name, recorded);
        let end = end.file().and_then(|path| host.stat(path).ok());
        if end.map(|stat| stat.id) != wanted {
            return Err(format!(
                "from {}, another name of {}, the name {} does not lead to {}: record an absolute name",
                shown(name),
                shown(&overlay.path),
                printable(recorded),
                shown(base)
            ));
        }
    }
    Ok(())
}

/// The style for an image whose base is not there yet: a relative name holds from one folder only, and an
/// image may be known by names in several.
pub(in crate::ops) fn style_for(
    context: &Context,
    image: &Node,
    style: BackingStyle,
) -> BackingStyle {
    let place = |name: &PathBuf| context.host.canonical(folder(name)).ok();
    let own = place(&image.path);
    let mut others = context
        .forest
        .names(image)
        .into_iter()
        .filter_map(|name| place(&name));
    match others.any(|place| Some(place) != own) {
        true => BackingStyle::Absolute,
        false => style,
    }
}

/// The name by which `image` will know `file`, its data file: neither need exist yet.
///
/// # Errors
/// A sentence that says why there is no such name.
pub(in crate::ops) fn of_new_file(
    host: &dyn Host,
    image: &Path,
    file: &Path,
    style: BackingStyle,
) -> Result<OsString, String> {
    let image_there = real_place(host, image)?;
    let file_there = real_place(host, file)?;
    if image_there == file_there {
        return Err(format!(
            "{} cannot be the image and its data file at once",
            shown(file)
        ));
    }
    let dir = image_there.parent().unwrap_or(Path::new("/"));
    let recorded = record(dir, &file_there, style);
    let leads_to = BackingName::interpret(&image_there, &recorded);
    let leads_to = leads_to.file().and_then(|path| real_place(host, path).ok());
    if recorded.len() > MAX_BACKING_NAME_BYTES || leads_to.as_ref() != Some(&file_there) {
        return Err(format!(
            "from {} the name {} does not lead to {}: choose a place nearer to the image",
            shown(image),
            printable(&recorded),
            shown(file)
        ));
    }
    Ok(recorded)
}

/// As [`leading`], for a base that is not there yet: its directory is.
///
/// # Errors
/// A sentence that says why there is no such name.
pub(in crate::ops) fn between(
    host: &dyn Host,
    overlay: &Path,
    base: &Path,
    style: BackingStyle,
) -> Result<OsString, String> {
    let overlay_there = home(host, overlay)?;
    let dir = overlay_there.parent().unwrap_or(Path::new("/"));
    let recorded = record(dir, &real_place(host, base)?, style);
    within_bound(overlay, base, recorded)
}

/// The name, if a header holds it.
fn within_bound(overlay: &Path, base: &Path, recorded: OsString) -> Result<OsString, String> {
    if recorded.len() > MAX_BACKING_NAME_BYTES {
        return Err(format!(
            "the way from {} to {} is {} bytes long, and a header holds {MAX_BACKING_NAME_BYTES}: \
             choose a place nearer to the base",
            shown(overlay),
            shown(base),
            recorded.len()
        ));
    }
    Ok(recorded)
}

/// As [`between`], for a base of which not even the folder need be there.
///
/// # Errors
/// A sentence that says why there is no such name.
pub(in crate::ops) fn to_missing(
    host: &dyn Host,
    overlay: &Path,
    base: &Path,
    style: BackingStyle,
) -> Result<OsString, Reason> {
    let no_name = |sentence| Reason::new(RefusalKind::BackingName, sentence);
    let there = absolute(base)
        .map_err(|error| no_name(format!("{}: {error}", shown(base), error = io_text(&error))))?;
    let goes_up = |path: &Path| path.components().any(|part| part == Component::ParentDir);
    let place = folder(&there).ancestors().find_map(|dir| {
        let dir_there = host.canonical(dir).ok()?;
        let rest = there.strip_prefix(dir).ok()?;
        (!goes_up(rest)).then(|| dir_there.join(rest))
    });
    let Some(place) = place else {
        return Err(no_name(format!(
            "where {} is to be cannot be told: name it without `..`",
            shown(base)
        )));
    };
    let overlay_there = home(host, overlay).map_err(no_name)?;
    if overlay_there == place {
        let sentence = format!("{} cannot be built on itself", shown(overlay));
        return Err(Reason::new(RefusalKind::Loop, sentence));
    }
    let dir = overlay_there.parent().unwrap_or(Path::new("/"));
    let recorded = record(dir, &place, style);
    within_bound(overlay, base, recorded).map_err(no_name)
}

/// From where the names that an image records are seen: one in the trash is put back where it was.
fn home(host: &dyn Host, overlay: &Path) -> Result<PathBuf, String> {
    match taken_from(overlay) {
        Some(home) => real_place(host, &home),
        None => real_place(host, overlay),
    }
}

/// The path with the links in its directory resolved; the last part stays the name it is.
///
/// # Errors
/// A sentence, when it is no name for a file or its directory cannot be looked at.
pub(in crate::ops) fn real_place(host: &dyn Host, path: &Path) -> Result<PathBuf, String> {
    let dir = folder(path);
    let file = path
        .file_name()
        .ok_or_else(|| format!("{} is no name for a file", shown(path)))?;
    let dir = host
        .canonical(dir)
        .map_err(|error| unseen(dir, &error).text)?;
    Ok(dir.join(file))
}

/// The way from a directory to a file, both absolute.
fn relative(dir: &Path, file: &Path) -> PathBuf {
    let shared = dir
        .components()
        .zip(file.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = dir
        .components()
        .skip(shared)
        .filter(|part| *part != Component::CurDir)
        .map(|_| Component::ParentDir);
    up.chain(file.components().skip(shared)).collect()
}

/// QEMU takes `a:b` for protocol `a`, unless a slash comes before the colon.
fn guarded(name: &OsStr) -> OsString {
    let bytes = name.as_bytes();
    match bytes.iter().find(|&&byte| byte == b':' || byte == b'/') {
        Some(b':') => OsString::from_vec([b"./", bytes].concat()),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(dir: &str, base: &str) -> String {
        record(Path::new(dir), Path::new(base), BackingStyle::Relative)
            .into_string()
            .unwrap()
    }

    #[test]
    fn relative_names_go_up_and_down() {
        assert_eq!(text("/vm", "/vm/base"), "base");
        assert_eq!(text("/vm/a/b", "/vm/c/base"), "../../c/base");
        assert_eq!(text("/vm", "/other/base"), "../other/base");
        assert_eq!(text("/", "/base"), "base");
    }

    #[test]
    fn a_name_that_looks_like_a_protocol_is_guarded() {
        assert_eq!(text("/vm", "/vm/a:b"), "./a:b");
        assert_eq!(text("/vm", "/vm/json:{}"), "./json:{}");
        assert_eq!(text("/vm", "/vm/c/a:b"), "c/a:b");
        assert_eq!(text("/vm/d", "/vm/a:b"), "../a:b");
    }

    /// The path with `..` worked off.
    fn normal(path: &Path) -> PathBuf {
        let mut out = PathBuf::new();
        for part in path.components() {
            match part {
                Component::ParentDir => {
                    out.pop();
                }
                Component::CurDir => {}
                part => out.push(part),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn what_is_recorded_leads_to_the_base(
            dir in prop::collection::vec("[a-c:]{1,2}", 0..4),
            base in prop::collection::vec("[a-c:]{1,2}", 1..4),
            absolute in any::<bool>(),
        ) {
            let dir = Path::new("/").join(dir.join("/"));
            let base = Path::new("/").join(base.join("/"));
            let style = if absolute { BackingStyle::Absolute } else { BackingStyle::Relative };
            let name = record(&dir, &base, style);
            let read = BackingName::interpret(&dir.join("overlay"), &name);
            prop_assert_eq!(read.file().map(normal), Some(base));
        }
    }
}
