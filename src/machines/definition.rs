//! Changing a disk in the XML of a domain, pure: a few bytes are put in the place of others, and all the rest stays as
//! it is. The result is read again, and has to be what was asked for.

use std::ops::Range;
use std::path::Path;

use roxmltree::Node;

use super::domain_xml::{XmlError, child, document};

/// What is to become of a disk's definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskEdit<'e> {
    /// What it is built on is for the headers to say: its `<backingStore>` goes.
    Unpin,
    /// It is read from this file and written to it.
    Source {
        /// The file, absolute.
        file: &'e Path,
        /// The file's format, where it may be another one than before.
        format: Option<&'e str>,
        /// Whether what the definition says of the layers below holds for that file as well.
        keeps_pin: bool,
    },
}

/// A definition with one disk changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditedDisk {
    /// The disk's element as it was.
    pub before: String,
    /// And as it is to be.
    pub after: String,
}

/// Why a definition is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// It cannot be read.
    #[error("the definition cannot be read: {0}")]
    Unreadable(String),
    /// There is no such disk, or more than one.
    #[error("the definition has {0} of that name")]
    NoDisk(&'static str),
    /// The disk is no file.
    #[error("its source in the definition is no file")]
    NoFile,
    /// More is said of its source, which fits that file only.
    #[error(
        "its source in the definition says <{0}> as well, which fits that file only: take that out of the definition first"
    )]
    SaysMore(String),
    /// Something is named that both would write.
    #[error("it names {0}, which both would write")]
    Shares(&'static str),
    /// A path that XML cannot hold.
    #[error("XML cannot hold that name")]
    Name,
    /// It would not be what was asked for.
    #[error("the changed definition does not read as it should")]
    Differs,
}

impl From<XmlError> for DefinitionError {
    fn from(error: XmlError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// The element of a disk, by the name that the machine has for it.
///
/// # Errors
/// `DefinitionError` where the definition has not exactly one.
pub fn disk_element<'t>(definition: &'t str, target: &str) -> Result<&'t str, DefinitionError> {
    let range = disk_range(definition, target)?;
    definition.get(range).ok_or(DefinitionError::Differs)
}

/// Changes a disk in a definition.
///
/// # Errors
/// `DefinitionError`; a definition is never changed in part.
pub fn edit_disk(
    definition: &str,
    target: &str,
    edit: &DiskEdit<'_>,
) -> Result<EditedDisk, DefinitionError> {
    let before = disk_element(definition, target)?;
    let mut pieces = pieces(before, edit)?;
    pieces.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    let mut after = before.to_owned();
    for (range, text) in pieces {
        if !after.is_char_boundary(range.start) || !after.is_char_boundary(range.end) {
            return Err(DefinitionError::Differs);
        }
        after.replace_range(range, &text);
    }
    let edited = EditedDisk {
        before: before.to_owned(),
        after,
    };
    is_as_asked(&edited, target, edit)
        .then_some(edited)
        .ok_or(DefinitionError::Differs)
}

/// The definition with this element in the place of the disk's.
///
/// # Errors
/// `DefinitionError` where the result does not read as it should.
pub fn with_disk(definition: &str, target: &str, element: &str) -> Result<String, DefinitionError> {
    let range = disk_range(definition, target)?;
    let mut changed = definition.to_owned();
    changed.replace_range(range, element);
    // What is no single element of a disk would be more of the definition than that.
    let put = disk_element(&changed, target)?;
    (put == element)
        .then_some(changed)
        .ok_or(DefinitionError::Differs)
}

/// Whether two elements say the same, however they are written.
#[must_use]
pub fn say_the_same(one: &str, other: &str) -> bool {
    let read = |text| document(text, false).map(|document| contents(document.root_element()));
    one == other || matches!((read(one), read(other)), (Ok(one), Ok(other)) if one == other)
}

/// An element and all inside, flat: how deep it is, its name, its attributes by name, its own text.
type Contents = Vec<(usize, String, Vec<(String, String)>, String)>;

