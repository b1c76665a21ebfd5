//! What a bundle for a model is to be like: guessed from the model's inputs and a recording's columns.
//!
//! Whatever is guessed has a sentence that says so.

use super::columns::{Column, Content};
use crate::model::facts::{Facts, Size, Tensor};
use anyhow::{Context, bail};
use std::collections::BTreeMap;

/// Fields that a port may have.
const FIELDS_MAX: usize = 256;
/// Readings of a window.
const ROWS_MAX: usize = 1 << 20;
/// Elements of a constant.
const CONSTANTS_MAX: usize = 1024;
/// Elements from which on a list is taken for readings of one column where there is only one.
const SIGNAL_MIN: usize = 8;
/// A free size of an image, and of anything else, where nobody says which.
const IMAGE_SIZE: usize = 224;
const STEPS: usize = 32;
/// Windows that a model's state is taken to need before it has settled.
const SETTLING: usize = 20;

/// What people say rather than have guessed.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    pub key: Option<String>,
    pub time: Option<String>,
    pub fields: Vec<String>,
    pub shapes: BTreeMap<String, Vec<usize>>,
}

/// The port, the window, and what feeds the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub key: Option<String>,
    pub time: Option<String>,
    /// Readings a second, where they carry no time.
    pub rate_hz: f64,
    pub fields: Vec<Field>,
    pub rows: usize,
    /// What feeds each input of the model.
    pub inputs: BTreeMap<String, Fed>,
    /// Inputs with free sizes that do not follow from what feeds them.
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// Outputs that are inputs of the next frame.
    pub state: BTreeMap<String, String>,
    pub warm_up_readings: usize,
    /// What was guessed about the port, the window and the model.
    pub told: Told,
}

/// Sentences about what was guessed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    pub port: Vec<String>,
    pub window: Vec<String>,
    pub model: Vec<String>,
}

/// A field of the port.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub name: String,
    /// What was seen; none without a recording.
    pub range: Option<(f64, f64)>,
}

/// What feeds an input.
#[derive(Debug, Clone, PartialEq)]
pub enum Fed {
    /// Readings, as another type where one is named.
    Readings { part: Part, element: Option<String> },
    /// The same value in every frame.
    Constant { element: String, shape: Vec<usize>, value: f64 },
}

/// What of a window feeds an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it, row by row.
    Rows,
    /// All of it, column by column.
    Columns,
    /// One of its columns.
    Column(usize),
}

impl Plan {
    /// Guesses. `columns` are those of a recording, if there is one.
    ///
    /// # Errors
    /// What the model takes that readings cannot give, or the recording lacks.
    pub fn of(facts: &Facts, columns: Option<&[Column]>, wishes: &Wishes) -> anyhow::Result<Plan> {
        let mut told = Told::default();
        let state = carried(facts, &mut told);
        let fed = facts.inputs.iter().filter(|it| !state.values().any(|name| *name == it.name));
        let fed: Vec<&Tensor> = fed.collect();
        let (numbers, others): (Vec<&Tensor>, Vec<&Tensor>) =
            fed.iter().copied().partition(|input| is_measured(input, &fed, columns, wishes));
        let mut inputs = BTreeMap::new();
        for input in others {
            inputs.insert(input.name.clone(), constant(input, &mut told)?);
        }
        let mut shapes = BTreeMap::new();
        let port = match numbers.as_slice() {
            [] => bail!("it has no input of numbers, so what feeds it is a plugin's affair"),
            [one] => {
                let shape = settled(one, columns, wishes, &mut shapes, &mut told)?;
                let shaped = Shaped::of(one, &shape, columns, wishes, &mut told)?;
                inputs.insert(one.name.clone(), readings(one, shaped.part, &mut told));
                shaped
            }
            several => {
                let fields = by_column(several, columns, wishes)?;
                for (place, input) in several.iter().enumerate() {
                    let fed = readings(input, Part::Column(place), &mut told);
                    inputs.insert(input.name.clone(), fed);
                }
                told.model.push("each input is fed by the column of its name".into());
                Shaped { fields, rows: 1, part: Part::Rows }
            }
        };
        for column in columns.into_iter().flatten().filter(|column| column.odd > 0) {
            told.port.push(format!(
                "{}: {} of its cells hold something else, and the rows with them are left out",
                column.name, column.odd
            ));
        }
        let clock = clock(columns, wishes, &mut told)?;
        let rows = port.rows;
        let warm_up_readings = if state.is_empty() { 0 } else { SETTLING * rows };
        Ok(Plan {
            key: key(columns, wishes, &mut told)?,
            time: clock.0,
            rate_hz: clock.1,
            fields: port.fields,
            rows,
            inputs,
            shapes,
            state,
            warm_up_readings,
            told,
        })
    }
}

