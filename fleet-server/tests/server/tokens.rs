//! Tokens of those to whom the release keys have delegated: what they open, and above all what not.

use crate::running::{As, Reply, Running};
use crate::signers::{Artifact, Signers, artifact, in_a_year, key};
use crate::tuf::delegate;
use lineside_bundle::referrer::{EMPTY, Referrer, recipe};
use lineside_bundle::{Digest, MANIFEST_TYPE, OciManifest, ReleaseId, VERSION};
use lineside_trust::{Delegation, KeyPair, ReleasesDraft, TargetsSpec, sign_root, sign_targets};
use serde_json::json;
use std::collections::BTreeMap;
use tempfile::TempDir;

/// A server with a vendor who has a token, others who have signed too, and releases that are not his.
struct Scene {
    server: Running,
    signers: Signers,
    vendor: KeyPair,
    site: KeyPair,
    token: String,
    data: TempDir,
}

impl Scene {
    fn new() -> Scene {
        let data = tempfile::tempdir().unwrap();
        let server = Running::start(data.path());
        let signers = Signers::enrolled(&server);
        signers.release(&server, "1");
        let (vendor, site) = (key(), key());
        let mut scene = Scene { server, signers, vendor, site, token: String::new(), data };
        scene.delegate(&["acme", "other", "site-hill"]);
        scene.token = scene.make("acme");
        scene
    }

    /// Lets these sign, of all that there are here, each its own paths.
    fn delegate(&self, names: &[&str]) {
        let roles = [
            ("acme", &self.vendor, "pump/*"),
            ("other", &self.site, "valve/*"),
            ("beside", &self.site, "pump/*"),
            ("turbine", &self.site, "fan/*"),
            ("site-hill", &self.site, "site/hill/*"),
        ];
        let roles: Vec<_> = roles.into_iter().filter(|(name, ..)| names.contains(name)).collect();
        delegate(&self.server, &self.signers, &roles);
    }

    fn make(&self, role: &str) -> String {
        let path = format!("/api/v1/tokens/{role}");
        let reply = self.server.ask("POST", &path, As::Administrator, b"");
        assert_eq!(reply.status, 201, "{}", reply.text());
        reply.json()["token"].as_str().unwrap().to_owned()
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        self.ask_by(&self.token, method, path, body)
    }

    fn ask_by(&self, token: &str, method: &str, path: &str, body: &[u8]) -> Reply {
        let kind = if path.contains("/manifests/") { MANIFEST_TYPE } else { "application/json" };
        self.server.ask_with(method, path, As::Token(token), &[("content-type", kind)], body)
    }

    fn push_blob(&self, name: &str, bytes: &[u8]) -> u16 {
        let path = format!("/v2/{name}/blobs/uploads/?digest={}", Digest::of(bytes));
        self.ask("POST", &path, bytes).status
    }

    fn push(&self, artifact: &Artifact) {
        let name = &artifact.id.name;
        for blob in &artifact.blobs {
            assert_eq!(self.push_blob(name.as_str(), blob), 201);
        }
        let path = format!("/v2/{name}/manifests/{}", artifact.id.version);
        let reply = self.ask("PUT", &path, &artifact.manifest);
        assert_eq!(reply.status, 201, "{}", reply.text());
    }

    fn list(&self, artifacts: &[&Artifact]) -> Vec<u8> {
        let mut draft = ReleasesDraft::after(None);
        artifacts.iter().for_each(|one| drop(draft.add(one.id.clone(), None).unwrap()));
        draft.sign(in_a_year(), &[&self.vendor])
    }
}

/// Something that refers to a bundle.
fn about(artifact: &Artifact) -> Vec<u8> {
    let mut note = Referrer::delta(&artifact.id, &artifact.id, Vec::new());
    note.artifact_type = "application/vnd.example.note".into();
    serde_json::to_vec(&note).unwrap()
}

