//! Channels: who is told of an alert, how he knows that it is us, and what happens while he is away.

use crate::alerts::{fired, over};
use crate::mqtt::Client;
use crate::running::{PATIENCE, Running, command};
use crate::telemetry::tell;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What a webhook was told.
pub struct Told {
    headers: BTreeMap<String, String>,
    body: String,
}

impl Told {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn id(&self) -> &str {
        &self.headers["x-mlflow-delivery-id"]
    }

    /// Whether it was signed with this secret, as a receiver looks at it.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let Some(tag) = self.headers["x-mlflow-signature"].strip_prefix("v1,") else {
            return false;
        };
        let signed = format!("{}.{}.{}", self.id(), self.headers["x-mlflow-timestamp"], self.body);
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        hmac::verify(&key, signed.as_bytes(), &STANDARD.decode(tag).unwrap()).is_ok()
    }
}

/// Listens as a webhook: answers 204 to who signs with this secret, and 401 to others.
pub fn hook(listener: TcpListener, secret: &'static str) -> Receiver<Told> {
    let (sender, told) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let heard = hear(&mut BufReader::new(&stream));
            let status = match heard.is_signed_with(secret) {
                true => "204 No Content",
                false => "401 Unauthorized",
            };
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            (&stream).write_all(answer.as_bytes()).unwrap();
            if sender.send(heard).is_err() {
                return;
            }
        }
    });
    told
}

pub fn hear(reader: &mut impl BufRead) -> Told {
    let (mut line, mut headers) = (String::new(), BTreeMap::new());
    reader.read_line(&mut line).unwrap();
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length: usize = headers["content-length"].parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Told { headers, body: String::from_utf8(body).unwrap() }
}

/// Takes one mail, and gives what was said between `DATA` and its end, with sender and receivers before it.
fn take_mail(listener: TcpListener) -> Receiver<String> {
    let (sender, taken) = channel();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(&stream);
        let say = |line: &str| (&stream).write_all(format!("{line}\r\n").as_bytes()).unwrap();
        let (mut mail, mut is_data) = (String::new(), false);
        say("220 here");
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap() == 0 {
                break;
            }
            let line = line.trim_end();
            match line.split(' ').next().unwrap() {
                "." if is_data => {
                    is_data = false;
                    say("250 taken");
                    sender.send(std::mem::take(&mut mail)).unwrap();
                }
                _ if is_data => mail.push_str(&format!("{line}\n")),
                "DATA" => {
                    is_data = true;
                    say("354 go on");
                }
                "QUIT" => {
                    say("221 bye");
                    break;
                }
                "MAIL" | "RCPT" => {
                    mail.push_str(&format!("{line}\n"));
                    say("250 ok");
                }
                _ => say("250 ok"),
            }
        }
    });
    taken
}

/// Starts a server with these settings.
pub fn start(data: &Path, settings: &str) -> Running {
    let folder = data.join("settings");
    fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, text: &str| -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    file("hook.secret", &format!("{SECRET}\n"));
    let settings = file("server.toml", settings);
    let data = data.join("data");
    let mut command = command(&data);
    command.arg("--settings").arg(settings);
    Running::launch(command, &data)
}

pub fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

pub fn webhook(name: &str, port: u16, rest: &str) -> String {
    format!(
        "[channels.{name}]\nkind = \"webhook\"\nurl = \"http://127.0.0.1:{port}/hook\"\n\
         secret_file = \"hook.secret\"\n{rest}\n"
    )
}

#[tokio::test]
async fn a_webhook_is_told_signed_that_a_rule_fires_and_is_over() {
    let data = tempfile::tempdir().unwrap();
    let (listener, port) = listener();
    let told = hook(listener, SECRET);
    let server = start(data.path(), &webhook("plant", port, ""));
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    tell(&mut device, "line-3", vec![fired(1, 0, "high", 10_000)]).await;
    let first = told.recv_timeout(PATIENCE).unwrap();
    assert!(first.is_signed_with(SECRET), "{:?}", first.headers);
    assert!(!first.is_signed_with("fedcba9876543210fedcba9876543210"));
    let message = first.json();
    assert_eq!((&message["entity"], &message["action"]), (&"alert".into(), &"fired".into()));
    let alert = &message["data"];
    assert_eq!((&alert["id"], &alert["device"]), (&1.into(), &"line-3".into()));
    assert_eq!((&alert["bundle"], &alert["version"]), (&"turbine".into(), &"1".into()));
    // What was told before is not told again.
    tell(&mut device, "line-3", vec![fired(1, 0, "high", 10_000), over(1, 1)]).await;
    let second = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(second.json()["action"], "over");
    assert_ne!(second.id(), first.id());
    let heard = |shown: &Value| {
        let deliveries = shown["deliveries"].as_array().cloned().unwrap_or_default();
        deliveries.len() == 2 && deliveries.iter().all(|one| one["delivered"].is_string())
    };
    let shown = server.wait_for("/api/v1/alerts/1", heard);
    assert_eq!(shown["deliveries"][0]["id"], first.id());
    assert_eq!(shown["deliveries"][0]["channel"], "plant");
}

