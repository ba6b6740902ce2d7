//! A group's state as bytes. With it and the entries behind it a broker knows what it would know from all entries.
//!
//! Encoded like entries ([`super::entry`]), with version and checksum first:
//!
//! | part | content |
//! |---|---|
//! | seq | the last entry that was applied |
//! | sources | count, then each as in an entry, and the most bytes that the group ever needed of it (from version 2 on); all are used |
//! | deleted | count, then each: 16 bytes of the topic, partition, when |
//! | topics | count, then each: 16 bytes, count of its partitions, then those |
//!
//! and of a partition:
//!
//! | part | content |
//! |---|---|
//! | partition, log start, offsets from there to the end | |
//! | runs | count, then each: flags, offsets since the run before, offsets, ms since the run before, then size, source and position, or a marker |
//! | flags | 1 byte: what of the following there is |
//! | producers | length, then the sidecar of [`crate::log::producer_state::snapshot`] |
//! | aborted | count, then each: producer, first and last offset, last stable offset |
//! | epochs | count, then each: epoch and start offset |
//!
//! The same state gives the same bytes.

use std::collections::HashMap;

use super::codec::{DecodeError, Reader, Writer};
use super::entry::encoding::{read_aborted, read_marker, write_aborted, write_marker};
use super::entry::{PartitionId, Place, Run, Source};
use super::group_state::{GroupState, PartitionState};
use crate::log::producer_state::ProducerStateConfig;
use crate::log::producer_state::snapshot::{from_sidecar, to_sidecar};

const VERSION: u8 = 2;
/// It does not say how much of an object is not needed any more: all is taken for needed.
const WITHOUT_MOST: u8 = 1;

/// Of a partition.
const HAS_PRODUCERS: u8 = 1;
const HAS_ABORTED: u8 = 2;
const HAS_EPOCHS: u8 = 4;

/// Of a run.
const IS_COMPACTED: u8 = 1;
const IS_MADE: u8 = 2;

const fn malformed(what: &'static str) -> DecodeError {
    DecodeError::Malformed(what)
}

impl GroupState {
    /// Everything but the verifications, which are this broker's own.
    pub fn to_snapshot(&self) -> Vec<u8> {
        let mut to = Writer::new(VERSION);
        to.natural(self.seq());
        let sources = self.sources_sorted();
        to.count(sources.len());
        for (source, uses) in &sources {
            source.write(&mut to);
            to.unsigned(uses.most_bytes);
        }
        let places = sources.into_iter().enumerate();
        let places: HashMap<_, _> = places.map(|(at, (source, _))| (source, at)).collect();
        let mut deleted: Vec<_> = self.deleted().collect();
        deleted.sort_unstable();
        to.count(deleted.len());
        for (id, at_ms) in deleted {
            to.uuid(id.topic_id);
            to.natural(i64::from(id.partition));
            to.signed(at_ms);
        }
        let mut partitions: Vec<_> = self.known().collect();
        partitions.sort_unstable_by_key(|(id, _)| *id);
        let topics = || partitions.chunk_by(|(a, _), (b, _)| a.topic_id == b.topic_id);
        to.count(topics().count());
        for topic in topics() {
            to.uuid(topic[0].0.topic_id);
            to.count(topic.len());
            for (id, state) in topic {
                to.natural(i64::from(id.partition));
                self.write_partition(state, &places, &mut to);
            }
        }
        to.finish()
    }

    fn write_partition(
        &self,
        state: &PartitionState,
        places: &HashMap<Source, usize>,
        to: &mut Writer,
    ) {
        to.natural(state.log_start_offset);
        to.natural(state.next_offset - state.log_start_offset);
        to.count(state.run_count());
        let (mut offset, mut time) = (0, 0);
        for run in self.runs_of(state) {
            let compacted = if run.is_compacted { IS_COMPACTED } else { 0 };
            let made = match run.place {
                Place::Made(_) => IS_MADE,
                _ => 0,
            };
            to.byte(compacted | made);
            to.natural(run.base_offset - offset);
            to.natural(run.next_offset - run.base_offset);
            to.signed(run.max_timestamp.wrapping_sub(time));
            (offset, time) = (run.next_offset, run.max_timestamp);
            to.unsigned(u64::from(run.size_bytes));
            match run.place {
                Place::Made(marker) => write_marker(&marker, to),
                place => {
                    if let Some((source, position)) = place.source() {
                        to.count(places.get(&source).copied().unwrap_or_default());
                        to.unsigned(u64::from(position));
                    }
                }
            }
        }
        let more = state.more.as_deref();
        let producers = more.map(|more| &more.producers);
        let producers = producers.filter(|producers| producers.producers().len() > 0);
        let aborted = more.map_or(&[][..], |more| &more.aborted);
        let epochs = more.map_or(&[][..], |more| more.epochs.entries());
        let mut flags = 0;
        if producers.is_some() {
            flags |= HAS_PRODUCERS;
        }
        if !aborted.is_empty() {
            flags |= HAS_ABORTED;
        }
        if !epochs.is_empty() {
            flags |= HAS_EPOCHS;
        }
        to.byte(flags);
        if let Some(producers) = producers {
            let sidecar = to_sidecar(producers);
            to.count(sidecar.len());
            to.bytes(&sidecar);
        }
        if !aborted.is_empty() {
            write_aborted(aborted, to);
        }
        if !epochs.is_empty() {
            to.count(epochs.len());
            for entry in epochs {
                to.natural(i64::from(entry.epoch));
                to.natural(entry.start_offset);
            }
        }
    }

