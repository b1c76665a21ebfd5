//! What the device believes, over time: new keys, wrong clocks, and somebody else's folder.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod kit;

use kit::{Fresh, Vendor, echo, in_days};
use lineside_agent::database::Database;
use lineside_agent::fleet;
use lineside_agent::update::acceptance::{Acceptance, RestoreError};
use lineside_agent::update::journal::Journal;
use lineside_bundle::parcel::Papers;
use lineside_bundle::{BuiltBundle, Digest};
use lineside_trust::{
    AssignmentSpec, Delegation, KeyPair, PublicKey, ReleasesDraft, Root, RootSpec, TargetsSpec,
    VERSION_MAX, sign_assignment, sign_root, sign_targets, verify_releases,
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
    let Papers { mut metadata, assignment, files, .. } = papers;
    for root in roots {
        let version = Root::pin(root).unwrap().version();
        metadata.push((format!("{version}.root.json"), root.to_vec()));
    }
    Documents { metadata, assignment, files }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// What is said to whoever brings these documents, which must not be accepted.
fn refused(acceptance: &mut Acceptance, documents: &Documents) -> String {
    let error = acceptance.verify(documents, now_ms()).err();
    error.expect("this is never accepted").to_string()
}

/// Whether it is said that the snapshot lists the first version of `document` again.
fn goes_back(said: &str, document: &str) -> bool {
    said.contains(&format!("snapshot.json goes back: {document}"))
        && said.contains(" has version 1, ")
}

fn accept(acceptance: &mut Acceptance, documents: &Documents) {
    let verified = acceptance.verify(documents, now_ms()).unwrap();
    acceptance.accept(verified).unwrap();
}

/// The list of releases that follows `list`, with this one more.
fn next_list(vendor: &Vendor, list: &[u8], version: &str) -> Vec<u8> {
    let root = Root::pin(&vendor.root).unwrap();
    let trusted = verify_releases(&root, list, None, now()).unwrap();
    let mut draft = ReleasesDraft::after(Some(&trusted));
    draft.add(echo(version, "").release_id(), None).unwrap();
    draft.sign(in_days(200), &[&vendor.releaser])
}

/// The next root: the same person, other keys for the rest.
fn next_root(vendor: &Vendor, releaser: &KeyPair, director: &KeyPair) -> Vec<u8> {
    root(2, vendor, releaser, director)
}

fn root(version: u64, vendor: &Vendor, releaser: &KeyPair, director: &KeyPair) -> Vec<u8> {
    root_with(version, vendor, releaser, director, vendor.online.public())
}

fn root_with(
    version: u64,
    vendor: &Vendor,
    releaser: &KeyPair,
    director: &KeyPair,
    online: PublicKey,
) -> Vec<u8> {
    let spec = RootSpec {
        version,
        expires: in_days(300),
        root: (vec![vendor.person.public()], 1),
        releases: (vec![releaser.public()], 1),
        online,
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
    acceptance.verify(&documents(next, &[&device.root, &root]), now_ms()).unwrap();
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
    let list = vendor.list(std::slice::from_ref(&bundle));
    let stolen = vendor.metadata(&next_list(&vendor, &list, "2"), &[]);
    accept(&mut acceptance, &documents(Papers { metadata: stolen, ..first.clone() }, &[]));
    assert_eq!(acceptance.versions().borrow().releases, 2);
    let back = vendor.papers(std::slice::from_ref(&bundle), &bundle, 2, "line-3");
    let back = refused(&mut acceptance, &documents(back, &[]));
    assert!(goes_back(&back, "targets.json"), "{back}");
    // The online key goes with them: a snapshot never lists less than the one before.
    let (releaser, online) = (key(), key());
    let root = root_with(2, &vendor, &releaser, &vendor.director, online.public());
    let fresh = Vendor { releaser, online, ..vendor };
    fresh.signed.set(0);
    let next = fresh.papers(std::slice::from_ref(&bundle), &bundle, 3, "line-3");
    accept(&mut acceptance, &documents(next, &[&root]));
    let versions = *acceptance.versions().borrow();
    assert_eq!((versions.root, versions.releases, versions.assignment), (2, 1, 3));
    assert_eq!(versions.timestamp, 1);
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
fn what_the_stolen_keys_have_signed_is_taken_back_as_soon_as_their_successors_are_known() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    for (releaser, director) in [(Some(key()), None), (None, Some(key()))] {
        let (device, folder) = accepted(&vendor);
        let mut acceptance = restore(&device, &folder);
        let old = vendor.papers(std::slice::from_ref(&bundle), &bundle, 2, "line-3");
        // What is refused takes nothing back by itself.
        refused(
            &mut acceptance,
            &Documents { assignment: b"{}".to_vec(), ..documents(old.clone(), &[]) },
        );
        acceptance.take_back().unwrap();
        assert_eq!((acceptance.targets().len(), acceptance.withdrawn().len()), (1, 0));
        let releaser = releaser.as_ref().unwrap_or(&vendor.releaser);
        let director = director.as_ref().unwrap_or(&vendor.director);
        let root = next_root(&vendor, releaser, director);
        refused(&mut acceptance, &documents(old, &[&root]));
        // The power may go before anything follows from it.
        drop(acceptance);
        let mut acceptance = restore(&device, &folder);
        acceptance.take_back().unwrap();
        assert_eq!(acceptance.targets().len(), 0);
        let withdrawn = acceptance.withdrawn().values().next().unwrap().clone();
        assert_eq!(withdrawn.release, bundle.release_id());
        drop(acceptance);
        let acceptance = restore(&device, &folder);
        assert_eq!(acceptance.withdrawn().values().next(), Some(&withdrawn));
    }
}

#[test]
fn another_bundle_of_the_same_size_under_the_same_name_is_not_what_was_accepted() {
    let vendor = Vendor::new();
    let (_folder, device) = device(&vendor);
    let folder = tempfile::tempdir().unwrap();
    let mut acceptance = restore(&device, &folder);
    let [one, other] = [7, 8].map(|frames| echo("1", &format!("[trial]\nframes = {frames}\n")));
    assert_eq!(one.release_id().size, other.release_id().size);
    let papers = vendor.papers(std::slice::from_ref(&one), &one, 1, "line-3");
    accept(&mut acceptance, &documents(papers, &[]));
    let (releaser, online) = (key(), key());
    let root = root_with(2, &vendor, &releaser, &vendor.director, online.public());
    let fresh = Vendor { releaser, online, ..vendor };
    fresh.signed.set(0);
    let papers = fresh.papers(std::slice::from_ref(&other), &other, 2, "line-3");
    let papers = Papers { assignment: b"{}".to_vec(), ..papers };
    refused(&mut acceptance, &documents(papers, &[&root]));
    acceptance.take_back().unwrap();
    assert_eq!(acceptance.targets().len(), 0);
    let withdrawn = acceptance.withdrawn().values().next().unwrap();
    assert_eq!(withdrawn.release, one.release_id());
}

#[test]
fn a_list_that_is_announced_and_withheld_takes_nothing_back() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    let (device, folder) = accepted(&vendor);
    let mut acceptance = restore(&device, &folder);
    let list = next_list(&vendor, &vendor.list(std::slice::from_ref(&bundle)), "2");
    let mut papers = vendor.papers(std::slice::from_ref(&bundle), &bundle, 2, "line-3");
    papers.metadata = vendor.metadata(&list, &[]);
    papers.metadata.retain(|(name, _)| name == "timestamp.json");
    refused(&mut acceptance, &documents(papers, &[]));
    acceptance.take_back().unwrap();
    assert_eq!((acceptance.targets().len(), acceptance.withdrawn().len()), (1, 0));
}

#[test]
fn a_list_that_is_gone_from_the_shelf_takes_nothing_back() {
    let vendor = Vendor::new();
    let (device, folder) = accepted(&vendor);
    let kept = journal(&folder);
    kept.accept(&kept.accepted().unwrap(), &[], &["targets.json"]).unwrap();
    assert!(!kept.shelf().unwrap().contains(&"targets.json".to_owned()));
    drop(kept);
    let mut acceptance = restore(&device, &folder);
    acceptance.take_back().unwrap();
    assert_eq!((acceptance.targets().len(), acceptance.withdrawn().len()), (1, 0));
}

#[test]
fn what_was_withdrawn_is_remembered_until_its_slot_has_something_again() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    let (device, folder) = accepted(&vendor);
    let mut acceptance = restore(&device, &folder);
    for (version, slots, withdrawn) in
        [(2, &[][..], &["echo"][..]), (3, &["pump"], &["echo"]), (4, &["echo"], &["pump"])]
    {
        let papers = vendor.papers(std::slice::from_ref(&bundle), &bundle, version, "line-3");
        let spec = AssignmentSpec {
            device: device.id.clone(),
            version,
            expires: in_days(30),
            slots: slots.iter().map(|slot| (slot.parse().unwrap(), bundle.release_id())).collect(),
            approved: BTreeSet::new(),
            again: BTreeMap::new(),
        };
        let assignment = sign_assignment(&spec, &vendor.director);
        accept(&mut acceptance, &documents(Papers { assignment, ..papers }, &[]));
        let told: Vec<&str> = acceptance.withdrawn().keys().map(|slot| slot.as_str()).collect();
        assert_eq!(told, withdrawn, "assignment {version}");
    }
}

