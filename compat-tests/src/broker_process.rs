//! A broker as a user runs it: a process, a port, a data directory. With `COMPAT_BROKER=cluster` it is three such processes,
//! which a test need not know.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::RawClient;
use crate::cluster::{self, Place};
use crate::java::KafkaTools;
use crate::proc_stats;
use crate::rust::cargo;
use crate::toolchain::{crate_dir, run};

/// Ample for a debug build on a busy machine; real Kafka needs about 5 s.
const READY_TIMEOUT: Duration = Duration::from_secs(240);
const EXIT_TIMEOUT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Any 16 bytes in base64 will do.
const KAFKA_CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qg";

/// Which broker the tests run against: `COMPAT_BROKER=ottla` (the default), `cluster` (three of Ottla) or `kafka`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerKind {
    /// The binary of this workspace, or the one that `OTTLA_BIN` names.
    Ottla,
    /// Real Apache Kafka, a single node, from the jars of `clients/java/pom.xml`.
    Kafka,
}

impl BrokerKind {
    /// The kind that the environment chooses.
    ///
    /// # Errors
    /// `COMPAT_BROKER` names neither.
    pub fn from_env() -> Result<Self> {
        match std::env::var("COMPAT_BROKER").as_deref() {
            Err(_) | Ok("" | "ottla" | "cluster") => Ok(Self::Ottla),
            Ok("kafka") => Ok(Self::Kafka),
            Ok(other) => bail!("COMPAT_BROKER={other}: it is ottla, cluster or kafka"),
        }
    }
}

/// A running broker; killed when dropped, its data removed.
///
/// With `COMPAT_BROKER=cluster` an Ottla is the first of three brokers, and owns the others: what is done to it is done to
/// all, so that after [`kill9`](Self::kill9) nothing is left but what the stores have. Its address, directory and process are
/// those of the first.
pub struct BrokerProcess {
    kind: BrokerKind,
    /// Of Kafka, where it is not the usual one.
    version: Option<String>,
    /// Of Ottla, where it is not [`ottla_binary`].
    binary: Option<PathBuf>,
    port: u16,
    config: Vec<(String, String)>,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    /// Of one in a cluster.
    place: Option<Place>,
    others: Vec<BrokerProcess>,
    root: TempDir,
    child: Option<Child>,
}

impl BrokerProcess {
    /// Starts the broker that the environment chooses, on a free port and an empty directory.
    ///
    /// # Errors
    /// As [`BrokerProcess::start_with`].
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// Starts it with server properties on top of its defaults.
    ///
    /// # Errors
    /// [`crate::Missing`] where there is no Kafka to run; the broker's log where it does not come up.
    pub fn start_with(config: &[(&str, &str)]) -> Result<Self> {
        Self::start_as(BrokerKind::from_env()?, config, &[])
    }

    /// Which broker it is.
    pub fn kind(&self) -> BrokerKind {
        self.kind
    }

    /// Starts a broker of the given kind; `args` are further command line options, for Ottla only.
    ///
    /// # Errors
    /// As [`BrokerProcess::start_with`].
    pub fn start_as(kind: BrokerKind, config: &[(&str, &str)], args: &[&str]) -> Result<Self> {
        let mut broker = Self::stopped(kind, config, args)?;
        broker.launch()?;
        Ok(broker)
    }

    /// Starts Kafka in a version of its own.
    ///
    /// # Errors
    /// As [`BrokerProcess::start_with`].
    pub fn start_kafka(version: &str, config: &[(&str, &str)]) -> Result<Self> {
        let mut broker = Self::stopped(BrokerKind::Kafka, config, &[])?;
        broker.version = Some(version.to_owned());
        broker.launch()?;
        Ok(broker)
    }

    /// A broker that [`BrokerProcess::restart`] starts for the first time: its directory is not there yet.
    ///
    /// # Errors
    /// No port, or no temporary directory.
    pub fn stopped(kind: BrokerKind, config: &[(&str, &str)], args: &[&str]) -> Result<Self> {
        if kind == BrokerKind::Kafka || !cluster::is_asked_for() {
            return Self::alone(kind, config, args);
        }
        let mut brokers = Vec::new();
        for place in cluster::new_places()? {
            let mut broker = Self::member(place, config)?;
            broker.args = args.iter().map(|arg| (*arg).to_owned()).collect();
            brokers.push(broker);
        }
        let mut first = brokers.remove(0);
        first.others = brokers;
        Ok(first)
    }

    /// A broker of a cluster, which owns no others.
    pub(crate) fn member(place: Place, config: &[(&str, &str)]) -> Result<Self> {
        let mut broker = Self::alone(BrokerKind::Ottla, config, &[])?;
        broker.place = Some(place);
        Ok(broker)
    }

