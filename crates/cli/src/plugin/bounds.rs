//! What a plugin may have while it is tried, as the bundle will say.

use clap::Args;
use lineside_runtime::SandboxLimits;
use std::ffi::OsString;
use std::num::NonZeroU32;
use std::time::Duration;

/// Linear memory that it may take where nobody says, in MiB: what it takes is what is asked.
const MEMORY_MIB: u32 = 1024;
/// Longest that a plugin may take to be compiled for this machine, with what is then asked of it, unless
/// somebody says so: one with an interpreter of its own has many megabytes.
const SECONDS: NonZeroU32 = NonZeroU32::new(300).expect("five minutes are not nought");

#[derive(Args)]
pub struct Bounds {
    /// Linear memory that it may take, as `limits.plugin_memory_mib` of a bundle.
    #[arg(long, value_name = "N", default_value_t = MEMORY_MIB, value_parser = clap::value_parser!(u32).range(1..=4096))]
    memory_mib: u32,
    /// Longest that its start, or a call, may take in milliseconds, as `limits.frame_ms` of a bundle.
    #[arg(long, value_name = "N", default_value = "1000")]
    frame_ms: NonZeroU32,
    /// How long it may take to be looked into and compiled, in seconds.
    #[arg(long, value_name = "N", default_value_t = SECONDS)]
    pub seconds: NonZeroU32,
}

impl Bounds {
    /// As a sandbox wants them.
    pub fn limits(&self) -> SandboxLimits {
        let call = Duration::from_millis(u64::from(self.frame_ms.get()));
        SandboxLimits::new((self.memory_mib as usize) << 20, call)
    }

    /// As this program is told them.
    pub fn arguments(&self) -> [OsString; 3] {
        let Bounds { memory_mib, frame_ms, seconds } = self;
        [
            format!("--memory-mib={memory_mib}"),
            format!("--frame-ms={frame_ms}"),
            format!("--seconds={seconds}"),
        ]
        .map(OsString::from)
    }
}
