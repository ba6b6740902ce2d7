//! SCRAM credentials: what is kept of a password (RFC 5802), as Kafka's `ScramFormatter` makes it.
//!
//! A password cannot be found out from them, but whoever has them can pretend to be the broker, and try passwords.

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac, pbkdf2};

/// Least iterations that Kafka lets a credential have.
pub const MIN_ITERATIONS: i32 = 4096;
/// Most iterations that Kafka lets a credential have.
pub const MAX_ITERATIONS: i32 = 16384;

/// The hash of a credential; the discriminant is Kafka's, on the wire and in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum ScramMechanism {
    Sha256 = 1,
    Sha512 = 2,
}

impl ScramMechanism {
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    pub fn from_wire(value: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|one| *one as i8 == value)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Bytes of its hash.
    pub const fn hash_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// H(bytes)
    pub fn hash(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }

    /// HMAC(key, bytes)
    pub fn hmac(self, key: &[u8], bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        let tag = hmac::sign(&hmac::Key::new(algorithm, key), bytes);
        tag.as_ref().to_vec()
    }

    /// SaltedPassword: as many HMACs as there are iterations, which is milliseconds.
    pub fn salted_password(self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        let mut salted = vec![0; self.hash_bytes()];
        pbkdf2::derive(algorithm, iterations, salt, password, &mut salted);
        salted
    }
}

/// What is kept of one user's password for one mechanism.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramCredential {
    pub salt: Vec<u8>,
    /// H(ClientKey)
    pub stored_key: Vec<u8>,
    pub server_key: Vec<u8>,
    pub iterations: i32,
}

impl fmt::Debug for ScramCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[hidden], {} iterations", self.iterations)
    }
}

impl ScramCredential {
    /// The credential of a password that is salted already, as clients send it (KIP-554).
    pub fn of_salted(
        mechanism: ScramMechanism,
        salted_password: &[u8],
        salt: &[u8],
        iterations: i32,
    ) -> Self {
        let client_key = mechanism.hmac(salted_password, b"Client Key");
        Self {
            salt: salt.to_vec(),
            stored_key: mechanism.hash(&client_key),
            server_key: mechanism.hmac(salted_password, b"Server Key"),
            iterations,
        }
    }

    /// The credential of a password. Takes milliseconds.
    pub fn of_password(
        mechanism: ScramMechanism,
        password: &[u8],
        salt: &[u8],
        iterations: i32,
    ) -> Self {
        let salted = mechanism.salted_password(password, salt, rounds(iterations));
        Self::of_salted(mechanism, &salted, salt, iterations)
    }

    /// Whether `password` is the one that this was made from. Takes milliseconds.
    pub fn is_of(&self, mechanism: ScramMechanism, password: &[u8]) -> bool {
        let given = Self::of_password(mechanism, password, &self.salt, self.iterations);
        verify_slices_are_equal(&given.stored_key, &self.stored_key).is_ok()
    }
}

fn rounds(iterations: i32) -> NonZeroU32 {
    let iterations = u32::try_from(iterations).unwrap_or(0);
    NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN)
}

/// Random letters and digits, as Kafka makes salts and nonces of them: 130 random bits.
pub fn random_text() -> String {
    letters(&rand::random::<[u8; 17]>())
}

/// Up to 26 letters and digits made of bytes.
fn letters(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let high = bytes.iter().take(16);
    let mut number = high.fold(0u128, |number, byte| number << 8 | u128::from(*byte));
    let mut text = String::with_capacity(26);
    for _ in 0..24 {
        text.push(char::from(LETTERS[(number % 36) as usize]));
        number /= 36;
    }
    for byte in bytes.iter().skip(15).take(2) {
        text.push(char::from(LETTERS[usize::from(*byte) % 36]));
    }
    text
}

/// Gives users that do not exist credentials that look like those of users that do, the same ones each time.
#[derive(Clone)]
pub struct Disguise([u8; 16]);

impl Disguise {
    /// Whoever knows `secret` can tell these users from others.
    pub fn new(secret: [u8; 16]) -> Self {
        Self(secret)
    }

    /// No password fits it.
    pub fn credential(
        &self,
        mechanism: ScramMechanism,
        user: &str,
        iterations: i32,
    ) -> ScramCredential {
        let of = |what: &str| {
            let name = format!("{what},{},{user}", mechanism.name());
            ScramMechanism::Sha512.hmac(&self.0[..], name.as_bytes())
        };
        ScramCredential {
            salt: letters(&of("salt")).into_bytes(),
            stored_key: of("stored key")[..mechanism.hash_bytes()].to_vec(),
            server_key: of("server key")[..mechanism.hash_bytes()].to_vec(),
            iterations,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// RFC 7677, section 3: user `user`, password `pencil`.
    #[test]
    fn a_credential_is_that_of_the_rfc() {
        use base64::Engine as _;
        use base64::prelude::BASE64_STANDARD as BASE64;
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let made = ScramCredential::of_password(ScramMechanism::Sha256, b"pencil", &salt, 4096);
        assert_eq!(
            BASE64.encode(&made.stored_key),
            "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
        );
        assert_eq!(
            BASE64.encode(&made.server_key),
            "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
        assert!(made.is_of(ScramMechanism::Sha256, b"pencil"));
        assert!(!made.is_of(ScramMechanism::Sha256, b"pencils"));
        assert!(!made.is_of(ScramMechanism::Sha512, b"pencil"));
        assert!(!format!("{made:?}").contains(&hex(&made.salt)));
    }

    #[test]
    fn random_texts_differ_and_hold_nothing_but_letters_and_digits() {
        let texts: std::collections::BTreeSet<_> = (0..1000).map(|_| random_text()).collect();
        assert_eq!(texts.len(), 1000);
        for text in texts {
            assert_eq!(text.len(), 26);
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            assert!(text.bytes().all(is_plain), "{text}");
        }
    }

    #[test]
    fn a_user_that_is_not_there_looks_the_same_each_time_and_unlike_others() {
        let disguise = Disguise::new([7; 16]);
        let of = |user| disguise.credential(ScramMechanism::Sha256, user, 8192);
        assert!(of("a") == of("a"));
        assert_ne!(of("a").salt, of("b").salt);
        assert_ne!(
            of("a").salt,
            Disguise::new([8; 16])
                .credential(ScramMechanism::Sha256, "a", 8192)
                .salt
        );
        assert_ne!(
            of("a").salt,
            disguise.credential(ScramMechanism::Sha512, "a", 8192).salt
        );
        assert_eq!(of("a").stored_key.len(), 32);
        assert_eq!(of("a").iterations, 8192);
        assert_eq!(of("a").salt.len(), random_text().len());
    }
}
