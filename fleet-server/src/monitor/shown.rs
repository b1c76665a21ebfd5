//! Alerts as they are shown.

use crate::bounds::ROWS_AT_ONCE;
use crate::error::Error;
use crate::ingest::time_shown;
use crate::monitor::alerts::{Alerts, missing};
use crate::monitor::{DeliveryShown, ProposalShown, evidence};
use crate::registry::Names;
use crate::store::tables::{alert, proposal};
use crate::store::{from_row, to_row};
use lineside_bundle::spoken;
use lineside_wire::v1::{Column, Interval, Summary};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, EntityTrait, Iterable, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    Select,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// Alerts that are listed unless told.
const ALERTS: u64 = 100;
/// Alerts that are listed at most.
const LISTED_MAX: u64 = 1_000;

/// Which alerts to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
pub(crate) struct Selection {
    /// Those that are not over (`true`), or those that are.
    pub open: Option<bool>,
    /// Those of this device.
    pub device: Option<String>,
    /// Those with a smaller number than this: the last of the page before.
    pub before: Option<u64>,
    /// At most so many, newest first; 100 unless told, 1000 at most.
    pub limit: Option<u64>,
}

impl Selection {
    /// How many are listed at most.
    pub fn limit(&self) -> u64 {
        self.limit.unwrap_or(ALERTS).min(LISTED_MAX)
    }
}

/// An alert.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct AlertShown {
    /// Its number.
    pub id: u64,
    /// What the rule looks at as one: `device`, `site` or `fleet`.
    pub scope: String,
    /// The device, where it is about one.
    pub device: Option<String>,
    /// The site, where it is about one; of the fleet the one whose policy has the rule.
    pub site: Option<String>,
    /// The slot.
    pub slot: String,
    /// The rule, as the site's policy names it, or `profile.` and an output.
    pub rule: String,
    /// The release that it is about, as in `turbine v2`.
    pub release: String,
    /// The bundle.
    pub bundle: String,
    /// Its version.
    pub version: String,
    /// Digest of the release's manifest.
    pub digest: String,
    /// When it fired, by the clock of who judged it, RFC 3339; null while only its end has come.
    pub fired: Option<String>,
    /// When it was over; null while it is not.
    pub over: Option<String>,
    /// First moment of what was seen, by the readings' own time.
    pub start: String,
    /// Moment after the last.
    pub end: String,
    /// What was looked at, as in `median of score`.
    pub signal: String,
    /// Its value in each span that fired it; null for what is no number.
    pub values: Vec<Option<f64>>,
    /// Below is outside; null where nothing is too low.
    pub low: Option<f64>,
    /// Above is outside; null where nothing is too high.
    pub high: Option<f64>,
    /// Inputs that lay furthest from the training data, with their scores.
    pub explained: Vec<(String, Option<f64>)>,
    /// All of this in a sentence.
    pub text: String,
    /// What the device has done, as in `fail_safe`.
    pub done: Vec<String>,
    /// Who knows of it; null while nobody has said so.
    pub acknowledged_by: Option<String>,
    /// Since when.
    pub acknowledged: Option<String>,
    /// What was measured in that time, where one alert is asked for; null if no interval of it has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// What the rule wants to be assigned, and what has come of it; null if nothing.
    pub proposal: Option<ProposalShown>,
    /// Who was told of it, and whether he has heard it; where one alert is asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deliveries: Vec<DeliveryShown>,
}

/// What was measured in the time that an alert is about: all intervals as one.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Evidence {
    /// Intervals.
    pub intervals: u64,
    /// First moment, by the readings' own time.
    pub start: String,
    /// Moment after the last.
    pub end: String,
    /// Readings accounted for.
    pub readings: u64,
    /// Frames.
    pub frames: u64,
    /// Findings.
    pub findings: u64,
    /// Frames with an alarm.
    pub alarms: u64,
    /// Frames without an answer, by reason.
    pub errors: BTreeMap<String, u64>,
    /// Readings dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Time that 95 of 100 frames kept within, in milliseconds.
    pub latency_ms_p95: Option<f64>,
    /// Inputs by name.
    pub inputs: BTreeMap<String, ColumnShown>,
    /// Outputs by name.
    pub outputs: BTreeMap<String, ColumnShown>,
}

