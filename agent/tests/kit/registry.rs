//! A registry with releases and the deltas between them, which takes its time.

use lineside_bundle::referrer::{
    DELTA_TYPE, INDEX_TYPE, Listed, RECIPE_TYPE, Referrer, Referrers, recipe,
};
use lineside_bundle::{BuiltBundle, Digest, MANIFEST_TYPE};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How long an answer takes, so that somebody can be killed while waiting for it.
const PAUSE: Duration = Duration::from_millis(20);
/// Blobs below this size are fetched whole.
const WORTH_BYTES_MIN: usize = 16 << 10;

/// What a registry has.
#[derive(Default)]
pub struct Shelves {
    blobs: BTreeMap<Digest, Vec<u8>>,
    recipes: Vec<Digest>,
    /// What refers to a release.
    deltas: BTreeMap<Digest, Vec<Vec<u8>>>,
}

impl Shelves {
    /// Takes a release.
    pub fn take(&mut self, bundle: &BuiltBundle) {
        self.blobs.extend(bundle.blobs.clone());
        self.blobs.insert(bundle.release_id().digest, bundle.oci_manifest.clone());
    }

    /// Makes recipes for the blobs of `to` that have another in their place in `from`.
    pub fn delta(&mut self, from: &BuiltBundle, to: &BuiltBundle) {
        let changed = |bundle: &BuiltBundle, other: &BuiltBundle| -> Option<(Digest, Vec<u8>)> {
            let new = bundle.blobs.iter().filter(|(digest, _)| !other.blobs.contains_key(digest));
            let (digest, bytes) = new.max_by_key(|(_, bytes)| bytes.len())?;
            (bytes.len() >= WORTH_BYTES_MIN).then(|| (*digest, bytes.clone()))
        };
        let (old, new) = (changed(from, to).unwrap(), changed(to, from).unwrap());
        let made = lineside_delta::make(&old.1, &new.1);
        let digest = Digest::of(&made);
        let layer = recipe(digest, made.len() as u64, &old.0, &new.0);
        assert_eq!(layer.media_type, RECIPE_TYPE);
        self.blobs.insert(digest, made);
        self.recipes.push(digest);
        let delta = Referrer::delta(&to.release_id(), &from.release_id(), vec![layer]);
        let delta = serde_json::to_vec(&delta).unwrap();
        self.blobs.insert(Digest::of(&delta), delta.clone());
        self.deltas.entry(to.release_id().digest).or_default().push(delta);
    }

    fn referrers(&self, release: &Digest) -> Vec<u8> {
        let listed = |delta: &Vec<u8>| Listed {
            media_type: MANIFEST_TYPE.into(),
            digest: Digest::of(delta),
            size: delta.len() as u64,
            artifact_type: DELTA_TYPE.into(),
            annotations: BTreeMap::new(),
        };
        let manifests = self.deltas.get(release).into_iter().flatten().map(listed).collect();
        let list = Referrers { schema_version: 2, media_type: INDEX_TYPE.into(), manifests };
        serde_json::to_vec(&list).unwrap()
    }
}

/// The registry, served on loopback.
pub struct Registry {
    pub port: u16,
    shelves: Arc<Mutex<Shelves>>,
    recipes_given: Arc<AtomicU64>,
}

impl Registry {
    pub fn serve() -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (shelves, given): (Arc<Mutex<Shelves>>, Arc<AtomicU64>) = Default::default();
        let registry = Registry { port, shelves: shelves.clone(), recipes_given: given.clone() };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shelves, given) = (shelves.clone(), given.clone());
                thread::spawn(move || {
                    // Whoever asked may be dead by now.
                    let _ = answer(&stream, &shelves, &given);
                });
            }
        });
        registry
    }

    /// Changes what it has.
    pub fn change(&self, change: impl FnOnce(&mut Shelves)) {
        change(&mut self.shelves.lock().unwrap());
    }

    /// How often a recipe was asked for.
    pub fn recipes_given(&self) -> u64 {
        self.recipes_given.load(Ordering::Relaxed)
    }
}

fn answer(
    mut stream: &TcpStream,
    shelves: &Mutex<Shelves>,
    recipes_given: &AtomicU64,
) -> std::io::Result<()> {
    let mut request = String::new();
    let mut lines = BufReader::new(stream);
    while lines.read_line(&mut request)? > 2 {}
    let path = request.split(' ').nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let digest = path.rsplit('/').next().and_then(|digest| digest.parse::<Digest>().ok());
    let found = digest.and_then(|digest| {
        let shelves = shelves.lock().unwrap();
        if path.contains("/referrers/") {
            return Some(shelves.referrers(&digest));
        }
        let given = u64::from(shelves.recipes.contains(&digest));
        recipes_given.fetch_add(given, Ordering::Relaxed);
        shelves.blobs.get(&digest).cloned()
    });
    thread::sleep(PAUSE);
    let (status, bytes) = found.map_or(("404 Not Found", Vec::new()), |bytes| ("200 OK", bytes));
    let length = bytes.len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let (half, rest) = bytes.split_at(length / 2);
    stream.write_all(half)?;
    thread::sleep(PAUSE);
    stream.write_all(rest)
}
