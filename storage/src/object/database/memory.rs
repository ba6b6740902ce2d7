//! [`MemoryDatabase`]: for tests and simulations. All its handles share one database.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::{
    Answer, Brokers, ClusterIdentity, DatabaseError, Fence, Head, Jobs, LiveBroker, LogGroup,
    MetadataError, MetadataRecords, MetadataTable, Mode, News, ObjectsPlace, OrderedLog, Proposal,
    Registered, Registration, Row, check_proposals, id_in_use, lost_commits, no_such_group,
    resolved_too_late,
};
use crate::env::clock::Clock;
use crate::env::random::new_uuid;
use crate::env::sync::Mutex;
use crate::log::BoxFuture;
use crate::object::database::FIRST_TAKEN_BROKER_ID;

/// What is asked of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    Heads,
    AppendIf,
    ReadFrom,
    Inline,
    Resolve,
    Trim,
    Identity,
    SettleObjects,
    Register,
    Renew,
    Leave,
    Brokers,
    AppendMetadata,
    LoadMetadata,
    MetadataVersion,
    ForgetMetadata,
    TakeJob,
    Condemn,
    Condemned,
    Forget,
}

impl Call {
    /// Whether it is of consequence that it was applied and nobody heard of it.
    pub fn may_be_in_doubt(self) -> bool {
        !matches!(
            self,
            Self::Heads
                | Self::Identity
                | Self::ReadFrom
                | Self::Inline
                | Self::Resolve
                | Self::Brokers
                | Self::LoadMetadata
                | Self::MetadataVersion
                | Self::Condemned
        )
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// What it should.
    Answered,
    /// It does not reach the database.
    Refused,
    /// It is applied, but nobody hears of it.
    AnswerLost,
    /// It reaches the database when [`MemoryDatabase::let_late_arrive`] is called; nobody hears of it.
    Late,
}

/// What befalls the calls of a handle.
pub trait Faults: Send + Sync {
    /// Decides, and waits as long as the call is on its way.
    fn before(&self, call: Call) -> BoxFuture<'_, Fate>;

    /// Waits as long as the answer is on its way.
    fn after(&self, _call: Call) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A handle on a database in memory.
#[derive(Clone)]
pub struct MemoryDatabase {
    shared: Arc<Shared>,
    faults: Option<Arc<dyn Faults>>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    late: Mutex<Vec<Statement>>,
}

type Statement = Box<dyn FnOnce(&mut State) + Send>;

struct State {
    /// The time of the statement, in ms since some moment.
    now_ms: u64,
    identity: ClusterIdentity,
    groups: Vec<Group>,
    last_epoch: i64,
    brokers: BTreeMap<i32, Broker>,
    metadata: Metadata,
    /// Who has a job, and until when.
    jobs: BTreeMap<String, (Fence, u64)>,
    /// Since when.
    condemned: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Group {
    seq: i64,
    snapshot_seq: i64,
    snapshot_key: Option<String>,
    rows: BTreeMap<i64, Row>,
}

struct Broker {
    registered: LiveBroker,
    lease_until_ms: u64,
}

#[derive(Default)]
struct Metadata {
    version: i64,
    /// By the version that they make, with the append that they came with.
    records: BTreeMap<i64, (Uuid, Bytes)>,
}

impl MemoryDatabase {
    /// An empty database that goes by this clock.
    pub fn new(clock: Arc<dyn Clock>, groups: u16) -> Self {
        let state = State {
            now_ms: 0,
            identity: ClusterIdentity {
                cluster_id: new_uuid(),
                objects: None,
            },
            groups: (0..groups).map(|_| Group::default()).collect(),
            last_epoch: 0,
            brokers: BTreeMap::new(),
            metadata: Metadata::default(),
            jobs: BTreeMap::new(),
            condemned: BTreeMap::new(),
        };
        Self {
            shared: Arc::new(Shared {
                clock,
                state: Mutex::new(state),
                late: Mutex::new(Vec::new()),
            }),
            faults: None,
        }
    }

    /// Another handle, whose calls these faults befall.
    pub fn with_faults(&self, faults: Arc<dyn Faults>) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            faults: Some(faults),
        }
    }

    /// How many calls have not reached the database yet ([`Fate::Late`]).
    pub fn late(&self) -> usize {
        self.shared.late.lock().len()
    }

