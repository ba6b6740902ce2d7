//! What one partition knows of the producers that write to it: enough to append every batch of an idempotent
//! producer once and in order, to fence old epochs, and to tell which transactions are still open.
//!
//! The rules are those of ProducerStateManager and ProducerAppendInfo in Kafka 4. An append is `check`, then (with
//! the offset assigned) `apply`, both under the partition's lock; recovery only applies. Nothing here does I/O:
//! [`snapshot`] turns the state into the bytes of Kafka's `.snapshot` file and of a sidecar that also keeps the
//! batches which Kafka's file leaves out.
//!
//! Where this differs from Kafka: producers expire by when they were last heard of, not by the timestamps of their
//! records, so that one that writes old records is not forgotten while it writes; and there are at most
//! [`ProducerStateConfig::max_producers`] of them, the longest silent one outside a transaction leaving first.

mod entry;
pub mod snapshot;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use entry::BATCHES_TO_RETAIN;
pub use entry::{ActiveProducer, BatchMetadata, ProducerEntry};
use thiserror::Error;

use crate::record::batch::{BatchHeader, NO_PRODUCER_EPOCH, NO_SEQUENCE};
use crate::record::control::{EndTxnMarker, TransactionResult};

/// The settings of producer state; names as in Kafka's broker configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerStateConfig {
    /// `producer.id.expiration.ms`
    pub producer_id_expiration_ms: i64,
    /// `transaction.partition.verification.enable`: whether the coordinator is asked before a transaction's first
    /// batch is appended (KIP-890).
    pub transaction_verification_enabled: bool,
    /// Producers remembered for one partition; beyond it the longest silent are forgotten.
    pub max_producers: usize,
}

impl ProducerStateConfig {
    /// What every log goes by. Whether it verifies transactions may change with each batch.
    pub(crate) fn of_log(producer_id_expiration_ms: i64) -> Self {
        Self {
            producer_id_expiration_ms,
            ..Self::default()
        }
    }
}

impl Default for ProducerStateConfig {
    fn default() -> Self {
        Self {
            producer_id_expiration_ms: 86_400_000,
            transaction_verification_enabled: true,
            max_producers: 100_000,
        }
    }
}

/// What to do with a batch that may be appended, or already was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Assign an offset, append, and `apply`.
    Append,
    /// Already appended as the batch given: answer with its offsets, once *it* is durable.
    Duplicate(BatchMetadata),
}

/// Why a batch or marker is refused. The variants are named after the Kafka errors to answer with.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProducerError {
    /// OUT_OF_ORDER_SEQUENCE_NUMBER: an earlier batch is missing.
    #[error(
        "Out of order sequence number for producer {producer_id}: {sequence} (incoming seq. number), \
         {last_sequence} (current end sequence number)"
    )]
    OutOfOrderSequence {
        producer_id: i64,
        sequence: i32,
        last_sequence: i32,
    },
    /// INVALID_PRODUCER_EPOCH: a newer instance of the producer has written.
    #[error(
        "Epoch of producer {producer_id} is {producer_epoch}, which is smaller than the last seen epoch {current_epoch}"
    )]
    InvalidProducerEpoch {
        producer_id: i64,
        producer_epoch: i16,
        current_epoch: i16,
    },
    /// INVALID_TXN_STATE
    #[error("{what}")]
    InvalidTxnState {
        producer_id: i64,
        what: &'static str,
    },
    /// TRANSACTION_COORDINATOR_FENCED: the marker comes from a coordinator that has been replaced.
    #[error(
        "Invalid coordinator epoch for producerId {producer_id}: {coordinator_epoch} (zombie), {current_epoch} (current)"
    )]
    TransactionCoordinatorFenced {
        producer_id: i64,
        coordinator_epoch: i32,
        current_epoch: i32,
    },
}