#[test]
fn a_vendor_publishes_by_his_own_token_from_the_first_blob_to_his_list() {
    let scene = Scene::new();
    let pump = artifact("pump", "1");
    assert_eq!(scene.ask("GET", "/v2/", b"").status, 200);
    assert_eq!(scene.ask("GET", "/api/v1/root", b"").status, 200);
    assert_eq!(scene.ask("GET", "/api/v1/releases", b"").status, 200);
    assert_eq!(scene.ask("GET", "/api/v1/targets/acme", b"").status, 404, "nothing yet");
    let blob = format!("/v2/pump/blobs/{}", Digest::of(&pump.blobs[1]));
    assert_eq!(scene.ask("HEAD", &blob, b"").status, 404);

    // In pieces, as tools do.
    let begun = scene.ask("POST", "/v2/pump/blobs/uploads/", b"");
    assert_eq!(begun.status, 202);
    let upload = begun.header("location").to_owned();
    assert_eq!(scene.ask("PATCH", &upload, &pump.blobs[1]).status, 202);
    assert_eq!(scene.ask("GET", &upload, b"").status, 204);
    let end = format!("{upload}?digest={}", Digest::of(&pump.blobs[1]));
    assert_eq!(scene.ask("PUT", &end, b"").status, 201);
    assert_eq!(scene.ask("HEAD", &blob, b"").status, 200, "he has brought it");
    scene.push(&pump);
    let manifest = format!("/v2/pump/manifests/{}", pump.id.digest);
    assert_eq!(scene.ask("GET", &manifest, b"").body, pump.manifest);
    assert_eq!(scene.ask("GET", &blob, b"").body, pump.blobs[1]);
    let referrers = format!("/v2/pump/referrers/{}", pump.id.digest);
    assert_eq!(scene.ask("GET", &referrers, b"").status, 200);
    let mount = format!("/v2/pump/blobs/uploads/?mount={}", Digest::of(&pump.blobs[1]));
    assert_eq!(scene.ask("POST", &mount, b"").status, 201, "it is his");

    let list = scene.list(&[&pump]);
    assert_eq!(scene.ask("PUT", "/api/v1/targets/acme", &list).json()["version"], 1);
    assert_eq!(scene.ask("GET", "/api/v1/targets/acme", b"").body, list);
    scene.server.add_device("line-3");
    assert_eq!(scene.server.assign("line-3", "pump", "pump/1").status, 200);

    // As a password for tools that know no other way, by the name of the role.
    let as_basic = |user| scene.server.ask("GET", &manifest, As::Device(user, &scene.token), b"");
    assert_eq!(as_basic("acme").status, 200);
    for user in ["other", "admin", "line-3", ""] {
        assert_eq!(as_basic(user).status, 401, "{user}");
    }
}

#[test]
fn a_vendors_token_opens_nothing_that_is_the_administrators() {
    let scene = Scene::new();
    let password = scene.server.add_device("line-3");
    scene.push(&artifact("pump", "1"));
    let document = scene.server.get("/api/v1/openapi.json").json();
    let digest = artifact("turbine", "1").id.digest;
    let mut tried = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let open = operation["security"].as_array();
            let is_for_roles = |open: &Vec<serde_json::Value>| {
                open.iter().any(|way| way.as_object().unwrap().contains_key("role"))
            };
            if open.is_none_or(is_for_roles) {
                continue;
            }
            let path = path
                .replace("{device}", "line-3")
                .replace("{slot}", "pump")
                .replace("{name}", "pump")
                .replace("{bundle}", "pump")
                .replace("{version}", "1")
                .replace("{reference}", "1")
                .replace("{role}", "acme")
                .replace("{site}", "hill")
                .replace("{document}", "timestamp.json")
                .replace("{digest}", &digest.to_string())
                .replace("{file}", &format!("{}.1", digest.hex()));
            let body = json!({ "release": "turbine/1", "name": "line-9" }).to_string();
            let refused = scene.ask(&method.to_uppercase(), &path, body.as_bytes());
            let said = refused.error(403);
            assert!(said.contains("the token of acme opens"), "{method} {path}: {said}");
            tried += 1;
        }
    }
    assert!(tried >= 20, "{tried} routes were tried");
    // Nothing of it was done.
    let devices = scene.server.get("/api/v1/devices").json();
    assert_eq!(devices.as_array().unwrap().len(), 1, "{devices}");
    assert_eq!(
        scene.server.get("/api/v1/devices/line-3/documents").status,
        404,
        "nothing assigned"
    );
    assert_eq!(scene.server.get("/v2/pump/manifests/1").status, 200);
    let as_device = scene.server.ask("GET", "/v2/", As::Device("line-3", &password), b"");
    assert_eq!(as_device.status, 200, "its password is what it was");
    let page = scene.server.ask("GET", &format!("/?token={}", scene.token), As::Nobody, b"");
    assert_eq!(page.header("set-cookie"), "", "no page either");
}

