//! The models of a bundle, as whoever asks sees them.

use super::served::{ServeError, Served};
use crate::engine::{Engines, OnnxModel};
use crate::files::Files;
use crate::pipeline::LoadError;
use crate::tensor::Tensor;
use lineside_bundle::{Manifest, Stage};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The models of one bundle.
pub struct Models {
    files: Box<dyn Files + Send>,
    engines: Engines,
    models: BTreeMap<String, Served>,
}

/// What the models of a bundle may take.
#[derive(Debug, Clone, Copy)]
pub struct ServingBounds {
    /// Rows that are run at once.
    pub rows_max: usize,
    /// Memory in bytes that all of them may have.
    pub memory_bytes: u64,
}

/// Shapes for which a model is kept loaded, at most.
const LOADED_MAX: u64 = 8;
/// How often a loaded model has its weights, in the worst case: as they were, and as it runs them.
const COPIES: u64 = 2;

impl ServingBounds {
    /// For how many shapes models may be kept loaded whose files have so many bytes together: in half of the
    /// memory, since what they compute needs some as well.
    fn loaded_max(self, weights: u64) -> usize {
        let each = weights.saturating_mul(COPIES).max(1);
        (self.memory_bytes / 2 / each).clamp(1, LOADED_MAX) as usize
    }
}

/// A model as it is offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// The stage that it is in the bundle.
    pub stage: String,
    /// What it takes, in order.
    pub inputs: Vec<Offer>,
    /// What it gives, in order.
    pub outputs: Vec<Offer>,
    /// Whether the first dimension of everything is free, so that requests may be put together.
    pub has_rows: bool,
}

/// An input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its name.
    pub name: String,
    /// The name of its datatype in the Open Inference Protocol v2.
    pub datatype: String,
    /// Its shape; none where any size is possible.
    pub shape: Vec<Option<usize>>,
}

impl Models {
    /// Loads the models of a bundle. Where sizes of inputs are free a model is loaded for single rows now,
    /// and for others when they come.
    ///
    /// # Errors
    /// [`LoadError::File`], [`LoadError::Model`].
    pub fn load(
        manifest: &Manifest,
        files: Box<dyn Files + Send>,
        engines: Engines,
        bounds: ServingBounds,
    ) -> Result<Models, LoadError> {
        let mut models = BTreeMap::new();
        let is_model = |file: &str| {
            let mut stages = manifest.bundle.stages.values();
            stages.any(|stage| matches!(stage, Stage::Model { file: own, .. } if own == file))
        };
        let weights = manifest.files.iter().filter(|(file, _)| is_model(file));
        let weights: u64 = weights.map(|(_, known)| known.size).sum();
        let means = (bounds.rows_max, bounds.loaded_max(weights));
        for (name, stage) in &manifest.bundle.stages {
            let Stage::Model { file, engine, .. } = stage else { continue };
            let bytes = files
                .read(file)
                .map_err(|source| LoadError::File { stage: name.clone(), source })?;
            let failed =
                |source| LoadError::Model { stage: name.clone(), file: file.clone(), source };
            let onnx = OnnxModel::read(&bytes).map_err(failed)?;
            let loaders = engines.of(name, engine.as_deref()).map_err(failed)?;
            let described = (name.as_str(), file.as_str(), engine.as_deref());
            let served = Served::load(described, &onnx, &loaders, means).map_err(failed)?;
            models.insert(name.clone(), served);
        }
        Ok(Models { files, engines, models })
    }

    /// What they take and give.
    pub fn offered(&self) -> Vec<Offered> {
        self.models.values().map(|model| model.offered().clone()).collect()
    }

    /// Runs requests to the model of `stage`, each with a tensor for every input in order. Those that go
    /// together are run together; one that fails takes no other with it.
    pub fn run(
        &mut self,
        stage: &str,
        requests: &[Vec<Tensor>],
    ) -> Vec<Result<Vec<Tensor>, ServeError>> {
        let Some(model) = self.models.get_mut(stage) else {
            let none = || Err(ServeError::Input(format!("there is no model {stage}")));
            return requests.iter().map(|_| none()).collect();
        };
        model.run(requests, &*self.files, &self.engines)
    }
}

