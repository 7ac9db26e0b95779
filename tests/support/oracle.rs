//! What qemu-img says: the guest's bytes of an image as digests, the verdict of a check, the content
//! of internal snapshots, and the same for whole directories, comparable and printable. Our own
//! reading is compared with this; nothing here uses our code.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::script::run_in;

/// Bytes a digest covers.
pub const BLOCK: usize = 512;

/// The guest's bytes of one image, a digest a block; zeros have the digest 0.
#[derive(Clone, PartialEq, Eq)]
pub struct View {
    /// Length in bytes.
    pub len: u64,
    blocks: Vec<u64>,
}

impl View {
    /// The digests of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut view = Self {
            len: 0,
            blocks: Vec::new(),
        };
        view.append(bytes);
        view
    }

    /// Adds bytes at the end. All but the last addition must be whole blocks.
    pub fn append(&mut self, bytes: &[u8]) {
        assert!(
            self.len.is_multiple_of(BLOCK as u64),
            "appended to a partial block"
        );
        self.len += bytes.len() as u64;
        // Comparing costs a tenth of a digest, and blocks of a kind come in rows.
        const ZEROS: [u8; BLOCK] = [0; BLOCK];
        let mut last = (&ZEROS[..], 0);
        for block in bytes.chunks(BLOCK) {
            if block == &ZEROS[..block.len()] {
                last = (block, 0);
            } else if block != last.0 {
                let mut hasher = DefaultHasher::new();
                hasher.write(block);
                last = (block, hasher.finish().max(1));
            }
            self.blocks.push(last.1);
        }
    }

    /// The first `len` bytes of this view, zeros where it is shorter.
    pub fn resized(&self, len: u64) -> Self {
        let blocks = usize::try_from(len.div_ceil(BLOCK as u64)).unwrap();
        let mut view = self.clone();
        view.len = len;
        view.blocks.resize(blocks, 0);
        view
    }

    /// This view, and past its end what `below` shows; whole blocks.
    pub fn over(&self, below: &Self) -> Self {
        let mut view = self.resized(self.len.max(below.len));
        let own = self.blocks.len();
        for (index, digest) in below.blocks.iter().enumerate().skip(own) {
            view.blocks[index] = *digest;
        }
        view
    }

    /// Whether every block is `old`'s or `new`'s, and so is the length.
    pub fn is_mixture(&self, old: &Self, new: &Self) -> bool {
        let at = |view: &Self, index: usize| view.blocks.get(index).copied().unwrap_or(0);
        (self.len == old.len || self.len == new.len)
            && self
                .blocks
                .iter()
                .enumerate()
                .all(|(i, &block)| block == at(old, i) || block == at(new, i))
    }

    /// Where the two differ, merged into ranges of bytes.
    pub fn differences(&self, other: &Self) -> Vec<(u64, u64)> {
        let mut found: Vec<(u64, u64)> = Vec::new();
        for i in 0..self.blocks.len().max(other.blocks.len()) {
            if self.blocks.get(i) != other.blocks.get(i) {
                let at = (i * BLOCK) as u64;
                match found.last_mut() {
                    Some((_, end)) if *end == at => *end += BLOCK as u64,
                    _ => found.push((at, at + BLOCK as u64)),
                }
            }
        }
        found
    }

    /// A sentence on how the two differ.
    pub fn explain(&self, other: &Self) -> String {
        let ranges = self.differences(other);
        let shown: Vec<String> = ranges
            .iter()
            .take(12)
            .map(|(from, to)| format!("{from:#x}..{to:#x}"))
            .collect();
        format!(
            "lengths {} and {}; {} differing ranges: {}{}",
            self.len,
            other.len,
            ranges.len(),
            shown.join(" "),
            if ranges.len() > 12 { " ..." } else { "" }
        )
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut whole = DefaultHasher::new();
        for block in &self.blocks {
            whole.write_u64(*block);
        }
        write!(f, "View({} bytes, {:016x})", self.len, whole.finish())
    }
}

/// Guest content of many images: what qemu-img shows, or why it shows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Views(pub BTreeMap<PathBuf, Result<View, String>>);

