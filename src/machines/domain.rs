//! Telling libvirt's service what a domain that runs is to do with its disks. Only libvirt is asked for a domain of its
//! own: what is done behind its back it does not know of, and its next start is from the old file.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::defining::DefineError;
use super::definition::{DefinitionError, DiskEdit, edit_disk, with_disk};
use super::products::Machines;
use super::virsh::{Program, Rights, Virsh, word};

/// What waits for a guest's requests takes longer than an answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a job does behind its last byte.
const ENDING: Duration = Duration::from_secs(60);
/// A service tells of no event here: it is asked as often as this.
const EACH: Duration = Duration::from_millis(100);

/// A conversation about one domain. What it started goes on when this is dropped.
#[derive(Debug)]
pub struct Domain {
    virsh: Virsh,
    /// Its UUID, quoted.
    id: String,
}

/// A job of libvirt's on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskJob {
    /// What it does, in the words of `virsh`: `Block Copy`, `Active Block Commit`.
    pub kind: String,
    /// Bytes that it has been through.
    pub done: u64,
    /// Bytes that it has to go through.
    pub total: u64,
    /// Bytes per second at most; 0 for as fast as it goes.
    pub speed: u64,
}

impl Machines {
    /// Begins to speak about a domain.
    ///
    /// # Errors
    /// [`DefineError`] where no service can be asked.
    pub fn domain(&self, connection: &str, id: &str) -> Result<Domain, DefineError> {
        let places = self.places().ok_or(DefineError::NotAsked)?;
        let program = Program::at(places).ok_or(DefineError::NoVirsh)?;
        let virsh = Virsh::start(&program, connection, Rights::Define, PATIENCE);
        let id = word(id).ok_or_else(|| DefineError::Said("its UUID is none".to_owned()))?;
        Ok(Domain {
            virsh: virsh.map_err(DefineError::Said)?,
            id,
        })
    }
}

impl Domain {
    /// Has these disks go on in these files, which are made already, all at one instant; holds the guest's filesystems
    /// still meanwhile, if asked to. The other disks stay as they are.
    ///
    /// # Errors
    /// [`DefineError::Said`] in libvirt's words; no disk has changed then.
    pub fn snapshot(
        &mut self,
        disks: &[(String, Option<PathBuf>)],
        quiesce: bool,
    ) -> Result<(), DefineError> {
        let mut command = format!(
            "snapshot-create-as {} --disk-only --atomic --no-metadata --reuse-external",
            self.id
        );
        if quiesce {
            command.push_str(" --quiesce");
        }
        for (target, file) in disks {
            let target = comma(target);
            let spec = match file {
                Some(file) => format!(
                    "{target},snapshot=external,driver=qcow2,file={}",
                    comma(utf8(file)?)
                ),
                None => format!("{target},snapshot=no"),
            };
            command.push_str(&format!(" --diskspec {}", quoted(&spec)?));
        }
        self.say(&command).map(drop)
    }

    /// Merges a layer down into another one; comes back at once.
    ///
    /// # Errors
    /// [`DefineError::Said`] in libvirt's words.
    pub fn begin_commit(
        &mut self,
        disk: &str,
        top: &Path,
        base: &Path,
        speed: u64,
    ) -> Result<(), DefineError> {
        let command = format!(
            "blockcommit {} {} --top {} --base {} --keep-relative{}",
            self.id,
            quoted(disk)?,
            quoted(utf8(top)?)?,
            quoted(utf8(base)?)?,
            bandwidth(speed),
        );
        self.say(&command).map(drop)
    }

    /// Merges all that is above `base` down into it, the leaf that is written as well; comes back at once. The guest
    /// goes on in it once it is told to ([`Self::pivot`]).
    ///
    /// # Errors
    /// [`DefineError::Said`] in libvirt's words.
    pub fn begin_active_commit(
        &mut self,
        disk: &str,
        base: &Path,
        speed: u64,
    ) -> Result<(), DefineError> {
        let command = format!(
            "blockcommit {} {} --active --base {}{}",
            self.id,
            quoted(disk)?,
            quoted(utf8(base)?)?,
            bandwidth(speed),
        );
        self.say(&command).map(drop)
    }

    /// Has the disk's leaf take in what the layers above `base` hold, or all of them; comes back at once.
    ///
    /// # Errors
    /// [`DefineError::Said`] in libvirt's words.
    pub fn begin_pull(
        &mut self,
        disk: &str,
        base: Option<&Path>,
        speed: u64,
    ) -> Result<(), DefineError> {
        let base = match base {
            Some(base) => format!(" --base {} --keep-relative", quoted(utf8(base)?)?),
            None => String::new(),
        };
        let command = format!(
            "blockpull {} {}{base}{}",
            self.id,
            quoted(disk)?,
            bandwidth(speed)
        );
        self.say(&command).map(drop)
    }

