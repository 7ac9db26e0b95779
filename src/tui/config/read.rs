//! From the file's text to values. Each key is looked at by itself: what is wrong with one is a
//! warning with its line, and the others hold.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::fleet::HostEntry;
use crate::ops::DISK;
use crate::tui::key::{Code, Key};
use crate::tui::keymap;
use crate::tui::order::Sort;
use crate::tui::theme::{Role, Theme};

use super::{BY_GROUND, CommandOutput, Config, NoticeBy, OwnCommand, Warning, host};

type Value<'a> = Spanned<DeValue<'a>>;

/// The keys of the file's top level.
const KEYS: [&str; 18] = [
    "roots",
    "follow",
    "raw",
    "read_only",
    "ascii",
    "mouse",
    "watch",
    "sort",
    "prune_days",
    "notify",
    "notify_after",
    "ask_terminal",
    "theme",
    "style",
    "keys",
    "machine",
    "command",
    "host",
];

struct ConfigReader<'a> {
    text: &'a str,
    home: Option<&'a Path>,
    /// Whether `read_only` was read.
    knows_read_only: bool,
    warnings: Vec<Warning>,
}

impl Config {
    /// Reads the file's text; `~` in directories is the home given.
    #[must_use]
    pub fn read(text: &str, home: Option<&Path>) -> (Self, Vec<Warning>) {
        let mut config = Self::default();
        let mut reader = ConfigReader {
            text,
            home,
            knows_read_only: false,
            warnings: Vec::new(),
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            reader.warn(error.span().unwrap_or_default(), error.message());
        }
        let mut keys: Vec<_> = table.get_ref().iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in keys {
            reader.take(&mut config, key.get_ref(), key.span(), value);
        }
        reader.keep_read_only(&mut config);
        reader.warnings.sort_by_key(|warning| warning.line);
        (config, reader.warnings)
    }
}

