//! `lineside report drift`: what came beside the training data, before and after a release changed.

use super::answer::{Column, Distribution, Drift, Estimate, Point as Told, ReleaseDrift, unix_ms};
use super::chart::{Line, Point, Series, Shares, colour, day};
use super::page::{NOTHING, Text, number, percent, table, thousands};
use super::{Alert, Asked, sum};
use std::fmt::Write as _;

/// The body of the page.
pub fn body(asked: &Asked, drift: &Drift, alerts: &[Alert]) -> String {
    let mut html = String::new();
    let _ = writeln!(html, "<h1>Drift of {}</h1>", Text(&asked.slot));
    let _ = writeln!(html, "<p class=\"about\">{}</p>", asked.told());
    if drift.releases.is_empty() {
        html.push_str(
            "<p>No interval has come that this is about. Are slot, scope and time right? \
             <code>lineside device show</code> says what devices tell.</p>\n",
        );
        return html;
    }
    cards(&mut html, drift);
    overview(&mut html, drift);
    for (role, head) in [("output", "Outputs"), ("input", "Inputs")] {
        let names = names(drift, role);
        if !names.is_empty() {
            let _ = writeln!(html, "<h2>{head}</h2>");
        }
        for name in names {
            column(&mut html, drift, (role, &name), alerts);
        }
    }
    reading(&mut html, drift);
    html
}

/// Names of a role, in the order of the releases.
fn names(drift: &Drift, role: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for column in drift.releases.iter().flat_map(|release| &release.columns) {
        if column.role == role && !names.contains(&column.name) {
            names.push(column.name.clone());
        }
    }
    names
}

fn find<'a>(release: &'a ReleaseDrift, (role, name): (&str, &str)) -> Option<&'a Column> {
    release.columns.iter().find(|column| column.role == role && column.name == name)
}

fn points<'a>(
    release: &'a ReleaseDrift,
    (role, name): (&'a str, &'a str),
) -> impl Iterator<Item = (i64, i64, &'a Told)> {
    release.series.iter().filter_map(move |span| {
        let told = span.columns.iter().find(|told| told.role == role && told.name == name)?;
        Some((unix_ms(&span.start)?, unix_ms(&span.end)?, told))
    })
}

/// One card for each release: what it amounts to.
fn cards(html: &mut String, drift: &Drift) {
    html.push_str("<ul class=\"cards\">\n");
    for (at, release) in drift.releases.iter().enumerate() {
        let (class, verdict) = verdict(release);
        let alarms = release.alarms as f64 / release.frames.max(1) as f64;
        let _ = writeln!(
            html,
            "<li class=\"card r{}\"><strong>{}</strong>{} to {}<br><span class=\"verdict {class}\">{verdict}</span><br>\
             {} frames of {} device{}, alarms in {}</li>",
            at % 4,
            Text(&release.release),
            moment(&release.start),
            moment(&release.end),
            thousands(release.frames as f64),
            release.devices,
            if release.devices == 1 { "" } else { "s" },
            percent(alarms)
        );
    }
    html.push_str("</ul>\n");
}

/// What a release amounts to, in a word for the eye and one for the reader.
fn verdict(release: &ReleaseDrift) -> (&'static str, String) {
    if let Some(why) = &release.no_profile {
        return ("open", format!("nothing to compare with: {}", Text(why)));
    }
    let mut judged_spans = 0;
    let (mut watched, mut others) = (Vec::new(), Vec::new());
    for column in &release.columns {
        let (outside, judged) = outside(release, (&column.role, &column.name));
        let is_watched = is_watched(release, &column.role, &column.name);
        if is_watched {
            judged_spans += judged;
        }
        if outside > 0 {
            let told = format!("{} in {outside} of {judged} spans", Text(&column.name));
            if is_watched { watched.push(told) } else { others.push(told) }
        }
    }
    let (class, mut told) = match (watched.is_empty(), judged_spans) {
        (false, _) => ("bad", format!("outside of its limits: {}", watched.join(", "))),
        (true, 0) => ("open", "no span of an output could be held against limits".into()),
        (true, _) => ("good", "outputs are within their limits".into()),
    };
    if !others.is_empty() {
        let _ = write!(
            told,
            "</span><br><span class=\"note\">What moves with the process was outside, too: {}",
            others.join(", ")
        );
    }
    (class, told)
}

