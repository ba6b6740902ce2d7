//! Whose turn it is to compute.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::available_parallelism;

use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinError, spawn_blocking};

/// Lets as many handshakes compute at one time as there are cores, one step of each in turn, and beside the threads that
/// serve clients.
///
/// A signature takes a millisecond or several. Such a thread looks for new requests after some sixty steps of whatever
/// it does: while hundreds of clients connect, all others would wait for sixty signatures.
pub(super) struct Turns(Arc<Semaphore>);

/// Tells that a future may go on, also while a step of it is still under way.
struct Woken(Notify);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

impl Turns {
    pub(super) fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new(cores)))
    }

    /// Runs a future to its end, each step of it in its turn. It has no turn while it waits.
    ///
    /// # Errors
    /// It has panicked, or the runtime ends.
    pub(super) async fn run<F>(&self, future: F) -> Result<F::Output, JoinError>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let woken = Arc::new(Woken(Notify::new()));
        let mut future: Pin<Box<F>> = Box::pin(future);
        loop {
            // Nobody closes it.
            let turn = Arc::clone(&self.0).acquire_owned().await.ok();
            let waker = Arc::clone(&woken).into();
            let step = spawn_blocking(move || {
                let step = future.as_mut().poll(&mut Context::from_waker(&waker));
                drop(turn);
                (future, step)
            });
            let (rest, step) = step.await?;
            if let Poll::Ready(done) = step {
                return Ok(done);
            }
            future = rest;
            woken.0.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn many_run_to_their_end_and_those_that_wait_hold_up_none() {
        let turns = Arc::new(Turns::new());
        let (open, closed) = tokio::sync::watch::channel(false);
        let waiting = (0..50).map(|number| {
            let (turns, mut closed) = (Arc::clone(&turns), closed.clone());
            tokio::spawn(async move {
                let wait = async move { closed.wait_for(|open| *open).await.map(|_| number) };
                turns.run(wait).await.ok()?.ok()
            })
        });
        let waiting: Vec<_> = waiting.collect();
        let quick = turns.run(std::future::ready(7));
        let quick = tokio::time::timeout(Duration::from_secs(60), quick).await;
        assert_eq!(quick.ok().and_then(Result::ok), Some(7));
        open.send_replace(true);
        for (number, task) in waiting.into_iter().enumerate() {
            assert_eq!(task.await.ok().flatten(), Some(number));
        }
    }
}
