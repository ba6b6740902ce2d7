//! Bytes written by others: Kafka's Java classes (4.3.1) and the codec libraries behind other clients.

use bytes::Bytes;

use crate::record::batch::{self, set_offset_and_epoch};
use crate::record::compression::decompress;
use crate::record::*;

/// MemoryRecordsBuilder, none: the two records of [`two_records`].
const KAFKA_NONE: &str = "\
    00000000000000000000006100000005022f9dffcb0010000000010000018bcfe568000000018bcfe568\
    000000000000001267000300000011000000024e000000066b65792e76616c75652076616c7565207661\
    6c75652076616c756504026802310268010e00c70102010100";
/// MemoryRecordsBuilder, gzip: the two records of [`two_records`].
const KAFKA_GZIP: &str = "\
    0000000000000000000000660000000502d06554210011000000010000018bcfe568000000018bcfe568\
    000000000000001267000300000011000000021f8b08000000000000fff363606060cb4eadd42b4bcc29\
    4d55c020599832980c993218f9188e33323132320000f64a326130000000";
/// MemoryRecordsBuilder, snappy: the two records of [`two_records`].
const KAFKA_SNAPPY: &str = "\
    00000000000000000000006a00000005027a3e28ba0012000000010000018bcfe568000000018bcfe568\
    0000000000000012670003000000110000000282534e415050590000000001000000010000002530384e\
    000000066b65792e76616c7565204206003c04026802310268010e00c70102010100";
/// MemoryRecordsBuilder, lz4: the two records of [`two_records`].
const KAFKA_LZ4: &str = "\
    0000000000000000000000650000000502a3b181f20013000000010000018bcfe568000000018bcfe568\
    0000000000000012670003000000110000000204224d1860408225000000fd004e000000066b65792e76\
    616c7565200600f00104026802310268010e00c7010201010000000000";
/// MemoryRecordsBuilder, zstd: the two records of [`two_records`].
const KAFKA_ZSTD: &str = "\
    0000000000000000000000620000000502d78f6beb0014000000010000018bcfe568000000018bcfe568\
    0000000000000012670003000000110000000228b52ffd00582c0100f84e000000066b65792e76616c75\
    652004026802310268010e00c701020101000100994b1d010000";
/// MemoryRecords.withEndTransactionMarker: commit, coordinator epoch 9, at offset 77 and leader epoch 2.
const KAFKA_MARKER: &str = "\
    000000000000004d000000420000000202a8da87310030000000000000018bcfe568000000018bcfe568\
    0000000000000012670003ffffffff000000012000000008000000010c00000000000900";

/// `"value "` 32 times in lz4-c's frame with linked blocks and every optional field: content size, block and content
/// checksums.
const LZ4_FULL_FRAME: &str = "\
    04224d187c40c00000000000000035100000006f76616c7565200600a250616c75652052b8264300000000d5a0c4a4";
/// The same text as kafka-python frames it: independent blocks, content size.
const LZ4_KAFKA_PYTHON: &str = "\
    04224d186840c0000000000000005f100000006f76616c7565200600a250616c75652000000000";
/// The same text as python-snappy, like librdkafka, writes it: no framing.
const SNAPPY_RAW: &str = "c0011476616c756520fe0600fe0600e60600";
/// The same text as kafka-python frames it for Java.
const SNAPPY_XERIAL: &str = "\
    82534e4150505900000000010000000100000012c0011476616c756520fe0600fe0600e60600";

