//! What reads bytes from a disk or a client, as entry points for fuzzers. No part of the API.
//!
//! Each takes any bytes and must return: without a panic, without an abort, and without memory that the
//! bytes merely claim. Under `cfg(fuzzing)` wrong checksums pass, or hardly an input would get behind them.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::env::fs::{Access, Fs};
use crate::local::loader::{LoadContext, load};
use crate::local::segment::open_files::{LogPath, OpenFiles};
use crate::local::segment::{Part, path};
use crate::local::segment::{offset_index, time_index};
use crate::local::text_files::{read_offsets, topic_id_of};
use crate::local::wal::checkpoint::Checkpoint;
use crate::local::wal::format::GROUP_HEADER_BYTES;
use crate::local::wal::logs::{LogTable, declared};
use crate::local::wal::replay::{Replay, ReplayError};
use crate::local::wal::ring::RingPosition;
use crate::log::leader_epoch::LeaderEpochs;
use crate::log::parse_kafka_uuid;
use crate::log::producer_state::{ProducerState, ProducerStateConfig, snapshot};
use crate::log::{TopicPartition, transaction_index};
use crate::object::entry::{Effect, Entry};
use crate::object::group_state::GroupState;
use crate::record::batch::verify_crc;
use crate::record::compression::{compress, decompress};
use crate::record::{
    BatchHeader, Compression, CompressionType, EndTxnMarker, RecordSet, TimestampType,
    ValidateConfig, batches, validate,
};
use crate::testing::sim_disk::SimDisk;

/// What a fuzzed batch may decompress to.
const DECOMPRESSED_LIMIT_BYTES: usize = 1 << 20;

fn put(fs: &dyn Fs, path: &Path, bytes: &[u8]) {
    let written = fs
        .open(path, Access::Write)
        .and_then(|file| file.write_at(&[bytes], 0));
    written.expect("a disk in memory takes what it is given");
}

/// An empty directory on a disk in memory.
fn directory(path: &str) -> Arc<dyn Fs> {
    let fs = SimDisk::new().boot(None);
    let made = fs.create_dir_all(Path::new(path));
    made.expect("a disk in memory takes what it is given");
    Arc::new(fs)
}

/// Two regions of a write-ahead log: the first byte says, in blocks, where the second begins.
pub fn wal(bytes: &[u8]) {
    let Some((&blocks, rest)) = bytes.split_first() else {
        return;
    };
    let dir = Path::new("/wal");
    let fs = directory("/wal");
    let first = (usize::from(blocks) * crate::env::fs::BLOCK_BYTES).min(rest.len());
    put(&*fs, &dir.join("ring-0.wal"), &rest[..first]);
    put(&*fs, &dir.join("ring-1.wal"), &rest[first..]);
    let checkpoint = Checkpoint {
        number: 1,
        generation: 1,
        start_sequence: 1,
        start: RingPosition::default(),
        closed: false,
    };
    let replayed = Replay::new(&*fs, dir).run(&checkpoint, |entries| {
        for entry in entries {
            let _ = declared(entry.payload);
            let _ = BatchHeader::parse(entry.payload);
        }
        Ok::<(), ReplayError>(())
    });
    if let Ok(end) = replayed {
        assert!(end.groups <= bytes.len() as u64 / GROUP_HEADER_BYTES as u64);
    }
}

/// What a producer sends, and what is done with it on its way into the log and out again.
pub fn batch(bytes: &[u8]) {
    let records = Bytes::copy_from_slice(bytes);
    let _ = verify_crc(bytes);
    let _ = EndTxnMarker::of_batch(&records);
    for batch in batches(&records).map_while(Result::ok) {
        let batch = records.slice_ref(batch.bytes);
        let Ok(set) = RecordSet::open(&batch, DECOMPRESSED_LIMIT_BYTES) else {
            continue;
        };
        assert!(set.bytes().len() <= DECOMPRESSED_LIMIT_BYTES.max(bytes.len()));
        for record in set.iter().map_while(Result::ok) {
            record.headers.for_each(drop);
        }
    }
    let gzip = Compression::from(CompressionType::Gzip);
    for (compression, timestamp_type, all) in [
        (None, TimestampType::CreateTime, false),
        (None, TimestampType::LogAppendTime, true),
        (Some(gzip), TimestampType::CreateTime, true),
    ] {
        let config = ValidateConfig {
            compression,
            timestamp_type,
            compacted: all,
            validate_all_records: all,
            max_decompressed_bytes: DECOMPRESSED_LIMIT_BYTES,
            ..ValidateConfig::default()
        };
        if let Ok(valid) = validate(&records, &config, true, 1_700_000_000_000) {
            let stored = valid.to_bytes(5, 1);
            let header = BatchHeader::parse(&stored).expect("what was validated is a batch");
            assert_eq!(header.base_offset, 5);
            let mut producers = ProducerState::new(ProducerStateConfig::default(), 5);
            if producers.check(&header, None).is_ok() {
                producers.apply(&header, None, 0);
            }
        }
    }
}

/// Compressed records: the first byte names the codec.
pub fn compressed(bytes: &[u8]) {
    let Some((&codec, input)) = bytes.split_first() else {
        return;
    };
    let Some(codec) = CompressionType::from_id(codec % 5) else {
        return;
    };
    if let Ok(output) = decompress(codec, input, DECOMPRESSED_LIMIT_BYTES) {
        assert!(output.len() <= DECOMPRESSED_LIMIT_BYTES);
        let again = compress(codec.into(), &output)
            .and_then(|again| decompress(codec, &again, DECOMPRESSED_LIMIT_BYTES));
        assert_eq!(again.ok().as_deref(), Some(&output[..]));
    }
}

