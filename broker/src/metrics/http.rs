//! The HTTP side: a few paths, a few connections at a time, from before the recovery to the end of the stop.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use credentials::secret::Secret;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use storage::log::{Health, RecoveryProgress};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tracing::debug;

use super::exporters::{KafkaExporter, Kminion};
use super::snapshot::Gatherer;
use super::text;
use crate::broker::Broker;
use crate::client_text::client_text;
use crate::config::HostPort;
use crate::log_limited;
use crate::net::accept::accept;

/// Connections at one time. One more takes the place of the oldest that is given no answer: who says nothing must not
/// keep `/health` from answering.
const MAX_CONNECTIONS: usize = 16;
/// A connection that sends no request for so long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Scrapes at one time, until they are sent: each may take some megabytes.
const MAX_SCRAPES: usize = 2;
/// A scrape waits for so long until there are fewer.
const SCRAPE_PATIENCE: Duration = Duration::from_secs(5);
/// A client that has not taken a scrape after so long is closed.
const TAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// The first line of a file with a token is not longer.
const MAX_TOKEN_BYTES: usize = 4096;
/// What is given to the connection at once.
const PIECE_BYTES: usize = 64 << 10;
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";
const PATHS: &str =
    "there are /metrics, /metrics/kafka_exporter, /metrics/kminion, /livez, /readyz and /health\n";

/// One open connection.
struct Open {
    task: AbortHandle,
    is_answered: Arc<AtomicBool>,
}

/// What is told over HTTP.
pub struct Http {
    stage: ArcSwap<Stage>,
    token: Option<Token>,
    scrapes: Arc<Semaphore>,
}

/// How far the broker is.
enum Stage {
    Recovering(Arc<RecoveryProgress>),
    /// The logs are open; metadata, groups and transactions are read back.
    Loading,
    Serving(Gatherer),
}

impl Http {
    /// Of a broker whose start begins now.
    pub fn of_a_start(progress: Arc<RecoveryProgress>, token: Option<Token>) -> Self {
        Self {
            stage: ArcSwap::from_pointee(Stage::Recovering(progress)),
            token,
            scrapes: Arc::new(Semaphore::new(MAX_SCRAPES)),
        }
    }

    /// Of a broker that serves already.
    pub fn of(broker: Arc<Broker>) -> Self {
        let http = Self::of_a_start(Arc::default(), None);
        let advertised = broker.config.listeners[0].advertised.clone();
        http.serves(broker, advertised);
        http
    }

    /// The logs are open.
    pub fn loads(&self) {
        self.stage.store(Arc::new(Stage::Loading));
    }

    /// Clients can connect, and are told to do so at `advertised`.
    pub fn serves(&self, broker: Arc<Broker>, advertised: HostPort) {
        let serving = Stage::Serving(Gatherer::new(broker, advertised));
        self.stage.store(Arc::new(serving));
    }

    /// Takes the token as its file has it now. If that cannot be read, the token stays what it was.
    pub fn reload(&self) {
        if let Some(token) = &self.token
            && let Err(error) = token.reload()
        {
            tracing::error!("{error}; the token stays what it was");
        }
    }

    /// Whether a request may see metrics.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let given = given.and_then(|given| given.split_at_checked(7));
        given.is_some_and(|(scheme, given)| {
            scheme.eq_ignore_ascii_case(b"Bearer ") && token.secret.load().is(given)
        })
    }
}

/// What somebody who wants metrics has to send, and the file that says it.
pub struct Token {
    path: PathBuf,
    secret: ArcSwap<Secret>,
}

impl Token {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or its first line is empty.
    pub fn read(path: &Path) -> Result<Self, String> {
        Ok(Self {
            path: path.to_owned(),
            secret: ArcSwap::from_pointee(read_secret(path)?),
        })
    }

    fn reload(&self) -> Result<(), String> {
        self.secret.store(Arc::new(read_secret(&self.path)?));
        Ok(())
    }
}

fn read_secret(path: &Path) -> Result<Secret, String> {
    let failed = |what: &dyn std::fmt::Display| {
        format!("ottla.metrics.token.file: {}: {what}", path.display())
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    let line = text.lines().next().unwrap_or_default().trim();
    match line.len() {
        0 => Err(failed(&"expected a token in the first line")),
        1..=MAX_TOKEN_BYTES => Ok(Secret::new(line)),
        _ => Err(failed(&"the first line is longer than 4096 bytes")),
    }
}

/// Serves until it is dropped.
pub async fn run(http: Arc<Http>, listener: TcpListener) {
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
            Arc::clone(&http),
            stream,
            peer,
            Arc::clone(&is_answered),
        ));
        open.push_back(Open { task, is_answered });
    }
}

