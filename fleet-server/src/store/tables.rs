//! The tables. Times are milliseconds since 1970-01-01 UTC.

use sea_orm::Schema;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::TableCreateStatement;

/// Does something for each table: a statement of the macro that is given, with the table's module.
macro_rules! for_each_table {
    ($each:ident) => {
        $each!(device);
        $each!(document);
        $each!(assignment);
        $each!(manifest);
        $each!(delta);
        $each!(received);
        $each!(receipt);
        $each!(interval);
        $each!(event);
        $each!(quality);
        $each!(total);
        $each!(stock);
        $each!(role_token);
        $each!(alert);
        $each!(delivery);
        $each!(proposal);
        $each!(monitor);
        $each!(site);
        $each!(rollout_event);
        $each!(rollout_state);
        $each!(rollout_given);
        $each!(rollout_news);
        $each!(rollout_pause);
        $each!(audit_entry);
        $each!(audit_hash);
        $each!(audit_checkpoint);
        $each!(identity);
        $each!(device_key);
        $each!(device_start);
        $each!(join_token);
        $each!(preauthorised);
        $each!(person);
        $each!(session);
        $each!(service_token);
    };
}
pub(super) use for_each_table;

/// What each table is made by.
pub(crate) fn all(schema: &Schema) -> Vec<TableCreateStatement> {
    let mut statements = Vec::new();
    macro_rules! make {
        ($table:ident) => {
            statements.push(schema.create_table_from_entity($table::Entity))
        };
    }
    for_each_table!(make);
    statements
}

/// Devices, their credentials, and what they last said of themselves.
pub(crate) mod device {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "device")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        pub site: String,
        /// JSON object of texts.
        pub labels: String,
        /// Hex of the SHA-256 of the password.
        pub password_hash: String,
        pub added_unix_ms: i64,
        pub last_seen_unix_ms: Option<i64>,
        pub agent_version: String,
        pub boot: i64,
        pub assignment_version: i64,
        pub releases_version: i64,
        pub root_version: i64,
        pub timestamp_version: i64,
        /// JSON array of what its slots hold.
        pub slots: String,
        /// Messages that could not be read.
        pub unreadable: i64,
        /// Intervals that gave way to newer ones.
        pub intervals_dropped: i64,
        /// Events that gave way to newer ones.
        pub events_dropped: i64,
        /// Records that never came, of starts that are no longer kept track of.
        pub missing_before: i64,
        /// Public key of what it signs to be carried here, in TUF's form; empty if it has none.
        pub report_key: String,
        /// Number of the last report that was carried here, 0 for none.
        pub report_number: i64,
        /// When that was imported.
        pub report_unix_ms: Option<i64>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Roots (all of them) and lists of releases (the newest), byte for byte as signed.
pub(crate) mod document {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "document")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub kind: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub version: i64,
        pub bytes: Vec<u8>,
        pub accepted_unix_ms: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// The newest assignment of each device.
pub(crate) mod assignment {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "assignment")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub device: String,
        pub version: i64,
        pub expires_unix_ms: i64,
        /// JSON object: slot to `turbine/2`.
        pub slots: String,
        /// JSON array of the slots for which a person has approved what is assigned to them. What waits
        /// for a vendor's list is not named in the document, and stays approved.
        pub approved: String,
        /// JSON array of what was assigned before: bundle and digest of its manifest, the latest first.
        pub before: String,
        pub bytes: Vec<u8>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Tokens of those to whom the release keys have delegated, one each.
pub(crate) mod role_token {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "role_token")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub role: String,
        /// Hex of the SHA-256 of the token.
        pub token_hash: String,
        pub made_unix_ms: i64,
        /// JSON array of the ids of the keys that signed for the role when it was made.
        pub keys: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Manifests of artifacts by name and reference; a reference is a digest or a tag.
pub(crate) mod manifest {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "manifest")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub reference: String,
        pub digest: String,
        pub media_type: String,
        /// Digest of the manifest that it refers to, if it does.
        pub subject: Option<String>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Deltas that have been made, or been found not worth it, from one release's manifest to another's.
pub(crate) mod delta {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "delta")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub base: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub target: String,
        /// How often it was begun.
        pub attempts: i64,
        /// Whether nothing is left to do.
        pub done: bool,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// What was stored of the last report of each device that was carried here, for it to be told.
pub(crate) mod receipt {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "receipt")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub device: String,
        /// Number of the report.
        pub number: i64,
        /// JSON array of starts with ranges of numbers.
        pub stored: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Sequence numbers that have been stored, as ranges that do not touch.
pub(crate) mod received {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "received")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub device: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub boot: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub first: i64,
        pub last: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Intervals: what is looked at often in columns, all of it in `body` as it came.
pub(crate) mod interval {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "interval")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub device: String,
        pub boot: i64,
        pub sequence: i64,
        pub backfill: bool,
        pub slot: String,
        pub release: String,
        pub start_unix_ms: i64,
        pub end_unix_ms: i64,
        pub readings: i64,
        pub frames: i64,
        pub findings: i64,
        pub alarms: i64,
        pub doubled: i64,
        pub errors: i64,
        pub dropped: i64,
        /// Time that 95 of 100 frames kept within, in microseconds.
        pub latency_us_p95: Option<f64>,
        pub body: Vec<u8>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Events, and records of kinds that this server does not know.
