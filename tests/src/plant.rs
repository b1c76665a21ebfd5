//! A plant for tests and the demo: a broker of its own, sensors that publish a recording, and a
//! control room that takes findings.

use crate::child::{Program, wait};
use crate::fleet::Fleet;
use crate::program;
use anyhow::Context;
use rumqttc::mqttbytes::v5::Packet;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, PublishOptions, QoS};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::time::sleep;

/// Messages on their way.
const IN_FLIGHT_MAX: u16 = 100;

/// The plant.
pub struct Plant {
    folder: PathBuf,
    broker: Option<Program>,
    port: u16,
    runtime: Runtime,
    client: AsyncClient,
    received: Arc<Mutex<Received>>,
}

/// What the control room has received.
#[derive(Debug, Default, Clone)]
pub struct Received {
    /// Findings by their id.
    pub findings: BTreeMap<String, Value>,
    /// Messages that repeated a finding, as a broker may.
    pub repeats: u64,
    connected: bool,
}

/// How far the publishing of a recording is.
#[derive(Debug, Default, Clone)]
pub struct Publishing(Arc<Mutex<Progress>>);

#[derive(Debug, Default)]
struct Progress {
    taken: u64,
    stopped: Option<String>,
}

impl Publishing {
    /// Waits until the broker has taken `rows` rows.
    ///
    /// # Errors
    /// It takes too long, or publishing has stopped: with the reason.
    pub fn reaches(&self, rows: u64) -> anyhow::Result<()> {
        let reached = wait(&format!("the broker has taken {rows} rows"), || {
            let progress = self.lock();
            match &progress.stopped {
                _ if progress.taken >= rows => Some(Ok(())),
                Some(reason) => {
                    Some(Err(anyhow::anyhow!("after {} rows: {reason}", progress.taken)))
                }
                None => None,
            }
        });
        reached.with_context(|| format!("{} were taken", self.lock().taken))?
    }

    fn stop(&self, reason: String) {
        self.lock().stopped = Some(reason);
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plant {
    /// Starts a broker on a free port and a control room that listens to `findings/#`.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(folder: &Path) -> anyhow::Result<Plant> {
        let mut broker = broker(folder, 0)?;
        let address = broker.says("mqtt ")?;
        let port = address.rsplit(':').next().unwrap_or_default().parse();
        let port = port.with_context(|| format!("the plant's broker listens at {address}"))?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut options = MqttOptions::new("plant", ("127.0.0.1", port));
        options.set_keep_alive(10).set_outgoing_inflight_upper_limit(IN_FLIGHT_MAX);
        let (client, events) =
            AsyncClient::builder(options).capacity(usize::from(IN_FLIGHT_MAX)).build();
        let received = Arc::new(Mutex::new(Received::default()));
        runtime.spawn(listen(events, client.clone(), received.clone()));
        let plant = Plant {
            folder: folder.to_owned(),
            broker: Some(broker),
            port,
            runtime,
            client,
            received,
        };
        wait("the control room is connected", || plant.lock().connected.then_some(()))?;
        Ok(plant)
    }

    /// The broker's port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills the broker. With it goes all that it knew: sessions, and messages on their way.
    pub fn stop_broker(&mut self) {
        self.broker = None;
        self.lock().connected = false;
    }

    /// Starts it again on the same port, and waits until the control room listens.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_broker(&mut self) -> anyhow::Result<()> {
        let mut broker = broker(&self.folder, self.port)?;
        broker.says("mqtt ")?;
        self.broker = Some(broker);
        wait("the control room is back", || self.lock().connected.then_some(()))
    }

    /// What was received so far.
    pub fn received(&self) -> Received {
        self.lock().clone()
    }

