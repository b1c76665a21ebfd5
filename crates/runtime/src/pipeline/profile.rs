//! The profile of a bundle, if it has one: read whenever the bundle is loaded, so that a broken one is refused at
//! the desk and on the device.

use super::load::LoadError;
use crate::files::Files;
use lineside_bundle::{Manifest, PROFILE};
use lineside_drift::{Profile, Role};

/// Reads the profile of a bundle. None where it has none.
///
/// # Errors
/// [`LoadError::Profile`] if it is none, or is about columns that the bundle does not have.
pub fn profile(manifest: &Manifest, files: &dyn Files) -> Result<Option<Profile>, LoadError> {
    if !manifest.files.contains_key(PROFILE) {
        return Ok(None);
    }
    let broken = |problem| LoadError::Profile { problem };
    let bytes = files.read(PROFILE).map_err(|error| broken(error.to_string()))?;
    let profile = Profile::parse(&bytes).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(" ({cause})"));
        broken(format!("{error}{}", cause.unwrap_or_default()))
    })?;
    let bundle = &manifest.bundle;
    let inputs = bundle.inputs.iter().flat_map(|(port, it)| {
        it.fields.iter().map(|field| (Role::Input, bundle.input_column(port, &field.name)))
    });
    let outputs = bundle.outputs.keys().map(|name| (Role::Output, name.clone()));
    let known: Vec<(Role, String)> = inputs.chain(outputs).collect();
    let is_unknown =
        |(role, name): &(Role, &str)| !known.iter().any(|it| (it.0, &*it.1) == (*role, *name));
    let mut columns = profile.columns().iter().map(|column| (column.role, column.name.as_str()));
    if let Some((role, name)) = columns.find(is_unknown) {
        let what = if role == Role::Input { "field" } else { "output" };
        return Err(broken(format!(
            "the bundle has no {what} {name}: build the profile anew by `lineside profile build --bundle`"
        )));
    }
    Ok(Some(profile))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::MemoryFiles;
    use crate::pipeline::{LoadOptions, Pipeline, check_fit};
    use lineside_bundle::{BundleFile, build};
    use lineside_drift::{ColumnProfile, SketchMethod, Survey};
    use std::collections::BTreeMap;

    fn profile_of(role: Role, name: &str) -> Vec<u8> {
        let mut survey = Survey::default();
        (0..9).for_each(|at| survey.add_number(f64::from(at) / 2.0));
        let marks = survey.marks(None).unwrap();
        let column = ColumnProfile {
            name: name.into(),
            role,
            reference: marks.empty(),
            marks,
            method: SketchMethod::PROFILE,
            threshold: 0.1,
            learnt: None,
        };
        Profile::new(None, 30, vec![column]).unwrap().to_json()
    }

    /// What is said of a bundle with this profile, at the desk and when it is loaded.
    fn loaded(profile: Vec<u8>) -> Result<(), String> {
        let bundle = BundleFile::parse(
            "format = 1\nname = 'echo'\nversion = '1'\n\
             [inputs.p]\nrate_hz = 1.0\nfields = [{ name = 'x' }]\n\
             [stages.w]\nkind = 'window'\ninput = 'p'\nrows = 1\nstride = 1\n\
             [stages.last]\nkind = 'select'\ninput = 'w'\nindex = 0\n\
             [outputs]\nlevel = { from = 'last' }\n",
        );
        let files = BTreeMap::from([(PROFILE.to_owned(), profile)]);
        let built = build(bundle.unwrap(), files).unwrap();
        assert_eq!(built.manifest.files[PROFILE].media_type, lineside_bundle::PROFILE_TYPE);
        let files = MemoryFiles(&built);
        let at_desk = check_fit(&built.manifest, &files).map_err(|error| error.to_string());
        let loaded = Pipeline::load(&built.manifest, &files, &LoadOptions::default());
        let loaded = loaded.map(drop).map_err(|error| error.to_string());
        assert_eq!(at_desk, loaded);
        loaded
    }

    #[test]
    fn a_broken_profile_is_refused_and_the_cure_is_named() {
        assert_eq!(loaded(profile_of(Role::Input, "x")), Ok(()));
        assert_eq!(loaded(profile_of(Role::Output, "level")), Ok(()));
        let other = loaded(profile_of(Role::Output, "x")).unwrap_err();
        assert!(
            other.contains("profile.json: the bundle has no output x: build the profile"),
            "{other}"
        );
        let mut cut = profile_of(Role::Input, "x");
        cut.truncate(40);
        let cut = loaded(cut).unwrap_err();
        assert!(cut.contains("build it anew by `lineside profile build`"), "{cut}");
    }
}
