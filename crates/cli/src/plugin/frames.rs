//! Recorded frames: what a plugin is given, call by call, and what it should answer. JSON, a call a line.

use anyhow::{Context, anyhow, bail};
use lineside_runtime::{Data, Element, Port, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Recordings of one plugin.
pub(super) const FILES_MAX: usize = 1000;
/// Bytes of one recording.
pub(super) const FILE_BYTES_MAX: u64 = 256 << 20;

/// One result of a call: the elements of each output by its name, or one element alone.
pub type Outputs = BTreeMap<String, Value>;

/// What one stream of frames is.
pub struct Recording {
    pub file: PathBuf,
    /// What `configure` gets.
    pub settings: Vec<(String, String)>,
    /// How far an answer may be off, absolutely or as a share; none where the file does not say.
    pub tolerance: Option<f64>,
    pub calls: Vec<Call>,
    head: Option<Line>,
}

/// One call of the plugin.
pub struct Call {
    /// The line of the file, from 1.
    pub line: usize,
    /// Number, sequence number of the first reading, and time in nanoseconds since 1970; none at the end of
    /// the recording.
    pub frame: Option<(u64, u64, i64)>,
    pub wanted: Wanted,
    written: Line,
}

/// What a call should answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// Nobody has said.
    Anything,
    Results(Vec<Outputs>),
    /// A refusal that says this.
    Refusal(String),
}

/// A line as it is written, in this order.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_ns: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inputs: Option<BTreeMap<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<Vec<Outputs>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// The recordings in a folder in the order of their names, or the one that is a file.
///
/// # Errors
/// There are none; by file and line.
pub fn read(path: &Path) -> anyhow::Result<Vec<Recording>> {
    let name = path.display();
    let files = if path.is_dir() {
        let listing = std::fs::read_dir(path).with_context(|| format!("cannot list {name}"))?;
        let files = listing.map(|entry| entry.map(|entry| entry.path()));
        let files: Vec<PathBuf> =
            files.collect::<std::io::Result<_>>().with_context(|| format!("cannot list {name}"))?;
        let is_recording =
            |file: &PathBuf| file.extension().is_some_and(|extension| extension == "jsonl");
        let mut files: Vec<PathBuf> = files.into_iter().filter(is_recording).collect();
        files.sort();
        files
    } else {
        vec![path.to_owned()]
    };
    if files.is_empty() {
        bail!("{name} has no recorded frames: NAME.jsonl, a call a line");
    }
    if files.len() > FILES_MAX {
        bail!("{name} has {} recordings, {FILES_MAX} are allowed", files.len());
    }
    files.into_iter().map(Recording::read).collect()
}

impl Recording {
    fn read(file: PathBuf) -> anyhow::Result<Recording> {
        let name = file.display().to_string();
        let cannot = || format!("cannot read {name}");
        let length = std::fs::metadata(&file).with_context(cannot)?.len();
        if length > FILE_BYTES_MAX {
            bail!("{name} has more than {} MiB: make it shorter", FILE_BYTES_MAX >> 20);
        }
        let text = std::fs::read_to_string(&file).with_context(cannot)?;
        Recording::parse(file, &text)
    }

    fn parse(file: PathBuf, text: &str) -> anyhow::Result<Recording> {
        let name = file.display().to_string();
        let mut recording = Recording {
            file,
            settings: Vec::new(),
            tolerance: None,
            calls: Vec::new(),
            head: None,
        };
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        for (index, line) in lines {
            let at = || format!("{name} line {}", index + 1);
            let line: Line =
                serde_json::from_str(line).map_err(|error| anyhow!("{error}")).with_context(at)?;
            recording.add(index + 1, line).with_context(at)?;
        }
        if recording.calls.is_empty() {
            bail!("{name} has no frames");
        }
        Ok(recording)
    }

    fn add(&mut self, number: usize, line: Line) -> anyhow::Result<()> {
        let last = self.calls.last();
        if last.is_some_and(|last| last.frame.is_none()) {
            bail!("it comes after the end: `finish` is the last line");
        }
        let is_finish = line.finish == Some(true);
        if line.inputs.is_none() && !is_finish {
            if self.head.is_some() || last.is_some() {
                bail!(
                    "it has neither `inputs` nor `finish`; `settings` belong into the first line"
                );
            }
            if line.settings.is_none() && line.tolerance.is_none() {
                bail!("it has neither `inputs` nor `settings`");
            }
            if line.tolerance.is_some_and(|it| !(it.is_finite() && it >= 0.0)) {
                bail!("`tolerance` must be finite and not negative");
            }
            self.settings = line.settings.clone().unwrap_or_default().into_iter().collect();
            self.tolerance = line.tolerance;
            self.head = Some(line);
            return Ok(());
        }
        if line.settings.is_some() || line.tolerance.is_some() {
            bail!("`settings` and `tolerance` have a line of their own, the first");
        }
        if is_finish && line.inputs.is_some() {
            bail!("it has `inputs` as well as `finish`: the end of a recording has no frame");
        }
        let before = last.and_then(|last| last.frame);
        let number_of = match (line.number, before) {
            (Some(number), _) => number,
            (None, None) => 0,
            (None, Some((number, ..))) => {
                number.checked_add(1).context("no number follows that of the frame before")?
            }
        };
        let frame =
            (number_of, line.first_sequence.unwrap_or(number_of), line.time_ns.unwrap_or(0));
        let wanted = match (&line.expected, &line.refused) {
            (Some(_), Some(_)) => bail!("it has `expected` as well as `refused`"),
            (Some(results), None) => Wanted::Results(results.clone()),
            (None, Some(words)) => Wanted::Refusal(words.clone()),
            (None, None) => Wanted::Anything,
        };
        let frame = (!is_finish).then_some(frame);
        self.calls.push(Call { line: number, frame, wanted, written: line });
        Ok(())
    }

