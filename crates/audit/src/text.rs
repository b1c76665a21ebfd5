//! Texts of bounded length that a terminal and a page show as they are.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One line of 1 to `MAX` bytes of UTF-8, without control characters and without those that turn the
/// direction of what follows (which can make one name look like another).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Text<const MAX: usize>(String);

/// A text that cannot be recorded as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} cannot be recorded: it takes one line of 1 to {max} bytes without control characters"
)]
pub struct TextError {
    /// Its beginning.
    pub text: String,
    /// Most bytes there may be.
    pub max: usize,
}

/// A word for a kind of thing, which later versions may add to: small letters, digits, dots and hyphens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Code(String);

/// Longest code in bytes.
pub const CODE_BYTES_MAX: usize = 64;

/// A text that is no code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no code: use 1 to {CODE_BYTES_MAX} small letters, digits, dots and hyphens, beginning with a letter"
)]
pub struct CodeError(String);

impl<const MAX: usize> Text<MAX> {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What of any text can be recorded: other characters become spaces, what is too long is cut. For reasons
    /// that people have written; none if nothing is left.
    pub fn lossy(text: &str) -> Option<Text<MAX>> {
        let mut kept = String::new();
        for c in text.trim().chars() {
            let c = if is_shown(c) { c } else { ' ' };
            if kept.len() + c.len_utf8() > MAX {
                break;
            }
            kept.push(c);
        }
        (!kept.is_empty()).then_some(Text(kept))
    }
}

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = TextError;

    fn try_from(text: String) -> Result<Text<MAX>, TextError> {
        if (1..=MAX).contains(&text.len()) && text.chars().all(is_shown) {
            return Ok(Text(text));
        }
        Err(TextError { text: text.chars().take(80).collect(), max: MAX })
    }
}

impl<const MAX: usize> std::str::FromStr for Text<MAX> {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Text<MAX>, TextError> {
        text.to_owned().try_into()
    }
}

impl<const MAX: usize> From<Text<MAX>> for String {
    fn from(text: Text<MAX>) -> String {
        text.0
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_shown(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !turns && !matches!(c, '\u{2028}' | '\u{2029}')
}

impl Code {
    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Code {
    type Error = CodeError;

    fn try_from(text: String) -> Result<Code, CodeError> {
        let is_plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-".contains(&c);
        let is_code = (1..=CODE_BYTES_MAX).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(is_plain);
        if is_code { Ok(Code(text)) } else { Err(CodeError(text.chars().take(80).collect())) }
    }
}

impl std::str::FromStr for Code {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Code, CodeError> {
        text.to_owned().try_into()
    }
}

impl From<Code> for String {
    fn from(code: Code) -> String {
        code.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq<str> for Code {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line_that_is_shown_as_it_is() {
        for good in ["a", "Ada Lovelace", "größer ≥ 3", "\"quoted\\\"", "日本"] {
            assert_eq!(good.parse::<Text<24>>().map(|text| text.to_string()), Ok(good.into()));
        }
        for bad in [
            "",
            "two\nlines",
            "tab\t",
            "\u{7f}",
            "\u{85}",
            "a\u{202e}b",
            "\u{2028}",
            &"x".repeat(25),
        ] {
            assert!(bad.parse::<Text<24>>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn of_any_reason_something_can_be_recorded() {
        let lossy = |text: &str| Text::<8>::lossy(text).map(String::from);
        assert_eq!(lossy(" too\nlong a reason"), Some("too long".into()));
        assert_eq!(lossy("größer größer"), Some("größer".into()));
        assert_eq!(lossy("\n"), None);
        assert_eq!(lossy("日本語"), Some("日本".into()));
    }

    #[test]
    fn codes_are_plain_words() {
        for good in ["device.enrol", "a", "x-1.y"] {
            assert!(good.parse::<Code>().is_ok());
        }
        for bad in ["", "Device", "1a", ".a", "a b", "a_b", "ä", &"x".repeat(65)] {
            assert!(bad.parse::<Code>().is_err(), "{bad}");
        }
    }
}
