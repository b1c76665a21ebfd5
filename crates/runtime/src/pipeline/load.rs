//! Turns a manifest and its files into a pipeline, or says which stage does not fit and why.

use super::flow::Flow;
use super::graph::{Opening, Outputs, Pipeline, Step, Work};
use super::made::{Made, window};
use super::model::Model;
use super::plugin::{self, Plugin, Rules};
use super::profile::profile;
use super::stages;
use crate::engine::{EngineError, Engines, ModelFacts, OnnxModel};
use crate::files::{Files, FilesError};
use crate::plugin::{PluginCache, Sandbox, SandboxError, SandboxLimits};
use lineside_bundle::stages::BuiltIn;
use lineside_bundle::{BundleFile, DescriptionError, Manifest, Stage, TensorRef};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How to load a pipeline.
#[derive(Clone, Default)]
pub struct LoadOptions {
    /// Where compiled plugins are kept; without one they are compiled each time.
    pub cache: Option<PluginCache>,
    /// Interpret plugins even where they could be compiled.
    pub interpret_plugins: bool,
    /// Which engine each model is loaded into.
    pub engines: Engines,
    /// Breaks that a plugin may survive, where somebody else than the bundle says; the fewer of both count.
    pub plugin_traps_max: Option<u32>,
    /// What becomes of bundles that were right when they were made, and would not be made any more.
    pub before: Before,
}

/// What becomes of a bundle whose alarm is no yes or no, or whose `[fail_safe]` has a value of another type than
/// the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Before {
    /// It runs: a device is not to lose what it has for a rule that came later.
    #[default]
    Runs,
    /// It is refused, where somebody can mend it.
    Refused,
}

impl LoadOptions {
    fn traps_max(&self, bundle: &BundleFile) -> u32 {
        self.plugin_traps_max.unwrap_or(u32::MAX).min(bundle.trial.traps_max())
    }
}

