//! The bundle as its author describes it: the contents of `bundle.toml`, in its order.

use crate::check::DescriptionError;
use crate::misread::{self, Lines};
use crate::name::{BundleName, BundleVersion};
use crate::requires::Requires;
use crate::stages::{
    Argmax, BuiltIn, Cast, Colour, Constant, Crop, Difference, Each, Filter, Mel,
    NonMaximumSuppression, Normalise, OneHot, Resample, Resize, Scale, Select, Softmax, Spectrum,
    Threshold, TopK, Transpose, Window,
};
use crate::value::Value;
use lineside_rules::{ShadowLimits, Tolerance, TrialLimits};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The only format there is so far.
pub const FORMAT: u32 = 1;

/// The contents of `bundle.toml`. Unknown keys are refused by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleFile {
    /// Version of this file's format: 1.
    pub format: u32,
    /// What the bundle is called.
    pub name: BundleName,
    /// Its version, free text.
    pub version: BundleVersion,
    /// One sentence for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// What a device must have to run it.
    #[serde(default, skip_serializing_if = "Requires::is_empty")]
    pub requires: Requires,
    /// Readings per key that a fresh worker is shown before it answers, so that filters and
    /// adaptive levels have settled.
    #[serde(default)]
    pub warm_up_readings: u64,
    /// The output that counts as the alarm, of yes and no. Bundles of before may name a number: any but zero is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm_output: Option<String>,
    /// What outcomes are about that a device hears of later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Judged>,
    /// What comes in, by name. Several ports are joined by time.
    pub inputs: BTreeMap<String, Port>,
    /// How several ports are joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<Join>,
    /// What is done with it, by name; the order follows from who refers to whom.
    pub stages: BTreeMap<String, Stage>,
    /// What a finding carries, by name.
    pub outputs: BTreeMap<String, Output>,
    /// Bounds of the worker that runs the bundle.
    #[serde(default)]
    pub limits: Limits,
    /// How the bundle may behave in its trial, and its successor in theirs.
    #[serde(default)]
    pub trial: TrialLimits,
    /// How the bundle has to answer beside the active release before it may take the route, and its
    /// successor beside it.
    #[serde(default, skip_serializing_if = "asks_nothing")]
    pub shadow: ShadowLimits,
    /// What a slot tells the plant when it has no answer, by output.
    #[serde(default)]
    pub fail_safe: BTreeMap<String, FailSafe>,
    /// What is watched while it runs.
    #[serde(default, skip_serializing_if = "Monitored::says_nothing")]
    pub monitor: Monitored,
    /// What may be kept of what comes in, because a rule of the site has fired.
    #[serde(default, skip_serializing_if = "Capturing::says_nothing")]
    pub capture: Capturing,
    /// Recordings with the answers expected, replayed on the device before activation.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// What its work is worth, for reports.
    #[serde(default, skip_serializing_if = "Value::is_empty")]
    pub value: Value,
}

/// What is watched of a bundle while it runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Monitored {
    /// The outputs whose medians are held against what the bundle's profile has learnt, where no rule of the
    /// site says otherwise: those that stay where they are while the process changes, as a score does and a
    /// quantity does not. None: all of which limits were learnt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Vec<String>>,
}

impl Monitored {
    fn says_nothing(&self) -> bool {
        self.outputs.is_none()
    }
}

/// What may be kept of what comes in, beyond the ring, when a rule fires that wants it (`capture_minutes`): only where
/// the site's policy and the device's settings let readings be captured as well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capturing {
    /// Whether anything may be (default false).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allowed: bool,
    /// Fields of which no value is kept then, as telemetry names them: by themselves where there is one port, else
    /// `port.field`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redact: Vec<String>,
}

impl Capturing {
    fn says_nothing(&self) -> bool {
        *self == Capturing::default()
    }
}

