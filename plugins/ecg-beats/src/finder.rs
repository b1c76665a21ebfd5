//! Bursts of energy, the beat in each, and the window around it.
//!
//! A burst is a run of samples with `5 * energy > level`; its beat is the first sample with the
//! largest band-passed amplitude. A beat within 250 ms of the one before is dropped. The level is
//! at first the largest energy of the first two seconds, then the median of the last eight beats'
//! largest; it is halved after each 1.5 seconds without one. A burst of 1.5 seconds is none: the level
//! is below the noise, and is learnt again from the largest energy in it.

use crate::filter::{DELAY, Filter, Filtered};
use std::collections::VecDeque;

/// Samples of a beat's window before the beat.
const BEFORE: u64 = 80;
/// Samples of a beat's window from the beat on.
const AFTER: u64 = 120;
/// Samples of a beat's window.
pub const WINDOW: usize = (BEFORE + AFTER) as usize;
/// Samples of which the first level is learnt.
const LEARN: usize = 720;
/// Samples between two beats.
const REFRACTORY: u64 = 90;
/// Samples without a beat after which the level is halved, and with one burst after which it is learnt again.
const PATIENCE: u64 = 540;
/// Beats that the level is the median of.
const PEAKS: usize = 8;
/// Raw samples kept: the learning time, the delay and a window on both sides.
const KEPT: usize = LEARN + DELAY + 2 * WINDOW;

/// A beat and the signal around it.
#[derive(Debug, Clone, PartialEq)]
pub struct Beat {
    /// Its sample, counted from the first one pushed.
    pub sample: u64,
    /// The signal from 80 samples before it to 119 after it.
    pub window: Vec<f32>,
}

#[derive(Debug)]
struct Burst {
    since: u64,
    energy: i64,
    amplitude: i64,
    peak: Candidate,
}

#[derive(Debug)]
struct Candidate {
    sample: u64,
    window: Option<Vec<f32>>,
}

/// Finds beats in a signal of any length in bounded memory.
#[derive(Debug, Default)]
pub struct Finder {
    filter: Filter,
    raw: VecDeque<f32>,
    raw_count: u64,
    last: Option<i64>,
    learning: Vec<Filtered>,
    judge: Option<Judge>,
    waiting: VecDeque<Candidate>,
    ready: Vec<Beat>,
}

/// What decides, once the first level is known.
#[derive(Debug)]
struct Judge {
    level: i64,
    next: u64,
    since: u64,
    burst: Option<Burst>,
    last_beat: Option<u64>,
    peaks: VecDeque<i64>,
}

impl Finder {
    /// Takes the next sample: as the model sees it, and in whole steps of 5 microvolt.
    pub fn push(&mut self, raw: f32, steps: i64) {
        if self.last.is_none() {
            // Samples before the first count as the first.
            for _ in 0..DELAY {
                self.filter.push(steps);
            }
        }
        self.last = Some(steps);
        self.raw.push_back(raw);
        self.raw_count += 1;
        if self.raw.len() > KEPT {
            self.raw.pop_front();
        }
        self.take(steps);
        self.settle();
    }

    /// Ends the signal: samples after the last count as the last.
    pub fn finish(&mut self) {
        let Some(last) = self.last else { return };
        for _ in 0..DELAY {
            self.take(last);
        }
        self.learnt();
        if let Some(judge) = &mut self.judge {
            self.waiting.extend(judge.end_burst());
        }
        self.settle();
    }

    /// Hands over the beats whose window is whole; one too near the start never has one.
    fn settle(&mut self) {
        while let Some(mut candidate) = self.waiting.pop_front() {
            self.cut(&mut candidate);
            match candidate.window {
                Some(window) => self.ready.push(Beat { sample: candidate.sample, window }),
                None if candidate.sample < BEFORE => {}
                None => {
                    self.waiting.push_front(candidate);
                    break;
                }
            }
        }
    }

    /// The beats whose whole window has come in since the last call.
    pub fn found(&mut self) -> Vec<Beat> {
        std::mem::take(&mut self.ready)
    }

    fn take(&mut self, steps: i64) {
        let Some(filtered) = self.filter.push(steps) else { return };
        if self.judge.is_some() {
            self.judge_one(filtered);
            return;
        }
        self.learning.push(filtered);
        if self.learning.len() == LEARN {
            self.learnt();
        }
    }

    fn learnt(&mut self) {
        let Some(level) = self.learning.iter().map(|f| f.energy).max() else { return };
        self.judge = Some(Judge {
            level,
            next: 0,
            since: 0,
            burst: None,
            last_beat: None,
            peaks: VecDeque::new(),
        });
        for filtered in std::mem::take(&mut self.learning) {
            self.judge_one(filtered);
        }
    }

