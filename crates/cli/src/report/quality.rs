//! `lineside report quality`: how often answers were right, by outcomes that came later.

use super::Asked;
use super::page::{Text, number, percent, table, thousands};
use serde_json::Value;

/// The body of the page. Without `quality` the server keeps no outcomes.
pub fn body(asked: &Asked, quality: Option<&Value>) -> String {
    let mut html = format!(
        "<h1>Quality of {}</h1>\n<p class=\"about\">{}</p>\n",
        Text(&asked.slot),
        asked.told()
    );
    let releases: Vec<&Value> =
        quality.and_then(|it| it["releases"].as_array()).into_iter().flatten().collect();
    if releases.is_empty() {
        html.push_str(
            "<p>No outcome has come for what was answered in this time, so nothing is known of how often it was \
             right. An outcome is what turned out to be true of a finding, hours or weeks later: tell it to the \
             device, by the finding's id, over the agent's local interface or its MQTT topic for outcomes. The \
             device joins it with what it had answered, and tells the server sums only. docs/monitoring.md says \
             how an outcome is sent.</p>\n\
             <p>Until then <code>lineside report drift</code> says whether what is read and answered still looks \
             like the training data. That is no measure of being right, and no report here takes it for one.</p>\n",
        );
        return html;
    }
    let heads = [
        "release",
        "outcomes",
        "caught",
        "false alarms",
        "missed",
        "rightly silent",
        "precision",
        "recall",
    ];
    let rows: Vec<Vec<String>> = releases.iter().map(|release| row(release)).collect();
    html.push_str(&table(&heads, &[1, 2, 3, 4, 5, 6, 7], &rows));
    html.push_str(
        "<footer><p class=\"note\">Precision is caught / (caught + false alarms), recall caught / (caught + \
         missed), of those findings whose outcome has come.</p></footer>\n",
    );
    html
}

fn row(release: &Value) -> Vec<String> {
    let count = |name: &str| release["confusion"][name].as_u64().or_else(|| release[name].as_u64());
    let told = |count: Option<u64>| count.map_or("–".into(), |count| thousands(count as f64));
    let names = ["true_positives", "false_positives", "false_negatives", "true_negatives"];
    let [caught, false_alarms, missed, silent] = names.map(count);
    let share = |part: Option<u64>, other: Option<u64>| match (part, other) {
        (Some(part), Some(other)) if part + other > 0 => {
            percent(part as f64 / (part + other) as f64)
        }
        _ => "–".into(),
    };
    let outcomes = release["outcomes"].as_u64().map_or("–".into(), |count| number(count as f64));
    vec![
        Text(release["release"].as_str().unwrap_or("–")).to_string(),
        outcomes,
        told(caught),
        told(false_alarms),
        told(missed),
        told(silent),
        share(caught, false_alarms),
        share(caught, missed),
    ]
}

/// Alarms that were right, by outcomes: caught, and false. None where no outcome has come.
pub fn caught(quality: Option<&Value>) -> Option<(u64, u64)> {
    let releases = quality?["releases"].as_array()?;
    let sum = |name: &str| -> Option<u64> {
        let counts = releases.iter().filter_map(|release| {
            release["confusion"][name].as_u64().or_else(|| release[name].as_u64())
        });
        counts.reduce(u64::saturating_add)
    };
    sum("true_positives").zip(sum("false_positives"))
}
