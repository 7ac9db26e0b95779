//! `qanopy check`: what is wrong with images' tables, as text or with the keys of `qemu-img check`,
//! and repairing it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::forest::{Problem, ProblemKind};
use crate::host::{Host, RealHost, during_one_scan, printable};
use crate::image::{Check, Finding, FindingKind, NoProgress, Severity};
use crate::ops::{self, RepairAction, RepairImage, Request};
use clap::Args;

use super::context;
use super::execute::execute;
use super::exit::{self, Stop};
use super::mistakes;
use super::options::{ConsentArgs, Globals, Words, one_of};
use super::output::{self, Out};
use super::remedies;
use crate::units;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The images; of what they are built on only headers are read, and it need not be there
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Repair what is found, after a plan; the tables replaced are kept in the trash
    #[arg(long, value_parser = one_of(REPAIRS), value_name = "WHAT")]
    repair: Option<RepairAction>,
    /// Take a repair back: put the tables that it replaced in place again
    #[arg(long, value_name = "ENTRY", conflicts_with = "repair")]
    put_back: Option<String>,
    #[command(flatten)]
    consent: ConsentArgs,
}

/// How much is repaired.
const REPAIRS: &Words<RepairAction> = &[
    (
        "leaks",
        "Free clusters that nothing refers to, in images that have nothing worse",
        RepairAction::Leaks,
    ),
    (
        "all",
        "Repair everything that can be repaired without guessing",
        RepairAction::All,
    ),
];

impl CheckArgs {
    /// What is asked for, where something is to be repaired.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        Ok(Request::Repair(self.repair_request()?))
    }

    fn repair_request(&self) -> Result<RepairImage, Stop> {
        let usage = |text: &str| Stop::Usage(text.to_owned());
        let action = self.action();
        let action = action.ok_or_else(|| usage("nothing is changed without --repair"))?;
        let [image] = self.images.as_slice() else {
            return Err(usage("one image is repaired at a time"));
        };
        Ok(RepairImage {
            image: image.clone(),
            action,
        })
    }

    fn action(&self) -> Option<RepairAction> {
        let put_back = self.put_back.clone();
        let repair = self.repair.clone();
        repair.or_else(|| put_back.map(|entry| RepairAction::PutBack { entry }))
    }
}

/// Checks the images, or repairs one.
pub(super) fn run(out: &mut Out, globals: Globals, args: &CheckArgs) -> anyhow::Result<()> {
    if let [image] = &*args.images {
        mistakes::no_folder(image)?;
    }
    if args.action().is_none() {
        return during_one_scan(|| check_all(out, globals, &args.images));
    }
    repair(out, globals, args)
}

/// Tells what is wrong first, then carries the repair out, then tells what is left.
fn repair(out: &mut Out, globals: Globals, args: &CheckArgs) -> anyhow::Result<()> {
    let RepairImage { image, action } = &args.repair_request()?;
    let puts_back = matches!(action, RepairAction::PutBack { .. });
    let found = match ops::check(&RealHost, image, &NoProgress) {
        _ if puts_back => None,
        Ok(found) => Some(found),
        // The plan refuses it as every plan does.
        Err(ops::Error::InUse(_)) => None,
        Err(error) => return Err(error.into()),
    };
    if let Some(found) = found {
        if !globals.json {
            print(out, image, &found)?;
        }
        let tail_only = found
            .findings
            .iter()
            .all(|f| f.kind == FindingKind::Trailing);
        if found.findings.is_empty() || (tail_only && *action == RepairAction::Leaks) {
            if globals.json {
                print_json(out, globals, vec![described(image, &found, &[])])?;
            }
            return Ok(out.flush()?);
        }
    }
    // What is built on the image reads what the repair writes.
    let context = context::around(std::slice::from_ref(image), &[])?;
    execute(out, globals, args.consent, &context, &args.request()?)?;
    if args.consent.dry_run || puts_back {
        return Ok(());
    }
    let now = ops::check(&RealHost, image, &NoProgress)?;
    if !globals.json {
        print(out, image, &now)?;
        out.flush()?;
    }
    if now.corruptions > 0 || now.leaks > 0 {
        return Err(Stop::Problems("1 image with problems left".to_owned()).into());
    }
    Ok(())
}

/// Checks every image named; one that cannot be checked does not keep the others from it.
fn check_all(out: &mut Out, globals: Globals, images: &[PathBuf]) -> anyhow::Result<()> {
    let host: Arc<dyn Host> = Arc::new(RealHost);
    let (mut failed, mut troubled) = (0, 0);
    let mut told = Vec::new();
    for path in images {
        match ops::check(host.as_ref(), path, &NoProgress) {
            Ok(check) => {
                let notices = ops::chain_notices(&host, path);
                // Another size than the base's is worth saying, and no trouble; so is a data file that is
                // found from one directory.
                let in_trouble = notices.iter().any(|notice| {
                    !matches!(
                        notice.kind,
                        ProblemKind::BackingSize | ProblemKind::DirectoryDependentDataFile
                    )
                });
                let harmed = check.findings.iter().any(|f| !f.kind.is_harmless());
                troubled += usize::from(in_trouble || harmed);
                if globals.json {
                    told.push(described(path, &check, &notices));
                } else {
                    print(out, path, &check)?;
                    for notice in &notices {
                        out.line(format_args!("  {:10}  {}", "notice", notice.message))?;
                    }
                }
            }
            Err(error) => {
                failed += 1;
                out.flush()?;
                output::complain(format_args!("qanopy: {error}"));
                remedies::complain(&error.report().remedies);
                told.push(not_checked(path, error));
            }
        }
    }
    if globals.json {
        print_json(out, globals, told)?;
    }
    out.flush()?;
    let mut said = Vec::new();
    if troubled > 0 {
        said.push(format!("{} with problems", how_many(troubled)));
    }
    if failed > 0 {
        said.push(format!("{} could not be checked", how_many(failed)));
    }
    if said.is_empty() {
        return Ok(());
    }
    Err(Stop::Problems(said.join(", ")).into())
}

