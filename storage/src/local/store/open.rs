//! How a directory is opened: locked, recovered, and given its threads.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::snapshot::STAGING;
use super::threads::Panicked;
use super::{LocalStore, WAL_DIR};
use crate::env::fs::{Access, Fs, LockGuard, if_found};
use crate::env::random::new_uuid;
use crate::env::sync::{Mutex, thread};
use crate::env::wakeup::Wakeup;
use crate::local::checkpointer::Checkpointer;
use crate::local::compaction::LogCleaner;
use crate::local::config::LocalConfig;
use crate::local::counters::Counters;
use crate::local::departures::{Departure, Departures};
use crate::local::io_pool::IoPool;
use crate::local::loader::LoadError;
use crate::local::log_dir::{AGAIN_MS, LogDir};
use crate::local::logs::Logs;
use crate::local::maintenance::Maintenance;
use crate::local::open_error::OpenError;
use crate::local::recovery::{Recovery, RecoveryError};
use crate::local::retention_schedule::Schedule;
use crate::local::segment::direct::DirectIo;
use crate::local::segment::open_files::OpenFiles;
use crate::local::text_files::{
    CLEAN_SHUTDOWN, CLEANER_OFFSETS, LOG_START_OFFSETS, Offsets, RECOVERY_POINTS, read_offsets,
    write_offsets,
};
use crate::local::wal::checkpoint::{Checkpoint, CheckpointError};
use crate::local::wal::chunk::ChunkPool;
use crate::local::wal::commit::Wal;
use crate::local::wal::format::{GROUP_HEADER_BYTES, GroupHeader};
use crate::local::wal::logs::LogTable;
use crate::local::wal::replay::ReplayError;
use crate::local::wal::ring::{Ring, RingConfig, list_regions, region_path};
use crate::log::cold_budget::ColdBudget;
use crate::log::{Durability, RecoveryReport, TopicPartition};

const LOCK_FILE: &str = ".lock";

/// How often a start is attempted, [`AGAIN_MS`] apart, for which no descriptor or no memory is left.
const ATTEMPTS: usize = 30;

impl LocalStore {
    /// See [`crate::local::open`].
    ///
    /// A start that is refused a descriptor or memory is not over: it begins again, as it would after a kill.
    pub fn open(config: &LocalConfig) -> Result<Self, OpenError> {
        for _ in 1..ATTEMPTS {
            match Self::attempt(config) {
                Err(error) if error.is_passing() => {
                    tracing::warn!(%error, "the log directory cannot be opened now; it is tried again");
                    thread::sleep(Duration::from_millis(AGAIN_MS));
                    config.progress.begin_again();
                }
                other => return other,
            }
        }
        Self::attempt(config)
    }

