//! Binds ports, and accepts connections until the broker shuts down.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, warn};

use crate::broker::Broker;
use crate::client_text::client_text;
use crate::config::{self, HostPort};
use crate::log_limited;
use crate::net::accept::accept;
use crate::net::login;
use crate::net::session::ClientListener;
use crate::server::Listening;

/// How long connections may take to end when the broker shuts down: what clients do must not keep it from ending.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// The smallest queue of connections not yet accepted: Kafka's default of 50 is small for a test suite's burst.
const MIN_BACKLOG: i32 = 1024;

/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot listen on {address}: the port is in use")]
    InUse { address: SocketAddr },
    #[error("cannot listen on {address}: {source}")]
    Bind {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot listen on {host}: {source}")]
    Resolve { host: HostPort, source: io::Error },
}

/// Ports that are taken but not open yet. Clients are refused until `BoundListener::open`.
pub struct BoundListener {
    sockets: Vec<Socket>,
    addresses: Vec<SocketAddr>,
    told: ClientListener,
}

/// One open socket, and what its clients are told.
pub struct Listener {
    socket: TcpListener,
    told: Arc<ClientListener>,
}

/// Takes the ports of a listener: an empty host is every interface, `localhost` is 127.0.0.1 and, where
/// there is IPv6, `[::1]`.
///
/// # Errors
/// When the host has no address here or a port is taken.
pub(crate) fn bind(listener: &config::Listener) -> Result<BoundListener, BindError> {
    let HostPort { host, port } = &listener.bind;
    let (required, optional) = match host.as_str() {
        "" => (
            vec![IpAddr::from(Ipv4Addr::UNSPECIFIED)],
            Some(IpAddr::from(Ipv6Addr::UNSPECIFIED)),
        ),
        "localhost" => (
            vec![IpAddr::from(Ipv4Addr::LOCALHOST)],
            Some(IpAddr::from(Ipv6Addr::LOCALHOST)),
        ),
        host => {
            let resolved =
                (host, *port)
                    .to_socket_addrs()
                    .map_err(|source| BindError::Resolve {
                        host: listener.bind.clone(),
                        source,
                    })?;
            (resolved.map(|address| address.ip()).take(1).collect(), None)
        }
    };
    let mut port = *port;
    let mut bound = BoundListener {
        sockets: Vec::new(),
        addresses: Vec::new(),
        told: ClientListener {
            name: listener.name.clone(),
            security_protocol: listener.security_protocol,
            advertised: listener.advertised.clone(),
        },
    };
    for ip in required {
        bound.bind(SocketAddr::new(ip, port))?;
        // With port 0 all addresses share the port that the first was given.
        port = bound.addresses.last().map_or(port, SocketAddr::port);
    }
    if let Some(ip) = optional {
        // Any other failure: this machine has no IPv6.
        if let Err(error @ BindError::InUse { .. }) = bound.bind(SocketAddr::new(ip, port)) {
            return Err(error);
        }
    }
    if bound.told.advertised.port == 0 {
        bound.told.advertised.port = port;
    }
    Ok(bound)
}

impl BoundListener {
    /// What there is to tell about it.
    pub(crate) fn listening(&self) -> Listening {
        Listening {
            name: self.told.name.clone(),
            security_protocol: self.told.security_protocol,
            addresses: self.addresses.clone(),
            advertised: self.told.advertised.clone(),
        }
    }

    fn bind(&mut self, address: SocketAddr) -> Result<(), BindError> {
        let bind = || {
            let socket = Socket::new(
                Domain::for_address(address),
                Type::STREAM,
                Some(Protocol::TCP),
            )?;
            if address.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            // A restart must not wait for old connections in TIME_WAIT; a listening socket still excludes us.
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            let bound_to = socket.local_addr()?.as_socket().unwrap_or(address);
            Ok((socket, bound_to))
        };
        let (socket, bound_to) = bind().map_err(|source| failed(address, source))?;
        self.sockets.push(socket);
        self.addresses.push(bound_to);
        Ok(())
    }

