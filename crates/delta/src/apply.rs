//! The device's part: a recipe and the old file make the new one.

use crate::coder::Decoder;
use crate::frame::Unpacked;
use crate::method::Models;
use crate::recipe::{Content, Cursor, Header, Operation};
use crate::{PACKED_BYTES_MAX, PREFIX_BYTES_MAX, TENSORS_MAX, prefix_bytes_max};
use std::io::{self, BufReader, Read, Write};

/// Bytes that are read, computed and written at once; a multiple of every element's.
const CHUNK_BYTES: usize = 64 * 1024;

/// The old file, read at any place.
pub trait Base {
    /// Its size in bytes.
    fn bytes(&self) -> u64;

    /// Fills `buffer` with the bytes from `from` on.
    ///
    /// # Errors
    /// If they cannot all be read.
    fn read_at(&self, from: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl Base for [u8] {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, from: u64, buffer: &mut [u8]) -> io::Result<()> {
        let range = usize::try_from(from).ok().and_then(|from| self.get(from..));
        let bytes = range.and_then(|bytes| bytes.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Why a recipe could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It begins as no recipe does.
    #[error("this is no recipe")]
    NoRecipe,
    /// It was made by a later sender.
    #[error("the recipe has version {0}, which is not known here")]
    Version(u8),
    /// It was made for another old file.
    #[error("the recipe is for an old file of {needed} bytes, this one has {found}")]
    OtherBase {
        /// The old file's size by the recipe, in bytes.
        needed: u64,
        /// The size it has.
        found: u64,
    },
    /// It makes something else than what was promised.
    #[error("the recipe makes {made} bytes, {promised} were promised")]
    OtherTarget {
        /// The new file's size by the recipe, in bytes.
        made: u64,
        /// The size by the caller.
        promised: u64,
    },
    /// It wants more of the old file in memory than [`PREFIX_BYTES_MAX`], or than what it makes of it.
    #[error("the recipe wants {0} bytes of the old file in memory, which is more than it may")]
    PrefixTooLarge(u64),
    /// It refers to what the old file does not have.
    #[error("the recipe asks for {length} bytes from {from} on, the old file has {base_bytes}")]
    OutsideBase {
        /// Where in the old file.
        from: u64,
        /// How many bytes.
        length: u64,
        /// The old file's size in bytes.
        base_bytes: u64,
    },
    /// An operation makes nothing, or more than is missing.
    #[error("the recipe has an operation that makes {length} bytes where {left} are missing")]
    Length {
        /// Bytes that it makes.
        length: u64,
        /// Bytes that are missing.
        left: u64,
    },
    /// An operation that does not exist.
    #[error("the recipe has an operation {0:#04x}, which is not known here")]
    Operation(u8),
    /// Bytes that no sender writes.
    #[error("the recipe has {0}")]
    Malformed(&'static str),
    /// Reading or unpacking failed, or came to an early end.
    #[error("cannot read the recipe")]
    Recipe(#[source] io::Error),
    /// The old file failed.
    #[error("cannot read the old file")]
    Base(#[source] io::Error),
    /// The new file failed.
    #[error("cannot write the new file")]
    Write(#[source] io::Error),
}

/// Makes the new file of the old one and a recipe.
///
/// `target_bytes` is the size that the new file must have, from a source that is trusted; never
/// more is written. The recipe need not be trusted, and is read to its end.
///
/// Takes at most [`crate::APPLY_MEMORY_BYTES_MAX`] of memory, and time by the new file's size.
///
/// # Errors
/// [`ApplyError`]; what was written until then is worth nothing. That all went well does not say
/// that the new file is the right one: the old file is known by its size only. Compare the digest.
pub fn apply(
    base: &(impl Base + ?Sized),
    mut recipe: impl Read,
    target_bytes: u64,
    mut out: impl Write,
) -> Result<(), ApplyError> {
    let header = Header::read(&mut recipe)?;
    let base_bytes = base.bytes();
    if header.base_bytes != base_bytes {
        return Err(ApplyError::OtherBase { needed: header.base_bytes, found: base_bytes });
    }
    if header.target_bytes != target_bytes {
        return Err(ApplyError::OtherTarget { made: header.target_bytes, promised: target_bytes });
    }
    let mut prefix = Vec::new();
    if header.prefixed {
        if base_bytes > PREFIX_BYTES_MAX {
            return Err(ApplyError::PrefixTooLarge(base_bytes));
        }
        prefix.resize(base_bytes as usize, 0);
        base.read_at(0, &mut prefix).map_err(ApplyError::Base)?;
    }
    let mut hands = Hands::new(base, &mut out);
    match header.content {
        Content::Stored => {
            hands.literal(&mut recipe, target_bytes)?;
            end(recipe)?;
        }
        Content::BareScript => {
            let mut recipe = BufReader::with_capacity(CHUNK_BYTES, recipe);
            hands.script(&mut recipe, Form::Bare, target_bytes)?;
            end(recipe)?;
        }
        Content::Target | Content::Script => {
            let mut body = Unpacked::new(recipe, &prefix).map_err(ApplyError::Recipe)?;
            match header.content {
                Content::Script => hands.script(&mut body, Form::Packed, target_bytes)?,
                _ => hands.literal(&mut body, target_bytes)?,
            }
            if !body.is_done().map_err(ApplyError::Recipe)? {
                return Err(LEFT_OVER);
            }
        }
    }
    out.flush().map_err(ApplyError::Write)
}

const LEFT_OVER: ApplyError = ApplyError::Malformed("bytes left over");

/// Makes sure that nothing is left.
fn end(recipe: impl Read) -> Result<(), ApplyError> {
    match recipe.take(1).read_to_end(&mut Vec::new()).map_err(ApplyError::Recipe)? {
        0 => Ok(()),
        _ => Err(LEFT_OVER),
    }
}

/// As [`apply`], with the operations of a recipe (`recipe.rs`), those of bare scripts among them.
///
/// For fuzzers: packed bytes that they change mostly unpack to nothing.
///
/// # Errors
/// As [`apply`].
pub fn apply_script(
    base: &(impl Base + ?Sized),
    mut script: impl Read,
    target_bytes: u64,
    mut out: impl Write,
) -> Result<(), ApplyError> {
    Hands::new(base, &mut out).script(&mut script, Form::Bare, target_bytes)?;
    end(script)?;
    out.flush().map_err(ApplyError::Write)
}

const TWICE: ApplyError = ApplyError::Malformed("packed bytes within packed ones");

/// How a script comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// In a frame: what it refers back to takes a device's memory, so that nothing in it may do so too.
    Packed,
    /// As it is.
    Bare,
}

/// What operations work with.
struct Hands<'a, B: ?Sized, W> {
    base: &'a B,
    out: &'a mut W,
    old: Box<[u8]>,
    new: Box<[u8]>,
    models: Models,
    /// How many tensors and packed ranges there were.
    coded: usize,
}

impl<'a, B: Base + ?Sized, W: Write> Hands<'a, B, W> {
    fn new(base: &'a B, out: &'a mut W) -> Hands<'a, B, W> {
        let (old, new) = ([0; CHUNK_BYTES].into(), [0; CHUNK_BYTES].into());
        Hands { base, out, old, new, models: Models::default(), coded: 0 }
    }

    /// Carries out operations until so many bytes are made.
    fn script(
        &mut self,
        body: &mut impl Read,
        form: Form,
        mut left: u64,
    ) -> Result<(), ApplyError> {
        let mut cursor = Cursor::default();
        while left > 0 {
            let operation = Operation::read(body, &mut cursor)?;
            let length = operation.length();
            if length == 0 || length > left {
                return Err(ApplyError::Length { length, left });
            }
            match operation {
                Operation::Packed { .. } if form == Form::Packed => return Err(TWICE),
                _ => self.carry_out(operation, body)?,
            }
            left -= length;
        }
        Ok(())
    }

    /// Carries out an operation that makes no more than is missing.
    fn carry_out(&mut self, operation: Operation, body: &mut impl Read) -> Result<(), ApplyError> {
        match operation {
            Operation::Literal { length } => self.literal(body, length),
            Operation::Copy { from, length } => self.copy(from, length),
            Operation::Packed { packed_bytes: bytes, .. }
            | Operation::Tensor { coded_bytes: bytes, .. } => {
                self.coded += 1;
                if self.coded > TENSORS_MAX {
                    return Err(ApplyError::Malformed("more tensors than any sender codes"));
                }
                let mut coded = body.take(bytes);
                match operation {
                    Operation::Packed { from, prefix, length, .. } => {
                        self.packed(from, prefix, length, &mut coded)?;
                    }
                    _ => self.tensor(operation, &mut coded)?,
                }
                match coded.limit() {
                    0 => Ok(()),
                    _ => Err(ApplyError::Recipe(io::ErrorKind::UnexpectedEof.into())),
                }
            }
        }
    }

    fn packed(
        &mut self,
        from: u64,
        prefix: u64,
        length: u64,
        packed: &mut impl Read,
    ) -> Result<(), ApplyError> {
        if length > PACKED_BYTES_MAX {
            return Err(ApplyError::Malformed("more packed at once than any sender packs"));
        }
        if prefix > prefix_bytes_max(length) {
            return Err(ApplyError::PrefixTooLarge(prefix));
        }
        self.check(from, prefix)?;
        let mut old = vec![0; prefix as usize];
        // As for tensors: nothing is read from nowhere.
        if prefix > 0 {
            self.base.read_at(from, &mut old).map_err(ApplyError::Base)?;
        }
        let mut body = Unpacked::new(packed, &old).map_err(ApplyError::Recipe)?;
        self.literal(&mut body, length)?;
        match body.is_done().map_err(ApplyError::Recipe)? {
            true => Ok(()),
            false => Err(LEFT_OVER),
        }
    }

    fn literal(&mut self, body: &mut impl Read, mut left: u64) -> Result<(), ApplyError> {
        while left > 0 {
            let bytes = &mut self.new[..left.min(CHUNK_BYTES as u64) as usize];
            body.read_exact(bytes).map_err(ApplyError::Recipe)?;
            self.out.write_all(bytes).map_err(ApplyError::Write)?;
            left -= bytes.len() as u64;
        }
        Ok(())
    }

    fn copy(&mut self, mut from: u64, mut left: u64) -> Result<(), ApplyError> {
        self.check(from, left)?;
        while left > 0 {
            let bytes = &mut self.old[..left.min(CHUNK_BYTES as u64) as usize];
            self.base.read_at(from, bytes).map_err(ApplyError::Base)?;
            self.out.write_all(bytes).map_err(ApplyError::Write)?;
            from += bytes.len() as u64;
            left -= bytes.len() as u64;
        }
        Ok(())
    }

    fn tensor(&mut self, operation: Operation, coded: &mut impl Read) -> Result<(), ApplyError> {
        let mut left = operation.length();
        let Operation::Tensor { method, start, element, row, mut from, .. } = operation else {
            return Ok(());
        };
        if method.needs_old() {
            self.check(from, left)?;
        }
        let mut decoder = Decoder::new(coded);
        let mut model = self.models.begin(method, element, row, start);
        while left > 0 {
            let chunk = left.min(CHUNK_BYTES as u64) as usize;
            let old = &mut self.old[..if method.needs_old() { chunk } else { 0 }];
            // What is coded by itself names no place, not even one to read nothing from.
            if method.needs_old() {
                self.base.read_at(from, old).map_err(ApplyError::Base)?;
            }
            let new = &mut self.new[..chunk];
            model.code(element, &mut decoder, old, new);
            decoder.check().map_err(ApplyError::Recipe)?;
            self.out.write_all(new).map_err(ApplyError::Write)?;
            from = from.saturating_add(old.len() as u64);
            left -= chunk as u64;
        }
        self.models.keep(method, element, model);
        let done = decoder.is_done();
        decoder.check().map_err(ApplyError::Recipe)?;
        if done { Ok(()) } else { Err(ApplyError::Malformed("a tensor with bytes left over")) }
    }

    fn check(&self, from: u64, length: u64) -> Result<(), ApplyError> {
        let base_bytes = self.base.bytes();
        match from.checked_add(length) {
            Some(end) if end <= base_bytes => Ok(()),
            _ => Err(ApplyError::OutsideBase { from, length, base_bytes }),
        }
    }
}
