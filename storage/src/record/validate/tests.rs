use super::*;
use crate::record::Header;
use proptest::prelude::*;

const NOW_MS: i64 = 1_700_000_000_000;

fn batch_of(count: i64, codec: CompressionType) -> Bytes {
    let mut builder = BatchBuilder::new().compression(codec).producer(11, 0, 0);
    for index in 0..count {
        let headers = [Header {
            key: b"h",
            value: None,
        }];
        builder.append(
            NOW_MS - count + index,
            Some(b"key"),
            Some(&[b'v'; 40]),
            &headers,
        );
    }
    builder.build().unwrap()
}

/// The batch with `value` written at `at`, and a CRC that agrees.
fn changed(batch: &Bytes, at: usize, value: &[u8]) -> Bytes {
    let mut bytes = batch.to_vec();
    bytes[at..at + value.len()].copy_from_slice(value);
    let crc = batch::compute_crc(&bytes);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

fn check(records: &Bytes) -> Result<ValidatedBatch, ValidateError> {
    validate(records, &ValidateConfig::default(), true, NOW_MS)
}

fn kind(result: Result<ValidatedBatch, ValidateError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(ValidateError::CorruptMessage(_)) => "CORRUPT_MESSAGE",
        Err(ValidateError::InvalidRecord { .. }) => "INVALID_RECORD",
        Err(ValidateError::InvalidTimestamp { .. }) => "INVALID_TIMESTAMP",
        Err(ValidateError::MessageTooLarge(_)) => "MESSAGE_TOO_LARGE",
        Err(ValidateError::UnsupportedCompressionType(_)) => "UNSUPPORTED_COMPRESSION_TYPE",
    }
}

#[test]
fn a_sound_batch_is_returned_as_the_same_bytes() {
    for codec in CompressionType::ALL {
        for validate_all_records in [false, true] {
            let batch = batch_of(10, codec);
            let config = ValidateConfig {
                validate_all_records,
                ..Default::default()
            };
            let validated = validate(&batch, &config, true, NOW_MS).unwrap();
            assert_eq!(validated.bytes.as_ptr(), batch.as_ptr(), "{codec}: no copy");
            assert_eq!(validated.header, BatchHeader::parse(&batch).unwrap());
            assert_eq!(validated.max_timestamp(), NOW_MS - 1);
            assert_eq!(validated.log_append_time_ms(), None);

            let stored = validated.to_bytes(500, 3);
            batch::verify_crc(&stored).unwrap();
            assert_eq!(
                stored[17..],
                batch[17..],
                "{codec}: only offset and epoch change"
            );
            let header = BatchHeader::parse(&stored).unwrap();
            assert_eq!(
                (header.base_offset, header.partition_leader_epoch),
                (500, 3)
            );
        }
    }
}