/// Whether an output should stay where it is while the process changes.
fn is_watched(release: &ReleaseDrift, role: &str, name: &str) -> bool {
    let named = release.watched_outputs.as_ref();
    role == "output" && named.is_none_or(|names| names.iter().any(|named| named == name))
}

/// How many spans are outside of the limits, and how many were judged.
fn outside(release: &ReleaseDrift, column: (&str, &str)) -> (usize, usize) {
    let judged: Vec<bool> = points(release, column).filter_map(|(.., told)| told.outside).collect();
    (judged.iter().filter(|outside| **outside).count(), judged.len())
}

/// All columns beside each other, a row for each release.
fn overview(html: &mut String, drift: &Drift) {
    html.push_str("<h2>All columns</h2>\n");
    let heads = [
        "column",
        "release",
        "score",
        "drift is",
        "verdict",
        "median",
        "missing",
        "out of range",
        "spans outside",
    ];
    let mut rows = Vec::new();
    for role in ["output", "input"] {
        for name in names(drift, role) {
            let mut first = true;
            for (at, release) in drift.releases.iter().enumerate() {
                let Some(column) = find(release, (role, &name)) else { continue };
                let lead = if first {
                    let what = if role == "output" { "output" } else { "input" };
                    format!("{} <span class=\"open\">{what}</span>", Text(&name))
                } else {
                    String::new()
                };
                first = false;
                rows.push(row(lead, at, release, column));
            }
        }
    }
    html.push_str(&table(&heads, &[2, 5, 6, 7, 8], &rows));
}

fn row(lead: String, at: usize, release: &ReleaseDrift, column: &Column) -> Vec<String> {
    let (outside, judged) = outside(release, (&column.role, &column.name));
    let verdict = match (column.drifted, &column.not_computable) {
        (Some(true), _) if is_watched(release, &column.role, &column.name) => {
            "<span class=\"bad\">drift</span>".into()
        }
        (Some(true), _) => "drift".into(),
        (Some(false), _) => "<span class=\"good\">no drift</span>".into(),
        (None, Some(why)) => format!("<span class=\"open\">{}</span>", Text(why)),
        (None, None) => "–".into(),
    };
    let rule = match (&column.method, &column.comparison, column.threshold) {
        (Some(method), Some(sign), Some(threshold)) => {
            format!(
                "<span class=\"tight\"><code>{}</code> {} {}</span>",
                Text(method),
                Text(sign),
                number(threshold)
            )
        }
        _ => String::new(),
    };
    let missing = percent(column.missing.current);
    let missing = match column.missing.drifted {
        Some(true) => format!("<span class=\"bad\">{missing}</span>"),
        _ => missing,
    };
    vec![
        lead,
        format!(
            "<span class=\"tight\"><span style=\"color:{}\">■</span> {}</span>",
            colour(at),
            Text(&release.release)
        ),
        column.score.map_or_else(|| "–".into(), number),
        rule,
        verdict,
        column.median.map_or_else(|| "–".into(), |median| number(median.value)),
        missing,
        percent(column.out_of_range_share),
        match (outside, judged) {
            (_, 0) => "–".into(),
            (0, judged) => format!("0 of {judged}"),
            (outside, judged) if is_watched(release, &column.role, &column.name) => {
                format!("<span class=\"bad\">{outside} of {judged}</span>")
            }
            (outside, judged) => format!("{outside} of {judged}"),
        },
    ]
}

