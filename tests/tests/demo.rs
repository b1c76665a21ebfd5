//! The story of the demo: told once, and broken off.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::child::{PATIENCE, Program, wait};
use lineside_tests::program;
use rustix::process::Signal;
use std::process::Command;

#[test]
fn the_story_ends_with_nothing_lost_and_nothing_doubled() {
    let output = Command::new(program("lineside-demo")).arg("--once").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().last().unwrap_or_default();
    let (start, rest) = last.split_once(" findings=").unwrap_or_default();
    let (findings, end) = rest.split_once(' ').unwrap_or_default();
    assert_eq!(start, "demo: devices=3", "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(findings.parse::<u64>().unwrap() > 400, "{last}");
    assert_eq!(end, "alerted=v1 committed=v2 refused=v3 rolled_back=v4 lost=0 doubled=0");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains('\x1b'), "colours are for terminals");
}

#[test]
fn the_story_can_be_broken_off_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = Command::new(program("lineside-demo"));
    let mut demo =
        Program::start("demo", folder.path(), command.env("TMPDIR", &temporary)).unwrap();
    let installed = || demo.output().contains("bed-3").then_some(());
    wait("the devices are installed", installed).unwrap();
    demo.signal(Signal::INT);
    let status = demo.ends(PATIENCE).unwrap();
    assert!(status.success(), "{status}: {}", demo.log());
    assert!(demo.output().ends_with("demo: stopped\n"), "{}", demo.output());
    let left: Vec<_> = std::fs::read_dir(&temporary).unwrap().collect();
    assert!(left.is_empty(), "keys and tokens are left behind: {left:?}");
}
