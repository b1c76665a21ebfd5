//! Who plays, on which recordings, and what happens in which order.

use crate::outcome::{Outcome, SlotOutcome, Which, is_heard, versions};
use crate::voice::{Tone, Voice};
use anyhow::Context;
use lineside_tests::account::{Counts, alarm_share, audit};
use lineside_tests::child::wait_for;
use lineside_tests::examples::turbine_rows;
use lineside_tests::fleet::{Fleet, findings};
use lineside_tests::plant::Plant;
use lineside_tests::root;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Ten-minute means twenty times a second: a day in a little over seven seconds.
const TURBINE_PACE: f64 = 12_000.0;
/// The same, in rows of four turbines a second.
const TURBINE_ROWS_PER_SECOND: f64 = 80.0;
/// Five minutes of heart beats in a little over a minute and a half.
const ECG_PACE: f64 = 3.0;
/// Longest that a chapter may take.
const CHAPTER_MAX: Duration = Duration::from_secs(90);
/// How often the frost comes again. A trial needs readings, so they must not end before the story
/// does, however slow the machine; these last half an hour.
const FROSTS: usize = 100;
/// How often the heart beats are recorded anew, for the same reason.
const BEATS_AGAIN: usize = 18;

/// Windows of four turbines in a day.
const WINDOWS_A_DAY: usize = 96;
/// Share of alarms at which a person would do something.
const TOO_MANY_ALARMS: f64 = 0.25;

const MILLS: [&str; 2] = ["mill-1", "mill-2"];
const BED: &str = "bed-3";
const SITE: &str = "hill";
/// The list of devices that are expected.
const EXPECTED: &str = "expected.csv";
/// Devices come to the server by TLS, with certificates.
const TLS: &str =
    "[tls]\nhttp = \"127.0.0.1:0\"\nmqtt = \"127.0.0.1:0\"\nnames = [\"127.0.0.1\"]\n";
/// What the site's people sign: the score of a day should stay within what the bundle has learnt, and a person
/// is asked before another release comes for it.
const POLICY: &str = "[slots.turbine.rules.'profile.score']\nsignal = 'median'\noutput = 'score'\n\
                      learnt = true\nthen.assign = 'turbine/2'\n";

/// The story under way.
pub struct Story {
    fleet: Fleet,
    plant: Plant,
    voice: Voice,
    heard: BTreeSet<(String, u64, u64)>,
    /// Two mild days, then days of frost over and over.
    winter: Vec<PathBuf>,
    /// What turbine v2 is known to answer well: two mild weeks, and the first one of the next winter.
    known_good: PathBuf,
}

impl Story {
    /// Starts server, plant and devices in `folder`.
    ///
    /// # Errors
    /// What keeps them from starting.
    pub fn begin(folder: &Path, voice: Voice) -> anyhow::Result<Story> {
        // 18 and 19 January 2014.
        let mild = turbine_rows("reference", 0..1152, folder)?;
        // 5 to 7 February 2015: ice makes the anemometers lie.
        let frost = turbine_rows("shifted", 6336..7776, folder)?;
        let known_good = known_good(folder)?;
        let winter = [mild].into_iter().chain(std::iter::repeat_n(frost, FROSTS)).collect();
        voice.chapter("A server, a plant and three devices on this machine");
        let fleet = Fleet::start_set(folder, TLS)?;
        let plant = Plant::start(folder)?;
        let mut story = Story { fleet, plant, voice, heard: BTreeSet::new(), winter, known_good };
        story.tell("server", "is up; it holds no key that could sign a release");
        story.voice.add(&format!("its page: {}", story.page()?));
        story.tell("plant", "has a broker of its own and knows nothing of Lineside");
        story.expect_devices(folder)?;
        story.add_devices()?;
        Ok(story)
    }

    fn page(&self) -> anyhow::Result<String> {
        Ok(format!("{}/?token={}", self.fleet.url(), self.fleet.token()?))
    }

    fn tell(&self, who: &str, what: &str) {
        self.voice.say(who, what, Tone::Plain);
    }

    /// The operator has looked at the devices: with a token each they need not wait for him.
    fn expect_devices(&self, folder: &Path) -> anyhow::Result<()> {
        let list = [MILLS[0], MILLS[1], BED].join("\n");
        std::fs::write(folder.join(EXPECTED), list).context("cannot write the list of devices")?;
        self.fleet.json(&["device", "preauthorise", EXPECTED])?;
        self.tell(
            "operator",
            "gives each device a token; it makes a key of its own and joins by TLS",
        );
        Ok(())
    }

