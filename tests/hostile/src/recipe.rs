//! Recipes of differences: nobody signs them, and what they make is compared with a digest.

use lineside_delta::{apply, make};
use zstd_safe::CCtx;

const OLD: &[u8] = include_bytes!("../../../examples/turbine/models/turbine-v1.onnx");
const NEW: &[u8] = include_bytes!("../../../examples/turbine/models/turbine-v2.onnx");
/// What a recipe begins with that has no prefix: magic, version, kind.
const HEADER: &[u8] = b"LSDR\x01\x01";
/// Size of the old file of operations that are still to be packed.
const BASE_BYTES: usize = 120;

/// Applies a recipe to an old file of ours. The first byte says whether the rest is a whole recipe, or
/// operations that have still to be packed, since hardly any mutation of what is packed can be unpacked.
///
/// It writes no more than was promised.
pub fn recipe(input: &[u8]) -> bool {
    let Some((kind, rest)) = input.split_first() else { return false };
    let (base, recipe, promised) = match kind {
        0 => (OLD, rest.to_vec(), NEW.len()),
        kind => (&OLD[..BASE_BYTES], packed(*kind, rest), usize::from(*kind)),
    };
    let mut made = Vec::new();
    let applied = apply(base, &recipe[..], promised as u64, &mut made);
    assert!(made.len() <= promised, "{} bytes were made, {promised} promised", made.len());
    assert!(applied.is_err() || made.len() == promised);
    applied.is_ok()
}

/// A recipe of these operations for a new file of so many bytes.
fn packed(promised: u8, operations: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; zstd_safe::compress_bound(operations.len())];
    let length = CCtx::create().compress2(&mut frame[..], operations).unwrap_or(0);
    // Both sizes in pieces of seven bits, the lowest first.
    let sizes = [BASE_BYTES as u8, 0x80 | promised, promised >> 7];
    [HEADER, &sizes, &frame[..length]].concat()
}

pub(crate) fn recipes() -> Vec<Vec<u8>> {
    // Bytes as they are, and a copy of those from 3 on.
    let operations = b"\x0d\x60\x03abc\x61\x03\x0a".to_vec();
    vec![[vec![0], make(OLD, NEW)].concat(), operations]
}
