use super::*;
use lineside_trust::verify_log_request;
use lineside_trust::{KeyPair, LogRequest, Root, RootSpec, sign_log_request, sign_root};
use ring::rand::SystemRandom;
use time::OffsetDateTime;
use tracing_subscriber::layer::SubscriberExt;

/// A request that the director has signed: for a minute.
fn request(number: u64, level: LogLevel, targets: &[&str]) -> TrustedLogRequest {
    let key = || KeyPair::generate(&SystemRandom::new()).unwrap();
    let (person, director) = (key(), key());
    let now = OffsetDateTime::now_utc();
    let root = RootSpec {
        version: 1,
        expires: now + MINUTE,
        root: (vec![person.public()], 1),
        releases: (vec![key().public()], 1),
        online: key().public(),
        director: director.public(),
    };
    let root = Root::pin(&sign_root(&root, &[&person])).unwrap();
    let request = LogRequest {
        device: "mill-7".parse().unwrap(),
        number,
        expires: now + 10 * MINUTE,
        level,
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
        minutes: 1,
    };
    let bytes = sign_log_request(&request, &director);
    verify_log_request(&root, &bytes, &request.device, now).unwrap()
}

/// What a connected device would send now, as if it had sent nothing for a while.
fn sent(tap: &Tap) -> Option<LogLines> {
    tap.lock().sent = None;
    tap.due(7, true, Instant::now()).0
}

/// Has a tap hear what is said.
fn heard(tap: &Tap, say: impl FnOnce()) {
    let subscriber = tracing_subscriber::registry().with(tap.clone().with_filter(tap.clone()));
    tracing::subscriber::with_default(subscriber, || {
        callsite::rebuild_interest_cache();
        say();
    });
}

fn messages(said: &LogLines) -> Vec<&str> {
    said.lines.iter().map(|line| line.message.as_str()).collect()
}

