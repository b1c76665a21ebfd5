//! Random texts, and comparing them without telling how far they agree.

use crate::error::Error;
use lineside_bundle::Digest;
use ring::rand::{SecureRandom, SystemRandom};
use std::io;

/// 32 random bytes as 64 hex digits.
///
/// # Errors
/// [`Error::File`] if the machine gives no randomness.
pub(crate) fn random_hex() -> Result<String, Error> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::File {
        doing: "read random bytes from the system".into(),
        source: io::Error::other("it gave none"),
    })?;
    Ok(Digest::from(bytes).hex())
}

/// Whether two texts are equal. Their digests are compared, all bytes of them: how long that takes
/// says nothing of the texts.
pub(crate) fn same(left: &str, right: &str) -> bool {
    let (left, right) = (Digest::of(left.as_bytes()).bytes(), Digest::of(right.as_bytes()).bytes());
    left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_and_never_the_same() {
        let (one, other) = (random_hex().unwrap(), random_hex().unwrap());
        assert_eq!(one.len(), 64);
        assert!(!same(&one, &other) && same(&one, &one.clone()));
        assert!(!same("", "a") && !same("a", "ab"));
    }
}
