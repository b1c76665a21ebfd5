//! The .npy format (NEP 1, versions 1 to 3): one array, as numpy writes it.
//!
//! Numbers, booleans and texts of fixed length, either byte order, row by row or column by column.
//! What holds Python objects or has named fields is no tensor, and is refused.

use lineside_runtime::{Data, ELEMENTS_MAX, Element, Tensor};

const MAGIC: &[u8] = b"\x93NUMPY";
/// Longest header in bytes; numpy refuses longer ones, too.
const HEADER_BYTES_MAX: usize = 10_000;
/// numpy aligns the elements to this, so that they can be mapped.
const ALIGNMENT: usize = 64;
/// Bytes of a character in numpy's texts.
const CHARACTER_BYTES: usize = 4;

/// What the elements of an array are, as numpy calls it: `<f4`.
struct Type {
    is_big_endian: bool,
    kind: Kind,
    /// Bytes that each takes.
    size: usize,
}

enum Kind {
    Number(Element),
    /// Bytes, filled up with nought.
    Bytes,
    /// Characters, filled up with nought.
    Text,
}

/// What is in front of the elements.
struct Header {
    descr: String,
    is_column_major: bool,
    shape: Vec<usize>,
}

/// Reads an array.
///
/// # Errors
/// What makes it none that a model could take.
pub fn read(bytes: &[u8]) -> Result<Tensor, String> {
    let (header, elements) = header(bytes)?;
    let each = Type::parse(&header.descr)?;
    let count = header.shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
    let count = count.filter(|count| *count <= ELEMENTS_MAX).ok_or_else(|| {
        format!("it has the shape {:?}, more than {ELEMENTS_MAX} elements", header.shape)
    })?;
    let needed = count.checked_mul(each.size).filter(|needed| *needed == elements.len());
    if needed.is_none() {
        return Err(format!(
            "{count} elements of {} bytes do not make the {} bytes that there are",
            each.size,
            elements.len()
        ));
    }
    let elements = match header.is_column_major {
        true => row_by_row(elements, &header.shape, each.size),
        false => elements.to_vec(),
    };
    each.tensor(header.shape, &elements)
}

/// Writes an array, as `numpy.save` does.
pub fn write(tensor: &Tensor) -> Vec<u8> {
    let (descr, elements) = match tensor.data() {
        Data::Bytes(values) => texts(values),
        data => (descr(data.element()).to_owned(), tensor.to_bytes()),
    };
    let sizes: Vec<String> = tensor.shape().iter().map(|size| format!("{size},")).collect();
    let header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", sizes.join(" "));
    let front = MAGIC.len() + 4;
    let length = (front + header.len() + 1).next_multiple_of(ALIGNMENT) - front;
    let mut bytes = Vec::with_capacity(front + length + elements.len());
    bytes.extend(MAGIC);
    bytes.extend([1, 0]);
    // A shape has at most 16 dimensions, so that the header stays far below 64 KiB.
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{header:width$}\n", width = length - 1).bytes());
    bytes.extend(elements);
    bytes
}

fn descr(element: Element) -> &'static str {
    match element {
        Element::Bool => "|b1",
        Element::U8 => "|u1",
        Element::U16 => "<u2",
        Element::U32 => "<u4",
        Element::U64 => "<u8",
        Element::I8 => "|i1",
        Element::I16 => "<i2",
        Element::I32 => "<i4",
        Element::I64 => "<i8",
        Element::F16 => "<f2",
        Element::F32 => "<f4",
        Element::F64 => "<f8",
        Element::Bytes => "|S1",
    }
}

/// Texts as numpy has them: all of one length, characters where all of them are UTF-8.
fn texts(values: &[Vec<u8>]) -> (String, Vec<u8>) {
    let texts: Result<Vec<&str>, _> =
        values.iter().map(|bytes| std::str::from_utf8(bytes)).collect();
    let Ok(texts) = texts else {
        let longest = values.iter().map(Vec::len).max().unwrap_or_default().max(1);
        let padded = values.iter().flat_map(|value| {
            let rest = std::iter::repeat_n(0, longest - value.len());
            value.iter().copied().chain(rest)
        });
        return (format!("|S{longest}"), padded.collect());
    };
    let longest = texts.iter().map(|text| text.chars().count()).max().unwrap_or_default().max(1);
    let padded = texts.iter().flat_map(|text| {
        let characters = text.chars().map(u32::from);
        characters.chain(std::iter::repeat(0)).take(longest).flat_map(u32::to_le_bytes)
    });
    (format!("<U{longest}"), padded.collect())
}

