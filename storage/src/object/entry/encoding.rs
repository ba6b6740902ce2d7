//! Entries as bytes: see the table in [`super`].

use std::collections::HashMap;
use std::hash::Hash;

use super::{
    AbortedTxn, BatchEffect, BatchProducer, Effect, EndTxnMarker, Entry, Marker, ObjectId,
    PartitionId, Place, Run, Source,
};
use uuid::Uuid;

use crate::object::codec::{DecodeError, Reader, Writer};
use crate::record::TransactionResult;

const VERSION: u8 = 1;

const APPEND: u8 = 1;
const MARKER: u8 = 2;
const LOG_START: u8 = 3;
const CLAIM: u8 = 4;
const DELETED: u8 = 5;
const FORGOTTEN: u8 = 6;
const REPLACED: u8 = 7;
const EXPIRED: u8 = 8;

const OBJECT: u8 = 0;
const ROW: u8 = 1;

/// Of a batch.
const HAS_PRODUCER: u8 = 1;
const IS_TRANSACTIONAL: u8 = 2;
const HAS_MARKER: u8 = 4;
const COMMITS: u8 = 8;

/// Of a run.
const IS_COMPACTED: u8 = 1;
const IS_MADE: u8 = 2;

impl Source {
    pub(in crate::object) fn write(self, to: &mut Writer) {
        match self {
            Self::Object(object) => {
                to.byte(OBJECT);
                to.signed(object.broker_epoch);
                to.uuid(object.id);
            }
            Self::Row(seq) => {
                to.byte(ROW);
                to.natural(seq);
            }
        }
    }

    pub(in crate::object) fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match from.byte()? {
            OBJECT => Ok(Self::Object(ObjectId {
                broker_epoch: from.signed()?,
                id: from.uuid()?,
            })),
            ROW => Ok(Self::Row(from.natural()?)),
            _ => Err(DecodeError::Malformed("a source is of no known kind")),
        }
    }

    /// No source is written in fewer bytes.
    pub(in crate::object) const LEAST_BYTES: usize = 2;
}

/// Things that are named often, each written once.
struct Table<T>(Vec<T>, HashMap<T, usize>);

impl<T: Copy + Eq + Hash> Table<T> {
    fn new() -> Self {
        Self(Vec::new(), HashMap::new())
    }

    fn add(&mut self, thing: T) {
        self.1.entry(thing).or_insert_with(|| {
            self.0.push(thing);
            self.0.len() - 1
        });
    }

    fn index_of(&self, thing: T) -> usize {
        // All were added before.
        self.1.get(&thing).copied().unwrap_or_default()
    }
}

struct Tables {
    at_ms: i64,
    topics: Table<Uuid>,
    sources: Table<Source>,
}

impl Entry {
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads what [`encode`](Self::encode) gives. Takes memory in proportion to `bytes`, whatever they say.
    ///
    /// # Errors
    /// They are not what was written, or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode(bytes)
    }

    /// Reads the entry of a row. Whoever has resolved a commit that was in doubt has left an empty row, which changes
    /// nothing.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn of_row(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes {
            [] => Ok(Self::default()),
            bytes => Self::decode(bytes),
        }
    }
}

fn encode(entry: &Entry) -> Vec<u8> {
    let mut tables = Tables {
        at_ms: entry.at_ms,
        topics: Table::new(),
        sources: Table::new(),
    };
    for effect in &entry.effects {
        tables.topics.add(effect.partition().topic_id);
        let places: &mut dyn Iterator<Item = &Place> = match effect {
            Effect::Append { place, .. } => &mut std::iter::once(place),
            Effect::Replaced { runs, .. } => &mut runs.iter().map(|run| &run.place),
            _ => continue,
        };
        for (source, _) in places.filter_map(Place::source) {
            tables.sources.add(source);
        }
    }
    let mut to = Writer::new(VERSION);
    to.signed(entry.at_ms);
    to.count(tables.topics.0.len());
    tables.topics.0.iter().for_each(|topic| to.uuid(*topic));
    to.count(tables.sources.0.len());
    let sources = tables.sources.0.iter();
    sources.for_each(|source| source.write(&mut to));
    to.count(entry.effects.len());
    for effect in &entry.effects {
        tables.write_effect(effect, &mut to);
    }
    to.finish()
}