#[test]
fn each_fault_of_a_batch_is_answered_with_kafkas_error() {
    let batch = batch_of(3, CompressionType::None);
    let two = Bytes::from([&batch[..], &batch[..]].concat());
    let mut flipped = batch.to_vec();
    flipped[80] ^= 1;
    let without_crc_fix = |at: usize, value: &[u8]| {
        let mut bytes = batch.to_vec();
        bytes[at..at + value.len()].copy_from_slice(value);
        Bytes::from(bytes)
    };
    let cases = [
        ("empty", Bytes::new(), "INVALID_RECORD"),
        (
            "shorter than a length field",
            batch.slice(..11),
            "INVALID_RECORD",
        ),
        ("cut off", batch.slice(..batch.len() - 1), "INVALID_RECORD"),
        ("two batches", two, "INVALID_RECORD"),
        ("flipped bit", flipped.into(), "CORRUPT_MESSAGE"),
        (
            "base offset",
            without_crc_fix(0, &7_i64.to_be_bytes()),
            "INVALID_RECORD",
        ),
        (
            "tiny length",
            without_crc_fix(8, &13_i32.to_be_bytes()),
            "CORRUPT_MESSAGE",
        ),
        (
            "negative length",
            without_crc_fix(8, &(-1_i32).to_be_bytes()),
            "CORRUPT_MESSAGE",
        ),
        (
            "length beyond the end",
            without_crc_fix(8, &i32::MAX.to_be_bytes()),
            "INVALID_RECORD",
        ),
        ("magic 0", without_crc_fix(16, &[0]), "INVALID_RECORD"),
        ("magic 1", without_crc_fix(16, &[1]), "INVALID_RECORD"),
        ("magic 3", without_crc_fix(16, &[3]), "CORRUPT_MESSAGE"),
        (
            "codec 5",
            changed(&batch, 21, &[0, 5]),
            "UNSUPPORTED_COMPRESSION_TYPE",
        ),
        (
            "control batch",
            changed(&batch, 21, &[0, 0x20]),
            "INVALID_RECORD",
        ),
        (
            "last offset delta",
            changed(&batch, 23, &3_i32.to_be_bytes()),
            "INVALID_RECORD",
        ),
        (
            "negative offset delta",
            changed(&batch, 23, &(-1_i32).to_be_bytes()),
            "INVALID_RECORD",
        ),
        (
            "records count",
            changed(&batch, 57, &2_i32.to_be_bytes()),
            "INVALID_RECORD",
        ),
        (
            "no records",
            changed(&batch, 57, &0_i32.to_be_bytes()),
            "INVALID_RECORD",
        ),
        (
            "negative sequence",
            changed(&batch, 53, &(-1_i32).to_be_bytes()),
            "INVALID_RECORD",
        ),
        (
            "negative epoch",
            changed(&batch, 51, &(-1_i16).to_be_bytes()),
            "INVALID_RECORD",
        ),
    ];
    for (what, records, expected) in cases {
        assert_eq!(kind(check(&records)), expected, "{what}");
    }
}

#[test]
fn a_batch_of_a_transaction_is_told_by_its_header() {
    for codec in CompressionType::ALL {
        let batch = batch_of(3, codec);
        let whole = changed(&batch, 21, &[0, 0x10 | codec.id()]);
        assert!(is_transactional(&whole));
        assert!(!is_transactional(&whole[..whole.len() - 1]), "not a batch");
        assert!(!is_transactional(&batch));
    }
}

#[test]
fn what_follows_a_batch_is_dropped_if_it_is_less_than_a_batch() {
    let batch = batch_of(1, CompressionType::None);
    let records = Bytes::from([&batch[..], &batch[..40]].concat());
    assert_eq!(check(&records).unwrap().bytes, batch);
}

#[test]
fn zstd_needs_produce_version_7() {
    let batch = batch_of(1, CompressionType::Zstd);
    let config = ValidateConfig::default();
    assert_eq!(
        kind(validate(&batch, &config, false, NOW_MS)),
        "UNSUPPORTED_COMPRESSION_TYPE"
    );
    assert_eq!(kind(validate(&batch, &config, true, NOW_MS)), "ok");
    let lz4 = batch_of(1, CompressionType::Lz4);
    assert_eq!(kind(validate(&lz4, &config, false, NOW_MS)), "ok");
}

#[test]
fn a_batch_may_be_as_large_as_max_message_bytes_and_no_larger() {
    let batch = batch_of(5, CompressionType::None);
    let limit = |max_message_bytes| ValidateConfig {
        max_message_bytes,
        ..Default::default()
    };
    assert_eq!(
        kind(validate(&batch, &limit(batch.len()), true, NOW_MS)),
        "ok"
    );
    assert_eq!(
        kind(validate(&batch, &limit(batch.len() - 1), true, NOW_MS)),
        "MESSAGE_TOO_LARGE"
    );

    // Recompression can make a batch larger, so the limit is applied again.
    let gzip = batch_of(200, CompressionType::Gzip);
    let uncompressed = Some(CompressionType::None.into());
    let config = ValidateConfig {
        compression: uncompressed,
        ..limit(gzip.len())
    };
    assert_eq!(
        kind(validate(&gzip, &config, true, NOW_MS)),
        "MESSAGE_TOO_LARGE"
    );
}

