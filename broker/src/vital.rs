//! Tasks without which the broker is not whole.
//!
//! A connection's task may panic, and ends alone. If one of the broker's own does, who asks it waits for ever, while the
//! ports are open and all looks well. So the broker goes offline then: it says so, and the process ends.

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// Says which of the broker's own tasks has panicked. Clones are of the same broker.
#[derive(Clone, Debug)]
pub struct Vital {
    failed: watch::Sender<Option<&'static str>>,
}

/// One of the broker's own tasks has panicked. What it said is on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} panicked: this is a bug")]
pub struct VitalTaskPanicked(pub &'static str);

impl Default for Vital {
    fn default() -> Self {
        Self {
            failed: watch::Sender::new(None),
        }
    }
}

impl Vital {
    /// Runs one of the broker's own tasks.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.watched(name, task));
    }

    /// The same for a task that is to be waited for.
    pub fn spawn_on(
        &self,
        tasks: &mut JoinSet<()>,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        tasks.spawn(self.watched(name, task))
    }

    fn watched(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let watch = Watch {
            name,
            failed: self.failed.clone(),
        };
        async move {
            let _watch = watch;
            task.await;
        }
    }

    /// The task that has panicked.
    pub fn failure(&self) -> Option<VitalTaskPanicked> {
        self.failed.borrow().map(VitalTaskPanicked)
    }

    /// Resolves when a task has panicked.
    pub async fn failed(&self) -> VitalTaskPanicked {
        let mut failed = self.failed.subscribe();
        match failed.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(name)) => VitalTaskPanicked(name),
            // The sender is `self`'s.
            _ => std::future::pending().await,
        }
    }
}

/// Dropped while its task panics, it says so.
struct Watch {
    name: &'static str,
    failed: watch::Sender<Option<&'static str>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("{}", VitalTaskPanicked(self.name));
            self.failed.send_replace(Some(self.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_named_and_one_that_ends_is_not() {
        let vital = Vital::default();
        let mut tasks = JoinSet::new();
        vital.spawn_on(&mut tasks, "one that ends", async {});
        vital.spawn_on(&mut tasks, "one that is aborted", std::future::pending());
        assert!(tasks.join_next().await.is_some_and(|ended| ended.is_ok()));
        tasks.shutdown().await;
        assert_eq!(vital.failure(), None);

        vital.spawn("one that panics", async {
            tokio::task::yield_now().await;
            panic!("on purpose");
        });
        let failed = vital.clone().failed().await;
        assert_eq!(failed, VitalTaskPanicked("one that panics"));
        assert_eq!(vital.failure(), Some(failed));
    }
}
