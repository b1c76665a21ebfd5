//! Fetching releases from a server that misbehaves: a small one that answers as each test tells it.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod kit;

use kit::{PATIENCE, Vendor, echo, wait};
use lineside_agent::config::{Credentials, DownloadConfig, RegistryConfig};
use lineside_agent::fleet::Device;
use lineside_agent::fleet::device::Password;
use lineside_agent::store;
use lineside_agent::update::blobs::{BlobError, Blobs, CHUNK_BYTES};
use lineside_agent::update::download::{DownloadError, Fetched, Registry};
use lineside_agent::update::limits::Limits;
use lineside_agent::update::parcel;
use lineside_agent::update::preflight::Objection;
use lineside_bundle::referrer::{DELTA_TYPE, INDEX_TYPE, Listed, Referrer, Referrers, recipe};
use lineside_bundle::{
    BuiltBundle, Descriptor, Digest, MANIFEST_TYPE, Manifest, OciManifest, build,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

/// Size of the blob that is worth fetching in parts.
const LARGE: usize = 200_000;

/// What was asked: for which blob, and from which byte on; or for what refers to it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    digest: Digest,
    from: Option<usize>,
    referrers: bool,
    authorization: Option<String>,
}

/// A server that answers one request per connection with what `answer` writes.
struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    fn start(mut answer: impl FnMut(&Asked, &mut TcpStream) + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let log = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(request) = read(&stream) else { continue };
                log.lock().unwrap().push(request.clone());
                answer(&request, &mut stream);
            }
        });
        Server { port, asked }
    }

    /// What was asked of the large blob.
    fn asked(&self, bundle: &BuiltBundle) -> Vec<Option<usize>> {
        self.asked_of(&large(bundle).0)
    }

    /// What was asked of a blob.
    fn asked_of(&self, digest: &Digest) -> Vec<Option<usize>> {
        let asked = self.asked.lock().unwrap();
        let of_it = asked.iter().filter(|asked| asked.digest == *digest && !asked.referrers);
        of_it.map(|asked| asked.from).collect()
    }

    fn registry(&self) -> Registry {
        self.registry_within(Limits::default())
    }

    fn registry_within(&self, limits: Limits) -> Registry {
        let device = Device { server_http: self.url(), ..device() };
        Registry::of(&device, &DownloadConfig::default(), limits)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it was shown at each request.
    fn shown(&self) -> Vec<Option<String>> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|asked| asked.authorization.clone()).collect()
    }
}

fn device() -> Device {
    let device = kit::Device::new(&Vendor::new(), 0);
    Device::read(&device.folder.path().join("device")).unwrap()
}

/// Another registry than the device's server, which nobody listens for.
fn elsewhere(url: String, credentials: Option<Credentials>, ca: Option<PathBuf>) -> Registry {
    let device = Device { server_http: "http://127.0.0.1:1".into(), ..device() };
    let registry = Some(RegistryConfig { url, credentials, ca });
    let settings = DownloadConfig { registry, ..DownloadConfig::default() };
    Registry::of(&device, &settings, Limits::default())
}

fn read(stream: impl Read) -> Option<Asked> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.unwrap();
    let path = first.split(' ').nth(1).unwrap().to_owned();
    let (mut from, mut authorization) = (None, None);
    for line in lines {
        let line = line.unwrap();
        let (name, value) = line.split_once(": ").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                let range = value.trim_start_matches("bytes=").trim_end_matches('-');
                from = Some(range.parse().unwrap());
            }
            "authorization" => authorization = Some(value.to_owned()),
            _ => {}
        }
        if line.is_empty() {
            break;
        }
    }
    let path = path.split('?').next().unwrap();
    let digest = path.rsplit('/').next().unwrap().parse().unwrap();
    Some(Asked { digest, from, referrers: path.contains("/referrers/"), authorization })
}

/// An answer that promises `promised` bytes and gives `bytes`. The device may have gone meanwhile.
fn give(stream: &mut TcpStream, head: &str, promised: usize, bytes: &[u8]) {
    let head =
        format!("HTTP/1.1 {head}\r\ncontent-length: {promised}\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(bytes));
}

fn give_whole(stream: &mut TcpStream, bytes: &[u8]) {
    give(stream, "200 OK", bytes.len(), bytes);
}

/// The rest of `bytes` from `from` on, in the manner of RFC 9110; cut off after `most` bytes.
fn give_rest(stream: &mut TcpStream, bytes: &[u8], from: Option<usize>, most: usize) {
    let (start, size) = (from.unwrap_or(0), bytes.len());
    let rest = &bytes[start..];
    let head = match from {
        None => "200 OK".to_owned(),
        Some(_) => {
            format!("206 Partial Content\r\ncontent-range: bytes {start}-{}/{size}", size - 1)
        }
    };
    give(stream, &head, rest.len(), &rest[..most.min(rest.len())]);
}

/// A bundle with a large file.
fn bundle() -> BuiltBundle {
    bundle_of("1", (0..LARGE).map(|at| (at * 7 + at / 251) as u8).collect())
}

fn bundle_of(version: &str, bytes: Vec<u8>) -> BuiltBundle {
    let description = echo(version, "").manifest.bundle;
    build(description, BTreeMap::from([("large.bin".to_owned(), bytes)])).unwrap()
}

fn large(bundle: &BuiltBundle) -> (Digest, Vec<u8>) {
    let large = bundle.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    (*large.0, large.1.clone())
}

/// A server with `bundle` that answers for the large blob as it is told.
fn serve(
    bundle: &BuiltBundle,
    mut answer: impl FnMut(&Asked, &mut TcpStream, &[u8]) + Send + 'static,
) -> Server {
    let mut all = bundle.blobs.clone();
    all.insert(bundle.release_id().digest, bundle.oci_manifest.clone());
    let large = large(bundle).0;
    Server::start(move |asked, stream| match all.get(&asked.digest) {
        _ if asked.referrers => give(stream, "404 Not Found", 0, b""),
        Some(bytes) if asked.digest == large => answer(asked, stream, bytes),
        Some(bytes) => give_whole(stream, bytes),
        None => give(stream, "404 Not Found", 0, b""),
    })
}

struct Store {
    folder: tempfile::TempDir,
    blobs: Blobs,
}

impl Store {
    fn new() -> Store {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        Store { folder, blobs }
    }

    /// The same after a new start.
    fn again(self) -> Store {
        let blobs = Blobs::open(self.folder.path()).unwrap();
        Store { blobs, ..self }
    }

    fn fetch(&self, server: &Server, bundle: &BuiltBundle) -> Result<Fetched, DownloadError> {
        self.fetch_from(&server.registry(), bundle)
    }

    fn fetch_from(
        &self,
        registry: &Registry,
        bundle: &BuiltBundle,
    ) -> Result<Fetched, DownloadError> {
        let (release, wanted) = (bundle.release_id(), AtomicBool::new(false));
        registry.fetch(&release, &self.blobs, &|_, _| Vec::new(), &wanted)
    }

    fn fetch_if(
        &self,
        server: &Server,
        bundle: &BuiltBundle,
        preflight: &dyn Fn(&OciManifest, &Manifest) -> Vec<Objection>,
    ) -> Result<Fetched, DownloadError> {
        let (release, wanted) = (bundle.release_id(), AtomicBool::new(false));
        server.registry().fetch(&release, &self.blobs, preflight, &wanted)
    }

    fn put(&self, bundle: &BuiltBundle) {
        let manifest = (&bundle.release_id().digest, &bundle.oci_manifest);
        for (digest, bytes) in bundle.blobs.iter().chain([manifest]) {
            let size = bytes.len() as u64;
            assert!(self.blobs.receive(digest, size, &bytes[..], &|| false).unwrap());
        }
    }

    /// The file of a blob.
    fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs.folder().join(digest.hex())
    }

    fn recipes(&self) -> usize {
        std::fs::read_dir(self.blobs.recipes().folder()).unwrap().count()
    }

    fn is_whole(&self, bundle: &BuiltBundle) -> bool {
        bundle.blobs.iter().all(|(digest, bytes)| self.blobs.holds(digest, bytes.len() as u64))
    }
}

