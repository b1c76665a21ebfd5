//! `lineside report value`: what answers were worth, each figure with where it comes from.

use super::Asked;
use super::answer::{Summaries, Summary, unix_ms};
use super::page::{Text, bytes, number, percent, table, thousands};
use super::quality::Quality;
use lineside_bundle::Value as Declared;
use serde::Serialize;
use std::fmt::Write as _;

/// Days of a month on the average of 400 years, divided by twelve.
const MONTH_DAYS: f64 = 30.44;
const DAY_MS: f64 = 86_400_000.0;
const JOULES_PER_KILOWATT_HOUR: f64 = 3.6e6;
const BYTES_PER_GIGABYTE: f64 = 1e9;

/// Where a figure comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// Devices counted it.
    Measured,
    /// It follows from what was counted and what was declared.
    Estimate,
    /// It follows from outcomes, too.
    Outcomes,
}

/// A figure.
#[derive(Debug, Serialize)]
pub struct Figure {
    pub name: &'static str,
    /// None where something it needs is not declared.
    pub value: Option<f64>,
    pub from: From,
    /// How it was computed, or what has to be declared.
    pub formula: String,
}

/// What it comes to.
#[derive(Debug, Serialize)]
pub struct Worth {
    /// Which release's table is used, if one has any.
    pub assumptions_of: Option<String>,
    pub assumptions: Declared,
    pub currency: String,
    pub counts: Vec<Figure>,
    pub benefits: Vec<Figure>,
    pub costs: Vec<Figure>,
    pub benefit: f64,
    pub cost: f64,
    pub net: f64,
    /// (benefit − cost) / cost; none without a cost.
    pub return_on_investment: Option<f64>,
}

/// Sums over releases.
struct Sums {
    frames: f64,
    alarms: f64,
    reading_bytes: f64,
    record_bytes: f64,
    rollouts: f64,
    device_months: f64,
}

impl Sums {
    fn of(releases: &[Summary]) -> Sums {
        let sum = |of: fn(&Summary) -> u64| super::sum(releases.iter().map(of)) as f64;
        let months = releases.iter().filter_map(|it| {
            let ms = unix_ms(&it.end)? - unix_ms(&it.start)?;
            Some(it.devices as f64 * ms.max(0) as f64 / (DAY_MS * MONTH_DAYS))
        });
        Sums {
            frames: sum(|it| it.frames),
            alarms: sum(|it| it.alarms),
            reading_bytes: sum(|it| it.reading_bytes),
            record_bytes: sum(|it| it.record_bytes),
            rollouts: sum(|it| it.devices),
            device_months: months.sum(),
        }
    }
}

/// A product of what is known; none where a part is not declared, which is then named.
fn product(name: &'static str, from: From, parts: &[(&str, Option<f64>)]) -> Figure {
    let absent: Vec<&str> =
        parts.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect();
    let value = parts.iter().try_fold(1.0, |product, (_, value)| Some(product * (*value)?));
    let formula = match absent.is_empty() {
        true => {
            let told = parts.iter().map(|(name, value)| {
                format!("{name} ({})", value.map_or_else(String::new, number))
            });
            told.collect::<Vec<_>>().join(" × ")
        }
        false => format!("not counted: {} is not known", absent.join(" and ")),
    };
    Figure { name, value, from, formula }
}

