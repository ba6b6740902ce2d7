//! A world for the engine: a disk, producers, and what they know to be true.

pub mod variants;

use std::future::Future;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use storage::env::clock::Clock;
use storage::local::{self, LocalConfig};
use storage::log::{
    AppendError, AppendOrigin, Appended, BoxFuture, Durability, LiveConfig, LogConfig, LogStore,
    Next, PartitionLog, PendingAppend, ReadError, TopicPartition,
};
use storage::record::{BatchBuilder, BatchHeader};
use storage::testing::scheduler::thread::{self, JoinHandle};
use storage::testing::scheduler::{SimClock, sleep, timeout};
use storage::testing::sim_disk::{SimDisk, SimFs};
use uuid::Uuid;

use crate::common::{build, headers, read, request, trusted, values};

const DIR: &str = "/data";
const TOPICS: usize = 3;
const PRODUCERS: usize = 2;
const LIVES: usize = 5;
const STEPS_PER_LIFE: usize = 60;
const BUDGET_BYTES: u64 = 64 << 10;
/// Files at which the processes of some worlds end: few operations are on them, and much depends on each.
const PLACES: [&str; 4] = [
    "wal/checkpoint-",
    "wal/logs-",
    "offset-checkpoint",
    ".snapshot",
];
/// How often somebody who waits looks whether the process has ended, and how often before it is stuck.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const STUCK_AFTER_LOOKS: usize = 100_000;

/// What a check found: a sentence about what is wrong.
pub type Check<T = ()> = Result<T, String>;

macro_rules! ensure {
    ($holds:expr, $($what:tt)*) => {
        if !$holds {
            return Err(format!($($what)*));
        }
    };
}

/// How the processes of a world end, unless they shut down in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Kill,
    PowerCut,
    /// Now the one, now the other: what a killed process has written is not durable for the one that comes next.
    Either,
}

/// A batch that a producer has sent, and may send again.
#[derive(Clone, Debug)]
struct Sent {
    base_sequence: i32,
    base_offset: usize,
    values: Vec<Vec<u8>>,
}

/// What is known of one incarnation of a topic, which has one partition.
#[derive(Clone, Debug, Default)]
struct Topic {
    incarnation: u128,
    /// The value that was sent for each offset.
    attempted: Vec<Vec<u8>>,
    /// Everything before was acknowledged.
    acknowledged: usize,
    /// Everything before was there when the directory was last closed in order.
    closed_at: usize,
    log_start: usize,
    log_start_attempted: usize,
    sent: [Vec<Sent>; PRODUCERS],
    deleting: bool,
}

/// Records that are being deleted while other things go on.
struct PendingStart {
    topic: usize,
    incarnation: u128,
    offset: usize,
    answer: BoxFuture<'static, Result<i64, AppendError>>,
}

/// A finished snapshot, and what is known of each topic in it.
struct Copied {
    dir: PathBuf,
    topics: Vec<CopiedTopic>,
}

struct CopiedTopic {
    id: TopicPartition,
    /// What had been acknowledged when the snapshot was asked for.
    acknowledged: usize,
    log_start: usize,
    /// What had been sent when it was there.
    attempted: Vec<Vec<u8>>,
}

struct Pending {
    topic: usize,
    incarnation: u128,
    base_offset: usize,
    count: usize,
    duplicate: bool,
    answer: PendingAppend,
}

pub struct World {
    pub disk: SimDisk,
    /// Processes that have ended so far.
    pub ends: u64,
    random: StdRng,
    ending: Ending,
    deletes_topics: bool,
    durability: Durability,
    config: LogConfig,
    ring_bytes: u64,
    note_interval_bytes: u64,
    sync_together_from: usize,
    /// So many of the first wait for stable media, whatever the directory does.
    strict_topics: usize,
    /// Where most of the processes end, if not anywhere.
    ends_at: Option<&'static str>,
    manager: Option<Arc<dyn LogStore>>,
    logs: Vec<Arc<dyn PartitionLog>>,
    threads: Vec<JoinHandle<bool>>,
    topics: Vec<Topic>,
    pending: Vec<Pending>,
    pending_starts: Vec<PendingStart>,
    copied: Option<Copied>,
    copies: u64,
    attempts: u64,
    pub trace: Vec<String>,
}

