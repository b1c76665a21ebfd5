//! A bundle's source folder: `bundle.toml` with changes from the command line, and the files it names.

use crate::engines::options;
use crate::plugin;
use crate::watch::{Watch, WatchedFiles};
use anyhow::{Context, bail};
use lineside_bundle::{
    BuiltBundle, BundleFile, Manifest, PROFILE, Stage, build_with_operators, plugin_path,
};
use lineside_runtime::{
    CheckError, Expected, MemoryFiles, OnnxModel, check_fit, check_recordings, record_watched,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Files that belong to every bundle that has them.
const ALWAYS: [&str; 2] = ["card.md", "ORIGIN.md"];

/// What becomes of the answers that a bundle's checks expect.
#[derive(Clone, Copy)]
pub enum Answers<'a> {
    /// They lie in the folder.
    Needed,
    /// The bundle's own are taken, while somebody watches how long that takes.
    Recorded(&'a Watch),
    /// Nobody will compare anything with them: there are none in what is built.
    Unneeded,
}

/// Where a bundle's profile comes from.
#[derive(Debug, Clone, Default)]
pub enum BundleProfile {
    /// From its folder, if there is one.
    #[default]
    Folder,
    /// From this file.
    File(PathBuf),
    /// It has none.
    None,
}

impl BundleProfile {
    fn bytes(&self, folder: &Path) -> anyhow::Result<Option<Vec<u8>>> {
        match self {
            BundleProfile::Folder if folder.join(PROFILE).is_file() => {
                read(folder, PROFILE).map(Some)
            }
            BundleProfile::Folder | BundleProfile::None => Ok(None),
            BundleProfile::File(file) => {
                let bytes = std::fs::read(file);
                bytes.with_context(|| format!("cannot read {}", file.display())).map(Some)
            }
        }
    }
}

/// The models of a bundle, digests by path.
pub fn models(manifest: &Manifest) -> BTreeMap<String, String> {
    let models = manifest.bundle.stages.values().filter_map(|stage| match stage {
        Stage::Model { file, .. } => Some((file.clone(), manifest.files.get(file)?.digest)),
        _ => None,
    });
    models.map(|(path, digest)| (path, digest.to_string())).collect()
}

/// Whether the outputs of the profile are those of this bundle's models: those of others would raise alarms
/// for no reason, or none where there is one.
fn check_models(built: &BuiltBundle, folder: &Path) -> anyhow::Result<()> {
    let Some(profile) = lineside_runtime::profile(&built.manifest, &MemoryFiles(built))? else {
        return Ok(());
    };
    let models = models(&built.manifest);
    if profile.models().is_empty() || *profile.models() == models {
        return Ok(());
    }
    let names: Vec<&str> = models.keys().map(String::as_str).collect();
    bail!(
        "{PROFILE} has outputs of other models than {}: make it anew, `lineside profile build REFERENCE.csv \
         --bundle {}` with the same --set, and give it by --profile FILE, or build the bundle \
         --without-profile",
        names.join(", "),
        folder.display()
    )
}

/// Builds the bundle in `folder`, with `set` (`key.path=value`) changed in its `bundle.toml`.
///
/// # Errors
/// By file, key, stage or check.
pub fn build(
    folder: &Path,
    set: &[String],
    answers: Answers<'_>,
    profile: &BundleProfile,
) -> anyhow::Result<BuiltBundle> {
    let path = folder.join("bundle.toml");
    let name = path.display();
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
    let bundle = if set.is_empty() {
        BundleFile::parse(&text).with_context(|| name.to_string())?
    } else {
        let mut table: Table = text.parse().with_context(|| name.to_string())?;
        for change in set {
            apply(&mut table, change)?;
        }
        BundleFile::from_table(table)
            .with_context(|| format!("{name} with --set {}", set.join(" --set ")))?
    };

    let mut files = BTreeMap::new();
    for stage in bundle.stages.values() {
        if let Stage::Plugin { plugin, .. } = stage
            && !plugin.ends_with(".wasm")
            && !files.contains_key(&plugin_path(plugin))
        {
            files.insert(plugin_path(plugin), workspace_plugin(folder, plugin)?);
        }
    }
    let is_left_out = !matches!(answers, Answers::Needed);
    let left_out: Vec<&str> =
        bundle.checks.iter().filter(|_| is_left_out).map(|check| &*check.expected).collect();
    for path in bundle.paths() {
        if left_out.contains(&path) {
            files.insert(path.to_owned(), Vec::new());
        } else if is_path(&bundle, path) {
            let bytes = read(folder, path);
            let expected = bundle.checks.iter().any(|check| check.expected == path);
            let bytes = bytes.with_context(|| match expected {
                true => format!(
                    "check answers are missing: `lineside bundle build {} -o FILE --record-checks` takes the \
                     bundle's own",
                    folder.display()
                ),
                false => format!("bundle.toml names {path}"),
            })?;
            if is_built_plugin(&bundle, path) {
                plugin::accept(&bytes).with_context(|| path.to_owned())?;
            }
            files.insert(path.to_owned(), bytes);
        }
    }
    for path in ALWAYS.iter().filter(|path| folder.join(path).is_file()) {
        files.insert((*path).to_owned(), read(folder, path)?);
    }
    if let Some(bytes) = profile.bytes(folder)? {
        files.insert(PROFILE.to_owned(), bytes);
    }
    let used = used_operators(&bundle, &files)?;
    let built = build_with_operators(bundle.clone(), files.clone(), used.clone())?;
    check_fit(&built.manifest, &MemoryFiles(&built))?;
    check_models(&built, folder)?;
    let checked = |built: &BuiltBundle, answers| {
        check_recordings(&built.manifest, &MemoryFiles(built), answers)
    };
    match answers {
        Answers::Unneeded => Ok(built),
        Answers::Needed => {
            checked(&built, Expected::There)?;
            Ok(built)
        }
        Answers::Recorded(watch) => {
            checked(&built, Expected::ToCome)?;
            files.extend(recorded_checks(&built, watch)?);
            let built = build_with_operators(bundle, files, used)?;
            checked(&built, Expected::There)?;
            Ok(built)
        }
    }
}

/// What a bundle answers to its checks, by the path of the expected answers.
///
/// # Errors
/// By check.
pub fn recorded_checks(
    bundle: &BuiltBundle,
    watch: &Watch,
) -> Result<BTreeMap<String, Vec<u8>>, CheckError> {
    let checks = bundle.manifest.bundle.checks.iter();
    let recorded = checks.map(|check| {
        let files = WatchedFiles { files: &MemoryFiles(bundle), watch };
        let begins = |check: &_| watch.reading(check);
        let lines = record_watched(&bundle.manifest, &files, check, &options(), &begins)?;
        Ok((check.expected.clone(), lines.into_bytes()))
    });
    recorded.collect()
}

/// The operators of each model: a device that lacks one says so before it fetches the model.
fn used_operators(
    bundle: &BundleFile,
    files: &BTreeMap<String, Vec<u8>>,
) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let mut used = BTreeMap::new();
    for stage in bundle.stages.values() {
        if let Stage::Model { file, .. } = stage
            && let Some(bytes) = files.get(file)
        {
            let model = OnnxModel::read(bytes).with_context(|| file.clone())?;
            let operators = model.facts().operators.keys().map(ToString::to_string);
            used.insert(file.clone(), operators.collect());
        }
    }
    Ok(used)
}

