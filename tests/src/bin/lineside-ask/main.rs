//! `lineside-ask PYTHON`: the local API beside BentoML, one worker each, with the turbine's model.
//!
//! Both are asked the same by the same program, in turns, so that what else the machine does falls on both
//! alike. What is told is ratios. PYTHON is one that has BentoML and onnxruntime.

mod load;
mod process;

use anyhow::{Context, bail};
use lineside_tests::child::{PATIENCE, Program, wait};
use lineside_tests::fleet::Fleet;
use lineside_tests::root;
use load::{Load, Seen};
use process::memory;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Turns, of which the median is told.
const ROUNDS: usize = 5;
/// How long each is asked in a turn, from so many connections.
const LONG: Duration = Duration::from_secs(4);
const CONNECTIONS: [usize; 2] = [1, 16];
/// How long each is asked before it counts.
const WARM_UP: Duration = Duration::from_secs(2);
const DEVICE: &str = "mill";
const MODEL: &str = "examples/turbine/models/turbine-v1.onnx";

fn main() -> anyhow::Result<()> {
    let python = std::env::args_os().nth(1).map(PathBuf::from);
    let python = python.context("usage: lineside-ask PYTHON, one that has BentoML")?;
    let folder = tempfile::tempdir()?;
    let mut ours = Ours::start(folder.path())?;
    let mut theirs = Theirs::start(&python, folder.path())?;
    let window: Vec<Vec<f64>> = (0..6)
        .map(|row| (0..5).map(|column| f64::from(row * 5 + column) / 8.0).collect())
        .collect();
    let ask_ours = ours.load(&window);
    let ask_theirs = theirs.load(&window);
    compare(&ask_ours, &ask_theirs)?;

    for load in [&ask_ours, &ask_theirs] {
        load.run(CONNECTIONS[1], WARM_UP)?;
    }
    println!("\n| connections | ours | BentoML | ours against it |");
    println!("|---|---|---|---|");
    for connections in CONNECTIONS {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push([ask_ours.run(connections, LONG)?, ask_theirs.run(connections, LONG)?]);
        }
        tell(connections, &rounds);
    }
    let bytes = (memory(ours.process()?), memory(theirs.process()));
    println!(
        "\nmemory after that: {:.1} MB and {:.1} MB, a ratio of {:.3}",
        bytes.0 / 1e6,
        bytes.1 / 1e6,
        bytes.0 / bytes.1
    );
    let mut starts = Vec::new();
    for _ in 0..ROUNDS {
        ours.stop()?;
        theirs.stop();
        let (began, load) = (Instant::now(), ours.load(&window));
        ours.start_again()?;
        let took = first_answer(began, &load)?;
        let (began, load) = (Instant::now(), theirs.load(&window));
        theirs.start_again()?;
        starts.push((took, first_answer(began, &load)?));
    }
    let ms = |seconds: f64| seconds * 1e3;
    let (ours, theirs) =
        (median(starts.iter().map(|it| it.0)), median(starts.iter().map(|it| it.1)));
    let ratio = median(starts.iter().map(|it| it.0 / it.1));
    println!(
        "from its start to the first answer: {:.0} ms and {:.0} ms, a ratio of {ratio:.3}",
        ms(ours),
        ms(theirs)
    );
    Ok(())
}

