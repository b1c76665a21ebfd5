//! Stages about signals: what is in them over time, and over frequency.

use super::{BuiltIn, count, finite};
use crate::description::TensorRef;
use serde::{Deserialize, Serialize};

/// Coefficients of a filter of finite response.
const TAPS_MAX: usize = 4096;
/// Sections of a filter, one behind the other.
const SECTIONS_MAX: usize = 64;
/// Values that one transform may take.
const SIZE_MAX: u32 = 1 << 16;
/// Bands that a spectrum may be cut into.
const BANDS_MAX: u32 = 4096;

/// Filters each column along its rows, on from where the stream's frame before has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// The tensor.
    pub input: TensorRef,
    /// Coefficients of a filter of finite response, the one of the newest row first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fir: Option<Vec<f64>>,
    /// Sections of second order, one behind the other: `b0, b1, b2, a0, a1, a2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub biquads: Option<Vec<[f64; 6]>>,
}

impl BuiltIn for Filter {
    fn tensors(&self) -> Vec<(&'static str, &TensorRef)> {
        vec![("input", &self.input)]
    }

    fn has_state(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        match (&self.fir, &self.biquads) {
            (Some(fir), None) => {
                if !(1..=TAPS_MAX).contains(&fir.len()) {
                    return Err(format!(
                        "fir has {} values, 1 to {TAPS_MAX} are possible",
                        fir.len()
                    ));
                }
                fir.iter().try_for_each(|tap| finite("fir", *tap))
            }
            (None, Some(biquads)) => {
                if !(1..=SECTIONS_MAX).contains(&biquads.len()) {
                    let sections = biquads.len();
                    return Err(format!(
                        "biquads has {sections} sections, 1 to {SECTIONS_MAX} are possible"
                    ));
                }
                biquads.iter().enumerate().try_for_each(|(at, section)| check_section(at, section))
            }
            _ => Err("needs either `fir` or `biquads`".into()),
        }
    }

    fn told(&self) -> String {
        match (&self.fir, &self.biquads) {
            (Some(fir), _) => format!("{} filtered by {} coefficients", self.input, fir.len()),
            (None, biquads) => {
                let sections = biquads.as_ref().map_or(0, Vec::len);
                format!("{} filtered by {sections} sections", self.input)
            }
        }
    }
}

/// Checks that a section's answer to a pulse dies away: both of its poles lie within the unit circle.
fn check_section(at: usize, section: &[f64; 6]) -> Result<(), String> {
    section
        .iter()
        .try_for_each(|number| finite(&format!("biquads, section {at}: a value"), *number))?;
    let [_, _, _, a0, a1, a2] = section;
    let (a1, a2) = (a1 / a0, a2 / a0);
    if !(a2.abs() < 1.0 && a1.abs() < 1.0 + a2) {
        return Err(format!(
            "biquads, section {at} is not stable: its answer to a pulse never ends"
        ));
    }
    Ok(())
}

/// What a piece of signal is multiplied by before it is transformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Taper {
    /// Nothing.
    #[default]
    None,
    /// `0.5 - 0.5 cos(2 pi n / N)`.
    Hann,
    /// `0.54 - 0.46 cos(2 pi n / N)`.
    Hamming,
    /// `0.42 - 0.5 cos(2 pi n / N) + 0.08 cos(4 pi n / N)`.
    Blackman,
}

/// What is told of each frequency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gives {
    /// The absolute value of the transform.
    #[default]
    Magnitude,
    /// Its square.
    Power,
}

/// The spectrum of each column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spectrum {
    /// The tensor.
    pub input: TensorRef,
    /// Values that a transform takes; as many as there are rows unless set. More: noughts are added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// Rows from one transform's first to the next one's; without it there is one transform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hop: Option<u32>,
    /// What the values are multiplied by.
    #[serde(default)]
    pub taper: Taper,
    /// What is told of each frequency.
    #[serde(default)]
    pub gives: Gives,
}

impl BuiltIn for Spectrum {
    fn tensors(&self) -> Vec<(&'static str, &TensorRef)> {
        vec![("input", &self.input)]
    }

    fn check(&self) -> Result<(), String> {
        self.size.map_or(Ok(()), |size| count("size", size, SIZE_MAX))?;
        self.hop.map_or(Ok(()), |hop| count("hop", hop, SIZE_MAX))
    }

    fn told(&self) -> String {
        let what = match self.gives {
            Gives::Magnitude => "magnitudes",
            Gives::Power => "powers",
        };
        format!("{what} of the spectrum of {}", self.input)
    }
}

/// Which frequencies seem equally far apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MelScale {
    /// `2595 log10(1 + f / 700)`.
    #[default]
    Htk,
    /// Linear up to 1000 Hz and logarithmic above.
    Slaney,
}

/// Sums a spectrum in bands that overlap and are equally wide to the ear.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mel {
    /// The spectrum: frequencies along its last dimension.
    pub input: TensorRef,
    /// Values that the transform took.
    pub size: u32,
    /// Values a second.
    pub rate_hz: f64,
    /// How many bands.
    pub bands: u32,
    /// Where the first begins; 0 unless set.
    #[serde(default)]
    pub low_hz: f64,
    /// Where the last ends; half of `rate_hz` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_hz: Option<f64>,
    /// Which frequencies seem equally far apart.
    #[serde(default)]
    pub scale: MelScale,
    /// If set, the natural logarithm is given, and anything below counts as this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_floor: Option<f64>,
}

impl Mel {
    /// Where the last band ends.
    pub fn high_hz(&self) -> f64 {
        self.high_hz.unwrap_or(self.rate_hz / 2.0)
    }
}

impl BuiltIn for Mel {
    fn tensors(&self) -> Vec<(&'static str, &TensorRef)> {
        vec![("input", &self.input)]
    }

    fn check(&self) -> Result<(), String> {
        count("size", self.size, SIZE_MAX)?;
        count("bands", self.bands, BANDS_MAX)?;
        let high = self.high_hz();
        for (key, number) in [("rate_hz", self.rate_hz), ("low_hz", self.low_hz), ("high_hz", high)]
        {
            finite(key, number)?;
        }
        let (low, most) = (self.low_hz, self.rate_hz / 2.0);
        if !(0.0 <= low && low < high && high <= most) {
            return Err(format!(
                "bands from low_hz = {low} to high_hz = {high} do not lie within 0 to {most}, half of rate_hz"
            ));
        }
        match self.log_floor {
            Some(floor) if !(floor.is_finite() && floor > 0.0) => {
                Err(format!("log_floor = {floor} must be above zero"))
            }
            _ => Ok(()),
        }
    }

    fn told(&self) -> String {
        format!("{} in {} mel bands", self.input, self.bands)
    }
}
