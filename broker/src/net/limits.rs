//! How many connections there may be: `max.connections`, `max.connections.per.ip` and its overrides, and what the limit of
//! open files leaves. As in Kafka, a connection beyond the first waits, one beyond the others is closed.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config::ConnectionSettings;
use crate::log_limited;

/// A limit is reached.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("max.connections={0} is reached")]
    Total(usize),
    #[error(
        "{0} connections are as many as the limit of open files leaves: raise it (ulimit -n, LimitNOFILE)"
    )]
    OpenFiles(usize),
    #[error("max.connections.per.ip={0} is reached")]
    PerIp(usize),
    #[error("the {0} connections of max.connections.per.ip.overrides are reached")]
    Override(usize),
}

/// A host that `max.connections.per.ip.overrides` names has no address.
#[derive(Debug, thiserror::Error)]
#[error("max.connections.per.ip.overrides names {host}, which has no address: {source}")]
pub struct UnknownHost {
    host: String,
    source: io::Error,
}

/// Counts the connections of all listeners, and has the limits follow the settings.
pub struct ConnectionLimits {
    /// What the limit of open files leaves.
    max_files: usize,
    open: Mutex<Open>,
    names: Mutex<Names>,
    /// Told when a connection has ended, and when the limits have changed.
    room: Notify,
}

struct Open {
    limits: Limits,
    total: usize,
    per_ip: HashMap<IpAddr, usize>,
}

/// What is in force.
#[derive(Debug)]
struct Limits {
    max: usize,
    max_per_ip: usize,
    of_ip: HashMap<IpAddr, usize>,
}

/// The hosts of overrides that are given by name.
#[derive(Default)]
struct Names {
    addresses: HashMap<String, Vec<IpAddr>>,
    /// Settings with names whose addresses are to be looked up.
    wanted: Option<ConnectionSettings>,
    /// Somebody does that.
    looking_up: bool,
}

/// What the broker has open besides connections, segments and the write-ahead log: the log directory's small files while
/// they are written, ports, connections for metrics, what the runtime needs.
const OTHER_FILES: u64 = 96;
/// How much of the write-ahead log is in one file.
const RING_FILE_BYTES: u64 = 64 << 20;

/// How many connections there may be under a limit of `allowed` open files, where storage keeps up to `segments_max`
/// files of segments open and never more than a half.
pub(crate) fn connections_within(allowed: u64, segments_max: usize, ring_max_bytes: u64) -> usize {
    let of_storage = (allowed / 2).min(segments_max as u64);
    // A limit that is as low as this is a test's, or a mistake; there is no ring of its full size then.
    let others = (OTHER_FILES + ring_max_bytes / RING_FILE_BYTES).min(allowed / 4);
    usize::try_from(allowed - of_storage - others).unwrap_or(usize::MAX)
}

/// One connection's place; dropping it makes room.
pub struct Place {
    limits: Arc<ConnectionLimits>,
    ip: IpAddr,
}

impl Limits {
    /// The limits, as far as the addresses of hosts are known.
    fn new(settings: &ConnectionSettings, addresses: &HashMap<String, Vec<IpAddr>>) -> Self {
        let mut of_ip = HashMap::new();
        for (host, limit) in &settings.overrides {
            let known = addresses.get(host).into_iter().flatten().copied();
            of_ip.extend(
                literal(host)
                    .into_iter()
                    .chain(known)
                    .map(|ip| (ip, *limit)),
            );
        }
        Self {
            max: settings.max,
            max_per_ip: settings.max_per_ip,
            of_ip,
        }
    }
}

/// The address that a host is given by; without any it is this machine, as for Java.
fn literal(host: &str) -> Option<IpAddr> {
    match host {
        "" => Some(Ipv4Addr::LOCALHOST.into()),
        host => host.parse().ok(),
    }
}

/// Looks up a host that is given by name. May take seconds.
fn look_up(host: &str) -> Result<Vec<IpAddr>, UnknownHost> {
    let found = (host, 0).to_socket_addrs().map_err(|source| UnknownHost {
        host: host.to_owned(),
        source,
    })?;
    Ok(found.map(|address| address.ip()).collect())
}

impl ConnectionLimits {
    /// Limits as they are set, and `max_files` of all connections together.
    ///
    /// # Errors
    /// An operator who limits a host that cannot be found would believe it to be limited.
    pub(crate) fn new(
        settings: &ConnectionSettings,
        max_files: usize,
    ) -> Result<Arc<Self>, UnknownHost> {
        let mut names = Names::default();
        for (host, _) in &settings.overrides {
            if literal(host).is_none() {
                names.addresses.insert(host.clone(), look_up(host)?);
            }
        }
        Ok(Arc::new(Self {
            max_files,
            open: Mutex::new(Open {
                limits: Limits::new(settings, &names.addresses),
                total: 0,
                per_ip: HashMap::new(),
            }),
            names: Mutex::new(names),
            room: Notify::new(),
        }))
    }

