//! Who does something here.

use crate::access::{ADMINISTRATOR, Publisher};
use lineside_audit::{Name, Who, WhoKind};
use lineside_wire::name::{DeviceId, RoleName};

/// Who does something here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum By {
    /// Whoever has the administrator's token, with the name that he gives himself.
    Administrator(Option<String>),
    /// Somebody who has logged in.
    Person(String),
    /// A program, by its token.
    Program(String),
    /// Whoever has the token of a role.
    Role(RoleName),
    /// A device.
    Device(DeviceId),
    /// The server by itself: by which of its rules or plans.
    Server(&'static str),
    /// A rollout, which somebody has planned.
    Rollout(u32),
    /// What a rule has proposed because of an alert, and who has approved that; nobody where nobody is asked.
    Proposal(u64, Option<String>),
}

/// What stands before the names of people who have logged in, and of programs, where names are kept.
const LOGGED_IN: char = '@';
const PROGRAM: &str = "program:";

impl By {
    /// The administrator, of whom nothing else is known.
    pub const ADMINISTRATOR: By = By::Administrator(None);

    /// Who is called so where names are kept: somebody who has logged in with a mark before his name; the
    /// administrator as he calls himself, which he may leave out.
    pub fn named(name: &str) -> By {
        if let Some(person) = name.strip_prefix(LOGGED_IN) {
            return By::Person(person.to_owned());
        }
        if let Some(program) = name.strip_prefix(PROGRAM) {
            return By::Program(program.to_owned());
        }
        let is_told = !name.trim().is_empty() && name != ADMINISTRATOR;
        By::Administrator(is_told.then(|| name.to_owned()))
    }

    /// As it is kept: [`By::named`] reads it.
    pub fn name(&self) -> String {
        match self {
            By::Administrator(name) => name.clone().unwrap_or_default(),
            By::Person(name) => format!("{LOGGED_IN}{name}"),
            By::Program(name) => format!("{PROGRAM}{name}"),
            other => other.who().id.to_string(),
        }
    }

    /// What approvals would be about that have led to what is done.
    pub fn cause(&self) -> Option<String> {
        match self {
            By::Rollout(id) => Some(format!("rollout {id}")),
            By::Proposal(alert, _) => Some(format!("alert {alert}")),
            By::Administrator(_)
            | By::Person(_)
            | By::Program(_)
            | By::Role(_)
            | By::Device(_)
            | By::Server(_) => None,
        }
    }

    /// As it is recorded.
    pub fn who(&self) -> Who {
        let rollout;
        let (kind, id, name) = match self {
            By::Administrator(name) => (WhoKind::Person, ADMINISTRATOR, name.as_deref()),
            By::Person(name) => (WhoKind::Person, name.as_str(), None),
            By::Program(name) => (WhoKind::Token, name.as_str(), None),
            By::Role(role) => (WhoKind::Token, role.as_str(), None),
            By::Device(device) => (WhoKind::Device, device.as_str(), None),
            By::Server(rule) => (WhoKind::Server, *rule, None),
            By::Rollout(id) => {
                rollout = format!("rollout {id}");
                (WhoKind::Server, rollout.as_str(), None)
            }
            By::Proposal(_, None) => (WhoKind::Server, "policy", None),
            By::Proposal(_, Some(name)) => return By::named(name).who(),
        };
        let id = Name::lossy(id).expect("whoever does something has a name");
        Who { kind, id, name: name.and_then(Name::lossy), of: None }
    }
}

impl From<&Publisher> for By {
    fn from(publisher: &Publisher) -> By {
        match publisher {
            Publisher::House(by) => by.clone(),
            Publisher::Role(holder) => By::Role(holder.role.clone()),
        }
    }
}
