//! Convolutions of numbers of 32 bits for x86-64, in the widest vectors that a processor has: each channel by
//! itself ([`Planes`]), and over all channels ([`Product`]). Knows no model and no engine; the runtime puts
//! them into tract's. A crate of its own, so that it is always optimised.

#![cfg(target_arch = "x86_64")]

mod bounds;
mod ending;
mod geometry;
mod planes;
mod product;

pub use bounds::Bounds;
pub use ending::{Ending, Gate};
pub use geometry::Geometry;
pub use planes::Planes;
pub use product::Product;
