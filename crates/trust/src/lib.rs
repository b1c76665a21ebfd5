//! Who may sign what, and whether they did.
//!
//! Documents in TUF envelopes (The Update Framework specification 1.0): the *root* names the keys,
//! *releases* say what may be installed, *snapshot* and *timestamp* which of them are the newest, an
//! *assignment* says what one device shall install, a *receipt* what was stored of its report, a *request* which lines of its log it
//! shall send. Only
//! where a [`repository`] and an assignment [`agree`] does a [`TrustedTarget`] come into being. Opens no
//! file, reads no clock, draws no random number: bytes, times and randomness are handed in.

mod agree;
mod assignment;
mod delegation;
mod document;
mod draft;
mod error;
mod freshness;
mod key;
mod log_request;
mod provider;
mod receipt;
mod releases;
mod report;
pub mod repository;
mod role;
mod root;
mod withdrawn;

pub use agree::{AgreeError, TrustedTarget, agree};
pub use assignment::{
    AssignmentSpec, TrustedAssignment, recall_assignment, sign_assignment, verify_assignment,
};
pub use delegation::{
    Delegation, TargetsSpec, TrustedTargets, recall_delegated, sign_targets, verify_delegated,
};
pub use document::{DOCUMENT_BYTES_MAX, FLOOR_MAX, Seen, VERSION_MAX};
pub use draft::{Contents, DRAFT_BYTES_MAX, Draft, DraftError, Quorum, ROLE_FILE_BYTES_MAX};
pub use error::TrustError;
pub use freshness::{
    Listed, SnapshotSpec, TimestampSpec, sign_snapshot, sign_timestamp, signed_at,
};
pub use key::{KeyError, KeyKind, KeyPair, Owner, PublicKey};
pub use log_request::{
    LOG_MINUTES_MAX, LOG_TARGET_BYTES_MAX, LOG_TARGETS_MAX, LogRequest, TrustedLogRequest,
    check_log_targets, sign_log_request, verify_log_request,
};
pub use receipt::{RECEIPT_RANGES_MAX, ReceiptSpec, TrustedReceipt, sign_receipt, verify_receipt};
pub use releases::{ReleasesDraft, ReleasesSpec, SignedRelease, TrustedReleases, verify_releases};
pub use report::{REPORT_BYTES_MAX, Report, ReportError, UnverifiedReport, seal_report};
pub use role::{RoleDraft, RoleSpec};
pub use root::{Root, RootSpec, sign_root};
pub use withdrawn::{Others, Withdrawals, Withdrawn};
