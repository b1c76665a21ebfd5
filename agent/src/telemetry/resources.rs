//! What the device has left, from `/proc` and `/sys` (proc(5)).

use lineside_wire::v1::Resources;
use std::fs;
use std::path::Path;

/// The kernel tells processor time in hundredths of a second on every platform of ours.
const MS_PER_TICK: u64 = 10;
/// Fields of `/proc/PID/stat` behind the name, which may hold anything: user and system time.
const TIMES: std::ops::Range<usize> = 11..13;

/// Reads what there is; what cannot be read is nought.
pub fn read(state_dir: &Path) -> Resources {
    let mut resources = Resources::default();
    let workers = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let workers = workers
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|pids| pids.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    for process in ["self".to_owned()].into_iter().chain(workers) {
        let file = |name: &str| fs::read_to_string(format!("/proc/{process}/{name}"));
        resources.cpu_ms += file("stat").map_or(0, |stat| ticks(&stat) * MS_PER_TICK);
        resources.resident_kib += file("status").map_or(0, |status| resident_kib(&status));
    }
    if let Ok(disk) = rustix::fs::statvfs(state_dir) {
        resources.disk_free_mib = disk.f_bavail.saturating_mul(disk.f_frsize) >> 20;
    }
    let temperature = fs::read_to_string("/sys/class/thermal/thermal_zone0/temp");
    let millidegrees = temperature.ok().and_then(|text| text.trim().parse::<f32>().ok());
    resources.temperature_c = millidegrees.map(|millidegrees| millidegrees / 1000.0);
    resources
}

fn ticks(stat: &str) -> u64 {
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let times = fields.split_whitespace().skip(TIMES.start).take(TIMES.len());
    times.filter_map(|time| time.parse::<u64>().ok()).sum()
}

fn resident_kib(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_behind_any_name_a_process_has() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 10 0 0 0 123 45 0 0 20 0 1 0 5 1 1";
        assert_eq!(ticks(stat), 168);
        assert_eq!(resident_kib("Name:\tx\nVmRSS:\t   1234 kB\n"), 1234);
        assert_eq!((ticks(""), resident_kib("")), (0, 0));
    }

    #[test]
    fn this_machine_tells_something() {
        let resources = read(Path::new("/"));
        assert!(resources.resident_kib > 0 && resources.disk_free_mib > 0, "{resources:?}");
    }
}
