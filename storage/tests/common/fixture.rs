//! The engines that every rule of the contract is tried on.

use std::sync::Arc;

use storage::local::{self, LocalConfig};
use storage::log::{Durability, LogStore, PartitionLog};
use storage::memory;

use crate::common::{open, small};

/// A manager, and the directory that goes with it.
pub struct Fixture {
    pub manager: Arc<dyn LogStore>,
    pub _dir: Option<tempfile::TempDir>,
}

impl Fixture {
    pub fn in_memory() -> Self {
        Self {
            manager: memory::open(),
            _dir: None,
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
    };
}
