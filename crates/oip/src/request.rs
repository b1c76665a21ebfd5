//! Requests: `POST /v2/models/{model}/infer`.

use crate::bounded::Bounded;
use crate::datatype::Datatype;
use crate::json;
use crate::response::{Body, Form, ResponseError, Written, written};
use crate::tensor::{Tensor, TensorError, elements};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

/// Tensors that a request may bring, and outputs that it may name.
pub const TENSORS_MAX: usize = 256;
/// Longest `id` in bytes: it goes back as it came.
const ID_BYTES_MAX: usize = 1024;

/// A request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InferRequest {
    /// What the client calls it; the answer says the same.
    pub id: Option<String>,
    /// How long the client waits (`timeout`, which Triton has in microseconds).
    pub timeout: Option<Duration>,
    /// What it brings, each of another name.
    pub inputs: Vec<Tensor>,
    /// What it wants; none: everything.
    pub outputs: Option<Vec<RequestedOutput>>,
    /// The form of outputs that say none (`binary_data_output`).
    pub form: Form,
}

/// An output that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedOutput {
    /// What it is called.
    pub name: String,
    /// In which form; none: that of the request.
    pub form: Option<Form>,
}

/// Why a body is no request. All of these are the client's to mend.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The length of the JSON part is not one of this body.
    #[error("Inference-Header-Content-Length is {header}, the body has {body} bytes")]
    Header {
        /// What was said.
        header: usize,
        /// Bytes of the body.
        body: usize,
    },
    /// The JSON part.
    #[error("the request is not as the protocol has it: {0}")]
    Form(#[source] serde_json::Error),
    /// The elements of an input.
    #[error("input {input:?}: {problem}")]
    Data {
        /// The input.
        input: String,
        /// Why.
        problem: String,
    },
    /// An input that is no tensor.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A datatype that there is not.
    #[error("input {input:?}: there is no datatype {datatype:?}")]
    Datatype {
        /// The input.
        input: String,
        /// What was said.
        datatype: String,
    },
    /// An input with two kinds of data, or none.
    #[error("input {0:?} needs either data or the parameter binary_data_size")]
    Either(String),
    /// Binary data that is not there.
    #[error("input {input:?} has {size} bytes of binary data, {left} are left in the body")]
    Short {
        /// The input.
        input: String,
        /// What was said.
        size: u64,
        /// Bytes left.
        left: usize,
    },
    /// Binary data of no input.
    #[error("{0} bytes of the body belong to no input")]
    Left(usize),
    /// A name that is there twice.
    #[error("{what} {name:?} is named twice")]
    Twice {
        /// Input or output.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// An id that is too long to be echoed.
    #[error("the id has more than {ID_BYTES_MAX} bytes")]
    Id,
    /// Something that would mean another answer than is given here.
    #[error("the parameter {0} is not supported")]
    Unsupported(&'static str),
}

#[derive(Deserialize)]
struct RequestBody<'a> {
    id: Option<String>,
    parameters: Option<Parameters>,
    #[serde(borrow)]
    inputs: Bounded<InputPart<'a>, TENSORS_MAX>,
    outputs: Option<Bounded<OutputPart, TENSORS_MAX>>,
}

#[derive(Deserialize)]
struct InputPart<'a> {
    name: String,
    shape: Bounded<usize, { crate::tensor::DIMENSIONS_MAX }>,
    #[serde(borrow)]
    datatype: Cow<'a, str>,
    parameters: Option<Parameters>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OutputPart {
    name: String,
    parameters: Option<Parameters>,
}

/// Those that have a meaning here. Others say nothing about what the answer is, and are passed over.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Parameters {
    binary_data_size: Option<u64>,
    binary_data: Option<bool>,
    binary_data_output: Option<bool>,
    timeout: Option<u64>,
    classification: Option<u64>,
    sequence_id: Option<Said>,
    shared_memory_region: Option<Said>,
}

/// Whatever is said, as long as it is not 0, which Triton's client sends for none.
#[derive(PartialEq)]
struct Said(bool);

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Said, D::Error> {
        let value = <&RawValue>::deserialize(deserializer)?;
        Ok(Said(!matches!(value.get(), "0" | "\"\"" | "null")))
    }
}

