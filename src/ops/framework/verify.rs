//! Proof that an operation changed nobody else's content: what every image around shows, and each of its
//! internal snapshots, is digested before and after, and compared; a copy is compared with what it was made
//! from. What is digested how is decided in `digests`.

mod digests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::forest::{Content, Flags, NodeId};
use crate::host::{Access, printable_bytes};
use crate::image::{
    self, Chain, Format, ImageFile, Layer, NoProgress, snapshot_view, snapshots, taken_from,
};
use crate::qcow2::limits::SECTOR;
use crate::units::{count, size};

use super::eligibility::{format_of, lies_where_the_person_looked};
use super::error::Error;
use super::format::{listed, shown};
use super::plan::{Effect, EffectKind, Plan};
use super::progress::{Phase, Progress};
use super::request::{Name, Request};
use super::text::{Line, Part, Tone};
use super::verify::digests::{Digest, Digests};

/// What an effect means for what the file shows afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Means {
    /// The same, in all its views.
    Same,
    /// The same, under another name.
    SameElsewhere,
    /// The same, up to the end that its disk has now.
    SameUpToTheEnd,
    /// The same, but that an internal snapshot may be gone.
    SameButSnapshots,
    /// Its internal snapshots show the same, it does not.
    SnapshotsOnly,
    /// Nothing that could be compared.
    NotCompared,
}

fn means(kind: EffectKind) -> Means {
    match kind {
        EffectKind::Reads
        | EffectKind::Preserves
        | EffectKind::Relinks
        | EffectKind::Updates
        | EffectKind::Chmods
        | EffectKind::Annotates
        | EffectKind::Freezes
        | EffectKind::Empties => Means::Same,
        EffectKind::Moves => Means::SameElsewhere,
        EffectKind::Grows => Means::SameUpToTheEnd,
        EffectKind::Drops => Means::SameButSnapshots,
        EffectKind::Writes => Means::SnapshotsOnly,
        EffectKind::Creates
        | EffectKind::Breaks
        | EffectKind::Trashes
        | EffectKind::Restores
        | EffectKind::Deletes => Means::NotCompared,
    }
}

/// What has to show afterwards what it shows before, or what it is made from.
#[derive(Debug)]
struct Subject {
    /// Where it is now.
    path: PathBuf,
    /// Where it is afterwards.
    then: PathBuf,
    format: Format,
    means: Means,
}

/// What the images around showed before.
#[derive(Debug)]
pub(in crate::ops) struct Proof {
    views: Vec<Shown>,
    /// Images whose content could not be read, or is being changed by somebody else.
    left_out: Vec<String>,
    /// What is read and where, kept so that nothing is read twice.
    digests: Digests,
    /// Files that the plan makes or moves, which may be followed though no scan has met them.
    made: BTreeSet<PathBuf>,
}

/// What one view showed.
#[derive(Debug)]
struct Shown {
    /// Where it is afterwards.
    path: PathBuf,
    /// What it was read from, where that is another file that stays.
    original: Option<PathBuf>,
    format: Format,
    /// The ID of an internal snapshot; none for what the guest sees now.
    snapshot: Option<Vec<u8>>,
    /// Whether it is right that the snapshot is gone.
    may_go: bool,
    /// What is compared: no further than this.
    upto: u64,
    /// Whether the disk may be longer afterwards.
    may_grow: bool,
    digest: Digest,
}

impl Shown {
    fn what(&self) -> String {
        match &self.snapshot {
            Some(id) => format!(
                "the internal snapshot {} of {}",
                printable_bytes(id),
                shown(&self.path)
            ),
            None => shown(&self.path),
        }
    }
}

impl Proof {
    /// Digests every image that stands in one tree with one that the plan touches, and whose content is
    /// not what the plan is about, and whatever is copied.
    ///
    /// # Errors
    /// Only when it was stopped.
    pub(in crate::ops) fn take(plan: &Plan, progress: &Progress) -> Result<Self, Error> {
        progress.enter(Phase::Collect, 0);
        let (subjects, copies) = (around(plan), copies(plan));
        let forest = &plan.context().forest;
        let mut proof = Self {
            views: Vec::new(),
            left_out: Vec::new(),
            digests: Digests::new(stored(plan)),
            made: made(plan),
        };
        proof.digests.enter();
        for subject in &subjects {
            let in_use = forest
                .by_path(&subject.path)
                .is_some_and(|node| forest.flags(node.id).contains(Flags::IN_USE));
            match proof.views_of(plan, subject, progress) {
                Ok(views) if !in_use => proof.views.extend(views),
                _ if progress.is_cancelled() => return Err(cancelled()),
                _ => proof.left_out.push(shown(&subject.path)),
            }
        }
        for (original, copy) in copies {
            match proof.copied(plan, &original, &copy, progress) {
                Ok(view) => proof.views.push(view),
                _ if progress.is_cancelled() => return Err(cancelled()),
                _ => proof.left_out.push(shown(&copy)),
            }
        }
        Ok(proof)
    }

