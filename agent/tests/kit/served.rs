//! A bundle with a model for each datatype, a device whose local API is open, and what asks there.

use crate::kit::{Device, Vendor, echo_text, wait};
use lineside_bundle::{BuiltBundle, BundleFile, build_with_operators};
use lineside_runtime::{Element, OnnxModel};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

/// A field of a protocol buffer that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut length = bytes.len();
    let mut field = vec![number << 3 | 2];
    while length > 127 {
        field.push(length as u8 | 0x80);
        length >>= 7;
    }
    field.push(length as u8);
    [field, bytes.to_vec()].concat()
}

/// A model of one node from `x` to `y`, each of `n` rows of three elements; `more` are fields of the node.
fn model(node: (&str, &str, &[u8]), from: Element, to: Element) -> Vec<u8> {
    let (operator, domain, more) = node;
    let named = [field(1, b"x"), field(2, b"y"), field(4, operator.as_bytes())].concat();
    let node = [named, more.to_vec(), field(7, domain.as_bytes())].concat();
    let rows = field(1, &field(2, b"n"));
    let shape = [rows, field(1, &[1 << 3, 3])].concat();
    let port = |name: &[u8], element: Element| {
        let kind = [vec![1 << 3, element.onnx() as u8], field(2, &shape)].concat();
        [field(1, name), field(2, &field(1, &kind))].concat()
    };
    let graph =
        [field(1, &node), field(2, b"g"), field(11, &port(b"x", from)), field(12, &port(b"y", to))];
    let import = |domain: &str, version| {
        field(8, &[field(1, domain.as_bytes()), vec![2 << 3, version]].concat())
    };
    let imports = [import("", 17), import("ai.onnx.ml", 3)].concat();
    [vec![1 << 3, 8], imports, field(7, &graph.concat())].concat()
}

/// Makes texts of whole numbers.
fn label() -> Vec<u8> {
    let attribute = |name: &str, values: Vec<u8>, kind: u8| {
        // The kind has the number 20, which takes two bytes.
        field(5, &[field(1, name.as_bytes()), values, vec![0xa0, 0x01, kind]].concat())
    };
    let keys = attribute("keys_int64s", vec![8 << 3, 0, 8 << 3, 1], 7);
    let values = attribute("values_strings", [field(9, b"no"), field(9, b"yes")].concat(), 8);
    let more = [keys, values].concat();
    model(("LabelEncoder", "ai.onnx.ml", &more), Element::I64, Element::Bytes)
}

/// A bundle that answers readings with the last of each window, and has a model for each datatype that gives
/// what it is given: `f32`, `bytes` and so on, and `label`, which makes texts.
pub fn models(version: &str) -> BuiltBundle {
    let more = "[trial]\nframes = 5\njudge_after = 2\n[quality]\noutput = 'alarm'\nscore = 'x'\n";
    let mut text = echo_text(version, more);
    let mut files = BTreeMap::from([("label.onnx".to_owned(), label())]);
    text += "[stages.c-label]\nkind = 'constant'\nelement = 'i64'\nshape = [1, 3]\nvalues = [0, 1, 0]\n\
             [stages.label]\nkind = 'model'\nfile = 'label.onnx'\ninputs.x = 'c-label'\n";
    for element in Element::all() {
        let from = match element.is_number() {
            true => {
                text += &format!(
                    "[stages.c-{element}]\nkind = 'constant'\nelement = '{element}'\nshape = [1, 3]\n\
                     values = [0, 1, 0]\n"
                );
                format!("c-{element}")
            }
            false => "label.y".to_owned(),
        };
        text += &format!(
            "[stages.{element}]\nkind = 'model'\nfile = '{element}.onnx'\ninputs.x = '{from}'\n"
        );
        files.insert(format!("{element}.onnx"), model(("Identity", "", &[]), element, element));
    }
    let operators = files.iter().map(|(file, bytes)| {
        let operators = OnnxModel::read(bytes).unwrap().facts().operators.clone();
        (file.clone(), operators.keys().map(ToString::to_string).collect())
    });
    let operators = operators.collect();
    build_with_operators(BundleFile::parse(&text).unwrap(), files, operators).unwrap()
}