/// What was measured of a column. Of texts only the counts.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ColumnShown {
    /// Values.
    pub values: u64,
    /// Rows without one.
    pub missing: u64,
    /// Values outside of the range that the bundle states.
    pub out_of_range: u64,
    /// In the column's unit, as the rest.
    pub mean: Option<f64>,
    /// The smallest.
    pub min: Option<f64>,
    /// A quarter is below, to 1/64 of itself; so are the other two.
    pub quartile_1: Option<f64>,
    /// The middle.
    pub median: Option<f64>,
    /// Three quarters are below.
    pub quartile_3: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
}

impl Alerts {
    /// Alerts, the newest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn list(&self, selection: &Selection) -> Result<Vec<AlertShown>, Error> {
        use alert::Column::{Id, OverUnixMs, Place, Scope};
        let mut query = listed().order_by_desc(Id);
        match selection.open {
            Some(true) => query = query.filter(OverUnixMs.is_null()),
            Some(false) => query = query.filter(OverUnixMs.is_not_null()),
            None => {}
        }
        if let Some(device) = &selection.device {
            query = query.filter(Scope.eq("device")).filter(Place.eq(device));
        }
        if let Some(before) = selection.before {
            query = query.filter(Id.lt(to_row(before)));
        }
        let rows = query.limit(selection.limit()).all(self.store.read()).await?;
        self.with_proposals(rows).await
    }

    /// One alert, with what was measured.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub async fn get(&self, id: u64) -> Result<AlertShown, Error> {
        let row = alert::Entity::find_by_id(to_row(id)).one(self.store.read()).await?;
        let row = row.ok_or_else(|| missing(id))?;
        let evidence = row.evidence.clone().and_then(evidence::read);
        let shown = self.with_proposals(vec![row]).await?.remove(0);
        Ok(AlertShown { evidence: evidence.as_ref().map(Evidence::of), ..shown })
    }

    /// Alerts that are not over and that nobody has acknowledged, by device; the newest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn waiting(
        &self,
        names: Names<'_>,
    ) -> Result<BTreeMap<String, Vec<AlertShown>>, Error> {
        let rows = unknown_to_people()
            .filter(alert::Column::Scope.eq("device"))
            .filter(alert::Column::Place.between(names.first, names.last))
            .order_by_desc(alert::Column::Id)
            .all(self.store.read())
            .await?;
        let mut waiting: BTreeMap<String, Vec<AlertShown>> = BTreeMap::new();
        for alert in self.with_proposals(rows).await? {
            let device = alert.device.clone().unwrap_or_default();
            waiting.entry(device).or_default().push(alert);
        }
        Ok(waiting)
    }

    /// The newest alerts that are not over and that nobody has acknowledged, and how many there are.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn newest_waiting(&self, limit: u64) -> Result<(Vec<AlertShown>, u64), Error> {
        let count = unknown_to_people().count(self.store.read()).await?;
        let newest = unknown_to_people().order_by_desc(alert::Column::Id).limit(limit);
        let rows = newest.all(self.store.read()).await?;
        Ok((self.with_proposals(rows).await?, count))
    }

    async fn with_proposals(&self, rows: Vec<alert::Model>) -> Result<Vec<AlertShown>, Error> {
        let mut proposals: BTreeMap<i64, proposal::Model> = BTreeMap::new();
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        for ids in ids.chunks(ROWS_AT_ONCE) {
            let of_them = proposal::Column::Alert.is_in(ids.iter().copied());
            let found = proposal::Entity::find().filter(of_them).all(self.store.read()).await?;
            proposals.extend(found.into_iter().map(|row| (row.alert, row)));
        }
        let with = |row: alert::Model| {
            let proposal = proposals.remove(&row.id).map(ProposalShown::from);
            AlertShown { proposal, ..shown(row) }
        };
        Ok(rows.into_iter().map(with).collect())
    }
}

/// Alerts without what was measured, which is large.
fn listed() -> Select<alert::Entity> {
    let columns = alert::Column::iter().filter(|it| !matches!(it, alert::Column::Evidence));
    let without = alert::Entity::find().select_only().columns(columns);
    without.column_as(Expr::cust("NULL"), alert::Column::Evidence)
}

