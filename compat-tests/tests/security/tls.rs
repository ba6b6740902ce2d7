//! Stock clients over TLS: whom they trust, and who they are by their certificates. And what Java and Kafka make of names.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use compat_tests::broker_process::free_port;
use compat_tests::java::KafkaTools;
use compat_tests::toolchain::{self, crate_dir};
use compat_tests::{BrokerKind, BrokerProcess};

use super::PLAIN_MODULE;
use super::client_programs::{CLIENTS, Client};

/// A broker with listeners of several kinds that show certificates.
struct Fixture {
    broker: BrokerProcess,
    ports: [u16; 4],
}

/// One of the certificates, see their README.
fn file(name: &str) -> PathBuf {
    crate_dir().join("tests/security/certificates").join(name)
}

/// The listeners, in the order of the ports.
const SSL: usize = 0;
const CERTIFIED: usize = 1;
const LOGIN: usize = 2;
const EXPIRED: usize = 3;

impl Fixture {
    fn start() -> Result<Self> {
        let path = |name: &str| file(name).display().to_string();
        let [broker_pem, expired_pem, ca] = ["broker.pem", "expired.pem", "ca.pem"].map(path);
        let mut broker = BrokerProcess::stopped(BrokerKind::Ottla, &[], &[])?;
        let ports = [free_port()?, free_port()?, free_port()?, free_port()?];
        let [ssl, certified, login, expired] = ports;
        let listeners = format!(
            "PLAINTEXT://{},SSL://localhost:{ssl},CERTIFIED://localhost:{certified},\
             LOGIN://localhost:{login},EXPIRED://localhost:{expired}",
            broker.address()
        );
        let users = format!("{PLAIN_MODULE} required user_alice=\"alice-secret\";");
        broker.override_with(&[
            ("listeners", &listeners),
            (
                "listener.security.protocol.map",
                "PLAINTEXT:PLAINTEXT,SSL:SSL,CERTIFIED:SSL,LOGIN:SASL_SSL,EXPIRED:SSL",
            ),
            ("ssl.keystore.type", "PEM"),
            ("ssl.keystore.location", &broker_pem),
            ("listener.name.expired.ssl.keystore.location", &expired_pem),
            ("listener.name.certified.ssl.truststore.type", "PEM"),
            ("listener.name.certified.ssl.truststore.location", &ca),
            ("listener.name.certified.ssl.client.auth", "required"),
            ("listener.name.login.sasl.enabled.mechanisms", "PLAIN"),
            ("listener.name.login.plain.sasl.jaas.config", &users),
        ])?;
        broker.restart()?;
        Ok(Self { broker, ports })
    }

    /// What a client tells; `None`: there is no such client here.
    fn run(&self, client: &Client, case: &Case) -> Result<Option<String>> {
        let Some(mut command) = toolchain::available((client.command)())? else {
            return Ok(None);
        };
        command.env("TLS_CA", file(case.trusts));
        if let Some(shown) = case.shows {
            command.env("TLS_CERT", file(shown));
        }
        let mechanism = if case.listener == LOGIN {
            "PLAIN"
        } else {
            "NONE"
        };
        command.arg(format!("{}:{}", case.host, self.ports[case.listener]));
        command.args([mechanism, "alice", "alice-secret", "topic", "0"]);
        toolchain::run(&mut command).map(Some)
    }

    fn each(&self, clients: &[&str], cases: &[Case]) -> Result<()> {
        let chosen = CLIENTS
            .iter()
            .filter(|client| clients.contains(&client.name));
        for client in chosen {
            for case in cases {
                let what = format!("{}, {case:?}", client.name);
                let told = self.run(client, case).with_context(|| what.clone())?;
                let expected = if case.is_served {
                    "read value"
                } else {
                    "refused"
                };
                ensure!(
                    told.as_ref().is_none_or(|told| told.contains(expected)),
                    "{what}: {told:?}\n{}",
                    self.broker.log_tail()
                );
            }
        }
        Ok(())
    }
}

/// How a client connects.
#[derive(Clone, Copy, Debug)]
struct Case {
    listener: usize,
    host: &'static str,
    trusts: &'static str,
    shows: Option<&'static str>,
    is_served: bool,
}

const RIGHT: Case = Case {
    listener: SSL,
    host: "localhost",
    trusts: "ca.pem",
    shows: None,
    is_served: true,
};
const WITH_CERTIFICATE: Case = Case {
    listener: CERTIFIED,
    shows: Some("client.pem"),
    ..RIGHT
};
const WITH_PASSWORD: Case = Case {
    listener: LOGIN,
    ..RIGHT
};
const WRONG_AUTHORITY: Case = Case {
    trusts: "other-ca.pem",
    is_served: false,
    ..RIGHT
};
const WRONG_HOST: Case = Case {
    host: "127.0.0.1",
    is_served: false,
    ..RIGHT
};
const OUT_OF_DATE: Case = Case {
    listener: EXPIRED,
    is_served: false,
    ..RIGHT
};
const WITHOUT_CERTIFICATE: Case = Case {
    listener: CERTIFIED,
    is_served: false,
    ..RIGHT
};

const USUAL: &[&str] = &["kafka-python 3.0.12", "confluent-kafka", "franz-go", "java"];