/// A transaction whose marker has just been applied. Only an aborted one belongs into the transaction index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompletedTxn {
    pub producer_id: i64,
    pub first_offset: i64,
    /// Offset of the marker.
    pub last_offset: i64,
    pub result: TransactionResult,
    /// The first offset still undecided after it, or the one after the marker.
    pub last_stable_offset: i64,
}

/// Proof that verification of a transaction was begun in this partition's present state. A marker that arrives
/// before the batch takes it away, so a stale "verified" cannot start a transaction that nobody will end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerificationGuard(u64);

impl VerificationGuard {
    /// One that was never given before in this process: a state that takes the place of another knows it from that one's.
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Debug, Clone)]
struct Verification {
    guard: VerificationGuard,
    started_ms: i64,
    producer_epoch: i16,
    /// Later batches must not overtake the first one while it waits to be verified.
    lowest_sequence: i32,
    /// Whether the client bumps its epoch with each transaction (transactions v2).
    supports_epoch_bump: bool,
}

/// The producers of one partition.
#[derive(Debug, Clone)]
pub struct ProducerState {
    config: ProducerStateConfig,
    /// Each in an allocation of its own: a table has room for more than it holds, and most have one producer.
    producers: HashMap<i64, Box<ProducerEntry>>,
    /// First offset and producer id of each open transaction.
    ongoing: BTreeSet<(i64, i64)>,
    /// First offset and marker offset of transactions decided at or above the high watermark.
    undecided_for_readers: BTreeSet<(i64, i64)>,
    verifications: HashMap<i64, Verification>,
    end_offset: i64,
}

impl ProducerState {
    /// Nothing known below `end_offset`.
    pub fn new(config: ProducerStateConfig, end_offset: i64) -> Self {
        Self {
            config,
            producers: HashMap::new(),
            ongoing: BTreeSet::new(),
            undecided_for_readers: BTreeSet::new(),
            verifications: HashMap::new(),
            end_offset,
        }
    }

    /// The state reflects all batches below this offset.
    pub fn end_offset(&self) -> i64 {
        self.end_offset
    }

    /// The producers known, in no order; for DescribeProducers.
    pub fn producers(&self) -> impl ExactSizeIterator<Item = &ProducerEntry> {
        self.producers.values().map(Box::as_ref)
    }

    /// What is known of all producers, in the order of their ids.
    pub fn active(&self) -> Vec<ActiveProducer> {
        let mut active: Vec<_> = self.producers().map(ProducerEntry::active).collect();
        active.sort_unstable_by_key(|producer| producer.producer_id);
        active
    }

    pub fn producer(&self, producer_id: i64) -> Option<&ProducerEntry> {
        self.producers.get(&producer_id).map(Box::as_ref)
    }

    /// Whether a transaction of this producer and epoch is open here.
    pub(crate) fn has_ongoing_transaction(&self, producer_id: i64, producer_epoch: i16) -> bool {
        self.producer(producer_id).is_some_and(|entry| {
            entry.current_txn_first_offset.is_some() && entry.producer_epoch == producer_epoch
        })
    }

    /// Prepares to ask the coordinator whether this partition is part of the producer's transaction (KIP-890).
    ///
    /// `None` if the transaction is already open here, so there is nothing to ask, or if nobody is to be asked
    /// (`transaction.partition.verification.enable`): a client whose epoch grows with each transaction still has its
    /// partitions added. Else hand the guard to
    /// [`check`](Self::check) once the coordinator has agreed.
    ///
    /// # Errors
    /// `InvalidProducerEpoch`.
    pub fn begin_verification(
        &mut self,
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
        supports_epoch_bump: bool,
        now_ms: i64,
    ) -> Result<Option<VerificationGuard>, ProducerError> {
        if let Some(entry) = self.producer(producer_id) {
            check_epoch(entry, producer_epoch)?;
        }
        let asks = supports_epoch_bump || self.config.transaction_verification_enabled;
        if !asks || self.has_ongoing_transaction(producer_id, producer_epoch) {
            return Ok(None);
        }
        self.make_room_for_verification(producer_id, now_ms);
        let verification = self
            .verifications
            .entry(producer_id)
            .or_insert_with(|| Verification {
                guard: VerificationGuard::new(),
                started_ms: now_ms,
                producer_epoch,
                lowest_sequence: base_sequence,
                supports_epoch_bump,
            });
        if producer_epoch > verification.producer_epoch {
            verification.producer_epoch = producer_epoch;
            verification.lowest_sequence = base_sequence;
        } else if producer_epoch == verification.producer_epoch {
            verification.lowest_sequence = verification.lowest_sequence.min(base_sequence);
        }
        Ok(Some(verification.guard))
    }

