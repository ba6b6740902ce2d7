//! What belongs to features that are not there yet, and is answered all the same: security, transactions,
//! reassignment and the quorum.

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_delegation_token_request::CreatableRenewers;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::describe_delegation_token_request::DescribeDelegationTokenOwner;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_protocol::messages::{
    CreateAclsRequest, CreateDelegationTokenRequest, DeleteAclsRequest, DescribeAclsRequest,
    DescribeDelegationTokenRequest, DescribeProducersRequest, DescribeQuorumRequest,
    DescribeTransactionsRequest, DescribeUserScramCredentialsRequest, ElectLeadersRequest,
    ExpireDelegationTokenRequest, InitProducerIdRequest, ListPartitionReassignmentsRequest,
    ListTransactionsRequest, RenewDelegationTokenRequest,
};
use protocol_shim::ErrorCode;
use protocol_shim::newer::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};
use storage::record::builder::BatchBuilder;

use super::Case;
use super::support::{produce, string, topic_name};

const SECURITY_DISABLED: i16 = ErrorCode::SecurityDisabled as i16;

pub async fn describe_acls(case: &mut Case) {
    let request = DescribeAclsRequest::default()
        .with_resource_type_filter(1)
        .with_pattern_type_filter(1)
        .with_operation(1)
        .with_permission_type(1);
    let response = case.client.call(case.version, request).await;
    assert_eq!(response.error_code, SECURITY_DISABLED);
    assert!(response.error_message.is_some());
    assert_eq!(response.resources, []);
}

pub async fn create_acls(case: &mut Case) {
    let creation = AclCreation::default()
        .with_resource_type(2)
        .with_resource_name(string("topic"))
        .with_resource_pattern_type(3)
        .with_principal(string("User:ann"))
        .with_host(string("*"))
        .with_operation(3)
        .with_permission_type(3);
    let request = CreateAclsRequest::default().with_creations(vec![creation.clone(), creation]);
    let response = case.client.call(case.version, request).await;
    let errors: Vec<_> = response.results.iter().map(|one| one.error_code).collect();
    assert_eq!(errors, [SECURITY_DISABLED; 2]);
}

pub async fn delete_acls(case: &mut Case) {
    let filter = DeleteAclsFilter::default()
        .with_resource_type_filter(1)
        .with_pattern_type_filter(1)
        .with_operation(1)
        .with_permission_type(1);
    let request = DeleteAclsRequest::default().with_filters(vec![filter.clone(), filter]);
    let response = case.client.call(case.version, request).await;
    let results = response.filter_results.iter();
    let errors: Vec<_> = results.map(|one| one.error_code).collect();
    assert_eq!(errors, [SECURITY_DISABLED; 2]);
}

/// A client that nobody knows has no tokens. Those that have some are in `tests/login.rs`.
pub async fn create_delegation_token(case: &mut Case) {
    let renewer = CreatableRenewers::default()
        .with_principal_type(string("User"))
        .with_principal_name(string("ann"));
    let mut request = CreateDelegationTokenRequest::default()
        .with_renewers(vec![renewer])
        .with_max_lifetime_ms(-1);
    if case.version >= 3 {
        request.owner_principal_type = Some(string("User"));
        request.owner_principal_name = Some(string("ben"));
    }
    let response = case.client.call(case.version, request).await;
    let expected = ErrorCode::DelegationTokenRequestNotAllowed as i16;
    assert_eq!(response.error_code, expected);
    let owner = if case.version >= 3 {
        "ben"
    } else {
        "ANONYMOUS"
    };
    assert_eq!(&*response.principal_name, owner);
    assert_eq!(response.max_timestamp_ms, -1);
    assert!(response.token_id.is_empty() && response.hmac.is_empty());
}

pub async fn renew_delegation_token(case: &mut Case) {
    let request = RenewDelegationTokenRequest::default().with_hmac(vec![1; 64].into());
    let response = case.client.call(case.version, request).await;
    let expected = ErrorCode::DelegationTokenRequestNotAllowed as i16;
    assert_eq!(
        (response.error_code, response.expiry_timestamp_ms),
        (expected, -1)
    );
}

pub async fn expire_delegation_token(case: &mut Case) {
    let request = ExpireDelegationTokenRequest::default()
        .with_hmac(vec![1; 64].into())
        .with_expiry_time_period_ms(-1);
    let response = case.client.call(case.version, request).await;
    let expected = ErrorCode::DelegationTokenRequestNotAllowed as i16;
    assert_eq!(
        (response.error_code, response.expiry_timestamp_ms),
        (expected, -1)
    );
}

pub async fn describe_delegation_token(case: &mut Case) {
    let owner = DescribeDelegationTokenOwner::default()
        .with_principal_type(string("User"))
        .with_principal_name(string("ann"));
    for owners in [None, Some(vec![]), Some(vec![owner])] {
        let request = DescribeDelegationTokenRequest::default().with_owners(owners);
        let response = case.client.call(case.version, request).await;
        let expected = ErrorCode::DelegationTokenRequestNotAllowed as i16;
        assert_eq!(response.error_code, expected);
        assert_eq!(response.tokens, []);
    }
}

