//! The elements of a tensor as JSON, nested or flat, read into the binary form and written from it.

use crate::datatype::Datatype;
use crate::tensor::{LENGTH_BYTES, Tensor};
use half::f16;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use std::fmt::Display;

/// Bytes that are made room for before an element is there.
const AHEAD_BYTES_MAX: usize = 1 << 20;

/// Reads the elements of a tensor of `shape`, of which there are `count`, from what is known to be JSON.
///
/// Numbers are read here rather than by serde_json, which may round the last bit otherwise than IEEE 754.
///
/// # Errors
/// What does not fit, for people: an element of another kind, more or fewer elements, lists that are not
/// nested as the shape says.
pub(crate) fn read(
    data: &str,
    datatype: Datatype,
    shape: &[usize],
    count: usize,
) -> Result<Vec<u8>, String> {
    let size = datatype.size_bytes().unwrap_or(LENGTH_BYTES);
    let bytes = Vec::with_capacity((count * size).min(AHEAD_BYTES_MAX));
    let mut elements =
        Elements { datatype, shape, count, open: vec![], is_flat: None, read: 0, bytes };
    let mut rest = data;
    while let Some(first) = rest.bytes().next() {
        let length = match first {
            b' ' | b'\t' | b'\r' | b'\n' | b',' => 1,
            b'[' => {
                elements.open()?;
                1
            }
            b']' => {
                elements.close()?;
                1
            }
            b'"' => text_length(rest),
            _ => rest.find([',', ']', '}', ' ', '\t', '\r', '\n']).unwrap_or(rest.len()).max(1),
        };
        let (token, after) = rest.split_at_checked(length).ok_or("it is cut off")?;
        if !matches!(first, b' ' | b'\t' | b'\r' | b'\n' | b',' | b'[' | b']') {
            elements.element(token)?;
        }
        rest = after;
    }
    match elements.read == count {
        true => Ok(elements.bytes),
        false => {
            Err(format!("the shape {shape:?} has {count} elements, there are {}", elements.read))
        }
    }
}

/// How long the text is that begins here, with its marks.
fn text_length(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(text.len(), |end| end + 2)
}

struct Elements<'a> {
    datatype: Datatype,
    shape: &'a [usize],
    count: usize,
    /// Items of each list that is open.
    open: Vec<usize>,
    /// Whether the outermost list has the elements themselves; not known before the first.
    is_flat: Option<bool>,
    read: usize,
    bytes: Vec<u8>,
}

impl Elements<'_> {
    fn open(&mut self) -> Result<(), String> {
        if let Some(items) = self.open.last_mut() {
            *items += 1;
            if self.is_flat == Some(true) || self.open.len() >= self.shape.len() {
                return Err(self.otherwise());
            }
            self.is_flat = Some(false);
        }
        self.open.push(0);
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let items = self.open.pop().unwrap_or_default();
        let depth = self.open.len();
        // A flat list has as many as all elements, which is looked at in the end.
        let is_flat = depth == 0 && self.is_flat != Some(false);
        match self.shape.get(depth) {
            Some(size) if !is_flat && *size != items => {
                let shape = self.shape;
                Err(format!("a list has {items} items where the shape {shape:?} has {size}"))
            }
            _ => Ok(()),
        }
    }

    fn element(&mut self, token: &str) -> Result<(), String> {
        let depth = self.open.len();
        // Without a list there is one element, of the shape [].
        let is_flat = *self.is_flat.get_or_insert(depth <= 1);
        if !(is_flat && depth <= 1 || !is_flat && depth == self.shape.len()) {
            return Err(self.otherwise());
        }
        if self.read == self.count {
            let (shape, count) = (self.shape, self.count);
            return Err(format!("the shape {shape:?} has {count} elements, more came"));
        }
        if let Some(items) = self.open.last_mut() {
            *items += 1;
        }
        self.value(token)?;
        self.read += 1;
        Ok(())
    }

    fn value(&mut self, token: &str) -> Result<(), String> {
        macro_rules! number {
            ($kind:ty, $is_one:expr) => {
                match token.parse::<$kind>() {
                    Ok(value) if $is_one(value) => self.bytes.extend(value.to_le_bytes()),
                    _ => return Err(self.other(token)),
                }
            };
        }
        macro_rules! whole {
            ($kind:ty) => {
                number!($kind, |_| true)
            };
        }
        match self.datatype {
            Datatype::Bool => match token {
                "true" => self.bytes.push(1),
                "false" => self.bytes.push(0),
                _ => return Err(self.other(token)),
            },
            Datatype::Uint8 => whole!(u8),
            Datatype::Uint16 => whole!(u16),
            Datatype::Uint32 => whole!(u32),
            Datatype::Uint64 => whole!(u64),
            Datatype::Int8 => whole!(i8),
            Datatype::Int16 => whole!(i16),
            Datatype::Int32 => whole!(i32),
            Datatype::Int64 => whole!(i64),
            Datatype::Fp16 => match token.parse::<f64>().map(f16::from_f64) {
                Ok(value) if value.is_finite() => self.bytes.extend(value.to_le_bytes()),
                _ => return Err(self.other(token)),
            },
            Datatype::Fp32 => number!(f32, f32::is_finite),
            Datatype::Fp64 => number!(f64, f64::is_finite),
            Datatype::Bytes => {
                let text: String = serde_json::from_str(token).map_err(|_| self.other(token))?;
                let length = u32::try_from(text.len()).map_err(|_| self.other("a long text"))?;
                self.bytes.extend(length.to_le_bytes());
                self.bytes.extend_from_slice(text.as_bytes());
            }
        }
        Ok(())
    }

    fn otherwise(&self) -> String {
        format!("lists are nested otherwise than the shape {:?} says", self.shape)
    }

    fn other(&self, token: impl Display) -> String {
        let token: String = token.to_string().chars().take(40).collect();
        format!("element {} is {token}, which is no {}", self.read, self.datatype)
    }
}

