//! The server as tools of the OCI distribution specification see it.

use crate::running::{As, Running};
use crate::signers::{Artifact, Signers, artifact};
use lineside_bundle::{Digest, MANIFEST_TYPE};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Writes an artifact as an OCI image layout, as tools keep them on disk.
fn write_layout(artifact: &Artifact, folder: &Path) {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    for bytes in artifact.blobs.iter().chain([&artifact.manifest]) {
        fs::write(blobs.join(Digest::of(bytes).hex()), bytes).unwrap();
    }
    let index = json!({ "schemaVersion": 2, "manifests": [{
        "mediaType": MANIFEST_TYPE,
        "digest": artifact.id.digest,
        "size": artifact.id.size,
        "annotations": { "org.opencontainers.image.ref.name": artifact.id.version },
    }] });
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

fn skopeo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("skopeo").args(arguments).output();
    let output = output.expect("skopeo is installed by cargo xtask test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn skopeo_pushes_a_bundle_and_pulls_the_same() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let artifact = artifact("turbine", "1");
    let folder = tempfile::tempdir().unwrap();
    let (here, back) = (folder.path().join("here"), folder.path().join("back"));
    write_layout(&artifact, &here);
    let at_server = format!("docker://{}/turbine:1", server.http.trim_start_matches("http://"));
    let credentials = format!("admin:{}", server.token);
    let layout = |folder: &Path| format!("oci:{}:1", folder.display());
    let to = ["--dest-tls-verify=false", "--dest-creds", &credentials];
    let push = ["copy", "--quiet", &layout(&here), &at_server];
    skopeo(&[&push[..], &to].concat());
    let pushed = server.get("/v2/turbine/manifests/1");
    assert_eq!((pushed.status, &pushed.body), (200, &artifact.manifest));
    // Once more, when everything is there.
    skopeo(&[&push[..], &to].concat());

    let from = ["--src-tls-verify=false", "--src-creds", &credentials];
    skopeo(&[&["copy", "--quiet", &at_server, &layout(&back)], &from[..]].concat());
    let inspect = ["inspect", "--raw", "--tls-verify=false", "--creds", &credentials, &at_server];
    assert_eq!(skopeo(&inspect), artifact.manifest);
    for bytes in artifact.blobs.iter().chain([&artifact.manifest]) {
        let path = back.join("blobs/sha256").join(Digest::of(bytes).hex());
        assert_eq!(&fs::read(path).unwrap(), bytes);
    }
    let tags = ["list-tags", "--tls-verify=false", "--creds", &credentials];
    let all = at_server.trim_end_matches(":1");
    let listed: serde_json::Value =
        serde_json::from_slice(&skopeo(&[&tags[..], &[all]].concat())).unwrap();
    assert_eq!(listed["Tags"], json!(["1"]));
    skopeo(&["delete", "--tls-verify=false", "--creds", &credentials, &at_server]);
    assert_eq!(server.get("/v2/turbine/manifests/1").status, 404);
}

#[test]
fn tags_are_listed_in_order_and_in_parts() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    assert!(server.get("/v2/turbine/tags/list").error(404).contains("turbine"));
    for version in ["3", "1", "2"] {
        artifact("turbine", version).push(&server);
    }
    artifact("ecg", "9").push(&server);
    for (query, tags, link) in [
        ("", json!(["1", "2", "3"]), ""),
        ("?n=2", json!(["1", "2"]), "</v2/turbine/tags/list?n=2&last=2>; rel=\"next\""),
        ("?n=2&last=2", json!(["3"]), ""),
        ("?last=3", json!([]), ""),
        ("?n=0", json!([]), ""),
    ] {
        let reply = server.get(&format!("/v2/turbine/tags/list{query}"));
        let expected = json!({ "name": "turbine", "tags": tags });
        assert_eq!((reply.json(), reply.header("link")), (expected, link), "{query}");
    }
}

#[test]
fn a_blob_that_is_here_is_not_sent_again_for_another_name() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let artifact = artifact("turbine", "1");
    artifact.push(&server);
    let mount = |digest: Digest| {
        let path = format!("/v2/ecg/blobs/uploads/?mount={digest}&from=turbine");
        server.ask("POST", &path, As::Administrator, b"")
    };
    let digest = Digest::of(&artifact.blobs[1]);
    let mounted = mount(digest);
    assert_eq!(mounted.status, 201);
    assert_eq!(mounted.header("location"), format!("/v2/ecg/blobs/{digest}"));
    let begun = mount(Digest::of(b"nowhere"));
    assert_eq!(begun.status, 202);
    assert!(begun.header("location").starts_with("/v2/ecg/blobs/uploads/"));
}

