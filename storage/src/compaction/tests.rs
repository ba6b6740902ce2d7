//! Random histories, cleaned at random moments, held against what a plain list of the records says.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::*;
use crate::record::{
    BatchBuilder, CompressionType, EndTxnMarker, RecordSet, TransactionResult, batch,
};

const LIMIT_BYTES: usize = 1 << 20;
pub(super) const RETENTION_MS: i64 = 1_000;

/// A log in memory: segments of batches, the last one active.
#[derive(Debug, Clone, Default)]
pub(super) struct TestLog {
    pub segments: RefCell<BTreeMap<i64, Segment>>,
    pub last_records: HashMap<i64, LastRecord>,
    pub next_offset: i64,
    /// Bytes that segments are said to have more than they do.
    pub missing_bytes: u64,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Segment {
    pub batches: Vec<Bytes>,
    pub aborted: Vec<AbortedTxn>,
}

impl Segment {
    fn size_bytes(&self) -> u64 {
        self.batches.iter().map(|batch| batch.len() as u64).sum()
    }
}

pub(super) struct Writer(i64, Vec<Bytes>);

impl CleanedSegment for Writer {
    fn append(&mut self, header: &BatchHeader, batch: &Bytes) -> io::Result<()> {
        assert_eq!(&BatchHeader::parse(batch).unwrap(), header);
        batch::verify_crc(batch).unwrap();
        self.1.push(batch.clone());
        Ok(())
    }
}

impl CompactableLog for TestLog {
    type Cleaned = Writer;

    fn closed_segments(&self) -> Vec<SegmentSummary> {
        let segments = self.segments.borrow();
        let closed = segments.len().saturating_sub(1);
        segments
            .iter()
            .take(closed)
            .map(|(&base_offset, segment)| SegmentSummary {
                base_offset,
                size_bytes: segment.size_bytes() + self.missing_bytes,
                offset_index_bytes: 0,
                time_index_bytes: 0,
                largest_timestamp: 0,
                first_batch_timestamp: 0,
            })
            .collect()
    }

    fn read(
        &self,
        segment_base_offset: i64,
        offset: i64,
    ) -> io::Result<impl Iterator<Item = io::Result<Bytes>>> {
        let batches = self.segments.borrow()[&segment_base_offset].batches.clone();
        let below = batches.partition_point(|batch| {
            BatchHeader::parse(batch).is_ok_and(|header| header.last_offset() < offset)
        });
        // One more than asked for, as an index would give it.
        Ok(batches.into_iter().skip(below.saturating_sub(1)).map(Ok))
    }

    fn aborted_transactions(&self, from: i64, end: i64) -> io::Result<Vec<AbortedTxn>> {
        let segments = self.segments.borrow();
        let all = segments.values().flat_map(|segment| &segment.aborted);
        Ok(all
            .filter(|txn| txn.last_offset >= from && txn.first_offset < end)
            .copied()
            .collect())
    }

    fn create_cleaned(&self, base_offset: i64) -> io::Result<Writer> {
        Ok(Writer(base_offset, Vec::new()))
    }

    fn replace(&self, cleaned: Writer, aborted: &[AbortedTxn], replaced: &[i64]) -> io::Result<()> {
        let mut segments = self.segments.borrow_mut();
        for base_offset in replaced {
            assert!(segments.remove(base_offset).is_some());
        }
        let segment = Segment {
            batches: cleaned.1,
            aborted: aborted.to_vec(),
        };
        segments.insert(cleaned.0, segment);
        Ok(())
    }

    fn discard(&self, _: Writer) -> io::Result<()> {
        Ok(())
    }
}

impl TestLog {
    pub fn new() -> Self {
        let log = Self::default();
        log.segments.borrow_mut().insert(0, Segment::default());
        log
    }

    pub fn roll(&mut self) {
        self.segments
            .borrow_mut()
            .entry(self.next_offset)
            .or_default();
    }

    pub fn append(&mut self, batch: &Bytes) -> BatchHeader {
        let mut bytes = batch.to_vec();
        batch::set_offset_and_epoch(&mut bytes, self.next_offset, 3).unwrap();
        let header = header(&bytes);
        self.next_offset = header.next_offset();
        let mut segments = self.segments.borrow_mut();
        let mut active = segments.last_entry().unwrap();
        active.get_mut().batches.push(bytes.into());
        header
    }

