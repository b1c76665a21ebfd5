//! A life: what happens to a fleet, from a seed.

use crate::device::Nature;
use crate::promises::{Broken, Kept};
use crate::world::World;
use lineside_rollout::{
    Conflicts, Event, Gate, Membership, Otherwise, Plan, RolloutId, Selector, SiteFacts, Size,
    Then, Wave, Window, Wish,
};

const ROUNDS: u64 = 80;

/// Lives the life of this seed to its end.
pub fn lived(seed: u64) -> Result<World, Broken> {
    let mut world = World::new(seed);
    build(&mut world)?;
    for _ in 0..ROUNDS {
        for _ in 0..world.dice.below(3) {
            anything(&mut world)?;
        }
        world.devices_live();
        world.round()?;
    }
    world.calm()?;
    Ok(world)
}

fn nature(world: &mut World) -> Nature {
    use Nature::*;
    let natures =
        [Good, Good, Good, Good, Good, Good, Good, Good, Refuses, RollsBack, Drifts, Hangs];
    world.dice.any(&natures)
}

fn build(world: &mut World) -> Kept {
    for site in 0..3 {
        let windows = match world.dice.below(4) {
            0 => {
                let from = world.dice.below(5000) as u16;
                vec![Window { from, to: from + 3000 }, Window { from: 9000, to: 10_000 }]
            }
            _ => vec![],
        };
        let facts = SiteFacts {
            site: format!("s{site}"),
            offset_minutes: world.dice.below(1500) as i16 - 720,
            windows,
            downloads_max: world.dice.any(&[None, None, Some(1), Some(3)]),
            bytes_per_second_max: world.dice.any(&[None, None, Some(50)]),
        };
        world.sites.push(facts.clone());
        world.happen(Event::Site(facts))?;
    }
    for _ in 0..8 + world.dice.below(12) {
        let (nature, site) = (nature(world), world.dice.below(3) as usize);
        world.add(nature, site)?;
    }
    world.round()?;
    for id in 1..=1 + world.dice.below(3) as RolloutId {
        let plan = plan(world, id);
        world.plans.insert(id, plan.clone());
        world.happen(Event::Created { rollout: id, plan: Box::new(plan), by: "bob".into() })?;
    }
    world.must(1, Wish::Begin { conflicts: Conflicts::Refuse })
}

fn plan(world: &mut World, id: RolloutId) -> Plan {
    let dice = &mut world.dice;
    let gate = |dice: &mut crate::dice::Dice| Gate {
        devices_min: dice.any(&[1, 1, 2, 4]),
        success_share_min: dice.any(&[0.0, 0.5, 0.9]),
        failed_share_max: dice.any(&[0.0, 0.25, 0.5]),
        stuck_share_max: dice.any(&[0.1, 0.5, 1.0]),
        drift_max: Some(0.5),
        measured_min: 0,
        soak_minutes: dice.any(&[0, 0, 3, 10]),
        otherwise: dice.any(&[Otherwise::Stop, Otherwise::Stop, Otherwise::RollBack]),
        ..Gate::default()
    };
    let mut waves = Vec::new();
    let first = match dice.below(3) {
        0 => Size::Count(1 + dice.below(3) as u32),
        1 => Size::Percent(10.0 + dice.below(20) as f64),
        _ => Size::List(vec!["d1".into(), "d3".into(), "d4".into()]),
    };
    for size in [first, Size::Percent(40.0), Size::Percent(100.0)] {
        let then = dice.any(&[Then::Next, Then::Next, Then::Next, Then::Ask, Then::Pause]);
        waves.push(Wave { size, gate: gate(dice), then });
    }
    let sites = match dice.below(3) {
        0 => vec!["s0".into(), "s1".into()],
        _ => vec![],
    };
    Plan {
        release: format!("r{}", id + 1),
        slot: "line".into(),
        selector: Selector {
            names: vec!["*".into()],
            sites,
            membership: dice.any(&[Membership::Dynamic, Membership::Fixed]),
            ..Selector::default()
        },
        waves,
        priority: dice.below(3) as i32,
        on_trial_max: dice.any(&[None, Some(2), Some(5)]),
        downloads_max: dice.any(&[None, Some(3)]),
        download_bytes: 2000,
        windows: vec![],
        deadline_minutes: 12,
        approvals: 0,
    }
}

fn anything(world: &mut World) -> Kept {
    let count = world.devices.len() as u64;
    let index = world.dice.below(count) as usize;
    let name = world.devices[index].name.clone();
    let last = world.plans.len() as u64;
    let rollout = 1 + world.dice.below(last) as RolloutId;
    let here = world.devices[index].here;
    match world.dice.below(40) {
        0..8 => world.devices[index].online = !world.devices[index].online,
        8..11 if here => {
            world.devices[index].here = false;
            world.devices[index].assigned = None;
            world.happen(Event::Left { device: name })?;
        }
        8..11 => world.enrol(index)?,
        11..13 if count < 24 => {
            let (nature, site) = (nature(world), world.dice.below(3) as usize);
            world.add(nature, site)?;
        }
        13..15 if here => {
            world.devices[index].site = world.dice.below(3) as usize;
            world.enrol(index)?;
        }
        15..18 if here => {
            let report = world.devices[index].start();
            world.send(Event::Reported(report));
        }
        18..20 if here => {
            let report = world.devices[index].forget();
            world.send(Event::Reported(report));
        }
        20 | 21 => world.person(rollout, Wish::Pause)?,
        22..26 => world.person(rollout, Wish::Resume)?,
        26 | 27 => {
            let wave = 1 + world.dice.below(3) as u8;
            world.person(rollout, Wish::Proceed { wave })?;
        }
        28 | 29 => world.person(rollout, Wish::Retry { devices: vec![] })?,
        30 if here => world.person(rollout, Wish::Exclude { device: name })?,
        31 if world.dice.one_in(3) => world.person(rollout, Wish::RollBack)?,
        32 if world.dice.one_in(4) => world.person(rollout, Wish::Abort)?,
        33 if world.dice.one_in(4) => world.person(rollout, Wish::Close)?,
        34..37 => world.person(rollout, Wish::Begin { conflicts: Conflicts::ByPriority })?,
        37 if here && world.devices[index].online => {
            world.devices[index].assigned = None;
            world.happen(Event::TakenOver { device: name, slot: "line".into() })?;
        }
        // The release turns out to be better on this device, or it turns out to be another device.
        38 => world.devices[index].nature = Nature::Good,
        _ => {}
    }
    Ok(())
}
