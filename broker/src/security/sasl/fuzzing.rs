//! What reads the bytes of clients that have not logged in, and texts about log-ins, as entry points for fuzzers. No part of the API.
//!
//! Each takes any bytes and must return: without a panic, and without memory that the bytes merely claim.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use credentials::jaas::{JaasFile, LoginModule};
use credentials::scram::{Disguise, ScramCredential, ScramMechanism};
use credentials::secret::Secret;
use kafka_protocol::messages::ApiVersionsRequest;
use protocol_shim::decode;

use super::Known;
use super::conversation::{Conversation, LoggedIn, Turn};
use super::mechanisms::{Mechanism, Mechanisms, Offered};
use super::plain::PlainUsers;
use crate::api;
use crate::config::TokensConfig;
use crate::metadata::{MetadataImage, MetadataRecord};
use crate::security::delegation::DelegationTokens;
use crate::security::jwks::KeySource;
use crate::security::tokens::{KeySet, SignedTokens, TokenCheck, UnsecuredTokens};

/// When all of it happens, in milliseconds since 1970.
const NOW_MS: i64 = 1_700_000_000_000;
/// As `sasl.server.max.receive.size`.
const MAX_FRAME_BYTES: usize = 1 << 19;
/// A nonce that the broker has made is this long.
const NONCE_BYTES: usize = 26;
const PASSWORD: &str = "alice-secret";

/// A conversation. The first byte says of what kind, and before each frame stand two bytes with its length. `NONCE_BYTES` stars
/// stand for the nonce that the broker has sent last. True: somebody is known at its end.
pub fn log_in(bytes: &[u8]) -> bool {
    static KNOWN: LazyLock<Option<Known>> = LazyLock::new(known);
    let (Some((kind, mut rest)), Some(known)) = (bytes.split_first(), &*KNOWN) else {
        return false;
    };
    let is_lenient = kind & 1 != 0;
    let mechanisms = Arc::new(mechanisms(is_lenient));
    let mut conversation = match kind & 2 {
        0 => Conversation::new(mechanisms),
        _ => Conversation::again(mechanisms, alice()),
    };
    let mut nonce = None;
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(behind.len());
        let (frame, behind) = behind.split_at(length.min(MAX_FRAME_BYTES));
        rest = behind;
        let mut turn = conversation.take(with_nonce(frame, nonce), known, NOW_MS);
        loop {
            turn = match turn {
                Turn::Work(work) => conversation.go_on(work(), NOW_MS),
                Turn::Keys => conversation.retry(known, NOW_MS),
                Turn::Versions(header, body) => {
                    let is_known = api::served(header.api_key, header.api_version).is_ok();
                    let asked = is_known.then(|| {
                        let (key, version) = (header.api_key, header.api_version);
                        decode::decode_request::<ApiVersionsRequest>(key, version, body)
                    });
                    conversation.told_versions(asked.is_some_and(|asked| asked.is_ok()));
                    break;
                }
                Turn::Answer(answer) => {
                    nonce = nonce_in(&answer.to_vec()).or(nonce);
                    break;
                }
                Turn::Done(who, _) => {
                    assert!(
                        is_lenient || who.name == "alice",
                        "{who:?} has proved nothing"
                    );
                    return true;
                }
                Turn::Refused(_) => return false,
            };
        }
    }
    false
}

fn alice() -> LoggedIn {
    LoggedIn {
        name: "alice".to_owned(),
        mechanism: "PLAIN",
        lifetime: Some(Duration::from_secs(60)),
        by_token: false,
    }
}

