//! The database of a cluster on a real PostgreSQL: the rules that it shares with the one in memory, what befalls it, and what
//! people are told.

#![allow(clippy::unwrap_used)]

#[macro_use]
#[path = "../../../storage/tests/common/database.rs"]
mod rules;
mod commit;
mod faults;
mod messages;
mod speed;
mod stores;

use std::sync::{Arc, Mutex, OnceLock};

use compat_tests::available;
use compat_tests::stores::Postgres;
use rules::{Fixture, GROUPS};
use storage::object::database::PostgresDatabase;
use uuid::Uuid;

mod postgres {
    database_rules!(crate::fixture());
}

/// The server of those tests that do it no harm; `None` where there is none.
fn server() -> Option<&'static Postgres> {
    static SERVER: OnceLock<Option<Postgres>> = OnceLock::new();
    SERVER
        .get_or_init(|| available(Postgres::start()).unwrap())
        .as_ref()
}

/// The URL of a database on this server that is new.
fn new_database(server: &Postgres) -> String {
    // Two at once copy one template, which PostgreSQL does not like.
    static ONE_BY_ONE: Mutex<()> = Mutex::new(());
    let _guard = ONE_BY_ONE.lock();
    let name = format!("test_{}", Uuid::new_v4().simple());
    server.create_database(&name).unwrap();
    server.url_of(&name)
}

async fn fixture() -> Option<Fixture> {
    let url = new_database(server()?);
    let database = PostgresDatabase::open(&url, GROUPS).await.unwrap();
    let database = Arc::new(database);
    Some(Fixture { database })
}
