//! What a recipe promises: the exact file, and never more bytes than zstd would need.

use lineside_delta::{HEADER_BYTES_MAX, apply, make};
use models::{FLOAT, INT8, bytes, model, sum, weights};
use proptest::prelude::*;
use zstd_safe::{CCtx, CParameter};

mod models;

const EXAMPLES: [(&str, &[u8], &[u8]); 2] = [
    (
        "ecg",
        include_bytes!("../../../examples/ecg/models/ecg-v1.onnx"),
        include_bytes!("../../../examples/ecg/models/ecg-v2.onnx"),
    ),
    (
        "turbine",
        include_bytes!("../../../examples/turbine/models/turbine-v1.onnx"),
        include_bytes!("../../../examples/turbine/models/turbine-v2.onnx"),
    ),
];

/// Makes a recipe and applies it; it has to give the target.
fn recipe(base: &[u8], target: &[u8]) -> Vec<u8> {
    let recipe = make(base, target);
    let mut made = Vec::new();
    apply(base, &recipe[..], target.len() as u64, &mut made).expect("our own recipes apply");
    assert!(made == target, "the recipe makes another file");
    recipe
}

/// What zstd alone needs, in bytes.
fn zstd(target: &[u8], prefix: &[u8]) -> usize {
    let mut packed = vec![0; zstd_safe::compress_bound(target.len())];
    let mut context = CCtx::create();
    context.set_parameter(CParameter::CompressionLevel(19)).expect("a level it has");
    context.ref_prefix(prefix).expect("a fresh context takes a prefix");
    context.compress2(&mut packed[..], target).expect("the buffer is large enough")
}

fn assert_no_larger_than_zstd(base: &[u8], target: &[u8]) {
    let recipe = recipe(base, target).len();
    let others = zstd(target, base).min(zstd(target, &[])).min(target.len());
    assert!(recipe <= others + HEADER_BYTES_MAX, "{recipe} bytes, by other means {others}");
}

#[test]
fn what_nothing_packs_costs_a_header_whatever_its_size() {
    let noise: Vec<u8> = (0..600_000u64).map(|i| (mixed(i) >> 56) as u8).collect();
    assert!(zstd(&noise, &[]) > noise.len());
    let recipe = recipe(b"something else", &noise);
    assert!(recipe.len() <= noise.len() + HEADER_BYTES_MAX, "{}", recipe.len());
}

#[test]
fn a_file_that_repeats_itself_far_behind_is_packed_as_by_zstd() {
    // Five MiB apart: within zstd's window at level 19, beyond that of a device that holds a prefix.
    let noise: Vec<u8> = (0..(5u64 << 20) / 8).flat_map(|i| mixed(i).to_le_bytes()).collect();
    let twice = [&noise[..], &noise].concat();
    let recipe = recipe(b"", &twice);
    assert!(recipe.len() < noise.len() + noise.len() / 100, "{}", recipe.len());
}

