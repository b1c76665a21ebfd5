//! The connection to the fleet server: status and telemetry up, documents and acknowledgements down.
//!
//! One task owns it. It may be away for weeks; nothing waits for it but what it carries.

use crate::error::chain;
use crate::failpoint;
use crate::fleet::identity::{is_unbelieved, tls_error};
use crate::fleet::pace::Pace;
use crate::fleet::status::Reporter;
use crate::fleet::{Device, Proof};
use crate::log::Tap;
use crate::telemetry::TelemetryHandle;
use crate::telemetry::spool::Batch;
use crate::update::driver::Updates;
use lineside_identity::Mark;
use lineside_rules::SitePolicy;
use lineside_wire::envelope::{self, Message};
use lineside_wire::topic::{Down, Topic, Up};
use lineside_wire::v1::{
    Ack, Answer, Ask, AskLog, Documents, LogLines, Remind, Reminder, SlotStatus,
};
use rumqttc::mqttbytes::v5::{
    ConnectReturnCode, DisconnectReasonCode, Packet, Publish, SubAck, SubscribeReasonCode,
};
use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, PublishOptions, QoS, StateError,
    TlsConfiguration, Transport, mqttbytes,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};

/// Messages on their way to the server.
const IN_FLIGHT_MAX: u16 = 8;
/// Largest message from the server, in bytes.
const MESSAGE_BYTES_MAX: u32 = 3 << 20;
/// How often a status is sent when nothing has changed.
const STATUS_EVERY: Duration = Duration::from_secs(300);
/// How soon a status follows one that no longer says what is so: how far a trial has come, or why a
/// source brings nothing, may change with every reading.
const STATUS_AGAIN: Duration = Duration::from_secs(30);
/// Longest wait before the telemetry is looked at again: what was not acknowledged is sent again.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Messages of the server that wait to be read. Beyond it they are left: the server repeats documents
/// with the next status and acknowledgements with the next records.
const HEARD_MAX: usize = 32;
/// Questions of the server that wait for an answer. Beyond it they are left: who asked sees that.
const QUESTIONS_MAX: usize = 4;

/// Why no lines of the log are told though the server asks for them.
const FORBIDDEN: &str = "the policy of the device's site forbids it";

/// What the server asks.
enum Question {
    /// Whether a release would run here.
    Ask(Ask),
    /// Which assignment this device holds.
    Remind,
    /// Lines of the log, as the director has signed it.
    Log(Vec<u8>),
}

/// What the session works with.
pub struct Session {
    /// Who this is, and where the server is.
    pub device: Device,
    /// Makes a status of what the slots hold.
    pub reporter: Reporter,
    /// Where documents go.
    pub updates: Updates,
    /// Answers whether a release would run here. It may read files.
    pub answerer: Arc<dyn Fn(&Ask) -> Answer + Send + Sync>,
    /// What is to be told, and what has been stored.
    pub telemetry: TelemetryHandle,
    /// Rung when the network is back.
    pub online: watch::Sender<()>,
    /// Whether the server is connected.
    pub connected: watch::Sender<bool>,
    /// What of the log is told where the server asks for it.
    pub log: Tap,
    /// Which start of the device this is.
    pub boot: u64,
    /// What the site has signed: it may forbid that.
    pub policy: watch::Receiver<SitePolicy>,
}

