//! A file with a table as the text that rows are read from: CSV and JSON objects as they lie there, Parquet as
//! the CSV that it could be, some rows of a group at a time.

use anyhow::{Context, bail};
use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{AsBytes, DataType};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Rows that are turned into text at once.
const ROWS_AT_ONCE: usize = 512;
/// What a Parquet file begins with.
const MAGIC: &[u8; 4] = b"PAR1";
/// The column of row numbers that pandas adds where an index has no name.
const INDEX: &str = "__index_level_";
const NANOSECONDS: i128 = 1_000_000_000;

/// The text of a table.
pub enum TableFile {
    /// As it lies there.
    Text(File),
    /// Made of columns.
    Columns(Box<Columns>),
}

impl TableFile {
    /// Opens a file by what it begins with.
    ///
    /// # Errors
    /// It cannot be read; or it is Parquet with a column that is no column of a table.
    pub fn open(path: &Path) -> anyhow::Result<TableFile> {
        let name = path.display();
        let form =
            "a CSV file with the names of its columns in the first line is needed, or Parquet";
        let cannot = || format!("cannot read {name}: {form}");
        let mut file = File::open(path).with_context(cannot)?;
        let mut begins = Vec::new();
        (&mut file).take(MAGIC.len() as u64).read_to_end(&mut begins).with_context(cannot)?;
        if begins != MAGIC {
            if path.extension().is_some_and(|it| it.eq_ignore_ascii_case("parquet")) {
                bail!("{name} is called Parquet and is none: write it anew, or as CSV");
            }
            file.rewind().with_context(cannot)?;
            return Ok(TableFile::Text(file));
        }
        let columns = unbroken(|| Columns::open(file)).with_context(|| name.to_string())?;
        Ok(TableFile::Columns(Box::new(columns)))
    }
}

impl Read for TableFile {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            TableFile::Text(file) => file.read(into),
            TableFile::Columns(columns) => columns.read(into),
        }
    }
}

/// Has a file that is damaged be an error, also where its reader did not expect it.
fn unbroken<T>(read: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result,
        Err(_) => bail!("the Parquet file is damaged: write it anew"),
    }
}

/// A Parquet file, read from its first row on.
pub struct Columns {
    file: SerializedFileReader<File>,
    columns: Vec<TableColumn>,
    /// The next group of rows.
    group: usize,
    /// Rows of the group before it that are not text yet.
    rows_left: usize,
    text: String,
    taken: usize,
}

/// A column of the table.
struct TableColumn {
    name: String,
    /// Its place among those of the file.
    place: usize,
    form: Form,
    is_optional: bool,
    /// Its cells in the group that is being read.
    reader: Option<ColumnReader>,
    /// Those that are text, and where each ends.
    text: String,
    ends: Vec<usize>,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Boolean,
    Integer,
    /// Of so many bits without a sign.
    Unsigned(u32),
    Number,
    Text,
    /// A whole number of 10 to the power of less this.
    Decimal(u32),
    /// Days since 1970.
    Date,
    /// So many a second since 1970.
    Moment(i128),
}

