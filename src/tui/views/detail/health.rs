//! What is wrong with the selected image: what the scan saw, what the last look through its tables
//! found; below that, what is wrong elsewhere.

use ratatui::text::{Line, Span};

use crate::forest::Node;
use crate::image::Severity;
use crate::tui::app::App;
use crate::tui::keymap::Action;
use crate::tui::text;
use crate::tui::theme::Role;

/// Other images listed at most; the rest is counted.
const OTHERS: usize = 200;

/// All lines.
pub(super) fn lines(app: &App, node: &Node, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for problem in &node.problems {
        push(&mut lines, app, "!", Role::Error, &problem.message, width);
    }
    checked(&mut lines, app, node, width);
    others(&mut lines, app, node, width);
    lines
}

/// What the last look through the tables found.
fn checked(lines: &mut Vec<Line<'static>>, app: &App, node: &Node, width: usize) {
    let check = app.key(Action::Check);
    let Some(checked) = app.checks.get(&node.path) else {
        if node.facts().is_some() {
            let before = if node.problems.is_empty() {
                "Nothing is known to be wrong. "
            } else {
                ""
            };
            let text = format!("{before}Its tables were not looked through: {check} does.");
            push(lines, app, " ", Role::Quiet, &text, width);
        } else if node.problems.is_empty() {
            push(
                lines,
                app,
                " ",
                Role::Quiet,
                "Nothing is known to be wrong.",
                width,
            );
        }
        return;
    };
    let ago = text::age(checked.at, app.now());
    let found = match &checked.found {
        Ok(found) => found,
        Err(why) => {
            let text = format!("Its tables could not be looked through {ago} ago: {why}");
            push(lines, app, "!", Role::Error, &text, width);
            return;
        }
    };
    let is_clean = found.corruptions == 0 && found.leaks == 0;
    let (sign, role) = match (is_clean, app.settings.ascii) {
        (true, true) => ("*", Role::Good),
        (true, false) => ("✓", Role::Good),
        (false, _) => ("!", Role::Error),
    };
    let text = format!("looked through {ago} ago: {}", text::verdict(found));
    push(lines, app, sign, role, &text, width);
    let percent = |part: u64, whole: u64| match whole {
        0 => "-".to_owned(),
        whole => format!("{}%", u128::from(part) * 100 / u128::from(whole)),
    };
    let text = format!(
        "{} of its clusters allocated, {} of these not in a row with the one before",
        percent(found.allocated_clusters, found.total_clusters),
        percent(found.fragmented_clusters, found.allocated_clusters),
    );
    push(lines, app, " ", Role::Quiet, &text, width);
    for finding in &found.findings {
        let (word, role) = match finding.kind.severity() {
            Severity::Corruption => ("!", Role::Error),
            Severity::Leak => ("~", Role::Warning),
            Severity::Notice => (" ", Role::Quiet),
        };
        let text = format!("{}: {}", finding.kind.name(), finding.text);
        push(lines, app, word, role, &text, width);
    }
    let told = u64::try_from(found.findings.len()).unwrap_or(u64::MAX);
    let all = found.corruptions.saturating_add(found.leaks);
    if all > told {
        let text = format!("and {} more", text::grouped(all - told));
        push(lines, app, " ", Role::Quiet, &text, width);
    }
}

/// The other images with problems, one line each.
fn others(lines: &mut Vec<Line<'static>>, app: &App, node: &Node, width: usize) {
    let others = || {
        app.forest
            .nodes()
            .filter(|other| other.id != node.id && !other.problems.is_empty())
    };
    let count = others().count();
    if count == 0 {
        return;
    }
    lines.push(Line::raw(""));
    let number = text::count(
        u64::try_from(count).unwrap_or(u64::MAX),
        "other image has problems",
        "other images have problems",
    );
    let key = app.key(Action::View);
    let text = format!("{number} ({key} shows only those):");
    push(lines, app, " ", Role::Title, &text, width);
    for other in others().take(OTHERS) {
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
        push(lines, app, "!", Role::Error, &text, width);
    }
    if count > OTHERS {
        let text = format!("and {} more", count - OTHERS);
        push(lines, app, " ", Role::Quiet, &text, width);
    }
}

fn push(
    lines: &mut Vec<Line<'static>>,
    app: &App,
    sign: &str,
    role: Role,
    words: &str,
    width: usize,
) {
    let theme = app.settings.theme;
    let style = if role == Role::Error {
        theme.style(Role::Plain)
    } else {
        theme.style(role)
    };
    let parts = text::wrap(&text::safe(words), width.saturating_sub(4), 0);
    for (i, part) in parts.into_iter().enumerate() {
        let sign = if i == 0 { sign } else { " " };
        lines.push(Line::from(vec![
            Span::styled(format!(" {sign} "), theme.style(role)),
            Span::styled(part, style),
        ]));
    }
}
