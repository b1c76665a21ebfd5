//! A plan as a bundle.toml, with a comment for everything that was guessed.

use super::plan::{Fed, Part, Plan, significant};
use crate::model::facts::{Size, Tensor};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Elements of a model's output that become outputs of the bundle one by one.
const ELEMENTS_MAX: usize = 8;
/// The stages that are written.
const WINDOW: &str = "window";
const JUDGE: &str = "judge";
const ALARM: &str = "alarm";
/// Share of a column's span by which its plausible range is wider than what was seen.
const MARGIN: f64 = 0.5;

/// What the file says beside the plan.
pub struct Written<'a> {
    pub name: &'a str,
    /// What people should read first.
    pub summary: &'a str,
    /// The model's file, within the bundle.
    pub model: &'a str,
    pub plan: &'a Plan,
    /// What the model gives with the plan's shapes.
    pub outputs: &'a [Tensor],
    pub memory_mib: Option<u64>,
    /// The check's recording and answers, within the bundle, and what it is called.
    pub check: Option<(&'a str, &'a str, &'a str)>,
}

/// Stages and outputs that make numbers of what a model gives.
#[derive(Default)]
struct Answers {
    stages: String,
    /// Name, and what it is taken from.
    outputs: Vec<(String, String)>,
    told: Vec<String>,
    alarm: Option<String>,
    names: BTreeSet<String>,
}

