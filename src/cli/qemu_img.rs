//! Command lines as qemu-img takes them, read as ours: `create -b base.qcow2 -F qcow2 new.qcow2`. One table says what
//! each option becomes; what has no counterpart is answered instead of being passed over.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What an option of qemu-img is here.
#[derive(Debug, Clone, Copy)]
enum Means {
    /// An option of ours without a value.
    Flag(&'static str),
    /// An option of ours with that value.
    Value(&'static str),
    /// The name of the image's format: it is found out by the content here, and only what is found out is taken.
    SourceFormat,
    /// `json` or `human`.
    Output,
    /// `name=value,name=value`: options of the new image.
    List,
    /// The image below, and none where the name is empty.
    Base,
    /// A snapshot, as `convert -l` names it.
    View,
    /// A command below this one.
    Below(&'static str),
    /// The same, and the option's value is its last argument.
    BelowOf(&'static str),
    /// Another command.
    Instead(&'static str),
    /// Always so here, or about how qemu-img does its work.
    Nothing,
    /// The same, with a value.
    NothingOfValue,
    /// Not done here: why, or what is done instead.
    Answer(&'static str),
}

use Means::{
    Answer, Base, Below, BelowOf, Flag, Instead, List, Nothing, NothingOfValue, Output,
    SourceFormat, Value, View,
};

impl Means {
    fn takes_value(self) -> bool {
        match self {
            Value(_) | SourceFormat | Output | List | Base | View | NothingOfValue | BelowOf(_) => {
                true
            }
            Below(_) | Flag(_) | Instead(_) | Nothing | Answer(_) => false,
        }
    }
}

/// A command, an option of qemu-img in all its spellings, and what it means.
type Row = (&'static str, &'static str, Means);

const RATE: Means =
    Answer("a limit of speed is not known here; `ionice -c3 qanopy ...` gives way to others");
const OBJECT: Means = Answer("name the file, and give passphrases with --passphrase-file");

const ROWS: &[Row] = &[
    ("create", "-b", Value("--backing")),
    ("create", "-u --backing-unsafe", Flag("--unchecked")),
    ("create", "-o --options", List),
    (
        "convert",
        "-O --target-format --output-format",
        Value("--to"),
    ),
    ("convert", "-f", Value("--source-format")),
    ("convert", "-B", Value("--backing")),
    ("convert", "-F --backing-format", NothingOfValue),
    ("convert", "-o --target-options", List),
    ("convert", "-l --source-snapshot", View),
    ("convert", "-m --parallel", NothingOfValue),
    ("convert", "-W --oob-writes", Nothing),
    ("convert", "-C --copy-range-offloading", Nothing),
    ("convert", "-r --rate", RATE),
    ("convert", "--no-create", Flag("--into-existing")),
    ("convert", "--target-is-zero", Nothing),
    ("rebase", "-b --backing", Base),
    ("rebase", "-F --backing-format", Value("--format")),
    ("rebase", "-f", SourceFormat),
    ("rebase", "-u --backing-unsafe", Instead("relink")),
    ("check", "-r", Value("--repair")),
    ("check", "-f --format", SourceFormat),
    ("check", "--output", Output),
    ("commit", "-f --format", SourceFormat),
    ("commit", "-r --rate", RATE),
    (
        "commit",
        "-b --base",
        Answer(
            "--into ANCESTOR is that here; the overlay goes to the trash then, or stays, emptied, with --keep",
        ),
    ),
    (
        "commit",
        "-d --drop",
        Answer("the overlay goes to the trash when it is merged; --keep keeps it, emptied"),
    ),
    ("snapshot", "-l --list", Below("list")),
    ("snapshot", "-c --create", BelowOf("create")),
    ("snapshot", "-a --apply", BelowOf("apply")),
    ("snapshot", "-d --delete", BelowOf("delete")),
    ("snapshot", "-f --format", SourceFormat),
    ("bitmap", "--add", Below("add")),
    ("bitmap", "--remove", Below("remove")),
    ("bitmap", "--clear", Below("clear")),
    ("bitmap", "--enable", Below("enable")),
    ("bitmap", "--disable", Below("disable")),
    ("bitmap", "--merge", BelowOf("merge")),
    ("bitmap", "-F --source-format", NothingOfValue),
    ("bitmap", "-f --format", SourceFormat),
    ("resize", "-f --format", SourceFormat),
    ("amend", "-o --options", List),
    ("amend", "-f --format", SourceFormat),
    (
        "amend",
        "--force",
        Answer("what cannot be undone asks for a number here, and takes it from --confirm"),
    ),
    ("info", "-f --format", SourceFormat),
    ("info", "-b --backing-chain", Flag("--chain")),
    ("info", "--output", Output),
    ("map", "--output", Output),
    ("measure", "--output", Output),
    ("measure", "--target-format", Value("--target")),
    ("measure", "-o", List),
    ("measure", "-l", View),
    ("measure", "-s", Value("--size")),
    ("compare", "--a-format", Value("--format")),
    ("compare", "--b-format", Value("--other-format")),
];

/// Short options of ours that mean something else to qemu-img: the command, the letter, and what is told.
const OTHERWISE: &[(&str, char, &str)] = &[(
    "convert",
    'n',
    "-n is --dry-run here: nothing is written. What -n is to qemu-img, into an image that is there, is --into-existing",
)];

/// What several commands of qemu-img take.
const EVERYWHERE: &[(&str, Means)] = &[
    ("-p --progress --progres", Nothing),
    ("-q --quiet", Nothing),
    ("-U --force-share", Nothing),
    ("-t --cache --target-cache", NothingOfValue),
    ("-T --source-cache --backing-cache", NothingOfValue),
    ("--object", OBJECT),
    (
        "--image-opts --source-image-opts --target-image-opts",
        OBJECT,
    ),
];

/// Commands that both have.
const COMMANDS: &[&str] = &[
    "create", "convert", "rebase", "check", "commit", "snapshot", "bitmap", "resize", "amend",
    "info", "map", "measure", "compare",
];

/// Commands that there are only there.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "dd",
        "copies are made by `qanopy convert` and `qanopy clone`",
    ),
    ("bench", "nothing here measures speed"),
];

/// How the value of an option in a list is given here.
#[derive(Debug, Clone, Copy)]
enum Listed {
    /// As a value.
    Given(&'static str),
    /// As an option that is there or not.
    OnOff(&'static str),
    /// The virtual size.
    Size,
    /// The version of the format: `v3` is 1.1.
    Compat,
    /// Not given here.
    Answered(&'static str),
}

const LISTED: &[(&str, Listed)] = &[
    ("size", Listed::Size),
    ("compat", Listed::Compat),
    ("cluster_size", Listed::Given("--cluster-size")),
    ("refcount_bits", Listed::Given("--refcount-bits")),
    ("compression_type", Listed::Given("--compression-type")),
    ("preallocation", Listed::Given("--preallocation")),
    ("extended_l2", Listed::OnOff("--extended-l2")),
    ("lazy_refcounts", Listed::OnOff("--lazy-refcounts")),
    ("data_file", Listed::Given("--data-file")),
    ("data_file_raw", Listed::OnOff("--data-file-raw")),
    ("backing_file", Listed::Given("--backing")),
    ("backing_fmt", Listed::Given("--backing-format")),
    ("encrypt.format", Listed::Given("--encrypt")),
    ("encrypt.iter-time", Listed::Given("--iter-time")),
    (
        "encrypt.key-secret",
        Listed::Answered("give the passphrase with --passphrase-file"),
    ),
    (
        "encryption",
        Listed::Answered("--encrypt luks is what there is"),
    ),
    (
        "nocow",
        Listed::Answered("set it for the folder with `chattr +C`"),
    ),
];

/// The arguments of this process, the program's name among them, as they are meant here.
///
/// # Errors
/// A sentence about an option that has no counterpart.
pub(super) fn understood(arguments: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let is_command = |word: &&OsString| !word.as_bytes().starts_with(b"-");
    let Some(command) = arguments.iter().skip(1).find(is_command) else {
        return Ok(arguments);
    };
    let Some(command) = command.to_str().map(str::to_owned) else {
        return Ok(arguments);
    };
    if let Some((_, instead)) = ELSEWHERE.iter().find(|(word, _)| *word == command) {
        let is_file = std::path::Path::new(&command).exists();
        let answer = format!("qanopy has no `{command}`: {instead}");
        return if is_file { Ok(arguments) } else { Err(answer) };
    }
    if !COMMANDS.contains(&command.as_str()) {
        return Ok(arguments);
    }
    let mut reader = ArgumentReader {
        rest: arguments.into_iter(),
        command: &command,
        ours: command.clone(),
        below: None,
        read: Vec::new(),
        at_end: Vec::new(),
    };
    reader.read()?;
    Ok(reader.done())
}

/// What a line means here by a letter that means something else to qemu-img.
pub(super) fn meant_otherwise(arguments: &[OsString]) -> Option<&'static str> {
    let mut words = arguments.iter().skip(1).map(|word| word.as_bytes());
    let command = words.find(|word| !word.starts_with(b"-"))?;
    let mut told = OTHERWISE.iter().filter(|(of, ..)| of.as_bytes() == command);
    let options = || words.clone().take_while(|word| *word != b"--");
    // Letters without a value may hang together: `-cn`.
    let has = |letter: char| {
        options().any(|word| match word.strip_prefix(b"-") {
            Some(letters) => {
                letters.iter().all(u8::is_ascii_lowercase)
                    && letters.iter().any(|byte| char::from(*byte) == letter)
            }
            None => false,
        })
    };
    told.find(|(_, letter, _)| has(*letter))
        .map(|(.., text)| *text)
}

/// Arguments on their way from one meaning to the other.
struct ArgumentReader<'a> {
    rest: std::vec::IntoIter<OsString>,
    /// The command as it was given.
    command: &'a str,
    /// The command that it is here.
    ours: String,
    below: Option<&'static str>,
    read: Vec<OsString>,
    at_end: Vec<OsString>,
}

impl ArgumentReader<'_> {
    fn read(&mut self) -> Result<(), String> {
        while let Some(word) = self.rest.next() {
            if word == "--" {
                self.read.push(word);
                self.read.extend(self.rest.by_ref());
                break;
            }
            let Some((option, means, attached)) = row_of(self.command, &word) else {
                self.read.push(word);
                continue;
            };
            let value = if !means.takes_value() {
                OsString::new()
            } else if let Some(attached) = attached {
                attached
            } else {
                let missing = || format!("a value is missing after {option}");
                self.rest.next().ok_or_else(missing)?
            };
            self.take(option, means, value)?;
        }
        Ok(())
    }

    fn take(&mut self, option: &str, means: Means, value: OsString) -> Result<(), String> {
        match means {
            Flag(ours) => self.read.push(ours.into()),
            Value(ours) => self.read.extend([ours.into(), value]),
            SourceFormat if value == "qcow2" => {}
            SourceFormat => {
                return Err(format!(
                    "{option}: which format an image has is found out by its content here: leave {option} away"
                ));
            }
            Output if value == "json" => self.read.push("--bare-json".into()),
            Output if value == "human" => {}
            Output => return Err(format!("{option}: it is json or human")),
            List => self.list(&value)?,
            Base if value.is_empty() => self.read.push("--flatten".into()),
            Base => self.read.extend(["--to".into(), value]),
            View if is_number(&value) => {
                return Err(format!(
                    "{option}: a number may be a name or an ID: write snapshot.name={0} or snapshot.id={0}",
                    value.display()
                ));
            }
            View => self.view(&value),
            Below(word) | BelowOf(word) if self.below.is_some_and(|below| below != word) => {
                return Err(format!("{option}: one thing at a time"));
            }
            BelowOf("apply" | "delete") if is_number(&value) => {
                return Err(format!(
                    "{option}: a number may be a name or an ID. `qanopy snapshot apply|delete IMAGE NAME` takes it \
                     for a name, and with --id for an ID"
                ));
            }
            Below(word) => self.below = Some(word),
            BelowOf(word) => {
                self.below = Some(word);
                self.at_end.push(value);
            }
            Instead(command) => self.ours = command.to_owned(),
            Nothing | NothingOfValue => {}
            Answer(text) => return Err(format!("{option}: {text}")),
        }
        Ok(())
    }

    /// `snapshot.name=NAME`, `snapshot.id=ID`, or a name.
    fn view(&mut self, value: &OsStr) {
        let bytes = value.as_bytes();
        let (name, by_id) = match (
            bytes.strip_prefix(b"snapshot.name="),
            bytes.strip_prefix(b"snapshot.id="),
        ) {
            (Some(name), _) => (name, false),
            (None, Some(id)) => (id, true),
            (None, None) => (bytes, false),
        };
        self.read.push("--snapshot".into());
        self.read.push(OsString::from_vec(name.to_vec()));
        self.read.extend(by_id.then(|| "--id".into()));
    }

    /// `name=value,name=value`; a comma in a value is written twice.
    fn list(&mut self, list: &OsStr) -> Result<(), String> {
        for part in parts(list.as_bytes()) {
            let Some(equals) = part.iter().position(|byte| *byte == b'=') else {
                return Err("-o: it is a list of name=value".to_owned());
            };
            let (name, value) = part.split_at(equals);
            let name = String::from_utf8_lossy(name).into_owned();
            let value = OsString::from_vec(value.iter().skip(1).copied().collect());
            let known = LISTED.iter().find(|(known, _)| *known == name);
            let Some((_, listed)) = known else {
                return Err(format!(
                    "-o: no option of a new image is called {}",
                    crate::host::printable(&name)
                ));
            };
            self.listed(*listed, &name, value)?;
        }
        Ok(())
    }

    fn listed(&mut self, listed: Listed, name: &str, value: OsString) -> Result<(), String> {
        match listed {
            Listed::Given(ours) => self.read.extend([ours.into(), value]),
            // What an image is made to be is said by a word there.
            Listed::OnOff(ours) if self.command == "amend" => {
                self.read.extend([ours.into(), value]);
            }
            Listed::OnOff(ours) if value == "on" => self.read.push(ours.into()),
            Listed::OnOff(_) if value == "off" => {}
            Listed::OnOff(_) => return Err(format!("-o {name}: it is on or off")),
            Listed::Size if self.command == "create" => self.at_end.push(value),
            Listed::Size => self.read.extend(["--size".into(), value]),
            Listed::Compat => {
                let version = match value.to_str() {
                    Some("v2") => "0.10".into(),
                    Some("v3") => "1.1".into(),
                    _ => value,
                };
                self.read.extend(["--compat".into(), version]);
            }
            Listed::Answered(text) => return Err(format!("-o {name}: {text}")),
        }
        Ok(())
    }

    /// Our command line.
    fn done(self) -> Vec<OsString> {
        let mut read = self.read;
        if self.ours == "relink"
            && let Some(at) = read.iter().position(|word| word == "--flatten")
        {
            read.splice(at..=at, ["--to".into(), "none".into()]);
        }
        if let Some(at) = read.iter().position(|word| word == self.command) {
            read.splice(
                at..=at,
                [Some(self.ours), self.below.map(str::to_owned)]
                    .into_iter()
                    .flatten()
                    .map(Into::into),
            );
        }
        read.extend(self.at_end);
        read
    }
}

/// The row that a word of the command line is in, and the value that hangs on it: `-Oraw`, `--output=json`.
fn row_of(command: &str, word: &OsStr) -> Option<(&'static str, Means, Option<OsString>)> {
    let of_command = ROWS
        .iter()
        .filter(|(of, ..)| *of == command)
        .map(|(_, option, means)| (*option, *means));
    let all = of_command.chain(EVERYWHERE.iter().copied());
    let mut spelled =
        all.flat_map(|(option, means)| option.split(' ').map(move |one| (one, means)));
    spelled.find_map(|(option, means)| {
        let rest = word.as_bytes().strip_prefix(option.as_bytes())?;
        let attached = match (rest, option.starts_with("--")) {
            ([], _) => None,
            ([b'=', value @ ..], true) => Some(value),
            (value, false) if means.takes_value() => Some(value),
            _ => return None,
        };
        let attached = attached.map(|value| OsString::from_vec(value.to_vec()));
        Some((option, means, attached))
    })
}

/// qemu-img takes a number for the ID of a snapshot or for its name, whichever is there.
fn is_number(value: &OsStr) -> bool {
    !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit)
}

/// The parts between single commas.
fn parts(list: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = list.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b',' && bytes.next_if_eq(&b',').is_none() {
            parts.push(Vec::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(byte);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn read(line: &str) -> Result<String, String> {
        let words = line
            .split(' ')
            .map(|word| OsString::from(word.trim_matches('\'')));
        let read = understood(words.collect())?;
        Ok(read
            .iter()
            .map(|word| word.to_str().unwrap())
            .collect::<Vec<_>>()
            .join(" "))
    }

    #[test]
    fn what_qemu_img_takes_is_read_as_ours() {
        for (theirs, ours) in [
            (
                "q create -f qcow2 -b b.qcow2 -F qcow2 x",
                "q create -f qcow2 --backing b.qcow2 -F qcow2 x",
            ),
            (
                "q create -o size=1G,compat=v2,lazy_refcounts=off x",
                "q create --compat 0.10 x 1G",
            ),
            (
                "q create -ocluster_size=4k,data_file=a,,b x 1G",
                "q create --cluster-size 4k --data-file a,b x 1G",
            ),
            ("q convert -p -Oraw a b", "q convert --to raw a b"),
            (
                "q convert -l snapshot.id=1 a b",
                "q convert --snapshot 1 --id a b",
            ),
            ("q rebase -b b x", "q rebase --to b x"),
            ("q rebase -u -b '' x", "q relink --to none x"),
            ("q rebase -b '' x", "q rebase --flatten x"),
            (
                "q --json rebase -u -b b -F raw x",
                "q --json relink --to b --format raw x",
            ),
            ("q check -r all x", "q check --repair all x"),
            ("q check --output=json x", "q check --bare-json x"),
            ("q snapshot -l x", "q snapshot list x"),
            ("q snapshot -c name x", "q snapshot create x name"),
            ("q bitmap --merge a x b", "q bitmap merge x b a"),
            ("q snapshot -a 2nd x", "q snapshot apply x 2nd"),
            (
                "q amend -o lazy_refcounts=on x",
                "q amend --lazy-refcounts on x",
            ),
            ("q info --backing-chain -U x", "q info --chain x"),
            ("q info -b x", "q info --chain x"),
            ("q measure -s 1G", "q measure --size 1G"),
            (
                "q convert --quiet --target-format=raw --source-snapshot a --no-create b c",
                "q convert --to raw --snapshot a --into-existing b c",
            ),
            (
                "q rebase --backing-unsafe --backing b --backing-format raw x",
                "q relink --to b --format raw x",
            ),
            ("q snapshot --create name x", "q snapshot create x name"),
            (
                "q bitmap --merge a --source-file y x b",
                "q bitmap merge --source-file y x b a",
            ),
            ("q create --options size=1G x", "q create x 1G"),
            (
                "q measure --target-format qcow2 x",
                "q measure --target qcow2 x",
            ),
            ("q create -- -b 1G", "q create -- -b 1G"),
            ("q tree -b", "q tree -b"),
        ] {
            assert_eq!(read(theirs).unwrap(), ours, "{theirs}");
        }
    }

    /// The short options of qemu-img 10.0 that ours has as well, and means the same by.
    const SAME: &[(&str, &str)] = &[
        ("bitmap", "gb"),
        ("compare", "fFs"),
        ("convert", "cS"),
        ("create", "fF"),
        ("map", "fsl"),
        ("measure", "fO"),
        ("rebase", "c"),
    ];

    /// All short options of qemu-img 10.0, but `-h`.
    const THEIRS: &[(&str, &str)] = &[
        ("amend", "qpfto"),
        ("bitmap", "fgbF"),
        ("check", "qfTUr"),
        ("commit", "qpftdbr"),
        ("compare", "qpfFsTU"),
        ("convert", "qpflTOoctBFnSUrmCW"),
        ("create", "qfobFu"),
        ("info", "fbU"),
        ("map", "fslU"),
        ("measure", "OosflU"),
        ("rebase", "qpftbFTucU"),
        ("resize", "qf"),
        ("snapshot", "qfUlcad"),
    ];

    #[test]
    fn no_letter_means_something_else_than_to_qemu_img_unless_that_is_told() {
        let cli = super::super::Cli::command();
        for (name, theirs) in THEIRS {
            let command = cli.find_subcommand(name).unwrap();
            let all = command.get_subcommands().chain([command]);
            let ours = all.flat_map(|command| command.get_arguments());
            let ours: Vec<char> = ours.filter_map(clap::Arg::get_short).collect();
            let same = SAME.iter().find(|(of, _)| of == name);
            let same = same.map_or("", |(_, letters)| letters);
            for letter in theirs.chars().filter(|letter| ours.contains(letter)) {
                let is_told = OTHERWISE
                    .iter()
                    .any(|row| (row.0, row.1) == (*name, letter));
                assert!(same.contains(letter) != is_told, "{name} -{letter}");
            }
            assert!(same.chars().all(|letter| ours.contains(&letter)), "{name}");
        }
    }

    /// All long options of qemu-img 10.0, but `--help`, and those of ours that have the same name and meaning.
    const THEIR_LONG: &[(&str, &str)] = &[
        (
            "amend",
            "object image-opts format options quiet progres cache force",
        ),
        (
            "bitmap",
            "object image-opts format add granularity remove clear enable disable merge source-file source-format",
        ),
        (
            "check",
            "object image-opts format output cache force-share quiet repair",
        ),
        (
            "commit",
            "object image-opts format base drop quiet progress cache rate",
        ),
        (
            "compare",
            "object image-opts a-format b-format cache force-share quiet progress strict",
        ),
        (
            "convert",
            "object source-format source-image-opts source-snapshot source-cache target-format output-format \
             target-image-opts target-options target-cache backing backing-format compress no-create target-is-zero \
             sparse-size bitmaps skip-broken-bitmaps force-share rate parallel copy-range-offloading salvage \
             oob-writes quiet progress image-opts",
        ),
        (
            "create",
            "object format options backing backing-format backing-unsafe quiet",
        ),
        (
            "info",
            "object image-opts format output backing-chain force-share",
        ),
        (
            "map",
            "object image-opts format output start-offset max-length force-share",
        ),
        (
            "measure",
            "object image-opts format output size target-format snapshot force-share",
        ),
        (
            "rebase",
            "object image-opts format backing backing-format backing-unsafe cache backing-cache compress quiet \
             progress force-share",
        ),
        (
            "resize",
            "object image-opts format preallocation shrink quiet",
        ),
        (
            "snapshot",
            "object image-opts format list create apply delete quiet force-share",
        ),
    ];

    #[test]
    fn every_long_option_of_qemu_img_is_ours_or_read_as_ours() {
        let cli = super::super::Cli::command();
        for (name, theirs) in THEIR_LONG {
            let command = cli.find_subcommand(name).unwrap();
            let all: Vec<_> = command.get_subcommands().chain([command]).collect();
            for option in theirs.split(' ') {
                let is_ours = (all.iter().flat_map(|command| command.get_arguments()))
                    .any(|argument| argument.get_long() == Some(option));
                let is_read = row_of(name, OsStr::new(&format!("--{option}"))).is_some();
                assert!(is_ours || is_read, "{name} --{option}");
            }
        }
    }

    #[test]
    fn a_letter_that_means_something_else_is_told() {
        let told = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            meant_otherwise(&words)
        };
        for line in [
            "q convert -n a b",
            "q convert -cn a b",
            "q --json convert a b -n",
        ] {
            assert!(told(line).unwrap().contains("--into-existing"), "{line}");
        }
        for line in [
            "q convert --dry-run a b",
            "q convert a b -- -n",
            "q convert --into-existing a b",
            "q clone -n a b",
        ] {
            assert_eq!(told(line), None, "{line}");
        }
    }

    #[test]
    fn what_has_no_counterpart_is_answered() {
        for (line, word) in [
            ("q commit -d x", "--keep"),
            ("q commit -b base x", "--into"),
            ("q snapshot -d 1 x", "--id"),
            ("q convert -l 1 x y", "snapshot.id=1"),
            ("q resize -f raw x 1G", "content"),
            ("q create -o encrypt.key-secret=a x 1G", "--passphrase-file"),
            ("q create -o color=red x 1G", "color"),
            ("q snapshot -l -c a x", "one thing"),
            ("q rebase -b", "missing"),
            ("q dd if=a of=b", "convert"),
        ] {
            let answer = read(line).unwrap_err();
            assert!(answer.contains(word), "{line}: {answer}");
        }
    }

    #[test]
    fn no_option_of_ours_is_hidden_and_all_that_is_named_is_there() {
        let cli = super::super::Cli::command();
        let has = |command: &clap::Command, option: &str| {
            command.get_arguments().any(|argument| {
                let long = argument.get_long().map(|long| format!("--{long}"));
                let short = argument.get_short().map(|short| format!("-{short}"));
                [long, short]
                    .into_iter()
                    .flatten()
                    .any(|known| known == option)
            })
        };
        let is_ours = |name: &str, option: &str| {
            let command = cli.find_subcommand(name).unwrap();
            has(command, option) || command.get_subcommands().any(|sub| has(sub, option))
        };
        for (name, spellings, means) in ROWS {
            let command = cli.find_subcommand(name).unwrap();
            for option in spellings.split(' ') {
                assert!(!is_ours(name, option), "{name} {option} is ours");
            }
            match means {
                Flag(ours) | Value(ours) => assert!(is_ours(name, ours), "{name} {ours}"),
                Below(word) | BelowOf(word) => {
                    assert!(command.find_subcommand(word).is_some(), "{name} {word}");
                }
                Instead(word) => assert!(cli.find_subcommand(word).is_some(), "{word}"),
                _ => {}
            }
        }
        for option in EVERYWHERE
            .iter()
            .flat_map(|(spellings, _)| spellings.split(' '))
        {
            for name in COMMANDS {
                assert!(!is_ours(name, option), "{name} {option}");
            }
        }
        let create = cli.find_subcommand("create").unwrap();
        for (_, listed) in LISTED {
            if let Listed::Given(ours) | Listed::OnOff(ours) = listed {
                assert!(has(create, ours), "{ours}");
            }
        }
    }
}
