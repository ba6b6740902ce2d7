//! The two passes of compaction, one batch at a time: [`MapBuilder`] learns the last offset of each key in the dirty
//! range, then [`BatchFilter`] decides what remains of each batch of the log. The rules are those of Cleaner and
//! MemoryRecords.filterTo in Kafka 4.
//!
//! A batch that loses nothing passes byte for byte. One that does is encoded anew with its own codec, and keeps its
//! offsets, producer, sequence and leader epoch, so that neither a consumer nor an idempotent producer notices.
//!
//! A batch whose checksum is right and whose records cannot be read is what a producer has sent, or another broker let
//! in. It stays as it is, and replaces nothing: nobody can say what is in it, and the rest of the log must not wait.

use std::collections::HashMap;

use bytes::Bytes;
use thiserror::Error;

use super::offset_map::OffsetMap;
use super::transactions::{Control, Transactions};
use crate::log::transaction_index::AbortedTxn;
use crate::record::batch::{self, NO_TIMESTAMP, TimestampType};
use crate::record::control::ControlError;
use crate::record::{
    BatchBuilder, BatchError, BatchHeader, BuildError, CompressionType, EndTxnMarker, RecordError,
    RecordSet,
};

/// Bit 6 of the attributes, which goes when a batch is emptied.
const DELETE_HORIZON_BIT: i16 = 0x40;

/// Why a batch cannot be compacted. What is damaged on the disk, or not where it should be, is best left alone, and all
/// of its log with it.
#[derive(Debug, Error)]
#[error("batch at offset {base_offset}: {cause}")]
pub struct CleanError {
    pub base_offset: i64,
    #[source]
    pub cause: Cause,
}

/// A batch's fault.
#[derive(Debug, Error)]
pub enum Cause {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Build(#[from] BuildError),
    /// There are more, or fewer, bytes than the batch says.
    #[error("{0} bytes do not hold exactly the batch")]
    Length(usize),
    /// A record is not where the batch and its other records allow it to be.
    #[error("unexpected record offset {0}")]
    RecordOffset(i64),
    /// The batch is not where the segment and the batches before it allow it to be.
    #[error("ends at offset {last_offset}, outside of {from}..{end}")]
    Offset {
        last_offset: i64,
        from: i64,
        end: i64,
    },
}

/// The last data, or else the last marker, of a producer that is still remembered (Kafka's LastRecord).
///
/// Without the batch that holds it the producer's sequence or epoch would be lost to whoever reads the log to learn
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRecord {
    /// `None` if the producer has written markers only.
    pub last_data_offset: Option<i64>,
    pub producer_epoch: i16,
}

/// What a cleaning depends on, besides the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct CleanContext {
    pub now_ms: i64,
    /// `delete.retention.ms`
    pub delete_retention_ms: i64,
    /// The end of the cleanable range, exclusive: the first uncleanable offset.
    pub end_offset: i64,
    /// No batch is decompressed to more.
    pub decompressed_limit_bytes: usize,
}

/// Counts of one cleaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CleanStats {
    /// Bytes read for the offset map.
    pub map_bytes: u64,
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub read_records: u64,
    pub retained_records: u64,
    /// Records without a key, which a compacted log has no place for.
    pub keyless_records: u64,
    /// Batches kept because their records cannot be read.
    pub unreadable_batches: u64,
}

/// The first pass: fills an offset map from the batches of the dirty range.
#[derive(Debug)]
pub(super) struct MapBuilder {
    map: OffsetMap,
    from_offset: i64,
    decompressed_limit_bytes: usize,
    transactions: Transactions,
}

impl MapBuilder {
    /// `aborted` are the aborted transactions that reach into the dirty range.
    pub fn new(
        map: OffsetMap,
        from_offset: i64,
        aborted: Vec<AbortedTxn>,
        decompressed_limit_bytes: usize,
    ) -> Self {
        let mut transactions = Transactions::default();
        transactions.expect(aborted);
        Self {
            map,
            from_offset,
            decompressed_limit_bytes,
            transactions,
        }
    }