impl Type {
    fn parse(text: &str) -> Result<Type, String> {
        let refused = || format!("its elements are {text:?}, which no model takes");
        let order = text.chars().next().ok_or_else(refused)?;
        let rest = &text[order.len_utf8()..];
        if rest.starts_with('O') {
            return Err("it holds Python objects; for texts: array.astype(str)".into());
        }
        let length = |prefix: char| rest.strip_prefix(prefix)?.parse::<usize>().ok();
        let mut numbers = Element::all().filter(|element| element.is_number());
        let number = numbers.find(|element| &descr(*element)[1..] == rest);
        let (kind, size) = match (number.and_then(|it| Some((it, it.size_bytes()?))), length('U')) {
            (Some((element, size)), _) => (Kind::Number(element), size),
            (None, Some(length)) => {
                (Kind::Text, length.checked_mul(CHARACTER_BYTES).ok_or_else(refused)?)
            }
            (None, None) => (Kind::Bytes, length('S').ok_or_else(refused)?),
        };
        match order {
            '<' | '|' => Ok(Type { is_big_endian: false, kind, size }),
            '>' => Ok(Type { is_big_endian: true, kind, size }),
            _ => Err(refused()),
        }
    }

    fn tensor(&self, shape: Vec<usize>, elements: &[u8]) -> Result<Tensor, String> {
        let unit = if matches!(self.kind, Kind::Text) { CHARACTER_BYTES } else { self.size };
        let mut little = elements.to_vec();
        if self.is_big_endian && unit > 1 {
            little.chunks_exact_mut(unit).for_each(<[u8]>::reverse);
        }
        // Texts of no length have no bytes to go by.
        let count = shape.iter().product();
        let each = |place: usize| &little[place * self.size..(place + 1) * self.size];
        let data = match self.kind {
            Kind::Number(element) => {
                let tensor = Tensor::from_bytes(element, shape, &little);
                return tensor.map_err(|error| error.to_string());
            }
            Kind::Bytes => (0..count).map(|at| Ok(without_end(each(at), &0).to_vec())).collect(),
            Kind::Text => (0..count).map(|at| characters(each(at))).collect::<Result<_, _>>(),
        };
        let form = format!("{shape:?}");
        let tensor = Tensor::new(shape, Data::Bytes(data?));
        tensor.ok_or_else(|| format!("the texts of its shape {form} are too long together"))
    }
}

/// A text of numpy's, as UTF-8.
fn characters(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let codes: Vec<u32> =
        bytes.as_chunks().0.iter().map(|code| u32::from_le_bytes(*code)).collect();
    let text = without_end(&codes, &0).iter().map(|code| {
        char::from_u32(*code).ok_or_else(|| format!("one of its texts has the character {code:#x}"))
    });
    text.collect::<Result<String, _>>().map(String::into_bytes)
}

/// What numpy fills a text up with is none of it.
fn without_end<'a, T: PartialEq>(values: &'a [T], end: &T) -> &'a [T] {
    let length = values.iter().rposition(|value| value != end).map_or(0, |last| last + 1);
    &values[..length]
}

/// The elements of an array that is stored column by column.
fn row_by_row(elements: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    // Beside a dimension of nought the others may be of any size.
    if elements.is_empty() {
        return Vec::new();
    }
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = size;
    for length in shape {
        strides.push(stride);
        stride *= length;
    }
    let mut ordered = Vec::with_capacity(elements.len());
    let mut at = vec![0; shape.len()];
    while ordered.len() < elements.len() {
        let place: usize = at.iter().zip(&strides).map(|(index, stride)| index * stride).sum();
        ordered.extend(&elements[place..place + size]);
        // The last index runs fastest.
        for (index, length) in at.iter_mut().zip(shape).rev() {
            *index += 1;
            if *index < *length {
                break;
            }
            *index = 0;
        }
    }
    ordered
}

