//! A filesystem mounted by the kernel from a file, until it is dropped. Needs root.

use std::path::{Path, PathBuf};

use super::tools::run;

/// A mounted image.
#[derive(Debug)]
pub struct Mount {
    at: tempfile::TempDir,
}

impl Mount {
    /// Mounts `image` with these options, `loop` among them.
    pub fn new(image: &Path, options: &str) -> Self {
        let at = tempfile::tempdir().unwrap();
        let (image, dir) = (image.to_str().unwrap(), at.path().to_str().unwrap());
        run(&["mount", "-o", &format!("loop,{options}"), image, dir]);
        Self { at }
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.at.path().to_path_buf()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let at = self.at.path().to_str().unwrap();
        // What another thread starts holds the files that are open here until it runs its program.
        for _ in 0..100 {
            let umount = std::process::Command::new("umount").arg(at).output();
            if umount.is_ok_and(|out| out.status.success()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        run(&["umount", at]);
    }
}
