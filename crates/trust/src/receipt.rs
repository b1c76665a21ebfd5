//! What the server has stored of a report that was carried to it: the device lets go of that.
//!
//! Signed by the director and addressed to one device, as an assignment is. It has no date: what was
//! stored was stored, and a device that nobody visits for years may hear so late. It is no TUF document,
//! so that nobody takes it for one.

use crate::document::{DOCUMENT_BYTES_MAX, envelope, verify_version};
use crate::error::TrustError;
use crate::key::KeyPair;
use crate::root::Root;
use lineside_wire::name::DeviceId;
use lineside_wire::v1::Ack;
use serde::Deserialize;
use serde_json::json;

const DOCUMENT: &str = "receipt";
/// Kept apart from everything else that a key could be made to sign.
const TYPE: &str = "lineside-receipt";
/// Ranges of numbers in a receipt. What finds no place is told again, and received again.
pub const RECEIPT_RANGES_MAX: usize = 4096;

/// What a receipt shall say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptSpec {
    /// Whom it is for.
    pub device: DeviceId,
    /// The number of the report.
    pub number: u64,
    /// What was stored of it.
    pub stored: Vec<Ack>,
}

/// A receipt that the director has signed for this device. Only [`verify_receipt`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedReceipt {
    number: u64,
    stored: Vec<Ack>,
}

