//! The HTTP side: two paths, a few connections at a time.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use storage::log::Health;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tracing::debug;

use super::snapshot::Gatherer;
use super::text;
use crate::broker::Broker;
use crate::client_text::client_text;
use crate::log_limited;
use crate::net::accept::accept;

/// Connections at one time. One more takes the place of the oldest that is given no answer: who says nothing must not
/// keep `/health` from answering.
const MAX_CONNECTIONS: usize = 16;
/// A connection that sends no request for so long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// One open connection.
struct Open {
    task: AbortHandle,
    is_answered: Arc<AtomicBool>,
}

/// Serves `/metrics` and `/health` until it is dropped.
pub async fn run(broker: Arc<Broker>, listener: TcpListener) {
    let gatherer = Arc::new(Gatherer::new(broker));
    let mut connections = JoinSet::new();
    let mut open: VecDeque<Open> = VecDeque::new();
    loop {
        let (stream, peer) = accept(&listener, "METRICS").await;
        while connections.try_join_next().is_some() {}
        open.retain(|other| !other.task.is_finished());
        if open.len() >= MAX_CONNECTIONS {
            let is_silent = |other: &Open| !other.is_answered.load(Ordering::Relaxed);
            let Some(silent) = open
                .iter()
                .position(is_silent)
                .and_then(|at| open.remove(at))
            else {
                continue;
            };
            silent.task.abort();
        }
        let is_answered = Arc::new(AtomicBool::new(false));
        let task = connections.spawn(serve(
            Arc::clone(&gatherer),
            stream,
            peer,
            Arc::clone(&is_answered),
        ));
        open.push_back(Open { task, is_answered });
    }
}

async fn serve(
    gatherer: Arc<Gatherer>,
    stream: TcpStream,
    peer: SocketAddr,
    is_answered: Arc<AtomicBool>,
) {
    let mut first = [0];
    match tokio::time::timeout(IDLE_TIMEOUT, stream.peek(&mut first)).await {
        Ok(Ok(1..)) => {}
        _ => return,
    }
    if let Some(what) = other_than_http(first) {
        log_limited!(warn, %peer, "closing connection: this looks like {what}, and the port speaks HTTP");
        return;
    }
    let service = service_fn(async |request| {
        is_answered.store(true, Ordering::Relaxed);
        let response = answer(&gatherer, request).await;
        is_answered.store(false, Ordering::Relaxed);
        response
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        let error = error.to_string();
        debug!(%peer, "a connection for metrics ended: {}", client_text(&error));
    }
}

/// What a connection speaks that begins with such a byte; `None` is HTTP, which begins with a word.
fn other_than_http(first: [u8; 1]) -> Option<&'static str> {
    match first {
        // The length of a request below 16 MiB.
        [0x00] => Some("Kafka's protocol"),
        [0x16] => Some("TLS"),
        _ => None,
    }
}

async fn answer(
    gatherer: &Gatherer,
    request: Request<Incoming>,
) -> Result<Response<String>, Infallible> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Ok(plain(StatusCode::METHOD_NOT_ALLOWED, "GET only\n"));
    }
    Ok(match request.uri().path() {
        "/metrics" => metrics(gatherer).await,
        "/health" => health(&gatherer.broker),
        _ => plain(StatusCode::NOT_FOUND, "there are /metrics and /health\n"),
    })
}

async fn metrics(gatherer: &Gatherer) -> Response<String> {
    match text::render(gatherer.snapshot().await) {
        Ok(text) => response(StatusCode::OK, text::CONTENT_TYPE, text),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

fn health(broker: &Broker) -> Response<String> {
    match unhealthy(broker) {
        Some(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, &format!("{reason}\n")),
        None => plain(StatusCode::OK, "ok\n"),
    }
}

/// Why the broker does not serve.
fn unhealthy(broker: &Broker) -> Option<String> {
    let health = broker.logs.health();
    if let Health::Offline(reason) = health {
        return Some(reason);
    }
    if let Some(panicked) = broker.metadata.vital().failure() {
        return Some(panicked.to_string());
    }
    if broker.is_shutting_down() {
        return Some("shutting down".to_owned());
    }
    match health {
        Health::Stalled(reason) => Some(reason),
        _ => None,
    }
}

fn plain(status: StatusCode, text: &str) -> Response<String> {
    response(status, PLAIN_TEXT, text.to_owned())
}

fn response(status: StatusCode, content_type: &'static str, text: String) -> Response<String> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