#[cfg(target_pointer_width = "64")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{field, model, node, value};
    use crate::files::FilesError;
    use crate::tensor::{Data, Element};
    use lineside_bundle::{BundleFile, build};

    struct One(Vec<u8>);

    impl Files for One {
        fn read(&self, _path: &str) -> Result<Vec<u8>, FilesError> {
            Ok(self.0.clone())
        }
    }

    /// A model of one operator from `x` to `y`, of the rows and columns that are given; 0 rows: any.
    fn served(operator: &str, attributes: &[u8], rows: u8) -> Models {
        let node = [node(operator, "", (&["x"], &["y"])), attributes.to_vec()].concat();
        let ports = [11, 12].map(|number| {
            let name = if number == 11 { "x" } else { "y" };
            value(number, name, Element::F32, &[rows, 3])
        });
        let onnx = model(&[field(1, &node), ports.concat()].concat());
        let bundle = BundleFile::parse(
            "format = 1\nname = 'b'\nversion = '1'\n\
             inputs.p = { key = 'k', time = 't', fields = [{ name = 'x' }] }\n\
             stages.w = { kind = 'window', input = 'p', rows = 3, stride = 3 }\n\
             stages.judge = { kind = 'model', file = 'm.onnx', inputs = { x = 'w' } }\n\
             stages.one = { kind = 'select', input = 'judge.y', index = 0 }\n\
             outputs.y.from = 'one'\nfail_safe.y = -1.0\n",
        );
        let files = BTreeMap::from([("m.onnx".to_owned(), onnx.clone())]);
        let built = build(bundle.unwrap(), files).unwrap();
        let files = Box::new(One(onnx));
        let bounds = ServingBounds { rows_max: 16, memory_bytes: 64 << 20 };
        Models::load(&built.manifest, files, Engines::default(), bounds).unwrap()
    }

    fn rows(values: &[f32]) -> Vec<Tensor> {
        let rows = values.iter().flat_map(|value| [*value, 2.0 * value, 0.0]).collect();
        vec![Tensor::new(vec![values.len(), 3], Data::F32(rows)).unwrap()]
    }

    /// The first number of each row of each answer.
    fn told(answers: Vec<Result<Vec<Tensor>, ServeError>>) -> Vec<Result<Vec<f64>, ServeError>> {
        let firsts = |answer: Vec<Tensor>| {
            let rows = answer[0].shape()[0];
            (0..rows).map(|row| answer[0].data().number(row * 3).unwrap()).collect()
        };
        answers.into_iter().map(|answer| answer.map(firsts)).collect()
    }

    #[test]
    fn what_a_model_takes_is_offered_with_what_is_free() {
        let offered = served("Relu", &[], 0).offered();
        let offer = |name: &str, rows| Offer {
            name: name.into(),
            datatype: "FP32".into(),
            shape: vec![rows, Some(3)],
        };
        assert_eq!(offered.len(), 1);
        assert_eq!(offered[0].stage, "judge");
        assert_eq!(offered[0].inputs, [offer("x", None)]);
        assert_eq!(offered[0].outputs, [offer("y", None)]);
        assert!(offered[0].has_rows);
        assert!(!served("Relu", &[], 2).offered()[0].has_rows);
    }

    #[test]
    fn requests_together_are_answered_as_by_themselves_whatever_their_rows() {
        let mut models = served("Relu", &[], 0);
        let many: Vec<f32> = (0..23).map(|value| value as f32).collect();
        let requests = [rows(&[1.0]), rows(&[-2.0, 3.0]), rows(&many), rows(&[4.0])];
        let wanted: Vec<Vec<f64>> = vec![
            vec![1.0],
            vec![0.0, 3.0],
            many.iter().map(|value| f64::from(*value)).collect(),
            vec![4.0],
        ];
        let answers = told(models.run("judge", &requests));
        assert_eq!(answers, wanted.iter().cloned().map(Ok).collect::<Vec<_>>());
        // 23 rows by themselves come in pieces as well.
        assert_eq!(told(models.run("judge", &requests[2..3])), [Ok(wanted[2].clone())]);
    }

    #[test]
    fn a_model_in_which_rows_know_of_each_other_is_asked_one_request_after_the_other() {
        // The axis 0: shares of the rows, not of the columns.
        let axis = field(5, &[field(1, b"axis"), vec![3 << 3, 0, 0xa0, 0x01, 2]].concat());
        let mut models = served("Softmax", &axis, 0);
        let answers =
            told(models.run("judge", &[rows(&[1.0]), rows(&[5.0]), rows(&[2.0, 2.0, 2.0])]));
        assert_eq!(answers[..2], [Ok(vec![1.0]), Ok(vec![1.0])]);
        let thirds = answers[2].clone().unwrap();
        assert!(thirds.iter().all(|third| (third - 1.0 / 3.0).abs() < 1e-6), "{thirds:?}");
    }

    #[test]
    fn a_model_of_fixed_rows_is_asked_one_request_after_the_other() {
        let mut models = served("Relu", &[], 1);
        let answers = told(models.run("judge", &[rows(&[1.0]), rows(&[-5.0])]));
        assert_eq!(answers, [Ok(vec![1.0]), Ok(vec![0.0])]);
        let wrong = models.run("judge", &[rows(&[1.0, 2.0])]);
        assert!(matches!(wrong[..], [Err(ServeError::Input(_))]), "{wrong:?}");
    }

    #[test]
    fn models_are_kept_loaded_for_as_many_shapes_as_there_is_memory_for() {
        let bounds =
            |memory_mib: u64| ServingBounds { rows_max: 16, memory_bytes: memory_mib << 20 };
        assert_eq!(bounds(256).loaded_max(1 << 20), 8);
        assert_eq!(bounds(256).loaded_max(25 << 20), 2);
        assert_eq!(bounds(256).loaded_max(250 << 20), 1);
        assert_eq!(bounds(256).loaded_max(0), 8);
    }

    #[test]
    fn a_request_that_fails_takes_no_other_with_it() {
        let mut models = served("Exp", &[], 0);
        let answers = told(models.run("judge", &[rows(&[0.0]), rows(&[1e3]), rows(&[0.0, 0.0])]));
        assert_eq!((&answers[0], &answers[2]), (&Ok(vec![1.0]), &Ok(vec![1.0, 1.0])));
        let failed = answers[1].clone().unwrap_err();
        assert_eq!(failed, ServeError::Model("output y is not finite".into()));
        let none = models.run("other", &[rows(&[1.0])]);
        assert_eq!(none, [Err(ServeError::Input("there is no model other".into()))]);
    }
}