fn is_path(bundle: &BundleFile, path: &str) -> bool {
    !bundle.stages.values().any(|stage| {
        matches!(stage, Stage::Plugin { plugin, .. } if plugin == path && !path.ends_with(".wasm"))
    })
}

fn read(folder: &Path, path: &str) -> anyhow::Result<Vec<u8>> {
    let file = folder.join(path);
    let name = file.display();
    let real = file.canonicalize().with_context(|| format!("cannot read {name}"))?;
    let within = folder.canonicalize().with_context(|| format!("cannot read {name}"))?;
    if !real.starts_with(&within) {
        bail!(
            "{name} is a link to {}, which is not in the bundle's folder: copy it there",
            real.display()
        );
    }
    if !real.is_file() {
        bail!("{name} is no file: a bundle is made of files alone");
    }
    std::fs::read(&real).with_context(|| format!("cannot read {name}"))
}

/// Whether a file is a plugin that was built by somebody else.
fn is_built_plugin(bundle: &BundleFile, path: &str) -> bool {
    let is_it = |stage: &Stage| matches!(stage, Stage::Plugin { plugin, .. } if plugin == path);
    bundle.stages.values().any(is_it)
}

/// Builds the plugin called `name` of the workspace that `folder` lies in.
fn workspace_plugin(folder: &Path, name: &str) -> anyhow::Result<Vec<u8>> {
    let folder = folder.canonicalize()?;
    for above in folder.ancestors() {
        let plugin = above.join("plugins").join(name);
        if plugin::is_source(&plugin) {
            return plugin::component(&plugin);
        }
    }
    bail!(
        "there is no plugin {name}: no folder plugins/{name} with its source in {} or above; `lineside plugin \
         new` begins one, and for a built one write plugin = \"plugins/{name}.wasm\"",
        folder.display()
    )
}

