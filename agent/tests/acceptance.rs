//! What the device believes, over time: new keys, wrong clocks, and somebody else's folder.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod kit;

use kit::{Vendor, echo, in_days};
use lineside_agent::database::Database;
use lineside_agent::fleet;
use lineside_agent::update::acceptance::{Acceptance, RestoreError};
use lineside_agent::update::journal::Journal;
use lineside_bundle::parcel::Papers;
use lineside_trust::{
    AssignmentSpec, KeyPair, ReleasesDraft, Root, RootSpec, VERSION_MAX, sign_assignment,
    sign_root, verify_releases,
};
use lineside_wire::v1::Documents;
use ring::rand::SystemRandom;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use time::OffsetDateTime;

const DAY_MS: i64 = 86_400_000;

fn key() -> KeyPair {
    KeyPair::generate(&SystemRandom::new()).unwrap()
}

fn now_ms() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp() * 1000
}

fn journal(folder: &tempfile::TempDir) -> Journal {
    let path = folder.path().join("state.redb");
    let open = move || redb::Database::create(&path);
    Journal::open(Arc::new(Database::open(open).unwrap())).unwrap()
}

fn restore(device: &fleet::Device, folder: &tempfile::TempDir) -> Acceptance {
    Acceptance::restore(device, journal(folder)).unwrap()
}

