//! Which engine each model of a bundle is loaded into.

use super::error::EngineError;
use super::loader::{ENGINES, Loader, engine};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who says which engine runs a model. The device's settings come before the bundle, and both before
/// what was measured when the release was staged; where nobody says anything, the first that loads does.
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
        if let Some(name) = self.site.as_deref().or(described) {
            return Ok(vec![engine(name)?]);
        }
        // An engine that another version of this program had is none that was chosen.
        let chosen = self.chosen.get(stage).and_then(|name| engine(name).ok());
        Ok(chosen.map_or_else(|| ENGINES.to_vec(), |chosen| vec![chosen]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_comes_before_the_bundle_and_both_before_what_was_measured() {
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
        assert_eq!(of(None, Some("tract"), Some(last)), Ok(vec!["tract"]));
        assert_eq!(of(Some(last), Some("tract"), Some("tract")), Ok(vec![last]));
        assert_eq!(of(None, None, Some("abacus")), Ok(all));
        for wrong in [of(Some("abacus"), None, None), of(None, Some("abacus"), None)] {
            assert!(wrong.unwrap_err().starts_with("there is no engine abacus here"));
        }
    }
}
