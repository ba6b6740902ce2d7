//! The real binary against real clients.
//!
//! [`BrokerProcess`] runs a broker as a user runs it: a process, a port, a data directory. The tests
//! under `tests/` point unmodified clients at it: programs in the languages of `clients/`, started
//! through [`Program`], or raw protocol requests through [`RawClient`].
//!
//! Every test runs against real Apache Kafka too (`COMPAT_BROKER=kafka`, see [`BrokerKind`]): a test
//! that fails there is a wrong test.
//!
//! | environment | meaning |
//! |---|---|
//! | `COMPAT_BROKER=cluster` | run against three brokers over PostgreSQL and an object store; [`cluster`] lists what is left out |
//! | `COMPAT_BROKER=kafka` | run against real Kafka, from Maven Central's jars, with the heap of `COMPAT_KAFKA_HEAP` |
//! | `COVERAGE=write` | `coverage/` and `COVERAGE.md` are written anew from what the runs give |
//! | `AIOKAFKA_SOURCE=DIR` | a checkout of aiokafka, for its own tests |
//! | `CAPABILITY=TEXT` | a program of `clients/` tries only the capabilities whose names begin so |
//! | `LIBRDKAFKA_TESTS="0081 0113"` | of librdkafka's own tests only those of these numbers |
//! | `OTTLA_BIN=PATH` | test this binary instead of building one |
//! | `CI=true` | a suite whose toolchain is missing fails instead of being skipped |
//! | `SEED=NUMBER` | repeat a random test |
//! | `WORKLOAD_LOG=1` | the clients of [`workload`] tell what goes wrong |
//!
//! [`workload`] lets several clients do random work while bad things happen, and [`checker`] judges what they saw.
//!
//! What takes minutes is `#[ignore]`d: `cargo test -p compat-tests -- --ignored`.

pub mod bench;
pub mod broker_process;
pub mod checker;
pub mod cluster;
pub mod coverage;
pub mod database_proxy;
pub mod go;
pub mod java;
pub mod librdkafka;
pub mod node;
pub mod objects_proxy;
pub mod proc_stats;
pub mod program;
pub mod python;
pub mod raw_client;
pub mod records;
pub mod rust;
pub mod scenario;
pub mod stores;
pub mod tool_answers;
pub mod toolchain;
pub mod trial;
pub mod workload;

pub use broker_process::{BrokerKind, BrokerProcess};
pub use program::Program;
pub use raw_client::RawClient;
pub use toolchain::{Missing, available};
