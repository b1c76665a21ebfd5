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

struct EcgBeats {
    finder: Finder,
    first_sequence: Option<u64>,
}

impl EcgBeats {
    fn results(&mut self) -> Vec<Vec<Tensor>> {
        let first = self.first_sequence.unwrap_or(0) as i64;
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
        Ok((EcgBeats { finder: Finder::default(), first_sequence: None }, ports))
    }

    fn process(&mut self, frame: &Frame, inputs: &[Tensor]) -> Result<Vec<Vec<Tensor>>, String> {
        let [samples] = inputs else {
            return Err(format!("one tensor is needed, not {}", inputs.len()));
        };
        self.first_sequence.get_or_insert(frame.first_sequence);
        for millivolt in samples.as_f32()? {
            let steps = (millivolt * STEPS_PER_MILLIVOLT).round();
            self.finder.push(*millivolt, steps as i64);
        }
        Ok(self.results())
    }

    fn finish(&mut self) -> Result<Vec<Vec<Tensor>>, String> {
        self.finder.finish();
        Ok(self.results())
    }
}

export_plugin!(EcgBeats);
