//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, 7677): both sides prove that they know the password, and nobody tells it.
//!
//! Kafka fails a user that is not there one message early. Here such a user has a credential, too, which nothing fits: names of
//! users cannot be found out.

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::scram_messages::{ClientFinal, ClientFirst, server_final, server_first};
use super::{Failure, FoundUser, Identity, Known, Step, ToClient};
use crate::security::scram::{ScramMechanism, random_text};

/// One log-in.
pub struct Scram {
    mechanism: ScramMechanism,
    begun: Option<Begun>,
}

/// The first messages have been said.
struct Begun {
    user: String,
    found: FoundUser,
    gs2_header: String,
    /// Of both sides.
    nonce: String,
    /// The first messages, as proofs are about them.
    said: String,
}

impl Scram {
    pub(super) fn new(mechanism: ScramMechanism) -> Self {
        Self {
            mechanism,
            begun: None,
        }
    }

    pub(super) fn step(&mut self, token: &[u8], users: &Known) -> Step {
        match self.begun.take() {
            None => self.begin(token, users, &random_text()),
            Some(begun) => begun.end(self.mechanism, token),
        }
    }

    fn begin(&mut self, token: &[u8], users: &Known, own_nonce: &str) -> Step {
        let Some(first) = ClientFirst::read(token) else {
            return Step::Failed(fail(None, "no first message of SCRAM"));
        };
        if first.is_token {
            return Step::Failed(fail(Some(first.user), "there are no delegation tokens"));
        }
        if !first.authorization_id.is_empty() && first.authorization_id != first.user {
            let message = super::OTHER_AUTHORIZATION_ID.to_owned();
            return Step::Failed(Failure {
                to_client: ToClient::Message(message),
                user: Some(first.user),
                why: "wants to act for somebody else",
            });
        }
        let found = users.find(self.mechanism, &first.user);
        let nonce = format!("{}{own_nonce}", first.nonce);
        let credential = &found.credential;
        let answer = server_first(&nonce, &credential.salt, credential.iterations);
        self.begun = Some(Begun {
            user: first.user,
            found,
            gs2_header: first.gs2_header,
            nonce,
            said: format!("{},{answer}", first.bare),
        });
        Step::Challenge(answer.into_bytes())
    }
}

impl Begun {
    fn end(self, mechanism: ScramMechanism, token: &[u8]) -> Step {
        let Some(last) = ClientFinal::read(token) else {
            return Step::Failed(fail(Some(self.user), "no last message of SCRAM"));
        };
        let said = format!("{},{}", self.said, last.without_proof);
        let credential = &self.found.credential;
        let signature = mechanism.hmac(&credential.stored_key, said.as_bytes());
        let fits = last.proof.len() == signature.len() && {
            let key: Vec<u8> = last
                .proof
                .iter()
                .zip(&signature)
                .map(|(a, b)| a ^ b)
                .collect();
            let given = mechanism.hash(&key);
            verify_slices_are_equal(&given, &credential.stored_key).is_ok()
        };
        // librdkafka before 2.6.1 puts its own nonce before what it was sent, which begins with that already. What is at the end
        // is of this log-in alone, and the proof is about all of it.
        let is_bound =
            last.nonce.ends_with(&self.nonce) && last.channel_binding == self.gs2_header.as_bytes();
        if !fits || !self.found.is_there {
            return Step::Failed(fail(Some(self.user), "wrong user or password"));
        }
        if !is_bound {
            return Step::Failed(fail(Some(self.user), "a message of another log-in"));
        }
        let signature = mechanism.hmac(&credential.server_key, said.as_bytes());
        Step::Done(Identity {
            name: self.user,
            answer: server_final(&signature).into_bytes(),
            expires_at_ms: None,
        })
    }
}

