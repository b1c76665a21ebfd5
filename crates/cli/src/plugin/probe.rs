//! What `check` has a process of its own do: look into a component, compile it, and start it.

use super::bounds::Bounds;
use super::component::{self, Contents};
use crate::confined::{MODEL_BYTES_MAX, confine};
use crate::model::probe::memory;
use crate::output::Output;
use anyhow::Context;
use clap::Args;
use lineside_runtime::{Port, Sandbox};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Probe {
    /// The component.
    file: PathBuf,
    /// What its `configure` gets.
    #[arg(long = "set")]
    settings: Vec<String>,
    #[command(flatten)]
    bounds: Bounds,
}

/// What was found.
#[derive(Serialize, Deserialize)]
pub struct Probed {
    pub contents: Contents,
    /// What it does when it is started; none where it is not what a device would start.
    pub started: Option<Started>,
    /// Why a device would not run it.
    pub refused: Option<String>,
}

/// A plugin that was started.
#[derive(Serialize, Deserialize)]
pub struct Started {
    pub inputs: Vec<Told>,
    pub outputs: Vec<Told>,
    pub compile_ms: f64,
    pub start_ms: f64,
    /// Linear memory.
    pub memory_bytes: usize,
    /// All memory of the process that compiled and started it, where the kernel tells.
    pub process_bytes: Option<u64>,
}

/// A port, for programs.
#[derive(Serialize, Deserialize)]
pub struct Told {
    pub name: String,
    #[serde(rename = "type")]
    pub element: String,
    pub shape: Vec<usize>,
}

impl Told {
    fn of(port: &Port) -> Told {
        let (name, element) = (port.name().to_owned(), port.element().to_string());
        Told { name, element, shape: port.shape().to_vec() }
    }
}

pub fn run(probe: &Probe, output: &Output) -> anyhow::Result<()> {
    confine(MODEL_BYTES_MAX)?;
    let bytes = component::read(&probe.file)?;
    let contents = Contents::of(&bytes)?;
    let started = contents.accept().and_then(|()| start(&bytes, probe));
    let (started, refused) = match started {
        Ok(started) => (Some(started), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    output.print("", &Probed { contents, started, refused })
}

fn start(bytes: &[u8], probe: &Probe) -> anyhow::Result<Started> {
    let settings = probe.settings.iter().map(|setting| {
        let (key, value) = setting.split_once('=').context("a setting is KEY=VALUE")?;
        Ok((key.to_owned(), value.to_owned()))
    });
    let settings: Vec<(String, String)> = settings.collect::<anyhow::Result<_>>()?;
    let begun = Instant::now();
    let plugin = Sandbox::native(None)?.compile(bytes)?;
    let compiled = begun.elapsed();
    let begun = Instant::now();
    let instance = plugin.start(&settings, probe.bounds.limits())?;
    let started = begun.elapsed();
    let milli = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    Ok(Started {
        inputs: instance.inputs().iter().map(Told::of).collect(),
        outputs: instance.outputs().iter().map(Told::of).collect(),
        compile_ms: milli(compiled),
        start_ms: milli(started),
        memory_bytes: instance.memory_bytes(),
        process_bytes: memory("VmHWM:"),
    })
}
