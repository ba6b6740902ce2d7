//! What belongs to features that are not there yet, and is answered all the same: security, quotas, transactions,
//! reassignment and the quorum.

use anyhow::Result;
use compat_tests::scenario::{Talk, string, topic_name};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::describe_delegation_token_request::DescribeDelegationTokenOwner;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_protocol::messages::{
    CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest, DescribeClientQuotasRequest,
    DescribeDelegationTokenRequest, DescribeProducersRequest, DescribeQuorumRequest,
    DescribeTransactionsRequest, DescribeUserScramCredentialsRequest, ElectLeadersRequest,
    FindCoordinatorRequest, ListPartitionReassignmentsRequest, ListTransactionsRequest,
};
use protocol_shim::ErrorCode;

/// ACLs, tokens, quotas and credentials, on a broker that has none of them.
pub fn security(talk: &mut Talk<'_>) -> Result<()> {
    for version in 1..=3 {
        let all = DescribeAclsRequest::default()
            .with_resource_type_filter(1)
            .with_pattern_type_filter(1)
            .with_operation(1)
            .with_permission_type(1);
        talk.ask("all", version, &all)?;
        let creation = AclCreation::default()
            .with_resource_type(2)
            .with_resource_name(string("topic"))
            .with_resource_pattern_type(3)
            .with_principal(string("User:ann"))
            .with_host(string("*"))
            .with_operation(3)
            .with_permission_type(3);
        for creations in [vec![], vec![creation.clone(), creation]] {
            let request = CreateAclsRequest::default().with_creations(creations.clone());
            talk.ask(&format!("{} creations", creations.len()), version, &request)?;
        }
        let filter = DeleteAclsFilter::default()
            .with_resource_type_filter(1)
            .with_pattern_type_filter(1)
            .with_operation(1)
            .with_permission_type(1);
        for filters in [vec![], vec![filter.clone(), filter]] {
            let request = DeleteAclsRequest::default().with_filters(filters.clone());
            talk.ask(&format!("{} filters", filters.len()), version, &request)?;
        }
        let owner = DescribeDelegationTokenOwner::default()
            .with_principal_type(string("User"))
            .with_principal_name(string("ann"));
        for (what, owners) in [
            ("all", None),
            ("none", Some(vec![])),
            ("one", Some(vec![owner])),
        ] {
            let request = DescribeDelegationTokenRequest::default().with_owners(owners);
            talk.ask(what, version, &request)?;
        }
    }
    for version in 0..=1 {
        quotas(talk, version)?;
    }
    let users = |names: &[&str]| {
        let user = |name: &&str| UserName::default().with_name(string(name));
        Some(names.iter().map(user).collect())
    };
    for (what, users) in [
        ("all", None),
        ("an empty list", users(&[])),
        ("unknown", users(&["ann", "bob"])),
        ("one twice", users(&["ann", "ann"])),
    ] {
        let request = DescribeUserScramCredentialsRequest::default().with_users(users);
        talk.ask(what, 0, &request)?;
    }
    Ok(())
}

fn quotas(talk: &mut Talk<'_>, version: i16) -> Result<()> {
    let component = |entity_type: &str, match_type, name: Option<&str>| {
        ComponentData::default()
            .with_entity_type(string(entity_type))
            .with_match_type(match_type)
            .with_match(name.map(string))
    };
    for (what, components) in [
        ("all", vec![]),
        ("a user", vec![component("user", 0, Some("ann"))]),
        ("the default user", vec![component("user", 1, None)]),
        (
            "users and clients",
            vec![component("user", 2, None), component("client-id", 2, None)],
        ),
        ("addresses", vec![component("ip", 2, None)]),
        ("no type", vec![component("", 2, None)]),
        ("another type", vec![component("planet", 2, None)]),
        (
            "a type twice",
            vec![component("user", 2, None), component("user", 1, None)],
        ),
        ("exactly null", vec![component("user", 0, None)]),
        ("a named default", vec![component("user", 1, Some("ann"))]),
        ("a named any", vec![component("user", 2, Some("ann"))]),
        ("another match", vec![component("user", 3, None)]),
        (
            "users and addresses",
            vec![component("user", 2, None), component("ip", 2, None)],
        ),
    ] {
        let request = DescribeClientQuotasRequest::default().with_components(components);
        talk.ask(what, version, &request)?;
        talk.ask(
            &format!("{what}, strictly"),
            version,
            &request.with_strict(true),
        )?;
    }
    Ok(())
}