    pub fn append_aborted(&mut self, txn: AbortedTxn) {
        let mut segments = self.segments.borrow_mut();
        segments.last_entry().unwrap().get_mut().aborted.push(txn);
    }

    pub fn active_base_offset(&self) -> i64 {
        *self.segments.borrow().last_key_value().unwrap().0
    }

    pub fn batches(&self) -> Vec<Bytes> {
        let segments = self.segments.borrow();
        segments
            .values()
            .flat_map(|segment| segment.batches.clone())
            .collect()
    }

    /// Cleans everything below `end_offset`, a segment's base.
    pub fn clean(&self, from: i64, end: i64, map_bytes: usize, now_ms: i64) -> Compacted {
        let range = LogToClean {
            first_dirty_offset: from,
            first_uncleanable_offset: end,
            clean_bytes: 0,
            cleanable_bytes: 0,
            overdue_ms: 0,
            reset_checkpoint: false,
        };
        let config = LogConfig {
            delete_retention_ms: RETENTION_MS,
            segment_bytes: 2_000,
            ..LogConfig::default()
        };
        let settings = CompactionSettings {
            offset_map_bytes: map_bytes,
            decompressed_limit_bytes: LIMIT_BYTES,
        };
        compact(
            self,
            &range,
            self.last_records.clone(),
            &config,
            settings,
            now_ms,
            pass,
        )
        .unwrap()
    }
}

pub(super) fn pass(_: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

pub(super) fn header(batch: &[u8]) -> BatchHeader {
    BatchHeader::parse(batch).unwrap()
}

/// A data record with all that must not change.
#[derive(Debug, Clone, PartialEq)]
struct Data {
    timestamp: i64,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn data_of(batch: &Bytes) -> Vec<(i64, Data)> {
    let set = RecordSet::open(batch, LIMIT_BYTES).unwrap();
    set.iter()
        .map(|record| {
            let record = record.unwrap();
            let headers = record
                .headers
                .map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec)));
            let data = Data {
                timestamp: record.timestamp,
                key: record.key.unwrap().to_vec(),
                value: record.value.map(<[u8]>::to_vec),
                headers: headers.collect(),
            };
            (record.offset, data)
        })
        .collect()
}

type State = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A read-committed consumer, as clients do it: by the aborted transactions that it is told of, and by markers.
#[derive(Debug, Clone, Default)]
struct Consumer {
    next_offset: i64,
    started_ms: i64,
    aborted: HashSet<i64>,
    state: State,
}

impl Consumer {
    fn read(&mut self, log: &TestLog, end: i64, batches_max: usize) {
        let mut aborted = log.aborted_transactions(self.next_offset, end).unwrap();
        aborted.sort_by_key(|txn| txn.first_offset);
        let mut aborted = aborted.into_iter().peekable();
        let batches = log.batches().into_iter();
        let batches = batches.filter(|batch| {
            let header = header(batch);
            header.last_offset() >= self.next_offset && header.last_offset() < end
        });
        for batch in batches.take(batches_max).collect::<Vec<_>>() {
            let header = header(&batch);
            while let Some(txn) = aborted.next_if(|txn| txn.first_offset <= header.last_offset()) {
                self.aborted.insert(txn.producer_id);
            }
            self.next_offset = header.next_offset();
            if header.is_control() {
                if EndTxnMarker::of_batch(&batch).unwrap().map(|m| m.result)
                    == Some(TransactionResult::Abort)
                {
                    self.aborted.remove(&header.producer_id);
                }
            } else if !(header.is_transactional() && self.aborted.contains(&header.producer_id)) {
                for (_, data) in data_of(&batch) {
                    self.state.insert(data.key, data.value);
                }
            }
        }
    }

