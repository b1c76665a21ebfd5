//! The format of a recipe, version 1.
//!
//! ```text
//! recipe     = magic version kind base_bytes target_bytes (frame | operations if bare | the new file
//!              if stored)
//! magic      = "LSDR"                 version = 1
//! kind       = script | prefixed << 1, or stored = 4, or bare = 5
//! frame      = a zstd frame (RFC 8878) with a window of at most 8 MiB; if prefixed, of at most 4 MiB,
//!              and the old file is its prefix
//! frame's content, if not script = the new file
//!                  if script     = operations that make it, from its beginning to its end
//!
//! operations:
//!
//! grrrwEEE   tensor                 g goes on with what was learnt of the last tensor alike,
//!                                   r method, E element
//!            [step]                 if the method is 4: 0 for 1, 1 for 1.5, 2 for 2, 3 for 3, 4 for 4 …
//!                                   and -1 for 0.75, -2 for 0.5 …
//!            [from]                 if the method is not 0
//!            [row]                  if w: elements of a row, 2 to 65,536; 1 otherwise
//!            count coded_bytes coded
//! 01100000   literal                length bytes
//! 01100001   copy                   from length
//! 01100010   packed                 from prefix length packed_bytes frame
//!                                   only if bare: a frame of at most 2 MiB with a window of at most 4,
//!                                   whose prefix are so many bytes of the old file
//!
//! method     = 0 fresh, 2 residual, 4 grid, 1 replace
//! numbers are LEB128; step and from are zigzagged (0, -1, 1, -2 ...)
//! from       = where in the old file, counted from where the last operation there ended, or would
//!              have ended had a literal or a fresh tensor been one
//! ```
//!
//! Every operation makes at least one byte, so there are never more than bytes. The base is known
//! by its size only: who applies a recipe to another file of that size gets another digest.

use crate::ROW_MAX;
use crate::apply::ApplyError;
use crate::element::Element;
use crate::grid::Step;
use crate::method::{Method, Start};
use std::io::Read;

const MAGIC: [u8; 4] = *b"LSDR";
const VERSION: u8 = 1;
const SCRIPT: u8 = 1;
const PREFIXED: u8 = 2;
const STORED: u8 = 4;
const BARE: u8 = 5;
const LITERAL: u8 = 0b011_00000;
const COPY: u8 = 0b011_00001;
const PACKED: u8 = 0b011_00010;
const GO_ON: u8 = 0b100_00000;
const ROWS: u8 = 0b000_01000;
/// Digits of seven bits that a number has at most.
const DIGITS_MAX: u32 = 10;

/// What a recipe begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) content: Content,
    pub(crate) prefixed: bool,
    pub(crate) base_bytes: u64,
    pub(crate) target_bytes: u64,
}

/// What follows a recipe's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The new file itself.
    Target,
    /// There is none: the new file follows as it is, because packing makes it larger.
    Stored,
    /// Operations that make it.
    Script,
    /// The same, not packed as a whole: some operations are, each by itself.
    BareScript,
}

impl Header {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        let content = match self.content {
            Content::Target => 0,
            Content::Script => SCRIPT,
            Content::BareScript => BARE,
            Content::Stored => STORED,
        };
        out.push(content | if self.prefixed { PREFIXED } else { 0 });
        put_number(out, self.base_bytes);
        put_number(out, self.target_bytes);
    }

    pub(crate) fn read(source: &mut impl Read) -> Result<Header, ApplyError> {
        let mut start = [0; 6];
        source.read_exact(&mut start).map_err(ApplyError::Recipe)?;
        let [magic @ .., version, kind] = start;
        if magic != MAGIC {
            return Err(ApplyError::NoRecipe);
        }
        if version != VERSION {
            return Err(ApplyError::Version(version));
        }
        let content = match kind & !PREFIXED {
            0 => Content::Target,
            SCRIPT => Content::Script,
            BARE if kind == BARE => Content::BareScript,
            STORED if kind == STORED => Content::Stored,
            _ => return Err(ApplyError::Malformed("a kind that is not known")),
        };
        Ok(Header {
            content,
            prefixed: kind & PREFIXED != 0,
            base_bytes: number(source)?,
            target_bytes: number(source)?,
        })
    }
}

/// An operation. Its bytes, if it has any, follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// So many bytes that follow.
    Literal { length: u64 },
    /// A range of the old file.
    Copy { from: u64, length: u64 },
    /// So many bytes, packed in those that follow with `prefix` bytes of the old file from `from` on.
    Packed { from: u64, prefix: u64, length: u64, packed_bytes: u64 },
    /// `count` elements, coded in the bytes that follow, next to those of the old file from `from`.
    Tensor {
        method: Method,
        start: Start,
        element: Element,
        /// Elements of a row.
        row: usize,
        from: u64,
        count: u64,
        coded_bytes: u64,
    },
}

