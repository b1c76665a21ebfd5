//! What anybody may send to a device: bytes that no sender of ours wrote.

use lineside_delta::{ApplyError, Tolerance, apply, apply_script, make, snap};
use models::{FLOAT, INT8, bytes, model, sum, weights};
use proptest::prelude::*;
use std::sync::LazyLock;
use zstd_safe::{CCtx, DCtx};

mod models;

const OLD: &[u8] = include_bytes!("../../../examples/turbine/models/turbine-v1.onnx");
const NEW: &[u8] = include_bytes!("../../../examples/turbine/models/turbine-v2.onnx");
/// Recipes for [`OLD`], good and bad: what a fuzzer starts from, and what it once found.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
/// Bytes of a header before the sizes.
const KIND: usize = 5;
const PREFIXED: u8 = 2;
/// What a zstd frame begins with (RFC 8878, section 3.1.1).
const FRAME: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// Applies any bytes. They may fail; what they write is never more than was promised.
fn attempt(base: &[u8], recipe: &[u8], target_bytes: usize) -> Result<Vec<u8>, ApplyError> {
    let mut made = Vec::new();
    let result = apply(base, recipe, target_bytes as u64, &mut made);
    assert!(made.len() <= target_bytes, "{} bytes written", made.len());
    result.map(|()| made)
}

/// A recipe's header, and what is packed in its frame.
fn unpack(base: &[u8], recipe: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let at = recipe.windows(4).position(|four| four == FRAME).expect("recipes have a frame");
    let (header, frame) = recipe.split_at(at);
    let mut context = DCtx::create();
    if header[KIND] & PREFIXED != 0 {
        context.ref_prefix(base).expect("a fresh context takes a prefix");
    }
    let mut content = vec![0; 1 << 20];
    let length = context.decompress(&mut content[..], frame).expect("frames of ours are whole");
    content.truncate(length);
    (header.to_vec(), content)
}

fn pack(base: &[u8], header: &[u8], content: &[u8]) -> Vec<u8> {
    let mut context = CCtx::create();
    if header[KIND] & PREFIXED != 0 {
        context.ref_prefix(base).expect("a fresh context takes a prefix");
    }
    let mut frame = vec![0; zstd_safe::compress_bound(content.len())];
    let length = context.compress2(&mut frame[..], content).expect("the buffer is large enough");
    [header, &frame[..length]].concat()
}

/// An old file, the new one's size, and the recipe.
type Case = (Vec<u8>, usize, Vec<u8>);

/// Recipes that have every kind of operation.
static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let old = weights(1, 400, 0.1);
    let update = sum(&old, &weights(2, 400, 0.001));
    let small =
        |numbers: &[f32]| numbers.iter().map(|number| (number * 99.0) as i8 as u8).collect();
    let [old, new] = [(&old, 1), (&update, 2)].map(|(numbers, seed)| {
        model(&[
            ("w", FLOAT, bytes(numbers)),
            ("q", INT8, small(numbers)),
            ("same", FLOAT, bytes(&weights(5, 300, 0.1))),
            ("fresh", FLOAT, bytes(&weights(seed, 300, 0.1))),
        ])
    });
    let snapped = snap(&old, &new, Tolerance::new(0.5).expect("a tolerance"));
    let pairs = [(&old[..], &new[..]), (&old, &snapped), (OLD, NEW)];
    let cases = pairs.map(|(old, new)| (old.to_vec(), new.len(), make(old, new)));
    cases.into()
});

#[test]
fn recipes_for_other_files_and_sizes_are_refused_at_once() {
    let recipe = make(OLD, NEW);
    let refused = |base, recipe: &[u8], bytes| attempt(base, recipe, bytes).expect_err("refused");
    assert!(matches!(refused(&OLD[1..], &recipe, NEW.len()), ApplyError::OtherBase { .. }));
    assert!(matches!(refused(OLD, &recipe, NEW.len() - 1), ApplyError::OtherTarget { .. }));
    assert!(matches!(refused(OLD, b"GIF89a", NEW.len()), ApplyError::NoRecipe));
    let mut later = recipe.clone();
    later[4] = 2;
    assert!(matches!(refused(OLD, &later, NEW.len()), ApplyError::Version(2)));
}

