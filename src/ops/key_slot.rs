//! Key slots of an image encrypted with LUKS: another passphrase opens it as well, or instead, or one
//! opens it no longer. The content stays as it is: every slot holds the same master key. How slots are
//! written is [`image::KeySlots`]'s business.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::host::{Access, LockSet};
use crate::image::{self, ErrorKind, ImageFile, KeySlots, NoProgress, OpenedSlot, Passphrase};
use crate::qcow2::luks::SLOTS;
use crate::units::count;

use super::framework::eligibility::{refuse_corrupt, refuse_unfit};
use super::framework::format::{name, shown};
use super::framework::locks::{Locking, claim};
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::resolve;
use super::{
    CommandLine, EffectKind, Error, NoteKind, Outcome, Phase, Plan, Progress, RefusalKind, Remedy,
    Request, Undo,
};

/// Have other passphrases open an image that is encrypted with LUKS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeKeySlot {
    /// The image.
    pub image: PathBuf,
    /// What becomes of its key slots.
    pub action: KeySlotAction,
}

impl Operation for ChangeKeySlot {
    fn name(&self) -> &'static str {
        "keyslot"
    }

    fn verb(&self) -> &'static str {
        match self.action {
            KeySlotAction::Add { .. } => "Add",
            KeySlotAction::Change { .. } => "Change",
            KeySlotAction::Erase { .. } => "Erase",
        }
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.image));
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        let line = |command| CommandLine::new(&["keyslot", command]).path(&self.image);
        match self.action {
            KeySlotAction::Add { slot, iter_time_ms } => Some(
                line("add")
                    .number("--slot", slot)
                    .number("--iter-time", Some(iter_time_ms)),
            ),
            KeySlotAction::Change {
                slot,
                into: None,
                iter_time_ms,
            } => Some(
                line("change")
                    .number("--slot", slot)
                    .number("--iter-time", Some(iter_time_ms)),
            ),
            // Which slot is filled is chosen by the plan.
            KeySlotAction::Change { into: Some(_), .. } => None,
            KeySlotAction::Erase { slot } => Some(line("erase").number("--slot", Some(slot))),
        }
    }

    fn plan(&self, plan: &mut Plan) {
        plan_key_slot(plan, &self.image, self.action)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Content)
    }

    fn finish(&self, _half: &Half<'_>) -> Way {
        Way::Ask(self.clone().into())
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        half.as_planned()
    }
}

/// What becomes of the key slots of an image. A slot that is not named is chosen when planning, and named in
/// the plan's request, so that an interrupted change is finished on the slot it was begun on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeySlotAction {
    /// The new passphrase opens the image as well.
    Add {
        /// The inactive slot, 0 to 7; none for the first.
        slot: Option<usize>,
        /// Milliseconds of this processor that trying one passphrase is to cost.
        iter_time_ms: u32,
    },
    /// The new passphrase opens the image instead of another one.
    Change {
        /// The slot that is erased, 0 to 7; none for the one that the passphrase given opens.
        slot: Option<usize>,
        /// The inactive slot that is filled first, 0 to 7; none for the first.
        into: Option<usize>,
        /// Milliseconds of this processor that trying one passphrase is to cost.
        iter_time_ms: u32,
    },
    /// A passphrase opens the image no longer.
    Erase {
        /// The slot, 0 to 7.
        slot: usize,
    },
}

/// Plans to change the key slots of an image.
fn plan_key_slot(plan: &mut Plan, image: &Path, action: KeySlotAction) {
    let context = plan.context().clone();
    plan.title = match action {
        KeySlotAction::Add { .. } => format!("Keyslot: add a passphrase to {}", name(image)),
        KeySlotAction::Change { .. } => format!("Keyslot: change a passphrase of {}", name(image)),
        KeySlotAction::Erase { slot } => format!("Keyslot: erase slot {slot} of {}", name(image)),
    };
    let node = match resolve::named(&context, image) {
        Ok(node) => node,
        Err(sentence) => return plan.refuse_for(sentence),
    };
    refuse_unfit(plan, node, "given other passphrases");
    if !plan.refusals.is_empty() {
        return;
    }
    let path = node.path.clone();
    claim(plan, &path, LockSet::ReadWrite);
    if !plan.refusals.is_empty() {
        return;
    }
    let slots = ImageFile::open(context.host.as_ref(), &path, Access::Read)
        .and_then(|file| KeySlots::read(&file, &image::read_header(&file)?));
    let slots = match slots {
        Ok(slots) => slots,
        Err(error) => return plan.refuse_error(&error),
    };
    refuse_corrupt(plan, &path);
    if !plan.refusals.is_empty() {
        return;
    }
    let steps = match action {
        KeySlotAction::Add { slot, iter_time_ms } => {
            plan_filling(plan, &path, &slots, slot, None, iter_time_ms)
        }
        KeySlotAction::Change {
            slot,
            into,
            iter_time_ms,
        } => plan_filling(plan, &path, &slots, into, Some(slot), iter_time_ms),
        KeySlotAction::Erase { slot } => plan_erasing(plan, &path, &slots, slot),
    };
    let Some(steps) = steps else { return };
    plan.keeps.push(format!(
        "what {} shows, and {} built on it: every slot holds the same key",
        name(&path),
        count(context.forest.descendants(node.id).len(), "image")
    ));
    if let Some(slot) = steps.erase {
        plan.warn(NoteKind::Secrecy, format!(
            "the passphrase of key slot {slot} opens {} no longer. A copy of the file made before still opens to it",
            name(&path)
        ));
    }
    plan.undo = match (steps.erase, &steps.fill) {
        (None, Some(fill)) => {
            plan.roll_back = Some(Request::KeySlot(ChangeKeySlot {
                image: path.clone(),
                action: KeySlotAction::Erase { slot: fill.slot },
            }));
            Undo::Possible(format!("erase key slot {} again", fill.slot))
        }
        (Some(_), Some(fill)) => {
            plan.roll_back = Some(Request::KeySlot(ChangeKeySlot {
                image: path.clone(),
                action: KeySlotAction::Erase { slot: fill.slot },
            }));
            Undo::Impossible("what a key slot held is written over".to_owned())
        }
        (_, None) => Undo::Impossible("what a key slot held is written over".to_owned()),
    };
    plan.job = Some(Arc::new(ChangeSlots { image: path, steps }));
}