impl Written<'_> {
    /// The file, and what was guessed about the outputs.
    pub fn text(&self) -> (String, Vec<String>) {
        let answers = self.answers();
        let mut text = String::from(
            "# Begun by `lineside bundle new`. What is guessed says so: it is yours to change. \
             docs/bundle.toml has every\n# key, docs/bundles.md the stages that are built in.\n",
        );
        let alarm = answers.alarm.as_ref().map(|name| format!("alarm_output = {}\n", quoted(name)));
        let _ = write!(
            text,
            "format = 1\nname = {}\nversion = \"1\"\nsummary = {}\n{}",
            quoted(self.name),
            quoted(self.summary),
            alarm.unwrap_or_default()
        );
        if self.plan.warm_up_readings > 0 {
            let _ = write!(
                text,
                "# Guessed: after twenty windows the model's state has settled.\nwarm_up_readings = {}\n",
                self.plan.warm_up_readings
            );
        }
        self.port(&mut text);
        self.window(&mut text);
        self.model(&mut text);
        text += &answers.stages;
        text += "\n[outputs]\n";
        comments(&mut text, &answers.told);
        for (name, from) in &answers.outputs {
            let _ = writeln!(text, "{} = {{ from = {} }}", key(name), quoted(from));
        }
        if let Some(memory) = self.memory_mib {
            let _ = write!(
                text,
                "\n[limits]\n# Guessed: twice what the model needed at the desk, and 32 for the worker.\n\
                 memory_mib = {memory}\n"
            );
        }
        if let Some((name, input, expected)) = self.check {
            let _ = write!(
                text,
                "\n# The answers are the model's own, as recorded at the desk: they show that a device computes \
                 the same,\n# not that it is right. Those of another program say more: lineside bundle run --help.\n\
                 [[checks]]\nname = {}\ninput = {}\nexpected = {}\n",
                quoted(name),
                quoted(input),
                quoted(expected)
            );
            for (output, _) in answers.outputs.iter().filter(|(name, _)| *name != ALARM) {
                let _ = writeln!(
                    text,
                    "tolerance.{} = {{ absolute = 1e-4, relative = 1e-4 }}",
                    key(output)
                );
            }
        }
        (text, answers.told)
    }

    fn port(&self, text: &mut String) {
        let Plan { key, time, rate_hz, fields, told, .. } = self.plan;
        *text += "\n[inputs.row]\n";
        comments(text, &told.port);
        if let Some(key) = key {
            let _ = writeln!(text, "key = {}", quoted(key));
        }
        match time {
            Some(time) => {
                let _ = writeln!(text, "time = {}", quoted(time));
            }
            None => {
                let _ = writeln!(text, "rate_hz = {rate_hz:?}");
            }
        }
        if fields.iter().any(|field| field.range.is_some()) {
            *text += "# Ranges are guessed: what was seen, and half of its span more on both sides. Values outside \
                      are counted, and used.\n# A unit is checked wherever somebody says one: \
                      { name = \"speed\", unit = \"m/s\" }.\n";
        }
        *text += "fields = [\n";
        for field in fields {
            let range = field.range.map(|(low, high)| {
                let margin = (high - low) * MARGIN;
                let (low, high) = (significant(low - margin), significant(high + margin));
                format!(", range = [{low:?}, {high:?}]")
            });
            let _ = writeln!(
                text,
                "  {{ name = {}{} }},",
                quoted(&field.name),
                range.unwrap_or_default()
            );
        }
        *text += "]\n";
    }

    fn window(&self, text: &mut String) {
        let rows = self.plan.rows;
        *text += "\n[stages.window]\n";
        comments(text, &self.plan.told.window);
        let _ = writeln!(text, "kind = \"window\"\ninput = \"row\"\nrows = {rows}");
        let stride =
            if rows > 1 { "  # guessed: no reading twice; less, and they overlap" } else { "" };
        let _ = writeln!(text, "stride = {rows}{stride}");
    }

    fn model(&self, text: &mut String) {
        let Plan { inputs, shapes, state, told, fields, .. } = self.plan;
        let mut fed = Vec::new();
        for (place, (name, from)) in inputs.iter().enumerate() {
            let from = match from {
                Fed::Readings { part, element } => {
                    let part = match part {
                        Part::Column(column) if fields.len() > 1 => {
                            let stage = format!("column{column}");
                            let more = format!("kind = \"select\"\nindex = {column}");
                            between(text, &stage, WINDOW, &more)
                        }
                        Part::Columns => {
                            between(text, "columns", WINDOW, "kind = \"transpose\"\naxes = [1, 0]")
                        }
                        Part::Rows | Part::Column(_) => WINDOW.to_owned(),
                    };
                    match element {
                        None => part,
                        Some(element) => {
                            let more = format!("kind = \"cast\"\nelement = {}", quoted(element));
                            between(text, &format!("cast{place}"), &part, &more)
                        }
                    }
                }
                Fed::Constant { element, shape, value } => {
                    let stage = format!("constant{place}");
                    let count: usize = shape.iter().product();
                    let _ = write!(
                        text,
                        "\n[stages.{stage}]\nkind = \"constant\"\nelement = {}\nshape = {shape:?}\nvalues = \
                         {:?}\n",
                        quoted(element),
                        vec![*value; count]
                    );
                    stage
                }
            };
            fed.push(format!("{} = {}", key(name), quoted(&from)));
        }
        *text += "\n[stages.judge]\n";
        comments(text, &told.model);
        let _ = writeln!(text, "kind = \"model\"\nfile = {}", quoted(self.model));
        let _ = writeln!(text, "inputs = {{ {} }}", fed.join(", "));
        let table = |pairs: Vec<String>| format!("{{ {} }}", pairs.join(", "));
        if !shapes.is_empty() {
            let pairs = shapes.iter().map(|(name, shape)| format!("{} = {shape:?}", key(name)));
            let _ = writeln!(text, "shapes = {}", table(pairs.collect()));
        }
        if !state.is_empty() {
            let pairs = state.iter().map(|(from, to)| format!("{} = {}", key(from), quoted(to)));
            let _ = writeln!(text, "state = {}", table(pairs.collect()));
        }
    }

    fn answers(&self) -> Answers {
        let mut answers = Answers::default();
        let told = self.outputs.iter().filter(|it| !self.plan.state.contains_key(&it.name));
        for output in told {
            answers.add(output);
        }
        answers.probability_as_alarm();
        answers
    }
}

impl Answers {
    fn add(&mut self, output: &Tensor) {
        let name = &output.name;
        if output.element.as_deref() == Some("bytes") {
            self.told.push(format!("{name} is text, and an output is a number: left out"));
            return;
        }
        let sizes = output.shape.iter().flatten().map(|size| match size {
            Size::Fixed(size) => *size,
            Size::Free(_) => 1,
        });
        let shape: Vec<usize> = sizes.collect();
        let count: usize = shape.iter().product();
        let (plain, from) = (self.named(name), format!("{JUDGE}.{name}"));
        match count {
            0 => self.told.push(format!("{name} has no elements: left out")),
            1 => self.outputs.push((plain, from)),
            2..=ELEMENTS_MAX => {
                self.told.push(format!("each of the {count} numbers of {name} is an output"));
                for index in 0..count {
                    let name = self.named(&format!("{plain}_{index}"));
                    self.select(&from, &name, index);
                }
            }
            _ if shape.last() == Some(&count) => {
                self.told
                    .push(format!("of the {count} numbers of {name}, the greatest and its place"));
                let stage = format!("best_{plain}");
                let _ = write!(
                    self.stages,
                    "\n[stages.{}]\nkind = \"top-k\"\ninput = {}\nk = 1\n",
                    key(&stage),
                    quoted(&from)
                );
                for (what, output) in [("place", "indices"), ("value", "values")] {
                    let name = self.named(&format!("{plain}_{what}"));
                    self.outputs.push((name, format!("{stage}.{output}")));
                }
            }
            _ => {
                self.told.push(format!(
                    "{name} is {}: the first of its numbers alone. A stage or a plugin makes more of it",
                    output.form()
                ));
                let name = self.named(&format!("{plain}_0"));
                self.select(&from, &name, 0);
            }
        }
    }

