//! What a form holds: a few fields, and the request they come to. What its keys do is `form`'s business, how
//! it looks `draw`'s; which fields an operation asks for is said in `tui::forms`.

use std::path::{Path, PathBuf};

use tui_input::Input;

use crate::forest::far::{host_and_path, path_on};
use crate::image::Passphrase;
use crate::ops::{Plan, Request};
use crate::tui::key::Key;
use crate::tui::query::{Completions, QueryId};

use super::choice::Choice;
use super::field_name::FieldName;
use super::fields::{Field, FieldValue, Visibility};

/// What the fields come to, or a sentence why they do not come to anything yet.
#[derive(Debug, Clone, Copy)]
pub enum Submit {
    /// One request.
    One(fn(&Form) -> Result<Request, String>),
    /// One for each of the form's images, all of which only create.
    Each(fn(&Form) -> Result<Vec<Request>, String>),
}

/// A form.
#[derive(Debug)]
pub struct Form {
    /// What it is for, in words.
    pub title: String,
    /// The image it is about, or the first of those.
    pub image: PathBuf,
    /// All images it is about.
    pub images: Vec<PathBuf>,
    /// The machine it is about, where it is about one: its name and its connection.
    pub machine: Option<(String, String)>,
    /// The directory relative names are in.
    pub dir: PathBuf,
    /// The fields.
    pub fields: Vec<Field>,
    /// Which of them has the focus.
    pub at: usize,
    /// What the fields come to.
    pub make: Submit,
    /// Whether it only creates: then the plan is made while one types, and Enter does it. Otherwise
    /// Enter opens the plan.
    pub creates: bool,
    /// The newest question asked of the planner.
    pub query_id: QueryId,
    /// The plan, or the plans, for what is in the fields; none while they are being made.
    pub plans: Vec<Plan>,
    /// Whether Enter was pressed before the plan was there.
    pub submitted: bool,
    /// Why it cannot go on like this.
    pub reason: Option<String>,
    /// The encrypted image whose passphrase is missing.
    pub locked: Option<PathBuf>,
    /// Brings other fields in line after a choice.
    pub tidy: Option<fn(&mut Form)>,
    /// How the name in the field may go on.
    pub completing: Completing,
    /// Lines scrolled past, where not all have room.
    pub scroll: usize,
}

/// How the name in a path field may go on, found out when Tab is pressed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completing {
    /// The question that is open; answers to others are dropped.
    pub query_id: Option<QueryId>,
    /// Keys pressed since it was asked: they are meant for whatever field has the focus then.
    pub held: Vec<Key>,
    /// The text that can go on in several ways, and how: Tab goes to the next field then.
    pub several: Option<(String, Completions)>,
}

impl Form {
    /// A form about an image.
    #[must_use]
    pub fn new(
        title: String,
        image: &Path,
        fields: Vec<Field>,
        creates: bool,
        make: fn(&Form) -> Result<Request, String>,
    ) -> Self {
        Self {
            title,
            image: image.to_path_buf(),
            images: vec![image.to_path_buf()],
            machine: None,
            dir: image.parent().map(Path::to_path_buf).unwrap_or_default(),
            fields,
            at: 0,
            make: Submit::One(make),
            creates,
            query_id: 0,
            plans: Vec::new(),
            submitted: false,
            reason: None,
            locked: None,
            tidy: None,
            completing: Completing::default(),
            scroll: 0,
        }
    }

    /// A form about several images, for each of which something is created.
    #[must_use]
    pub fn for_each(
        title: String,
        images: Vec<PathBuf>,
        fields: Vec<Field>,
        make: fn(&Form) -> Result<Vec<Request>, String>,
    ) -> Self {
        let first = images.first().cloned().unwrap_or_default();
        let nothing = |_: &Form| Err(String::new());
        Self {
            make: Submit::Each(make),
            images,
            ..Self::new(title, &first, fields, true, nothing)
        }
    }

