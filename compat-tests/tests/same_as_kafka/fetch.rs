//! Fetch: offsets, limits, sessions and errors.

use anyhow::Result;
use bytes::Bytes;
use compat_tests::scenario::{Talk, topic_name};
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use uuid::Uuid;

use super::produce::{batch, store};

const VERSIONS: std::ops::RangeInclusive<i16> = 4..=18;
const UNKNOWN_ID: Uuid = Uuid::from_u128(0x1234_5678_0000_4000_8000_0000_0000_0001);
const UNLIMITED: i32 = 1 << 20;

/// A topic by name or by id, as the version wants it.
fn topic(version: i16, topic: (&str, Uuid), partitions: Vec<FetchPartition>) -> FetchTopic {
    let wanted = FetchTopic::default().with_partitions(partitions);
    if version >= 13 {
        wanted.with_topic_id(topic.1)
    } else {
        wanted.with_topic(topic_name(topic.0))
    }
}

fn partition(index: i32, offset: i64) -> FetchPartition {
    FetchPartition::default()
        .with_partition(index)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(UNLIMITED)
}

fn request(topics: Vec<FetchTopic>) -> FetchRequest {
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(100)
        .with_min_bytes(0)
        .with_max_bytes(UNLIMITED)
        .with_session_epoch(-1)
        .with_topics(topics)
}

/// A topic whose partitions hold as many batches of three records as `batches` says.
fn filled_topic(talk: &mut Talk<'_>, name: &str, batches: &[usize]) -> Result<(Uuid, Bytes)> {
    let id = talk.create_topic(name, i32::try_from(batches.len())?)?;
    let records = batch(&[1_700_000_000_000, 1_700_000_000_001, 1_700_000_000_002])?;
    for (partition, count) in (0..).zip(batches) {
        for _ in 0..*count {
            store(talk, name, partition, records.clone())?;
        }
    }
    Ok((id, records))
}

pub fn offsets_and_errors(talk: &mut Talk<'_>) -> Result<()> {
    let (id, _) = filled_topic(talk, "fetch", &[2, 1, 0])?;
    let known = ("fetch", id);
    let unknown = ("fetch-unknown", UNKNOWN_ID);
    for version in VERSIONS {
        let mut ask = |what: &str, topics: Vec<FetchTopic>| {
            talk.ask(what, version, &request(topics)).map(|_| ())
        };
        ask(
            "from the start",
            vec![topic(version, known, vec![partition(0, 0)])],
        )?;
        ask(
            "inside a batch",
            vec![topic(
                version,
                known,
                vec![partition(0, 1), partition(1, 2)],
            )],
        )?;
        ask(
            "second batch",
            vec![topic(version, known, vec![partition(0, 3)])],
        )?;
        ask(
            "at the end",
            vec![topic(version, known, vec![partition(0, 6)])],
        )?;
        ask("empty", vec![topic(version, known, vec![partition(2, 0)])])?;
        ask(
            "behind the end",
            vec![topic(version, known, vec![partition(0, 7)])],
        )?;
        ask(
            "far behind and good",
            vec![topic(
                version,
                known,
                vec![partition(0, 99), partition(1, 0)],
            )],
        )?;
        ask(
            "negative",
            vec![topic(version, known, vec![partition(0, -1)])],
        )?;
        ask(
            "unknown partition",
            vec![topic(
                version,
                known,
                vec![partition(9, 0), partition(1, 0)],
            )],
        )?;
        ask(
            "negative partition",
            vec![topic(version, known, vec![partition(-1, 0)])],
        )?;
        ask(
            "unknown topic",
            vec![topic(version, unknown, vec![partition(0, 0)])],
        )?;
        ask(
            "unknown and known",
            vec![
                topic(version, unknown, vec![partition(0, 0)]),
                topic(version, known, vec![partition(1, 0)]),
            ],
        )?;
        ask(
            "several",
            vec![topic(
                version,
                known,
                vec![partition(2, 0), partition(1, 0), partition(0, 0)],
            )],
        )?;
        ask(
            "one twice",
            vec![topic(
                version,
                known,
                vec![partition(1, 0), partition(1, 1)],
            )],
        )?;
        ask(
            "topic twice",
            vec![
                topic(version, known, vec![partition(1, 0)]),
                topic(version, known, vec![partition(0, 3)]),
            ],
        )?;
        ask("nothing", vec![])?;
        ask("no partitions", vec![topic(version, known, vec![])])?;
        if version >= 13 {
            ask(
                "no id",
                vec![topic(version, ("", Uuid::nil()), vec![partition(0, 0)])],
            )?;
        }
        let whole = vec![topic(version, known, vec![partition(0, 0)])];
        talk.ask(
            "committed",
            version,
            &request(whole.clone()).with_isolation_level(1),
        )?;
        talk.ask(
            "isolation level 7",
            version,
            &request(whole.clone()).with_isolation_level(7),
        )?;
        if version >= 9 {
            for epoch in [-1, 0, 1, 5, -2] {
                let wanted = partition(0, 0).with_current_leader_epoch(epoch);
                let asked = request(vec![topic(version, known, vec![wanted])]);
                talk.ask(&format!("leader epoch {epoch}"), version, &asked)?;
            }
        }
        if version >= 12 {
            for (epoch, offset) in [(0, 0), (0, 6), (0, 9), (1, 0), (1, 6), (5, 9), (-2, 0)] {
                let wanted = partition(0, offset).with_last_fetched_epoch(epoch);
                let asked = request(vec![topic(version, known, vec![wanted])]);
                talk.ask(
                    &format!("fetched epoch {epoch} offset {offset}"),
                    version,
                    &asked,
                )?;
            }
        }
        if version < 15 {
            talk.ask(
                "as a follower",
                version,
                &request(whole.clone()).with_replica_id(1.into()),
            )?;
            talk.ask(
                "as an unknown follower",
                version,
                &request(whole).with_replica_id(7.into()),
            )?;
        }
    }
    Ok(())
}

