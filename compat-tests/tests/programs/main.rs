//! Programs that people run beside a broker, each with a small scenario, against Ottla and against real Kafka; the outcome
//! is what `coverage/programs/` says.
//!
//! `cargo test -p compat-tests --test programs -- --ignored`

use std::process::Command;

use anyhow::Result;
use compat_tests::coverage::Subject;
use compat_tests::python::Python;
use compat_tests::stores::postgres_programs;
use compat_tests::{java, trial};

/// A program of `clients/programs`, which starts what it needs from the jars of `clients/java/JARS`.
fn beside(jars: &str, program: &str, args: &[&str]) -> Result<Command> {
    let python = Python::with("confluent-kafka", "2.16.1")?;
    let mut command = python.command(&format!("../programs/{program}"), args);
    command.env("CLASS_PATH", java::class_path(jars)?);
    Ok(command)
}

fn debezium() -> Result<Command> {
    let postgres = postgres_programs()?.display().to_string();
    beside("debezium", "debezium.py", &[&postgres])
}

fn spark() -> Result<Command> {
    // What Spark's own scripts open to it of Java.
    let opened = [
        "java.lang",
        "java.lang.invoke",
        "java.nio",
        "java.util",
        "java.util.concurrent",
        "sun.nio.ch",
        "sun.util.calendar",
    ];
    let mut options = vec!["-Xmx512m".to_owned()];
    options.extend(opened.map(|package| format!("--add-opens=java.base/{package}=ALL-UNNAMED")));
    let mut command = Command::new("java");
    command
        .args(options)
        .args(["-cp", &java::class_path("spark")?, "Spark"]);
    Ok(command)
}

fn python(program: &str, version: &str) -> Result<Command> {
    let file = format!("capabilities_of_{program}.py");
    Ok(Python::with(program, version)?.command(&file, &[]))
}

/// One test for each program: its name and version, how many brokers it wants, its command.
macro_rules! programs {
    ($($test:ident: $name:literal $version:literal, $brokers:literal, $command:expr;)*) => {
        $(
            #[test]
            #[ignore = "takes minutes: cargo test -p compat-tests --test programs -- --ignored"]
            fn $test() -> Result<()> {
                let subject = Subject { section: "programs", name: $name, version: $version };
                trial::covers(subject, $brokers, || $command)
            }
        )*
    };
}

programs! {
    connect_standalone: "Connect standalone" "4.3.1", 1, beside("connect", "connect_standalone.py", &[]);
    connect_distributed: "Connect distributed" "4.3.1", 1, beside("connect", "connect_distributed.py", &[]);
    kafka_streams: "Kafka Streams" "4.4.0", 1, java::program("streams", "Streams");
    mirror_maker: "MirrorMaker" "4.3.1", 2, beside("connect", "mirror_maker.py", &[]);
    debezium_of_postgres: "Debezium for PostgreSQL" "3.6.1", 1, debezium();
    apache_spark: "Spark" "4.1.1", 1, spark();
    apache_flink: "Flink" "2.2.1", 1, java::program("flink", "Flink");
    spring_kafka: "Spring Kafka" "4.1.2", 1, java::program("spring", "Spring");
    faust: "Faust" "0.15.3", 1, python("faust", "0.15.3");
    celery: "Celery" "5.7.0", 1, python("celery", "5.7.0");
}
