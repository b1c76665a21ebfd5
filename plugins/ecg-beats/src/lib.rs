//! Finds heart beats in one ECG lead and cuts the window around each that a model wants.
//!
//! Input: `samples` f32 `[n]`, millivolt at 360 samples a second, from a recorder of 5 microvolt a
//! step. Outputs per beat: `beat` f32 `[200]`, the 80 samples before it and the 120 from it on, as
//! they came in; `sample` i64 `[1]`, the beat's sequence number. Setting `samples`: how many
//! samples a frame has.

mod filter;
mod finder;

use finder::Finder;
use lineside_plugin::{Frame, Plugin, Ports, Settings, Tensor, export_plugin};

/// Recorder steps per millivolt.
const STEPS_PER_MILLIVOLT: f32 = 200.0;
/// Largest step either way, five volt: no recorder goes there, and no sum of energies overflows.
const STEPS_MAX: f32 = 1e6;

/// Beats of one stream, from wherever it is first seen.
struct EcgBeats {
    finder: Finder,
    /// Sequence numbers of the finder's first sample and of the next one it wants.
    signal: Option<(u64, u64)>,
}

impl EcgBeats {
    fn results(&mut self) -> Vec<Vec<Tensor>> {
        let first = self.signal.map_or(0, |(first, _)| first) as i64;
        let found = self.finder.found();
        found
            .into_iter()
            .map(|beat| {
                vec![
                    Tensor::f32("beat", &[finder::WINDOW as u32], beat.window),
                    Tensor::i64("sample", &[1], vec![first + beat.sample as i64]),
                ]
            })
            .collect()
    }
}

impl Plugin for EcgBeats {
    fn configure(settings: &Settings) -> Result<(Self, Ports), String> {
        let samples = settings.get("samples").map_or("36", String::as_str);
        let samples: u32 = samples
            .parse()
            .ok()
            .filter(|samples| (1..=3600).contains(samples))
            .ok_or_else(|| format!("samples = {samples:?} must be 1 to 3600"))?;
        let ports = Ports::new()
            .input_f32("samples", &[samples])
            .output_f32("beat", &[finder::WINDOW as u32])
            .output_i64("sample", &[1]);
        Ok((EcgBeats { finder: Finder::default(), signal: None }, ports))
    }

    fn process(&mut self, frame: &Frame, inputs: &[Tensor]) -> Result<Vec<Vec<Tensor>>, String> {
        let [samples] = inputs else {
            return Err(format!("one tensor is needed, not {}", inputs.len()));
        };
        let samples = samples.as_f32()?;
        let (at, after) =
            (frame.first_sequence, frame.first_sequence.saturating_add(samples.len() as u64));
        let mut results = Vec::new();
        let (first, next) = match self.signal {
            Some((first, next)) if at <= next => (first, next),
            // Samples are missing: a signal with a hole has beats that are none, so a new one begins.
            Some(_) => {
                self.finder.finish();
                results = self.results();
                self.finder = Finder::default();
                (at, at)
            }
            None => (at, at),
        };
        self.signal = Some((first, next.max(after)));
        // Frames may overlap; what was seen before is skipped.
        let seen = usize::try_from(next - at).unwrap_or(usize::MAX);
        for millivolt in samples.iter().skip(seen) {
            let steps = (millivolt * STEPS_PER_MILLIVOLT).round();
            self.finder.push(*millivolt, steps.clamp(-STEPS_MAX, STEPS_MAX) as i64);
        }
        results.extend(self.results());
        Ok(results)
    }

    fn finish(&mut self) -> Result<Vec<Vec<Tensor>>, String> {
        self.finder.finish();
        Ok(self.results())
    }
}