    /// Compares with what they show now, and says so.
    ///
    /// # Errors
    /// [`Error::Failed`] names the images that show something else.
    pub(in crate::ops) fn compare(
        mut self,
        plan: &Plan,
        progress: &Progress,
    ) -> Result<String, Error> {
        progress.enter(Phase::CleanUp, 0);
        self.digests.enter();
        let mut wrong = BTreeSet::new();
        for was in &self.views {
            let format = match (&was.original, plan.request.itself()) {
                (Some(_), Request::Convert(_)) => format_at(plan, &was.path),
                // What keeps the old content is an overlay, whatever the format of its base.
                (Some(_), Request::Commit(_)) => Format::Qcow2,
                _ => was.format.clone(),
            };
            let now = open(
                plan,
                &self.made,
                &was.path,
                &format,
                was.snapshot.as_deref(),
            )
            .and_then(|chain| match chain {
                Some(chain) => {
                    let digest = self.digests.of(&chain, was.upto, progress)?;
                    Ok(Some((chain.virtual_size(), digest)))
                }
                None => Ok(None),
            });
            if progress.is_cancelled() {
                return Ok(
                    "the proof was stopped: what other images show was not compared".to_owned(),
                );
            }
            // A qcow2 disk is whole sectors: a copy of a raw one that is not ends with zeros.
            let whole = was.upto.next_multiple_of(SECTOR);
            let same_size = |now: u64| {
                now == was.upto
                    || was.may_grow && now > was.upto
                    || was.original.is_some() && now == whole
            };
            match now {
                Ok(Some((len, now))) if same_size(len) && now == was.digest => {}
                Ok(None) if was.may_go => {}
                Ok(Some(_)) => {
                    wrong.insert(match &was.original {
                        Some(original) => {
                            format!("{}, unlike {}", was.what(), shown(original))
                        }
                        None => was.what(),
                    });
                }
                Ok(None) => {
                    wrong.insert(format!("{} is gone", was.what()));
                }
                Err(error) => {
                    wrong.insert(format!("{} ({error})", was.what()));
                }
            }
        }
        if !wrong.is_empty() {
            let names: Vec<String> = wrong.into_iter().collect();
            return Err(Error::failed(format!(
                "it is done, and the proof fails: {} show something else than before. Please report this",
                listed(&names, 5)
            )));
        }
        Ok(self.said())
    }

    /// What was proven, in a sentence.
    fn said(&self) -> String {
        let (copies, others): (Vec<&Shown>, Vec<&Shown>) =
            self.views.iter().partition(|view| view.original.is_some());
        let files: BTreeSet<&PathBuf> = others.iter().map(|view| &view.path).collect();
        let mut parts = Vec::new();
        if !others.is_empty() {
            parts.push(format!(
                "{} that it was not about ({}) show what they showed",
                count(files.len(), "image"),
                count(others.len(), "view"),
            ));
        }
        if !copies.is_empty() {
            parts.push(match copies.len() {
                1 => "the copy shows what its original showed".to_owned(),
                more => format!("{more} copies show what their originals showed"),
            });
        }
        let mut said = match parts.is_empty() {
            true => {
                "there was nothing to prove: no image around shows anything that this could change"
                    .to_owned()
            }
            false => format!(
                "proven: {}, by SHA-256 of all their bytes",
                parts.join(", and ")
            ),
        };
        if !self.left_out.is_empty() {
            said.push_str(&format!(
                "; not compared, since they are in use, cannot be read, or lie outside the folders looked in (or what \
                 they are built on does): {}",
                listed(&self.left_out, 5)
            ));
        }
        said
    }

    /// What an image shows, and its internal snapshots, as far as it has to stay so.
    fn views_of(
        &mut self,
        plan: &Plan,
        subject: &Subject,
        progress: &Progress,
    ) -> image::Result<Vec<Shown>> {
        let Some(chain) = open(plan, &self.made, &subject.path, &subject.format, None)? else {
            return Ok(Vec::new());
        };
        let mut ids = match subject.means {
            Means::SnapshotsOnly => Vec::new(),
            _ => vec![None],
        };
        if let Some(Layer::Qcow2(top)) = chain.layers().first().map(|layer| &**layer) {
            let found = snapshots(top.file(), top.header())?;
            ids.extend(found.into_iter().map(|snapshot| Some(snapshot.id)));
        }
        drop(chain);
        let mut views = Vec::new();
        for snapshot in ids {
            let id = snapshot.as_deref();
            let Some(view) = open(plan, &self.made, &subject.path, &subject.format, id)? else {
                continue;
            };
            let upto = view.virtual_size();
            views.push(Shown {
                path: subject.then.clone(),
                original: None,
                format: subject.format.clone(),
                may_go: subject.means == Means::SameButSnapshots && snapshot.is_some(),
                may_grow: subject.means == Means::SameUpToTheEnd && snapshot.is_none(),
                snapshot,
                upto,
                digest: self.digests.of(&view, upto, progress)?,
            });
        }
        Ok(views)
    }

