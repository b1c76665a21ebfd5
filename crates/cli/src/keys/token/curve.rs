//! How tokens write curves and points (PKCS #11 3.1, 6.3), and how they are read here.

use lineside_trust::{KeyKind, PublicKey};

/// Object identifier of P-256, 1.2.840.10045.3.1.7 (RFC 5480).
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// Object identifier of Ed25519, 1.3.101.112 (RFC 8410).
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// Its name as version 3.0 wanted it: the PrintableString `edwards25519`.
const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";

const OCTET_STRING: u8 = 4;
const BIT_STRING: u8 = 3;

/// What to call the curve of a kind of key, in the order in which tokens are tried with it.
pub fn parameters(kind: KeyKind) -> &'static [&'static [u8]] {
    match kind {
        KeyKind::Ed25519 => &[ED25519, ED25519_NAME],
        KeyKind::P256 => &[P256],
    }
}

/// The public key of curve and point as a token has them, if it is of a kind that signs documents.
pub fn public_key(parameters: &[u8], point: &[u8]) -> Option<PublicKey> {
    let (kind, length) = match parameters {
        P256 => (KeyKind::P256, 65),
        ED25519 | ED25519_NAME => (KeyKind::Ed25519, 32),
        _ => return None,
    };
    PublicKey::of_point(kind, bare(point, length)?).ok()
}

/// A point of this many bytes that some tokens wrap in an octet string, some in a bit string, and
/// some not at all.
fn bare(point: &[u8], length: usize) -> Option<&[u8]> {
    let wrapped = u8::try_from(length).ok()?;
    let (heads, point) = point.split_at_checked(point.len().checked_sub(length)?)?;
    let is_head = match *heads {
        [] => true,
        [tag, bytes] => (tag, bytes) == (OCTET_STRING, wrapped),
        [tag, bytes, unused] => (tag, bytes, unused) == (BIT_STRING, wrapped + 1, 0),
        _ => false,
    };
    is_head.then_some(point)
}

/// Bytes in hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that hex digits stand for.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| digit.try_into().ok()))
        .collect();
    let digits = digits.filter(|digits| !digits.is_empty() && digits.len().is_multiple_of(2))?;
    Some(digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_the_same_however_a_token_wraps_it() {
        let bare = [7; 32];
        let key = PublicKey::of_point(KeyKind::Ed25519, &bare).unwrap();
        for head in [&[][..], &[4, 32], &[3, 33, 0]] {
            for name in [ED25519, ED25519_NAME] {
                let point = [head, &bare].concat();
                assert_eq!(public_key(name, &point), Some(key.clone()), "{head:?}");
            }
        }
        let bare = [vec![4], vec![9; 64]].concat();
        let key = PublicKey::of_point(KeyKind::P256, &bare).unwrap();
        for head in [&[][..], &[4, 65], &[3, 66, 0]] {
            assert_eq!(public_key(P256, &[head, &bare].concat()), Some(key.clone()), "{head:?}");
        }
    }

    #[test]
    fn other_curves_and_points_cut_short_are_no_keys() {
        // P-384, 1.3.132.0.34.
        assert_eq!(public_key(&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22], &[4; 97]), None);
        for point in [&[7; 31][..], &[4; 33], &[4, 31, 7], &[], &[3, 33, 1]] {
            assert_eq!(public_key(ED25519, point), None, "{point:?}");
        }
        let wrong_head = [vec![4, 33], vec![7; 32]].concat();
        assert_eq!(public_key(ED25519, &wrong_head), None);
    }

    #[test]
    fn hex_digits_go_there_and_back() {
        assert_eq!(unhex(&hex(&[0, 0xab, 0xff])), Some(vec![0, 0xab, 0xff]));
        for odd in ["", "0", "0g"] {
            assert_eq!(unhex(odd), None, "{odd}");
        }
    }
}
