//! OffsetCommit, OffsetFetch and OffsetDelete.

use anyhow::{Context as _, Result};
use bytes::BytesMut;
use compat_tests::scenario::{Talk, string, topic_name};
use kafka_protocol::messages::OffsetDeleteRequest;
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::protocol::Encodable as _;
use protocol_shim::newer::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol_shim::newer::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use uuid::Uuid;

use super::classic_group::{heartbeat, join, join_as, leave, subscription, sync};

const COMMIT_VERSIONS: std::ops::RangeInclusive<i16> = 2..=10;
const FETCH_VERSIONS: std::ops::RangeInclusive<i16> = 1..=10;

/// Partitions of a topic, each with an offset to commit.
type Offsets<'a> = (&'a str, &'a [(i32, i64)]);

pub fn commit_request(group: &str, topics: &[Offsets<'_>]) -> OffsetCommitRequest {
    let topics = topics.iter().map(|(name, partitions)| {
        let partitions = partitions.iter().map(|(index, offset)| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(*index)
                .with_committed_offset(*offset)
                .with_committed_metadata(Some(string("noted")))
        });
        OffsetCommitRequestTopic::default()
            .with_name(topic_name(name))
            .with_partitions(partitions.collect())
    });
    OffsetCommitRequest::default()
        .with_group_id(string(group).into())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(topics.collect())
}

/// Asks for partitions of topics, or for all that was committed, in the form of the version.
pub fn fetch_request(
    version: i16,
    group: &str,
    topics: Option<&[(&str, &[i32])]>,
) -> OffsetFetchRequest {
    if version < 8 {
        let topic = |(name, partitions): &(&str, &[i32])| {
            OffsetFetchRequestTopic::default()
                .with_name(topic_name(name))
                .with_partition_indexes(partitions.to_vec())
        };
        return OffsetFetchRequest::default()
            .with_group_id(string(group).into())
            .with_topics(topics.map(|topics| topics.iter().map(topic).collect()));
    }
    let topic = |(name, partitions): &(&str, &[i32])| {
        OffsetFetchRequestTopics::default()
            .with_name(topic_name(name))
            .with_partition_indexes(partitions.to_vec())
    };
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(string(group).into())
        .with_member_epoch(-1)
        .with_topics(topics.map(|topics| topics.iter().map(topic).collect()));
    OffsetFetchRequest::default().with_groups(vec![group])
}

