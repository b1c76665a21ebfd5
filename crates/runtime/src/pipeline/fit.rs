//! What can be said of a bundle's tensors before anything of it is loaded: at the desk, when it is built.

use super::flow::Flow;
use super::load::{LoadError, sizes};
use super::made::{Made, window};
use super::plugin;
use super::profile::profile;
use super::stages;
use crate::engine::{Declared, Dimension, OnnxModel};
use crate::files::Files;
use crate::plugin::{Sandbox, SandboxLimits};
use crate::tensor::Port;
use lineside_bundle::{Manifest, Stage, TensorRef};
use std::collections::BTreeSet;

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
    for name in bundle.order()? {
        let stage = &bundle.stages[name];
        let fit = |problem| LoadError::Fit { stage: name.to_owned(), problem };
        check_policy(manifest, files, name, stage)?;
        let is_fed = stage.tensors().iter().all(|(_, from)| is_known(&made, &open, from));
        match stage {
            Stage::Window(_) => {
                made.add(name, &[window(bundle, name).map_err(fit)?.1]);
            }
            Stage::Resample(_) => {}
            Stage::Constant(constant) => {
                made.add(name, &[stages::constant(constant).map_err(fit)?.0]);
            }
            Stage::Model { file, inputs, units, shapes, state, .. } if is_fed => {
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
                let given = sizes(&made, model.facts(), inputs, shapes).map_err(fit)?;
                let mut ports = model.settle(&given).map_err(failed)?;
                ports.retain(|port| !state.values().any(|carried| carried == port.name()));
                made.connect(stage, &ports).map_err(fit)?;
                let outputs: Vec<_> = model.facts().outputs.iter().map(declared).collect();
                if outputs.iter().any(Option::is_none) {
                    open.insert(name);
                }
                made.add(name, &outputs.into_iter().flatten().collect::<Vec<_>>());
            }
            Stage::Plugin { inputs, units, .. } if is_fed => {
                made.check_units(inputs, units).map_err(fit)?;
                open.insert(name);
            }
            Stage::Model { .. } | Stage::Plugin { .. } => {
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
        if is_known(&made, &open, &output.from) {
            let fail = |problem| LoadError::Output { output: name.clone(), problem };
            made.check_output(output).map_err(fail)?;
        }
    }
    Ok(())
}

/// Checks what a plugin is to give where it breaks. Only the plugin itself says what it gives, so it is
/// started where its bundle has values for that.
fn check_policy(
    manifest: &Manifest,
    files: &dyn Files,
    name: &str,
    stage: &Stage,
) -> Result<(), LoadError> {
    let Stage::Plugin { plugin: file, config, on_trap, fail_safe, .. } = stage else {
        return Ok(());
    };
    if fail_safe.is_empty() {
        return Ok(());
    }
    let at = || name.to_owned();
    let wasm = files.read(file).map_err(|source| LoadError::File { stage: at(), source })?;
    let settings: Vec<_> = config.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let instance = Sandbox::native(None)
        .map_err(LoadError::Sandbox)?
        .compile(&wasm)
        .and_then(|plugin| plugin.start(&settings, SandboxLimits::of(&manifest.bundle.limits)))
        .map_err(|source| LoadError::Plugin { stage: at(), file: file.clone(), source })?;
    let checked = plugin::policy(*on_trap, fail_safe, instance.outputs());
    checked.map(drop).map_err(|problem| LoadError::Fit { stage: at(), problem })
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