/// A slot that is filled.
#[derive(Debug)]
struct Fill {
    slot: usize,
    opened: OpenedSlot,
    new: Passphrase,
    iter_time_ms: u32,
}

/// What is done, in this order.
#[derive(Debug)]
struct Steps {
    fill: Option<Fill>,
    erase: Option<usize>,
}

/// Refuses a number that no slot has.
fn is_slot(plan: &mut Plan, slot: usize) -> bool {
    if slot >= SLOTS {
        plan.refuse(
            RefusalKind::Invalid,
            format!(
                "there is no key slot {slot}: they are numbered from 0 to {}",
                SLOTS - 1
            ),
        );
    }
    slot < SLOTS
}

fn is_active(slots: &KeySlots, slot: usize) -> bool {
    slots
        .header()
        .slots
        .get(slot)
        .is_some_and(|slot| slot.active)
}

/// Fills one slot and, if `erased` is some, erases the one there, or where none is named the one that the
/// passphrase given opens.
fn plan_filling(
    plan: &mut Plan,
    path: &Path,
    slots: &KeySlots,
    slot: Option<usize>,
    erased: Option<Option<usize>>,
    iter_time_ms: u32,
) -> Option<Steps> {
    let file = name(path);
    for named in [slot, erased.flatten()].into_iter().flatten() {
        if !is_slot(plan, named) {
            return None;
        }
    }
    if let Some(erased) = erased.flatten()
        && !is_active(slots, erased)
    {
        plan.refuse(
            RefusalKind::Invalid,
            format!("key slot {erased} of {file} is not active"),
        );
        return None;
    }
    let keys = plan.context().keys.clone();
    let new = keys.for_new(path).filter(|new| !new.bytes().is_empty());
    let Some(new) = new else {
        let text =
            format!("no new passphrase was given for {file}, an empty one, or two that differ");
        let give = Remedy::NewPassphrase(path.to_path_buf());
        plan.refuse_unless(RefusalKind::PassphraseNeeded, text, give);
        return None;
    };
    if new.bytes().ends_with(b"\n") {
        plan.warn(NoteKind::Passphrase,
            "the new passphrase ends with a line feed, which is a part of it, as it is for QEMU (printf \
             writes a file without)",
        );
    }
    let slot =
        match slot {
            Some(slot) if is_active(slots, slot) => {
                // What an interrupted change has filled already.
                return match slots.opens_to(slot, &new, &NoProgress) {
                    Ok(true) => plan_the_rest(plan, path, slots, slot, erased),
                    Ok(false) => {
                        plan.refuse(RefusalKind::Invalid, format!(
                        "key slot {slot} of {file} is active: change it, or name another one"
                    ));
                        None
                    }
                    Err(error) => {
                        plan.refuse_error(&error);
                        None
                    }
                };
            }
            Some(slot) => slot,
            None => match slots.free() {
                Some(slot) => slot,
                None => {
                    plan.refuse(
                        RefusalKind::Invalid,
                        format!("all key slots of {file} are active: erase one first"),
                    );
                    return None;
                }
            },
        };
    let opened = match slots.open(&keys, None, &NoProgress) {
        Ok(opened) => opened,
        Err(error) => {
            plan.refuse_error(&error);
            return None;
        }
    };
    let erase = erased.map(|erased| erased.unwrap_or(opened.slot));
    plan.request = Request::KeySlot(ChangeKeySlot {
        image: path.to_path_buf(),
        action: match erase {
            None => KeySlotAction::Add {
                slot: Some(slot),
                iter_time_ms,
            },
            Some(erase) => KeySlotAction::Change {
                slot: Some(erase),
                into: Some(slot),
                iter_time_ms,
            },
        },
    });
    let material = slots.header().material_len() as u64;
    let kind = if erase.is_some() {
        EffectKind::Drops
    } else {
        EffectKind::Updates
    };
    let then = erase.map_or_else(String::new, |erase| {
        format!("; then key slot {erase} is erased")
    });
    plan.effect(
        kind,
        path,
        Some(material),
        format!("key slot {slot} opens to the new passphrase{then}"),
    );
    Some(Steps {
        fill: Some(Fill {
            slot,
            opened,
            new,
            iter_time_ms,
        }),
        erase,
    })
}

