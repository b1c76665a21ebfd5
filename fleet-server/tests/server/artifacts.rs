//! Artifacts in and out.

use crate::running::{As, PATIENCE, Running};
use crate::signers::{Artifact, Signers, artifact};
use lineside_bundle::Digest;
use serde_json::json;
use std::time::{Duration, Instant};

#[test]
fn what_was_pushed_is_read_back_by_tag_and_digest_whole_and_in_parts() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let device = As::Device("line-3", &password);
    Signers::enrolled(&server).release(&server, "1");
    server.assign("line-3", "turbine", "turbine/1");
    let artifact = artifact("turbine", "1");
    for reference in ["1".to_owned(), artifact.id.digest.to_string()] {
        let reply = server.ask("GET", &format!("/v2/turbine/manifests/{reference}"), device, b"");
        assert_eq!((reply.status, &reply.body), (200, &artifact.manifest));
        assert_eq!(reply.header("docker-content-digest"), artifact.id.digest.to_string());
    }
    let model = &artifact.blobs[1];
    let path = format!("/v2/turbine/blobs/{}", Digest::of(model));
    let whole = server.ask("GET", &path, device, b"");
    assert_eq!((whole.status, &whole.body), (200, model));
    assert_eq!(whole.header("accept-ranges"), "bytes");
    let head = server.ask("HEAD", &path, device, b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), model.len().to_string());

    let part = |range: &str| server.ask_with("GET", &path, device, &[("range", range)], b"");
    let size = model.len();
    for (range, from, to) in [
        ("bytes=0-9".to_owned(), 0, 10),
        ("bytes=100-".to_owned(), 100, size),
        ("bytes=-7".to_owned(), size - 7, size),
        (format!("bytes=5-{}", size * 2), 5, size),
    ] {
        let reply = part(&range);
        assert_eq!((reply.status, reply.body.as_slice()), (206, &model[from..to]), "{range}");
        let expected = format!("bytes {from}-{}/{size}", to - 1);
        assert_eq!(reply.header("content-range"), expected);
    }
    let beyond = part(&format!("bytes={size}-"));
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("content-range"), format!("bytes */{size}"));
}

#[test]
fn a_device_reads_what_is_assigned_to_it_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let signers = Signers::enrolled(&server);
    let (own, other) = (artifact("turbine", "1"), artifact("turbine", "2"));
    signers.release(&server, "1");
    signers.release(&server, "2");
    let status = |artifact: &Artifact| -> Vec<u16> {
        let manifest = artifact.id.digest.to_string();
        let layer = Digest::of(&artifact.blobs[1]).to_string();
        let paths = [
            format!("/v2/turbine/manifests/{}", artifact.id.version),
            format!("/v2/turbine/manifests/{manifest}"),
            // The list of releases tells every device the digest of every manifest.
            format!("/v2/turbine/blobs/{manifest}"),
            format!("/v2/turbine/blobs/{layer}"),
            format!("/v2/ecg/blobs/{layer}"),
            // What is not here at all is refused alike.
            "/v2/turbine/manifests/none".into(),
            format!("/v2/turbine/blobs/{}", Digest::of(b"none")),
        ];
        let device = As::Device("line-3", &password);
        paths.iter().map(|path| server.ask("GET", path, device, b"").status).collect()
    };
    assert_eq!(status(&own), [403; 7], "nothing is assigned yet");
    server.assign("line-3", "turbine", "turbine/1");
    assert_eq!(status(&own), [200, 200, 200, 200, 403, 403, 403]);
    assert_eq!(status(&other), [403; 7]);
    server.assign("line-3", "turbine", "turbine/2");
    assert_eq!(status(&other), [200, 200, 200, 200, 403, 403, 403]);
    // It may still run the first, and need it again.
    assert_eq!(status(&own), [200, 200, 200, 200, 403, 403, 403]);
}

#[test]
fn a_piece_that_is_sent_twice_is_not_added_twice() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let begun = server.ask("POST", "/v2/turbine/blobs/uploads/", As::Administrator, b"");
    let upload = begun.header("location").to_owned();
    let send = |method: &str, query: &str, range: &str, body: &[u8]| {
        let path = format!("{upload}{query}");
        server.ask_with(method, &path, As::Administrator, &[("content-range", range)], body)
    };
    assert_eq!(send("PATCH", "", "0-3", b"one ").status, 202);
    for range in ["0-3", "3-6", "5-8"] {
        let refused = send("PATCH", "", range, b"one ");
        assert_eq!((refused.status, refused.header("range")), (416, "0-3"), "{range}");
        assert!(refused.error(416).contains("4 bytes"));
    }
    for range in ["", "x", "4", "7-4", "bytes 4-7/8"] {
        assert!(send("PATCH", "", range, b"two ").error(400).contains("Content-Range"), "{range}");
    }
    let progress = server.get(&upload);
    assert_eq!((progress.status, progress.header("range")), (204, "0-3"));
    assert_eq!(send("PATCH", "", "4-7", b"two ").header("range"), "0-7");
    let digest = Digest::of(b"one two three");
    let query = format!("?digest={digest}");
    assert_eq!(send("PUT", &query, "0-4", b"three").status, 416);
    assert_eq!(send("PUT", &query, "8-12", b"three").status, 201);
}

