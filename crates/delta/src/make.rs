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
use crate::{PACKED_BYTES_MAX, PREFIX_BYTES_MAX, ROW_MAX, TENSORS_MAX, prefix_bytes_max};
use std::ops::Range;

/// Tensors above this size are packed less strongly when methods are compared, to save time.
const COMPARED_STRONGLY_BYTES_MAX: usize = 1 << 20;
const WEAKER: i32 = 6;
/// Elements of a tensor up to which going on is tried: larger ones learn enough by themselves.
const GO_ON_ELEMENTS_MAX: usize = 1 << 16;
/// What a tensor's operation costs besides its coded bytes, and a cut in what is around it.
const OPERATION_BYTES: usize = 10;
/// Places in the base are as good as each other if they lie closer together than this part of a prefix.
const NEAR: usize = 16;
/// What the operation of a packed range costs at most.
const PACKED_OPERATION_BYTES: usize = 24;

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
///   [`PREFIX_BYTES_MAX`],
/// - beyond that, what zstd makes of each two MiB of it at level 19 with the four MiB of the base
///   around the place where they lie there as prefix, and 32 bytes for each.
///
/// zstd with the whole of a larger base as prefix can be better: where ranges of less than 32 bytes
/// have moved by more than two MiB. It needs the whole base in memory for that.
///
/// Takes memory by the size of both files.
pub fn make(base: &[u8], target: &[u8]) -> Vec<u8> {
    let (old, new) = (onnx::tensors(base), onnx::tensors(target));
    let coded = code_all(base, target, &old, &new);
    let index = Index::new(base);
    let script = |coded, form| script(base, target, &index, coded, form);
    let recipe = |content, prefixed, body: &[u8]| {
        let (base_bytes, target_bytes) = (base.len() as u64, target.len() as u64);
        let mut recipe = Vec::new();
        Header { content, prefixed, base_bytes, target_bytes }.write(&mut recipe);
        recipe.extend_from_slice(body);
        recipe
    };
    let mut recipes = vec![recipe(Content::Stored, false, target)];
    let fits = base.len() as u64 <= PREFIX_BYTES_MAX;
    let prefixes: &[bool] = if fits && !base.is_empty() { &[false, true] } else { &[false] };
    let packed = script(&coded, Form::Packed);
    for (content, bytes) in [(Content::Script, &packed[..]), (Content::Target, target)] {
        for prefixed in prefixes {
            let prefix = if *prefixed { base } else { &[] };
            recipes.push(recipe(content, *prefixed, &pack(bytes, prefix, STRONGEST)));
        }
    }
    if !fits || target.len() as u64 > PREFIX_BYTES_MAX {
        for coded in [&coded[..], &[]] {
            recipes.push(recipe(Content::BareScript, false, &script(coded, Form::Bare)));
        }
    }
    recipes.into_iter().min_by_key(Vec::len).unwrap_or_default()
}

/// The tensors that are worth coding, with where they lie in the target.
fn code_all(
    base: &[u8],
    target: &[u8],
    old: &[Tensor<'_>],
    new: &[Tensor<'_>],
) -> Vec<(Range<usize>, Coded)> {
    let mut models = Models::default();
    let pairs = new.iter().zip(pair(old, new));
    let coded = pairs.filter_map(|(tensor, pair)| {
        let old = pair.and_then(|at| old.get(at)).map(|old| old.range.clone());
        Some((tensor.range.clone(), code(base, target, tensor, old, &mut models)?))
    });
    coded.collect()
}

/// How operations are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// All in one frame.
    Packed,
    /// As they are: what is no tensor is packed by itself, with what lies around it in the base.
    Bare,
}

/// The operations that make the target, with their bytes.
fn script(
    base: &[u8],
    target: &[u8],
    index: &Index<'_>,
    coded: &[(Range<usize>, Coded)],
    form: Form,
) -> Vec<u8> {
    let mut script = Script {
        base,
        target,
        index,
        form,
        packed_max: TENSORS_MAX - coded.len(),
        expected: 0,
        copied: None,
        cursor: Cursor::default(),
        bytes: Vec::new(),
    };
    let mut done = 0;
    for (range, coded) in coded {
        script.between(done..range.start);
        script.tensor(coded);
        done = range.end;
    }
    script.between(done..target.len());
    script.end_copy();
    script.bytes
}

struct Script<'a> {
    base: &'a [u8],
    target: &'a [u8],
    index: &'a Index<'a>,
    form: Form,
    /// Ranges that may still be packed by themselves.
    packed_max: usize,
    /// Where in the base the next range is likely to begin.
    expected: usize,
    /// A copied range that may go on.
    copied: Option<Range<usize>>,
    cursor: Cursor,
    bytes: Vec<u8>,
}

