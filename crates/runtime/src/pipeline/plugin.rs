//! A plugin as a stage: an instance a stream, replaced when it breaks.

use super::frame::Fault;
use super::graph::{Failure, Frame, overdue};
use crate::plugin::{CompiledPlugin, Instance, PluginError, SandboxLimits};
use crate::tensor::Tensor;
use std::collections::BTreeMap;
use std::time::Duration;

/// A plugin and its instances: one a stream, because they carry that stream's state.
pub(super) struct Plugin {
    compiled: CompiledPlugin,
    settings: Vec<(String, String)>,
    limits: SandboxLimits,
    instances: BTreeMap<String, Instance>,
}

impl Plugin {
    /// A stage of a plugin that is started anew for each stream.
    pub(super) fn new(
        compiled: CompiledPlugin,
        settings: Vec<(String, String)>,
        limits: SandboxLimits,
    ) -> Plugin {
        Plugin { compiled, settings, limits, instances: BTreeMap::new() }
    }

    /// What it makes of one part of a frame, within the time that the frame has `left`.
    pub(super) fn process(
        &mut self,
        frame: &Frame<'_>,
        inputs: &[&Tensor],
        left: Duration,
        restarts: &mut u64,
    ) -> Result<Vec<Vec<Tensor>>, Failure> {
        let mut instance = match self.instances.remove(frame.key) {
            Some(instance) => instance,
            None => self
                .compiled
                .start(&self.settings, self.limits)
                .map_err(|error| (Fault::PluginStart, error.to_string()))?,
        };
        let answer =
            instance.process((frame.number, frame.first, frame.time_unix_ns), inputs, left);
        match &answer {
            Ok(_) | Err(PluginError::Refused(_)) => {
                self.instances.insert(frame.key.to_owned(), instance);
            }
            // Its memory can no longer be relied on: the next frame gets a fresh instance.
            Err(_) => *restarts += 1,
        }
        answer.map_err(|error| match error {
            // It had what was left of the frame's time, which may have been next to nothing.
            PluginError::Time(_) => (Fault::PluginTime, overdue(self.limits.call).1),
            error => failure(error),
        })
    }

    /// What it has held back, at the end of a stream; its instance ends with it.
    pub(super) fn finish(
        &mut self,
        frame: &Frame<'_>,
        restarts: &mut u64,
    ) -> Result<Vec<Vec<Tensor>>, Failure> {
        let Some(mut instance) = self.instances.remove(frame.key) else { return Ok(vec![]) };
        let answer = instance.finish();
        if !matches!(&answer, Ok(_) | Err(PluginError::Refused(_))) {
            *restarts += 1;
        }
        answer.map_err(failure)
    }
}

fn failure(error: PluginError) -> Failure {
    let fault = match &error {
        PluginError::Refused(_) => Fault::PluginRefused,
        PluginError::Trap(_) => Fault::PluginTrap,
        PluginError::Time(_) => Fault::PluginTime,
        PluginError::Answer(_) => Fault::PluginAnswer,
    };
    (fault, error.to_string())
}
