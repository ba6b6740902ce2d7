//! Who does which job, and condemned objects, in SQL.

use std::sync::LazyLock;
use std::time::Duration;

use tokio_postgres::types::ToSql;

use super::{FENCE, PostgresDatabase, column, milliseconds, passed_fence};
use crate::object::database::{Answer, Fence, Jobs};

static TAKE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH {FENCE}, taken AS ( \
             INSERT INTO ottla.job_lease (job, broker_id, epoch, lease_until) \
             SELECT $3, $1, $2, clock_timestamp() + $4::bigint * interval '1 millisecond' FROM fence \
             ON CONFLICT (job) DO UPDATE SET broker_id = excluded.broker_id, epoch = excluded.epoch, \
                 lease_until = excluded.lease_until \
             WHERE job_lease.lease_until <= clock_timestamp() \
                 OR (job_lease.broker_id = $1 AND job_lease.epoch = $2) \
             RETURNING job) \
         SELECT (SELECT count(*) FROM fence), (SELECT count(*) FROM taken)"
    )
});

static TAKE_IDLE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH {FENCE}, taken AS ( \
             INSERT INTO ottla.job_lease (job, broker_id, epoch, lease_until) \
             SELECT $3, $1, $2, clock_timestamp() FROM fence \
             ON CONFLICT (job) DO UPDATE SET broker_id = excluded.broker_id, epoch = excluded.epoch, \
                 lease_until = CASE WHEN job_lease.lease_until > clock_timestamp() THEN clock_timestamp() \
                     ELSE clock_timestamp() + $4::bigint * interval '1 millisecond' END \
             WHERE job_lease.lease_until <= clock_timestamp() - $5::bigint * interval '1 millisecond' \
                 OR (job_lease.broker_id = $1 AND job_lease.epoch = $2 \
                     AND job_lease.lease_until > clock_timestamp()) \
             RETURNING lease_until > clock_timestamp() AS is_taken) \
         SELECT (SELECT count(*) FROM fence), (SELECT count(*) FROM taken WHERE is_taken)"
    )
});

static CONDEMN: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH {FENCE}, condemned AS ( \
             INSERT INTO ottla.condemned (key, since) \
             SELECT DISTINCT k.key, now() FROM unnest($3::text[]) AS k (key) \
             WHERE EXISTS (SELECT 1 FROM fence) ON CONFLICT (key) DO NOTHING) \
         SELECT (SELECT count(*) FROM fence)"
    )
});

static FORGET: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH {FENCE}, forgotten AS ( \
             DELETE FROM ottla.condemned WHERE key = ANY($3) AND EXISTS (SELECT 1 FROM fence)) \
         SELECT (SELECT count(*) FROM fence)"
    )
});

impl Jobs for PostgresDatabase {
    fn take<'a>(&'a self, fence: Fence, job: &'a str, lease: Duration) -> Answer<'a, bool> {
        Box::pin(async move {
            let lease = milliseconds(lease);
            let parameters: [&(dyn ToSql + Sync); 4] =
                [&fence.broker_id, &fence.broker_epoch, &job, &lease];
            let row = self.sessions.write(&TAKE, &parameters).await?;
            passed_fence(&row)?;
            Ok(column::<i64>(&row, 1)? > 0)
        })
    }

    fn take_idle<'a>(
        &'a self,
        fence: Fence,
        job: &'a str,
        lease: Duration,
        idle: Duration,
    ) -> Answer<'a, bool> {
        Box::pin(async move {
            let (lease, idle) = (milliseconds(lease), milliseconds(idle));
            let parameters: [&(dyn ToSql + Sync); 5] =
                [&fence.broker_id, &fence.broker_epoch, &job, &lease, &idle];
            let row = self.sessions.write(&TAKE_IDLE, &parameters).await?;
            passed_fence(&row)?;
            Ok(column::<i64>(&row, 1)? > 0)
        })
    }

    fn condemn<'a>(&'a self, fence: Fence, keys: &'a [String]) -> Answer<'a, ()> {
        Box::pin(async move {
            let parameters: [&(dyn ToSql + Sync); 3] =
                [&fence.broker_id, &fence.broker_epoch, &keys];
            passed_fence(&self.sessions.write(&CONDEMN, &parameters).await?)
        })
    }

    fn condemned(&self, age: Duration, limit: usize) -> Answer<'_, Vec<String>> {
        Box::pin(async move {
            let sql = "SELECT key FROM ottla.condemned \
                       WHERE since <= clock_timestamp() - $1::bigint * interval '1 millisecond' \
                       ORDER BY since, key LIMIT $2";
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = self
                .sessions
                .read(sql, &[&milliseconds(age), &limit])
                .await?;
            rows.iter().map(|row| column(row, 0)).collect()
        })
    }

    fn forget<'a>(&'a self, fence: Fence, keys: &'a [String]) -> Answer<'a, ()> {
        Box::pin(async move {
            let parameters: [&(dyn ToSql + Sync); 3] =
                [&fence.broker_id, &fence.broker_epoch, &keys];
            passed_fence(&self.sessions.write(&FORGET, &parameters).await?)
        })
    }
}
