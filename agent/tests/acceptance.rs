//! What the device believes, over time: new keys, wrong clocks, and somebody else's folder.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod kit;

use kit::{Vendor, echo, in_days};
use lineside_agent::database::Database;
use lineside_agent::fleet;
use lineside_agent::update::acceptance::{Acceptance, RestoreError};
use lineside_agent::update::journal::Journal;
use lineside_bundle::parcel::Papers;
use lineside_trust::{KeyPair, RootSpec, sign_root};
use lineside_wire::v1::Documents;
use ring::rand::SystemRandom;
use std::sync::Arc;
use time::OffsetDateTime;

const DAY_MS: i64 = 86_400_000;

fn now_ms() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp() * 1000
}

fn journal(folder: &tempfile::TempDir) -> Journal {
    let path = folder.path().join("state.redb");
    let open = move || redb::Database::create(&path);
    Journal::open(Arc::new(Database::open(open).unwrap())).unwrap()
}

fn device(vendor: &Vendor) -> (kit::Device, fleet::Device) {
    let device = kit::Device::new(vendor, 0);
    let read = fleet::Device::read(&device.folder.path().join("device")).unwrap();
    (device, read)
}

fn documents(papers: Papers, roots: &[&[u8]]) -> Documents {
    let Papers { releases, assignment, .. } = papers;
    Documents { roots: roots.iter().map(|root| root.to_vec()).collect(), releases, assignment }
}

/// The next root: the same people, another director.
fn next_root(vendor: &Vendor, director: &KeyPair) -> Vec<u8> {
    let spec = RootSpec {
        version: 2,
        expires: in_days(300),
        root: (vec![vendor.person.public()], 1),
        releases: (vec![vendor.releaser.public()], 1),
        online: KeyPair::generate(&SystemRandom::new()).unwrap().public(),
        director: director.public(),
    };
    sign_root(&spec, &[&vendor.person])
}

#[test]
fn a_stolen_director_is_replaced_by_a_new_root_whatever_version_he_has_signed() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    let bundles = std::slice::from_ref(&bundle);
    let (_folder, device) = device(&vendor);
    let folder = tempfile::tempdir().unwrap();
    let mut acceptance = Acceptance::restore(&device, journal(&folder)).unwrap();
    let papers = |vendor: &Vendor, version| vendor.papers(bundles, &bundle, version, "line-3");
    let highest = documents(papers(&vendor, u64::MAX / 2), &[]);
    let verified = acceptance.verify(&highest, now_ms()).unwrap();
    acceptance.accept(verified).unwrap();
    let director = KeyPair::generate(&SystemRandom::new()).unwrap();
    let root = next_root(&vendor, &director);
    let fresh = Vendor { director, ..vendor };
    let next = papers(&fresh, 1);
    let error = acceptance.verify(&documents(next.clone(), &[]), now_ms()).err().unwrap();
    assert!(error.to_string().contains("not signed by enough"), "{error}");
    let verified = acceptance.verify(&documents(next.clone(), &[&root]), now_ms()).unwrap();
    acceptance.accept(verified).unwrap();
    let versions = *acceptance.versions().borrow();
    assert_eq!((versions.root, versions.assignment), (2, 1));
    drop(acceptance);
    // After a restart the new root holds, and the old one sent again changes nothing.
    let acceptance = Acceptance::restore(&device, journal(&folder)).unwrap();
    assert_eq!(acceptance.versions().borrow().root, 2);
    acceptance.verify(&documents(next.clone(), &[&device.root, &root]), now_ms()).unwrap();
    let many: Vec<&[u8]> = vec![&root; 65];
    let error = acceptance.verify(&documents(next, &many), now_ms()).err().unwrap();
    assert!(error.to_string().contains("65 roots"), "{error}");
}

#[test]
fn a_clock_that_goes_back_does_not_bring_expired_documents_back() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    let bundles = std::slice::from_ref(&bundle);
    let (_folder, device) = device(&vendor);
    let folder = tempfile::tempdir().unwrap();
    let mut acceptance = Acceptance::restore(&device, journal(&folder)).unwrap();
    let papers = |version| documents(vendor.papers(bundles, &bundle, version, "line-3"), &[]);
    // The assignment is good for thirty days.
    let late = acceptance.verify(&papers(1), now_ms() + 31 * DAY_MS).err().unwrap();
    assert!(late.to_string().contains("assignment expired"), "{late}");
    let verified = acceptance.verify(&papers(1), now_ms() + 20 * DAY_MS).unwrap();
    acceptance.accept(verified).unwrap();
    drop(acceptance);
    let acceptance = Acceptance::restore(&device, journal(&folder)).unwrap();
    // By its clock of 1970 an assignment that expires today would be fresh; by what the device knows
    // it is twenty days too late.
    let stale = documents(vendor.papers_until(bundles, &bundle, 2, "line-3", in_days(1)), &[]);
    let stale = acceptance.verify(&stale, 0).err().unwrap();
    assert!(stale.to_string().contains("assignment expired"), "{stale}");
    acceptance.verify(&papers(2), 0).unwrap();
    let absurd = acceptance.verify(&papers(2), i64::MAX).err().unwrap();
    assert!(absurd.to_string().contains("cannot be"), "{absurd}");
}

#[test]
fn a_folder_of_another_vendor_is_not_taken_for_the_devices_own() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    let (_folder, first) = device(&vendor);
    let folder = tempfile::tempdir().unwrap();
    let mut acceptance = Acceptance::restore(&first, journal(&folder)).unwrap();
    let papers = vendor.papers(std::slice::from_ref(&bundle), &bundle, 1, "line-3");
    let verified = acceptance.verify(&documents(papers, &[]), now_ms()).unwrap();
    acceptance.accept(verified).unwrap();
    drop(acceptance);
    let (_other_folder, other) = device(&Vendor::new());
    let refused = Acceptance::restore(&other, journal(&folder)).err().unwrap();
    assert!(matches!(refused, RestoreError::Other), "{refused}");
}
