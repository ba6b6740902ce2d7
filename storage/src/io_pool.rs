//! A few threads for what blocks: cold reads, segment writes, syncs.
//!
//! Reads go first: a consumer waits for them, while segments are written behind.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::sync::{Condvar, Mutex, mpsc, thread};

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queues {
    reads: VecDeque<Job>,
    writes: VecDeque<Job>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queues: Mutex<Queues>,
    arrived: Condvar,
}

/// Runs jobs on plain threads; dropping it finishes what was queued.
pub(crate) struct IoPool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

/// What the jobs of [`IoPool::begin_each`] give.
pub(crate) struct Results<R> {
    results: mpsc::Receiver<R>,
    count: usize,
}

impl<R> Results<R> {
    /// Waits for all of them; in no order.
    ///
    /// Must not be called from a job: it would wait for its own thread.
    pub fn wait(self) -> Vec<R> {
        let results: Vec<R> = self.results.iter().collect();
        assert_eq!(
            results.len(),
            self.count,
            "the pool was closed while it was in use"
        );
        results
    }
}

impl IoPool {
    pub fn start(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let threads = (0..threads)
            .map(|number| {
                let shared = Arc::clone(&shared);
                thread::Builder::new()
                    .name(format!("storage-io-{number}"))
                    .spawn(move || shared.run())
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            shared,
            threads: Mutex::new(threads),
        })
    }

    /// Runs a job before all writes. After [`IoPool::close`] it is dropped.
    pub fn read(&self, job: impl FnOnce() + Send + 'static) {
        let mut queues = self.shared.queues.lock();
        if !queues.closed {
            queues.reads.push_back(Box::new(job));
            self.shared.arrived.notify_one();
        }
    }

    /// Runs a job when no read waits. After [`IoPool::close`] it is dropped.
    pub fn write(&self, job: impl FnOnce() + Send + 'static) {
        let mut queues = self.shared.queues.lock();
        if !queues.closed {
            queues.writes.push_back(Box::new(job));
            self.shared.arrived.notify_one();
        }
    }

    /// Runs `job` for each item, several at a time, and returns when all are done.
    ///
    /// Must not be called from a job: it would wait for its own thread.
    pub fn for_each<T: Send + 'static, R: Send + 'static>(
        &self,
        items: impl IntoIterator<Item = T>,
        job: impl Fn(T) -> R + Send + Sync + 'static,
    ) -> Vec<R> {
        self.begin_each(items, job).wait()
    }

    /// Like [`IoPool::for_each`], but does not wait.
    pub fn begin_each<T: Send + 'static, R: Send + 'static>(
        &self,
        items: impl IntoIterator<Item = T>,
        job: impl Fn(T) -> R + Send + Sync + 'static,
    ) -> Results<R> {
        let job = Arc::new(job);
        let (sender, results) = mpsc::channel();
        let mut count = 0;
        for item in items {
            count += 1;
            let (job, sender) = (Arc::clone(&job), sender.clone());
            self.write(move || {
                // The receiver is there until all results have arrived.
                let _ = sender.send(job(item));
            });
        }
        Results { results, count }
    }

    /// Finishes what was queued and ends the threads.
    pub fn close(&self) {
        self.shared.queues.lock().closed = true;
        self.shared.arrived.notify_all();
        let me = thread::current().id();
        for thread in self.threads.lock().drain(..) {
            // The last user of the pool may be one of its own jobs.
            if thread.thread().id() != me && thread.join().is_err() {
                tracing::error!("a storage thread panicked");
            }
        }
    }
}

impl Drop for IoPool {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn run(&self) {
        let mut queues = self.queues.lock();
        loop {
            let job = match queues.reads.pop_front() {
                Some(read) => Some(read),
                None => queues.writes.pop_front(),
            };
            match job {
                Some(job) => {
                    drop(queues);
                    job();
                    queues = self.queues.lock();
                }
                None if queues.closed => return,
                None => self.arrived.wait(&mut queues),
            }
        }
    }
}
