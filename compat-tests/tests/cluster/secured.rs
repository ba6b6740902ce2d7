//! Brokers whose listeners all encrypt, or ask who it is: clients are served, and brokers reach each other.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use compat_tests::broker_process::{free_port, ottla_binary};
use compat_tests::python::Python;
use compat_tests::stores::{Postgres, S3};
use compat_tests::toolchain::crate_dir;
use compat_tests::{Program, available};

const LIMIT: Duration = Duration::from_secs(60);
const PLAIN_MODULE: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";

/// Killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn certificate(name: &str) -> String {
    let dir = crate_dir().join("tests/security/certificates");
    dir.join(name).display().to_string()
}

/// Starts three brokers that have only this listener, and waits until they serve. Gives their addresses, too.
fn start(
    dir: &Path,
    database: &str,
    objects: &str,
    environment: &[(&str, String)],
    protocol: &str,
    settings: &[(&str, &str)],
) -> Result<(Vec<Killed>, String)> {
    let (mut brokers, mut addresses) = (Vec::new(), Vec::new());
    for id in 1..=3 {
        let address = format!("localhost:{}", free_port()?);
        let listeners = format!("listeners={protocol}://{address}");
        let ready = File::create(dir.join(format!("ready-{id}")))?;
        let log = File::create(dir.join(format!("log-{id}")))?;
        let mut command = Command::new(ottla_binary()?);
        command
            .args(["--ready-format", "json", "--metrics-listen", "off"])
            .arg("--data-dir")
            .arg(dir.join(format!("data-{id}")))
            .args(["--cluster-objects", objects, "--override", &listeners])
            .args(["--override", &format!("node.id={id}")])
            .env("OTTLA_CLUSTER_DATABASE_URL", database)
            .envs(environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(ready)
            .stderr(log);
        for (key, value) in settings {
            command.args(["--override", &format!("{key}={value}")]);
        }
        brokers.push(Killed(command.spawn()?));
        addresses.push(address);
    }
    let began = Instant::now();
    for (id, broker) in (1..).zip(&mut brokers) {
        let log = || std::fs::read_to_string(dir.join(format!("log-{id}"))).unwrap_or_default();
        while std::fs::metadata(dir.join(format!("ready-{id}")))?.len() == 0 {
            ensure!(broker.0.try_wait()?.is_none(), "{}", log());
            ensure!(began.elapsed() < LIMIT, "{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok((brokers, addresses.join(",")))
}

#[test]
fn brokers_reach_each_other_by_the_listener_that_clients_use() -> Result<()> {
    let Some(python) = available(Python::with("confluent-kafka", "2.16.1"))? else {
        return Ok(());
    };
    let (Some(postgres), Some(s3)) = (available(Postgres::start())?, available(S3::start())?)
    else {
        return Ok(());
    };
    let [broker, client, ca] = ["broker.pem", "client.pem", "ca.pem"].map(certificate);
    let tls = [
        ("ssl.keystore.type", "PEM"),
        ("ssl.keystore.location", &*broker),
        ("ssl.truststore.type", "PEM"),
        ("ssl.truststore.location", &*ca),
    ];
    let trusts = format!("ssl.ca.location={ca}");
    let shows = [
        format!("ssl.certificate.location={client}"),
        format!("ssl.key.location={client}"),
    ];
    let users = format!(
        "{PLAIN_MODULE} required username=\"broker\" password=\"between\" \
         user_broker=\"between\" user_ann=\"secret\";"
    );
    let login = [
        ("sasl.enabled.mechanisms", "PLAIN"),
        ("sasl.mechanism.inter.broker.protocol", "PLAIN"),
        ("listener.name.sasl_ssl.plain.sasl.jaas.config", &*users),
        (
            "authorizer.class.name",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        ),
        ("super.users", "User:broker;User:ann"),
    ];
    let as_ann = [
        "sasl.mechanism=PLAIN",
        "sasl.username=ann",
        "sasl.password=secret",
    ];
    let certified = [("ssl.client.auth", "required")];
    for (protocol, settings, as_whom) in [
        (
            "SSL",
            &certified[..],
            shows.each_ref().map(String::as_str).to_vec(),
        ),
        ("SASL_SSL", &login[..], as_ann.to_vec()),
    ] {
        let name = protocol.to_lowercase();
        postgres.create_database(&name)?;
        let dir = tempfile::tempdir()?;
        let settings: Vec<_> = tls.iter().chain(settings).copied().collect();
        let (database, objects) = (postgres.url_of(&name), s3.url(&name));
        let environment = s3.environment();
        let started = start(
            dir.path(),
            &database,
            &objects,
            &environment,
            protocol,
            &settings,
        );
        let (brokers, bootstrap) = started.with_context(|| protocol.to_owned())?;
        let uses = format!("security.protocol={protocol}");
        let mut args = vec![&*bootstrap, &*uses, &*trusts];
        args.extend(as_whom);
        let command = python.command("secured.py", &args);
        let done = Program::start(command, Duration::from_secs(120))?.finish();
        done.with_context(|| {
            let logs =
                (1..=3).map(|id| std::fs::read_to_string(dir.path().join(format!("log-{id}"))));
            let logs: Vec<String> = logs.map(Result::unwrap_or_default).collect();
            format!("{protocol}:\n{}", logs.join("\n"))
        })?;
        drop(brokers);
    }
    Ok(())
}
