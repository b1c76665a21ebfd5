//! A topic of the plant's broker. A finding leaves the outbox when the broker has acknowledged it,
//! so it arrives at least once; its `id` tells copies.

use crate::config::MqttEnd;
use crate::fleet::backoff;
use crate::ledger::Ledger;
use rumqttc::mqttbytes::v5::Packet;
use rumqttc::{
    AsyncClient, Event, EventLoop, MqttOptions, PublishNotice, PublishOptions, PublishResult, QoS,
};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// Findings on their way to the broker.
const IN_FLIGHT_MAX: usize = 64;
/// First and longest pause before the broker is tried again.
const RECONNECT_PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// How long to wait for news before looking anyway.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a broker may take to acknowledge before the connection is made anew.
const ACKNOWLEDGE_MAX: Duration = Duration::from_secs(30);

/// Publishes findings for ever.
pub async fn run(sink: String, end: MqttEnd, client_id: String, ledger: Ledger) {
    loop {
        let (client, events) =
            AsyncClient::builder(options(&end, &client_id)).capacity(IN_FLIGHT_MAX + 8).build();
        let (up, connected) = watch::channel(false);
        let name = format!("{end:?}");
        let polling = tokio::spawn(poll(events, up, name));
        publish(&sink, &end, &client, connected, &ledger).await;
        polling.abort();
    }
}

/// Publishes until an acknowledgement fails to come. What had none is published again.
async fn publish(
    sink: &str,
    end: &MqttEnd,
    client: &AsyncClient,
    mut connected: watch::Receiver<bool>,
    ledger: &Ledger,
) {
    let news = ledger.news();
    let mut on_their_way: VecDeque<(u64, PublishNotice)> = VecDeque::new();
    let mut next = 0;
    loop {
        // Nothing is handed to the client while the broker is away: the outbox keeps it better.
        if connected.wait_for(|connected| *connected).await.is_err() {
            return;
        }
        let ring = news.notified();
        tokio::pin!(ring);
        ring.as_mut().enable();
        let room = IN_FLIGHT_MAX - on_their_way.len();
        let (name, source) = (sink.to_owned(), ledger.clone());
        let findings = match spawn_blocking(move || source.findings(&name, next, room)).await {
            Ok(Ok(findings)) => findings,
            Ok(Err(error)) => {
                tracing::error!("{end:?}: {error:#}", error = anyhow::Error::from(error));
                sleep(LOOK_EVERY).await;
                continue;
            }
            Err(_) => return,
        };
        for (number, finding) in findings {
            let options = PublishOptions::new(QoS::AtLeastOnce);
            match client.publish_tracked(end.topic.clone(), finding, options).await {
                Ok(notice) => on_their_way.push_back((number, notice)),
                Err(error) => {
                    tracing::warn!("{end:?}: {error}");
                    return;
                }
            }
            next = number + 1;
        }
        if on_their_way.is_empty() {
            // An elapsed wait only means that nothing was found for a while.
            let _ = timeout(LOOK_EVERY, ring).await;
            continue;
        }
        let mut numbers = Vec::new();
        while let Some((number, notice)) = on_their_way.pop_front() {
            match timeout(ACKNOWLEDGE_MAX, notice.wait_async()).await {
                Ok(Ok(PublishResult::Qos1(_))) => numbers.push(number),
                Ok(Ok(_) | Err(_)) | Err(_) => {
                    ledger.delivered(sink, numbers).await;
                    return;
                }
            }
        }
        ledger.delivered(sink, numbers).await;
    }
}

fn options(end: &MqttEnd, client_id: &str) -> MqttOptions {
    let mut options = MqttOptions::new(client_id, (end.host.clone(), end.port));
    options
        .set_keep_alive(15)
        // The outbox is what lasts; a session of the broker's would only double it.
        .set_clean_start(true)
        .set_connect_timeout(Duration::from_secs(10))
        .set_outgoing_inflight_upper_limit(IN_FLIGHT_MAX as u16);
    if let Some((user, password)) = &end.credentials {
        options.set_credentials(user.clone(), password.clone().into_bytes());
    }
    options
}

/// Keeps the connection going for ever, and says whether there is one.
async fn poll(mut events: EventLoop, connected: watch::Sender<bool>, name: String) {
    let mut attempts = 0;
    let mut away = false;
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                attempts = 0;
                if std::mem::take(&mut away) {
                    tracing::info!("{name}: connected again");
                }
                connected.send_replace(true);
            }
            Ok(_) => {}
            Err(error) => {
                connected.send_replace(false);
                if !std::mem::replace(&mut away, true) {
                    tracing::warn!("{name}: {error}; findings wait in the outbox");
                }
                let (first, longest) = RECONNECT_PAUSE;
                sleep(backoff::pause(first, longest, attempts)).await;
                attempts = attempts.saturating_add(1);
            }
        }
    }
}