impl Form {
    /// # Errors
    /// A fragment that says what the column is, where it is no column of a table.
    fn of(column: &ColumnDescriptor) -> Result<Form, &'static str> {
        use Physical::{
            BOOLEAN, BYTE_ARRAY, DOUBLE, FIXED_LEN_BYTE_ARRAY, FLOAT, INT32, INT64, INT96,
        };
        if column.max_rep_level() > 0 || column.path().parts().len() > 1 {
            return Err("holds lists or parts");
        }
        let decimal = || {
            u32::try_from(column.type_scale()).map(Form::Decimal).map_err(|_| "has an odd scale")
        };
        if let Some(logical) = column.logical_type_ref() {
            match (logical, column.physical_type()) {
                (LogicalType::String | LogicalType::Enum | LogicalType::Json, BYTE_ARRAY) => {
                    return Ok(Form::Text);
                }
                (LogicalType::Decimal(_), INT32 | INT64 | BYTE_ARRAY | FIXED_LEN_BYTE_ARRAY) => {
                    return decimal();
                }
                (LogicalType::Date, INT32) => return Ok(Form::Date),
                (LogicalType::Timestamp(moment), INT64) => {
                    return Ok(Form::Moment(match moment.unit {
                        TimeUnit::MILLIS => 1_000,
                        TimeUnit::MICROS => 1_000_000,
                        TimeUnit::NANOS => NANOSECONDS,
                    }));
                }
                (LogicalType::Integer(integer), INT32 | INT64) => {
                    let bits = u32::from(integer.bit_width.unsigned_abs());
                    return Ok(if integer.is_signed {
                        Form::Integer
                    } else {
                        Form::Unsigned(bits)
                    });
                }
                // A column without a single value.
                (LogicalType::Unknown, INT32) => return Ok(Form::Integer),
                (LogicalType::Time(_), _) => return Err("holds times of day"),
                _ => return Err("holds what is no number, text or time"),
            }
        }
        match (column.converted_type(), column.physical_type()) {
            (ConvertedType::NONE, BOOLEAN) => Ok(Form::Boolean),
            (ConvertedType::NONE, FLOAT | DOUBLE) => Ok(Form::Number),
            (ConvertedType::NONE, INT96) => Ok(Form::Moment(NANOSECONDS)),
            (
                ConvertedType::NONE
                | ConvertedType::INT_8
                | ConvertedType::INT_16
                | ConvertedType::INT_32
                | ConvertedType::INT_64,
                INT32 | INT64,
            ) => Ok(Form::Integer),
            (ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32, INT32) => {
                Ok(Form::Unsigned(32))
            }
            (ConvertedType::UINT_64, INT64) => Ok(Form::Unsigned(64)),
            (ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON, BYTE_ARRAY) => {
                Ok(Form::Text)
            }
            (ConvertedType::DECIMAL, INT32 | INT64 | BYTE_ARRAY | FIXED_LEN_BYTE_ARRAY) => {
                decimal()
            }
            (ConvertedType::DATE, INT32) => Ok(Form::Date),
            (ConvertedType::TIMESTAMP_MILLIS, INT64) => Ok(Form::Moment(1_000)),
            (ConvertedType::TIMESTAMP_MICROS, INT64) => Ok(Form::Moment(1_000_000)),
            (ConvertedType::NONE, BYTE_ARRAY | FIXED_LEN_BYTE_ARRAY) => Err("holds bytes"),
            _ => Err("holds what is no number, text or time"),
        }
    }

    fn write_integer(self, value: i64, text: &mut String) -> anyhow::Result<()> {
        match self {
            Form::Unsigned(bits @ 1..64) => {
                let _ = write!(text, "{}", value as u64 & ((1 << bits) - 1));
            }
            Form::Unsigned(_) => {
                let _ = write!(text, "{}", value as u64);
            }
            Form::Decimal(digits) => decimal(value.into(), digits, text),
            Form::Date => moment(i128::from(value) * 86_400, 1, text)?,
            Form::Moment(a_second) => moment(value.into(), a_second, text)?,
            Form::Boolean | Form::Integer | Form::Number | Form::Text => {
                let _ = write!(text, "{value}");
            }
        }
        Ok(())
    }

    fn write_bytes(self, bytes: &[u8], text: &mut String) -> anyhow::Result<()> {
        if let Form::Decimal(digits) = self {
            // Two's complement, the most significant byte first.
            let sign = bytes.first().is_some_and(|first| first & 0x80 != 0);
            let begin: i128 = if sign { -1 } else { 0 };
            if bytes.len() > 16 {
                bail!("a decimal of {} bytes is not read: 16 at most", bytes.len());
            }
            decimal(bytes.iter().fold(begin, |sum, it| (sum << 8) | i128::from(*it)), digits, text);
            return Ok(());
        }
        quoted(std::str::from_utf8(bytes).context("a text is no UTF-8")?, text);
        Ok(())
    }
}

