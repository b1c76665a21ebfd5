//! Why something was not done.

use crate::bounds::HTTP_BYTES_PER_SECOND_MIN;
use crate::store::is_full;
use lineside_trust::repository::RepositoryError;
use lineside_trust::{AgreeError, TrustError};
use sea_orm::DbErr;
use std::io;

/// Why something was not done. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It makes no sense.
    #[error("{0}")]
    Malformed(String),
    /// The caller did not show who he is.
    #[error("{0}")]
    Stranger(String),
    /// The caller is known, and this is not for him.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such thing.
    #[error("{0}")]
    Missing(String),
    /// It does not fit what is there.
    #[error("{0}")]
    Conflict(String),
    /// A document or artifact is not as it must be.
    #[error("{0}")]
    Refused(String),
    /// A document is not trusted.
    #[error(transparent)]
    Untrusted(#[from] TrustError),
    /// The repository cannot be followed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// More than is taken.
    #[error("{0}")]
    TooLarge(String),
    /// A part of a file that it does not have.
    #[error("the blob has {size} bytes, the range asked for is not in it")]
    Range {
        /// Size of the blob in bytes.
        size: u64,
    },
    /// A piece of an upload that does not begin where the upload ends.
    #[error("the upload has {size} bytes: the next piece begins there")]
    OutOfPlace {
        /// What has come of it, in bytes.
        size: u64,
    },
    /// It is being made.
    #[error("{what} are being made: ask again in {seconds} seconds")]
    NotYet {
        /// What.
        what: &'static str,
        /// When to ask again.
        seconds: u64,
    },
    /// Somebody asks too often.
    #[error("{0}")]
    TooOften(String),
    /// The database failed. Its cause is for the log alone: it may quote what is in a row.
    #[error("the database failed, see the server's log")]
    Database(#[from] DbErr),
    /// A file could not be read or written.
    #[error("cannot {doing}")]
    File {
        /// Doing what, on which file.
        doing: String,
        /// Why.
        source: io::Error,
    },
}

impl From<AgreeError> for Error {
    fn from(error: AgreeError) -> Error {
        match error {
            AgreeError::Repository(error) => error.into(),
            AgreeError::Trust(error) => error.into(),
        }
    }
}

impl Error {
    /// An error of the file system while `doing` something.
    pub(crate) fn file(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let doing = doing.into();
        move |source| Error::File { doing, source }
    }

    /// What somebody sends so slowly that it would keep his place from others for ever.
    pub(crate) fn too_slow() -> Error {
        let least = HTTP_BYTES_PER_SECOND_MIN;
        Error::Malformed(format!("it comes too slowly: at least {least} bytes a second are wanted"))
    }

    /// What is told to whoever asked for it: the error with its causes, unless they are for the
    /// log alone.
    pub(crate) fn told(&self) -> String {
        match self {
            Error::Database(cause) if is_full(&cause.to_string()) => {
                "the server's disk is full: make room there".into()
            }
            Error::Database(_) => self.to_string(),
            other => chain(other),
        }
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
