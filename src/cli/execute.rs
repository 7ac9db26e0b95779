//! From a request to its outcome: plan, show, ask, run. The rules about what is safe are in the
//! plan; here is only how a person at a command line agrees to it.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use serde_json::Value;

use crate::facts::PlanFacts;
use crate::fleet::{Person, Question, person};
use crate::inside::Until;
use crate::ops::{self, Confirm, Consent, Context, Outcome, Part, Plan, Request, Tone};

use super::exit::{NOT_AGREED, READ_ONLY, Stop};
use super::interrupted::tell_interrupted;
use super::options::{ConsentArgs, Globals};
use super::output::{self, Out};
use super::{json, mistakes, progress_bar, remedies};
use crate::units;

/// Plans `request`, asks as far as `consent` leaves something to ask, and runs it.
pub(super) fn execute(
    out: &mut Out,
    globals: Globals,
    consent: ConsentArgs,
    context: &Context,
    request: &Request,
) -> anyhow::Result<()> {
    mistakes::no_folder_as_new(request)?;
    let asked = with_machines(consent, request.clone())?;
    let request = &asked;
    let plan = ops::plan(context, request);
    if !matches!(request, Request::Recover(_)) {
        tell_interrupted();
    }
    let executed = execute_plan(out, globals, consent, plan)?;
    if let Some(described) = executed.described {
        out.json(described)?;
    }
    out.flush()?;
    executed.stop.map_or(Ok(()), |stop| Err(stop.into()))
}

/// The same with what the person agrees to for machines; refused where no machine can be concerned.
fn with_machines(consent: ConsentArgs, request: Request) -> anyhow::Result<Request> {
    if consent.despite_machines && request.only_adds() {
        let text = format!(
            "{} only adds files, which harms no machine: leave --despite-machines out",
            request.name()
        );
        return Err(Stop::Usage(text).into());
    }
    let request = match consent.redefine {
        true => Request::redefining(request),
        false => request,
    };
    Ok(match consent.despite_machines {
        true => Request::despite_machines(request),
        false => request,
    })
}

/// How far a plan was carried out.
pub(super) struct Executed {
    /// The plan and what came of it as JSON, where that is asked for.
    pub(super) described: Option<Value>,
    /// Why it ended before its goal or beside it.
    pub(super) stop: Option<Stop>,
}

/// Shows a plan, asks as far as `consent` leaves something to ask, and runs it.
///
/// # Errors
/// When it was not agreed to, or failed.
pub(super) fn execute_plan(
    out: &mut Out,
    globals: Globals,
    consent: ConsentArgs,
    mut plan: Plan,
) -> anyhow::Result<Executed> {
    if consent.dry_run || globals.json {
        look_inside(&mut plan);
    }
    if let Some(person) = person().filter(|person| person.is_asked_always()) {
        person.tell_plan(PlanFacts::of(&plan).text());
    }
    if consent.dry_run || !plan.refusals.is_empty() {
        if !globals.json {
            show(&plan, consent.verify, |line| out.line(line))?;
            if let Confirm::Count(number) = plan.confirm {
                out.line(format_args!("Agree to it with --confirm {number}"))?;
            }
            let ways_out = plan.refusals.iter().flat_map(|refusal| &refusal.ways_out);
            for (index, way) in ways_out.enumerate() {
                if let Some(command) = way.request.command_line() {
                    let command = command.typed();
                    out.line(format_args!("To do {}: {command}", index + 1))?;
                }
            }
        }
        out.flush()?;
        return Ok(Executed {
            described: globals.json.then(|| json::planned(&plan)),
            // What is asked for is so: that is no failure.
            stop: plan
                .refusals
                .first()
                .filter(|_| !plan.is_so())
                .map(Stop::of),
        });
    }
    if globals.read_only {
        return Err(Stop::refused(
            READ_ONLY,
            format!("{}: not done, since --read-only was given", plan.title),
        )
        .into());
    }
    let (agreed, shown) = ask(out, globals, consent, &mut plan)?;
    out.flush()?;
    let described = globals.json.then(|| json::plan(&plan));
    let lost = plan.unread();
    let title = plan.title.clone();
    let ready = plan
        .agree(agreed)
        .map_err(|denied| Stop::refused(NOT_AGREED, format!("{title}: {denied}")))?;
    if shown == Shown::No {
        warn(ready.plan());
    }
    let ready = if consent.verify {
        ready.proving()
    } else {
        ready
    };
    let outcome = progress_bar::run(ready)?;
    if !globals.json {
        tell(out, &outcome)?;
    }
    out.flush()?;
    let unread = lost.as_deref().map_or(0, |lost| lost.bytes());
    Ok(Executed {
        described: described.map(|plan| json::done(&plan, &outcome, lost.as_deref())),
        stop: (unread > 0).then(|| {
            Stop::Problems(format!(
                "it is done, but {} could not be read, and zeros stand for them",
                units::size(unread)
            ))
        }),
    })
}

