//! A log directory on files: opening, its threads, and closing.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::env::bell::Bell;
use crate::env::fs::{self, Access, Fs, LockGuard, if_found, is_passing};
use crate::env::random::new_uuid;
use crate::env::sync::{Mutex, caught, thread};
use crate::local::cold_budget::ColdBudget;
use crate::local::compaction::{CLEANER_OFFSETS, LogCleaner};
use crate::local::config::LocalConfig;
use crate::local::deletion::{self, Departure, Departures, Logs, Sweep, Sweeping};
use crate::local::file_log::{FileLog, FileLogHandle};
use crate::local::io_pool::IoPool;
use crate::local::loader::LoadError;
use crate::local::log_dir::LogDir;
use crate::local::maintenance::Maintenance;
use crate::local::open_error::OpenError;
use crate::local::recovery::{Recovery, RecoveryError};
use crate::local::retention::Schedule;
use crate::local::segment::direct::DirectIo;
use crate::local::segment::open_files::OpenFiles;
use crate::local::text_files::{
    CLEAN_SHUTDOWN, LOG_START_OFFSETS, Offsets, RECOVERY_POINTS, read_offsets, write_offsets,
};
use crate::local::wal::checkpoint::{Checkpoint, CheckpointError};
use crate::local::wal::chunk::ChunkPool;
use crate::local::wal::commit::{Wal, WalError};
use crate::local::wal::format::{GROUP_HEADER_BYTES, GroupHeader};
use crate::local::wal::logs::LogTable;
use crate::local::wal::replay::ReplayError;
use crate::local::wal::ring::{Ring, RingConfig, Shortage, list_regions, region_path};
use crate::log::stats::{Counters, DirectoryStats};
use crate::log::{
    DeletedTopics, Durability, Health, LogConfig, LogStore, PartitionLog, RecoveryReport,
    StorageError, TopicPartition,
};

const WAL_DIR: &str = "wal";
const LOCK_FILE: &str = ".lock";
/// How often a shutdown looks whether the last writes want for room.
const MAKE_ROOM_INTERVAL: Duration = Duration::from_millis(1);
/// A commit that has waited for so long is told of.
const STALLED_SECONDS: u64 = 5;
const COMMIT_THREAD: &str = "wal-commit";
/// Logs whose deletions wait for the write-ahead log together: it bounds what they have in memory.
const DELETED_TOGETHER: usize = 10_000;
/// The directories of so many deleted logs are renamed before the deletion returns.
const MOVED_AT_ONCE: usize = 256;

/// The logs of a directory.
pub(crate) struct LocalStore {
    shared: Arc<LogDir>,
    logs: Arc<Logs>,
    next_log_id: AtomicU32,
    maintenance: Arc<Maintenance>,
    cleaner: Option<Arc<LogCleaner>>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
    closing_threads: usize,
    recovery_report: RecoveryReport,
    failed: watch::Receiver<Option<StorageError>>,
    /// Taken when the directory is closed.
    lock: Mutex<Option<LockGuard>>,
}

