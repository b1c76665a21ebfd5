//! What can be said of a bundle's tensors before anything of it is loaded: at the desk, when it is built.

use super::flow::Flow;
use super::load::{LoadError, sizes};
use super::made::{Made, check_told, window};
use super::plugin;
use super::profile::profile;
use super::stages;
use crate::engine::{Declared, Dimension, ENGINE_NAMES, ENGINES, ModelFacts, OnnxModel, Unfit};
use crate::files::Files;
use crate::plugin::{Sandbox, SandboxLimits};
use crate::tensor::Port;
use lineside_bundle::{Manifest, Stage, TensorRef};
use std::collections::{BTreeMap, BTreeSet};

/// Checks that types, shapes and units fit, as far as descriptions and models say what they are. What only
/// a loaded model or a plugin knows is left to [`Pipeline::load`](super::Pipeline::load).
///
/// # Errors
/// [`LoadError`], as loading it would give.
pub fn check_fit(manifest: &Manifest, files: &dyn Files) -> Result<(), LoadError> {
    let bundle = &manifest.bundle;
    bundle.check()?;
    profile(manifest, files)?;
    let mut made = Made::default();
    let mut open = BTreeSet::new();
    // Of tensors whose shapes a model leaves free.
    let mut elements = BTreeMap::new();
    for name in bundle.order()? {
        let stage = &bundle.stages[name];
        let fit = |problem| LoadError::Fit { stage: name.to_owned(), problem };
        let started = started(manifest, files, name, stage)?;
        let is_fed = stage.tensors().iter().all(|(_, from)| is_known(&made, &open, from));
        match stage {
            Stage::Window(_) => {
                made.add(name, &[window(bundle, name).map_err(fit)?.1]);
            }
            Stage::Resample(_) => {}
            Stage::Constant(constant) => {
                made.add(name, &[stages::constant(constant).map_err(fit)?.0]);
            }
            Stage::Model { file, inputs, units, shapes, state, engine } if is_fed => {
                made.check_units(inputs, units).map_err(fit)?;
                let read = files.read(file);
                let bytes =
                    read.map_err(|source| LoadError::File { stage: name.to_owned(), source })?;
                let failed = |source| LoadError::Model {
                    stage: name.to_owned(),
                    file: file.clone(),
                    source,
                };
                let model = OnnxModel::read(&bytes).map_err(failed)?;
                check_engine(engine.as_deref(), model.facts()).map_err(fit)?;
                let given = sizes(&made, model.facts(), inputs, shapes).map_err(fit)?;
                let mut ports = model.settle(&given).map_err(failed)?;
                ports.retain(|port| !state.values().any(|carried| carried == port.name()));
                made.connect(stage, &ports).map_err(fit)?;
                let outputs: Vec<_> = model.facts().outputs.iter().map(declared).collect();
                if outputs.iter().any(Option::is_none) {
                    open.insert(name);
                }
                for output in &model.facts().outputs {
                    let (stage, output_name) = (name.to_owned(), Some(output.name.clone()));
                    elements.insert(TensorRef { stage, output: output_name }, output.element);
                }
                made.add(name, &outputs.into_iter().flatten().collect::<Vec<_>>());
            }
            Stage::Plugin { inputs, units, .. } => {
                if is_fed {
                    made.check_units(inputs, units).map_err(fit)?;
                }
                match started {
                    Some(outputs) => drop(made.add(name, &outputs)),
                    None => drop(open.insert(name)),
                }
            }
            Stage::Model { .. } => {
                open.insert(name);
            }
            built_in if is_fed => {
                let (_, fitted) = made.fit(built_in).map_err(fit)?;
                made.add(name, &fitted.outputs);
            }
            _ => {
                open.insert(name);
            }
        }
    }
    for (name, output) in &bundle.outputs {
        let fail = |problem| LoadError::Output { output: name.clone(), problem };
        if is_known(&made, &open, &output.from) {
            made.check_output(output).map_err(fail)?;
            made.check_told(bundle, name, output).map_err(fail)?;
        } else if let Some(element) = elements.get(&output.from).copied().flatten() {
            check_told(bundle, name, output, element).map_err(fail)?;
        }
    }
    Ok(())
}

/// What a plugin gives, where the bundle says something that only the plugin itself can confirm, so that it is
/// started: values for when it breaks, or that an output of it is the alarm or has a value for `[fail_safe]`.
///
/// # Errors
/// A plugin that does not start, or values that are none of its outputs'.
fn started(
    manifest: &Manifest,
    files: &dyn Files,
    name: &str,
    stage: &Stage,
) -> Result<Option<Vec<Flow>>, LoadError> {
    let Stage::Plugin { plugin: file, config, on_trap, fail_safe, .. } = stage else {
        return Ok(None);
    };
    let bundle = &manifest.bundle;
    let is_told = |output: &str| {
        bundle.alarm_output.as_deref() == Some(output) || bundle.fail_safe.contains_key(output)
    };
    let mut outputs = bundle.outputs.iter();
    if fail_safe.is_empty() && !outputs.any(|(it, of)| of.from.stage == name && is_told(it)) {
        return Ok(None);
    }
    let at = || name.to_owned();
    let wasm = files.read(file).map_err(|source| LoadError::File { stage: at(), source })?;
    let settings: Vec<_> = config.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let instance = Sandbox::native(None)
        .map_err(LoadError::Sandbox)?
        .compile(&wasm)
        .and_then(|plugin| plugin.start(&settings, SandboxLimits::of(&manifest.bundle.limits)))
        .map_err(|source| LoadError::Plugin { stage: at(), file: file.clone(), source })?;
    plugin::policy(*on_trap, fail_safe, instance.outputs())
        .map_err(|problem| LoadError::Fit { stage: at(), problem })?;
    Ok(Some(instance.outputs().iter().cloned().map(Flow::of).collect()))
}

/// Whether the only engine that may run a model is one, and has its operators. Whether it is to be had is each
/// machine's affair.
///
/// # Errors
/// The engines that there are, or what it lacks.
fn check_engine(engine: Option<&str>, facts: &ModelFacts) -> Result<(), String> {
    let Some(name) = engine else { return Ok(()) };
    if !ENGINE_NAMES.contains(&name) {
        return Err(format!("there is no engine {name}, only {}", ENGINE_NAMES.join(", ")));
    }
    let Some(engine) = ENGINES.iter().find(|engine| engine.name() == name) else { return Ok(()) };
    let operators: Vec<_> = facts.operators.keys().collect();
    match engine.objections(&operators) {
        objections if objections.is_empty() => Ok(()),
        objections => {
            Err(format!("engine {name} {}: name another, or none", Unfit::Operators(objections)))
        }
    }
}

/// Whether a tensor has been declared, or will never be: then it is an error to say so.
fn is_known(made: &Made, open: &BTreeSet<&str>, tensor: &TensorRef) -> bool {
    made.flow(tensor).is_ok() || !open.contains(tensor.stage.as_str())
}

/// An output of a model, if the file says all of it.
fn declared(output: &Declared) -> Option<Flow> {
    let size = |dimension: &Dimension| match dimension {
        Dimension::Fixed(size) => Some(*size),
        Dimension::Free(_) => None,
    };
    let shape = output.shape.as_ref()?.iter().map(size).collect::<Option<Vec<_>>>()?;
    Some(Flow::of(Port::new(output.name.clone(), output.element?, shape).ok()?))
}
