//! Room for the bytes of bodies: so many at the same time, whoever brings them.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for all bodies.
#[derive(Clone)]
pub(super) struct Room(Arc<Semaphore>);

/// What one body takes of it, until it is dropped.
pub(super) struct Taken {
    room: Room,
    permit: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(super) fn new(bytes_max: usize) -> Room {
        Room(Arc::new(Semaphore::new(bytes_max.min(Semaphore::MAX_PERMITS))))
    }

    /// Nothing yet.
    pub(super) fn begin(&self) -> Taken {
        Taken { room: self.clone(), permit: None }
    }
}

impl Taken {
    /// Takes room for some bytes more. Not where others have it.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let Ok(bytes) = u32::try_from(bytes) else { return false };
        let Ok(more) = self.room.0.clone().try_acquire_many_owned(bytes) else { return false };
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_body_takes_no_other_has_until_it_is_gone() {
        let room = Room::new(10);
        let (mut one, mut other) = (room.begin(), room.begin());
        assert!(one.grow(4) && one.grow(3) && !other.grow(4) && other.grow(3));
        assert!(!one.grow(1));
        drop(one);
        assert!(other.grow(7));
    }
}