impl Tables {
    fn write_effect(&self, effect: &Effect, to: &mut Writer) {
        to.byte(match effect {
            Effect::Append { .. } => APPEND,
            Effect::Marker { .. } => MARKER,
            Effect::LogStart { .. } => LOG_START,
            Effect::Claim { .. } => CLAIM,
            Effect::Deleted { .. } => DELETED,
            Effect::Forgotten { .. } => FORGOTTEN,
            Effect::Replaced { .. } => REPLACED,
            Effect::Expired { .. } => EXPIRED,
        });
        let partition = effect.partition();
        to.count(self.topics.index_of(partition.topic_id));
        to.natural(i64::from(partition.partition));
        match effect {
            Effect::Append {
                base_offset,
                place,
                batches,
                ..
            } => {
                to.natural(*base_offset);
                self.write_place(place, to);
                to.count(batches.len());
                for batch in batches {
                    self.write_batch(batch, to);
                }
            }
            Effect::Marker {
                offset,
                timestamp,
                marker,
                ..
            } => {
                to.natural(*offset);
                self.write_time(*timestamp, to);
                write_marker(marker, to);
            }
            Effect::LogStart { offset, .. } => to.natural(*offset),
            Effect::Claim { leader_epoch, .. } => to.natural(i64::from(*leader_epoch)),
            Effect::Deleted { .. } | Effect::Forgotten { .. } => {}
            Effect::Replaced {
                from,
                to: end,
                runs,
                aborted,
                ..
            } => {
                to.natural(*from);
                to.natural(*end);
                to.count(runs.len());
                for run in runs {
                    self.write_run(run, to);
                }
                to.byte(u8::from(aborted.is_some()));
                if let Some(aborted) = aborted {
                    write_aborted(aborted, to);
                }
            }
            Effect::Expired { producer_ids, .. } => {
                to.count(producer_ids.len());
                for id in producer_ids {
                    to.natural(*id);
                }
            }
        }
    }

    fn write_time(&self, time: i64, to: &mut Writer) {
        to.signed(time.wrapping_sub(self.at_ms));
    }

    /// Of a place without bytes nothing is written.
    fn write_place(&self, place: &Place, to: &mut Writer) {
        if let Some((source, position)) = place.source() {
            to.count(self.sources.index_of(source));
            to.unsigned(u64::from(position));
        }
    }

    fn write_batch(&self, batch: &BatchEffect, to: &mut Writer) {
        let producer = batch.producer.as_ref();
        let marker = producer.and_then(|producer| producer.marker);
        let mut flags = 0;
        if producer.is_some() {
            flags |= HAS_PRODUCER;
        }
        if producer.is_some_and(|producer| producer.is_transactional) {
            flags |= IS_TRANSACTIONAL;
        }
        if let Some(marker) = marker {
            flags |= HAS_MARKER | commits(marker);
        }
        to.byte(flags);
        to.unsigned(u64::from(batch.size_bytes));
        to.natural(i64::from(batch.last_offset_delta));
        self.write_time(batch.max_timestamp, to);
        if let Some(producer) = producer {
            to.natural(producer.producer_id);
            to.signed(i64::from(producer.producer_epoch));
            to.signed(i64::from(producer.base_sequence));
        }
        if let Some(marker) = marker {
            to.signed(i64::from(marker.coordinator_epoch));
        }
    }

