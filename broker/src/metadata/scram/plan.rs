//! Plans changes of SCRAM credentials by Kafka's rules (`ScramControlManager`).

use std::collections::HashMap;

use protocol_shim::ErrorCode;

use super::{ScramImage, record};
use crate::metadata::record::MetadataRecord;
use credentials::scram::{MAX_ITERATIONS, MIN_ITERATIONS, ScramCredential, ScramMechanism};

/// A longer salt is not kept: whoever asks to log in is sent it. Kafka's tools make 26 bytes of it.
const MAX_SALT_BYTES: usize = 1024;

/// What becomes of one user's credential.
#[derive(Clone, Debug)]
pub struct AlterScram {
    pub user: String,
    /// As the client names it.
    pub mechanism: i8,
    /// `None`: the credential is taken away.
    pub new: Option<SaltedPassword>,
}

/// A password as clients send it.
#[derive(Clone)]
pub struct SaltedPassword {
    pub salted_password: Vec<u8>,
    pub salt: Vec<u8>,
    pub iterations: i32,
}

impl std::fmt::Debug for SaltedPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[hidden]")
    }
}

/// Why a user's credential is not changed, in Kafka's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScramRefusal {
    pub error: ErrorCode,
    pub message: &'static str,
}

const fn refusal(error: ErrorCode, message: &'static str) -> ScramRefusal {
    ScramRefusal { error, message }
}

const TWICE: ScramRefusal = refusal(
    ErrorCode::DuplicateResource,
    "A user credential cannot be altered twice in the same request",
);

/// What became of one user.
pub type Altered = (String, Result<(), ScramRefusal>);

/// One outcome for each user, in the order in which the request first names them, and the records of those that change.
///
/// A user may be named once: Kafka refuses all changes of one that is named again.
pub(crate) fn plan_alter(
    image: &ScramImage,
    alters: &[AlterScram],
) -> (Vec<Altered>, Vec<MetadataRecord>) {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut outcomes: Vec<(&AlterScram, Result<MetadataRecord, ScramRefusal>)> = Vec::new();
    for alter in alters {
        match places.get(alter.user.as_str()) {
            // The first thing that was wrong is what is told.
            Some(at) => {
                let outcome = &mut outcomes[*at].1;
                if outcome.is_ok() {
                    *outcome = Err(TWICE);
                }
            }
            None => {
                places.insert(&alter.user, outcomes.len());
                outcomes.push((alter, plan_one(image, alter)));
            }
        }
    }
    let mut records = Vec::new();
    let mut told = Vec::with_capacity(outcomes.len());
    for (alter, outcome) in outcomes {
        told.push((
            alter.user.clone(),
            outcome.map(|record| records.push(record)),
        ));
    }
    (told, records)
}

fn plan_one(image: &ScramImage, alter: &AlterScram) -> Result<MetadataRecord, ScramRefusal> {
    let unacceptable = |message| Err(refusal(ErrorCode::UnacceptableCredential, message));
    if alter.user.is_empty() {
        return unacceptable("Username must not be empty");
    }
    let Some(mechanism) = ScramMechanism::from_wire(alter.mechanism) else {
        let unknown = ErrorCode::UnsupportedSaslMechanism;
        return Err(refusal(unknown, "Unknown SCRAM mechanism"));
    };
    let Some(new) = &alter.new else {
        let removed = image.get(mechanism, &alter.user);
        let removed = removed.map(|_| MetadataRecord::RemoveUserScramCredential {
            name: alter.user.clone(),
            mechanism: mechanism as i8,
        });
        return removed.ok_or(refusal(
            ErrorCode::ResourceNotFound,
            "Attempt to delete a user credential that does not exist",
        ));
    };
    if new.iterations < MIN_ITERATIONS {
        return unacceptable("Too few iterations");
    }
    if new.iterations > MAX_ITERATIONS {
        return unacceptable("Too many iterations");
    }
    if new.salt.len() > MAX_SALT_BYTES {
        return unacceptable("Too long a salt, expected 1024 bytes at most");
    }
    let (salted, salt, iterations) = (&new.salted_password, &new.salt, new.iterations);
    let credential = ScramCredential::of_salted(mechanism, salted, salt, iterations);
    Ok(record(&alter.user, mechanism, &credential))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alter(user: &str, mechanism: i8, iterations: Option<i32>) -> AlterScram {
        AlterScram {
            user: user.to_owned(),
            mechanism,
            new: iterations.map(|iterations| SaltedPassword {
                salted_password: b"canary".to_vec(),
                salt: b"salt".to_vec(),
                iterations,
            }),
        }
    }

    fn image() -> ScramImage {
        let mut image = ScramImage::default();
        let credential = ScramCredential::of_salted(ScramMechanism::Sha256, b"x", b"s", 4096);
        image.set("there", 1, credential).expect("set");
        image
    }

    /// The code that each user is told, and how many records there are.
    fn codes(alters: &[AlterScram]) -> (Vec<(String, i16)>, usize) {
        let (told, records) = plan_alter(&image(), alters);
        let code = |(user, outcome): Altered| {
            (
                user,
                outcome.err().map_or(0, |refusal| refusal.error as i16),
            )
        };
        (told.into_iter().map(code).collect(), records.len())
    }

    #[test]
    fn each_rule_of_kafkas_has_its_code() {
        for (asked, code) in [
            (alter("new", 1, Some(4096)), 0),
            (alter("new", 2, Some(16384)), 0),
            (alter("there", 1, Some(5000)), 0),
            (alter("there", 1, None), 0),
            (alter("new", 1, Some(4095)), 93),
            (alter("new", 2, Some(16385)), 93),
            (alter("new", 1, Some(-1)), 93),
            (alter("", 1, Some(4096)), 93),
            (alter("", 1, None), 93),
            (alter("new", 0, Some(4096)), 33),
            (alter("new", 3, None), 33),
            (alter("there", 2, None), 91),
            (alter("new", 1, None), 91),
        ] {
            let user = asked.user.clone();
            let (told, records) = codes(std::slice::from_ref(&asked));
            assert_eq!(told, [(user, code)], "{asked:?}");
            assert_eq!(records, usize::from(code == 0), "{asked:?}");
        }
    }

    #[test]
    fn a_user_that_is_named_twice_is_told_so_once_and_nothing_of_it_changes() {
        let twice = [
            alter("there", 1, None),
            alter("other", 1, Some(4096)),
            alter("there", 2, Some(4096)),
            alter("there", 1, Some(4096)),
            alter("bad", 1, Some(1)),
            alter("bad", 1, Some(4096)),
        ];
        let (told, records) = codes(&twice);
        let expected = [("there", 92), ("other", 0), ("bad", 93)];
        assert_eq!(told, expected.map(|(user, code)| (user.to_owned(), code)));
        assert_eq!(records, 1);
    }

    #[test]
    fn what_is_planned_tells_no_password() {
        let (_, records) = plan_alter(&image(), &[alter("new", 1, Some(4096))]);
        let shown = format!("{records:?} {:?}", alter("new", 1, Some(4096)));
        let bytes = format!("{:?}", b"canary");
        assert!(!shown.contains("canary") && !shown.contains(bytes.trim_matches(['[', ']'])));
    }
}
