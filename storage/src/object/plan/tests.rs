use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::log::timestamp::first_at_or_after;
use crate::log::{
    AppendPermit, Isolation, JointPart, LogConfig, LogStore, Next, PartitionLog, Read, ReadRequest,
    TimestampOffset,
};
use crate::memory;
use crate::object::entry::{Marker, ObjectId};
use crate::object::group_state::{Applied, Partition};
use crate::record::batch::set_offset_and_epoch;
use crate::record::{
    BatchBuilder, TimestampType, TransactionResult, ValidateConfig, batches, validate,
};

/// Those of each kind of log; the groups take turns.
const PARTITIONS: usize = 5;
const GROUPS: usize = 2;

/// What a future that waits for nothing gives.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits for something"),
    }
}

fn partition(at: usize) -> TopicPartition {
    TopicPartition {
        topic: Arc::from("topic"),
        topic_id: Uuid::from_u128(7),
        partition: at as i32,
    }
}

fn group_of(at: usize) -> usize {
    at % GROUPS
}

/// Numbers that decide what comes next: what, who, where, how, how much.
type Step = (u8, u8, u8, u8, u16);

/// Something that a broker was asked for, and its model.
#[derive(Clone)]
enum Asked {
    Append {
        batch: ValidatedBatch,
        /// With the broker's guard, and with the model's.
        origins: [AppendOrigin; 2],
        claim: Option<i32>,
    },
    LogStart(i64),
    Claim,
    Delete,
    Replace(Vec<Run>, Vec<Run>),
}

struct Broker {
    groups: Vec<GroupState>,
    queue: Vec<(usize, Asked)>,
    claims: [Option<i32>; PARTITIONS],
}

/// What a client remembers of one producer id in one partition.
#[derive(Clone, Default)]
struct Client {
    epoch: i16,
    next_sequence: i32,
    sent: Vec<(ValidatedBatch, i16)>,
}

struct World {
    /// The entries of each group, as the database has them.
    logs: Vec<Vec<Vec<u8>>>,
    brokers: Vec<Broker>,
    objects: HashMap<ObjectId, Bytes>,
    /// Inline bytes of a group's row.
    inline: HashMap<(usize, i64), Bytes>,
    model: Arc<dyn LogStore>,
    model_logs: Vec<Arc<dyn PartitionLog>>,
    /// The newest claim of each log.
    claims: [i32; PARTITIONS],
    deleted: [bool; PARTITIONS],
    clients: HashMap<(i64, usize), Client>,
    now_ms: i64,
    next_object: u128,
    lost: usize,
    /// How often what was answered.
    answered: HashMap<String, usize>,
}

impl World {
    fn new(brokers: usize) -> Self {
        let model = memory::open();
        let config = Arc::new(LogConfig::default());
        let open = |at| model.open_log(partition(at), Arc::clone(&config)).unwrap();
        let broker = || Broker {
            groups: vec![GroupState::new(); GROUPS],
            queue: Vec::new(),
            claims: [None; PARTITIONS],
        };
        Self {
            logs: vec![Vec::new(); GROUPS],
            brokers: std::iter::repeat_with(broker).take(brokers).collect(),
            objects: HashMap::new(),
            inline: HashMap::new(),
            model_logs: (0..PARTITIONS).map(open).collect(),
            model,
            claims: [0; PARTITIONS],
            deleted: [false; PARTITIONS],
            clients: HashMap::new(),
            now_ms: 1_000_000,
            next_object: 0,
            lost: 0,
            answered: HashMap::new(),
        }
    }

    fn step(&mut self, (what, who, at, how, much): Step) {
        self.now_ms += i64::from(much % 7);
        let broker = usize::from(who) % self.brokers.len();
        let at = usize::from(at) % PARTITIONS;
        match what % 100 {
            0..10 => self.send_plain(broker, at, how, much),
            10..35 => self.send_idempotent(broker, at, how, much),
            35..50 => self.send_transactional(at, how, much),
            50..60 => self.send_marker(broker, at, how, much),
            60..64 => self.send_coordinators(broker, at, how, much),
            64..66 => self.brokers[broker].queue.push((at, Asked::Claim)),
            66..69 => {
                let end = self.model_logs[at].offsets().log_end_offset;
                let offset = i64::from(much) % (end + 2);
                self.brokers[broker]
                    .queue
                    .push((at, Asked::LogStart(offset)));
            }
            69 if how % 8 == 0 => self.brokers[broker].queue.push((at, Asked::Delete)),
            69..74 => self.send_replacement(broker, at, how, much),
            74..79 => self.commit_together(broker, at, how, much),
            79..83 => self.catch_up(broker),
            83..85 => self.restart(broker, how),
            85..88 => self.find_time(broker, at, much),
            _ => self.flush(broker, how),
        }
    }

    fn values(count: u16, mut builder: BatchBuilder, time: i64) -> Bytes {
        for number in 0..count {
            let value = [b'v'; 20];
            builder.append(time + i64::from(number), None, Some(&value), &[]);
        }
        builder.build().unwrap()
    }

    fn batch(&self, builder: BatchBuilder, how: u8, much: u16) -> ValidatedBatch {
        let time = self.now_ms - i64::from(much % 50);
        let bytes = Self::values(1 + much % 3, builder, time);
        if how & 0x80 == 0 {
            return ValidatedBatch::trusted(bytes).unwrap();
        }
        let config = ValidateConfig {
            timestamp_type: TimestampType::LogAppendTime,
            ..ValidateConfig::default()
        };
        validate(&bytes, &config, true, self.now_ms).unwrap()
    }

    fn ask(&mut self, broker: usize, at: usize, batch: ValidatedBatch, origin: AppendOrigin) {
        self.brokers[broker].queue.push((
            at,
            Asked::Append {
                batch,
                origins: [origin; 2],
                claim: None,
            },
        ));
    }

    fn send_plain(&mut self, broker: usize, at: usize, how: u8, much: u16) {
        let batch = self.batch(BatchBuilder::new(), how, much);
        self.ask(broker, at, batch, AppendOrigin::CLIENT);
    }