    /// Whether a client's batch may be appended. Batches without a producer id always may.
    ///
    /// # Errors
    /// What to answer; nothing has changed.
    pub fn check(
        &self,
        header: &BatchHeader,
        guard: Option<VerificationGuard>,
    ) -> Result<Verdict, ProducerError> {
        if !header.has_producer_id() {
            return Ok(Verdict::Append);
        }
        let producer_id = header.producer_id;
        let entry = self.producer(producer_id);
        if let Some(entry) = entry {
            if let Some(batch) = entry.find_duplicate(header) {
                return Ok(Verdict::Duplicate(batch));
            }
            check_epoch(entry, header.producer_epoch)?;
        }
        if header.is_transactional() {
            self.check_transaction(producer_id, header.producer_epoch, guard)?;
        }
        check_sequence(entry, self.verifications.get(&producer_id), header)?;
        self.check_kind(header)?;
        Ok(Verdict::Append)
    }

    /// Whether a coordinator's batch may be appended. It has no sequence, so it is never a duplicate. Batches without a
    /// producer id always may.
    ///
    /// # Errors
    /// What to answer; nothing has changed.
    pub(crate) fn check_coordinators(
        &self,
        header: &BatchHeader,
        guard: Option<VerificationGuard>,
    ) -> Result<Verdict, ProducerError> {
        if !header.has_producer_id() {
            return Ok(Verdict::Append);
        }
        let producer_id = header.producer_id;
        if header.is_transactional() {
            self.check_transaction(producer_id, header.producer_epoch, guard)?;
        } else if let Some(entry) = self.producer(producer_id) {
            check_epoch(entry, header.producer_epoch)?;
        }
        self.check_kind(header)?;
        Ok(Verdict::Append)
    }

    /// Whether a transactional batch may be appended: its transaction is open here, or its guard still holds.
    ///
    /// # Errors
    /// `InvalidProducerEpoch` or `InvalidTxnState`.
    pub(crate) fn check_transaction(
        &self,
        producer_id: i64,
        producer_epoch: i16,
        guard: Option<VerificationGuard>,
    ) -> Result<(), ProducerError> {
        if let Some(entry) = self.producer(producer_id) {
            check_epoch(entry, producer_epoch)?;
        }
        let verification = self.verifications.get(&producer_id);
        if self.config.transaction_verification_enabled
            && !self.has_ongoing_transaction(producer_id, producer_epoch)
            && (guard.is_none() || guard != verification.map(|verification| verification.guard))
        {
            return Err(ProducerError::InvalidTxnState {
                producer_id,
                what: "Record was not part of an ongoing transaction",
            });
        }
        Ok(())
    }

    /// While a transaction is open, its producer writes nothing else.
    fn check_kind(&self, header: &BatchHeader) -> Result<(), ProducerError> {
        let entry = self.producer(header.producer_id);
        let in_transaction = entry.is_some_and(|entry| entry.current_txn_first_offset.is_some());
        if in_transaction && !header.is_transactional() {
            return Err(ProducerError::InvalidTxnState {
                producer_id: header.producer_id,
                what: "Expected transactional write from the producer",
            });
        }
        Ok(())
    }