/// Where in the old file the next operation is expected to read.
#[derive(Debug, Default)]
pub(crate) struct Cursor(u64);

impl Operation {
    /// Bytes that it makes.
    pub(crate) fn length(&self) -> u64 {
        match *self {
            Operation::Literal { length }
            | Operation::Copy { length, .. }
            | Operation::Packed { length, .. } => length,
            Operation::Tensor { element, count, .. } => {
                count.saturating_mul(element.bytes() as u64)
            }
        }
    }

    pub(crate) fn write(&self, cursor: &mut Cursor, out: &mut Vec<u8>) {
        match *self {
            Operation::Literal { length } => {
                out.push(LITERAL);
                put_number(out, length);
            }
            Operation::Copy { from, length } => {
                out.push(COPY);
                cursor.put(from, out);
                put_number(out, length);
            }
            Operation::Packed { from, prefix, length, packed_bytes } => {
                out.push(PACKED);
                cursor.put(from, out);
                for number in [prefix, length, packed_bytes] {
                    put_number(out, number);
                }
            }
            Operation::Tensor { method, start, element, row, from, count, coded_bytes } => {
                let go_on = if start == Start::GoOn { GO_ON } else { 0 };
                let rows = if row > 1 { ROWS } else { 0 };
                out.push(go_on | digits(method) << 4 | rows | element as u8);
                if let Method::Grid(step) = method {
                    put_number(out, zigzag(step.rank().into()));
                }
                if method.needs_old() {
                    cursor.put(from, out);
                }
                if row > 1 {
                    put_number(out, row as u64);
                }
                put_number(out, count);
                put_number(out, coded_bytes);
            }
        }
        cursor.0 = cursor.0.wrapping_add(self.length());
    }

    pub(crate) fn read(
        source: &mut impl Read,
        cursor: &mut Cursor,
    ) -> Result<Operation, ApplyError> {
        let tag = byte(source)?;
        let operation = match tag {
            LITERAL => Operation::Literal { length: number(source)? },
            COPY => Operation::Copy { from: cursor.get(source)?, length: number(source)? },
            PACKED => Operation::Packed {
                from: cursor.get(source)?,
                prefix: number(source)?,
                length: number(source)?,
                packed_bytes: number(source)?,
            },
            _ => {
                let element = Element::ALL[usize::from(tag & 7)];
                let start = if tag & GO_ON == 0 { Start::Anew } else { Start::GoOn };
                let method = match tag >> 4 & 7 {
                    0b000 => Method::Fresh,
                    0b001 => Method::Replace,
                    0b010 => Method::Residual,
                    0b100 => {
                        let rank = i16::try_from(unzigzag(number(source)?)).ok();
                        let step = rank.and_then(|rank| Step::new(rank, element));
                        let step =
                            step.ok_or(ApplyError::Malformed("a step that no element has"))?;
                        Method::Grid(step)
                    }
                    _ => return Err(ApplyError::Operation(tag)),
                };
                let from = if method.needs_old() { cursor.get(source)? } else { cursor.0 };
                let row = if tag & ROWS == 0 { 1 } else { row(source)? };
                let (count, coded_bytes) = (number(source)?, number(source)?);
                Operation::Tensor { method, start, element, row, from, count, coded_bytes }
            }
        };
        cursor.0 = cursor.0.wrapping_add(operation.length());
        Ok(operation)
    }
}

/// What a method is in a tag.
fn digits(method: Method) -> u8 {
    match method {
        Method::Fresh => 0b000,
        Method::Replace => 0b001,
        Method::Residual => 0b010,
        Method::Grid(_) => 0b100,
    }
}

impl Cursor {
    pub(crate) fn position(&self) -> u64 {
        self.0
    }

    fn put(&mut self, from: u64, out: &mut Vec<u8>) {
        put_number(out, zigzag(from.wrapping_sub(self.0) as i64));
        self.0 = from;
    }

    fn get(&mut self, source: &mut impl Read) -> Result<u64, ApplyError> {
        self.0 = self.0.wrapping_add_signed(unzigzag(number(source)?));
        Ok(self.0)
    }
}

