//! Whether a release would run: questions that devices have been asked, until they are answered or
//! nobody waits any longer. Kept in memory: a question that is lost is asked again.

use crate::bounds::{ANSWERS_BYTES_MAX, QUESTIONS_MAX};
use crate::error::Error;
use lineside_wire::name::DeviceId;
use lineside_wire::v1::{Answer, SlotAnswer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::timeout;

/// The questions that are open.
#[derive(Clone, Default)]
pub(crate) struct Questions(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    last: u64,
    questions: BTreeMap<u64, Question>,
}

struct Question {
    /// Devices that have not answered.
    waiting: BTreeSet<DeviceId>,
    answers: BTreeMap<DeviceId, Vec<SlotAnswer>>,
    bytes: usize,
    all: Arc<Notify>,
}

/// A question of one's own; it ends when this is dropped.
pub(crate) struct Asking {
    questions: Questions,
    pub id: u64,
    all: Arc<Notify>,
}

impl Questions {
    /// Begins a question to these devices.
    ///
    /// # Errors
    /// [`Error::Conflict`] where too many are open.
    pub fn begin(&self, devices: BTreeSet<DeviceId>, now: OffsetDateTime) -> Result<Asking, Error> {
        let mut open = self.lock();
        if open.questions.len() >= QUESTIONS_MAX {
            return Err(Error::Conflict(format!(
                "{QUESTIONS_MAX} questions are being asked already; ask again in a moment"
            )));
        }
        // By the clock, so that an answer to a question of this server's last start is no answer to
        // one of this start.
        let clock = u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
        open.last = clock.max(open.last + 1);
        let (id, all) = (open.last, Arc::new(Notify::new()));
        let question =
            Question { waiting: devices, answers: BTreeMap::new(), bytes: 0, all: all.clone() };
        open.questions.insert(id, question);
        Ok(Asking { questions: self.clone(), id, all })
    }

    /// Takes the answer of a device, of `bytes` on the wire. What nobody asked, or asks no more, is
    /// left; so is what would be too much for one question.
    pub fn answer(&self, device: &DeviceId, answer: Answer, bytes: usize) {
        let mut open = self.lock();
        let Some(question) = open.questions.get_mut(&answer.id) else { return };
        if !question.waiting.contains(device) || question.bytes + bytes > ANSWERS_BYTES_MAX {
            return;
        }
        question.waiting.remove(device);
        question.bytes += bytes;
        question.answers.insert(device.clone(), answer.slots);
        if question.waiting.is_empty() {
            question.all.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asking {
    /// The answers, once all are there or `longest` is over.
    pub async fn answers(self, longest: Duration) -> BTreeMap<DeviceId, Vec<SlotAnswer>> {
        let waits = self
            .questions
            .lock()
            .questions
            .get(&self.id)
            .is_some_and(|question| !question.waiting.is_empty());
        if waits {
            // Whoever has not answered by then is told of as such.
            let _ = timeout(longest, self.all.notified()).await;
        }
        let question = self.questions.lock().questions.remove(&self.id);
        question.map(|question| question.answers).unwrap_or_default()
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.questions.lock().questions.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn device(name: &str) -> DeviceId {
        name.parse().unwrap()
    }

    fn devices(names: &[&str]) -> BTreeSet<DeviceId> {
        names.iter().map(|name| device(name)).collect()
    }

    fn answer(id: u64) -> Answer {
        Answer { id, slots: vec![SlotAnswer { slot: "line".into(), objections: Vec::new() }] }
    }

    #[tokio::test]
    async fn who_was_asked_answers_once_and_nobody_waits_for_more() {
        let questions = Questions::default();
        let asking = questions.begin(devices(&["a", "b"]), NOW).unwrap();
        let id = asking.id;
        questions.answer(&device("stranger"), answer(id), 1);
        questions.answer(&device("a"), answer(id + 1), 1);
        questions.answer(&device("a"), answer(id), 1);
        questions.answer(&device("a"), Answer { id, slots: Vec::new() }, 1);
        questions.answer(&device("b"), answer(id), 1);
        let answers = asking.answers(Duration::from_secs(3600)).await;
        assert_eq!(answers.len(), 2);
        assert_eq!(answers[&device("a")], answer(id).slots, "the first answer counts");
        questions.answer(&device("a"), answer(id), 1);
        assert!(questions.lock().questions.is_empty());
    }

    #[tokio::test]
    async fn who_does_not_answer_is_missing_and_an_empty_question_waits_for_nobody() {
        let questions = Questions::default();
        let asking = questions.begin(devices(&["a", "b"]), NOW).unwrap();
        questions.answer(&device("b"), answer(asking.id), 1);
        let answers = asking.answers(Duration::ZERO).await;
        assert_eq!(answers.into_keys().collect::<BTreeSet<_>>(), devices(&["b"]));
        let nobody = questions.begin(BTreeSet::new(), NOW).unwrap();
        assert!(nobody.answers(Duration::from_secs(3600)).await.is_empty());
    }

    #[test]
    fn questions_and_answers_are_bounded_and_numbers_never_come_again() {
        let questions = Questions::default();
        let begin = || questions.begin(devices(&["a"]), NOW + Duration::from_secs(9));
        let open: Vec<Asking> = (0..QUESTIONS_MAX).map(|_| begin().unwrap()).collect();
        assert_eq!(open[0].id, 9000);
        assert!(open.windows(2).all(|pair| pair[0].id < pair[1].id));
        assert!(begin().is_err());
        drop(open);
        let asking = begin().unwrap();
        questions.answer(&device("a"), answer(asking.id), ANSWERS_BYTES_MAX + 1);
        assert!(questions.lock().questions[&asking.id].answers.is_empty());
    }
}
