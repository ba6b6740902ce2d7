//! What holds for batches whatever their bytes: round trips, and no panic on anything.

mod interop;

use bytes::Bytes;
use proptest::prelude::*;

use super::batch::{self, BATCH_HEADER_BYTES, decrement_sequence, increment_sequence};
use super::*;

const LIMIT_BYTES: usize = 1 << 20;

/// A record with everything owned, to compare with.
#[derive(Debug, Clone, PartialEq)]
struct Owned {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Owned {
    fn of(record: &Record<'_>) -> Self {
        Self {
            timestamp: record.timestamp,
            key: record.key.map(Into::into),
            value: record.value.map(Into::into),
            headers: record
                .headers
                .map(|header| (header.key.into(), header.value.map(Into::into)))
                .collect(),
        }
    }

    fn append_to(&self, builder: &mut BatchBuilder) {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(key, value)| Header {
                key,
                value: value.as_deref(),
            })
            .collect();
        builder.append(
            self.timestamp,
            self.key.as_deref(),
            self.value.as_deref(),
            &headers,
        );
    }
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..max)
}

fn record() -> impl Strategy<Value = Owned> {
    let headers = prop::collection::vec((bytes(6), prop::option::of(bytes(10))), 0..4);
    (
        any::<i64>(),
        prop::option::of(bytes(40)),
        prop::option::of(bytes(300)),
        headers,
    )
        .prop_map(|(timestamp, key, value, headers)| Owned {
            timestamp,
            key,
            value,
            headers,
        })
}

fn codec() -> impl Strategy<Value = CompressionType> {
    prop::sample::select(&CompressionType::ALL[..])
}

fn read_all(batch: &Bytes) -> Result<Vec<Owned>, RecordError> {
    RecordSet::open(batch, LIMIT_BYTES)?
        .iter()
        .map(|record| record.map(|record| Owned::of(&record)))
        .collect()
}

/// Two records that use every field, in the given codec.
fn small_batch(codec: CompressionType) -> Bytes {
    let mut builder = BatchBuilder::new()
        .compression(codec)
        .producer(7, 1, 5)
        .transactional();
    let headers = [
        Header {
            key: b"h",
            value: Some(b"1"),
        },
        Header {
            key: b"h",
            value: None,
        },
    ];
    builder.append(
        1_000,
        Some(b"key"),
        Some(b"value value value value"),
        &headers,
    );
    builder.append(900, None, None, &[]);
    builder.build().unwrap()
}

