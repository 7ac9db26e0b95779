//! What changes in the definitions of machines along with files: one disk of a domain, through libvirt's service. What
//! a machine would need is found out in `machines`; here it is planned and carried out. A change has its place in the
//! order of the files' changes, so that whenever a machine is started it finds its old content or its new one: what
//! takes a pin out comes before any file changes, what leads to another file once that one is there and before the old
//! one goes, and what puts a pin back comes last.

use std::fmt;
use std::path::Path;

use crate::host::printable;
use crate::machines::{
    DefineError, Defined, Defines, DiskEdit, disk_element, edit_disk, say_the_same, with_disk,
};

use super::definition_change::{
    Cure, DefinitionChange, DomainDisk, Redefinition, Step, Successor, digest, reversed,
};
use super::error::Error;
use super::plan::{Plan, Undo};
use super::refusal::{Reason, RefusalKind};

impl Plan {
    /// Notes that `to` shows what `from` shows, once this is through.
    pub(in crate::ops) fn succeeds(&mut self, successor: Successor) {
        self.successors.push(successor);
    }

    /// All changes of definitions, those that are done already too.
    pub(in crate::ops) fn definition_changes(&self) -> Vec<DefinitionChange> {
        let all = self.redefinitions.iter();
        all.map(|one| one.change.clone()).collect()
    }

    /// Plans what these machines need.
    pub(in crate::ops) fn redefine_for(&mut self, cures: Vec<Cure>) {
        if cures.is_empty() {
            return;
        }
        let mut all = Vec::new();
        let result = self.defines().and_then(|defines| {
            let mut texts: Vec<(DomainDisk, Defined)> = Vec::new();
            for cure in cures {
                let at = known(&defines, &mut texts, &cure.disk)?;
                let Some((_, defined)) = texts.get_mut(at) else {
                    continue;
                };
                let edit = match &cure.step {
                    Step::Unpin | Step::Pin => DiskEdit::Unpin,
                    Step::Source { to, .. } => DiskEdit::Source {
                        file: to,
                        format: cure.format.as_deref(),
                        keeps_pin: cure.keeps_pin,
                    },
                };
                let target = &cure.disk.target;
                let edited = edit_disk(&defined.text, target, &edit);
                let edited = edited.map_err(|error| unable(&cure.disk, &error))?;
                let original = defined.clone();
                defined.text = with_disk(&defined.text, target, &edited.after)
                    .map_err(|error| unable(&cure.disk, &error))?;
                let change = DefinitionChange {
                    disk: cure.disk.clone(),
                    file: cure.file.clone(),
                    step: cure.step.clone(),
                    before: edited.before,
                    after: edited.after,
                };
                all.push(Redefinition::of(change, &original, false));
            }
            Ok(())
        });
        self.takes(result.map(|()| all));
    }

    /// Plans these changes, but for those that are done.
    pub(in crate::ops) fn redefine_so(&mut self, changes: &[DefinitionChange]) {
        let result = self.defines().and_then(|defines| {
            let mut texts: Vec<(DomainDisk, Defined)> = Vec::new();
            let mut all = Vec::new();
            for (number, change) in changes.iter().enumerate() {
                let at = known(&defines, &mut texts, &change.disk)?;
                let Some((_, defined)) = texts.get(at) else {
                    continue;
                };
                let now = element(defined, &change.disk)?;
                let of_disk = || changes.iter().filter(|one| one.disk == change.disk);
                let is_known = of_disk().any(|one| say_the_same(now, &one.before))
                    || of_disk().any(|one| say_the_same(now, &one.after));
                if !is_known {
                    return Err(Reason::new(
                        RefusalKind::Stale,
                        format!(
                            "the definition of {} was changed since",
                            printable(change.disk.to_string())
                        ),
                    ));
                }
                // What follows on it may be done as well.
                let rest = changes.get(number..).unwrap_or_default().iter();
                let mut rest = rest.filter(|one| one.disk == change.disk);
                let is_done = rest.any(|one| say_the_same(now, &one.after));
                all.push(Redefinition::of(change.clone(), defined, is_done));
            }
            Ok(all)
        });
        self.takes(result);
    }

