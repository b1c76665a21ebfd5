//! The sender's part: both files make a recipe.

use crate::coder::Encoder;
use crate::copies::{Index, Piece};
use crate::element::Element;
use crate::frame::{STRONGEST, pack};
use crate::grid::common_step;
use crate::method::{Method, Models, Start};
use crate::onnx::{self, Tensor};
use crate::pairing::pair;
use crate::recipe::{Content, Cursor, Header, Operation};
use crate::{PREFIX_BYTES_MAX, ROW_MAX};
use std::ops::Range;

/// Tensors above this size are packed less strongly when methods are compared, to save time.
const COMPARED_STRONGLY_BYTES_MAX: usize = 1 << 20;
const WEAKER: i32 = 6;
/// Elements of a tensor up to which going on is tried: larger ones learn enough by themselves.
const GO_ON_ELEMENTS_MAX: usize = 1 << 16;
/// What a tensor's operation costs besides its coded bytes, and a cut in what is around it.
const OPERATION_BYTES: usize = 10;

/// Makes a recipe that turns `base` into `target`; both may be any files.
///
/// Each tensor is coded in the way that makes it smallest, and the whole by the smallest of: the
/// tensors and copied ranges, the target packed with the base as prefix, the target packed by itself,
/// the target as it is. So a recipe is larger by no more than a header ([`crate::HEADER_BYTES_MAX`])
/// than
///
/// - the target,
/// - what zstd makes of it at level 19, for targets of any size,
/// - what zstd makes of it at level 19 with the base as prefix, where neither is larger than
///   [`PREFIX_BYTES_MAX`].
///
/// For larger bases the latter may be smaller, in files that are no tensors: zstd names ranges of less
/// than 24 bytes at less cost, and needs the whole base in memory for it.
///
/// Takes memory by the size of both files.
pub fn make(base: &[u8], target: &[u8]) -> Vec<u8> {
    let script = script(base, target);
    let prefixes: &[bool] = match base.len() as u64 {
        1..=PREFIX_BYTES_MAX => &[false, true],
        _ => &[false],
    };
    let contents = [(Content::Script, &script[..]), (Content::Target, target)];
    let recipe = |content, prefixed, body: &[u8]| {
        let (base_bytes, target_bytes) = (base.len() as u64, target.len() as u64);
        let mut recipe = Vec::new();
        Header { content, prefixed, base_bytes, target_bytes }.write(&mut recipe);
        recipe.extend_from_slice(body);
        recipe
    };
    let packed = contents.into_iter().flat_map(|(content, bytes)| {
        prefixes.iter().map(move |prefixed| {
            let prefix = if *prefixed { base } else { &[] };
            recipe(content, *prefixed, &pack(bytes, prefix, STRONGEST))
        })
    });
    let stored = recipe(Content::Stored, false, target);
    packed.chain([stored]).min_by_key(Vec::len).unwrap_or_default()
}

/// The operations that make the target, with their bytes.
fn script(base: &[u8], target: &[u8]) -> Vec<u8> {
    let (old, new) = (onnx::tensors(base), onnx::tensors(target));
    let mut script = Script {
        base,
        target,
        index: Index::new(base),
        copied: None,
        cursor: Cursor::default(),
        bytes: Vec::new(),
    };
    let (mut done, mut models) = (0, Models::default());
    for (tensor, pair) in new.iter().zip(pair(&old, &new)) {
        let old = pair.and_then(|at| old.get(at)).map(|old| old.range.clone());
        if let Some(coded) = code(base, target, tensor, old, &mut models) {
            script.plain(done..tensor.range.start);
            script.tensor(&coded);
            done = tensor.range.end;
        }
    }
    script.plain(done..target.len());
    script.end_copy();
    script.bytes
}

struct Script<'a> {
    base: &'a [u8],
    target: &'a [u8],
    index: Index<'a>,
    /// A copied range that may go on.
    copied: Option<Range<usize>>,
    cursor: Cursor,
    bytes: Vec<u8>,
}

