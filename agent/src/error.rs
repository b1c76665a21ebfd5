//! Errors in words.

/// An error with its causes, for people.
pub fn chain<E: std::error::Error + Send + Sync + 'static>(error: E) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