    /// Has the disk copied into a file that is made already, with the same layers below; comes back at once.
    ///
    /// # Errors
    /// [`DefineError::Said`] in libvirt's words.
    pub fn begin_copy(
        &mut self,
        disk: &str,
        target: &Path,
        format: &str,
        is_shallow: bool,
        speed: u64,
    ) -> Result<(), DefineError> {
        let command = format!(
            "blockcopy {} {} --dest {} --format {} --reuse-external{} --transient-job{}",
            self.id,
            quoted(disk)?,
            quoted(utf8(target)?)?,
            quoted(format)?,
            if is_shallow { " --shallow" } else { "" },
            bandwidth(speed),
        );
        self.say(&command).map(drop)
    }

    /// The job on a disk, if there is one.
    ///
    /// # Errors
    /// [`DefineError::Said`] in libvirt's words.
    pub fn job(&mut self, disk: &str) -> Result<Option<DiskJob>, DefineError> {
        let command = format!(
            "blockjob {} {} --info --raw --bytes",
            self.id,
            quoted(disk)?
        );
        let said = self.say(&command)?;
        let number = |key: &str| {
            let mut lines = said.lines().filter_map(|line| line.trim().split_once('='));
            lines.find_map(|(name, value)| {
                (name.trim() == key).then(|| value.trim().parse().ok())?
            })
        };
        let mut lines = said.lines().filter_map(|line| line.trim().split_once('='));
        let kind = lines.find(|(name, _)| name.trim() == "type");
        Ok(match (number("cur"), number("end")) {
            (Some(done), Some(total)) => Some(DiskJob {
                kind: kind.map_or_else(String::new, |(_, kind)| kind.trim().to_owned()),
                done,
                total,
                speed: number("bandwidth").unwrap_or(0),
            }),
            _ => None,
        })
    }

    /// The file that a disk is now; none where it is no file, or there is no such disk.
    ///
    /// # Errors
    /// [`DefineError::Said`] in libvirt's words.
    pub fn file_of(&mut self, disk: &str) -> Result<Option<PathBuf>, DefineError> {
        let said = self.say(&format!("domblklist {}", self.id))?;
        let mut lines = said.lines().filter_map(|line| line.trim().split_once(' '));
        let found = lines.find(|(name, _)| *name == disk);
        Ok(found.map(|(_, file)| PathBuf::from(file.trim())))
    }

    /// Waits for a job on a disk that has been through everything.
    ///
    /// # Errors
    /// [`DefineError::Said`] in libvirt's words, or that it does not end.
    pub fn wait_for_end(&mut self, disk: &str) -> Result<(), DefineError> {
        let until = Instant::now() + ENDING;
        while self.job(disk)?.is_some() {
            if Instant::now() > until {
                return Err(DefineError::Said("its job does not end".to_owned()));
            }
            thread::sleep(EACH);
        }
        Ok(())
    }

    /// Has the job on a disk go through so many bytes per second at most; 0 for as many as it can.
    ///
    /// # Errors
    /// [`DefineError::Said`] in libvirt's words.
    pub fn limit(&mut self, disk: &str, speed: u64) -> Result<(), DefineError> {
        let command = format!(
            "blockjob {} {} --bandwidth {} --bytes",
            self.id,
            quoted(disk)?,
            most(speed)
        );
        self.say(&command).map(drop)
    }

    /// Ends the job on a disk before it is through.
    ///
    /// # Errors
    /// [`DefineError::Said`] in libvirt's words.
    pub fn abort(&mut self, disk: &str) -> Result<(), DefineError> {
        let command = format!("blockjob {} {} --abort", self.id, quoted(disk)?);
        self.say(&command).map(drop)
    }

    /// Has the guest go on in the copy that is ready.
    ///
    /// # Errors
    /// [`DefineError::Said`] in libvirt's words.
    pub fn pivot(&mut self, disk: &str) -> Result<(), DefineError> {
        let command = format!("blockjob {} {} --pivot", self.id, quoted(disk)?);
        self.say(&command).map(drop)
    }

    /// Has QEMU write down all that it keeps in memory: it does when the guest is stopped, which goes on at once. Both
    /// are one line of `virsh`, which goes on with it though nobody listens any more.
    ///
    /// # Errors
    /// [`DefineError::Said`] in libvirt's words, with what to do where the guest stands still.
    pub fn flush(&mut self) -> Result<(), DefineError> {
        if self.state()? != "running" {
            // One that is paused was flushed by that.
            return Ok(());
        }
        let said = self.say(&format!("suspend {id}; resume {id}", id = self.id));
        match self.state()?.as_str() {
            "paused" => Err(DefineError::Said(
                "its guest was stopped for an instant and does not go on: virsh resume has it go on".to_owned(),
            )),
            _ => said.map(drop),
        }
    }

    /// What it does: `running`, `paused`, `shut off`.
    ///
    /// # Errors
    /// [`DefineError::Said`] in libvirt's words.
    pub fn state(&mut self) -> Result<String, DefineError> {
        let said = self.say(&format!("domstate {}", self.id))?;
        Ok(said.trim().to_owned())
    }

    /// Has the headers say what a disk is built on, from its next start on.
    ///
    /// # Errors
    /// [`DefineError`]; the definition is as it was then.
    pub fn unpin(&mut self, disk: &str) -> Result<(), DefineError> {
        self.redefine(disk, &DiskEdit::Unpin)
    }

