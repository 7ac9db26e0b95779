//! `qanopy doctor`: all that is wrong with the images below some folders, and what helps against it.

use std::collections::BTreeSet;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

use crate::doctor::{self, Finding, Sure};
use crate::host::{User, printable, shell_quoted};
use crate::ops::{self, Context, Plan, Request};
use crate::units::count;

use super::context;
use super::execute::execute_plan;
use super::exit::{FileError, Stop};
use super::json::{path, with_storage};
use super::mark::Mark;
use super::options::{ConsentArgs, Globals, OpenArgs};
use super::output::Out;
use super::remedies;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    open: OpenArgs,
    /// Fix all findings of this name, each by the first fix that is offered
    #[arg(
        long,
        value_name = "NAME",
        value_parser = PossibleValuesParser::new(doctor::names()),
        hide_possible_values = true
    )]
    fix: Vec<String>,
    /// Fix what is certain, as far as nothing is lost: it can be undone, and its plan has no warning
    #[arg(long, conflicts_with = "fix")]
    fix_safe: bool,
    /// Also check what this user (a name or a number) may not do: enter folders, read layers, write leaves
    #[arg(long, value_name = "USER")]
    as_user: Option<String>,
    #[command(flatten)]
    consent: ConsentArgs,
}

impl DoctorArgs {
    fn is_to_fix(&self) -> bool {
        self.fix_safe || !self.fix.is_empty()
    }

    /// Whose permissions are looked at.
    fn user(&self) -> anyhow::Result<Option<User>> {
        let Some(name) = &self.as_user else {
            return Ok(None);
        };
        let user = User::named(name).map_err(FileError::at("read", "/etc/passwd"))?;
        if user.is_none() {
            let text = format!("there is no user {name} in /etc/passwd");
            return Err(Stop::Usage(text).into());
        }
        Ok(user)
    }

    /// All that is wrong.
    fn look(&self, user: Option<&User>) -> anyhow::Result<(Context, Vec<Finding>)> {
        let mut context = context::below_and_remembered(&self.open)?;
        let past_end = doctor::look_through(&mut context);
        let mut findings = doctor::examine(&context, user);
        findings.extend(past_end);
        Ok((context, findings))
    }

    /// The plans of what is to be done.
    fn plans(&self, context: &Context, findings: &[Finding]) -> Vec<Plan> {
        if self.fix_safe {
            return doctor::treat_safely(context, findings);
        }
        let named = findings
            .iter()
            .filter(|finding| self.fix.iter().any(|name| name == finding.name));
        doctor::treat(context, named)
    }
}

/// Tells what is wrong; before that, does what helps as far as that is asked.
pub(super) fn run(out: &mut Out, globals: Globals, args: &DoctorArgs) -> anyhow::Result<()> {
    let consent = args.consent;
    let is_agreed = consent.dry_run || consent.yes || consent.confirm.is_some();
    if is_agreed && !args.is_to_fix() {
        let text = "say what is to be done: --fix NAME or --fix-safe".to_owned();
        return Err(Stop::Usage(text).into());
    }
    let user = args.user()?;
    let (mut context, mut findings) = args.look(user.as_ref())?;
    let (mut fixed, mut tried) = (Vec::new(), BTreeSet::new());
    let mut ended = Ok(None);
    while args.is_to_fix() {
        let mut plans = args.plans(&context, &findings);
        // What was refused or changed nothing is not tried for ever.
        plans.retain(|plan| tried.insert(format!("{:?}", plan.request)));
        if plans.is_empty() {
            break;
        }
        ended = fix(out, globals, args, plans, &mut fixed);
        if consent.dry_run || ended.is_err() {
            break;
        }
        (context, findings) = args.look(user.as_ref())?;
    }
    if globals.json {
        let findings: Vec<Value> = findings
            .iter()
            .map(|finding| described(&context, finding, user.as_ref()))
            .collect();
        let mut told = json!({ "findings": findings });
        if let Some(told) = told.as_object_mut().filter(|_| args.is_to_fix()) {
            told.insert("fixes".to_owned(), fixed.into());
        }
        out.json(told)?;
    } else {
        if !tried.is_empty() {
            out.line("")?;
        } else if args.is_to_fix() {
            out.line("Nothing of that kind can be done without a decision of yours.")?;
        }
        tell(out, &context, &findings, user.as_ref())?;
    }
    out.flush()?;
    if let Some(stop) = ended? {
        return Err(stop.into());
    }
    match findings.len() {
        0 => Ok(()),
        found => Err(Stop::Problems(count(found, "finding")).into()),
    }
}

