//! Who is at the other end of a connection, as its requests see it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};

use crate::config::HostPort;
use crate::net::account::ResponseAccount;

/// Who asks: Kafka's `KafkaPrincipal`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// `User` for everybody who is not a delegation token's bearer.
    pub kind: Arc<str>,
    pub name: Arc<str>,
}

impl Principal {
    /// A client that has not logged in. Until there is a way to, that is every client.
    pub fn anonymous() -> Self {
        Self {
            kind: "User".into(),
            name: "ANONYMOUS".into(),
        }
    }
}

/// What a client says that it is (KIP-511).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSoftware {
    pub name: String,
    pub version: String,
}

/// One connection.
pub struct Session {
    pub peer_addr: SocketAddr,
    pub principal: Principal,
    /// Which listener it came to.
    pub listener_name: String,
    /// Where clients of this listener are told to connect.
    pub advertised: HostPort,
    /// Known when the client has said so in ApiVersions.
    pub software: OnceLock<ClientSoftware>,
    /// What the response under way takes of the broker's memory.
    pub account: ResponseAccount,
    /// For how long the client's next request will have to wait.
    throttle_time_ms: AtomicI32,
}

impl Session {
    /// A connection over which nothing has been said yet.
    pub fn new(peer_addr: SocketAddr, listener_name: String, advertised: HostPort) -> Self {
        Self {
            peer_addr,
            principal: Principal::anonymous(),
            listener_name,
            advertised,
            software: OnceLock::new(),
            account: ResponseAccount::default(),
            throttle_time_ms: AtomicI32::new(0),
        }
    }

    /// What a response says of the client's quotas (KIP-219): for how long its next request will have to wait. There are
    /// no quotas yet, so nobody waits.
    pub(crate) fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms.load(Ordering::Relaxed)
    }

    /// Lets every response say so.
    #[cfg(test)]
    pub(crate) fn throttle(&self, throttle_time_ms: i32) {
        self.throttle_time_ms
            .store(throttle_time_ms, Ordering::Relaxed);
    }
}