    fn write_run(&self, run: &Run, to: &mut Writer) {
        let mut flags = 0;
        if run.is_compacted {
            flags |= IS_COMPACTED;
        }
        if let Place::Made(_) = run.place {
            flags |= IS_MADE;
        }
        to.byte(flags);
        to.natural(run.base_offset);
        to.natural(run.next_offset.wrapping_sub(run.base_offset));
        self.write_time(run.max_timestamp, to);
        to.unsigned(u64::from(run.size_bytes));
        match &run.place {
            Place::Made(marker) => write_marker(marker, to),
            place => self.write_place(place, to),
        }
    }
}

fn commits(marker: EndTxnMarker) -> u8 {
    match marker.result {
        TransactionResult::Commit => COMMITS,
        TransactionResult::Abort => 0,
    }
}

fn result_of(flags: u8) -> TransactionResult {
    match flags & COMMITS {
        0 => TransactionResult::Abort,
        _ => TransactionResult::Commit,
    }
}

pub(in crate::object) fn write_marker(marker: &Marker, to: &mut Writer) {
    to.byte(commits(marker.marker));
    to.natural(marker.producer_id);
    to.signed(i64::from(marker.producer_epoch));
    to.signed(i64::from(marker.marker.coordinator_epoch));
}

pub(in crate::object) fn read_marker(from: &mut Reader<'_>) -> Result<Marker, DecodeError> {
    let result = result_of(from.byte()?);
    Ok(Marker {
        producer_id: from.natural()?,
        producer_epoch: from.signed_as()?,
        marker: EndTxnMarker {
            result,
            coordinator_epoch: from.signed_as()?,
        },
    })
}

pub(in crate::object) fn write_aborted(aborted: &[AbortedTxn], to: &mut Writer) {
    to.count(aborted.len());
    for txn in aborted {
        to.natural(txn.producer_id);
        to.natural(txn.first_offset);
        to.natural(txn.last_offset);
        to.natural(txn.last_stable_offset);
    }
}

/// They are in the order of their markers, which come behind their data.
pub(in crate::object) fn read_aborted(
    from: &mut Reader<'_>,
) -> Result<Vec<AbortedTxn>, DecodeError> {
    let count = from.count(4)?;
    let mut aborted: Vec<AbortedTxn> = Vec::with_capacity(count);
    for _ in 0..count {
        let txn = AbortedTxn {
            producer_id: from.natural()?,
            first_offset: from.natural()?,
            last_offset: from.natural()?,
            last_stable_offset: from.natural()?,
        };
        let follows = aborted
            .last()
            .is_none_or(|before| before.last_offset < txn.last_offset);
        if !follows || txn.first_offset >= txn.last_offset {
            return Err(DecodeError::Malformed("aborted transactions out of order"));
        }
        aborted.push(txn);
    }
    Ok(aborted)
}

/// The tables, as they were read.
struct Named {
    at_ms: i64,
    topics: Vec<Uuid>,
    sources: Vec<Source>,
}

fn decode(bytes: &[u8]) -> Result<Entry, DecodeError> {
    let from = &mut Reader::new(bytes, VERSION)?;
    let at_ms = from.signed()?;
    let count = from.count(16)?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        topics.push(from.uuid()?);
    }
    let count = from.count(Source::LEAST_BYTES)?;
    let mut sources = Vec::with_capacity(count);
    for _ in 0..count {
        sources.push(Source::read(from)?);
    }
    let named = Named {
        at_ms,
        topics,
        sources,
    };
    let count = from.count(3)?;
    let mut effects = Vec::with_capacity(count);
    for _ in 0..count {
        effects.push(named.read_effect(from)?);
    }
    from.end()?;
    Ok(Entry { at_ms, effects })
}

