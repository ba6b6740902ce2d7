//! A member of a classic group.

use bytes::Bytes;

use crate::group::id::{InstanceId, Name};
use crate::group::record::classic::MemberMetadata;
use crate::group::request::{JoinGroup, Protocol};
use crate::machine::Token;

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Member {
    /// Only a static member has one (KIP-345).
    pub(super) group_instance_id: Option<InstanceId>,
    pub(super) client_id: Name,
    pub(super) client_host: Name,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    /// In order of preference, each name once.
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    /// Whether the member has never completed a join.
    pub(super) is_new: bool,
    /// The JoinGroup that waits for the join phase to end.
    pub(super) awaiting_join: Option<Token>,
    /// The SyncGroup that waits for the leader's assignment.
    pub(super) awaiting_sync: Option<Token>,
}

impl Member {
    /// Makes a member that joins for the first time.
    pub(super) fn new(request: JoinGroup, token: Token) -> Self {
        Self {
            rebalance_timeout_ms: request.effective_rebalance_timeout_ms(),
            session_timeout_ms: request.session_timeout_ms,
            group_instance_id: request.group_instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            protocols: distinct(request.protocols),
            assignment: Bytes::new(),
            is_new: true,
            awaiting_join: Some(token),
            awaiting_sync: None,
        }
    }

    pub(super) fn restore(metadata: &MemberMetadata, protocol: Protocol) -> Self {
        Self {
            group_instance_id: metadata.group_instance_id.clone(),
            client_id: metadata.client_id.clone(),
            client_host: metadata.client_host.clone(),
            rebalance_timeout_ms: if metadata.rebalance_timeout_ms == -1 {
                metadata.session_timeout_ms
            } else {
                metadata.rebalance_timeout_ms
            },
            session_timeout_ms: metadata.session_timeout_ms,
            protocols: vec![protocol],
            assignment: metadata.assignment.clone(),
            is_new: false,
            awaiting_join: None,
            awaiting_sync: None,
        }
    }

    pub(super) fn metadata_for(&self, protocol_name: &str) -> Option<Bytes> {
        self.protocols
            .iter()
            .find(|protocol| *protocol.name == *protocol_name)
            .map(|protocol| protocol.metadata.clone())
    }

    /// Whether the group is the one that keeps the member waiting. Then the member sends no heartbeats, and its session must
    /// not end. A new member does not count, since its client may be long gone.
    pub(super) fn is_waiting_for_group(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }
}

impl JoinGroup {
    pub(crate) fn effective_rebalance_timeout_ms(&self) -> i32 {
        if self.rebalance_timeout_ms < 0 {
            self.session_timeout_ms
        } else {
            self.rebalance_timeout_ms
        }
    }
}

/// Drops repeated names, which would let a member support a protocol twice.
pub(crate) fn distinct(mut protocols: Vec<Protocol>) -> Vec<Protocol> {
    let mut seen = std::collections::BTreeSet::new();
    protocols.retain(|protocol| seen.insert(protocol.name.clone()));
    protocols
}
