//! What to do about a model, from what its file says and what the engines did with it.

use super::facts::{Facts, Tensor};
use super::inspect::Tried;
use std::collections::{BTreeMap, BTreeSet};

/// A kind of processor that devices have.
pub struct Target {
    pub name: &'static str,
    /// Engines that are not there.
    lacks: &'static [&'static str],
}

/// The processors that devices have.
pub const TARGETS: [Target; 3] = [
    Target { name: "x86-64", lacks: &[] },
    Target { name: "aarch64", lacks: &[] },
    // rten's kernels are for 64 bits, and nobody builds onnxruntime's library for this one.
    Target { name: "armv7", lacks: &["rten", "onnxruntime"] },
];

/// Operators of quantised models.
const QUANTISED: [&str; 5] =
    ["QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"];

impl Target {
    /// The engines that ran the model here and are there as well.
    pub fn engines<'a>(&self, tried: &'a Tried) -> impl Iterator<Item = &'a str> {
        let there = tried
            .iter()
            .filter(|(engine, outcome)| outcome.is_ok() && !self.lacks.contains(&engine.as_str()));
        there.map(|(engine, _)| engine.as_str())
    }
}

/// What to do, the most important first, in whole sentences.
pub fn advice(facts: &Facts, tried: &Tried) -> Vec<String> {
    let mut advice = Vec::new();
    let runs = tried.values().any(Result::is_ok);
    if !runs {
        advice.extend(cures(facts, |_| true));
        if tried.keys().any(|engine| !facts.unfit.contains_key(engine)) {
            advice.push(
                "An engine has all of its operators and still does not run it: simplify the graph with \
                 onnxsim, and export with fixed sizes (no dynamic_axes) and opset 17."
                    .into(),
            );
        }
        if advice.is_empty() {
            advice.push(
                "No engine has these operators: do in stages of the bundle or in a plugin what they do, \
                 or take others that do the same."
                    .into(),
            );
        }
    }
    advice.extend(facts.inputs.iter().filter_map(sizes));
    advice.extend(facts.inputs.iter().filter_map(element));
    let texts = facts.outputs.iter().filter(|output| output.element.as_deref() == Some("bytes"));
    advice.extend(texts.map(|output| {
        format!(
            "{} is text, and an output of a bundle is a number: train with numbers as classes, or take \
             the probabilities.",
            output.name
        )
    }));
    advice.extend(carried(facts));
    if QUANTISED.iter().any(|operator| facts.operators.contains_key(*operator)) {
        advice.push(
            "It is quantised: the file is a quarter of its float size, and not faster. Measured on \
             x86-64, int8 takes tract about twice and rten as long as float; only onnxruntime gains."
                .into(),
        );
    }
    if runs {
        advice.extend(memory(tried));
        advice.extend(TARGETS.iter().map(|target| on(target, facts, tried)));
    }
    advice
}

/// What to change in the export, for the engines that are asked about; each once. Where they need different things,
/// a sentence says of which engines it is true: one of them is enough.
fn cures(facts: &Facts, is_asked: impl Fn(&str) -> bool) -> Vec<String> {
    let mut ways: BTreeMap<&BTreeSet<String>, Vec<&str>> = BTreeMap::new();
    let unfit = facts.unfit.iter().filter(|(engine, it)| is_asked(engine) && !it.cures.is_empty());
    for (engine, it) in unfit {
        ways.entry(&it.cures).or_default().push(engine);
    }
    match ways.len() {
        0 | 1 => ways.into_keys().flatten().map(|cure| sentence(cure)).collect(),
        _ => ways
            .into_iter()
            .map(|(cures, engines)| {
                let cures: Vec<&str> = cures.iter().map(String::as_str).collect();
                sentence(&format!("{} (for {})", cures.join("; and "), engines.join(" or ")))
            })
            .collect(),
    }
}

fn sentence(words: &str) -> String {
    let mut characters = words.chars();
    let first: String = characters.next().map(|it| it.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}.", characters.as_str())
}

fn sizes(input: &Tensor) -> Option<String> {
    input.is_open().then(|| {
        format!(
            "{} is {}: a bundle settles what is free by what feeds the input, or by `shapes` of its stage. \
             tract is made ready for these sizes alone.",
            input.name,
            input.form()
        )
    })
}

fn element(input: &Tensor) -> Option<String> {
    let name = &input.name;
    Some(match input.element.as_deref()? {
        "f32" => return None,
        "bytes" => format!("{name} is text, and readings are numbers: a plugin has to make it."),
        element => format!(
            "{name} is {element}, and readings come as f32: a stage `cast` makes it of them, a stage \
             `constant` gives the same with every frame."
        ),
    })
}

/// What the model carries on, as far as names and forms tell.
fn carried(facts: &Facts) -> impl Iterator<Item = String> {
    facts.carried().into_iter().map(|(output, input)| {
        format!(
            "{output} has the form of input {input}: where the model carries it from frame to frame, write \
             `state = {{ {output} = \"{input}\" }}` in its stage, and warm_up_readings."
        )
    })
}

fn memory(tried: &Tried) -> Option<String> {
    let most = tried.values().flatten().max_by_key(|trial| trial.memory_bytes)?;
    let (most, wanted) = (most.memory_bytes?, most.memory_mib()?);
    Some(format!(
        "It needs about {} MB here, loading included: `limits.memory_mib = {wanted}` leaves room. The \
         device says what the checks took there.",
        most.div_ceil(1_000_000)
    ))
}

