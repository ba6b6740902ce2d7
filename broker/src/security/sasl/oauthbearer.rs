//! OAUTHBEARER (RFC 7628, KIP-255): the client shows a token. As Kafka's `OAuthBearerSaslServer`.

use std::sync::Arc;

use super::{Failure, Identity, Known, Step, ToClient};
use crate::security::tokens::{Rejected, TokenCheck};

/// The mechanism's name.
pub(super) const NAME: &str = "OAUTHBEARER";

/// What a client answers that has been told what is wrong.
const UNDERSTOOD: &[u8] = b"\x01";

/// One log-in.
pub struct OAuthBearer {
    check: Arc<TokenCheck>,
    state: State,
}

enum State {
    Begun,
    /// The token waits for keys.
    Waits(Claim),
    /// The client has been told this, and why is for the operator.
    Told(String, &'static str),
}

/// What the client has sent.
struct Claim {
    authorization_id: String,
    token: String,
}

impl OAuthBearer {
    pub(super) fn new(check: Arc<TokenCheck>) -> Self {
        Self {
            check,
            state: State::Begun,
        }
    }

    pub(super) fn step(&mut self, token: &[u8], known: &Known, now_ms: i64) -> Step {
        match std::mem::replace(&mut self.state, State::Begun) {
            State::Told(message, why) if token == UNDERSTOOD => {
                fail(ToClient::Message(message), why)
            }
            State::Begun => match Claim::read(token) {
                Some(claim) => self.check(claim, known, now_ms, true),
                None => fail(ToClient::InvalidCredentials, "no message of OAUTHBEARER"),
            },
            _ => fail(ToClient::InvalidCredentials, "a message too many"),
        }
    }

    /// Looks at the token again, when the keys have been read anew.
    pub(super) fn retry(&mut self, known: &Known, now_ms: i64) -> Step {
        match std::mem::replace(&mut self.state, State::Begun) {
            State::Waits(claim) => self.check(claim, known, now_ms, false),
            _ => fail(ToClient::InvalidCredentials, "no token"),
        }
    }

    fn check(&mut self, claim: Claim, known: &Known, now_ms: i64, may_wait: bool) -> Step {
        let (error, why) = match self.check.check(&claim.token, &known.keys, now_ms) {
            Ok(accepted) => {
                let Claim {
                    authorization_id: wanted,
                    ..
                } = claim;
                let name = accepted.name;
                if !wanted.is_empty() && wanted != name {
                    let message = format!(
                        "Authentication failed: Client requested an authorization id ({wanted}) that is different from the token's principal name ({name})"
                    );
                    return fail(ToClient::Message(message), "wants to act for somebody else");
                }
                return Step::Done(Identity {
                    name,
                    answer: Vec::new(),
                    expires_at_ms: Some(accepted.expires_at_ms),
                    by_token: false,
                });
            }
            Err(Rejected::UnknownKey) if may_wait => {
                self.state = State::Waits(claim);
                return Step::Keys;
            }
            Err(Rejected::UnknownKey) => (None, "the token's key is not known"),
            Err(Rejected::Invalid(why)) => (None, why),
            Err(Rejected::Scope(scope)) => (Some(scope), "the token's scope is too small"),
        };
        let message = match error {
            None => "{\"status\":\"invalid_token\"}".to_owned(),
            Some(scope) => {
                let scope = serde_json::Value::from(format!("[{scope}]"));
                format!("{{\"status\":\"insufficient_scope\", \"scope\":{scope}}}")
            }
        };
        self.state = State::Told(message.clone(), why);
        Step::Challenge(message.into_bytes())
    }
}

impl Claim {
    /// `n,[a=AUTHZID],^A` and `auth=Bearer TOKEN^A` among other pairs, then `^A`.
    fn read(token: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(token).ok()?;
        let (authorization_id, rest) = text.strip_prefix("n,")?.split_once(',')?;
        let authorization_id = match authorization_id {
            "" => "",
            named => named.strip_prefix("a=").filter(|name| !name.is_empty())?,
        };
        let pairs = rest.strip_prefix('\x01')?.strip_suffix('\x01')?;
        let mut bearer = None;
        for pair in pairs.strip_suffix('\x01')?.split('\x01') {
            let (key, value) = pair.split_once('=')?;
            let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphabetic());
            let is_shown = |byte: u8| matches!(byte, b'!'..=b'~' | b' ' | b'\t' | b'\r' | b'\n');
            if !is_key || value.is_empty() || !value.bytes().all(is_shown) {
                return None;
            }
            if key == "auth" {
                bearer = Some(value);
            }
        }
        let (scheme, token) = bearer?.split_once(' ')?;
        let token = token.trim_start_matches(' ');
        let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~+/.".contains(&byte);
        let name = token.trim_end_matches('=');
        let is_token = !name.is_empty() && name.bytes().all(is_of_token);
        (scheme.eq_ignore_ascii_case("bearer") && is_token).then(|| Self {
            authorization_id: authorization_id.to_owned(),
            token: token.to_owned(),
        })
    }
}

