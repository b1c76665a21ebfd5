//! Whether a release would run here, judged by its two small documents before anything else of it is
//! fetched.
//!
//! Only what is certain is an objection. What the checks of a bundle show on the device itself,
//! whether its answers are right and fast enough, is for staging.

use crate::config::SlotSources;
use crate::update::blobs::RESERVE_BYTES;
use lineside_bundle::{AgentVersion, Descriptor, Digest, Manifest, OciManifest, Port, Stage};
use lineside_runtime::{EngineError, Engines, Onnxruntime, Operator, fit};
use lineside_wire::name::SlotName;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of machine code that a plugin becomes on this device, for each of its own: it is compiled
/// when it is staged. More than any seen.
const COMPILED_PER_WASM: u64 = 8;
/// Names that are told where one is missing.
const NAMES_TOLD: usize = 20;

/// What a device has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its platform, as OCI names it.
    pub platform: String,
    /// The version of its agent.
    pub agent: AgentVersion,
    /// What its settings allow a worker, in MiB.
    pub memory_mib_max: u64,
    /// Memory of the machine, or what the agent may have of it, in MiB; none where nobody tells.
    pub memory_mib: Option<u64>,
    /// Memory that is free now, in MiB.
    pub memory_free_mib: Option<u64>,
    /// Bytes that may still be written to the disk with the blobs.
    pub disk_free_bytes: Option<u64>,
    /// Bytes that are on disk already, of the blobs that matter here.
    pub blobs: BTreeMap<Digest, u64>,
    /// Licences that it holds, by name.
    pub licences: BTreeSet<String>,
    /// What feeds each of its slots.
    pub slots: BTreeMap<SlotName, SlotSources<SourceFacts>>,
    /// The engine that its settings want for the models of a slot, where they say one.
    pub engines: BTreeMap<SlotName, String>,
    /// The engine that is no part of the agent, as far as it has that.
    pub onnxruntime: Onnxruntime,
}

/// What is known of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceFacts {
    /// The source's name.
    pub name: String,
    /// What its readings have, where that is known before they come.
    pub fields: Option<BTreeSet<String>>,
}

/// Why a release would not run here: what it needs, and what there is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// The device has no such slot.
    #[error("this device has no slot {slot}, only {}", list(.there))]
    Slot {
        /// The slot.
        slot: SlotName,
        /// Those that it has.
        there: Vec<String>,
    },
    /// It is made for other machines.
    #[error("it runs on {}, this device is {platform}", list(.needed))]
    Platform {
        /// Where it runs.
        needed: Vec<String>,
        /// What this is.
        platform: String,
    },
    /// The agent is too old.
    #[error("it needs agent {needed}, this one is {agent}")]
    Agent {
        /// The oldest that will do.
        needed: AgentVersion,
        /// This one.
        agent: AgentVersion,
    },
    /// No engine that may run a model has all of its operators.
    #[error("{model}: {reason}")]
    Engine {
        /// The model's path.
        model: String,
        /// What each engine has against it.
        reason: String,
    },
    /// Its worker asks for more than this device's settings give any.
    #[error("it needs {needed} MiB of memory, limits.worker_memory_mib_max gives {given} MiB")]
    MemoryGiven {
        /// In MiB.
        needed: u64,
        /// In MiB.
        given: u64,
    },
    /// Its worker asks for more than the machine has.
    #[error("it needs {needed} MiB of memory, this device has {all} MiB")]
    Memory {
        /// In MiB.
        needed: u64,
        /// In MiB.
        all: u64,
    },
    /// Its worker asks for more than is free now. Starting it could take down what runs.
    #[error("it needs {needed} MiB of memory, {free} MiB are free now")]
    MemoryNow {
        /// In MiB.
        needed: u64,
        /// In MiB.
        free: u64,
    },
    /// The disk would be full.
    #[error("it needs {needed} bytes on disk, with a reserve, and {free} are free")]
    Disk {
        /// What would be written, and what must stay free.
        needed: u64,
        /// What is free.
        free: u64,
    },
    /// A licence is missing.
    #[error("it needs the licence {licence}, which [licences] of agent.toml does not name")]
    Licence {
        /// Its name.
        licence: String,
    },
    /// It joins several ports, and one source feeds the slot.
    #[error(
        "it joins the ports {}, and the slot has one source: name one for each in its `sources`",
        list(.ports)
    )]
    Ports {
        /// Its ports.
        ports: Vec<String>,
    },
    /// No source of the slot feeds a port.
    #[error("the slot has no source for port {port}, only for {}", list(.there))]
    PortSource {
        /// The bundle's port.
        port: String,
        /// Ports that have one.
        there: Vec<String>,
    },
    /// The slot's source lacks what the port takes.
    #[error(
        "port {port} takes {}, which source {from} does not bring, only {}",
        list(.lacking), list(.there)
    )]
    Port {
        /// The bundle's port.
        port: String,
        /// Fields that are missing.
        lacking: Vec<String>,
        /// The source.
        from: String,
        /// What it brings.
        there: Vec<String>,
    },
}

