//! How much memory a device needs to apply a recipe, by what the system says. A process of its own.

#![cfg(target_os = "linux")]

use lineside_delta::{APPLY_MEMORY_BYTES_MAX, ApplyError, Base, PREFIX_BYTES_MAX, apply};
use std::io;
use zstd_safe::{CCtx, CParameter};

/// An old file that takes no memory: a pattern without an end.
struct Endless(u64);

impl Base for Endless {
    fn bytes(&self) -> u64 {
        self.0
    }

    fn read_at(&self, from: u64, buffer: &mut [u8]) -> io::Result<()> {
        for (place, byte) in (from..).zip(buffer) {
            *byte = (place * 7 / 5) as u8;
        }
        Ok(())
    }
}

/// A line of what the system says of this process, in bytes.
fn status(key: &str) -> u64 {
    let all = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = all.lines().find_map(|line| line.strip_prefix(key)).expect("and this line in it");
    let kilobytes = line.trim_matches(|c: char| !c.is_ascii_digit());
    kilobytes.parse::<u64>().expect("a number") * 1024
}

/// Memory that applying took at its peak, in bytes.
fn peak(base: &(impl Base + ?Sized), recipe: &[u8], target_bytes: u64) -> u64 {
    taken_by(|| apply(base, recipe, target_bytes, io::sink()).expect("a recipe of ours"))
}

/// Memory that something took at its peak, in bytes.
fn taken_by(something: impl FnOnce()) -> u64 {
    // "5" forgets the peak so far (proc_pid_clear_refs(5)).
    std::fs::write("/proc/self/clear_refs", "5").expect("a process may clear its own");
    let before = status("VmRSS:");
    something();
    status("VmHWM:").saturating_sub(before)
}

/// Bytes that nothing packs (xorshift64, Marsaglia 2003).
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..count).map(|_| next()).collect()
}

/// A recipe of this kind and these sizes, with the content packed as a sender does.
fn packed(kind: u8, sizes: &[u8], content: &[u8], prefix: &[u8], window: u32) -> Vec<u8> {
    let mut context = CCtx::create();
    context.set_parameter(CParameter::CompressionLevel(1)).expect("a level it has");
    context.set_parameter(CParameter::WindowLog(window)).expect("the format's largest window");
    context.ref_prefix(prefix).expect("a fresh context takes a prefix");
    let frame = framed(context, content);
    [b"LSDR\x01", &[kind][..], sizes, sizes, &frame].concat()
}

fn framed(mut context: CCtx<'_>, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; zstd_safe::compress_bound(content.len())];
    let length = context.compress2(&mut frame[..], content).expect("the buffer is large enough");
    frame.truncate(length);
    frame
}

#[test]
fn applying_takes_no_more_memory_than_promised_however_large_the_file() {
    // A quarter of a gigabyte, copied whole.
    let sizes = [0x80, 0x80, 0x80, 0x80, 0x01];
    let copy = [&[0x61, 0x00], &sizes[..]].concat();
    let copied = peak(&Endless(1 << 28), &packed(1, &sizes, &copy, &[], 23), 1 << 28);
    assert!(copied <= APPLY_MEMORY_BYTES_MAX, "{copied}");

    // The largest prefix, the largest window, and the largest model of every method at once.
    let old = noise(1, 1 << 22);
    assert_eq!(old.len() as u64, PREFIX_BYTES_MAX);
    let mut content = Vec::new();
    // In rows of 65,536, of 64-bit floats: fresh; residual from where it would be; grid in ones.
    let row = [0x80, 0x80, 0x04];
    for before in [&[0x0B][..], &[0x2B, 0], &[0x4B, 0, 0]] {
        content.extend([before, &row, &[1, 0]].concat());
    }
    let literal = noise(2, (1 << 22) - 24);
    content.extend([0x60, 0xE8, 0xFF, 0xFF, 0x01]);
    content.extend_from_slice(&literal);
    let recipe = packed(3, &[0x80, 0x80, 0x80, 0x02], &content, &old, 22);
    let computed = peak(&old[..], &recipe, PREFIX_BYTES_MAX);
    assert!(computed <= APPLY_MEMORY_BYTES_MAX, "{computed}");
    assert!(computed > PREFIX_BYTES_MAX * 3 / 2, "{computed} cannot be prefix and window");

    // The same models, and the largest range that is packed by itself, with the largest prefix.
    let mut context = CCtx::create();
    context.set_parameter(CParameter::WindowLog(22)).expect("a window it has");
    context.ref_prefix(&old).expect("a fresh context takes a prefix");
    let frame = framed(context, &noise(4, 2 << 20));
    let frame_bytes = [0, 7, 14, 21].map(|shift| (frame.len() >> shift) as u8 | 0x80);
    let tensors = &content[..content.len() - literal.len() - 5];
    let range = [0x62, 0x2F, 0x80, 0x80, 0x80, 0x02, 0x80, 0x80, 0x80, 0x01];
    let header = b"LSDR\x01\x05\x80\x80\x80\x02\x98\x80\x80\x01";
    let recipe = [&header[..], tensors, &range, &frame_bytes, &[0], &frame].concat();
    let computed = peak(&old[..], &recipe, (2 << 20) + 24);
    assert!(computed <= APPLY_MEMORY_BYTES_MAX, "{computed}");
    assert!(computed > PREFIX_BYTES_MAX * 5 / 4, "{computed} cannot be prefix and range");

    // No prefix, and the largest window there is without one.
    let long = noise(3, (8 << 20) + 1000);
    let sizes = [0xE8, 0x87, 0x80, 0x04];
    let windowed =
        peak(&Endless(long.len() as u64), &packed(0, &sizes, &long, &[], 23), long.len() as u64);
    assert!(windowed <= APPLY_MEMORY_BYTES_MAX, "{windowed}");

    // Frames that want more (RFC 8878, section 3.1.1.1.2) are refused before it is given to them.
    for (kind, window) in [(0, 24), (1, 27), (2, 23), (3, 31)] {
        let frame = [0x28, 0xB5, 0x2F, 0xFD, 0x00, (window - 10) << 3, 0x01, 0x00, 0x00];
        let hostile = [b"LSDR\x01", &[kind][..], &[10, 10], &frame].concat();
        let mut refused = None;
        let taken = taken_by(|| refused = apply(&[7; 10][..], &hostile[..], 10, io::sink()).err());
        assert!(matches!(refused, Some(ApplyError::Recipe(_))), "{refused:?}");
        assert!(taken < 2 << 20, "{taken} bytes for a window of 2^{window}");
    }
}
