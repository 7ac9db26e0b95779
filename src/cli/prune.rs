//! `qanopy prune`: proposes leaves that nothing uses, oldest first; the person takes out what is to
//! stay, and the rest is a discard.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};

use clap::Args;
use serde_json::{Value, json};

use crate::host::printable;
use crate::ops::{self, Candidate, Request};

use super::context;
use super::execute::{execute, question};
use super::exit::Stop;
use super::json::path;
use super::options::{ConsentArgs, Globals, OpenArgs};
use super::output::{self, Out};
use crate::units;

#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    #[command(flatten)]
    open: OpenArgs,
    /// Propose only images unchanged for this long: 12h, 30d, 8w
    #[arg(long, value_name = "AGE", value_parser = units::parse_age, default_value = "30d")]
    older_than: std::time::Duration,
    /// Take everything proposed, without asking which to keep
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    consent: ConsentArgs,
}

/// Proposes, lets choose, discards.
pub(super) fn run(out: &mut Out, globals: Globals, args: PruneArgs) -> anyhow::Result<()> {
    let context = context::below_and_remembered(&args.open)?;
    let mut candidates = ops::candidates(&context, args.older_than);
    // What is only remembered counts as built on others, and is not proposed itself.
    let dirs = &context.looked_in.dirs();
    candidates.retain(|one| dirs.iter().any(|dir| one.path.starts_with(dir)));
    let is_asked = io::stdin().is_terminal() && io::stderr().is_terminal();
    let has_chosen = args.all || candidates.is_empty();
    // Nobody to ask and nothing chosen: the proposal itself is the answer.
    if candidates.is_empty() || (!has_chosen && (!is_asked || globals.json)) {
        if globals.json {
            let candidates: Vec<Value> = candidates.iter().map(describe).collect();
            return Ok(out.json(json!({ "candidates": candidates }))?);
        }
        if candidates.is_empty() {
            let age = units::age(args.older_than);
            out.line(format_args!("No leaf is unused and unchanged for {age}."))?;
            return Ok(());
        }
        propose(out, &candidates)?;
        out.line("Nothing was discarded: --all takes them all.")?;
        return Ok(());
    }
    if !has_chosen {
        propose(out, &candidates)?;
        out.flush()?;
        candidates = choose(candidates)?;
    }
    let request = Request::discard(candidates.into_iter().map(|one| one.path).collect());
    execute(out, globals, args.consent, &context, &request)
}

fn propose(out: &mut Out, candidates: &[Candidate]) -> io::Result<()> {
    for (index, candidate) in candidates.iter().enumerate() {
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
    out.line(format_args!(
        "{:>4}  {:>10}  in all, once the trash is emptied",
        "",
        units::size(frees)
    ))
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
