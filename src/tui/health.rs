//! What is wrong with images, line by line, each with what helps: what the scan saw of the selected one,
//! what the last look through its tables found, then what is wrong elsewhere. How lines look is the
//! view's business, doing what helps is `update`'s.

use crate::doctor::{Finding, Sure};
use crate::forest::far::host_and_path;
use crate::forest::{Forest, Node, NodeId, ProblemKind};
use crate::image::{self, Check};
use crate::ops::{Remedy, Request, fixes};
use crate::units;

use super::actions::Action;
use super::app::App;
use super::disabled_reason::can_be_checked;
use super::text;

/// Other images listed at most; the rest is counted.
const OTHERS: usize = 200;

/// How grave a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// All is well.
    Good,
    /// Something is wrong.
    Bad,
    /// Something is not as it could be.
    Warning,
    /// To be known.
    Quiet,
    /// The head of what follows.
    Title,
}

/// What helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fix {
    /// What the operations know to help.
    Do(Remedy),
    /// Go to that image.
    GoTo(NodeId),
    /// Have the host of this place plan that.
    AskThere(usize, Box<Request>),
}

impl Fix {
    /// What it does, in a word or two.
    #[must_use]
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Do(Remedy::Ask(request)) => match **request {
                Request::Relink(_) | Request::Amend(_) => "plans to record it",
                Request::Recover(_) => "finishes it, or takes it back",
                Request::Repair(_) => "plans the repair",
                _ => "plans what helps",
            },
            Self::Do(Remedy::Relink(_)) => "says where it went",
            Self::Do(Remedy::DataFile(_)) => "says where it is",
            Self::Do(Remedy::Branch(_) | Remedy::LiveBranch(_)) => "makes an overlay",
            Self::Do(Remedy::Check(_)) => "looks through them",
            Self::Do(Remedy::Accept(_)) => "takes it as it is now",
            Self::Do(Remedy::Passphrase(_) | Remedy::NewPassphrase(_)) => "asks for it",
            Self::Do(Remedy::LookIn(_)) => "looks there",
            Self::GoTo(_) => "goes there",
            Self::AskThere(..) => "plans what helps",
        }
    }
}

/// One thing to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// How grave it is.
    pub severity: Severity,
    /// A sentence; not yet safe to print.
    pub text: String,
    /// What helps, if anything does.
    pub fix: Option<Fix>,
}

fn line(severity: Severity, text: impl Into<String>) -> Line {
    Line {
        severity,
        text: text.into(),
        fix: None,
    }
}

impl Line {
    fn helped_by(mut self, fix: Option<Fix>) -> Self {
        self.fix = fix;
        self
    }
}

/// Which of these lines is under the cursor, which moves among those that something helps against.
#[must_use]
pub(crate) fn at_cursor(app: &App, lines: &[Line]) -> Option<usize> {
    let lines = lines.iter().enumerate();
    let with_fix = lines.filter(|(_, line)| line.fix.is_some());
    with_fix
        .take(app.detail.health_cursor + 1)
        .last()
        .map(|(at, _)| at)
}

/// All there is to tell while this image is selected.
#[must_use]
pub(crate) fn lines(app: &App, node: &Node) -> Vec<Line> {
    let own = node.problems.iter().map(|problem| {
        let goes = app.forest.broken_below(node.id);
        let goes = goes.filter(|_| problem.kind == ProblemKind::BrokenBelow);
        let fix = match goes {
            Some(found) => Some(Fix::GoTo(found.layer)),
            None => fix(&app.forest, node, problem.kind).filter(|_| may_change(app)),
        };
        line(Severity::Bad, problem.message.clone()).helped_by(fix)
    });
    let mut lines: Vec<Line> = own.collect();
    let further = found_further(app).filter(|finding| finding.path == node.path);
    lines.extend(further.map(|finding| found(app, finding)));
    let is_well = lines.is_empty();
    checked(&mut lines, app, node, is_well);
    others(&mut lines, app, node);
    lines
}