impl Parameters {
    fn check(&self) -> Result<(), RequestError> {
        let is_said = |said: &Option<Said>| said == &Some(Said(true));
        let unsupported = [
            ("classification", self.classification.is_some_and(|classes| classes > 0)),
            ("sequence_id", is_said(&self.sequence_id)),
            ("shared_memory_region", is_said(&self.shared_memory_region)),
        ];
        match unsupported.into_iter().find(|(_, is_said)| *is_said) {
            Some((name, _)) => Err(RequestError::Unsupported(name)),
            None => Ok(()),
        }
    }

    fn form(&self) -> Option<Form> {
        self.binary_data.map(Form::of)
    }
}

impl InferRequest {
    /// Reads a body. `header_length` is what the field `Inference-Header-Content-Length` says: so many bytes
    /// are JSON, and the rest is the binary data of the inputs. Without it all is JSON.
    ///
    /// # Errors
    /// [`RequestError`]. What is allocated is bounded by the body.
    pub fn read(body: &[u8], header_length: Option<usize>) -> Result<InferRequest, RequestError> {
        let header = header_length.unwrap_or(body.len());
        let (json, mut binary) = body
            .split_at_checked(header)
            .ok_or(RequestError::Header { header, body: body.len() })?;
        let file: RequestBody = serde_json::from_slice(json).map_err(RequestError::Form)?;
        let parameters = file.parameters.unwrap_or_default();
        parameters.check()?;
        if file.id.as_ref().is_some_and(|id| id.len() > ID_BYTES_MAX) {
            return Err(RequestError::Id);
        }
        let mut inputs = Vec::new();
        for input in file.inputs.0 {
            inputs.push(input.read(&mut binary)?);
        }
        if !binary.is_empty() {
            return Err(RequestError::Left(binary.len()));
        }
        unlike("input", inputs.iter().map(Tensor::name))?;
        let outputs = file.outputs.map(|outputs| outputs.0).filter(|outputs| !outputs.is_empty());
        let outputs = outputs
            .map(|outputs| outputs.into_iter().map(OutputPart::read).collect::<Result<Vec<_>, _>>())
            .transpose()?;
        unlike("output", outputs.iter().flatten().map(|output| output.name.as_str()))?;
        Ok(InferRequest {
            id: file.id,
            timeout: parameters.timeout.filter(|it| *it > 0).map(Duration::from_micros),
            inputs,
            outputs,
            form: Form::of(parameters.binary_data_output.unwrap_or(false)),
        })
    }

    /// Writes a body, its tensors in the form `inputs`.
    ///
    /// # Errors
    /// [`ResponseError`], where JSON has no words for a tensor.
    pub fn write(&self, inputs: Form) -> Result<Body, ResponseError> {
        #[derive(Serialize)]
        struct File<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<&'a str>,
            parameters: FileParameters,
            inputs: Vec<Written<'a>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            outputs: Option<Vec<Wanted<'a>>>,
        }
        #[derive(Serialize)]
        struct FileParameters {
            binary_data_output: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            timeout: Option<u64>,
        }
        #[derive(Serialize)]
        struct Wanted<'a> {
            name: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            parameters: Option<WantedParameters>,
        }
        #[derive(Serialize)]
        struct WantedParameters {
            binary_data: bool,
        }
        let outputs = self.outputs.as_ref().map(|outputs| {
            let wanted = outputs.iter().map(|output| Wanted {
                name: &output.name,
                parameters: output
                    .form
                    .map(|form| WantedParameters { binary_data: form == Form::Binary }),
            });
            wanted.collect()
        });
        let tensors: Vec<(&Tensor, Form)> = self.inputs.iter().map(|it| (it, inputs)).collect();
        written(&tensors, |inputs| File {
            id: self.id.as_deref(),
            parameters: FileParameters {
                binary_data_output: self.form == Form::Binary,
                timeout: self.timeout.map(|it| it.as_micros().try_into().unwrap_or(u64::MAX)),
            },
            inputs,
            outputs,
        })
    }
}

