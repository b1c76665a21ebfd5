//! What Prometheus is told, and that its rules and Grafana's dashboard speak of nothing else.

use crate::mqtt::Client;
use crate::running::{As, Running};
use crate::telemetry::{tell, turbine_interval};
use std::collections::BTreeSet;
use std::path::Path;

fn document(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join("docs/prometheus").join(name)).unwrap()
}

/// Words of a text that begin as our metrics do.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("lineside_")).collect()
}

#[tokio::test]
async fn prometheus_is_told_of_devices_and_slots_what_their_telemetry_sums_up_to() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    server.add_device("line-4");
    let mut device = Client::device(&server, "line-3", &password).await;
    let records = vec![turbine_interval(3, 0), turbine_interval(3, 1)];
    tell(&mut device, "line-3", records).await;

    assert_eq!(server.ask("GET", "/metrics", As::Nobody, b"").status, 401);
    let reply = server.get("/metrics");
    assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = reply.text();
    let lines: BTreeSet<&str> = text.lines().collect();
    let of_slot = "{device=\"line-3\",site=\"hill\",slot=\"turbine\"}";
    for line in [
        "lineside_devices 2".to_owned(),
        "lineside_device_connected{device=\"line-3\",site=\"hill\"} 1".into(),
        "lineside_device_connected{device=\"line-4\",site=\"hill\"} 0".into(),
        "# TYPE lineside_slot_frames_total counter".into(),
        format!("lineside_slot_frames_total{of_slot} 8"),
        format!("lineside_slot_alarms_total{of_slot} 4"),
        format!("lineside_slot_errors_total{of_slot} 22"),
        format!("lineside_slot_doubled_total{of_slot} 2"),
    ] {
        assert!(lines.contains(line.as_str()), "{line}\n{text}");
    }
    // Each metric stands together, headed by what it is.
    let heads: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let mut head = "";
    for line in text.lines().filter(|line| !line.starts_with("# HELP")) {
        match line.strip_prefix("# TYPE ") {
            Some(rest) => head = rest.split(' ').next().unwrap(),
            None => assert!(line.starts_with(head), "{line} below {head}"),
        }
    }
    let told: BTreeSet<&str> = heads.iter().copied().collect();
    assert_eq!(told.len(), heads.len());
    for document in ["rules.yml", "grafana.json"].map(document) {
        let named = named(&document);
        assert!(named.len() > 5 && named.is_subset(&told), "{:?}", named.difference(&told));
    }
    let grafana: serde_json::Value = serde_json::from_str(&document("grafana.json")).unwrap();
    assert_eq!(grafana["panels"].as_array().unwrap().len(), 13);
}
