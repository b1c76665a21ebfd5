//! How the fleet behaves: intervals of many devices merged over any time, and held against what releases know of
//! their training data; and alerts, of what rules find wrong.

mod alerts;
mod channel;
mod declared;
mod drift;
mod evidence;
mod mail;
mod merged;
mod outbox;
mod overview;
mod profiles;
mod scope;
mod shown;
mod summary;
mod webhook;

pub(crate) use alerts::{Alerts, Context, forget, take};
pub(crate) use channel::{ALERTS_TOPIC, ChannelFile, Channels, checked};
pub(crate) use outbox::{DeliveryShown, Outbox};
pub(crate) use overview::{DriftShown, Overview, SummariesShown};
#[cfg(test)]
pub(crate) use scope::Scope;
pub(crate) use scope::{AskedScope, Question};
pub(crate) use shown::{AlertShown, Selection};
