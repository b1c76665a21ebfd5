//! Which engine each model of a bundle is loaded into.

use super::error::EngineError;
use super::loader::{ENGINES, Loader};
use super::onnxruntime::Onnxruntime;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The engines of this machine, and who says which runs a model: first of all what was chosen, which is
/// one in which the bundle passes its checks, or is to; then the device's settings, and then the bundle.
/// Where nobody says anything, the first that loads does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engines {
    /// What the device's settings say, for every model of the slot.
    pub site: Option<String>,
    /// What was chosen here, by stage.
    pub chosen: BTreeMap<String, String>,
    /// The engine that lies in a library of its own.
    pub onnxruntime: Onnxruntime,
}

impl Engines {
    /// The engines that may run the model of `stage`, the one to be preferred first. `described` is
    /// what the bundle says.
    ///
    /// # Errors
    /// [`EngineError::Unknown`].
    pub fn of(
        &self,
        stage: &str,
        described: Option<&str>,
    ) -> Result<Vec<&dyn Loader>, EngineError> {
        let chosen = self.chosen.get(stage).map(String::as_str);
        match chosen.or(self.site.as_deref()).or(described) {
            // Also where it is not here: in any other the checks may fail.
            Some(name) => Ok(vec![self.engine(name)?]),
            None => Ok(self.all()),
        }
    }

    /// All that there are, the one to be preferred first; those that are not to be had here as well.
    pub fn all(&self) -> Vec<&dyn Loader> {
        let here = |engine: &'static dyn Loader| -> &dyn Loader {
            if engine.name() == self.onnxruntime.name() { &self.onnxruntime } else { engine }
        };
        ENGINES.iter().map(|engine| here(*engine)).collect()
    }

    /// The engine called `name`.
    ///
    /// # Errors
    /// [`EngineError::Unknown`].
    pub fn engine(&self, name: &str) -> Result<&dyn Loader, EngineError> {
        let found = self.all().into_iter().find(|engine| engine.name() == name);
        found.ok_or_else(|| EngineError::Unknown {
            wanted: name.to_owned(),
            there: ENGINES.iter().map(|engine| engine.name()).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SharedLibrary;

    #[test]
    fn what_passed_the_checks_comes_before_the_device_and_the_device_before_the_bundle() {
        let of = |site: Option<&str>, described, chosen: Option<&str>| {
            let engines = Engines {
                site: site.map(str::to_owned),
                chosen: chosen
                    .map(|name| ("judge".to_owned(), name.to_owned()))
                    .into_iter()
                    .collect(),
                onnxruntime: Onnxruntime::Absent,
            };
            let engines = engines.of("judge", described).map_err(|error| error.to_string())?;
            Ok::<_, String>(engines.iter().map(|it| it.name()).collect::<Vec<_>>())
        };
        let all: Vec<&str> = ENGINES.iter().map(|engine| engine.name()).collect();
        let last = "classical";
        assert_eq!(of(None, None, None), Ok(all.clone()));
        assert_eq!(of(None, None, Some(last)), Ok(vec![last]));
        assert_eq!(of(None, Some("tract"), Some(last)), Ok(vec![last]));
        assert_eq!(of(Some("tract"), Some("tract"), Some(last)), Ok(vec![last]));
        assert_eq!(of(Some(last), Some("tract"), None), Ok(vec![last]));
        assert_eq!(of(None, Some("tract"), None), Ok(vec!["tract"]));
        // No other steps in for one whose library is gone.
        assert_eq!(of(None, None, Some("onnxruntime")), Ok(vec!["onnxruntime"]));
        let gone = of(None, None, Some("abacus"));
        for wrong in [of(Some("abacus"), None, None), of(None, Some("abacus"), None), gone] {
            assert!(wrong.unwrap_err().starts_with("there is no engine abacus here, only tract, "));
        }
    }

    #[test]
    fn an_engine_with_a_library_of_its_own_is_one_where_that_is_known() {
        let path = "/usr/lib/libonnxruntime.so".into();
        let library = Onnxruntime::At(SharedLibrary { path, digest: None });
        let chosen = BTreeMap::from([("judge".to_owned(), "onnxruntime".to_owned())]);
        let engines = Engines { chosen, onnxruntime: library, ..Engines::default() };
        let names = |engines: Vec<&dyn Loader>| {
            engines.iter().map(|it| (it.name(), it.absence())).collect::<Vec<_>>()
        };
        assert_eq!(names(engines.of("judge", None).unwrap()), [("onnxruntime", None)]);
        let all = engines.of("other", None).unwrap();
        assert_eq!(names(all).last(), Some(&("onnxruntime", None)));
    }
}