#[test]
fn a_download_that_is_cut_goes_on_where_it_was() {
    let bundle = bundle();
    let server = serve(&bundle, |asked, stream, bytes| {
        give_rest(stream, bytes, asked.from, 90_000);
    });
    let store = Store::new();
    store.fetch(&server, &bundle).unwrap();
    assert!(store.is_whole(&bundle));
    assert_eq!(server.asked(&bundle), [None, Some(90_000), Some(180_000)]);
    // What is there is not asked for again.
    store.fetch(&server, &bundle).unwrap();
    assert_eq!(server.asked(&bundle).len(), 3);
}

#[test]
fn a_server_that_gives_another_part_than_was_asked_for_spoils_nothing() {
    let bundle = bundle();
    let mut count = 0;
    let server = serve(&bundle, move |asked, stream, bytes| {
        count += 1;
        match count {
            1 => give_rest(stream, bytes, None, 90_000),
            2 => give_rest(stream, bytes, Some(10), LARGE),
            _ => give_rest(stream, bytes, asked.from, LARGE),
        }
    });
    let store = Store::new();
    let error = store.fetch(&server, &bundle).unwrap_err();
    assert!(matches!(error, DownloadError::Blob(BlobError::Cut { got: 0, .. })), "{error}");
    store.fetch(&server, &bundle).unwrap();
    assert!(store.is_whole(&bundle));
    assert_eq!(server.asked(&bundle), [None, Some(90_000), None]);
}

#[test]
fn a_server_that_knows_no_parts_gives_the_whole() {
    let bundle = bundle();
    let mut count = 0;
    let server = serve(&bundle, move |_, stream, bytes| {
        count += 1;
        give_rest(stream, bytes, None, if count == 1 { 90_000 } else { LARGE });
    });
    let store = Store::new();
    store.fetch(&server, &bundle).unwrap();
    assert!(store.is_whole(&bundle));
    assert_eq!(server.asked(&bundle), [None, Some(90_000)]);
}

#[test]
fn what_the_server_does_not_have_is_said_with_its_path_and_tried_again_later() {
    let bundle = bundle();
    let server = serve(&bundle, |_, stream, _| give(stream, "404 Not Found", 4, b"gone"));
    let store = Store::new();
    let error = store.fetch(&server, &bundle).unwrap_err();
    let path = format!("/v2/echo/blobs/{}", large(&bundle).0);
    assert_eq!(error.to_string(), format!("the server answered 404 to {path}"));
    assert!(!error.is_final());
    assert_eq!(server.asked(&bundle).len(), 1);
}

#[test]
fn wrong_bytes_are_thrown_away_and_asked_for_once_more_at_most() {
    let bundle = bundle();
    let server = serve(&bundle, |_, stream, bytes| give_whole(stream, &vec![7; bytes.len()]));
    let store = Store::new();
    let error = store.fetch(&server, &bundle).unwrap_err();
    assert!(matches!(error, DownloadError::Blob(BlobError::Wrong { .. })), "{error}");
    assert!(!error.is_final());
    assert_eq!(server.asked(&bundle).len(), 1);
    assert_eq!(store.blobs.partial_bytes(&large(&bundle).0), 0);

    // One that cuts each answer in the middle, and completes it with something else.
    let server = serve(&bundle, |asked, stream, bytes| {
        let wrong = vec![7; bytes.len()];
        give_rest(stream, &wrong, asked.from, LARGE / 2);
    });
    let error = store.fetch(&server, &bundle).unwrap_err();
    assert!(matches!(error, DownloadError::Blob(BlobError::Wrong { .. })), "{error}");
    let half = Some(LARGE / 2);
    assert_eq!(server.asked(&bundle), [None, half, None, half]);
}

#[test]
fn a_server_that_gives_a_few_bytes_per_answer_is_left_alone_for_a_while() {
    let bundle = bundle();
    let server = serve(&bundle, |asked, stream, bytes| give_rest(stream, bytes, asked.from, 100));
    let store = Store::new();
    for attempt in 1..=3 {
        let error = store.fetch(&server, &bundle).unwrap_err();
        assert!(matches!(error, DownloadError::Blob(BlobError::Cut { .. })), "{error}");
        assert_eq!(store.blobs.partial_bytes(&large(&bundle).0), 100 * attempt);
    }
    assert_eq!(server.asked(&bundle), [None, Some(100), Some(200)]);
}