impl ConfigReader<'_> {
    fn warn(&mut self, span: Range<usize>, text: impl Into<String>) {
        self.warnings.push(Warning {
            line: self.line(span.start),
            text: text.into(),
        });
    }

    /// The number of the line in which a byte of the text is.
    fn line(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or(self.text);
        before.bytes().filter(|byte| *byte == b'\n').count() + 1
    }

    /// A line about `read_only` that cannot be read, or stands in the part of something else, asks for caution all
    /// the same.
    fn keep_read_only(&mut self, config: &mut Config) {
        if self.knows_read_only {
            return;
        }
        let mut start = 0;
        for line in self.text.split_inclusive('\n') {
            let words = line.trim_start().trim_start_matches(['"', '\'']);
            if let Some(rest) = words.strip_prefix("read_only") {
                let value = rest.trim_start_matches(['"', '\'', ' ', '\t', '=']);
                if !value.starts_with("false") {
                    config.read_only = true;
                    let text = "read_only is true or false, and stands before the first [part]: until it can be read, \
                                nothing is changed";
                    self.warn(start..start, text);
                    return;
                }
            }
            start += line.len();
        }
    }

    fn take(&mut self, config: &mut Config, key: &str, span: Range<usize>, value: &Value<'_>) {
        match key {
            "roots" => config.roots = self.roots(value),
            "follow" => self.set_bool(key, value, &mut config.follow),
            "raw" => self.set_bool(key, value, &mut config.raw),
            "read_only" => {
                // A value that is misspelt comes as one that it may not mean.
                let line = self.line(span.start);
                let is_sound = self.warnings.iter().all(|warning| warning.line != line);
                if let Some(is_on) = value.get_ref().as_bool().filter(|_| is_sound) {
                    config.read_only = is_on;
                    self.knows_read_only = true;
                }
            }
            "mouse" => self.set_bool(key, value, &mut config.mouse),
            "watch" => self.set_bool(key, value, &mut config.watch),
            "ask_terminal" => self.set_bool(key, value, &mut config.ask_terminal),
            "ascii" => match (value.get_ref().as_bool(), value.get_ref().as_str()) {
                (Some(is_on), _) => config.ascii = Some(is_on),
                (None, Some("auto")) => config.ascii = None,
                _ => self.warn(value.span(), "ascii is true, false or \"auto\""),
            },
            "sort" => {
                let name = value.get_ref().as_str();
                match Sort::ALL.into_iter().find(|sort| Some(sort.name()) == name) {
                    Some(sort) => config.sort = sort,
                    None => {
                        let names = Sort::ALL.map(Sort::name).join(", ");
                        self.warn(value.span(), format!("sort is one of {names}"));
                    }
                }
            }
            "prune_days" => {
                let days = value.get_ref().as_integer();
                match days.and_then(|days| days.as_str().parse().ok()) {
                    Some(days) if days <= 100_000 => config.prune_days = days,
                    _ => self.warn(value.span(), "prune_days is a number of days, 0 to 100000"),
                }
            }
            "notify" => {
                let name = value.get_ref().as_str();
                let mut known = NoticeBy::NAMES.into_iter();
                match known.find(|(known, _)| Some(*known) == name) {
                    Some((_, by)) => config.notices.by = by,
                    None => {
                        let names = NoticeBy::NAMES.map(|(name, _)| name).join(", ");
                        self.warn(value.span(), format!("notify is one of {names}"));
                    }
                }
            }
            "notify_after" => {
                let seconds = value.get_ref().as_integer();
                match seconds.and_then(|seconds| seconds.as_str().parse().ok()) {
                    Some(seconds) => config.notices.after = seconds,
                    None => self.warn(value.span(), "notify_after is a number of seconds"),
                }
            }
            "theme" => {
                let name = value.get_ref().as_str().unwrap_or_default();
                let mut names = Theme::BUILT_IN.iter().map(|(name, _)| *name);
                match names.find(|known| *known == name) {
                    None if name != BY_GROUND => {
                        let names = Theme::BUILT_IN.map(|(name, _)| name).join(", ");
                        self.warn(
                            value.span(),
                            format!(
                                "theme is one of {BY_GROUND}, {names}; \"{BY_GROUND}\" is taken"
                            ),
                        );
                    }
                    known => config.theme = known,
                }
            }
            "style" => self.style(config, value),
            "keys" => self.keys(config, value),
            "machine" => self.machine(config, value),
            "command" => self.commands(config, value),
            "host" => self.hosts(config, value),
            _ => {
                let near = nearest(key, KEYS);
                self.warn(
                    span,
                    format!("{key:?} is not known here{near}; it is ignored"),
                );
            }
        }
    }

    fn set_bool(&mut self, key: &str, value: &Value<'_>, to: &mut bool) {
        match value.get_ref().as_bool() {
            Some(is_on) => *to = is_on,
            None => self.warn(value.span(), format!("{key} is true or false")),
        }
    }

    fn roots(&mut self, value: &Value<'_>) -> Vec<PathBuf> {
        let one = std::slice::from_ref(value);
        let all = match value.get_ref().as_array() {
            Some(array) => array.iter().collect::<Vec<_>>(),
            None => one.iter().collect(),
        };
        let mut roots = Vec::new();
        for root in all {
            match root.get_ref().as_str() {
                Some(text) => roots.push(self.expand(text)),
                None => self.warn(root.span(), "roots are folders, each as text"),
            }
        }
        roots
    }

    fn expand(&self, text: &str) -> PathBuf {
        let rest = text.strip_prefix('~');
        match (self.home, rest) {
            (Some(home), Some("")) => home.to_path_buf(),
            (Some(home), Some(rest)) if rest.starts_with('/') => {
                home.join(rest.trim_start_matches('/'))
            }
            _ => PathBuf::from(text),
        }
    }

    /// What starts a throw-away machine.
    fn machine(&mut self, config: &mut Config, value: &Value<'_>) {
        let Some(table) = value.get_ref().as_table() else {
            self.warn(
                value.span(),
                "machine is a table: [machine], then template = [...]",
            );
            return;
        };
        for (key, value) in in_order(table) {
            if key.get_ref().as_ref() != "template" {
                let text = format!(
                    "{:?} is not known in [machine]; it is ignored",
                    key.get_ref()
                );
                self.warn(key.span(), text);
                continue;
            }
            let words = value.get_ref().as_array().map(|array| {
                let words = array
                    .iter()
                    .map(|word| word.get_ref().as_str().map(str::to_owned));
                words.collect::<Option<Vec<String>>>()
            });
            match words.flatten() {
                Some(words)
                    if words.iter().any(|word| word.contains(DISK))
                        && words.first().is_some_and(|it| !it.is_empty()) =>
                {
                    config.template = words;
                }
                _ => {
                    let text = format!(
                        "template is a program and its words, each as text, with {DISK} for the image"
                    );
                    self.warn(value.span(), text);
                }
            }
        }
    }

    fn style(&mut self, config: &mut Config, value: &Value<'_>) {
        let Some(table) = value.get_ref().as_table() else {
            self.warn(
                value.span(),
                "style is a table: [style], then lines such as error = \"red bold\"",
            );
            return;
        };
        for (role, look) in in_order(table) {
            let Some(text) = look.get_ref().as_str() else {
                self.warn(look.span(), "a look is text such as \"red bold\"");
                continue;
            };
            let name = role.get_ref().as_ref();
            let now = Role::renamed(name);
            if let Some(now) = now {
                self.warn(
                    role.span(),
                    format!("the role {name} is called {now} now: write {now} here"),
                );
            }
            let name = now.unwrap_or(name);
            match Theme::check(name, text) {
                Ok(()) => {
                    config.own.style.retain(|(known, _)| known != name);
                    config.own.style.push((name.to_owned(), text.to_owned()));
                }
                Err(why) => self.warn(role.span(), why),
            }
        }
    }

    fn keys(&mut self, config: &mut Config, value: &Value<'_>) {
        let Some(table) = value.get_ref().as_table() else {
            self.warn(
                value.span(),
                "keys is a table: [keys], then lines such as commit = \"C\"",
            );
            return;
        };
        let mut taken: Vec<(String, Key)> = Vec::new();
        for (name, value) in in_order(table) {
            let one = std::slice::from_ref(value);
            let list: Vec<&Value<'_>> = match value.get_ref().as_array() {
                Some(array) => array.iter().collect(),
                None => one.iter().collect(),
            };
            let mut keys = Vec::new();
            let mut texts = Vec::new();
            let mut is_fine = true;
            for item in list {
                let Some(text) = item.get_ref().as_str() else {
                    self.warn(item.span(), "a key is text such as \"C\" or \"Ctrl-d\"");
                    is_fine = false;
                    continue;
                };
                match Key::parse(text) {
                    Ok(key) => {
                        keys.push(key);
                        texts.push(text.to_owned());
                    }
                    Err(why) => {
                        self.warn(item.span(), why);
                        is_fine = false;
                    }
                }
            }
            if !is_fine {
                continue;
            }
            let name = name.get_ref().to_string();
            let scope = |name: &str| {
                let row = keymap::table().find(|row| row.name == name);
                row.map(|row| row.place)
            };
            let clash = taken
                .iter()
                .find(|(other, key)| keys.contains(key) && scope(other) == scope(&name));
            if let Some((other, key)) = clash {
                let text = format!("{key} is bound to {other} already; {name} keeps its keys");
                self.warn(value.span(), text);
                continue;
            }
            match keymap::bind(&mut config.keymap, &name, &keys) {
                Ok(()) => {
                    taken.extend(keys.iter().map(|key| (name.clone(), *key)));
                    config.own.keys.push((name, texts));
                }
                Err(why) => {
                    let names = keymap::table().map(|row| row.name);
                    let near = if why.contains("is called") {
                        nearest(&name, names)
                    } else {
                        String::new()
                    };
                    self.warn(value.span(), format!("{why}{near}"));
                }
            }
        }
    }

    fn commands(&mut self, config: &mut Config, value: &Value<'_>) {
        let Some(array) = value.get_ref().as_array() else {
            self.warn(value.span(), "commands are written as [[command]]");
            return;
        };
        for item in array.iter() {
            let Some(table) = item.get_ref().as_table() else {
                self.warn(
                    item.span(),
                    "a command is a table: [[command]], then its lines",
                );
                continue;
            };
            if let Some(command) = self.command(item.span(), table) {
                let is_taken = |other: &OwnCommand| other.key.is_some() && other.key == command.key;
                if config.commands.iter().any(is_taken) {
                    let key = command.key.map(|key| key.to_string()).unwrap_or_default();
                    self.warn(item.span(), format!("!{key} is another command already"));
                } else {
                    config.commands.push(command);
                }
            }
        }
    }

    fn command(&mut self, span: Range<usize>, table: &DeTable<'_>) -> Option<OwnCommand> {
        let mut command = OwnCommand {
            key: None,
            title: String::new(),
            words: Vec::new(),
            run: String::new(),
            place: CommandOutput::default(),
            confirm: false,
        };
        for (key, value) in in_order(table) {
            let text = value.get_ref().as_str();
            match (key.get_ref().as_ref(), text) {
                ("key", Some(text)) => match Key::parse(text.strip_prefix('!').unwrap_or(text)) {
                    Ok(Key {
                        code: code @ Code::Char(_),
                        ctrl: false,
                    }) => command.key = Some(Key::of(code)),
                    _ => self.warn(value.span(), "a command's key is \"!\" and one character"),
                },
                ("title", Some(text)) => text.clone_into(&mut command.title),
                ("run", Some(text)) => {
                    text.clone_into(&mut command.run);
                    match OwnCommand::words(text) {
                        Ok(words) => command.words = words,
                        Err(why) => {
                            self.warn(value.span(), why);
                            return None;
                        }
                    }
                }
                ("as", Some("screen")) => command.place = CommandOutput::Screen,
                ("as", Some("job")) => command.place = CommandOutput::Job,
                ("as", _) => self.warn(value.span(), "as is \"screen\" or \"job\""),
                ("confirm", _) => self.set_bool("confirm", value, &mut command.confirm),
                ("key" | "title" | "run", None) => {
                    self.warn(value.span(), format!("{} is text", key.get_ref()));
                }
                (other, _) => {
                    let near = nearest(other, ["key", "title", "run", "as", "confirm"]);
                    self.warn(
                        key.span(),
                        format!("{other:?} is not known in a command{near}; it is ignored"),
                    );
                }
            }
        }
        if command.words.is_empty() {
            self.warn(span, "a command needs a line run = \"...\"");
            return None;
        }
        if command.title.is_empty() {
            command.title.clone_from(&command.run);
        }
        Some(command)
    }
}