    fn live(&self) -> State {
        let live = self.state.iter().filter(|(_, value)| value.is_some());
        live.map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}

#[derive(Debug, Default)]
struct Producer {
    epoch: i16,
    next_sequence: i32,
    txn_first_offset: Option<i64>,
    txn_records: Vec<(i64, Data)>,
    last_header: Option<BatchHeader>,
}

/// A log, and what was written to it.
struct World {
    random: StdRng,
    log: TestLog,
    now_ms: i64,
    producers: BTreeMap<i64, Producer>,
    /// All records of producers, by offset.
    written: BTreeMap<i64, Data>,
    aborted: HashSet<i64>,
    decided: BTreeMap<i64, Data>,
    /// When a tombstone was first in a cleaned range.
    first_cleaned_ms: BTreeMap<i64, i64>,
    clean_offset: i64,
    /// The largest it ever was.
    clean_before: i64,
    keys: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let keys = *[1, 3, 20, 100].choose(&mut random).unwrap();
        Self {
            random,
            log: TestLog::new(),
            now_ms: 1_000_000,
            producers: (1..=4).map(|id| (id, Producer::default())).collect(),
            written: BTreeMap::new(),
            aborted: HashSet::new(),
            decided: BTreeMap::new(),
            first_cleaned_ms: BTreeMap::new(),
            clean_offset: 0,
            clean_before: 0,
            keys,
        }
    }

    fn last_stable_offset(&self) -> i64 {
        let open = self.producers.values().filter_map(|p| p.txn_first_offset);
        open.min().unwrap_or(self.log.next_offset)
    }

    /// The base offset of the first segment that must not be touched.
    fn end(&self) -> i64 {
        let bound = self.last_stable_offset().min(self.log.active_base_offset());
        let segments = self.log.segments.borrow();
        *segments.range(..=bound).next_back().unwrap().0
    }

    /// The latest value, or tombstone, of each key below `end`.
    fn latest(&self, end: i64) -> BTreeMap<Vec<u8>, i64> {
        let range = self.decided.range(..end);
        range
            .map(|(&offset, data)| (data.key.clone(), offset))
            .collect()
    }

    fn live(&self, end: i64) -> State {
        let latest = self.latest(end).into_iter();
        latest
            .map(|(key, offset)| (key, self.decided[&offset].value.clone()))
            .filter(|(_, value)| value.is_some())
            .collect()
    }

    fn produce(&mut self) {
        // Producer 1 is not idempotent, 2 is, the others are transactional.
        let id = self.random.random_range(1..=4);
        let random = &mut self.random;
        let producer = self.producers.get_mut(&id).unwrap();
        let codec = *CompressionType::ALL.choose(random).unwrap();
        let mut builder = BatchBuilder::new().compression(codec);
        if random.random_bool(0.2) {
            builder = builder.log_append_time(self.now_ms);
        }
        if id > 1 {
            builder = builder.producer(id, producer.epoch, producer.next_sequence);
        }
        if id > 2 {
            builder = builder.transactional();
        }
        for _ in 0..random.random_range(1..=5) {
            let key = format!("key-{}", random.random_range(0..self.keys));
            let value = (!random.random_bool(0.3)).then(|| vec![b'v'; random.random_range(0..80)]);
            let timestamp = self.now_ms - random.random_range(0..50);
            let headers = [crate::record::Header {
                key: b"h",
                value: None,
            }];
            let headers = &headers[..random.random_range(0..=1)];
            builder.append(timestamp, Some(key.as_bytes()), value.as_deref(), headers);
        }
        let header = self.log.append(&builder.build().unwrap());
        let batch = self.log.batches().pop().unwrap();
        let records = data_of(&batch);
        self.written.extend(records.clone());
        if id > 1 {
            producer.next_sequence += header.records_count;
            producer.last_header = Some(header);
            let last = LastRecord {
                last_data_offset: Some(header.last_offset()),
                producer_epoch: header.producer_epoch,
            };
            self.log.last_records.insert(id, last);
        }
        if id > 2 {
            producer.txn_first_offset.get_or_insert(header.base_offset);
            producer.txn_records.extend(records);
        } else {
            self.decided.extend(records);
        }
    }