    fn judge_one(&mut self, filtered: Filtered) {
        let Some(judge) = &mut self.judge else { return };
        let beat = judge.step(filtered);
        self.waiting.extend(beat);
        // A long burst may keep its peak longer than the raw samples are kept: cut as soon as possible.
        let burst = self.judge.as_mut().and_then(|judge| judge.burst.take());
        if let Some(mut burst) = burst {
            self.cut(&mut burst.peak);
            if let Some(judge) = &mut self.judge {
                judge.burst = Some(burst);
            }
        }
    }

    fn cut(&self, candidate: &mut Candidate) {
        let (Some(first), end) = (candidate.sample.checked_sub(BEFORE), candidate.sample + AFTER)
        else {
            return;
        };
        let kept_from = self.raw_count - self.raw.len() as u64;
        if candidate.window.is_none() && kept_from <= first && end <= self.raw_count {
            let range = (first - kept_from) as usize..(end - kept_from) as usize;
            candidate.window = Some(self.raw.range(range).copied().collect());
        }
    }
}

impl Judge {
    fn step(&mut self, filtered: Filtered) -> Option<Candidate> {
        let sample = self.next;
        let mut beat = None;
        if 5 * filtered.energy > self.level {
            let amplitude = filtered.band.abs();
            let burst = self.burst.get_or_insert(Burst {
                since: sample,
                energy: filtered.energy,
                amplitude,
                peak: Candidate { sample, window: None },
            });
            burst.energy = burst.energy.max(filtered.energy);
            if amplitude > burst.amplitude {
                burst.amplitude = amplitude;
                burst.peak = Candidate { sample, window: None };
            }
        } else {
            beat = self.end_burst();
        }
        let endless = |burst: &mut Burst| sample - burst.since >= PATIENCE;
        if let Some(burst) = self.burst.take_if(endless) {
            self.level = burst.energy;
            self.peaks.clear();
            self.since = sample;
        }
        if self.burst.is_none() && sample - self.since >= PATIENCE {
            self.level /= 2;
            self.since = sample;
        }
        self.next += 1;
        beat
    }

    fn end_burst(&mut self) -> Option<Candidate> {
        let burst = self.burst.take()?;
        if self.last_beat.is_some_and(|last| burst.peak.sample - last < REFRACTORY) {
            return None;
        }
        self.last_beat = Some(burst.peak.sample);
        self.since = self.next;
        self.peaks.push_back(burst.energy);
        if self.peaks.len() > PEAKS {
            self.peaks.pop_front();
        }
        let mut sorted: Vec<i64> = self.peaks.iter().copied().collect();
        sorted.sort_unstable();
        self.level = sorted[(sorted.len() - 1) / 2];
        Some(burst.peak)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt() -> Vec<f32> {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/ecg/recordings/excerpt.csv");
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().skip(1).map(|line| line.parse().unwrap()).collect()
    }

    fn beats(signal: &[f32]) -> Vec<Beat> {
        let mut finder = Finder::default();
        let mut beats = Vec::new();
        for millivolt in signal {
            finder.push(*millivolt, (millivolt * 200.0).round() as i64);
            beats.extend(finder.found());
        }
        finder.finish();
        beats.extend(finder.found());
        beats
    }

    #[test]
    fn finds_the_beats_that_the_description_finds_in_five_real_minutes() {
        let signal = excerpt();
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/ecg/expected/excerpt.jsonl");
        let expected: Vec<u64> = std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(|line| {
                let after = line.split("\"sample\":").nth(1).unwrap();
                after.trim_start().split([',', '}', '.']).next().unwrap().parse().unwrap()
            })
            .collect();
        let found = beats(&signal);
        assert_eq!(found.len(), 502);
        assert_eq!(found.iter().map(|beat| beat.sample).collect::<Vec<_>>(), expected);
        for beat in &found {
            let first = beat.sample as usize - 80;
            assert_eq!(beat.window, signal[first..first + WINDOW]);
        }
    }

    #[test]
    fn a_beat_is_told_before_the_recording_ends() {
        let signal = excerpt();
        let mut finder = Finder::default();
        for millivolt in &signal[..3600] {
            finder.push(*millivolt, (millivolt * 200.0).round() as i64);
        }
        assert!(finder.found().len() > 10);
    }

    #[test]
    fn short_signals_and_silence_hold_no_beats() {
        assert_eq!(beats(&[]), []);
        assert_eq!(beats(&[0.5; 10]), []);
        assert_eq!(beats(&[0.0; 5000]), []);
    }
}
