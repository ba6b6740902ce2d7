use bytes::{Buf, BytesMut};
use kafka_protocol::messages::{self, BrokerId, TopicName, fetch_response as theirs};
use kafka_protocol::protocol::Encodable;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

fn text(rng: &mut StdRng) -> StrBytes {
    let length = if rng.random_bool(0.1) {
        200
    } else {
        rng.random_range(0..10)
    };
    (0..length)
        .map(|_| rng.random_range('a'..='z'))
        .collect::<String>()
        .into()
}

fn list<T>(rng: &mut StdRng, mut element: impl FnMut(&mut StdRng) -> T) -> Vec<T> {
    (0..rng.random_range(0..4)).map(|_| element(rng)).collect()
}

fn some<T>(rng: &mut StdRng, value: impl FnOnce(&mut StdRng) -> T) -> Option<T> {
    rng.random_bool(0.5).then(|| value(rng))
}

fn error(rng: &mut StdRng) -> ErrorCode {
    ErrorCode::ALL[rng.random_range(0..ErrorCode::ALL.len())]
}

/// A response as handlers make them: what a version does not have keeps its default where the crate insists on it.
fn response(rng: &mut StdRng, version: i16) -> FetchResponse {
    FetchResponse {
        throttle_time_ms: rng.random(),
        error_code: error(rng),
        session_id: if version >= 7 { rng.random() } else { 0 },
        topics: list(rng, |rng| FetchTopic {
            topic: text(rng),
            topic_id: Uuid::from_bytes(rng.random()),
            partitions: list(rng, |rng| partition(rng, version)),
        }),
        node_endpoints: list(rng, |rng| NodeEndpoint {
            node_id: rng.random(),
            host: text(rng),
            port: rng.random(),
            rack: some(rng, text),
        }),
    }
}

fn partition(rng: &mut StdRng, version: i16) -> FetchPartition {
    FetchPartition {
        partition_index: rng.random(),
        error_code: error(rng),
        high_watermark: rng.random(),
        last_stable_offset: rng.random(),
        log_start_offset: rng.random(),
        diverging_epoch: some(rng, |rng| EpochEndOffset {
            epoch: rng.random(),
            end_offset: rng.random(),
        }),
        current_leader: some(rng, |rng| LeaderIdAndEpoch {
            leader_id: rng.random(),
            leader_epoch: rng.random(),
        }),
        snapshot_id: some(rng, |rng| SnapshotId {
            end_offset: rng.random(),
            epoch: rng.random(),
        }),
        aborted_transactions: some(rng, |rng| {
            list(rng, |rng| AbortedTransaction {
                producer_id: rng.random(),
                first_offset: rng.random(),
            })
        }),
        preferred_read_replica: if version >= 11 { rng.random() } else { -1 },
        records: list(rng, |rng| {
            let length = if rng.random_bool(0.1) {
                20_000
            } else {
                rng.random_range(0..100)
            };
            Bytes::from(vec![rng.random(); length])
        }),
    }
}

/// The same response in the crate's structs.
fn in_their_structs(response: &FetchResponse) -> messages::FetchResponse {
    let topics = response.topics.iter().map(|topic| {
        theirs::FetchableTopicResponse::default()
            .with_topic(TopicName(topic.topic.clone()))
            .with_topic_id(topic.topic_id)
            .with_partitions(
                topic
                    .partitions
                    .iter()
                    .map(partition_in_their_structs)
                    .collect(),
            )
    });
    let endpoints = response.node_endpoints.iter().map(|endpoint| {
        theirs::NodeEndpoint::default()
            .with_node_id(BrokerId(endpoint.node_id))
            .with_host(endpoint.host.clone())
            .with_port(endpoint.port)
            .with_rack(endpoint.rack.clone())
    });
    messages::FetchResponse::default()
        .with_throttle_time_ms(response.throttle_time_ms)
        .with_error_code(response.error_code.into())
        .with_session_id(response.session_id)
        .with_responses(topics.collect())
        .with_node_endpoints(endpoints.collect())
}

