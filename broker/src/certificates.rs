//! What a change of the broker's own settings means for its certificates (KIP-226).
//!
//! Whoever changes them is told at once when listeners could not be served with what is new: read later, it would leave the
//! old in force, and nobody but the log would know.

#![expect(
    clippy::disallowed_methods,
    reason = "the change was authorized, or changes nothing"
)]

use std::sync::Arc;

use crate::broker::Broker;
use crate::config::{DynamicSettings, is_certificate_key};
use crate::metadata::{AlterConfig, MetadataError, ResourceType, changed};
use crate::security::tls::listeners::Reload;

/// See the [module](self).
pub(crate) struct Certificates<'a>(pub(crate) &'a Arc<Broker>);

impl Certificates<'_> {
    /// Whether a change is one of certificates.
    pub(crate) fn follow(&self, alter: &AlterConfig) -> bool {
        let mut keys = alter.change.keys().into_iter();
        alter.resource_type == ResourceType::Broker && keys.any(|key| is_certificate_key(key))
    }

    /// Whether listeners could be served with what there is after a change. Reads the files that are named.
    ///
    /// # Errors
    /// INVALID_REQUEST with what could not be used.
    pub(crate) async fn check(&self, alter: &AlterConfig) -> Result<(), MetadataError> {
        let (broker, alter) = (Arc::clone(self.0), alter.clone());
        let checking = tokio::task::spawn_blocking(move || {
            let image = &broker.metadata.published().image;
            let name = &alter.resource_name;
            let after = changed(&alter, image.overrides(ResourceType::Broker, name))?;
            let mut dynamic: DynamicSettings<'_> = image.dynamic_settings(broker.config.node_id);
            match name.is_empty() {
                true => dynamic.cluster_wide = &after,
                false => dynamic.per_broker = &after,
            }
            let checked = broker.tls.check(&broker.config, dynamic);
            checked.map_err(MetadataError::InvalidRequest)
        });
        let failed =
            |error: tokio::task::JoinError| MetadataError::InvalidRequest(error.to_string());
        checking.await.map_err(failed)?
    }

    /// Reads again what a change is about: a name that is as before may stand for another file.
    pub(crate) async fn reload(&self) {
        self.0.reload_tls(Reload::Changed).await;
    }
}