proptest! {
    #[test]
    fn what_is_built_is_read_back(
        records in prop::collection::vec(record(), 1..20), codec in codec(), base_offset in 0..i64::MAX / 2,
    ) {
        let mut builder = BatchBuilder::new().compression(codec).base_offset(base_offset).producer(9, 2, 3);
        for record in &records {
            record.append_to(&mut builder);
        }
        let batch = builder.build().unwrap();
        let header = BatchHeader::parse(&batch).unwrap();
        batch::verify_crc(&batch).unwrap();
        prop_assert_eq!(header.size_bytes(), batch.len());
        prop_assert_eq!(header.records_count as usize, records.len());
        prop_assert_eq!(header.last_offset(), base_offset + records.len() as i64 - 1);
        prop_assert_eq!(header.compression().unwrap(), codec);
        prop_assert_eq!(header.max_timestamp, records.iter().map(|record| record.timestamp).max().unwrap().max(-1));
        let set = RecordSet::open(&batch, LIMIT_BYTES).unwrap();
        for (index, record) in set.iter().enumerate() {
            let record = record.unwrap();
            prop_assert_eq!(record.offset, base_offset + index as i64);
            prop_assert_eq!(Owned::of(&record), records[index].clone());
        }
    }

    #[test]
    fn no_bytes_panic(mut bytes in bytes(400), seed in any::<u16>(), fix_header in any::<bool>()) {
        // Half of the time far enough past the header to reach the records.
        if fix_header && bytes.len() > BATCH_HEADER_BYTES {
            let length = (bytes.len() - 12) as i32;
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            bytes[16] = 2;
            bytes[21..23].copy_from_slice(&(seed % 8).to_be_bytes());
            bytes[57..61].copy_from_slice(&i32::from(seed).to_be_bytes());
        }
        for batch in batches(&bytes).flatten() {
            let _ = (batch.header.last_offset(), batch.header.next_offset(), batch.header.last_sequence());
        }
        let _ = read_all(&bytes.into());
    }

    #[test]
    fn no_bytes_make_a_codec_pass_its_limit(codec in codec(), input in bytes(600), limit_bytes in 0..2000_usize) {
        if let Ok(output) = compression::decompress(codec, &input, limit_bytes) {
            prop_assert!(output.len() <= limit_bytes);
        }
    }

    #[test]
    fn damaged_streams_do_not_panic(
        codec in codec(), input in bytes(3000), changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6),
    ) {
        let mut compressed = compression::compress(codec.into(), &input).unwrap();
        for (at, value) in changes {
            let at = at % compressed.len().max(1);
            if let Some(byte) = compressed.get_mut(at) {
                *byte = value;
            }
        }
        let _ = compression::decompress(codec, &compressed, LIMIT_BYTES);
    }

    #[test]
    fn codecs_give_back_what_they_got(codec in codec(), unit in bytes(200), times in 0..800_usize) {
        let input = unit.repeat(times);
        let compressed = compression::compress(codec.into(), &input).unwrap();
        prop_assert_eq!(&compression::decompress(codec, &compressed, input.len()).unwrap(), &input);
        if let Some(limit_bytes) = input.len().checked_sub(1) {
            let too_large = compression::decompress(codec, &compressed, limit_bytes);
            let refused = matches!(too_large, Err(CompressionError::TooLarge { .. }));
            prop_assert!(refused, "{:?}", too_large);
        }
    }

    #[test]
    fn sequences_wrap_to_zero_after_the_largest(sequence in 0..=i32::MAX, increment in 0..=i32::MAX) {
        let expected = (i64::from(sequence) + i64::from(increment)) % (i64::from(i32::MAX) + 1);
        let sum = increment_sequence(sequence, increment);
        prop_assert_eq!(i64::from(sum), expected);
        prop_assert_eq!(decrement_sequence(sum, increment), sequence);
    }
}

#[test]
fn a_batch_cut_at_any_byte_is_refused() {
    for codec in CompressionType::ALL {
        let batch = small_batch(codec);
        for length in 1..batch.len() {
            let cut = batch.slice(..length);
            assert!(
                batches(&cut).next().unwrap().is_err(),
                "{codec}: {length} bytes"
            );
            assert!(read_all(&cut).is_err(), "{codec}: {length} bytes");
        }
    }
}

#[test]
fn what_follows_a_compressed_stream_is_taken_as_kafka_takes_it() {
    use super::compression::{compress, decompress};
    let open = |codec, input: &[u8]| {
        let output = decompress(codec, input, LIMIT_BYTES);
        output.map(|output| String::from_utf8(output).unwrap()).ok()
    };
    let text = "records ".repeat(50);
    for codec in &CompressionType::ALL[1..] {
        let one = compress((*codec).into(), text.as_bytes()).unwrap();
        let two = [&one[..], &one[..]].concat();
        let cut = &two[..two.len() - 9];
        // Java's GZIPInputStream ignores what does not begin another stream, Kafka's for lz4 whatever follows the
        // first frame; those for snappy and zstd go on until nothing is left.
        let ignores_tail = matches!(codec, CompressionType::Gzip | CompressionType::Lz4);
        for tail in [
            &[0; 1][..],
            &[0; 3],
            &[0; 4],
            &[0; 8],
            &[0; 30],
            &[0xee; 30],
            &one[..5],
        ] {
            let opened = open(*codec, &[&one[..], tail].concat());
            // Less than the length of a block is no block for snappy-java.
            let is_no_block = *codec == CompressionType::Snappy && tail.len() < 4;
            let expected = (ignores_tail || is_no_block).then(|| text.clone());
            assert_eq!(opened, expected, "{codec}, {tail:?}");
        }
        let reads_both = *codec != CompressionType::Lz4;
        assert_eq!(
            open(*codec, &two),
            Some(text.repeat(if reads_both { 2 } else { 1 }))
        );
        assert_eq!(
            open(*codec, cut),
            (!reads_both).then(|| text.clone()),
            "{codec}"
        );
        assert_eq!(open(*codec, b""), None, "{codec}");
    }
    let mut dependent = compress(CompressionType::Lz4.into(), text.as_bytes()).unwrap();
    dependent[4] &= !0x20;
    assert_eq!(open(CompressionType::Lz4, &dependent), None);
}

