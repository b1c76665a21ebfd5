//! Updates that come by hand, through the program: what is taken, and what is not.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod kit;

use kit::{Device, Vendor, check_each_frame_once, echo, wait};
use lineside_bundle::BuiltBundle;
use lineside_bundle::parcel::Papers;
use std::collections::BTreeSet;
use std::fs;

const TRIAL: &str = "[trial]\nframes = 30\njudge_after = 10\n";
/// Every answer breaks the limit of the alarm's share, by lying outside of what the output may be.
const BAD: &str = "[trial]\nframes = 30\njudge_after = 10\noutputs.x = [-2.0, -1.0]\n";

fn bundles() -> Vec<BuiltBundle> {
    vec![echo("1", TRIAL), echo("2", TRIAL), echo("3", BAD)]
}

/// Waits until the slot has `active`, and nothing else under way.
fn settles_on(device: &Device, active: &str) {
    wait(&format!("{active} is active and nothing is under way"), || {
        let slot = device.slot();
        (slot["active"] == active && slot["phase"] == "idle").then_some(())
    });
}

#[test]
fn releases_from_a_file_are_tried_kept_and_taken_back_without_a_network() {
    let (vendor, bundles) = (Vendor::new(), bundles());
    let mut device = Device::new(&vendor, 60_000);
    device.start();
    let install = |device: &Device, number: usize| {
        let assigned = &bundles[number - 1];
        let papers = vendor.papers(&bundles, assigned, number as u64, "line-3");
        let output = device.install(&papers, std::slice::from_ref(assigned));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains(&format!("slot echo shall hold echo v{number}")), "{said}");
    };
    install(&device, 1);
    settles_on(&device, "echo v1");
    install(&device, 2);
    settles_on(&device, "echo v2");
    assert_eq!(device.slot()["previous"], "echo v1");
    install(&device, 3);
    let note = wait("echo v3 is taken back", || {
        let slot = device.slot();
        let note = slot["note"].as_str().unwrap_or_default().to_owned();
        (slot["phase"] == "idle" && note.contains("echo v3")).then_some(note)
    });
    assert!(note.contains("rolled back") && note.contains("x"), "{note}");
    let slot = device.slot();
    assert_eq!((&slot["active"], &slot["previous"]), (&"echo v2".into(), &"echo v1".into()));
    let counts = &slot["counts"];
    assert_eq!((&counts["lost"], &counts["doubled"]), (&0.into(), &0.into()), "{counts}");
    device.kill();
    let findings = device.findings();
    check_each_frame_once(&findings);
    for release in ["echo v1", "echo v2", "echo v3"] {
        assert!(findings.iter().any(|finding| finding["release"] == release), "{release}");
    }
    let resting = device.status().unwrap();
    assert_eq!(resting["running"], false);
    assert_eq!(resting["slots"]["echo"]["active"], "echo v2");
}