/// Why a bundle cannot run here.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The description does not hold together.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// A file cannot be had.
    #[error("stage {stage}")]
    File {
        /// The stage.
        stage: String,
        /// Why.
        source: FilesError,
    },
    /// A model cannot be loaded.
    #[error("stage {stage}: {file}")]
    Model {
        /// The stage.
        stage: String,
        /// The model's file.
        file: String,
        /// Why.
        source: EngineError,
    },
    /// A plugin cannot be started.
    #[error("stage {stage}: {file}")]
    Plugin {
        /// The stage.
        stage: String,
        /// The plugin's file.
        file: String,
        /// Why.
        source: SandboxError,
    },
    /// The sandbox cannot be set up.
    #[error(transparent)]
    Sandbox(SandboxError),
    /// Stages that do not fit together.
    #[error("stage {stage}: {problem}")]
    Fit {
        /// The stage.
        stage: String,
        /// What does not fit what, with both shapes.
        problem: String,
    },
    /// What the bundle says its columns looked like.
    #[error("profile.json: {problem}")]
    Profile {
        /// What is wrong with it, and what helps.
        problem: String,
    },
    /// An output that is no single value.
    #[error("output {output}: {problem}")]
    Output {
        /// The output.
        output: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Pipeline {
    /// Loads every model and plugin of the bundle and checks that all shapes and types fit.
    ///
    /// # Errors
    /// [`LoadError`], by stage, input and output.
    pub fn load(
        manifest: &Manifest,
        files: &dyn Files,
        options: &LoadOptions,
    ) -> Result<Pipeline, LoadError> {
        let bundle = &manifest.bundle;
        bundle.check()?;
        profile(manifest, files)?;
        let mut sandbox = None;
        let mut made = Made::default();
        let mut steps = Vec::new();
        let mut constants = Vec::new();
        let mut windows = Vec::new();
        for name in bundle.order()? {
            let stage = &bundle.stages[name];
            let fit = |problem| LoadError::Fit { stage: name.to_owned(), problem };
            let read = |path: &str| {
                let stage = name.to_owned();
                files.read(path).map_err(|source| LoadError::File { stage, source })
            };
            let (work, sources, outputs) = match stage {
                Stage::Window(_) => {
                    let (window, flow) = window(bundle, name).map_err(fit)?;
                    let shape = flow.port.shape().to_vec();
                    let place = made.add(name, &[flow]).start;
                    windows.push(Opening { name: name.to_owned(), window, shape, place });
                    continue;
                }
                // It is a part of its windows.
                Stage::Resample(_) => continue,
                Stage::Model { file, inputs, units, shapes, state, engine } => {
                    made.check_units(inputs, units).map_err(fit)?;
                    let bytes = read(file)?;
                    let failed = |source| LoadError::Model {
                        stage: name.to_owned(),
                        file: file.clone(),
                        source,
                    };
                    let onnx = OnnxModel::read(&bytes).map_err(failed)?;
                    let given = sizes(&made, onnx.facts(), inputs, shapes).map_err(fit)?;
                    let ports = onnx.settle(&given).map_err(failed)?;
                    let engines = options.engines.of(name, engine.as_deref()).map_err(failed)?;
                    let (engine, loaded) = onnx.load(&engines, &ports).map_err(failed)?;
                    let model = Model::new(engine, loaded, state).map_err(fit)?;
                    let sources = made.connect(stage, &model.fed()).map_err(fit)?;
                    let outputs = model.outputs().iter().cloned().map(Flow::of).collect();
                    (Work::Model(Box::new(model)), sources, outputs)
                }
                Stage::Plugin { plugin: file, inputs, units, config, on_trap, fail_safe } => {
                    made.check_units(inputs, units).map_err(fit)?;
                    let wasm = read(file)?;
                    let sandbox = match &mut sandbox {
                        Some(sandbox) => sandbox,
                        None => {
                            let cache = options.cache.clone();
                            let made = if options.interpret_plugins {
                                Sandbox::interpreting(cache)
                            } else {
                                Sandbox::native(cache)
                            };
                            sandbox.insert(made.map_err(LoadError::Sandbox)?)
                        }
                    };
                    let settings: Vec<_> =
                        config.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
                    let limits = SandboxLimits::of(&bundle.limits);
                    // Started once here, so that a plugin that cannot start is refused now.
                    let started = sandbox
                        .compile(&wasm)
                        .and_then(|compiled| Ok((compiled.start(&settings, limits)?, compiled)));
                    let (instance, compiled) = started.map_err(|source| LoadError::Plugin {
                        stage: name.to_owned(),
                        file: file.clone(),
                        source,
                    })?;
                    let sources = made.connect(stage, instance.inputs()).map_err(fit)?;
                    let outputs = instance.outputs();
                    let rules = Rules {
                        settings,
                        limits,
                        policy: plugin::policy(*on_trap, fail_safe, outputs).map_err(fit)?,
                        traps_max: options.traps_max(bundle),
                        lines_per_second: bundle.limits.plugin_lines_per_second as usize,
                    };
                    let outputs = outputs.iter().cloned().map(Flow::of).collect();
                    (Work::Plugin(Box::new(Plugin::new(compiled, rules))), sources, outputs)
                }
                Stage::Constant(described) => {
                    let (flow, tensor) = stages::constant(described).map_err(fit)?;
                    constants.push((made.add(name, &[flow]).start, Arc::new(tensor)));
                    continue;
                }
                built_in => {
                    let (sources, fitted) = made.fit(built_in).map_err(fit)?;
                    let has_state = built_in.built_in().is_some_and(BuiltIn::has_state);
                    (Work::BuiltIn { stage: fitted.stage, has_state }, sources, fitted.outputs)
                }
            };
            let sources = sources.into_iter().map(|from| made.source(from));
            let sources = sources.collect::<Result<_, _>>().map_err(fit)?;
            let outputs = made.add(name, &outputs);
            steps.push(Step { name: name.to_owned(), work, sources, outputs });
        }
        let mut outputs = Outputs::default();
        for (name, output) in &bundle.outputs {
            let fail = |problem| LoadError::Output { output: name.clone(), problem };
            made.check_output(output).map_err(fail)?;
            if options.before == Before::Refused {
                made.check_told(bundle, name, output).map_err(fail)?;
            }
            outputs.push((name.clone(), made.source(output.from.clone()).map_err(fail)?));
        }
        let mut opened = vec![None; made.count()];
        for (place, tensor) in constants {
            opened[place] = Some(tensor);
        }
        Ok(Pipeline::new(bundle, steps, opened, windows, outputs))
    }
}

/// The shapes that a model's inputs are given: by what feeds them, or in so many words.
///
/// # Errors
/// For a tensor that there is not, or a shape of an input that the model has not.
pub(super) fn sizes(
    made: &Made,
    facts: &ModelFacts,
    inputs: &BTreeMap<String, TensorRef>,
    shapes: &BTreeMap<String, Vec<u32>>,
) -> Result<BTreeMap<String, Vec<usize>>, String> {
    let mut given = BTreeMap::new();
    for (input, from) in inputs {
        given.insert(input.clone(), made.flow(from)?.port.shape().to_vec());
    }
    for (input, sizes) in shapes {
        if !facts.inputs.iter().any(|declared| declared.name == *input) {
            let names: Vec<_> = facts.inputs.iter().map(|it| it.name.as_str()).collect();
            return Err(format!("shapes: it has no input {input}, only [{}]", names.join(", ")));
        }
        given.insert(input.clone(), sizes.iter().map(|size| *size as usize).collect());
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::MemoryFiles;
    use crate::pipeline::{FrameOutcome, Reading, Value, check_fit};
    use lineside_bundle::build;

    const HEAD: &str = "format = 1\nname = 'pump'\nversion = '1'\nwarm_up_readings = 4\n\
        [inputs.row]\nkey = 'pump'\nrate_hz = 1.0\n\
        fields = [{ name = 'flow', unit = 'l/s' }, { name = 'noise' }]\n\
        [stages.window]\nkind = 'window'\ninput = 'row'\nrows = 2\nstride = 2\n";

    /// A bundle of built-in stages alone.
    fn load(rest: &str) -> Result<Pipeline, String> {
        let bundle = BundleFile::parse(&format!("{HEAD}{rest}")).map_err(|it| it.to_string())?;
        let built = build(bundle, BTreeMap::new()).map_err(|it| it.to_string())?;
        let files = MemoryFiles(&built);
        // What is refused is refused at the desk already, by the same words.
        let at_desk = check_fit(&built.manifest, &files).map_err(|error| error.to_string());
        let loaded = Pipeline::load(&built.manifest, &files, &LoadOptions::default())
            .map_err(|error| error.to_string());
        assert_eq!(at_desk.as_ref().err(), loaded.as_ref().err());
        loaded
    }

    fn refused(rest: &str) -> String {
        load(rest).err().unwrap_or_else(|| "accepted".into())
    }

    fn push(pipeline: &mut Pipeline, key: &str, sequence: u64, flow: f64) -> Vec<FrameOutcome> {
        let (key, values) = (key.to_owned(), vec![flow, 0.0]);
        pipeline.push(&Reading { key, sequence, time_unix_ns: 0, values })
    }

    /// The output `it` of every frame that these values of `flow` complete.
    fn answers(
        pipeline: &mut Pipeline,
        key: &str,
        flows: &[f64],
    ) -> Vec<Result<Value, &'static str>> {
        let frames = (0..).zip(flows).flat_map(|(at, flow)| push(pipeline, key, at, *flow));
        let answer = |frame: FrameOutcome| match frame.result {
            Ok(parts) => Ok(parts[0].outputs["it"]),
            Err(error) => Err(error.reason()),
        };
        frames.map(answer).collect()
    }

    const LATEST: &str = "[stages.latest]\nkind = 'select'\ninput = 'window'\nindex = 2\n";

    #[test]
    fn built_in_stages_need_no_model_and_each_key_has_its_own_state() {
        let alarm = "[stages.alarm]\nkind = 'threshold'\ninput = 'latest'\nabove = 3\nuntil = 1\n\
                     [outputs]\nit = { from = 'alarm' }";
        let mut pipeline = load(&format!("{LATEST}{alarm}")).unwrap();
        let (yes, no) = (Ok(Value::Bool(true)), Ok(Value::Bool(false)));
        assert_eq!(answers(&mut pipeline, "a", &[0.0, 4.0, 0.0, 2.0]), [yes, yes]);
        assert_eq!(answers(&mut pipeline, "b", &[0.0, 2.0]), [no]);
        pipeline.finish();
        assert_eq!(answers(&mut pipeline, "a", &[0.0, 2.0]), [no], "a new beginning");
    }

    #[test]
    fn what_has_no_answer_is_told_with_the_reason_and_the_next_frame_is_answered() {
        let scale = "[stages.much]\nkind = 'scale'\ninput = 'latest'\ngain = 1e38\n\
                     [outputs]\nit = { from = 'much' }";
        let mut pipeline = load(&format!("{LATEST}{scale}")).unwrap();
        let found = answers(&mut pipeline, "a", &[0.0, 9.0, 0.0, 0.0]);
        assert_eq!(found, [Err("not_finite"), Ok(Value::Number(0.0))]);
        let class = "[stages.class]\nkind = 'one-hot'\ninput = 'latest'\nclasses = 2\n\
                     [stages.one]\nkind = 'select'\ninput = 'class'\nindex = 1\n\
                     [outputs]\nit = { from = 'one' }";
        let mut pipeline = load(&format!("{LATEST}{class}")).unwrap();
        let found = answers(&mut pipeline, "a", &[0.0, 2.0, 0.0, 1.0]);
        assert_eq!(found, [Err("value"), Ok(Value::Number(1.0))]);
    }

    #[test]
    fn a_constant_goes_with_every_frame() {
        let constant = "[stages.level]\nkind = 'constant'\nvalues = [7]\nelement = 'i64'\n\
                        [outputs]\nit = { from = 'level' }";
        let mut pipeline = load(constant).unwrap();
        let seven = Ok(Value::Integer(7));
        assert_eq!(answers(&mut pipeline, "a", &[0.0; 4]), [seven, seven]);
        let said = refused(&constant.replace("[7]", "[0.5]"));
        assert_eq!(said, "stage level: values: 0.5 is no i64");
    }

    #[test]
    fn a_filter_goes_on_from_frame_to_frame_and_begins_anew_behind_a_gap() {
        let stages = "[stages.smooth]\nkind = 'filter'\ninput = 'window'\nfir = [0.5, 0.5]\n\
                      [stages.first]\nkind = 'select'\ninput = 'smooth'\nindex = 0\n\
                      [outputs]\nit = { from = 'first', unit = 'l/s' }";
        let mut pipeline = load(stages).unwrap();
        let number = |value| Ok(Value::Number(value));
        assert_eq!(
            answers(&mut pipeline, "a", &[4.0, 2.0, 0.0, 8.0, 0.0, 0.0]),
            [number(4.0), number(1.0), number(4.0)]
        );
        // 6 and 7 were dropped.
        let found: Vec<_> = [(8, 1.0), (9, 1.0)]
            .into_iter()
            .flat_map(|(at, flow)| push(&mut pipeline, "a", at, flow))
            .map(|frame| frame.result.unwrap()[0].outputs["it"])
            .collect();
        assert_eq!(found, [Value::Number(1.0)]);
        let without = HEAD.replace("warm_up_readings = 4\n", "");
        let said = BundleFile::parse(&format!("{without}{stages}")).unwrap_err().to_string();
        assert!(said.starts_with("stage smooth: has state, which a fresh worker lacks"), "{said}");
    }

    #[test]
    fn behind_a_time_without_readings_all_begins_anew_also_where_no_frame_lies_over_it() {
        let stages = "[stages.smooth]\nkind = 'filter'\ninput = 'window'\nfir = [0.5, 0.5]\n\
                      [stages.it]\nkind = 'select'\ninput = 'smooth'\nindex = 0\n\
                      [outputs]\nit = { from = 'it' }";
        let text = format!("{HEAD}{stages}").replace("rate_hz = 1.0", "time = 't'");
        let told = |gap: &str, times: &[i64]| {
            let text = text.replace("stride = 2\n", &format!("stride = 2\n{gap}"));
            let bundle = BundleFile::parse(&text).unwrap();
            let built = build(bundle, BTreeMap::new()).unwrap();
            let options = LoadOptions::default();
            let mut pipeline =
                Pipeline::load(&built.manifest, &MemoryFiles(&built), &options).unwrap();
            let readings = (0..).zip(times).map(|(sequence, time)| Reading {
                key: "a".into(),
                sequence,
                time_unix_ns: time * 1_000_000_000,
                values: vec![2.0 * sequence as f64, 0.0],
            });
            let frames = readings.flat_map(|reading| pipeline.push(&reading)).map(|frame| {
                match frame.result {
                    Ok(parts) => parts[0].outputs["it"].to_string(),
                    Err(error) => error.to_string(),
                }
            });
            frames.collect::<Vec<_>>().join(", ")
        };
        let gap = "gap_seconds = 5\n";
        assert_eq!(told(gap, &[0, 5, 10, 15]), "0, 3");
        assert_eq!(told(gap, &[0, 5, 11, 15]), "0, 4");
        assert_eq!(told("", &[0, 5, 11, 15]), "0, 3");
        let over =
            "0, 6000 ms lie between two of its readings, more than the window's gap_seconds, 8";
        assert_eq!(told(gap, &[0, 5, 9, 15, 16, 17]), over);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_stage_and_input() {
        let output = "[outputs]\nit = { from = 'it' }";
        for (stage, said) in [
            (
                "kind = 'scale'\ninput = 'window'\ngain = [1, 2, 3]",
                "stage it: input input: window is f32 [2, 2], gain has 3 values for 2 columns",
            ),
            (
                "kind = 'threshold'\ninput = 'window'\nabove = 1",
                "stage it: input input: window is f32 [2, 2], one number is needed",
            ),
            (
                "kind = 'threshold'\ninput = 'latest'\nabove = 1\ninput_unit = 'm3/h'",
                "stage it: input input: latest is f32 [1], in l/s: m3/h is needed",
            ),
            (
                "kind = 'top-k'\ninput = 'window'\nk = 3",
                "output it: it is none of its outputs: write one of it.values, it.indices",
            ),
            (
                "kind = 'argmax'\ninput = 'latest.best'",
                "stage it: input input: stage latest has one output, not best: write latest",
            ),
            (
                "kind = 'softmax'\ninput = 'window'",
                "output it: it is f32 [2, 2], one number is needed",
            ),
        ] {
            assert_eq!(refused(&format!("{LATEST}[stages.it]\n{stage}\n{output}")), said);
        }
        let unit = "[outputs]\nit = { from = 'latest', unit = 'm3/h' }";
        assert_eq!(refused(&format!("{LATEST}{unit}")), "output it: latest is in l/s, not in m3/h");
    }

    #[test]
    fn an_alarm_is_yes_or_no_and_the_plant_is_told_what_the_output_could_be() {
        let stages = format!(
            "{LATEST}[stages.alarm]\nkind = 'threshold'\ninput = 'latest'\nabove = 3\n\
             [stages.class]\nkind = 'argmax'\ninput = 'latest'\n\
             [outputs]\nflow.from = 'latest'\nalarm.from = 'alarm'\nclass.from = 'class'\n"
        );
        for (alarm, fail_safe, said) in [
            ("alarm", "alarm = true\nflow = 0.5\nclass = 3", "accepted"),
            (
                "flow",
                "",
                "output flow: alarm_output names it, and latest is f32: an alarm is yes or no, which a stage \
                 `threshold` makes of a number",
            ),
            (
                "class",
                "",
                "output class: alarm_output names it, and class is i64: an alarm is yes or no, which a stage \
                 `threshold` makes of a number",
            ),
            (
                "alarm",
                "flow = true",
                "output flow: fail_safe.flow: true is no number, and latest is f32",
            ),
            (
                "alarm",
                "class = 0.5",
                "output class: fail_safe.class: 0.5 is no i64, and class is i64",
            ),
            (
                "alarm",
                "alarm = 1",
                "output alarm: fail_safe.alarm: 1 is neither true nor false, and alarm is bool",
            ),
        ] {
            let head = HEAD.replacen("name =", &format!("alarm_output = '{alarm}'\nname ="), 1);
            let text = format!("{head}{stages}[fail_safe]\n{fail_safe}\n");
            let built = build(BundleFile::parse(&text).unwrap(), BTreeMap::new()).unwrap();
            let files = MemoryFiles(&built);
            let load = |before| {
                let options = LoadOptions { before, ..LoadOptions::default() };
                let loaded = Pipeline::load(&built.manifest, &files, &options);
                loaded.map_or_else(|error| error.to_string(), |_| "accepted".into())
            };
            let at_desk = check_fit(&built.manifest, &files);
            assert_eq!(at_desk.map_or_else(|it| it.to_string(), |()| "accepted".into()), said);
            assert_eq!(load(Before::Refused), said);
            assert_eq!(load(Before::Runs), "accepted", "a device has it already: {text}");
        }
    }
}
