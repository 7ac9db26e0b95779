//! What is told of arguments that cannot be read, and the help that is asked for instead of a command.

use std::env::args_os;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};

use crate::host::printable;

use super::envelope::Document;
use super::exit::{self, Stop};
use super::output::{self, Out};
use super::{json, program};

/// Says what is wrong with the arguments, none of which reaches the terminal as it is. Also help and
/// version, which go to standard output. A reader that left is no failure.
pub(super) fn end(told: clap::Error) -> ExitCode {
    let code = ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(2));
    if !told.use_stderr() {
        let _ = told.print();
        return code;
    }
    let is_odd = |arg: &OsString| arg.to_str().is_none_or(|text| printable(text) != text);
    let has_odd = args_os().any(|arg| is_odd(&arg));
    let told = if has_odd { made_printable(told) } else { told };
    let text = told.render().to_string();
    let _ = out().end(Some(json::error("usage", &sentence(&text), None, &[], &[])));
    if has_odd {
        output::complain(text.trim_end());
    } else {
        let _ = told.print();
    }
    code
}

/// Ends with this sentence about the arguments.
pub(super) fn end_with(text: &str) -> ExitCode {
    exit::end(&mut out(), Err(Stop::Usage(text.to_owned()).into()))
}

/// Standard output: a document if JSON is asked for, as far as that can be told of arguments that make no sense
/// together.
fn out() -> Out {
    let arguments: Vec<OsString> = args_os().collect();
    let mut options = arguments.iter().take_while(|arg| *arg != "--");
    let is_json = options.any(|arg| arg == "--json");
    Out::new(is_json.then(|| Document::of(&program(), &arguments)))
}

/// What is wrong, without the advice after it.
fn sentence(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let lines: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
    let sentence = lines.join(" ");
    sentence
        .strip_prefix("error: ")
        .map_or_else(|| sentence.clone(), ToOwned::to_owned)
}

fn made_printable(mut told: clap::Error) -> clap::Error {
    let mut safe = Vec::new();
    for (kind, value) in told.context() {
        let value = match value {
            ContextValue::String(text) => ContextValue::String(printable(text)),
            ContextValue::Strings(all) => {
                ContextValue::Strings(all.iter().map(printable).collect())
            }
            _ => continue,
        };
        safe.push((kind, value));
    }
    for (kind, value) in safe {
        told.insert(kind, value);
    }
    // Advice that repeats an argument: it is laid out already.
    told.remove(ContextKind::Suggested);
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_ends_where_the_advice_begins() {
        let text = "error: these are missing:\n  <IMAGE>\n\nUsage: qanopy info <IMAGE>\n";
        assert_eq!(sentence(text), "these are missing: <IMAGE>");
    }
}