#[test]
fn who_listens_is_told_what_changes_and_nothing_else() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    let (device, folder) = accepted(&vendor);
    let mut acceptance = restore(&device, &folder);
    let mut versions = acceptance.versions();
    let next = documents(vendor.papers(std::slice::from_ref(&bundle), &bundle, 2, "line-3"), &[]);
    accept(&mut acceptance, &next);
    assert!(versions.has_changed().unwrap());
    assert_eq!(versions.borrow_and_update().assignment, 2);
    accept(&mut acceptance, &next);
    assert!(!versions.has_changed().unwrap());

    let mill = Mill::new();
    let mut acceptance = mill.restore();
    let mut policy = acceptance.policy();
    accept(&mut acceptance, &mill.documents(1, Some(mill.policy(1, 500, &mill.key))));
    assert!(policy.has_changed().unwrap());
    assert_eq!(policy.borrow_and_update().trial("echo").frames, Some(500));
    accept(&mut acceptance, &mill.documents(2, Some(mill.policy(1, 500, &mill.key))));
    assert!(!policy.has_changed().unwrap());
}

#[test]
fn a_root_that_changes_no_key_takes_nothing_back_and_no_date_does() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    let (device, folder) = accepted(&vendor);
    let mut acceptance = restore(&device, &folder);
    let root = next_root(&vendor, &vendor.releaser, &vendor.director);
    let old = vendor.papers(std::slice::from_ref(&bundle), &bundle, 2, "line-3");
    let late = now_ms() + 400 * 86_400_000;
    assert!(acceptance.verify(&documents(old, &[&root]), late).is_err());
    acceptance.take_back().unwrap();
    assert_eq!((acceptance.targets().len(), acceptance.withdrawn().len()), (1, 0));
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
    // Nor does it matter whether the device has followed that root by itself.
    let mut acceptance = restore(&device, &folder);
    let bundle = echo("1", "");
    let papers = vendor.papers(std::slice::from_ref(&bundle), &bundle, 2, "line-3");
    refused(&mut acceptance, &documents(papers, &[&made_later.root]));
    drop(acceptance);
    assert_eq!(restore(&made_later, &folder).versions().borrow().root, 2);
    let (device, folder) = accepted(&vendor);
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
fn a_list_that_came_before_anything_else_belongs_to_this_device_alone() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    let (_folder, device) = device(&vendor);
    let folder = tempfile::tempdir().unwrap();
    let mut acceptance = restore(&device, &folder);
    let papers = vendor.papers(std::slice::from_ref(&bundle), &bundle, 1, "line-4");
    refused(&mut acceptance, &documents(papers, &[]));
    assert_eq!(acceptance.versions().borrow().releases, 1, "the list was taken");
    drop(acceptance);
    let other = fleet::Device { id: "line-4".parse().unwrap(), ..device };
    let said = Acceptance::restore(&other, journal(&folder)).err().unwrap();
    assert!(matches!(said, RestoreError::OtherDevice { .. }), "{said}");
}

