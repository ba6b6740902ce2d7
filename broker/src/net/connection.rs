//! One connection: frames in, responses out, in the order of the requests.
//!
//! Stage 1 of every request runs here, in order, and gives a [`Pending`] response; the writer half
//! drains those from a bounded queue. One task serves both halves.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use protocol_shim::encode::ResponseFrame;
use protocol_shim::frame::{self, FrameError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};
use tracing::debug;

use crate::broker::Broker;
use crate::client_text::client_text;
use crate::context::ConnectionInfo;
use crate::dispatch::{self, Pending, RequestError};
use crate::log_limited;
use crate::metrics::Asked;
use crate::net::budget::Share;

/// Requests of one connection that may be under way at once; a client that sends more is not read.
const MAX_PIPELINED_REQUESTS: usize = 64;
/// What is read at once of a connection that waits for its next request.
const FIRST_READ_BYTES: usize = 4096;
/// A frame up to this size is not counted: however scarce memory is, small requests are read.
const FREE_FRAME_BYTES: usize = 64 << 10;
/// A frame up to this size is given its buffer at once, a larger one as its bytes arrive.
const TRUSTED_FRAME_BYTES: usize = 1 << 20;
/// How long responses under way are waited for once the broker shuts down or the client has erred.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Slices handed to one vectored write; the kernel takes 1024 at most.
const MAX_WRITE_SLICES: usize = 256;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Close {
    #[error("closed by the client")]
    ByClient,
    #[error("the broker is shutting down")]
    Shutdown,
    #[error("no request for {0:?}")]
    Idle(Duration),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A response under way and the request bytes it may still need.
struct Queued {
    pending: Pending,
    share: Option<Share>,
    asked: Asked,
}

/// Serves one connection until either side ends it.
pub async fn serve<S>(broker: Arc<Broker>, info: Arc<ConnectionInfo>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, writer) = tokio::io::split(stream);
    let (queue, responses) = mpsc::channel(MAX_PIPELINED_REQUESTS);
    let mut requests = std::pin::pin!(read_requests(&broker, &info, reader, queue));
    let mut writing = std::pin::pin!(write_responses(&broker, &info, writer, responses));
    let close = tokio::select! {
        close = &mut requests => {
            if matches!(close, Close::Shutdown | Close::Frame(_) | Close::Request(_)) {
                // What was asked before is still answered.
                let _ = tokio::time::timeout(DRAIN_TIMEOUT, writing).await;
            }
            close
        }
        written = &mut writing => match written {
            Ok(()) => Close::ByClient,
            Err(close) => close,
        },
    };
    match close {
        Close::Frame(_) | Close::Request(_) => {
            let why = close.to_string();
            log_limited!(warn, peer = %info.peer_addr, listener = %info.listener_name, "closing connection: {}", client_text(&why));
        }
        _ => debug!(peer = %info.peer_addr, "connection ended: {close}"),
    }
}

async fn read_requests(
    broker: &Arc<Broker>,
    info: &Arc<ConnectionInfo>,
    reader: impl AsyncRead + Unpin,
    queue: mpsc::Sender<Queued>,
) -> Close {
    let idle = std::pin::pin!(sleep(broker.connections_max_idle()));
    let shutdown = std::pin::pin!(broker.wait_for_shutdown());
    let mut frames = FrameReader {
        broker,
        info,
        reader,
        buffer: BytesMut::new(),
        after_small: true,
        shutdown,
        idle,
    };
    loop {
        let (frame, share) = match frames.next().await {
            Ok(frame) => frame,
            Err(close) => return close,
        };
        let asked = broker.requests.asked(&frame);
        // Waiting for a place in the queue before the request is looked at bounds what is under way.
        let Ok(place) = queue.reserve().await else {
            return Close::ByClient;
        };
        match dispatch::dispatch(broker, info, frame).await {
            Ok(pending) => place.send(Queued {
                pending,
                share,
                asked,
            }),
            Err(error) => {
                broker.requests.failed(&asked);
                return error.into();
            }
        }
    }
}

struct FrameReader<'a, R, F> {
    broker: &'a Broker,
    info: &'a ConnectionInfo,
    reader: R,
    buffer: BytesMut,
    /// The last request was small: the next one is not given a buffer before it comes.
    after_small: bool,
    shutdown: Pin<&'a mut F>,
    /// Goes off, at the latest, when nothing has been read for too long; it is not set again with each read.
    idle: Pin<&'a mut Sleep>,
}

