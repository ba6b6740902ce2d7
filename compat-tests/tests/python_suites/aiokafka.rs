//! aiokafka's own tests that talk to a broker.
//!
//! Its packages do not have them. So they want a checkout of aiokafka's repository with the tag `v` and [`VERSION`]:
//!
//! ```sh
//! AIOKAFKA_SOURCE=../aiokafka cargo test -p compat-tests --test python_suites -- --ignored aiokafka
//! ```
//!
//! The suite starts Kafka in a container; `clients/aiokafka/own_tests/conftest.py` gives it the broker of the test instead.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use compat_tests::broker_process::{free_port, ottla_binary};
use compat_tests::coverage::{self, Extent, Subject};
use compat_tests::python::Python;
use compat_tests::toolchain::{crate_dir, find, run};
use compat_tests::{BrokerKind, BrokerProcess, Missing, available};
use tempfile::TempDir;

use crate::outcomes;

/// The one of `clients/aiokafka`.
const VERSION: &str = "0.14.0";

/// Of all stores that the suite makes.
const PASSWORD: &str = "abcdefgh";

#[test]
#[ignore = "minutes, and wants a checkout of aiokafka: see the file"]
fn aiokafkas_own_tests_pass() -> Result<()> {
    let Some((suite, python)) = available(prepare())? else {
        return Ok(());
    };
    let (ssl, sasl) = (free_port()?, free_port()?);
    let mut broker = start(suite.path(), ssl, sasl)?;
    let mut pytest = crate::pytest(&python);
    pytest
        .arg("tests")
        .current_dir(suite.path())
        .env("BOOTSTRAP", broker.address().to_string())
        .env("SSL_PORT", ssl.to_string())
        .env("SASL_PORT", sasl.to_string())
        .env("OTTLA_BIN", ottla_binary()?);
    let (outcomes, said) = outcomes(&mut pytest)?;
    let subject = Subject {
        section: "public-suites",
        name: "aiokafka",
        version: VERSION,
    };
    let checked = coverage::check_suite(subject, &outcomes, Extent::Whole);
    checked.with_context(|| format!("{said}\n{}", broker.log_tail()))?;
    broker.terminate()
}

/// What the tests need of the checkout, with our fixtures and its certificates.
fn prepare() -> Result<(TempDir, Python)> {
    for program in ["openssl", "keytool"] {
        find(program)?;
    }
    let source = std::env::var_os("AIOKAFKA_SOURCE").map(PathBuf::from);
    let source = source.ok_or_else(|| {
        Missing("AIOKAFKA_SOURCE does not say where a checkout of aiokafka is".to_owned())
    })?;
    let told = fs::read_to_string(source.join("aiokafka/__init__.py"))?;
    ensure!(
        told.contains(&format!("\"{VERSION}\"")),
        "{} is not aiokafka {VERSION}",
        source.display()
    );
    let python = Python::with("aiokafka", &format!("{VERSION}-tests"))?;
    let suite = tempfile::tempdir()?;
    let mut copy = Command::new("cp");
    copy.args(["-r", "tests", "pyproject.toml"])
        .arg(suite.path());
    run(copy.current_dir(&source))?;
    let ours = crate_dir().join("clients/aiokafka/own_tests/conftest.py");
    fs::copy(ours, suite.path().join("tests/conftest.py"))?;
    let certificates = suite.path().join("tests/ssl_cert");
    fs::create_dir_all(&certificates)?;
    let mut generate = Command::new("bash");
    generate.arg(fs::canonicalize(source.join("gen-ssl-certs.sh"))?);
    run(generate.current_dir(&certificates))?;
    Ok((suite, python))
}

/// A broker as the suite's image configures Kafka, on two ports besides its own.
fn start(suite: &Path, ssl: u16, sasl: u16) -> Result<BrokerProcess> {
    let kind = BrokerKind::from_env()?;
    let mut broker = BrokerProcess::stopped(kind, &[], &[])?;
    let open = broker.address();
    let advertised =
        format!("PLAINTEXT://{open},SSL://127.0.0.1:{ssl},SASL_PLAINTEXT://127.0.0.1:{sasl}");
    let mut listeners = advertised.clone();
    if kind == BrokerKind::Kafka {
        listeners += &format!(",CONTROLLER://127.0.0.1:{}", open.port() + 10_000);
    }
    let store = |name: &str| {
        let path = suite.join("tests/ssl_cert").join(name);
        path.display().to_string()
    };
    let (keystore, truststore) = (
        store("br_server.keystore.jks"),
        store("br_server.truststore.jks"),
    );
    let plain = "org.apache.kafka.common.security.plain.PlainLoginModule required user_test=\"test\" user_test2=\"test2\";";
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    broker.override_with(&[
        // Some tests know it.
        ("node.id", "0"),
        ("num.partitions", "2"),
        ("listeners", &listeners),
        ("advertised.listeners", &advertised),
        (
            "listener.security.protocol.map",
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT",
        ),
        ("ssl.keystore.location", &keystore),
        ("ssl.keystore.password", PASSWORD),
        ("ssl.key.password", PASSWORD),
        ("ssl.truststore.location", &truststore),
        ("ssl.truststore.password", PASSWORD),
        ("ssl.client.auth", "required"),
        (
            "sasl.enabled.mechanisms",
            "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        ),
        ("listener.name.sasl_plaintext.plain.sasl.jaas.config", plain),
        (
            "listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config",
            scram,
        ),
        (
            "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config",
            scram,
        ),
        (
            "authorizer.class.name",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        ),
        ("allow.everyone.if.no.acl.found", "true"),
        // Who makes users and ACLs does not log in.
        ("super.users", "User:ANONYMOUS"),
    ])?;
    broker.restart()?;
    Ok(broker)
}
