//! Room for the bytes of bodies: so many at the same time, whoever brings them.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for all bodies.
#[derive(Clone)]
pub(super) struct Room {
    free: Arc<Semaphore>,
    bytes_max: usize,
}

/// What one body takes of it, until it is dropped.
pub(super) struct Taken {
    room: Room,
    permit: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(super) fn new(bytes_max: usize) -> Room {
        let bytes_max = bytes_max.min(Semaphore::MAX_PERMITS);
        Room { free: Arc::new(Semaphore::new(bytes_max)), bytes_max }
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
        let Ok(more) = self.room.free.clone().try_acquire_many_owned(bytes) else { return false };
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
        true
    }

    /// Has it be so many bytes instead: those of the answer to what came. What is larger than half of all
    /// room takes that half, so that a single one is possible whatever its size. Not where others have it.
    pub(super) fn become_answer(&mut self, bytes: usize) -> bool {
        let wanted = bytes.min(self.room.bytes_max / 2);
        let own = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        match wanted.checked_sub(own) {
            Some(more) => more == 0 || self.grow(more),
            None => {
                let rest = self.permit.as_mut().and_then(|permit| permit.split(own - wanted));
                drop(rest);
                true
            }
        }
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

    #[test]
    fn an_answer_takes_room_as_long_as_it_is_on_its_way() {
        let room = Room::new(10);
        let (mut one, mut other) = (room.begin(), room.begin());
        assert!(one.grow(4) && one.become_answer(2) && other.grow(8));
        assert!(!one.become_answer(3), "others have it");
        assert!(other.become_answer(1000) && one.become_answer(1000), "half of it each");
        assert!(!room.begin().grow(1));
        drop(one);
        assert!(room.begin().grow(5));
    }
}