/// Changes one key: `stages.alarm.above=4.6`, `checks.0.expected=checks/x.jsonl`.
fn apply(table: &mut Table, change: &str) -> anyhow::Result<()> {
    let (path, value) =
        change.split_once('=').with_context(|| format!("--set {change}: write KEY=VALUE"))?;
    let parts: Vec<&str> = path.split('.').collect();
    let Some((last, parents)) = parts.split_last() else { bail!("--set {change}: no key") };
    let mut at = table;
    let mut parents = parents.iter().peekable();
    while let Some(part) = parents.next() {
        let next = at.entry((*part).to_owned()).or_insert_with(|| Value::Table(Table::new()));
        at = match next {
            Value::Table(table) => table,
            Value::Array(items) => {
                let index = parents.next().and_then(|index| index.parse::<usize>().ok());
                match index.and_then(|index| items.get_mut(index)) {
                    Some(Value::Table(table)) => table,
                    _ => bail!("--set {change}: {part} is a list, write {part}.0 for its first"),
                }
            }
            _ => bail!("--set {change}: {part} is a value, nothing lies below it"),
        };
    }
    let old = at.get(*last);
    let value = parsed(value, matches!(old, Some(Value::String(_))));
    at.insert((*last).to_owned(), value);
    Ok(())
}

/// A value as TOML, or the text itself where it is none or takes the place of a text.
fn parsed(text: &str, as_text: bool) -> Value {
    let value = format!("value = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("value"));
    match value {
        Some(value) if !as_text || value.is_str() => value,
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(change: &str) -> String {
        let mut table: Table =
            "version = '1'\n[stages.alarm]\nabove = 3.1\n[[checks]]\nname = 'a'\n".parse().unwrap();
        match apply(&mut table, change) {
            Ok(()) => table.to_string().replace('\n', " ").trim().to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_key_is_changed_where_it_stands() {
        assert!(changed("version=2").contains("version = \"2\""));
        assert!(changed("stages.alarm.above=4.5").contains("above = 4.5"));
        assert!(changed("checks.0.name=b").contains("name = \"b\""));
        assert!(changed("trial.alarm_share=[0.0, 1.0]").contains("alarm_share = [0.0, 1.0]"));
    }

    #[test]
    fn a_change_that_fits_nowhere_says_what_to_write() {
        assert_eq!(changed("version"), "--set version: write KEY=VALUE");
        assert_eq!(
            changed("version.x=1"),
            "--set version.x=1: version is a value, nothing lies below it"
        );
        assert_eq!(
            changed("checks.name=b"),
            "--set checks.name=b: checks is a list, write checks.0 for its first"
        );
    }
}