/// One column: how it went on, and what came beside the training data.
fn column(html: &mut String, drift: &Drift, name: (&str, &str), alerts: &[Alert]) {
    let _ = writeln!(html, "<section class=\"column\"><h3>{}</h3>", Text(name.1));
    let told: Vec<(usize, &ReleaseDrift, &Column)> = drift
        .releases
        .iter()
        .enumerate()
        .filter_map(|(at, release)| Some((at, release, find(release, name)?)))
        .collect();
    let is_numeric = told.iter().any(|(.., column)| column.median.is_some());
    let what = if is_numeric {
        "median of each span"
    } else {
        "score of each span against the training data"
    };
    let mut facts = vec![what.to_owned()];
    for (_, release, column) in &told {
        let values =
            format!("{}: {} values", Text(&release.release), thousands(column.values as f64));
        facts.push(values);
    }
    let _ = writeln!(html, "<p class=\"facts\">{}</p>", facts.join(" · "));
    let series = series(drift, &told, name, is_numeric, alerts);
    if series.releases.iter().any(|line| !line.points.is_empty()) {
        html.push_str(&series.svg());
    }
    let shares: Vec<Shares> = told
        .iter()
        .filter_map(|(at, release, column)| {
            shares(name.1, *at, &release.release, column.distribution.as_ref()?)
        })
        .collect();
    let most = shares.iter().map(Shares::most).fold(0.0, f64::max);
    if !shares.is_empty() {
        html.push_str("<div class=\"plots\">\n");
        shares.iter().for_each(|shares| html.push_str(&shares.svg(most)));
        html.push_str("</div>\n");
    }
    html.push_str("</section>\n");
}

fn series<'a>(
    drift: &'a Drift,
    told: &[(usize, &'a ReleaseDrift, &'a Column)],
    name: (&'a str, &'a str),
    is_numeric: bool,
    alerts: &[Alert],
) -> Series<'a> {
    let times = drift
        .releases
        .iter()
        .filter_map(|release| Some((unix_ms(&release.start)?, unix_ms(&release.end)?)));
    let from = times.clone().map(|(from, _)| from).min().unwrap_or(0);
    let to = times.map(|(_, to)| to).max().unwrap_or(0);
    let statistic = if is_numeric { "median" } else { "drift" };
    let mut releases: Vec<Line> = drift
        .releases
        .iter()
        .map(|release| Line {
            release: &release.release,
            time_unix_ms: (
                unix_ms(&release.start).unwrap_or(from),
                unix_ms(&release.end).unwrap_or(to),
            ),
            limits: (None, None),
            points: vec![],
        })
        .collect();
    for (at, release, column) in told {
        let learnt = column.limits.iter().find(|limit| limit.statistic == statistic);
        let constant = if is_numeric { None } else { column.threshold };
        let limits = learnt.map_or((None, constant), |limit| {
            (limit.lower.map(nothing_is_nought), limit.upper.map(nothing_is_nought))
        });
        let points = points(release, name).filter_map(|(start, end, told)| {
            let estimate = told.median.filter(|_| is_numeric).map(|it| Estimate {
                value: nothing_is_nought(it.value),
                low: nothing_is_nought(it.low),
                high: nothing_is_nought(it.high),
            });
            let value = estimate.map(|it| it.value).or(told.score.filter(|_| !is_numeric))?;
            let bounds = estimate.map_or((value, value), |it| (it.low, it.high));
            let is_outside = match (told.outside, limits) {
                (None, _) => learnt.is_none() && told.drifted == Some(true) && !is_numeric,
                (Some(_), (lower, upper)) => {
                    lower.is_some_and(|lower| bounds.1 < lower)
                        || upper.is_some_and(|upper| bounds.0 > upper)
                }
            };
            // A span is shared by the releases that changed in it.
            let (begun, ended) = releases[*at].time_unix_ms;
            let (start, end) = (start.max(begun), end.min(ended.max(begun)));
            Some(Point { at_unix_ms: start + (end - start) / 2, value, bounds, is_outside })
        });
        let points = points.collect();
        releases[*at].points = points;
        releases[*at].limits = limits;
    }
    let is_shown = |alert: &&Alert| {
        alert.column.as_deref() == Some(name.1) && (from..=to).contains(&alert.at_unix_ms)
    };
    let fired = alerts.iter().filter(is_shown);
    let fired = fired.map(|alert| (alert.at_unix_ms, alert.text.clone())).collect();
    let spans = drift.releases.iter().flat_map(|release| &release.series);
    let spans = spans.filter_map(|span| unix_ms(&span.start).zip(unix_ms(&span.end))).collect();
    Series { name: name.1, releases, alerts: fired, spans }
}

