//! `qanopy prune`: proposes leaves that nothing uses, oldest first; the person takes out what is to
//! stay, and the rest is a discard.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::forest::Forest;
use crate::host::printable;
use crate::ops::{self, Candidate, Context, Kept, Per, Request, Retention};

use super::context;
use super::execute::{execute, question};
use super::exit::Stop;
use super::json::{path, with_storage};
use super::mark::{Mark, Piece};
use super::options::{ConsentArgs, Globals, OpenArgs, Words, one_of};
use super::output::{self, Out};
use crate::units;

#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    #[command(flatten)]
    open: OpenArgs,
    /// Propose only images unchanged for this long: 12h, 30d, 8w [default: 30d, and 0 where a rule keeps some]
    #[arg(long, value_name = "AGE", value_parser = units::parse_age)]
    older_than: Option<Duration>,
    #[command(flatten)]
    keep: KeepArgs,
    /// Take everything proposed, without asking which to keep
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    consent: ConsentArgs,
}

/// What is kept of the leaves that nobody uses, counted from the youngest. What one rule keeps is kept.
#[derive(Debug, Args)]
#[command(next_help_heading = "Keep by rule")]
pub(super) struct KeepArgs {
    /// Keep the last N leaves
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_last: usize,
    /// Keep the youngest leaf of each day, of the last N days that have one
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_daily: usize,
    /// Keep the youngest leaf of each week, of the last N weeks that have one
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_weekly: usize,
    /// Keep the youngest leaf of each month, of the last N months that have one
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_monthly: usize,
    /// Count the leaves of each of these by themselves
    #[arg(long, value_name = "WHAT", value_parser = one_of(PER), default_value = "base")]
    per: Per,
}

const PER: &Words<Per> = &[
    ("base", "Leaves that are built on the same image", Per::Base),
    ("tree", "Leaves of the same tree", Per::Tree),
    (
        "machine",
        "Leaves beside the disks of the same machine; others by what they are built on",
        Per::Machine,
    ),
];

/// Without a rule, leaves that changed since are not proposed.
const OLD: Duration = Duration::from_secs(30 * 86_400);

impl KeepArgs {
    pub(super) fn rule(&self) -> Retention {
        Retention {
            last: self.keep_last,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            per: self.per,
        }
    }
}

/// Proposes, lets choose, discards.
pub(super) fn run(out: &mut Out, globals: Globals, args: PruneArgs) -> anyhow::Result<()> {
    let context = context::below_and_remembered(&args.open)?;
    let rule = args.keep.rule();
    let usual = if rule.keeps_nothing() {
        OLD
    } else {
        Duration::ZERO
    };
    let older_than = args.older_than.unwrap_or(usual);
    let candidates = proposed(&context, older_than);
    let (mut candidates, kept) = rule.part(&context, candidates);
    let is_asked = io::stdin().is_terminal() && io::stderr().is_terminal();
    let has_chosen = args.all || candidates.is_empty();
    // Nobody to ask and nothing chosen: the proposal itself is the answer.
    if candidates.is_empty() || (!has_chosen && (!is_asked || globals.json)) {
        if globals.json {
            let forest = &context.forest;
            let candidates = candidates.iter();
            let candidates = candidates.map(|one| with_storage(describe(one), forest, &one.path));
            let candidates: Vec<Value> = candidates.collect();
            let kept = kept.iter().map(|(one, why)| {
                let told = json!({ "path": path(&one.path), "why": why });
                with_storage(told, forest, &one.path)
            });
            let kept: Vec<Value> = kept.collect();
            return Ok(out.json(json!({ "candidates": candidates, "kept": kept }))?);
        }
        tell_kept(out, &context.forest, &kept)?;
        if candidates.is_empty() {
            return Ok(out.line(none_to_go(older_than, &kept))?);
        }
        propose(out, &context.forest, &candidates)?;
        out.line("Nothing was discarded: --all takes them all.")?;
        return Ok(());
    }
    if !has_chosen {
        tell_kept(out, &context.forest, &kept)?;
        propose(out, &context.forest, &candidates)?;
        out.flush()?;
        candidates = choose(candidates)?;
    }
    let request = Request::discard(candidates.into_iter().map(|one| one.path).collect());
    execute(out, globals, args.consent, &context, &request)
}