/// Prints what was done.
fn tell(out: &mut Out, outcome: &Outcome) -> io::Result<()> {
    out.line(&outcome.summary)?;
    for remark in &outcome.remarks {
        out.line(format_args!("note: {remark}"))?;
        for helps in remedies::lines(&remark.remedies) {
            out.line(format_args!("{}: {helps}", remedies::HELPS))?;
        }
    }
    Ok(())
}

/// How often a wish to stop is looked for.
const TICK: Duration = Duration::from_millis(50);
/// So long a plan waits for what is told of files inside images.
const LOOK: Duration = Duration::from_secs(2);

/// Has a plan that is going to be shown tell which files inside images it changes or takes away.
fn look_inside(plan: &mut Plan) {
    ops::look_inside(plan, &Until::within(LOOK));
}

/// Gives the plan to `write`, line by line, in the words every face uses.
fn show(
    plan: &Plan,
    proves: bool,
    mut write: impl FnMut(String) -> io::Result<()>,
) -> io::Result<()> {
    write(plan.title.clone())?;
    let mut lines = plan.lines();
    if proves && plan.refusals.is_empty() {
        lines.push(plan.proof_line());
    }
    let width = lines
        .iter()
        .map(|line| line.label.chars().count())
        .max()
        .unwrap_or(0);
    for line in &lines {
        let sign = match line.tone {
            Tone::Warning | Tone::Danger => '!',
            Tone::Plain | Tone::Good | Tone::Quiet => ' ',
        };
        let row = format!("{sign} {:<width$}  {}", line.label, line.text);
        write(row.trim_end().to_owned())?;
        for helps in remedies::lines(&line.remedies) {
            write(format!("  {:<width$}  {}: {helps}", "", remedies::HELPS))?;
        }
    }
    Ok(())
}

/// Says on standard error what of the plan nobody may miss, agreed to unseen or not.
fn warn(plan: &Plan) {
    for line in plan.lines() {
        match line.part {
            Part::Warning | Part::Note => {
                output::complain(format_args!("{}: {}", line.label, line.text));
                remedies::complain(&line.remedies);
            }
            Part::Undo if line.tone == Tone::Warning => {
                output::complain(format_args!("undo {}", line.text));
            }
            _ => {}
        }
    }
}

/// Whether the person has seen the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Yes,
    No,
}

/// Gets the person's consent: from the arguments, or by asking at the terminal.
fn ask(
    out: &mut Out,
    globals: Globals,
    given: ConsentArgs,
    plan: &mut Plan,
) -> anyhow::Result<(Consent, Shown)> {
    let asks_for_number = matches!(plan.confirm, Confirm::Count(_));
    let far = person().filter(|person| person.is_there());
    if let Some(number) = given.confirm.filter(|_| asks_for_number || !given.yes) {
        return Ok((Consent::Count(number), Shown::No));
    }
    match plan.confirm {
        // A command that only creates the file it names has said it all.
        Confirm::Nothing if !far.is_some_and(Person::is_asked_always) => {
            return Ok((Consent::Yes, Shown::No));
        }
        Confirm::Yes if given.yes => return Ok((Consent::Yes, Shown::No)),
        Confirm::Count(needed) if given.yes => {
            return Err(Stop::refused(NOT_AGREED, format!(
                "{}: --yes does not suffice for this; look at the plan with --dry-run and agree to it with --confirm {needed}",
                plan.title
            ))
            .into());
        }
        Confirm::Nothing | Confirm::Yes | Confirm::Count(_) | Confirm::Impossible => {}
    }
    if far.is_none() && (!io::stdin().is_terminal() || !io::stderr().is_terminal()) {
        let how = match plan.confirm {
            Confirm::Count(needed) => format!("--confirm {needed}"),
            Confirm::Nothing | Confirm::Yes | Confirm::Impossible => "--yes".to_owned(),
        };
        return Err(Stop::refused(NOT_AGREED, format!(
            "{}: nobody is there to ask; look at the plan with --dry-run and agree to it with {how}",
            plan.title
        ))
        .into());
    }
    look_inside(plan);
    if let Some(person) = far {
        out.flush()?;
        return ask_far(person, given, plan);
    }
    if globals.json {
        show(plan, given.verify, |line| {
            output::complain(line);
            Ok(())
        })?;
    } else {
        show(plan, given.verify, |line| out.line(line))?;
        out.flush()?;
    }
    let typed = question(&prompt(plan))?;
    agreed(plan, &typed)
}

