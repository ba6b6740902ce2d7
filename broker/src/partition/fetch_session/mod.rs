//! Incremental fetch sessions (KIP-227): the broker remembers a consumer's partitions, so that a
//! fetch names only what changed and a response only what is new. A session belongs to whoever has begun it: an id is easily
//! guessed.
//!
//! Work is linear in the request and the session, and is done under the session's own lock; the cache's lock is held for
//! a look-up.

mod partitions;

use std::collections::HashMap;
use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use kafka_protocol::messages::FetchRequest;
use parking_lot::Mutex;
use protocol_shim::error_code::ErrorCode;
use uuid::Uuid;

use crate::net::session::Principal;

use partitions::{Entry, Partitions};

/// Closes the session, or asks for none.
const FINAL_EPOCH: i32 = -1;
/// Asks for a full fetch and a new session.
const INITIAL_EPOCH: i32 = 0;
/// A session unused for this long may give its slot to a new one
/// (Kafka's `min.incremental.fetch.session.eviction.ms`).
const EVICTION_MS: i64 = 120_000;
/// What all sessions together may remember: half a million partitions or more. A client that finds no room fetches
/// everything each time.
const MAX_BYTES: usize = 128 << 20;

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

/// What to fetch, and how to answer.
#[derive(Debug, Default)]
pub struct FetchPlan {
    /// 0: no session.
    pub session_id: i32,
    /// Leave out partitions with no news.
    pub incremental: bool,
    /// Each once.
    pub partitions: Vec<WantedPartition>,
    /// Where the session has each of `partitions`; empty without one.
    places: Vec<usize>,
}

/// The outcome of one partition, as far as the session cares.
pub struct Outcome {
    pub has_records: bool,
    pub failed: bool,
    pub told: Told,
}

/// All sessions of the broker, `slots` at most.
pub struct FetchSessionCache {
    slots: usize,
    max_bytes: usize,
    used_bytes: Arc<AtomicUsize>,
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    by_id: HashMap<i32, Arc<Slot>>,
    /// With all slots taken, none of the sessions has been unused for long enough before this.
    none_to_evict_before_ms: i64,
}

struct Slot {
    owner: Principal,
    last_used_ms: AtomicI64,
    session: Mutex<Session>,
}

struct Session {
    by_id: bool,
    next_epoch: i32,
    partitions: Partitions,
    charge: Charge,
}

/// What a session takes of the bytes of all.
struct Charge {
    bytes: usize,
    used_bytes: Arc<AtomicUsize>,
}