#[test]
fn a_vendor_reads_and_writes_nothing_of_others() {
    let scene = Scene::new();
    let (turbine, pump) = (artifact("turbine", "1"), artifact("pump", "1"));
    scene.push(&pump);
    let [config, model] = [0, 1].map(|at| Digest::of(&turbine.blobs[at]));
    let manifest = turbine.id.digest;
    // He knows every digest: the list of releases and a manifest that was mailed to him tell them.
    for digest in [config, model, manifest] {
        for name in ["turbine", "pump", "acme", "valve"] {
            for method in ["GET", "HEAD"] {
                let path = format!("/v2/{name}/blobs/{digest}");
                assert_eq!(scene.ask(method, &path, b"").status, 404, "{method} {path}");
            }
        }
        // Nor is what is here told from what is not.
        let words = |digest: &Digest| {
            let mut said = scene.ask("GET", &format!("/v2/pump/blobs/{digest}"), b"").text();
            said.retain(|char| !char.is_ascii_digit());
            said
        };
        assert_eq!(words(&digest), words(&Digest::of(b"nowhere")));
        let mount = scene.ask("POST", &format!("/v2/pump/blobs/uploads/?mount={digest}"), b"");
        assert_eq!(mount.status, 202, "he is told to push it");
        let nowhere = Digest::of(b"nowhere");
        let other = scene.ask("POST", &format!("/v2/pump/blobs/uploads/?mount={nowhere}"), b"");
        assert_eq!(other.status, 202);
        let end = format!("{}?digest={digest}", mount.header("location"));
        assert_eq!(scene.ask("PUT", &end, b"").status, 422, "without its bytes");
    }
    for path in [
        "/v2/turbine/manifests/1".to_owned(),
        format!("/v2/turbine/manifests/{manifest}"),
        format!("/v2/pump/manifests/{manifest}"),
        "/v2/valve/manifests/1".into(),
    ] {
        assert_eq!(scene.ask("GET", &path, b"").status, 404, "{path}");
    }
    let referrers = format!("/v2/turbine/referrers/{manifest}");
    assert_eq!(scene.ask("GET", &referrers, b"").status, 403);
    for (method, path) in [
        ("POST", format!("/v2/turbine/blobs/uploads/?digest={}", Digest::of(b"x"))),
        ("POST", "/v2/turbine/blobs/uploads/".into()),
        ("POST", "/v2/other/blobs/uploads/".into()),
        ("POST", "/v2/pumps/blobs/uploads/".into()),
        ("PUT", "/v2/turbine/manifests/2".into()),
        ("PUT", format!("/v2/turbine/manifests/{}", pump.id.digest)),
        ("PUT", "/v2/acme/manifests/1".into()),
        ("PUT", "/api/v1/targets/other".into()),
        ("GET", "/api/v1/targets/other".into()),
        ("GET", "/api/v1/targets/site-hill".into()),
        ("GET", "/api/v1/targets/other?path=pump/1".into()),
        ("GET", "/api/v1/targets/other?path=valve/1".into()),
        ("GET", "/api/v1/targets/site-hill?path=site/hill/policy.json".into()),
    ] {
        let body = if path.contains("/manifests/") { &pump.manifest[..] } else { b"x" };
        let refused = scene.ask(method, &path, body).error(403);
        assert!(refused.contains("the token of acme opens"), "{method} {path}: {refused}");
    }

    // An upload is his who has begun it.
    let begun = scene.server.ask("POST", "/v2/pump/blobs/uploads/", As::Administrator, b"");
    let upload = begun.header("location");
    for (method, query) in [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("PUT", "?digest=")] {
        let query = match query {
            "" => String::new(),
            query => format!("{query}{}", Digest::of(b"")),
        };
        let reply = scene.ask(method, &format!("{upload}{query}"), b"");
        assert_eq!(reply.status, 404, "{method}");
    }
    assert_eq!(scene.server.get(upload).status, 204);
}