    /// Lets the late call of this number, from 0 on, reach the database.
    pub fn let_late_arrive(&self, number: usize) {
        let statement = {
            let mut late = self.shared.late.lock();
            (number < late.len()).then(|| late.remove(number))
        };
        if let Some(statement) = statement {
            self.apply(statement);
        }
    }

    /// Forgets what was committed to a group after `seq`, as a database does that fails over to a copy that is behind.
    pub fn lose_commits(&self, group: LogGroup, seq: i64) {
        self.apply(|state| {
            if let Some(group) = state.groups.get_mut(usize::from(group.0)) {
                group.rows.split_off(&(seq + 1));
                group.seq = group.seq.min(seq);
            }
        });
    }

    fn apply<T>(&self, statement: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.shared.state.lock();
        state.now_ms = self.shared.clock.monotonic_ms();
        statement(&mut state)
    }

    fn call<E, T>(
        &self,
        call: Call,
        statement: impl FnOnce(&mut State) -> Result<T, E> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, E>>
    where
        E: From<DatabaseError> + Send + 'static,
        T: Send + 'static,
    {
        Box::pin(async move {
            let Some(faults) = &self.faults else {
                return self.apply(statement);
            };
            let answer = match faults.before(call).await {
                Fate::Answered => self.apply(statement),
                Fate::Refused => Err(unavailable("it was not reached")),
                Fate::AnswerLost => {
                    drop(self.apply(statement));
                    Err(lost(call))
                }
                Fate::Late => {
                    let statement = |state: &mut State| drop(statement(state));
                    self.shared.late.lock().push(Box::new(statement));
                    Err(lost(call))
                }
            };
            faults.after(call).await;
            answer
        })
    }
}

fn unavailable<E: From<DatabaseError>>(what: &str) -> E {
    DatabaseError::Unavailable(format!("the database in memory: {what}")).into()
}

fn lost<E: From<DatabaseError>>(call: Call) -> E {
    if call.may_be_in_doubt() {
        let what = "the database in memory: the answer was lost";
        DatabaseError::InDoubt(what.to_owned()).into()
    } else {
        unavailable("the answer was lost")
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl State {
    fn group(&mut self, group: LogGroup) -> Result<&mut Group, DatabaseError> {
        let groups = self.group_count();
        let found = self.groups.get_mut(usize::from(group.0));
        found.ok_or_else(|| no_such_group(group, groups))
    }

    fn group_count(&self) -> u16 {
        u16::try_from(self.groups.len()).unwrap_or(u16::MAX)
    }

    fn live(&mut self, fence: Fence) -> Result<&mut Broker, DatabaseError> {
        let now_ms = self.now_ms;
        let broker = self.brokers.get_mut(&fence.broker_id);
        broker
            .filter(|broker| broker.registered.broker_epoch == fence.broker_epoch)
            .filter(|broker| broker.lease_until_ms > now_ms)
            .ok_or(DatabaseError::Fenced)
    }

    fn head(&mut self, group: LogGroup) -> Result<Head, DatabaseError> {
        let found = self.group(group)?;
        Ok(Head {
            group,
            seq: found.seq,
            snapshot_seq: found.snapshot_seq,
            snapshot_key: found.snapshot_key.clone(),
        })
    }

    fn append_if(
        &mut self,
        fence: Fence,
        commit_id: Uuid,
        mode: Mode,
        proposals: Vec<Proposal>,
    ) -> Result<Vec<LogGroup>, DatabaseError> {
        check_proposals(&proposals, self.group_count())?;
        self.live(fence)?;
        let wanted = proposals.len();
        let mut timely = Vec::with_capacity(wanted);
        for proposal in proposals {
            if self.group(proposal.group)?.seq == proposal.expected_seq {
                timely.push(proposal);
            }
        }
        if mode == Mode::AllOrNothing && timely.len() < wanted {
            timely.clear();
        }
        let mut appended = Vec::with_capacity(timely.len());
        for proposal in timely {
            appended.push(proposal.group);
            self.group(proposal.group)?.push(Row {
                group: proposal.group,
                seq: proposal.expected_seq + 1,
                commit_id,
                broker_id: fence.broker_id,
                entry: proposal.entry,
                inline: proposal.inline,
            });
        }
        Ok(appended)
    }

    fn read_from(
        &mut self,
        known: &[(LogGroup, i64)],
        limit_bytes: usize,
    ) -> Result<News, DatabaseError> {
        let mut cut = Vec::new();
        let mut rows = Vec::new();
        for (group, seq) in known {
            let head = self.head(*group)?;
            let found = self.group(*group)?;
            if head.seq != *seq && !found.rows.contains_key(&(seq + 1)) {
                cut.push(head);
                continue;
            }
            let next = found.rows.range(seq + 1..);
            rows.extend(next.map(|(_, row)| (row.seq - seq, row.clone())));
        }
        // What comes first in its group comes first; so nobody is left out.
        rows.sort_by_key(|(rank, row)| (*rank, row.group));
        let mut bytes = 0;
        rows.retain(|(rank, row)| {
            bytes += row.entry.len() + row.inline.len();
            *rank == 1 || bytes <= limit_bytes
        });
        let mut rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
        rows.sort_by_key(|row| (row.group, row.seq));
        Ok(News { rows, cut })
    }

    fn resolve(
        &mut self,
        group: LogGroup,
        seq: i64,
        commit_id: Uuid,
    ) -> Result<bool, DatabaseError> {
        let found = self.group(group)?;
        if found.seq < seq - 1 {
            return Err(lost_commits(group, found.seq, seq - 1));
        }
        if found.seq == seq - 1 {
            found.push(Row {
                group,
                seq,
                commit_id: Uuid::nil(),
                broker_id: -1,
                entry: Bytes::new(),
                inline: Bytes::new(),
            });
        }
        let row = found.rows.get(&seq);
        let row = row.ok_or_else(|| resolved_too_late(group, seq))?;
        Ok(row.commit_id == commit_id)
    }

    fn trim(
        &mut self,
        fence: Fence,
        group: LogGroup,
        seq: i64,
        key: String,
        trim_to: i64,
    ) -> Result<bool, DatabaseError> {
        self.live(fence)?;
        let found = self.group(group)?;
        if found.seq < seq {
            return Err(lost_commits(group, found.seq, seq));
        }
        let newest = found.snapshot_seq < seq;
        if newest {
            found.snapshot_seq = seq;
            found.snapshot_key = Some(key);
        }
        let trim_to = trim_to.min(seq);
        found.rows = found.rows.split_off(&(trim_to + 1));
        Ok(newest)
    }

    fn register(&mut self, registration: Registration) -> Result<Registered, DatabaseError> {
        let now_ms = self.now_ms;
        let incarnation = registration.incarnation;
        let replaced = registration.replaces.unwrap_or(incarnation);
        let taken = |id: i32| {
            self.brokers.get(&id).filter(|broker| {
                broker.lease_until_ms > now_ms
                    && ![incarnation, replaced].contains(&broker.registered.incarnation)
            })
        };
        let of = |process: Uuid| {
            let mut brokers = self.brokers.values().map(|broker| &broker.registered);
            brokers.find(|broker| broker.incarnation == process)
        };
        let own = of(incarnation).or_else(|| of(replaced));
        let broker_id = registration
            .broker_id
            .or_else(|| own.map(|broker| broker.broker_id))
            .or_else(|| (FIRST_TAKEN_BROKER_ID..).find(|id| taken(*id).is_none()))
            .unwrap_or(i32::MAX);
        if let Some(broker) = taken(broker_id) {
            let lease_ms = broker.lease_until_ms - now_ms;
            let lease_ms = i64::try_from(lease_ms).unwrap_or(i64::MAX);
            return Err(id_in_use(broker_id, lease_ms));
        }
        self.last_epoch += 1;
        let broker_epoch = self.last_epoch;
        let broker = Broker {
            registered: LiveBroker {
                broker_id,
                broker_epoch,
                incarnation: registration.incarnation,
                rack: registration.rack,
                endpoints: registration.endpoints,
                seen_metadata: 0,
            },
            lease_until_ms: now_ms.saturating_add(ms(registration.lease)),
        };
        self.brokers.insert(broker_id, broker);
        Ok(Registered {
            fence: Fence {
                broker_id,
                broker_epoch,
            },
            cluster_id: self.identity.cluster_id,
            groups: self.group_count(),
        })
    }

    fn append_metadata(
        &mut self,
        fence: Fence,
        append_id: Uuid,
        expected_version: i64,
        records: Vec<Bytes>,
    ) -> Result<i64, MetadataError> {
        let metadata = &self.metadata;
        let of_this_append = metadata.records.range(expected_version + 1..);
        let already = of_this_append
            .take_while(|(_, (id, _))| *id == append_id)
            .last();
        if let Some((version, _)) = already {
            return Ok(*version);
        }
        self.live(fence)?;
        let metadata = &mut self.metadata;
        if metadata.version != expected_version {
            return Err(MetadataError::Conflict {
                expected: expected_version,
                found: metadata.version,
            });
        }
        for record in records {
            metadata.version += 1;
            let version = metadata.version;
            metadata.records.insert(version, (append_id, record));
        }
        Ok(metadata.version)
    }

    fn take(&mut self, fence: Fence, job: String, lease: Duration) -> Result<bool, DatabaseError> {
        self.live(fence)?;
        let now_ms = self.now_ms;
        let taken = self.jobs.get(&job);
        if taken.is_some_and(|(holder, until_ms)| *holder != fence && *until_ms > now_ms) {
            return Ok(false);
        }
        self.jobs
            .insert(job, (fence, now_ms.saturating_add(ms(lease))));
        Ok(true)
    }

    fn take_idle(
        &mut self,
        fence: Fence,
        job: String,
        lease: Duration,
        idle: Duration,
    ) -> Result<bool, DatabaseError> {
        self.live(fence)?;
        let now_ms = self.now_ms;
        let (holder, until_ms) = self.jobs.entry(job).or_insert((fence, now_ms));
        if until_ms.saturating_add(ms(idle)) <= now_ms {
            (*holder, *until_ms) = (fence, now_ms.saturating_add(ms(lease)));
            return Ok(true);
        }
        if *holder == fence {
            *until_ms = now_ms.min(*until_ms);
        }
        Ok(false)
    }
}

impl Group {
    fn push(&mut self, row: Row) {
        self.seq = row.seq;
        self.rows.insert(row.seq, row);
    }
}

impl OrderedLog for MemoryDatabase {
    fn heads<'a>(&'a self, groups: &'a [LogGroup]) -> Answer<'a, Vec<Head>> {
        let groups = groups.to_vec();
        self.call(Call::Heads, move |state| {
            groups.iter().map(|group| state.head(*group)).collect()
        })
    }

    fn append_if<'a>(
        &'a self,
        fence: Fence,
        commit_id: Uuid,
        mode: Mode,
        proposals: &'a [Proposal],
    ) -> Answer<'a, Vec<LogGroup>> {
        let proposals = proposals.to_vec();
        self.call(Call::AppendIf, move |state| {
            state.append_if(fence, commit_id, mode, proposals)
        })
    }

    fn read_from<'a>(
        &'a self,
        known: &'a [(LogGroup, i64)],
        limit_bytes: usize,
    ) -> Answer<'a, News> {
        let known = known.to_vec();
        self.call(Call::ReadFrom, move |state| {
            state.read_from(&known, limit_bytes)
        })
    }