/// One user, whom SCRAM knows. `None`: metadata that does not fit.
fn known() -> Option<Known> {
    let mut image = MetadataImage::empty("fuzzing");
    for mechanism in ScramMechanism::ALL {
        let credential =
            ScramCredential::of_password(mechanism, PASSWORD.as_bytes(), b"salt", 4096);
        let record = MetadataRecord::UserScramCredential {
            name: "alice".to_owned(),
            mechanism: mechanism as i8,
            salt: credential.salt,
            stored_key: credential.stored_key,
            server_key: credential.server_key,
            iterations: credential.iterations,
        };
        image.apply(&record).ok()?;
    }
    Some(Known {
        image: Arc::new(image),
        disguise: Disguise::new([1; 16]),
        keys: Arc::default(),
        delegation: Arc::new(DelegationTokens::new(TokensConfig {
            secret_key: Some(Secret::new("key")),
            max_lifetime_ms: 1000,
            expiry_time_ms: 100,
            expiry_check_interval_ms: 10,
        })),
    })
}

/// Every mechanism; the lenient ones take tokens that anybody may have written.
fn mechanisms(is_lenient: bool) -> Mechanisms {
    let tokens = match is_lenient {
        true => TokenCheck::Unsecured(UnsecuredTokens {
            subject_claim: "sub".to_owned(),
            scope_claim: "scope".to_owned(),
            required_scope: vec!["read".to_owned()],
            skew_ms: 0,
        }),
        false => TokenCheck::Signed(SignedTokens {
            keys: KeySource::File("/nowhere".into()),
            refresh: Duration::from_secs(3600),
            audience: vec!["ottla".to_owned()],
            issuer: None,
            skew_ms: 0,
            subject_claim: "sub".to_owned(),
            scope_claim: "scope".to_owned(),
        }),
    };
    let users = [("alice".to_owned(), Secret::new(PASSWORD))];
    let plain = match is_lenient {
        true => PlainUsers::Scram,
        false => PlainUsers::Listed(Arc::new(users.into())),
    };
    let mechanisms = [
        Mechanism::Plain(plain),
        Mechanism::Scram(ScramMechanism::Sha256),
        Mechanism::Scram(ScramMechanism::Sha512),
        Mechanism::OAuthBearer(Arc::new(tokens)),
    ];
    let offered = mechanisms.into_iter().map(|mechanism| Offered {
        mechanism,
        max_reauth: Some(Duration::from_secs(60)),
    });
    Mechanisms {
        offered: offered.collect(),
        max_receive_bytes: MAX_FRAME_BYTES,
    }
}

fn nonce_in(answer: &[u8]) -> Option<[u8; NONCE_BYTES]> {
    let end = answer.windows(3).position(|part| part == b",s=")?;
    let begin = end.checked_sub(NONCE_BYTES)?;
    answer[begin..end].try_into().ok()
}

fn with_nonce(frame: &[u8], nonce: Option<[u8; NONCE_BYTES]>) -> Bytes {
    let mut frame = frame.to_vec();
    let stars = frame
        .windows(NONCE_BYTES)
        .position(|part| part == [b'*'; NONCE_BYTES]);
    if let (Some(at), Some(nonce)) = (stars, nonce) {
        frame[at..at + NONCE_BYTES].copy_from_slice(&nonce);
    }
    frame.into()
}

/// `sasl.jaas.config`, and JAAS files.
pub fn jaas(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = JaasFile::parse(&text);
    if let Ok(module) = LoginModule::parse(&text) {
        let again = LoginModule::parse(&module.to_text());
        let again = again.map(|again| (again.class, again.options));
        assert_eq!(again.ok(), Some((module.class, module.options)));
    }
}

/// A set of keys, and behind a NUL a token that is checked with them.
pub fn token(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let keys = parts.next().map(KeySet::read).and_then(Result::ok);
    let token = String::from_utf8_lossy(parts.next().unwrap_or_default());
    for mechanism in [false, true]
        .map(mechanisms)
        .iter()
        .flat_map(|all| &all.offered)
    {
        if let Mechanism::OAuthBearer(check) = &mechanism.mechanism {
            let _ = check.check(&token, keys.as_ref().unwrap_or(&KeySet::default()), NOW_MS);
        }
    }
}
