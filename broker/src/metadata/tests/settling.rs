//! The topics follow the broker's settings: at once or after many records, with the same end.

use super::*;
use crate::config::TopicConfig;

fn config(kind: ResourceType, resource: &str, key: &str, value: Option<&str>) -> MetadataRecord {
    MetadataRecord::Config {
        resource_type: kind as i8,
        resource_name: resource.to_owned(),
        name: key.to_owned(),
        value: value.map(str::to_owned),
    }
}

fn created(name: &str) -> MetadataRecord {
    MetadataRecord::Topic {
        name: name.to_owned(),
        topic_id: Uuid::new_v4(),
    }
}

/// What is in force when all records are taken in, with the topics looked at after each or once at the end.
fn in_force(records: &[MetadataRecord], after_each: bool) -> Published {
    let node = broker_config("");
    let mut published = Published::empty(MetadataImage::empty("c"), &node);
    let mut image = MetadataImage::clone(&published.image);
    for record in records {
        image.apply(record).expect("fits");
        if after_each {
            published = published.next(image.clone(), &node);
        }
    }
    published.next(image, &node)
}

fn configs(published: &Published) -> Vec<(Arc<str>, Arc<TopicConfig>)> {
    let topics = published.image.topics();
    topics
        .map(|topic| (topic.name.clone(), published.topic_configs.of(topic)))
        .collect()
}

#[test]
fn the_topics_follow_once_at_the_end_as_they_follow_each_change() {
    use ResourceType::{Broker, Topic};
    let retention = |value| config(Broker, "", "log.retention.ms", value);
    let records = [
        created("before"),
        config(Topic, "before", "segment.ms", Some("7")),
        retention(Some("1000")),
        // Made of settings that will not stay.
        created("between"),
        config(Topic, "between", "segment.ms", Some("8")),
        config(Broker, "1", "log.flush.interval.ms", Some("5")),
        created("plain"),
        retention(None),
        config(Broker, "1", "log.flush.interval.ms", None),
        config(Topic, "before", "segment.ms", None),
    ];
    for length in 0..=records.len() {
        let records = &records[..length];
        let (once, each) = (in_force(records, false), in_force(records, true));
        assert_eq!(once.image, each.image, "{length} records");
        assert_eq!(configs(&once), configs(&each), "{length} records");
    }
}

#[test]
fn a_setting_that_matters_only_beside_a_topics_own_is_followed_too() {
    use ResourceType::{Broker, Topic};
    let records = [
        created("packed"),
        config(Topic, "packed", "compression.type", Some("gzip")),
        config(Broker, "", "compression.gzip.level", Some("7")),
    ];
    for after_each in [false, true] {
        let (_, config) = configs(&in_force(&records, after_each)).remove(0);
        let expected = crate::config::CompressionType::Gzip { level: 7 };
        assert_eq!(config.compression_type, expected);
    }
}

/// Where each of them looked at every topic, or copied all the others, this would take minutes.
#[test]
fn many_settings_in_one_change_cost_what_they_and_the_topics_are_together() {
    let topics = (0..5_000).map(|index| created(&format!("topic-{index}")));
    let back_and_forth = (0..5_000).map(|index| {
        let value = (1000 + index % 2).to_string();
        config(ResourceType::Broker, "", "log.retention.ms", Some(&value))
    });
    let unknown = (0..40_000).map(|index| {
        let key = format!("my.plugin.key.{index}");
        config(ResourceType::Broker, "1", &key, Some("1"))
    });
    let records: Vec<_> = topics.chain(back_and_forth).chain(unknown).collect();
    let found = in_force(&records, false);
    let image = &found.image;
    assert_eq!(image.overrides(ResourceType::Broker, "1").len(), 40_000);
    let follows = |topic: &Arc<TopicImage>| found.topic_configs.of(topic).log.retention_ms == 1001;
    assert!(image.topics().all(follows));
}