    /// Adds the keys of a batch; false if they do not all fit, and the map ends within it.
    ///
    /// # Errors
    /// A batch that is damaged or makes no sense.
    pub fn add(&mut self, header: &BatchHeader, batch: &Bytes) -> Result<bool, CleanError> {
        if header.last_offset() < self.from_offset {
            return Ok(true);
        }
        let all_fit = self
            .add_records(header, batch)
            .map_err(|cause| error(header, cause))?;
        if all_fit {
            self.map.cover(header.last_offset());
        }
        Ok(all_fit)
    }

    fn add_records(&mut self, header: &BatchHeader, batch: &Bytes) -> Result<bool, Cause> {
        if header.is_control() {
            let control = control_of(header, batch).unwrap_or(Control::Other);
            self.transactions.read_control(header, control);
            return Ok(true);
        }
        if self.transactions.read_data(header) {
            return Ok(true);
        }
        // Its other records are not to be superseded by those that were read before the fault.
        let Ok(set) = read_records(batch, self.decompressed_limit_bytes) else {
            return Ok(true);
        };
        for record in &set {
            let record = record?;
            if let Some(key) = record.key
                && record.offset >= self.from_offset
                && self.map.put(key, record.offset).is_err()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// No batch follows before `offset`, exclusive.
    pub fn cover_to(&mut self, offset: i64) {
        self.map.cover(offset - 1);
    }

    pub fn finish(self) -> OffsetMap {
        self.map
    }
}

/// A batch that stays, whole or in part.
type Retained = (BatchHeader, Bytes);

/// The second pass: what remains of each batch. Batches are given in the order of the log, from its start.
#[derive(Debug)]
pub(super) struct BatchFilter<'a> {
    map: &'a OffsetMap,
    context: CleanContext,
    transactions: Transactions,
    last_records: HashMap<i64, LastRecord>,
    pub stats: CleanStats,
    /// The first batch whose records cannot be read.
    pub unreadable: Option<CleanError>,
}

impl<'a> BatchFilter<'a> {
    /// The last batches of `last_records` stay.
    pub fn new(
        map: &'a OffsetMap,
        last_records: HashMap<i64, LastRecord>,
        context: CleanContext,
    ) -> Self {
        Self {
            map,
            context,
            transactions: Transactions::default(),
            last_records,
            stats: CleanStats::default(),
            unreadable: None,
        }
    }

    /// Adds the aborted transactions that reach into the segment that is read next.
    pub fn expect_aborted(&mut self, aborted: Vec<AbortedTxn>) {
        self.transactions.expect(aborted);
    }

    /// The transactions for the index of the segment written since the last call.
    pub fn take_retained_aborted(&mut self) -> Vec<AbortedTxn> {
        self.transactions.take_retained()
    }

    /// What remains of `batch`, with its header: the same bytes, other bytes, or nothing.
    ///
    /// # Errors
    /// A batch that is damaged or makes no sense.
    pub fn filter(
        &mut self,
        header: &BatchHeader,
        batch: &Bytes,
    ) -> Result<Option<Retained>, CleanError> {
        let retained = self
            .retained(header, batch)
            .map_err(|cause| error(header, cause))?;
        self.stats.read_bytes += batch.len() as u64;
        self.stats.read_records += u64::from(header.records_count.unsigned_abs());
        if let Some((_, retained)) = &retained {
            self.stats.written_bytes += retained.len() as u64;
        }
        Ok(retained)
    }

    /// The batch as it is: nobody can say what is in it.
    fn unreadable(&mut self, header: &BatchHeader, batch: &Bytes, cause: Cause) -> Retained {
        self.stats.unreadable_batches += 1;
        self.unreadable.get_or_insert_with(|| error(header, cause));
        (*header, batch.clone())
    }