/// An output with the name and form of an input is what the model carries from frame to frame.
fn carried(facts: &Facts, told: &mut Told) -> BTreeMap<String, String> {
    let mut state = BTreeMap::new();
    for (output, input) in facts.carried() {
        told.model.push(format!(
            "{output} has the name and the form of {input}: it is carried from frame to frame"
        ));
        state.insert(output.to_owned(), input.to_owned());
    }
    state
}

/// Whether readings feed an input: floating point is measured, and so is what else is called like a column,
/// or has one that was named, or where nothing is floating point.
fn is_measured(
    input: &Tensor,
    all: &[&Tensor],
    columns: Option<&[Column]>,
    wishes: &Wishes,
) -> bool {
    let is_float = |it: &Tensor| it.element.as_deref().is_some_and(|it| it.starts_with('f'));
    let is_number = input.element.as_deref().is_some_and(|it| it != "bytes");
    let is_called = |column: &Column| plain(&column.name) == plain(&input.name);
    let has_column = all.len() > 1 && wishes.fields.len() == all.len();
    let is_named = || has_column || columns.into_iter().flatten().any(is_called);
    is_float(input) || (is_number && (is_named() || !all.iter().any(|it| is_float(it))))
}

/// A name without whatever people write differently in it.
fn plain(name: &str) -> String {
    name.chars().filter(|it| it.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Readings for an input, of its type.
fn readings(input: &Tensor, part: Part, told: &mut Told) -> Fed {
    let element = input.element.clone().filter(|element| element != "f32");
    if let Some(element) = &element {
        let whole = if element.starts_with('f') {
            ""
        } else {
            ". A reading that it does not hold, such as a half, leaves the frame without an answer"
        };
        told.model.push(format!(
            "{} takes {element}, and readings come as f32: a stage makes it of them{whole}",
            input.name
        ));
    }
    Fed::Readings { part, element }
}

fn constant(input: &Tensor, told: &mut Told) -> anyhow::Result<Fed> {
    let name = &input.name;
    let element = input.element.clone().filter(|element| element != "bytes");
    let element = element.with_context(|| {
        format!(
            "input {name} is {}: readings are numbers, so a plugin has to make it",
            input.form()
        )
    })?;
    let sizes = input.shape.iter().flatten().map(|size| match size {
        Size::Fixed(size) => *size,
        Size::Free(_) => 1,
    });
    let shape: Vec<usize> = sizes.collect();
    elements(&shape).filter(|it| *it <= CONSTANTS_MAX).with_context(|| {
        format!(
            "input {name} is {}, too much to be written down: a plugin has to make it",
            input.form()
        )
    })?;
    told.model.push(format!(
        "{name} is {}, so it is the same in every frame: 0. SAY WHICH VALUE IT NEEDS",
        input.form()
    ));
    Ok(Fed::Constant { element, shape, value: 0.0 })
}

/// The input's shape with every size settled.
fn settled(
    input: &Tensor,
    columns: Option<&[Column]>,
    wishes: &Wishes,
    shapes: &mut BTreeMap<String, Vec<usize>>,
    told: &mut Told,
) -> anyhow::Result<Vec<usize>> {
    let name = &input.name;
    if let Some(shape) = wishes.shapes.get(name) {
        shapes.insert(name.clone(), shape.clone());
        return Ok(shape.clone());
    }
    let declared = input.shape.as_ref().with_context(|| {
        format!("the file does not say which shape {name} has: say it by --shape {name}=1,…")
    })?;
    let free = match (declared.len(), columns) {
        (4, _) => IMAGE_SIZE,
        // A row of a table has as many numbers as there are columns. One column alone is a signal.
        (2, Some(columns)) => {
            Some(numbers(columns, wishes, 0)?.len()).filter(|it| *it > 1).unwrap_or(STEPS)
        }
        (2, None) if wishes.fields.len() > 1 => wishes.fields.len(),
        _ => STEPS,
    };
    let size = |(place, size): (usize, &Size)| match size {
        Size::Fixed(size) => *size,
        Size::Free(_) if place == 0 => 1,
        Size::Free(_) => free,
    };
    let shape: Vec<usize> = declared.iter().enumerate().map(size).collect();
    if input.is_open() {
        told.model.push(format!(
            "{name} is {}: it is given {shape:?}, unless --shape says otherwise",
            input.form()
        ));
        shapes.insert(name.clone(), shape.clone());
    }
    Ok(shape)
}

/// The fields of the port, and the readings of a window.
struct Shaped {
    fields: Vec<Field>,
    rows: usize,
    part: Part,
}

/// The columns that are taken for no measurements, and for what.
fn others(columns: &[Column]) -> String {
    let other = |column: &Column| Some(format!("{} {}", column.name, column.content.other()?));
    let others: Vec<String> = columns.iter().filter_map(other).collect();
    match others.is_empty() {
        true => String::new(),
        false => format!("; taken for something else are {}", others.join(", ")),
    }
}

impl Shaped {
    /// How readings make an input of this shape: one reading with a field for each element, or several.
    fn of(
        input: &Tensor,
        shape: &[usize],
        columns: Option<&[Column]>,
        wishes: &Wishes,
        told: &mut Told,
    ) -> anyhow::Result<Shaped> {
        let name = &input.name;
        // A batch of one, in front.
        let inner = if shape.len() > 1 { &shape[1..] } else { shape };
        let elements = elements(inner)
            .filter(|it| *it <= FIELDS_MAX * ROWS_MAX)
            .with_context(|| format!("{name} is {}, more than any window has", input.form()))?;
        let last = inner.last().copied().unwrap_or(1);
        let there = match columns {
            Some(columns) => Some(numbers(columns, wishes, elements)?),
            None if wishes.fields.is_empty() => None,
            None => {
                let field = |name: &String| Field { name: name.clone(), range: None };
                Some(wishes.fields.iter().map(field).collect())
            }
        };
        let all = columns.unwrap_or_default();
        let count = match &there {
            Some(fields) if is_turned(inner, fields.len()) => fields.len(),
            Some(fields) => wide(fields.len(), inner, elements).with_context(|| {
                let columns: Vec<&str> = fields.iter().map(|field| &*field.name).collect();
                let sizes = if input.is_open() { ", and by --shape which sizes it has" } else { "" };
                format!(
                    "{name} is {}, and the recording has {} columns of measurements ({}){}: say by --fields \
                     which the model was trained with{sizes}",
                    input.form(),
                    columns.len(),
                    columns.join(", "),
                    others(all)
                )
            })?,
            // Without a recording a list is a row of a table, and a matrix is rows of readings.
            None => match inner {
                [one] => *one,
                [_, last] => *last,
                _ => 1,
            },
        };
        // Many elements of one column are a signal; few may be columns that the recording lacks.
        let is_row = inner.len() == 1
            && input.shape.as_ref().is_some_and(|shape| {
                shape.last().is_some_and(|size| matches!(size, Size::Fixed(2..SIGNAL_MIN)))
            });
        if let (Some([field]), true, true) = (there.as_deref(), is_row, wishes.fields.is_empty()) {
            bail!(
                "{name} is {}, and the recording has one column of measurements ({}): say `--fields {}` if \
                 these are {elements} readings of it, one after the other; otherwise it lacks columns that \
                 the model was trained with",
                input.form(),
                field.name,
                field.name
            );
        }
        if count > FIELDS_MAX {
            bail!("{name} needs {count} columns, and a port has at most {FIELDS_MAX}");
        }
        let rows = elements / count;
        if rows > ROWS_MAX {
            bail!("{name} needs {rows} readings, and a window has at most {ROWS_MAX}");
        }
        let mut fields = there.unwrap_or_else(|| {
            told.port.push("nobody has said what the columns are called".into());
            let field = |place| Field { name: format!("x{place}"), range: None };
            (0..count).map(field).collect()
        });
        if fields.len() > count {
            let left: Vec<String> = fields.drain(count..).map(|field| field.name).collect();
            told.port.push(format!(
                "the model takes {count} columns: {} left out, because they come last. SAY BY --fields \
                 WHICH IT WAS TRAINED WITH",
                left.join(", ")
            ));
        }
        let readings =
            if rows == 1 { "one reading".to_owned() } else { format!("{rows} readings") };
        let each = if count == 1 { "one value".to_owned() } else { format!("{count} values") };
        let is_turned = is_turned(inner, count);
        let order = if is_turned {
            ", all of one column before the next: a stage turns the window"
        } else if rows == count && rows > 1 {
            ", one reading after the other. IF IT IS ONE COLUMN AFTER THE OTHER, put a stage `transpose` \
             between"
        } else if rows > 1 && last != count {
            ", in the order in which they come"
        } else {
            ""
        };
        told.window.push(format!("{name} is {}: {readings} of {each}{order}", input.form()));
        let part = if is_turned { Part::Columns } else { Part::Rows };
        Ok(Shaped { fields, rows, part })
    }
}

/// Whether an input has the readings of one column behind those of another, as convolutions are exported:
/// `[8, 32]` for 8 columns, where `[32, 8]` are 32 readings.
fn is_turned(inner: &[usize], columns: usize) -> bool {
    let sizes: Vec<usize> = inner.iter().copied().filter(|size| *size != 1).collect();
    matches!(sizes.as_slice(), [first, last] if *first == columns && first != last)
}

/// How many elements a shape has that a file declares, if that is any number.
fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))
}