fn decimal(value: i128, digits: u32, text: &mut String) {
    // The decimal point is a power of ten, and the number is read to the last digit.
    let _ = match digits {
        0 => write!(text, "{value}"),
        _ => write!(text, "{value}e-{digits}"),
    };
}

fn moment(value: i128, a_second: i128, text: &mut String) -> anyhow::Result<()> {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(value * (NANOSECONDS / a_second));
    let moment = moment.ok().and_then(|it| it.format(&Rfc3339).ok());
    text.push_str(&moment.context("a time is outside of the years 0 to 9999")?);
    Ok(())
}

/// A cell of CSV. A row is a line, so a line's end in a text is a space.
fn quoted(value: &str, text: &mut String) {
    if !value.contains(['"', ',', '\n', '\r']) {
        return text.push_str(value);
    }
    text.push('"');
    for each in value.chars() {
        match each {
            '"' => text.push_str("\"\""),
            '\n' | '\r' => text.push(' '),
            each => text.push(each),
        }
    }
    text.push('"');
}

impl Columns {
    fn open(file: File) -> anyhow::Result<Columns> {
        let file = SerializedFileReader::new(file).context("the Parquet file cannot be read")?;
        let schema = file.metadata().file_metadata().schema_descr();
        let (mut columns, mut text) = (Vec::new(), String::new());
        for (place, column) in schema.columns().iter().enumerate() {
            let name = column.path().parts().first().cloned().unwrap_or_default();
            if name.starts_with(INDEX) {
                continue;
            }
            let form = Form::of(column).map_err(|what| {
                anyhow::anyhow!("column {name} {what}, which is not compared: leave it out")
            })?;
            if !columns.is_empty() {
                text.push(',');
            }
            quoted(&name, &mut text);
            columns.push(TableColumn {
                name,
                place,
                form,
                is_optional: column.max_def_level() > 0,
                reader: None,
                text: String::new(),
                ends: Vec::new(),
            });
        }
        if columns.is_empty() {
            bail!("the Parquet file has no columns");
        }
        text.push('\n');
        Ok(Columns { file, columns, group: 0, rows_left: 0, text, taken: 0 })
    }

    /// Turns the next rows into text; none at the end of the file.
    fn go_on(&mut self) -> anyhow::Result<()> {
        self.text.clear();
        self.taken = 0;
        while self.rows_left == 0 {
            if self.group >= self.file.num_row_groups() {
                return Ok(());
            }
            let group = self.file.get_row_group(self.group)?;
            self.rows_left = usize::try_from(group.metadata().num_rows())
                .context("a group of rows has fewer than none")?;
            for column in &mut self.columns {
                column.reader = Some(group.get_column_reader(column.place)?);
            }
            self.group += 1;
        }
        let rows = self.rows_left.min(ROWS_AT_ONCE);
        for column in &mut self.columns {
            column.read(rows).with_context(|| format!("column {}", column.name))?;
        }
        for row in 0..rows {
            let line = self.text.len();
            for (at, column) in self.columns.iter().enumerate() {
                if at > 0 {
                    self.text.push(',');
                }
                let begin = row.checked_sub(1).map_or(0, |before| column.ends[before]);
                self.text.push_str(&column.text[begin..column.ends[row]]);
            }
            // An empty line would be no row.
            if self.text.len() == line {
                self.text.push_str("\"\"");
            }
            self.text.push('\n');
        }
        self.rows_left -= rows;
        Ok(())
    }
}

impl Read for Columns {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.text.len() {
            unbroken(|| self.go_on()).map_err(|error| io::Error::other(format!("{error:#}")))?;
        }
        let length = into.len().min(self.text.len() - self.taken);
        into[..length].copy_from_slice(&self.text.as_bytes()[self.taken..self.taken + length]);
        self.taken += length;
        Ok(length)
    }
}

