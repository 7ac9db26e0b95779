use std::path::{Path, PathBuf};

use super::*;
use crate::tui::actions::Action;
use crate::tui::key::Key;
use crate::tui::theme::{Role, Theme};

fn read(text: &str) -> (Config, Vec<Warning>) {
    Config::read(text, Some(Path::new("/home/me")))
}

#[test]
fn an_empty_file_is_the_defaults() {
    let (config, warnings) = read("");
    assert_eq!(warnings, []);
    assert!(config.mouse && config.watch && config.roots.is_empty());
}

#[test]
fn a_role_is_also_known_by_the_name_it_had_before() {
    let (config, warnings) = read("[style]\nlocked = \"magenta\"\n");
    let told: Vec<_> = warnings.iter().map(|warning| &warning.text).collect();
    assert_eq!(
        told,
        ["the role locked is called in-use now: write in-use here"]
    );
    let colour = |config: &Config| config.theme_on(None).style(Role::InUse).fg;
    assert_eq!(colour(&config), Some(ratatui::style::Color::Magenta));
    assert!(config.print().contains("\nin-use = \"magenta\"\n"));
    let both = "[style]\nlocked = \"magenta\"\nin-use = \"green\"\n";
    let (config, _) = read(both);
    assert_eq!(colour(&config), Some(ratatui::style::Color::Green));
    assert_eq!(read(&config.print()).1, [], "what is printed can be read");
}

