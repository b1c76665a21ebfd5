//! An ONNX file, read once: what engines make a model of, and what is known of it before one does.

use super::error::EngineError;
use super::operator::Operator;
use super::order::check_order;
use crate::tensor::Element;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as DimensionValue;
use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, ValueInfoProto,
};
use tract_onnx::prelude::Framework;

/// Inputs, and outputs, that a model may have.
const PORTS_MAX: usize = 256;
/// The place of a tensor in ONNX (`TensorProto.DataLocation`) that is another file.
const LOCATION_EXTERNAL: i32 = 1;

/// An ONNX model that lies in one file whole. Only [`OnnxModel::read`] makes one.
pub struct OnnxModel<'a> {
    bytes: &'a [u8],
    proto: ModelProto,
    facts: ModelFacts,
}

/// What an ONNX file says of its model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFacts {
    /// What it takes, in order; without inputs that have a value in the file.
    pub inputs: Vec<Declared>,
    /// What it gives, in order.
    pub outputs: Vec<Declared>,
    /// The operators it uses, those within its loops and branches among them, and how many nodes have
    /// each.
    pub operators: BTreeMap<Operator, u64>,
    /// Versions of the sets that its operators come from, by domain; empty for ONNX's own.
    pub opsets: BTreeMap<String, i64>,
    /// Elements of its weights and other constants.
    pub parameters: u64,
    /// Bytes of these.
    pub parameter_bytes: u64,
    /// The program that wrote the file, with its version.
    pub producer: String,
}

/// An input or output as the file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// What its elements are; none for what is no tensor, or one that cannot be passed on.
    pub element: Option<Element>,
    /// Its shape; none where the file says nothing of it.
    pub shape: Option<Vec<Dimension>>,
}

/// One dimension of a declared shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dimension {
    /// So many.
    Fixed(usize),
    /// Any number; free dimensions of one name have the same. Empty where it has none.
    Free(String),
}

impl<'a> OnnxModel<'a> {
    /// Reads a file. Runs and allocates nothing for what the file merely claims.
    ///
    /// # Errors
    /// [`EngineError::Format`], [`EngineError::External`].
    pub fn read(bytes: &'a [u8]) -> Result<OnnxModel<'a>, EngineError> {
        let mut reader = bytes;
        let proto = tract_onnx::onnx()
            .proto_model_for_read(&mut reader)
            .map_err(|error| EngineError::Format(error.to_string()))?;
        let facts = facts(&proto)?;
        Ok(OnnxModel { bytes, proto, facts })
    }

    /// What is known of it.
    pub fn facts(&self) -> &ModelFacts {
        &self.facts
    }

    /// The file.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The same, decoded.
    pub(super) fn proto(&self) -> &ModelProto {
        &self.proto
    }
}

impl Declared {
    /// Type and shape, for people: `f32 [batch, 6, ?]`.
    pub fn form(&self) -> String {
        let element = self.element.map_or("no tensor".to_owned(), |element| element.to_string());
        let Some(shape) = &self.shape else { return format!("{element} of any shape") };
        let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
        format!("{element} [{}]", sizes.join(", "))
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dimension::Fixed(size) => write!(f, "{size}"),
            Dimension::Free(name) if name.is_empty() => f.write_str("?"),
            Dimension::Free(name) => f.write_str(name),
        }
    }
}

fn facts(proto: &ModelProto) -> Result<ModelFacts, EngineError> {
    let format = |problem: &str| EngineError::Format(problem.to_owned());
    let graph = proto.graph.as_ref().ok_or_else(|| format("it has no graph"))?;
    let with_value: BTreeSet<&str> =
        graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let inputs = graph.input.iter().filter(|input| !with_value.contains(input.name.as_str()));
    let inputs: Vec<Declared> = inputs.map(declared).collect();
    let outputs: Vec<Declared> = graph.output.iter().map(declared).collect();
    if inputs.len().max(outputs.len()) > PORTS_MAX {
        return Err(format(&format!("it has more than {PORTS_MAX} inputs or outputs")));
    }
    let mut used = Used::default();
    used.graph(graph)?;
    let imports = proto.opset_import.iter();
    let opset = |domain: &str| if domain == "ai.onnx" { String::new() } else { domain.to_owned() };
    Ok(ModelFacts {
        inputs,
        outputs,
        operators: used.operators,
        opsets: imports.map(|import| (opset(&import.domain), import.version)).collect(),
        parameters: used.parameters,
        parameter_bytes: used.parameter_bytes,
        producer: format!("{} {}", proto.producer_name, proto.producer_version).trim().to_owned(),
    })
}

