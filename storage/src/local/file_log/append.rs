//! How a batch enters the log, and what happens when it is durable.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::FileLog;
use super::state::{Phase, State, TailBatch};
use crate::local::segment::Incoming;
use crate::local::wal::chunk::ChunkSlice;
use crate::local::wal::entry::{NewEntry, WalError};
use crate::local::wal::format::{EntryKind, Place};
use crate::local::wal::logs;
use crate::log::admission::{Admission, admit};
use crate::log::transaction_index::AbortedTxn;
use crate::log::{AppendError, AppendOrigin, AppendPermit, Appended, Next, PendingAppend};
use crate::record::batch::BatchHeader;
use crate::record::{EndTxnMarker, ValidatedBatch};

/// A segment is written when this much of it is waiting. Fewer, larger writes cost less.
const WRITE_AT_BYTES: u64 = 256 << 10;

/// A batch on its way through the write-ahead log.
pub(super) struct InFlight {
    base_offset: i64,
    last_offset: i64,
    position: u64,
    reserved_bytes: usize,
    reply: oneshot::Sender<Result<Appended, AppendError>>,
}

/// What becomes of a batch that is let in.
pub(super) enum Drafted {
    Append(Draft),
    /// Base and last offset of the original.
    Duplicate {
        base_offset: i64,
        last_offset: i64,
    },
}

/// A batch with the offsets and the place that it gets if nothing else is appended before it.
pub(super) struct Draft {
    pub header: BatchHeader,
    pub place: Place,
    marker: Option<EndTxnMarker>,
    incoming: Incoming,
    starts_segment: bool,
}

impl FileLog {
    pub(super) fn append(
        self: &Arc<Self>,
        permit: AppendPermit,
        validated: ValidatedBatch,
        origin: AppendOrigin,
        next: Next,
    ) -> Result<PendingAppend, AppendError> {
        let commits_here = next == Next::Wait;
        let now_ms = self.shared.clock.now_ms();
        let mut guard = self.state();
        let state = &mut *guard;
        let draft = match self.draft(state, &validated, origin, now_ms)? {
            Drafted::Append(draft) => draft,
            Drafted::Duplicate {
                base_offset,
                last_offset,
            } => return Ok(state.answer_duplicate(base_offset, last_offset)),
        };
        let reserved_bytes = take_over(permit);
        let (in_flight, answer) = draft.in_flight(reserved_bytes);
        let header = draft.header;
        let strict = self.shared.is_strict(state.config.durability)
            || state.wants_flush(header.next_offset());
        let log = Arc::clone(self);
        let appended = self.shared.wal.append(
            &NewEntry {
                log_id: self.log_id,
                kind: EntryKind::Batch,
                offset: header.base_offset,
                place: draft.place,
                payload: &validated.bytes,
                strict,
                commits_here,
            },
            &mut state.declared,
            || logs::declaration(&self.id),
            |copy| validated.patch(copy, header.base_offset, header.partition_leader_epoch),
            Box::new(move |written| log.committed(in_flight, written)),
        );
        if let Err(error) = appended {
            self.shared.append_budget.add_permits(reserved_bytes);
            return Err(not_applied(&error));
        }
        self.take_in(state, &draft, strict, now_ms);
        drop(guard);
        if commits_here {
            self.shared.wal.commit_here();
        }
        Ok(answered(answer))
    }

    /// Checks a batch, and finds out where it goes. Appends nothing.
    pub(super) fn draft(
        &self,
        state: &mut State,
        validated: &ValidatedBatch,
        origin: AppendOrigin,
        now_ms: i64,
    ) -> Result<Drafted, AppendError> {
        state.check_appendable()?;
        let marker = match admit(self.producers(state), &self.id, validated, origin)? {
            Admission::Append(marker) => marker,
            Admission::Duplicate {
                base_offset,
                last_offset,
            } => {
                return Ok(Drafted::Duplicate {
                    base_offset,
                    last_offset,
                });
            }
        };
        let header = stored_header(validated, state.log_end_offset, state.leader_epoch());
        let incoming = Incoming {
            last_offset: header.last_offset(),
            max_timestamp: header.max_timestamp,
            bytes: validated.bytes.len() as u64,
        };
        let open = state.open.back();
        let starts_segment =
            open.is_none_or(|open| open.must_roll(&state.config, &incoming, now_ms));
        let place = match open {
            Some(open) if !starts_segment => open.place(header.base_offset),
            _ => Place::default(),
        };
        Ok(Drafted::Append(Draft {
            header,
            place,
            marker,
            incoming,
            starts_segment,
        }))
    }

