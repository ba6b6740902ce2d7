//! The two servers that a cluster stands on, as real ones: PostgreSQL, and an object store that speaks S3's protocol.
//!
//! They run on loopback in a directory of their own. They are killed when their owner is dropped, and when the test process
//! ends in any way.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::broker_process::free_port;
use crate::proc_stats::tree_cpu_time;
use crate::python::Python;
use crate::toolchain::{Missing, find, run};

/// Ample on a machine whose disk is busy.
const START_TIMEOUT: Duration = Duration::from_secs(240);
const USER: &str = "ottla";
const PASSWORD: &str = "ottla-secret";
/// A user of the object store who may change nothing. The password is the other's.
pub const READER: &str = "reader";
pub(crate) const BUCKET: &str = "ottla";
const REGION: &str = "us-east-1";

/// The directory of PostgreSQL's programs, the newest one of Debian's.
///
/// # Errors
/// [`Missing`] where there is none.
pub fn postgres_programs() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<PathBuf> = versions
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .filter(|dir| dir.join("postgres").is_file())
        .collect();
    found.sort();
    if let Some(newest) = found.pop() {
        return Ok(newest);
    }
    let postgres = find("postgres")
        .map_err(|_| Missing("there is no PostgreSQL (on Debian: postgresql)".to_owned()))?;
    Ok(postgres.with_file_name(""))
}

/// A server under a shell that kills it, with its children, when it is told to, or when nobody is there any more who could:
/// then the directory goes, too.
struct Server {
    shell: Child,
}

impl Server {
    fn start(command: &Command, dir: &Path) -> Result<Self> {
        // Stopped first, so that it starts no more children meanwhile.
        // What is stopped in a group whose parent ends has the whole group sent SIGHUP, before the shell is done.
        // The shell cannot wait for the children of others, and a child that is not gone yet still has the server's memory. But
        // `cat` ends when the last of them does: each has the pipe.
        const SCRIPT: &str = r#"
            trap '' HUP
            [ -p said ] || mkfifo said
            cat said >>server.log &
            "$@" </dev/null >said 2>&1 &
            server=$!
            read -r told
            kill -STOP $server
            kill -KILL $server $(cat /proc/$server/task/$server/children)
            wait
            [ "$told" ] || rm -rf "$PWD""#;
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "sh"]);
        shell.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        let shell = shell
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A terminal's Ctrl-C ends the test, and the shell is needed longer than that.
            .process_group(0)
            .spawn()?;
        Ok(Self { shell })
    }

    fn cpu_time(&self) -> Result<Duration> {
        tree_cpu_time(self.shell.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.shell.stdin.take() {
            // Nothing can be done about a shell that is gone.
            let _ = stdin.write_all(b"end\n");
        }
        let _ = self.shell.wait();
    }
}

