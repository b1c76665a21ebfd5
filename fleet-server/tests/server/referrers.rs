//! What refers to a manifest, and the deltas that the server makes.

use crate::running::{As, Reply, Running};
use crate::signers::{Artifact, Signers, artifact};
use lineside_bundle::referrer::{
    DELTA_BASE, DELTA_FROM, DELTA_TARGET, DELTA_TYPE, EMPTY, INDEX_TYPE, Referrer, Referrers,
};
use lineside_bundle::{Digest, MANIFEST_TYPE};

const DELTAS: &str = "?artifactType=application/vnd.lineside.delta.v1";

fn path(about: &Digest) -> String {
    format!("/v2/turbine/referrers/{about}")
}

fn list(server: &Running, path: &str) -> Referrers {
    serde_json::from_slice(&server.get(path).body).unwrap()
}

/// Waits until deltas have been made to a release, and gives their list.
fn deltas(server: &Running, to: &Artifact, count: usize) -> Referrers {
    let path = format!("{}{DELTAS}", path(&to.id.digest));
    server.wait_for(&path, |index| index["manifests"].as_array().unwrap().len() == count);
    list(server, &path)
}

fn push(server: &Running, reference: &str, manifest: &[u8]) -> Reply {
    let path = format!("/v2/turbine/manifests/{reference}");
    server.ask_with("PUT", &path, As::Administrator, &[("content-type", MANIFEST_TYPE)], manifest)
}

/// Pushes something about a release that is no delta.
fn push_note(server: &Running, about: &Artifact, text: &str) -> Reply {
    let digest = Digest::of(EMPTY);
    let upload = format!("/v2/turbine/blobs/uploads/?digest={digest}");
    assert_eq!(server.ask("POST", &upload, As::Administrator, EMPTY).status, 201);
    let mut note = Referrer::delta(&about.id, &about.id, Vec::new());
    note.artifact_type = "application/vnd.example.note".into();
    note.annotations.insert("text".into(), text.into());
    let note = serde_json::to_vec(&note).unwrap();
    push(server, &Digest::of(&note).to_string(), &note)
}

#[test]
fn what_refers_to_a_manifest_is_listed_whether_or_not_that_is_here() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let about = artifact("turbine", "1");
    let path = path(&about.id.digest);
    let nothing = server.get(&path);
    assert_eq!((nothing.status, nothing.header("content-type")), (200, INDEX_TYPE));
    assert_eq!(list(&server, &path).manifests, []);

    let pushed = push_note(&server, &about, "seen in the mill");
    assert_eq!(pushed.status, 201, "{}", pushed.text());
    assert_eq!(pushed.header("oci-subject"), about.id.digest.to_string());
    let listed = list(&server, &path).manifests;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].artifact_type, "application/vnd.example.note");
    assert_eq!(listed[0].annotations["text"], "seen in the mill");
    assert_eq!(listed[0].digest.to_string(), pushed.header("docker-content-digest"));
    let bytes = server.get(&format!("/v2/turbine/manifests/{}", listed[0].digest)).body;
    assert_eq!(bytes.len() as u64, listed[0].size);

    // With a tag as well it is still one.
    assert_eq!(push(&server, "note", &bytes).status, 201);
    assert_eq!(list(&server, &path).manifests.len(), 1);
    let filtered = server.get(&format!("{path}{DELTAS}"));
    assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    assert_eq!(filtered.json()["manifests"].as_array().unwrap().len(), 0);
    let of_its_type = format!("{path}?artifactType=application/vnd.example.note");
    assert_eq!(list(&server, &of_its_type).manifests, listed);
    // A bundle refers to nothing, and says so.
    about.push(&server);
    assert_eq!(about.push_manifest(&server, "1").header("oci-subject"), "");
    assert_eq!(list(&server, &path).manifests, listed);
    server.get("/v2/turbine/referrers/x").error(400);
}

#[test]
fn what_refers_to_something_needs_its_own_blobs_and_there_may_not_be_too_many() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let about = artifact("turbine", "1");
    let delta = serde_json::to_vec(&Referrer::delta(&about.id, &about.id, Vec::new())).unwrap();
    let refused = push(&server, "note", &delta).error(422);
    assert!(refused.contains(&Digest::of(EMPTY).to_string()), "{refused}");
    for nonsense in [&b"{\"subject\":{}}"[..], b"{\"subject\":1,\"schemaVersion\":2}"] {
        push(&server, "note", nonsense).error(422);
    }
    for number in 0..64 {
        assert_eq!(push_note(&server, &about, &number.to_string()).status, 201);
    }
    let refused = push_note(&server, &about, "one too many").error(413);
    assert!(refused.contains("at most 64"), "{refused}");
    // The same again takes no more room.
    assert_eq!(push_note(&server, &about, "0").status, 201);
}