#[test]
fn only_what_was_asked_for_is_told_and_never_what_quotes_readings_or_what_libraries_say() {
    let say = || {
        tracing::error!(slot = %"line", port = "p", "broken");
        tracing::info!("here");
        tracing::debug!(target: "lineside_agent::update::slot", "there");
        tracing::debug!(target: "lineside_agent::updates", "elsewhere");
        tracing::trace!("deep");
        tracing::error!(target: "lineside_agents", "somebody like us");
        tracing::error!(target: "rumqttc", "a library");
        tracing::error!(target: OF_READINGS, "42 degrees");
    };
    let told = |level, targets: &[&str]| {
        let tap = Tap::default();
        heard(&tap, || {
            say();
            tap.begin(&request(1, level, targets)).unwrap();
            say();
        });
        let said = sent(&tap).unwrap();
        assert!(sent(&tap).is_none());
        said
    };
    let said = told(LogLevel::Error, &[]);
    assert_eq!((said.request, said.boot, messages(&said)), (1, 7, vec!["broken"]));
    assert!((50..=60).contains(&said.left_seconds) && said.ended.is_empty(), "{said:?}");
    let line = &said.lines[0];
    assert_eq!((line.level, &*line.target), (1, "lineside_agent::log::tap::tests"));
    let fields = [("slot", "line"), ("port", "p")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(line.fields, fields);
    let all = told(LogLevel::Debug, &[]);
    let own = "the server is told this log, debug and above, for 60 s";
    assert_eq!(messages(&all), [own, "broken", "here", "there", "elsewhere"]);
    assert_eq!(messages(&told(LogLevel::Debug, &["lineside_agent::update"])), ["there"]);
    assert!(messages(&told(LogLevel::Info, &["lineside_agent::update"])).is_empty());
    assert!(messages(&told(LogLevel::Debug, &["rumqttc", OF_READINGS])).is_empty());
}

#[test]
fn a_minute_has_so_many_lines_and_what_waits_so_many_bytes_and_others_are_counted() {
    let tap = Tap::default();
    let (long, count) = ("ä".repeat(MESSAGE_BYTES_MAX), 100);
    heard(&tap, || {
        tap.begin(&request(1, LogLevel::Warn, &[])).unwrap();
        for _ in 0..count {
            tracing::warn!("{long}");
        }
    });
    let said = sent(&tap).unwrap();
    assert_eq!(said.lines.len() as u64 + said.dropped, count);
    let bytes: usize = said.lines.iter().map(size).sum();
    assert!((WAITING_BYTES_MAX / 2..=WAITING_BYTES_MAX).contains(&bytes), "{bytes}");
    assert!(said.lines.iter().all(|line| line.message.len() == MESSAGE_BYTES_MAX));
    assert!(lineside_wire::envelope::encode(&said).is_ok());
    let mut told = said.lines.len() as u64;
    let mut dropped = said.dropped;
    for _ in 0..20 {
        heard(&tap, || (0..count).for_each(|number| tracing::warn!("{number}")));
        let said = sent(&tap).unwrap();
        told += said.lines.len() as u64;
        dropped += said.dropped;
    }
    assert_eq!(told + dropped, 21 * count);
    // Those that found no place among what waited had been counted into the minute.
    assert!(told <= LINES_A_MINUTE && told > LINES_A_MINUTE - count, "{told}");
    tap.lock().open.as_mut().unwrap().minute.began -= MINUTE;
    heard(&tap, || tracing::warn!("the next minute"));
    assert_eq!(messages(&sent(&tap).unwrap()), ["the next minute"]);
}

#[test]
fn with_the_time_it_ends_by_itself_and_the_same_request_does_not_begin_again() {
    let tap = Tap::default();
    heard(&tap, || {
        tap.begin(&request(5, LogLevel::Warn, &[])).unwrap();
        // That it was heard is told before there are any lines.
        assert!(sent(&tap).unwrap().lines.is_empty());
        tracing::warn!("the last");
        let later = Instant::now() + MINUTE;
        let (said, due) = tap.due(7, true, later);
        let said = said.unwrap();
        assert_eq!((messages(&said), said.left_seconds, due), (vec!["the last"], 0, None));
        assert_eq!(said.ended, "the time is over");
        tap.begin(&request(5, LogLevel::Warn, &[])).unwrap();
        assert!(tap.begin(&request(4, LogLevel::Warn, &[])).unwrap_err().contains("older"));
        tracing::warn!("nobody hears it");
        assert!(tap.told().is_none() && sent(&tap).is_none());
        tap.begin(&request(6, LogLevel::Warn, &[])).unwrap();
        assert_eq!(tap.told(), Some(6));
        tap.lock().open.as_mut().unwrap().until = Instant::now();
        tracing::warn!("too late, though nobody has looked at the time yet");
        assert!(messages(&sent(&tap).unwrap()).is_empty());
    });
}

#[test]
fn without_a_connection_nothing_is_told_and_the_time_is_over_all_the_same() {
    let tap = Tap::default();
    heard(&tap, || {
        tap.begin(&request(1, LogLevel::Warn, &[])).unwrap();
        tracing::warn!("it waits");
        let (said, due) = tap.due(7, false, Instant::now());
        assert!(said.is_none() && due.is_some());
        let said = sent(&tap).unwrap();
        assert_eq!(messages(&said), ["it waits"]);
        // What the client had no room for is counted.
        tap.not_sent(&said);
        assert_eq!(sent(&tap).unwrap().dropped, 1);
        assert_eq!(tap.due(7, false, Instant::now() + MINUTE), (None, None));
        assert!(tap.told().is_none());
    });
}

#[test]
fn why_nothing_is_told_is_told_once_and_a_request_that_cannot_be_read_ends_no_other() {
    let tap = Tap::default();
    heard(&tap, || {
        tap.begin(&request(3, LogLevel::Error, &[])).unwrap();
        tap.end(0, "who is that?");
        let said = sent(&tap).unwrap();
        assert_eq!((said.request, &*said.ended), (0, "who is that?"));
        assert_eq!(tap.told(), Some(3));
        tap.end(3, "the site forbids it");
        let said = sent(&tap).unwrap();
        assert_eq!((said.request, &*said.ended, tap.told()), (3, "the site forbids it", None));
        assert!(sent(&tap).is_none());
        tap.begin(&request(3, LogLevel::Error, &[])).unwrap();
        assert!(tap.told().is_none());
    });
}