    fn add_devices(&mut self) -> anyhow::Result<()> {
        let port = self.plant.port();
        let file = |paths: &[PathBuf], pace: f64| {
            format!("kind = 'file'\npaths = {paths:?}\npace = {pace:?}\n")
        };
        let topic = format!("kind = 'mqtt'\nhost = '127.0.0.1'\nport = {port}\ntopic = 'scada'\n");
        let beats = root().join("examples/ecg/recordings/excerpt.csv");
        let beats = vec![beats; BEATS_AGAIN];
        for (device, slot, source, interval_seconds, what) in [
            (
                MILLS[0],
                "turbine",
                file(&self.winter, TURBINE_PACE),
                43_200,
                "four wind turbines from a recording",
            ),
            (MILLS[1], "turbine", topic, 43_200, "the same from the plant's broker"),
            (BED, "ecg", file(&beats, ECG_PACE), 10, "heart beats from a recording"),
        ] {
            // The scores of two models differ; whether their alarms do is what a person looks at.
            let settings = format!(
                "[slots.{slot}]\nsource = 'input'\nsinks = ['plant', 'log']\n\
                 [slots.{slot}.shadow]\nframes = {WINDOWS_A_DAY}\ndecide = 'ask'\n\
                 tolerance.'*' = {{ absolute = 1e9 }}\n\
                 [sources.input]\n{source}\
                 [sinks.plant]\nkind = 'mqtt'\nhost = '127.0.0.1'\nport = {port}\n\
                 topic = 'findings/{device}'\n\
                 [sinks.log]\nkind = 'file'\npath = 'findings.jsonl'\n\
                 [telemetry]\ninterval_seconds = {interval_seconds}\n"
            );
            match MILLS.contains(&device) {
                true => self.fleet.invite_device_at(device, SITE, &settings)?,
                false => self.fleet.invite_device(device, &settings).map(drop)?,
            }
            self.fleet.start_agent(device)?;
            self.tell(device, &format!("has {what}; its slot is vacant"));
        }
        Ok(())
    }

    /// Plays to the end.
    ///
    /// # Errors
    /// A chapter that does not come to its end.
    pub fn play(&mut self) -> anyhow::Result<()> {
        self.voice.chapter("1. The first releases");
        self.fleet.release("ecg", "1")?;
        self.fleet.release("turbine", "1")?;
        self.tell("operator", "signs ecg v1 and turbine v1, and assigns them");
        self.fleet.sign_policy(SITE, POLICY)?;
        self.tell(
            "site",
            "signs a rule: the median score of each day stays within what turbine v1 has learnt from a good \
             week, or its people are asked for turbine v2",
        );
        self.fleet.assign(BED, "ecg", "ecg/1")?;
        self.assign("1")?;
        self.until_held("1")?;
        self.until("ecg v1 waits for a person", |devices| {
            devices[BED]["slots"]["ecg"]["phase"] == "held"
        })?;
        self.tell("operator", "approves them: here nothing takes a route that nobody has let");
        self.approve()?;
        self.fleet.approve(BED, "ecg")?;
        self.until("turbine v1 is tried on mill-2", |devices| {
            devices[MILLS[1]]["slots"]["turbine"]["phase"] == "trial"
                || holds(&devices[MILLS[1]], "turbine", "1")
        })?;
        self.plant.publish(&self.winter, "scada", TURBINE_ROWS_PER_SECOND);
        self.until("turbine v1 and ecg v1 stay", |devices| {
            MILLS.iter().all(|mill| holds(&devices[*mill], "turbine", "1"))
                && holds(&devices[BED], "ecg", "1")
        })?;

        self.voice.chapter(
            "2. Frost: a rule asks for a better model, which takes over between two readings",
        );
        let released = self.fleet.release_profiled("turbine", "2", &self.known_good)?;
        self.tell(
            "operator",
            "signs turbine v2, which learnt from frost, and assigns it to nobody",
        );
        self.fleet.wait_for_delta(&released)?;
        self.tell("server", "has made a recipe: what turbine v2 is, seen from turbine v1");
        for mill in MILLS {
            let share = self.alarms(mill, "turbine v1", TOO_MANY_ALARMS)?;
            let what = format!(
                "{share} of the last {WINDOWS_A_DAY} windows alarm: v1 knows no iced sensors"
            );
            self.voice.say(mill, &what, Tone::Bad);
        }
        for mill in MILLS {
            let id = self.alerted(mill)?;
            self.fleet.json(&["alerts", "approve", &id.to_string()])?;
        }
        self.tell("operator", "approves both: turbine v2 is assigned");
        self.until("turbine v2 has come as a delta", |devices| {
            MILLS.iter().all(|mill| came_as_delta(&devices[*mill], "turbine v2"))
        })?;
        self.until_held("2")?;
        self.tell(
            "operator",
            "sees that the two differ where v1 cries wolf, and approves turbine v2",
        );
        self.approve()?;
        self.until("turbine v2 stays", |devices| {
            MILLS.iter().all(|mill| holds(&devices[*mill], "turbine", "2"))
        })?;
        for mill in MILLS {
            let share = self.alarms(mill, "turbine v2", 0.0)?;
            let what = format!("{share} of the last {WINDOWS_A_DAY} windows alarm");
            self.voice.say(mill, &what, Tone::Good);
        }
        self.until("what fired for turbine v1 is over", |devices| {
            MILLS.iter().all(|mill| event(&devices[*mill], "rule_over", "turbine v1"))
        })?;
        self.report()?;

        self.voice
            .chapter("3. A wrong model is refused by its checks, on the first device of a rollout");
        self.fleet.release("turbine", "3")?;
        self.tell(
            "operator",
            "signs turbine v3 unseen: its export took the wind for km/h; it loads, has the right \
             shapes, and is wrong",
        );
        let id = self.begin_rollout("3")?;
        let first = self.first_of(id)?;
        self.until("turbine v3 is refused", |devices| {
            event(&devices[first], "refused", "turbine v3")
        })?;
        self.until_stopped(id, first)?;

        self.voice.chapter("4. A wrong model that passes its checks is taken back");
        self.fleet.release("turbine", "4")?;
        self.tell("operator", "signs turbine v4: the same model, with checks recorded from itself");
        let id = self.begin_rollout("4")?;
        let first = self.first_of(id)?;
        self.until("turbine v4 waits for a person", |devices| is_held(&devices[first], "4"))?;
        self.tell("operator", "approves turbine v4 without a look at what it said in the shadow");
        self.fleet.approve(first, "turbine")?;
        self.until("turbine v4 is taken back", |devices| {
            event(&devices[first], "rolled_back", "turbine v4")
                && holds(&devices[first], "turbine", "2")
        })?;
        self.until_stopped(id, first)?;
        self.until("telemetry of all devices has arrived", |devices| devices.values().all(is_heard))
    }