    fn inline(&self, group: LogGroup, seq: i64) -> Answer<'_, Option<Bytes>> {
        self.call(Call::Inline, move |state| {
            let row = state.group(group)?.rows.get(&seq);
            Ok(row.map(|row| row.inline.clone()))
        })
    }

    fn resolve(&self, group: LogGroup, seq: i64, commit_id: Uuid) -> Answer<'_, bool> {
        self.call(Call::Resolve, move |state| {
            state.resolve(group, seq, commit_id)
        })
    }

    fn trim(
        &self,
        fence: Fence,
        group: LogGroup,
        seq: i64,
        key: String,
        trim_to: i64,
    ) -> Answer<'_, bool> {
        self.call(Call::Trim, move |state| {
            state.trim(fence, group, seq, key, trim_to)
        })
    }
}

impl Brokers for MemoryDatabase {
    fn identity(&self) -> Answer<'_, ClusterIdentity> {
        self.call(Call::Identity, |state| Ok(state.identity.clone()))
    }

    fn settle_objects<'a>(&'a self, place: &'a ObjectsPlace) -> Answer<'a, ObjectsPlace> {
        let place = place.clone();
        self.call(Call::SettleObjects, move |state| {
            let settled = state.identity.objects.get_or_insert(place);
            Ok(settled.clone())
        })
    }

    fn register<'a>(&'a self, registration: &'a Registration) -> Answer<'a, Registered> {
        let registration = registration.clone();
        self.call(Call::Register, move |state| state.register(registration))
    }

    fn renew(&self, fence: Fence, lease: Duration, seen_metadata: i64) -> Answer<'_, ()> {
        self.call(Call::Renew, move |state| {
            let now_ms = state.now_ms;
            let broker = state.live(fence)?;
            broker.lease_until_ms = now_ms.saturating_add(ms(lease));
            broker.registered.seen_metadata = seen_metadata;
            Ok(())
        })
    }

    fn leave(&self, fence: Fence) -> Answer<'_, ()> {
        self.call(Call::Leave, move |state| {
            let now_ms = state.now_ms;
            if let Ok(broker) = state.live(fence) {
                broker.lease_until_ms = now_ms;
            }
            Ok(())
        })
    }

    fn brokers(&self) -> Answer<'_, Vec<LiveBroker>> {
        self.call(Call::Brokers, move |state| {
            let now_ms = state.now_ms;
            let live = state.brokers.values();
            let live = live.filter(|broker| broker.lease_until_ms > now_ms);
            Ok(live.map(|broker| broker.registered.clone()).collect())
        })
    }

    fn clock_ms(&self) -> Answer<'_, i64> {
        let clock = Arc::clone(&self.shared.clock);
        self.call(Call::Brokers, move |_| Ok(clock.now_ms()))
    }

    fn registered(&self) -> Answer<'_, Vec<i32>> {
        self.call(Call::Brokers, |state| {
            Ok(state.brokers.keys().copied().collect())
        })
    }
}

