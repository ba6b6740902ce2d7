//! Reads that go to segments, on the I/O pool.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::FileLog;
use super::cold_read::ColdRead;
use super::plan::ReadPlan;
use super::search::{Search, SearchResult};
use super::state::State;
use crate::env::fs::Fs;
use crate::log::cold_budget::ColdPermit;
use crate::log::{BoxFuture, FetchedRecords, Read, ReadError, ReadRequest, TopicPartition};

impl FileLog {
    /// Answers with what was read ahead, or reads from segments when there is room for what they give.
    pub(super) fn read_segments(self: &Arc<Self>, cold: ColdRead, request: ReadRequest) -> Read {
        let log = Arc::clone(self);
        if let Some(records) = cold.read_kept(&log.shared, &log.id) {
            return Read::Ready(records);
        }
        let bytes = cold.limit_bytes();
        let room = || log.shared.cold_reads.try_take(bytes);
        let room_made = || {
            log.shared.direct_io.read_ahead.clear();
            room()
        };
        if let Some(permit) = room().or_else(room_made) {
            return Read::Cold(log.start_cold_read(permit, cold, request));
        }
        Read::Cold(Box::pin(async move {
            let permit = log.shared.cold_reads.take(bytes).await;
            log.start_cold_read(permit, cold, request).await
        }))
    }

    fn start_cold_read(
        self: Arc<Self>,
        permit: ColdPermit,
        mut cold: ColdRead,
        mut request: ReadRequest,
    ) -> BoxFuture<'static, Result<FetchedRecords, ReadError>> {
        if permit.is_overdrawn() {
            request.max_bytes = 0;
            cold.set_max_bytes(0);
        }
        let (sender, answer) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        shared.pool.read(move || {
            let read = self.read_cold(cold, &request);
            // The reader may have gone away.
            let _ = sender.send(read.map(|fetched| permit.hold(fetched)));
        });
        read_answer(answer)
    }

    /// Reads from segments; plans anew if they were removed or replaced since the read was planned.
    fn read_cold(
        self: &Arc<Self>,
        mut cold: ColdRead,
        request: &ReadRequest,
    ) -> Result<FetchedRecords, ReadError> {
        loop {
            let read = cold.read(&self.shared, &self.id);
            if read.is_ok() || !self.may_be_planned_anew(|| cold.is_outdated()) {
                return read;
            }
            match self.state().plan_read(request)? {
                ReadPlan::Ready(records) => return Ok(records),
                ReadPlan::Cold(again) => cold = again,
            }
        }
    }

    /// Looks for a time, from the segments to the tail.
    pub(super) fn search(
        self: &Arc<Self>,
        plan: impl Fn(&State) -> Result<Search, ReadError> + Send + 'static,
        job: impl Fn(&Search, &dyn Fs, &TopicPartition) -> SearchResult + Send + 'static,
    ) -> BoxFuture<'static, SearchResult> {
        let mut search = match plan(&self.state()) {
            Ok(search) => search,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let (sender, answer) = oneshot::channel();
        let log = Arc::clone(self);
        self.shared.pool.search(move || {
            let found = loop {
                let found = job(&search, &*log.shared.fs, &log.id);
                if found.is_ok() || !log.may_be_planned_anew(|| search.is_outdated()) {
                    break found;
                }
                search = match plan(&log.state()) {
                    Ok(search) => search,
                    Err(error) => break Err(error),
                };
            };
            let _ = sender.send(found);
        });
        read_answer(answer)
    }

    /// See [`PartitionLog::timestamp_at`](crate::log::PartitionLog::timestamp_at).
    pub(super) fn timestamp_at(
        self: &Arc<Self>,
        offset: i64,
    ) -> BoxFuture<'static, Result<Option<i64>, ReadError>> {
        if let Some(known) = self.state().timestamp_in_memory(offset) {
            return Box::pin(std::future::ready(Ok(known)));
        }
        let plan = move |state: &State| state.plan_look_at(offset);
        let found = self.search(plan, Search::first);
        Box::pin(async move { Ok(found.await?.map(|found| found.timestamp)) })
    }

    /// Whether a read that has failed may have met segments that are not there any more.
    fn may_be_planned_anew(&self, is_outdated: impl FnOnce() -> bool) -> bool {
        if let Err(error) = self.settle_segments() {
            tracing::debug!(partition = %self.id, %error, "which segments there are is not known yet");
        }
        is_outdated()
    }
}

fn read_answer<T: Send + 'static>(
    answer: oneshot::Receiver<Result<T, ReadError>>,
) -> BoxFuture<'static, Result<T, ReadError>> {
    Box::pin(async move {
        answer.await.unwrap_or_else(|_| {
            Err(ReadError::Storage(
                "the log directory was closed".to_owned(),
            ))
        })
    })
}