    fn alone(kind: BrokerKind, config: &[(&str, &str)], args: &[&str]) -> Result<Self> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Ok(Self {
            kind,
            version: None,
            binary: None,
            port: free_port()?,
            config: config.iter().map(owned).collect(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            environment: Vec::new(),
            place: None,
            others: Vec::new(),
            root: tempfile::Builder::new().prefix("ottla-compat-").tempdir()?,
            child: None,
        })
    }

    /// Starts this Ottla from now on.
    pub fn use_binary(&mut self, binary: &Path) {
        self.binary = Some(binary.to_owned());
        for other in &mut self.others {
            other.use_binary(binary);
        }
    }

    /// Sets variables of its environment, from the next start on.
    pub fn put_in_environment(&mut self, variables: &[(&str, String)]) {
        let owned = |(name, value): &(&str, String)| ((*name).to_owned(), value.clone());
        self.environment.extend(variables.iter().map(owned));
        for other in &mut self.others {
            other.put_in_environment(variables);
        }
    }

    /// Puts its directory, which must not be there yet, on another disk.
    ///
    /// # Errors
    /// Nothing can be written there.
    pub fn put_on(&mut self, disk: &Path) -> Result<()> {
        self.root = tempfile::Builder::new()
            .prefix("ottla-compat-")
            .tempdir_in(disk)?;
        self.others
            .iter_mut()
            .try_for_each(|other| other.put_on(disk))
    }

    /// Replaces the properties that it is started with the next time.
    pub fn configure(&mut self, config: &[(&str, &str)]) {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        self.config = config.iter().map(owned).collect();
        for other in &mut self.others {
            other.configure(config);
        }
    }

    /// Sets properties over all others, the listeners among them, from the next start on. Further brokers of a cluster have the
    /// same listeners on ports of their own.
    ///
    /// # Errors
    /// No port is free.
    pub fn override_with(&mut self, config: &[(&str, &str)]) -> Result<()> {
        for other in &mut self.others {
            let mut ports = BTreeMap::from([(self.port, other.port)]);
            let mut elsewhere = Vec::new();
            for (key, value) in config {
                let value = match key.ends_with("listeners") {
                    true => with_other_ports(value, &mut ports)?,
                    false => (*value).to_owned(),
                };
                elsewhere.push((*key, value));
            }
            let elsewhere = elsewhere.iter().map(|(key, value)| (*key, value.as_str()));
            other.override_with(&elsewhere.collect::<Vec<_>>())?;
        }
        match self.kind {
            BrokerKind::Kafka => self.configure(config),
            BrokerKind::Ottla => {
                let pairs = config.iter().map(|(key, value)| format!("{key}={value}"));
                self.args = pairs
                    .flat_map(|pair| ["--override".to_owned(), pair])
                    .collect();
            }
        }
        Ok(())
    }

