//! Intervals of many devices as one, or as a series of spans: read row by row in the order of their time, so
//! that a span is whole when the first row of a later one comes, and no more is in memory than what is open.

use crate::bounds::{MERGED_RELEASES_MAX, MERGED_ROWS_MAX, MERGED_SPANS_MAX};
use crate::error::Error;
use crate::monitor::Question;
use crate::store::Store;
use crate::store::tables::interval;
use lineside_wire::v1::{Body, Column, Interval, Record, ReleaseRef, Resources, record};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// Rows that are read at once: each may be as large as a message.
const PAGE: usize = 32;
/// Bytes of a value, as a reading has it.
const VALUE_BYTES: u64 = 8;

/// A way through intervals.
pub(crate) struct Merging<'a> {
    store: &'a Store,
    /// Rows in the order of their time.
    ids: std::vec::IntoIter<i64>,
    page: VecDeque<Row>,
    step_ms: Option<i64>,
    /// Which span is open.
    open: Option<i64>,
    releases: BTreeMap<Key, Release>,
    /// What each device said last of what it had used.
    used: HashMap<String, Resources>,
    ready: VecDeque<Merged>,
    counted: Counted,
}

type Key = (String, String, [u8; 32]);

/// A row as far as it is needed.
struct Row {
    device: String,
    body: Vec<u8>,
}

/// What is open of a release.
struct Release {
    whole: Part,
    span: Option<Part>,
}

/// Intervals that became one, or did not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Rows that were merged.
    pub rows: u64,
    /// Those that were left out because they were counted over other edges, or have too many columns.
    pub unmerged: u64,
    /// Those whose bytes cannot be read.
    pub unreadable: u64,
    /// Those of the merged ones that are longer than a span: they count in the one in which they begin.
    pub longer: u64,
}

/// Intervals of one release as one.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// What was counted in all of them. Its resources are those of the last one.
    pub interval: Interval,
    /// The devices.
    pub devices: BTreeSet<String>,
    /// Records.
    pub rows: u64,
    /// Bytes of the records as they came.
    pub record_bytes: u64,
    /// What it cost.
    pub cost: Cost,
}

/// What intervals cost, of whole agents.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Cost {
    /// Processor time, as far as two intervals of a device in a row tell it.
    pub cpu_ms: u64,
    /// Written to storage, in KiB, in the same way.
    pub written_kib: u64,
    /// Most resident memory, in KiB.
    pub resident_kib_max: u64,
    /// Least free space, in MiB.
    pub disk_free_mib_min: u64,
    /// Highest temperature of a processor.
    pub temperature_c_max: Option<f32>,
    /// Lowest charge of a battery.
    pub battery_percent_min: Option<u8>,
}

/// A part that is whole.
#[derive(Debug)]
pub(crate) struct Merged {
    /// First moment and moment after the last of the span; none of all there is of the release.
    pub span_unix_ms: Option<(i64, i64)>,
    pub part: Part,
}