/// Bits that look like chance (splitmix64, Steele et al. 2014).
fn mixed(number: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

#[test]
fn real_models_arrive_whole_and_smaller_than_by_zstd() {
    for (name, old, new) in EXAMPLES {
        let recipe = recipe(old, new).len();
        let zstd = zstd(new, old).min(zstd(new, &[]));
        assert!(recipe < zstd, "{name}: {recipe} bytes, zstd alone {zstd}");
    }
}

#[test]
fn the_same_file_is_a_few_bytes() {
    for (name, old, _) in EXAMPLES {
        let recipe = recipe(old, old);
        assert!(recipe.len() < 40, "{name}: {}", recipe.len());
    }
}

#[test]
fn a_small_change_of_every_weight_is_a_smaller_recipe_than_any_general_tool_makes() {
    let old = weights(1, 20_000, 0.1);
    let new = sum(&old, &weights(2, 20_000, 0.0005));
    let (old, new) = (model(&[("w", FLOAT, bytes(&old))]), model(&[("w", FLOAT, bytes(&new))]));
    let share = recipe(&old, &new).len() as f64 / zstd(&new, &old) as f64;
    assert!(share < 0.75, "{share}");
}

#[test]
fn a_new_head_costs_the_head() {
    let trunk = bytes(&weights(1, 20_000, 0.1));
    let head = |seed| bytes(&weights(seed, 500, 0.1));
    let old = model(&[("trunk", FLOAT, trunk.clone()), ("head", FLOAT, head(2))]);
    let new = model(&[("trunk", FLOAT, trunk), ("head", FLOAT, head(3))]);
    let recipe = recipe(&old, &new);
    assert!(recipe.len() < 2000, "{}", recipe.len());
}

#[test]
fn tensors_beyond_the_end_of_the_old_file_arrive_too() {
    let weights = |seed| bytes(&models::weights(seed, 3000, 0.1));
    let old = model(&[("a", FLOAT, weights(1))]);
    let new =
        model(&[("a", FLOAT, weights(1)), ("b", FLOAT, weights(2)), ("c", FLOAT, weights(3))]);
    for base in [&old[..], b""] {
        let share = recipe(base, &new).len() as f64 / zstd(&new, base) as f64;
        assert!(share < 0.95, "{share}");
    }
}

#[test]
fn a_tensor_is_known_under_another_name_and_in_another_place() {
    let [a, b, c] = [1, 2, 3].map(|seed| weights(seed, 3000, 0.1));
    let change = |weights: &[f32]| bytes(&sum(weights, &models::weights(9, 3000, 0.0001)));
    let old = model(&[("a", FLOAT, bytes(&a)), ("b", FLOAT, bytes(&b)), ("c", FLOAT, bytes(&c))]);
    let new =
        model(&[("c", FLOAT, change(&c)), ("a", FLOAT, change(&a)), ("x", FLOAT, change(&b))]);
    let share = recipe(&old, &new).len() as f64 / new.len() as f64;
    assert!(share < 0.6, "{share}");
}

#[test]
fn weights_that_resemble_nothing_cost_no_more_than_by_themselves() {
    let old = model(&[("w", FLOAT, bytes(&weights(1, 5000, 0.1)))]);
    let new = model(&[("w", FLOAT, bytes(&weights(2, 5000, 0.1)))]);
    let share = recipe(&old, &new).len() as f64 / zstd(&new, &old) as f64;
    assert!(share < 0.95, "{share}");
}

#[test]
fn files_that_are_no_models_and_empty_ones_are_files_too() {
    let text = b"Lineside puts models to work beside the line.".repeat(200);
    let other = [&text[1000..7000], b"and something else", &text[..500]].concat();
    for base in [&text[..], &other, b"", b"x"] {
        for target in [&text[..], &other, b"", b"y"] {
            assert_no_larger_than_zstd(base, target);
        }
    }
}

#[test]
fn files_larger_than_a_prefix_may_be_are_copied_from() {
    let old = model(&[
        ("a", FLOAT, bytes(&weights(1, 530_000, 0.1))),
        ("b", FLOAT, bytes(&weights(2, 530_000, 0.1))),
    ]);
    assert!(old.len() as u64 > lineside_delta::PREFIX_BYTES_MAX);
    let mut new = old.clone();
    new.drain(100..130);
    new[3_000_000] ^= 1;
    let recipe = recipe(&old, &new);
    assert!(recipe.len() < 500, "{}", recipe.len());
}

#[test]
fn of_large_files_each_two_mebibytes_cost_no_more_than_by_zstd_with_what_lies_around_them() {
    const WINDOW: usize = 2 << 20;
    let old: Vec<u8> = (0..(9u64 << 19) / 8).flat_map(|i| mixed(i).to_le_bytes()).collect();
    assert!(old.len() as u64 > lineside_delta::PREFIX_BYTES_MAX);
    // All has moved a little, and between two changes lie fewer bytes than a copied range has. What was
    // put before it is a range from elsewhere, and must mislead nobody.
    let mut changed = old.clone();
    changed.iter_mut().step_by(11).for_each(|byte| *byte ^= 0x55);
    let new = [&old[4_000_000..4_100_000], &changed].concat();
    let windows = new.chunks(WINDOW).enumerate().map(|(at, window)| {
        let prefix = (2 * window.len()).clamp(64 << 10, 4 << 20);
        let middle = at * WINDOW + window.len() / 2;
        let from = middle.saturating_sub(prefix / 2).min(old.len() - prefix);
        zstd(window, &old[from..from + prefix]) + 32
    });
    let windows: usize = windows.sum();
    let (recipe, whole) = (recipe(&old, &new).len(), zstd(&new, &old));
    assert!(recipe <= windows + HEADER_BYTES_MAX, "{recipe} of {windows}");
    assert!(recipe < whole + whole / 20, "{recipe}, with all of the old file {whole}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_recipe_is_larger_than_zstd_and_a_header(
        seed in any::<u64>(),
        count in 0usize..3000,
        scale in 0f32..1.0,
        change in prop::sample::select(vec![0.0f32, 1e-6, 1e-3, 0.1, 10.0]),
        kind in prop::sample::select(vec![FLOAT, INT8]),
        cut in 0usize..500,
    ) {
        let old = weights(seed, count, scale);
        let new = sum(&old, &weights(seed ^ 0xABCD, count, change));
        let kept = |numbers: &[f32]| match kind {
            FLOAT => bytes(numbers),
            _ => numbers.iter().map(|number| (number * 40.0) as i8 as u8).collect(),
        };
        let old = model(&[("w", kind, kept(&old)), ("bias", FLOAT, bytes(&old[..count / 50]))]);
        let new = model(&[("w", kind, kept(&new)), ("bias", FLOAT, bytes(&new[..count / 50]))]);
        assert_no_larger_than_zstd(&old, &new);
        assert_no_larger_than_zstd(&old, &new[cut.min(new.len())..]);
    }

    #[test]
    fn any_two_files_have_a_recipe(base: Vec<u8>, target: Vec<u8>) {
        assert_no_larger_than_zstd(&base, &target);
    }
}