    fn select(&mut self, from: &str, name: &str, index: usize) {
        let _ = write!(
            self.stages,
            "\n[stages.{}]\nkind = \"select\"\ninput = {}\nindex = {index}\n",
            key(name),
            quoted(from)
        );
        self.outputs.push((name.to_owned(), name.to_owned()));
    }

    /// The second of two probabilities is that of what is looked for.
    fn probability_as_alarm(&mut self) {
        let pair = self.outputs.iter().find_map(|(name, _)| {
            let plain = name.strip_suffix("_1").filter(|it| it.to_lowercase().contains("prob"))?;
            let is_there = |index: usize| {
                let name = format!("{plain}_{index}");
                self.outputs.iter().any(|(other, _)| *other == name)
            };
            (is_there(0) && !is_there(2)).then(|| name.clone())
        });
        match pair {
            Some(name) if !self.names.contains(ALARM) => {
                let _ = write!(
                    self.stages,
                    "\n[stages.alarm]\n# Guessed: {name} is the probability of what is looked for.\n\
                     kind = \"threshold\"\ninput = {}\nabove = 0.5\n",
                    quoted(&name)
                );
                self.told.push(format!("{ALARM} is {name} above one half"));
                self.outputs.push((ALARM.to_owned(), ALARM.to_owned()));
                self.alarm = Some(ALARM.to_owned());
            }
            _ => self.told.push(
                "nothing counts as an alarm: a stage `threshold` and `alarm_output` make one"
                    .to_owned(),
            ),
        }
    }

    /// A name for an output of the bundle and for stages: letters, digits and `_`, and nobody else's.
    fn named(&mut self, name: &str) -> String {
        let plain: String =
            name.chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '_' }).collect();
        let plain = match plain.trim_matches('_') {
            "" => "output",
            plain => plain,
        };
        let names =
            std::iter::once(plain.to_owned()).chain((2..).map(|count| format!("{plain}_{count}")));
        let taken = |name: &String| {
            self.names.contains(name) || [WINDOW, JUDGE, "row"].contains(&name.as_str())
        };
        let name = names.into_iter().find(|name| !taken(name)).unwrap_or_default();
        self.names.insert(name.clone());
        name
    }
}

/// A stage between two others; gives its name.
fn between(text: &mut String, stage: &str, from: &str, more: &str) -> String {
    let _ = write!(text, "\n[stages.{stage}]\n{more}\ninput = {}\n", quoted(from));
    stage.to_owned()
}

fn comments(text: &mut String, sentences: &[String]) {
    for sentence in sentences {
        // A name may hold anything, a line of a comment no line end.
        let line = sentence.replace(|it: char| it.is_control(), " ");
        let _ = writeln!(text, "# Guessed: {line}.");
    }
}

/// A text as a basic string of TOML, in one line. JSON escapes what has to be, but for one character.
fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string().replace('\u{7f}', "\\u007F")
}