/// What the answers of these releases were worth, by the newest table of assumptions.
pub fn worth(summaries: &Summaries, quality: &Quality) -> Worth {
    let newest = summaries.releases.iter().rev().find_map(|release| {
        let value = release.value.clone().filter(|value| !value.is_empty())?;
        Some((release.release.clone(), value))
    });
    let (of, declared) = newest.unzip();
    let declared = declared.unwrap_or_default();
    let sums = Sums::of(&summaries.releases);
    let per_event = declared.alarms_per_event.unwrap_or(1.0);
    let (events, false_alarms, from) = match quality.caught() {
        Some((right, wrong)) => {
            let told = |name, count: u64| Figure {
                name,
                value: Some(count as f64 / per_event),
                from: From::Outcomes,
                formula: format!(
                    "findings whose outcome has come ({}) / alarms_per_event ({})",
                    thousands(count as f64),
                    number(per_event)
                ),
            };
            (told("events caught", right), told("false alarms", wrong), From::Outcomes)
        }
        None => {
            let told = sums.alarms / per_event;
            let named = "events told (alarms / alarms_per_event)";
            let right = declared.precision;
            let wrong = right.map(|precision| 1.0 - precision);
            (
                product(
                    "events caught",
                    From::Estimate,
                    &[(named, Some(told)), ("precision", right)],
                ),
                product(
                    "false alarms",
                    From::Estimate,
                    &[(named, Some(told)), ("(1 − precision)", wrong)],
                ),
                From::Estimate,
            )
        }
    };
    let minutes = product(
        "minutes of stop avoided",
        from,
        &[("events caught", events.value), ("stop_minutes_avoided", declared.stop_minutes_avoided)],
    );
    let kept = Figure {
        name: "bytes that never left the site",
        value: Some(sums.reading_bytes - sums.record_bytes),
        from: From::Measured,
        formula: format!(
            "readings × fields × 8 bytes ({}) − interval records received ({})",
            bytes(sums.reading_bytes),
            bytes(sums.record_bytes)
        ),
    };
    let energy = product(
        "energy of inferences (kWh)",
        From::Estimate,
        &[
            ("inferences", Some(sums.frames)),
            ("inference_energy_j", declared.inference_energy_j),
            ("1 / 3 600 000", Some(1.0 / JOULES_PER_KILOWATT_HOUR)),
        ],
    );
    let benefits = vec![
        product(
            "worth of events caught",
            from,
            &[("events caught", events.value), ("finding_worth", declared.finding_worth)],
        ),
        product(
            "stops avoided",
            from,
            &[
                ("minutes of stop avoided", minutes.value),
                ("stop_minute_cost", declared.stop_minute_cost),
            ],
        ),
        product(
            "data not sent",
            From::Estimate,
            &[
                ("gigabytes", kept.value.map(|kept| kept / BYTES_PER_GIGABYTE)),
                ("gigabyte_cost", declared.gigabyte_cost),
            ],
        ),
    ];
    let costs = vec![
        product(
            "false alarms",
            from,
            &[
                ("false alarms", false_alarms.value),
                ("false_alarm_cost", declared.false_alarm_cost),
            ],
        ),
        product(
            "energy",
            From::Estimate,
            &[
                ("kilowatt hours", energy.value),
                ("kilowatt_hour_cost", declared.kilowatt_hour_cost),
            ],
        ),
        product(
            "rollouts",
            From::Estimate,
            &[
                ("releases on devices", Some(sums.rollouts)),
                ("rollout_cost", declared.rollout_cost),
            ],
        ),
        product(
            "devices",
            From::Estimate,
            &[
                ("months of devices", Some(sums.device_months)),
                ("device_month_cost", declared.device_month_cost),
            ],
        ),
    ];
    let measured = |name, value, formula: &str| Figure {
        name,
        value: Some(value),
        from: From::Measured,
        formula: formula.to_owned(),
    };
    let counts = vec![
        measured("inferences", sums.frames, "frames accounted for"),
        measured("alarms", sums.alarms, "frames with an alarm"),
        events,
        false_alarms,
        minutes,
        kept,
        energy,
    ];
    let sum = |figures: &[Figure]| figures.iter().filter_map(|it| it.value).sum::<f64>();
    let (benefit, cost) = (sum(&benefits), sum(&costs));
    let net = benefit - cost;
    Worth {
        assumptions_of: of,
        currency: declared.currency.clone().unwrap_or_else(|| "units".into()),
        assumptions: declared,
        counts,
        benefits,
        costs,
        benefit,
        cost,
        net,
        return_on_investment: (cost > 0.0).then(|| net / cost),
    }
}

/// The body of the page.
pub fn body(asked: &Asked, summaries: &Summaries, worth: &Worth) -> String {
    let mut html = format!(
        "<h1>Value of {}</h1>\n<p class=\"about\">{}</p>\n",
        Text(&asked.slot),
        asked.told()
    );
    if summaries.releases.is_empty() {
        html.push_str(
            "<p>No interval has come that this is about. Are slot, scope and time right?</p>\n",
        );
        return html;
    }
    if worth.assumptions_of.is_none() {
        html.push_str(
            "<p><strong>No release of these declares what its work is worth</strong>, so only what was counted is \
             told. Add the table <code>[value]</code> to bundle.toml and release the next version: docs/bundle.toml \
             has its keys.</p>\n",
        );
    }
    cards(&mut html, worth);
    let currency = Text(&worth.currency).to_string();
    for (head, figures, sum) in
        [("Benefits", &worth.benefits, worth.benefit), ("Costs", &worth.costs, worth.cost)]
    {
        let mut rows: Vec<Vec<String>> = figures.iter().map(|it| row(it, &currency)).collect();
        let total = format!("<strong>{}</strong>", money(sum, &currency));
        rows.push(vec!["all of these".into(), total, String::new(), "sum".into()]);
        let _ = writeln!(html, "<h2>{head}</h2>");
        html.push_str(&table(&["", head, "from", "formula"], &[1], &rows));
    }
    html.push_str("<h2>What was counted</h2>\n");
    let rows: Vec<Vec<String>> = worth.counts.iter().map(|it| row(it, "")).collect();
    html.push_str(&table(&["", "value", "from", "formula"], &[1], &rows));
    releases(&mut html, summaries);
    assumptions(&mut html, worth);
    let _ = writeln!(
        html,
        "<footer><p class=\"note\">Return = (benefits − costs) / costs. What is not declared is not counted, on \
         either side, so the return is as good as the assumptions. Estimates take alarms times the declared \
         precision for events, until outcomes come that say how many were right. Bytes received are those of the \
         interval records; MQTT, TCP and IP add theirs, events and findings sent to the plant are not in it. \
         Months of a device are those of the readings' own time.</p></footer>"
    );
    html
}

