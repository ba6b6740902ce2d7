//! Metadata, in all versions with all forms of its list.

use anyhow::Result;
use compat_tests::scenario::{Talk, topic_name};
use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use uuid::Uuid;

const VERSIONS: std::ops::RangeInclusive<i16> = 0..=13;
const UNKNOWN_ID: Uuid = Uuid::from_u128(0x1234_5678_0000_4000_8000_0000_0000_0001);

pub fn named(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic::default().with_name(Some(topic_name(name)))
}

fn by_id(id: Uuid) -> MetadataRequestTopic {
    MetadataRequestTopic::default()
        .with_name(None)
        .with_topic_id(id)
}

fn request(version: i16, topics: Option<Vec<MetadataRequestTopic>>) -> MetadataRequest {
    let request = MetadataRequest::default().with_topics(topics);
    // Before v4 a client cannot say; true is what it means then.
    request.with_allow_auto_topic_creation(version < 4)
}

pub fn all_topics(talk: &mut Talk<'_>) -> Result<()> {
    talk.create_topic("metadata-a", 2)?;
    talk.create_topic("metadata-b", 1)?;
    for version in VERSIONS {
        if version >= 1 {
            talk.ask("null", version, &request(version, None))?;
        }
        talk.ask("empty", version, &request(version, Some(vec![])))?;
        if (8..=10).contains(&version) {
            let request = request(version, None)
                .with_include_cluster_authorized_operations(true)
                .with_include_topic_authorized_operations(true);
            talk.ask("with operations", version, &request)?;
        } else if version > 10 {
            let request = request(version, None).with_include_topic_authorized_operations(true);
            talk.ask("with operations", version, &request)?;
        }
    }
    Ok(())
}

pub fn some_topics(talk: &mut Talk<'_>) -> Result<()> {
    let id = talk.create_topic("metadata-c", 3)?;
    talk.create_topic("metadata-d", 1)?;
    for version in VERSIONS {
        let ask = |talk: &mut Talk<'_>, what: &str, topics| {
            talk.ask(what, version, &request(version, Some(topics)))
                .map(|_| ())
        };
        ask(talk, "one", vec![named("metadata-c")])?;
        ask(
            talk,
            "two in the order of the request",
            vec![named("metadata-d"), named("metadata-c")],
        )?;
        ask(
            talk,
            "one twice",
            vec![named("metadata-c"), named("metadata-c")],
        )?;
        ask(talk, "an internal one", vec![named("__consumer_offsets")])?;
        for name in ["not valid", "", ".", "..", "a/b", &"x".repeat(250)] {
            ask(talk, &format!("invalid name {name:.10}"), vec![named(name)])?;
        }
        if version >= 4 {
            ask(
                talk,
                "unknown",
                vec![named("metadata-c"), named("metadata-unknown")],
            )?;
        }
        if version == 10 || version == 11 {
            talk.ask_or_close(
                "by id, before its time",
                version,
                &request(version, Some(vec![by_id(id)])),
            )?;
            talk.ask_or_close(
                "null name, before its time",
                version,
                &request(version, Some(vec![by_id(Uuid::nil())])),
            )?;
        }
        if version >= 12 {
            ask(talk, "by id", vec![by_id(id)])?;
            ask(talk, "by unknown id", vec![by_id(UNKNOWN_ID), by_id(id)])?;
            ask(
                talk,
                "by id and by name",
                vec![by_id(id), named("metadata-d")],
            )?;
            ask(
                talk,
                "by id and name in one",
                vec![named("metadata-c").with_topic_id(id)],
            )?;
            ask(talk, "neither id nor name", vec![by_id(Uuid::nil())])?;
            ask(talk, "by id twice", vec![by_id(id), by_id(id)])?;
        }
    }
    Ok(())
}

pub fn auto_creation(talk: &mut Talk<'_>) -> Result<()> {
    for version in [1, 4, 9, 12] {
        let name = format!("metadata-created-{version}");
        let wanted = MetadataRequest::default().with_topics(Some(vec![named(&name)]));
        talk.ask("unknown", version, &wanted)?;
        talk.wait_for_partitions(&name, 1)?;
        talk.ask("known now", version, &wanted)?;
    }
    let colliding = vec![named("metadata.created_9"), named("metadata_created.9")];
    let wanted = MetadataRequest::default().with_topics(Some(colliding));
    talk.ask("colliding names", 12, &wanted)?;
    Ok(())
}
