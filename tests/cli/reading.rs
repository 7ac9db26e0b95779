//! Files of a host read from here, by an agent of this program that a shell stands in for.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use qanopy::fleet::{Connection, Destination, FarHost, HostEntry, PROTOCOL, Patience};
use qanopy::host::{Access, FileId, Host, LockProbe, LockSet, Segment};
use qanopy::ops::{ReadOptions, open_to_read};

use crate::support::lab::{Hosts, program};

const QANOPY: &str = env!("CARGO_BIN_EXE_qanopy");

/// The files of a host.
fn files(hosts: &Hosts, name: &str) -> FarHost {
    let entry = HostEntry {
        name: name.to_owned(),
        agent: Some(QANOPY.to_owned()),
        ..HostEntry::default()
    };
    let to = Destination::of(name, &[entry], Some(hosts.ssh().as_os_str()));
    FarHost::new(
        name.to_owned(),
        vec!["read".into()],
        Box::new(move |watcher, stops| Connection::open(&to, Patience::default(), watcher, stops)),
    )
}

/// Bytes that differ from place to place.
fn bytes(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| u8::try_from((at / 251 + at % 251) % 256).unwrap())
        .collect()
}

#[test]
fn every_byte_and_hole_reads_as_it_does_there() {
    let hosts = Hosts::new(QANOPY);
    let path = hosts.home("one").join("some");
    let whole = bytes(3 << 20);
    fs::write(&path, &whole).unwrap();
    let far = files(&hosts, "one");
    let file = far.open(&path, Access::Read).unwrap();
    assert_eq!(file.len().unwrap(), 3 << 20);
    for (offset, len) in [
        (0, 1),
        (65_535, 2),
        (65_536, 65_536),
        (1, 2_500_000),
        ((3 << 20) - 5, 100),
        ((3 << 20) - 5, 1 << 20),
        (5 << 20, 10),
        (1 << 40, 10),
    ] {
        let mut read = vec![0; len];
        let got = file.read_at(&mut read, offset);
        let got = got.unwrap_or_else(|error| panic!("{offset} {len}: {error}"));
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let expected = whole.get(from..).unwrap_or_default();
        let expected = &expected[..expected.len().min(len)];
        assert_eq!(got, expected.len(), "{offset} {len}");
        assert!(&read[..got] == expected, "{offset} {len}");
    }
    let sparse = hosts.home("one").join("sparse");
    let real = fs::File::create(&sparse).unwrap();
    real.set_len(1 << 30).unwrap();
    let far_sparse = far.open(&sparse, Access::Read).unwrap();
    assert_eq!(far_sparse.segment_at(7).unwrap(), Segment::Hole(1 << 30));
    assert_eq!(
        far_sparse.segment_at(1 << 30).unwrap(),
        Segment::Hole(u64::MAX)
    );
    let stat = far.stat(&path).unwrap();
    assert_eq!(stat.len, 3 << 20);
    assert_eq!(stat.id.inode, fs::metadata(&path).unwrap().ino());
    let probe = file.probe_lock(LockSet::ReadOnly).unwrap();
    assert_eq!(probe, LockProbe::Free);
    // Names as the host has them, from its own folder on.
    let home = hosts.home("one").canonicalize().unwrap();
    assert_eq!(far.canonical(Path::new(".")).unwrap(), home);
    let chain = open_to_read(&far, Path::new("b.qcow2"), &ReadOptions::default()).unwrap();
    assert_eq!(chain.whole().unwrap().layers().len(), 2);
}

#[test]
fn nothing_is_changed_by_this_way_and_what_is_missing_is_told_as_it_is_there() {
    let hosts = Hosts::new(QANOPY);
    let far = files(&hosts, "one");
    let path = hosts.home("one").join("a.qcow2");
    let missing = far.open(&path.with_file_name("none"), Access::Read);
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
    let folder = far.open(&hosts.home("one"), Access::Read).unwrap_err();
    assert_eq!(folder.kind(), ErrorKind::InvalidInput);
    let file = far.open(&path, Access::Read).unwrap();
    let before = fs::read(&path).unwrap();
    let id = FileId {
        device: 0,
        inode: 0,
    };
    let to = path.with_file_name("new");
    for (at, refused) in [
        far.open(&path, Access::ReadWrite).map(drop),
        far.create_new(&to).map(drop),
        far.create_private(&to).map(drop),
        far.rename_new(&path, &to),
        far.rename_new_of(far.stat(&path).unwrap().id, &path, &to),
        far.rename_replace(&path, &to),
        far.remove_file(&path),
        far.remove_file_of(far.stat(&path).unwrap().id, &path),
        far.link_new(&path, &to),
        far.exchange(id, &path, &to),
        far.create_dir(&to, 0o700),
        far.remove_dir(path.parent().unwrap()),
        far.sync_dir(path.parent().unwrap()),
        far.may_write(&path),
        file.write_at(b"x", 0),
        file.zero(0, 512),
        file.punch(0, 512),
        file.reserve(0, 512).map(drop),
        file.set_len(0),
        file.flush(),
        file.lock(LockSet::ReadWrite).map(drop),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unsupported, "{at}");
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    assert!(!to.exists());
}