fn header(bytes: &[u8]) -> Result<(Header, &[u8]), String> {
    let none = || "it is no array of numpy's".to_owned();
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(none)?;
    let ([major, _minor], rest) = rest.split_first_chunk().ok_or_else(none)?;
    let (length, rest) = match major {
        1 => {
            let (length, rest) = rest.split_first_chunk().ok_or_else(none)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk().ok_or_else(none)?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        other => return Err(format!("it is of version {other} of the format, 1 to 3 are known")),
    };
    if length > HEADER_BYTES_MAX {
        return Err(format!("its header is longer than {HEADER_BYTES_MAX} bytes"));
    }
    let (header, elements) = rest.split_at_checked(length).ok_or_else(none)?;
    let header = std::str::from_utf8(header).map_err(|_| none())?;
    Ok((described(header.trim())?, elements))
}

/// Reads the dictionary that a header is: three keys, in any order.
fn described(text: &str) -> Result<Header, String> {
    let refused = || {
        let shown: String = text.chars().take(100).collect();
        format!("it is described as {shown}: only arrays of one type can be taken")
    };
    let inner = text.strip_prefix('{').and_then(|it| it.strip_suffix('}')).ok_or_else(refused)?;
    let (mut descr, mut order, mut shape) = (None, None, None);
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let (key, behind) = quoted(rest).ok_or_else(refused)?;
        let value = behind.trim_start().strip_prefix(':').ok_or_else(refused)?.trim_start();
        rest = match key {
            "descr" => {
                let (value, behind) = quoted(value).ok_or_else(refused)?;
                descr = Some(value.to_owned());
                behind
            }
            "fortran_order" => {
                let word = value.split([',', ' ']).next().unwrap_or_default();
                order = Some(match word {
                    "True" => true,
                    "False" => false,
                    _ => return Err(refused()),
                });
                &value[word.len()..]
            }
            "shape" => {
                let inside = value.strip_prefix('(').ok_or_else(refused)?;
                let (sizes, behind) = inside.split_once(')').ok_or_else(refused)?;
                let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty());
                let sizes: Result<Vec<usize>, _> = sizes.map(str::parse).collect();
                shape = Some(sizes.map_err(|_| refused())?);
                behind
            }
            _ => return Err(refused()),
        }
        .trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    match (descr, order, shape) {
        (Some(descr), Some(is_column_major), Some(shape)) => {
            Ok(Header { descr, is_column_major, shape })
        }
        _ => Err(refused()),
    }
}