pub(crate) mod event {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "event")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub device: String,
        pub boot: i64,
        pub sequence: i64,
        pub slot: String,
        pub kind: String,
        pub release: Option<String>,
        pub text: String,
        pub at_unix_ms: i64,
        pub body: Vec<u8>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// How good answers were, as devices told.
pub(crate) mod quality {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "quality")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub device: String,
        pub boot: i64,
        pub sequence: i64,
        pub slot: String,
        /// First moment of the findings' own time.
        pub start_unix_ms: i64,
        pub body: Vec<u8>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Sums over all intervals of a slot, kept when intervals are dropped.
pub(crate) mod total {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "total")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub device: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub slot: String,
        pub intervals: i64,
        pub readings: i64,
        pub frames: i64,
        pub findings: i64,
        pub alarms: i64,
        pub doubled: i64,
        pub errors: i64,
        pub dropped: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// How much is kept of each device, and what was odd about what came.
pub(crate) mod stock {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "stock")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub device: String,
        /// Intervals that are kept.
        pub intervals: i64,
        /// What they take.
        pub interval_bytes: i64,
        /// Events that are kept.
        pub events: i64,
        /// What they take.
        pub event_bytes: i64,
        /// Records whose number had been used before for something else.
        pub conflicting: i64,
        /// Records whose body could not be read.
        pub unreadable: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Alerts: what a rule has seen, and who knows of it.
pub(crate) mod alert {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "alert")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        /// `device`, `site` or `fleet`: what the rule looks at as one.
        pub scope: String,
        /// Name of the device or the site; empty for the fleet.
        pub place: String,
        pub slot: String,
        pub rule: String,
        pub bundle: String,
        pub version: String,
        /// Hex of the digest of the release's manifest.
        pub digest: String,
        /// None while only its end has come.
        pub fired_unix_ms: Option<i64>,
        pub over_unix_ms: Option<i64>,
        /// First moment of what was seen, by the readings' own time.
        pub start_unix_ms: i64,
        /// Moment after the last.
        pub end_unix_ms: i64,
        pub signal: String,
        /// JSON array of numbers, null where one has no JSON form.
        pub seen: String,
        pub low: Option<f64>,
        pub high: Option<f64>,
        /// JSON array of inputs with their scores.
        pub explained: String,
        /// What was seen, in a sentence.
        pub text: String,
        /// JSON array of texts: what the device did.
        pub done: String,
        /// The intervals of that time as one, as a record has it; none if none has come.
        pub evidence: Option<Vec<u8>>,
        pub acknowledged_by: Option<String>,
        pub acknowledged_unix_ms: Option<i64>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// What channels are to be told of alerts, and whether they have heard it.
