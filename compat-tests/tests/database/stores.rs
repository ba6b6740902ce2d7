//! The servers do as servers do: what they have taken they have after a kill.

use std::net::TcpStream;

use anyhow::Result;
use compat_tests::available;
use compat_tests::stores::{Postgres, S3};

#[test]
fn a_database_survives_its_server() -> Result<()> {
    let Some(mut postgres) = available(Postgres::start())? else {
        return Ok(());
    };
    postgres.psql(
        "ottla",
        "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)",
    )?;
    postgres.kill();
    assert!(postgres.psql("ottla", "SELECT 1").is_err());
    postgres.restart()?;
    assert_eq!(postgres.psql("ottla", "SELECT n FROM kept")?.trim(), "7");
    Ok(())
}

#[test]
fn an_object_store_takes_objects_before_and_after_a_kill() -> Result<()> {
    let Some(mut s3) = available(S3::start())? else {
        return Ok(());
    };
    let [(_, endpoint), ..] = s3.environment();
    let address = endpoint.trim_start_matches("http://").to_owned();
    TcpStream::connect(&address)?;
    s3.kill();
    assert!(TcpStream::connect(&address).is_err());
    s3.restart()
}
