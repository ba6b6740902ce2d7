//! SASL as a client: PLAIN, and SCRAM (RFC 5802) which makes the broker prove that it knows the password, too.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use credentials::scram::{ScramMechanism, random_text};
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};

use crate::client_config::{Login, Mechanism};
use crate::connection::{Connection, text};
use crate::failure::{Result, check, failed};

/// More rounds than this are no password's protection but a broker's joke: they would take minutes.
const MAX_ITERATIONS: u32 = 1_000_000;

/// Logs in.
///
/// # Errors
/// The broker has another mechanism, refuses the user, or does not know the password itself.
pub(crate) async fn log_in(connection: &mut Connection, login: &Login) -> Result<()> {
    let name = login.mechanism.name();
    let request = SaslHandshakeRequest::default().with_mechanism(text(name));
    let answer = connection.call(request).await?;
    if answer.error_code != 0 {
        let offered: Vec<&str> = answer.mechanisms.iter().map(|one| one.as_str()).collect();
        let what = format!(
            "log in with {name}; the broker offers {}",
            offered.join(", ")
        );
        return check(&what, answer.error_code, None);
    }
    match login.mechanism {
        Mechanism::Plain => {
            let token = format!("\0{}\0{}", login.user, login.password.expose());
            token_answer(connection, token).await.map(|_| ())
        }
        Mechanism::Scram(mechanism) => {
            let first = ClientFirst::new(&login.user, &random_text());
            let challenge = token_answer(connection, first.message()).await?;
            let (last, signature) = first.prove(mechanism, login.password.expose(), &challenge)?;
            let verdict = token_answer(connection, last).await?;
            match verdict.strip_prefix("v=") {
                Some(given) if given == signature => Ok(()),
                _ => Err(failed(
                    "the broker does not know the password itself: it is another one than it claims to be",
                )),
            }
        }
    }
}

async fn token_answer(connection: &mut Connection, token: String) -> Result<String> {
    let request = SaslAuthenticateRequest::default().with_auth_bytes(token.into_bytes().into());
    let answer = connection.call(request).await?;
    check("log in", answer.error_code, answer.error_message.as_ref())?;
    String::from_utf8(answer.auth_bytes.to_vec()).map_err(|_| not_scram())
}

fn not_scram() -> crate::failure::Failure {
    failed("log in: the broker's answer is not SCRAM's")
}

struct ClientFirst {
    bare: String,
    nonce: String,
}

impl ClientFirst {
    fn new(user: &str, nonce: &str) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self {
            bare: format!("n={user},r={nonce}"),
            nonce: nonce.to_owned(),
        }
    }

    fn message(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// The last message, and the signature that the broker has to give for it.
    fn prove(
        &self,
        mechanism: ScramMechanism,
        password: &str,
        challenge: &str,
    ) -> Result<(String, String)> {
        let mut parts = challenge.split(',');
        let mut part = |name| parts.next().and_then(|part| part.strip_prefix(name));
        let (nonce, salt, rounds) = (part("r="), part("s="), part("i="));
        let (Some(nonce), Some(salt), Some(rounds)) = (nonce, salt, rounds) else {
            return Err(not_scram());
        };
        let salt = BASE64.decode(salt).map_err(|_| not_scram())?;
        let rounds: NonZeroU32 = rounds.parse().map_err(|_| not_scram())?;
        if !nonce.starts_with(&self.nonce) || rounds.get() > MAX_ITERATIONS {
            return Err(not_scram());
        }
        let without_proof = format!("c=biws,r={nonce}");
        let about = format!("{},{challenge},{without_proof}", self.bare);
        let salted = mechanism.salted_password(password.as_bytes(), &salt, rounds);
        let client_key = mechanism.hmac(&salted, b"Client Key");
        let signature = mechanism.hmac(&mechanism.hash(&client_key), about.as_bytes());
        let proof: Vec<u8> = client_key
            .iter()
            .zip(signature)
            .map(|(key, signature)| key ^ signature)
            .collect();
        let server_key = mechanism.hmac(&salted, b"Server Key");
        let expected = mechanism.hmac(&server_key, about.as_bytes());
        Ok((
            format!("{without_proof},p={}", BASE64.encode(proof)),
            BASE64.encode(expected),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, section 3.
    #[test]
    fn the_proof_is_that_of_the_rfc() {
        let first = ClientFirst::new("user", "rOprNGfwEbeRWgbNEkqO");
        assert_eq!(first.message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let proven = first.prove(ScramMechanism::Sha256, "pencil", challenge);
        let (last, signature) = proven.expect("proven");
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(signature, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn a_challenge_that_is_none_is_refused() {
        let first = ClientFirst::new("a=b,c", "abc");
        assert_eq!(first.message(), "n,,n=a=3Db=2Cc,r=abc");
        for challenge in [
            "",
            "r=abc",
            "r=xyz,s=AA==,i=4096",
            "r=abcd,s=AA==,i=0",
            "r=abcd,s=AA==,i=-1",
            "r=abcd,s=AA==,i=4000000000",
            "r=abcd,s=A,i=4096",
        ] {
            let proven = first.prove(ScramMechanism::Sha512, "x", challenge);
            assert!(proven.is_err(), "{challenge}");
        }
    }
}
