//! Tokens of OAUTHBEARER (KIP-255, KIP-768): who is named in one, and for how long it holds.
//!
//! Signed ones are checked as by Kafka's `BrokerJwtValidator`: with the key that the token names, by an algorithm of that key
//! and no other. Here is no clock and no I/O; [`jwks`](super::jwks) gets the keys.

use std::collections::BTreeSet;
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation};
use serde_json::{Map, Value};

use super::jwks::KeySource;

/// Most keys that are tried for a token that names none.
const TRIED_KEYS: usize = 16;

/// How a listener checks tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenCheck {
    Signed(SignedTokens),
    /// Whoever wants to may write such a token: for tests.
    Unsecured(UnsecuredTokens),
}

/// `sasl.oauthbearer.*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTokens {
    pub keys: KeySource,
    /// How often the keys are read again.
    pub refresh: Duration,
    /// One of them must be the token's. None: the token must have none.
    pub audience: Vec<String>,
    pub issuer: Option<String>,
    pub skew_ms: i64,
    pub subject_claim: String,
    pub scope_claim: String,
}

/// Options of the login module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsecuredTokens {
    pub subject_claim: String,
    pub scope_claim: String,
    pub required_scope: Vec<String>,
    pub skew_ms: i64,
}

/// Whom a token names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub name: String,
    pub expires_at_ms: i64,
}

/// Why a token names nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// It is signed with a key that is not known, or not any more.
    UnknownKey,
    Invalid(&'static str),
    /// It lacks one of these.
    Scope(String),
}

use Rejected::Invalid;

type Claims = Map<String, Value>;

/// The keys that tokens may be signed with.
#[derive(Default)]
pub struct KeySet(Vec<Key>);

struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl KeySet {
    /// Reads a JWK set (RFC 7517). Keys that cannot check a signature are passed over, as are secret ones.
    ///
    /// # Errors
    /// It is none, or has no key to use.
    pub fn read(text: &[u8]) -> Result<Self, &'static str> {
        let set: Value = serde_json::from_slice(text).map_err(|_| "is not JSON")?;
        let keys = set.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or("is not a JWK set: it has no keys")?;
        let keys: Vec<Key> = keys.iter().filter_map(Key::read).collect();
        match keys.is_empty() {
            true => Err("has no key that could check a signature"),
            false => Ok(Self(keys)),
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Key {
    fn read(value: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        if !matches!(
            jwk.common.public_key_use,
            None | Some(PublicKeyUse::Signature)
        ) {
            return None;
        }
        let of_key: Vec<Algorithm> = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa.algorithms().to_vec(),
            AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
                EllipticCurve::P256 => vec![Algorithm::ES256],
                EllipticCurve::P384 => vec![Algorithm::ES384],
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(_) => vec![Algorithm::EdDSA],
            // A secret that a token could be signed with by whoever reads it.
            _ => return None,
        };
        let algorithms = match jwk.common.key_algorithm {
            None => of_key,
            Some(named) => of_key
                .into_iter()
                .filter(|one| is_same(*one, named))
                .collect(),
        };
        (!algorithms.is_empty()).then_some(())?;
        Some(Self {
            id: jwk.common.key_id.clone(),
            algorithms,
            key: DecodingKey::from_jwk(&jwk).ok()?,
        })
    }
}

fn is_same(algorithm: Algorithm, named: KeyAlgorithm) -> bool {
    format!("{algorithm:?}") == format!("{named:?}")
}

impl TokenCheck {
    /// Finds out whom a token names, at `now_ms` since 1970.
    ///
    /// # Errors
    /// See [`Rejected`].
    pub fn check(&self, token: &str, keys: &KeySet, now_ms: i64) -> Result<Accepted, Rejected> {
        match self {
            Self::Signed(signed) => signed.check(token, keys, now_ms),
            Self::Unsecured(unsecured) => unsecured.check(token, now_ms),
        }
    }
}

impl SignedTokens {
    fn check(&self, token: &str, keys: &KeySet, now_ms: i64) -> Result<Accepted, Rejected> {
        let claims = verified(token, keys)?;
        let (expires_at_ms, _) = times(&claims, self.skew_ms, now_ms, true)?;
        if let Some(issuer) = &self.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err(Invalid("the token is of another issuer"));
        }
        let audience = texts(claims.get("aud"));
        let audience = audience.ok_or(Invalid("the token's audience is no text"))?;
        let is_meant = match self.audience.is_empty() {
            true => audience.is_empty(),
            false => audience.iter().any(|one| self.audience.contains(one)),
        };
        if !is_meant {
            return Err(Invalid("the token is for another audience"));
        }
        scopes(&claims, &self.scope_claim)?;
        Ok(Accepted {
            name: subject(&claims, &self.subject_claim)?,
            expires_at_ms,
        })
    }
}