fn contents(root: Node<'_, '_>) -> Contents {
    let mut all = Vec::new();
    let mut depth = 0_usize;
    let mut at = Some(root);
    while let Some(node) = at {
        if node.is_element() {
            let mut attributes: Vec<(String, String)> = node
                .attributes()
                .map(|one| (one.name().to_owned(), one.value().to_owned()))
                .collect();
            attributes.sort();
            let name = node.tag_name().name().to_owned();
            let text = node.text().unwrap_or_default().trim().to_owned();
            all.push((depth, name, attributes, text));
        }
        if let Some(inside) = node.first_child() {
            depth += 1;
            at = Some(inside);
            continue;
        }
        let mut left = node;
        at = loop {
            if left == root {
                break None;
            }
            if let Some(next) = left.next_sibling() {
                break Some(next);
            }
            let Some(above) = left.parent() else {
                break None;
            };
            depth = depth.saturating_sub(1);
            left = above;
        };
    }
    all
}

fn disk_range(definition: &str, target: &str) -> Result<Range<usize>, DefinitionError> {
    let document = document(definition, false)?;
    let devices = document
        .root()
        .descendants()
        .find(|node| node.has_tag_name("domain"))
        .and_then(|domain| child(domain, "devices"))
        .ok_or(DefinitionError::NoDisk("no disk"))?;
    let is_it = |node: &Node<'_, '_>| {
        node.has_tag_name("disk")
            && child(*node, "target").and_then(|it| it.attribute("dev")) == Some(target)
    };
    let mut found = devices.children().filter(is_it);
    match (found.next(), found.next()) {
        (Some(disk), None) => Ok(disk.range()),
        (None, _) => Err(DefinitionError::NoDisk("no disk")),
        (Some(_), Some(_)) => Err(DefinitionError::NoDisk("several disks")),
    }
}

/// What takes the place of what in a disk's element.
fn pieces(
    element: &str,
    edit: &DiskEdit<'_>,
) -> Result<Vec<(Range<usize>, String)>, DefinitionError> {
    let document = document(element, false)?;
    let disk = document.root_element();
    let pins = || disk.children().filter(|it| it.has_tag_name("backingStore"));
    let without_pins = || pins().map(|pin| (with_indent(element, pin.range()), String::new()));
    let DiskEdit::Source {
        file,
        format,
        keeps_pin,
    } = edit
    else {
        return Ok(without_pins().collect());
    };
    let source = child(disk, "source").ok_or(DefinitionError::NoFile)?;
    refuse_details(source)?;
    let named = source
        .attribute_node("file")
        .ok_or(DefinitionError::NoFile)?;
    let file = file.to_str().ok_or(DefinitionError::Name)?;
    let mut pieces = vec![(named.range_value(), escaped(file)?)];
    if let Some(format) = format {
        let format = escaped(format)?;
        let driver = child(disk, "driver");
        pieces.push(
            match (driver, driver.and_then(|it| it.attribute_node("type"))) {
                (_, Some(known)) => (known.range_value(), format),
                (Some(driver), None) => {
                    let at = driver.range().start + "<driver".len();
                    (at..at, format!(" type='{format}'"))
                }
                (None, None) => {
                    let at = source.range().start;
                    (at..at, format!("<driver name='qemu' type='{format}'/>"))
                }
            },
        );
    }
    if !keeps_pin {
        pieces.extend(without_pins());
    }
    Ok(pieces)
}

/// What a source says besides its file: who may open it holds for another file as well, and nothing else does
/// (`<slices>`, `<encryption>`, `<dataStore>`, `<reservations>`).
fn refuse_details(source: Node<'_, '_>) -> Result<(), DefinitionError> {
    let mut inside = source.children().filter(Node::is_element);
    let other = inside.find(|it| !it.has_tag_name("seclabel"));
    other.map_or(Ok(()), |it| {
        Err(DefinitionError::SaysMore(it.tag_name().name().to_owned()))
    })
}