/// Transactions and producers, on a broker that has seen none.
pub fn transactions(talk: &mut Talk<'_>) -> Result<()> {
    talk.create_topic("producers", 2)?;
    let ids = ["pay", ""].map(|id| string(id).into()).to_vec();
    let request = DescribeTransactionsRequest::default().with_transactional_ids(ids);
    talk.settle("the coordinators of transactions", |talk| {
        let find = FindCoordinatorRequest::default()
            .with_key(string("pay"))
            .with_key_type(1);
        talk.quietly(3, &find)?;
        let states = talk.quietly(0, &request)?.transaction_states;
        let not_yet = [
            ErrorCode::NotCoordinator as i16,
            ErrorCode::CoordinatorLoadInProgress as i16,
        ];
        Ok(!states
            .iter()
            .any(|state| not_yet.contains(&state.error_code)))
    })?;
    talk.ask("unknown ones", 0, &request)?;
    talk.ask("none", 0, &DescribeTransactionsRequest::default())?;
    for version in 0..=2 {
        let request = ListTransactionsRequest::default();
        talk.ask("all", version, &request)?;
        let states = ["Ongoing", "Done", "PrepareEpochFence", "Dead"].map(string);
        let request = request
            .with_state_filters(states.to_vec())
            .with_producer_id_filters(vec![7.into()]);
        talk.ask("states", version, &request)?;
        if version >= 1 {
            let request = request.clone().with_duration_filter(1000);
            talk.ask("long ones", version, &request)?;
        }
        if version >= 2 {
            for pattern in ["", "pay-.*", "pay-("] {
                let request = request
                    .clone()
                    .with_transactional_id_pattern(Some(string(pattern)));
                talk.ask(&format!("pattern '{pattern}'"), version, &request)?;
            }
        }
    }
    let of = |topic: &str, partitions: &[i32]| {
        TopicRequest::default()
            .with_name(topic_name(topic))
            .with_partition_indexes(partitions.to_vec())
    };
    let topics = vec![
        of("producers", &[0, 1, 7]),
        of("producers-unknown", &[0]),
        of("not valid", &[0]),
    ];
    let request = DescribeProducersRequest::default();
    talk.ask("none", 0, &request)?;
    talk.ask("some", 0, &request.clone().with_topics(topics))?;
    talk.ask(
        "one twice",
        0,
        &request.with_topics(vec![of("producers", &[0, 0])]),
    )?;
    Ok(())
}

/// Elections, reassignments and the quorum of one broker.
pub fn replicas(talk: &mut Talk<'_>) -> Result<()> {
    talk.create_topic("elected", 2)?;
    let of = |topic: &str, partitions: &[i32]| {
        TopicPartitions::default()
            .with_topic(topic_name(topic))
            .with_partitions(partitions.to_vec())
    };
    for version in 0..=2 {
        let request = ElectLeadersRequest::default().with_timeout_ms(10_000);
        let some = vec![of("elected", &[0, 7, -1]), of("elected-unknown", &[0])];
        let some = request.clone().with_topic_partitions(Some(some));
        talk.ask("some", version, &some)?;
        talk.ask(
            "none",
            version,
            &request.clone().with_topic_partitions(Some(vec![])),
        )?;
        if version >= 1 {
            talk.ask("unclean", version, &some.clone().with_election_type(1))?;
            talk.ask("another type", version, &some.with_election_type(7))?;
        }
    }
    let topic = ListPartitionReassignmentsTopics::default()
        .with_name(topic_name("elected"))
        .with_partition_indexes(vec![0, 9]);
    for (what, topics) in [
        ("all", None),
        ("none", Some(vec![])),
        ("one", Some(vec![topic])),
    ] {
        let request = ListPartitionReassignmentsRequest::default()
            .with_timeout_ms(10_000)
            .with_topics(topics);
        talk.ask(what, 0, &request)?;
    }
    let of = |topic: &str, partitions: &[i32]| {
        let partition = |index: &i32| PartitionData::default().with_partition_index(*index);
        TopicData::default()
            .with_topic_name(topic_name(topic))
            .with_partitions(partitions.iter().map(partition).collect())
    };
    for version in 0..=2 {
        for (what, topics) in [
            ("metadata", vec![of("__cluster_metadata", &[0])]),
            ("another topic", vec![of("elected", &[0])]),
            ("another partition", vec![of("__cluster_metadata", &[1])]),
            ("two partitions", vec![of("__cluster_metadata", &[0, 1])]),
            ("nothing", vec![]),
        ] {
            let request = DescribeQuorumRequest::default().with_topics(topics);
            talk.ask(what, version, &request)?;
        }
    }
    Ok(())
}