    /// A form for one request about several images.
    #[must_use]
    pub fn of_several(
        title: String,
        images: Vec<PathBuf>,
        fields: Vec<Field>,
        make: fn(&Form) -> Result<Request, String>,
    ) -> Self {
        let first = images.first().cloned().unwrap_or_default();
        Self {
            images,
            ..Self::new(title, &first, fields, false, make)
        }
    }

    /// The same about a machine, by its name and its connection.
    #[must_use]
    pub fn about_machine(mut self, name: String, connection: String) -> Self {
        self.machine = Some((name, connection));
        self
    }

    /// The same, with other fields brought in line after each choice.
    #[must_use]
    pub fn tidied_by(mut self, tidy: fn(&mut Form)) -> Self {
        self.tidy = Some(tidy);
        self
    }

    fn field(&self, name: FieldName) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The field with the focus.
    #[must_use]
    pub fn focused(&self) -> Option<&Field> {
        self.fields.get(self.at)
    }

    /// Puts text into a field.
    pub fn set(&mut self, name: FieldName, text: String) {
        let mut fields = self.fields.iter_mut();
        let field = fields.find(|field| field.name == name);
        if let Some(input) = field.and_then(Field::input_mut) {
            *input = Input::new(text);
        }
    }

    /// Whether a field is there now.
    #[must_use]
    pub fn is_there(&self, name: FieldName) -> bool {
        match self.field(name).map(|field| &field.there) {
            Some(Visibility::Always) => true,
            None | Some(Visibility::Never) => false,
            Some(Visibility::Where(other, words)) => {
                let chosen = self.word(*other);
                chosen.is_some_and(|word| words.contains(&word))
            }
        }
    }

    /// The fields that are there, with their places.
    pub fn shown(&self) -> impl Iterator<Item = (usize, &Field)> {
        let all = self.fields.iter().enumerate();
        all.filter(|(_, field)| self.is_there(field.name))
    }

    /// To the next field that is there, or to the one before; behind the last comes the first.
    pub fn step(&mut self, forward: bool) {
        let places: Vec<usize> = self.shown().map(|(at, _)| at).collect();
        let mut after = places.iter().filter(|at| **at > self.at);
        let mut before = places.iter().rev().filter(|at| **at < self.at);
        let to = match forward {
            true => after.next().or(places.first()),
            false => before.next().or(places.last()),
        };
        self.at = to.copied().unwrap_or(0);
    }

    fn value(&self, name: FieldName) -> Option<&FieldValue> {
        let field = self.field(name).filter(|_| self.is_there(name));
        field.map(|field| &field.holds)
    }

    /// What a text field holds.
    #[must_use]
    pub fn text(&self, name: FieldName) -> &str {
        match self.value(name) {
            Some(FieldValue::Text(input) | FieldValue::Path(input)) => input.value(),
            Some(FieldValue::Choice { .. } | FieldValue::Secret(_)) | None => "",
        }
    }

    /// What is chosen; what the first word says where the field is not there.
    #[must_use]
    pub fn chosen<T: Clone + PartialEq>(&self, choice: &Choice<T>) -> T {
        choice.value(self.word(choice.name()))
    }