/// A text in quotation marks, and what is behind it. There is nothing to escape in what numpy writes.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let mark = text.chars().next().filter(|mark| ['\'', '"'].contains(mark))?;
    text[1..].split_once(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An array with this header and these elements.
    fn array(header: &str, elements: &[u8]) -> Vec<u8> {
        let length = (header.len() as u16).to_le_bytes();
        [MAGIC, &[1, 0], &length, header.as_bytes(), elements].concat()
    }

    fn refused(header: &str, elements: &[u8]) -> String {
        read(&array(header, elements)).unwrap_err()
    }

    #[test]
    fn every_type_comes_back_as_it_went() {
        for element in Element::all().filter(|element| element.is_number()) {
            let size = element.size_bytes().unwrap();
            let bytes: Vec<u8> = (0..6 * size).map(|at| u8::from(at % size == 0)).collect();
            for shape in [vec![2, 3], vec![6], vec![1, 1, 6]] {
                let tensor = Tensor::from_bytes(element, shape, &bytes).unwrap();
                let written = write(&tensor);
                assert_eq!(read(&written).unwrap(), tensor, "{element}");
                assert_eq!((written.len() - bytes.len()) % ALIGNMENT, 0, "{element}");
            }
        }
        let number = Tensor::new(vec![], Data::F64(vec![-0.5])).unwrap();
        assert_eq!(read(&write(&number)).unwrap(), number);
        let none = Tensor::new(vec![0, 3], Data::I64(vec![])).unwrap();
        assert_eq!(read(&write(&none)).unwrap(), none);
    }

    #[test]
    fn texts_are_as_long_as_they_were_and_bytes_need_not_be_utf_8() {
        for values in [&["", "gut", "böse", "𝄞"][..], &["", ""]] {
            let values: Vec<Vec<u8>> = values.iter().map(|it| it.as_bytes().to_vec()).collect();
            let tensor = Tensor::new(vec![values.len()], Data::Bytes(values)).unwrap();
            assert_eq!(read(&write(&tensor)).unwrap(), tensor);
        }
        let bytes = Tensor::new(vec![2], Data::Bytes(vec![vec![0xff, 1], vec![7]])).unwrap();
        assert_eq!(read(&write(&bytes)).unwrap(), bytes);
        let header = "{'descr': '|S0', 'fortran_order': False, 'shape': (2,), }";
        let empty = read(&array(header, &[])).unwrap();
        assert_eq!(empty.data(), &Data::Bytes(vec![vec![], vec![]]));
        // Half of a pair of UTF-16 is no character.
        let header = "{'descr': '<U1', 'fortran_order': False, 'shape': (1,), }";
        let said = refused(header, &0xd834u32.to_le_bytes());
        assert_eq!(said, "one of its texts has the character 0xd834");
    }

    #[test]
    fn columns_first_and_the_other_byte_order_are_put_right() {
        // numpy.asfortranarray([[1, 2, 3], [4, 5, 6]]).astype(">i2")
        let header = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }";
        let tensor = read(&array(header, &[0, 1, 0, 4, 0, 2, 0, 5, 0, 3, 0, 6])).unwrap();
        assert_eq!(tensor.data(), &Data::I16(vec![1, 2, 3, 4, 5, 6]));
        assert_eq!(tensor.shape(), [2, 3]);
        let header = "{\"shape\": (), 'fortran_order': False, 'descr': '>U2'}";
        let text = read(&array(header, &[0, 0, 0, b'o', 0, 0, 0, b'k'])).unwrap();
        assert_eq!(text.data(), &Data::Bytes(vec![b"ok".to_vec()]));
    }

    #[test]
    fn what_is_no_array_of_one_type_is_refused_with_what_it_is() {
        let of = |descr: &str| {
            refused(
                &format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}"),
                &[0; 8],
            )
        };
        assert!(of("'|O'").contains("Python objects; for texts: array.astype(str)"));
        for none in ["'<c8'", "'<f16'", "'<M8[ns]'", "'=f4'", "'<'", "''", "'é4'", "'<Ux'"] {
            assert!(of(none).ends_with("which no model takes"), "{none}: {}", of(none));
        }
        for none in ["[('a', '<f4')]", "7", "'<f4"] {
            assert!(of(none).contains("only arrays of one type"), "{none}: {}", of(none));
        }
        let huge = "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 9999999999), }";
        assert!(refused(huge, &[]).contains("more than 16777216 elements"));
        let texts = "{'descr': '<U9999999999999999999', 'fortran_order': False, 'shape': (1,), }";
        assert!(refused(texts, &[]).contains("which no model takes"));
        let none = "{'descr': '<f4', 'fortran_order': True, 'shape': (4611686018427387904, 0), }";
        assert!(read(&array(none, &[])).is_err());
        let short = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
        let said = "2 elements of 4 bytes do not make the 4 bytes that there are";
        assert_eq!(refused(short, &[0; 4]), said);
    }

    #[test]
    fn bytes_cut_anywhere_are_an_error_and_no_more() {
        let tensor = Tensor::new(vec![2], Data::F32(vec![1.0, 2.0])).unwrap();
        let whole = write(&tensor);
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
        let long = [MAGIC, &[2, 0], &u32::MAX.to_le_bytes()].concat();
        assert!(read(&long).unwrap_err().contains("longer than 10000 bytes"));
        assert!(read(&[MAGIC, &[9, 0]].concat()).unwrap_err().contains("version 9"));
    }
}
