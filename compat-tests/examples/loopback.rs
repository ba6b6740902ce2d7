//! What the machine gives at most for `one-record`: the same connections, requests and responses without a broker.
//!
//! ```sh
//! cargo run --release -p compat-tests --example loopback
//! ```
//!
//! 64 connections, one request in flight on each. The generator is the benchmark's own; the other side reads a request and
//! writes a response of the same sizes as those of Produce, on tokio as the broker does, and does nothing else.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use compat_tests::bench::connection::Connection;
use compat_tests::bench::load::poll::Poll;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const CONNECTIONS: usize = 64;
/// A Produce request with one record of 100 bytes, and its response, with their lengths.
const REQUEST_BYTES: usize = 244;
const RESPONSE_BYTES: usize = 62;
const WARMUP: Duration = Duration::from_secs(2);
const SECONDS: Duration = Duration::from_secs(8);

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
    let address = listener.local_addr()?;
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    let requests = ask(address)?;
    println!("{:.0} requests/s", requests as f64 / SECONDS.as_secs_f64());
    Ok(())
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = [0; REQUEST_BYTES];
    let response = frame(RESPONSE_BYTES);
    loop {
        stream.read_exact(&mut request).await?;
        stream.write_all(&response).await?;
    }
}

/// Keeps one request in flight on each connection; gives how many were answered after the warm-up.
fn ask(address: SocketAddr) -> Result<u64> {
    let request = frame(REQUEST_BYTES);
    let mut connections = (0..CONNECTIONS)
        .map(|_| Connection::open(address))
        .collect::<Result<Vec<_>>>()?;
    let mut poll = Poll::new(connections.iter())?;
    for connection in &mut connections {
        connection.send(&request)?;
    }
    let from = Instant::now() + WARMUP;
    let until = from + SECONDS;
    let mut answered = 0;
    while Instant::now() < until {
        poll.wait(|index| {
            let connection = &mut connections[index];
            connection.receive().context("an answer")?;
            answered += u64::from(Instant::now() >= from);
            connection.send(&request)
        })?;
    }
    Ok(answered)
}

/// So many bytes that begin with the length of the rest.
fn frame(bytes: usize) -> Vec<u8> {
    let mut frame = vec![0; bytes];
    let length = u32::try_from(bytes - 4).unwrap_or_default();
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}
