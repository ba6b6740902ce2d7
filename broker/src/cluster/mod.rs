//! The cluster, of which this broker is a part.

mod last_process;
pub mod membership;
mod place;
pub mod stores;
pub mod view;

#[cfg(test)]
mod scale;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use storage::object::database::Database;

pub(crate) use crate::cluster::last_process::LastProcess;
use crate::cluster::membership::Membership;

/// What makes a broker one of several.
#[derive(Clone)]
pub struct Cluster {
    pub database: Arc<dyn Database>,
    pub members: Arc<Membership>,
}
