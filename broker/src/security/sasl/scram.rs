//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, 7677): both sides prove that they know the password, and nobody tells it.
//!
//! Kafka fails a user that is not there one message early. Here such a user has a credential, too, which nothing fits: names of
//! users cannot be found out.

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::scram_messages::{ClientFinal, ClientFirst, server_final, server_first};
use super::{Failure, FoundUser, Identity, Known, Step, ToClient};
use credentials::scram::{ScramMechanism, random_text};

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

    pub(super) fn step(&mut self, token: &[u8], users: &Known, now_ms: i64) -> Step {
        match self.begun.take() {
            None => self.begin(token, users, &random_text(), now_ms),
            Some(begun) => begun.answer(self.mechanism, token),
        }
    }

    fn begin(&mut self, token: &[u8], users: &Known, own_nonce: &str, now_ms: i64) -> Step {
        let Some(first) = ClientFirst::read(token) else {
            return Step::Failed(fail(None, "no first message of SCRAM"));
        };
        if !first.authorization_id.is_empty() && first.authorization_id != first.user {
            let message = super::OTHER_AUTHORIZATION_ID.to_owned();
            return Step::Failed(Failure {
                to_client: ToClient::Message(message),
                user: Some(first.user),
                why: "wants to act for somebody else",
            });
        }
        let found = match first.is_token {
            true => users.find_token(self.mechanism, &first.user, now_ms),
            false => users.find(self.mechanism, &first.user),
        };
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
    fn answer(mut self, mechanism: ScramMechanism, token: &[u8]) -> Step {
        let Some(known) = self
            .found
            .token
            .as_mut()
            .and_then(|found| found.known.take())
        else {
            return self.end(mechanism, token);
        };
        // What a delegation token is checked with is made at its first use, which takes milliseconds.
        let token = token.to_vec();
        Step::Work(Box::new(move || {
            self.found.credential = known.credential(mechanism, &self.found.credential.salt);
            self.end(mechanism, &token)
        }))
    }

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
            return Step::Failed(fail(Some(self.user), "wrong user, password or token"));
        }
        if !is_bound {
            return Step::Failed(fail(Some(self.user), "a message of another log-in"));
        }
        let signature = mechanism.hmac(&credential.server_key, said.as_bytes());
        Step::Done(Identity {
            name: self.found.name,
            answer: server_final(&signature).into_bytes(),
            expires_at_ms: self.found.token.as_ref().map(|token| token.expires_at_ms),
            by_token: self.found.token.is_some(),
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
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD as BASE64;

    use super::super::tests::{done, failed, users, users_with};
    use super::*;
    use crate::metadata::{MetadataImage, MetadataRecord};
    use credentials::scram::ScramCredential;
    use std::sync::Arc;

    /// RFC 7677, section 3.
    const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const ANSWER: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const NOW_MS: i64 = 1000;
    const VERIFIED: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn begun(users: &Known, first: &str) -> (Scram, Step) {
        let mut scram = Scram::new(ScramMechanism::Sha256);
        let step = scram.begin(first.as_bytes(), users, NONCE, NOW_MS);
        (scram, step)
    }

    fn rfc() -> Known {
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
        let identity = done(scram.step(FINAL.as_bytes(), &users, NOW_MS));
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
        let proof = BASE64.encode(proof);
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
            assert_eq!(
                done(scram.step(token.as_bytes(), &users, NOW_MS)).name,
                "user"
            );
        }
        for nonce in [own, NONCE, &whole[1..], &format!("{whole}x")] {
            let (mut scram, _) = begun(&users, FIRST);
            failed(scram.step(last_message(nonce).as_bytes(), &users, NOW_MS));
        }
    }

    #[test]
    fn a_last_message_of_which_any_byte_is_another_fails() {
        let users = rfc();
        for at in 0..FINAL.len() {
            let mut wrong = FINAL.as_bytes().to_vec();
            wrong[at] ^= 1;
            let (mut scram, _) = begun(&users, FIRST);
            let failure = failed(scram.step(&wrong, &users, NOW_MS));
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
            outcomes.push(failed(scram.step(wrong.as_bytes(), &users, NOW_MS)).to_client);
        }
        assert_eq!(outcomes[0], outcomes[1]);
    }

    #[test]
    fn a_log_in_that_has_failed_or_ended_cannot_be_gone_on_with() {
        let users = users();
        let mut scram = Scram::new(ScramMechanism::Sha512);
        failed(scram.step(FINAL.as_bytes(), &users, NOW_MS));
        let again = scram.step(b"n,,n=alice,r=abc", &users, NOW_MS);
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

    /// Everybody of `users`, and token `id` of `ann`'s, which ends at 1000.
    fn with_token() -> Known {
        use crate::security::delegation::tests::{record, tokens};
        let before = users();
        let mut image = MetadataImage::clone(&before.image);
        image.apply(&record("id")).expect("applied");
        let delegation = tokens("key");
        delegation.follow(before.image.tokens(), image.tokens());
        Known {
            image: Arc::new(image),
            delegation: Arc::new(delegation),
            ..before
        }
    }

    /// A log-in with a token up to its end, by somebody who knows this password.
    fn log_in(known: &Known, mechanism: ScramMechanism, first: &str, password: &str) -> Step {
        let mut scram = Scram::new(mechanism);
        let Step::Challenge(answer) = scram.step(first.as_bytes(), known, NOW_MS) else {
            panic!("no challenge");
        };
        let answer = String::from_utf8(answer).expect("text");
        let parts: Vec<&str> = answer.split(',').collect();
        let [nonce, salt, iterations] = parts[..] else {
            panic!("{answer}");
        };
        let salt = BASE64.decode(&salt[2..]).expect("base64");
        let rounds = iterations[2..].parse().expect("a number");
        let salted = mechanism.salted_password(password.as_bytes(), &salt, rounds);
        let key = mechanism.hmac(&salted, b"Client Key");
        let without_proof = format!("c=biws,{nonce}");
        let said = format!("{},{answer},{without_proof}", &first[3..]);
        let signature = mechanism.hmac(&mechanism.hash(&key), said.as_bytes());
        let proof: Vec<u8> = key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let last = format!("{without_proof},p={}", BASE64.encode(proof));
        scram.step(last.as_bytes(), known, NOW_MS)
    }

    #[test]
    fn who_has_a_token_is_its_owner_for_as_long_as_it_holds() {
        let known = with_token();
        let secret = known.delegation.secret("id").expect("on");
        let password = BASE64.encode(secret.expose());
        let first = "n,,n=id,r=abc,tokenauth=true";
        for mechanism in ScramMechanism::ALL {
            // The second time nothing has to be made any more.
            for _ in 0..2 {
                let identity = done(log_in(&known, mechanism, first, &password));
                assert_eq!(identity.name, "ann");
                assert_eq!(identity.expires_at_ms, Some(1000));
                assert!(identity.by_token);
            }
            failed(log_in(&known, mechanism, first, "wrong"));
            failed(log_in(&known, mechanism, first, ""));
            // A token is no user, and a user is no token.
            failed(log_in(&known, mechanism, "n,,n=id,r=abc", &password));
            let user = "n,,n=alice,r=abc,tokenauth=true";
            failed(log_in(&known, mechanism, user, "alice-secret"));
        }
        let by_password = log_in(
            &known,
            ScramMechanism::Sha512,
            "n,,n=alice,r=abc",
            "alice-secret",
        );
        assert!(!done(by_password).by_token);
    }

    #[test]
    fn a_token_that_is_not_there_or_has_expired_looks_like_one_with_another_secret() {
        let known = with_token();
        let mut image = MetadataImage::clone(&known.image);
        let mut expired = crate::security::delegation::tests::record("expired");
        if let MetadataRecord::DelegationToken { expires_at_ms, .. } = &mut expired {
            *expires_at_ms = NOW_MS - 1;
        }
        image.apply(&expired).expect("applied");
        known
            .delegation
            .follow(known.image.tokens(), image.tokens());
        let known = Known {
            image: Arc::new(image),
            ..known
        };
        let mechanism = ScramMechanism::Sha256;
        let secret = |id| BASE64.encode(known.delegation.secret(id).expect("on").expose());
        let mut told = Vec::new();
        for (id, password) in [
            ("id", "wrong".to_owned()),
            ("expired", secret("expired")),
            ("nothing", secret("nothing")),
        ] {
            let first = format!("n,,n={id},r=abc,tokenauth=true");
            told.push(failed(log_in(&known, mechanism, &first, &password)).to_client);
        }
        assert_eq!(told, vec![ToClient::InvalidCredentials; 3]);
    }
}