#[test]
fn records_that_are_none_are_refused() {
    let batch = batch_of(3, CompressionType::None);
    for at in 61..batch.len() {
        for value in [0x00, 0x7f, 0xff] {
            // Never a panic; the many changes inside values are fine.
            let _ = check(&changed(&batch, at, &[value]));
        }
    }
    assert_eq!(kind(check(&changed(&batch, 61, &[0x7f]))), "INVALID_RECORD");
    let longer = changed(
        &changed(&batch, 57, &4_i32.to_be_bytes()),
        23,
        &3_i32.to_be_bytes(),
    );
    assert_eq!(kind(check(&longer)), "INVALID_RECORD");
}

#[test]
fn compressed_records_are_looked_at_only_when_asked_or_needed() {
    let batch = batch_of(3, CompressionType::Gzip);
    let broken = changed(&batch, batch.len() - 20, &[0xaa; 10]);
    let full = ValidateConfig {
        validate_all_records: true,
        ..Default::default()
    };
    let compacted = ValidateConfig {
        compacted: true,
        ..Default::default()
    };
    let before = ValidateConfig {
        timestamp_before_max_ms: 1_000,
        ..Default::default()
    };
    let recompressed = ValidateConfig {
        compression: Some(CompressionType::Lz4.into()),
        ..Default::default()
    };
    assert_eq!(kind(check(&broken)), "ok");
    for config in [full, compacted, before, recompressed] {
        assert_eq!(
            kind(validate(&broken, &config, true, NOW_MS)),
            "INVALID_RECORD",
            "{config:?}"
        );
    }
}

#[test]
fn a_compacted_topic_needs_keys_and_names_the_records_without() {
    for codec in [CompressionType::None, CompressionType::Snappy] {
        let mut builder = BatchBuilder::new().compression(codec);
        for key in [Some(&b"a"[..]), None, Some(b""), None] {
            builder.append(NOW_MS, key, None, &[]);
        }
        let batch = builder.build().unwrap();
        let config = ValidateConfig {
            compacted: true,
            ..Default::default()
        };
        let error = validate(&batch, &config, true, NOW_MS).unwrap_err();
        let indexes: Vec<_> = error
            .record_errors()
            .iter()
            .map(|error| error.batch_index)
            .collect();
        assert_eq!(indexes, [1, 3], "{codec}");
        assert_eq!(kind(Err(error)), "INVALID_RECORD");
        assert_eq!(kind(check(&batch)), "ok", "{codec}: not compacted");
    }
}

#[test]
fn timestamps_outside_the_topics_limits_are_refused_one_by_one() {
    let config = ValidateConfig {
        timestamp_before_max_ms: 1_000,
        timestamp_after_max_ms: 2_000,
        ..Default::default()
    };
    let timestamps = [
        NOW_MS - 1_001,
        NOW_MS - 1_000,
        NOW_MS + 2_000,
        NOW_MS + 2_001,
        NO_TIMESTAMP,
        i64::MIN,
    ];
    for codec in [CompressionType::None, CompressionType::Zstd] {
        let mut builder = BatchBuilder::new().compression(codec);
        for timestamp in timestamps {
            builder.append(timestamp, None, Some(b"v"), &[]);
        }
        let error = validate(&builder.build().unwrap(), &config, true, NOW_MS).unwrap_err();
        let indexes: Vec<_> = error
            .record_errors()
            .iter()
            .map(|error| error.batch_index)
            .collect();
        assert_eq!(indexes, [0, 3, 5], "{codec}");
        assert_eq!(kind(Err(error)), "INVALID_TIMESTAMP");
    }
}

#[test]
fn a_compressed_batch_from_the_future_is_refused_without_being_asked() {
    let mut builder = BatchBuilder::new().compression(CompressionType::Gzip);
    builder.append(NOW_MS + 3_600_001, None, None, &[]);
    assert_eq!(kind(check(&builder.build().unwrap())), "INVALID_TIMESTAMP");
}

#[test]
fn only_the_first_hundred_record_errors_are_kept() {
    let mut builder = BatchBuilder::new();
    for _ in 0..500 {
        builder.append(NOW_MS, None, None, &[]);
    }
    let config = ValidateConfig {
        compacted: true,
        ..Default::default()
    };
    let error = validate(&builder.build().unwrap(), &config, true, NOW_MS).unwrap_err();
    assert_eq!(error.record_errors().len(), MAX_RECORD_ERRORS);
    assert!(error.to_string().contains("500 record errors"), "{error}");
}

