//! [`PostgresDatabase`]: PostgreSQL, or what speaks like it.
//!
//! A commit is one statement ([`ordered_log`]), whatever the number of its groups. What is known after a failure is in
//! [`error`]: unless the server has answered that it did not, a statement may have been applied.

mod brokers;
mod error;
mod jobs;
mod metadata;
mod ordered_log;
mod schema;
mod session;
mod tls;
mod url;

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use self::schema::Cluster;
use self::session::Sessions;
use super::{DatabaseError, LogGroup, no_such_group};

/// For commits, and for those who read them.
const SESSIONS: usize = 16;
/// For leases, which are not to wait for commits.
const LEASE_SESSIONS: usize = 2;

/// Whether the broker's epoch is the newest and its lease has not ended. Whoever raises the epoch waits until the transaction
/// that has asked is over. `$1` is the broker, `$2` its epoch.
const FENCE: &str = "fence AS ( \
    SELECT b.broker_id FROM ottla.broker b JOIN ottla.broker_lease l ON l.broker_id = b.broker_id \
    WHERE b.broker_id = $1 AND b.epoch = $2 AND l.epoch = $2 AND l.lease_until > clock_timestamp() \
    FOR SHARE OF b)";

/// A cluster's database in PostgreSQL.
pub struct PostgresDatabase {
    sessions: Sessions,
    lease_sessions: Sessions,
    cluster: Cluster,
}

impl PostgresDatabase {
    /// Connects to `postgres://user:password@host:port/database`, and makes the tables for a cluster of so many log groups if
    /// there are none. Any number of brokers may do so at the same time.
    ///
    /// # Errors
    /// [`DatabaseError::Refused`], which a person has to mend: the URL, the log-in, permissions, a database that is not of this
    /// program or of a newer release of it. [`DatabaseError::Unavailable`]: it cannot be reached now.
    pub async fn open(url: &str, groups: u16) -> Result<Self, DatabaseError> {
        let target = url::parse(url).map_err(DatabaseError::Refused)?;
        let tls = tls::connector(&target.trust).map_err(DatabaseError::Refused)?;
        let place: Arc<str> = target.place.into();
        let sessions = |size| {
            let sessions =
                Sessions::new(target.config.clone(), tls.clone(), Arc::clone(&place), size);
            sessions.map_err(DatabaseError::Refused)
        };
        let (sessions, lease_sessions) = (sessions(SESSIONS)?, sessions(LEASE_SESSIONS)?);
        let cluster = schema::find_or_make(&sessions, groups).await?;
        Ok(Self {
            sessions,
            lease_sessions,
            cluster,
        })
    }

    /// Hosts, ports and database of a URL, without what is secret; `None` if it cannot be read.
    pub fn address_of(url: &str) -> Option<String> {
        url::parse(url).ok().map(|target| target.address)
    }

    fn group(&self, group: LogGroup) -> Result<i32, DatabaseError> {
        if group.0 < self.cluster.groups {
            Ok(i32::from(group.0))
        } else {
            Err(no_such_group(group, self.cluster.groups))
        }
    }
}

/// A column of a row that a statement of ours has given.
fn column<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, DatabaseError> {
    row.try_get(index).map_err(|error| {
        DatabaseError::Refused(format!(
            "the database has given what it should not: {error}"
        ))
    })
}

/// What the last row of a fenced statement says first: how many brokers have passed the fence.
fn passed_fence(row: &Row) -> Result<(), DatabaseError> {
    if column::<i64>(row, 0)? == 0 {
        return Err(DatabaseError::Fenced);
    }
    Ok(())
}

/// A duration for SQL: in ms, at most a year.
fn milliseconds(duration: Duration) -> i64 {
    const YEAR_MS: i64 = 366 * 24 * 3600 * 1000;
    i64::try_from(duration.as_millis()).map_or(YEAR_MS, |ms| ms.min(YEAR_MS))
}