    /// Whether a transaction marker may be appended. `transaction_version` is 2 if the coordinator bumps the epoch
    /// with each transaction: a marker must then carry a newer epoch, unless it repeats one already written.
    ///
    /// # Errors
    /// `InvalidProducerEpoch` or `TransactionCoordinatorFenced`.
    pub fn check_marker(
        &self,
        producer_id: i64,
        producer_epoch: i16,
        marker: EndTxnMarker,
        transaction_version: i16,
    ) -> Result<(), ProducerError> {
        let unknown = ProducerEntry::new(producer_id);
        let entry = self.producer(producer_id).unwrap_or(&unknown);
        check_epoch(entry, producer_epoch)?;
        if transaction_version >= 2
            && producer_epoch == entry.producer_epoch
            && entry.current_txn_first_offset.is_some()
            && producer_epoch != i16::MAX
        {
            return Err(invalid_epoch(entry, producer_epoch));
        }
        if entry.coordinator_epoch > marker.coordinator_epoch {
            return Err(ProducerError::TransactionCoordinatorFenced {
                producer_id,
                coordinator_epoch: marker.coordinator_epoch,
                current_epoch: entry.coordinator_epoch,
            });
        }
        Ok(())
    }

    /// Takes in an appended batch without checks; `header` has its assigned offset and stored timestamps.
    ///
    /// `marker` is what a control batch holds ([`EndTxnMarker::of_batch`]), `None` for data. Call it for batches
    /// without a producer id too. Returns the transaction that the marker has ended, if there was one.
    pub fn apply(
        &mut self,
        header: &BatchHeader,
        marker: Option<EndTxnMarker>,
        now_ms: i64,
    ) -> Option<CompletedTxn> {
        self.end_offset = header.next_offset();
        // A control batch without a marker is left over from compaction, or KRaft's.
        if !header.has_producer_id() || (header.is_control() && marker.is_none()) {
            return None;
        }
        let producer_id = header.producer_id;
        if header.is_transactional() {
            self.end_verification(header);
        }
        if !self.producers.contains_key(&producer_id) {
            self.make_room();
        }
        let entry = self
            .producers
            .entry(producer_id)
            .or_insert_with(|| Box::new(ProducerEntry::new(producer_id)));
        entry.set_epoch(header.producer_epoch);
        entry.last_timestamp = header.max_timestamp;
        entry.last_active_ms = now_ms;
        let Some(marker) = marker else {
            entry.push(BatchMetadata {
                last_sequence: header.last_sequence(),
                last_offset: header.last_offset(),
                offset_delta: header.last_offset_delta,
                timestamp: header.max_timestamp,
            });
            if header.is_transactional() && entry.current_txn_first_offset.is_none() {
                entry.current_txn_first_offset = Some(header.base_offset);
                self.ongoing.insert((header.base_offset, producer_id));
            }
            return None;
        };
        entry.coordinator_epoch = marker.coordinator_epoch;
        // A marker without data has no effect on readers.
        let first_offset = entry.current_txn_first_offset.take()?;
        let last_offset = header.base_offset;
        self.ongoing.remove(&(first_offset, producer_id));
        self.undecided_for_readers
            .insert((first_offset, last_offset));
        Some(CompletedTxn {
            producer_id,
            first_offset,
            last_offset,
            result: marker.result,
            last_stable_offset: self
                .first_undecided_offset()
                .unwrap_or_else(|| last_offset.wrapping_add(1)),
        })
    }

    /// How many transactions are open whose producers have been silent for longer than `silent_for_ms`.
    pub(crate) fn late_transactions(&self, silent_for_ms: i64, now_ms: i64) -> usize {
        let open = self.ongoing.iter();
        open.filter_map(|(_, producer_id)| self.producer(*producer_id))
            .filter(|entry| now_ms.saturating_sub(entry.last_active_ms) > silent_for_ms)
            .count()
    }

    /// Start of the earliest open transaction.
    pub(crate) fn first_undecided_offset(&self) -> Option<i64> {
        self.ongoing.first().map(|&(first_offset, _)| first_offset)
    }