    /// What a copy has to show.
    fn copied(
        &mut self,
        plan: &Plan,
        original: &Path,
        copy: &Path,
        progress: &Progress,
    ) -> image::Result<Shown> {
        let format = format_at(plan, original);
        let chain = open(plan, &self.made, original, &format, None)?;
        let Some(chain) = chain else {
            let text = "there is nothing to copy".to_owned();
            return Err(image::Error::new(original, image::ErrorKind::Limit(text)));
        };
        let upto = chain.virtual_size();
        Ok(Shown {
            path: copy.to_path_buf(),
            original: Some(original.to_path_buf()),
            format,
            snapshot: None,
            may_go: false,
            upto,
            may_grow: false,
            digest: self.digests.of(&chain, upto, progress)?,
        })
    }
}

fn cancelled() -> Error {
    Error::cancelled("cancelled: nothing was changed".to_owned())
}

/// The images of the trees that the plan touches, and those that it touches and no scan has met, each with
/// what the plan means for it. What cannot be compared is left out.
fn around(plan: &Plan) -> Vec<Subject> {
    let forest = &plan.context().forest;
    let mut all: BTreeSet<NodeId> = BTreeSet::new();
    let mut said: BTreeMap<&Path, (Means, Option<&Path>)> = BTreeMap::new();
    for effect in &plan.effects {
        let place = effect.counterpart.as_deref();
        let (path, new, to) = match (effect.kind, place) {
            // What lies in the trash is known by its place there.
            (EffectKind::Restores, Some(kept)) => {
                (kept, Means::SameElsewhere, Some(effect.path.as_path()))
            }
            (EffectKind::Deletes, Some(kept)) => (kept, Means::NotCompared, None),
            (kind, to) => (effect.path.as_path(), means(kind), to),
        };
        let path = forest
            .by_path(path)
            .map_or(path, |node| node.path.as_path());
        said.entry(path)
            .and_modify(|(old, place)| {
                // What moves by a copy goes to the trash, too.
                *old = match (*old, new) {
                    (Means::SameElsewhere, _) | (_, Means::SameElsewhere) => Means::SameElsewhere,
                    (old, new) => old.max(new),
                };
                *place = place.or(to);
            })
            .or_insert((new, to));
        if let Some(node) = forest.by_path(path) {
            let root = forest.chain(node.id).last().copied().unwrap_or(node.id);
            all.insert(root);
            all.extend(forest.descendants(root));
        }
    }
    let restored: BTreeSet<&Path> = plan
        .effects
        .iter()
        .filter(|effect| effect.kind == EffectKind::Restores)
        .map(|effect| effect.path.as_path())
        .collect();
    let mut subjects = Vec::new();
    for node in all.into_iter().filter_map(|id| forest.get(id)) {
        let (means, to) = said
            .remove(node.path.as_path())
            .unwrap_or((Means::Same, None));
        // What comes back as a part of an undo shows what it did before, not what it shows in the trash.
        let home = taken_from(&node.path).filter(|home| restored.contains(home.as_path()));
        let means = match (home, to) {
            (Some(_), None) => Means::NotCompared,
            _ => means,
        };
        let can_be_read =
            node.location.is_met() && matches!(node.content, Content::Qcow2(_) | Content::Raw);
        if can_be_read && means != Means::NotCompared {
            subjects.push(Subject {
                path: node.path.clone(),
                then: match (means, to) {
                    (Means::SameElsewhere, Some(to)) => to.to_path_buf(),
                    _ => node.path.clone(),
                },
                format: format_of(node),
                means,
            });
        }
    }
    // An image that is repaired where nobody has looked around.
    for (path, (means, _)) in said {
        let stays = matches!(
            means,
            Means::Same | Means::SameUpToTheEnd | Means::SameButSnapshots
        );
        if forest.by_path(path).is_none() && stays {
            subjects.push(Subject {
                path: path.to_path_buf(),
                then: path.to_path_buf(),
                format: Format::Qcow2,
                means,
            });
        }
    }
    subjects
}

/// What is copied, and where to.
fn copies(plan: &Plan) -> Vec<(PathBuf, PathBuf)> {
    let copy = |effect: &Effect| {
        let original = effect.counterpart.clone()?;
        (effect.kind == EffectKind::Creates).then(|| (original, effect.path.clone()))
    };
    plan.effects.iter().filter_map(copy).collect()
}