    /// Where clients can connect once this is open.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Opens the ports. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When another process opened a port in the meantime.
    pub(crate) fn open(self, backlog: i32) -> Result<Vec<Listener>, BindError> {
        let told = Arc::new(self.told);
        let open = |(socket, address): (Socket, SocketAddr)| {
            let listen = || {
                socket.listen(backlog.max(MIN_BACKLOG))?;
                TcpListener::from_std(socket.into())
            };
            let socket = listen().map_err(|source| failed(address, source))?;
            Ok(Listener {
                socket,
                told: Arc::clone(&told),
            })
        };
        self.sockets
            .into_iter()
            .zip(self.addresses)
            .map(open)
            .collect()
    }
}

fn failed(address: SocketAddr, source: io::Error) -> BindError {
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address },
        _ => BindError::Bind { address, source },
    }
}

impl Listener {
    /// The socket alone, for what does not speak Kafka's protocol.
    pub(crate) fn into_socket(self) -> TcpListener {
        self.socket
    }
}

/// Serves a listener's connections; returns when the broker shuts down and they have ended.
pub(crate) async fn run(broker: Arc<Broker>, listener: Listener) {
    let mut shutdown = broker.shutdown_signal();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener.socket, &listener.told.name) => accepted,
            Some(ended) = connections.join_next() => {
                tell_panic(ended);
                continue;
            }
            _ = shutdown.wait_for(|down| *down) => break,
        };
        let (stream, peer_addr) = accepted;
        let rates = &broker.connection_rates;
        let pause = rates.came(&listener.told.name);
        if !pause.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = shutdown.wait_for(|down| *down) => break,
            }
        }
        if let Err(delay) = rates.admit(&listener.told.name, peer_addr.ip()) {
            debug!(peer = %peer_addr, "connections come too fast from there: this one is closed in {delay:?}");
            if let Some(waiting) = rates.wait() {
                let closing = close_later(Arc::clone(&broker), stream, delay);
                connections.spawn(async move {
                    closing.await;
                    drop(waiting);
                });
            }
            continue;
        }
        let place = tokio::select! {
            place = broker.connection_limits.place(peer_addr.ip()) => place,
            _ = shutdown.wait_for(|down| *down) => break,
        };
        let place = match place {
            Ok(place) => place,
            Err(refused) => {
                log_limited!(warn, peer = %peer_addr, "refusing connection: {refused}");
                continue;
            }
        };
        if let Err(error) = set_options(&stream) {
            log_limited!(warn, peer = %peer_addr, "cannot set socket options: {error}");
            continue;
        }
        let (broker, told) = (Arc::clone(&broker), Arc::clone(&listener.told));
        connections.spawn(async move {
            // Made where it is waited for: moved here, it would take its room twice.
            serve(broker, told, stream, peer_addr).await;
            drop(place);
        });
    }
    drop(listener);
    let ended = tokio::time::timeout(STOP_TIMEOUT, async {
        while let Some(ended) = connections.join_next().await {
            tell_panic(ended);
        }
    });
    if ended.await.is_err() {
        warn!(
            connections = connections.len(),
            "connections that have not ended by now are cut off"
        );
        connections.shutdown().await;
    }
}

async fn serve(
    broker: Arc<Broker>,
    listener: Arc<ClientListener>,
    stream: TcpStream,
    peer_addr: SocketAddr,
) {
    match broker.tls.get(&listener.name).cloned() {
        // In a box, so that a connection without TLS is small.
        Some(tls) => {
            Box::pin(login::serve_encrypted(
                broker, tls, listener, stream, peer_addr,
            ))
            .await;
        }
        None => login::serve(broker, listener, stream, peer_addr).await,
    }
}

/// Keeps a connection that is not served, so that its client does not come back at once.
async fn close_later(broker: Arc<Broker>, stream: TcpStream, delay: Duration) {
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        () = broker.wait_for_shutdown() => {}
    }
    drop(stream);
}

/// A connection's task that panics takes nothing but its connection with it.
fn tell_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        let what = error.to_string();
        log_limited!(
            error,
            "a connection ended by a bug of the broker: {}",
            client_text(&what)
        );
    }
}

fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new())
}
