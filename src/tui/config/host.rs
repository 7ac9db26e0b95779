//! `[[host]]` of the configuration: how a host is reached, where its images are, which groups it is in.

use std::fmt::Write as _;

use crate::fleet::{HostEntry, address};

use super::toml_text::quoted;

/// The lines that one has.
pub(super) const LINES: [&str; 7] = ["name", "address", "ssh", "run", "dirs", "groups", "agent"];

/// Puts a line's texts where they belong.
///
/// # Errors
/// Why they mean nothing there.
pub(super) fn put(entry: &mut HostEntry, line: &str, texts: Vec<String>) -> Result<(), String> {
    let one = |texts: Vec<String>| match <[String; 1]>::try_from(texts) {
        Ok([text]) if !text.is_empty() => Ok(text),
        _ => Err(format!("{line} is one text")),
    };
    let words = |texts: Vec<String>| match texts.as_slice() {
        // A whole command line in one text is meant word by word.
        [line] => line.split_whitespace().map(str::to_owned).collect(),
        _ => texts,
    };
    match line {
        "name" => {
            let name = one(texts)?;
            let typed = format!("{name}:");
            let is_host = address(typed.as_ref()).is_some_and(|found| found.group().is_none());
            if !is_host {
                return Err(format!("{name:?} cannot be typed as a host"));
            }
            entry.name = name;
        }
        "address" => {
            let given = one(texts)?;
            if given.starts_with('-') {
                return Err("an address begins with no hyphen".to_owned());
            }
            entry.address = Some(given);
        }
        "ssh" => entry.ssh = words(texts),
        "run" => entry.run = words(texts),
        "dirs" => entry.dirs = texts,
        "groups" => entry.groups = texts,
        "agent" => {
            let agent = one(texts)?;
            if !HostEntry::is_agent(&agent) {
                return Err("agent is a program there: letters, digits and ./_~- only".to_owned());
            }
            entry.agent = Some(agent);
        }
        _ => {}
    }
    Ok(())
}

/// The hosts as lines of the file.
pub(super) fn print(out: &mut String, hosts: &[HostEntry]) {
    out.push_str(
        "\n# Other machines, named as HOST:PATH; one that ssh knows needs no lines here. address is what ssh is given\n\
         # for it; ssh are other words for ssh; run are words before the words that are run there, in place of ssh;\n\
         # dirs are its folders of images, groups are what @GROUP stands for; agent is a qanopy installed there.\n",
    );
    if hosts.is_empty() {
        out.push_str(
            "# [[host]]\n# name = \"web\"\n# address = \"root@web.example\"\n# ssh = [\"ssh\", \"-p\", \"2222\"]\n\
             # dirs = [\"/var/lib/libvirt/images\"]\n# groups = [\"lab\"]\n",
        );
    }
    for host in hosts {
        out.push_str("[[host]]\n");
        let one = |text: &Option<String>| text.clone().into_iter().collect::<Vec<_>>();
        for (line, texts, is_list) in [
            ("name", vec![host.name.clone()], false),
            ("address", one(&host.address), false),
            ("ssh", host.ssh.clone(), true),
            ("run", host.run.clone(), true),
            ("dirs", host.dirs.clone(), true),
            ("groups", host.groups.clone(), true),
            ("agent", one(&host.agent), false),
        ] {
            let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
            let _ = match (texts.is_empty(), is_list) {
                (true, _) => Ok(()),
                (false, true) => writeln!(out, "{line} = [{}]", texts.join(", ")),
                (false, false) => writeln!(out, "{line} = {}", texts.join("")),
            };
        }
    }
}
