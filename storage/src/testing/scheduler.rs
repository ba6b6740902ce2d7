//! The engine with all its threads on a single one, taking turns as a seed decides. For tests.
//!
//! Within [`run`] the threads that the engine starts are coroutines. Wherever one takes a lock, waits, or asks for
//! something of a simulated disk, another may go on in its place. Time stands still while they run; it moves on to
//! the next moment that somebody waits for when nobody else can go on, and now and then before. So a seed stands for
//! one run, down to the last file operation.
//!
//! Not decided here, and hence nothing that another thread comes in between of: atomics, and the channels and
//! semaphores of `tokio`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use shuttle::future::block_on;
use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
pub(crate) use shuttle::sync::mpsc;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::env::clock::Clock;
use crate::testing::random::Random;

/// Steps of a run that does not come to an end.
const STEPS_LIMIT: usize = 100_000_000;
const STACK_BYTES: usize = 1 << 20;
/// When every run begins, in ms since 1970.
const EPOCH_MS: i64 = 1_700_000_000_000;
/// The thread that lets time pass is the first that the main one starts.
const TIMEKEEPER: usize = 1;

/// What the threads of a run share.
struct World {
    random: Random,
    now_ms: u64,
    /// By when they want to be woken, in the order in which they came.
    sleepers: BTreeMap<(u64, u64), Waker>,
    next_sleeper: u64,
    /// Nobody can go on before time does.
    all_wait: bool,
    /// The main thread has ended.
    over: bool,
    /// The others are to be left as they are.
    abandoned: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            now_ms: 0,
            sleepers: BTreeMap::new(),
            next_sleeper: 0,
            all_wait: false,
            over: false,
            abandoned: false,
        }
    }
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::new(0));
}

fn world<R>(look: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(look)
}

/// Runs `main` and whatever threads it starts, in the order that the seed stands for.
///
/// All threads have to end, unless `main` fails: then they are left as they are, and what they hold is leaked.
///
/// # Errors
/// What `main` says, or what a thread panicked with.
pub fn run<T, F>(seed: u64, main: impl FnOnce() -> F + Send + 'static) -> Result<T, String>
where
    T: Send + 'static,
    F: Future<Output = Result<T, String>>,
{
    WORLD.set(World::new(seed));
    let mut config = shuttle::Config::new();
    config.stack_size = STACK_BYTES;
    config.failure_persistence = shuttle::FailurePersistence::None;
    config.max_steps = shuttle::MaxSteps::FailAfter(STEPS_LIMIT);
    config
        .ungraceful_shutdown_config
        .immediately_return_on_panic = true;
    let main = parking_lot::Mutex::new(Some(main));
    let result = Arc::new(parking_lot::Mutex::new(None));
    let returned = Arc::clone(&result);
    let body = move || {
        let timekeeper = shuttle::thread::spawn(keep_time);
        let Some(main) = main.lock().take() else {
            return;
        };
        let outcome = block_on(main());
        world(|world| {
            world.over = true;
            world.abandoned = outcome.is_err();
        });
        *returned.lock() = Some(outcome);
        // Never returns from an execution that is abandoned.
        let _ = timekeeper.join();
    };
    let runner = shuttle::Runner::new(Dice::new(), config);
    let ended = catch_unwind(AssertUnwindSafe(|| runner.run(body)));
    let panicked = ended.err().map(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        format!("panicked: {}", text.unwrap_or("in its own way"))
    });
    match (panicked, result.lock().take()) {
        (Some(what), _) => Err(what),
        (None, Some(outcome)) => outcome,
        (None, None) => Err("ended too soon".to_owned()),
    }
}

/// Decides who goes on.
struct Dice {
    started: bool,
    /// Of 256 times, how often a thread that can go on does.
    stays: u64,
    /// Time passes now and then although somebody can go on: once in this many choices.
    hurry: u64,
    /// One thread in four is slow: most often another goes on in its place.
    has_slow: bool,
}

