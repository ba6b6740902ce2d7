//! What an operator sees: one line for what is wrong with either store, and health that goes and comes with them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use compat_tests::available;
use compat_tests::broker_process::{free_port, ottla_binary};
use compat_tests::stores::{Postgres, READER, S3};

const LIMIT: Duration = Duration::from_secs(60);

/// A broker; killed when dropped.
struct Running {
    child: Child,
    metrics: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ottla(
    dir: &Path,
    database: &str,
    objects: &str,
    environment: &[(&str, String)],
) -> Result<Running> {
    ottla_in(&dir.join("data"), dir, database, objects, environment)
}

/// The same with this data directory.
fn ottla_in(
    data_dir: &Path,
    dir: &Path,
    database: &str,
    objects: &str,
    environment: &[(&str, String)],
) -> Result<Running> {
    let metrics = free_port()?;
    let mut command = Command::new(ottla_binary()?);
    command
        .args(["--listen", "127.0.0.1:0", "--ready-format", "json"])
        .args(["--metrics-listen", &format!("127.0.0.1:{metrics}")])
        .args(["--log-level", "error", "--data-dir"])
        .arg(data_dir)
        .env("OTTLA_CLUSTER_DATABASE_URL", database)
        .args(["--cluster-objects", objects])
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(fs::File::create(dir.join("stdout"))?)
        .stderr(fs::File::create(dir.join("stderr"))?);
    let child = command.spawn()?;
    Ok(Running { child, metrics })
}

/// Starts it, and gives the one line that it gives up with.
fn refused(database: &str, objects: &str, environment: &[(&str, String)]) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let data_dir = dir.path().join("data");
    refused_in(&data_dir, database, objects, environment)
}

fn refused_in(
    data_dir: &Path,
    database: &str,
    objects: &str,
    environment: &[(&str, String)],
) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let mut running = ottla_in(data_dir, dir.path(), database, objects, environment)?;
    let began = Instant::now();
    let status = loop {
        if let Some(status) = running.child.try_wait()? {
            break status;
        }
        ensure!(
            began.elapsed() < LIMIT,
            "it does not give up: {}",
            said(dir.path())?
        );
        std::thread::sleep(Duration::from_millis(10));
    };
    let stderr = fs::read_to_string(dir.path().join("stderr"))?;
    // 2 is what can be seen without asking anybody.
    ensure!(matches!(status.code(), Some(1 | 2)), "{status}: {stderr}");
    ensure!(fs::read_to_string(dir.path().join("stdout"))?.is_empty());
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.is_empty()).collect();
    let [line] = lines[..] else {
        bail!("one line, not: {stderr}");
    };
    ensure!(!line.contains("secret"), "it tells a password: {line}");
    Ok(line.to_owned())
}

fn said(dir: &Path) -> Result<String> {
    let read = |name| fs::read_to_string(dir.join(name));
    Ok(read("stdout")? + &read("stderr")?)
}

