//! A log group as the jobs use it: its state, read from snapshot and rows, and entries appended to it.
//!
//! Jobs have a state of their own. They may take their time with it, and clients wait for no lock of theirs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use uuid::Uuid;

use super::{JobError, JobsConfig, Shared, snapshot};
use crate::log::{AppendError, TopicPartition};
use crate::object::database::{DatabaseError, Fence, Head, LogGroup, Mode, Proposal};
use crate::object::entry::{ObjectId, PartitionId};
use crate::object::group_state::GroupState;
use crate::object::plan::{Answer, Wanted, plan};
use crate::object::read_group::{READ_BYTES, apply_row, read_group};

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
        let seen = shared.seen();
        let JobsConfig { log, objects, .. } = &shared.config;
        let check = |head: &Head| shared.check_head(head, &seen);
        let (state, head) = read_group(log, objects, id, check).await?;
        let rows = state.seq() - head.snapshot_seq;
        shared
            .rows_read
            .fetch_add(rows.unsigned_abs(), Ordering::Relaxed);
        shared.saw(id, state.seq());
        Ok(Self {
            id,
            state,
            snapshot_seq: head.snapshot_seq,
            snapshot: head.snapshot_key.as_deref().and_then(snapshot::from_key),
            shared: Arc::clone(shared),
        })
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
                *self = Self::load(&self.shared, self.id).await?;
                continue;
            }
            if news.rows.is_empty() {
                return Ok(());
            }
            for row in &news.rows {
                self.shared.rows_read.fetch_add(1, Ordering::Relaxed);
                apply_row(&mut self.state, row)?;
                self.shared.saw(self.id, row.seq);
            }
        }
    }

    /// Wants changes of the newest state, and says what came of each. They are this broker's under this fence: what names an
    /// object has to come under the epoch in which that was written, or others may have removed it.
    ///
    /// # Errors
    /// Nothing was appended: see [`JobError`]. A commit in doubt is waited for, however long it takes.
    pub async fn commit(
        &mut self,
        fence: Fence,
        wanted: &[Wanted],
    ) -> Result<Vec<Result<Answer, AppendError>>, JobError> {
        for _ in 0..ATTEMPTS {
            let planned = plan(&self.state, wanted, self.shared.config.clock.now_ms());
            if planned.entry.is_empty() {
                return Ok(planned.answers);
            }
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
                let applied = self.state.apply(seq, &planned.entry);
                applied.map_err(|error| JobError::Damaged(error.to_string()))?;
                self.shared.saw(self.id, seq);
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