/// What else was found than the scan sees: what is wrong, and why that matters.
fn found(app: &App, finding: &Finding) -> Line {
    let relink = |fix: &&Remedy| matches!(fix, Remedy::Ask(_));
    let fix = finding.fixes.iter().find(relink).or(finding.fixes.first());
    let fix = fix.cloned().filter(|_| may_change(app));
    // What helps is done by the machine that it was found on, also where it names no file.
    let fix = fix.map(|fix| match (app.hosts.of_path(&finding.path), fix) {
        (Some(at), Remedy::Ask(request)) => Fix::AskThere(at, request),
        (_, fix) => Fix::Do(fix),
    });
    let text = match finding.sure {
        Sure::Certain => format!("{} {}", finding.what, finding.why),
        sure => format!("{} ({}) {}", finding.what, sure.name(), finding.why),
    };
    line(Severity::Warning, text).helped_by(fix)
}

fn may_change(app: &App) -> bool {
    !app.settings.read_only
}

/// What helps against this kind of problem of an image: an operation that [`fixes`] knows, or where a person
/// has something to say first, the place to say it.
#[must_use]
pub(crate) fn fix(forest: &Forest, node: &Node, kind: ProblemKind) -> Option<Fix> {
    let fixes = fixes(forest, node, kind);
    let mut asks = fixes.iter().filter(|fix| matches!(fix, Remedy::Relink(_)));
    let best = asks.next().or(fixes.first());
    best.cloned().map(Fix::Do)
}

/// What helps first: links before tables, since what is not there cannot be compared.
#[must_use]
pub(crate) fn first_fix(forest: &Forest, node: &Node) -> Option<Fix> {
    let mut remedies: Vec<Fix> = node
        .problems
        .iter()
        .filter_map(|problem| fix(forest, node, problem.kind))
        .collect();
    // An overlay elsewhere mends nothing of this image, and what is accepted is told of no more: nobody shall do that by
    // the way.
    let is_no_repair = |fix: &Fix| {
        matches!(
            fix,
            Fix::Do(Remedy::Branch(_) | Remedy::LiveBranch(_) | Remedy::Accept(_))
        )
    };
    remedies.retain(|fix| !is_no_repair(fix));
    remedies.sort_by_key(|fix| match fix {
        Fix::Do(Remedy::Relink(_)) => 0,
        Fix::Do(Remedy::Ask(request)) if matches!(**request, Request::Relink(_)) => 1,
        _ => 2,
    });
    remedies.into_iter().next()
}

/// What the last look through the tables found.
fn checked(lines: &mut Vec<Line>, app: &App, node: &Node, is_well: bool) {
    let again = can_be_checked(node).then(|| Fix::Do(Remedy::Check(node.path.clone())));
    let Some(checked) = app.session.checks.get(&node.path) else {
        let nothing = match is_well {
            true => "Nothing is known to be wrong. ",
            false => "",
        };
        if node.info().is_some() {
            let check = app.key(Action::Check);
            let text = format!("{nothing}Its tables were not looked through: {check} does.");
            lines.push(line(Severity::Quiet, text).helped_by(again));
        } else if is_well {
            lines.push(line(Severity::Quiet, nothing.trim_end()));
        }
        return;
    };
    let ago = text::age(checked.at, app.now());
    let found = match &checked.found {
        Ok(found) => found,
        Err(why) => {
            let text = format!("Its tables could not be looked through {ago} ago: {why}");
            return lines.push(line(Severity::Bad, text).helped_by(again));
        }
    };
    let is_clean = found.corruptions == 0 && found.leaks == 0;
    let severity = if is_clean {
        Severity::Good
    } else {
        Severity::Bad
    };
    let text = format!("looked through {ago} ago: {}", text::verdict(found));
    lines.push(line(severity, text).helped_by(again));
    findings(lines, found);
}