/// What stands for a topic in the versions that name it by its id.
type TopicIds<'a> = &'a [(&'a str, Uuid)];

/// The id of a topic, or one that no topic has; the name that cannot be one has no id.
fn topic_id(ids: TopicIds<'_>, name: &str) -> Uuid {
    let known = ids.iter().find(|(known, _)| *known == name);
    known.map_or_else(
        || match name {
            "not valid" => Uuid::nil(),
            _ => Uuid::from_u128(77),
        },
        |(_, id)| *id,
    )
}

/// The request with ids besides the names; its version decides which are sent.
fn commit_by_id(ids: TopicIds<'_>, mut request: OffsetCommitRequest) -> OffsetCommitRequest {
    for topic in &mut request.topics {
        topic.topic_id = topic_id(ids, &topic.name);
    }
    request
}

/// The same for a request that fetches.
fn fetch_by_id(ids: TopicIds<'_>, mut request: OffsetFetchRequest) -> OffsetFetchRequest {
    let groups = request.groups.iter_mut();
    for topic in groups.flat_map(|group| group.topics.iter_mut().flatten()) {
        topic.topic_id = topic_id(ids, &topic.name);
    }
    request
}

/// Programs keep bytes in the metadata of their commits. Kafka stores U+FFFD for what it cannot read: as many of them as
/// Java's decoder makes of each malformed sequence.
pub fn commit_not_utf8(talk: &mut Talk<'_>) -> Result<()> {
    const NOT_UTF8: &[&[u8]] = &[
        b"\x80",
        b"a\xffb",
        b"\xfe\xff",
        b"\xc0\x80",
        b"\xc3\xc3\xa9",
        b"\xe1\x80",
        b"\xe1\x80A",
        b"\xf1\x80\x80",
        b"\xf1\x80\xe1\x80\xc0",
        b"\xe0\x80\x80",
        b"\xf0\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xed\xa0\x80",
        b"\xed\xa0",
        b"\xed\xa0A",
        b"\xed\xa0\xbd\xed\xb8\x80",
        b"\xed\xed\xa0\x80\x80",
    ];
    let topic = "committed-bytes";
    let ids = [(topic, talk.create_topic(topic, 1)?)];
    for version in COMMIT_VERSIONS {
        for bytes in NOT_UTF8 {
            // Both forms of a length are kept by a text of the same length.
            let placeholder = "~".repeat(bytes.len());
            let request = commit_request("commit-not-utf8", &[(topic, &[(0, 5)])]);
            let mut request = commit_by_id(&ids, request);
            request.topics[0].partitions[0].committed_metadata = Some(string(&placeholder));
            let mut body = BytesMut::new();
            request.encode(&mut body, version)?;
            let place = body
                .windows(bytes.len())
                // From the end: the id of a topic may have such a byte, too.
                .rposition(|window| window == placeholder.as_bytes())
                .context("the text is there")?;
            body[place..place + bytes.len()].copy_from_slice(bytes);
            let what = format!("{bytes:02x?}");
            talk.ask_body::<OffsetCommitRequest>(&what, version, &body)?;
            let fetch = fetch_request(5, "commit-not-utf8", Some(&[(topic, &[0])]));
            talk.ask(&what, 5, &fetch)?;
        }
    }
    Ok(())
}

pub fn commit(talk: &mut Talk<'_>) -> Result<()> {
    let ids = [
        ("committed", talk.create_topic("committed", 3)?),
        ("committed-too", talk.create_topic("committed-too", 1)?),
    ];
    for version in COMMIT_VERSIONS {
        let group = format!("commit-{version}");
        let mut ask = |what: &str, request: OffsetCommitRequest| {
            let request = commit_by_id(&ids, request);
            talk.ask(what, version, &request).map(|_| ())
        };
        let request = |topics: &[Offsets<'_>]| commit_request(&group, topics);
        ask("one", request(&[("committed", &[(0, 5)])]))?;
        ask(
            "two topics",
            request(&[
                ("committed", &[(0, 5), (2, 7)]),
                ("committed-too", &[(0, 1)]),
            ]),
        )?;
        ask("back", request(&[("committed", &[(0, 3)])]))?;
        ask("negative offset", request(&[("committed", &[(1, -5)])]))?;
        ask(
            "unknown partition",
            request(&[("committed", &[(9, 5), (1, 2)])]),
        )?;
        ask("negative partition", request(&[("committed", &[(-1, 5)])]))?;
        ask(
            "unknown topic",
            request(&[("committed-unknown", &[(0, 5)]), ("committed", &[(0, 6)])]),
        )?;
        ask(
            "unknown topic only",
            request(&[("committed-unknown", &[(0, 5)])]),
        )?;
        ask("invalid topic", request(&[("not valid", &[(0, 5)])]))?;
        ask("one twice", request(&[("committed", &[(0, 5), (0, 6)])]))?;
        ask(
            "topic twice",
            request(&[("committed", &[(0, 5)]), ("committed", &[(1, 6)])]),
        )?;
        ask(
            "topic twice, and unknown ones",
            request(&[
                ("committed", &[(0, 5), (9, 5)]),
                ("committed-unknown", &[(0, 5)]),
                ("committed", &[(1, 6)]),
                ("committed-unknown", &[(0, 6)]),
            ]),
        )?;
        ask("nothing", request(&[]))?;
        ask("no partitions", request(&[("committed", &[])]))?;
        ask("no group", commit_request("", &[("committed", &[(0, 5)])]))?;
        let metadata = |text: Option<&str>| {
            let mut request = request(&[("committed", &[(0, 9), (1, 9)])]);
            request.topics[0].partitions[0].committed_metadata = text.map(string);
            request
        };
        ask("no metadata", metadata(None))?;
        ask("empty metadata", metadata(Some("")))?;
        ask("largest metadata", metadata(Some(&"x".repeat(4096))))?;
        ask("too large metadata", metadata(Some(&"x".repeat(4097))))?;
        ask(
            "too large metadata in bytes",
            metadata(Some(&"ü".repeat(2049))),
        )?;
        let one = || request(&[("committed", &[(0, 5)])]);
        ask("a generation", one().with_generation_id_or_member_epoch(1))?;
        ask("a member", one().with_member_id(string("nobody")))?;
        ask(
            "both",
            one()
                .with_generation_id_or_member_epoch(1)
                .with_member_id(string("nobody")),
        )?;
        ask(
            "both, unknown group",
            commit_request("commit-unknown", &[("committed", &[(0, 5)])])
                .with_generation_id_or_member_epoch(1)
                .with_member_id(string("nobody")),
        )?;
        if version >= 7 {
            ask(
                "an instance",
                one().with_group_instance_id(Some(string("i"))),
            )?;
        }
        if version <= 4 {
            ask("retention", one().with_retention_time_ms(1_000_000))?;
            ask("no retention", one().with_retention_time_ms(0))?;
        }
        if version >= 6 {
            let mut with_epoch = one();
            with_epoch.topics[0].partitions[0].committed_leader_epoch = 4;
            ask("leader epoch", with_epoch)?;
        }
        for fetch_version in [1, 2, 5, 7, 9] {
            talk.ask(
                "then",
                fetch_version,
                &fetch_request(fetch_version, &group, Some(&[("committed", &[0, 1, 2])])),
            )?;
        }
    }
    Ok(())
}

pub fn commit_as_member(talk: &mut Talk<'_>) -> Result<()> {
    let ids = [("member-commits", talk.create_topic("member-commits", 1)?)];
    for version in COMMIT_VERSIONS {
        let group = format!("member-{version}");
        let one = || {
            let topics: &[Offsets<'_>] =
                &[("member-commits", &[(0, 5)]), ("member-unknown", &[(0, 5)])];
            commit_by_id(&ids, commit_request(&group, topics))
        };
        let joined = join_as(talk, "alice", 5, join(5, &group, "", &["range"]))?;
        let alice = joined.member_id.to_string();
        let generation = joined.generation_id;
        let as_member = |generation: i32, member: &str| {
            one()
                .with_generation_id_or_member_epoch(generation)
                .with_member_id(string(member))
        };
        talk.ask("before the sync", version, &as_member(generation, &alice))?;
        talk.ask("before the sync, no member", version, &one())?;
        talk.ask(
            "alice",
            3,
            &sync(3, &group, generation, &alice, &[(&alice, b"x")]),
        )?;
        talk.ask("as member", version, &as_member(generation, &alice))?;
        talk.ask(
            "old generation",
            version,
            &as_member(generation - 1, &alice),
        )?;
        talk.ask(
            "new generation",
            version,
            &as_member(generation + 1, &alice),
        )?;
        talk.ask("no generation", version, &as_member(-1, &alice))?;
        talk.ask("unknown member", version, &as_member(generation, "nobody"))?;
        talk.ask("no member", version, &as_member(generation, ""))?;
        talk.ask("from outside", version, &one())?;
        if version >= 7 {
            let instance = as_member(generation, &alice).with_group_instance_id(Some(string("i")));
            talk.ask("unknown instance", version, &instance)?;
        }
        // Another member comes: commits of the old generation are still good until everybody has joined.
        let request = join(5, &group, "", &["range"]);
        let bob = talk.ask_on("bob", "bob", 5, &request)?.member_id;
        talk.name(&bob, "bob");
        let coming = talk.start(
            "bob",
            "bob comes",
            5,
            &request.clone().with_member_id(bob.clone()),
        )?;
        talk.settle("the rebalance", |talk| {
            Ok(talk
                .quietly(4, &heartbeat(&group, generation, &alice))?
                .error_code
                == 27)
        })?;
        talk.ask(
            "during the rebalance",
            version,
            &as_member(generation, &alice),
        )?;
        talk.ask("alice leaves", 3, &leave(3, &group, &alice))?;
        talk.finish(coming)?;
        talk.ask(
            "after she has left",
            version,
            &as_member(generation, &alice),
        )?;
        talk.ask(
            "bob before his sync",
            version,
            &as_member(generation + 1, &bob),
        )?;
        talk.ask("bob leaves", 3, &leave(3, &group, &bob))?;
        talk.ask(
            "when it is empty",
            version,
            &as_member(generation + 1, &bob),
        )?;
        talk.ask("from outside, when it is empty", version, &one())?;
    }
    Ok(())
}

pub fn fetch(talk: &mut Talk<'_>) -> Result<()> {
    let ids = [
        ("fetched", talk.create_topic("fetched", 3)?),
        ("fetched-too", talk.create_topic("fetched-too", 1)?),
    ];
    let mut setup = commit_request(
        "fetch",
        &[("fetched", &[(0, 5), (1, 6)]), ("fetched-too", &[(0, 7)])],
    );
    setup.topics[0].partitions[0].committed_leader_epoch = 3;
    setup.topics[0].partitions[1].committed_metadata = None;
    talk.ask("setup", 9, &setup)?;
    for version in FETCH_VERSIONS {
        let fetch_request = |group: &str, topics: Option<&[(&str, &[i32])]>| {
            fetch_by_id(&ids, fetch_request(version, group, topics))
        };
        let mut ask = |what: &str, group: &str, topics: Option<&[(&str, &[i32])]>| {
            talk.ask(what, version, &fetch_request(group, topics))
                .map(|_| ())
        };
        ask(
            "some",
            "fetch",
            Some(&[("fetched", &[0, 1]), ("fetched-too", &[0])]),
        )?;
        ask("not committed", "fetch", Some(&[("fetched", &[2, 1])]))?;
        ask("unknown partition", "fetch", Some(&[("fetched", &[9, 0])]))?;
        ask("negative partition", "fetch", Some(&[("fetched", &[-1])]))?;
        ask(
            "unknown topic",
            "fetch",
            Some(&[("fetched-unknown", &[0]), ("fetched", &[0])]),
        )?;
        ask("invalid topic", "fetch", Some(&[("not valid", &[0])]))?;
        ask("one twice", "fetch", Some(&[("fetched", &[0, 0])]))?;
        ask(
            "topic twice",
            "fetch",
            Some(&[("fetched", &[0]), ("fetched", &[1])]),
        )?;
        ask("no topics", "fetch", Some(&[]))?;
        ask("no partitions", "fetch", Some(&[("fetched", &[])]))?;
        ask("unknown group", "fetch-unknown", Some(&[("fetched", &[0])]))?;
        ask("no group", "", Some(&[("fetched", &[0])]))?;
        if version >= 2 {
            ask("all", "fetch", None)?;
            ask("all, unknown group", "fetch-unknown", None)?;
            ask("all, no group", "", None)?;
        }
        if version >= 7 {
            let stable =
                fetch_request("fetch", Some(&[("fetched", &[0, 2])])).with_require_stable(true);
            talk.ask("stable", version, &stable)?;
        }
        if version >= 8 {
            let group = |id: &str| fetch_request(id, Some(&[("fetched", &[0])])).groups;
            let several = OffsetFetchRequest::default().with_groups(
                [
                    group("fetch"),
                    group("fetch-unknown"),
                    group("fetch"),
                    group(""),
                ]
                .concat(),
            );
            talk.ask("several groups", version, &several)?;
            let mention = |topics| fetch_request("fetch", topics).groups;
            let one_twice = OffsetFetchRequest::default().with_groups(
                [
                    mention(Some(&[("fetched", &[0])])),
                    mention(Some(&[("fetched", &[1, 2])])),
                    mention(None),
                    mention(Some(&[])),
                    mention(Some(&[("fetched-too", &[0])])),
                ]
                .concat(),
            );
            talk.ask("one group again and again", version, &one_twice)?;
            talk.ask("no groups", version, &OffsetFetchRequest::default())?;
        }
        if version >= 9 {
            let mut member = fetch_request("fetch", None);
            member.groups[0].member_id = Some(string("nobody"));
            member.groups[0].member_epoch = 3;
            talk.ask("as a member", version, &member)?;
        }
    }
    Ok(())
}

pub fn delete(talk: &mut Talk<'_>) -> Result<()> {
    talk.create_topic("deleted", 2)?;
    let request = |group: &str, topics: &[(&str, &[i32])]| {
        let topics = topics.iter().map(|(name, partitions)| {
            let partitions = partitions
                .iter()
                .map(|index| OffsetDeleteRequestPartition::default().with_partition_index(*index));
            OffsetDeleteRequestTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions.collect())
        });
        OffsetDeleteRequest::default()
            .with_group_id(string(group).into())
            .with_topics(topics.collect())
    };
    talk.ask(
        "setup",
        9,
        &commit_request("delete", &[("deleted", &[(0, 5), (1, 6)])]),
    )?;
    let mut ask = |what: &str, group: &str, topics: &[(&str, &[i32])]| {
        talk.ask(what, 0, &request(group, topics)).map(|_| ())
    };
    ask("unknown group", "delete-unknown", &[("deleted", &[0])])?;
    ask("no group", "", &[("deleted", &[0])])?;
    ask("one", "delete", &[("deleted", &[0])])?;
    ask("again", "delete", &[("deleted", &[0])])?;
    ask("unknown partition", "delete", &[("deleted", &[9])])?;
    ask(
        "unknown topic",
        "delete",
        &[("deleted-unknown", &[0]), ("deleted", &[0])],
    )?;
    ask("one twice", "delete", &[("deleted", &[0, 0])])?;
    ask(
        "topics twice",
        "delete",
        &[
            ("deleted", &[0, 9]),
            ("deleted-unknown", &[0]),
            ("deleted", &[0]),
            ("deleted-unknown", &[1]),
        ],
    )?;
    ask("nothing", "delete", &[])?;
    ask("no partitions", "delete", &[("deleted", &[])])?;
    talk.ask("then", 7, &fetch_request(7, "delete", None))?;
    ask_last(talk, request("delete", &[("deleted", &[1])]))?;

    // A group that subscribes: its offsets of that topic stay.
    let mut subscribed = join(5, "delete-subscribed", "", &["range"]);
    subscribed.protocols[0].metadata = subscription(&["deleted"]);
    let joined = join_as(talk, "alice", 5, subscribed)?;
    let alice = joined.member_id.to_string();
    talk.ask(
        "alice",
        3,
        &sync(3, "delete-subscribed", joined.generation_id, &alice, &[]),
    )?;
    let commit = commit_request("delete-subscribed", &[("deleted", &[(0, 5)])])
        .with_generation_id_or_member_epoch(joined.generation_id)
        .with_member_id(joined.member_id);
    talk.ask("setup as member", 7, &commit)?;
    talk.ask(
        "subscribed",
        0,
        &request("delete-subscribed", &[("deleted", &[0])]),
    )?;
    talk.ask("alice leaves", 3, &leave(3, "delete-subscribed", &alice))?;
    talk.ask(
        "not subscribed any more",
        0,
        &request("delete-subscribed", &[("deleted", &[0])]),
    )?;
    Ok(())
}

fn ask_last(talk: &mut Talk<'_>, request: OffsetDeleteRequest) -> Result<()> {
    talk.ask("the last one", 0, &request)?;
    talk.ask("the group is gone", 0, &request)?;
    talk.ask("nothing is left", 7, &fetch_request(7, "delete", None))?;
    Ok(())
}