pub async fn describe_user_scram_credentials(case: &mut Case) {
    let users = |names: &[&'static str]| {
        let user = |name: &&'static str| UserName::default().with_name(string(name));
        Some(names.iter().map(user).collect())
    };
    let mut ask = async |users| {
        let request = DescribeUserScramCredentialsRequest::default().with_users(users);
        let response = case.client.call(case.version, request).await;
        assert_eq!(response.error_code, 0);
        let results = response.results.into_iter();
        results
            .map(|result| (result.user.to_string(), result.error_code))
            .collect::<Vec<_>>()
    };
    assert_eq!(ask(None).await, []);
    assert_eq!(ask(users(&[])).await, []);
    let (missing, twice) = (
        ErrorCode::ResourceNotFound as i16,
        ErrorCode::DuplicateResource as i16,
    );
    assert_eq!(
        ask(users(&["ann", "bob", "ann"])).await,
        [("ann".to_owned(), twice), ("bob".to_owned(), missing)]
    );
}

pub async fn list_partition_reassignments(case: &mut Case) {
    let topic = ListPartitionReassignmentsTopics::default()
        .with_name(topic_name("topic"))
        .with_partition_indexes(vec![0, 9]);
    for topics in [None, Some(vec![]), Some(vec![topic])] {
        let request = ListPartitionReassignmentsRequest::default().with_topics(topics);
        let response = case.client.call(case.version, request).await;
        assert_eq!((response.error_code, response.topics.len()), (0, 0));
    }
}

pub async fn describe_transactions(case: &mut Case) {
    let ids = ["pay", ""].map(|id| string(id).into()).to_vec();
    let request = DescribeTransactionsRequest::default().with_transactional_ids(ids);
    let response = case.client.call(case.version, request).await;
    let states = response.transaction_states.iter();
    let errors: Vec<_> = states.map(|state| state.error_code).collect();
    let expected = [
        ErrorCode::TransactionalIdNotFound,
        ErrorCode::InvalidRequest,
    ];
    assert_eq!(errors, expected.map(i16::from));
}

pub async fn list_transactions(case: &mut Case) {
    let mut request = ListTransactionsRequest::default();
    let response = case.client.call(case.version, request.clone()).await;
    assert_eq!(
        (response.error_code, response.transaction_states.len()),
        (0, 0)
    );
    request.state_filters = ["Ongoing", "Done", "PrepareEpochFence", "Done"]
        .map(string)
        .to_vec();
    request.producer_id_filters = vec![7.into()];
    if case.version >= 1 {
        request.duration_filter = 1000;
    }
    let response = case.client.call(case.version, request.clone()).await;
    assert_eq!(response.unknown_state_filters, [string("Done")]);
    if case.version >= 2 {
        for (pattern, error) in [
            ("pay-.*", ErrorCode::None),
            ("pay-(", ErrorCode::InvalidRegularExpression),
            // Some bytes that would become megabytes.
            ("((a{100}){100}){100}", ErrorCode::InvalidRegularExpression),
        ] {
            request.transactional_id_pattern = Some(string(pattern));
            let response = case.client.call(case.version, request.clone()).await;
            assert_eq!(response.error_code, error as i16, "{pattern}");
        }
    }
}

pub async fn elect_leaders(case: &mut Case) {
    let mut request = ElectLeadersRequest::default().with_timeout_ms(1000);
    request.topic_partitions = None;
    let response = case.client.call(case.version, request.clone()).await;
    let results = response.replica_election_results.iter();
    assert!(results.clone().any(|topic| *topic.topic == string("topic")));
    assert!(
        results
            .clone()
            .all(|topic| topic.partition_result.is_empty())
    );

    let of = |topic: &'static str, partitions: &[i32]| {
        TopicPartitions::default()
            .with_topic(topic_name(topic))
            .with_partitions(partitions.to_vec())
    };
    request.topic_partitions = Some(vec![of("topic", &[0, 3, -1]), of("nowhere", &[0])]);
    let response = case.client.call(case.version, request.clone()).await;
    let errors: Vec<Vec<i16>> = response
        .replica_election_results
        .iter()
        .map(|topic| {
            topic
                .partition_result
                .iter()
                .map(|one| one.error_code)
                .collect()
        })
        .collect();
    let (not_needed, unknown) = (
        ErrorCode::ElectionNotNeeded as i16,
        ErrorCode::UnknownTopicOrPartition as i16,
    );
    assert_eq!(errors, [vec![not_needed, unknown, unknown], vec![unknown]]);
    if case.version >= 1 {
        request.election_type = 7;
        let response = case.client.call(case.version, request).await;
        assert_eq!(response.error_code, ErrorCode::InvalidRequest as i16);
    }
}