    /// The file with these answers as the expected ones, call by call.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn recorded(&self, answers: Vec<Wanted>) -> anyhow::Result<String> {
        let mut text = String::new();
        if let Some(head) = &self.head {
            text += &(serde_json::to_string(head)? + "\n");
        }
        for (call, answer) in self.calls.iter().zip(answers) {
            let mut line = Line {
                number: call.written.number,
                first_sequence: call.written.first_sequence,
                time_ns: call.written.time_ns,
                inputs: call.written.inputs.clone(),
                finish: call.written.finish,
                ..Line::default()
            };
            match answer {
                Wanted::Results(results) => line.expected = Some(results),
                Wanted::Refusal(words) => line.refused = Some(words),
                Wanted::Anything => {}
            }
            text += &(serde_json::to_string(&line)? + "\n");
        }
        Ok(text)
    }
}

impl Call {
    /// The tensors of the frame, in the order of the plugin's inputs.
    ///
    /// # Errors
    /// A tensor that is missing, too many, or not as the plugin says.
    pub fn tensors(&self, ports: &[Port]) -> anyhow::Result<Vec<Tensor>> {
        let Some(inputs) = &self.written.inputs else { return Ok(Vec::new()) };
        if let Some(name) = inputs.keys().find(|name| !ports.iter().any(|it| it.name() == **name)) {
            let names: Vec<&str> = ports.iter().map(Port::name).collect();
            bail!("the plugin has no input {name}, only [{}]", names.join(", "));
        }
        let tensor = |port: &Port| {
            let value = inputs.get(port.name());
            let value = value.with_context(|| format!("input {} is missing", port.name()))?;
            tensor(port, value)
                .with_context(|| format!("input {} is not {}", port.name(), port.form()))
        };
        ports.iter().map(tensor).collect()
    }
}

/// What is written, as a tensor of this port: as many elements, whatever their brackets.
///
/// # Errors
/// Elements of another kind, or another number of them.
pub fn tensor(port: &Port, value: &Value) -> anyhow::Result<Tensor> {
    let mut elements = Vec::new();
    flatten(value, &mut elements);
    if elements.len() != port.len() {
        bail!("{} elements are given", elements.len());
    }
    let elements = elements.into_iter();
    let data = match port.element() {
        Element::F32 => {
            elements.map(|it| it.as_f64().map(|it| it as f32)).collect::<Option<_>>().map(Data::F32)
        }
        Element::I64 => elements.map(Value::as_i64).collect::<Option<_>>().map(Data::I64),
        Element::Bool => elements.map(Value::as_bool).collect::<Option<_>>().map(Data::Bool),
        _ => None,
    };
    let data = data.context("an element is of another kind")?;
    let tensor = Tensor::new(port.shape().to_vec(), data).filter(Tensor::is_finite);
    tensor.context("an element is too large")
}

fn flatten<'a>(value: &'a Value, elements: &mut Vec<&'a Value>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| flatten(value, elements)),
        value => elements.push(value),
    }
}