/// The claims of a token whose signature is that of a known key.
fn verified(token: &str, keys: &KeySet) -> Result<Claims, Rejected> {
    let header = jsonwebtoken::decode_header(token);
    let header = header.map_err(|_| Invalid("no token with a signature"))?;
    let fits = |key: &&Key| match (&header.kid, &key.id) {
        (Some(wanted), known) => known.as_ref() == Some(wanted),
        (None, _) => key.algorithms.contains(&header.alg),
    };
    let candidates: Vec<&Key> = keys.0.iter().filter(fits).take(TRIED_KEYS).collect();
    if candidates.is_empty() {
        return Err(Rejected::UnknownKey);
    }
    let verified = candidates.into_iter().find_map(|key| {
        let mut rules = Validation::new(header.alg);
        rules.algorithms.clone_from(&key.algorithms);
        // What they say is looked at here, with a clock that can be told.
        rules.required_spec_claims.clear();
        (rules.validate_exp, rules.validate_aud) = (false, false);
        jsonwebtoken::decode::<Claims>(token, &key.key, &rules).ok()
    });
    let verified = verified.ok_or(Invalid("the token's signature is wrong"))?;
    Ok(verified.claims)
}

impl UnsecuredTokens {
    fn check(&self, token: &str, now_ms: i64) -> Result<Accepted, Rejected> {
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, ""] = parts[..] else {
            return Err(Invalid("no token without a signature"));
        };
        let (header, claims) = (decoded(header)?, decoded(claims)?);
        if header.get("alg").and_then(Value::as_str) != Some("none") {
            return Err(Invalid("no token without a signature"));
        }
        let (expires_at_ms, issued_at_ms) = times(&claims, self.skew_ms, now_ms, false)?;
        if issued_at_ms.is_some_and(|at_ms| at_ms > now_ms.saturating_add(self.skew_ms)) {
            return Err(Invalid("the token is of the future"));
        }
        if issued_at_ms.is_some_and(|at_ms| expires_at_ms <= at_ms) {
            return Err(Invalid("the token has run out before it was issued"));
        }
        let scopes = scopes(&claims, &self.scope_claim)?;
        let split: BTreeSet<&str> = scopes.iter().flat_map(|scope| scope.split(' ')).collect();
        if !self
            .required_scope
            .iter()
            .all(|scope| split.contains(scope.as_str()))
        {
            return Err(Rejected::Scope(self.required_scope.join(", ")));
        }
        Ok(Accepted {
            name: subject(&claims, &self.subject_claim)?,
            expires_at_ms,
        })
    }
}

fn decoded(part: &str) -> Result<Claims, Rejected> {
    use base64::Engine as _;
    let bytes = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(part.trim_end_matches('='));
    let read = bytes
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    read.ok_or(Invalid("no token at all"))
}

/// When a token runs out, and when it was issued.
fn times(
    claims: &Claims,
    skew_ms: i64,
    now_ms: i64,
    needs_issued_at: bool,
) -> Result<(i64, Option<i64>), Rejected> {
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            Some(seconds) if seconds >= 0.0 => Ok(Some((seconds * 1000.0) as i64)),
            _ => Err(Invalid("a time of the token is no number")),
        },
    };
    let expires_at_ms = time("exp")?.ok_or(Invalid("the token does not say when it runs out"))?;
    if now_ms.saturating_sub(skew_ms) >= expires_at_ms {
        return Err(Invalid("the token has run out"));
    }
    if time("nbf")?.is_some_and(|at_ms| at_ms > now_ms.saturating_add(skew_ms)) {
        return Err(Invalid("the token does not hold yet"));
    }
    let issued_at_ms = time("iat")?;
    if needs_issued_at && issued_at_ms.is_none() {
        return Err(Invalid("the token does not say when it was issued"));
    }
    Ok((expires_at_ms, issued_at_ms))
}