    fn takes(&mut self, planned: Result<Vec<Redefinition>, Reason>) {
        match planned {
            Ok(all) => {
                let left = all.iter().filter(|one| !one.is_done());
                for one in left {
                    let (disk, connection) = (&one.change.disk, &one.change.disk.connection);
                    self.commands.push(format!(
                        "virsh -c {connection} edit {}",
                        crate::host::shell_quoted(Path::new(&disk.machine))
                    ));
                }
                self.redefinitions = all;
            }
            Err(reason) => self.refuse_for(reason),
        }
    }

    fn defines(&self) -> Result<Defines, Reason> {
        let machines = self.context().forest.machines();
        machines.defines().map_err(|error| {
            Reason::new(
                RefusalKind::Machine,
                format!("no definition of a machine can be changed: {error}"),
            )
        })
    }

    /// With all locks held and nothing changed: the definitions are what they were, and what has to come first is
    /// done.
    pub(in crate::ops) fn redefine_first(&self) -> Result<(), Error> {
        if self.redefinitions.iter().all(Redefinition::is_done) {
            return Ok(());
        }
        let begun =
            |one: &Redefinition, disk: &DomainDisk| one.change.disk.id == disk.id && one.is_done();
        let defines = self
            .defines()
            .map_err(|reason| Error::failed(reason.text))?;
        let mut seen: Vec<&DomainDisk> = Vec::new();
        for one in self.redefinitions.iter().filter(|one| !one.is_done()) {
            let disk = &one.change.disk;
            let is_seen = seen.iter().any(|seen| seen.id == disk.id);
            if is_seen || self.redefinitions.iter().any(|one| begun(one, disk)) {
                continue;
            }
            seen.push(disk);
            let now = read(&defines, disk)?;
            if digest(&now) != one.digest {
                return Err(stale(
                    disk,
                    "was changed since the plan was made: plan again",
                ));
            }
        }
        self.redefine(|step| matches!(step, Step::Unpin))
    }

    /// The file is about to leave its place, and what takes its place is there.
    pub(in crate::ops) fn redefine_before_leaving(&self, leaving: &Path) -> Result<(), Error> {
        self.redefine(|step| matches!(step, Step::Source { from, .. } if from == leaving))
    }

    /// All files that take the place of others are there.
    pub(in crate::ops) fn redefine_sources(&self) -> Result<(), Error> {
        self.redefine(|step| matches!(step, Step::Source { .. }))
    }

    /// Whatever is left, with all files as they are to be.
    pub(in crate::ops) fn redefine_last(&self) -> Result<(), Error> {
        self.redefine(|_| true)
    }

    fn redefine(&self, is_due: impl Fn(&Step) -> bool) -> Result<(), Error> {
        let due = |one: &&Redefinition| !one.is_done() && is_due(&one.change.step);
        let due: Vec<&Redefinition> = self.redefinitions.iter().filter(due).collect();
        if due.is_empty() {
            return Ok(());
        }
        let defines = self
            .defines()
            .map_err(|reason| Error::failed(reason.text))?;
        for of_domain in by_domain(due) {
            let changes: Vec<DefinitionChange> =
                of_domain.iter().map(|one| one.change.clone()).collect();
            put(&defines, &changes)?;
            of_domain.iter().for_each(|one| one.set_done(true));
        }
        Ok(())
    }