/// A device with an open API.
pub struct Served {
    pub device: Device,
    pub vendor: Vendor,
    pub url: String,
    installed: u64,
}

impl Served {
    /// Starts a device whose `[api]` has these lines besides an address, and has it commit version 1.
    pub fn start(lines: &str) -> Served {
        Served::start_with(lines, &[])
    }

    /// The same with files beside the settings.
    pub fn start_with(lines: &str, files: &[(&str, &[u8])]) -> Served {
        let mut served = Served::vacant(lines, files);
        served.install("1");
        served
    }

    /// The same without any release.
    pub fn vacant(lines: &str, files: &[(&str, &[u8])]) -> Served {
        let vendor = Vendor::new();
        let device = Device::new(&vendor, 60_000);
        let path = device.folder.path().join("agent.toml");
        let settings = fs::read_to_string(&path).unwrap();
        for (name, bytes) in files {
            fs::write(device.folder.path().join(name), bytes).unwrap();
        }
        let address = if lines.contains("address") { "" } else { "address = '127.0.0.1:0'\n" };
        fs::write(path, format!("{settings}[api]\n{address}{lines}\n")).unwrap();
        let mut served = Served { device, vendor, url: String::new(), installed: 0 };
        served.device.start();
        served.url = served.address();
        served
    }

    /// Where it says that it listens.
    fn address(&self) -> String {
        let log = self.device.folder.path().join("agent.log");
        wait("it says where it listens", || {
            let text = fs::read_to_string(&log).ok()?;
            let mark = "requests to models are answered at ";
            Some(text.split(mark).nth(1)?.split_whitespace().next()?.to_owned())
        })
    }

    /// Has a version installed and waits until it is committed.
    pub fn install(&mut self, version: &str) {
        let bundle = models(version);
        self.installed += 1;
        let all = ["1", "2"].map(models);
        let papers = self.vendor.papers(&all, &bundle, self.installed, "line-3");
        let output = self.device.install(&papers, &[bundle]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let name = format!("echo v{version}");
        wait("it is committed", || (self.device.slot()["active"] == *name).then_some(()));
    }

    /// Waits until requests are answered by a version.
    pub fn wait_for(&self, version: &str) {
        wait("it is served", || {
            let (status, model) = self.get("/v2/models/echo.f32");
            (status == 200 && model["versions"] == json!([version])).then_some(())
        });
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        let answer = agent().get(format!("{}{path}", self.url)).call();
        read(answer.unwrap())
    }

    /// Asks a model for these rows of three numbers.
    pub fn infer(&self, model: &str, rows: &[[f32; 3]], more: Value) -> (u16, Value) {
        ask(&self.url, model, rows, more)
    }

    /// The process numbers of the workers that serve requests: not those that answer readings.
    pub fn serving(&self) -> Vec<i32> {
        let nice = |process: i32| -> Option<i32> {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
            stat.rsplit_once(") ")?.1.split(' ').nth(16)?.parse().ok()
        };
        // They give way to the others, and to the agent.
        let own = nice(self.device.process() as i32);
        let gives_way = |process: &i32| nice(*process) > own;
        let threads = |process: &i32| -> Vec<i32> {
            let tasks =
                fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
            tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
        };
        let workers = self.device.workers();
        let serves = |process: &i32| threads(process).iter().any(gives_way);
        workers.into_iter().filter(serves).collect()
    }
}

/// Asks at `url` for these rows, with `more` in the request.
pub fn ask(url: &str, model: &str, rows: &[[f32; 3]], more: Value) -> (u16, Value) {
    let input = json!({ "name": "x", "shape": [rows.len(), 3], "datatype": "FP32", "data": rows });
    let mut request = json!({ "inputs": [input] });
    for (name, value) in more.as_object().into_iter().flatten() {
        request[name] = value.clone();
    }
    let answer = agent().post(format!("{url}/v2/models/{model}/infer"));
    read(answer.send_json(request).unwrap())
}

/// Takes every status for an answer, and goes through no proxy.
pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into()
}

/// The status and the JSON of an answer.
pub fn read(answer: ureq::http::Response<ureq::Body>) -> (u16, Value) {
    let status = answer.status().as_u16();
    let text = answer.into_body().read_to_string().unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}
