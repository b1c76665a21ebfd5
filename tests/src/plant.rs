//! A plant for tests and the demo: a broker of its own, sensors that publish a recording, and a
//! control room that takes findings.

use crate::child::{Program, wait};
use crate::program;
use anyhow::Context;
use rumqttc::mqttbytes::v5::Packet;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, PublishOptions, QoS};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
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

    /// Kills the broker.
    pub fn stop_broker(&mut self) {
        self.broker = None;
    }

    /// Starts it again on the same port.
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

    /// Publishes rows of a CSV file to `topic`, `rows_per_second`, in the background. Gives how many
    /// the broker has taken so far.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn publish(
        &self,
        recording: &Path,
        topic: &str,
        rows_per_second: f64,
    ) -> anyhow::Result<Arc<Mutex<u64>>> {
        let text = std::fs::read_to_string(recording)
            .with_context(|| format!("cannot read {}", recording.display()))?;
        let messages = rows(&text);
        let taken = Arc::new(Mutex::new(0));
        let (client, topic, count) = (self.client.clone(), topic.to_owned(), taken.clone());
        self.runtime.spawn(async move {
            let began = Instant::now();
            for (number, message) in messages.into_iter().enumerate() {
                let due = Duration::from_secs_f64(number as f64 / rows_per_second);
                sleep(due.saturating_sub(began.elapsed())).await;
                let options = PublishOptions::new(QoS::AtLeastOnce);
                let sent = client.publish_tracked(topic.clone(), message, options).await;
                let Ok(notice) = sent else { return };
                // In order and one by one: what is counted has been acknowledged.
                if notice.wait_async().await.is_err() {
                    return;
                }
                *count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            }
        });
        Ok(taken)
    }

    fn lock(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn broker(folder: &Path, port: u16) -> anyhow::Result<Program> {
    Program::start("plant", folder, Command::new(program("lineside-plant")).arg(port.to_string()))
}

/// Each row as a JSON object: numbers where they are numbers, text otherwise.
fn rows(csv: &str) -> Vec<String> {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    lines
        .map(|line| {
            let values = line.split(',').map(|text| match text.parse::<f64>() {
                Ok(number) => number.into(),
                Err(_) => Value::from(text),
            });
            let row: Map<_, _> = names.iter().map(|name| (*name).to_owned()).zip(values).collect();
            Value::from(row).to_string()
        })
        .collect()
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
