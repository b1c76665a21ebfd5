//! Answers the server's question whether a release would run here. It changes nothing.
//!
//! Nobody has signed what is asked about. It is read by the same bounded parsers as what was signed,
//! and nothing of it is kept.

use crate::update::preflight::judge;
use crate::update::surroundings::Surroundings;
use lineside_bundle::{Digest, Manifest, OciManifest};
use lineside_wire::name::SlotName;
use lineside_wire::v1::{Answer, Ask, Objection, SlotAnswer};

/// Objections of a slot that are told; the last one says how many more there are.
const OBJECTIONS_MAX: usize = 8;
/// Longest objection in bytes, so that all of an answer fits into its message.
const TEXT_BYTES_MAX: usize = 200;

/// The answer of a device with these `surroundings`. Reads files of the device's own.
pub fn answer(ask: &Ask, surroundings: &Surroundings) -> Answer {
    let slots = match read(ask) {
        Ok((oci, manifest)) => {
            let facts = surroundings.facts(&oci);
            let slots: Vec<SlotName> = match &ask.slot {
                Some(slot) => slot.parse().into_iter().collect(),
                None => facts.slots.keys().cloned().collect(),
            };
            let judged = |slot: &SlotName| {
                let objections = judge(&oci, &manifest, slot, &facts);
                let told = objections.iter().map(|it| (it.to_string(), it.passes()));
                SlotAnswer { slot: slot.to_string(), objections: told_of(told.collect()) }
            };
            slots.iter().map(judged).collect()
        }
        Err(problem) => {
            let objections = told_of(vec![(problem, false)]);
            vec![SlotAnswer { slot: ask.slot.clone().unwrap_or_default(), objections }]
        }
    };
    Answer { id: ask.id, slots }
}

/// The two documents, if they are those of the release that is asked about.
fn read(ask: &Ask) -> Result<(OciManifest, Manifest), String> {
    if Digest::of(&ask.oci_manifest).bytes() != ask.release.digest {
        return Err("the question does not hold together: its OCI manifest is another one".into());
    }
    let oci = OciManifest::parse(&ask.oci_manifest)?;
    if Digest::of(&ask.manifest) != oci.config.digest {
        return Err("the question does not hold together: its manifest is another one".into());
    }
    let manifest = Manifest::parse(&ask.manifest).map_err(crate::error::chain)?;
    oci.check_files(&manifest)?;
    Ok((oci, manifest))
}

fn told_of(mut objections: Vec<(String, bool)>) -> Vec<Objection> {
    let more = objections.len().saturating_sub(OBJECTIONS_MAX);
    if more > 0 {
        objections.truncate(OBJECTIONS_MAX - 1);
        objections.push((format!("and {} more", more + 1), false));
    }
    let cut = |mut text: String| {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text
    };
    objections.into_iter().map(|(text, passes)| Objection { text: cut(text), passes }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, SLOTS_MAX};
    use crate::update::blobs::Blobs;
    use crate::update::library::Library;
    use lineside_bundle::{BuiltBundle, BundleFile, build};
    use lineside_wire::v1::ReleaseRef;
    use std::collections::BTreeMap;
    use std::fs;

    fn bundle(more: &str) -> BuiltBundle {
        let text = format!(
            "format = 1\nname = 'echo'\nversion = '1'\n{more}\n\
             [inputs.p]\nkey = 'k'\nrate_hz = 1.0\nfields = [{{ name = 'x' }}]\n\
             [stages.w]\nkind = 'window'\ninput = 'p'\nrows = 1\nstride = 1\n\
             [outputs.x]\nfrom = 'w'\n"
        );
        build(BundleFile::parse(&text).unwrap(), BTreeMap::new()).unwrap()
    }

    fn ask(bundle: &BuiltBundle) -> Ask {
        let oci = OciManifest::parse(&bundle.oci_manifest).unwrap();
        let release = ReleaseRef {
            name: "echo".into(),
            version: "1".into(),
            digest: bundle.release_id().digest.bytes(),
        };
        let manifest = bundle.blobs[&oci.config.digest].clone();
        Ask { id: 7, release, slot: None, oci_manifest: bundle.oci_manifest.clone(), manifest }
    }

    /// A device with two slots: one has what the bundle's port takes, the other does not.
    fn answered(ask: &Ask) -> Vec<(String, Vec<String>)> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("good.csv"), "k,x\n").unwrap();
        fs::write(folder.path().join("other.csv"), "k,y\n").unwrap();
        let settings = "device_dir = 'd'\nstate_dir = 's'\n\
            [slots.good]\nsource = 'good'\n[slots.other]\nsource = 'other'\n\
            [sources.good]\nkind = 'file'\npaths = ['good.csv']\n\
            [sources.other]\nkind = 'file'\npaths = ['other.csv']\n";
        let path = folder.path().join("agent.toml");
        fs::write(&path, settings).unwrap();
        let config = Config::read(&path).unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let answer = answer(ask, &Surroundings::of(&config, Library::default(), blobs));
        assert_eq!(answer.id, ask.id);
        let texts = |slot: SlotAnswer| {
            (slot.slot, slot.objections.into_iter().map(|objection| objection.text).collect())
        };
        answer.slots.into_iter().map(texts).collect()
    }

    #[test]
    fn each_slot_is_answered_for_or_the_one_that_was_asked_about() {
        let mut question = ask(&bundle(""));
        let answers = answered(&question);
        assert_eq!(answers[0], ("good".into(), vec![]));
        let (slot, objections) = &answers[1];
        assert!(slot == "other" && objections[0].contains("port p takes x"), "{answers:?}");
        question.slot = Some("good".into());
        assert_eq!(answered(&question), [("good".to_owned(), vec![])]);
        question.slot = Some("none".into());
        let answers = answered(&question);
        assert_eq!(answers[0].1, ["this device has no slot none, only good, other"]);
    }

    #[test]
    fn what_does_not_hold_together_is_said_and_never_judged() {
        let (good, other) = (ask(&bundle("")), ask(&bundle("summary = 'other'")));
        let asks = [
            Ask { oci_manifest: other.oci_manifest.clone(), ..good.clone() },
            Ask { manifest: other.manifest.clone(), ..good.clone() },
            Ask { manifest: b"{".to_vec(), ..good.clone() },
            Ask { oci_manifest: Vec::new(), ..good.clone() },
        ];
        for ask in asks {
            let answers = answered(&ask);
            assert_eq!(answers.len(), 1);
            assert!(answers[0].1[0].contains("does not hold together"), "{answers:?}");
        }
    }

    #[test]
    fn the_longest_answer_fits_into_its_message() {
        let many = vec![("ä".repeat(500), false); 100];
        let objections = told_of(many);
        assert_eq!(objections.len(), OBJECTIONS_MAX);
        assert_eq!(objections[OBJECTIONS_MAX - 1].text, "and 93 more");
        let slot = SlotAnswer { slot: "s".repeat(63), objections };
        let answer = Answer { id: u64::MAX, slots: vec![slot; SLOTS_MAX] };
        assert!(lineside_wire::envelope::encode(&answer).is_ok());
    }
}