/// The range of an element with the space before it, so that no line is left empty.
pub(super) fn with_indent(text: &str, range: Range<usize>) -> Range<usize> {
    let before = text.get(..range.start).unwrap_or_default();
    before.trim_end().len()..range.end
}

/// A text as the value of an attribute, whichever quotes stand around it.
pub(super) fn escaped(text: &str) -> Result<String, DefinitionError> {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push_str(&format!("&#{};", u32::from(c))),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                return Err(DefinitionError::Name);
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

/// Whether the changed element is another one in what was asked for and in nothing else.
fn is_as_asked(edited: &EditedDisk, target: &str, edit: &DiskEdit<'_>) -> bool {
    let (Ok(before), Ok(after)) = (
        document(&edited.before, false),
        document(&edited.after, false),
    ) else {
        return false;
    };
    let disk = after.root_element();
    let attribute = |name: &str, key: &str| {
        let found = child(disk, name)?.attribute(key)?;
        Some(found.to_owned())
    };
    let is_pinned = child(disk, "backingStore").is_some();
    let is_so = match edit {
        DiskEdit::Unpin => !is_pinned,
        DiskEdit::Source {
            file,
            format,
            keeps_pin,
        } => {
            attribute("source", "file").as_deref() == file.to_str()
                && format.is_none_or(|it| attribute("driver", "type").as_deref() == Some(it))
                && (*keeps_pin || !is_pinned)
        }
    };
    let others = |root: Node<'_, '_>| -> Vec<Contents> {
        let others = root.children().filter(Node::is_element);
        let others = others
            .filter(|node| !["source", "driver", "backingStore"].contains(&node.tag_name().name()));
        others.map(contents).collect()
    };
    is_so
        && attribute("target", "dev").as_deref() == Some(target)
        && others(before.root_element()) == others(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "<domain type='qemu'>\n  <name>web</name>\n  <devices>\n    <disk type='file' device='disk'>\n      \
        <driver name='qemu' type='qcow2' cache=\"none\"/>\n      <source file='/vm/web.s1'/>\n      \
        <backingStore type='file'>\n        <format type='qcow2'/>\n        <source file='/vm/web.qcow2'/>\n      \
        </backingStore>\n      <target dev='vda' bus='virtio'/>\n    </disk>\n    <disk type='volume'>\n      \
        <source pool='p' volume='v'/>\n      <target dev='vdb'/>\n    </disk>\n    \
        <disk type='file'><source file=\"/vm/raw\"/><target dev='vdc'/></disk>\n  </devices>\n</domain>\n";

    fn edited(target: &str, edit: DiskEdit<'_>) -> Result<String, DefinitionError> {
        let changed = edit_disk(WEB, target, &edit)?;
        assert_eq!(disk_element(WEB, target)?, changed.before);
        let whole = with_disk(WEB, target, &changed.after)?;
        // And back again, byte for byte.
        assert_eq!(with_disk(&whole, target, &changed.before)?, WEB);
        Ok(whole)
    }

    fn source<'e>(file: &'e Path, format: Option<&'e str>, keeps_pin: bool) -> DiskEdit<'e> {
        DiskEdit::Source {
            file,
            format,
            keeps_pin,
        }
    }

    #[test]
    fn a_pin_goes_with_its_lines_and_nothing_else_changes() {
        let (before, rest) = WEB.split_once("\n      <backingStore").unwrap();
        let (_, after) = rest.split_once("</backingStore>").unwrap();
        assert_eq!(
            edited("vda", DiskEdit::Unpin).unwrap(),
            format!("{before}{after}")
        );
        // One that is not pinned stays as it is.
        assert_eq!(edited("vdc", DiskEdit::Unpin).unwrap(), WEB);
    }

    #[test]
    fn a_source_is_another_file_of_another_format() {
        let new = Path::new("/vm/it's \"new\" & <odd>");
        let to = source(new, Some("raw"), true);
        let name = "/vm/it&apos;s &quot;new&quot; &amp; &lt;odd&gt;";
        assert_eq!(
            edited("vda", to).unwrap(),
            WEB.replacen("type='qcow2' cache", "type='raw' cache", 1)
                .replace("/vm/web.s1", name)
        );
        let whole = edited("vda", source(new, None, false)).unwrap();
        assert!(!whole.contains("backingStore"), "{whole}");
        let whole = edited("vdc", source(new, Some("qcow2"), false)).unwrap();
        let disk = disk_element(&whole, "vdc").unwrap();
        assert_eq!(
            disk,
            format!(
                "<disk type='file'><driver name='qemu' type='qcow2'/><source file=\"{name}\"/><target dev='vdc'/></disk>"
            )
        );
    }

    #[test]
    fn what_cannot_be_changed_is_refused() {
        let new = Path::new("/vm/new");
        let no_file = edit_disk(WEB, "vdb", &source(new, None, true));
        assert_eq!(no_file, Err(DefinitionError::NoFile));
        let gone = edit_disk(WEB, "vdz", &DiskEdit::Unpin);
        assert_eq!(gone, Err(DefinitionError::NoDisk("no disk")));
        let twice = WEB.replace("'vdb'", "'vda'");
        let twice = edit_disk(&twice, "vda", &DiskEdit::Unpin);
        assert_eq!(twice, Err(DefinitionError::NoDisk("several disks")));
        let named = edit_disk(WEB, "vda", &source(Path::new("/vm/\u{1}"), None, true));
        assert_eq!(named, Err(DefinitionError::Name));
        let more = |inside: &str| {
            let named = format!("<source file='/vm/web.s1'>{inside}</source>");
            let web = WEB.replace("<source file='/vm/web.s1'/>", &named);
            edit_disk(&web, "vda", &source(new, None, false)).map(drop)
        };
        for name in ["slices", "encryption", "dataStore", "reservations"] {
            let said = more(&format!("<{name}/>"));
            assert_eq!(said, Err(DefinitionError::SaysMore(name.to_owned())));
        }
        assert_eq!(more("<seclabel model='dac' relabel='no'/>"), Ok(()));
        assert!(edit_disk("<domain", "vda", &DiskEdit::Unpin).is_err());
    }

    #[test]
    fn an_element_that_would_be_more_than_a_disk_is_not_put_in() {
        let disk = disk_element(WEB, "vda").unwrap();
        for element in [
            "",
            "<disk/>",
            "<interface/>",
            "<disk><target dev='vda'/></disk><disk><target dev='vda'/></disk>",
            "<disk><target dev='vda'/></disk></devices><devices>",
            "<disk><target dev='vda'/></disk><hostdev/>",
        ] {
            let put = with_disk(WEB, "vda", element);
            assert!(put.is_err(), "{element}: {put:?}");
        }
        assert_eq!(with_disk(WEB, "vda", disk).unwrap(), WEB);
    }

    #[test]
    fn two_elements_say_the_same_however_they_are_written() {
        let same = "<disk  type=\"file\"\n device='disk'><source file='/a'></source>\n</disk>";
        assert!(say_the_same(
            "<disk device='disk' type='file'><source file='/a'/></disk>",
            same
        ));
        for other in [
            "<disk device='disk' type='file'><source file='/b'/></disk>",
            "<disk device='disk' type='file'><source file='/a'/><backingStore/></disk>",
            "<disk device='disk' type='file'><driver><source file='/a'/></driver></disk>",
            "<disk",
        ] {
            assert!(!say_the_same(other, same), "{other}");
        }
        let nested = |inner: &str| format!("<a><b>{inner}</b></a>");
        assert!(!say_the_same(&nested("<c/><d/>"), &nested("<c><d/></c>")));
        assert!(!say_the_same(&nested("<c/>"), "<a><b/><c/></a>"));
    }
}
