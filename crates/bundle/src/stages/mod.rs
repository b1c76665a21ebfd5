//! The stages that are built in, as their author describes them. What they do is the runtime's affair.

mod boxes;
mod classes;
mod constant;
mod each;
mod image;
mod layout;
mod numbers;
mod signal;
mod threshold;
mod window;

pub use boxes::{BoxForm, NonMaximumSuppression};
pub use classes::{Argmax, OneHot, Softmax, TopK, Unknown};
pub use constant::Constant;
pub use each::Each;
pub use image::{Colour, Colours, Crop, Interpolation, Resize};
pub use layout::{Cast, Transpose};
pub use numbers::{Difference, Method, Normalise, Scale, Select};
pub use signal::{Filter, Gives, Mel, MelScale, Spectrum, Taper};
pub use threshold::Threshold;
pub use window::{Between, Resample, Window};

use crate::description::TensorRef;

/// What the description of every built-in stage can be asked.
pub trait BuiltIn {
    /// The tensors that it reads, with the name that it has for each.
    fn tensors(&self) -> Vec<(&'static str, &TensorRef)>;

    /// The names of its outputs; empty where it has one, which goes by the name of the stage.
    fn outputs(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether it carries something from one frame of a stream to the next.
    fn has_state(&self) -> bool {
        false
    }

    /// Checks what can be checked without knowing what comes in.
    ///
    /// # Errors
    /// What is wrong, by key.
    fn check(&self) -> Result<(), String>;

    /// What it does, in a few words for people.
    fn told(&self) -> String;
}

/// Checks a number that a manifest, which is JSON, has to hold.
fn finite(key: &str, number: f64) -> Result<(), String> {
    match number.is_finite() {
        true => Ok(()),
        false => Err(format!("{key} = {number} must be finite")),
    }
}

/// Checks a number of things that has to be there and must not fill the memory.
fn count(key: &str, number: u32, max: u32) -> Result<(), String> {
    match (1..=max).contains(&number) {
        true => Ok(()),
        false => Err(format!("{key} = {number} must be 1 to {max}")),
    }
}
