//! What stands between clients and broker: it cuts, holds up, swallows answers, and lies if a test wants it to.

use std::collections::{HashMap, HashSet};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use kafka_protocol::messages::ApiKey;

use super::tamper::{Asked, Liar};

const MOMENT: Duration = Duration::from_millis(5);
const MAX_FRAME_BYTES: usize = 64 << 20;

/// Listens on a port of its own.
pub(super) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    broker: SocketAddr,
    paths: Mutex<Vec<TcpStream>>,
    is_held_up: AtomicBool,
    swallowed: Mutex<Swallowed>,
    is_closed: AtomicBool,
    liar: Option<Arc<Mutex<Liar>>>,
}

/// Which answers get lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Swallowed {
    #[default]
    Nothing,
    /// Those to who produces. Clients that connect anew meanwhile get on with it.
    ToProduce,
    All,
}

/// What is under way on one connection: api key and version by correlation id, and answers that nobody waits for.
#[derive(Default)]
struct UnderWay {
    asked: HashMap<i32, (i16, i16)>,
    unwanted: HashSet<i32>,
}

impl Proxy {
    /// Forwards to a broker, which may not be there yet.
    pub fn start(port: u16, broker: SocketAddr, liar: Option<Arc<Mutex<Liar>>>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("port {port}"))?;
        let shared = Arc::new(Shared {
            broker,
            paths: Mutex::default(),
            is_held_up: AtomicBool::new(false),
            swallowed: Mutex::default(),
            is_closed: AtomicBool::new(false),
            liar,
        });
        let address = listener.local_addr()?;
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.is_closed.load(Ordering::SeqCst) {
                    break;
                }
                // A broker that is down refuses; its client sees its own connection end.
                if let Ok(broker) = TcpStream::connect(accepting.broker) {
                    let _ = connect(&accepting, client, broker);
                }
            }
        });
        Ok(Self { address, shared })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections, in the middle of whatever they are at.
    pub fn cut(&self) {
        for stream in lock(&self.shared.paths).drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets nothing through until told otherwise.
    pub fn hold_up(&self, held_up: bool) {
        self.shared.is_held_up.store(held_up, Ordering::SeqCst);
    }

    /// Lets requests through and not these answers, until told otherwise. Cut when it is over: the answers are gone.
    pub fn swallow(&self, answers: Swallowed) {
        *lock(&self.shared.swallowed) = answers;
    }

    /// Does nothing new from now on.
    pub fn reform(&self) {
        if let Some(liar) = &self.shared.liar {
            lock(liar).reform();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::SeqCst);
        self.hold_up(false);
        self.cut();
        // Wakes up who accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn connect(shared: &Arc<Shared>, client: TcpStream, broker: TcpStream) -> Result<()> {
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let mut paths = lock(&shared.paths);
    paths.retain(|path| path.peer_addr().is_ok());
    paths.extend([client.try_clone()?, broker.try_clone()?]);
    let under_way = Arc::new(Mutex::new(UnderWay::default()));
    let (from_client, to_client) = (client.try_clone()?, Arc::new(Mutex::new(client)));
    let (from_broker, to_broker) = (broker.try_clone()?, broker);
    let ways = (Arc::clone(shared), Arc::clone(shared));
    let (asking, answering) = (Arc::clone(&under_way), under_way);
    let direct = Arc::clone(&to_client);
    std::thread::spawn(move || {
        let _ = requests(&ways.0, &asking, &from_client, &to_broker, &direct);
        let _ = to_broker.shutdown(Shutdown::Both);
        let _ = from_client.shutdown(Shutdown::Both);
    });
    std::thread::spawn(move || {
        let _ = answers(&ways.1, &answering, &from_broker, &to_client);
        let _ = from_broker.shutdown(Shutdown::Both);
        let _ = lock(&to_client).shutdown(Shutdown::Both);
    });
    Ok(())
}

fn requests(
    shared: &Shared,
    under_way: &Mutex<UnderWay>,
    mut client: &TcpStream,
    mut broker: &TcpStream,
    direct: &Mutex<TcpStream>,
) -> Result<()> {
    while let Some(frame) = frame(&mut client)? {
        let short = |at: usize| Some(i16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
        let correlation = frame.get(4..8).context("a correlation id")?;
        let correlation = i32::from_be_bytes(correlation.try_into()?);
        let (key, version) = (short(0).context("a key")?, short(2).context("a version")?);
        let asked = match &shared.liar {
            Some(liar) => lock(liar).asked(key, version, &frame),
            None => Asked::Forward(vec![]),
        };
        shared.wait();
        match asked {
            Asked::Answer(answer) => send(&lock(direct), &answer)?,
            Asked::Forward(instead) => {
                let mut under_way = lock(under_way);
                under_way.asked.insert(correlation, (key, version));
                if instead.is_empty() {
                    send(broker, &frame)?;
                }
                for frame in &instead {
                    let id = frame.get(4..8).context("a correlation id")?;
                    let id = i32::from_be_bytes(id.try_into()?);
                    if id != correlation {
                        under_way.unwanted.insert(id);
                    }
                    send(broker, frame)?;
                }
            }
        }
        broker.flush()?;
    }
    Ok(())
}

fn answers(
    shared: &Shared,
    under_way: &Mutex<UnderWay>,
    mut broker: &TcpStream,
    client: &Mutex<TcpStream>,
) -> Result<()> {
    while let Some(mut answer) = frame(&mut broker)? {
        let correlation = answer.get(0..4).context("a correlation id")?;
        let correlation = i32::from_be_bytes(correlation.try_into()?);
        let asked = {
            let mut under_way = lock(under_way);
            if under_way.unwanted.remove(&correlation) {
                continue;
            }
            under_way.asked.remove(&correlation)
        };
        if let (Some((key, version)), Some(liar)) = (asked, &shared.liar)
            && let Some(other) = lock(liar).answered(key, version, &answer)
        {
            answer = other;
        }
        shared.wait();
        let is_swallowed = match *lock(&shared.swallowed) {
            Swallowed::Nothing => false,
            Swallowed::ToProduce => asked.is_some_and(|(key, _)| key == ApiKey::Produce as i16),
            Swallowed::All => true,
        };
        if !is_swallowed {
            send(&lock(client), &answer)?;
        }
    }
    Ok(())
}

impl Shared {
    fn wait(&self) {
        while self.is_held_up.load(Ordering::SeqCst) {
            std::thread::sleep(MOMENT);
        }
    }
}

/// One frame without its length; `None` at the end.
fn frame(stream: &mut &TcpStream) -> Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    if stream.read_exact(&mut length).is_err() {
        return Ok(None);
    }
    let length = usize::try_from(i32::from_be_bytes(length))?;
    anyhow::ensure!(length <= MAX_FRAME_BYTES, "a frame of {length} bytes");
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    Ok(Some(frame))
}

fn send(mut stream: &TcpStream, frame: &[u8]) -> Result<()> {
    let mut bytes = i32::try_from(frame.len())?.to_be_bytes().to_vec();
    bytes.extend_from_slice(frame);
    Ok(stream.write_all(&bytes)?)
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
