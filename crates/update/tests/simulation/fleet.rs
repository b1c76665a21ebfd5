//! A whole life of a fleet, and the shortest one that breaks the same promise.

use crate::device::{Device, Step};
use crate::life::{DEVICES, Happening, Life};
use crate::promises::{Broken, Kept, Promise};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What came of a life in which every promise was kept.
pub struct Lived {
    /// Devices that end with a committed release.
    pub committed: usize,
    pub reports: u64,
}

fn device_of(happening: Happening) -> usize {
    match happening {
        Happening::Assign { device, .. }
        | Happening::Deliver { device, .. }
        | Happening::List { device, .. }
        | Happening::Unassign { device }
        | Happening::Retell { device }
        | Happening::Carry { device, .. }
        | Happening::Answer { device, .. }
        | Happening::Update { device, .. }
        | Happening::Run { device, .. }
        | Happening::Die { device, .. }
        | Happening::Cut { device }
        | Happening::CutAtWrite { device }
        | Happening::Restart { device }
        | Happening::Grow { device, .. }
        | Happening::Disk { device, .. }
        | Happening::Network { device, .. }
        | Happening::Rot { device, .. }
        | Happening::Policy { device, .. }
        | Happening::Site { device, .. } => device,
    }
}

fn live(life: &Life, silent: bool, devices: &mut [Device]) -> Kept {
    for device in devices.iter_mut() {
        device.power_cut()?;
    }
    for happening in &life.happenings {
        let device = &mut devices[device_of(*happening)];
        if let Some(log) = &mut device.log {
            log.push(format!("{happening:?}"));
        }
        device.live(*happening)?;
    }
    for device in devices.iter_mut() {
        if let Some(log) = &mut device.log {
            log.push("all is well again".into());
        }
        device.calm(silent)?;
    }
    Ok(())
}

fn fleet(life: &Life, step: Step) -> [Device; DEVICES] {
    std::array::from_fn(|index| Device::new(step, &life.releases, &life.policies[index]))
}

/// Lives a life to its end.
///
/// # Errors
/// The first promise that was broken.
pub fn lived(life: &Life, step: Step, silent: bool) -> Result<Lived, Broken> {
    let mut devices = fleet(life, step);
    let kept = catch_unwind(AssertUnwindSafe(|| live(life, silent, &mut devices)));
    kept.unwrap_or_else(|_| {
        Err(Broken { promise: Promise::NeverPanics, how: "the table panics".into() })
    })?;
    let committed = devices.iter().filter(|device| device.active().is_some()).count();
    Ok(Lived { committed, reports: devices.iter().map(|device| device.reports).sum() })
}

/// What happens in a life that breaks a promise: one line a happening, and what came of it.
pub fn told(life: &Life, step: Step, silent: bool) -> String {
    let mut devices = fleet(life, step);
    for device in &mut devices {
        device.log = Some(Vec::new());
    }
    let kept = catch_unwind(AssertUnwindSafe(|| live(life, silent, &mut devices)));
    let end = match kept {
        Ok(Ok(())) => "every promise is kept".into(),
        Ok(Err(broken)) => broken.to_string(),
        Err(_) => "the table panics".into(),
    };
    let lines = devices.iter_mut().enumerate().flat_map(|(index, device)| {
        let lines = device.log.take().unwrap_or_default();
        std::iter::once(format!("device {index}")).chain(lines)
    });
    lines.chain([end]).collect::<Vec<_>>().join("\n")
}

/// Leaves out of a life whatever the broken promise does not need.
pub fn shrunk(life: &Life, step: Step, silent: bool, promise: Promise) -> Life {
    let breaks = |happenings: &[Happening]| {
        let life = Life { happenings: happenings.to_vec(), ..life.clone() };
        matches!(lived(&life, step, silent), Err(broken) if broken.promise == promise)
    };
    let mut happenings = life.happenings.clone();
    let mut size = happenings.len();
    while size > 0 {
        let mut start = 0;
        while start < happenings.len() {
            let end = (start + size).min(happenings.len());
            let without = [&happenings[..start], &happenings[end..]].concat();
            if breaks(&without) {
                happenings = without;
            } else {
                start = end;
            }
        }
        size /= 2;
    }
    Life { happenings, ..life.clone() }
}