#[test]
fn a_decompressor_says_what_it_has_spent_and_keeps_little() {
    use super::compression::{Decompressor, compress};
    let mut decompressor = Decompressor::default();
    for codec in &CompressionType::ALL[1..] {
        let zeros = vec![0; 4 << 20];
        let bomb = compress((*codec).into(), &zeros).unwrap();
        let opened = decompressor.decompress(*codec, &bomb, zeros.len());
        assert_eq!(opened.unwrap(), zeros);
        assert_eq!(decompressor.spent_bytes(), zeros.len(), "{codec}");
        for limit_bytes in [0, 1000, zeros.len() - 1] {
            let opened = decompressor.decompress(*codec, &bomb, limit_bytes);
            assert!(opened.is_err(), "{codec}");
            // What is found out too late is written all the same, but never much more than is allowed.
            let spent_bytes = decompressor.spent_bytes();
            assert!(
                spent_bytes <= 2 * limit_bytes + (64 << 10),
                "{codec}: {spent_bytes}"
            );
        }
        decompressor.release();
        let small = compress((*codec).into(), b"small").unwrap();
        let opened = decompressor.decompress(*codec, &small, 5);
        assert_eq!(opened.unwrap(), b"small", "{codec}");
    }
}

#[test]
fn a_flipped_bit_is_found_by_the_crc_or_lies_outside_it() {
    for codec in CompressionType::ALL {
        let batch = small_batch(codec);
        let records = read_all(&batch).unwrap();
        for bit in 0..batch.len() * 8 {
            let mut flipped = batch.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let flipped = Bytes::from(flipped);
            let whole = batches(&flipped).next().unwrap();
            // Whatever the CRC says, reading must not panic.
            let read = read_all(&flipped);
            match bit / 8 {
                0..8 | 12..16 => assert_eq!(read.unwrap(), records),
                8..12 if whole.is_err() => {}
                16 => assert!(matches!(whole, Err(BatchError::UnsupportedMagic(_)))),
                _ => assert!(
                    batch::verify_crc(whole.unwrap().bytes).is_err(),
                    "{codec}: bit {bit}"
                ),
            }
        }
    }
}

#[test]
fn records_cut_at_any_byte_are_refused_even_if_the_header_agrees() {
    let batch = small_batch(CompressionType::None);
    for length in BATCH_HEADER_BYTES..batch.len() {
        let mut cut = batch[..length].to_vec();
        cut[8..12].copy_from_slice(&(length as i32 - 12).to_be_bytes());
        assert!(read_all(&cut.into()).is_err(), "{length} bytes");
    }
}

#[test]
fn counts_that_do_not_match_the_records_are_refused() {
    let batch = small_batch(CompressionType::None);
    let with_count = |count: i32| {
        let mut batch = batch.to_vec();
        batch[57..61].copy_from_slice(&count.to_be_bytes());
        read_all(&batch.into())
    };
    assert!(matches!(with_count(1), Err(RecordError::TrailingBytes(_))));
    assert!(matches!(
        with_count(3),
        Err(RecordError::InvalidRecord { index: 2, .. })
    ));
    assert!(matches!(
        with_count(i32::MAX),
        Err(RecordError::InvalidRecord { index: 2, .. })
    ));
    assert!(matches!(with_count(-1), Err(RecordError::InvalidCount(-1))));
    assert_eq!(with_count(0).unwrap(), vec![]);
}

#[test]
fn batches_are_found_one_after_the_other_until_something_else_comes() {
    let (first, second) = (
        small_batch(CompressionType::None),
        small_batch(CompressionType::Zstd),
    );
    let mut log = [&first[..], &second[..]].concat();
    let found: Vec<_> = batches(&log).map(|batch| batch.unwrap()).collect();
    assert_eq!(
        found.iter().map(|batch| batch.position).collect::<Vec<_>>(),
        [0, first.len()]
    );
    assert_eq!(found[1].bytes, &second[..]);

    log.extend_from_slice(&first[..30]);
    let mut found = batches(&log);
    assert_eq!(found.by_ref().filter(Result::is_ok).count(), 2);
    assert_eq!(found.position(), first.len() + second.len());
    assert!(batches(&log).any(|batch| matches!(batch, Err(BatchError::Truncated { .. }))));
}