/// Waits until a server does what it should.
fn wait_for(what: &str, log: &Path, mut is_ready: impl FnMut() -> Result<()>) -> Result<()> {
    let began = Instant::now();
    loop {
        match is_ready() {
            Ok(()) => return Ok(()),
            Err(error) if began.elapsed() > START_TIMEOUT => {
                let log = fs::read_to_string(log).unwrap_or_default();
                let end = log.len().saturating_sub(4000);
                let end = log.get(end..).unwrap_or(&log);
                return Err(
                    error.context(format!("{what} does not start; its log ends with\n{end}"))
                );
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// A PostgreSQL server with an empty database `ottla`, whose owner is a user `ottla` that is no superuser but may make databases.
pub struct Postgres {
    server: Option<Server>,
    programs: PathBuf,
    port: u16,
    settings: Vec<String>,
    // Last: nobody uses it any more when it goes.
    dir: TempDir,
}

impl Postgres {
    /// Starts one, and waits until it answers.
    ///
    /// # Errors
    /// [`Missing`] where PostgreSQL is not installed; what it says where it does not start.
    pub fn start() -> Result<Self> {
        Self::start_with(&[], &[])
    }

    /// With settings like `ssl=on`, and files that are put into its data directory for them.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(settings: &[&str], files: &[(&str, &str)]) -> Result<Self> {
        let programs = postgres_programs()?;
        let dir = tempfile::Builder::new().prefix("postgres-").tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let data = dir.path().join("data");
        fs::create_dir(&data)?;
        let password = dir.path().join("password");
        fs::write(&password, PASSWORD)?;
        if let Some((user, group)) = other_user()? {
            chown(&data, Some(user), Some(group))?;
        }
        let mut initdb = as_other_user(&programs.join("initdb"))?;
        initdb
            .arg("--pgdata")
            .arg(&data)
            .arg("--pwfile")
            .arg(&password)
            .args(["--username", "postgres", "--auth", "scram-sha-256"])
            .args(["--no-locale", "--encoding", "UTF8", "--no-sync"]);
        run(initdb.current_dir(dir.path()))?;
        for (name, content) in files {
            let path = data.join(name);
            fs::write(&path, content)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            if let Some((user, group)) = other_user()? {
                chown(&path, Some(user), Some(group))?;
            }
        }
        let mut postgres = Self {
            server: None,
            programs,
            port: free_port()?,
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            dir,
        };
        postgres.restart()?;
        let roles = format!("CREATE ROLE {USER} LOGIN CREATEDB PASSWORD '{PASSWORD}'");
        postgres.psql("postgres", &roles)?;
        postgres.create_database(USER)?;
        Ok(postgres)
    }

    /// Makes another database of the user's.
    ///
    /// # Errors
    /// What psql says.
    pub fn create_database(&self, name: &str) -> Result<()> {
        let statement = format!("CREATE DATABASE {name} OWNER {USER}");
        self.psql("postgres", &statement).map(drop)
    }

    /// Kills the server and its sessions in the middle of whatever they are at.
    pub fn kill(&mut self) {
        self.server = None;
        // A process of the same number would be taken for it.
        let _ = fs::remove_file(self.dir.path().join("data/postmaster.pid"));
    }

    /// Starts the server again, on what the last one has left, and waits until it answers.
    ///
    /// # Errors
    /// What it says if it does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let mut command = as_other_user(&self.programs.join("postgres"))?;
        command.arg("-D").arg(self.dir.path().join("data"));
        let port = format!("port={}", self.port);
        // What is killed is a process, never the machine: the page cache is as good as the disk.
        let fixed = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=300",
            "fsync=off",
            &port,
        ];
        let own = self.settings.iter().map(String::as_str);
        for setting in fixed.into_iter().chain(own) {
            command.args(["-c", setting]);
        }
        self.server = Some(Server::start(&command, self.dir.path())?);
        let log = self.dir.path().join("server.log");
        wait_for("PostgreSQL", &log, || {
            self.psql("postgres", "SELECT 1").map(drop)
        })
    }

    /// The URL of the user's database.
    pub fn url(&self) -> String {
        self.url_of(USER)
    }

    /// The user's URL of another database.
    pub fn url_of(&self, database: &str) -> String {
        let port = self.port;
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/{database}")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// CPU time that its processes have used since its start.
    ///
    /// # Errors
    /// It is not running.
    pub fn cpu_time(&self) -> Result<Duration> {
        let server = self.server.as_ref().context("PostgreSQL is not running")?;
        server.cpu_time()
    }

    /// Runs a statement as a superuser, and gives what psql prints of its rows.
    ///
    /// # Errors
    /// What psql says.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        let port = self.port;
        let mut psql = Command::new(self.programs.join("psql"));
        psql.env("PGPASSWORD", PASSWORD)
            .env("PGCONNECT_TIMEOUT", "5")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .arg(format!("postgres://postgres@127.0.0.1:{port}/{database}"));
        run(&mut psql)
    }
}

/// PostgreSQL does not run as root: user and group of who does it instead.
fn other_user() -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let id = |option: &str, user: &str| -> Result<u32> {
        Ok(run(Command::new("id").args([option, user]))?
            .trim()
            .parse()?)
    };
    let user = if id("-u", "postgres").is_ok() {
        "postgres"
    } else {
        "nobody"
    };
    Ok(Some((id("-u", user)?, id("-g", user)?)))
}

fn as_other_user(program: &Path) -> Result<Command> {
    let Some((user, group)) = other_user()? else {
        return Ok(Command::new(program));
    };
    let mut command = Command::new(find("setpriv")?);
    command
        .args(["--reuid", &user.to_string(), "--regid", &group.to_string()])
        .args(["--clear-groups", "--"])
        .arg(program);
    Ok(command)
}

/// SeaweedFS, with an empty bucket `ottla`.
pub struct S3 {
    server: Option<Server>,
    weed: PathBuf,
    ports: [u16; 4],
    dir: TempDir,
}