#[test]
fn append_time_is_the_brokers_and_clients_may_not_claim_it() {
    let config = ValidateConfig {
        timestamp_type: TimestampType::LogAppendTime,
        ..Default::default()
    };
    for codec in CompressionType::ALL {
        let batch = batch_of(3, codec);
        let validated = validate(&batch, &config, true, NOW_MS).unwrap();
        assert_eq!(validated.bytes.as_ptr(), batch.as_ptr());
        assert_eq!(validated.log_append_time_ms(), Some(NOW_MS));
        let stored = validated.to_bytes(9, 0);
        batch::verify_crc(&stored).unwrap();
        let header = BatchHeader::parse(&stored).unwrap();
        assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(header.max_timestamp, NOW_MS);

        let claimed = changed(&batch, 21, &[0, codec.id() | 0x08]);
        let error = validate(&claimed, &config, true, NOW_MS).unwrap_err();
        assert_eq!(error.record_errors().len(), 3, "{codec}");
        assert_eq!(kind(Err(error)), "INVALID_TIMESTAMP", "{codec}");
    }
}

#[test]
fn a_wrong_max_timestamp_is_corrected_where_the_records_are_read() {
    let batch = batch_of(3, CompressionType::None);
    let lying = changed(&batch, 35, &(NOW_MS + 1_000_000_000).to_be_bytes());
    let validated = check(&lying).unwrap();
    assert_eq!(validated.max_timestamp(), NOW_MS - 1);
    assert_eq!(validated.to_bytes(0, -1), batch);
}

#[test]
fn a_topics_own_compression_replaces_the_producers() {
    for source in CompressionType::ALL {
        for target in CompressionType::ALL {
            let batch = batch_of(20, source);
            let config = ValidateConfig {
                compression: Some(target.into()),
                ..Default::default()
            };
            let validated = validate(&batch, &config, true, NOW_MS).unwrap();
            assert_eq!(validated.header.compression().unwrap(), target);
            assert_eq!(validated.header.producer_id, 11);
            let stored = validated.to_bytes(0, -1);
            batch::verify_crc(&stored).unwrap();
            // Same records as before, byte for byte.
            let records = |batch: &Bytes| {
                crate::record::RecordSet::open(batch, 1 << 20)
                    .unwrap()
                    .bytes()
                    .clone()
            };
            assert_eq!(records(&stored), records(&batch), "{source} to {target}");
        }
    }
}

#[test]
fn records_with_wrong_offset_deltas_are_renumbered_where_the_batch_need_not_be_kept_whole() {
    for (codec, target) in [
        (CompressionType::None, None),
        (CompressionType::Gzip, Some(CompressionType::Zstd.into())),
        (CompressionType::Gzip, None),
    ] {
        let mut builder = BatchBuilder::new().compression(codec).last_offset_delta(2);
        for _ in 0..3 {
            builder.append_at(0, NOW_MS, Some(b"k"), Some(b"v"), [].into_iter());
        }
        let batch = builder.build().unwrap();
        let config = ValidateConfig {
            validate_all_records: true,
            compression: target,
            ..Default::default()
        };
        if codec == CompressionType::Gzip && target.is_none() {
            let refused = kind(validate(&batch, &config, true, NOW_MS));
            assert_eq!(
                refused, "INVALID_RECORD",
                "as Kafka, which keeps such a batch whole"
            );
            continue;
        }
        let stored = validate(&batch, &config, true, NOW_MS)
            .unwrap()
            .to_bytes(100, 0);
        let set = crate::record::RecordSet::open(&stored, 1 << 20).unwrap();
        let offsets: Vec<_> = set.iter().map(|record| record.unwrap().offset).collect();
        assert_eq!(offsets, [100, 101, 102], "{codec}");
    }
}

