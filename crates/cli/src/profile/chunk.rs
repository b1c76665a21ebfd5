//! How long a chunk is, as a person writes it: `1d`, `6h`, `30m`, `90s`, or a number of rows.

use lineside_drift::Chunk;

/// Reads the length of a chunk.
///
/// # Errors
/// A sentence.
pub fn parse(text: &str) -> Result<Chunk, String> {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    let unit = units.into_iter().find_map(|(unit, ms)| Some((text.strip_suffix(unit)?, ms)));
    let chunk = match unit {
        Some((number, ms)) => {
            let length = number.parse::<i64>().ok().and_then(|number| number.checked_mul(ms));
            length.filter(|length| *length > 0).map(Chunk::Milliseconds)
        }
        None => text.parse().ok().filter(|rows| *rows > 0).map(Chunk::Rows),
    };
    chunk.ok_or_else(|| "write a time as in 1d, 6h, 30m or 90s, or a number of rows".into())
}

/// A chunk for people.
pub fn told(chunk: Chunk) -> String {
    match chunk {
        Chunk::Rows(rows) => format!("{rows} rows"),
        Chunk::Milliseconds(ms) if ms % 86_400_000 == 0 => format!("{} d", ms / 86_400_000),
        Chunk::Milliseconds(ms) if ms % 3_600_000 == 0 => format!("{} h", ms / 3_600_000),
        Chunk::Milliseconds(ms) => format!("{} s", ms as f64 / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_they_are_written() {
        assert_eq!(parse("1d"), Ok(Chunk::Milliseconds(86_400_000)));
        assert_eq!(parse("90s"), Ok(Chunk::Milliseconds(90_000)));
        assert_eq!(parse("500"), Ok(Chunk::Rows(500)));
        for wrong in ["", "d", "0d", "-1h", "0", "1w", "9223372036854775807d"] {
            assert!(parse(wrong).unwrap_err().contains("as in 1d"), "{wrong}");
        }
        assert_eq!(told(Chunk::Milliseconds(86_400_000)), "1 d");
    }
}
