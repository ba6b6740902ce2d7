//! Why the broker cannot start with what it was given.

use std::path::PathBuf;

use super::def::InvalidValue;

/// Why the broker cannot start with what it was given; each is one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}, line {line}: {what}", .path.display())]
    Syntax {
        path: PathBuf,
        line: usize,
        what: String,
    },
    #[error(transparent)]
    InvalidValue(#[from] InvalidValue),
    #[error("{key} cannot be ignored, and {why}; remove it to start without")]
    Unserved { key: String, why: &'static str },
    #[error("listener {listener}, {key}: {why}")]
    Listener {
        listener: String,
        key: String,
        why: String,
    },
    #[error("{key} {why}")]
    Cluster {
        key: &'static str,
        why: &'static str,
    },
    #[error("key {key} is unknown; did you mean {meant}, which must not be ignored?")]
    Misspelt { key: String, meant: &'static str },
}

impl ConfigError {
    /// The key whose value cannot be used.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::InvalidValue(value) => Some(&value.key),
            Self::Unserved { key, .. }
            | Self::Listener { key, .. }
            | Self::Misspelt { key, .. } => Some(key),
            Self::Cluster { key, .. } => Some(key),
            Self::Unreadable { .. } | Self::Syntax { .. } => None,
        }
    }

    pub(super) fn unserved(key: &str, why: &'static str) -> Self {
        Self::Unserved {
            key: key.to_owned(),
            why,
        }
    }
}
