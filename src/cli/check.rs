//! `qanopy check`: what is wrong with images' tables, as text or with the keys of `qemu-img check`,
//! and repairing it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use serde_json::{Map, Value, json};

use crate::forest::{Problem, ProblemKind};
use crate::host::{Host, RealHost, printable};
use crate::image::{Check, Finding, FindingKind, Severity, Unhurried};
use crate::ops::{self, RepairAction, RepairImage, Request};

use super::args::{CheckArgs, ConsentArgs, Globals, RepairArg};
use super::context;
use super::execute::execute;
use super::exit::Stop;
use super::output::{self, Out};
use crate::units;

/// Checks the images, or repairs one.
pub(super) fn run(out: &mut Out, globals: Globals, args: &CheckArgs) -> anyhow::Result<()> {
    let action = match (args.repair, &args.put_back) {
        (Some(RepairArg::Leaks), _) => RepairAction::Leaks,
        (Some(RepairArg::All), _) => RepairAction::All,
        (None, Some(entry)) => RepairAction::PutBack {
            entry: entry.clone(),
        },
        (None, None) => return check_all(out, globals, &args.images),
    };
    let [image] = args.images.as_slice() else {
        return Err(Stop::Usage("one image is repaired at a time".to_owned()).into());
    };
    repair(out, globals, args.consent, image, action)
}

/// Tells what is wrong first, then carries the repair out, then tells what is left.
fn repair(
    out: &mut Out,
    globals: Globals,
    consent: ConsentArgs,
    image: &Path,
    action: RepairAction,
) -> anyhow::Result<()> {
    let puts_back = matches!(action, RepairAction::PutBack { .. });
    let found = match ops::check(&RealHost, image, &Unhurried) {
        _ if puts_back => None,
        Ok(found) => Some(found),
        // The plan refuses it as every plan does.
        Err(ops::Error::InUse(_)) => None,
        Err(error) => return Err(anyhow!("{error}")),
    };
    if let Some(found) = found {
        if !globals.json {
            print(out, image, &found)?;
        }
        let tail_only = found
            .findings
            .iter()
            .all(|f| f.kind == FindingKind::Trailing);
        if found.findings.is_empty() || (tail_only && action == RepairAction::Leaks) {
            if globals.json {
                out.json(&described(image, &found, &[]))?;
            }
            return Ok(out.flush()?);
        }
    }
    let request = Request::Repair(RepairImage {
        image: image.to_path_buf(),
        action,
    });
    // What is built on the image reads what the repair writes.
    let context = context::around(&[image.to_path_buf()], &[])?;
    execute(out, globals, consent, &context, &request)?;
    if consent.dry_run || puts_back {
        return Ok(());
    }
    let now = ops::check(&RealHost, image, &Unhurried).map_err(|error| anyhow!("{error}"))?;
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
        match ops::check(host.as_ref(), path, &Unhurried) {
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
                if globals.json {
                    told.push(json!({
                        "filename": super::json::path(path),
                        "format": "qcow2",
                        "check-errors": 1,
                        "error": error.to_string(),
                    }));
                }
                out.flush()?;
                output::complain(format_args!("qanopy: {error}"));
            }
        }
    }
    if globals.json {
        match (told.len(), told.pop()) {
            (1, Some(only)) => out.json(&only)?,
            (_, last) => out.json(&Value::Array(told.into_iter().chain(last).collect()))?,
        }
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
