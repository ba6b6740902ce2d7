//! The HTTP side: two paths, a few connections at a time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::debug;

use super::snapshot::Gatherer;
use super::text;
use crate::broker::Broker;
use crate::client_text::client_text;
use crate::log_limited;

/// Connections at one time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 16;
/// A connection that sends no request for so long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause after accept fails for lack of file descriptors, instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// Serves `/metrics` and `/health` until it is dropped.
pub async fn run(broker: Arc<Broker>, listener: TcpListener) {
    let gatherer = Arc::new(Gatherer::new(broker));
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log_limited!(warn, "cannot accept a connection for metrics: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let gatherer = Arc::clone(&gatherer);
        connections.spawn(async move {
            let service = service_fn(|request| answer(&gatherer, request));
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(IDLE_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                let error = error.to_string();
                debug!("a connection for metrics ended: {}", client_text(&error));
            }
            drop(place);
        });
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
    match broker.logs.offline() {
        Some(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, &format!("{reason}\n")),
        None if broker.is_shutting_down() => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
        }
        None => plain(StatusCode::OK, "ok\n"),
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