#[test]
fn offset_and_epoch_change_without_the_crc_and_append_time_with_it() {
    let mut batch = small_batch(CompressionType::Lz4).to_vec();
    let before = BatchHeader::parse(&batch).unwrap();
    batch::set_offset_and_epoch(&mut batch, 1 << 40, 12).unwrap();
    let header = BatchHeader::parse(&batch).unwrap();
    assert_eq!(
        (
            header.base_offset,
            header.partition_leader_epoch,
            header.crc
        ),
        (1 << 40, 12, before.crc)
    );
    batch::verify_crc(&batch).unwrap();

    batch::set_max_timestamp(&mut batch, TimestampType::LogAppendTime, 77_777).unwrap();
    batch::verify_crc(&batch).unwrap();
    let header = BatchHeader::parse(&batch).unwrap();
    assert_eq!(
        (header.timestamp_type(), header.max_timestamp),
        (TimestampType::LogAppendTime, 77_777)
    );
    assert_eq!(header.base_timestamp, before.base_timestamp);
    let timestamps: Vec<_> = read_all(&batch.into())
        .unwrap()
        .iter()
        .map(|record| record.timestamp)
        .collect();
    assert_eq!(timestamps, [77_777, 77_777]);
}

#[test]
fn patching_something_shorter_than_a_header_is_refused() {
    let mut short = [0; BATCH_HEADER_BYTES - 1];
    assert!(batch::set_offset_and_epoch(&mut short, 0, 0).is_err());
    assert!(batch::set_max_timestamp(&mut short, TimestampType::LogAppendTime, 0).is_err());
    assert!(batch::verify_crc(&short[..10]).is_err());
}

#[test]
fn keys_and_values_can_be_kept_without_a_copy() {
    for codec in [CompressionType::None, CompressionType::Gzip] {
        let set = RecordSet::open(&small_batch(codec), LIMIT_BYTES).unwrap();
        let record = set.iter().next().unwrap().unwrap();
        let key = set.bytes().slice_ref(record.key.unwrap());
        assert_eq!(&key[..], b"key");
    }
}

#[test]
fn a_rewritten_batch_keeps_its_header_and_the_gaps_in_its_offsets() {
    let batch = small_batch(CompressionType::None);
    let header = BatchHeader::parse(&batch).unwrap();
    let set = RecordSet::open(&batch, LIMIT_BYTES).unwrap();
    let mut builder = BatchBuilder::like(&header).delete_horizon_ms(5_000);
    let kept = set.iter().nth(1).unwrap().unwrap();
    builder.append_at(
        kept.offset_delta,
        kept.timestamp,
        kept.key,
        kept.value,
        kept.headers,
    );
    let rewritten = builder.build().unwrap();

    let new_header = BatchHeader::parse(&rewritten).unwrap();
    assert_eq!(new_header.last_offset(), header.last_offset());
    assert_eq!(new_header.last_sequence(), header.last_sequence());
    assert_eq!(new_header.delete_horizon_ms(), Some(5_000));
    let set = RecordSet::open(&rewritten, LIMIT_BYTES).unwrap();
    let records: Vec<_> = set.iter().map(|record| record.unwrap()).collect();
    assert_eq!(
        (records.len(), records[0].offset, records[0].timestamp),
        (1, 1, 900)
    );
}

#[test]
fn a_batch_without_records_keeps_its_sequence_and_offsets() {
    let header = BatchHeader::parse(&small_batch(CompressionType::Gzip)).unwrap();
    let empty = BatchBuilder::like(&header).build().unwrap();
    let empty_header = BatchHeader::parse(&empty).unwrap();
    assert_eq!(empty.len(), BATCH_HEADER_BYTES);
    assert_eq!(empty_header.last_sequence(), header.last_sequence());
    assert_eq!(empty_header.last_offset(), header.last_offset());
    assert_eq!(empty_header.records_count, 0);
    assert_eq!(read_all(&empty).unwrap(), vec![]);
}
