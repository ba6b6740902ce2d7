//! Brokers without a broker: they produce and read with the means of the jobs, over a database and an object store in memory whose
//! calls can be made to fail, one by one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_core::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, UploadPart,
};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::super::group::{Group, nameless};
use super::super::*;
use crate::env::clock::SystemClock;
use crate::log::{AppendOrigin, BoxFuture};
use crate::object::database::{
    Call, Fate, Faults, MemoryDatabase, Mode, Proposal, Registration, log_group_of,
};
use crate::object::entry::{Place, Run, Source};
use crate::object::group_state::GroupState;
use crate::object::plan::{Candidate, Want, Wanted, plan};
use crate::record::batch::set_offset_and_epoch;
use crate::record::{
    BatchBuilder, BatchHeader, EndTxnMarker, RecordSet, TransactionResult, ValidatedBatch,
};

/// Time stands still until a test moves it. The object store has its own.
#[derive(Debug)]
pub struct TestClock(AtomicI64);

impl TestClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(SystemClock::default().now_ms())))
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as i64, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn monotonic_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed) as u64
    }
}

/// What befalls one call of all that are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// It is refused, and not applied.
    Refused,
    /// It is applied, and the caller hears of an error.
    AnswerLost,
    /// The broker dies before it.
    DiesBefore,
    /// The broker dies when it is applied.
    DiesAfter,
    /// The broker stands still until it is woken: before a call of the database, after one of the object store.
    Stalls,
}

pub const BLOWS: [Blow; 4] = [
    Blow::Refused,
    Blow::AnswerLost,
    Blow::DiesBefore,
    Blow::DiesAfter,
];

/// Counts calls, and lets one of them go wrong.
#[derive(Debug)]
pub struct Steps {
    left: AtomicI64,
    blow: Blow,
    pub died: Notify,
    pub stalled: Notify,
    pub woken: Notify,
    /// Whatever is left of the broker ends: a thread of it would keep the test waiting.
    pub buried: watch::Sender<bool>,
}

impl Steps {
    /// The call of this number, from 0 on, goes wrong.
    pub fn new(number: i64, blow: Blow) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicI64::new(number),
            blow,
            died: Notify::new(),
            stalled: Notify::new(),
            woken: Notify::new(),
            buried: watch::Sender::new(false),
        })
    }

    /// Whether the call was reached that goes wrong.
    pub fn is_over(&self) -> bool {
        self.left.load(Ordering::Relaxed) < 0
    }

    fn next(&self) -> Option<Blow> {
        (self.left.fetch_sub(1, Ordering::Relaxed) == 0).then_some(self.blow)
    }

    async fn stall(&self) {
        self.stalled.notify_one();
        self.woken.notified().await;
    }

    async fn die(&self) -> ! {
        self.died.notify_one();
        let _ = self.buried.subscribe().wait_for(|buried| *buried).await;
        std::panic::resume_unwind(Box::new("the broker is dead"))
    }
}

impl Faults for Steps {
    fn before(&self, call: Call) -> BoxFuture<'_, Fate> {
        Box::pin(async move {
            match self.next() {
                None => Fate::Answered,
                Some(Blow::Refused) => Fate::Refused,
                Some(Blow::AnswerLost | Blow::DiesAfter) if !call.may_be_in_doubt() => {
                    Fate::Refused
                }
                Some(Blow::AnswerLost) => Fate::AnswerLost,
                Some(Blow::DiesAfter) => Fate::Late,
                Some(Blow::DiesBefore) => self.die().await,
                Some(Blow::Stalls) => {
                    self.stall().await;
                    Fate::Answered
                }
            }
        })
    }
}

/// The object store of one broker.
#[derive(Debug)]
struct Objects {
    inner: Arc<InMemory>,
    steps: Option<Arc<Steps>>,
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "objects")
    }
}

fn refused() -> object_store::Error {
    object_store::Error::Generic {
        store: "test",
        source: "a blow".into(),
    }
}

