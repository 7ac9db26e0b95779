//! Changing what libvirt's service has as the definition of a domain. Its service is the only one that is asked:
//! behind its back its files are not written.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::places::Places;
use super::products::Machines;
use super::virsh::{Program, Rights, Virsh, word};

/// A change is waited for longer than an answer: that it came too late would not undo it.
const PATIENCE: u32 = 10;

/// A domain as the service defines it.
#[derive(Clone, PartialEq, Eq)]
pub struct Defined {
    /// Its definition, with what is secret in it.
    pub text: String,
    /// Whether it is off, and no memory of it is saved.
    pub is_off: bool,
}

/// What is secret in a definition is for no log.
impl std::fmt::Debug for Defined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Defined")
            .field("is_off", &self.is_off)
            .finish_non_exhaustive()
    }
}

/// Why a definition cannot be read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefineError {
    /// Nobody asked a service.
    #[error("libvirt was not asked for its machines")]
    NotAsked,
    /// `virsh` is missing.
    #[error("virsh is not installed")]
    NoVirsh,
    /// What the service says, or why it says nothing.
    #[error("{0}")]
    Said(String),
    /// The definition could not be handed over.
    #[error("the definition cannot be handed over: {0}")]
    HandOver(String),
}

/// Asks services to change definitions.
#[derive(Debug, Clone)]
pub struct Defines {
    program: Program,
    patience: Duration,
}

impl Machines {
    /// What changes the definitions of these machines.
    ///
    /// # Errors
    /// [`DefineError`] where nobody asked a service for them, or none can be asked.
    pub fn defines(&self) -> Result<Defines, DefineError> {
        let places = self.places().ok_or(DefineError::NotAsked)?;
        Defines::at(places)
    }

    /// A domain of this connection as it is defined now.
    ///
    /// # Errors
    /// As [`Machines::defines`] and [`Defines::read`].
    pub fn defined(&self, connection: &str, id: &str) -> Result<Defined, DefineError> {
        self.defines()?.read(connection, id)
    }
}

impl Defines {
    fn at(places: &Places) -> Result<Self, DefineError> {
        Ok(Self {
            program: Program::at(places).ok_or(DefineError::NoVirsh)?,
            patience: places.patience.saturating_mul(PATIENCE),
        })
    }

    /// A domain of this connection as it is defined now.
    ///
    /// # Errors
    /// [`DefineError`], also where the right to change it is missing.
    pub fn read(&self, connection: &str, id: &str) -> Result<Defined, DefineError> {
        read(&mut self.start(connection)?, id)
    }

    /// Has the domain defined so; gives it as it is defined then.
    ///
    /// # Errors
    /// [`DefineError`].
    pub fn define(&self, connection: &str, id: &str, text: &str) -> Result<Defined, DefineError> {
        let file = file_with(text)?;
        let name = path_word(file.path())?;
        let mut virsh = self.start(connection)?;
        say(&mut virsh, &format!("define {name}"))?;
        read(&mut virsh, id)
    }

    fn start(&self, connection: &str) -> Result<Virsh, DefineError> {
        let virsh = Virsh::start(&self.program, connection, Rights::Define, self.patience);
        virsh.map_err(DefineError::Said)
    }
}

/// A definition for `virsh`: readable for nobody else, and gone when this is dropped.
pub(super) fn file_with(text: &str) -> Result<tempfile::NamedTempFile, DefineError> {
    let unable = |error: std::io::Error| DefineError::HandOver(error.to_string());
    let mut file = tempfile::NamedTempFile::new().map_err(unable)?;
    file.write_all(text.as_bytes()).map_err(unable)?;
    Ok(file)
}

fn read(virsh: &mut Virsh, id: &str) -> Result<Defined, DefineError> {
    let id = word(id).ok_or_else(|| DefineError::Said("its UUID is none".to_owned()))?;
    let state = say(virsh, &format!("dominfo {id}"))?;
    let text = say(virsh, &format!("dumpxml --inactive --security-info {id}"))?;
    let told = |key: &str| {
        let mut lines = state.lines().filter_map(|line| line.split_once(':'));
        lines.find_map(|(name, value)| (name.trim() == key).then(|| value.trim().to_owned()))
    };
    let is_off = told("State").is_some_and(|state| state == "shut off" || state == "crashed")
        && told("Managed save").is_some_and(|saved| saved == "no");
    Ok(Defined { text, is_off })
}

fn say(virsh: &mut Virsh, command: &str) -> Result<String, DefineError> {
    virsh.ask_one(command).map_err(DefineError::Said)
}

fn path_word(path: &Path) -> Result<String, DefineError> {
    let text = path.to_str().and_then(word);
    text.ok_or_else(|| DefineError::HandOver("the folder for temporary files".to_owned()))
}
