//! Machines that are not this one: what the agent has to run on as well.

use crate::setup;

/// A machine that is not this one: Rust target, linker, emulator and where its libraries lie.
pub struct Foreign {
    /// What Rust calls it.
    pub target: &'static str,
    /// Program and Debian's package, as of all the following.
    pub linker: (&'static str, &'static str),
    /// Debian's compiler only recommends the C library that it links with.
    c_library: (&'static str, &'static str),
    /// Runs its programs here.
    pub emulator: &'static str,
    /// Where the emulator finds what they are linked with.
    pub libraries: &'static str,
}

/// The machines of the shop floor.
pub const ARM: [Foreign; 2] = [
    Foreign {
        target: "aarch64-unknown-linux-gnu",
        linker: ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
        c_library: ("/usr/aarch64-linux-gnu/lib/crt1.o", "libc6-dev-arm64-cross"),
        emulator: "qemu-aarch64-static",
        libraries: "/usr/aarch64-linux-gnu",
    },
    Foreign {
        target: "armv7-unknown-linux-gnueabihf",
        linker: ("arm-linux-gnueabihf-gcc", "gcc-arm-linux-gnueabihf"),
        c_library: ("/usr/arm-linux-gnueabihf/lib/crt1.o", "libc6-dev-armhf-cross"),
        emulator: "qemu-arm-static",
        libraries: "/usr/arm-linux-gnueabihf",
    },
];

/// Has what compiles for them.
///
/// # Errors
/// What is missing and cannot be had.
pub fn compilers() -> anyhow::Result<()> {
    setup::targets(&ARM.map(|foreign| foreign.target))?;
    let programs: Vec<_> =
        ARM.iter().flat_map(|foreign| [foreign.linker, foreign.c_library]).collect();
    setup::programs(&programs)
}

/// Has what runs their programs here.
///
/// # Errors
/// What is missing and cannot be had.
pub fn emulators() -> anyhow::Result<()> {
    setup::programs(&ARM.map(|foreign| (foreign.emulator, "qemu-user-static")))
}
