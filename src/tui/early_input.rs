//! What was typed before the thread that reads keys began, as messages. The little of the language of terminals
//! that people type is read here; whatever else comes that early is none of theirs.

use super::key::{Code, Key};
use super::msg::Msg;

/// What these bytes of the terminal are.
#[must_use]
pub(super) fn messages(bytes: &[u8]) -> Vec<Msg> {
    let mut messages = Vec::new();
    let mut rest = bytes;
    while let Some((msg, after)) = next(rest) {
        messages.extend(msg);
        rest = after;
    }
    messages
}

const PASTE: &[u8] = b"\x1b[200~";
const PASTE_END: &[u8] = b"\x1b[201~";

/// The first of what there is, if it means anything, and what follows it.
fn next(bytes: &[u8]) -> Option<(Option<Msg>, &[u8])> {
    if let Some(rest) = bytes.strip_prefix(PASTE) {
        let end = rest
            .windows(PASTE_END.len())
            .position(|part| part == PASTE_END);
        let (text, rest) = rest.split_at(end.unwrap_or(rest.len()));
        let text = String::from_utf8_lossy(text).into_owned();
        let after = rest.strip_prefix(PASTE_END).unwrap_or_default();
        return Some((Some(Msg::Paste(text)), after));
    }
    match bytes {
        [] => None,
        [0x1b, b'[', rest @ ..] => Some(sequence(rest)),
        [0x1b, b'O', end, rest @ ..] => Some((moved(*end).map(key), rest)),
        [byte @ 0..=0x7f, rest @ ..] => Some((plain(*byte).map(Msg::Key), rest)),
        [..] => {
            let len = bytes
                .utf8_chunks()
                .next()
                .map_or(0, |chunk| chunk.valid().len());
            let text = str::from_utf8(bytes.get(..len).unwrap_or_default());
            let first = text.ok().and_then(|text| text.chars().next());
            let used = first.map_or(1, char::len_utf8);
            let msg = first.map(|c| Msg::Key(Key::char(c)));
            Some((msg, bytes.get(used..).unwrap_or_default()))
        }
    }
}

fn key(code: Code) -> Msg {
    Msg::Key(Key::of(code))
}

/// A byte that is a key by itself.
fn plain(byte: u8) -> Option<Key> {
    Some(match byte {
        b'\r' => Key::of(Code::Enter),
        b'\t' => Key::of(Code::Tab),
        0x1b => Key::of(Code::Esc),
        0x7f => Key::of(Code::Backspace),
        0x01..=0x1a => Key::ctrl(char::from(byte - 1 + b'a')),
        b' '..=b'~' => Key::char(char::from(byte)),
        _ => return None,
    })
}

/// What stands behind `ESC [`, up to the byte that ends it.
fn sequence(rest: &[u8]) -> (Option<Msg>, &[u8]) {
    let Some(end) = rest.iter().position(|byte| matches!(byte, 0x40..=0x7e)) else {
        return (None, &[]);
    };
    let (numbers, after) = rest.split_at(end);
    let (end, after) = after.split_first().unwrap_or((&0, &[]));
    let msg = match (numbers, end) {
        ([], b'I') => Some(Msg::Focus(true)),
        ([], b'O') => Some(Msg::Focus(false)),
        ([], b'Z') => Some(key(Code::BackTab)),
        (b"1" | b"7", b'~') => Some(key(Code::Home)),
        (b"4" | b"8", b'~') => Some(key(Code::End)),
        (b"3", b'~') => Some(key(Code::Delete)),
        (b"5", b'~') => Some(key(Code::PageUp)),
        (b"6", b'~') => Some(key(Code::PageDown)),
        ([], end) => moved(*end).map(key),
        _ => None,
    };
    (msg, after)
}

/// The arrow or end that a letter stands for.
fn moved(end: u8) -> Option<Code> {
    Some(match end {
        b'A' => Code::Up,
        b'B' => Code::Down,
        b'C' => Code::Right,
        b'D' => Code::Left,
        b'H' => Code::Home,
        b'F' => Code::End,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_early_is_what_would_have_been_read_later() {
        let typed = "jé\r\u{1b}[B\u{1b}[I\u{1b}[5~\u{1b}OA\u{4}\u{1b}[<0;3;4M\u{1b}[200~a b\u{1b}[201~q\u{1b}";
        let read: Vec<String> = messages(typed.as_bytes())
            .iter()
            .map(|msg| match msg {
                Msg::Key(key) => key.to_string(),
                Msg::Paste(text) => format!("paste {text}"),
                Msg::Focus(is_there) => format!("focus {is_there}"),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = "j é Enter Down|focus true|PgUp Up Ctrl-d|paste a b|q Esc";
        assert_eq!(read.join(" "), expected.replace('|', " "));
    }

    #[test]
    fn broken_text_ends() {
        assert!(messages(b"\xff\xfe\x1b[12;").is_empty());
    }
}