    /// Takes a batch that has entered the write-ahead log into the state.
    pub(super) fn take_in(&self, state: &mut State, draft: &Draft, strict: bool, now_ms: i64) {
        let (header, incoming) = (&draft.header, &draft.incoming);
        if strict {
            state.flushed_offset = header.next_offset();
        }
        if draft.starts_segment {
            self.start_segment(state, now_ms);
        }
        let begins_segment = state.open.back().is_none_or(|open| open.bytes == 0);
        let interval_bytes = state.config.index_interval_bytes;
        let completed = state.producers.apply(header, draft.marker, now_ms);
        self.note_producers(state);
        if let Some(open) = state.open.back_mut() {
            open.append(incoming, interval_bytes);
            if let Some(aborted) = completed.as_ref().and_then(AbortedTxn::of) {
                open.pending_aborted.push(aborted);
                state.aborted.push(aborted);
            }
        }
        state.epochs_changed |= state
            .epochs
            .assign(header.partition_leader_epoch, header.base_offset);
        state.log_end_offset = header.next_offset();
        state.size_bytes += incoming.bytes;
        state.bytes_since_snapshot += incoming.bytes;
        state.bytes_since_note += incoming.bytes;
        self.plan_retention(state, begins_segment);
    }

    /// The thread that commits reports the fate of a batch.
    pub(super) fn committed(
        self: &Arc<Self>,
        batch: InFlight,
        written: Result<ChunkSlice, WalError>,
    ) {
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                self.shared.append_budget.add_permits(batch.reserved_bytes);
                self.state.lock().fail_duplicates(&error);
                let _ = batch.reply.send(Err(indeterminate(&error)));
                self.waiters.wake_all();
                return;
            }
        };
        let bytes = written.len() as u64;
        let age = self
            .shared
            .committed_bytes
            .fetch_add(bytes, Ordering::Relaxed);
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Deleted) {
            drop(state);
            self.shared.append_budget.add_permits(batch.reserved_bytes);
            let _ = batch.reply.send(Err(AppendError::Deleted));
            return;
        }
        let stable_before = state.offsets().last_stable_offset;
        state.tail.push_back(TailBatch {
            base_offset: batch.base_offset,
            last_offset: batch.last_offset,
            position: batch.position,
            reserved_bytes: batch.reserved_bytes,
            age,
            bytes: written,
        });
        state.high_watermark = batch.last_offset + 1;
        state.unwritten_bytes += bytes;
        state.needs_sync = true;
        let high_watermark = state.high_watermark;
        if !self.shared.is_strict(state.config.durability) {
            self.shared.flush_within(state.config.flush_ms);
        }
        state.producers.on_high_watermark(high_watermark);
        let offsets = state.offsets();
        let appended = Appended {
            base_offset: batch.base_offset,
            last_offset: batch.last_offset,
            log_start_offset: offsets.log_start_offset,
            duplicate: false,
        };
        state.answer_waiting_duplicates();
        self.mark_busy(&mut state);
        let write_now = state.unwritten_bytes >= WRITE_AT_BYTES && !state.write_queued;
        state.write_queued |= write_now;
        drop(state);
        let stable_bytes = match offsets.last_stable_offset {
            stable if stable == offsets.high_watermark && stable_before == batch.base_offset => {
                bytes as i64
            }
            // The end of a transaction shows more than this batch: let the reader count.
            stable if stable > stable_before => i64::MAX,
            _ => 0,
        };
        self.waiters.advanced(bytes as i64, stable_bytes);
        // Nobody may be waiting: the producer asked for no acknowledgement, or has gone.
        let _ = batch.reply.send(Ok(appended));
        if write_now {
            let log = Arc::clone(self);
            self.shared.pool.write(move || log.write_queued());
        }
    }
}

impl Draft {
    /// The batch on its way, and the answer to come.
    pub(super) fn in_flight(
        &self,
        reserved_bytes: usize,
    ) -> (InFlight, oneshot::Receiver<Result<Appended, AppendError>>) {
        let (reply, answer) = oneshot::channel();
        let in_flight = InFlight {
            base_offset: self.header.base_offset,
            last_offset: self.header.last_offset(),
            position: u64::from(self.place.position),
            reserved_bytes,
            reply,
        };
        (in_flight, answer)
    }
}

/// Room in the budget, now owned by the engine; in bytes.
pub(super) fn take_over(permit: AppendPermit) -> usize {
    permit.into_inner().map_or(0, |permit| {
        let bytes = permit.num_permits();
        permit.forget();
        bytes
    })
}

/// The header as it will be stored. The stored batch differs from the received one in nothing else.
fn stored_header(batch: &ValidatedBatch, base_offset: i64, leader_epoch: i32) -> BatchHeader {
    BatchHeader {
        base_offset,
        partition_leader_epoch: leader_epoch,
        max_timestamp: batch.max_timestamp(),
        ..batch.header
    }
}

pub(super) fn answered(answer: oneshot::Receiver<Result<Appended, AppendError>>) -> PendingAppend {
    Box::pin(async move {
        answer.await.unwrap_or_else(|_| {
            Err(AppendError::Indeterminate(
                "the log directory was closed".to_owned(),
            ))
        })
    })
}

pub(crate) fn not_applied(error: &WalError) -> AppendError {
    match *error {
        WalError::TooLarge { bytes, limit_bytes } => AppendError::TooLarge { bytes, limit_bytes },
        _ => AppendError::Storage(error.to_string()),
    }
}

pub(crate) fn indeterminate(error: &WalError) -> AppendError {
    match error {
        WalError::WriteFailed(_) => AppendError::Indeterminate(error.to_string()),
        _ => AppendError::Storage(error.to_string()),
    }
}