pub fn limits(talk: &mut Talk<'_>) -> Result<()> {
    let (id, records) = filled_topic(talk, "limits", &[3, 3, 3])?;
    let known = ("limits", id);
    let size = i32::try_from(records.len())?;
    for version in [4, 7, 11, 13, 17] {
        let limits = [
            (9, 9),
            (9, 2),
            (4, 2),
            (3, 2),
            (2, 2),
            (1, 1),
            (0, 9),
            (9, 0),
            (0, 0),
            (-1, 9),
            (9, -1),
        ];
        for (max_bytes, partition_max_bytes) in limits {
            for (less, what) in [(0, "batches"), (1, "batches less one byte")] {
                let bytes = |batches: i32| {
                    if batches > 0 {
                        batches * size - less
                    } else {
                        batches
                    }
                };
                let partitions = (0..3).map(|index| {
                    partition(index, 0).with_partition_max_bytes(bytes(partition_max_bytes))
                });
                let request = request(vec![topic(version, known, partitions.collect())])
                    .with_max_bytes(bytes(max_bytes));
                talk.ask(
                    &format!("{max_bytes}, {partition_max_bytes} each, {what}"),
                    version,
                    &request,
                )?;
            }
        }
        // Inside the second batch: what is before the offset counts as well.
        for batches in [1, 2] {
            let wanted = partition(0, 4).with_partition_max_bytes(batches * size);
            let request = request(vec![topic(version, known, vec![wanted])]);
            talk.ask(
                &format!("{batches} batches from inside one"),
                version,
                &request,
            )?;
        }
    }
    Ok(())
}

