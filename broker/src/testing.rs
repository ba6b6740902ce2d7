//! A broker for tests written in Rust: in the process of the test, on a free port, with nothing left behind.
//!
//! ```no_run
//! let broker = ottla::testing::Broker::start([("num.partitions", "3")])?;
//! // ... clients connect to broker.bootstrap() ...
//! broker.stop()?;
//! # Ok::<(), ottla::testing::Error>(())
//! ```
//!
//! Nothing is shared: a process may have as many brokers as it likes. What they log goes to `tracing`, for whoever listens.

use std::path::Path;
use std::thread::JoinHandle;

use storage::log::StorageError;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::config::{BrokerConfig, ConfigError, Properties, Remark};
use crate::server::{Server, StartError};

/// Why there is no broker, or why it did not stop in order.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("no temporary directory, thread or runtime for a broker: {0}")]
    Resources(#[from] std::io::Error),
    #[error(transparent)]
    Stop(#[from] StorageError),
    #[error("the broker's thread has panicked")]
    Panicked,
}

/// A broker that serves clients until it is stopped or dropped.
///
/// It has threads of its own, so it serves tests with and without a runtime, and blocks nobody else's.
pub struct Broker {
    bootstrap: String,
    /// Dropped or used, the broker stops.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), Error>>>,
    /// Removed after the broker has closed what is in it.
    _data: TempDir,
}

impl Broker {
    /// Starts a broker and returns when clients can connect. `config` are Kafka's server properties, over a free port of
    /// 127.0.0.1 and a temporary directory.
    ///
    /// # Errors
    /// A value that cannot be used; what keeps a broker from its start.
    pub fn start<K: Into<String>, V: Into<String>>(
        config: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, Error> {
        let data = TempDir::new()?;
        let config = self::config(data.path(), config)?;
        let (stop, stopped) = oneshot::channel();
        let (started, start) = std::sync::mpsc::sync_channel(1);
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .thread_name("ottla-testing")
                .build()?;
            runtime.block_on(async {
                let server = Server::start(config).await?;
                let listening = server.listening().iter();
                let advertised = listening.map(|one| one.advertised.to_string());
                let bootstrap = advertised.collect::<Vec<_>>().join(",");
                // Whoever waits for it has gone only if it was killed.
                let _ = started.send(bootstrap);
                let _ = stopped.await;
                Ok(server.shutdown().await?)
            })
        };
        let thread = std::thread::Builder::new().name("ottla-testing".to_owned());
        let thread = thread.spawn(serve)?;
        match start.recv() {
            Ok(bootstrap) => Ok(Self {
                bootstrap,
                stop: Some(stop),
                thread: Some(thread),
                _data: data,
            }),
            // It has ended without a word: with an error.
            Err(_) => Err(join(thread).err().unwrap_or(Error::Panicked)),
        }
    }

    /// Where clients connect: `host:port`, several with commas between them.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Stops it, as SIGTERM would, and removes its data.
    ///
    /// # Errors
    /// Something could not be written.
    pub fn stop(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        drop(self.stop.take());
        self.thread.take().map_or(Ok(()), join)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // There is nobody to tell, and the data goes anyway.
        let _ = self.end();
    }
}

fn join(thread: JoinHandle<Result<(), Error>>) -> Result<(), Error> {
    thread.join().unwrap_or(Err(Error::Panicked))
}

/// The configuration of a broker on a free port, whose data need not outlive it.
///
/// # Errors
/// A value that cannot be used.
pub fn config<K: Into<String>, V: Into<String>>(
    data: &Path,
    config: impl IntoIterator<Item = (K, V)>,
) -> Result<BrokerConfig, ConfigError> {
    let own = [
        ("listeners", "PLAINTEXT://127.0.0.1:0"),
        ("log.dirs", &data.to_string_lossy()),
        ("ottla.durability", "os"),
    ];
    let own = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let given: Properties = config
        .into_iter()
        .map(|(key, value)| (key.into(), value.into()))
        .collect();
    let is_alone = !given.contains_key("ottla.cluster.database.url");
    let own = own
        .into_iter()
        .filter(|(key, _)| is_alone || key != "ottla.durability");
    let properties: Properties = own.chain(given).collect();
    let (mut config, remarks) = BrokerConfig::from_properties(properties)?;
    config.ephemeral = true;
    for remark in remarks {
        match remark {
            Remark::Info(text) => tracing::info!("{text}"),
            Remark::Warning(text) => tracing::warn!("{text}"),
        }
    }
    Ok(config)
}
