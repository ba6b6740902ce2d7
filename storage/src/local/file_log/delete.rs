//! How a log ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::FileLog;
use super::state::Phase;
use crate::local::departures::Departure;
use crate::local::wal::entry::{NewEntry, WalError};
use crate::local::wal::format::{EntryKind, Place};
use crate::local::wal::logs;

impl FileLog {
    /// Ends the log for its users. `done` is called when the write-ahead log has the deletion, or with the reason why it has
    /// not. It is not called if this returns an error.
    pub fn begin_delete(
        self: &Arc<Self>,
        done: impl FnOnce(Result<(), WalError>) + Send + 'static,
    ) -> Result<(), WalError> {
        let log = Arc::clone(self);
        let mut state = self.state.lock();
        self.shared.wal.append(
            &NewEntry {
                log_id: self.log_id,
                kind: EntryKind::Delete,
                offset: 0,
                place: Place::default(),
                payload: &[],
                strict: true,
                commits_here: false,
            },
            &mut state.declared,
            || logs::declaration(&self.id),
            |_| {},
            Box::new(move |result| {
                if result.is_ok() {
                    log.deleted();
                }
                done(result.map(|_| ()));
            }),
        )?;
        state.deleting = true;
        drop(state);
        self.waiters.wake_all();
        Ok(())
    }

    /// The deletion is durable. Until now a checkpoint had to write what the log holds, since the log could have been found
    /// again without its deletion. From now on a checkpoint may begin behind the deletion.
    fn deleted(self: &Arc<Self>) {
        let (reserved_bytes, segments, delay_ms) = {
            let mut state = self.state.lock();
            state.phase = Phase::Deleted;
            let delay_ms = u64::try_from(state.config.file_delete_delay_ms).unwrap_or(0);
            let segments = std::mem::take(&mut state.segments);
            (state.clear(), segments, delay_ms)
        };
        // Before a checkpoint can begin behind the deletion.
        self.shared.departures.add(Departure {
            id: self.id.clone(),
            writer: Some(Arc::clone(&self.writer)),
            segments,
            delay_ms,
        });
        self.shared.append_budget.add_permits(reserved_bytes);
        if self.shared.log_starts.lock().remove(&self.key()).is_some() {
            self.shared
                .log_starts_changed
                .store(true, Ordering::Release);
        }
        self.waiters.wake_all();
    }
}