    fn attempt(config: &LocalConfig) -> Result<Self, OpenError> {
        let started_ms = config.clock.monotonic_ms();
        let dir = config.dir.clone();
        let lock = lock(&*config.fs, &dir)?;
        let wal_dir = make_wal_dir(config)?;
        let staging = dir.join(STAGING);
        if_found(config.fs.remove_dir_all(&staging)).map_err(OpenError::io(&staging))?;
        let parts = Parts::new(config)?;
        let mut known = Known::read(config)?;
        let previous = read_checkpoint(&*config.fs, &wal_dir)?;
        let AfterRecovery {
            mut report,
            next_sequence,
            deleted,
        } = recover(config, &wal_dir, &parts, previous.as_ref(), &mut known)?;
        if known.was_clean {
            let marker = dir.join(CLEAN_SHUTDOWN);
            let removed = config.fs.remove_file(&marker);
            removed
                .and_then(|()| config.fs.sync_dir(&dir))
                .map_err(OpenError::io(&marker))?;
        }
        let (wal, table, checkpoint) =
            open_wal(config, &wal_dir, &parts, previous.as_ref(), next_sequence)
                .map_err(OpenError::io(&wal_dir))?;
        let shared = Arc::new(log_dir(config, parts, known, wal, report.clean));
        finish_deletions(&shared, deleted).map_err(OpenError::io(&dir))?;
        begin_generation(&*config.fs, &wal_dir, &checkpoint).map_err(OpenError::io(&wal_dir))?;
        let logs = Arc::<Logs>::default();
        let (failed_sender, failed) = watch::channel(None);
        let failed_sender = Arc::new(failed_sender);
        let checkpointer = Arc::new(Checkpointer::new(
            Arc::clone(&shared),
            Arc::clone(&logs),
            wal_dir,
            checkpoint,
            table,
        ));
        let maintenance = Arc::new(Maintenance::new(
            Arc::clone(&shared),
            Arc::clone(&logs),
            Arc::clone(&checkpointer),
            config.retention_check_interval_ms.max(1),
            config.initial_task_delay_ms,
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
        let cleaner = config.live.cleaner.enabled.then(|| {
            Arc::new(LogCleaner::new(
                Arc::clone(&shared),
                Arc::clone(&logs),
                Arc::clone(&checkpointer),
                config.live.cleaner.clone(),
            ))
        });
        report.took = Duration::from_millis(shared.clock.monotonic_ms().saturating_sub(started_ms));
        let store = Self {
            shared,
            logs,
            maintenance,
            checkpointer,
            cleaner,
            panicked,
            threads: Mutex::default(),
            closing_threads: config.recovery_threads.max(1),
            recovery_report: report,
            failed,
            copying: Mutex::default(),
            lock: Mutex::new(Some(lock)),
        };
        // Where one cannot be started, those that were end with the store.
        store.start_threads().map_err(OpenError::io(&dir))?;
        let shared = Arc::clone(&store.shared);
        store.shared.pool.write(move || shared.remove_left_over());
        Ok(store)
    }
}

/// Renames the directories of the logs whose deletion the last process has begun. The checkpoint comes afterwards: only the
/// write-ahead log before it says that they were deleted.
fn finish_deletions(shared: &LogDir, deleted: Vec<TopicPartition>) -> io::Result<()> {
    for id in deleted {
        shared.departures.add(Departure {
            id,
            writer: None,
            segments: Vec::new(),
            delay_ms: 0,
        });
    }
    shared.finish_departures()
}

fn make_wal_dir(config: &LocalConfig) -> Result<PathBuf, OpenError> {
    let (fs, wal_dir) = (&*config.fs, config.dir.join(WAL_DIR));
    fs.create_dir_all(&wal_dir)
        .and_then(|()| fs.sync_dir(&config.dir))
        .map_err(OpenError::io(&wal_dir))?;
    Ok(wal_dir)
}

/// What recovery and the logs use alike.
struct Parts {
    pool: IoPool,
    wakeup: Arc<Wakeup>,
    open_files: Arc<OpenFiles>,
    chunks: Arc<ChunkPool>,
    direct_io: Arc<DirectIo>,
}

impl Parts {
    fn new(config: &LocalConfig) -> Result<Self, OpenError> {
        let wakeup = Arc::<Wakeup>::default();
        let limit = open_files_limit(config.open_files_max);
        let chunks = ChunkPool::new(usize::try_from(config.tail_cache_bytes).unwrap_or(usize::MAX));
        Ok(Self {
            pool: IoPool::start(config.io_threads.max(1)).map_err(OpenError::io(&config.dir))?,
            open_files: OpenFiles::new(limit, Arc::clone(&wakeup)),
            direct_io: DirectIo::new(Arc::clone(&chunks), config.direct_io_bytes),
            chunks,
            wakeup,
        })
    }
}

/// What the small files of a directory say.
struct Known {
    log_starts: Offsets,
    cleaner_offsets: Offsets,
    recovery_points: Offsets,
    /// The last shutdown was orderly.
    was_clean: bool,
}

impl Known {
    fn read(config: &LocalConfig) -> Result<Self, OpenError> {
        let fs = &*config.fs;
        let offsets = |name: &str| {
            let path = config.dir.join(name);
            read_offsets(fs, &path).map_err(OpenError::io(&path))
        };
        let marker = config.dir.join(CLEAN_SHUTDOWN);
        let was_clean = if_found(fs.open(&marker, Access::Read))
            .map_err(OpenError::io(&marker))?
            .is_some();
        Ok(Self {
            log_starts: offsets(LOG_START_OFFSETS)?,
            cleaner_offsets: offsets(CLEANER_OFFSETS)?,
            recovery_points: offsets(RECOVERY_POINTS)?,
            was_clean,
        })
    }
}

/// What recovery has found, and what is left to be done.
struct AfterRecovery {
    report: RecoveryReport,
    /// The sequence number of the first group that will be written.
    next_sequence: u64,
    /// Logs whose directories are to be removed.
    deleted: Vec<TopicPartition>,
}

/// Brings the segments up to the write-ahead log, if there is one. `known` then includes what it says.
fn recover(
    config: &LocalConfig,
    wal_dir: &Path,
    parts: &Parts,
    previous: Option<&Checkpoint>,
    known: &mut Known,
) -> Result<AfterRecovery, OpenError> {
    let mut report = RecoveryReport {
        clean: known.was_clean || previous.is_none(),
        ..RecoveryReport::default()
    };
    let Some(checkpoint) = previous else {
        return Ok(AfterRecovery {
            report,
            next_sequence: 1,
            deleted: Vec::new(),
        });
    };
    let (fs, dir) = (&config.fs, &config.dir);
    let recovery = Arc::new(Recovery {
        fs: Arc::clone(fs),
        // Small pieces of many logs: they are synced once, at the end.
        direct_io: DirectIo::new(Arc::clone(&parts.chunks), 4 * config.direct_io_bytes),
        clock: Arc::clone(&config.clock),
        open_files: Arc::clone(&parts.open_files),
        dir: dir.clone(),
        wal_dir: wal_dir.to_owned(),
        progress: Arc::clone(&config.progress),
        may_cut_tails: config.durability == Durability::Os,
    });
    let pool = IoPool::start(config.recovery_threads.max(1)).map_err(OpenError::io(dir))?;
    let recovered = recovery.run(&pool, checkpoint, &mut known.log_starts)?;
    let log_starts_path = dir.join(LOG_START_OFFSETS);
    write_offsets(&**fs, &log_starts_path, &known.log_starts)
        .map_err(OpenError::io(&log_starts_path))?;
    report.clean = known.was_clean && recovered.end.groups == 0;
    report.replayed_batches = recovered.batches;
    report.replayed_bytes = recovered.bytes;
    report.replayed_partitions = recovered.partitions;
    report.truncated_bytes = recovered.end.torn_bytes;
    // Otherwise another log of such a name would be trusted up to where the deleted one was. Durably, before a checkpoint
    // passes the deletion.
    let deleted_keys = &recovered.deleted_keys;
    let points_before = known.recovery_points.len();
    known
        .recovery_points
        .retain(|key, _| !deleted_keys.contains(key));
    if known.recovery_points.len() < points_before {
        let path = dir.join(RECOVERY_POINTS);
        write_offsets(&**fs, &path, &known.recovery_points).map_err(OpenError::io(&path))?;
    }
    Ok(AfterRecovery {
        report,
        next_sequence: recovered.end.next_sequence,
        deleted: recovered.deleted,
    })
}

/// What the logs share. `is_clean`: nothing had to be recovered.
fn log_dir(config: &LocalConfig, parts: Parts, known: Known, wal: Wal, is_clean: bool) -> LogDir {
    let file_system_sync = config.fs.file_system_sync(&config.dir);
    if file_system_sync.is_some() {
        parts.open_files.allow_closing_unsynced();
    }
    let budget_bytes = usize::try_from(config.append_budget_bytes).unwrap_or(usize::MAX);
    let append_budget_bytes = budget_bytes.min(u32::MAX as usize);
    let closed_at = match is_clean {
        true => known.recovery_points.clone(),
        false => Offsets::new(),
    };
    LogDir {
        was_killed: !is_clean,
        may_cut_tails: !is_clean && config.durability == Durability::Os,
        path: config.dir.clone(),
        fs: Arc::clone(&config.fs),
        clock: Arc::clone(&config.clock),
        wal,
        pool: parts.pool,
        chunks: parts.chunks,
        direct_io: parts.direct_io,
        durability: config.durability,
        append_budget: Arc::new(Semaphore::new(append_budget_bytes)),
        append_budget_bytes,
        tail_cache_bytes: usize::try_from(config.tail_cache_bytes).unwrap_or(usize::MAX),
        busy: Mutex::default(),
        releasing: Mutex::default(),
        deleting: Mutex::default(),
        committed_bytes: AtomicU64::new(0),
        log_starts: Mutex::new(known.log_starts),
        log_starts_changed: AtomicBool::new(false),
        writing_offsets: Mutex::default(),
        closed_at: Mutex::new(closed_at),
        recovery_points: Mutex::new(known.recovery_points),
        disk_full: watch::Sender::new(false),
        low_on_space: AtomicBool::new(false),
        disk_reserve_bytes: config.disk_reserve_bytes,
        note_interval_bytes: config.note_interval_bytes,
        producer_id_expiration_ms: AtomicI64::new(config.live.producer_id_expiration_ms),
        transaction_verification_enabled: AtomicBool::new(
            config.live.transaction_verification_enabled,
        ),
        producer_check_interval_ms: config.producer_id_expiration_check_interval_ms.max(1),
        with_producers: Mutex::default(),
        flush_due_ms: AtomicU64::new(u64::MAX),
        file_system_sync,
        sync_together_from: config.sync_together_from,
        open_files: parts.open_files,
        cold_reads: ColdBudget::new(config.cold_read_budget_bytes),
        retention: Schedule::default(),
        doomed: Mutex::default(),
        departures: Departures::default(),
        dirty: Mutex::default(),
        cleaner_offsets: Mutex::new(known.cleaner_offsets),
        segments_held: AtomicBool::new(false),
        maintenance: parts.wakeup,
        counters: Counters::default(),
    }
}

/// How many of the process's file descriptors segments may use. Connections need some, too.
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

/// Creates a directory, durably: otherwise a power cut could take it, with everything that was synced in it.
fn create_durably(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    let parent = match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    if if_found(fs.list(dir))?.is_some() {
        // A process that was killed may have made it, and synced nothing.
        return match fs.sync_dir(parent) {
            // Not ours to sync, so others have made the directory.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        };
    }
    create_durably(fs, parent)?;
    fs.create_dir_all(dir)?;
    fs.sync_dir(parent)
}

/// The newest checkpoint, made durable. If there is none, the write-ahead log must be empty.
fn read_checkpoint(fs: &dyn Fs, wal_dir: &Path) -> Result<Option<Checkpoint>, OpenError> {
    let checkpoint = Checkpoint::read(fs, wal_dir).map_err(|error| match error {
        CheckpointError::Io(source) => OpenError::io(wal_dir)(source),
        CheckpointError::NewerFormat { path, found } => OpenError::NewerFormat { path, found },
    })?;
    if let Some(found) = checkpoint {
        let durable = found.make_durable(fs, wal_dir);
        durable.map_err(OpenError::io(wal_dir))?;
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

/// Prepares a new generation of the write-ahead log. Nothing may be appended before it has begun.
fn open_wal(
    config: &LocalConfig,
    wal_dir: &Path,
    parts: &Parts,
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
        Arc::clone(&parts.chunks),
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
    let wal = Wal::new(
        ring,
        Arc::clone(&parts.chunks),
        generation,
        next_sequence,
        synced,
        Arc::clone(&parts.wakeup),
    );
    Ok((wal, table, checkpoint))
}

/// Begins a generation of the write-ahead log. What the last one held is in the segments now, and is not read again.
fn begin_generation(fs: &dyn Fs, wal_dir: &Path, checkpoint: &Checkpoint) -> io::Result<()> {
    checkpoint.write(fs, wal_dir)?;
    LogTable::remove_others(fs, wal_dir, Some(checkpoint.generation))
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
