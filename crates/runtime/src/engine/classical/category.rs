//! Categories: their labels as numbers and the other way round, one column for each, and columns by
//! their numbers.

use super::node::{Made, Node, Operation};
use super::real::Real;
use super::value::texts_fit;
use crate::tensor::{Data, Element};
use std::collections::HashMap;

/// Where each of several values was first.
enum Places {
    Texts(HashMap<Vec<u8>, usize>),
    Numbers(HashMap<u64, usize>),
}

impl Places {
    fn new(keys: &Data) -> Option<Places> {
        fn first<K: Eq + std::hash::Hash>(keys: impl Iterator<Item = K>) -> HashMap<K, usize> {
            let mut places = HashMap::new();
            for (place, key) in keys.enumerate() {
                places.entry(key).or_insert(place);
            }
            places
        }
        match keys {
            Data::Bytes(texts) => Some(Places::Texts(first(texts.iter().cloned()))),
            other => Some(Places::Numbers(first(bits(other)?.into_iter()))),
        }
    }

    /// The place of each value; none for one that is not among them.
    fn of(&self, values: &Data) -> Option<Vec<Option<usize>>> {
        Some(match (self, values) {
            (Places::Texts(places), Data::Bytes(texts)) => {
                texts.iter().map(|text| places.get(text).copied()).collect()
            }
            (Places::Numbers(places), other) => {
                bits(other)?.into_iter().map(|number| places.get(&number).copied()).collect()
            }
            _ => return None,
        })
    }
}

/// Numbers such that equal ones are the same.
fn bits(data: &Data) -> Option<Vec<u64>> {
    Some(match data {
        Data::I64(values) => values.iter().map(|value| *value as u64).collect(),
        Data::I32(values) => values.iter().map(|value| i64::from(*value) as u64).collect(),
        Data::I16(values) => values.iter().map(|value| i64::from(*value) as u64).collect(),
        Data::F32(_) | Data::F64(_) => {
            // There are two noughts; their sum is one of them.
            f64::numbers(data)?.iter().map(|value| (value + 0.0).to_bits()).collect()
        }
        _ => return None,
    })
}

/// The elements at these places, of any kind.
fn gathered(data: &Data, places: &[usize]) -> Data {
    macro_rules! gathered {
        ($($kind:ident)*) => {
            match data {
                $(Data::$kind(values) => {
                    Data::$kind(places.iter().map(|place| values[*place].clone()).collect())
                })*
            }
        };
    }
    gathered!(Bool U8 U16 U32 U64 I8 I16 I32 I64 F16 F32 F64 Bytes)
}

/// The longest text among the elements.
fn longest(data: &Data) -> usize {
    match data {
        Data::Bytes(texts) => texts.iter().map(Vec::len).max().unwrap_or(0),
        _ => 0,
    }
}

struct LabelEncoder {
    places: Places,
    /// The value for each place, and last that for what is not among the keys.
    values: Data,
}