    fn assign(&self, version: &str) -> anyhow::Result<()> {
        let release = format!("turbine/{version}");
        MILLS.iter().try_for_each(|mill| self.fleet.assign(mill, "turbine", &release).map(drop))
    }

    /// Waits until a turbine release has answered beside the route and a person is asked.
    fn until_held(&mut self, version: &str) -> anyhow::Result<()> {
        self.until(&format!("turbine v{version} waits for a person"), |devices| {
            MILLS.iter().all(|mill| is_held(&devices[*mill], version))
        })
    }

    /// Has a turbine release brought to the site: to one device, and to the others once it has committed there.
    fn begin_rollout(&self, version: &str) -> anyhow::Result<u64> {
        let plan = format!(
            "release = 'turbine/{version}'\nslot = 'turbine'\nselector.sites = ['{SITE}']\n\
             [[waves]]\nsize = {{ count = 1 }}\n[[waves]]\nsize = {{ percent = 100 }}\n"
        );
        let file = format!("turbine-{version}.toml");
        std::fs::write(self.fleet.folder().join(&file), plan).with_context(|| file.clone())?;
        let begun = self.fleet.json(&["rollout", "begin", &file])?;
        self.tell(
            "operator",
            &format!("begins a rollout of turbine v{version}: one device first, then the others"),
        );
        begun["id"].as_u64().context("a rollout has a number")
    }

