//! A log group as the jobs use it: its state, read from snapshot and rows, and entries appended to it.
//!
//! Jobs have a state of their own. They may take their time with it, and clients wait for no lock of theirs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use uuid::Uuid;

use super::{JobError, Shared, snapshot};
use crate::log::{AppendError, TopicPartition};
use crate::object::database::{DatabaseError, Head, LogGroup, Mode, Proposal, Row};
use crate::object::entry::{Entry, ObjectId, PartitionId};
use crate::object::group_state::GroupState;
use crate::object::plan::{Answer, Wanted, plan};

/// Rows are read in parts of about this size.
const READ_BYTES: usize = 4 << 20;
/// How often somebody else may come first until the job gives up for now.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A log group, as far as the jobs of this broker have followed it.
pub(super) struct Group {
    pub id: LogGroup,
    pub state: GroupState,
    pub snapshot_seq: i64,
    /// The object with that snapshot.
    pub snapshot: Option<ObjectId>,
    shared: Arc<Shared>,
}

impl Group {
    /// Reads the snapshot, and the rows behind it.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn load(shared: &Arc<Shared>, id: LogGroup) -> Result<Self, JobError> {
        let mut group = Self {
            id,
            state: GroupState::new(),
            snapshot_seq: 0,
            snapshot: None,
            shared: Arc::clone(shared),
        };
        group.reload().await?;
        group.catch_up().await?;
        Ok(group)
    }

    async fn reload(&mut self) -> Result<(), JobError> {
        let seen = self.shared.seen();
        let heads = self.shared.config.log.heads(&[self.id]).await?;
        let Some(head) = heads.into_iter().next() else {
            let what = format!("the database says nothing of log group {}", self.id.0);
            return Err(JobError::Damaged(what));
        };
        self.shared.check_head(&head, &seen)?;
        let Head {
            snapshot_seq,
            snapshot_key,
            ..
        } = head;
        self.snapshot_seq = snapshot_seq;
        self.snapshot = snapshot_key.as_deref().and_then(snapshot::from_key);
        self.state = match snapshot_key {
            None => GroupState::new(),
            Some(key) => {
                let got = self
                    .shared
                    .config
                    .objects
                    .get(&Path::from(key.as_str()))
                    .await?;
                let bytes = got.bytes().await?;
                let state = GroupState::from_snapshot(&bytes)
                    .map_err(|error| JobError::Damaged(format!("snapshot {key}: {error}")))?;
                if state.seq() != snapshot_seq {
                    let what = format!(
                        "snapshot {key} is of entry {}, not {snapshot_seq}",
                        state.seq()
                    );
                    return Err(JobError::Damaged(what));
                }
                state
            }
        };
        Ok(())
    }

    /// Takes in everything that was appended before the call.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn catch_up(&mut self) -> Result<(), JobError> {
        loop {
            let (known, seen) = ([(self.id, self.state.seq())], self.shared.seen());
            let news = self.shared.config.log.read_from(&known, READ_BYTES).await?;
            for head in &news.cut {
                self.shared.check_head(head, &seen)?;
                if head.seq < self.state.seq() {
                    return Err(self.shared.lost(head, self.state.seq()));
                }
            }
            if !news.cut.is_empty() {
                self.reload().await?;
                continue;
            }
            if news.rows.is_empty() {
                return Ok(());
            }
            for row in &news.rows {
                self.take_in(row)?;
            }
        }
    }

    fn take_in(&mut self, row: &Row) -> Result<(), JobError> {
        self.shared.rows_read.fetch_add(1, Ordering::Relaxed);
        let entry = Entry::of_row(&row.entry).map_err(|error| self.damaged(row.seq, &error))?;
        self.apply(row.seq, &entry)
    }

    fn apply(&mut self, seq: i64, entry: &Entry) -> Result<(), JobError> {
        let applied = self.state.apply(seq, entry);
        applied.map_err(|error| self.damaged(seq, &error))?;
        self.shared.saw(self.id, seq);
        Ok(())
    }

    fn damaged(&self, seq: i64, error: &dyn std::fmt::Display) -> JobError {
        JobError::Damaged(format!("row {seq} of log group {}: {error}", self.id.0))
    }

    /// Wants changes of the newest state, and says what came of each.
    ///
    /// # Errors
    /// Nothing was appended: see [`JobError`]. A commit in doubt is waited for, however long it takes.
    pub async fn commit(
        &mut self,
        wanted: &[Wanted],
    ) -> Result<Vec<Result<Answer, AppendError>>, JobError> {
        for _ in 0..ATTEMPTS {
            let planned = plan(&self.state, wanted, self.shared.config.clock.now_ms());
            if planned.entry.is_empty() {
                return Ok(planned.answers);
            }
            let fence = self.shared.fence()?;
            let seq = self.state.seq() + 1;
            let proposal = Proposal {
                group: self.id,
                expected_seq: self.state.seq(),
                entry: planned.entry.encode().into(),
                inline: bytes::Bytes::new(),
            };
            let commit_id = Uuid::new_v4();
            let log = &self.shared.config.log;
            let appended = log
                .append_if(fence, commit_id, Mode::Each, &[proposal])
                .await;
            let is_there = match appended {
                Ok(groups) => groups.contains(&self.id),
                Err(DatabaseError::InDoubt(_)) => self.resolve(seq, commit_id).await?,
                Err(error) => return Err(error.into()),
            };
            if is_there {
                self.apply(seq, &planned.entry)?;
                return Ok(planned.answers);
            }
            self.catch_up().await?;
        }
        Err(JobError::Busy(self.id.0))
    }

    async fn resolve(&self, seq: i64, commit_id: Uuid) -> Result<bool, JobError> {
        let mut pause = PAUSE;
        loop {
            match self
                .shared
                .config
                .log
                .resolve(self.id, seq, commit_id)
                .await
            {
                Ok(is_there) => return Ok(is_there),
                Err(DatabaseError::Refused(what)) => return Err(JobError::InDoubt(what)),
                Err(_) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// A partition by its id alone: jobs know no names.
pub(super) fn nameless(id: PartitionId) -> TopicPartition {
    TopicPartition {
        topic: id.topic_id.to_string().into(),
        topic_id: id.topic_id,
        partition: id.partition,
    }
}
