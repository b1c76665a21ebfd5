//! The TUF repository that the server serves, as a client follows it.

use crate::books::{change, opened};
use crate::running::{As, Running};
use crate::signers::{Signers, artifact, in_a_year, key};
use lineside_bundle::{Digest, ReleaseId};
use lineside_trust::repository::{Client, Fault, InMemory, Mirror, RepositoryError, Versions};
use lineside_trust::{Delegation, KeyPair, ReleasesDraft, TargetsSpec, sign_root, sign_targets};
use sea_orm::ConnectionTrait;
use std::collections::BTreeMap;
use std::sync::Arc;
use time::{Duration, OffsetDateTime};

/// The server's repository, as a device reads it.
struct Served {
    server: Arc<Running>,
    password: String,
}

impl Mirror for Served {
    fn fetch(&self, name: &str, _: u64) -> Result<Option<Vec<u8>>, Fault> {
        let path = format!("/tuf/metadata/{name}");
        let reply = self.server.ask("GET", &path, As::Device("line-3", &self.password), b"");
        Ok((reply.status == 200).then_some(reply.body))
    }
}

/// A server with a device, and what the device trusts.
struct Scene {
    server: Arc<Running>,
    signers: Signers,
    password: String,
    shelf: InMemory,
    root: Vec<u8>,
    _data: tempfile::TempDir,
}

impl Scene {
    fn new() -> Scene {
        let data = tempfile::tempdir().unwrap();
        let server = Arc::new(Running::start(data.path()));
        let signers = Signers::enrolled(&server);
        let password = server.add_device("line-3");
        let (root, shelf) = (signers.root_bytes(), InMemory::default());
        Scene { server, signers, password, shelf, root, _data: data }
    }

    fn client(&self) -> Client<Served, InMemory> {
        let mirror = Served { server: self.server.clone(), password: self.password.clone() };
        Client::new(&self.root, mirror, self.shelf.clone()).unwrap()
    }

    fn refresh(&self) -> Result<Versions, RepositoryError> {
        self.client().refresh(OffsetDateTime::now_utc())
    }

    /// Digest and size of what the repository says is at `path`.
    fn target(&self, path: &str) -> Option<(String, u64)> {
        let (mut client, now) = (self.client(), OffsetDateTime::now_utc());
        client.refresh(now).unwrap();
        let file = client.target(path, now).unwrap()?;
        Some((file.sha256().unwrap().to_owned(), file.length()))
    }

    fn as_device(&self, path: &str) -> u16 {
        self.server.ask("GET", path, As::Device("line-3", &self.password), b"").status
    }
}

/// Lets `roles` sign besides the release keys.
pub fn delegate(server: &Running, signers: &Signers, roles: &[(&str, &KeyPair, &str)]) {
    let delegation = |(name, key, path): &(&str, &KeyPair, &str)| Delegation {
        name: (*name).into(),
        keys: vec![key.public()],
        threshold: 1,
        paths: vec![(*path).into()],
        terminating: true,
    };
    let mut draft = signers.draft(server);
    draft.delegate(&roles.iter().map(delegation).collect::<Vec<_>>());
    let list = draft.sign(in_a_year(), &[&signers.release]);
    let reply = server.put("/api/v1/releases", &list);
    assert_eq!(reply.status, 200, "{}", reply.text());
}

fn targets(version: u64, path: &str, bytes: &[u8], key: &KeyPair) -> Vec<u8> {
    let files = BTreeMap::from([(path.to_owned(), (Digest::of(bytes), bytes.len() as u64))]);
    let spec = TargetsSpec { version, expires: in_a_year(), files, delegations: Vec::new() };
    sign_targets(&spec, &[key])
}

fn push(server: &Running, name: &str, bytes: &[u8]) {
    let path = format!("/v2/{name}/blobs/uploads/?digest={}", Digest::of(bytes));
    assert_eq!(server.ask("POST", &path, As::Administrator, bytes).status, 201);
}

/// Has a key of the site's sign its policy, which the server then carries.
pub fn site_policy(server: &Running, signers: &Signers, site: &str, policy: &[u8]) -> KeyPair {
    let (key, role) = (key(), format!("site-{site}"));
    delegate(server, signers, &[(&role, &key, &format!("site/{site}/*"))]);
    push(server, &role, policy);
    let signed = targets(1, &format!("site/{site}/policy.json"), policy, &key);
    let reply = server.put(&format!("/api/v1/targets/{role}"), &signed);
    assert_eq!(reply.status, 200, "{}", reply.text());
    key
}