#[test]
fn what_is_only_older_is_told_from_what_is_wrong() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    let (device, folder) = accepted(&vendor);
    let first = vendor.list(std::slice::from_ref(&bundle));
    let second = next_list(&vendor, &first, "2");
    let with = |list: &[u8], assignment: Vec<u8>| Documents {
        metadata: vendor.metadata(list, &[]),
        assignment,
        files: Vec::new(),
    };
    let assignment = |version| vendor.assignment(&bundle, version, "line-3", in_days(30));
    let mut acceptance = restore(&device, &folder);
    accept(&mut acceptance, &with(&second, assignment(2)));
    let mut is_older =
        |documents: Documents| acceptance.verify(&documents, now_ms()).err().unwrap().is_older();
    assert!(is_older(with(&second, assignment(1))), "an older assignment");
    assert!(is_older(with(&first, assignment(3))), "an older list");
    assert!(!is_older(with(&second, b"{}".to_vec())), "no assignment");
    let mut forged = with(&second, assignment(3));
    forged.metadata.retain(|(name, _)| !name.ends_with("snapshot.json"));
    assert!(!is_older(forged), "a snapshot that is missing");
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
            again: BTreeMap::new(),
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

#[test]
fn a_thief_of_the_online_key_cannot_bring_an_old_list_back_not_even_over_restarts() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    let (device, folder) = accepted(&vendor);
    let first = vendor.list(std::slice::from_ref(&bundle));
    let second = next_list(&vendor, &first, "2");
    let with = |metadata, version| Documents {
        metadata,
        assignment: vendor.assignment(&bundle, version, "line-3", in_days(30)),
        files: Vec::new(),
    };
    let mut acceptance = restore(&device, &folder);
    accept(&mut acceptance, &with(vendor.metadata(&second, &[]), 2));
    for _ in 0..2 {
        // Newer than anything, signed with the right key, and about the list of yesterday.
        let said = refused(&mut acceptance, &with(vendor.metadata(&first, &[]), 3));
        assert!(goes_back(&said, "targets.json"), "{said}");
        drop(acceptance);
        acceptance = restore(&device, &folder);
    }
    // He lets a timestamp through and holds its snapshot back, so that the two part; then the old list.
    let parted = vendor.metadata(&second, &[]);
    let timestamp = parted.into_iter().filter(|(name, _)| name == "timestamp.json").collect();
    let said = refused(&mut acceptance, &with(timestamp, 3));
    assert!(said.contains("the repository has no 5.snapshot.json"), "{said}");
    drop(acceptance);
    let mut acceptance = restore(&device, &folder);
    let said = refused(&mut acceptance, &with(vendor.metadata(&first, &[]), 3));
    assert!(goes_back(&said, "targets.json"), "{said}");
    accept(&mut acceptance, &with(vendor.metadata(&second, &[]), 3));
    assert_eq!(acceptance.versions().borrow().releases, 2);
}

