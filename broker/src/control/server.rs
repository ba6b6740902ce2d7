//! The end that answers.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use storage::log::SnapshotProgress;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use super::SOCKET;
use crate::broker::Broker;
use crate::client_text::client_text;
use crate::release::RELEASE;
use crate::security::first_users::FirstUser;
use crate::snapshot;
use credentials::secret::Secret;

/// How many may ask at once; further ones are hung up on.
const CONNECTIONS_MAX: usize = 4;
const REQUEST_LIMIT_BYTES: u64 = 64 << 10;
/// How long a request may take to arrive, and a line of the answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// The pause after a connection could not be accepted: no descriptor was left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The socket of a data directory. Its file goes when this is dropped.
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Opens the socket of a directory that this process has locked. What a killed one has left there is replaced.
    ///
    /// A broker serves without it, too: what cannot be opened is a warning. A name of more than some hundred bytes cannot.
    pub fn open(data_dir: &Path) -> Option<Self> {
        let path = data_dir.join(SOCKET);
        match Self::bind(&path) {
            Ok(listener) => Some(Self { listener, path }),
            Err(error) => {
                warn!(
                    socket = %path.display(), %error,
                    "there is no control socket: `ottla snapshot` and `ottla users add` cannot reach this broker"
                );
                None
            }
        }
    }

    fn bind(path: &Path) -> io::Result<UnixListener> {
        // Under another name until nobody else can use it.
        let new = path.with_extension("new");
        for stale in [&new, path] {
            match fs::remove_file(stale) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let listener = UnixListener::bind(&new)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
        fs::rename(&new, path)?;
        Ok(listener)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // It may be gone with a directory that was for a test.
        let _ = fs::remove_file(&self.path);
    }
}

/// Answers until the broker shuts down, which breaks off what is under way.
pub(crate) async fn run(broker: Arc<Broker>, socket: ControlSocket) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < CONNECTIONS_MAX => {
                    connections.spawn(serve(Arc::clone(&broker), stream));
                }
                Ok(_) => {}
                Err(error) => {
                    warn!(%error, "a connection to the control socket could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = broker.wait_for_shutdown() => break,
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn serve(broker: Arc<Broker>, stream: UnixStream) {
    let allowed = may_ask(&stream);
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading.take(REQUEST_LIMIT_BYTES));
    let answer = match allowed {
        false => Err("only the user that the broker runs as may ask this, and root".to_owned()),
        true => {
            let mut line = Vec::new();
            let read = tokio::select! {
                read = timeout(PATIENCE, reading.read_until(b'\n', &mut line)) => read,
                () = broker.wait_for_shutdown() => return,
            };
            match read {
                Ok(Ok(_)) if line.ends_with(b"\n") => {
                    answer(&broker, &line, &mut reading, &mut writing).await
                }
                // Nobody is there to be told, or nobody who speaks this.
                _ => return,
            }
        }
    };
    let line = match answer {
        Ok(done) => json!({ "done": done }),
        Err(error) => json!({ "error": error }),
    };
    let _ = tell(&mut writing, &line).await;
}

/// Whether the user at the other end is the broker's own, or root.
fn may_ask(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn tell(writing: &mut OwnedWriteHalf, line: &Value) -> io::Result<()> {
    let line = format!("{line}\n");
    let written = timeout(PATIENCE, writing.write_all(line.as_bytes())).await;
    written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn answer(
    broker: &Arc<Broker>,
    line: &[u8],
    reading: &mut (impl AsyncRead + Unpin),
    writing: &mut OwnedWriteHalf,
) -> Result<Value, String> {
    let request: Value = serde_json::from_slice(line)
        .map_err(|error| format!("the request makes no sense: {error}"))?;
    let text = |key: &str| {
        let value = request.get(key).and_then(Value::as_str);
        value.ok_or_else(|| format!("the request has no text {key:?}"))
    };
    match text("command")? {
        "snapshot" => copy(broker, text("to")?.into(), reading, writing).await,
        "add_user" => {
            add_user(broker, text("name")?, Secret::new(text("password")?)).await?;
            Ok(Value::Null)
        }
        other => Err(format!(
            "{other:?} is not known to Ottla {RELEASE}: the command is of another release than the broker"
        )),
    }
}

/// Gives a user a password, whether or not it has one.
async fn add_user(broker: &Broker, name: &str, password: Secret) -> Result<(), String> {
    let users = FirstUser::of_name(name, |_| Some(password.clone()));
    let users = users.map_err(|error| error.to_string())?;
    let users: Vec<_> = users.into_iter().map(FirstUser::replacing).collect();
    broker.metadata.make_first_users(&users).await?;
    info!(user = %client_text(name), "a user has got a password through the control socket");
    Ok(())
}

/// Makes a snapshot on a thread for it, and tells how far it is.
async fn copy(
    broker: &Arc<Broker>,
    to: PathBuf,
    reading: &mut (impl AsyncRead + Unpin),
    writing: &mut OwnedWriteHalf,
) -> Result<Value, String> {
    let (sender, progress) = watch::channel(None::<SnapshotProgress>);
    let broken_off = Arc::new(AtomicBool::new(false));
    let copying = {
        let (broker, broken_off) = (Arc::clone(broker), Arc::clone(&broken_off));
        tokio::task::spawn_blocking(move || {
            snapshot::make(&broker, &to, &mut |now| {
                sender.send_replace(Some(now));
                match broken_off.load(Ordering::Relaxed) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            })
        })
    };
    let mut copying = std::pin::pin!(copying);
    let mut nobody_waits = std::pin::pin!(hung_up(broker, reading));
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    loop {
        let is_broken_off = broken_off.load(Ordering::Relaxed);
        tokio::select! {
            copied = &mut copying => {
                return copied.unwrap_or_else(|error| Err(error.to_string()));
            }
            () = &mut nobody_waits, if !is_broken_off => broken_off.store(true, Ordering::Relaxed),
            _ = ticks.tick(), if !is_broken_off => {
                let now = *progress.borrow();
                let Some(now) = now else { continue };
                let line = json!({ "progress": {
                    "done_bytes": now.done_bytes, "total_bytes": now.total_bytes,
                } });
                if tell(writing, &line).await.is_err() {
                    broken_off.store(true, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Resolves when the other end is gone, or the broker shuts down.
async fn hung_up(broker: &Broker, reading: &mut (impl AsyncRead + Unpin)) {
    let mut more = [0; 1];
    tokio::select! {
        // Nothing comes after a request.
        _ = reading.read(&mut more) => {}
        () = broker.wait_for_shutdown() => {}
    }
}