/// A tensor as it is written: its elements row by row, or the one that it has.
pub fn written(tensor: &Tensor) -> Value {
    let elements: Vec<Value> = match tensor.data() {
        Data::Bool(values) => values.iter().map(|value| Value::from(*value)).collect(),
        Data::I64(values) => values.iter().map(|value| Value::from(*value)).collect(),
        // The shortest number that is read as the same 32 bits.
        Data::F32(values) => {
            let number = |value: &f32| format!("{value:?}").parse::<f64>().ok();
            let number = |value| number(value).and_then(Number::from_f64);
            values.iter().map(|value| number(value).map_or(Value::Null, Value::Number)).collect()
        }
        _ => Vec::new(),
    };
    match <[Value; 1]>::try_from(elements) {
        Ok([element]) => element,
        Err(elements) => Value::Array(elements),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> anyhow::Result<Recording> {
        Recording::parse("a.jsonl".into(), text)
    }

    fn refused(text: &str) -> String {
        format!("{:#}", parsed(text).err().unwrap())
    }

    fn port(element: Element, shape: &[usize]) -> Port {
        Port::new("x".into(), element, shape.to_vec()).unwrap()
    }

    #[test]
    fn frames_count_on_unless_they_say_where_they_are() {
        let text = "{\"settings\":{\"rows\":\"6\"},\"tolerance\":0.5}\n\n{\"inputs\":{\"x\":1}}\n\
                    {\"number\":7,\"first_sequence\":70,\"time_ns\":9,\"inputs\":{\"x\":2},\"expected\":[]}\n\
                    {\"inputs\":{\"x\":3},\"refused\":\"too much\"}\n{\"finish\":true,\"expected\":[{\"y\":[1]}]}\n";
        let recording = parsed(text).unwrap();
        let frames: Vec<_> = recording.calls.iter().map(|call| (call.line, call.frame)).collect();
        let expected =
            [(3, Some((0, 0, 0))), (4, Some((7, 70, 9))), (5, Some((8, 8, 0))), (6, None)];
        assert_eq!(frames, expected);
        assert_eq!(recording.settings, [("rows".to_owned(), "6".to_owned())]);
        assert_eq!(recording.tolerance, Some(0.5));
        assert_eq!(recording.calls[0].wanted, Wanted::Anything);
        assert_eq!(recording.calls[2].wanted, Wanted::Refusal("too much".into()));
        // What is written again with the same answers is the same.
        let wanted = recording.calls.iter().map(|call| call.wanted.clone()).collect();
        assert_eq!(recording.recorded(wanted).unwrap(), text.replace("\n\n", "\n"));
    }

    #[test]
    fn the_frames_of_the_page_and_of_the_help_are_frames() {
        let page = include_str!("../../../../docs/plugins.md");
        let example = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
        assert_eq!(parsed(example).unwrap().calls.len(), 3);
        let help = super::super::test::EXAMPLES.lines().map(str::trim);
        let lines: Vec<&str> = help
            .filter(|line| line.starts_with('{'))
            .map(|line| line.split("  ").next().unwrap())
            .collect();
        assert_eq!(parsed(&lines.join("\n")).unwrap().calls.len(), 3);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_told_by_its_number() {
        for (text, words) in [
            ("", "a.jsonl has no frames"),
            ("{\"settings\":{}}", "a.jsonl has no frames"),
            ("{}", "a.jsonl line 1: it has neither `inputs` nor `settings`"),
            (
                "{\"inputs\":{}}\n{\"settings\":{}}",
                "a.jsonl line 2: it has neither `inputs` nor `fin",
            ),
            (
                "{\"inputs\":{},\"settings\":{}}",
                "a.jsonl line 1: `settings` and `tolerance` have a",
            ),
            ("{\"finish\":true}\n{\"inputs\":{}}", "a.jsonl line 2: it comes after the end"),
            (
                "{\"finish\":true,\"inputs\":{}}",
                "a.jsonl line 1: it has `inputs` as well as `finish`",
            ),
            (
                "{\"inputs\":{},\"expected\":[],\"refused\":\"\"}",
                "a.jsonl line 1: it has `expected` as w",
            ),
            ("{\"input\":{}}", "a.jsonl line 1: unknown field `input`"),
            ("{\"tolerance\":-1}", "a.jsonl line 1: `tolerance` must be finite"),
            (
                "{\"inputs\":{},\"number\":18446744073709551615}\n{\"inputs\":{}}",
                "a.jsonl line 2: no number follows",
            ),
        ] {
            let said = refused(text);
            assert!(said.starts_with(words), "{text}: {said}");
        }
    }

    #[test]
    fn tensors_are_written_as_they_are_read() {
        for (port, text) in [
            (port(Element::F32, &[3]), "[0.1,-2.5,1e30]"),
            (port(Element::F32, &[1]), "0.3333333"),
            (port(Element::I64, &[2]), "[9007199254740993,-1]"),
            (port(Element::Bool, &[1, 2]), "[true,false]"),
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            let read = tensor(&port, &value).unwrap();
            assert_eq!(tensor(&port, &written(&read)).unwrap(), read);
            assert_eq!(written(&read).to_string(), text.replace("1e30", "1e+30"));
        }
    }

    #[test]
    fn an_input_that_is_not_the_plugin_s_is_told_by_name() {
        let said = |line: &str| {
            let recording = parsed(line).unwrap();
            let tensors = recording.calls[0].tensors(&[port(Element::F32, &[2, 2])]);
            tensors.map_or_else(|error| format!("{error:#}"), |it| format!("{:?}", it[0].data()))
        };
        assert_eq!(said(r#"{"inputs":{"x":[[1,2],[3,4]]}}"#), "F32([1.0, 2.0, 3.0, 4.0])");
        assert_eq!(
            said(r#"{"inputs":{"x":[1,2,3]}}"#),
            "input x is not f32 [2, 2]: 3 elements are given"
        );
        assert_eq!(
            said(r#"{"inputs":{"x":[1,2,3,true]}}"#),
            "input x is not f32 [2, 2]: an element is of another kind"
        );
        assert_eq!(
            said(r#"{"inputs":{"x":[1,2,3,1e39]}}"#),
            "input x is not f32 [2, 2]: an element is too large"
        );
        assert_eq!(said(r#"{"inputs":{}}"#), "input x is missing");
        assert_eq!(said(r#"{"inputs":{"y":1,"x":1}}"#), "the plugin has no input y, only [x]");
    }
}
