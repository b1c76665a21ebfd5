//! Differences between model files that know tensors.
//!
//! A sender that has both files writes a *recipe* ([`make()`]); a device that has the old file makes
//! exactly the new one of it ([`apply()`]). The sender reads the ONNX files; the device reads no
//! protocol buffers, only the recipe's few operations (`recipe.rs`), in memory that is bounded by
//! constants. [`snap()`] prepares a new file so that its recipe becomes small, at the price of
//! rounding what has been learnt.
//!
//! Opens no file and reads no clock. Whether the result is right, its digest says: the caller
//! compares it with the signed one.
//!
//! Byte planes are deliberately absent: those of the new tensor, of its XOR with the old one and of
//! the difference, packed by zstd, were 4 to 27 % larger than the coded tensors of every pair of
//! models that was measured (float32, float16 and int8; fine-tuned, and trained anew).

mod coder;
mod element;
mod mixer;
mod neighbors;
mod signed;

mod fresh;
mod grid;
mod method;
mod residual;

mod copies;
mod graph;
mod onnx;
mod pairing;

mod frame;
mod recipe;

mod apply;
mod make;
mod rescale;
mod snap;

pub use apply::{ApplyError, Base, apply, apply_script};
pub use make::make;
pub use snap::{Tolerance, snap};

/// Bytes of a recipe's header at most.
pub const HEADER_BYTES_MAX: usize = 64;
/// Old files up to this size may be the prefix of a recipe's zstd frame: the device has to hold it
/// in memory. Of larger ones ranges of at most this size are.
pub const PREFIX_BYTES_MAX: u64 = 4 << 20;
/// Memory that [`apply()`] takes at most, whatever the recipe: prefix and window of the zstd frame, the
/// contexts of one tensor, and buffers.
pub const APPLY_MEMORY_BYTES_MAX: u64 = PREFIX_BYTES_MAX + (1 << PREFIXED_WINDOW_BITS) + (4 << 20);

/// Bytes that are packed by themselves with a range of the old file as prefix, at most: 2 MiB.
const PACKED_BYTES_MAX: u64 = 2 << 20;
/// Smaller ones still have that much of the old file as prefix.
const PREFIX_BYTES_MIN: u64 = 64 << 10;

/// Bytes of the old file that may be the prefix of so many packed ones: twice as many, so that a
/// device spends its time on what it makes.
fn prefix_bytes_max(length: u64) -> u64 {
    length.saturating_mul(2).clamp(PREFIX_BYTES_MIN, PREFIX_BYTES_MAX)
}

/// Tensors of a file that are coded as such, and ranges that are packed by themselves, at most; further
/// ones are bytes. Each may cost the device a megabyte to set up, so this bounds its time.
const TENSORS_MAX: usize = 65_536;
/// Elements of a row at most, so that what is known of its columns is bounded.
const ROW_MAX: usize = 65_536;
/// How far back a recipe's zstd frame may refer, as a logarithm: 8 MiB, as zstd does at its level 19.
const WINDOW_BITS: u32 = 23;
/// The same where the old file is its prefix: 4 MiB.
const PREFIXED_WINDOW_BITS: u32 = 22;