impl LocalStore {
    pub fn open(config: LocalConfig) -> Result<Self, OpenError> {
        let started_ms = config.clock.monotonic_ms();
        let (fs, dir) = (Arc::clone(&config.fs), config.dir.clone());
        let lock = lock(&*fs, &dir)?;
        let wal_dir = dir.join(WAL_DIR);
        fs.create_dir_all(&wal_dir)
            .and_then(|()| fs.sync_dir(&dir))
            .map_err(OpenError::io(&wal_dir))?;
        let pool = IoPool::start(config.io_threads.max(1)).map_err(OpenError::io(&dir))?;
        let bell = Arc::<Bell>::default();
        let open_files = OpenFiles::new(open_files_limit(config.open_files_max), Arc::clone(&bell));
        let log_starts_path = dir.join(LOG_START_OFFSETS);
        let mut log_starts =
            read_offsets(&*fs, &log_starts_path).map_err(OpenError::io(&log_starts_path))?;
        let cleaner_offsets_path = dir.join(CLEANER_OFFSETS);
        let cleaner_offsets = read_offsets(&*fs, &cleaner_offsets_path)
            .map_err(OpenError::io(&cleaner_offsets_path))?;
        let marker = dir.join(CLEAN_SHUTDOWN);
        let was_clean = if_found(fs.open(&marker, Access::Read))
            .map_err(OpenError::io(&marker))?
            .is_some();

        let chunks = ChunkPool::new(usize::try_from(config.tail_cache_bytes).unwrap_or(usize::MAX));
        let direct_io = DirectIo::new(Arc::clone(&chunks), config.direct_io_bytes);
        let previous = read_checkpoint(&*fs, &wal_dir)?;
        let mut recovery_report = RecoveryReport {
            clean: was_clean || previous.is_none(),
            ..RecoveryReport::default()
        };
        let mut next_sequence = 1;
        let closed_at_path = dir.join(RECOVERY_POINTS);
        let mut recovery_points =
            read_offsets(&*fs, &closed_at_path).map_err(OpenError::io(&closed_at_path))?;
        let mut deleted = Vec::new();
        if let Some(checkpoint) = &previous {
            let recovery = Arc::new(Recovery {
                fs: Arc::clone(&fs),
                // Small pieces of many logs: they are synced once, at the end.
                direct_io: DirectIo::new(Arc::clone(&chunks), 4 * config.direct_io_bytes),
                clock: Arc::clone(&config.clock),
                open_files: Arc::clone(&open_files),
                dir: dir.clone(),
                wal_dir: wal_dir.clone(),
                may_cut_tails: config.durability == Durability::Os,
            });
            let pool =
                IoPool::start(config.recovery_threads.max(1)).map_err(OpenError::io(&dir))?;
            let recovered = recovery.run(&pool, checkpoint, &mut log_starts)?;
            write_offsets(&*fs, &log_starts_path, &log_starts)
                .map_err(OpenError::io(&log_starts_path))?;
            next_sequence = recovered.end.next_sequence;
            recovery_report.clean = was_clean && recovered.end.groups == 0;
            recovery_report.replayed_batches = recovered.batches;
            recovery_report.replayed_bytes = recovered.bytes;
            recovery_report.replayed_partitions = recovered.partitions;
            recovery_report.truncated_bytes = recovered.end.torn_bytes;
            deleted = recovered.deleted;
            // Or another log of this name would be trusted up to where a deleted one was.
            recovery_points.retain(|key, _| !recovered.deleted_keys.contains(key));
        }
        let closed_at = match recovery_report.clean {
            true => recovery_points.clone(),
            false => Offsets::new(),
        };
        if was_clean {
            fs.remove_file(&marker)
                .and_then(|()| fs.sync_dir(&dir))
                .map_err(OpenError::io(&marker))?;
        }

        let (wal, table, checkpoint) = open_wal(
            &config,
            &wal_dir,
            &chunks,
            &bell,
            previous.as_ref(),
            next_sequence,
        )
        .map_err(OpenError::io(&wal_dir))?;
        let file_system_sync = fs.file_system_sync(&dir);
        if file_system_sync.is_some() {
            open_files.allow_closing_unsynced();
        }
        let budget_bytes = usize::try_from(config.append_budget_bytes).unwrap_or(usize::MAX);
        let append_budget_bytes = budget_bytes.min(u32::MAX as usize);
        let shared = Arc::new(LogDir {
            may_cut_tails: !recovery_report.clean && config.durability == Durability::Os,
            path: dir.clone(),
            fs,
            clock: config.clock,
            wal,
            pool,
            chunks,
            direct_io,
            durability: config.durability,
            append_budget: Arc::new(Semaphore::new(append_budget_bytes)),
            append_budget_bytes,
            tail_cache_bytes: usize::try_from(config.tail_cache_bytes).unwrap_or(usize::MAX),
            busy: Mutex::default(),
            releasing: Mutex::default(),
            committed_bytes: AtomicU64::new(0),
            log_starts: Mutex::new(log_starts),
            log_starts_changed: AtomicBool::new(false),
            writing_offsets: Mutex::default(),
            closed_at: Mutex::new(closed_at),
            recovery_points: Mutex::new(recovery_points),
            disk_full: watch::Sender::new(false),
            low_on_space: AtomicBool::new(false),
            disk_reserve_bytes: config.disk_reserve_bytes,
            note_interval_bytes: config.note_interval_bytes,
            producer_id_expiration_ms: config.producer_id_expiration_ms,
            producer_check_interval_ms: config.producer_id_expiration_check_interval_ms.max(1),
            with_producers: Mutex::default(),
            flush_due_ms: AtomicU64::new(u64::MAX),
            file_system_sync,
            sync_together_from: config.sync_together_from,
            open_files,
            cold_reads: ColdBudget::new(config.cold_read_budget_bytes),
            retention: Schedule::default(),
            doomed: Mutex::default(),
            departures: Departures::default(),
            dirty: Mutex::default(),
            cleaner_offsets: Mutex::new(cleaner_offsets),
            maintenance: bell,
            counters: Counters::default(),
        });
        let (failed_sender, failed) = watch::channel(None);
        let failed_sender = Arc::new(failed_sender);
        let maintenance = Arc::new(Maintenance::new(
            Arc::clone(&shared),
            wal_dir,
            config.retention_check_interval_ms.max(1),
            checkpoint,
            table,
            Arc::clone(&failed_sender),
        ));
        let panicked = Panicked {
            shared: Arc::downgrade(&shared),
            failed: failed_sender,
        };
        let told = panicked.clone();
        shared
            .pool
            .on_panic(move |what| told.tell("storage-io", &what));
        let cleaner = config.cleaner.enabled.then(|| {
            let (shared, maintenance) = (Arc::clone(&shared), Arc::clone(&maintenance));
            Arc::new(LogCleaner::new(shared, maintenance, config.cleaner))
        });
        let threads = start_threads(&shared, &maintenance, cleaner.as_ref(), &panicked)
            .map_err(OpenError::io(&dir))?;
        recovery_report.took =
            Duration::from_millis(shared.clock.monotonic_ms().saturating_sub(started_ms));
        let manager = Self {
            shared,
            logs: Arc::default(),
            next_log_id: AtomicU32::new(1),
            maintenance,
            cleaner,
            threads: Mutex::new(threads),
            closing_threads: config.recovery_threads.max(1),
            recovery_report,
            failed,
            lock: Mutex::new(Some(lock)),
        };
        for id in deleted {
            manager.shared.departures.add(Departure {
                id,
                log: None,
                delay_ms: 0,
            });
        }
        manager.shared.finish_departures_in_time();
        let shared = Arc::clone(&manager.shared);
        manager.shared.pool.write(move || shared.remove_left_over());
        Ok(manager)
    }