/// `LabelEncoder`, of each version.
pub(super) fn label_encoder(node: &Node<'_>) -> Result<Made, String> {
    node.knows(&[
        "classes_strings",
        "default_float",
        "default_int64",
        "default_string",
        "default_tensor",
        "keys_floats",
        "keys_int64s",
        "keys_strings",
        "keys_tensor",
        "values_floats",
        "values_int64s",
        "values_strings",
        "values_tensor",
    ])?;
    let input = node.input(0)?;
    let (keys, values) = match node.has("classes_strings") {
        true => {
            // The first version had texts only, and their numbers from 0 on.
            let texts = Data::Bytes(node.texts("classes_strings")?.to_vec());
            let numbers = Data::I64((0..texts.len() as i64).collect());
            match input.element {
                Element::Bytes => (texts, numbers),
                _ => (numbers, texts),
            }
        }
        false => (listed(node, "keys")?, listed(node, "values")?),
    };
    if keys.len() != values.len() {
        return Err(format!("it has {} keys and {} values", keys.len(), values.len()));
    }
    if keys.element() != input.element {
        return Err(format!("its keys are {}, its input {}", keys.element(), input.element));
    }
    if !keys.is_finite() {
        // Whether it equals itself is another matter in each version.
        return Err("one of its keys is no number".to_owned());
    }
    let default = match node.tensor("default_tensor")? {
        Some(tensor) => tensor.into_data(),
        None => match values.element() {
            Element::Bytes => {
                Data::Bytes(vec![node.text("default_string")?.unwrap_or(b"_Unused").to_vec()])
            }
            Element::I64 => Data::I64(vec![node.int("default_int64")?.unwrap_or(-1)]),
            Element::F32 => Data::F32(vec![node.float("default_float")?.unwrap_or(0.0)]),
            other => return Err(format!("its default_tensor of {other} is missing")),
        },
    };
    let values = with_last(values, default)?;
    let count = input.shape.iter().product();
    texts_fit(count, longest(&values))?;
    let kind = keys.element();
    let places = Places::new(&keys).ok_or_else(|| format!("its keys are {kind}"))?;
    let encoder = LabelEncoder { places, values };
    Ok(Made::one(encoder.values.element(), input.shape.clone(), encoder))
}

/// The keys or values of an encoder, of whatever kind.
fn listed(node: &Node<'_>, what: &str) -> Result<Data, String> {
    let name = |kind: &str| format!("{what}_{kind}");
    let tensor = node.tensor(&name("tensor"))?.map(|tensor| tensor.into_data());
    let texts = node.has(&name("strings")).then(|| node.texts(&name("strings"))).transpose()?;
    let ints = node.has(&name("int64s")).then(|| node.ints(&name("int64s"))).transpose()?;
    let floats = node.has(&name("floats")).then(|| node.floats(&name("floats"))).transpose()?;
    let mut found = tensor
        .into_iter()
        .chain(texts.map(|texts| Data::Bytes(texts.to_vec())))
        .chain(ints.map(|ints| Data::I64(ints.to_vec())))
        .chain(floats.map(|floats| Data::F32(floats.to_vec())));
    match (found.next(), found.next()) {
        (Some(data), None) => Ok(data),
        (None, _) => Err(format!("its {what} are missing")),
        _ => Err(format!("its {what} are there twice")),
    }
}

/// The elements with one more of the same kind.
fn with_last(data: Data, last: Data) -> Result<Data, String> {
    macro_rules! joined {
        ($($kind:ident)*) => {
            match (data, last) {
                $((Data::$kind(mut values), Data::$kind(last)) if last.len() == 1 => {
                    values.extend(last);
                    Data::$kind(values)
                })*
                _ => return Err("its default is not one value of the kind of its values".into()),
            }
        };
    }
    Ok(joined!(I16 I32 I64 F32 F64 Bytes))
}

impl Operation for LabelEncoder {
    fn run(&self, inputs: &[&Data]) -> Result<Vec<Data>, String> {
        let places = self.places.of(inputs[0]).ok_or("something else came than it takes")?;
        let last = self.values.len() - 1;
        let places: Vec<usize> = places.into_iter().map(|place| place.unwrap_or(last)).collect();
        Ok(vec![gathered(&self.values, &places)])
    }
}

struct OneHotEncoder {
    places: Places,
    categories: usize,
    /// Whether what is in no category is one nought after the other, or an error.
    zeros: bool,
}

/// `OneHotEncoder`: a column for each category, in a dimension of their own.
pub(super) fn one_hot_encoder(node: &Node<'_>) -> Result<Made, String> {
    node.knows(&["cats_int64s", "cats_strings", "zeros"])?;
    let input = node.input(0)?;
    let (ints, texts) = (node.ints("cats_int64s")?, node.texts("cats_strings")?);
    let categories = match (ints.is_empty(), texts.is_empty()) {
        (false, true) => Data::I64(ints.to_vec()),
        (true, false) => Data::Bytes(texts.to_vec()),
        _ => return Err("it needs either cats_int64s or cats_strings".to_owned()),
    };
    if (categories.element() == Element::Bytes) != (input.element == Element::Bytes) {
        return Err(format!("its categories are not of the kind of its input, {}", input.element));
    }
    let zeros = node.int("zeros")?.unwrap_or(1) != 0;
    let mut shape = input.shape.clone();
    shape.push(categories.len());
    let places = Places::new(&categories).ok_or("its categories are of no kind")?;
    let encoder = OneHotEncoder { places, categories: categories.len(), zeros };
    Ok(Made::one(Element::F32, shape, encoder))
}

