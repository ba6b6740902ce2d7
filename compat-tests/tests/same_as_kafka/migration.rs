//! Groups with members of both protocols: the online migration of KIP-848, both ways, and the timeouts on the way.

use anyhow::{Context as _, Result, ensure};
use bytes::{Buf, Bytes};
use compat_tests::scenario::{Talk, string};
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DescribeGroupsRequest,
    FetchRequest, HeartbeatRequest, IncrementalAlterConfigsRequest, JoinGroupRequest,
    LeaveGroupRequest, ListGroupsRequest, SyncGroupRequest,
};
use kafka_protocol::records::RecordBatchDecoder;
use uuid::Uuid;

use super::classic_group::{heartbeat, join, join_as, leave, subscription, sync};
use super::configs::{describe_request, resource};
use super::offsets::{commit_request, fetch_request};

const REBALANCE_IN_PROGRESS: i16 = 27;
const GROUP_RESOURCE: i8 = 32;

/// Has the sessions of a group's members end after two seconds. Kafka tells of a change before its groups go by it: they do when
/// it tells of a later one.
pub fn short_sessions(talk: &mut Talk<'_>, group: &str) -> Result<()> {
    let setting = |name: &str, value: &str| {
        AlterableConfig::default()
            .with_name(string(name))
            .with_value(Some(string(value)))
    };
    let altered = AlterConfigsResource::default()
        .with_resource_type(GROUP_RESOURCE)
        .with_resource_name(string(group))
        .with_configs(vec![
            setting("consumer.heartbeat.interval.ms", "1000"),
            setting("consumer.session.timeout.ms", "2000"),
        ]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![altered]);
    talk.ask("a short session", 1, &request)?;
    let described = describe_request(4, vec![resource(GROUP_RESOURCE, group, None)]);
    talk.settle("the short session", |talk| {
        let told = talk.quietly(4, &described)?;
        let mut configs = told.results.iter().flat_map(|one| &one.configs);
        Ok(configs.any(|config| {
            &*config.name == "consumer.session.timeout.ms"
                && config.value.as_deref() == Some("2000")
        }))
    })?;
    talk.create_topic(&format!("{group}-later"), 1)?;
    Ok(())
}

/// A consumer's subscription of version 1: topics, and which partitions of `topic` it has.
fn subscription_with(topic: &str, owned: &[i32]) -> Bytes {
    let mut bytes = subscription(&[topic]).to_vec();
    bytes[1] = 1;
    put_partitions(&mut bytes, topic, owned);
    bytes.into()
}

/// A leader's assignment of version 1.
fn assignment(topic: &str, partitions: &[i32], user_data: &[u8]) -> Bytes {
    let mut bytes = vec![0, 1];
    put_partitions(&mut bytes, topic, partitions);
    bytes.extend((user_data.len() as i32).to_be_bytes());
    bytes.extend(user_data);
    bytes.into()
}

fn put_partitions(bytes: &mut Vec<u8>, topic: &str, partitions: &[i32]) {
    bytes.extend(1_i32.to_be_bytes());
    bytes.extend((topic.len() as i16).to_be_bytes());
    bytes.extend(topic.as_bytes());
    bytes.extend((partitions.len() as i32).to_be_bytes());
    for partition in partitions {
        bytes.extend(partition.to_be_bytes());
    }
}

/// JoinGroup of a classic member that reads `topic` and has `owned` of it.
fn join_with(group: &str, member: &str, topic: &str, owned: &[i32]) -> JoinGroupRequest {
    let mut request = join(5, group, member, &["range"]);
    request.protocols[0].metadata = subscription_with(topic, owned);
    request
}

/// SyncGroup of a leader that gives all to itself.
fn sync_all(group: &str, generation: i32, member: &str, all: Bytes) -> SyncGroupRequest {
    let own = SyncGroupRequestAssignment::default()
        .with_member_id(string(member))
        .with_assignment(all);
    sync(3, group, generation, member, &[]).with_assignments(vec![own])
}

