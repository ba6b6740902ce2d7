//! ListOffsets, OffsetForLeaderEpoch and DeleteRecords.

use anyhow::Result;
use compat_tests::scenario::{Talk, topic_name};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{DeleteRecordsRequest, OffsetForLeaderEpochRequest};
use protocol_shim::newer::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};

use super::produce::{batch, store};

const T: i64 = 1_700_000_000_000;

fn partition(index: i32, timestamp: i64) -> ListOffsetsPartition {
    ListOffsetsPartition::default()
        .with_partition_index(index)
        .with_timestamp(timestamp)
}

fn request(topics: &[(&str, Vec<ListOffsetsPartition>)]) -> ListOffsetsRequest {
    let topics = topics.iter().map(|(name, partitions)| {
        ListOffsetsTopic::default()
            .with_name(topic_name(name))
            .with_partitions(partitions.clone())
    });
    ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_topics(topics.collect())
}

pub fn places_and_times(talk: &mut Talk<'_>) -> Result<()> {
    talk.create_topic("offsets", 3)?;
    // Timestamps rise and fall: 0 10 | 5 30 20 | 25, and two with the largest one in partition 1.
    let batches: &[(i32, &[i64])] = &[
        (0, &[T, T + 10]),
        (0, &[T + 5, T + 30, T + 20]),
        (0, &[T + 25]),
        (1, &[T + 7, T + 9, T + 9]),
    ];
    for (partition, timestamps) in batches {
        store(talk, "offsets", *partition, batch(timestamps)?)?;
    }
    for version in 1..=11 {
        for timestamp in -8..0 {
            let all = (0..3).map(|index| partition(index, timestamp)).collect();
            talk.ask_or_close(
                &format!("timestamp {timestamp}"),
                version,
                &request(&[("offsets", all)]),
            )?;
        }
        let times = [
            0,
            T,
            T + 1,
            T + 6,
            T + 9,
            T + 10,
            T + 11,
            T + 15,
            T + 25,
            T + 30,
            T + 31,
            i64::MAX,
        ];
        for timestamp in times {
            let all = (0..3).map(|index| partition(index, timestamp)).collect();
            let at = if timestamp < T {
                timestamp
            } else {
                timestamp.saturating_sub(T)
            };
            talk.ask(&format!("at {at}"), version, &request(&[("offsets", all)]))?;
        }
        if version >= 2 {
            let all = [-1, -2, T + 11]
                .map(|timestamp| partition(0, timestamp))
                .to_vec();
            for place in all {
                let committed =
                    request(&[("offsets", vec![place.clone()])]).with_isolation_level(1);
                talk.ask(
                    &format!("committed {}", place.timestamp),
                    version,
                    &committed,
                )?;
            }
        }
        let ask =
            |talk: &mut Talk<'_>, what: &str, topics: &[(&str, Vec<ListOffsetsPartition>)]| {
                talk.ask(what, version, &request(topics)).map(|_| ())
            };
        ask(
            talk,
            "unknown partition",
            &[("offsets", vec![partition(9, -1), partition(0, -1)])],
        )?;
        ask(
            talk,
            "unknown topic",
            &[
                ("offsets-unknown", vec![partition(0, -1)]),
                ("offsets", vec![partition(0, -1)]),
            ],
        )?;
        ask(
            talk,
            "invalid topic",
            &[("not valid", vec![partition(0, -1)])],
        )?;
        ask(
            talk,
            "one twice",
            &[("offsets", vec![partition(0, -1), partition(0, -2)])],
        )?;
        repeated_places(talk, version)?;
        ask(talk, "nothing", &[])?;
        ask(talk, "no partitions", &[("offsets", vec![])])?;
        if version >= 4 {
            for epoch in [0, 1, 7, -2] {
                let wanted = partition(0, -1).with_current_leader_epoch(epoch);
                ask(
                    talk,
                    &format!("leader epoch {epoch}"),
                    &[("offsets", vec![wanted])],
                )?;
            }
        }
    }
    Ok(())
}

/// Where two partitions end.
pub fn ask_ends(talk: &mut Talk<'_>, what: &str, topic: &str) -> Result<()> {
    let ends = vec![partition(0, -1), partition(1, -1)];
    talk.ask(what, 5, &request(&[(topic, ends)])).map(|_| ())
}