impl Objection {
    /// Whether waiting may help: others free memory and disks. For all else somebody has to change the
    /// device or assign another release.
    pub fn passes(&self) -> bool {
        match self {
            Objection::MemoryNow { .. } | Objection::Disk { .. } => true,
            Objection::Slot { .. }
            | Objection::Platform { .. }
            | Objection::Agent { .. }
            | Objection::Engine { .. }
            | Objection::MemoryGiven { .. }
            | Objection::Memory { .. }
            | Objection::Licence { .. }
            | Objection::Ports { .. }
            | Objection::PortSource { .. }
            | Objection::Port { .. } => false,
        }
    }
}

/// Why the release whose documents these are would not run in `slot`; nothing where it would.
///
/// Reads no clock, file or socket: `facts` hold what the device has.
pub fn judge(
    oci: &OciManifest,
    manifest: &Manifest,
    slot: &SlotName,
    facts: &Facts,
) -> Vec<Objection> {
    let mut objections = Vec::new();
    match facts.slots.get(slot) {
        Some(slot) => objections.extend(judge_ports(manifest, slot)),
        None => {
            let there = facts.slots.keys().map(ToString::to_string).collect();
            objections.push(Objection::Slot { slot: slot.clone(), there });
        }
    }
    objections.extend(judge_requires(manifest, facts));
    let engines = Engines {
        site: facts.engines.get(slot).cloned(),
        chosen: BTreeMap::new(),
        onnxruntime: facts.onnxruntime.clone(),
    };
    objections.extend(judge_models(manifest, &engines));
    objections.extend(judge_memory(manifest, facts));
    objections.extend(judge_disk(oci, facts));
    objections
}

fn judge_ports(manifest: &Manifest, slot: &SlotSources<SourceFacts>) -> Vec<Objection> {
    let ports = &manifest.bundle.inputs;
    match slot {
        SlotSources::One(_) if ports.len() > 1 => {
            vec![Objection::Ports { ports: ports.keys().cloned().collect() }]
        }
        SlotSources::One(source) => {
            ports.iter().filter_map(|(name, port)| judge_port(name, port, source)).collect()
        }
        SlotSources::ByPort(sources) => {
            let judged = |(name, port): (&String, &Port)| match sources.get(name) {
                Some(source) => judge_port(name, port, source),
                None => {
                    let there = sources.keys().cloned().collect();
                    Some(Objection::PortSource { port: name.clone(), there })
                }
            };
            ports.iter().filter_map(judged).collect()
        }
    }
}