impl Named {
    fn read_effect(&self, from: &mut Reader<'_>) -> Result<Effect, DecodeError> {
        let kind = from.byte()?;
        let topic: usize = from.natural()?;
        let topic_id = *self
            .topics
            .get(topic)
            .ok_or(DecodeError::Malformed("a topic is not in the table"))?;
        let partition = PartitionId {
            topic_id,
            partition: from.natural()?,
        };
        Ok(match kind {
            APPEND => {
                let base_offset = from.natural()?;
                let place = self.read_place(from)?;
                let count = from.count(4)?;
                let mut batches = Vec::with_capacity(count);
                for _ in 0..count {
                    batches.push(self.read_batch(from)?);
                }
                Effect::Append {
                    partition,
                    base_offset,
                    place,
                    batches,
                }
            }
            MARKER => Effect::Marker {
                partition,
                offset: from.natural()?,
                timestamp: self.read_time(from)?,
                marker: read_marker(from)?,
            },
            LOG_START => Effect::LogStart {
                partition,
                offset: from.natural()?,
            },
            CLAIM => Effect::Claim {
                partition,
                leader_epoch: from.natural()?,
            },
            DELETED => Effect::Deleted { partition },
            FORGOTTEN => Effect::Forgotten { partition },
            REPLACED => {
                let (start, end) = (from.natural()?, from.natural()?);
                let count = from.count(6)?;
                let mut runs = Vec::with_capacity(count);
                for _ in 0..count {
                    runs.push(self.read_run(from)?);
                }
                let aborted = match from.byte()? {
                    0 => None,
                    _ => Some(read_aborted(from)?),
                };
                Effect::Replaced {
                    partition,
                    from: start,
                    to: end,
                    runs,
                    aborted,
                }
            }
            EXPIRED => {
                let count = from.count(1)?;
                let mut producer_ids = Vec::with_capacity(count);
                for _ in 0..count {
                    producer_ids.push(from.natural()?);
                }
                Effect::Expired {
                    partition,
                    producer_ids,
                }
            }
            _ => return Err(DecodeError::Malformed("an effect is of no known kind")),
        })
    }

    fn read_time(&self, from: &mut Reader<'_>) -> Result<i64, DecodeError> {
        Ok(from.signed()?.wrapping_add(self.at_ms))
    }

    fn read_place(&self, from: &mut Reader<'_>) -> Result<Place, DecodeError> {
        let source: usize = from.natural()?;
        let source = self
            .sources
            .get(source)
            .ok_or(DecodeError::Malformed("a source is not in the table"))?;
        Ok(source.at(from.natural()?))
    }

    fn read_batch(&self, from: &mut Reader<'_>) -> Result<BatchEffect, DecodeError> {
        let flags = from.byte()?;
        let size_bytes = from.natural()?;
        let last_offset_delta = from.natural()?;
        let max_timestamp = self.read_time(from)?;
        let producer = match flags & HAS_PRODUCER {
            0 => None,
            _ => Some(BatchProducer {
                producer_id: from.natural()?,
                producer_epoch: from.signed_as()?,
                base_sequence: from.signed_as()?,
                is_transactional: flags & IS_TRANSACTIONAL != 0,
                marker: match flags & HAS_MARKER {
                    0 => None,
                    _ => Some(EndTxnMarker {
                        result: result_of(flags),
                        coordinator_epoch: from.signed_as()?,
                    }),
                },
            }),
        };
        Ok(BatchEffect {
            size_bytes,
            last_offset_delta,
            max_timestamp,
            producer,
        })
    }

    fn read_run(&self, from: &mut Reader<'_>) -> Result<Run, DecodeError> {
        let flags = from.byte()?;
        let base_offset: i64 = from.natural()?;
        let offsets = from.natural()?;
        let next_offset = base_offset
            .checked_add(offsets)
            .ok_or(DecodeError::Malformed("a run ends behind all offsets"))?;
        Ok(Run {
            base_offset,
            next_offset,
            max_timestamp: self.read_time(from)?,
            size_bytes: from.natural()?,
            place: match flags & IS_MADE {
                0 => self.read_place(from)?,
                _ => Place::Made(read_marker(from)?),
            },
            is_compacted: flags & IS_COMPACTED != 0,
        })
    }
}
