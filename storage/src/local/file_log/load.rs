//! The first use of a log: its directory is read.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::FileLog;
use super::state::{Phase, State};
use crate::local::loader::{LoadContext, LoadError, Loaded, load};
use crate::local::log_dir::Doomed;
use crate::log::Durability;

impl FileLog {
    /// Reads the directory into the state. What cannot be read now is tried again at the next use.
    pub(super) fn load(self: &Arc<Self>, state: &mut State) {
        match self.read_directory(state) {
            Ok(loaded) => self.loaded(state, loaded),
            Err(error) if error.is_passing() => {
                let told = std::mem::replace(&mut state.told_not_loaded, true);
                match told {
                    true => tracing::debug!(partition = %self.id, %error, "cannot be loaded"),
                    false => tracing::warn!(
                        partition = %self.id, %error,
                        "the log cannot be loaded now; it is tried again at its next use"
                    ),
                }
            }
            Err(error) => {
                tracing::error!(partition = %self.id, %error, "the log cannot be used");
                state.phase = Phase::Unusable(error.to_string());
            }
        }
    }

    fn read_directory(&self, state: &State) -> Result<Loaded, LoadError> {
        let (shared, key) = (&self.shared, self.key());
        let of_directory = |source| LoadError::Io {
            path: shared.path.clone(),
            source,
        };
        shared.make_way(&self.id, &self.dir).map_err(of_directory)?;
        let context = LoadContext {
            fs: &*shared.fs,
            id: &self.id,
            dir: &self.dir,
            index_interval_bytes: state.config.index_interval_bytes,
            now_ms: shared.clock.now_ms(),
            producer_id_expiration_ms: shared.producer_id_expiration_ms.load(Ordering::Relaxed),
            log_start_offset: shared.log_starts.lock().get(&key).copied(),
            may_cut_tail: shared.may_cut_tails,
            may_have_shrunk: shared.may_cut_tails && !shared.is_strict(state.config.durability),
            recovery_point: self.recovery_point(),
            closed_at: shared.closed_at.lock().get(&key).copied(),
        };
        let loaded = load(&context)?;
        match loaded.was_anothers {
            true => shared.forget_log_start(&key),
            // An earlier attempt may have found that and failed before it could save this.
            false if state.told_not_loaded => shared.save_log_starts(),
            false => Ok(()),
        }
        .and_then(|()| shared.lower_recovery_point(&key, loaded.log_end_offset))
        .map_err(of_directory)?;
        Ok(loaded)
    }

    fn recovery_point(&self) -> i64 {
        let recovery_points = self.shared.recovery_points.lock();
        recovery_points.get(&self.key()).copied().unwrap_or(0)
    }

    /// Uses the loaded files from now on.
    fn loaded(self: &Arc<Self>, state: &mut State, loaded: Loaded) {
        let shared = &self.shared;
        shared.closed_at.lock().remove(&self.key());
        let (snapshots, notes) = (loaded.snapshots.clone(), loaded.notes);
        // An earlier attempt may have changed names and been refused before it could sync them.
        let durable = !(shared.was_killed || state.told_not_loaded) || !loaded.has_files;
        // In `os` mode snapshots are good up to the recovery point, which the next checkpoint moves.
        let checkpointed = match shared.durability {
            Durability::Strict => loaded.log_end_offset,
            Durability::Os => loaded.log_end_offset.min(self.recovery_point()),
        };
        if !loaded.left_over.is_empty() {
            let left_over = Doomed::Files(loaded.left_over.clone());
            shared.remove_after(0, left_over);
        }
        state.loaded(loaded);
        if let Some(offset) = state.producers.first_undecided_offset() {
            tracing::warn!(
                partition = %self.id,
                offset,
                "a transaction is open and nothing can end it: read_committed consumers stop there, and so does \
                 compaction, for as long as the topic exists"
            );
        }
        // Nobody holds the writer's lock before the log is loaded.
        if let Some(mut writer) = self.writer.try_lock() {
            writer.known_snapshots(snapshots, notes, checkpointed, durable);
        }
        if state.bytes_since_note >= shared.note_interval_bytes {
            // The next checkpoint notes the producers: the next start need not read as much again.
            state.needs_sync = true;
            self.mark_busy(state);
        }
        self.note_dirty(state);
        self.note_producers(state);
        // The process may have ended between the new log start and the removal.
        if state.has_segments_below_start() {
            self.queue_free_segments();
        }
    }
}
