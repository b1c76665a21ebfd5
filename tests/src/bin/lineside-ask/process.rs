//! What processes take.

use std::fs;

/// Bytes of memory of a process and all that it has started, each page that several share counted once
/// (`Pss` in proc(5)).
pub fn memory(process: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let children: Vec<u32> = tasks
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| {
            text.split_whitespace().filter_map(|it| it.parse().ok()).collect::<Vec<_>>()
        })
        .collect();
    let map = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
    let line = map.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
    let kib: f64 = line.split_whitespace().next().and_then(|it| it.parse().ok()).unwrap_or(0.0);
    kib * 1024.0 + children.into_iter().map(memory).sum::<f64>()
}