#[test]
fn what_is_not_signed_for_this_device_or_is_older_changes_nothing() {
    let (vendor, bundles) = (Vendor::new(), bundles());
    let mut device = Device::new(&vendor, 60_000);
    device.start();
    let [first, second, _] = &bundles[..] else { unreachable!() };
    let only = std::slice::from_ref;
    let papers = |assigned, version| vendor.papers(&bundles, assigned, version, "line-3");
    assert!(device.install(&papers(first, 5), only(first)).status.success());
    settles_on(&device, "echo v1");
    let refused = |papers: &Papers, bundles: &[BuiltBundle], wanted: &str| {
        let output = device.install(papers, bundles);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(wanted), "{wanted:?} is not said: {said}");
        let status = device.status().unwrap();
        assert_eq!(status["assignment"], 5);
        assert_eq!(status["slots"]["echo"]["active"], "echo v1");
    };
    refused(&papers(second, 4), only(second), "older than version 5");
    refused(&papers(second, 5), only(second), "differs from the one accepted before");
    let other = vendor.papers(&bundles, second, 6, "line-4");
    refused(&other, only(second), "for device line-4");
    // A stranger has keys, and not the ones that the root names: one after the other.
    let strangers = Vendor::new().papers(&bundles, second, 6, "line-3");
    let not_signed = |document: &str| {
        format!("{document} is not signed by enough of its keys: 0 of the 1 needed\n")
    };
    let forged = Papers { assignment: strangers.assignment.clone(), ..papers(second, 6) };
    refused(&forged, only(second), &not_signed("the assignment"));
    let forged = Papers { metadata: strangers.metadata, ..papers(second, 6) };
    refused(&forged, only(second), &not_signed("timestamp.json"));
    // A thief of the server has the director's key, and assigns what nobody has released: as such, and
    // under the name of a release.
    let unreleased = echo("4", TRIAL);
    refused(
        &papers(&unreleased, 6),
        only(&unreleased),
        "echo/4 is assigned, and the release keys have not signed it\n",
    );
    let evil = echo("2", BAD);
    refused(
        &papers(&evil, 6),
        only(&evil),
        "echo/2 is assigned with another digest or size than the release keys have signed\n",
    );
    // The right documents, and a file that was cut or changed on its way.
    let path = device.parcel(&papers(second, 6), only(second));
    let whole = fs::read(&path).unwrap();
    let kept = || {
        let folder = device.folder.path().join("state/blobs/sha256");
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.collect::<BTreeSet<_>>()
    };
    let before = kept();
    let spoil = |bytes: &[u8], wanted: &str| {
        fs::write(&path, bytes).unwrap();
        let output = device.program().arg("install").arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(wanted), "{said}");
        assert_eq!(device.status().unwrap()["assignment"], 5);
        assert_eq!(kept(), before, "nothing is left behind");
    };
    spoil(&whole[..300], "cut short");
    // Between two entries, behind the last blob.
    spoil(&whole[..whole.len() - 1536], "cut short");
    spoil(b"this is no parcel", "parcel.tar");
    let at = whole.windows(5).rposition(|bytes| bytes == b"\"name").unwrap();
    let mut damaged = whole.clone();
    damaged[at + 1] = b'N';
    spoil(&damaged, "is not what was sent");
    // The newer one of another device: its name is said, and nothing of it is kept.
    let other = vendor.papers(&bundles, second, 9, "line-4");
    let path = device.parcel_for(&[("line-2", &other), ("line-4", &other)], only(second));
    let output = device.program().arg("install").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("it is for line-2, line-4, and not for this device"), "{said}");
    assert_eq!(kept(), before, "nothing is left behind");
    // After all that, the right file is taken.
    assert!(device.install(&papers(second, 6), only(second)).status.success());
    settles_on(&device, "echo v2");
    // Whoever answers for the device hears of it too, with who it was.
    let log = fs::read_to_string(device.folder.path().join("agent.log")).unwrap();
    let told = log
        .lines()
        .any(|line| line.contains("parcel.tar, brought by") && line.contains("is not installed: "));
    assert!(told, "{log}");
    // What of a cut file lies here already does not make it a whole one.
    let path = device.parcel(&papers(second, 7), only(second));
    let whole = fs::read(&path).unwrap();
    for kept in [whole.len() / 2, whole.len() - 1536] {
        fs::write(&path, &whole[..kept]).unwrap();
        let output = device.program().arg("install").arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("cut short"), "{kept}: {said}");
        assert_eq!(device.status().unwrap()["assignment"], 6);
    }
    // One for several devices is as good, and an older one says what to do.
    let (own, other) = (papers(second, 8), vendor.papers(&bundles, first, 8, "line-4"));
    let all = [("line-2", &other), ("line-3", &own), ("line-4", &other)];
    let path = device.parcel_for(&all, &[first.clone(), second.clone()]);
    let output = device.program().arg("install").arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(device.status().unwrap()["assignment"], 8);
    let output = device.install(&papers(second, 7), only(second));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("have it packed again with `lineside device export`"), "{said}");
    check_each_frame_once(&device.findings());
}

#[test]
fn without_an_agent_status_tells_what_the_disk_says_and_install_says_what_to_do() {
    let (vendor, bundles) = (Vendor::new(), bundles());
    let device = Device::new(&vendor, 10);
    let status = device.status().unwrap();
    assert_eq!((&status["running"], &status["device"]), (&false.into(), &"line-3".into()));
    assert!(status["slots"]["echo"]["active"].is_null());
    let papers = vendor.papers(&bundles, &bundles[0], 1, "line-3");
    let output = device.install(&papers, &bundles[..1]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("lineside-agent run"), "{said}");
    let output = device.program().args(["install", "nowhere.tar"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("nowhere.tar"), "{said}");
}
