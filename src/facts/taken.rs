//! What is believed of what a host tells: a wrong, huge or hostile line costs at most itself. Whoever speaks there can
//! lie about its own host and about nothing else: every file that it names, in a request as well, is one of its own.

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::fact::{Fact, Halted, SpareLeaf, TrashEntry};
use super::machine::Host;
use super::sent::{Line, SentFinding, SentImage, SentLeaf, SentTrash};
use crate::doctor::{self, Finding};
use crate::forest::NodeId;
use crate::forest::far::{Lines, Name, Nonsense, believed_path, believed_sentence, path_on};
use crate::machines::{host_and_connection, place_on};
use crate::ops::{ImageSpace, LayerSpace, Leftover, Remedy, Request, Saving};

/// Facts of one answer at most.
const MOST_FACTS: u64 = 2_000_000;
/// Files, fixes or sentences of one fact.
const MOST_LISTED: usize = 10_000;
/// Bytes of a name that stands in a command line.
const MOST_WORD: usize = 256;
/// No file and no disk has more bytes.
const MOST_BYTES: u64 = i64::MAX as u64;

/// Takes in what a host tells.
#[derive(Debug)]
pub struct Intake {
    host: String,
    machines: Host,
    lines: Lines,
    facts: u64,
    is_done: bool,
}

impl Intake {
    /// For the host of that name and number.
    #[must_use]
    pub fn new(host: &str, number: NonZeroU16) -> Self {
        Self {
            host: host.to_owned(),
            machines: Host::new(host, number),
            lines: Lines::default(),
            facts: 0,
            is_done: false,
        }
    }

    /// Whether all was told.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// What further bytes tell, which may end anywhere.
    ///
    /// # Errors
    /// What is no line of an answer; nothing that comes after it makes sense.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Fact>, Nonsense> {
        let mut facts = Vec::new();
        let whole = self.lines.whole(bytes)?;
        for line in Lines::of(&whole) {
            if self.is_done {
                return Err(Nonsense("it goes on after the end"));
            }
            self.facts += 1;
            if self.facts > MOST_FACTS {
                return Err(Nonsense("it tells more than is kept"));
            }
            let line: Line = serde_json::from_slice(line)
                .map_err(|_| Nonsense("what it tells is of another version"))?;
            match line {
                Line::End => self.is_done = true,
                line => facts.extend(self.fact(line)),
            }
        }
        Ok(facts)
    }

    /// What a line tells; nothing for one that cannot be.
    fn fact(&mut self, line: Line) -> Option<Fact> {
        Some(match line {
            Line::Finding(finding) => Fact::Finding(self.finding(*finding)?),
            Line::Image(image) => Fact::Image(self.image(*image)?),
            Line::Saving(saving) => Fact::Saving(self.saving(*saving)?),
            Line::TrashBytes(bytes) => Fact::TrashBytes(bytes.min(MOST_BYTES)),
            Line::Trashed(entry) => Fact::Trashed(self.trashed(*entry)?),
            Line::Spare(leaf) => Fact::Spare(self.spare(*leaf)?),
            Line::Halted(halted) => Fact::Halted(Halted {
                title: believed_sentence(&halted.title),
                ..halted
            }),
            Line::Leftover { path, bytes } => Fact::Leftover(Leftover {
                path: self.path(path)?,
                bytes: bytes.min(MOST_BYTES),
                process: 0,
                runs: false,
            }),
            Line::Machine(machine) => Fact::Machine(Box::new(self.machines.machine(*machine)?)),
            Line::Unasked(unasked) => Fact::Unasked(self.machines.unasked(&unasked)?),
            Line::End => return None,
        })
    }

    fn path(&self, name: Name) -> Option<PathBuf> {
        believed_path(&self.host, Path::new(&name.name()))
    }

    /// The request by the names that its files have here.
    fn request(&self, request: Request) -> Option<Request> {
        let paths = request.paths().len();
        (paths <= MOST_LISTED).then_some(())?;
        request_on(&self.host, request)
    }

    fn finding(&self, finding: SentFinding) -> Option<Finding> {
        // Why it matters is not for a host to say.
        let (name, why) = doctor::further(&finding.name)?;
        let fixes = finding.fixes.into_iter().take(MOST_LISTED);
        let fixes = fixes.filter_map(|fix| match fix {
            Remedy::Ask(request) => Some(Remedy::ask(self.request(*request)?)),
            other => other.with_paths(&mut |path| believed_path(&self.host, path)),
        });
        Some(Finding {
            name,
            why,
            path: self.path(finding.path)?,
            node: None,
            what: believed_sentence(&finding.what),
            sure: finding.sure,
            fixes: fixes.collect(),
        })
    }

    fn image(&self, image: SentImage) -> Option<ImageSpace> {
        Some(ImageSpace {
            node: NodeId(image.node),
            root: NodeId(image.root),
            path: self.path(image.path)?,
            space: space(image.space)?,
        })
    }

    fn saving(&self, saving: Saving) -> Option<Saving> {
        let images = saving.images.iter();
        let images = images.map(|image| believed_path(&self.host, image));
        let mut images = images.collect::<Option<Vec<PathBuf>>>()?;
        // What is about no image is about its host.
        if images.is_empty() {
            images.push(path_on(&self.host, Path::new("/")));
        }
        Some(Saving {
            kind: saving.kind,
            images,
            frees: saving.frees.min(MOST_BYTES),
            why: believed_sentence(&saving.why),
            request: self.request(saving.request)?,
        })
    }

    fn trashed(&self, entry: SentTrash) -> Option<TrashEntry> {
        let is_name = entry.name.len() <= MOST_WORD && !entry.name.contains(char::is_control);
        let files = entry.files.into_iter().take(MOST_LISTED);
        let files =
            files.filter_map(|(path, bytes)| Some((self.path(path)?, bytes.min(MOST_BYTES))));
        let problems = entry.problems.iter().take(MOST_LISTED);
        is_name.then(|| TrashEntry {
            name: entry.name,
            discarded: entry
                .discarded
                .and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds))),
            reason: believed_sentence(&entry.reason),
            files: files.collect(),
            problems: problems.map(|text| believed_sentence(text)).collect(),
        })
    }

    fn spare(&self, leaf: SentLeaf) -> Option<SpareLeaf> {
        Some(SpareLeaf {
            path: self.path(leaf.path)?,
            age: Duration::from_secs(leaf.age),
            frees: leaf.frees.min(MOST_BYTES),
            why: believed_sentence(&leaf.why),
            kept: leaf.kept.map(|why| believed_sentence(&why)),
        })
    }
}

