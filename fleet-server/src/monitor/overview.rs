//! Answers about the fleet as a whole: merged, and judged.

use crate::artifact::Artifacts;
use crate::bounds::MERGED_AT_A_TIME;
use crate::error::Error;
use crate::monitor::Question;
use crate::monitor::declared::description;
use crate::monitor::drift::{
    ColumnDriftShown, DriftedShown, PointShown, ProfileShown, columns, no_profile, times_shown,
};
use crate::monitor::estimated::EstimatedShown;
use crate::monitor::merged::{Counted, Merging, Part};
use crate::monitor::profiles::Profiles;
use crate::monitor::summary::SummaryShown;
use crate::store::Store;
use lineside_bundle::{Digest, Value};
use lineside_wire::v1::Interval;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Semaphore, SemaphorePermit};
use utoipa::ToSchema;

/// The fleet as a whole.
pub(crate) struct Overview {
    store: Arc<Store>,
    artifacts: Artifacts,
    pub(super) profiles: Profiles,
    /// Merging takes work and memory.
    at_a_time: Semaphore,
}

/// What became of the intervals that were asked about.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct MergedShown {
    /// Records that were merged.
    pub records: u64,
    /// Those that were left out because they were counted over other edges, or have more columns together than
    /// are kept.
    pub unmerged: u64,
    /// Those whose bytes cannot be read.
    pub unreadable: u64,
    /// Those of the merged ones that are longer than a span: they count in the one in which they begin.
    pub longer_than_step: u64,
}

/// Drift by release.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct DriftShown {
    /// The slot.
    pub slot: String,
    /// What became of the intervals.
    pub merged: MergedShown,
    /// By the time at which each began to answer.
    pub releases: Vec<ReleaseDriftShown>,
}

/// Drift of what a release read and answered.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ReleaseDriftShown {
    /// The release, as in `turbine/2`.
    pub release: String,
    /// Digest of its manifest.
    pub digest: String,
    /// First moment, by the readings' own time, RFC 3339.
    pub start: String,
    /// Moment after the last.
    pub end: String,
    /// Devices.
    pub devices: u64,
    /// Intervals.
    pub intervals: u64,
    /// Frames.
    pub frames: u64,
    /// Frames with an alarm.
    pub alarms: u64,
    /// What its profile is about.
    pub profile: Option<ProfileShown>,
    /// Why there is nothing to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_profile: Option<String>,
    /// How many columns have drifted.
    #[serde(flatten)]
    pub drifted: DriftedShown,
    /// The outputs that should stay where they are while the process changes, if its bundle names them: the
    /// others, and inputs, move with what they measure.
    pub watched_outputs: Option<Vec<String>>,
    /// How good its answers should be, where its bundle says that a score is a calibrated probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated: Option<EstimatedShown>,
    /// Its columns over all of the time, outputs first.
    pub columns: Vec<ColumnDriftShown>,
    /// The same span by span, where a step was asked for.
    pub series: Vec<SpanDriftShown>,
}

/// Drift in a span.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct SpanDriftShown {
    /// First moment.
    pub start: String,
    /// Moment after the last.
    pub end: String,
    /// Devices.
    pub devices: u64,
    /// Frames.
    pub frames: u64,
    /// Frames with an alarm.
    pub alarms: u64,
    /// How many columns have drifted.
    #[serde(flatten)]
    pub drifted: DriftedShown,
    /// Its columns, outputs first.
    pub columns: Vec<PointShown>,
}

/// What was counted, by release.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct SummariesShown {
    /// The slot.
    pub slot: String,
    /// What became of the intervals.
    pub merged: MergedShown,
    /// By the time at which each began to answer.
    pub releases: Vec<ReleaseSummaryShown>,
}

/// What a release has done.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ReleaseSummaryShown {
    /// The release, as in `turbine/2`.
    pub release: String,
    /// Digest of its manifest.
    pub digest: String,
    /// Over all of the time.
    #[serde(flatten)]
    pub whole: SummaryShown,
    /// What it declares its work to be worth: the table `[value]` of its bundle.toml.
    #[schema(value_type = Option<Object>)]
    pub value: Option<Value>,
    /// The same span by span, where a step was asked for.
    pub series: Vec<SummaryShown>,
}

impl From<Counted> for MergedShown {
    fn from(counted: Counted) -> MergedShown {
        let Counted { rows, unmerged, unreadable, longer } = counted;
        MergedShown { records: rows, unmerged, unreadable, longer_than_step: longer }
    }
}

