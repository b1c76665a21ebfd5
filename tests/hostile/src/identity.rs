//! What strangers show of who they are: requests for certificates, and certificates.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lineside_identity::{CertificateRequest, Roots, read_chain};
use time::OffsetDateTime;
use time::macros::datetime;

/// A time at which `device.pem` holds.
const NOW: OffsetDateTime = datetime!(2026-11-28 12:00 UTC);
/// An authority whose key nobody has any more, and what it certified: the name and key of `request.pem`.
const AUTHORITY: &str = include_str!("identity/authority.pem");
const CERTIFICATE: &str = include_str!("identity/device.pem");
const REQUEST: &str = include_str!("../../../crates/identity/tests/openssl/request.pem");
const FINGERPRINT: &str = include_str!("../../../crates/identity/tests/openssl/fingerprint.txt");
const DEVICE: &str = "line-3";
/// Characters of a line of PEM (RFC 7468, 2).
const LINE_CHARS: usize = 64;

/// Reads a request for a certificate, in DER. Only who holds the key has written a good one.
pub fn request(input: &[u8]) -> bool {
    let Ok(request) = CertificateRequest::parse(&pem("CERTIFICATE REQUEST", input)) else {
        return false;
    };
    assert_eq!(request.device().as_str(), DEVICE, "another name was signed");
    let key = request.key().fingerprint().to_string();
    assert_eq!(key, FINGERPRINT.trim(), "another key has signed");
    true
}

/// Reads and verifies a certificate, in DER. Only the authority has made a good one, whatever else is asked
/// of it.
pub fn certificate(input: &[u8]) -> bool {
    let fleet = Roots::of_fleet(AUTHORITY).expect("an authority");
    let others = Roots::of_others(AUTHORITY).expect("an authority");
    let believed = [
        fleet.verify(&[input], NOW),
        others.verify(&[input], NOW),
        others.verify_whenever(&[input]),
    ];
    for peer in believed.iter().flatten() {
        assert_eq!(peer.device().as_str(), DEVICE, "another name was certified");
        assert_eq!(peer.key().to_string(), FINGERPRINT.trim(), "another key was certified");
        assert!(peer.validity().holds(NOW), "another time was certified");
    }
    believed.iter().all(Result::is_ok)
}

/// One that OpenSSL has made.
pub(crate) fn requests() -> Vec<Vec<u8>> {
    let base64: String = REQUEST.lines().filter(|line| !line.starts_with('-')).collect();
    vec![STANDARD.decode(base64).expect("a request in PEM")]
}

pub(crate) fn certificates() -> Vec<Vec<u8>> {
    read_chain(CERTIFICATE).expect("a certificate in PEM")
}

fn pem(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let lines: Vec<&str> = base64
        .as_bytes()
        .chunks(LINE_CHARS)
        .map(|line| std::str::from_utf8(line).expect("base 64 is of ASCII"))
        .collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