    /// Has other limits in force for connections from now on; those that there are stay. Hosts that are given by name follow
    /// when they have been looked up. Must be called inside a tokio runtime.
    pub(crate) fn change(self: &Arc<Self>, settings: ConnectionSettings) {
        let mut names = self.names.lock();
        let is_named = |host: &str| settings.overrides.iter().any(|(named, _)| named == host);
        names.addresses.retain(|host, _| is_named(host));
        self.open.lock().limits = Limits::new(&settings, &names.addresses);
        self.room.notify_waiters();
        let any_name = settings
            .overrides
            .iter()
            .any(|(host, _)| literal(host).is_none());
        names.wanted = any_name.then_some(settings);
        // One at a time, however often somebody changes them.
        if any_name && !std::mem::replace(&mut names.looking_up, true) {
            let limits = Arc::clone(self);
            tokio::task::spawn_blocking(move || limits.look_up_names());
        }
    }

    /// What new connections are held to.
    #[cfg(test)]
    pub(crate) fn in_force(&self) -> String {
        format!("{:?}", self.open.lock().limits)
    }

    /// Looks hosts up until those of the newest settings are known.
    fn look_up_names(&self) {
        while let Some(settings) = self.wanted_names() {
            let mut found = HashMap::new();
            for (host, _) in &settings.overrides {
                if self.names.lock().wanted.is_some() {
                    // There are newer ones.
                    break;
                }
                if literal(host).is_some() {
                    continue;
                }
                match look_up(host) {
                    Ok(addresses) => {
                        found.insert(host.clone(), addresses);
                    }
                    Err(error) => tracing::warn!("{error}; it is not limited"),
                }
            }
            let mut names = self.names.lock();
            if names.wanted.is_none() {
                names.addresses = found;
                self.open.lock().limits = Limits::new(&settings, &names.addresses);
            }
        }
    }

    fn wanted_names(&self) -> Option<ConnectionSettings> {
        let mut names = self.names.lock();
        let wanted = names.wanted.take();
        names.looking_up = wanted.is_some();
        wanted
    }