#[test]
fn a_manifest_or_list_that_names_a_digest_gives_a_vendor_nobody_elses_bytes() {
    let scene = Scene::new();
    let (turbine, pump) = (artifact("turbine", "1"), artifact("pump", "1"));
    scene.push(&pump);
    let model = Digest::of(&turbine.blobs[1]);
    // A manifest of his own bundle that names the model of another one, by digest and right size.
    let mut forged: OciManifest = serde_json::from_slice(&pump.manifest).unwrap();
    forged.layers[0].digest = model;
    forged.layers[0].size = turbine.blobs[1].len() as u64;
    let forged = serde_json::to_vec(&forged).unwrap();
    let path = format!("/v2/pump/manifests/{}", Digest::of(&forged));
    let refused = scene.ask("PUT", &path, &forged).error(422);
    assert!(refused.contains(&model.to_string()) && refused.contains("push it first"), "{refused}");
    // It says the same of one that is here nowhere.
    let mut nowhere: OciManifest = serde_json::from_slice(&forged).unwrap();
    nowhere.layers[0].digest = Digest::of(b"nowhere");
    let nowhere = serde_json::to_vec(&nowhere).unwrap();
    let path_to_nowhere = format!("/v2/pump/manifests/{}", Digest::of(&nowhere));
    let same = scene.ask("PUT", &path_to_nowhere, &nowhere).error(422);
    let known = refused.replace(&model.to_string(), &Digest::of(b"nowhere").to_string());
    assert_eq!(same, known);
    assert_eq!(scene.ask("GET", &format!("/v2/pump/blobs/{model}"), b"").status, 404);
    // Whoever has the bytes may bring them; they are kept once, and are his then.
    assert_eq!(scene.push_blob("pump", &turbine.blobs[1]), 201);
    assert_eq!(scene.ask("PUT", &path, &forged).status, 201);
    assert_eq!(scene.ask("GET", &format!("/v2/pump/blobs/{model}"), b"").status, 200);

    // Nor does a site's list that names one as its policy.
    let site = scene.make("site-hill");
    let bytes = &turbine.blobs[0];
    let files = BTreeMap::from([(
        "site/hill/policy.json".to_owned(),
        (Digest::of(bytes), bytes.len() as u64),
    )]);
    let spec = TargetsSpec { version: 1, expires: in_a_year(), files, delegations: Vec::new() };
    let list = sign_targets(&spec, &[&scene.site]);
    let put = || scene.ask_by(&site, "PUT", "/api/v1/targets/site-hill", &list);
    assert!(put().error(422).contains("push it first"));
    let file = format!("/v2/site-hill/blobs/{}", Digest::of(bytes));
    assert_eq!(scene.ask_by(&site, "GET", &file, b"").status, 404);
    let upload = format!("/v2/site-hill/blobs/uploads/?digest={}", Digest::of(bytes));
    assert_eq!(scene.ask_by(&site, "POST", &upload, bytes).status, 201);
    assert_eq!(put().status, 200);
    assert_eq!(scene.ask_by(&site, "GET", &file, b"").body, *bytes);
    assert_eq!(scene.ask("GET", &file, b"").status, 404, "the vendor");
    // Another token of the site has brought nothing, and reads what the site has signed.
    let next = scene.make("site-hill");
    assert_eq!(scene.ask_by(&next, "GET", &file, b"").body, *bytes);
    assert_eq!(scene.ask_by(&next, "PUT", "/api/v1/targets/site-hill", &list).status, 200);
    assert_eq!(scene.ask_by(&site, "GET", &file, b"").status, 401, "the one before");
}

#[test]
fn of_a_bundle_that_others_release_too_a_vendor_reads_his_own_versions_and_no_other() {
    let scene = Scene::new();
    let ours = artifact("pump", "1");
    ours.push(&scene.server);
    let note = about(&ours);
    let push = |manifest: &[u8]| {
        let path = format!("/v2/pump/manifests/{}", Digest::of(manifest));
        let kind = [("content-type", MANIFEST_TYPE)];
        scene.server.ask_with("PUT", &path, As::Administrator, &kind, manifest).status
    };
    let upload = format!("/v2/pump/blobs/uploads/?digest={}", Digest::of(EMPTY));
    assert_eq!(scene.server.ask("POST", &upload, As::Administrator, EMPTY).status, 201);
    assert_eq!(push(&note), 201);
    let mut draft = scene.signers.draft(&scene.server);
    draft.add(ours.id.clone(), None).unwrap();
    draft.delegate(&[Delegation {
        name: "acme".into(),
        keys: vec![scene.vendor.public()],
        threshold: 1,
        paths: vec!["pump/acme-*".into()],
        terminating: false,
    }]);
    let list = draft.sign(in_a_year(), &[&scene.signers.release]);
    assert_eq!(scene.server.put("/api/v1/releases", &list).status, 200);

    let referrers = format!("/v2/pump/referrers/{}", ours.id.digest);
    let closed = |token: &str| {
        let digests = ours.blobs.iter().map(|blob| Digest::of(blob)).chain([Digest::of(&note)]);
        let blobs = digests.map(|digest| format!("/v2/pump/blobs/{digest}"));
        let manifest = "/v2/pump/manifests/1".to_owned();
        for path in blobs.chain([manifest]) {
            for method in ["GET", "HEAD"] {
                let status = scene.ask_by(token, method, &path, b"").status;
                assert_eq!(status, 404, "{method} {path}");
            }
        }
        let mount = format!("/v2/pump/blobs/uploads/?mount={}", Digest::of(&ours.blobs[1]));
        assert_eq!(scene.ask_by(token, "POST", &mount, b"").status, 202);
    };
    closed(&scene.token);
    let by_digest = format!("/v2/pump/manifests/{}", ours.id.digest);
    assert_eq!(scene.ask("GET", &by_digest, b"").status, 404);
    assert_eq!(scene.ask("GET", &referrers, b"").json()["manifests"], json!([]));

    // A version of his own that is theirs in truth: by a tag, or in his list.
    let path = "/v2/pump/manifests/acme-1";
    let refused = scene.ask("PUT", path, &ours.manifest).error(422);
    assert!(refused.contains("push it first"), "{refused}");
    let mut as_his = artifact("pump", "1");
    as_his.id.version = "acme-9".parse().unwrap();
    let list = scene.list(&[&as_his]);
    let put = |list: &[u8]| scene.ask("PUT", "/api/v1/targets/acme", list);
    assert!(put(&list).error(422).contains("push it first"));
    // The manifest may have been mailed to him: he may bring it, and has nothing of what it names.
    let manifest = Digest::of(&ours.manifest);
    let upload = format!("/v2/pump/blobs/uploads/?digest={manifest}");
    assert_eq!(scene.ask("POST", &upload, &ours.manifest).status, 201);
    assert_eq!(scene.ask("PUT", path, &ours.manifest).status, 422);
    assert_eq!(put(&list).status, 422);
    let token = scene.make("acme");
    closed(&token);
    assert_eq!(scene.ask_by(&token, "GET", &by_digest, b"").status, 404);
}

