//! Responses as they leave, in their order, and what becomes of those that nobody reads.
//!
//! A response that does not leave soon is no longer a slice of memory that others need: it is copied, within the budget
//! of responses. A client that then takes its time while others wait for the memory loses its connection.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use protocol_shim::encode::ResponseFrame;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::halves::{Close, Connection, HeldBytes, Queued};
use crate::response::Pending;

/// Slices handed to one vectored write; the kernel takes 1024 at most.
const MAX_WRITE_SLICES: usize = 256;
/// A response that has not left by then lets go of the log's memory.
const LET_GO_AFTER: Duration = Duration::from_secs(1);
/// While others wait for memory, a client has to take `PACE_BYTES` of a response in each `PACE_WINDOW`: 16 KiB a
/// second.
const PACE_WINDOW: Duration = Duration::from_secs(5);
const PACE_BYTES: usize = 80 << 10;
/// How much is copied before others have their turn.
const COPIED_AT_ONCE_BYTES: usize = 256 << 10;

pub(super) async fn write_responses(
    connection: &Connection<'_>,
    mut writer: impl AsyncWrite + Unpin,
    mut responses: mpsc::Receiver<Queued>,
) -> Result<(), Close> {
    let account = &connection.session.account;
    while let Some(Queued {
        pending,
        held,
        asked,
        answered,
    }) = responses.recv().await
    {
        let response = match pending {
            Pending::Ready(response) => Some(response),
            Pending::Later(response) => {
                let failed = |_: &_| connection.broker.requests.failed(&asked);
                Some(response.await.inspect_err(failed)?)
            }
            Pending::NoResponse => None,
        };
        if let HeldBytes::Small(bytes) = &held {
            connection.small_bytes.fetch_sub(*bytes, Ordering::Relaxed);
        }
        drop(held);
        let bytes = response.as_ref().map_or(0, ResponseFrame::len);
        if let Some(response) = response {
            account.made(bytes);
            write_response(connection, &mut writer, response).await?;
        }
        account.settle();
        connection.broker.requests.answered(&asked, bytes);
        drop(answered);
    }
    Ok(writer.shutdown().await?)
}

/// Writes a response without joining its parts.
async fn write_response<W: AsyncWrite + Unpin>(
    connection: &Connection<'_>,
    writer: &mut W,
    response: ResponseFrame,
) -> Result<(), Close> {
    let mut parts: VecDeque<Bytes> = response.into_parts().collect();
    // All but the first are slices of the log's memory.
    let is_shared = parts.len() > 1;
    loop {
        match poll_fn(|cx| Poll::Ready(poll_write(writer, cx, &parts))).await {
            Poll::Ready(Ok(Written::All)) => break,
            Poll::Ready(Ok(Written::Some(bytes))) => take_off(&mut parts, bytes)?,
            Poll::Ready(Err(error)) => return Err(error.into()),
            // In a box, so that a connection that waits is small.
            Poll::Pending => {
                return Box::pin(write_slowly(connection, writer, parts, is_shared)).await;
            }
        }
    }
    connection.has_moved();
    Ok(())
}

/// Writes what the client does not take at once.
async fn write_slowly<W: AsyncWrite + Unpin>(
    connection: &Connection<'_>,
    writer: &mut W,
    mut parts: VecDeque<Bytes>,
    is_shared: bool,
) -> Result<(), Close> {
    let mut timer = std::pin::pin!(sleep(LET_GO_AFTER));
    let mut has_let_go = false;
    let mut written_bytes = 0;
    loop {
        tokio::select! {
            biased;
            written = poll_fn(|cx| poll_write(writer, cx, &parts)) => {
                connection.has_moved();
                match written? {
                    Written::All => return Ok(()),
                    Written::Some(bytes) => {
                        take_off(&mut parts, bytes)?;
                        written_bytes += bytes;
                    }
                }
            }
            () = &mut timer => {
                if !has_let_go {
                    let_go(connection, &mut parts, is_shared).await?;
                    has_let_go = true;
                } else if written_bytes < PACE_BYTES && is_in_the_way(connection) {
                    return Err(unread(&parts));
                }
                written_bytes = 0;
                timer.as_mut().reset(Instant::now() + PACE_WINDOW);
            }
        }
    }
}

/// Makes what is left of a response the connection's own, within the budget.
async fn let_go(
    connection: &Connection<'_>,
    parts: &mut VecDeque<Bytes>,
    is_shared: bool,
) -> Result<(), Close> {
    let Connection {
        broker, session, ..
    } = connection;
    let left_bytes = parts.iter().map(Bytes::len).sum();
    let (budget, address) = (&broker.response_budget, session.peer_addr.ip());
    if !session.account.cover_now(budget, address, left_bytes) {
        return Err(unread(parts));
    }
    if is_shared {
        let mut copied_bytes = 0;
        for part in parts {
            *part = Bytes::copy_from_slice(part);
            copied_bytes += part.len();
            if copied_bytes >= COPIED_AT_ONCE_BYTES {
                copied_bytes = 0;
                tokio::task::yield_now().await;
            }
        }
    }
    Ok(())
}

/// Whether somebody waits for memory that the connection holds.
fn is_in_the_way(connection: &Connection<'_>) -> bool {
    let of_responses = connection.session.account.crowd();
    let of_requests = connection.large.get();
    of_responses.is_some_and(|crowd| crowd.is_there())
        || of_requests.is_some_and(|large| large.own.is_used() && large.crowd.is_there())
}

fn unread(parts: &VecDeque<Bytes>) -> Close {
    Close::Unread {
        left_bytes: parts.iter().map(Bytes::len).sum(),
    }
}

/// What one write has achieved.
enum Written {
    Some(usize),
    /// Nothing is left, not even with what encrypts.
    All,
}

fn poll_write<W: AsyncWrite + Unpin>(
    writer: &mut W,
    cx: &mut Context<'_>,
    parts: &VecDeque<Bytes>,
) -> Poll<io::Result<Written>> {
    if parts.is_empty() {
        return Pin::new(writer).poll_flush(cx).map_ok(|()| Written::All);
    }
    let parts = parts.iter().take(MAX_WRITE_SLICES);
    let slices: Vec<IoSlice<'_>> = parts.map(|part| IoSlice::new(part)).collect();
    let written = Pin::new(writer).poll_write_vectored(cx, &slices);
    written.map_ok(Written::Some)
}

/// Takes `count` bytes off the front.
fn take_off(parts: &mut VecDeque<Bytes>, mut written: usize) -> io::Result<()> {
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
    Ok(())
}