fn unknown_to_people() -> Select<alert::Entity> {
    listed()
        .filter(alert::Column::OverUnixMs.is_null())
        .filter(alert::Column::AcknowledgedUnixMs.is_null())
}

fn shown(row: alert::Model) -> AlertShown {
    let of = |scope: &str| (row.scope == scope).then(|| row.place.clone());
    AlertShown {
        id: from_row(row.id),
        device: of("device"),
        site: of("site").or_else(|| of("fleet")),
        scope: row.scope,
        slot: row.slot,
        rule: row.rule,
        release: spoken(&row.bundle, &row.version),
        bundle: row.bundle,
        version: row.version,
        digest: format!("sha256:{}", row.digest),
        fired: row.fired_unix_ms.map(time_shown),
        over: row.over_unix_ms.map(time_shown),
        start: time_shown(row.start_unix_ms),
        end: time_shown(row.end_unix_ms),
        signal: row.signal,
        // Written here, so it is of this form.
        values: serde_json::from_str(&row.seen).unwrap_or_default(),
        low: row.low,
        high: row.high,
        explained: serde_json::from_str(&row.explained).unwrap_or_default(),
        text: row.text,
        done: serde_json::from_str(&row.done).unwrap_or_default(),
        acknowledged_by: row.acknowledged_by,
        acknowledged: row.acknowledged_unix_ms.map(time_shown),
        evidence: None,
        proposal: None,
        deliveries: vec![],
    }
}

impl AlertShown {
    /// What people are asked, if they are; with how to answer.
    pub fn asks(&self) -> String {
        let Some(proposal) = self.proposal.as_ref().filter(|proposal| proposal.state == "asked")
        else {
            return String::new();
        };
        let what = match &proposal.release {
            Some(release) => format!("{release} is to be assigned"),
            None => "what ran before is to be assigned".into(),
        };
        let id = self.id;
        format!("; {what}: `lineside alerts approve {id}` or `decline {id}`")
    }

    /// Where it is: a device, a site or the fleet.
    pub fn place(&self) -> String {
        match (&self.device, &self.site) {
            (Some(device), _) => device.clone(),
            (_, Some(site)) if self.scope == "site" => format!("site {site}"),
            _ => "the fleet".into(),
        }
    }
}

impl Evidence {
    fn of(whole: &Interval) -> Evidence {
        let counts = |counts: &[(String, u64)]| counts.iter().cloned().collect();
        let columns = |summaries: &[Summary]| {
            let column = |one: &Summary| (one.name.clone(), ColumnShown::of(one));
            summaries.iter().map(column).collect()
        };
        let p95 = whole.latency_us.quantile(0.95);
        Evidence {
            intervals: whole.intervals,
            start: time_shown(whole.start_unix_ms),
            end: time_shown(whole.end_unix_ms),
            readings: whole.readings,
            frames: whole.frames,
            findings: whole.findings,
            alarms: whole.alarms,
            errors: counts(&whole.errors),
            dropped: counts(&whole.dropped),
            latency_ms_p95: finite(p95.map(|us| us / 1_000.0)),
            inputs: columns(&whole.inputs),
            outputs: columns(&whole.outputs),
        }
    }
}

impl ColumnShown {
    fn of(summary: &Summary) -> ColumnShown {
        let (missing, out_of_range) = (summary.column.missing(), summary.out_of_range);
        let none = ColumnShown {
            values: 0,
            missing,
            out_of_range,
            mean: None,
            min: None,
            quartile_1: None,
            median: None,
            quartile_3: None,
            max: None,
        };
        match &summary.column {
            Column::Texts(texts) => {
                let values = texts.frequent().count_all();
                ColumnShown { values, ..none }
            }
            Column::Numbers(numbers) => {
                let (moments, histogram) = (numbers.moments(), numbers.histogram());
                let range = moments.range();
                ColumnShown {
                    values: histogram.count(),
                    mean: finite(moments.mean()),
                    min: finite(range.map(|(min, _)| min)),
                    quartile_1: finite(histogram.quantile(0.25)),
                    median: finite(histogram.quantile(0.5)),
                    quartile_3: finite(histogram.quantile(0.75)),
                    max: finite(range.map(|(_, max)| max)),
                    ..none
                }
            }
        }
    }
}

/// JSON has no other numbers.
fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}