impl Overview {
    /// What is in `store`, beside the profiles among `artifacts`.
    pub fn new(store: Arc<Store>, artifacts: Artifacts) -> Overview {
        let at_a_time = Semaphore::new(MERGED_AT_A_TIME);
        let profiles = Profiles::new(artifacts.clone());
        Overview { store, artifacts, profiles, at_a_time }
    }

    /// The share of columns that have drifted from the training data of the release (0 to 1); none where nothing
    /// can be compared.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::File`].
    pub async fn drifted_share(&self, interval: &Interval) -> Result<Option<f64>, Error> {
        let found = self.profiles.of(&interval.release).await?;
        let columns = columns(interval, found.as_deref().ok());
        Ok(DriftedShown::of(&columns).drifted_share)
    }

    /// How far each release's columns are from its training data.
    ///
    /// # Errors
    /// [`Error::Missing`] if no device is meant; [`Error::TooLarge`], with what helps.
    pub async fn drift(&self, question: &Question) -> Result<DriftShown, Error> {
        let _turn = self.turn().await;
        let mut merging = Merging::begin(&self.store, question).await?;
        let mut series: BTreeMap<[u8; 32], Vec<SpanDriftShown>> = BTreeMap::new();
        let mut releases = Vec::new();
        while let Some(merged) = merging.next().await? {
            let (part, span) = (merged.part, merged.span_unix_ms);
            let release = &part.interval.release;
            let found = self.profiles.of(release).await?;
            let columns = columns(&part.interval, found.as_deref().ok());
            let drifted = DriftedShown::of(&columns);
            let (devices, digest) = (part.devices.len() as u64, release.digest);
            let (frames, alarms) = (part.interval.frames, part.interval.alarms);
            let (start, end) = times_shown(span.unwrap_or_else(|| times(&part)));
            match span {
                Some(_) => {
                    let columns = columns.into_iter().map(ColumnDriftShown::point).collect();
                    let span =
                        SpanDriftShown { start, end, devices, frames, alarms, drifted, columns };
                    series.entry(digest).or_default().push(span);
                }
                None => {
                    let bundle = description(&self.artifacts, &part.interval.release).await?;
                    let estimated = bundle.as_ref();
                    let estimated =
                        estimated.and_then(|bundle| EstimatedShown::of(bundle, &part.interval));
                    let shown = ReleaseDriftShown {
                        release: part.release(),
                        digest: Digest::from(digest).to_string(),
                        start,
                        end,
                        devices,
                        intervals: part.interval.intervals,
                        frames,
                        alarms,
                        profile: found.as_deref().ok().map(ProfileShown::of),
                        no_profile: no_profile(&found),
                        watched_outputs: bundle.and_then(|bundle| bundle.monitor.outputs),
                        estimated,
                        drifted,
                        columns,
                        series: series.remove(&digest).unwrap_or_default(),
                    };
                    releases.push((times(&part), shown));
                }
            }
        }
        releases.sort_by_key(|(times, _)| *times);
        let releases = releases.into_iter().map(|(_, release)| release).collect();
        let merged = merging.counted().into();
        Ok(DriftShown { slot: question.slot.clone(), merged, releases })
    }

    /// What each release has done.
    ///
    /// # Errors
    /// As for [`Overview::drift`].
    pub async fn summary(&self, question: &Question) -> Result<SummariesShown, Error> {
        let _turn = self.turn().await;
        let mut merging = Merging::begin(&self.store, question).await?;
        let mut series: BTreeMap<[u8; 32], Vec<SummaryShown>> = BTreeMap::new();
        let mut releases = Vec::new();
        while let Some(merged) = merging.next().await? {
            let (part, span) = (merged.part, merged.span_unix_ms);
            let digest = part.interval.release.digest;
            let shown = SummaryShown::of(&part, span);
            match span {
                Some(_) => series.entry(digest).or_default().push(shown),
                None => releases.push((
                    times(&part),
                    ReleaseSummaryShown {
                        release: part.release(),
                        digest: Digest::from(digest).to_string(),
                        whole: shown,
                        value: description(&self.artifacts, &part.interval.release)
                            .await?
                            .map(|bundle| bundle.value)
                            .filter(|value| !value.is_empty()),
                        series: series.remove(&digest).unwrap_or_default(),
                    },
                )),
            }
        }
        releases.sort_by_key(|(times, _)| *times);
        let releases = releases.into_iter().map(|(_, release)| release).collect();
        let merged = merging.counted().into();
        Ok(SummariesShown { slot: question.slot.clone(), merged, releases })
    }

    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.at_a_time.acquire().await.ok()
    }
}

fn times(part: &Part) -> (i64, i64) {
    (part.interval.start_unix_ms, part.interval.end_unix_ms)
}