#[test]
fn a_client_follows_releases_and_roots_as_they_come() {
    let mut scene = Scene::new();
    // Nothing is released, so there is nothing to be fresh.
    assert!(matches!(scene.refresh(), Err(RepositoryError::Absent { .. })));
    let first = scene.signers.release(&scene.server, "1");
    let before = scene.refresh().unwrap();
    assert_eq!((before.root, before.targets), (1, 1));
    assert_eq!(scene.target("turbine/1"), Some((first.digest.hex(), first.size)));
    assert_eq!(scene.target("turbine/2"), None);
    assert_eq!(scene.refresh().unwrap(), before, "the same again while it holds");

    scene.signers.release(&scene.server, "2");
    let after = scene.refresh().unwrap();
    assert_eq!(after.targets, 2);
    assert!(after.snapshot > before.snapshot && after.timestamp > before.timestamp);
    assert!(scene.target("turbine/2").is_some());

    scene.signers.spec.version = 2;
    scene.signers.spec.expires += Duration::days(1);
    let reply = scene.server.put_root(&scene.signers.root_bytes());
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(scene.refresh().unwrap(), Versions { root: 2, ..after });
    scene.signers.release(&scene.server, "3");
    assert_eq!(scene.refresh().unwrap().targets, 3);
}

#[test]
fn a_root_must_name_the_key_that_signs_snapshot_and_timestamp_here() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let mut signers = Signers::new(&server);
    signers.spec.online = key().public();
    let root = sign_root(&signers.spec, &[&signers.root]);
    let error = server.put_root(&root).error(422);
    assert!(error.contains("this server's online key"), "{error}");
}

#[tokio::test]
async fn snapshot_and_timestamp_are_signed_anew_a_week_before_they_expire() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    signers.release(&server, "1");
    let password = server.add_device("line-3");
    let shelf = InMemory::default();
    let mut versions = Vec::new();
    for days_old in [0, 6, 8] {
        server.kill();
        // As if it had been signed then: its bytes no longer fit, so those of six days as well.
        let then = OffsetDateTime::now_utc() - Duration::days(days_old);
        let update = format!(
            "UPDATE document SET accepted_unix_ms = {} WHERE kind IN ('snapshot', 'timestamp')",
            then.unix_timestamp() * 1_000
        );
        if days_old == 8 {
            change(data.path(), &update).await;
        }
        server = Running::start(data.path());
        let shared = Arc::new(server);
        let mirror = Served { server: shared.clone(), password: password.clone() };
        let mut client = Client::new(&signers.root_bytes(), mirror, shelf.clone()).unwrap();
        let fresh = client.refresh(OffsetDateTime::now_utc()).unwrap();
        versions.push((fresh.snapshot, fresh.timestamp));
        drop(client);
        server = Arc::into_inner(shared).unwrap();
    }
    assert_eq!(versions[0], versions[1], "a restart alone signs nothing");
    assert!(versions[2].0 > versions[1].0 && versions[2].1 > versions[1].1, "{versions:?}");
    // However often they are signed, few are kept.
    for version in 2..9 {
        signers.release(&server, &version.to_string());
    }
    server.kill();
    let connection = opened(data.path()).await;
    let count = "SELECT kind, COUNT(*) FROM document GROUP BY kind ORDER BY kind";
    let rows = connection
        .query_all_raw(sea_orm::Statement::from_string(connection.get_database_backend(), count));
    let counts: Vec<(String, i64)> = rows
        .await
        .unwrap()
        .into_iter()
        .map(|row| (row.try_get_by_index(0).unwrap(), row.try_get_by_index(1).unwrap()))
        .collect();
    let expected = [("releases", 4), ("root", 1), ("snapshot", 4), ("timestamp", 4)];
    assert_eq!(counts, expected.map(|(kind, count)| (kind.to_owned(), count)));
}

