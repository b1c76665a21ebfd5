//! Receipts for reports that were carried by hand, through the program: what the server has stored is
//! let go of, and nothing else, whatever is signed and whenever the power goes.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod kit;

use kit::{Device, Vendor, echo, wait};
use lineside_bundle::BuiltBundle;
use lineside_bundle::parcel::Papers;
use lineside_trust::{KeyPair, ReceiptSpec, UnverifiedReport, sign_receipt};
use lineside_wire::envelope::decode;
use lineside_wire::v1::{Ack, Telemetry};
use ring::rand::SystemRandom;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Start and number of a record.
type Key = (u64, u64);

/// A device that reports by file, with one release committed, and the papers that brought it.
struct House {
    vendor: Vendor,
    device: Device,
    key: KeyPair,
    bundle: BuiltBundle,
    papers: Papers,
}

impl House {
    fn new() -> House {
        let (vendor, bundle) =
            (Vendor::new(), echo("1", "[trial]\nframes = 20\njudge_after = 5\n"));
        let device = Device::new(&vendor, 60_000);
        let key = KeyPair::generate(&SystemRandom::new()).unwrap();
        let file = device.folder.path().join("device/report.pem");
        fs::write(&file, key.to_pem()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let papers = vendor.papers(std::slice::from_ref(&bundle), &bundle, 1, "line-3");
        let mut house = House { vendor, device, key, bundle, papers };
        house.device.start();
        assert_eq!(house.carry(None), Value::Null);
        wait("echo v1 is committed", || {
            let slot = house.device.slot();
            (slot["active"] == "echo v1" && slot["phase"] == "idle").then_some(())
        });
        house
    }

    /// Takes the same documents to the device again, with a receipt; gives what became of that.
    fn carry(&self, receipt: Option<Vec<u8>>) -> Value {
        self.try_to_carry(receipt).unwrap()
    }

    /// As [`House::carry`]; the program's words if it did not get so far.
    fn try_to_carry(&self, receipt: Option<Vec<u8>>) -> Result<Value, String> {
        let papers = Papers { receipt, ..self.papers.clone() };
        let path = self.device.parcel(&papers, std::slice::from_ref(&self.bundle));
        let output = self.device.program().args(["install", "--json"]).arg(path).output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let delivered: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(delivered["slots"]["echo"], "echo v1");
        Ok(delivered["receipt"].clone())
    }

    /// Why a receipt is refused; the documents beside it are taken all the same.
    fn refused(&self, receipt: Vec<u8>) -> String {
        let became = self.carry(Some(receipt));
        became["refused"].as_str().unwrap_or_else(|| panic!("{became}")).to_owned()
    }

    /// Has a report written: its number, and the records in it.
    fn report(&self) -> (u64, BTreeSet<Key>) {
        // Into a folder, where it takes the place of the last one.
        let folder = self.device.folder.path();
        let written = self.device.program().args(["report", "-o"]).arg(folder).output().unwrap();
        assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
        let bytes = fs::read(folder.join("line-3.lsr")).unwrap();
        let report = UnverifiedReport::read(&bytes).unwrap().verify(&self.key.public()).unwrap();
        let mut keys = BTreeSet::new();
        for message in &report.messages {
            // The first is the status.
            let Ok(telemetry) = decode::<Telemetry>(message) else { continue };
            for record in telemetry.records {
                assert!(keys.insert((record.boot, record.sequence)), "one record is told twice");
            }
        }
        (report.number, keys)
    }

    /// A receipt of the director for these records of a report.
    fn receipt(&self, number: u64, stored: &BTreeSet<Key>) -> Vec<u8> {
        sign_receipt(&spec(number, stored), &self.vendor.director)
    }
}

fn spec(number: u64, stored: &BTreeSet<Key>) -> ReceiptSpec {
    let mut ranges: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for (boot, sequence) in stored {
        ranges.entry(*boot).or_default().push((*sequence, *sequence));
    }
    let stored = ranges.into_iter().map(|(boot, ranges)| Ack { boot, ranges }).collect();
    ReceiptSpec { device: "line-3".parse().unwrap(), number, stored }
}

#[test]
fn what_the_server_has_is_not_told_again_and_all_else_is() {
    let mut house = House::new();
    let (first, told) = house.report();
    assert!(!told.is_empty());
    house.device.kill();
    house.device.start();
    let (second, more) = house.report();
    assert!(second > first && more.is_superset(&told));

    // The server has read all of the first report but one record.
    let lacking = *told.first().unwrap();
    let stored: BTreeSet<Key> = told.iter().copied().filter(|key| *key != lacking).collect();
    let receipt = house.receipt(first, &stored);
    let taken = &house.carry(Some(receipt.clone()))["taken"];
    assert_eq!(
        (taken["report"].as_u64(), taken["records"].as_u64()),
        (Some(first), Some(stored.len() as u64))
    );
    let (_, left) = house.report();
    assert!(left.is_disjoint(&stored) && left.contains(&lacking));
    assert!(left.is_superset(&more.difference(&stored).copied().collect()), "nothing is lost");
    // The same file again, and after a power cut.
    assert_eq!(house.carry(Some(receipt.clone()))["taken"]["records"], 0);
    house.device.kill();
    house.device.start();
    assert_eq!(house.carry(Some(receipt))["taken"]["records"], 0);
    let (third, after) = house.report();
    assert!(after.is_superset(&left));
    // One that covers all that was told so far.
    let taken = house.carry(Some(house.receipt(third, &after)));
    assert_eq!(taken["taken"]["records"].as_u64(), Some(after.len() as u64));
    assert!(house.report().1.is_disjoint(&after));
}

#[test]
fn a_receipt_that_is_not_for_this_device_and_newer_lets_go_of_nothing() {
    let house = House::new();
    let (first, told) = house.report();
    let (second, _) = house.report();
    let stays = || assert!(house.report().1.is_superset(&told));

    let other = ReceiptSpec { device: "line-4".parse().unwrap(), ..spec(second, &told) };
    let refused = house.refused(sign_receipt(&other, &house.vendor.director));
    assert_eq!(refused, "the receipt is for device line-4, this is line-3");
    stays();
    let stranger = Vendor::new();
    for key in [&stranger.director, &house.vendor.online, &house.vendor.releaser, &house.key] {
        let refused = house.refused(sign_receipt(&spec(second, &told), key));
        assert_eq!(refused, "the receipt is not signed by enough of its keys: 0 of the 1 needed");
    }
    stays();
    // Changed, cut, and what is no receipt.
    let whole = house.receipt(second, &told);
    let changed = String::from_utf8(whole.clone()).unwrap().replace("line-3", "line-4");
    assert!(house.refused(changed.into_bytes()).contains("0 of the 1 needed"));
    for bytes in [&whole[..whole.len() / 2], b"", &house.papers.assignment] {
        let refused = house.refused(bytes.to_vec());
        assert!(refused.starts_with("the receipt cannot be read"), "{refused}");
    }
    stays();
    // Of a report that was never written, as a state that was lost would have it.
    let refused = house.refused(house.receipt(u64::MAX >> 12, &told));
    assert!(refused.contains("was the device's state lost"), "{refused}");
    stays();

    // A thief of the director's key says that everything was stored, also what was never told.
    let everything = [Ack { boot: 0, ranges: vec![(0, u64::MAX)] }]
        .into_iter()
        .chain(told.iter().map(|(boot, _)| Ack { boot: *boot, ranges: vec![(0, u64::MAX)] }));
    let greedy = ReceiptSpec { stored: everything.collect(), ..spec(second, &told) };
    let before = house.report().1;
    house.device.program().args(["hold", "echo", "--reason", "in use"]).output().unwrap();
    let taken = house.carry(Some(sign_receipt(&greedy, &house.vendor.director)));
    assert_eq!(taken["taken"]["records"].as_u64(), Some(before.len() as u64));
    let older = house.refused(house.receipt(first, &told));
    assert!(older.contains(&format!("one for report {second} was taken before")), "{older}");
}

#[test]
fn the_power_may_go_while_a_receipt_is_taken() {
    let mut house = House::new();
    for place in ["spool.ack", "spool.acked"] {
        for mode in ["error", "panic", "abort"] {
            let (number, told) = house.report();
            let receipt = house.receipt(number, &told);
            fs::create_dir_all(house.device.failpoints()).unwrap();
            fs::write(house.device.failpoints().join(place), mode).unwrap();
            let became = house.try_to_carry(Some(receipt.clone()));
            assert_eq!(became.is_err(), mode == "abort", "{place} {mode}: {became:?}");
            if mode == "abort" {
                house.device.kill();
                house.device.start();
            }
            let (_, left) = house.report();
            let is_all_or_nothing = left.is_superset(&told) || left.is_disjoint(&told);
            assert!(is_all_or_nothing, "{place} {mode}");
            let taken = house.carry(Some(receipt));
            assert!(taken["taken"]["records"].is_u64(), "{place} {mode}: {taken}");
            let (_, left) = house.report();
            assert!(left.is_disjoint(&told), "{place} {mode}");
        }
    }
}
