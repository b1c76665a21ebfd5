//! The OpenAPI document against the server that it describes.

use crate::alerts;
use crate::proposals;
use crate::running::{As, Reply, Running};
use crate::signers::{Artifact, Signers, artifact};
use crate::tuf::site_policy;
use lineside_bundle::{Digest, MANIFEST_TYPE};
use lineside_trust::{KeyPair, seal_report};
use ring::hmac;
use ring::rand::SystemRandom;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use time::OffsetDateTime;

/// Larger than any body but a blob may be, in bytes.
const TOO_LARGE: usize = 5 << 20;

/// What holds at the site.
fn policy() -> Vec<u8> {
    proposals::policy("device", json!({ "assign": "turbine/1" }))
}

/// Of a rollout.
fn plan() -> Vec<u8> {
    let (selector, wave) = (json!({ "names": ["line-*"] }), json!({ "size": { "count": 1 } }));
    let plan = json!({
        "release": "turbine/1", "slot": "turbine", "selector": selector, "waves": [wave],
    });
    plan.to_string().into_bytes()
}

/// A server with one of everything that routes name.
pub struct House {
    pub server: Running,
    signers: Signers,
    artifact: Artifact,
    document: Value,
    reports: AtomicU64,
    people: AtomicU64,
    /// Somebody who has logged in, for what everybody does about himself.
    somebody: Mutex<Somebody>,
    _data: tempfile::TempDir,
}

#[derive(Clone, Default)]
struct Somebody {
    name: String,
    password: String,
    token: String,
}

fn report_key() -> &'static KeyPair {
    static KEY: OnceLock<KeyPair> = OnceLock::new();
    KEY.get_or_init(|| KeyPair::generate(&SystemRandom::new()).unwrap())
}

impl House {
    pub fn new() -> House {
        let data = tempfile::tempdir().unwrap();
        let server = Running::start(data.path());
        let signers = Signers::enrolled(&server);
        signers.release(&server, "1");
        site_policy(&server, &signers, "hill", &policy());
        server.add_device("line-3");
        let document = server.get("/api/v1/openapi.json").json();
        let (artifact, reports) = (artifact("turbine", "1"), AtomicU64::new(1));
        let (people, somebody) = (AtomicU64::new(1), Mutex::default());
        House { server, signers, artifact, document, reports, people, somebody, _data: data }
    }

