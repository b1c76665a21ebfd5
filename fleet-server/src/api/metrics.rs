//! What is known of the fleet, as Prometheus reads it.

use crate::api::may::{Look, Throughout};
use crate::api::view::{self, DeviceShown};
use crate::error::Error;
use crate::fleet::Fleet;
use crate::ingest::Totals;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use lineside_exposition::Family;
use lineside_exposition::Kind::{Counter, Gauge};
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Devices that are looked at together.
const AT_ONCE: u64 = 200;

/// A sum of a slot: name, what it is, and where it stands.
type Sum = (&'static str, &'static str, fn(&Totals) -> u64);

const SUMS: [Sum; 8] = [
    ("lineside_slot_intervals_total", "Intervals that came.", |it| it.intervals),
    ("lineside_slot_readings_total", "Readings accounted for.", |it| it.readings),
    ("lineside_slot_frames_total", "Frames.", |it| it.frames),
    ("lineside_slot_findings_total", "Findings.", |it| it.findings),
    ("lineside_slot_alarms_total", "Frames with an alarm.", |it| it.alarms),
    ("lineside_slot_errors_total", "Frames without an answer.", |it| it.errors),
    ("lineside_slot_dropped_total", "Readings dropped.", |it| it.dropped),
    ("lineside_slot_doubled_total", "Frames answered by more than one active release.", |it| {
        it.doubled
    }),
];

/// Gauges of devices and slots, and sums of slots.
struct Families {
    connected: Family,
    last_seen: Family,
    attention: Family,
    missing: Family,
    release: Family,
    sums: Vec<Family>,
}

/// What is known of the fleet, in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", security(("person" = ["look"])),
    responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn metrics(
    _: Throughout<Look>,
    State(fleet): State<Arc<Fleet>>,
) -> Result<Response, Error> {
    let mut families = Families::new();
    let mut after = String::new();
    loop {
        let devices = fleet.registry.after(&after, AT_ONCE).await?;
        let Some(last) = devices.last() else { break };
        after = last.id.to_string();
        view::list(&fleet, devices).await?.iter().for_each(|device| families.take(device));
    }
    let mut text = String::new();
    for (name, kind, help, value) in [
        ("lineside_devices", Gauge, "Devices added.", fleet.registry.count().await?),
        (
            "lineside_server_messages_dropped_total",
            Counter,
            "Messages that the broker dropped since its start.",
            fleet.guard.dropped(),
        ),
        (
            "lineside_server_writes_failed_total",
            Counter,
            "Writes to the database that failed since the start.",
            fleet.store.trouble().failures,
        ),
        (
            "lineside_server_attention",
            Gauge,
            "What is wrong with the server itself.",
            fleet.attention(OffsetDateTime::now_utc()).await.len() as u64,
        ),
    ] {
        let mut family = Family::new(name, kind, help);
        family.sample(&[], value as f64);
        text += family.text();
    }
    families.each().for_each(|family| text += family.text());
    Ok(([(CONTENT_TYPE, lineside_exposition::CONTENT_TYPE)], text).into_response())
}

impl Families {
    fn new() -> Families {
        Families {
            connected: Family::new(
                "lineside_device_connected",
                Gauge,
                "Whether the device is connected to this server.",
            ),
            last_seen: Family::new(
                "lineside_device_last_seen_timestamp_seconds",
                Gauge,
                "When it was last heard of, by this server's clock.",
            ),
            attention: Family::new(
                "lineside_device_attention",
                Gauge,
                "What is not as it should be with it; its page says what.",
            ),
            missing: Family::new(
                "lineside_device_missing_records",
                Gauge,
                "Records of telemetry whose numbers were skipped: not here yet, or lost.",
            ),
            release: Family::new(
                "lineside_slot_release_info",
                Gauge,
                "The release that answers in a slot, and what is under way there.",
            ),
            sums: SUMS.map(|(name, help, _)| Family::new(name, Counter, help)).to_vec(),
        }
    }

    fn take(&mut self, device: &DeviceShown) {
        let of_device = [("device", device.name.as_str()), ("site", device.site.as_str())];
        self.connected.sample(&of_device, f64::from(u8::from(device.connected)));
        let seen = device.last_seen.as_deref();
        let seen = seen.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        if let Some(seen) = seen {
            self.last_seen.sample(&of_device, seen.unix_timestamp() as f64);
        }
        self.attention.sample(&of_device, device.attention.len() as f64);
        self.missing.sample(&of_device, device.missing_records as f64);
        let [name, site] = of_device;
        for (slot, shown) in &device.slots {
            let Some(active) = &shown.active else { continue };
            let labels = [
                name,
                site,
                ("slot", slot.as_str()),
                ("bundle", active.name.as_str()),
                ("version", active.version.as_str()),
                ("phase", shown.phase.as_str()),
            ];
            self.release.sample(&labels, 1.0);
        }
        for (slot, totals) in &device.telemetry {
            for (family, (.., of)) in self.sums.iter_mut().zip(SUMS) {
                family.sample(&[name, site, ("slot", slot)], of(totals) as f64);
            }
        }
    }

    fn each(&self) -> impl Iterator<Item = &Family> {
        let of_devices =
            [&self.connected, &self.last_seen, &self.attention, &self.missing, &self.release];
        of_devices.into_iter().chain(&self.sums)
    }
}
