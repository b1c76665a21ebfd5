//! Bodies of requests for inference: any program beside a device may send some.

use lineside_oip::{Datatype, Form, InferRequest, InferResponse, Tensor};

/// Reads a body. The first two bytes say how many of the others are JSON, where not all are.
///
/// What was read can be written again, says the same, and answers with it can be written as well.
pub fn inference(input: &[u8]) -> bool {
    let Some((length, body)) = input.split_first_chunk() else { return false };
    let length = match u16::from_le_bytes(*length) {
        u16::MAX => None,
        length => Some(usize::from(length)),
    };
    let Ok(request) = InferRequest::read(body, length) else { return false };
    let binary = request.write(Form::Binary).expect("bytes can always be written");
    again(&request, &binary);
    // JSON has no words for some of what comes as bytes.
    if let Ok(json) = request.write(Form::Json) {
        again(&request, &json);
    }
    let outputs = request.inputs.into_iter().map(|tensor| (tensor, request.form)).collect();
    let id = request.id.as_deref();
    let answer = InferResponse { model_name: "line.judge", model_version: "1", id, outputs };
    assert!(request.form == Form::Json || answer.write().is_ok());
    true
}

fn again(request: &InferRequest, body: &lineside_oip::Body) {
    let read = InferRequest::read(&body.bytes, body.header_length);
    let read = read.expect("what was written can be read");
    assert_eq!(&read, request);
}

pub(crate) fn bodies() -> Vec<Vec<u8>> {
    let size = |datatype: Datatype| datatype.size_bytes().unwrap_or(4);
    let tensor = |datatype: Datatype| {
        let bytes = vec![0; 2 * size(datatype)];
        Tensor::new(format!("x{datatype}"), datatype, vec![1, 2], bytes).expect("a tensor")
    };
    let inputs: Vec<Tensor> = Datatype::all().map(tensor).collect();
    let request = InferRequest { id: Some("7".into()), inputs, ..InferRequest::default() };
    let bodies = [Form::Json, Form::Binary].map(|form| {
        let body = request.write(form).expect("zeros are JSON");
        let length = body.header_length.map_or(u16::MAX, |length| length as u16);
        [&length.to_le_bytes()[..], &body.bytes].concat()
    });
    let nested = br#"  {"parameters": {"binary_data_output": true, "timeout": 9},
        "inputs": [{"name": "x", "shape": [2, 1, 2], "datatype": "FP16", "data": [[[1, 2]], [[0.5, -1e3]]]},
                   {"name": "t", "shape": [], "datatype": "BYTES", "data": "a\u00e4"}],
        "outputs": [{"name": "y", "parameters": {"binary_data": false}}]}"#;
    let nested = [&u16::MAX.to_le_bytes()[..], nested].concat();
    bodies.into_iter().chain([nested]).collect()
}
