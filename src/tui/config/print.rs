//! The configuration as a file that can be edited: every key with its value and what it is for.

use std::fmt::Write as _;

use crate::ops::TEMPLATE;
use crate::tui::bindings::Group;
use crate::tui::keymap;
use crate::tui::order::Sort;
use crate::tui::theme::{Role, Theme};

use super::toml_text::quoted;
use super::{BY_GROUND, CommandOutput, Config, NoticeBy, host};

impl Config {
    /// The whole configuration as it holds now, as TOML with comments; reading it gives the same.
    #[must_use]
    pub fn print(&self) -> String {
        let mut out = String::new();
        let roots: Vec<String> = self
            .roots
            .iter()
            .map(|root| quoted(&root.to_string_lossy()))
            .collect();
        let sorts = Sort::ALL.map(Sort::name).join(", ");
        let themes = Theme::BUILT_IN.map(|(name, _)| name).join(", ");
        let ascii = self
            .ascii
            .map_or_else(|| "\"auto\"".to_owned(), |is_on| is_on.to_string());
        let mut line = |key: &str, value: String, what: &str| {
            let _ = writeln!(out, "# {what}\n{key} = {value}");
        };
        line(
            "roots",
            format!("[{}]", roots.join(", ")),
            "folders opened where none are named; [] for the current one",
        );
        line(
            "follow",
            self.follow.to_string(),
            "also open backing files that lie outside the folders",
        );
        line(
            "raw",
            self.raw.to_string(),
            "also list files called like a disk image (.img, .raw, .dd, .iso)",
        );
        line(
            "read_only",
            self.read_only.to_string(),
            "refuse whatever changes files, on the command line as well",
        );
        line(
            "ascii",
            ascii,
            "draw with ASCII characters only: true, false, or \"auto\" for what the locale can show",
        );
        line(
            "mouse",
            self.mouse.to_string(),
            "listen to the mouse; % switches it",
        );
        line(
            "watch",
            self.watch.to_string(),
            "show changes on the disk as they happen",
        );
        line(
            "sort",
            quoted(self.sort.name()),
            &format!("order of rows: {sorts}"),
        );
        line(
            "prune_days",
            self.prune_days.to_string(),
            "leaves untouched for so many days are ticked when pruning",
        );
        let ways = NoticeBy::NAMES.map(|(name, _)| name).join(", ");
        line(
            "notify",
            quoted(self.notices.by.name()),
            &format!("how the end of a long job is told while you look elsewhere: {ways}"),
        );
        line(
            "notify_after",
            self.notices.after.to_string(),
            "only of jobs that took so many seconds",
        );
        line(
            "ask_terminal",
            self.ask_terminal.to_string(),
            "ask the terminal at the start whether its ground is light, and how wide signs are (50 ms at most)",
        );
        line(
            "theme",
            quoted(self.theme.unwrap_or(BY_GROUND)),
            &format!(
                "colours: {BY_GROUND} (dark or light as the terminal says, else ansi), {themes}"
            ),
        );
        out.push_str("\n# What `machine try` starts; {disk} is the image.\n[machine]\n");
        let words: Vec<String> = match self.template.is_empty() {
            true => TEMPLATE.iter().map(|word| quoted(word)).collect(),
            false => self.template.iter().map(|word| quoted(word)).collect(),
        };
        let sign = if self.template.is_empty() { "# " } else { "" };
        let _ = writeln!(out, "{sign}template = [{}]", words.join(", "));
        let roles = Role::ALL.map(|(_, name)| name).join(", ");
        let _ = writeln!(
            out,
            "\n# Looks that go over the theme's. Roles: {roles}.\n[style]"
        );
        if self.own.style.is_empty() {
            out.push_str("# error = \"red bold\"\n");
        }
        for (role, look) in &self.own.style {
            let _ = writeln!(out, "{role} = {}", quoted(look));
        }
        out.push_str(
            "\n# Keys: a character, Ctrl- and a character, or a name (Space, PgUp, F5). A key that is bound\n\
             # here is taken from whatever had it before.\n[keys]\n",
        );
        for (name, keys) in &self.own.keys {
            let keys: Vec<String> = keys.iter().map(|key| quoted(key)).collect();
            let _ = writeln!(out, "{name} = [{}]", keys.join(", "));
        }
        let own = |name: &str| self.own.keys.iter().any(|(own, _)| own == name);
        for entry in keymap::table().filter(|entry| entry.group != Group::Dialog) {
            if !own(entry.name) {
                let keys: Vec<String> = entry
                    .keys
                    .iter()
                    .map(|key| quoted(&key.to_string()))
                    .collect();
                let _ = writeln!(out, "# {} = [{}]", entry.name, keys.join(", "));
            }
        }
        out.push_str(
            "\n# Commands of your own, behind !. {path} is the image under the cursor, {chain} its chain down to\n\
             # the root, {marked} the marked images. as = \"screen\" gives it the terminal, as = \"job\" runs it\n\
             # unseen; confirm = true asks first. No shell is involved: name one (sh -c '...') to have one.\n",
        );
        if self.commands.is_empty() {
            out.push_str(
                "# [[command]]\n# key = \"!b\"\n# title = \"boot it and throw the changes away\"\n\
                 # run = \"qemu-system-x86_64 -snapshot -m 1G {path}\"\n",
            );
        }
        for command in &self.commands {
            out.push_str("[[command]]\n");
            if let Some(key) = command.key {
                let _ = writeln!(out, "key = {}", quoted(&format!("!{key}")));
            }
            let place = match command.place {
                CommandOutput::Screen => "screen",
                CommandOutput::Job => "job",
            };
            let _ = writeln!(
                out,
                "title = {}\nrun = {}\nas = {}\nconfirm = {}",
                quoted(&command.title),
                quoted(&command.run),
                quoted(place),
                command.confirm
            );
        }
        host::print(&mut out, &self.hosts);
        out
    }
}
