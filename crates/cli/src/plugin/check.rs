//! `lineside plugin check`.

use super::bounds::Bounds;
use super::component::INTERFACE;
use super::probe::{Probed, Started, Told as Port};
use crate::bundle::size;
use crate::confined;
use crate::output::{Output, Told};
use anyhow::{Context, bail};
use clap::Args;
use lineside_bundle::Limits;
use serde_json::json;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

pub const EXAMPLES: &str = "\
Examples:
  lineside plugin check mean.wasm
  lineside plugin check mean.wasm --set rows=32 --memory-mib 16     as the bundle will have it
  lineside plugin check mean.wasm --json | jq .imports              []

Exit code: 0 where devices run it; 1 where not, with the reason and what to do.";

#[derive(Args)]
pub struct Check {
    /// The component, a .wasm file.
    file: PathBuf,
    /// A setting for its `configure`, as in `config` of its stage.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    #[command(flatten)]
    bounds: Bounds,
}

pub fn run(check: &Check, output: &Output) -> anyhow::Result<()> {
    let name = check.file.display();
    let file = std::fs::metadata(&check.file).with_context(|| format!("cannot read {name}"))?;
    if !file.is_file() {
        bail!("{name} is no file");
    }
    if let Some(setting) = check.settings.iter().find(|setting| !setting.contains('=')) {
        bail!("--set {setting}: write KEY=VALUE");
    }
    let mut arguments: Vec<OsString> = vec!["plugin".into(), "probe".into()];
    arguments.extend(check.settings.iter().map(|setting| format!("--set={setting}").into()));
    arguments.extend(check.bounds.arguments());
    arguments.extend(["--".into(), check.file.clone().into_os_string()]);
    let probed: Probed = {
        let _working = output.working(format!("checking {name}"));
        let time_max = Duration::from_secs(u64::from(check.bounds.seconds.get()));
        confined::run(&arguments, time_max, Some("--seconds allows more"))
            .with_context(|| name.to_string())?
    };
    let wrong = probed.refused.as_ref().map(|reason| format!("{name}: {reason}"));
    let json = json!({ "file": check.file, "bytes": file.len(),
        "world": probed.contents.exports.iter().any(|it| it == INTERFACE).then_some(INTERFACE),
        "imports": probed.contents.imports, "exports": probed.contents.exports,
        "refused": probed.contents.refused.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "started": probed.started, "error": wrong });
    output.print(shown(check, file.len(), &probed), &json)?;
    wrong.map_or(Ok(()), |wrong| Err(Told(wrong).into()))
}

fn shown(check: &Check, bytes: u64, probed: &Probed) -> String {
    let mut text = format!("{}: {}", check.file.display(), size(bytes));
    for (heading, names) in
        [("imports", &probed.contents.imports), ("exports", &probed.contents.exports)]
    {
        let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        let _ = write!(text, "\n{heading}  {names}");
    }
    for (name, cure) in &probed.contents.refused {
        let _ = write!(text, "\nuses     {name}: {cure}");
    }
    if let Some(started) = &probed.started {
        text += &told(started);
    }
    text
}

fn told(started: &Started) -> String {
    let ports = |ports: &[Port]| {
        let told =
            ports.iter().map(|Port { name, element, shape }| format!("{name} {element} {shape:?}"));
        told.collect::<Vec<_>>().join(", ")
    };
    let mut text = format!(
        "\ntakes    {}\ngives    {}\ncompiled in {:.0} ms, started in {:.1} ms with {} of memory",
        ports(&started.inputs),
        ports(&started.outputs),
        started.compile_ms,
        started.start_ms,
        size(started.memory_bytes as u64)
    );
    let usual = Limits::default();
    let mib = started.memory_bytes.div_ceil(1 << 20);
    if mib > usual.plugin_memory_mib as usize {
        let _ = write!(
            text,
            "\nneeds    limits.plugin_memory_mib = {} in bundle.toml, {} unless set; `lineside plugin test` says \
             how much its frames take",
            mib.next_multiple_of(16),
            usual.plugin_memory_mib
        );
    }
    // With room for what the worker of a device has besides.
    let mib = started.process_bytes.map_or(0, |bytes| (bytes + bytes / 8).div_ceil(1 << 20));
    if mib > u64::from(usual.memory_mib) {
        let _ = write!(
            text,
            "\nneeds    limits.memory_mib = {} in bundle.toml to be compiled on a device, {} unless set",
            mib.next_multiple_of(64),
            usual.memory_mib
        );
    }
    text
}
