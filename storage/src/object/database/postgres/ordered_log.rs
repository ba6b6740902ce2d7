//! The order of commits in SQL.

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{FENCE, PostgresDatabase, column, passed_fence};
use crate::object::database::{
    Answer, DatabaseError, Fence, Head, LogGroup, Mode, News, OrderedLog, Proposal, Row,
    check_proposals, lost_commits, resolved_too_late,
};

/// The commit. Groups are locked in order, so that no two commits wait for each other; a group that has moved on while this
/// waited for it is left out, since a lock is had on what is there then.
static APPEND: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH {FENCE}, \
         proposal AS ( \
             SELECT * FROM unnest($3::int[], $4::bigint[], $5::bytea[], $6::bytea[]) \
                 AS p (group_id, expected_seq, entry, inline)), \
         timely AS ( \
             SELECT g.group_id FROM ottla.log_group g JOIN proposal p ON p.group_id = g.group_id \
             WHERE g.commit_seq = p.expected_seq AND EXISTS (SELECT 1 FROM fence) \
             ORDER BY g.group_id FOR UPDATE OF g), \
         moved AS ( \
             UPDATE ottla.log_group g SET commit_seq = p.expected_seq + 1 \
             FROM timely t JOIN proposal p ON p.group_id = t.group_id \
             WHERE g.group_id = t.group_id \
                 AND ($7 OR (SELECT count(*) FROM timely) = (SELECT count(*) FROM proposal)) \
             RETURNING g.group_id), \
         appended AS ( \
             INSERT INTO ottla.commit_log (group_id, commit_seq, commit_id, broker_id, entry, inline) \
             SELECT p.group_id, p.expected_seq + 1, $8, $1, p.entry, p.inline \
             FROM moved m JOIN proposal p ON p.group_id = m.group_id) \
         SELECT (SELECT count(*) FROM fence), ARRAY(SELECT group_id FROM moved)"
    )
});

/// What comes first in its group comes first, so that nobody is left out. The window of a group is longer than what is left
/// between two snapshots.
const READ: &str = "\
    WITH head AS ( \
        SELECT g.group_id, g.commit_seq, g.snapshot_seq, g.snapshot_key, k.seq \
        FROM unnest($1::int[], $2::bigint[]) AS k (group_id, seq) \
        JOIN ottla.log_group g ON g.group_id = k.group_id WHERE g.commit_seq <> k.seq), \
    next AS ( \
        SELECT c.*, c.commit_seq - h.seq AS rank, \
            sum(octet_length(c.entry) + octet_length(c.inline)) \
                OVER (ORDER BY c.commit_seq - h.seq, c.group_id) AS bytes \
        FROM head h CROSS JOIN LATERAL ( \
            SELECT * FROM ottla.commit_log c \
            WHERE c.group_id = h.group_id AND c.commit_seq > h.seq \
            ORDER BY c.commit_seq LIMIT 2000) c) \
    SELECT h.group_id, h.commit_seq, h.snapshot_seq, h.snapshot_key, h.seq, \
        n.commit_seq, n.commit_id, n.broker_id, n.entry, n.inline \
    FROM head h LEFT JOIN next n ON n.group_id = h.group_id AND (n.rank = 1 OR n.bytes <= $3) \
    ORDER BY h.group_id, n.commit_seq";

static TRIM: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH {FENCE}, \
         log_group AS ( \
             SELECT commit_seq FROM ottla.log_group WHERE group_id = $3 AND EXISTS (SELECT 1 FROM fence)), \
         newest AS ( \
             UPDATE ottla.log_group SET snapshot_seq = $4, snapshot_key = $5 \
             WHERE group_id = $3 AND snapshot_seq < $4 AND commit_seq >= $4 AND EXISTS (SELECT 1 FROM fence) \
             RETURNING group_id), \
         trimmed AS ( \
             DELETE FROM ottla.commit_log WHERE group_id = $3 AND commit_seq <= $6 \
                 AND EXISTS (SELECT 1 FROM log_group WHERE commit_seq >= $4)) \
         SELECT (SELECT count(*) FROM fence), (SELECT commit_seq FROM log_group), (SELECT count(*) FROM newest)"
    )
});

