//! librdkafka's own tests: C and C++ programs that its crate brings along, built on first use.
//!
//! Each test is a process of its own with a limit of time. What became of it is read from what it writes.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::Missing;
use crate::coverage::Outcome;
use crate::java::KafkaTools;
use crate::rust::cargo;
use crate::toolchain::{crate_dir, find, prepare_once, run};

/// Of librdkafka, as the crate of `clients/rdkafka` has it.
pub const VERSION: &str = "2.12.1";

/// The broker's version as the tests shall see it; they leave out what is not for it.
const BROKER_VERSION: &str = "4.1.0";

/// 0113 takes ten minutes against Kafka, too; each of its parts has a limit of its own.
const LIMIT_SECONDS: &str = "1200";

/// Their own waits, which are meant for a fast machine.
const PATIENCE: &str = "2";

/// What the sources include and the packages of Debian that bring it. Without one, its tests would silently not be built.
const HEADERS: &[(&str, &str)] = &[
    ("zlib.h", "zlib1g-dev"),
    ("openssl/ssl.h", "libssl-dev"),
    ("rapidjson/document.h", "rapidjson-dev"),
    ("sasl/sasl.h", "libsasl2-dev"),
    ("zstd.h", "libzstd-dev"),
    ("curl/curl.h", "libcurl4-openssl-dev"),
];

/// Kafka's scripts that the tests call, in `KAFKA_PATH/bin`, and what they run.
const SCRIPTS: &[(&str, &str)] = &[
    ("kafka-topics.sh", "org.apache.kafka.tools.TopicCommand"),
    ("kafka-configs.sh", "org.apache.kafka.tools.ConfigCommand"),
    ("kafka-acls.sh", "org.apache.kafka.tools.AclCommand"),
    // Its first argument names the class.
    ("kafka-run-class.sh", ""),
];

/// How the members of a group share their partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocol {
    /// JoinGroup and SyncGroup.
    Classic,
    /// KIP-848.
    Consumer,
}

impl GroupProtocol {
    /// Kafka's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

/// One number of the suite: the tests of it run in one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Four digits.
    pub number: String,
    /// What the broker has to be like: `default`, or `noautocreate`.
    pub scenario: String,
    /// The tests that bear the number.
    pub names: Vec<String>,
    /// Only those parts of the tests that librdkafka calls quick. Some tests have none.
    pub is_quick: bool,
}

/// The suite, built.
pub struct Suite {
    /// Where it is built; the tests look for files there.
    tests_dir: PathBuf,
    /// Looks to the tests as an unpacked Kafka does.
    kafka: TempDir,
    /// What each process has written, `NUMBER PROTOCOL.log`.
    logs: TempDir,
}

impl Suite {
    /// Fetches the crate and builds the suite in `.cache/`.
    ///
    /// # Errors
    /// [`Missing`] where a compiler or a library is; the compiler's output where it does not build.
    pub fn new() -> Result<Self> {
        for program in ["g++", "make", "timeout", "javac"] {
            find(program)?;
        }
        let kafka = kafka_for_tests(&KafkaTools::new()?)?;
        let manifest_dir = crate_dir().join("clients/rdkafka");
        let lock = fs::read_to_string(manifest_dir.join("Cargo.lock"))?;
        ensure!(
            lock.contains(&format!("+{VERSION}\"")),
            "the lock file has another librdkafka than {VERSION}"
        );
        let dir = crate_dir().join(format!(".cache/librdkafka-{VERSION}"));
        let root = dir.join("librdkafka");
        prepare_once(&dir, VERSION, || {
            headers_are_there(&dir)?;
            // The registry's copy is not ours to build in.
            let mut copy = Command::new("cp");
            copy.arg("-r").arg(sources(&manifest_dir)?).arg(&root);
            run(&mut copy)?;
            run(Command::new("./configure").current_dir(&root))?;
            run(make(&root).arg("libs"))?;
            run(make(&root).args(["-C", "tests", "build"]))?;
            Ok(())
        })?;
        Ok(Self {
            tests_dir: root.join("tests"),
            kafka,
            logs: tempfile::Builder::new()
                .prefix("ottla-librdkafka-")
                .tempdir()?,
        })
    }

    /// The tests that need a broker, except those that librdkafka itself leaves out.
    ///
    /// # Errors
    /// Their table cannot be read.
    pub fn with_broker(&self) -> Result<Vec<Numbered>> {
        let table = fs::read_to_string(self.tests_dir.join("test.c"))?;
        with_broker(&table)
    }