    /// Takes a place for a connection from `ip`; waits for one where `max.connections` leaves none.
    ///
    /// # Errors
    /// Another limit leaves none.
    pub(crate) async fn place(self: &Arc<Self>, ip: IpAddr) -> Result<Place, Refused> {
        loop {
            // Before it is looked for, so that no end of a connection is missed.
            let mut room = std::pin::pin!(self.room.notified());
            room.as_mut().enable();
            match self.admit(ip) {
                Err(refused @ Refused::Total(_)) => {
                    log_limited!(warn, "{refused}: connections wait for others to end");
                    room.await;
                }
                outcome => return outcome,
            }
        }
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// The limit that leaves none.
    fn admit(self: &Arc<Self>, ip: IpAddr) -> Result<Place, Refused> {
        let mut open = self.open.lock();
        let limits = &open.limits;
        if open.total >= limits.max {
            return Err(Refused::Total(limits.max));
        }
        if open.total >= self.max_files {
            return Err(Refused::OpenFiles(self.max_files));
        }
        let of_ip = open.per_ip.get(&ip).copied().unwrap_or(0);
        match limits.of_ip.get(&ip) {
            Some(&limit) if of_ip >= limit => return Err(Refused::Override(limit)),
            None if of_ip >= limits.max_per_ip => return Err(Refused::PerIp(limits.max_per_ip)),
            _ => {}
        }
        open.total += 1;
        open.per_ip.insert(ip, of_ip + 1);
        Ok(Place {
            limits: Arc::clone(self),
            ip,
        })
    }

    /// How many connections there are.
    pub(crate) fn open_count(&self) -> usize {
        self.open.lock().total
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.limits.open.lock();
        open.total -= 1;
        if let Some(of_ip) = open.per_ip.get_mut(&self.ip) {
            *of_ip -= 1;
            if *of_ip == 0 {
                open.per_ip.remove(&self.ip);
            }
        }
        drop(open);
        self.limits.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

    fn settings(max: usize, max_per_ip: usize, overrides: &[(&str, usize)]) -> ConnectionSettings {
        let overrides = overrides.iter();
        ConnectionSettings {
            max,
            max_per_ip,
            overrides: overrides
                .map(|(host, limit)| ((*host).to_owned(), *limit))
                .collect(),
        }
    }

    fn limits(max: usize, max_per_ip: usize, overrides: &[(&str, usize)]) -> Arc<ConnectionLimits> {
        ConnectionLimits::new(&settings(max, max_per_ip, overrides), 100).expect("hosts")
    }

    #[test]
    fn each_limit_refuses_the_connection_that_exceeds_it_and_an_end_makes_room() {
        let limits = limits(3, 2, &[]);
        let first = limits.admit(A).ok();
        let _second = limits.admit(A).ok();
        assert_eq!(limits.admit(A).err(), Some(Refused::PerIp(2)));
        let _third = limits.admit(B).ok();
        assert_eq!(limits.admit(B).err(), Some(Refused::Total(3)));
        drop(first);
        assert!(limits.admit(A).is_ok());
    }

    #[test]
    fn an_override_is_the_limit_of_its_host_alone_be_it_higher_or_lower() {
        for host in ["127.0.0.1", "localhost", ""] {
            let limits = limits(100, 1, &[(host, 2), ("127.0.0.2", 0), ("::2", 7)]);
            let _places = [limits.admit(A).ok(), limits.admit(A).ok()];
            assert_eq!(
                limits.admit(A).err(),
                Some(Refused::Override(2)),
                "{host:?}"
            );
            assert_eq!(
                limits.admit(B).err(),
                Some(Refused::Override(0)),
                "{host:?}"
            );
            let other = IpAddr::from([127, 0, 0, 3]);
            let _place = limits.admit(other).ok();
            assert_eq!(limits.admit(other).err(), Some(Refused::PerIp(1)));
        }
        let unknown = ConnectionLimits::new(&settings(1, 1, &[("no such host", 1)]), 100);
        assert!(unknown.is_err());
    }

    #[tokio::test]
    async fn beyond_the_limit_of_all_connections_one_waits_and_beyond_another_it_does_not() {
        let limits = limits(2, 2, &[("127.0.0.2", 0)]);
        let first = limits.place(A).await.ok();
        let _second = limits.place(A).await.ok();
        // Which limit is reached is only asked when there is room.
        for ip in [A, B] {
            let mut waiting = waiting_for(&limits, ip);
            assert!(poll_once(&mut waiting).await.is_none());
        }
        let mut waiting = waiting_for(&limits, A);
        assert!(poll_once(&mut waiting).await.is_none());
        drop(first);
        let third = poll_once(&mut waiting).await.expect("room");
        let mut waiting = waiting_for(&limits, A);
        assert!(poll_once(&mut waiting).await.is_none());
        limits.change(settings(3, 2, &[]));
        let refused = poll_once(&mut waiting).await.expect("room");
        assert_eq!(refused.err(), Some(Refused::PerIp(2)));
        drop(third);
        assert!(limits.place(A).await.is_ok());
    }

    type Waiting = std::pin::Pin<Box<dyn Future<Output = Result<Place, Refused>>>>;

    fn waiting_for(limits: &Arc<ConnectionLimits>, ip: IpAddr) -> Waiting {
        let limits = Arc::clone(limits);
        Box::pin(async move { limits.place(ip).await })
    }

    /// What the future has come to by now.
    async fn poll_once(waiting: &mut Waiting) -> Option<Result<Place, Refused>> {
        std::future::poll_fn(|context| match waiting.as_mut().poll(context) {
            std::task::Poll::Ready(outcome) => std::task::Poll::Ready(Some(outcome)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }

    #[tokio::test]
    async fn a_change_counts_for_the_next_connection_and_ends_none() {
        let limits = limits(100, 100, &[]);
        let mut places: Vec<_> = (0..3).map(|_| limits.admit(A).ok()).collect();
        limits.change(settings(2, 100, &[]));
        assert_eq!(limits.admit(B).err(), Some(Refused::Total(2)));
        assert_eq!(limits.open_count(), 3);
        limits.change(settings(100, 3, &[("127.0.0.2", 0)]));
        assert_eq!(limits.admit(A).err(), Some(Refused::PerIp(3)));
        assert_eq!(limits.admit(B).err(), Some(Refused::Override(0)));
        limits.change(settings(100, 3, &[("127.0.0.1", 4)]));
        places.push(limits.admit(A).ok());
        assert!(limits.admit(B).is_ok());
        assert_eq!(limits.admit(A).err(), Some(Refused::Override(4)));
    }

    #[tokio::test]
    async fn a_host_that_is_given_by_name_is_limited_when_it_was_looked_up() {
        let limits = limits(100, 100, &[]);
        for limit in [5, 0] {
            // Whoever changes them again does not wait for the one before.
            limits.change(settings(
                100,
                100,
                &[("localhost", limit), ("no such host", 1)],
            ));
        }
        let mut looks = 0;
        while limits.admit(A).err() != Some(Refused::Override(0)) {
            looks += 1;
            assert!(looks < 60_000, "it is still not limited");
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        limits.change(settings(100, 100, &[]));
        assert!(limits.admit(A).is_ok());
    }

    #[test]
    fn connections_leave_storage_and_the_broker_their_files() {
        let limits = ConnectionLimits::new(&settings(10, 10, &[]), 1).expect("no hosts");
        let _first = limits.admit(A).ok();
        assert_eq!(limits.admit(A).err(), Some(Refused::OpenFiles(1)));

        let gib = 1 << 30;
        for (allowed, segments, ring_bytes, connections) in [
            (256, 32_768, gib, 256 - 128 - 64),
            (1024, 32_768, gib, 1024 - 512 - 112),
            (1024, 100, gib, 1024 - 100 - 112),
            (1_048_576, 32_768, gib, 1_048_576 - 32_768 - 112),
            (1_048_576, 32_768, 64 * gib, 1_048_576 - 32_768 - 96 - 1024),
            (20, 32_768, gib, 5),
        ] {
            let left = connections_within(allowed, segments, ring_bytes);
            assert_eq!(left, connections, "of {allowed}");
        }
    }
}