#[test]
fn a_file_is_opened_again_where_the_connection_was_cut_unless_it_is_another_by_now() {
    let hosts = Hosts::new(QANOPY);
    let path = hosts.home("one").join("some");
    fs::write(&path, bytes(1 << 20)).unwrap();
    let far = files(&hosts, "one");
    let file = far.open(&path, Access::Read).unwrap();
    let mut read = vec![0; 100_000];
    assert_eq!(file.read_at(&mut read, 0).unwrap(), 100_000);
    hosts.cut();
    // What is asked while it is cut may fail; what is asked next does not.
    let again = (0..3).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(900));
        file.read_at(&mut read, 200_000).ok()
    });
    assert_eq!(again, Some(100_000));
    assert!(read == bytes(1 << 20)[200_000..300_000]);
    hosts.cut();
    fs::write(path.with_file_name("other"), bytes(1 << 20)).unwrap();
    fs::rename(path.with_file_name("other"), &path).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(2500));
    let errors: Vec<String> = (0..2)
        .filter_map(|_| file.read_at(&mut read, 0).err())
        .map(|error| error.to_string())
        .collect();
    assert!(
        errors.iter().any(|it| it.contains("another file by now")),
        "{errors:?}"
    );
}

#[test]
fn a_host_that_is_away_is_told_of_at_once_and_not_tried_for_every_question() {
    let hosts = Hosts::new(QANOPY);
    let far = files(&hosts, "away");
    for _ in 0..20 {
        let error = far.stat(Path::new("/a")).unwrap_err().to_string();
        assert!(error.contains("away cannot be reached"), "{error}");
    }
    let far = files(&hosts, "one");
    // It speaks and answers nonsense.
    let odd = format!(
        "#!/bin/sh\nprintf 'QANOPY agent {PROTOCOL} 0\\nnonsense that is no frame'\nsleep 5\n"
    );
    program(&hosts.ssh(), &odd);
    let error = far.stat(Path::new("/a")).unwrap_err().to_string();
    assert!(error.contains("one"), "{error}");
}

#[test]
fn an_agent_for_one_folder_lets_no_other_file_be_read() {
    let hosts = Hosts::new(QANOPY);
    let home = hosts.home("one");
    let forced = format!(
        "#!/bin/sh\nexport HOME='{0}'\nunset XDG_STATE_HOME\nexec {QANOPY} agent --read-only --restrict '{0}'\n",
        home.display()
    );
    program(&hosts.ssh(), &forced);
    let outside = hosts.path().join("outside");
    fs::write(&outside, "secret").unwrap();
    symlink(&outside, home.join("link")).unwrap();
    symlink(hosts.path(), home.join("up")).unwrap();
    let far = files(&hosts, "one");
    assert!(far.open(&home.join("a.qcow2"), Access::Read).is_ok());
    assert!(far.stat(Path::new("a.qcow2")).is_ok());
    let up = home.join("up");
    for path in [
        &outside,
        &home.join("link"),
        &up.join("outside"),
        &up,
        &home.join("../outside"),
        Path::new("/etc/passwd"),
        Path::new("/"),
    ] {
        let refused = [
            far.open(path, Access::Read).map(drop),
            far.stat(path).map(drop),
            far.stat_link(path).map(drop),
            far.born(path).map(drop),
            far.list_dir(path).map(drop),
            far.space(path).map(drop),
            far.canonical(path).map(drop),
        ];
        for (at, refused) in refused.into_iter().enumerate() {
            let kind = refused.unwrap_err().kind();
            assert_eq!(
                kind,
                ErrorKind::PermissionDenied,
                "{}: {at}",
                path.display()
            );
        }
    }
}
