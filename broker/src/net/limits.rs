//! How many connections there may be: `max.connections` and `max.connections.per.ip`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// A limit is reached; the connection is closed, as Kafka does it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("max.connections={0} is reached")]
    Total(usize),
    #[error("max.connections.per.ip={0} is reached")]
    PerIp(usize),
}

/// Counts the connections of all listeners.
pub struct ConnectionLimits {
    max: usize,
    max_per_ip: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    total: usize,
    per_ip: HashMap<IpAddr, usize>,
}

/// One connection's place; dropping it makes room.
pub struct Place {
    limits: Arc<ConnectionLimits>,
    ip: IpAddr,
}

impl ConnectionLimits {
    pub fn new(max: usize, max_per_ip: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_per_ip,
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
        let limits = ConnectionLimits::new(3, 2);
        let [a, b] = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
        let first = limits.admit(a).ok();
        let _second = limits.admit(a).ok();
        assert_eq!(limits.admit(a).err(), Some(Refused::PerIp(2)));
        let _third = limits.admit(b).ok();
        assert_eq!(limits.admit(b).err(), Some(Refused::Total(3)));
        drop(first);
        assert!(limits.admit(a).is_ok());
    }
}
