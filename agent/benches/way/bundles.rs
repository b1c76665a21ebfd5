//! The bundles that are measured, and the readings for them.

use crate::Result;
use lineside_bundle::{BuiltBundle, BundleFile, archive, build_with_operators};
use lineside_runtime::{Data, Element, OnnxModel, Port, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// The engine of all of them.
pub const ENGINE: &str = "tract";
/// Models that read text, with the height and width of what they see: a reading has at most 256 values.
pub const TEXT_MODELS: [(&str, usize, usize); 3] =
    [("text-direction", 48, 192), ("text-recognition", 48, 224), ("text-detection", 320, 256)];
/// Samples a second of the ECG.
const ECG_HZ: f64 = 360.0;

/// A bundle with one model, and readings for it.
pub struct Case {
    /// What it is called in the table.
    pub name: String,
    /// The bundle.
    pub bundle: BuiltBundle,
    /// Its model.
    pub model: Vec<u8>,
    /// The shapes of the model's inputs.
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// Readings of a frame.
    pub rows: usize,
    /// Values of a reading.
    pub fields: usize,
    /// From one reading to the next.
    pub period_ns: f64,
    /// What the way may take, as a share of what the model does; 20 microseconds where none is said.
    pub wanted_share: Option<f64>,
    /// Values of the readings, over and over.
    values: Vec<f64>,
}

impl Case {
    /// The values of a reading.
    pub fn values(&self, row: usize) -> Vec<f64> {
        let first = row * self.fields % self.values.len();
        self.values[first..first + self.fields].to_vec()
    }
}

/// The ECG example, with a recording that the model was not trained on.
///
/// # Errors
/// The bundle or the recording cannot be read.
pub fn ecg(file: &Path) -> Result<Case> {
    let bundle = archive::read(fs::read(file)?.as_slice())?;
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/ecg");
    let text = fs::read_to_string(example.join("recordings/excerpt.csv"))?;
    let values = text.lines().skip(1).map(str::parse).collect::<std::result::Result<_, _>>()?;
    Ok(Case {
        name: "ecg".to_owned(),
        bundle,
        model: fs::read(example.join("models/ecg-v1.onnx"))?,
        shapes: BTreeMap::new(),
        rows: 36,
        fields: 1,
        period_ns: 1e9 / ECG_HZ,
        wanted_share: None,
        values,
    })
}

/// A model that sees a picture of three colours, which comes a line of one colour at a time.
///
/// # Errors
/// The model cannot be read, or the bundle not be built.
pub fn text(zoo: &Path, model: &str, height: usize, width: usize) -> Result<Case> {
    let rows = 3 * height;
    let path = zoo.join(format!("text-reading/{model}.onnx"));
    let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let read = OnnxModel::read(&bytes)?;
    let facts = read.facts();
    let (input, output) = (&facts.inputs[0].name, &facts.outputs[0].name);
    let mut text = format!(
        "format = 1\nname = 'picture'\nversion = '1'\n\
         [stages.w]\nkind = 'window'\ninput = 'p'\nrows = {rows}\nstride = {rows}\n\
         [stages.read]\nkind = 'model'\nfile = 'm.onnx'\ninputs = {{ '{input}' = 'w' }}\n\
         shapes = {{ '{input}' = [1, 3, {height}, {width}] }}\n\
         [stages.first]\nkind = 'select'\ninput = 'read.{output}'\nindex = 0\n\
         [outputs]\nfirst = {{ from = 'first' }}\n\
         [limits]\nmemory_mib = 512\nframe_ms = 10000\n\
         [inputs.p]\nrate_hz = 1000.0\nfields = ["
    );
    for field in 0..width {
        write!(text, "{{ name = 'x{field}' }},")?;
    }
    let operators: BTreeSet<String> = facts.operators.keys().map(ToString::to_string).collect();
    let operators = BTreeMap::from([("m.onnx".to_owned(), operators)]);
    let files = BTreeMap::from([("m.onnx".to_owned(), bytes.clone())]);
    let bundle = build_with_operators(BundleFile::parse(&(text + "]\n"))?, files, operators)?;
    // Eighths, as if of a picture of eight bits.
    let values = (0..rows * width).map(|at| (at * 7 % 256) as f64 / 128.0 - 1.0).collect();
    Ok(Case {
        name: format!("{model} {height} × {width}"),
        bundle,
        model: bytes.clone(),
        shapes: BTreeMap::from([(input.clone(), vec![1, 3, height, width])]),
        rows,
        fields: width,
        period_ns: 1e6,
        wanted_share: Some(0.05),
        values,
    })
}

/// A tensor for a port.
pub fn filled(port: &Port) -> Tensor {
    let data = match port.element() {
        Element::F32 => {
            let value = |at: usize| (at * 7 % 256) as f32 / 128.0 - 1.0;
            Data::F32((0..port.len()).map(value).collect())
        }
        other => Data::zeros(other, port.len()),
    };
    Tensor::new(port.shape().to_vec(), data)
        .expect("a port's shape has as many elements as the port")
}