impl Script<'_> {
    /// Adds a range of the target that is no coded tensor.
    fn plain(&mut self, range: Range<usize>) {
        let expected =
            self.copied.as_ref().map_or(self.cursor.position(), |range| range.end as u64);
        let expected = usize::try_from(expected).unwrap_or(usize::MAX);
        for piece in self.index.split(self.target, range, expected) {
            match piece {
                Piece::Copy(from, length) => match &mut self.copied {
                    Some(copied) if copied.end == from => copied.end += length,
                    _ => {
                        self.end_copy();
                        self.copied = Some(from..from + length);
                    }
                },
                Piece::Literal(range) => {
                    self.end_copy();
                    let literal = Operation::Literal { length: range.len() as u64 };
                    literal.write(&mut self.cursor, &mut self.bytes);
                    self.bytes.extend_from_slice(&self.target[range]);
                }
            }
        }
    }

    fn tensor(&mut self, coded: &Coded) {
        self.end_copy();
        coded.operation.write(&mut self.cursor, &mut self.bytes);
        self.bytes.extend_from_slice(&coded.bytes);
    }

    fn end_copy(&mut self) {
        if let Some(range) = self.copied.take() {
            debug_assert!(range.end <= self.base.len(), "copies lie in the old file");
            let copy = Operation::Copy { from: range.start as u64, length: range.len() as u64 };
            copy.write(&mut self.cursor, &mut self.bytes);
        }
    }
}

struct Coded {
    operation: Operation,
    bytes: Vec<u8>,
}

/// Codes a tensor in the way that makes it smallest; none if that is to leave it as it is.
fn code(
    base: &[u8],
    target: &[u8],
    tensor: &Tensor<'_>,
    old: Option<Range<usize>>,
    models: &mut Models,
) -> Option<Coded> {
    let new = &target[tensor.range.clone()];
    let from = old.as_ref().map_or(0, |range| range.start);
    let old = old.map_or(&[][..], |range| &base[range]);
    if old == new {
        return None;
    }
    let level = if new.len() <= COMPARED_STRONGLY_BYTES_MAX { STRONGEST } else { WEAKER };
    let prefix = if base.len() as u64 <= PREFIX_BYTES_MAX { old } else { &[] };
    let plain = pack(new, prefix, level).len();
    let element = tensor.element;
    let count = new.len() / element.bytes();
    let starts: &[Start] = match count {
        ..=GO_ON_ELEMENTS_MAX => &[Start::Anew, Start::GoOn],
        _ => &[Start::Anew],
    };
    let row = row(tensor, count);
    let methods = methods(element, old, new).into_iter();
    let ways = methods.flat_map(|method| starts.iter().map(move |start| (method, *start)));
    let encoded = ways.map(|(method, start)| {
        let mut model = models.begin(method, element, row, start);
        let mut encoder = Encoder::default();
        let old = if method.needs_old() { old } else { &[] };
        model.code(element, &mut encoder, old, &mut new.to_vec());
        (method, start, model, encoder.finish())
    });
    let (method, start, model, bytes) = encoded.min_by_key(|(.., bytes)| bytes.len())?;
    if bytes.len() + OPERATION_BYTES >= plain {
        return None;
    }
    models.keep(method, element, model);
    let (from, count, coded_bytes) = (from as u64, count as u64, bytes.len() as u64);
    let operation = Operation::Tensor { method, start, element, row, from, count, coded_bytes };
    Some(Coded { operation, bytes })
}

/// The length of a tensor's rows: what one place of its first dimension has. 1 if it has none, or
/// longer ones than may be.
fn row(tensor: &Tensor<'_>, count: usize) -> usize {
    let rows = tensor.shape.first().and_then(|rows| usize::try_from(*rows).ok());
    match rows {
        Some(rows @ 2..) if count.is_multiple_of(rows) && count / rows <= ROW_MAX => count / rows,
        _ => 1,
    }
}

/// The ways in which a tensor can be coded; `old` is empty or as long as `new`.
fn methods(element: Element, old: &[u8], new: &[u8]) -> Vec<Method> {
    let mut methods = vec![Method::Fresh];
    if !old.is_empty() {
        methods.push(Method::Residual);
        methods.extend(common_step(element, old, new).map(Method::Grid));
    }
    methods
}