impl FetchSessionCache {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            slots,
            max_bytes: MAX_BYTES,
            used_bytes: Arc::default(),
            sessions: Mutex::default(),
        }
    }

    /// Reads the session fields of a request; `new_session_id` is used if a session begins.
    ///
    /// # Errors
    /// `FETCH_SESSION_ID_NOT_FOUND`, `INVALID_FETCH_SESSION_EPOCH`, `FETCH_SESSION_TOPIC_ID_ERROR`:
    /// the client starts again with a full fetch.
    pub(crate) fn plan(
        &self,
        request: &FetchRequest,
        api_version: i16,
        owner: &Principal,
        now_ms: i64,
        new_session_id: impl FnMut() -> i32,
    ) -> Result<FetchPlan, ErrorCode> {
        let by_id = api_version >= 13;
        match request.session_epoch {
            FINAL_EPOCH => {
                self.end(request.session_id, owner);
                Ok(FetchPlan {
                    partitions: distinct(wanted_partitions(request, by_id).collect()),
                    ..FetchPlan::default()
                })
            }
            INITIAL_EPOCH => {
                self.end(request.session_id, owner);
                Ok(self.begin(request, by_id, owner, now_ms, new_session_id))
            }
            epoch => self.resume(request, by_id, owner, epoch, now_ms),
        }
    }

    fn resume(
        &self,
        request: &FetchRequest,
        by_id: bool,
        owner: &Principal,
        epoch: i32,
        now_ms: i64,
    ) -> Result<FetchPlan, ErrorCode> {
        let slot = self
            .find(request.session_id)
            .filter(|slot| slot.owner == *owner)
            .ok_or(ErrorCode::FetchSessionIdNotFound)?;
        let mut session = slot.session.lock();
        if session.next_epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.by_id != by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        session.next_epoch = next_epoch(epoch);
        slot.last_used_ms.store(now_ms, Ordering::Relaxed);
        session.update(request);
        let (places, partitions) = planned(&mut session.partitions);
        drop(session);
        if self.is_full() {
            // It has grown beyond what there is room for.
            self.remove(request.session_id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        if partitions.is_empty() {
            self.remove(request.session_id);
            return Ok(FetchPlan::default());
        }
        Ok(FetchPlan {
            session_id: request.session_id,
            incremental: true,
            partitions,
            places,
        })
    }

    fn is_full(&self) -> bool {
        self.used_bytes.load(Ordering::Relaxed) > self.max_bytes
    }

    fn find(&self, session_id: i32) -> Option<Arc<Slot>> {
        self.sessions.lock().by_id.get(&session_id).cloned()
    }

    /// Removes a session of somebody's own.
    fn end(&self, session_id: i32, owner: &Principal) {
        if self
            .find(session_id)
            .is_some_and(|slot| slot.owner == *owner)
        {
            self.remove(session_id);
        }
    }

    fn remove(&self, session_id: i32) {
        // It is let go of, partition by partition, when the lock is free again.
        let _removed = self.sessions.lock().by_id.remove(&session_id);
    }

    /// A full fetch, with a session if there is room for one.
    fn begin(
        &self,
        request: &FetchRequest,
        by_id: bool,
        owner: &Principal,
        now_ms: i64,
        new_session_id: impl FnMut() -> i32,
    ) -> FetchPlan {
        let mut session = Session {
            by_id,
            next_epoch: next_epoch(INITIAL_EPOCH),
            partitions: Partitions::default(),
            charge: Charge {
                bytes: 0,
                used_bytes: Arc::clone(&self.used_bytes),
            },
        };
        session.update(request);
        let (places, partitions) = planned(&mut session.partitions);
        let session_id = match places.is_empty() || self.is_full() {
            true => 0,
            false => self.keep(session, owner, now_ms, new_session_id),
        };
        FetchPlan {
            session_id,
            incremental: false,
            partitions,
            places,
        }
    }

    /// Gives a session a slot and an id; 0 if there is no slot: every fetch of this client is a full one then.
    fn keep(
        &self,
        session: Session,
        owner: &Principal,
        now_ms: i64,
        mut new_session_id: impl FnMut() -> i32,
    ) -> i32 {
        let slot = Arc::new(Slot {
            owner: owner.clone(),
            last_used_ms: AtomicI64::new(now_ms),
            session: Mutex::new(session),
        });
        let mut sessions = self.sessions.lock();
        let mut evicted = None;
        if sessions.by_id.len() >= self.slots {
            evicted = sessions.evict(now_ms);
            if evicted.is_none() {
                return 0;
            }
        }
        let session_id = loop {
            let id = new_session_id();
            if id > 0 && !sessions.by_id.contains_key(&id) {
                break id;
            }
        };
        sessions.by_id.insert(session_id, slot);
        drop(sessions);
        drop(evicted);
        session_id
    }

    /// Takes back the session that a plan has begun and no response tells of. One that there was before stays as it is.
    pub(crate) fn withdraw(&self, plan: &FetchPlan) {
        if !plan.incremental {
            self.remove(plan.session_id);
        }
    }

    /// Records what a response tells, and says of each outcome whether it belongs into the response. `outcomes` are
    /// those of the plan's partitions, in their order.
    ///
    /// Partitions that gave records move to the end, so that the others come first next time.
    pub(crate) fn conclude(&self, plan: &FetchPlan, outcomes: &[Outcome]) -> Vec<bool> {
        let everything = vec![true; outcomes.len()];
        if plan.session_id == 0 {
            return everything;
        }
        let Some(slot) = self.find(plan.session_id) else {
            return everything;
        };
        let mut session = slot.session.lock();
        let partitions = &mut session.partitions;
        let answered = plan.partitions.iter().zip(&plan.places).zip(outcomes);
        let news = answered.map(|((wanted, place), outcome)| {
            let Some((place, entry)) = partitions.find(*place, wanted) else {
                return true;
            };
            let news = outcome.has_records || outcome.failed || entry.told != outcome.told;
            // A failed partition is named again until it succeeds.
            entry.told = match outcome.failed {
                true => NOTHING_TOLD,
                false => outcome.told,
            };
            if outcome.has_records && plan.incremental {
                partitions.move_to_end(place);
            }
            news || !plan.incremental
        });
        let news = news.collect();
        partitions.tidy();
        news
    }
}

impl Sessions {
    /// Takes the slot of the session that has been unused for longest, if that is long enough.
    fn evict(&mut self, now_ms: i64) -> Option<Arc<Slot>> {
        if now_ms < self.none_to_evict_before_ms {
            return None;
        }
        let last_used_ms = |slot: &Arc<Slot>| slot.last_used_ms.load(Ordering::Relaxed);
        let oldest = self.by_id.iter().min_by_key(|(_, slot)| last_used_ms(slot));
        let (id, evictable_ms) =
            oldest.map(|(id, slot)| (*id, last_used_ms(slot) + EVICTION_MS))?;
        if now_ms < evictable_ms {
            // Every client without a session asks for one with each of its fetches.
            self.none_to_evict_before_ms = evictable_ms;
            return None;
        }
        self.by_id.remove(&id)
    }
}

impl Session {
    fn update(&mut self, request: &FetchRequest) {
        for wanted in wanted_partitions(request, self.by_id) {
            let bytes = cost(&wanted);
            if self.partitions.put(wanted, NOTHING_TOLD) {
                self.charge.add(bytes);
            }
        }
        for topic in &request.forgotten_topics_data {
            let name = topic_key(self.by_id, &topic.topic, topic.topic_id);
            for partition in &topic.partitions {
                if let Some(removed) = self.partitions.remove(&name, *partition) {
                    self.charge.take(cost(&removed.wanted));
                }
            }
        }
        self.partitions.tidy();
    }
}

impl Charge {
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn take(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What a session takes for a partition: its entry, its key, and half as much again for places that are empty.
fn cost(wanted: &WantedPartition) -> usize {
    let name_bytes = match &wanted.topic {
        TopicKey::Name(name) => name.len(),
        TopicKey::Id(_) => 0,
    };
    2 * size_of::<Entry>() + size_of::<(TopicKey, i32, usize)>() + name_bytes
}

fn planned(partitions: &mut Partitions) -> (Vec<usize>, Vec<WantedPartition>) {
    let count = partitions.len();
    let (mut places, mut wanted) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for (place, entry) in partitions.iter() {
        places.push(place);
        wanted.push(entry.wanted.clone());
    }
    (places, wanted)
}

/// Each partition once, as it was named last, where it was named first.
fn distinct(named: Vec<WantedPartition>) -> Vec<WantedPartition> {
    if named.len() < 2 {
        return named;
    }
    let mut distinct: Vec<WantedPartition> = Vec::with_capacity(named.len());
    let mut places = HashMap::with_capacity(named.len());
    for wanted in named {
        let place = *places
            .entry((wanted.topic.clone(), wanted.partition))
            .or_insert(distinct.len());
        match distinct.get_mut(place) {
            Some(known) => *known = wanted,
            None => distinct.push(wanted),
        }
    }
    distinct
}

fn wanted_partitions(request: &FetchRequest, by_id: bool) -> impl Iterator<Item = WantedPartition> {
    request.topics.iter().flat_map(move |topic| {
        let key = topic_key(by_id, &topic.topic, topic.topic_id);
        topic.partitions.iter().map(move |p| WantedPartition {
            topic: key.clone(),
            partition: p.partition,
            fetch_offset: p.fetch_offset,
            max_bytes: p.partition_max_bytes,
            current_leader_epoch: p.current_leader_epoch,
            last_fetched_epoch: p.last_fetched_epoch,
        })
    })
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