pub(crate) mod delivery {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "delivery")]
    pub struct Model {
        /// By which a receiver knows it again.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub alert: i64,
        pub channel: String,
        /// `fired`, `over` or `retrain`.
        pub what: String,
        /// What is told; none until it is told first.
        pub body: Option<String>,
        pub made_unix_ms: i64,
        /// When it is tried next.
        pub next_unix_ms: i64,
        /// How often that failed.
        pub attempts: i64,
        pub delivered_unix_ms: Option<i64>,
        /// Whether nothing is left to do.
        pub ended: bool,
        /// Why it was not heard.
        pub said: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// What rules want to be assigned, one at most for each alert.
pub(crate) mod proposal {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "proposal")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub alert: i64,
        /// The release, as in `turbine/2`; empty for what ran before.
        pub target: String,
        /// Which rule of which policy says so.
        pub policy: String,
        /// `asked`, `due`, `done`, `failed` or `declined`.
        pub state: String,
        pub decided_by: Option<String>,
        pub decided_unix_ms: Option<i64>,
        /// What has come of it.
        pub said: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// How far the rules are that are judged here: of a site or the fleet, by slot and release.
pub(crate) mod monitor {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "monitor")]
    pub struct Model {
        /// `site` or `fleet`.
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope: String,
        /// The site whose policy has the rules.
        #[sea_orm(primary_key, auto_increment = false)]
        pub place: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub slot: String,
        /// Hex of the digest of the release's manifest.
        #[sea_orm(primary_key, auto_increment = false)]
        pub digest: String,
        pub state: Vec<u8>,
        /// When an interval of it came last.
        pub heard_unix_ms: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// What holds at sites for every rollout.
pub(crate) mod site {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "site")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        /// JSON object: time zone, windows, limits.
        pub settings: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// What has happened to rollouts since their state was written, in order.
pub(crate) mod rollout_event {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "rollout_event")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        /// The event as JSON, so that a newer server can read it.
        pub body: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// The fleet and its rollouts as they were after an event: one row, or none.
pub(crate) mod rollout_state {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "rollout_state")]
    pub struct Model {
        /// Always 1.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        /// Number of the last event that is in it.
        pub after: i64,
        /// Version of what follows.
        pub version: i64,
        /// Postcard of it.
        pub body: Vec<u8>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// What a rollout has given a slot last.
pub(crate) mod rollout_given {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "rollout_given")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub device: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub slot: String,
        pub rollout: i64,
        /// The release as rollouts name it; none where its assignment was ended.
        pub release: Option<String>,
        pub attempt: i64,
        /// Events of the device up to this row of theirs speak of attempts before.
        pub events_after: i64,
        /// Intervals up to this row of theirs are of the time before.
        pub intervals_after: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// What people were told of rollouts.
pub(crate) mod rollout_news {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "rollout_news")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub rollout: i64,
        pub at_unix_ms: i64,
        pub text: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Releases whose rollouts are to pause because a rule has fired for them.
pub(crate) mod rollout_pause {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "rollout_pause")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub slot: String,
        /// The release as rollouts name it.
        pub release: String,
        /// Who wants it.
        pub by: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// What was done here and by whom, as it was recorded: rows are added and never changed.
pub(crate) mod audit_entry {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "audit_entry")]
    pub struct Model {
        /// Its place in the log, from 0.
        #[sea_orm(primary_key, auto_increment = false)]
        pub seq: i64,
        /// What it is about, to be found by: the entry itself says it, and counts.
        pub subject: String,
        /// The bytes that its leaf is the hash of; none once it is erased.
        pub entry: Option<Vec<u8>>,
        /// Number of the entry which says that it was.
        pub erased_by: Option<i64>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Hashes of the complete subtrees over the entries; those of level 0 are the leaves.
pub(crate) mod audit_hash {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "audit_hash")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub level: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub place: i64,
        pub hash: Vec<u8>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// What was signed of the log.
pub(crate) mod audit_checkpoint {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "audit_checkpoint")]
    pub struct Model {
        /// Entries that the log had.
        #[sea_orm(primary_key, auto_increment = false)]
        pub size: i64,
        /// The signed note.
        pub note: String,
        pub signed_unix_ms: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Who devices are: how each stands with its key.
pub(crate) mod identity {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "identity")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub device: String,
        /// JSON of its standing and of its keys that were revoked.
        pub identity: String,
        /// How it stands, in a word.
        pub standing: String,
        /// The serial number that it said it has when it joined.
        pub serial: Option<String>,
        /// When this changed last.
        pub changed_unix_ms: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Keys that devices have, and those of theirs that were revoked: none is of two.
pub(crate) mod device_key {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "device_key")]
    pub struct Model {
        /// Its fingerprint.
        #[sea_orm(primary_key, auto_increment = false)]
        pub key: String,
        pub device: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Which of their starts devices have connected by.
pub(crate) mod device_start {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "device_start")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub device: String,
        /// JSON of what is remembered of them.
        pub starts: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Tokens with which devices join.
pub(crate) mod join_token {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "join_token")]
    pub struct Model {
        /// Hex of the SHA-256 of its secret.
        #[sea_orm(primary_key, auto_increment = false)]
        pub hash: String,
        /// The only device that may join with it, where there is only one.
        pub device: Option<String>,
        /// The only serial number that may, where there is only one.
        pub serial: Option<String>,
        /// Where the device will stand, and JSON of its labels.
        pub site: String,
        pub labels: String,
        pub made_unix_ms: i64,
        /// In whole seconds.
        pub expires_unix_ms: i64,
        /// Who has joined with it, and by which key.
        pub spent_device: Option<String>,
        pub spent_key: Option<String>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// People who log in.
pub(crate) mod person {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "person")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        /// In PHC's form.
        pub password_hash: String,
        /// Somebody else knows the password: another has to be set.
        pub must_set_password: bool,
        /// Secret of the authenticator app, in base 32, and of one that was not shown to work yet.
        pub totp: Option<String>,
        pub totp_new: Option<String>,
        /// The span of the last code that was taken.
        pub totp_last: i64,
        /// JSON of what he may do, and where.
        pub grants: String,
        /// JSON of wrong tries in a row.
        pub tries: String,
        pub added_unix_ms: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Sessions of people.
pub(crate) mod session {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "session")]
    pub struct Model {
        /// Hex of the SHA-256 of its token.
        #[sea_orm(primary_key, auto_increment = false)]
        pub hash: String,
        pub person: String,
        pub begun_unix_ms: i64,
        /// When somebody came by it last, to the minute.
        pub seen_unix_ms: i64,
        /// When the password was shown last.
        pub shown_unix_ms: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Tokens of programs.
pub(crate) mod service_token {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "service_token")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        /// Hex of the SHA-256 of the token.
        pub hash: String,
        /// JSON of what it may do, and where.
        pub grants: String,
        pub made_unix_ms: i64,
        pub expires_unix_ms: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Devices that need not wait for a person
pub(crate) mod preauthorised {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "preauthorised")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub device: String,
        /// The only key that may, where it was known.
        pub key: Option<String>,
        /// The only serial number that may, where it was known.
        pub serial: Option<String>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}
