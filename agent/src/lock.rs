//! Locks that outlive a panic: whoever held one has told of it, and what it guards is still the best that is
//! known.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock, even if whoever had it before has panicked.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