pub async fn describe_quorum(case: &mut Case) {
    let of = |topic: &'static str, partitions: &[i32]| {
        let partition = |index: &i32| PartitionData::default().with_partition_index(*index);
        TopicData::default()
            .with_topic_name(topic_name(topic))
            .with_partitions(partitions.iter().map(partition).collect())
    };
    let request = DescribeQuorumRequest::default();
    let metadata = request
        .clone()
        .with_topics(vec![of("__cluster_metadata", &[0])]);
    let response = case.client.call(case.version, metadata).await;
    let [topic] = &response.topics[..] else {
        panic!("{response:?}");
    };
    let [partition] = &topic.partitions[..] else {
        panic!("{response:?}");
    };
    let [voter] = &partition.current_voters[..] else {
        panic!("{response:?}");
    };
    assert_eq!((partition.error_code, partition.leader_id), (0, 1.into()));
    assert!(partition.high_watermark > 0);
    assert_eq!(voter.log_end_offset, partition.high_watermark);
    if case.version >= 2 {
        assert_eq!(voter.replica_directory_id, case.broker.directory_id);
        assert_eq!(&*response.nodes[0].listeners[0].host, "broker.example");
    }
    for others in [
        vec![of("topic", &[0])],
        vec![of("__cluster_metadata", &[1])],
        vec![of("__cluster_metadata", &[0]), of("topic", &[0])],
    ] {
        let count: usize = others.iter().map(|topic| topic.partitions.len()).sum();
        let others = request.clone().with_topics(others);
        let response = case.client.call(case.version, others).await;
        let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        let errors: Vec<_> = partitions.map(|partition| partition.error_code).collect();
        assert_eq!(
            errors,
            vec![ErrorCode::UnknownTopicOrPartition as i16; count]
        );
    }
}

pub async fn write_txn_markers(case: &mut Case) {
    let mut write = async |producer_epoch: i16, coordinator_epoch: i32| {
        let of = |topic: &'static str, partitions: &[i32]| {
            WritableTxnMarkerTopic::default()
                .with_name(topic_name(topic))
                .with_partition_indexes(partitions.to_vec())
        };
        let marker = WritableTxnMarker::default()
            .with_producer_id(77.into())
            .with_producer_epoch(producer_epoch)
            .with_coordinator_epoch(coordinator_epoch)
            .with_topics(vec![of("topic", &[0, 9]), of("nowhere", &[0])]);
        let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
        let response = case.client.call(case.version, request).await;
        let [marker] = &response.markers[..] else {
            panic!("{response:?}");
        };
        assert_eq!(marker.producer_id.0, 77);
        let partitions = marker.topics.iter().flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.map(|one| (topic.name.to_string(), one.partition_index, one.error_code))
        });
        partitions.collect::<Vec<_>>()
    };
    let unknown = ErrorCode::UnknownTopicOrPartition as i16;
    let answers = |error: i16| {
        [
            ("nowhere", 0, unknown),
            ("topic", 0, error),
            ("topic", 9, unknown),
        ]
        .map(|(topic, index, error)| (topic.to_owned(), index, error))
    };
    assert_eq!(write(5, 3).await, answers(0));
    assert_eq!(write(5, 3).await, answers(0), "again");
    let fenced = ErrorCode::InvalidProducerEpoch as i16;
    assert_eq!(write(4, 3).await, answers(fenced));
    let fenced = ErrorCode::TransactionCoordinatorFenced as i16;
    assert_eq!(write(6, 2).await, answers(fenced));
}

pub async fn describe_producers(case: &mut Case) {
    let request = InitProducerIdRequest::default().with_transactional_id(None);
    let given = case.client.call(4, request).await;
    assert_eq!(given.error_code, 0);
    let mut batch = BatchBuilder::new().producer(given.producer_id.0, given.producer_epoch, 0);
    batch.append(1, None, Some(b"a"), &[]);
    batch.append(2, None, Some(b"b"), &[]);
    let batch = batch.build().unwrap();
    let produced = case
        .client
        .call(9, produce("topic", vec![(0, batch)]))
        .await;
    assert_eq!(produced.responses[0].partition_responses[0].error_code, 0);

    let of = |topic: &'static str, partitions: &[i32]| {
        TopicRequest::default()
            .with_name(topic_name(topic))
            .with_partition_indexes(partitions.to_vec())
    };
    let topics = vec![
        of("topic", &[0, 1, 9]),
        of("nowhere", &[0]),
        of("not valid", &[0]),
    ];
    let request = DescribeProducersRequest::default().with_topics(topics);
    let response = case.client.call(case.version, request).await;
    let errors: Vec<Vec<i16>> = response
        .topics
        .iter()
        .map(|topic| topic.partitions.iter().map(|one| one.error_code).collect())
        .collect();
    let unknown = ErrorCode::UnknownTopicOrPartition as i16;
    let invalid = ErrorCode::InvalidTopicException as i16;
    assert_eq!(errors, [vec![0, 0, unknown], vec![unknown], vec![invalid]]);
    let [producer] = &response.topics[0].partitions[0].active_producers[..] else {
        panic!("{response:?}");
    };
    assert_eq!(producer.producer_id, given.producer_id);
    assert_eq!((producer.producer_epoch, producer.last_sequence), (0, 1));
    assert_eq!(
        (
            producer.coordinator_epoch,
            producer.current_txn_start_offset
        ),
        (-1, -1)
    );
    assert_eq!(response.topics[0].partitions[1].active_producers, []);
}