/// A heartbeat that says everything; joins with epoch 0.
pub fn full(
    group: &str,
    member: &str,
    epoch: i32,
    topic: &str,
    owned: Vec<TopicPartitions>,
) -> ConsumerGroupHeartbeatRequest {
    quiet(group, member, epoch)
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![string(topic).into()]))
        .with_topic_partitions(Some(owned))
}

pub fn quiet(group: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(string(group).into())
        .with_member_id(string(member))
        .with_member_epoch(epoch)
}

pub fn partitions(topic_id: Uuid, partitions: &[i32]) -> Vec<TopicPartitions> {
    vec![
        TopicPartitions::default()
            .with_topic_id(topic_id)
            .with_partitions(partitions.to_vec()),
    ]
}

/// What administrators see of a group.
pub fn look(talk: &mut Talk<'_>, what: &str, group: &str) -> Result<()> {
    let ids = vec![string(group).into()];
    let classic = DescribeGroupsRequest::default().with_groups(ids.clone());
    talk.ask(what, 5, &classic)?;
    talk.ask(what, 6, &classic)?;
    let consumer = ConsumerGroupDescribeRequest::default().with_group_ids(ids);
    talk.ask(what, 0, &consumer)?;
    talk.ask(what, 1, &consumer)?;
    Ok(())
}

/// A classic group of alice alone, who has all partitions of the topic; her id and generation.
fn alice_alone(talk: &mut Talk<'_>, group: &str, topic: &str) -> Result<(String, i32)> {
    let joined = join_as(talk, "alice", 5, join_with(group, "", topic, &[]))?;
    let (alice, generation) = (joined.member_id.to_string(), joined.generation_id);
    let all = assignment(topic, &[0, 1], b"");
    let request = sync_all(group, generation, &alice, all);
    talk.ask("alice gets all", 3, &request)?;
    Ok((alice, generation))
}

pub fn both_ways(talk: &mut Talk<'_>) -> Result<()> {
    let (group, topic) = ("both-ways", "both-ways-topic");
    let topic_id = talk.create_topic(topic, 2)?;
    talk.name(&topic_id.to_string(), "topic");
    let (alice, old) = alice_alone(talk, group, topic)?;
    look(talk, "before", group)?;
    talk.ask("stranger", 1, &quiet(group, "bob", 3))?;
    talk.ask("stranger leaves", 1, &quiet(group, "bob", -1))?;

    // Up: bob joins with the other protocol.
    let bob = |epoch, owned| full(group, "bob", epoch, topic, owned);
    let joined = talk.ask("bob joins", 1, &bob(0, vec![]))?;
    let epoch = joined.member_epoch;
    look(talk, "upgraded", group)?;
    let consumers = ListGroupsRequest::default().with_types_filter(vec![string("consumer")]);
    talk.ask("consumer groups", 5, &consumers)?;
    talk.ask("alice", 4, &heartbeat(group, old, &alice))?;
    talk.ask("alice, next", 4, &heartbeat(group, old + 1, &alice))?;
    talk.ask("alice, no join", 3, &sync(3, group, old, &alice, &[]))?;
    let joined = talk.ask("alice joins", 5, &join_with(group, &alice, topic, &[0, 1]))?;
    let now = joined.generation_id;
    talk.ask("alice takes less", 3, &sync(3, group, now, &alice, &[]))?;
    look(talk, "she gives up", group)?;
    talk.ask("bob waits", 1, &bob(epoch, vec![]))?;
    talk.ask("alice gives up", 4, &heartbeat(group, now, &alice))?;
    let joined = talk.ask("alice has less", 5, &join_with(group, &alice, topic, &[0]))?;
    let now = joined.generation_id;
    talk.ask("alice keeps", 3, &sync(3, group, now, &alice, &[]))?;
    talk.ask("bob gets", 1, &bob(epoch, vec![]))?;
    talk.ask("bob has", 1, &bob(epoch, partitions(topic_id, &[1])))?;
    talk.ask("alice, all is well", 4, &heartbeat(group, now, &alice))?;
    look(talk, "mixed", group)?;

    requests_of_members(talk, group, topic, &alice, now)?;

    // Down: bob leaves.
    talk.ask("bob leaves", 1, &quiet(group, "bob", -1))?;
    look(talk, "downgraded", group)?;
    talk.ask("alice must join", 4, &heartbeat(group, now, &alice))?;
    let joined = talk.ask("alice leads", 5, &join_with(group, &alice, topic, &[0]))?;
    let now = joined.generation_id;
    let all = assignment(topic, &[0, 1], b"");
    let request = sync_all(group, now, &alice, all);
    talk.ask("alice has all again", 3, &request)?;
    look(talk, "classic again", group)?;
    talk.ask("bob is too late", 1, &quiet(group, "bob", epoch))?;
    talk.ask("alice leaves", 3, &leave(3, group, &alice))?;
    Ok(())
}