impl BundleFile {
    /// What a field of a port is called in telemetry and in profiles: by itself where there is one port, else
    /// `port.field`.
    pub fn input_column(&self, port: &str, field: &str) -> String {
        if self.inputs.len() > 1 { format!("{port}.{field}") } else { field.to_owned() }
    }
}

fn asks_nothing(shadow: &ShadowLimits) -> bool {
    *shadow == ShadowLimits::default()
}

/// The output that outcomes say the truth about, so that a device counts how good it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// Its name: of yes and no, of whole numbers as categories, or of numbers.
    pub output: String,
    /// The output whose value is the higher, the surer the other one is a yes; for the area under the
    /// receiver operating characteristic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<String>,
    /// That the score is a calibrated probability of a yes, and that the answer is yes above this: how good the
    /// answers should be is then estimated before any outcome has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrated_above: Option<f64>,
}

/// A port: the shape of the readings that a device feeds into the bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Field that tells streams apart (four turbines in one stream are four keys).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Field with the reading's time (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Readings per second, where they carry no time of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_hz: Option<f64>,
    /// The values of a reading, in the order in which models see them.
    pub fields: Vec<Field>,
}

/// How several ports are joined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// How long a frame waits beyond its end for a port that is silent, in seconds of the readings'
    /// own time; one stride where nothing is said.
    pub wait_seconds: f64,
}

/// One value of a reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Column or JSON member.
    pub name: String,
    /// Unit, as in `m/s`; free text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Values that are plausible; others are counted, and still used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<lineside_rules::Range>,
}

/// A reference to a tensor: `stage`, or `stage.output` where the stage has several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct TensorRef {
    /// The stage that makes it.
    pub stage: String,
    /// Which of its outputs.
    pub output: Option<String>,
}

impl From<String> for TensorRef {
    fn from(text: String) -> TensorRef {
        match text.split_once('.') {
            Some((stage, output)) => {
                TensorRef { stage: stage.to_owned(), output: Some(output.to_owned()) }
            }
            None => TensorRef { stage: text, output: None },
        }
    }
}

impl From<TensorRef> for String {
    fn from(tensor: TensorRef) -> String {
        tensor.to_string()
    }
}

impl fmt::Display for TensorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.output {
            Some(output) => write!(f, "{}.{output}", self.stage),
            None => f.write_str(&self.stage),
        }
    }
}

/// A step of the pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Stage {
    /// Groups readings of one key into a frame.
    Window(Window),
    /// Makes rows at a fixed rate of readings, for windows by time.
    Resample(Resample),
    /// Runs an ONNX model. Each of its outputs becomes `stage.<output>`.
    Model {
        /// Path within the bundle.
        file: String,
        /// The model's inputs and the tensors that feed them; reshaped where the element counts agree.
        inputs: BTreeMap<String, TensorRef>,
        /// The units that inputs have to be in, by input: those that the model was trained with.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        units: BTreeMap<String, Each<String>>,
        /// The model's inputs whose free sizes do not follow from what feeds them, with all sizes.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        shapes: BTreeMap<String, Vec<u32>>,
        /// Outputs that are inputs of the stream's next frame, by output. Nought at the first.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        state: BTreeMap<String, String>,
        /// The engine that has to run it; else the device chooses one that passes the checks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        engine: Option<String>,
    },
    /// Runs a plugin, which gives no result, one or several per frame. Each output becomes `stage.<output>`.
    Plugin {
        /// Path within the bundle, or the name of a plugin of the workspace.
        plugin: String,
        /// The plugin's inputs and the tensors that feed them.
        inputs: BTreeMap<String, TensorRef>,
        /// The units that inputs have to be in, by input.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        units: BTreeMap<String, Each<String>>,
        /// Handed to the plugin's `configure`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        config: BTreeMap<String, String>,
        /// What becomes of a frame in which it breaks.
        #[serde(default, skip_serializing_if = "OnTrap::is_default")]
        on_trap: OnTrap,
        /// What it gives then, by output and row by row, where `on_trap` says so.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        fail_safe: BTreeMap<String, Vec<FailSafe>>,
    },
    /// Takes one element of a tensor.
    Select(Select),
    /// Says whether a value is beyond a level.
    Threshold(Threshold),
    /// Multiplies and adds, column by column.
    Scale(Scale),
    /// Brings each column to a common scale.
    Normalise(Normalise),
    /// Each row less an earlier one.
    Difference(Difference),
    /// Makes of each class as many values as there are classes.
    OneHot(OneHot),
    /// Makes shares of scores.
    Softmax(Softmax),
    /// Says which value is greatest.
    Argmax(Argmax),
    /// The greatest values, and where they are.
    TopK(TopK),
    /// Filters the rows.
    Filter(Filter),
    /// The spectrum of the rows.
    Spectrum(Spectrum),
    /// Sums a spectrum in bands.
    Mel(Mel),
    /// Gives the same tensor with every frame.
    Constant(Constant),
    /// Keeps of boxes that overlap the best.
    NonMaximumSuppression(NonMaximumSuppression),
    /// Makes an image larger or smaller.
    Resize(Resize),
    /// Takes a piece of an image.
    Crop(Crop),
    /// Changes what the channels of an image are.
    Colour(Colour),
    /// Puts dimensions in another order.
    Transpose(Transpose),
    /// Gives the same numbers as another type.
    Cast(Cast),
}