    /// The next batch, a retry at any broker, a gap, a new epoch, or one of an old epoch.
    fn next_batch(&mut self, id: i64, at: usize, how: u8, much: u16, txn: bool) -> ValidatedBatch {
        let mut client = self.clients.remove(&(id, at)).unwrap_or_else(|| Client {
            // Sequences of some begin again soon.
            next_sequence: if id % 2 == 0 { 0 } else { i32::MAX - 4 },
            ..Client::default()
        });
        let mut sequence = client.next_sequence;
        let mut epoch = client.epoch;
        match how % 16 {
            0..4 if !client.sent.is_empty() => {
                let back = 1 + usize::from(much) % client.sent.len().min(7);
                let (batch, _) = client.sent[client.sent.len() - back].clone();
                self.clients.insert((id, at), client);
                return batch;
            }
            4 => sequence = sequence.wrapping_add(1).max(0),
            5 => {
                client.epoch += 1;
                (epoch, sequence) = (client.epoch, 0);
            }
            6 => epoch = (epoch - 1).max(0),
            _ => {}
        }
        let mut builder = BatchBuilder::new().producer(id, epoch, sequence);
        if txn {
            builder = builder.transactional();
        }
        let batch = self.batch(builder, how, much);
        if epoch == client.epoch {
            client.next_sequence = match batch.header.last_sequence() {
                i32::MAX => 0,
                last => last + 1,
            };
        }
        client.sent.push((batch.clone(), epoch));
        self.clients.insert((id, at), client);
        batch
    }

    fn send_idempotent(&mut self, broker: usize, at: usize, how: u8, much: u16) {
        let id = i64::from(how / 16 % 3);
        let batch = self.next_batch(id, at, how, much, false);
        self.ask(broker, at, batch, AppendOrigin::CLIENT);
    }

    /// A transactional producer stays with one broker: a guard is that broker's.
    fn send_transactional(&mut self, at: usize, how: u8, much: u16) {
        let id = 10 + i64::from(how / 16 % 3);
        let broker = id as usize % self.brokers.len();
        let batch = self.next_batch(id, at, how, much, !much.is_multiple_of(8));
        let header = batch.header;
        self.catch_up(broker);
        let mut origins = [AppendOrigin::CLIENT; 2];
        if header.is_transactional() && much % 16 != 1 {
            let (epoch, sequence, bumps) = (header.producer_epoch, header.base_sequence, id == 12);
            let state = &mut self.brokers[broker].groups[group_of(at)];
            let ours = state.begin_verification(&partition(at), id, epoch, sequence, bumps, 0);
            let models = self.model_logs[at].begin_verification(id, epoch, sequence, bumps);
            let [ours, models] = match (ours, models) {
                (Ok(ours), Ok(models)) => [ours, models],
                (ours, models) => {
                    assert_eq!(text(&ours.map(drop)), text(&models.map(drop)));
                    return;
                }
            };
            assert_eq!(ours.is_some(), models.is_some());
            let state = &self.brokers[broker].groups[group_of(at)];
            let checks = [
                text(&state.check_transaction(&partition(at), id, epoch, ours)),
                text(&self.model_logs[at].check_transaction(id, epoch, models)),
            ];
            assert_eq!(checks[0], checks[1]);
            origins = [AppendOrigin::Client(ours), AppendOrigin::Client(models)];
        }
        let claim = None;
        let asked = Asked::Append {
            batch,
            origins,
            claim,
        };
        self.brokers[broker].queue.push((at, asked));
    }

    fn marker(&self, at: usize, how: u8, much: u16) -> (ValidatedBatch, AppendOrigin) {
        let id = 10 + i64::from(how / 16 % 3);
        let epoch = self.clients.get(&(id, at)).map_or(0, |client| client.epoch);
        let end = EndTxnMarker {
            result: match how & 1 {
                0 => TransactionResult::Commit,
                _ => TransactionResult::Abort,
            },
            coordinator_epoch: i32::from(how / 2 % 4),
        };
        let epoch = (epoch + much as i16 % 3 - 1).max(0);
        let batch = end.to_batch(id, epoch, self.now_ms).unwrap();
        let transaction_version = if how & 8 == 0 { 0 } else { 2 };
        let origin = AppendOrigin::Marker {
            transaction_version,
        };
        (ValidatedBatch::trusted(batch).unwrap(), origin)
    }

    fn send_marker(&mut self, broker: usize, at: usize, how: u8, much: u16) {
        let (batch, origin) = self.marker(at, how, much);
        self.ask(broker, at, batch, origin);
    }

    /// A coordinator's record, perhaps of one that has lost the log.
    fn send_coordinators(&mut self, broker: usize, at: usize, how: u8, much: u16) {
        let batch = self.batch(BatchBuilder::new(), how, much);
        let claim = self.brokers[broker].claims[at];
        let asked = Asked::Append {
            batch,
            origins: [AppendOrigin::COORDINATOR; 2],
            claim,
        };
        self.brokers[broker].queue.push((at, asked));
    }

    /// Some runs of a log, written together into another object; compacted ones say their offsets themselves.
    fn send_replacement(&mut self, broker: usize, at: usize, how: u8, much: u16) {
        let Some(view) = self.view(broker, at) else {
            return;
        };
        let count = view.run_count();
        if count == 0 {
            return;
        }
        let first = usize::from(much) % count;
        let from = view.runs(0).nth(first).unwrap().base_offset;
        let old: Vec<Run> = view.runs(from).take(1 + usize::from(how % 4)).collect();
        let is_compacted = how & 16 != 0 || old.iter().any(|run| run.is_compacted);
        let mut bytes = Vec::new();
        for run in &old {
            for batch in self.stored(group_of(at), run) {
                bytes.extend_from_slice(&batch);
            }
        }
        let object = self.put(bytes.clone().into());
        let new = Run {
            base_offset: old[0].base_offset,
            next_offset: old[old.len() - 1].next_offset,
            size_bytes: bytes.len() as u32,
            max_timestamp: old.iter().map(|run| run.max_timestamp).max().unwrap(),
            place: Place::Object {
                object,
                position: 0,
            },
            is_compacted,
        };
        let asked = Asked::Replace(old, vec![new]);
        self.brokers[broker].queue.push((at, asked));
    }

    fn put(&mut self, bytes: Bytes) -> ObjectId {
        self.next_object += 1;
        let object = ObjectId {
            broker_epoch: 1,
            id: Uuid::from_u128(self.next_object),
        };
        self.objects.insert(object, bytes);
        object
    }

