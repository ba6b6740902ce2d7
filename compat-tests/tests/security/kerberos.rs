//! Clients show tickets of Kerberos (GSSAPI), from a real KDC.
//!
//! Needs Debian's `krb5-kdc krb5-admin-server krb5-user libsasl2-modules-gssapi-mit kcat`, and a broker with GSSAPI:
//!
//! ```sh
//! cargo build -p ottla --features gssapi    # wants libkrb5-dev and libclang
//! OTTLA_BIN=$PWD/target/debug/ottla cargo test -p compat-tests --test security -- --ignored kerberos
//! ```

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use compat_tests::broker_process::{free_port, ottla_binary};
use compat_tests::toolchain::{find, run};
use compat_tests::{Program, java};
use tempfile::TempDir;

const REALM: &str = "OTTLA.TEST";
const SERVICE: &str = "kafka/localhost@OTTLA.TEST";

/// A key distribution center with a realm of its own.
struct Kdc {
    dir: TempDir,
    process: Child,
}

impl Drop for Kdc {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Kdc {
    /// Starts one that knows `SERVICE` and these users.
    fn start(users: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let path = |name: &str| dir.path().join(name).display().to_string();
        fs::write(
            path("krb5.conf"),
            format!(
                "[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_canonicalize_hostname = false\n rdns = false\n \
                 udp_preference_limit = 1\n[realms]\n {REALM} = {{\n  kdc = {address}\n }}\n"
            ),
        )?;
        fs::write(
            path("kdc.conf"),
            format!(
                "[kdcdefaults]\n kdc_listen = {address}\n kdc_tcp_listen = {address}\n[realms]\n {REALM} = {{\n  database_name = {}\n  \
                 key_stash_file = {}\n  acl_file = {}\n }}\n[logging]\n kdc = FILE:{}\n",
                path("principal"),
                path("stash"),
                path("acl"),
                path("kdc.log")
            ),
        )?;
        let mut create = Command::new(sbin("kdb5_util")?);
        create.args(["create", "-s", "-r", REALM, "-P", "master"]);
        run(in_realm(&mut create, dir.path()))?;
        for principal in users.iter().chain([&"kafka/localhost"]) {
            administrate(dir.path(), &format!("addprinc -randkey {principal}"))?;
            let keytab = keytab(dir.path(), principal);
            let export = format!("ktadd -k {} {principal}", keytab.display());
            administrate(dir.path(), &export)?;
        }
        let mut kdc = Command::new(sbin("krb5kdc")?);
        kdc.arg("-n").stdout(Stdio::null()).stderr(Stdio::null());
        let process = in_realm(&mut kdc, dir.path()).spawn()?;
        let kdc = Self { dir, process };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            ensure!(Instant::now() < until, "the KDC does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(kdc)
    }

    fn keytab(&self, principal: &str) -> String {
        keytab(self.dir.path(), principal).display().to_string()
    }
}

fn keytab(dir: &Path, principal: &str) -> PathBuf {
    let name = principal.split('/').next().unwrap_or_default();
    dir.join(format!("{name}.keytab"))
}

fn sbin(name: &str) -> Result<PathBuf> {
    let path = Path::new("/usr/sbin").join(name);
    ensure!(path.exists(), "there is no {}", path.display());
    Ok(path)
}

fn administrate(dir: &Path, query: &str) -> Result<String> {
    let mut command = Command::new(sbin("kadmin.local")?);
    command.args(["-r", REALM, "-q", query]);
    run(in_realm(&mut command, dir))
}

/// Has a program use this KDC, and keep its tickets apart from those of others.
fn in_realm<'a>(command: &'a mut Command, dir: &Path) -> &'a mut Command {
    command
        .env("KRB5_CONFIG", dir.join("krb5.conf"))
        .env("KRB5_KDC_PROFILE", dir.join("kdc.conf"))
        .env("KRB5CCNAME", dir.join("tickets"))
        .env("KRB5RCACHEDIR", dir)
        .env(
            "JAVA_TOOL_OPTIONS",
            format!(
                "-Djava.security.krb5.conf={}",
                dir.join("krb5.conf").display()
            ),
        )
}