#[test]
fn after_a_new_online_key_an_old_list_does_not_come_back_either() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    let (device, folder) = accepted(&vendor);
    let first = vendor.list(std::slice::from_ref(&bundle));
    let second = next_list(&vendor, &first, "2");
    let assignment = vendor.assignment(&bundle, 2, "line-3", in_days(30));
    let with = |metadata| Documents { metadata, assignment: assignment.clone(), files: Vec::new() };
    let mut acceptance = restore(&device, &folder);
    accept(&mut acceptance, &with(vendor.metadata(&second, &[])));
    // TUF forgets the snapshot with the key that signed it. Who stole the new key begins anew.
    let online = key();
    let root = root_with(2, &vendor, &vendor.releaser, &vendor.director, online.public());
    let fresh = Vendor { online, ..vendor };
    let mut stolen = with(fresh.metadata(&first, &[]));
    stolen.metadata.push(("2.root.json".to_owned(), root));
    let said = refused(&mut acceptance, &stolen);
    assert!(said.contains("list of releases has version 1, older than version 2"), "{said}");
}

#[test]
fn a_thief_of_the_whole_server_installs_nothing_that_the_release_keys_have_not_signed() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    let bundles = std::slice::from_ref(&bundle);
    let (device, folder) = accepted(&vendor);
    let mut acceptance = restore(&device, &folder);
    let mine = echo("1", "[trial]\nframes = 7\n");
    let theirs = echo("2", "");
    let assigned = |bundle| vendor.papers(bundles, bundle, 2, "line-3");
    let said = refused(&mut acceptance, &documents(assigned(&mine), &[]));
    assert!(said.contains("another digest or size"), "{said}");
    let said = refused(&mut acceptance, &documents(assigned(&theirs), &[]));
    assert!(said.contains("echo/2 is assigned, and the release keys have not signed it"), "{said}");
    // A list of his own, with whichever of the server's keys.
    for key in [&vendor.online, &vendor.director] {
        let root = Root::pin(&vendor.root).unwrap();
        let trusted = verify_releases(&root, &vendor.list(bundles), None, now()).unwrap();
        let mut draft = ReleasesDraft::after(Some(&trusted));
        draft.add(theirs.release_id(), None).unwrap();
        let list = draft.sign(in_days(200), &[key]);
        let forged = Papers { metadata: vendor.metadata(&list, &[]), ..assigned(&theirs) };
        let said = refused(&mut acceptance, &documents(forged, &[]));
        assert!(said.contains("2.targets.json is not signed by enough of its keys"), "{said}");
    }
    // A root that names him, signed by himself.
    let thief = Vendor { person: key(), online: key(), ..Vendor::new() };
    let forged = root(2, &thief, &thief.releaser, &thief.director);
    let said = refused(&mut acceptance, &documents(assigned(&bundle), &[&forged]));
    assert!(said.contains("the root is not signed by enough of its keys"), "{said}");
    let versions = *acceptance.versions().borrow();
    assert_eq!((versions.root, versions.releases, versions.assignment), (1, 1, 1));
    drop(acceptance);
    assert_eq!(journal(&folder).accepted().unwrap().targets.len(), 1);
}

#[test]
fn documents_past_their_date_are_refused_by_name_and_date_and_change_nothing() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    let (device, folder) = accepted(&vendor);
    let mut acceptance = restore(&device, &folder);
    let good = acceptance.good().borrow().clone().unwrap();
    assert_eq!(good.document, "assignment");
    assert_eq!(good.until_unix_ms, in_days(30).unix_timestamp() * 1000);
    let list = vendor.list(std::slice::from_ref(&bundle));
    let frozen = Fresh { version: 9, expires: in_days(0), signed_at: in_days(-3) };
    let frozen = Documents {
        metadata: frozen.over(&vendor.online, &list, &[]),
        assignment: vendor.assignment(&bundle, 2, "line-3", in_days(30)),
        files: Vec::new(),
    };
    let said = refused(&mut acceptance, &frozen);
    let date = in_days(0).date().to_string();
    assert!(said.contains("timestamp") && said.contains(&date), "{said}");
    // Sixty days later nothing new was let through. What is accepted is still what was.
    let papers = vendor.papers(std::slice::from_ref(&bundle), &bundle, 2, "line-3");
    let late = acceptance.verify(&documents(papers, &[]), now_ms() + 61 * DAY_MS).err().unwrap();
    assert!(late.to_string().contains("timestamp"), "{late}");
    assert_eq!(acceptance.versions().borrow().assignment, 1);
    drop(acceptance);
    assert_eq!(journal(&folder).accepted().unwrap().targets.len(), 1);
}

#[test]
fn documents_of_different_days_do_not_mix() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    let (device, folder) = accepted(&vendor);
    let mut acceptance = restore(&device, &folder);
    let first = vendor.list(std::slice::from_ref(&bundle));
    let second = next_list(&vendor, &first, "2");
    let other = next_list(&vendor, &first, "3");
    let assignment = vendor.assignment(&bundle, 2, "line-3", in_days(30));
    let with = |metadata| Documents { metadata, assignment: assignment.clone(), files: Vec::new() };
    let exchange = |what: &str, by: &[u8]| {
        let mut metadata = vendor.metadata(&second, &[]);
        let place = metadata.iter_mut().find(|(name, _)| name.ends_with(what)).unwrap();
        place.1 = by.to_vec();
        with(metadata)
    };
    // Another list of the same version, one of another version, the snapshot of another day.
    for by in [&other, &first] {
        let said = refused(&mut acceptance, &exchange(".targets.json", by));
        assert!(said.contains("2.targets.json cannot be used"), "{said}");
    }
    let old = vendor.metadata(&second, &[]).remove(1).1;
    let said = refused(&mut acceptance, &exchange(".snapshot.json", &old));
    assert!(said.contains("snapshot.json cannot be used"), "{said}");
    let said = refused(&mut acceptance, &exchange("timestamp.json", &old));
    assert!(said.contains("timestamp.json"), "{said}");
    accept(&mut acceptance, &with(vendor.metadata(&second, &[])));
}

