//! Records, and what clients ask before they produce or fetch.

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::fetch_response::FetchResponse;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    DescribeClusterRequest, FetchRequest, InitProducerIdRequest, MetadataRequest,
    OffsetForLeaderEpochRequest, TransactionalId,
};
use protocol_shim::newer::api_versions::ApiVersionsRequest;
use protocol_shim::newer::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use uuid::Uuid;

use super::Case;
use super::support::{batch, produce as produce_request, string, topic_name};

const REBOOTSTRAP_REQUIRED: i16 = 129;
const UNKNOWN_ID: Uuid = Uuid::from_u128(7);

pub async fn produce(case: &mut Case) {
    let by_id = case.version >= 13;
    let mut corrupt = batch(&["c"]).to_vec();
    *corrupt.last_mut().unwrap() ^= 1;
    let mut request = produce_request(
        "topic",
        vec![
            (0, batch(&["c"])),
            (1, corrupt.into()),
            (2, batch(&["c"])),
            (9, batch(&["c"])),
        ],
    );
    let mut unknown = produce_request("unknown", vec![(0, batch(&["c"]))]).topic_data;
    request.topic_data.append(&mut unknown);
    if by_id {
        for (topic, id) in request
            .topic_data
            .iter_mut()
            .zip([case.topic_id, UNKNOWN_ID])
        {
            topic.name = topic_name("");
            topic.topic_id = id;
        }
    }
    let response = case.client.call(case.version, request.clone()).await;
    let [topic, unknown] = &response.responses[..] else {
        panic!("{response:?}")
    };
    let errors: Vec<_> = topic
        .partition_responses
        .iter()
        .map(|p| p.error_code)
        .collect();
    assert_eq!(errors, [0, 2, 0, 3]);
    assert_eq!(topic.partition_responses[0].base_offset, 2);
    assert_eq!(
        unknown.partition_responses[0].error_code,
        if by_id { 100 } else { 3 }
    );
    assert_eq!(
        topic.topic_id,
        if by_id { case.topic_id } else { Uuid::nil() }
    );

    // A record that breaks a rule of its topic is named from v8 on.
    request.topic_data.truncate(1);
    request.topic_data[0].partition_data.truncate(1);
    request.topic_data[0].partition_data[0].records = Some(batch_with_wrong_record_count());
    let response = case.client.call(case.version, request.clone()).await;
    assert_eq!(response.responses[0].partition_responses[0].error_code, 87);

    request.acks = 7;
    let response = case.client.call(case.version, request.clone()).await;
    assert_eq!(response.responses[0].partition_responses[0].error_code, 21);

    request.acks = -1;
    request.topic_data.clear();
    let response = case.client.call(case.version, request).await;
    assert!(response.responses.is_empty());
}

/// Claims two records and holds one; the CRC is right.
fn batch_with_wrong_record_count() -> bytes::Bytes {
    let mut bytes = batch(&["c"]).to_vec();
    bytes[57..61].copy_from_slice(&2_i32.to_be_bytes());
    bytes[23..27].copy_from_slice(&1_i32.to_be_bytes());
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

/// CRC-32C bit by bit: slow, and independent of the one under test.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            }
        })
    })
}

