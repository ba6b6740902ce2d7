//! Delegation tokens (KIP-48): what somebody who has one knows, and how they log in with it.
//!
//! A token is an id and a secret, the HMAC of the id. The id, and whose token it is, stand in the metadata. The secret is made
//! with a key of the operator's when it is needed, and stands nowhere.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use parking_lot::RwLock;

use crate::config::TokensConfig;
use crate::metadata::TokensImage;
use credentials::scram::{Disguise, MIN_ITERATIONS, ScramCredential, ScramMechanism};

/// Bytes of a token's secret: HMAC-SHA-512.
const SECRET_BYTES: usize = 64;

/// The secret of a token. Nothing shows it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TokenSecret([u8; SECRET_BYTES]);

impl TokenSecret {
    /// The secret itself, for whoever it is made for.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }

    /// What its bearer logs in with.
    fn password(&self) -> String {
        BASE64.encode(self.0)
    }
}

impl std::fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[hidden]")
    }
}

/// How tokens are made, and the secrets of all that there are.
pub struct DelegationTokens {
    /// `None`: there are no tokens.
    key: Option<hmac::Key>,
    /// For how long a token can be renewed.
    pub(crate) max_lifetime_ms: i64,
    /// For how long it holds before that.
    pub(crate) expiry_time_ms: i64,
    check_interval: Duration,
    known: RwLock<Secrets>,
}

#[derive(Default)]
struct Secrets {
    by_id: HashMap<Arc<str>, Arc<KnownToken>>,
    ids: HashMap<TokenSecret, Arc<str>>,
}

/// The secret of a token that is there, and what log-ins are checked with.
#[derive(Debug)]
pub struct KnownToken {
    secret: TokenSecret,
    /// Made by the first log-in with the token: it takes milliseconds.
    sha_256: OnceLock<ScramCredential>,
    sha_512: OnceLock<ScramCredential>,
}

impl DelegationTokens {
    pub(crate) fn new(config: TokensConfig) -> Self {
        let key = config.secret_key.as_ref();
        let key = key.map(|key| hmac::Key::new(hmac::HMAC_SHA512, key.expose().as_bytes()));
        Self {
            key,
            max_lifetime_ms: config.max_lifetime_ms,
            expiry_time_ms: config.expiry_time_ms,
            check_interval: Duration::from_millis(config.expiry_check_interval_ms),
            known: RwLock::default(),
        }
    }

    /// Whether there are tokens at all.
    pub(crate) fn is_on(&self) -> bool {
        self.key.is_some()
    }

    /// How often those that hold no longer are removed.
    pub(crate) fn check_interval(&self) -> Duration {
        self.check_interval
    }

    /// The secret of a token; `None`: there are no tokens.
    pub(crate) fn secret(&self, id: &str) -> Option<TokenSecret> {
        let tag = hmac::sign(self.key.as_ref()?, id.as_bytes());
        tag.as_ref().try_into().ok().map(TokenSecret)
    }

    /// The id of the token that has this secret, if there is one.
    pub(crate) fn id_of(&self, secret: &[u8]) -> Option<Arc<str>> {
        // Found by a hash of it that nobody can foresee, so the time tells nothing of other secrets.
        let secret = TokenSecret(secret.try_into().ok()?);
        self.known.read().ids.get(&secret).cloned()
    }

    /// A token that is there.
    pub(crate) fn known(&self, id: &str) -> Option<Arc<KnownToken>> {
        self.known.read().by_id.get(id).cloned()
    }

    /// Follows a change of the metadata.
    pub(crate) fn follow(&self, old: &TokensImage, new: &TokensImage) {
        if !self.is_on() {
            return;
        }
        let mut known = self.known.write();
        new.changes_since(old, |before, after| match (before, after) {
            (None, Some(token)) => {
                if let Some(secret) = self.secret(&token.id) {
                    known.ids.insert(secret.clone(), Arc::clone(&token.id));
                    let token_known = Arc::new(KnownToken::new(secret));
                    known.by_id.insert(Arc::clone(&token.id), token_known);
                }
            }
            (Some(token), None) => {
                if let Some(gone) = known.by_id.remove(&token.id) {
                    known.ids.remove(&gone.secret);
                }
            }
            // It has been renewed, and its secret is the same.
            (Some(_), Some(_)) | (None, None) => {}
        });
    }
}

impl KnownToken {
    fn new(secret: TokenSecret) -> Self {
        Self {
            secret,
            sha_256: OnceLock::new(),
            sha_512: OnceLock::new(),
        }
    }

