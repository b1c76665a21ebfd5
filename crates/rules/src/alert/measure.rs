//! What an interval says of a rule's signal.

use super::rule::{AlertRule, Band, Signal, Source};
use super::watch::Seen;
use lineside_drift::{
    ColumnProfile, ColumnSketch, Estimate, Marks, Observed, Profile, Role, Statistic, median,
};
use lineside_sketch::NumberColumn;
use lineside_wire::v1::{Column, Counts, Interval, Summary};

/// What a span says of a rule's signal, and where that should lie. None where nothing says where.
pub(super) fn measure(
    interval: &Interval,
    rule: &AlertRule,
    profile: Option<&Profile>,
) -> Option<(Seen, Band)> {
    let (role, summaries, name) = match rule.source() {
        Source::Interval => (None, &[][..], ""),
        Source::Input(name) => (Some(Role::Input), &interval.inputs[..], name),
        Source::Output(name) => (Some(Role::Output), &interval.outputs[..], name),
    };
    let column = role.and_then(|role| profile?.column(role, name));
    let learnt = column.and_then(|it| {
        let statistic = rule.signal.statistic()?;
        it.learnt.as_ref()?.limits.get(&statistic)
    });
    let band = rule.limits(learnt)?;
    let (estimate, count) = match role {
        None => of_interval(interval, rule.signal),
        Some(_) => {
            let summary = counted(summaries, name, column)?;
            of_column(summary, rule.signal, column, rule.values_min())
        }
    };
    let (start_unix_ms, end_unix_ms) = (interval.start_unix_ms, interval.end_unix_ms);
    Some((Seen { start_unix_ms, end_unix_ms, estimate, count }, band))
}

/// Inputs that lie furthest from the training data, the furthest first.
pub(super) fn furthest(interval: &Interval, profile: &Profile, most: usize) -> Vec<(String, f64)> {
    let scored = interval.inputs.iter().filter_map(|summary| {
        let column = profile.column(Role::Input, &summary.name)?;
        let sketch = sketched(&summary.column, column).ok()?;
        let score = column.score(&sketch, profile.values_min()).ok()?;
        score.score.value.is_finite().then(|| (summary.name.clone(), score.score.value))
    });
    let mut scored: Vec<(String, f64)> = scored.collect();
    scored.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    scored.dedup_by(|a, b| a.0 == b.0);
    scored.truncate(most);
    scored
}

fn share(part: u64, whole: u64) -> Option<Estimate> {
    (whole > 0).then(|| Estimate::exact((part as f64 / whole as f64).min(1.0)))
}

fn of_interval(interval: &Interval, signal: Signal) -> (Option<Estimate>, u64) {
    let sum =
        |counts: &Counts| counts.iter().fold(0u64, |sum, (_, number)| sum.saturating_add(*number));
    let Interval { frames, readings, .. } = *interval;
    match signal {
        Signal::ErrorShare => (share(sum(&interval.errors), frames), frames),
        Signal::AlarmShare => (share(interval.alarms, frames), frames),
        Signal::DroppedShare => {
            let dropped = sum(&interval.dropped);
            let all = readings.saturating_add(dropped);
            (share(dropped, all), all)
        }
        Signal::LatencyP95Ms => {
            let latency = &interval.latency_us;
            // A quantile is the middle of its bucket, which reaches 1/64 to both sides.
            let quantile = latency.quantile(0.95).map(|us| us / 1000.0);
            let estimate = quantile.map(|value| Estimate {
                value,
                low: value * (1.0 - 1.0 / 64.0),
                high: value * (1.0 + 1.0 / 64.0),
            });
            (estimate, latency.count())
        }
        Signal::Median
        | Signal::Mean
        | Signal::MissingShare
        | Signal::OutOfRangeShare
        | Signal::Drift => (None, 0),
    }
}

/// The summary of this name; where several are, because edges have changed, the one that the profile fits.
fn counted<'a>(
    summaries: &'a [Summary],
    name: &str,
    column: Option<&ColumnProfile>,
) -> Option<&'a Summary> {
    let mut named = summaries.iter().filter(|summary| summary.name == name);
    let fitting = column.and_then(|column| {
        let fits = |it: &&Summary| sketched(&it.column, column).is_ok();
        named.clone().find(fits)
    });
    fitting.or_else(|| named.next_back())
}

fn of_column(
    summary: &Summary,
    signal: Signal,
    column: Option<&ColumnProfile>,
    values_min: u64,
) -> (Option<Estimate>, u64) {
    let edges = column.and_then(|column| match &column.marks {
        Marks::Edges(edges) => Some(edges),
        Marks::Categories(_) => None,
    });
    let values = values(summary);
    let rows = values.saturating_add(summary.column.missing());
    match (signal, numbers(summary)) {
        (Signal::MissingShare, _) => (share(summary.column.missing(), rows), rows),
        (Signal::OutOfRangeShare, _) => (share(summary.out_of_range, rows), rows),
        (Signal::Median, Some(numbers)) => (median(numbers, edges), values),
        (Signal::Mean, Some(numbers)) => {
            (numbers.moments().mean().map(Estimate::exact), numbers.moments().count())
        }
        (Signal::Drift, _) => {
            let drift = column.and_then(|column| {
                let sketch = sketched(&summary.column, column).ok()?;
                let observed = Observed { sketch, out_of_range: None };
                let statistics = column.statistics(&observed, values_min);
                statistics.get(&Statistic::Drift).copied()
            });
            (drift, values)
        }
        _ => (None, values),
    }
}

fn numbers(summary: &Summary) -> Option<&NumberColumn> {
    match &summary.column {
        Column::Numbers(numbers) => Some(numbers),
        Column::Texts(_) => None,
    }
}

fn values(summary: &Summary) -> u64 {
    match &summary.column {
        Column::Numbers(numbers) => {
            numbers.moments().count().saturating_add(numbers.histogram().not_finite())
        }
        Column::Texts(texts) => texts.frequent().count_all(),
    }
}

/// A column of telemetry as its profile counts it.
///
/// # Errors
/// Why they do not compare, and what helps.
pub fn sketched(column: &Column, known: &ColumnProfile) -> Result<ColumnSketch, &'static str> {
    match (column, &known.marks) {
        (Column::Numbers(numbers), Marks::Edges(edges)) => match numbers.has_edges(Some(edges)) {
            true => Ok(ColumnSketch::Numbers((**numbers).clone())),
            false => {
                Err("it was counted without the edges of its profile, by an agent of an earlier \
                     version: update the agent")
            }
        },
        (Column::Texts(texts), marks @ Marks::Categories(_)) => {
            marks.of_texts(texts).ok_or("its profile has no categories")
        }
        (Column::Numbers(_), Marks::Categories(_)) => Err(
            "devices count it as a number, and its profile has categories: compare captured rows with \
                 `lineside drift`",
        ),
        (Column::Texts(_), Marks::Edges(_)) => Err(
            "devices count it as yes or no, and its profile has numbers: build the profile anew",
        ),
    }
}