#[test]
fn a_document_without_end_is_not_read() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    let (device, folder) = accepted(&vendor);
    let mut acceptance = restore(&device, &folder);
    let list = next_list(&vendor, &vendor.list(std::slice::from_ref(&bundle)), "2");
    for place in 0..3 {
        let mut papers = vendor.papers(std::slice::from_ref(&bundle), &bundle, 2, "line-3");
        papers.metadata = vendor.metadata(&list, &[]);
        papers.metadata[place].1.extend(vec![b' '; 6 << 20]);
        let said = refused(&mut acceptance, &documents(papers, &[]));
        assert!(said.contains("bytes or more") || said.contains("cannot be used"), "{said}");
    }
    let mut papers = vendor.papers(std::slice::from_ref(&bundle), &bundle, 2, "line-3");
    papers.metadata = vendor.metadata(&list, &[]);
    papers.assignment.extend(vec![b' '; 6 << 20]);
    let said = refused(&mut acceptance, &documents(papers, &[]));
    assert!(said.contains("are allowed"), "{said}");
}

#[test]
fn what_is_for_another_device_or_was_said_before_is_not_believed_over_restarts() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    let bundles = std::slice::from_ref(&bundle);
    let (device, folder) = accepted(&vendor);
    let before = vendor.papers(bundles, &bundle, 1, "line-3");
    let mut acceptance = restore(&device, &folder);
    accept(&mut acceptance, &documents(vendor.papers(bundles, &bundle, 2, "line-3"), &[]));
    drop(acceptance);
    let mut acceptance = restore(&device, &folder);
    // All of yesterday, as it was.
    let said = refused(&mut acceptance, &documents(before.clone(), &[]));
    assert!(said.contains("timestamp.json goes back"), "{said}");
    // Only its assignment.
    let today = vendor.papers(bundles, &bundle, 3, "line-3");
    let replayed = Papers { assignment: before.assignment, ..today };
    let said = refused(&mut acceptance, &documents(replayed, &[]));
    assert!(said.contains("assignment has version 1, older than version 2"), "{said}");
    let other = vendor.papers(bundles, &bundle, 3, "line-4");
    let said = refused(&mut acceptance, &documents(other, &[]));
    assert!(said.contains("for device line-4, this is line-3"), "{said}");
    accept(&mut acceptance, &documents(vendor.papers(bundles, &bundle, 3, "line-3"), &[]));
}

#[test]
fn a_thief_who_counts_to_the_end_or_sets_the_clock_forward_is_undone_by_a_new_online_key() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    let (device, folder) = accepted(&vendor);
    let list = vendor.list(std::slice::from_ref(&bundle));
    let far = OffsetDateTime::from_unix_timestamp(250_000_000_000).unwrap();
    let with = |metadata, version| Documents {
        metadata,
        assignment: vendor.assignment(&bundle, version, "line-3", in_days(30)),
        files: Vec::new(),
    };
    let stolen = Fresh { version: VERSION_MAX, expires: far, signed_at: far - time::Duration::DAY };
    let mut acceptance = restore(&device, &folder);
    let said = refused(&mut acceptance, &with(stolen.over(&vendor.online, &list, &[]), 2));
    assert!(said.contains("expired"), "{said}");
    drop(acceptance);
    let mut acceptance = restore(&device, &folder);
    let said = refused(&mut acceptance, &with(vendor.metadata(&list, &[]), 2));
    assert!(said.contains("expired") || said.contains("goes back"), "{said}");
    let online = key();
    let root = root_with(2, &vendor, &vendor.releaser, &vendor.director, online.public());
    let fresh = Fresh { version: 1, expires: in_days(14), signed_at: now() };
    let mut next = with(fresh.over(&online, &list, &[]), 2);
    next.metadata.push(("2.root.json".to_owned(), root));
    accept(&mut acceptance, &next);
    let versions = *acceptance.versions().borrow();
    assert_eq!((versions.root, versions.timestamp, versions.assignment), (2, 1, 2));
}

#[test]
fn a_device_without_a_clock_learns_from_the_timestamp_how_late_it_is() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    let (_folder, device) = device(&vendor);
    let folder = tempfile::tempdir().unwrap();
    let mut acceptance = restore(&device, &folder);
    let bundles = std::slice::from_ref(&bundle);
    // Signed for last month, shown with a timestamp of today to a device that believes in 1970.
    let stale = vendor.papers_until(bundles, &bundle, 1, "line-3", in_days(-1));
    let error = acceptance.verify(&documents(stale, &[]), 0).err().unwrap();
    assert!(error.to_string().contains("the assignment expired"), "{error}");
    let fresh = documents(vendor.papers(bundles, &bundle, 2, "line-3"), &[]);
    let verified = acceptance.verify(&fresh, 0).unwrap();
    acceptance.accept(verified).unwrap();
}