/// Starts a broker with this key; `Err` has what it says instead.
fn start(kdc: &Kdc, dir: &Path, port: u16, key: &str) -> Result<Program> {
    let module =
        "com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true storeKey=true";
    let properties = format!(
        "listeners=LOGIN://localhost:{port}\nlistener.security.protocol.map=LOGIN:SASL_PLAINTEXT\nsasl.enabled.mechanisms=GSSAPI\n\
         sasl.kerberos.service.name=kafka\nlistener.name.login.gssapi.sasl.jaas.config={module} keyTab=\"{key}\" principal=\"{SERVICE}\";\n\
         sasl.kerberos.principal.to.local.rules=RULE:[1:$1](.*-client)s/-client//,DEFAULT\n\
         authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\nsuper.users=User:ann\nottla.metrics.listen=off\n\
         connections.max.reauth.ms=2000\n"
    );
    let file = dir.join("server.properties");
    fs::write(&file, properties)?;
    let mut command = Command::new(ottla_binary()?);
    command.arg(&file).arg("--ephemeral");
    in_realm(&mut command, kdc.dir.path());
    let mut program = Program::start(command, Duration::from_secs(30))?;
    program.wait_for_line("Ottla ")?;
    Ok(program)
}

fn by_java(kdc: &Kdc, port: u16, principal: &str) -> Result<String> {
    let mut command = java::client("4.4.0", "LogInSince4")?;
    command.arg(format!("localhost:{port}")).arg("GSSAPI");
    command
        .arg(format!("{principal}@{REALM}"))
        .arg(kdc.keytab(principal));
    run(in_realm(command.args(["topic", "5"]), kdc.dir.path()))
}

/// librdkafka gets its tickets with kinit, and speaks through Cyrus SASL.
fn by_kcat(kdc: &Kdc, port: u16, principal: &str) -> Result<String> {
    find("kcat")?;
    let mut command = Command::new("timeout");
    command.args(["30", "kcat", "-L", "-b", &format!("localhost:{port}")]);
    for setting in [
        "security.protocol=SASL_PLAINTEXT",
        "sasl.mechanisms=GSSAPI",
        "sasl.kerberos.service.name=kafka",
        &format!("sasl.kerberos.principal={principal}@{REALM}"),
        &format!("sasl.kerberos.keytab={}", kdc.keytab(principal)),
    ] {
        command.args(["-X", setting]);
    }
    let output = in_realm(&mut command, kdc.dir.path()).output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[test]
#[ignore = "wants a KDC and a broker with GSSAPI: see the file"]
fn clients_with_a_ticket_of_kerberos_are_who_it_says() -> Result<()> {
    let kdc = Kdc::start(&["ann-client", "bob"])?;
    let (dir, port) = (tempfile::tempdir()?, free_port()?);
    let _broker = start(&kdc, dir.path(), port, &kdc.keytab("kafka"))?;
    // Five seconds, of which each log-in holds two.
    let told = by_java(&kdc, port, "ann-client")?;
    ensure!(told.contains("read value"), "{told}");
    let told = by_java(&kdc, port, "bob")?;
    ensure!(told.contains("TopicAuthorizationException"), "{told}");
    let told = by_kcat(&kdc, port, "ann-client")?;
    ensure!(told.contains("topic \"topic\""), "{told}");

    // Tickets are made with another key from now on, which the broker does not have.
    administrate(kdc.dir.path(), "change_password -randkey kafka/localhost")?;
    let told = by_java(&kdc, port, "ann-client")?;
    ensure!(
        told.contains("refused") && told.contains("SaslAuthenticationException"),
        "{told}"
    );
    Ok(())
}

#[test]
#[ignore = "wants a KDC and a broker with GSSAPI: see the file"]
fn a_broker_without_its_key_of_kerberos_does_not_start() -> Result<()> {
    let kdc = Kdc::start(&["ann"])?;
    let dir = tempfile::tempdir()?;
    for key in [kdc.keytab("ann"), kdc.keytab("nobody")] {
        let refused = start(&kdc, dir.path(), free_port()?, &key).err();
        let refused = format!("{:?}", refused.context("it has started")?);
        ensure!(
            refused.contains(&format!("no key of {SERVICE} in {key}")),
            "{refused}"
        );
    }
    Ok(())
}