/// A device that has accepted its first documents, with its journal in the folder.
fn accepted(vendor: &Vendor) -> (fleet::Device, tempfile::TempDir) {
    let (_device, device) = device(vendor);
    let folder = tempfile::tempdir().unwrap();
    let mut acceptance = restore(&device, &folder);
    let bundle = echo("1", "");
    let papers = vendor.papers(std::slice::from_ref(&bundle), &bundle, 1, "line-3");
    let verified = acceptance.verify(&documents(papers, &[]), now_ms()).unwrap();
    acceptance.accept(verified).unwrap();
    (device, folder)
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

/// The next root: the same person, other keys for the rest.
fn next_root(vendor: &Vendor, releaser: &KeyPair, director: &KeyPair) -> Vec<u8> {
    root(2, vendor, releaser, director)
}

fn root(version: u64, vendor: &Vendor, releaser: &KeyPair, director: &KeyPair) -> Vec<u8> {
    let spec = RootSpec {
        version,
        expires: in_days(300),
        root: (vec![vendor.person.public()], 1),
        releases: (vec![releaser.public()], 1),
        online: key().public(),
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
    let mut acceptance = restore(&device, &folder);
    let papers = |vendor: &Vendor, version| vendor.papers(bundles, &bundle, version, "line-3");
    let highest = documents(papers(&vendor, VERSION_MAX), &[]);
    let verified = acceptance.verify(&highest, now_ms()).unwrap();
    acceptance.accept(verified).unwrap();
    let director = key();
    let root = next_root(&vendor, &vendor.releaser, &director);
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
    let mut acceptance = restore(&device, &folder);
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
    let mut acceptance = restore(&device, &folder);
    let papers = |version| documents(vendor.papers(bundles, &bundle, version, "line-3"), &[]);
    // The assignment is good for thirty days.
    let late = acceptance.verify(&papers(1), now_ms() + 31 * DAY_MS).err().unwrap();
    assert!(late.to_string().contains("assignment expired"), "{late}");
    let verified = acceptance.verify(&papers(1), now_ms() + 20 * DAY_MS).unwrap();
    acceptance.accept(verified).unwrap();
    drop(acceptance);
    let mut acceptance = restore(&device, &folder);
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
fn stolen_release_keys_are_replaced_by_a_new_root_whatever_version_they_have_signed() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    let (device, folder) = accepted(&vendor);
    let mut acceptance = restore(&device, &folder);
    let first = vendor.papers(std::slice::from_ref(&bundle), &bundle, 2, "line-3");
    let trusted = Root::pin(&device.root).unwrap();
    let trusted = verify_releases(&trusted, &first.releases, None, OffsetDateTime::now_utc());
    let later = ReleasesDraft::after(Some(&trusted.unwrap()));
    let releases = later.sign(in_days(200), &[&vendor.releaser]);
    let stolen = Papers { releases, ..first.clone() };
    let verified = acceptance.verify(&documents(stolen, &[]), now_ms()).unwrap();
    acceptance.accept(verified).unwrap();
    assert_eq!(acceptance.versions().borrow().releases, 2);
    let error = acceptance.verify(&documents(first, &[]), now_ms()).err().unwrap();
    assert!(error.to_string().contains("older than version 2"), "{error}");
    let releaser = key();
    let root = next_root(&vendor, &releaser, &vendor.director);
    let fresh = Vendor { releaser, ..vendor };
    let next = fresh.papers(std::slice::from_ref(&bundle), &bundle, 3, "line-3");
    let verified = acceptance.verify(&documents(next, &[&root]), now_ms()).unwrap();
    acceptance.accept(verified).unwrap();
    let versions = *acceptance.versions().borrow();
    assert_eq!((versions.root, versions.releases, versions.assignment), (2, 1, 3));
}

#[test]
fn a_new_root_is_kept_whatever_comes_of_the_documents_beside_it() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    let (device, folder) = accepted(&vendor);
    let mut acceptance = restore(&device, &folder);
    let root = next_root(&vendor, &vendor.releaser, &key());
    let old = vendor.papers(std::slice::from_ref(&bundle), &bundle, 2, "line-3");
    let revoked = "the assignment is not signed by enough of its keys: 0 of the 1 needed";
    let error = acceptance.verify(&documents(old.clone(), &[&root]), now_ms()).err().unwrap();
    assert_eq!(error.to_string(), revoked);
    // Without the root in the delivery, and after a restart: the old director has no say any more.
    let error = acceptance.verify(&documents(old.clone(), &[]), now_ms()).err().unwrap();
    assert_eq!(error.to_string(), revoked);
    drop(acceptance);
    let mut acceptance = restore(&device, &folder);
    assert_eq!(acceptance.versions().borrow().root, 2);
    let error = acceptance.verify(&documents(old, &[]), now_ms()).err().unwrap();
    assert_eq!(error.to_string(), revoked);
}

#[test]
fn a_folder_of_another_vendor_is_never_taken_for_the_devices_own() {
    let vendor = Vendor::new();
    let (device, folder) = accepted(&vendor);
    let (_other_folder, other) = self::device(&Vendor::new());
    let refused =
        |device: &fleet::Device| Acceptance::restore(device, journal(&folder)).err().unwrap();
    assert!(matches!(refused(&other), RestoreError::OtherRoot));
    // Nor after the roots have been followed, when the one of the folder is an older one anyway.
    let bundle = echo("1", "");
    let papers = vendor.papers(std::slice::from_ref(&bundle), &bundle, 2, "line-3");
    let second = next_root(&vendor, &vendor.releaser, &vendor.director);
    let third = root(3, &vendor, &vendor.releaser, &vendor.director);
    let mut acceptance = restore(&device, &folder);
    acceptance.verify(&documents(papers, &[&second, &third]), now_ms()).unwrap();
    drop(acceptance);
    assert!(matches!(refused(&other), RestoreError::OtherRoot));
    assert_eq!(restore(&device, &folder).versions().borrow().root, 3);
}

#[test]
fn a_folder_that_was_made_after_a_new_root_fits_the_device_as_well() {
    let vendor = Vendor::new();
    let (device, folder) = accepted(&vendor);
    let second = next_root(&vendor, &vendor.releaser, &key());
    let made_later = fleet::Device { root: second, ..device.clone() };
    assert_eq!(restore(&made_later, &folder).versions().borrow().root, 2);
    // Two at once cannot be followed without the one between.
    let third = root(3, &vendor, &vendor.releaser, &key());
    let too_late = fleet::Device { root: third, ..device };
    let refused = Acceptance::restore(&too_late, journal(&folder)).err().unwrap();
    assert!(matches!(refused, RestoreError::OtherRoot), "{refused}");
}

#[test]
fn a_state_folder_that_was_copied_to_another_device_is_refused() {
    let vendor = Vendor::new();
    let (device, folder) = accepted(&vendor);
    let other = fleet::Device { id: "line-4".parse().unwrap(), ..device };
    let refused = Acceptance::restore(&other, journal(&folder)).err().unwrap();
    assert!(matches!(refused, RestoreError::OtherDevice { .. }), "{refused}");
    let said = refused.to_string();
    assert!(said.contains("line-3") && said.contains("line-4"), "{said}");
}

#[test]
fn an_approval_is_kept_with_its_assignment_and_ends_with_it() {
    let vendor = Vendor::new();
    let (device, folder) = accepted(&vendor);
    let bundle = echo("1", "");
    let papers = |version: u64, approved: &[&str]| {
        let spec = AssignmentSpec {
            device: device.id.clone(),
            version,
            expires: in_days(30),
            slots: BTreeMap::from([("echo".parse().unwrap(), bundle.release_id())]),
            approved: approved.iter().map(|slot| slot.parse().unwrap()).collect(),
        };
        let papers = vendor.papers(std::slice::from_ref(&bundle), &bundle, version, "line-3");
        Papers { assignment: sign_assignment(&spec, &vendor.director), ..papers }
    };
    let marked = BTreeSet::from(["echo".parse().unwrap()]);
    let mut acceptance = restore(&device, &folder);
    for (version, approved, wanted) in
        [(2, &["echo"][..], marked.clone()), (3, &[], BTreeSet::new()), (4, &["echo"], marked)]
    {
        let verified = acceptance.verify(&documents(papers(version, approved), &[]), now_ms());
        acceptance.accept(verified.unwrap()).unwrap();
        assert_eq!(*acceptance.approved(), wanted, "assignment {version}");
    }
    drop(acceptance);
    assert_eq!(restore(&device, &folder).approved().len(), 1, "a start does not forget it");
}