    fn end_transaction(&mut self) {
        let id = self.random.random_range(3..=4);
        let result = match self.random.random_bool(0.5) {
            true => TransactionResult::Commit,
            false => TransactionResult::Abort,
        };
        let bump = self.random.random_bool(0.3);
        let producer = self.producers.get_mut(&id).unwrap();
        let Some(first_offset) = producer.txn_first_offset.take() else {
            return;
        };
        if bump {
            // As transactions do since KIP-890: the marker carries the next epoch, of which there is no data yet.
            producer.epoch += 1;
            producer.next_sequence = 0;
        }
        let marker = EndTxnMarker {
            result,
            coordinator_epoch: 1,
        };
        let marker = marker.to_batch(id, producer.epoch, self.now_ms).unwrap();
        let header = self.log.append(&marker);
        if bump {
            producer.last_header = Some(header);
            let last = LastRecord {
                last_data_offset: None,
                producer_epoch: producer.epoch,
            };
            self.log.last_records.insert(id, last);
        }
        let records = std::mem::take(&mut producer.txn_records);
        match result {
            TransactionResult::Commit => self.decided.extend(records),
            TransactionResult::Abort => {
                self.aborted
                    .extend(records.iter().map(|(offset, _)| offset));
                self.log.append_aborted(AbortedTxn {
                    producer_id: id,
                    first_offset,
                    last_offset: header.base_offset,
                    last_stable_offset: self.last_stable_offset(),
                });
            }
        }
    }

    fn clean(&mut self) {
        let end = self.end();
        if self.random.random_bool(0.2) {
            // A lost checkpoint only costs time.
            self.clean_offset = 0;
        }
        let from = self.clean_offset;
        let map_bytes = match self.random.random_bool(0.3) {
            true => self.random.random_range(0..200),
            false => 1 << 20,
        };
        let before = self.log.clone();
        let compacted = self.log.clean(from, end, map_bytes, self.now_ms);
        assert!(compacted.clean_offset <= end.max(from));
        assert!(compacted.clean_offset > from || from >= end, "no progress");
        if map_bytes == 1 << 20 && from < end {
            assert_eq!(compacted.clean_offset, end);
        }
        self.clean_offset = compacted.clean_offset;
        self.check(&before, from, end);
    }