fn cards(html: &mut String, worth: &Worth) {
    let figure = |name: &str| worth.counts.iter().find(|it| it.name == name);
    let events = figure("events caught");
    let roi = worth.return_on_investment.map_or("–".into(), percent);
    let minutes = figure("minutes of stop avoided").and_then(|it| it.value);
    let kept = figure("bytes that never left the site").and_then(|it| it.value);
    html.push_str("<ul class=\"cards\">\n");
    let marked = match events.map(|it| it.from) {
        Some(From::Outcomes) => "by outcomes",
        _ => "an estimate",
    };
    for (name, value, what) in [
        ("Return", roi, format!("net {}", money(worth.net, &Text(&worth.currency).to_string()))),
        (
            "Events caught",
            events.and_then(|it| it.value).map_or("–".into(), number),
            marked.to_owned(),
        ),
        (
            "Minutes of stop avoided",
            minutes.map_or("–".into(), number),
            "as declared an event".into(),
        ),
        ("Kept on site", kept.map_or("–".into(), bytes), "readings less what was sent".into()),
    ] {
        let _ = writeln!(
            html,
            "<li class=\"card\" style=\"flex-basis:200px\">{name}<br><span class=\"figure\">{value}</span><br>\
             <span class=\"open\">{what}</span></li>"
        );
    }
    html.push_str("</ul>\n");
}

fn row(figure: &Figure, currency: &str) -> Vec<String> {
    let value = match (figure.value, currency.is_empty()) {
        (None, _) => "–".into(),
        (Some(value), true) if figure.name.starts_with("bytes") => bytes(value),
        (Some(value), true) => number(value),
        (Some(value), false) => money(value, currency),
    };
    let from = match figure.from {
        From::Measured => "measured",
        From::Estimate => "estimate",
        From::Outcomes => "outcomes",
    };
    let formula = Text(&figure.formula);
    vec![figure.name.into(), value, from.into(), format!("<span class=\"open\">{formula}</span>")]
}

/// An amount, to two digits behind the point where it is small.
fn money(value: f64, currency: &str) -> String {
    let amount = match value.abs() < 1_000.0 {
        true => format!("{value:.2}").replace('-', "−"),
        false => thousands(value),
    };
    format!("{amount} {currency}")
}

fn releases(html: &mut String, summaries: &Summaries) {
    html.push_str("<h2>By release</h2>\n");
    let heads = [
        "release",
        "devices",
        "readings",
        "inferences",
        "alarms",
        "errors",
        "dropped",
        "half within",
        "95 % within",
        "99 % within",
        "CPU",
    ];
    let sum = |counts: &std::collections::BTreeMap<String, u64>| {
        thousands(super::sum(counts.values().copied()) as f64)
    };
    let rows: Vec<Vec<String>> = summaries
        .releases
        .iter()
        .map(|it| {
            let count = |count: u64| thousands(count as f64);
            let ms = |ms: Option<f64>| ms.map_or("–".into(), |ms| format!("{} ms", number(ms)));
            vec![
                Text(&it.release).to_string(),
                count(it.devices),
                count(it.readings),
                count(it.frames),
                count(it.alarms),
                sum(&it.errors),
                sum(&it.dropped),
                ms(it.latency_ms.p50),
                ms(it.latency_ms.p95),
                ms(it.latency_ms.p99),
                format!("{} s", number(it.resources.cpu_seconds)),
            ]
        })
        .collect();
    html.push_str(&table(&heads, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], &rows));
}