/// The new passphrase opens its slot already: what is left is the slot it was to take the place of.
fn plan_the_rest(
    plan: &mut Plan,
    path: &Path,
    slots: &KeySlots,
    filled: usize,
    erased: Option<Option<usize>>,
) -> Option<Steps> {
    match erased.flatten() {
        Some(erase) if erase != filled => {
            erases(plan, path, slots, erase);
            Some(Steps {
                fill: None,
                erase: Some(erase),
            })
        }
        _ => {
            plan.refuse_as_done(format!(
                "key slot {filled} of {} opens to the new passphrase already",
                name(path)
            ));
            None
        }
    }
}

fn erases(plan: &mut Plan, path: &Path, slots: &KeySlots, slot: usize) {
    let was = if is_active(slots, slot) {
        "its passphrase opens the image no longer"
    } else {
        "it is not active; its key material is written over all the same"
    };
    plan.effect(
        EffectKind::Drops,
        path,
        Some(slots.header().material_len() as u64),
        format!("key slot {slot}: {was}"),
    );
}

fn plan_erasing(plan: &mut Plan, path: &Path, slots: &KeySlots, slot: usize) -> Option<Steps> {
    if !is_slot(plan, slot) {
        return None;
    }
    let others = (0..SLOTS).filter(|other| *other != slot && is_active(slots, *other));
    if others.count() == 0 {
        plan.refuse(RefusalKind::WouldLose, format!(
            "key slot {slot} is the only one that opens {}: nobody could read it any more. Add another passphrase \
             first",
            name(path)
        ));
        return None;
    }
    // Whoever locks the image for a passphrase shows that they have another one for it.
    let keys = plan.context().keys.clone();
    match slots.open(&keys, Some(slot), &NoProgress) {
        Ok(_) => {}
        Err(error) if matches!(error.kind, ErrorKind::WrongPassphrase) => {
            plan.refuse(RefusalKind::WouldLose, format!(
                "the passphrase given opens none of the key slots that {} keeps: give one that opens it afterwards",
                name(path)
            ));
            return None;
        }
        Err(error) => {
            plan.refuse_error(&error);
            return None;
        }
    }
    erases(plan, path, slots, slot);
    Some(Steps {
        fill: None,
        erase: Some(slot),
    })
}

#[derive(Debug)]
struct ChangeSlots {
    image: PathBuf,
    steps: Steps,
}

impl Job for ChangeSlots {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let path = shown(&self.image);
        let failed = |error: image::Error| {
            if matches!(error.kind, ErrorKind::Cancelled) {
                return Error::cancelled(format!("stopped: {path} is as it was"));
            }
            Error::of_image(
                format!(
                    "{error}. {path} opens to every passphrase that it opened to, unless that one was being erased"
                ),
                error,
            )
        };
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        let file = locking.take(
            plan.host(),
            &self.image,
            Access::ReadWrite,
            LockSet::ReadWrite,
        )?;
        let locks = locking.settle(plan)?;
        let file = file.file(&locks);
        let header = image::read_header(&file).map_err(failed)?;
        let mut slots = KeySlots::read(&file, &header).map_err(failed)?;
        progress.enter(Phase::Copy, 0);
        let mut done = Vec::new();
        if let Some(fill) = &self.steps.fill {
            slots
                .fill(
                    fill.slot,
                    &fill.opened,
                    &fill.new,
                    fill.iter_time_ms,
                    progress,
                )
                .map_err(failed)?;
            done.push(format!(
                "key slot {} opens to the new passphrase",
                fill.slot
            ));
        }
        if let Some(slot) = self.steps.erase {
            slots.erase(slot).map_err(failed)?;
            done.push(format!("key slot {slot} is erased"));
        }
        let is_undone = matches!(plan.undo, Undo::Possible(_));
        Ok(Outcome {
            summary: format!("{path}: {}", done.join(", ")),
            touched: vec![self.image.clone()],
            undo: plan.roll_back.clone().filter(|_| is_undone),
            remarks: Vec::new(),
        })
    }
}
