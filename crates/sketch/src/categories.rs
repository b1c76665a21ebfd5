//! Counts of texts that were chosen beforehand.

use crate::encoding::{COUNT_MAX, DecodeError, Parts, Reader, Writer};
use crate::hash::hash;

/// Categories that are counted by name at most.
pub const CATEGORIES_MAX: usize = 64;
/// Longest category in bytes.
pub const CATEGORY_BYTES_MAX: usize = 256;

/// Texts that are counted one by one: those of the profile, so that counts of this year and of the training
/// data compare however many other texts there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Categories {
    names: Vec<String>,
    id: CategoriesId,
}

/// Names categories: XXH64 of their texts. So counts need not carry their categories.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CategoriesId([u8; 8]);

impl std::fmt::Display for CategoriesId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for CategoriesId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// Why texts are no categories.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CategoriesError {
    /// None, or more than [`CATEGORIES_MAX`].
    #[error("{0} categories, where there are 1 to {CATEGORIES_MAX}: leave the rarest out")]
    Number(usize),
    /// One is longer than [`CATEGORY_BYTES_MAX`].
    #[error("category {0} has more than {CATEGORY_BYTES_MAX} bytes: leave it out")]
    Long(usize),
    /// One of them is not behind the one before in the order of their bytes.
    #[error("category {0:?} is not behind the one before it: put them in order, each once")]
    NotRising(String),
}

/// Counts over other categories.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "counts over the categories {theirs} do not add to counts over the categories {ours}: merge what was \
     counted with the same profile"
)]
pub struct OtherCategories {
    /// The categories of the sketch.
    pub ours: CategoriesId,
    /// The categories that were handed in.
    pub theirs: CategoriesId,
}

impl Categories {
    /// Categories in the order of their bytes, each once, 1 to [`CATEGORIES_MAX`].
    ///
    /// # Errors
    /// [`CategoriesError`].
    pub fn new(names: Vec<String>) -> Result<Categories, CategoriesError> {
        if !(1..=CATEGORIES_MAX).contains(&names.len()) {
            return Err(CategoriesError::Number(names.len()));
        }
        if let Some(at) = names.iter().position(|name| name.len() > CATEGORY_BYTES_MAX) {
            return Err(CategoriesError::Long(at));
        }
        if let Some(pair) = names.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(CategoriesError::NotRising(pair[1].clone()));
        }
        let mut bytes = Vec::new();
        for name in &names {
            bytes.extend((name.len() as u32).to_le_bytes());
            bytes.extend(name.as_bytes());
        }
        let id = CategoriesId(hash(&bytes).to_le_bytes());
        Ok(Categories { names, id })
    }

    /// The categories, in order: shape `[n_categories]`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Their name.
    pub fn id(&self) -> CategoriesId {
        self.id
    }

    fn place(&self, text: &str) -> Option<usize> {
        self.names.binary_search_by(|name| name.as_str().cmp(text)).ok()
    }
}

/// How often each category came, and how often any other text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CategoryCounts {
    categories: CategoriesId,
    other: u64,
    counts: Vec<u64>,
}

impl CategoryCounts {
    /// Counts over these categories; none yet.
    pub fn new(categories: &Categories) -> CategoryCounts {
        let counts = vec![0; categories.names.len()];
        CategoryCounts { categories: categories.id, other: 0, counts }
    }

    /// Takes a text, with the categories that it was begun with.
    ///
    /// # Errors
    /// [`OtherCategories`]; then nothing is counted.
    pub fn add(&mut self, categories: &Categories, text: &str) -> Result<(), OtherCategories> {
        self.add_times(categories, text, 1)
    }

    /// Takes a text that came so often.
    ///
    /// # Errors
    /// As [`CategoryCounts::add`].
    pub fn add_times(
        &mut self,
        categories: &Categories,
        text: &str,
        times: u64,
    ) -> Result<(), OtherCategories> {
        self.check(categories.id)?;
        let counted = match categories.place(text) {
            Some(place) => &mut self.counts[place],
            None => &mut self.other,
        };
        *counted = counted.saturating_add(times);
        Ok(())
    }

    /// Takes what another has counted.
    ///
    /// # Errors
    /// [`OtherCategories`]; then nothing is counted.
    pub fn merge(&mut self, other: &CategoryCounts) -> Result<(), OtherCategories> {
        self.check(other.categories)?;
        self.other = self.other.saturating_add(other.other);
        for (counted, more) in self.counts.iter_mut().zip(&other.counts) {
            *counted = counted.saturating_add(*more);
        }
        Ok(())
    }