#[test]
fn a_file_at_hand_does_not_wait_for_a_download_that_trickles() {
    let bundle = bundle();
    let server = serve(&bundle, |asked, stream, bytes| {
        give(stream, "200 OK", bytes.len() - asked.from.unwrap_or(0), b"");
        // As long as anybody listens.
        for byte in bytes.chunks(1) {
            if stream.write_all(byte).is_err() {
                return;
            }
            thread::sleep(std::time::Duration::from_millis(20));
        }
    });
    let store = Arc::new(Store::new());
    let (tell, ended) = mpsc::channel();
    let (downloading, wanted, name) = (store.clone(), bundle.clone(), "the download");
    let told = tell.clone();
    thread::spawn(move || told.send((name, downloading.fetch(&server, &wanted).is_ok())));
    let digest = large(&bundle).0;
    wait("the download has begun", || (store.blobs.partial_bytes(&digest) > 0).then_some(()));

    let device = kit::Device::new(&Vendor::new(), 0);
    let papers = Vendor::new().papers(std::slice::from_ref(&bundle), &bundle, 1, "line-3");
    let file = device.parcel(&papers, std::slice::from_ref(&bundle));
    let (installing, releases) = (store.clone(), BTreeSet::from([bundle.release_id()]));
    thread::spawn(move || {
        let by_hand = installing.blobs.by_hand();
        let lacking = parcel::unpack(&file, &releases, &installing.blobs, &by_hand);
        tell.send(("the file", lacking.unwrap().is_empty())).unwrap();
    });
    for what in ["the file", "the download"] {
        assert_eq!(ended.recv_timeout(PATIENCE).unwrap(), (what, true));
    }
    assert!(store.is_whole(&bundle));
}

#[test]
fn a_release_that_would_not_run_here_costs_its_two_documents_and_no_more() {
    let bundle = bundle();
    let server = serve(&bundle, |_, stream, bytes| give_whole(stream, bytes));
    let store = Store::new();
    let oci = OciManifest::parse(&bundle.oci_manifest).unwrap();
    let both = [bundle.release_id().digest, oci.config.digest];
    let full = Objection::Disk { needed: 2, free: 1 };
    let unlicensed = Objection::Licence { licence: "acme".into() };

    let error = store.fetch_if(&server, &bundle, &|_, _| vec![full.clone()]).unwrap_err();
    let said = "would not run here: it needs 2 bytes on disk, with a reserve, and 1 are free";
    assert_eq!(error.to_string(), said);
    assert!(!error.is_final(), "a disk may be freed");

    let objections = vec![full.clone(), unlicensed];
    let error = store.fetch_if(&server, &bundle, &|_, _| objections.clone()).unwrap_err();
    assert!(error.is_final() && error.to_string().contains("the licence acme"), "{error}");

    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(asked.iter().map(|asked| asked.digest).collect::<Vec<_>>(), both);
    let judged = |judged: &OciManifest, manifest: &Manifest| {
        assert_eq!((judged, manifest), (&oci, &bundle.manifest));
        Vec::new()
    };
    store.fetch_if(&server, &bundle, &judged).unwrap();
    assert!(store.is_whole(&bundle));
}

#[test]
fn after_a_power_cut_that_tears_what_was_not_synced_one_chunk_at_most_is_fetched_again() {
    let chunk = usize::try_from(CHUNK_BYTES).unwrap();
    let bundle = bundle_of("1", noise(1, 3 * chunk + 9));
    let mut count = 0;
    let server = serve(&bundle, move |asked, stream, bytes| {
        count += 1;
        // Cut in the middle of the third chunk, and then nothing more before the power goes.
        let most = [2 * chunk + 500, 0, bytes.len()][(count - 1).min(2)];
        give_rest(stream, bytes, asked.from, most);
    });
    let store = Store::new();
    store.fetch(&server, &bundle).unwrap_err();
    let partial = store.path(&large(&bundle).0).with_extension("partial");
    let mut torn = std::fs::read(&partial).unwrap();
    assert_eq!(torn.len(), 2 * chunk + 500);
    torn[2 * chunk..].fill(0);
    std::fs::write(&partial, torn).unwrap();
    let store = store.again();
    store.fetch(&server, &bundle).unwrap();
    assert!(store.is_whole(&bundle));
    assert_eq!(server.asked(&bundle), [None, Some(2 * chunk + 500), Some(2 * chunk)]);
}

/// Bytes that cannot be packed.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..size).map(|_| next()).collect()
}

/// A release whose large blob differs in its middle from the one before, and the delta from that.
struct Update {
    old: BuiltBundle,
    new: BuiltBundle,
    /// Every blob that a server has of it.
    all: BTreeMap<Digest, Vec<u8>>,
    list: Vec<u8>,
    recipe: Digest,
}

impl Update {
    fn new() -> Update {
        Update::with(lineside_delta::make)
    }

    /// With a recipe that is made otherwise.
    fn with(make: impl Fn(&[u8], &[u8]) -> Vec<u8>) -> Update {
        let base = noise(1, LARGE);
        let mut target = base.clone();
        target[50_000..110_000].copy_from_slice(&noise(2, 60_000));
        let recipe_bytes = make(&base, &target);
        let size = recipe_bytes.len() as u64;
        let (old, new) = (bundle_of("1", base), bundle_of("2", target));
        let recipe_digest = Digest::of(&recipe_bytes);
        let layer = recipe(recipe_digest, size, &large(&old).0, &large(&new).0);
        let delta = Referrer::delta(&new.release_id(), &old.release_id(), vec![layer]);
        let delta = serde_json::to_vec(&delta).unwrap();
        let list = list(&[&delta]);
        let mut all = new.blobs.clone();
        all.insert(new.release_id().digest, new.oci_manifest.clone());
        all.insert(Digest::of(&delta), delta);
        all.insert(recipe_digest, recipe_bytes);
        Update { old, new, all, list, recipe: recipe_digest }
    }

    /// A server that gives all of it, but the recipe as it is told.
    fn serve(
        &self,
        mut answer: impl FnMut(&Asked, &mut TcpStream, &[u8]) + Send + 'static,
    ) -> Server {
        let (all, list, recipe) = (self.all.clone(), self.list.clone(), self.recipe);
        Server::start(move |asked, stream| match all.get(&asked.digest) {
            _ if asked.referrers => give_whole(stream, &list),
            Some(bytes) if asked.digest == recipe => answer(asked, stream, bytes),
            Some(bytes) => give_whole(stream, bytes),
            None => give(stream, "404 Not Found", 0, b""),
        })
    }