impl<'a> Merging<'a> {
    /// Looks which rows are meant.
    ///
    /// # Errors
    /// [`Error::TooLarge`], with what helps, if there are too many; [`Error::Missing`] if no device is meant.
    pub async fn begin(store: &'a Store, question: &Question) -> Result<Merging<'a>, Error> {
        let mut query = interval::Entity::find()
            .select_only()
            .columns([interval::Column::Id, interval::Column::StartUnixMs])
            .filter(interval::Column::StartUnixMs.gte(question.from_unix_ms))
            .filter(interval::Column::StartUnixMs.lt(question.to_unix_ms));
        let devices = question.scope.devices(store).await?;
        query = match devices.as_deref() {
            // Not by the slot's index, which would go through the time of all devices: the rows of one are few.
            Some([device]) => query.filter(interval::Column::Device.eq(device.as_str())).filter(
                sea_orm::ExprTrait::eq(
                    Expr::cust("\"interval\".\"slot\" || ''"),
                    question.slot.as_str(),
                ),
            ),
            _ => query.filter(interval::Column::Slot.eq(question.slot.as_str())),
        };
        if let Some(devices) = devices.filter(|devices| devices.len() != 1) {
            query = query.filter(interval::Column::Device.is_in(devices));
        }
        if let Some(release) = &question.release {
            query = query.filter(interval::Column::Release.eq(release.as_str()));
        }
        let rows: Vec<(i64, i64)> = query
            .order_by_asc(interval::Column::StartUnixMs)
            .order_by_asc(interval::Column::Id)
            .limit(MERGED_ROWS_MAX + 1)
            .into_tuple()
            .all(store.read())
            .await?;
        if rows.len() as u64 > MERGED_ROWS_MAX {
            return Err(Error::TooLarge(format!(
                "these are more than {MERGED_ROWS_MAX} intervals, which are looked at at once: ask about a \
                 shorter time with from and to, or about one device, site or label"
            )));
        }
        if let Some(step) = question.step_ms {
            let mut spans: Vec<i64> = rows.iter().map(|(_, at)| at.div_euclid(step)).collect();
            spans.dedup();
            if spans.len() > MERGED_SPANS_MAX {
                return Err(Error::TooLarge(format!(
                    "these are {} spans, and {MERGED_SPANS_MAX} are told at once: take a larger step, or ask \
                     about a shorter time",
                    spans.len()
                )));
            }
        }
        let ids: Vec<i64> = rows.into_iter().map(|(id, _)| id).collect();
        Ok(Merging {
            store,
            ids: ids.into_iter(),
            page: VecDeque::new(),
            step_ms: question.step_ms,
            open: None,
            releases: BTreeMap::new(),
            used: HashMap::new(),
            ready: VecDeque::new(),
            counted: Counted::default(),
        })
    }

    /// The next part that is whole: spans in the order of time, those of one span by release; at last all there
    /// is, by release. None at the end.
    ///
    /// # Errors
    /// [`Error::Database`]; [`Error::TooLarge`] if there are too many releases.
    pub async fn next(&mut self) -> Result<Option<Merged>, Error> {
        loop {
            if let Some(merged) = self.ready.pop_front() {
                return Ok(Some(merged));
            }
            match self.row().await? {
                Some(row) => self.take(row)?,
                None if self.releases.is_empty() => return Ok(None),
                None => {
                    self.close_span();
                    let releases = std::mem::take(&mut self.releases).into_values();
                    let whole = |Release { whole: part, .. }| Merged { span_unix_ms: None, part };
                    self.ready.extend(releases.map(whole));
                }
            }
        }
    }

    /// What became of the rows so far.
    pub fn counted(&self) -> Counted {
        self.counted
    }

    async fn row(&mut self) -> Result<Option<Row>, Error> {
        loop {
            // Reading a row takes some work, and others want to be answered as well.
            tokio::task::yield_now().await;
            if let Some(row) = self.page.pop_front() {
                return Ok(Some(row));
            }
            let ids: Vec<i64> = self.ids.by_ref().take(PAGE).collect();
            if ids.is_empty() {
                return Ok(None);
            }
            let rows: Vec<(i64, String, Vec<u8>)> = interval::Entity::find()
                .select_only()
                .columns([interval::Column::Id, interval::Column::Device, interval::Column::Body])
                .filter(interval::Column::Id.is_in(ids.iter().copied()))
                .into_tuple()
                .all(self.store.read())
                .await?;
            let mut rows: HashMap<i64, Row> =
                rows.into_iter().map(|(id, device, body)| (id, Row { device, body })).collect();
            // One that has given way to newer ones in between is gone.
            self.page.extend(ids.iter().filter_map(|id| rows.remove(id)));
        }
    }

    fn take(&mut self, row: Row) -> Result<(), Error> {
        let Row { device, body } = row;
        let bytes = body.len() as u64;
        let record = Record { boot: 0, sequence: 0, backfill: false, code: record::INTERVAL, body };
        let Ok(Body::Interval(mut interval)) = record.read() else {
            self.counted.unreadable += 1;
            return Ok(());
        };
        interval.stands_for = vec![];
        if let Some(step) = self.step_ms {
            let span = interval.start_unix_ms.div_euclid(step);
            if self.open != Some(span) {
                self.close_span();
                self.open = Some(span);
            }
            let length = interval.end_unix_ms.saturating_sub(interval.start_unix_ms);
            self.counted.longer += u64::from(length > step);
        }
        let ReleaseRef { name, version, digest } = interval.release.clone();
        let key = (name, version, digest);
        if !self.releases.contains_key(&key) && self.releases.len() >= MERGED_RELEASES_MAX {
            return Err(Error::TooLarge(format!(
                "more than {MERGED_RELEASES_MAX} releases answered in this time: name one with release, or \
                 ask about a shorter time"
            )));
        }
        let cost = Cost::between(self.used.get(&device), &interval.resources);
        self.used.insert(device.clone(), interval.resources);
        let part = Part {
            devices: BTreeSet::from([device]),
            rows: 1,
            record_bytes: bytes,
            cost,
            interval: *interval,
        };
        let has_step = self.step_ms.is_some();
        let merged = match self.releases.get_mut(&key) {
            None => {
                let span = has_step.then(|| part.clone());
                self.releases.insert(key, Release { whole: part, span });
                true
            }
            Some(release) => {
                let merged = release.whole.absorb(&part);
                if merged && has_step {
                    match &mut release.span {
                        // What fits the whole fits a part of it.
                        Some(span) => _ = span.absorb(&part),
                        None => release.span = Some(part),
                    }
                }
                merged
            }
        };
        match merged {
            true => self.counted.rows += 1,
            false => self.counted.unmerged += 1,
        }
        Ok(())
    }

    fn close_span(&mut self) {
        let (Some(step), Some(open)) = (self.step_ms, self.open.take()) else { return };
        let start = open.saturating_mul(step);
        let span_unix_ms = Some((start, start.saturating_add(step)));
        for release in self.releases.values_mut() {
            let part = release.span.take();
            self.ready.extend(part.map(|part| Merged { span_unix_ms, part }));
        }
    }
}

impl Part {
    /// Takes in another one; whether it could.
    fn absorb(&mut self, other: &Part) -> bool {
        if self.interval.absorb(&other.interval).is_err() {
            return false;
        }
        self.devices.extend(other.devices.iter().cloned());
        self.rows += other.rows;
        self.record_bytes = self.record_bytes.saturating_add(other.record_bytes);
        self.cost.absorb(&other.cost);
        true
    }

