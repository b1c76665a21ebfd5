//! How the fleet behaves: intervals of many devices merged over any time, and held against what releases know of
//! their training data; and alerts, of what rules find wrong, with what comes of them.

mod alerts;
mod channel;
mod declared;
mod drift;
mod estimated;
mod evidence;
mod judge;
mod mail;
mod merged;
mod outbox;
mod overview;
mod policy;
mod profiles;
mod proposals;
mod scope;
mod shown;
mod summary;
mod webhook;

pub(crate) use alerts::{Alerts, Context, Errands, forget, missing as no_alert, take};
pub(crate) use channel::{ALERTS_TOPIC, ChannelFile, Channels, checked};
pub(crate) use outbox::{DeliveryShown, Outbox};
pub(crate) use overview::{DriftShown, Overview, SummariesShown};
pub(crate) use policy::Policies;
pub(crate) use proposals::{Decision, ProposalShown};

pub(crate) use scope::{AskedScope, Question, Scope, named, span};
pub(crate) use shown::{AlertShown, Selection};
