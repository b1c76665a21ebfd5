//! What would go to the server, for a file that somebody carries there.

use crate::error::chain;
use crate::fleet::device::{Device, DeviceError};
use crate::fleet::status::Reporter;
use crate::telemetry::TelemetryHandle;
use crate::telemetry::spool::SpoolError;
use crate::update::driver::Updates;
use crate::update::journal::JournalError;
use lineside_trust::{REPORT_BYTES_MAX, seal_report};
use lineside_wire::envelope::{self, EnvelopeError};
use lineside_wire::v1::Reminder;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tokio::task::block_in_place;

/// Bytes of a report that are kept for its head, the status and the lengths of messages.
const OTHER_BYTES: usize = 2 << 20;

/// What a report holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The device.
    pub device: String,
    /// Counts its reports.
    pub number: u64,
    /// Events and intervals in it.
    pub records: usize,
    /// Whether more wait than found a place.
    pub more: bool,
    /// Its size in bytes.
    pub bytes: usize,
}

/// What became of the server's receipt for a report, which came back in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Receipt {
    /// What the server has stored is not told again.
    Taken {
        /// The number of the report.
        report: u64,
        /// Events and intervals that the spool has let go of.
        records: usize,
    },
    /// It is not to be trusted, or no news. Nothing was let go of.
    Refused(String),
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// The folder that the device was installed with.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// What waits cannot be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The status cannot be written.
    #[error("the status cannot be written")]
    Status(#[from] EnvelopeError),
    /// What was accepted cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Writes reports.
pub struct Carrier {
    /// The folder that the device was installed with.
    pub device_dir: PathBuf,
    /// Makes a status of what the slots hold.
    pub reporter: Reporter,
    /// What was accepted last.
    pub updates: Updates,
    /// What waits for the server.
    pub telemetry: TelemetryHandle,
}

impl Carrier {
    /// Writes a report of the status and of all that waits for the server, and signs it.
    ///
    /// # Errors
    /// [`CarryError`].
    pub async fn report(&self) -> Result<(Carried, Vec<u8>), CarryError> {
        // Read anew each time: the folder may have been made again while the agent runs.
        let device = Device::name(&self.device_dir)?;
        let key = Device::report_key(&self.device_dir)?;
        let (load, waiting) = self.telemetry.load(REPORT_BYTES_MAX - OTHER_BYTES).await?;
        let versions = *self.updates.versions().borrow();
        let mut messages = vec![envelope::encode(&self.reporter.status(versions))?];
        // For a server that was set back since: it cannot ask.
        if let Some(assignment) = block_in_place(|| self.updates.assignment())? {
            messages.push(envelope::encode(&Reminder { assignment })?);
        }
        messages.extend(waiting);
        let bytes = seal_report(&device, load.number, &messages, &key);
        let carried = Carried {
            device: device.to_string(),
            number: load.number,
            records: load.records,
            more: load.more,
            bytes: bytes.len(),
        };
        Ok((carried, bytes))
    }

    /// Takes the server's receipt out of the file at `path`, if it has one.
    pub(crate) async fn receipt(&self, path: PathBuf) -> Option<Receipt> {
        let receipt = match self.updates.receipt(path).await {
            Ok(receipt) => receipt?,
            Err(error) => return Some(Receipt::Refused(chain(error))),
        };
        let report = receipt.number();
        Some(match self.telemetry.received(receipt).await {
            Ok(records) => Receipt::Taken { report, records },
            Err(error) => Receipt::Refused(chain(error)),
        })
    }

    /// As [`Carrier::report`], with the reason in words.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) async fn told(&self) -> Result<(Carried, Vec<u8>), String> {
        self.report().await.map_err(chain)
    }
}
