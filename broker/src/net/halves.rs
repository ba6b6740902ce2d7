//! What the two halves of a connection share, and why it ends.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use protocol_shim::frame::FrameError;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::broker::Broker;
use crate::metrics::Asked;
use crate::net::budget::{Crowd, Pool, Share};
use crate::net::session::Session;
use crate::response::{Pending, RequestError};
use crate::security::tls::handshake::NoHandshake;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Close {
    #[error("closed by the client")]
    ByClient,
    #[error("the broker is shutting down")]
    Shutdown,
    #[error("nothing was read or written for {0:?}")]
    Idle(Duration),
    /// What was sent is no frame; the hint says what else it looks like.
    #[error("{error}{hint}")]
    Frame { error: FrameError, hint: String },
    #[error(
        "{read_bytes} of the {length_bytes} bytes of a request came, then too few for {window:?}"
    )]
    SlowRequest {
        read_bytes: usize,
        length_bytes: usize,
        window: Duration,
    },
    #[error(
        "the client does not read its response, {left_bytes} bytes are left, and others wait for the memory"
    )]
    Unread { left_bytes: usize },
    #[error(transparent)]
    Handshake(#[from] NoHandshake),
    /// It was told why, and so was the operator.
    #[error("the client has not logged in")]
    NotLoggedIn,
    #[error("the client took longer than {0:?} to become known (ottla.authentication.timeout.ms)")]
    LoginTimeout(Duration),
    #[error(
        "a connection that has logged in may have its place (ottla.unauthenticated.connections.max)"
    )]
    Displaced,
    #[error("the client asks something after its log-in has run out")]
    LoginExpired,
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A response under way and the request bytes it may still need.
pub(super) struct Queued {
    pub pending: Pending,
    pub held: HeldBytes,
    pub asked: Asked,
    /// Dropped when the response has left, where somebody waits for that.
    pub answered: Option<oneshot::Sender<()>>,
}

/// What a request takes of the broker's memory.
pub(super) enum HeldBytes {
    /// Too small to be counted for all; counted for its connection.
    Small(usize),
    Counted {
        _share: Share,
    },
}

/// What both halves of a connection know.
pub(super) struct Connection<'a> {
    pub broker: &'a Arc<Broker>,
    pub session: &'a Arc<Session>,
    /// Bytes of small requests that are not answered yet.
    pub small_bytes: AtomicUsize,
    /// From the first large request on.
    pub large: OnceLock<LargeRequests>,
    since: Instant,
    progress_ms: AtomicU64,
}

/// What the large requests of one connection hold.
pub(super) struct LargeRequests {
    pub own: Arc<Pool>,
    /// Those who wait for it.
    pub crowd: Crowd,
}

impl<'a> Connection<'a> {
    pub(crate) fn new(broker: &'a Arc<Broker>, session: &'a Arc<Session>) -> Self {
        Self {
            broker,
            session,
            small_bytes: AtomicUsize::new(0),
            large: OnceLock::new(),
            since: Instant::now(),
            progress_ms: AtomicU64::new(0),
        }
    }

    /// Bytes have been read or written.
    pub(crate) fn has_moved(&self) {
        let ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progress_ms.store(ms, Ordering::Relaxed);
    }

    /// Resolves when nothing has been read or written for `connections.max.idle.ms`. The timer goes off, at the latest,
    /// then; it is not set again with each request.
    pub(crate) async fn is_idle(&self) -> Close {
        let limit = self.broker.connections_max_idle();
        let mut left = limit;
        loop {
            sleep(left).await;
            let progress = Duration::from_millis(self.progress_ms.load(Ordering::Relaxed));
            let silent = self.since.elapsed().saturating_sub(progress);
            // Progress is counted in whole milliseconds.
            match limit.checked_sub(silent) {
                None | Some(Duration::ZERO) => return Close::Idle(limit),
                Some(rest) => left = rest,
            }
        }
    }
}