impl Dice {
    fn new() -> Self {
        world(|World { random, .. }| Self {
            started: false,
            stays: [0, 128, 230, 250][random.below(4) as usize],
            hurry: [30, 300, 3_000, u64::MAX][random.below(4) as usize],
            has_slow: random.below(2) == 0,
        })
    }
}

impl Scheduler for Dice {
    fn new_execution(&mut self) -> Option<Schedule> {
        let first = !std::mem::replace(&mut self.started, true);
        first.then(Schedule::default)
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        _is_yielding: bool,
    ) -> Option<TaskId> {
        world(|world| {
            if world.abandoned {
                return None;
            }
            let random = &mut world.random;
            let is_timekeeper = |task: &&&Task| usize::from(task.id()) == TIMEKEEPER;
            let timekeeper = runnable.iter().find(is_timekeeper).map(|task| task.id());
            let others = runnable.len() - usize::from(timekeeper.is_some());
            world.all_wait = others == 0;
            if timekeeper.is_some() && (others == 0 || random.below(self.hurry) == 0) {
                return timekeeper;
            }
            let candidates = runnable.iter().filter(|task| !is_timekeeper(task));
            let candidates = candidates.map(|task| task.id());
            if current.is_some_and(|current| candidates.clone().any(|id| id == current))
                && random.below(256) < self.stays
            {
                return current;
            }
            let mut pick = || candidates.clone().nth(random.below(others as u64) as usize);
            let (picked, instead) = (pick()?, pick()?);
            let is_slow = self.has_slow && usize::from(picked) % 4 == 3;
            Some(match is_slow && random.below(16) > 0 {
                true => instead,
                false => picked,
            })
        })
    }

    fn next_u64(&mut self) -> u64 {
        world(|world| world.random.next())
    }
}

/// The thread that lets time pass, whenever it is its turn.
fn keep_time() {
    loop {
        switch();
        if world(|world| world.over) {
            return;
        }
        let mut woken = Vec::new();
        world(|world| {
            match world.sleepers.first_key_value() {
                Some((&(due_ms, _), _)) => world.now_ms = world.now_ms.max(due_ms),
                None => assert!(!world.all_wait, "all threads wait for each other"),
            }
            while let Some(first) = world.sleepers.first_entry()
                && first.key().0 <= world.now_ms
            {
                woken.push(first.remove());
            }
        });
        woken.into_iter().for_each(Waker::wake);
    }
}

/// A moment at which another thread may go on.
pub(crate) fn switch() {
    if !std::thread::panicking() {
        shuttle::thread::sleep(Duration::ZERO);
    }
}

/// An id that nobody has.
pub(crate) fn new_uuid() -> Uuid {
    world(|World { random, .. }| Uuid::from_u64_pair(random.next(), random.next()))
}

/// The time in a simulation.
#[derive(Debug, Default)]
pub struct SimClock;

impl Clock for SimClock {
    fn now_ms(&self) -> i64 {
        EPOCH_MS + self.monotonic_ms() as i64
    }

    fn monotonic_ms(&self) -> u64 {
        world(|world| world.now_ms)
    }
}

/// Done when the time has come.
struct Sleep {
    until_ms: u64,
    key: Option<(u64, u64)>,
}

