//! Every public call of the admin client, and of the client behind it.

use anyhow::{Context as _, Result, ensure};
use rdkafka::Offset;
use rdkafka::admin::{AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;

use crate::kit::*;

async fn config_of(resource: ResourceSpecifier<'_>, key: &str) -> Result<Option<String>> {
    let found = admin().describe_configs([&resource], &options()).await?;
    let [Ok(found)] = &found[..] else {
        anyhow::bail!("{found:?}");
    };
    Ok(found.get(key).context("the key is told")?.value.clone())
}

pub async fn try_all() {
    topics().await;
    configs().await;
    capability("admin delete_groups", async {
        let group = unique("deleted");
        reading(&group, &[])
            .await?
            .commit_consumer_state(CommitMode::Sync)?;
        let found = admin().delete_groups(&[&group], &options()).await?;
        ensure!(found == [Ok(group.clone())], "{found:?}");
        ensure!(
            committed(&group, 0)? == Offset::Invalid,
            "it is still there"
        );
        Ok(())
    })
    .await;
    client().await;
}

async fn topics() {
    capability("admin create_topics", async {
        let refused = admin()
            .create_topics(
                [&NewTopic::new(topic(), 1, TopicReplication::Fixed(1))],
                &options(),
            )
            .await?;
        ensure!(
            refused
                == [Err((
                    topic().to_owned(),
                    RDKafkaErrorCode::TopicAlreadyExists
                ))],
            "{refused:?}"
        );
        Ok(())
    })
    .await;
    capability("admin create_topics validated only", async {
        let name = unique("not-created");
        let new = NewTopic::new(&name, 3, TopicReplication::Fixed(1));
        let found = admin()
            .create_topics([&new], &options().validate_only(true))
            .await?;
        ensure!(
            found == [Ok(name.clone())] && !is_there(&name)?,
            "{found:?}"
        );
        Ok(())
    })
    .await;
    capability("admin create_topics with replicas", async {
        let name = unique("assigned");
        let new = NewTopic::new(&name, 2, TopicReplication::Variable(&[&[1], &[1]]));
        let found = admin().create_topics([&new], &options()).await?;
        ensure!(found == [Ok(name)], "{found:?}");
        Ok(())
    })
    .await;
    capability("admin delete_topics", async {
        let name = new_topic("deleted", 1, &[]).await?;
        let found = admin().delete_topics(&[&name], &options()).await?;
        ensure!(found == [Ok(name.clone())], "{found:?}");
        until("gone", async || Ok(!is_there(&name)?)).await
    })
    .await;
    capability("admin create_partitions", async {
        let name = new_topic("grown", 1, &[]).await?;
        let found = admin()
            .create_partitions([&NewPartitions::new(&name, 5)], &options())
            .await?;
        ensure!(found == [Ok(name.clone())], "{found:?}");
        until("five partitions", async || Ok(leaders(&name)? == 5)).await
    })
    .await;
    capability("admin delete_records", async {
        let name = new_topic("shortened", 1, &[]).await?;
        produce(&name, (0..10).map(|number| plain(1, number)), &[]).await?;
        let found = admin()
            .delete_records(&list_of(&name, &[(0, Offset::Offset(4))]), &options())
            .await?;
        let found = found.find_partition(&name, 0).context("it is told")?;
        found.error()?;
        ensure!(found.offset() == Offset::Offset(4), "{found:?}");
        Ok(())
    })
    .await;
}

async fn configs() {
    capability("admin describe_configs of a topic", async {
        let found = config_of(ResourceSpecifier::Topic(topic()), "cleanup.policy").await?;
        ensure!(found.as_deref() == Some("delete"), "{found:?}");
        Ok(())
    })
    .await;
    capability("admin describe_configs of a broker", async {
        let found = config_of(ResourceSpecifier::Broker(1), "log.retention.hours").await?;
        ensure!(found.as_deref() == Some("168"), "{found:?}");
        Ok(())
    })
    .await;
    capability("admin alter_configs", async {
        let name = new_topic("altered", 1, &[]).await?;
        let resource = ResourceSpecifier::Topic(&name);
        let found = admin()
            .alter_configs(
                [&AlterConfig::new(resource).set("retention.ms", "5000")],
                &options(),
            )
            .await?;
        ensure!(found.iter().all(Result::is_ok), "{found:?}");
        until("altered", async || {
            Ok(config_of(resource, "retention.ms").await?.as_deref() == Some("5000"))
        })
        .await
    })
    .await;
}

async fn client() {
    capability("client fetch_metadata of all", async {
        ensure!(is_there(topic())?, "not there");
        Ok(())
    })
    .await;
    capability("client fetch_cluster_id", async {
        admin()
            .inner()
            .fetch_cluster_id(TIMEOUT)
            .context("none")
            .map(|_| ())
    })
    .await;
    capability("client fetch_group_list of all", async {
        let group = unique("listed");
        let member = reading(&group, &[]).await?;
        let found = admin().inner().fetch_group_list(None, TIMEOUT)?;
        ensure!(
            found.groups().iter().any(|found| found.name() == group),
            "not there"
        );
        drop(member);
        Ok(())
    })
    .await;
    capability("client fetch_watermarks", async {
        let found = admin().inner().fetch_watermarks(topic(), 0, TIMEOUT)?;
        ensure!(found == (0, 10), "{found:?}");
        Ok(())
    })
    .await;
}

fn is_there(topic: &str) -> Result<bool> {
    let found = admin().inner().fetch_metadata(None, TIMEOUT)?;
    Ok(found.topics().iter().any(|found| found.name() == topic))
}