fn judge_port(name: &str, port: &Port, source: &SourceFacts) -> Option<Objection> {
    let there = source.fields.as_ref()?;
    let needed = port.key.iter().chain(&port.time).chain(port.fields.iter().map(|it| &it.name));
    let lacking: Vec<String> = needed.filter(|field| !there.contains(*field)).cloned().collect();
    (!lacking.is_empty()).then(|| Objection::Port {
        port: name.to_owned(),
        lacking,
        from: source.name.clone(),
        there: there.iter().cloned().collect(),
    })
}

fn judge_requires(manifest: &Manifest, facts: &Facts) -> Vec<Objection> {
    let requires = &manifest.bundle.requires;
    let mut objections = Vec::new();
    if !requires.platforms.is_empty() && !requires.platforms.contains(&facts.platform) {
        let needed = requires.platforms.iter().cloned().collect();
        objections.push(Objection::Platform { needed, platform: facts.platform.clone() });
    }
    if let Some(needed) = requires.agent.filter(|needed| *needed > facts.agent) {
        objections.push(Objection::Agent { needed, agent: facts.agent });
    }
    let missing = requires.licences.difference(&facts.licences);
    objections.extend(missing.map(|licence| Objection::Licence { licence: licence.clone() }));
    objections
}

/// Judges models by what the worker goes by that would load them.
fn judge_models(manifest: &Manifest, engines: &Engines) -> Vec<Objection> {
    let mut objections = Vec::new();
    for (model, used) in &manifest.operators {
        let used: Vec<Operator> = used.iter().map(|text| Operator::parse(text)).collect();
        let described = manifest.bundle.stages.iter().filter_map(|(name, stage)| match stage {
            Stage::Model { file, engine, .. } if file == model => Some((name, engine.as_deref())),
            _ => None,
        });
        for (stage, described) in described {
            let refused = match engines.of(stage, described) {
                Ok(engines) => match fit(&engines, &used) {
                    Ok(_) => continue,
                    Err(refusal) => EngineError::Refused(refusal),
                },
                Err(unknown) => unknown,
            };
            let (model, reason) = (model.clone(), refused.to_string());
            objections.push(Objection::Engine { model, reason });
        }
    }
    objections
}

/// One objection about memory, the one that stands in the way the longest.
fn judge_memory(manifest: &Manifest, facts: &Facts) -> Option<Objection> {
    let needed = u64::from(manifest.bundle.limits.memory_mib);
    let beyond = |there: Option<u64>| there.filter(|there| needed > *there);
    if let Some(all) = beyond(facts.memory_mib) {
        return Some(Objection::Memory { needed, all });
    }
    if let Some(given) = beyond(Some(facts.memory_mib_max)) {
        return Some(Objection::MemoryGiven { needed, given });
    }
    beyond(facts.memory_free_mib).map(|free| Objection::MemoryNow { needed, free })
}

fn judge_disk(oci: &OciManifest, facts: &Facts) -> Option<Objection> {
    let free = facts.disk_free_bytes?;
    let blobs: BTreeMap<Digest, &Descriptor> = oci.blobs().map(|it| (it.digest, it)).collect();
    let lacking = |blob: &Descriptor| {
        let here = facts.blobs.get(&blob.digest).copied().unwrap_or(0);
        let lacking = blob.size.saturating_sub(here);
        // One that is whole here has most likely been compiled here as well.
        let compiled = lacking > 0 && blob.media_type == "application/wasm";
        let machine_code = if compiled { blob.size.saturating_mul(COMPILED_PER_WASM) } else { 0 };
        lacking.saturating_add(machine_code)
    };
    let new = blobs.into_values().map(lacking).fold(0, u64::saturating_add);
    let needed = new.saturating_add(RESERVE_BYTES);
    // What has to be written least, a journal entry, fits into the reserve.
    (new > 0 && needed > free).then_some(Objection::Disk { needed, free })
}

