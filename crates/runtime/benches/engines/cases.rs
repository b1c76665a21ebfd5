//! The models that are measured, and what they are given.

use crate::Result;
use lineside_runtime::{Data, Element, Port, Tensor};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A model to be measured.
pub struct Case {
    /// What it is called in the table.
    pub name: &'static str,
    /// Its file.
    file: File,
    /// Shapes of its inputs, where they are free.
    shapes: &'static [(&'static str, &'static [usize])],
    /// What is wanted.
    pub wanted: Wanted,
}

/// Where a model lies.
enum File {
    Zoo(&'static str),
    Net(&'static str),
}

/// At most so many times as long as onnxruntime.
pub enum Wanted {
    /// In onnxruntime as an engine of ours, as of all; in the others nobody has said.
    Nothing,
    /// In tract.
    Tract(f64),
    /// In the evaluator for classical models.
    Classical(f64),
}

/// The folders of the models.
pub struct Folders {
    /// The generated ones.
    pub nets: PathBuf,
    /// The zoo's.
    pub zoo: PathBuf,
}

const FREE: &[(&str, &[usize])] = &[];

const fn zoo(name: &'static str, file: &'static str, wanted: Wanted) -> Case {
    Case { name, file: File::Zoo(file), shapes: FREE, wanted }
}

const fn shaped(case: Case, shapes: &'static [(&'static str, &'static [usize])]) -> Case {
    Case { shapes, ..case }
}

/// All of them: small ones on time series, then voice and text, tables, and nets that are generated.
pub const CASES: &[Case] = &[
    zoo("pump-v1", "pump-anomaly/pump-v1.onnx", Wanted::Tract(1.3)),
    zoo("pump-v2", "pump-anomaly/pump-v2.onnx", Wanted::Tract(1.3)),
    zoo("pump-v1-int8", "pump-anomaly/pump-v1-int8.onnx", Wanted::Nothing),
    zoo("pump-v1-int8-qoperator", "pump-anomaly/pump-v1-int8-qoperator.onnx", Wanted::Nothing),
    zoo("ecg-v1", "ecg-beats/ecg-v1.onnx", Wanted::Tract(1.3)),
    zoo("ecg-v2", "ecg-beats/ecg-v2.onnx", Wanted::Tract(1.3)),
    zoo("ecg-v1-int8", "ecg-beats/ecg-v1-int8.onnx", Wanted::Nothing),
    zoo("ecg-v1-int8-qoperator", "ecg-beats/ecg-v1-int8-qoperator.onnx", Wanted::Nothing),
    shaped(
        zoo(
            "silero-vad-16k-static",
            "voice-activity/silero-vad-16k-static.onnx",
            Wanted::Tract(1.3),
        ),
        &[("input", &[1, 576])],
    ),
    shaped(
        zoo("silero-vad-16k", "voice-activity/silero-vad-16k.onnx", Wanted::Nothing),
        &[("input", &[1, 576])],
    ),
    shaped(
        zoo("text-direction", "text-reading/text-direction.onnx", Wanted::Tract(1.5)),
        &[("x", &[1, 3, 48, 192])],
    ),
    shaped(
        zoo("text-recognition", "text-reading/text-recognition.onnx", Wanted::Tract(1.5)),
        &[("x", &[1, 3, 48, 224])],
    ),
    shaped(
        zoo("text-detection", "text-reading/text-detection.onnx", Wanted::Tract(1.5)),
        &[("x", &[1, 3, 320, 416])],
    ),
    zoo("wdbc-forest, 1 row", "classical/wdbc-forest.onnx", Wanted::Classical(1.0)),
    shaped(
        zoo("wdbc-forest, 169 rows", "classical/wdbc-forest.onnx", Wanted::Classical(1.0)),
        &[("X", &[169, 30])],
    ),
    zoo("wdbc-lightgbm, 1 row", "classical/wdbc-lightgbm.onnx", Wanted::Nothing),
    shaped(
        zoo("wdbc-lightgbm, 169 rows", "classical/wdbc-lightgbm.onnx", Wanted::Nothing),
        &[("X", &[169, 30])],
    ),
    zoo("wdbc-logreg-mlops, 1 row", "classical/wdbc-logreg-mlops.onnx", Wanted::Nothing),
    zoo("wdbc-logreg-plain, 1 row", "classical/wdbc-logreg-plain.onnx", Wanted::Nothing),
    zoo("wdbc-mlp-plain, 1 row", "classical/wdbc-mlp-plain.onnx", Wanted::Nothing),
    Case {
        name: "DS-CNN",
        file: File::Net("ds-cnn.onnx"),
        shapes: FREE,
        wanted: Wanted::Tract(1.3),
    },
    Case {
        name: "MobileNetV2",
        file: File::Net("mobilenet-v2.onnx"),
        shapes: FREE,
        wanted: Wanted::Tract(1.5),
    },
];

impl Case {
    /// The shapes of its inputs that are not settled in the file.
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        self.shapes.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect()
    }
}

impl Folders {
    /// A model's file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, case: &Case) -> Result<Vec<u8>> {
        let path = match case.file {
            File::Zoo(file) => self.zoo.join(file),
            File::Net(file) => self.nets.join(file),
        };
        std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()).into())
    }
}

/// A tensor for a port: numbers between -1 and 1 that are the same in every run; for a whole number, the
/// rate that voice models ask for.
pub fn filled(port: &Port) -> Tensor {
    let data = match port.element() {
        Element::I64 => Data::I64(vec![16_000; port.len()]),
        // The golden ratio spreads them evenly (Weyl's sequence).
        Element::F32 => {
            let value = |at: usize| (at as f64 * 0.618_033_988_749_895).fract() * 2.0 - 1.0;
            Data::F32((0..port.len()).map(|at| value(at) as f32).collect())
        }
        other => Data::zeros(other, port.len()),
    };
    Tensor::new(port.shape().to_vec(), data)
        .expect("a port's shape has as many elements as the port")
}
