//! Who is at the other end of a connection, as its requests see it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};

use crate::config::{HostPort, SecurityProtocol};
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

/// The listener that a client came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientListener {
    pub name: String,
    pub security_protocol: SecurityProtocol,
    /// Where its clients are told to connect.
    pub advertised: HostPort,
}

impl ClientListener {
    /// One that neither encrypts nor asks who its clients are.
    pub fn plaintext(advertised: HostPort) -> Self {
        Self {
            name: "PLAINTEXT".to_owned(),
            security_protocol: SecurityProtocol::Plaintext,
            advertised,
        }
    }
}

/// One connection whose client has said who it is, where the listener asks for that.
pub struct Session {
    pub peer_addr: SocketAddr,
    pub principal: Principal,
    pub listener: Arc<ClientListener>,
    /// Known when the client has said so in ApiVersions.
    pub software: OnceLock<ClientSoftware>,
    /// What the response under way takes of the broker's memory.
    pub account: ResponseAccount,
    /// For how long the client's next request will have to wait.
    throttle_time_ms: AtomicI32,
}

impl Session {
    /// A connection to a listener that asks nobody who they are.
    pub fn anonymous(peer_addr: SocketAddr, listener: ClientListener) -> Self {
        Self::new(peer_addr, Principal::anonymous(), Arc::new(listener))
    }

    /// A connection over which nothing has been asked yet.
    pub fn new(peer_addr: SocketAddr, principal: Principal, listener: Arc<ClientListener>) -> Self {
        Self {
            peer_addr,
            principal,
            listener,
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
