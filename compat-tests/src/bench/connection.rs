//! A blocking connection that reuses its buffer: responses are looked at where they were read.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// No broker may take longer for an answer; one that does fails the workload.
const READ_TIMEOUT: Duration = Duration::from_secs(150);
const FIRST_BUFFER_BYTES: usize = 64 << 10;
const MAX_RESPONSE_BYTES: usize = 256 << 20;

/// A connection; requests may be sent ahead of the responses to earlier ones.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Where the bytes that were read and not yet looked at begin and end.
    unread: std::ops::Range<usize>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nothing listens there.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        stream.set_write_timeout(Some(READ_TIMEOUT))?;
        Ok(Self {
            stream,
            buffer: vec![0; FIRST_BUFFER_BYTES],
            unread: 0..0,
        })
    }

    /// The other half, for a thread that only sends.
    ///
    /// # Errors
    /// There are no more file descriptors.
    pub fn sender(&self) -> Result<TcpStream> {
        Ok(self.stream.try_clone()?)
    }

    /// Sends one whole request frame.
    ///
    /// # Errors
    /// The connection is closed, or the broker reads nothing for a long time.
    pub fn send(&mut self, frame: &[u8]) -> Result<()> {
        self.stream.write_all(frame).context("send")
    }

    /// Waits for one response and gives its bytes, without the length before them.
    ///
    /// # Errors
    /// The connection is closed, or no response comes in time.
    pub fn receive(&mut self) -> Result<&[u8]> {
        self.fill(4)?;
        let start = self.unread.start;
        let length = self.buffer[start..]
            .first_chunk()
            .context("fill() has read four bytes")?;
        let length = usize::try_from(i32::from_be_bytes(*length))?;
        ensure!(length <= MAX_RESPONSE_BYTES, "a response of {length} bytes");
        self.fill(4 + length)?;
        let frame = self.unread.start + 4..self.unread.start + 4 + length;
        self.unread.start = frame.end;
        Ok(&self.buffer[frame])
    }

    /// Whether a whole response has been read already, so that [`Self::receive`] will not wait.
    pub fn has_response(&self) -> bool {
        let unread = &self.buffer[self.unread.clone()];
        unread.first_chunk().is_some_and(|length| {
            usize::try_from(i32::from_be_bytes(*length))
                .is_ok_and(|length| unread.len() >= 4 + length)
        })
    }

    /// Reads until `count` unread bytes are in the buffer, in one piece.
    fn fill(&mut self, count: usize) -> Result<()> {
        if self.unread.len() >= count {
            return Ok(());
        }
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        if self.buffer.len() < count {
            self.buffer.resize(count.next_power_of_two(), 0);
        }
        while self.unread.len() < count {
            let read = self
                .stream
                .read(&mut self.buffer[self.unread.end..])
                .context("receive")?;
            ensure!(read > 0, "the broker closed the connection");
            self.unread.end += read;
        }
        Ok(())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