/// What members of either protocol ask for in a group of both, right and wrong.
fn requests_of_members(
    talk: &mut Talk<'_>,
    group: &str,
    topic: &str,
    alice: &str,
    now: i32,
) -> Result<()> {
    let request = sync(5, group, now, alice, &[]);
    talk.ask("as it should be", 5, &request)?;
    let nameless = request.clone().with_protocol_name(None);
    talk.ask("no protocol name", 5, &nameless)?;
    let typeless = request.clone().with_protocol_type(None);
    talk.ask("no protocol type", 5, &typeless)?;
    let other = request
        .clone()
        .with_protocol_name(Some(string("roundrobin")));
    talk.ask("other protocol name", 5, &other)?;
    let other = request.clone().with_protocol_type(Some(string("connect")));
    talk.ask("other protocol type", 5, &other)?;
    for (what, member, generation) in [
        ("bob", "bob", now),
        ("nobody", "nobody", now),
        ("alice, old", alice, now - 1),
        ("alice, new", alice, now + 1),
    ] {
        talk.ask(what, 3, &sync(3, group, generation, member, &[]))?;
        talk.ask(what, 4, &heartbeat(group, generation, member))?;
        let named =
            heartbeat(group, generation, member).with_group_instance_id(Some(string("instance")));
        talk.ask(&format!("{what} of an instance"), 4, &named)?;
    }
    for version in [2, 8, 9] {
        for (what, member, generation) in [
            ("alice", alice, now),
            ("alice, old", alice, now - 1),
            ("alice, new", alice, now + 1),
            ("alice, none", alice, -1),
            ("bob", "bob", now),
            ("bob, old", "bob", now - 1),
            ("bob, new", "bob", now + 1),
            ("nobody", "nobody", now),
            ("no member", "", -1),
            ("no member with a generation", "", now),
        ] {
            let request = commit_request(group, &[(topic, &[(0, 5)])])
                .with_generation_id_or_member_epoch(generation)
                .with_member_id(string(member));
            talk.ask(what, version, &request)?;
        }
    }
    for (what, member, generation) in [
        ("alice", Some(alice), now),
        ("alice, old", Some(alice), now - 1),
        ("alice, none", Some(alice), -1),
        ("bob", Some("bob"), now),
        ("bob, new", Some("bob"), now + 1),
        ("nobody", Some("nobody"), now),
        ("empty", Some(""), now),
        ("empty, none", Some(""), -1),
        ("null", None, now),
        ("null, none", None, -1),
    ] {
        let mut request = fetch_request(9, group, Some(&[(topic, &[0])]));
        request.groups[0].member_id = member.map(string);
        request.groups[0].member_epoch = generation;
        talk.ask(what, 9, &request)?;
    }
    talk.ask("all", 8, &fetch_request(8, group, None))?;

    // Others want to join.
    let carol = |edit: &dyn Fn(&mut JoinGroupRequest)| {
        let mut request = join_with(group, "carol", topic, &[]);
        edit(&mut request);
        request
    };
    let new = talk.ask("carol, new", 5, &carol(&|one| one.member_id = string("")))?;
    talk.name(&new.member_id, "carol");
    let connect = carol(&|one| one.protocol_type = string("connect"));
    talk.ask("connect", 5, &connect)?;
    let unknown = carol(&|one| one.protocols[0].name = string("roundrobin"));
    talk.ask("unknown protocol", 5, &unknown)?;
    talk.ask("no protocols", 5, &carol(&|one| one.protocols.clear()))?;
    let cut = carol(&|one| one.protocols[0].metadata = Bytes::from_static(&[0, 1, 0]));
    talk.ask("cut metadata", 5, &cut)?;
    let named = carol(&|one| one.group_instance_id = Some(string("instance")));
    talk.ask("unknown instance", 5, &named)?;
    let hasty = carol(&|one| one.session_timeout_ms = 1);
    talk.ask("short session", 5, &hasty)?;
    talk.ask("nobody leaves", 3, &leave(3, group, "nobody"))?;
    talk.ask("nobody leaves", 1, &leave(1, group, "nobody"))?;
    let removed = LeaveGroupRequest::default()
        .with_group_id(string(group).into())
        .with_members(vec![
            MemberIdentity::default().with_group_instance_id(Some(string("instance"))),
            MemberIdentity::default().with_member_id(string("")),
        ]);
    talk.ask("an instance is removed", 3, &removed)?;
    Ok(())
}