/// A list that lets a vendor's key sign `echo/*`, and what that vendor has signed.
fn delegated(vendor: &Vendor, key: &KeyPair, releases: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let mut list = ReleasesDraft::after(None);
    list.delegate(&[Delegation {
        name: "acme".into(),
        keys: vec![key.public()],
        threshold: 1,
        paths: vec!["echo/*".into()],
        terminating: true,
    }]);
    let mut own = ReleasesDraft::after(None);
    for version in releases {
        own.add(echo(version, "").release_id(), None).unwrap();
    }
    (list.sign(in_days(200), &[&vendor.releaser]), own.sign(in_days(100), &[key]))
}

#[test]
fn a_release_may_come_from_a_vendor_within_the_paths_that_he_was_given() {
    let (vendor, acme) = (Vendor::new(), key());
    let (_folder, device) = device(&vendor);
    let folder = tempfile::tempdir().unwrap();
    let mut acceptance = restore(&device, &folder);
    let bundle = echo("2", "");
    let with = |metadata, bundle: &_| Documents {
        metadata,
        assignment: vendor.assignment(bundle, 1, "line-3", in_days(30)),
        files: Vec::new(),
    };
    let (list, own) = delegated(&vendor, &acme, &["1", "2"]);
    // What he has not signed, what somebody else signed for him, and what the server holds back.
    let said =
        refused(&mut acceptance, &with(vendor.metadata(&list, &[("acme", &own)]), &echo("3", "")));
    assert!(said.contains("echo/3 is assigned"), "{said}");
    let (_, forged) = delegated(&vendor, &vendor.online, &["1", "2", "3"]);
    let said = refused(
        &mut acceptance,
        &with(vendor.metadata(&list, &[("acme", &forged)]), &echo("3", "")),
    );
    assert!(!said.contains("echo/3 is assigned"), "{said}");
    let mut held = vendor.metadata(&list, &[("acme", &own)]);
    held.retain(|(name, _)| name != "1.acme.json");
    drop(acceptance);
    let folder = tempfile::tempdir().unwrap();
    let mut acceptance = restore(&device, &folder);
    let said = refused(&mut acceptance, &with(held, &bundle));
    assert!(said.contains("1.acme.json"), "{said}");
    accept(&mut acceptance, &with(vendor.metadata(&list, &[("acme", &own)]), &bundle));
    drop(acceptance);
    let targets = journal(&folder).accepted().unwrap().targets;
    let target = &targets[&"echo".parse().unwrap()];
    assert_eq!((target.release.to_string(), target.number), ("echo v2".to_owned(), 2));

    // Beyond his paths nobody asks him.
    let mut list = ReleasesDraft::after(None);
    list.delegate(&[Delegation {
        name: "acme".into(),
        keys: vec![acme.public()],
        threshold: 1,
        paths: vec!["pump/*".into()],
        terminating: true,
    }]);
    let list = list.sign(in_days(200), &[&vendor.releaser]);
    let folder = tempfile::tempdir().unwrap();
    let mut acceptance = restore(&device, &folder);
    let said = refused(&mut acceptance, &with(vendor.metadata(&list, &[("acme", &own)]), &bundle));
    assert!(said.contains("echo/2 is assigned, and the release keys have not signed it"), "{said}");
}

/// A site whose key signs what holds there.
struct Mill {
    vendor: Vendor,
    key: KeyPair,
    list: Vec<u8>,
    bundle: BuiltBundle,
    device: fleet::Device,
    folder: tempfile::TempDir,
    _device: kit::Device,
}

impl Mill {
    fn new() -> Mill {
        let (vendor, key, bundle) = (Vendor::new(), key(), echo("1", ""));
        let mut list = ReleasesDraft::after(None);
        list.add(bundle.release_id(), None).unwrap();
        list.delegate(&[Delegation {
            name: "site-mill".into(),
            keys: vec![key.public()],
            threshold: 1,
            paths: vec!["site/mill/*".into()],
            terminating: true,
        }]);
        let list = list.sign(in_days(200), &[&vendor.releaser]);
        let (_device, device) = device(&vendor);
        let folder = tempfile::tempdir().unwrap();
        Mill { vendor, key, list, bundle, device, folder, _device }
    }

    fn restore(&self) -> Acceptance {
        restore(&self.device, &self.folder).at(Some("mill".parse().unwrap()))
    }

    /// A policy that asks for so many frames in every slot, as a file and as somebody signs it.
    fn policy(&self, version: u64, frames: u64, signer: &KeyPair) -> (Vec<u8>, Vec<u8>) {
        let policy = format!("{{\"slots\":{{\"*\":{{\"trial\":{{\"frames\":{frames}}}}}}}}}");
        (policy.clone().into_bytes(), self.sign(version, policy.as_bytes(), signer))
    }

    fn sign(&self, version: u64, policy: &[u8], signer: &KeyPair) -> Vec<u8> {
        let file = (Digest::of(policy), policy.len() as u64);
        let files = BTreeMap::from([("site/mill/policy.json".to_owned(), file)]);
        let expires = in_days(100);
        let spec = TargetsSpec { version, expires, files, delegations: Vec::new() };
        sign_targets(&spec, &[signer])
    }

