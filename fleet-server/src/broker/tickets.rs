//! What the gate hands to the guard for somebody who has shown a certificate: the broker between them knows of
//! passwords alone.

use lineside_identity::Peer;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that nobody guesses.
const BYTES: usize = 32;

/// Tickets that were issued and not shown yet.
#[derive(Clone, Default)]
pub(crate) struct Tickets(Arc<Mutex<HashMap<String, Peer>>>);

impl Tickets {
    /// A ticket for who has shown a certificate; none if the system gives no random bytes.
    pub fn issue(&self, peer: Peer) -> Option<Ticket> {
        let mut bytes = [0; BYTES];
        SystemRandom::new().fill(&mut bytes).ok()?;
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.open().insert(text.clone(), peer);
        Some(Ticket { tickets: self.clone(), text })
    }

    /// Whose ticket this is. It is good once.
    pub fn take(&self, text: &str) -> Option<Peer> {
        self.open().remove(text)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Peer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A ticket: worth nothing any more when this is dropped.
pub(crate) struct Ticket {
    tickets: Tickets,
    text: String,
}

impl Ticket {
    /// As it is shown.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.tickets.open().remove(&self.text);
    }
}