pub fn static_members(talk: &mut Talk<'_>) -> Result<()> {
    let (group, topic) = ("static-both", "static-both-topic");
    let topic_id = talk.create_topic(topic, 2)?;
    talk.name(&topic_id.to_string(), "topic");
    let named = |request: JoinGroupRequest| request.with_group_instance_id(Some(string("one")));
    let joined = join_as(talk, "one", 5, named(join_with(group, "", topic, &[])))?;
    let (one, generation) = (joined.member_id.to_string(), joined.generation_id);
    let all = assignment(topic, &[0, 1], b"");
    let request =
        sync_all(group, generation, &one, all).with_group_instance_id(Some(string("one")));
    talk.ask("one gets all", 3, &request)?;

    // It comes back with the other protocol and has what it had.
    let named_too =
        |request: ConsumerGroupHeartbeatRequest| request.with_instance_id(Some(string("one")));
    let joined = talk.ask(
        "one as a consumer",
        1,
        &named_too(full(group, "c", 0, topic, vec![])),
    )?;
    let epoch = joined.member_epoch;
    look(talk, "upgraded", group)?;
    let beat = |member: &str, generation| {
        heartbeat(group, generation, member).with_group_instance_id(Some(string("one")))
    };
    talk.ask("the old one", 4, &beat(&one, generation))?;
    talk.ask(
        "the old one without its name",
        4,
        &heartbeat(group, generation, &one),
    )?;
    talk.ask(
        "the old one joins",
        5,
        &named(join_with(group, &one, topic, &[])),
    )?;
    let fenced = sync(3, group, generation, &one, &[]).with_group_instance_id(Some(string("one")));
    talk.ask("the old one syncs", 3, &fenced)?;
    let gone = |member: &str| {
        LeaveGroupRequest::default()
            .with_group_id(string(group).into())
            .with_members(vec![
                MemberIdentity::default()
                    .with_member_id(string(member))
                    .with_group_instance_id(Some(string("one"))),
            ])
    };
    talk.ask("the old one leaves", 3, &gone(&one))?;

    // A second one, classic; then the first comes back as a classic member, and the group is classic.
    let two = join_with(group, "two", topic, &[]);
    let joined = talk.ask("two", 5, &two)?;
    talk.ask(
        "two waits",
        3,
        &sync(3, group, joined.generation_id, "two", &[]),
    )?;
    let kept = named_too(full(
        group,
        "c",
        epoch,
        topic,
        partitions(topic_id, &[0, 1]),
    ));
    talk.ask("one gives up", 1, &kept)?;
    let kept = named_too(full(group, "c", epoch, topic, partitions(topic_id, &[0])));
    let next = talk.ask("one has given up", 1, &kept)?.member_epoch;
    talk.ask("two may have it", 4, &heartbeat(group, next, "two"))?;
    let joined = talk.ask("two has it", 5, &two)?;
    let generation = joined.generation_id;
    talk.ask("two takes it", 3, &sync(3, group, generation, "two", &[]))?;
    look(talk, "both", group)?;
    let back = talk.ask_on(
        "back",
        "one is back",
        5,
        &named(join_with(group, "", topic, &[])),
    )?;
    talk.name(&back.member_id, "back");
    look(talk, "downgraded", group)?;
    let generation = back.generation_id;
    let back = back.member_id.to_string();
    let request =
        sync(3, group, generation, &back, &[]).with_group_instance_id(Some(string("one")));
    talk.ask("it has what it had", 3, &request)?;
    talk.ask(
        "two does not notice",
        4,
        &heartbeat(group, generation, "two"),
    )?;
    talk.ask(
        "the consumer is gone",
        1,
        &named_too(quiet(group, "c", epoch)),
    )?;
    talk.ask("two leaves", 3, &leave(3, group, "two"))?;
    talk.ask("one leaves", 3, &gone(&back))?;
    look(talk, "empty", group)?;
    Ok(())
}

