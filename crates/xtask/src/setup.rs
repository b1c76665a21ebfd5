//! What a command needs on the machine: installed where root may, else listed.

use crate::shell::{cargo, root, said, step, target_dir};
use anyhow::bail;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target of plugins.
pub const WASM: &str = "wasm32-unknown-unknown";
/// The plugins that the examples use.
const PLUGINS: [&str; 2] = ["ecg-beats", "lost-power"];
/// What builds the C in our dependencies, and links.
pub const C_COMPILER: (&str, &str) = ("cc", "gcc");

/// What the default build leaves out: keys in tokens, and their tests.
pub const TOKENS: &str = "lineside-cli/pkcs11,lineside-tests/pkcs11";

/// Where the wider, partly GPL set of models lies if it is there: it is no part of the project.
pub fn zoo() -> PathBuf {
    match std::env::var_os("LINESIDE_ZOO") {
        Some(folder) => PathBuf::from(folder),
        None => root().join("../shared/zoo"),
    }
}

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
    step(
        "add Rust targets",
        Command::new("rustup").args(["target", "add"]).args(missing).current_dir(root()),
    )
}

/// Makes sure that rustup has these components.
///
/// # Errors
/// If one is missing and rustup cannot add it.
pub fn components(wanted: &[&str]) -> anyhow::Result<()> {
    let installed = said("rustup", &["component", "list", "--installed"]).unwrap_or_default();
    // Listed with the machine they are for: `clippy-x86_64-unknown-linux-gnu`.
    let is_there = |wanted: &str| {
        let rests = installed.lines().filter_map(|line| line.strip_prefix(wanted));
        rests.into_iter().any(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let missing: Vec<&&str> = wanted.iter().filter(|component| !is_there(component)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    step(
        "add Rust components",
        Command::new("rustup").args(["component", "add"]).args(missing).current_dir(root()),
    )
}

/// Builds the plugins of the examples as bundles will want it, so that the first of them does not
/// have to wait for the compiler. The tool must have been built.
///
/// # Errors
/// What the tool says of one that cannot be built.
pub fn plugins() -> anyhow::Result<()> {
    PLUGINS.iter().try_for_each(|name| plugin(&format!("plugins/{name}")).map(drop))
}

/// Builds the plugin whose crate lies in `source`, from the workspace's folder. Returns the file. The tool
/// must have been built.
///
/// # Errors
/// What the tool says if it cannot be built.
pub fn plugin(source: &str) -> anyhow::Result<PathBuf> {
    let folder = target_dir().join("plugins");
    std::fs::create_dir_all(&folder)?;
    let name = Path::new(source).file_name().unwrap_or_default();
    let file = folder.join(name).with_extension("wasm");
    let mut build = Command::new(target_dir().join("debug/lineside"));
    build.args(["plugin", "build", source, "--output"]).arg(&file);
    build.current_dir(root()).env("CARGO_TARGET_DIR", target_dir());
    step(&format!("plugin {}", name.display()), &mut build)?;
    Ok(file)
}

/// Makes sure that a tool of cargo's is there in this version. Gives its program.
///
/// # Errors
/// If it cannot be installed.
pub fn tool(name: &str, version: &str) -> anyhow::Result<PathBuf> {
    let tools = target_dir().join("tools");
    let program = tools.join("bin").join(name);
    // Asked as cargo would, too: some know their version only as its subcommand.
    let word = name.trim_start_matches("cargo-");
    let ask = |arguments: &[&str]| said(&program.to_string_lossy(), arguments);
    let says = [ask(&["--version"]), ask(&[word, "--version"])];
    if !says.iter().flatten().any(|text| text.contains(version)) {
        step(
            &format!("install {name}"),
            cargo(&["install", name, "--version", version, "--locked", "--debug"])
                .arg("--root")
                .arg(&tools)
                // A tool that runs for a second needs neither optimisation nor debug information.
                .env("CARGO_PROFILE_DEV_DEBUG", "0")
                .env("CARGO_TARGET_DIR", tools.join("build")),
        )?;
        let _ = std::fs::remove_dir_all(tools.join("build"));
    }
    Ok(program)
}

/// Makes sure that there is a nightly compiler, which the fuzzer's instrumentation needs.
///
/// # Errors
/// If rustup cannot install one.
pub fn nightly() -> anyhow::Result<()> {
    let installed = said("rustup", &["toolchain", "list"]).unwrap_or_default();
    if installed.lines().any(|line| line.starts_with("nightly")) {
        return Ok(());
    }
    let install = ["toolchain", "install", "nightly", "--profile", "minimal"];
    step("install a nightly compiler", Command::new("rustup").args(install))
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
    install(&missing)?;
    match lacking(wanted) {
        left if left.is_empty() => Ok(()),
        left => bail!("still missing after installation: {}", left.join(" ")),
    }
}

/// Makes sure that there is a Python that can make environments, for the reference implementation
/// of TUF; the test that needs that one installs it there.
///
/// # Errors
/// As [`programs`].
pub fn python() -> anyhow::Result<()> {
    // Debian's has the module only with a package of its own.
    match said("python3", &["-c", "import ensurepip, venv"]) {
        Some(_) => Ok(()),
        None => install(&["python3-venv"]),
    }
}

/// Makes a Python environment in `folder` with the packages of a requirements file, where there is
/// none with these yet; returns its interpreter.
///
/// # Errors
/// As [`programs`], and if a package cannot be installed.
pub fn python_with(folder: &Path, requirements: &Path) -> anyhow::Result<PathBuf> {
    python()?;
    let wanted = std::fs::read(requirements)?;
    let (interpreter, installed) = (folder.join("bin/python"), folder.join("installed.txt"));
    if std::fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(interpreter);
    }
    step(
        "python environment",
        Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder),
    )?;
    let mut pip = Command::new(&interpreter);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    step("python packages", pip.arg(requirements))?;
    std::fs::write(&installed, wanted)?;
    Ok(interpreter)
}

fn install(missing: &[&str]) -> anyhow::Result<()> {
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
    step(&install, apt().args(["install", "-y", "-qq", "--no-install-recommends"]).args(missing))
}

fn lacking<'a>(wanted: &[(&str, &'a str)]) -> Vec<&'a str> {
    let there = |wanted: &str| match wanted.starts_with('/') {
        true => Path::new(wanted).exists(),
        false => said("which", &[wanted]).is_some(),
    };
    wanted.iter().filter(|(program, _)| !there(program)).map(|(_, package)| *package).collect()
}