    /// Each route: method, path, and what the document says of it.
    pub fn routes(&self) -> Vec<(String, String, Value)> {
        let mut routes = Vec::new();
        for (path, item) in self.document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                routes.push((method.to_uppercase(), path.clone(), operation.clone()));
            }
        }
        routes
    }

    /// A path with something that exists in each of its places.
    fn filled(&self, path: &str) -> String {
        let blob = Digest::of(&self.artifact.blobs[1]).to_string();
        let mut path = path
            .replace("{id}", &if path.contains("{id}") { self.alert() } else { String::new() })
            .replace(
                "{rollout}",
                &if path.contains("{rollout}") { self.rollout() } else { String::new() },
            )
            .replace(
                "{person}",
                &if path.contains("{person}") { self.person("viewer").name } else { String::new() },
            )
            .replace("{program}", "robot")
            .replace("{device}", "line-3")
            .replace("{seq}", "0")
            .replace("{slot}", "turbine")
            .replace("{name}", "turbine")
            .replace("{version}", "1")
            .replace("{reference}", "1")
            .replace("{document}", "timestamp.json")
            .replace("{role}", "site-hill")
            .replace("{site}", "hill")
            .replace("{bundle}", "turbine")
            .replace("{digest}", &blob);
        let file = match path.contains("/site/") {
            true => format!("{}.policy.json", Digest::of(&policy()).hex()),
            false => format!("{}.1", self.artifact.id.digest.hex()),
        };
        path = path.replace("{file}", &file);
        if path.starts_with("/api/v1/session") {
            self.log_in("viewer");
        }
        if path.contains("{upload}") {
            let begun = self.ask("POST", "/v2/turbine/blobs/uploads/", b"");
            path = path.replace("/v2/turbine/blobs/uploads/{upload}", begun.header("location"));
        }
        path.replace("{upload}", "x")
    }

    /// Somebody new, with the password that he enters with the first time.
    fn person(&self, role: &str) -> Somebody {
        let name = format!("somebody-{}", self.people.fetch_add(1, Ordering::Relaxed));
        let new = json!({ "name": name, "grants": [{ "role": role }] }).to_string();
        let made = self.ask("POST", "/api/v1/people", new.as_bytes());
        assert_eq!(made.status, 201, "{}", made.text());
        let password = made.json()["password"].as_str().unwrap().to_owned();
        Somebody { name, password, token: String::new() }
    }

    /// Somebody new who has logged in and set a password of his own. His token.
    pub fn log_in(&self, role: &str) -> String {
        let mut somebody = self.person(role);
        let entering = json!({ "name": somebody.name, "password": somebody.password }).to_string();
        let begun = self.server.ask("POST", "/api/v1/session", As::Nobody, entering.as_bytes());
        assert_eq!(begun.status, 201, "{}", begun.text());
        somebody.token = begun.json()["token"].as_str().unwrap().to_owned();
        let own = "a password of my own";
        let change = json!({ "old": somebody.password, "new": own }).to_string();
        let place = "/api/v1/session/password";
        let set = self.server.ask("PUT", place, As::Token(&somebody.token), change.as_bytes());
        assert_eq!(set.status, 204, "{}", set.text());
        somebody.password = own.into();
        *self.somebody.lock().unwrap() = somebody.clone();
        somebody.token
    }

    /// The next report of the device.
    fn report(&self, messages: &[Vec<u8>]) -> Vec<u8> {
        let number = self.reports.fetch_add(1, Ordering::Relaxed);
        seal_report(&"line-3".parse().unwrap(), number, messages, report_key())
    }

    /// The number of a new alert of the device.
    fn alert(&self) -> String {
        let key = serde_json::to_vec(&report_key().public()).unwrap();
        let reply = self.ask("PUT", "/api/v1/devices/line-3/report-key", &key);
        assert_eq!(reply.status, 204, "{}", reply.text());
        let number = self.reports.load(Ordering::Relaxed);
        let told = alerts::message(vec![
            // The one before is over.
            alerts::over_at(number, 0, 2 * number.cast_signed()),
            alerts::fired(number, 1, "high", 2 * number.cast_signed() + 1),
        ]);
        let reply = self.ask("POST", "/api/v1/reports", &self.report(&[told]));
        assert_eq!(reply.status, 200, "{}", reply.text());
        let listed = self.ask("GET", "/api/v1/alerts?open=true", b"").json();
        listed[0]["id"].to_string()
    }

    /// The number of a new rollout that was given up.
    fn rollout(&self) -> String {
        let made = self.ask("POST", "/api/v1/rollouts", &plan());
        assert_eq!(made.status, 201, "{}", made.text());
        let id = made.json()["id"].to_string();
        let wishes = format!("/api/v1/rollouts/{id}/wishes");
        let aborted = self.ask("POST", &wishes, b"{\"wish\":\"abort\"}");
        assert_eq!(aborted.status, 200, "{}", aborted.text());
        id
    }

    /// Brings back what later routes need, whatever earlier ones took away.
    pub fn make_whole(&self) {
        let _ = self.ask("POST", "/api/v1/devices", b"{\"name\":\"line-3\"}");
        self.server.assign("line-3", "turbine", "turbine/1");
        let _ = self.ask("POST", "/api/v1/tokens/site-hill", b"");
        self.artifact.push_manifest(&self.server, "1");
        let _ = self.ask("PUT", "/api/v1/sites/hill", b"{}");
        let _ = self.ask("POST", "/api/v1/programs/robot", b"{\"grants\":[]}");
    }

    /// Path and body of a request that succeeds.
    pub fn good(&self, method: &str, path: &str) -> (String, Vec<u8>) {
        let place = self.filled(path);
        let body = match (method, path) {
            ("POST", "/api/v1/people") => {
                let name = format!("somebody-{}", self.people.fetch_add(1, Ordering::Relaxed));
                json!({ "name": name }).to_string().into_bytes()
            }
            ("PUT", "/api/v1/people/{person}") | ("POST", "/api/v1/programs/{program}") => {
                json!({ "grants": [{ "role": "viewer", "sites": ["hill"] }] })
                    .to_string()
                    .into_bytes()
            }
            // Somewhere else each time.
            ("PUT", "/api/v1/devices/{device}/place") => {
                let line = self.people.fetch_add(1, Ordering::Relaxed).to_string();
                json!({ "site": "hill", "labels": { "line": line } }).to_string().into_bytes()
            }
            ("POST", "/api/v1/people/{person}/password") => b"{}".to_vec(),
            ("POST" | "PUT", path) if path.starts_with("/api/v1/session") => self.of_somebody(path),
            ("POST", "/api/v1/devices") => {
                let name = format!("line-9-{}", self.people.fetch_add(1, Ordering::Relaxed));
                json!({ "name": name }).to_string().into_bytes()
            }
            ("PUT", "/api/v1/devices/{device}/slots/{slot}")
            | ("POST", "/api/v1/devices/{device}/slots/{slot}/approve") => {
                json!({ "release": "turbine/1" }).to_string().into_bytes()
            }
            ("POST", "/api/v1/releases/{name}/{version}/ask" | "/api/v1/devices/{device}/log")
            | ("POST", "/api/v1/alerts/{id}/acknowledge" | "/api/v1/alerts/{id}/approve")
            | ("POST", "/api/v1/alerts/{id}/decline") => b"{}".to_vec(),
            ("PUT", "/api/v1/sites/{site}") => b"{\"time_zone\":\"Europe/Berlin\"}".to_vec(),
            ("POST", "/api/v1/rollouts" | "/api/v1/rollouts/preflight") => plan(),
            ("PUT", "/api/v1/devices/{device}/report-key") => {
                serde_json::to_vec(&report_key().public()).unwrap()
            }
            ("POST", "/api/v1/reports") => {
                let key = serde_json::to_vec(&report_key().public()).unwrap();
                let place = "/api/v1/devices/line-3/report-key";
                assert_eq!(self.ask("PUT", place, &key).status, 204);
                self.report(&[])
            }
            ("PUT", "/api/v1/roots") => {
                let root = String::from_utf8(self.signers.root_bytes()).unwrap();
                json!([root]).to_string().into_bytes()
            }
            ("PUT", "/api/v1/releases") => self.ask("GET", "/api/v1/releases", b"").body,
            ("PUT", "/api/v1/targets/{role}") => {
                self.ask("GET", "/api/v1/targets/site-hill", b"").body
            }
            ("PUT", "/v2/{name}/manifests/{reference}") => self.artifact.manifest.clone(),
            _ => Vec::new(),
        };
        let (place, body) = match (method, path) {
            // Of one that is still a draft.
            ("POST", "/api/v1/rollouts/{rollout}/wishes") => {
                let made = self.ask("POST", "/api/v1/rollouts", &plan()).json();
                let place = format!("/api/v1/rollouts/{}/wishes", made["id"]);
                self.log_in("admin");
                (place, b"{\"wish\":\"approve\"}".to_vec())
            }
            _ => (place, body),
        };
        let place = match (method, path) {
            ("PUT", "/v2/{name}/blobs/uploads/{upload}") => {
                format!("{place}?digest={}", Digest::of(b""))
            }
            ("GET", "/api/v1/drift" | "/api/v1/summary") => format!("{place}?slot=turbine"),
            ("GET", "/api/v1/audit/consistency") => format!("{place}?old=0&new=1"),
            _ => place,
        };
        (place, body)
    }

    /// What somebody who has logged in says about himself.
    fn of_somebody(&self, path: &str) -> Vec<u8> {
        let Somebody { name, password, token } = self.somebody.lock().unwrap().clone();
        let body = match path {
            "/api/v1/session" => json!({ "name": name, "password": password }),
            "/api/v1/session/again" => json!({ "password": password }),
            "/api/v1/session/password" => json!({ "old": password, "new": "another of my own" }),
            "/api/v1/session/authenticator" => {
                let made = self.server.ask("POST", path, As::Token(&token), b"");
                let secret = made.json()["secret"].as_str().unwrap().to_owned();
                json!({ "code": code(&secret) })
            }
            other => panic!("what does somebody say to {other}?"),
        };
        body.to_string().into_bytes()
    }

    /// Asks as whoever may do all of it: the administrator, or somebody who does something about himself, or who
    /// approves what the administrator has planned.
    pub fn ask(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        let is_own = path.starts_with("/api/v1/session");
        let approves = path.ends_with("/wishes") && body.ends_with(b"\"approve\"}");
        let token = self.somebody.lock().unwrap().token.clone();
        let who = if is_own || approves { As::Token(&token) } else { As::Administrator };
        self.ask_as(method, path, who, body)
    }

    pub fn ask_as(&self, method: &str, path: &str, who: As<'_>, body: &[u8]) -> Reply {
        let kind = if path.contains("/manifests/") { MANIFEST_TYPE } else { "application/json" };
        self.server.ask_with(method, path, who, &[("content-type", kind)], body)
    }
}