impl PostgresDatabase {
    async fn heads_of(&self, groups: &[LogGroup]) -> Result<Vec<Head>, DatabaseError> {
        let ids: Vec<i32> = self.ids(groups.iter().copied())?;
        let sql = "SELECT group_id, commit_seq, snapshot_seq, snapshot_key FROM ottla.log_group WHERE group_id = ANY($1)";
        let rows = self.sessions.read(sql, &[&ids]).await?;
        let mut heads = HashMap::with_capacity(rows.len());
        for row in &rows {
            let head = head(row)?;
            heads.insert(head.group, head);
        }
        let heads = groups.iter().map(|group| heads.get(group).cloned());
        heads.collect::<Option<Vec<_>>>().ok_or_else(|| {
            DatabaseError::Refused(format!(
                "{}: a log group is not there",
                self.sessions.place()
            ))
        })
    }

    fn ids(&self, groups: impl Iterator<Item = LogGroup>) -> Result<Vec<i32>, DatabaseError> {
        groups.map(|group| self.group(group)).collect()
    }

    async fn append(
        &self,
        fence: Fence,
        commit_id: Uuid,
        mode: Mode,
        proposals: &[Proposal],
    ) -> Result<Vec<LogGroup>, DatabaseError> {
        check_proposals(proposals, self.cluster.groups)?;
        let ids = self.ids(proposals.iter().map(|proposal| proposal.group))?;
        let expected: Vec<i64> = proposals.iter().map(|of| of.expected_seq).collect();
        let entries: Vec<&[u8]> = proposals.iter().map(|of| &*of.entry).collect();
        let inline: Vec<&[u8]> = proposals.iter().map(|of| &*of.inline).collect();
        let each = mode == Mode::Each;
        let parameters: [&(dyn ToSql + Sync); 8] = [
            &fence.broker_id,
            &fence.broker_epoch,
            &ids,
            &expected,
            &entries,
            &inline,
            &each,
            &commit_id,
        ];
        let row = self.sessions.write(&APPEND, &parameters).await?;
        passed_fence(&row)?;
        column::<Vec<i32>>(&row, 1)?
            .into_iter()
            .map(group_of)
            .collect()
    }

    async fn read(
        &self,
        known: &[(LogGroup, i64)],
        limit_bytes: usize,
    ) -> Result<News, DatabaseError> {
        let ids = self.ids(known.iter().map(|(group, _)| *group))?;
        let seqs: Vec<i64> = known.iter().map(|(_, seq)| *seq).collect();
        let limit = i64::try_from(limit_bytes).unwrap_or(i64::MAX);
        let rows = self.sessions.read(READ, &[&ids, &seqs, &limit]).await?;
        let mut news = News::default();
        for row in &rows {
            let head = head(row)?;
            let before = match news.rows.last() {
                Some(last) if last.group == head.group => last.seq,
                _ => column(row, 4)?,
            };
            if column::<Option<i64>>(row, 5)? == Some(before + 1) {
                news.rows.push(Row {
                    group: head.group,
                    seq: before + 1,
                    commit_id: column(row, 6)?,
                    broker_id: column(row, 7)?,
                    entry: bytes(column(row, 8)?),
                    inline: bytes(column(row, 9)?),
                });
            } else if news.cut.last().is_none_or(|cut| cut.group != head.group) {
                news.cut.push(head);
            }
        }
        Ok(news)
    }

