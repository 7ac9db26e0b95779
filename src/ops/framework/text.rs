//! A plan in words: the same lines in a dialog and in `--dry-run`. Everything passes through
//! `printable` here; the operations only supply sentences and paths.

use std::path::{Component, Path, PathBuf};

use unicode_width::UnicodeWidthStr;

use crate::fleet::typed;
use crate::host::printable;
use crate::units::{count, size};

use super::context::LookedIn;
use super::format::{listed, shown};
use super::note::Note;
use super::plan::{Confirm, Effect, EffectKind, Plan, SpaceNeed, Undo};
use super::remedy::Remedy;
use super::space;

/// The directory all of these files lie below, if that says more than `/`.
fn common_dir<'a>(mut paths: impl Iterator<Item = &'a Path>) -> Option<PathBuf> {
    let mut common = paths.next()?.parent()?.to_path_buf();
    for path in paths {
        while !path.starts_with(&common) {
            common = common.parent()?.to_path_buf();
        }
    }
    let tells = common
        .components()
        .any(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    tells.then_some(common)
}

fn tone(kind: EffectKind) -> Tone {
    match kind {
        EffectKind::Reads => Tone::Quiet,
        EffectKind::Creates | EffectKind::Preserves | EffectKind::Restores => Tone::Good,
        EffectKind::Relinks
        | EffectKind::Moves
        | EffectKind::Updates
        | EffectKind::Chmods
        | EffectKind::Annotates
        | EffectKind::Freezes
        | EffectKind::Grows => Tone::Plain,
        EffectKind::Writes | EffectKind::Empties | EffectKind::Drops | EffectKind::Trashes => {
            Tone::Warning
        }
        EffectKind::Breaks | EffectKind::Deletes => Tone::Danger,
    }
}

fn looked_in(looked_in: &LookedIn) -> String {
    let dirs: Vec<String> = looked_in.dirs().iter().map(|dir| shown(dir)).collect();
    let remembered = match looked_in.remembered {
        0 => String::new(),
        n => format!("{} remembered from earlier scans", count(n, "image")),
    };
    match (dirs.is_empty(), remembered.is_empty()) {
        (true, true) => "nowhere: what else is built on these files is not known".to_owned(),
        (true, false) => format!("{remembered} only"),
        (false, true) => format!("{}, and nowhere else", listed(&dirs, 8)),
        (false, false) => format!("{}, and at {remembered}", listed(&dirs, 8)),
    }
}

/// Lines being said.
#[derive(Default)]
struct Said(Vec<Line>);

impl Said {
    fn say(&mut self, part: Part, label: &str, text: &str, tone: Tone) {
        self.say_with(part, label, text, tone, Vec::new());
    }

    fn say_with(&mut self, part: Part, label: &str, text: &str, tone: Tone, remedies: Vec<Remedy>) {
        self.0.push(Line {
            part,
            label: label.to_owned(),
            // The operations made their sentences from printable parts; this is the last gate.
            text: printable(text),
            tone,
            remedies,
        });
    }

    /// What happens to which file, from the folder that all of them are below.
    fn say_effects(&mut self, effects: &[&Effect]) {
        let common = common_dir(effects.iter().map(|effect| effect.path.as_path()));
        let paths: Vec<String> = effects
            .iter()
            .map(|effect| {
                let inside = common
                    .as_deref()
                    .and_then(|dir| effect.path.strip_prefix(dir).ok());
                shown(inside.unwrap_or(&effect.path))
            })
            .collect();
        let width = paths.iter().map(|path| path.width()).max().unwrap_or(0);
        let width = width.min(40);
        if let Some(dir) = common {
            self.say(Part::Effect, "in", &shown(&dir), Tone::Quiet);
        }
        for (effect, path) in effects.iter().zip(&paths) {
            let pad = " ".repeat(width.saturating_sub(path.width()));
            let text = if effect.detail.is_empty() {
                path.clone()
            } else {
                format!("{path}{pad}  {}", effect.detail)
            };
            let part = match effect.kind {
                EffectKind::Reads => Part::Reads,
                _ => Part::Effect,
            };
            self.say(part, effect.kind.verb(), &text, tone(effect.kind));
        }
    }

    fn say_copies(&mut self, bytes: u64) {
        if bytes > 0 {
            self.say(
                Part::Cost,
                "copies",
                &format!("at most {}", size(bytes)),
                Tone::Plain,
            );
        }
    }

    fn say_need(&mut self, need: &SpaceNeed) {
        let mut text = format!(
            "{} in {} ({} free)",
            size(need.needed),
            shown(&need.dir),
            size(need.available)
        );
        if need.possible > 0 {
            text.push_str(&format!(
                ", and up to {} more where bytes differ",
                size(need.possible)
            ));
        }
        let enough = need.needed <= need.available;
        let tone = if enough { Tone::Plain } else { Tone::Danger };
        self.say(Part::Cost, "needs", &text, tone);
    }

    fn say_note(&mut self, note: &Note) {
        let (part, label, tone) = match note.warning {
            true => (Part::Warning, "warning", Tone::Warning),
            false => (Part::Note, "note", Tone::Plain),
        };
        self.say_with(part, label, &note.text, tone, note.remedies.clone());
    }
}

/// Several plans that are agreed to at once in words, as [`Plan::lines`] are those of one: what is created
/// by each, and what they need together. What each only reads is left out.
#[must_use]
pub fn lines_of_each(plans: &[Plan]) -> Vec<Line> {
    let mut said = Said::default();
    let effects = plans.iter().flat_map(|plan| &plan.effects);
    let changes: Vec<&Effect> = effects
        .filter(|effect| effect.kind != EffectKind::Reads)
        .collect();
    said.say_effects(&changes);
    let copies = plans.iter().map(|plan| plan.copies);
    said.say_copies(copies.fold(0, u64::saturating_add));
    let mut needs: Vec<SpaceNeed> = Vec::new();
    for need in plans.iter().flat_map(|plan| &plan.space) {
        space::add_to(&mut needs, |known| known.dir == need.dir, need.clone());
    }
    needs.iter().for_each(|need| said.say_need(need));
    let mut notes: Vec<&Note> = Vec::new();
    for note in plans.iter().flat_map(|plan| &plan.notes) {
        if !notes.contains(&note) {
            notes.push(note);
            said.say_note(note);
        }
    }
    let mut refusals: Vec<&str> = Vec::new();
    for refusal in plans.iter().flat_map(|plan| &plan.refusals) {
        if !refusals.contains(&refusal.text.as_str()) {
            refusals.push(&refusal.text);
            let remedies = refusal.remedies.clone();
            said.say_with(
                Part::Refusal,
                "refused",
                &refusal.text,
                Tone::Danger,
                remedies,
            );
        }
    }
    if refusals.is_empty() {
        said.say(
            Part::Undo,
            "undo",
            "each by itself, the newest first",
            Tone::Plain,
        );
    }
    for command in plans.iter().flat_map(|plan| &plan.commands) {
        said.say(Part::Command, "$", &typed(command), Tone::Quiet);
    }
    said.0
}

impl Plan {
    /// The plan in words, safe to print on a terminal; the same in a dialog and in `--dry-run`.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let mut said = Said::default();
        said.say_effects(&self.effects.iter().collect::<Vec<_>>());
        for change in self.redefinitions.iter().filter(|one| !one.is_done()) {
            said.say(Part::Effect, "redefines", &change.to_string(), Tone::Plain);
        }
        let now = self.host().now();
        for files in &self.guest_files {
            let tone = match &files.found {
                None => Tone::Quiet,
                Some(_) if files.loses_recent() => Tone::Warning,
                Some(_) => Tone::Plain,
            };
            said.say(Part::GuestFiles, "in guest", &files.text(now), tone);
        }
        if self.guest_files_more > 0 {
            let more = count(self.guest_files_more, "more image");
            let text = format!("not looked which files of {more} these are: there are too many");
            said.say(Part::GuestFiles, "in guest", &text, Tone::Plain);
        }
        for kept in &self.keeps {
            said.say(Part::Keeps, "keeps", kept, Tone::Good);
        }
        said.say_copies(self.copies);
        self.space.iter().for_each(|need| said.say_need(need));
        if self.frees > 0 {
            let goes = |effect: &Effect| effect.kind == EffectKind::Trashes;
            let when = match self.effects.iter().any(goes) {
                true => " once the trash is emptied",
                false => "",
            };
            let text = format!("{}{when}", size(self.frees));
            said.say(Part::Cost, "frees", &text, Tone::Plain);
        }
        self.notes.iter().for_each(|note| said.say_note(note));
        if self.refusals.is_empty() {
            match &self.undo {
                Undo::Possible(how) if !how.is_empty() => {
                    said.say(Part::Undo, "undo", how, Tone::Plain);
                }
                Undo::Impossible(why) if !why.is_empty() => {
                    let text = format!("not possible: {why}");
                    said.say(Part::Undo, "undo", &text, Tone::Warning);
                }
                _ => {}
            }
            if let (Confirm::Count(number), Some((_, what))) = (self.confirm, self.lost()) {
                let text = format!("for the number {number}: how many files {what}");
                said.say(Part::Loss, "asks", &text, Tone::Danger);
            }
        }
        let mut number = 0;
        for refusal in &self.refusals {
            match self.is_so() {
                true => said.say(Part::Refusal, "is so", &refusal.text, Tone::Good),
                false => said.say_with(
                    Part::Refusal,
                    "refused",
                    &refusal.text,
                    Tone::Danger,
                    refusal.remedies.clone(),
                ),
            }
            for way in &refusal.ways_out {
                number += 1;
                said.say(Part::WayOut, &number.to_string(), &way.label, Tone::Plain);
            }
        }
        if self.asks_who_depends() {
            said.say(
                Part::LookedIn,
                "looked in",
                &looked_in(&self.looked_in),
                Tone::Quiet,
            );
        }
        for command in &self.commands {
            said.say(Part::Command, "$", &typed(command), Tone::Quiet);
        }
        said.0
    }

    /// Whether the plan's truth hangs on having found every image that is built on its files.
    fn asks_who_depends(&self) -> bool {
        !self.request.only_adds()
    }
}