    /// Its release as people write it, as in `turbine/2`.
    pub fn release(&self) -> String {
        let ReleaseRef { name, version, .. } = &self.interval.release;
        format!("{name}/{version}")
    }

    /// What the readings took before anything was made of them: eight bytes for each value of each reading,
    /// those without a value included.
    pub fn reading_bytes(&self) -> u64 {
        let rows = |column: &Column| match column {
            Column::Numbers(numbers) => numbers
                .moments()
                .count()
                .saturating_add(numbers.histogram().not_finite())
                .saturating_add(numbers.missing()),
            Column::Texts(texts) => texts.frequent().count_all().saturating_add(texts.missing()),
        };
        let rows = self.interval.inputs.iter().map(|input| rows(&input.column));
        rows.fold(0, u64::saturating_add).saturating_mul(VALUE_BYTES)
    }
}

impl Cost {
    /// What a device has used since it said this last; nothing is known of the time before it spoke first.
    fn between(last: Option<&Resources>, now: &Resources) -> Cost {
        // It begins anew with each start of the agent: then all that it says is new.
        let more = |was: u64, is: u64| if is >= was { is - was } else { is };
        let used = |of: fn(&Resources) -> u64| last.map_or(0, |last| more(of(last), of(now)));
        Cost {
            cpu_ms: used(|it| it.cpu_ms),
            written_kib: used(|it| it.written_kib),
            resident_kib_max: now.resident_kib,
            disk_free_mib_min: now.disk_free_mib,
            temperature_c_max: now.temperature_c,
            battery_percent_min: now.battery_percent,
        }
    }

