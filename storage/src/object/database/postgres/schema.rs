//! Makes the tables in a new database, and refuses one that is not ours.

use tokio_postgres::Row;
use uuid::Uuid;

use super::column;
use super::session::{Session, Sessions};
use crate::object::database::DatabaseError;

const SCHEMA: &str = include_str!("schema.sql");
/// What `schema.sql` makes.
const FORMAT_VERSION: i32 = 1;
/// Of brokers that start at the same time one makes the tables; the others see that they are there, sooner or later.
const TRIES: usize = 5;

/// What a cluster is, for ever.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cluster {
    pub cluster_id: Uuid,
    pub groups: u16,
}

/// The cluster of this database; in an empty one, a new cluster of so many log groups.
pub(super) async fn find_or_make(
    sessions: &Sessions,
    groups: u16,
) -> Result<Cluster, DatabaseError> {
    let mut session = sessions.log_in().await?;
    warn_of_lax_settings(&mut session, sessions.place()).await;
    let mut why_not = None;
    for _ in 0..TRIES {
        match look(&mut session).await? {
            Found::Tables => return read(&mut session, sessions.place()).await,
            Found::Foreign => {
                let why = "ottla.cluster has no format_version";
                return Err(foreign(sessions.place(), why));
            }
            Found::Nothing => {}
        }
        if let Err(error) = make(sessions, groups).await {
            why_not = Some(error);
        }
    }
    Err(why_not.unwrap_or_else(|| foreign(sessions.place(), "its tables come and go")))
}

enum Found {
    Nothing,
    /// A table of the right name which cannot be ours.
    Foreign,
    Tables,
}

async fn look(session: &mut Session) -> Result<Found, DatabaseError> {
    let sql = "SELECT count(*), count(a.attname) FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid \
                   AND a.attname = 'format_version' AND NOT a.attisdropped \
               WHERE n.nspname = 'ottla' AND c.relname = 'cluster'";
    let rows = session.query(sql, &[]).await?;
    let counts = rows
        .first()
        .map(|row| Ok::<_, DatabaseError>((column(row, 0)?, column(row, 1)?)));
    Ok(match counts.transpose()? {
        None | Some((0i64, _)) => Found::Nothing,
        Some((_, 0i64)) => Found::Foreign,
        Some(_) => Found::Tables,
    })
}

async fn make(sessions: &Sessions, groups: u16) -> Result<(), DatabaseError> {
    let mut work = sessions.begin().await?;
    let sql = "SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = 'ottla'";
    let rows = work.query(sql, &[]).await?;
    let schemas: i64 = rows.first().map_or(Ok(0), |row| column(row, 0))?;
    // Somebody who may may have made it for a user who may not.
    if schemas == 0 {
        work.execute("CREATE SCHEMA ottla").await?;
    }
    work.execute(SCHEMA).await?;
    let sql = "INSERT INTO ottla.cluster (id, format_version, cluster_id, v_groups, last_epoch) VALUES (1, $1, $2, $3, 0)";
    let cluster_id = Uuid::new_v4();
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
        [&FORMAT_VERSION, &cluster_id, &i32::from(groups)];
    work.query(sql, &parameters).await?;
    let sql = "INSERT INTO ottla.log_group (group_id, commit_seq, snapshot_seq) SELECT group_id, 0, 0 FROM unnest($1::int[]) AS g (group_id)";
    let ids: Vec<i32> = (0..i32::from(groups)).collect();
    work.query(sql, &[&ids]).await?;
    work.execute("INSERT INTO ottla.meta (id, version) VALUES (1, 0)")
        .await?;
    work.commit().await?;
    tracing::info!(%cluster_id, groups, "made the tables of a new cluster: {}", sessions.place());
    Ok(())
}

async fn read(session: &mut Session, place: &str) -> Result<Cluster, DatabaseError> {
    // Whatever else changes, every format has this.
    let rows = session
        .query("SELECT format_version FROM ottla.cluster", &[])
        .await?;
    let format = rows.first().map(|row| row.try_get::<_, i32>(0));
    match format {
        Some(Ok(FORMAT_VERSION)) => {}
        Some(Ok(newer)) if newer > FORMAT_VERSION => {
            return Err(DatabaseError::Refused(format!(
                "{place}: the database has format {newer}, and this release knows formats up to {FORMAT_VERSION}; \
                 run a release that is as new as the one that has written it"
            )));
        }
        _ => {
            return Err(foreign(
                place,
                "ottla.cluster tells no format that there has been",
            ));
        }
    }
    let rows = session
        .query("SELECT cluster_id, v_groups FROM ottla.cluster", &[])
        .await?;
    let cluster = rows.first().and_then(cluster);
    cluster.ok_or_else(|| foreign(place, "ottla.cluster cannot be understood"))
}

fn cluster(row: &Row) -> Option<Cluster> {
    Some(Cluster {
        cluster_id: row.try_get(0).ok()?,
        groups: u16::try_from(row.try_get::<_, i32>(1).ok()?).ok()?,
    })
}

fn foreign(place: &str, why: &str) -> DatabaseError {
    DatabaseError::Refused(format!(
        "{place}: the schema ottla is there, but it is not this program's: {why}; use another database"
    ))
}

/// A server that answers before it has written loses what was acknowledged, and nobody notices until it does.
async fn warn_of_lax_settings(session: &mut Session, place: &str) {
    let sql = "SELECT name, current_setting(name, true) FROM unnest(ARRAY['fsync', 'full_page_writes']) AS s (name)";
    let Ok(rows) = session.query(sql, &[]).await else {
        return;
    };
    for row in rows {
        let (name, setting) = (column::<&str>(&row, 0), column::<Option<&str>>(&row, 1));
        if let (Ok(name), Ok(Some("off"))) = (name, setting) {
            tracing::warn!(
                "{place}: {name} is off, so that a crash of the server loses what was acknowledged"
            );
        }
    }
}
