//! How much memory a worker has had, and what the system does to it where there is none left, from `/proc`
//! (proc(5)).

use std::fs;

/// Most memory that this process had for itself so far, in KiB; none where the machine does not tell.
///
/// What it shares with its supervisor, above all the executable, which is the same, is not counted.
pub(super) fn own_kib_max() -> Option<u64> {
    own_kib(&fs::read_to_string("/proc/self/status").ok()?)
}

fn own_kib(status: &str) -> Option<u64> {
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    // What is mapped from files grows while a process runs, and hardly ever shrinks.
    Some(kib("VmHWM:")?.saturating_sub(kib("RssFile:")?))
}

/// Worst that a process can be to a system that has no memory left.
const BADNESS_MAX: i32 = 1000;
const BADNESS: &str = "/proc/self/oom_score_adj";

/// How much rather than others this process is ended where the system has no memory left; none where the
/// machine does not tell.
pub(super) fn own_badness() -> Option<i32> {
    fs::read_to_string(BADNESS).ok()?.trim().parse().ok()
}

/// Has the system think so of this process. Everybody may be made worse, and as good again as before.
pub(super) fn set_own_badness(badness: i32) {
    // Where the machine does not take it, the system chooses by size alone.
    let _ = fs::write(BADNESS, badness.min(BADNESS_MAX).to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_not_held_against_a_bundle() {
        let status = "Name:\tVmHWM: 7\nVmHWM:\t   91234 kB\nVmRSS:\t 9 kB\nRssFile:\t   30234 kB\n";
        assert_eq!(own_kib(status), Some(61_000));
        // Kernels before 4.5 do not tell them apart.
        assert_eq!(own_kib("VmHWM:\t   91234 kB\n"), None);
        assert!(own_kib_max().is_some_and(|kib| kib > 0));
    }
}
