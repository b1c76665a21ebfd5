//! By what tables are looked at besides their keys.

use crate::store::tables::{
    alert, audit_entry, delivery, device_key, event, interval, manifest, proposal, quality,
    rollout_news, service_token, session,
};
use sea_orm::sea_query::{Index, IndexCreateStatement};

/// What each index is made by.
pub(super) fn all() -> Vec<IndexCreateStatement> {
    let index = |name: &str| Index::create().if_not_exists().name(name).to_owned();
    vec![
        index("manifest_by_subject")
            .table(manifest::Entity)
            .col(manifest::Column::Name)
            .col(manifest::Column::Subject)
            .take(),
        index("interval_by_device")
            .table(interval::Entity)
            .col(interval::Column::Device)
            .col(interval::Column::Id)
            .take(),
        index("interval_by_number")
            .table(interval::Entity)
            .col(interval::Column::Device)
            .col(interval::Column::Boot)
            .col(interval::Column::Sequence)
            .take(),
        index("interval_by_time")
            .table(interval::Entity)
            .col(interval::Column::Slot)
            .col(interval::Column::StartUnixMs)
            .take(),
        index("event_by_device")
            .table(event::Entity)
            .col(event::Column::Device)
            .col(event::Column::Id)
            .take(),
        index("event_by_number")
            .table(event::Entity)
            .col(event::Column::Device)
            .col(event::Column::Boot)
            .col(event::Column::Sequence)
            .take(),
        index("rollout_news_by_rollout")
            .table(rollout_news::Entity)
            .col(rollout_news::Column::Rollout)
            .col(rollout_news::Column::Id)
            .take(),
        index("audit_entry_by_subject")
            .table(audit_entry::Entity)
            .col(audit_entry::Column::Subject)
            .col(audit_entry::Column::Seq)
            .take(),
        index("alert_by_place")
            .table(alert::Entity)
            .col(alert::Column::Scope)
            .col(alert::Column::Place)
            .col(alert::Column::Id)
            .take(),
        index("delivery_by_alert").table(delivery::Entity).col(delivery::Column::Alert).take(),
        index("proposal_by_state")
            .table(proposal::Entity)
            .col(proposal::Column::State)
            .col(proposal::Column::Alert)
            .take(),
        index("delivery_by_channel")
            .table(delivery::Entity)
            .col(delivery::Column::Channel)
            .col(delivery::Column::Ended)
            .col(delivery::Column::NextUnixMs)
            .take(),
        // Those that are not over lie beside each other.
        index("alert_by_end")
            .table(alert::Entity)
            .col(alert::Column::OverUnixMs)
            .col(alert::Column::Id)
            .take(),
        index("device_key_by_device")
            .table(device_key::Entity)
            .col(device_key::Column::Device)
            .take(),
        index("service_token_by_hash")
            .table(service_token::Entity)
            .col(service_token::Column::Hash)
            .take(),
        index("session_by_person").table(session::Entity).col(session::Column::Person).take(),
        index("quality_by_device")
            .table(quality::Entity)
            .col(quality::Column::Device)
            .col(quality::Column::Id)
            .take(),
        index("quality_by_number")
            .table(quality::Entity)
            .col(quality::Column::Device)
            .col(quality::Column::Boot)
            .col(quality::Column::Sequence)
            .take(),
    ]
}