fn findings(lines: &mut Vec<Line>, found: &Check) {
    let percent = |part: u64, whole: u64| match whole {
        0 => "-".to_owned(),
        whole => format!("{}%", u128::from(part) * 100 / u128::from(whole)),
    };
    lines.push(line(
        Severity::Quiet,
        format!(
            "{} of its clusters allocated, {} of these not in a row with the one before",
            percent(found.allocated_clusters, found.total_clusters),
            percent(found.fragmented_clusters, found.allocated_clusters),
        ),
    ));
    for finding in &found.findings {
        let severity = match finding.kind.severity() {
            image::Severity::Corruption => Severity::Bad,
            image::Severity::Leak => Severity::Warning,
            image::Severity::Notice => Severity::Quiet,
        };
        let text = format!("{}: {}", finding.kind.name(), finding.text);
        lines.push(line(severity, text));
    }
    let told = u64::try_from(found.findings.len()).unwrap_or(u64::MAX);
    let all = found.corruptions.saturating_add(found.leaks);
    if all > told {
        lines.push(line(
            Severity::Quiet,
            format!("and {} more", units::grouped(all - told)),
        ));
    }
}

/// The other images with problems, one line each; then what else was found about other files.
fn others(lines: &mut Vec<Line>, app: &App, node: &Node) {
    let ids = app.tree.summary.problems.iter();
    let ids: Vec<NodeId> = ids.copied().filter(|other| *other != node.id).collect();
    if !ids.is_empty() {
        let has = if ids.len() == 1 { "has" } else { "have" };
        let number = format!("{} {has} problems", units::count(ids.len(), "other image"));
        let key = app.key(Action::View);
        title(lines, format!("{number} ({key} shows only those):"));
        let others = ids.iter().filter_map(|id| app.forest.get(*id));
        at_most(lines, ids.len(), others.map(|other| sick(app, other)));
    }
    let further: Vec<&Finding> = found_further(app)
        .filter(|finding| finding.path != node.path)
        .collect();
    if !further.is_empty() {
        let number = units::count(further.len(), "finding");
        title(lines, format!("{number} about other files:"));
        let elsewhere = further.iter().map(|finding| elsewhere(app, finding));
        at_most(lines, further.len(), elsewhere);
    }
    let said = app.hosts.said(|beside| &beside.findings);
    if !said.is_empty() {
        title(lines, "Not examined:".to_owned());
        let count = said.len();
        let said = said.into_iter().map(|text| line(Severity::Warning, text));
        at_most(lines, count, said);
    }
}

/// What was found that the scan does not see, here and on hosts.
fn found_further(app: &App) -> impl Iterator<Item = &Finding> {
    let hosts = app.hosts.list.iter();
    let far = hosts.filter_map(|host| host.beside.findings.told());
    app.session.examination.findings.iter().chain(far.flatten())
}

fn title(lines: &mut Vec<Line>, text: String) {
    lines.push(line(Severity::Quiet, ""));
    lines.push(line(Severity::Title, text));
}

/// Lines as long as there are few, and how many more there are.
fn at_most(lines: &mut Vec<Line>, count: usize, more: impl Iterator<Item = Line>) {
    lines.extend(more.take(OTHERS));
    if count > OTHERS {
        let text = format!("and {} more", count - OTHERS);
        lines.push(line(Severity::Quiet, text));
    }
}

/// Another image with problems.
fn sick(app: &App, other: &Node) -> Line {
    let problem = other.problems.first().map(|problem| problem.kind.name());
    let more = match other.problems.len() {
        0 | 1 => String::new(),
        n => format!(" and {} more", n - 1),
    };
    let text = format!(
        "{}: {}{more}",
        app.label(other),
        problem.unwrap_or_default()
    );
    let there = app.tree.rows.place(other.id).map(|_| Fix::GoTo(other.id));
    line(Severity::Bad, text).helped_by(there)
}

/// What was found about another image, to be gone to; about a file that is no image of the tree all that there is to
/// say.
fn elsewhere(app: &App, finding: &Finding) -> Line {
    let there = app.forest.by_path(&finding.path);
    let there = there.filter(|other| app.tree.rows.place(other.id).is_some());
    match there {
        Some(other) => {
            let text = format!("{}: {}", app.label(other), finding.name);
            line(Severity::Warning, text).helped_by(Some(Fix::GoTo(other.id)))
        }
        None => {
            let mut line = found(app, finding);
            if let Some((host, _)) = host_and_path(&finding.path) {
                line.text = format!("{host}: {}", line.text);
            }
            line
        }
    }
}