    /// What a log-in with it is checked with. Takes milliseconds at the first time.
    pub(crate) fn credential(&self, mechanism: ScramMechanism, salt: &[u8]) -> ScramCredential {
        let cell = match mechanism {
            ScramMechanism::Sha256 => &self.sha_256,
            ScramMechanism::Sha512 => &self.sha_512,
        };
        let password = || self.secret.password();
        let made = cell.get_or_init(|| {
            ScramCredential::of_password(mechanism, password().as_bytes(), salt, MIN_ITERATIONS)
        });
        made.clone()
    }
}

/// The salt and iterations of a token's credential, whether there is such a token or not.
pub(crate) fn of_token(
    disguise: &Disguise,
    mechanism: ScramMechanism,
    id: &str,
) -> ScramCredential {
    disguise.credential(mechanism, &format!("token,{id}"), MIN_ITERATIONS)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::metadata::{MetadataImage, MetadataRecord};
    use credentials::secret::Secret;

    pub(crate) fn tokens(key: &str) -> DelegationTokens {
        DelegationTokens::new(TokensConfig {
            secret_key: Some(key).filter(|key| !key.is_empty()).map(Secret::new),
            max_lifetime_ms: 1000,
            expiry_time_ms: 100,
            expiry_check_interval_ms: 10,
        })
    }

    /// A token of `ann`'s, which ends at 1000.
    pub(crate) fn record(id: &str) -> MetadataRecord {
        MetadataRecord::DelegationToken {
            owner: "User:ann".to_owned(),
            requester: "User:ann".to_owned(),
            renewers: Vec::new(),
            issued_at_ms: 0,
            max_at_ms: 2000,
            expires_at_ms: 1000,
            token_id: id.to_owned(),
        }
    }

    #[test]
    fn a_secret_is_kafkas_and_is_known_for_as_long_as_its_token_is_there() {
        let tokens = tokens("key");
        // echo -n id | openssl dgst -sha512 -hmac key -binary | base64
        let secret = tokens.secret("id").expect("on");
        assert_eq!(
            secret.password(),
            "aSA7IkWyB8Yvd5QD6kFnqpTOWxStWVN2+Jx9S1KGvERNr7Vtzbym26dQs3UQ858IduHslsBkS5g2QsF591iFjA=="
        );
        let empty = MetadataImage::empty("cluster");
        let mut one = empty.clone();
        one.apply(&record("id")).expect("applied");
        tokens.follow(empty.tokens(), one.tokens());
        assert_eq!(tokens.id_of(secret.expose()).as_deref(), Some("id"));
        for wrong in [&secret.expose()[1..], &[0; 64], &[]] {
            assert_eq!(tokens.id_of(wrong), None);
        }
        assert!(tokens.known("id").is_some() && tokens.known("other").is_none());
        assert!(format!("{:?}", tokens.known("id")).contains("[hidden]"));
        tokens.follow(one.tokens(), empty.tokens());
        assert_eq!(tokens.id_of(secret.expose()), None);
        assert!(tokens.known("id").is_none());
    }

    /// What a start pays for tokens: `cargo test --release --workspace --lib -- --ignored --nocapture a_hundred_thousand_tokens`.
    #[ignore = "measures"]
    #[test]
    fn a_hundred_thousand_tokens_are_known_at_the_start() {
        let tokens = tokens("key");
        let empty = MetadataImage::empty("cluster");
        let mut all = empty.clone();
        let records: Vec<_> = (0..100_000)
            .map(|_| record(&storage::kafka_uuid(uuid::Uuid::new_v4())))
            .collect();
        let began = std::time::Instant::now();
        for record in &records {
            all.apply(record).expect("applied");
        }
        let applied = began.elapsed();
        tokens.follow(empty.tokens(), all.tokens());
        println!(
            "replayed in {applied:?}, and secrets made in {:?}",
            began.elapsed() - applied
        );
        assert_eq!(tokens.known.read().ids.len(), records.len());
    }

    #[test]
    fn without_a_key_there_are_no_tokens() {
        let tokens = tokens("");
        let empty = MetadataImage::empty("cluster");
        let mut one = empty.clone();
        one.apply(&record("id")).expect("applied");
        tokens.follow(empty.tokens(), one.tokens());
        assert!(!tokens.is_on() && tokens.known("id").is_none());
        assert_eq!(tokens.secret("id"), None);
    }
}
