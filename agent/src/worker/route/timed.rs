//! What a slot owes where its release cuts readings by their time: a frame accounts for readings of each of
//! its key's streams, up to the first that belongs to a later frame.

use super::streams::Stream;
use super::{Failure, Feed, More, Route, Settled, WrongOutcome};
use lineside_bundle::TimeCut;
use lineside_runtime::{FrameOutcome, Reading, Span};
use std::time::Duration;

impl Route {
    /// As [`Route::settle`], of a release that cuts by time.
    ///
    /// A frame is new as long as one of its own readings is owed; what came late for it is accounted for
    /// by the frame in which it came.
    pub(super) fn settle_timed(
        &mut self,
        cut: TimeCut,
        feed: &Feed,
        outcome: FrameOutcome,
    ) -> Result<Vec<Settled>, WrongOutcome> {
        let FrameOutcome {
            key,
            frame,
            first,
            last,
            spans,
            unused,
            time_unix_ns,
            elapsed,
            result,
            instead,
            said: _,
        } = outcome;
        let wrong = || WrongOutcome { key: key.clone(), frame, first, last };
        let is_one = spans.is_empty();
        let spans = if is_one { vec![(key.clone(), Span { first, last })] } else { spans };
        let is_empty = |span: &Span| span.first == span.last.wrapping_add(1);
        let ends = spans.iter().all(|(_, span)| is_empty(span));
        let mut is_new = false;
        for (stream, span) in &spans {
            let state = self.stream(stream).ok_or_else(wrong)?;
            let sent = feed.next(stream);
            if ends {
                // What the end of a stream brings stands behind its last reading.
                let ended_at = self.streams.get_mut(stream).map(|stream| &mut stream.ended_at);
                let again = ended_at.is_some_and(|at| at.replace(span.first) == Some(span.first));
                if span.first > sent {
                    return Err(wrong());
                }
                is_new |= !again && span.first >= state.accounted;
                continue;
            }
            if span.first > span.last || span.last >= sent {
                return Err(wrong());
            }
            // What was accounted for while it warmed up it need not have seen whole.
            for reading in self.readings(stream, span.first.max(state.accounted), span.last) {
                let of = cut.frame(reading.time_unix_ns);
                if of.is_some_and(|of| of > frame) {
                    return Err(wrong());
                }
                is_new |= of == Some(frame);
            }
        }
        if !is_new {
            return Ok(vec![]);
        }
        let mut settled = Vec::new();
        let mut accounted = Vec::new();
        for (stream, span) in spans {
            let from = self.stream(&stream).map_or(0, |state| state.accounted);
            if !ends && span.first > from {
                let text = "readings before it had been dropped";
                settled.extend(self.gap(&stream, span.first, "gap", text));
            }
            let first = span.first.max(from);
            if ends || first <= span.last {
                let inputs = self.inputs(&stream, first, span.last);
                accounted.push((stream, Span { first, last: span.last }, inputs));
            }
        }
        if !ends {
            for (stream, span, _) in &accounted {
                self.account(stream, span.last + 1);
            }
        }
        let mut accounted = accounted.into_iter();
        let Some((stream, Span { first, last }, inputs)) = accounted.next() else {
            return Ok(settled);
        };
        settled.push(Settled {
            frame,
            first,
            last,
            time_unix_ns,
            elapsed,
            result: result.map_err(|error| Failure::of(&error, instead)),
            inputs,
            more: More { stream: (!is_one).then_some(stream), others: accounted.collect(), unused },
            key,
        });
        Ok(settled)
    }