    /// The batches of a run, as they are read: with their offsets.
    fn stored(&self, group: usize, run: &Run) -> Vec<Bytes> {
        let bytes = match run.place {
            Place::Made(marker) => marker.to_batch(run.max_timestamp).unwrap(),
            Place::Object { object, position } => {
                let from = position as usize;
                self.objects[&object].slice(from..from + run.size_bytes as usize)
            }
            Place::Inline { seq, position } => {
                let from = position as usize;
                self.inline[&(group, seq)].slice(from..from + run.size_bytes as usize)
            }
        };
        assert_eq!(bytes.len(), run.size_bytes as usize);
        let mut next_offset = run.base_offset;
        let mut stored = Vec::new();
        for batch in batches(&bytes) {
            let batch = batch.unwrap();
            let mut copy = batch.bytes.to_vec();
            let base_offset = match run.is_compacted {
                true => batch.header.base_offset,
                false => next_offset,
            };
            set_offset_and_epoch(&mut copy, base_offset, 0).unwrap();
            next_offset = base_offset + i64::from(batch.header.last_offset_delta) + 1;
            stored.push(copy.into());
        }
        assert_eq!(next_offset, run.next_offset);
        stored
    }

    fn catch_up(&mut self, broker: usize) {
        for group in 0..GROUPS {
            self.read_entries(broker, group);
        }
    }

    fn read_entries(&mut self, broker: usize, group: usize) {
        let state = &mut self.brokers[broker].groups[group];
        while let Some(bytes) = self.logs[group].get(state.seq() as usize) {
            let entry = Entry::decode(bytes).unwrap();
            let seq = state.seq() + 1;
            let applied = state.apply(seq, &entry).unwrap();
            assert_eq!(applied.changes.is_empty(), entry.is_empty());
        }
    }

    /// A broker begins again: with a snapshot of what it has, or with all entries. Guards are lost.
    fn restart(&mut self, broker: usize, how: u8) {
        let restarted = &mut self.brokers[broker];
        let guarded = |origin: &AppendOrigin| matches!(origin, AppendOrigin::Client(Some(_)));
        if restarted.queue.iter().any(
            |(_, asked)| matches!(asked, Asked::Append { origins, .. } if guarded(&origins[0])),
        ) {
            return;
        }
        // The model keeps verifications: nobody may have begun one.
        if self.clients.keys().any(|(id, _)| *id >= 10) {
            let groups = restarted.groups.iter();
            let read = groups.map(|state| GroupState::from_snapshot(&state.to_snapshot()).unwrap());
            for (read, state) in read.zip(&restarted.groups) {
                assert_eq!(read.to_snapshot(), state.to_snapshot());
            }
            return;
        }
        for state in &mut restarted.groups {
            *state = match how % 2 {
                0 => GroupState::from_snapshot(&state.to_snapshot()).unwrap(),
                _ => GroupState::new(),
            };
        }
        self.catch_up(broker);
    }

    /// Plans and appends what a broker was asked for; a group at a time.
    fn flush(&mut self, broker: usize, how: u8) {
        let mut queue = std::mem::take(&mut self.brokers[broker].queue);
        if how & 1 != 0 {
            // As an object is laid out: what is of one partition lies together.
            queue.sort_by_key(|(at, _)| *at);
        }
        for group in 0..GROUPS {
            let asked: Vec<_> = queue
                .iter()
                .filter(|(at, _)| group_of(*at) == group)
                .cloned()
                .collect();
            if !asked.is_empty() {
                self.commit(broker, group, &asked, how & 2 != 0);
            }
        }
    }

    /// Lays bytes out as an engine does, before it knows which of the batches are let in.
    fn wanted(&mut self, asked: &[(usize, Asked)], inline: bool) -> (Vec<Wanted>, Bytes) {
        let mut bytes = Vec::new();
        let mut positions = Vec::new();
        for (_, asked) in asked {
            positions.push(bytes.len() as u32);
            if let Asked::Append { batch, .. } = asked
                && Marker::of(batch).is_none()
            {
                bytes.extend_from_slice(&batch.to_bytes(0, -1));
            }
        }
        let bytes = Bytes::from(bytes);
        let object = self.put(bytes.clone());
        let wanted = asked.iter().zip(positions).map(|((at, asked), position)| {
            let what = match asked {
                Asked::Append {
                    batch,
                    origins,
                    claim,
                } => Want::Append {
                    batch: Candidate::of(batch).unwrap(),
                    origin: origins[0],
                    claim: *claim,
                    place: match Marker::of(batch) {
                        Some(marker) => Place::Made(marker),
                        None if inline => Place::Inline { seq: -1, position },
                        None => Place::Object { object, position },
                    },
                },
                Asked::LogStart(offset) => Want::LogStart { offset: *offset },
                Asked::Claim => Want::Claim,
                Asked::Delete => Want::Delete,
                Asked::Replace(old, new) => Want::Replace {
                    old: old.clone(),
                    new: new.clone(),
                    aborted: None,
                },
            };
            Wanted {
                partition: partition(*at),
                what,
            }
        });
        (wanted.collect(), bytes)
    }

    fn commit(&mut self, broker: usize, group: usize, asked: &[(usize, Asked)], inline: bool) {
        let (wanted, bytes) = self.wanted(asked, inline);
        let answers = loop {
            let state = &self.brokers[broker].groups[group];
            let planned = plan(state, &wanted, self.now_ms);
            let is_newest = state.seq() as usize == self.logs[group].len();
            if planned.entry.is_empty() && (is_newest || planned.is_sure()) {
                if !is_newest {
                    // Later entries may have moved the start, or the window: but where the original is does not change.
                    return self.check_originals(asked, &planned.answers);
                }
                break planned.answers;
            }
            if is_newest {
                self.logs[group].push(planned.entry.encode());
                let seq = self.logs[group].len() as i64;
                self.inline.insert((group, seq), bytes);
                self.read_entries(broker, group);
                break planned.answers;
            }
            self.lost += 1;
            self.read_entries(broker, group);
        };
        for ((at, asked), answer) in asked.iter().zip(answers) {
            self.compare_answer(broker, *at, asked, answer);
        }
        for at in (0..PARTITIONS).filter(|at| group_of(*at) == group) {
            self.compare(broker, at);
        }
    }

