//! The labels of a classifier's classes.

use super::node::Node;
use super::value::texts_fit;
use crate::tensor::{Data, Element};

/// The labels of classes, in their order.
#[derive(Debug, Clone)]
pub(super) enum Labels {
    /// Numbers.
    Ints(Vec<i64>),
    /// Texts.
    Texts(Vec<Vec<u8>>),
}

impl Labels {
    /// The labels of a node: one of the two attributes holds them. There are two of them or more.
    pub(super) fn read(node: &Node<'_>, ints: &str, rows: usize) -> Result<Labels, String> {
        let (numbers, texts) = (node.ints(ints)?, node.texts("classlabels_strings")?);
        let labels = match (numbers.is_empty(), texts.is_empty()) {
            (false, true) => Labels::Ints(numbers.to_vec()),
            (true, false) => Labels::Texts(texts.to_vec()),
            _ => return Err(format!("it needs either {ints} or classlabels_strings")),
        };
        if labels.len() < 2 {
            return Err("it has a single class".to_owned());
        }
        if let Labels::Texts(texts) = &labels {
            texts_fit(rows, texts.iter().map(Vec::len).max().unwrap_or(0))?;
        }
        Ok(labels)
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Labels::Ints(labels) => labels.len(),
            Labels::Texts(labels) => labels.len(),
        }
    }

    pub(super) fn element(&self) -> Element {
        match self {
            Labels::Ints(_) => Element::I64,
            Labels::Texts(_) => Element::Bytes,
        }
    }

    /// The labels of these classes.
    pub(super) fn of(&self, classes: &[usize]) -> Data {
        match self {
            Labels::Ints(labels) => Data::I64(classes.iter().map(|class| labels[*class]).collect()),
            Labels::Texts(labels) => {
                Data::Bytes(classes.iter().map(|class| labels[*class].clone()).collect())
            }
        }
    }
}