    /// Runs the tests of one number and gives what became of each.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(
        &self,
        tests: &Numbered,
        protocol: GroupProtocol,
        bootstrap: &str,
    ) -> Result<Vec<Outcome>> {
        let stem = format!("{} {}", tests.number, protocol.name());
        let config = self.logs.path().join(format!("{stem}.conf"));
        fs::write(
            &config,
            format!(
                "bootstrap.servers={bootstrap}\n\
                 broker.address.family=v4\n\
                 test.timeout.multiplier={PATIENCE}\n"
            ),
        )?;
        let path = self.logs.path().join(format!("{stem}.log"));
        let log = File::create(&path)?;
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", LIMIT_SECONDS, "./test-runner"])
            .args(["-p1", "-L", "-s", &tests.scenario])
            .args(tests.is_quick.then_some("-Q"))
            .current_dir(&self.tests_dir)
            .env("LD_LIBRARY_PATH", "../src:../src-cpp")
            .env("RDKAFKA_TEST_CONF", &config)
            .env("TEST_KAFKA_VERSION", BROKER_VERSION)
            .env("TEST_CONSUMER_GROUP_PROTOCOL", protocol.name())
            .env("BROKERS", bootstrap)
            .env("KAFKA_PATH", self.kafka.path())
            .env("TESTS", &tests.number)
            // It would make them run otherwise than here.
            .env_remove("CI")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let status = command.status().context("timeout")?;
        let log = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        let lines: Vec<String> = log.lines().map(without_colors).collect();
        let mut outcomes: Vec<Outcome> = tests
            .names
            .iter()
            .map(|name| (name.clone(), outcome(name, &lines)))
            .collect();
        if !status.success() && outcomes.iter().all(|(_, outcome)| outcome.is_ok()) {
            // Threads that do not end, memory that is not theirs.
            for (_, outcome) in &mut outcomes {
                *outcome = Err(format!("{status} after it had passed"));
            }
        }
        Ok(outcomes)
    }

    /// Keeps what the processes have written, and tells where.
    pub fn keep_logs(mut self) -> PathBuf {
        self.logs.disable_cleanup(true);
        self.logs.path().to_owned()
    }
}

fn make(root: &Path) -> Command {
    let mut make = Command::new("make");
    make.arg("-j2").current_dir(root);
    make
}

/// The directory `librdkafka` of the crate, which cargo fetches where it is not there yet.
fn sources(manifest_dir: &Path) -> Result<PathBuf> {
    let metadata = run(cargo()
        .args(["metadata", "--locked", "--format-version=1"])
        .current_dir(manifest_dir))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let package = packages
        .iter()
        .find(|package| package["name"] == "rdkafka-sys");
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let dir = Path::new(manifest.context("rdkafka-sys")?).with_file_name("librdkafka");
    ensure!(dir.is_dir(), "{} is not there", dir.display());
    Ok(dir)
}