fn partition_in_their_structs(partition: &FetchPartition) -> theirs::PartitionData {
    let aborted = partition.aborted_transactions.as_ref().map(|aborted| {
        let one = |transaction: &AbortedTransaction| {
            theirs::AbortedTransaction::default()
                .with_producer_id(transaction.producer_id.into())
                .with_first_offset(transaction.first_offset)
        };
        aborted.iter().map(one).collect()
    });
    let mut result = theirs::PartitionData::default()
        .with_partition_index(partition.partition_index)
        .with_error_code(partition.error_code.into())
        .with_high_watermark(partition.high_watermark)
        .with_last_stable_offset(partition.last_stable_offset)
        .with_log_start_offset(partition.log_start_offset)
        .with_aborted_transactions(aborted)
        .with_preferred_read_replica(BrokerId(partition.preferred_read_replica))
        .with_records(Some(partition.records.concat().into()));
    if let Some(EpochEndOffset { epoch, end_offset }) = partition.diverging_epoch {
        result.diverging_epoch = theirs::EpochEndOffset::default()
            .with_epoch(epoch)
            .with_end_offset(end_offset);
    }
    if let Some(LeaderIdAndEpoch {
        leader_id,
        leader_epoch,
    }) = partition.current_leader
    {
        result.current_leader = theirs::LeaderIdAndEpoch::default()
            .with_leader_id(BrokerId(leader_id))
            .with_leader_epoch(leader_epoch);
    }
    if let Some(SnapshotId { end_offset, epoch }) = partition.snapshot_id {
        result.snapshot_id = theirs::SnapshotId::default()
            .with_end_offset(end_offset)
            .with_epoch(epoch);
    }
    result
}

#[test]
fn every_version_is_byte_for_byte_what_the_crate_writes() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for version in 4..=18 {
        for _ in 0..200 {
            let response = response(&mut rng, version);
            let ours = encode_fetch_response(version, 1, &response).unwrap();
            let mut theirs = BytesMut::new();
            in_their_structs(&response)
                .encode(&mut theirs, version)
                .unwrap();

            let mut body = Bytes::from(ours.to_vec());
            assert_eq!(body.len(), ours.len());
            assert_eq!(body.get_i32() as usize, ours.len() - 4);
            assert_eq!(body.get_i32(), 1);
            if version >= 12 {
                assert_eq!(body.get_u8(), 0, "no tagged fields in the header");
            }
            assert_eq!(body, theirs.freeze(), "version {version}: {response:?}");
        }
    }
}

#[test]
fn records_go_out_as_the_slices_they_came_in() {
    let slices = [Bytes::from(vec![1; 5000]), Bytes::from(vec![2; 7000])];
    let partition = FetchPartition {
        records: slices.to_vec(),
        ..Default::default()
    };
    let topic = FetchTopic {
        partitions: vec![partition.clone(), partition],
        ..Default::default()
    };
    let response = FetchResponse {
        topics: vec![topic],
        ..Default::default()
    };
    for version in 4..=18 {
        let frame = encode_fetch_response(version, 1, &response).unwrap();
        for slice in &slices {
            let shared = frame.parts().filter(|part| part.as_ptr() == slice.as_ptr());
            assert_eq!(shared.count(), 2, "version {version}");
        }
        let inline: usize = frame.parts().map(Bytes::len).sum::<usize>() - 24_000;
        assert!(
            inline < 200,
            "version {version}: {inline} bytes beside the records"
        );
    }
}

#[test]
fn versions_that_fetch_does_not_have_are_refused() {
    for version in [-1, 3, 19] {
        let error = encode_fetch_response(version, 1, &FetchResponse::default()).unwrap_err();
        assert!(
            matches!(error, EncodeError::Unencodable { api: "Fetch", .. }),
            "{error}"
        );
    }
}

#[test]
fn a_topic_name_too_long_for_an_old_version_is_an_error_and_not_cut() {
    let topic = FetchTopic {
        topic: "x".repeat(40_000).into(),
        ..Default::default()
    };
    let response = FetchResponse {
        topics: vec![topic],
        ..Default::default()
    };
    assert!(encode_fetch_response(11, 1, &response).is_err());
    assert!(encode_fetch_response(12, 1, &response).is_ok());
}