#[test]
fn what_is_set_holds() {
    let (config, warnings) = read(
        r#"
roots = ["~/vm", "/srv/images"]
read_only = true
ascii = "auto"
sort = "size"
theme = "dark"
prune_days = 7
notify = "osc9"
machine.template = ["qemu", "{disk}"]
notify_after = 0
[style]
error = "magenta bold"
[keys]
commit = ["K", "Ctrl-k"]
[[command]]
key = "!b"
title = "boot"
run = "qemu-system-x86_64 -snapshot '{path}' -name 'a b'"
as = "job"
confirm = true
"#,
    );
    assert_eq!(warnings, []);
    assert_eq!(
        config.roots,
        [PathBuf::from("/home/me/vm"), PathBuf::from("/srv/images")]
    );
    assert!(config.read_only);
    assert_eq!(config.sort, Sort::Size);
    assert_eq!(config.prune_days, 7);
    assert_eq!(config.template, ["qemu", "{disk}"]);
    assert_eq!(config.notices.by, NoticeBy::Osc9);
    assert_eq!(config.notices.after, 0);
    assert_eq!(
        config.theme_on(None).style(Role::Error).fg,
        Some(ratatui::style::Color::Magenta)
    );
    assert_eq!(
        config.keymap.action::<Action>(Key::ctrl('k')),
        Some(Action::Commit)
    );
    assert_eq!(config.keymap.action::<Action>(Key::char('C')), None);
    let command = config.commands.first().expect("a command");
    assert_eq!(command.key, Some(Key::char('b')));
    assert_eq!(command.place, CommandOutput::Job);
    let fill = Fill {
        path: "/vm/a b.qcow2".into(),
        ..Fill::default()
    };
    assert_eq!(
        command.filled(&fill),
        [
            "qemu-system-x86_64",
            "-snapshot",
            "/vm/a b.qcow2",
            "-name",
            "a b"
        ]
    );
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_the_rest_holds() {
    let (config, warnings) = read(
        "moose = true\nread_only = 1\n\n[keys]\ncomit = \"K\"\ndiscard = \"Alt-x\"\nplan-yes = \"j\"\nmark = \"K\"\nsort = \"K\"\n[[command]]\ntitle = \"t\"\n[style]\nerror = \"reddish\"\n",
    );
    let lines: Vec<usize> = warnings.iter().map(|warning| warning.line).collect();
    assert_eq!(lines, [1, 2, 5, 6, 7, 9, 10, 13], "{warnings:?}");
    assert!(
        warnings[0].text.contains("did you mean \"mouse\""),
        "{}",
        warnings[0].text
    );
    assert!(
        warnings[2].text.contains("did you mean \"commit\""),
        "{}",
        warnings[2].text
    );
    assert_eq!(
        config.keymap.action::<Action>(Key::char('K')),
        Some(Action::Mark)
    );
}

#[test]
fn a_line_about_read_only_that_cannot_be_read_means_read_only() {
    for (text, is_on) in [
        ("read_only = ture\n", true),
        ("read_only = 1\n", true),
        ("roots = [\nread_only = true\n", true),
        ("[keys]\nread_only = true\n", true),
        ("read_only\n", true),
        ("[keys]\nread_only = false\n", false),
        ("read_only = false\n[keys]\nread_only = 1\n", false),
        ("# read_only = true\n", false),
    ] {
        let (config, warnings) = read(text);
        assert_eq!(config.read_only, is_on, "{text}: {warnings:?}");
        assert_eq!(
            warnings
                .iter()
                .any(|warning| warning.text.contains("nothing is changed")),
            is_on,
            "{text}: {warnings:?}"
        );
    }
}

#[test]
fn a_file_that_is_no_toml_is_told_and_what_can_be_read_of_it_holds() {
    let (_, warnings) = read("mouse = false\nroots = [\n");
    assert!(!warnings.is_empty());
}

#[test]
fn what_is_printed_reads_as_the_same() {
    let text = "theme = \"light\"\nroots = [\"/a \\\"b\\\"\"]\n[style]\nerror = \"red\"\n[keys]\ncommit = \"K\"\n[[command]]\nkey = \"!c\"\nrun = \"ls -l {marked}\"\n";
    let (config, warnings) = read(text);
    assert_eq!(warnings, []);
    let printed = config.print();
    let (again, warnings) = read(&printed);
    assert_eq!(warnings, [], "{printed}");
    assert_eq!(again.print(), printed);
    assert_eq!(again.commands, config.commands);
    assert_eq!(again.roots, config.roots);
    assert_eq!(again.theme, Some("light"));
}

#[test]
fn the_ground_chooses_the_theme_unless_one_is_named() {
    let looks = |text: &str, is_light| {
        let (config, warnings) = read(text);
        assert_eq!(warnings, []);
        config.theme_on(is_light).style(Role::Error)
    };
    let named = |name| Theme::named(name).unwrap().style(Role::Error);
    for text in ["", "theme = \"auto\"\n"] {
        assert_eq!(looks(text, Some(true)), named("light"));
        assert_eq!(looks(text, Some(false)), named("dark"));
        assert_eq!(looks(text, None), named("ansi"));
    }
    assert_eq!(looks("theme = \"ansi\"\n", Some(true)), named("ansi"));
    let own = "[style]\nerror = \"magenta\"\n";
    assert_eq!(looks(own, Some(true)), looks(own, None));
    let (config, _) = read("ask_terminal = false\n");
    assert!(!config.ask_terminal);
}

#[test]
fn a_commands_words_are_split_as_a_shell_would() {
    let words = |run| OwnCommand::words(run);
    assert_eq!(
        words("a  'b c' \"d\\\"e\" f\\ g ''").unwrap(),
        ["a", "b c", "d\"e", "f g", ""]
    );
    assert!(words("  ").is_err());
    assert!(words("a 'b").is_err());
    assert!(words("ls --of={chain}").is_err());
}

fn own(run: &str) -> OwnCommand {
    OwnCommand {
        key: None,
        title: String::new(),
        words: OwnCommand::words(run).unwrap(),
        run: run.to_owned(),
        place: CommandOutput::Screen,
        confirm: false,
    }
}

#[test]
fn a_line_in_which_a_name_would_be_read_as_more_than_a_name_is_refused() {
    for line in [
        "{path}",
        "sh -c {path}",
        "sudo bash -ec {path}",
        "python3 -c {path}",
        "env -S {path}",
        "sh -c {chain}",
        "su -c {path}",
        "sh -c 'ls \"{path}\"'",
        "sh -c \"ls '{path}'\"",
        "sh -c 'ls `stat {path}`'",
        "sh -c 'echo ${path}'",
        "sh -c 'true # {path}'",
        "sh -c 'cat <<E\n{path}\nE'",
        "sh -c 'eval ls {path}'",
        "sh -c 'ssh host ls {path}'",
        "sh -c 'echo \\{path}'",
        "python3 -c 'print(\"{path}\")'",
        "perl -e unlink({path})",
        "awk 'BEGIN{system(\"{path}\")}'",
        "fish -c 'ls {path}'",
        "qemu-img info 'json:{\"filename\":\"{path}\"}'",
        "sh -c 'ls {chain}'",
    ] {
        assert!(OwnCommand::words(line).is_err(), "{line}");
    }
    let (config, warnings) =
        read("[[command]]\nkey = \"!b\"\nrun = \"sh -c 'echo \\\"{path}\\\"'\"\n");
    assert!(config.commands.is_empty());
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

#[test]
fn a_name_inside_a_word_stays_one_word_for_whoever_reads_it() {
    use std::os::unix::ffi::OsStringExt;
    let dir = tempfile::tempdir().unwrap();
    let names: [&[u8]; 6] = [
        b"a b; touch bad; $(touch bad) `touch bad`",
        b"it's'; touch bad; '",
        b"x\ntouch bad\n",
        b"\x1b\\'; touch bad; \\'",
        b"\xff\"; touch bad; \"",
        b"-rf",
    ];
    for name in names {
        let path = dir.path().join(std::ffi::OsString::from_vec(name.to_vec()));
        let fill = Fill {
            path: path.clone(),
            ..Fill::default()
        };
        for line in [
            "sh -c 'printf %s {path}'",
            "bash -c 'printf %s$(printf %s {path}) \"\"'",
            "sh -c 'printf %s \"$1\"' sh {path}",
        ] {
            let words = own(line).filled(&fill);
            let output = std::process::Command::new(&words[0])
                .args(&words[1..])
                .current_dir(dir.path())
                .output()
                .unwrap();
            assert!(!dir.path().join("bad").exists(), "{line} {path:?}");
            if !line.contains("$(") {
                assert_eq!(output.stdout, path.as_os_str().as_encoded_bytes(), "{line}");
            }
        }
    }
    let fill = Fill {
        path: "/a,file=/etc/shadow".into(),
        ..Fill::default()
    };
    assert_eq!(
        own("sudo qemu-system-x86_64 -drive file={path},if=virtio").filled(&fill)[3],
        "file=/a,,file=/etc/shadow,if=virtio"
    );
    assert_eq!(
        own("x --of={path}").filled(&fill)[1],
        "--of=/a,file=/etc/shadow"
    );
    assert_eq!(
        own("ssh host ls {path}").filled(&fill)[3],
        "'/a,file=/etc/shadow'"
    );
}

#[test]
fn a_list_of_files_becomes_a_word_each() {
    let command = OwnCommand {
        key: None,
        title: String::new(),
        words: OwnCommand::words("du {chain} {marked}").unwrap(),
        run: String::new(),
        place: CommandOutput::Screen,
        confirm: false,
    };
    let fill = Fill {
        path: "/a".into(),
        chain: vec!["/a".into(), "/b".into()],
        marked: vec!["/c $(d)".into()],
    };
    assert_eq!(command.filled(&fill), ["du", "/a", "/b", "/c $(d)"]);
}

#[test]
fn hosts_are_read_printed_and_read_again_and_what_is_wrong_with_one_is_told() {
    let text = "[[host]]\nname = \"web\"\naddress = \"root@web.example\"\nssh = \"ssh -p 2222\"\n\
                dirs = [\"/a\", \"/b c\"]\ngroups = [\"lab\"]\nagent = \"qanopy\"\n";
    let (config, warnings) = read(text);
    assert_eq!(warnings, []);
    assert_eq!(config.hosts[0].ssh, ["ssh", "-p", "2222"]);
    assert_eq!(config.hosts[0].dirs, ["/a", "/b c"]);
    assert_eq!(read(&config.print()).0.hosts, config.hosts);
    for wrong in [
        "name = \"-oProxyCommand\"",
        "name = \"a b\"",
        "name = \"a\"\nagent = \"x; y\"",
        "name = \"a\"\naddress = \"-x\"",
        "name = \"a\"\ncolour = 3",
        "dirs = []",
    ] {
        let (_, warnings) = read(&format!("[[host]]\n{wrong}\n"));
        assert!(!warnings.is_empty(), "{wrong}");
    }
}
