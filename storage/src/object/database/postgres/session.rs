//! Sessions with the database, and what a call is told when one fails.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
};
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{describe, of_login, of_preparation, of_statement};
use crate::object::database::DatabaseError;

/// The server ends a statement that takes longer.
const STATEMENT_TIMEOUT_MS: u64 = 10_000;
/// The server has ended a statement by then; who has not heard of it has lost the session.
const PATIENCE: Duration = Duration::from_millis(STATEMENT_TIMEOUT_MS + 2_000);
/// How long a call waits for a session that is free.
const WAIT: Duration = Duration::from_secs(5);
/// How long making a session takes, TLS and log-in included.
const LOGIN: Duration = Duration::from_secs(10);

/// What each statement is given.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A pool of sessions.
#[derive(Clone)]
pub(super) struct Sessions {
    pool: Pool,
    place: Arc<str>,
}

impl Sessions {
    pub fn new(
        config: tokio_postgres::Config,
        tls: MakeRustlsConnect,
        place: Arc<str>,
        size: usize,
    ) -> Result<Self, String> {
        let fast = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = Manager::from_config(config, tls, fast);
        let pool = Pool::builder(manager)
            .max_size(size)
            .wait_timeout(Some(WAIT))
            .create_timeout(Some(LOGIN))
            .runtime(Runtime::Tokio1)
            .post_create(Hook::async_fn(|client, _| {
                Box::pin(async move {
                    let statements = set_up();
                    let done = client.batch_execute(&statements).await;
                    done.map_err(HookError::Backend)
                })
            }))
            .build()
            .map_err(|error| format!("sessions with the database: {error}"))?;
        Ok(Self { pool, place })
    }

    /// A session. Nothing was asked of the database if there is none.
    pub async fn get(&self) -> Result<Session, DatabaseError> {
        let client = self.pool.get().await;
        let client = client.map_err(|error| DatabaseError::Unavailable(self.why_none(&error)))?;
        Ok(self.session(client))
    }

    /// The first session: tells what is wrong with the log-in.
    pub async fn log_in(&self) -> Result<Session, DatabaseError> {
        match self.pool.get().await {
            Ok(client) => Ok(self.session(client)),
            Err(
                PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)),
            ) => Err(of_login(&self.place, &error)),
            Err(error) => Err(DatabaseError::Unavailable(self.why_none(&error))),
        }
    }

    fn session(&self, client: Object) -> Session {
        Session {
            client: Some(client),
            unanswered: false,
            place: Arc::clone(&self.place),
        }
    }

    fn why_none(&self, error: &PoolError) -> String {
        let place = &self.place;
        match error {
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
                describe(place, error)
            }
            PoolError::Timeout(_) => {
                format!("{place}: no session within {WAIT:?}; see whether the server answers")
            }
            other => format!("{place}: {other}"),
        }
    }

    /// One statement that changes nothing.
    pub async fn read(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, DatabaseError> {
        let result = self.get().await?.query(sql, parameters).await;
        result.map_err(undoubted)
    }

    /// One statement that is a transaction by itself, and gives one row.
    pub async fn write(&self, sql: &str, parameters: Parameters<'_>) -> Result<Row, DatabaseError> {
        let mut rows = self.get().await?.query(sql, parameters).await?;
        rows.pop().ok_or_else(|| {
            let place = &self.place;
            DatabaseError::InDoubt(format!("{place}: a statement has given no row"))
        })
    }

    /// Several statements that are a transaction together.
    pub async fn begin(&self) -> Result<Transaction, DatabaseError> {
        let mut session = self.get().await?;
        session.execute("BEGIN").await.map_err(undoubted)?;
        Ok(Transaction { session })
    }

    pub fn place(&self) -> &str {
        &self.place
    }
}

/// Nothing was to be changed, so nobody needs to doubt.
pub(super) fn undoubted(error: DatabaseError) -> DatabaseError {
    match error {
        DatabaseError::InDoubt(why) => DatabaseError::Unavailable(why),
        other => other,
    }
}

/// `on` waits for the disk of every copy that has to have a commit; less would lose commits that were acknowledged.
fn set_up() -> String {
    format!(
        "SET default_transaction_isolation = 'read committed'; \
         SET statement_timeout = {STATEMENT_TIMEOUT_MS}; \
         SET idle_in_transaction_session_timeout = {STATEMENT_TIMEOUT_MS}; \
         SELECT set_config('synchronous_commit', 'on', false) \
         WHERE current_setting('synchronous_commit') IN ('off', 'local')"
    )
}

/// A session. One whose last statement was not answered is not given to others.
pub(super) struct Session {
    /// Empty when it is being let go.
    client: Option<Object>,
    unanswered: bool,
    place: Arc<str>,
}

impl Session {
    pub async fn query(
        &mut self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, DatabaseError> {
        let Some(client) = &self.client else {
            return Err(DatabaseError::Unavailable(self.place.to_string()));
        };
        self.unanswered = true;
        let place = &*self.place;
        let statement = timeout(PATIENCE, client.prepare_cached(sql))
            .await
            .map_err(|_| DatabaseError::Unavailable(silence(place)))?
            .map_err(|error| of_preparation(place, &error));
        let result = match statement {
            Ok(statement) => timeout(PATIENCE, client.query(&statement, parameters))
                .await
                .map_err(|_| DatabaseError::InDoubt(silence(place)))?
                .map_err(|error| of_statement(place, &error)),
            Err(error) => Err(error),
        };
        self.unanswered = matches!(result, Err(DatabaseError::InDoubt(_)));
        result
    }

    /// Statements without parameters or rows.
    pub async fn execute(&mut self, sql: &str) -> Result<(), DatabaseError> {
        let Some(client) = &self.client else {
            return Err(DatabaseError::Unavailable(self.place.to_string()));
        };
        self.unanswered = true;
        let place = &*self.place;
        let result = timeout(PATIENCE, client.batch_execute(sql))
            .await
            .map_err(|_| DatabaseError::InDoubt(silence(place)))?
            .map_err(|error| of_statement(place, &error));
        self.unanswered = matches!(result, Err(DatabaseError::InDoubt(_)));
        result
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.unanswered
            && let Some(client) = self.client.take()
        {
            drop(Object::take(client));
        }
    }
}

fn silence(place: &str) -> String {
    format!("{place}: no answer within {PATIENCE:?}")
}

/// Statements of which all are applied, or none. None are if it is dropped.
pub(super) struct Transaction {
    session: Session,
}

impl Transaction {
    pub async fn query(
        &mut self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, DatabaseError> {
        // A transaction is over with its first error.
        let result = self.session.query(sql, parameters).await;
        self.session.unanswered = true;
        result.map_err(undoubted)
    }

    pub async fn execute(&mut self, sql: &str) -> Result<(), DatabaseError> {
        let result = self.session.execute(sql).await;
        self.session.unanswered = true;
        result.map_err(undoubted)
    }

    pub async fn commit(mut self) -> Result<(), DatabaseError> {
        self.session.execute("COMMIT").await
    }

    /// Ends it without a trace, and keeps the session.
    pub async fn roll_back(mut self) -> Result<(), DatabaseError> {
        self.session.execute("ROLLBACK").await.map_err(undoubted)
    }
}
