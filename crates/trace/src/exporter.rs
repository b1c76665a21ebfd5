//! `Span -> collector`: a thread that tells what has ended.

use crate::context::Context;
use crate::otlp::message;
use crate::span::{Ended, Kind, Span};
use ring::rand::{SecureRandom, SystemRandom};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use ureq::Agent;
use ureq::http::Uri;

/// Spans that wait; beyond it new ones are dropped.
pub const WAITING_MAX: usize = 2048;
/// Spans in a message.
const MESSAGE_SPANS_MAX: usize = 512;
/// How long the first of a message waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long a collector that was away is left alone.
const AWAY: Duration = Duration::from_secs(5);
/// Longest time for a message.
const TELL_MAX: Duration = Duration::from_secs(10);

/// Why spans cannot be told where somebody wants them to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is no collector on this machine: write its address as in http://127.0.0.1:4318, and have one \
     here pass spans on to others"
)]
pub struct NoCollector(String);

/// Makes spans.
#[derive(Debug, Clone, Default)]
pub struct Tracer {
    /// None where nothing is traced.
    shared: Option<Arc<Shared>>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    random: SystemRandom,
    ended: SyncSender<Ended>,
    dropped: AtomicU64,
}

impl Shared {
    pub(crate) fn take(&self, span: Ended) {
        if self.ended.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Identifiers; none without chance.
    fn context(&self, parent: Option<Context>) -> Option<Context> {
        let mut context = Context { trace: [0; 16], span: [0; 8] };
        self.random.fill(&mut context.span).ok()?;
        match parent {
            Some(parent) => context.trace = parent.trace,
            None => self.random.fill(&mut context.trace).ok()?,
        }
        Some(context)
    }
}

impl Tracer {
    /// Traces nothing.
    pub fn off() -> Tracer {
        Tracer::default()
    }

    /// Tells the collector at `endpoint`, of a program that says this of itself (as in `service.name`).
    ///
    /// # Errors
    /// [`NoCollector`] if that is no address of this machine: what spans say is read by whoever hears it.
    pub fn to(
        endpoint: &str,
        resource: Vec<(&'static str, String)>,
    ) -> Result<Tracer, NoCollector> {
        let url = collector(endpoint)?;
        let (sender, ended) = sync_channel(WAITING_MAX);
        let (random, dropped) = (SystemRandom::new(), AtomicU64::new(0));
        let shared = Arc::new(Shared { random, ended: sender, dropped });
        let told = Arc::downgrade(&shared);
        let count = move || told.upgrade().map_or(0, |it| it.dropped.swap(0, Ordering::Relaxed));
        let thread = std::thread::Builder::new().name("traces".into());
        let spawned = thread.spawn(move || Telling { url, resource, ended }.run(count));
        if let Err(error) = spawned {
            tracing::warn!("nothing is traced: no thread could be started: {error}");
            return Ok(Tracer::off());
        }
        Ok(Tracer { shared: Some(shared) })
    }

    /// Whether nothing is traced.
    pub fn is_off(&self) -> bool {
        self.shared.is_none()
    }

    /// Begins a span within another one, or one that begins a trace.
    pub fn begin(&self, name: &str, kind: Kind, parent: Option<Context>) -> Span {
        let open = self.shared.as_ref().and_then(|it| Some((it, it.context(parent)?)));
        match open {
            Some((shared, context)) => Span::new(shared, context, parent, name, kind),
            None => Span::off(),
        }
    }
}

/// Where a collector takes traces.
fn collector(endpoint: &str) -> Result<String, NoCollector> {
    let none = || NoCollector(endpoint.to_owned());
    let uri: Uri = endpoint.parse().map_err(|_| none())?;
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|it| it.is_loopback());
    let is_plain = !uri.authority().is_some_and(|it| it.as_str().contains('@'));
    if uri.scheme_str() != Some("http") || !is_here || !is_plain {
        return Err(none());
    }
    Ok(match uri.path() {
        "" | "/" => format!("{}/v1/traces", endpoint.trim_end_matches('/')),
        _ => endpoint.to_owned(),
    })
}

/// What the thread has.
struct Telling {
    url: String,
    resource: Vec<(&'static str, String)>,
    ended: Receiver<Ended>,
}

impl Telling {
    /// Until nobody traces any longer.
    fn run(self, dropped: impl Fn() -> u64) {
        let agent = Agent::config_builder()
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(TELL_MAX))
            .build()
            .new_agent();
        let mut is_away = false;
        while let Some(spans) = self.gather() {
            let message = message(&self.resource, &spans);
            // Those behind it wait meanwhile.
            while let Err(problem) = self.tell(&agent, &message) {
                if !is_away {
                    tracing::warn!("spans wait: the collector at {} {problem}", self.url);
                }
                is_away = true;
                std::thread::sleep(AWAY);
            }
            is_away = false;
            match dropped() {
                0 => {}
                count => tracing::warn!("{count} spans were dropped: {WAITING_MAX} wait at most"),
            }
        }
    }