impl Script<'_> {
    /// Adds a range of the target that is no coded tensor.
    fn between(&mut self, range: Range<usize>) {
        let most = match self.form {
            Form::Packed => range.len().max(1),
            Form::Bare => PACKED_BYTES_MAX as usize,
        };
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + most);
            self.plain(start..end);
            start = end;
        }
    }

    /// Adds a range of the target as what the base has of it and what it has not, or packed where that
    /// is smaller.
    fn plain(&mut self, range: Range<usize>) {
        let pieces = self.index.split(self.target, range.clone(), self.expected);
        if self.form == Form::Bare && self.packed_max > 0 && self.pack(&range, &pieces) {
            return;
        }
        for piece in pieces {
            match piece {
                Piece::Copy(from, length) => {
                    self.expected = from + length;
                    match &mut self.copied {
                        Some(copied) if copied.end == from => copied.end += length,
                        _ => {
                            self.end_copy();
                            self.copied = Some(from..from + length);
                        }
                    }
                }
                Piece::Literal(range) => {
                    self.expected = self.expected.saturating_add(range.len());
                    self.end_copy();
                    let literal = Operation::Literal { length: range.len() as u64 };
                    literal.write(&mut self.cursor, &mut self.bytes);
                    self.bytes.extend_from_slice(&self.target[range]);
                }
            }
        }
    }

    /// Packs a range with what lies around it in the base, if that is smaller than its pieces.
    fn pack(&mut self, range: &Range<usize>, pieces: &[Piece]) -> bool {
        let as_pieces: usize = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Copy(..) => OPERATION_BYTES,
                Piece::Literal(range) => OPERATION_BYTES + range.len(),
            })
            .sum();
        if as_pieces <= PACKED_OPERATION_BYTES {
            return false;
        }
        // Where the range begins in the base: there where the last one ended, or where its longest
        // common piece says.
        let (mut before, mut longest) = (0, (0, self.expected));
        for piece in pieces {
            match piece {
                Piece::Copy(from, length) => {
                    longest = longest.max((*length, from.saturating_sub(before)));
                    before += length;
                }
                Piece::Literal(range) => before += range.len(),
            }
        }
        let mut places = vec![self.expected, longest.1];
        let prefix = (prefix_bytes_max(range.len() as u64) as usize).min(self.base.len());
        if self.expected.abs_diff(longest.1) < prefix / NEAR {
            places.pop();
        }
        let packed = places.into_iter().map(|begins| {
            let middle = begins.saturating_add(range.len() / 2);
            let from = middle.saturating_sub(prefix / 2).min(self.base.len() - prefix);
            let old = &self.base[from..from + prefix];
            (begins, from, pack(&self.target[range.clone()], old, STRONGEST))
        });
        let packed = packed.min_by_key(|(.., packed)| packed.len());
        let Some((begins, from, packed)) = packed else { return false };
        if packed.len() + PACKED_OPERATION_BYTES >= as_pieces {
            return false;
        }
        self.end_copy();
        let (from, prefix, length) = (from as u64, prefix as u64, range.len() as u64);
        let packed_bytes = packed.len() as u64;
        let operation = Operation::Packed { from, prefix, length, packed_bytes };
        operation.write(&mut self.cursor, &mut self.bytes);
        self.bytes.extend_from_slice(&packed);
        self.packed_max -= 1;
        self.expected = begins.saturating_add(range.len());
        true
    }

    fn tensor(&mut self, coded: &Coded) {
        self.end_copy();
        coded.operation.write(&mut self.cursor, &mut self.bytes);
        self.bytes.extend_from_slice(&coded.bytes);
        self.expected = usize::try_from(self.cursor.position()).unwrap_or(usize::MAX);
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
    let prefix = if old.len() as u64 <= PREFIX_BYTES_MAX { old } else { &[] };
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
        methods.extend([Method::Residual, Method::Replace]);
        methods.extend(common_step(element, old, new).map(Method::Grid));
    }
    methods
}