pub async fn fetch(case: &mut Case) {
    // A full fetch without a session.
    let request = fetch_request(case, &[(0, 0), (1, 1), (2, 99), (9, 0)]);
    let response = case.client.call(case.version, request).await;
    let partitions = &topic_of(case, &response).partitions;
    let errors: Vec<_> = partitions
        .iter()
        .map(|p| (p.partition_index, p.error_code))
        .collect();
    assert_eq!(errors, [(0, 0), (1, 0), (2, 1), (9, 3)]);
    assert_eq!(partitions[0].high_watermark, 2);
    assert!(
        partitions[0]
            .records
            .as_ref()
            .is_some_and(|records| !records.is_empty())
    );

    let mut unknown = fetch_request(case, &[(0, 0)]);
    let error = if case.version >= 13 {
        unknown.topics[0].topic_id = UNKNOWN_ID;
        100
    } else {
        unknown.topics[0].topic = topic_name("unknown");
        3
    };
    let response = case.client.call(case.version, unknown).await;
    assert_eq!(response.responses[0].partitions[0].error_code, error);

    // Committed records only; nothing is asked for.
    let mut committed = fetch_request(case, &[(0, 0)]);
    committed.isolation_level = 1;
    let response = case.client.call(case.version, committed).await;
    assert!(topic_of(case, &response).partitions[0].records.is_some());
    let response = case
        .client
        .call(case.version, fetch_request(case, &[]))
        .await;
    assert!(
        response
            .responses
            .iter()
            .all(|topic| topic.partitions.is_empty())
    );

    if case.version >= 7 {
        session(case).await;
    }
    if case.version >= 9 {
        let mut ahead = fetch_request(case, &[(0, 0)]);
        ahead.topics[0].partitions[0].current_leader_epoch = 5;
        let response = case.client.call(case.version, ahead).await;
        assert_eq!(response.responses[0].partitions[0].error_code, 75);
    }
    if case.version >= 12 {
        let mut ahead = fetch_request(case, &[(0, 0)]);
        ahead.topics[0].partitions[0].last_fetched_epoch = 7;
        let response = case.client.call(case.version, ahead).await;
        assert_eq!(response.responses[0].partitions[0].error_code, 1);
        let mut diverging = fetch_request(case, &[(0, 5)]);
        diverging.topics[0].partitions[0].last_fetched_epoch = 0;
        let response = case.client.call(case.version, diverging).await;
        assert_eq!(
            response.responses[0].partitions[0]
                .diverging_epoch
                .end_offset,
            2
        );
    }
}

async fn session(case: &mut Case) {
    let mut request = fetch_request(case, &[(0, 0), (1, 2)]);
    request.session_epoch = 0;
    let response = case.client.call(case.version, request).await;
    let session_id = response.session_id;
    assert!(session_id > 0);

    // Forgets one partition; the other has nothing new to say.
    let mut request = fetch_request(case, &[(0, 2)]);
    request.session_id = session_id;
    request.session_epoch = 1;
    let forgotten = ForgottenTopic::default().with_partitions(vec![1]);
    request.forgotten_topics_data = vec![if case.version >= 13 {
        forgotten.with_topic_id(case.topic_id)
    } else {
        forgotten.with_topic(topic_name("topic"))
    }];
    let response = case.client.call(case.version, request).await;
    assert_eq!((response.error_code, response.session_id), (0, session_id));
    assert!(response.responses.is_empty());

    let mut request = fetch_request(case, &[]);
    request.session_id = session_id;
    request.session_epoch = 9;
    assert_eq!(
        case.client
            .call(case.version, request.clone())
            .await
            .error_code,
        71
    );
    request.session_id = session_id.wrapping_add(1);
    assert_eq!(case.client.call(case.version, request).await.error_code, 70);
}

fn fetch_request(case: &Case, partitions: &[(i32, i64)]) -> FetchRequest {
    let partitions = partitions.iter().map(|(partition, offset)| {
        FetchPartition::default()
            .with_partition(*partition)
            .with_fetch_offset(*offset)
            .with_partition_max_bytes(1 << 20)
    });
    let topic = FetchTopic::default().with_partitions(partitions.collect());
    let topic = if case.version >= 13 {
        topic.with_topic_id(case.topic_id)
    } else {
        topic.with_topic(topic_name("topic"))
    };
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(10)
        .with_min_bytes(0)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(if topic.partitions.is_empty() {
            vec![]
        } else {
            vec![topic]
        })
}