    fn absorb(&mut self, other: &Cost) {
        self.cpu_ms = self.cpu_ms.saturating_add(other.cpu_ms);
        self.written_kib = self.written_kib.saturating_add(other.written_kib);
        self.resident_kib_max = self.resident_kib_max.max(other.resident_kib_max);
        self.disk_free_mib_min = self.disk_free_mib_min.min(other.disk_free_mib_min);
        let temperatures = [self.temperature_c_max, other.temperature_c_max];
        self.temperature_c_max = temperatures.into_iter().flatten().reduce(f32::max);
        let charges = [self.battery_percent_min, other.battery_percent_min];
        self.battery_percent_min = charges.into_iter().flatten().min();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Scope;
    use crate::registry::{NewDevice, Registry};
    use lineside_sketch::{Edges, Histogram, NumberColumn};
    use lineside_wire::v1::Summary;
    use sea_orm::ActiveValue::{NotSet, Set};
    use std::sync::Arc;
    use tempfile::TempDir;
    use time::OffsetDateTime;

    const HOUR_MS: i64 = 3_600_000;

    fn edges(last: f64) -> Edges {
        Edges::new(vec![0.0, 1.0, last]).unwrap()
    }

    fn release(version: &str) -> ReleaseRef {
        let digest = [version.as_bytes()[0]; 32];
        ReleaseRef { name: "turbine".into(), version: version.into(), digest }
    }

    /// Hour `hour`, in which these values were read.
    fn hour(hour: i64, version: &str, last: f64, values: &[f64]) -> Interval {
        let edges = edges(last);
        let mut column = NumberColumn::new(Some(&edges));
        values.iter().for_each(|value| column.add(Some(&edges), *value).unwrap());
        column.add_missing_rows(1);
        let column = Column::Numbers(Box::new(column));
        let mut latency_us = Histogram::default();
        values.iter().for_each(|value| latency_us.add(100.0 + value));
        Interval {
            readings: values.len() as u64 + 1,
            frames: values.len() as u64,
            alarms: 1,
            errors: vec![("stage".into(), 2)],
            latency_us,
            inputs: vec![Summary { name: "wind".into(), column, out_of_range: 1 }],
            resources: Resources {
                cpu_ms: 1_000 + hour as u64 * 10,
                temperature_c: Some(hour as f32),
                ..Resources::default()
            },
            ..Interval::of("turbine", release(version), (hour * HOUR_MS, (hour + 1) * HOUR_MS))
        }
    }

    async fn store() -> (TempDir, Arc<Store>) {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(crate::store::testing::store(folder.path()).await);
        for (name, site, line) in [("a", "hill", "1"), ("b", "hill", "2"), ("c", "vale", "2")] {
            let labels = BTreeMap::from([("line".to_owned(), line.to_owned())]);
            let new = NewDevice { name: name.into(), site: site.into(), labels };
            let registry = Registry::new(store.clone());
            registry
                .add(&crate::audit::By::ADMINISTRATOR, new, OffsetDateTime::UNIX_EPOCH)
                .await
                .unwrap();
        }
        (folder, store)
    }

    async fn insert(store: &Store, device: &str, body: Vec<u8>, interval: &Interval) {
        let ReleaseRef { name, version, .. } = &interval.release;
        let row = interval::ActiveModel {
            id: NotSet,
            device: Set(device.into()),
            boot: Set(1),
            sequence: Set(0),
            backfill: Set(false),
            slot: Set(interval.slot.clone()),
            release: Set(lineside_bundle::spoken(name, version)),
            start_unix_ms: Set(interval.start_unix_ms),
            end_unix_ms: Set(interval.end_unix_ms),
            readings: Set(0),
            frames: Set(0),
            findings: Set(0),
            alarms: Set(0),
            doubled: Set(0),
            errors: Set(0),
            dropped: Set(0),
            latency_us_p95: Set(None),
            body: Set(body),
        };
        let writing = store.write().await.unwrap();
        let insert = interval::Entity::insert(row);
        insert.exec_without_returning(&writing.transaction).await.unwrap();
        writing.commit().await.unwrap();
    }

    async fn tell(store: &Store, device: &str, interval: Interval) {
        let (_, body) = Body::Interval(Box::new(interval.clone())).encode().unwrap();
        insert(store, device, body, &interval).await;
    }

    fn question(scope: Scope, step_hours: Option<i64>) -> Question {
        Question {
            slot: "turbine".into(),
            release: None,
            scope,
            from_unix_ms: i64::MIN,
            to_unix_ms: i64::MAX,
            step_ms: step_hours.map(|hours| hours * HOUR_MS),
        }
    }

    async fn all(store: &Store, question: &Question) -> (Vec<Merged>, Counted) {
        let mut merging = Merging::begin(store, question).await.unwrap();
        let mut all = Vec::new();
        while let Some(merged) = merging.next().await.unwrap() {
            all.push(merged);
        }
        (all, merging.counted())
    }

    /// Begin of the span in hours, release, devices and frames.
    fn told(all: &[Merged]) -> Vec<(Option<i64>, String, usize, u64)> {
        let told = |merged: &Merged| {
            let hour = merged.span_unix_ms.map(|(start, _)| start / HOUR_MS);
            let part = &merged.part;
            (hour, part.release(), part.devices.len(), part.interval.frames)
        };
        all.iter().map(told).collect()
    }

    #[tokio::test]
    async fn a_series_of_spans_is_by_time_and_release_and_adds_up_to_the_whole() {
        let (_folder, store) = store().await;
        // In another order than that of their time, more than a page of them, from two devices.
        for at in (0..40).rev() {
            tell(&store, if at % 2 == 0 { "a" } else { "b" }, hour(at, "1", 9.0, &[1.0, 2.0]))
                .await;
        }
        tell(&store, "c", hour(7, "2", 5.0, &[3.0])).await;
        let (merged, counted) = all(&store, &question(Scope::Fleet, Some(24))).await;
        let one = |hour, version: &str, devices, frames| {
            (hour, format!("turbine/{version}"), devices, frames)
        };
        let expected = [
            one(Some(0), "1", 2, 48),
            one(Some(0), "2", 1, 1),
            one(Some(24), "1", 2, 32),
            one(None, "1", 2, 80),
            one(None, "2", 1, 1),
        ];
        assert_eq!(told(&merged), expected);
        assert_eq!(counted, Counted { rows: 41, ..Counted::default() });
        let whole = &merged[3].part;
        let mut sum = merged[0].part.interval.clone();
        sum.absorb(&merged[2].part.interval).unwrap();
        assert_eq!(sum, whole.interval);
        // The same as if one device had read it all at once.
        let values: Vec<f64> = (0..40).flat_map(|_| [1.0, 2.0]).collect();
        let mut at_once = hour(0, "1", 9.0, &values);
        let Column::Numbers(numbers) = &mut at_once.inputs[0].column else { panic!() };
        numbers.add_missing_rows(39);
        assert_eq!(whole.interval.inputs[0].column, at_once.inputs[0].column);
        assert_eq!(whole.interval.latency_us, at_once.latency_us);
        assert_eq!(whole.interval.errors, [("stage".to_owned(), 80)]);
        assert_eq!((whole.rows, whole.reading_bytes()), (40, 8 * 120));
        // From the first to the last of each device; what it had used before is not of this time.
        assert_eq!((whole.cost.cpu_ms, whole.cost.temperature_c_max), (2 * 380, Some(39.0)));
    }

    #[tokio::test]
    async fn a_scope_a_release_and_a_time_leave_out_the_rest() {
        let (_folder, store) = store().await;
        for (device, version) in [("a", "1"), ("b", "2"), ("c", "2")] {
            for at in 0..4 {
                tell(&store, device, hour(at, version, 9.0, &[1.0])).await;
            }
        }
        let frames = async |question: Question| -> Vec<u64> {
            let (merged, _) = all(&store, &question).await;
            merged.iter().map(|merged| merged.part.interval.frames).collect()
        };
        let label = || Scope::Label("line".into(), "2".into());
        assert_eq!(frames(question(Scope::Device("a".into()), None)).await, [4]);
        assert_eq!(frames(question(Scope::Site("hill".into()), None)).await, [4, 4]);
        assert_eq!(frames(question(label(), None)).await, [8]);
        let one = Question { release: Some("turbine v2".into()), ..question(Scope::Fleet, None) };
        assert_eq!(frames(one).await, [8]);
        let times = (HOUR_MS, 3 * HOUR_MS);
        let some =
            Question { from_unix_ms: times.0, to_unix_ms: times.1, ..question(label(), None) };
        assert_eq!(frames(some).await, [4]);
        let other = Question { slot: "pump".into(), ..question(Scope::Fleet, None) };
        assert!(frames(other).await.is_empty());
        for nobody in [Scope::Device("x".into()), Scope::Site("x".into())] {
            let said = Merging::begin(&store, &question(nobody, None)).await.err().unwrap();
            assert!(
                matches!(&said, Error::Missing(text) if text.contains("device list")),
                "{said}"
            );
        }
    }

    #[tokio::test]
    async fn what_was_counted_over_other_edges_and_what_cannot_be_read_is_left_out_and_counted() {
        let (_folder, store) = store().await;
        tell(&store, "a", hour(0, "1", 9.0, &[1.0])).await;
        tell(&store, "a", hour(1, "1", 5.0, &[1.0])).await;
        let mut long = hour(2, "1", 9.0, &[1.0]);
        long.end_unix_ms = 5 * HOUR_MS;
        tell(&store, "a", long).await;
        insert(&store, "a", vec![1, 2, 3], &hour(3, "1", 9.0, &[])).await;
        let (merged, counted) = all(&store, &question(Scope::Fleet, Some(2))).await;
        assert_eq!(counted, Counted { rows: 2, unmerged: 1, unreadable: 1, longer: 1 });
        assert_eq!(merged.last().unwrap().part.interval.frames, 2);
    }

    #[tokio::test]
    async fn too_many_spans_are_refused_with_what_helps() {
        let (_folder, store) = store().await;
        for at in 0..=MERGED_SPANS_MAX as i64 {
            insert(&store, "a", vec![], &hour(at, "1", 9.0, &[])).await;
        }
        let said = Merging::begin(&store, &question(Scope::Fleet, Some(1))).await.err().unwrap();
        assert!(matches!(&said, Error::TooLarge(text) if text.contains("larger step")), "{said}");
        Merging::begin(&store, &question(Scope::Fleet, Some(2))).await.unwrap();
    }
}