async fn struck<T>(
    steps: Option<Arc<Steps>>,
    call: impl Future<Output = object_store::Result<T>>,
) -> object_store::Result<T> {
    let Some(steps) = steps else {
        return call.await;
    };
    match steps.next() {
        None => call.await,
        Some(Blow::Refused) => Err(refused()),
        Some(Blow::AnswerLost) => {
            call.await?;
            Err(refused())
        }
        Some(Blow::DiesBefore) => steps.die().await,
        Some(Blow::Stalls) => {
            let answer = call.await;
            steps.stall().await;
            answer
        }
        Some(Blow::DiesAfter) => {
            call.await?;
            steps.die().await
        }
    }
}

#[async_trait]
impl ObjectStore for Objects {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let call = self.inner.put_opts(location, payload, options);
        struck(self.steps.clone(), call).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(location, options);
        let inner = struck(self.steps.clone(), inner).await?;
        let steps = self.steps.clone();
        Ok(Box::new(Upload { inner, steps }))
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        struck(self.steps.clone(), self.inner.get_opts(location, options)).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        Box::pin(Deletions {
            inner: Arc::clone(&self.inner),
            steps: self.steps.clone(),
            locations,
            current: None,
        })
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

struct Deletions {
    inner: Arc<InMemory>,
    steps: Option<Arc<Steps>>,
    locations: BoxStream<'static, object_store::Result<Path>>,
    current: Option<BoxFuture<'static, object_store::Result<Path>>>,
}

impl futures_core::Stream for Deletions {
    type Item = object_store::Result<Path>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        use std::task::{Poll, ready};
        if self.current.is_none() {
            match ready!(self.locations.as_mut().poll_next(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(path)) => {
                    let (inner, steps) = (Arc::clone(&self.inner), self.steps.clone());
                    self.current = Some(Box::pin(async move {
                        struck(steps, inner.delete(&path)).await?;
                        Ok(path)
                    }));
                }
            }
        }
        let deleted = self
            .current
            .as_mut()
            .map(|current| current.as_mut().poll(context));
        match deleted {
            Some(Poll::Ready(deleted)) => {
                self.current = None;
                Poll::Ready(Some(deleted))
            }
            _ => Poll::Pending,
        }
    }
}

#[derive(Debug)]
struct Upload {
    inner: Box<dyn MultipartUpload>,
    steps: Option<Arc<Steps>>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        Box::pin(struck(self.steps.clone(), self.inner.put_part(data)))
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        struck(self.steps.clone(), self.inner.complete()).await
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        struck(self.steps.clone(), self.inner.abort()).await
    }
}

/// Each topic has its configuration.
#[derive(Default)]
pub struct TestTopics(pub Mutex<HashMap<Uuid, Arc<LogConfig>>>);

impl Topics for TestTopics {
    fn config(&self, partition: PartitionId) -> Option<Arc<LogConfig>> {
        self.0.lock().get(&partition.topic_id).cloned()
    }
}

/// What a reader sees of a record.
pub type Seen = BTreeMap<i64, (Vec<u8>, Option<Vec<u8>>)>;

/// Both stores, and what was written to them.
pub struct World {
    pub clock: Arc<TestClock>,
    pub database: MemoryDatabase,
    pub objects: Arc<InMemory>,
    pub topics: Arc<TestTopics>,
    pub settings: JobSettings,
    pub groups: u16,
    /// All records that a reader of committed ones is to see, unless they leave by retention or compaction.
    pub written: BTreeMap<PartitionId, Seen>,
    pub puts: AtomicU64,
}

/// One process.
pub struct Broker {
    pub shared: Arc<Shared>,
    pub fence: watch::Sender<Option<Fence>>,
    tended: Mutex<HashMap<LogGroup, snapshot::Tended>>,
}

pub fn partition(topic: u128, partition: i32) -> PartitionId {
    PartitionId {
        topic_id: Uuid::from_u128(topic),
        partition,
    }
}

impl World {
    pub fn new(groups: u16) -> Self {
        let clock = TestClock::new();
        Self {
            database: MemoryDatabase::new(Arc::clone(&clock) as Arc<dyn Clock>, groups),
            objects: Arc::new(InMemory::new()),
            topics: Arc::default(),
            settings: JobSettings {
                merge_bytes: 4_000,
                merge_objects: 8,
                merge_pause: Duration::ZERO,
                object_bytes: 20_000,
                clean_bytes: 500,
                ..JobSettings::default()
            },
            groups,
            written: BTreeMap::new(),
            puts: AtomicU64::new(0),
            clock,
        }
    }

