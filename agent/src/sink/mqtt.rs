//! A topic of the plant's broker. A finding leaves the outbox when the broker has acknowledged it,
//! so it arrives at least once; its `id` tells copies.

use crate::config::MqttEnd;
use crate::database::Trouble;
use crate::error::chain;
use crate::failpoint;
use crate::ledger::Ledger;
use crate::plant::{self, Connection, News};
use rumqttc::mqttbytes::v5::PubAckReason;
use rumqttc::{AsyncClient, MqttOptions, PublishNotice, PublishNoticeError, PublishOptions, QoS};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// Findings on their way to the broker.
const IN_FLIGHT_MAX: usize = 64;
/// How long to wait for news before looking anyway.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a broker may take to acknowledge before the connection is made anew.
const ACKNOWLEDGE_MAX: Duration = Duration::from_secs(30);
/// How long to wait for the news that the connection is lost, once its publishing has failed.
const LOST_PAUSE: Duration = Duration::from_millis(200);
/// How long findings wait that the broker has refused.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// Publishes findings for ever.
pub async fn run(sink: String, end: MqttEnd, client_id: String, ledger: Ledger) {
    let mut refused = None;
    loop {
        let (client, events) =
            AsyncClient::builder(options(&end, &client_id)).capacity(IN_FLIGHT_MAX + 8).build();
        let (up, connected) = watch::channel(false);
        let polling = tokio::spawn(poll(Connection::new(events, end.to_string()), up));
        publish(&sink, &end, &client, connected, &ledger, &mut refused).await;
        polling.abort();
    }
}

/// Publishes until an acknowledgement fails to come. What had none is published again.
///
/// What the broker refuses stays in the outbox and is published again too: it may be allowed later,
/// and no finding may be taken for delivered that nobody has. `refused` is the refusal that was
/// told.
async fn publish(
    sink: &str,
    end: &MqttEnd,
    client: &AsyncClient,
    mut connected: watch::Receiver<bool>,
    ledger: &Ledger,
    refused: &mut Option<PubAckReason>,
) {
    let news = ledger.news();
    let mut on_their_way: VecDeque<(u64, PublishNotice)> = VecDeque::new();
    let mut next = 0;
    let mut trouble = Trouble::default();
    loop {
        // Nothing is handed to the client while the broker is away: the outbox keeps it better.
        if connected.wait_for(|connected| *connected).await.is_err() {
            return;
        }
        let ring = news.notified();
        tokio::pin!(ring);
        ring.as_mut().enable();
        let (name, source) = (sink.to_owned(), ledger.clone());
        let findings = spawn_blocking(move || source.findings(&name, next, IN_FLIGHT_MAX)).await;
        let findings = match findings {
            Ok(Ok(findings)) => {
                if trouble.worked() {
                    tracing::info!("{end}: the outbox can be read again");
                }
                findings
            }
            Ok(Err(error)) => {
                if trouble.failed() {
                    tracing::error!("{end}: {}", chain(error));
                }
                sleep(LOOK_EVERY).await;
                continue;
            }
            Err(_) => return,
        };
        if findings.is_empty() {
            // An elapsed wait only means that nothing was found for a while.
            let _ = timeout(LOOK_EVERY, ring).await;
            continue;
        }
        for (number, finding) in findings {
            let options = PublishOptions::new(QoS::AtLeastOnce);
            match client.publish_tracked(end.topic.clone(), finding, options).await {
                Ok(notice) => on_their_way.push_back((number, notice)),
                Err(error) => {
                    tracing::warn!("{end}: {error}");
                    return;
                }
            }
            next = number + 1;
        }
        let mut numbers = Vec::new();
        // The first that was not taken, and the refusal if it was one.
        let mut left: Option<(u64, Option<PubAckReason>)> = None;
        while let Some((number, notice)) = on_their_way.pop_front() {
            match timeout(ACKNOWLEDGE_MAX, notice.wait_completion_async()).await {
                Ok(Ok(())) if failpoint::pass("sink.mqtt.acknowledged").is_ok() => {
                    numbers.push(number);
                }
                Ok(Err(PublishNoticeError::V5PubAck(reason))) => {
                    left.get_or_insert((number, Some(reason)));
                }
                // The connection was lost.
                Ok(_) => {
                    left.get_or_insert((number, None));
                }
                Err(_) => {
                    ledger.delivered(sink, numbers).await;
                    return;
                }
            }
        }
        let accepted = !numbers.is_empty();
        ledger.delivered(sink, numbers).await;
        match left {
            None if accepted && refused.take().is_some() => {
                tracing::info!("{end}: the broker takes findings again");
            }
            None => {}
            Some((first, None)) => {
                next = first;
                sleep(LOST_PAUSE).await;
            }
            Some((first, Some(reason))) => {
                // In order again from the first one that was refused.
                next = first;
                if refused.replace(reason) != Some(reason) {
                    tracing::error!(
                        "{end}: the broker refuses findings: {reason:?}; they wait in the \
                         outbox and are sent again every {} s",
                        REFUSED_PAUSE.as_secs()
                    );
                }
                sleep(REFUSED_PAUSE).await;
            }
        }
    }
}

fn options(end: &MqttEnd, client_id: &str) -> MqttOptions {
    let mut options = plant::options(end, client_id);
    options
        // The outbox is what lasts; a session of the broker's would only double it.
        .set_clean_start(true)
        .set_outgoing_inflight_upper_limit(IN_FLIGHT_MAX as u16);
    options
}

/// Keeps the connection going for ever, and says whether there is one.
async fn poll(mut connection: Connection, connected: watch::Sender<bool>) {
    loop {
        match connection.next().await {
            News::Connected { .. } => {
                connected.send_replace(true);
            }
            News::Lost(_) => {
                connected.send_replace(false);
            }
            News::Message(_) | News::Subscribed(_) => {}
        }
    }
}