    /// A device that has the old release.
    fn store(&self) -> Store {
        let store = Store::new();
        store.put(&self.old);
        store
    }

    fn target_bytes(&self) -> usize {
        large(&self.new).1.len()
    }
}

fn list(deltas: &[&[u8]]) -> Vec<u8> {
    let listed = |delta: &&[u8]| Listed {
        media_type: MANIFEST_TYPE.into(),
        digest: Digest::of(delta),
        size: delta.len() as u64,
        artifact_type: DELTA_TYPE.into(),
        annotations: BTreeMap::new(),
    };
    let manifests = deltas.iter().map(listed).collect();
    serde_json::to_vec(&Referrers { schema_version: 2, media_type: INDEX_TYPE.into(), manifests })
        .unwrap()
}

#[test]
fn a_release_arrives_as_a_delta_where_the_one_before_is_here() {
    let update = Update::new();
    let server = update.serve(|_, stream, bytes| give_whole(stream, bytes));
    let store = update.store();
    let fetched = store.fetch(&server, &update.new).unwrap();
    assert!(store.is_whole(&update.new) && store.is_whole(&update.old));
    assert_eq!(server.asked(&update.new), []);
    assert_eq!(server.asked_of(&update.recipe), [None]);
    assert!(fetched.saved > 130_000, "{fetched:?}");
    let spent = fetched.needed - fetched.saved;
    let text = format!("{spent} of {} bytes fetched, by delta from v1", fetched.needed);
    assert_eq!(fetched.to_string(), text);
    // Of the recipe nothing is left, nor of what was made by it.
    assert_eq!(store.recipes(), 0);
    assert!(!store.path(&large(&update.new).0).with_extension("made").exists());

    // A device that has no base asks for none.
    let bare = Store::new();
    let fetched = bare.fetch(&server, &update.new).unwrap();
    assert_eq!(fetched.saved, 0);
    assert_eq!(server.asked_of(&update.recipe).len(), 1);
    assert_eq!(bare.fetch(&server, &update.new).unwrap().to_string(), "nothing had to be fetched");
}

#[test]
fn whatever_is_wrong_with_a_recipe_the_blob_is_fetched_whole_and_the_recipe_never_again() {
    type Make = fn(&[u8], &[u8]) -> Vec<u8>;
    type Give = fn(&mut TcpStream, &[u8]);
    let right: Make = lineside_delta::make;
    let whole: Give = give_whole;
    let wrong: [(&str, Make, Give); 8] = [
        ("makes something else", |old, new| lineside_delta::make(old, &vec![7; new.len()]), whole),
        ("is no recipe", |_, _| noise(3, 1000), whole),
        ("ends too early", |old, new| lineside_delta::make(old, new)[..30_000].to_vec(), whole),
        ("is for another base", |old, new| lineside_delta::make(&old[1..], new), whole),
        // All zeros: a few bytes that would fill the disk.
        ("makes too much", |old, _| lineside_delta::make(old, &vec![0; 64 << 20]), whole),
        ("is another one", right, |stream, bytes| give_whole(stream, &vec![7; bytes.len()])),
        ("is not there", right, |stream, _| give(stream, "404 Not Found", 0, b"")),
        ("has no end", right, |stream, bytes| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
            // The device hangs up after as many bytes as it was promised.
            while stream.write_all(&vec![7; bytes.len()]).is_ok() {}
        }),
    ];
    for (what, make, give) in wrong {
        let update = Update::with(make);
        let server = update.serve(move |_, stream, bytes| give(stream, bytes));
        let registry = server.registry();
        for round in 0..2 {
            let store = update.store();
            let fetched = store.fetch_from(&registry, &update.new).unwrap();
            assert!(store.is_whole(&update.new), "{what}");
            assert_eq!((fetched.saved, store.recipes()), (0, 0), "{what}");
            assert_eq!(server.asked(&update.new).len(), round + 1, "{what}");
            assert_eq!(server.asked_of(&update.recipe).len(), 1, "{what}");
            assert!(!store.path(&large(&update.new).0).with_extension("made").exists(), "{what}");
        }
    }
}

#[test]
fn a_recipe_that_is_cut_goes_on_where_it_was_and_one_that_never_comes_is_given_up() {
    let update = Update::new();
    let server = update.serve(|asked, stream, bytes| give_rest(stream, bytes, asked.from, 40_000));
    let store = update.store();
    assert!(store.fetch(&server, &update.new).unwrap().saved > 0);
    assert_eq!(server.asked_of(&update.recipe), [None, Some(40_000)]);

    let server = update.serve(|asked, stream, bytes| give_rest(stream, bytes, asked.from, 0));
    let (registry, store) = (server.registry(), update.store());
    for _ in 0..2 {
        let error = store.fetch_from(&registry, &update.new).unwrap_err();
        assert!(matches!(error, DownloadError::Blob(BlobError::Cut { .. })), "{error}");
        assert_eq!(server.asked(&update.new), []);
    }
    assert_eq!(store.fetch_from(&registry, &update.new).unwrap().saved, 0);
    assert_eq!(server.asked_of(&update.recipe).len(), 3);
    assert!(store.is_whole(&update.new));
}

#[test]
fn a_base_that_is_damaged_on_disk_is_no_base() {
    let update = Update::new();
    let server = update.serve(|_, stream, bytes| give_whole(stream, bytes));
    let store = update.store();
    let base = store.path(&large(&update.old).0);
    let mut bytes = std::fs::read(&base).unwrap();
    bytes[100_000] ^= 1;
    std::fs::write(&base, bytes).unwrap();
    assert_eq!(store.fetch(&server, &update.new).unwrap().saved, 0);
    assert!(store.is_whole(&update.new));
    assert_eq!(server.asked_of(&update.recipe), []);
    // Whoever runs the old release has to notice by himself.
    assert!(base.exists());
}

#[test]
fn a_device_that_was_killed_before_the_last_rename_makes_the_blob_anew() {
    let update = Update::new();
    let server = update.serve(|_, stream, bytes| give_whole(stream, bytes));
    let store = update.store();
    let (target, bytes) = large(&update.new);
    let made = store.path(&target).with_extension("made");
    std::fs::write(&made, &bytes[..150_000]).unwrap();
    let store = store.again();
    assert!(!made.exists());
    assert!(store.fetch(&server, &update.new).unwrap().saved > 0);
    assert!(store.is_whole(&update.new));
}