fn subject(claims: &Claims, name: &str) -> Result<String, Rejected> {
    let subject = claims.get(name).and_then(Value::as_str).map(str::trim);
    let subject = subject.filter(|subject| !subject.is_empty());
    subject
        .map(str::to_owned)
        .ok_or(Invalid("the token names nobody"))
}

/// Not empty, and each once.
fn scopes(claims: &Claims, name: &str) -> Result<Vec<String>, Rejected> {
    let scopes = texts(claims.get(name)).unwrap_or_default();
    let distinct: BTreeSet<&str> = scopes.iter().map(|scope| scope.trim()).collect();
    match distinct.contains("") || distinct.len() < scopes.len() {
        true => Err(Invalid("the token's scope is empty, or said twice")),
        false => Ok(scopes),
    }
}

/// One text or several. `None`: something else.
fn texts(value: Option<&Value>) -> Option<Vec<String>> {
    match value {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::String(text)) => Some(vec![text.clone()]),
        Some(Value::Array(values)) => {
            let texts = values.iter().map(|value| value.as_str().map(str::to_owned));
            texts.collect()
        }
        Some(_) => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
    use jsonwebtoken::{EncodingKey, Header};
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
    use serde_json::json;

    use super::*;

    pub(crate) const NOW_MS: i64 = 1_700_000_000_000;
    const NOW: i64 = NOW_MS / 1000;

    /// Somebody who signs tokens.
    pub(crate) struct Issuer(KeyPair);

    impl Issuer {
        pub(crate) fn new() -> Self {
            Self(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key"))
        }

        pub(crate) fn jwk(&self, id: &str) -> Value {
            let point = self.0.public_key_raw();
            let (x, y) = point[1..].split_at(32);
            json!({
                "kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "alg": "ES256",
                "x": BASE64.encode(x), "y": BASE64.encode(y),
            })
        }

        pub(crate) fn token(&self, id: &str, claims: &Value) -> String {
            let mut header = Header::new(Algorithm::ES256);
            header.kid = Some(id.to_owned());
            let key = EncodingKey::from_ec_der(&self.0.serialize_der());
            jsonwebtoken::encode(&header, claims, &key).expect("signed")
        }
    }

    pub(crate) fn signed() -> SignedTokens {
        SignedTokens {
            keys: KeySource::File("keys".into()),
            refresh: Duration::from_secs(3600),
            audience: Vec::new(),
            issuer: None,
            skew_ms: 30_000,
            subject_claim: "sub".to_owned(),
            scope_claim: "scope".to_owned(),
        }
    }

    pub(crate) fn keys(keys: &[Value]) -> KeySet {
        KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).expect("keys")
    }

    fn good() -> Value {
        json!({ "sub": "ann", "exp": NOW + 60, "iat": NOW })
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = good();
        claims[name] = value;
        claims
    }

    fn without(name: &str) -> Value {
        let mut claims = good();
        claims.as_object_mut().expect("claims").remove(name);
        claims
    }

    #[test]
    fn a_token_of_a_known_key_names_its_subject_until_it_runs_out() {
        let issuer = Issuer::new();
        let keys = keys(&[Issuer::new().jwk("other"), issuer.jwk("one")]);
        let check = |claims: &Value| signed().check(&issuer.token("one", claims), &keys, NOW_MS);
        let ann = Accepted {
            name: "ann".to_owned(),
            expires_at_ms: NOW_MS + 60_000,
        };
        for good in [
            good(),
            with("sub", json!(" ann ")),
            with("scope", json!("a b")),
            with("scope", json!(["a", "b"])),
            with("nbf", json!(NOW + 29)),
        ] {
            assert_eq!(check(&good).as_ref(), Ok(&ann), "{good}");
        }
        assert!(
            check(&with("exp", json!(NOW - 29))).is_ok(),
            "within the skew"
        );
        for bad in [
            with("exp", json!(NOW - 30)),
            with("exp", json!("soon")),
            with("exp", json!(-1)),
            without("exp"),
            without("iat"),
            with("iat", json!("x")),
            with("nbf", json!(NOW + 31)),
            without("sub"),
            with("sub", json!(7)),
            with("sub", json!("  ")),
            with("aud", json!("us")),
            with("scope", json!(["a", "a"])),
            with("scope", json!(" ")),
        ] {
            assert!(matches!(check(&bad), Err(Invalid(_))), "{bad}");
        }
        let named = SignedTokens {
            issuer: Some("me".to_owned()),
            audience: vec!["us".to_owned(), "them".to_owned()],
            subject_claim: "email".to_owned(),
            ..signed()
        };
        let claims = |audience: Value, issuer: &str| json!({ "email": "a@b", "exp": NOW + 1, "iat": NOW, "aud": audience, "iss": issuer });
        for (claims, is_good) in [
            (claims(json!("us"), "me"), true),
            (claims(json!(["x", "them"]), "me"), true),
            (claims(json!("x"), "me"), false),
            (claims(json!(["us", 7]), "me"), false),
            (claims(Value::Null, "me"), false),
            (claims(json!("us"), "you"), false),
        ] {
            let checked = named.check(&issuer.token("one", &claims), &keys, NOW_MS);
            assert_eq!(checked.is_ok(), is_good, "{claims}: {checked:?}");
        }
    }

    #[test]
    fn no_other_key_and_no_other_algorithm_is_accepted() {
        let (issuer, stranger) = (Issuer::new(), Issuer::new());
        let jwk = issuer.jwk("one");
        let keys = keys(std::slice::from_ref(&jwk));
        let check = |token: &str| signed().check(token, &keys, NOW_MS);
        assert!(check(&issuer.token("one", &good())).is_ok());
        assert_eq!(
            check(&issuer.token("two", &good())),
            Err(Rejected::UnknownKey)
        );
        assert!(matches!(
            check(&stranger.token("one", &good())),
            Err(Invalid(_))
        ));
        // Signed with the public key as if it were a secret, and not signed at all.
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("one".to_owned());
        let secret =
            EncodingKey::from_secret(jwk["x"].as_str().expect("x").as_bytes()).expect("key");
        let forged = jsonwebtoken::encode(&header, &good(), &secret).expect("signed");
        assert!(matches!(check(&forged), Err(Invalid(_))));
        let part = |value: &Value| BASE64.encode(value.to_string());
        let none = format!(
            "{}.{}.",
            part(&json!({ "alg": "none", "kid": "one" })),
            part(&good())
        );
        for token in [none.as_str(), "", ".", "..", "a.b.c", "....", "e30.e30."] {
            assert!(matches!(check(token), Err(Invalid(_))), "{token}");
        }
        let whole = issuer.token("one", &good());
        for at in 0..whole.len() {
            let mut bytes = whole.clone().into_bytes();
            bytes[at] ^= 1;
            let wrong = String::from_utf8_lossy(&bytes).into_owned();
            let last_bits = at + 1 == whole.len();
            assert!(last_bits || check(&wrong).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_set_of_keys_is_what_can_check_signatures() {
        let jwk = Issuer::new().jwk("one");
        let mut for_encryption = jwk.clone();
        for_encryption["use"] = json!("enc");
        let secret = json!({ "kty": "oct", "kid": "s", "k": "AAAA" });
        let odd = json!({ "kty": "odd" });
        assert_eq!(
            keys(&[secret.clone(), odd.clone(), jwk, for_encryption.clone()]).len(),
            1
        );
        for text in [
            String::new(),
            "[]".to_owned(),
            json!({ "keys": [secret, odd, for_encryption] }).to_string(),
        ] {
            assert!(KeySet::read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn unsigned_tokens_are_read_where_that_is_asked_for() {
        let check = UnsecuredTokens {
            subject_claim: "sub".to_owned(),
            scope_claim: "scope".to_owned(),
            required_scope: vec!["read".to_owned()],
            skew_ms: 0,
        };
        let token = |header: Value, claims: &Value, signature: &str| {
            let part = |value: &Value| BASE64.encode(value.to_string());
            format!("{}.{}.{signature}", part(&header), part(claims))
        };
        let none = || json!({ "alg": "none" });
        let claims = with("scope", json!("write read"));
        let checked = |token: &str| check.check(token, NOW_MS);
        assert_eq!(
            checked(&token(none(), &claims, "")).map(|it| it.name),
            Ok("ann".to_owned())
        );
        assert_eq!(
            checked(&token(none(), &good(), "")),
            Err(Rejected::Scope("read".to_owned()))
        );
        for bad in [
            token(none(), &claims, "AAAA"),
            token(json!({ "alg": "ES256" }), &claims, ""),
            token(none(), &with("exp", json!(NOW)), ""),
            token(none(), &with("iat", json!(NOW + 1)), ""),
            "".to_owned(),
        ] {
            assert!(matches!(checked(&bad), Err(Invalid(_))), "{bad}");
        }
    }
}