impl Operation for OneHotEncoder {
    fn run(&self, inputs: &[&Data]) -> Result<Vec<Data>, String> {
        let whole;
        let given = match inputs[0] {
            texts @ Data::Bytes(_) => texts,
            numbers => {
                // A fraction is cut off.
                let numbers = super::plain::cast::converted(numbers, Element::I64);
                whole = numbers.ok_or("it takes numbers, text came")?;
                &whole
            }
        };
        let places = self.places.of(given).ok_or("something else came than it takes")?;
        let mut columns = vec![0.0; places.len() * self.categories];
        for (row, place) in columns.chunks_exact_mut(self.categories).zip(places) {
            match place {
                Some(place) => row[place] = 1.0,
                None if self.zeros => {}
                None => return Err("a value is in none of its categories".to_owned()),
            }
        }
        Ok(vec![Data::F32(columns)])
    }
}

struct ArrayFeatureExtractor {
    columns: usize,
}

/// `ArrayFeatureExtractor`: the columns with these numbers.
pub(super) fn array_feature_extractor(node: &Node<'_>) -> Result<Made, String> {
    node.knows(&[])?;
    let (input, places) = (node.input(0)?, node.input(1)?);
    if places.element != Element::I64 {
        return Err(format!("its numbers of columns are {}, not i64", places.element));
    }
    let columns = input.shape.last().copied().filter(|columns| *columns > 0);
    let columns = columns.ok_or_else(|| format!("its input is {:?}", input.shape))?;
    let count: usize = places.shape.iter().product();
    let mut shape = input.shape.clone();
    match shape.len() {
        1 => shape = vec![1, count],
        last => shape[last - 1] = count,
    }
    if let Some(constant) = &input.constant {
        let given = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        texts_fit(given.ok_or("it is too large")?, longest(constant))?;
    } else if input.element == Element::Bytes {
        // How long texts are is not known, and how often each is taken is not bounded.
        return Err("it takes columns of texts that are no constants".to_owned());
    }
    Ok(Made::one(input.element, shape, ArrayFeatureExtractor { columns }))
}

impl Operation for ArrayFeatureExtractor {
    fn run(&self, inputs: &[&Data]) -> Result<Vec<Data>, String> {
        let Data::I64(columns) = inputs[1] else {
            return Err("its numbers of columns are not whole".to_owned());
        };
        let rows = inputs[0].len() / self.columns;
        let mut places = Vec::with_capacity(rows * columns.len());
        for row in 0..rows {
            for column in columns {
                let column = usize::try_from(*column).ok().filter(|it| *it < self.columns);
                let column = column.ok_or("it asks for a column that is not there")?;
                places.push(row * self.columns + column);
            }
        }
        Ok(vec![gathered(inputs[0], &places)])
    }
}

/// `ZipMap`: a list of the scores of each row by their labels. A tensor of them says the same, since the
/// labels are the same in every row; so here the scores stay as they are, in the order of the labels.
pub(super) fn zip_map(node: &Node<'_>) -> Result<Made, String> {
    node.knows(&["classlabels_int64s", "classlabels_strings"])?;
    let input = node.input(0)?;
    let (_, columns) = input.table()?;
    let labels = node.ints("classlabels_int64s")?.len() + node.texts("classlabels_strings")?.len();
    match labels == columns {
        true => Ok(Made::Same(input.shape.clone())),
        false => Err(format!("it has {labels} labels for {columns} scores")),
    }
}
