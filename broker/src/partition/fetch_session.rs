//! Incremental fetch sessions (KIP-227): the broker remembers a consumer's partitions, so that a
//! fetch names only what changed and a response only what is new.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use kafka_protocol::messages::FetchRequest;
use parking_lot::Mutex;
use protocol_shim::error_code::ErrorCode;
use uuid::Uuid;

/// Closes the session, or asks for none.
const FINAL_EPOCH: i32 = -1;
/// Asks for a full fetch and a new session.
const INITIAL_EPOCH: i32 = 0;
/// A session unused for this long may give its slot to a new one
/// (Kafka's `min.incremental.fetch.session.eviction.ms`).
const EVICTION_MS: i64 = 120_000;

/// How a request names a topic: by id from Fetch v13, by name before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicKey {
    Name(Arc<str>),
    Id(Uuid),
}

/// One partition as a client asks for it.
#[derive(Clone, Debug)]
pub struct WantedPartition {
    pub topic: TopicKey,
    pub partition: i32,
    pub fetch_offset: i64,
    pub max_bytes: i32,
    pub current_leader_epoch: i32,
    pub last_fetched_epoch: i32,
}

/// What the client last heard of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub high_watermark: i64,
    pub log_start_offset: i64,
}

const NOTHING_TOLD: Told = Told {
    high_watermark: -1,
    log_start_offset: -1,
};

struct Session {
    by_id: bool,
    next_epoch: i32,
    last_used_ms: i64,
    partitions: IndexMap<(TopicKey, i32), (WantedPartition, Told)>,
}

/// What to fetch, and how to answer.
#[derive(Debug)]
pub struct FetchPlan {
    /// 0: no session.
    pub session_id: i32,
    /// Leave out partitions with no news.
    pub incremental: bool,
    pub partitions: Vec<WantedPartition>,
}

/// The outcome of one partition, as far as the session cares.
pub struct Outcome {
    pub topic: TopicKey,
    pub partition: i32,
    pub has_records: bool,
    pub failed: bool,
    pub told: Told,
}

/// All sessions of the broker, `slots` at most.
pub struct FetchSessionCache {
    slots: usize,
    sessions: Mutex<HashMap<i32, Session>>,
}

impl FetchSessionCache {
    pub fn new(slots: usize) -> Self {
        Self {
            slots,
            sessions: Mutex::default(),
        }
    }

    /// Reads the session fields of a request; `new_session_id` is used if a session begins.
    ///
    /// # Errors
    /// `FETCH_SESSION_ID_NOT_FOUND`, `INVALID_FETCH_SESSION_EPOCH`, `FETCH_SESSION_TOPIC_ID_ERROR`:
    /// the client starts again with a full fetch.
    pub fn plan(
        &self,
        request: &FetchRequest,
        api_version: i16,
        now_ms: i64,
        new_session_id: impl FnMut() -> i32,
    ) -> Result<FetchPlan, ErrorCode> {
        let by_id = api_version >= 13;
        let wanted = wanted_partitions(request, by_id);
        let mut sessions = self.sessions.lock();
        match request.session_epoch {
            FINAL_EPOCH | INITIAL_EPOCH => {
                sessions.remove(&request.session_id);
                let session_id = if request.session_epoch == INITIAL_EPOCH && !wanted.is_empty() {
                    self.begin(&mut sessions, by_id, &wanted, now_ms, new_session_id)
                } else {
                    0
                };
                Ok(FetchPlan {
                    session_id,
                    incremental: false,
                    partitions: wanted,
                })
            }
            epoch => {
                let session = sessions
                    .get_mut(&request.session_id)
                    .ok_or(ErrorCode::FetchSessionIdNotFound)?;
                if session.next_epoch != epoch {
                    return Err(ErrorCode::InvalidFetchSessionEpoch);
                }
                if session.by_id != by_id {
                    return Err(ErrorCode::FetchSessionTopicIdError);
                }
                session.next_epoch = next_epoch(epoch);
                session.last_used_ms = now_ms;
                session.update(request, wanted);
                if session.partitions.is_empty() {
                    sessions.remove(&request.session_id);
                    return Ok(FetchPlan {
                        session_id: 0,
                        incremental: false,
                        partitions: Vec::new(),
                    });
                }
                Ok(FetchPlan {
                    session_id: request.session_id,
                    incremental: true,
                    partitions: session
                        .partitions
                        .values()
                        .map(|(wanted, _)| wanted.clone())
                        .collect(),
                })
            }
        }
    }

