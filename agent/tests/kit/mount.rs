//! A small file system in memory that can be filled.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

/// Room for what the agent needs and for the 32 MiB that a download leaves free.
const SIZE: &str = "size=48m";

/// A file system of its own; none where mounting is not allowed.
pub struct Mount(PathBuf);

impl Mount {
    /// Mounted at `folder`, which is made.
    pub fn at(folder: PathBuf) -> Option<Mount> {
        fs::create_dir(&folder).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(&folder);
        let output = command.output().ok()?;
        if !output.status.success() {
            eprintln!("skipped: {}", String::from_utf8_lossy(&output.stderr).trim());
            return None;
        }
        Some(Mount(folder))
    }

    /// Leaves no byte to anybody.
    pub fn fill(&self) {
        let mut file = File::create(self.0.join("filling")).unwrap();
        for size in [1 << 16, 1 << 10, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }

    /// Gives the room back.
    pub fn free(&self) {
        fs::remove_file(self.0.join("filling")).unwrap();
    }

    /// Has it be read only, as a system makes it that has found errors; or written to again. Nobody
    /// may have anything open for writing.
    pub fn refuse_writes(&self, refuse: bool) {
        let how = if refuse { "remount,ro" } else { "remount,rw" };
        let status = Command::new("mount").args(["-o", how]).arg(&self.0).status().unwrap();
        assert!(status.success(), "{how}: {status}");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: the agent may still be ending.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