export_plugin!(EcgBeats);

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: usize = 36;

    fn excerpt() -> Vec<f32> {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/ecg/recordings/excerpt.csv");
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().skip(1).map(|line| line.parse().unwrap()).collect()
    }

    /// The beats in frames of `rows` samples, one every `stride` from `from` on, but for those that
    /// begin in `dropped`; by sample.
    fn beats(
        signal: &[f32],
        (rows, stride): (usize, usize),
        from: usize,
        dropped: std::ops::Range<usize>,
    ) -> Vec<i64> {
        let settings = Settings::from([("samples".to_owned(), rows.to_string())]);
        let (mut plugin, _) = EcgBeats::configure(&settings).unwrap();
        let mut results = Vec::new();
        for first in (from..=signal.len() - rows).step_by(stride) {
            if dropped.contains(&first) {
                continue;
            }
            let samples = signal[first..first + rows].to_vec();
            let number = (first / stride) as u64;
            let frame = Frame { number, first_sequence: first as u64, time_ns: 0 };
            let input = Tensor::f32("samples", &[rows as u32], samples);
            results.extend(plugin.process(&frame, &[input]).unwrap());
        }
        results.extend(plugin.finish().unwrap());
        let sample = |result: &Vec<Tensor>| result[1].as_i64().unwrap()[0];
        for result in &results {
            let first = sample(result) as usize - 80;
            assert_eq!(result[0].as_f32().unwrap(), &signal[first..first + 200]);
        }
        results.iter().map(sample).collect()
    }

    #[test]
    fn frames_of_any_size_and_overlap_give_the_same_beats() {
        let signal = &excerpt()[..36_000];
        let beats_at_once = beats(signal, (RATE, RATE), 0, 0..0);
        assert!(beats_at_once.len() > 150);
        assert_eq!(beats(signal, (3600, 3600), 0, 0..0), beats_at_once);
        assert_eq!(beats(signal, (72, RATE), 0, 0..0), beats_at_once);
    }

    /// Readings after which a fresh plugin finds what one does that has seen all: the bundle's warm-up.
    const WARM_UP: i64 = 3600;

    #[test]
    fn started_anywhere_it_finds_the_same_beats_under_the_same_numbers_ten_seconds_later() {
        let signal = excerpt();
        let whole = beats(&signal, (RATE, RATE), 0, 0..0);
        for from in (0..signal.len() - 4 * RATE).step_by(RATE * 7) {
            let late = beats(&signal, (RATE, RATE), from, 0..0);
            let settled = |beats: &[i64]| -> Vec<i64> {
                let beats = beats.iter().copied();
                beats.filter(|sample| *sample >= from as i64 + WARM_UP).collect()
            };
            assert_eq!(settled(&late), settled(&whole), "started at {from}");
        }
    }

    #[test]
    fn after_minutes_without_a_signal_it_finds_beats_again() {
        let signal = &excerpt()[..36_000];
        let whole = beats(signal, (RATE, RATE), 0, 0..0);
        // As long as the level takes to be halved to nothing.
        let silence = vec![signal[0]; RATE * 3000];
        let late = beats(&[&silence, signal].concat(), (RATE, RATE), 0, 0..0);
        let far = |beats: &[i64], from: i64| -> Vec<i64> {
            let beats = beats.iter().map(|sample| sample - from);
            beats.filter(|sample| *sample >= WARM_UP).collect()
        };
        assert_eq!(far(&late, silence.len() as i64), far(&whole, 0));
    }

    #[test]
    fn a_hole_in_the_signal_shifts_no_beat_behind_it() {
        let signal = &excerpt()[..36_000];
        let whole = beats(signal, (RATE, RATE), 0, 0..0);
        let holed = beats(signal, (RATE, RATE), 0, 7200..7560);
        let far = |beats: &[i64]| -> Vec<i64> {
            let beats = beats.iter().copied();
            beats.filter(|sample| *sample < 7000 || *sample >= 11_160).collect()
        };
        assert_eq!(far(&holed), far(&whole));
    }

    #[test]
    fn values_that_no_recorder_gives_break_nothing() {
        let mut signal = excerpt()[..7200].to_vec();
        signal[100] = f32::MAX;
        signal[2000] = f32::MIN;
        beats(&signal, (RATE, RATE), 0, 0..0);
    }
}