#[test]
fn what_is_nearly_here_is_gone_on_with_rather_than_made_by_a_larger_recipe() {
    let update = Update::new();
    let all = update.all.clone();
    let (list, recipe) = (update.list.clone(), update.recipe);
    let server = Server::start(move |asked, stream| match asked.referrers {
        true => give_whole(stream, &list),
        false => give_rest(stream, &all[&asked.digest], asked.from, LARGE),
    });
    let store = update.store();
    let (target, bytes) = large(&update.new);
    let size = bytes.len() as u64;
    assert!(!store.blobs.receive(&target, size, &bytes[..190_000], &|| false).unwrap());
    assert_eq!(store.fetch(&server, &update.new).unwrap().saved, 0);
    assert_eq!(server.asked(&update.new), [Some(190_000)]);
    assert_eq!(server.asked_of(&recipe), []);
    assert_eq!(update.target_bytes(), LARGE);
}

#[test]
fn a_server_that_lists_nonsense_is_a_server_without_deltas() {
    let many: Vec<Vec<u8>> = (0..100)
        .map(|number| {
            let old = bundle_of("1", noise(number + 1, 100));
            let delta = Referrer::delta(&old.release_id(), &old.release_id(), Vec::new());
            serde_json::to_vec(&delta).unwrap()
        })
        .collect();
    let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    for (what, nonsense) in [
        ("no JSON", b"<html>".to_vec()),
        ("a bare list", b"[]".to_vec()),
        ("too much", vec![b' '; 2 << 20]),
        ("what it does not have", list(&many)),
    ] {
        let update = Update { list: nonsense, ..Update::new() };
        let server = update.serve(|_, stream, bytes| give_whole(stream, bytes));
        let store = update.store();
        assert_eq!(store.fetch(&server, &update.new).unwrap().saved, 0, "{what}");
        assert!(store.is_whole(&update.new), "{what}");
        let asked = server.asked.lock().unwrap().len();
        assert!(asked < 30, "{what}: {asked} requests");
    }
}

#[test]
fn however_many_recipes_are_offered_few_are_tried_and_then_none_for_that_release() {
    const OFFERED: u64 = 12;
    let mut update = Update::with(|old, new| lineside_delta::make(old, &vec![7; new.len()]));
    let (base, target) = (large(&update.old).0, large(&update.new).0);
    let mut layers = Vec::new();
    for number in 0..OFFERED {
        // Each makes something else than it says, and each has another digest.
        let bytes = lineside_delta::make(&large(&update.old).1, &noise(number + 9, 1_000));
        let digest = Digest::of(&bytes);
        layers.push(recipe(digest, bytes.len() as u64, &base, &target));
        // Of what is not here nothing can be made: these are not even fetched.
        layers.push(recipe(digest, 1, &Digest::of(&[number as u8]), &target));
        update.all.insert(digest, bytes);
    }
    let recipes: BTreeSet<Digest> = layers.iter().map(|layer| layer.digest).collect();
    let delta = Referrer::delta(&update.new.release_id(), &update.old.release_id(), layers);
    let delta = serde_json::to_vec(&delta).unwrap();
    update.list = list(&[&delta]);
    update.all.insert(Digest::of(&delta), delta);
    let server = update.serve(|_, stream, bytes| give_whole(stream, bytes));
    let registry = server.registry();
    for _ in 0..2 {
        let store = update.store();
        assert_eq!(store.fetch_from(&registry, &update.new).unwrap().saved, 0);
        assert!(store.is_whole(&update.new));
        let tried: usize = recipes.iter().map(|recipe| server.asked_of(recipe).len()).sum();
        assert_eq!(tried, 3);
    }
    let asked = server.asked.lock().unwrap();
    assert_eq!(asked.iter().filter(|asked| asked.referrers).count(), 1);
}

#[test]
fn a_release_that_names_a_blob_of_another_one_by_a_wrong_size_costs_nobody_anything() {
    let old = bundle();
    for of_its_own in [false, true] {
        let mut new = bundle_of("2", if of_its_own { large(&old).1 } else { noise(5, LARGE) });
        let mut oci = OciManifest::parse(&new.oci_manifest).unwrap();
        let (digest, bytes) = large(&old);
        match oci.layers.iter_mut().find(|layer| layer.digest == digest) {
            Some(shared) => shared.size += 1,
            None => oci.layers.push(Descriptor {
                media_type: "application/octet-stream".into(),
                digest,
                size: bytes.len() as u64 + 1,
                annotations: BTreeMap::new(),
            }),
        }
        new.oci_manifest = serde_json::to_vec(&oci).unwrap();
        let server = serve(&new, |_, stream, bytes| give_whole(stream, bytes));
        let store = Store::new();
        store.put(&old);
        let error = store.fetch(&server, &new).unwrap_err();
        assert!(error.is_final(), "{error}");
        assert_eq!(server.asked(&new), []);
        assert!(store.is_whole(&old));
    }
}

#[test]
fn a_list_of_deltas_that_drips_is_left_when_nobody_wants_it_any_more() {
    let update = Update::new();
    let all = update.all.clone();
    let (hold, held) = mpsc::channel();
    let server = Server::start(move |asked, stream| match asked.referrers {
        true => {
            // It has begun, and goes on some day.
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n ").unwrap();
            hold.send(stream.try_clone().unwrap()).unwrap();
        }
        false => give_whole(stream, &all[&asked.digest]),
    });
    let (registry, store, cancelled) = (server.registry(), update.store(), Arc::default());
    let flag: Arc<AtomicBool> = Arc::clone(&cancelled);
    let release = update.new.release_id();
    let fetching =
        thread::spawn(move || registry.fetch(&release, &store.blobs, &|_, _| Vec::new(), &flag));
    let mut stream = held.recv_timeout(PATIENCE).unwrap();
    cancelled.store(true, Ordering::Relaxed);
    // The next byte is the last that it takes.
    while stream.write_all(b" ").is_ok() && !fetching.is_finished() {
        thread::yield_now();
    }
    let error = fetching.join().unwrap().unwrap_err();
    assert!(matches!(error, DownloadError::Blob(BlobError::Cancelled)), "{error}");
}

