//! What a model means that onnxruntime would compute otherwise than ONNX says, without a word (1.32): seen in
//! the file, before it is loaded. ONNX's own examples of its operators show it.

use crate::engine::nodes::{Nodes, gives, input, int, is};
use crate::tensor::Data;
use tract_onnx::pb::{ModelProto, NodeProto};

/// What onnxruntime gets wrong of a model; nothing where it gets all right.
pub(super) fn wrong(model: &ModelProto) -> Option<&'static str> {
    let nodes = Nodes::of(model);
    nodes.iter().find_map(|node| wrong_in(node, &nodes))
}

fn wrong_in(node: &NodeProto, nodes: &Nodes<'_>) -> Option<&'static str> {
    // Which scores are given before they are what is wanted changed with a later version of ONNX.
    if is(node, "Attention")
        && gives(node, 3)
        && matches!(int(node, "qk_matmul_output_mode"), Some(1 | 2))
    {
        return Some("the scores of Attention in these modes");
    }
    // It draws lots, which nothing could check.
    if is(node, "Dropout") && input(node, 2).is_some() && !is_never(node, nodes) {
        return Some("Dropout in training");
    }
    // Places are counted in the shape without the padding that the larger one has.
    if is(node, "MaxUnpool") && input(node, 2).is_some() {
        return Some("MaxUnpool to a shape that is given");
    }
    if is(node, "Resize") && nodes.aligns_parts(node) {
        return Some("Resize with aligned corners by parts of a size");
    }
    None
}

/// Whether a Dropout is known not to train.
fn is_never(node: &NodeProto, nodes: &Nodes<'_>) -> bool {
    let known = nodes.known(node, 2);
    known.is_some_and(
        |trains| matches!(trains.data(), Data::Bool(trains) if !trains.contains(&true)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::OnnxModel;
    use crate::engine::model::tests::{field, model, node};
    use crate::tensor::Element;

    fn operator(name: &str, ports: (&[&str], &[&str]), attributes: &[Vec<u8>]) -> Vec<u8> {
        let attributes: Vec<u8> = attributes.iter().flat_map(|it| field(5, it)).collect();
        field(1, &[node(name, "", ports), attributes].concat())
    }

    fn constant(name: &str, element: Element, count: u8, bytes: &[u8]) -> Vec<u8> {
        let kind = vec![1 << 3, count, 2 << 3, element.onnx() as u8];
        field(5, &[kind, field(8, name.as_bytes()), field(9, bytes)].concat())
    }

    fn is_wrong(graph: &[Vec<u8>]) -> bool {
        let file = model(&graph.concat());
        wrong(OnnxModel::read(&file).unwrap().proto()).is_some()
    }

    #[test]
    fn a_dropout_is_taken_where_it_is_known_not_to_train() {
        let dropout = |taken: &[&str]| operator("Dropout", (taken, &["y"]), &[]);
        let never = constant("t", Element::Bool, 1, &[0]);
        let always = constant("t", Element::Bool, 1, &[1]);
        assert!(!is_wrong(&[dropout(&["x"])]));
        assert!(!is_wrong(&[dropout(&["x", "r", ""])]));
        assert!(!is_wrong(&[never.clone(), dropout(&["x", "r", "t"])]));
        assert!(is_wrong(&[always.clone(), dropout(&["x", "r", "t"])]));
        assert!(is_wrong(&[dropout(&["x", "r", "t"])]), "it is found out in each frame");
        // Two graphs may have a name each; then nobody knows which it is.
        assert!(is_wrong(&[never, always, dropout(&["x", "r", "t"])]));
    }

    #[test]
    fn corners_are_aligned_only_by_whole_numbers() {
        let scales = |scale: f32| {
            let bytes = [1f32, scale].map(f32::to_le_bytes).concat();
            constant("s", Element::F32, 2, &bytes)
        };
        let resize = |mode: &[u8]| {
            let mode = [field(1, b"coordinate_transformation_mode"), field(4, mode)].concat();
            operator("Resize", (&["x", "", "s"], &["y"]), &[mode])
        };
        assert!(!is_wrong(&[scales(2.0), resize(b"align_corners")]));
        assert!(is_wrong(&[scales(0.6), resize(b"align_corners")]));
        assert!(is_wrong(&[resize(b"align_corners")]));
        assert!(!is_wrong(&[scales(0.6), resize(b"half_pixel")]));
    }

    #[test]
    fn what_is_right_of_an_operator_is_taken() {
        let mode = |mode: u8| [field(1, b"qk_matmul_output_mode"), vec![3 << 3, mode]].concat();
        let scores = (&["q", "k", "v"][..], &["y", "", "", "s"][..]);
        let plain = (&["q", "k", "v"][..], &["y"][..]);
        assert!(is_wrong(&[operator("Attention", scores, &[mode(1)])]));
        assert!(!is_wrong(&[operator("Attention", scores, &[mode(3)])]));
        assert!(!is_wrong(&[operator("Attention", plain, &[mode(1)])]));
        assert!(is_wrong(&[operator("MaxUnpool", (&["x", "i", "shape"], &["y"]), &[])]));
        assert!(!is_wrong(&[operator("MaxUnpool", (&["x", "i"], &["y"]), &[])]));
    }
}
