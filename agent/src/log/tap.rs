//! What of the log is told to the server where it has asked: which lines, for how long, and how many at most.
//!
//! Nobody waits for it: a line that finds no place is counted and gone. Nothing of it is on disk, and it ends
//! with the time that was asked for, with the site's leave, or with the agent.

use crate::clock::now_unix_ms;
use crate::log::OF_READINGS;
use lineside_trust::TrustedLogRequest;
use lineside_wire::v1::{LOG_FIELDS_MAX, LOG_LINES_MAX, LogLevel, LogLine, LogLines};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber, callsite};
use tracing_subscriber::layer::{Context, Filter, Layer};

/// Lines of a minute. Of others nothing but their count is told.
const LINES_A_MINUTE: u64 = 600;
/// Bytes of the lines of a minute.
const BYTES_A_MINUTE: usize = 256 << 10;
/// Bytes that wait to be sent; one message has no more.
const WAITING_BYTES_MAX: usize = 64 << 10;
/// Longest message of a line, in bytes.
const MESSAGE_BYTES_MAX: usize = 2_000;
/// Longest name or value of a field, in bytes.
const FIELD_BYTES_MAX: usize = 200;
/// How often lines are sent.
const SEND_EVERY: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// What says lines that may be told: this program. What others of its libraries say nobody knows.
const OWN: &str = "lineside_agent";
/// What a line takes besides its texts, in bytes.
const LINE_BYTES: usize = 24;

/// What is told of the log. Clones are the same one.
#[derive(Clone, Default)]
pub struct Tap(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    /// The number of the last request that was taken.
    last: u64,
    open: Option<Open>,
    /// What is said of a request that was not taken, or is not any longer.
    ended: Option<(u64, String)>,
    sent: Option<Instant>,
}

/// A request that lines are told for.
struct Open {
    number: u64,
    level: LogLevel,
    targets: Vec<String>,
    until: Instant,
    /// Whether the server knows that it was heard.
    greeted: bool,
    lines: VecDeque<LogLine>,
    bytes: usize,
    dropped: u64,
    minute: Minute,
}

/// What was told in the minute that began last.
struct Minute {
    began: Instant,
    lines: u64,
    bytes: usize,
}

impl Tap {
    /// Begins to tell what was asked for, in the place of what was asked before. The same again changes nothing.
    ///
    /// # Errors
    /// A sentence, if it is older than what was asked last.
    pub fn begin(&self, request: &TrustedLogRequest) -> Result<(), String> {
        {
            let mut state = self.lock();
            let (number, last) = (request.number(), state.last);
            if number == last {
                return Ok(());
            }
            if number < last {
                return Err(format!("request {number} is older than request {last}"));
            }
            let now = Instant::now();
            state.last = number;
            state.ended = None;
            state.open = Some(Open {
                number,
                level: request.level(),
                targets: request.targets().to_vec(),
                until: now + request.span(),
                greeted: false,
                lines: VecDeque::new(),
                bytes: 0,
                dropped: 0,
                minute: Minute { began: now, lines: 0, bytes: 0 },
            });
        }
        callsite::rebuild_interest_cache();
        tracing::info!(
            "the server is told this log, {} and above, for {} s",
            request.level(),
            request.span().as_secs()
        );
        self.0.news.notify_one();
        Ok(())
    }

    /// Ends what is told, and says why. Number 0 stands for a request that could not be read.
    pub fn end(&self, number: u64, why: &str) {
        {
            let mut state = self.lock();
            if number != 0 {
                state.open = None;
                state.last = state.last.max(number);
            }
            state.ended = Some((number, why.to_owned()));
        }
        callsite::rebuild_interest_cache();
        tracing::warn!("the server is not told this log: {why}");
        self.0.news.notify_one();
    }

    /// The number of the request for which lines are told; none where none are.
    pub fn told(&self) -> Option<u64> {
        self.lock().open.as_ref().map(|open| open.number)
    }

