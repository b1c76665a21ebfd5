//! How devices run what a rollout gave them, of the intervals that they have sent since.

use crate::error::Error;
use crate::fleet::Fleet;
use crate::rollout::named;
use crate::store::tables::{interval, rollout_given};
use lineside_rollout::{Event, Gate, Measured, Plan};
use lineside_wire::name::DeviceId;
use lineside_wire::v1::{self, Interval};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

/// Intervals that a measure is of: the newest.
const INTERVALS_MAX: u64 = 500;

impl Fleet {
    /// Tells the rollouts that are about a slot, and whose gates ask for it, how it runs their release.
    pub(super) async fn measure(&self, device: &DeviceId, slot: &str) -> Result<(), Error> {
        let name = device.as_str();
        let asked = |state: &lineside_rollout::Rollouts| {
            let ids = state.concerning(name, slot).into_iter();
            let rollouts = ids.filter_map(|id| state.rollout(id));
            let asked: Vec<Asked> = rollouts.filter_map(|one| Asked::by(one.plan())).collect();
            asked
        };
        for asked in self.rollouts.read(asked).await? {
            let Some(measured) = self.measured(device, slot, &asked).await? else { continue };
            match self.rollouts.apply(Event::Measured(measured)).await {
                // It has left meanwhile.
                Err(Error::Missing(_)) => {}
                done => done?,
            }
        }
        Ok(())
    }

    async fn measured(
        &self,
        device: &DeviceId,
        slot: &str,
        asked: &Asked,
    ) -> Result<Option<Measured>, Error> {
        let key = (device.to_string(), slot.to_owned());
        let given = rollout_given::Entity::find_by_id(key).one(self.store.read()).await?;
        let is_it = |row: &rollout_given::Model| row.release.as_ref() == Some(&asked.release);
        let Some(given) = given.filter(is_it) else { return Ok(None) };
        let rows = interval::Entity::find()
            .filter(interval::Column::Device.eq(device.as_str()))
            .filter(interval::Column::Id.gt(given.intervals_after))
            .filter(interval::Column::Slot.eq(slot))
            .order_by_desc(interval::Column::Id)
            .limit(INTERVALS_MAX)
            .all(self.store.read())
            .await?;
        let mut whole: Option<Interval> = None;
        // In the shadow it is compared by what answers meanwhile, and that has it in its own intervals.
        let (mut compared, mut agreed) = (0_u64, 0_u64);
        for row in rows.into_iter().rev() {
            let record = v1::Record {
                boot: 0,
                sequence: 0,
                backfill: false,
                code: v1::record::INTERVAL,
                body: row.body,
            };
            let Ok(v1::Body::Interval(read)) = record.read() else { continue };
            if named::spoken_of(&read.release) != asked.release {
                compared = compared.saturating_add(read.shadow_frames);
                agreed = agreed.saturating_add(read.shadow_agreed);
                continue;
            }
            match &mut whole {
                None => whole = Some(*read),
                // What does not go together with the rest is left out.
                Some(whole) => drop(whole.absorb(&read)),
            }
        }
        let Some(whole) = whole else { return Ok(None) };
        let drift = match asked.drift {
            true => self.overview.drifted_share(&whole).await?,
            false => None,
        };
        let agreement = share(agreed, compared);
        Ok(Some(Measured { agreement, ..asked.of(device, slot, &whole, drift) }))
    }
}

/// What a gate asks for.
struct Asked {
    release: String,
    drift: bool,
}

impl Asked {
    fn by(plan: &Plan) -> Option<Asked> {
        let gates = || plan.waves.iter().map(|wave| &wave.gate);
        let drift = gates().any(|gate| gate.drift_max.is_some());
        let measures = |gate: &Gate| {
            let Gate { error_share_max, latency_p95_ms_max, agreement_min, .. } = gate;
            error_share_max.is_some() || latency_p95_ms_max.is_some() || agreement_min.is_some()
        };
        (drift || gates().any(measures)).then(|| Asked { release: plan.release.clone(), drift })
    }

    fn of(&self, device: &DeviceId, slot: &str, whole: &Interval, drift: Option<f64>) -> Measured {
        let errors = whole.errors.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        let latency_us = whole.latency_us.quantile(0.95).filter(|value| value.is_finite());
        Measured {
            device: device.to_string(),
            slot: slot.to_owned(),
            release: self.release.clone(),
            frames: whole.frames,
            error_share: share(errors, whole.frames),
            latency_p95_ms: latency_us.map(|us| us / 1_000.0),
            drift,
            agreement: None,
        }
    }
}

fn share(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| part as f64 / all as f64)
}
