//! How fast and how much is fetched: for all slots together.

use crate::database::Database;
use redb::{TableDefinition, TableHandle};
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often somebody who waits looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Waits until that moment; false if it was cancelled before.
pub(super) fn wait(until: Instant, cancelled: &dyn Fn() -> bool) -> bool {
    while Instant::now() < until {
        if cancelled() {
            return false;
        }
        sleep(LOOK_EVERY.min(until.saturating_duration_since(Instant::now())));
    }
    true
}
/// Bytes that are read at once where there is a rate: a server must not take the pauses for death.
const SLOW_PIECE_BYTES: usize = 4 << 10;
/// Bytes that are booked at once: what a power cut costs of the budget, and how often it is written.
const BOOKED_BYTES: u64 = 1 << 20;
/// What a budget is for.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Running time after which it is written though nothing was fetched.
const WRITE_EVERY: Duration = Duration::from_secs(60);

const TABLE: TableDefinition<&str, &[u8]> = TableDefinition::new("download");
const SPENT: &str = "spent";

/// How fast and how much may be fetched.
#[derive(Clone, Default)]
pub struct Limits {
    rate: Option<Arc<Rate>>,
    budget: Option<Arc<Budget>>,
}

impl Limits {
    /// At most so many bytes a second, and so many in 24 hours of running time; nothing is no limit.
    ///
    /// # Errors
    /// What the database says.
    pub fn open(
        bytes_per_second: Option<u64>,
        budget_bytes: Option<u64>,
        database: Arc<Database>,
    ) -> Result<Limits, redb::Error> {
        let budget = budget_bytes.map(|bytes| Budget::open(bytes, database)).transpose()?;
        Ok(Limits {
            rate: bytes_per_second.map(Rate::new).map(Arc::new),
            budget: budget.map(Arc::new),
        })
    }

    /// Whether anything may be fetched now; otherwise the bytes of the budget that is used up.
    pub(super) fn used_up(&self) -> Option<u64> {
        let budget = self.budget.as_ref()?;
        (budget.allow(Instant::now()) == 0).then_some(budget.bytes)
    }

    /// `source`, within the limits. It ends where the budget does.
    pub(super) fn within<'a, R: Read>(
        &'a self,
        source: R,
        cancelled: &'a dyn Fn() -> bool,
    ) -> Limited<'a, R> {
        Limited { limits: self, source, cancelled }
    }
}

/// A reader within the limits.
pub(super) struct Limited<'a, R> {
    limits: &'a Limits,
    source: R,
    cancelled: &'a dyn Fn() -> bool,
}

impl<R: Read> Read for Limited<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut room = bytes.len();
        if self.limits.rate.is_some() {
            room = room.min(SLOW_PIECE_BYTES);
        }
        if let Some(budget) = &self.limits.budget {
            let allowed = budget.allow(Instant::now());
            room = usize::try_from(allowed).map_or(room, |allowed| allowed.min(room));
        }
        let read = self.source.read(&mut bytes[..room])?;
        if let Some(budget) = &self.limits.budget {
            budget.spend(read as u64);
        }
        if let Some(rate) = &self.limits.rate {
            let until = Instant::now() + rate.take(read as u64, Instant::now());
            wait(until, self.cancelled);
        }
        Ok(read)
    }
}

/// A rate that all downloads share.
struct Rate {
    bytes_per_second: u64,
    /// When all that was taken will have been earned.
    earned: Mutex<Option<Instant>>,
}

impl Rate {
    fn new(bytes_per_second: u64) -> Rate {
        Rate { bytes_per_second: bytes_per_second.max(1), earned: Mutex::default() }
    }

    /// Takes `bytes`. Returns how long to wait until the next are taken.
    fn take(&self, bytes: u64, now: Instant) -> Duration {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let mut earned = self.earned.lock().unwrap_or_else(PoisonError::into_inner);
        // What nobody took while nothing was fetched is not saved up.
        let until = earned.map_or(now, |earned| earned.max(now)) + cost;
        *earned = Some(until);
        until - now
    }
}

/// What may be fetched in a day of running time.
struct Budget {
    bytes: u64,
    database: Arc<Database>,
    spent: Mutex<Spent>,
}

/// What has been spent, as the database has it. Wall clocks lie, so a day is one of running time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Booked {
    /// How long the agent has run in this day, in milliseconds.
    ran_ms: u64,
    /// Bytes that are spent or will be next.
    bytes: u64,
}

struct Spent {
    booked: Booked,
    /// Bytes that were spent, at most as many as are booked.
    bytes: u64,
    /// Until when running time is counted.
    counted: Instant,
    /// Running time as the database has it.
    written_ms: u64,
}

impl Budget {
    fn open(bytes: u64, database: Arc<Database>) -> Result<Budget, redb::Error> {
        database.have_tables(&[TABLE.name()], |transaction| {
            transaction.open_table(TABLE)?;
            Ok(())
        })?;
        let table = database.begin_read()?.open_table(TABLE)?;
        let found = table.get(SPENT)?;
        let found = found.and_then(|found| serde_json::from_slice::<Booked>(found.value()).ok());
        let booked = found.unwrap_or_default();
        let (counted, written_ms) = (Instant::now(), booked.ran_ms);
        let spent = Spent { booked, bytes: booked.bytes, counted, written_ms };
        Ok(Budget { bytes, database, spent: Mutex::new(spent) })
    }