impl InputPart<'_> {
    fn read(self, binary: &mut &[u8]) -> Result<Tensor, RequestError> {
        let InputPart { name, shape: Bounded(shape), datatype, parameters, data } = self;
        let parameters = parameters.unwrap_or_default();
        parameters.check()?;
        let Some(datatype) = Datatype::parse(&datatype) else {
            let datatype = datatype.chars().take(40).collect();
            return Err(RequestError::Datatype { input: name, datatype });
        };
        let count = elements(&name, &shape)?;
        let bytes = match (data, parameters.binary_data_size) {
            (Some(data), None) => json::read(data.get(), datatype, &shape, count)
                .map_err(|problem| RequestError::Data { input: name.clone(), problem })?,
            (None, Some(size)) => {
                let at = usize::try_from(size).ok();
                let split = at.and_then(|at| binary.split_at_checked(at));
                let Some((own, rest)) = split else {
                    return Err(RequestError::Short { input: name, size, left: binary.len() });
                };
                *binary = rest;
                own.to_vec()
            }
            (Some(_), Some(_)) | (None, None) => return Err(RequestError::Either(name)),
        };
        Ok(Tensor::new(name, datatype, shape, bytes)?)
    }
}

impl OutputPart {
    fn read(self) -> Result<RequestedOutput, RequestError> {
        let parameters = self.parameters.unwrap_or_default();
        parameters.check()?;
        Ok(RequestedOutput { name: self.name, form: parameters.form() })
    }
}