/// A classic group in the middle of a rebalance is upgraded; members change their protocol under their ids.
pub fn rebalancing(talk: &mut Talk<'_>) -> Result<()> {
    let (group, topic) = ("rebalancing", "rebalancing-topic");
    let topic_id = talk.create_topic(topic, 2)?;
    talk.name(&topic_id.to_string(), "topic");
    let (alice, generation) = alice_alone(talk, group, topic)?;
    let new = join_with(group, "", topic, &[]);
    let zoe = talk.ask_on("zoe", "zoe", 5, &new)?.member_id;
    talk.name(&zoe, "zoe");
    let waiting = talk.start("zoe", "zoe waits", 5, &join_with(group, &zoe, topic, &[]))?;
    talk.settle("the rebalance", |talk| {
        let beat = talk.quietly(4, &heartbeat(group, generation, &alice))?;
        Ok(beat.error_code == REBALANCE_IN_PROGRESS)
    })?;
    let bob = |epoch, owned| full(group, "bob", epoch, topic, owned);
    let epoch = talk.ask("bob joins", 1, &bob(0, vec![]))?.member_epoch;
    talk.finish(waiting)?;
    talk.ask("alice must join", 4, &heartbeat(group, generation, &alice))?;
    talk.ask("zoe must join", 4, &heartbeat(group, generation, &zoe))?;
    talk.ask("zoe is of no generation", 4, &heartbeat(group, -1, &zoe))?;
    talk.ask("zoe leaves", 3, &leave(3, group, &zoe))?;
    talk.ask("zoe leaves again", 3, &leave(3, group, &zoe))?;

    // Alice gives everything up and comes back with the other protocol; bob goes the other way.
    talk.ask(
        "alice, no consumer yet",
        1,
        &quiet(group, &alice, epoch + 9),
    )?;
    let changed = talk.ask("alice changes", 1, &full(group, &alice, 0, topic, vec![]))?;
    look(talk, "alice has changed", group)?;
    talk.ask(
        "alice, not classic any more",
        4,
        &heartbeat(group, generation, &alice),
    )?;
    let request = sync(3, group, changed.member_epoch, &alice, &[]);
    talk.ask("alice, not classic any more", 3, &request)?;
    let joined = talk.ask("bob changes", 5, &join_with(group, "bob", topic, &[]))?;
    let request = sync(3, group, joined.generation_id, "bob", &[]);
    talk.ask("bob has changed", 3, &request)?;
    talk.ask("alice leaves", 1, &quiet(group, &alice, -1))?;
    talk.ask("bob leaves", 3, &leave(3, group, "bob"))?;

    // The last consumer comes back as a classic member that reads something else.
    let (group, other) = ("rebalancing-static", "rebalancing-other");
    talk.create_topic(other, 1)?;
    let one = full(group, "one", 0, topic, vec![]).with_instance_id(Some(string("one")));
    talk.ask("one", 1, &one)?;
    let joined = talk.ask("carol", 5, &join_with(group, "carol", topic, &[]))?;
    let generation = joined.generation_id;
    talk.ask("carol", 3, &sync(3, group, generation, "carol", &[]))?;
    let mut back = join_with(group, "", topic, &[]);
    back.protocols[0].metadata = subscription(&[topic, other]);
    back.group_instance_id = Some(string("one"));
    let back = talk.ask_on("back", "one is back", 5, &back)?;
    talk.name(&back.member_id, "back");
    talk.ask("carol must join", 4, &heartbeat(group, generation, "carol"))?;
    look(talk, "downgraded", group)?;
    let id = back.member_id.to_string();
    let request = sync(3, group, back.generation_id, &id, &[]);
    talk.ask("back", 3, &request)?;
    Ok(())
}

