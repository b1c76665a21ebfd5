//! What an engine is, and the engines that there are.

use super::error::EngineError;
use super::model::OnnxModel;
use super::operator::{Objection, Operator, Reason, Refusal};
use crate::tensor::{Port, Tensor};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A loaded model. Its ports are settled: whatever was free in the file has a size.
pub trait Engine: Send {
    /// What it takes, in order.
    fn inputs(&self) -> &[Port];
    /// What it gives, in order.
    fn outputs(&self) -> &[Port];
    /// Runs the model. Each tensor has the type of its port and as many elements, and counts as one
    /// of the port's shape.
    ///
    /// # Errors
    /// [`EngineError::Input`], [`EngineError::Run`], or [`EngineError::NotFinite`] for an answer
    /// nobody may act on.
    fn run(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, EngineError>;
}

/// Makes engines of models.
pub trait Loader: Sync {
    /// What the engine is called.
    fn name(&self) -> &'static str;
    /// What the engine has against an operator; nothing where it runs it.
    ///
    /// This is the one truth about operators: a device that is asked whether it would run a release
    /// and a worker that loads one both go by it.
    fn objection(&self, operator: &Operator) -> Option<Reason>;
    /// Loads a model to whose operators it has no objection, for tensors of just these ports.
    ///
    /// # Errors
    /// [`EngineError`].
    fn load(&self, model: &OnnxModel<'_>, inputs: &[Port]) -> Result<Box<dyn Engine>, EngineError>;
}

/// The engines of this program; where several run a model, the first does unless another was chosen.
pub static ENGINES: &[&dyn Loader] = &[
    &super::tract::Tract,
    &super::classical::Classical,
    #[cfg(target_pointer_width = "64")]
    &super::rten::Rten,
];

/// The names of all engines that this program has on any machine: settings for many machines may name
/// one that is not to be had on each of them.
pub const ENGINE_NAMES: [&str; 3] = ["tract", "classical", "rten"];

/// The engine called `name`.
///
/// # Errors
/// [`EngineError::Unknown`].
pub fn engine(name: &str) -> Result<&'static dyn Loader, EngineError> {
    let found = ENGINES.iter().find(|loader| loader.name() == name);
    found.copied().ok_or_else(|| EngineError::Unknown {
        wanted: name.to_owned(),
        there: ENGINES.iter().map(|loader| loader.name()).collect(),
    })
}

/// Those of `engines` that run a model with these operators.
///
/// # Errors
/// [`Refusal`] if none does.
pub fn fit<'a>(
    engines: &[&'static dyn Loader],
    operators: impl IntoIterator<Item = &'a Operator> + Clone,
) -> Result<Vec<&'static dyn Loader>, Refusal> {
    let (mut fit, mut refused) = (Vec::new(), Vec::new());
    for engine in engines {
        let objection = |operator: &Operator| {
            let reason = engine.objection(operator)?;
            Some(Objection { operator: operator.clone(), reason })
        };
        let objections: Vec<_> = operators.clone().into_iter().filter_map(objection).collect();
        match objections.is_empty() {
            true => fit.push(*engine),
            false => refused.push((engine.name(), objections)),
        }
    }
    if fit.is_empty() { Err(Refusal(refused)) } else { Ok(fit) }
}

impl OnnxModel<'_> {
    /// Loads it into the first of `engines` that runs and loads it, for tensors of just these ports.
    /// Gives that engine's name as well.
    ///
    /// # Errors
    /// [`EngineError::Refused`], [`EngineError::Unloaded`].
    pub fn load(
        &self,
        engines: &[&'static dyn Loader],
        inputs: &[Port],
    ) -> Result<(&'static str, Box<dyn Engine>), EngineError> {
        let fit = fit(engines, &self.facts().operators).map_err(EngineError::Refused)?;
        let mut failed = Vec::new();
        for loader in fit {
            match loader.load(self, inputs) {
                Ok(engine) => return Ok((loader.name(), engine)),
                Err(error) => failed.push((loader.name(), error)),
            }
        }
        Err(EngineError::Unloaded(failed))
    }
}