    fn check_originals(&self, asked: &[(usize, Asked)], answers: &[Result<Answer, AppendError>]) {
        for ((at, asked), answer) in asked.iter().zip(answers) {
            let (Asked::Append { batch, .. }, Ok(Answer::Appended(appended))) = (asked, answer)
            else {
                panic!("{answer:?}");
            };
            assert!(appended.duplicate);
            if self.deleted[*at]
                || appended.base_offset < self.model_logs[*at].offsets().log_start_offset
            {
                continue;
            }
            let all = self.model_batches(*at, appended.base_offset);
            let stored = batch.to_bytes(appended.base_offset, 0);
            assert_eq!(all.first(), Some(&stored));
        }
    }

    fn compare_answer(
        &mut self,
        broker: usize,
        at: usize,
        asked: &Asked,
        answer: Result<Answer, AppendError>,
    ) {
        let name = text(&answer);
        let kind = match &answer {
            Ok(Answer::Appended(appended)) if appended.duplicate => "Duplicate",
            _ => name.split(['(', ')', ' ']).nth(1).unwrap(),
        };
        *self.answered.entry(kind.to_owned()).or_default() += 1;
        let log = Arc::clone(&self.model_logs[at]);
        match asked {
            Asked::Append {
                batch,
                origins,
                claim,
            } => {
                let is_coordinators = matches!(origins[0], AppendOrigin::Coordinator(_));
                if is_coordinators && !self.deleted[at] && claim.unwrap_or(0) != self.claims[at] {
                    assert!(
                        matches!(answer, Err(AppendError::Fenced { .. })),
                        "{answer:?}"
                    );
                    return;
                }
                let permit = AppendPermit::unlimited();
                let expected = log.submit(permit, batch.clone(), origins[1], Next::Append);
                let expected = expected.and_then(ready).map(Answer::Appended);
                assert_eq!(text(&answer), text(&expected));
            }
            Asked::LogStart(offset) => {
                let expected = ready(log.delete_records_before(*offset)).map(Answer::LogStart);
                assert_eq!(text(&answer), text(&expected));
            }
            Asked::Claim => {
                if self.deleted[at] {
                    assert!(matches!(answer, Err(AppendError::Deleted)), "{answer:?}");
                    return;
                }
                self.claims[at] += 1;
                assert!(matches!(answer, Ok(Answer::Claimed(epoch)) if epoch == self.claims[at]));
                self.brokers[broker].claims[at] = Some(self.claims[at]);
            }
            Asked::Delete => {
                ready(self.model.delete_logs(vec![partition(at)])).unwrap();
                self.deleted[at] = true;
                assert!(matches!(answer, Ok(Answer::Done)), "{answer:?}");
            }
            Asked::Replace(..) => {
                let is_fine = match answer {
                    Ok(Answer::Done | Answer::Outdated) => !self.deleted[at],
                    Err(AppendError::Deleted) => self.deleted[at],
                    _ => false,
                };
                assert!(is_fine);
            }
        }
    }

    /// Markers and data for several logs, all or none but for those that may be skipped.
    fn commit_together(&mut self, broker: usize, at: usize, how: u8, much: u16) {
        let mut parts = Vec::new();
        for number in 0..1 + usize::from(how % 3) {
            let at = (at + number) % PARTITIONS;
            let how = how.wrapping_mul(31).wrapping_add(number as u8);
            let (batch, origin) = match (how / 64) % 3 {
                0 => (
                    self.batch(BatchBuilder::new(), how, much),
                    AppendOrigin::CLIENT,
                ),
                1 => (
                    self.next_batch(1, at, how, much, false),
                    AppendOrigin::CLIENT,
                ),
                _ => self.marker(at, how, much),
            };
            let if_refused = match how & 4 {
                0 => IfRefused::FailAll,
                _ => IfRefused::Skip,
            };
            let claim = None;
            let origins = [origin; 2];
            parts.push((
                at,
                if_refused,
                Asked::Append {
                    batch,
                    origins,
                    claim,
                },
            ));
        }
        let asked: Vec<_> = parts
            .iter()
            .map(|(at, _, asked)| (*at, asked.clone()))
            .collect();
        let (wanted, _) = self.wanted(&asked, false);
        let wanted: Vec<_> = wanted
            .into_iter()
            .zip(&parts)
            .map(|(wanted, (at, if_refused, _))| WantedPart {
                state: group_of(*at),
                wanted,
                if_refused: *if_refused,
            })
            .collect();
        let planned = loop {
            let states: Vec<_> = self.brokers[broker].groups.iter().collect();
            let planned = plan_all(&states, &wanted, self.now_ms);
            let is_newest = |group: usize| states[group].seq() as usize == self.logs[group].len();
            if (0..GROUPS).all(is_newest) {
                break planned;
            }
            self.lost += 1;
            self.catch_up(broker);
        };
        if let Ok(planned) = &planned {
            for (group, entry) in planned.entries.iter().enumerate() {
                if !entry.is_empty() {
                    self.logs[group].push(entry.encode());
                }
            }
            self.catch_up(broker);
        }
        let models: Vec<_> = parts
            .into_iter()
            .map(|(at, if_refused, asked)| {
                let Asked::Append { batch, origins, .. } = asked else {
                    panic!("nothing else was asked");
                };
                JointPart {
                    log: partition(at),
                    batch,
                    origin: origins[1],
                    if_refused,
                }
            })
            .collect();
        let expected = self.model.submit_all(AppendPermit::unlimited(), models);
        match (planned, expected) {
            (Ok(planned), Ok(expected)) => {
                for (answer, expected) in planned.answers.iter().zip(expected) {
                    let expected = expected.and_then(ready).map(Answer::Appended);
                    assert_eq!(text(answer), text(&expected));
                }
            }
            (planned, expected) => {
                assert_eq!(planned.is_err(), expected.is_err(), "{planned:?}");
            }
        }
        (0..PARTITIONS).for_each(|at| self.compare(broker, at));
    }