#[test]
fn operations_beyond_the_old_file_or_the_new_one_are_refused() {
    let header = |target: u8| [b"LSDR\x01\x01\x0A", &[target][..]].concat();
    let run = |content: &[u8]| {
        let recipe = pack(&[], &header(20), content);
        attempt(b"0123456789", &recipe, 20)
    };
    let whole = run(b"\x61\x00\x0A\x60\x03abc\x61\x13\x07").expect("three operations");
    assert_eq!(whole, b"0123456789abc3456789"[..20]);
    // Copies from beyond the end, of more than there is, of more than all numbers.
    for copy in [&b"\x61\x14\x01"[..], b"\x61\x00\x0B", b"\x61\x01\x02"] {
        assert!(matches!(run(copy), Err(ApplyError::OutsideBase { .. })), "{copy:?}");
    }
    // More than was promised; nothing at all, for ever; 2^61 elements of 8 bytes.
    let elements = b"\x03\x80\x80\x80\x80\x80\x80\x80\x80\x20\x00";
    for operation in [&b"\x60\x15"[..], b"\x60\x00", b"\x61\x00\x00", elements] {
        assert!(matches!(run(operation), Err(ApplyError::Length { .. })), "{operation:?}");
    }
    assert!(matches!(run(b"\x63"), Err(ApplyError::Operation(0x63))));
    assert!(matches!(run(b"\x60\x14abc"), Err(ApplyError::Recipe(_))));
    let long = b"\x60\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF";
    assert!(matches!(run(long), Err(ApplyError::Malformed(_))));
    let left_over = b"\x60\x1412345678901234567890x";
    assert!(matches!(run(left_over), Err(ApplyError::Malformed(_))));
}

#[test]
fn a_new_file_that_is_stored_is_taken_as_it_is_and_no_longer() {
    let run = |recipe: &[u8]| attempt(b"0123456789", recipe, 3);
    assert_eq!(run(b"LSDR\x01\x04\x0A\x03abc").expect("three bytes"), b"abc");
    assert!(matches!(run(b"LSDR\x01\x04\x0A\x03ab"), Err(ApplyError::Recipe(_))));
    assert!(matches!(run(b"LSDR\x01\x04\x0A\x03abcd"), Err(ApplyError::Malformed(_))));
    // Not packed with a prefix at once, nor of a kind to come.
    for kind in [6, 7, 8, 0xFF] {
        let recipe = [b"LSDR\x01", &[kind][..], b"\x0A\x03abc"].concat();
        assert!(matches!(run(&recipe), Err(ApplyError::Malformed(_))), "{kind}");
    }
}

#[test]
fn ranges_packed_by_themselves_are_refused_where_they_take_too_much() {
    let old = vec![7; 1 << 20];
    let frame = |content: &[u8], prefix: &[u8]| {
        let mut context = CCtx::create();
        context.ref_prefix(prefix).expect("a fresh context takes a prefix");
        let mut frame = vec![0; zstd_safe::compress_bound(content.len())];
        let length =
            context.compress2(&mut frame[..], content).expect("the buffer is large enough");
        frame.truncate(length);
        frame
    };
    let abc = frame(b"abc", &old[..9]);
    // From 0, as many bytes of the old file, and three in as many as follow.
    let packed = |prefix: &[u8], length: &[u8], bytes: &[u8]| {
        [b"\x62\x00", prefix, length, &[bytes.len() as u8], bytes].concat()
    };
    let run = |kind: u8, content: &[u8]| {
        let header = [b"LSDR\x01", &[kind][..], b"\x80\x80\x40\x03"].concat();
        let recipe = match kind {
            5 => [&header[..], content].concat(),
            _ => pack(&[], &header, content),
        };
        attempt(&old, &recipe, 3)
    };
    let good = packed(b"\x09", b"\x03", &abc);
    assert_eq!(run(5, &good).expect("three bytes"), b"abc");
    // Within a frame: two windows at once.
    assert!(matches!(run(1, &good), Err(ApplyError::Malformed(_))));
    // 64 KiB for few bytes, and one more.
    assert!(run(5, &packed(b"\x80\x80\x04", b"\x03", &frame(b"abc", &[]))).is_ok());
    let refused = run(5, &packed(b"\x81\x80\x04", b"\x03", &abc));
    assert!(matches!(refused, Err(ApplyError::PrefixTooLarge(_))), "{refused:?}");
    // Fewer than the frame has, more than it has, more than were promised, bytes left over.
    let refused = run(5, &packed(b"\x09", b"\x02", &abc));
    assert!(matches!(refused, Err(ApplyError::Malformed(_))), "{refused:?}");
    let refused = run(5, &packed(b"\x09", b"\x03", &frame(b"ab", &[])));
    assert!(matches!(refused, Err(ApplyError::Recipe(_))), "{refused:?}");
    let refused = run(5, &packed(b"\x09", b"\x04", &abc));
    assert!(matches!(refused, Err(ApplyError::Length { .. })), "{refused:?}");
    let refused = run(5, &packed(b"\x09", b"\x03", &[&abc[..], b"x"].concat()));
    assert!(matches!(refused, Err(ApplyError::Malformed(_))), "{refused:?}");
    let refused = run(5, &[&good[..], b"x"].concat());
    assert!(matches!(refused, Err(ApplyError::Malformed(_))), "{refused:?}");
    // Cut off; another prefix.
    assert!(run(5, &good[..good.len() - 1]).is_err());
    let beyond = run(5, &[b"\x62\xFE\xFF\x7F\x09\x03", &[abc.len() as u8][..], &abc].concat());
    assert!(matches!(beyond, Err(ApplyError::OutsideBase { .. })), "{beyond:?}");
    // More than two MiB at once.
    let header = b"LSDR\x01\x05\x80\x80\x40\x81\x80\x80\x01";
    let long = [&header[..], b"\x62\x00\x00\x81\x80\x80\x01\x09"].concat();
    let refused = attempt(&old, &long, (2 << 20) + 1);
    assert!(matches!(refused, Err(ApplyError::Malformed(_))), "{refused:?}");
}