/// The elements of a tensor as one flat list.
pub(crate) struct Flat<'a>(pub &'a Tensor);

impl Flat<'_> {
    /// Whether JSON has words for all of them: it has none for what is no number, nor for bytes that are no
    /// text.
    pub(crate) fn is_possible(&self) -> bool {
        fn all<const N: usize>(bytes: &[u8], is_finite: fn([u8; N]) -> bool) -> bool {
            bytes.as_chunks().0.iter().all(|chunk| is_finite(*chunk))
        }
        let bytes = self.0.bytes();
        match self.0.datatype() {
            Datatype::Fp16 => all(bytes, |it| f16::from_le_bytes(it).is_finite()),
            Datatype::Fp32 => all(bytes, |it| f32::from_le_bytes(it).is_finite()),
            Datatype::Fp64 => all(bytes, |it| f64::from_le_bytes(it).is_finite()),
            Datatype::Bytes => self.0.texts().all(|text| str::from_utf8(text).is_ok()),
            _ => true,
        }
    }
}

impl Serialize for Flat<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn list<S: Serializer, T: Serialize, const N: usize>(
            serializer: S,
            bytes: &[u8],
            number: fn([u8; N]) -> T,
        ) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(bytes.as_chunks().0.iter().map(|chunk| number(*chunk)))
        }
        let bytes = self.0.bytes();
        match self.0.datatype() {
            Datatype::Bool => serializer.collect_seq(bytes.iter().map(|byte| *byte == 1)),
            Datatype::Uint8 => serializer.collect_seq(bytes),
            Datatype::Uint16 => list(serializer, bytes, u16::from_le_bytes),
            Datatype::Uint32 => list(serializer, bytes, u32::from_le_bytes),
            Datatype::Uint64 => list(serializer, bytes, u64::from_le_bytes),
            Datatype::Int8 => list(serializer, bytes, i8::from_le_bytes),
            Datatype::Int16 => list(serializer, bytes, i16::from_le_bytes),
            Datatype::Int32 => list(serializer, bytes, i32::from_le_bytes),
            Datatype::Int64 => list(serializer, bytes, i64::from_le_bytes),
            Datatype::Fp16 => list(serializer, bytes, |it| f16::from_le_bytes(it).to_f32()),
            Datatype::Fp32 => list(serializer, bytes, f32::from_le_bytes),
            Datatype::Fp64 => list(serializer, bytes, f64::from_le_bytes),
            Datatype::Bytes => {
                let texts: Result<Vec<&str>, _> = self.0.texts().map(str::from_utf8).collect();
                serializer.collect_seq(texts.map_err(S::Error::custom)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(datatype: Datatype, shape: &[usize], data: &str) -> Result<Tensor, String> {
        let count = crate::tensor::elements("x", shape).unwrap();
        // What is handed in has been found to be JSON.
        let _: &serde_json::value::RawValue =
            serde_json::from_str(data).map_err(|error| error.to_string())?;
        let bytes = read(data, datatype, shape, count)?;
        Ok(Tensor::new("x".into(), datatype, shape.to_vec(), bytes).unwrap())
    }

    fn refused(datatype: Datatype, shape: &[usize], data: &str) -> String {
        tensor(datatype, shape, data).unwrap_err()
    }

    #[test]
    fn the_extremes_of_every_datatype_come_back_as_they_were() {
        for (datatype, data) in [
            (Datatype::Bool, "[true,false]"),
            (Datatype::Uint8, "[0,255]"),
            (Datatype::Uint16, "[0,65535]"),
            (Datatype::Uint32, "[0,4294967295]"),
            (Datatype::Uint64, "[0,18446744073709551615]"),
            (Datatype::Int8, "[-128,127]"),
            (Datatype::Int16, "[-32768,32767]"),
            (Datatype::Int32, "[-2147483648,2147483647]"),
            (Datatype::Int64, "[-9223372036854775808,9223372036854775807]"),
            (Datatype::Fp16, "[-65504.0,0.5]"),
            (Datatype::Fp32, "[0.1,16777216.0]"),
            (Datatype::Fp64, "[0.1,9007199254740993.0]"),
            (Datatype::Bytes, r#"["ä\"\n",""]"#),
        ] {
            let tensor = tensor(datatype, &[2], data).unwrap();
            let written = serde_json::to_string(&Flat(&tensor)).unwrap();
            let data = data.replace("9007199254740993.0", "9007199254740992.0");
            assert_eq!(written, data, "{datatype}");
        }
    }

    #[test]
    fn what_lies_beyond_a_datatype_is_refused_with_its_place() {
        for (datatype, data) in [
            (Datatype::Bool, "[true,1]"),
            (Datatype::Uint8, "[0,256]"),
            (Datatype::Uint64, "[0,-1]"),
            (Datatype::Int8, "[0,128]"),
            (Datatype::Int32, "[0,1.0]"),
            (Datatype::Fp16, "[0,70000]"),
            (Datatype::Fp32, "[0,1e39]"),
            (Datatype::Fp64, "[0,\"1\"]"),
            (Datatype::Bytes, "[\"\",1]"),
        ] {
            let said = refused(datatype, &[2], data);
            assert!(said.starts_with("element 1 is "), "{datatype}: {said}");
            assert!(said.contains(&format!("no {datatype}")), "{said}");
        }
        assert_eq!(
            refused(Datatype::Fp64, &[1], "[1e999]"),
            "element 0 is 1e999, which is no FP64"
        );
        assert_eq!(refused(Datatype::Fp64, &[1], "[null]"), "element 0 is null, which is no FP64");
    }

    #[test]
    fn lists_may_be_flat_or_nested_as_the_shape_and_no_otherwise() {
        let flat = tensor(Datatype::Int8, &[2, 3], "[1,2,3,4,5,6]").unwrap();
        assert_eq!(tensor(Datatype::Int8, &[2, 3], "[[1,2,3],[4,5,6]]"), Ok(flat));
        assert_eq!(tensor(Datatype::Int8, &[], "[7]"), tensor(Datatype::Int8, &[], "7"));
        assert!(tensor(Datatype::Int8, &[0, 2], "[]").is_ok());
        for (shape, data) in [
            (&[2, 3][..], "[[1,2],[3,4],[5,6]]"),
            (&[2, 3], "[[1,2,3],[4,5]]"),
            (&[2, 3], "[[1,2,3],4,5,6]"),
            (&[2, 3], "[1,2,3,[4,5,6]]"),
            (&[2, 3], "[[[1,2,3],[4,5,6]]]"),
            (&[2, 3], "[1,2,3,4,5]"),
            (&[2, 3], "[1,2,3,4,5,6,7]"),
            (&[2, 1, 1], "[[[1]],[2]]"),
            (&[2], "[[1,2]]"),
            (&[2], "[1,2] 3"),
            (&[2], "{}"),
            (&[2], ""),
        ] {
            assert!(tensor(Datatype::Int8, shape, data).is_err(), "{shape:?} {data}");
        }
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read(&deep, Datatype::Int8, &[1], 1).is_err());
        for broken in ["\"", "[\"\\\"", "]]]", "}", "[1", ",,", "\u{e4}", "[1}"] {
            let _ = read(broken, Datatype::Bytes, &[1], 1);
            let _ = read(broken, Datatype::Int8, &[1], 1);
        }
    }

    #[test]
    fn what_json_has_no_words_for_is_known_before_it_is_written() {
        let tensor = |datatype, bytes: &[u8]| {
            Tensor::new("x".into(), datatype, vec![1], bytes.to_vec()).unwrap()
        };
        let not = [
            tensor(Datatype::Fp32, &f32::NAN.to_le_bytes()),
            tensor(Datatype::Fp64, &f64::INFINITY.to_le_bytes()),
            tensor(Datatype::Fp16, &f16::NEG_INFINITY.to_le_bytes()),
            tensor(Datatype::Bytes, b"\x01\0\0\0\xff"),
        ];
        assert!(not.iter().all(|tensor| !Flat(tensor).is_possible()));
        assert!(Flat(&tensor(Datatype::Bytes, b"\x01\0\0\0x")).is_possible());
        assert!(Flat(&tensor(Datatype::Uint8, b"\xff")).is_possible());
    }
}