/// Asks a person who is at another machine. The plan is shown there; an answer that is about another one is none.
fn ask_far(person: &Person, given: ConsentArgs, plan: &Plan) -> anyhow::Result<(Consent, Shown)> {
    let mut lines = Vec::new();
    show(plan, given.verify, |line| {
        lines.push(line);
        Ok(())
    })?;
    let question = Question {
        lines,
        prompt: prompt(plan),
        count: match plan.confirm {
            Confirm::Count(needed) => Some(needed),
            Confirm::Nothing | Confirm::Yes | Confirm::Impossible => None,
        },
    };
    if !question.is_short() {
        let text = format!(
            "{}: the plan is too long to be asked about from another machine; look at it with --dry-run and agree to it there",
            plan.title
        );
        return Err(Stop::refused(NOT_AGREED, text).into());
    }
    let stop = progress_bar::wish_to_stop()?;
    match person.ask(question, &|| stop.load(Ordering::Relaxed)) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            Err(Stop::Cancelled("nothing was changed".to_owned()).into())
        }
        Err(error) => Err(error.into()),
        Ok(Some(typed)) => agreed(plan, &typed),
        Ok(None) => Err(Stop::refused(
            NOT_AGREED,
            format!(
                "{}: what was agreed to is another plan than this one: plan again",
                plan.title
            ),
        )
        .into()),
    }
}

fn prompt(plan: &Plan) -> String {
    match plan.confirm {
        Confirm::Count(needed) => format!("Type {needed} to go on, anything else to stop: "),
        Confirm::Nothing | Confirm::Yes | Confirm::Impossible => "Go on? [y/N] ".to_owned(),
    }
}

/// What an answer agrees to.
fn agreed(plan: &Plan, typed: &str) -> anyhow::Result<(Consent, Shown)> {
    match plan.confirm {
        Confirm::Count(needed) if typed == needed.to_string() => {
            Ok((Consent::Count(needed), Shown::Yes))
        }
        Confirm::Nothing | Confirm::Yes | Confirm::Impossible
            if ["y", "yes"].contains(&typed.to_lowercase().as_str()) =>
        {
            Ok((Consent::Yes, Shown::Yes))
        }
        _ => Err(Stop::Cancelled("nothing was changed".to_owned()).into()),
    }
}

/// Asks on standard error, so that standard output stays clean, and reads one line.
pub(super) fn question(text: &str) -> io::Result<String> {
    prompted(text)?;
    typed()
}

/// The same where a wish to stop ends no process: none once there is one. What is typed after it is read by nobody.
pub(super) fn question_until(
    text: &str,
    is_stopped: &dyn Fn() -> bool,
) -> io::Result<Option<String>> {
    prompted(text)?;
    let line = line_until(typed, is_stopped)?;
    if line.is_none() {
        output::complain("");
    }
    Ok(line)
}

fn prompted(text: &str) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    stderr.write_all(text.as_bytes())?;
    stderr.flush()
}

fn typed() -> io::Result<String> {
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

fn line_until(
    read: impl FnOnce() -> io::Result<String> + Send + 'static,
    is_stopped: &dyn Fn() -> bool,
) -> io::Result<Option<String>> {
    let (line_in, line) = bounded(1);
    thread::spawn(move || {
        // Who asked may have stopped waiting.
        let _ = line_in.send(read());
    });
    wait_for(&line, is_stopped)?.transpose()
}

/// Waits for what comes from another thread; none once there is a wish to stop.
///
/// # Errors
/// When that thread has ended without a word.
pub(super) fn wait_for<T>(
    from: &Receiver<T>,
    is_stopped: &dyn Fn() -> bool,
) -> io::Result<Option<T>> {
    loop {
        match from.recv_timeout(TICK) {
            Ok(read) => return Ok(Some(read)),
            Err(RecvTimeoutError::Timeout) if is_stopped() => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::time::Instant;

    #[test]
    fn a_wish_to_stop_ends_a_question_that_nobody_answers() {
        let (line_in, line) = bounded::<String>(1);
        let waiting = move || line.recv().map_err(|_| io::ErrorKind::UnexpectedEof.into());
        let stop = AtomicBool::new(false);
        let begun = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(100));
                stop.store(true, Ordering::Relaxed);
            });
            let read = line_until(waiting, &|| stop.load(Ordering::Relaxed));
            assert_eq!(read.unwrap(), None);
        });
        assert!(begun.elapsed() < Duration::from_secs(5));
        drop(line_in);
        let read = line_until(|| Ok("y".to_owned()), &|| false);
        assert_eq!(read.unwrap(), Some("y".to_owned()));
        assert!(line_until(|| Err(io::ErrorKind::NotFound.into()), &|| false).is_err());
    }
}