#[test]
fn a_recipe_of_countless_tensors_is_refused() {
    // Each of one byte, with a model of its own.
    let tensor = [0x04, 1, 0];
    let run = |count: usize| {
        let header = [
            b"LSDR\x01\x01\x00",
            &[0x80 | count as u8, 0x80 | (count >> 7) as u8, (count >> 14) as u8][..],
        ]
        .concat();
        attempt(b"", &pack(&[], &header, &tensor.repeat(count)), count)
    };
    assert_eq!(run(65_536).expect("as many as there may be").len(), 65_536);
    assert!(matches!(run(65_537), Err(ApplyError::Malformed(_))));
}

#[test]
fn a_large_old_file_is_not_read_into_memory() {
    let large = vec![0; lineside_delta::PREFIX_BYTES_MAX as usize + 1];
    let recipe = b"LSDR\x01\x02\x81\x80\x80\x02\x01";
    assert!(matches!(attempt(&large, recipe, 1), Err(ApplyError::PrefixTooLarge(_))));
}

#[test]
fn a_recipe_cut_anywhere_fails() {
    for (old, target_bytes, recipe) in &*CASES {
        for length in (0..recipe.len()).step_by(7).chain([recipe.len() - 1]) {
            assert!(attempt(old, &recipe[..length], *target_bytes).is_err(), "{length}");
        }
        assert!(attempt(old, &[&recipe[..], b"x"].concat(), *target_bytes).is_err());
    }
}

#[test]
fn nothing_in_the_corpus_does_harm_and_what_is_good_still_applies() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(CORPUS).expect("the corpus") {
        let path = entry.expect("an entry").path();
        let recipe = std::fs::read(&path).expect("a file");
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let made = attempt(OLD, &recipe, NEW.len());
        // Those of released senders have to be understood for ever.
        if name.starts_with("good-") {
            let made = made.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(!name.ends_with("-new") || made == NEW, "{name} makes another file");
        }
        names.push(name);
    }
    assert!(names.len() >= 4, "{names:?}");
}

/// Scripts for [`OLD`] that make files of [`NEW`]'s size, or try to: where a fuzzer of scripts starts.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");

#[test]
fn no_script_of_the_corpus_does_harm_and_the_bad_ones_are_refused() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(SCRIPTS).expect("the corpus") {
        let path = entry.expect("an entry").path();
        let script = std::fs::read(&path).expect("a file");
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let mut made = Vec::new();
        let result = apply_script(OLD, &script[..], NEW.len() as u64, &mut made);
        assert!(made.len() <= NEW.len(), "{name}: {} bytes written", made.len());
        assert_eq!(result.is_ok(), name.starts_with("good-"), "{name}: {result:?}");
        names.push(name);
    }
    assert!(names.len() >= 20, "{names:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changed_operations_do_no_harm(
        which in 0usize..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        near_start: bool,
    ) {
        let (old, target_bytes, recipe) = &CASES[which];
        let (header, mut content) = unpack(old, recipe);
        let reach = if near_start { content.len().min(60) } else { content.len() };
        for (at, byte) in changes {
            content[at.index(reach)] = byte;
        }
        let _ = attempt(old, &pack(old, &header, &content), *target_bytes);
    }

    #[test]
    fn operations_out_of_nothing_do_no_harm(
        content in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..4, 0x58u8..0x64], 0..300)
    ) {
        let header = [b"LSDR\x01\x01", &[100, 0xC8, 0x01][..]].concat();
        let _ = attempt(&[7; 100], &pack(&[], &header, &content), 200);
    }

    #[test]
    fn changed_recipes_do_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let mut recipe = CASES[2].2.clone();
        for (at, byte) in changes {
            let at = at.index(recipe.len());
            recipe[at] = byte;
        }
        let _ = attempt(OLD, &recipe, NEW.len());
    }
}
