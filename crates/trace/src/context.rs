//! Which trace a span is of, as programs tell each other (W3C Trace Context, level 1, section 3.2).

use std::fmt::Write as _;

/// A trace and a span in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The trace; not all nought.
    pub trace: [u8; 16],
    /// The span; not all nought.
    pub span: [u8; 8],
}

impl Context {
    /// Reads a `traceparent`; none where it is none, or of version 255, which is forbidden.
    pub fn parse(text: &str) -> Option<Context> {
        let mut parts = text.trim().splitn(4, '-');
        let version: [u8; 1] = bytes(parts.next()?)?;
        let context = Context { trace: bytes(parts.next()?)?, span: bytes(parts.next()?)? };
        // A later version may say more behind the flags.
        let flags = parts.next()?;
        let flags = if version == [0] { flags } else { flags.get(..2)? };
        let _: [u8; 1] = bytes(flags)?;
        let is_one = version != [255] && context.trace != [0; 16] && context.span != [0; 8];
        is_one.then_some(context)
    }
}

/// In lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_hex = text.bytes().all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it));
    if text.len() != 2 * N || !is_hex {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_standard_are_read_and_nothing_else() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = Context::parse(text).unwrap();
        assert_eq!(hex(&context.trace), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(hex(&context.span), "00f067aa0ba902b7");
        assert!(Context::parse(&format!("cc{}-more", &text[2..])).is_some(), "a later version");
        for wrong in [
            "",
            "00",
            &text[..54],
            &format!("{text}-more"),
            &format!("ff{}", &text[2..]),
            &text.to_uppercase(),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-\u{e9}bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Context::parse(wrong), None, "{wrong}");
        }
    }
}
