//! What a commit waits for, and what waits for a commit.

use std::sync::Arc;

use compat_tests::database_proxy::DatabaseProxy;
use storage::object::database::{
    Brokers as _, DatabaseError, LogGroup, Mode, OrderedLog as _, PostgresDatabase,
};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use crate::rules::{GROUPS, LONG, append, proposal, register, registration};
use crate::{new_database, server};

/// A session beside those of brokers.
async fn session(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A session that holds a log group.
async fn holder(url: &str, group: i32) -> Client {
    let client = session(url).await;
    let sql = format!("BEGIN; SELECT 1 FROM ottla.log_group WHERE group_id = {group} FOR UPDATE");
    client.batch_execute(&sql).await.unwrap();
    client
}

async fn waiting(client: &Client) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity \
               WHERE datname = current_database() AND wait_event_type = 'Lock'";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// Waits until so many sessions of the database wait for a lock.
async fn until_waiting(client: &Client, sessions: i64) {
    while waiting(client).await < sessions {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_epoch_waits_for_the_commits_of_the_old_one() {
    let Some(server) = server() else { return };
    let url = new_database(server);
    let database = Arc::new(PostgresDatabase::open(&url, GROUPS).await.unwrap());
    let broker = registration(Some(1), LONG);
    let old = database.register(&broker).await.unwrap().fence;
    let holder = holder(&url, 3).await;
    let watcher = session(&url).await;
    let committing = tokio::spawn({
        let database = Arc::clone(&database);
        async move { append(&*database, old, Mode::Each, &[proposal(3, 0, "old")]).await }
    });
    until_waiting(&watcher, 1).await;
    // A renewal does not wait.
    database.renew(old, LONG, 1).await.unwrap();
    let registering = tokio::spawn({
        let database = Arc::clone(&database);
        async move { database.register(&broker).await }
    });
    while waiting(&watcher).await < 2 {
        let early = "a new epoch is there while the old one writes";
        assert!(!registering.is_finished(), "{early}");
        tokio::task::yield_now().await;
    }
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(committing.await.unwrap(), Ok(vec![3]));
    let new = registering.await.unwrap().unwrap().fence;
    assert!(new.broker_epoch > old.broker_epoch);
    let late = append(&*database, old, Mode::Each, &[proposal(3, 1, "late")]).await;
    assert_eq!(late, Err(DatabaseError::Fenced));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_in_doubt_that_is_still_being_done_is_waited_for() {
    let Some(server) = server() else { return };
    let url = new_database(server);
    let proxy = DatabaseProxy::start(server.port()).await.unwrap();
    let direct = Arc::new(PostgresDatabase::open(&url, GROUPS).await.unwrap());
    let through = url.replace(
        &format!(":{}/", server.port()),
        &format!(":{}/", proxy.port),
    );
    let broken = PostgresDatabase::open(&through, GROUPS).await.unwrap();
    let fence = register(&*direct, 1, LONG).await.unwrap().fence;
    let holder = holder(&url, 3).await;
    let watcher = session(&url).await;
    let commit_id = Uuid::new_v4();
    let committing = tokio::spawn(async move {
        let proposals = [proposal(3, 0, "in doubt")];
        broken
            .append_if(fence, commit_id, Mode::Each, &proposals)
            .await
    });
    until_waiting(&watcher, 1).await;
    proxy.cut();
    let doubt = committing.await.unwrap();
    assert!(matches!(doubt, Err(DatabaseError::InDoubt(_))), "{doubt:?}");
    let resolving = tokio::spawn({
        let direct = Arc::clone(&direct);
        async move { direct.resolve(LogGroup(3), 1, commit_id).await }
    });
    while waiting(&watcher).await < 2 {
        let early = "it is resolved while the statement is being done";
        assert!(!resolving.is_finished(), "{early}");
        tokio::task::yield_now().await;
    }
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(resolving.await.unwrap(), Ok(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_arrives_after_it_was_resolved_finds_its_place_taken() {
    let Some(server) = server() else { return };
    let url = new_database(server);
    let proxy = DatabaseProxy::start(server.port()).await.unwrap();
    let direct = PostgresDatabase::open(&url, GROUPS).await.unwrap();
    let through = url.replace(
        &format!(":{}/", server.port()),
        &format!(":{}/", proxy.port),
    );
    let broken = PostgresDatabase::open(&through, GROUPS).await.unwrap();
    let fence = register(&direct, 1, LONG).await.unwrap().fence;
    // So that the statement is prepared, and is all that is kept back.
    append(&broken, fence, Mode::Each, &[proposal(3, 0, "before")])
        .await
        .unwrap();
    proxy.keep_back();
    let commit_id = Uuid::new_v4();
    let committing = tokio::spawn(async move {
        let proposals = [proposal(3, 1, "late")];
        broken
            .append_if(fence, commit_id, Mode::Each, &proposals)
            .await
    });
    proxy.has_kept().await;
    proxy.cut();
    let doubt = committing.await.unwrap();
    assert!(matches!(doubt, Err(DatabaseError::InDoubt(_))), "{doubt:?}");
    assert_eq!(direct.resolve(LogGroup(3), 2, commit_id).await, Ok(false));
    proxy.let_go().await;
    assert_eq!(direct.resolve(LogGroup(3), 2, commit_id).await, Ok(false));
    let news = direct.read_from(&[(LogGroup(3), 1)], 1000).await.unwrap();
    assert_eq!(news.rows.len(), 1);
    assert!(news.rows[0].entry.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_to_other_groups_do_not_wait() {
    let Some(server) = server() else { return };
    let url = new_database(server);
    let database = PostgresDatabase::open(&url, GROUPS).await.unwrap();
    let fence = register(&database, 1, LONG).await.unwrap().fence;
    let _holder = holder(&url, 3).await;
    let appended = append(&database, fence, Mode::Each, &[proposal(4, 0, "x")]).await;
    assert_eq!(appended, Ok(vec![4]));
}
