//! What the device has left, from `/proc` and `/sys` (proc(5), the kernel's `block/stat` and
//! `ABI/testing/sysfs-class-power`).

use lineside_wire::v1::Resources;
use std::fs;
use std::path::Path;

/// The kernel tells processor time in hundredths of a second on every platform of ours.
const MS_PER_TICK: u64 = 10;
/// The kernel counts a medium's sectors by 512 bytes, whatever its own are.
const SECTORS_PER_KIB: u64 = 2;
/// Field of `/sys/dev/block/…/stat`: sectors written.
const SECTORS_WRITTEN: usize = 6;
/// Supplies of power that are looked at.
const SUPPLIES_MAX: usize = 64;
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
        resources.written_kib += file("io").map_or(0, |io| written_kib(&io));
    }
    resources.device_written_kib = device_written_kib(state_dir);
    resources.battery_percent = battery_percent(Path::new("/sys/class/power_supply"));
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

/// What was written to storage, less what was cut off again before it got there.
fn written_kib(io: &str) -> u64 {
    let line = |name: &str| {
        let line = io.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    line("write_bytes").saturating_sub(line("cancelled_write_bytes")) >> 10
}

/// What the machine has written to the block device of a folder. A folder that lies on none, as in
/// memory, has none.
fn device_written_kib(folder: &Path) -> Option<u64> {
    let device = rustix::fs::stat(folder).ok()?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    sectors_written(&stat).map(|sectors| sectors / SECTORS_PER_KIB)
}

fn sectors_written(stat: &str) -> Option<u64> {
    stat.split_whitespace().nth(SECTORS_WRITTEN)?.parse().ok()
}

/// Charge of the first battery that the machine runs on: those of mice and pens have a scope.
fn battery_percent(supplies: &Path) -> Option<u8> {
    let mut supplies: Vec<_> =
        fs::read_dir(supplies).ok()?.flatten().take(SUPPLIES_MAX).map(|it| it.path()).collect();
    supplies.sort();
    supplies.iter().find_map(|supply| {
        let file = |name: &str| fs::read_to_string(supply.join(name)).ok();
        let is_of_machine = file("scope").is_none_or(|scope| scope.trim() != "Device");
        let is_battery = file("type").is_some_and(|kind| kind.trim() == "Battery");
        let capacity = file("capacity").filter(|_| is_battery && is_of_machine)?;
        capacity.trim().parse::<u8>().ok().map(|percent| percent.min(100))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wears_flash_is_what_has_gone_to_the_medium() {
        let io = "rchar: 9\nwchar: 99999\nread_bytes: 7\nwrite_bytes: 40960\n\
                  cancelled_write_bytes: 8192\n";
        assert_eq!((written_kib(io), written_kib("")), (32, 0));
        let stat =
            "    1200     30    9000     800     2000    50   123456     900    0   700 1700\n";
        assert_eq!((sectors_written(stat), sectors_written("1 2")), (Some(123_456), None));
    }

    #[test]
    fn the_battery_is_the_one_that_the_machine_runs_on() {
        let folder = tempfile::tempdir().unwrap();
        let supply = |name: &str, files: &[(&str, &str)]| {
            let supply = folder.path().join(name);
            fs::create_dir(&supply).unwrap();
            files.iter().for_each(|(name, text)| fs::write(supply.join(name), text).unwrap());
        };
        assert_eq!(battery_percent(&folder.path().join("none")), None);
        supply("AC", &[("type", "Mains\n"), ("online", "1\n")]);
        supply("a-mouse", &[("type", "Battery\n"), ("scope", "Device\n"), ("capacity", "9\n")]);
        assert_eq!(battery_percent(folder.path()), None);
        supply("battery", &[("type", "Battery\n"), ("capacity", "83\n")]);
        assert_eq!(battery_percent(folder.path()), Some(83));
    }

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
