//! Fetching releases from a server that misbehaves: a small one that answers as each test tells it.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod kit;

use kit::{PATIENCE, Vendor, echo, wait};
use lineside_agent::fleet::Device;
use lineside_agent::update::blobs::{BlobError, Blobs};
use lineside_agent::update::download::{DownloadError, Registry};
use lineside_agent::update::parcel;
use lineside_agent::update::preflight::Objection;
use lineside_bundle::{BuiltBundle, Descriptor, Digest, Manifest, OciManifest};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

/// Size of the blob that is worth fetching in parts.
const LARGE: usize = 200_000;

/// What was asked: for which blob, and from which byte on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    digest: Digest,
    from: Option<usize>,
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
        let large = large(bundle).0;
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.digest == large).map(|asked| asked.from).collect()
    }

    fn registry(&self) -> Registry {
        let device = kit::Device::new(&Vendor::new(), 0);
        let device = Device::read(&device.folder.path().join("device")).unwrap();
        Registry::of(&Device { server_http: format!("http://127.0.0.1:{}", self.port), ..device })
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.unwrap();
    let path = first.split(' ').nth(1).unwrap().to_owned();
    let mut from = None;
    for line in lines {
        let line = line.unwrap().to_ascii_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = Some(range.trim_end_matches('-').parse().unwrap());
        }
        if line.is_empty() {
            break;
        }
    }
    let digest = path.rsplit('/').next().unwrap().parse().unwrap();
    Some(Asked { digest, from })
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

/// A bundle with a large blob beside its manifest.
fn bundle() -> BuiltBundle {
    let mut bundle = echo("1", "");
    let bytes: Vec<u8> = (0..LARGE).map(|at| (at * 7 + at / 251) as u8).collect();
    let digest = Digest::of(&bytes);
    let mut oci = OciManifest::parse(&bundle.oci_manifest).unwrap();
    oci.layers.push(Descriptor {
        media_type: "application/octet-stream".into(),
        digest,
        size: bytes.len() as u64,
        annotations: BTreeMap::new(),
    });
    bundle.oci_manifest = serde_json::to_vec(&oci).unwrap();
    bundle.blobs.insert(digest, bytes);
    bundle
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
        Some(bytes) if asked.digest == large => answer(asked, stream, bytes),
        Some(bytes) => give_whole(stream, bytes),
        None => give(stream, "404 Not Found", 0, b""),
    })
}

struct Store {
    _folder: tempfile::TempDir,
    blobs: Blobs,
}

impl Store {
    fn new() -> Store {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        Store { _folder: folder, blobs }
    }

    fn fetch(&self, server: &Server, bundle: &BuiltBundle) -> Result<(), DownloadError> {
        self.fetch_if(server, bundle, &|_, _| Vec::new())
    }

    fn fetch_if(
        &self,
        server: &Server,
        bundle: &BuiltBundle,
        preflight: &dyn Fn(&OciManifest, &Manifest) -> Vec<Objection>,
    ) -> Result<(), DownloadError> {
        let (release, wanted) = (bundle.release_id(), AtomicBool::new(false));
        server.registry().fetch(&release, &self.blobs, preflight, &wanted)
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