fn topic_of<'r>(
    case: &Case,
    response: &'r FetchResponse,
) -> &'r kafka_protocol::messages::fetch_response::FetchableTopicResponse {
    let topic = &response.responses[0];
    if case.version >= 13 {
        assert_eq!(topic.topic_id, case.topic_id);
    } else {
        assert_eq!(&**topic.topic, "topic");
    }
    topic
}

pub async fn list_offsets(case: &mut Case) {
    let known_from = |version, offset| {
        if case.version >= version {
            offset
        } else {
            (35, -1)
        }
    };
    // Partition and timestamp, error and offset; no partition twice in one request.
    let rounds: [&[_]; 3] = [
        &[
            (0, -2, (0, 0)),
            (1, 1_700_000_000_001, (0, 1)),
            (2, 1_800_000_000_000, (0, -1)),
            (9, -1, (3, -1)),
        ],
        &[
            (0, -1, (0, 2)),
            (1, -4, known_from(8, (0, 0))),
            (2, -5, known_from(9, (0, -1))),
        ],
        &[
            (0, -3, known_from(7, (0, 1))),
            (1, -6, known_from(11, (0, -1))),
        ],
    ];
    let unknown = ListOffsetsTopic::default()
        .with_name(topic_name("unknown"))
        .with_partitions(vec![ListOffsetsPartition::default().with_timestamp(-1)]);
    let mut request = ListOffsetsRequest::default().with_replica_id((-1).into());
    for (round, isolation_level) in rounds
        .iter()
        .flat_map(|round| (0..=i8::from(case.version >= 2)).map(move |level| (round, level)))
    {
        let partitions = round.iter().map(|(partition, timestamp, _)| {
            ListOffsetsPartition::default()
                .with_partition_index(*partition)
                .with_timestamp(*timestamp)
        });
        let topic = ListOffsetsTopic::default().with_name(topic_name("topic"));
        request.topics = vec![topic.with_partitions(partitions.collect()), unknown.clone()];
        request.isolation_level = isolation_level;
        let response = case.client.call(case.version, request.clone()).await;
        let found = response.topics[0].partitions.iter();
        let found: Vec<_> = found.map(|p| (p.error_code, p.offset)).collect();
        let expected: Vec<_> = round.iter().map(|(.., expected)| *expected).collect();
        assert_eq!(found, expected);
        assert_eq!(response.topics[1].partitions[0].error_code, 3);
    }
    request.topics.clear();
    assert!(
        case.client
            .call(case.version, request)
            .await
            .topics
            .is_empty()
    );
}

pub async fn metadata(case: &mut Case) {
    let all = MetadataRequest::default().with_topics(match case.version {
        0 => Some(vec![]),
        _ => None,
    });
    let response = case.client.call(case.version, all).await;
    let mut names: Vec<String> = response
        .topics
        .iter()
        .map(|topic| topic.name.as_ref().unwrap().to_string())
        .collect();
    names.sort();
    assert_eq!(names, ["__consumer_offsets", "other", "topic"]);
    assert_eq!(&*response.brokers[0].host, "broker.example");

    if case.version >= 1 {
        let none = MetadataRequest::default().with_topics(Some(vec![]));
        assert!(case.client.call(case.version, none).await.topics.is_empty());
    }

    let named = |name| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    let mut request = MetadataRequest::default()
        .with_allow_auto_topic_creation(case.version < 4)
        .with_topics(Some(vec![
            named("topic"),
            named("not valid"),
            named("unknown"),
        ]));
    if case.version >= 8 {
        request.include_topic_authorized_operations = true;
        request.include_cluster_authorized_operations = case.version <= 10;
    }
    let response = case.client.call(case.version, request).await;
    let errors: Vec<_> = response
        .topics
        .iter()
        .map(|topic| topic.error_code)
        .collect();
    // Before v4 a client cannot forbid that an unknown topic is created.
    assert_eq!(errors, [0, 17, if case.version < 4 { 0 } else { 3 }]);
    assert_eq!(response.topics[0].partitions.len(), 3);
    if case.version >= 10 {
        assert_eq!(response.topics[0].topic_id, case.topic_id);
    }

    if case.version >= 12 {
        let by_id = |id| {
            MetadataRequestTopic::default()
                .with_name(None)
                .with_topic_id(id)
        };
        let request = MetadataRequest::default()
            .with_topics(Some(vec![by_id(case.topic_id), by_id(UNKNOWN_ID)]));
        let response = case.client.call(case.version, request).await;
        let errors: Vec<_> = response
            .topics
            .iter()
            .map(|topic| topic.error_code)
            .collect();
        assert_eq!(errors, [0, 100]);
    }
}

