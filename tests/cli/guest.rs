//! What is inside images, on the command line: files that differ, are listed, printed, copied out and found. The
//! filesystems are made by their own tools, without root.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::commands::Place;
use crate::schema;
use crate::support::{guest_disks, qemu};

/// The images of [`guest_disks::make`].
fn chain() -> Option<Place> {
    let qemu = qemu()?;
    let place = Place::new();
    guest_disks::make(place.path(), &qemu);
    Some(place)
}

/// Digests of all images.
fn digests(place: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(place)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "qcow2"))
        .map(|path| {
            (
                path.clone(),
                Sha256::digest(fs::read(&path).unwrap()).to_vec(),
            )
        })
        .collect();
    found.sort();
    found
}

#[test]
fn a_diff_names_the_files_and_ends_as_diff_does() {
    let Some(place) = chain() else { return };
    let before = digests(place.path());
    let told = place.q("diff top.qcow2").with(1).out;
    for line in [
        "A  29.3 KiB /home/anna/thesis.odt",
        "D      10 B /home/anna/old",
        "m           /etc/hostname",
        "/etc/fstab",
        "/var/log/messages",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(!told.contains("ssl"), "{told}");
    // Another file has the name of the old one, and is told once.
    assert_eq!(told.matches("/var/log/messages").count(), 1, "{told}");
    // Nothing differs in the layer between, and the root is the base of that.
    place.q("diff middle.qcow2").with(0);
    assert_eq!(place.q("diff --root top.qcow2").with(1).out, told);
    assert_eq!(place.q("diff base.qcow2 top.qcow2").with(1).out, told);
    let quiet = place.q("diff --no-noise --folders top.qcow2").with(1).out;
    assert!(
        quiet.contains("/home/anna: 1 added, 1 deleted") && !quiet.contains("/var"),
        "{quiet}"
    );
    let largest = place.q("diff --sort size top.qcow2").with(1).out;
    assert!(
        largest.lines().nth(1).unwrap().contains("thesis.odt"),
        "{largest}"
    );
    let document = schema::read(&place.q("diff --json top.qcow2").with(1).out);
    let changes = document["result"]["volumes"][0]["changes"]
        .as_array()
        .unwrap();
    let kind = |path: &str| {
        changes
            .iter()
            .find(|one| one["path"] == path)
            .map(|one| one["kind"].clone())
    };
    assert_eq!(kind("/home/anna/thesis.odt").unwrap(), "added");
    assert_eq!(kind("/home/anna/old").unwrap(), "deleted");
    assert_eq!(kind("/etc/hostname").unwrap(), "metadata");
    assert!(document.get("error").is_none());
    place.q("diff base.qcow2").with(2);
    place.q("diff missing.qcow2").with(2);
    assert_eq!(digests(place.path()), before);
}

#[test]
fn the_tree_shows_images_by_what_is_inside_them() {
    let Some(place) = chain() else { return };
    place.q("create empty.qcow2 1G").with(0);
    let before = digests(place.path());
    let found = |filter: &str| {
        let words = ["tree", "--json", "--filter", filter];
        let told = place.run(&words).with(0).result();
        let mut names: Vec<String> = told["images"]
            .as_array()
            .unwrap()
            .iter()
            .map(|image| image["path"].as_str().unwrap())
            .map(|path| path.rsplit('/').next().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    let all = ["base.qcow2", "middle.qcow2", "top.qcow2"];
    // Looked at the first time, known the second.
    for _ in 0..2 {
        assert_eq!(found("os:debian"), all);
    }
    assert_eq!(found("os:bookworm fs:ext4 middle"), ["middle.qcow2"]);
    assert_eq!(found("os:fedora"), [""; 0]);
    let told = place.q("tree --filter hostname:golden").with(0).out;
    assert!(
        told.contains("top.qcow2") && !told.contains("empty.qcow2"),
        "{told}"
    );
    assert_eq!(digests(place.path()), before);
}

#[test]
fn files_of_a_guest_are_listed_printed_copied_out_and_found() {
    let Some(place) = chain() else { return };
    let before = digests(place.path());
    let told = place.q("contents top.qcow2").with(0).out;
    for words in ["Debian GNU/Linux 12 (bookworm)", "golden", "ext4", "system"] {
        assert!(told.contains(words), "{told}");
    }
    let listed = place.q("ls top.qcow2 /etc").with(0).out;
    assert!(
        listed.contains("-rw------- ") && listed.contains(" hostname\n"),
        "{listed}"
    );
    assert_eq!(
        place.q("files -1 top.qcow2 disk:/home/anna").with(0).out,
        "thesis.odt\n"
    );
    assert_eq!(
        place.q("cat top.qcow2 /etc/fstab").with(0).out,
        "the new table\n"
    );
    assert_eq!(
        place.q("cat base.qcow2 /etc/fstab").with(0).out,
        "old table\n"
    );
    let error = place.q("cat top.qcow2 /etc").with(1).err;
    assert!(error.contains("not a regular file"), "{error}");
    let error = place.q("cat top.qcow2 p9:/etc/fstab").with(1).err;
    assert!(error.contains("no volume p9 (disk: ext4)"), "{error}");
    let history = place.q("history top.qcow2 /etc/fstab").with(0).out;
    let lines: Vec<&str> = history.lines().collect();
    assert_eq!(lines.len(), 2, "{history}");
    assert!(
        lines[0].starts_with("modified") && lines[0].ends_with("top.qcow2"),
        "{history}"
    );
    assert!(
        lines[1].starts_with("added") && lines[1].ends_with("base.qcow2"),
        "{history}"
    );
    place.q("history top.qcow2 /no/such").with(3);
    let found = place.q("find --layers top.qcow2 old").with(0).out;
    assert_eq!(
        found,
        "disk:/home/anna/old\n  deleted   top.qcow2\n  added     base.qcow2\n"
    );
    place.q("find top.qcow2 nothing-like-this").with(3);
    fs::create_dir(place.path().join("out")).unwrap();
    place
        .q("extract top.qcow2 /etc /home/anna/thesis.odt --to out")
        .with(0);
    let out = place.path().join("out");
    assert_eq!(fs::read(out.join("etc/fstab")).unwrap(), b"the new table\n");
    assert_eq!(fs::read(out.join("etc/ssl/key")).unwrap(), vec![7; 100_000]);
    assert_eq!(
        fs::read(out.join("thesis.odt")).unwrap(),
        vec![b'x'; 30_000]
    );
    // Nothing is replaced.
    let error = place.q("extract top.qcow2 /etc --to out").with(1).err;
    assert!(
        error.contains("there is a file of that name already"),
        "{error}"
    );
    for command in [
        "contents top.qcow2",
        "explain top.qcow2",
        "files top.qcow2 /etc",
        "cat top.qcow2 /etc/fstab",
        "history top.qcow2 /etc/fstab",
        "find top.qcow2 fstab",
        "find --layers top.qcow2 fstab",
        "extract top.qcow2 /var --to out",
    ] {
        schema::read(&place.q(&format!("{command} --json")).with(0).out);
    }
    assert_eq!(digests(place.path()), before);
}

#[test]
fn what_a_layer_stores_is_explained_and_adds_up() {
    let Some(place) = chain() else { return };
    let told = place.q("explain base.qcow2 --json").with(0).result();
    let of = |key: &str| told[key].as_u64().unwrap();
    let parts = [
        "file-data",
        "metadata",
        "journal",
        "free",
        "swap",
        "outside",
        "unread",
    ];
    assert_eq!(parts.map(of).iter().sum::<u64>(), of("stored"));
    // The key of 100,000 bytes and the small files, in blocks of 1 KiB or 4 KiB; clusters hold more than that.
    assert!(of("file-data") >= 100_000, "{told}");
    assert!(of("metadata") > 0, "{told}");
    assert_eq!((of("swap"), of("unread")), (0, 0), "{told}");
    let words = place.q("explain top.qcow2").with(0).out;
    assert!(words.contains("256 KiB stored by this layer"), "{words}");
}

#[test]
fn a_plan_names_the_files_that_change_or_go() {
    let Some(place) = chain() else { return };
    let told = place.q("commit --into base.qcow2 --siblings break --dry-run top.qcow2");
    let told = told.with(0).out;
    let line = "in guest   5 files change in base.qcow2 (1 added, 1 deleted, 2 changed, 1 in metadata only); largest \
        /home/anna/thesis.odt 29.3 KiB\n";
    assert!(told.contains(line), "{told}");
    let told = place.q("discard --dry-run middle.qcow2").with(0).out;
    assert!(
        told.contains("middle.qcow2 holds no file of its own\n"),
        "{told}"
    );
    assert!(
        told.contains("1 file newer than a week: /home/anna/thesis.odt; 1 is a log"),
        "{told}"
    );
    let document = schema::read(&place.q("revert --dry-run --json top.qcow2").with(0).out);
    let files = &document["result"]["plan"]["guest-files"];
    assert_eq!(files.as_array().unwrap().len(), 1, "{files}");
    let of = |key: &str| files[0][key].clone();
    assert_eq!(
        (of("fate"), of("not-known")),
        ("go".into(), serde_json::Value::Null)
    );
    let numbers = [
        "added",
        "changed",
        "deleted",
        "renamed",
        "metadata",
        "noise",
        "newer-than-a-week",
    ];
    assert_eq!(
        numbers.map(|key| of(key).as_u64().unwrap()),
        [1, 2, 1, 0, 1, 1, 1]
    );
    assert_eq!(of("newest")["path"], "/home/anna/thesis.odt");
    assert_eq!(of("largest")["bytes"], 30_000);
    // Nothing is looked at for a plan that nobody is shown, and it does the same.
    place.q("discard --yes top.qcow2").with(0);
}

#[test]
fn what_was_found_inside_is_told_until_it_is_forgotten() {
    let Some(place) = chain() else { return };
    for name in ["base.qcow2", "middle.qcow2", "top.qcow2"] {
        let file = fs::File::options()
            .write(true)
            .open(place.path().join(name));
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        file.unwrap().set_modified(then).unwrap();
    }
    let told = |command: &str| schema::read(&place.q(command).with(0).out)["result"].clone();
    let nothing = told("tree --json");
    assert!(nothing["images"][0].get("inside").is_none(), "{nothing}");
    // As the screen does for a filter.
    let options = qanopy::forest::ScanOptions {
        roots: vec![place.path().to_path_buf()],
        follow: false,
        raw: false,
    };
    let host: std::sync::Arc<dyn qanopy::host::Host> = std::sync::Arc::new(qanopy::host::RealHost);
    let (forest, _) = qanopy::forest::scan_all(std::sync::Arc::clone(&host), options);
    let state = place.state_dir();
    let context = qanopy::ops::Context {
        forest: std::sync::Arc::new(forest),
        ..qanopy::ops::Context::nowhere(host, Some(state))
    };
    qanopy::ops::insides(
        &context,
        &mut Default::default(),
        &qanopy::inside::Until::as_long_as(|| true),
        &mut |_, _, _| {},
    );
    let images = told("tree --json");
    let images = images["images"].as_array().unwrap();
    assert_eq!(images.len(), 3);
    for image in images {
        assert_eq!(image["inside"]["system"]["id"], "debian", "{image}");
        assert_eq!(
            image["inside"]["filesystems"][0]["label"], "system",
            "{image}"
        );
    }
    assert_eq!(
        told("info --json --chain top.qcow2")[0]["inside"]["system"]["hostname"],
        "golden"
    );
    let info = place.q("info --chain top.qcow2").with(0).out;
    assert!(
        info.contains("Debian GNU/Linux 12 (bookworm), hostname golden"),
        "{info}"
    );
    place.q("index forget --all").with(0);
    assert_eq!(told("tree --json"), nothing);
}

#[test]
fn one_file_is_compared_as_diff_does() {
    let place = Place::new();
    guest_disks::make_two(place.path());
    let diff = |file: &str| format!("diff old.img new.img --file {file}");
    let told = place.q(&diff("/etc/table")).with(1).out;
    let lines: Vec<&str> = told.lines().collect();
    let from = lines
        .iter()
        .position(|line| line.starts_with("---"))
        .unwrap();
    assert_eq!(
        lines[from..],
        [
            "--- old.img:disk:/etc/table",
            "+++ new.img:disk:/etc/table",
            "@@ -1,3 +1,4 @@",
            " one",
            "-two",
            "+2",
            " three",
            "+four",
            "\\ No newline at end of file",
        ]
    );
    assert!(lines[..from].contains(&"size      14 B -> 16 B"), "{told}");
    // No name and no content acts on a terminal.
    let listed = place.q("files -1 new.img /").with(0).out;
    assert!(!listed.contains('\u{1b}'), "{listed}");
    let evil = place.run(&["diff", "old.img", "new.img", "--file", "/evil\u{1b}[2J"]);
    let evil = evil.with(1).out;
    assert!(
        !evil.contains('\u{1b}') && !evil.contains('\u{7}'),
        "{evil}"
    );
    assert!(evil.contains("+\\u{1b}]0;own\\u{7}"), "{evil}");
    for (file, words) in [
        ("/binary", "Binary files differ, from byte 0 on."),
        ("/long", "Binary files differ, from byte 1,200,000 on."),
        ("/link", "target    etc/table -> /etc/other"),
        ("/kind", "type      file -> folder"),
        ("/added", "It is not in old.img."),
        ("/added", "--- /dev/null"),
    ] {
        let told = place.q(&diff(file)).with(1).out;
        assert!(told.contains(words), "{file}: {told}");
    }
    let error = place.q(&diff("/nowhere")).with(2).err;
    assert!(error.contains("no such file"), "{error}");
    place.q(&diff("p7:/etc/table")).with(2);
    // What is in one state alone is told of both ways.
    let told = place.q("diff new.img old.img --file /added").with(1).out;
    assert!(
        told.contains("+++ /dev/null") && told.contains("-new"),
        "{told}"
    );
    let document = schema::read(&place.q(&diff("/etc/table --json")).with(1).out);
    let file = &document["result"]["file"];
    assert_eq!(file["content"], "text");
    assert_eq!(file["before"]["size"], 14);
    assert!(
        file["diff"].as_str().unwrap().contains("\n+four\n"),
        "{file}"
    );
    let document = schema::read(&place.q(&diff("/binary --json")).with(1).out);
    assert_eq!(document["result"]["file"]["first-difference"], 0);
    let document = schema::read(&place.q(&diff("/added --json")).with(1).out);
    assert!(document["result"]["file"]["before"].is_null());
}

#[test]
fn one_file_of_an_overlay_is_compared_with_its_base() {
    let Some(place) = chain() else { return };
    let before = digests(place.path());
    let told = place.q("diff top.qcow2 --file /etc/fstab").with(1).out;
    for line in [
        "--- middle.qcow2:disk:/etc/fstab",
        "+++ top.qcow2:disk:/etc/fstab",
        "-old table",
        "+the new table",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    let told = place.q("diff top.qcow2 --file /etc/hostname").with(1).out;
    assert!(
        told.contains("mode      -rw-r--r-- -> -rw-------"),
        "{told}"
    );
    assert!(told.contains("The content is the same."), "{told}");
    let told = place.q("diff top.qcow2 --file /etc/ssl/key").with(0).out;
    assert_eq!(told, "Nothing differs.\n");
    place.q("diff middle.qcow2 --file /etc/fstab").with(0);
    assert_eq!(digests(place.path()), before);
}

/// As [`chain`], with `sealed.raw`, in which the guest encrypted what the base shows, and `over.qcow2` on it, which
/// holds what the top shows. The passphrase is in `word`.
fn sealed_chain() -> Option<Place> {
    let qemu = qemu()?;
    let place = chain()?;
    let qemu = qemu.within(place.path());
    fs::write(place.path().join("word"), "open sesame").unwrap();
    fs::write(place.path().join("other"), "open barley").unwrap();
    let secret = "secret,id=s,file=word";
    let options = "key-secret=s,iter-time=10";
    qemu.img(&[
        "convert",
        "-q",
        "-O",
        "luks",
        "--object",
        secret,
        "-o",
        options,
        "base.qcow2",
        "sealed.raw",
    ]);
    qemu.img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-b",
        "sealed.raw",
        "-F",
        "raw",
        "over.qcow2",
    ]);
    let target = "driver=luks,key-secret=s,file.driver=qcow2,file.file.driver=file,file.file.filename=over.qcow2";
    qemu.img(&[
        "convert",
        "-q",
        "-n",
        "--object",
        secret,
        "--target-image-opts",
        "top.qcow2",
        target,
    ]);
    Some(place)
}

#[test]
fn volumes_that_the_guest_encrypted_are_read_by_their_passphrase() {
    let Some(place) = sealed_chain() else { return };
    let told = place.q("contents over.qcow2").with(0).out;
    assert!(
        told.contains("LUKS1, encrypted: its passphrase is needed")
            && told.contains("disk: --passphrase-file FILE gives it"),
        "{told}"
    );
    let error = place.q("cat over.qcow2 disk:/etc/fstab").with(1).err;
    assert!(
        error.contains("disk: LUKS1, encrypted") && error.contains("--passphrase-file"),
        "{error}"
    );
    let wrong = place
        .q("contents over.qcow2 --passphrase-file other")
        .with(0)
        .out;
    assert!(
        wrong.contains("the passphrase that was given does not open it"),
        "{wrong}"
    );
    let diff = place.q("diff over.qcow2").with(1);
    assert!(
        diff.out.contains("files not compared: LUKS1, encrypted")
            && diff.err.contains("could not be compared"),
        "{}{}",
        diff.out,
        diff.err
    );

    let told = place
        .q("contents over.qcow2 --passphrase-file word")
        .with(0)
        .out;
    assert!(
        told.contains("ext4 in LUKS1") && told.contains("Debian GNU/Linux 12"),
        "{told}"
    );
    let read = place
        .q("cat over.qcow2 /etc/fstab --passphrase-file over.qcow2=word")
        .with(0)
        .out;
    assert_eq!(read, "the new table\n");
    let diff = place
        .q("diff over.qcow2 --passphrase-file word")
        .with(1)
        .out;
    let open = place.q("diff top.qcow2").with(1).out;
    // The same files as without encryption; how many bytes are stored anew is the encryption's doing.
    assert_eq!(
        diff.lines().skip(1).collect::<Vec<_>>(),
        open.lines().skip(1).collect::<Vec<_>>()
    );
    let history = place
        .q("history over.qcow2 /etc/fstab --passphrase-file word")
        .with(0)
        .out;
    assert!(
        history.starts_with("modified") && history.contains("added"),
        "{history}"
    );
    for command in ["contents", "explain", "diff"] {
        let line = format!("{command} over.qcow2 --json --passphrase-file word");
        let code = i32::from(command == "diff");
        schema::read(&place.q(&line).with(code).out);
    }
    let document = place.q("contents over.qcow2 --json").with(0).result();
    assert_eq!(document["volumes"][0]["encryption"], "LUKS1");
    assert_eq!(document["volumes"][0]["is-locked"], true);
}

#[test]
fn deleted_data_is_told_and_given_back() {
    let Some(qemu) = qemu() else { return };
    let place = Place::new();
    guest_disks::make_with_deleted(place.path(), &qemu);
    let told = place.q("explain deleted.qcow2 --json").with(0);
    schema::read(&told.out);
    let gives_back = told.result()["gives-back"].clone();
    let bytes = gives_back["trim"].as_u64().unwrap();
    assert!(bytes > 1_500_000, "{gives_back}");
    assert_eq!(
        (&gives_back["squash"], &gives_back["dedupe"]),
        (&0.into(), &0.into())
    );
    let words = place.q("explain deleted.qcow2").with(0).out;
    assert!(
        words.contains("qanopy trim") && words.contains("was deleted in its guest"),
        "{words}"
    );
    let space = place.q("space --read .").with(0).out;
    assert!(
        space.contains("DELETED") && space.contains("qanopy trim"),
        "{space}"
    );
    let planned = place.q("trim deleted.qcow2 -n --json").with(0);
    schema::read(&planned.out);
    assert_eq!(planned.result()["plan"]["frees"], bytes, "{}", planned.out);
    let before = digests(place.path());
    // What is lost for good asks for a number.
    place.q("trim deleted.qcow2 -y").with(4);
    assert_eq!(digests(place.path()), before);
    let kept = place.q("cat deleted.qcow2 /kept").with(0).out;
    schema::read(&place.q("trim deleted.qcow2 --confirm 1 --json").with(0).out);
    assert_eq!(place.q("cat deleted.qcow2 /kept").with(0).out, kept);
    assert_eq!(
        place.q("explain deleted.qcow2 --json").with(0).result()["gives-back"]["trim"],
        0
    );
    // There is nothing left to do, which is no failure.
    place.q("trim deleted.qcow2").with(0);
}
