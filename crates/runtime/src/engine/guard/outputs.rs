//! Has a file give more of its tensors, for engines that read files.

/// The number of a model's graph (ONNX, onnx.proto, `ModelProto`), and of a graph's output (`GraphProto`).
const GRAPH: u64 = 7;
const OUTPUT: u64 = 12;
/// The number of an output's name (`ValueInfoProto`).
const NAME: u64 = 1;
/// The wire type of what has a length in front (Protocol Buffers, "Encoding").
const LENGTH: u64 = 2;

/// The file with these tensors among the outputs of its graph, behind those that it has; none if it does not
/// have one graph.
pub(in super::super) fn with_outputs(file: &[u8], tensors: &[&str]) -> Option<Vec<u8>> {
    let (mut rest, mut found) = (file, None);
    while !rest.is_empty() {
        let (tag, behind) = varint(rest)?;
        let body = match tag & 7 {
            LENGTH => {
                let (length, body) = varint(behind)?;
                let (body, after) = body.split_at_checked(usize::try_from(length).ok()?)?;
                if tag >> 3 == GRAPH {
                    let start = file.len() - rest.len();
                    let end = file.len() - after.len();
                    if found.replace((start, body, end)).is_some() {
                        return None;
                    }
                }
                after
            }
            0 => varint(behind)?.1,
            1 => behind.get(8..)?,
            5 => behind.get(4..)?,
            _ => return None,
        };
        rest = body;
    }
    let (start, graph, end) = found?;
    let more = tensors.iter().flat_map(|tensor| field(OUTPUT, &field(NAME, tensor.as_bytes())));
    let more: Vec<u8> = more.collect();
    let mut head = varint_of(GRAPH << 3 | LENGTH);
    head.extend(varint_of((graph.len() + more.len()) as u64));
    Some([&file[..start], &head, graph, &more, &file[end..]].concat())
}

/// The number at the beginning, and what comes behind it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = 1 + bytes.iter().take(10).position(|byte| byte & 0x80 == 0)?;
    let (number, rest) = bytes.split_at(length);
    let number =
        number.iter().rev().fold(0u64, |number, byte| number << 7 | u64::from(byte & 0x7f));
    Some((number, rest))
}

fn varint_of(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    [&varint_of(number << 3 | LENGTH), &varint_of(bytes.len() as u64), bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::OnnxModel;
    use crate::engine::model::tests::{field, model, node, value};
    use crate::tensor::Element;

    #[test]
    fn a_file_gives_more_of_its_tensors_and_is_the_same_otherwise() {
        let graph = [
            field(1, &node("Relu", "", (&["x"], &["a"]))),
            field(1, &node("Abs", "", (&["a"], &["y"]))),
            value(11, "x", Element::F32, &[2]),
            value(12, "y", Element::F32, &[2]),
        ];
        // What comes behind the graph stays there.
        let file = [model(&graph.concat()), field(2, b"producer")].concat();
        let more = with_outputs(&file, &["a"]).unwrap();
        let (before, after) = (OnnxModel::read(&file).unwrap(), OnnxModel::read(&more).unwrap());
        let names = after.facts().outputs.iter().map(|output| output.name.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["y", "a"]);
        assert_eq!(after.facts().inputs, before.facts().inputs);
        assert_eq!(after.facts().operators, before.facts().operators);
        assert_eq!(after.facts().producer, "producer");
        assert_eq!(with_outputs(&file, &[]), Some(file.clone()));
    }

    #[test]
    fn what_is_no_file_with_one_graph_gives_nothing() {
        let file = model(&[]);
        assert!(with_outputs(&file, &[]).is_some());
        let twice = [file.clone(), file.clone()].concat();
        for bytes in [&b""[..], &twice, &file[..file.len() - 1], &[0xff; 30], &[7 << 3 | 2, 9]] {
            assert_eq!(with_outputs(bytes, &["a"]), None, "{bytes:?}");
        }
    }
}