/// Classic groups that no consumer can join.
pub fn refusals(talk: &mut Talk<'_>) -> Result<()> {
    let topic = "refused-topic";
    talk.create_topic(topic, 2)?;
    let upgrade = |talk: &mut Talk<'_>, group: &str| {
        talk.ask("a consumer", 1, &full(group, "c", 0, topic, vec![]))?;
        look(talk, "refused", group)
    };
    let group = "refused-connect";
    let mut request = join_with(group, "", topic, &[]);
    request.protocol_type = string("connect");
    join_as(talk, "worker", 5, request)?;
    upgrade(talk, group)?;

    let group = "refused-data";
    let joined = join_as(talk, "custom", 5, join_with(group, "", topic, &[]))?;
    let all = assignment(topic, &[0, 1], b"data");
    let request = sync_all(group, joined.generation_id, &joined.member_id, all);
    talk.ask("custom", 3, &request)?;
    upgrade(talk, group)?;

    // The other way: a group of the consumer protocol, and what its members may leave with.
    let group = "refused-classic";
    talk.ask("bob", 1, &full(group, "bob", 0, topic, vec![]))?;
    let old = join_with(group, "", topic, &[]);
    let joined = talk.ask_on("old", "an old client", 3, &old)?;
    talk.name(&joined.member_id, "old");
    let requests = [
        ("bob leaves as a classic member", "bob"),
        ("so does the old client", &joined.member_id),
    ];
    for (what, member) in requests {
        talk.ask(what, 3, &leave(3, group, member))?;
        look(talk, what, group)?;
    }
    Ok(())
}