    /// How many brokers it is.
    pub fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// `host:port`, as clients want it; of a cluster all three, with commas.
    pub fn bootstrap(&self) -> String {
        let others = self.others.iter().map(|other| other.address().to_string());
        let all: Vec<String> = [self.address().to_string()]
            .into_iter()
            .chain(others)
            .collect();
        all.join(",")
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Where the partitions' directories are.
    pub fn data_dir(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// Where its records are, as it tells its clients.
    pub fn log_dir(&self) -> String {
        let of_place = self.place.iter().flat_map(|place| &place.properties);
        let mut objects = of_place.filter(|(name, _)| name == "ottla.cluster.objects.url");
        let url = objects.next().map(|(_, url)| url.clone());
        url.unwrap_or_else(|| self.data_dir().display().to_string())
    }

    /// Its `server.properties`; Ottla has none unless it was started with properties.
    pub fn config_path(&self) -> PathBuf {
        self.root.path().join("server.properties")
    }

    /// What the broker has written to stdout and stderr since its last start (Ottla: since its first).
    pub fn log(&self) -> String {
        let others = self.others.iter().map(BrokerProcess::own_log);
        [self.own_log()].into_iter().chain(others).collect()
    }

    fn own_log(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The end of the log, for an error message.
    pub fn log_tail(&self) -> String {
        let others = self.others.iter().map(BrokerProcess::own_log_tail);
        let all: Vec<String> = [self.own_log_tail()].into_iter().chain(others).collect();
        all.join("\n")
    }

    fn own_log_tail(&self) -> String {
        let log = self.own_log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(25)..];
        format!("the broker's log ends so:\n{}", tail.join("\n"))
    }

    /// Its process id.
    ///
    /// # Errors
    /// It is not running.
    pub fn pid(&self) -> Result<u32> {
        let child = self.child.as_ref().map(Child::id);
        child.context("the broker is not running")
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// It is not running.
    pub fn resident_bytes(&self) -> Result<u64> {
        proc_stats::resident_bytes(self.pid()?)
    }

    /// CPU time used since its start.
    ///
    /// # Errors
    /// It is not running.
    pub fn cpu_time(&self) -> Result<Duration> {
        proc_stats::cpu_time(self.pid()?)
    }

    /// Ends it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// It was not running any more: it had crashed.
    pub fn kill9(&mut self) -> Result<()> {
        for other in &mut self.others {
            other.kill9()?;
        }
        let mut child = self.child.take().context("the broker is not running")?;
        if let Some(status) = child.try_wait()? {
            bail!(
                "the broker had ended by itself: {status}\n{}",
                self.log_tail()
            );
        }
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Ends it with SIGTERM and waits until it is gone.
    ///
    /// # Errors
    /// It does not end in time, or with an exit code other than 0.
    pub fn terminate(&mut self) -> Result<()> {
        for broker in [&*self].into_iter().chain(&self.others) {
            let child = broker.child.as_ref();
            let child = child.context("the broker is not running")?;
            kill_process(Pid::from_child(child), Signal::TERM)?;
        }
        for other in &mut self.others {
            other.wait_for_exit()?;
        }
        self.wait_for_exit()
    }

    fn wait_for_exit(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the broker is not running")?;
        let deadline = Instant::now() + EXIT_TIMEOUT;
        loop {
            if let Some(status) = child.try_wait()? {
                // A Java virtual machine says that it was terminated.
                let in_order = status.success() || self.kind == BrokerKind::Kafka;
                ensure!(in_order, "after SIGTERM: {status}\n{}", self.log_tail());
                return Ok(());
            }
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                bail!(
                    "still running {EXIT_TIMEOUT:?} after SIGTERM\n{}",
                    self.log_tail()
                );
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Starts it again on the same port and directory, killing it first where it still runs.
    ///
    /// # Errors
    /// As [`BrokerProcess::start_with`].
    pub fn restart(&mut self) -> Result<()> {
        if self.child.is_some() {
            self.kill9()?;
        }
        self.launch()
    }

    /// The error that a broker which ended by itself deserves.
    ///
    /// # Errors
    /// It is not running any more.
    pub fn ensure_running(&mut self) -> Result<()> {
        for other in &mut self.others {
            other.ensure_running()?;
        }
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait()?
        {
            bail!("the broker ended by itself: {status}\n{}", self.log_tail());
        }
        self.pid().map(|_| ())
    }

    fn launch(&mut self) -> Result<()> {
        if self.kind == BrokerKind::Kafka {
            return self.launch_kafka();
        }
        // All at once, as somebody does who has three machines.
        self.spawn_ottla()?;
        for other in &mut self.others {
            other.spawn_ottla()?;
        }
        // The port opens when recovery is done: an answer is the readiness that clients see.
        self.wait_until(|broker| {
            let asked = RawClient::connect(broker.address())
                .and_then(|mut client| client.call(0, &ApiVersionsRequest::default()));
            asked.is_ok()
        })?;
        let brokers = self.count();
        if brokers == 1 {
            return Ok(());
        }
        // A broker that has just come is known to the others a moment later.
        self.wait_until(|broker| {
            let nothing = MetadataRequest::default().with_topics(Some(Vec::new()));
            let told = RawClient::connect(broker.address())
                .and_then(|mut client| client.call(9, &nothing));
            told.is_ok_and(|told| told.brokers.len() == brokers)
        })
    }

    fn spawn_ottla(&mut self) -> Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let mut command = match &self.binary {
            Some(binary) => Command::new(binary),
            None => Command::new(ottla_binary()?),
        };
        command.args(["--listen", &self.address().to_string()]);
        command.arg("--data-dir").arg(self.data_dir());
        let properties = self.properties();
        if !properties.is_empty() {
            let path = self.config_path();
            fs::write(&path, properties)?;
            command.arg("--config").arg(path);
        }
        // Records of tests may be older than the retention time, and are not to go while a test looks at them.
        let (key, an_hour_ms) = ("log.initial.task.delay.ms", 3_600_000);
        if !self.config.iter().any(|(name, _)| name == key) {
            command.args(["--override", &format!("{key}={an_hour_ms}")]);
        }
        command.args(&self.args);
        let of_place = self.place.iter().flat_map(|place| &place.environment);
        let environment = of_place.chain(&self.environment);
        command.envs(environment.map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// Formats the directory if it is new, and starts Kafka as its own scripts do, with half a GiB of heap.
    fn launch_kafka(&mut self) -> Result<()> {
        let tools = match &self.version {
            None => KafkaTools::new()?,
            Some(version) => KafkaTools::of_version(version)?,
        };
        let config = self.config_path();
        fs::write(&config, self.kafka_properties())?;
        let config = config.display().to_string();
        if !self.data_dir().exists() {
            let format = [
                "format",
                "--standalone",
                "-t",
                KAFKA_CLUSTER_ID,
                "-c",
                &config,
            ];
            tools.run("kafka.tools.StorageTool", &format)?;
        }
        let log = File::create(self.log_path())?;
        let mut command = tools.server("kafka.Kafka", &[&config]);
        let environment = self.environment.iter();
        command
            .envs(environment.map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.child = Some(command.spawn()?);
        // Its port opens earlier.
        self.wait_until(|broker| broker.log().contains("Kafka Server started"))
    }

    fn kafka_properties(&self) -> String {
        let (port, controller_port) = (self.port, self.port + 10_000);
        let listeners =
            format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}");
        let mut lines = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}\n\
             listeners={listeners}\n\
             advertised.listeners={listeners}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             log.dirs={}\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             share.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n",
            self.data_dir().display()
        );
        lines.push_str(&self.properties());
        lines
    }

    fn wait_until(&mut self, ready: impl Fn(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        while ![&*self].into_iter().chain(&self.others).all(&ready) {
            self.ensure_running()?;
            ensure!(
                Instant::now() < deadline,
                "not ready in {READY_TIMEOUT:?}\n{}",
                self.log_tail()
            );
            std::thread::sleep(POLL_INTERVAL);
        }
        // Another process on that port would have answered too.
        self.ensure_running()
    }

    fn properties(&self) -> String {
        let line = |(key, value): &(String, String)| format!("{key}={value}\n");
        let of_place = self.place.iter().flat_map(|place| &place.properties);
        self.config.iter().chain(of_place).map(line).collect()
    }

    fn log_path(&self) -> PathBuf {
        let name = match self.kind {
            BrokerKind::Ottla => "broker.log",
            BrokerKind::Kafka => "server.log",
        };
        self.root.path().join(name)
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.own_log_tail());
        }
        // Errors have nowhere to go from here; a broker that is gone already is fine.
        let _ = self.kill9();
    }
}

/// The text of listeners with each port replaced: by the one that is named for it, else by a free one.
fn with_other_ports(listeners: &str, ports: &mut BTreeMap<u16, u16>) -> Result<String> {
    let mut replaced = Vec::new();
    for listener in listeners.split(',') {
        let (before, port) = listener.rsplit_once(':').context("a listener has a port")?;
        let port: u16 = port.parse()?;
        let port = match ports.entry(port) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(place) => *place.insert(free_port()?),
        };
        replaced.push(format!("{before}:{port}"));
    }
    Ok(replaced.join(","))
}

/// The binary under test: `OTTLA_BIN`, or built from this workspace with the profile of the caller.
///
/// # Errors
/// It does not build.
pub fn ottla_binary() -> Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BINARY.get_or_init(|| build_ottla().map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|error| anyhow!("{error}"))
}

fn build_ottla() -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os("OTTLA_BIN") {
        return Ok(binary.into());
    }
    // This executable is target/PROFILE/deps/NAME (a test) or target/PROFILE/NAME (the benchmark).
    let executable = std::env::current_exe()?;
    let is_profile = |dir: &&Path| {
        dir.file_name()
            .is_some_and(|name| name == "debug" || name == "release")
    };
    let profile_dir = executable
        .ancestors()
        .find(is_profile)
        .context("not started from a target directory")?;
    let mut cargo = cargo();
    cargo
        .args(["build", "--quiet", "-p", "ottla", "--bin", "ottla"])
        .current_dir(crate_dir());
    cargo.arg("--target-dir").arg(
        profile_dir
            .parent()
            .context("a profile has a target directory")?,
    );
    if profile_dir.ends_with("release") {
        cargo.arg("--release");
    }
    run(&mut cargo)?;
    Ok(profile_dir.join("ottla"))
}

/// A port that nothing listens on.
///
/// Below Linux's ephemeral range: while a broker is down, a client's own connection must not take its
/// port. Kafka's controller takes the port 10,000 above. To listen there for a try would be wrong: a process that
/// another thread starts meanwhile has the listening socket, too, for a moment.
///
/// # Errors
/// None is free.
pub fn free_port() -> Result<u16> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 2_700;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id().wrapping_mul(131);
    for _ in 0..COUNT {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let index = start.wrapping_add(step) % u32::from(COUNT);
        let port = FIRST + u16::try_from(index).context("below COUNT")?;
        let is_free = |port: u16| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err();
        if is_free(port) && is_free(port + 10_000) {
            return Ok(port);
        }
    }
    bail!("no free port")
}
