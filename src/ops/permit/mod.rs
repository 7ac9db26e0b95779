//! Permit: a user that runs machines gets the permissions it lacks, and nobody gets others as far as the filesystem can
//! say so: by an entry in the access control list of each folder on the way and of each file. The bytes stay.

mod change;
mod missing;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::host::{
    FileId, FileKind, Gains, Permission, Permissions, PermissionsFound, User, effective_user,
    io_text, printable, right_letters,
};
use crate::units::count;

use super::framework::format::{command, listed, name, shown};
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::refusal::Reason;
use super::framework::request::Name;
use super::framework::resolve;
use super::{CommandLine, EffectKind, NoteKind, Plan, RefusalKind, Undo};

use change::{PermitJob, reversed};

pub use change::PermissionChange;
pub use missing::{MissingPermission, PermitScope, missing_permissions};

/// Change who may do what with files, for the sake of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permit {
    /// The user's name, or number.
    pub user: String,
    /// What becomes of the permissions.
    pub action: PermitAction,
}

/// What becomes of permissions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PermitAction {
    /// The user may run machines on these images.
    Run {
        /// The images.
        images: Vec<PathBuf>,
        /// What is looked at.
        scope: PermitScope,
    },
    /// Just these, unless they are so already.
    So(Vec<PermissionChange>),
}

impl Permit {
    /// To let a user run machines on these images.
    #[must_use]
    pub fn run(user: &User, images: Vec<PathBuf>, scope: PermitScope) -> Self {
        Self {
            user: user.name.clone(),
            action: PermitAction::Run { images, scope },
        }
    }
}

impl Operation for Permit {
    fn name(&self) -> &'static str {
        "permit"
    }

    fn verb(&self) -> &'static str {
        "Permit"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        match &mut self.action {
            PermitAction::Run { images, .. } => {
                images.iter_mut().for_each(|path| visit(Name::Path(path)));
            }
            PermitAction::So(changes) => {
                let paths = changes.iter_mut().map(|change| &mut change.path);
                paths.for_each(|path| visit(Name::Path(path)));
            }
        }
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        // The doctor finds which images need it.
        None
    }

    fn plan(&self, plan: &mut Plan) {
        plan.title = format!("Change permissions for {}", printable(&self.user));
        let changes = match &self.action {
            PermitAction::Run { images, scope } => {
                let found = lacking(plan, &self.user, images, *scope);
                found.map(|(user, missing)| {
                    let changes = missing
                        .iter()
                        .filter_map(|missing| let_in(plan, &user, missing));
                    changes.collect()
                })
            }
            PermitAction::So(changes) => Ok(changes
                .iter()
                .filter_map(|change| put(plan, change))
                .collect()),
        };
        match changes {
            Ok(changes) => end(plan, &self.user, changes),
            Err(reason) => plan.refuse_for(reason),
        }
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Identity)
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

/// The user, and what it lacks.
fn lacking(
    plan: &Plan,
    user: &str,
    images: &[PathBuf],
    scope: PermitScope,
) -> Result<(User, Vec<MissingPermission>), Reason> {
    let context = plan.context();
    let found = User::named(user).map_err(|error| {
        let why = io_text(&error);
        Reason::new(
            RefusalKind::Unreadable,
            format!("the users of this system cannot be looked up: {why}"),
        )
    })?;
    let found = found.ok_or_else(|| {
        let text = format!("there is no user {} in /etc/passwd", printable(user));
        Reason::new(RefusalKind::NotFound, text)
    })?;
    let nodes: Result<Vec<_>, Reason> = images
        .iter()
        .map(|path| resolve::named(context, path))
        .collect();
    let missing = missing_permissions(context, &found, nodes?, scope);
    Ok((found, missing))
}

/// A file that is about to get other permissions.
type Planned = (FileId, PermissionChange);

/// Plans what one file needs.
fn let_in(plan: &mut Plan, user: &User, missing: &MissingPermission) -> Option<Planned> {
    // Whoever wrote the image says which file that is.
    if missing.is_outside {
        plan.refuse_for(resolve::outside(&missing.path));
        return None;
    }
    let found = look(plan, &missing.path)?;
    let PermissionsFound {
        stat,
        permissions: before,
        keeps_lists,
    } = found;
    let (after, gains) = before.letting(user, missing.permission, &stat, keeps_lists);
    let (who, path) = (printable(&user.name), &missing.path);
    let does = match missing.permission {
        Permission::Search => "pass it",
        Permission::Read => "read it",
        Permission::ReadWrite => "read and write it",
    };
    let mode = format!("mode {:04o}, was {:04o}", after.mode, before.mode);
    let file = shown(path);
    let (text, line) = match gains {
        Gains::User => {
            let right = user.rights(&stat, before.list.as_ref()) | missing.permission.bits();
            let right = right_letters(right);
            let entry = format!("u:{}:{right}", user.name);
            (
                format!(
                    "its access control list gets user:{who}:{right}, so that {who} may {does}, and nobody else; {mode}"
                ),
                ["setfacl".to_owned(), "-m".to_owned(), entry],
            )
        }
        Gains::Owner | Gains::Group | Gains::Everybody => (
            format!("{mode}, so that {who} may {does}"),
            [
                "chmod".to_owned(),
                "--".to_owned(),
                format!("{:04o}", after.mode),
            ],
        ),
    };
    match gains {
        Gains::Owner | Gains::User => {}
        Gains::Group => plan.warn(NoteKind::Permissions, format!(
            "the filesystem of {file} keeps no access control lists: every member of its group ({}) may {does} then",
            stat.gid
        )),
        Gains::Everybody => plan.warn(NoteKind::Permissions, format!(
            "the filesystem of {file} keeps no access control lists: everybody may {does} then"
        )),
    }
    plan.effect(EffectKind::Chmods, path, None, text);
    let [program, option, what] = &line;
    plan.commands.push(command(&[
        program.as_ref(),
        option.as_ref(),
        what.as_ref(),
        path.as_os_str(),
    ]));
    let change = PermissionChange {
        path: path.clone(),
        before,
        after,
    };
    Some((stat.id, change))
}