#[test]
fn a_manifest_that_is_not_released_can_be_taken_away() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    let released = signers.release(&server, "1");
    let other = artifact("turbine", "2");
    other.push(&server);
    let delete = |reference: &str| {
        let path = format!("/v2/turbine/manifests/{reference}");
        server.ask("DELETE", &path, As::Administrator, b"")
    };
    let refused = delete(&released.digest.to_string());
    assert!(
        refused.error(409).contains("lineside release withdraw turbine/1"),
        "{}",
        refused.text()
    );
    assert_eq!(delete(&other.id.digest.to_string()).status, 202);
    for reference in ["2".to_owned(), other.id.digest.to_string()] {
        assert_eq!(server.get(&format!("/v2/turbine/manifests/{reference}")).status, 404);
        assert_eq!(delete(&reference).status, 404);
    }
    // Without its tag a release is still there.
    assert_eq!(delete("1").status, 202);
    let path = format!("/v2/turbine/manifests/{}", released.digest);
    assert_eq!(server.get(&path).status, 200);
    // Blobs go by themselves.
    let blob = format!("/v2/turbine/blobs/{}", Digest::of(&other.blobs[1]));
    assert_eq!(server.ask("DELETE", &blob, As::Administrator, b"").status, 405);
}

#[test]
fn the_version_of_a_release_is_a_tag_that_means_what_was_signed() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    let (signed, other) = (artifact("turbine", "1"), artifact("turbine", "2"));
    signed.push(&server);
    other.push(&server);
    assert_eq!(other.push_manifest(&server, "1").status, 201, "nothing is released yet");
    let list = signers.releases(&server, std::slice::from_ref(&signed.id), &[&signers.release]);
    assert_eq!(server.put("/api/v1/releases", &list).status, 200);
    let tag = || server.get("/v2/turbine/manifests/1");
    assert_eq!(tag().body, signed.manifest);
    let refused = other.push_manifest(&server, "1").error(409);
    let told = format!("turbine/1 is released as {}", signed.id.digest);
    assert!(refused.contains(&told), "{refused}");
    assert_eq!(tag().body, signed.manifest);
    // The same again, and by another tag or none, may come at any time.
    assert_eq!(signed.push_manifest(&server, "1").status, 201);
    for reference in ["2", "next", &other.id.digest.to_string()] {
        assert_eq!(other.push_manifest(&server, reference).status, 201, "{reference}");
    }
    let tags = server.get("/v2/turbine/tags/list").json();
    assert_eq!(tags["tags"], json!(["1", "2", "next"]));
}

#[test]
fn oci_tools_are_told_what_is_wrong_in_their_own_words() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let digest = Digest::of(b"nowhere");
    let wrong_blob = format!("/v2/turbine/blobs/uploads/?digest={digest}");
    for (method, path, who, status, code) in [
        ("GET", "/v2/".to_owned(), As::Nobody, 401, "UNAUTHORIZED"),
        ("GET", "/v2/turbine/manifests/1".to_owned(), As::Administrator, 404, "MANIFEST_UNKNOWN"),
        ("GET", format!("/v2/turbine/blobs/{digest}"), As::Administrator, 404, "BLOB_UNKNOWN"),
        (
            "PATCH",
            "/v2/turbine/blobs/uploads/x".into(),
            As::Administrator,
            404,
            "BLOB_UPLOAD_UNKNOWN",
        ),
        ("GET", "/v2/turbine/tags/list".to_owned(), As::Administrator, 404, "NAME_UNKNOWN"),
        ("PUT", "/v2/turbine/manifests/1".to_owned(), As::Administrator, 400, "MANIFEST_INVALID"),
        ("POST", wrong_blob, As::Administrator, 422, "DIGEST_INVALID"),
        ("POST", "/v2/turbine/manifests/1".to_owned(), As::Administrator, 405, "UNSUPPORTED"),
    ] {
        let reply = server.ask(method, &path, who, b"x");
        assert_eq!(reply.status, status, "{method} {path}");
        let told = &reply.json()["errors"][0];
        assert_eq!(told["code"], code, "{method} {path}");
        assert_eq!(told["message"], reply.json()["error"], "{method} {path}");
    }
    let elsewhere = server.ask("GET", "/api/v1/devices/x", As::Administrator, b"");
    assert_eq!(elsewhere.json()["errors"], json!(null));
}

#[test]
fn a_repository_that_is_none_is_refused_by_name() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    for name in ["..%2f..%2fx", "a%0d%0aX-Evil:%201", "%20", "Turbine", &"t".repeat(300)] {
        let path = format!("/v2/{name}/blobs/uploads/");
        let reply = server.ask("POST", &path, As::Administrator, b"");
        assert_eq!(reply.status, 400, "{name}: {}", reply.text());
        assert_eq!(reply.header("location"), "");
    }
    let begun = server.ask("POST", "/v2/turbine/blobs/uploads/", As::Administrator, b"");
    assert_eq!(begun.status, 202);
    let other = begun.header("location").replace("/turbine/", "/..%2fx/");
    assert_eq!(server.ask("PATCH", &other, As::Administrator, b"x").status, 400);
}
