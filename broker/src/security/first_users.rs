//! Users that are there before anybody can log in to make them: `--add-scram` and `--sasl-user`.
//!
//! The first is `kafka-storage format --add-scram`'s: `SCRAM-SHA-512=[name=alice,password=...,iterations=8192]`. A password
//! need not stand where other processes can read it: the environment or a file may have it.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;

use crate::metadata::{AlterScram, SaltedPassword};
use credentials::password_variable;
use credentials::scram::{MAX_ITERATIONS, MIN_ITERATIONS, ScramMechanism, random_text};
use credentials::secret::Secret;

/// A user and what it logs in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstUser {
    pub name: String,
    mechanism: ScramMechanism,
    iterations: i32,
    salt: Option<Vec<u8>>,
    password: Password,
    /// Also in place of a credential that is there.
    replaces: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Password {
    Clear(Secret),
    /// In base64: it is salted already.
    Salted(Secret),
}

/// Why a user cannot be made; one line, which tells no password.
#[derive(Debug, thiserror::Error)]
pub enum FirstUserError {
    #[error("expected SCRAM-SHA-256=[name=NAME,password=PASSWORD] or SCRAM-SHA-512=[...]")]
    Syntax,
    #[error("The add-scram mechanism {0} is not supported.")]
    Mechanism(String),
    #[error("You must supply 'name' to add-scram")]
    NoName,
    #[error("You must supply 'salt' with 'saltedpassword' to add-scram")]
    NoSalt,
    #[error("{0} is not base64")]
    NotBase64(&'static str),
    #[error("The 'iterations' value must be from {MIN_ITERATIONS} to {MAX_ITERATIONS}")]
    Iterations,
    #[error("Unknown SCRAM configurations: {0}")]
    Unknown(String),
    #[error("there is no password for {user}: set {variable}, or name a --password-file")]
    NoPassword { user: String, variable: String },
}

impl FirstUser {
    /// A user with a password for one mechanism.
    pub fn new(name: &str, mechanism: ScramMechanism, password: Secret) -> Self {
        Self {
            name: name.to_owned(),
            mechanism,
            iterations: MIN_ITERATIONS,
            salt: None,
            password: Password::Clear(password),
            replaces: false,
        }
    }

    /// The same, in place of a credential that is there.
    pub(crate) fn replacing(self) -> Self {
        Self {
            replaces: true,
            ..self
        }
    }

    pub(crate) fn replaces(&self) -> bool {
        self.replaces
    }

    /// Reads `--add-scram`. `password_of` is asked for a password that does not stand there.
    ///
    /// # Errors
    /// See [`FirstUserError`].
    pub fn parse(
        text: &str,
        password_of: impl Fn(&str) -> Option<Secret>,
    ) -> Result<Self, FirstUserError> {
        let (mechanism, rest) = text.trim().split_once('=').ok_or(FirstUserError::Syntax)?;
        let mechanism = ScramMechanism::from_name(mechanism)
            .ok_or_else(|| FirstUserError::Mechanism(mechanism.to_owned()))?;
        let rest = rest
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let mut name = None;
        let mut user = Self {
            name: String::new(),
            mechanism,
            iterations: MIN_ITERATIONS,
            salt: None,
            password: Password::Clear(Secret::default()),
            replaces: false,
        };
        let mut password = None;
        for part in rest.ok_or(FirstUserError::Syntax)?.split(',') {
            let (key, value) = part.split_once('=').ok_or(FirstUserError::Syntax)?;
            let quoted = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'));
            let value = quoted.unwrap_or(value);
            match key {
                "name" => name = Some(value.to_owned()),
                "password" => password = Some(Password::Clear(Secret::new(value))),
                "saltedpassword" => password = Some(Password::Salted(Secret::new(value))),
                "salt" => {
                    let salt = BASE64.decode(value);
                    user.salt = Some(salt.map_err(|_| FirstUserError::NotBase64("salt"))?);
                }
                "iterations" => {
                    user.iterations = value.parse().map_err(|_| FirstUserError::Iterations)?;
                }
                _ => return Err(FirstUserError::Unknown(key.to_owned())),
            }
        }
        user.name = name
            .filter(|name| !name.is_empty())
            .ok_or(FirstUserError::NoName)?;
        user.password = match password {
            Some(password) => password,
            None => Password::Clear(asked(&user.name, password_of)?),
        };
        user.check()?;
        Ok(user)
    }

    /// The users of `--sasl-user`: one name for both mechanisms.
    ///
    /// # Errors
    /// Nobody knows a password.
    pub fn of_name(
        name: &str,
        password_of: impl Fn(&str) -> Option<Secret>,
    ) -> Result<Vec<Self>, FirstUserError> {
        if name.is_empty() {
            return Err(FirstUserError::NoName);
        }
        let password = asked(name, password_of)?;
        let users = ScramMechanism::ALL.into_iter();
        let users = users.map(|mechanism| Self::new(name, mechanism, password.clone()));
        Ok(users.collect())
    }

