//! `Incoming -> Body`: the body of a request, taken whole within its bounds.

use super::Api;
use super::answer::Refusal;
use super::packed::{Coding, Unpacked};
use super::room::Taken;
use crate::heavy::heavily;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Bytes, Frame, Incoming};
use hyper::header::{CONTENT_ENCODING, EXPECT, HeaderMap, HeaderValue};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// How long a body may take to arrive.
const ARRIVAL_MAX: Duration = Duration::from_secs(30);
/// How far behind its pace one may be, and what that is in bytes a second.
const BEHIND_MAX: Duration = Duration::from_secs(5);
const BYTES_PER_SECOND_MIN: u32 = 64 << 10;
/// How long the rest of a body that is refused may go by.
const REST_MAX: Duration = Duration::from_secs(5);
/// How much of the body of somebody who may ask nothing may go by, in bytes, and how long.
const STRANGERS_BYTES_MAX: usize = 256 << 10;
const STRANGERS_REST_MAX: Duration = Duration::from_secs(1);
/// Bytes for which there is a place from the beginning, if so many are expected.
const EXPECTED_BYTES_MAX: usize = 64 << 10;

/// What is still to come of a request.
pub(super) struct Rest {
    body: Incoming,
    /// Whether its sender waits until somebody wants it.
    is_kept_back: bool,
}

impl Rest {
    pub(super) fn of(head: &HeaderMap, body: Incoming) -> Rest {
        let expects = head.get(EXPECT).map(HeaderValue::as_bytes);
        let is_kept_back = expects.is_some_and(|it| it.eq_ignore_ascii_case(b"100-continue"));
        Rest { body, is_kept_back }
    }

    /// The next piece, for which its sender is asked if he waits for that.
    async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        self.is_kept_back = false;
        loop {
            match self.body.frame().await?.map(Frame::into_data) {
                Ok(Ok(bytes)) => return Some(Ok(bytes)),
                // Fields behind the body say nothing here.
                Ok(Err(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Lets what is left of the body of a request that is refused go by: who sends first and listens then hears
    /// why only if the connection stays open until then. It may be up to twice what a request may have, and little
    /// of those `from` whom nothing is taken. False if more may come: then the connection is to be closed.
    pub(super) async fn pass_over(&mut self, from: Sender, bytes_max: usize) -> bool {
        if self.body.is_end_stream() {
            return true;
        }
        // Who waits for a word hears the refusal instead of it.
        if self.is_kept_back {
            return false;
        }
        let (bytes_max, time_max) = match from {
            Sender::Known => (bytes_max.saturating_mul(2), REST_MAX),
            Sender::Stranger => (STRANGERS_BYTES_MAX, STRANGERS_REST_MAX),
        };
        let rest = async {
            let mut left = bytes_max;
            while let Some(Ok(bytes)) = self.next().await {
                let Some(rest) = left.checked_sub(bytes.len()) else { return false };
                left = rest;
            }
            true
        };
        timeout(time_max, rest).await.unwrap_or(false)
    }
}

/// Who sends a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    /// Somebody who may ask.
    Known,
    /// Somebody who has shown nothing that lets him in.
    Stranger,
}

/// A body, with the room that it takes.
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    pub(super) taken: Taken,
}

impl Api {
    /// Takes a body, and unpacks it.
    pub(super) async fn body(&self, head: &HeaderMap, body: &mut Rest) -> Result<Body, Refusal> {
        let coding = coding(head)?;
        let bytes_max = self.config.body_bytes_max;
        // Who says so beforehand is told beforehand.
        if body.body.size_hint().lower() > bytes_max as u64 {
            return Err(too_large(bytes_max));
        }
        // Who brings his slowly leaves places to those who bring none, or hear why they may not.
        let arriving = self.arriving.try_acquire().map_err(|_| many_arrive())?;
        let mut taken = self.room.begin();
        let arrived = timeout(ARRIVAL_MAX, arrived(body, bytes_max, &mut taken)).await;
        drop(arriving);
        let packed = arrived.map_err(|_| too_slow())??;
        let Some(coding) = coding else { return Ok(Body { bytes: packed, taken }) };
        let mut unpacked = self.room.begin();
        let (mut left, mut is_beyond) = (bytes_max, false);
        let grow = |bytes| match left.checked_sub(bytes) {
            Some(rest) => {
                left = rest;
                unpacked.grow(bytes)
            }
            None => {
                is_beyond = true;
                false
            }
        };
        let bytes = heavily(packed.len(), || coding.unpack(&packed, grow));
        match bytes {
            Ok(bytes) => Ok(Body { bytes, taken: unpacked }),
            Err(Unpacked::TooLarge) if is_beyond => Err(too_large(bytes_max)),
            Err(Unpacked::TooLarge) => Err(no_room()),
            Err(Unpacked::Broken(why)) => {
                Err(Refusal::of(400, format!("the body is no {}: {why}", coding.name())))
            }
        }
    }
}

async fn arrived(body: &mut Rest, bytes_max: usize, taken: &mut Taken) -> Result<Vec<u8>, Refusal> {
    let expected = body.body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let mut bytes = Vec::with_capacity(expected.unwrap_or_default().min(EXPECTED_BYTES_MAX));
    let since = Instant::now();
    loop {
        let paced = Duration::from_secs(bytes.len() as u64) / BYTES_PER_SECOND_MIN;
        let next = timeout_at(since + BEHIND_MAX + paced, body.next()).await;
        let Some(data) = next.map_err(|_| too_slow())? else { return Ok(bytes) };
        let data = data.map_err(|error| Refusal::of(400, format!("the body: {error}")))?;
        if bytes.len() + data.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        if !taken.grow(data.len()) {
            return Err(no_room());
        }
        bytes.extend_from_slice(&data);
    }
}

fn too_slow() -> Refusal {
    Refusal::of(408, "the body did not arrive in time: 64 KiB a second are wanted")
}

fn many_arrive() -> Refusal {
    Refusal::of(429, "many requests are arriving already: ask again later").again_after(1)
}

/// How the body says that it is packed.
fn coding(head: &HeaderMap) -> Result<Option<Coding>, Refusal> {
    let Some(field) = head.get(CONTENT_ENCODING) else { return Ok(None) };
    let name = field.to_str().unwrap_or_default();
    match Coding::parse(name) {
        _ if name.trim().is_empty() || name.trim().eq_ignore_ascii_case("identity") => Ok(None),
        Some(coding) => Ok(Some(coding)),
        None => {
            Err(Refusal::of(415, format!("content-encoding {name:?}: gzip and deflate are known")))
        }
    }
}

fn too_large(bytes_max: usize) -> Refusal {
    Refusal::of(413, format!("the body has more than {bytes_max} bytes"))
}

pub(super) fn no_room() -> Refusal {
    Refusal::of(429, "others bring as much as can be held already: ask again later").again_after(1)
}
