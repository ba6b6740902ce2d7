//! What is loaded and measured: a broker, or several over their stores.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use crate::BrokerProcess;
use crate::cluster::Cluster;

/// Whatever serves the load.
pub trait Served: Sync {
    /// Where the first broker is.
    fn address(&self) -> SocketAddr;

    /// Where each broker is. Clients are spread over them, and any of them serves every partition.
    fn addresses(&self) -> Vec<SocketAddr> {
        vec![self.address()]
    }

    /// CPU time that all brokers have used since their start.
    ///
    /// # Errors
    /// One of them is not running.
    fn cpu_time(&self) -> Result<Duration>;

    /// CPU time of what they stand on.
    ///
    /// # Errors
    /// It is not running.
    fn stores_cpu_time(&self) -> Result<Duration>;

    /// Resident memory of all brokers, in bytes.
    ///
    /// # Errors
    /// One of them is not running.
    fn resident_bytes(&self) -> Result<u64>;
}

impl Served for BrokerProcess {
    fn address(&self) -> SocketAddr {
        Self::address(self)
    }

    fn cpu_time(&self) -> Result<Duration> {
        Self::cpu_time(self)
    }

    fn stores_cpu_time(&self) -> Result<Duration> {
        Ok(Duration::ZERO)
    }

    fn resident_bytes(&self) -> Result<u64> {
        Self::resident_bytes(self)
    }
}

impl Served for Cluster {
    fn address(&self) -> SocketAddr {
        self.brokers[0].address()
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.brokers.iter().map(BrokerProcess::address).collect()
    }

    fn cpu_time(&self) -> Result<Duration> {
        self.brokers.iter().map(BrokerProcess::cpu_time).sum()
    }

    fn stores_cpu_time(&self) -> Result<Duration> {
        Ok(self.postgres.cpu_time()? + self.s3.cpu_time()?)
    }

    fn resident_bytes(&self) -> Result<u64> {
        self.brokers.iter().map(BrokerProcess::resident_bytes).sum()
    }
}