pub async fn api_versions(case: &mut Case) {
    let mut request = ApiVersionsRequest::default();
    if case.version >= 3 {
        request.client_software_name = string("tester");
        request.client_software_version = string("1.0");
    }
    let response = case.client.call(case.version, request.clone()).await;
    assert_eq!(response.error_code, 0);
    assert!(
        response
            .api_keys
            .iter()
            .any(|api| api.api_key == 18 && api.max_version == 5)
    );
    if case.version >= 3 {
        let mut nobody = request.clone();
        nobody.client_software_name = string("no blanks");
        assert_eq!(case.client.call(case.version, nobody).await.error_code, 42);
    }
    if case.version >= 5 {
        let cluster = DescribeClusterRequest::default();
        let cluster = case.client.call(0, cluster).await;
        let (cluster_id, me) = (cluster.cluster_id, cluster.brokers[0].broker_id.0);
        for (cluster_id, node_id, error) in [
            (Some(cluster_id.clone()), me, 0),
            (Some(cluster_id.clone()), me + 1, REBOOTSTRAP_REQUIRED),
            (Some(string("another")), me, REBOOTSTRAP_REQUIRED),
            (Some(cluster_id), -1, 42),
            (None, me, 42),
        ] {
            request.cluster_id = cluster_id;
            request.node_id = node_id;
            let response = case.client.call(case.version, request.clone()).await;
            assert_eq!(response.error_code, error);
        }
    }
}

pub async fn offset_for_leader_epoch(case: &mut Case) {
    let asked = |partition, leader_epoch| {
        OffsetForLeaderPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(-1)
            .with_leader_epoch(leader_epoch)
    };
    let topic = |name, partitions| {
        OffsetForLeaderTopic::default()
            .with_topic(topic_name(name))
            .with_partitions(partitions)
    };
    let known = topic("topic", vec![asked(0, 0), asked(1, 8), asked(9, 0)]);
    let unknown = topic("unknown", vec![asked(0, 0)]);
    let request = OffsetForLeaderEpochRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![known, unknown]);
    let response = case.client.call(case.version, request).await;
    let found: Vec<_> = response.topics[0]
        .partitions
        .iter()
        .map(|p| (p.error_code, p.end_offset))
        .collect();
    assert_eq!(found, [(0, 2), (0, -1), (3, -1)]);
    assert_eq!(response.topics[1].partitions[0].error_code, 3);
}

pub async fn init_producer_id(case: &mut Case) {
    let mut request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000);
    let first = case.client.call(case.version, request.clone()).await;
    let second = case.client.call(case.version, request.clone()).await;
    assert_eq!((first.error_code, first.producer_epoch), (0, 0));
    assert_ne!(first.producer_id, second.producer_id);
    if case.version >= 3 {
        let half = request.clone().with_producer_epoch(3);
        assert_eq!(case.client.call(case.version, half).await.error_code, 42);
    }
    request.transactional_id = Some(TransactionalId(string("")));
    let empty = case.client.call(case.version, request.clone()).await;
    assert_eq!(empty.error_code, 42);
    request.transactional_id = Some(TransactionalId(string("id")));
    for epoch in [0, 1] {
        let response = case.client.call(case.version, request.clone()).await;
        assert_eq!((response.error_code, response.producer_epoch), (0, epoch));
    }
}