impl Session {
    /// Keeps the connection for ever.
    pub async fn run(self) {
        let (client, events) =
            AsyncClient::builder(self.options()).capacity(4 * usize::from(IN_FLIGHT_MAX)).build();
        let (tell, mut heard) = mpsc::channel(HEARD_MAX);
        let (link, mut linked) = watch::channel(Link::default());
        let polling = Polling {
            end: self.device.mqtt_end(),
            link,
            connected: self.connected.clone(),
            online: self.online.clone(),
            heard: tell,
            pace: Pace::default(),
            proof: self.device.proof.clone(),
            boot: self.boot,
            attempts: 0,
            shared: false,
            refused: false,
        };
        let polling = tokio::spawn(polling.run(events));
        let (ask, asked) = mpsc::channel(QUESTIONS_MAX);
        let (tell_answer, mut answers) = mpsc::channel(QUESTIONS_MAX);
        let answerer = Answering {
            answerer: self.answerer.clone(),
            updates: self.updates.clone(),
            log: self.log.clone(),
            policy: self.policy.clone(),
        };
        let answering = tokio::spawn(answerer.run(asked, tell_answer));
        let mut changed = self.reporter.changed();
        let mut versions = self.updates.versions();
        let mut status_due = Instant::now();
        let mut look_due = Instant::now() + STATUS_AGAIN;
        let mut policy = self.policy.clone();
        let mut said = Vec::new();
        let mut connected = false;
        let (mut greeted, mut connection) = (0, 0);
        loop {
            tokio::select! {
                news = linked.changed() => {
                    if news.is_err() {
                        break;
                    }
                    let link = *linked.borrow_and_update();
                    // A connection that has come and gone meanwhile makes the next one no less new.
                    if link.state != State::Down
                        && std::mem::replace(&mut greeted, link.number) != link.number
                    {
                        self.greet(&client).await;
                    }
                    connected = link.state == State::Heard;
                    if connected && std::mem::replace(&mut connection, link.number) != link.number {
                        self.telemetry.connected();
                        status_due = Instant::now();
                    }
                }
                Some(publish) = heard.recv() => self.hear(&publish, &ask),
                Some((up, bytes)) = answers.recv(), if connected => {
                    self.say(&client, up, bytes).await;
                }
                () = sleep_until(status_due), if connected => {
                    status_due = Instant::now() + STATUS_EVERY;
                    look_due = Instant::now() + STATUS_AGAIN;
                    said = self.say_status(&client).await;
                }
                () = sleep_until(look_due), if connected => {
                    look_due = Instant::now() + STATUS_AGAIN;
                    if self.reporter.slots() != said {
                        status_due = Instant::now();
                    }
                }
                lines = self.log.next(self.boot, connected) => self.tell_log(&client, &lines),
                Ok(()) = policy.changed() => {
                    let is_allowed = policy.borrow_and_update().log.is_allowed();
                    if !is_allowed && let Some(number) = self.log.told() {
                        self.log.end(number, FORBIDDEN);
                    }
                }
                Ok(()) = changed.changed() => status_due = Instant::now(),
                Ok(()) = versions.changed() => status_due = Instant::now(),
                batch = self.next_batch(), if connected => {
                    // Only now: until here this branch may have been dropped for another one.
                    self.telemetry.sent(&batch);
                    self.say(&client, Up::Telemetry, batch.message).await;
                }
            }
        }
        polling.abort();
        answering.abort();
    }

    /// Begins anew on a new connection. Nothing else is said before the server has confirmed that it
    /// is heard here: the client sends subscriptions and messages by ways of their own, and an answer
    /// that comes before the subscription is in place is lost until the next status.
    async fn greet(&self, client: &AsyncClient) {
        let filter = Topic::all_down(&self.device.id);
        if let Err(error) = client.subscribe(filter, QoS::AtLeastOnce).await {
            tracing::error!("cannot subscribe at the server: {error}");
        }
    }