    /// What is to be told next in the device's start `boot`, once there is anything. Whoever gives up waiting
    /// loses nothing. Without a connection only the end of the time is waited for, and for ever where nothing
    /// is told.
    pub async fn next(&self, boot: u64, is_connected: bool) -> LogLines {
        loop {
            let (said, due) = self.due(boot, is_connected, Instant::now());
            if let Some(said) = said {
                return said;
            }
            let over = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.0.news.notified() => {}
                () = over => {}
            }
        }
    }

    /// What is to be told now, or else when to look again.
    fn due(
        &self,
        boot: u64,
        is_connected: bool,
        now: Instant,
    ) -> (Option<LogLines>, Option<Instant>) {
        let mut state = self.lock();
        let is_over = state.open.as_ref().is_some_and(|open| open.until <= now);
        if is_over && let Some(mut open) = state.open.take() {
            let mut said = open.take(boot, now);
            said.ended = "the time is over".to_owned();
            state.sent = Some(now);
            drop(state);
            callsite::rebuild_interest_cache();
            tracing::info!("the server is told this log no longer: the time is over");
            return (Some(said).filter(|_| is_connected), None);
        }
        let until = state.open.as_ref().map(|open| open.until);
        if !is_connected {
            return (None, until);
        }
        let pause = state.sent.map(|sent| sent + SEND_EVERY).filter(|next| *next > now);
        let waits = state.ended.is_some() || state.open.as_ref().is_some_and(Open::has_news);
        if !waits {
            return (None, until);
        }
        if let Some(pause) = pause {
            return (None, Some(until.map_or(pause, |until| until.min(pause))));
        }
        state.sent = Some(now);
        if let Some((request, ended)) = state.ended.take() {
            let (lines, dropped, left_seconds) = (Vec::new(), 0, 0);
            let said = LogLines { request, boot, lines, dropped, left_seconds, ended };
            return (Some(said), None);
        }
        (state.open.as_mut().map(|open| open.take(boot, now)), None)
    }

    /// Counts lines of a message that could not be sent.
    pub fn not_sent(&self, said: &LogLines) {
        let mut state = self.lock();
        if let Some(open) = state.open.as_mut().filter(|open| open.number == said.request) {
            open.dropped += said.dropped + said.lines.len() as u64;
            open.greeted = false;
        }
    }

    /// Whether lines of this place are told.
    fn wants(&self, said: &Metadata<'_>) -> bool {
        self.lock().open.as_ref().is_some_and(|open| open.wants(said))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panic leaves is a line more or less.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn wants(&self, said: &Metadata<'_>) -> bool {
        let target = said.target();
        let is_within = |part: &str| {
            target.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        said.is_event()
            && level(said.level()).is_some_and(|level| level <= self.level)
            && is_within(OWN)
            && !is_within(OF_READINGS)
            && (self.targets.is_empty() || self.targets.iter().any(|part| is_within(part)))
    }

    /// Counts a line that is about to be told. Whether there is room for it.
    fn counts(&mut self, now: Instant) -> bool {
        if now >= self.minute.began + MINUTE {
            self.minute = Minute { began: now, lines: 0, bytes: 0 };
        }
        let minute = &mut self.minute;
        let has_room = minute.lines < LINES_A_MINUTE && minute.bytes < BYTES_A_MINUTE;
        minute.lines += u64::from(has_room);
        self.dropped += u64::from(!has_room);
        has_room
    }

    fn keep(&mut self, line: LogLine) {
        let bytes = size(&line);
        if self.lines.len() >= LOG_LINES_MAX || self.bytes + bytes > WAITING_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        self.bytes += bytes;
        self.minute.bytes += bytes;
        self.lines.push_back(line);
    }

    fn has_news(&self) -> bool {
        !self.greeted || !self.lines.is_empty() || self.dropped > 0
    }

    fn take(&mut self, boot: u64, now: Instant) -> LogLines {
        self.greeted = true;
        self.bytes = 0;
        let left = self.until.saturating_duration_since(now).as_secs_f64().ceil();
        LogLines {
            request: self.number,
            boot,
            lines: self.lines.drain(..).collect(),
            dropped: std::mem::take(&mut self.dropped),
            left_seconds: left as u32,
            ended: String::new(),
        }
    }
}

/// What a line takes, in bytes.
fn size(line: &LogLine) -> usize {
    let fields = line.fields.iter().map(|(name, text)| LINE_BYTES + name.len() + text.len());
    LINE_BYTES + line.target.len() + line.message.len() + fields.sum::<usize>()
}

/// A level as it is told; none for what is never told.
fn level(level: &Level) -> Option<LogLevel> {
    match *level {
        Level::ERROR => Some(LogLevel::Error),
        Level::WARN => Some(LogLevel::Warn),
        Level::INFO => Some(LogLevel::Info),
        Level::DEBUG => Some(LogLevel::Debug),
        _ => None,
    }
}

/// Has only those places come by that are asked for: while nobody asks it costs nothing.
impl<S> Filter<S> for Tap {
    fn enabled(&self, said: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.wants(said)
    }

    fn callsite_enabled(&self, said: &'static Metadata<'static>) -> Interest {
        if self.wants(said) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.lock().open.as_ref().map(|open| open.level) {
            None => LevelFilter::OFF,
            Some(LogLevel::Error) => LevelFilter::ERROR,
            Some(LogLevel::Warn) => LevelFilter::WARN,
            Some(LogLevel::Info) => LevelFilter::INFO,
            Some(LogLevel::Debug) => LevelFilter::DEBUG,
        })
    }
}

impl<S: Subscriber> Layer<S> for Tap {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (said, now) = (event.metadata(), Instant::now());
        let counted = |open: &mut Open| open.until > now && open.wants(said) && open.counts(now);
        if !self.lock().open.as_mut().is_some_and(counted) {
            return;
        }
        // Written without the lock: what is shown may say something itself.
        let mut words = Words::default();
        event.record(&mut words);
        let line = LogLine {
            at_unix_ms: now_unix_ms(),
            level: level(said.level()).map_or(0, LogLevel::code),
            target: said.target().to_owned(),
            message: words.message,
            fields: words.fields,
        };
        if let Some(open) = self.lock().open.as_mut() {
            open.keep(line);
        }
        self.0.news.notify_one();
    }
}

/// What a line says, in words.
#[derive(Default)]
struct Words {
    message: String,
    fields: Vec<(String, String)>,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = cut(format!("{value:?}"), MESSAGE_BYTES_MAX);
        } else if self.fields.len() < LOG_FIELDS_MAX {
            let text = cut(format!("{value:?}"), FIELD_BYTES_MAX);
            self.fields.push((cut(field.name().to_owned(), FIELD_BYTES_MAX), text));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

#[cfg(test)]
mod tests;
