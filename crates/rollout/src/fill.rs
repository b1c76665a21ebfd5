//! Who is next.

use crate::advance::GIVEN_MAX;
use crate::effect::Effect;
use crate::fleet::DeviceKey;
use crate::member::State;
use crate::plan::Size;
use crate::rollout::{Rollout, RolloutId};
use crate::rollouts::Rollouts;
use crate::site::SiteBusy;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Why a device is not given the release now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotNow {
    /// Its slot is not known, so nobody waits for it.
    NoSlot,
    /// Another rollout has it, and nobody waits for it.
    Claimed(RolloutId),
    /// Its site lets nothing begin now.
    Site(SiteBusy),
    /// As many devices are on trial as may be.
    OnTrial(u32),
    /// As many devices fetch as may.
    Downloads(u32),
}

impl NotNow {
    /// Whether time alone changes it: then the wave waits for the device.
    fn passes(self) -> bool {
        match self {
            NotNow::NoSlot | NotNow::Claimed(_) | NotNow::Site(SiteBusy::Frozen) => false,
            NotNow::Site(_) | NotNow::OnTrial(_) | NotNow::Downloads(_) => true,
        }
    }
}

impl Rollouts {
    /// Whether a rollout may give another device anything now.
    fn rollout_is_busy(&self, rollout: &Rollout) -> Option<NotNow> {
        let index = &rollout.index;
        let on_trial = rollout.plan.on_trial_max.filter(|max| index.on_trial >= *max);
        let downloads = rollout.plan.downloads_max.filter(|max| index.loading >= *max);
        on_trial.map(NotNow::OnTrial).or(downloads.map(NotNow::Downloads))
    }

    /// Why a device cannot be given the release now; none if it can.
    pub(crate) fn not_now(
        &self,
        id: RolloutId,
        rollout: &Rollout,
        key: DeviceKey,
    ) -> Option<NotNow> {
        if self.fleet.active(key, &rollout.plan.slot).is_none() || !self.fleet.is_here(key) {
            return Some(NotNow::NoSlot);
        }
        if let Some(other) = self.claimed(id, &rollout.plan, key) {
            return Some(NotNow::Claimed(other));
        }
        let site = self.fleet.sites.get(self.fleet.site_of(key));
        let busy = site.and_then(|site| site.busy(self.utc_minute, &rollout.plan.windows));
        busy.map(NotNow::Site).or_else(|| self.rollout_is_busy(rollout))
    }

    /// Gives the release to those whose turn it is, up to the limits of the wave, the rollout and the sites.
    pub(crate) fn fill(&mut self, id: RolloutId, rollout: &mut Rollout, effects: &mut Vec<Effect>) {
        let end = effects.len().saturating_add(GIVEN_MAX);
        for key in rollout.index.again.iter().copied().collect::<Vec<_>>() {
            let Some(wave) = rollout.members.get(&key).map(|member| member.wave) else { continue };
            if effects.len() < end && self.not_now(id, rollout, key).is_none() {
                effects.extend(self.assign(id, rollout, key, wave));
            }
        }
        let wave = usize::from(rollout.wave).saturating_sub(1);
        if rollout.waves[wave].closed && !rollout.standing {
            return;
        }
        let list = match &rollout.plan.waves[wave].size {
            Size::List(names) => Some(names.clone()),
            Size::Percent(_) | Size::Count(_) => None,
        };
        let more = match list {
            Some(names) => self.fill_by_name(id, rollout, &names, end, effects),
            None => self.fill_by_rank(id, rollout, end, effects),
        };
        rollout.waves[wave].full = !more;
    }

    /// Gives it to those that are named; whether there are some whom it could be given later.
    fn fill_by_name(
        &mut self,
        id: RolloutId,
        rollout: &mut Rollout,
        names: &[String],
        end: usize,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let mut more = false;
        for name in names {
            let Some(key) = self.fleet.key(name) else { continue };
            let is_waiting = rollout.members.get(&key).is_some_and(|member| {
                member.state == State::Waiting && member.wave == 0 && !member.excluded
            });
            if !is_waiting {
                continue;
            }
            match self.not_now(id, rollout, key) {
                None if effects.len() < end => {
                    effects.extend(self.assign(id, rollout, key, rollout.wave));
                }
                None => more = true,
                Some(why) => more |= why.passes(),
            }
        }
        more
    }

    /// Gives it to those who are next in the rollout's own order, over all sites; whether there are some
    /// whom it could be given later.
    fn fill_by_rank(
        &mut self,
        id: RolloutId,
        rollout: &mut Rollout,
        end: usize,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let mut room = rollout.room(rollout.wave).unwrap_or(0);
        let mut more = false;
        let first = |(site, waiting): (&u32, &std::collections::BTreeSet<(u32, DeviceKey)>)| {
            waiting.first().map(|(rank, key)| Reverse((*rank, *key, *site)))
        };
        let mut next: BinaryHeap<_> = rollout.index.waiting.iter().filter_map(first).collect();
        while room > 0
            && let Some(Reverse((rank, key, site))) = next.pop()
        {
            match self.not_now(id, rollout, key) {
                None if effects.len() < end => {
                    effects.extend(self.assign(id, rollout, key, rollout.wave));
                    room -= 1;
                }
                None | Some(NotNow::OnTrial(_) | NotNow::Downloads(_)) => {
                    more = true;
                    break;
                }
                // Nobody else there can begin either.
                Some(why @ NotNow::Site(_)) => {
                    more |= why.passes();
                    continue;
                }
                Some(NotNow::NoSlot | NotNow::Claimed(_)) => {}
            }
            let waiting = rollout.index.waiting.get(&site);
            let after = waiting.and_then(|waiting| {
                let after = (std::ops::Bound::Excluded((rank, key)), std::ops::Bound::Unbounded);
                waiting.range(after).next()
            });
            next.extend(after.map(|(rank, key)| Reverse((*rank, *key, site))));
        }
        more
    }
}
