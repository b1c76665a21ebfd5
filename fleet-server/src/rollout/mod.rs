//! Rollouts: what people have planned, followed by the engine of `lineside-rollout`, and carried out.
//!
//! The engine decides and touches nothing. Here its events are written down before anything follows from
//! them, what devices say and the registry knows is told to it, and what it wants is assigned.

mod engine;
mod giving;
mod hearing;
mod measuring;
mod named;
mod news;
mod pausing;
mod people;
mod shown;
mod sites;
mod survey;
mod ticking;

pub(crate) use engine::Rollouts;
pub(crate) use news::NewsShown;
pub(crate) use pausing::{put_pause, was_given};
pub(crate) use people::NewRollout;
pub(crate) use shown::{MemberShown, RolloutShown};
pub(crate) use sites::{SiteSettings, SiteShown};