    /// Has the disk be this file, from its next start on; the headers say what it is built on.
    ///
    /// # Errors
    /// [`DefineError`]; the definition is as it was then.
    pub fn redefine_source(&mut self, disk: &str, file: &Path) -> Result<(), DefineError> {
        self.redefine_as(disk, file, None)
    }

    /// The same with the file's format, where it may be another one than before.
    ///
    /// # Errors
    /// As there.
    pub fn redefine_as(
        &mut self,
        disk: &str,
        file: &Path,
        format: Option<&str>,
    ) -> Result<(), DefineError> {
        let source = DiskEdit::Source {
            file,
            format,
            keeps_pin: false,
        };
        self.redefine(disk, &source)
    }

    fn redefine(&mut self, disk: &str, edit: &DiskEdit<'_>) -> Result<(), DefineError> {
        // One that has no definition would get one.
        if !self.is_persistent()? {
            return Ok(());
        }
        let text = self.say(&format!("dumpxml --inactive --security-info {}", self.id))?;
        let unread = |error: DefinitionError| DefineError::Said(error.to_string());
        let edited = edit_disk(&text, disk, edit).map_err(unread)?;
        if edited.after == edited.before {
            return Ok(());
        }
        let whole = with_disk(&text, disk, &edited.after).map_err(unread)?;
        self.define(&whole)
    }

    fn is_persistent(&mut self) -> Result<bool, DefineError> {
        let said = self.say(&format!("dominfo {}", self.id))?;
        let mut lines = said.lines().filter_map(|line| line.split_once(':'));
        Ok(lines.any(|(name, value)| name.trim() == "Persistent" && value.trim() == "yes"))
    }

    /// Has a definition of this domain in the place of the one it has, from its next start on.
    fn define(&mut self, text: &str) -> Result<(), DefineError> {
        let file = super::defining::file_with(text)?;
        let name = quoted(utf8(file.path())?)?;
        self.say(&format!("define {name}")).map(drop)
    }

    /// Starts it.
    ///
    /// # Errors
    /// [`DefineError::Said`] in libvirt's words.
    pub fn start(&mut self) -> Result<(), DefineError> {
        self.say(&format!("start {}", self.id)).map(drop)
    }

    /// Asks its guest to shut down, as its power button does; comes back at once.
    ///
    /// # Errors
    /// [`DefineError::Said`] in libvirt's words.
    pub fn shut_down(&mut self) -> Result<(), DefineError> {
        self.say(&format!("shutdown {}", self.id)).map(drop)
    }

    /// Ends it as a power cut does.
    ///
    /// # Errors
    /// [`DefineError::Said`] in libvirt's words.
    pub fn destroy(&mut self) -> Result<(), DefineError> {
        self.say(&format!("destroy {}", self.id)).map(drop)
    }

    /// Has a domain of this text run that is not defined: it is known for as long as it runs.
    ///
    /// # Errors
    /// [`DefineError`] in libvirt's words.
    pub fn create(&mut self, text: &str) -> Result<(), DefineError> {
        let file = super::defining::file_with(text)?;
        let name = quoted(utf8(file.path())?)?;
        self.say(&format!("create {name}")).map(drop)
    }

    /// Whether there is such a domain.
    ///
    /// # Errors
    /// [`DefineError::Said`] in libvirt's words, where it cannot be asked.
    pub fn is_known(&mut self) -> Result<bool, DefineError> {
        let id = self.id.trim_matches(['\'', '"']).to_owned();
        let known = self.say("list --uuid --all")?;
        Ok(known.lines().any(|line| line.trim() == id))
    }

    /// Has it defined no longer; the file with the variables of its firmware stays, and what its TPM holds where virsh
    /// can keep that.
    ///
    /// # Errors
    /// [`DefineError::Said`] in libvirt's words.
    pub fn undefine(&mut self) -> Result<(), DefineError> {
        let keeps_tpm = self.say("help undefine")?.contains("--keep-tpm");
        let tpm = if keeps_tpm { " --keep-tpm" } else { "" };
        self.say(&format!("undefine {} --keep-nvram{tpm}", self.id))
            .map(drop)
    }

    fn say(&mut self, command: &str) -> Result<String, DefineError> {
        self.virsh.renew();
        self.virsh.ask_one(command).map_err(DefineError::Said)
    }
}

/// As an option of what starts a job; 0 bytes per second for as fast as it goes.
fn bandwidth(speed: u64) -> String {
    match speed {
        0 => String::new(),
        speed => format!(" --bandwidth {} --bytes", most(speed)),
    }
}

/// libvirt hands numbers on that have a sign.
fn most(speed: u64) -> u64 {
    speed.min(i64::MAX.unsigned_abs())
}

/// A value inside a list that commas divide.
fn comma(text: &str) -> String {
    text.replace(',', ",,")
}

fn quoted(text: &str) -> Result<String, DefineError> {
    word(text).ok_or_else(|| DefineError::Said("a name with a line of its own".to_owned()))
}

fn utf8(path: &Path) -> Result<&str, DefineError> {
    let text = path.to_str();
    text.ok_or_else(|| DefineError::Said("a name that is no UTF-8".to_owned()))
}
