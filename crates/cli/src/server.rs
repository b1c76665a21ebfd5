//! The server, as its HTTP interface has it.

use crate::connection::{Connection, Environment, Token};
use anyhow::{Context, bail};
use lineside_bundle::{BundleName, Digest, MANIFEST_TYPE, archive};
use lineside_trust::{DOCUMENT_BYTES_MAX, PublicKey, Root};
use lineside_wire::name::RoleName;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{Method, Request};
use ureq::tls::{RootCerts, TlsConfig};

/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest silence of the server: a list of releases makes it look at every blob.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Largest answer that is no blob, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Largest refusal that is read.
const REFUSAL_BYTES_MAX: u64 = 64 << 10;
/// Devices that are asked for at once. With all its slots a device takes some ten thousand bytes.
const DEVICES_AT_ONCE: usize = 200;

/// Alerts that are asked for at once, and that are asked for at all.
const ALERTS_AT_ONCE: usize = 1_000;
const ALERTS_MAX: usize = 100_000;

/// Devices of a rollout that are asked for at once.
const ROLLOUT_DEVICES: usize = 1_000;

/// A name as a part of a path or of a query.
fn in_path(name: &str) -> impl Display + '_ {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC)
}

const SESSION: &str = "/api/v1/session";
const PEOPLE: &str = "/api/v1/people";
const PROGRAMS: &str = "/api/v1/programs";

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

/// A server, and the token by which one is let in.
pub struct Server {
    url: String,
    /// None before somebody has logged in.
    token: Option<Token>,
    agent: ureq::Agent,
}

/// The public parts of the keys that the server keeps.
#[derive(Debug, Serialize, Deserialize)]
pub struct OnlineKeys {
    /// Signs assignments.
    pub director: PublicKey,
    /// Signs snapshot and timestamp.
    pub online: PublicKey,
}

/// The token of a role, as the server knows it.
#[derive(Debug, Serialize, Deserialize)]
pub struct TokenShown {
    pub role: String,
    pub made_unix_ms: i64,
}

/// A device to be added.
#[derive(Debug, Serialize)]
pub struct NewDevice<'a> {
    pub name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<&'a str>,
    pub labels: &'a BTreeMap<String, String>,
}

