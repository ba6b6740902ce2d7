//! Whose turn it is to compute.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;

/// Lets as many handshakes compute at one time as there are cores, one step of each in turn.
///
/// A signature takes a millisecond or several on a thread that serves clients. Hundreds of clients that connect at once
/// would all be ready to be signed for, and whoever is served by the same thread would wait for all of them.
pub(super) struct Turns(Semaphore);

impl Turns {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(
            available_parallelism().map_or(1, usize::from),
        ))
    }

    /// Runs a future to its end, each step of it in its turn. It holds up nobody while it waits.
    pub(super) async fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        loop {
            let turn = self.0.acquire().await;
            let step = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
            drop(turn);
            if let Poll::Ready(done) = step {
                return done;
            }
            // Until something wakes this task, most likely the future.
            let mut was_polled = false;
            poll_fn(|_| match std::mem::replace(&mut was_polled, true) {
                false => Poll::Pending,
                true => Poll::Ready(()),
            })
            .await;
        }
    }
}