/// What an authenticator app shows now (RFC 6238).
pub fn code(secret: &str) -> String {
    let key = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    let span = OffsetDateTime::now_utc().unix_timestamp() / 30;
    let tag = hmac::sign(&key, &span.to_be_bytes());
    let at = usize::from(tag.as_ref()[19] & 15);
    let four: [u8; 4] = tag.as_ref()[at..at + 4].try_into().unwrap();
    format!("{:06}", (u32::from_be_bytes(four) & 0x7fff_ffff) % 1_000_000)
}

/// Checks that the document has this answer, and that an error is told as all errors are.
fn check(reply: &Reply, operation: &Value, what: &str) {
    let status = reply.status.to_string();
    assert!(operation["responses"][&status].is_object(), "{what}: {status} is not documented");
    if reply.status >= 400 && !what.starts_with("HEAD ") {
        assert!(!reply.error(reply.status).is_empty(), "{what}");
    }
}

#[test]
fn the_document_lists_every_route_and_nothing_else() {
    let house = House::new();
    let listed: BTreeSet<String> =
        house.routes().iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    let expected = [
        "DELETE /api/v1/devices/{device}",
        "DELETE /api/v1/devices/{device}/slots/{slot}",
        "DELETE /api/v1/people/{person}",
        "DELETE /api/v1/programs/{program}",
        "DELETE /api/v1/rollouts/{rollout}",
        "DELETE /api/v1/session",
        "DELETE /api/v1/sites/{site}",
        "DELETE /api/v1/tokens/{role}",
        "DELETE /v2/{name}/blobs/uploads/{upload}",
        "DELETE /v2/{name}/manifests/{reference}",
        "GET /api/v1/alerts",
        "GET /api/v1/alerts/{id}",
        "GET /api/v1/audit/checkpoint",
        "GET /api/v1/audit/consistency",
        "GET /api/v1/audit/entries",
        "GET /api/v1/audit/entries/{seq}/proof",
        "GET /api/v1/audit/key",
        "GET /api/v1/devices",
        "GET /api/v1/devices/{device}",
        "GET /api/v1/devices/{device}/documents",
        "GET /api/v1/devices/{device}/events",
        "GET /api/v1/devices/{device}/log",
        "GET /api/v1/devices/{device}/quality",
        "GET /api/v1/devices/{device}/telemetry",
        "GET /api/v1/drift",
        "GET /api/v1/health",
        "GET /api/v1/online-keys",
        "GET /api/v1/openapi.json",
        "GET /api/v1/people",
        "GET /api/v1/people/{person}",
        "GET /api/v1/programs",
        "GET /api/v1/releases",
        "GET /api/v1/rollouts",
        "GET /api/v1/rollouts/{rollout}",
        "GET /api/v1/rollouts/{rollout}/devices",
        "GET /api/v1/root",
        "GET /api/v1/session",
        "GET /api/v1/sites",
        "GET /api/v1/summary",
        "GET /api/v1/targets/{role}",
        "GET /api/v1/tokens",
        "GET /metrics",
        "GET /tuf/metadata/{document}",
        "GET /tuf/targets/site/{site}/{file}",
        "GET /tuf/targets/{bundle}/{file}",
        "GET /v2/",
        "GET /v2/{name}/blobs/uploads/{upload}",
        "GET /v2/{name}/blobs/{digest}",
        "GET /v2/{name}/manifests/{reference}",
        "GET /v2/{name}/referrers/{digest}",
        "GET /v2/{name}/tags/list",
        "HEAD /v2/{name}/blobs/{digest}",
        "HEAD /v2/{name}/manifests/{reference}",
        "PATCH /v2/{name}/blobs/uploads/{upload}",
        "POST /api/v1/alerts/{id}/acknowledge",
        "POST /api/v1/alerts/{id}/approve",
        "POST /api/v1/alerts/{id}/decline",
        "POST /api/v1/devices",
        "POST /api/v1/devices/{device}/log",
        "POST /api/v1/devices/{device}/password",
        "POST /api/v1/devices/{device}/slots/{slot}/approve",
        "POST /api/v1/people",
        "POST /api/v1/people/{person}/password",
        "POST /api/v1/programs/{program}",
        "POST /api/v1/releases/{name}/{version}/ask",
        "POST /api/v1/reports",
        "POST /api/v1/rollouts",
        "POST /api/v1/rollouts/preflight",
        "POST /api/v1/rollouts/{rollout}/wishes",
        "POST /api/v1/session",
        "POST /api/v1/session/again",
        "POST /api/v1/session/authenticator",
        "POST /api/v1/tokens/{role}",
        "POST /v2/{name}/blobs/uploads/",
        "PUT /api/v1/devices/{device}/place",
        "PUT /api/v1/devices/{device}/report-key",
        "PUT /api/v1/devices/{device}/slots/{slot}",
        "PUT /api/v1/people/{person}",
        "PUT /api/v1/releases",
        "PUT /api/v1/roots",
        "PUT /api/v1/session/authenticator",
        "PUT /api/v1/session/password",
        "PUT /api/v1/sites/{site}",
        "PUT /api/v1/targets/{role}",
        "PUT /v2/{name}/blobs/uploads/{upload}",
        "PUT /v2/{name}/manifests/{reference}",
    ];
    assert_eq!(listed, expected.into_iter().map(str::to_owned).collect());
}

