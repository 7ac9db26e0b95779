//! Where what is asked of images is done: here, or by the host that they are of.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::forest::far::host_and_path;
use crate::machines::host_and_connection;
use crate::ops::{AnnotateSeveral, Discard, Request};

use super::hosts::Hosts;

/// What is asked of one machine: the place of its host, none for this machine.
pub(super) type Part = (Option<usize>, Request);

/// Where a request is done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// By this machine.
    Here,
    /// By a host: its place, and the words of the command line that asks for it there.
    There(usize, Vec<OsString>),
    /// By several machines, each of which does its part.
    Several(Vec<Part>),
    /// By none: why, as a sentence.
    Nowhere(String),
}

/// Where a request is done.
#[must_use]
pub(super) fn place(hosts: &Hosts, request: &Request) -> Place {
    let paths = request.paths();
    let paths = paths.iter().map(|path| hosts.of_path(path));
    let connections = request.connections();
    let connections = connections.iter().map(|it| hosts.of_connection(it));
    let mut of: Vec<Option<usize>> = paths.chain(connections).collect();
    of.sort_unstable();
    of.dedup();
    match of.as_slice() {
        [] | [None] => Place::Here,
        [Some(at)] => match words_for(hosts, *at, request) {
            Ok(words) => Place::There(*at, words),
            Err(why) => Place::Nowhere(why),
        },
        several => match parts(hosts, request) {
            Some(parts) => Place::Several(parts),
            None => {
                let names: Vec<String> = several.iter().map(|of| hosts.machine(*of)).collect();
                Place::Nowhere(format!(
                    "It names what is on {}: what joins them is not done by several machines.",
                    names.join(" and ")
                ))
            }
        },
    }
}

/// What is asked of each machine, where a request is a list of which each part makes sense by itself.
fn parts(hosts: &Hosts, request: &Request) -> Option<Vec<Part>> {
    match request {
        Request::Discard(discard) => {
            let mut spared = by_machine(&discard.spare, |path| hosts.of_path(path));
            let parts = by_machine(&discard.images, |path| hosts.of_path(path));
            let part = |(of, images)| {
                let spare = spared.remove(&of).unwrap_or_default();
                (of, Discard { images, spare }.into())
            };
            Some(parts.into_iter().map(part).collect())
        }
        Request::AnnotateSeveral(several) => {
            let parts = by_machine(&several.images, |one| hosts.of_path(&one.image));
            let part = |(of, images)| (of, AnnotateSeveral { images }.into());
            Some(parts.into_iter().map(part).collect())
        }
        _ => None,
    }
}

/// Members of a list, those of each machine by themselves: of this one, then of hosts in their order.
fn by_machine<T: Clone>(
    list: &[T],
    of: impl Fn(&T) -> Option<usize>,
) -> BTreeMap<Option<usize>, Vec<T>> {
    let mut parts: BTreeMap<Option<usize>, Vec<T>> = BTreeMap::new();
    for one in list {
        parts.entry(of(one)).or_default().push(one.clone());
    }
    parts
}

/// The words of the command line that asks the host of this place for it.
///
/// # Errors
/// Why none does, as a sentence.
pub(super) fn words_for(
    hosts: &Hosts,
    at: usize,
    request: &Request,
) -> Result<Vec<OsString>, String> {
    let Some(host) = hosts.list.get(at) else {
        return Err("The host is not shown any more.".to_owned());
    };
    let mut words = words(request, &host.name)?;
    if let Request::Restore(_) | Request::EmptyTrash(_) = request {
        // A trash that nobody there has noted is found below the folders that are shown.
        let folders = host.folders.iter().filter_map(|folder| {
            let (_, folder) = host_and_path(folder)?;
            Some([OsString::from("--dir"), folder.as_os_str().to_owned()])
        });
        words.splice(2..2, folders.flatten());
    }
    Ok(words)
}

/// The command line that asks for the same there.
fn words(request: &Request, host: &str) -> Result<Vec<OsString>, String> {
    let there = |path: &Path| {
        let (of, path) = host_and_path(path)?;
        (of == host).then(|| path.to_path_buf())
    };
    let word = request.name();
    let connection_there = |connection: &str| match host_and_connection(connection) {
        Some((of, there)) => (of == host).then(|| there.to_owned()),
        // Of whoever is asked.
        None => Some(connection.to_owned()),
    };
    let request = request.clone().with_paths(&mut { there });
    let request = request.and_then(|request| request.with_connections(&mut { connection_there }));
    let connections = request.iter().flat_map(Request::connections);
    let connections: Vec<OsString> = connections.map(OsString::from).collect();
    if let Some(Request::RemoveLeftovers(remove)) = &request {
        return Ok(remove_leftovers(&remove.files));
    }
    let line = request.and_then(|request| request.command_line());
    let Some(line) = line else {
        return Err(format!(
            "No command line asks {host} for this {word}: do it there."
        ));
    };
    let words: Vec<OsString> = line.words().iter().skip(1).cloned().collect();
    let begin = format!("{host}:/");
    let is_left = |word: &OsString| {
        let mut parts = word.as_bytes().windows(begin.len());
        parts.any(|part| part == begin.as_bytes()) && !connections.contains(word)
    };
    match words.iter().any(is_left) {
        false => Ok(words),
        true => Err(format!(
            "This {word} cannot be asked of {host} from here: do it there."
        )),
    }
}

