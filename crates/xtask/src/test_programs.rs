//! Runs the test programs of the workspace, several at once.
//!
//! Cargo runs one after the other. Many of ours wait for what they have started: for a trial to end, for a
//! deadline to pass. Others compute meanwhile.

use crate::postgres::Postgres;
use crate::shell::{bare, cargo, root, step};
use anyhow::{Context, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// Test programs that run at the same time, whatever the machine: their deadlines bear that much.
const AT_ONCE: usize = 3;

/// A test program.
struct Program {
    file: PathBuf,
    /// The folder of its package, in which it runs, as under cargo.
    package: PathBuf,
    name: String,
    /// The PostgreSQL server on which it tries the store, if it does.
    postgres: Option<String>,
}

/// The package whose tests run once more, on PostgreSQL.
const ON_POSTGRES: &str = "fleet-server";

/// Builds all tests and runs them, and those in the documentation. All of them: who mends one failure
/// wants to know of the next.
///
/// # Errors
/// They cannot be built; or some failed, which are named.
pub fn run_all() -> anyhow::Result<()> {
    let mut programs = build()?;
    let postgres = Postgres::start()?;
    let again: Vec<Program> =
        programs.iter().filter_map(|program| program.on_postgres(&postgres)).collect();
    // First, as they take long.
    programs.splice(0..0, again);
    println!("==> tests: {} programs, {AT_ONCE} at once", programs.len());
    let started = Instant::now();
    let failed = Mutex::new(Vec::new());
    let waiting = Mutex::new(programs.into_iter());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(program) = next() {
                    if !run(&program) {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(program.name);
                    }
                }
            });
        }
    });
    println!("    tests: {:.0} s", started.elapsed().as_secs_f64());
    let documented = step(
        "tests in the documentation",
        &mut cargo(&["test", "--workspace", "--locked", "--no-fail-fast", "--doc"]),
    );
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !failed.is_empty() {
        bail!("tests failed: {}", failed.join(", "));
    }
    documented
}

fn build() -> anyhow::Result<Vec<Program>> {
    println!("==> build the tests");
    let started = Instant::now();
    let arguments = ["test", "--workspace", "--locked", "--no-run"];
    let output = cargo(&arguments)
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the tests cannot be built: {}", output.status);
    }
    println!("    build the tests: {:.0} s", started.elapsed().as_secs_f64());
    let lines = String::from_utf8(output.stdout).context("what cargo said is no text")?;
    let programs: Option<Vec<Program>> = lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|message: &Value| {
            message["profile"]["test"] == true && message["executable"].is_string()
        })
        .map(|message| program(&message))
        .collect();
    programs.filter(|programs| !programs.is_empty()).context("cargo named no test programs")
}

fn program(message: &Value) -> Option<Program> {
    let file = PathBuf::from(message["executable"].as_str()?);
    let package = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    let of = package.strip_prefix(root()).unwrap_or(&package).display();
    let name = format!("{of}: {}", message["target"]["name"].as_str()?);
    Some(Program { file, package, name, postgres: None })
}

impl Program {
    /// The same on PostgreSQL, if it has a store.
    fn on_postgres(&self, postgres: &Postgres) -> Option<Program> {
        self.package.ends_with(ON_POSTGRES).then(|| Program {
            file: self.file.clone(),
            package: self.package.clone(),
            name: format!("{} on PostgreSQL", self.name),
            postgres: Some(postgres.url()),
        })
    }
}

/// Runs one, and says what came of it: whole, if it failed.
fn run(program: &Program) -> bool {
    let started = Instant::now();
    let output = bare(&program.file)
        .current_dir(&program.package)
        .env("CARGO_MANIFEST_DIR", &program.package)
        .envs(program.postgres.iter().map(|url| ("LINESIDE_TEST_POSTGRES", url)))
        .stdin(Stdio::null())
        .output();
    let seconds = started.elapsed().as_secs_f64();
    let name = &program.name;
    match output {
        Ok(output) if output.status.success() => {
            let said = String::from_utf8_lossy(&output.stdout);
            let passed = said.lines().rev().find_map(|line| line.strip_prefix("test result: "));
            println!("    {name}: {}", passed.unwrap_or("it ended well"));
            true
        }
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            println!("{said}\n    {name}: {} after {seconds:.0} s", output.status);
            false
        }
        Err(error) => {
            println!("    {name}: cannot start it: {error}");
            false
        }
    }
}
