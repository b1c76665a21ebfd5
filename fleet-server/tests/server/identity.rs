//! Devices join by their keys, over TLS, through the real server.

use crate::channels;
use crate::running::{As, PATIENCE, Running};
use lineside_identity::{Authority, CertificateRequest, DeviceKey, read_chain};
use ring::rand::SystemRandom;
use serde_json::{Value, json};
use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use time::OffsetDateTime;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

const SETTINGS: &str =
    "[tls]\nhttp = \"127.0.0.1:0\"\nmqtt = \"127.0.0.1:0\"\nnames = [\"127.0.0.1\"]\n";

/// A server with TLS, and where that is.
pub struct Served {
    pub server: Running,
    url: String,
    /// Host and port of the broker.
    pub mqtts: String,
    /// The authority's certificate, as PEM.
    pub authority: String,
    roots: RootCerts,
    folder: tempfile::TempDir,
}

pub fn served() -> Served {
    served_from(tempfile::tempdir().unwrap())
}

/// A server with the authority that it made so many days ago.
pub fn served_since(days: i64) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("data/keys");
    std::fs::create_dir_all(&keys).unwrap();
    let (then, random) =
        (OffsetDateTime::now_utc() - time::Duration::days(days), SystemRandom::new());
    let authority = Authority::make("Plant 4", &[], then, &random).unwrap();
    for (name, text) in [("key", authority.key().to_pem().as_str()), ("pem", authority.pem())] {
        let path = keys.join(format!("authority.{name}"));
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    served_from(folder)
}

fn served_from(folder: tempfile::TempDir) -> Served {
    let server = channels::start(folder.path(), SETTINGS);
    let data = folder.path().join("data");
    let endpoints = std::fs::read_to_string(data.join("endpoints.json")).unwrap();
    let endpoints: Value = serde_json::from_str(&endpoints).unwrap();
    let endpoint = |key: &str| endpoints[key].as_str().unwrap().to_owned();
    let authority = shown(&data);
    let root = Certificate::from_pem(authority.as_bytes()).unwrap();
    let roots = RootCerts::new_with_certs(&[root]);
    let (url, mqtts) = (endpoint("https"), endpoint("mqtts"));
    Served { server, url, mqtts, authority, roots, folder }
}

fn shown(data: &Path) -> String {
    std::fs::read_to_string(data.join("authority.pem")).unwrap()
}

/// A device with its key, and the certificate that it has.
pub struct Device {
    pub name: &'static str,
    pub key: DeviceKey,
    pub certificate: Option<String>,
}

impl Device {
    pub fn new(name: &'static str) -> Device {
        let key = DeviceKey::generate(&SystemRandom::new()).unwrap();
        Device { name, key, certificate: None }
    }

    pub fn request(&self) -> String {
        let random = SystemRandom::new();
        CertificateRequest::sign(&self.name.parse().unwrap(), &self.key, &random).unwrap()
    }

    fn shows(&self) -> Option<ClientCert> {
        let chain = read_chain(self.certificate.as_deref()?).unwrap();
        let chain: Vec<_> = chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let key = PrivateKey::from_pem(self.key.to_pem().as_bytes()).unwrap();
        Some(ClientCert::new_with_certs(&chain, key))
    }
}

impl Served {
    /// Asks over TLS, as a device with what it has.
    fn ask(&self, device: &Device, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.try_ask(device, method, path, body).unwrap()
    }

