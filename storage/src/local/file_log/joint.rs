//! A joint append: a batch for each of several logs, and after a crash all of them are there or none.

use std::sync::Arc;

use super::FileLog;
use super::append::{Draft, Drafted, answered, not_applied, take_over};
use super::state::State;
use crate::env::sync::MutexGuard;
use crate::local::log_dir::LogDir;
use crate::local::wal::entry::{JointEntry, NewEntry};
use crate::local::wal::format::EntryKind;
use crate::local::wal::logs;
use crate::log::{AppendError, AppendPermit, IfRefused, JointError, JointPart, PendingAppend};
use crate::record::ValidatedBatch;

/// The answer to each part.
pub(crate) type Answers = Vec<Result<PendingAppend, AppendError>>;

/// A part whose log has let it in, and stays locked.
struct Admitted<'a> {
    part: usize,
    log: &'a Arc<FileLog>,
    state: MutexGuard<'a, State>,
    batch: &'a ValidatedBatch,
    draft: Draft,
}

/// Appends `parts`, each to the log in the same place of `logs`; a log that is gone is `None`.
///
/// # Errors
/// See [`crate::log::LogStore::submit_all`].
pub(crate) fn append_all(
    shared: &LogDir,
    permit: AppendPermit,
    parts: &[JointPart],
    logs: &[Option<Arc<FileLog>>],
) -> Result<Answers, JointError> {
    let now_ms = shared.clock.now_ms();
    // By ascending id. All joint appends lock in this order, so no two of them wait for each other.
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_unstable_by_key(|&part| logs[part].as_ref().map(|log| log.log_id));
    let mut answers: Vec<Option<Result<PendingAppend, AppendError>>> = Vec::new();
    answers.resize_with(parts.len(), || None);
    let mut admitted: Vec<Admitted<'_>> = Vec::with_capacity(parts.len());
    for log in logs.iter().flatten() {
        // Files are looked at while no other log is locked.
        drop(log.state());
    }
    for part in order {
        match admit(&parts[part], logs[part].as_ref(), &admitted, now_ms) {
            Ok(Outcome::Admitted(log, state, draft)) => admitted.push(Admitted {
                part,
                log,
                state,
                batch: &parts[part].batch,
                draft,
            }),
            Ok(Outcome::Answered(answer)) => answers[part] = Some(Ok(answer)),
            Err(error) if parts[part].if_refused == IfRefused::Skip => {
                answers[part] = Some(Err(error));
            }
            Err(error) => {
                return Err(JointError {
                    part: Some(part),
                    error,
                });
            }
        }
    }
    for (part, answer) in write(shared, permit, admitted, now_ms)? {
        answers[part] = Some(Ok(answer));
    }
    Ok(answers.into_iter().flatten().collect())
}

enum Outcome<'a> {
    Admitted(&'a Arc<FileLog>, MutexGuard<'a, State>, Draft),
    /// It is a duplicate of a batch that is in its log.
    Answered(PendingAppend),
}

fn admit<'a>(
    part: &JointPart,
    log: Option<&'a Arc<FileLog>>,
    admitted: &[Admitted<'_>],
    now_ms: i64,
) -> Result<Outcome<'a>, AppendError> {
    let log = log.ok_or(AppendError::Deleted)?;
    // The parts come in the order of their logs.
    if admitted
        .last()
        .is_some_and(|other| Arc::ptr_eq(other.log, log))
    {
        let what = format!("two parts of a joint append are for {}", log.id);
        return Err(AppendError::Storage(what));
    }
    let mut state = log.state();
    let drafted = log.draft(&mut state, &part.batch, part.origin, now_ms)?;
    Ok(match drafted {
        Drafted::Append(draft) => Outcome::Admitted(log, state, draft),
        Drafted::Duplicate {
            base_offset,
            last_offset,
        } => Outcome::Answered(state.answer_duplicate(base_offset, last_offset)),
    })
}

/// Enters what was admitted into the write-ahead log, as one group, and takes it in.
fn write(
    shared: &LogDir,
    permit: AppendPermit,
    mut admitted: Vec<Admitted<'_>>,
    now_ms: i64,
) -> Result<Vec<(usize, PendingAppend)>, JointError> {
    if admitted.is_empty() {
        return Ok(Vec::new());
    }
    // Each log learns in turn that its part is durable. Who waits for the last part finds the others in their logs.
    admitted.sort_unstable_by_key(|admitted| admitted.part);
    let reserved_bytes = take_over(permit);
    let mut left_bytes = reserved_bytes;
    let mut answers = Vec::with_capacity(admitted.len());
    let mut entries = Vec::with_capacity(admitted.len());
    let last = admitted.len() - 1;
    for (at, admitted) in admitted.iter().enumerate() {
        let Admitted {
            log, batch, draft, ..
        } = admitted;
        // A permit may be for less than all bytes, where they are more than the budget.
        let share_bytes = match at == last {
            true => left_bytes,
            false => left_bytes.min(batch.bytes.len()),
        };
        left_bytes -= share_bytes;
        let (in_flight, answer) = draft.in_flight(share_bytes);
        answers.push((admitted.part, answered(answer)));
        let owner = Arc::clone(log);
        entries.push(JointEntry {
            entry: NewEntry {
                log_id: log.log_id,
                kind: EntryKind::Batch,
                offset: draft.header.base_offset,
                place: draft.place,
                payload: &batch.bytes,
                // Segments are written when it is durable: a power cut must not leave one of them alone.
                strict: true,
                commits_here: false,
            },
            declaration: (!admitted.state.declared).then(|| logs::declaration(&log.id)),
            patch: Box::new(|copy| {
                let header = &draft.header;
                batch.patch(copy, header.base_offset, header.partition_leader_epoch);
            }),
            on_durable: Box::new(move |written| owner.committed(in_flight, written)),
        });
    }
    if let Err(error) = shared.wal.append_all(entries) {
        shared.append_budget.add_permits(reserved_bytes);
        return Err(JointError {
            part: None,
            error: not_applied(&error),
        });
    }
    for Admitted {
        log, state, draft, ..
    } in &mut admitted
    {
        state.declared = true;
        log.take_in(state, draft, true, now_ms);
    }
    Ok(answers)
}