impl Views {
    /// The views of these images (relative to `dir`).
    pub fn of<P: AsRef<Path>>(dir: &Path, images: impl IntoIterator<Item = P>) -> Self {
        Self(
            images
                .into_iter()
                .map(|image| {
                    let view = guest_view(&dir.join(image.as_ref()), None);
                    (image.as_ref().to_path_buf(), view)
                })
                .collect(),
        )
    }

    /// The view of an image that can be read.
    pub fn get(&self, image: impl AsRef<Path>) -> &View {
        match self.0.get(image.as_ref()) {
            Some(Ok(view)) => view,
            other => panic!("{}: {other:?}", image.as_ref().display()),
        }
    }

    /// Fails, telling every difference, unless `after` shows the same for all of `images`.
    pub fn assert_same<P: AsRef<Path>>(
        &self,
        after: &Self,
        images: impl IntoIterator<Item = P>,
        context: &dyn fmt::Display,
    ) {
        let mut wrong = String::new();
        for image in images {
            let image = image.as_ref();
            match (self.0.get(image), after.0.get(image)) {
                (Some(Ok(a)), Some(Ok(b))) if a == b => {}
                (Some(Ok(a)), Some(Ok(b))) => {
                    wrong += &format!("{}: {}\n", image.display(), a.explain(b));
                }
                (Some(Err(_)), Some(Err(_))) => {}
                (a, b) => wrong += &format!("{}: was {a:?}, is {b:?}\n", image.display()),
            }
        }
        assert!(wrong.is_empty(), "guest content changed:\n{wrong}{context}");
    }
}

/// The guest's bytes as `qemu-img convert -O raw` gives them, or what it complained of. `format`
/// is what to open the image as; none leaves it to qemu-img.
pub fn guest_view(image: &Path, format: Option<&str>) -> Result<View, String> {
    converted(image, format, &[])
}

/// The same for one internal snapshot.
pub fn snapshot_view(image: &Path, snapshot: &str) -> Result<View, String> {
    converted(image, Some("qcow2"), &["-l", snapshot])
}

fn converted(image: &Path, format: Option<&str>, more: &[&str]) -> Result<View, String> {
    let (dir, name) = split(image);
    let out_dir = tempfile::tempdir().unwrap();
    let raw = out_dir.path().join("raw");
    let mut words: Vec<&OsStr> = ["qemu-img", "convert", "-U", "-O", "raw"]
        .map(OsStr::new)
        .to_vec();
    if let Some(format) = format {
        words.extend([OsStr::new("-f"), OsStr::new(format)]);
    }
    words.extend(more.iter().map(OsStr::new));
    words.extend([name.as_os_str(), raw.as_os_str()]);
    let out = run_in(dir, &words);
    if !out.status.success() {
        return Err(format!(
            "{}: {}",
            out.status,
            String::from_utf8_lossy(&out.stderr).trim()
        ));
    }
    file_view(&raw).map_err(|e| e.to_string())
}

/// The bytes of a file as they are.
pub fn file_view(path: &Path) -> std::io::Result<View> {
    let mut file = File::open(path)?;
    let mut view = View::of(&[]);
    let mut buf = vec![0; 1 << 20];
    loop {
        let mut filled = 0;
        while filled < buf.len() {
            let n = file.read(&mut buf[filled..])?;
            if n == 0 {
                break;
            }
            filled += n;
        }
        if filled == 0 {
            return Ok(view);
        }
        view.append(&buf[..filled]);
    }
}

/// The directory to stand in and the name to use there, safe from `a:b` names.
fn split(image: &Path) -> (&Path, PathBuf) {
    let dir = image.parent().unwrap();
    (dir, Path::new("./").join(image.file_name().unwrap()))
}

/// What `qemu-img check` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Clusters something is wrong with.
    pub corruptions: u64,
    /// Clusters nothing refers to.
    pub leaks: u64,
    /// Errors of the check itself, or why there was no check.
    pub errors: String,
}

impl Verdict {
    /// Neither corruptions nor leaks.
    pub fn is_clean(&self) -> bool {
        self.corruptions == 0 && self.leaks == 0 && self.errors.is_empty()
    }

    /// No corruptions; clusters may be leaked.
    pub fn is_sound(&self) -> bool {
        self.corruptions == 0 && self.errors.is_empty()
    }
}

