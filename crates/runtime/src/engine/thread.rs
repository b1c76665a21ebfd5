//! The thread from which engines are called.

/// Does `work` in a thread in which engines run at their best, with this thread's priority. Whatever
/// else is done there takes no longer than elsewhere.
pub fn in_engine_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    #[cfg(target_pointer_width = "64")]
    return super::rten::pool::within(work);
    #[cfg(not(target_pointer_width = "64"))]
    return work();
}
