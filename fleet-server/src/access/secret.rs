//! Random texts and numbers, and comparing them without telling how far they agree.

use crate::error::Error;
use lineside_bundle::Digest;
use ring::rand::{SecureRandom, SystemRandom};
use std::io;

/// 32 random bytes as 64 hex digits.
///
/// # Errors
/// [`Error::File`] if the machine gives no randomness.
pub(crate) fn random_hex() -> Result<String, Error> {
    Ok(Digest::from(random()?).hex())
}

/// A random number from 1 to 2^53, which every reader of JSON keeps as it is.
///
/// # Errors
/// [`Error::File`] if the machine gives no randomness.
pub(crate) fn random_number() -> Result<u64, Error> {
    Ok((u64::from_le_bytes(random()?) >> 11) + 1)
}

/// A random identifier in the usual form (RFC 9562, version 4).
///
/// # Errors
/// [`Error::File`] if the machine gives no randomness.
pub(crate) fn random_uuid() -> Result<String, Error> {
    let mut bytes: [u8; 16] = random()?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Ok(parts.join("-"))
}

/// So many random bytes.
///
/// # Errors
/// [`Error::File`] if the machine gives no randomness.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::File {
        doing: "read random bytes from the system".into(),
        source: io::Error::other("it gave none"),
    })?;
    Ok(bytes)
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
    use std::collections::BTreeSet;

    #[test]
    fn secrets_are_long_and_never_the_same() {
        let (one, other) = (random_hex().unwrap(), random_hex().unwrap());
        assert_eq!(one.len(), 64);
        assert!(!same(&one, &other) && same(&one, &one.clone()));
        assert!(!same("", "a") && !same("a", "ab"));
    }

    #[test]
    fn identifiers_have_the_usual_form() {
        let (one, other) = (random_uuid().unwrap(), random_uuid().unwrap());
        assert_ne!(one, other);
        let lengths: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(&one[14..15], "4");
        assert!("89ab".contains(&one[19..20]), "{one}");
    }

    #[test]
    fn numbers_are_never_the_same_and_never_none() {
        let numbers: BTreeSet<u64> = (0..1000).map(|_| random_number().unwrap()).collect();
        assert_eq!(numbers.len(), 1000);
        assert!(numbers.iter().all(|number| (1..=1 << 53).contains(number)));
    }
}
