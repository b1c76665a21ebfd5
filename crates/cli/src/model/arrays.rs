//! Arrays of numpy's in a .npz file, named as a model's inputs and outputs.

use super::npy;
use crate::new_files::replace_with;
use anyhow::{Context, bail};
use lineside_runtime::{Declared, Dimension, ModelFacts, Tensor};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// What an array is called within the file: its name and this.
const EXTENSION: &str = ".npy";
/// Arrays that a file may have.
const ARRAYS_MAX: usize = 256;
/// Bytes that the arrays of a file may have together.
const BYTES_MAX: u64 = 1 << 30;

/// Reads the arrays of a .npz file, by name.
///
/// # Errors
/// By file and array.
pub fn read(path: &Path) -> anyhow::Result<BTreeMap<String, Tensor>> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
    let mut archive = ZipArchive::new(BufReader::new(file))
        .with_context(|| format!("{name} is no .npz file: numpy.savez writes one"))?;
    if archive.len() > ARRAYS_MAX {
        bail!("{name} has {} arrays, {ARRAYS_MAX} are taken", archive.len());
    }
    let mut arrays = BTreeMap::new();
    let mut left = BYTES_MAX;
    for place in 0..archive.len() {
        let cannot = || format!("cannot read {name}");
        let entry = archive.by_index(place).with_context(cannot)?;
        let file = entry.name().with_context(cannot)?.into_owned();
        let Some(array) = file.strip_suffix(EXTENSION) else {
            bail!("{name}: {file} is no array of numpy's");
        };
        let mut bytes = Vec::new();
        // What an archive says of its sizes is not believed.
        entry.take(left + 1).read_to_end(&mut bytes).with_context(cannot)?;
        left = left
            .checked_sub(bytes.len() as u64)
            .with_context(|| format!("{name} has more than {BYTES_MAX} bytes of arrays"))?;
        let tensor = npy::read(&bytes).map_err(|problem| anyhow::anyhow!(problem));
        let tensor = tensor.with_context(|| format!("{name}: array {array}"))?;
        arrays.insert(array.to_owned(), tensor);
    }
    Ok(arrays)
}

/// Writes arrays as `numpy.savez` does: whoever reads the file has the old or the new.
///
/// # Errors
/// What the file system says.
pub fn write(path: &Path, arrays: &[(String, Tensor)]) -> anyhow::Result<()> {
    replace_with(path, |out| {
        let mut archive = ZipWriter::new(out);
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        for (name, tensor) in arrays {
            archive.start_file(format!("{name}{EXTENSION}"), options)?;
            archive.write_all(&npy::write(tensor))?;
        }
        archive.finish()?;
        Ok(())
    })?;
    Ok(())
}

/// Checks that the arrays are what a model takes: each of its inputs, of its type and shape.
///
/// Nothing is cast or reshaped: what the model saw in training is what it has to get.
///
/// # Errors
/// By array, with what is wanted and what is there.
pub fn check(facts: &ModelFacts, arrays: &BTreeMap<String, Tensor>) -> anyhow::Result<()> {
    for name in arrays.keys() {
        if !facts.inputs.iter().any(|input| input.name == *name) {
            let inputs: Vec<&str> = facts.inputs.iter().map(|input| &*input.name).collect();
            bail!("the model has no input for array {name}, only [{}]", inputs.join(", "));
        }
    }
    for input in &facts.inputs {
        let name = &input.name;
        let Some(array) = arrays.get(name) else {
            let there: Vec<&str> = arrays.keys().map(String::as_str).collect();
            let form = input.form();
            bail!("there is no array {name} ({form}), only [{}]", there.join(", "));
        };
        if !takes(input, array) {
            let (element, shape) = (array.element(), array.shape());
            let hint = match input.element.filter(|wanted| *wanted != element) {
                Some(wanted) => format!("; for another type: {name}.astype({})", numpy(wanted)),
                None => String::new(),
            };
            bail!("array {name} is {element} {shape:?}, the model takes {}{hint}", input.form());
        }
    }
    Ok(())
}

