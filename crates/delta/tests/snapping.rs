//! What snapping promises: another model nearby, and a small recipe for it.

use lineside_delta::{Tolerance, apply, make, snap};
use models::{FLOAT, FLOAT16, INT8, INT32, bytes, model, model_of, sum, weights};

mod models;

const COUNT: usize = 20_000;

fn tolerance(share: f64) -> Tolerance {
    Tolerance::new(share).expect("a tolerance")
}

/// The float tensor at the end of a file.
fn floats(file: &[u8]) -> Vec<f64> {
    let chunks = file[file.len() - 4 * COUNT..].chunks_exact(4);
    chunks.map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().expect("four")))).collect()
}

/// Deviation of the differences of two float tensors at the end of files that are otherwise alike.
fn deviation(a: &[u8], b: &[u8]) -> f64 {
    let (a, b) = (floats(a), floats(b));
    let squares: f64 = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum();
    (squares / COUNT as f64).sqrt()
}

#[test]
fn a_snapped_update_is_small_and_lies_within_its_tolerance() {
    let old = weights(1, COUNT, 0.1);
    let new = sum(&old, &weights(2, COUNT, 0.002));
    let (old, new) = (model(&[("w", FLOAT, bytes(&old))]), model(&[("w", FLOAT, bytes(&new))]));
    let snapped = snap(&old, &new, tolerance(0.25));
    let recipe = make(&old, &snapped);
    let mut made = Vec::new();
    apply(&old[..], &recipe[..], snapped.len() as u64, &mut made).expect("our own recipe");
    assert!(made == snapped);
    // A normal update on a grid of a quarter to an eighth of its deviation: at most log2(8) + 2.05
    // bits of 32 (the entropy of a normal distribution, Shannon 1948, section 20).
    assert!(recipe.len() < COUNT * 4 * 17 / 100, "{}", recipe.len());
    // What rounding takes is given to the next weight, so the noise is that of two roundings.
    let noise = 0.25 / 6f64.sqrt();
    assert!(deviation(&snapped, &new) <= deviation(&old, &new) * noise * 1.05);
}

#[test]
fn what_an_output_gets_from_all_its_inputs_together_stays() {
    let old = weights(1, COUNT, 0.1);
    let new = sum(&old, &weights(2, COUNT, 0.001).iter().map(|x| x + 0.0002).collect::<Vec<_>>());
    let (old, new) = (model(&[("w", FLOAT, bytes(&old))]), model(&[("w", FLOAT, bytes(&new))]));
    // Steps of eight times the update: rounded one by one, next to nothing of it would be left.
    let snapped = snap(&old, &new, tolerance(8.0));
    assert!(make(&old, &snapped).len() < COUNT / 10);
    let sums = |file: &[u8]| {
        let mut sums = [0.0; 4];
        for (at, float) in floats(file).iter().enumerate() {
            sums[at % 4] += float;
        }
        sums
    };
    for ((snapped, new), old) in sums(&snapped).into_iter().zip(sums(&new)).zip(sums(&old)) {
        assert!((new - old).abs() > 0.5, "the update has a sum: {}", new - old);
        assert!((snapped - new).abs() < 0.01, "{snapped} {new}");
    }
}

#[test]
fn snapping_again_changes_nothing() {
    let old = weights(1, COUNT, 0.1);
    let new = sum(&old, &weights(2, COUNT, 0.002));
    let half = |numbers: &[f32]| -> Vec<u8> {
        // The upper half of each float: a bfloat16, which is a float16 of other values.
        numbers.iter().flat_map(|number| ((number.to_bits() >> 16) as u16).to_le_bytes()).collect()
    };
    for (old, new) in [
        (model(&[("w", FLOAT, bytes(&old))]), model(&[("w", FLOAT, bytes(&new))])),
        (model(&[("w", FLOAT16, half(&old))]), model(&[("w", FLOAT16, half(&new))])),
    ] {
        let once = snap(&old, &new, tolerance(0.5));
        let size = |target: &[u8]| make(&old, target).len();
        assert!(size(&once) < size(&new), "{} {}", size(&once), size(&new));
        let twice = snap(&old, &once, tolerance(1e-6));
        assert!(twice == once);
    }
}

#[test]
fn whole_numbers_stay_within_their_range() {
    let old: Vec<u8> = (0..256).map(|i| i as u8).collect();
    let new: Vec<u8> = (0..256i32).map(|i| (i as u8 as i8).saturating_add(11) as u8).collect();
    let (old, new) = (model(&[("w", INT8, old)]), model(&[("w", INT8, new)]));
    let snapped = snap(&old, &new, tolerance(0.8));
    assert!(snapped != new);
    for (new, snapped) in new.iter().zip(&snapped) {
        assert!((*new as i8).abs_diff(*snapped as i8) <= 8, "{new} {snapped}");
    }
}

/// Weights in steps of their largest, as a quantiser makes them, and a bias in steps of a thousandth of
/// that; as the tensors of a model: `[COUNT / 4, 4]` and four.
struct Quantized {
    scale: f32,
    weights: Vec<u8>,
    bias: Vec<u8>,
}

