//! What can be done to a fleet. The list grows with the server; a reader knows no more than the codes that
//! there were when it was built, and shows others as they are.

use crate::text::{Code, CodeError};

macro_rules! actions {
    ($($name:ident = $code:literal, $says:literal;)*) => {
        /// Actions that are known here. Their codes are never given another meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action {
            $(#[doc = $says] $name,)*
        }

        impl Action {
            /// Every one.
            pub const ALL: &'static [Action] = &[$(Action::$name),*];

            /// As it is recorded.
            pub fn code(self) -> &'static str {
                match self { $(Action::$name => $code,)* }
            }

            /// In words for people: what was done to the subject.
            pub fn words(self) -> &'static str {
                match self { $(Action::$name => $says,)* }
            }
        }
    };
}

actions! {
    LogBegun = "audit.begin", "the log was begun";
    LogExported = "audit.export", "the log was exported";
    EntriesErased = "audit.erase-entries", "entries of the log were erased; their hashes stay";
    ValuesErased = "audit.erase-values", "values of entries were erased; their digests stay";
    Held = "audit.hold", "a legal hold was put on entries";
    HoldLifted = "audit.hold-lifted", "a legal hold was lifted";
    DeviceAnchored = "device.anchor", "the device's own log was anchored";
    DeviceGap = "device.gap", "the device's own log has a gap";
    DeviceEnrolled = "device.enrol", "the device was enrolled";
    DeviceRetired = "device.retire", "the device was retired";
    DeviceKeyed = "device.key", "the device was given another key or password";
    DeviceLabelled = "device.label", "labels of the device were changed";
    DeviceCommanded = "device.command", "the device was sent a command";
    ReleasePublished = "release.publish", "the release was published";
    ReleaseReviewed = "release.review", "the release was reviewed";
    ReleaseApproved = "release.approve", "the release was approved";
    ReleaseWithdrawn = "release.withdraw", "the release was withdrawn";
    RolloutCreated = "rollout.create", "the rollout was created";
    RolloutApproved = "rollout.approve", "the rollout, or a wave of it, was approved";
    RolloutMoved = "rollout.move", "the rollout went on, was paused or was stopped";
    SlotAssigned = "slot.assign", "the slot was assigned a release";
    SlotApproved = "slot.approve", "the change of the slot's release was approved";
    SlotRan = "slot.run", "the slot said which release has its route";
    AlertAcknowledged = "alert.acknowledge", "the alert was acknowledged";
    ProposalApproved = "proposal.approve", "what a rule proposed was approved";
    ProposalDeclined = "proposal.decline", "what a rule proposed was declined";
    PolicySet = "policy.set", "the site's policy was changed";
    PolicyApproved = "policy.approve", "a change of the site's policy was approved";
    RuleSet = "rule.set", "a rule was changed";
    RootSet = "root.set", "the root of trust was changed";
    TargetsSet = "targets.set", "a signed list was changed";
    KeysSet = "keys.set", "keys of the server were changed";
    TokenIssued = "token.issue", "a token was issued";
    TokenRevoked = "token.revoke", "a token was revoked";
    PersonAdded = "person.add", "the person was added";
    PersonSet = "person.set", "a person's roles were changed";
    PersonRemoved = "person.remove", "the person was removed";
    PasswordSet = "person.password", "the person's password or authenticator app was changed";
    SessionBegun = "session.begin", "the person logged in";
    SessionRefused = "session.refuse", "wrong passwords were tried, and the next has to wait";
    SettingSet = "setting.set", "a setting of the server was changed";
    ArtifactPut = "artifact.put", "an artifact was stored";
    ArtifactRemoved = "artifact.remove", "an artifact was removed";
    ServerStarted = "server.start", "the server was started";
    ServerRestored = "server.restore", "the server was put back from a copy";
    IncidentOpened = "incident.open", "an incident was opened";
    IncidentClosed = "incident.close", "an incident was closed";
}

impl Action {
    /// The action with this code, if it is known here.
    pub fn of(code: &Code) -> Option<Action> {
        Action::ALL.iter().copied().find(|action| action.code() == code.as_str())
    }

    /// Whether it is a person's leave for something.
    pub fn is_approval(self) -> bool {
        use Action::*;
        matches!(
            self,
            ReleaseApproved | RolloutApproved | SlotApproved | ProposalApproved | PolicyApproved
        )
    }

    /// Whether its entry must stay whole for ever, because others are proved by it.
    pub fn is_evidence(self) -> bool {
        use Action::*;
        matches!(
            self,
            LogBegun
                | EntriesErased
                | ValuesErased
                | Held
                | HoldLifted
                | DeviceAnchored
                | DeviceGap
                | ServerRestored
        )
    }
}

impl From<Action> for Code {
    fn from(action: Action) -> Code {
        let code: Result<Code, CodeError> = action.code().parse();
        code.expect("a test has parsed the code of every action")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_action_has_a_code_of_its_own_that_reads_back() {
        for action in Action::ALL {
            assert_eq!(Action::of(&Code::from(*action)), Some(*action));
        }
        let codes: BTreeSet<&str> = Action::ALL.iter().map(|action| action.code()).collect();
        assert_eq!(codes.len(), Action::ALL.len());
        assert_eq!(Action::of(&"robot.danced".parse().unwrap()), None);
    }
}
