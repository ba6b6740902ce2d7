//! Clients that have connected and not said yet who they are, where the listener asks for that: they have little time, and
//! there are not many of them. Otherwise strangers could take the places of those who are known.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::halves::Close;

/// All of them.
pub struct Unauthenticated {
    max: usize,
    within: Duration,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    /// By age. Each is told when it has to go.
    by_age: BTreeMap<u64, oneshot::Sender<()>>,
}

/// One of them; it is one no longer when this is dropped.
struct Place<'a> {
    of: &'a Unauthenticated,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.of.waiting.lock().by_age.remove(&self.number);
    }
}

impl Unauthenticated {
    /// At most `max`, each of them for as long as `within`.
    pub(crate) fn new(max: usize, within: Duration) -> Self {
        Self {
            max,
            within,
            waiting: Mutex::default(),
        }
    }

    /// Does all that comes before a client is known. If there are too many already, the oldest has to go.
    ///
    /// # Errors
    /// That of `log_in`; it has taken too long; somebody needs the place.
    pub(super) async fn log_in<T>(
        &self,
        log_in: impl Future<Output = Result<T, Close>>,
    ) -> Result<T, Close> {
        let (_place, displaced) = self.enter();
        let known = timeout(self.within, log_in);
        tokio::select! {
            known = known => known.unwrap_or(Err(Close::LoginTimeout(self.within))),
            // Nobody drops the other end but the place itself.
            _ = displaced => Err(Close::Displaced),
        }
    }

    fn enter(&self) -> (Place<'_>, oneshot::Receiver<()>) {
        let (tell, told) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        while waiting.by_age.len() >= self.max {
            waiting.by_age.pop_first();
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.by_age.insert(number, tell);
        (Place { of: self, number }, told)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_too_long_is_closed_and_whoever_is_known_is_not() {
        let all = Unauthenticated::new(2, Duration::from_secs(30));
        assert_eq!(all.log_in(ready(Ok(7))).await.expect("known"), 7);
        let slow = all.log_in(pending::<Result<(), _>>()).await;
        assert!(matches!(slow, Err(Close::LoginTimeout(_))), "{slow:?}");
        assert!(all.waiting.lock().by_age.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_gives_way_to_one_too_many() {
        let all = Unauthenticated::new(2, Duration::from_secs(30));
        let wait = || all.log_in(pending::<Result<(), _>>());
        let (first, second, third) = tokio::join!(wait(), wait(), wait());
        assert!(matches!(first, Err(Close::Displaced)), "{first:?}");
        for later in [second, third] {
            assert!(matches!(later, Err(Close::LoginTimeout(_))), "{later:?}");
        }
    }
}
