//! A plan of tract's at work, in memory that is kept from run to run.

use crate::engine::registers;
use std::cell::Cell;
use std::sync::Arc;
use tract_onnx::prelude::{TValue, TVec, TractResult, TypedRunnableModel, TypedSimpleState};
use tract_onnx::tract_core::plan::eval;

/// Runs one plan.
pub(super) struct Session {
    plan: Arc<TypedRunnableModel>,
    /// What the last run worked in; none behind one that failed.
    kept: Cell<Option<TypedSimpleState>>,
}

impl Session {
    /// A session that has run nothing yet.
    pub(super) fn new(plan: Arc<TypedRunnableModel>) -> Session {
        Session { plan, kept: Cell::new(None) }
    }

    /// Runs the plan. No run knows of another.
    ///
    /// # Errors
    /// What tract says.
    pub(super) fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut state = match self.kept.take() {
            Some(state) => state,
            None => self.plan.spawn()?,
        };
        let outputs = state.run_plan_with_eval(inputs, |context, kept, node, inputs| {
            let outputs = eval(context, kept, node, inputs);
            // What follows may be no kernel, and is compiled for any processor.
            registers::let_go();
            outputs
        })?;
        // Operators that loop carry something on, which is to end with the run.
        if state.op_states.iter().all(Option::is_none) {
            self.kept.set(Some(state));
        }
        Ok(outputs)
    }
}