fn key(name: &str) -> String {
    let is_bare = !name.is_empty()
        && name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_' || it == b'-');
    if is_bare { name.to_owned() } else { quoted(name) }
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Field, Told};
    use super::*;
    use lineside_bundle::{BundleFile, Cut, Stage};
    use std::collections::BTreeMap;

    fn readings(part: Part, element: Option<&str>) -> Fed {
        Fed::Readings { part, element: element.map(str::to_owned) }
    }

    fn plan() -> Plan {
        let field = |name: &str| Field { name: name.into(), range: Some((-1.25, 6.75)) };
        Plan {
            key: Some("pump \"1\"".into()),
            time: None,
            rate_hz: 0.1,
            fields: vec![field("flow"), field("Volume Flow\nRate")],
            rows: 4,
            inputs: BTreeMap::from([("x:0".to_owned(), readings(Part::Rows, None))]),
            shapes: BTreeMap::new(),
            state: BTreeMap::new(),
            warm_up_readings: 0,
            told: Told { port: vec!["a\nb".into()], ..Told::default() },
        }
    }

    fn written(plan: &Plan, outputs: &[Tensor]) -> (String, BundleFile) {
        let written = Written {
            name: "pump",
            summary: "of \"mine\"",
            model: "models/pump 1.onnx",
            plan,
            outputs,
            memory_mib: Some(64),
            check: Some(("recorded", "checks/recorded.csv", "checks/recorded.jsonl")),
        };
        let (text, _) = written.text();
        let bundle = BundleFile::parse(&text);
        let bundle = bundle.unwrap_or_else(|error| panic!("{error}\n{text}"));
        (text, bundle)
    }

    #[test]
    fn whatever_names_there_are_what_is_written_can_be_read() {
        let outputs = [
            Tensor::of("label", "i64", &[1]),
            Tensor::of("probabilities", "f32", &[1, 2]),
            Tensor::of("save/scale_0.tmp_1", "f32", &[1]),
            Tensor::of("", "f32", &[1]),
            Tensor::of("window", "f32", &[1]),
        ];
        let (text, bundle) = written(&plan(), &outputs);
        let (_, port) = bundle.port();
        assert_eq!(port.key.as_deref(), Some("pump \"1\""));
        assert_eq!(port.fields[1].name, "Volume Flow\nRate");
        let range = port.fields[0].range.unwrap();
        assert_eq!((range.low, range.high), (-5.25, 10.75));
        assert_eq!(bundle.cut(), Cut::Count { rows: 4, stride: 4 });
        assert_eq!(bundle.alarm_output.as_deref(), Some("alarm"));
        let names: Vec<&str> = bundle.outputs.keys().map(String::as_str).collect();
        let wanted = [
            "alarm",
            "label",
            "output",
            "probabilities_0",
            "probabilities_1",
            "save_scale_0_tmp_1",
            "window_2",
        ];
        assert_eq!(names, wanted);
        assert_eq!(bundle.checks[0].tolerance.len(), 6);
        assert!(text.contains("# Guessed: a b.\n"), "{text}");
    }

    #[test]
    fn long_outputs_become_their_greatest_value_and_texts_are_left_out() {
        let outputs = [
            Tensor::of("scores", "f32", &[1, 1000]),
            Tensor::of("map", "f32", &[1, 1, 20, 20]),
            Tensor::of("name", "bytes", &[1]),
        ];
        let (text, bundle) = written(&plan(), &outputs);
        let names: Vec<&str> = bundle.outputs.keys().map(String::as_str).collect();
        assert_eq!(names, ["map_0", "scores_place", "scores_value"]);
        assert!(text.contains("# Guessed: name is text, and an output is a number: left out."));
        assert_eq!(bundle.alarm_output, None);
    }

    #[test]
    fn state_constants_shapes_and_columns_are_stages_that_hold_together() {
        let constant = Fed::Constant { element: "i64".into(), shape: vec![], value: 0.0 };
        let plan = Plan {
            inputs: BTreeMap::from([
                ("a".to_owned(), readings(Part::Column(0), None)),
                ("b".to_owned(), readings(Part::Column(1), Some("f64"))),
                ("sr".to_owned(), constant),
            ]),
            shapes: BTreeMap::from([("a".to_owned(), vec![1, 1])]),
            state: BTreeMap::from([("stateN".to_owned(), "state".to_owned())]),
            warm_up_readings: 80,
            ..plan()
        };
        let outputs = [Tensor::of("y", "f32", &[1]), Tensor::of("stateN", "f32", &[2, 1, 128])];
        let (_, bundle) = written(&plan, &outputs);
        let Stage::Model { inputs, state, shapes, .. } = &bundle.stages["judge"] else { panic!() };
        assert_eq!(inputs.len(), 3);
        assert_eq!(inputs["b"].to_string(), "cast1");
        let Stage::Cast(cast) = &bundle.stages["cast1"] else { panic!() };
        assert_eq!((cast.input.to_string(), &*cast.element), ("column1".to_owned(), "f64"));
        assert_eq!((state.len(), shapes.len()), (1, 1));
        assert_eq!(bundle.outputs.keys().collect::<Vec<_>>(), ["y"]);
        assert_eq!(bundle.warm_up_readings, 80);
    }
}