/// Carries these plans out, one after the other; gives the first that ended before its goal.
fn fix(
    out: &mut Out,
    globals: Globals,
    args: &DoctorArgs,
    plans: Vec<Plan>,
    fixed: &mut Vec<Value>,
) -> anyhow::Result<Option<Stop>> {
    let mut first = None;
    for plan in plans {
        let executed = execute_plan(out, globals, args.consent, plan)?;
        fixed.extend(executed.described);
        first = first.or(executed.stop);
    }
    Ok(first)
}

/// One kind after the other: why it matters, and a line for each image, so that `grep` shows both.
fn tell(
    out: &mut Out,
    context: &Context,
    findings: &[Finding],
    user: Option<&User>,
) -> anyhow::Result<()> {
    if findings.is_empty() {
        let dirs = context.looked_in.dirs();
        let dirs: Vec<String> = dirs.iter().map(printable).collect();
        let dirs = dirs.join(", ");
        return Ok(out.line(format_args!("Nothing is known to be wrong under {dirs}."))?);
    }
    let mut last = None;
    for finding in findings {
        if last != Some(finding.name) {
            out.about(&Mark::default())?;
            if last.is_some() {
                out.line("")?;
            }
            out.line(format_args!("{}: {}", finding.name, finding.why))?;
        }
        last = Some(finding.name);
        let mut line = format!("! {}", finding.what);
        if finding.sure != Sure::Certain {
            line.push_str(&format!(" ({})", finding.sure.name()));
        }
        let helps = helps(context, finding, user);
        if !helps.is_empty() {
            line.push_str(&format!("  {}: {}", remedies::HELPS, helps.join("  or: ")));
        }
        let node = context.forest.by_path(&finding.path).map(|node| node.id);
        let ids: Vec<_> = node.into_iter().collect();
        out.about(&Mark::of(&context.forest, &ids, finding.name))?;
        out.line(line)?;
    }
    Ok(out.about(&Mark::default())?)
}

/// The command lines of what helps; this command's own where no other one does it.
fn helps(context: &Context, finding: &Finding, user: Option<&User>) -> Vec<String> {
    let lines = remedies::lines(&finding.fixes);
    if !lines.is_empty() || finding.fix().is_none() {
        return lines;
    }
    let dirs = context.looked_in.dirs();
    let dirs: Vec<String> = dirs.iter().map(remedies::typed_path).collect();
    // Whom it is about only this command knows.
    let whom = user.map(|user| format!(" --as-user {}", shell_quoted(&user.name)));
    let whom = whom.filter(|_| matches!(finding.fix(), Some(Request::Permit(_))));
    vec![format!(
        "qanopy doctor --fix {}{} {}",
        finding.name,
        whom.unwrap_or_default(),
        dirs.join(" ")
    )]
}

/// A finding as JSON.
fn described(context: &Context, finding: &Finding, user: Option<&User>) -> Value {
    let (mut fixes, templates) = ops::command_lines(&finding.fixes);
    if fixes.is_empty() && templates.is_empty() {
        fixes = helps(context, finding, user);
    }
    let described = json!({
        "kind": finding.name,
        "path": path(&finding.path),
        "message": finding.what,
        "why": finding.why,
        "sure": finding.sure.name(),
        "fixes": fixes,
        "templates": templates,
    });
    with_storage(described, &context.forest, &finding.path)
}