fn tell(connections: usize, rounds: &[[Seen; 2]]) {
    let told = |which: usize| {
        let of = |value: fn(&Seen) -> f64| median(rounds.iter().map(|it| value(&it[which])));
        format!(
            "{:.0}/s, p50 {:.0} µs, p99 {:.0} µs",
            of(|seen| seen.per_second),
            of(|seen| seen.p50.as_secs_f64() * 1e6),
            of(|seen| seen.p99.as_secs_f64() * 1e6)
        )
    };
    let ratio = |value: fn(&Seen) -> f64| {
        median(rounds.iter().map(|[ours, theirs]| value(ours) / value(theirs)))
    };
    println!(
        "| {connections} | {} | {} | throughput × {:.1}, p50 × {:.3} |",
        told(0),
        told(1),
        ratio(|seen| seen.per_second),
        ratio(|seen| seen.p50.as_secs_f64())
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Finds that both say the same.
fn compare(ours: &Load, theirs: &Load) -> anyhow::Result<()> {
    let answer: Value = serde_json::from_slice(&ours.once()?)?;
    let score = answer["outputs"][0]["data"][0].as_f64().context("we have no score")?;
    let mut answer: &Value = &serde_json::from_slice(&theirs.once()?)?;
    while answer.is_array() {
        answer = &answer[0];
    }
    let theirs = answer.as_f64().context("they have no score")?;
    if (score - theirs).abs() > 1e-4 * score.abs().max(1.0) {
        bail!("we say {score}, they say {theirs}");
    }
    Ok(())
}

/// Waits for an answer; gives the seconds since `began`.
fn first_answer(began: Instant, load: &Load) -> anyhow::Result<f64> {
    loop {
        if load.once().is_ok() {
            return Ok(began.elapsed().as_secs_f64());
        }
        if began.elapsed() > PATIENCE {
            bail!("there is no answer at {}", load.address);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A device that has committed the turbine's bundle, and whose readings are at their end.
struct Ours {
    fleet: Fleet,
    address: SocketAddr,
}

impl Ours {
    fn start(folder: &Path) -> anyhow::Result<Ours> {
        let mut fleet = Fleet::start(folder)?;
        let address = free_address()?;
        let recording = root().join("examples/turbine/recordings/reference.csv");
        let settings = format!(
            "[slots.turbine]\nsource = 'scada'\n\
             [sources.scada]\nkind = 'file'\npaths = ['{}']\npace = 'flat-out'\n\
             [api]\naddress = '{address}'\n",
            recording.display()
        );
        fleet.release("turbine", "1")?;
        fleet.add_device(DEVICE, &settings)?;
        fleet.start_agent(DEVICE)?;
        fleet.assign(DEVICE, "turbine", "turbine/1")?;
        fleet.wait_for(DEVICE, "turbine v1 stays", |device| {
            let slot = &device["slots"]["turbine"];
            (slot["active"]["version"] == "1" && slot["phase"] == "idle").then_some(())
        })?;
        let ours = Ours { fleet, address };
        let load = ours.load(&vec![vec![0.0; 5]; 6]);
        wait("the model is served", || load.once().ok())?;
        Ok(ours)
    }

    fn load(&self, window: &[Vec<f64>]) -> Load {
        let input =
            json!({ "name": "window", "shape": [1, 6, 5], "datatype": "FP32", "data": [window] });
        let body = json!({ "inputs": [input], "outputs": [{ "name": "score" }] }).to_string();
        Load::new(self.address, "/v2/models/turbine.judge/infer", &body)
    }

    fn process(&mut self) -> anyhow::Result<u32> {
        Ok(self.fleet.agent(DEVICE).context("the agent does not run")?.id())
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        self.fleet.stop_agent(DEVICE)
    }

    fn start_again(&mut self) -> anyhow::Result<()> {
        self.fleet.start_agent(DEVICE)
    }
}

/// BentoML.
struct Theirs {
    python: PathBuf,
    folder: PathBuf,
    address: SocketAddr,
    program: Option<Program>,
}

impl Theirs {
    fn start(python: &Path, folder: &Path) -> anyhow::Result<Theirs> {
        let folder = folder.join("bentoml");
        std::fs::create_dir(&folder)?;
        let service = folder.join("service.py");
        std::fs::write(service, include_bytes!("service.py"))?;
        let address = free_address()?;
        let mut theirs = Theirs { python: python.to_owned(), folder, address, program: None };
        theirs.start_again()?;
        first_answer(Instant::now(), &theirs.load(&vec![vec![0.0; 5]; 6]))?;
        Ok(theirs)
    }

    fn load(&self, window: &[Vec<f64>]) -> Load {
        Load::new(self.address, "/infer", &json!({ "window": [window] }).to_string())
    }

    fn process(&self) -> u32 {
        self.program.as_ref().map_or(0, Program::id)
    }

    fn stop(&mut self) {
        let Some(mut program) = self.program.take() else { return };
        // It ends its worker.
        program.signal(rustix::process::Signal::INT);
        let _ = program.ends(PATIENCE);
    }

    fn start_again(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.python);
        command.args(["-m", "bentoml", "serve", "service:Judge", "--host", "127.0.0.1", "--port"]);
        command.arg(self.address.port().to_string()).current_dir(&self.folder);
        command.env("MODEL", root().join(MODEL)).env("BENTOML_HOME", &self.folder);
        command.env("BENTOML_DO_NOT_TRACK", "True");
        self.program = Some(Program::start("bentoml", &self.folder, &mut command)?);
        Ok(())
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        self.stop();
    }
}
