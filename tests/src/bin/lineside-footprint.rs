//! What an agent takes: memory when idle and with the ECG bundle, time from start to first finding.

use anyhow::Context;
use lineside_tests::child::wait;
use lineside_tests::fleet::{Fleet, frame_findings};
use lineside_tests::root;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Starts that are timed; the median is told.
const STARTS: usize = 9;

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut fleet = Fleet::start(folder.path())?;
    let recording = root().join("examples/ecg/recordings/excerpt.csv");
    let settings = |pace: &str| {
        format!(
            "[slots.ecg]\nsource = 'lead'\nsinks = ['log']\n\
             [sources.lead]\nkind = 'file'\npaths = ['{}']\npace = {pace}\n\
             [sinks.log]\nkind = 'file'\npath = 'findings.jsonl'\n",
            recording.display()
        )
    };
    fleet.release("ecg", "1")?;
    fleet.add_device("bed-3", &settings("20.0"))?;
    fleet.start_agent("bed-3")?;
    wait("the agent answers", || {
        fleet.status("bed-3").filter(|status| status["connected"] == true)
    })?;
    println!("idle agent, connected: {:.1} MB resident", memory(&mut fleet)? / 1e6);
    fleet.assign("bed-3", "ecg", "ecg/1")?;
    let file = fleet.device_folder("bed-3").join("findings.jsonl");
    // A trial that is interrupted often is given up, so it is let to its end.
    fleet.wait_for("bed-3", "ecg v1 stays", |device| {
        let slot = &device["slots"]["ecg"];
        (slot["active"]["version"] == "1" && slot["phase"] == "idle").then_some(())
    })?;
    let resident = memory(&mut fleet)?;
    println!("with the ECG bundle, agent and worker: {:.1} MB resident", resident / 1e6);
    fleet.stop_agent("bed-3")?;

    let mut times = Vec::new();
    for _ in 0..STARTS {
        let before = beats(&file);
        let began = Instant::now();
        fleet.start_agent("bed-3")?;
        wait("the first finding", || (beats(&file) > before).then_some(()))?;
        times.push(began.elapsed());
        fleet.stop_agent("bed-3")?;
    }
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "start to first finding, warm, {STARTS} starts: median {:.0} ms, slowest {:.0} ms",
        ms(times[STARTS / 2]),
        ms(times[STARTS - 1])
    );
    Ok(())
}

fn beats(file: &Path) -> usize {
    frame_findings(file).map_or(0, |beats| beats.len())
}

/// Resident bytes of an agent and its workers.
fn memory(fleet: &mut Fleet) -> anyhow::Result<f64> {
    let agent = fleet.agent("bed-3").context("the agent does not run")?.id();
    let children = fs::read_dir(format!("/proc/{agent}/task"))?
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let mut bytes = 0.0;
    for process in [agent.to_string()].into_iter().chain(children) {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        let kib: f64 =
            line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0.0);
        bytes += kib * 1024.0;
    }
    Ok(bytes)
}