    /// What must be true after cleaning `from..clean_offset` of a log that could be cleaned up to `end`.
    fn check(&mut self, before: &TestLog, from: i64, end: i64) {
        let clean_offset = self.clean_offset;
        let batches = self.log.batches();

        // The uncleanable part is untouched, and so is its index.
        let untouched = |log: &TestLog| {
            let segments = log.segments.borrow();
            segments
                .range(end..)
                .map(|(base, segment)| (*base, segment.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(untouched(before), untouched(&self.log));

        // Batches are in order, and each is what is left of one that was there.
        let old: BTreeMap<i64, BatchHeader> = before
            .batches()
            .iter()
            .map(|batch| (header(batch).base_offset, header(batch)))
            .collect();
        let mut next_offset = 0;
        for batch in &batches {
            let new = header(batch);
            let old = old[&new.base_offset];
            assert!(new.base_offset >= next_offset);
            next_offset = new.next_offset();
            let identity = |h: BatchHeader| {
                let producer = (h.producer_id, h.producer_epoch, h.base_sequence);
                let kind = (h.is_transactional(), h.is_control(), h.timestamp_type());
                (h.last_offset(), producer, kind, h.partition_leader_epoch)
            };
            assert_eq!(identity(new), identity(old));
            assert!(new.records_count == 0 || new.compression() == old.compression());
            if new.is_control() {
                continue;
            }
            let records = data_of(batch);
            for (offset, data) in &records {
                assert_eq!(&self.written[offset], data, "offset {offset}");
            }
            let max = records.iter().map(|(_, data)| data.timestamp).max();
            assert!(max.is_none_or(|max| max == new.max_timestamp));
        }

        // The last offset below the uncleanable part is still there.
        let last_offset = |log: &TestLog| {
            let batches = log.batches();
            let offsets = batches.iter().map(|batch| header(batch).last_offset());
            offsets.filter(|&offset| offset < end).max()
        };
        if clean_offset >= end {
            assert_eq!(last_offset(before), last_offset(&self.log));
        }

        // Every producer's last sequence, or epoch, can still be read.
        for last in self.producers.values().filter_map(|p| p.last_header) {
            let found = batches.iter().map(|batch| header(batch)).any(|found| {
                let producer = |h: BatchHeader| (h.producer_id, h.producer_epoch);
                producer(found) == producer(last)
                    && (last.is_control() && found.is_control()
                        || found.last_sequence() == last.last_sequence()
                            && found.last_offset() == last.last_offset())
            });
            assert!(found, "{last:?}");
        }

        // In the cleaned part only the latest record of each key remains, and of aborted transactions nothing.
        let remaining = data_of_log(&self.log);
        let latest = self.latest(clean_offset);
        for (offset, data) in remaining.range(..clean_offset) {
            assert_eq!(latest.get(&data.key), Some(offset), "{data:?}");
        }
        // Beyond it everything remains but what was aborted.
        for (offset, data) in data_of_log(before).range(clean_offset..) {
            assert!(remaining.get(offset) == Some(data) || self.aborted.contains(offset));
        }
        self.clean_before = self.clean_before.max(clean_offset);
        for offset in self.latest(self.clean_before).values() {
            if self.written[offset].value.is_some() {
                assert!(remaining.contains_key(offset), "lost offset {offset}");
                continue;
            }
            // A tombstone stays visible for as long as promised from when its older values were dropped.
            let batch = old.range(..=offset).next_back().map(|(_, header)| header);
            if batch.is_some_and(|batch| batch.last_offset() < clean_offset) {
                self.first_cleaned_ms.entry(*offset).or_insert(self.now_ms);
            }
            let first_ms = self.first_cleaned_ms.get(offset).copied();
            let visible = first_ms.is_none_or(|first| self.now_ms < first + RETENTION_MS);
            assert!(
                !visible || remaining.contains_key(offset),
                "lost tombstone {offset}"
            );
            // And it goes at the next cleaning thereafter.
            if *offset < clean_offset && from < end {
                assert!(
                    visible || !remaining.contains_key(offset),
                    "kept tombstone {offset}"
                );
            }
        }
    }
}

fn data_of_log(log: &TestLog) -> BTreeMap<i64, Data> {
    let batches = log.batches().into_iter();
    batches
        .filter(|batch| !header(batch).is_control())
        .flat_map(|batch| data_of(&batch))
        .collect()
}

fn run(seed: u64) {
    println!("seed {seed}");
    let mut world = World::new(seed);
    let mut consumers: Vec<Consumer> = Vec::new();
    for _ in 0..world.random.random_range(50..400) {
        match world.random.random_range(0..100) {
            0..50 => world.produce(),
            50..70 => world.end_transaction(),
            70..80 => world.log.roll(),
            80..85 => world.clean(),
            85..90 => {
                let up_to_ms = *[1, 100, 2 * RETENTION_MS]
                    .choose(&mut world.random)
                    .unwrap();
                world.now_ms += world.random.random_range(0..=up_to_ms);
            }
            90..92 => consumers.push(Consumer {
                started_ms: world.now_ms,
                ..Consumer::default()
            }),
            _ => {
                let end = world.last_stable_offset();
                for consumer in &mut consumers {
                    consumer.read(&world.log, end, world.random.random_range(0..20));
                }
            }
        }
        // Who reads the log from its start within the time that tombstones live ends up with the right state.
        consumers.retain(|c| world.now_ms < c.started_ms + RETENTION_MS);
    }
    let end = world.last_stable_offset();
    consumers.push(Consumer::default());
    for mut consumer in consumers {
        consumer.read(&world.log, end, usize::MAX);
        assert_eq!(consumer.live(), world.live(end));
    }

    // Cleaning again changes nothing, once the markers have got their horizon.
    let end = world.end();
    for _ in 0..3 {
        world.log.clean(0, end, 1 << 20, world.now_ms);
    }
    let before = world.log.segments.borrow().clone();
    world.log.clean(0, end, 1 << 20, world.now_ms);
    assert_eq!(before, *world.log.segments.borrow());
}

#[test]
fn whatever_is_written_and_cleaned_readers_see_the_latest_value_of_each_key() {
    let seed: u64 = rand::rng().random();
    for run_number in 0..150 {
        run(seed.wrapping_add(run_number));
    }
}
