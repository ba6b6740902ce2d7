//! What clients did to a broker, and what was in it at the end.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;

/// What a record holds: a number that no other record of the history holds.
pub type Value = u64;

/// A transaction: a number that no other transaction of the history has.
pub type Transaction = u64;

/// A moment: its place in the one sequence of all starts and ends.
pub type Moment = u64;

/// A place in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// A number for topic and index together.
    pub partition: u32,
    /// Where the record is, or the one that is read next.
    pub offset: i64,
}

/// Which record a transaction made another one from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Input {
    /// The group that has read it.
    pub group: u32,
    /// What it holds.
    pub value: Value,
}

/// What a consumer asks to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Everything up to the high watermark.
    ReadUncommitted,
    /// What belongs to no transaction or to a committed one, up to the last stable offset.
    ReadCommitted,
}

/// What a client knows of an operation that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Ok,
    /// It was not done and never will be.
    Fail,
    /// It was done, or not, or will be: the answer is lost.
    Unknown,
}

/// What a client did. Partitions and groups are numbers that the workload has given them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It got a new producer: what the old one sent and the new one sends is in no order.
    Producer,
    /// It sent a record, in a transaction or without.
    Send {
        /// What the record holds.
        value: Value,
        /// Where to.
        partition: u32,
        /// Where the broker says it put it, if the answer came and says so.
        offset: Option<i64>,
        /// The transaction it belongs to.
        transaction: Option<Transaction>,
        /// Read-process-write: what it was made from.
        input: Option<Input>,
    },
    /// It made a group's offsets part of a transaction.
    SendOffsets {
        /// The transaction.
        transaction: Transaction,
        /// Whose offsets.
        group: u32,
        /// What the group shall read next.
        next: Vec<Place>,
    },
    /// It ended a transaction.
    End {
        /// Which.
        transaction: Transaction,
        /// Or abort.
        commit: bool,
    },
    /// Its consumer got these partitions, and no others. An offset is where it reads on; `None` if the client does not say.
    Assign(Vec<(u32, Option<i64>)>),
    /// Its consumer read.
    Poll {
        /// What the consumer sees.
        isolation: Isolation,
        /// In the order in which the client gave them out.
        records: Vec<(Place, Value)>,
    },
    /// It committed a group's offsets outside of a transaction.
    CommitOffsets {
        /// Whose.
        group: u32,
        /// What the group shall read next.
        next: Vec<Place>,
    },
    /// It asked for the offset that a group has committed.
    ReadOffset {
        /// Whose.
        group: u32,
        /// The answer.
        next: Place,
    },
    /// It asked for the ends of a partition.
    ReadEnds {
        /// Which.
        partition: u32,
        /// The high watermark.
        high: i64,
        /// The last stable offset.
        stable: i64,
    },
}

/// One operation of one client. A client has one operation at a time, but several sends may share start and end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// Who.
    pub client: u32,
    /// Before the client began.
    pub start: Moment,
    /// After the client had its answer, or knew that there will be none.
    pub end: Moment,
    /// How it ended.
    pub outcome: Outcome,
    /// What.
    pub action: Action,
}

/// Who has written a record, by what its batch says. A broker that is sent the same once more has to know it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Writing {
    /// The producer; -1 if it is not idempotent.
    pub producer_id: i64,
    /// Which of its lives.
    pub producer_epoch: i16,
    /// The record's number in its partition, in this epoch.
    pub sequence: i32,
}

/// What a batch says of its records, as the broker stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Of its first record.
    pub base_offset: i64,
    /// Of its last record.
    pub last_offset: i64,
    /// Who has written its first record.
    pub first: Writing,
}

/// One partition after all clients have stopped and all transactions have had time to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinalPartition {
    /// The high watermark.
    pub high: i64,
    /// The last stable offset.
    pub stable: i64,
    /// Everything, by offset.
    pub uncommitted: Vec<(i64, Value)>,
    /// What a `read_committed` consumer gets, by offset.
    pub committed: Vec<(i64, Value)>,
    /// What all of it is in, by offset.
    pub batches: Vec<Batch>,
}

impl FinalPartition {
    /// Who has written what is at an offset.
    pub fn writing(&self, offset: i64) -> Option<Writing> {
        let behind = self
            .batches
            .partition_point(|batch| batch.base_offset <= offset);
        let batch = self.batches.get(behind.checked_sub(1)?)?;
        if batch.last_offset < offset {
            return None;
        }
        let more = i32::try_from(offset - batch.base_offset).ok()?;
        Some(Writing {
            sequence: batch.first.sequence.checked_add(more)?,
            ..batch.first
        })
    }
}

impl fmt::Display for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            producer_id,
            producer_epoch,
            sequence,
        } = self;
        write!(
            f,
            "producer {producer_id}, epoch {producer_epoch}, sequence {sequence}"
        )
    }
}

/// What was in the broker at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinalRead {
    /// Every partition that was written to.
    pub partitions: BTreeMap<u32, FinalPartition>,
    /// What groups read next: by group and partition.
    pub offsets: BTreeMap<(u32, u32), i64>,
}

/// Everything that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// By start; a client's own in the order in which it did them.
    pub ops: Vec<Op>,
    /// What was left of it.
    pub end: FinalRead,
}

impl History {
    /// Writes it to a file that stays, one operation a line, and says which.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_down(&self) -> Result<PathBuf> {
        let (mut file, path) = tempfile::Builder::new()
            .prefix("ottla-history-")
            .tempfile()?
            .keep()?;
        for op in &self.ops {
            writeln!(file, "{op:?}")?;
        }
        for (partition, end) in &self.end.partitions {
            writeln!(file, "partition {partition}: {end:?}")?;
        }
        writeln!(file, "{:?}", self.end.offsets)?;
        Ok(path)
    }
}
