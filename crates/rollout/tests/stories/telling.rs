//! How a story is read and told.

use lineside_rollout::{
    Assign, Conflicts, DeviceFacts, Effect, Event, Gate, Measured, Membership, News, Order,
    Otherwise, Person, Phase, Plan, Refused, Report, RolloutId, Rollouts, Selector, SiteFacts,
    Size, Then, Ticked, Wave, Way, Why, Window, Wish,
};
use std::collections::BTreeMap;
use std::error::Error;

/// The story, with what comes of each line now. Lines that are neither are kept: they are its text.
pub fn told(stored: &str) -> String {
    let mut teller = Teller::default();
    let mut lines = Vec::new();
    for line in stored.lines() {
        if let Some(what) = line.strip_prefix("> ") {
            lines.push(line.to_owned());
            lines.extend(teller.tell(what).into_iter().map(|line| format!("    {line}")));
        } else if !line.starts_with("    ") {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n") + "\n"
}

#[derive(Default)]
struct Teller {
    rollouts: Rollouts,
    /// What each device runs, and was assigned last.
    active: BTreeMap<String, Option<String>>,
    assigned: BTreeMap<String, Assign>,
    sequence: u32,
    minute: u16,
}

impl Teller {
    fn tell(&mut self, what: &str) -> Vec<String> {
        let words: Vec<&str> = what.split_whitespace().collect();
        match words[..] {
            ["site", site, ref options @ ..] => self.site(site, options),
            ["devices", site, from, to, hardware, release] => {
                let numbers = from.parse::<u32>().unwrap()..=to.parse().unwrap();
                numbers
                    .flat_map(|n| self.enrol(&format!("{site}-{n}"), site, hardware, release))
                    .collect()
            }
            ["make", id, release, by, ref options @ ..] => {
                let (rollout, plan) = (id.parse().unwrap(), Box::new(plan(release, options)));
                self.happen(Event::Created { rollout, plan, by: by.into() })
            }
            ["preflight", release, ref options @ ..] => self.preflight(release, options),
            ["clock", minute] => {
                self.minute = minute.parse().unwrap();
                vec![]
            }
            ["minutes", minutes] => self.minutes(minutes.parse().unwrap()),
            ["restart"] => {
                let text = serde_json::to_string(&self.rollouts).unwrap();
                self.rollouts = serde_json::from_str(&text).unwrap();
                self.happen(Event::Started)
            }
            ["show", id] => self.show(id.parse().unwrap()),
            ["explain", id, device] => {
                vec![self.rollouts.explain(id.parse().unwrap(), device).unwrap_or("nothing".into())]
            }
            ["leaves", device] => self.happen(Event::Left { device: device.into() }),
            ["hand", device] => {
                self.happen(Event::TakenOver { device: device.into(), slot: "line".into() })
            }
            ["report", device, ref does @ ..] => self.report(device, does),
            ["everybody", ref does @ ..] => self.everybody(does),
            ["drift", device, value] => {
                let release = self.active[device].clone().unwrap();
                self.happen(Event::Measured(Measured {
                    device: device.into(),
                    slot: "line".into(),
                    release,
                    frames: 1000,
                    error_share: None,
                    latency_p95_ms: None,
                    drift: value.parse().ok(),
                    agreement: None,
                }))
            }
            [by, wish, id, ref rest @ ..] => self.person(by, wish, id.parse().unwrap(), rest),
            _ => panic!("{what:?} is not understood"),
        }
    }

    fn happen(&mut self, event: Event) -> Vec<String> {
        match self.rollouts.step(&event) {
            Ok(effects) => self.effects(&effects),
            Err(refused) => vec![format!("refused: {}", chain(&refused))],
        }
    }

    /// One line for each piece of news, and one for all devices that are given the same.
    fn effects(&mut self, effects: &[Effect]) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for effect in effects {
            match effect {
                Effect::Assign(assign) => {
                    self.assigned.insert(assign.device.clone(), assign.clone());
                    let release = assign.release.as_deref().unwrap_or("nothing");
                    let again = match assign.attempt {
                        0 => String::new(),
                        attempt => format!(", tried again {attempt}"),
                    };
                    let why = match assign.why {
                        Why::Turn(wave) => format!("wave {wave}{again}"),
                        Why::Return => "back".into(),
                    };
                    let start = format!("rollout {}: {release} ({why}) for", assign.rollout);
                    match lines.last_mut() {
                        Some(line) if line.starts_with(&start) => {
                            *line += &format!(" {}", assign.device)
                        }
                        _ => lines.push(format!("{start} {}", assign.device)),
                    }
                }
                Effect::Tell { rollout, news } => {
                    let news = match news {
                        News::Began { wave } => format!("wave {wave} begins"),
                        News::Passed { wave } => format!("wave {wave} is through"),
                        News::Asks { .. } | News::Paused { .. } => {
                            self.rollouts.rollout(*rollout).unwrap().status().to_string()
                        }
                        News::RollingBack { broken: Some((wave, breach)) } => {
                            format!("rolls back: wave {wave}: {breach}")
                        }
                        News::RollingBack { broken: None } => "rolls back".into(),
                        News::RolledBack { not_returned } => {
                            format!("has rolled back, {not_returned} devices did not")
                        }
                        News::Standing => "all waves are through; newcomers follow".into(),
                        News::Aborted => "is aborted".into(),
                        News::Done => "is done".into(),
                    };
                    lines.push(format!("rollout {rollout} {news}"));
                }
            }
        }
        lines
    }

    fn site(&mut self, site: &str, options: &[&str]) -> Vec<String> {
        let mut facts = SiteFacts { site: site.into(), ..SiteFacts::default() };
        for option in options {
            match option.split_once('=').unwrap() {
                ("offset", minutes) => facts.offset_minutes = minutes.parse().unwrap(),
                ("window", window) => facts.windows.push(self::window(window)),
                ("downloads", max) => facts.downloads_max = max.parse().ok(),
                ("rate", rate) => facts.bytes_per_second_max = rate.parse().ok(),
                _ => panic!("{option:?} is no option of a site"),
            }
        }
        self.happen(Event::Site(facts))
    }

    fn enrol(&mut self, device: &str, site: &str, hardware: &str, release: &str) -> Vec<String> {
        let facts = DeviceFacts {
            device: device.into(),
            site: site.into(),
            hardware: hardware.into(),
            labels: BTreeMap::new(),
        };
        let mut lines = self.happen(Event::Device(facts));
        let active = (release != "vacant").then(|| release.to_owned());
        self.active.insert(device.into(), active);
        if release != "silent" {
            lines.extend(self.say(device, Way::Idle));
        }
        lines
    }

    fn say(&mut self, device: &str, way: Way) -> Vec<String> {
        self.sequence += 1;
        self.happen(Event::Reported(Report {
            device: device.into(),
            slot: "line".into(),
            order: Order { boot: 1, sequence: self.sequence },
            active: self.active[device].clone(),
            way,
        }))
    }

    fn report(&mut self, device: &str, does: &[&str]) -> Vec<String> {
        let assigned = self.assigned.get(device).cloned();
        let attempt = assigned.as_ref().map_or(0, |assigned| assigned.attempt);
        let release = assigned.and_then(|assigned| assigned.release);
        let working = |phase| Way::Working { release: release.clone().unwrap(), phase };
        let way = match does {
            ["downloads"] => working(Phase::Downloading),
            ["stages"] => working(Phase::Staging),
            ["holds"] => working(Phase::Held),
            ["tries"] => working(Phase::Trial),
            ["refuses"] => Way::Refused { release: release.unwrap(), attempt },
            ["rolls-back"] => Way::RolledBack { release: release.unwrap(), attempt },
            ["runs-it"] => {
                self.active.insert(device.into(), release);
                Way::Idle
            }
            ["runs", other] => {
                self.active.insert(device.into(), Some((*other).to_owned()));
                Way::Idle
            }
            ["nothing-new"] => Way::Idle,
            _ => panic!("{does:?} is nothing that a device does"),
        };
        self.say(device, way)
    }

    /// Every device that has been given something other than it runs does the same.
    fn everybody(&mut self, does: &[&str]) -> Vec<String> {
        let assigned = self.assigned.clone().into_iter();
        let due = assigned.filter(|(device, one)| self.active[device] != one.release);
        let due: Vec<String> = due.map(|(device, _)| device).collect();
        due.iter().flat_map(|device| self.report(device, does)).collect()
    }

    fn minutes(&mut self, minutes: u64) -> Vec<String> {
        let mut lines = Vec::new();
        for minute in 1..=minutes {
            self.minute = (self.minute + 1) % lineside_rollout::WEEK_MINUTES;
            let utc_minute = Some(self.minute);
            let told = self.happen(Event::Ticked(Ticked { ran_ms: 60_000, utc_minute }));
            let at = |line| if minutes == 1 { line } else { format!("after {minute} min: {line}") };
            lines.extend(told.into_iter().map(at));
        }
        lines
    }

    fn person(&mut self, by: &str, wish: &str, rollout: RolloutId, rest: &[&str]) -> Vec<String> {
        let wish = match (wish, rest) {
            ("approves", []) => Wish::Approve,
            ("begins", []) => Wish::Begin { conflicts: Conflicts::Refuse },
            ("begins", ["by-priority"]) => Wish::Begin { conflicts: Conflicts::ByPriority },
            ("pauses", []) => Wish::Pause,
            ("resumes", []) => Wish::Resume,
            ("proceeds", [wave]) => Wish::Proceed { wave: wave.parse().unwrap() },
            ("retries", devices) => {
                Wish::Retry { devices: devices.iter().map(|name| (*name).to_owned()).collect() }
            }
            ("excludes", [device]) => Wish::Exclude { device: (*device).to_owned() },
            ("rolls-back", []) => Wish::RollBack,
            ("aborts", []) => Wish::Abort,
            ("closes", []) => Wish::Close,
            ("forgets", []) => Wish::Forget,
            _ => panic!("{wish} {rest:?} is no wish"),
        };
        self.happen(Event::Person(Person { rollout, by: by.into(), wish }))
    }

    fn show(&self, id: RolloutId) -> Vec<String> {
        let rollout = self.rollouts.rollout(id).unwrap();
        let mut lines = vec![format!(
            "{}; {} selected, {} on trial",
            rollout.status(),
            rollout.selected(),
            rollout.on_trial()
        )];
        for wave in 1..=rollout.plan().waves.len() as u8 {
            let tally = rollout.tally(wave);
            let counts = [
                ("undecided", tally.undecided),
                ("committed", tally.committed),
                ("refused", tally.refused),
                ("rolled back", tally.rolled_back),
                ("stuck", tally.stuck),
            ];
            let counts = counts.iter().filter(|(_, count)| *count > 0);
            let counts: Vec<_> = counts.map(|(name, count)| format!(", {count} {name}")).collect();
            lines.push(format!("wave {wave}: {} devices{}", tally.entered, counts.concat()));
        }
        lines
    }

    fn preflight(&self, release: &str, options: &[&str]) -> Vec<String> {
        let (refusals, options): (Vec<&str>, Vec<&str>) =
            options.iter().partition(|option| option.starts_with("refuses="));
        let refusals = refusals.iter().map(|one| one["refuses=".len()..].split_once(':').unwrap());
        let found = self.rollouts.preflight(9, &plan(release, &options), refusals).unwrap();
        let mut lines = vec![format!(
            "{} devices, {} bytes; {} have it, {} have not said that they have the slot",
            found.devices, found.bytes, found.have_it, found.without_slot
        )];
        for (number, wave) in (1..).zip(&found.waves) {
            lines.push(format!(
                "wave {number}: {} devices at {} sites, {} bytes, {} would refuse",
                wave.devices, wave.sites, wave.bytes, wave.refusing
            ));
        }
        for (reason, refusing) in &found.refusing {
            let examples = refusing.examples.join(", ");
            lines.push(format!("{} would refuse: {reason}: {examples}", refusing.devices));
        }
        lines.extend(found.conflicts.iter().map(|conflict| format!("conflict: {conflict}")));
        lines.extend(found.warnings.iter().map(|warning| format!("warning: {warning}")));
        lines
    }
}

/// The error and what is behind it.
fn chain(refused: &Refused) -> String {
    match refused.source() {
        Some(source) => format!("{refused}: {source}"),
        None => refused.to_string(),
    }
}

fn window(text: &str) -> Window {
    let (from, to) = text.split_once('-').unwrap();
    Window { from: from.parse().unwrap(), to: to.parse().unwrap() }
}

/// A plan of a line: options of a gate are those of all waves.
fn plan(release: &str, options: &[&str]) -> Plan {
    let mut plan = Plan {
        release: release.into(),
        slot: "line".into(),
        selector: Selector::default(),
        waves: vec![],
        priority: 0,
        on_trial_max: None,
        downloads_max: None,
        download_bytes: 1000,
        windows: vec![],
        deadline_minutes: 60,
        approvals: 0,
    };
    let (mut gate, mut then) = (Gate::default(), Then::Next);
    let list = |names: &str| names.split(',').map(str::to_owned).collect::<Vec<_>>();
    for option in options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "names" => plan.selector.names = list(value),
            "sites" => plan.selector.sites = list(value),
            "hardware" => plan.selector.hardware = list(value),
            "running" => plan.selector.releases = list(value),
            "fixed" => plan.selector.membership = Membership::Fixed,
            "priority" => plan.priority = value.parse().unwrap(),
            "on-trial" => plan.on_trial_max = value.parse().ok(),
            "downloads" => plan.downloads_max = value.parse().ok(),
            "deadline" => plan.deadline_minutes = value.parse().unwrap(),
            "approvals" => plan.approvals = value.parse().unwrap(),
            "window" => plan.windows.push(window(value)),
            "devices-min" => gate.devices_min = value.parse().unwrap(),
            "failed" => gate.failed_share_max = value.parse().unwrap(),
            "success" => gate.success_share_min = value.parse().unwrap(),
            "stuck" => gate.stuck_share_max = value.parse().unwrap(),
            "drift" => gate.drift_max = value.parse().ok(),
            "soak" => gate.soak_minutes = value.parse().unwrap(),
            "otherwise" => gate.otherwise = Otherwise::RollBack,
            "ask" => then = Then::Ask,
            "pause" => then = Then::Pause,
            "waves" => {
                for size in value.split(',') {
                    let size = match (size.strip_suffix('%'), size.parse()) {
                        (Some(percent), _) => Size::Percent(percent.parse().unwrap()),
                        (None, Ok(count)) => Size::Count(count),
                        (None, Err(_)) => Size::List(size.split('+').map(str::to_owned).collect()),
                    };
                    plan.waves.push(Wave { size, gate: Gate::default(), then: Then::Next });
                }
            }
            _ => panic!("{option:?} is no option of a plan"),
        }
    }
    for wave in &mut plan.waves {
        (wave.gate, wave.then) = (gate.clone(), then);
    }
    plan
}