    /// Takes back what was done to definitions by this, where no file has changed; whether that is so then.
    pub(in crate::ops) fn put_definitions_back(&self, planned: &[bool]) -> bool {
        let of_now = self.redefinitions.iter().zip(planned);
        let done: Vec<&Redefinition> = of_now
            .filter(|(one, was_done)| one.is_done() && !**was_done)
            .map(|(one, _)| one)
            .collect();
        if done.is_empty() {
            return true;
        }
        let Ok(defines) = self.defines() else {
            return false;
        };
        let mut is_so = true;
        for of_domain in by_domain(done) {
            let changes: Vec<DefinitionChange> =
                of_domain.iter().map(|one| one.change.clone()).collect();
            match put(&defines, &reversed(&changes)) {
                Ok(()) => of_domain.iter().for_each(|one| one.set_done(false)),
                Err(_) => is_so = false,
            }
        }
        is_so
    }

    /// Which of the definitions' changes are done.
    pub(in crate::ops) fn definitions_done(&self) -> Vec<bool> {
        self.redefinitions
            .iter()
            .map(Redefinition::is_done)
            .collect()
    }

    /// Has what is asked again, and what takes it back, say which definitions that changes.
    pub(in crate::ops) fn note_definitions(&mut self) {
        if self.redefinitions.is_empty() {
            return;
        }
        let changes = self.definition_changes();
        self.request = self.request.clone().noting_definitions(&changes);
        let back = self.roll_back.take();
        self.roll_back = back.map(|back| back.changing_definitions(reversed(&changes)));
        if let Undo::Possible(how) = &mut self.undo {
            let back = "the definitions of machines as they were";
            match how.is_empty() {
                true => *how = back.to_owned(),
                false => how.push_str(&format!("; {back}")),
            }
        }
    }
}

/// Where a domain's definition is among those that were read; reads it if it is not.
fn known(
    defines: &Defines,
    texts: &mut Vec<(DomainDisk, Defined)>,
    disk: &DomainDisk,
) -> Result<usize, Reason> {
    let is_it = |(one, _): &(DomainDisk, Defined)| {
        (&one.connection, &one.id) == (&disk.connection, &disk.id)
    };
    if let Some(at) = texts.iter().position(is_it) {
        return Ok(at);
    }
    let who = printable(&disk.machine);
    let defined = defines.read(&disk.connection, &disk.id).map_err(|error| {
        Reason::new(
            RefusalKind::Machine,
            format!("the definition of {who} cannot be changed: {error}"),
        )
    })?;
    if !defined.is_off {
        return Err(Reason::new(
            RefusalKind::Machine,
            format!(
                "the definition of {who} is only changed while it is off and nothing of it is saved"
            ),
        ));
    }
    texts.push((disk.clone(), defined));
    Ok(texts.len() - 1)
}

fn element<'d>(defined: &'d Defined, disk: &DomainDisk) -> Result<&'d str, Reason> {
    disk_element(&defined.text, &disk.target).map_err(|error| unable(disk, &error))
}

fn unable(disk: &DomainDisk, error: &impl fmt::Display) -> Reason {
    Reason::new(
        RefusalKind::Machine,
        format!(
            "the definition of {} cannot be changed: {error}",
            printable(disk.to_string())
        ),
    )
}

fn stale(disk: &DomainDisk, what: &str) -> Error {
    Error::stale(format!(
        "the definition of {} {what}",
        printable(&disk.machine)
    ))
}

fn failed(disk: &DomainDisk, error: &impl fmt::Display) -> Error {
    Error::failed(format!(
        "the definition of {} cannot be changed: {error}",
        printable(disk.to_string())
    ))
}

fn read(defines: &Defines, disk: &DomainDisk) -> Result<Defined, Error> {
    let now = defines.read(&disk.connection, &disk.id);
    let now = now.map_err(|error: DefineError| failed(disk, &error))?;
    match now.is_off {
        true => Ok(now),
        false => Err(Error::in_use(format!(
            "the machine {} was started, or its memory saved, since the plan was made",
            printable(&disk.machine)
        ))),
    }
}

/// The domain whose disk is changed.
fn domain_of(change: &DefinitionChange) -> (&str, &str) {
    (&change.disk.connection, &change.disk.id)
}

