//! Images on block devices. A device has the length it has, and its name belongs to the system: it is never
//! renamed, removed, cut or grown here. What would need that is refused, with the line for LVM where the device
//! is a logical volume; LVM itself is never run.

use std::path::Path;

use crate::forest::Node;
use crate::host::{Access, FileKind, Host, Stat, Volume, shell_quoted, volume_of};
use crate::image::{self, Format, ImageFile};
use crate::units::size;

use super::format::shown;
use super::plan::{EffectKind, Plan};
use super::refusal::RefusalKind;

/// What `stat` tells of a name that leads to a block device.
pub(in crate::ops) fn stat_of(host: &dyn Host, path: &Path) -> Option<Stat> {
    let stat = host.stat(path).ok()?;
    (stat.kind == FileKind::BlockDevice).then_some(stat)
}

/// Whether an image lies on a block device.
pub(in crate::ops) fn is_device(node: &Node) -> bool {
    let stat = node.stat.as_ref();
    stat.is_some_and(|stat| stat.kind == FileKind::BlockDevice)
}

/// The command of LVM that a person would run for a device, if it is a logical volume.
fn lvm(stat: &Stat, line: impl Fn(&Volume) -> String) -> Option<String> {
    volume_of(stat.id).map(|volume| line(&volume))
}

/// `lvremove pve/snap`, or in words where it is no logical volume.
pub(in crate::ops) fn remove_line(stat: &Stat) -> String {
    lvm(stat, |volume| {
        format!("`lvremove {}`", shell_quoted(volume.full_name()))
    })
    .unwrap_or_else(|| "with the tools that made it".to_owned())
}

/// ` with ...`: the sentence's end that says how a device gets another name.
pub(in crate::ops) fn rename_line(stat: &Stat, to: &Path) -> String {
    let new = to.file_name().unwrap_or_default();
    lvm(stat, |volume| {
        format!(
            "`lvrename {} {} {}`",
            shell_quoted(&volume.group),
            shell_quoted(&volume.name),
            shell_quoted(new)
        )
    })
    .unwrap_or_else(|| "the tools that made it".to_owned())
}

/// What makes a device longer by so many bytes.
pub(in crate::ops) fn extend_line(stat: &Stat, more: u64) -> String {
    let mebibytes = more.div_ceil(1 << 20);
    lvm(stat, |volume| {
        format!(
            "make it longer first: `lvextend --size +{mebibytes}m {}`",
            shell_quoted(volume.full_name())
        )
    })
    .unwrap_or_else(|| {
        format!(
            "make the device longer first, by {} or more",
            size(mebibytes << 20)
        )
    })
}

/// Refuses whatever would take a device's name away or give it another one: in `/dev` that hides it from udev
/// and from LVM, and frees nothing.
pub(in crate::ops) fn judge(plan: &mut Plan) {
    let mut refused = Vec::new();
    for effect in &plan.effects {
        if !effect.kind.leaves() {
            continue;
        }
        let Some(stat) = stat_of(plan.host(), &effect.path) else {
            continue;
        };
        let path = shown(&effect.path);
        refused.push(if effect.kind == EffectKind::Moves {
            format!("{path} is a block device, whose name is not ours to change")
        } else {
            format!(
                "{path} is a block device, and a device cannot go to the trash: remove it {} once nothing needs it",
                remove_line(&stat)
            )
        });
    }
    refused.sort();
    refused.dedup();
    for text in refused {
        if !plan.refusals.iter().any(|known| known.text == text) {
            plan.refuse(RefusalKind::Unsupported, text);
        }
    }
}

/// Bytes on a device that its image does not use, and what `stat` told. What of a device belongs to a raw
/// image is all of it.
pub(in crate::ops) fn free(host: &dyn Host, path: &Path) -> Option<(u64, Stat)> {
    let stat = stat_of(host, path)?;
    let file = ImageFile::open(host, path, Access::Read).ok()?;
    let len = file.host_file().len().ok()?;
    let Ok(header) = image::read_header(&file) else {
        return Some((0, stat));
    };
    let used = image::used_bytes(&file, &header).unwrap_or(len);
    Some((len.saturating_sub(used), stat))
}

/// How many bytes of a device a copy of its image consists of; none for a file, which is copied whole.
pub(in crate::ops) fn copied_len(host: &dyn Host, path: &Path, format: &Format) -> Option<u64> {
    let stat = stat_of(host, path)?;
    if *format != Format::Qcow2 {
        return None;
    }
    let file = ImageFile::open(host, path, Access::Read).ok()?;
    let header = image::read_header(&file).ok()?;
    let end = image::end_offset(&file, &header).ok()?;
    Some(end.min(stat.len))
}
