//! Places at which tests make the agent fail: before something reaches the disk or is acknowledged,
//! and right after.
//!
//! Only with the feature `failpoints`, which the agent's own tests turn on and no device has; without
//! it a place is nothing. A test that starts the agent gives it a folder in `LINESIDE_FAILPOINTS`. A
//! file in there with the name of a place arms it, and says how the agent fails the next time that it
//! comes by: `error`, `panic` or `abort`. Once only: whoever removes the file is the one that fails.
//! A process of its own, a moment of one's choice and one failure are what a test of crashes needs;
//! libraries for this set their places by a table of the process, from its start on.

use std::io;

/// Comes by the place `name`.
///
/// # Errors
/// Where a test has armed it so.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn pass(_name: &str) -> io::Result<()> {
    Ok(())
}

/// Comes by the place `name`.
///
/// # Errors
/// Where a test has armed it so.
///
/// # Panics
/// Where a test has armed it so.
#[cfg(feature = "failpoints")]
pub fn pass(name: &str) -> io::Result<()> {
    use std::path::PathBuf;
    use std::sync::LazyLock;

    static FOLDER: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os("LINESIDE_FAILPOINTS").map(PathBuf::from));
    let Some(armed) = FOLDER.as_ref().map(|folder| folder.join(name)) else { return Ok(()) };
    let Ok(mode) = std::fs::read_to_string(&armed) else { return Ok(()) };
    if std::fs::remove_file(&armed).is_err() {
        return Ok(());
    }
    tracing::warn!("{name}: {mode}");
    match mode.as_str() {
        "error" => Err(io::Error::other(format!("a test has {name} fail"))),
        "abort" => std::process::abort(),
        _ => panic!("a test has {name} panic"),
    }
}