fn list(names: &[String]) -> String {
    match names.len().checked_sub(NAMES_TOLD) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..NAMES_TOLD].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineside_bundle::{BundleFile, build_with_operators};
    use lineside_runtime::SharedLibrary;

    const MIB: u64 = 1 << 20;

    /// A bundle with a plugin of 1000 bytes that nobody has, and `more` in its description.
    fn bundle(more: &str, operators: &[&str]) -> (OciManifest, Manifest) {
        with_model(more, "", operators)
    }

    /// As [`bundle`], with more about its model, which is empty.
    fn with_model(more: &str, engine: &str, operators: &[&str]) -> (OciManifest, Manifest) {
        let text = format!(
            "format = 1\nname = 'pump'\nversion = '1'\n{more}\n\
             [inputs.row]\nkey = 'pump'\ntime = 'time'\nfields = [{{ name = 'flow' }}]\n\
             [stages.window]\nkind = 'window'\ninput = 'row'\nrows = 1\nstride = 1\n\
             [stages.judge]\nkind = 'model'\nfile = 'judge.onnx'\n{engine}\n\
             inputs = {{ x = 'window' }}\n\
             [stages.double]\nkind = 'plugin'\nplugin = 'double'\ninputs = {{ x = 'window' }}\n\
             [outputs.y]\nfrom = 'double.y'\n"
        );
        let files =
            [("plugins/double.wasm".to_owned(), vec![7; 1000]), ("judge.onnx".into(), vec![])];
        let files = BTreeMap::from(files);
        let used = operators.iter().map(|name| (*name).to_owned()).collect();
        let operators = BTreeMap::from([("judge.onnx".to_owned(), used)]);
        let built = build_with_operators(BundleFile::parse(&text).unwrap(), files, operators);
        let built = built.unwrap();
        (OciManifest::parse(&built.oci_manifest).unwrap(), built.manifest)
    }

    fn slot() -> SlotName {
        "line".parse().unwrap()
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// A device that has whatever the bundle needs, and not one byte more.
    fn device() -> Facts {
        let (oci, _) = bundle("", &[]);
        let fields = Some(names(&["pump", "time", "flow"]));
        Facts {
            platform: "linux/arm64".into(),
            agent: "1.2.3".parse().unwrap(),
            memory_mib_max: 256,
            memory_mib: Some(256),
            memory_free_mib: Some(256),
            disk_free_bytes: Some(RESERVE_BYTES + 1000 + 8 * 1000),
            blobs: BTreeMap::from([(oci.config.digest, oci.config.size)]),
            licences: BTreeSet::new(),
            slots: BTreeMap::from([(
                slot(),
                SlotSources::One(SourceFacts { name: "scada".into(), fields }),
            )]),
            engines: BTreeMap::new(),
            onnxruntime: Onnxruntime::Absent,
        }
    }

    /// What is objected to, and whether it passes.
    fn said(
        more: &str,
        operators: &[&str],
        change: impl FnOnce(&mut Facts),
    ) -> Vec<(String, bool)> {
        let (oci, manifest) = bundle(more, operators);
        let mut facts = device();
        facts.blobs.insert(oci.config.digest, oci.config.size);
        change(&mut facts);
        let objections = judge(&oci, &manifest, &slot(), &facts);
        objections.iter().map(|it| (it.to_string(), it.passes())).collect()
    }

    fn only(more: &str, change: impl FnOnce(&mut Facts)) -> (String, bool) {
        let said = said(more, &[], change);
        assert_eq!(said.len(), 1, "{said:?}");
        said.into_iter().next().unwrap()
    }

    #[test]
    fn a_device_that_has_just_what_is_needed_has_no_objection() {
        let needs = "[requires]\nagent = '1.2.3'\nlicences = ['acme']\n\
                     platforms = ['linux/amd64', 'linux/arm64']\n";
        let licensed = |facts: &mut Facts| facts.licences = names(&["acme", "other"]);
        assert_eq!(said(needs, &["Conv", "Relu"], licensed), []);
    }

    #[test]
    fn what_a_device_does_not_tell_is_no_objection() {
        let silent = |facts: &mut Facts| {
            facts.memory_mib = None;
            facts.memory_free_mib = None;
            facts.disk_free_bytes = None;
            let broker = SourceFacts { name: "broker".into(), fields: None };
            facts.slots.insert(slot(), SlotSources::One(broker));
        };
        assert_eq!(said("", &[], silent), []);
    }

    #[test]
    fn a_slot_that_is_not_there_is_named_beside_those_that_are() {
        let other = |facts: &mut Facts| {
            let source = SlotSources::One(SourceFacts::default());
            facts.slots = BTreeMap::from([("ward".parse().unwrap(), source)]);
        };
        let (said, passes) = only("", other);
        assert_eq!(said, "this device has no slot line, only ward");
        assert!(!passes);
    }

    #[test]
    fn another_platform_is_objected_to() {
        let (said, passes) = only("requires.platforms = ['linux/amd64', 'linux/arm/v7']", |_| {});
        assert_eq!(said, "it runs on linux/amd64, linux/arm/v7, this device is linux/arm64");
        assert!(!passes);
    }

    #[test]
    fn an_agent_one_step_too_old_is_objected_to() {
        let (said, passes) = only("requires.agent = '1.2.4'", |_| {});
        assert_eq!(said, "it needs agent 1.2.4, this one is 1.2.3");
        assert!(!passes);
    }

    #[test]
    fn operators_that_no_engine_has_are_all_named() {
        let said = said("", &["Conv", "Teleport", "com.acme.Guess"], |_| {});
        let [(said, passes)] = said.as_slice() else { panic!("{said:?}") };
        let wanted =
            "judge.onnx: no engine here runs it: tract lacks Teleport, lacks com.acme.Guess";
        assert!(said.starts_with(wanted) && !passes, "{said}");
    }

    #[test]
    fn an_operator_counts_in_the_engine_that_the_bundle_or_the_device_wants() {
        let judged = |engine: &str, site: Option<&str>| {
            let (oci, manifest) = with_model("", engine, &["Conv", "LinearClassifier"]);
            let mut facts = device();
            facts.blobs.insert(oci.config.digest, oci.config.size);
            facts.engines.extend(site.map(|engine| (slot(), engine.to_owned())));
            let objections = judge(&oci, &manifest, &slot(), &facts);
            objections.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        assert!(judged("engine = 'tract'", None).ends_with("tract lacks LinearClassifier"));
        assert!(judged("engine = 'abacus'", None).contains("there is no engine abacus here"));
        let site = judged("engine = 'abacus'", Some("tract"));
        assert!(site.ends_with("tract lacks LinearClassifier"), "{site}");
    }

    #[test]
    fn a_model_for_an_engine_with_a_library_of_its_own_is_objected_to_where_there_is_none() {
        let (oci, manifest) = bundle("", &["Relu", "com.microsoft.QGemm"]);
        let judged = |onnxruntime: Onnxruntime| {
            let mut facts = Facts { onnxruntime, ..device() };
            facts.blobs.insert(oci.config.digest, oci.config.size);
            let objections = judge(&oci, &manifest, &slot(), &facts);
            objections.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        let absent = judged(Onnxruntime::Absent);
        assert!(
            absent.contains("onnxruntime has all operators and is not installed here"),
            "{absent}"
        );
        assert!(absent.contains("name it in [onnxruntime] of agent.toml"), "{absent}");
        let broken = judged(Onnxruntime::Unusable("/opt/a.so: it is no onnxruntime".into()));
        assert!(
            broken.contains("cannot be used here: /opt/a.so: it is no onnxruntime"),
            "{broken}"
        );
        let path = "/opt/libonnxruntime.so".into();
        assert_eq!(judged(Onnxruntime::At(SharedLibrary { path, digest: None })), "");
    }

    #[test]
    fn memory_is_compared_with_settings_machine_and_what_is_free_one_mib_beyond_each() {
        let (settings, passes) = only("", |facts| facts.memory_mib_max = 255);
        assert!(settings.contains("256 MiB") && settings.contains("gives 255 MiB"), "{settings}");
        assert!(settings.contains("limits.worker_memory_mib_max") && !passes);
        let (machine, passes) = only("", |facts| facts.memory_mib = Some(255));
        assert_eq!(machine, "it needs 256 MiB of memory, this device has 255 MiB");
        assert!(!passes);
        let (now, passes) = only("", |facts| facts.memory_free_mib = Some(255));
        assert_eq!(now, "it needs 256 MiB of memory, 255 MiB are free now");
        assert!(passes, "others may give some back");
        let (asked, _) = only("limits.memory_mib = 257", |facts| facts.memory_mib = Some(300));
        assert!(asked.starts_with("it needs 257 MiB"), "{asked}");
    }

    #[test]
    fn a_disk_one_byte_too_full_is_objected_to_until_it_is_freed() {
        let free = RESERVE_BYTES + 9000 - 1;
        let (said, passes) = only("", |facts| facts.disk_free_bytes = Some(free));
        assert_eq!(
            said,
            format!("it needs {} bytes on disk, with a reserve, and {free} are free", free + 1)
        );
        assert!(passes);
    }

    #[test]
    fn what_is_on_disk_already_needs_no_room() {
        let (oci, _) = bundle("", &[]);
        let plugin = oci.layers[1].digest;
        // Half of it came with an earlier download.
        let partly = |facts: &mut Facts| {
            facts.blobs.insert(plugin, 500);
            facts.disk_free_bytes = Some(RESERVE_BYTES + 500 + 8 * 1000);
        };
        assert_eq!(said("", &[], partly), []);
        // A full disk does not keep what is whole here from running again.
        let whole = |facts: &mut Facts| {
            facts.blobs.insert(plugin, 1000);
            facts.disk_free_bytes = Some(0);
        };
        assert_eq!(said("", &[], whole), []);
    }

    #[test]
    fn sizes_that_no_disk_has_are_added_up_without_turning_over() {
        let (mut oci, manifest) = bundle("", &[]);
        oci.layers[1].size = u64::MAX;
        let facts = Facts { disk_free_bytes: Some(1000 * MIB), ..device() };
        let objections = judge(&oci, &manifest, &slot(), &facts);
        assert!(objections.iter().any(|it| matches!(it, Objection::Disk { needed: u64::MAX, .. })));
    }

    #[test]
    fn a_licence_that_is_not_there_is_named() {
        let needs = "requires.licences = ['acme', 'beta']";
        let (said, passes) = only(needs, |facts| facts.licences = names(&["acme"]));
        assert_eq!(said, "it needs the licence beta, which [licences] of agent.toml does not name");
        assert!(!passes);
    }

    #[test]
    fn a_slot_needs_a_source_for_the_port() {
        let (said, passes) = only("", |facts| {
            let source = SourceFacts { name: "scada".into(), fields: None };
            let sources = SlotSources::ByPort(BTreeMap::from([("heat".to_owned(), source)]));
            facts.slots.insert(slot(), sources);
        });
        assert_eq!(said, "the slot has no source for port row, only for heat");
        assert!(!passes);
    }

    #[test]
    fn a_source_without_a_field_of_the_port_is_objected_to() {
        for missing in ["pump", "time", "flow"] {
            let (said, passes) = only("", |facts| {
                let Some(SlotSources::One(source)) = facts.slots.get_mut(&slot()) else { panic!() };
                source.fields.as_mut().unwrap().remove(missing);
            });
            let wanted = format!("port row takes {missing}, which source scada does not bring");
            assert!(said.starts_with(&wanted) && !passes, "{said}");
        }
    }

    #[test]
    fn a_long_list_is_cut_short_and_says_so() {
        let many: Vec<String> = (0..25).map(|n| n.to_string()).collect();
        assert!(list(&many).ends_with("18, 19 and 5 more"));
        assert!(list(&many[..20]).ends_with("18, 19"));
    }
}
