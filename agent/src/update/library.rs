//! The engine that lies in a shared library, as far as is known of it by now: a library may take its
//! time to load, and what waits for it hears when it has.

use lineside_bundle::Digest;
use lineside_runtime::Onnxruntime;
use tokio::sync::watch;

/// What is known of the library.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The engine, as far as it can be used now.
    pub onnxruntime: Onnxruntime,
    /// What the file is, as far as that is known.
    pub digest: Option<Digest>,
    /// It has not loaded in time, which says nothing about it: it is tried again.
    pub waits: bool,
}

/// The library, of which more may be known later.
#[derive(Clone)]
pub struct Library(watch::Receiver<Known>);

impl Default for Library {
    fn default() -> Library {
        Library::of(Known::default())
    }
}

impl Library {
    /// One of which no more will be known.
    pub fn of(known: Known) -> Library {
        Library(watch::channel(known).1)
    }

    /// One of which somebody will tell more.
    pub fn told_by(known: watch::Receiver<Known>) -> Library {
        Library(known)
    }

    /// What is known now.
    pub fn now(&self) -> Known {
        self.0.borrow().clone()
    }

    /// Waits until it is known whether it can be used; for ever where nobody will tell.
    pub async fn settled(&self) {
        let mut told = self.0.clone();
        if told.wait_for(|known| !known.waits).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
