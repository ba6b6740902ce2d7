//! Who is at the other end of a connection, as its requests see it.

use std::net::SocketAddr;
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
    /// Whoever has not logged in: everybody, until there is a way to.
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
        }
    }
}
