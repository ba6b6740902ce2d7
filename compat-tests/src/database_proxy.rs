//! What stands between a broker and its database: it lets bytes through, holds them up, loses answers, or keeps statements back.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// Listens on a port of its own.
pub struct DatabaseProxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: u16,
    /// Of a hundred answers so many are lost, with their connection.
    lost_percent: AtomicU16,
    is_held_up: watch::Sender<bool>,
    keeps_back: watch::Sender<bool>,
    /// How many pieces are, or were, kept back.
    kept: watch::Sender<usize>,
    /// How many pieces the server has said.
    answers: watch::Sender<usize>,
    cut: Notify,
}

impl DatabaseProxy {
    /// Forwards to a server on this machine. Works as long as the runtime that it is started in.
    ///
    /// # Errors
    /// There is no port.
    pub async fn start(server: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let shared = Arc::new(Shared {
            server,
            lost_percent: AtomicU16::new(0),
            is_held_up: watch::Sender::new(false),
            keeps_back: watch::Sender::new(false),
            kept: watch::Sender::new(0),
            answers: watch::Sender::new(0),
            cut: Notify::new(),
        });
        let proxy = Self {
            port: listener.local_addr()?.port(),
            shared: Arc::clone(&shared),
        };
        tokio::spawn(async move {
            while let Ok((broker, _)) = listener.accept().await {
                tokio::spawn(forward(Arc::clone(&shared), broker));
            }
        });
        Ok(proxy)
    }

    /// Of a hundred answers, so many are lost from now on, and their connections end.
    pub fn lose_answers(&self, percent: u16) {
        self.shared.lost_percent.store(percent, Ordering::Relaxed);
    }

    /// Lets nothing through until told otherwise.
    pub fn hold_up(&self, held_up: bool) {
        self.shared.is_held_up.send_replace(held_up);
    }

    /// Ends all connections with brokers.
    pub fn cut(&self) {
        self.shared.cut.notify_waiters();
    }

    /// From now on what a broker says waits here, also when its connection is cut.
    pub fn keep_back(&self) {
        self.shared.keeps_back.send_replace(true);
    }

    /// Waits until something is kept back.
    pub async fn has_kept(&self) {
        let mut kept = self.shared.kept.subscribe();
        // The sender is there as long as the proxy.
        let _ = kept.wait_for(|kept| *kept > 0).await;
    }

    /// Lets what was kept back reach the server, and waits until it has answered.
    pub async fn let_go(&self) {
        let mut answers = self.shared.answers.subscribe();
        let before = *answers.borrow_and_update();
        self.shared.keeps_back.send_replace(false);
        let _ = answers.wait_for(|answers| *answers > before).await;
    }
}

impl Shared {
    async fn wait(&self) {
        let mut is_held_up = self.is_held_up.subscribe();
        let _ = is_held_up.wait_for(|held_up| !held_up).await;
    }
}

async fn forward(shared: Arc<Shared>, broker: TcpStream) {
    // A server that is down refuses; its broker sees its own connection end.
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.server)).await else {
        return;
    };
    let (mut from_broker, to_broker) = broker.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut keeps_back = shared.keeps_back.subscribe();
    let asking = async {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let read = tokio::select! {
                read = from_broker.read(&mut bytes) => read.unwrap_or(0),
                () = shared.cut.notified() => 0,
            };
            if read == 0 {
                return;
            }
            shared.wait().await;
            if *keeps_back.borrow() {
                shared.kept.send_modify(|kept| *kept += 1);
                let _ = keeps_back.wait_for(|keeps_back| !keeps_back).await;
                let _ = to_server.write_all(&bytes[..read]).await;
                // As long as the statement takes.
                std::future::pending::<()>().await;
            }
            if to_server.write_all(&bytes[..read]).await.is_err() {
                return;
            }
        }
    };
    let answering = async {
        let mut to_broker = Some(to_broker);
        let mut bytes = vec![0; 1 << 16];
        loop {
            let read = tokio::select! {
                read = from_server.read(&mut bytes) => read.unwrap_or(0),
                () = shared.cut.notified() => {
                    to_broker = None;
                    continue;
                }
            };
            let lost = shared.lost_percent.load(Ordering::Relaxed);
            if read == 0 || rand::random_range(0..100) < lost {
                return;
            }
            shared.wait().await;
            shared.answers.send_modify(|answers| *answers += 1);
            if let Some(to_broker) = &mut to_broker {
                let _ = to_broker.write_all(&bytes[..read]).await;
            }
        }
    };
    tokio::select! {
        () = asking => {}
        () = answering => {}
    }
    // The server hears of it later than the broker, as with a network that has broken.
    drop(from_broker);
    tokio::time::sleep(Duration::from_millis(rand::random_range(0..50))).await;
}
