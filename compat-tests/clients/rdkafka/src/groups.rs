//! Groups with each assignor, in both protocols; forms of commit; what a consumer asks besides.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::kit::*;

const KIP_848: (&str, &str) = ("group.protocol", "consumer");
const BOTH: [(i32, Offset); 2] = [(0, Offset::Offset(10)), (1, Offset::Offset(10))];

pub async fn try_all() {
    for assignor in ["range", "roundrobin", "cooperative-sticky"] {
        capability(&format!("group {assignor}"), async move {
            share(&[("partition.assignment.strategy", assignor)]).await
        })
        .await;
    }
    capability(
        "group of KIP-848, range",
        share(&[KIP_848, ("group.remote.assignor", "range")]),
    )
    .await;
    capability(
        "group of KIP-848, uniform",
        share(&[KIP_848, ("group.remote.assignor", "uniform")]),
    )
    .await;
    capability("group of static members", static_members()).await;
    capability("subscribe by pattern", by_pattern(&[])).await;
    capability("subscribe by pattern, KIP-848", by_pattern(&[KIP_848])).await;
    commits().await;
    questions().await;
}

/// Hands on what it takes until the time is up.
async fn poll(consumer: &StreamConsumer, seen: &mut BTreeSet<(i32, i64)>) -> Result<usize> {
    while let Ok(message) = tokio::time::timeout(Duration::from_millis(50), consumer.recv()).await {
        let message = message?;
        seen.insert((message.partition(), message.offset()));
    }
    Ok(consumer.assignment()?.count())
}

/// Two members share a topic's partitions; the first takes all when the second has gone.
async fn share(settings: Settings<'_>) -> Result<()> {
    let (topic, group) = (new_topic("shared", 4, &[]).await?, unique("group"));
    produce(&topic, (0..40).map(|number| plain(4, number)), &[]).await?;
    let (first, second) = (
        consumer_of(&group, settings)?,
        consumer_of(&group, settings)?,
    );
    first.subscribe(&[&topic])?;
    second.subscribe(&[&topic])?;
    let mut seen = BTreeSet::new();
    until("two each", async || {
        Ok((
            poll(&first, &mut seen).await?,
            poll(&second, &mut seen).await?,
        ) == (2, 2))
    })
    .await?;
    drop(second);
    until("all for the one that is left", async || {
        Ok(poll(&first, &mut seen).await? == 4)
    })
    .await?;
    until("every message", async || {
        poll(&first, &mut seen).await?;
        Ok(seen.len() == 40)
    })
    .await
}

async fn static_members() -> Result<()> {
    let group = unique("static");
    for _ in 0..2 {
        let member = reading(
            &group,
            &[
                ("group.instance.id", "one"),
                ("session.timeout.ms", "10000"),
            ],
        )
        .await?;
        drop(member);
    }
    Ok(())
}

async fn by_pattern(settings: Settings<'_>) -> Result<()> {
    let prefix = unique("pattern");
    let consumer = consumer_of(&unique("group"), settings)?;
    for end in ["a", "b"] {
        let name = format!("{prefix}-{end}");
        create(&name, 1, &[]).await?;
        produce(&name, (0..5).map(|number| plain(1, number)), &[]).await?;
    }
    consumer.subscribe(&[&format!("^{prefix}-.*")])?;
    let topics: BTreeSet<_> = take(&consumer, 10)
        .await?
        .iter()
        .map(|message| message.topic().to_owned())
        .collect();
    ensure!(topics.len() == 2, "{topics:?}");
    Ok(())
}

