//! Turns a manifest and its files into a pipeline, or says which stage does not fit and why.

use super::graph::{Pipeline, Step, Work};
use super::model::Model;
use crate::engine::{EngineError, Engines, OnnxModel};
use crate::files::{Files, FilesError};
use crate::plugin::{PluginCache, Sandbox, SandboxError, SandboxLimits};
use crate::tensor::{Element, Port};
use lineside_bundle::{DescriptionError, Manifest, Stage, TensorRef};
use std::collections::BTreeMap;

/// How to load a pipeline.
#[derive(Clone, Default)]
pub struct LoadOptions {
    /// Where compiled plugins are kept; without one they are compiled each time.
    pub cache: Option<PluginCache>,
    /// Interpret plugins even where they could be compiled.
    pub interpret_plugins: bool,
    /// Which engine each model is loaded into.
    pub engines: Engines,
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
        let mut sandbox = None;
        let mut made: BTreeMap<TensorRef, Port> = BTreeMap::new();
        let mut steps = Vec::new();
        for name in bundle.order()? {
            let stage = &bundle.stages[name];
            let fit = |problem| LoadError::Fit { stage: name.to_owned(), problem };
            let read = |path: &str| {
                let stage = name.to_owned();
                files.read(path).map_err(|source| LoadError::File { stage, source })
            };
            let (work, inputs, outputs) = match stage {
                Stage::Window { rows, .. } => {
                    let fields = bundle.port().1.fields.len();
                    let rows_shape = *rows as usize;
                    let shape =
                        if fields == 1 { vec![rows_shape] } else { vec![rows_shape, fields] };
                    let port = Port::new(String::new(), Element::F32, shape.clone())
                        .map_err(|error| fit(error.to_string()))?;
                    (Work::Window { shape }, vec![], vec![port])
                }
                Stage::Model { file, inputs, shapes, state, engine } => {
                    let bytes = read(file)?;
                    let failed = |source| LoadError::Model {
                        stage: name.to_owned(),
                        file: file.clone(),
                        source,
                    };
                    let onnx = OnnxModel::read(&bytes).map_err(failed)?;
                    let mut given = BTreeMap::new();
                    for (input, from) in inputs {
                        given.insert(
                            input.clone(),
                            tensor(&made, from).map_err(fit)?.shape().to_vec(),
                        );
                    }
                    for (input, sizes) in shapes {
                        let sizes = sizes.iter().map(|size| *size as usize).collect();
                        given.insert(input.clone(), sizes);
                    }
                    let ports = onnx.settle(&given).map_err(failed)?;
                    let engines = options.engines.of(name, engine.as_deref()).map_err(failed)?;
                    let (engine, loaded) = onnx.load(&engines, &ports).map_err(failed)?;
                    let model = Model::new(engine, loaded, state).map_err(fit)?;
                    let (inputs, outputs) = (model.fed(), model.outputs().to_vec());
                    (Work::Model(Box::new(model)), inputs, outputs)
                }
                Stage::Plugin { plugin, config, .. } => {
                    let wasm = read(plugin)?;
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
                    let limits = SandboxLimits {
                        memory_bytes: (bundle.limits.plugin_memory_mib as usize) << 20,
                        call: bundle.limits.frame(),
                    };
                    // Started once here, so that a plugin that cannot start is refused now.
                    let started = sandbox
                        .compile(&wasm)
                        .and_then(|plugin| Ok((plugin.start(&settings, limits)?, plugin)));
                    let (instance, plugin) = started.map_err(|source| LoadError::Plugin {
                        stage: name.to_owned(),
                        file: plugin.clone(),
                        source,
                    })?;
                    let (inputs, outputs) =
                        (instance.inputs().to_vec(), instance.outputs().to_vec());
                    (Work::plugin(plugin, settings, limits), inputs, outputs)
                }
                Stage::Select { input, index } => {
                    let from = tensor(&made, input).map_err(fit)?;
                    if *index as usize >= from.len() {
                        return Err(fit(format!("index {index} is beyond {}", from.form())));
                    }
                    let port = Port::single(from.element());
                    (Work::Select(*index as usize), vec![from.clone()], vec![port])
                }
                Stage::Threshold { input, above, below } => {
                    let from = tensor(&made, input).map_err(fit)?;
                    if from.len() != 1 || !from.element().is_number() {
                        return Err(fit(format!(
                            "{input} is {}, one number is needed",
                            from.form()
                        )));
                    }
                    let port = Port::single(Element::Bool);
                    let work = Work::Threshold { above: *above, below: *below };
                    (work, vec![from.clone()], vec![port])
                }
            };
            let sources = connect(stage, &inputs, &made).map_err(fit)?;
            for port in &outputs {
                let output = (!port.name().is_empty()).then(|| port.name().to_owned());
                made.insert(TensorRef { stage: name.to_owned(), output }, port.clone());
            }
            steps.push(Step { name: name.to_owned(), work, sources, outputs });
        }
        for (name, output) in &bundle.outputs {
            let fail = |problem| LoadError::Output { output: name.clone(), problem };
            let port = tensor(&made, &output.from).map_err(fit_output(name))?;
            if port.len() != 1 || !port.element().is_number() {
                return Err(fail(format!(
                    "{} is {}, one number is needed",
                    output.from,
                    port.form()
                )));
            }
        }
        Ok(Pipeline::new(bundle, steps))
    }
}

fn fit_output(name: &str) -> impl Fn(String) -> LoadError {
    let output = name.to_owned();
    move |problem| LoadError::Output { output: output.clone(), problem }
}

fn tensor<'a>(made: &'a BTreeMap<TensorRef, Port>, wanted: &TensorRef) -> Result<&'a Port, String> {
    made.get(wanted).ok_or_else(|| {
        let outputs: Vec<String> = made
            .keys()
            .filter(|tensor| tensor.stage == wanted.stage)
            .map(ToString::to_string)
            .collect();
        format!("there is no {wanted}, only [{}]", outputs.join(", "))
    })
}

/// Finds, for each input of a stage in the stage's own order, the tensor that feeds it.
fn connect(
    stage: &Stage,
    inputs: &[Port],
    made: &BTreeMap<TensorRef, Port>,
) -> Result<Vec<TensorRef>, String> {
    let wanted: BTreeMap<&str, &TensorRef> = stage.tensors().into_iter().collect();
    if let Stage::Select { input, .. } | Stage::Threshold { input, .. } = stage {
        return Ok(vec![input.clone()]);
    }
    for name in wanted.keys() {
        if !inputs.iter().any(|port| port.name() == *name) {
            let names: Vec<_> = inputs.iter().map(Port::name).collect();
            return Err(format!("has no input {name}, only [{}]", names.join(", ")));
        }
    }
    let mut sources = Vec::new();
    for port in inputs {
        let source = wanted
            .get(port.name())
            .ok_or_else(|| format!("nothing feeds input {} ({})", port.name(), port.form()))?;
        let from = tensor(made, source)?;
        if from.len() != port.len() || from.element() != port.element() {
            return Err(format!(
                "input {} takes {}, {source} is {}",
                port.name(),
                port.form(),
                from.form()
            ));
        }
        sources.push((*source).clone());
    }
    Ok(sources)
}
