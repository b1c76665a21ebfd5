//! Answers, and how tensors are written into a body.

use crate::datatype::Datatype;
use crate::json::Flat;
use crate::tensor::Tensor;
use serde::{Serialize, Serializer};

/// In which form a tensor goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// As a list of JSON.
    #[default]
    Json,
    /// As bytes behind the JSON.
    Binary,
}

impl Form {
    /// Binary, or not.
    pub fn of(binary: bool) -> Form {
        if binary { Form::Binary } else { Form::Json }
    }
}

/// A body as it goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// All of it.
    pub bytes: Vec<u8>,
    /// How many of these are JSON, for the field `Inference-Header-Content-Length`; none if all are.
    pub header_length: Option<usize>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct InferResponse<'a> {
    /// The model that has answered.
    pub model_name: &'a str,
    /// Its version.
    pub model_version: &'a str,
    /// As the request said.
    pub id: Option<&'a str>,
    /// What is told, each in its form.
    pub outputs: Vec<(Tensor, Form)>,
}

/// Why an answer cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// JSON has no words for it.
    #[error(
        "tensor {name:?} has elements that are no JSON ({datatype}): ask for it with the parameter \
         binary_data"
    )]
    Json {
        /// The tensor.
        name: String,
        /// What its elements are.
        datatype: Datatype,
    },
    /// A mistake of ours.
    #[error("the body cannot be written: {0}")]
    Write(String),
}

impl InferResponse<'_> {
    /// Writes a body.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub fn write(&self) -> Result<Body, ResponseError> {
        #[derive(Serialize)]
        struct File<'a> {
            model_name: &'a str,
            model_version: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<&'a str>,
            outputs: Vec<Written<'a>>,
        }
        let outputs: Vec<(&Tensor, Form)> =
            self.outputs.iter().map(|(it, form)| (it, *form)).collect();
        written(&outputs, |outputs| File {
            model_name: self.model_name,
            model_version: self.model_version,
            id: self.id,
            outputs,
        })
    }
}

/// A tensor in a body.
#[derive(Serialize)]
pub(crate) struct Written<'a> {
    name: &'a str,
    datatype: Datatype,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Parameters>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "listed")]
    data: Option<Flat<'a>>,
}

#[derive(Serialize)]
struct Parameters {
    binary_data_size: usize,
}

fn listed<S: Serializer>(data: &Option<Flat<'_>>, serializer: S) -> Result<S::Ok, S::Error> {
    match data {
        Some(data) => data.serialize(serializer),
        None => serializer.serialize_none(),
    }
}

/// A body with these tensors: what `file` makes of them as JSON, and behind it those that are binary.
///
/// # Errors
/// [`ResponseError`].
pub(crate) fn written<'a, F: Serialize>(
    tensors: &[(&'a Tensor, Form)],
    file: impl FnOnce(Vec<Written<'a>>) -> F,
) -> Result<Body, ResponseError> {
    let mut listed = Vec::with_capacity(tensors.len());
    for &(tensor, form) in tensors {
        let data = (form == Form::Json).then_some(Flat(tensor));
        if data.as_ref().is_some_and(|data| !data.is_possible()) {
            let (name, datatype) = (tensor.name().to_owned(), tensor.datatype());
            return Err(ResponseError::Json { name, datatype });
        }
        let binary_data_size = tensor.bytes().len();
        let parameters = (form == Form::Binary).then_some(Parameters { binary_data_size });
        let (name, datatype, shape) = (tensor.name(), tensor.datatype(), tensor.shape());
        listed.push(Written { name, datatype, shape, parameters, data });
    }
    let json = serde_json::to_vec(&file(listed));
    let mut bytes = json.map_err(|error| ResponseError::Write(error.to_string()))?;
    let binary: Vec<&[u8]> = tensors
        .iter()
        .filter(|(_, form)| *form == Form::Binary)
        .map(|(tensor, _)| tensor.bytes())
        .collect();
    let header_length = (!binary.is_empty()).then_some(bytes.len());
    bytes.reserve_exact(binary.iter().map(|it| it.len()).sum());
    binary.into_iter().for_each(|it| bytes.extend_from_slice(it));
    Ok(Body { bytes, header_length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_written_as_the_protocol_has_it() {
        let a = Tensor::new("a".into(), Datatype::Uint16, vec![1, 2], vec![1, 0, 0, 1]).unwrap();
        let b = Tensor::new("b".into(), Datatype::Bool, vec![1], vec![1]).unwrap();
        let outputs = vec![(a.clone(), Form::Binary), (b.clone(), Form::Json), (b, Form::Binary)];
        let mut answer =
            InferResponse { model_name: "line.judge", model_version: "2", id: Some("7"), outputs };
        let body = answer.write().unwrap();
        let json = "{\"model_name\":\"line.judge\",\"model_version\":\"2\",\"id\":\"7\",\"outputs\":[\
            {\"name\":\"a\",\"datatype\":\"UINT16\",\"shape\":[1,2],\
            \"parameters\":{\"binary_data_size\":4}},\
            {\"name\":\"b\",\"datatype\":\"BOOL\",\"shape\":[1],\"data\":[true]},\
            {\"name\":\"b\",\"datatype\":\"BOOL\",\"shape\":[1],\
            \"parameters\":{\"binary_data_size\":1}}]}";
        assert_eq!(body.header_length, Some(json.len()));
        assert_eq!(body.bytes, [json.as_bytes(), &[1, 0, 0, 1, 1]].concat());
        answer.outputs.truncate(2);
        answer.outputs.remove(0);
        assert_eq!(answer.write().unwrap().header_length, None);
    }

    #[test]
    fn what_json_has_no_words_for_is_given_as_bytes_alone() {
        let nan = Tensor::new("a".into(), Datatype::Fp32, vec![1], f32::NAN.to_le_bytes().into());
        let answer = |form| InferResponse {
            model_name: "m",
            model_version: "1",
            id: None,
            outputs: vec![(nan.clone().unwrap(), form)],
        };
        let error = answer(Form::Json).write().unwrap_err().to_string();
        assert!(error.contains("binary_data"), "{error}");
        assert!(answer(Form::Binary).write().is_ok());
    }
}