    /// The root that names a new online key, with which the server signs from now on.
    fn replace_online_key(&mut self) -> Vec<u8> {
        let vendor = &mut self.vendor;
        vendor.online = key();
        root_with(2, vendor, &vendor.releaser, &vendor.director, vendor.online.public())
    }

    /// Documents with this assignment, and what is said of the site.
    fn documents(&self, version: u64, said: Option<(Vec<u8>, Vec<u8>)>) -> Documents {
        let (policy, signed) = said.unzip();
        let roles: Vec<(&str, &[u8])> =
            signed.iter().map(|signed| ("site-mill", signed.as_slice())).collect();
        let name = |bytes: &[u8]| format!("site/mill/{}.policy.json", Digest::of(bytes).hex());
        Documents {
            metadata: self.vendor.metadata(&self.list, &roles),
            assignment: self.vendor.assignment(&self.bundle, version, "line-3", in_days(30)),
            files: policy.into_iter().map(|bytes| (name(&bytes), bytes)).collect(),
        }
    }
}

/// Frames that a trial needs by the policy in force.
fn frames(acceptance: &Acceptance) -> Option<u64> {
    acceptance.policy().borrow().trial("echo").frames
}

#[test]
fn a_device_at_a_site_takes_nothing_before_it_knows_what_holds_there() {
    let mill = Mill::new();
    let mut acceptance = mill.restore();
    let said = refused(&mut acceptance, &mill.documents(1, None));
    assert!(said.contains("the policy of that site has never come"), "{said}");
    let forged = mill.policy(1, 5, &mill.vendor.online);
    let said = refused(&mut acceptance, &mill.documents(1, Some(forged)));
    assert!(said.contains("the policy of that site has never come"), "{said}");
    let trouble = acceptance.policy_trouble().unwrap();
    assert!(trouble.contains("1.site-mill.json is not signed by enough of its keys"), "{trouble}");
    let mut lacking = mill.documents(1, Some(mill.policy(1, 500, &mill.key)));
    lacking.files.clear();
    let said = refused(&mut acceptance, &lacking);
    assert!(said.contains("the policy of that site has never come"), "{said}");
    assert_eq!(frames(&acceptance), None);
    accept(&mut acceptance, &mill.documents(1, Some(mill.policy(1, 500, &mill.key))));
    assert_eq!((frames(&acceptance), acceptance.policy_trouble()), (Some(500), None));
}

#[test]
fn what_a_site_has_signed_is_loosened_by_nobody_else() {
    let mill = Mill::new();
    let mut acceptance = mill.restore();
    accept(&mut acceptance, &mill.documents(1, Some(mill.policy(2, 500, &mill.key))));
    let old = mill.policy(1, 5, &mill.key);
    let mut assignment = 1;
    for _ in 0..2 {
        drop(acceptance);
        acceptance = mill.restore();
        assert_eq!(frames(&acceptance), Some(500), "after a restart");
        // An older one, with all that a thief of the server can sign.
        let said = refused(&mut acceptance, &mill.documents(9, Some(old.clone())));
        assert!(goes_back(&said, "site-mill.json"), "{said}");
        // None at all.
        let said = refused(&mut acceptance, &mill.documents(9, None));
        assert!(said.contains("does not list site-mill.json any more"), "{said}");
        // Another file under the name of the right one.
        let mut other = mill.documents(9, Some(mill.policy(3, 900, &mill.key)));
        other.files[0].1 = old.0.clone();
        acceptance.verify(&other, now_ms()).unwrap();
        assert!(acceptance.policy_trouble().is_some());
        assert_eq!(frames(&acceptance), Some(500));
        // One held back: what was known holds, and installs go on by it.
        assignment += 1;
        let mut held = mill.documents(assignment, Some(mill.policy(3, 900, &mill.key)));
        held.files.clear();
        accept(&mut acceptance, &held);
        let trouble = acceptance.policy_trouble().unwrap().to_owned();
        assert!(trouble.contains("did not come with it"), "{trouble}");
        assert_eq!(frames(&acceptance), Some(500));
    }
    // One that this agent does not understand is no policy either.
    let newer = b"{\"slots\":{\"*\":{\"privacy\":\"none\"}}}".to_vec();
    let signed = mill.sign(4, &newer, &mill.key);
    accept(&mut acceptance, &mill.documents(8, Some((newer, signed))));
    assert!(acceptance.policy_trouble().unwrap().contains("privacy"));
    assert_eq!(frames(&acceptance), Some(500));
}