impl S3 {
    /// Starts one, and waits until an object can be written.
    ///
    /// # Errors
    /// [`Missing`] where there is no Python 3 with venv; what the server says where it does not start.
    pub fn start() -> Result<Self> {
        let weed = Python::with("seaweedfs", "4.48")?.installed("weed");
        let dir = tempfile::Builder::new().prefix("s3-").tempdir()?;
        fs::create_dir(dir.path().join("data"))?;
        let identities = serde_json::json!({ "identities": [{
            "name": USER,
            "credentials": [{ "accessKey": USER, "secretKey": PASSWORD }],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }, {
            "name": READER,
            "credentials": [{ "accessKey": READER, "secretKey": PASSWORD }],
            "actions": ["Read", "List"],
        }]});
        fs::write(dir.path().join("s3.json"), identities.to_string())?;
        let mut s3 = Self {
            server: None,
            weed,
            ports: [free_port()?, free_port()?, free_port()?, free_port()?],
            dir,
        };
        s3.restart()?;
        Ok(s3)
    }

    /// Kills the server in the middle of whatever it is at.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Starts the server again, on what the last one has left, and waits until an object can be written.
    ///
    /// # Errors
    /// What it says if it does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let [s3, master, volume, filer] = self.ports;
        let mut command = Command::new(&self.weed);
        command.env("HOME", self.dir.path());
        command.args(["-logtostderr=true", "server", "-dir=data"]);
        command.args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1"]);
        command.args(["-master.telemetry=false", "-master.peers=none"]);
        command.args(["-master.volumeSizeLimitMB=1024", "-volume.max=64"]);
        command.args(["-volume.minFreeSpace=64MiB", "-volume.preStopSeconds=0"]);
        command.args(["-filer", "-filer.localSocket=filer.sock"]);
        command.args(["-s3", "-s3.config=s3.json", "-s3.localSocket=s3.sock"]);
        command.args(["-s3.port.iceberg=0", "-s3.port.lance=0"]);
        for (name, port) in [
            ("s3", s3),
            ("master", master),
            ("volume", volume),
            ("filer", filer),
        ] {
            // Nobody listens on what is 10,000 above a free port either.
            command.arg(format!("-{name}.port={port}"));
            command.arg(format!("-{name}.port.grpc={}", port + 10_000));
        }
        self.server = Some(Server::start(&command, self.dir.path())?);
        let log = self.dir.path().join("server.log");
        wait_for("SeaweedFS", &log, || {
            // A bucket is a folder of the part that keeps names, which asks nobody who he is.
            http(
                filer,
                "POST",
                &format!("/buckets/{BUCKET}/"),
                &["200", "201", "409"],
            )?;
            http(filer, "PUT", "/ready", &["200", "201"])?;
            http(s3, "GET", &format!("/{BUCKET}"), &["403"])?;
            Ok(())
        })
    }

    /// CPU time that its processes have used since its start.
    ///
    /// # Errors
    /// It is not running.
    pub fn cpu_time(&self) -> Result<Duration> {
        let server = self.server.as_ref().context("SeaweedFS is not running")?;
        server.cpu_time()
    }

    /// Where a cluster of this name keeps its objects.
    pub fn url(&self, cluster: &str) -> String {
        format!("s3://{BUCKET}/{cluster}")
    }

    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// The objects below a prefix, and how large they are.
    ///
    /// # Errors
    /// What the part that keeps names answers instead of its lists.
    pub fn objects(&self, prefix: &str) -> Result<Vec<(String, u64)>> {
        let [.., filer] = self.ports;
        let mut objects = Vec::new();
        let mut folders = vec![format!("/buckets/{BUCKET}/{prefix}")];
        while let Some(folder) = folders.pop() {
            let path = format!("{folder}/?limit=100000");
            let listed = http(filer, "GET", &path, &["200"])?;
            let listed: Value = serde_json::from_str(&listed)?;
            for entry in listed["Entries"].as_array().into_iter().flatten() {
                let Some(path) = entry["FullPath"].as_str() else {
                    bail!("{folder} has an entry without a name: {entry}");
                };
                match entry["FileSize"].as_u64() {
                    _ if is_folder(entry) => folders.push(path.to_owned()),
                    size => objects.push((path.to_owned(), size.unwrap_or(0))),
                }
            }
        }
        Ok(objects)
    }

    /// What a client of S3 finds in its environment.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        self.environment_by(self.port())
    }

    /// The same for a client whose way leads over another port.
    pub fn environment_by(&self, port: u16) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", USER.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", PASSWORD.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
        ]
    }
}

/// Go's mode of a folder.
fn is_folder(entry: &Value) -> bool {
    entry["Mode"].as_u64().is_some_and(|mode| mode >> 31 == 1)
}

/// Gives the body of the answer.
fn http(port: u16, method: &str, path: &str, good: &[&str]) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nAccept: application/json\r\nContent-Length: 0\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    if !good.contains(&status) {
        bail!("{method} {path}: {answer}");
    }
    let body = answer.split_once("\r\n\r\n");
    Ok(body.map(|(_, body)| body.to_owned()).unwrap_or_default())
}