/// Sessions and rebalance timeouts of members of either protocol in one group.
pub fn timeouts(talk: &mut Talk<'_>) -> Result<()> {
    let (group, topic) = ("timeouts", "timeouts-topic");
    let topic_id = talk.create_topic(topic, 2)?;
    talk.name(&topic_id.to_string(), "topic");
    short_sessions(talk, group)?;

    // Bob says nothing more: alice is alone, and the group classic.
    let (alice, generation) = alice_alone(talk, group, topic)?;
    talk.ask("bob joins", 1, &full(group, "bob", 0, topic, vec![]))?;
    let beat = heartbeat(group, generation, &alice);
    talk.ask("alice", 4, &beat)?;
    let mut described = DescribeGroupsRequest::default();
    described.groups = vec![string(group).into()];
    talk.settle("the downgrade", |talk| {
        talk.quietly(4, &beat)?;
        Ok(talk.quietly(6, &described)?.groups[0].error_code == 0)
    })?;
    look(talk, "bob is gone", group)?;
    talk.ask("alice must join", 4, &beat)?;
    talk.ask("alice leaves", 3, &leave(3, group, &alice))?;

    // Alice says nothing more: bob has all.
    let mut request = join_with(group, "", topic, &[]);
    request.session_timeout_ms = 1_000;
    let joined = join_as(talk, "alice", 5, request)?;
    let (alice, generation) = (joined.member_id.to_string(), joined.generation_id);
    let all = assignment(topic, &[0, 1], b"");
    let request = sync_all(group, generation, &alice, all);
    talk.ask("alice again", 3, &request)?;
    let joined = talk.ask("bob again", 1, &full(group, "bob", 0, topic, vec![]))?;
    let mut epoch = joined.member_epoch;
    talk.settle("alice's end", |talk| {
        let request = full(group, "bob", epoch, topic, vec![]);
        let reply = talk.quietly(1, &request)?;
        epoch = reply.member_epoch;
        let assigned = reply.assignment.map_or(0, |all| {
            let topics = all.topic_partitions.iter();
            topics.map(|topic| topic.partitions.len()).sum()
        });
        Ok(assigned == 2)
    })?;
    look(talk, "alice is gone", group)?;
    talk.ask("alice", 4, &heartbeat(group, generation, &alice))?;

    // Carol does not join again when she has to, although she sends heartbeats.
    let mut request = join_with(group, "carol", topic, &[]);
    request.rebalance_timeout_ms = 1_000;
    let joined = talk.ask("carol", 5, &request)?;
    let generation = joined.generation_id;
    let beat: HeartbeatRequest = heartbeat(group, generation, "carol");
    talk.ask(
        "carol takes what there is",
        3,
        &sync(3, group, generation, "carol", &[]),
    )?;
    let kept = full(group, "bob", epoch, topic, partitions(topic_id, &[0]));
    let reply = talk.ask("bob gives up", 1, &kept)?;
    let told = talk.ask("carol is told", 4, &beat)?.error_code;
    ensure!(told == REBALANCE_IN_PROGRESS, "{told}");
    let epoch = reply.member_epoch;
    talk.settle("carol's end", |talk| {
        talk.quietly(1, &quiet(group, "bob", epoch))?;
        Ok(talk.quietly(4, &beat)?.error_code != REBALANCE_IN_PROGRESS)
    })?;
    talk.ask("carol", 4, &beat)?;

    // Dave joins and never asks what he has been given.
    let mut request = join_with(group, "dave", topic, &[]);
    request.rebalance_timeout_ms = 1_000;
    let joined = talk.ask("dave", 5, &request)?;
    let mut epoch = epoch;
    let beat = heartbeat(group, joined.generation_id, "dave");
    talk.settle("dave's end", |talk| {
        let request = full(group, "bob", epoch, topic, partitions(topic_id, &[0]));
        epoch = talk.quietly(1, &request)?.member_epoch;
        Ok(talk.quietly(4, &beat)?.error_code == 25)
    })?;
    talk.ask("dave", 4, &beat)?;
    talk.ask("bob leaves", 1, &quiet(group, "bob", -1))?;
    Ok(())
}

/// What has been written of a group since `offset`, and where that ends: the type of each key with the member it names,
/// and a minus for a tombstone. Offsets are left out. What a hash map would order is in alphabetical order.
pub fn written(talk: &mut Talk<'_>, group: &str, offset: &mut i64) -> Result<Vec<String>> {
    let partition = FetchPartition::default()
        .with_fetch_offset(*offset)
        .with_partition_max_bytes(1 << 24);
    let topic = FetchTopic::default()
        .with_topic(string("__consumer_offsets").into())
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(100)
        .with_max_bytes(1 << 24)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let mut records = Vec::new();
    // Of several brokers another may have written it: who tells the end of a log has seen all of it.
    talk.wait_for_partitions("__consumer_offsets", 1)?;
    loop {
        let request = {
            let mut request = request.clone();
            request.topics[0].partitions[0].fetch_offset = *offset;
            request
        };
        let answer = talk.quietly(12, &request)?;
        let partition = &answer.responses.first().context("a topic")?.partitions[0];
        ensure!(partition.error_code == 0, "{}", partition.error_code);
        let mut bytes = partition.records.clone().unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        for batch in RecordBatchDecoder::decode_all(&mut bytes)? {
            for record in batch.records {
                *offset = record.offset + 1;
                let key = record.key.context("a key")?;
                records.extend(name_of(group, key, record.value.is_none())?);
            }
        }
    }
    // Neighbours of one kind.
    let kind = |name: &String| name.split(' ').next().map(str::to_owned);
    records
        .chunk_by_mut(|one, other| kind(one) == kind(other))
        .for_each(<[String]>::sort);
    Ok(records)
}

