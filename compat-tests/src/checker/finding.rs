//! What a checker has to say against a history.

use std::fmt;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// What was acknowledged, committed or read is not there at the end.
    LostWrite,
    /// There is a record that nobody has sent, or whose sender was told that it is not there.
    Phantom,
    /// A record is at two places.
    Duplicate,
    /// An offset holds two records.
    DivergingOffset,
    /// A producer's records are not in the order in which it sent them.
    ReorderedSend,
    /// A `read_committed` consumer was given what belongs to an aborted transaction.
    AbortedRead,
    /// A `read_committed` consumer was given what nobody had begun to commit.
    EarlyRead,
    /// A part of a transaction is there, another is not.
    TornTransaction,
    /// A consumer was given a record that is before one that it was given earlier.
    ReorderedPoll,
    /// A consumer was not given a record between two that it was given.
    SkippedPoll,
    /// A group's committed offset went back.
    GroupOffsetBack,
    /// A high watermark went back.
    HighWatermarkBack,
    /// A last stable offset went back.
    StableOffsetBack,
    /// A last stable offset stays below the high watermark although everybody has stopped.
    StuckTransaction,
    /// Read-process-write: a record was processed more than once.
    ProcessedTwice,
    /// Read-process-write: a group has read past a record and there is nothing made from it.
    NeverProcessed,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::LostWrite,
        Self::Phantom,
        Self::Duplicate,
        Self::DivergingOffset,
        Self::ReorderedSend,
        Self::AbortedRead,
        Self::EarlyRead,
        Self::TornTransaction,
        Self::ReorderedPoll,
        Self::SkippedPoll,
        Self::GroupOffsetBack,
        Self::HighWatermarkBack,
        Self::StableOffsetBack,
        Self::StuckTransaction,
        Self::ProcessedTwice,
        Self::NeverProcessed,
    ];
}

/// A fault that a history proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub kind: Kind,
    /// The evidence, for people.
    pub story: String,
}

impl Finding {
    pub(super) fn new(kind: Kind, story: impl Into<String>) -> Self {
        let story = story.into();
        Self { kind, story }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.story)
    }
}
