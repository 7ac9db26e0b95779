//! A file that only grows, one line at a time: appended under a lock, on stable storage when the call
//! returns. What a line says is its writer's business; no image is ever written this way.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::wait_lock::wait_for_lock;

/// How long another process may hold the file before appending fails.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is read of a longer file: its end.
const MAX_READ: u64 = 16 << 20;

/// A file of lines.
#[derive(Debug, Clone)]
pub struct LogFile {
    path: PathBuf,
}

impl LogFile {
    /// The file of this name; it comes into being with its first line.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Its name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every whole line, without its end; none where there is no file. Of a file longer than 16 MiB
    /// only the end is read.
    ///
    /// # Errors
    /// The system's own.
    pub fn lines(&self) -> io::Result<Vec<Vec<u8>>> {
        match File::open(&self.path) {
            Ok(mut file) => lines_of(&mut file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Appends the line that `make` makes of the lines so far, while no other process does. A line
    /// that a crash cut short is closed first. The folder is made where it is missing, for the owner
    /// only.
    ///
    /// # Errors
    /// The system's own; `WouldBlock` if another process holds the file for seconds.
    pub fn append<T>(
        &self,
        make: impl FnOnce(&[Vec<u8>]) -> io::Result<(Vec<u8>, T)>,
    ) -> io::Result<T> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)?;
        wait_for_lock(&file, PATIENCE)?;
        let lines = lines_of(&mut file)?;
        let (line, result) = make(&lines)?;
        let mut bytes = Vec::with_capacity(line.len() + 2);
        if !ends_with_newline(&mut file)? {
            bytes.push(b'\n');
        }
        bytes.extend(line.iter().copied().filter(|byte| *byte != b'\n'));
        bytes.push(b'\n');
        file.write_all(&bytes)?;
        file.sync_data()?;
        if lines.is_empty() {
            File::open(dir)?.sync_all()?;
        }
        Ok(result)
    }
}

fn ends_with_newline(file: &mut File) -> io::Result<bool> {
    let len = file.seek(SeekFrom::End(0))?;
    if len == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn lines_of(file: &mut File) -> io::Result<Vec<Vec<u8>>> {
    let len = file.seek(SeekFrom::End(0))?;
    let from = len.saturating_sub(MAX_READ);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(MAX_READ).read_to_end(&mut bytes)?;
    let mut lines: Vec<Vec<u8>> = bytes
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    // Behind the last newline: nothing, or what a crash left of a line.
    lines.pop();
    if from > 0 && !lines.is_empty() {
        lines.remove(0);
    }
    lines.retain(|line| !line.is_empty());
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_in_order_and_a_torn_one_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let log = LogFile::at(dir.path().join("a/b/log"));
        assert!(log.lines().unwrap().is_empty());
        for number in 0..3 {
            let seen = log
                .append(|lines| Ok((format!("line {number}").into_bytes(), lines.len())))
                .unwrap();
            assert_eq!(seen, number);
        }
        let mut file = OpenOptions::new().append(true).open(log.path()).unwrap();
        file.write_all(b"torn").unwrap();
        assert_eq!(log.lines().unwrap().len(), 3);
        log.append(|_| Ok((b"after".to_vec(), ()))).unwrap();
        assert_eq!(log.lines().unwrap()[4], b"after");
    }

    #[test]
    fn writers_at_the_same_time_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let log = LogFile::at(dir.path().join("log"));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        log.append(|lines| Ok((lines.len().to_string().into_bytes(), ())))
                            .unwrap();
                    }
                });
            }
        });
        let lines = log.lines().unwrap();
        let expected: Vec<Vec<u8>> = (0..100).map(|n| n.to_string().into_bytes()).collect();
        assert_eq!(lines, expected);
    }
}