#[test]
fn a_delta_between_a_release_of_others_and_his_own_is_not_open_to_a_vendor() {
    let scene = Scene::new();
    let ours = artifact("pump", "1");
    ours.push(&scene.server);
    let [his, next] = ["acme-4", "acme-5"].map(|version| artifact("pump", version));
    let theirs = artifact("pump", "bolt-6");
    let mut draft = scene.signers.draft(&scene.server);
    draft.add(ours.id.clone(), None).unwrap();
    let bolt = key();
    let role = |name: &str, key: &KeyPair| Delegation {
        name: name.into(),
        keys: vec![key.public()],
        threshold: 1,
        paths: vec![format!("pump/{name}-*")],
        terminating: false,
    };
    draft.delegate(&[role("acme", &scene.vendor), role("bolt", &bolt)]);
    let list = draft.sign(in_a_year(), &[&scene.signers.release]);
    assert_eq!(scene.server.put("/api/v1/releases", &list).status, 200);
    scene.push(&his);
    scene.push(&next);
    theirs.push(&scene.server);
    theirs.push_manifest(&scene.server, "bolt-6");

    // As the server makes them, and one that does not say what it is made from.
    let push = |manifest: &[u8]| {
        let path = format!("/v2/pump/manifests/{}", Digest::of(manifest));
        let kind = [("content-type", MANIFEST_TYPE)];
        let reply = scene.server.ask_with("PUT", &path, As::Administrator, &kind, manifest);
        assert_eq!(reply.status, 201, "{}", reply.text());
    };
    let push_blob = |bytes: &[u8]| {
        let upload = format!("/v2/pump/blobs/uploads/?digest={}", Digest::of(bytes));
        assert_eq!(scene.server.ask("POST", &upload, As::Administrator, bytes).status, 201);
    };
    push_blob(EMPTY);
    let delta = |from: &Artifact, to: &Artifact, says: bool| {
        let text = format!("from {} to {}, {says}", from.id, to.id).into_bytes();
        push_blob(&text);
        let [base, target] = [from, to].map(|one| Digest::of(&one.blobs[1]));
        let recipe = recipe(Digest::of(&text), text.len() as u64, &base, &target);
        let mut delta = Referrer::delta(&to.id, &from.id, vec![recipe]);
        if !says {
            delta.annotations.clear();
        }
        let manifest = serde_json::to_vec(&delta).unwrap();
        push(&manifest);
        (Digest::of(&manifest), Digest::of(&text))
    };
    let open = delta(&his, &next, true);
    let closed = [delta(&ours, &next, true), delta(&his, &next, false), delta(&his, &theirs, true)];
    let statuses = |token: &str, (manifest, recipe): (Digest, Digest)| {
        let places = [
            format!("/v2/pump/manifests/{manifest}"),
            format!("/v2/pump/blobs/{manifest}"),
            format!("/v2/pump/blobs/{recipe}"),
        ];
        let status =
            |(method, place): (&str, &String)| scene.ask_by(token, method, place, b"").status;
        places.each_ref().map(|place| (status(("GET", place)), status(("HEAD", place))))
    };
    assert_eq!(statuses(&scene.token, open), [(200, 200); 3]);
    for one in closed {
        assert_eq!(statuses(&scene.token, one), [(404, 404); 3], "{one:?}");
        let mount = format!("/v2/pump/blobs/uploads/?mount={}", one.1);
        assert_eq!(scene.ask("POST", &mount, b"").status, 202, "to be pushed");
    }
    let referrers = format!("/v2/pump/referrers/{}", next.id.digest);
    let listed = scene.ask("GET", &referrers, b"").json();
    let listed: Vec<_> = listed["manifests"].as_array().unwrap().iter().collect();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["digest"], open.0.to_string());
    // Nor to the other vendor, whose release the last one makes.
    let token = scene.make("bolt");
    for one in closed {
        assert_eq!(statuses(&token, one), [(404, 404); 3], "{one:?}");
    }
    let referrers = format!("/v2/pump/referrers/{}", theirs.id.digest);
    assert_eq!(scene.ask_by(&token, "GET", &referrers, b"").json()["manifests"], json!([]));
}