/// The middle of the bucket of noughts is none that anybody measured.
fn nothing_is_nought(value: f64) -> f64 {
    if value.abs() < NOTHING { 0.0 } else { value }
}

fn shares<'a>(
    name: &'a str,
    at: usize,
    release: &'a str,
    distribution: &Distribution,
) -> Option<Shares<'a>> {
    let share = |counts: &[u64]| -> Vec<f64> {
        let all = sum(counts.iter().copied());
        counts.iter().map(|count| *count as f64 / all.max(1) as f64).collect()
    };
    let (reference, current) = (share(&distribution.reference), share(&distribution.current));
    let mut bars: Vec<(String, Option<String>)> =
        match (&distribution.edges, &distribution.categories) {
            (Some(edges), _) => {
                let (first, last) = (edges.first()?, edges.last()?);
                // Of some bins it is told where they begin.
                let every = edges.len().div_ceil(5).max(1);
                let inner = edges.windows(2).enumerate().map(|(at, pair)| {
                    let from = number(pair[0]);
                    let label = (at % every == every / 2).then(|| format!("{from}…"));
                    (format!("{from}…{}", number(pair[1])), label)
                });
                let mut bars = vec![(format!("below {}", number(*first)), Some("below".into()))];
                bars.extend(inner);
                bars.push((format!("above {}", number(*last)), Some("above".into())));
                bars
            }
            (None, Some(names)) => {
                let label = |name: &str| (names.len() <= 8).then(|| name.to_owned());
                let shown = names.iter().map(|name| (name.clone(), label(name)));
                shown.chain([("other".to_owned(), label("other"))]).collect()
            }
            (None, None) => return None,
        };
    if bars.len() != reference.len() || bars.len() != current.len() {
        return None;
    }
    // What is empty on both sides, outside of the edges or beside the categories, takes no room.
    let keep: Vec<bool> = (0..bars.len())
        .map(|bar| {
            let is_rest = bar + 1 == bars.len() || (bar == 0 && distribution.edges.is_some());
            !is_rest || reference[bar] > 0.0 || current[bar] > 0.0
        })
        .collect();
    let kept = |values: Vec<f64>| -> Vec<f64> {
        values.into_iter().zip(&keep).filter(|(_, keep)| **keep).map(|(value, _)| value).collect()
    };
    let mut at_bar = 0;
    bars.retain(|_| {
        at_bar += 1;
        keep[at_bar - 1]
    });
    Some(Shares { name, release, at, bars, reference: kept(reference), current: kept(current) })
}

fn moment(text: &str) -> String {
    unix_ms(text).map_or_else(|| Text(text).to_string(), |ms| day(ms, true))
}

