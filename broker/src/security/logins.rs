//! What the listeners that ask for a log-in need, shared by all connections.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use uuid::Uuid;

use super::jwks::TokenKeys;
use super::sasl::mechanisms::Mechanisms;
use super::sasl::{Failure, Step, ToClient};
use super::tokens::KeySet;
use crate::config::Listener;
use credentials::scram::Disguise;

/// Mechanisms by listener, and the processor time that log-ins may take.
pub struct Logins {
    by_listener: HashMap<String, Arc<Mechanisms>>,
    /// Of listeners to which clients bring signed tokens.
    keys: HashMap<String, Arc<TokenKeys>>,
    pub disguise: Disguise,
    /// One for each processor: whoever tries passwords slows down others who do, and nobody else.
    processors: Semaphore,
}

impl Logins {
    /// `directory_id` is known to nobody who may not see the users themselves.
    pub(crate) fn new(listeners: &[Listener], directory_id: Uuid) -> Self {
        let processors = available_parallelism().map_or(1, NonZeroUsize::get);
        let by_listener = listeners.iter().filter_map(|listener| {
            let mechanisms = listener.mechanisms.clone()?;
            Some((listener.name.clone(), mechanisms))
        });
        let by_listener: HashMap<_, _> = by_listener.collect();
        let keys = by_listener.iter().filter_map(|(name, mechanisms)| {
            let tokens = mechanisms.signed_tokens()?;
            let keys = TokenKeys::new(tokens.keys.clone(), tokens.refresh);
            Some((name.clone(), Arc::new(keys)))
        });
        Self {
            keys: keys.collect(),
            by_listener,
            disguise: Disguise::new(directory_id.into_bytes()),
            processors: Semaphore::new(processors),
        }
    }

    /// What clients of a listener may log in with. `None`: it does not ask for it.
    pub(crate) fn of(&self, listener: &str) -> Option<&Arc<Mechanisms>> {
        self.by_listener.get(listener)
    }

    /// Looks for the keys of tickets, and reads those of tokens, these again from time to time.
    ///
    /// # Errors
    /// A file cannot be used; one line for the operator.
    pub(crate) async fn begin(&self) -> Result<(), String> {
        #[cfg(feature = "gssapi")]
        for mechanisms in self.by_listener.values() {
            mechanisms.check()?;
        }
        for keys in self.keys.values() {
            keys.begin().await?;
            tokio::spawn(Arc::clone(keys).keep_up());
        }
        Ok(())
    }

    /// The keys that the tokens of a listener's clients may be signed with.
    pub(crate) fn keys(&self, listener: &str) -> Arc<KeySet> {
        let keys = self.keys.get(listener);
        keys.map_or_else(Arc::default, |keys| keys.now())
    }

    /// Somebody has a token with a key that is not known.
    pub(crate) async fn read_keys_again(&self, listener: &str) {
        if let Some(keys) = self.keys.get(listener) {
            keys.read_again().await;
        }
    }

    /// Does the work of a log-in beside the threads that serve clients.
    pub(crate) async fn work(&self, work: Box<dyn FnOnce() -> Step + Send>) -> Step {
        let failed = |why| {
            Step::Failed(Failure {
                to_client: ToClient::InvalidCredentials,
                user: None,
                why,
            })
        };
        let Ok(_processor) = self.processors.acquire().await else {
            return failed("the broker is shutting down");
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|_| failed("a bug of the broker"))
    }
}
