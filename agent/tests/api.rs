//! The local API of a real agent: models of the committed release for programs beside it.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod kit;
#[path = "kit/plant.rs"]
mod plant;
#[path = "../../tests/tuf-client/tests/python/mod.rs"]
mod python;
#[path = "kit/served.rs"]
mod served;

use kit::wait;
use lineside_agent::store::Store;
use lineside_agent::telemetry::spool::Spool;
use lineside_oip::{Form, InferRequest, Tensor};
use lineside_wire::v1::Quality;
use plant::{Plant, SENSOR};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use served::{Served, agent, ask, read};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The client that everybody has, and what it needs.
const TRITON: &[u8] = include_bytes!("triton.txt");
/// What knows whether a document is OpenAPI, and what it needs.
const OPENAPI: &[u8] = include_bytes!("openapi.txt");

#[test]
fn the_client_that_everybody_has_works_with_every_datatype() {
    let served = Served::start("");
    served.wait_for("1");
    let mut python = Command::new(python::python("triton", TRITON));
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/triton.py"));
    let said = python::run("tritonclient", python.arg(served.url.trim_start_matches("http://")));
    assert_eq!(String::from_utf8_lossy(&said).trim(), "13 datatypes");
}

#[test]
fn the_document_is_openapi_with_models_of_every_datatype_and_without_any() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("openapi.json");
    let validate = |served: &Served| {
        let (_, document) = served.get("/openapi.json");
        fs::write(&file, document.to_string()).unwrap();
        let mut python = Command::new(python::python("openapi", OPENAPI));
        python.env("PYTHONDONTWRITEBYTECODE", "1");
        python.args(["-m", "openapi_spec_validator", "--schema", "3.1"]).arg(&file);
        python::run("openapi-spec-validator", &mut python);
        document
    };
    validate(&Served::vacant("", &[]));
    let served = Served::start("");
    served.wait_for("1");
    let document = validate(&served);
    assert!(document["paths"].as_object().unwrap().len() > 3 * 13, "{document}");
}

#[test]
fn who_sends_a_large_body_that_is_not_wanted_hears_why() {
    let token = "0123456789abcdef0123456789abcdef";
    let lines = "address = '127.0.0.1:0'\ntoken_file = 'token'\nbody_mib_max = 8";
    let served = Served::start_with(lines, &[("token", token.as_bytes())]);
    let large = vec![b' '; 8 << 20];
    for (path, shown, status) in [
        ("/v2/models/echo.none/infer", token, 404),
        ("/v2/models/echo.f32/versions/7/infer", token, 404),
        ("/nothing", token, 404),
        ("/v2", token, 405),
    ] {
        wait("it is served", || {
            let request = agent().get(format!("{}/v2/models/echo.f32", served.url));
            let answer = request.header("authorization", format!("Bearer {token}")).call();
            (answer.unwrap().status() == 200).then_some(())
        });
        // Whoever sends all of it before he listens, as most clients do.
        let mut stream = TcpStream::connect(served.url.trim_start_matches("http://")).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {shown}\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            large.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&large).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
}

