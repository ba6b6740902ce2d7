//! What a client needs to be allowed before its request is looked at: a column of [`api_spec`](crate::api_spec). An API
//! cannot be added without its rule.

/// What is done to a resource; the discriminant is the code of Kafka's `AclOperation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i8)]
pub enum Operation {
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    ClusterAction = 9,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
    CreateTokens = 13,
    DescribeTokens = 14,
    TwoPhaseCommit = 15,
}

impl Operation {
    pub const ALL: [Self; 13] = [
        Self::Read,
        Self::Write,
        Self::Create,
        Self::Delete,
        Self::Alter,
        Self::Describe,
        Self::ClusterAction,
        Self::DescribeConfigs,
        Self::AlterConfigs,
        Self::IdempotentWrite,
        Self::CreateTokens,
        Self::DescribeTokens,
        Self::TwoPhaseCommit,
    ];

    /// Its bit among the authorized operations of a response (KIP-430).
    pub const fn bit(self) -> i32 {
        1 << self as i8
    }
}

/// Who may use an API, as Kafka's `KafkaApis` decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Every client that is connected.
    Open,
    /// Clients that may do this to the cluster.
    OnCluster(Operation),
    /// Each topic, group or transactional id that the request names has its own answer.
    Named,
}