    /// The next spans; none once nobody traces.
    fn gather(&self) -> Option<Vec<Ended>> {
        let mut spans = vec![self.ended.recv().ok()?];
        let until = Instant::now() + GATHER;
        while spans.len() < MESSAGE_SPANS_MAX {
            match self.ended.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(span) => spans.push(span),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        Some(spans)
    }

    /// Tells a message. What a collector refuses, or has no use for, it is not told again.
    fn tell(&self, agent: &Agent, message: &[u8]) -> Result<(), String> {
        let request = agent.post(&self.url).header("content-type", "application/json");
        match request.send(message) {
            Ok(_) => Ok(()),
            Err(ureq::Error::StatusCode(status @ (429 | 502..=504))) => {
                Err(format!("answers {status}"))
            }
            Err(ureq::Error::StatusCode(status)) => {
                tracing::warn!("spans are lost: the collector at {} answers {status}", self.url);
                Ok(())
            }
            Err(error) => Err(format!("does not answer: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value as Json;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc::channel;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Listens as a collector: answers each message with the next of these, and hands on what it took.
    fn collect(listener: TcpListener, answers: Vec<&'static str>) -> Receiver<(String, Json)> {
        let (sender, told) = channel();
        std::thread::spawn(move || {
            for (stream, answer) in listener.incoming().zip(answers) {
                let stream = stream.unwrap();
                let mut reader = BufReader::new(&stream);
                let (mut first, mut length) = (String::new(), 0);
                reader.read_line(&mut first).unwrap();
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    let Some((name, value)) = line.trim().split_once(": ") else { break };
                    if name.eq_ignore_ascii_case("content-length") {
                        length = value.parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let answer = format!(
                    "HTTP/1.1 {answer}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
                );
                (&stream).write_all(answer.as_bytes()).unwrap();
                sender.send((first, serde_json::from_slice(&body).unwrap())).unwrap();
            }
        });
        told
    }

    fn spans(told: &Json) -> &Vec<Json> {
        told["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap()
    }

    #[test]
    fn what_has_ended_is_told_once_with_what_it_was_a_part_of() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let told = collect(
            listener,
            vec!["503 Service Unavailable", "200 OK", "400 Bad Request", "200 OK"],
        );
        let tracer = Tracer::to(&endpoint, vec![("service.name", "test".into())]).unwrap();
        let request = tracer.begin("request", Kind::Server, None);
        let mut decision = tracer.begin("decision", Kind::Internal, request.context());
        decision.set("lineside.device", "line-3");
        decision.fail("no such release");
        drop(decision);
        drop(request);
        // A collector that is not ready is told the same again; one that wants none of it is not.
        let (first, refused) = told.recv_timeout(PATIENCE).unwrap();
        assert_eq!(first.trim_end(), "POST /v1/traces HTTP/1.1");
        let (_, again) = told.recv_timeout(PATIENCE).unwrap();
        assert_eq!(refused, again);
        let [decision, request] = &**spans(&again) else { panic!("{again}") };
        assert_eq!((&decision["name"], &request["name"]), (&"decision".into(), &"request".into()));
        assert_eq!(
            (&decision["traceId"], &decision["parentSpanId"]),
            (&request["traceId"], &request["spanId"])
        );
        assert_eq!(decision["status"]["message"], "no such release");
        let time = |span: &Json, key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
        assert!(time(request, "startTimeUnixNano") <= time(decision, "startTimeUnixNano"));
        assert!(time(decision, "endTimeUnixNano") <= time(request, "endTimeUnixNano"));

        drop(tracer.begin("lost", Kind::Internal, None));
        assert_eq!(spans(&told.recv_timeout(PATIENCE).unwrap().1)[0]["name"], "lost");
        drop(tracer.begin("next", Kind::Consumer, None));
        let (_, next) = told.recv_timeout(PATIENCE).unwrap();
        assert_eq!((spans(&next).len(), &spans(&next)[0]["name"]), (1, &"next".into()));
    }

    #[test]
    fn nobody_waits_for_a_collector_that_does_not_answer_and_what_is_dropped_is_counted() {
        // It takes connections and says nothing.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let tracer = Tracer::to(&endpoint, vec![]).unwrap();
        for _ in 0..3 * WAITING_MAX {
            drop(tracer.begin("span", Kind::Internal, None));
        }
        let dropped = tracer.shared.as_ref().unwrap().dropped.load(Ordering::Relaxed);
        assert!(dropped as usize >= WAITING_MAX - MESSAGE_SPANS_MAX, "{dropped}");
    }

    #[test]
    fn off_is_nothing_and_only_this_machine_is_told() {
        let span = Tracer::off().begin("nothing", Kind::Internal, None);
        assert_eq!(span.context(), None);
        for (right, url) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://localhost:4318/", "http://localhost:4318/v1/traces"),
            ("http://[::1]:1/otlp/v1/traces", "http://[::1]:1/otlp/v1/traces"),
        ] {
            assert_eq!(collector(right).as_deref(), Ok(url));
        }
        for wrong in [
            "",
            "4318",
            "https://127.0.0.1:4318",
            "http://collector.example:4318",
            "http://a@127.0.0.1:1",
        ] {
            assert!(
                collector(wrong).unwrap_err().to_string().contains("http://127.0.0.1:4318"),
                "{wrong}"
            );
        }
    }
}
