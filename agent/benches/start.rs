//! How long a start takes up what the device has still to tell, where none of it is in memory, and what
//! it reads: `cargo xtask bench start`.

use lineside_agent::store::Store;
use lineside_agent::telemetry::spool::Spool;
use lineside_wire::v1::{Body, Event, event};
use rustix::fs::{Advice, fadvise};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Bytes that wait, in MiB: none, and up to what a device has by default.
const WAITING_MIB: [u64; 3] = [0, 16, 64];

fn main() -> Result<()> {
    for mib in WAITING_MIB {
        // On a disk: the system's folder may lie in memory.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let (closed, cut) = (folder.path().join("closed"), folder.path().join("cut"));
        fill(&closed, mib << 20, &cut)?;
        start(&closed, &format!("{mib} MiB wait, closed"))?;
        start(&cut, &format!("{mib} MiB wait, after a power cut"))?;
    }
    Ok(())
}

/// Makes a state folder in which so many bytes wait, and another one as a power cut would have left it.
fn fill(folder: &Path, bytes: u64, cut: &Path) -> Result<()> {
    let store = Store::open(folder)?;
    write(&mut Spool::open(store.database(), 1, bytes.max(1 << 20))?, bytes)?;
    fs::create_dir(cut)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().is_file() {
            fs::copy(entry.path(), cut.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Writes events until almost so many bytes wait.
fn write(spool: &mut Spool, bytes: u64) -> Result<()> {
    let body = Body::Event(Event {
        slot: "line".into(),
        kind: event::ALARM,
        release: None,
        text: "x".repeat(200),
        at_unix_ms: 1,
    });
    let bodies = vec![body; 1000];
    while spool.bytes() + (1 << 19) < bytes {
        spool.write(&bodies, &BTreeMap::new())?;
    }
    Ok(())
}

/// Opens the state folder from the disk, and says what that took.
fn start(folder: &Path, what: &str) -> Result<()> {
    let path = folder.join("state.redb");
    let file = File::open(&path)?;
    file.sync_all()?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    let size = file.metadata()?.len();
    let (before, began) = (read()?, Instant::now());
    let store = Store::open(folder)?;
    let (opened, of_opening) = (began.elapsed(), read()?);
    let spool = Spool::open(store.database(), 2, u64::MAX)?;
    let (whole, of_all) = (began.elapsed(), read()?);
    println!(
        "{what}: state.redb has {:.1} MiB; opened in {:.0} ms ({:.1} MiB asked for), the spool in {:.0} ms \
         more ({:.1} MiB); {:.1} MiB from the disk, {} bytes wait",
        mib(size),
        opened.as_secs_f64() * 1e3,
        mib(of_opening.0 - before.0),
        (whole - opened).as_secs_f64() * 1e3,
        mib(of_all.0 - of_opening.0),
        mib(of_all.1 - before.1),
        spool.bytes()
    );
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Bytes that this process has asked for, and those that came from the disk (proc(5)).
fn read() -> Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/io")?;
    let of = |name: &str| -> Result<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.ok_or("the system does not count what is read")?.trim().parse()?)
    };
    Ok((of("rchar:")?, of("read_bytes:")?))
}