    /// The device that a rollout comes to first.
    fn first_of(&self, id: u64) -> anyhow::Result<&'static str> {
        wait_for(CHAPTER_MAX, "the first device of a rollout", || {
            let members = self.fleet.get(&format!("/api/v1/rollouts/{id}/devices")).ok()?;
            let first = members.as_array()?.iter().find(|member| member["wave"] == 1)?;
            MILLS.into_iter().find(|mill| first["device"] == *mill)
        })
    }

    /// Waits until a rollout has stopped at its first device, has the operator take it back, and looks that the
    /// other one was given nothing.
    fn until_stopped(&mut self, id: u64, first: &str) -> anyhow::Result<()> {
        let path = format!("/api/v1/rollouts/{id}");
        let until = |what: &str, status: &str| {
            let what = format!("rollout {id} {what}");
            wait_for(CHAPTER_MAX, &what, || {
                self.fleet.get(&path).ok().filter(|shown| shown["status"] == status)
            })
        };
        let stopped = until("stops by itself", "stopped")?;
        let other = MILLS.iter().find(|mill| **mill != first).context("there are two mills")?;
        let known = self.fleet.get(&format!("/api/v1/devices/{other}"))?;
        if known["slots"]["turbine"]["assigned"] == stopped["release"] {
            anyhow::bail!("{other} was given what the gate of the first wave had stopped");
        }
        let why = stopped["text"].as_str().unwrap_or_default();
        let told = format!("rollout {id} {why}; {other} was never given it");
        self.voice.say("server", &told, Tone::Good);
        self.fleet.json(&["rollout", "roll-back", &id.to_string()])?;
        until("is taken back", "rolled_back").map(drop)
    }

    fn approve(&self) -> anyhow::Result<()> {
        MILLS.iter().try_for_each(|mill| self.fleet.approve(mill, "turbine").map(drop))
    }

    /// Waits until the site's rule has fired for turbine v1 on a device, and tells what it has seen; gives the
    /// number of the alert.
    fn alerted(&mut self, device: &str) -> anyhow::Result<u64> {
        let what = format!("a person is asked for turbine v2 on {device}");
        let found = wait_for(CHAPTER_MAX, &what, || {
            let alerts = self.fleet.get("/api/v1/alerts?open=true").ok()?;
            let is_it = |alert: &&Value| {
                alert["device"] == device
                    && alert["release"] == "turbine v1"
                    && alert["proposal"]["state"] == "asked"
            };
            alerts.as_array()?.iter().find(is_it).cloned()
        })?;
        self.listen()?;
        let id = found["id"].as_u64().context("an alert has a number")?;
        self.tell(
            "server",
            &format!("alert {id}: the site's rule asks for turbine v2 on {device}"),
        );
        Ok(id)
    }

    /// Has the report written of the days before and after turbine v2 took over, and tells what it says.
    fn report(&mut self) -> anyhow::Result<()> {
        let file = self.fleet.folder().join("drift.html");
        let path = file.to_string_lossy();
        self.fleet.json(&["report", "drift", "--slot", "turbine", "--site", SITE, "-o", &*path])?;
        self.tell("server", &format!("has a report of before and after: {path}"));
        Ok(())
    }

    /// Waits until at least this share of a device's last windows raise an alarm; gives how many.
    fn alarms(&self, device: &str, release: &str, share: f64) -> anyhow::Result<f64> {
        let file = self.fleet.device_folder(device).join("findings.jsonl");
        let what = format!("{share} of the windows of {device} raise an alarm");
        let reached = wait_for(CHAPTER_MAX, &what, || {
            let found = findings(&file).unwrap_or_default();
            let now = alarm_share(&found, "turbine", release, WINDOWS_A_DAY)?;
            (now >= share).then_some(now)
        })?;
        Ok((reached * WINDOWS_A_DAY as f64).round())
    }

    /// Waits until the devices, as the server knows them, are as they should be, and tells what
    /// happens meanwhile.
    fn until(
        &mut self,
        what: &str,
        reached: impl Fn(&BTreeMap<String, Value>) -> bool,
    ) -> anyhow::Result<()> {
        let mut failed = None;
        let waited = wait_for(CHAPTER_MAX, what, || match self.listen() {
            Ok(devices) => reached(&devices).then_some(()),
            Err(error) => {
                failed = Some(error);
                Some(())
            }
        });
        match failed {
            Some(error) => Err(error),
            None => waited,
        }
    }

    /// The devices as the server knows them. Tells of events that are new.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn listen(&mut self) -> anyhow::Result<BTreeMap<String, Value>> {
        let list = self.fleet.get("/api/v1/devices")?;
        let mut devices = BTreeMap::new();
        for name in list.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()) {
            let device = self.fleet.get(&format!("/api/v1/devices/{name}"))?;
            for event in device["events"].as_array().into_iter().flatten().rev() {
                let number = |field: &str| event[field].as_u64().unwrap_or(0);
                let id = (name.to_owned(), number("boot"), number("sequence"));
                if self.heard.insert(id) {
                    self.tell_event(name, event);
                }
            }
            devices.insert(name.to_owned(), device);
        }
        Ok(devices)
    }

    fn tell_event(&self, device: &str, event: &Value) {
        let tone = match event["kind"].as_str().unwrap_or_default() {
            // The operator has just said so.
            "assigned" => return,
            "downloaded" | "trial_started" => Tone::Plain,
            "committed" | "rule_over" => Tone::Good,
            _ => Tone::Bad,
        };
        self.voice.say(device, event["text"].as_str().unwrap_or_default(), tone);
    }

    /// What came of it.
    ///
    /// # Errors
    /// A device or the server is silent.
    pub fn outcome(&mut self) -> anyhow::Result<Outcome> {
        let devices = self.listen()?;
        let mut outcome = Outcome {
            devices: devices.values().filter(|device| is_heard(device)).count() as u64,
            committed: versions(&devices, "turbine", "committed", Which::Last),
            alerted: versions(&devices, "turbine", "rule_fired", Which::All),
            refused: versions(&devices, "turbine", "refused", Which::All),
            rolled_back: versions(&devices, "turbine", "rolled_back", Which::All),
            ..Outcome::default()
        };
        for (name, device) in &devices {
            let told = device["telemetry"].as_object().into_iter().flat_map(|told| told.values());
            outcome.doubled_told += told.filter_map(|slot| slot["doubled"].as_u64()).sum::<u64>();
            let status = self.fleet.status(name).with_context(|| format!("{name} is silent"))?;
            // In this order: what was found since then is counted, and not in the file yet.
            let found = findings(&self.fleet.device_folder(name).join("findings.jsonl"))?;
            for (slot, said) in status["slots"].as_object().into_iter().flatten() {
                let of_slot: Vec<Value> =
                    found.iter().filter(|finding| finding["slot"] == *slot).cloned().collect();
                outcome.slots.push(SlotOutcome {
                    device: name.clone(),
                    slot: slot.clone(),
                    release: said["active"].as_str().unwrap_or("none").to_owned(),
                    counts: Counts::of(said)?,
                    // A frame of a tenth of a second may hold no heart beat.
                    audit: audit(&of_slot, &["turbine"])?,
                });
            }
        }
        Ok(outcome)
    }

    /// Tells what came of it.
    pub fn tell_outcome(&self, outcome: &Outcome) {
        self.voice.chapter("What came of it, as devices and server recorded it");
        let head =
            ["device", "slot", "answers", "readings", "findings", "alarms", "lost", "doubled"];
        let mut rows = vec![head.map(str::to_owned)];
        for SlotOutcome { device, slot, release, counts, audit } in &outcome.slots {
            rows.push([
                device.clone(),
                slot.clone(),
                release.clone(),
                counts.accepted.to_string(),
                audit.answered.to_string(),
                counts.alarms.to_string(),
                (counts.lost + audit.lost).to_string(),
                (counts.doubled + audit.doubled).to_string(),
            ]);
        }
        self.voice.table(3, &rows);
        println!();
    }

    /// Tells that the devices go on, and where to look.
    ///
    /// # Errors
    /// The server has lost its token.
    pub fn invite(&self) -> anyhow::Result<()> {
        println!("\nThe devices go on: {}", self.page()?);
        println!("Ctrl-C ends everything.");
        Ok(())
    }
}

