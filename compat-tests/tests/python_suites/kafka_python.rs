//! kafka-python's own tests that talk to a broker. Its source package has them, without what starts a broker for them: that is in
//! `clients/kafka-python/own_tests`. They start several, and configure each.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use compat_tests::broker_process::ottla_binary;
use compat_tests::coverage::{self, Extent, Subject};
use compat_tests::java::KafkaTools;
use compat_tests::python::Python;
use compat_tests::toolchain::{crate_dir, find, prepare_once, run};
use compat_tests::{BrokerKind, available};
use tempfile::TempDir;

use crate::outcomes;

const VERSION: &str = "3.0.12";

/// Users that Kafka's tool writes into the directory are made when the broker starts.
const STORAGE: &str = r#"#!/bin/bash
for ((i = 1; i <= $#; i++)); do
  [[ ${!i} != -c ]] || { j=$((i + 1)); config=${!j}; }
  [[ ${!i} != --add-scram ]] || { j=$((i + 1)); user=${!j}; }
done
[[ -z $user ]] || echo "$user" >"$config.user"
"#;

/// Called as `kafka-run-class.sh kafka.Kafka FILE`. The line about the user is Kafka's, which the tests wait for.
const RUN_CLASS: &str = r#"#!/bin/bash
user=()
if [[ -e $2.user ]]; then
  user=(--add-scram "$(<"$2.user")")
  echo "Replayed UserScramCredentialRecord creating new entry for alice"
fi
exec "$OTTLA_BIN" --kafka-env "$2" "${user[@]}"
"#;

#[test]
#[ignore = "minutes: `cargo test -p compat-tests --test python_suites -- --ignored kafka_pythons`"]
fn kafka_pythons_own_tests_pass() -> Result<()> {
    let Some((suite, python)) = available(prepare())? else {
        return Ok(());
    };
    let mut pytest = crate::pytest(&python);
    pytest
        .arg("test/integration")
        .current_dir(suite.path())
        .env("PROJECT_ROOT", suite.path())
        .env("KAFKA_ROOT", suite.path())
        .env("OTTLA_BIN", ottla_binary()?)
        .env("OTTLA_METRICS_LISTEN", "off");
    let (outcomes, said) = outcomes(&mut pytest)?;
    let subject = Subject {
        section: "public-suites",
        name: "kafka-python",
        version: VERSION,
    };
    coverage::check_suite(subject, &outcomes, Extent::Whole).context(said)
}

/// The tests, and beside them what is to them an unpacked Kafka.
fn prepare() -> Result<(TempDir, Python)> {
    for program in ["openssl", "keytool"] {
        find(program)?;
    }
    let python = Python::with("kafka-python", &format!("{VERSION}-tests"))?;
    let suite = tempfile::tempdir()?;
    let ours = crate_dir().join("clients/kafka-python/own_tests");
    let tests = suite.path().join("test");
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(source(&python)?.join("test"));
    run(copy.arg(suite.path()))?;
    // It makes a package of the directory, which it is in the repository.
    fs::write(tests.join("__init__.py"), "")?;
    fs::copy(ours.join("service.py"), tests.join("service.py"))?;
    let resources = suite.path().join("servers/resources/default");
    fs::create_dir_all(&resources)?;
    for name in [
        "kafka.properties",
        "kafka_server_jaas.conf",
        "sasl_command.conf",
    ] {
        fs::copy(ours.join(name), resources.join(name))?;
    }
    unpacked_kafka(&suite.path().join("bin"))?;
    Ok((suite, python))
}

/// The source package.
fn source(python: &Python) -> Result<PathBuf> {
    let name = format!("kafka_python-{VERSION}");
    let dir = crate_dir().join(".cache").join(&name);
    prepare_once(&dir, VERSION, || {
        let mut download = Command::new(python.installed("pip"));
        download.args(["download", "--quiet", "--no-deps", "--no-binary", ":all:"]);
        download.arg("--dest").arg(&dir);
        run(download.arg(format!("kafka-python=={VERSION}")))?;
        let mut unpack = Command::new("tar");
        unpack.arg("xf").arg(format!("{name}.tar.gz"));
        run(unpack.current_dir(&dir)).map(|_| ())
    })?;
    Ok(dir.join(name))
}

fn unpacked_kafka(bin: &Path) -> Result<()> {
    fs::create_dir_all(bin)?;
    let script = |name: &str, text: &str| -> Result<()> {
        let path = bin.join(name);
        fs::write(&path, text)?;
        Ok(fs::set_permissions(
            path,
            fs::Permissions::from_mode(0o755),
        )?)
    };
    if BrokerKind::from_env()? == BrokerKind::Ottla {
        symlink(ottla_binary()?, bin.join("kafka-topics.sh"))?;
        script("kafka-storage.sh", STORAGE)?;
        return script("kafka-run-class.sh", RUN_CLASS);
    }
    let tools = KafkaTools::new()?;
    let java = |command: Command, first: &str| {
        let words = command.get_args().map(|word| format!("{word:?}"));
        let words: Vec<String> = words.collect();
        let words = words.join(" ");
        format!(
            "#!/bin/bash\nexport JAVA_TOOL_OPTIONS=$KAFKA_OPTS\n{first}exec java {words} \"$@\"\n"
        )
    };
    let storage = tools.command("kafka.tools.StorageTool", &[]);
    script("kafka-storage.sh", &java(storage, ""))?;
    let topics = tools.command("org.apache.kafka.tools.TopicCommand", &[]);
    script("kafka-topics.sh", &java(topics, ""))?;
    let server = tools.server("kafka.Kafka", &[]);
    script("kafka-run-class.sh", &java(server, "shift\n"))
}