    fn log(&self, id: TopicPartition, config: Arc<LogConfig>) -> Arc<FileLog> {
        let mut logs = self.logs.lock();
        let log = logs.entry(id.clone()).or_insert_with(|| {
            let log_id = self.next_log_id.fetch_add(1, Ordering::Relaxed);
            let log = Arc::new(FileLog::new(id, log_id, config, Arc::clone(&self.shared)));
            // What is in its directory is not known: the next check has a look.
            log.check_retention_at(0);
            log.may_be_dirty();
            log
        });
        Arc::clone(log)
    }

    fn stop_threads(&self) {
        if let Some(cleaner) = &self.cleaner {
            cleaner.stop();
        }
        self.maintenance.stop();
        // The maintenance ends first, and then the commit thread, which may be waiting for it.
        for thread in self.threads.lock().drain(..).rev() {
            while thread.thread().name() == Some(COMMIT_THREAD) && !thread.is_finished() {
                self.make_room();
                thread::sleep(MAKE_ROOM_INTERVAL);
            }
            if thread.join().is_err() {
                tracing::error!("a storage thread panicked");
            }
        }
    }

    /// Gives the commit thread the room for its last writes that the maintenance would have made.
    fn make_room(&self) {
        let wal = &self.shared.wal;
        if wal.refused() != Some(WalError::Closed) {
            // It has failed, and waits for nothing any more.
            return;
        }
        if !wal.ring().is_waited_for() {
            return;
        }
        let made = match wal.ring().need() {
            Some(Shortage::Grow) => wal.ring().grow(),
            Some(Shortage::Checkpoint) => self.maintenance.checkpoint(),
            None => Ok(()),
        };
        match made {
            Ok(()) => {}
            // The caller comes back.
            Err(error) if is_passing(&error) => {}
            Err(error) => wal.fail(&error.to_string()),
        }
    }

    /// Leaves a directory as Kafka would: segments, indexes, snapshots and checkpoints, and no write-ahead log.
    fn close_files(&self) -> io::Result<()> {
        let shared = &self.shared;
        let logs: Vec<_> = self.logs.lock().values().cloned().collect();
        for log in &logs {
            log.begin_close();
        }
        // Where each log is synced by itself, a stop waits for many small syncs, as recovery does.
        let pool = IoPool::start(self.closing_threads)?;
        self.maintenance.make_durable(&pool, logs.clone())?;
        for log in &logs {
            log.release_memory(u64::MAX);
        }
        let mut recovery_points = shared.closed_at.lock().clone();
        for log in logs {
            if let Some(end_offset) = log.end_offset() {
                let id = log.topic_partition();
                recovery_points.insert((id.topic.to_string(), id.partition), end_offset);
            }
        }
        // At the next start they say where each log has to end: none may be older than its log.
        shared.change_recovery_points(|points| {
            *points = recovery_points;
            true
        })?;
        self.maintenance.checkpoint_closed()?;
        remove_wal(&*shared.fs, &shared.path.join(WAL_DIR))?;
        fs::replace(
            &*shared.fs,
            &shared.path.join(CLEAN_SHUTDOWN),
            br#"{"version":0,"brokerEpoch":-1}"#,
        )
    }

