//! SASL: how a client proves who it is.
//!
//! Each mechanism is a pure state machine: it takes the client's tokens one after the other and says what comes of each. What
//! takes long, or has to be fetched, is handed out and done elsewhere. [`conversation`] is what is around the tokens.

pub mod conversation;
pub mod fuzzing;
#[cfg(feature = "gssapi")]
pub mod gssapi;
pub mod mechanisms;
mod oauthbearer;
pub mod plain;
mod scram;
mod scram_messages;

use std::sync::Arc;

use super::delegation::{DelegationTokens, KnownToken, of_token};
use super::tokens::KeySet;
use crate::metadata::MetadataImage;
use credentials::scram::{Disguise, MIN_ITERATIONS, ScramCredential, ScramMechanism};

/// What a token of the client leads to.
pub enum Step {
    /// The client has to answer this.
    Challenge(Vec<u8>),
    Done(Identity),
    Failed(Failure),
    /// The keys that tokens are signed with are to be read again.
    Keys,
    /// This takes milliseconds of a processor, and then says what comes of the token.
    Work(Box<dyn FnOnce() -> Step + Send>),
}

/// Who the client has proved to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name of the `User:` principal.
    pub name: String,
    /// What the client is told last.
    pub answer: Vec<u8>,
    /// When what it has shown runs out, in milliseconds since 1970.
    pub expires_at_ms: Option<i64>,
    /// It has shown a delegation token (KIP-48).
    pub by_token: bool,
}

/// The client has not proved who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub to_client: ToClient,
    /// What the operator is told: who it wanted to be, if it said so, and what is wrong. Never a secret.
    pub user: Option<String>,
    pub why: &'static str,
}

/// What a client is told that has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToClient {
    /// In these words.
    Message(String),
    /// That it has failed with this mechanism, and nothing else.
    InvalidCredentials,
}

/// A client may only act for itself.
const OTHER_AUTHORIZATION_ID: &str =
    "Authentication failed: Client requested an authorization id that is different from username";

/// What is known of users and tokens, at one moment.
pub struct Known {
    pub image: Arc<MetadataImage>,
    pub disguise: Disguise,
    /// That tokens may be signed with.
    pub keys: Arc<KeySet>,
    pub(crate) delegation: Arc<DelegationTokens>,
}

/// A credential to check a proof against, whether its user is there or not.
struct FoundUser {
    /// Who it is that has the credential.
    name: String,
    credential: ScramCredential,
    is_there: bool,
    token: Option<FoundToken>,
}

/// A delegation token whose id is in the place of the user.
struct FoundToken {
    /// What the credential is to be made of. `None`: it is not there, or holds no longer.
    known: Option<Arc<KnownToken>>,
    expires_at_ms: i64,
}

impl Known {
    /// A user that is not there gets a credential that looks like the others.
    fn find(&self, mechanism: ScramMechanism, user: &str) -> FoundUser {
        let scram = self.image.scram();
        let found = scram.get(mechanism, user).cloned();
        let is_there = found.is_some();
        let credential = found.unwrap_or_else(|| {
            let usual = scram.usual_iterations(mechanism).unwrap_or(MIN_ITERATIONS);
            self.disguise.credential(mechanism, user, usual)
        });
        FoundUser {
            name: user.to_owned(),
            credential,
            is_there,
            token: None,
        }
    }

    /// The owner of a delegation token. Kafka lets in whoever has one that has expired and is not removed yet, for no time;
    /// here it is as one that is not there.
    fn find_token(&self, mechanism: ScramMechanism, id: &str, now_ms: i64) -> FoundUser {
        let token = self.image.tokens().get(id);
        let token = token.filter(|token| !token.has_expired(now_ms));
        let known = token.and_then(|_| self.delegation.known(id));
        // Who logs in is a `User`, whatever type the owner's principal has, as in Kafka.
        let owner = token.and_then(|token| token.owner.split_once(':'));
        FoundUser {
            name: owner.map_or(id, |(_, name)| name).to_owned(),
            credential: of_token(&self.disguise, mechanism, id),
            is_there: known.is_some(),
            token: Some(FoundToken {
                known,
                expires_at_ms: token.map_or(0, |token| token.expires_at_ms),
            }),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::metadata::MetadataRecord;
    use crate::security::delegation;

    pub(super) fn done(step: Step) -> Identity {
        match step {
            Step::Done(identity) => identity,
            Step::Work(work) => done(work()),
            Step::Failed(failure) => panic!("{failure:?}"),
            Step::Challenge(challenge) => panic!("{challenge:?}"),
            Step::Keys => panic!("it waits for keys"),
        }
    }

    pub(super) fn failed(step: Step) -> Failure {
        match step {
            Step::Failed(failure) => failure,
            Step::Work(work) => failed(work()),
            Step::Done(identity) => panic!("{identity:?}"),
            Step::Challenge(challenge) => panic!("{challenge:?}"),
            Step::Keys => panic!("it waits for keys"),
        }
    }

    /// `alice`, whose password is `alice-secret`.
    pub(super) fn users() -> Known {
        let mechanism = ScramMechanism::Sha512;
        let credential = ScramCredential::of_password(mechanism, b"alice-secret", b"salt", 4096);
        users_with("alice", mechanism, credential)
    }

    pub(super) fn users_with(
        name: &str,
        mechanism: ScramMechanism,
        credential: ScramCredential,
    ) -> Known {
        let mut image = MetadataImage::empty("cluster");
        let record = MetadataRecord::UserScramCredential {
            name: name.to_owned(),
            mechanism: mechanism as i8,
            salt: credential.salt,
            stored_key: credential.stored_key,
            server_key: credential.server_key,
            iterations: credential.iterations,
        };
        image.apply(&record).expect("applied");
        Known {
            image: Arc::new(image),
            disguise: Disguise::new([1; 16]),
            keys: Arc::default(),
            delegation: Arc::new(delegation::tests::tokens("")),
        }
    }
}
