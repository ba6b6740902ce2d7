//! Who is at the other end of a connection, as its requests see it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::config::{HostPort, SecurityProtocol};
use crate::net::account::ResponseAccount;
use crate::quota::limits::ClientQuotas;

/// Who asks: Kafka's `KafkaPrincipal`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// `User` for every client.
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

/// `Type:name`, as access control entries and delegation tokens have it.
impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
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
    /// What counts for the client that has asked last.
    pub(crate) quotas: Mutex<Option<Arc<ClientQuotas>>>,
    /// Under which id a client that reports metrics came over this connection, the last of them.
    pub(crate) reports_as: Mutex<Option<Uuid>>,
    /// Its client has logged in with a delegation token (KIP-48).
    by_token: AtomicBool,
    reading: Reading,
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
            quotas: Mutex::default(),
            reports_as: Mutex::default(),
            by_token: AtomicBool::default(),
            reading: Reading::default(),
        }
    }

    /// The client has logged in, with a delegation token or in another way.
    pub(crate) fn set_by_token(&self, by_token: bool) {
        self.by_token.store(by_token, Ordering::Relaxed);
    }

    /// Whether all that its client has shown is a delegation token.
    pub(crate) fn is_by_token(&self) -> bool {
        self.by_token.load(Ordering::Relaxed)
    }

    /// The next request is not read before the one under way has been answered: its client has quotas, and may have to wait
    /// after it.
    pub(crate) fn answer_first(&self) {
        self.reading.answer_first.store(true, Ordering::Relaxed);
    }

    /// Whether [`answer_first`](Self::answer_first) was said of the last request.
    #[inline]
    pub(crate) fn is_answered_first(&self) -> bool {
        let flag = &self.reading.answer_first;
        flag.load(Ordering::Relaxed) && flag.swap(false, Ordering::Relaxed)
    }

    /// The connection is not read for this long (KIP-219), or for as long as was said before, if that is longer.
    pub(crate) fn mute(&self, wait: Duration) {
        let now = Instant::now();
        // Longer than the clock reaches is for ever.
        let until = now.checked_add(wait).unwrap_or(now + FOR_EVER);
        let mut muted_until = self.reading.muted_until.lock();
        *muted_until = muted_until.max(Some(until));
        self.reading.is_muted.store(true, Ordering::Relaxed);
    }

    /// Until when the connection is not read, if somebody has said so.
    #[inline]
    pub(crate) fn take_muted_until(&self) -> Option<Instant> {
        let flag = &self.reading.is_muted;
        if !flag.load(Ordering::Relaxed) || !flag.swap(false, Ordering::Relaxed) {
            return None;
        }
        self.reading.muted_until.lock().take()
    }
}

/// What is thought of as no end: a hundred years.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// When the next request may be read.
#[derive(Default)]
struct Reading {
    answer_first: AtomicBool,
    is_muted: AtomicBool,
    muted_until: Mutex<Option<Instant>>,
}
