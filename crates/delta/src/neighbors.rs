//! What the changes around an element say of its own.
//!
//! Weights lie in rows, and training moves those of one input or one output by about as much; where
//! a unit is dead, not at all. So changes are followed along the row and down each column.

/// Sizes are kept in sixteenths of a binary digit.
const DIGIT: i32 = 16;
/// Changes after which an average that follows late has mostly forgotten.
const LATE: i32 = 128;
/// Sizes are told apart in halves of a digit. Beyond 64 digits they begin anew: no tensor has both.
const SIZES: usize = 128;
/// How sizes just before compare with those of the whole tensor.
const NEARNESS: usize = 4;
const FINE_NEARNESS: i32 = 9;
/// How many of the elements before did not change, in steps.
const STILL: usize = 8;
/// Surroundings from which a change is guessed.
pub(crate) const CONTEXTS: usize = 5;

/// What has been seen around the element that is next.
#[derive(Clone)]
pub(crate) struct Neighbors {
    row: Line,
    /// Sizes of the whole tensor, as an average that follows late: in 128ths of a size.
    late: i32,
    columns: Vec<Line>,
    at: usize,
}

/// Elements of a row or a column so far.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    /// Size of changes, as an average; nothing until there was one.
    size: Option<i32>,
    /// Share of the elements that did not change, of 4,095.
    still: u16,
    sign: Sign,
}

/// Of the last change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Sign {
    #[default]
    None,
    Plus,
    Minus,
}

impl Line {
    fn learn(&mut self, size: i32, change: i64) {
        let still = if change == 0 { 4095 } else { 0 };
        self.still = (i32::from(self.still) + (still - i32::from(self.still)) / 16) as u16;
        self.sign = match change {
            0 => Sign::None,
            1.. => Sign::Plus,
            _ => Sign::Minus,
        };
        if change != 0 {
            let before = self.size.unwrap_or(size);
            self.size = Some(before + (size - before) / 4);
        }
    }

    fn still(self) -> usize {
        usize::from(self.still) * STILL / 4096
    }
}

impl Neighbors {
    /// Before the first of elements in rows of this length, at least 1.
    pub(crate) fn new(row: usize) -> Neighbors {
        Neighbors { row: Line::default(), late: 0, columns: vec![Line::default(); row], at: 0 }
    }

    /// How many values each of [`Neighbors::contexts`] has, for so many classes of elements.
    pub(crate) fn counts(classes: usize) -> [usize; CONTEXTS] {
        [classes, SIZES, SIZES, Self::STILLNESS, 9 * NEARNESS]
    }

    /// The surroundings of the next element, which is of this class.
    pub(crate) fn contexts(&self, class: usize) -> [usize; CONTEXTS] {
        let late = self.late / LATE;
        let row = self.row.size.unwrap_or(late);
        let column = self.columns[self.at].size.unwrap_or(row);
        let size = |size: i32| (size / (DIGIT / 2)) as usize % SIZES;
        let nearness = match row + column - 2 * late {
            i32::MIN..-24 => 0,
            -24..0 => 1,
            0..24 => 2,
            24.. => 3,
        };
        [class, size(row), size(column), self.stillness(), self.signs() * NEARNESS + nearness]
    }

    /// How many values each of [`Neighbors::sign_contexts`] has, for so many classes of elements.
    pub(crate) fn sign_counts(classes: usize) -> [usize; 3] {
        [classes, 9, 2]
    }

    /// What the next element's sign is guessed from.
    pub(crate) fn sign_contexts(&self, class: usize, negative: bool) -> [usize; 3] {
        [class, self.signs(), usize::from(negative)]
    }

    fn signs(&self) -> usize {
        self.row.sign as usize * 3 + self.columns[self.at].sign as usize
    }

    /// How many values [`Neighbors::stillness`] has.
    pub(crate) const STILLNESS: usize = STILL * STILL;

    /// How many of the elements before did not change, in the row and in the column.
    pub(crate) fn stillness(&self) -> usize {
        self.row.still() * STILL + self.columns[self.at].still()
    }

    /// How many values each of [`Neighbors::nearness`] has.
    pub(crate) fn nearness_counts() -> [usize; 3] {
        [1, FINE_NEARNESS as usize, FINE_NEARNESS as usize]
    }

    /// How sizes in the row and in the column compare with those of the whole tensor.
    pub(crate) fn nearness(&self) -> [usize; 3] {
        let late = self.late / LATE;
        let row = self.row.size.unwrap_or(late);
        let column = self.columns[self.at].size.unwrap_or(row);
        let near = |size: i32| {
            ((size - late) / (DIGIT / 2) + FINE_NEARNESS / 2).clamp(0, FINE_NEARNESS - 1) as usize
        };
        [0, near(row), near(column)]
    }

    /// Goes on to the next element; this one changed by so much, which has that size.
    pub(crate) fn learn(&mut self, digits: u32, change: i64) {
        let size = digits as i32 * DIGIT;
        self.row.learn(size, change);
        self.columns[self.at].learn(size, change);
        if change != 0 {
            self.late += size - self.late / LATE;
        }
        self.at += 1;
        if self.at == self.columns.len() {
            self.at = 0;
        }
    }
}
