//! Why a change of metadata is refused, in Kafka's words and codes, and why a record of the log is.

use protocol_shim::ErrorCode;

use super::record::{METADATA_VERSION, METADATA_VERSION_FEATURE};

use crate::authorizer::denial;

/// Refused or failed; nothing was changed unless the variant says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    #[error("{0}")]
    InvalidTopic(String),
    #[error("Topic '{0}' already exists.")]
    TopicExists(String),
    #[error("This server does not host this topic-partition.")]
    UnknownTopic,
    #[error("The topic '{0}' does not exist.")]
    NoSuchTopic(String),
    #[error("This server does not host this topic ID.")]
    UnknownTopicId,
    #[error("{0}")]
    InvalidPartitions(String),
    #[error("{0}")]
    InvalidReplicationFactor(String),
    #[error("{0}")]
    InvalidReplicaAssignment(String),
    #[error("{0}")]
    InvalidConfig(String),
    #[error("{0}")]
    InvalidRequest(String),
    #[error("{0}")]
    PolicyViolation(String),
    /// Whoever asked may not do this.
    #[error("{}", denial(*.0))]
    Denied(ErrorCode),
    #[error("The throttling quota has been exceeded.")]
    Throttled,
    #[error("Topic deletion is disabled.")]
    TopicDeletionDisabled,
    /// The metadata log did not take the change.
    #[error("the metadata log failed: {0}")]
    Storage(String),
    /// It is unknown whether the metadata log took the change; no further one is accepted before a restart.
    #[error("the metadata log failed and its end is unknown: {0}")]
    Indeterminate(String),
    #[error("the broker is shutting down")]
    ShuttingDown,
}

impl MetadataError {
    /// More than one append can hold; Kafka's words.
    pub(super) fn too_large() -> Self {
        Self::PolicyViolation("Excessively large number of partitions per request.".to_owned())
    }

    /// What the client is told.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidTopic(_) => ErrorCode::InvalidTopicException,
            Self::TopicExists(_) => ErrorCode::TopicAlreadyExists,
            Self::UnknownTopic | Self::NoSuchTopic(_) => ErrorCode::UnknownTopicOrPartition,
            Self::UnknownTopicId => ErrorCode::UnknownTopicId,
            Self::InvalidPartitions(_) => ErrorCode::InvalidPartitions,
            Self::InvalidReplicationFactor(_) => ErrorCode::InvalidReplicationFactor,
            Self::InvalidReplicaAssignment(_) => ErrorCode::InvalidReplicaAssignment,
            Self::InvalidConfig(_) => ErrorCode::InvalidConfig,
            Self::InvalidRequest(_) => ErrorCode::InvalidRequest,
            Self::PolicyViolation(_) => ErrorCode::PolicyViolation,
            Self::Denied(code) => *code,
            Self::Throttled => ErrorCode::ThrottlingQuotaExceeded,
            Self::TopicDeletionDisabled => ErrorCode::TopicDeletionDisabled,
            Self::Storage(_) | Self::Indeterminate(_) => ErrorCode::KafkaStorageError,
            Self::ShuttingDown => ErrorCode::BrokerNotAvailable,
        }
    }
}

/// A record that does not fit what came before it; a broker does not start on such a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error(
        "the metadata needs {METADATA_VERSION_FEATURE} {found}, this version knows up to {METADATA_VERSION}"
    )]
    NewerMetadata { found: i16 },
    #[error("{0}")]
    Inconsistent(String),
}