    /// Lets go of everything, so that nothing touches the directory any more.
    fn release(&self) {
        self.shared.append_budget.close();
        self.shared.pool.close();
        self.shared.busy.lock().clear();
        self.shared.departures.clear();
        self.shared.doomed.lock().clear();
        for log in std::mem::take(&mut *self.logs.lock()).into_values() {
            log.wake_all();
        }
    }
}

impl LogStore for LocalStore {
    fn open_log(
        &self,
        id: TopicPartition,
        config: Arc<LogConfig>,
    ) -> Result<Arc<dyn PartitionLog>, StorageError> {
        if let Some(error) = self.shared.wal.refused() {
            return Err(StorageError(error.to_string()));
        }
        Ok(Arc::new(FileLogHandle(self.log(id, config))))
    }

    fn delete_logs(&self, ids: &[TopicPartition]) -> Result<(), StorageError> {
        let mut first_failure = None;
        let mut failures = 0;
        for some in ids.chunks(DELETED_TOGETHER) {
            let logs: Vec<_> = some
                .iter()
                .map(|id| self.log(id.clone(), Arc::default()))
                .collect();
            let (deleted, failed) = deletion::delete(&logs);
            failures += failed.len();
            first_failure = first_failure.or(failed.into_iter().next());
            let mut open = self.logs.lock();
            for id in &deleted {
                open.remove(id);
            }
            drop(open);
            if ids.len() <= MOVED_AT_ONCE {
                self.shared.depart(&deleted);
            }
        }
        if ids.len() > MOVED_AT_ONCE {
            let shared = Arc::clone(&self.shared);
            self.shared
                .pool
                .write(move || shared.finish_departures_in_time());
        }
        match first_failure {
            None => Ok(()),
            Some(first) if failures == 1 => Err(StorageError(first)),
            Some(first) => Err(StorageError(format!("{first}, and {failures} in all"))),
        }
    }

    fn sweep(&self, deleted: DeletedTopics, delay_ms: u64, done: Box<dyn FnOnce() + Send>) {
        let (shared, logs) = (Arc::clone(&self.shared), Arc::clone(&self.logs));
        let spares_all = self.recovery_report.clean;
        let sweep = Sweep::new(&shared, &logs, deleted, spares_all, delay_ms);
        let sweeping = Sweeping::new(sweep, logs, done);
        self.shared.pool.write(move || sweeping.run(&shared));
    }

    fn recovery_report(&self) -> &RecoveryReport {
        &self.recovery_report
    }

    fn failed(&self) -> watch::Receiver<Option<StorageError>> {
        self.failed.clone()
    }

    fn health(&self) -> Health {
        match self.shared.wal.refused() {
            None | Some(WalError::Closed) => {}
            Some(error) => return Health::Offline(error.to_string()),
        }
        let commits = self.shared.wal.stats();
        let seconds = commits.in_flight().as_secs();
        if seconds < STALLED_SECONDS {
            return Health::Good;
        }
        let for_what = match commits.waiting_for_room() {
            Duration::ZERO => "the disk",
            _ => "room in the write-ahead log",
        };
        Health::Stalled(format!(
            "a commit has waited for {seconds} s for {for_what}"
        ))
    }

    fn free_disk_bytes(&self) -> Option<u64> {
        let space = self.shared.fs.space(&self.shared.path);
        space.ok().map(|space| space.free_bytes)
    }

