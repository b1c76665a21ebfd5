//! The way to the driver of updates: what may be asked of it, and what it answers.

use crate::clock::now_unix_ms;
use crate::update::acceptance::{AcceptError, Versions};
use crate::update::journal::{Document, Good, Journal, JournalError};
use crate::update::parcel::ParcelError;
use lineside_bundle::{Digest, ReleaseId};
use lineside_trust::{TrustError, TrustedLogRequest, TrustedReceipt};
use lineside_wire::name::SlotName;
use lineside_wire::v1::Documents;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{mpsc, oneshot, watch};

/// The way to the driver.
#[derive(Clone)]
pub struct Updates {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) versions: watch::Receiver<Versions>,
    pub(super) trouble: watch::Receiver<Option<String>>,
    pub(super) good: watch::Receiver<Option<Good>>,
    /// Where what was accepted is kept; none where updates are off.
    pub(super) journal: Option<Journal>,
}

impl Updates {
    /// Takes documents from the server. False if too many wait already; the server sends them again.
    pub fn deliver(&self, documents: Documents) -> bool {
        self.requests.try_send(Request::Documents(Box::new(documents))).is_ok()
    }

    /// Takes documents and bundles from a file. Answers when the slots have been told.
    ///
    /// # Errors
    /// [`InstallError`].
    pub async fn install(&self, path: PathBuf) -> Result<Installed, InstallError> {
        let (reply, replied) = oneshot::channel();
        let request = Request::Install { path, reply };
        self.requests.send(request).await.map_err(|_| InstallError::Stopping)?;
        replied.await.unwrap_or(Err(InstallError::Stopping))
    }

    /// The server's receipt for a report, from a file, if it has one.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub async fn receipt(&self, path: PathBuf) -> Result<Option<TrustedReceipt>, ReceiptError> {
        let (reply, replied) = oneshot::channel();
        let request = Request::Receipt { path, reply };
        self.requests.send(request).await.map_err(|_| ReceiptError::Stopping)?;
        replied.await.unwrap_or(Err(ReceiptError::Stopping))
    }

    /// What the director asks of this device's log, if the director has signed it.
    ///
    /// # Errors
    /// [`LogRequestError`].
    pub async fn log_request(&self, bytes: Vec<u8>) -> Result<TrustedLogRequest, LogRequestError> {
        let (reply, replied) = oneshot::channel();
        let request = Request::Log { bytes, reply };
        self.requests.send(request).await.map_err(|_| LogRequestError::Stopping)?;
        replied.await.unwrap_or(Err(LogRequestError::Stopping))
    }

    /// Approves a release that is assigned to a slot, as a person beside the device. Gives its name.
    /// Where nobody waits for the answer any more when its turn comes, nothing is approved.
    ///
    /// # Errors
    /// [`ApproveError`].
    pub async fn approve(&self, slot: SlotName, release: Digest) -> Result<String, ApproveError> {
        let (reply, replied) = oneshot::channel();
        let request = Request::Approve { slot, release, reply };
        self.requests.send(request).await.map_err(|_| ApproveError::Stopping)?;
        replied.await.unwrap_or(Err(ApproveError::Stopping))
    }

    /// Versions of what was accepted, and when they change.
    pub fn versions(&self) -> watch::Receiver<Versions> {
        self.versions.clone()
    }

    /// The assignment that this device holds, byte for byte, for a server that has forgotten it; none if
    /// it holds none. Reads the journal.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn assignment(&self) -> Result<Option<Vec<u8>>, JournalError> {
        // One whose director is trusted no longer is still written there, and is not held.
        let holds_one = self.versions.borrow().assignment > 0;
        match self.journal.as_ref().filter(|_| holds_one) {
            Some(journal) => journal.document(Document::Assignment),
            None => Ok(None),
        }
    }

    /// What keeps updates from coming, for people; nothing while they come.
    pub fn trouble(&self) -> Option<String> {
        let refused = self.trouble.borrow().clone();
        refused.or_else(|| stale(self.good.borrow().as_ref()?, now_unix_ms()))
    }
}