/// What the pictures mean, and what was left out.
fn reading(html: &mut String, drift: &Drift) {
    html.push_str(
        "<footer>\n<p class=\"note\">Each bin of a histogram of numbers holds as much of the training data as any \
         other; what is below the first edge or above the last has a bar of its own. Scores compare these bins, \
         and are sketches' (<code>sketch:</code>), held against a constant. Limits are those that chunks of \
         known-good data taught (green): a span is outside, and a diamond, where even the bound of what a sketch \
         does not know is. A red triangle is where an alert fired. Spans of which less than half of a chunk was seen are not \
         judged. docs/monitoring.md has each formula and its source.</p>\n",
    );
    let merged = &drift.merged;
    let _ = write!(
        html,
        "<p class=\"note\">Made of {} interval records.",
        thousands(merged.records as f64)
    );
    for (count, what) in [
        (merged.unmerged, "were counted over other edges and are left out"),
        (merged.unreadable, "cannot be read and are left out"),
        (
            merged.longer_than_step,
            "are longer than a span and count in the one in which they begin",
        ),
    ] {
        if count > 0 {
            let _ = write!(html, " {} {what}.", thousands(count as f64));
        }
    }
    html.push_str("</p>\n</footer>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::read;
    use serde_json::{Value, json};

    fn asked() -> Asked {
        Asked {
            slot: "turbine".into(),
            scope: "All devices of the site <hill>".into(),
            release: None,
            from: None,
            to: None,
            written: "2026-03-01T00:00:00Z".into(),
        }
    }

    /// A release that answered on these days, whose score had these medians.
    fn release(name: &str, first: u32, medians: &[f64]) -> Value {
        let day = |day: u32| format!("2026-02-{:02}T00:00:00Z", first + day);
        let estimate = |value: f64| json!({ "value": value, "low": value, "high": value });
        let spans = (0..).zip(medians).map(|(at, median)| {
            json!({ "start": day(at), "end": day(at + 1), "columns": [{ "name": "score", "role": "output",
                "score": 0.2, "drifted": true, "median": estimate(*median), "outside": *median > 1.0 }] })
        });
        let score = json!({ "name": "score", "role": "output", "values": 144, "method": "sketch:jensenshannon",
            "score": 0.2, "threshold": 0.1, "comparison": ">=", "drifted": true,
            "missing": { "current": 0.0, "drifted": false }, "out_of_range_share": 0.0,
            "median": estimate(medians[0]),
            "limits": [{ "statistic": "median", "lower": 0.3, "upper": 1.0 }],
            "distribution": { "edges": [0.0, 0.5, 2.0], "reference": [0, 50, 50, 0], "current": [0, 10, 86, 4] } });
        let states = json!({ "name": "<state>", "role": "input", "values": 144,
            "not_computable": "no value came in this time", "missing": { "current": 0.0, "drifted": null },
            "out_of_range_share": 0.0, "limits": [], "distribution": null, "median": null });
        json!({ "release": name, "start": day(0), "end": day(medians.len() as u32), "devices": 2, "frames": 400,
            "alarms": 20, "profile": { "chunk_seconds": 86400.0 }, "watched_outputs": ["score"],
            "columns": [score, states], "series": spans.collect::<Vec<_>>() })
    }

    fn drift() -> Drift {
        read(&json!({
            "merged": { "records": 1200, "unmerged": 3, "unreadable": 0, "longer_than_step": 0 },
            "releases": [
                release("turbine/1", 1, &[0.5, 0.6, 1.4, 1.6, 1.5]),
                release("turbine/2", 6, &[0.5, 0.6]),
            ],
        }))
        .unwrap()
    }

    #[test]
    fn before_and_after_are_side_by_side_and_what_is_outside_shows() {
        let html = body(&asked(), &drift(), &[]);
        for words in [
            "outside of its limits: score in 3 of 5 spans",
            "outputs are within their limits",
            "turbine/2 from 2026-02-06 on",
            "All devices of the site &lt;hill&gt;",
            "&lt;state&gt;",
            "no value came in this time",
            "3 were counted over other edges",
            "Largest differences to the training data: 0…0.5: −40 points; 0.5…2: +36 points; above 2: +4 points.",
        ] {
            assert!(html.contains(words), "{words}: {html}");
        }
        // A series, and a histogram for each release.
        assert_eq!(html.matches("<svg role=\"img\"").count(), 3);
        assert!(!html.contains("<script") && !html.contains("NaN"), "{html}");
    }

    #[test]
    fn alerts_of_a_column_and_of_the_time_are_marked() {
        let alert = |column: &str| Alert {
            at_unix_ms: unix_ms("2026-02-03T00:00:00Z").unwrap(),
            column: Some(column.into()),
            text: format!("mill-1: {column} is too high"),
        };
        let before = Alert { at_unix_ms: 0, text: "mill-1: long ago".into(), ..alert("score") };
        let html = body(&asked(), &drift(), &[alert("score"), alert("wind"), before]);
        assert!(html.contains("mill-1: score is too high") && !html.contains("long ago"));
        assert!(!html.contains("mill-1: wind is too high"));
        let nothing = Drift { releases: vec![], ..drift() };
        assert!(body(&asked(), &nothing, &[]).contains("No interval has come"));
    }
}
