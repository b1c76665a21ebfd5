//! What the registry knows and the rollouts do not. What devices say is told to them as it comes; here is made
//! good what was missed, so that nothing has to come in time or be told twice.

use crate::bounds::DEVICES_AT_ONCE;
use crate::error::Error;
use crate::fleet::Fleet;
use crate::registry::Device;
use lineside_rollout::{DeviceFacts, Event, SiteFacts};
use std::collections::BTreeSet;
use time::OffsetDateTime;

/// The label that says what a device is.
const HARDWARE: &str = "hardware";

impl Fleet {
    /// Tells the rollouts which devices there are, what they are and what they run.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(crate) async fn survey(&self) -> Result<(), Error> {
        self.survey_with(None).await
    }

    /// The same, with a slot of which there is no plan yet.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(super) async fn survey_for(&self, slot: &str) -> Result<(), Error> {
        self.survey_with(Some(slot)).await
    }

    async fn survey_with(&self, slot: Option<&str>) -> Result<(), Error> {
        let (mut here, mut sites) = (BTreeSet::new(), BTreeSet::new());
        let mut last = String::new();
        loop {
            let devices = self.registry.after(&last, DEVICES_AT_ONCE).await?;
            let Some(one) = devices.last() else { break };
            last = one.id.to_string();
            for device in devices {
                self.enrol(&device).await?;
                self.heed_what_is_missing(&device, slot).await?;
                here.insert(device.id.to_string());
                sites.insert(device.row.site);
            }
        }
        let gone = |state: &lineside_rollout::Rollouts| {
            let gone = state.devices().filter(|device| !here.contains(*device));
            gone.map(str::to_owned).collect::<Vec<_>>()
        };
        for device in self.rollouts.read(gone).await? {
            // One that was added since the last page was read is no device that has left.
            if matches!(self.registry.get(&device).await, Err(Error::Missing(_))) {
                self.rollouts.apply(Event::Left { device }).await?;
            }
        }
        self.survey_sites(sites).await
    }

    async fn survey_sites(&self, mut sites: BTreeSet<String>) -> Result<(), Error> {
        let now = OffsetDateTime::now_utc();
        let mut facts = Vec::new();
        for shown in self.rollouts.sites().await? {
            sites.remove(&shown.site);
            facts.push(shown.settings.facts(&shown.site, now));
        }
        // Of the others nothing is said, or is any longer.
        facts.extend(sites.into_iter().map(|site| SiteFacts { site, ..SiteFacts::default() }));
        for facts in facts {
            let event = move |state: &lineside_rollout::Rollouts| {
                let is_known = match state.site(&facts.site) {
                    Some(known) => *known == facts,
                    None => facts == SiteFacts { site: facts.site.clone(), ..SiteFacts::default() },
                };
                (!is_known).then_some((Event::Site(facts), ()))
            };
            self.rollouts.apply_made(event).await?;
        }
        Ok(())
    }

    async fn enrol(&self, device: &Device) -> Result<(), Error> {
        let facts = facts(device);
        let event = move |state: &lineside_rollout::Rollouts| {
            let is_known = state.facts(&facts.device).as_ref() == Some(&facts);
            (!is_known).then_some((Event::Device(facts), ()))
        };
        match self.rollouts.apply_made(event).await {
            // Nothing that a rollout could be about.
            Err(Error::Malformed(why)) => {
                tracing::warn!("no rollout reaches {}: {why}", device.id);
                Ok(())
            }
            done => done.map(|_| ()),
        }
    }
}

fn facts(device: &Device) -> DeviceFacts {
    DeviceFacts {
        device: device.id.to_string(),
        site: device.row.site.clone(),
        hardware: device.labels.get(HARDWARE).cloned().unwrap_or_default(),
        labels: device.labels.clone(),
    }
}