    fn view(&self, broker: usize, at: usize) -> Option<Partition<'_>> {
        let id = PartitionId::from(&partition(at));
        self.brokers[broker].groups[group_of(at)].partition(id)
    }

    fn model_batches(&self, at: usize, from: i64) -> Vec<Bytes> {
        self.model_read(at, from, Isolation::ReadUncommitted).0
    }

    fn model_read(
        &self,
        at: usize,
        fetch_offset: i64,
        isolation: Isolation,
    ) -> (Vec<Bytes>, Vec<crate::log::AbortedTransaction>) {
        let request = ReadRequest {
            fetch_offset,
            max_bytes: usize::MAX / 2,
            at_least_one_batch: true,
            isolation,
        };
        match self.model_logs[at].read(request) {
            Ok(Read::Ready(fetched)) => (fetched.records, fetched.aborted_transactions),
            Ok(Read::Cold(_)) => panic!("the model has everything in memory"),
            Err(error) => panic!("{error}"),
        }
    }

    /// What a broker that has read all entries of a log knows is what the model knows.
    fn compare(&self, broker: usize, at: usize) {
        let Some(view) = self.view(broker, at) else {
            assert!(self.deleted[at]);
            return;
        };
        assert!(!self.deleted[at]);
        let log = &self.model_logs[at];
        let offsets = log.offsets();
        assert_eq!(view.offsets(), offsets);
        assert_eq!(view.leader_epoch(), self.claims[at]);
        assert_eq!(view.producers(), log.producers());
        for from in [
            offsets.log_start_offset,
            (offsets.log_start_offset + offsets.log_end_offset) / 2,
        ] {
            let (records, aborted) = self.model_read(at, from, Isolation::ReadCommitted);
            if !records.is_empty() {
                assert_eq!(view.aborted(from, offsets.last_stable_offset), aborted);
            }
        }
    }

    /// The bytes that a reader gets are those that were sent.
    fn compare_bytes(&self, broker: usize, at: usize) {
        let Some(view) = self.view(broker, at) else {
            return;
        };
        let start = view.offsets().log_start_offset;
        let expected = self.model_batches(at, start);
        let runs = view.runs(start);
        let ours = runs.flat_map(|run| self.stored(group_of(at), &run));
        let ours: Vec<_> = ours
            .filter(|batch| BatchHeader::parse(batch).unwrap().last_offset() >= start)
            .collect();
        assert!(ours == expected, "{at} from {start}");
        let bytes: u64 = view.runs(0).map(|run| u64::from(run.size_bytes)).sum();
        assert_eq!(view.size_bytes(), bytes);
        if start == 0 {
            assert_eq!(view.size_bytes(), self.model_logs[at].size_bytes());
        }
    }

    fn find(
        &self,
        at: usize,
        view: &Partition<'_>,
        runs: impl Iterator<Item = Run>,
        time: i64,
    ) -> Option<TimestampOffset> {
        let start = view.offsets().log_start_offset;
        runs.flat_map(|run| self.stored(group_of(at), &run))
            .filter(|batch| BatchHeader::parse(batch).unwrap().max_timestamp >= time)
            .find_map(|batch| first_at_or_after(&batch, time, start).unwrap())
    }

    fn find_time(&mut self, broker: usize, at: usize, much: u16) {
        self.catch_up(broker);
        let Some(view) = self.view(broker, at) else {
            return;
        };
        let time = self.now_ms - i64::from(much % 200);
        let isolation = Isolation::ReadUncommitted;
        let expected = ready(self.model_logs[at].offset_for_timestamp(time, isolation)).unwrap();
        let found = self.find(at, &view, view.runs_with_timestamp(time), time);
        assert_eq!(found, expected);
        if view.offsets().log_start_offset > 0 {
            return;
        }
        let expected = ready(self.model_logs[at].offset_of_max_timestamp()).unwrap();
        let newest = view.run_of_max_timestamp();
        let found =
            newest.and_then(|run| self.find(at, &view, std::iter::once(run), run.max_timestamp));
        assert_eq!(found, expected);
    }

    /// All brokers know the same, and so does whoever begins with any of them.
    fn check_all(&mut self) {
        for broker in 0..self.brokers.len() {
            self.flush(broker, 0);
        }
        for group in 0..GROUPS {
            let mut state = GroupState::new();
            let entries: Vec<_> = self.logs[group]
                .iter()
                .map(|bytes| Entry::decode(bytes).unwrap())
                .collect();
            let mut midway = GroupState::new();
            for (at, entry) in entries.iter().enumerate() {
                state.apply(at as i64 + 1, entry).unwrap();
                if at == entries.len() / 2 {
                    midway = GroupState::from_snapshot(&state.to_snapshot()).unwrap();
                }
                if midway.seq() == at as i64 {
                    midway.apply(at as i64 + 1, entry).unwrap();
                }
            }
            let expected = state.to_snapshot();
            assert!(entries.is_empty() || midway.to_snapshot() == expected);
            for broker in 0..self.brokers.len() {
                self.read_entries(broker, group);
                assert!(self.brokers[broker].groups[group].to_snapshot() == expected);
            }
        }
        for at in 0..PARTITIONS {
            self.compare(0, at);
            self.compare_bytes(0, at);
            if let Some(view) = self.view(0, at) {
                let aborted = view.aborted_txns().len();
                *self.answered.entry("aborted".to_owned()).or_default() += aborted;
            }
        }
    }
}

fn text<T: std::fmt::Debug>(outcome: &T) -> String {
    format!("{outcome:?}")
}

fn run(brokers: usize, steps: &[Step]) -> World {
    let mut world = World::new(brokers);
    for step in steps {
        world.step(*step);
    }
    world.check_all();
    world
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(any::<Step>(), 0..150)
}

proptest! {
    #[test]
    fn a_log_answers_as_one_in_memory_does(steps in steps()) {
        run(1, &steps);
    }

    #[test]
    fn brokers_that_plan_on_the_same_state_make_one_log_together(steps in steps()) {
        run(3, &steps);
    }
}