/// A list; qemu-img checks one image, and gives none.
fn print_json(out: &mut Out, globals: Globals, mut images: Vec<Value>) -> io::Result<()> {
    let only = images.pop_if(|_| globals.bare_json);
    out.json(match only {
        Some(only) if images.is_empty() => only,
        only => images.into_iter().chain(only).collect(),
    })
}

/// An image that could not be checked, as JSON.
fn not_checked(path: &Path, error: ops::Error) -> Value {
    json!({
        "filename": super::json::path(path),
        "format": "qcow2",
        "check-errors": 1,
        "error": exit::described(&error.into()),
    })
}

fn how_many(number: usize) -> String {
    match number {
        1 => "1 image".to_owned(),
        n => format!("{n} images"),
    }
}

/// One image as JSON: the keys of `qemu-img check` where the fact is the same, and what it does not
/// tell.
fn described(path: &Path, check: &Check, notices: &[Problem]) -> Value {
    let mut map = Map::new();
    map.insert("filename".to_owned(), super::json::path(path));
    map.insert("format".to_owned(), "qcow2".into());
    map.insert("check-errors".to_owned(), 0.into());
    // As qemu-img: what is zero is left out.
    let numbers = [
        ("image-end-offset", check.image_end),
        ("total-clusters", check.total_clusters),
        ("allocated-clusters", check.allocated_clusters),
        ("compressed-clusters", check.compressed_clusters),
        ("fragmented-clusters", check.fragmented_clusters),
        ("corruptions", check.corruptions),
        ("leaks", check.leaks),
    ];
    for (key, number) in numbers {
        if number > 0 {
            map.insert(key.to_owned(), number.into());
        }
    }
    map.insert("leaked-bytes".to_owned(), check.leaked_bytes.into());
    map.insert("trailing-bytes".to_owned(), check.trailing_bytes().into());
    let findings = check.findings.iter().map(|finding| {
        json!({
            "kind": finding.kind.name(),
            "severity": word(finding),
            "offset": finding.offset,
            "length": finding.len,
            "guest-offset": finding.guest.map(|(offset, _)| offset),
            "guest-length": finding.guest.map(|(_, len)| len),
            "text": finding.text,
        })
    });
    let below = notices.iter().map(|notice| {
        json!({
            "kind": notice.kind.name(),
            "severity": "notice",
            "offset": null,
            "length": 0,
            "guest-offset": null,
            "guest-length": null,
            "text": notice.message,
        })
    });
    map.insert(
        "findings".to_owned(),
        Value::Array(findings.chain(below).collect()),
    );
    Value::Object(map)
}

fn word(finding: &Finding) -> &'static str {
    match finding.kind.severity() {
        Severity::Corruption => "corruption",
        Severity::Leak => "leak",
        Severity::Notice => "notice",
    }
}

fn print(out: &mut Out, path: &Path, check: &Check) -> io::Result<()> {
    let mut parts = Vec::new();
    if check.corruptions > 0 {
        parts.push(match check.corruptions {
            1 => "1 corruption".to_owned(),
            n => format!("{n} corruptions"),
        });
    }
    if check.leaks > 0 {
        let clusters = if check.leaks == 1 {
            "cluster"
        } else {
            "clusters"
        };
        parts.push(format!(
            "{} leaked {clusters} ({})",
            check.leaks,
            units::size(check.leaked_bytes)
        ));
    }
    if parts.is_empty() {
        parts.push(match check.findings.len() {
            0 => "clean".to_owned(),
            _ => "no corruptions, no leaks".to_owned(),
        });
    }
    out.line(format_args!("{}: {}", printable(path), parts.join(", ")))?;
    for finding in &check.findings {
        let guest = match finding.guest {
            Some((offset, len)) => format!(" (guest {offset:#x}, {})", units::size(len)),
            None => String::new(),
        };
        out.line(format_args!(
            "  {:10}  {}{guest}",
            word(finding),
            finding.text
        ))?;
    }
    let kept = |severity| {
        let of = check
            .findings
            .iter()
            .filter(move |f| f.kind.severity() == severity);
        of.count() as u64
    };
    // Leaked clusters in a row are one line, so only corruptions can be counted here.
    if kept(Severity::Corruption) < check.corruptions && kept(Severity::Corruption) >= 100 {
        out.line("  and further corruptions of which only the number was kept")?;
    }
    Ok(())
}