#[test]
fn a_client_made_of_the_document_knows_each_body() {
    let house = House::new();
    for (method, path, operation) in house.routes() {
        let takes_body = match method.as_str() {
            "POST" | "PUT" | "PATCH" => {
                let without = [
                    "/api/v1/devices/{device}/password",
                    "/api/v1/tokens/{role}",
                    "/api/v1/session/authenticator",
                ];
                !without.contains(&path.as_str()) || method == "PUT"
            }
            _ => false,
        };
        assert_eq!(operation["requestBody"].is_object(), takes_body, "{method} {path}");
    }
    for name in ["NewDevice", "NewAssignment", "Problem", "DeviceShown"] {
        assert!(house.document["components"]["schemas"][name].is_object(), "{name}");
    }
    let mut waiting = vec![&house.document];
    while let Some(value) = waiting.pop() {
        match value {
            Value::Object(members) => {
                if let Some(target) = members.get("$ref").and_then(Value::as_str) {
                    let found = house.document.pointer(target.trim_start_matches('#'));
                    assert!(found.is_some(), "{target}");
                }
                waiting.extend(members.values());
            }
            Value::Array(items) => waiting.extend(items),
            _ => {}
        }
    }
}

#[test]
fn each_route_answers_as_documented_to_who_may_ask_and_to_who_may_not() {
    let house = House::new();
    for (method, path, operation) in house.routes() {
        let what = format!("{method} {path}");
        if operation["security"].is_array() {
            let (place, body) = house.good(&method, &path);
            for who in [As::Nobody, As::Header("authorization", "Bearer x")] {
                let reply = house.ask_as(&method, &place, who, &body);
                assert_eq!(reply.status, 401, "{what}");
                check(&reply, &operation, &what);
            }
        }
        house.make_whole();
        let (place, body) = house.good(&method, &path);
        let reply = house.ask(&method, &place, &body);
        assert!((200..300).contains(&reply.status), "{what}: {} {}", reply.status, reply.text());
        check(&reply, &operation, &what);
    }
}

