//! Mergeable statistics: the same values give the same bits on every processor, in any order and
//! grouping, because everything is counted in integers. Opens no file and reads no clock.
//!
//! | sketch | what it keeps | how near |
//! |---|---|---|
//! | [`Moments`] | count, extremes, sum, sum of squares | extremes exact; sums exact for values rounded to 2^-23, magnitudes up to 2^40 |
//! | [`Histogram`] | counts in buckets of 1/32 of a power of two, 384 of each sign | quantiles within 1/64 of the value of their rank |
//! | [`Bins`] | counts between the profile's edges, below and above | exact |
//! | [`CategoryCounts`] | counts of the profile's categories, and of all other texts together | exact |
//! | [`Frequent`] | the 32 texts of the smallest hashes; 3 rows of 128 counters for all others | exact up to 32 texts; then upper bounds, 2.2 percent of the rest too high for 1 of 20 texts |
//! | [`Distinct`] | 32 digits of 48 hashes, or 512 registers | exact up to 48, then a standard error of 4.6 percent |
//! | [`CoMoments`] | sums, squares and products of two columns | exact for values rounded to 2^-23 |
//!
//! [`NumberColumn`], [`TextColumn`] and [`CategoryColumn`] are what is kept of a column in an interval, at
//! most [`COLUMN_BYTES_MAX`] bytes. All are written by [`Sketch::encode`]; equal ones give equal bytes.
//!
//! Merging has no order for up to 2^64 values in all, which is where counts end; what has taken more
//! than [`COUNT_MAX`] is not read.

mod bins;
mod categories;
mod co_moments;
mod columns;
mod distinct;
mod encoding;
mod frequent;
mod hash;
mod histogram;
mod moments;
mod wide;

pub use bins::{BINS_MAX, Bins, Edges, EdgesError, EdgesId, OtherEdges};
pub use categories::{
    CATEGORIES_MAX, CATEGORY_BYTES_MAX, Categories, CategoriesError, CategoriesId, CategoryCounts,
    OtherCategories,
};
pub use co_moments::CoMoments;
pub use columns::{COLUMN_BYTES_MAX, CategoryColumn, MergeError, NumberColumn, TextColumn};
pub use distinct::{DISTINCT_EXACT_MAX, DISTINCT_RELATIVE_ERROR, Distinct};
pub use encoding::{COUNT_MAX, DecodeError, ENCODED_BYTES_MAX, Sketch, VERSION};
pub use frequent::{CountBounds, FREQUENT_EXACT_MAX, Frequent, LABEL_BYTES_MAX, Label};
pub use histogram::{BUCKETS_MAX, Histogram, RELATIVE_ERROR};
pub use moments::Moments;