    /// The next records to be sent, once there are any.
    async fn next_batch(&self) -> Batch {
        loop {
            if let Some(batch) = self.telemetry.next_batch().await {
                return batch;
            }
            tokio::select! {
                () = self.telemetry.wait_for_records() => {}
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Sends the status, and gives what it says of the slots.
    async fn say_status(&self, client: &AsyncClient) -> Vec<SlotStatus> {
        let versions = *self.updates.versions().borrow();
        let status = self.reporter.status(versions);
        match envelope::encode(&status) {
            Ok(bytes) => self.say(client, Up::Status, bytes).await,
            Err(error) => tracing::error!("the status cannot be sent: {error}"),
        }
        status.slots
    }

    async fn say(&self, client: &AsyncClient, up: Up, bytes: Vec<u8>) {
        let topic = Topic::Up(self.device.id.clone(), up).to_string();
        let options = PublishOptions::new(QoS::AtLeastOnce);
        if let Err(error) = client.publish(topic, bytes, options).await {
            tracing::warn!("nothing can be sent to the server: {error}");
        }
    }

    /// Sends lines of the log where there is room: nothing else waits for them, and they wait for nothing.
    fn tell_log(&self, client: &AsyncClient, lines: &LogLines) {
        let Ok(bytes) = envelope::encode(lines) else { return self.log.not_sent(lines) };
        let topic = Topic::Up(self.device.id.clone(), Up::Log).to_string();
        if client.try_publish(topic, bytes, PublishOptions::new(QoS::AtMostOnce)).is_err() {
            self.log.not_sent(lines);
        }
    }

    fn hear(&self, publish: &Publish, questions: &mpsc::Sender<Question>) {
        let ask = |question| {
            if questions.try_send(question).is_err() {
                tracing::debug!("questions came faster than they are answered");
            }
        };
        let topic = String::from_utf8_lossy(&publish.topic);
        match Topic::parse(&topic) {
            Some(Topic::Down(device, Down::Assignment)) if device == self.device.id => {
                if let Some(documents) = read::<Documents>(&publish.payload)
                    && !self.updates.deliver(documents)
                {
                    tracing::debug!("documents came faster than they are verified");
                }
            }
            Some(Topic::Down(device, Down::Ack)) if device == self.device.id => {
                if let Some(ack) = read::<Ack>(&publish.payload)
                    && failpoint::pass("session.ack").is_ok()
                {
                    self.telemetry.acked(ack);
                }
            }
            Some(Topic::Down(device, Down::Ask)) if device == self.device.id => {
                if let Some(question) = read::<Ask>(&publish.payload) {
                    ask(Question::Ask(question));
                }
            }
            Some(Topic::Down(device, Down::Remind)) if device == self.device.id => {
                let held = self.updates.versions().borrow().assignment;
                if read::<Remind>(&publish.payload).is_some_and(|it| it.known_version < held) {
                    ask(Question::Remind);
                }
            }
            Some(Topic::Down(device, Down::AskLog)) if device == self.device.id => {
                if let Some(AskLog { request }) = read(&publish.payload) {
                    ask(Question::Log(request));
                }
            }
            _ => tracing::warn!("the server sent something on {topic}"),
        }
    }

    fn options(&self) -> MqttOptions {
        let device = &self.device;
        let client = device.id.to_string();
        let mut options = MqttOptions::new(client, (device.mqtt_host.clone(), device.mqtt_port));
        options
            .set_keep_alive(20)
            // Spool and journal are what lasts; a session of the broker's would only double them.
            .set_clean_start(true)
            .set_max_packet_size(Some(MESSAGE_BYTES_MAX))
            .set_connect_timeout(Duration::from_secs(10))
            .set_outgoing_inflight_upper_limit(IN_FLIGHT_MAX);
        if let Proof::Password { user, password } = &device.proof {
            options.set_credentials(user.clone(), password.reveal().as_bytes().to_vec());
        }
        options
    }
}

/// Answers questions one after the other, beside everything else that goes on.
#[derive(Clone)]
struct Answering {
    answerer: Arc<dyn Fn(&Ask) -> Answer + Send + Sync>,
    updates: Updates,
    log: Tap,
    policy: watch::Receiver<SitePolicy>,
}

impl Answering {
    async fn run(
        self,
        mut questions: mpsc::Receiver<Question>,
        answers: mpsc::Sender<(Up, Vec<u8>)>,
    ) {
        while let Some(question) = questions.recv().await {
            if let Question::Log(request) = question {
                self.begin_log(request).await;
                continue;
            }
            let this = self.clone();
            // A parser that gives up costs this answer and no more.
            let Ok(Some(answer)) = spawn_blocking(move || this.answer(&question)).await else {
                continue;
            };
            if answers.send(answer).await.is_err() {
                return;
            }
        }
    }

    /// Begins to tell lines of the log, if the director asks for them and the site lets it.
    async fn begin_log(&self, request: Vec<u8>) {
        match self.updates.log_request(request).await {
            Ok(request) if !self.policy.borrow().log.is_allowed() => {
                self.log.end(request.number(), FORBIDDEN);
            }
            Ok(request) => {
                if let Err(why) = self.log.begin(&request) {
                    tracing::warn!("the server is not told this log anew: {why}");
                }
            }
            Err(error) => self.log.end(0, &chain(error)),
        }
    }

    /// What is said, and on which topic. Reads files.
    fn answer(&self, question: &Question) -> Option<(Up, Vec<u8>)> {
        let (up, bytes) = match question {
            Question::Ask(ask) => (Up::Answer, envelope::encode(&(self.answerer)(ask))),
            Question::Remind => {
                let held = self.updates.assignment().inspect_err(|error| {
                    tracing::error!("the server asks for the assignment held here: {error}");
                });
                (Up::Reminder, envelope::encode(&Reminder { assignment: held.ok()?? }))
            }
            // Answered line by line, and not here.
            Question::Log(_) => return None,
        };
        let bytes = bytes.inspect_err(|error| tracing::error!("{up:?} cannot be sent: {error}"));
        Some((up, bytes.ok()?))
    }
}

fn read<M: Message>(payload: &[u8]) -> Option<M> {
    envelope::decode(payload)
        .inspect_err(|error| tracing::warn!("a message of the server cannot be read: {error}"))
        .ok()
}

/// How the connection is.
#[derive(Debug, Clone, Copy, Default)]
struct Link {
    /// Which connection this is, from 1.
    number: u64,
    state: State,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Down,
    /// It is there.
    Up,
    /// What the server says is heard.
    Heard,
}

/// The side of the session that keeps the connection going. It waits for nobody: whoever cannot send
/// now must not keep anything from being received, nor the connection from being made again.
struct Polling {
    end: String,
    link: watch::Sender<Link>,
    connected: watch::Sender<bool>,
    online: watch::Sender<()>,
    heard: mpsc::Sender<Publish>,
    pace: Pace,
    proof: Proof,
    /// Which start of the device this is.
    boot: u64,
    /// Attempts at a connection since then.
    attempts: u64,
    /// Whether it has been said that another agent uses the same name.
    shared: bool,
    /// Whether it has been said that the server does not let this device in.
    refused: bool,
}

impl Polling {
    async fn run(mut self, mut events: EventLoop) {
        let mut left = 0_u64;
        self.prepare(&mut events.options).await;
        loop {
            let event = match events.poll().await {
                Ok(event) => event,
                Err(error) => {
                    let pause = self.broken(&error);
                    sleep(pause).await;
                    self.prepare(&mut events.options).await;
                    continue;
                }
            };
            if self.pace.lasts(Instant::now()) {
                self.arrived();
            }
            match event {
                Event::Incoming(Packet::ConnAck(_)) => self.made(),
                Event::Incoming(Packet::SubAck(ack)) => self.subscribed(&ack),
                Event::Incoming(Packet::Publish(publish)) => match self.heard.try_send(publish) {
                    Ok(()) if left > 0 => {
                        tracing::warn!("{left} messages of the server came too fast and were left");
                        left = 0;
                    }
                    Ok(()) => {}
                    Err(TrySendError::Full(_)) => left += 1,
                    Err(TrySendError::Closed(_)) => return,
                },
                Event::Incoming(_) | Event::Outgoing(_) | Event::Auth(_) => {}
            }
        }
    }

    /// Has the next connection show the newest certificate, once there is one, and say which connection of
    /// which start it is: of two devices with one key, one says what the other has said before.
    async fn prepare(&mut self, options: &mut MqttOptions) {
        let Proof::Key(identity) = &self.proof else { return };
        let config = identity.certified().await;
        self.attempts += 1;
        let start = Mark { boot: self.boot, session: self.attempts };
        options
            .set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(config)))
            .set_user_properties(vec![(Mark::PROPERTY.to_owned(), start.to_string())]);
    }

    fn made(&mut self) {
        if let Proof::Key(identity) = &self.proof {
            identity.was_let_in();
        }
        self.connected.send_replace(true);
        self.link.send_modify(|link| *link = Link { number: link.number + 1, state: State::Up });
        if self.pace.made(Instant::now()) {
            self.arrived();
        }
    }

    fn subscribed(&self, ack: &SubAck) {
        let refused = |code: &SubscribeReasonCode| !matches!(code, SubscribeReasonCode::Success(_));
        if let Some(code) = ack.return_codes.iter().find(|code| refused(code)) {
            tracing::error!("the server does not let this device hear what it is told: {code:?}");
        }
        self.link.send_modify(|link| link.state = State::Heard);
    }

    fn arrived(&mut self) {
        tracing::info!("connected to the server at {}", self.end);
        self.shared = false;
        self.refused = false;
        self.online.send_replace(());
    }

    /// Returns the pause before the next attempt.
    fn broken(&mut self, error: &ConnectionError) -> Duration {
        self.connected.send_replace(false);
        self.link.send_modify(|link| link.state = State::Down);
        let (is_news, pause) = self.pace.broken(Instant::now());
        let end = &self.end;
        if is_taken_over(error) && !std::mem::replace(&mut self.shared, true) {
            tracing::warn!(
                "another agent has taken over the connection to the server at {end}: was the folder \
                 of this device copied to another one?"
            );
        } else if is_refused(error) {
            let is_said = std::mem::replace(&mut self.refused, true);
            match &self.proof {
                // Why is what the server says to who asks it for another certificate.
                Proof::Key(identity) => {
                    identity.was_not_believed();
                    if !is_said {
                        tracing::warn!(
                            "the server at {end} does not let this device in; all goes on without it"
                        );
                    }
                }
                Proof::Password { .. } if is_said => {}
                Proof::Password { .. } => tracing::error!(
                    "the server at {end} does not let this device in: it was given a new password or \
                     removed there; next, at the desk: `lineside device reissue` or `device add`, and \
                     bring the new device.toml here. All goes on without the server"
                ),
            }
        } else if is_news {
            tracing::warn!("the server at {end} is away ({error}); all goes on without it");
        }
        pause
    }
}

fn is_refused(error: &ConnectionError) -> bool {
    use ConnectReturnCode::{BadUserNamePassword, NotAuthorized};
    matches!(error, ConnectionError::ConnectionRefused(BadUserNamePassword | NotAuthorized))
        || in_tls(error).is_some_and(is_unbelieved)
}

/// What TLS has said no about. Of what comes first on a connection, rumqttc does not tell the cause as one.
fn in_tls(error: &ConnectionError) -> Option<&rustls::Error> {
    match error {
        ConnectionError::MqttState(StateError::Deserialization(mqttbytes::Error::Io(error))) => {
            tls_error(error)
        }
        error => tls_error(error),
    }
}

fn is_taken_over(error: &ConnectionError) -> bool {
    let ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) = error else {
        return false;
    };
    *reason_code == DisconnectReasonCode::SessionTakenOver
}
