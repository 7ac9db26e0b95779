//! One table of everything that can be done: name, group, keys, title. Key handling, the footer,
//! the key hints on frames, `?` help, the `:` palette and the table of `assets/docs/keys.md` are all read from it.
//! The rows stand where their actions are done; this file gathers them, and binds the person's own keys.

use std::any::TypeId;

use super::actions::Action;
use super::bindings::{self, Action as _, Group, Keymap, TableRow};
use super::dialogs::{self, PlanDialog, Window};
use super::key::Key;

/// Everything that can be done.
pub(crate) fn table() -> impl Iterator<Item = TableRow> {
    bindings::rows::<Action>().chain(dialogs::rows())
}

/// Gives an action the person's keys instead of its own; whatever else has one of them in the
/// same place loses it.
///
/// # Errors
/// A sentence, if no action has that name or its keys are not to be changed.
pub(crate) fn bind(keymap: &mut Keymap, name: &str, keys: &[Key]) -> Result<(), String> {
    let Some(bound) = table().find(|row| row.name == name) else {
        return Err(format!("no action is called {name:?}"));
    };
    if bound.place == TypeId::of::<<PlanDialog as Window>::Action>() {
        return Err(format!(
            "{name} keeps its keys: what says yes to a plan is the same everywhere"
        ));
    }
    for row in table().filter(|row| row.place == bound.place) {
        if row.name == bound.name {
            keymap.set(row.name, keys.to_vec());
            continue;
        }
        let now = keymap.keys(row.name, row.keys);
        if now.iter().any(|key| keys.contains(key)) {
            let left = now.iter().filter(|key| !keys.contains(key));
            let left = left.copied().collect();
            keymap.set(row.name, left);
        }
    }
    Ok(())
}

/// The panes' part of the table as Markdown, for `assets/docs/keys.md`.
#[must_use]
pub fn markdown_table() -> String {
    let mut out = String::from("| keys | what happens |\n|---|---|\n");
    let groups = [
        Group::Move,
        Group::Panes,
        Group::Find,
        Group::Mark,
        Group::Look,
        Group::Create,
        Group::Change,
        Group::Any,
    ];
    for group in groups {
        out.push_str(&format!("| **{}** | |\n", group.name()));
        for entry in Action::ROWS.iter().filter(|entry| entry.group == group) {
            let keys: Vec<String> = entry.keys.iter().map(|key| format!("`{key}`")).collect();
            out.push_str(&format!("| {} | {} |\n", keys.join(" "), entry.title));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::dialogs::{PruneDialog, TrashDialog};
    use crate::tui::key::Code;
    use std::collections::HashSet;

    #[test]
    fn no_key_means_two_things_in_one_place() {
        let mut seen = HashSet::new();
        for entry in table() {
            for key in entry.keys.iter() {
                assert!(seen.insert((entry.place, *key)), "{} {key}", entry.name);
            }
        }
    }

    #[test]
    fn every_action_has_one_name_and_a_key() {
        let mut names = HashSet::new();
        for entry in table() {
            assert!(names.insert(entry.name), "{}", entry.name);
            assert!(!entry.keys.is_empty(), "{}", entry.name);
            assert!(!entry.title.is_empty(), "{}", entry.name);
        }
    }

    #[test]
    fn what_is_done_to_images_is_titled_by_its_standard_word_and_fits_a_narrow_menu() {
        let told = [
            Group::Find,
            Group::Mark,
            Group::Look,
            Group::Create,
            Group::Change,
        ];
        for entry in Action::ROWS.iter().filter(|row| told.contains(&row.group)) {
            let word = entry.name.split('-').next().unwrap();
            let moves = matches!(entry.action, Action::Go(_));
            assert!(moves || entry.title.starts_with(word), "{}", entry.title);
            assert!(entry.title.len() <= 58, "{}", entry.title);
        }
    }

    #[test]
    fn the_confirming_key_opens_no_dialog_and_is_no_moving_key_of_a_dialog() {
        fn keys<A: bindings::Action>(action: A) -> &'static [Key] {
            let row = A::ROWS.iter().find(|row| row.action == action);
            row.unwrap().keys
        }
        let confirm = keys(<PlanDialog as Window>::Action::Confirm);
        let changing = Action::ROWS.iter().filter(|row| row.group.changes());
        let mut opening: Vec<&[Key]> = changing.map(|row| row.keys).collect();
        opening.extend([
            keys(<PruneDialog as Window>::Action::Proceed),
            keys(<TrashDialog as Window>::Action::Proceed),
            keys(<TrashDialog as Window>::Action::EmptyTrash),
        ]);
        for keys in opening {
            assert!(keys.iter().all(|key| !confirm.contains(key)), "{keys:?}");
        }
    }

    #[test]
    fn existing_data_is_reached_with_shift_only() {
        let keymap = Keymap::default();
        let rows = keymap.entries::<Action>();
        for entry in rows.filter(|entry| entry.group == Group::Change) {
            // Undo gives back; it is a plan with a question as well.
            if entry.action == Action::Undo {
                continue;
            }
            for key in entry.keys.iter() {
                assert!(
                    matches!(key.code, Code::Char(c) if c.is_ascii_uppercase() || "~*#^&".contains(c)),
                    "{}",
                    entry.name
                );
            }
        }
    }

    #[test]
    fn a_key_of_the_persons_own_is_taken_from_whatever_had_it() {
        let mut keymap = Keymap::default();
        bind(&mut keymap, "commit", &[Key::char('K'), Key::char('X')]).unwrap();
        assert_eq!(
            keymap.action::<Action>(Key::char('X')),
            Some(Action::Commit)
        );
        assert_eq!(keymap.action::<Action>(Key::char('C')), None);
        let discard = keymap.entry(Action::Discard).unwrap();
        assert!(discard.keys.is_empty());
        assert!(bind(&mut keymap, "plan-yes", &[Key::char('j')]).is_err());
        assert!(bind(&mut keymap, "comit", &[Key::char('j')]).is_err());
    }

    #[test]
    fn the_markdown_table_names_every_key_of_the_panes() {
        let table = markdown_table();
        for entry in Keymap::default().entries::<Action>() {
            assert!(table.contains(entry.title), "{}", entry.name);
        }
    }
}