fn fail(to_client: ToClient, why: &'static str) -> Step {
    Step::Failed(Failure {
        to_client,
        user: None,
        why,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{done, failed, users};
    use super::*;
    use crate::security::tokens::tests::{Issuer, NOW_MS, keys, signed};

    fn message(token: &str) -> Vec<u8> {
        format!("n,,\x01auth=Bearer {token}\x01\x01").into_bytes()
    }

    #[test]
    fn a_message_has_one_token() {
        let read = |text: &str| {
            let claim = Claim::read(text.as_bytes())?;
            Some((claim.authorization_id, claim.token))
        };
        let claim = |id: &str, token: &str| Some((id.to_owned(), token.to_owned()));
        for (text, expected) in [
            ("n,,\x01auth=Bearer a.b.c==\x01\x01", claim("", "a.b.c==")),
            ("n,a=ann,\x01auth=bearer  x\x01\x01", claim("ann", "x")),
            (
                "n,,\x01host=h\x01auth=Bearer x\x01traceId=1 2\x01\x01",
                claim("", "x"),
            ),
            ("n,,\x01auth=Basic x\x01\x01", None),
            ("n,,\x01auth=Bearer\x01\x01", None),
            ("n,,\x01auth=Bearer x y\x01\x01", None),
            ("n,,\x01auth=Bearer x\x01", None),
            ("n,,\x01\x01", None),
            ("n,,\x01host=h\x01\x01", None),
            ("n,,auth=Bearer x\x01\x01", None),
            ("y,,\x01auth=Bearer x\x01\x01", None),
            ("n,a=,\x01auth=Bearer x\x01\x01", None),
            ("n,,\x011=2\x01auth=Bearer x\x01\x01", None),
            ("", None),
        ] {
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_good_token_lets_in_for_as_long_as_it_holds_and_a_bad_one_is_told_first() {
        let issuer = Issuer::new();
        let known = Known {
            keys: Arc::new(keys(&[issuer.jwk("one")])),
            ..users()
        };
        let begin = || OAuthBearer::new(Arc::new(TokenCheck::Signed(signed())));
        let claims = json!({ "sub": "ann", "exp": NOW_MS / 1000 + 9, "iat": NOW_MS / 1000 });
        let good = issuer.token("one", &claims);
        let identity = done(begin().step(&message(&good), &known, NOW_MS));
        assert_eq!(identity.name, "ann");
        assert_eq!(identity.expires_at_ms, Some(NOW_MS + 9_000));

        let told = "{\"status\":\"invalid_token\"}";
        let mut late = begin();
        let step = late.step(&message(&good), &known, NOW_MS + 60_000);
        assert!(matches!(step, Step::Challenge(answer) if answer == told.as_bytes()));
        let failure = failed(late.step(b"\x01", &known, NOW_MS));
        assert_eq!(failure.to_client, ToClient::Message(told.to_owned()));
        let mut another = begin();
        another.step(&message("x.y.z"), &known, NOW_MS);
        let failure = failed(another.step(&message(&good), &known, NOW_MS));
        assert_eq!(failure.to_client, ToClient::InvalidCredentials);

        let for_bob = format!("n,a=bob,\x01auth=Bearer {good}\x01\x01");
        let failure = failed(begin().step(for_bob.as_bytes(), &known, NOW_MS));
        assert!(matches!(failure.to_client, ToClient::Message(text) if text.contains("(bob)")));
    }

    #[test]
    fn a_token_of_an_unknown_key_waits_once_for_newer_keys() {
        let issuer = Issuer::new();
        let claims = json!({ "sub": "ann", "exp": NOW_MS / 1000 + 9, "iat": NOW_MS / 1000 });
        let token = message(&issuer.token("new", &claims));
        let old = users();
        let new = Known {
            keys: Arc::new(keys(&[issuer.jwk("new")])),
            ..users()
        };
        let begin = || OAuthBearer::new(Arc::new(TokenCheck::Signed(signed())));
        let mut waits = begin();
        assert!(matches!(waits.step(&token, &old, NOW_MS), Step::Keys));
        assert_eq!(done(waits.retry(&new, NOW_MS)).name, "ann");
        let mut fails = begin();
        assert!(matches!(fails.step(&token, &old, NOW_MS), Step::Keys));
        assert!(matches!(fails.retry(&old, NOW_MS), Step::Challenge(_)));
        failed(fails.step(b"\x01", &new, NOW_MS));
    }
}
