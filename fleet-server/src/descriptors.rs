//! Open files: each connection is one, and most machines allow a program 1,024 unless it asks.

use crate::bounds::{DEVICE_CONNECTIONS_MAX, HTTP_CONNECTIONS_MAX, OTHER_FILES};
use rustix::process::{Resource, getrlimit, setrlimit};

/// Connections that there are files for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connections {
    /// Of devices, to the broker.
    pub devices: usize,
    /// To the HTTP interface.
    pub http: usize,
}

/// Whether devices may come by TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encrypted {
    /// All are on this machine.
    No,
    Yes,
}

impl Connections {
    /// Asks for as many open files as this program may have, and shares them out. Says so if they
    /// are fewer than wanted.
    pub fn allowed(way: Encrypted) -> Connections {
        let limit = getrlimit(Resource::Nofile);
        let mut raised = limit;
        raised.current = limit.maximum;
        let got = if setrlimit(Resource::Nofile, raised).is_ok() { raised } else { limit };
        let files =
            got.current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
        let connections = Connections::within(files, way);
        if connections.devices < DEVICE_CONNECTIONS_MAX {
            tracing::warn!(
                "this program may have {files} open files: {} devices can be connected at a time; \
                 raise its limit (`ulimit -Hn`, LimitNOFILE= of systemd) for up to \
                 {DEVICE_CONNECTIONS_MAX}",
                connections.devices
            );
        }
        connections
    }

    /// Shares out a number of open files. A request to the HTTP interface may hold a blob open
    /// beside its connection; a device that comes by TLS has the connection itself, and both ends of the one
    /// from the gate to the broker.
    fn within(files: usize, way: Encrypted) -> Connections {
        let files = files.saturating_sub(OTHER_FILES);
        let http = HTTP_CONNECTIONS_MAX.min(files / 4).max(1);
        let each = match way {
            Encrypted::No => 1,
            Encrypted::Yes => 3,
        };
        let devices = DEVICE_CONNECTIONS_MAX.min(files.saturating_sub(2 * http) / each).max(1);
        Connections { devices, http }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_the_files_that_a_program_may_have_open() {
        let within = |files, way| {
            let Connections { devices, http } = Connections::within(files, way);
            (devices, http)
        };
        let most = (DEVICE_CONNECTIONS_MAX, HTTP_CONNECTIONS_MAX);
        for (way, each, of_1024) in [(Encrypted::No, 1, 448), (Encrypted::Yes, 3, 149)] {
            assert_eq!(within(usize::MAX, way), most);
            assert_eq!(within(1_024, way), (of_1024, 224));
            assert_eq!(within(0, way), (1, 1));
            for files in [256, 1_024, 4_096, 65_536] {
                let (devices, http) = within(files, way);
                assert!(each * devices + 2 * http + OTHER_FILES <= files, "{files}");
            }
        }
    }
}
