//! Names made safe for a terminal, and for a shell. A file name, or a string out of an image, may
//! hold any byte; nothing of it reaches a terminal without passing here.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

/// The name with everything escaped that is not plainly visible: control characters (C0, DEL, C1),
/// what changes the direction of text, zero-width characters, line and paragraph separators, and
/// bytes that are no UTF-8. Escapes look like `\n`, `\u{1b}`, `\xff`. For people: a backslash stays
/// as it is, so the way back is ambiguous.
#[must_use]
pub fn printable(name: impl AsRef<OsStr>) -> String {
    printable_bytes(name.as_ref().as_bytes())
}

/// [`printable`] for bytes, such as a string out of an image.
#[must_use]
pub fn printable_bytes(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                c if misleads(c) => {
                    push_escaped(&mut text, format_args!("\\u{{{:x}}}", u32::from(c)))
                }
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            push_escaped(&mut text, format_args!("\\x{byte:02x}"));
        }
    }
    text
}

/// Text of several lines for a terminal: [`printable`] but for the line ends. The last filter, for what
/// others have worded; a name is made printable where it is put into a sentence.
#[must_use]
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    let acts = |c: char| c != '\n' && misleads(c);
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let lines: Vec<String> = text.split('\n').map(printable).collect();
    Cow::Owned(lines.join("\n"))
}

/// The name as one word of a POSIX shell, for a command that a person may copy. Names with
/// characters that [`printable`] would escape come as `$'...'`, which bash, zsh and ksh read back
/// exactly.
#[must_use]
pub fn shell_quoted(name: impl AsRef<OsStr>) -> String {
    let name = name.as_ref().as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%=".contains(byte);
    let text = str::from_utf8(name).ok();
    match text {
        Some(text) if !text.is_empty() && name.iter().all(plain) => text.to_owned(),
        Some(text) if !text.chars().any(misleads) => {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
        _ => ansi_c_quoted(name),
    }
}

/// `$'...'` with octal escapes, which (unlike hexadecimal ones) end by themselves after three
/// digits.
fn ansi_c_quoted(name: &[u8]) -> String {
    let mut text = String::from("$'");
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' | '\'' => {
                    text.push('\\');
                    text.push(c);
                }
                '\n' => text.push_str("\\n"),
                c if misleads(c) => {
                    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                        push_escaped(&mut text, format_args!("\\{byte:03o}"));
                    }
                }
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            push_escaped(&mut text, format_args!("\\{byte:03o}"));
        }
    }
    text.push('\'');
    text
}

fn push_escaped(text: &mut String, escape: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = text.write_fmt(escape);
}

/// Whether a character acts on the terminal, or hides or reorders what stands around it.
#[must_use]
pub fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' // soft hyphen
            | '\u{34f}' // combining grapheme joiner
            | '\u{61c}' // Arabic letter mark
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // blank Hangul letters
            | '\u{180b}'..='\u{180f}' // Mongolian selectors and separators
            | '\u{200b}'..='\u{200f}' // zero-width characters, direction marks
            | '\u{2028}'..='\u{202e}' // line and paragraph separators, direction overrides
            | '\u{2060}'..='\u{206f}' // invisible operators, isolates, deprecated format characters
            | '\u{feff}' // byte order mark
            | '\u{fff9}'..='\u{fffb}' // interlinear annotations
            | '\u{1d173}'..='\u{1d17a}' // musical formatting
            | '\u{e0000}'..='\u{e0fff}' // tags, further variation selectors
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn ordinary_names_stay_as_they_are() {
        for name in ["base.qcow2", "Büro \u{1f5a5}.img", "日本語", "a\\b c'd"] {
            assert_eq!(printable(name), name);
        }
    }

    #[test]
    fn escape_sequences_and_line_breaks_are_shown_not_sent() {
        assert_eq!(
            printable("a\u{1b}[31m\nb\tc\rd\u{7f}\u{9b}e"),
            "a\\u{1b}[31m\\nb\\tc\\rd\\u{7f}\\u{9b}e"
        );
    }

    #[test]
    fn direction_overrides_and_invisible_characters_are_shown() {
        assert_eq!(
            printable("a\u{202e}gmi\u{2066}.x"),
            "a\\u{202e}gmi\\u{2066}.x"
        );
        assert_eq!(
            printable("a\u{200b}b\u{feff}c\u{2028}"),
            "a\\u{200b}b\\u{feff}c\\u{2028}"
        );
    }

    #[test]
    fn bytes_that_are_no_utf8_are_shown_one_by_one() {
        assert_eq!(
            printable_bytes(b"a\xff\xc3.b\xe2\x82"),
            "a\\xff\\xc3.b\\xe2\\x82"
        );
        assert_eq!(printable_bytes(b"\xc2\x9b"), "\\u{9b}");
    }

    #[test]
    fn no_name_of_two_bytes_brings_out_a_control_character() {
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                let text = printable_bytes(&[first, second]);
                assert!(!text.chars().any(misleads), "{first:#x} {second:#x}");
            }
        }
    }

    #[test]
    fn a_shell_reads_back_the_very_bytes() {
        let names: [&[u8]; 9] = [
            b"plain-1.qcow2",
            b"",
            b"with space $HOME `x` \\ \"",
            b"it's",
            "Büro".as_bytes(),
            b"line\nbreak'\\",
            b"\x1b[31m1",
            b"\xff\xfe7",
            "a\u{202e}b".as_bytes(),
        ];
        for name in names {
            let word = shell_quoted(std::ffi::OsString::from_vec(name.to_vec()));
            assert!(!word.chars().any(misleads), "{word:?}");
            let output = std::process::Command::new("bash")
                .args(["-c", &format!("printf %s {word}")])
                .output()
                .unwrap();
            assert_eq!(output.stdout, name, "{word}");
        }
    }
}
