//! How far groups are behind in time: when what they read next was written.
//!
//! That takes a look into a log. The answer stands as long as the committed offset does, so it is kept; a scrape has so many
//! looked up, those first that have waited the longest, and waits for none of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coordinators::group::GroupId;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::debug;
use uuid::Uuid;

use super::census::{Groups, Lag, LagKey};

/// Look-ups for one scrape.
const LOOK_UPS: usize = 200;
/// As many at a time as the engine has threads for.
const AT_ONCE: usize = 4;
/// What does not answer for so long is told by a later scrape.
const PATIENCE: Duration = Duration::from_millis(250);

type Key = (GroupId, Uuid, i32);

#[derive(Default)]
struct Known {
    /// The scrape that has had it looked up; 0: none.
    looked_up_by: u64,
    /// Offset and timestamp, in ms, of what a group was to read next.
    found: Option<(i64, i64)>,
}

#[derive(Default)]
struct State {
    scrapes: u64,
    known: HashMap<Key, Known>,
}

/// What is known of the times at committed offsets: of as many as the last scrape has shown.
pub(super) struct LagTimes {
    state: Arc<Mutex<State>>,
    /// Look-ups that hang are not joined by others.
    turn: Arc<Semaphore>,
}

impl Default for LagTimes {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

impl LagTimes {
    /// Fills in the seconds, as far as they are known.
    pub async fn fill_in(&self, groups: &mut Groups, now_ms: i64) {
        let stale = self.stale(groups);
        if !stale.is_empty()
            && let Ok(turn) = Arc::clone(&self.turn).try_acquire_owned()
        {
            let state = Arc::clone(&self.state);
            let looking_up = tokio::spawn(async move {
                look_up(&state, stale).await;
                drop(turn);
            });
            // It goes on for the next scrape.
            let _ = tokio::time::timeout(PATIENCE, looking_up).await;
        }
        let state = self.state.lock();
        for (key, lag) in &mut groups.lags {
            if lag.records == Some(0) {
                lag.seconds = Some(0.0);
                continue;
            }
            // Of an earlier offset it is an upper bound.
            let known = self::key(key, lag).and_then(|key| state.known.get(&key));
            if let Some((_, timestamp)) = known.and_then(|known| known.found) {
                lag.seconds = Some(now_ms.saturating_sub(timestamp).max(0) as f64 / 1e3);
            }
        }
    }

    /// What is to be looked up now. What is shown no more is forgotten.
    fn stale(&self, groups: &Groups) -> Vec<(Key, Lag)> {
        let mut state = self.state.lock();
        state.scrapes += 1;
        let mut before = std::mem::take(&mut state.known);
        let mut stale = Vec::new();
        for (key, lag) in &groups.lags {
            let Some(key) = self::key(key, lag) else {
                continue;
            };
            let known = before.remove(&key).unwrap_or_default();
            let is_current = known
                .found
                .is_some_and(|(offset, _)| offset == lag.committed);
            if !is_current && lag.records.is_some_and(|records| records > 0) {
                stale.push((known.looked_up_by, key.clone(), lag.clone()));
            }
            state.known.insert(key, known);
        }
        stale.sort_by_key(|(looked_up_by, ..)| *looked_up_by);
        stale.truncate(LOOK_UPS);
        let scrape = state.scrapes;
        for (_, key, _) in &stale {
            if let Some(known) = state.known.get_mut(key) {
                known.looked_up_by = scrape;
            }
        }
        let stale = stale.into_iter();
        stale.map(|(_, key, lag)| (key, lag)).collect()
    }
}

fn key(key: &LagKey, lag: &Lag) -> Option<Key> {
    Some((
        key.group.clone(),
        lag.source.as_ref()?.topic_id,
        key.partition?,
    ))
}

async fn look_up(state: &Mutex<State>, stale: Vec<(Key, Lag)>) {
    let mut asked = JoinSet::new();
    let mut stale = stale.into_iter();
    loop {
        while asked.len() < AT_ONCE
            && let Some((key, lag)) = stale.next()
        {
            let Some(source) = lag.source else {
                continue;
            };
            asked.spawn(async move {
                let found = source.log.timestamp_at(lag.committed).await;
                (key, lag.committed, found)
            });
        }
        let Some(answered) = asked.join_next().await else {
            return;
        };
        match answered {
            Ok((key, offset, Ok(Some(timestamp)))) if timestamp >= 0 => {
                if let Some(known) = state.lock().known.get_mut(&key) {
                    known.found = Some((offset, timestamp));
                }
            }
            // The log begins later by now, its records have no time, or it is gone.
            Ok((_, offset, Err(error))) => debug!(offset, "no time for a lag: {error}"),
            Ok(_) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use storage::log::{AppendOrigin, Next, TopicPartition};
    use storage::memory;
    use storage::record::{BatchBuilder, ValidatedBatch};

    use super::*;
    use crate::metrics::census::Source;

    #[tokio::test]
    async fn so_many_are_looked_up_by_a_scrape_and_those_that_have_waited_come_first() {
        let topic_id = Uuid::from_u128(1);
        let id = TopicPartition {
            topic: "t".into(),
            topic_id,
            partition: 0,
        };
        let log = memory::open().open_log(id, Arc::default()).expect("opened");
        for timestamp in [1000, 2000] {
            let mut batch = BatchBuilder::new();
            batch.append(timestamp, None, Some(b"value"), &[]);
            let batch = ValidatedBatch::trusted(batch.build().expect("a batch")).expect("valid");
            let origin = AppendOrigin::Client(None);
            let permit = log.reserve(100, origin).await.expect("room");
            let pending = log
                .submit(permit, batch, origin, Next::Append)
                .expect("taken");
            pending.await.expect("durable");
        }
        let groups = |committed: i64| {
            let rows = (0..2 * LOOK_UPS as i32 + 50).map(|partition| {
                let key = LagKey {
                    group: "g".into(),
                    topic: Some("t".into()),
                    partition: Some(partition),
                };
                let lag = Lag {
                    committed,
                    records: Some(2 - committed),
                    seconds: None,
                    source: Some(Source {
                        topic_id,
                        log: Arc::clone(&log),
                    }),
                };
                (key, lag)
            });
            Groups {
                lags: rows.collect(),
                ..Groups::default()
            }
        };
        let times = LagTimes::default();
        let scrape = async |committed, seconds: f64| {
            let mut groups = groups(committed);
            times.fill_in(&mut groups, 10_000).await;
            let lags = groups.lags.values();
            lags.filter(|lag| lag.seconds == Some(seconds)).count()
        };
        for known in [200, 400, 450, 450] {
            assert_eq!(scrape(0, 9.0).await, known);
        }
        // All have read on: until it is their turn they are told the time of before.
        for known in [200, 400, 450] {
            assert_eq!(scrape(1, 8.0).await, known);
        }
        assert_eq!(
            scrape(2, 0.0).await,
            450,
            "without lag nothing is looked up"
        );
    }
}
