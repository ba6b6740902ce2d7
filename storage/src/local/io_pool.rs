//! A few threads for work that blocks: cold reads, first looks at files, segment writes, syncs.
//!
//! Kinds of jobs take turns, so that none waits for all of another: neither what clients ask for, nor what the engine does
//! for itself. A job cannot be interrupted; so neither of the two ever has all the threads.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use crate::env::sync::{Condvar, Mutex, caught, mpsc, thread};

type Job = Box<dyn FnOnce() + Send>;

/// Kinds of jobs. Each kind waits in a line of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A client waits for bytes.
    Read,
    /// A log is used for the first time.
    Load,
    /// An offset is looked for by time, which may take long.
    Search,
    /// What the engine does for itself.
    Write,
}

const KINDS: usize = 4;
/// The order in which kinds of jobs take turns. A kind that has nothing to do is passed over.
const TURNS: [Kind; 6] = [
    Kind::Read,
    Kind::Write,
    Kind::Load,
    Kind::Read,
    Kind::Write,
    Kind::Search,
];

#[derive(Default)]
struct Queues {
    waiting: [VecDeque<Job>; KINDS],
    running: [usize; KINDS],
    turn: usize,
    threads: usize,
    closed: bool,
}

impl Queues {
    fn running(&self, kind: Kind) -> usize {
        self.running[kind as usize]
    }

    /// Whether one more job of a kind leaves a thread to the others.
    fn may_run(&self, kind: Kind) -> bool {
        let most = self.threads.saturating_sub(1).max(1);
        let asked =
            self.running(Kind::Read) + self.running(Kind::Load) + self.running(Kind::Search);
        match kind {
            Kind::Write => self.running(Kind::Write) < most,
            Kind::Read | Kind::Load => asked < most,
            Kind::Search => asked < most && self.running(Kind::Search) < most.div_ceil(2),
        }
    }

    fn next(&mut self) -> Option<(Kind, Job)> {
        for step in 0..TURNS.len() {
            let turn = (self.turn + step) % TURNS.len();
            let kind = TURNS[turn];
            if self.may_run(kind)
                && let Some(job) = self.waiting[kind as usize].pop_front()
            {
                self.turn = turn + 1;
                self.running[kind as usize] += 1;
                return Some((kind, job));
            }
        }
        None
    }
}

#[derive(Default)]
struct Shared {
    queues: Mutex<Queues>,
    arrived: Condvar,
    /// Is told of a job that has panicked.
    on_panic: OnceLock<Box<dyn Fn(String) + Send + Sync>>,
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
            "a job has panicked, or the pool was closed while it was in use"
        );
        results
    }
}

impl IoPool {
    pub fn start(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        shared.queues.lock().threads = threads;
        // Where one cannot be started, those that were end with the pool.
        let pool = Self {
            shared,
            threads: Mutex::default(),
        };
        for number in 0..threads {
            let shared = Arc::clone(&pool.shared);
            let thread = thread::Builder::new()
                .name(format!("storage-io-{number}"))
                .spawn(move || shared.run())?;
            pool.threads.lock().push(thread);
        }
        Ok(pool)
    }

    /// `tell` is called when a job panics.
    pub fn on_panic(&self, tell: impl Fn(String) + Send + Sync + 'static) {
        // The first one stays.
        let _ = self.shared.on_panic.set(Box::new(tell));
    }

    /// Runs a job that a client waits for. After [`IoPool::close`] it is dropped, as the others are.
    pub fn read(&self, job: impl FnOnce() + Send + 'static) {
        self.run(Kind::Read, Box::new(job));
    }

    /// Runs a job that looks at a log's files for the first time.
    pub fn load(&self, job: impl FnOnce() + Send + 'static) {
        self.run(Kind::Load, Box::new(job));
    }

    /// Runs a job that a client waits for, and that may read much.
    pub fn search(&self, job: impl FnOnce() + Send + 'static) {
        self.run(Kind::Search, Box::new(job));
    }

    /// Runs a job of the engine's own.
    pub fn write(&self, job: impl FnOnce() + Send + 'static) {
        self.run(Kind::Write, Box::new(job));
    }

    fn run(&self, kind: Kind, job: Job) {
        let mut queues = self.shared.queues.lock();
        if !queues.closed {
            queues.waiting[kind as usize].push_back(job);
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
            let shared = Arc::clone(&self.shared);
            self.write(move || {
                // The receiver is there until all results have arrived.
                let done = caught(|| drop(sender.send(job(item))));
                // Told before the caller misses the result: the missing result is not what has gone wrong.
                shared.tell_of_panic(done);
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
    fn tell_of_panic(&self, done: Result<(), String>) {
        if let (Err(what), Some(tell)) = (done, self.on_panic.get()) {
            tell(what);
        }
    }

    fn run(&self) {
        let mut queues = self.queues.lock();
        loop {
            match queues.next() {
                Some((kind, job)) => {
                    drop(queues);
                    self.tell_of_panic(caught(job));
                    queues = self.queues.lock();
                    queues.running[kind as usize] -= 1;
                }
                None if queues.closed => return,
                None => self.arrived.wait(&mut queues),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Keeps threads busy with jobs of a kind until it is dropped.
    fn occupy(start: impl Fn(Job), jobs: usize) -> Vec<mpsc::Sender<()>> {
        let hold = |_| {
            let (release, held) = mpsc::channel::<()>();
            start(Box::new(move || {
                // Ends when the sender is dropped.
                let _ = held.recv();
            }));
            release
        };
        (0..jobs).map(hold).collect()
    }

    #[test]
    fn no_kind_of_job_waits_for_all_jobs_of_another() {
        let pool = Arc::new(IoPool::start(4).expect("threads"));
        let starts: [fn(&IoPool, Job); KINDS] = [
            |pool, job| pool.read(job),
            |pool, job| pool.load(job),
            |pool, job| pool.search(job),
            |pool, job| pool.write(job),
        ];
        let write = KINDS - 1;
        for busy in 0..KINDS {
            let release = occupy(|job| starts[busy](&pool, job), 50);
            let others = (0..KINDS).filter(|&other| (other == write) != (busy == write));
            for other in others {
                let (sender, done) = mpsc::channel();
                starts[other](
                    &pool,
                    Box::new(move || sender.send(()).expect("a receiver")),
                );
                let waited = done.recv_timeout(PATIENCE);
                assert!(waited.is_ok(), "{other} stands behind {busy}");
            }
            drop(release);
        }
    }

    #[test]
    fn a_panic_in_a_job_is_told_and_the_others_go_on() {
        let pool = IoPool::start(1).expect("threads");
        let (sender, told) = mpsc::channel();
        let sender = Mutex::new(sender);
        pool.on_panic(move |what| sender.lock().send(what).expect("a receiver"));
        pool.write(|| panic!("on purpose"));
        assert_eq!(told.recv_timeout(PATIENCE).as_deref(), Ok("on purpose"));
        assert_eq!(pool.for_each([1], |number| number + 1), [2]);
    }
}
