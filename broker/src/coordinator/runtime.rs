//! What the tasks of all coordinators work with, and what each coordinator adds.

#![expect(clippy::disallowed_methods, reason = "a coordinator works for itself")]

use std::fmt;
use std::sync::Arc;

use coordinators::machine::{Machine, Moment};
use storage::log::{LogStore, PartitionLog};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::cluster::view::ClusterView;
use crate::coordinator::stats::TransactionStats;
use crate::metadata::{Metadata, Published};
use crate::partition::registry::PartitionRegistry;

/// `max.message.bytes` before there is a topic.
const DEFAULT_BATCH_BYTES: usize = 1_048_588;
/// Whatever `max.message.bytes` says: a region of the write-ahead log takes a batch of this size, and a record that the
/// broker makes may be larger.
const MAX_BATCH_BYTES: usize = 16 << 20;

/// What all coordinators of a broker work with.
#[derive(Clone)]
pub(crate) struct Runtime {
    pub metadata: Metadata,
    pub clock: Clock,
    pub cluster: Arc<ClusterView>,
    /// No other broker has these logs, now or later.
    pub is_alone: bool,
    pub logs: Arc<dyn LogStore>,
    pub partitions: Arc<PartitionRegistry>,
    pub stats: Arc<TransactionStats>,
    /// Turns true when the broker shuts down.
    pub shutdown: watch::Receiver<bool>,
}

/// What a shard works with.
pub(super) struct Surroundings<O: Outside> {
    pub(super) log: Arc<dyn PartitionLog>,
    pub(super) runtime: Runtime,
    pub(super) outside: Arc<O>,
    /// Turns true when the log is deleted.
    pub(super) gone: watch::Receiver<bool>,
}

impl<O: Outside> Surroundings<O> {
    /// Whether the shard is this broker's, by the view: whoever leads its log serves it.
    pub(super) fn is_ours(&self) -> bool {
        let (log, cluster) = (self.log.id(), &self.runtime.cluster);
        let is_led = || cluster.leader_for(log.topic_id, log.partition, None) == cluster.me();
        self.runtime.is_alone || is_led()
    }

    pub(super) fn now(&self) -> Moment<<O::Machine as Machine>::Catalog> {
        let published = self.runtime.metadata.published();
        Moment {
            steady_ms: self.runtime.clock.steady_ms(),
            wall_ahead_ms: self.runtime.clock.wall_ahead_ms(),
            max_batch_bytes: self.max_batch_bytes(&published),
            catalog: self.outside.catalog(&published),
        }
    }

    /// The largest batch that the log takes: `max.message.bytes` of its topic.
    pub(super) fn max_batch_bytes(&self, published: &Published) -> usize {
        let topic = published.image.topic(&self.log.id().topic);
        let configs = &published.topic_configs;
        let of_topic = topic.map(|topic| configs.of(topic).max_message_bytes);
        of_topic.unwrap_or(DEFAULT_BATCH_BYTES).min(MAX_BATCH_BYTES)
    }
}

/// What a coordinator adds to the runtime: whatever its machines need and cannot do themselves.
pub trait Outside: Send + Sync + 'static {
    type Machine: Machine;
    /// The topic that the logs of its machines make up. It is created at the first use.
    const TOPIC: &'static str;
    /// What one of its tasks is called.
    const NAME: &'static str;

    /// A machine without a log.
    fn machine(&self) -> Self::Machine;

    /// The metadata, as the machine sees it. It must be the same pointer for what was published together.
    fn catalog(&self, published: &Arc<Published>) -> Arc<<Self::Machine as Machine>::Catalog>;

    /// A note in words, for a line of the log.
    fn line(note: <Self::Machine as Machine>::Note) -> impl fmt::Display;

    /// Finds out what a machine asks. `None` if nobody waits for the answer any more. A panic ends the broker, for the machine
    /// would wait for ever.
    fn answer(
        self: Arc<Self>,
        question: <Self::Machine as Machine>::Question,
        published: Arc<Published>,
    ) -> impl Future<Output = Option<<Self::Machine as Machine>::Outcome>> + Send + 'static;
}
