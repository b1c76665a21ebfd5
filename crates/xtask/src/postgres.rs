//! A PostgreSQL server for the tests: made empty, reached by a socket in its folder alone, gone afterwards.

use crate::setup;
use crate::shell::{said, step};
use anyhow::{Context, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};

/// The package that brings the programs, and the user that they may run as where root may not.
const PACKAGE: &str = "postgresql";
const USER: &str = "postgres";
/// Where Debian has them, a folder for each version.
const PROGRAMS: &str = "/usr/lib/postgresql";
/// The oldest version that Lineside takes.
const VERSION_MIN: u32 = 15;

/// A server, stopped and removed when it is dropped.
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
}

impl Postgres {
    /// Makes one and waits until it answers.
    ///
    /// # Errors
    /// If PostgreSQL is not there and cannot be installed, or does not start.
    pub fn start() -> anyhow::Result<Postgres> {
        let programs = programs()?;
        let folder = std::env::temp_dir().join(format!("lineside-postgres-{}", process::id()));
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let server = Postgres { programs, folder };
        if is_root() {
            step("a folder for PostgreSQL", Command::new("chown").arg(USER).arg(server.path()))?;
        }
        let mut make = server.command("initdb");
        make.args(["--auth=trust", "--username", USER, "--encoding=UTF8", "--no-sync"]);
        make.arg("--pgdata").arg(server.data()).stdout(Stdio::null());
        step("make a PostgreSQL database", &mut make)?;
        // Its disk is not what is tested.
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' -c fsync=off -c full_page_writes=off \
             -c max_connections=400 -c shared_buffers=64MB",
            server.path().display()
        );
        let mut start = server.command("pg_ctl");
        start.args(["--wait", "--silent", "--timeout=60", "--options", &options]);
        start.arg("--pgdata").arg(server.data()).arg("--log").arg(server.path().join("log"));
        step("start PostgreSQL", start.arg("start").stdout(Stdio::null()))?;
        Ok(server)
    }

    /// Its address, to which further parameters may be added with `&`.
    pub fn url(&self) -> String {
        format!("postgres:///postgres?host={}&user={USER}", self.path().display())
    }

    fn path(&self) -> &Path {
        &self.folder
    }

    fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = match is_root() {
            // It refuses to be run by root.
            true => {
                let mut other = Command::new("runuser");
                other.args(["-u", USER, "--"]).arg(program);
                other
            }
            false => Command::new(program),
        };
        command.current_dir("/").stdin(Stdio::null());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let mut stop = self.command("pg_ctl");
        stop.args(["--silent", "--mode=immediate", "--pgdata"]).arg(self.data()).arg("stop");
        let _ = stop.stdout(Stdio::null()).status();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn is_root() -> bool {
    said("id", &["-u"]).is_some_and(|id| id.trim() == "0")
}

/// The folder of the newest version that is there.
fn programs() -> anyhow::Result<PathBuf> {
    if newest().is_none() {
        // Asked for a file that is not there, it installs the package that brings it.
        setup::programs(&[(PROGRAMS, PACKAGE)])?;
    }
    let (version, folder) = newest().with_context(|| format!("{PROGRAMS} has no version in it"))?;
    if version < VERSION_MIN {
        bail!("PostgreSQL {version} is there, and {VERSION_MIN} or later is needed");
    }
    Ok(folder)
}

fn newest() -> Option<(u32, PathBuf)> {
    let folders = fs::read_dir(PROGRAMS).ok()?.flatten();
    let versions = folders.filter_map(|folder| {
        let version = folder.file_name().to_str()?.parse().ok()?;
        let programs = folder.path().join("bin");
        programs.join("initdb").exists().then_some((version, programs))
    });
    versions.max()
}
