//! What the engine is given.

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::database::{Brokers, Fence, Jobs, OrderedLog};
use super::in_flight::InFlight;
use super::jobs::{JobSettings, Leads};
use super::requests::Counted;
use crate::env::clock::{Clock, SystemClock};

/// What the engine stands on, and how it goes about its work.
#[derive(Clone)]
pub struct ObjectConfig {
    pub log: Arc<dyn OrderedLog>,
    /// Keys in it are the cluster's alone. Whoever else at this broker asks for objects asks this one, so that all is counted.
    pub objects: Arc<Counted>,
    /// Shared with whoever else writes objects at this broker, and whoever removes those that nobody needs.
    pub in_flight: Arc<InFlight>,
    /// How many log groups the cluster has.
    pub groups: u16,
    /// Who this broker is. While it is `None`, appends wait.
    pub fence: watch::Receiver<Option<Fence>>,
    /// `ottla.cluster.flush.ms`: for how long batches gather.
    pub flush: Duration,
    /// `ottla.cluster.flush.bytes`: that many do not wait for more.
    pub flush_bytes: usize,
    /// `ottla.cluster.inline.bytes`: so few go with the commit.
    pub inline_bytes: usize,
    /// `ottla.cluster.cache.bytes`
    pub cache_bytes: usize,
    /// Of what was read from the stores, until it has been sent. Who wants more waits, and goes on with as little as can be.
    pub cold_bytes: usize,
    /// Of batches between their submission and their answer. Who has more waits.
    pub buffer_bytes: usize,
    /// Between two looks at what others append, while they do.
    pub poll: Duration,
    /// A group that nobody has used for so long is not followed any more, and takes no memory. The next use reads it again.
    pub idle: Duration,
    /// Between two looks whether the object store answers; `None`: who writes or reads finds out.
    pub look: Option<Duration>,
    pub clock: Arc<dyn Clock>,
    /// This broker helps to keep the stores small; `None`: it does not.
    pub upkeep: Option<Upkeep>,
    /// Whose threads the engine runs on; `None`: its own. A thread of this runtime must not call what may block.
    pub runtime: Option<Handle>,
}

/// What the jobs need besides ([`super::jobs`]).
#[derive(Clone)]
pub struct Upkeep {
    pub jobs: Arc<dyn Jobs>,
    pub brokers: Arc<dyn Brokers>,
    /// Whether this broker is the one to look after a group.
    pub leads: Leads,
    pub settings: JobSettings,
}

impl ObjectConfig {
    /// With the usual settings.
    pub fn new(
        log: Arc<dyn OrderedLog>,
        objects: Arc<dyn ObjectStore>,
        groups: u16,
        fence: watch::Receiver<Option<Fence>>,
    ) -> Self {
        Self {
            log,
            objects: Counted::over(objects),
            in_flight: Arc::default(),
            groups,
            fence,
            flush: Duration::from_millis(250),
            flush_bytes: 8 << 20,
            inline_bytes: 64 << 10,
            cache_bytes: 256 << 20,
            cold_bytes: 256 << 20,
            buffer_bytes: 128 << 20,
            poll: Duration::from_millis(10),
            idle: Duration::from_secs(300),
            look: None,
            clock: Arc::new(SystemClock::default()),
            upkeep: None,
            runtime: None,
        }
    }
}
