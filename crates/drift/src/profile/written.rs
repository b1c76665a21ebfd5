//! A profile as JSON.

use super::learnt::{Learnt, Limits, Statistic};
use super::{COLUMNS_MAX, Chunk, ColumnProfile, Profile, ProfileError, Role};
use crate::column::Kind;
use crate::sketched::{ColumnSketch, Marks};
use lineside_sketch::{Categories, Edges};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Largest profile that is read, in bytes.
pub const PROFILE_BYTES_MAX: usize = 4 << 20;
/// The only format there is so far.
const FORMAT: u32 = 1;

/// A number, read to its last digit, which the reader of JSON does not by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number(pub f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        match text.get().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Number(number)),
            _ => Err(serde::de::Error::custom(format_args!("{} is no finite number", text.get()))),
        }
    }
}

/// The fields in this order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    /// Digests by path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    models: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chunk: Option<Chunk>,
    values_min: u64,
    columns: Vec<WrittenColumn>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenColumn {
    name: String,
    role: Role,
    /// Of numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    edges: Option<Vec<Number>>,
    /// Of texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    categories: Option<Vec<String>>,
    /// The sketch, its bytes in hexadecimal digits.
    reference: String,
    method: String,
    threshold: Number,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    learnt: Option<WrittenLearnt>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLearnt {
    chunks: u32,
    sigmas: Number,
    limits: BTreeMap<Statistic, Limits>,
}

impl Profile {
    /// The bytes that [`Profile::parse`] reads: a line of JSON. Equal profiles give equal bytes.
    pub fn to_json(&self) -> Vec<u8> {
        let columns = self.columns.iter().map(WrittenColumn::of).collect();
        let (chunk, values_min) = (self.chunk, self.values_min);
        let models = self.models.clone();
        let written = Written { format: FORMAT, models, chunk, values_min, columns };
        let mut bytes = serde_json::to_vec(&written)
            .expect("a profile has only string keys and finite numbers");
        bytes.push(b'\n');
        bytes
    }

    /// Reads a profile that anybody may have written.
    ///
    /// # Errors
    /// [`ProfileError`]. Nothing is reserved that the bytes at hand do not fill.
    pub fn parse(bytes: &[u8]) -> Result<Profile, ProfileError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }

        if bytes.len() > PROFILE_BYTES_MAX {
            return Err(ProfileError::Size(bytes.len()));
        }
        let Format { format } = serde_json::from_slice(bytes)?;
        if format != FORMAT {
            return Err(ProfileError::Format(format));
        }
        let written: Written = serde_json::from_slice(bytes)?;
        if written.columns.len() > COLUMNS_MAX {
            let problem = format!("{} columns", written.columns.len());
            return Err(ProfileError::Columns(problem));
        }
        let columns = written.columns.into_iter().map(|column| {
            let name = column.name.clone();
            column.read().map_err(|problem| ProfileError::Column { name, problem })
        });
        let columns = columns.collect::<Result<_, _>>()?;
        let profile = Profile::new(written.chunk, written.values_min, columns)?;
        Ok(profile.of_models(written.models))
    }
}

impl WrittenColumn {
    fn of(column: &ColumnProfile) -> WrittenColumn {
        let (edges, categories) = match &column.marks {
            Marks::Edges(edges) => {
                (Some(edges.edges().iter().copied().map(Number).collect()), None)
            }
            Marks::Categories(names) => (None, Some(names.names().to_vec())),
        };
        WrittenColumn {
            name: column.name.clone(),
            role: column.role,
            edges,
            categories,
            reference: hex(&column.reference.encode()),
            method: column.method.name().into(),
            threshold: Number(column.threshold),
            learnt: column.learnt.as_ref().map(|learnt| WrittenLearnt {
                chunks: learnt.chunks,
                sigmas: Number(learnt.sigmas),
                limits: learnt.limits.clone(),
            }),
        }
    }

    fn read(self) -> Result<ColumnProfile, String> {
        let marks = match (self.edges, self.categories) {
            (Some(edges), None) => {
                let edges = edges.into_iter().map(|Number(edge)| edge).collect();
                Marks::Edges(Edges::new(edges).map_err(|error| error.to_string())?)
            }
            (None, Some(names)) => {
                Marks::Categories(Categories::new(names).map_err(|error| error.to_string())?)
            }
            _ => return Err("it has either edges or categories".into()),
        };
        let kind: Kind = marks.kind();
        let bytes = bytes(&self.reference).ok_or("its reference is not in hexadecimal digits")?;
        let reference = ColumnSketch::decode(kind, &bytes);
        Ok(ColumnProfile {
            reference: reference.map_err(|error| format!("its reference is {error}"))?,
            name: self.name,
            role: self.role,
            marks,
            method: self.method.parse().map_err(|error| format!("{error}"))?,
            threshold: self.threshold.0,
            learnt: self.learnt.map(|learnt| Learnt {
                chunks: learnt.chunks,
                sigmas: learnt.sigmas.0,
                limits: learnt.limits,
            }),
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of hexadecimal digits as [`hex`] writes them.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}