#[test]
fn whoever_may_not_ask_has_little_of_a_body_read_and_who_asks_first_has_none() {
    let token = "0123456789abcdef0123456789abcdef";
    let lines = "address = '127.0.0.1:0'\ntoken_file = 'token'\nbody_mib_max = 64";
    let served = Served::start_with(lines, &[("token", token.as_bytes())]);
    let send = |path: &str, shown: &str, length: usize, more: &str| {
        let mut stream = TcpStream::connect(served.url.trim_start_matches("http://")).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {shown}\r\n\
             content-length: {length}\r\n{more}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let heard = |mut stream: TcpStream| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let infer = "/v2/models/echo.f32/infer";
    // A small body is let go by.
    let mut small = send(infer, "another", 200 << 10, "connection: close\r\n");
    small.write_all(&vec![b' '; 200 << 10]).unwrap();
    let answer = heard(small);
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    // More than the buffers of both ends hold, and less than twice what those may send who are let in.
    for path in [infer, "/livez"] {
        let mut large = send(path, "another", 100 << 20, "");
        let piece = vec![b' '; 1 << 20];
        let is_cut = (0..100).any(|_| large.write_all(&piece).is_err());
        assert!(is_cut, "{path}: 100 MiB were taken");
    }
    // Whoever waits for a word before he sends anything.
    for (path, shown, status) in
        [(infer, "another", 401), ("/v2/models/none.f32/infer", token, 404), ("/v2", token, 405)]
    {
        let answer = heard(send(path, shown, 1000, "expect: 100-continue\r\n"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert!(answer.contains("connection: close\r\n"), "{path}: {answer}");
    }
}

/// Ends those that ask when it is dropped, also where the test has failed.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_release_is_replaced_under_requests_and_none_of_them_is_lost() {
    let mut served = Served::start("");
    served.wait_for("1");
    let (url, is_over) = (served.url.clone(), AtomicBool::new(false));
    let seen: Vec<Vec<String>> = std::thread::scope(|scope| {
        let asking = |mark: u16| {
            let (url, is_over) = (&url, &is_over);
            move || {
                let mut seen = Vec::new();
                for count in (0u16..1000).cycle() {
                    // Once more after it is over, so that everybody has asked the new release.
                    let is_last = is_over.load(Ordering::Relaxed);
                    let row = [f32::from(mark), f32::from(count), 0.5];
                    let (status, answer) = ask(url, "echo.f32", &[row, row], json!({}));
                    assert_eq!(status, 200, "{answer}");
                    let output = &answer["outputs"][0];
                    assert_eq!(output["data"], json!([row, row].concat()), "another's answer");
                    seen.push(answer["model_version"].as_str().unwrap().to_owned());
                    if is_last {
                        break;
                    }
                }
                seen
            }
        };
        let threads: Vec<_> = (0..4).map(|mark| scope.spawn(asking(mark))).collect();
        let over = Over(&is_over);
        served.install("2");
        served.wait_for("2");
        drop(over);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for seen in seen {
        assert!(seen.is_sorted(), "it went back to the release before");
        let versions: BTreeSet<_> = seen.iter().map(String::as_str).collect();
        assert_eq!(versions, BTreeSet::from(["1", "2"]));
    }
    // The worker of the release before is gone with the last request to it.
    wait("one worker serves", || (served.serving().len() == 1).then_some(()));
}

#[test]
fn what_is_too_much_is_refused_and_what_is_too_late_is_told_so() {
    let served = Served::start("rows_max = 4\nmax_wait_ms = 4000\ndeadline_ms = 20000");
    served.wait_for("1");
    fn rows(count: usize) -> Vec<[f32; 3]> {
        vec![[1.0, 2.0, 3.0]; count]
    }
    let (status, answer) = served.infer("echo.f32", &rows(5), json!({}));
    assert_eq!((status, answer["error"].as_str().unwrap().contains("5 rows")), (413, true));
    let url = served.url.as_str();
    std::thread::scope(|scope| {
        // It waits for others, of which there are none.
        let waiting = scope.spawn(move || ask(url, "echo.f32", &rows(2), json!({ "id": "w" })));
        wait("it waits", || {
            let (_, text) = served.get("/metrics");
            let line = "lineside_api_rows_waiting{model=\"echo.f32\"} 2";
            text.as_str().unwrap().contains(line).then_some(())
        });
        let answer = agent()
            .post(format!("{}/v2/models/echo.f32/infer", served.url))
            .send_json(json!({ "inputs": [
                { "name": "x", "shape": [3, 3], "datatype": "FP32", "data": vec![0; 9] }
            ] }))
            .unwrap();
        assert_eq!(answer.headers().get("retry-after").unwrap(), "1");
        let (status, answer) = read(answer);
        let said = "2 of 4 rows wait for this model already: ask again later";
        assert_eq!((status, answer["error"].as_str().unwrap()), (429, said));
        // Another model has room of its own.
        let late = json!({ "parameters": { "timeout": 1000 } });
        let i8 = json!({ "inputs": [
            { "name": "x", "shape": [1, 3], "datatype": "INT8", "data": [1, 2, 3] }
        ], "parameters": late["parameters"] });
        let url = format!("{}/v2/models/echo.i8/infer", served.url);
        let (status, answer) = read(agent().post(url).send_json(i8).unwrap());
        assert_eq!(status, 503, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains("not answered in time"), "{answer}");
        let (status, answer) = waiting.join().unwrap();
        assert_eq!((status, &answer["id"]), (200, &json!("w")), "{answer}");
    });
    // Enough rows need not wait.
    let began = Instant::now();
    let many = Served::start("batch_rows_max = 3\nmax_wait_ms = 60000\ndeadline_ms = 61000");
    many.wait_for("1");
    let (status, answer) = many.infer("echo.f32", &rows(3), json!({}));
    assert_eq!(status, 200, "{answer}");
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_worker_that_is_killed_is_replaced_and_what_waits_is_answered() {
    let served = Served::start("deadline_ms = 60000");
    served.wait_for("1");
    let before = wait("a worker serves", || served.serving().first().copied());
    kill_process(Pid::from_raw(before).unwrap(), Signal::KILL).unwrap();
    let (status, answer) = served.infer("echo.f32", &[[1.0, 2.0, 3.0]], json!({}));
    assert_eq!((status, &answer["outputs"][0]["data"]), (200, &json!([1.0, 2.0, 3.0])));
    let after = wait("another serves", || served.serving().first().copied());
    assert_ne!(before, after);
    let (_, text) = served.get("/metrics");
    let text = text.as_str().unwrap();
    assert!(text.contains("lineside_api_worker_deaths_total{slot=\"echo\"} 1"), "{text}");
    // No reading was lost over it.
    assert_eq!(served.device.slot()["counts"]["lost"], 0);
}

#[test]
fn what_is_no_request_is_refused_with_the_right_status() {
    let served = Served::start("body_mib_max = 1");
    served.wait_for("1");
    let at = |path: &str| format!("{}{path}", served.url);
    let post = |path: &str, fields: &[(&str, &str)], body: &[u8]| {
        let mut request = agent().post(at(path));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        read(request.send(body).unwrap())
    };
    let infer = "/v2/models/echo.f32/infer";
    for (path, fields, body, status) in [
        (infer, &[][..], &b"{"[..], 400),
        (infer, &[], b"{\"inputs\": []}", 400),
        (infer, &[("content-encoding", "gzip")], b"plain", 400),
        (infer, &[("content-encoding", "br")], b"plain", 415),
        (infer, &[("inference-header-content-length", "9")], b"{}", 400),
        (infer, &[("inference-header-content-length", "x")], b"{}", 400),
        (infer, &[("origin", "http://page.example")], b"{}", 403),
        (infer, &[("host", "page.example:8000")], b"{}", 403),
        ("/v2/models/echo.f32/versions/7/infer", &[], b"{}", 404),
        ("/v2/models/echo.none/infer", &[], b"{}", 404),
        ("/v2/models/none.f32/infer", &[], b"{}", 404),
        ("/v2/models/echo/infer", &[], b"{}", 404),
        ("/v2/models/echo.f32", &[], b"{}", 405),
        ("/nothing", &[], b"{}", 404),
    ] {
        let (found, answer) = post(path, fields, body);
        assert_eq!(found, status, "{path} {fields:?}: {answer}");
        assert!(answer["error"].is_string(), "{answer}");
    }
    assert_eq!(served.get(infer).0, 405);
    let large = vec![b' '; (1 << 20) + 1];
    assert_eq!(post(infer, &[], &large).0, 413);
    // A small body that becomes a large one.
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut bomb, &vec![b' '; 32 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    assert_eq!(post(infer, &[("content-encoding", "gzip")], &bomb).0, 413);
    let (status, answer) =
        served.infer("echo.f32", &[[0.0; 3]], json!({ "outputs": [{ "name": "z" }] }));
    assert_eq!(status, 400);
    assert_eq!(answer["error"], "there is no output \"z\", only [\"y\"]");
    let binary = Tensor::new("x".into(), lineside_oip::Datatype::Fp32, vec![1, 2], vec![0; 8]);
    let request = InferRequest { inputs: vec![binary.unwrap()], ..InferRequest::default() };
    let body = request.write(Form::Binary).unwrap();
    let length = body.header_length.unwrap().to_string();
    let (status, answer) =
        post(infer, &[("inference-header-content-length", &length)], &body.bytes);
    assert_eq!(status, 400);
    assert_eq!(answer["error"], "input \"x\" takes FP32 [-1, 3], FP32 [1, 2] came");
}

#[test]
fn only_who_shows_the_token_is_let_in_and_beyond_this_machine_nobody_without() {
    let token = "0123456789abcdef0123456789abcdef";
    let lines = "address = '0.0.0.0:0'\ntoken_file = 'token'";
    let served = Served::start_with(lines, &[("token", token.as_bytes())]);
    let url = served.url.replace("0.0.0.0", "127.0.0.1");
    let get = |path: &str, token: &str| {
        let request = agent().get(format!("{url}{path}"));
        read(request.header("authorization", format!("Bearer {token}")).call().unwrap())
    };
    wait("it is served", || (get("/v2/models/echo.f32", token).0 == 200).then_some(()));
    for path in ["/v2", "/v2/models/echo.f32", "/metrics", "/openapi.json", "/nothing"] {
        assert_eq!(get(path, "another").0, 401, "{path}");
        assert_eq!(read(agent().get(format!("{url}{path}")).call().unwrap()).0, 401, "{path}");
    }
    assert_eq!(ask(&url, "echo.f32", &[[0.0; 3]], json!({})).0, 401);
    assert_eq!(get("/readyz", "").0, 200, "what watches services has no secrets");
    let document = get("/openapi.json", token).1;
    assert_eq!(document["security"], json!([{ "token": [] }]));

    let path = served.device.folder.path().join("agent.toml");
    let settings = fs::read_to_string(&path).unwrap();
    fs::write(&path, settings.replace("token_file = 'token'", "")).unwrap();
    let output = served.device.program().arg("run").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains("api.address: 0.0.0.0:0 can be reached from other machines"), "{said}");
    assert!(said.contains("token_file"), "{said}");
}

#[test]
fn by_tls_only_who_shows_a_certificate_is_let_in() {
    let (certificate, key) =
        (include_bytes!("kit/registry.pem"), include_bytes!("kit/registry.key"));
    let lines = "address = '127.0.0.1:0'\n\
                 tls = { certificate = 'c.pem', key = 'k.pem', clients = 'c.pem' }";
    let served = Served::start_with(lines, &[("c.pem", certificate), ("k.pem", key)]);
    assert!(served.url.starts_with("https://"), "{}", served.url);
    let url = served.url.clone();
    let client = |own: bool| {
        let parse = |pem: &[u8]| ureq::tls::Certificate::from_pem(pem).unwrap();
        let own = own.then(|| {
            let key = ureq::tls::PrivateKey::from_pem(key).unwrap();
            ureq::tls::ClientCert::new_with_certs(&[parse(certificate)], key)
        });
        let tls = ureq::tls::TlsConfig::builder()
            .root_certs(ureq::tls::RootCerts::new_with_certs(&[parse(certificate)]))
            .client_cert(own)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
        ureq::Agent::from(config.tls_config(tls).build())
    };
    let got = client(true).get(format!("{url}/v2/health/live")).call();
    assert_eq!(read(got.unwrap()), (200, json!({ "live": true })));
    assert!(client(false).get(format!("{url}/v2/health/live")).call().is_err());
    let plain = agent().get(format!("{}/livez", url.replace("https", "http"))).call();
    assert!(plain.is_err(), "{plain:?}");
}

#[test]
fn what_there_is_is_told_to_whoever_asks() {
    let served = Served::start("");
    served.wait_for("1");
    let (status, server) = served.get("/v2");
    assert_eq!((status, &server["extensions"]), (200, &json!(["binary_tensor_data"])));
    assert_eq!(served.get("/livez"), (200, json!("live\n")));
    assert_eq!(served.get("/readyz"), (200, json!("ready\n")));
    assert_eq!(served.get("/v2/health/ready").1, json!({ "ready": true, "live": true }));
    let ready = served.get("/v2/models/echo.i64/versions/1/ready");
    assert_eq!(ready, (200, json!({ "name": "echo.i64", "ready": true })));
    let (_, document) = served.get("/openapi.json");
    assert_eq!(document["openapi"], "3.1.0");
    let infer = &document["paths"]["/v2/models/echo.bytes/infer"]["post"];
    let schema = &infer["requestBody"]["content"]["application/json"]["schema"];
    let input = &schema["properties"]["inputs"]["items"]["oneOf"][0]["properties"];
    assert_eq!(input["datatype"]["const"], "BYTES");
    assert_eq!(input["shape"]["prefixItems"][1], json!({ "const": 3 }));
    let (status, _) = served.infer("echo.f32", &[[0.0; 3]], json!({}));
    assert_eq!(status, 200);
    let (_, text) = served.get("/metrics");
    let line = "lineside_api_requests_total{model=\"echo.f32\",code=\"200\"} 1\n";
    assert!(text.as_str().is_some_and(|text| text.contains(line)), "{text}");
}

#[test]
fn outcomes_are_joined_with_findings_and_counted_once() {
    let mut served = Served::start("");
    let ids = wait("it answers", || {
        let findings = served.device.findings().into_iter().filter(|it| it["frame"].is_u64());
        let ids: Vec<String> =
            findings.map(|finding| finding["id"].as_str().unwrap().to_owned()).collect();
        (ids.len() > 2).then_some(ids)
    });
    let url = format!("{}/v1/outcomes", served.url);
    let tell = |outcomes| read(agent().post(&url).send_json(outcomes).unwrap());
    let (first, second) = (&ids[ids.len() - 1], &ids[ids.len() - 2]);
    let right = json!({ "finding": first, "outcome": false });
    let heard = json!({ "counted": 1, "again": 0, "unknown": [], "unfit": [] });
    assert_eq!(tell(right.clone()), (200, heard));
    let none = "echo/none/0/0";
    let several = json!([
        right,
        { "finding": none, "outcome": true },
        { "finding": second, "outcome": "worn" },
        { "finding": second, "outcome": true },
    ]);
    let heard = json!({ "counted": 1, "again": 1, "unknown": [none], "unfit": [second] });
    assert_eq!(tell(several), (200, heard));
    assert_eq!(tell(json!({ "outcome": true })).0, 400);
    assert_eq!(served.get("/v1/outcomes").0, 405);

    // It is on disk when the agent has ended.
    served.device.stop(Signal::TERM);
    let store = Store::look_into(&served.device.folder.path().join("state")).unwrap();
    let told = Spool::open(store.database(), u64::MAX, u64::MAX).unwrap().qualities().unwrap();
    let sum = |of: fn(&Quality) -> u64| told.iter().map(of).sum::<u64>();
    assert_eq!((sum(|it| it.outcomes), sum(|it| it.unknown), sum(|it| it.unfit)), (2, 1, 1));
    let met = told.iter().flat_map(|it| &it.met).map(|met| (&*met.answered, &*met.outcome));
    assert_eq!(met.collect::<BTreeSet<_>>(), [("false", "false"), ("false", "true")].into());
    let scores = told.iter().flat_map(|it| &it.scores).map(|it| it.scores.count());
    assert_eq!(scores.sum::<u64>(), 2);
}

#[test]
fn outcomes_are_heard_of_from_the_plant_as_well() {
    let none = r#"[{"finding":"echo/none/0/0","outcome":true}]"#;
    let plant = Plant::new([none, "no outcome", none].map(ToOwned::to_owned));
    let topic = format!(
        "[slots.echo.outcomes]\nhost = '127.0.0.1'\nport = {}\ntopic = '{SENSOR}'\n",
        plant.port
    );
    let mut served = Served::vacant(&topic, &[]);
    wait("all are acknowledged", || plant.is_read().then_some(()));
    served.device.stop(Signal::TERM);
    let store = Store::look_into(&served.device.folder.path().join("state")).unwrap();
    let told = Spool::open(store.database(), u64::MAX, u64::MAX).unwrap().qualities().unwrap();
    assert_eq!(told.iter().map(|it| it.unknown).sum::<u64>(), 2);
}

#[test]
fn connections_that_say_nothing_shut_nobody_out() {
    let served = Served::start("");
    served.wait_for("1");
    let address = served.url.trim_start_matches("http://");
    // As many as there are places, and more. Those that wait in the system's queue count as open, too.
    let silent: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(address).unwrap()).collect();
    let asked = Instant::now();
    let (status, _) = ask(&served.url, "echo.f32", &[[1.0, 2.0, 3.0]], json!({}));
    assert_eq!(status, 200);
    assert!(asked.elapsed() < Duration::from_secs(60), "it waited for {:?}", asked.elapsed());
    drop(silent);
}

#[test]
fn who_closes_his_side_once_he_has_said_all_is_answered() {
    let served = Served::start("");
    served.wait_for("1");
    for (path, method, body) in [("/livez", "GET", ""), ("/v2/models/echo.f32/infer", "POST", "{}")]
    {
        let mut stream = TcpStream::connect(served.url.trim_start_matches("http://")).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 "), "{path}: {answer:?}");
    }
}

#[test]
fn bodies_that_come_slowly_shut_nobody_out_and_end_soon() {
    let served = Served::start("");
    served.wait_for("1");
    let address = served.url.trim_start_matches("http://");
    let begin = |length: usize| {
        let mut stream = TcpStream::connect(address).unwrap();
        let head = format!(
            "POST /v2/models/echo.f32/infer HTTP/1.1\r\nhost: localhost\r\n\
             content-length: {length}\r\n\r\n "
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let mut slow: Vec<TcpStream> = (0..256).map(|_| begin(1000)).collect();
    wait("somebody is answered beside them", || {
        let started = Instant::now();
        let answer = agent().get(format!("{}/livez", served.url)).call();
        (answer.is_ok() && started.elapsed() < Duration::from_secs(4)).then_some(())
    });
    let mut answer = String::new();
    slow[0].read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[test]
fn names_that_somebody_makes_up_are_not_kept() {
    let served = Served::vacant("", &[]);
    let (status, answer) = served.infer("echo.made-up", &[[0.0; 3]], json!({}));
    assert_eq!(status, 503, "{answer}");
    let (_, text) = served.get("/metrics");
    let text = text.as_str().unwrap();
    assert!(text.contains("lineside_api_requests_total{model=\"\",code=\"503\"} 1"), "{text}");
    assert!(!text.contains("made-up"), "{text}");
}
