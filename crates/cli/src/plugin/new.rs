//! `lineside plugin new`: a folder with a plugin that builds, and with what it needs for that.

use crate::new_files::make;
use crate::output::Output;
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use lineside_bundle::Limits;
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

pub const EXAMPLES: &str = "\
Examples:
  lineside plugin new --lang rust mill/plugins/mean      kilobytes, and microseconds a frame: for every device
  lineside plugin new --lang js mill/plugins/mean        12 MB: brings an interpreter of JavaScript
  lineside plugin new --lang python mill/plugins/mean    18 MB: brings CPython

Then:
  lineside plugin test mill/plugins/mean
  lineside plugin build mill/plugins/mean";

/// Letters of a name.
const NAME_MAX: usize = 64;
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The interface, which every plugin gets.
const INTERFACE: (&str, &str) =
    ("lineside/wit/plugin.wit", include_str!("../../../../plugins/wit/plugin.wit"));
const FRAMES: (&str, &str) =
    ("frames/example.jsonl", include_str!("../../templates/plugin/frames.jsonl"));
const README: &str = include_str!("../../templates/plugin/README.md");

/// The SDK as it is here, for a crate that lies anywhere: its page, and all of its sources.
const SDK: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));
const RUST: [(&str, &str); 3] = [
    ("Cargo.toml", include_str!("../../templates/plugin/rust/Cargo.toml")),
    (
        "lineside/sdk/Cargo.toml",
        include_str!("../../templates/plugin/rust/lineside/sdk/Cargo.toml"),
    ),
    ("src/lib.rs", include_str!("../../templates/plugin/rust/src/lib.rs")),
];
const JAVASCRIPT: [(&str, &str); 3] = [
    ("package.json", include_str!("../../templates/plugin/javascript/package.json")),
    ("package-lock.json", include_str!("../../templates/plugin/javascript/package-lock.json")),
    ("plugin.js", include_str!("../../templates/plugin/javascript/plugin.js")),
];
const PYTHON: [(&str, &str); 2] = [
    ("requirements.txt", include_str!("../../templates/plugin/python/requirements.txt")),
    ("plugin.py", include_str!("../../templates/plugin/python/plugin.py")),
];

#[derive(Args)]
pub struct New {
    /// What it is written in.
    #[arg(long, value_name = "LANGUAGE")]
    lang: Language,
    /// The folder, which is made; the plugin is called as its last part.
    #[arg(value_name = "NAME")]
    folder: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    Js,
    Python,
}

impl Language {
    /// What is its alone.
    fn files(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Language::Rust => RUST.iter().chain(SDK).copied().collect(),
            Language::Js => JAVASCRIPT.to_vec(),
            Language::Python => PYTHON.to_vec(),
        }
    }

    /// The file to be changed.
    fn source(self) -> &'static str {
        match self {
            Language::Rust => "src/lib.rs",
            Language::Js => "plugin.js",
            Language::Python => "plugin.py",
        }
    }

    /// What can be made again.
    fn ignored(self, name: &str) -> String {
        let made = match self {
            Language::Rust => "/target/",
            Language::Js => "/node_modules/",
            Language::Python => "/.venv/\n__pycache__/",
        };
        format!("{made}\n/{name}.wasm\n")
    }

    /// What a bundle has to give it where the usual is not enough, in MiB: linear memory, with room for
    /// more than the example takes, and what the device's compiler needs for the interpreter.
    fn limits(self) -> Option<(u32, u32)> {
        match self {
            Language::Rust => None,
            Language::Js => Some((32, 512)),
            Language::Python => Some((64, 512)),
        }
    }

    /// What has to be on the machine.
    fn needs(self) -> &'static str {
        match self {
            Language::Rust => "rustup target add wasm32-unknown-unknown",
            Language::Js => "Node.js 20 or later",
            Language::Python => "Python 3.10 or later with its module venv",
        }
    }
}

pub fn run(new: &New, output: &Output) -> anyhow::Result<()> {
    let folder = new.folder.display();
    let is_taken = std::fs::read_dir(&new.folder).is_ok_and(|mut entries| entries.next().is_some());
    if is_taken || new.folder.is_file() {
        bail!("{folder} is there already and is never written over: name another folder");
    }
    let name = name(&new.folder)?;
    if new.lang == Language::Rust {
        refuse_workspace(&new.folder)?;
    }
    let files = files(new.lang, &name);
    for (path, text) in &files {
        put(&new.folder, path, text)?;
    }
    let paths: Vec<&String> = files.iter().map(|(path, _)| path).collect();
    let json = json!({ "folder": new.folder, "plugin": name, "files": paths });
    output.print(shown(new, &name), &json)
}

/// What is written, by its path in the folder.
fn files(language: Language, name: &str) -> Vec<(String, String)> {
    let limits = language.limits().map_or(String::new(), |(plugin, worker)| {
        let usual = Limits::default();
        format!(
            "\n\n[limits]\n\
             plugin_memory_mib = {plugin}                # room for its interpreter; {} unless set\n\
             memory_mib = {worker}                      # to compile it on a device; {} unless set",
            usual.plugin_memory_mib, usual.memory_mib
        )
    });
    let sdk = if language == Language::Rust { " and the SDK" } else { "" };
    let lock =
        if language == Language::Rust { "; `Cargo.lock` comes with the first build" } else { "" };
    let replaced = [
        ("@NAME@", name),
        ("@VERSION@", VERSION),
        ("@SOURCE@", &format!("`{}`", language.source())),
        ("@LIMITS@", &limits),
        ("@SDK@", sdk),
        ("@LOCK@", lock),
    ];
    let fill = |text: &str| {
        replaced.iter().fold(text.to_owned(), |text, (mark, value)| text.replace(mark, value))
    };
    let given = language.files().into_iter().chain([INTERFACE, FRAMES]);
    let mut files: Vec<(String, String)> = given
        // What is ours is the same everywhere, but for the manifest.
        .map(|(path, text)| match path.starts_with("lineside/") && !path.ends_with("Cargo.toml") {
            true => (path.to_owned(), text.to_owned()),
            false => (path.to_owned(), fill(text)),
        })
        .collect();
    files.push(("README.md".into(), fill(README)));
    files.push((".gitignore".into(), language.ignored(name)));
    files
}

