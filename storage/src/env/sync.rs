//! The door to threads: what the engine blocks on and runs its threads with. The order of events depends on it. In a
//! simulation a seed decides that order; otherwise these are other names for the usual things.

#[cfg(feature = "simulation")]
pub(crate) use crate::testing::scheduler::{Condvar, Mutex, MutexGuard, mpsc, thread, timeout};

#[cfg(not(feature = "simulation"))]
pub(crate) use {
    parking_lot::{Condvar, Mutex, MutexGuard},
    real::timeout,
    std::sync::mpsc,
    std::thread,
};

#[cfg(not(feature = "simulation"))]
mod real {
    use std::future::Future;
    use std::time::Duration;

    /// The result of a future, if it comes in time.
    pub(crate) async fn timeout<T>(
        patience: Duration,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::time::timeout(patience, future).await.ok()
    }
}

/// Does a job, and gives the message if it panics. A simulation ends with its first panic.
pub(crate) fn caught(job: impl FnOnce()) -> Result<(), String> {
    if cfg!(feature = "simulation") {
        job();
        return Ok(());
    }
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
    done.map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        text.unwrap_or("for no stated reason").to_owned()
    })
}