impl<R: AsyncRead + Unpin, F: Future<Output = ()>> FrameReader<'_, R, F> {
    /// The next frame's body, without its length, and its share of the request budget.
    async fn next(&mut self) -> Result<(Bytes, Option<Share>), Close> {
        while self.buffer.len() < frame::LENGTH_BYTES {
            self.fill(FIRST_READ_BYTES).await?;
        }
        let mut length = [0; frame::LENGTH_BYTES];
        self.buffer.copy_to_slice(&mut length);
        let length = frame::frame_length(length, self.broker.config.socket_request_max_bytes)?;

        let budget = &self.broker.request_budget;
        let address = self.info.peer_addr.ip();
        let mut share = (length > FREE_FRAME_BYTES).then(|| budget.share(address));
        let mut granted = length.min(TRUSTED_FRAME_BYTES);
        if let Some(share) = &mut share {
            share.grow(granted).await;
        }
        while self.buffer.len() < length {
            // One read may have brought more than was granted, where frames follow each other closely.
            while self.buffer.len() >= granted {
                granted = length.min(granted * 2);
                if let Some(share) = &mut share {
                    share.grow(granted).await;
                }
            }
            self.fill(granted - self.buffer.len()).await?;
        }
        let request = self.buffer.split_to(length).freeze();
        self.after_small = length <= FIRST_READ_BYTES;
        if self.after_small && self.buffer.is_empty() {
            // Or it would keep the request's memory.
            self.buffer = BytesMut::new();
        }
        Ok((request, share))
    }

    /// Reads what has arrived into at least one byte and, if there is no room yet, `room` bytes.
    async fn fill(&mut self, room: usize) -> Result<(), Close> {
        let waits = self.after_small && self.buffer.is_empty() && room <= FIRST_READ_BYTES;
        if !waits && self.buffer.capacity() - self.buffer.len() < room {
            self.buffer.reserve(room);
        }
        let since = Instant::now();
        loop {
            tokio::select! {
                // First, or a client that never pauses would keep a broker from ending.
                biased;
                () = &mut self.shutdown => return Err(Close::Shutdown),
                read = read(&mut self.reader, &mut self.buffer) => return match read? {
                    0 => Err(Close::ByClient),
                    _ => Ok(()),
                },
                () = &mut self.idle => {
                    let limit = self.broker.connections_max_idle();
                    let silent = since.elapsed();
                    if silent >= limit {
                        return Err(Close::Idle(limit));
                    }
                    self.idle.as_mut().reset(Instant::now() + (limit - silent));
                }
            }
        }
    }
}

/// Fills the buffer; one without memory is given as much as has arrived, so that who waits holds none.
async fn read(reader: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> io::Result<usize> {
    if buffer.capacity() > 0 {
        return reader.read_buf(buffer).await;
    }
    poll_fn(|cx| {
        let mut arrived = [MaybeUninit::uninit(); FIRST_READ_BYTES];
        let mut arrived = ReadBuf::uninit(&mut arrived);
        ready!(Pin::new(&mut *reader).poll_read(cx, &mut arrived))?;
        buffer.extend_from_slice(arrived.filled());
        Poll::Ready(Ok(arrived.filled().len()))
    })
    .await
}

async fn write_responses(
    broker: &Broker,
    info: &ConnectionInfo,
    mut writer: impl AsyncWrite + Unpin,
    mut responses: mpsc::Receiver<Queued>,
) -> Result<(), Close> {
    while let Some(Queued {
        pending,
        share,
        asked,
    }) = responses.recv().await
    {
        let response = match pending {
            Pending::Ready(response) => Some(response),
            Pending::Later(response) => Some(response.await?),
            Pending::NoResponse => None,
        };
        drop(share);
        let bytes = response.as_ref().map_or(0, ResponseFrame::len);
        if let Some(response) = response {
            info.account.made(bytes);
            write_response(&mut writer, response).await?;
        }
        info.account.settle();
        broker.requests.answered(&asked, bytes);
    }
    Ok(writer.shutdown().await?)
}

/// Writes a response without joining its parts.
async fn write_response(
    writer: &mut (impl AsyncWrite + Unpin),
    response: ResponseFrame,
) -> io::Result<()> {
    let mut parts: VecDeque<Bytes> = response.into_parts().collect();
    while !parts.is_empty() {
        let slices: Vec<IoSlice<'_>> = parts
            .iter()
            .take(MAX_WRITE_SLICES)
            .map(|part| IoSlice::new(part))
            .collect();
        let mut written = writer.write_vectored(&slices).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(part) = parts.front_mut() {
            if written < part.len() {
                part.advance(written);
                break;
            }
            written -= part.len();
            parts.pop_front();
        }
    }
    Ok(())
}