/// The changes of each domain together, in the order in which they are made.
fn by_domain(changes: Vec<&Redefinition>) -> Vec<Vec<&Redefinition>> {
    let mut domains: Vec<Vec<&Redefinition>> = Vec::new();
    for one in changes {
        let is_it = |of_domain: &&mut Vec<&Redefinition>| {
            let first = of_domain.first();
            first.is_some_and(|first| domain_of(&first.change) == domain_of(&one.change))
        };
        match domains.iter_mut().find(is_it) {
            Some(of_domain) => of_domain.push(one),
            None => domains.push(vec![one]),
        }
    }
    domains
}

/// Has disks of one domain defined so, all at once, each if it is as it was before.
fn put(defines: &Defines, changes: &[DefinitionChange]) -> Result<(), Error> {
    let Some(first) = changes.first().map(|change| &change.disk) else {
        return Ok(());
    };
    let now = read(defines, first)?;
    let text = put_in(&now.text, changes)?;
    if text == now.text {
        return Ok(());
    }
    let then = defines.define(&first.connection, &first.id, &text);
    let then = then.map_err(|error| failed(first, &error))?;
    for (number, change) in changes.iter().enumerate() {
        let later = changes.get(number..).unwrap_or_default().iter();
        let mut later = later.filter(|one| one.disk == change.disk);
        let is_so = disk_element(&then.text, &change.disk.target)
            .is_ok_and(|element| later.any(|one| say_the_same(element, &one.after)));
        if !is_so {
            return Err(Error::failed(format!(
                "libvirt took the definition of {} otherwise than it was given",
                printable(change.disk.to_string())
            )));
        }
    }
    Ok(())
}

/// The definition with these elements in the places of those before, as far as they are not there already.
fn put_in(definition: &str, changes: &[DefinitionChange]) -> Result<String, Error> {
    let mut text = definition.to_owned();
    for change in changes {
        let disk = &change.disk;
        let element = disk_element(&text, &disk.target).map_err(|error| failed(disk, &error))?;
        if say_the_same(element, &change.after) {
            continue;
        }
        if !say_the_same(element, &change.before) {
            return Err(stale(disk, "was changed meanwhile by somebody else"));
        }
        text =
            with_disk(&text, &disk.target, &change.after).map_err(|error| failed(disk, &error))?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_of_one_domain_are_changed_in_one_text_or_not_at_all() {
        let disk = |target: &str, file: &str| {
            format!("<disk type='file'><source file='{file}'/><target dev='{target}'/></disk>")
        };
        let domain =
            |one: &str, other: &str| format!("<domain><devices>{one}{other}</devices></domain>");
        let change = |target: &str, from: &str, to: &str| DefinitionChange {
            disk: DomainDisk {
                connection: "qemu:///system".to_owned(),
                id: "1".to_owned(),
                machine: "web".to_owned(),
                target: target.to_owned(),
            },
            file: from.into(),
            step: Step::Source {
                from: from.into(),
                to: to.into(),
            },
            before: disk(target, from),
            after: disk(target, to),
        };
        let both = [change("vda", "/a", "/a2"), change("vdb", "/b", "/b2")];
        let was = domain(&disk("vda", "/a"), &disk("vdb", "/b"));
        let then = domain(&disk("vda", "/a2"), &disk("vdb", "/b2"));
        assert_eq!(put_in(&was, &both).unwrap(), then);
        // What is so already stays, and the rest follows.
        let half = domain(&disk("vda", "/a2"), &disk("vdb", "/b"));
        assert_eq!(put_in(&half, &both).unwrap(), then);
        assert_eq!(put_in(&then, &both).unwrap(), then);
        let changed = domain(&disk("vda", "/a"), &disk("vdb", "/x"));
        assert!(put_in(&changed, &both).is_err());
        assert_eq!(domain_of(&both[0]), domain_of(&both[1]));
    }
}