    /// Reads what [`to_snapshot`](Self::to_snapshot) gives. Takes memory in proportion to `bytes`, whatever they say.
    ///
    /// # Errors
    /// They are not what was written, or of another version.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, DecodeError> {
        let has_most = bytes.first() != Some(&WITHOUT_MOST);
        let version = if has_most { VERSION } else { WITHOUT_MOST };
        let from = &mut Reader::new(bytes, version)?;
        let mut state = Self::new();
        state.seq = from.natural()?;
        let count = from.count(Source::LEAST_BYTES)?;
        let mut sources = Vec::with_capacity(count);
        let mut most = Vec::with_capacity(count);
        for _ in 0..count {
            sources.push(Source::read(from)?);
            most.push(if has_most { from.unsigned()? } else { 0 });
        }
        if !sources.is_sorted_by(|a, b| a < b) {
            return Err(malformed("the sources are not in order"));
        }
        for _ in 0..from.count(18)? {
            let topic_id = from.uuid()?;
            let partition = from.natural()?;
            let id = PartitionId {
                topic_id,
                partition,
            };
            if state.deleted.insert(id, from.signed()?).is_some() {
                return Err(malformed("a partition is deleted twice"));
            }
        }
        for _ in 0..from.count(17)? {
            let topic_id = from.uuid()?;
            for _ in 0..from.count(5)? {
                let partition = from.natural()?;
                let id = PartitionId {
                    topic_id,
                    partition,
                };
                let read = state.read_partition(&sources, from)?;
                if state.is_deleted(&id) || state.partitions.insert(id, read).is_some() {
                    return Err(malformed("a partition is there twice"));
                }
            }
        }
        from.end()?;
        let used = state.sources_sorted();
        if !used.iter().map(|(source, _)| source).eq(&sources) {
            return Err(malformed("a source is not used"));
        }
        for (source, most_bytes) in sources.into_iter().zip(most) {
            state.set_most(source, most_bytes);
        }
        Ok(state)
    }

    fn read_partition(
        &mut self,
        sources: &[Source],
        from: &mut Reader<'_>,
    ) -> Result<PartitionState, DecodeError> {
        const TOO_FAR: DecodeError = malformed("an offset is behind all offsets");
        let mut state = PartitionState::new();
        state.log_start_offset = from.natural()?;
        let offsets: i64 = from.natural()?;
        let next_offset = state.log_start_offset.checked_add(offsets);
        state.next_offset = next_offset.ok_or(TOO_FAR)?;
        let (mut offset, mut time) = (0_i64, 0_i64);
        for _ in 0..from.count(6)? {
            let flags = from.byte()?;
            let base_offset = offset.checked_add(from.natural()?).ok_or(TOO_FAR)?;
            let next_offset = base_offset.checked_add(from.natural()?).ok_or(TOO_FAR)?;
            let max_timestamp = time.wrapping_add(from.signed()?);
            (offset, time) = (next_offset, max_timestamp);
            let size_bytes = from.natural()?;
            let place = match flags & IS_MADE {
                0 => {
                    let source: usize = from.natural()?;
                    let source = sources.get(source);
                    let source = source.ok_or(malformed("a source is not in the table"))?;
                    source.at(from.natural()?)
                }
                _ => Place::Made(read_marker(from)?),
            };
            let run = Run {
                base_offset,
                next_offset,
                size_bytes,
                max_timestamp,
                place,
                is_compacted: flags & IS_COMPACTED != 0,
            };
            let is_within =
                next_offset > state.log_start_offset && next_offset <= state.next_offset;
            if !is_within || !self.push_run(&mut state, &run) {
                return Err(malformed("a run is not one of its log"));
            }
        }
        let flags = from.byte()?;
        if flags & HAS_PRODUCERS != 0 {
            let length = from.count(1)?;
            let config = ProducerStateConfig::of_log(i64::MAX);
            let producers = from_sidecar(from.bytes(length)?, config, i64::MIN)
                .map_err(|_| malformed("its producers cannot be read"))?;
            let open = producers.first_undecided_offset();
            if producers.end_offset() != state.next_offset
                || open.is_some_and(|open| open >= state.next_offset)
            {
                return Err(malformed("its producers are of another end"));
            }
            state.more(true).producers = producers;
        }
        if flags & HAS_ABORTED != 0 {
            let aborted = read_aborted(from)?;
            let newest = aborted.last().map(|txn| txn.last_offset);
            if newest.is_some_and(|newest| newest >= state.next_offset) {
                return Err(malformed("a transaction ends behind its log"));
            }
            state.more(true).aborted = aborted;
        }
        if flags & HAS_EPOCHS != 0 {
            let count = from.count(2)?;
            let epochs = &mut state.more(true).epochs;
            for _ in 0..count {
                epochs.assign(from.natural()?, from.natural()?);
            }
            let newest = epochs.latest().map(|newest| newest.start_offset);
            if epochs.entries().len() != count || newest > Some(state.next_offset) {
                return Err(malformed("its leader epochs are not in order"));
            }
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests;