fn declared(info: &ValueInfoProto) -> Declared {
    let tensor = info.r#type.as_ref().and_then(|it| it.value.as_ref());
    let tensor = tensor.map(|TypeValue::TensorType(tensor)| tensor);
    let shape = tensor.and_then(|tensor| tensor.shape.as_ref()).map(|shape| {
        let dimension = |value: Option<&DimensionValue>| match value {
            Some(DimensionValue::DimValue(size)) => {
                // Some exporters write a free dimension as -1 or 0.
                let size = usize::try_from(*size).ok().filter(|size| *size > 0);
                size.map_or(Dimension::Free(String::new()), Dimension::Fixed)
            }
            // Some exporters call every free dimension "?": that is no name.
            Some(DimensionValue::DimParam(name)) if name == "?" => Dimension::Free(String::new()),
            Some(DimensionValue::DimParam(name)) => Dimension::Free(name.clone()),
            None => Dimension::Free(String::new()),
        };
        shape.dim.iter().map(|dim| dimension(dim.value.as_ref())).collect()
    });
    let element = tensor.and_then(|tensor| Element::from_onnx(tensor.elem_type));
    Declared { name: info.name.clone(), element, shape }
}

/// Counts what a graph uses, and the graphs within it.
#[derive(Default)]
struct Used {
    operators: BTreeMap<Operator, u64>,
    parameters: u64,
    parameter_bytes: u64,
}

impl Used {
    // The depth is bounded by whoever decodes: prost takes messages a hundred deep.
    fn graph(&mut self, graph: &GraphProto) -> Result<(), EngineError> {
        check_order(graph)?;
        graph.initializer.iter().try_for_each(|tensor| self.tensor(tensor))?;
        graph.sparse_initializer.iter().try_for_each(|sparse| self.sparse(sparse))?;
        graph.node.iter().try_for_each(|node| self.node(node))
    }