impl Quantized {
    fn of(weights: &[f32], bias: &[f32]) -> Quantized {
        let scale = weights.iter().fold(0f32, |most, weight| most.max(weight.abs())) / 127.0;
        let weights = weights.iter().map(|weight| (weight / scale).round() as i8 as u8).collect();
        let bias = bias.iter().map(|bias| (bias / (scale / 1000.0)).round() as i32);
        Quantized { scale, weights, bias: bias.flat_map(i32::to_le_bytes).collect() }
    }

    /// With nodes that say what belongs together, and perhaps one more that has the same scale.
    fn model(&self, shared: bool) -> Vec<u8> {
        let mut nodes: Vec<(&str, &[&str], &str)> = vec![
            ("DequantizeLinear", &["w", "w scale"], "w values"),
            ("DequantizeLinear", &["b", "b scale"], "b values"),
            ("Gemm", &["input", "w values", "b values"], "output"),
        ];
        if shared {
            nodes.push(("DequantizeLinear", &["other", "w scale"], "other values"));
        }
        let scale = |scale: f32| scale.to_le_bytes().to_vec();
        let tensors = [
            ("w scale", FLOAT, scale(self.scale)),
            ("b scale", FLOAT, scale(self.scale / 1000.0)),
            ("b", INT32, self.bias.clone()),
            ("w", INT8, self.weights.clone()),
        ];
        model_of(&nodes, &tensors)
    }

    /// What a model that was made so has now: values of weights and bias, and the scales.
    fn read(&self, file: &[u8]) -> ([f32; 2], Vec<f32>, Vec<f32>) {
        let made = self.model(false);
        let [w_scale, b_scale] = [self.scale, self.scale / 1000.0].map(|scale| {
            let scale = scale.to_le_bytes();
            let at = made.windows(4).position(|four| four == scale).expect("it is there");
            f32::from_le_bytes(file[at..at + 4].try_into().expect("four"))
        });
        let at = made.windows(16).position(|some| some == self.bias).expect("it is there");
        let bias = file[at..at + 16].chunks_exact(4);
        let bias = bias.map(|bytes| i32::from_le_bytes(bytes.try_into().expect("four")));
        let weights =
            file[file.len() - COUNT..].iter().map(|byte| f32::from(*byte as i8) * w_scale);
        ([w_scale, b_scale], weights.collect(), bias.map(|bias| bias as f32 * b_scale).collect())
    }
}

#[test]
fn weights_whose_scale_has_changed_keep_the_old_one_and_their_values() {
    let (old, bias) = (weights(1, COUNT, 0.1), weights(3, 4, 0.01));
    let mut new = sum(&old, &weights(2, COUNT, 0.0005));
    new[7] = old.iter().fold(0f32, |most, weight| most.max(weight.abs())) * 1.04;
    let [old, new] = [&old, &new].map(|weights| Quantized::of(weights, &bias));
    let (from, exact) = (old.model(false), new.model(false));
    let snapped = snap(&from, &exact, tolerance(8.0));
    let (scales, values, biases) = new.read(&snapped);
    let (_, wanted, wanted_biases) = new.read(&exact);
    assert_eq!(scales[0], old.scale);
    // Engines that add a bias to whole numbers take its scale for granted.
    assert!((scales[1] / (old.scale / 1000.0) - 1.0).abs() < 1e-6, "{scales:?}");
    for (bias, wanted) in biases.iter().zip(&wanted_biases) {
        assert!((bias - wanted).abs() <= scales[1], "{bias} {wanted}");
    }
    // No farther than rounding to a step of three and what it took from the weight before; but beyond
    // the old range.
    let far = values
        .iter()
        .zip(&wanted)
        .enumerate()
        .filter(|(_, (a, b))| (*a - *b).abs() > 4.6 * old.scale);
    assert_eq!(far.map(|(at, _)| at).collect::<Vec<_>>(), [7]);
    let size = |target: &[u8]| make(&from, target).len();
    assert!(size(&snapped) < size(&exact) / 2, "{} {}", size(&snapped), size(&exact));
}

#[test]
fn a_scale_that_others_have_too_is_not_touched() {
    let old = weights(1, COUNT, 0.1);
    let new = sum(&old, &weights(2, COUNT, 0.02));
    let [old, new] = [&old, &new].map(|weights| Quantized::of(weights, &[0.1; 4]));
    assert!(old.scale != new.scale);
    let (from, exact) = (old.model(true), new.model(true));
    let snapped = snap(&from, &exact, tolerance(1.0));
    assert!(snapped != exact);
    // All before the weights.
    assert!(snapped[..snapped.len() - COUNT] == exact[..exact.len() - COUNT]);
}

#[test]
fn what_is_not_finite_or_new_or_small_stays_as_it_is() {
    let mut old = weights(1, 100, 0.1);
    let new = sum(&old, &weights(2, 100, 0.01));
    old[50] = f32::NAN;
    let (few, fewer) = (bytes(&weights(3, 10, 0.1)), bytes(&weights(4, 10, 0.1)));
    let other = bytes(&weights(5, 90, 0.1));
    let old = model(&[("w", FLOAT, bytes(&old)), ("scale", FLOAT, few)]);
    let new = [("w", FLOAT, bytes(&new)), ("scale", FLOAT, fewer), ("added", FLOAT, other)];
    let new = model(&new);
    assert!(snap(&old, &new, tolerance(1.0)) == new);
}

#[test]
fn a_tolerance_is_more_than_nothing() {
    for share in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(Tolerance::new(share), None);
    }
}
