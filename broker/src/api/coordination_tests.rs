//! What a broker says that does not coordinate the group or the transactional id. What is wrong with the request alone comes
//! first, as in Kafka's GroupCoordinatorService and TransactionCoordinator.

use std::sync::Arc;

use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::*;
use protocol_shim::ErrorCode::{
    self, InvalidGroupId, InvalidRequest, InvalidSessionTimeout, InvalidTransactionTimeout,
    NotCoordinator, UnknownTopicOrPartition, UnsupportedAssignor,
};
use protocol_shim::newer::{delete_groups, offset_commit, offset_fetch, txn_offset_commit};

use super::walk::at;
use super::*;
use crate::broker::Broker;
use crate::metadata::NewTopic;

/// A broker with topic "a" that coordinates nothing.
async fn broker() -> Arc<Broker> {
    let broker = walk::broker().await;
    let topics = vec![NewTopic::with_defaults("a")];
    let created = broker.metadata.create_topics(topics, false);
    created.await.remove(0).expect("created");
    broker.groups.ensure_started().await.expect("started");
    broker.transactions.ensure_started().await.expect("started");
    broker.cluster.lead(broker.config.node_id + 1);
    broker
}

fn told(table: &[(&str, i16, ErrorCode)], what: &str) {
    for (api, told, expected) in table {
        assert_eq!(*told, *expected as i16, "{api} {what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_of_another_broker_has_to_have_a_name_where_kafka_says_so() {
    let broker = broker().await;
    for (id, without_a_name) in [("g", NotCoordinator), ("", InvalidGroupId)] {
        let group = || GroupId(wire(id));
        let join = JoinGroupRequest::default()
            .with_group_id(group())
            .with_session_timeout_ms(10_000);
        let join = join_group::handle(&at(&broker, 5), join).await;
        let sync = SyncGroupRequest::default().with_group_id(group());
        let sync = sync_group::handle(&at(&broker, 3), sync).await;
        let beat = HeartbeatRequest::default().with_group_id(group());
        let beat = heartbeat::handle(&at(&broker, 3), beat).await;
        let leave = LeaveGroupRequest::default().with_group_id(group());
        let leave = leave_group::handle(&at(&broker, 3), leave).await;
        let partition = OffsetDeleteRequestPartition::default();
        let topic = OffsetDeleteRequestTopic::default()
            .with_name(wire("a").into())
            .with_partitions(vec![partition]);
        let delete = OffsetDeleteRequest::default()
            .with_group_id(group())
            .with_topics(vec![topic]);
        let delete = offset_delete::handle(&at(&broker, 0), delete).await;
        let describe = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group()]);
        let describe = consumer_group_describe::handle(&at(&broker, 0), describe).await;
        let partition = txn_offset_commit::TxnOffsetCommitRequestPartition::default();
        let topic = txn_offset_commit::TxnOffsetCommitRequestTopic::default()
            .with_name(wire("a").into())
            .with_partitions(vec![partition]);
        let commit = txn_offset_commit::TxnOffsetCommitRequest::default()
            .with_transactional_id(wire("t").into())
            .with_group_id(group())
            .with_topics(vec![topic]);
        let commit = super::txn_offset_commit::handle(&at(&broker, 3), commit).await;
        let commit = commit.expect("affordable").topics.remove(0);
        told(
            &[
                (
                    "JoinGroup",
                    join.expect("affordable").error_code,
                    without_a_name,
                ),
                (
                    "SyncGroup",
                    sync.expect("affordable").error_code,
                    without_a_name,
                ),
                ("Heartbeat", beat.error_code, without_a_name),
                (
                    "LeaveGroup",
                    leave.expect("affordable").error_code,
                    without_a_name,
                ),
                (
                    "OffsetDelete",
                    delete.expect("affordable").error_code,
                    without_a_name,
                ),
                (
                    "ConsumerGroupDescribe",
                    describe.expect("affordable").groups[0].error_code,
                    without_a_name,
                ),
                (
                    "TxnOffsetCommit",
                    commit.partitions[0].error_code,
                    without_a_name,
                ),
            ],
            &format!("of {id:?}"),
        );
        // The id of clients without a group is one.
        let partition = offset_commit::OffsetCommitRequestPartition::default();
        let topic = offset_commit::OffsetCommitRequestTopic::default().with_name(wire("a").into());
        let topic = topic.with_partitions(vec![partition]);
        let commit = |name| {
            offset_commit::OffsetCommitRequest::default()
                .with_group_id(group())
                .with_topics(vec![topic.clone().with_name(wire(name).into())])
        };
        let committed = super::offset_commit::handle(&at(&broker, 8), commit("a")).await;
        let committed = committed.expect("affordable").topics.remove(0);
        let unknown = super::offset_commit::handle(&at(&broker, 8), commit("b")).await;
        let unknown = unknown.expect("affordable").topics.remove(0);
        let fetch = offset_fetch::OffsetFetchRequestGroup::default()
            .with_group_id(group())
            .with_topics(None);
        let fetch = offset_fetch::OffsetFetchRequest::default().with_groups(vec![fetch]);
        let fetch = super::offset_fetch::handle(&at(&broker, 8), fetch).await;
        let describe = DescribeGroupsRequest::default().with_groups(vec![group()]);
        let describe = describe_groups::handle(&at(&broker, 5), describe).await;
        let delete = delete_groups::DeleteGroupsRequest::default();
        let delete = delete.with_groups_names(vec![group()]);
        let delete = super::delete_groups::handle(&at(&broker, 2), delete).await;
        told(
            &[
                (
                    "OffsetCommit",
                    committed.partitions[0].error_code,
                    NotCoordinator,
                ),
                (
                    "OffsetCommit of no topic",
                    unknown.partitions[0].error_code,
                    UnknownTopicOrPartition,
                ),
                (
                    "OffsetFetch",
                    fetch.expect("affordable").groups[0].error_code,
                    NotCoordinator,
                ),
                (
                    "DescribeGroups",
                    describe.expect("affordable").groups[0].error_code,
                    NotCoordinator,
                ),
                (
                    "DeleteGroups",
                    delete.expect("affordable").results[0].error_code,
                    NotCoordinator,
                ),
            ],
            &format!("of {id:?}"),
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_member_may_not_ask_for_it_may_ask_no_broker_for() {
    let broker = broker().await;
    let join = |timeout_ms| {
        JoinGroupRequest::default()
            .with_group_id(GroupId(wire("g")))
            .with_session_timeout_ms(timeout_ms)
    };
    for (timeout_ms, expected) in [(10_000, NotCoordinator), (1, InvalidSessionTimeout)] {
        let joined = join_group::handle(&at(&broker, 5), join(timeout_ms)).await;
        let told = joined.expect("affordable").error_code;
        assert_eq!(told, expected as i16, "{timeout_ms}");
    }
    let heartbeat = || {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(wire("g")))
            .with_member_id(wire("m"))
            .with_rebalance_timeout_ms(10_000)
            .with_subscribed_topic_names(Some(Vec::new()))
            .with_topic_partitions(Some(Vec::new()))
    };
    for (request, expected) in [
        (heartbeat(), NotCoordinator),
        (heartbeat().with_group_id(GroupId(wire(""))), InvalidRequest),
        (heartbeat().with_rebalance_timeout_ms(-1), InvalidRequest),
        (heartbeat().with_member_epoch(-3), InvalidRequest),
        (
            heartbeat().with_server_assignor(Some(wire("none"))),
            UnsupportedAssignor,
        ),
    ] {
        let what = format!("{request:?}");
        let told = consumer_group_heartbeat::handle(&at(&broker, 1), request).await;
        assert_eq!(told.error_code, expected as i16, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_transactional_id_of_another_broker_has_to_be_one() {
    let broker = broker().await;
    for (id, expected) in [("t", NotCoordinator), ("", InvalidRequest)] {
        let transactional_id = || TransactionalId(wire(id));
        let init = |timeout_ms| {
            InitProducerIdRequest::default()
                .with_transactional_id(Some(transactional_id()))
                .with_transaction_timeout_ms(timeout_ms)
        };
        let inited = init_producer_id::handle(&at(&broker, 5), init(60_000)).await;
        let too_long = init_producer_id::handle(&at(&broker, 5), init(i32::MAX)).await;
        let halved = init(60_000).with_producer_id(7.into());
        let halved = init_producer_id::handle(&at(&broker, 5), halved).await;
        let topics = |name| {
            let topic = AddPartitionsToTxnTopic::default().with_name(wire(name).into());
            vec![topic.with_partitions(vec![0])]
        };
        let add = |name| {
            AddPartitionsToTxnRequest::default()
                .with_v3_and_below_transactional_id(transactional_id())
                .with_v3_and_below_topics(topics(name))
        };
        let added = add_partitions_to_txn::handle(&at(&broker, 3), add("a")).await;
        let unknown = add_partitions_to_txn::handle(&at(&broker, 3), add("b")).await;
        let [added, unknown] = [added, unknown].map(|added| {
            let added = added.expect("affordable");
            let topic = &added.results_by_topic_v3_and_below[0];
            topic.results_by_partition[0].partition_error_code
        });
        let verify = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(transactional_id())
            .with_verify_only(true)
            .with_topics(topics("a"));
        let verify = AddPartitionsToTxnRequest::default().with_transactions(vec![verify]);
        let verified = add_partitions_to_txn::handle(&at(&broker, 5), verify).await;
        let verified = verified.expect("affordable");
        let verified = &verified.results_by_transaction[0].topic_results[0];
        let offsets = AddOffsetsToTxnRequest::default()
            .with_transactional_id(transactional_id())
            .with_group_id(GroupId(wire("g")));
        let offsets = add_offsets_to_txn::handle(&at(&broker, 4), offsets).await;
        let end = EndTxnRequest::default().with_transactional_id(transactional_id());
        let end = end_txn::handle(&at(&broker, 5), end).await;
        let describe = DescribeTransactionsRequest::default();
        let describe = describe.with_transactional_ids(vec![transactional_id()]);
        let describe = describe_transactions::handle(&at(&broker, 0), describe).await;
        let timeout = match id {
            "" => InvalidRequest,
            _ => InvalidTransactionTimeout,
        };
        told(
            &[
                ("InitProducerId", inited.error_code, expected),
                ("InitProducerId for ever", too_long.error_code, timeout),
                (
                    "InitProducerId without an epoch",
                    halved.error_code,
                    InvalidRequest,
                ),
                ("AddPartitionsToTxn", added, expected),
                (
                    "AddPartitionsToTxn of no topic",
                    unknown,
                    UnknownTopicOrPartition,
                ),
                (
                    "AddPartitionsToTxn of a broker",
                    verified.results_by_partition[0].partition_error_code,
                    expected,
                ),
                ("AddOffsetsToTxn", offsets.error_code, expected),
                ("EndTxn", end.error_code, expected),
                (
                    "DescribeTransactions",
                    describe.expect("affordable").transaction_states[0].error_code,
                    expected,
                ),
            ],
            &format!("of {id:?}"),
        );
    }
}