#[test]
fn a_delta_to_each_new_release_makes_its_model_out_of_earlier_ones() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let device = As::Device("line-3", &password);
    let signers = Signers::enrolled(&server);
    let all = ["1", "2", "3", "4", "5"].map(|version| {
        signers.release(&server, version);
        artifact("turbine", version)
    });
    let [first, .., fourth, newest] = &all;
    let deltas_to_newest = deltas(&server, newest, 3);
    assert_eq!(list(&server, &path(&first.id.digest)).manifests, []);
    // From the three before it, and not from the first.
    let from = |artifact: &Artifact| {
        let from = artifact.id.digest.to_string();
        deltas_to_newest.manifests.iter().find(|one| one.annotations[DELTA_FROM] == from)
    };
    assert!(from(first).is_none());
    assert!(all[1..4].iter().all(|base| from(base).is_some()));
    let listed = from(fourth).unwrap();
    assert_eq!(listed.artifact_type, DELTA_TYPE);

    // Until it is assigned, it is none of the device's business.
    let manifest = format!("/v2/turbine/manifests/{}", listed.digest);
    let places = [path(&newest.id.digest), manifest.clone()];
    for place in &places {
        server.ask("GET", place, device, b"").error(403);
    }
    server.assign("line-3", "turbine", "turbine/5");
    // A delta tells of the release that it is made from as well, and that was never assigned to it.
    let opened = |digest: &Digest| {
        let delta = server.get(&format!("/v2/turbine/manifests/{digest}"));
        let recipe = Referrer::parse(&delta.body).unwrap().layers[0].digest;
        let places = [
            format!("/v2/turbine/manifests/{digest}"),
            format!("/v2/turbine/blobs/{digest}"),
            format!("/v2/turbine/blobs/{recipe}"),
        ];
        places.map(|place| server.ask("GET", &place, device, b"").status)
    };
    let listed_to_it = || -> Vec<Digest> {
        let bytes = server.ask("GET", &path(&newest.id.digest), device, b"").body;
        let referrers: Referrers = serde_json::from_slice(&bytes).unwrap();
        referrers.manifests.into_iter().map(|one| one.digest).collect()
    };
    assert_eq!(listed_to_it(), []);
    for delta in &deltas_to_newest.manifests {
        assert_eq!(opened(&delta.digest), [403; 3]);
    }
    server.assign("line-3", "turbine", "turbine/4");
    server.assign("line-3", "turbine", "turbine/5");
    assert_eq!(listed_to_it(), [listed.digest]);
    for delta in &deltas_to_newest.manifests {
        let expected = if delta.digest == listed.digest { 200 } else { 403 };
        // These models are so alike that their recipes may be the same bytes.
        assert_eq!(opened(&delta.digest)[..2], [expected; 2]);
    }
    assert_eq!(opened(&listed.digest), [200; 3]);
    let delta = Referrer::parse(&server.ask("GET", &manifest, device, b"").body).unwrap();
    assert_eq!(delta.subject.digest, newest.id.digest);
    let recipe = &delta.layers[0];
    let [base, target] = [fourth, newest].map(|artifact| &artifact.blobs[1]);
    assert_eq!(recipe.annotations[DELTA_BASE], Digest::of(base).to_string());
    assert_eq!(recipe.annotations[DELTA_TARGET], Digest::of(target).to_string());
    let blob = format!("/v2/turbine/blobs/{}", recipe.digest);
    let bytes = server.ask("GET", &blob, device, b"").body;
    assert!(bytes.len() * 10 < target.len(), "{} bytes", bytes.len());
    let mut made = Vec::new();
    lineside_delta::apply(&base[..], &bytes[..], target.len() as u64, &mut made).unwrap();
    assert_eq!(&made, target);
    // Those to the one before it are made from what was never assigned to it, either.
    let other = deltas(&server, fourth, 3).manifests[0].digest;
    server.ask("GET", &format!("/v2/turbine/manifests/{other}"), device, b"").error(403);
}

#[test]
fn a_device_that_is_assigned_a_release_at_once_finds_the_delta_to_it() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let signers = Signers::enrolled(&server);
    signers.release(&server, "1");
    server.assign("line-3", "turbine", "turbine/1");
    let newest = signers.release(&server, "2");
    server.assign("line-3", "turbine", "turbine/2");
    let place = format!("{}{DELTAS}", path(&newest.digest));
    let reply = server.ask("GET", &place, As::Device("line-3", &password), b"");
    // On a machine that is slow enough it is told to ask again, which it does.
    let told = (reply.status, reply.header("retry-after"));
    match told {
        (503, "30") => assert!(reply.text().contains("being made"), "{}", reply.text()),
        _ => assert_eq!(reply.json()["manifests"].as_array().unwrap().len(), 1, "{told:?}"),
    }
}

#[test]
fn a_delta_that_a_power_cut_kept_from_being_made_is_made_at_the_next_start() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    signers.release(&server, "1");
    signers.release(&server, "2");
    server.kill();
    let server = Running::start(data.path());
    deltas(&server, &artifact("turbine", "2"), 1);
}
