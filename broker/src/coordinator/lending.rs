//! How others append to the log of a shard.
//!
//! A machine must know everything that is in its log, so only its task appends there. But the end of a transaction goes to
//! several logs at once, and some of them may be a shard's. So a shard lends its log between two of its steps: until it has
//! it back it appends nothing, and then its machine takes in what was appended meanwhile.

use std::sync::Arc;

use coordinators::machine::{EndTxn, Refused};
use dashmap::DashMap;
use storage::log::{PendingAppend, TopicPartition};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// Askers that may wait for one log before further ones wait for them.
const WAITING: usize = 64;

/// The logs that belong to shards.
#[derive(Default)]
pub(crate) struct Lending {
    lenders: DashMap<(Uuid, i32), mpsc::Sender<oneshot::Sender<Loan>>>,
}

/// A shard's log, to append to. It goes back when this is dropped.
pub(crate) struct Loan {
    back: oneshot::Sender<Marked>,
}

/// A marker that was put into the log of a shard.
pub(super) struct Marked {
    pub(super) end: EndTxn,
    pub(super) append: PendingAppend,
}

/// The side of the shard that lends its log.
pub(super) struct Lender {
    lending: Arc<Lending>,
    log: (Uuid, i32),
    asked: mpsc::Receiver<oneshot::Sender<Loan>>,
}

impl Lending {
    /// Asks for a log. `None` if it is no shard's. Who needs several asks for them in the order of their topic ids and
    /// partitions, and takes no permit to append before it has them all: then nobody waits in a circle.
    ///
    /// # Errors
    /// The shard cannot say now what is in its log.
    pub(crate) async fn borrow(&self, log: &TopicPartition) -> Result<Option<Loan>, Refused> {
        let lender = self.lenders.get(&(log.topic_id, log.partition));
        let Some(lender) = lender.map(|entry| entry.value().clone()) else {
            return Ok(None);
        };
        let (lend, loan) = oneshot::channel();
        match lender.send(lend).await {
            Ok(()) => loan.await.map(Some).map_err(|_| Refused::Unavailable),
            // The shard has ended.
            Err(_) => Ok(None),
        }
    }

    /// From now on the log belongs to a shard.
    pub(super) fn lender(self: &Arc<Self>, log: &TopicPartition) -> Lender {
        let log = (log.topic_id, log.partition);
        let (lender, asked) = mpsc::channel(WAITING);
        self.lenders.insert(log, lender);
        Lender {
            lending: Arc::clone(self),
            log,
            asked,
        }
    }
}

impl Loan {
    /// Gives the log back, with a marker that was put there.
    pub(crate) fn give_back(self, end: EndTxn, append: PendingAppend) {
        // The shard may have ended.
        let _ = self.back.send(Marked { end, append });
    }
}

impl Lender {
    /// The next who asks for the log. Dropping it loses nobody.
    pub(super) async fn asked(&mut self) -> Option<oneshot::Sender<Loan>> {
        self.asked.recv().await
    }

    /// Lends the log and waits until it is back, with what was appended to it.
    pub(super) async fn lend(to: oneshot::Sender<Loan>) -> Option<Marked> {
        let (back, returned) = oneshot::channel();
        // Whoever asked may have given up.
        to.send(Loan { back }).ok()?;
        returned.await.ok()
    }
}

impl Drop for Lender {
    fn drop(&mut self) {
        self.lending.lenders.remove(&self.log);
    }
}
