//! What this device has, looked up when a release is to be judged: memory, disk, sources, licences.

use crate::config::{Config, NamedSource, SlotSources, SourceKind};
use crate::update::blobs::Blobs;
use crate::update::library::Library;
use crate::update::parcel;
use crate::update::preflight::{Facts, Objection, SourceFacts, judge};
use lineside_bundle::{AgentVersion, Digest, Manifest, OciManifest};
use lineside_runtime::columns;
use lineside_wire::name::SlotName;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Largest file of the kernel's that is read, in bytes.
const KERNEL_TEXT_BYTES_MAX: usize = 64 << 10;

/// What this device has.
#[derive(Clone)]
pub struct Surroundings {
    settings: Arc<Settings>,
    blobs: Blobs,
}

/// What of it does not change while the agent runs.
struct Settings {
    memory_mib_max: u64,
    licences: BTreeSet<String>,
    sources: BTreeMap<SlotName, SlotSources<NamedSource>>,
    engines: BTreeMap<SlotName, String>,
    library: Library,
}

/// The objections to a release, by its two documents.
pub type Judge = dyn Fn(&OciManifest, &Manifest) -> Vec<Objection> + Send + Sync;

/// What judges releases for one slot before they are fetched.
#[derive(Clone)]
pub struct Preflight {
    /// The objections to a release, by its two documents.
    pub judge: Arc<Judge>,
    /// What of this device does not pass by itself and decides about objections that do not, as a
    /// digest: where it is another one, what was refused may be judged again.
    pub facts: Arc<dyn Fn() -> Digest + Send + Sync>,
}

impl Surroundings {
    /// Of a device with these settings, this engine in a library, and these blobs.
    pub fn of(config: &Config, library: Library, blobs: Blobs) -> Surroundings {
        let slots = config.slots.iter();
        let settings = Settings {
            memory_mib_max: u64::from(config.limits.worker_memory_mib_max),
            licences: config.licences.clone(),
            sources: slots
                .clone()
                .map(|(name, slot)| (name.clone(), slot.sources.clone()))
                .collect(),
            engines: slots
                .filter_map(|(name, slot)| Some((name.clone(), slot.engine.clone()?)))
                .collect(),
            library,
        };
        Surroundings { settings: Arc::new(settings), blobs }
    }

    /// What there is now, as far as a bundle with these blobs is concerned. Reads first lines of
    /// recordings and files of the kernel's.
    pub fn facts(&self, oci: &OciManifest) -> Facts {
        let settings = &self.settings;
        let sources = settings.sources.iter();
        Facts {
            platform: platform(),
            agent: agent(),
            memory_mib_max: settings.memory_mib_max,
            memory_mib: memory_mib(),
            memory_free_mib: meminfo_mib("MemAvailable:"),
            disk_free_bytes: self.blobs.free_bytes(),
            blobs: oci.blobs().map(|it| (it.digest, self.blobs.bytes_here(&it.digest))).collect(),
            licences: settings.licences.clone(),
            slots: sources.map(|(slot, sources)| (slot.clone(), sources.map(facts_of))).collect(),
            engines: settings.engines.clone(),
            onnxruntime: settings.library.now().onnxruntime,
        }
    }

    /// What judges releases for `slot`.
    pub fn preflight(&self, slot: &SlotName) -> Preflight {
        let (judging, judged) = (self.clone(), slot.clone());
        let (lasting, slot) = (self.clone(), slot.clone());
        Preflight {
            judge: Arc::new(move |oci, manifest| {
                judge(oci, manifest, &judged, &judging.facts(oci))
            }),
            facts: Arc::new(move || lasting.lasting(&slot)),
        }
    }

    /// The facts that do not pass by themselves, for one slot. Their digest is compared with others of
    /// the same agent alone: with the agent its version changes, which is one of them.
    fn lasting(&self, slot: &SlotName) -> Digest {
        let settings = &self.settings;
        let source = settings.sources.get(slot).map(|sources| sources.map(facts_of));
        let memory = (settings.memory_mib_max, memory_mib());
        let engines = (settings.engines.get(slot), settings.library.now().onnxruntime);
        let facts = (platform(), agent(), memory, &settings.licences, source, engines);
        Digest::of(format!("{facts:?}").as_bytes())
    }
}

/// This agent's version.
fn agent() -> AgentVersion {
    env!("CARGO_PKG_VERSION").parse().expect("a version of the workspace is three numbers")
}

/// What the agent was built for, as OCI names it (image-spec 1.1, image-index.md, after Go's names).
fn platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm/v7",
        "x86" => "386",
        other => other,
    };
    format!("{}/{architecture}", std::env::consts::OS)
}

