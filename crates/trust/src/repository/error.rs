//! Why a repository is not followed any further.

use sigstore_tuf::Error;

/// What a mirror or a shelf says of its failure.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Why a repository is not followed any further. Documents go by their names there: `snapshot.json`.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The mirror gave no answer.
    #[error("cannot fetch {document}")]
    Mirror {
        /// Which document.
        document: String,
        /// What the mirror says.
        source: Fault,
    },
    /// The mirror has no such document.
    #[error("the repository has no {document}")]
    Absent {
        /// Which document.
        document: String,
    },
    /// Too large to be one.
    #[error("{document} has {bytes} bytes or more, {max} are allowed")]
    Size {
        /// Which document.
        document: String,
        /// What arrived, in bytes.
        bytes: u64,
        /// What is allowed.
        max: u64,
    },
    /// What is trusted could not be read or written down here.
    #[error("cannot {task} {document} here")]
    Shelf {
        /// `read` or `keep`.
        task: &'static str,
        /// Which document.
        document: String,
        /// What the shelf says.
        source: Fault,
    },
    /// Not such a document, a damaged one, or not the one that was promised.
    #[error("{document} cannot be used: {problem}")]
    Format {
        /// Which document.
        document: String,
        /// What is wrong.
        problem: String,
    },
    /// Not signed by enough of the keys that may.
    #[error("{document} is not signed by enough of its keys: {problem}")]
    Signature {
        /// Which document.
        document: String,
        /// How many of how many.
        problem: String,
    },
    /// Past its date.
    #[error("{document}: role {role} expired at {expired}")]
    Expired {
        /// The document that was at hand.
        document: String,
        /// Whose metadata expired.
        role: String,
        /// When.
        expired: String,
    },
    /// Older than what was accepted before.
    #[error("{document} goes back: {part} has version {version}, version {seen} was accepted")]
    Older {
        /// Which document.
        document: String,
        /// What of it.
        part: String,
        /// Its version.
        version: u64,
        /// The version accepted before.
        seen: u64,
    },
    /// A root that does not follow the one before.
    #[error("the root has version {version}, the next one after {current} is needed")]
    RootSequence {
        /// Its version.
        version: u64,
        /// The trusted one's.
        current: u64,
    },
    /// Nothing may be asked, because the last refresh did not succeed or there was none.
    #[error("the repository was not refreshed")]
    NotFresh,
}

impl RepositoryError {
    /// What the core says of `document`, the one at hand.
    pub(super) fn of(document: &str, error: Error) -> RepositoryError {
        let document = document.to_owned();
        match error {
            Error::Expired { role, expires } => {
                RepositoryError::Expired { document, role, expired: expires.to_string() }
            }
            Error::Rollback { role, trusted, new } => {
                RepositoryError::Older { document, part: role, version: new, seen: trusted }
            }
            Error::BadRootVersion { trusted, new } => {
                RepositoryError::RootSequence { version: new, current: trusted }
            }
            Error::ThresholdNotMet { found, threshold, .. } => {
                let problem = format!("{found} of the {threshold} needed");
                RepositoryError::Signature { document, problem }
            }
            Error::NotRefreshed => RepositoryError::NotFresh,
            other => {
                let mut problem = other.to_string();
                let mut cause = std::error::Error::source(&other);
                while let Some(error) = cause {
                    problem = format!("{problem}: {error}");
                    cause = error.source();
                }
                RepositoryError::Format { document, problem }
            }
        }
    }
}
