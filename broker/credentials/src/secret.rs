//! Passwords and keys, as text that no line, error or answer tells.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

/// A password, or whatever else only its owner may know. Shown as `[hidden]`, as Kafka's `Password`.
#[derive(Clone, Default)]
pub struct Secret(Box<str>);

impl Secret {
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself, for whoever has to work with it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `given` is the same, found out in a time that tells nothing of either.
    pub fn is(&self, given: &[u8]) -> bool {
        // Digests are of one length, whatever the lengths of the texts are.
        let [own, given] = [self.0.as_bytes(), given].map(|bytes| digest(&SHA256, bytes));
        verify_slices_are_equal(own.as_ref(), given.as_ref()).is_ok()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.is(other.0.as_bytes())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_compared_and_never_shown() {
        let secret = Secret::new("canary");
        assert_eq!(format!("{secret} {secret:?}"), "[hidden] [hidden]");
        assert!(secret.is(b"canary"));
        for wrong in ["", "canar", "canary ", "Canary"] {
            assert!(!secret.is(wrong.as_bytes()), "{wrong}");
        }
        assert!(Secret::default().is(b""));
    }
}
