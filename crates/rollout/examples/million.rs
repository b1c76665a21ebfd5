//! What a million devices cost: memory for each, processor time of a pre-flight, a beginning and a tick,
//! and reports a second of processor time, so that a busy machine gives the same figures. Run it optimised: `cargo run --release -p lineside-rollout --example million`.

#![allow(clippy::unwrap_used)] // It stops at what does not hold.

use lineside_rollout::{
    Conflicts, DeviceFacts, Effect, Event, Gate, Measured, Order, Person, Phase, Plan, Report,
    Rollouts, Selector, Size, Then, Ticked, Wave, Way, Wish,
};
use std::collections::BTreeMap;

fn main() {
    let devices: u32 = std::env::args().nth(1).map_or(1_000_000, |text| text.parse().unwrap());
    let empty = resident_bytes();
    let mut rollouts = Rollouts::default();
    let started = processor_seconds();
    for number in 0..devices {
        let facts = DeviceFacts {
            device: name(number),
            site: format!("site-{}", number % 500),
            hardware: format!("board-{}", number % 20),
            labels: BTreeMap::from([("line".into(), format!("{}", number % 8))]),
        };
        rollouts.step(&Event::Device(facts)).unwrap();
        rollouts.step(&report(number, 1, "sha256:1", Way::Idle)).unwrap();
    }
    let enrolled = processor_seconds() - started;
    println!("{devices} devices enrolled and heard of in {:.1} s", enrolled);
    let each = |bytes: u64| bytes.saturating_sub(empty) / u64::from(devices);
    println!("{} bytes a device, resident", each(resident_bytes()));

    let plan = plan();
    let started = processor_seconds();
    let refusing = ["d0000007", "d0000011"].map(|device| (device, "disk"));
    let found = rollouts.preflight(1, &plan, refusing).unwrap();
    println!(
        "pre-flight in {:.2} s: {} devices, waves of {:?}",
        processor_seconds() - started,
        found.devices,
        found.waves.iter().map(|wave| wave.devices).collect::<Vec<_>>()
    );

    rollouts.step(&Event::Created { rollout: 1, plan: Box::new(plan), by: "bob".into() }).unwrap();
    let started = processor_seconds();
    let wish = Wish::Begin { conflicts: Conflicts::Refuse };
    rollouts.step(&Event::Person(Person { rollout: 1, by: "ada".into(), wish })).unwrap();
    println!("begun in {:.2} s", processor_seconds() - started);
    println!("{} bytes a device, resident", each(resident_bytes()));

    let (mut given, mut slowest, mut reports, mut spent) = (0_u64, 0.0_f64, 0_u64, 0.0);
    let mut sequence = 2;
    for _ in 0..1000 {
        let started = processor_seconds();
        let ticked = Ticked { ran_ms: 60_000, utc_minute: Some(0) };
        let effects = rollouts.step(&Event::Ticked(ticked)).unwrap();
        slowest = slowest.max(processor_seconds() - started);
        let assigned: Vec<u32> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Assign(assign) => assign.device[1..].parse().ok(),
                Effect::Tell { .. } => None,
            })
            .collect();
        given += assigned.len() as u64;
        sequence += 1;
        let way = Way::Working { release: "sha256:2".into(), phase: Phase::Trial };
        let events: Vec<Event> = assigned
            .iter()
            .flat_map(|number| {
                [
                    report(*number, sequence, "sha256:1", way.clone()),
                    report(*number, sequence + 1, "sha256:2", Way::Idle),
                    measured(*number),
                ]
            })
            .collect();
        let started = processor_seconds();
        for event in &events {
            rollouts.step(event).unwrap();
        }
        spent += processor_seconds() - started;
        reports += events.len() as u64;
        sequence += 1;
        if given == u64::from(devices) {
            break;
        }
    }
    println!("{given} devices given the release; slowest tick {:.0} ms", slowest * 1000.0);
    println!("{reports} reports, {:.0} a second", reports as f64 / spent);
    println!("{} bytes a device, resident", each(resident_bytes()));

    let started = processor_seconds();
    let bytes = postcard::to_stdvec(&rollouts).unwrap();
    println!(
        "written in {:.1} s: {} bytes a device",
        processor_seconds() - started,
        bytes.len() as u64 / u64::from(devices)
    );
    let started = processor_seconds();
    let read: Rollouts = postcard::from_bytes(&bytes).unwrap();
    println!("read in {:.1} s", processor_seconds() - started);
    assert!(read == rollouts, "what is read is another state");
}

fn name(number: u32) -> String {
    format!("d{number:07}")
}

fn report(number: u32, sequence: u32, active: &str, way: Way) -> Event {
    Event::Reported(Report {
        device: name(number),
        slot: "line".into(),
        order: Order { boot: 1, sequence },
        active: Some(active.into()),
        way,
    })
}

fn measured(number: u32) -> Event {
    Event::Measured(Measured {
        device: name(number),
        slot: "line".into(),
        release: "sha256:2".into(),
        frames: 1000,
        error_share: Some(0.001),
        latency_p95_ms: Some(4.0),
        drift: Some(0.02),
        agreement: Some(0.99),
    })
}

fn plan() -> Plan {
    let gate = Gate { drift_max: Some(0.3), ..Gate::default() };
    let wave =
        |percent| Wave { size: Size::Percent(percent), gate: gate.clone(), then: Then::Next };
    Plan {
        release: "sha256:2".into(),
        slot: "line".into(),
        selector: Selector { names: vec!["*".into()], ..Selector::default() },
        waves: [0.1, 1.0, 10.0, 100.0].map(wave).to_vec(),
        priority: 0,
        on_trial_max: None,
        downloads_max: None,
        download_bytes: 40_000_000,
        windows: vec![],
        deadline_minutes: 1440,
        approvals: 0,
    }
}

/// Resident memory of this process in bytes.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

/// Processor time of this process in seconds, in hundredths (proc_pid_stat(5), `utime` and `stime`).
fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}