    pub fn topic(&self, topic: u128, config: LogConfig) {
        let mut topics = self.topics.0.lock();
        topics.insert(Uuid::from_u128(topic), Arc::new(config));
    }

    /// A process registers, whose calls may go wrong. One of its id that was there before is gone for good.
    pub async fn broker(&self, id: i32, steps: Option<Arc<Steps>>) -> Broker {
        let fence = watch::Sender::new(Some(self.register(id).await));
        let database = match &steps {
            Some(steps) => self
                .database
                .with_faults(Arc::clone(steps) as Arc<dyn Faults>),
            None => self.database.clone(),
        };
        let database = Arc::new(database);
        let shared = Shared::new(JobsConfig {
            log: Arc::clone(&database) as Arc<dyn OrderedLog>,
            jobs: Arc::clone(&database) as Arc<dyn Jobs>,
            brokers: database,
            objects: Arc::new(Objects {
                inner: Arc::clone(&self.objects),
                steps,
            }),
            groups: self.groups,
            leads: Arc::new(|_| true),
            fence: fence.subscribe(),
            topics: Arc::clone(&self.topics) as Arc<dyn Topics>,
            in_flight: Arc::default(),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            settings: self.settings.clone(),
        });
        Broker {
            shared,
            fence,
            tended: Mutex::default(),
        }
    }

    /// Registers the process that has this broker id from now on, under an epoch of its own.
    pub async fn register(&self, id: i32) -> Fence {
        let registration = Registration {
            broker_id: Some(id),
            incarnation: Uuid::new_v4(),
            replaces: None,
            rack: None,
            endpoints: Vec::new(),
            lease: Duration::from_secs(10),
        };
        let registered = self.database.register(&registration).await;
        registered.expect("registered").fence
    }

    /// Time passes, in which these brokers keep their leases.
    pub async fn pass(&self, time: Duration, alive: &[&Broker]) {
        for (lease, by) in [
            (time + Duration::from_secs(10), time),
            (Duration::from_secs(10), Duration::ZERO),
        ] {
            for broker in alive {
                let fence = broker.shared.fence().expect("registered");
                let renewed = self.database.renew(fence, lease, 0).await;
                renewed.expect("renewed");
            }
            self.clock.advance(by);
        }
    }

    pub fn group_of(&self, id: PartitionId) -> LogGroup {
        log_group_of(id.topic_id, id.partition, self.groups)
    }

    /// Appends batches as one flush does: into one object, or into the rows.
    pub async fn produce(
        &mut self,
        broker: &Broker,
        batches: &[(PartitionId, Bytes)],
        inline: bool,
    ) {
        let fence = broker.shared.fence().expect("registered");
        let object = broker.shared.config.in_flight.begin(fence.broker_epoch);
        let mut all = BytesMut::new();
        let mut by_group: BTreeMap<LogGroup, Vec<Wanted>> = BTreeMap::new();
        for (id, batch) in batches {
            let position = all.len() as u32;
            let place = match inline {
                true => Place::Inline { seq: 0, position },
                false => Place::Object { object, position },
            };
            all.extend_from_slice(batch);
            let validated = ValidatedBatch::trusted(batch.clone()).expect("a batch");
            let what = Want::Append {
                batch: Candidate::of(&validated).expect("a batch"),
                origin: AppendOrigin::CLIENT,
                claim: None,
                place,
            };
            let partition = nameless(*id);
            let wanted = Wanted { partition, what };
            by_group.entry(self.group_of(*id)).or_default().push(wanted);
        }
        let all = all.freeze();
        if !inline {
            self.puts.fetch_add(1, Ordering::Relaxed);
            let path = Path::from(object.key());
            let payload = PutPayload::from_bytes(all.clone());
            self.objects.put(&path, payload).await.expect("put");
        }
        for (group, wanted) in by_group {
            let inline = if inline { all.clone() } else { Bytes::new() };
            self.append(broker, group, &wanted, inline).await;
        }
        broker.shared.config.in_flight.settle(&object);
    }