    /// As [`Route::gap`], by time: a frame for each stride in which something is owed. What was dropped
    /// belongs to the one before it.
    pub(super) fn gap_timed(
        &mut self,
        cut: TimeCut,
        stream: &str,
        until: u64,
        reason: &str,
        text: &str,
    ) -> Vec<Settled> {
        let Some(state) = self.stream(stream) else { return vec![] };
        let mut settled: Vec<Settled> = Vec::new();
        if state.accounted >= until {
            return settled;
        }
        let readings = self.readings(stream, state.accounted, until - 1);
        let mut frames: Vec<(u64, u64)> = Vec::new();
        let mut newest = 0;
        for reading in readings {
            let frame = cut.frame(reading.time_unix_ns).unwrap_or(0);
            // One that came late is in the frame in which it came.
            if frames.is_empty() || frame > newest {
                newest = frame;
                frames.push((frame, reading.sequence));
            }
        }
        let at = self.streams.get(stream).map_or(0, |stream| stream.time_unix_ns);
        if frames.is_empty() {
            frames.push((cut.frame(at).unwrap_or(0), state.accounted));
        }
        frames[0].1 = state.accounted;
        let key = self.key_of(stream).to_owned();
        for (place, (frame, first)) in frames.iter().enumerate() {
            let last = frames.get(place + 1).map_or(until, |(_, next)| *next) - 1;
            let died = self.skipped.range((stream.to_owned(), *first)..=(stream.to_owned(), last));
            let (reason, text) = match died.count() {
                0 => (reason, text),
                _ => ("worker_died", "the worker died over it twice"),
            };
            settled.push(Settled {
                key: key.clone(),
                frame: *frame,
                first: *first,
                last,
                time_unix_ns: i64::try_from(cut.end(*frame)).unwrap_or(i64::MAX),
                elapsed: Duration::ZERO,
                result: Err(Failure::new(reason, text)),
                inputs: self.inputs(stream, *first, last),
                more: More { stream: self.is_joined.then(|| stream.to_owned()), ..More::default() },
            });
        }
        self.account(stream, until);
        settled
    }

    /// As [`Route::skip`], by time: the reading itself may be harmless, and what it ended be deadly. So
    /// of the frames that it ends no reading is shown again either.
    pub(super) fn skip_timed(&mut self, cut: TimeCut, stream: &str, sequence: u64) -> Vec<Settled> {
        let times = self.readings(stream, sequence, sequence).map(|it| it.time_unix_ns);
        let Some(time_ns) = times.max().and_then(|it| u64::try_from(it).ok()) else {
            return vec![];
        };
        let key = self.key_of(stream).to_owned();
        let is_ended = |reading: &Reading| {
            let frame = cut.frame(reading.time_unix_ns);
            frame.is_some_and(|frame| cut.end(frame) <= time_ns)
        };
        let of_key = |stream: &&Stream| self.key_of(&stream.key) == key;
        let streams = self.streams.by_name().filter(of_key);
        let streams: Vec<String> = streams.map(|stream| stream.key.clone()).collect();
        let mut settled = Vec::new();
        let mut found = false;
        for stream in streams {
            let state = self.stream(&stream).unwrap_or_default();
            let ended: Vec<u64> = self
                .readings(&stream, state.accounted, state.next)
                .filter(|reading| is_ended(reading))
                .map(|reading| reading.sequence)
                .collect();
            let Some(last) = ended.last().copied() else { continue };
            found = true;
            self.skipped.extend(ended.into_iter().map(|sequence| (stream.clone(), sequence)));
            let text = "the worker died over it twice";
            settled.extend(self.gap(&stream, last + 1, "worker_died", text));
        }
        if !found {
            self.skipped.insert((stream.to_owned(), sequence));
        }
        settled
    }

    /// The key of a stream.
    fn key_of<'a>(&self, stream: &'a str) -> &'a str {
        match self.is_joined {
            true => stream.split_once('/').map_or(stream, |(_, key)| key),
            false => stream,
        }
    }

    /// The readings of a stream that are kept, from one number to another.
    fn readings(&self, stream: &str, first: u64, last: u64) -> impl Iterator<Item = &Reading> {
        let kept = self.streams.get(stream).map(|stream| &stream.kept);
        let from = kept.map_or(0, |kept| kept.partition_point(|(number, _)| *number < first));
        let readings = kept.into_iter().flat_map(move |kept| kept.range(from..));
        readings
            .take_while(move |(number, _)| *number <= last)
            .filter_map(|(_, order)| self.kept.get(*order))
            .map(|kept| &*kept.reading)
    }
}
