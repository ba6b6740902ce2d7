//! What coordinators do about topics that other brokers have made or deleted.
//!
//! A shard may have to end a transaction whose time is up, whether a client asks for it or not. So the shards are there as soon
//! as their topic is, whoever has made it.

#![expect(clippy::disallowed_methods, reason = "a coordinator works for itself")]

use std::sync::Arc;

use coordinators::group::DeletedTopic;

use crate::broker::Broker;
use crate::log_limited;

/// Follows the metadata until the broker shuts down.
pub(crate) async fn follow(broker: Arc<Broker>) {
    let mut shutdown = broker.shutdown_signal();
    let mut news = broker.metadata.version();
    let mut before = broker.metadata.image();
    loop {
        news.borrow_and_update();
        let now = broker.metadata.image();
        if let Err(error) = broker.groups.load().await {
            log_limited!(warn, "cannot load the groups: {error}");
        }
        if let Err(error) = broker.transactions.load().await {
            log_limited!(warn, "cannot load the transactions: {error}");
        }
        let mut deleted = Vec::new();
        now.changes_since(&before, |before, after| {
            if let (Some(topic), None) = (before, after) {
                deleted.push(DeletedTopic {
                    name: Arc::clone(&topic.name),
                    topic_id: topic.topic_id,
                });
            }
        });
        broker.groups.topics_deleted(deleted).await;
        before = now;
        tokio::select! {
            _ = shutdown.wait_for(|down| *down) => return,
            changed = news.changed() => if changed.is_err() {
                return;
            },
        }
    }
}