#[test]
fn clients_encrypt_show_certificates_and_log_in() -> Result<()> {
    let fixture = Fixture::start()?;
    fixture.each(USUAL, &[RIGHT, WITH_CERTIFICATE, WITH_PASSWORD])?;
    fixture.each(&["confluent-kafka", "java"], &[WRONG_AUTHORITY])?;
    let log = fixture.broker.log();
    ensure!(
        log.contains("does not accept the broker's certificate"),
        "{log}"
    );
    Ok(())
}

#[test]
#[ignore = "waits until clients give up: cargo test -p compat-tests --test security -- --ignored"]
fn every_client_refuses_whom_it_cannot_trust_and_is_refused_without_a_certificate() -> Result<()> {
    let fixture = Fixture::start()?;
    let all: Vec<&str> = CLIENTS.iter().map(|client| client.name).collect();
    let cases = [
        RIGHT,
        WITH_CERTIFICATE,
        WITH_PASSWORD,
        WRONG_AUTHORITY,
        WRONG_HOST,
        OUT_OF_DATE,
        WITHOUT_CERTIFICATE,
    ];
    fixture.each(&all, &cases)?;
    let log = fixture.broker.log();
    for expected in [
        "does not accept the broker's certificate",
        "shows no certificate",
        "the certificate has expired",
    ] {
        ensure!(log.contains(expected), "{expected}: {log}");
    }
    Ok(())
}

/// What OpenSSL comes to with a listener, given some options; true: a connection.
fn openssl(port: u16, options: &[&str], input: &str) -> Result<(bool, String)> {
    let mut command = Command::new("timeout");
    command.args(["5", "openssl", "s_client", "-connect"]);
    command.arg(format!("localhost:{port}")).args(options);
    command.arg("-cert").arg(file("client.pem"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut openssl = command.stderr(Stdio::piped()).spawn()?;
    // One that has given up reads no more.
    let mut stdin = openssl.stdin.take().context("stdin is piped")?;
    let _ = stdin.write_all(input.as_bytes());
    if input.is_empty() {
        drop(stdin);
    }
    let output = openssl.wait_with_output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok((!text.contains("Cipher is (NONE)"), text))
}

#[test]
fn listeners_offer_nothing_old_no_compression_no_second_handshake_and_no_early_data() -> Result<()>
{
    if toolchain::available(toolchain::find("openssl"))?.is_none() {
        return Ok(());
    }
    let fixture = Fixture::start()?;
    let all = "ALL:COMPLEMENTOFALL:@SECLEVEL=0";
    let suites = toolchain::run(Command::new("openssl").args(["ciphers", "-tls1_2", all]))?;
    let is_modern = |suite: &str| {
        let has_right_key = suite.starts_with("ECDHE-ECDSA-");
        has_right_key && suite.contains("-GCM-") | suite.contains("-CHACHA20-")
    };
    for listener in [SSL, CERTIFIED, LOGIN] {
        let port = fixture.ports[listener];
        for version in ["-tls1", "-tls1_1"] {
            let (connects, told) = openssl(port, &[version, "-cipher", all], "")?;
            ensure!(!connects && told.contains("alert"), "{version}: {told}");
        }
        for version in ["-tls1_2", "-tls1_3"] {
            let (connects, told) = openssl(port, &[version], "")?;
            ensure!(connects, "{version}: {told}");
            ensure!(told.contains("Compression: NONE"), "{told}");
            let early = told
                .lines()
                .filter_map(|line| line.trim().strip_prefix("Max Early Data: "));
            ensure!(early.into_iter().all(|bytes| bytes == "0"), "{told}");
        }
        // A line with R asks for another handshake.
        let (connects, told) = openssl(port, &["-tls1_2"], "R\n")?;
        let behind = told.split_once("RENEGOTIATING").map(|(_, behind)| behind);
        let behind = behind.with_context(|| told.clone())?;
        ensure!(connects && !behind.contains("depth="), "{told}");
    }
    // Suites are the same for all.
    let mut offered = Vec::new();
    for suite in suites
        .trim()
        .split(':')
        .filter(|suite| !suite.starts_with("TLS_"))
    {
        let cipher = format!("{suite}:@SECLEVEL=0");
        let (connects, told) = openssl(fixture.ports[SSL], &["-tls1_2", "-cipher", &cipher], "")?;
        ensure!(!connects || is_modern(suite), "{suite}: {told}");
        offered.extend(connects.then_some(suite));
    }
    ensure!(offered.len() == 3, "{offered:?}");
    Ok(())
}

/// The broker is held against these lists by its own tests, without Java.
#[test]
fn java_and_kafka_make_of_names_what_the_lists_say() -> Result<()> {
    let Some(tools) = toolchain::available(KafkaTools::new())? else {
        return Ok(());
    };
    let fixtures = crate_dir().join("../broker/src/security/tls/fixtures");
    let compare = |what: &str, file: &Path| -> Result<()> {
        let told = tools.run("TlsNames", &[what])?;
        ensure!(
            told == fs::read_to_string(file)?,
            "{} is not what Java says",
            file.display()
        );
        Ok(())
    };
    compare("names", &fixtures.join("names_of_java.txt"))?;
    compare("mappings", &fixtures.join("mappings_of_kafka.txt"))
}