/// What the two above are worth.
#[test]
fn random_worlds_see_every_answer_often() {
    use rand::{Rng, SeedableRng};
    let mut random = rand::rngs::StdRng::seed_from_u64(1);
    let mut answered = HashMap::new();
    let mut lost = 0;
    for _ in 0..30 {
        let steps: Vec<Step> = (0..300).map(|_| random.random()).collect();
        let world = run(3, &steps);
        lost += world.lost;
        for (kind, count) in world.answered {
            *answered.entry(kind).or_insert(0) += count;
        }
    }
    assert!(lost > 300, "{lost}");
    for kind in [
        "Appended",
        "Duplicate",
        "LogStart",
        "Claimed",
        "Done",
        "Outdated",
        "OutOfOrderSequence",
        "InvalidProducerEpoch",
        "InvalidTxnState",
        "TransactionCoordinatorFenced",
        "Fenced",
        "Deleted",
        "aborted",
    ] {
        let count = answered.get(kind).copied().unwrap_or_default();
        assert!(count >= 10, "{kind}: {answered:?}");
    }
}

fn candidate(builder: BatchBuilder, values: u16) -> Candidate {
    let batch = ValidatedBatch::trusted(World::values(values, builder, 1_000)).unwrap();
    Candidate::of(&batch).unwrap()
}

fn append(at: usize, batch: Candidate, origin: AppendOrigin, claim: Option<i32>) -> Wanted {
    Wanted {
        partition: partition(at),
        what: Want::Append {
            batch,
            origin,
            claim,
            place: Place::Inline {
                seq: 0,
                position: 0,
            },
        },
    }
}

fn change(at: usize, what: Want) -> Wanted {
    Wanted {
        partition: partition(at),
        what,
    }
}

/// Plans and applies, as if nobody else were there.
fn commit(state: &mut GroupState, wanted: &[Wanted], at_ms: i64) -> (Vec<Answer>, Applied) {
    let planned = plan(state, wanted, at_ms);
    let entry = Entry::decode(&planned.entry.encode()).unwrap();
    let applied = state.apply(state.seq() + 1, &entry).unwrap();
    let answers = planned.answers.into_iter().map(|answer| answer.unwrap());
    (answers.collect(), applied)
}

fn of_producer(id: i64, sequence: i32) -> Candidate {
    candidate(BatchBuilder::new().producer(id, 0, sequence), 1)
}

fn view(state: &GroupState, at: usize) -> Partition<'_> {
    state.partition(PartitionId::from(&partition(at))).unwrap()
}

#[test]
fn batches_of_one_producer_in_one_plan_see_each_other() {
    let state = GroupState::new();
    let wanted: Vec<_> = [0, 1, 1, 3, 2]
        .map(|sequence| append(0, of_producer(5, sequence), AppendOrigin::CLIENT, None))
        .into();
    let planned = plan(&state, &wanted, 0);
    let offsets: Vec<_> = planned
        .answers
        .iter()
        .map(|answer| match answer {
            Ok(Answer::Appended(appended)) => Some((appended.base_offset, appended.duplicate)),
            _ => None,
        })
        .collect();
    let expected = [
        Some((0, false)),
        Some((1, false)),
        Some((1, true)),
        None,
        Some((2, false)),
    ];
    assert_eq!(offsets, expected);
    assert!(!planned.is_sure());
}

#[test]
fn a_retry_is_answered_for_sure_and_a_refusal_is_not() {
    let mut state = GroupState::new();
    let first = append(0, of_producer(5, 0), AppendOrigin::CLIENT, None);
    commit(&mut state, std::slice::from_ref(&first), 0);
    let again = plan(&state, [&first], 0);
    assert!(again.entry.is_empty() && again.is_sure());
    let gap = append(0, of_producer(5, 7), AppendOrigin::CLIENT, None);
    let refused = plan(&state, [&first, &gap], 0);
    assert!(refused.entry.is_empty() && !refused.is_sure());
}

#[test]
fn batches_that_lie_one_behind_the_other_make_one_run_of_at_most_a_mebibyte() {
    let object = ObjectId {
        broker_epoch: 1,
        id: Uuid::from_u128(1),
    };
    let mut wanted = Vec::new();
    let mut position = 0;
    for number in 0..20 {
        let mut builder = BatchBuilder::new();
        builder.append(1_000 + number, None, Some(&[0; 100_000]), &[]);
        let batch = ValidatedBatch::trusted(builder.build().unwrap()).unwrap();
        let what = Want::Append {
            batch: Candidate::of(&batch).unwrap(),
            origin: AppendOrigin::CLIENT,
            claim: None,
            place: Place::Object { object, position },
        };
        wanted.push(change(0, what));
        position += batch.bytes.len() as u32;
        if number == 14 {
            // A refused batch leaves a hole.
            position += 10;
        }
    }
    let mut state = GroupState::new();
    commit(&mut state, &wanted, 0);
    let runs: Vec<_> = view(&state, 0).runs(0).collect();
    let counts: Vec<_> = runs
        .iter()
        .map(|run| run.next_offset - run.base_offset)
        .collect();
    assert_eq!(counts, [10, 5, 5]);
    assert!(runs.iter().all(|run| run.size_bytes <= RUN_BYTES));
    let times: Vec<_> = runs.iter().map(|run| run.max_timestamp).collect();
    assert_eq!(times, [1_009, 1_014, 1_019]);
    let uses = state.uses_of(&object).unwrap();
    assert_eq!((uses.runs, uses.bytes), (3, u64::from(position) - 10));
}

#[test]
fn a_coordinator_that_has_lost_its_log_appends_nothing_and_neither_does_one_that_never_had_it() {
    let mut state = GroupState::new();
    let record = || candidate(BatchBuilder::new(), 1);
    let record_of = |claim| append(0, record(), AppendOrigin::COORDINATOR, claim);
    commit(&mut state, &[record_of(None)], 0);
    let (answers, _) = commit(
        &mut state,
        &[
            change(0, Want::Claim),
            record_of(Some(1)),
            change(0, Want::Claim),
            record_of(Some(2)),
        ],
        0,
    );
    assert_eq!(
        (answers[0], answers[2]),
        (Answer::Claimed(1), Answer::Claimed(2))
    );
    let planned = plan(&state, &[record_of(Some(1)), record_of(None)], 0);
    for (answer, epoch) in planned.answers.iter().zip([1, 0]) {
        assert!(
            matches!(answer, Err(AppendError::Fenced { current: 2, got, .. }) if *got == epoch),
            "{answer:?}"
        );
    }
    let others = [
        append(0, record(), AppendOrigin::CLIENT, None),
        append(
            0,
            record(),
            AppendOrigin::Marker {
                transaction_version: 0,
            },
            None,
        ),
    ];
    assert!(plan(&state, &others, 0).answers.iter().all(Result::is_ok));
    let view = view(&state, 0);
    let epochs: Vec<_> = (0..3).map(|offset| view.leader_epoch_at(offset)).collect();
    assert_eq!(epochs, [0, 1, 2]);
    let ends: Vec<_> = (0..4)
        .map(|epoch| view.end_offset_for_epoch(epoch))
        .collect();
    assert_eq!(ends, [Some((0, 1)), Some((1, 2)), Some((2, 3)), None]);
}