fn unlike<'a>(
    what: &'static str,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), RequestError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(RequestError::Twice { what, name: name.chars().take(80).collect() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(body: &str) -> Result<InferRequest, String> {
        InferRequest::read(body.as_bytes(), None).map_err(|error| error.to_string())
    }

    fn said(body: &str) -> String {
        read(body).map(|_| "a request".to_owned()).unwrap_or_else(|error| error)
    }

    #[test]
    fn a_request_is_read_with_what_it_wants() {
        let request = read(
            r#"{"id": "7", "parameters": {"timeout": 1500, "binary_data_output": true, "own": [1]},
                "inputs": [{"name": "x", "shape": [2, 2], "datatype": "INT8", "data": [[1,2],[3,4]],
                            "more": {}}],
                "outputs": [{"name": "a"}, {"name": "b", "parameters": {"binary_data": false}}]}"#,
        )
        .unwrap();
        let x = Tensor::new("x".into(), Datatype::Int8, vec![2, 2], vec![1, 2, 3, 4]).unwrap();
        let wanted = |name: &str, form| RequestedOutput { name: name.into(), form };
        let outputs = vec![wanted("a", None), wanted("b", Some(Form::Json))];
        assert_eq!(
            request,
            InferRequest {
                id: Some("7".into()),
                timeout: Some(Duration::from_micros(1500)),
                inputs: vec![x],
                outputs: Some(outputs),
                form: Form::Binary,
            }
        );
        // What Triton's client sends where nothing is asked for.
        let none =
            r#"{"parameters": {"sequence_id": 0, "timeout": 0}, "inputs": [], "outputs": []}"#;
        assert_eq!(read(none), Ok(InferRequest::default()));
    }

    #[test]
    fn binary_data_follows_the_json_in_the_order_of_the_inputs() {
        let json = r#"{"inputs": [
            {"name": "a", "shape": [2], "datatype": "UINT8", "parameters": {"binary_data_size": 2}},
            {"name": "b", "shape": [1], "datatype": "BOOL", "data": [true]},
            {"name": "c", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 6}}]}"#;
        let body = [json.as_bytes(), b"\x07\x08\x02\0\0\0ab"].concat();
        let request = InferRequest::read(&body, Some(json.len())).unwrap();
        let bytes: Vec<&[u8]> = request.inputs.iter().map(Tensor::bytes).collect();
        assert_eq!(bytes, [&b"\x07\x08"[..], b"\x01", b"\x02\0\0\0ab"]);
        let wrong =
            |length, body: &[u8]| InferRequest::read(body, Some(length)).unwrap_err().to_string();
        assert!(wrong(body.len() + 1, &body).starts_with("Inference-Header-Content-Length is"));
        let short = wrong(json.len(), &body[..body.len() - 1]);
        assert_eq!(short, "input \"c\" has 6 bytes of binary data, 5 are left in the body");
        let long = wrong(json.len(), &[&body[..], b"x"].concat());
        assert_eq!(long, "1 bytes of the body belong to no input");
        assert!(wrong(0, &body).starts_with("the request is not as the protocol has it"));
    }

    #[test]
    fn what_is_no_request_is_refused_in_words_that_help() {
        let input =
            |rest: &str| said(&format!(r#"{{"inputs": [{{"name": "x", "shape": [1], {rest}}}]}}"#));
        assert_eq!(input(r#""datatype": "INT8", "data": [1]"#), "a request");
        for (rest, wanted) in [
            (r#""datatype": "BF16", "data": [1]"#, "input \"x\": there is no datatype \"BF16\""),
            (r#""datatype": "INT8""#, "input \"x\" needs either data or the parameter"),
            (
                r#""datatype": "INT8", "data": [1], "parameters": {"binary_data_size": 1}"#,
                "input \"x\" needs either data or",
            ),
            (r#""datatype": "INT8", "data": [300]"#, "input \"x\": element 0 is 300, which is no"),
            (
                r#""datatype": "INT8", "parameters": {"binary_data_size": 1}"#,
                "input \"x\" has 1 bytes of binary data, 0 are left",
            ),
            (
                r#""datatype": "INT8", "parameters": {"shared_memory_region": "r"}"#,
                "the parameter shared_memory_region is not supported",
            ),
        ] {
            let said = input(rest);
            assert!(said.starts_with(wanted), "{said}");
        }
        for (body, wanted) in [
            ("{}", "missing field `inputs`"),
            ("[", "the request is not as the protocol has it"),
            (r#"{"inputs": [], "parameters": {"sequence_id": "s"}}"#, "sequence_id is not"),
            (
                r#"{"inputs": [], "outputs": [{"name": "a"}, {"name": "a"}]}"#,
                "\"a\" is named twice",
            ),
            (
                r#"{"inputs": [], "outputs": [{"name": "a", "parameters": {"classification": 2}}]}"#,
                "classification is not supported",
            ),
            (r#"{"inputs": [{"name": "x", "shape": [-1], "datatype": "INT8", "data": []}]}"#, "-1"),
        ] {
            assert!(said(body).contains(wanted), "{}", said(body));
        }
        let many = format!(r#"{{"inputs": [{}]}}"#, vec!["{}"; 300].join(","));
        assert!(said(&many).contains("missing field"), "{}", said(&many));
        let dimensions = format!("{:?}", [1; 17]);
        let shape = format!(
            r#"{{"inputs": [{{"name": "x", "shape": {dimensions}, "datatype": "INT8", "data": [1]}}]}}"#
        );
        assert!(said(&shape).contains("more than 16 items"), "{}", said(&shape));
        let id = format!(r#"{{"id": "{}", "inputs": []}}"#, "x".repeat(1025));
        assert_eq!(said(&id), "the id has more than 1024 bytes");
    }

    fn tensors() -> impl Strategy<Value = Tensor> {
        let shape = proptest::collection::vec(0..4usize, 0..3);
        (0..13usize, shape, any::<u64>()).prop_map(|(kind, shape, seed)| {
            let datatype = Datatype::all().nth(kind).unwrap();
            let count = elements("x", &shape).unwrap();
            let mut bytes = Vec::new();
            for element in 0..count as u64 {
                // Small numbers, which every datatype has.
                let value = (seed.wrapping_mul(element + 1) >> 60) as u8;
                match datatype {
                    Datatype::Bool => bytes.push(value & 1),
                    Datatype::Fp16 => bytes.extend(half::f16::from(value).to_le_bytes()),
                    Datatype::Fp32 => bytes.extend(f32::from(value).to_le_bytes()),
                    Datatype::Fp64 => bytes.extend(f64::from(value).to_le_bytes()),
                    Datatype::Bytes => {
                        bytes.extend(u32::from(value).to_le_bytes());
                        bytes.extend(vec![b'a' + value; usize::from(value)]);
                    }
                    integer => {
                        let size = integer.size_bytes().unwrap();
                        bytes.extend(&u64::from(value).to_le_bytes()[..size]);
                    }
                }
            }
            Tensor::new(format!("x{kind}"), datatype, shape, bytes).unwrap()
        })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_as_it_was(
            mut inputs in proptest::collection::vec(tensors(), 0..4),
            id in proptest::option::of(".{0,9}"),
            binary: bool,
        ) {
            inputs.sort_by(|a, b| a.name().cmp(b.name()));
            inputs.dedup_by(|a, b| a.name() == b.name());
            let request = InferRequest { id, inputs, ..InferRequest::default() };
            let body = request.write(Form::of(binary)).unwrap();
            let read = InferRequest::read(&body.bytes, body.header_length).unwrap();
            prop_assert_eq!(read, request);
        }
    }
}
