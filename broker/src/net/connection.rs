//! One connection: frames in, responses out, in the order of the requests.
//!
//! Stage 1 of every request runs here, in order, and gives a [`Pending`] response; the writer half
//! drains those from a bounded queue. One task serves both halves.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;
use tracing::debug;

use crate::broker::Broker;
use crate::client_text::client_text;
use crate::dispatch;
use crate::log_limited;
use crate::net::frame_reader::{FrameReader, Limits};
use crate::net::halves::{Close, Connection, Queued};
use crate::net::login::{Login, Meaning};
use crate::net::response_writer::write_responses;
use crate::net::session::Session;
use crate::response::Pending;
use crate::security::tls::handshake::NoHandshake;

/// Requests of one connection that may be under way at once; a client that sends more is not read.
const MAX_PIPELINED_REQUESTS: usize = 64;
/// How long responses under way are waited for once the broker shuts down or the client has erred.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What a log-in leaves behind.
#[derive(Default)]
pub(super) struct Begun {
    pub login: Option<Login>,
    /// What the client has sent behind it.
    pub read: BytesMut,
}

/// Serves one connection until either side ends it.
pub async fn serve<S>(broker: Arc<Broker>, session: Arc<Session>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    serve_begun(broker, session, stream, Begun::default()).await;
}

/// The same, once the client has said who it is.
pub(super) async fn serve_begun<S>(
    broker: Arc<Broker>,
    session: Arc<Session>,
    stream: S,
    begun: Begun,
) where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, writer) = tokio::io::split(stream);
    let (queue, responses) = mpsc::channel(MAX_PIPELINED_REQUESTS);
    let connection = Connection::new(&broker, &session);
    let mut requests = std::pin::pin!(read_requests(&connection, reader, begun, queue));
    let mut writing = std::pin::pin!(write_responses(&connection, writer, responses));
    let idle = std::pin::pin!(connection.is_idle());
    // The end is told before the client can see it: whoever looks for the reason finds it in the log.
    tokio::select! {
        close = &mut requests => {
            tell(&session, &close);
            if !matches!(close, Close::ByClient | Close::Io(_)) {
                // What was asked before is still answered.
                let _ = tokio::time::timeout(DRAIN_TIMEOUT, &mut writing).await;
            }
        }
        written = &mut writing => match written {
            Ok(()) => tell(&session, &Close::ByClient),
            Err(close) => tell(&session, &close),
        },
        close = idle => tell(&session, &close),
    }
    broker.client_metrics.forget(&session);
}

/// Why a connection ends. That is a warning where somebody has erred.
pub(super) fn tell(session: &Session, close: &Close) {
    match close {
        Close::ByClient
        | Close::Shutdown
        | Close::Idle(_)
        // Scanners and health checks come and go.
        | Close::Handshake(NoHandshake::Left(_))
        | Close::NotLoggedIn
        | Close::LoginExpired
        | Close::Io(_) => {
            debug!(peer = %session.peer_addr, "connection ended: {close}");
        }
        _ => {
            let why = close.to_string();
            log_limited!(warn, peer = %session.peer_addr, listener = %session.listener.name, "closing connection: {}", client_text(&why));
        }
    }
}

async fn read_requests(
    connection: &Connection<'_>,
    reader: impl AsyncRead + Unpin,
    begun: Begun,
    queue: mpsc::Sender<Queued>,
) -> Close {
    let broker = connection.broker;
    let shutdown = std::pin::pin!(broker.wait_for_shutdown());
    let limits = Limits {
        max_bytes: broker.config.serving.socket_request_max_bytes,
        read_before: begun.read,
    };
    let mut frames = FrameReader::new(connection, reader, limits, shutdown);
    let mut login = begun.login;
    loop {
        if let Some(until) = connection.session.take_muted_until() {
            let _muted = broker.quotas.throttled.mute();
            if let Err(close) = frames.unless_shutdown(sleep_until(until)).await {
                return close;
            }
        }
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
        if let Some(login) = &mut login {
            match login.meaning(&frame) {
                Meaning::Request => {}
                Meaning::Expired => return Close::LoginExpired,
                Meaning::Login => {
                    // In a box, as all that few connections do: what waits for a request is small.
                    let (answer, close) = match Box::pin(login.go_on(connection, frame)).await {
                        Ok(answer) => (Some(answer), None),
                        Err((answer, close)) => (answer, Some(close)),
                    };
                    let pending = answer.map_or(Pending::NoResponse, Pending::Ready);
                    place.send(Queued {
                        pending,
                        held,
                        asked,
                        answered: None,
                    });
                    match close {
                        Some(close) => return close,
                        None => continue,
                    }
                }
            }
        }
        match dispatch::dispatch(broker, connection.session, frame, asked.at()).await {
            Ok(pending) => {
                let is_answered_first = connection.session.is_answered_first();
                let (answered, leaves) = match is_answered_first {
                    true => Some(oneshot::channel()).unzip(),
                    false => (None, None),
                };
                place.send(Queued {
                    pending,
                    held,
                    asked,
                    answered,
                });
                if let Some(leaves) = leaves
                    && let Err(close) = frames.unless_shutdown(leaves).await
                {
                    return close;
                }
            }
            Err(error) => {
                broker.requests.failed(&asked);
                return error.into();
            }
        }
    }
}
