//! Why a document is not trusted.

use lineside_wire::name::DeviceId;

/// Why a document is not trusted. Nothing of it was used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Too large to be one.
    #[error("the {document} has {bytes} bytes, {max} are allowed")]
    Size {
        /// Which document.
        document: &'static str,
        /// Its size in bytes.
        bytes: usize,
        /// What is allowed.
        max: usize,
    },
    /// Not such a document, or a damaged one.
    #[error("the {document} cannot be read: {problem}")]
    Format {
        /// Which document.
        document: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// Not signed by enough of the keys that may.
    #[error("the {document} is not signed by enough of its keys: {problem}")]
    Signature {
        /// Which document.
        document: &'static str,
        /// How many of how many.
        problem: String,
    },
    /// Past its date.
    #[error(
        "the {document} expired at {expired}, it is {now} by the clock here; {}",
        remedy(document)
    )]
    Expired {
        /// Which document.
        document: &'static str,
        /// When.
        expired: String,
        /// What the clock shows, or the latest time that is known to have passed.
        now: String,
    },
    /// Older than what was accepted before.
    #[error(
        "the {document} has version {version}, older than version {seen} accepted before; {}",
        remedy(document)
    )]
    Older {
        /// Which document.
        document: &'static str,
        /// Its version.
        version: u64,
        /// The version accepted before.
        seen: u64,
    },
    /// The same version with other contents: somebody signed two.
    #[error(
        "the {document} of version {version} differs from the one accepted before; {}",
        remedy(document)
    )]
    Differs {
        /// Which document.
        document: &'static str,
        /// The version of both.
        version: u64,
    },
    /// A root that does not follow the one before.
    #[error("the root has version {version}, the next one after {current} is needed")]
    RootSequence {
        /// Its version.
        version: u64,
        /// The trusted one's.
        current: u64,
    },
    /// Something for somebody else.
    #[error("the {document} is for device {named}, this is {device}")]
    OtherDevice {
        /// Which document.
        document: &'static str,
        /// Whom it names.
        named: String,
        /// Who this is.
        device: DeviceId,
    },
    /// An assignment of something that no release key has signed.
    #[error("{target} is assigned, and the release keys have not signed it")]
    NotReleased {
        /// The target's path.
        target: String,
    },
    /// The two documents name different bytes.
    #[error("{target} is assigned with another digest or size than the release keys have signed")]
    Disagree {
        /// The target's path.
        target: String,
    },
}

/// How a new one is made.
fn remedy(document: &str) -> &'static str {
    match document {
        "assignment" => "`lineside assign` has a new one signed",
        "request for log lines" => "`lineside device logs --minutes` asks anew; look at the clock",
        "list of releases" => "`lineside release` signs a new one",
        "role's list" => "whoever holds the keys of the role signs a new one",
        _ => "people with root keys sign a new one",
    }
}
