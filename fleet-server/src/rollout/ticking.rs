//! Time, for rollouts: they move on here and nowhere else.

use crate::error::chain;
use crate::fleet::Fleet;
use lineside_rollout::{Event, Ticked};
use std::sync::Arc;
use std::time::{Duration, Instant};
use time::OffsetDateTime;

/// How often rollouts move on while something happens.
const TICK: Duration = Duration::from_secs(1);
/// How often while nothing does: gates soak in minutes.
const QUIET_TICK: Duration = Duration::from_secs(10);
/// How often the registry is gone through, whoever has said that it has changed.
const SURVEYED_EVERY: Duration = Duration::from_secs(60);

impl Fleet {
    /// Has rollouts move on, for as long as the server runs.
    pub async fn keep_rolling(self: Arc<Fleet>) {
        let (mut surveyed, mut ticked): (Option<Instant>, _) = (None, Instant::now());
        let (mut is_clock_right, mut looked) = (true, None);
        loop {
            let is_stale = tokio::select! {
                () = self.rollouts.is_stale.notified() => true,
                () = tokio::time::sleep(TICK) => false,
            };
            let is_looked = looked.is_some_and(|at: Instant| at.elapsed() < SURVEYED_EVERY);
            if is_stale || !is_looked {
                looked = Some(Instant::now());
                // Also while there is nothing to pause: what a rule wants now is not for what begins later.
                if let Err(error) = self.pause_rollouts().await {
                    tracing::warn!("rollouts pause later as a rule wants: {}", chain(&error));
                }
            }
            match self.rollouts.are_idle().await {
                Ok(false) => {}
                Ok(true) => {
                    // Time in which there was none counts for none.
                    ticked = Instant::now();
                    continue;
                }
                Err(error) => {
                    tracing::error!("rollouts stand still: {}", chain(&error));
                    continue;
                }
            }
            let is_surveyed = surveyed.is_some_and(|at| at.elapsed() < SURVEYED_EVERY);
            if is_stale || !is_surveyed {
                surveyed = Some(Instant::now());
                // Windows stay closed where nobody knows the time.
                let trouble = self.repository.clock_trouble(OffsetDateTime::now_utc()).await;
                is_clock_right = matches!(trouble, Ok(None));
                if let Err(error) = self.survey().await {
                    tracing::warn!("rollouts hear of devices later: {}", chain(&error));
                }
            }
            if self.rollouts.take_news().await || ticked.elapsed() >= QUIET_TICK {
                let ran_ms = u64::try_from(ticked.elapsed().as_millis()).unwrap_or(u64::MAX);
                ticked = Instant::now();
                let utc_minute = is_clock_right.then(|| minute_of_week(OffsetDateTime::now_utc()));
                let event = Event::Ticked(Ticked { ran_ms, utc_minute });
                if let Err(error) = self.rollouts.apply(event).await {
                    tracing::error!("rollouts stand still: {}", chain(&error));
                }
            }
        }
    }
}

/// The minute of the week, 0 being Monday 00:00.
fn minute_of_week(at: OffsetDateTime) -> u16 {
    let day = u16::from(at.weekday().number_days_from_monday());
    day * 1_440 + u16::from(at.hour()) * 60 + u16::from(at.minute())
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_week_begins_on_monday_at_midnight() {
        assert_eq!(minute_of_week(datetime!(2026-11-23 00:00 UTC)), 0);
        assert_eq!(minute_of_week(datetime!(2026-11-27 15:30 UTC)), 4 * 1_440 + 930);
        assert_eq!(minute_of_week(datetime!(2026-11-29 23:59 UTC)), 10_079);
    }
}