pub fn sessions(talk: &mut Talk<'_>) -> Result<()> {
    for version in [7, 12, 13, 17] {
        let name = format!("sessions-{version}");
        let (id, records) = filled_topic(talk, &name, &[1, 1, 0])?;
        let known = (name.as_str(), id);
        let of = |partitions: Vec<FetchPartition>| vec![topic(version, known, partitions)];
        let session = |id: i32, epoch: i32, topics: Vec<FetchTopic>| {
            request(topics)
                .with_session_id(id)
                .with_session_epoch(epoch)
        };
        let begun = talk.ask(
            "begin",
            version,
            &session(0, 0, of(vec![partition(0, 0), partition(1, 3)])),
        )?;
        let mine = begun.session_id;
        talk.ask("records once more", version, &session(mine, 1, vec![]))?;
        talk.ask(
            "moved on, no news",
            version,
            &session(mine, 2, of(vec![partition(0, 3)])),
        )?;
        talk.ask(
            "a partition more",
            version,
            &session(mine, 3, of(vec![partition(2, 0)])),
        )?;
        talk.ask("no news again", version, &session(mine, 4, vec![]))?;
        store(talk, &name, 1, records.clone())?;
        talk.ask("one has news", version, &session(mine, 5, vec![]))?;
        talk.ask(
            "it gives its records again",
            version,
            &session(mine, 6, vec![]),
        )?;
        talk.ask(
            "out of range",
            version,
            &session(mine, 7, of(vec![partition(1, 99)])),
        )?;
        talk.ask("still out of range", version, &session(mine, 8, vec![]))?;
        talk.ask(
            "back in range",
            version,
            &session(mine, 9, of(vec![partition(1, 6)])),
        )?;
        talk.ask(
            "unknown partition",
            version,
            &session(mine, 10, of(vec![partition(9, 0)])),
        )?;
        talk.ask("still unknown", version, &session(mine, 11, vec![]))?;
        let forget = |partitions: Vec<i32>| {
            let topic = ForgottenTopic::default().with_partitions(partitions);
            vec![if version >= 13 {
                topic.with_topic_id(id)
            } else {
                topic.with_topic(topic_name(&name))
            }]
        };
        let forgetting = session(mine, 12, vec![]).with_forgotten_topics_data(forget(vec![9, 0]));
        talk.ask("forget", version, &forgetting)?;
        let unheard_of = session(mine, 13, vec![]).with_forgotten_topics_data(forget(vec![7]));
        talk.ask("forget what it does not have", version, &unheard_of)?;
        talk.ask("wrong epoch", version, &session(mine, 99, vec![]))?;
        talk.ask("old epoch", version, &session(mine, 1, vec![]))?;
        talk.ask("goes on all the same", version, &session(mine, 14, vec![]))?;
        talk.ask(
            "unknown session",
            version,
            &session(mine.wrapping_add(1), 1, vec![]),
        )?;
        talk.ask("no session", version, &session(0, 1, vec![]))?;
        if version == 12 {
            let by_id = session(mine, 15, vec![topic(13, known, vec![partition(0, 0)])]);
            talk.ask("by id from now on", 13, &by_id)?;
        }
        if version == 13 {
            let by_name = session(mine, 15, vec![topic(12, known, vec![partition(0, 0)])]);
            talk.ask("by name from now on", 12, &by_name)?;
        }
        let all_gone = session(mine, 15, vec![]).with_forgotten_topics_data(forget(vec![1, 2]));
        talk.ask("forget all", version, &all_gone)?;
        talk.ask("after that", version, &session(mine, 16, vec![]))?;
        let begun = talk.ask(
            "begin again",
            version,
            &session(0, 0, of(vec![partition(0, 3)])),
        )?;
        talk.ask(
            "end",
            version,
            &session(begun.session_id, -1, of(vec![partition(0, 3)])),
        )?;
        talk.ask(
            "after the end",
            version,
            &session(begun.session_id, 1, vec![]),
        )?;
        let begun = talk.ask(
            "begin once more",
            version,
            &session(0, 0, of(vec![partition(0, 3)])),
        )?;
        let anew = session(begun.session_id, 0, of(vec![partition(1, 6)]));
        let begun = talk.ask("in place of the old one", version, &anew)?;
        talk.ask(
            "the new one",
            version,
            &session(begun.session_id, 1, vec![]),
        )?;
    }
    // Last: it takes a session's place in the count.
    let nothing = request(vec![]).with_session_epoch(0);
    talk.ask("begin with nothing", 12, &nothing)?;
    Ok(())
}