/// A request of a host by the names that its files and its connections have here; none that names what no host has.
pub(super) fn request_on(host: &str, request: Request) -> Option<Request> {
    let request = request.with_paths(&mut |path| believed_path(host, path))?;
    request.with_connections(&mut |connection| {
        let here = place_on(host, connection);
        let is_its_own = host_and_connection(&here) == Some((host, connection));
        is_its_own.then_some(here)
    })
}

/// What an image holds, if a file can hold that.
fn space(space: LayerSpace) -> Option<LayerSpace> {
    let bytes = [
        space.disk,
        space.data,
        space.zeros,
        space.hidden,
        space.leaked,
        space.past_end,
        space.past_end_on_disk,
        space.shared.unwrap_or_default(),
    ];
    let is_one = bytes.iter().all(|bytes| *bytes <= MOST_BYTES);
    let sentence = |why: String| believed_sentence(&why);
    is_one.then(|| LayerSpace {
        read: space.read.map(|read| read.map_err(sentence)),
        unread: space.unread.map(sentence),
        ..space
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Sure;
    use crate::facts::{END, line};
    use crate::ops::{Power, PowerAction, RecoverEntry, Recovery, SavingKind};

    fn told(host: &str, facts: Vec<Fact>) -> Vec<Fact> {
        let mut bytes: Vec<u8> = facts
            .into_iter()
            .flat_map(|fact| line(fact).unwrap())
            .collect();
        bytes.extend(END);
        let mut intake = Intake::new(host, NonZeroU16::MIN);
        // Wherever it is cut.
        let told = bytes
            .chunks(7)
            .flat_map(|piece| intake.feed(piece).unwrap());
        let told: Vec<Fact> = told.collect();
        assert!(intake.is_done());
        told
    }

    fn finding(name: &'static str, request: Request) -> Finding {
        Finding {
            name,
            why: "",
            path: "/srv/a".into(),
            node: None,
            what: "it\u{1b}[2J".to_owned(),
            sure: Sure::Likely,
            fixes: vec![Remedy::ask(request), Remedy::Relink("/srv/b".into())],
        }
    }

    #[test]
    fn what_helps_names_files_as_they_are_called_here() {
        let request = Request::discard(vec!["/srv/a".into()]);
        let finding = finding("orphan", request);
        let [Fact::Finding(found)] = &told("web", vec![Fact::Finding(finding)])[..] else {
            panic!();
        };
        let here = |path: &str| PathBuf::from(path);
        assert_eq!(found.path, here("web:/srv/a"));
        assert_eq!(found.what, "it\\u{1b}[2J");
        assert!(!found.why.is_empty(), "that is said here");
        let request = Request::discard(vec![here("web:/srv/a")]);
        let relink = Remedy::Relink(here("web:/srv/b"));
        assert_eq!(found.fixes, [Remedy::ask(request), relink]);
    }

    #[test]
    fn what_names_no_file_of_a_host_is_not_believed() {
        let up = Request::discard(vec!["/../../etc".into()]);
        let near = Request::discard(vec!["db:/srv/a".into()]);
        for request in [up, near] {
            let saving = Saving {
                kind: SavingKind::Discard,
                images: vec!["/srv/a".into()],
                frees: 1,
                why: String::new(),
                request,
            };
            assert!(told("web", vec![Fact::Saving(saving)]).is_empty());
        }
        let recover = RecoverEntry {
            entry: 1,
            way: Recovery::Finish,
        };
        let unknown = finding("no-such-finding", Request::Recover(recover));
        assert!(told("web", vec![Fact::Finding(unknown)]).is_empty());
    }

    #[test]
    fn what_a_host_would_have_done_to_a_machine_is_done_to_its_own() {
        let power = |connection: &str| {
            Request::Power(Power {
                machine: "db".to_owned(),
                connection: Some(connection.to_owned()),
                action: PowerAction::Start,
            })
        };
        let here = Some(power("web:qemu:///system"));
        assert_eq!(request_on("web", power("qemu:///system")), here);
        for other in ["db:qemu:///system", "///system", "x"] {
            assert_eq!(request_on("web", power(other)), None, "{other}");
        }
        assert_eq!(request_on("qemu", power("///system")), None);
    }

    #[test]
    fn what_is_about_no_image_is_about_its_host() {
        let saving = Saving {
            kind: SavingKind::EmptyTrash,
            images: Vec::new(),
            frees: u64::MAX,
            why: "x".repeat(5000),
            request: Request::discard(Vec::new()),
        };
        let [Fact::Saving(saving)] = &told("web", vec![Fact::Saving(saving)])[..] else {
            panic!();
        };
        assert_eq!(saving.images, [PathBuf::from("web:/")]);
        assert_eq!((saving.frees, saving.why.len()), (MOST_BYTES, 1000));
    }

    #[test]
    fn a_leaf_that_could_go_is_one_of_its_host_whatever_is_said_of_it() {
        let leaf = |path: &str| SpareLeaf {
            path: path.into(),
            age: Duration::from_secs(u64::MAX),
            frees: u64::MAX,
            why: "nobody\u{1b}[2J".to_owned(),
            kept: Some("\u{202e}x".repeat(2000)),
        };
        let facts = ["/srv/a", "/../etc/shadow", "db:/srv/a", "srv/a"].map(leaf);
        let told = told("web", facts.map(Fact::Spare).to_vec());
        let [Fact::Spare(told)] = &told[..] else {
            panic!("{told:?}");
        };
        assert_eq!(told.path, PathBuf::from("web:/srv/a"));
        assert_eq!((told.frees, told.age.as_secs()), (MOST_BYTES, u64::MAX));
        assert_eq!(told.why, "nobody\\u{1b}[2J");
        let kept = told.kept.as_deref().unwrap();
        assert!(kept.len() <= 10_000 && !kept.contains('\u{202e}'), "{kept}");
    }

    #[test]
    fn nonsense_is_an_error_and_no_panic() {
        for bytes in [
            b"{}\n".as_slice(),
            b"\"end\"\n\"end\"\n",
            b"[[[[[[\n",
            b"{\"finding\":7}\n",
            &[b'x'; 1 << 21],
        ] {
            assert!(Intake::new("web", NonZeroU16::MIN).feed(bytes).is_err());
        }
    }
}