#[test]
fn bytes_of_another_digest_are_refused_and_not_kept() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let promised = Digest::of(b"right");
    let path = format!("/v2/turbine/blobs/uploads/?digest={promised}");
    let error = server.ask("POST", &path, As::Administrator, b"wrong").error(422);
    assert!(error.contains(&promised.to_string()), "{error}");
    assert!(error.contains(&Digest::of(b"wrong").to_string()), "{error}");
    let missing = server.get(&format!("/v2/turbine/blobs/{promised}")).error(404);
    assert!(missing.contains("no blob"), "{missing}");
    for folder in ["uploads", "blobs/sha256"] {
        assert_eq!(std::fs::read_dir(data.path().join(folder)).unwrap().count(), 0, "{folder}");
    }
    for digest in ["sha512:x", "sha256:../../admin.token", "x"] {
        let digest = digest.replace('/', "%2F");
        assert_eq!(server.get(&format!("/v2/turbine/blobs/{digest}")).status, 400, "{digest}");
    }
}

#[test]
fn a_blob_that_has_rotted_on_the_servers_disk_is_given_up_and_can_be_pushed_again() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let artifact = artifact("turbine", "1");
    artifact.push(&server);
    server.kill();
    let digest = Digest::of(&artifact.blobs[1]);
    let file = data.path().join("blobs/sha256").join(digest.hex());
    let mut rotten = artifact.blobs[1].clone();
    rotten[7] ^= 1;
    std::fs::write(&file, rotten).unwrap();

    let server = Running::start(data.path());
    let place = format!("/v2/turbine/blobs/{digest}");
    let since = Instant::now();
    while server.ask("HEAD", &place, As::Administrator, b"").status != 404 {
        assert!(since.elapsed() < PATIENCE, "it is still offered");
        std::thread::sleep(Duration::from_millis(20));
    }
    let health = server.wait_for("/api/v1/health", |health| health["status"] != "ok");
    assert_eq!(
        health["attention"],
        json!(["turbine:1 is not whole here (files missing or rotten: 1): push it again, as \
             `lineside release` does"])
    );
    artifact.push(&server);
    assert_eq!(server.get(&place).body, artifact.blobs[1]);
    assert_eq!(server.get("/api/v1/health").json()["attention"], json!([]));
}

#[test]
fn a_blob_may_come_in_pieces() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let ask = |method, path: &str, body| server.ask(method, path, As::Administrator, body);
    let begun = ask("POST", "/v2/turbine/blobs/uploads/", b"");
    assert_eq!(begun.status, 202);
    let upload = begun.header("location").to_owned();
    let first = ask("PATCH", &upload, b"one ");
    assert_eq!((first.status, first.header("range")), (202, "0-3"));
    assert_eq!(ask("PATCH", &upload, b"two ").header("range"), "0-7");
    let digest = Digest::of(b"one two three");
    let ended = ask("PUT", &format!("{upload}?digest={digest}"), b"three");
    assert_eq!(ended.status, 201, "{}", ended.text());
    assert_eq!(server.get(ended.header("location")).body, b"one two three");
    assert!(ask("PATCH", &upload, b"more").error(404).contains("begin it again"));

    let begun = ask("POST", "/v2/turbine/blobs/uploads/", b"");
    assert_eq!(ask("DELETE", begun.header("location"), b"").status, 204);
    assert_eq!(ask("DELETE", begun.header("location"), b"").status, 404);
}

#[test]
fn a_manifest_without_its_blobs_is_refused_by_the_blob_that_is_missing() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let artifact = artifact("turbine", "1");
    assert_eq!(artifact.push_blob(&server, 0).status, 201);
    let error = artifact.push_manifest(&server, "1").error(422);
    assert!(error.contains(&Digest::of(&artifact.blobs[1]).to_string()), "{error}");
    assert_eq!(artifact.push_blob(&server, 1).status, 201);
    let other = Digest::of(b"other").to_string();
    let error = artifact.push_manifest(&server, &other).error(422);
    assert!(error.contains(&other), "{error}");
    assert_eq!(artifact.push_manifest(&server, "1").status, 201);
    assert_eq!(server.get("/v2/turbine/manifests/2").status, 404);
    assert_eq!(server.get("/v2/other/manifests/1").status, 404);
}
