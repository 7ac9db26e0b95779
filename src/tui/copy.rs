//! What can be taken from the screen to elsewhere: paths, commands, the `<disk>` of a libvirt domain.
//! Only texts are made here; putting them on the clipboard is the terminal's business.

use std::path::Path;

use crate::forest::Node;
use crate::host::shell_quoted;
use crate::units;

use super::text;

/// What is told of text that was copied: its beginning, and how much more there is.
#[must_use]
pub(super) fn copied(text: &str) -> String {
    let mut lines = text.lines();
    let first = text::cut_middle(lines.next().unwrap_or_default(), SHOWN, true);
    match lines.count() {
        0 => format!("Copied: {first}"),
        more => format!("Copied: {first} (and {})", units::count(more, "more line")),
    }
}

/// Cells of what was copied that are shown.
const SHOWN: usize = 60;

/// libvirt's XML for the image as a disk. What it is built on is left to the headers: a chain spelled out
/// here would be taken for the truth, and every later change of a header be ignored.
///
/// # Errors
/// A sentence, if the name cannot be written in XML.
pub(super) fn libvirt_disk(node: &Node) -> Result<String, String> {
    let format = name_of_format(node);
    let path = escaped(&node.path)?;
    Ok(format!(
        "<disk type='file' device='disk'>\n  <driver name='qemu' type='{format}'/>\n  <source file='{path}'/>\n  \
         <target dev='vda' bus='virtio'/>\n</disk>\n"
    ))
}

/// A command that boots a machine from the image; `more` are further words, as `-snapshot`.
#[must_use]
pub(super) fn qemu_command(node: &Node, more: &str) -> String {
    // In QEMU's option lists a comma is written twice.
    let mut drive = std::ffi::OsString::from("file=");
    let path = node.path.as_os_str().as_encoded_bytes();
    let mut doubled = Vec::with_capacity(path.len());
    for byte in path {
        doubled.push(*byte);
        if *byte == b',' {
            doubled.push(b',');
        }
    }
    drive.push(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&doubled));
    drive.push(format!(",if=virtio,format={}", name_of_format(node)));
    format!(
        "qemu-system-x86_64 -m 2G {more}-drive {}",
        shell_quoted(drive)
    )
}

fn name_of_format(node: &Node) -> String {
    node.format()
        .map_or_else(|| "raw".to_owned(), |format| format.name().to_owned())
}

/// A path as the value of an XML attribute in single quotes.
fn escaped(path: &Path) -> Result<String, String> {
    let Some(text) = path.to_str() else {
        return Err("its name is not UTF-8, which XML cannot hold".to_owned());
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push_str(&format!("&#{};", u32::from(c))),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                return Err("its name has a control character, which XML cannot hold".to_owned());
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forest::{Backing, BackingState, Content, Forest, ScannedFile};
    use crate::image::Format;

    fn forest() -> Forest {
        let mut forest = Forest::new();
        let found = |path: &str, content, backing: Option<Backing>| ScannedFile {
            path: path.into(),
            symlink: false,
            stat: None,
            content,
            backing: backing.map(Box::new),
            also: Vec::new(),
            holders: Vec::new(),
            annotation: None,
            sharing: None,
        };
        let backing = |path: &str, format| {
            let leads_to = Some(Path::new(path));
            Backing::new(path.as_ref(), Some(format), leads_to, BackingState::Missing)
        };
        let qcow2 = || Content::Opaque(Format::Qcow2);
        forest.extend([
            found("/vm/base.img", Content::Raw, None),
            found(
                "/vm/a'b.qcow2",
                qcow2(),
                Some(backing("/vm/base.img", Format::Raw)),
            ),
            found(
                "/vm/c,d.qcow2",
                qcow2(),
                Some(backing("/vm/a'b.qcow2", Format::Qcow2)),
            ),
            found("/vm/e\u{1b}.qcow2", qcow2(), None),
        ]);
        forest
    }

    #[test]
    fn libvirt_is_left_to_read_the_chain_from_the_headers() {
        let forest = forest();
        let node = forest.by_path(Path::new("/vm/a'b.qcow2")).unwrap();
        assert_eq!(
            libvirt_disk(node).unwrap(),
            "<disk type='file' device='disk'>
  <driver name='qemu' type='qcow2'/>
  <source file='/vm/a&apos;b.qcow2'/>
  <target dev='vda' bus='virtio'/>
</disk>
"
        );
        let node = forest.by_path(Path::new("/vm/e\u{1b}.qcow2")).unwrap();
        assert!(libvirt_disk(node).is_err());
    }

    #[test]
    fn a_comma_is_doubled_for_qemu() {
        let forest = forest();
        let node = forest.by_path(Path::new("/vm/c,d.qcow2")).unwrap();
        assert_eq!(
            qemu_command(node, "-snapshot "),
            "qemu-system-x86_64 -m 2G -snapshot -drive file=/vm/c,,d.qcow2,if=virtio,format=qcow2"
        );
    }
}