#[test]
fn an_answer_without_an_end_and_one_of_another_length_bring_what_was_promised_or_nothing() {
    let bundle = bundle();
    // The right bytes, and then others for as long as anybody listens.
    let server = serve(&bundle, |_, stream, bytes| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
        while stream.write_all(bytes).is_ok() {}
    });
    let store = Store::new();
    store.fetch(&server, &bundle).unwrap();
    assert!(store.is_whole(&bundle));
    assert_eq!(store.blobs.bytes_here(&large(&bundle).0), LARGE as u64);

    // More than was signed is promised, and given; less is promised, each time.
    let server = serve(&bundle, |_, stream, bytes| {
        give_whole(stream, &[bytes, &[0; 1_000]].concat());
    });
    let store = Store::new();
    store.fetch(&server, &bundle).unwrap();
    assert!(store.is_whole(&bundle));
    let server = serve(&bundle, |_, stream, bytes| give_whole(stream, &bytes[..1_000]));
    let store = Store::new();
    let error = store.fetch(&server, &bundle).unwrap_err();
    assert!(matches!(error, DownloadError::Blob(BlobError::Cut { got: 1_000, .. })), "{error}");
    assert_eq!(server.asked(&bundle).len(), 1);
}

#[test]
fn a_server_that_cannot_go_on_from_there_is_asked_for_the_whole_once() {
    let bundle = bundle();
    let server = serve(&bundle, |asked, stream, bytes| match asked.from {
        Some(_) => give(stream, "416 Range Not Satisfiable", 0, b""),
        None => give_whole(stream, bytes),
    });
    let (digest, bytes) = large(&bundle);
    let store = Store::new();
    assert!(!store.blobs.receive(&digest, LARGE as u64, &bytes[..90_000], &|| false).unwrap());
    store.fetch(&server, &bundle).unwrap();
    assert!(store.is_whole(&bundle));
    assert_eq!(server.asked(&bundle), [Some(90_000), None]);

    let server = serve(&bundle, |_, stream, _| {
        give(stream, "416 Range Not Satisfiable", 0, b"");
    });
    let error = Store::new().fetch(&server, &bundle).unwrap_err();
    assert!(matches!(error, DownloadError::Status { status: 416, .. }), "{error}");
    assert_eq!(server.asked(&bundle), [None]);
}

/// An answer that points elsewhere, or asks for patience.
fn point(stream: &mut TcpStream, head: &str) {
    give(stream, head, 0, b"");
}

#[test]
fn another_registry_is_shown_its_own_password_and_whoever_it_points_to_sees_none() {
    let bundle = bundle();
    let mut count = 0;
    let store_of_blobs = serve(&bundle, move |asked, stream, bytes| {
        count += 1;
        give_rest(stream, bytes, asked.from, if count == 1 { 90_000 } else { LARGE });
    });
    let target = store_of_blobs.url();
    let registry = Server::start(move |asked, stream| match asked.referrers {
        true => give(stream, "404 Not Found", 0, b""),
        false => point(
            stream,
            &format!("307 Temporary Redirect\r\nlocation: {target}/cache/{}", asked.digest),
        ),
    });
    let secret = Credentials::User("mill".into(), Password::of("secret".into()));
    let store = Store::new();
    store.fetch_from(&elsewhere(registry.url(), Some(secret), None), &bundle).unwrap();
    assert!(store.is_whole(&bundle));
    // Base64 of `mill:secret`.
    assert!(
        registry.shown().iter().all(|shown| shown.as_deref() == Some("Basic bWlsbDpzZWNyZXQ="))
    );
    assert!(store_of_blobs.shown().iter().all(Option::is_none));
    assert_eq!(store_of_blobs.asked(&bundle), [None, Some(90_000)]);

    let token = Credentials::Token(Password::of("t0ken".into()));
    let direct = serve(&bundle, |_, stream, bytes| give_whole(stream, bytes));
    Store::new().fetch_from(&elsewhere(direct.url(), Some(token), None), &bundle).unwrap();
    assert!(direct.shown().iter().all(|shown| shown.as_deref() == Some("Bearer t0ken")));
    let nothing = serve(&bundle, |_, stream, bytes| give_whole(stream, bytes));
    Store::new().fetch_from(&elsewhere(nothing.url(), None, None), &bundle).unwrap();
    assert!(nothing.shown().iter().all(Option::is_none));
}

/// What was asked, and shown with it.
type Questions = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// A token service that answers each request as it is told, and what it was asked.
fn token_service(
    mut answer: impl FnMut(usize) -> (&'static str, String) + Send + 'static,
) -> (String, Questions) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let realm = format!("http://{}/token", listener.local_addr().unwrap());
    let asked = Questions::default();
    let log = asked.clone();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(&stream).lines().map(Result::unwrap);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let place = head[0].split(' ').nth(1).unwrap().to_owned();
            let shown = head.iter().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("authorization").then(|| value.to_owned())
            });
            log.lock().unwrap().push((place, shown));
            let (status, body) = answer(number);
            give(&mut stream, status, body.len(), body.as_bytes());
        }
    });
    (realm, asked)
}