#[test]
fn an_older_policy_does_not_come_back_under_a_new_online_key_and_a_new_site_key_begins_anew() {
    let mut mill = Mill::new();
    let mut acceptance = mill.restore();
    accept(&mut acceptance, &mill.documents(1, Some(mill.policy(2, 500, &mill.key))));
    // Who holds the new key begins anew with the snapshot. What the site has signed since still holds.
    let root = mill.replace_online_key();
    for assignment in [2, 3] {
        let mut old = mill.documents(assignment, Some(mill.policy(1, 5, &mill.key)));
        old.metadata.push(("2.root.json".to_owned(), root.clone()));
        accept(&mut acceptance, &old);
        let trouble = acceptance.policy_trouble().unwrap().to_owned();
        assert!(trouble.contains("role's list has version 1, older than version 2"), "{trouble}");
        assert_eq!(frames(&acceptance), Some(500));
        drop(acceptance);
        acceptance = mill.restore();
        assert_eq!(frames(&acceptance), Some(500), "after a restart");
    }
    // A key that was stolen may have signed any version: its successor counts from the beginning.
    let trusted = verify_releases(&Root::pin(&root).unwrap(), &mill.list, None, now()).unwrap();
    let mut list = ReleasesDraft::after(Some(&trusted));
    let own = key();
    list.delegate(&[Delegation {
        name: "site-mill".into(),
        keys: vec![own.public()],
        threshold: 1,
        paths: vec!["site/mill/*".into()],
        terminating: true,
    }]);
    (mill.list, mill.key) = (list.sign(in_days(200), &[&mill.vendor.releaser]), own);
    accept(&mut acceptance, &mill.documents(4, Some(mill.policy(1, 50, &mill.key))));
    assert_eq!((frames(&acceptance), acceptance.policy_trouble()), (Some(50), None));
}

#[test]
fn what_a_site_has_signed_is_taken_again_under_a_new_online_key() {
    let mut mill = Mill::new();
    let mut acceptance = mill.restore();
    accept(&mut acceptance, &mill.documents(1, Some(mill.policy(2, 500, &mill.key))));
    let root = mill.replace_online_key();
    let mut again = mill.documents(2, Some(mill.policy(2, 500, &mill.key)));
    again.metadata.push(("2.root.json".to_owned(), root));
    accept(&mut acceptance, &again);
    assert_eq!((frames(&acceptance), acceptance.policy_trouble()), (Some(500), None));
}

#[test]
fn a_policy_that_came_before_anything_else_belongs_to_this_device_alone() {
    let mill = Mill::new();
    let mut acceptance = mill.restore();
    let mut documents = mill.documents(1, Some(mill.policy(1, 500, &mill.key)));
    documents.assignment = mill.vendor.assignment(&mill.bundle, 1, "line-4", in_days(30));
    refused(&mut acceptance, &documents);
    assert_eq!(frames(&acceptance), Some(500));
    drop(acceptance);
    let other = fleet::Device { id: "line-4".parse().unwrap(), ..mill.device.clone() };
    let said = Acceptance::restore(&other, journal(&mill.folder)).err().unwrap();
    assert!(matches!(said, RestoreError::OtherDevice { .. }), "{said}");
}

#[test]
fn a_stricter_policy_holds_at_once_whatever_comes_of_the_documents_beside_it() {
    let mill = Mill::new();
    let mut acceptance = mill.restore();
    accept(&mut acceptance, &mill.documents(2, Some(mill.policy(1, 100, &mill.key))));
    let said = refused(&mut acceptance, &mill.documents(1, Some(mill.policy(2, 900, &mill.key))));
    assert!(said.contains("assignment has version 1, older than version 2"), "{said}");
    assert_eq!(frames(&acceptance), Some(900));
    drop(acceptance);
    assert_eq!(frames(&mill.restore()), Some(900));
    // At another site it means nothing.
    let elsewhere = restore(&mill.device, &mill.folder).at(Some("dale".parse().unwrap()));
    assert_eq!(frames(&elsewhere), None);
}

#[test]
fn a_device_that_missed_a_hundred_roots_follows_them_all() {
    let (vendor, bundle) = (Vendor::new(), echo("1", ""));
    let (device, folder) = accepted(&vendor);
    let mut acceptance = restore(&device, &folder);
    let director = key();
    let roots: Vec<Vec<u8>> =
        (2..102).map(|version| root(version, &vendor, &vendor.releaser, &director)).collect();
    let roots: Vec<&[u8]> = roots.iter().map(Vec::as_slice).collect();
    let fresh = Vendor { director, ..vendor };
    let papers = fresh.papers(std::slice::from_ref(&bundle), &bundle, 1, "line-3");
    accept(&mut acceptance, &documents(papers, &roots));
    assert_eq!(acceptance.versions().borrow().root, 101);
}

#[test]
fn what_roles_have_signed_to_which_nobody_delegates_any_more_leaves_the_shelf() {
    let (vendor, acme) = (Vendor::new(), key());
    let (_folder, device) = device(&vendor);
    let folder = tempfile::tempdir().unwrap();
    let mut acceptance = restore(&device, &folder);
    let (list, own) = delegated(&vendor, &acme, &["1", "2"]);
    let with = |list: &[u8], version, bundle: &_| Documents {
        metadata: vendor.metadata(list, &[("acme", &own)]),
        assignment: vendor.assignment(bundle, version, "line-3", in_days(30)),
        files: Vec::new(),
    };
    accept(&mut acceptance, &with(&list, 1, &echo("2", "")));
    let trusted = verify_releases(&Root::pin(&vendor.root).unwrap(), &list, None, now()).unwrap();
    let mut draft = ReleasesDraft::after(Some(&trusted));
    draft.delegate(&[]);
    draft.add(echo("5", "").release_id(), None).unwrap();
    let next = draft.sign(in_days(200), &[&vendor.releaser]);
    accept(&mut acceptance, &with(&next, 2, &echo("5", "")));
    drop(acceptance);
    let shelf = journal(&folder).shelf().unwrap();
    assert_eq!(shelf, ["snapshot.json", "targets.json", "timestamp.json"]);
}
