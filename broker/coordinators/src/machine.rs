//! What a coordinator is made of: a pure state machine over one log.
//!
//! A [`Machine`] knows no clock, no randomness and no I/O, and gives the same answers to the same requests. One task owns it
//! (`coordinator/shard.rs` in the broker) and keeps to this contract:
//!
//! * **Load**: the owner makes a new machine and calls [`replay`](Machine::replay) and
//!   [`replay_marker`](Machine::replay_marker) for everything in the log, in order. Then it calls
//!   [`loaded`](Machine::loaded), and handles the effects of that like all others.
//! * **Run**: the owner calls [`handle`](Machine::handle) for each request, in the order of their arrival. When no request
//!   waits and [`next_deadline`](Machine::next_deadline) has come, it calls [`on_deadline`](Machine::on_deadline). Each call
//!   is told the [`Moment`]; time never goes backwards from one to the next.
//! * **Ask**: the owner answers [`Effects::questions`] elsewhere, for that may take long. It hands the answers to
//!   [`outcome`](Machine::outcome), in any order and however late.
//! * **Append, then reply**: the owner appends [`Effects::writes`] in the order of the calls. It releases
//!   [`Effects::replies`] in the order they were given, each when everything appended before it is durable, the writes of its
//!   own step included. *Every* reply takes its place in that queue, reads too. The machine has already applied what is not
//!   yet durable, so a reply that overtook it could show a write that a power cut takes back.
//! * **Failure**: if an append fails, or might have, the machine is ahead of its log and good for nothing. The owner turns
//!   replies that it held back into refusals ([`Refused`]) and answers parked requests through [`unload`](Machine::unload).
//!   Then it loads a new machine from the log.

use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;

use protocol_shim::ErrorCode;
use uuid::Uuid;

/// The owner's name for one request. Every token that is handed in comes back exactly once, with its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// One incarnation of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
}

/// A producer's transaction has ended. In a log this is a control batch, the marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndTxn {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub coordinator_epoch: i32,
    pub commit: bool,
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    pub topic: Arc<str>,
    /// Nil if only the name is known. A topic that was made anew under the name is another topic.
    pub topic_id: Uuid,
    pub index: i32,
}

/// The end of a producer's transaction, in partitions that it has written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// As the markers carry it.
    pub producer: Producer,
    pub commit: bool,
    /// 2 if the coordinator gives the producer a new epoch with each transaction (KIP-890), else 0.
    pub transaction_version: i16,
    pub partitions: Vec<Partition>,
}

/// What a machine may know of the world when it is called.
#[derive(Debug)]
pub struct Moment<C: ?Sized> {
    /// The time that deadlines are counted from. Nobody puts this clock forward or back.
    pub steady_ms: i64,
    /// How far the wall clock is ahead of that.
    pub wall_ahead_ms: i64,
    /// The largest batch that the machine's log takes. What has to stay whole must fit into it.
    pub max_batch_bytes: usize,
    /// The metadata, as the machine sees it. It is the same pointer as long as nothing has changed.
    pub catalog: Arc<C>,
}

/// Why the owner itself turns a request away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The log behind the machine cannot be read or written, or the broker stops.
    Unavailable,
    /// The log is being read.
    Loading,
    /// The log is deleted, or another broker's.
    NotCoordinator,
}

impl From<Refused> for ErrorCode {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unavailable => Self::CoordinatorNotAvailable,
            Refused::Loading => Self::CoordinatorLoadInProgress,
            Refused::NotCoordinator => Self::NotCoordinator,
        }
    }
}

/// Something to append. A batch holds writes of one kind only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write<R> {
    /// Records in one batch if they fit, else in several. Then a crash may leave the first ones only.
    Plain(Vec<R>),
    /// Records of a producer's open transaction, in one batch. The machine refuses what does not fit before it changes
    /// anything. It is told what becomes of them: see [`Machine::settled`].
    Transactional { producer: Producer, records: Vec<R> },
    /// A record of this log and the markers of `ending` in others: all are durable together, or none. A partition that is
    /// gone, or whose log refuses the marker, is left out.
    Joint { record: R, ending: Ending },
}

/// The outcome of one step. See the [module's contract](self) for what to do with it.
#[derive(Debug)]
pub struct Effects<Record, Reply, Question, Note> {
    /// To append to the machine's log, in this order.
    pub writes: Vec<Write<Record>>,
    /// To release, in this order, when `writes` and everything appended before them are durable.
    pub replies: Vec<(Token, Reply)>,
    /// To be answered elsewhere.
    pub questions: Vec<Question>,
    /// To be told in the log of the broker. Whether they are changes nothing.
    pub notes: Vec<Note>,
}