    fn retained(&mut self, header: &BatchHeader, batch: &Bytes) -> Result<Option<Retained>, Cause> {
        let decided = if header.is_control() {
            match control_of(header, batch) {
                Ok(control) => self.transactions.read_control(header, control),
                Err(cause) => {
                    self.transactions.read_control(header, Control::Other);
                    return Ok(Some(self.unreadable(header, batch, cause)));
                }
            }
        } else {
            self.transactions.read_data(header)
        };
        // Markers of transactions without data wait for a delete horizon, as tombstones do (KIP-534): a consumer
        // that has read the data before it went still needs to learn how it was decided.
        let expired = header
            .delete_horizon_ms()
            .is_some_and(|horizon_ms| horizon_ms <= self.context.now_ms);
        let discard = decided && (!header.is_control() || expired);
        if discard {
            return self.empty_if_needed(header);
        }

        let set = match read_records(batch, self.context.decompressed_limit_bytes) {
            Ok(set) => set,
            Err(cause) => return Ok(Some(self.unreadable(header, batch, cause))),
        };
        let choice = self.choose(&set)?;
        self.stats.retained_records += choice.count as u64;
        if choice.count == 0 {
            return self.empty_if_needed(header);
        }
        // Kafka starts the time to live of every tombstone that it comes across. Where the map ends within a segment
        // that would count for tombstones whose older values are only dropped in the next round, and then together
        // with them: those wait for that round here.
        let mapped = Some(header.last_offset()) <= self.map.latest_offset();
        let starts_to_expire = header.delete_horizon_ms().is_none()
            && ((choice.has_tombstone && mapped) || (decided && header.is_control()));
        if choice.count == choice.retained.len() && !starts_to_expire {
            return Ok(Some((*header, batch.clone())));
        }
        let horizon_ms = starts_to_expire.then(|| {
            self.context
                .now_ms
                .saturating_add(self.context.delete_retention_ms)
        });
        rewrite(&set, &choice.retained, horizon_ms).map(Some)
    }

    fn choose(&mut self, set: &RecordSet) -> Result<Choice, Cause> {
        let mut choice = Choice::default();
        let deletes_expired = set
            .header()
            .delete_horizon_ms()
            .is_some_and(|horizon_ms| horizon_ms <= self.context.now_ms);
        for record in set {
            let record = record?;
            let retain =
                if set.header().is_control() || Some(record.offset) > self.map.latest_offset() {
                    true
                } else if let Some(key) = record.key {
                    let is_latest = self.map.get(key).is_none_or(|last| record.offset >= last);
                    is_latest && (record.value.is_some() || !deletes_expired)
                } else {
                    self.stats.keyless_records += 1;
                    false
                };
            choice.retained.push(retain);
            choice.count += usize::from(retain);
            choice.has_tombstone |= retain && record.value.is_none();
        }
        Ok(choice)
    }