#[test]
fn what_a_delegated_role_signs_is_taken_within_its_paths_and_served() {
    let scene = Scene::new();
    let (server, signers) = (&scene.server, &scene.signers);
    signers.release(server, "1");
    let (vendor, site, stranger) = (key(), key(), key());
    let policy = b"{\"slots\":{}}";
    let of_site = |version, key| targets(version, "site/hill/policy.json", policy, key);
    let put = |role: &str, bytes: &[u8]| server.put(&format!("/api/v1/targets/{role}"), bytes);

    let early = put("site-hill", &of_site(1, &site)).error(422);
    assert!(early.contains("names no role site-hill"), "{early}");
    let roles = [("acme", &vendor, "pump/*"), ("site-hill", &site, "site/hill/*")];
    delegate(server, signers, &roles);
    let forged = put("site-hill", &of_site(1, &stranger)).error(422);
    assert!(forged.contains("not signed by enough"), "{forged}");
    let beyond = targets(1, "site/dale/policy.json", policy, &site);
    let beyond = put("site-hill", &beyond).error(422);
    assert!(beyond.contains("site/dale/policy.json is not among the paths"), "{beyond}");
    let absent = put("site-hill", &of_site(1, &site)).error(422);
    assert!(absent.contains("push it first"), "{absent}");
    assert_eq!(put("Site%20Hill", &of_site(1, &site)).status, 400);

    push(server, "site-hill", policy);
    // Signed once: the next second would sign another one.
    let second = of_site(2, &site);
    assert_eq!(put("site-hill", &second).json()["version"], 2);
    assert_eq!(put("site-hill", &second).json()["version"], 2, "the same again");
    let older = put("site-hill", &of_site(1, &site)).error(422);
    assert!(older.contains("older"), "{older}");
    assert_eq!(server.get("/api/v1/targets/site-hill").body, second);
    assert_eq!(server.get("/api/v1/targets/acme").status, 404);

    // The device at that site reads it; what was delegated and never signed hides nothing.
    let digest = Digest::of(policy).hex();
    let file = format!("/tuf/targets/site/hill/{digest}.policy.json");
    assert_eq!(scene.target("site/hill/policy.json"), Some((digest, policy.len() as u64)));
    assert_eq!(server.get(&file).body, policy);
    assert_eq!(scene.as_device(&file), 200);
    assert_eq!(scene.as_device(&file.replace("hill", "dale")), 403);
    assert!(scene.target("turbine/1").is_some());

    // A role that cannot be carried is refused with the list that names it.
    let mut draft = signers.draft(server);
    draft.delegate(&[Delegation {
        name: "vendor/acme".into(),
        keys: vec![vendor.public()],
        threshold: 1,
        paths: vec!["pump/*".into()],
        terminating: true,
    }]);
    let list = draft.sign(in_a_year(), &[&signers.release]);
    assert!(server.put("/api/v1/releases", &list).error(422).contains("role name"));
}

#[test]
fn a_vendor_releases_his_own_bundles_and_no_others() {
    let scene = Scene::new();
    let (server, signers) = (&scene.server, &scene.signers);
    let vendor = key();
    delegate(server, signers, &[("acme", &vendor, "pump/*")]);
    let sign = |ids: &[&ReleaseId]| {
        let mut draft = ReleasesDraft::after(None);
        ids.iter().for_each(|id| draft.add((*id).clone(), None).map(drop).unwrap());
        draft.sign(in_a_year(), &[&vendor])
    };
    let [pump, next] = ["1", "2"].map(|version| artifact("pump", version));
    let put = |bytes: &[u8]| server.put("/api/v1/targets/acme", bytes);
    let refused = put(&sign(&[&artifact("turbine", "1").id])).error(422);
    assert!(refused.contains("turbine/1 is not among the paths that acme may sign"), "{refused}");
    let both = sign(&[&pump.id, &next.id]);
    let lacking = put(&both).error(422);
    assert!(lacking.contains("is not on this server"), "{lacking}");
    pump.push(server);
    next.push(server);
    assert_eq!(put(&both).status, 200);
    assert_eq!(scene.target("pump/1"), Some((pump.id.digest.hex(), pump.id.size)));
    // His releases come as deltas, too.
    let deltas = format!("/v2/pump/referrers/{}", next.id.digest);
    server.wait_for(&deltas, |index| index["manifests"].as_array().unwrap().len() == 1);
}

#[test]
fn the_repository_is_read_by_devices_and_the_administrator_alone() {
    let scene = Scene::new();
    let id = scene.signers.release(&scene.server, "1");
    for path in ["timestamp.json", "1.root.json", "1.targets.json"] {
        let path = format!("/tuf/metadata/{path}");
        assert_eq!(scene.as_device(&path), 200, "{path}");
        assert_eq!(scene.server.get(&path).status, 200, "{path}");
        assert_eq!(scene.server.ask("GET", &path, As::Nobody, b"").status, 401, "{path}");
    }
    for path in
        ["2.root.json", "root.json", "x", "0.snapshot.json", "1.nobody.json", "-1.root.json"]
    {
        assert_eq!(scene.as_device(&format!("/tuf/metadata/{path}")), 404, "{path}");
    }
    // Of files a device reads what is assigned to it.
    let file = format!("/tuf/targets/turbine/{}.1", id.digest.hex());
    assert_eq!(scene.as_device(&file), 403);
    scene.server.assign("line-3", "turbine", "turbine/1");
    assert_eq!(scene.as_device(&file), 200);
    assert_eq!(Digest::of(&scene.server.get(&file).body), id.digest);
    assert_eq!(scene.as_device("/tuf/targets/turbine/nothing.1"), 404);
}