/// The effects of a machine.
pub type EffectsOf<M> = Effects<
    <M as Machine>::Record,
    <M as Machine>::Reply,
    <M as Machine>::Question,
    <M as Machine>::Note,
>;

/// Key and value of a record; no value for a tombstone.
pub type KeyValue = (Vec<u8>, Option<Vec<u8>>);

/// See the [module](self).
pub trait Machine: Sized + Send + 'static {
    /// What the machine knows of the metadata.
    type Catalog: ?Sized + Send + Sync;
    type Request: Send + 'static;
    type Reply: From<Refused> + Send + 'static;
    type Record: Send;
    /// Why bytes are no record, or a record has no bytes.
    type RecordError: Error;
    type Question: Send;
    /// The answer to a question.
    type Outcome: Send + 'static;
    type Note: Send;

    /// Takes over one record of the log. `producer` is given if the record belongs to a transaction.
    ///
    /// # Errors
    /// The bytes are not what they say; nothing has changed.
    fn replay(
        &mut self,
        producer: Option<Producer>,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), Self::RecordError>;

    /// Takes over the end of a transaction that has written to the machine's log. Others put markers there, and while the
    /// machine runs it may have written behind one before it learns of it. It comes before every
    /// [`settled`](Self::settled) of a write that stands behind it in the log, and after those of writes before it.
    fn replay_marker(&mut self, end: EndTxn);

    /// The oldest [`Write::Transactional`] of a producer of which this was not told yet is in the log; or the log has refused
    /// it, because the transaction had ended. Then nobody is told the reply of that step.
    fn settled(&mut self, producer: Producer, is_appended: bool);

    /// Whether the answer to a request depends on ends of transactions that the log may tell of already. The owner reads on
    /// before it hands in such a request.
    fn depends_on_markers(&self, request: &Self::Request) -> bool;

    /// The whole log has been taken over.
    fn loaded(&mut self, now: &Moment<Self::Catalog>) -> EffectsOf<Self>;

    /// Handles one request. Its reply is in these effects, or in those of a later step.
    fn handle(
        &mut self,
        now: &Moment<Self::Catalog>,
        token: Token,
        request: Self::Request,
    ) -> EffectsOf<Self>;

    /// Takes in the answer to a question.
    fn outcome(&mut self, now: &Moment<Self::Catalog>, outcome: Self::Outcome) -> EffectsOf<Self>;

    /// When [`on_deadline`](Self::on_deadline) wants to be called next, in steady time.
    fn next_deadline(&self) -> Option<i64>;

    /// Does everything that is due by now.
    fn on_deadline(&mut self, now: &Moment<Self::Catalog>) -> EffectsOf<Self>;

    /// Gives up the machine and answers what is parked in it.
    fn unload(self, refused: Refused) -> Vec<(Token, Self::Reply)>;

    /// The bytes of a record to append.
    ///
    /// # Errors
    /// The record has no bytes. A machine refuses requests that would lead to one, so this does not happen to its own records.
    fn encode(record: &Self::Record) -> Result<KeyValue, Self::RecordError>;
}

impl<Record, Reply, Question, Note> Default for Effects<Record, Reply, Question, Note> {
    fn default() -> Self {
        Self {
            writes: Vec::new(),
            replies: Vec::new(),
            questions: Vec::new(),
            notes: Vec::new(),
        }
    }
}

impl<Record, Reply, Question, Note> Effects<Record, Reply, Question, Note> {
    /// Adds a reply.
    pub fn reply(&mut self, token: Token, reply: Reply) {
        self.replies.push((token, reply));
    }

    /// Adds a plain record.
    pub fn append(&mut self, record: Record) {
        match self.writes.last_mut() {
            Some(Write::Plain(records)) => records.push(record),
            _ => self.writes.push(Write::Plain(vec![record])),
        }
    }

    /// Adds a record of a producer's transaction.
    pub fn append_in(&mut self, transaction_of: Producer, record: Record) {
        match self.writes.last_mut() {
            Some(Write::Transactional { producer, records }) if *producer == transaction_of => {
                records.push(record);
            }
            _ => self.writes.push(Write::Transactional {
                producer: transaction_of,
                records: vec![record],
            }),
        }
    }

    /// Adds what another step has brought about.
    pub fn extend(&mut self, other: Self) {
        self.writes.extend(other.writes);
        self.replies.extend(other.replies);
        self.questions.extend(other.questions);
        self.notes.extend(other.notes);
    }

    pub fn record_count(&self) -> usize {
        let counts = self.writes.iter().map(|write| match write {
            Write::Plain(records) | Write::Transactional { records, .. } => records.len(),
            Write::Joint { ending, .. } => 1 + ending.partitions.len(),
        });
        counts.sum()
    }
}