    /// The word that is chosen, if that field is there.
    #[must_use]
    pub fn word(&self, name: FieldName) -> Option<&'static str> {
        match self.value(name)? {
            FieldValue::Choice { words, at } => words.get(*at).copied(),
            FieldValue::Text(_) | FieldValue::Path(_) | FieldValue::Secret(_) => None,
        }
    }

    /// The passphrase that an image is to have, if the form asks for one.
    ///
    /// # Errors
    /// A sentence, if it is not typed yet, or not twice the same: what was mistyped once would be lost
    /// with all that is written under it.
    pub fn passphrase(&self) -> Result<Option<Passphrase>, String> {
        let mut secrets = self.shown().filter_map(|(_, field)| match &field.holds {
            FieldValue::Secret(secret) => Some(secret),
            _ => None,
        });
        let Some(first) = secrets.next() else {
            return Ok(None);
        };
        if first.is_empty() {
            return Err("a new passphrase is missing".to_owned());
        }
        if first.is_cut() {
            return Err(
                "the passphrase is longer than is taken in here: `qanopy create --passphrase-file` takes it \
                 from a file"
                    .to_owned(),
            );
        }
        if secrets.any(|again| again != first) {
            return Err("the passphrase has to be typed twice, both times the same".to_owned());
        }
        Ok(Some(first.passphrase()))
    }

    /// Whether it is about images of another machine.
    #[must_use]
    pub fn is_on_host(&self) -> bool {
        host_and_path(&self.image).is_some()
    }

    /// A path as it is typed in a form: of the machine that the form is about.
    fn joined(&self, text: &str) -> PathBuf {
        let typed = Path::new(text);
        match host_and_path(&self.image) {
            Some((host, _)) if typed.is_absolute() => path_on(host, typed),
            Some(_) if host_and_path(typed).is_some() => typed.to_path_buf(),
            _ => self.dir.join(typed),
        }
    }

    /// A text field as the path of a file, from the form's directory.
    ///
    /// # Errors
    /// A sentence, if it is empty.
    pub fn path(&self, name: FieldName, what: &str) -> Result<PathBuf, String> {
        let text = self.text(name);
        if text.is_empty() {
            return Err(format!("{what} needs a name"));
        }
        Ok(self.joined(text))
    }

    /// A path field, if anything is in it.
    #[must_use]
    pub fn path_if_any(&self, name: FieldName) -> Option<PathBuf> {
        let text = self.text(name);
        (!text.is_empty()).then(|| self.joined(text))
    }

    /// The text of the field with the focus, if it is a name that could be completed.
    #[must_use]
    pub fn unfinished(&self) -> Option<&str> {
        match &self.focused()?.holds {
            FieldValue::Path(input) if input.cursor() == input.value().chars().count() => {
                Some(input.value())
            }
            _ => None,
        }
    }

    /// Takes in how the name in the field can go on: it goes on as far as all of the ways agree. Says
    /// whether its text changed.
    pub fn complete(&mut self, ways: Completions) -> bool {
        let Some(text) = self.unfinished().map(str::to_owned) else {
            return false;
        };
        let (folder, begun) = text
            .rsplit_once('/')
            .map_or(("", text.as_str()), |(folder, begun)| {
                (text.get(..=folder.len()).unwrap_or_default(), begun)
            });
        if ways.common.len() > begun.len() {
            let whole = format!("{folder}{}", ways.common);
            if let Some(name) = self.focused().map(|field| field.name) {
                self.set(name, whole);
            }
            return true;
        }
        if ways.count > 1 {
            self.completing.several = Some((text, ways));
        } else {
            self.step(true);
        }
        false
    }

    /// What the fields come to.
    ///
    /// # Errors
    /// A sentence, if they do not come to anything.
    pub fn requests(&self) -> Result<Vec<Request>, String> {
        let requests = match self.make {
            Submit::One(make) => vec![make(self)?],
            Submit::Each(make) => make(self)?,
        };
        self.passphrase()?;
        Ok(requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::UndoEntry;
    use crate::tui::dialogs::form::FieldName as F;

    fn form(text: &str) -> Form {
        let fields = vec![Field::path(F::Name, text, ""), Field::text(F::Size, "", "")];
        Form::new(String::new(), Path::new("/vm/a"), fields, true, |_| {
            Err(String::new())
        })
    }

    fn ways(common: &str, names: &[&str]) -> Completions {
        Completions {
            common: common.to_owned(),
            count: names.len(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn a_name_goes_on_as_far_as_all_agree() {
        let mut form = form("../images/Ov");
        let two = || ways("Overlay-", &["Overlay-1.qcow2", "Overlay-2.qcow2"]);
        assert!(form.complete(two()));
        assert_eq!(form.text(F::Name), "../images/Overlay-");
        assert!(!form.complete(two()));
        assert_eq!(form.at, 0, "the ways it could go on are shown");
        let several = form.completing.several.clone().unwrap();
        assert_eq!(several.0, "../images/Overlay-");
        assert_eq!(several.1.count, 2);
    }

    #[test]
    fn a_name_that_is_whole_or_new_leads_to_the_next_field() {
        for found in [ways("new.qcow2", &["new.qcow2"]), Completions::default()] {
            let mut form = form("new.qcow2");
            assert!(!form.complete(found));
            assert_eq!(form.at, 1);
        }
        let mut form = form("ima");
        assert!(form.complete(ways("images/", &["images/"])));
        assert_eq!(form.text(F::Name), "images/");
    }

    #[test]
    fn a_field_that_is_not_there_is_stepped_over_and_holds_nothing() {
        const TO: Choice<char> = Choice::new(F::To, ("qcow2", 'q'), &[("raw", 'r')]);
        const ENCRYPT: Choice<bool> = Choice::new(F::Encrypt, ("no", false), &[("luks", true)]);
        let fields = vec![
            Field::path(F::Name, "a", ""),
            Field::choice(&TO, ""),
            Field::choice(&ENCRYPT, "").only_where(&TO, &['q']),
            Field::text(F::Codec, "aes", "").only_where(&ENCRYPT, &[true]),
            Field::text(F::Snapshot, "7", "").only_if(false),
        ];
        let mut form = Form::new(String::new(), Path::new("/vm/a"), fields, true, |_| {
            Err(String::new())
        });
        let choose = |form: &mut Form, field: usize, word: usize| {
            if let FieldValue::Choice { at, .. } = &mut form.fields[field].holds {
                *at = word;
            }
        };
        let places = |form: &Form| form.shown().map(|(at, _)| at).collect::<Vec<_>>();
        assert_eq!(places(&form), [0, 1, 2]);
        choose(&mut form, 2, 1);
        assert_eq!(places(&form), [0, 1, 2, 3]);
        assert!(form.chosen(&ENCRYPT));
        assert_eq!((form.text(F::Codec), form.text(F::Snapshot)), ("aes", ""));
        choose(&mut form, 1, 1);
        assert_eq!(places(&form), [0, 1], "what hangs on it goes with it");
        assert_eq!((form.chosen(&ENCRYPT), form.text(F::Codec)), (false, ""));
        form.at = 1;
        form.step(true);
        assert_eq!(form.at, 0);
        form.step(false);
        assert_eq!(form.at, 1);
    }

    #[test]
    fn a_passphrase_is_typed_twice_and_never_printed() {
        let fields = vec![
            Field::secret(F::Passphrase, ""),
            Field::secret(F::OnceMore, ""),
        ];
        let mut form = Form::new(String::new(), Path::new("/vm/a"), fields, true, |_| {
            Ok(Request::Undo(UndoEntry {
                entry: None,
                folders: Vec::new(),
            }))
        });
        let type_into = |form: &mut Form, field: usize, text: &str| {
            if let FieldValue::Secret(secret) = &mut form.fields[field].holds {
                text.chars().for_each(|c| secret.push(c));
            }
        };
        assert!(
            form.requests()
                .unwrap_err()
                .contains("passphrase is missing")
        );
        type_into(&mut form, 0, "sesame");
        type_into(&mut form, 1, "sesam");
        assert!(form.requests().unwrap_err().contains("twice"));
        type_into(&mut form, 1, "e");
        assert!(form.requests().is_ok());
        let passphrase = form.passphrase().unwrap().unwrap();
        assert_eq!(passphrase.bytes(), b"sesame");
        assert!(!format!("{form:?}").contains("sesam"));
    }
}