/// A directory as the tests want it behind `KAFKA_PATH`: scripts in `bin`, jars in `libs`.
fn kafka_for_tests(tools: &KafkaTools) -> Result<TempDir> {
    let dir = tempfile::Builder::new().prefix("ottla-kafka-").tempdir()?;
    symlink(tools.libs(), dir.path().join("libs"))?;
    let bin = dir.path().join("bin");
    fs::create_dir(&bin)?;
    for (script, class) in SCRIPTS {
        let path = bin.join(script);
        let libs = tools.libs().display();
        fs::write(
            &path,
            format!("#!/bin/sh\nexec java -Xmx256m -cp \"$CLASSPATH:{libs}/*\" {class} \"$@\"\n"),
        )?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(dir)
}

fn headers_are_there(dir: &Path) -> Result<()> {
    let probe = dir.join("probe.cpp");
    for (header, package) in HEADERS {
        fs::write(&probe, format!("#include <{header}>\n"))?;
        let mut compiler = Command::new("g++");
        compiler.arg("-fsyntax-only").arg(&probe);
        if run(&mut compiler).is_err() {
            return Err(Missing(format!("{package} is not installed ({header})")).into());
        }
    }
    Ok(())
}

/// Reads the table of all tests in `test.c`: `_TEST(0045_subscribe_update, FLAGS, ...)`.
fn with_broker(source: &str) -> Result<Vec<Numbered>> {
    /// Needs no broker; started by hand only; known to fail.
    const LEFT_OUT: &[&str] = &["TEST_F_LOCAL", "TEST_F_MANUAL", "TEST_F_KNOWN_ISSUE"];
    let (_, table) = source
        .split_once("struct test tests[] = {")
        .context("test.c has a table of tests")?;
    let mut all: Vec<Numbered> = Vec::new();
    for entry in table.split("_TEST(").skip(1) {
        let (name, rest) = entry.split_once(',').context("a test has flags")?;
        let (number, _) = name.split_once('_').context("a test has a number")?;
        let flags = rest.split([',', ')']).next().unwrap_or_default();
        if flags.split('|').any(|flag| LEFT_OUT.contains(&flag.trim())) {
            continue;
        }
        let scenario = rest
            .split_once(".scenario = \"")
            // There may be several, of which one will do.
            .and_then(|(_, rest)| rest.split(['"', ',']).next())
            .unwrap_or("default");
        let same = |known: &&mut Numbered| known.number == number && known.scenario == scenario;
        match all.iter_mut().find(same) {
            Some(known) => known.names.push(name.to_owned()),
            None => all.push(Numbered {
                number: number.to_owned(),
                scenario: scenario.to_owned(),
                names: vec![name.to_owned()],
                is_quick: false,
            }),
        }
    }
    ensure!(!all.is_empty(), "no test needs a broker");
    Ok(all)
}

/// What the lines that a run has written say of one test.
///
/// The table at their end is no help: a failed run aborts before it is written.
fn outcome(name: &str, lines: &[String]) -> Result<(), String> {
    let passed = format!("= Test {name} PASSED =");
    if lines.iter().any(|line| line.contains(&passed)) {
        return Ok(());
    }
    let failed = [
        format!("### Test \"{name}\""),
        format!("### Test \"{name} ("),
    ];
    // The line below says why; the test may have a sub-test, whose name is in the line itself.
    let is_failure = |line: &String| failed.iter().any(|start| line.starts_with(start));
    if let Some(index) = lines.iter().position(is_failure) {
        let line = &lines[index];
        let sub_test = line.split_once(" (").map_or("", |(_, rest)| rest);
        let sub_test = sub_test.split(')').next().unwrap_or_default();
        let why = lines.get(index + 1).map_or("", String::as_str);
        return Err(format!("{sub_test} {why}").trim().to_owned());
    }
    let skipped = lines
        .iter()
        .find(|line| line.starts_with(&format!("[{name}")) && line.contains("SKIPPING TEST"));
    Err(skipped.or(lines.last()).cloned().unwrap_or_default())
}

/// The line without `ESC [ ... m`.
fn without_colors(line: &str) -> String {
    let mut pieces = line.split("\u{1b}[");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        text.push_str(piece.split_once('m').map_or(piece, |(_, rest)| rest));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_need_a_broker_are_grouped_by_number_and_scenario() -> Result<()> {
        let source = r#"
            #define _TEST(NAME, FLAGS, ...) other
            struct test tests[] = {
                _TEST(0000_unittests,
                      TEST_F_LOCAL),
                _TEST(0045_subscribe_update, 0, TEST_BRKVER(0, 9, 0, 0)),
                _TEST(0045_subscribe_remove,
                      0,
                      .scenario = "noautocreate"),
                _TEST(0045_subscribe_mock, TEST_F_LOCAL),
                _TEST(0045_resubscribe, 0),
                _TEST(0047_partial, TEST_F_KNOWN_ISSUE),
                _TEST(0055_latency, TEST_F_KNOWN_ISSUE_WIN32),
                _TEST(0075_retry, TEST_F_SOCKEM),
                _TEST(0103_transactions, 0, .scenario = "default,ak23"),
                _TEST(8000_idle, TEST_F_MANUAL),
            };"#;
        let numbered = |number: &str, scenario: &str, names: &[&str]| Numbered {
            number: number.to_owned(),
            scenario: scenario.to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            is_quick: false,
        };
        let expected = [
            numbered(
                "0045",
                "default",
                &["0045_subscribe_update", "0045_resubscribe"],
            ),
            numbered("0045", "noautocreate", &["0045_subscribe_remove"]),
            numbered("0055", "default", &["0055_latency"]),
            numbered("0075", "default", &["0075_retry"]),
            numbered("0103", "default", &["0103_transactions"]),
        ];
        assert_eq!(with_broker(source)?, expected);
        assert!(with_broker("int main(void)").is_err());
        Ok(())
    }

    #[test]
    fn the_log_tells_who_passed_and_why_another_did_not() {
        let log = "\u{1b}[0m\u{1b}[32m[0045_one / 1.2s] ================= Test 0045_one PASSED =================\u{1b}[0m\n\
            [0045_one_more / 1.3s] TEST FAILURE\n\
            \u{1b}[31m### Test \"0045_one_more (do_it:17: fast)\" failed at test.c:1:f() at Sat: ###\n\
            no answer\n\
            \u{1b}[0m### Test \"0045_two\" failed at test.c:1:f() at Sat: ###\n\
            no leader\n\
            [0045_three / 0.1s] WARN: SKIPPING TEST: no wish\n\
            [<MAIN> / 9s] end";
        let lines: Vec<String> = log.lines().map(without_colors).collect();
        let of = |name| outcome(name, &lines);
        assert_eq!(of("0045_one"), Ok(()));
        assert_eq!(
            of("0045_one_more"),
            Err("do_it:17: fast no answer".to_owned())
        );
        assert_eq!(of("0045_two"), Err("no leader".to_owned()));
        assert_eq!(
            of("0045_three"),
            Err("[0045_three / 0.1s] WARN: SKIPPING TEST: no wish".to_owned())
        );
        assert_eq!(of("0045_four"), Err("[<MAIN> / 9s] end".to_owned()));
    }
}