fn fail(user: Option<String>, why: &'static str) -> Failure {
    Failure {
        to_client: ToClient::InvalidCredentials,
        user,
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{done, failed, users, users_with};
    use super::*;
    use crate::security::scram::ScramCredential;

    /// RFC 7677, section 3.
    const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const ANSWER: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const VERIFIED: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn begun(users: &Known, first: &str) -> (Scram, Step) {
        let mut scram = Scram::new(ScramMechanism::Sha256);
        let step = scram.begin(first.as_bytes(), users, NONCE);
        (scram, step)
    }

    fn rfc() -> Known {
        use base64::Engine as _;
        use base64::prelude::BASE64_STANDARD as BASE64;
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let mechanism = ScramMechanism::Sha256;
        let credential = ScramCredential::of_password(mechanism, b"pencil", &salt, 4096);
        users_with("user", mechanism, credential)
    }

    #[test]
    fn the_conversation_of_the_rfc_is_understood() {
        let users = rfc();
        let (mut scram, answer) = begun(&users, FIRST);
        assert!(matches!(answer, Step::Challenge(answer) if answer == ANSWER.as_bytes()));
        let identity = done(scram.step(FINAL.as_bytes(), &users));
        assert_eq!(identity.name, "user");
        assert_eq!(identity.answer, VERIFIED.as_bytes());
    }

    /// A last message with a nonce of one's choice, and the right proof.
    fn last_message(nonce: &str) -> String {
        let mechanism = ScramMechanism::Sha256;
        let users = rfc();
        let found = users.find(mechanism, "user");
        let (salt, iterations) = (&found.credential.salt, found.credential.iterations);
        let rounds = std::num::NonZeroU32::new(iterations as u32).expect("some");
        let salted = mechanism.salted_password(b"pencil", salt, rounds);
        let key = mechanism.hmac(&salted, b"Client Key");
        let without_proof = format!("c=biws,r={nonce}");
        let said = format!("{},{ANSWER},{without_proof}", &FIRST[3..]);
        let signature = mechanism.hmac(&mechanism.hash(&key), said.as_bytes());
        let proof: Vec<u8> = key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        use base64::Engine as _;
        let proof = base64::prelude::BASE64_STANDARD.encode(proof);
        format!("{without_proof},p={proof}")
    }

    #[test]
    fn the_nonce_of_old_librdkafkas_is_accepted_and_no_other_is() {
        let users = rfc();
        let own = "rOprNGfwEbeRWgbNEkqO";
        let whole = format!("{own}{NONCE}");
        for nonce in [whole.clone(), format!("{own}{whole}")] {
            let (mut scram, _) = begun(&users, FIRST);
            let token = last_message(&nonce);
            assert_eq!(done(scram.step(token.as_bytes(), &users)).name, "user");
        }
        for nonce in [own, NONCE, &whole[1..], &format!("{whole}x")] {
            let (mut scram, _) = begun(&users, FIRST);
            failed(scram.step(last_message(nonce).as_bytes(), &users));
        }
    }

    #[test]
    fn a_last_message_of_which_any_byte_is_another_fails() {
        let users = rfc();
        for at in 0..FINAL.len() {
            let mut wrong = FINAL.as_bytes().to_vec();
            wrong[at] ^= 1;
            let (mut scram, _) = begun(&users, FIRST);
            let failure = failed(scram.step(&wrong, &users));
            assert_eq!(failure.to_client, ToClient::InvalidCredentials, "{at}");
        }
    }

    #[test]
    fn a_user_that_is_not_there_fails_as_late_and_in_the_same_words_as_a_wrong_password() {
        let users = rfc();
        let mut outcomes = Vec::new();
        for first in [FIRST, "n,,n=nobody,r=rOprNGfwEbeRWgbNEkqO"] {
            let (mut scram, answer) = begun(&users, first);
            let Step::Challenge(answer) = answer else {
                panic!("no challenge");
            };
            let answer = String::from_utf8(answer).expect("text");
            assert!(answer.ends_with(",i=4096"), "{answer}");
            let wrong = FINAL.replace("p=d", "p=e");
            outcomes.push(failed(scram.step(wrong.as_bytes(), &users)).to_client);
        }
        assert_eq!(outcomes[0], outcomes[1]);
    }

    #[test]
    fn a_log_in_that_has_failed_or_ended_cannot_be_gone_on_with() {
        let users = users();
        let mut scram = Scram::new(ScramMechanism::Sha512);
        failed(scram.step(FINAL.as_bytes(), &users));
        let again = scram.step(b"n,,n=alice,r=abc", &users);
        assert!(matches!(again, Step::Challenge(_)), "it begins anew");
    }

    #[test]
    fn nobody_acts_for_somebody_else() {
        for name in ["alice", "nobody"] {
            let first = format!("n,a=bob,n={name},r=abc");
            let (_, step) = begun(&users(), &first);
            let message = super::super::OTHER_AUTHORIZATION_ID.to_owned();
            assert_eq!(failed(step).to_client, ToClient::Message(message));
        }
    }
}
