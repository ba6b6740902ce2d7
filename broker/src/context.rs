//! What an API handler knows besides the request itself.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::broker::Broker;

/// One connection, as its requests see it.
#[derive(Debug)]
pub struct ConnectionInfo {
    pub peer_addr: SocketAddr,
    /// Where clients of this connection's listener are told to connect.
    pub advertised_host: String,
    pub advertised_port: u16,
    pub listener_name: String,
}

/// One request on its way through a handler.
#[derive(Clone)]
pub struct RequestContext {
    pub broker: Arc<Broker>,
    pub connection: Arc<ConnectionInfo>,
    pub api_version: i16,
    pub client_id: Arc<str>,
}