async fn commits() {
    capability("commit synchronous", async {
        let group = unique("commit");
        reading(&group, &[])
            .await?
            .commit_consumer_state(CommitMode::Sync)?;
        ensure!(
            (committed(&group, 0)?, committed(&group, 1)?)
                == (Offset::Offset(10), Offset::Offset(10)),
            "not committed"
        );
        Ok(())
    })
    .await;
    capability("commit asynchronous", async {
        let group = unique("commit");
        let consumer = reading(&group, &[]).await?;
        consumer.commit_consumer_state(CommitMode::Async)?;
        until("committed", async || {
            Ok(committed(&group, 0)? == Offset::Offset(10))
        })
        .await?;
        drop(consumer);
        Ok(())
    })
    .await;
    capability("commit of one message", async {
        let group = unique("commit");
        let consumer = consumer_of(&group, &[])?;
        consumer.assign(&list(&[(0, Offset::Offset(4))]))?;
        consumer.commit_message(&consumer.recv().await?, CommitMode::Sync)?;
        ensure!(committed(&group, 0)? == Offset::Offset(5), "not committed");
        Ok(())
    })
    .await;
    capability("commit of offsets", async {
        let group = unique("commit");
        let consumer = reading(&group, &[]).await?;
        consumer.commit(
            &list(&[(0, Offset::Offset(3)), (1, Offset::Offset(4))]),
            CommitMode::Sync,
        )?;
        ensure!(
            (committed(&group, 0)?, committed(&group, 1)?)
                == (Offset::Offset(3), Offset::Offset(4)),
            "not committed"
        );
        Ok(())
    })
    .await;
    capability("commit with metadata", async {
        let consumer = reading(&unique("commit"), &[]).await?;
        let offsets = list(&[(0, Offset::Offset(3))]);
        offsets
            .find_partition(topic(), 0)
            .context("it is there")?
            .set_metadata("mine \u{e9}");
        consumer.commit(&offsets, CommitMode::Sync)?;
        let found = consumer.committed(TIMEOUT)?;
        let metadata = found
            .find_partition(topic(), 0)
            .context("it is told")?
            .metadata()
            .to_owned();
        ensure!(metadata == "mine \u{e9}", "{metadata}");
        Ok(())
    })
    .await;
    capability("commit without joining", async {
        let group = unique("commit");
        consumer_of(&group, &[])?.commit(&list(&[(0, Offset::Offset(6))]), CommitMode::Sync)?;
        ensure!(committed(&group, 0)? == Offset::Offset(6), "not committed");
        Ok(())
    })
    .await;
    capability("commit automatic", async {
        let group = unique("commit");
        let consumer = reading(
            &group,
            &[
                ("enable.auto.commit", "true"),
                ("auto.commit.interval.ms", "100"),
            ],
        )
        .await?;
        until("committed", async || {
            Ok(committed(&group, 0)? == Offset::Offset(10))
        })
        .await?;
        drop(consumer);
        Ok(())
    })
    .await;
    for (name, of_message) in [
        ("commit of stored offsets", false),
        ("commit of the stored offset of a message", true),
    ] {
        capability(name, async move {
            let group = unique("commit");
            let settings = [
                ("enable.auto.commit", "true"),
                ("enable.auto.offset.store", "false"),
            ];
            let consumer = consumer_of(&group, &settings)?;
            consumer.assign(&list(&[(0, Offset::Offset(1))]))?;
            let message = consumer.recv().await?;
            if of_message {
                consumer.store_offset_from_message(&message)?;
            } else {
                consumer.store_offset(topic(), 0, message.offset())?;
            }
            consumer.commit_consumer_state(CommitMode::Sync)?;
            ensure!(committed(&group, 0)? == Offset::Offset(2), "not committed");
            Ok(())
        })
        .await;
    }
    capability("a group goes on where it has committed", async {
        let group = unique("commit");
        let consumer = reading(&group, &[]).await?;
        consumer.commit(
            &list(&[(0, Offset::Offset(8)), (1, Offset::Offset(9))]),
            CommitMode::Sync,
        )?;
        drop(consumer);
        let consumer = consumer_of(&group, &[])?;
        consumer.subscribe(&[topic()])?;
        let mut found: Vec<_> = take(&consumer, 3)
            .await?
            .iter()
            .map(|message| (message.partition(), message.offset()))
            .collect();
        found.sort_unstable();
        ensure!(found == [(0, 8), (0, 9), (1, 9)], "{found:?}");
        Ok(())
    })
    .await;
}

/// What a consumer asks besides records.
async fn questions() {
    capability("consumer fetch_metadata of all", async {
        let found = consumer_of(&unique("asks"), &[])?.fetch_metadata(None, TIMEOUT)?;
        let partitions = found
            .topics()
            .iter()
            .find(|found| found.name() == topic())
            .context("the topic")?
            .partitions()
            .len();
        ensure!(
            partitions == 2 && found.brokers().len() == broker_count(),
            "{partitions} partitions"
        );
        Ok(())
    })
    .await;
    capability("consumer fetch_metadata of one", async {
        let found = consumer_of(&unique("asks"), &[])?.fetch_metadata(Some(topic()), TIMEOUT)?;
        ensure!(
            found.topics().len() == 1 && found.topics()[0].partitions().len() == 2,
            "other topics"
        );
        Ok(())
    })
    .await;
    capability("consumer fetch_watermarks", async {
        let found = consumer_of(&unique("asks"), &[])?.fetch_watermarks(topic(), 0, TIMEOUT)?;
        ensure!(found == (0, 10), "{found:?}");
        Ok(())
    })
    .await;
    for all in [true, false] {
        capability(
            &format!(
                "consumer fetch_group_list of {}",
                if all { "all" } else { "one" }
            ),
            async move {
                let group = unique("listed");
                let consumer = reading(&group, &[]).await?;
                let found = consumer
                    .fetch_group_list(Some(&group).filter(|_| !all).map(String::as_str), TIMEOUT)?;
                let found = found
                    .groups()
                    .iter()
                    .find(|found| found.name() == group)
                    .context("the group")?;
                ensure!(
                    (found.state(), found.protocol(), found.members().len())
                        == ("Stable", "range", 1),
                    "{found:?}"
                );
                Ok(())
            },
        )
        .await;
    }
    capability("consumer committed and position", async {
        let consumer = reading(&unique("position"), &[]).await?;
        consumer.commit_consumer_state(CommitMode::Sync)?;
        let (committed, position) = (consumer.committed(TIMEOUT)?, consumer.position()?);
        for (partition, offset) in BOTH {
            let of = |list: &TopicPartitionList| {
                list.find_partition(topic(), partition)
                    .map(|found| found.offset())
            };
            ensure!(
                of(&committed) == Some(offset) && of(&position) == Some(offset),
                "{committed:?} {position:?}"
            );
        }
        Ok(())
    })
    .await;
    capability("consumer offsets_for_timestamp", async {
        let consumer = reading(&unique("times"), &[]).await?;
        let found = consumer.offsets_for_timestamp(now_ms() + 5, TIMEOUT)?;
        let offset = found
            .find_partition(topic(), 0)
            .context("it is told")?
            .offset();
        ensure!(offset == Offset::Offset(3), "{found:?}");
        Ok(())
    })
    .await;
}
