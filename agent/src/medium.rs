//! What a file has on the medium, and what the system only shows of it.
//!
//! What a sync could not bring to the medium, Linux shows as written all the same, and no later sync
//! tries it again (<https://lwn.net/Articles/752063>). Who goes on from there builds on what is gone
//! after the next power cut. So before a file is trusted that somebody has written to, in this process
//! or in one before it, what is in memory of it is forgotten.

use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::io;

/// Has on the medium what is waiting to be written, then forgets what is in memory: what is read
/// afterwards is what a power cut would leave.
///
/// # Errors
/// What the disk says; what was not on the medium then waits no more, and the next call shows it gone.
pub fn settle(file: &File) -> io::Result<()> {
    // What still waits would not be forgotten.
    file.sync_all()?;
    Ok(fadvise(file, 0, None, Advice::DontNeed)?)
}
