//! `lineside plugin build`: whatever the language, a component that imports nothing but a log.

use super::component::accept;
use super::{javascript, python, rust};
use crate::bundle::size;
use crate::new_files::replace;
use crate::output::Output;
use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const EXAMPLES: &str = "\
Examples:
  lineside plugin build                          the plugin in this folder, as NAME.wasm in it
  lineside plugin build mill/plugins/mean -o mean.wasm

A bundle that says `plugin = \"mean\"` has plugins/mean in its folder, or above it, built by itself.";

#[derive(Args)]
pub struct Build {
    /// The plugin's folder.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Where to put the component; in the folder, called as it is, unless set.
    #[arg(short, long, value_name = "FILE.wasm")]
    output: Option<PathBuf>,
}

/// What plugins are written in, told by the file that names what they need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Rust,
    JavaScript,
    Python,
}

const LANGUAGES: [(&str, Language); 3] = [
    ("Cargo.toml", Language::Rust),
    ("package.json", Language::JavaScript),
    ("requirements.txt", Language::Python),
];

pub fn run(build: &Build, output: &Output) -> anyhow::Result<()> {
    let component = {
        let _working = output.working(format!("building {}", build.dir.display()));
        component(&build.dir)?
    };
    let file = match &build.output {
        Some(file) => file.clone(),
        None => build.dir.join(name(&build.dir)?).with_extension("wasm"),
    };
    replace(&file, &component)?;
    let json = json!({ "file": file, "bytes": component.len() });
    output.print(format!("{}: {}", file.display(), size(component.len() as u64)), &json)
}

/// Whether a folder has the source of a plugin.
pub fn is_source(dir: &Path) -> bool {
    language(dir).is_some()
}

/// Builds the plugin in `dir`.
///
/// # Errors
/// What its compiler says; a component that imports something, by name.
pub fn component(dir: &Path) -> anyhow::Result<Vec<u8>> {
    let name = dir.display();
    let Some(language) = language(dir) else {
        let files = LANGUAGES.map(|(file, _)| file).join(", ");
        bail!(
            "{name} is no plugin's folder: it has none of {files}; `lineside plugin new` makes one"
        );
    };
    let component = match language {
        Language::Rust => rust::component(dir),
        Language::JavaScript => javascript::component(dir),
        Language::Python => python::component(dir),
    }?;
    accept(&component).context(name.to_string())?;
    Ok(component)
}

fn language(dir: &Path) -> Option<Language> {
    LANGUAGES.into_iter().find(|(file, _)| dir.join(file).is_file()).map(|(_, language)| language)
}

/// What a folder is called, also one that is named by way of others.
///
/// # Errors
/// It is not there, or is the root of all.
pub fn name(dir: &Path) -> anyhow::Result<String> {
    let full = dir.canonicalize().with_context(|| format!("there is no {}", dir.display()))?;
    let name = full.file_name().with_context(|| format!("{} has no name", dir.display()))?;
    Ok(name.to_string_lossy().into_owned())
}

/// Runs a command of a toolchain, whose words go to standard error: nothing but the result is written
/// to standard output.
///
/// # Errors
/// `cure` if it cannot be started; `failed` if it fails.
pub fn toolchain(command: &mut Command, cure: &str, failed: &str) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(std::process::Stdio::null()).stdout(std::io::stderr());
    let status = command.status().with_context(|| format!("cannot start {program}: {cure}"))?;
    if !status.success() {
        bail!("{failed}: its words are above");
    }
    Ok(())
}
