//! What holds at sites for every rollout: their time, their windows, and what their lines can carry.

use crate::audit::{By, did, text};
use crate::error::Error;
use crate::rollout::Rollouts;
use crate::store::tables::site;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lineside_audit::{Action, Change};
use lineside_rollout::{SiteFacts, WEEK_MINUTES, WINDOWS_MAX, Window};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{EntityTrait, PaginatorTrait, QueryOrder};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// Sites of which something is said.
const SITES_MAX: u64 = 10_000;
/// Longest name of a site in bytes, as the registry takes it.
const NAME_BYTES_MAX: usize = 200;
/// The time of a site of which nothing is said.
const UTC: &str = "UTC";

/// What holds at a site for every rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SiteSettings {
    /// Its time zone by its IANA name, as in `Europe/Berlin`.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// When a release may begin there, in local time; none is always.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// Devices there that may fetch at once, over all rollouts; 0 lets nothing begin, null is no limit.
    #[serde(default)]
    pub downloads_max: Option<u32>,
    /// What rollouts may ask of its line, in bytes a second; null is no limit.
    #[serde(default)]
    pub bytes_per_second_max: Option<u64>,
}

/// A site of which something is said.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct SiteShown {
    /// Its name.
    pub site: String,
    /// What holds there.
    #[serde(flatten)]
    pub settings: SiteSettings,
}

fn utc() -> String {
    UTC.into()
}

impl SiteSettings {
    /// Nothing begins.
    fn frozen() -> SiteSettings {
        let (windows, downloads_max) = (vec![], Some(0));
        SiteSettings { time_zone: utc(), windows, downloads_max, bytes_per_second_max: None }
    }

    fn check(&self) -> Result<(), Error> {
        zone(&self.time_zone)?;
        let is_of_a_week = |window: &Window| window.from < WEEK_MINUTES && window.to < WEEK_MINUTES;
        if self.windows.len() > WINDOWS_MAX || !self.windows.iter().all(is_of_a_week) {
            return Err(Error::Malformed(format!(
                "windows: at most {WINDOWS_MAX}, of minutes 0 to {} of a week",
                WEEK_MINUTES - 1
            )));
        }
        if self.bytes_per_second_max == Some(0) {
            return Err(Error::Malformed(
                "bytes_per_second_max: it is above 0; downloads_max = 0 lets nothing begin".into(),
            ));
        }
        Ok(())
    }

    /// The same as the engine knows it, with the offset that holds now.
    pub(super) fn facts(&self, site: &str, now: OffsetDateTime) -> SiteFacts {
        SiteFacts {
            site: site.to_owned(),
            offset_minutes: zone(&self.time_zone).map_or(0, |zone| offset_minutes(&zone, now)),
            windows: self.windows.clone(),
            downloads_max: self.downloads_max,
            bytes_per_second_max: self.bytes_per_second_max,
        }
    }
}

fn zone(name: &str) -> Result<TimeZone, Error> {
    TimeZone::get(name).map_err(|_| {
        let name: String = name.chars().take(64).collect();
        Error::Malformed(format!("time_zone: there is no {name:?}; write it as in Europe/Berlin"))
    })
}

/// How far the time of a zone is ahead of UTC, in minutes.
fn offset_minutes(zone: &TimeZone, now: OffsetDateTime) -> i16 {
    let at = Timestamp::from_second(now.unix_timestamp()).unwrap_or_default();
    i16::try_from(zone.to_offset(at).seconds() / 60).unwrap_or(0)
}

impl Rollouts {
    /// The sites of which something is said, by name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn sites(&self) -> Result<Vec<SiteShown>, Error> {
        let rows = site::Entity::find().order_by_asc(site::Column::Name).all(self.store.read());
        let shown = |row: site::Model| SiteShown {
            // What cannot be read may have said that nothing is to begin.
            settings: serde_json::from_str(&row.settings)
                .unwrap_or_else(|_| SiteSettings::frozen()),
            site: row.name,
        };
        Ok(rows.await?.into_iter().map(shown).collect())
    }

    /// Says what holds at a site, instead of what was said before.
    ///
    /// # Errors
    /// [`Error::Malformed`] names what is wrong; [`Error::Conflict`] if there are too many sites.
    pub async fn set_site(
        &self,
        by: &By,
        name: &str,
        settings: &SiteSettings,
    ) -> Result<(), Error> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(Error::Malformed(format!("site: 1 to {NAME_BYTES_MAX} bytes of one line")));
        }
        settings.check()?;
        let writing = self.store.write().await?;
        let on = &writing.transaction;
        let said = serde_json::to_string(settings).expect("settings have a JSON form");
        let is_new = site::Entity::find_by_id(name).one(on).await?.is_none();
        if is_new && site::Entity::find().count(on).await? >= SITES_MAX {
            return Err(Error::Conflict(format!(
                "something is said of {SITES_MAX} sites: `lineside site unset` makes room"
            )));
        }
        let row = site::ActiveModel { name: Set(name.to_owned()), settings: Set(said.clone()) };
        site::Entity::insert(row)
            .on_conflict(
                OnConflict::column(site::Column::Name)
                    .update_column(site::Column::Settings)
                    .to_owned(),
            )
            .exec_without_returning(on)
            .await?;
        let change = did(by, Action::SettingSet, "site", name);
        writing.record(Change { new: text(&said), ..change });
        writing.commit().await?;
        self.is_stale.notify_one();
        Ok(())
    }

    /// Says nothing of a site any longer.
    ///
    /// # Errors
    /// [`Error::Missing`] if nothing was said.
    pub async fn unset_site(&self, by: &By, name: &str) -> Result<(), Error> {
        let writing = self.store.write().await?;
        let gone = site::Entity::delete_by_id(name).exec(&writing.transaction).await?;
        if gone.rows_affected == 0 {
            let name: String = name.chars().take(64).collect();
            return Err(Error::Missing(format!("nothing is said of site {name:?}")));
        }
        writing.record(did(by, Action::SettingSet, "site", name));
        writing.commit().await?;
        self.is_stale.notify_one();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn the_time_of_a_site_follows_its_clocks() {
        let settings: SiteSettings =
            serde_json::from_str(r#"{"time_zone": "Europe/Berlin", "downloads_max": 2}"#).unwrap();
        let offset = |now| settings.facts("hill", now).offset_minutes;
        assert_eq!(offset(datetime!(2026-01-15 12:00 UTC)), 60);
        assert_eq!(offset(datetime!(2026-07-15 12:00 UTC)), 120);
        // The hour before clocks go back, and the one after.
        assert_eq!(offset(datetime!(2026-10-25 00:59 UTC)), 120);
        assert_eq!(offset(datetime!(2026-10-25 01:00 UTC)), 60);
        let india = SiteSettings { time_zone: "Asia/Kolkata".into(), ..settings };
        assert_eq!(india.facts("hill", datetime!(2026-01-15 12:00 UTC)).offset_minutes, 330);
    }

    #[test]
    fn what_no_site_can_have_is_refused() {
        let check = |text: &str| serde_json::from_str::<SiteSettings>(text).unwrap().check();
        assert!(check("{}").is_ok());
        for (text, words) in [
            (r#"{"time_zone": "Europe/Nowhere"}"#, "there is no \"Europe/Nowhere\""),
            (r#"{"windows": [{"from": 0, "to": 10080}]}"#, "minutes 0 to 10079"),
            (r#"{"bytes_per_second_max": 0}"#, "above 0"),
        ] {
            let said = check(text).unwrap_err().to_string();
            assert!(said.contains(words), "{text}: {said}");
        }
    }
}
