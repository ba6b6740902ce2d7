//! The engines that every rule of the contract is tried on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use storage::env::clock::{Clock, SystemClock};
use storage::local::{self, LocalConfig};
use storage::log::{Durability, LogStore, PartitionLog};
use storage::memory;

use crate::common::cluster::{Broker, Cluster, brisk};
use crate::common::{open, small};

/// It began in 1970, as the timestamps of records do in the tests: nothing is too old to be kept.
#[derive(Debug, Default)]
struct EarlyClock(SystemClock);

impl Clock for EarlyClock {
    fn now_ms(&self) -> i64 {
        self.0.monotonic_ms() as i64
    }

    fn monotonic_ms(&self) -> u64 {
        self.0.monotonic_ms()
    }
}

/// A manager, and the directory that goes with it.
pub struct Fixture {
    pub manager: Arc<dyn LogStore>,
    pub _dir: Option<tempfile::TempDir>,
    _broker: Option<Broker>,
}

impl Fixture {
    pub fn in_memory() -> Self {
        Self {
            manager: memory::open(),
            _dir: None,
            _broker: None,
        }
    }

    pub fn on_files(durability: Durability) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let manager = local::open(LocalConfig {
            durability,
            ..small(dir.path())
        })
        .expect("an empty directory opens");
        Self {
            manager,
            _dir: Some(dir),
            _broker: None,
        }
    }

    pub fn in_object_storage() -> Self {
        Self::of(Cluster::new(0).broker(1))
    }

    /// What is written is merged, trimmed and removed all the time.
    pub fn in_object_storage_that_is_kept_small() -> Self {
        let cluster = Cluster::new(0);
        Self::of(cluster.broker_with(1, |config| {
            config.clock = Arc::new(EarlyClock::default());
            config.upkeep = cluster.upkeep(brisk());
        }))
    }

    /// Database and object store refuse calls, and lose answers, also those of jobs that are always at it.
    pub fn in_faulty_object_storage() -> Self {
        let seed = crate::common::seeds(1).start;
        let cluster = Cluster::new(seed);
        cluster.objects.change(|faults| {
            faults.latency = Duration::ZERO..Duration::from_millis(3);
            faults.refused = 30;
            faults.answer_lost = 30;
        });
        let broker = cluster.broker_with(1, |config| {
            config.clock = Arc::new(EarlyClock::default());
            config.upkeep = cluster.upkeep(brisk());
        });
        broker.faults.refused.store(30, Ordering::Relaxed);
        broker.faults.answer_lost.store(50, Ordering::Relaxed);
        Self::of(broker)
    }

    fn of(broker: Broker) -> Self {
        Self {
            manager: Arc::clone(&broker.store),
            _dir: None,
            _broker: Some(broker),
        }
    }

    pub fn log(&self) -> Arc<dyn PartitionLog> {
        open(&self.manager, "topic", 0)
    }
}

/// Makes a test of each rule for each kind of log.
macro_rules! contract {
    ($($rule:ident)*) => {
        mod in_memory {
            $(#[tokio::test] async fn $rule() { super::$rule(super::Fixture::in_memory()).await })*
        }
        mod on_files {
            $(#[tokio::test] async fn $rule() {
                super::$rule(super::Fixture::on_files(storage::log::Durability::Strict)).await
            })*
        }
        mod on_files_in_the_page_cache {
            $(#[tokio::test] async fn $rule() {
                super::$rule(super::Fixture::on_files(storage::log::Durability::Os)).await
            })*
        }
        mod in_object_storage {
            $(#[tokio::test] async fn $rule() { super::$rule(super::Fixture::in_object_storage()).await })*
        }
        mod in_object_storage_that_is_kept_small {
            $(#[tokio::test] async fn $rule() {
                super::$rule(super::Fixture::in_object_storage_that_is_kept_small()).await
            })*
        }
        mod in_faulty_object_storage {
            $(#[tokio::test] async fn $rule() {
                super::$rule(super::Fixture::in_faulty_object_storage()).await
            })*
        }
    };
}