#[test]
fn a_list_or_tag_that_the_administrator_brings_for_a_vendor_opens_nothing_of_others() {
    let scene = Scene::new();
    let mut draft = scene.signers.draft(&scene.server);
    draft.delegate(&[Delegation {
        name: "acme".into(),
        keys: vec![scene.vendor.public()],
        threshold: 1,
        paths: vec!["pump/acme-*".into(), "site/acme/*".into()],
        terminating: false,
    }]);
    let list = draft.sign(in_a_year(), &[&scene.signers.release]);
    assert_eq!(scene.server.put("/api/v1/releases", &list).status, 200);
    // One that says itself which version it is, before it has a tag, and one that has only a tag.
    let [says, tagged, his] = ["1", "2", "acme-9"].map(|version| artifact("pump", version));
    let says = {
        let mut manifest: OciManifest = serde_json::from_slice(&says.manifest).unwrap();
        manifest.annotations.insert(VERSION.into(), "1".into());
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let (digest, size) = (Digest::of(&manifest), manifest.len() as u64);
        Artifact { id: ReleaseId { digest, size, ..says.id }, manifest, blobs: says.blobs }
    };
    let ours = [&says, &tagged];
    for (one, reference) in [(&says, says.id.digest.to_string()), (&tagged, "2".to_owned())] {
        (0..2).for_each(|at| assert_eq!(one.push_blob(&scene.server, at).status, 201));
        assert_eq!(one.push_manifest(&scene.server, &reference).status, 201);
    }
    let closed = || {
        for one in ours {
            let digests = one.blobs.iter().map(|blob| Digest::of(blob)).chain([one.id.digest]);
            for digest in digests {
                for name in ["pump", "acme"] {
                    let path = format!("/v2/{name}/blobs/{digest}");
                    assert_eq!(scene.ask("GET", &path, b"").status, 404, "{path}");
                }
            }
            let path = format!("/v2/pump/manifests/{}", one.id.digest);
            assert_eq!(scene.ask("GET", &path, b"").status, 404);
        }
    };
    closed();
    let put = |list: &[u8]| scene.server.put("/api/v1/targets/acme", list);
    for one in ours {
        let mut id = one.id.clone();
        id.version = "acme-9".parse().unwrap();
        let as_his = Artifact { id, manifest: Vec::new(), blobs: Vec::new() };
        let refused = put(&scene.list(&[&as_his])).error(422);
        let version = &one.id.version;
        let words = format!("its manifest is that of pump/{version}, which acme may not sign");
        assert!(refused.contains(&words), "{refused}");
        closed();
    }
    let files = |version, bytes: &[u8]| {
        let named = (Digest::of(bytes), bytes.len() as u64);
        let files = BTreeMap::from([("site/acme/note.txt".to_owned(), named)]);
        let spec = TargetsSpec { version, expires: in_a_year(), files, delegations: Vec::new() };
        sign_targets(&spec, &[&scene.vendor])
    };
    for bytes in ours.iter().flat_map(|one| [&one.manifest, &one.blobs[0]]) {
        let refused = put(&files(9, bytes)).error(422);
        assert!(refused.contains("part of a bundle"), "{refused}");
    }
    for one in ours {
        assert_eq!(one.push_manifest(&scene.server, "acme-7").status, 201);
        closed();
    }

    // What is his the administrator may bring for him, and his token reads it.
    his.push(&scene.server);
    assert_eq!(put(&scene.list(&[&his])).status, 200);
    assert_eq!(scene.ask("GET", "/v2/pump/manifests/acme-9", b"").body, his.manifest);
    let blob = format!("/v2/pump/blobs/{}", Digest::of(&his.blobs[1]));
    assert_eq!(scene.ask("GET", &blob, b"").body, his.blobs[1]);
    let upload = format!("/v2/acme/blobs/uploads/?digest={}", Digest::of(b"note"));
    assert_eq!(scene.server.ask("POST", &upload, As::Administrator, b"note").status, 201);
    assert_eq!(put(&files(9, b"note")).status, 200);
    let note = format!("/v2/acme/blobs/{}", Digest::of(b"note"));
    assert_eq!(scene.ask("GET", &note, b"").body, b"note");
    // Whoever makes the same bytes a part of a bundle afterwards keeps nobody from signing his list anew.
    let mut part: OciManifest = serde_json::from_slice(&his.manifest).unwrap();
    (part.layers[0].digest, part.layers[0].size) = (Digest::of(b"note"), 4);
    let part = serde_json::to_vec(&part).unwrap();
    let path = format!("/v2/pump/manifests/{}", Digest::of(&part));
    let kind = [("content-type", MANIFEST_TYPE)];
    assert_eq!(scene.server.ask_with("PUT", &path, As::Administrator, &kind, &part).status, 201);
    assert_eq!(put(&files(10, b"note")).status, 200);
    closed();
    // Which versions there are of a bundle is told to nobody but the administrator.
    assert_eq!(scene.ask("GET", "/v2/pump/tags/list", b"").status, 403);
}

