//! The thread from which rten is called.
//!
//! It works in a pool of threads and hands every call over to it, which takes 20 to 100 µs: longer
//! than a small model. A thread of the pool hands nothing over, so the whole loop around the engine
//! belongs there.

use rten::ThreadPool;
use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

thread_local! {
    /// The pool that this thread belongs to.
    static OWN: RefCell<Option<Arc<ThreadPool>>> = const { RefCell::new(None) };
}

/// Does the work in a thread for engines, which lives as long as the work, with this thread's priority.
pub(in crate::engine) fn within<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let pool = one();
    let own = pool.clone();
    pool.run(move || {
        OWN.set(Some(own));
        let done = work();
        OWN.set(None);
        done
    })
}

/// The pool of this thread, or where it is none for engines, the one that all such threads share.
pub(super) fn pool() -> Arc<ThreadPool> {
    static SHARED: OnceLock<Arc<ThreadPool>> = OnceLock::new();
    OWN.with_borrow(Option::clone).unwrap_or_else(|| SHARED.get_or_init(one).clone())
}

/// One thread: a model has the processor that its worker has.
fn one() -> Arc<ThreadPool> {
    Arc::new(ThreadPool::with_num_threads(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_works_within_the_thread_hands_nothing_over() {
        let outside = std::thread::current().id();
        let (inside, handed) = within(|| {
            let here = std::thread::current().id();
            (here, pool().run(|| std::thread::current().id()))
        });
        assert_ne!(inside, outside);
        assert_eq!(inside, handed);
        assert_ne!(pool().run(|| std::thread::current().id()), outside);
    }

    #[test]
    fn a_panic_within_is_a_panic_without() {
        let caught = std::panic::catch_unwind(|| within(|| panic!("gone")));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"gone"));
    }
}