impl World {
    pub fn new(seed: u64, ending: Ending, deletes_topics: bool, durability: Durability) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let config = LogConfig {
            segment_bytes: random.random_range(1_000..40_000),
            index_interval_bytes: random.random_range(0..4_096),
            file_delete_delay_ms: random.random_range(0..60_000),
            // Where logs grow old their starts move by themselves, up to their ends.
            retention_ms: match random.random_range(0..4) {
                0 => random.random_range(0..60_000),
                _ => -1,
            },
            ..LogConfig::default()
        };
        // Down to two regions: commits wait for a checkpoint all the time.
        let ring_bytes = [48 << 10, 80 << 10, 128 << 10][random.random_range(0..3)];
        let note_interval_bytes = [1, 2_000, 20_000][random.random_range(0..3)];
        let sync_together_from = [1, 2, usize::MAX][random.random_range(0..3)];
        let strict_topics = random.random_range(0..3);
        let ends_at = PLACES
            .get(random.random_range(0..4 * PLACES.len()))
            .copied();
        let topics = (0..TOPICS).map(|_| Topic::default()).collect();
        Self {
            disk: SimDisk::new(),
            ends: 0,
            random,
            ending,
            deletes_topics,
            durability,
            config,
            ring_bytes,
            note_interval_bytes,
            sync_together_from,
            strict_topics,
            ends_at,
            manager: None,
            logs: Vec::new(),
            threads: Vec::new(),
            topics,
            pending: Vec::new(),
            pending_starts: Vec::new(),
            copied: None,
            copies: 0,
            attempts: 0,
            trace: Vec::new(),
        }
    }

    /// What went wrong, and what came before.
    pub fn report(&self, what: &str) -> String {
        let from = self.trace.len().saturating_sub(40);
        format!(
            "{:?}: {what}\n  {}",
            self.ending,
            self.trace[from..].join("\n  ")
        ) + &format!("\n  {:?}", self.disk.files())
    }

    pub async fn run(&mut self) -> Check {
        for _ in 0..LIVES {
            let stop_at = match self.random.random_range(0..10) {
                0..2 => None,
                2..4 => Some(self.random.random_range(1..60)),
                _ => Some(self.random.random_range(30..300)),
            };
            self.live(stop_at, STEPS_PER_LIFE).await?;
        }
        self.live(None, 0).await
    }

    fn note(&mut self, what: String) {
        let (operations, ms) = (self.disk.operations(), SimClock.monotonic_ms());
        let line = format!("[{operations} at {ms} ms] {what}");
        if std::env::var_os("OTTLA_SIM_SEED").is_some() {
            // A panic leaves nothing but what has been printed.
            eprintln!("{line}");
        }
        self.trace.push(line);
    }

    /// One process, from its start to its end.
    async fn live(&mut self, stop_at: Option<u64>, steps: usize) -> Check {
        let fs = self.disk.boot(stop_at);
        let io_threads = self.random.random_range(1..4);
        self.note(format!("start, to stop at {stop_at:?}"));
        if let Some(part) = self.ends_at
            && self.random.random_bool(0.7)
        {
            let operations = self.random.random_range(1..6);
            self.note(format!("or at {operations} on {part}"));
            self.disk.stop_on(part, operations);
        }
        let opened = local::open(self.config(fs.clone(), io_threads, Path::new(DIR)));
        match opened {
            Ok(manager) => {
                self.note(format!("{:?}", manager.recovery_report()));
                self.manager = Some(manager);
                self.verify().await?;
                self.verify_copy(fs, io_threads).await?;
                for _ in 0..steps {
                    if self.disk.is_stopped() {
                        break;
                    }
                    self.step().await?;
                }
            }
            Err(_) if self.disk.is_stopped() => {}
            Err(error) => return Err(format!("refuses to start: {error}")),
        }
        self.end(steps == 0).await
    }

    fn config(&self, fs: SimFs, io_threads: usize, dir: &Path) -> LocalConfig {
        LocalConfig {
            wal_ring_bytes: self.ring_bytes,
            wal_region_bytes: 32 << 10,
            wal_first_region_bytes: 16 << 10,
            append_budget_bytes: BUDGET_BYTES,
            direct_io_bytes: 4 << 10,
            tail_cache_bytes: 8 << 10,
            note_interval_bytes: self.note_interval_bytes,
            sync_together_from: self.sync_together_from,
            io_threads,
            durability: self.durability,
            recovery_threads: 2,
            // Segments close and open all the time.
            open_files_max: 3,
            fs: Arc::new(fs),
            clock: Arc::new(SimClock),
            retention_check_interval_ms: 5_000,
            initial_task_delay_ms: 5_000,
            // However long it takes, a producer may send its last batch again.
            live: LiveConfig {
                producer_id_expiration_ms: i64::MAX,
                ..LiveConfig::default()
            },
            ..LocalConfig::new(dir)
        }
    }

    async fn end(&mut self, last: bool) -> Check {
        if !self.disk.is_stopped() && (last || self.random.random_bool(0.3)) {
            self.shut_down().await?;
        }
        self.ends += 1;
        let is_cut = match self.ending {
            Ending::Kill => false,
            Ending::PowerCut => true,
            Ending::Either => self.random.random_bool(0.6),
        };
        match is_cut {
            false => self.disk.kill(),
            true => {
                let seed = self.random.random();
                self.note(format!("power cut {seed}"));
                self.disk.power_cut(seed);
            }
        }
        let forgets = is_cut && self.durability == Durability::Os;
        self.logs.clear();
        // What a process has left behind ends, because its disk refuses everything.
        if let Some(manager) = self.manager.take() {
            let _ = manager.shutdown();
        }
        for thread in std::mem::take(&mut self.threads) {
            let _ = thread.join();
        }
        for pending in std::mem::take(&mut self.pending) {
            if let Ok(appended) = pending.answer.await {
                let topic = &mut self.topics[pending.topic];
                if topic.incarnation == pending.incarnation {
                    let end = appended.last_offset as usize + 1;
                    topic.acknowledged = topic.acknowledged.max(end);
                }
            }
        }
        for pending in std::mem::take(&mut self.pending_starts) {
            if let Ok(start) = pending.answer.await {
                let topic = &mut self.topics[pending.topic];
                if topic.incarnation == pending.incarnation {
                    topic.log_start = topic.log_start.max(start as usize);
                }
            }
        }
        if forgets {
            // That is what the mode promises, but to topics that want more.
            for topic in self.topics.iter_mut().skip(self.strict_topics) {
                topic.acknowledged = topic.closed_at.max(topic.log_start);
            }
        }
        Ok(())
    }

    async fn shut_down(&mut self) -> Check {
        self.note("shut down".to_owned());
        if self.random.random_bool(0.5) {
            self.settle().await?;
        }
        self.logs.clear();
        let Some(manager) = self.manager.clone() else {
            return Ok(());
        };
        let closed = self.off_thread(move || manager.shutdown()).await?;
        ensure!(
            !matches!(closed, Some(Err(_))) || self.disk.is_stopped(),
            "shutting down failed: {closed:?}"
        );
        if matches!(closed, Some(Ok(()))) && !self.disk.is_stopped() {
            for topic in &mut self.topics {
                topic.closed_at = topic.acknowledged;
            }
        }
        Ok(())
    }

    /// Waits for an answer; none if the process ends first.
    async fn until_stopped<T>(&self, future: impl Future<Output = T>) -> Check<Option<T>> {
        let mut future = std::pin::pin!(future);
        for _ in 0..STUCK_AFTER_LOOKS {
            let stopped = self.disk.is_stopped();
            match timeout(LOOK_INTERVAL, &mut future).await {
                Some(value) => return Ok(Some(value)),
                None if stopped => return Ok(None),
                None => {}
            }
        }
        Err("stuck".to_owned())
    }

    /// Runs what blocks where it does not block the world.
    async fn off_thread<T: Send + 'static>(
        &mut self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Check<Option<T>> {
        let (sender, answer) = tokio::sync::oneshot::channel();
        let thread = thread::spawn(move || sender.send(job()).is_ok());
        self.threads
            .push(thread.map_err(|error| error.to_string())?);
        Ok(self.until_stopped(answer).await?.and_then(Result::ok))
    }

    fn id(&self, at: usize) -> TopicPartition {
        TopicPartition {
            topic: Arc::from(format!("topic{at}")),
            topic_id: Uuid::from_u128(((at as u128 + 1) << 64) + self.topics[at].incarnation),
            partition: 0,
        }
    }

    fn open_log(&self, at: usize) -> Check<Option<Arc<dyn PartitionLog>>> {
        let Some(manager) = &self.manager else {
            return Ok(None);
        };
        let config = LogConfig {
            durability: (at < self.strict_topics).then_some(Durability::Strict),
            ..self.config.clone()
        };
        match manager.open_log(self.id(at), Arc::new(config)) {
            Ok(log) => Ok(Some(log)),
            Err(_) if self.disk.is_stopped() => Ok(None),
            Err(error) => Err(format!("topic {at} cannot be opened: {error}")),
        }
    }

    /// Holds what is found after a start against what is known.
    async fn verify(&mut self) -> Check {
        for at in 0..TOPICS {
            if self.topics[at].deleting {
                // Whoever wanted it gone asks again.
                self.delete_topic(at).await?;
                if self.topics[at].deleting {
                    return Ok(());
                }
            }
            let Some(log) = self.open_log(at)? else {
                return Ok(());
            };
            let offsets = log.offsets();
            if self.disk.is_stopped() {
                return Ok(());
            }
            if let Err(error) = log.read(request(offsets.log_start_offset))
                && !(self.disk.is_stopped()
                    || (self.grows_old() && matches!(error, ReadError::OffsetOutOfRange { .. })))
            {
                return Err(format!("topic {at} cannot be used after a start: {error}"));
            }
            let grows_old = self.grows_old();
            let topic = &self.topics[at];
            let (start, end) = (offsets.log_start_offset, offsets.log_end_offset);
            ensure!(
                offsets.high_watermark == end,
                "topic {at}: {offsets:?} after a start"
            );
            ensure!(
                (topic.acknowledged..=topic.attempted.len()).contains(&(end as usize)),
                "topic {at} ends at {end}, but {} were acknowledged and {} attempted",
                topic.acknowledged,
                topic.attempted.len()
            );
            ensure!(
                (topic.log_start..=topic.log_start_attempted).contains(&(start as usize))
                    || (grows_old && (topic.log_start as i64..=end).contains(&start)),
                "topic {at} starts at {start}, but {} was acknowledged and {} attempted",
                topic.log_start,
                topic.log_start_attempted
            );
            let topic = &mut self.topics[at];
            let end = end as usize;
            topic.attempted.truncate(end);
            topic.acknowledged = end;
            topic.log_start = start as usize;
            topic.log_start_attempted = start as usize;
            for sent in &mut topic.sent {
                sent.retain(|sent| sent.base_offset < end);
            }
            self.logs.truncate(at);
            self.logs.push(log);
            if self.read(at, start as usize, usize::MAX).await?.is_none() {
                return Ok(());
            }
        }
        for at in 0..TOPICS {
            for producer in 0..PRODUCERS {
                self.send_again(at, producer).await?;
            }
        }
        self.settle().await
    }

    async fn step(&mut self) -> Check {
        if self.logs.len() < TOPICS {
            return Ok(());
        }
        let at = self.random.random_range(0..TOPICS);
        match self.random.random_range(0..100) {
            0..50 => {
                self.append(at).await?;
                if self.random.random_bool(0.6) {
                    self.settle().await?;
                }
                Ok(())
            }
            50..58 => {
                let producer = self.random.random_range(0..PRODUCERS);
                self.send_again(at, producer).await
            }
            58..63 => self.settle().await,
            63..73 => {
                let from = self.random.random_range(0..=self.topics[at].acknowledged);
                let from = from.max(self.topics[at].log_start);
                let bytes = self.random.random_range(0..20_000);
                self.read(at, from, bytes).await.map(|_| ())
            }
            73..90 => {
                self.pass_time().await;
                Ok(())
            }
            90..96 => self.delete_records(at).await,
            _ => {
                self.settle().await?;
                match self.deletes_topics && self.random.random_bool(0.7) {
                    true => self.delete_topic(at).await,
                    false => {
                        for _ in 0..self.random.random_range(0..3) {
                            // They are on their way meanwhile.
                            self.append(at).await?;
                        }
                        self.copy().await
                    }
                }
            }
        }
    }

    async fn append(&mut self, at: usize) -> Check {
        let count = self.random.random_range(1..5);
        let size = match self.random.random_range(0..8) {
            0 => self.random.random_range(0..4_000),
            _ => self.random.random_range(0..600),
        };
        let producer = self.random.random_range(0..PRODUCERS);
        let base_offset = self.topics[at].attempted.len();
        let values: Vec<Vec<u8>> = (0..count)
            .map(|number| {
                self.attempts += 1;
                let offset = base_offset + number;
                let mut value = format!("{at} {offset} {} ", self.attempts).into_bytes();
                value.resize(value.len() + size, b'x');
                value
            })
            .collect();
        let topic = &mut self.topics[at];
        let base_sequence = topic.sent[producer]
            .last()
            .map_or(0, |last| last.base_sequence + last.values.len() as i32);
        let sent = Sent {
            base_sequence,
            base_offset,
            values,
        };
        self.note(format!("append {count} of {size} to {at} at {base_offset}"));
        self.topics[at]
            .attempted
            .extend(sent.values.iter().cloned());
        self.topics[at].sent[producer].push(sent.clone());
        self.submit(at, producer, &sent, false).await
    }

    fn grows_old(&self) -> bool {
        self.config.retention_ms >= 0
    }

    /// A producer has not heard of its last batch and sends it again, whether or not the log still has it.
    async fn send_again(&mut self, at: usize, producer: usize) -> Check {
        let topic = &self.topics[at];
        let Some(sent) = topic.sent[producer].last().cloned() else {
            return Ok(());
        };
        // What a power cut takes from `os` mode it may take from the producers, and of a log that has moved its start
        // nobody would see it.
        let outlives_batches = self.ending == Ending::Kill
            || self.durability == Durability::Strict
            || at < self.strict_topics;
        let may_be_gone = self.grows_old() || sent.base_offset < topic.log_start_attempted;
        if may_be_gone && !outlives_batches {
            return Ok(());
        }
        self.note(format!("send {} of {at} again", sent.base_offset));
        self.submit(at, producer, &sent, true).await
    }

    async fn submit(&mut self, at: usize, producer: usize, sent: &Sent, duplicate: bool) -> Check {
        let Some(log) = self.logs.get(at).map(Arc::clone) else {
            return Ok(());
        };
        let values: Vec<&[u8]> = sent.values.iter().map(Vec::as_slice).collect();
        let builder = BatchBuilder::new().producer(producer as i64 + 1, 0, sent.base_sequence);
        let batch = trusted(build(builder, SimClock.now_ms(), &values));
        let permit = match self
            .until_stopped(log.reserve(batch.bytes.len(), AppendOrigin::CLIENT))
            .await?
        {
            Some(Ok(permit)) => permit,
            None | Some(Err(_)) if self.disk.is_stopped() => return Ok(()),
            other => return Err(format!("no room: {other:?}")),
        };
        let next = match self.random.random_bool(0.5) {
            true => Next::Wait,
            false => Next::Append,
        };
        match log.submit(permit, batch, AppendOrigin::CLIENT, next) {
            Ok(answer) => self.pending.push(Pending {
                topic: at,
                incarnation: self.topics[at].incarnation,
                base_offset: sent.base_offset,
                count: sent.values.len(),
                duplicate,
                answer,
            }),
            Err(_) if self.disk.is_stopped() => {}
            Err(error) => return Err(format!("topic {at} refuses an append: {error}")),
        }
        Ok(())
    }

    /// Waits for all acknowledgements.
    async fn settle(&mut self) -> Check {
        self.settle_starts().await?;
        for pending in std::mem::take(&mut self.pending) {
            let Pending { topic: at, .. } = pending;
            let answer: Option<Result<Appended, AppendError>> =
                self.until_stopped(pending.answer).await?;
            let appended = match answer {
                Some(Ok(appended)) => appended,
                _ if self.disk.is_stopped() => continue,
                other => return Err(format!("topic {at} does not append: {other:?}")),
            };
            let expected = Appended {
                base_offset: pending.base_offset as i64,
                last_offset: (pending.base_offset + pending.count) as i64 - 1,
                duplicate: pending.duplicate,
                ..appended
            };
            ensure!(appended == expected, "{appended:?} instead of {expected:?}");
            let topic = &mut self.topics[at];
            topic.acknowledged = topic.acknowledged.max(appended.last_offset as usize + 1);
            let offsets = self.logs[at].offsets();
            ensure!(
                offsets.high_watermark >= topic.acknowledged as i64 || self.disk.is_stopped(),
                "{offsets:?}, but {} were acknowledged",
                topic.acknowledged
            );
        }
        Ok(())
    }

    /// Reads from an offset on; nothing if the process ends before.
    async fn read(&mut self, at: usize, from: usize, max_bytes: usize) -> Check<Option<()>> {
        let log = Arc::clone(&self.logs[at]);
        let (mut next, mut left) = (from, max_bytes);
        let grows_old = self.grows_old();
        loop {
            let mut wanted = request(next as i64);
            wanted.max_bytes = left.min(100_000);
            let fetched = match self.until_stopped(read(&log, wanted)).await? {
                Some(Ok(fetched)) => fetched,
                _ if self.disk.is_stopped() => return Ok(None),
                Some(Err(ReadError::OffsetOutOfRange {
                    log_start_offset, ..
                })) if (next as i64) < log_start_offset => {
                    let start = log_start_offset as usize;
                    let topic = &mut self.topics[at];
                    ensure!(
                        start <= topic.log_start_attempted || grows_old,
                        "topic {at} starts at {start}, but only {} was attempted",
                        topic.log_start_attempted
                    );
                    topic.log_start = topic.log_start.max(start);
                    topic.log_start_attempted = topic.log_start_attempted.max(start);
                    next = start;
                    continue;
                }
                other => return Err(format!("topic {at} cannot be read at {next}: {other:?}")),
            };
            let topic = &self.topics[at];
            let end = fetched.offsets.high_watermark as usize;
            ensure!(
                (topic.acknowledged..=topic.attempted.len()).contains(&end)
                    || self.disk.is_stopped(),
                "topic {at} shows {end}, but {} were acknowledged and {} attempted",
                topic.acknowledged,
                topic.attempted.len()
            );
            let Some(last) = headers(&fetched).last().map(BatchHeader::next_offset) else {
                ensure!(next == end, "topic {at} has nothing at {next} of {end}");
                return Ok(Some(()));
            };
            for (offset, value) in values(&fetched) {
                if offset as usize == next {
                    ensure!(
                        Some(&value) == topic.attempted.get(next),
                        "topic {at} has wrong data at offset {next}"
                    );
                    next += 1;
                } else {
                    ensure!((offset as usize) < next, "topic {at} has no offset {next}");
                }
            }
            ensure!(next == last as usize, "topic {at} has no offset {next}");
            left = left.saturating_sub(fetched.size_bytes);
            if left == 0 {
                return Ok(Some(()));
            }
        }
    }

    /// Lets time pass.
    async fn pass_time(&mut self) {
        let ms = match self.random.random_range(0..3) {
            0 => self.random.random_range(0..3_000),
            1 => self.random.random_range(3_000..10_000),
            _ => self.random.random_range(10_000..70_000),
        };
        self.note(format!("{ms} ms pass"));
        sleep(Duration::from_millis(ms)).await;
    }

    async fn delete_records(&mut self, at: usize) -> Check {
        self.settle().await?;
        let topic = &mut self.topics[at];
        let offset = match self.random.random_range(0..3) {
            0 => topic.acknowledged,
            _ => self
                .random
                .random_range(topic.log_start.min(topic.acknowledged)..=topic.acknowledged),
        };
        topic.log_start_attempted = topic.log_start_attempted.max(offset);
        self.note(format!("delete {at} before {offset}"));
        let answer = self.logs[at].delete_records_before(offset as i64);
        self.pending_starts.push(PendingStart {
            topic: at,
            incarnation: self.topics[at].incarnation,
            offset,
            answer,
        });
        match self.random.random_bool(0.5) {
            true => self.settle_starts().await,
            // The next append may come in between.
            false => Ok(()),
        }
    }

    /// Waits until all records are deleted that are to be.
    async fn settle_starts(&mut self) -> Check {
        let grows_old = self.grows_old();
        for pending in std::mem::take(&mut self.pending_starts) {
            let (at, offset) = (pending.topic, pending.offset);
            let answer = self.until_stopped(pending.answer).await?;
            let topic = &mut self.topics[at];
            match answer {
                Some(Ok(start)) => {
                    let start = start as usize;
                    ensure!(
                        start >= offset && (start <= topic.log_start_attempted || grows_old),
                        "topic {at} starts at {start}, not {offset}"
                    );
                    topic.log_start = topic.log_start.max(start);
                    topic.log_start_attempted = topic.log_start_attempted.max(start);
                }
                _ if self.disk.is_stopped() => {}
                other => return Err(format!("topic {at} does not delete records: {other:?}")),
            }
        }
        Ok(())
    }

    /// Makes a snapshot. What is in it is looked at after the next end of the process.
    async fn copy(&mut self) -> Check {
        let Some(manager) = self.manager.clone() else {
            return Ok(());
        };
        self.copies += 1;
        let dir = PathBuf::from(format!("/copy{}", self.copies));
        self.note(format!("a snapshot in {}", dir.display()));
        let known = |topic: &Topic| (topic.acknowledged, topic.log_start);
        let before: Vec<_> = self.topics.iter().map(known).collect();
        let to = dir.clone();
        let copying = move || manager.snapshot(&to, &mut |_| ControlFlow::Continue(()));
        match self.off_thread(copying).await? {
            Some(Ok(copied)) => self.note(format!("{} files", copied.files.len())),
            _ if self.disk.is_stopped() => return Ok(()),
            other => return Err(format!("no snapshot: {other:?}")),
        }
        let topics = before.iter().enumerate();
        let topics = topics.map(|(at, (acknowledged, log_start))| CopiedTopic {
            id: self.id(at),
            acknowledged: *acknowledged,
            log_start: *log_start,
            attempted: self.topics[at].attempted.clone(),
        });
        let topics = topics.collect();
        self.copied = Some(Copied { dir, topics });
        Ok(())
    }

    /// A snapshot that was finished starts, whatever has happened since, and has what had been acknowledged before.
    async fn verify_copy(&mut self, fs: SimFs, io_threads: usize) -> Check {
        let Some(copied) = self.copied.take() else {
            return Ok(());
        };
        self.note(format!("look at {}", copied.dir.display()));
        let opened = local::open(self.config(fs, io_threads, &copied.dir));
        let manager = match opened {
            Ok(manager) => manager,
            Err(_) if self.disk.is_stopped() => return Ok(()),
            Err(error) => return Err(format!("the snapshot does not start: {error}")),
        };
        for topic in &copied.topics {
            let config = Arc::new(LogConfig {
                retention_ms: -1,
                ..self.config.clone()
            });
            let log = match manager.open_log(topic.id.clone(), config) {
                Ok(log) => log,
                Err(_) if self.disk.is_stopped() => break,
                Err(error) => return Err(error.to_string()),
            };
            let offsets = log.offsets();
            let (start, end) = (
                offsets.log_start_offset as usize,
                offsets.log_end_offset as usize,
            );
            let (sent, known) = (topic.attempted.len(), topic.acknowledged);
            let (mut next, mut failed) = (start, None);
            while next < end && failed.is_none() {
                match self.until_stopped(read(&log, request(next as i64))).await? {
                    Some(Ok(fetched)) => {
                        for (offset, value) in values(&fetched) {
                            if offset as usize == next {
                                let right = topic.attempted.get(next) == Some(&value);
                                ensure!(right, "{} has wrong data at {next}", topic.id);
                                next += 1;
                            }
                        }
                    }
                    Some(Err(error)) => failed = Some(error.to_string()),
                    None => failed = Some("stopped".to_owned()),
                }
            }
            if self.disk.is_stopped() {
                break;
            }
            ensure!(failed.is_none(), "a snapshot's {}: {failed:?}", topic.id);
            ensure!(
                start >= topic.log_start && (known.max(start)..=sent).contains(&end),
                "a snapshot's {} has {start}..{end} of {}..{known}, {sent} were sent",
                topic.id,
                topic.log_start
            );
        }
        self.off_thread(move || manager.shutdown())
            .await
            .map(|_| ())
    }

    /// Deletes a topic and creates it again.
    async fn delete_topic(&mut self, at: usize) -> Check {
        let Some(manager) = self.manager.clone() else {
            return Ok(());
        };
        self.note(format!("delete topic {at}"));
        self.topics[at].deleting = true;
        let id = self.id(at);
        match self.until_stopped(manager.delete_logs(vec![id])).await? {
            Some(Ok(())) => {
                self.topics[at] = Topic {
                    incarnation: self.topics[at].incarnation + 1,
                    ..Topic::default()
                };
                if self.logs.len() > at
                    && let Some(log) = self.open_log(at)?
                {
                    self.logs[at] = log;
                }
            }
            _ if self.disk.is_stopped() => {}
            other => return Err(format!("topic {at} is not deleted: {other:?}")),
        }
        Ok(())
    }
}