/// Partitions and topics that are named again.
fn repeated_places(talk: &mut Talk<'_>, version: i16) -> Result<()> {
    let [latest, earliest] = [partition(0, -1), partition(0, -2)];
    let other = partition(1, -1);
    for (what, topics) in [
        (
            "the same twice",
            vec![("offsets", vec![latest.clone(), latest.clone()])],
        ),
        (
            "one twice and another",
            vec![(
                "offsets",
                vec![other.clone(), latest.clone(), earliest.clone()],
            )],
        ),
        (
            "one thrice around another",
            vec![(
                "offsets",
                vec![
                    latest.clone(),
                    other.clone(),
                    earliest.clone(),
                    latest.clone(),
                ],
            )],
        ),
        (
            "topic twice",
            vec![
                ("offsets", vec![latest.clone()]),
                ("offsets", vec![other.clone()]),
            ],
        ),
        (
            "topic twice, and a partition",
            vec![
                ("offsets", vec![latest.clone(), other.clone()]),
                ("offsets", vec![earliest.clone()]),
            ],
        ),
        (
            "topic twice around another",
            vec![
                ("offsets", vec![latest.clone()]),
                ("offsets-unknown", vec![latest.clone()]),
                ("offsets", vec![earliest.clone()]),
            ],
        ),
        (
            "unknown twice",
            vec![(
                "offsets",
                vec![partition(9, -1), partition(9, -1), other.clone()],
            )],
        ),
        (
            "unknown topic twice",
            vec![
                ("offsets-unknown", vec![latest.clone()]),
                ("offsets-unknown", vec![latest.clone(), other.clone()]),
            ],
        ),
        (
            "one twice, by a time that there is none of",
            vec![(
                "offsets",
                vec![partition(0, -9), partition(0, -9), other.clone()],
            )],
        ),
    ] {
        talk.ask(what, version, &request(&topics))?;
    }
    Ok(())
}

pub fn leader_epochs(talk: &mut Talk<'_>) -> Result<()> {
    talk.create_topic("epochs", 2)?;
    store(talk, "epochs", 0, batch(&[T, T])?)?;
    for version in 2..=4 {
        let asked = |partition, current, epoch| {
            OffsetForLeaderPartition::default()
                .with_partition(partition)
                .with_current_leader_epoch(current)
                .with_leader_epoch(epoch)
        };
        let mut ask =
            |what: &str, topic: &str, partitions: Vec<OffsetForLeaderPartition>| -> Result<()> {
                let topic = OffsetForLeaderTopic::default()
                    .with_topic(topic_name(topic))
                    .with_partitions(partitions);
                let request = OffsetForLeaderEpochRequest::default()
                    .with_replica_id((-1).into())
                    .with_topics(vec![topic]);
                talk.ask(what, version, &request).map(|_| ())
            };
        for epoch in [-2, -1, 0, 1, 9] {
            ask(
                &format!("epoch {epoch}"),
                "epochs",
                vec![asked(0, -1, epoch), asked(1, -1, epoch)],
            )?;
            ask(
                &format!("current epoch {epoch}"),
                "epochs",
                vec![asked(0, epoch, 0)],
            )?;
        }
        ask("unknown partition", "epochs", vec![asked(9, -1, 0)])?;
        ask("unknown topic", "epochs-unknown", vec![asked(0, -1, 0)])?;
        ask("no partitions", "epochs", vec![])?;
        ask(
            "one twice",
            "epochs",
            vec![asked(0, -1, 0), asked(1, -1, 0), asked(0, -1, 9)],
        )?;
        ask(
            "unknown twice",
            "epochs",
            vec![asked(9, -1, 0), asked(9, -1, 0)],
        )?;
        for (what, names) in [
            ("topic twice", ["epochs", "epochs"]),
            ("unknown topic twice", ["epochs-unknown", "epochs-unknown"]),
        ] {
            let topics = names.map(|name| {
                OffsetForLeaderTopic::default()
                    .with_topic(topic_name(name))
                    .with_partitions(vec![asked(0, -1, 0), asked(1, -1, 0)])
            });
            let request = OffsetForLeaderEpochRequest::default()
                .with_replica_id((-1).into())
                .with_topics(topics.to_vec());
            talk.ask(what, version, &request)?;
        }
    }
    Ok(())
}