    async fn append(&self, broker: &Broker, group: LogGroup, wanted: &[Wanted], inline: Bytes) {
        let group = Group::load(&broker.shared, group).await.expect("loaded");
        let mut state = group.state;
        state.verify_transactions(false);
        let planned = plan(&state, wanted, self.clock.now_ms());
        for answer in &planned.answers {
            answer.as_ref().expect("let in");
        }
        let proposal = Proposal {
            group: group.id,
            expected_seq: state.seq(),
            entry: planned.entry.encode().into(),
            inline,
        };
        let fence = broker.shared.fence().expect("registered");
        let appended = self
            .database
            .append_if(fence, Uuid::new_v4(), Mode::Each, &[proposal])
            .await
            .expect("appended");
        assert_eq!(appended, [group.id]);
    }

    /// Appends records of one partition, each a key and a value, as one batch.
    pub async fn send(
        &mut self,
        broker: &Broker,
        id: PartitionId,
        records: &[(&str, Option<&str>)],
        inline: bool,
    ) {
        let mut builder = BatchBuilder::new();
        for (key, value) in records {
            let value = value.map(str::as_bytes);
            builder.append(self.clock.now_ms(), Some(key.as_bytes()), value, &[]);
        }
        let batch = builder.build().expect("built");
        self.note(id, records);
        self.produce(broker, &[(id, batch)], inline).await;
    }

    /// Notes what the reader is to see.
    pub fn note(&mut self, id: PartitionId, records: &[(&str, Option<&str>)]) {
        let written = self.written.entry(id).or_default();
        for (key, value) in records {
            let offset = written.last_key_value().map_or(0, |(offset, _)| offset + 1);
            let value = value.map(|value| value.as_bytes().to_vec());
            written.insert(offset, (key.as_bytes().to_vec(), value));
        }
    }

    /// A transaction: one record, and its marker, which has no bytes. Takes two offsets.
    pub async fn transaction(
        &mut self,
        broker: &Broker,
        id: PartitionId,
        producer_id: i64,
        sequence: i32,
        result: TransactionResult,
    ) {
        let mut builder = BatchBuilder::new()
            .producer(producer_id, 0, sequence)
            .transactional();
        let now_ms = self.clock.now_ms();
        builder.append(now_ms, Some(b"transactional"), Some(b"value"), &[]);
        let batch = builder.build().expect("built");
        self.produce(broker, &[(id, batch)], false).await;
        let marker = EndTxnMarker {
            result,
            coordinator_epoch: 0,
        };
        let bytes = marker.to_batch(producer_id, 0, now_ms).expect("built");
        let validated = ValidatedBatch::trusted(bytes).expect("a batch");
        let place = crate::object::entry::Marker::of(&validated).expect("a marker");
        let wanted = Wanted {
            partition: nameless(id),
            what: Want::Append {
                batch: Candidate::of(&validated).expect("a batch"),
                origin: AppendOrigin::Marker {
                    transaction_version: 0,
                },
                claim: None,
                place: Place::Made(place),
            },
        };
        self.append(broker, self.group_of(id), &[wanted], Bytes::new())
            .await;
    }

    pub async fn state(&self, broker: &Broker, group: LogGroup) -> GroupState {
        Group::load(&broker.shared, group)
            .await
            .expect("loaded")
            .state
    }

    /// The records of a partition in a range of offsets, as a state says where they are, whatever has happened since then. Those of
    /// aborted transactions are left out.
    pub async fn read(&self, state: &GroupState, id: PartitionId, range: Range<i64>) -> Seen {
        let mut seen = Seen::new();
        let Some(partition) = state.partition(id) else {
            return seen;
        };
        let aborted = partition.aborted_txns();
        let mut last_offset = -1;
        for run in partition.runs(range.start) {
            let mut bytes = self.stored(self.group_of(id), &run).await;
            let mut offset = run.base_offset;
            while !bytes.is_empty() {
                let header = BatchHeader::parse(&bytes).expect("a batch");
                let mut batch = bytes.split_to(header.size_bytes());
                if run.is_compacted {
                    offset = header.base_offset;
                }
                set_offset_and_epoch(&mut batch, offset, 0).expect("a batch");
                assert!(offset > last_offset, "batches overlap at {offset}");
                last_offset = offset + i64::from(header.last_offset_delta);
                assert!(
                    last_offset < run.next_offset,
                    "{last_offset} is behind {run:?}"
                );
                let batch = batch.freeze();
                let set = RecordSet::open(&batch, 1 << 20).expect("records");
                let is_aborted = aborted.iter().any(|txn| {
                    txn.producer_id == header.producer_id
                        && (txn.first_offset..txn.last_offset).contains(&offset)
                });
                offset = last_offset + 1;
                if header.is_control() || is_aborted {
                    continue;
                }
                for record in &set {
                    let record = record.expect("a record");
                    if range.contains(&record.offset) {
                        let key = record.key.unwrap_or_default().to_vec();
                        let value = record.value.map(<[u8]>::to_vec);
                        let twice = seen.insert(record.offset, (key, value));
                        assert!(twice.is_none(), "offset {} twice", record.offset);
                    }
                }
            }
            assert!(run.is_compacted || offset == run.next_offset);
        }
        seen
    }

