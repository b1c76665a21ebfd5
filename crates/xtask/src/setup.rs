//! What a command needs on the machine: installed where root may, else listed.

use crate::shell::{said, step};
use anyhow::bail;
use std::path::Path;
use std::process::Command;

/// Makes sure that rustup has these targets.
///
/// # Errors
/// If one is missing and rustup cannot add it.
pub fn targets(wanted: &[&str]) -> anyhow::Result<()> {
    let installed = said("rustup", &["target", "list", "--installed"]).unwrap_or_default();
    let missing: Vec<&&str> =
        wanted.iter().filter(|target| !installed.lines().any(|line| line == **target)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    step("add Rust targets", Command::new("rustup").args(["target", "add"]).args(missing))
}

/// Makes sure that these programs, or files with a full path, are there, each given with the Debian
/// package that brings it.
///
/// # Errors
/// With the list of packages, where they may not be installed from here.
pub fn programs(wanted: &[(&str, &str)]) -> anyhow::Result<()> {
    let missing = lacking(wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let install = format!("apt-get install {}", missing.join(" "));
    if said("id", &["-u"]).is_none_or(|id| id.trim() != "0") {
        bail!("some programs are missing; as root: {install}");
    }
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    step("look for Debian packages", apt().args(["update", "-qq"]))?;
    step(&install, apt().args(["install", "-y", "-qq", "--no-install-recommends"]).args(&missing))?;
    match lacking(wanted) {
        left if left.is_empty() => Ok(()),
        left => bail!("still missing after installation: {}", left.join(" ")),
    }
}

fn lacking<'a>(wanted: &[(&str, &'a str)]) -> Vec<&'a str> {
    let there = |wanted: &str| match wanted.starts_with('/') {
        true => Path::new(wanted).exists(),
        false => said("which", &[wanted]).is_some(),
    };
    wanted.iter().filter(|(program, _)| !there(program)).map(|(_, package)| *package).collect()
}
