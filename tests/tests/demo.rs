//! The story of the demo, told once.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::program;
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
    assert_eq!(end, "committed=v2 refused=v3 rolled_back=v4 lost=0 doubled=0");
    assert!(output.status.success());
}