fn unhex(hex: &str) -> Bytes {
    let digits = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    digits
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

fn two_records() -> BatchBuilder {
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
    let mut builder = BatchBuilder::new()
        .producer(4711, 3, 17)
        .transactional()
        .partition_leader_epoch(5);
    builder.append(
        1_700_000_000_000,
        Some(b"key"),
        Some(b"value value value value"),
        &headers,
    );
    builder.append(1_699_999_999_900, None, None, &[]);
    builder
}

#[test]
fn uncompressed_batches_are_byte_for_byte_kafkas() {
    assert_eq!(two_records().build().unwrap(), unhex(KAFKA_NONE));
}

#[test]
fn markers_are_byte_for_byte_kafkas() {
    let marker = EndTxnMarker {
        result: TransactionResult::Commit,
        coordinator_epoch: 9,
    };
    let mut batch = marker
        .to_batch(4711, 3, 1_700_000_000_000)
        .unwrap()
        .to_vec();
    set_offset_and_epoch(&mut batch, 77, 2).unwrap();
    assert_eq!(Bytes::from(batch), unhex(KAFKA_MARKER));
}

#[test]
fn kafkas_compressed_batches_hold_the_same_records() {
    let plain = RecordSet::open(&two_records().build().unwrap(), 1_000).unwrap();
    let cases = [
        (CompressionType::Gzip, KAFKA_GZIP),
        (CompressionType::Snappy, KAFKA_SNAPPY),
        (CompressionType::Lz4, KAFKA_LZ4),
        (CompressionType::Zstd, KAFKA_ZSTD),
    ];
    for (codec, hex) in cases {
        let batch = unhex(hex);
        batch::verify_crc(&batch).unwrap();
        let set = RecordSet::open(&batch, 1_000).unwrap();
        assert_eq!(set.header().compression(), Ok(codec));
        assert_eq!(set.bytes(), plain.bytes(), "{codec}");
        assert!(set.iter().all(|record| record.is_ok()));

        // The limit is exact.
        assert!(
            RecordSet::open(&batch, plain.bytes().len()).is_ok(),
            "{codec}"
        );
        assert!(
            RecordSet::open(&batch, plain.bytes().len() - 1).is_err(),
            "{codec}"
        );
    }
}

#[test]
fn every_framing_that_clients_send_is_read() {
    let text = b"value ".repeat(32);
    let cases = [
        (CompressionType::Lz4, LZ4_FULL_FRAME),
        (CompressionType::Lz4, LZ4_KAFKA_PYTHON),
        (CompressionType::Snappy, SNAPPY_RAW),
        (CompressionType::Snappy, SNAPPY_XERIAL),
    ];
    for (codec, hex) in cases {
        assert_eq!(
            decompress(codec, &unhex(hex), 1_000).unwrap(),
            text,
            "{codec} {hex}"
        );
    }
    let concatenated = [unhex(SNAPPY_XERIAL), unhex(SNAPPY_XERIAL)].concat();
    let twice = decompress(CompressionType::Snappy, &concatenated, 1_000).unwrap();
    assert_eq!(twice, [&text[..], &text[..]].concat());
}

#[test]
fn a_stream_cut_at_any_byte_is_refused() {
    let cases = [
        (CompressionType::Lz4, unhex(LZ4_FULL_FRAME)),
        (CompressionType::Lz4, unhex(LZ4_KAFKA_PYTHON)),
        (CompressionType::Snappy, unhex(SNAPPY_RAW)),
        (CompressionType::Gzip, unhex(KAFKA_GZIP).slice(61..)),
        (CompressionType::Zstd, unhex(KAFKA_ZSTD).slice(61..)),
    ];
    for (codec, stream) in cases {
        for length in 0..stream.len() {
            let cut = decompress(codec, &stream[..length], 1_000);
            assert!(cut.is_err(), "{codec}, {length} of {} bytes", stream.len());
        }
    }
}

#[test]
fn a_few_bytes_that_stand_for_gigabytes_stop_at_the_limit() {
    let zeros = vec![0; 64 << 20];
    for codec in &CompressionType::ALL[1..] {
        let bomb = compression::compress((*codec).into(), &zeros).unwrap();
        let stopped = decompress(*codec, &bomb, 1 << 20);
        assert!(
            matches!(
                stopped,
                Err(CompressionError::TooLarge {
                    limit_bytes: 1_048_576
                })
            ),
            "{codec}"
        );
    }
    // Snappy states its length up front: one that the block cannot hold must not be allocated.
    let claims_4_gib = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x41];
    let refused = decompress(CompressionType::Snappy, &claims_4_gib, usize::MAX >> 1);
    assert!(matches!(refused, Err(CompressionError::Corrupt { .. })));
    // So does zstd: a frame of one empty block that states 1 EiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
    frame.extend_from_slice(&(1_u64 << 60).to_le_bytes());
    frame.extend_from_slice(&[1, 0, 0]);
    assert!(decompress(CompressionType::Zstd, &frame, 1 << 20).is_err());
}