#[test]
fn whatever_is_wrong_with_a_request_is_told_in_one_form() {
    let house = House::new();
    for (method, path, operation) in house.routes() {
        let what = format!("{method} {path}");
        let ask = |place: &str, body: &[u8], expected: &[u16]| {
            let reply = house.ask(&method, place, body);
            assert!(expected.contains(&reply.status), "{what}: {}: {}", reply.status, reply.text());
            check(&reply, &operation, &format!("{what} at {place}"));
        };
        if let (Some(from), Some(to)) = (path.find('{'), path.find('}')) {
            let broken = format!("{}%FF{}", &path[..from], &path[to + 1..]);
            ask(&house.filled(&broken), b"", &[400]);
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] == "query" && parameter["schema"]["type"].to_string().contains("int")
            {
                let name = parameter["name"].as_str().unwrap();
                ask(&format!("{}?{name}=x", house.filled(&path)), b"", &[400]);
            }
        }
        let content = operation["requestBody"]["content"].as_object();
        let Some(kind) = content.and_then(|content| content.keys().next()) else { continue };
        if kind != "application/octet-stream" {
            ask(&house.filled(&path), b"{", &[400, 422]);
            ask(&house.filled(&path), &vec![b' '; TOO_LARGE], &[413]);
        }
    }
    for (method, path) in [
        ("PATCH", "/api/v1/devices"),
        ("DELETE", "/api/v1/root"),
        ("POST", "/api/v1/health"),
        ("POST", "/v2/turbine/manifests/1"),
    ] {
        assert!(
            house.ask(method, path, b"").error(405).contains("openapi.json"),
            "{method} {path}"
        );
    }
    for path in ["/api/v2/devices", "/api/v1/devices/", "/v2/turbine"] {
        assert!(house.ask("GET", path, b"").error(404).contains("no such page"), "{path}");
    }
    let large = house.ask("PUT", "/api/v1/releases", &vec![b' '; TOO_LARGE]).error(413);
    assert!(large.contains("524288 bytes"), "{large}");
}