impl MetadataTable for MemoryDatabase {
    fn append<'a>(
        &'a self,
        fence: Fence,
        append_id: Uuid,
        expected_version: i64,
        records: &'a [Bytes],
    ) -> BoxFuture<'a, Result<i64, MetadataError>> {
        let records = records.to_vec();
        self.call(Call::AppendMetadata, move |state| {
            state.append_metadata(fence, append_id, expected_version, records)
        })
    }

    fn load(&self, from_version: i64) -> Answer<'_, MetadataRecords> {
        self.call(Call::LoadMetadata, move |state| {
            let metadata = &state.metadata;
            let records: Vec<Bytes> = metadata
                .records
                .range(from_version.saturating_add(1)..)
                .map(|(_, (_, record))| record.clone())
                .collect();
            let given = i64::try_from(records.len()).unwrap_or(i64::MAX);
            Ok(MetadataRecords {
                from_version: metadata.version - given,
                records,
            })
        })
    }

    fn version(&self) -> Answer<'_, i64> {
        self.call(Call::MetadataVersion, |state| Ok(state.metadata.version))
    }

    fn forget_before(&self, fence: Fence, version: i64) -> Answer<'_, ()> {
        self.call(Call::ForgetMetadata, move |state| {
            state.live(fence)?;
            let records = &mut state.metadata.records;
            *records = records.split_off(&version.saturating_add(1));
            Ok(())
        })
    }
}