fn on(target: &Target, facts: &Facts, tried: &Tried) -> String {
    let engines: Vec<&str> = target.engines(tried).collect();
    let name = target.name;
    if engines.is_empty() {
        let cures = cures(facts, |engine| !target.lacks.contains(&engine));
        let cures = if cures.is_empty() { String::new() } else { format!(" {}", cures.join(" ")) };
        return format!("{name}: no engine that is there runs it.{cures}");
    }
    let engines: Vec<&str> = engines
        .into_iter()
        .map(|engine| match engine {
            "onnxruntime" => "onnxruntime (where it is installed)",
            engine => engine,
        })
        .collect();
    let what = match engines.as_slice() {
        [one] => format!("{one} runs it"),
        [.., _] => format!("{} run it, the device measures which is faster", engines.join(" and ")),
        [] => String::new(),
    };
    let more = match target.lacks {
        [] => "",
        _ => "; processor and memory are small there, and plugins are interpreted",
    };
    format!("{name}: {what}{more}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::facts::{Trial, Unfit};
    use std::collections::BTreeMap;

    /// An operator, and its cure.
    type Lacking<'a> = (&'a str, Option<&'a str>);

    /// A model of which engines lack operators.
    fn facts(lacking: &[(&str, &[Lacking<'_>])]) -> Facts {
        let unfit = lacking.iter().filter(|(_, lacks)| !lacks.is_empty()).map(|(engine, lacks)| {
            let said = lacks.iter().map(|(operator, _)| format!("lacks {operator}"));
            let said = said.collect::<Vec<_>>().join(", ");
            let cures = lacks.iter().filter_map(|(_, cure)| cure.map(str::to_owned)).collect();
            ((*engine).to_owned(), Unfit { said, cures })
        });
        Facts {
            inputs: vec![Tensor::of("x", "f32", &[0, 30])],
            outputs: vec![Tensor::of("y", "f32", &[0])],
            operators: BTreeMap::new(),
            opsets: BTreeMap::new(),
            parameters: 0,
            parameter_bytes: 0,
            producer: String::new(),
            unfit: unfit.collect(),
        }
    }

    fn tried(engines: &[(&str, bool)]) -> Tried {
        let trial = |runs: bool| match runs {
            true => Ok(Trial {
                shapes: BTreeMap::new(),
                outputs: vec![],
                load_ms: 1.0,
                run_ms: Some(1.0),
                memory_bytes: Some(20 << 20),
                note: None,
            }),
            false => Err("lacks something".to_owned()),
        };
        engines.iter().map(|(engine, runs)| ((*engine).to_owned(), trial(*runs))).collect()
    }

    #[test]
    fn a_model_that_nothing_runs_is_told_with_every_cure_once() {
        let qdq = Some("quantise it in the format QDQ, not QOperator");
        let facts = facts(&[
            ("tract", &[("QGemm", qdq), ("QLinearConv", qdq)]),
            ("rten", &[("QGemm", qdq)]),
        ]);
        let said = advice(&facts, &tried(&[("tract", false), ("rten", false)]));
        assert_eq!(said, ["Quantise it in the format QDQ, not QOperator."]);
    }

    #[test]
    fn what_helps_one_engine_is_told_as_such_where_another_needs_something_else() {
        let zip = ("ai.onnx.ml.ZipMap", Some("export it with options={'zipmap': False}"));
        let scan = ("Scan", Some("have onnxruntime run it"));
        let facts = facts(&[("tract", &[zip, scan]), ("rten", &[zip]), ("classical", &[scan])]);
        let engines = [("tract", false), ("rten", false), ("classical", false)];
        assert_eq!(
            advice(&facts, &tried(&engines)),
            [
                "Export it with options={'zipmap': False} (for rten).",
                "Export it with options={'zipmap': False}; and have onnxruntime run it (for tract).",
                "Have onnxruntime run it (for classical).",
            ]
        );
    }

    #[test]
    fn a_model_with_known_operators_that_nothing_runs_is_to_be_exported_more_simply() {
        let facts = facts(&[("tract", &[("Teleport", None)]), ("rten", &[])]);
        let said = advice(&facts, &tried(&[("tract", false), ("rten", false)]));
        assert!(said[0].contains("fixed sizes"), "{said:?}");
        let facts = super::tests::facts(&[("tract", &[("Teleport", None)])]);
        let said = advice(&facts, &tried(&[("tract", false)]));
        assert!(said[0].contains("in a plugin"), "{said:?}");
    }

    #[test]
    fn what_only_an_engine_for_64_bits_runs_runs_on_no_device_of_32() {
        let traced = Some("export it so that the branch is decided there");
        let facts = facts(&[("tract", &[("If", traced)]), ("rten", &[])]);
        let said = advice(&facts, &tried(&[("tract", false), ("rten", true)]));
        let armv7 = said.iter().find(|it| it.starts_with("armv7")).unwrap();
        assert_eq!(
            armv7,
            "armv7: no engine that is there runs it. Export it so that the branch is decided there."
        );
        assert!(said.contains(&"aarch64: rten runs it.".to_owned()), "{said:?}");
        assert!(said.iter().any(|it| it.contains("limits.memory_mib = 80")), "{said:?}");
    }

    #[test]
    fn what_a_bundle_has_to_do_for_its_inputs_is_told() {
        let mut facts = facts(&[("tract", &[])]);
        facts.inputs = vec![
            Tensor::of("x", "f32", &[0, 3, 0]),
            Tensor::of("state", "f32", &[2, 0, 128]),
            Tensor::of("sr", "i64", &[]),
        ];
        facts.outputs =
            vec![Tensor::of("label", "bytes", &[0]), Tensor::of("stateN", "f32", &[2, 0, 128])];
        let said = advice(&facts, &tried(&[("tract", true)])).join("\n");
        for words in [
            "x is f32 [?, 3, ?]: a bundle settles",
            "sr is i64, and readings come as f32: a stage `cast`",
            "label is text",
            "`state = { stateN = \"state\" }`",
            "x86-64: tract runs it.",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
}
