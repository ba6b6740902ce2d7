//! The topics follow the broker's settings: at once or after many records, with the same end.

use super::*;

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

/// The image that the records lead to, with the topics looked at after each or once at the end.
fn image(records: &[MetadataRecord], after_each: bool) -> MetadataImage {
    let mut image = MetadataImage::empty("c", broker_config(""));
    for record in records {
        match after_each {
            true => image.apply(record),
            false => image.apply_unsettled(record),
        }
        .expect("fits");
    }
    image.settle();
    image
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
        assert_eq!(
            image(records, false),
            image(records, true),
            "{length} records"
        );
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
    let image = image(&records, false);
    assert_eq!(image.overrides(ResourceType::Broker, "1").len(), 40_000);
    let follows = |topic: &Arc<TopicImage>| topic.config.log.retention_ms == 1001;
    assert!(image.topics().all(follows));
}
