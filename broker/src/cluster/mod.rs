//! The cluster, of which this broker is a part.

pub mod membership;
pub mod stores;
pub mod view;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use storage::object::database::{Database, DatabaseError};

use crate::cluster::membership::Membership;
use crate::metadata::Metadata;

/// What makes a broker one of several.
#[derive(Clone)]
pub struct Cluster {
    pub database: Arc<dyn Database>,
    pub members: Arc<Membership>,
}

impl Cluster {
    /// From now on others send clients here, and wait for this broker when they change the metadata. Resolves when all that was
    /// changed before has been followed: nobody has waited for that.
    ///
    /// # Errors
    /// The database does not tell what has been changed.
    pub async fn serve(&self, metadata: &Metadata) -> Result<(), DatabaseError> {
        self.members
            .serve(metadata.version(), metadata.vital())
            .await;
        let newest = self.database.version().await?;
        let mut version = metadata.version();
        // An error means that the broker is gone altogether. One that cannot follow has said why.
        let _ = version
            .wait_for(|version| version.is_none_or(|version| version >= newest))
            .await;
        Ok(())
    }
}
