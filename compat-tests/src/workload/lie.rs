//! Ways to be broken on purpose, and what gives them away.

use crate::checker::Kind;

/// A way to be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Lie {
    /// Some batches are stored empty.
    LoseBatches,
    /// Some fetches leave a batch out.
    SkipBatches,
    /// Some batches are handed out with the next offset for their own.
    ShiftBatches,
    /// Some requests to produce are done twice.
    ProduceTwice,
    /// A broker answers some requests to produce and does nothing, as one would that does not know that it was taken for dead.
    OnlyAnswer,
    /// Records of one request are stored the wrong way round.
    ReverseRecords,
    /// Some records are stored with something else in them.
    ForgeRecords,
    /// `read_committed` is taken for `read_uncommitted`.
    IgnoreIsolation,
    /// Transactions that a client aborts are committed.
    CommitAborted,
    /// Transactions that a client commits are aborted.
    AbortCommitted,
    /// Ends of transactions are answered and not done, and no transaction times out.
    NeverEnd,
    /// Offsets that are sent to a transaction are answered and not stored.
    ForgetOffsets,
    /// Offsets that are sent to a transaction are stored as one more.
    SkipInputs,
    /// Some answers on offsets are those of long ago.
    GoBack,
    /// Ends of transactions arrive a second time, when the next one is open.
    RepeatEnd,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::LoseBatches,
        Self::SkipBatches,
        Self::ShiftBatches,
        Self::ProduceTwice,
        Self::OnlyAnswer,
        Self::ReverseRecords,
        Self::ForgeRecords,
        Self::IgnoreIsolation,
        Self::CommitAborted,
        Self::AbortCommitted,
        Self::NeverEnd,
        Self::ForgetOffsets,
        Self::SkipInputs,
        Self::GoBack,
        Self::RepeatEnd,
    ];

    /// What must be found of it at least.
    pub fn proves(self) -> &'static [Kind] {
        match self {
            Self::LoseBatches | Self::OnlyAnswer | Self::AbortCommitted => &[Kind::LostWrite],
            Self::SkipBatches => &[Kind::SkippedPoll],
            Self::ShiftBatches => &[Kind::Duplicate, Kind::DivergingOffset],
            Self::ProduceTwice => &[Kind::Duplicate],
            Self::ReverseRecords => &[Kind::ReorderedSend],
            Self::ForgeRecords => &[Kind::Phantom, Kind::LostWrite],
            Self::IgnoreIsolation => &[Kind::AbortedRead, Kind::EarlyRead],
            Self::CommitAborted => &[Kind::AbortedRead],
            Self::NeverEnd => &[Kind::StuckTransaction, Kind::LostWrite],
            Self::ForgetOffsets => &[Kind::TornTransaction],
            Self::SkipInputs => &[Kind::NeverProcessed],
            Self::GoBack => &[Kind::HighWatermarkBack],
            Self::RepeatEnd => &[Kind::AbortedRead],
        }
    }

    /// Whether it takes a broker with transactions.
    pub fn is_about_transactions(self) -> bool {
        matches!(
            self,
            Self::IgnoreIsolation
                | Self::CommitAborted
                | Self::AbortCommitted
                | Self::NeverEnd
                | Self::ForgetOffsets
                | Self::SkipInputs
                | Self::RepeatEnd
        )
    }
}
