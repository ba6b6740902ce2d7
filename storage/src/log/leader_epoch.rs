//! At which offset each leader epoch of a partition began, as LeaderEpochFileCache in Kafka.
//!
//! Kept in the text file `leader-epoch-checkpoint`:
//!
//! | line | content |
//! |---|---|
//! | 1 | version: 0 |
//! | 2 | number of entries |
//! | each further | epoch, space, start offset |

use std::fmt::Write;

use thiserror::Error;

/// One leader epoch that has records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEntry {
    pub epoch: i32,
    pub start_offset: i64,
}

/// A `leader-epoch-checkpoint` that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CheckpointError {
    #[error("unknown version of leader-epoch-checkpoint: {0:?}")]
    UnknownVersion(String),
    #[error("malformed line {0} in leader-epoch-checkpoint")]
    MalformedLine(usize),
    #[error("leader-epoch-checkpoint states {stated} entries, but has {found}")]
    WrongCount { stated: usize, found: usize },
}

/// The leader epochs of one partition; epochs and start offsets both rise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<EpochEntry>,
}

impl LeaderEpochs {
    pub fn new() -> Self {
        Self::default()
    }

    /// All epochs, the earliest first.
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    pub fn latest(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    /// Notes that `epoch` begins at `start_offset`; returns whether anything changed and is to be saved.
    ///
    /// Entries that a newer fact contradicts (same or later epoch, same or later offset) go. A negative epoch,
    /// which batches from outside a leader have, is not noted.
    pub fn assign(&mut self, epoch: i32, start_offset: i64) -> bool {
        if epoch < 0 || start_offset < 0 {
            return false;
        }
        let known =
            |latest: EpochEntry| latest.epoch == epoch && latest.start_offset <= start_offset;
        if self.latest().is_some_and(known) {
            return false;
        }
        while self
            .latest()
            .is_some_and(|last| last.epoch >= epoch || last.start_offset >= start_offset)
        {
            self.entries.pop();
        }
        self.entries.push(EpochEntry {
            epoch,
            start_offset,
        });
        true
    }

    /// The largest epoch not above `epoch`, and where it ended: what OffsetForLeaderEpoch answers.
    ///
    /// The end of the latest epoch is `log_end_offset`. An epoch before all known ones ends where the first of
    /// them begins. `None` for an epoch above all known ones, and for a negative one.
    pub(crate) fn end_offset_for(&self, epoch: i32, log_end_offset: i64) -> Option<(i32, i64)> {
        if epoch < 0 {
            return None;
        }
        if self.latest().is_some_and(|latest| latest.epoch == epoch) {
            return Some((epoch, log_end_offset));
        }
        let higher = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let end_offset = self.entries.get(higher)?.start_offset;
        let floor = higher
            .checked_sub(1)
            .map_or(epoch, |index| self.entries[index].epoch);
        Some((floor, end_offset))
    }

    /// The epoch of the record at `offset`; `None` before the first epoch.
    pub(crate) fn epoch_for_offset(&self, offset: i64) -> Option<i32> {
        let later = self
            .entries
            .partition_point(|entry| entry.start_offset <= offset);
        later.checked_sub(1).map(|index| self.entries[index].epoch)
    }

    /// Drops epochs that begin at or after the log's new end; returns whether anything changed.
    pub(crate) fn truncate_from_end(&mut self, end_offset: i64) -> bool {
        if end_offset < 0 {
            return false;
        }
        let keep = self
            .entries
            .partition_point(|entry| entry.start_offset < end_offset);
        let changed = keep < self.entries.len();
        self.entries.truncate(keep);
        changed
    }

    /// Drops epochs that ended before the log's new start, and lets the one there begin with it; returns whether
    /// anything changed.
    pub(crate) fn truncate_from_start(&mut self, start_offset: i64) -> bool {
        let below = self
            .entries
            .partition_point(|entry| entry.start_offset <= start_offset);
        let Some(last_below) = below.checked_sub(1) else {
            return false;
        };
        if last_below == 0 && self.entries[0].start_offset == start_offset {
            return false;
        }
        self.entries.drain(..last_below);
        self.entries[0].start_offset = start_offset;
        true
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// The content of `leader-epoch-checkpoint`.
    pub fn to_checkpoint(&self) -> String {
        let mut text = format!("0\n{}\n", self.entries.len());
        for entry in &self.entries {
            writeln!(text, "{} {}", entry.epoch, entry.start_offset)
                .expect("writing to a String cannot fail");
        }
        text
    }

    /// Reads the content of `leader-epoch-checkpoint`; an empty file holds no epochs, as in Kafka.
    ///
    /// # Errors
    /// Another version, a line that is no entry, or another number of entries than stated.
    pub fn from_checkpoint(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.lines();
        let Some(version) = lines.next() else {
            return Ok(Self::default());
        };
        if version.parse() != Ok(0) {
            return Err(CheckpointError::UnknownVersion(
                version.chars().take(20).collect(),
            ));
        }
        let Some(stated) = lines.next() else {
            return Ok(Self::default());
        };
        let stated: usize = stated
            .parse()
            .map_err(|_| CheckpointError::MalformedLine(2))?;
        let mut epochs = Self::default();
        let mut found = 0;
        for line in lines {
            let entry = parse_entry(line).ok_or(CheckpointError::MalformedLine(3 + found))?;
            epochs.assign(entry.epoch, entry.start_offset);
            found += 1;
        }
        if found != stated {
            return Err(CheckpointError::WrongCount { stated, found });
        }
        Ok(epochs)
    }
}

fn parse_entry(line: &str) -> Option<EpochEntry> {
    let mut fields = line.split_ascii_whitespace();
    let epoch = fields.next()?.parse().ok().filter(|&epoch| epoch >= 0)?;
    let start_offset = fields.next()?.parse().ok().filter(|&offset| offset >= 0)?;
    fields.next().is_none().then_some(EpochEntry {
        epoch,
        start_offset,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::new();
        for &(epoch, start_offset) in entries {
            epochs.assign(epoch, start_offset);
        }
        epochs
    }

    fn pairs(epochs: &LeaderEpochs) -> Vec<(i32, i64)> {
        epochs
            .entries()
            .iter()
            .map(|entry| (entry.epoch, entry.start_offset))
            .collect()
    }

    #[test]
    fn an_epoch_keeps_its_first_offset_and_newer_facts_win() {
        let mut epochs = epochs(&[(1, 0), (2, 10)]);
        assert!(!epochs.assign(2, 10) && !epochs.assign(2, 15));
        assert!(!epochs.assign(-1, 20) && !epochs.assign(3, -1));
        assert_eq!(pairs(&epochs), [(1, 0), (2, 10)]);
        assert!(epochs.assign(4, 10), "an epoch without records is replaced");
        assert_eq!(pairs(&epochs), [(1, 0), (4, 10)]);
        assert!(
            epochs.assign(3, 12),
            "an older epoch further on contradicts the later one"
        );
        assert_eq!(pairs(&epochs), [(1, 0), (3, 12)]);
        assert!(epochs.assign(5, 0));
        assert_eq!(pairs(&epochs), [(5, 0)]);
    }

    #[test]
    fn the_end_of_an_epoch_is_the_start_of_the_next() {
        let epochs = epochs(&[(2, 5), (4, 10), (7, 30)]);
        let cases = [
            (-1, None),
            (0, Some((0, 5))),
            (2, Some((2, 10))),
            (3, Some((2, 10))),
            (4, Some((4, 30))),
            (6, Some((4, 30))),
            (7, Some((7, 99))),
            (8, None),
        ];
        for (epoch, expected) in cases {
            assert_eq!(epochs.end_offset_for(epoch, 99), expected, "epoch {epoch}");
        }
        assert_eq!(LeaderEpochs::new().end_offset_for(0, 99), None);
    }

    #[test]
    fn an_offset_belongs_to_the_epoch_that_began_before_it() {
        let epochs = epochs(&[(2, 5), (4, 10)]);
        let of = |offset| epochs.epoch_for_offset(offset);
        assert_eq!(
            [of(4), of(5), of(9), of(10), of(1000)],
            [None, Some(2), Some(2), Some(4), Some(4)]
        );
    }

    #[test]
    fn truncation_drops_epochs_without_records() {
        let full = epochs(&[(2, 5), (4, 10), (7, 30)]);
        let mut end = full.clone();
        assert!(!end.truncate_from_end(31));
        assert!(end.truncate_from_end(30));
        assert_eq!(pairs(&end), [(2, 5), (4, 10)]);
        assert!(end.truncate_from_end(0));
        assert_eq!(pairs(&end), []);

        let mut start = full.clone();
        assert!(!start.truncate_from_start(4) && !start.truncate_from_start(5));
        assert!(start.truncate_from_start(6));
        assert_eq!(pairs(&start), [(2, 6), (4, 10), (7, 30)]);
        assert!(start.truncate_from_start(10));
        assert_eq!(pairs(&start), [(4, 10), (7, 30)]);
        assert!(start.truncate_from_start(500));
        assert_eq!(pairs(&start), [(7, 500)]);
    }

    #[test]
    fn the_checkpoint_is_kafkas_text() {
        let epochs = epochs(&[(0, 0), (3, 1_000)]);
        assert_eq!(epochs.to_checkpoint(), "0\n2\n0 0\n3 1000\n");
        assert_eq!(
            LeaderEpochs::from_checkpoint("0\n2\n0 0\n3 1000\n"),
            Ok(epochs)
        );
        for empty in ["", "0", "0\n", "0\n0\n"] {
            assert_eq!(
                LeaderEpochs::from_checkpoint(empty),
                Ok(LeaderEpochs::new()),
                "{empty:?}"
            );
        }
        let read = LeaderEpochs::from_checkpoint;
        assert!(matches!(
            read("1\n0\n"),
            Err(CheckpointError::UnknownVersion(_))
        ));
        assert_eq!(read("0\nx\n"), Err(CheckpointError::MalformedLine(2)));
        for bad in ["1", "1 2 3", "a 2", "-1 2", "1 -2", "", "99999999999 1"] {
            let text = format!("0\n1\n{bad}\n");
            assert_eq!(
                read(&text),
                Err(CheckpointError::MalformedLine(3)),
                "{bad:?}"
            );
        }
        let too_few = Err(CheckpointError::WrongCount {
            stated: 99_999_999_999,
            found: 1,
        });
        assert_eq!(read("0\n99999999999\n1 1\n"), too_few);
    }

    proptest! {
        #[test]
        fn epochs_and_offsets_rise_whatever_happens(
            steps in prop::collection::vec((0..4_u8, -1..20_i32, -1..50_i64), 0..60),
        ) {
            let mut epochs = LeaderEpochs::new();
            for (step, epoch, offset) in steps {
                match step {
                    0 | 1 => epochs.assign(epoch, offset),
                    2 => epochs.truncate_from_end(offset),
                    _ => epochs.truncate_from_start(offset),
                };
                let rising = |pair: &[EpochEntry]| {
                    pair[0].epoch < pair[1].epoch && pair[0].start_offset < pair[1].start_offset
                };
                prop_assert!(epochs.entries().windows(2).all(rising), "{epochs:?}");
                prop_assert_eq!(LeaderEpochs::from_checkpoint(&epochs.to_checkpoint()), Ok(epochs.clone()));
            }
        }

        #[test]
        fn no_text_panics(text in "[0-9a \n-]{0,40}") {
            let _ = LeaderEpochs::from_checkpoint(&text);
        }
    }
}
