//! A snapshot as the text that Prometheus reads.

use std::fmt;

use coordinators::txn::{Cause, Ended, Measures, TransactionState};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use storage::log::stats::{DirectoryStats, LatencySnapshot};

use super::ApiSnapshot;
use super::census::{Groups, Lag, PartitionSum, TopicRow, Topics};
use super::label::Label;
use super::snapshot::{InCluster, Snapshot};

/// What [`render`] gives.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text of a snapshot, under some names.
pub(super) fn render(told: impl Collector) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(told));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        if let Some(directory) = &self.directory {
            out.directory(directory)?;
        }
        if let Some(in_cluster) = &self.in_cluster {
            out.cluster(self, in_cluster)?;
            out.stores(in_cluster)?;
        }
        out.recovery(self)?;
        out.requests(self)?;
        out.quotas(self)?;
        out.security(self)?;
        out.topics(self)?;
        out.groups(self)?;
        out.transactions(self)?;
        out.client_metrics(self)?;
        out.process(self)
    }
}

struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let mut metric = self.metric(name, help, MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    /// The text has `_total` after the name.
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.metric(name, help, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn histogram(&mut self, name: &str, help: &str, value: &LatencySnapshot) -> fmt::Result {
        histogram(&mut self.metric(name, help, MetricType::Histogram)?, value)
    }

    fn metric<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }

    #[rustfmt::skip] // a table: one row per metric
    fn directory(&mut self, d: &DirectoryStats) -> fmt::Result {
        let flag = |set: bool| f64::from(u8::from(set));
        self.histogram("ottla_storage_commit_write_seconds", "Device writes of the write-ahead log, with their sync.", &d.commit_writes)?;
        self.gauge("ottla_storage_commit_in_flight_seconds", "How long the commit under way has waited for room and for the device; 0 if there is none. It grows while a disk stalls.", d.commit_in_flight.as_secs_f64())?;
        self.gauge("ottla_storage_commit_waiting_for_room_seconds", "How long the commit under way has waited for room in the write-ahead log; 0 if it does not. Nothing is appended meanwhile.", d.commit_waiting_for_room.as_secs_f64())?;
        self.counter("ottla_storage_committed_entries", "Batches, and the broker's own notes, committed to the write-ahead log.", d.committed_entries)?;
        self.counter("ottla_storage_committed_bytes", "Bytes committed to the write-ahead log, with headers and padding.", d.committed_bytes)?;
        self.gauge("ottla_storage_unwritten_bytes", "Bytes accepted that are not in their segments yet.", d.unwritten_bytes as f64)?;
        self.gauge("ottla_storage_chunk_bytes", "Memory that holds batches for segments and for readers of the tail.", d.chunk_bytes as f64)?;
        self.gauge("ottla_storage_wal_ring_used_bytes", "Bytes of the write-ahead log that only a checkpoint frees.", d.ring_used_bytes as f64)?;
        self.gauge("ottla_storage_wal_ring_max_bytes", "How far the write-ahead log may grow.", d.ring_max_bytes as f64)?;
        self.histogram("ottla_storage_checkpoint_seconds", "Checkpoints that succeeded.", &d.checkpoints)?;
        self.gauge("ottla_storage_disk_full", "1 while there is no room for segments and nothing is appended.", flag(d.disk_full))?;
        self.gauge("ottla_storage_low_on_space", "1 while less is free than ottla.disk.reserve.bytes and producers are refused.", flag(d.low_on_space))?;
        self.gauge("ottla_storage_open_files", "Segment files that are open.", d.open_files as f64)?;
        self.counter("ottla_cleaner_runs", "Compactions of a log that succeeded.", d.cleaner_runs)?;
        self.counter("ottla_cleaner_read_bytes", "Bytes read by compactions that succeeded.", d.cleaner_read_bytes)?;
        self.counter("ottla_cleaner_written_bytes", "Bytes written by compactions that succeeded.", d.cleaner_written_bytes)
    }

    #[rustfmt::skip] // a table: one row per metric
    fn cluster(&mut self, s: &Snapshot, c: &InCluster) -> fmt::Result {
        let o = &c.objects;
        self.gauge("ottla_cluster_brokers", "Brokers that serve, as far as this one knows.", s.members.broker_count() as f64)?;
        self.gauge("ottla_cluster_lease_seconds", "How long this broker's lease in the database lasts unless it is renewed; 0 without one. Nothing is acknowledged then.", c.lease_left.as_secs_f64())?;
        self.counter("ottla_cluster_registrations", "How often this broker has registered: more than once, if others took it for dead.", c.registrations)?;
        self.gauge("ottla_cluster_database_clock_ahead_seconds", "How far the database's clock is ahead of this machine's, at least; negative if it is behind.", c.database_ahead_ms as f64 / 1000.0)?;
        self.gauge("ottla_cluster_log_groups", "Log groups that this broker follows: it has used a partition of them in the last minutes.", o.groups as f64)?;
        self.gauge("ottla_cluster_follow_lag_seconds", "How long ago this broker has last seen what others have appended to them. It grows while the database does not answer.", o.follows_since.as_secs_f64())?;
        self.gauge("ottla_cluster_unacknowledged", "Batches and changes that are not answered yet.", o.pending as f64)?;
        self.gauge("ottla_cluster_unacknowledged_seconds", "How long the oldest of them has waited; 0 if there is none. It grows while a store stalls.", o.oldest_pending.as_secs_f64())?;
        self.gauge("ottla_cluster_buffered_bytes", "Memory of batches that are not answered yet.", o.buffered_bytes as f64)?;
        self.counter("ottla_cluster_cache_hits", "Reads of batches that were in memory.", o.cache_hits)?;
        self.counter("ottla_cluster_cache_misses", "Looks for batches in memory that found none; a read may look twice.", o.cache_misses)?;
        self.gauge("ottla_cluster_cache_bytes", "Memory of batches that were written or read a moment ago, of ottla.cluster.cache.bytes.", o.cache_bytes as f64)
    }

    #[rustfmt::skip] // a table: one row per metric
    fn stores(&mut self, c: &InCluster) -> fmt::Result {
        let o = &c.objects;
        self.histogram("ottla_cluster_commit_seconds", "Commits: statements that append rows to the database, until it is known what became of them.", &o.commits)?;
        self.counter("ottla_cluster_commit_conflicts", "Rows that came too late, since another broker's was first; they are planned again.", o.conflicts)?;
        self.counter("ottla_cluster_commits_in_doubt", "Commits without an answer, of which the database had to be asked what became of them.", o.in_doubt)?;
        self.counter("ottla_cluster_commits_fenced", "Commits that were refused since this broker's lease had ended.", o.fenced)?;
        self.counter("ottla_cluster_rows", "Rows that this broker has appended.", o.rows)?;
        self.counter("ottla_cluster_row_bytes", "Bytes of batches that went into rows, since they were few.", o.inline_bytes)?;
        self.counter("ottla_cluster_followed_rows", "Rows that this broker has read.", o.followed_rows)?;
        self.histogram("ottla_cluster_upload_seconds", "Objects with batches, from the first attempt to the one that went well.", &o.uploads)?;
        self.histogram("ottla_cluster_read_seconds", "Reads that went well of an object, or of batches in a row.", &o.reads)?;
        let r = &o.requests;
        let mut requests = self.metric("ottla_cluster_object_requests", "What was asked of the object store, by everything in this broker and whatever came of it: this is what it charges for. What its client repeats counts once; delete counts objects.", MetricType::Counter)?;
        for (operation, count) in [("put", r.puts), ("get", r.gets), ("list", r.lists), ("delete", r.deletes)] {
            requests.encode_family(&[("operation", operation)])?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        let j = &o.jobs;
        self.gauge("ottla_cluster_upkeep_log_groups", "Log groups whose snapshots, merges and retention are this broker's work.", j.groups as f64)?;
        self.gauge("ottla_cluster_orphans", "Objects that nothing refers to and that wait for their removal, when they were last counted: at the broker that removes them, 0 at the others.", j.orphans as f64)?;
        self.gauge("ottla_cluster_orphan_bytes", "Their bytes.", j.orphan_bytes as f64)?;
        self.counter("ottla_cluster_orphans_removed", "Objects that nothing referred to and that this broker has removed.", j.removed)?;
        self.counter("ottla_cluster_object_put_bytes", "Bytes sent to the object store.", r.put_bytes)?;
        self.counter("ottla_cluster_object_got_bytes", "Bytes read from the object store.", r.got_bytes)
    }

    #[rustfmt::skip] // a table: one row per metric
    fn recovery(&mut self, s: &Snapshot) -> fmt::Result {
        self.gauge("ottla_storage_offline", "1 when the log directory has failed: nothing is acknowledged until a restart.", f64::from(u8::from(s.offline)))?;
        if let Some(bytes) = s.free_disk_bytes {
            self.gauge("ottla_storage_disk_free_bytes", "Free bytes on the disk of the log directory; absent while the file system does not answer.", bytes as f64)?;
        }
        self.gauge("ottla_storage_recovery_seconds", "How long opening the log directory took at the last start.", s.recovery.took.as_secs_f64())?;
        self.gauge("ottla_storage_recovery_replayed_bytes", "Bytes of batches replayed from the write-ahead log at the last start.", s.recovery.replayed_bytes as f64)
    }

    #[rustfmt::skip] // a table: one row per metric
    fn requests(&mut self, s: &Snapshot) -> fmt::Result {
        self.gauge("ottla_connections", "Open client connections.", s.connections as f64)?;
        self.gauge("ottla_request_budget_used_bytes", "Request bytes in memory, of queued.max.request.bytes, without those up to 64 KiB.", s.request_budget_used_bytes as f64)?;
        self.gauge("ottla_response_budget_used_bytes", "Response bytes in memory that clients have not taken yet, without responses up to 64 KiB and records that are not copied.", s.response_budget_used_bytes as f64)?;
        self.by_api("ottla_requests", "Requests answered.", s, |api| api.latency.count)?;
        self.by_api("ottla_request_errors", "Requests that could not be answered and ended their connection.", s, |api| api.errors)?;
        self.by_api("ottla_request_bytes", "Bytes of requests read.", s, |api| api.request_bytes)?;
        self.by_api("ottla_response_bytes", "Bytes of responses written.", s, |api| api.response_bytes)?;
        let help = "From the request read to its response written; a Fetch waits for records as long as the client asks for, JoinGroup for the group.";
        let mut metric = self.metric("ottla_request_seconds", help, MetricType::Histogram)?;
        for api in s.apis.iter().filter(|api| api.latency.count > 0) {
            histogram(&mut metric.encode_family(&[("api", api.name)])?, &api.latency)?;
        }
        Ok(())
    }

    fn by_api(
        &mut self,
        name: &str,
        help: &str,
        snapshot: &Snapshot,
        value: impl Fn(&ApiSnapshot) -> u64,
    ) -> fmt::Result {
        let mut metric = self.metric(name, help, MetricType::Counter)?;
        for api in &snapshot.apis {
            let labels = [("api", api.name)];
            let mut metric = metric.encode_family(&labels)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&value(api), None)?;
        }
        Ok(())
    }

    #[rustfmt::skip] // a table: one row per metric
    fn quotas(&mut self, s: &Snapshot) -> fmt::Result {
        self.gauge("ottla_muted_connections", "Connections that are not read because their clients are above a quota.", s.muted_connections as f64)?;
        let mut metric = self.metric("ottla_throttled", "Requests and connections after which a client had to wait, by the quota that it was above.", MetricType::Counter)?;
        for (kind, count, _) in &s.throttled {
            metric.encode_family(&[("quota", *kind)])?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
        }
        let mut metric = self.metric("ottla_throttle_seconds", "How long clients had to wait, all together.", MetricType::Counter)?;
        for (kind, _, total_ms) in &s.throttled {
            let seconds = *total_ms as f64 / 1e3;
            metric.encode_family(&[("quota", *kind)])?.encode_counter::<NoLabelSet, _, u64>(&seconds, None)?;
        }
        Ok(())
    }

    #[rustfmt::skip] // a table: one row per metric
    fn security(&mut self, s: &Snapshot) -> fmt::Result {
        let mut metric = self.metric("ottla_authentications", "Log-ins by listener, mechanism and result. Mechanism SSL is a handshake of TLS where nothing else is asked for, none is a client that was refused before it had named one.", MetricType::Counter)?;
        for counts in &s.logins {
            for (result, count) in [("success", counts.succeeded), ("failure", counts.failed)] {
                let labels = [("listener", counts.listener.as_str()), ("mechanism", counts.mechanism), ("result", result)];
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        let mut metric = self.metric("ottla_authorizations_denied", "What clients have asked for and may not do, by operation; absent without an authorizer.", MetricType::Counter)?;
        for (operation, count) in &s.denied {
            metric.encode_family(&[("operation", operation.to_string())])?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
        }
        let mut metric = self.metric("ottla_tls_certificate_expiry_timestamp_seconds", "When the certificate runs out that a listener shows new clients, in seconds since 1970.", MetricType::Gauge)?;
        for (listener, seconds) in &s.certificate_expiries {
            metric.encode_family(&[("listener", listener.as_str())])?.encode_gauge(seconds)?;
        }
        Ok(())
    }

    #[rustfmt::skip] // a table: one row per metric
    fn topics(&mut self, s: &Snapshot) -> fmt::Result {
        let Some(topics) = &s.topics else { return Ok(()) };
        self.by_topic("ottla_topic_bytes_in", "Bytes of batches that clients have written.", topics, |topic| topic.traffic.bytes_in)?;
        self.by_topic("ottla_topic_bytes_out", "Bytes of batches that clients were given.", topics, |topic| topic.traffic.bytes_out)?;
        self.by_topic("ottla_topic_records_in", "Records that clients have written.", topics, |topic| topic.traffic.records_in)?;
        self.by_partition("ottla_partition_log_start_offset", "The first offset. Partitions that were not used since the start are left out.", topics, |sum| sum.log_start_offset.map(|offset| offset as f64))?;
        self.by_partition("ottla_partition_high_watermark", "The offset after the last record that readers may see. Left out where it is not known.", topics, |sum| sum.high_watermark.map(|offset| offset as f64))?;
        self.by_partition("ottla_partition_size_bytes", "Bytes of the log. Partitions that were not used since the start are left out.", topics, |sum| sum.size_bytes.map(|bytes| bytes as f64))
    }

    fn by_topic(
        &mut self,
        name: &str,
        help: &str,
        topics: &Topics,
        value: impl Fn(&TopicRow) -> u64,
    ) -> fmt::Result {
        let mut metric = self.metric(name, help, MetricType::Counter)?;
        for topic in &topics.topics {
            let labels = [("topic", Label(&topic.name))];
            let mut metric = metric.encode_family(&labels)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&value(topic), None)?;
        }
        Ok(())
    }

    /// By topic where there are too many partitions.
    fn by_partition(
        &mut self,
        name: &str,
        help: &str,
        topics: &Topics,
        value: impl Fn(&PartitionSum) -> Option<f64>,
    ) -> fmt::Result {
        let mut metric = self.metric(name, help, MetricType::Gauge)?;
        if topics.is_truncated {
            for topic in &topics.topics {
                if let Some(value) = value(&topic.sum) {
                    let labels = [("topic", Label(&topic.name))];
                    metric.encode_family(&labels)?.encode_gauge(&value)?;
                }
            }
            return Ok(());
        }
        for row in &topics.partitions {
            let mut sum = PartitionSum::default();
            row.glance.iter().for_each(|glance| sum.add(glance));
            if let Some(value) = value(&sum) {
                let partition = row.partition.to_string();
                let labels = [
                    ("topic", Label(&row.topic)),
                    ("partition", Label(&partition)),
                ];
                metric.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }

    #[rustfmt::skip] // a table: one row per metric
    fn groups(&mut self, s: &Snapshot) -> fmt::Result {
        if let Some(groups) = &s.groups {
            let mut metric = self.metric("ottla_groups", "Groups by type and state; absent while a coordinator does not answer, as all metrics of groups are.", MetricType::Gauge)?;
            for ((kind, state), count) in &groups.counts {
                metric.encode_family(&[("type", *kind), ("state", *state)])?.encode_gauge(count)?;
            }
            let mut metric = self.metric("ottla_group_members", "Members of a group.", MetricType::Gauge)?;
            for (group, row) in &groups.groups {
                metric.encode_family(&[("group", Label(group))])?.encode_gauge(&row.member_count)?;
            }
            let mut metric = self.metric("ottla_group_state", "1 for the state that a group is in.", MetricType::Gauge)?;
            for (group, row) in groups.groups.iter().filter(|(_, row)| !row.state.is_empty()) {
                let labels = [("group", Label(group)), ("type", Label(row.group_type)), ("state", Label(row.state))];
                metric.encode_family(&labels)?.encode_gauge(&1u64)?;
            }
            self.by_lag("ottla_group_committed_offset", "What a group reads next of a partition.", groups, |lag| Some(lag.committed as f64))?;
            self.by_lag("ottla_group_lag_records", "Offsets between what a group has committed and the high watermark. Left out where the high watermark is not known.", groups, |lag| lag.records.map(|records| records as f64))?;
            self.by_lag("ottla_group_lag_seconds", "How old the batch is that a group reads next; 0 without lag. Left out until it is known.", groups, |lag| lag.seconds)?;
        }
        if let Some(load) = s.groups_load {
            self.gauge("ottla_groups_load_seconds", "How long it took to read all groups back from __consumer_offsets.", load.as_secs_f64())?;
        }
        let is_truncated = s.topics.as_ref().is_some_and(|topics| topics.is_truncated) || s.groups.as_ref().is_some_and(Groups::is_truncated);
        self.gauge("ottla_metrics_truncated", "1 if there are more partitions, or more offsets of groups, than ottla.metrics.partitions.max: sums are shown then.", f64::from(u8::from(is_truncated)))
    }

    fn by_lag(
        &mut self,
        name: &str,
        help: &str,
        groups: &Groups,
        value: impl Fn(&Lag) -> Option<f64>,
    ) -> fmt::Result {
        let mut metric = self.metric(name, help, MetricType::Gauge)?;
        for (key, lag) in &groups.lags {
            let Some(value) = value(lag) else { continue };
            // An empty label is none.
            let partition = key
                .partition
                .map_or(String::new(), |partition| partition.to_string());
            let labels = [
                ("group", Label(&key.group)),
                ("topic", Label(key.topic.as_deref().unwrap_or_default())),
                ("partition", Label(&partition)),
            ];
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    #[rustfmt::skip] // a table: one row per metric
    fn transactions(&mut self, s: &Snapshot) -> fmt::Result {
        if let Some(measures) = &s.transactions {
            let mut metric = self.metric("ottla_transactional_ids", "Transactional ids by the state of their transaction; absent while a coordinator does not answer.", MetricType::Gauge)?;
            for (state, count) in TransactionState::ALL.into_iter().zip(measures.ids) {
                metric.encode_family(&[("state", state.name())])?.encode_gauge(&count)?;
            }
            self.by_cause("ottla_transactions_ended", "Transactions that have ended, by result and by who ended them.", measures, |ended| ended.count as f64)?;
            self.by_cause("ottla_transactions_ended_open_seconds", "How long the transactions that have ended were open, all together.", measures, |ended| ended.open_ms as f64 / 1e3)?;
        }
        if let Some(late) = s.late_transactions {
            self.gauge("ottla_late_transactions", "Transactions open in a partition whose producer has been silent for five minutes more than transaction.max.timeout.ms: they hang. Absent while a log does not answer.", late as f64)?;
        }
        let [written, skipped, failed] = s.transaction_counts;
        self.counter("ottla_transaction_markers_written", "Markers that have ended a transaction in a partition.", written)?;
        self.counter("ottla_transaction_markers_skipped", "Markers for partitions that are gone, or have a later epoch of the producer.", skipped)?;
        self.counter("ottla_transaction_verifications_failed", "Batches refused since their partition is not in the producer's transaction.", failed)?;
        if let Some(load) = s.transactions_load {
            self.gauge("ottla_transactions_load_seconds", "How long it took to read all transactional ids back from __transaction_state.", load.as_secs_f64())?;
        }
        Ok(())
    }

    #[rustfmt::skip] // a table: one row per metric
    fn client_metrics(&mut self, s: &Snapshot) -> fmt::Result {
        let [pushes, pushed_bytes, refused] = s.client_metrics;
        self.gauge("ottla_client_metrics_instances", "Clients that report metrics of their own, and are remembered.", s.client_instances as f64)?;
        self.counter("ottla_client_metrics_pushes", "Reports of clients about themselves.", pushes)?;
        self.counter("ottla_client_metrics_pushed_bytes", "Bytes of these reports, decompressed.", pushed_bytes)?;
        self.counter("ottla_client_metrics_refused", "Requests about reports that were refused: too early, too large, with terms that have changed, or not to be opened.", refused)
    }

    fn by_cause(
        &mut self,
        name: &str,
        help: &str,
        measures: &Measures,
        value: impl Fn(&Ended) -> f64,
    ) -> fmt::Result {
        let mut metric = self.metric(name, help, MetricType::Counter)?;
        for (result, ended) in [
            ("commit", &measures.committed),
            ("abort", &measures.aborted),
        ] {
            for (cause, ended) in Cause::ALL.into_iter().zip(ended) {
                let labels = [("result", result), ("cause", cause.name())];
                let mut metric = metric.encode_family(&labels)?;
                metric.encode_counter::<NoLabelSet, _, u64>(&value(ended), None)?;
            }
        }
        Ok(())
    }

    #[rustfmt::skip] // a table: one row per metric
    fn process(&mut self, s: &Snapshot) -> fmt::Result {
        self.metric("ottla_build", "The version that runs.", MetricType::Info)?.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        self.gauge("process_start_time_seconds", "When the broker began to serve, in seconds since 1970.", s.started_seconds())?;
        let Some(process) = &s.process else { return Ok(()) };
        self.gauge("process_resident_memory_bytes", "Resident memory.", process.resident_bytes as f64)?;
        self.gauge("process_open_fds", "Open file descriptors.", process.open_fds as f64)?;
        let mut cpu = self.metric("process_cpu_seconds", "Processor time, user and system.", MetricType::Counter)?;
        cpu.encode_counter::<NoLabelSet, _, u64>(&process.cpu_seconds, None)
    }
}

fn histogram(metric: &mut MetricEncoder<'_>, value: &LatencySnapshot) -> fmt::Result {
    metric.encode_histogram::<NoLabelSet>(value.sum_seconds, value.count, &value.buckets, None)
}