impl Stage {
    /// The tensors that the stage reads, with the name it has for each.
    pub fn tensors(&self) -> Vec<(&str, &TensorRef)> {
        match self {
            Stage::Window(_) | Stage::Resample(_) => vec![],
            Stage::Model { inputs, .. } | Stage::Plugin { inputs, .. } => {
                inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect()
            }
            built_in => built_in.built_in().map_or(vec![], BuiltIn::tensors),
        }
    }

    /// The file of the bundle that the stage needs.
    pub fn file(&self) -> Option<&str> {
        match self {
            Stage::Model { file, .. } => Some(file),
            Stage::Plugin { plugin, .. } => Some(plugin),
            _ => None,
        }
    }

    /// The stage, if it is built in and makes tensors of tensors, or of nothing.
    pub fn built_in(&self) -> Option<&dyn BuiltIn> {
        match self {
            Stage::Window(_) | Stage::Resample(_) | Stage::Model { .. } | Stage::Plugin { .. } => {
                None
            }
            Stage::Select(stage) => Some(stage),
            Stage::Threshold(stage) => Some(stage),
            Stage::Scale(stage) => Some(stage),
            Stage::Normalise(stage) => Some(stage),
            Stage::Difference(stage) => Some(stage),
            Stage::OneHot(stage) => Some(stage),
            Stage::Softmax(stage) => Some(stage),
            Stage::Argmax(stage) => Some(stage),
            Stage::TopK(stage) => Some(stage),
            Stage::Filter(stage) => Some(stage),
            Stage::Spectrum(stage) => Some(stage),
            Stage::Mel(stage) => Some(stage),
            Stage::Constant(stage) => Some(stage),
            Stage::NonMaximumSuppression(stage) => Some(stage),
            Stage::Resize(stage) => Some(stage),
            Stage::Crop(stage) => Some(stage),
            Stage::Colour(stage) => Some(stage),
            Stage::Transpose(stage) => Some(stage),
            Stage::Cast(stage) => Some(stage),
        }
    }
}

/// One value of a finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// The tensor it is taken from; one element.
    pub from: TensorRef,
    /// Unit, free text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
}

/// What an output says when there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be true, false or a number")]
pub enum FailSafe {
    /// Yes or no.
    Bool(bool),
    /// A number in the output's unit.
    Number(f64),
}

/// What becomes of a frame in which a plugin breaks: it traps, takes too long, wants too much memory, or
/// gives too much or what it had not declared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnTrap {
    /// The frame has no answer.
    #[default]
    Drop,
    /// The stages behind it go on with the last result that it has given in this stream; where there is
    /// none yet, the frame has no answer.
    HoldLast,
    /// They go on with values that the bundle says.
    FailSafe,
}

