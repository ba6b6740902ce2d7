//! PLAIN (RFC 4616): the client tells its password. As Kafka's `PlainSaslServer`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Failure, Identity, Known, Step, ToClient};
use credentials::scram::ScramMechanism;
use credentials::secret::Secret;

/// The mechanism's name.
pub(super) const NAME: &str = "PLAIN";

/// Where passwords are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlainUsers {
    /// `user_NAME="PASSWORD"` of the listener's login module.
    Listed(Arc<BTreeMap<String, Secret>>),
    /// The credentials of SCRAM: a password fits the credential that was made from it.
    Scram,
}

/// What the client has sent: nothing of it is checked yet.
struct Claim {
    authorization_id: String,
    user: String,
    password: Secret,
}

/// The one token of PLAIN.
pub(super) fn step(token: &[u8], users: &PlainUsers, scram: &Known) -> Step {
    let claim = match Claim::read(token) {
        Ok(claim) => claim,
        Err(failure) => return Step::Failed(failure),
    };
    match users {
        PlainUsers::Listed(listed) => {
            let nobody = Secret::default();
            let known = listed.get(&claim.user);
            // The same work for a user that is not there.
            let fits = known
                .unwrap_or(&nobody)
                .is(claim.password.expose().as_bytes());
            claim.outcome(fits && known.is_some())
        }
        PlainUsers::Scram => {
            let [strong, weak] = [ScramMechanism::Sha512, ScramMechanism::Sha256]
                .map(|mechanism| (mechanism, scram.find(mechanism, &claim.user)));
            let (mechanism, found) = match weak.1.is_there && !strong.1.is_there {
                true => weak,
                false => strong,
            };
            Step::Work(Box::new(move || {
                let password = claim.password.expose().as_bytes();
                let fits = found.credential.is_of(mechanism, password);
                claim.outcome(fits && found.is_there)
            }))
        }
    }
}

impl Claim {
    /// `[authzid] NUL authcid NUL passwd`. Text that is not UTF-8 is replaced, as Java does.
    fn read(token: &[u8]) -> Result<Self, Failure> {
        let text = String::from_utf8_lossy(token);
        let parts: Vec<&str> = text.splitn(4, '\0').collect();
        let [authorization_id, user, password] = parts[..] else {
            let count = parts.len();
            let message = format!("Invalid SASL/PLAIN response: expected 3 tokens, got {count}");
            return Err(refuse(None, message, "no user and password in the token"));
        };
        let refuse = |message: &str, why| Err(refuse(Some(user), message.to_owned(), why));
        if user.is_empty() {
            return refuse("Authentication failed: username not specified", "no user");
        }
        if password.is_empty() {
            let message = "Authentication failed: password not specified";
            return refuse(message, "no password");
        }
        Ok(Self {
            authorization_id: authorization_id.to_owned(),
            user: user.to_owned(),
            password: Secret::new(password),
        })
    }

    fn outcome(self, fits: bool) -> Step {
        let refuse =
            |message: &str, why| Step::Failed(refuse(Some(&self.user), message.to_owned(), why));
        if !fits {
            let message = "Authentication failed: Invalid username or password";
            return refuse(message, "wrong user or password");
        }
        if !self.authorization_id.is_empty() && self.authorization_id != self.user {
            return refuse(
                super::OTHER_AUTHORIZATION_ID,
                "wants to act for somebody else",
            );
        }
        Step::Done(Identity {
            name: self.user,
            answer: Vec::new(),
            expires_at_ms: None,
            by_token: false,
        })
    }
}

fn refuse(user: Option<&str>, message: String, why: &'static str) -> Failure {
    Failure {
        to_client: ToClient::Message(message),
        user: user.map(str::to_owned),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{done, failed, users};
    use super::*;

    fn listed() -> PlainUsers {
        let users = [("alice", "alice-secret"), ("empty", "")];
        let users = users.map(|(name, password)| (name.to_owned(), Secret::new(password)));
        PlainUsers::Listed(Arc::new(users.into()))
    }

    #[test]
    fn the_right_password_lets_in_and_nothing_else_does() {
        let invalid = "Authentication failed: Invalid username or password";
        let tokens = |count| format!("Invalid SASL/PLAIN response: expected 3 tokens, got {count}");
        for users_of in [listed(), PlainUsers::Scram] {
            let step = |token: &str| step(token.as_bytes(), &users_of, &users());
            for token in ["\0alice\0alice-secret", "alice\0alice\0alice-secret"] {
                assert_eq!(done(step(token)).name, "alice", "{token:?}");
            }
            for (token, expected) in [
                ("\0alice\0alice-secret ", invalid),
                ("\0alice\0Alice-secret", invalid),
                ("\0Alice\0alice-secret", invalid),
                ("\0nobody\0alice-secret", invalid),
                ("\0empty\0x", invalid),
                ("bob\0alice\0wrong", invalid),
                (
                    "bob\0alice\0alice-secret",
                    super::super::OTHER_AUTHORIZATION_ID,
                ),
                (
                    "\0\0alice-secret",
                    "Authentication failed: username not specified",
                ),
                ("\0alice\0", "Authentication failed: password not specified"),
                ("\0empty\0", "Authentication failed: password not specified"),
                ("", &tokens(1)),
                ("alice", &tokens(1)),
                ("\0alice", &tokens(2)),
                ("\0alice\0alice-secret\0", &tokens(4)),
                ("\0alice\0alice-secret\0\0\0\0", &tokens(4)),
            ] {
                let failure = failed(step(token));
                assert_eq!(
                    failure.to_client,
                    ToClient::Message(expected.to_owned()),
                    "{token:?}"
                );
                assert!(!format!("{failure:?}").contains("secret"), "{failure:?}");
            }
        }
    }
}