fn assumptions(html: &mut String, worth: &Worth) {
    html.push_str("<h2>Assumptions</h2>\n");
    let Some(of) = &worth.assumptions_of else {
        html.push_str("<p>None are declared.</p>\n");
        return;
    };
    let _ = writeln!(
        html,
        "<p>Declared in the table <code>[value]</code> of {}, and used for all releases of this report.</p>",
        Text(of)
    );
    let it = &worth.assumptions;
    let rows = [
        ("precision", it.precision, "share of events told that are true"),
        (
            "alarms_per_event",
            it.alarms_per_event,
            "frames with an alarm that one event makes; 1 unless declared",
        ),
        ("finding_worth", it.finding_worth, "a caught event, beside the stop that it avoids"),
        (
            "stop_minutes_avoided",
            it.stop_minutes_avoided,
            "minutes of stop that a caught event avoids",
        ),
        ("stop_minute_cost", it.stop_minute_cost, "a minute of stop"),
        ("gigabyte_cost", it.gigabyte_cost, "sending 10⁹ bytes away from the site"),
        ("false_alarm_cost", it.false_alarm_cost, "looking after a false alarm"),
        ("inference_energy_j", it.inference_energy_j, "joules an inference takes"),
        ("kilowatt_hour_cost", it.kilowatt_hour_cost, "a kilowatt hour"),
        ("rollout_cost", it.rollout_cost, "bringing a release to a device"),
        ("device_month_cost", it.device_month_cost, "a device in a month"),
    ];
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(key, value, what)| {
            let value = value.map_or("<span class=\"open\">not declared</span>".into(), number);
            vec![format!("<code>{key}</code>"), value, what.to_owned()]
        })
        .collect();
    html.push_str(&table(&["key", "value", "what"], &[1], &rows));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::read;
    use serde_json::{Value, json};

    fn summaries(value: Value) -> Summaries {
        read(&json!({
            "merged": { "records": 1, "unmerged": 0, "unreadable": 0, "longer_than_step": 0 },
            "releases": [{
                "release": "turbine/1", "start": "2026-01-01T00:00:00Z", "end": "2026-01-31T10:33:36Z",
                "devices": 2, "intervals": 10, "readings": 6_000_000, "frames": 1_000_000, "findings": 1_000_000,
                "alarms": 500, "errors": {}, "dropped": {}, "latency_ms": { "p50": 1.0, "p95": 2.0, "p99": null },
                "resources": { "cpu_seconds": 3.0 }, "reading_bytes": 48_000_000_000_u64,
                "record_bytes": 1_000_000, "value": value,
            }],
        }))
        .unwrap()
    }

    #[test]
    fn worth_follows_from_counts_and_what_is_declared_and_the_rest_is_not_counted() {
        let declared = json!({ "currency": "EUR", "precision": 0.8, "alarms_per_event": 50.0,
            "finding_worth": 100.0, "stop_minutes_avoided": 30.0, "stop_minute_cost": 20.0,
            "gigabyte_cost": 0.5, "false_alarm_cost": 40.0, "inference_energy_j": 3.6,
            "kilowatt_hour_cost": 0.25, "rollout_cost": 15.0, "device_month_cost": 10.0 });
        let told = summaries(declared);
        let worth = worth(&told, &Quality::default());
        let values = |figures: &[Figure]| -> Vec<f64> {
            figures.iter().map(|it| (it.value.unwrap() * 1e4).round() / 1e4).collect()
        };
        // 500 alarms are 10 events told, of which 8 are true.
        assert_eq!(values(&worth.counts), [1e6, 500.0, 8.0, 2.0, 240.0, 47_999_000_000.0, 1.0]);
        assert_eq!(values(&worth.benefits), [800.0, 4_800.0, 23.9995]);
        assert_eq!(values(&worth.costs), [80.0, 0.25, 30.0, 20.0]);
        let roi = worth.return_on_investment.unwrap();
        assert!((roi - (5_623.999_5 - 130.25) / 130.25).abs() < 1e-3, "{roi}");
        assert_eq!(worth.assumptions_of.as_deref(), Some("turbine/1"));

        // Outcomes say what was caught.
        let quality = Quality::with_alarms(300, 200);
        let known = super::worth(&told, &quality);
        assert_eq!((known.counts[2].value, known.counts[2].from), (Some(6.0), From::Outcomes));

        let nothing = super::worth(&summaries(Value::Null), &Quality::default());
        assert_eq!((nothing.benefit, nothing.return_on_investment), (0.0, None));
        assert_eq!(nothing.counts[2].value, None);
        assert!(
            nothing.counts[2].formula.contains("precision is not known"),
            "{:?}",
            nothing.counts[2]
        );
    }
}
