//! Brokers of a cluster in one process: stores over one database and one object store, both in memory.

#![allow(dead_code)]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use storage::env::clock::SystemClock;
use storage::log::{BoxFuture, LogStore};
use storage::object::database::{
    Brokers, Call, Fate, Faults, Fence, LogGroup, MemoryDatabase, OrderedLog as _, Registration,
};
use storage::object::entry::Entry;
use storage::object::group_state::GroupState;
use storage::object::jobs::JobSettings;
use storage::object::{self, ObjectConfig, Upkeep};
use storage::testing::faulty_objects::FaultyObjects;
use tokio::sync::watch;
use uuid::Uuid;

const GROUPS: u16 = 8;

pub struct Cluster {
    pub database: MemoryDatabase,
    pub objects: Arc<FaultyObjects>,
}

/// Jobs that are always at it, and keep nothing for longer than they must.
pub fn brisk() -> JobSettings {
    JobSettings {
        tick: Duration::from_millis(5),
        lease: Duration::ZERO,
        check_interval: Duration::from_millis(10),
        initial_delay: Duration::ZERO,
        snapshot_entries: 3,
        snapshot_interval: Duration::from_millis(20),
        merge_bytes: 8 << 10,
        merge_objects: 2,
        merge_pause: Duration::ZERO,
        object_bytes: 32 << 10,
        small_age: Duration::from_millis(20),
        delete_delay: Duration::ZERO,
        orphan_age: Duration::ZERO,
        clean_bytes: 1,
        ..JobSettings::default()
    }
}

pub struct Broker {
    pub id: i32,
    pub store: Arc<dyn LogStore>,
    pub fence: watch::Sender<Option<Fence>>,
    pub faults: Arc<DatabaseFaults>,
}

/// What befalls the calls of one broker: chances are out of a thousand.
#[derive(Default)]
pub struct DatabaseFaults {
    pub refused: AtomicU32,
    pub answer_lost: AtomicU32,
    /// What becomes of the next commits, one after the other.
    pub next_commits: Mutex<Vec<Fate>>,
    /// Whether answers to commits, and to whoever asks what became of one, have to wait.
    pub holds_answers: watch::Sender<bool>,
    seed: AtomicU64,
}

impl DatabaseFaults {
    fn roll(&self) -> u32 {
        let mut value = self
            .seed
            .fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((value ^ (value >> 31)) % 1000) as u32
    }
}

impl Faults for DatabaseFaults {
    fn before(&self, call: Call) -> BoxFuture<'_, Fate> {
        let (refused, lost) = (
            self.refused.load(Ordering::Relaxed),
            self.answer_lost.load(Ordering::Relaxed),
        );
        let mut next = self.next_commits.lock().expect("nobody has panicked");
        let fate = match self.roll() {
            _ if call == Call::AppendIf && !next.is_empty() => next.remove(0),
            roll if roll < refused => Fate::Refused,
            roll if roll < refused + lost && call.may_be_in_doubt() => Fate::AnswerLost,
            _ => Fate::Answered,
        };
        Box::pin(std::future::ready(fate))
    }

    fn after(&self, call: Call) -> BoxFuture<'_, ()> {
        let mut holds = self.holds_answers.subscribe();
        Box::pin(async move {
            if matches!(call, Call::AppendIf | Call::Resolve) {
                let _ = holds.wait_for(|holds| !holds).await;
            }
        })
    }
}

impl Cluster {
    pub fn new(seed: u64) -> Self {
        Self {
            database: MemoryDatabase::new(Arc::new(SystemClock::default()), GROUPS),
            objects: FaultyObjects::new(seed),
        }
    }

    /// Registers a broker, again if it was there before.
    pub fn register(&self, id: i32, incarnation: u128) -> Fence {
        let registration = Registration {
            broker_id: Some(id),
            incarnation: Uuid::from_u128(incarnation),
            replaces: None,
            rack: None,
            endpoints: Vec::new(),
            lease: Duration::from_secs(3600),
        };
        // In memory nothing is waited for.
        let registered = self.database.register(&registration);
        let mut registered = std::pin::pin!(registered);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match registered.as_mut().poll(&mut context) {
            std::task::Poll::Ready(registered) => registered.expect("a lease is free").fence,
            std::task::Poll::Pending => panic!("memory does not wait"),
        }
    }

    /// What a broker needs to help to keep the stores small.
    pub fn upkeep(&self, settings: JobSettings) -> Option<Upkeep> {
        let database = Arc::new(self.database.clone());
        Some(Upkeep {
            jobs: Arc::clone(&database) as _,
            brokers: database,
            leads: Arc::new(|_| true),
            settings,
        })
    }

    pub fn broker(&self, id: i32) -> Broker {
        self.broker_with(id, |_| ())
    }

    /// A broker that goes to the store often, with little.
    pub fn broker_with(&self, id: i32, change: impl FnOnce(&mut ObjectConfig)) -> Broker {
        self.broker_as(id, id as u128, change)
    }

    /// The same, of one of several processes that have had this id.
    pub fn broker_as(
        &self,
        id: i32,
        incarnation: u128,
        change: impl FnOnce(&mut ObjectConfig),
    ) -> Broker {
        let faults = Arc::new(DatabaseFaults::default());
        faults.seed.store(incarnation as u64, Ordering::Relaxed);
        let database = self.database.with_faults(faults.clone());
        let fence = self.register(id, incarnation);
        let (fence, fences) = watch::channel(Some(fence));
        let objects = Arc::clone(&self.objects);
        let mut config = ObjectConfig {
            flush: Duration::from_millis(5),
            flush_bytes: 64 << 10,
            inline_bytes: 2 << 10,
            cache_bytes: 4 << 20,
            buffer_bytes: 1 << 20,
            poll: Duration::from_millis(2),
            ..ObjectConfig::new(Arc::new(database), objects, GROUPS, fences)
        };
        change(&mut config);
        Broker {
            id,
            store: object::open(config).expect("the store opens"),
            fence,
            faults,
        }
    }
}

impl Cluster {
    /// Puts a group into a snapshot, and removes all of its rows.
    pub async fn snapshot(&self, fence: Fence, group: LogGroup) {
        let news = self.database.read_from(&[(group, 0)], usize::MAX).await;
        let mut state = GroupState::new();
        for row in news.expect("it answers").rows {
            let entry = Entry::of_row(&row.entry).expect("a row");
            state.apply(row.seq, &entry).expect("the next row");
        }
        let key = format!("snapshot-{}-{}", group.0, state.seq());
        let path = Path::from(&*key);
        let put = self.objects.put(&path, state.to_snapshot().into());
        put.await.expect("it is written");
        let seq = state.seq();
        let trimmed = self.database.trim(fence, group, seq, key, seq).await;
        assert_eq!(trimmed, Ok(true));
    }

    /// Ends a broker's lease behind its back.
    pub async fn database_leave(&self, fence: Fence) {
        self.database.leave(fence).await.expect("it is there");
    }
}