/// How many of the columns that there are make a row of the input.
fn wide(there: usize, inner: &[usize], elements: usize) -> Option<usize> {
    let last = inner.last().copied().unwrap_or(1);
    let fits = [elements, last, 1];
    let exact = fits.into_iter().find(|count| *count == there);
    // More columns than the model takes: better too few of them than another meaning of each.
    let fewer = match inner.len() {
        0 | 1 => (elements < there).then_some(elements),
        _ => (last > 1 && last < there).then_some(last),
    };
    exact.or(fewer)
}

/// The columns that the model may have been trained with: those that were named, or those that hold
/// measurements; what looks like anything else only where just so many are needed.
fn numbers(columns: &[Column], wishes: &Wishes, elements: usize) -> anyhow::Result<Vec<Field>> {
    let field = |column: &Column| {
        let range = match column.content {
            Content::Numbers { low, high } => Some((low, high)),
            _ => None,
        };
        Field { name: column.name.clone(), range }
    };
    if !wishes.fields.is_empty() {
        let named = |name: &String| -> anyhow::Result<Field> { Ok(field(find(columns, name)?)) };
        return wishes.fields.iter().map(named).collect();
    }
    let is_taken = |column: &&Column| {
        let marks = [&wishes.key, &wishes.time];
        marks.into_iter().flatten().any(|name| *name == column.name)
    };
    let free = columns.iter().filter(|column| !is_taken(column));
    let measured: Vec<&Column> =
        free.clone().filter(|it| matches!(it.content, Content::Numbers { .. })).collect();
    let all: Vec<&Column> = free
        .filter(|it| {
            use Content::{Counter, Labels, Numbers};
            matches!(it.content, Numbers { .. } | Counter | Labels)
        })
        .collect();
    let is_all = all.len() == elements && measured.len() != elements;
    Ok(if is_all { all } else { measured }.into_iter().map(field).collect())
}

