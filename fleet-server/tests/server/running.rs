//! A server under test and how it is talked to.

use crate::books::address_file;
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use ureq::http::{HeaderMap, Request};

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A server that is killed when the test ends.
pub struct Running {
    child: Child,
    pub http: String,
    pub mqtt: String,
    pub token: String,
    agent: ureq::Agent,
}

/// Who asks.
#[derive(Clone, Copy)]
pub enum As<'a> {
    Administrator,
    Device(&'a str, &'a str),
    Token(&'a str),
    Nobody,
    Header(&'a str, &'a str),
}

/// An answer.
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// The sentence of an error of this status.
    pub fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()["error"].as_str().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub fn command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lineside-server"));
    command.args(["run", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--data"]).arg(data);
    if let Some(file) = address_file(data) {
        command.arg("--database").arg(file);
    }
    command.env_remove("RUST_LOG").stdin(Stdio::null()).stderr(Stdio::null());
    command
}

impl Running {
    /// Starts a server on a data folder and waits until it says where it is.
    pub fn start(data: &Path) -> Running {
        Running::launch(command(data), data)
    }

    /// Starts a server on a data folder by a command of one's own.
    pub fn launch(mut command: Command, data: &Path) -> Running {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut said = String::new();
        let mut piece = [0; 256];
        // The pipe ends when the server does, so this ends either way.
        while said.lines().filter(|line| !line.is_empty()).count() < 2 || !said.ends_with('\n') {
            let read = stdout.read(&mut piece).unwrap();
            assert!(read > 0, "the server ended: {said}");
            said.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        }
        let find = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {said}")).to_owned()
        };
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE));
        Running {
            http: find("http "),
            mqtt: find("mqtt "),
            token: std::fs::read_to_string(data.join("admin.token")).unwrap().trim().to_owned(),
            agent: config.build().into(),
            child,
        }
    }

    /// Asks, with a body.
    pub fn ask(&self, method: &str, path: &str, who: As<'_>, body: &[u8]) -> Reply {
        self.ask_with(method, path, who, &[("content-type", "application/json")], body)
    }

    /// Asks, with headers.
    pub fn ask_with(
        &self,
        method: &str,
        path: &str,
        who: As<'_>,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.http));
        match who {
            As::Administrator => {
                request = request.header("authorization", format!("Bearer {}", self.token));
            }
            As::Device(user, password) => {
                let text = encode_base64(format!("{user}:{password}").as_bytes());
                request = request.header("authorization", format!("Basic {text}"));
            }
            As::Token(token) => {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            As::Header(name, value) => request = request.header(name, value),
            As::Nobody => {}
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.agent.run(request.body(body).unwrap()).unwrap();
        let (parts, body) = response.into_parts();
        let mut bytes = Vec::new();
        body.into_with_config().reader().read_to_end(&mut bytes).unwrap();
        Reply { status: parts.status.as_u16(), headers: parts.headers, body: bytes }
    }

    pub fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, As::Administrator, b"")
    }

    pub fn put(&self, path: &str, body: &[u8]) -> Reply {
        self.ask("PUT", path, As::Administrator, body)
    }

    /// Gives it a root.
    pub fn put_root(&self, root: &[u8]) -> Reply {
        let root = String::from_utf8(root.to_vec()).unwrap();
        self.put("/api/v1/roots", json!([root]).to_string().as_bytes())
    }

    /// What a browser is given for the token.
    pub fn log_in(&self) -> String {
        let reply = self.ask("GET", &format!("/?token={}", self.token), As::Nobody, b"");
        assert_eq!((reply.status, reply.header("location")), (303, "/"));
        reply.header("set-cookie").to_owned()
    }

    /// A page as a browser shows it.
    pub fn page(&self, path: &str) -> String {
        let cookie = self.log_in();
        let cookie = cookie.split(';').next().unwrap();
        let reply = self.ask("GET", path, As::Header("cookie", cookie), b"");
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.text()
    }

    /// Adds a device and gives its password.
    pub fn add_device(&self, name: &str) -> String {
        let new = json!({ "name": name, "site": "hill", "labels": { "line": "3" } });
        let body = new.to_string();
        let reply = self.ask("POST", "/api/v1/devices", As::Administrator, body.as_bytes());
        assert_eq!(reply.status, 201, "{}", reply.text());
        reply.json()["password"].as_str().unwrap().to_owned()
    }

    /// Assigns a release.
    pub fn assign(&self, device: &str, slot: &str, release: &str) -> Reply {
        let path = format!("/api/v1/devices/{device}/slots/{slot}");
        self.put(&path, json!({ "release": release }).to_string().as_bytes())
    }

    /// Asks again and again until the answer is as wanted.
    pub fn wait_for(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let value = self.get(path).json();
            if wanted(&value) {
                return value;
            }
            assert!(since.elapsed() < PATIENCE, "still {value}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Takes the power away.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the server has ended by itself; gives whether it was content.
    pub fn wait(mut self) -> bool {
        self.child.wait().unwrap().success()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn encode_base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