#[test]
fn what_is_wrong_with_either_store_is_one_line() -> Result<()> {
    let (Some(postgres), Some(s3)) = (available(Postgres::start())?, available(S3::start())?)
    else {
        return Ok(());
    };
    let url = postgres.url();
    let good = s3.environment().to_vec();
    let with = |key: &'static str, value: &str| {
        let mut environment = good.clone();
        environment.retain(|(known, _)| *known != key);
        environment.push((key, value.to_owned()));
        environment
    };
    let objects = s3.url("cluster");
    let other_key = with("AWS_ACCESS_KEY_ID", "nobody");
    let other_secret = with("AWS_SECRET_ACCESS_KEY", "wrong");
    let read_only = with("AWS_ACCESS_KEY_ID", READER);
    let nobody_there = with("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    postgres.psql("postgres", "CREATE DATABASE others")?;
    postgres.psql("postgres", "CREATE DATABASE foreign_one OWNER ottla")?;
    let foreign = "CREATE SCHEMA ottla AUTHORIZATION ottla; CREATE TABLE ottla.cluster (n int)";
    postgres.psql("foreign_one", foreign)?;
    let wrong_password = url.replace("ottla-secret", "another-secret");
    for (database, objects, environment, expected) in [
        (
            url.replace("postgres://", "mysql://"),
            objects.clone(),
            &good,
            "expected postgres://",
        ),
        (
            wrong_password,
            objects.clone(),
            &good,
            "check user and password",
        ),
        (
            postgres.url_of("missing"),
            objects.clone(),
            &good,
            "CREATE DATABASE",
        ),
        (
            postgres.url_of("others"),
            objects.clone(),
            &good,
            "own the database",
        ),
        (
            postgres.url_of("foreign_one"),
            objects.clone(),
            &good,
            "use another database",
        ),
        (
            url.clone(),
            "s3://".to_owned(),
            &good,
            "expected s3://bucket/prefix",
        ),
        (
            url.clone(),
            "s3://key:secret@ottla".to_owned(),
            &good,
            "AWS_ACCESS_KEY_ID",
        ),
        (
            url.clone(),
            objects.clone(),
            &nobody_there,
            "to put an object has failed",
        ),
        (
            url.clone(),
            objects.clone(),
            &other_key,
            "AWS_ACCESS_KEY_ID",
        ),
        (
            url.clone(),
            objects.clone(),
            &other_secret,
            "AWS_SECRET_ACCESS_KEY",
        ),
        (
            url.clone(),
            objects.clone(),
            &read_only,
            "to put an object is not permitted",
        ),
    ] {
        let line = refused(&database, &objects, environment)?;
        ensure!(line.contains(expected), "no {expected:?} in: {line}");
    }
    Ok(())
}

fn get(port: u16, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer")?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok((status, body.trim_end().to_owned()))
}