    /// Which categories it counts.
    pub fn categories(&self) -> CategoriesId {
        self.categories
    }

    /// How often each came: shape `[n_categories]`.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Texts that are none of the categories.
    pub fn other(&self) -> u64 {
        self.other
    }

    /// All texts taken.
    pub fn count_all(&self) -> u64 {
        self.counts.iter().fold(self.other, |sum, count| sum.saturating_add(*count))
    }

    fn check(&self, theirs: CategoriesId) -> Result<(), OtherCategories> {
        let ours = self.categories;
        if ours == theirs { Ok(()) } else { Err(OtherCategories { ours, theirs }) }
    }
}

impl Parts for CategoryCounts {
    const KIND: u8 = 9;

    fn write(&self, writer: &mut Writer) {
        writer.bytes(&self.categories.0);
        writer.number(self.other);
        writer.number(self.counts.len() as u64);
        writer.numbers(&self.counts);
    }

    fn read(reader: &mut Reader<'_>) -> Result<CategoryCounts, DecodeError> {
        let categories = CategoriesId(reader.eight()?);
        let other = reader.count()?;
        let length = reader.length(CATEGORIES_MAX)?;
        if length == 0 {
            return Err(DecodeError::NotCanonical("no categories"));
        }
        let counts = CategoryCounts { categories, other, counts: reader.numbers(length)? };
        if counts.count_all() > COUNT_MAX {
            return Err(DecodeError::NotCanonical("more values than are read"));
        }
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Sketch;
    use proptest::prelude::*;

    fn categories(names: &[&str]) -> Categories {
        Categories::new(names.iter().map(|name| (*name).to_owned()).collect()).unwrap()
    }

    fn of(texts: &[String]) -> CategoryCounts {
        let categories = categories(&["", "1", "3", "ä"]);
        let mut counts = CategoryCounts::new(&categories);
        texts.iter().for_each(|text| counts.add(&categories, text).unwrap());
        counts
    }

    #[test]
    fn categories_are_counted_by_name_and_everything_else_together() {
        let counts = of(&["1", "ä", "2", "1", "", "a"].map(str::to_owned));
        assert_eq!(counts.counts(), [1, 2, 0, 1]);
        assert_eq!((counts.other(), counts.count_all()), (2, 6));
    }

    #[test]
    fn other_categories_are_refused_and_nothing_is_counted() {
        // The same letters, cut elsewhere.
        let (one, other) = (categories(&["ab", "c"]), categories(&["a", "bc"]));
        let mut counts = CategoryCounts::new(&one);
        let refused = counts.add(&other, "a").unwrap_err();
        assert_eq!(counts.merge(&CategoryCounts::new(&other)), Err(refused.clone()));
        assert_eq!(counts, CategoryCounts::new(&one));
        let said = refused.to_string();
        assert!(said.contains(&other.id().to_string()) && said.contains("same profile"), "{said}");
    }

    #[test]
    fn what_is_no_list_of_categories_is_refused() {
        let refused = |names: Vec<String>| Categories::new(names).unwrap_err();
        assert_eq!(refused(vec![]), CategoriesError::Number(0));
        let many = (0..=CATEGORIES_MAX).map(|i| format!("{i:03}")).collect();
        assert_eq!(refused(many), CategoriesError::Number(CATEGORIES_MAX + 1));
        assert_eq!(refused(vec!["a".repeat(CATEGORY_BYTES_MAX + 1)]), CategoriesError::Long(0));
        let twice = ["a", "a"].map(str::to_owned).to_vec();
        assert_eq!(refused(twice), CategoriesError::NotRising("a".into()));
    }

    proptest! {
        #[test]
        fn order_and_grouping_do_not_show(
            numbers in prop::collection::vec(0u64..5, 0..60),
            split in 0usize..60,
        ) {
            let texts: Vec<String> = numbers.iter().map(u64::to_string).collect();
            let (left, right) = texts.split_at(split.min(texts.len()));
            let mut merged = of(right);
            merged.merge(&of(left)).unwrap();
            merged.merge(&of(&[])).unwrap();
            prop_assert_eq!(&merged, &of(&texts));
            prop_assert_eq!(CategoryCounts::decode(&merged.encode()), Ok(merged));
        }
    }
}
