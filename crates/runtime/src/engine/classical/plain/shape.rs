//! Operators that compute nothing: constants, and the same elements in another shape.

use super::super::node::{Made, Node};
use crate::tensor::{DIMENSIONS_MAX, Data, Tensor};

/// `Identity`.
pub(in super::super) fn identity(node: &Node<'_>) -> Result<Made, String> {
    node.knows(&[])?;
    Ok(Made::Same(node.input(0)?.shape.clone()))
}

/// `Constant`.
pub(in super::super) fn constant(node: &Node<'_>) -> Result<Made, String> {
    node.knows(&["value", "value_float", "value_floats", "value_int", "value_ints"])?;
    if let Some(tensor) = node.tensor("value")? {
        return Ok(Made::Constant(tensor));
    }
    let (shape, data) = if let Some(value) = node.float("value_float")? {
        (vec![], Data::F32(vec![value]))
    } else if let Some(value) = node.int("value_int")? {
        (vec![], Data::I64(vec![value]))
    } else if node.has("value_ints") {
        let values = node.ints("value_ints")?;
        (vec![values.len()], Data::I64(values.to_vec()))
    } else {
        let values = node.floats("value_floats")?;
        (vec![values.len()], Data::F32(values.to_vec()))
    };
    let tensor = Tensor::new(shape, data).ok_or("it is too large")?;
    Ok(Made::Constant(tensor))
}

/// `Reshape` to a shape that the file holds.
pub(in super::super) fn reshape(node: &Node<'_>) -> Result<Made, String> {
    node.knows(&["allowzero", "shape"])?;
    let input = &node.input(0)?.shape;
    // Its first version had the shape as an attribute.
    let wanted =
        if node.has_input(1) { node.input(1)?.whole("shape")? } else { node.ints("shape")? };
    let copies_zero = node.int("allowzero")?.unwrap_or(0) == 0;
    let misfit = || format!("{input:?} does not fit into {wanted:?}");
    let mut shape = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (place, size) in wanted.iter().enumerate() {
        shape.push(match *size {
            0 if copies_zero => *input.get(place).ok_or_else(misfit)?,
            -1 if open.is_none() => {
                open = Some(place);
                1
            }
            size => usize::try_from(size).map_err(|_| misfit())?,
        });
    }
    let elements: usize = input.iter().product();
    let others = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let others = others.ok_or_else(misfit)?;
    if let Some(open) = open {
        shape[open] = elements.checked_div(others).ok_or_else(misfit)?;
    }
    fitting(input, shape)
}

/// `Flatten`: the dimensions before an axis in one, and those from it on.
pub(in super::super) fn flatten(node: &Node<'_>) -> Result<Made, String> {
    node.knows(&["axis"])?;
    let input = &node.input(0)?.shape;
    let axis = node.int("axis")?.unwrap_or(1);
    // Here the axis may lie behind the last.
    let axis =
        if axis == input.len() as i64 { input.len() } else { self::axis(axis, input.len())? };
    let (before, after) = input.split_at(axis);
    Ok(Made::Same(vec![before.iter().product(), after.iter().product()]))
}

/// `Squeeze`.
pub(in super::super) fn squeeze(node: &Node<'_>) -> Result<Made, String> {
    let input = &node.input(0)?.shape;
    let axes = axes(node, input.len())?;
    let goes = |place: usize| match &axes {
        Some(axes) => axes.contains(&place),
        None => input[place] == 1,
    };
    let kept = (0..input.len()).filter(|place| !goes(*place));
    fitting(input, kept.map(|place| input[place]).collect())
}

/// `Unsqueeze`.
pub(in super::super) fn unsqueeze(node: &Node<'_>) -> Result<Made, String> {
    let input = &node.input(0)?.shape;
    let count = if node.has_input(1) { node.input(1)?.whole("axes")? } else { node.ints("axes")? };
    let rank = input.len() + count.len();
    if rank > DIMENSIONS_MAX {
        return Err(format!("it would have {rank} dimensions"));
    }
    let axes = axes(node, rank)?.ok_or("its axes are missing")?;
    let mut sizes = input.iter();
    let size = |place| if axes.contains(&place) { Some(1) } else { sizes.next().copied() };
    let shape: Option<Vec<usize>> = (0..rank).map(size).collect();
    fitting(input, shape.ok_or("its axes are given twice")?)
}

/// The axes of a node, which earlier versions have as an attribute.
fn axes(node: &Node<'_>, rank: usize) -> Result<Option<Vec<usize>>, String> {
    node.knows(&["axes"])?;
    let axes = match (node.has_input(1), node.has("axes")) {
        (true, _) => node.input(1)?.whole("axes")?,
        (false, true) => node.ints("axes")?,
        (false, false) => return Ok(None),
    };
    axes.iter().map(|axis| self::axis(*axis, rank)).collect::<Result<_, _>>().map(Some)
}

/// The axis of so many; one below nought is counted from the end.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let count = rank as i64;
    let counted = if axis < 0 { axis.saturating_add(count) } else { axis };
    match (0..count).contains(&counted) {
        true => Ok(counted as usize),
        false => Err(format!("it has no axis {axis}, only {rank}")),
    }
}

fn fitting(input: &[usize], shape: Vec<usize>) -> Result<Made, String> {
    let product =
        |shape: &[usize]| shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    match product(&shape).is_some() && product(&shape) == product(input) {
        true => Ok(Made::Same(shape)),
        false => Err(format!("{input:?} does not fit into {shape:?}")),
    }
}