impl TableColumn {
    /// Turns so many cells into text.
    fn read(&mut self, rows: usize) -> anyhow::Result<()> {
        let TableColumn { form, is_optional, reader, text, ends, .. } = self;
        let (form, reader) = (*form, reader.as_mut().context("no group of rows is open")?);
        text.clear();
        ends.clear();
        let cells = Cells { rows, is_optional: *is_optional, text, ends };
        match reader {
            ColumnReader::BoolColumnReader(reader) => cells.take(reader, |value, text| {
                let _ = write!(text, "{value}");
                Ok(())
            }),
            ColumnReader::Int32ColumnReader(reader) => {
                cells.take(reader, |value, text| form.write_integer((*value).into(), text))
            }
            ColumnReader::Int64ColumnReader(reader) => {
                cells.take(reader, |value, text| form.write_integer(*value, text))
            }
            ColumnReader::Int96ColumnReader(reader) => {
                cells.take(reader, |value, text| form.write_integer(value.to_nanos(), text))
            }
            ColumnReader::FloatColumnReader(reader) => cells.take(reader, |value, text| {
                let _ = write!(text, "{:?}", f64::from(*value));
                Ok(())
            }),
            // With a point where it is whole: numbers that may be fractions stay such.
            ColumnReader::DoubleColumnReader(reader) => cells.take(reader, |value, text| {
                let _ = write!(text, "{value:?}");
                Ok(())
            }),
            ColumnReader::ByteArrayColumnReader(reader) => {
                cells.take(reader, |value, text| form.write_bytes(value.as_bytes(), text))
            }
            ColumnReader::FixedLenByteArrayColumnReader(reader) => {
                cells.take(reader, |value, text| form.write_bytes(value.as_bytes(), text))
            }
        }
    }
}

/// Where cells go.
struct Cells<'a> {
    rows: usize,
    is_optional: bool,
    text: &'a mut String,
    ends: &'a mut Vec<usize>,
}