/// What the driver is asked.
pub(super) enum Request {
    Documents(Box<Documents>),
    Install {
        path: PathBuf,
        reply: oneshot::Sender<Result<Installed, InstallError>>,
    },
    Receipt {
        path: PathBuf,
        reply: oneshot::Sender<Result<Option<TrustedReceipt>, ReceiptError>>,
    },
    Log {
        bytes: Vec<u8>,
        reply: oneshot::Sender<Result<TrustedLogRequest, LogRequestError>>,
    },
    Approve {
        slot: SlotName,
        release: Digest,
        reply: oneshot::Sender<Result<String, ApproveError>>,
    },
}

/// What a file brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The release of each slot that the assignment names.
    pub slots: BTreeMap<SlotName, String>,
    /// Releases that the file does not hold whole: the rest has to come from the server.
    pub incomplete: Vec<String>,
    /// Releases that cannot be used here, and why: another one has to be assigned.
    pub unusable: BTreeMap<String, String>,
    /// Slots that the assignment names and this device does not have.
    pub unknown: Vec<SlotName>,
}

/// Why a file was not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The file.
    #[error(transparent)]
    Parcel(#[from] ParcelError),
    /// The documents in it.
    #[error("the documents in the file are not accepted{}", cure(.0))]
    Accept(#[from] AcceptError),
    /// The documents in it, which this agent cannot read.
    #[error("the documents in the file are not accepted")]
    Broken(#[from] Broken),
    /// This device takes no updates.
    #[error("{0}")]
    Off(String),
    /// The agent stops.
    #[error("the agent stops")]
    Stopping,
}

/// What a person can do about documents that came in a file, if that is known.
fn cure(error: &AcceptError) -> &'static str {
    match error.is_older() {
        true => {
            " (something newer was accepted before: have it packed again with `lineside device export`)"
        }
        false => "",
    }
}

/// A mistake of ours, over documents that somebody made for it or by chance. What was accepted before
/// holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent broke down over them, which its log tells of")]
pub struct Broken;

/// Why a receipt was not found.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The file.
    #[error(transparent)]
    Parcel(#[from] ParcelError),
    /// It is not to be trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// It is none that this agent can read.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// This device takes no updates.
    #[error("{0}")]
    Off(String),
    /// The agent stops.
    #[error("the agent stops")]
    Stopping,
}

/// Why a request for lines of the log was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LogRequestError {
    /// It is not to be trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// It is none that this agent can read.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// This device trusts nobody.
    #[error("{0}")]
    Off(String),
    /// The agent stops.
    #[error("the agent stops")]
    Stopping,
}

/// Why an approval was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    /// There is nothing to approve.
    #[error("nothing is assigned to slot {0}")]
    Nothing(SlotName),
    /// It is not what a person has looked at.
    #[error("{assigned} is assigned to slot {slot} by now; look at that one first")]
    Another {
        /// The slot.
        slot: SlotName,
        /// The release that it shall hold.
        assigned: ReleaseId,
    },
    /// This device takes no updates.
    #[error("{0}")]
    Off(String),
    /// The agent stops.
    #[error("the agent stops")]
    Stopping,
}

/// Says that the documents which were accepted last are past their date, if they are.
fn stale(good: &Good, now_unix_ms: i64) -> Option<String> {
    if now_unix_ms < good.until_unix_ms {
        return None;
    }
    let until = OffsetDateTime::from_unix_timestamp(good.until_unix_ms / 1000).ok()?;
    let until = until.format(&Rfc3339).ok()?;
    Some(format!(
        "the {} expired at {until} and no newer one has come: nothing new is installed, what runs goes \
         on",
        good.document
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_past_their_date_are_told_by_name_and_date() {
        let good = Good { document: "timestamp".into(), until_unix_ms: 1_764_072_000_000 };
        assert_eq!(stale(&good, good.until_unix_ms - 1), None);
        assert_eq!(
            stale(&good, good.until_unix_ms).unwrap(),
            "the timestamp expired at 2025-11-25T12:00:00Z and no newer one has come: nothing new is \
             installed, what runs goes on"
        );
    }
}