impl Sleep {
    fn new(duration: Duration) -> Self {
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            until_ms: world(|world| world.now_ms).saturating_add(ms),
            key: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        world(|world| {
            if world.now_ms >= self.until_ms {
                return Poll::Ready(());
            }
            let until_ms = self.until_ms;
            let key = *self.key.get_or_insert_with(|| {
                world.next_sleeper += 1;
                (until_ms, world.next_sleeper)
            });
            world.sleepers.insert(key, context.waker().clone());
            Poll::Pending
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            world(|world| world.sleepers.remove(&key));
        }
    }
}

/// Lets time pass.
pub async fn sleep(duration: Duration) {
    Sleep::new(duration).await;
}

/// What a future comes to, if it does so in time.
pub async fn timeout<T>(patience: Duration, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut sleep) = (pin!(future), pin!(Sleep::new(patience)));
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => sleep.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// A lock; whoever waits for it comes in any order.
#[derive(Default)]
pub(crate) struct Mutex<T> {
    inner: parking_lot::Mutex<T>,
    released: Notify,
}

/// Releases its lock when it is dropped.
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// Empty while a [`Condvar`] waits.
    inner: Option<parking_lot::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub fn new(value: T) -> Self {
        Self {
            inner: parking_lot::Mutex::new(value),
            released: Notify::new(),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard {
            mutex: self,
            inner: Some(self.lock_inner()),
        }
    }

    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        switch();
        Some(MutexGuard {
            mutex: self,
            inner: Some(self.inner.try_lock()?),
        })
    }

    fn lock_inner(&self) -> parking_lot::MutexGuard<'_, T> {
        switch();
        loop {
            match self.inner.try_lock() {
                Some(guard) => return guard,
                None => block_on(self.released.notified()),
            }
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(formatter)
    }
}

impl<T> MutexGuard<'_, T> {
    fn release(&mut self) {
        self.inner = None;
        self.mutex.released.notify_one();
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.release();
    }
}

const HELD: &str = "only a waiting condition variable takes it out, and puts it back";

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.inner.as_ref().expect(HELD)
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect(HELD)
    }
}

/// A condition variable; now and then it wakes somebody for no reason.
#[derive(Debug, Default)]
pub(crate) struct Condvar(Notify);

impl Condvar {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.wait_until(guard, |notified| block_on(notified));
    }

    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, patience: Duration) {
        self.wait_until(guard, |notified| {
            block_on(timeout(patience, notified));
        });
    }

    fn wait_until<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        wait: impl FnOnce(Pin<&mut tokio::sync::futures::Notified<'_>>),
    ) {
        let mut notified = pin!(self.0.notified());
        notified.as_mut().enable();
        guard.release();
        wait(notified);
        guard.inner = Some(guard.mutex.lock_inner());
    }

    pub fn notify_one(&self) {
        switch();
        self.0.notify_one();
    }

    pub fn notify_all(&self) {
        switch();
        self.0.notify_waiters();
    }
}

/// Threads, in the parts of `std::thread` that the engine uses.
pub mod thread {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    pub use shuttle::thread::current;
    use shuttle::thread::{Result, Thread};

    /// Lets time pass.
    pub fn sleep(duration: Duration) {
        shuttle::future::block_on(super::sleep(duration));
    }

    /// Starts a thread without a name.
    pub fn spawn<T: Send + 'static>(
        job: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        Builder::new().spawn(job)
    }

    #[derive(Debug, Default)]
    pub struct Builder(shuttle::thread::Builder);

    impl Builder {
        pub fn new() -> Self {
            Self::default()
        }

        pub fn name(self, name: String) -> Self {
            Self(self.0.name(name))
        }

        pub fn spawn<T: Send + 'static>(
            self,
            job: impl FnOnce() -> T + Send + 'static,
        ) -> io::Result<JoinHandle<T>> {
            let finished = Arc::<AtomicBool>::default();
            let done = Arc::clone(&finished);
            let handle = self.0.spawn(move || {
                let value = job();
                done.store(true, Ordering::Relaxed);
                value
            })?;
            Ok(JoinHandle { handle, finished })
        }
    }

    #[derive(Debug)]
    pub struct JoinHandle<T> {
        handle: shuttle::thread::JoinHandle<T>,
        finished: Arc<AtomicBool>,
    }

    impl<T> JoinHandle<T> {
        pub fn join(self) -> Result<T> {
            self.handle.join()
        }

        pub fn thread(&self) -> &Thread {
            self.handle.thread()
        }

        pub fn is_finished(&self) -> bool {
            self.finished.load(Ordering::Relaxed)
        }
    }
}