/// Checks a qcow2 image without opening its backing file and without changing it.
pub fn check(image: &Path) -> Verdict {
    let (dir, name) = split(image);
    let words = [
        OsStr::new("qemu-img"),
        OsStr::new("check"),
        OsStr::new("-U"),
        OsStr::new("--output=json"),
        OsStr::new("-f"),
        OsStr::new("qcow2"),
        name.as_os_str(),
    ];
    let out = run_in(dir, &words);
    let json: serde_json::Value = match serde_json::from_slice(&out.stdout) {
        Ok(json) => json,
        Err(_) => {
            return Verdict {
                corruptions: 0,
                leaks: 0,
                errors: format!("{}: {}", out.status, String::from_utf8_lossy(&out.stderr)),
            };
        }
    };
    let count = |key: &str| {
        json.get(key)
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0)
    };
    Verdict {
        corruptions: count("corruptions"),
        leaks: count("leaks"),
        errors: match (out.status.code(), count("check-errors")) {
            (Some(0 | 2 | 3), 0) => String::new(),
            (code, errors) => format!("exit {code:?}, {errors} errors"),
        },
    }
}

/// Fails unless a check of every one of these images (relative to `dir`) is clean.
pub fn assert_clean<P: AsRef<Path>>(
    dir: &Path,
    images: impl IntoIterator<Item = P>,
    context: &dyn fmt::Display,
) {
    for image in images {
        let verdict = check(&dir.join(image.as_ref()));
        assert!(
            verdict.is_clean(),
            "{}: {verdict:?}\n{context}",
            image.as_ref().display()
        );
    }
}

/// What `qemu-img info --output=json` says; none if it cannot.
pub fn info(image: &Path) -> Option<serde_json::Value> {
    let (dir, name) = split(image);
    let words = [
        OsStr::new("qemu-img"),
        OsStr::new("info"),
        OsStr::new("-U"),
        OsStr::new("--output=json"),
        name.as_os_str(),
    ];
    let out = run_in(dir, &words);
    out.status
        .success()
        .then(|| serde_json::from_slice(&out.stdout).unwrap())
}

/// Names of the internal snapshots, in the order of the table.
pub fn snapshots(image: &Path) -> Vec<String> {
    info(image)
        .and_then(|info| info.get("snapshots").and_then(|s| s.as_array().cloned()))
        .unwrap_or_default()
        .iter()
        .map(|s| s["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Every byte of every file below a directory, for "nothing was changed".
#[derive(PartialEq, Eq)]
pub struct Bytes(BTreeMap<PathBuf, View>);

impl Bytes {
    /// Reads them now.
    pub fn below(dir: &Path) -> Self {
        Self(
            super::script::files_below(dir)
                .into_iter()
                .map(|path| {
                    let view = file_view(&path).unwrap();
                    (path.strip_prefix(dir).unwrap().to_path_buf(), view)
                })
                .collect(),
        )
    }

    /// Fails, telling which file, unless nothing changed since.
    pub fn assert_unchanged(&self, dir: &Path, context: &dyn fmt::Display) {
        self.assert_unchanged_but(dir, &[], context);
    }

    /// The same, but for these files.
    pub fn assert_unchanged_but(&self, dir: &Path, but: &[String], context: &dyn fmt::Display) {
        let now = Self::below(dir);
        let mut wrong = String::new();
        for path in self.0.keys().chain(now.0.keys()) {
            if but.iter().any(|name| Path::new(name) == path) {
                continue;
            }
            match (self.0.get(path), now.0.get(path)) {
                (Some(a), Some(b)) if a == b => {}
                (Some(a), Some(b)) => {
                    wrong += &format!("{}: {}\n", path.display(), a.explain(b));
                }
                (None, _) => wrong += &format!("{}: is new\n", path.display()),
                (_, None) => wrong += &format!("{}: is gone\n", path.display()),
            }
        }
        assert!(wrong.is_empty(), "files changed:\n{wrong}{context}");
    }
}

/// Length and modification time say whether a file was touched at all.
pub fn touched_at(path: &Path) -> (u64, std::time::SystemTime) {
    let meta = fs::metadata(path).unwrap();
    (meta.len(), meta.modified().unwrap())
}
