//! Batches of all partitions between their submission and the store, and when they go there. Pure.
//!
//! An object costs a request and a tenth of a second, whatever is in it. So batches gather for some time, or until they are
//! many. That would make the lone producer of a quiet broker wait for nothing: what little he sends goes with the commit
//! itself, at once. But those bytes are the database's, so there is a bound to how many go that way.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::pending::Pending;

/// When the buffer is emptied, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Into an object.
    Object,
    /// Into the rows of the commit.
    Inline,
    /// Not before then, unless something happens.
    At(Instant),
    /// There is nothing.
    Never,
}

pub(super) struct WriteBuffer {
    flush: Duration,
    flush_bytes: usize,
    inline_bytes: usize,
    batches: Vec<Arc<Pending>>,
    bytes: usize,
    oldest: Option<Instant>,
    /// What may go inline now, and when that was so.
    allowance_bytes: usize,
    allowed_at: Option<Instant>,
}

impl WriteBuffer {
    /// What is as old as `flush` goes, and what is as large as `flush_bytes`. Up to `inline_bytes` may go inline at once, and in
    /// the time of a flush four times that.
    pub fn new(flush: Duration, flush_bytes: usize, inline_bytes: usize) -> Self {
        Self {
            flush,
            flush_bytes,
            inline_bytes,
            batches: Vec::new(),
            bytes: 0,
            oldest: None,
            allowance_bytes: 4 * inline_bytes,
            allowed_at: None,
        }
    }

    pub fn push(&mut self, batch: Arc<Pending>, bytes: usize, now: Instant) {
        self.batches.push(batch);
        self.bytes += bytes;
        self.oldest.get_or_insert(now);
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// `inline_in_flight`: bytes that went inline before are not committed yet. What comes meanwhile gathers.
    pub fn due(&mut self, now: Instant, inline_in_flight: bool) -> Due {
        let Some(oldest) = self.oldest else {
            return Due::Never;
        };
        let is_small = self.bytes <= self.inline_bytes;
        if self.bytes >= self.flush_bytes && !is_small {
            return Due::Object;
        }
        let is_old = now >= oldest + self.flush;
        // The commit before it may wait for what is here, so nothing waits for that longer than for its time.
        let is_quiet = !inline_in_flight && self.allowance(now) >= self.bytes;
        match (is_small, is_old) {
            (true, true) => Due::Inline,
            (true, false) if is_quiet => Due::Inline,
            (false, true) => Due::Object,
            (_, false) => Due::At(oldest + self.flush),
        }
    }

    /// Everything, in the order of submission.
    pub fn take(&mut self, due: Due) -> Vec<Arc<Pending>> {
        if due == Due::Inline {
            self.allowance_bytes = self.allowance_bytes.saturating_sub(self.bytes);
        }
        self.bytes = 0;
        self.oldest = None;
        std::mem::take(&mut self.batches)
    }

    /// How many bytes may go inline before they are old.
    fn allowance(&mut self, now: Instant) -> usize {
        let full = 4 * self.inline_bytes;
        let since = self.allowed_at.map_or(self.flush, |then| now - then);
        let grown = full as f64 * since.as_secs_f64() / self.flush.as_secs_f64().max(1e-3);
        self.allowance_bytes = self
            .allowance_bytes
            .saturating_add(grown as usize)
            .min(full);
        self.allowed_at = Some(now);
        self.allowance_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::TopicPartition;
    use crate::object::pending::Work;
    use crate::object::plan::Want;
    use uuid::Uuid;

    const MS: Duration = Duration::from_millis(1);

    struct Buffer {
        buffer: WriteBuffer,
        now: Instant,
    }

    impl Buffer {
        fn new() -> Self {
            Self {
                buffer: WriteBuffer::new(100 * MS, 1000, 100),
                now: Instant::now(),
            }
        }

        fn push(&mut self, bytes: usize) {
            let partition = TopicPartition {
                topic: "topic".into(),
                topic_id: Uuid::nil(),
                partition: 0,
            };
            let pending = Pending::new(partition, Work::Change(Want::Claim), None, None);
            self.buffer.push(pending, bytes, self.now);
        }

        fn due(&mut self, inline_in_flight: bool) -> Due {
            self.buffer.due(self.now, inline_in_flight)
        }

        fn take(&mut self, due: Due) -> usize {
            self.buffer.take(due).len()
        }
    }

    #[tokio::test]
    async fn the_lone_batch_of_a_quiet_broker_goes_at_once() {
        let mut buffer = Buffer::new();
        assert_eq!(buffer.due(false), Due::Never);
        buffer.push(50);
        assert_eq!(buffer.due(false), Due::Inline);
        assert_eq!(buffer.take(Due::Inline), 1);
        assert_eq!(buffer.due(false), Due::Never);
    }

    #[tokio::test]
    async fn what_comes_during_a_commit_gathers_and_goes_with_the_next() {
        let mut buffer = Buffer::new();
        buffer.push(20);
        buffer.push(20);
        let end = buffer.now + 100 * MS;
        assert_eq!(buffer.due(true), Due::At(end));
        buffer.now = end;
        assert_eq!(buffer.due(true), Due::Inline, "it is old");
        assert_eq!(buffer.take(Due::Inline), 2);
    }

    #[tokio::test]
    async fn many_bytes_go_into_an_object_and_fewer_wait_for_their_time() {
        let mut buffer = Buffer::new();
        buffer.push(101);
        let end = buffer.now + 100 * MS;
        assert_eq!(buffer.due(false), Due::At(end));
        buffer.push(899);
        assert_eq!(buffer.due(true), Due::Object);
        assert_eq!(buffer.take(Due::Object), 2);
        buffer.push(101);
        buffer.now += 100 * MS;
        assert_eq!(buffer.due(true), Due::Object, "it is old");
    }

    #[tokio::test]
    async fn a_broker_that_is_not_quiet_sends_its_small_batches_by_time() {
        let mut buffer = Buffer::new();
        for _ in 0..4 {
            buffer.push(100);
            assert_eq!(buffer.due(false), Due::Inline);
            buffer.take(Due::Inline);
        }
        buffer.push(100);
        let old = buffer.now + 100 * MS;
        assert_eq!(buffer.due(false), Due::At(old));
        buffer.now += 50 * MS;
        assert_eq!(
            buffer.due(false),
            Due::Inline,
            "half of the time, two of four"
        );
    }
}
