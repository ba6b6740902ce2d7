//! How many connections there may be: `max.connections`, `max.connections.per.ip`, and what the limit of open files leaves.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// A limit is reached; the connection is closed, as Kafka does it.
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
}

/// Counts the connections of all listeners.
pub struct ConnectionLimits {
    max: usize,
    max_per_ip: usize,
    /// What the limit of open files leaves.
    max_files: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    total: usize,
    per_ip: HashMap<IpAddr, usize>,
}

/// What the broker has open besides connections, segments and the write-ahead log: the log directory's small files while
/// they are written, ports, connections for metrics, what the runtime needs.
const OTHER_FILES: u64 = 96;
/// How much of the write-ahead log is in one file.
const RING_FILE_BYTES: u64 = 64 << 20;

/// How many connections there may be under a limit of `allowed` open files, where storage keeps up to `segments_max`
/// files of segments open and never more than a half.
pub fn connections_within(allowed: u64, segments_max: usize, ring_max_bytes: u64) -> usize {
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

impl ConnectionLimits {
    pub fn new(max: usize, max_per_ip: usize, max_files: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_per_ip,
            max_files,
            open: Mutex::default(),
        })
    }

    /// Takes a place for a connection from `ip`.
    ///
    /// # Errors
    /// The limit that leaves none.
    pub fn admit(self: &Arc<Self>, ip: IpAddr) -> Result<Place, Refused> {
        let mut open = self.open.lock();
        if open.total >= self.max {
            return Err(Refused::Total(self.max));
        }
        if open.total >= self.max_files {
            return Err(Refused::OpenFiles(self.max_files));
        }
        let of_ip = open.per_ip.get(&ip).copied().unwrap_or(0);
        if of_ip >= self.max_per_ip {
            return Err(Refused::PerIp(self.max_per_ip));
        }
        open.total += 1;
        open.per_ip.insert(ip, of_ip + 1);
        Ok(Place {
            limits: Arc::clone(self),
            ip,
        })
    }

    /// How many connections there are.
    pub fn open_count(&self) -> usize {
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_refuses_the_connection_that_exceeds_it_and_an_end_makes_room() {
        let limits = ConnectionLimits::new(3, 2, 100);
        let [a, b] = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
        let first = limits.admit(a).ok();
        let _second = limits.admit(a).ok();
        assert_eq!(limits.admit(a).err(), Some(Refused::PerIp(2)));
        let _third = limits.admit(b).ok();
        assert_eq!(limits.admit(b).err(), Some(Refused::Total(3)));
        drop(first);
        assert!(limits.admit(a).is_ok());
    }

    #[test]
    fn connections_leave_storage_and_the_broker_their_files() {
        let limits = ConnectionLimits::new(10, 10, 1);
        let a = IpAddr::from([127, 0, 0, 1]);
        let _first = limits.admit(a).ok();
        assert_eq!(limits.admit(a).err(), Some(Refused::OpenFiles(1)));

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
