//! The zstd frame (RFC 8878) that a recipe's body is packed in.

use crate::{PREFIXED_WINDOW_BITS, WINDOW_BITS};
use std::io::{self, Read};
use zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer};

/// The strongest level that needs no more memory to unpack than the weaker ones.
pub(crate) const STRONGEST: i32 = 19;
/// Bytes read and unpacked at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// Packs bytes; what they have in common with `prefix` is only referred to.
pub(crate) fn pack(bytes: &[u8], prefix: &[u8], level: i32) -> Vec<u8> {
    let mut context = CCtx::create();
    let mut packed = vec![0; zstd_safe::compress_bound(bytes.len())];
    let window = CParameter::WindowLog(window_bits(prefix));
    let parameters = [CParameter::CompressionLevel(level), window];
    let set = parameters.into_iter().try_for_each(|each| context.set_parameter(each).map(drop));
    let packing = set
        .and_then(|()| context.ref_prefix(prefix))
        .and_then(|_| context.compress2(&mut packed[..], bytes));
    let length = packing.expect("zstd packs whatever it is given into a buffer of its own bound");
    packed.truncate(length);
    packed
}

/// How far back a frame may refer: its window and the prefix share a device's memory.
fn window_bits(prefix: &[u8]) -> u32 {
    if prefix.is_empty() { WINDOW_BITS } else { PREFIXED_WINDOW_BITS }
}

/// Unpacks a frame while it is read.
pub(crate) struct Unpacked<'a, R> {
    source: R,
    context: DCtx<'a>,
    packed: Box<[u8]>,
    next: usize,
    filled: usize,
    ended: bool,
}

impl<'a, R: Read> Unpacked<'a, R> {
    /// For a frame with this prefix, which may be empty.
    pub(crate) fn new(source: R, prefix: &'a [u8]) -> io::Result<Unpacked<'a, R>> {
        let mut context = DCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
        context
            .set_parameter(DParameter::WindowLogMax(window_bits(prefix)))
            .and_then(|_| context.ref_prefix(prefix))
            .map_err(broken)?;
        let packed = vec![0; BUFFER_BYTES].into();
        Ok(Unpacked { source, context, packed, next: 0, filled: 0, ended: false })
    }

    /// Whether the frame and its source are at their end.
    pub(crate) fn is_done(&mut self) -> io::Result<bool> {
        let mut more = [0];
        Ok(self.read(&mut more)? == 0 && self.next == self.filled && self.refill()? == 0)
    }

    fn refill(&mut self) -> io::Result<usize> {
        self.next = 0;
        self.filled = 0;
        self.filled = loop {
            match self.source.read(&mut self.packed) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        Ok(self.filled)
    }
}

impl<R: Read> Read for Unpacked<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut out = OutBuffer::around(buffer);
        while !self.ended && out.pos() < out.capacity() {
            let mut input = InBuffer::around(&self.packed[self.next..self.filled]);
            let left = self.context.decompress_stream(&mut out, &mut input).map_err(broken)?;
            self.next += input.pos();
            self.ended = left == 0;
            let stuck = !self.ended && out.pos() < out.capacity() && self.next == self.filled;
            if stuck && self.refill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(out.pos())
    }
}

fn broken(code: zstd_safe::ErrorCode) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, zstd_safe::get_error_name(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_unpacked_in_pieces_of_any_size() {
        let bytes: Vec<u8> = (0..300_000u32).map(|i| ((i / 7) ^ (i / 300)) as u8).collect();
        for prefix in [&bytes[50_000..250_000], &[]] {
            let packed = pack(&bytes, prefix, STRONGEST);
            for size in [1, 1000, 400_000] {
                let mut unpacked = Unpacked::new(&packed[..], prefix).unwrap();
                let (mut all, mut piece) = (Vec::new(), vec![0; size]);
                while let read @ 1.. = unpacked.read(&mut piece).unwrap() {
                    all.extend_from_slice(&piece[..read]);
                }
                assert_eq!(all, bytes);
                assert!(unpacked.is_done().unwrap());
            }
        }
    }

    #[test]
    fn cut_and_lengthened_frames_are_noticed() {
        let packed = pack(&[7; 1000], &[], STRONGEST);
        let unpack = |packed: &[u8]| {
            let mut unpacked = Unpacked::new(packed, &[]).unwrap();
            unpacked.read_exact(&mut [0; 1000]).and_then(|()| unpacked.is_done())
        };
        assert!(unpack(&packed).unwrap());
        assert!(!unpack(&[&packed[..], b"x"].concat()).unwrap());
        for length in 0..packed.len() {
            assert!(unpack(&packed[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_frame_that_wants_a_larger_window_is_refused() {
        let bytes = vec![1; 9 << 20];
        let mut packed = vec![0; zstd_safe::compress_bound(bytes.len())];
        let mut context = CCtx::create();
        context.set_parameter(CParameter::WindowLog(WINDOW_BITS + 1)).unwrap();
        let length = context.compress2(&mut packed[..], &bytes).unwrap();
        let read = Unpacked::new(&packed[..length], &[]).unwrap().read(&mut [0; 10]);
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