impl Running {
    /// Waits until it is ready, or not and says why. Gives how long it took.
    fn until(&mut self, is_ready: bool, why: &str) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let told = get(self.metrics, "/readyz");
            if let Ok((status, text)) = &told
                && (*status == 200) == is_ready
                && text.contains(why)
            {
                ensure!(get(self.metrics, "/livez")?.0 == 200);
                return Ok(began.elapsed());
            }
            ensure!(self.child.try_wait()?.is_none(), "it has ended");
            ensure!(began.elapsed() < LIMIT, "it tells {told:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_broker_that_was_killed_does_not_wait_for_its_own_lease() -> Result<()> {
    let (Some(postgres), Some(s3)) = (available(Postgres::start())?, available(S3::start())?)
    else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let (objects, environment) = (s3.url("cluster"), s3.environment());
    let start = || ottla(dir.path(), &postgres.url(), &objects, &environment);
    let brokers = || -> Result<Vec<(String, i64)>> {
        let sql = "SELECT broker_id, epoch FROM ottla.broker ORDER BY broker_id";
        let rows = postgres.psql("ottla", sql)?;
        let rows = rows.lines().map(|row| {
            let (id, epoch) = row.split_once('|').context("two columns")?;
            Ok((id.to_owned(), epoch.parse()?))
        });
        rows.collect()
    };
    let mut first = start()?;
    first.until(true, "ok")?;
    let before = brokers()?;
    // Two of a directory would take the id from each other.
    let data_dir = dir.path().join("data");
    let beside = refused_in(&data_dir, &postgres.url(), &objects, &environment)?;
    ensure!(beside.contains("in use by another broker"), "{beside}");
    drop(first);
    // Nobody who waits for it is there before the test is over.
    let sql = "UPDATE ottla.broker_lease SET lease_until = now() + interval '1 day'";
    postgres.psql("ottla", sql)?;
    let mut again = start()?;
    again.until(true, "ok")?;
    let after = brokers()?;
    let is_next =
        matches!((&before[..], &after[..]), ([old], [new]) if old.0 == new.0 && old.1 < new.1);
    ensure!(is_next, "{before:?}, then {after:?}");
    Ok(())
}

/// What goes by a clock is wrong, and nothing else: the broker serves, and tells whoever asks how it is.
#[test]
fn a_clock_that_is_minutes_off_is_told() -> Result<()> {
    let (Some(postgres), Some(s3)) = (available(Postgres::start())?, available(S3::start())?)
    else {
        return Ok(());
    };
    let clock = |minutes: i32| {
        let sql = format!(
            "CREATE OR REPLACE FUNCTION other.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS \
             'SELECT pg_catalog.clock_timestamp() + interval ''{minutes} minutes'''"
        );
        postgres.psql("ottla", &sql)
    };
    // A schema that is looked at before the system's.
    let other = "CREATE SCHEMA other; GRANT USAGE ON SCHEMA other TO ottla; \
                 ALTER ROLE ottla SET search_path = other, pg_catalog";
    postgres.psql("ottla", other)?;
    clock(-7)?;
    let dir = tempfile::tempdir()?;
    let objects = s3.url("cluster");
    let mut running = ottla(dir.path(), &postgres.url(), &objects, &s3.environment())?;
    let behind = "ok, but the clock of this machine is 4";
    running.until(true, behind)?;
    let (_, text) = get(running.metrics, "/readyz")?;
    ensure!(
        text.contains(" s ahead of that of the cluster's database"),
        "{text}"
    );
    clock(0)?;
    while get(running.metrics, "/readyz")?.1 != "ok" {
        running.until(true, "ok")?;
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[test]
fn health_goes_and_comes_with_either_store() -> Result<()> {
    let (Some(mut postgres), Some(mut s3)) =
        (available(Postgres::start())?, available(S3::start())?)
    else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let objects = s3.url("cluster");
    let environment = s3.environment();
    let mut running = ottla(dir.path(), &postgres.url(), &objects, &environment)?;
    let told = running
        .until(true, "ok")
        .with_context(|| said(dir.path()).unwrap_or_default());
    eprintln!("ready after {:?}", told?);
    let ready = fs::read_to_string(dir.path().join("stdout"))?;
    let ready: serde_json::Value = serde_json::from_str(ready.trim())?;
    let address = format!("127.0.0.1:{}/ottla", postgres.port());
    let cluster = serde_json::json!({ "database": address, "objects": objects });
    ensure!(ready["cluster"] == cluster, "{ready}");
    ensure!(ready.get("data_dir").is_none() && ready.get("durability").is_none());

    // Who may only read the database, and who has an older release than the others.
    let reader = "CREATE ROLE reader LOGIN PASSWORD 'ottla-secret'; GRANT USAGE ON SCHEMA ottla TO reader; \
                  GRANT SELECT ON ALL TABLES IN SCHEMA ottla TO reader";
    postgres.psql("ottla", reader)?;
    let as_reader = postgres.url().replace("ottla:", "reader:");
    let may_not = refused(&as_reader, &objects, &environment)?;
    ensure!(
        may_not.contains("permission denied") && may_not.contains("let this user own the database"),
        "{may_not}"
    );
    let format = |format: i32| {
        let sql = format!("UPDATE ottla.cluster SET format_version = format_version + {format}");
        postgres.psql("ottla", &sql)
    };
    format(1)?;
    let is_newer = refused(&postgres.url(), &objects, &environment)?;
    ensure!(
        is_newer.contains("run a release that is as new as"),
        "{is_newer}"
    );
    format(-1)?;

    // Another bucket would take what the others cannot read, and another database would take these objects for orphans.
    let elsewhere = refused(&postgres.url(), &s3.url("elsewhere"), &environment)?;
    ensure!(
        elsewhere.contains(&format!("have their objects in {objects}")),
        "{elsewhere}"
    );
    postgres.psql("postgres", "CREATE DATABASE second OWNER ottla")?;
    let shared = refused(&postgres.url_of("second"), &objects, &environment)?;
    ensure!(
        shared.contains("name another prefix, or the other database"),
        "{shared}"
    );

    postgres.kill();
    let took = running.until(false, "database")?;
    eprintln!("without PostgreSQL it is not ready after {took:?}");
    postgres.restart()?;
    eprintln!(
        "with PostgreSQL it is ready after {:?}",
        running.until(true, "ok")?
    );
    s3.kill();
    let took = running.until(false, "object store")?;
    eprintln!("without the object store it is not ready after {took:?}");
    s3.restart()?;
    eprintln!(
        "with the object store it is ready after {:?}",
        running.until(true, "ok")?
    );
    Ok(())
}