/// A field for each of several inputs, by name.
fn by_column(
    inputs: &[&Tensor],
    columns: Option<&[Column]>,
    wishes: &Wishes,
) -> anyhow::Result<Vec<Field>> {
    for input in inputs {
        let sizes = input.shape.iter().flatten().skip(1);
        if !sizes.into_iter().all(|size| *size == Size::Fixed(1)) {
            let names: Vec<&str> = inputs.iter().map(|input| &*input.name).collect();
            bail!(
                "it has several inputs ({}), and {} is {}: describe by hand what feeds each, docs/bundles.md \
                 has the stages",
                names.join(", "),
                input.name,
                input.form()
            );
        }
    }
    let Some(columns) = columns else {
        let name = |(place, input): (usize, &&Tensor)| {
            wishes.fields.get(place).cloned().unwrap_or_else(|| input.name.clone())
        };
        let fields = inputs.iter().enumerate().map(name);
        return Ok(fields.map(|name| Field { name, range: None }).collect());
    };
    let field = |(place, input): (usize, &&Tensor)| -> anyhow::Result<Field> {
        let column = match wishes.fields.get(place) {
            Some(name) => find(columns, name)?,
            None => columns
                .iter()
                .find(|column| plain(&column.name) == plain(&input.name))
                .with_context(|| {
                    let name = &input.name;
                    format!(
                        "no column is called as input {name}: say the columns by --fields, in order"
                    )
                })?,
        };
        let range = match column.content {
            Content::Numbers { low, high } => Some((low, high)),
            _ => None,
        };
        Ok(Field { name: column.name.clone(), range })
    };
    inputs.iter().enumerate().map(field).collect()
}

