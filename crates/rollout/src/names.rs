//! Names, each kept once and known by its number from then on.

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};
use std::collections::BTreeMap;

/// Most names of one kind that are ever told apart. None is forgotten, because numbers stay in logs and
/// states; what comes above is refused by whoever hands it in.
pub(crate) const NAMES_MAX: usize = 4_000_000;
/// Longest name in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 512;

/// Names in the order in which they were first heard of.
///
/// All texts lie in one string and each number is an end in it, so that a million devices do not cost a
/// million allocations more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    text: String,
    ends: Vec<u32>,
    numbers: BTreeMap<Box<str>, u32>,
}

impl Names {
    /// The number of `name`, a new one if it was never heard of. None where there is no room for it.
    pub(crate) fn intern(&mut self, name: &str) -> Option<u32> {
        self.intern_within(name, NAME_BYTES_MAX)
    }

    /// The same of a text of up to `bytes_max`.
    pub(crate) fn intern_within(&mut self, name: &str, bytes_max: usize) -> Option<u32> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        if self.ends.len() >= NAMES_MAX || name.len() > bytes_max {
            return None;
        }
        let number = self.ends.len() as u32;
        self.text.push_str(name);
        self.ends.push(u32::try_from(self.text.len()).ok()?);
        self.numbers.insert(name.into(), number);
        Some(number)
    }

    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    pub(crate) fn name(&self, number: u32) -> &str {
        let number = number as usize;
        let start = match number {
            0 => 0,
            _ => self.ends.get(number - 1).copied().unwrap_or_default(),
        };
        let end = self.ends.get(number).copied().unwrap_or(start);
        self.text.get(start as usize..end as usize).unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len() as u32).map(|number| self.name(number))
    }
}

impl Serialize for Names {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().collect::<Vec<_>>())
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Names, D::Error> {
        let mut names = Names::default();
        for name in Vec::<String>::deserialize(deserializer)? {
            let known = names.len();
            let number = names.intern(&name);
            if number != Some(known as u32) {
                return Err(serde::de::Error::custom(format!("{name:?} stands there twice")));
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_number_for_ever() {
        let mut names = Names::default();
        assert_eq!(["b", "a", "b", ""].map(|name| names.intern(name).unwrap()), [0, 1, 0, 2]);
        assert_eq!([0, 1, 2, 9].map(|number| names.name(number).to_owned()), ["b", "a", "", ""]);
        let text = serde_json::to_string(&names).unwrap();
        assert_eq!(text, r#"["b","a",""]"#);
        assert_eq!(serde_json::from_str::<Names>(&text).unwrap(), names);
        assert!(serde_json::from_str::<Names>(r#"["a","a"]"#).is_err());
    }
}
