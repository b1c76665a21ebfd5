//! A fleet in one folder: a real server, its operator with keys, devices with real agents.

use crate::child::{PATIENCE, Program, wait};
use crate::{complaint, examples, lineside_in, program};
use anyhow::{Context, bail};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The server's settings, where it has any.
const SETTINGS: &str = "server.toml";

/// A server with its operator, and devices. All of it ends when this is dropped.
pub struct Fleet {
    folder: PathBuf,
    server: Option<Program>,
    agents: BTreeMap<String, Program>,
    http: String,
    mqtt: String,
    /// Whether the server has settings.
    is_set: bool,
}

impl Fleet {
    /// Starts a server at free ports, everything in `folder`, and makes keys for it.
    ///
    /// # Errors
    /// What the programs say.
    pub fn start(folder: &Path) -> anyhow::Result<Fleet> {
        let fleet = Fleet::without_keys(folder)?;
        fleet.json(&["keys", "new", "-o", "keys"])?;
        Ok(fleet)
    }

    /// As [`Fleet::start`], with `settings`, a `server.toml`.
    ///
    /// # Errors
    /// What the programs say.
    pub fn start_set(folder: &Path, settings: &str) -> anyhow::Result<Fleet> {
        fs::write(folder.join(SETTINGS), settings).context("cannot write the server's settings")?;
        let fleet = Fleet::begin(folder, true)?;
        fleet.json(&["keys", "new", "-o", "keys"])?;
        Ok(fleet)
    }

    /// Starts a server that follows no root yet.
    ///
    /// # Errors
    /// What the program says.
    pub fn without_keys(folder: &Path) -> anyhow::Result<Fleet> {
        Fleet::begin(folder, false)
    }

    fn begin(folder: &Path, is_set: bool) -> anyhow::Result<Fleet> {
        let any = "127.0.0.1:0".to_owned();
        let mut fleet = Fleet {
            folder: folder.to_owned(),
            server: None,
            agents: BTreeMap::new(),
            http: any.clone(),
            mqtt: any,
            is_set,
        };
        fleet.start_server()?;
        Ok(fleet)
    }

    /// The folder that everything is in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Base URL of the server, the same after each start.
    pub fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Starts the server where it was, and waits until it is ready.
    ///
    /// # Errors
    /// What it says if it does not get ready.
    pub fn start_server(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(program("lineside-server"));
        command.current_dir(&self.folder).args(["run", "--data", "server"]);
        command.args(["--http", &self.http, "--mqtt", &self.mqtt]);
        if self.is_set {
            command.args(["--settings", SETTINGS]);
        }
        let mut server = Program::start("server", &self.folder, &mut command)?;
        let http = server.says("http ")?;
        self.http = http.trim_start_matches("http://").trim_end_matches('/').to_owned();
        self.mqtt = server.says("mqtt ")?;
        self.server = Some(server);
        Ok(())
    }

    /// Tells the server to stop and waits until it has.
    ///
    /// # Errors
    /// It does not.
    pub fn stop_server(&mut self) -> anyhow::Result<()> {
        self.server.take().map_or(Ok(()), stop)
    }

    /// Takes the server away between two instructions, as a power cut does.
    pub fn kill_server(&mut self) {
        self.server = None;
    }

    /// The administrator's token.
    ///
    /// # Errors
    /// The server has not made one.
    pub fn token(&self) -> anyhow::Result<String> {
        let token = fs::read_to_string(self.folder.join("server/admin.token"));
        Ok(token.context("cannot read the administrator's token")?.trim().to_owned())
    }

