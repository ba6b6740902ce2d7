//! Metadata records in SQL.

use std::sync::LazyLock;

use bytes::Bytes;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{FENCE, PostgresDatabase, column, passed_fence};
use crate::log::BoxFuture;
use crate::object::database::{
    Answer, DatabaseError, Fence, MetadataError, MetadataRecords, MetadataTable,
};

static CHECK_FENCE: LazyLock<String> =
    LazyLock::new(|| format!("WITH {FENCE} SELECT (SELECT count(*) FROM fence)"));

static FORGET: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH {FENCE}, forgotten AS ( \
             DELETE FROM ottla.meta_record WHERE version <= $3 AND EXISTS (SELECT 1 FROM fence)) \
         SELECT (SELECT count(*) FROM fence)"
    )
});

impl PostgresDatabase {
    async fn append_metadata(
        &self,
        fence: Fence,
        append_id: Uuid,
        expected_version: i64,
        records: &[Bytes],
    ) -> Result<i64, MetadataError> {
        let mut work = self.sessions.begin().await?;
        // Waits for whoever is appending, an earlier try of this very append included.
        let sql = "SELECT version FROM ottla.meta FOR UPDATE";
        let rows = work.query(sql, &[]).await?;
        let found: i64 = rows.first().map_or(Ok(0), |row| column(row, 0))?;
        if found != expected_version {
            let sql =
                "SELECT max(version) FROM ottla.meta_record WHERE append_id = $1 AND version > $2";
            let rows = work.query(sql, &[&append_id, &expected_version]).await?;
            work.roll_back().await?;
            let already = rows.first().map_or(Ok(None), |row| column(row, 0))?;
            return already.ok_or(MetadataError::Conflict {
                expected: expected_version,
                found,
            });
        }
        let parameters: [&(dyn ToSql + Sync); 2] = [&fence.broker_id, &fence.broker_epoch];
        let rows = work.query(&CHECK_FENCE, &parameters).await?;
        rows.first()
            .map_or(Err(DatabaseError::Fenced), passed_fence)?;
        let (mut versions, mut bytes) = (Vec::new(), Vec::new());
        let mut version = found;
        for record in records {
            version += 1;
            versions.push(version);
            bytes.push(&**record);
        }
        let sql = "INSERT INTO ottla.meta_record (version, append_id, record) \
                   SELECT version, $1, record FROM unnest($2::bigint[], $3::bytea[]) AS r (version, record)";
        work.query(sql, &[&append_id, &versions, &bytes]).await?;
        let sql = "UPDATE ottla.meta SET version = $1";
        work.query(sql, &[&version]).await?;
        work.commit().await?;
        Ok(version)
    }

    async fn loaded(&self, from_version: i64) -> Result<MetadataRecords, DatabaseError> {
        let sql = "SELECT m.version, r.record FROM ottla.meta m \
                   LEFT JOIN ottla.meta_record r ON r.version > $1 ORDER BY r.version";
        let rows = self.sessions.read(sql, &[&from_version]).await?;
        let mut records = Vec::with_capacity(rows.len());
        let mut version = 0;
        for row in &rows {
            version = column(row, 0)?;
            let record: Option<&[u8]> = column(row, 1)?;
            records.extend(record.map(Bytes::copy_from_slice));
        }
        let given = i64::try_from(records.len()).unwrap_or(i64::MAX);
        Ok(MetadataRecords {
            from_version: version - given,
            records,
        })
    }
}

impl MetadataTable for PostgresDatabase {
    fn append<'a>(
        &'a self,
        fence: Fence,
        append_id: Uuid,
        expected_version: i64,
        records: &'a [Bytes],
    ) -> BoxFuture<'a, Result<i64, MetadataError>> {
        Box::pin(self.append_metadata(fence, append_id, expected_version, records))
    }

    fn load(&self, from_version: i64) -> Answer<'_, MetadataRecords> {
        Box::pin(self.loaded(from_version))
    }

    fn version(&self) -> Answer<'_, i64> {
        Box::pin(async move {
            let sql = "SELECT version FROM ottla.meta";
            let rows = self.sessions.read(sql, &[]).await?;
            rows.first().map_or(Ok(0), |row| column(row, 0))
        })
    }

    fn forget_before(&self, fence: Fence, version: i64) -> Answer<'_, ()> {
        Box::pin(async move {
            let parameters: [&(dyn ToSql + Sync); 3] =
                [&fence.broker_id, &fence.broker_epoch, &version];
            let row = self.sessions.write(&FORGET, &parameters).await?;
            passed_fence(&row)
        })
    }
}
