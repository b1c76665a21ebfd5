use super::*;
use proptest::prelude::*;
use tract_onnx::tract_core::ops::cnn::{PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::hard_swish;

/// A convolution, and what follows it.
#[derive(Debug, Clone)]
struct Case {
    batch: Option<usize>,
    /// Channels that go in and come out; each by itself where there is one number.
    channels: (usize, Option<usize>),
    /// Of each way: places, taps, stride, dilation, zeros before and behind.
    ways: Vec<[usize; 6]>,
    behind: Vec<Behind>,
    /// What is no number among what goes in.
    nan: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Behind {
    Scaled,
    Moved,
    AtLeast(f32),
    AtMost(f32),
    Gated(Gated),
    HardSwish,
}

/// What a number is multiplied by, in the order of its steps: what is there of a slope, of how much it is moved
/// by, and of bounds, of which the upper one may come first; and what is there of a scale for it all.
#[derive(Debug, Clone, Copy)]
struct Gated {
    slope: Option<f32>,
    moved: Option<f32>,
    bounds: [f32; 2],
    is_high_first: bool,
    scale: Option<f32>,
}

/// Numbers between -1 and 1, none of them nought.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    let number = |at: usize| (((at * 7919 + seed * 104_729 + 13) % 2003) as f32 - 1001.4) / 1002.0;
    (0..count).map(number).collect()
}

impl Gated {
    /// `x * clip(x + 3, 0, 6) / 6`.
    const USUAL: Gated = Gated {
        slope: None,
        moved: Some(3.0),
        bounds: [0.0, 6.0],
        is_high_first: false,
        scale: Some(1.0 / 6.0),
    };

    /// Puts these steps behind an outlet.
    fn behind(self, model: &mut TypedModel, from: OutletId, at: usize) -> TractResult<OutletId> {
        let rank = model.outlet_fact(from)?.rank();
        let mut step = |name: &str, operator: TypedBinOp, wire: OutletId, number: f32| {
            let number = tensor0(number).broadcast_into_rank(rank)?;
            let number = model.add_const(format!("{name}{at}c"), number)?;
            Ok::<_, TractError>(
                model.wire_node(format!("{name}{at}"), operator, &[wire, number])?[0],
            )
        };
        let mut gate = from;
        if let Some(slope) = self.slope {
            gate = step("slope", math::mul(), gate, slope)?;
        }
        if let Some(moved) = self.moved {
            gate = step("moved", math::add(), gate, moved)?;
        }
        let [low, high] = self.bounds;
        if self.is_high_first {
            gate = step("high", math::min(), gate, high)?;
            gate = step("low", math::max(), gate, low)?;
        } else {
            gate = step("low", math::max(), gate, low)?;
            gate = step("high", math::min(), gate, high)?;
        }
        let wire = model.wire_node(format!("gated{at}"), math::mul(), &[gate, from])?[0];
        let Some(scale) = self.scale else { return Ok(wire) };
        let scale = tensor0(scale).broadcast_into_rank(rank)?;
        let scale = model.add_const(format!("scale{at}c"), scale)?;
        Ok(model.wire_node(format!("scale{at}"), math::mul(), &[wire, scale])?[0])
    }
}

fn gated() -> impl Strategy<Value = Gated> {
    let some = || proptest::option::of(-1.0..1.0f32);
    (some(), some(), -0.5..0.2f32, 0.0..0.9f32, any::<bool>(), some()).prop_map(
        |(slope, moved, low, above, is_high_first, scale)| Gated {
            slope,
            moved,
            bounds: [low, low + above],
            is_high_first,
            scale,
        },
    )
}

impl Case {
    fn shape(&self) -> Vec<usize> {
        let places = self.ways.iter().map(|way| way[0]);
        self.batch.into_iter().chain([self.channels.0]).chain(places).collect()
    }

    fn model(&self) -> TractResult<TypedModel> {
        let (taken, made) = self.channels;
        let all = |at: usize| self.ways.iter().map(|way| way[at]).collect::<TVec<usize>>();
        let mut model = TypedModel::default();
        let input = model.add_source("x", f32::fact(self.shape()))?;
        let channels = made.unwrap_or(taken);
        let mut shape = vec![channels, if made.is_some() { taken } else { 1 }];
        shape.extend(all(1));
        let count = shape.iter().product();
        let weights = Tensor::from_shape(&shape, &numbers(count, 1))?;
        let weights = model.add_const("w", weights)?;
        let bias = model.add_const("b", tensor1(&numbers(channels, 2)))?;
        let data_format = if self.batch.is_some() { DataFormat::NCHW } else { DataFormat::CHW };
        let pool_spec = PoolSpec {
            data_format,
            kernel_shape: all(1),
            padding: PaddingSpec::Explicit(all(4), all(5)),
            dilations: Some(all(3)),
            strides: Some(all(2)),
            input_channels: taken,
            output_channels: channels,
        };
        let group = if made.is_some() { 1 } else { taken };
        let conv = Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group, q_params: None };
        let mut wire = model.wire_node("conv", conv, &[input, weights, bias])?[0];
        let mut along = vec![1; self.shape().len()];
        for (at, behind) in self.behind.iter().enumerate() {
            if let Behind::Gated(gated) = behind {
                wire = gated.behind(&mut model, wire, at)?;
                continue;
            }
            if let Behind::HardSwish = behind {
                wire = model.wire_node(format!("swish{at}"), hard_swish(), &[wire])?[0];
                continue;
            }
            along[data_format.has_n() as usize] = match behind {
                Behind::Scaled | Behind::Moved => channels,
                _ => 1,
            };
            let (operator, given) = match behind {
                Behind::Scaled => (math::mul(), numbers(channels, 3)),
                Behind::Moved => (math::add(), numbers(channels, 4)),
                Behind::AtLeast(least) => (math::max(), vec![*least]),
                Behind::AtMost(most) => (math::min(), vec![*most]),
                Behind::Gated(_) | Behind::HardSwish => continue,
            };
            let other = model.add_const(format!("c{at}"), Tensor::from_shape(&along, &given)?)?;
            wire = model.wire_node(format!("n{at}"), operator, &[wire, other])?[0];
        }
        model.select_output_outlets(&[wire])?;
        model.into_decluttered()
    }

    /// What a model gives for numbers like these, and its operators.
    fn answers(&self, mut model: TypedModel) -> TractResult<(Vec<f32>, Vec<String>)> {
        model.optimize()?;
        let operators = model.nodes.iter().map(|node| node.op.name().to_string()).collect();
        let shape = self.shape();
        let mut given = numbers(shape.iter().product(), 5);
        if let Some(at) = self.nan {
            let at = at % given.len();
            given[at] = f32::NAN;
        }
        let input = Tensor::from_shape(&shape, &given)?;
        let answers = model.into_runnable()?.run(tvec!(input.into_tvalue()))?;
        Ok((answers[0].try_as_plain_ram()?.as_slice::<f32>()?.to_vec(), operators))
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let way = (1..40usize, 1..5usize, 1..4usize, 1..3usize, 0..4usize, 0..4usize)
        .prop_map(|(places, taps, stride, step, before, behind)| {
            [places, taps, stride, step, before, behind]
        })
        .prop_filter("a kernel fits", |[places, taps, _, step, before, behind]| {
            places + before + behind > (taps - 1) * step
        });
    let behind = prop_oneof![
        Just(Behind::Scaled),
        Just(Behind::Moved),
        (-1.0..0.5f32).prop_map(Behind::AtLeast),
        (0.0..1.0f32).prop_map(Behind::AtMost),
        gated().prop_map(Behind::Gated),
        Just(Behind::Gated(Gated::USUAL)),
        Just(Behind::HardSwish),
    ];
    let channels = (1..20usize, proptest::option::of(1..20usize));
    (
        proptest::option::of(1..3usize),
        channels,
        proptest::collection::vec(way, 1..3),
        proptest::collection::vec(behind, 0..4),
        proptest::option::of(0..10_000usize),
    )
        .prop_map(|(batch, channels, ways, behind, nan)| {
            // Bounds are for numbers: tract may take either of a bound and what is none.
            let nan = nan.filter(|_| {
                !behind.iter().any(|it| matches!(it, Behind::AtLeast(_) | Behind::AtMost(_)))
            });
            Case { batch, channels, ways, behind, nan }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_convolution_gives_what_the_plain_one_gives(case in cases()) {
        let plain = case.model().unwrap();
        let mut ours = plain.clone();
        put_in(&mut ours).unwrap();
        let (wanted, _) = case.answers(plain).unwrap();
        let (found, _) = case.answers(ours).unwrap();
        prop_assert_eq!(wanted.len(), found.len());
        for (at, (wanted, found)) in wanted.iter().zip(&found).enumerate() {
            let is_near = (wanted - found).abs() <= 2e-4 * wanted.abs().max(1.0)
                || wanted.is_nan() && found.is_nan();
            prop_assert!(is_near, "{} instead of {} at {}", found, wanted, at);
        }
    }
}

fn case(channels: (usize, Option<usize>), ways: &[[usize; 6]], behind: &[Behind]) -> Case {
    Case { batch: Some(1), channels, ways: ways.to_vec(), behind: behind.to_vec(), nan: None }
}

#[test]
fn the_usual_convolutions_become_ours_with_what_follows_them() {
    let square = |taps, stride| [[25, taps, stride, 1, taps / 2, taps / 2]; 2];
    let behind = [Behind::Scaled, Behind::Moved, Behind::AtLeast(0.0), Behind::AtMost(0.5)];
    for (channels, ways, name) in [
        ((8, None), square(3, 1).to_vec(), "Planes"),
        ((8, None), square(5, 2).to_vec(), "Planes"),
        ((8, None), square(3, 1)[..1].to_vec(), "Planes"),
        ((8, Some(12)), square(3, 2).to_vec(), "Product"),
        ((8, Some(12)), square(1, 1).to_vec(), "Product"),
        ((3, Some(12)), square(7, 2)[..1].to_vec(), "Product"),
    ] {
        let case = case(channels, &ways, &behind);
        let mut model = case.model().unwrap();
        put_in(&mut model).unwrap();
        let (_, operators) = case.answers(model).unwrap();
        assert_eq!(operators, ["Source", name], "{case:?}");
    }
}

#[test]
fn a_gate_behind_a_convolution_becomes_part_of_it() {
    let gates = [
        Gated::USUAL,
        Gated {
            slope: Some(1.0 / 6.0),
            moved: Some(0.5),
            bounds: [0.0, 1.0],
            scale: None,
            ..Gated::USUAL
        },
        Gated { is_high_first: true, ..Gated::USUAL },
        Gated { moved: None, ..Gated::USUAL },
    ];
    for gate in gates {
        for (made, name) in [(None, "Planes"), (Some(6), "Product")] {
            let behind = [Behind::Moved, Behind::Gated(gate)];
            let case = case((5, made), &[[30, 3, 1, 1, 1, 1]], &behind);
            let mut model = case.model().unwrap();
            put_in(&mut model).unwrap();
            let (_, operators) = case.answers(model).unwrap();
            assert_eq!(operators, ["Source", name], "{case:?}");
        }
    }
}

#[test]
fn a_gate_of_which_others_see_a_part_is_left_to_tract() {
    let case = case((5, Some(6)), &[[30, 3, 1, 1, 1, 1]], &[Behind::Gated(Gated::USUAL)]);
    for seen in ["conv", "moved0", "low0", "high0"] {
        let mut model = case.model().unwrap();
        let seen = model.node_id_by_name(seen).unwrap();
        let last = model.output_outlets().unwrap()[0];
        model.select_output_outlets(&[last, seen.into()]).unwrap();
        put_in(&mut model).unwrap();
        let last = model.output_outlets().unwrap()[0].node;
        assert_eq!(&*model.node(last).op.name(), "Mul", "{seen}");
    }
}

#[test]
fn what_is_looked_at_between_two_operators_is_still_there() {
    let case = case((4, None), &[[9, 3, 1, 1, 1, 1]], &[Behind::Scaled, Behind::AtLeast(0.0)]);
    let mut model = case.model().unwrap();
    let scaled = model.node_id_by_name("n0").unwrap();
    let last = model.output_outlets().unwrap()[0];
    model.select_output_outlets(&[last, scaled.into()]).unwrap();
    let plain = model.clone();
    put_in(&mut model).unwrap();
    let answers = |model: TypedModel| {
        let input = Tensor::from_shape(&case.shape(), &numbers(36, 5)).unwrap();
        let model = model.into_optimized().unwrap().into_runnable().unwrap();
        let answers = model.run(tvec!(input.into_tvalue())).unwrap();
        let numbers =
            |at: usize| answers[at].try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec();
        [numbers(0), numbers(1)]
    };
    let (wanted, found) = (answers(plain), answers(model));
    assert!(wanted[1].iter().any(|it| *it < 0.0) && wanted[0].iter().all(|it| *it >= 0.0));
    for (wanted, found) in wanted.iter().flatten().zip(found.iter().flatten()) {
        assert!((wanted - found).abs() < 1e-5);
    }
}

#[test]
fn what_is_no_number_stays_none_beyond_bounds() {
    let bounds = [Behind::AtLeast(0.0), Behind::AtMost(0.5)];
    for made in [None, Some(6)] {
        let case = Case { nan: Some(17), ..case((5, made), &[[30, 3, 1, 1, 1, 1]], &bounds) };
        let mut model = case.model().unwrap();
        put_in(&mut model).unwrap();
        let (found, _) = case.answers(model).unwrap();
        // The place and its neighbours, of the first channel or of all.
        let channels = made.unwrap_or(1);
        assert_eq!(found.iter().filter(|it| it.is_nan()).count(), 3 * channels);
    }
}

#[test]
fn a_window_that_only_a_file_would_claim_is_left_to_tract() {
    for made in [None, Some(6)] {
        for far in [[9, 3, 1 << 42, 1, 1 << 40, 1 << 40], [9, 2, 1, 1 << 40, 1 << 39, 1 << 39]] {
            let near = [20, 1, 1, 1, 0, 0];
            for ways in [[near, far], [far, near]] {
                let mut model = case((5, made), &ways, &[]).model().unwrap();
                put_in(&mut model).unwrap();
                assert!(model.nodes.iter().any(|node| node.op_is::<Conv>()), "{ways:?}");
            }
        }
    }
}