/// A partition's directory: a segment and its three indexes, each behind its length in two bytes.
///
/// What can be loaded must be the same after being loaded again.
pub fn partition(bytes: &[u8]) {
    let open_files = OpenFiles::new(100, Arc::default());
    let dir = LogPath::new("/topic-0".into(), &open_files);
    let fs = directory("/topic-0");
    let mut rest = bytes;
    for part in [
        Part::OffsetIndex,
        Part::TimeIndex,
        Part::TransactionIndex,
        Part::Log,
    ] {
        let content = match (part, rest.split_first_chunk()) {
            (Part::Log, _) | (_, None) => rest,
            (_, Some((&length, after))) => {
                let length = usize::from(u16::from_le_bytes(length)).min(after.len());
                rest = &after[length..];
                &after[..length]
            }
        };
        put(&*fs, &path(&dir, 0, part), content);
        let _ = offset_index::valid_prefix(content, bytes.len() as u64);
        let _ = time_index::valid_prefix(content, u32::MAX);
        let _ = transaction_index::parse(content);
    }
    let id = TopicPartition {
        topic: Arc::from("topic"),
        topic_id: Uuid::from_u128(1),
        partition: 0,
    };
    let ends = [false, true, true].map(|may_cut_tail| {
        let context = LoadContext {
            fs: &*fs,
            id: &id,
            dir: &dir,
            index_interval_bytes: 100,
            now_ms: 1_700_000_000_000,
            producer_id_expiration_ms: i64::MAX,
            log_start_offset: None,
            may_cut_tail,
            may_have_shrunk: false,
            recovery_point: 0,
            closed_at: None,
        };
        load(&context).ok().map(|loaded| loaded.log_end_offset)
    });
    assert_eq!(ends[1], ends[2]);
}

/// The small files: snapshots of producers, checkpoints, tables. What is read is written as it was.
pub fn checkpoints(bytes: &[u8]) {
    let config = ProducerStateConfig::default;
    if let Ok(state) = snapshot::from_snapshot(bytes, 5, config(), 0) {
        let again = snapshot::from_snapshot(&snapshot::to_snapshot(&state), 5, config(), 0);
        assert_eq!(
            again.map(|again| again.producers().len()).ok(),
            Some(state.producers().len())
        );
    }
    if let Ok(state) = snapshot::from_sidecar(bytes, config(), 0) {
        let written = snapshot::to_sidecar(&state);
        let again = snapshot::from_sidecar(&written, config(), 0);
        assert_eq!(again.ok().as_ref().map(snapshot::to_sidecar), Some(written));
    }
    let text = String::from_utf8_lossy(bytes);
    if let Ok(epochs) = LeaderEpochs::from_checkpoint(&text) {
        let again = LeaderEpochs::from_checkpoint(&epochs.to_checkpoint()).ok();
        assert_eq!(
            again.as_ref().map(LeaderEpochs::entries),
            Some(epochs.entries())
        );
    }
    let _ = topic_id_of(&text);
    let _ = parse_kafka_uuid(&text);
    let dir = Path::new("/wal");
    let fs = directory("/wal");
    for name in ["checkpoint-a", "checkpoint-b", "logs-1", "offsets"] {
        put(&*fs, &dir.join(name), bytes);
    }
    let _ = read_offsets(&*fs, &dir.join("offsets"));
    let _ = LogTable::read(&*fs, dir, 1);
    if let Ok(Some(checkpoint)) = Checkpoint::read(&*fs, dir) {
        let _ = Replay::new(&*fs, dir).run(&checkpoint, |_| Ok::<(), ReplayError>(()));
    }
}

/// An entry of a log group.
pub fn entry(bytes: &[u8]) {
    let Ok(entry) = Entry::decode(&with_checksum(bytes)) else {
        return;
    };
    let _ = GroupState::new().apply(1, &entry);
    assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
}

/// The snapshot of a log group. What it tells can be told again, and be worked with.
pub fn group(bytes: &[u8]) {
    let Ok(mut state) = GroupState::from_snapshot(&with_checksum(bytes)) else {
        return;
    };
    let written = state.to_snapshot();
    let again = GroupState::from_snapshot(&written);
    assert_eq!(again.map(|again| again.to_snapshot()), Ok(written));
    let mut effects = Vec::new();
    for view in state.partitions() {
        let offsets = view.offsets();
        assert!(offsets.log_start_offset <= offsets.last_stable_offset);
        assert!(offsets.last_stable_offset <= offsets.high_watermark);
        assert!(view.runs(offsets.log_start_offset).len() <= view.run_count());
        let _ = view.aborted(offsets.log_start_offset, offsets.high_watermark);
        let start = view.start_by_retention(0, 0, i64::MAX);
        assert!(start <= offsets.high_watermark);
        effects.push(Effect::LogStart {
            partition: view.id(),
            offset: start,
        });
    }
    let entry = Entry { at_ms: 0, effects };
    if let Some(seq) = state.seq().checked_add(1) {
        let moved = state.apply(seq, &entry);
        assert!(moved.is_ok(), "{moved:?}");
    }
}

/// The bytes with the checksum that they have to have: hardly an input has it.
fn with_checksum(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some((prefix, rest)) = bytes.split_first_chunk_mut::<5>() {
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, rest) as u32;
        prefix[1..].copy_from_slice(&crc.to_le_bytes());
    }
    bytes
}