async fn serve(http: Arc<Http>, stream: TcpStream, peer: SocketAddr, is_answered: Arc<AtomicBool>) {
    let mut first = [0];
    match tokio::time::timeout(IDLE_TIMEOUT, stream.peek(&mut first)).await {
        Ok(Ok(1..)) => {}
        _ => return,
    }
    if let Some(what) = other_than_http(first) {
        log_limited!(warn, %peer, "closing connection: this looks like {what}, and the port speaks HTTP");
        return;
    }
    let too_slow = Arc::<Notify>::default();
    let service = service_fn(async |request| {
        is_answered.store(true, Ordering::Relaxed);
        let response = answer(&http, request, &too_slow).await;
        is_answered.store(false, Ordering::Relaxed);
        response
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let served = tokio::select! {
        served = serving => served,
        () = too_slow.notified() => {
            debug!(%peer, "closing connection: a scrape was not taken in {TAKE_TIMEOUT:?}");
            return;
        }
    };
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
    http: &Http,
    request: Request<Incoming>,
    too_slow: &Arc<Notify>,
) -> Result<Response<Text>, Infallible> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Ok(plain(StatusCode::METHOD_NOT_ALLOWED, "GET only\n"));
    }
    let stage = http.stage.load_full();
    Ok(match request.uri().path() {
        "/livez" => plain(StatusCode::OK, "ok\n"),
        "/readyz" | "/health" | "/healthz" => match unready(&stage) {
            Some(reason) => unavailable(&reason),
            None => plain(StatusCode::OK, &well(&stage)),
        },
        path => match Names::of(path) {
            None => plain(StatusCode::NOT_FOUND, PATHS),
            Some(_) if !http.admits(request.headers()) => unauthorized(),
            Some(names) => match &*stage {
                Stage::Serving(gatherer) => metrics(http, gatherer, names, too_slow).await,
                stage => unavailable(&unready(stage).unwrap_or_default()),
            },
        },
    })
}

/// Whose names metrics go by.
#[derive(Clone, Copy)]
enum Names {
    Own,
    KafkaExporter,
    Kminion,
}

impl Names {
    fn of(path: &str) -> Option<Self> {
        match path {
            "/metrics" => Some(Self::Own),
            "/metrics/kafka_exporter" => Some(Self::KafkaExporter),
            "/metrics/kminion" => Some(Self::Kminion),
            _ => None,
        }
    }
}

async fn metrics(
    http: &Http,
    gatherer: &Gatherer,
    names: Names,
    too_slow: &Arc<Notify>,
) -> Response<Text> {
    let place = Arc::clone(&http.scrapes).acquire_owned();
    let Ok(Ok(place)) = tokio::time::timeout(SCRAPE_PATIENCE, place).await else {
        return unavailable("other scrapes are under way");
    };
    let snapshot = gatherer.snapshot(matches!(names, Names::Kminion)).await;
    // It may be long.
    let rendered = tokio::task::spawn_blocking(move || match names {
        Names::Own => text::render(snapshot),
        Names::KafkaExporter => text::render(KafkaExporter(snapshot)),
        Names::Kminion => text::render(Kminion(snapshot)),
    });
    let rendered = rendered.await;
    match rendered.unwrap_or(Err(std::fmt::Error)) {
        Ok(text) => {
            let sending = Sending::begin(place, Arc::clone(too_slow));
            response(StatusCode::OK, text::CONTENT_TYPE, text, Some(sending))
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

/// Why clients are not served, or not well.
fn unready(stage: &Stage) -> Option<String> {
    let broker = match stage {
        Stage::Recovering(progress) => return Some(format!("recovering {} %", progress.percent())),
        Stage::Loading => return Some("loading metadata, groups and transactions".to_owned()),
        Stage::Serving(gatherer) => &gatherer.broker,
    };
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
    if broker
        .members
        .as_ref()
        .is_some_and(|members| members.fence().borrow().is_none())
    {
        return Some("this broker has no lease in the cluster's database".to_owned());
    }
    if !broker.cluster.now().has_me() {
        return Some("this broker has not followed yet what others have changed".to_owned());
    }
    match health {
        Health::Stalled(reason) | Health::Neglected(reason) => Some(reason),
        Health::Good | Health::Offline(_) => None,
    }
}

/// What is told of a broker that serves, and that somebody should know: it is no reason to send its clients elsewhere.
fn well(stage: &Stage) -> String {
    let trouble = match stage {
        Stage::Serving(gatherer) => gatherer.broker.members.as_ref(),
        Stage::Recovering(_) | Stage::Loading => None,
    };
    let trouble = trouble.and_then(|members| members.clock_trouble());
    trouble.map_or("ok\n".to_owned(), |trouble| format!("ok, but {trouble}\n"))
}

fn plain(status: StatusCode, text: &str) -> Response<Text> {
    response(status, PLAIN_TEXT, text.to_owned(), None)
}

fn unavailable(reason: &str) -> Response<Text> {
    plain(StatusCode::SERVICE_UNAVAILABLE, &format!("{reason}\n"))
}

fn unauthorized() -> Response<Text> {
    let mut response = plain(
        StatusCode::UNAUTHORIZED,
        "expected Authorization: Bearer and the token of ottla.metrics.token.file\n",
    );
    let bearer = HeaderValue::from_static("Bearer");
    response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
    response
}

fn response(
    status: StatusCode,
    content_type: &'static str,
    text: String,
    sending: Option<Sending>,
) -> Response<Text> {
    let mut response = Response::new(Text {
        left: Bytes::from(text),
        _sending: sending,
    });
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// A body, which is dropped when the kernel has it or the connection ends.
struct Text {
    left: Bytes,
    _sending: Option<Sending>,
}

impl Body for Text {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let left = &mut self.get_mut().left;
        // In pieces: the last of them is asked for when the others are written.
        let piece = left.split_to(left.len().min(PIECE_BYTES));
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

/// A scrape that is being sent. Its client has so long to take it.
struct Sending {
    _place: OwnedSemaphorePermit,
    deadline: AbortHandle,
}

impl Sending {
    fn begin(place: OwnedSemaphorePermit, too_slow: Arc<Notify>) -> Self {
        let deadline = tokio::spawn(async move {
            tokio::time::sleep(TAKE_TIMEOUT).await;
            too_slow.notify_one();
        });
        Self {
            _place: place,
            deadline: deadline.abort_handle(),
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.deadline.abort();
    }
}
