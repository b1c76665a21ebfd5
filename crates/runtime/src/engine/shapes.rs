//! Which size each free dimension of a model's inputs gets, so that what is loaded has none.

use super::error::EngineError;
use super::model::{Declared, Dimension, OnnxModel};
use crate::tensor::{Data, Port, Tensor, elements, is_regrouped};
use std::collections::BTreeMap;

impl OnnxModel<'_> {
    /// The model's inputs with every dimension settled: by the shapes of the tensors that are `given`
    /// to them, by other free dimensions of the same name, and at 1 where nothing says otherwise.
    ///
    /// # Errors
    /// [`EngineError::Shape`], [`EngineError::Element`], [`EngineError::Port`].
    pub fn settle(&self, given: &BTreeMap<String, Vec<usize>>) -> Result<Vec<Port>, EngineError> {
        let inputs = &self.facts().inputs;
        let mut known: BTreeMap<&str, usize> = BTreeMap::new();
        let mut settled: Vec<Option<Vec<usize>>> = vec![None; inputs.len()];
        for (input, settled) in inputs.iter().zip(&mut settled) {
            let Some(given) = given.get(&input.name) else { continue };
            let shape = fitted(input, given).map_err(|problem| wrong(input, problem))?;
            for (dimension, size) in input.shape.iter().flatten().zip(&shape) {
                let Dimension::Free(name) = dimension else { continue };
                if name.is_empty() {
                    continue;
                }
                let before = *known.entry(name).or_insert(*size);
                if before != *size {
                    let problem = format!("{name} would be {before} and {size}");
                    return Err(wrong(input, problem));
                }
            }
            *settled = Some(shape);
        }
        let port = |(input, settled): (&Declared, Option<Vec<usize>>)| {
            let shape = match (settled, &input.shape) {
                (Some(shape), _) => shape,
                (None, Some(declared)) => {
                    let size = |dimension: &Dimension| match dimension {
                        Dimension::Fixed(size) => *size,
                        Dimension::Free(name) => known.get(name.as_str()).copied().unwrap_or(1),
                    };
                    declared.iter().map(size).collect()
                }
                (None, None) => return Err(wrong(input, "nothing says which".into())),
            };
            let element = input.element.ok_or_else(|| EngineError::Element {
                tensor: input.name.clone(),
                element: input.form(),
                by: "a pipeline",
            })?;
            Ok(Port::new(input.name.clone(), element, shape)?)
        };
        inputs.iter().zip(settled).map(port).collect()
    }
}

/// The free dimensions of `declared` inputs that have a name, and their sizes in the settled `ports`.
pub(super) fn sizes<'a>(declared: &'a [Declared], ports: &[Port]) -> BTreeMap<&'a str, usize> {
    let mut sizes = BTreeMap::new();
    for (input, port) in declared.iter().zip(ports) {
        for (dimension, size) in input.shape.iter().flatten().zip(port.shape()) {
            match dimension {
                Dimension::Free(name) if !name.is_empty() => drop(sizes.insert(&**name, *size)),
                Dimension::Free(_) | Dimension::Fixed(_) => {}
            }
        }
    }
    sizes
}

/// The shapes of a model's outputs, seen from what it gives in a `run` on zeros: those that a file
/// declares may be free. Some models cannot run on zeros; what they have declared has to do.
///
/// # Errors
/// [`EngineError::Load`].
pub(super) fn seen(
    inputs: &[Port],
    declared: &[Declared],
    run: impl FnOnce(&[Tensor]) -> Result<Vec<Vec<usize>>, EngineError>,
) -> Result<Vec<Vec<usize>>, EngineError> {
    let shapes = match run(&zeros(inputs)) {
        Ok(shapes) if shapes.len() == declared.len() => shapes,
        Ok(_) => return Err(EngineError::Load("it gives other outputs than it declares".into())),
        Err(error) => {
            let failed = EngineError::Load(format!("a run on zeros failed: {error}"));
            return declared.iter().map(fixed).collect::<Option<_>>().ok_or(failed);
        }
    };
    // So many as were found: none in nothing, and another number in each frame.
    let mut outputs = declared.iter().zip(&shapes);
    match outputs.find(|(output, shape)| shape.contains(&0) && fixed(output).is_none()) {
        Some((output, _)) => {
            let name = &output.name;
            let problem = format!("the shape of {name} depends on what is in the inputs");
            Err(EngineError::Load(problem))
        }
        None => Ok(shapes),
    }
}

