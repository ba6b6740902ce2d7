//! The section of what the broker does for its clients.

use super::broker_row::{BrokerRow, kafka, own, own_null};
use super::def::{Kind, Rule};
use super::host_port::HostPort;
use super::section::{FromText, count, section};

section! {
    /// How clients are served. Times are milliseconds, sizes bytes.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ServingConfig of BrokerRow {}
    keys {
        /// Rack of this broker, as Metadata reports it.
        rack: Option<String> = kafka("broker.rack"),
        /// Serve metrics and health over HTTP at this host:port; off: nowhere. Unset: at localhost:9404 if that is free, a
        /// PLAINTEXT listener and no authorizer let everybody see the same names, and the broker is not --ephemeral.
        metrics_listen: Option<MetricsListen> = own_null("ottla.metrics.listen", Kind::String).rule(Rule::HostPortOr(OFF)),
        /// Metrics only for those who send the first line of this file as a bearer token. Health needs none. Read again on SIGHUP.
        metrics_token_file: Option<String> = own_null("ottla.metrics.token.file", Kind::String).rule(Rule::NonEmptyString),
        /// Most partitions, and most partitions with an offset of a group, that metrics show one by one. If there are more, topics
        /// are shown, or their sum, and ottla_metrics_truncated is 1.
        metrics_partitions_max: usize = own("ottla.metrics.partitions.max", Kind::Int, "10000").at_least(1),
        /// Ask clients for metrics of their own (KIP-714), as client-metrics settings say; what they report is counted and not
        /// kept.
        client_metrics: bool = own("ottla.client.metrics", Kind::Boolean, "false"),
        /// Largest report of a client's metrics, compressed and not.
        telemetry_max_bytes: usize = kafka("telemetry.max.bytes") => count,
        /// full: compressed batches are opened on arrival, and those that do not open are refused. compacted: only those of
        /// compacted topics, and those that are stored with another compression.
        record_validation: RecordValidation =
            own("ottla.record.validation", Kind::String, "full").rule(Rule::OneOf(&["full", "compacted"])),

        /// Largest request frame that is accepted.
        socket_request_max_bytes: usize = kafka("socket.request.max.bytes"),
        /// Connections that the system accepts ahead of the broker.
        socket_listen_backlog_size: i32 = kafka("socket.listen.backlog.size"),
        /// A connection without traffic for this long is closed.
        connections_max_idle_ms: i64 = kafka("connections.max.idle.ms"),
        /// Bytes of requests that may be in memory at one time; -1: the broker chooses.
        queued_max_request_bytes: Option<usize> = kafka("queued.max.request.bytes") => above_zero,

        /// Largest amount of records in one Fetch response, whatever the client asks for.
        fetch_max_bytes: usize = kafka("fetch.max.bytes"),
        /// Most incremental fetch sessions that are remembered (KIP-227).
        max_incremental_fetch_session_cache_slots: usize =
            kafka("max.incremental.fetch.session.cache.slots"),
        /// Most partitions in one DescribeTopicPartitions response (KIP-966).
        max_request_partition_size_limit: i32 = kafka("max.request.partition.size.limit"),
    }
    also {}
}

/// What `ottla.metrics.listen` says to open no port at all.
const OFF: &str = "off";

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricsListen {
    Nowhere,
    At(HostPort),
}

impl FromText for MetricsListen {
    fn from_text(text: &str) -> Option<Self> {
        match text {
            OFF => Some(Self::Nowhere),
            text => HostPort::from_text(text).map(Self::At),
        }
    }
}

/// Which compressed batches are opened when they arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RecordValidation {
    /// All, as by Kafka: what no consumer can open is refused.
    #[default]
    Full,
    /// Those that the broker has to open, now or later: of compacted topics, or to compress them otherwise.
    Compacted,
}

impl FromText for RecordValidation {
    fn from_text(text: &str) -> Option<Self> {
        match text {
            "full" => Some(Self::Full),
            "compacted" => Some(Self::Compacted),
            _ => None,
        }
    }
}

fn above_zero(bytes: i64) -> Option<usize> {
    usize::try_from(bytes).ok().filter(|bytes| *bytes > 0)
}
