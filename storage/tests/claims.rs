//! Several brokers that have the same logs: who has claimed one writes as its coordinator, and nobody else.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::*;
use storage::log::{
    AppendError, AppendOrigin, IfRefused, JointPart, LogStore, Next, PartitionLog, PendingAppend,
};
use storage::memory;
use storage::record::ValidatedBatch;

/// Two brokers, each with its handle of one log.
struct Brokers {
    stores: Vec<Arc<dyn LogStore>>,
    logs: Vec<Arc<dyn PartitionLog>>,
}

impl Brokers {
    fn new() -> Self {
        let stores = memory::open_shared(2);
        let logs = stores.iter().map(|store| open(store, "coordinator", 0));
        Self {
            logs: logs.collect(),
            stores,
        }
    }

    async fn write(&self, broker: usize, origin: AppendOrigin) -> Result<i64, AppendError> {
        let batch = batch(&[b"record"]);
        let log = &self.logs[broker];
        let permit = log.reserve(batch.size_bytes(), origin).await?;
        let appended = log.submit(permit, batch, origin, Next::Wait)?.await?;
        Ok(appended.base_offset)
    }

    async fn write_jointly(&self, broker: usize) -> Result<(), AppendError> {
        let store = &self.stores[broker];
        open(store, "data", 0);
        let part = |topic: &str, batch: ValidatedBatch, origin| JointPart {
            log: partition(topic, 0),
            batch,
            origin,
            if_refused: IfRefused::FailAll,
        };
        let parts = vec![
            part("data", batch(&[b"data"]), AppendOrigin::CLIENT),
            part(
                "coordinator",
                batch(&[b"record"]),
                AppendOrigin::COORDINATOR,
            ),
        ];
        let permit = store.reserve(1_000, AppendOrigin::COORDINATOR).await?;
        let submitted = store.submit_all(permit, parts);
        let answers = submitted.map_err(|error| error.error)?;
        for answer in answers {
            let append: PendingAppend = answer?;
            append.await?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn whoever_has_claimed_a_log_last_writes_as_its_coordinator() {
    let brokers = Brokers::new();
    assert_eq!(
        brokers.write(1, AppendOrigin::COORDINATOR).await.unwrap(),
        0
    );
    let mut epochs = vec![brokers.logs[0].leader_epoch()];
    for (claims, other) in [(0, 1), (1, 0), (1, 0), (0, 1)] {
        epochs.push(brokers.logs[claims].claim().await.unwrap());
        assert_eq!(brokers.logs[other].leader_epoch(), epochs[epochs.len() - 1]);
        brokers
            .write(claims, AppendOrigin::COORDINATOR)
            .await
            .unwrap();
        let refused = brokers.write(other, AppendOrigin::COORDINATOR).await;
        assert!(
            matches!(refused, Err(AppendError::Fenced { .. })),
            "{refused:?}"
        );
    }
    assert!(epochs.is_sorted_by(|one, next| one < next), "{epochs:?}");
    assert_eq!(brokers.logs[0].offsets().log_end_offset, 5);
    // Each epoch ends where the next one begins.
    let ends = epochs
        .iter()
        .map(|epoch| brokers.logs[1].end_offset_for_epoch(*epoch));
    let ends: Vec<_> = ends.map(|found| found.unwrap().1).collect();
    assert_eq!(ends, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn producers_and_markers_need_no_claim() {
    let brokers = Brokers::new();
    brokers.logs[0].claim().await.unwrap();
    brokers.write(1, AppendOrigin::CLIENT).await.unwrap();
    let marker = AppendOrigin::Marker {
        transaction_version: 0,
    };
    brokers.write(1, marker).await.unwrap();
}

#[tokio::test]
async fn nothing_of_a_joint_append_is_there_if_its_coordinator_is_fenced() {
    let brokers = Brokers::new();
    brokers.logs[0].claim().await.unwrap();
    brokers.logs[1].claim().await.unwrap();
    let refused = brokers.write_jointly(0).await;
    assert!(
        matches!(refused, Err(AppendError::Fenced { .. })),
        "{refused:?}"
    );
    let data = open(&brokers.stores[0], "data", 0);
    assert_eq!(data.offsets().log_end_offset, 0);
    brokers.write_jointly(1).await.unwrap();
    assert_eq!(data.offsets().log_end_offset, 1);
}