    fn stats(&self) -> Option<DirectoryStats> {
        let shared = &*self.shared;
        let (commits, counters) = (shared.wal.stats(), &shared.counters);
        let (ring_used_bytes, ring_max_bytes) = shared.wal.ring().fill();
        let free_budget = shared.append_budget.available_permits();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Some(DirectoryStats {
            commit_writes: commits.writes.snapshot(),
            commit_in_flight: commits.in_flight(),
            commit_waiting_for_room: commits.waiting_for_room(),
            committed_entries: count(&commits.entries),
            committed_bytes: count(&commits.bytes),
            unwritten_bytes: shared.append_budget_bytes.saturating_sub(free_budget) as u64,
            chunk_bytes: shared.chunks.used_bytes() as u64,
            ring_used_bytes,
            ring_max_bytes,
            checkpoints: counters.checkpoints.snapshot(),
            disk_full: *shared.disk_full.borrow(),
            low_on_space: shared.low_on_space.load(Ordering::Relaxed),
            open_files: shared.open_files.count() as u64,
            cleaner_runs: count(&counters.cleaner_runs),
            cleaner_read_bytes: count(&counters.cleaner_read_bytes),
            cleaner_written_bytes: count(&counters.cleaner_written_bytes),
        })
    }

    fn shutdown(&self) -> Result<(), StorageError> {
        let Some(lock) = self.lock.lock().take() else {
            return Ok(());
        };
        let refused_before = self.shared.wal.refused();
        // Only after a stop that was not in order does a start look for those that it does not know of.
        let departed = self.shared.finish_departures();
        self.shared.wal.close();
        self.stop_threads();
        let closed = match refused_before {
            Some(error) => Err(io::Error::other(error.to_string())),
            None => departed.and_then(|()| self.close_files()),
        };
        self.release();
        drop(lock);
        closed.map_err(|error| {
            StorageError(format!(
                "{} was not closed in order, the next start will recover it: {error}",
                self.shared.path.display()
            ))
        })
    }
}

impl Drop for LocalStore {
    /// Without [`LocalStore::shutdown`] the directory is left as a crash would leave it.
    fn drop(&mut self) {
        if let Some(lock) = self.lock.lock().take() {
            self.shared.wal.fail("the log manager was dropped");
            self.stop_threads();
            self.release();
            drop(lock);
        }
    }
}

/// What may be used of the process's file descriptors; connections need some, too.
fn open_files_limit(wanted: usize) -> usize {
    let allowed = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let half = allowed.map_or(usize::MAX, |allowed| {
        usize::try_from(allowed / 2).unwrap_or(usize::MAX)
    });
    wanted.min(half)
}

fn lock(fs: &dyn Fs, dir: &Path) -> Result<LockGuard, OpenError> {
    let not_writable = |source| OpenError::NotWritable {
        dir: dir.to_owned(),
        source,
    };
    create_durably(fs, dir).map_err(not_writable)?;
    let locked = fs.lock(&dir.join(LOCK_FILE)).map_err(not_writable)?;
    locked.ok_or_else(|| OpenError::Locked {
        dir: dir.to_owned(),
    })
}

/// Creates a directory so that it does not vanish with the power, and everything synced in it with it.
fn create_durably(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    if if_found(fs.list(dir))?.is_some() {
        return Ok(());
    }
    let parent = match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    create_durably(fs, parent)?;
    fs.create_dir_all(dir)?;
    fs.sync_dir(parent)
}

/// The newest checkpoint. Without one there must be nothing that it could be missing for.
fn read_checkpoint(fs: &dyn Fs, wal_dir: &Path) -> Result<Option<Checkpoint>, OpenError> {
    let checkpoint = Checkpoint::read(fs, wal_dir).map_err(|error| match error {
        CheckpointError::Io(source) => OpenError::io(wal_dir)(source),
        CheckpointError::NewerFormat { path, found } => OpenError::NewerFormat { path, found },
    })?;
    if checkpoint.is_some() {
        return Ok(checkpoint);
    }
    for index in list_regions(fs, wal_dir).map_err(OpenError::io(wal_dir))? {
        let path = region_path(wal_dir, index);
        let mut head = [0; GROUP_HEADER_BYTES];
        fs.open(&path, Access::Read)
            .and_then(|file| file.read_at(&mut head, 0))
            .map_err(OpenError::io(&path))?;
        if GroupHeader::parse(&head).is_some() {
            return Err(OpenError::HoleInWal {
                path,
                what: "holds data, but there is no valid checkpoint that says where it begins"
                    .to_owned(),
            });
        }
    }
    Ok(None)
}