fn find<'a>(columns: &'a [Column], name: &str) -> anyhow::Result<&'a Column> {
    columns.iter().find(|column| column.name == name).with_context(|| {
        let there: Vec<&str> = columns.iter().take(50).map(|column| &*column.name).collect();
        format!("there is no column {name}, only [{}]", there.join(", "))
    })
}

fn key(
    columns: Option<&[Column]>,
    wishes: &Wishes,
    told: &mut Told,
) -> anyhow::Result<Option<String>> {
    if let (Some(name), Some(columns)) = (&wishes.key, columns) {
        find(columns, name)?;
    }
    if wishes.key.is_some() {
        return Ok(wishes.key.clone());
    }
    let is_named = |name: &String| wishes.fields.contains(name);
    let found = columns.into_iter().flatten().find_map(|column| match column.content {
        Content::Key(streams) if !is_named(&column.name) => Some((column.name.clone(), streams)),
        _ => None,
    });
    Ok(found.map(|(name, streams)| {
        told.port
            .push(format!("{name} tells {streams} streams apart: each has windows of its own"));
        name
    }))
}

/// The column with times, and the rate where there is none.
fn clock(
    columns: Option<&[Column]>,
    wishes: &Wishes,
    told: &mut Told,
) -> anyhow::Result<(Option<String>, f64)> {
    if let (Some(name), Some(columns)) = (&wishes.time, columns)
        && find(columns, name)?.content != Content::Time
    {
        bail!("column {name} is no time as RFC 3339 has it (2014-01-18T00:10:00Z)");
    }
    if wishes.time.is_some() {
        return Ok((wishes.time.clone(), 1.0));
    }
    let columns = columns.unwrap_or_default();
    if let Some(column) = columns.iter().find(|column| column.content == Content::Time) {
        return Ok((Some(column.name.clone()), 1.0));
    }
    for column in columns {
        if let Content::Clock { period_s: Some(period) } = column.content {
            let rate = significant(1.0 / period);
            told.port.push(format!(
                "{} is no time as RFC 3339 has it (2014-01-18T00:10:00Z): readings are numbered, {rate} a \
                 second as it says",
                column.name
            ));
            return Ok((None, rate));
        }
    }
    told.port.push("how many readings come a second nobody has said: 1".into());
    Ok((None, 1.0))
}

