//! Stages about images: `[height, width]`, or `[height, width, channels]`.

use super::{BuiltIn, count};
use crate::description::TensorRef;
use serde::{Deserialize, Serialize};

/// Pixels along a side.
const SIDE_MAX: u32 = 1 << 14;

/// How a pixel is made of those that lie there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// Of the four around its middle, by how near they are.
    #[default]
    Bilinear,
    /// That in which its middle lies.
    Nearest,
}

/// Makes an image larger or smaller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    /// The image.
    pub input: TensorRef,
    /// Height of what comes out, in pixels.
    pub height: u32,
    /// Width of what comes out, in pixels.
    pub width: u32,
    /// How a pixel is made of those that lie there.
    #[serde(default)]
    pub interpolation: Interpolation,
}

impl BuiltIn for Resize {
    fn tensors(&self) -> Vec<(&'static str, &TensorRef)> {
        vec![("input", &self.input)]
    }

    fn check(&self) -> Result<(), String> {
        count("height", self.height, SIDE_MAX)?;
        count("width", self.width, SIDE_MAX)
    }

    fn told(&self) -> String {
        format!("{} at {} by {}", self.input, self.height, self.width)
    }
}

/// Takes a piece of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crop {
    /// The image.
    pub input: TensorRef,
    /// Height of the piece, in pixels.
    pub height: u32,
    /// Width of the piece, in pixels.
    pub width: u32,
    /// Rows above it; as many above as below unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<u32>,
    /// Pixels to the left of it; as many as to the right unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u32>,
}

impl BuiltIn for Crop {
    fn tensors(&self) -> Vec<(&'static str, &TensorRef)> {
        vec![("input", &self.input)]
    }

    fn check(&self) -> Result<(), String> {
        count("height", self.height, SIDE_MAX)?;
        count("width", self.width, SIDE_MAX)
    }

    fn told(&self) -> String {
        format!("{} by {} of {}", self.height, self.width, self.input)
    }
}

/// What the channels of an image are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Colours {
    /// Red, green and blue.
    Rgb,
    /// Blue, green and red.
    Bgr,
    /// How bright it is: one channel.
    Grey,
}

/// Changes what the channels of an image are, and whether they come first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Colour {
    /// The image.
    pub input: TensorRef,
    /// What its channels are.
    pub from: Colours,
    /// What they become.
    pub to: Colours,
    /// Whether they come first: `[channels, height, width]`.
    #[serde(default)]
    pub planes: bool,
}

impl BuiltIn for Colour {
    fn tensors(&self) -> Vec<(&'static str, &TensorRef)> {
        vec![("input", &self.input)]
    }

    fn check(&self) -> Result<(), String> {
        match (self.from, self.to, self.planes) {
            (from, to, false) if from == to => {
                Err("changes nothing: `from` and `to` are the same, and `planes` is not set".into())
            }
            _ => Ok(()),
        }
    }

    fn told(&self) -> String {
        let planes = if self.planes { ", channels first" } else { "" };
        format!("{} from {:?} to {:?}{planes}", self.input, self.from, self.to).to_lowercase()
    }
}
