//! Callers who wait until this broker knows all there is of a group.

use tokio::sync::{Notify, oneshot};

use super::database::LogGroup;
use crate::env::sync::Mutex;

type Waiting = oneshot::Sender<Result<(), String>>;

/// Those who have come while others are served are served together.
#[derive(Default)]
pub(super) struct Barriers {
    waiting: Mutex<Vec<(LogGroup, Waiting)>>,
    asked: Notify,
}

impl Barriers {
    pub fn ask(&self, group: LogGroup) -> oneshot::Receiver<Result<(), String>> {
        let (waiting, known) = oneshot::channel();
        self.waiting.lock().push((group, waiting));
        self.asked.notify_one();
        known
    }

    /// All who wait, when there are some.
    pub async fn take(&self) -> Vec<(LogGroup, Waiting)> {
        self.asked.notified().await;
        std::mem::take(&mut *self.waiting.lock())
    }
}
