//! One connection: frames in, responses out, in the order of the requests.
//!
//! Stage 1 of every request runs here, in order, and gives a [`Pending`] response; the writer half
//! drains those from a bounded queue. One task serves both halves.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use protocol_shim::frame::FrameError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::broker::Broker;
use crate::client_text::client_text;
use crate::dispatch;
use crate::log_limited;
use crate::metrics::Asked;
use crate::net::budget::{Crowd, Pool, Share};
use crate::net::frame_reader::FrameReader;
use crate::net::response_writer::write_responses;
use crate::net::session::Session;
use crate::response::{Pending, RequestError};

/// Requests of one connection that may be under way at once; a client that sends more is not read.
const MAX_PIPELINED_REQUESTS: usize = 64;
/// How long responses under way are waited for once the broker shuts down or the client has erred.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

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
    Frame {
        error: FrameError,
        hint: &'static str,
    },
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
    Request(#[from] RequestError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A response under way and the request bytes it may still need.
pub(super) struct Queued {
    pub pending: Pending,
    pub held: HeldBytes,
    pub asked: Asked,
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
    /// Who waits for it.
    pub crowd: Crowd,
}

impl<'a> Connection<'a> {
    fn new(broker: &'a Arc<Broker>, session: &'a Arc<Session>) -> Self {
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
    pub fn has_moved(&self) {
        let ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progress_ms.store(ms, Ordering::Relaxed);
    }

    /// Resolves when nothing has been read or written for `connections.max.idle.ms`. The timer goes off, at the latest,
    /// then; it is not set again with each request.
    async fn is_idle(&self) -> Close {
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

/// Serves one connection until either side ends it.
pub async fn serve<S>(broker: Arc<Broker>, session: Arc<Session>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, writer) = tokio::io::split(stream);
    let (queue, responses) = mpsc::channel(MAX_PIPELINED_REQUESTS);
    let connection = Connection::new(&broker, &session);
    let close = {
        let mut requests = std::pin::pin!(read_requests(&connection, reader, queue));
        let mut writing = std::pin::pin!(write_responses(&connection, writer, responses));
        let idle = std::pin::pin!(connection.is_idle());
        tokio::select! {
            close = &mut requests => {
                if !matches!(close, Close::ByClient | Close::Io(_)) {
                    // What was asked before is still answered.
                    let _ = tokio::time::timeout(DRAIN_TIMEOUT, writing).await;
                }
                close
            }
            written = &mut writing => match written {
                Ok(()) => Close::ByClient,
                Err(close) => close,
            },
            close = idle => close,
        }
    };
    match close {
        Close::ByClient | Close::Shutdown | Close::Idle(_) | Close::Io(_) => {
            debug!(peer = %session.peer_addr, "connection ended: {close}");
        }
        _ => {
            let why = close.to_string();
            log_limited!(warn, peer = %session.peer_addr, listener = %session.listener_name, "closing connection: {}", client_text(&why));
        }
    }
}

async fn read_requests(
    connection: &Connection<'_>,
    reader: impl AsyncRead + Unpin,
    queue: mpsc::Sender<Queued>,
) -> Close {
    let broker = connection.broker;
    let shutdown = std::pin::pin!(broker.wait_for_shutdown());
    let mut frames = FrameReader::new(connection, reader, shutdown);
    loop {
        let (frame, held) = match frames.next().await {
            Ok(frame) => frame,
            Err(close) => return close,
        };
        let asked = broker.requests.asked(&frame);
        // Waiting for a place in the queue before the request is looked at bounds what is under way.
        let place = match frames.unless_shutdown(queue.reserve()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Close::ByClient,
            Err(close) => return close,
        };
        match dispatch::dispatch(broker, connection.session, frame, asked.at()).await {
            Ok(pending) => place.send(Queued {
                pending,
                held,
                asked,
            }),
            Err(error) => {
                broker.requests.failed(&asked);
                return error.into();
            }
        }
    }
}
