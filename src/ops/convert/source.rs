//! A source of a conversion: found, judged fit to be read, and opened.

use std::path::{Path, PathBuf};

use crate::forest::{Content, Node};
use crate::host::{Host, printable, printable_bytes};
use crate::image;
use crate::image::{
    CarriedBitmaps, Chain, ErrorKind, Format, Keys, Layer, NoProgress, snapshot_view,
};
use crate::ops::framework::eligibility::{Need, chain_below_for, refuse_foreign_data};
use crate::ops::framework::files_to_lock::FilesToLock;
use crate::ops::framework::format::{listed, name, shown};
use crate::ops::framework::secrecy::warn_of_plain_copies;
use crate::ops::framework::{backing_format, eligibility, resolve, unlock};
use crate::ops::{Convert, ConvertForm, EffectKind, NoteKind, Plan, RefusalKind, snapshot};
use crate::units::count;

/// One source, found and fit to be read.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) format: Format,
    /// The files below it, nearest first.
    pub(super) below: Vec<PathBuf>,
    /// All files that are read.
    pub(super) files_to_lock: FilesToLock,
    /// ID of the internal snapshot that is read instead of what the image shows now.
    pub(super) snapshot: Option<Vec<u8>>,
}

impl Source {
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.path).chain(&self.below)
    }

    pub(super) fn open(&self, host: &dyn Host, keys: &Keys) -> image::Result<Chain> {
        // The plan has seen that all of them may be followed.
        let chain = Chain::open(host, &self.path, Some(&self.format), &|_| true)?;
        chain.unlock(keys, &NoProgress)?;
        let Some(id) = &self.snapshot else {
            return Ok(chain);
        };
        let snapshots = match chain.layers().first().map(|layer| &**layer) {
            Some(Layer::Qcow2(top)) => image::snapshots(top.file(), top.header())?,
            _ => Vec::new(),
        };
        let found = snapshots.iter().find(|snapshot| snapshot.id == *id);
        let found = found.ok_or_else(|| {
            let text = format!("has no snapshot with the ID {}", printable_bytes(id));
            image::Error::new(&self.path, ErrorKind::NoSuch(text))
        })?;
        snapshot_view(&chain, found)
    }
}

/// One source, if it can be read.
pub(super) fn find_source(plan: &mut Plan, path: &Path, request: &Convert) -> Option<Source> {
    let context = plan.context().clone();
    let node = match resolve::named(&context, path) {
        Ok(node) => node,
        Err(sentence) => {
            plan.refuse_for(sentence);
            return None;
        }
    };
    let need = match request.salvage {
        true => Need::WhatIsThere,
        false => Need::Whole,
    };
    let format = format_of(plan, node, request.format.as_ref(), need)?;
    // A file that is to be taken as raw is what its bytes are, whatever they look like.
    let mut files_to_lock = FilesToLock::default();
    files_to_lock.read(plan.host(), path, &format);
    let below: Vec<PathBuf> = if format == Format::Qcow2 {
        let below = chain_below_for(plan, &context.forest, node, need)?;
        for base in &below {
            files_to_lock.read(plan.host(), &base.path, &eligibility::format_of(base));
        }
        let below = below.iter().map(|base| base.path.clone()).collect();
        refuse_foreign_data(plan, context.forest.chain(node.id));
        if let Err(error) = unlock::unlock_chain(&context, node.id) {
            plan.refuse_error(&error);
            return None;
        }
        below
    } else {
        Vec::new()
    };
    let snapshot = match &request.snapshot {
        None => None,
        Some(wanted) => Some(snapshot::named(plan, node, wanted)?.id),
    };
    if format == Format::Qcow2
        && let Some(info) = node.info()
    {
        let bitmaps = match request.bitmaps {
            CarriedBitmaps::None => info.bitmaps,
            CarriedBitmaps::All | CarriedBitmaps::Sound => 0,
        };
        let left: Vec<String> = [
            (info.snapshots, "internal snapshot"),
            (bitmaps, "dirty bitmap"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(number, what)| count(number, what))
        .collect();
        if !left.is_empty() {
            plan.note(
                NoteKind::Snapshots,
                format!(
                    "{} of {} stay behind: only a disk is copied",
                    listed(&left, 2),
                    name(path)
                ),
            );
        }
        let is_sealed = match &request.form {
            ConvertForm::Qcow2 { image, .. } => image.encryption.is_some(),
            ConvertForm::Existing => {
                resolve::named(&context, &request.new).is_ok_and(|node| node.is_encrypted())
            }
            ConvertForm::Raw { .. } => false,
        };
        if !is_sealed {
            warn_of_plain_copies(plan, [node], &[name(&request.new)]);
        }
        if info.corrupt {
            plan.warn(
                NoteKind::Damaged,
                format!(
                    "{} is damaged: the copy can only be as good as it is",
                    shown(path)
                ),
            );
        }
    }
    Some(Source {
        path: path.to_path_buf(),
        format,
        below,
        files_to_lock,
        snapshot,
    })
}

pub(super) fn format_of(
    plan: &mut Plan,
    node: &Node,
    wanted: Option<&Format>,
    need: Need,
) -> Option<Format> {
    let path = shown(&node.path);
    let found = backing_format::seen(node);
    if wanted == Some(&Format::Raw) {
        return wanted.cloned();
    }
    if wanted.is_none() && !backing_format::as_defined(plan, node) {
        return None;
    }
    if !matches!(node.content, Content::Opaque(_)) && !need.is_met(plan, node) {
        return None;
    }
    match (wanted, found) {
        (Some(wanted), Some(found)) if *wanted != found => {
            plan.refuse(
                RefusalKind::BackingFormat,
                format!(
                    "{path} is not of format {}: it is {}",
                    printable(wanted.name()),
                    printable(found.name())
                ),
            );
            None
        }
        (_, Some(found @ (Format::Qcow2 | Format::Raw))) => Some(found),
        (_, Some(other)) => {
            plan.refuse(
                RefusalKind::Unsupported,
                format!(
                    "{path} is of format {}, whose content is not read here: taken as raw \
                 its bytes are copied as they are",
                    printable(other.name())
                ),
            );
            None
        }
        (_, None) => None,
    }
}

pub(super) fn look_at_sources(plan: &mut Plan, sources: &[Source]) {
    for source in sources {
        source.files_to_lock.secure(plan);
        for path in source.files() {
            plan.effect(EffectKind::Reads, path, None, "");
        }
    }
}