    /// Start of the earliest transaction that is open or whose marker readers cannot see yet. The last stable
    /// offset is this, or else the high watermark.
    pub fn first_unstable_offset(&self) -> Option<i64> {
        let decided = self
            .undecided_for_readers
            .first()
            .map(|&(first_offset, _)| first_offset);
        [decided, self.first_undecided_offset()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Lets go of transactions whose marker lies below the high watermark (or below a new log start offset).
    pub fn on_high_watermark(&mut self, high_watermark: i64) {
        self.undecided_for_readers
            .retain(|&(_, last_offset)| last_offset >= high_watermark);
    }

    /// `producer.id.expiration.ms` has changed.
    pub fn set_expiration_ms(&mut self, producer_id_expiration_ms: i64) {
        self.config.producer_id_expiration_ms = producer_id_expiration_ms;
    }

    /// `transaction.partition.verification.enable`, as it is now.
    pub(crate) fn verify_transactions(&mut self, enabled: bool) {
        self.config.transaction_verification_enabled = enabled;
    }

    /// Forgets producers outside a transaction that have been silent for `producer_id_expiration_ms`, and
    /// verifications that were never followed by a batch.
    pub fn remove_expired(&mut self, now_ms: i64) {
        let expiration_ms = self.config.producer_id_expiration_ms;
        self.producers.retain(|_, entry| {
            entry.current_txn_first_offset.is_some()
                || now_ms.saturating_sub(entry.last_active_ms) < expiration_ms
        });
        self.verifications.retain(|_, verification| {
            now_ms.saturating_sub(verification.started_ms) < expiration_ms
        });
    }

    /// Takes over what `other` knows of one producer, unless something is known of it here.
    pub(crate) fn adopt(&mut self, other: &Self, producer_id: i64) {
        if self.producers.contains_key(&producer_id) {
            return;
        }
        self.adopt_verification(other, producer_id);
        if let Some(entry) = other.producer(producer_id) {
            if let Some(first_offset) = entry.current_txn_first_offset {
                self.ongoing.insert((first_offset, producer_id));
            }
            self.producers.insert(producer_id, Box::new(entry.clone()));
        }
    }

    /// Takes over the verification under way that `other` knows of one producer.
    pub(crate) fn adopt_verification(&mut self, other: &Self, producer_id: i64) {
        if let Some(verification) = other.verifications.get(&producer_id) {
            self.verifications.insert(producer_id, verification.clone());
        }
    }

    /// Takes over the verifications under way that `other`, which was before, knows of. What a producer has sent since then has ended
    /// its own: that one would hold it to a sequence of long ago.
    pub(crate) fn adopt_verifications(&mut self, other: &Self) {
        for (id, verification) in &other.verifications {
            if self.producer(*id) == other.producer(*id) {
                self.verifications.insert(*id, verification.clone());
            }
        }
    }

    pub(crate) fn has_verifications(&self) -> bool {
        !self.verifications.is_empty()
    }

    /// The producers outside a transaction that were last heard of before `active_ms`, in the order of their ids.
    pub(crate) fn silent_since(&self, active_ms: i64) -> Vec<i64> {
        let mut silent: Vec<_> = self
            .producers()
            .filter(|entry| entry.current_txn_first_offset.is_none())
            .filter(|entry| entry.last_active_ms < active_ms)
            .map(|entry| entry.producer_id)
            .collect();
        silent.sort_unstable();
        silent
    }

    /// Forgets a producer, if it is outside a transaction; returns whether it is gone.
    pub(crate) fn forget(&mut self, producer_id: i64) -> bool {
        let is_idle = |entry: &ProducerEntry| entry.current_txn_first_offset.is_none();
        self.producer(producer_id).is_some_and(is_idle)
            && self.producers.remove(&producer_id).is_some()
    }

    /// Forgets verifications that were begun before `started_ms`: no batch has followed.
    pub(crate) fn forget_verifications(&mut self, started_ms: i64) {
        self.verifications
            .retain(|_, verification| verification.started_ms >= started_ms);
    }

    /// Forgets all producers outside a transaction.
    pub(crate) fn forget_idle(&mut self) {
        self.producers
            .retain(|_, entry| entry.current_txn_first_offset.is_some());
    }

    /// The guard has served its purpose, or its transaction is over. Only the late marker of the *previous*
    /// transaction, which carries the bumped epoch of the one being verified, leaves it in place.
    fn end_verification(&mut self, header: &BatchHeader) {
        let keep = self
            .verifications
            .get(&header.producer_id)
            .is_some_and(|verification| {
                verification.supports_epoch_bump
                    && header.is_control()
                    && header.producer_epoch == verification.producer_epoch
            });
        if !keep {
            self.verifications.remove(&header.producer_id);
        }
    }

    /// Bounds the verifications under way. One takes milliseconds, so what is a minute old was given up.
    fn make_room_for_verification(&mut self, producer_id: i64, now_ms: i64) {
        let verifications = &mut self.verifications;
        if verifications.len() < self.config.max_producers
            || verifications.contains_key(&producer_id)
        {
            return;
        }
        verifications
            .retain(|_, verification| now_ms.saturating_sub(verification.started_ms) < 60_000);
        // Room for an eighth of them, so that this stays rare.
        if verifications.len() > self.config.max_producers - self.config.max_producers / 8 {
            verifications.clear();
        }
    }

    /// Makes room for one more producer. An eighth of them leave together, so that this stays rare.
    fn make_room(&mut self) {
        if self.producers.len() < self.config.max_producers {
            return;
        }
        let mut idle: Vec<_> = self
            .producers
            .values()
            .filter(|entry| entry.current_txn_first_offset.is_none())
            .map(|entry| (entry.last_active_ms, entry.producer_id))
            .collect();
        let leaving = (self.config.max_producers / 8).max(1).min(idle.len());
        if leaving < idle.len() {
            idle.select_nth_unstable(leaving);
        }
        for (_, producer_id) in &idle[..leaving] {
            self.producers.remove(producer_id);
        }
    }
}

fn invalid_epoch(entry: &ProducerEntry, producer_epoch: i16) -> ProducerError {
    ProducerError::InvalidProducerEpoch {
        producer_id: entry.producer_id,
        producer_epoch,
        current_epoch: entry.producer_epoch,
    }
}

fn check_epoch(entry: &ProducerEntry, producer_epoch: i16) -> Result<(), ProducerError> {
    if producer_epoch < entry.producer_epoch {
        Err(invalid_epoch(entry, producer_epoch))
    } else {
        Ok(())
    }
}

fn check_sequence(
    entry: Option<&ProducerEntry>,
    verification: Option<&Verification>,
    header: &BatchHeader,
) -> Result<(), ProducerError> {
    let sequence = header.base_sequence;
    let out_of_order = |last_sequence| {
        Err(ProducerError::OutOfOrderSequence {
            producer_id: header.producer_id,
            sequence,
            last_sequence,
        })
    };
    if let Some(verification) = verification {
        let is_first = entry.is_none_or(|entry| entry.batches().is_empty());
        if verification.supports_epoch_bump && is_first && sequence != 0 {
            return out_of_order(NO_SEQUENCE);
        }
        if sequence > verification.lowest_sequence {
            return out_of_order(verification.lowest_sequence);
        }
    }
    // Of a producer that is not known, perhaps because all its records are gone, any sequence is the first.
    let Some(entry) = entry.filter(|entry| entry.producer_epoch != NO_PRODUCER_EPOCH) else {
        return Ok(());
    };
    let last_sequence = entry.last_sequence();
    let in_sequence = if header.producer_epoch == entry.producer_epoch {
        i64::from(sequence) == i64::from(last_sequence) + 1
            || (sequence == 0 && last_sequence == i32::MAX)
    } else {
        sequence == 0
    };
    if in_sequence {
        Ok(())
    } else {
        out_of_order(last_sequence)
    }
}

#[cfg(test)]
mod tests;
