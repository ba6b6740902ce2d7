//! Metadata without a broker around it.

mod acls;
mod log;
mod others;
mod records;
mod rules;
mod settling;

use std::sync::Arc;

use super::*;
use crate::config::Properties;

impl Metadata {
    /// Without the topics that the log knows as deleted.
    pub(crate) async fn open(
        store: Box<dyn MetadataStore>,
        cluster_id: &str,
        config: Arc<BrokerConfig>,
        observer: Observer,
    ) -> Result<Self, OpenError> {
        let opened = Self::open_with_history(store, cluster_id, config, observer);
        Ok(opened.await?.0)
    }
}

/// A broker's configuration from `key=value` lines.
fn broker_config(lines: &str) -> Arc<BrokerConfig> {
    let pairs = lines.lines().filter_map(|line| line.split_once('='));
    let properties: Properties = pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    Arc::new(BrokerConfig::from_properties(properties).expect("valid").0)
}

/// Metadata in memory, as good as a log for everything but crashes.
async fn in_memory(lines: &str) -> Metadata {
    let manager = storage::memory::open();
    let log = manager
        .open_log(metadata_log_id(), Arc::new(metadata_log_config()))
        .expect("open");
    let store = Box::new(MetadataLog::new(log));
    let config = broker_config(lines);
    Metadata::open(store, "test-cluster", config, Arc::new(|_, _| {}))
        .await
        .expect("open")
}

fn topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic {
        placement: Placement::Counts {
            partitions,
            replication_factor: -1,
        },
        ..NewTopic::with_defaults(name)
    }
}

async fn create(metadata: &Metadata, topic: NewTopic) -> Result<Arc<TopicImage>, MetadataError> {
    let mut outcomes = metadata.create_topics(vec![topic], false).await;
    outcomes.pop().expect("one outcome")
}