fn name_of(group: &str, mut key: Bytes, is_tombstone: bool) -> Result<Option<String>> {
    let text = |key: &mut Bytes| {
        let length = usize::from(key.get_u16());
        String::from_utf8(key.split_to(length).to_vec())
    };
    let kind = key.get_i16();
    // Of what key 4 was for Kafka only writes tombstones any more (KIP-1101).
    if matches!(kind, 0 | 1 | 4) || text(&mut key)? != group {
        return Ok(None);
    }
    let sign = if is_tombstone { "-" } else { "" };
    let name = match key.has_remaining() {
        true => format!("{sign}{kind} {}", text(&mut key)?),
        false => format!("{sign}{kind}"),
    };
    Ok(Some(name))
}

/// What a group leaves in the log on its way up and down.
pub fn records(talk: &mut Talk<'_>) -> Result<()> {
    let (group, topic) = ("records", "records-topic");
    let topic_id = talk.create_topic(topic, 2)?;
    talk.name(&topic_id.to_string(), "topic");
    let mut offset = 0;
    written(talk, group, &mut offset)?;
    let mut expect = |talk: &mut Talk<'_>, what: &str, expected: &[&str]| {
        let found = written(talk, group, &mut offset)?;
        ensure!(found == expected, "{what}: {found:?}");
        Ok(())
    };
    let named = |request: JoinGroupRequest| request.with_group_instance_id(Some(string("one")));
    let joined = join_as(talk, "alice", 5, named(join_with(group, "", topic, &[])))?;
    let (alice, generation) = (joined.member_id.to_string(), joined.generation_id);
    let all = assignment(topic, &[0, 1], b"");
    let request =
        sync_all(group, generation, &alice, all).with_group_instance_id(Some(string("one")));
    talk.ask("alice gets all", 3, &request)?;
    expect(talk, "classic", &["2", "2"])?;

    talk.ask("bob joins", 1, &full(group, "bob", 0, topic, vec![]))?;
    let [of_alice, target] = ["5", "7"].map(|kind| format!("{kind} {alice}"));
    let current = format!("8 {alice}");
    #[rustfmt::skip] // the group, and what bob adds
    expect(talk, "up", &[
        "-2", &of_alice, "3", &target, "6", &current,
        "5 bob", "3", "7 bob", &target, "6", "8 bob",
    ])?;

    // Bob is removed, and alice is alone again.
    talk.ask("bob leaves", 1, &quiet(group, "bob", -1))?;
    let gone = |kind: &str, mut members: [&str; 2]| {
        members.sort();
        members.map(|member| format!("-{kind} {member}"))
    };
    let both = [alice.as_str(), "bob"];
    let ([c1, c2], [t1, t2], [m1, m2]) = (gone("8", both), gone("7", both), gone("5", both));
    let expected = [&*c1, &c2, &t1, &t2, "-6", &m1, &m2, "-3", "2"];
    expect(talk, "down", &expected)?;
    talk.ask("alice leaves", 3, &leave(3, group, &alice))?;
    expect(talk, "empty", &["2"])?;

    // A static member comes back as a classic one, and the group with it.
    let bob = full(group, "bob", 0, topic, vec![]).with_instance_id(Some(string("one")));
    talk.ask("bob with a name", 1, &bob)?;
    let carol = join_with(group, "carol", topic, &[]);
    talk.ask("carol", 5, &carol)?;
    #[rustfmt::skip] // each joins
    expect(talk, "consumers", &[
        "-2", "5 bob", "3", "7 bob", "6", "8 bob",
        "5 carol", "3", "7 bob", "7 carol", "6", "8 carol",
    ])?;
    let back = named(join_with(group, "", topic, &[]));
    let back = talk.ask_on("back", "bob is back", 5, &back)?.member_id;
    talk.name(&back, "back");
    let [of_back, target, current] = ["5", "7", "8"].map(|kind| format!("{kind} {back}"));
    let both = [back.as_str(), "carol"];
    let ([c1, c2], [t1, t2], [m1, m2]) = (gone("8", both), gone("7", both), gone("5", both));
    #[rustfmt::skip] // one goes, one comes, all go
    expect(talk, "down with a static member", &[
        "-8 bob", "-7 bob", "-5 bob",
        &of_back, &target, &current,
        &of_back, &current,
        &c1, &c2, &t1, &t2, "-6", &m1, &m2, "-3", "2",
    ])?;
    Ok(())
}
