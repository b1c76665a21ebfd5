//! Limits that a profile has learnt from chunks of known-good data, held by the server against a site's devices
//! together.

use crate::mqtt::Client;
use crate::overview::{record, with_profile};
use crate::running::Running;
use crate::signers::{Artifact, Signers, artifact};
use crate::telemetry::tell;
use crate::tuf::site_policy;
use lineside_wire::v1::Record;
use serde_json::{Value, json};

/// A server with a site whose rule `high` holds the median of the score within what was learnt of it.
struct Site {
    server: Running,
    _data: tempfile::TempDir,
}

impl Site {
    /// With this release assigned to all its devices.
    fn new(release: &Artifact, devices: &[&str]) -> (Site, Vec<String>) {
        let data = tempfile::tempdir().unwrap();
        let server = Running::start(data.path());
        let signers = Signers::enrolled(&server);
        release.push(&server);
        let list =
            signers.releases(&server, std::slice::from_ref(&release.id), &[&signers.release]);
        let reply = server.put("/api/v1/releases", &list);
        assert_eq!(reply.status, 200, "{}", reply.text());
        let rule =
            json!({ "signal": "median", "output": "score", "learnt": true, "scope": "site" });
        let policy = json!({ "slots": { "turbine": { "rules": { "high": rule } } } });
        site_policy(&server, &signers, "hill", policy.to_string().as_bytes());
        let passwords = devices.iter().map(|name| {
            let password = server.add_device(name);
            let reply = server.assign(name, "turbine", &format!("turbine/{}", release.id.version));
            assert_eq!(reply.status, 200, "{}", reply.text());
            password
        });
        let passwords = passwords.collect();
        (Site { server, _data: data }, passwords)
    }

    fn alerts(&self) -> Vec<Value> {
        self.server.get("/api/v1/alerts").json().as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn a_site_rings_where_its_devices_together_leave_what_was_learnt_of_good_chunks() {
    let release = with_profile("1");
    let (site, passwords) = Site::new(&release, &["line-1", "line-2"]);
    let mut one = Client::device(&site.server, "line-1", &passwords[0]).await;
    let mut other = Client::device(&site.server, "line-2", &passwords[1]).await;
    // The profile has learnt medians of hours from 0.34 to 0.38, and three deviations around them.
    // A single hour outside is none in a row.
    let hours = [
        (0.31, 0.32),
        (0.33, 0.30),
        (0.31, 0.33),
        (0.70, 0.71),
        (0.32, 0.31),
        (0.70, 0.72),
        (0.71, 0.70),
        (0.32, 0.32),
        (0.31, 0.32),
        (0.31, 0.31),
        (0.32, 0.31),
    ];
    let mut counts = Vec::new();
    for (hour, (first, second)) in (0..).zip(hours) {
        tell(&mut one, "line-1", vec![record(hour, &release, first, 2)]).await;
        tell(&mut other, "line-2", vec![record(hour, &release, second, 2)]).await;
        let alerts = site.alerts();
        counts.push((alerts.len(), alerts.iter().filter(|it| it["over"].is_null()).count()));
    }
    // Of several devices an hour is judged once another has passed after it.
    let fired = counts.iter().position(|(all, _)| *all == 1).unwrap();
    let over = counts.iter().rposition(|(_, open)| *open == 1).unwrap() + 1;
    assert_eq!((fired, over, counts[10]), (8, 10, (1, 0)), "{counts:?}");
    let alert = &site.alerts()[0];
    assert_eq!(
        (&alert["rule"], &alert["scope"], &alert["site"]),
        (&"high".into(), &"site".into(), &"hill".into())
    );
    let [low, high] = ["low", "high"].map(|limit| alert[limit].as_f64().unwrap());
    assert!((0.31..0.34).contains(&low) && (0.38..0.42).contains(&high), "{alert}");
    let values: Vec<f64> =
        alert["values"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    assert!(values.len() >= 2 && values.iter().rev().take(2).all(|value| *value > 0.7), "{alert}");
}

#[tokio::test]
async fn where_a_release_has_learnt_nothing_the_rule_says_nothing() {
    let release = artifact("turbine", "2");
    let (site, passwords) = Site::new(&release, &["line-1"]);
    let mut device = Client::device(&site.server, "line-1", &passwords[0]).await;
    let hours: Vec<Record> = (0..6).map(|hour| record(hour, &release, 0.7, 2)).collect();
    tell(&mut device, "line-1", hours).await;
    assert!(site.alerts().is_empty());
}
