//! The engine of a cluster: record bytes are objects in a store that all brokers share, and their order is in a database.
//!
//! A broker keeps nothing. Batches of all its partitions go into one object, and then their places, packed, into a row of each log
//! group that they belong to ([`entry`]). A row is appended only behind the one that the broker knew as the last, so any broker may
//! append to any group: who is late reads what came first, and plans again ([`plan`]). What a broker knows of a group is what its
//! rows have made of it ([`group_state`]).

mod barriers;
mod cache;
mod codec;
mod commit;
mod config;
pub mod database;
mod engine;
pub mod entry;
mod fetcher;
mod flush;
mod follow;
mod group;
pub mod group_state;
pub mod in_flight;
pub mod jobs;
mod log_configs;
mod log_store;
mod look;
pub mod object_format;
mod object_log;
mod patience;
mod pending;
pub mod plan;
mod queue;
mod read_group;
mod requests;
mod run_bytes;
mod snapshot;
mod write_buffer;

use std::sync::Arc;

use tokio::runtime::Builder;

pub use self::config::{ObjectConfig, Upkeep};
use self::engine::Engine;
use self::jobs::{JobRunner, JobsConfig};
use self::log_store::ObjectLogs;
pub use self::requests::Counted;
use crate::log::{LogStore, StorageError};

/// Opens the logs of a cluster at this broker. What is in them is read when they are first used.
///
/// # Errors
/// There are no threads to be had.
pub fn open(config: ObjectConfig) -> Result<Arc<dyn LogStore>, StorageError> {
    let threads = match &config.runtime {
        Some(_) => None,
        None => {
            let threads = Builder::new_multi_thread()
                .worker_threads(threads_of(&config))
                .thread_name("objects")
                .enable_all()
                .build();
            let failed = |error| StorageError(format!("cannot start threads: {error}"));
            Some(threads.map_err(failed)?)
        }
    };
    let own = threads.as_ref().map(|threads| threads.handle().clone());
    let Some(runtime) = config.runtime.clone().or(own) else {
        return Err(StorageError("there are no threads".to_owned()));
    };
    let upkeep = config.upkeep.clone();
    let engine = Engine::new(config, runtime);
    engine.spawn(Arc::clone(&engine).flush_on_time());
    engine.spawn(Arc::clone(&engine).commit_on_demand());
    engine.spawn(Arc::clone(&engine).follow_others());
    engine.spawn(Arc::clone(&engine).serve_barriers());
    if let Some(every) = engine.config.look {
        engine.spawn(Arc::clone(&engine).look_at_objects(every));
    }
    let jobs = upkeep.map(|upkeep| JobRunner::start(jobs_of(&engine, upkeep), &engine.runtime));
    Ok(Arc::new(ObjectLogs::new(engine, jobs, threads)))
}

/// Two for clients, and as many for jobs, which may take their time with a group.
fn threads_of(config: &ObjectConfig) -> usize {
    match config.upkeep {
        Some(_) => 4,
        None => 2,
    }
}

/// The jobs stand on what the engine stands on: else an object that it is about to name would count as an orphan.
fn jobs_of(engine: &Engine, upkeep: Upkeep) -> JobsConfig {
    let config = &engine.config;
    JobsConfig {
        log: Arc::clone(&config.log),
        jobs: upkeep.jobs,
        brokers: upkeep.brokers,
        objects: Arc::clone(&config.objects) as _,
        groups: config.groups,
        leads: upkeep.leads,
        fence: config.fence.clone(),
        topics: Arc::clone(&engine.log_configs) as _,
        in_flight: Arc::clone(&config.in_flight),
        clock: Arc::clone(&config.clock),
        settings: upkeep.settings,
    }
}