#[test]
fn a_registry_that_wants_tokens_is_shown_them_and_the_service_that_it_names_the_password() {
    let bundle = bundle();
    let (realm, asked) = token_service(|number| match number {
        0 => ("200 OK", r#"{"token":"first","expires_in":60}"#.to_owned()),
        _ => ("200 OK", r#"{"access_token":"second"}"#.to_owned()),
    });
    // After the documents the first token is good no more.
    let mut all = bundle.blobs.clone();
    all.insert(bundle.release_id().digest, bundle.oci_manifest.clone());
    let (wanted, large_blob) = (realm.clone(), large(&bundle).0);
    let registry = Server::start(move |asked, stream| {
        let good = if asked.digest == large_blob { "Bearer second" } else { "Bearer first" };
        match all.get(&asked.digest) {
            _ if asked.authorization.as_deref() != Some(good) && !asked.referrers => {
                let challenge = format!(
                    "401 Unauthorized\r\nwww-authenticate: Bearer realm=\"{wanted}\",\
                     service=\"mill\",scope=\"repository:echo:pull\""
                );
                give(stream, &challenge, 0, b"");
            }
            Some(bytes) if !asked.referrers => give_whole(stream, bytes),
            _ => give(stream, "404 Not Found", 0, b""),
        }
    });
    let secret = Credentials::User("mill".into(), Password::of("secret".into()));
    let store = Store::new();
    store.fetch_from(&elsewhere(registry.url(), Some(secret), None), &bundle).unwrap();
    assert!(store.is_whole(&bundle));
    let basic = Some("Basic bWlsbDpzZWNyZXQ=".to_owned());
    let question = "/token?service=mill&scope=repository%3Aecho%3Apull".to_owned();
    assert_eq!(*asked.lock().unwrap(), vec![(question, basic); 2]);
    // Each is asked for once, and shown for as long as it is taken.
    assert_eq!(registry.asked(&bundle).len(), 2);

    // What is public needs no password, and a token all the same.
    let (realm, asked) = token_service(|_| ("200 OK", r#"{"token":"guest"}"#.to_owned()));
    let public = serve(&bundle, move |asked, stream, bytes| match asked.authorization.as_deref() {
        Some("Bearer guest") => give_whole(stream, bytes),
        _ => give(stream, &format!("401 x\r\nwww-authenticate: Bearer realm={realm}"), 0, b""),
    });
    Store::new().fetch_from(&elsewhere(public.url(), None, None), &bundle).unwrap();
    assert_eq!(*asked.lock().unwrap(), [("/token".to_owned(), None)]);
}

#[test]
fn a_token_service_that_gives_nothing_useful_is_named_and_tried_again_later() {
    let bundle = bundle();
    for (status, body, said) in [
        ("403 Forbidden", "{}".to_owned(), "it answered 403"),
        ("302 Found\r\nlocation: http://127.0.0.1:1/", String::new(), "it answered 302"),
        ("200 OK", "{}".to_owned(), "no token"),
        ("200 OK", "<html>".to_owned(), "gives no token"),
        ("200 OK", r#"{"token":"a\r\nb: c"}"#.to_owned(), "no token"),
        ("200 OK", " ".repeat(1 << 20), "gives no token"),
    ] {
        let (realm, _) = token_service(move |_| (status, body.clone()));
        let challenge = format!("401 x\r\nwww-authenticate: Bearer realm=\"{realm}\"");
        let registry = serve(&bundle, move |_, stream, _| give(stream, &challenge, 0, b""));
        let fetched = Store::new().fetch_from(&elsewhere(registry.url(), None, None), &bundle);
        let error = fetched.unwrap_err();
        assert!(matches!(&error, DownloadError::Token { .. }), "{error}");
        assert!(error.to_string().contains(said) && !error.is_final(), "{error}");
    }
    // One that is not believed with its token is asked once for each attempt.
    let (realm, asked) = token_service(|_| ("200 OK", r#"{"token":"x"}"#.to_owned()));
    let challenge = format!("401 x\r\nwww-authenticate: Bearer realm=\"{realm}\"");
    let registry = serve(&bundle, move |_, stream, _| give(stream, &challenge, 0, b""));
    let fetched = Store::new().fetch_from(&elsewhere(registry.url(), None, None), &bundle);
    let error = fetched.unwrap_err();
    assert!(matches!(error, DownloadError::Status { status: 401, .. }), "{error}");
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[test]
fn the_password_for_the_server_and_a_token_of_ones_own_are_shown_to_no_token_service() {
    let bundle = bundle();
    let (realm, asked) = token_service(|_| ("200 OK", r#"{"token":"x"}"#.to_owned()));
    let challenge = format!("401 x\r\nwww-authenticate: Bearer realm=\"{realm}\"");
    let server = serve(&bundle, move |_, stream, _| give(stream, &challenge, 0, b""));
    let token = Credentials::Token(Password::of("t0ken".into()));
    for registry in [server.registry(), elsewhere(server.url(), Some(token), None)] {
        let error = Store::new().fetch_from(&registry, &bundle).unwrap_err();
        assert!(matches!(error, DownloadError::Status { status: 401, .. }), "{error}");
    }
    // Nor does whoever the registry points to have a say in it.
    let elsewhere_url = server.url();
    let pointing = serve(&bundle, move |asked, stream, _| {
        point(stream, &format!("307 x\r\nlocation: {elsewhere_url}/cache/{}", asked.digest));
    });
    let secret = Credentials::User("mill".into(), Password::of("secret".into()));
    let registry = elsewhere(pointing.url(), Some(secret), None);
    let error = Store::new().fetch_from(&registry, &bundle).unwrap_err();
    assert!(matches!(error, DownloadError::Status { status: 401, .. }), "{error}");
    assert_eq!(*asked.lock().unwrap(), []);
}

#[test]
fn a_server_that_points_nowhere_or_in_circles_is_tried_again_later() {
    let bundle = bundle();
    for target in ["", "file:///etc/passwd", "//127.0.0.1/x", "ftp://127.0.0.1/x", "x"] {
        let server = serve(&bundle, move |_, stream, _| {
            point(stream, &format!("302 Found\r\nlocation: {target}"));
        });
        let error = Store::new().fetch(&server, &bundle).unwrap_err();
        assert!(matches!(error, DownloadError::Redirected { .. }), "{target}: {error}");
        assert!(!error.is_final());
    }
    let server = serve(&bundle, |asked, stream, _| {
        point(stream, &format!("301 Moved Permanently\r\nlocation: /again/{}", asked.digest));
    });
    let error = Store::new().fetch(&server, &bundle).unwrap_err();
    assert!(matches!(error, DownloadError::Redirected { .. }), "{error}");
    assert_eq!(server.asked(&bundle).len(), 6);
}

#[test]
fn a_server_that_asks_for_patience_gets_it_within_bounds() {
    let bundle = bundle();
    let busy = |seconds: u32| format!("429 Too Many Requests\r\nretry-after: {seconds}");
    let mut count = 0;
    let server = serve(&bundle, move |_, stream, bytes| {
        count += 1;
        match count {
            1 => point(stream, &busy(0)),
            2 => point(stream, "503 Service Unavailable\r\nretry-after: 0"),
            _ => give_whole(stream, bytes),
        }
    });
    Store::new().fetch(&server, &bundle).unwrap();
    assert_eq!(server.asked(&bundle).len(), 3);

    let server = serve(&bundle, move |_, stream, _| point(stream, &busy(0)));
    let error = Store::new().fetch(&server, &bundle).unwrap_err();
    assert!(matches!(error, DownloadError::Status { status: 429, .. }), "{error}");
    assert_eq!(server.asked(&bundle).len(), 4);

    // Nobody waits for what is no longer wanted.
    let server = serve(&bundle, move |_, stream, _| point(stream, &busy(600)));
    let (registry, store, cancelled) = (server.registry(), Store::new(), Arc::default());
    let (tell, ended) = mpsc::channel();
    let flag: Arc<AtomicBool> = Arc::clone(&cancelled);
    let wanted = bundle.clone();
    thread::spawn(move || {
        let release = wanted.release_id();
        tell.send(registry.fetch(&release, &store.blobs, &|_, _| Vec::new(), &flag)).unwrap();
    });
    wait("it was told to wait", || (!server.asked(&bundle).is_empty()).then_some(()));
    cancelled.store(true, Ordering::Relaxed);
    let error = ended.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert!(matches!(error, DownloadError::Blob(BlobError::Cancelled)), "{error}");
}

#[test]
fn a_budget_that_is_used_up_ends_the_download_and_it_goes_on_with_the_next() {
    const MIB: usize = 1 << 20;
    let bundle = bundle_of("1", noise(1, 3 * MIB));
    let server = serve(&bundle, |asked, stream, bytes| {
        give_rest(stream, bytes, asked.from, bytes.len());
    });
    let store = Store::new();
    let state = tempfile::tempdir().unwrap();
    let database = store::Store::open(state.path()).unwrap().database();
    let limits = |budget| Limits::open(None, budget, database.clone()).unwrap();
    for _ in 0..2 {
        let registry = server.registry_within(limits(Some(2 * MIB as u64)));
        let error = store.fetch_from(&registry, &bundle).unwrap_err();
        assert!(matches!(error, DownloadError::UsedUp { mib: 2 }), "{error}");
        assert!(!error.is_final());
    }
    let got = store.blobs.partial_bytes(&large(&bundle).0);
    assert!(got > MIB as u64 && got < 2 * MIB as u64, "{got} bytes, and the documents");
    assert_eq!(server.asked(&bundle).len(), 1);
    store.fetch_from(&server.registry_within(limits(None)), &bundle).unwrap();
    assert!(store.is_whole(&bundle));
    assert_eq!(server.asked(&bundle)[1], Some(usize::try_from(got).unwrap()));
}

#[test]
fn an_update_that_is_stuck_does_not_keep_the_next_one_from_arriving() {
    let (stuck, next) = (bundle_of("1", noise(1, LARGE)), bundle_of("2", noise(2, LARGE)));
    let mut all = next.blobs.clone();
    all.extend(stuck.blobs.clone());
    for bundle in [&stuck, &next] {
        all.insert(bundle.release_id().digest, bundle.oci_manifest.clone());
    }
    let slow = large(&stuck).0;
    let server = Server::start(move |asked, stream| match all.get(&asked.digest) {
        _ if asked.referrers => give(stream, "404 Not Found", 0, b""),
        Some(bytes) if asked.digest == slow => {
            let (mut stream, bytes) = (stream.try_clone().unwrap(), bytes.clone());
            // A byte a second, as long as anybody listens.
            thread::spawn(move || {
                give(&mut stream, "200 OK", bytes.len(), b"");
                for byte in bytes.chunks(1) {
                    if stream.write_all(byte).is_err() {
                        return;
                    }
                    thread::sleep(std::time::Duration::from_secs(1));
                }
            });
        }
        Some(bytes) => give_whole(stream, bytes),
        None => give(stream, "404 Not Found", 0, b""),
    });
    let (registry, store) = (server.registry(), Arc::new(Store::new()));
    let (tell, ended) = mpsc::channel();
    let cancelled: Arc<AtomicBool> = Arc::default();
    let (flag, stuck_at, there) = (cancelled.clone(), registry.clone(), store.clone());
    thread::spawn(move || {
        let release = stuck.release_id();
        tell.send(stuck_at.fetch(&release, &there.blobs, &|_, _| Vec::new(), &flag)).unwrap();
    });
    wait("some bytes trickle", || (store.blobs.partial_bytes(&slow) > 0).then_some(()));
    // Another slot's, while nobody has given up on the first.
    store.fetch_from(&registry, &next).unwrap();
    assert!(store.is_whole(&next));
    assert!(ended.try_recv().is_err(), "the first is still stuck");
    cancelled.store(true, Ordering::Relaxed);
    let error = ended.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert!(matches!(error, DownloadError::Blob(BlobError::Cancelled)), "{error}");
}

/// A server with `bundle` behind TLS, with the certificate in `kit/registry.pem`.
fn serve_tls(bundle: &BuiltBundle) -> u16 {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let [certificate, key] = ["registry.pem", "registry.key"].map(tls_file);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(certificate).unwrap()],
            PrivateKeyDer::from_pem_file(key).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    let mut all = bundle.blobs.clone();
    all.insert(bundle.release_id().digest, bundle.oci_manifest.clone());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let session = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(session, stream.unwrap());
            // A device that does not know the certificate hangs up.
            let mut byte = [0];
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            let Some(asked) = read(&head[..]) else { continue };
            let found = all.get(&asked.digest).filter(|_| !asked.referrers);
            let (status, bytes) =
                found.map_or(("404 Not Found", &b""[..]), |bytes| ("200 OK", &bytes[..]));
            let size = bytes.len();
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(bytes).unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        }
    });
    port
}

fn tls_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/kit").join(name)
}

#[test]
fn a_registry_behind_tls_is_believed_by_its_certificate_and_no_other() {
    let bundle = bundle();
    let port = serve_tls(&bundle);
    let from = |host: &str, ca: Option<PathBuf>| {
        let registry = elsewhere(format!("https://{host}:{port}"), None, ca);
        let store = Store::new();
        store.fetch_from(&registry, &bundle).map(|_| store.is_whole(&bundle))
    };
    let ca = Some(tls_file("registry.pem"));
    assert!(from("127.0.0.1", ca.clone()).unwrap());
    let unreachable = |error: DownloadError| matches!(error, DownloadError::Unreachable { .. });
    assert!(unreachable(from("127.0.0.1", Some(tls_file("other.pem"))).unwrap_err()));
    assert!(unreachable(from("localhost", ca).unwrap_err()), "that is not its name");
    let nowhere = from("127.0.0.1", Some(PathBuf::from("nowhere.pem"))).unwrap_err();
    assert!(nowhere.to_string().contains("nowhere.pem"), "{nowhere}");
}