#[test]
fn a_vendors_own_versions_are_open_to_each_token_of_his_whether_or_not_they_have_a_tag() {
    let mut scene = Scene::new();
    let tagged = artifact("pump", "2");
    scene.push(&tagged);
    assert_eq!(scene.ask("PUT", "/api/v1/targets/acme", &scene.list(&[&tagged])).status, 200);
    // As `lineside release` pushes it: by its digest, and it says itself which version it is.
    let other = artifact("pump", "3");
    other.blobs.iter().for_each(|blob| assert_eq!(scene.push_blob("pump", blob), 201));
    let mut says: OciManifest = serde_json::from_slice(&other.manifest).unwrap();
    says.annotations.insert(VERSION.into(), "3".into());
    let says = serde_json::to_vec(&says).unwrap();
    let path = format!("/v2/pump/manifests/{}", Digest::of(&says));
    assert_eq!(scene.ask("PUT", &path, &says).status, 201);
    let note = about(&tagged);
    assert_eq!(scene.push_blob("pump", EMPTY), 201);
    let note_path = format!("/v2/pump/manifests/{}", Digest::of(&note));
    assert_eq!(scene.ask("PUT", &note_path, &note).status, 201);

    scene.token = scene.make("acme");
    assert_eq!(scene.ask("GET", &path, b"").body, says);
    assert_eq!(scene.ask("GET", &note_path, b"").body, note);
    for blob in tagged.blobs.iter().chain(&other.blobs) {
        let path = format!("/v2/pump/blobs/{}", Digest::of(blob));
        assert_eq!(scene.ask("GET", &path, b"").body, *blob);
    }
    let referrers = format!("/v2/pump/referrers/{}", tagged.id.digest);
    let listed = scene.ask("GET", &referrers, b"").json();
    assert_eq!(listed["manifests"].as_array().unwrap().len(), 1, "{listed}");
}

#[test]
fn a_role_that_is_called_like_a_bundle_of_others_reads_nothing_of_it() {
    let scene = Scene::new();
    scene.delegate(&["acme", "turbine"]);
    let token = scene.make("turbine");
    let turbine = artifact("turbine", "1");
    for digest in [Digest::of(&turbine.blobs[1]), turbine.id.digest] {
        let path = format!("/v2/turbine/blobs/{digest}");
        assert_eq!(scene.ask_by(&token, "GET", &path, b"").status, 404);
    }
    assert_eq!(scene.ask_by(&token, "GET", "/v2/turbine/manifests/1", b"").status, 404);
    let put = scene.ask_by(&token, "PUT", "/v2/turbine/manifests/2", &turbine.manifest);
    assert_eq!(put.status, 403);
}

#[test]
fn one_who_may_sign_the_same_paths_is_asked_for_numbers_and_no_one_else() {
    let scene = Scene::new();
    scene.push(&artifact("pump", "1"));
    scene.delegate(&["acme", "beside", "other"]);
    let ask = |path: &str| scene.ask("GET", path, b"").status;
    // Here the first of them ends the search, so the second signs nothing that counts.
    assert_eq!(ask("/api/v1/targets/beside?path=pump/2"), 403);
    assert_eq!(ask("/api/v1/targets/beside"), 403);
    let mut draft = scene.signers.draft(&scene.server);
    let role = |name: &str, key: &KeyPair, path: &str| Delegation {
        name: name.into(),
        keys: vec![key.public()],
        threshold: 1,
        paths: vec![path.into()],
        terminating: false,
    };
    draft
        .delegate(&[role("acme", &scene.vendor, "pump/a*"), role("beside", &scene.site, "pump/*")]);
    let list = draft.sign(in_a_year(), &[&scene.signers.release]);
    assert_eq!(scene.server.put("/api/v1/releases", &list).status, 200);
    assert_eq!(ask("/api/v1/targets/beside?path=pump/a2"), 404, "it has signed nothing");
    assert_eq!(ask("/api/v1/targets/beside?path=pump/b2"), 403);
    // A tag stands for a version, and only some are his.
    let pump = artifact("pump", "1").manifest;
    assert_eq!(scene.ask("PUT", "/v2/pump/manifests/a2", &pump).status, 201);
    assert_eq!(scene.ask("PUT", "/v2/pump/manifests/b2", &pump).status, 403);
}

