//! Requests as they come: frames that are given memory as their bytes arrive, and that have to arrive.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use protocol_shim::frame;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::time::{Instant, sleep};

use super::budget::{Pool, Share};
use crate::config::SecurityProtocol;

use super::halves::{Close, Connection, HeldBytes, LargeRequests};

/// What is read at once of a connection that waits for its next request.
const FIRST_READ_BYTES: usize = 4096;
/// A frame up to this size is not counted for all: however scarce memory is, small requests are read.
const SMALL_FRAME_BYTES: usize = 64 << 10;
/// What the small frames of one connection that are not answered yet may take together, uncounted.
const SMALL_FRAMES_BYTES: usize = 256 << 10;
/// A counted frame up to this size is given its buffer at once, a larger one as its bytes arrive.
const TRUSTED_FRAME_BYTES: usize = 1 << 20;
/// While a counted frame is read, it has to bring `PACE_BYTES`, or its end, in each `PACE_WINDOW`: 16 KiB a
/// second.
const PACE_WINDOW: Duration = Duration::from_secs(10);
const PACE_BYTES: usize = 160 << 10;
/// What the requests of one connection may hold of the budget: a part of it.
const CONNECTION_PART: usize = 4;

/// What the connection allows, and what was read of it already.
pub(super) struct Limits {
    pub max_bytes: usize,
    pub read_before: BytesMut,
}

pub(super) struct FrameReader<'a, R, F> {
    connection: &'a Connection<'a>,
    reader: R,
    buffer: BytesMut,
    max_bytes: usize,
    /// The last request was small: the next one is not given a buffer before it comes.
    after_small: bool,
    shutdown: Pin<&'a mut F>,
}

impl<'a, R: AsyncRead + Unpin, F: Future<Output = ()>> FrameReader<'a, R, F> {
    pub(crate) fn new(
        connection: &'a Connection<'a>,
        reader: R,
        limits: Limits,
        shutdown: Pin<&'a mut F>,
    ) -> Self {
        Self {
            connection,
            reader,
            buffer: limits.read_before,
            max_bytes: limits.max_bytes,
            after_small: true,
            shutdown,
        }
    }

    /// What has been read behind the last frame.
    pub(crate) fn into_rest(self) -> BytesMut {
        self.buffer
    }

    /// The next frame's body, without its length, and what it holds.
    pub(crate) async fn next(&mut self) -> Result<(Bytes, HeldBytes), Close> {
        while self.buffer.len() < frame::LENGTH_BYTES {
            self.fill(FIRST_READ_BYTES).await?;
        }
        let mut prefix = [0; frame::LENGTH_BYTES];
        self.buffer.copy_to_slice(&mut prefix);
        let length = frame::frame_length(prefix, self.max_bytes).map_err(|error| Close::Frame {
            error,
            hint: hint(prefix, self.connection.session.listener.security_protocol),
        })?;

        let small_bytes = &self.connection.small_bytes;
        let is_small = length <= SMALL_FRAME_BYTES
            && small_bytes.load(Ordering::Relaxed) + length <= SMALL_FRAMES_BYTES;
        let held = match is_small {
            true => {
                while self.buffer.len() < length {
                    self.fill(length - self.buffer.len()).await?;
                }
                small_bytes.fetch_add(length, Ordering::Relaxed);
                HeldBytes::Small(length)
            }
            // In a box, so that a connection that waits is small.
            false => HeldBytes::Counted {
                _share: Box::pin(self.read_counted(length)).await?,
            },
        };
        let request = self.buffer.split_to(length).freeze();
        self.after_small = length <= FIRST_READ_BYTES;
        if self.after_small && self.buffer.is_empty() {
            // Or it would keep the request's memory.
            self.buffer = BytesMut::new();
        }
        Ok((request, held))
    }

    /// Reads a frame whose bytes count, and sees to it that they come.
    async fn read_counted(&mut self, length: usize) -> Result<Share, Close> {
        let connection = self.connection;
        let budget = &connection.broker.request_budget;
        let address = connection.session.peer_addr.ip();
        let large = connection.large.get_or_init(|| LargeRequests {
            own: Pool::new(budget.total_bytes() / CONNECTION_PART),
            crowd: budget.crowd(address),
        });
        let mut share = budget.of(length).share_within(&large.own, address);
        let mut granted = length.min(TRUSTED_FRAME_BYTES);
        self.grow(&mut share, granted).await?;
        let mut window = std::pin::pin!(sleep(PACE_WINDOW));
        let mut read_before = self.buffer.len();
        while self.buffer.len() < length {
            // One read may have brought more than was granted, where frames follow each other closely.
            while self.buffer.len() >= granted {
                granted = length.min(granted * 2);
                if self.grow(&mut share, granted).await? {
                    // The client had to wait, not we.
                    read_before = self.buffer.len();
                    window.as_mut().reset(Instant::now() + PACE_WINDOW);
                }
            }
            tokio::select! {
                biased;
                filled = self.fill(granted - self.buffer.len()) => filled?,
                () = &mut window => {
                    if self.buffer.len() - read_before < PACE_BYTES {
                        return Err(Close::SlowRequest {
                            read_bytes: self.buffer.len(),
                            length_bytes: length,
                            window: PACE_WINDOW,
                        });
                    }
                    read_before = self.buffer.len();
                    window.as_mut().reset(Instant::now() + PACE_WINDOW);
                }
            }
        }
        Ok(share)
    }

    /// Waits until `share` covers `bytes`; true if it had to.
    async fn grow(&mut self, share: &mut Share, bytes: usize) -> Result<bool, Close> {
        if share.grow_now(bytes) {
            return Ok(false);
        }
        self.unless_shutdown(share.grow(bytes)).await?;
        Ok(true)
    }

    /// Waits for something else than the client.
    pub(crate) async fn unless_shutdown<T>(
        &mut self,
        other: impl Future<Output = T>,
    ) -> Result<T, Close> {
        tokio::select! {
            biased;
            done = other => Ok(done),
            () = &mut self.shutdown => Err(Close::Shutdown),
        }
    }

    /// Reads what has arrived into at least one byte and, if there is no room yet, `room` bytes.
    async fn fill(&mut self, room: usize) -> Result<(), Close> {
        let waits = self.after_small && self.buffer.is_empty() && room <= FIRST_READ_BYTES;
        if !waits && self.buffer.capacity() - self.buffer.len() < room {
            self.buffer.reserve(room);
        }
        tokio::select! {
            // First, or a client that never pauses would keep a broker from ending.
            biased;
            () = &mut self.shutdown => Err(Close::Shutdown),
            read = read(&mut self.reader, &mut self.buffer) => match read? {
                0 => Err(Close::ByClient),
                _ => {
                    self.connection.has_moved();
                    Ok(())
                }
            },
        }
    }
}

/// Fills the buffer. One without memory is given as much as has arrived: a client that waits holds none.
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

/// What the first bytes of a connection look like, if they are no length of a frame.
fn hint(prefix: [u8; frame::LENGTH_BYTES], protocol: SecurityProtocol) -> String {
    match &prefix {
        // A record of type handshake, of SSL 3 or TLS 1.
        [0x16, 0x03, ..] if !protocol.encrypts() => {
            let name = protocol.name();
            format!(
                "; this looks like TLS, and the listener is {name}: the client needs security.protocol={name}"
            )
        }
        b"GET " | b"HEAD" | b"POST" | b"PUT " | b"DELE" | b"OPTI" | b"CONN" | b"TRAC" | b"PATC"
        | b"PRI " => "; this looks like HTTP, and the port speaks Kafka's protocol".to_owned(),
        _ => String::new(),
    }
}