impl TrustedReceipt {
    /// The number of the report.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What was stored of it.
    pub fn stored(&self) -> &[Ack] {
        &self.stored
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    _type: String,
    device: String,
    number: u64,
    stored: Vec<Ack>,
}

/// Writes and signs a receipt.
pub fn sign_receipt(spec: &ReceiptSpec, director: &KeyPair) -> Vec<u8> {
    let signed = json!({ "_type": TYPE, "device": spec.device, "number": spec.number,
        "stored": spec.stored });
    envelope(&signed, &[director])
}

/// Verifies a receipt: signature of the director, and device. Whether it is news is for whoever keeps
/// what was received before.
///
/// An expired root does not matter here: it stops what is installed, and a receipt installs nothing.
///
/// # Errors
/// [`TrustError`].
pub fn verify_receipt(
    root: &Root,
    bytes: &[u8],
    device: &DeviceId,
) -> Result<TrustedReceipt, TrustError> {
    let fail = |problem: String| TrustError::Format { document: DOCUMENT, problem };
    let signed = root.signed_by_director(DOCUMENT, bytes, DOCUMENT_BYTES_MAX)?;
    let signed: Signed = serde_json::from_value(signed).map_err(|error| fail(error.to_string()))?;
    let Signed { _type, device: named, number, stored } = signed;
    if _type != TYPE {
        return Err(fail("it is another document".into()));
    }
    if named != device.as_str() {
        let (document, named) = (DOCUMENT, named.chars().take(64).collect());
        return Err(TrustError::OtherDevice { document, named, device: device.clone() });
    }
    verify_version(DOCUMENT, number)?;
    if stored.iter().map(|ack| ack.ranges.len()).sum::<usize>() > RECEIPT_RANGES_MAX {
        return Err(fail(format!("more than {RECEIPT_RANGES_MAX} ranges of numbers")));
    }
    Ok(TrustedReceipt { number, stored })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::{RootSpec, sign_root};
    use crate::{AssignmentSpec, sign_assignment};
    use ring::rand::SystemRandom;
    use std::collections::{BTreeMap, BTreeSet};
    use time::macros::datetime;

    fn key() -> KeyPair {
        KeyPair::generate(&SystemRandom::new()).unwrap()
    }

    /// A root past its date, and its keys of director and releases.
    fn root() -> (Root, KeyPair, KeyPair) {
        let (root_key, releases, director) = (key(), key(), key());
        let spec = RootSpec {
            version: 1,
            expires: datetime!(2001-01-01 0:00 UTC),
            root: (vec![root_key.public()], 1),
            releases: (vec![releases.public()], 1),
            online: key().public(),
            director: director.public(),
        };
        (Root::pin(&sign_root(&spec, &[&root_key])).unwrap(), director, releases)
    }

    fn device(name: &str) -> DeviceId {
        name.parse().unwrap()
    }

    fn spec() -> ReceiptSpec {
        let stored = vec![
            Ack { boot: 7, ranges: vec![(0, 4), (6, 6)] },
            Ack { boot: u64::MAX, ranges: vec![(0, u64::MAX)] },
        ];
        ReceiptSpec { device: device("mill-7"), number: 3, stored }
    }

    #[test]
    fn a_receipt_says_what_was_stored_of_which_report() {
        let (root, director, _) = root();
        let receipt = verify_receipt(&root, &sign_receipt(&spec(), &director), &spec().device);
        let receipt = receipt.unwrap();
        assert_eq!((receipt.number(), receipt.stored()), (3, spec().stored.as_slice()));
    }

    #[test]
    fn a_receipt_for_another_device_or_of_another_key_is_refused() {
        let (root, director, releases) = root();
        let bytes = sign_receipt(&spec(), &director);
        let other = verify_receipt(&root, &bytes, &device("mill-8")).unwrap_err();
        assert_eq!(other.to_string(), "the receipt is for device mill-7, this is mill-8");
        for stranger in [releases, key()] {
            let forged = verify_receipt(&root, &sign_receipt(&spec(), &stranger), &spec().device);
            assert!(matches!(forged, Err(TrustError::Signature { document: "receipt", .. })));
        }
    }

    #[test]
    fn no_byte_of_a_receipt_may_be_missing_or_changed() {
        let (root, director, _) = root();
        let bytes = sign_receipt(&spec(), &director);
        for length in 0..bytes.len() {
            assert!(verify_receipt(&root, &bytes[..length], &spec().device).is_err(), "{length}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(verify_receipt(&root, &changed, &spec().device).is_err(), "byte {at}");
        }
    }

    #[test]
    fn an_assignment_is_no_receipt_and_a_receipt_no_assignment() {
        let (root, director, _) = root();
        let assignment = AssignmentSpec {
            device: spec().device,
            version: 9,
            expires: datetime!(2030-01-01 0:00 UTC),
            slots: BTreeMap::new(),
            approved: BTreeSet::new(),
            again: BTreeMap::new(),
        };
        let assignment = sign_assignment(&assignment, &director);
        let taken = verify_receipt(&root, &assignment, &spec().device);
        assert!(matches!(taken, Err(TrustError::Format { document: "receipt", .. })));
        let receipt = sign_receipt(&spec(), &director);
        let early = datetime!(2000-01-01 0:00 UTC);
        let taken = crate::verify_assignment(&root, &receipt, &spec().device, None, early);
        assert!(matches!(taken, Err(TrustError::Format { document: "assignment", .. })));
    }

    #[test]
    fn a_receipt_may_be_as_large_as_any_document_and_not_a_byte_larger() {
        let (root, director, _) = root();
        let ranges = (0..RECEIPT_RANGES_MAX as u64).map(|n| (2 * n, 2 * n)).collect();
        let stored = vec![Ack { boot: 1, ranges }];
        let mut bytes = sign_receipt(&ReceiptSpec { stored, ..spec() }, &director);
        bytes.resize(DOCUMENT_BYTES_MAX, b' ');
        let taken = verify_receipt(&root, &bytes, &spec().device).unwrap();
        assert_eq!(taken.stored()[0].ranges.len(), RECEIPT_RANGES_MAX);
        bytes.push(b' ');
        let refused = verify_receipt(&root, &bytes, &spec().device);
        assert!(
            matches!(refused, Err(TrustError::Size { document: "receipt", .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn a_receipt_of_countless_ranges_or_of_no_countable_report_is_refused() {
        let (root, director, _) = root();
        let refused = |spec: ReceiptSpec| {
            let refused = verify_receipt(&root, &sign_receipt(&spec, &director), &spec.device);
            assert!(matches!(refused, Err(TrustError::Format { .. })), "{refused:?}");
        };
        let ranges = (0..=RECEIPT_RANGES_MAX as u64).map(|n| (2 * n, 2 * n)).collect();
        refused(ReceiptSpec { stored: vec![Ack { boot: 1, ranges }], ..spec() });
        refused(ReceiptSpec { number: crate::VERSION_MAX + 1, ..spec() });
    }
}