    /// A batch without records, if the log would lose a producer's state or its own last offset with the batch.
    fn empty_if_needed(&self, header: &BatchHeader) -> Result<Option<Retained>, Cause> {
        let is_last_of_producer = header.has_producer_id()
            && self
                .last_records
                .get(&header.producer_id)
                .is_some_and(|last| match last.last_data_offset {
                    Some(offset) => header.last_offset() == offset,
                    None => header.is_control() && header.producer_epoch == last.producer_epoch,
                });
        let is_last_of_range = header.next_offset() == self.context.end_offset;
        if !is_last_of_producer && !is_last_of_range {
            return Ok(None);
        }
        let header = BatchHeader {
            attributes: header.attributes & !DELETE_HORIZON_BIT,
            ..*header
        };
        let batch = BatchBuilder::like(&header)
            .compression(CompressionType::None)
            .build()?;
        Ok(Some((BatchHeader::parse(&batch)?, batch)))
    }
}

/// Which records of a batch stay.
#[derive(Debug, Default)]
struct Choice {
    retained: Vec<bool>,
    count: usize,
    has_tombstone: bool,
}

/// The retained records of a batch, as a batch of its own; `horizon_ms` if its tombstones or marker begin to expire.
fn rewrite(set: &RecordSet, retained: &[bool], horizon_ms: Option<i64>) -> Result<Retained, Cause> {
    let mut header = *set.header();
    if header.timestamp_type() == TimestampType::CreateTime {
        // The largest one may be gone: the builder finds out.
        header.max_timestamp = NO_TIMESTAMP;
    }
    let mut builder = BatchBuilder::like(&header);
    if let Some(horizon_ms) = horizon_ms {
        builder = builder.delete_horizon_ms(horizon_ms);
    }
    for (record, _) in set.iter().zip(retained).filter(|(_, retained)| **retained) {
        let record = record?;
        builder.append_at(
            record.offset_delta,
            record.timestamp,
            record.key,
            record.value,
            record.headers,
        );
    }
    let batch = builder.build()?;
    Ok((BatchHeader::parse(&batch)?, batch))
}

/// Checks batches as they are read: whole, undamaged, in order and inside of their segment.
///
/// Compaction gives new checksums and drops what it takes for superseded: it must do neither on damaged bytes.
#[derive(Debug)]
pub(super) struct BatchChecker {
    next_offset: i64,
    end_offset: i64,
}

impl BatchChecker {
    /// For the batches in `from_offset..end_offset`.
    pub fn new(from_offset: i64, end_offset: i64) -> Self {
        Self {
            next_offset: from_offset,
            end_offset,
        }
    }

    /// The header of exactly one batch, which follows those checked before.
    ///
    /// # Errors
    /// Anything else.
    pub fn check(&mut self, batch: &Bytes) -> Result<BatchHeader, CleanError> {
        let header = BatchHeader::parse(batch).map_err(|cause| CleanError {
            base_offset: self.next_offset,
            cause: cause.into(),
        })?;
        let (base_offset, last_offset) = (header.base_offset, header.last_offset());
        let cause = if header.size_bytes() != batch.len() {
            Cause::Length(batch.len())
        } else if let Err(cause) = batch::verify_crc(batch) {
            cause.into()
        } else if base_offset < self.next_offset
            || last_offset < base_offset
            || last_offset >= self.end_offset
        {
            Cause::Offset {
                last_offset,
                from: self.next_offset,
                end: self.end_offset,
            }
        } else {
            self.next_offset = last_offset + 1;
            return Ok(header);
        };
        Err(error(&header, cause))
    }
}

fn control_of(header: &BatchHeader, batch: &Bytes) -> Result<Control, Cause> {
    if header.records_count == 0 {
        return Ok(Control::Empty);
    }
    Ok(match EndTxnMarker::of_batch(batch)? {
        Some(marker) => Control::Marker(marker.result),
        None => Control::Other,
    })
}

/// Opens a batch. Each of its records can be read.
fn read_records(batch: &Bytes, limit_bytes: usize) -> Result<RecordSet, Cause> {
    let set = RecordSet::open(batch, limit_bytes)?;
    let mut order = RecordOrder::new(set.header());
    for record in &set {
        order.check(record?.offset)?;
    }
    Ok(set)
}

/// Checks that the offsets of a batch's records rise within those of the batch.
struct RecordOrder {
    next: i64,
    last: i64,
}

impl RecordOrder {
    fn new(header: &BatchHeader) -> Self {
        Self {
            next: header.base_offset,
            last: header.last_offset(),
        }
    }

    fn check(&mut self, offset: i64) -> Result<(), Cause> {
        if offset < self.next || offset > self.last {
            return Err(Cause::RecordOffset(offset));
        }
        self.next = offset.saturating_add(1);
        Ok(())
    }
}

fn error(header: &BatchHeader, cause: Cause) -> CleanError {
    CleanError {
        base_offset: header.base_offset,
        cause,
    }
}

#[cfg(test)]
mod tests;