#[test]
fn a_decompression_bomb_is_refused_at_the_limit() {
    for codec in &CompressionType::ALL[1..] {
        let mut builder = BatchBuilder::new().compression(*codec);
        builder.append(NOW_MS, None, Some(&vec![0; 8 << 20]), &[]);
        let batch = builder.build().unwrap();
        let config = ValidateConfig {
            validate_all_records: true,
            max_decompressed_bytes: 1 << 20,
            ..Default::default()
        };
        assert_eq!(
            kind(validate(&batch, &config, true, NOW_MS)),
            "MESSAGE_TOO_LARGE",
            "{codec}"
        );
    }
}

#[test]
fn opening_a_batch_is_paid_for_whether_it_opens_or_not() {
    let config = ValidateConfig {
        validate_all_records: true,
        ..Default::default()
    };
    for codec in &CompressionType::ALL[1..] {
        let mut builder = BatchBuilder::new().compression(*codec);
        builder.append(NOW_MS, None, Some(&vec![0; 1 << 20]), &[]);
        let plain = builder.clone().compression(CompressionType::None);
        let needed_bytes = plain.build().unwrap().len() - 61;
        let bomb = builder.build().unwrap();
        for (granted_bytes, expected) in [
            (0, "MESSAGE_TOO_LARGE"),
            (needed_bytes - 1, "MESSAGE_TOO_LARGE"),
            (needed_bytes, "ok"),
            (10 * needed_bytes, "ok"),
        ] {
            let mut left_bytes = granted_bytes;
            let found = kind(validate_within(
                &bomb,
                &config,
                true,
                NOW_MS,
                &mut left_bytes,
            ));
            assert_eq!(found, expected, "{codec}, {granted_bytes}");
            let spent_bytes = granted_bytes - left_bytes;
            match expected {
                "ok" => assert_eq!(spent_bytes, needed_bytes, "{codec}"),
                _ => assert!(spent_bytes >= granted_bytes / 2, "{codec}: {spent_bytes}"),
            }
        }
        // What is no stream at all costs next to nothing.
        let broken = changed(&bomb, 61, &vec![0x55; bomb.len() - 61]);
        let mut left_bytes = 10 * needed_bytes;
        let refused = kind(validate_within(
            &broken,
            &config,
            true,
            NOW_MS,
            &mut left_bytes,
        ));
        assert_eq!(refused, "INVALID_RECORD", "{codec}");
        let spent_bytes = 10 * needed_bytes - left_bytes;
        assert!(spent_bytes <= 8 * broken.len(), "{codec}: {spent_bytes}");
    }
    // Neither does what is not opened.
    let plain = batch_of(3, CompressionType::None);
    assert_eq!(
        kind(validate_within(&plain, &config, true, NOW_MS, &mut 0)),
        "ok"
    );
    let unopened = batch_of(3, CompressionType::Zstd);
    let config = ValidateConfig::default();
    assert_eq!(
        kind(validate_within(&unopened, &config, true, NOW_MS, &mut 0)),
        "ok"
    );
}

proptest! {
    #[test]
    fn whatever_arrives_is_answered_without_a_panic(
        changes in prop::collection::vec((any::<u16>(), any::<u8>()), 0..6),
        codec in prop::sample::select(&CompressionType::ALL[..]),
        fix_crc in any::<bool>(),
        keep in any::<u16>(),
    ) {
        let mut bytes = batch_of(3, codec).to_vec();
        for (at, value) in changes {
            let at = usize::from(at) % bytes.len();
            bytes[at] = value;
        }
        if fix_crc {
            let crc = batch::compute_crc(&bytes);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        if keep % 4 == 0 {
            bytes.truncate(usize::from(keep) % bytes.len());
        }
        let config = ValidateConfig {
            validate_all_records: true, compacted: keep % 2 == 0, max_decompressed_bytes: 1 << 16,
            ..Default::default()
        };
        if let Ok(validated) = validate(&bytes.into(), &config, true, NOW_MS) {
            let stored = validated.to_bytes(1, 1);
            batch::verify_crc(&stored).unwrap();
            let set = crate::record::RecordSet::open(&stored, 1 << 16).unwrap();
            prop_assert!(set.iter().all(|record| record.is_ok()));
        }
    }
}