/// Whether the model's input takes the array as it is.
fn takes(input: &Declared, array: &Tensor) -> bool {
    let fits = |(dimension, size): (&Dimension, &usize)| match dimension {
        Dimension::Fixed(fixed) => fixed == size,
        Dimension::Free(_) => true,
    };
    let shape = array.shape();
    let shape_fits = input.shape.as_ref().is_none_or(|declared| {
        declared.len() == shape.len() && declared.iter().zip(shape).all(fits)
    });
    shape_fits && input.element == Some(array.element())
}

/// What numpy calls an element.
fn numpy(element: lineside_runtime::Element) -> &'static str {
    use lineside_runtime::Element;
    match element {
        Element::Bool => "bool",
        Element::U8 => "\"uint8\"",
        Element::U16 => "\"uint16\"",
        Element::U32 => "\"uint32\"",
        Element::U64 => "\"uint64\"",
        Element::I8 => "\"int8\"",
        Element::I16 => "\"int16\"",
        Element::I32 => "\"int32\"",
        Element::I64 => "\"int64\"",
        Element::F16 => "\"float16\"",
        Element::F32 => "\"float32\"",
        Element::F64 => "\"float64\"",
        Element::Bytes => "str",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineside_runtime::{Data, Element};

    fn tensor(shape: &[usize], data: Data) -> Tensor {
        Tensor::new(shape.to_vec(), data).unwrap()
    }

    #[test]
    fn arrays_are_kept_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        let arrays = [
            ("x".to_owned(), tensor(&[2], Data::F32(vec![1.0, 2.0]))),
            ("a/b:0".to_owned(), tensor(&[], Data::Bool(vec![true]))),
        ];
        write(&path, &arrays).unwrap();
        assert_eq!(read(&path).unwrap(), arrays.into_iter().collect());
    }

    #[test]
    fn what_is_no_npz_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        let said = || format!("{:#}", read(&path).unwrap_err());
        assert!(said().starts_with("cannot open "), "{}", said());
        std::fs::write(&path, npy::write(&tensor(&[1], Data::U8(vec![1])))).unwrap();
        assert!(said().contains("x.npz is no .npz file: numpy.savez writes one"), "{}", said());
        replace_with(&path, |out| {
            let mut archive = ZipWriter::new(out);
            archive.start_file("x.npy", SimpleFileOptions::default())?;
            archive.write_all(b"nothing")?;
            archive.finish()?;
            Ok(())
        })
        .unwrap();
        assert!(said().ends_with("x.npz: array x: it is no array of numpy's"), "{}", said());
    }

    #[test]
    fn an_array_that_does_not_fit_is_told_with_what_is_wanted_and_what_is_there() {
        let declared = |name: &str, element, shape: &[Option<usize>]| Declared {
            name: name.to_owned(),
            element: Some(element),
            shape: Some(
                shape
                    .iter()
                    .map(|size| size.map_or(Dimension::Free("n".into()), Dimension::Fixed))
                    .collect(),
            ),
        };
        let facts = ModelFacts {
            inputs: vec![declared("x", Element::F32, &[None, Some(2)])],
            outputs: vec![],
            operators: BTreeMap::new(),
            opsets: BTreeMap::new(),
            parameters: 0,
            parameter_bytes: 0,
            producer: String::new(),
        };
        let said = |arrays: &[(&str, Tensor)]| {
            let arrays = arrays.iter().map(|(name, it)| ((*name).to_owned(), it.clone()));
            check(&facts, &arrays.collect()).map_err(|error| error.to_string())
        };
        let good = tensor(&[3, 2], Data::F32(vec![0.0; 6]));
        assert_eq!(said(&[("x", good.clone())]), Ok(()));
        assert_eq!(said(&[]), Err("there is no array x (f32 [n, 2]), only []".into()));
        assert_eq!(
            said(&[("x", good), ("y", tensor(&[1], Data::U8(vec![0])))]),
            Err("the model has no input for array y, only [x]".into())
        );
        assert_eq!(
            said(&[("x", tensor(&[2], Data::F32(vec![0.0; 2])))]),
            Err("array x is f32 [2], the model takes f32 [n, 2]".into())
        );
        assert_eq!(
            said(&[("x", tensor(&[1, 2], Data::F64(vec![0.0; 2])))]),
            Err("array x is f64 [1, 2], the model takes f32 [n, 2]; for another type: \
                 x.astype(\"float32\")"
                .into())
        );
    }
}
