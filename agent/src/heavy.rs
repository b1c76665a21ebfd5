//! Work that takes its time, within the runtime that answers everybody.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Bytes from which on work is told to the runtime, so that it gives others another thread.
const HEAVY_BYTES: usize = 64 << 10;

/// Does what takes its time for so many bytes.
pub(crate) fn heavily<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let has_others = || {
        let handle = Handle::try_current();
        handle.is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread)
    };
    if bytes > HEAVY_BYTES && has_others() { block_in_place(work) } else { work() }
}
