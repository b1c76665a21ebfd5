//! What an engine is, and the engines that there are.

use super::error::EngineError;
use super::model::OnnxModel;
use super::onnxruntime::Onnxruntime;
use super::operator::{Objection, Operator, Reason, Refusal, Unfit};
use super::registers;
use crate::tensor::{Port, Tensor};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A loaded model. Its ports are settled: whatever was free in the file has a size.
pub trait Engine: Send {
    /// What it takes, in order.
    fn inputs(&self) -> &[Port];
    /// What it gives, in order.
    fn outputs(&self) -> &[Port];
    /// What the model makes of tensors that fit its inputs; the answers need not be finite.
    ///
    /// # Errors
    /// [`EngineError::Input`], [`EngineError::Run`], [`EngineError::NotFiniteWithin`],
    /// [`EngineError::Beyond`].
    fn compute(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, EngineError>;
    /// Runs the model. Each tensor has the type of its port and as many elements, and counts as one
    /// of the port's shape.
    ///
    /// # Errors
    /// Those of [`Engine::compute`], or [`EngineError::NotFinite`] for an answer nobody may act on.
    fn run(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, EngineError> {
        check(self.inputs(), inputs)?;
        let answers = self.compute(inputs);
        registers::let_go();
        let answers = answers?;
        let ports = self.outputs();
        if answers.len() != ports.len() {
            let (given, declared) = (answers.len(), ports.len());
            return Err(EngineError::Run(format!("it gives {given} outputs, not {declared}")));
        }
        for (answer, port) in answers.iter().zip(ports) {
            if answer.element() != port.element() || answer.shape() != port.shape() {
                let problem = format!("{} is not {}", port.name(), port.form());
                return Err(EngineError::Run(problem));
            }
            if !answer.is_finite() {
                return Err(EngineError::NotFinite(port.name().to_owned()));
            }
        }
        Ok(answers)
    }
}

/// Makes engines of models.
pub trait Loader: Sync {
    /// What the engine is called.
    fn name(&self) -> &'static str;
    /// Why the engine is not to be had on this machine, whatever the model; nothing where it is.
    fn absence(&self) -> Option<String> {
        None
    }
    /// What the engine has against an operator; nothing where it runs it.
    ///
    /// This is the one truth about operators: a device that is asked whether it would run a release
    /// and a worker that loads one both go by it.
    fn objection(&self, operator: &Operator) -> Option<Reason>;
    /// What the engine has against a model with these operators, and no others.
    fn objections(&self, operators: &[&Operator]) -> Vec<Objection> {
        let objection = |operator: &&Operator| {
            let reason = self.objection(operator)?;
            Some(Objection { operator: (*operator).clone(), reason })
        };
        operators.iter().filter_map(objection).collect()
    }
    /// Loads a model to whose operators it has no objection, for tensors of just these ports.
    ///
    /// # Errors
    /// [`EngineError`].
    fn load(&self, model: &OnnxModel<'_>, inputs: &[Port]) -> Result<Box<dyn Engine>, EngineError>;
}

/// The engines of this program; where several run a model, the first does unless another was chosen.
/// What has to be installed beside it is not to be had here: [`Engines`](super::Engines) know where it is.
pub static ENGINES: &[&dyn Loader] = &[
    &super::tract::Tract,
    &super::classical::Classical,
    #[cfg(target_pointer_width = "64")]
    &super::rten::Rten,
    &Onnxruntime::Absent,
];

/// The names of all engines that this program has on any machine: settings for many machines may name
/// one that is not to be had on each of them.
pub const ENGINE_NAMES: [&str; 4] = ["tract", "classical", "rten", "onnxruntime"];

/// Why an engine does not run a model with these operators here; nothing where it does.
pub fn unfit(engine: &dyn Loader, operators: &[&Operator]) -> Option<Unfit> {
    let objections = engine.objections(operators);
    match objections.is_empty() {
        true => engine.absence().map(Unfit::Absent),
        false => Some(Unfit::Operators(objections)),
    }
}

/// Those of `engines` that run a model with these operators.
///
/// # Errors
/// [`Refusal`] if none does.
pub fn fit<'e, 'a>(
    engines: &[&'e dyn Loader],
    operators: impl IntoIterator<Item = &'a Operator>,
) -> Result<Vec<&'e dyn Loader>, Refusal> {
    let operators: Vec<&Operator> = operators.into_iter().collect();
    let (mut fit, mut refused) = (Vec::new(), Vec::new());
    for engine in engines {
        match unfit(*engine, &operators) {
            Some(why) => refused.push((engine.name(), why)),
            None => fit.push(*engine),
        }
    }
    if fit.is_empty() { Err(Refusal(refused)) } else { Ok(fit) }
}

impl OnnxModel<'_> {
    /// Loads it into the first of `engines` that runs and loads it, for tensors of just these ports.
    /// Gives that engine's name as well.
    ///
    /// # Errors
    /// [`EngineError::Format`], [`EngineError::Refused`], [`EngineError::Unloaded`].
    pub fn load(
        &self,
        engines: &[&dyn Loader],
        inputs: &[Port],
    ) -> Result<(&'static str, Box<dyn Engine>), EngineError> {
        self.check_sound()?;
        let fit = fit(engines, self.facts().operators.keys()).map_err(EngineError::Refused)?;
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
fn check(ports: &[Port], tensors: &[&Tensor]) -> Result<(), EngineError> {
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

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Whether an engine works in this thread whose panic would be an error like any other: who prints panics
/// may leave it out.
pub fn is_contained() -> bool {
    CONTAINED.get()
}

/// Engines assert what they expect of a model, so a malformed one can make them panic: an error like
/// any other here. They share no state between runs that could be left half changed.
pub(super) fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let around = CONTAINED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(around);
    done.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason");
        format!("the engine gave up: {}", text.replace('\n', " "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{Data, Element};

    fn names(engines: Vec<&dyn Loader>) -> Vec<&'static str> {
        engines.into_iter().map(|engine| engine.name()).collect()
    }

    #[test]
    fn tract_comes_first_and_what_is_no_part_of_the_program_last() {
        assert_eq!(ENGINES[0].name(), "tract");
        assert_eq!(ENGINES.last().unwrap().name(), "onnxruntime");
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
        let here = ENGINES.iter().filter(|engine| engine.absence().is_none());
        let all: Vec<&str> = here.map(|engine| engine.name()).collect();
        let without = |name| all.iter().copied().filter(|it| *it != name).collect::<Vec<_>>();
        assert_eq!(fit(&["Concat", "Cast"]), Ok(all.clone()));
        assert_eq!(fit(&["Conv", "Relu"]), Ok(without("classical")));
        assert_eq!(fit(&["Conv", "Loop"]).ok(), Some(vec!["rten"]).filter(|_| all.len() > 2));
        assert_eq!(fit(&["ai.onnx.ml.TreeEnsembleClassifier", "Cast"]), Ok(vec!["classical"]));
        // Between operators that are for it, it has tract run the others.
        assert_eq!(fit(&["ai.onnx.ml.Scaler", "Conv", "Erf"]), Ok(vec!["classical"]));
        let refused = fit(&["ai.onnx.ml.Scaler", "Conv", "Loop"]).unwrap_err();
        assert!(refused.contains("classical lacks Loop; "), "{refused}");
        // Somebody else's operator is not ours because it has the same name.
        for foreign in ["com.acme.Conv", "Teleport", "com.microsoft.Conv"] {
            let refused = fit(&["Relu", foreign]).unwrap_err();
            assert!(refused.starts_with(&format!("tract lacks {foreign}")), "{refused}");
        }
    }

    #[test]
    fn what_only_an_engine_runs_that_is_not_installed_is_refused_with_how_to_install_it() {
        let operators = ["Relu", "com.microsoft.QGemm"].map(Operator::parse);
        let refused = |library: Onnxruntime| {
            let engines: [&dyn Loader; 2] = [&super::super::tract::Tract, &library];
            let refusal = fit(&engines, &operators).map(names).unwrap_err();
            let told = refusal.to_string();
            assert!(told.starts_with("tract lacks com.microsoft.QGemm; onnxruntime "), "{told}");
            told
        };
        let absent = refused(Onnxruntime::Absent);
        assert!(
            absent.contains("onnxruntime has all operators and is not installed here; "),
            "{absent}"
        );
        assert!(
            absent.contains("what helps: install the shared library of onnxruntime"),
            "{absent}"
        );
        let broken = refused(Onnxruntime::Unusable("it is no library".into()));
        assert!(
            broken.contains("has all operators and cannot be used here: it is no library; "),
            "{broken}"
        );
        // Of no use to a model that it would not run.
        let lacking = fit(&[&Onnxruntime::Absent as &dyn Loader], &[Operator::parse("Teleport")]);
        assert_eq!(lacking.map(names).unwrap_err().to_string(), "onnxruntime lacks Teleport");
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
        assert_eq!(
            contained(|| contained(|| -> u8 { panic!() }).is_err() && is_contained()),
            Ok(true)
        );
        assert!(!is_contained());
    }
}