#[test]
fn a_part_that_is_fenced_fails_all_or_is_left_out() {
    let mut state = GroupState::new();
    commit(&mut state, &[change(0, Want::Claim)], 0);
    let part = |at, origin, if_refused| WantedPart {
        state: 0,
        wanted: append(at, candidate(BatchBuilder::new(), 1), origin, None),
        if_refused,
    };
    let fenced = |if_refused| part(0, AppendOrigin::COORDINATOR, if_refused);
    let fine = || part(2, AppendOrigin::CLIENT, IfRefused::FailAll);
    let error = plan_all(&[&state], &[fine(), fenced(IfRefused::FailAll)], 0).unwrap_err();
    assert_eq!(error.part, Some(1));
    let planned = plan_all(&[&state], &[fine(), fenced(IfRefused::Skip)], 0).unwrap();
    assert!(planned.answers[0].is_ok() && planned.answers[1].is_err());
    assert_eq!(planned.entries[0].effects.len(), 1);
    let twice = plan_all(&[&state], &[fine(), fine()], 0).unwrap_err();
    assert_eq!(twice.part, Some(1));
}

#[test]
fn runs_are_replaced_only_as_long_as_they_are_there() {
    let mut state = GroupState::new();
    let plain = || {
        append(
            0,
            candidate(BatchBuilder::new(), 2),
            AppendOrigin::CLIENT,
            None,
        )
    };
    for _ in 0..3 {
        commit(&mut state, &[plain()], 0);
    }
    let old: Vec<_> = view(&state, 0).runs(0).collect();
    let object = |id| ObjectId {
        broker_epoch: 1,
        id: Uuid::from_u128(id),
    };
    let merged = |id, runs: &[Run]| Run {
        next_offset: runs[runs.len() - 1].next_offset,
        size_bytes: runs.iter().map(|run| run.size_bytes).sum(),
        place: Place::Object {
            object: object(id),
            position: 0,
        },
        ..runs[0]
    };
    let replace = |old: &[Run], new: &[Run]| {
        let (old, new, aborted) = (old.to_vec(), new.to_vec(), None);
        change(0, Want::Replace { old, new, aborted })
    };
    assert_eq!(
        state.inline_rows().map(|(seq, _)| seq).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    let first = merged(1, &old[..2]);
    let (answers, _) = commit(&mut state, &[replace(&old[..2], &[first])], 0);
    assert_eq!(answers, [Answer::Done]);
    let runs: Vec<_> = view(&state, 0).runs(0).collect();
    assert_eq!(runs, [first, old[2]]);
    assert_eq!(
        state.inline_rows().map(|(seq, _)| seq).collect::<Vec<_>>(),
        [3]
    );
    // Others have merged them meanwhile, or their records were deleted.
    let late = plan(&state, &[replace(&old, &[merged(2, &old)])], 0);
    assert!(
        matches!(late.answers[..], [Ok(Answer::Outdated)]),
        "{late:?}"
    );
    commit(&mut state, &[change(0, Want::LogStart { offset: 3 })], 0);
    assert_eq!(
        view(&state, 0).run_count(),
        2,
        "the first run holds offset 3"
    );
    let (_, applied) = commit(&mut state, &[change(0, Want::LogStart { offset: 4 })], 0);
    assert_eq!(applied.unused, [object(1)]);
    let late = plan(&state, &[replace(&[first, old[2]], &[merged(2, &old)])], 0);
    assert!(
        matches!(late.answers[..], [Ok(Answer::Outdated)]),
        "{late:?}"
    );
    // Compaction may leave nothing.
    commit(&mut state, &[replace(&old[2..], &[])], 0);
    assert_eq!(
        (view(&state, 0).run_count(), view(&state, 0).size_bytes()),
        (0, 0)
    );
    assert_eq!(view(&state, 0).offsets().log_end_offset, 6);
    let (answers, _) = commit(&mut state, &[plain()], 0);
    assert!(matches!(answers[0], Answer::Appended(appended) if appended.base_offset == 6));
}

#[test]
fn producers_that_were_silent_expire_and_those_that_write_do_not() {
    let mut state = GroupState::new();
    let of = |id, sequence| append(0, of_producer(id, sequence), AppendOrigin::CLIENT, None);
    let txn = candidate(BatchBuilder::new().producer(9, 0, 0).transactional(), 1);
    state.verify_transactions(false);
    commit(
        &mut state,
        &[
            of(5, 0),
            of(6, 0),
            append(0, txn, AppendOrigin::CLIENT, None),
        ],
        1_000,
    );
    commit(&mut state, &[of(6, 1)], 2_000);
    assert!(view(&state, 0).has_silent_producers(2_000));
    let expire = |active_ms| change(0, Want::Expire { active_ms });
    // One that writes in the same plan is not silent.
    commit(&mut state, &[of(5, 1), expire(2_000)], 1_500);
    assert_eq!(view(&state, 0).producer_count(), 3);
    commit(&mut state, &[expire(2_000)], 3_000);
    let known: Vec<_> = view(&state, 0)
        .producers()
        .iter()
        .map(|known| known.producer_id)
        .collect();
    assert_eq!(known, [6, 9], "9 is in a transaction");
    // One that comes back is as good as new.
    let (answers, _) = commit(&mut state, &[expire(2_001), of(6, 17)], 3_000);
    assert!(matches!(answers[1], Answer::Appended(appended) if !appended.duplicate));
}

#[test]
fn a_deleted_partition_stays_deleted_until_it_is_forgotten() {
    let mut state = GroupState::new();
    let plain = || {
        append(
            0,
            candidate(BatchBuilder::new(), 1),
            AppendOrigin::CLIENT,
            None,
        )
    };
    commit(&mut state, &[plain()], 0);
    let (_, applied) = commit(&mut state, &[change(0, Want::Delete)], 5_000);
    assert!(applied.changes[0].is_deleted);
    let id = PartitionId::from(&partition(0));
    assert!(state.partition(id).is_none() && state.inline_rows().next().is_none());
    assert_eq!(state.deleted().collect::<Vec<_>>(), [(id, 5_000)]);
    for what in [
        Want::Claim,
        Want::LogStart { offset: 0 },
        Want::Expire { active_ms: 0 },
    ] {
        let planned = plan(&state, &[change(0, what)], 0);
        assert!(matches!(planned.answers[..], [Err(AppendError::Deleted)]));
    }
    assert!(matches!(
        plan(&state, &[plain()], 0).answers[..],
        [Err(AppendError::Deleted)]
    ));
    let again = commit(&mut state, &[change(0, Want::Delete)], 6_000);
    assert_eq!(again.1.changes, [], "it is deleted already");
    assert_eq!(state.deleted().count(), 1);
    let outdated = plan(&state, &[change(2, Want::Forget)], 0);
    assert!(matches!(outdated.answers[..], [Ok(Answer::Outdated)]));
    commit(&mut state, &[change(0, Want::Forget)], 0);
    assert_eq!(state.deleted().count(), 0);
}

#[test]
fn a_guard_is_a_brokers_own_and_survives_no_snapshot() {
    let mut state = GroupState::new();
    let verify = |state: &mut GroupState| {
        let guard = state.begin_verification(&partition(0), 9, 0, 0, false, 0);
        guard.unwrap().unwrap()
    };
    let guard = verify(&mut state);
    let txn = candidate(BatchBuilder::new().producer(9, 0, 0).transactional(), 1);
    let with = |guard| append(0, txn, AppendOrigin::Client(Some(guard)), None);
    assert!(plan(&state, &[with(guard)], 0).answers[0].is_ok());
    let mut again = GroupState::from_snapshot(&state.to_snapshot()).unwrap();
    assert_eq!(again.to_snapshot(), GroupState::new().to_snapshot());
    let other = verify(&mut again);
    assert_ne!(guard, other);
    assert!(plan(&again, &[with(guard)], 0).answers[0].is_err());
    assert!(plan(&again, &[with(other)], 0).answers[0].is_ok());
    again.forget_verifications(1);
    assert!(plan(&again, &[with(other)], 0).answers[0].is_err());
}

#[test]
fn what_goes_by_time_and_by_size_goes_from_the_start_on() {
    let mut state = GroupState::new();
    let mut size_bytes = 0;
    for time in [1_000, -1, 3_000, 2_000, 5_000] {
        let mut builder = BatchBuilder::new();
        builder.append(time, None, Some(b"value"), &[]);
        let batch = ValidatedBatch::trusted(builder.build().unwrap()).unwrap();
        size_bytes = batch.bytes.len() as i64;
        let batch = Candidate::of(&batch).unwrap();
        commit(
            &mut state,
            &[append(0, batch, AppendOrigin::CLIENT, None)],
            0,
        );
    }
    let view = view(&state, 0);
    let start = |ms, bytes, now_ms| view.start_by_retention(ms, bytes, now_ms);
    assert_eq!(start(-1, -1, i64::MAX), 0);
    assert_eq!([start(100, -1, 1_100), start(100, -1, 1_101)], [0, 1]);
    // What has no time goes with what follows, and 2,000 waits for 3,000.
    assert_eq!([start(100, -1, 3_100), start(100, -1, 3_101)], [1, 4]);
    assert_eq!(start(100, -1, 9_000), 5);
    assert_eq!(
        [start(-1, 5 * size_bytes, 0), start(-1, 4 * size_bytes, 0)],
        [0, 1]
    );
    assert_eq!(
        start(-1, 4 * size_bytes - 1, 0),
        1,
        "less than the limit would stay"
    );
    assert_eq!([start(-1, 0, 0), start(100, 4 * size_bytes, 1_101)], [5, 1]);
}

#[test]
fn an_entry_that_was_made_for_another_state_is_not_applied() {
    let state = GroupState::new();
    let plain = || {
        append(
            0,
            candidate(BatchBuilder::new(), 2),
            AppendOrigin::CLIENT,
            None,
        )
    };
    let entry = plan(&state, &[plain()], 0).entry;
    let refused = |entry: &Entry| {
        let mut state = GroupState::new();
        commit(&mut state, &[plain()], 0);
        state.apply(2, entry).unwrap_err()
    };
    refused(&entry);
    let partition = PartitionId::from(&partition(0));
    let run = Run {
        base_offset: 0,
        next_offset: 2,
        size_bytes: 10,
        max_timestamp: 0,
        place: Place::Inline {
            seq: 1,
            position: 0,
        },
        is_compacted: false,
    };
    let replaced = |from, to, runs: Vec<Run>| Effect::Replaced {
        partition,
        from,
        to,
        runs,
        aborted: None,
    };
    let empty = Effect::Append {
        partition,
        base_offset: 2,
        place: run.place,
        batches: Vec::new(),
    };
    for effect in [
        empty,
        Effect::LogStart {
            partition,
            offset: 3,
        },
        Effect::Claim {
            partition,
            leader_epoch: 0,
        },
        Effect::Forgotten { partition },
        Effect::Expired {
            partition,
            producer_ids: vec![1],
        },
        replaced(0, 1, vec![]),
        replaced(1, 2, vec![]),
        replaced(2, 2, vec![]),
        replaced(2, 0, vec![]),
        replaced(
            0,
            2,
            vec![Run {
                next_offset: 3,
                ..run
            }],
        ),
        replaced(
            0,
            2,
            vec![Run {
                base_offset: 2,
                ..run
            }],
        ),
        replaced(0, 2, vec![run, run]),
    ] {
        let entry = Entry {
            at_ms: 0,
            effects: vec![effect],
        };
        refused(&entry);
    }
    let mut state = GroupState::new();
    assert!(state.apply(2, &Entry::default()).is_err(), "1 is missing");
}