/// Plans permissions that are known; none for what is so already.
fn put(plan: &mut Plan, change: &PermissionChange) -> Option<Planned> {
    let found = look(plan, &change.path)?;
    if found.permissions == change.after {
        return None;
    }
    if found.permissions != change.before {
        let text = format!(
            "the permissions of {} were changed since",
            shown(&change.path)
        );
        plan.refuse(RefusalKind::Stale, text);
        return None;
    }
    let mut text = format!(
        "mode {:04o}, was {:04o}",
        change.after.mode, change.before.mode
    );
    if change.after.list != change.before.list {
        text.push_str(match change.after.list {
            Some(_) => "; the access control list that it had",
            None => "; no access control list",
        });
    }
    plan.effect(EffectKind::Chmods, &change.path, None, text);
    Some((found.stat.id, change.clone()))
}

/// A file as it is now; refused where its permissions are not for this user to change.
fn look(plan: &mut Plan, path: &Path) -> Option<PermissionsFound> {
    let found = match Permissions::of(path) {
        Ok(found) => found,
        Err(error) => {
            plan.refuse_for(resolve::unseen(path, &error));
            return None;
        }
    };
    if ![0, found.stat.uid].contains(&effective_user()) {
        let text = format!(
            "only its owner (user {}) or root may change the permissions of {}",
            found.stat.uid,
            shown(path)
        );
        plan.refuse(RefusalKind::NotWritable, text);
        return None;
    }
    if let Err(error) = plan.context().host.may_write(path)
        && error.kind() == io::ErrorKind::ReadOnlyFilesystem
    {
        let text = format!("{}: its filesystem is mounted read-only", shown(path));
        plan.refuse(RefusalKind::NotWritable, text);
        return None;
    }
    plan.require_unchanged(path, Compare::Identity);
    Some(found)
}

/// Says what is common to all of them.
fn end(plan: &mut Plan, user: &str, planned: Vec<Planned>) {
    if !plan.refusals.is_empty() {
        return;
    }
    let who = printable(user);
    if planned.is_empty() {
        return plan.refuse_as_done(format!("the permissions for {who} are so already"));
    }
    let changes: Vec<PermissionChange> = planned.iter().map(|(_, one)| one.clone()).collect();
    plan.title = format!(
        "Change the permissions of {} for {who}",
        match changes.as_slice() {
            [one] => name(&one.path),
            more => count(more.len(), "file"),
        }
    );
    warn_of_folders(plan, &who, &planned);
    plan.keeps.push("what the images show".to_owned());
    plan.undo = Undo::Possible("give all of them back the permissions that they had".to_owned());
    plan.roll_back = Some(
        Permit {
            user: user.to_owned(),
            action: PermitAction::So(reversed(&changes)),
        }
        .into(),
    );
    plan.job = Some(Arc::new(PermitJob { changes: planned }));
}

/// Who may pass a folder reaches all in it that is open to everybody.
fn warn_of_folders(plan: &mut Plan, who: &str, planned: &[Planned]) {
    let host = Arc::clone(&plan.context().host);
    let opened = planned.iter().filter(|(_, change)| {
        let is_folder = host
            .stat(&change.path)
            .is_ok_and(|stat| stat.kind == FileKind::Directory);
        is_folder && adds_search(change)
    });
    let names: Vec<String> = opened.map(|(_, change)| shown(&change.path)).collect();
    if !names.is_empty() {
        plan.warn(NoteKind::Permissions, format!(
            "{who} then also reaches what else lies below {} and is open to everybody, if it knows its name",
            listed(&names, 5)
        ));
    }
}

/// Whether somebody may search a folder who could not.
fn adds_search(change: &PermissionChange) -> bool {
    let searches = |permissions: &Permissions| permissions.mode & 0o111;
    searches(&change.after) & !searches(&change.before) != 0
        || change.before.list.is_none() && change.after.list.is_some()
}
