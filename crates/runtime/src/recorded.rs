//! Whether the checks of a bundle are recordings with answers: said where bundles are made, before any model is
//! loaded. Devices replay what they have.

use crate::check::{CheckError, ExpectedFinding, expected, file, wrong};
use crate::files::Files;
use crate::recording::Recording;
use lineside_bundle::{BundleFile, Check, Cut, Manifest, Stage};
use std::collections::BTreeMap;

/// Whether the answers that a bundle's checks expect are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// They are.
    There,
    /// They will be recorded.
    ToCome,
}

/// Reads the recordings of all checks, and what they expect: readings that make a frame, and findings of which
/// something is compared.
///
/// # Errors
/// [`CheckError`], by check and file, with the line.
pub fn check_recordings(
    manifest: &Manifest,
    files: &dyn Files,
    answers: Expected,
) -> Result<(), CheckError> {
    let bundle = &manifest.bundle;
    for check in &bundle.checks {
        check_input(bundle, check, files)?;
        if answers == Expected::There {
            check_expected(bundle, check, files)?;
        }
    }
    Ok(())
}

fn check_input(bundle: &BundleFile, check: &Check, files: &dyn Files) -> Result<(), CheckError> {
    let bytes = file(check, &check.input, files)?;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let rows = Recording::open_all(bundle, bytes.as_slice());
    for row in rows.map_err(|error| wrong(check, error.to_string()))? {
        let row = row.map_err(|error| wrong(check, error.to_string()))?;
        *counts.entry(row.key).or_default() += 1;
    }
    let most = counts.values().copied().max().unwrap_or(0);
    if most == 0 {
        return Err(wrong(check, "it has no readings".into()));
    }
    if let Cut::Count { rows, .. } = bundle.cut()
        && most < u64::from(rows)
    {
        let of = if counts.len() > 1 { " of one key at most" } else { "" };
        return Err(wrong(check, format!("{most} readings{of} make no window of {rows}")));
    }
    Ok(())
}

fn check_expected(bundle: &BundleFile, check: &Check, files: &dyn Files) -> Result<(), CheckError> {
    let expected = expected(check, files)?;
    let wrong = |problem| {
        let (check, file) = (check.name.clone(), check.expected.clone());
        Err(CheckError::Format { check, file, problem })
    };
    // Only a plugin may find nothing in a frame.
    let may_be_silent = bundle.stages.values().any(|stage| matches!(stage, Stage::Plugin { .. }));
    if expected.is_empty() && !may_be_silent {
        return wrong(
            "it expects no finding: `bundle build --record-checks` takes the bundle's own".into(),
        );
    }
    for (number, ExpectedFinding { outputs, .. }) in (1..).zip(&expected) {
        if outputs.is_empty() {
            return wrong(format!("finding {number} names no output: nothing would be compared"));
        }
        if let Some(name) = outputs.keys().find(|name| !bundle.outputs.contains_key(*name)) {
            let names: Vec<&str> = bundle.outputs.keys().map(String::as_str).collect();
            let names = names.join(", ");
            return wrong(format!("finding {number}: there is no output {name}, only [{names}]"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::MemoryFiles;
    use lineside_bundle::build;

    const BUNDLE: &str = "format = 1\nname = 'pump'\nversion = '1'\n\
        [inputs.row]\nkey = 'pump'\nrate_hz = 1.0\nfields = [{ name = 'flow' }]\n\
        [stages.window]\nkind = 'window'\ninput = 'row'\nrows = 2\nstride = 2\n\
        [stages.it]\nkind = 'select'\ninput = 'window'\nindex = 0\n\
        [outputs]\nit.from = 'it'\n\
        [[checks]]\nname = 'own'\ninput = 'in.csv'\nexpected = 'out.jsonl'\n";
    const GOOD: &str = "{\"key\":\"a\",\"frame\":0,\"outputs\":{\"it\":1}}\n";

    fn checked(input: &str, expected: &str, answers: Expected) -> String {
        let bundle = BundleFile::parse(BUNDLE).unwrap();
        let files = [("in.csv", input), ("out.jsonl", expected)];
        let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
        let built = build(bundle, files.into_iter().collect()).unwrap();
        match check_recordings(&built.manifest, &MemoryFiles(&built), answers) {
            Ok(()) => "accepted".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_check_that_could_not_fail_or_not_pass_is_refused_before_it_is_replayed() {
        let input = "pump,flow\na,1\na,2\n";
        let said = |expected| checked(input, expected, Expected::There);
        assert_eq!(said(GOOD), "accepted");
        assert_eq!(
            said(""),
            "check own: out.jsonl: it expects no finding: `bundle build --record-checks` takes the bundle's own"
        );
        assert_eq!(
            said("{\"key\":\"a\",\"frame\":0,\"outputs\":{}}"),
            "check own: out.jsonl: finding 1 names no output: nothing would be compared"
        );
        assert_eq!(
            said("{\"key\":\"a\",\"frame\":0,\"outputs\":{\"is\":1}}"),
            "check own: out.jsonl: finding 1: there is no output is, only [it]"
        );
        let null = said("{\"key\":\"a\",\"frame\":0,\"outputs\":{\"it\":null}}");
        assert!(
            null.starts_with(
                "check own: out.jsonl: line 1: output it: a value is true, false or a number"
            ),
            "{null}"
        );
        assert!(said("it is one").starts_with("check own: out.jsonl: line 1: "));
        for (input, problem) in [
            ("pump,flow\n", "it has no readings"),
            ("pump,flow\na,1\n", "1 readings make no window of 2"),
            ("pump,flow\na,1\nb,1\n", "1 readings of one key at most make no window of 2"),
            ("pump,flow\na,1\na,x\n", "line 3: column flow: \"x\" is no number"),
        ] {
            for answers in [Expected::There, Expected::ToCome] {
                let said = checked(input, GOOD, answers);
                assert_eq!(said, format!("check own: in.csv: {problem}"));
            }
        }
        assert_eq!(checked(input, "", Expected::ToCome), "accepted");
    }
}
