//! Which engine each model of a bundle is loaded into.

use super::error::EngineError;
use super::loader::{ENGINES, Loader, engine};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who says which engine runs a model: first of all what was chosen, which is one in which the bundle
/// passes its checks, or is to; then the device's settings, and then the bundle. Where nobody says
/// anything, the first that loads does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engines {
    /// What the device's settings say, for every model of the slot.
    pub site: Option<String>,
    /// What was chosen here, by stage.
    pub chosen: BTreeMap<String, String>,
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
    ) -> Result<Vec<&'static dyn Loader>, EngineError> {
        let chosen = self.chosen.get(stage).map(String::as_str);
        match chosen.or(self.site.as_deref()).or(described) {
            // Also where it is not here: in any other the checks may fail.
            Some(name) => Ok(vec![engine(name)?]),
            None => Ok(ENGINES.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passed_the_checks_comes_before_the_device_and_the_device_before_the_bundle() {
        let of = |site: Option<&str>, described, chosen: Option<&str>| {
            let engines = Engines {
                site: site.map(str::to_owned),
                chosen: chosen
                    .map(|name| ("judge".to_owned(), name.to_owned()))
                    .into_iter()
                    .collect(),
            };
            let engines = engines.of("judge", described).map_err(|error| error.to_string())?;
            Ok::<_, String>(engines.iter().map(|it| it.name()).collect::<Vec<_>>())
        };
        let all: Vec<&str> = ENGINES.iter().map(|engine| engine.name()).collect();
        let last = *all.last().unwrap();
        assert_eq!(of(None, None, None), Ok(all.clone()));
        assert_eq!(of(None, None, Some(last)), Ok(vec![last]));
        assert_eq!(of(None, Some("tract"), Some(last)), Ok(vec![last]));
        assert_eq!(of(Some("tract"), Some("tract"), Some(last)), Ok(vec![last]));
        assert_eq!(of(Some(last), Some("tract"), None), Ok(vec![last]));
        assert_eq!(of(None, Some("tract"), None), Ok(vec!["tract"]));
        let gone = of(None, None, Some("abacus"));
        for wrong in [of(Some("abacus"), None, None), of(None, Some("abacus"), None), gone] {
            assert!(wrong.unwrap_err().starts_with("there is no engine abacus here"));
        }
    }
}