impl Cells<'_> {
    fn take<T: DataType>(
        self,
        reader: &mut ColumnReaderImpl<T>,
        write: impl Fn(&T::T, &mut String) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let mut read = 0;
        while read < self.rows {
            let left = self.rows - read;
            let (rows, ..) = reader.read_records(left, Some(&mut levels), None, &mut values)?;
            if rows == 0 {
                bail!("it ends before its group of rows does");
            }
            read += rows;
        }
        let mut values = values.iter();
        for row in 0..self.rows {
            let is_there = !self.is_optional || levels.get(row).is_some_and(|level| *level > 0);
            if is_there {
                write(values.next().context("it has fewer values than it says")?, self.text)?;
            }
            self.ends.push(self.text.len());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::basic::{Compression, ZstdLevel};
    use parquet::data_type::{
        BoolType, ByteArray, ByteArrayType, DoubleType, FixedLenByteArray, FixedLenByteArrayType,
        FloatType, Int32Type, Int64Type, Int96, Int96Type,
    };
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
    use parquet::schema::parser::parse_message_type;
    use std::sync::Arc;

    const SCHEMA: &str = "message rows {
        REQUIRED INT64 time (TIMESTAMP(NANOS, false));
        OPTIONAL INT64 millis (TIMESTAMP(MILLIS, true));
        OPTIONAL INT96 old;
        OPTIONAL INT32 day (DATE);
        OPTIONAL DOUBLE speed;
        REQUIRED FLOAT single;
        REQUIRED INT64 count;
        REQUIRED INT32 least (INTEGER(32, false));
        OPTIONAL INT32 price (DECIMAL(9, 2));
        OPTIONAL FIXED_LEN_BYTE_ARRAY (3) long (DECIMAL(6, 3));
        OPTIONAL BOOLEAN flag;
        OPTIONAL BINARY note (UTF8);
        OPTIONAL INT64 __index_level_0__;
    }";
    /// In all groups but the last.
    const GROUP: usize = 700;
    const ROWS: usize = 1_600;

    /// Whether row `number` has a cell in the columns that may have none.
    fn is_there(number: usize) -> bool {
        number % 7 != 3
    }

    fn note(number: usize) -> String {
        ["plain", "a, b", "says \"so\"", "two\nlines", "\u{fc}ber"][number % 5].into()
    }

    fn put<T: DataType>(
        group: &mut SerializedRowGroupWriter<'_, File>,
        rows: std::ops::Range<usize>,
        has_gaps: bool,
        value: impl Fn(usize) -> T::T,
    ) {
        let mut column = group.next_column().unwrap().unwrap();
        let there = rows.clone().filter(|row| !has_gaps || is_there(*row));
        let values: Vec<T::T> = there.map(value).collect();
        let levels: Vec<i16> = rows.map(|row| is_there(row).into()).collect();
        let levels = has_gaps.then_some(&*levels);
        column.typed::<T>().write_batch(&values, levels, None).unwrap();
        column.close().unwrap();
    }

    fn write(path: &Path, compression: Compression, dictionary: bool) {
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_dictionary_enabled(dictionary)
            .set_data_page_row_count_limit(100)
            .build();
        let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
        let file = File::create(path).unwrap();
        let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
        for first in (0..ROWS).step_by(GROUP) {
            let rows = first..(first + GROUP).min(ROWS);
            let mut group = writer.next_row_group().unwrap();
            let it = &mut group;
            put::<Int64Type>(it, rows.clone(), false, |row| row as i64 * 1_500_000_000);
            put::<Int64Type>(it, rows.clone(), true, |row| row as i64 * 1_500);
            put::<Int96Type>(it, rows.clone(), true, |row| {
                let nanos = (row as u64 % 60) * 1_000_000_000;
                let mut moment = Int96::new();
                // The Julian day of 1970-01-01.
                moment.set_data(nanos as u32, (nanos >> 32) as u32, 2_440_588);
                moment
            });
            put::<Int32Type>(it, rows.clone(), true, |row| row as i32 % 28);
            put::<DoubleType>(it, rows.clone(), true, |row| row as f64 / 4.0);
            put::<FloatType>(it, rows.clone(), false, |row| row as f32 / 10.0);
            put::<Int64Type>(it, rows.clone(), false, |row| row as i64 - 5);
            put::<Int32Type>(it, rows.clone(), false, |row| -1 - row as i32);
            put::<Int32Type>(it, rows.clone(), true, |row| row as i32 - 800);
            put::<FixedLenByteArrayType>(it, rows.clone(), true, |row| {
                let bytes = (row as i32 - 800).to_be_bytes();
                FixedLenByteArray::from(bytes[1..].to_vec())
            });
            put::<BoolType>(it, rows.clone(), true, |row| row % 2 == 0);
            put::<ByteArrayType>(it, rows.clone(), true, |row| ByteArray::from(&*note(row)));
            put::<Int64Type>(it, rows.clone(), true, |row| row as i64);
            group.close().unwrap();
        }
        writer.close().unwrap();
    }

    /// The same as CSV.
    fn csv() -> String {
        let mut text =
            "time,millis,old,day,speed,single,count,least,price,long,flag,note\n".to_owned();
        let time = |millis: i128| {
            let time = OffsetDateTime::from_unix_timestamp_nanos(millis * 1_000_000).unwrap();
            time.format(&Rfc3339).unwrap()
        };
        for row in 0..ROWS {
            let cell = |text: String| if is_there(row) { text } else { String::new() };
            let note = note(row).replace('\n', " ");
            let note = match note.contains(['"', ',']) || row % 5 == 3 {
                true => format!("\"{}\"", note.replace('"', "\"\"")),
                false => note,
            };
            let cells = [
                time(row as i128 * 1_500),
                cell(time(row as i128 * 1_500)),
                cell(time((row as i128 % 60) * 1_000)),
                cell(time((row as i128 % 28) * 86_400_000)),
                cell(format!("{:?}", row as f64 / 4.0)),
                format!("{:?}", f64::from(row as f32 / 10.0)),
                (row as i64 - 5).to_string(),
                (u64::from(u32::MAX) - row as u64).to_string(),
                cell(format!("{}e-2", row as i64 - 800)),
                cell(format!("{}e-3", row as i64 - 800)),
                cell((row % 2 == 0).to_string()),
                cell(note),
            ];
            text.push_str(&cells.join(","));
            text.push('\n');
        }
        text
    }

    fn read(path: &Path) -> anyhow::Result<String> {
        let mut text = String::new();
        TableFile::open(path)?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn a_parquet_file_is_the_csv_that_it_could_be_however_it_is_packed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.parquet");
        let zstd = Compression::ZSTD(ZstdLevel::default());
        let gzip = Compression::GZIP(Default::default());
        for compression in
            [Compression::UNCOMPRESSED, Compression::SNAPPY, gzip, zstd, Compression::LZ4_RAW]
        {
            for dictionary in [true, false] {
                write(&path, compression, dictionary);
                let text = read(&path).unwrap();
                let wanted = csv();
                let unlike = text.lines().zip(wanted.lines()).find(|(one, other)| one != other);
                assert_eq!(unlike, None, "{compression:?}");
                assert!(text == wanted, "{compression:?} {dictionary}: it is cut or too long");
            }
        }
    }

    #[test]
    fn a_single_column_with_gaps_has_all_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.parquet");
        let schema = parse_message_type("message rows { OPTIONAL DOUBLE x; }").unwrap();
        let file = File::create(&path).unwrap();
        let mut writer =
            SerializedFileWriter::new(file, Arc::new(schema), Default::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        put::<DoubleType>(&mut group, 0..8, true, |row| row as f64);
        group.close().unwrap();
        writer.close().unwrap();
        let mut rows = lineside_runtime::Rows::open(TableFile::open(&path).unwrap()).unwrap();
        let mut cells = Vec::new();
        while rows.read(|_, text| cells.push(text.to_owned())).unwrap() {}
        assert_eq!(cells, ["0.0", "1.0", "2.0", "", "4.0", "5.0", "6.0", "7.0"]);
    }

    #[test]
    fn what_is_damaged_or_no_table_is_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.parquet");
        write(&path, Compression::SNAPPY, true);
        let whole = std::fs::read(&path).unwrap();
        // Any byte of it may be another, and no such file ends the program.
        for at in (4..whole.len()).step_by(whole.len() / 60) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            std::fs::write(&path, bytes).unwrap();
            let _ = read(&path);
        }
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let said = format!("{:#}", read(&path).unwrap_err());
        assert!(said.contains("the Parquet file cannot be read"), "{said}");
        std::fs::write(&path, "a,b\n1,2\n").unwrap();
        let said = format!("{:#}", read(&path).unwrap_err());
        assert!(said.contains("is called Parquet and is none"), "{said}");
        for (column, problem) in [
            ("REPEATED INT64 x;", "holds lists or parts"),
            ("OPTIONAL group x { OPTIONAL INT64 y; }", "holds lists or parts"),
            ("OPTIONAL BINARY x;", "holds bytes"),
            ("OPTIONAL INT64 x (TIME(MICROS, true));", "holds times of day"),
        ] {
            let schema = parse_message_type(&format!("message rows {{ {column} }}")).unwrap();
            let file = File::create(&path).unwrap();
            let writer = SerializedFileWriter::new(file, Arc::new(schema), Default::default());
            writer.unwrap().close().unwrap();
            let said = format!("{:#}", read(&path).unwrap_err());
            assert!(said.contains(&format!("column x {problem}")), "{said}");
        }
    }
}