    fn check(&self) -> Result<(), FirstUserError> {
        if !(MIN_ITERATIONS..=MAX_ITERATIONS).contains(&self.iterations) {
            return Err(FirstUserError::Iterations);
        }
        match &self.password {
            Password::Salted(_) if self.salt.is_none() => Err(FirstUserError::NoSalt),
            Password::Salted(salted) if BASE64.decode(salted.expose()).is_err() => {
                Err(FirstUserError::NotBase64("saltedpassword"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn mechanism(&self) -> ScramMechanism {
        self.mechanism
    }

    /// The change that makes the user. Takes milliseconds.
    pub(crate) fn alter(&self) -> AlterScram {
        let salt = self.salt.clone();
        let salt = salt.unwrap_or_else(|| random_text().into_bytes());
        let rounds = u32::try_from(self.iterations)
            .ok()
            .and_then(NonZeroU32::new);
        let salted_password = match &self.password {
            Password::Clear(password) => self.mechanism.salted_password(
                password.expose().as_bytes(),
                &salt,
                rounds.unwrap_or(NonZeroU32::MIN),
            ),
            Password::Salted(salted) => BASE64.decode(salted.expose()).unwrap_or_default(),
        };
        AlterScram {
            user: self.name.clone(),
            mechanism: self.mechanism as i8,
            new: Some(SaltedPassword {
                salted_password,
                salt,
                iterations: self.iterations,
            }),
        }
    }
}

fn asked(
    user: &str,
    password_of: impl Fn(&str) -> Option<Secret>,
) -> Result<Secret, FirstUserError> {
    let password = password_of(user).filter(|password| !password.expose().is_empty());
    password.ok_or_else(|| FirstUserError::NoPassword {
        user: user.to_owned(),
        variable: password_variable(user),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<FirstUser, FirstUserError> {
        FirstUser::parse(text, |user| (user == "eve").then(|| Secret::new("canary")))
    }

    #[test]
    fn a_user_is_read_as_by_kafkas_storage_tool() {
        let user = parse("SCRAM-SHA-512=[name=alice,password=a=b,iterations=8192]").expect("read");
        assert_eq!((user.name.as_str(), user.iterations), ("alice", 8192));
        assert_eq!(user.password, Password::Clear(Secret::new("a=b")));
        let quoted = parse(" SCRAM-SHA-256=[name=\"bob\",password=\"x\"] ").expect("read");
        assert_eq!((quoted.name.as_str(), quoted.iterations), ("bob", 4096));
        let salted = parse("SCRAM-SHA-256=[name=bob,salt=c2FsdA==,saltedpassword=AQID]");
        let altered = salted.expect("read").alter().new.expect("a password");
        assert_eq!(altered.salt, b"salt");
        assert_eq!(altered.salted_password, [1, 2, 3]);
        let elsewhere = parse("SCRAM-SHA-256=[name=eve]").expect("read");
        assert_eq!(elsewhere.password, Password::Clear(Secret::new("canary")));
        assert!(!format!("{elsewhere:?}").contains("canary"));
    }

    #[test]
    fn what_cannot_be_used_is_named_and_no_password_is_told() {
        for (text, expected) in [
            ("", "expected SCRAM-SHA-256=[name=NAME"),
            (
                "SCRAM-SHA-1=[name=a,password=canary]",
                "mechanism SCRAM-SHA-1 is not supported",
            ),
            (
                "SCRAM-SHA-256=name=a,password=canary",
                "expected SCRAM-SHA-256=",
            ),
            ("SCRAM-SHA-256=[password=canary]", "You must supply 'name'"),
            (
                "SCRAM-SHA-256=[name=a,password=canary,canary]",
                "expected SCRAM-SHA-256=",
            ),
            (
                "SCRAM-SHA-256=[name=a,password=canary,iterations=1]",
                "from 4096 to 16384",
            ),
            (
                "SCRAM-SHA-256=[name=a,password=canary,iterations=x]",
                "from 4096 to 16384",
            ),
            (
                "SCRAM-SHA-256=[name=a,pasword=canary]",
                "configurations: pasword",
            ),
            (
                "SCRAM-SHA-256=[name=a,saltedpassword=AQID]",
                "supply 'salt'",
            ),
            (
                "SCRAM-SHA-256=[name=a,salt=AQID,saltedpassword=canary!]",
                "not base64",
            ),
            (
                "SCRAM-SHA-256=[name=a.b]",
                "set OTTLA_PASSWORD_A_B, or name a --password-file",
            ),
        ] {
            let refused = parse(text).expect_err(text).to_string();
            assert!(refused.contains(expected), "{text}: {refused}");
            assert!(!refused.contains("canary"), "{text}: {refused}");
        }
    }

    #[test]
    fn one_name_is_a_user_of_both_mechanisms() {
        let users = FirstUser::of_name("eve", |_| Some(Secret::new("x"))).expect("users");
        let mechanisms: Vec<_> = users.iter().map(FirstUser::mechanism).collect();
        assert_eq!(mechanisms, ScramMechanism::ALL);
        assert!(FirstUser::of_name("eve", |_| None).is_err());
        assert!(FirstUser::of_name("", |_| Some(Secret::new("x"))).is_err());
    }
}