    /// What the API answers to the administrator at this path.
    ///
    /// # Errors
    /// It answers otherwise.
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
        let url = format!("{}{path}", self.url());
        let bearer = format!("Bearer {}", self.token()?);
        let answer = agent.get(&url).header("authorization", bearer).call();
        Ok(answer.with_context(|| url.clone())?.body_mut().read_json()?)
    }

    /// Runs `lineside` as this fleet's operator, in this fleet's folder.
    pub fn lineside(&self, arguments: &[&str]) -> Output {
        lineside_in(&self.folder, &[&["--data", "server"], arguments].concat())
    }

    /// Runs `lineside --json` as the operator and gives what it tells.
    ///
    /// # Errors
    /// The tool's words if it does not succeed.
    pub fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = self.lineside(&[&["--json"], arguments].concat());
        if !output.status.success() {
            bail!("lineside {}: {}", arguments.join(" "), complaint(&output));
        }
        serde_json::from_slice(&output.stdout).context("--json prints one document")
    }

    /// Builds and signs a version of an example; nobody looks at the checks of one that is there to
    /// be refused or taken back, for devices must notice.
    ///
    /// # Errors
    /// The tool's words.
    pub fn release(&self, example: &str, version: &str) -> anyhow::Result<Value> {
        self.release_file(example, version, &examples::build(example, version, &self.folder)?)
    }

    /// As [`Fleet::release`], with a profile made of what the release answers to `reference`.
    ///
    /// # Errors
    /// The tool's words.
    pub fn release_profiled(
        &self,
        example: &str,
        version: &str,
        reference: &Path,
    ) -> anyhow::Result<Value> {
        let file = examples::build_profiled(example, version, reference, &self.folder)?;
        self.release_file(example, version, &file)
    }

    fn release_file(&self, example: &str, version: &str, file: &Path) -> anyhow::Result<Value> {
        let file = file.to_string_lossy();
        match examples::version(example, version)?.faulty {
            true => self.json(&["release", "--unchecked", &file]),
            false => self.json(&["release", &file]),
        }
    }

    /// Assigns a release (`turbine/2`) to a slot.
    ///
    /// # Errors
    /// The tool's words.
    pub fn assign(&self, device: &str, slot: &str, release: &str) -> anyhow::Result<Value> {
        self.json(&["assign", device, slot, release])
    }

    /// Waits until the server has a delta to what [`Fleet::release`] has released.
    ///
    /// # Errors
    /// In vain.
    pub fn wait_for_delta(&self, released: &Value) -> anyhow::Result<()> {
        let path = released["release"].as_str().unwrap_or_default();
        let (bundle, _) = path.split_once('/').context("a release has a name and a version")?;
        let digest = released["digest"].as_str().context("a release has a digest")?;
        let referrers = format!("/v2/{bundle}/referrers/{digest}");
        wait(&format!("the server has a delta to {path}"), || {
            let referrers = self.get(&referrers).ok()?;
            (!referrers["manifests"].as_array()?.is_empty()).then_some(())
        })
    }

    /// Lets the release that a slot holds back take the route.
    ///
    /// # Errors
    /// The tool's words.
    pub fn approve(&self, device: &str, slot: &str) -> anyhow::Result<Value> {
        self.json(&["approve", device, slot])
    }

    /// The device as the server describes it.
    ///
    /// # Errors
    /// The tool's words.
    pub fn show(&self, device: &str) -> anyhow::Result<Value> {
        self.json(&["device", "show", device])
    }

    /// The folder of a device: `agent.toml`, `device/`, `state/`.
    pub fn device_folder(&self, device: &str) -> PathBuf {
        self.folder.join(device)
    }

    /// Adds a device whose agent has `settings`, an `agent.toml` without its folders.
    ///
    /// # Errors
    /// The tool's words.
    pub fn add_device(&self, device: &str, settings: &str) -> anyhow::Result<()> {
        self.json(&["device", "add", device, "-o", &format!("{device}/device")])?;
        self.set(device, settings)
    }

    /// Makes the folder of a device that joins by a key of its own, whose agent has `settings`.
    ///
    /// # Errors
    /// The tool's words.
    pub fn invite_device(&self, device: &str, settings: &str) -> anyhow::Result<Value> {
        let made = self.json(&["device", "token", device, "-o", &format!("{device}/device")])?;
        self.set(device, settings)?;
        Ok(made)
    }

    /// As [`Fleet::invite_device`], at a site whose policy holds there.
    ///
    /// # Errors
    /// The tool's words.
    pub fn invite_device_at(&self, device: &str, site: &str, settings: &str) -> anyhow::Result<()> {
        let folder = format!("{device}/device");
        self.json(&["device", "token", device, "-o", &folder, "--site", site])?;
        self.set(device, &format!("site = {site:?}\n{settings}"))
    }

    /// As [`Fleet::add_device`], at a site whose policy holds there.
    ///
    /// # Errors
    /// The tool's words.
    pub fn add_device_at(&self, device: &str, site: &str, settings: &str) -> anyhow::Result<()> {
        self.json(&["device", "add", device, "-o", &format!("{device}/device"), "--site", site])?;
        self.set(device, &format!("site = {site:?}\n{settings}"))
    }

    /// Signs a site's policy, TOML, with keys of the site, which are made and named by the release keys where
    /// there are none.
    ///
    /// # Errors
    /// The tool's words.
    pub fn sign_policy(&self, site: &str, policy: &str) -> anyhow::Result<Value> {
        let (key, file) = (format!("{site}.pem"), format!("{site}.toml"));
        if !self.folder.join(&key).exists() {
            self.json(&["keys", "generate", "-o", &key, "--owner", site])?;
            let role = format!("site-{site}");
            self.json(&["release", "delegate", &role, "--key", &format!("{site}.pub.json")])?;
        }
        fs::write(self.folder.join(&file), policy).with_context(|| file.clone())?;
        self.json(&["site", "policy", "sign", &file, "--site", site, "--key", &key])
    }

    /// Writes a device's `agent.toml`; it is read at the next start.
    ///
    /// # Errors
    /// What the file system says.
    pub fn set(&self, device: &str, settings: &str) -> anyhow::Result<()> {
        let text = format!("device_dir = \"device\"\nstate_dir = \"state\"\n{settings}");
        let file = self.device_folder(device).join("agent.toml");
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Starts a device's agent, from where it was left.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_agent(&mut self, device: &str) -> anyhow::Result<()> {
        let folder = self.device_folder(device);
        let mut command = Command::new(program("lineside-agent"));
        command.current_dir(&folder).args(["run", "--config", "agent.toml"]);
        let agent = Program::start("agent", &folder, &mut command)?;
        self.agents.insert(device.to_owned(), agent);
        Ok(())
    }

    /// Tells a device's agent to stop and waits until it has.
    ///
    /// # Errors
    /// It does not.
    pub fn stop_agent(&mut self, device: &str) -> anyhow::Result<()> {
        self.agents.remove(device).map_or(Ok(()), stop)
    }

    /// Takes a device's agent away between two instructions; its workers notice by themselves.
    pub fn kill_agent(&mut self, device: &str) {
        self.agents.remove(device);
    }

    /// A device's agent, if it was started and not stopped.
    pub fn agent(&mut self, device: &str) -> Option<&mut Program> {
        self.agents.get_mut(device)
    }

    /// Runs `lineside-agent` on a device, beside the agent that may run there.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn on_device(&self, device: &str, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new(program("lineside-agent"));
        command.current_dir(self.device_folder(device)).args(arguments);
        command.output().context("cannot start lineside-agent")
    }

    /// What a device says of itself; none while it cannot be asked.
    pub fn status(&self, device: &str) -> Option<Value> {
        let output = self.on_device(device, &["status", "--json"]).ok()?;
        output.status.success().then(|| serde_json::from_slice(&output.stdout).ok())?
    }

    /// Waits until a device itself says how it is.
    ///
    /// # Errors
    /// In vain: with what the agent says when it is asked, and what it logged.
    pub fn wait_for_status(&self, device: &str) -> anyhow::Result<Value> {
        self.wait_until_says(device, "the agent answers", |status| status["running"] == true)
    }

    /// Waits until a device says of itself what is wanted; gives all that it says.
    ///
    /// # Errors
    /// In vain: with what the agent says when it is asked, and what it logged.
    pub fn wait_until_says(
        &self,
        device: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        wait(what, || self.status(device).filter(&wanted)).with_context(|| {
            let log = self.agents.get(device).map(Program::log).unwrap_or_default();
            let asked = self.on_device(device, &["status", "--json"]);
            let said = |output: Output| {
                format!("{} {}", String::from_utf8_lossy(&output.stdout), complaint(&output))
            };
            format!("{:?}\n{log}", asked.map(said))
        })
    }

    /// Waits until `found` finds something in the device as the server describes it.
    ///
    /// # Errors
    /// In vain: with what the server and the agent know of it.
    pub fn wait_for<T>(
        &self,
        device: &str,
        what: &str,
        found: impl Fn(&Value) -> Option<T>,
    ) -> anyhow::Result<T> {
        wait(what, || found(&self.show(device).ok()?)).with_context(|| {
            let log = self.agents.get(device).map(Program::log).unwrap_or_default();
            format!("{:#}\n{log}", self.show(device).unwrap_or_default())
        })
    }
}

/// The findings of frames in the file that an agent writes; those of a vacant slot are left out.
///
/// # Errors
/// A line is not JSON.
pub fn frame_findings(file: &Path) -> anyhow::Result<Vec<Value>> {
    let mut findings = findings(file)?;
    findings.retain(|finding| !finding["frame"].is_null());
    Ok(findings)
}

/// The findings in the file that an agent writes; a line that is being written is left out.
///
/// # Errors
/// A line is not JSON.
pub fn findings(file: &Path) -> anyhow::Result<Vec<Value>> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let parse = |line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}"));
    whole.lines().map(parse).collect()
}

fn stop(mut program: Program) -> anyhow::Result<()> {
    program.signal(Signal::TERM);
    program.ends(PATIENCE).context("it was told to stop")?;
    Ok(())
}
