//! A connection to the plant's broker, made again for ever: what a source and a sink have in common.

use crate::backoff;
use crate::config::MqttEnd;
use rumqttc::mqttbytes::v5::{DisconnectReasonCode, Packet, Publish, SubscribeReasonCode};
use rumqttc::{ConnectionError, Event, EventLoop, MqttOptions, StateError};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// First and longest pause before the broker is tried again.
const RECONNECT_PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// How soon an unanswered ping is noticed, and how long a connection may take.
const KEEP_ALIVE_SECONDS: u16 = 15;
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long a connection must have lasted before the next pause is short again: a broker that takes
/// a client and drops it at once must not be asked five times a second.
const STEADY_AFTER: Duration = Duration::from_secs(30);

/// What a connection tells.
pub enum News {
    /// It is there.
    Connected {
        /// Whether the broker has kept the session.
        session_kept: bool,
    },
    /// It is gone, or could not be made; why, for people. It is tried again.
    Lost(String),
    /// A message came.
    Message(Box<Publish>),
    /// The broker has taken a subscription, or refuses it; why, for people.
    Subscribed(Result<(), String>),
}

/// A connection.
pub struct Connection {
    events: EventLoop,
    /// Broker and topic, for people.
    name: String,
    retry: Retry,
    /// The pause before the next attempt.
    pause: Option<Duration>,
}

impl Connection {
    /// A connection that `events` makes, named for people.
    pub fn new(events: EventLoop, name: String) -> Connection {
        Connection { events, name, retry: Retry::default(), pause: None }
    }

    /// Waits for the next news. What is worth knowing is logged here, once.
    ///
    /// Not to be cancelled: a packet that was being read would be lost.
    pub async fn next(&mut self) -> News {
        if let Some(pause) = self.pause.take() {
            sleep(pause).await;
        }
        loop {
            match self.events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(ack))) => {
                    if self.retry.connected(Instant::now()) {
                        tracing::info!("{}: connected again", self.name);
                    }
                    return News::Connected { session_kept: ack.session_present };
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    return News::Message(Box::new(publish));
                }
                Ok(Event::Incoming(Packet::SubAck(ack))) => {
                    return News::Subscribed(self.taken(&ack.return_codes));
                }
                Ok(_) => {}
                Err(error) => {
                    let problem = told(&error);
                    let (pause, is_new) = self.retry.lost(Instant::now(), &problem);
                    if is_new {
                        tracing::warn!("{}: {problem}; trying again for ever", self.name);
                    }
                    self.pause = Some(pause);
                    return News::Lost(problem);
                }
            }
        }
    }

    fn taken(&self, codes: &[SubscribeReasonCode]) -> Result<(), String> {
        if codes.iter().any(|code| matches!(code, SubscribeReasonCode::Success(_))) {
            return Ok(());
        }
        let problem = format!("the broker refuses the subscription: {codes:?}");
        tracing::error!("{}: {problem}", self.name);
        Err(problem)
    }
}

/// What every client of a broker has in common: it is given the user's name, and says soon that nobody
/// is there.
pub fn options(end: &MqttEnd, client_id: &str) -> MqttOptions {
    let mut options = MqttOptions::new(client_id, (end.host.clone(), end.port));
    options.set_keep_alive(KEEP_ALIVE_SECONDS).set_connect_timeout(CONNECT_MAX);
    if let Some((user, password)) = &end.credentials {
        options.set_credentials(user.clone(), password.clone().into_bytes());
    }
    options
}

fn told(error: &ConnectionError) -> String {
    match error {
        ConnectionError::MqttState(StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::SessionTakenOver,
            ..
        }) => "another client has taken over the session; do two agents use one device folder?"
            .to_owned(),
        error => error.to_string(),
    }
}

/// When to try again, and what of it to tell.
#[derive(Default)]
struct Retry {
    attempts: u32,
    /// When the connection that there is was made.
    since: Option<Instant>,
    /// The problem that was told last, until a connection has lasted.
    told: Option<String>,
    /// The problem was told, and not yet that it is over.
    away: bool,
}

impl Retry {
    /// Whether it is worth telling that there is a connection.
    fn connected(&mut self, now: Instant) -> bool {
        self.since = Some(now);
        std::mem::take(&mut self.away)
    }

    /// The pause before the next attempt, and whether the problem is worth telling.
    fn lost(&mut self, now: Instant, problem: &str) -> (Duration, bool) {
        let lasted = self.since.take().map(|since| now.saturating_duration_since(since));
        if lasted.is_some_and(|lasted| lasted >= STEADY_AFTER) {
            self.attempts = 0;
            self.told = None;
        }
        // While it comes and goes each problem is told once; while it is away only the first one.
        let is_new = !self.away && self.told.as_deref() != Some(problem);
        if is_new {
            self.told = Some(problem.to_owned());
            self.away = true;
        }
        let (first, longest) = RECONNECT_PAUSE;
        let pause = backoff::pause(first, longest, self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        (pause, is_new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_takes_and_drops_is_asked_less_and_less_often_and_told_of_once() {
        let mut retry = Retry::default();
        let mut now = Instant::now();
        let mut told = 0;
        let mut pause = Duration::ZERO;
        for _ in 0..30 {
            told += usize::from(retry.connected(now));
            now += STEADY_AFTER / 2;
            let (next, is_new) = retry.lost(now, "another client");
            told += usize::from(is_new);
            pause = next;
        }
        assert!(pause >= RECONNECT_PAUSE.1 / 2, "{pause:?}");
        assert_eq!(told, 2, "that it was lost, and that it was there again");
        retry.connected(now);
        let (pause, is_new) = retry.lost(now + STEADY_AFTER, "another client");
        assert!(pause <= RECONNECT_PAUSE.0, "{pause:?}");
        assert!(is_new, "a connection that had lasted is lost");
        assert!(!retry.lost(now, "it is not there").1, "it is known to be away");
        assert!(retry.connected(now));
    }
}
