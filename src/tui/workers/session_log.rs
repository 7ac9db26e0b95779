//! The session's log on the disk.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use crossbeam_channel::{Receiver, Sender};

use crate::tui::log::LogLine;
use crate::units;

/// What the thread that writes the session's log is told.
pub(super) enum ToLog {
    Lines(Vec<LogLine>),
    /// Whoever waits for what came before: dropped when that is written.
    Done(Sender<()>),
}

/// A log that has grown beyond this begins anew; the one before is kept.
const LOG_BYTES: u64 = 2 << 20;

/// Writes the log's lines to `session.log`, for as long as there are any. A log that cannot be written
/// keeps nobody from anything.
pub(super) fn write_log(dir: &Path, to_log: &Receiver<ToLog>) {
    let path = dir.join("session.log");
    for told in to_log {
        let lines = match told {
            ToLog::Lines(lines) => lines,
            ToLog::Done(done) => {
                drop(done);
                continue;
            }
        };
        let _ = fs::create_dir_all(dir);
        if fs::metadata(&path).is_ok_and(|stat| stat.len() > LOG_BYTES) {
            let _ = fs::rename(&path, dir.join("session.log.old"));
        }
        let file = fs::OpenOptions::new().create(true).append(true).open(&path);
        let Ok(mut file) = file else { continue };
        let mut text = String::new();
        for line in lines {
            let job = line
                .job
                .map_or_else(String::new, |job| format!(" job {job}"));
            text.push_str(&format!(
                "{}{job} {}{}\n",
                units::utc(line.at),
                line.kind.sign(),
                line.text
            ));
        }
        let _ = file.write_all(text.as_bytes());
    }
}