/// The plugin's name: letters that a package of every language takes.
fn name(folder: &Path) -> anyhow::Result<String> {
    let full = std::path::absolute(folder)?;
    let name = full.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
    let begins = name.starts_with(|char: char| char.is_ascii_lowercase());
    if !begins || !name.chars().all(is_plain) || name.ends_with('-') || name.len() > NAME_MAX {
        bail!(
            "{name:?} is no name for a plugin: small letters, digits and hyphens, a letter first, up to \
             {NAME_MAX} of them"
        );
    }
    Ok(name)
}

/// A crate among those of this project cannot be a workspace of its own.
fn refuse_workspace(folder: &Path) -> anyhow::Result<()> {
    let full = std::path::absolute(folder)?;
    let Some(plugins) = full.parent() else { return Ok(()) };
    if plugins.join("sdk/Cargo.toml").is_file() && plugins.join("wit/plugin.wit").is_file() {
        bail!(
            "{} holds the plugins of Lineside itself, which are crates of its workspace: {} says how to begin \
             one there; elsewhere `plugin new` makes one that stands by itself",
            plugins.display(),
            plugins.join("sdk/README.md").display()
        );
    }
    Ok(())
}

fn put(folder: &Path, path: &str, text: &str) -> anyhow::Result<()> {
    let file = folder.join(path);
    let within = file.parent().unwrap_or(folder);
    std::fs::create_dir_all(within).with_context(|| format!("cannot make {}", within.display()))?;
    make(&file, text.as_bytes())
}

fn shown(new: &New, name: &str) -> String {
    let folder = new.folder.display();
    let mut text = format!(
        "{folder}: the plugin {name}, which gives the mean of a window until {folder}/{} does something else",
        new.lang.source()
    );
    let _ = write!(
        text,
        "\n\nneeds\n  {}\n\nnext\n  lineside plugin test {folder}\n  lineside plugin build {folder}\n  {folder}/README.md \
         says how a bundle names it",
        new.lang.needs()
    );
    if new.lang.limits().is_some() {
        let _ = write!(text, ", and which limits that has to set");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    fn manifest(text: &str) -> toml::Table {
        text.parse().unwrap()
    }

    #[test]
    fn the_sdk_has_the_dependencies_there_that_it_has_here() {
        let files = files(Language::Rust, "mean");
        let text = |path: &str| &files.iter().find(|(file, _)| file == path).unwrap().1;
        let there = manifest(text("lineside/sdk/Cargo.toml"));
        let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
        let here = manifest(&read("plugins/sdk/Cargo.toml"));
        let workspace = manifest(&read("Cargo.toml"));
        let shared = &workspace["workspace"];
        let names = |table: &toml::Table| -> Vec<String> {
            table["dependencies"].as_table().unwrap().keys().cloned().collect()
        };
        assert_eq!(names(&there), names(&here));
        for name in names(&there) {
            assert_eq!(there["dependencies"][&name], shared["dependencies"][&name], "{name}");
        }
        for key in ["version", "edition"] {
            assert_eq!(there["package"][key], shared["package"][key], "{key}");
        }
        assert_eq!(manifest(text("Cargo.toml"))["package"]["name"].as_str(), Some("mean"));
    }

    #[test]
    fn nothing_is_left_to_be_filled_in() {
        for language in [Language::Rust, Language::Js, Language::Python] {
            let files = files(language, "mean");
            for (path, text) in &files {
                for mark in ["@NAME@", "@VERSION@", "@SOURCE@", "@LIMITS@", "@SDK@", "@LOCK@"] {
                    assert!(!text.contains(mark), "{path}: {mark}");
                }
            }
            assert!(files.iter().any(|(path, _)| path == language.source()));
            assert!(files.iter().any(|(path, _)| path == "lineside/wit/plugin.wit"));
        }
    }

    #[test]
    fn a_plugin_is_called_as_its_folder() {
        let said = |folder: &str| name(Path::new(folder)).map_err(|error| error.to_string());
        assert_eq!(said("plugins/mean-2").as_deref(), Ok("mean-2"));
        assert_eq!(said("plugins/mean/").as_deref(), Ok("mean"));
        for none in ["Mean", "2nd", "-mean", "mean-", "mean_x", "a.wasm", "/"] {
            let said = said(none).unwrap_err();
            assert!(said.contains("is no name for a plugin: small letters"), "{none}: {said}");
        }
    }

    #[test]
    fn among_our_own_plugins_a_crate_is_begun_otherwise() {
        let said = refuse_workspace(&root().join("plugins/mean")).unwrap_err().to_string();
        assert!(said.contains("sdk/README.md says how to begin one there"), "{said}");
        assert!(refuse_workspace(Path::new("/somewhere/plugins/mean")).is_ok());
    }
}
