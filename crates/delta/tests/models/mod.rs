//! Small ONNX files to try things on.

/// `TensorProto.DataType`.
pub const FLOAT: u64 = 1;
pub const INT8: u64 = 3;
pub const INT32: u64 = 6;
pub const FLOAT16: u64 = 10;

/// A tensor to be written: its name, kind and bytes.
pub type Tensor<'a> = (&'a str, u64, Vec<u8>);

/// An ONNX file with these initializers between some other fields.
pub fn model(tensors: &[Tensor<'_>]) -> Vec<u8> {
    model_of(&[], tensors)
}

/// As [`model`], with nodes: an operator and the names of its inputs and its output.
pub fn model_of(nodes: &[(&str, &[&str], &str)], tensors: &[Tensor<'_>]) -> Vec<u8> {
    let mut graph = Vec::new();
    for (operator, inputs, output) in nodes {
        let mut node: Vec<u8> =
            inputs.iter().flat_map(|input| field(1, input.as_bytes())).collect();
        node.extend([field(2, output.as_bytes()), field(4, operator.as_bytes())].concat());
        graph.extend(field(1, &node));
    }
    for (name, data_type, bytes) in tensors {
        let node = [field(1, b"x"), field(4, b"MatMul")].concat();
        graph.extend(field(1, &node));
        let width = match *data_type {
            FLOAT | INT32 => 4,
            FLOAT16 => 2,
            INT8 => 1,
            other => panic!("no test has tensors of kind {other}"),
        };
        // Rows of four, where they come out even.
        let count = bytes.len() as u64 / width;
        let mut tensor = match count % 4 {
            0 => [number(1 << 3, count / 4), number(1 << 3, 4)].concat(),
            _ => number(1 << 3, count),
        };
        tensor.extend(number(2 << 3, *data_type));
        tensor.extend(field(8, name.as_bytes()));
        tensor.extend(field(9, bytes));
        graph.extend(field(5, &tensor));
    }
    [number(1 << 3, 8), field(2, b"a test"), field(7, &graph)].concat()
}

fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut field = self::number(number << 3 | 2, bytes.len() as u64);
    field.extend_from_slice(bytes);
    field
}

fn number(key: u64, value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for mut number in [key, value] {
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
    }
    bytes
}

/// Numbers that look like weights: about normal, deviation `scale`, the same for the same seed.
pub fn weights(seed: u64, count: usize, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut uniform = || {
        // xorshift64 (Marsaglia 2003)
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32
    };
    let mut normal = || (0..12).map(|_| uniform()).sum::<f32>() - 6.0;
    (0..count).map(|_| normal() * scale).collect()
}

/// As an ONNX file keeps them.
pub fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// Each number and the one at the same place of the update.
pub fn sum(numbers: &[f32], update: &[f32]) -> Vec<f32> {
    numbers.iter().zip(update).map(|(number, update)| number + update).collect()
}