impl OnTrap {
    fn is_default(&self) -> bool {
        *self == OnTrap::default()
    }
}

/// Bounds of the worker that runs the bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Memory of the worker process, in MiB.
    pub memory_mib: u32,
    /// Linear memory of one plugin instance, in MiB.
    pub plugin_memory_mib: u32,
    /// Bytes of the tensors that one call of a plugin gives, in MiB.
    #[serde(skip_serializing_if = "is_output_default")]
    pub plugin_output_mib: u32,
    /// Lines that a plugin may say in one call.
    #[serde(skip_serializing_if = "is_lines_default")]
    pub plugin_lines_per_call: u32,
    /// Lines that a plugin may say in a second, over all streams.
    #[serde(skip_serializing_if = "is_rate_default")]
    pub plugin_lines_per_second: u32,
    /// Longest that one frame may take, in milliseconds: no stage begins later, and no plugin goes on.
    pub frame_ms: u32,
}

const OUTPUT_MIB: u32 = 16;
const LINES_PER_CALL: u32 = 16;
const LINES_PER_SECOND: u32 = 20;

// What is as it always was is left out of the manifest: older agents would refuse it.
fn is_output_default(mib: &u32) -> bool {
    *mib == OUTPUT_MIB
}

fn is_lines_default(lines: &u32) -> bool {
    *lines == LINES_PER_CALL
}

fn is_rate_default(lines: &u32) -> bool {
    *lines == LINES_PER_SECOND
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory_mib: 256,
            plugin_memory_mib: 16,
            plugin_output_mib: OUTPUT_MIB,
            plugin_lines_per_call: LINES_PER_CALL,
            plugin_lines_per_second: LINES_PER_SECOND,
            frame_ms: 1000,
        }
    }
}

impl Limits {
    /// Longest that one frame may take.
    pub fn frame(&self) -> Duration {
        Duration::from_millis(u64::from(self.frame_ms))
    }
}

/// A recording with the answers expected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What people call it.
    pub name: String,
    /// CSV with the port's columns.
    pub input: String,
    /// One JSON object a finding: `{"key","frame","part","outputs"}`.
    pub expected: String,
    /// How far an output may be off, by output; exact where nothing is said.
    #[serde(default)]
    pub tolerance: BTreeMap<String, Tolerance>,
}

impl BundleFile {
    /// Reads `bundle.toml` and checks that it holds together.
    ///
    /// # Errors
    /// What is no description, by stage or place, with key and line; or whatever [`BundleFile::check`] finds.
    pub fn parse(text: &str) -> Result<BundleFile, DescriptionError> {
        let bundle = misread::read(text, Lines::Told)?;
        bundle.check_written()?;
        Ok(bundle)
    }

    /// As [`BundleFile::parse`], of a `bundle.toml` that was changed after it was read.
    ///
    /// # Errors
    /// As [`BundleFile::parse`], with the key and without a line: nobody has the text that it counts.
    pub fn from_table(table: toml::Table) -> Result<BundleFile, DescriptionError> {
        let bundle = misread::read(&table.to_string(), Lines::Unknown)?;
        bundle.check_written()?;
        Ok(bundle)
    }

    /// The first port and its name; the only one where the window goes by number. There is one in a
    /// description that was checked.
    pub fn port(&self) -> (&str, &Port) {
        let (name, port) = self.inputs.first_key_value().expect("a checked description has a port");
        (name, port)
    }

    /// Paths of the files that the description names, each once.
    pub fn paths(&self) -> Vec<&str> {
        let stages = self.stages.values().filter_map(Stage::file);
        let checks = self.checks.iter().flat_map(|check| [&*check.input, &*check.expected]);
        let mut paths: Vec<&str> = stages.chain(checks).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }
}