    async fn stored(&self, group: LogGroup, run: &Run) -> BytesMut {
        let stored = match run.place.source() {
            None => match run.place {
                Place::Made(marker) => marker.to_batch(run.max_timestamp).expect("made"),
                _ => unreachable!("a place without bytes is made"),
            },
            Some((source, position)) => {
                let range = u64::from(position)..u64::from(position + run.size_bytes);
                match source {
                    Source::Object(object) => {
                        let path = Path::from(object.key());
                        let got = self.objects.get_range(&path, range).await;
                        got.unwrap_or_else(|error| panic!("{run:?} is lost: {error}"))
                    }
                    Source::Row(seq) => {
                        let inline = self.database.inline(group, seq).await.expect("read");
                        let inline = inline.unwrap_or_else(|| panic!("{run:?} was trimmed"));
                        inline.slice(range.start as usize..range.end as usize)
                    }
                }
            }
        };
        BytesMut::from(&stored[..])
    }

    /// Everything that a reader of all partitions sees.
    pub async fn read_all(&self, broker: &Broker) -> BTreeMap<PartitionId, Seen> {
        let mut all = BTreeMap::new();
        for group in (0..self.groups).map(LogGroup) {
            let state = self.state(broker, group).await;
            let ids: Vec<_> = state.partitions().map(|one| one.id()).collect();
            for id in ids {
                all.insert(id, self.read(&state, id, 0..i64::MAX).await);
            }
        }
        all
    }

    /// The keys below a prefix.
    pub async fn keys(&self, prefix: &str) -> BTreeSet<String> {
        let mut listing = self.objects.list(Some(&Path::from(prefix)));
        let mut keys = BTreeSet::new();
        while let Some(meta) =
            std::future::poll_fn(|context| listing.as_mut().poll_next(context)).await
        {
            keys.insert(meta.expect("listed").location.to_string());
        }
        keys
    }
}

impl Broker {
    /// One round of every job there is, in all groups.
    pub async fn all_jobs(&self) -> Result<(), String> {
        let shared = &self.shared;
        let told = |error: JobError| error.to_string();
        for id in (0..shared.config.groups).map(LogGroup) {
            let job = format!("tidy/{}", id.0);
            if !shared.take(&job).await.map_err(told)? {
                continue;
            }
            let mut group = Group::load(shared, id).await.map_err(told)?;
            retention::enforce(shared, &mut group).await.map_err(told)?;
            merge::merge_all(shared, &mut group, &job, true)
                .await
                .map_err(told)?;
            let tended = self.tended.lock().remove(&id);
            let mut tended = tended.unwrap_or_else(snapshot::Tended::new);
            if group.state.seq() > group.snapshot_seq {
                snapshot::write(shared, &mut group, &mut tended)
                    .await
                    .map_err(told)?;
            }
            self.tended.lock().insert(id, tended);
            let (topics, settings) = (&*shared.config.topics, &shared.config.settings);
            let now_ms = shared.config.clock.now_ms();
            if let Some(log) =
                compaction::due(&group.state, topics, settings, now_ms, &HashSet::new())
            {
                let cleaned = compaction::clean(shared, id, log).await;
                cleaned.map_err(|error| error.to_string())?;
            }
        }
        self.sweep().await
    }

    /// Declares what is settled, condemns, and removes.
    pub async fn sweep(&self) -> Result<(), String> {
        let told = |error: JobError| error.to_string();
        orphans::declare(&self.shared).await.map_err(told)?;
        if self.shared.take("orphans").await.map_err(told)? {
            orphans::sweep(&self.shared).await.map_err(told)?;
        }
        Ok(())
    }
}