pub fn delete_records(talk: &mut Talk<'_>) -> Result<()> {
    for version in 0..=2 {
        let name = format!("truncated-{version}");
        talk.create_topic(&name, 2)?;
        for _ in 0..3 {
            store(talk, &name, 0, batch(&[T, T])?)?;
        }
        let ask = |talk: &mut Talk<'_>,
                   what: &str,
                   topic: &str,
                   partitions: &[(i32, i64)]|
         -> Result<()> {
            let partitions = partitions.iter().map(|(index, offset)| {
                DeleteRecordsPartition::default()
                    .with_partition_index(*index)
                    .with_offset(*offset)
            });
            let topic = DeleteRecordsTopic::default()
                .with_name(topic_name(topic))
                .with_partitions(partitions.collect());
            let request = DeleteRecordsRequest::default()
                .with_timeout_ms(10_000)
                .with_topics(vec![topic]);
            talk.ask(what, version, &request).map(|_| ())
        };
        ask(talk, "some", &name, &[(0, 3)])?;
        ask(talk, "some that are gone", &name, &[(0, 1)])?;
        ask(talk, "behind the end", &name, &[(0, 7), (1, 1)])?;
        ask(talk, "negative", &name, &[(0, -2)])?;
        ask(talk, "all", &name, &[(0, -1), (1, -1)])?;
        ask(talk, "unknown", &name, &[(7, 0)])?;
        ask(talk, "unknown topic", "truncated-unknown", &[(0, 0)])?;
        ask(talk, "invalid topic", "not valid", &[(0, 0)])?;
        ask(talk, "internal topic", "__consumer_offsets", &[(0, 0)])?;
        ask(talk, "no partitions", &name, &[])?;
        repeated_deletions(talk, version)?;
        for policy in ["compact", "compact,delete", "delete,compact"] {
            let name = format!("truncated-{}-{version}", policy.replace(',', "-"));
            let configs = vec![super::topics::config("cleanup.policy", Some(policy))];
            let topic = CreatableTopic::default()
                .with_name(topic_name(&name))
                .with_num_partitions(1)
                .with_replication_factor(1)
                .with_configs(configs);
            talk.create(topic)?;
            store(talk, &name, 0, batch(&[T, T])?)?;
            for (what, offset) in [
                ("one of", 1),
                ("behind the end of", 7),
                ("negative of", -2),
                ("all of", -1),
            ] {
                ask(talk, &format!("{what} {policy}"), &name, &[(0, offset)])?;
            }
            ask(talk, &format!("unknown of {policy}"), &name, &[(1, 0)])?;
            let start = request(&[(&name, vec![partition(0, -2)])]);
            talk.ask(&format!("the start of {policy}"), 5, &start)?;
        }
        for timestamp in [-1, -2, T] {
            let places = request(&[(
                &name,
                vec![partition(0, timestamp), partition(1, timestamp)],
            )]);
            talk.ask(&format!("then {timestamp}"), 5, &places)?;
        }
    }
    Ok(())
}

/// Partitions and topics that are named again, and where they begin then.
fn repeated_deletions(talk: &mut Talk<'_>, version: i16) -> Result<()> {
    for (at, (what, topics)) in [
        ("one twice", &[("", &[(0, 2), (0, 4), (1, 1)][..])][..]),
        ("one twice, the larger first", &[("", &[(0, 4), (0, 2)])]),
        (
            "one twice, the second is out of range",
            &[("", &[(0, 2), (0, 99)])],
        ),
        (
            "one twice, the first is out of range",
            &[("", &[(0, 99), (0, 2)])],
        ),
        ("unknown twice", &[("", &[(7, 0), (7, 0), (1, 1)])]),
        ("topic twice", &[("", &[(0, 2)]), ("", &[(1, 1)])]),
        (
            "topic twice, and a partition",
            &[("", &[(0, 2), (1, 1)]), ("", &[(0, 3)])],
        ),
        (
            "unknown topic twice",
            &[("unknown", &[(0, 2)]), ("unknown", &[(1, 2), (0, 1)])],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("truncated-twice-{version}-{at}");
        talk.create_topic(&name, 2)?;
        for partition in [0, 0, 0, 1] {
            store(talk, &name, partition, batch(&[T, T])?)?;
        }
        let topics = topics.iter().map(|(suffix, partitions)| {
            let partitions = partitions.iter().map(|(index, offset)| {
                DeleteRecordsPartition::default()
                    .with_partition_index(*index)
                    .with_offset(*offset)
            });
            DeleteRecordsTopic::default()
                .with_name(topic_name(&format!("{name}{suffix}")))
                .with_partitions(partitions.collect())
        });
        let deletion = DeleteRecordsRequest::default()
            .with_timeout_ms(10_000)
            .with_topics(topics.collect());
        talk.ask(what, version, &deletion)?;
        let starts = request(&[(&name, vec![partition(0, -2), partition(1, -2)])]);
        talk.ask(&format!("the starts after {what}"), 5, &starts)?;
    }
    Ok(())
}