/// What could go, oldest first.
pub(super) fn proposed(context: &Context, older_than: Duration) -> Vec<Candidate> {
    let mut candidates = ops::candidates(context, older_than);
    // What is only remembered counts as built on others, and is not proposed itself.
    candidates.retain(|one| context.looked_in.covers(&one.path));
    candidates
}

fn none_to_go(older_than: Duration, kept: &[Kept]) -> String {
    if kept.is_empty() {
        let age = units::age(older_than);
        return format!("No leaf is unused and unchanged for {age}.");
    }
    "All leaves that nobody uses are kept.".to_owned()
}

/// Which leaves stay by rule, and why.
fn tell_kept(out: &mut Out, forest: &Forest, kept: &[Kept]) -> io::Result<()> {
    for (one, why) in kept {
        out.about(&Mark::of(forest, &[one.node], "kept"))?;
        out.line(format_args!(
            "keep  {:>10}  {:>6}  {} ({why})",
            units::size(one.frees),
            units::age(one.age),
            printable(&one.path)
        ))?;
    }
    out.about(&Mark::default())
}

fn propose(out: &mut Out, forest: &Forest, candidates: &[Candidate]) -> io::Result<()> {
    for (index, candidate) in candidates.iter().enumerate() {
        let mark = Mark::of(forest, &[candidate.node], "prune");
        out.about(&mark.counting(vec![candidate.frees]))?;
        out.line(format_args!(
            "{:>4}  {:>10}  {:>6}  {}",
            index + 1,
            units::size(candidate.frees),
            units::age(candidate.age),
            printable(&candidate.path)
        ))?;
    }
    let frees = candidates
        .iter()
        .fold(0_u64, |sum, one| sum.saturating_add(one.frees));
    out.sum(vec![
        Piece::Text(format!("{:>4}  ", "")),
        Piece::Size(0, frees),
        Piece::Text("  in all, once the trash is emptied".to_owned()),
    ])
}

/// Asks which of them are to stay.
fn choose(candidates: Vec<Candidate>) -> anyhow::Result<Vec<Candidate>> {
    let stay = loop {
        let typed = question("Numbers to keep (1 3-5), Enter to keep none, q to stop: ")?;
        if typed == "q" {
            return Err(Stop::Cancelled("nothing was changed".to_owned()).into());
        }
        match numbers(&typed, candidates.len()) {
            Ok(stay) => break stay,
            Err(wrong) => output::complain(wrong),
        }
    };
    let chosen: Vec<Candidate> = candidates
        .into_iter()
        .enumerate()
        .filter(|(index, _)| !stay.contains(&(index + 1)))
        .map(|(_, candidate)| candidate)
        .collect();
    if chosen.is_empty() {
        return Err(Stop::Cancelled("all of them stay; nothing was changed".to_owned()).into());
    }
    Ok(chosen)
}

/// Reads `1 3-5, 7`, each from 1 to `most`.
fn numbers(text: &str, most: usize) -> Result<BTreeSet<usize>, String> {
    let mut found = BTreeSet::new();
    let words = text.split([' ', ',']).filter(|word| !word.is_empty());
    for word in words {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let read = |part: &str| part.parse().ok().filter(|n| (1..=most).contains(n));
        match (read(first), read(last)) {
            (Some(first), Some(last)) if first <= last => found.extend(first..=last),
            _ => return Err(format!("{word:?} is no number from 1 to {most}")),
        }
    }
    Ok(found)
}

fn describe(candidate: &Candidate) -> Value {
    json!({
        "path": path(&candidate.path),
        "age-sec": candidate.age.as_secs(),
        "frees": candidate.frees,
        "why": candidate.why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges_are_read_and_others_refused() {
        assert_eq!(numbers("", 3), Ok(BTreeSet::new()));
        assert_eq!(numbers("1, 3-5", 5), Ok([1, 3, 4, 5].into()));
        for wrong in ["0", "6", "4-3", "x", "1-", "-"] {
            assert!(numbers(wrong, 5).is_err(), "{wrong}");
        }
    }
}