/// The recording of two mild weeks, and the first week of the next winter, as one file.
fn known_good(folder: &Path) -> anyhow::Result<PathBuf> {
    let [mild, next] = [("reference", 0..8064), ("shifted", 0..4032)]
        .map(|(recording, rows)| turbine_rows(recording, rows, folder));
    let (mild, next) = (std::fs::read_to_string(mild?)?, std::fs::read_to_string(next?)?);
    let rows = next.split_once('\n').map_or("", |(_, rows)| rows);
    let file = folder.join("known-good.csv");
    std::fs::write(&file, mild + rows)?;
    Ok(file)
}

/// Whether a slot has committed this version and nothing else is under way.
fn holds(device: &Value, slot: &str, version: &str) -> bool {
    let slot = &device["slots"][slot];
    slot["active"]["version"] == version && slot["phase"] == "idle"
}

/// Whether a device has made a release of what it had.
fn came_as_delta(device: &Value, release: &str) -> bool {
    let mut events = device["events"].as_array().into_iter().flatten();
    events.any(|event| {
        let text = event["text"].as_str().unwrap_or_default();
        event["kind"] == "downloaded" && event["release"] == release && text.contains("by delta")
    })
}

/// Whether a turbine release has answered beside the route and waits for a person.
fn is_held(device: &Value, version: &str) -> bool {
    let slot = &device["slots"]["turbine"];
    slot["phase"] == "held" && slot["candidate"]["version"] == version
}

fn event(device: &Value, kind: &str, release: &str) -> bool {
    let mut events = device["events"].as_array().into_iter().flatten();
    events.any(|event| event["kind"] == kind && event["release"] == release)
}