/// A number with as many digits as anybody wants to read.
pub fn significant(number: f64) -> f64 {
    format!("{number:.3e}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(inputs: &[Tensor], outputs: &[Tensor]) -> Facts {
        Facts {
            inputs: inputs.to_vec(),
            outputs: outputs.to_vec(),
            operators: BTreeMap::new(),
            opsets: BTreeMap::new(),
            parameters: 0,
            parameter_bytes: 0,
            producer: String::new(),
            unfit: BTreeMap::new(),
        }
    }

    /// Columns by name: `#` in front is a counter, `?` a label, `@` a key, `!` another text.
    fn columns(names: &str) -> Vec<Column> {
        let column = |(place, name): (usize, &str)| {
            let content = match name.chars().next() {
                Some('#') => Content::Counter,
                Some('?') => Content::Labels,
                Some('@') => Content::Key(2),
                Some('!') => Content::Text,
                _ => Content::Numbers { low: 0.0, high: 1.0 },
            };
            Column {
                name: name.trim_start_matches(['#', '?', '@', '!']).into(),
                place,
                content,
                odd: 0,
            }
        };
        names.split(' ').enumerate().map(column).collect()
    }

    /// Fields and rows for an input of this shape, or what is refused.
    fn shaped(shape: &[usize], names: &str) -> Result<(String, usize), String> {
        let facts = facts(&[Tensor::of("x", "f32", shape)], &[]);
        let columns = columns(names);
        let columns = (!names.is_empty()).then_some(&columns[..]);
        let plan = Plan::of(&facts, columns, &Wishes::default());
        let plan = plan.map_err(|error| format!("{error:#}"))?;
        let names: Vec<&str> = plan.fields.iter().map(|field| &*field.name).collect();
        Ok((names.join(" "), plan.rows))
    }

    #[test]
    fn columns_that_are_no_measurements_are_told_with_what_they_are_taken_for() {
        let said = others(&columns("#n ?label @pump !note flow"));
        assert!(
            said.starts_with("; taken for something else are n (it counts the rows), "),
            "{said}"
        );
        assert!(said.contains("pump (it tells streams apart)") && !said.contains("flow"), "{said}");
        assert_eq!(others(&columns("flow")), "");
    }

    #[test]
    fn a_window_has_as_many_readings_and_columns_as_the_model_takes() {
        let fits = |shape, names, fields: &str, rows| {
            assert_eq!(shaped(shape, names), Ok((fields.to_owned(), rows)), "{shape:?} {names}");
        };
        fits(&[0, 3], "a b c", "a b c", 1);
        fits(&[0, 2, 3], "!when @pump a b c ?anomaly", "a b c", 2);
        fits(&[0, 1, 200], "@record #sample mv", "mv", 200);
        fits(&[1, 576], "wave", "wave", 576);
        fits(&[0, 50, 1], "#n wave", "wave", 50);
        fits(&[100], "wave", "wave", 100);
        // What looks like a label is a measurement where just so many are needed.
        fits(&[0, 3], "a b ?y", "a b y", 1);
        fits(&[0, 2], "a b c", "a b", 1);
        fits(&[0, 4, 2], "a b c", "a b", 4);
        // Free sizes.
        fits(&[0, 0, 2], "a b", "a b", STEPS);
        fits(&[0, 0], "a b c ?y", "a b c", 1);
        // Column by column.
        fits(&[0, 2, 9], "a b", "a b", 9);
        fits(&[0, 2, 0], "a b", "a b", STEPS);
        fits(&[0, 1, 2, 9], "a b", "a b", 9);
        // Without a recording.
        fits(&[0, 3], "", "x0 x1 x2", 1);
        fits(&[0, 4, 2], "", "x0 x1", 4);
        fits(&[0, 3, 0, 8], "", "x0", 3 * IMAGE_SIZE * 8);
    }

    #[test]
    fn what_cannot_be_guessed_is_asked_for_by_name() {
        let said = shaped(&[0, 5], "a b c").unwrap_err();
        assert!(said.contains("x is f32 [?, 5], and the recording has 3 columns"), "{said}");
        assert!(said.contains("(a, b, c): say by --fields"), "{said}");
        let said = shaped(&[0, 0, 0], "a b c").unwrap_err();
        assert!(said.contains("by --shape which sizes it has"), "{said}");
        let said = shaped(&[0, 4096], "").unwrap_err();
        assert!(said.contains("at most 256"), "{said}");
        for shape in [&[1, usize::MAX, usize::MAX][..], &[1, 1 << 40]] {
            let said = shaped(shape, "a b").unwrap_err();
            assert!(said.ends_with("more than any window has"), "{said}");
        }
        let giant =
            [Tensor::of("x", "f32", &[0, 1]), Tensor::of("mask", "bool", &[1 << 40, 1 << 40])];
        let said = Plan::of(&facts(&giant, &[]), None, &Wishes::default()).unwrap_err().to_string();
        assert!(said.ends_with("too much to be written down: a plugin has to make it"), "{said}");
        let text =
            facts(&[Tensor::of("x", "f32", &[0, 1]), Tensor::of("city", "bytes", &[0, 1])], &[]);
        let said = Plan::of(&text, None, &Wishes::default()).unwrap_err().to_string();
        assert!(said.starts_with("input city is bytes [?, 1]"), "{said}");
        assert!(Plan::of(&facts(&[], &[]), None, &Wishes::default()).is_err());
    }

    #[test]
    fn state_is_carried_other_inputs_are_constant_and_inputs_of_one_column_have_its_name() {
        let inputs = [
            Tensor::of("input", "f32", &[0, 8]),
            Tensor::of("state", "f32", &[2, 0, 4]),
            Tensor::of("sr", "i64", &[]),
        ];
        let outputs =
            [Tensor::of("output", "f32", &[0, 1]), Tensor::of("stateN", "f32", &[2, 0, 4])];
        let plan = Plan::of(&facts(&inputs, &outputs), None, &Wishes::default()).unwrap();
        assert_eq!(plan.state, BTreeMap::from([("stateN".to_owned(), "state".to_owned())]));
        assert!(plan.warm_up_readings > 0);
        assert_eq!(plan.inputs["input"], Fed::Readings { part: Part::Rows, element: None });
        let constant = Fed::Constant { element: "i64".into(), shape: vec![], value: 0.0 };
        assert_eq!(plan.inputs["sr"], constant);
        // An autoencoder gives what it was given, and carries nothing.
        let auto =
            facts(&[Tensor::of("x", "f32", &[0, 4, 2])], &[Tensor::of("x_hat", "f32", &[0, 4, 2])]);
        assert!(Plan::of(&auto, None, &Wishes::default()).unwrap().state.is_empty());

        let table = [Tensor::of("Wind_Speed", "f32", &[0, 1]), Tensor::of("power", "f32", &[0, 1])];
        let columns = columns("power rest wind-speed");
        let plan = Plan::of(&facts(&table, &[]), Some(&columns), &Wishes::default()).unwrap();
        let names: Vec<&str> = plan.fields.iter().map(|field| &*field.name).collect();
        assert_eq!(names, ["wind-speed", "power"]);
        let power = Fed::Readings { part: Part::Column(1), element: None };
        assert_eq!(plan.inputs["power"], power);
        let fields = vec!["rest".to_owned(), "none".to_owned()];
        let wishes = Wishes { fields, ..Wishes::default() };
        let said = Plan::of(&facts(&table, &[]), Some(&columns), &wishes).unwrap_err().to_string();
        assert_eq!(said, "there is no column none, only [power, rest, wind-speed]");
    }

    #[test]
    fn a_model_that_takes_columns_or_another_type_gets_readings_turned_and_cast() {
        let fed = |inputs: &[Tensor], names: &str| {
            let columns = columns(names);
            let plan = Plan::of(&facts(inputs, &[]), Some(&columns), &Wishes::default()).unwrap();
            plan.inputs.into_values().collect::<Vec<_>>()
        };
        let readings = |part, element: Option<&str>| Fed::Readings {
            part,
            element: element.map(str::to_owned),
        };
        let turned = fed(&[Tensor::of("x", "f64", &[0, 2, 9])], "a b");
        assert_eq!(turned, [readings(Part::Columns, Some("f64"))]);
        assert_eq!(fed(&[Tensor::of("x", "f32", &[0, 9, 2])], "a b"), [readings(Part::Rows, None)]);
        // As many of one as of the other: readings come first, and that is told.
        let square = facts(&[Tensor::of("x", "f32", &[0, 2, 2])], &[]);
        let plan = Plan::of(&square, Some(&columns("a b")), &Wishes::default()).unwrap();
        assert_eq!(plan.inputs["x"], readings(Part::Rows, None));
        assert!(plan.told.window[0].contains("IF IT IS ONE COLUMN AFTER THE OTHER"));
        let whole = fed(&[Tensor::of("x", "i64", &[0, 2])], "a b");
        assert_eq!(whole, [readings(Part::Rows, Some("i64"))]);
        // A whole number that is a column is measured as well; any other is a setting.
        let inputs = [
            Tensor::of("a", "f32", &[0, 1]),
            Tensor::of("age", "i64", &[0, 1]),
            Tensor::of("level", "f64", &[0, 1]),
            Tensor::of("rate", "i64", &[]),
        ];
        let found = fed(&inputs, "Age level a");
        assert_eq!(
            found[..3],
            [
                readings(Part::Column(0), None),
                readings(Part::Column(1), Some("i64")),
                readings(Part::Column(2), Some("f64")),
            ]
        );
        assert!(matches!(&found[3], Fed::Constant { element, .. } if element == "i64"));
    }
}