    fn begin(
        &self,
        sessions: &mut HashMap<i32, Session>,
        by_id: bool,
        wanted: &[WantedPartition],
        now_ms: i64,
        mut new_session_id: impl FnMut() -> i32,
    ) -> i32 {
        if sessions.len() >= self.slots {
            let oldest = sessions
                .iter()
                .min_by_key(|(_, session)| session.last_used_ms)
                .filter(|(_, session)| session.last_used_ms + EVICTION_MS <= now_ms)
                .map(|(id, _)| *id);
            match oldest {
                Some(id) => sessions.remove(&id),
                // No slot: every fetch of this client is a full one.
                None => return 0,
            };
        }
        let session_id = loop {
            let id = new_session_id();
            if id > 0 && !sessions.contains_key(&id) {
                break id;
            }
        };
        let partitions = wanted
            .iter()
            .map(|w| ((w.topic.clone(), w.partition), (w.clone(), NOTHING_TOLD)))
            .collect();
        sessions.insert(
            session_id,
            Session {
                by_id,
                next_epoch: next_epoch(INITIAL_EPOCH),
                last_used_ms: now_ms,
                partitions,
            },
        );
        session_id
    }

    /// Records what a response tells, and says of each outcome whether it belongs into the response.
    ///
    /// Partitions that gave records move to the end, so that the others come first next time.
    pub fn conclude(&self, plan: &FetchPlan, outcomes: &[Outcome]) -> Vec<bool> {
        let everything = vec![true; outcomes.len()];
        if plan.session_id == 0 {
            return everything;
        }
        let mut sessions = self.sessions.lock();
        let Some(session) = sessions.get_mut(&plan.session_id) else {
            return everything;
        };
        outcomes
            .iter()
            .map(|outcome| {
                let key = (outcome.topic.clone(), outcome.partition);
                let Some(index) = session.partitions.get_index_of(&key) else {
                    return true;
                };
                let told = &mut session.partitions[index].1;
                let news = outcome.has_records || outcome.failed || *told != outcome.told;
                // A failed partition is named again until it succeeds.
                *told = if outcome.failed {
                    NOTHING_TOLD
                } else {
                    outcome.told
                };
                if outcome.has_records && plan.incremental {
                    let last = session.partitions.len() - 1;
                    session.partitions.move_index(index, last);
                }
                news || !plan.incremental
            })
            .collect()
    }
}

impl Session {
    fn update(&mut self, request: &FetchRequest, wanted: Vec<WantedPartition>) {
        for w in wanted {
            let key = (w.topic.clone(), w.partition);
            match self.partitions.get_mut(&key) {
                Some((known, _)) => *known = w,
                None => {
                    self.partitions.insert(key, (w, NOTHING_TOLD));
                }
            }
        }
        for topic in &request.forgotten_topics_data {
            let name = topic_key(self.by_id, &topic.topic, topic.topic_id);
            for partition in &topic.partitions {
                self.partitions.shift_remove(&(name.clone(), *partition));
            }
        }
    }
}

fn wanted_partitions(request: &FetchRequest, by_id: bool) -> Vec<WantedPartition> {
    let mut wanted = Vec::new();
    for topic in &request.topics {
        let key = topic_key(by_id, &topic.topic, topic.topic_id);
        wanted.extend(topic.partitions.iter().map(|p| WantedPartition {
            topic: key.clone(),
            partition: p.partition,
            fetch_offset: p.fetch_offset,
            max_bytes: p.partition_max_bytes,
            current_leader_epoch: p.current_leader_epoch,
            last_fetched_epoch: p.last_fetched_epoch,
        }));
    }
    wanted
}

/// Copies the name: a session outlives the request whose frame the name is a part of.
fn topic_key(by_id: bool, name: &str, id: Uuid) -> TopicKey {
    if by_id {
        TopicKey::Id(id)
    } else {
        TopicKey::Name(Arc::from(name))
    }
}

fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
mod tests;