    async fn resolved(
        &self,
        group: LogGroup,
        seq: i64,
        commit_id: Uuid,
    ) -> Result<bool, DatabaseError> {
        let id = self.group(group)?;
        let mut work = self.sessions.begin().await?;
        // Waits for the statement, if it is being done.
        let sql = "SELECT commit_seq FROM ottla.log_group WHERE group_id = $1 FOR UPDATE";
        let rows = work.query(sql, &[&id]).await?;
        let end = rows.first().map_or(Ok(0), |row| column::<i64>(row, 0))?;
        if end < seq - 1 {
            work.roll_back().await?;
            return Err(lost_commits(group, end, seq - 1));
        }
        if end >= seq {
            // Another statement, since it has to see what the lock was waited for.
            let sql =
                "SELECT commit_id FROM ottla.commit_log WHERE group_id = $1 AND commit_seq = $2";
            let rows = work.query(sql, &[&id, &seq]).await?;
            let found = rows.first().map(|row| column::<Uuid>(row, 0));
            work.roll_back().await?;
            let found = found.ok_or_else(|| resolved_too_late(group, seq))?;
            return Ok(found? == commit_id);
        }
        // It may still be on its way here: it is to find the place taken.
        let sql = "INSERT INTO ottla.commit_log (group_id, commit_seq, commit_id, broker_id, entry, inline) \
                   VALUES ($1, $2, $3, -1, '', '')";
        work.query(sql, &[&id, &seq, &Uuid::nil()]).await?;
        let sql = "UPDATE ottla.log_group SET commit_seq = $2 WHERE group_id = $1";
        work.query(sql, &[&id, &seq]).await?;
        work.commit().await.map_err(super::session::undoubted)?;
        Ok(false)
    }
}

fn head(row: &tokio_postgres::Row) -> Result<Head, DatabaseError> {
    Ok(Head {
        group: group_of(column(row, 0)?)?,
        seq: column(row, 1)?,
        snapshot_seq: column(row, 2)?,
        snapshot_key: column(row, 3)?,
    })
}

fn group_of(id: i32) -> Result<LogGroup, DatabaseError> {
    let group = u16::try_from(id);
    let group =
        group.map_err(|_| DatabaseError::Refused(format!("the database has a log group {id}")));
    group.map(LogGroup)
}

fn bytes(column: &[u8]) -> Bytes {
    Bytes::copy_from_slice(column)
}

impl OrderedLog for PostgresDatabase {
    fn heads<'a>(&'a self, groups: &'a [LogGroup]) -> Answer<'a, Vec<Head>> {
        Box::pin(self.heads_of(groups))
    }

    fn append_if<'a>(
        &'a self,
        fence: Fence,
        commit_id: Uuid,
        mode: Mode,
        proposals: &'a [Proposal],
    ) -> Answer<'a, Vec<LogGroup>> {
        Box::pin(self.append(fence, commit_id, mode, proposals))
    }

    fn read_from<'a>(
        &'a self,
        known: &'a [(LogGroup, i64)],
        limit_bytes: usize,
    ) -> Answer<'a, News> {
        Box::pin(self.read(known, limit_bytes))
    }

    fn inline(&self, group: LogGroup, seq: i64) -> Answer<'_, Option<Bytes>> {
        Box::pin(async move {
            let id = self.group(group)?;
            let sql = "SELECT inline FROM ottla.commit_log WHERE group_id = $1 AND commit_seq = $2";
            let rows = self.sessions.read(sql, &[&id, &seq]).await?;
            let row = rows.first();
            row.map(|row| Ok(bytes(column(row, 0)?))).transpose()
        })
    }

    fn resolve(&self, group: LogGroup, seq: i64, commit_id: Uuid) -> Answer<'_, bool> {
        Box::pin(self.resolved(group, seq, commit_id))
    }

    fn trim(
        &self,
        fence: Fence,
        group: LogGroup,
        seq: i64,
        key: String,
        trim_to: i64,
    ) -> Answer<'_, bool> {
        Box::pin(async move {
            let id = self.group(group)?;
            let trim_to = trim_to.min(seq);
            let parameters: [&(dyn ToSql + Sync); 6] = [
                &fence.broker_id,
                &fence.broker_epoch,
                &id,
                &seq,
                &key,
                &trim_to,
            ];
            let row = self.sessions.write(&TRIM, &parameters).await?;
            passed_fence(&row)?;
            let end = column::<Option<i64>>(&row, 1)?.unwrap_or(0);
            if end < seq {
                return Err(lost_commits(group, end, seq));
            }
            Ok(column::<i64>(&row, 2)? > 0)
        })
    }
}
