//! Computes targets of large consumer groups, where no shard has to wait for it.

use std::sync::{Arc, Weak};

use coordinators::group::{ComputedTarget, TargetQuestion};
use tokio::sync::Semaphore;

/// Assignors that are at work at the same time; Kafka's coordinator has as many background threads. Others wait in order.
const AT_WORK: usize = 2;

/// See the [module](self).
pub(crate) struct Assignors {
    turns: Arc<Semaphore>,
}

impl Default for Assignors {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(AT_WORK)),
        }
    }
}

impl Assignors {
    /// Computes a target when its turn has come. `None` if nobody waits for it any more.
    ///
    /// # Panics
    /// If the assignor does: no group would ask again.
    pub(crate) async fn compute(&self, asked: Weak<TargetQuestion>) -> Option<ComputedTarget> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let question = asked.upgrade()?;
        let computed = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            question.compute()
        });
        match computed.await {
            Ok(computed) => Some(computed),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime goes down.
            Err(_) => None,
        }
    }
}