    fn node(&mut self, node: &NodeProto) -> Result<(), EngineError> {
        *self.operators.entry(Operator::new(&node.domain, &node.op_type)).or_default() += 1;
        for attribute in &node.attribute {
            // Trees and linear models have no tensors: what they have learned lies in such lists.
            self.parameters += attribute.floats.len() as u64;
            self.parameter_bytes += 4 * attribute.floats.len() as u64;
            let mut tensors = attribute.t.iter().chain(&attribute.tensors);
            tensors.try_for_each(|tensor| self.tensor(tensor))?;
            let mut sparse = attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors);
            sparse.try_for_each(|sparse| self.sparse(sparse))?;
            let mut graphs = attribute.g.iter().chain(&attribute.graphs);
            graphs.try_for_each(|graph| self.graph(graph))?;
        }
        Ok(())
    }

    fn sparse(&mut self, sparse: &SparseTensorProto) -> Result<(), EngineError> {
        let mut tensors = sparse.values.iter().chain(&sparse.indices);
        tensors.try_for_each(|tensor| self.tensor(tensor))
    }

    fn tensor(&mut self, tensor: &TensorProto) -> Result<(), EngineError> {
        if tensor.data_location == Some(LOCATION_EXTERNAL) || !tensor.external_data.is_empty() {
            return Err(EngineError::External(format!("{:?}", tensor.name)));
        }
        // Only what is there counts, whatever shape it claims.
        let texts: usize = tensor.string_data.iter().map(Vec::len).sum();
        let stored = [
            (tensor.float_data.len(), 4),
            (tensor.int32_data.len(), 4),
            (tensor.int64_data.len(), 8),
            (tensor.double_data.len(), 8),
            (tensor.uint64_data.len(), 8),
        ];
        let listed: usize = stored.iter().map(|(count, size)| count * size).sum();
        let bytes = tensor.raw_data.len() + texts + listed;
        let size = Element::from_onnx(tensor.data_type).and_then(Element::size_bytes).unwrap_or(1);
        let counts = stored.iter().map(|(count, _)| count).sum::<usize>();
        let count = tensor.raw_data.len() / size + tensor.string_data.len() + counts;
        self.parameters += count as u64;
        self.parameter_bytes += bytes as u64;
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A field of a protocol buffer that holds bytes.
    pub(crate) fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut length = bytes.len();
        let mut field = vec![number << 3 | 2];
        while length > 127 {
            field.push(length as u8 | 0x80);
            length >>= 7;
        }
        field.push(length as u8);
        [field, bytes.to_vec()].concat()
    }

    /// A node of a graph, with the fields of a graph within it where it has one.
    pub(crate) fn node(operator: &str, domain: &str, ports: (&[&str], &[&str])) -> Vec<u8> {
        let inputs: Vec<u8> = ports.0.iter().flat_map(|it| field(1, it.as_bytes())).collect();
        let outputs: Vec<u8> = ports.1.iter().flat_map(|it| field(2, it.as_bytes())).collect();
        let names = [field(4, operator.as_bytes()), field(7, domain.as_bytes())].concat();
        [inputs, outputs, names].concat()
    }

    /// The field of a graph that declares an input (11) or output (12); 0 stands for a free size.
    pub(crate) fn value(number: u8, name: &str, element: Element, shape: &[u8]) -> Vec<u8> {
        let dimension = |size: &u8| match size {
            0 => field(1, &field(2, b"batch")),
            size => field(1, &[1 << 3, *size]),
        };
        let shape: Vec<u8> = shape.iter().flat_map(dimension).collect();
        let kind = [vec![1 << 3, element.onnx() as u8], field(2, &shape)].concat();
        field(number, &[field(1, name.as_bytes()), field(2, &field(1, &kind))].concat())
    }

    /// A model of opset 17 with the fields of a graph.
    pub(crate) fn model(graph: &[u8]) -> Vec<u8> {
        let opset = [field(1, b""), vec![2 << 3, 17]].concat();
        [vec![1 << 3, 8], field(8, &opset), field(7, graph)].concat()
    }

    fn facts(graph: &[u8]) -> ModelFacts {
        OnnxModel::read(&model(graph)).unwrap().facts().clone()
    }

    #[test]
    fn operators_within_branches_and_of_other_domains_are_named() {
        let relu = field(1, &node("Relu", "", (&["x"], &["y"])));
        let branch = [field(1, b"then_branch"), field(6, &relu)].concat();
        let within = [node("If", "ai.onnx", (&["c"], &["z"])), field(5, &branch)].concat();
        let conv = node("Conv", "", (&["x"], &["y"]));
        let normalizer = node("Normalizer", "ai.onnx.ml", (&["x"], &["y"]));
        let graph: Vec<u8> = [within, conv.clone(), conv, normalizer]
            .iter()
            .flat_map(|node| field(1, node))
            .collect();
        let facts = facts(&graph);
        let used = facts.operators.iter().map(|(it, nodes)| format!("{nodes} {it}"));
        let used: Vec<String> = used.collect();
        assert_eq!(used, ["2 Conv", "1 If", "1 Relu", "1 ai.onnx.ml.Normalizer"]);
        assert_eq!(facts.opsets, BTreeMap::from([(String::new(), 17)]));
    }

    #[test]
    fn ports_are_told_as_the_file_declares_them() {
        let weight = field(5, &[field(8, b"w"), vec![2 << 3, 1], field(9, &[0; 24])].concat());
        let graph = [
            value(11, "x", Element::F32, &[0, 6]),
            value(11, "w", Element::F32, &[6]),
            value(12, "y", Element::I64, &[]),
            weight,
        ];
        let facts = facts(&graph.concat());
        let forms = |ports: &[Declared]| {
            ports.iter().map(|port| format!("{} {}", port.name, port.form())).collect::<Vec<_>>()
        };
        assert_eq!(forms(&facts.inputs), ["x f32 [batch, 6]"]);
        assert_eq!(forms(&facts.outputs), ["y i64 []"]);
        assert_eq!((facts.parameters, facts.parameter_bytes), (6, 24));
        let silent = field(11, &field(1, b"q"));
        assert_eq!(forms(&self::facts(&silent).inputs), ["q no tensor of any shape"]);
    }

    #[test]
    fn what_a_classical_model_has_learned_counts_although_it_lies_in_lists() {
        let list = [field(1, b"coefficients"), field(7, &[0; 12])].concat();
        let linear = node("LinearRegressor", "ai.onnx.ml", (&["x"], &["y"]));
        let facts = facts(&field(1, &[linear, field(5, &list)].concat()));
        assert_eq!((facts.parameters, facts.parameter_bytes), (3, 12));
    }

    #[test]
    fn what_is_no_model_has_no_facts_but_an_error() {
        for bytes in [&b"no model"[..], b"", &[0xff; 40]] {
            assert!(matches!(OnnxModel::read(bytes), Err(EngineError::Format(_))), "{bytes:?}");
        }
    }

    #[test]
    fn weights_in_other_files_are_refused_wherever_they_hide() {
        let external = [field(8, b"w"), vec![14 << 3, 1]].concat();
        let entry = [field(1, b"location"), field(2, b"/etc/passwd")].concat();
        let listed = [field(8, b"w"), field(13, &entry)].concat();
        let constant = [node("Constant", "", (&[], &["w"])), field(5, &field(5, &listed))].concat();
        let branch = [field(1, b"b"), field(6, &field(5, &external))].concat();
        let within = [node("If", "", (&["c"], &["z"])), field(5, &branch)].concat();
        for graph in
            [field(5, &external), field(5, &listed), field(1, &constant), field(1, &within)]
        {
            let error = OnnxModel::read(&model(&graph)).err().unwrap().to_string();
            assert!(error.starts_with("tensor \"w\" lies in another file"), "{error}");
        }
    }

    #[test]
    fn a_shape_that_nothing_could_hold_is_only_a_claim() {
        let dims = [vec![1 << 3], vec![0xff; 8], vec![0x7f]].concat();
        let weight = field(5, &[dims.clone(), dims, field(8, b"w"), vec![2 << 3, 1]].concat());
        assert_eq!(facts(&weight).parameters, 0);
        let many: Vec<u8> = (0..300).flat_map(|_| value(11, "x", Element::F32, &[1])).collect();
        assert!(matches!(OnnxModel::read(&model(&many)), Err(EngineError::Format(_))));
    }
}
