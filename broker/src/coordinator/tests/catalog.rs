//! What groups are told of their settings.

use coordinators::group::Catalog as _;

use super::metadata;
use crate::metadata::{AlterConfig, ConfigChange, Operation, ResourceType};

#[tokio::test]
async fn a_groups_setting_goes_over_that_of_this_broker_and_that_over_the_one_of_all() {
    let metadata = metadata().await;
    let key = "consumer.assignment.interval.ms";
    let of_broker = format!("group.{key}");
    let told = || metadata.published().group_setting("g", key);
    assert_eq!(told(), None);
    for (resource_type, name, key, value, expected) in [
        (
            ResourceType::Broker,
            "",
            of_broker.as_str(),
            Some("2000"),
            2000,
        ),
        (ResourceType::Broker, "1", &of_broker, Some("3000"), 3000),
        (ResourceType::Group, "g", key, Some("4000"), 4000),
        (ResourceType::Group, "other", key, Some("5000"), 4000),
        (ResourceType::Group, "g", key, None, 3000),
        (ResourceType::Broker, "1", &of_broker, None, 2000),
    ] {
        let operation = match value {
            Some(_) => Operation::Set,
            None => Operation::Delete,
        };
        let value = value.map(str::to_owned);
        let alter = AlterConfig {
            resource_type,
            resource_name: name.to_owned(),
            change: ConfigChange::Incremental(vec![(key.to_owned(), operation, value)]),
        };
        let altered = metadata.alter_configs(vec![alter], false).await;
        assert_eq!(altered, [Ok(())]);
        assert_eq!(told(), Some(expected), "{resource_type:?} {name}");
    }
}
