//! The threads of a directory, and what happens when one of them panics.

use std::io;
use std::sync::{Arc, Weak};

use tokio::sync::watch;

use super::LocalStore;
use crate::env::sync::{caught, thread};
use crate::local::log_dir::LogDir;
use crate::log::StorageError;

pub(super) const COMMIT_THREAD: &str = "wal-commit";

/// Takes the directory offline when one of its threads has panicked: nobody else would do that thread's work.
#[derive(Clone)]
pub(super) struct Panicked {
    pub(super) shared: Weak<LogDir>,
    pub(super) failed: Arc<watch::Sender<Option<StorageError>>>,
}

impl Panicked {
    pub(super) fn tell(&self, thread: &str, what: &str) {
        let why = format!("the thread {thread} panicked: {what}");
        tracing::error!("{why}");
        if let Some(shared) = self.shared.upgrade() {
            // Tells everybody who waits. If that panics too, the rest is still done.
            let _ = caught(|| shared.wal.fail(&why));
        }
        // Only the first panic is kept: later ones may follow from it.
        self.failed.send_if_modified(|failed| {
            let is_first = failed.is_none();
            failed.get_or_insert(StorageError(why));
            is_first
        });
    }

    /// Starts a thread.
    pub(super) fn start(
        &self,
        name: &'static str,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<thread::JoinHandle<()>> {
        let panicked = self.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Err(what) = caught(work) {
                panicked.tell(name, &what);
            }
        })
    }
}

impl LocalStore {
    /// Starts all threads of the directory. The one that commits is the first.
    pub(super) fn start_threads(&self) -> io::Result<()> {
        let committing = Arc::clone(&self.shared);
        let checkpointing = Arc::clone(&self.checkpointer);
        let maintaining = Arc::clone(&self.maintenance);
        let panicked = &self.panicked;
        let mut threads = self.threads.lock();
        threads.push(panicked.start(COMMIT_THREAD, move || committing.wal.run())?);
        threads.push(panicked.start("log-checkpoint", move || checkpointing.run())?);
        threads.push(panicked.start("log-maintenance", move || maintaining.run())?);
        if let Some(cleaner) = self.cleaner.clone() {
            threads.push(panicked.start("log-cleaner", move || cleaner.run())?);
        }
        Ok(())
    }
}