fn row(source: &mut impl Read) -> Result<usize, ApplyError> {
    match number(source)? {
        row if (2..=ROW_MAX as u64).contains(&row) => Ok(row as usize),
        _ => Err(ApplyError::Malformed("rows that no tensor has")),
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn number(source: &mut impl Read) -> Result<u64, ApplyError> {
    let mut number = 0;
    for digit in 0..DIGITS_MAX {
        let byte = byte(source)?;
        let shifted = u64::from(byte & 0x7F) << (7 * digit);
        number |= shifted;
        if byte < 0x80 {
            let whole = shifted >> (7 * digit) == u64::from(byte);
            return if whole { Ok(number) } else { Err(LONG) };
        }
    }
    Err(LONG)
}

const LONG: ApplyError = ApplyError::Malformed("a number of more than 64 bits");

fn byte(source: &mut impl Read) -> Result<u8, ApplyError> {
    let mut byte = [0];
    source.read_exact(&mut byte).map_err(ApplyError::Recipe)?;
    Ok(byte[0])
}

fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HEADER_BYTES_MAX;
    use proptest::prelude::*;

    #[test]
    fn a_header_fits_whatever_the_sizes() {
        let header = Header {
            content: Content::Script,
            prefixed: true,
            base_bytes: u64::MAX,
            target_bytes: u64::MAX,
        };
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        assert!(bytes.len() <= HEADER_BYTES_MAX, "{}", bytes.len());
        assert_eq!(Header::read(&mut &bytes[..]).unwrap(), header);
    }

    #[test]
    fn the_format_stays_as_it_is() {
        let step = Step::new(-9, Element::F16).unwrap();
        let operations = [
            Operation::Literal { length: 300 },
            Operation::Copy { from: 300, length: 5 },
            Operation::Copy { from: 300, length: 1 },
            Operation::Packed { from: 300, prefix: 130, length: 1, packed_bytes: 9 },
            Operation::Tensor {
                method: Method::Replace,
                start: Start::Anew,
                element: Element::F32,
                row: 1,
                from: 301,
                count: 1,
                coded_bytes: 4,
            },
            Operation::Tensor {
                method: Method::Grid(step),
                start: Start::GoOn,
                element: Element::F16,
                row: 2,
                from: 305,
                count: 2,
                coded_bytes: 3,
            },
        ];
        let (mut bytes, mut cursor) = (Vec::new(), Cursor::default());
        operations.iter().for_each(|operation| operation.write(&mut cursor, &mut bytes));
        let golden = [
            0x60, 0xAC, 0x02, // literal of 300
            0x61, 0x00, 0x05, // copy of 5 from where the literal would have ended
            0x61, 0x09, 0x01, // copy of 1, five before
            0x62, 0x01, 0x82, 0x01, 0x01,
            0x09, // one byte packed in nine with 130, one before
            0x10, 0x00, 0x01, 0x04, // one float by itself, or as it was
            0xC9, 0x11, 0x00, 0x02, 0x02,
            0x03, // two halves, in a row, in steps of 3/64, three bytes
        ];
        assert_eq!(bytes, golden);
    }

    #[test]
    fn a_tensor_by_itself_names_no_place() {
        let (mut bytes, mut cursor) = (Vec::new(), Cursor::default());
        let fresh = Operation::Tensor {
            method: Method::Fresh,
            start: Start::Anew,
            element: Element::F32,
            row: 1,
            from: 0,
            count: 10,
            coded_bytes: 30,
        };
        fresh.write(&mut cursor, &mut bytes);
        assert_eq!(bytes, [0x00, 10, 30]);
        assert_eq!(cursor.position(), 40);
        let read = Operation::read(&mut &bytes[..], &mut Cursor::default());
        assert_eq!(read.ok(), Some(fresh));
    }

    proptest! {
        #[test]
        fn operations_come_back(
            all in prop::collection::vec((any::<u8>(), any::<u64>(), any::<u64>(), any::<u64>()), 0..20)
        ) {
            let operations = all.into_iter().map(|(tag, from, count, coded_bytes)| {
                let element = Element::ALL[usize::from(tag & 7)];
                let row = [1, 2, 300, ROW_MAX][usize::from(tag >> 3 & 3)];
                let step = Step::new(2 + (count % 8) as i16, element).expect("all have these");
                let method = match tag >> 5 {
                    0 => return Operation::Literal { length: count },
                    1 => return Operation::Copy { from, length: count },
                    2 => {
                        let packed_bytes = coded_bytes;
                        return Operation::Packed { from, prefix: from, length: count, packed_bytes };
                    }
                    3 => Method::Residual,
                    4 => Method::Replace,
                    _ => Method::Grid(step),
                };
                let start = if from % 2 == 0 { Start::Anew } else { Start::GoOn };
                Operation::Tensor { method, start, element, row, from, count, coded_bytes }
            });
            let operations: Vec<_> = operations.collect();
            let (mut bytes, mut cursor) = (Vec::new(), Cursor::default());
            operations.iter().for_each(|operation| operation.write(&mut cursor, &mut bytes));
            let (mut source, mut cursor) = (&bytes[..], Cursor::default());
            for operation in operations {
                let read = Operation::read(&mut source, &mut cursor);
                prop_assert_eq!(read.ok(), Some(operation));
            }
            prop_assert!(source.is_empty());
        }
    }
}