    /// Publishes the rows of CSV files to `topic`, `rows_per_second`, in the background.
    pub fn publish(&self, recordings: &[PathBuf], topic: &str, rows_per_second: f64) -> Publishing {
        let progress = Publishing::default();
        let (client, topic, told) = (self.client.clone(), topic.to_owned(), progress.clone());
        let recordings = recordings.to_vec();
        self.runtime.spawn(async move {
            let began = Instant::now();
            let mut number = 0;
            for recording in recordings {
                let text = match std::fs::read_to_string(&recording) {
                    Ok(text) => text,
                    Err(error) => return told.stop(format!("{}: {error}", recording.display())),
                };
                for message in rows(&text) {
                    let due = Duration::from_secs_f64(f64::from(number) / rows_per_second);
                    sleep(due.saturating_sub(began.elapsed())).await;
                    let options = PublishOptions::new(QoS::AtLeastOnce);
                    // In order and one by one: what is counted has been acknowledged.
                    match client.publish_tracked(topic.clone(), message, options).await {
                        Ok(notice) => match notice.wait_async().await {
                            Ok(_) => told.lock().taken += 1,
                            Err(error) => return told.stop(error.to_string()),
                        },
                        Err(error) => return told.stop(error.to_string()),
                    }
                    number += 1;
                }
            }
        });
        progress
    }

    /// Says something on a topic once; the broker has it when this returns.
    ///
    /// # Errors
    /// It does not take it.
    pub fn say(&self, topic: &str, message: &str) -> anyhow::Result<()> {
        let options = PublishOptions::new(QoS::AtLeastOnce);
        let said = self.client.publish_tracked(topic.to_owned(), message.to_owned(), options);
        self.runtime
            .block_on(async { said.await?.wait_async().await.map_err(anyhow::Error::from) })?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn broker(folder: &Path, port: u16) -> anyhow::Result<Program> {
    Program::start("plant", folder, Command::new(program("lineside-plant")).arg(port.to_string()))
}

/// Each row as a JSON object: numbers where they are numbers, text otherwise.
fn rows(csv: &str) -> impl Iterator<Item = String> {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    lines.map(move |line| {
        let values = line.split(',').map(|text| match text.parse::<f64>() {
            Ok(number) => number.into(),
            Err(_) => Value::from(text),
        });
        let row: Map<_, _> = names.iter().map(|name| (*name).to_owned()).zip(values).collect();
        Value::from(row).to_string()
    })
}

/// A turbine that only says that it is there.
pub const STRANGER: &str = "X";

/// Publishes readings of [`STRANGER`] to `scada` until a device's slot `turbine` takes another one,
/// and tells how many it has taken then.
///
/// A broker keeps nothing for a device that has not subscribed, and a device subscribes when it has
/// its first release.
///
/// # Errors
/// It takes none.
pub fn first_contact(plant: &Plant, fleet: &Fleet, device: &str) -> anyhow::Result<u64> {
    let file = fleet.folder().join("first-contact.csv");
    let head = "turbine,time,wind_speed_m_s,power_kw,pitch_deg,vane_deg,outdoor_c";
    let row = format!("{STRANGER},2014-01-01T00:00Z,6.8,640.0,-1.0,0.0,5.0");
    std::fs::write(&file, format!("{head}\n{row}\n"))
        .with_context(|| format!("cannot write {}", file.display()))?;
    let taken = |status: &Value| status["slots"]["turbine"]["counts"]["accepted"].as_u64();
    let before = taken(&fleet.wait_for_status(device)?).context("a slot counts what it accepts")?;
    let said = fleet.wait_until_says(device, "a reading is taken", |status| {
        let is_taken = taken(status) > Some(before);
        if !is_taken
            && let Err(error) = plant.publish(slice::from_ref(&file), "scada", 1.0).reaches(1)
        {
            eprintln!("the plant's broker: {error:#}");
        }
        is_taken
    })?;
    taken(&said).context("a slot counts what it accepts")
}

async fn listen(mut events: EventLoop, client: AsyncClient, received: Arc<Mutex<Received>>) {
    let set = |change: &dyn Fn(&mut Received)| {
        change(&mut received.lock().unwrap_or_else(PoisonError::into_inner));
    };
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                // A full queue means that the subscription is on its way already.
                let _ = client.try_subscribe("findings/#", QoS::AtLeastOnce);
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => set(&|received| received.connected = true),
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let Ok(finding) = serde_json::from_slice::<Value>(&publish.payload) else {
                    continue;
                };
                let id = format!(
                    "{}/{}",
                    finding["device"].as_str().unwrap_or_default(),
                    finding["id"].as_str().unwrap_or_default()
                );
                set(&|received| {
                    if received.findings.insert(id.clone(), finding.clone()).is_some() {
                        received.repeats += 1;
                    }
                });
            }
            Ok(_) => {}
            Err(_) => {
                set(&|received| received.connected = false);
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
