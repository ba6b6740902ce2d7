//! What stands between a broker and its object store: it knows where a request of HTTP ends, and so can refuse it, or have it
//! done and lose the answer.

use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};

/// What happens to requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// Nothing.
    None,
    /// Some are refused: 503, as S3 does with who asks too often.
    Refuse,
    /// Some that write are told that another one is being done: 409.
    Conflict,
    /// Some are done, and their answers lost with their connections.
    LoseAnswers,
    /// They wait.
    Stall,
    /// Nobody is there.
    Outage,
}

/// Of a hundred requests so many meet with a mishap that does not befall all.
const UNLUCKY_PERCENT: u32 = 40;
const MAX_HEAD_BYTES: usize = 1 << 16;

/// Listens on a port of its own.
pub struct ObjectsProxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: u16,
    mishap: watch::Sender<Mishap>,
}

impl ObjectsProxy {
    /// Forwards to a server on this machine. Works as long as the runtime that it is started in.
    ///
    /// # Errors
    /// There is no port.
    pub async fn start(server: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let shared = Arc::new(Shared {
            server,
            mishap: watch::Sender::new(Mishap::None),
        });
        let proxy = Self {
            port: listener.local_addr()?.port(),
            shared: Arc::clone(&shared),
        };
        tokio::spawn(async move {
            while let Ok((broker, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                // Whatever goes wrong ends the connection, which the broker sees.
                tokio::spawn(async move { forward(&shared, broker).await });
            }
        });
        Ok(proxy)
    }

    /// What happens from now on.
    pub fn befall(&self, mishap: Mishap) {
        self.shared.mishap.send_replace(mishap);
    }
}

async fn forward(shared: &Shared, broker: TcpStream) -> io::Result<()> {
    let mut mishap = shared.mishap.subscribe();
    if *mishap.borrow() == Mishap::Outage {
        return Ok(());
    }
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.server)).await?;
    let (from_broker, to_broker) = broker.into_split();
    let (mut from_server, to_server) = server.into_split();
    let to_broker = Mutex::new(to_broker);
    let loses_answer = AtomicBool::new(false);
    let requests = forward_requests(
        shared,
        BufReader::new(from_broker),
        to_server,
        &to_broker,
        &loses_answer,
    );
    let answers = async {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let read = from_server.read(&mut bytes).await?;
            if read == 0 || loses_answer.load(Ordering::SeqCst) {
                return Ok(());
            }
            to_broker.lock().await.write_all(&bytes[..read]).await?;
        }
    };
    tokio::select! {
        ended = requests => ended,
        ended = answers => ended,
        _ = mishap.wait_for(|mishap| *mishap == Mishap::Outage) => Ok(()),
    }
}

/// A client asks on when it has its answer. So whoever reads a request here has the way back for himself.
async fn forward_requests(
    shared: &Shared,
    mut from_broker: impl AsyncBufRead + Unpin,
    mut to_server: OwnedWriteHalf,
    to_broker: &Mutex<OwnedWriteHalf>,
    loses_answer: &AtomicBool,
) -> io::Result<()> {
    while let Some((head, body)) = request(&mut from_broker).await? {
        let mut mishap = shared.mishap.subscribe();
        let now = *mishap.borrow_and_update();
        let is_unlucky = rand::random_range(0..100) < UNLUCKY_PERCENT;
        let refused = match now {
            Mishap::Refuse if is_unlucky => Some("503 Slow Down"),
            Mishap::Conflict if is_unlucky && head.starts_with(b"PUT ") => Some("409 Conflict"),
            _ => None,
        };
        if let Some(status) = refused {
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            to_broker.lock().await.write_all(answer.as_bytes()).await?;
            continue;
        }
        if now == Mishap::Stall {
            let _ = mishap.wait_for(|mishap| *mishap != Mishap::Stall).await;
        }
        loses_answer.store(now == Mishap::LoseAnswers && is_unlucky, Ordering::SeqCst);
        to_server.write_all(&head).await?;
        to_server.write_all(&body).await?;
    }
    Ok(())
}

/// The head of the next request, up to its empty line, and its body; `None` at the end.
async fn request(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut head = Vec::new();
    let mut length = 0;
    loop {
        let start = head.len();
        if from.read_until(b'\n', &mut head).await? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&head[start..]).to_ascii_lowercase();
        if line == "\r\n" {
            break;
        }
        let absurd = || io::Error::new(ErrorKind::InvalidData, line.clone());
        if let Some(bytes) = line.strip_prefix("content-length:") {
            length = bytes.trim().parse().map_err(|_| absurd())?;
        }
        // Nobody here sends a body without saying how long it is.
        if head.len() > MAX_HEAD_BYTES || line.starts_with("transfer-encoding:") {
            return Err(absurd());
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    Ok(Some((head, body)))
}