/// One line of a plan in words, the same in a dialog and in `--dry-run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it tells of.
    pub part: Part,
    /// The word at the start: `writes`, `breaks`, `needs`, `note`, `$`.
    pub label: String,
    /// The rest, safe to print on a terminal.
    pub text: String,
    /// How to colour it.
    pub tone: Tone,
    /// What gets a person further.
    pub remedies: Vec<Remedy>,
}

/// What a line of a plan tells of; faces choose the order, which is as here where the gravest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Why it is not done.
    Refusal,
    /// What could be done instead; its label is its number.
    WayOut,
    /// What is lost, and what has to be typed for it.
    Loss,
    /// Whether it can be taken back.
    Undo,
    /// What to look at twice.
    Warning,
    /// What happens to a file, or where these files are.
    Effect,
    /// What happens to files inside an image.
    GuestFiles,
    /// What stays although one might fear for it.
    Keeps,
    /// How it is proved that nothing else changes.
    Proof,
    /// What it copies, needs and frees.
    Cost,
    /// What else to know.
    Note,
    /// A file that is only read.
    Reads,
    /// Where other images were searched.
    LookedIn,
    /// The same as a command.
    Command,
}

/// What a line means; faces choose the colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tone {
    /// Plain.
    Plain,
    /// Something appears or is kept safe.
    Good,
    /// Look twice.
    Warning,
    /// Something is lost, or it is refused.
    Danger,
    /// Less important: where it looked, the same as commands.
    Quiet,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_directory_is_named_only_where_it_says_something() {
        let dir = |paths: &[&str]| common_dir(paths.iter().map(Path::new));
        assert_eq!(dir(&["/a/b/x", "/a/b/c/y"]), Some("/a/b".into()));
        assert_eq!(dir(&["/a/x", "/b/y"]), None);
        assert_eq!(dir(&["x", "y"]), None);
        assert_eq!(dir(&[]), None);
    }
}