/// What the readings of a source have. A topic tells nothing before its messages come.
fn facts_of(source: &NamedSource) -> SourceFacts {
    let fields = match &source.kind {
        SourceKind::Mqtt(_) => None,
        SourceKind::File { paths, .. } => {
            // One that cannot be read now is no objection: it may be there later.
            let found = paths.iter().filter_map(|path| columns(parcel::regular(path).ok()?).ok());
            // A column must be in every file to be in every reading.
            found.reduce(|all, these| all.intersection(&these).cloned().collect())
        }
    };
    SourceFacts { name: source.name.clone(), fields }
}

/// Memory of the machine, or what the control group that the agent is in may have of it.
fn memory_mib() -> Option<u64> {
    let cgroup = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = cgroup_memory_bytes(&cgroup, |path| text(Path::new(path)));
    let limit_mib = limit.map(|bytes| bytes >> 20);
    [meminfo_mib("MemTotal:"), limit_mib].into_iter().flatten().min()
}

/// The tightest `memory.max` from the group in `/proc/self/cgroup` up to the root (cgroup v2).
fn cgroup_memory_bytes(cgroup: &str, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let group = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    let groups = Path::new(group.trim()).ancestors();
    let limits = groups.filter_map(|group| {
        let folder = group.to_str()?.trim_end_matches('/');
        read(&format!("/sys/fs/cgroup{folder}/memory.max"))?.trim().parse::<u64>().ok()
    });
    limits.min()
}

fn meminfo_mib(key: &str) -> Option<u64> {
    memory_line_mib(&text(Path::new("/proc/meminfo"))?, key)
}

/// A line of `/proc/meminfo` (proc_meminfo(5)), which counts in KiB.
fn memory_line_mib(meminfo: &str, key: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? >> 10)
}

fn text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    (text.len() <= KERNEL_TEXT_BYTES_MAX).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Pace;

    #[test]
    fn the_tightest_control_group_counts() {
        let files = BTreeMap::from([
            ("/sys/fs/cgroup/system.slice/lineside.service/memory.max", "max\n"),
            ("/sys/fs/cgroup/system.slice/memory.max", "536870912\n"),
            ("/sys/fs/cgroup/memory.max", "1073741824\n"),
        ]);
        let read = |path: &str| files.get(path).map(|text| (*text).to_owned());
        let group = "12:cpu:/x\n0::/system.slice/lineside.service\n";
        assert_eq!(cgroup_memory_bytes(group, read), Some(512 << 20));
        assert_eq!(cgroup_memory_bytes("0::/\n", read), Some(1 << 30));
        assert_eq!(cgroup_memory_bytes("", read), None);
        assert_eq!(cgroup_memory_bytes("0::/system.slice", |_| None), None);
    }

    #[test]
    fn memory_is_read_in_mib() {
        let meminfo = "MemTotal:        1048576 kB\nMemAvailable:     512000 kB\n";
        assert_eq!(memory_line_mib(meminfo, "MemTotal:"), Some(1024));
        assert_eq!(memory_line_mib(meminfo, "MemAvailable:"), Some(500));
        assert_eq!(memory_line_mib(meminfo, "MemFree:"), None);
    }

    #[test]
    fn this_machine_tells_what_it_has() {
        assert!(memory_mib().unwrap() > 0 && agent() > "0".parse().unwrap());
        let platform = platform();
        assert!(platform.starts_with("linux/") && platform.len() > 8, "{platform}");
    }

    #[test]
    fn a_recording_has_the_columns_of_all_its_files_and_a_topic_does_not_tell() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a.csv"), "time,wind,power\n1,2,3\n").unwrap();
        fs::write(path("b.csv"), "time,wind,heat\n").unwrap();
        let of = |names: &[&str]| {
            let paths = names.iter().map(|name| path(name)).collect();
            let kind = SourceKind::File { paths, pace: Pace::FlatOut };
            facts_of(&NamedSource { name: "scada".into(), kind }).fields
        };
        let set = |names: &[&str]| Some(names.iter().map(|it| (*it).to_owned()).collect());
        assert_eq!(of(&["a.csv"]), set(&["time", "wind", "power"]));
        assert_eq!(of(&["a.csv", "b.csv", "later.csv"]), set(&["time", "wind"]));
        assert_eq!(of(&["later.csv"]), None);
        // Nor is anything waited for that is no file and may never give anything.
        let pipe = std::process::Command::new("mkfifo").arg(path("pipe.csv")).status();
        assert!(pipe.unwrap().success());
        assert_eq!(of(&["pipe.csv"]), None);
    }
}
