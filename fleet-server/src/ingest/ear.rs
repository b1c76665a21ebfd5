//! Hears what devices say, one message at a time.

use crate::bounds::WAITING_BYTES_MAX;
use crate::error::{Error, chain};
use crate::fleet::Fleet;
use crate::ingest::twins::Twins;
use crate::quiet::Quiet;
use crate::store::unix_ms;
use crate::traces::during;
use lineside_trace::Kind;
use lineside_wire::envelope::decode;
use lineside_wire::name::DeviceId;
use lineside_wire::topic::{Down, Up};
use lineside_wire::v1::{Answer, LogLines, Reminder, Status};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use time::OffsetDateTime;
use tokio::sync::Mutex;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It was taken, whatever was in it.
    Taken,
    /// It was not looked at; the device says it again.
    NotNow(&'static str),
}

/// Takes turns among devices: each waits with one message until those that came before are done.
/// So a device that says a lot waits longer and nobody else does, and people's own changes wait
/// for one message, not for all of them.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    pub(super) turn: Mutex<()>,
    waiting_bytes: AtomicUsize,
    pub(super) closed: AtomicBool,
    pub(super) quiet: Quiet,
    /// Agents that share a name.
    pub twins: Twins,
}

impl Ear {
    /// Takes a message when its turn has come. Whatever is wrong with it, the next one is heard.
    pub async fn hear(&self, fleet: &Fleet, device: &DeviceId, up: Up, payload: &[u8]) -> Heard {
        let Some(_waiting) = Waiting::with(&self.waiting_bytes, payload.len()) else {
            return Heard::NotNow("too many messages wait to be stored");
        };
        let mut span = fleet.traces.begin("message", Kind::Consumer, None);
        span.set("lineside.device", device.as_str());
        span.set("lineside.topic", &*format!("{up:?}").to_lowercase());
        span.set("messaging.message.body.size", payload.len() as i64);
        let _turn = self.turn.lock().await;
        if self.closed.load(Ordering::Acquire) {
            return Heard::NotNow("the server is stopping");
        }
        let now = OffsetDateTime::now_utc();
        let taken = during(&span, async {
            match up {
                Up::Status => take_status(fleet, device, payload, now).await,
                Up::Answer => take_answer(fleet, device, payload).await,
                Up::Reminder => take_reminder(fleet, device, payload, now).await,
                Up::Log => take_log(fleet, device, payload).await,
                Up::Telemetry => take_telemetry(fleet, device, payload, now).await,
            }
        });
        if let Err(error) = taken.await {
            span.fail(&chain(&error));
            if let Error::Database(cause) = &error {
                fleet.store.failed(cause);
            }
            // One line for all devices: what fails here fails for each of them.
            if let Some(more) = self.quiet.may_say("", Instant::now()) {
                tracing::error!("{device}: {up:?} was not taken: {}{more}", chain(&error));
            }
        }
        Heard::Taken
    }

    /// Ends the message that is under way and hears no further ones.
    pub async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        drop(self.turn.lock().await);
    }
}

/// Bytes that wait, counted for as long as they do.
struct Waiting<'a> {
    all: &'a AtomicUsize,
    bytes: usize,
}

impl Waiting<'_> {
    fn with(all: &AtomicUsize, bytes: usize) -> Option<Waiting<'_>> {
        let waiting = Waiting { all, bytes };
        let before = all.fetch_add(bytes, Ordering::AcqRel);
        (before.saturating_add(bytes) <= WAITING_BYTES_MAX).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

async fn take_status(
    fleet: &Fleet,
    device: &DeviceId,
    payload: &[u8],
    now: OffsetDateTime,
) -> Result<(), Error> {
    let status: Status = match decode(payload) {
        Ok(status) => status,
        Err(error) => return unreadable(fleet, device, "status", &error.to_string()).await,
    };
    fleet.ear.twins.hear(device, status.boot, Instant::now());
    fleet.clock.hear(status.wall_clock_unix_ms, now);
    fleet.registry.heard(device, &status, unix_ms(now), now).await?;
    let heeded = fleet.heed(device).await;
    said(fleet, device, "rollouts did not hear of it", heeded)?;
    fleet.ask_log_again(device, status.boot, now).await;
    let attended = fleet.attend(device, now).await;
    said(fleet, device, "what it lacks was not sent", attended)
}

pub(super) async fn take_reminder(
    fleet: &Fleet,
    device: &DeviceId,
    payload: &[u8],
    now: OffsetDateTime,
) -> Result<(), Error> {
    let reminder: Reminder = match decode(payload) {
        Ok(reminder) => reminder,
        Err(error) => return unreadable(fleet, device, "reminder", &error.to_string()).await,
    };
    let taken = fleet.take_reminder(device, reminder, now).await;
    said(fleet, device, "the assignment that it shows does not count", taken)
}

/// Says what did not come of a message that was taken. What the database has to say is an error.
fn said(
    fleet: &Fleet,
    device: &DeviceId,
    what: &str,
    done: Result<(), Error>,
) -> Result<(), Error> {
    match done {
        Ok(()) => Ok(()),
        Err(error @ Error::Database(_)) => Err(error),
        Err(error) => {
            if let Some(more) = fleet.ear.quiet.may_say(device.as_str(), Instant::now()) {
                tracing::warn!("{device}: {what}: {}{more}", chain(&error));
            }
            Ok(())
        }
    }
}

async fn take_answer(fleet: &Fleet, device: &DeviceId, payload: &[u8]) -> Result<(), Error> {
    let answer: Answer = match decode(payload) {
        Ok(answer) => answer,
        Err(error) => return unreadable(fleet, device, "answer", &error.to_string()).await,
    };
    fleet.questions.answer(device, answer, payload.len());
    Ok(())
}

async fn take_log(fleet: &Fleet, device: &DeviceId, payload: &[u8]) -> Result<(), Error> {
    match decode::<LogLines>(payload) {
        Ok(said) => fleet.logs.take(device, said),
        Err(error) => return unreadable(fleet, device, "log", &error.to_string()).await,
    }
    Ok(())
}

async fn take_telemetry(
    fleet: &Fleet,
    device: &DeviceId,
    payload: &[u8],
    now: OffsetDateTime,
) -> Result<(), Error> {
    let (_, acks) = fleet.telemetry.take(fleet, device, payload, now).await?;
    for ack in acks {
        fleet.link.send(device, Down::Ack, &ack).await;
    }
    let heeded = fleet.heed(device).await;
    said(fleet, device, "rollouts did not hear of it", heeded)
}

/// Counts a message that cannot be read, and says why.
pub(super) async fn unreadable(
    fleet: &Fleet,
    device: &DeviceId,
    what: &str,
    problem: &str,
) -> Result<(), Error> {
    fleet.registry.unreadable(device).await?;
    if let Some(more) = fleet.ear.quiet.may_say(device.as_str(), Instant::now()) {
        tracing::warn!("{device}: {what} cannot be read: {problem}{more}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_in_bytes_and_leaves_room_when_it_is_done() {
        let all = AtomicUsize::new(0);
        let first = Waiting::with(&all, WAITING_BYTES_MAX - 10).unwrap();
        let second = Waiting::with(&all, 10).unwrap();
        assert!(Waiting::with(&all, 1).is_none());
        drop(second);
        assert!(Waiting::with(&all, 10).is_some());
        drop(first);
        assert_eq!(all.into_inner(), 0);
    }
}
