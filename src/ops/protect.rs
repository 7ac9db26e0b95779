//! Protect: nobody may write an image any more, or whoever its mode names. The bytes stay, and so does who may read
//! them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::host::{Access, FileId, effective_user, set_mode};
use crate::units::count;

use super::framework::format::{command, name, shown};
use super::framework::locks::Locking;
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::resolve;
use super::{
    CommandLine, EffectKind, Error, NoteKind, Outcome, Phase, Plan, Progress, RefusalKind, Request,
    Undo, WayOut,
};

/// The permission bits that let somebody write.
const WRITE: u32 = 0o222;
/// The one of them that lets the owner.
const OWNER_WRITES: u32 = 0o200;

/// Let nobody write an image, or give it a mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protect {
    /// The image.
    pub image: PathBuf,
    /// Its permission bits then (`0o777` at most); none for those it has without the right to write.
    pub mode: Option<u32>,
}

impl WayOut {
    /// Giving the owner of a protected file the right to write it.
    pub(in crate::ops) fn lift_protection(file: &Path, mode: u32) -> Self {
        let mode = mode & 0o777 | OWNER_WRITES;
        let protect = Protect {
            image: file.to_path_buf(),
            mode: Some(mode),
        };
        Self {
            label: format!("lift the protection first: mode {mode:04o}"),
            request: protect.into(),
        }
    }
}

impl Operation for Protect {
    fn name(&self) -> &'static str {
        "protect"
    }

    fn verb(&self) -> &'static str {
        match self.mode {
            None => "Protect",
            Some(_) => "Change",
        }
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.image));
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        let mode = self.mode.map(|mode| format!("{mode:o}"));
        let line = CommandLine::new(&["protect"]).path(&self.image);
        Some(line.option("--mode", mode))
    }

    fn plan(&self, plan: &mut Plan) {
        plan_protection(plan, self)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Image(&self.image, Compare::Identity)
    }

    fn finish(&self, _half: &Half<'_>) -> Way {
        Way::Ask(self.clone().into())
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        half.as_planned()
    }
}

fn plan_protection(plan: &mut Plan, request: &Protect) {
    let context = plan.context().clone();
    plan.title = format!("{} {}", request.verb_of_title(), name(&request.image));
    let of_device = "who may write it is for the system to say";
    let (node, stat) = match resolve::regular_file(&context, &request.image, of_device) {
        Ok(found) => found,
        Err(sentence) => return plan.refuse_for(sentence),
    };
    let path = &node.path;
    let mode = request.mode.unwrap_or(stat.mode & !WRITE);
    if mode == stat.mode {
        return plan.refuse_as_done(match request.mode {
            None => format!("nobody may write {} already", shown(path)),
            Some(_) => format!("{} has the mode {mode:04o} already", shown(path)),
        });
    }
    if ![0, stat.uid].contains(&effective_user()) {
        let text = format!(
            "only its owner (user {}) or root may say who may write {}",
            stat.uid,
            shown(path)
        );
        return plan.refuse(RefusalKind::NotWritable, text);
    }
    let then = match mode & WRITE {
        0 => format!(
            "mode {mode:04o}, was {:04o}: nobody may write it",
            stat.mode
        ),
        _ => format!("mode {mode:04o}, was {:04o}", stat.mode),
    };
    plan.effect(EffectKind::Chmods, path, None, then);
    let above = context.forest.descendants(node.id).len();
    plan.keeps.push(match above {
        0 => format!("what {} shows", name(path)),
        n => format!(
            "what {} shows, and {} built on it",
            name(path),
            count(n, "image")
        ),
    });
    if mode & WRITE == 0 && context.forest.is_leaf(node) {
        let text = format!(
            "nothing is built on {}: a machine whose disk it is does not start any more, but as root",
            name(path)
        );
        plan.warn(NoteKind::InUse, text);
    }
    plan.require_unchanged(path, Compare::Identity);
    plan.undo = Undo::Possible(format!("give it back the mode {:04o}", stat.mode));
    plan.roll_back = Some(Request::Protect(Protect {
        image: path.clone(),
        mode: Some(stat.mode),
    }));
    plan.commands.push(command(&[
        "chmod".as_ref(),
        format!("{mode:04o}").as_ref(),
        path.as_os_str(),
    ]));
    plan.job = Some(Arc::new(ProtectJob {
        image: path.clone(),
        file: stat.id,
        mode,
    }));
}

impl Protect {
    fn verb_of_title(&self) -> &'static str {
        match self.mode {
            None => "Protect",
            Some(_) => "Change the mode of",
        }
    }
}

#[derive(Debug)]
struct ProtectJob {
    image: PathBuf,
    file: FileId,
    mode: u32,
}

impl Job for ProtectJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        progress.enter(Phase::Switch, 0);
        let host = plan.host();
        // Nobody who has it open is disturbed by it: there is nothing to lock.
        let locks = Locking::default().settle(plan)?;
        let failed = |error: &std::io::Error| Error::io("change the mode of", &self.image, error);
        let file = host.open(&self.image, Access::Read);
        let file = file.map_err(|error| failed(&error))?;
        let stat = file.stat().map_err(|error| failed(&error))?;
        if stat.id != self.file {
            let text = format!("{} is another file by now", shown(&self.image));
            return Err(Error::stale(text));
        }
        set_mode(file.as_ref(), self.mode).map_err(|error| failed(&error))?;
        drop(locks);
        Ok(Outcome {
            summary: format!("{} has the mode {:04o}", shown(&self.image), self.mode),
            touched: vec![self.image.clone()],
            undo: plan.roll_back.clone(),
            remarks: Vec::new(),
        })
    }
}