    fn try_ask(
        &self,
        device: &Device,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<(u16, Value), ureq::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .root_certs(self.roots.clone())
            .client_cert(device.shows())
            .unversioned_rustls_crypto_provider(provider);
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .tls_config(tls.build())
            .build()
            .into();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("content-type", "application/json");
        let body = if method == "GET" { Vec::new() } else { body.to_string().into_bytes() };
        let mut answer = agent.run(request.body(body).unwrap())?;
        let text = answer.body_mut().read_to_string()?;
        Ok((answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    fn join(&self, device: &Device, token: Option<&str>) -> Value {
        let body = match token {
            Some(token) => json!({ "token": token, "request": device.request() }),
            None => json!({ "request": device.request() }),
        };
        let (status, answer) = self.ask(device, "POST", "/api/v1/identity/join", &body);
        assert_eq!(status, 200, "{answer}");
        answer
    }

    fn renew(&self, device: &Device) -> Value {
        let body = json!({ "request": device.request() });
        let (status, answer) = self.ask(device, "POST", "/api/v1/identity/renew", &body);
        assert_eq!(status, 200, "{answer}");
        answer
    }

    pub fn people(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let reply = self.server.ask(method, path, As::Administrator, body.to_string().as_bytes());
        (reply.status, serde_json::from_slice(&reply.body).unwrap_or(Value::Null))
    }

    /// The folder of its data.
    pub fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    fn token(&self) -> String {
        let (status, made) = self.people("POST", "/api/v1/identity/tokens", &json!({}));
        assert_eq!(status, 201, "{made}");
        made["token"].as_str().unwrap().to_owned()
    }

    pub fn judge(&self, device: &Device, judgement: &str) -> (u16, Value) {
        let path = format!("/api/v1/identity/devices/{}", device.name);
        let key = device.key.fingerprint().to_string();
        self.people("POST", &path, &json!({ "judgement": judgement, "key": key }))
    }

    /// Joins and is accepted.
    pub fn accepted(&self, name: &'static str) -> Device {
        let mut device = Device::new(name);
        assert_eq!(self.join(&device, Some(&self.token()))["answer"], "wait");
        assert_eq!(self.judge(&device, "accept").0, 200);
        let issued = self.join(&device, None);
        device.certificate = Some(issued["certificates"].as_str().unwrap().to_owned());
        device
    }
}

#[test]
fn a_device_joins_waits_is_accepted_and_comes_by_its_key_until_it_is_revoked() {
    let served = served();
    let mut device = Device::new("line-3");
    let (status, made) = served.people(
        "POST",
        "/api/v1/identity/tokens",
        &json!({ "device": "line-3", "site": "hill", "labels": { "line": "3" } }),
    );
    assert_eq!(status, 201, "{made}");
    // With it goes all that the device is to know of the server.
    assert_eq!(made["https"], *served.url);
    assert_eq!(made["mqtts"], *served.mqtts);
    assert_eq!(made["authority"], *served.authority);
    let token = made["token"].as_str().unwrap();
    assert_eq!(served.join(&device, None)["answer"], "refused");
    assert_eq!(served.join(&device, Some(token)), json!({ "answer": "wait", "after": 60 }));
    let (_, waiting) = served.people("GET", "/api/v1/identity/devices", &Value::Null);
    assert_eq!(waiting[0]["standing"], "pending");
    assert_eq!(waiting[0]["key"], device.key.fingerprint().to_string());
    // It is nobody until then.
    let timestamp = "/tuf/metadata/timestamp.json";
    assert_eq!(served.ask(&device, "GET", timestamp, &Value::Null).0, 401);

    let stranger = Device::new("line-3");
    assert_eq!(served.judge(&stranger, "accept").0, 409);
    let (status, accepted) = served.judge(&device, "accept");
    assert_eq!((status, &accepted["standing"]), (200, &json!("accepted")));
    // It stands where it was said when the token was made, until something else is said.
    let known = || served.people("GET", "/api/v1/devices/line-3", &Value::Null).1;
    assert_eq!((&known()["site"], &known()["labels"]["line"]), (&json!("hill"), &json!("3")));
    let place = "/api/v1/devices/line-3/place";
    assert_eq!(served.people("PUT", place, &json!({ "site": "dale" })).0, 204);
    assert_eq!((&known()["site"], &known()["labels"]), (&json!("dale"), &json!({})));
    let issued = served.join(&device, None);
    assert_eq!(issued["answer"], "issued");
    device.certificate = Some(issued["certificates"].as_str().unwrap().to_owned());

    // There is nothing signed yet, which it is told because it is known.
    let (status, answer) = served.ask(&device, "GET", timestamp, &Value::Null);
    assert!([404, 409].contains(&status), "{status} {answer}");
    // What is the administrator's is not for a device.
    assert_eq!(served.ask(&device, "GET", "/api/v1/devices", &Value::Null).0, 401);
    assert_eq!(served.renew(&device)["answer"], "too_early");
    // Who has lost the certificate is given another by its key alone.
    let lost = Device { certificate: None, ..device };
    assert_eq!(served.renew(&lost)["answer"], "issued");
    let device = Device { certificate: issued["certificates"].as_str().map(str::to_owned), ..lost };

    let (status, revoked) = served.judge(&device, "revoke");
    assert_eq!((status, &revoked["standing"]), (200, &json!("revoked")));
    let (status, answer) = served.ask(&device, "GET", timestamp, &Value::Null);
    assert_eq!(status, 401, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("revoked"), "{answer}");
    assert_eq!(served.renew(&device)["answer"], "refused");
}

#[test]
fn what_concerns_keys_is_for_those_who_enrol_everywhere() {
    let served = served();
    let granted = |name: &str, grant: Value| {
        let path = format!("/api/v1/programs/{name}");
        let (status, made) = served.people("POST", &path, &json!({ "grants": [grant] }));
        assert_eq!(status, 201, "{made}");
        made["token"].as_str().unwrap().to_owned()
    };
    let viewer = granted("viewer", json!({ "role": "viewer" }));
    let of_dale = granted("dale", json!({ "role": "operator", "sites": ["dale"] }));
    let operator = granted("operator", json!({ "role": "operator" }));
    let ask = |token: &str, method: &str, path: &str, body: &Value| {
        served.server.ask(method, path, As::Token(token), body.to_string().as_bytes()).status
    };
    let tokens = "/api/v1/identity/tokens";
    let devices = "/api/v1/identity/devices";
    let of_hill = json!({ "device": "line-3", "site": "hill" });
    assert_eq!(ask(&viewer, "POST", tokens, &of_hill), 403);
    assert_eq!(ask(&of_dale, "POST", tokens, &of_hill), 403);
    assert_eq!(ask(&operator, "POST", tokens, &of_hill), 201);
    assert_eq!(
        (ask(&viewer, "GET", tokens, &Value::Null), ask(&viewer, "GET", devices, &Value::Null)),
        (403, 200)
    );
    assert_eq!(ask(&of_dale, "GET", devices, &Value::Null), 403);
    // Nobody has a name first that another site's device will come by.
    let taken = json!({ "name": "line-3", "site": "dale" });
    assert_eq!(ask(&of_dale, "POST", "/api/v1/devices", &taken), 403);
    assert_eq!(
        ask(&of_dale, "POST", "/api/v1/devices", &json!({ "name": "line-4", "site": "dale" })),
        201
    );
    let device = served.accepted("line-5");
    let key = device.key.fingerprint().to_string();
    let revoke = json!({ "judgement": "revoke", "key": key });
    let path = "/api/v1/identity/devices/line-5";
    for (who, expected) in [(&viewer, 403), (&of_dale, 403), (&operator, 200)] {
        assert_eq!(ask(who, "POST", path, &revoke), expected);
    }
    // It gets no password in the place of its key.
    assert_eq!(ask(&operator, "POST", "/api/v1/devices/line-5/password", &Value::Null), 409);
}

#[test]
fn certificates_of_others_are_no_certificates_and_the_server_is_known_by_its_own() {
    let (ours, theirs) = (served(), served());
    let device = ours.accepted("line-3");
    let path = "/api/v1/health";
    assert_eq!(ours.ask(&device, "GET", path, &Value::Null).0, 200);
    // A server with the same name and another authority.
    let fooled = Served { roots: ours.roots.clone(), ..served() };
    assert!(fooled.try_ask(&Device::new("line-9"), "GET", path, &Value::Null).is_err());
    // A certificate of another fleet ends the connection, whatever it is for.
    let foreign = theirs.accepted("line-3");
    assert!(ours.try_ask(&foreign, "GET", path, &Value::Null).is_err());
}

#[test]
fn who_does_not_speak_tls_keeps_nobody_from_coming_and_nobody_joins_in_the_clear() {
    let served = served();
    let address = served.url.strip_prefix("https://").unwrap();
    // Hundreds who never end their handshake.
    let silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
    let began = Instant::now();
    let device = Device::new("line-3");
    assert_eq!(served.ask(&device, "GET", "/api/v1/health", &Value::Null).0, 200);
    assert!(began.elapsed() < PATIENCE);
    let mut plain = TcpStream::connect(address).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    plain.write_all(b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    drop(silent);

    let token = served.token();
    let body = json!({ "token": token, "request": device.request() });
    let (status, answer) = served.people("POST", "/api/v1/identity/join", &body);
    assert_eq!(status, 409, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("TLS"), "{answer}");
    // The token is as good as before.
    assert_eq!(served.join(&device, Some(&token))["answer"], "wait");
}

#[test]
fn the_authority_outlives_the_server_and_what_is_for_people_is_for_them_alone() {
    let folder = tempfile::tempdir().unwrap();
    let server = channels::start(folder.path(), SETTINGS);
    let data = folder.path().join("data");
    let authority = shown(&data);
    let document = server.get("/api/v1/openapi.json").json();
    let routes: Vec<(&String, &Value)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(path, _)| path.starts_with("/api/v1/identity/"))
        .collect();
    assert_eq!(routes.len(), 7);
    for (path, item) in routes {
        let place = path.replace("{device}", "line-3").replace("{hash}", "x");
        for (method, operation) in item.as_object().unwrap() {
            let (method, is_open) = (method.to_uppercase(), operation["security"].is_null());
            assert_eq!(
                is_open,
                ["/api/v1/identity/join", "/api/v1/identity/renew"].contains(&&**path)
            );
            let asked = |who, body: &[u8]| server.ask(&method, &place, who, body).status;
            if !is_open {
                assert_eq!(asked(As::Nobody, b"{}"), 401, "{method} {path}");
            }
            if operation["requestBody"].is_object() {
                assert_eq!(asked(As::Administrator, b"{"), 400, "{method} {path}");
                assert_eq!(asked(As::Administrator, &vec![b' '; 5 << 20]), 413, "{method} {path}");
            }
        }
    }
    let (status, listed) = {
        let body = json!([{ "device": "line-3", "serial": "A-1" }]).to_string();
        let put = server.put("/api/v1/identity/preauthorised", body.as_bytes());
        (put.status, server.get("/api/v1/identity/preauthorised").json())
    };
    assert_eq!((status, &listed[0]["serial"]), (204, &json!("A-1")));
    drop(server);

    let server = channels::start(folder.path(), SETTINGS);
    assert_eq!(shown(&data), authority);
    drop(server);
    // Without TLS nobody joins, and all of this is not there.
    let server = channels::start(folder.path(), "");
    let said = server.get("/api/v1/identity/devices").error(409);
    assert!(said.contains("[tls]"), "{said}");
}