    /// Bytes that may be fetched next. They are booked on disk first: a device that starts again and
    /// again must not begin its budget anew with each start.
    fn allow(&self, now: Instant) -> u64 {
        let mut spent = self.lock();
        let ran = now.saturating_duration_since(spent.counted);
        spent.counted = now;
        let ran_ms = u64::try_from(ran.as_millis()).unwrap_or(u64::MAX);
        spent.booked.ran_ms = spent.booked.ran_ms.saturating_add(ran_ms);
        if u128::from(spent.booked.ran_ms) >= DAY.as_millis() {
            spent.booked = Booked::default();
            (spent.bytes, spent.written_ms) = (0, 0);
        }
        let booked = spent.booked.bytes;
        let more = spent.bytes >= booked && booked < self.bytes;
        let late_ms = spent.booked.ran_ms.saturating_sub(spent.written_ms);
        if more || u128::from(late_ms) >= WRITE_EVERY.as_millis() {
            let bytes =
                if more { booked.saturating_add(BOOKED_BYTES).min(self.bytes) } else { booked };
            let next = Booked { bytes, ..spent.booked };
            match self.write(next) {
                Ok(()) => {
                    spent.booked = next;
                    spent.written_ms = next.ran_ms;
                }
                // What cannot be booked is not spent.
                Err(error) => tracing::debug!("the download budget cannot be written: {error}"),
            }
        }
        spent.booked.bytes.min(self.bytes).saturating_sub(spent.bytes)
    }

    fn spend(&self, bytes: u64) {
        let mut spent = self.lock();
        spent.bytes = spent.bytes.saturating_add(bytes);
    }

    fn write(&self, booked: Booked) -> Result<(), redb::Error> {
        let bytes = serde_json::to_vec(&booked).expect("numbers have a JSON form");
        let transaction = self.database.begin_write()?;
        transaction.open_table(TABLE)?.insert(SPENT, &bytes[..])?;
        Ok(transaction.commit()?)
    }

    fn lock(&self) -> MutexGuard<'_, Spent> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::tests::in_memory;

    const MIB: u64 = 1 << 20;
    const NEVER: &dyn Fn() -> bool = &|| false;

    #[test]
    fn downloads_share_one_rate_and_idle_time_is_not_saved_up() {
        let (rate, now) = (Rate::new(1000), Instant::now());
        assert_eq!(rate.take(500, now), Duration::from_millis(500));
        // Another download, at the same time.
        assert_eq!(rate.take(1000, now), Duration::from_millis(1500));
        let later = now + Duration::from_secs(1);
        assert_eq!(rate.take(100, later), Duration::from_millis(600));
        let much_later = now + Duration::from_secs(3600);
        assert_eq!(rate.take(1000, much_later), Duration::from_secs(1));
    }

    #[test]
    fn a_budget_ends_the_download_and_a_new_start_does_not_renew_it() {
        let database = in_memory();
        let limits = Limits::open(None, Some(3 * MIB / 2), database.clone()).unwrap();
        let mut taken = Vec::new();
        limits.within(io::repeat(7), NEVER).take(MIB / 2).read_to_end(&mut taken).unwrap();
        assert_eq!(limits.used_up(), None);
        // Of what was booked and not used, at most as much is lost as is booked at once.
        let limits = Limits::open(None, Some(3 * MIB / 2), database.clone()).unwrap();
        taken.clear();
        limits.within(io::repeat(7), NEVER).read_to_end(&mut taken).unwrap();
        assert_eq!(taken.len() as u64, MIB / 2);
        assert_eq!(limits.used_up(), Some(3 * MIB / 2));
        let limits = Limits::open(None, Some(3 * MIB / 2), database.clone()).unwrap();
        assert_eq!(limits.used_up(), Some(3 * MIB / 2));
        // Another limit, or none, holds at once.
        assert_eq!(Limits::open(None, Some(4 * MIB), database.clone()).unwrap().used_up(), None);
        assert_eq!(Limits::open(None, None, database).unwrap().used_up(), None);
    }

    #[test]
    fn a_budget_is_renewed_after_a_day_of_running_time_however_often_the_agent_starts() {
        let database = in_memory();
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        for start in 0..3 {
            let budget = Budget::open(MIB, database.clone()).unwrap();
            let began = budget.lock().counted;
            let allowed = budget.allow(began);
            assert_eq!(allowed, if start == 0 { MIB } else { 0 }, "{start}");
            budget.spend(allowed);
            assert_eq!(budget.allow(began + hours(7)), 0, "{start}");
        }
        let budget = Budget::open(MIB, database).unwrap();
        let began = budget.lock().counted;
        assert_eq!(budget.allow(began + hours(2)), 0);
        assert_eq!(budget.allow(began + hours(4)), MIB);
    }

    #[test]
    fn whoever_is_no_longer_wanted_does_not_wait_for_the_rate() {
        let limits = Limits::open(Some(1), None, in_memory()).unwrap();
        let mut bytes = [0; 4096];
        // Over an hour's worth.
        let read = limits.within(io::repeat(7), &|| true).read(&mut bytes).unwrap();
        assert_eq!(read, 4096);
    }
}