/// Starts a new generation of the write-ahead log. What the one before held is in the segments now.
fn open_wal(
    config: &LocalConfig,
    wal_dir: &Path,
    chunks: &Arc<ChunkPool>,
    bell: &Arc<Bell>,
    previous: Option<&Checkpoint>,
    next_sequence: u64,
) -> io::Result<(Wal, LogTable, Checkpoint)> {
    let synced = config.durability == Durability::Strict;
    let ring = Ring::open(
        Arc::clone(&config.fs),
        RingConfig {
            dir: wal_dir.to_owned(),
            max_bytes: config.wal_ring_bytes,
            first_region_bytes: config.wal_first_region_bytes,
            region_bytes: config.wal_region_bytes,
            synced,
        },
        Arc::clone(chunks),
    )?;
    // Random, so that no bytes that a producer sends can pass for a group of this log.
    let (generation, _) = new_uuid().as_u64_pair();
    let table = LogTable::create(&*config.fs, wal_dir, generation)?;
    let checkpoint = Checkpoint {
        number: previous.map_or(0, |previous| previous.number + 1),
        generation,
        start_sequence: next_sequence,
        start: ring.position(),
        closed: false,
    };
    checkpoint.write(&*config.fs, wal_dir)?;
    LogTable::remove_others(&*config.fs, wal_dir, Some(generation))?;
    let wal = Wal::new(
        ring,
        Arc::clone(chunks),
        generation,
        next_sequence,
        synced,
        Arc::clone(bell),
    );
    Ok((wal, table, checkpoint))
}

/// Takes the directory offline when one of its threads has panicked: nothing would be done in its place.
#[derive(Clone)]
struct Panicked {
    shared: Weak<LogDir>,
    failed: Arc<watch::Sender<Option<StorageError>>>,
}

impl Panicked {
    fn tell(&self, thread: &str, what: &str) {
        let why = format!("the thread {thread} panicked: {what}");
        tracing::error!("{why}");
        if let Some(shared) = self.shared.upgrade() {
            // Whoever waits is told; and if that panics too, the rest is still done.
            let _ = caught(|| shared.wal.fail(&why));
        }
        // What comes of the first is not what is to be mended.
        self.failed.send_if_modified(|failed| {
            let is_first = failed.is_none();
            failed.get_or_insert(StorageError(why));
            is_first
        });
    }

    fn start(
        &self,
        name: &'static str,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<thread::JoinHandle<()>> {
        let panicked = self.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Err(what) = caught(work) {
                panicked.tell(name, &what);
            }
        })
    }
}

fn start_threads(
    shared: &Arc<LogDir>,
    maintenance: &Arc<Maintenance>,
    cleaner: Option<&Arc<LogCleaner>>,
    panicked: &Panicked,
) -> io::Result<Vec<thread::JoinHandle<()>>> {
    let committing = Arc::clone(shared);
    let (maintaining, checkpointing) = (Arc::clone(maintenance), Arc::clone(maintenance));
    let mut threads = vec![
        panicked.start(COMMIT_THREAD, move || committing.wal.run())?,
        panicked.start("log-checkpoint", move || checkpointing.take_checkpoints())?,
        panicked.start("log-maintenance", move || maintaining.run())?,
    ];
    if let Some(cleaner) = cleaner.map(Arc::clone) {
        threads.push(panicked.start("log-cleaner", move || cleaner.run())?);
    }
    Ok(threads)
}

/// Removes the write-ahead log, the checkpoint last: what is left by a crash in between is still understood.
fn remove_wal(fs: &dyn Fs, wal_dir: &Path) -> io::Result<()> {
    for index in list_regions(fs, wal_dir)? {
        fs.remove_file(&region_path(wal_dir, index))?;
    }
    LogTable::remove_others(fs, wal_dir, None)?;
    fs.sync_dir(wal_dir)?;
    Checkpoint::remove(fs, wal_dir)?;
    fs.remove_dir_all(wal_dir)?;
    match wal_dir.parent() {
        Some(parent) => fs.sync_dir(parent),
        None => Ok(()),
    }
}

impl From<RecoveryError> for OpenError {
    fn from(error: RecoveryError) -> Self {
        match error {
            RecoveryError::Replay(ReplayError::Io { path, source })
            | RecoveryError::Load(LoadError::Io { path, source })
            | RecoveryError::Io { path, source } => Self::Io { path, source },
            RecoveryError::Replay(ReplayError::NewerFormat { path, found }) => {
                Self::NewerFormat { path, found }
            }
            RecoveryError::Replay(ReplayError::Hole { path, what }) => {
                Self::HoleInWal { path, what }
            }
            RecoveryError::Load(LoadError::Damaged {
                path,
                position,
                what,
            }) => Self::Damaged {
                path,
                what: format!("at byte {position}: {what}"),
            },
            RecoveryError::Inconsistent { path, what } => Self::Damaged { path, what },
        }
    }
}