/// Zeros for inputs.
pub(super) fn zeros(inputs: &[Port]) -> Vec<Tensor> {
    let zeros = inputs
        .iter()
        .map(|port| Tensor::new(port.shape().to_vec(), Data::zeros(port.element(), port.len())));
    zeros.collect::<Option<_>>().expect("a port's shape has as many elements as the port")
}

/// The declared shape, if nothing of it is free.
fn fixed(declared: &Declared) -> Option<Vec<usize>> {
    let size = |dimension: &Dimension| match dimension {
        Dimension::Fixed(size) => Some(*size),
        Dimension::Free(_) => None,
    };
    declared.shape.as_ref()?.iter().map(size).collect()
}

fn wrong(input: &Declared, problem: String) -> EngineError {
    EngineError::Shape { input: input.name.clone(), form: input.form(), problem }
}

/// The shape of `input` for a tensor of the shape `given`: that one, or its dimensions joined or split.
fn fitted(input: &Declared, given: &[usize]) -> Result<Vec<usize>, String> {
    let Some(declared) = &input.shape else { return Ok(given.to_vec()) };
    // A tensor without a dimension for the batch is a batch of one.
    let ones = declared.len().saturating_sub(given.len());
    let padded: Vec<usize> = std::iter::repeat_n(1, ones).chain(given.iter().copied()).collect();
    let agrees = |(dimension, size): (&Dimension, &usize)| match dimension {
        Dimension::Fixed(fixed) => fixed == size,
        Dimension::Free(_) => true,
    };
    if padded.len() == declared.len() && declared.iter().zip(&padded).all(agrees) {
        return Ok(padded);
    }
    // A free dimension is one of those that come, or of size 1: never a rest that nobody has meant.
    let with_free = |free: usize| -> Vec<usize> {
        let size = |dimension: &Dimension| match dimension {
            Dimension::Fixed(size) => *size,
            Dimension::Free(_) => free,
        };
        declared.iter().map(size).collect()
    };
    let free = declared.iter().filter(|it| matches!(it, Dimension::Free(_))).count();
    let rests: &[usize] = if free == 1 { given } else { &[] };
    let shapes = std::iter::once(1).chain(rests.iter().copied()).map(with_free);
    let mut fitting = shapes.filter(|shape| is_regrouped(given, shape));
    fitting.next().ok_or_else(|| match free {
        0 if elements(&with_free(1)) == elements(given) => format!(
            "a tensor of the shape {given:?} has its elements in another order: a stage `transpose` \
             changes that"
        ),
        0 => format!("a tensor of the shape {given:?} does not fit"),
        _ => format!(
            "a tensor of the shape {given:?} does not fit: a stage `transpose` changes the order of \
             dimensions, `shapes` says which size is meant"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::tests::{model, value};
    use crate::tensor::Element;
    use proptest::prelude::*;

    /// An input of this shape, in which 0 stands for a free size, given a tensor of that one.
    fn fit(declared: &[u8], given: &[usize]) -> Result<Vec<usize>, String> {
        let bytes = model(&value(11, "x", Element::F32, declared));
        let given = BTreeMap::from([("x".to_owned(), given.to_vec())]);
        let ports = OnnxModel::read(&bytes).unwrap().settle(&given);
        ports.map(|ports| ports[0].shape().to_vec()).map_err(|error| error.to_string())
    }

    #[test]
    fn free_dimensions_take_the_size_of_what_comes() {
        assert_eq!(fit(&[0, 6, 5], &[6, 5]), Ok(vec![1, 6, 5]));
        assert_eq!(fit(&[0, 6, 5], &[4, 6, 5]), Ok(vec![4, 6, 5]));
        assert_eq!(fit(&[1, 0, 5], &[6, 5]), Ok(vec![1, 6, 5]));
        assert_eq!(fit(&[0, 1], &[6]), Ok(vec![6, 1]));
        assert_eq!(fit(&[0], &[100]), Ok(vec![100]));
        // Dimensions are joined and split.
        assert_eq!(fit(&[1, 100], &[100]), Ok(vec![1, 100]));
        assert_eq!(fit(&[5, 20], &[100]), Ok(vec![5, 20]));
        assert_eq!(fit(&[30], &[6, 5]), Ok(vec![30]));
        assert_eq!(fit(&[0, 30], &[6, 5]), Ok(vec![1, 30]));
        assert_eq!(fit(&[], &[1]), Ok(vec![]));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_shapes_and_the_cure() {
        let short = fit(&[7], &[6, 5]).unwrap_err();
        assert_eq!(short, "input x is f32 [7]: a tensor of the shape [6, 5] does not fit");
        let open = fit(&[0, 3, 0], &[4, 6]).unwrap_err();
        assert!(open.ends_with("`shapes` says which size is meant"), "{open}");
        assert!(fit(&[0, 2], &[usize::MAX, 3]).is_err());
        assert!(fit(&[], &[2]).is_err());
    }

    #[test]
    fn a_window_is_never_read_in_another_order() {
        // Channels first, as convolutions are exported, and a window whose rows are readings.
        let turned = fit(&[1, 8, 32], &[32, 8]).unwrap_err();
        assert!(turned.ends_with("a stage `transpose` changes that"), "{turned}");
        for (declared, given) in [
            (&[1u8, 8, 0][..], &[32usize, 8][..]),
            (&[0, 8, 0], &[32, 8]),
            (&[0, 3], &[4, 6]),
            (&[0, 3], &[24]),
        ] {
            let said = fit(declared, given).unwrap_err();
            assert!(said.contains("a stage `transpose`"), "{said}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_declared_a_settled_shape_has_as_many_elements_as_what_comes(
            declared in proptest::collection::vec(0..6u8, 0..5),
            given in proptest::collection::vec(prop_oneof![0..7usize, any::<usize>()], 0..6),
        ) {
            if let Ok(shape) = fit(&declared, &given) {
                let product = |sizes: &[usize]| sizes.iter().map(|size| *size as u128).product::<u128>();
                prop_assert_eq!(product(&shape), product(&given));
                prop_assert_eq!(shape.len(), declared.len());
            }
        }
    }

    #[test]
    fn one_name_is_one_size_in_all_inputs() {
        let graph =
            [value(11, "x", Element::F32, &[0, 8]), value(11, "h", Element::F32, &[2, 0, 4])];
        let bytes = model(&graph.concat());
        let model = OnnxModel::read(&bytes).unwrap();
        let settle = |given: &[(&str, &[usize])]| {
            let given = given.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec()));
            let ports = model.settle(&given.collect()).map_err(|error| error.to_string());
            ports.map(|ports| ports.iter().map(Port::form).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(settle(&[]), Ok("f32 [1, 8] f32 [2, 1, 4]".into()));
        assert_eq!(settle(&[("x", &[3, 8])]), Ok("f32 [3, 8] f32 [2, 3, 4]".into()));
        let two = settle(&[("x", &[3, 8]), ("h", &[2, 1, 4])]).unwrap_err();
        assert!(two.ends_with("batch would be 3 and 1"), "{two}");
    }

    #[test]
    fn a_shape_that_is_free_is_seen_in_a_run_and_one_that_depends_on_data_is_refused() {
        let graph = [
            value(11, "x", Element::F32, &[2]),
            value(12, "free", Element::F32, &[0]),
            value(12, "fixed", Element::F32, &[3]),
        ];
        let bytes = model(&graph.concat());
        let model = OnnxModel::read(&bytes).unwrap();
        let inputs = model.settle(&BTreeMap::new()).unwrap();
        let given = |shapes: Result<&[&[usize]], EngineError>| {
            let shapes = shapes.map(|shapes| shapes.iter().map(|shape| shape.to_vec()).collect());
            let run = |zeros: &[Tensor]| {
                assert_eq!(zeros, [Tensor::new(vec![2], Data::F32(vec![0.0; 2])).unwrap()]);
                shapes
            };
            seen(&inputs, &model.facts().outputs, run).map_err(|error| error.to_string())
        };
        assert_eq!(given(Ok(&[&[7], &[3]])), Ok(vec![vec![7], vec![3]]));
        let none = given(Ok(&[&[0], &[3]])).unwrap_err();
        assert!(none.ends_with("the shape of free depends on what is in the inputs"), "{none}");
        let fewer = given(Ok(&[&[7]])).unwrap_err();
        assert!(fewer.ends_with("it gives other outputs than it declares"), "{fewer}");
        // What cannot run on zeros is believed what it declares, where it declares something.
        let failed = given(Err(EngineError::Run("it divides by zero".into()))).unwrap_err();
        assert!(failed.contains("a run on zeros failed"), "{failed}");
    }

    #[test]
    fn an_input_without_a_type_or_of_a_size_beyond_all_is_refused() {
        assert!(fit(&[0, 100], &[1 << 20, 100]).unwrap_err().contains("more than"));
        let nameless = model(&crate::engine::model::tests::field(11, &[10, 1, b'q']));
        let model = OnnxModel::read(&nameless).unwrap();
        assert!(matches!(model.settle(&BTreeMap::new()), Err(EngineError::Shape { .. })));
        let given = BTreeMap::from([("q".to_owned(), vec![1])]);
        assert!(matches!(model.settle(&given), Err(EngineError::Element { .. })));
    }
}