/// What was left half made is found by the command itself, in the folders that are named.
fn remove_leftovers(files: &[PathBuf]) -> Vec<OsString> {
    let folders: BTreeSet<&Path> = files.iter().filter_map(|file| file.parent()).collect();
    let folders = folders
        .into_iter()
        .flat_map(|folder| [OsStr::new("--scan"), folder.as_os_str()]);
    let words = ["recover", "--leftovers"].map(OsStr::new);
    words
        .into_iter()
        .chain(folders)
        .map(OsStr::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::fleet::{Destination, FarFolders};
    use crate::ops::{
        Annotate, Power, PowerAction, Rebase, RecoverEntry, Recovery, Redefine, RedefineAction,
        RemoveLeftovers, Restore,
    };

    fn hosts() -> Hosts {
        let folders = |name: &str| FarFolders {
            to: Destination::of(name, &[], None),
            folders: vec!["/srv".into()],
            scan: Vec::new(),
            tell: Vec::new(),
            read: Vec::new(),
        };
        Hosts::of(&[folders("web"), folders("db")])
    }

    fn discard(images: &[&str]) -> Request {
        let images = images.iter().map(PathBuf::from).collect();
        Request::discard(images)
    }

    #[test]
    fn what_names_files_of_one_host_is_asked_of_it_by_its_own_names() {
        let request = discard(&["db:/srv/-a", "db:/srv/b:/c"]);
        let words = ["discard", "/srv/-a", "/srv/b:/c"].map(OsString::from);
        assert_eq!(place(&hosts(), &request), Place::There(1, words.to_vec()));
        assert_eq!(place(&hosts(), &discard(&["/srv/a"])), Place::Here);
        // Nobody of that name is asked.
        assert_eq!(place(&hosts(), &discard(&["other:/srv/a"])), Place::Here);
    }

    #[test]
    fn what_names_no_file_is_asked_of_the_host_that_it_is_about() {
        let words = |request: Request| {
            let words = words_for(&hosts(), 1, &request).unwrap();
            words.join(OsStr::new(" ")).into_string().unwrap()
        };
        let entries = vec!["2026-1".to_owned()];
        let restore = Request::Restore(Restore { entries });
        assert_eq!(words(restore), "trash restore --dir /srv 2026-1");
        let way = Recovery::RollBack;
        let recover = Request::Recover(RecoverEntry { entry: 7, way });
        assert_eq!(words(recover), "recover 7 --roll-back");
        let files = ["db:/b/x.1", "db:/a/y.2", "db:/b/z.3"].map(PathBuf::from);
        let files = files.to_vec();
        let remove = Request::RemoveLeftovers(RemoveLeftovers { files });
        assert_eq!(words(remove), "recover --leftovers --scan /a --scan /b");
    }

    #[test]
    fn what_is_done_to_a_machine_is_asked_of_its_host_by_the_connection_there() {
        let power = |connection: &str| {
            Request::Power(Power {
                machine: "-x".to_owned(),
                connection: Some(connection.to_owned()),
                action: PowerAction::Kill,
            })
        };
        let there = |hosts: &Hosts, connection: &str| match place(hosts, &power(connection)) {
            Place::There(at, words) => {
                Some((at, words.join(OsStr::new(" ")).into_string().unwrap()))
            }
            Place::Here => None,
            other => panic!("{other:?}"),
        };
        let line = "machine stop --kill --connect qemu:///system -- -x".to_owned();
        let asked = there(&hosts(), "db:qemu:///system");
        assert_eq!(asked, Some((1, line.clone())));
        assert_eq!(there(&hosts(), "qemu:///system"), None);
        // A host may be called as the scheme is.
        let mut named = hosts();
        named.list[0].name = "qemu".to_owned();
        assert_eq!(there(&named, "qemu:qemu:///system"), Some((0, line)));
        assert_eq!(there(&named, "qemu:///system"), None);
    }

    #[test]
    fn a_machine_of_one_host_has_no_image_of_another() {
        for (connection, image) in [
            ("web:qemu:///system", "db:/a"),
            ("web:qemu:///system", "/a"),
            ("qemu:///system", "web:/a"),
        ] {
            let request = Request::Redefine(Redefine {
                machine: "x".to_owned(),
                connection: Some(connection.to_owned()),
                disk: None,
                action: RedefineAction::Source(image.into()),
            });
            let Place::Nowhere(why) = place(&hosts(), &request) else {
                panic!("{request:?}");
            };
            assert!(why.contains("several machines"), "{why}");
        }
    }

    #[test]
    fn a_list_of_several_machines_is_parted_by_machine_and_what_joins_them_is_refused() {
        let mixed = Discard {
            images: ["db:/a", "/a", "web:/a", "db:/b"]
                .map(PathBuf::from)
                .to_vec(),
            spare: vec!["db:/c".into()],
        };
        let spares = |images: &[&str]| {
            let images = images.iter().map(PathBuf::from).collect();
            let spare = vec!["db:/c".into()];
            Request::from(Discard { images, spare })
        };
        let parts = vec![
            (None, discard(&["/a"])),
            (Some(0), discard(&["web:/a"])),
            (Some(1), spares(&["db:/a", "db:/b"])),
        ];
        assert_eq!(place(&hosts(), &mixed.into()), Place::Several(parts));
        let note = |image: &str| Annotate {
            image: image.into(),
            tag: vec!["keep".to_owned()],
            ..Annotate::default()
        };
        let several = |images: &[&str]| {
            let images = images.iter().map(|image| note(image)).collect();
            Request::from(AnnotateSeveral { images })
        };
        let parts = vec![(None, several(&["/a"])), (Some(0), several(&["web:/a"]))];
        let mixed = several(&["web:/a", "/a"]);
        assert_eq!(place(&hosts(), &mixed), Place::Several(parts));
        let joined = Rebase {
            image: "web:/a".into(),
            to: "db:/a".into(),
            format: None,
            style: None,
            dedupe: false,
            compress: false,
        };
        let Place::Nowhere(why) = place(&hosts(), &joined.into()) else {
            panic!();
        };
        assert!(why.contains("web and db"), "{why}");
    }
}