/// Checks that `tensors` can be passed to `ports`.
///
/// # Errors
/// [`EngineError::Input`].
pub(super) fn check(ports: &[Port], tensors: &[&Tensor]) -> Result<(), EngineError> {
    let (taken, given) = (ports.len(), tensors.len());
    if taken != given {
        return Err(EngineError::Input(format!("it takes {taken} inputs, {given} came")));
    }
    for (port, tensor) in ports.iter().zip(tensors) {
        if port.element() != tensor.element() || port.len() != tensor.len() {
            let (name, form) = (port.name(), port.form());
            let (element, shape) = (tensor.element(), tensor.shape());
            let problem = format!("input {name} takes {form}, {element} {shape:?} came");
            return Err(EngineError::Input(problem));
        }
    }
    Ok(())
}

/// Engines assert what they expect of a model, so a malformed one can make them panic: an error like
/// any other here. They share no state between runs that could be left half changed.
pub(super) fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason");
        format!("the engine gave up: {}", text.replace('\n', " "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{Data, Element};

    fn names(engines: Vec<&'static dyn Loader>) -> Vec<&'static str> {
        engines.into_iter().map(|engine| engine.name()).collect()
    }

    #[test]
    fn tract_comes_first_and_an_engine_that_is_not_here_is_named_beside_those_that_are() {
        assert_eq!(ENGINES[0].name(), "tract");
        assert_eq!(engine("tract").unwrap().name(), "tract");
        let error = engine("abacus").err().unwrap().to_string();
        assert!(error.starts_with("there is no engine abacus here, only tract"), "{error}");
    }

    #[test]
    fn every_engine_has_a_name_that_is_known_on_all_machines() {
        let here: Vec<&str> = ENGINES.iter().map(|engine| engine.name()).collect();
        let known = ENGINE_NAMES.into_iter().filter(|name| here.contains(name));
        assert_eq!(known.collect::<Vec<_>>(), here);
    }

    #[test]
    fn a_model_goes_to_the_engines_that_have_all_its_operators_in_their_domains() {
        let fit = |operators: &[&str]| {
            let operators: Vec<Operator> = operators.iter().map(|it| Operator::parse(it)).collect();
            fit(ENGINES, &operators).map(names).map_err(|refusal| refusal.to_string())
        };
        let all: Vec<&str> = ENGINES.iter().map(|engine| engine.name()).collect();
        let without = |name| all.iter().copied().filter(|it| *it != name).collect::<Vec<_>>();
        assert_eq!(fit(&["Concat", "Cast"]), Ok(all.clone()));
        assert_eq!(fit(&["Conv", "Relu"]), Ok(without("classical")));
        assert_eq!(fit(&["Conv", "Loop"]).ok(), Some(vec!["rten"]).filter(|_| all.len() > 2));
        assert_eq!(fit(&["ai.onnx.ml.TreeEnsembleClassifier", "Cast"]), Ok(vec!["classical"]));
        // Somebody else's operator is not ours because it has the same name.
        for foreign in ["com.acme.Conv", "Teleport", "com.microsoft.Conv"] {
            let refused = fit(&["Relu", foreign]).unwrap_err();
            assert!(refused.starts_with(&format!("tract lacks {foreign}")), "{refused}");
        }
    }

    #[test]
    fn a_tensor_that_does_not_fit_its_port_is_refused_before_the_engine_sees_it() {
        let port = Port::new("x".into(), Element::F32, vec![1, 2]).unwrap();
        let tensor = |shape: &[usize], data| Tensor::new(shape.to_vec(), data).unwrap();
        let two = tensor(&[2], Data::F32(vec![1.0, 2.0]));
        let ports = [port];
        assert!(check(&ports, &[&two]).is_ok(), "the number of elements counts");
        let said = |tensors: &[&Tensor]| check(&ports, tensors).unwrap_err().to_string();
        assert_eq!(said(&[]), "it takes 1 inputs, 0 came");
        let three = tensor(&[3], Data::F32(vec![0.0; 3]));
        assert_eq!(said(&[&three]), "input x takes f32 [1, 2], f32 [3] came");
        let doubles = tensor(&[2], Data::F64(vec![0.0; 2]));
        assert_eq!(said(&[&doubles]), "input x takes f32 [1, 2], f64 [2] came");
    }

    #[test]
    fn an_engine_that_panics_has_given_up_and_nothing_more() {
        let said = contained(|| panic!("all\nis lost")).unwrap_err();
        assert_eq!(said, "the engine gave up: all is lost");
    }
}