/// Files that are there only afterwards.
fn made(plan: &Plan) -> BTreeSet<PathBuf> {
    let mut made = BTreeSet::new();
    for effect in &plan.effects {
        match effect.kind {
            EffectKind::Creates | EffectKind::Restores => {
                made.insert(effect.path.clone());
            }
            EffectKind::Moves => made.extend(effect.counterpart.clone()),
            _ => {}
        }
    }
    made
}

/// The format of a file that may not be known: what its first bytes say, else raw.
fn format_at(plan: &Plan, path: &Path) -> Format {
    if let Some(node) = plan.context().forest.by_path(path) {
        return format_of(node);
    }
    let file = ImageFile::open(plan.host(), path, Access::Read);
    match file.and_then(|file| image::read_header(&file)) {
        Ok(_) => Format::Qcow2,
        Err(_) => Format::Raw,
    }
}

/// Bytes that the files read for the proof take on disk, as far as a scan has met them.
fn stored(plan: &Plan) -> u64 {
    let forest = &plan.context().forest;
    let originals = copies(plan).into_iter().map(|(original, _)| original);
    let paths = around(plan)
        .into_iter()
        .map(|one| one.path)
        .chain(originals);
    let mut files: BTreeSet<NodeId> = BTreeSet::new();
    for node in paths.filter_map(|path| forest.by_path(&path)) {
        files.insert(node.id);
        files.extend(forest.chain(node.id));
    }
    let sizes = files
        .into_iter()
        .filter_map(|id| forest.get(id)?.size_on_disk());
    sizes.fold(0, u64::saturating_add)
}

impl Plan {
    /// What proving it would read, as a line of the plan.
    #[must_use]
    pub fn proof_line(&self) -> Line {
        let (subjects, copies) = (around(self).len(), copies(self).len());
        let bytes = stored(self);
        let text = match (subjects, copies) {
            (0, 0) => "nothing: no image around shows anything that this could change".to_owned(),
            (_, 0) => format!(
                "of {}, that each shows afterwards what it shows now: reads {} once, and again only files that are \
                 written",
                count(subjects, "image"),
                size(bytes)
            ),
            (_, _) => format!(
                "of {}, that each shows what its original shows, and of {}, that each shows what it shows now: \
                 reads {} once, and again only files that are written",
                count(copies, "new file"),
                count(subjects, "image"),
                size(bytes)
            ),
        };
        Line {
            part: Part::Proof,
            label: "proves".to_owned(),
            text,
            tone: Tone::Plain,
            remedies: Vec::new(),
        }
    }
}

/// Whether it is a file that the person named, or lies in a folder that is: one whose images are imported.
fn is_named(plan: &Plan, place: &Path) -> bool {
    let mut named = Vec::new();
    plan.request.clone().each_name(&mut |name| match name {
        Name::Path(path) => named.push(path.clone()),
        Name::TrashEntry(_) | Name::TrashEntries(_) | Name::Connection(_) => {}
    });
    let mut places = named
        .iter()
        .filter_map(|path| plan.host().canonical(path).ok());
    places.any(|named| place.starts_with(named))
}

/// Whether the content of a file may be read to prove something: where the person looked, or what the plan
/// makes. That a header led the scan to it is no leave.
fn may_read(plan: &Plan, made: &BTreeSet<PathBuf>, image: &Path, name: &Path) -> bool {
    let host = plan.host();
    host.canonical(name).is_ok_and(|place| {
        made.iter()
            .any(|made| host.canonical(made).is_ok_and(|made| made == place))
            || lies_where_the_person_looked(plan, image, &place)
            || is_named(plan, &place)
    })
}

/// The image with all it is built on, or one of its internal snapshots, if that is there.
fn open(
    plan: &Plan,
    made: &BTreeSet<PathBuf>,
    path: &Path,
    format: &Format,
    snapshot: Option<&[u8]>,
) -> image::Result<Option<Chain>> {
    let host = plan.host();
    let may_follow = |name: &Path| may_read(plan, made, path, name);
    if !may_follow(path) {
        let kind = image::ErrorKind::OutsideRoots(path.to_path_buf());
        return Err(image::Error::new(path, kind));
    }
    let chain = Chain::open(host, path, Some(format), &may_follow)?;
    chain.unlock(&plan.context().keys, &NoProgress)?;
    let (Some(id), Some(Layer::Qcow2(top))) =
        (snapshot, chain.layers().first().map(|layer| &**layer))
    else {
        return Ok(Some(chain));
    };
    let found = snapshots(top.file(), top.header())?;
    let snapshot = found.iter().find(|snapshot| snapshot.id == id);
    snapshot
        .map(|snapshot| snapshot_view(&chain, snapshot))
        .transpose()
}