/// What a device shows at the server's door. The server tells it once.
#[derive(Deserialize)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Server {
    /// The server that `connection` names. Nothing is sent yet.
    ///
    /// # Errors
    /// No token, or an address that a token must not be sent to.
    pub fn at(connection: &Connection) -> anyhow::Result<Server> {
        let environment = Environment::read();
        // Where there is no server nobody asks for its token.
        connection.address(&environment)?;
        let token = connection.token(&environment)?;
        Server::of(connection, Some(token))
    }

    /// As [`Server::at`], of somebody who has no token yet.
    ///
    /// # Errors
    /// An address that a password must not be sent to.
    pub fn before_login(connection: &Connection) -> anyhow::Result<Server> {
        Server::of(connection, None)
    }

    /// As [`Server::at`], with the token of the session that was just begun, which lies in `file`.
    ///
    /// # Errors
    /// As there.
    pub fn with_token(connection: &Connection, token: &str, file: &Path) -> anyhow::Result<Server> {
        let origin = file.display().to_string();
        Server::of(connection, Some(Token { text: token.to_owned(), origin }))
    }

    fn of(connection: &Connection, token: Option<Token>) -> anyhow::Result<Server> {
        let environment = Environment::read();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&connection.authority(&environment)?))
            .unversioned_rustls_crypto_provider(provider);
        let agent = ureq::Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .max_redirects(0)
            // A server on loopback is behind no proxy.
            .proxy(None)
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_recv_response(Some(SILENCE_MAX))
            .timeout_per_read(Some(SILENCE_MAX))
            .build()
            .new_agent();
        let url = connection.address(&environment)?;
        Ok(Server { url, token, agent })
    }

    /// Its base URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What is wrong with the server itself, a sentence each; nothing where it says nothing of it.
    pub fn attention(&self) -> Vec<String> {
        #[derive(Deserialize)]
        struct Health {
            attention: Vec<String>,
        }
        // It answers with an error where nothing can be stored, and says why all the same.
        let health = self.send(Method::GET, "/api/v1/health", None).ok();
        let health: Option<Health> =
            health.and_then(|answer| serde_json::from_slice(&answer.body).ok());
        health.map_or_else(Vec::new, |health| health.attention)
    }

    /// The public parts of its keys.
    pub fn online_keys(&self) -> anyhow::Result<OnlineKeys> {
        self.get("/api/v1/online-keys")
    }

    /// The root it follows, if it has one.
    pub fn root(&self) -> anyhow::Result<Option<Vec<u8>>> {
        self.document("/api/v1/root")
    }

    /// Gives it roots that follow each other, the first of them the one that it has or begins with.
    pub fn put_roots(&self, roots: &[Root]) -> anyhow::Result<()> {
        let texts: Result<Vec<&str>, _> =
            roots.iter().map(|root| std::str::from_utf8(root.bytes())).collect();
        let body = serde_json::to_vec(&texts.context("a root is no text")?)?;
        self.send(Method::PUT, "/api/v1/roots", Some((JSON, &body)))?.done().map(drop)
    }

    /// The list of releases it has, if it has one. Not verified.
    pub fn releases(&self) -> anyhow::Result<Option<Vec<u8>>> {
        self.document("/api/v1/releases")
    }

    /// Gives it a list of releases.
    pub fn put_releases(&self, releases: &[u8]) -> anyhow::Result<()> {
        self.send(Method::PUT, "/api/v1/releases", Some((JSON, releases)))?.done().map(drop)
    }

    /// What a delegated role has signed last, if anything. Not verified.
    pub fn role(&self, role: &RoleName) -> anyhow::Result<Option<Vec<u8>>> {
        self.document(&format!("/api/v1/targets/{role}"))
    }

    /// The same, for somebody else who may sign what is at `path` (`pump/2`), too.
    pub fn role_beside(&self, role: &RoleName, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
        self.document(&format!("/api/v1/targets/{role}?path={path}"))
    }

    /// Gives it what a delegated role has signed.
    pub fn put_role(&self, role: &RoleName, list: &[u8]) -> anyhow::Result<()> {
        let path = format!("/api/v1/targets/{role}");
        self.send(Method::PUT, &path, Some((JSON, list)))?.done().map(drop)
    }

    /// Whether it has a blob, of a bundle or of a role.
    pub fn has_blob(&self, name: &impl Display, digest: &Digest) -> anyhow::Result<bool> {
        self.has(&format!("/v2/{name}/blobs/{digest}"))
    }

    /// Whether it has an OCI manifest.
    pub fn has_manifest(&self, bundle: &BundleName, digest: &Digest) -> anyhow::Result<bool> {
        self.has(&format!("/v2/{bundle}/manifests/{digest}"))
    }

    /// Whether it has a blob or a manifest, and gives the very bytes: a disk that fails may give others.
    pub fn gives(&self, name: &impl Display, kind: Kind, digest: &Digest) -> anyhow::Result<bool> {
        let answer = self.send_bounded(
            Method::GET,
            &kind.path(name, digest),
            None,
            archive::BLOB_BYTES_MAX,
        )?;
        match answer.status {
            // What it cannot read it lacks, too.
            404 | 500..=599 => Ok(false),
            _ => Ok(Digest::of(&answer.done()?) == *digest),
        }
    }

    /// Gives it a blob of a bundle or of a role (OCI distribution 1.1, a single POST).
    pub fn put_blob(
        &self,
        name: &impl Display,
        digest: &Digest,
        bytes: &[u8],
    ) -> anyhow::Result<()> {
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        self.send(Method::POST, &path, Some((BYTES, bytes)))?.done().map(drop)
    }

    /// Gives it an OCI manifest; the blobs it names must be there.
    pub fn put_manifest(
        &self,
        bundle: &BundleName,
        digest: &Digest,
        bytes: &[u8],
    ) -> anyhow::Result<()> {
        let path = format!("/v2/{bundle}/manifests/{digest}");
        self.send(Method::PUT, &path, Some((MANIFEST_TYPE, bytes)))?.done().map(drop)
    }

    /// An OCI manifest or a blob of a release or of a role, verified by its digest.
    pub fn blob(
        &self,
        name: &impl Display,
        kind: Kind,
        digest: &Digest,
    ) -> anyhow::Result<Vec<u8>> {
        let path = kind.path(name, digest);
        let answer = self.send_bounded(Method::GET, &path, None, archive::BLOB_BYTES_MAX)?;
        let bytes = answer.done().with_context(|| format!("cannot fetch {digest}"))?;
        if Digest::of(&bytes) != *digest {
            bail!(
                "{} gives other bytes than asked for as {digest}: its disk may be failing",
                self.url
            );
        }
        Ok(bytes)
    }

    /// The key that the server signs its audit log with.
    pub fn audit_key(&self) -> anyhow::Result<String> {
        let answer = self.send(Method::GET, "/api/v1/audit/key", None)?.done()?;
        String::from_utf8(answer).context("the server's audit key is no text")
    }

    /// The audit log from an entry on, as it comes.
    pub fn audit_log(&self, from: u64) -> anyhow::Result<impl BufRead + use<>> {
        let path = format!("/api/v1/audit/entries?from={from}");
        let (status, body) = self.begin(Method::GET, &path, None)?;
        if status != 200 {
            let body = body.into_with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
            return Err(Answer { status, body }.done().err().context("no log")?);
        }
        Ok(BufReader::new(body.into_with_config().limit(u64::MAX).reader()))
    }

    /// Who has a token.
    pub fn tokens(&self) -> anyhow::Result<Vec<TokenShown>> {
        self.get("/api/v1/tokens")
    }

    /// Makes the token of a role; the one before opens nothing from now on.
    pub fn new_token(&self, role: &RoleName) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        struct Made {
            token: String,
        }
        let path = format!("/api/v1/tokens/{role}");
        let made: Made = self.read(&self.send(Method::POST, &path, None)?.done()?, &path)?;
        Ok(made.token)
    }

    /// Takes the token of a role back.
    pub fn remove_token(&self, role: &RoleName) -> anyhow::Result<()> {
        let path = format!("/api/v1/tokens/{role}");
        self.send(Method::DELETE, &path, None)?.done().map(drop)
    }

    /// Adds a device.
    pub fn add_device(&self, device: &NewDevice) -> anyhow::Result<Credentials> {
        self.ask(Method::POST, "/api/v1/devices", device)
    }

    /// Makes a new password for a device; the old one opens nothing from now on.
    pub fn new_password(&self, device: &str) -> anyhow::Result<Credentials> {
        let path = format!("/api/v1/devices/{device}/password");
        self.read(&self.send(Method::POST, &path, None)?.done()?, &path)
    }

    /// Tells it by which key reports of a device are known.
    pub fn put_report_key(&self, device: &str, key: &PublicKey) -> anyhow::Result<()> {
        let path = format!("/api/v1/devices/{device}/report-key");
        let key = serde_json::to_vec(key)?;
        self.send(Method::PUT, &path, Some((JSON, &key)))?.done().map(drop)
    }

    /// Gives it a report that was carried here, and says what it made of it.
    pub fn put_report(&self, report: &[u8]) -> anyhow::Result<Value> {
        let path = "/api/v1/reports";
        self.read(&self.send(Method::POST, path, Some((BYTES, report)))?.done()?, path)
    }

    /// Has it forget a device.
    pub fn remove_device(&self, device: &str) -> anyhow::Result<()> {
        let path = format!("/api/v1/devices/{device}");
        self.send(Method::DELETE, &path, None)?.done().map(drop)
    }

    /// All devices, as the server describes them.
    pub fn devices(&self) -> anyhow::Result<Vec<Value>> {
        self.pages("/api/v1/devices", "name")
    }

    /// All of a list that comes page by page, in the order of what `key` names.
    fn pages(&self, list: &str, key: &str) -> anyhow::Result<Vec<Value>> {
        let mut rows: Vec<Value> = Vec::new();
        loop {
            let after = rows.last().and_then(|row| row[key].as_str()).unwrap_or_default();
            let path = format!("{list}?limit={DEVICES_AT_ONCE}&after={after}");
            let page: Vec<Value> = self.get(&path)?;
            let next = page.first().and_then(|row| row[key].as_str());
            if next.is_some_and(|next| next <= after) {
                bail!(
                    "{}{path} lists devices again; are server and tool of one version?",
                    self.url
                );
            }
            let is_last = page.len() < DEVICES_AT_ONCE;
            rows.extend(page);
            if is_last {
                return Ok(rows);
            }
        }
    }

    /// One device, as the server describes it.
    pub fn device(&self, name: &str) -> anyhow::Result<Value> {
        self.get(&format!("/api/v1/devices/{name}"))
    }

    /// Says which devices need not wait for a person.
    pub fn preauthorise(&self, entries: &[Value]) -> anyhow::Result<()> {
        self.tell(Method::PUT, "/api/v1/identity/preauthorised", &entries.into())
    }

    /// Says where a device stands.
    pub fn place(&self, name: &str, place: &Value) -> anyhow::Result<()> {
        self.tell(Method::PUT, &format!("/api/v1/devices/{name}/place"), place)
    }

    /// Has it make a token with which a device joins.
    pub fn new_join_token(&self, question: &Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, "/api/v1/identity/tokens", question)
    }

    /// All devices that have joined by a key, or want to.
    pub fn joined(&self) -> anyhow::Result<Vec<Value>> {
        self.pages("/api/v1/identity/devices", "device")
    }

    /// Tells it what a person decides about a device that has joined.
    pub fn judge(&self, name: &str, question: &Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, &format!("/api/v1/identity/devices/{name}"), question)
    }

    /// Begins a session of somebody.
    pub fn begin_session(&self, question: &Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, SESSION, question)
    }

    /// Whose session this is.
    pub fn session(&self) -> anyhow::Result<Value> {
        self.get(SESSION)
    }

    /// Ends this session.
    pub fn end_session(&self) -> anyhow::Result<()> {
        self.send(Method::DELETE, SESSION, None)?.done().map(drop)
    }

    /// Shows the password once more.
    pub fn show_again(&self, question: &Value) -> anyhow::Result<()> {
        self.tell(Method::POST, &format!("{SESSION}/again"), question)
    }

    /// Sets another password of who has this session.
    pub fn set_password(&self, question: &Value) -> anyhow::Result<()> {
        self.tell(Method::PUT, &format!("{SESSION}/password"), question)
    }

    /// Has it draw the secret of an authenticator app.
    pub fn new_code(&self) -> anyhow::Result<Value> {
        let path = format!("{SESSION}/authenticator");
        self.read(&self.send(Method::POST, &path, None)?.done()?, &path)
    }

    /// Takes the authenticator app into use.
    pub fn confirm_code(&self, question: &Value) -> anyhow::Result<()> {
        self.tell(Method::PUT, &format!("{SESSION}/authenticator"), question)
    }

    /// People, and what each may do.
    pub fn people(&self) -> anyhow::Result<Vec<Value>> {
        self.get(PEOPLE)
    }

    /// Adds somebody.
    pub fn add_person(&self, question: &Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, PEOPLE, question)
    }

    /// Grants somebody other roles.
    pub fn grant(&self, name: &str, question: &Value) -> anyhow::Result<Value> {
        self.ask(Method::PUT, &format!("{PEOPLE}/{}", in_path(name)), question)
    }

    /// Has it make a new password for somebody.
    pub fn new_password_of(&self, name: &str, question: &Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, &format!("{PEOPLE}/{}/password", in_path(name)), question)
    }

    /// Forgets somebody.
    pub fn remove_person(&self, name: &str) -> anyhow::Result<()> {
        let path = format!("{PEOPLE}/{}", in_path(name));
        self.send(Method::DELETE, &path, None)?.done().map(drop)
    }

    /// Programs that have a token.
    pub fn programs(&self) -> anyhow::Result<Vec<Value>> {
        self.get(PROGRAMS)
    }

    /// Has it make the token of a program.
    pub fn make_program(&self, name: &str, question: &Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, &format!("{PROGRAMS}/{}", in_path(name)), question)
    }

    /// Takes the token of a program back.
    pub fn remove_program(&self, name: &str) -> anyhow::Result<()> {
        let path = format!("{PROGRAMS}/{}", in_path(name));
        self.send(Method::DELETE, &path, None)?.done().map(drop)
    }

    /// Tells it something to which there is no answer but that it was done.
    fn tell(&self, method: Method, path: &str, what: &Value) -> anyhow::Result<()> {
        let what = serde_json::to_vec(what)?;
        self.send(method, path, Some((JSON, &what)))?.done().map(drop)
    }

    /// What it knows of the log of a device: lines after the one of this number.
    pub fn log(&self, name: &str, after: u64) -> anyhow::Result<Value> {
        self.get(&format!("/api/v1/devices/{name}/log?after={after}"))
    }

    /// Has the server ask a device for lines of its log.
    pub fn ask_log(&self, name: &str, question: &Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, &format!("/api/v1/devices/{name}/log"), question)
    }

    /// What is signed for a device.
    pub fn documents<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<T> {
        self.get(&format!("/api/v1/devices/{name}/documents"))
    }

    /// Has the server ask devices whether a release would run on them.
    pub fn would_run(&self, release: &str, question: &Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, &format!("/api/v1/releases/{release}/ask"), question)
    }

    /// Has the server sign which release a slot shall hold.
    /// With `again`, the device is to try it again though it may have given it up.
    pub fn assign(
        &self,
        device: &str,
        slot: &str,
        release: &str,
        again: bool,
    ) -> anyhow::Result<Value> {
        let path = format!("/api/v1/devices/{device}/slots/{slot}");
        let body = serde_json::json!({ "release": release, "again": again });
        self.ask(Method::PUT, &path, &body)
    }

    /// Has the server sign that a person approves what is assigned to a slot.
    pub fn approve(&self, device: &str, slot: &str, release: &str) -> anyhow::Result<Value> {
        let path = format!("/api/v1/devices/{device}/slots/{slot}/approve");
        self.ask(Method::POST, &path, &serde_json::json!({ "release": release }))
    }

    /// Has the server sign that it says nothing any longer of what a slot shall hold.
    pub fn unassign(&self, device: &str, slot: &str) -> anyhow::Result<Value> {
        let path = format!("/api/v1/devices/{device}/slots/{slot}");
        self.read(&self.send(Method::DELETE, &path, None)?.done()?, &path)
    }

    /// What it knows of the fleet as a whole: `drift` or `summary`, asked for by a query.
    pub fn overview(&self, what: &str, query: &str) -> anyhow::Result<Value> {
        self.get(&format!("/api/v1/{what}?{query}"))
    }

    /// How often the answers of a device's slot were right, span by span.
    pub fn quality(&self, device: &str, query: &str) -> anyhow::Result<Value> {
        self.get(&format!("/api/v1/devices/{device}/quality?{query}&limit=1000"))
    }

    /// Alerts, the newest first, asked for by a query.
    pub fn alerts(&self, query: &str) -> anyhow::Result<Value> {
        self.get(&format!("/api/v1/alerts?{query}"))
    }

    /// Alerts, of one device where it is named: all that are kept, or the newest of very many. The newest first.
    pub fn all_alerts(&self, device: Option<&str>) -> anyhow::Result<Vec<Value>> {
        let device = device.map(|device| format!("&device={device}")).unwrap_or_default();
        let mut alerts: Vec<Value> = Vec::new();
        loop {
            let last = alerts.last().and_then(|alert| alert["id"].as_u64());
            let before = last.map(|id| format!("&before={id}")).unwrap_or_default();
            let path = format!("/api/v1/alerts?limit={ALERTS_AT_ONCE}{device}{before}");
            let page: Vec<Value> = self.get(&path)?;
            let next = page.first().and_then(|alert| alert["id"].as_u64());
            if last.is_some() && next >= last {
                bail!("{}{path} lists alerts again; are server and tool of one version?", self.url);
            }
            let is_last = page.len() < ALERTS_AT_ONCE;
            alerts.extend(page);
            if is_last || alerts.len() >= ALERTS_MAX {
                return Ok(alerts);
            }
        }
    }

    /// One alert, as the server describes it.
    pub fn alert(&self, id: u64) -> anyhow::Result<Value> {
        self.get(&format!("/api/v1/alerts/{id}"))
    }

    /// Tells it what somebody has decided on an alert.
    pub fn decide(&self, id: u64, decision: &str, by: &str) -> anyhow::Result<Value> {
        let path = format!("/api/v1/alerts/{id}/{decision}");
        self.ask(Method::POST, &path, &serde_json::json!({ "by": by }))
    }

    /// The sites of which something is said.
    pub fn sites(&self) -> anyhow::Result<Value> {
        self.get("/api/v1/sites")
    }

    /// Says what holds at a site for rollouts.
    pub fn set_site(&self, site: &str, settings: &Value) -> anyhow::Result<Value> {
        self.ask(Method::PUT, &format!("/api/v1/sites/{}", in_path(site)), settings)
    }

    /// Says nothing of a site any longer.
    pub fn unset_site(&self, site: &str) -> anyhow::Result<()> {
        self.send(Method::DELETE, &format!("/api/v1/sites/{}", in_path(site)), None)?.done()?;
        Ok(())
    }

    /// The rollouts, the newest first.
    pub fn rollouts(&self) -> anyhow::Result<Value> {
        self.get("/api/v1/rollouts")
    }

    /// One rollout, as the server describes it.
    pub fn rollout(&self, id: u32) -> anyhow::Result<Value> {
        self.get(&format!("/api/v1/rollouts/{id}"))
    }

    /// The devices of a rollout, those in one state if it is named.
    pub fn rollout_devices(&self, id: u32, state: Option<&str>) -> anyhow::Result<Value> {
        let mut all = Vec::new();
        loop {
            let mut path = format!("/api/v1/rollouts/{id}/devices?limit={ROLLOUT_DEVICES}");
            if let Some(state) = state {
                let _ = write!(path, "&state={}", in_path(state));
            }
            if let Some(last) = all.last().and_then(|last: &Value| last["device"].as_str()) {
                let _ = write!(path, "&after={last}");
            }
            let page: Vec<Value> = self.get(&path)?;
            let is_last = page.len() < ROLLOUT_DEVICES;
            all.extend(page);
            if is_last {
                return Ok(Value::Array(all));
            }
        }
    }

    /// Plans a rollout.
    pub fn plan_rollout(&self, plan: &Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, "/api/v1/rollouts", plan)
    }

    /// What a rollout would do.
    pub fn preflight(&self, plan: &Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, "/api/v1/rollouts/preflight", plan)
    }

    /// Tells it what somebody wants of a rollout.
    pub fn wish(&self, id: u32, wish: &Value, by: &str) -> anyhow::Result<Value> {
        let path = format!("/api/v1/rollouts/{id}/wishes");
        self.ask(Method::POST, &path, &serde_json::json!({ "wish": wish, "by": by }))
    }

    /// Has it forget a rollout that is over.
    pub fn forget_rollout(&self, id: u32) -> anyhow::Result<()> {
        self.send(Method::DELETE, &format!("/api/v1/rollouts/{id}"), None)?.done()?;
        Ok(())
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.read(&self.send(Method::GET, path, None)?.done()?, path)
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        question: &impl Serialize,
    ) -> anyhow::Result<T> {
        let question = serde_json::to_vec(question)?;
        self.read(&self.send(method, path, Some((JSON, &question)))?.done()?, path)
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8], path: &str) -> anyhow::Result<T> {
        serde_json::from_slice(body).with_context(|| {
            format!(
                "{}{path} answers in another form; are server and tool of one version?",
                self.url
            )
        })
    }

    /// A document, or nothing where the server has none yet.
    fn document(&self, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let answer = self.send(Method::GET, path, None)?;
        if answer.status == 404 {
            return Ok(None);
        }
        let bytes = answer.done()?;
        if bytes.len() > DOCUMENT_BYTES_MAX {
            bail!("{}{path} has {} bytes, {DOCUMENT_BYTES_MAX} are allowed", self.url, bytes.len());
        }
        Ok(Some(bytes))
    }

    fn has(&self, path: &str) -> anyhow::Result<bool> {
        let answer = self.send(Method::HEAD, path, None)?;
        match answer.status {
            200 => Ok(true),
            404 => Ok(false),
            _ => answer.done().map(|_| false),
        }
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, &[u8])>,
    ) -> anyhow::Result<Answer> {
        self.send_bounded(method, path, body, ANSWER_BYTES_MAX)
    }

    fn send_bounded(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, &[u8])>,
        bytes_max: u64,
    ) -> anyhow::Result<Answer> {
        let url = &self.url;
        let (status, mut body) = self.begin(method, path, body)?;
        let body = match body.with_config().limit(bytes_max).read_to_vec() {
            Ok(body) => body,
            Err(ureq::Error::BodyExceedsLimit(_)) => bail!(
                "the answer of {url}{path} has more than the {bytes_max} bytes that are read of one"
            ),
            Err(error) => {
                let problem = format!("the server at {url} stopped in the middle of an answer");
                return Err(error).context(problem);
            }
        };
        Ok(Answer { status, body })
    }

    /// Asks, and has the answer begin.
    fn begin(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, &[u8])>,
    ) -> anyhow::Result<(u16, ureq::Body)> {
        let Server { url, token, agent } = self;
        let mut request = Request::builder().method(method).uri(format!("{url}{path}"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {}", token.text));
        }
        let answer = match body {
            Some((kind, bytes)) => agent.run(request.header("content-type", kind).body(bytes)?),
            None => agent.run(request.body(())?),
        };
        let answer = answer.with_context(|| {
            format!(
                "cannot reach the server at {url}; is it running? Start it with `lineside-server run`, \
                 or name another with --server URL or --data DIR"
            )
        })?;
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        if let (401, Some(token)) = (status, token) {
            let told =
                body.with_config().limit(REFUSAL_BYTES_MAX).read_to_vec().unwrap_or_default();
            let told = refusal(&told).unwrap_or_else(|| "it says no more".into());
            bail!(
                "the server at {url} does not accept the token of {}: {told}; give --data DIR or --token-file FILE",
                token.origin
            );
        }
        Ok((status, body))
    }
}

/// Which of two places a digest is looked up in.
#[derive(Clone, Copy)]
pub enum Kind {
    Manifest,
    Blob,
}

impl Kind {
    fn path(self, name: &impl Display, digest: &Digest) -> String {
        match self {
            Kind::Manifest => format!("/v2/{name}/manifests/{digest}"),
            Kind::Blob => format!("/v2/{name}/blobs/{digest}"),
        }
    }
}

impl Answer {
    /// The body, if the server did what it was asked; else its words.
    fn done(self) -> anyhow::Result<Vec<u8>> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        match refusal(&self.body) {
            Some(error) if self.status < 500 => bail!("the server refuses: {error}"),
            Some(error) => bail!("the server failed, its log may say more: {error}"),
            None => bail!("the server answers with HTTP status {}", self.status),
        }
    }
}

/// What the server says of what it did not do.
fn refusal(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    serde_json::from_slice(body).ok().map(|Refusal { error }| error)
}