#[test]
fn a_token_ends_when_it_is_taken_back_replaced_or_its_role_is() {
    let mut scene = Scene::new();
    let status =
        |scene: &Scene, token: &str| scene.ask_by(token, "GET", "/api/v1/root", b"").status;
    assert_eq!(scene.server.get("/api/v1/tokens").json()[0]["role"], "acme");
    let early = scene.server.ask("POST", "/api/v1/tokens/nobody", As::Administrator, b"");
    assert!(early.error(404).contains("lineside release delegate nobody"));
    assert_eq!(
        scene.server.ask("POST", "/api/v1/tokens/No%20One", As::Administrator, b"").status,
        400
    );

    let next = scene.make("acme");
    assert_eq!((status(&scene, &scene.token), status(&scene, &next)), (401, 200));
    let take_back =
        || scene.server.ask("DELETE", "/api/v1/tokens/acme", As::Administrator, b"").status;
    assert_eq!((take_back(), take_back(), status(&scene, &next)), (204, 404, 401));

    let token = scene.make("acme");
    scene.delegate(&["other"]);
    assert_eq!(status(&scene, &token), 401);
    assert_eq!(scene.server.get("/api/v1/tokens").json(), json!([]));
    // Who is called so later is somebody else.
    scene.delegate(&["acme"]);
    assert_eq!(status(&scene, &token), 401);

    // Also where the lists between the two have never come here.
    let token = scene.make("acme");
    let vendor = std::mem::replace(&mut scene.vendor, key());
    scene.delegate(&["acme"]);
    assert_eq!(status(&scene, &token), 401);
    // However many lists exchange a key for another: what counts are the keys at its making.
    let [lost, other] = [vendor, key()];
    let signed_by = |keys: &[&KeyPair]| {
        let mut draft = scene.signers.draft(&scene.server);
        draft.delegate(&[Delegation {
            name: "acme".into(),
            keys: keys.iter().map(|key| key.public()).collect(),
            threshold: 1,
            paths: vec!["pump/*".into()],
            terminating: false,
        }]);
        let list = draft.sign(in_a_year(), &[&scene.signers.release]);
        assert_eq!(scene.server.put("/api/v1/releases", &list).status, 200);
    };
    signed_by(&[&lost]);
    let token = scene.make("acme");
    signed_by(&[&lost, &other]);
    assert_eq!(status(&scene, &token), 200);
    signed_by(&[&other]);
    assert_eq!(status(&scene, &token), 401);
    signed_by(&[&lost, &other]);
    assert_eq!(status(&scene, &token), 401, "it does not come back");
    // One of several that leaves says nothing of the others.
    let token = scene.make("acme");
    signed_by(&[&other]);
    assert_eq!(status(&scene, &token), 200);
    scene.vendor = lost;
    scene.delegate(&["acme"]);
    // While no list holds there is no role.
    let token = scene.make("acme");
    let (mut spec, release) = (scene.signers.spec.clone(), key());
    (spec.version, spec.releases) = (2, (vec![release.public()], 1));
    let root = sign_root(&spec, &[&scene.signers.root]);
    assert_eq!(scene.server.put_root(&root).status, 200);
    let said = scene.ask_by(&token, "GET", "/api/v1/root", b"").error(403);
    assert!(said.contains("names role acme"), "{said}");
    let early = scene.server.ask("POST", "/api/v1/tokens/acme", As::Administrator, b"");
    assert_eq!(early.status, 422);
}

#[test]
fn a_token_is_shown_once_and_is_nowhere_in_the_data_folder() {
    let scene = Scene::new();
    assert_eq!(scene.token.len(), 64);
    assert!(!scene.server.get("/api/v1/tokens").text().contains(&scene.token));
    for name in ["lineside.db", "lineside.db-wal"] {
        let bytes = std::fs::read(scene.data.path().join(name)).unwrap_or_default();
        assert!(!bytes.windows(64).any(|part| part == scene.token.as_bytes()), "{name}");
    }
    // It is as good after a restart.
    scene.server.kill();
    let server = Running::start(scene.data.path());
    let reply = server.ask("GET", "/api/v1/root", As::Token(&scene.token), b"");
    assert_eq!(reply.status, 200);
}