impl Jobs for MemoryDatabase {
    fn take<'a>(&'a self, fence: Fence, job: &'a str, lease: Duration) -> Answer<'a, bool> {
        let job = job.to_owned();
        self.call(Call::TakeJob, move |state| state.take(fence, job, lease))
    }

    fn take_idle<'a>(
        &'a self,
        fence: Fence,
        job: &'a str,
        lease: Duration,
        idle: Duration,
    ) -> Answer<'a, bool> {
        let job = job.to_owned();
        self.call(Call::TakeJob, move |state| {
            state.take_idle(fence, job, lease, idle)
        })
    }

    fn condemn<'a>(&'a self, fence: Fence, keys: &'a [String]) -> Answer<'a, ()> {
        let keys = keys.to_vec();
        self.call(Call::Condemn, move |state| {
            state.live(fence)?;
            for key in keys {
                let now_ms = state.now_ms;
                state.condemned.entry(key).or_insert(now_ms);
            }
            Ok(())
        })
    }

    fn condemned(&self, age: Duration, limit: usize) -> Answer<'_, Vec<String>> {
        self.call(Call::Condemned, move |state| {
            let until_ms = state.now_ms.checked_sub(ms(age));
            let mut old: Vec<(u64, String)> = state
                .condemned
                .iter()
                .filter(|(_, since_ms)| until_ms.is_some_and(|until_ms| **since_ms <= until_ms))
                .map(|(key, since_ms)| (*since_ms, key.clone()))
                .collect();
            old.sort();
            Ok(old.into_iter().take(limit).map(|(_, key)| key).collect())
        })
    }

    fn forget<'a>(&'a self, fence: Fence, keys: &'a [String]) -> Answer<'a, ()> {
        let keys: HashSet<String> = keys.iter().cloned().collect();
        self.call(Call::Forget, move |state| {
            state.live(fence)?;
            state.condemned.retain(|key, _| !keys.contains(key));
            Ok(())
        })
    }
}
