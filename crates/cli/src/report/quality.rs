//! `lineside report quality`: how often answers were right, by outcomes that came later.

use super::answer::{Estimate, Estimated, unix_ms};
use super::chart::day;
use super::page::{Text, number, percent, table, thousands};
use super::{Asked, Report, sum};
use crate::server::Server;
use lineside_drift::quality::{Confusion, OneCategory};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const YES: &str = "true";
const NO: &str = "false";

/// What a device's outcomes of a span said, as the server tells it.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Told {
    release: Option<String>,
    output: String,
    start: String,
    end: String,
    outcomes: u64,
    unknown: u64,
    unfit: u64,
    confusion: Vec<Met>,
    area: Option<Area>,
    errors: Option<Errors>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Met {
    answered: String,
    outcome: String,
    count: u64,
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
struct Area {
    area: f64,
    low: f64,
    high: f64,
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
struct Errors {
    count: u64,
    bias: f64,
    mean_absolute: f64,
    root_mean_square: f64,
}

/// How good the answers of a release were.
#[derive(Debug, Default, Serialize)]
pub struct OfRelease {
    release: String,
    output: String,
    devices: usize,
    outcomes: u64,
    /// Outcomes of another kind than the answer.
    unfit: u64,
    confusion: BTreeMap<String, BTreeMap<String, u64>>,
    /// Where answers are yes and no.
    binary: Option<Binary>,
    /// The share of answers that were so.
    accuracy: Option<f64>,
    /// Where answers are numbers: answer less outcome.
    errors: Option<Errors>,
}

/// How yeses and noes met what was so.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Binary {
    caught: u64,
    false_alarms: u64,
    missed: u64,
    rightly_silent: u64,
}

/// How good answers were, and what there is nothing to say about.
#[derive(Debug, Default, Serialize)]
pub struct Quality {
    releases: Vec<OfRelease>,
    /// Outcomes of findings that no device knew any more.
    unknown: u64,
    spans: Vec<(String, Told)>,
}

impl Quality {
    /// Asks for all devices that are meant.
    pub fn ask(server: &Server, report: &Report) -> anyhow::Result<Quality> {
        let query = report.query_of_any();
        let mut all = Vec::new();
        for device in devices(server, report)? {
            let told: Vec<Told> = super::read(&server.quality(&device, &query)?)?;
            all.extend(told.into_iter().map(|told| (device.clone(), told)));
        }
        Ok(Quality::of(all))
    }

    /// The same of all these spans.
    fn of(mut spans: Vec<(String, Told)>) -> Quality {
        spans.sort_by(|a, b| (&a.1.start, &a.0).cmp(&(&b.1.start, &b.0)));
        let mut by: BTreeMap<(String, String), Vec<&(String, Told)>> = BTreeMap::new();
        for span in &spans {
            if let Some(release) = &span.1.release {
                by.entry((release.clone(), span.1.output.clone())).or_default().push(span);
            }
        }
        let releases = by.into_iter().map(|((release, output), spans)| {
            let devices: BTreeSet<&str> = spans.iter().map(|(device, _)| device.as_str()).collect();
            let told = || spans.iter().map(|(_, told)| told);
            let mut confusion = Confusion::default();
            for met in told().flat_map(|told| &told.confusion) {
                confusion.add(&met.answered, &met.outcome, met.count);
            }
            let mut counts: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
            for (answered, outcome, count) in confusion.counts() {
                counts.entry(answered.to_owned()).or_default().insert(outcome.to_owned(), count);
            }
            OfRelease {
                release,
                output,
                devices: devices.len(),
                outcomes: sum(told().map(|told| told.outcomes)),
                unfit: sum(told().map(|told| told.unfit)),
                binary: binary(&confusion),
                accuracy: confusion.accuracy(),
                errors: errors(told().filter_map(|told| told.errors)),
                confusion: counts,
            }
        });
        let releases = releases.collect();
        let unknown = sum(spans.iter().map(|(_, told)| told.unknown));
        Quality { releases, unknown, spans }
    }

    /// So many alarms that were right, and that were not.
    #[cfg(test)]
    pub fn with_alarms(caught: u64, false_alarms: u64) -> Quality {
        let binary = Some(Binary { caught, false_alarms, missed: 0, rightly_silent: 0 });
        Quality {
            releases: vec![OfRelease { binary, ..OfRelease::default() }],
            ..Quality::default()
        }
    }

    /// Alarms that were right, and that were not. None where no outcome of a yes or no has come.
    pub fn caught(&self) -> Option<(u64, u64)> {
        let all = self.releases.iter().filter_map(|release| release.binary);
        let all = all.map(|it| (it.caught, it.false_alarms));
        all.reduce(|a, b| (a.0.saturating_add(b.0), a.1.saturating_add(b.1)))
    }
}

/// The devices that are meant, by name.
pub fn devices(server: &Server, report: &Report) -> anyhow::Result<Vec<String>> {
    if let Some(device) = &report.device {
        return Ok(vec![device.to_string()]);
    }
    let label = report.label.as_deref().and_then(|label| label.split_once('='));
    let is_meant = |device: &Value| {
        let there = report.site.as_ref().is_none_or(|site| device["site"].as_str() == Some(site));
        there && label.is_none_or(|(name, value)| device["labels"][name].as_str() == Some(value))
    };
    let devices = server.devices()?;
    let names = devices.iter().filter(|device| is_meant(device));
    Ok(names.filter_map(|device| device["name"].as_str().map(str::to_owned)).collect())
}

/// The same, for yes against no. None where there are other answers or outcomes, or none.
fn binary(confusion: &Confusion) -> Option<Binary> {
    let categories = confusion.categories();
    let yes = confusion.of(YES);
    (!categories.is_empty() && categories.iter().all(|name| [YES, NO].contains(name))).then_some(
        Binary {
            caught: yes.true_positives,
            false_alarms: yes.false_positives,
            missed: yes.false_negatives,
            rightly_silent: yes.true_negatives,
        },
    )
}

impl From<Binary> for OneCategory {
    fn from(it: Binary) -> OneCategory {
        OneCategory {
            true_positives: it.caught,
            false_positives: it.false_alarms,
            false_negatives: it.missed,
            true_negatives: it.rightly_silent,
        }
    }
}

/// Errors of several spans as one: means by their counts.
fn errors(all: impl Iterator<Item = Errors>) -> Option<Errors> {
    let (mut count, mut bias, mut absolute, mut squares) = (0u64, 0.0, 0.0, 0.0);
    for one in all {
        let weight = one.count as f64;
        count = count.saturating_add(one.count);
        bias += weight * one.bias;
        absolute += weight * one.mean_absolute;
        squares += weight * one.root_mean_square * one.root_mean_square;
    }
    let mean = |sum: f64| sum / count as f64;
    (count > 0).then(|| Errors {
        count,
        bias: mean(bias),
        mean_absolute: mean(absolute),
        root_mean_square: mean(squares).sqrt(),
    })
}

/// The body of the page.
pub fn body(asked: &Asked, quality: &Quality, estimated: &[(String, Estimated)]) -> String {
    let mut html = format!(
        "<h1>Quality of {}</h1>\n<p class=\"about\">{}</p>\n",
        Text(&asked.slot),
        asked.told()
    );
    if quality.releases.is_empty() {
        html.push_str(
            "<p><strong>No outcome has come for what was answered in this time</strong>, so nothing is known of how \
             often it was right. An outcome is what turned out to be so, hours or weeks later: tell it to the device \
             by the finding's id, with <code>POST /v1/outcomes</code> of the agent's local interface (docs/api.md), or \
             from the plant over MQTT (<code>[slots.NAME.outcomes]</code> in docs/agent.toml). The device joins it \
             with what it had answered, and tells the server sums only.</p>\n\
             <p>Until then <code>lineside report drift</code> says whether what is read and answered still looks \
             like the training data. That is no measure of being right, and no report here takes it for one.</p>\n",
        );
        if quality.unknown > 0 {
            html.push_str(&format!(
                "<p>{} outcomes came of findings that no device knew any more.</p>\n",
                count(quality.unknown)
            ));
        }
        without_outcomes(&mut html, estimated);
        return html;
    }
    yes_and_no(&mut html, quality);
    categories(&mut html, quality);
    numbers(&mut html, quality);
    spans(&mut html, quality);
    without_outcomes(&mut html, estimated);
    html.push_str(
        "<footer><p class=\"note\">Precision is caught / (caught + false alarms), recall caught / (caught + missed), \
         F1 their harmonic mean, accuracy the share of answers that were so; all of those findings alone whose \
         outcome has come, which need not be a fair choice of all. The area under the receiver operating \
         characteristic is told with bounds, because it is computed from histograms.</p></footer>\n",
    );
    html
}

/// What is expected by the probabilities alone, marked as that.
fn without_outcomes(html: &mut String, estimated: &[(String, Estimated)]) {
    if estimated.is_empty() {
        return;
    }
    let told = |it: Option<Estimate>| {
        it.map_or("–".into(), |it| {
            format!("{} ({} to {})", percent(it.value), percent(it.low), percent(it.high))
        })
    };
    let rows: Vec<Vec<String>> = estimated
        .iter()
        .map(|(release, it)| {
            vec![
                Text(release).to_string(),
                Text(&it.output).to_string(),
                Text(&format!("{} > {}", it.score, number(it.above))).to_string(),
                count(it.values),
                told(it.accuracy),
                told(it.precision),
                told(it.recall),
                told(it.f1),
            ]
        })
        .collect();
    let heads = ["release", "output", "yes is", "answers", "accuracy", "precision", "recall", "F1"];
    html.push_str("<h2>Expected, without outcomes</h2>\n");
    html.push_str(
        "<p><strong>An estimate.</strong> The bundle says that the score is a calibrated probability; if it still \
         is, so many answers should be right. It knows of no outcome, and of no change that the model does not \
         see. In brackets what the histogram of the scores leaves open.</p>\n",
    );
    html.push_str(&table(&heads, &[3, 4, 5, 6, 7], &rows));
}

fn told(share: Option<f64>) -> String {
    share.map_or("–".into(), percent)
}

fn count(count: u64) -> String {
    thousands(count as f64)
}

fn yes_and_no(html: &mut String, quality: &Quality) {
    let rows: Vec<Vec<String>> = quality
        .releases
        .iter()
        .filter_map(|release| {
            let it = release.binary?;
            let yes = OneCategory::from(it);
            Some(vec![
                Text(&release.release).to_string(),
                Text(&release.output).to_string(),
                count(release.outcomes),
                count(it.caught),
                count(it.false_alarms),
                count(it.missed),
                count(it.rightly_silent),
                told(yes.precision()),
                told(yes.recall()),
                told(yes.f1()),
            ])
        })
        .collect();
    if !rows.is_empty() {
        let heads = [
            "release",
            "output",
            "outcomes",
            "caught",
            "false alarms",
            "missed",
            "rightly silent",
            "precision",
            "recall",
            "F1",
        ];
        html.push_str("<h2>Yes and no</h2>\n");
        html.push_str(&table(&heads, &[2, 3, 4, 5, 6, 7, 8, 9], &rows));
    }
}

fn categories(html: &mut String, quality: &Quality) {
    for release in
        quality.releases.iter().filter(|it| it.binary.is_none() && !it.confusion.is_empty())
    {
        let mut outcomes: BTreeSet<&str> = BTreeSet::new();
        outcomes.extend(release.confusion.values().flat_map(BTreeMap::keys).map(String::as_str));
        let mut heads = vec!["answered"];
        heads.extend(outcomes.iter().copied());
        let numbers: Vec<usize> = (1..heads.len()).collect();
        let rows: Vec<Vec<String>> = release
            .confusion
            .iter()
            .map(|(answered, met)| {
                let counts = outcomes.iter().map(|it| count(met.get(*it).copied().unwrap_or(0)));
                [Text(answered).to_string()].into_iter().chain(counts).collect()
            })
            .collect();
        html.push_str(&format!(
            "<h2>{} of {}</h2>\n<p class=\"facts\">{} outcomes, {} of the answers were so. A row is what was \
             answered, a column what was so.</p>\n",
            Text(&release.output),
            Text(&release.release),
            count(release.outcomes),
            told(release.accuracy)
        ));
        html.push_str(&table(&heads, &numbers, &rows));
    }
}

fn numbers(html: &mut String, quality: &Quality) {
    let rows: Vec<Vec<String>> = quality
        .releases
        .iter()
        .filter_map(|release| {
            let errors = release.errors?;
            Some(vec![
                Text(&release.release).to_string(),
                Text(&release.output).to_string(),
                count(errors.count),
                number(errors.bias),
                number(errors.mean_absolute),
                number(errors.root_mean_square),
            ])
        })
        .collect();
    if !rows.is_empty() {
        let heads = [
            "release",
            "output",
            "outcomes",
            "bias",
            "mean absolute error",
            "root mean square error",
        ];
        html.push_str(
            "<h2>Numbers</h2>\n<p class=\"facts\">Answer less outcome, in the output's unit.</p>\n",
        );
        html.push_str(&table(&heads, &[2, 3, 4, 5], &rows));
    }
}

fn spans(html: &mut String, quality: &Quality) {
    let rows: Vec<Vec<String>> = quality
        .spans
        .iter()
        .filter_map(|(device, span)| {
            let release = span.release.as_deref()?;
            let area = span.area.map_or("–".into(), |area| {
                format!("{} ({} to {})", number(area.area), number(area.low), number(area.high))
            });
            let when = |text: &str| unix_ms(text).map_or("–".into(), |ms| day(ms, true));
            Some(vec![
                when(&span.start),
                when(&span.end),
                Text(device).to_string(),
                Text(release).to_string(),
                Text(&span.output).to_string(),
                count(span.outcomes),
                area,
            ])
        })
        .collect();
    if !rows.is_empty() {
        html.push_str("<h2>Span by span</h2>\n");
        let heads = [
            "from",
            "to",
            "device",
            "release",
            "output",
            "outcomes",
            "area under the characteristic",
        ];
        html.push_str(&table(&heads, &[5, 6], &rows));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn span(release: Option<&str>, day: u32, confusion: Value, errors: Value) -> Told {
        super::super::read(&json!({
            "slot": "turbine", "release": release, "output": "alarm", "outcomes": 10, "unknown": 1, "unfit": 0,
            "start": format!("2026-02-0{day}T00:00:00Z"), "end": format!("2026-02-0{}T00:00:00Z", day + 1),
            "confusion": confusion, "area": { "area": 0.9, "low": 0.88, "high": 0.91 }, "errors": errors,
        }))
        .unwrap()
    }

    fn asked() -> Asked {
        Asked {
            slot: "turbine".into(),
            scope: "The whole fleet".into(),
            release: None,
            from: None,
            to: None,
            written: "2026-03-01T00:00:00Z".into(),
        }
    }

    #[test]
    fn what_is_expected_without_outcomes_is_marked_as_an_estimate() {
        let estimate = |value| Some(Estimate { value, low: value - 0.01, high: value + 0.01 });
        let estimated = Estimated {
            output: "worn".into(),
            score: "p<robability".into(),
            above: 0.5,
            values: 1200,
            accuracy: estimate(0.9),
            precision: estimate(0.8),
            recall: None,
            f1: None,
        };
        let html = body(&asked(), &Quality::default(), &[("echo/1".into(), estimated)]);
        let wanted = [
            "An estimate",
            "80 % (79 % to 81 %)",
            "p&lt;robability",
            "1\u{202f}200",
            "No outcome has come",
        ];
        for words in wanted {
            assert!(html.contains(words), "{words}: {html}");
        }
        assert!(!body(&asked(), &Quality::default(), &[]).contains("An estimate"));
    }

    #[test]
    fn spans_of_devices_add_up_by_release() {
        let met = |pairs: [(&str, &str, u64); 3]| {
            json!(pairs.map(|(answered, outcome, count)| {
                json!({ "answered": answered, "outcome": outcome, "count": count })
            }))
        };
        let one = met([("true", "true", 6), ("true", "false", 2), ("false", "false", 2)]);
        let two = met([("true", "true", 3), ("false", "true", 3), ("false", "false", 4)]);
        let quality = Quality::of(vec![
            ("mill-2".into(), span(Some("turbine v1"), 2, two, Value::Null)),
            ("mill-1".into(), span(Some("turbine v1"), 1, one, Value::Null)),
            ("mill-1".into(), span(None, 1, json!([]), Value::Null)),
        ]);
        assert_eq!(
            (quality.releases.len(), quality.unknown, quality.caught()),
            (1, 3, Some((9, 2)))
        );
        let html = body(&asked(), &quality, &[]);
        for words in ["81.8 %", "75 %", "78.3 %", "0.9 (0.88 to 0.91)", "2026-02-01"] {
            assert!(html.contains(words), "{words}: {html}");
        }
    }

    #[test]
    fn errors_of_numbers_are_weighed_by_how_many_there_were_and_nothing_is_said_without_outcomes() {
        let errors = |count: u64, bias: f64| {
            json!({ "count": count, "bias": bias,
            "mean_absolute": bias.abs(), "root_mean_square": bias.abs() })
        };
        let spans = [errors(10, 1.0), errors(30, -1.0)];
        let spans = spans.map(|it| ("mill-1".to_owned(), span(Some("pump v1"), 1, json!([]), it)));
        let quality = Quality::of(spans.to_vec());
        let told = quality.releases[0].errors.unwrap();
        assert_eq!((told.count, told.bias, told.root_mean_square), (40, -0.5, 1.0));
        assert_eq!(quality.caught(), None);
        let html = body(&asked(), &Quality::default(), &[]);
        assert!(html.contains("No outcome has come") && html.contains("MQTT"), "{html}");
    }
}
