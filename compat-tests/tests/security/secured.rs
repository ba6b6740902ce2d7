//! `ottla --secure`, and clients with the files that it has made.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use compat_tests::broker_process::{free_port, ottla_binary};
use compat_tests::java::KafkaTools;
use compat_tests::python::Python;
use compat_tests::toolchain::{find, run, skip};
use compat_tests::{BrokerKind, Program, available};
use tempfile::TempDir;

/// Reads one record with kcat.
const READ: [&str; 8] = ["-C", "-t", "t", "-o", "beginning", "-c", "1", "-q"];

struct Broker {
    program: Program,
    dir: TempDir,
    port: u16,
}

impl Broker {
    /// Starts one on a port of its own; `None`: not Ottla is tested.
    fn start(dir: TempDir, port: u16) -> Result<Option<Self>> {
        if BrokerKind::from_env()? == BrokerKind::Kafka {
            skip("the command line is Ottla's own");
            return Ok(None);
        }
        let mut command = Command::new(ottla_binary()?);
        let data_dir = dir.path().join("data");
        command.arg("--secure").arg("--data-dir").arg(data_dir);
        command.args(["--listen", &format!("localhost:{port}")]);
        let mut program = Program::start(command, Duration::from_secs(120))?;
        program.wait_for_line("Ottla ")?;
        Ok(Some(Self { program, dir, port }))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("data/secure").join(name)
    }

    /// Runs kcat with a broker's file and further arguments, and some input; gives its status and what it wrote.
    fn kcat(&self, args: &[&str], input: &str) -> Result<(bool, String)> {
        find("kcat")?;
        let stdin = self.dir.path().join("input");
        fs::write(&stdin, input)?;
        let mut kcat = Command::new("timeout");
        kcat.args(["20", "kcat", "-F"])
            .arg(self.file("librdkafka.conf"));
        let output = kcat.args(args).stdin(fs::File::open(&stdin)?).output()?;
        let text = [output.stdout, output.stderr].concat();
        Ok((
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        ))
    }
}

#[test]
fn stock_clients_connect_with_the_files_of_a_secured_broker_and_strangers_do_not() -> Result<()> {
    let Some(broker) = Broker::start(tempfile::tempdir()?, free_port()?)? else {
        return Ok(());
    };
    if available(find("kcat"))?.is_some() {
        let (ok, said) = broker.kcat(&["-P", "-t", "t"], "from kcat\n")?;
        ensure!(ok, "{said}");
        let (ok, said) = broker.kcat(&READ, "")?;
        ensure!(ok && said.contains("from kcat"), "{said}");
        let wrong = [&["-X", "sasl.password=wrong"], &READ[..]].concat();
        let (ok, said) = broker.kcat(&wrong, "")?;
        ensure!(!ok && !said.contains("from kcat"), "{said}");
    }
    if let Some(tools) = available(KafkaTools::new())? {
        let (bootstrap, config) = (
            format!("localhost:{}", broker.port),
            broker.file("client.properties"),
        );
        let config = config.to_str().context("text")?;
        let connect = ["--bootstrap-server", &bootstrap, "--command-config", config];
        let topics = "org.apache.kafka.tools.TopicCommand";
        tools.run(
            topics,
            &[&connect[..], &["--create", "--topic", "by-java"]].concat(),
        )?;
        let alter = ["--alter", "--entity-type", "users", "--entity-name", "ann"];
        let alter = [
            &connect[..],
            &alter,
            &["--add-config", "SCRAM-SHA-512=[password=ann-secret]"],
        ];
        tools.run("org.apache.kafka.tools.ConfigCommand", &alter.concat())?;
        if available(find("kcat"))?.is_some() {
            let ann = ["-X", "sasl.username=ann", "-X", "sasl.password=ann-secret"];
            let (_, said) = broker.kcat(&[&ann[..], &READ].concat(), "")?;
            ensure!(said.contains("Topic authorization failed"), "{said}");
        }
    }
    if let Some(python) = available(Python::with("kafka-python", "2.3.3"))? {
        let config = broker.file("kafka-python.json");
        let mut command = python.command("secured.py", &[config.to_str().context("text")?]);
        let said = run(&mut command)?;
        ensure!(said.contains("read "), "{said}");
    }
    Ok(())
}

#[test]
fn another_start_of_a_secured_broker_knows_the_clients_of_the_first() -> Result<()> {
    let port = free_port()?;
    let Some(mut broker) = Broker::start(tempfile::tempdir()?, port)? else {
        return Ok(());
    };
    if available(find("kcat"))?.is_none() {
        return Ok(());
    }
    let (ok, said) = broker.kcat(&["-P", "-t", "t"], "before\n")?;
    ensure!(ok, "{said}");
    let password = broker.file("admin.password");
    for is_lost in [false, true] {
        let Broker { program, dir, .. } = broker;
        // With SIGKILL.
        drop(program);
        let before = fs::read_to_string(&password)?;
        if is_lost {
            fs::remove_file(&password)?;
        }
        broker = Broker::start(dir, port)?.context("Ottla")?;
        ensure!(
            (fs::read_to_string(&password)? != before) == is_lost,
            "the password"
        );
        let (ok, said) = broker.kcat(&READ, "")?;
        ensure!(ok && said.contains("before"), "{said}");
    }
    Ok(())
}

#[test]
fn certificates_of_a_secured_broker_say_what_their_keys_are_for() -> Result<()> {
    let Some(broker) = Broker::start(tempfile::tempdir()?, free_port()?)? else {
        return Ok(());
    };
    if available(find("openssl"))?.is_none() {
        return Ok(());
    }
    let (ca, server) = (broker.file("ca.pem"), broker.file("server.pem"));
    let mut verify = Command::new("openssl");
    // As Python looks at them since 3.13, and more.
    verify.args(["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"]);
    run(verify.arg(&ca).arg(&server))?;
    let expected = [
        (
            ca,
            "X509v3 Key Usage: critical Certificate Sign, CRL Sign",
            "X509v3 Basic Constraints: critical CA:TRUE, pathlen:0",
        ),
        (
            server,
            "X509v3 Key Usage: critical Digital Signature",
            "X509v3 Extended Key Usage: TLS Web Server Authentication",
        ),
    ];
    for (file, usage, more) in expected {
        let mut look = Command::new("openssl");
        let text = run(look.args(["x509", "-noout", "-text", "-in"]).arg(&file))?;
        let text: Vec<&str> = text.split_whitespace().collect();
        let text = text.join(" ");
        for extension in [usage, more] {
            // What comes next is another extension, or the signature.
            let after = text.split_once(extension).map_or("", |(_, after)| after);
            ensure!(
                after.starts_with(" X509v3") || after.starts_with(" Signature Algorithm"),
                "{}: {extension}, not {text}",
                file.display()
            );
        }
    }
    Ok(())
}