impl ConfigReader<'_> {
    fn hosts(&mut self, config: &mut Config, value: &Value<'_>) {
        let Some(array) = value.get_ref().as_array() else {
            self.warn(value.span(), "hosts are written as [[host]]");
            return;
        };
        for item in array.iter() {
            let Some(table) = item.get_ref().as_table() else {
                self.warn(item.span(), "a host is a table: [[host]], then its lines");
                continue;
            };
            let entry = self.host(table);
            if entry.name.is_empty() {
                self.warn(item.span(), "a host needs a line name = \"...\"");
            } else if config.hosts.iter().any(|other| other.name == entry.name) {
                let text = format!("{} is another host already", entry.name);
                self.warn(item.span(), text);
            } else {
                config.hosts.push(entry);
            }
        }
    }

    fn host(&mut self, table: &DeTable<'_>) -> HostEntry {
        let mut entry = HostEntry::default();
        for (key, value) in in_order(table) {
            let line = key.get_ref().as_ref();
            if !host::LINES.contains(&line) {
                let near = nearest(line, host::LINES);
                let text = format!("{line:?} is not known in a host{near}; it is ignored");
                self.warn(key.span(), text);
                continue;
            }
            let one = std::slice::from_ref(value);
            let items = match value.get_ref().as_array() {
                Some(array) => array.iter().collect::<Vec<_>>(),
                None => one.iter().collect(),
            };
            let texts = items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned));
            let put = match texts.collect::<Option<Vec<String>>>() {
                Some(texts) => host::put(&mut entry, line, texts),
                None => Err(format!("{line} is text, or a list of texts")),
            };
            if let Err(why) = put {
                self.warn(value.span(), why);
            }
        }
        entry
    }
}

/// A table's lines in the order of the file.
fn in_order<'t, 'a>(
    table: &'t DeTable<'a>,
) -> Vec<(&'t Spanned<std::borrow::Cow<'a, str>>, &'t Value<'a>)> {
    let mut lines: Vec<_> = table.iter().collect();
    lines.sort_by_key(|(key, _)| key.span().start);
    lines
}

/// A known name that is one slip away, as words to add; nothing if there is none.
fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let best = known
        .into_iter()
        .map(|known| (distance(name, known), known))
        .min();
    match best {
        Some((slips, known)) if slips <= 2 && slips < name.len() => {
            format!(" (did you mean {known:?}?)")
        }
        _ => String::new(),
    }
}

/// How many characters have to be changed, added or left out.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let at = |list: &[usize], j: usize| list.get(j).copied().unwrap_or(usize::MAX / 2);
            let change = at(&row, j) + usize::from(from != *to);
            next.push(change.min(at(&row, j + 1) + 1).min(at(&next, j) + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