#[tokio::test]
async fn who_was_away_is_told_once_he_is_back_under_the_same_number_though_the_server_was_killed() {
    let data = tempfile::tempdir().unwrap();
    let (away, port) = listener();
    drop(away);
    let settings = webhook("plant", port, "");
    let server = start(data.path(), &settings);
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    tell(&mut device, "line-3", vec![fired(1, 0, "high", 10)]).await;
    let failed = |shown: &Value| shown["deliveries"][0]["failures"].as_u64() >= Some(1);
    let before = server.wait_for("/api/v1/alerts/1", failed)["deliveries"][0].clone();
    assert!(!before["trouble"].as_str().unwrap().is_empty(), "{before}");
    server.kill();

    let server = start(data.path(), &settings);
    let told = hook(TcpListener::bind(("127.0.0.1", port)).unwrap(), SECRET);
    let heard = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(heard.id(), before["id"]);
    let is_heard = |shown: &Value| shown["deliveries"][0]["delivered"].is_string();
    let after = server.wait_for("/api/v1/alerts/1", is_heard)["deliveries"][0].clone();
    assert_eq!((&after["trouble"], &after["next"]), (&"".into(), &Value::Null));
}

#[tokio::test]
async fn a_receiver_with_another_secret_is_named_where_people_look() {
    let data = tempfile::tempdir().unwrap();
    let (listener, port) = listener();
    let told = hook(listener, "fedcba9876543210fedcba9876543210");
    let server = start(data.path(), &webhook("plant", port, ""));
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    tell(&mut device, "line-3", vec![fired(1, 0, "high", 10)]).await;
    let (one, other) = (told.recv_timeout(PATIENCE).unwrap(), told.recv_timeout(PATIENCE).unwrap());
    assert_eq!((one.id(), &one.body), (other.id(), &other.body), "it is the same message");
    let failed = |shown: &Value| shown["deliveries"][0]["failures"].as_u64() >= Some(2);
    let shown = server.wait_for("/api/v1/alerts/1", failed);
    let trouble = shown["deliveries"][0]["trouble"].as_str().unwrap();
    assert!(trouble.contains("401") && trouble.contains("is the secret the same"), "{trouble}");
}

#[tokio::test]
async fn people_are_told_by_mail() {
    let data = tempfile::tempdir().unwrap();
    let (listener, port) = listener();
    let taken = take_mail(listener);
    let settings = format!(
        "[channels.shift]\nkind = \"mail\"\nhost = \"127.0.0.1\"\nport = {port}\nstarttls = false\n\
         from = \"Lineside <lineside@plant.example>\"\nto = [\"a@plant.example\", \"b@plant.example\"]\n"
    );
    let server = start(data.path(), &settings);
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    tell(&mut device, "line-3", vec![fired(1, 0, "high", 10)]).await;
    let mail = taken.recv_timeout(PATIENCE).unwrap();
    let is_heard = |shown: &Value| shown["deliveries"][0]["delivered"].is_string();
    let shown = server.wait_for("/api/v1/alerts/1", is_heard);
    let id = shown["deliveries"][0]["id"].as_str().unwrap();
    for words in [
        "MAIL FROM:<lineside@plant.example>",
        "RCPT TO:<a@plant.example>",
        "RCPT TO:<b@plant.example>",
        "Subject: Lineside: high fires at line-3, slot turbine (alert 1)",
        &format!("Message-ID: <{id}@lineside>"),
        "median of score is 1.25",
        "lineside alerts show 1",
    ] {
        assert!(mail.contains(words), "{words}: {mail}");
    }
}

#[tokio::test]
async fn who_has_the_administrators_token_hears_of_alerts_by_mqtt_and_no_device_does() {
    let data = tempfile::tempdir().unwrap();
    let settings = "[channels.hall]\nkind = \"mqtt\"\ntopic = \"lineside/alerts/hall-2\"\n";
    let server = start(data.path(), settings);
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    assert!(device.subscribe("lineside/alerts/#").await.is_err());
    let token = server.token.clone();
    // A device's name is no name for him: he would end its connection.
    assert!(Client::connect(&server, "line-3", "admin", &token).await.is_err());
    assert!(Client::connect(&server, "admin.desk", "admin", "wrong").await.is_err());
    let mut desk = Client::connect(&server, "admin.desk", "admin", &token).await.unwrap();
    desk.subscribe("lineside/alerts/#").await.unwrap();
    tell(&mut device, "line-3", vec![fired(1, 0, "high", 10)]).await;
    let message: Value = serde_json::from_slice(&desk.receive("hall-2").await).unwrap();
    assert_eq!((&message["action"], &message["data"]["rule"]), (&"fired".into(), &"high".into()));
}
