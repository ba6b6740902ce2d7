//! Says what a key that Ottla does not use means for the start.
//!
//! Most of Kafka's keys tune parts that Ottla does not have. They are passed over with one line for all of them. A key whose
//! effect people would miss is a warning. **A key that protects stops the start** until Ottla does what the key asks for: an
//! operator who has set it believes to be protected.

use super::broker_keys::{
    broker_config, broker_configs, is_of_listeners, listener_key, row_behind,
};
use super::def::{Kind, list};
use super::error::ConfigError;
use super::login::OF_LISTENERS;
use super::quotas::CREATION_RATE;
use super::topic::{TOPIC_CONFIGS, topic_config};

/// What is said about a key without effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// There is nothing that it could change, and nothing that anybody misses.
    Nothing,
    /// What it asks for does not happen: what is so instead.
    Missed(&'static str),
    /// It protects, or takes part in it: why it cannot be ignored.
    Protects(&'static str),
}

/// Something that the operator is told at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    Info(String),
    Warning(String),
}

const NO_ZOOKEEPER: &str = "there is no ZooKeeper whose entries could be protected";
const NO_BUILDER: &str = "there are no plugins: clients would have other names";
const NO_TOKEN_CLIENT: &str = "there are no other brokers to log in at with SASL/OAUTHBEARER";
const NO_SASL_CLASS: &str = "there are no plugins: SASL would not ask the class";
const NO_TLS: &str = "there is no TLS to ZooKeeper, nor ZooKeeper";
const NO_SUCH_TLS: &str =
    "this part of TLS is not there: there are no plugins, and one library does it all";
const NO_MASTER_KEY: &str =
    "Kafka 4 has no such key: there would be no delegation tokens; set delegation.token.secret.key";
const NO_POLICY: &str = "there are no plugins: the policy would not be asked";
const NO_LIMIT: &str = "this limit is not there yet: nothing would be limited";
const NO_QUOTA_PLUGIN: &str = "there are no plugins: nothing would be limited";
const NO_QUOTA_KEY: &str = "Kafka 4 has no such key, and nothing would be limited: set a quota of the default client instead, \
    with kafka-configs --entity-type clients --entity-default";
const NO_PROVIDERS: &str = "there are no plugins: ${...} in values would be taken as it stands";
const NO_TIERED_STORAGE: &str =
    "there is no tiered storage: nothing would be moved away, and the disk would fill";
const NO_SHARE_GROUPS: &str = "there are no share groups yet";
const NO_STREAMS_GROUPS: &str = "there are no streams groups yet";
const NO_TWO_PHASE_COMMIT: &str = "there is no two-phase commit yet";
const NO_PLUGINS: &str = "there are no plugins; /metrics serves Prometheus (ottla.metrics.listen)";

/// Every key of Kafka's that Ottla does not use, and some older ones: the first pattern counts. `*` at the end stands for any text.
#[rustfmt::skip] // a table
static EFFECTS: &[(&str, Effect)] = {
    use Effect::{Missed, Nothing, Protects};
    &[
        // Who may do what.
        ("principal.builder.class", Protects(NO_BUILDER)),
        ("alter.config.policy.class.name", Protects(NO_POLICY)),
        ("create.topic.policy.class.name", Protects(NO_POLICY)),
        ("early.start.listeners", Nothing),
        // Who it is, and who listens. How often, how soon again and how long something takes lets nobody in, nor does what
        // asks for less than usual.
        ("sasl.kerberos.kinit.cmd", Nothing),
        ("sasl.kerberos.min.time.before.relogin", Nothing),
        ("sasl.kerberos.ticket.renew.*", Nothing),
        ("sasl.login.connect.timeout.ms", Nothing),
        ("sasl.login.read.timeout.ms", Nothing),
        ("sasl.login.refresh.*", Nothing),
        ("sasl.login.retry.backoff.*", Nothing),
        ("sasl.oauthbearer.allow.unverified.*", Nothing),
        ("sasl.oauthbearer.assertion.claim.exp.seconds", Nothing),
        ("sasl.oauthbearer.assertion.claim.nbf.seconds", Nothing),
        ("sasl.oauthbearer.jwks.endpoint.retry.backoff.*", Nothing),
        // There are no other brokers to log in at.
        ("sasl.mechanism.controller.protocol", Nothing),
        ("sasl.oauthbearer.*", Protects(NO_TOKEN_CLIENT)),
        ("sasl.*", Protects(NO_SASL_CLASS)),
        ("delegation.token.master.key", Protects(NO_MASTER_KEY)),
        // What there is comes first; whatever else protects, too.
        ("ssl.endpoint.identification.algorithm", Nothing),
        ("ssl.keymanager.algorithm", Nothing),
        ("ssl.protocol", Nothing),
        ("ssl.secure.random.implementation", Nothing),
        ("ssl.*", Protects(NO_SUCH_TLS)),
        ("security.*", Protects(NO_SUCH_TLS)),
        ("config.providers*", Protects(NO_PROVIDERS)),
        // How much.
        ("client.quota.callback.class", Protects(NO_QUOTA_PLUGIN)),
        ("quota.producer.default", Protects(NO_QUOTA_KEY)),
        ("quota.consumer.default", Protects(NO_QUOTA_KEY)),
        ("replication.quota.window.*", Nothing),
        ("alter.log.dirs.replication.quota.window.*", Nothing),
        ("leader.replication.throttled.rate", Nothing),
        ("follower.replication.throttled.rate", Nothing),
        ("replica.alter.log.dirs.io.max.bytes.per.second", Nothing),

        // What other brokers and controllers would need. Whether there are any is looked at first.
        ("controller.*", Nothing),
        ("broker.heartbeat.interval.ms", Nothing),
        ("broker.session.timeout.ms", Nothing),
        ("initial.broker.registration.timeout.ms", Nothing),
        ("controlled.shutdown.*", Nothing),
        ("auto.leader.rebalance.enable", Nothing),
        ("leader.imbalance.*", Nothing),
        ("unclean.leader.election.interval.ms", Nothing),
        ("replica.selector.class", Missed("there is one replica, which is read from")),
        ("replica.*", Nothing),
        ("follower.fetch.last.tiered.offset.enable", Nothing),
        ("num.replica.*", Nothing),
        ("request.timeout.ms", Nothing),
        ("socket.connection.setup.*", Nothing),
        // How Kafka does what Ottla does in another way.
        ("background.threads", Nothing),
        ("num.io.threads", Nothing),
        ("num.network.threads", Nothing),
        ("num.recovery.threads.per.data.dir", Nothing),
        ("queued.max.requests", Nothing),
        ("socket.receive.buffer.bytes", Nothing),
        ("socket.send.buffer.bytes", Nothing),
        ("fetch.purgatory.*", Nothing),
        ("producer.purgatory.*", Nothing),
        ("delete.records.purgatory.*", Nothing),
        ("share.fetch.purgatory.*", Nothing),
        ("log.cleaner.io.buffer.*", Nothing),
        ("log.cleaner.threads", Nothing),
        ("log.dir.failure.timeout.ms", Nothing),
        ("log.flush.offset.checkpoint.interval.ms", Nothing),
        ("log.flush.start.offset.checkpoint.interval.ms", Nothing),
        ("log.preallocate", Nothing),
        ("cordoned.log.dirs", Missed("there is one directory, which is used")),
        ("metadata.log.dir", Missed("the metadata is with the data")),
        ("metadata.*", Nothing),
        ("internal.metadata.*", Nothing),
        ("server.max.startup.time.ms", Nothing),
        ("unstable.*", Nothing),
        // Groups.
        ("group.coordinator.rebalance.protocols", Missed("classic and consumer are served, no other")),
        ("group.coordinator.*", Nothing),
        ("group.consumer.assignor.offload.enable", Nothing),
        ("group.share.*", Missed(NO_SHARE_GROUPS)),
        ("group.streams.*", Missed(NO_STREAMS_GROUPS)),
        ("share.coordinator.state.topic.*", Nothing),
        ("share.coordinator.*", Missed(NO_SHARE_GROUPS)),
        ("errors.deadletterqueue.*", Missed(NO_SHARE_GROUPS)),
        ("offsets.commit.timeout.ms", Nothing),
        ("offsets.load.buffer.size", Nothing),
        ("offsets.topic.compression.codec", Nothing),
        ("offsets.topic.replication.factor", Nothing),
        // Transactions.
        ("transaction.state.log.*", Nothing),
        ("transaction.two.phase.commit.enable", Missed(NO_TWO_PHASE_COMMIT)),
        // Each transaction and each id has a timer of its own.
        ("transaction.abort.timed.out.transaction.cleanup.interval.ms", Nothing),
        ("transaction.remove.expired.transaction.cleanup.interval.ms", Nothing),
        ("add.partitions.to.txn.*", Nothing),
        // Tiered storage.
        ("remote.log.storage.system.enable", Protects(NO_TIERED_STORAGE)),
        ("remote.*", Nothing),
        ("log.remote.*", Nothing),
        ("log.local.retention.*", Nothing),
        // What is seen of it.
        ("metric.reporters", Missed(NO_PLUGINS)),
        ("kafka.metrics.*", Missed(NO_PLUGINS)),
        ("metrics.*", Nothing),
        // Records.
        ("max.decompressed.message.bytes", Missed("compressed batches are bounded by socket.request.max.bytes")),

        // Kafka before 4.0, and before it was its own controller.
        ("zookeeper.set.acl", Protects(NO_ZOOKEEPER)),
        ("zookeeper.ssl.*", Protects(NO_TLS)),
        ("zookeeper.*", Nothing),
        ("password.encoder.*", Nothing),
        ("broker.id.generation.enable", Nothing),
        ("reserved.broker.max.id", Nothing),
        ("control.plane.listener.name", Nothing),
        ("inter.broker.protocol.version", Nothing),
        ("log.message.downconversion.enable", Nothing),
        ("log.message.format.version", Nothing),
        ("log.message.timestamp.difference.max.ms",
            Missed("use log.message.timestamp.before.max.ms and log.message.timestamp.after.max.ms")),
        // Of Confluent's server: its license, its metrics, its balancer. Its authorizer is refused by its class.
        ("confluent.*", Nothing),
        ("advertised.host.name", Missed("use advertised.listeners")),
        ("advertised.port", Missed("use advertised.listeners")),
        ("host.name", Missed("use listeners")),
        ("port", Missed("use listeners")),
    ]
};

/// What is said about a key, if it is not used.
fn effect(key: &str) -> Option<Effect> {
    let covers = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => key.starts_with(start),
        None => pattern == key,
    };
    let mut rows = EFFECTS.iter();
    rows.find(|(pattern, _)| covers(pattern)).map(|row| row.1)
}

/// Why a key with this value cannot be ignored; `None`: it can.
///
/// `key` may be one for a listener (`listener.name.LISTENER.`), and one that nobody knows.
pub(crate) fn unserved_protection(key: &str, value: &str) -> Option<&'static str> {
    let base = base_name(key);
    if asks_for_nothing(base, value) {
        return None;
    }
    match effect(base) {
        Some(Effect::Protects(why)) if !is_read(key, base) => Some(why),
        // There are limits for all listeners together, none for one of them.
        _ if listener_key(key).is_some() && base.starts_with("max.connections") => Some(NO_LIMIT),
        _ => None,
    }
}

/// Keys that are used and protect.
const PROTECTING: &[&str] = &[
    "allow.everyone.if.no.acl.found",
    "authorizer.class.name",
    "super.users",
];

fn protects(key: &str) -> bool {
    PROTECTING.contains(&key) || matches!(effect(key), Some(Effect::Protects(_)))
}

/// Whether a key has an effect; of a listener's, only some have.
fn is_read(key: &str, base: &str) -> bool {
    let is_used = broker_config(base).is_some_and(|row| !row.unused);
    let is_of_one = is_of_listeners(base) || OF_LISTENERS.contains(&base) || base == CREATION_RATE;
    is_used && (key == base || is_of_one)
}

/// The key without the listener and the mechanism that it is for.
pub(super) fn base_name(key: &str) -> &str {
    let behind = row_behind(key).map(|row| row.name);
    behind.unwrap_or_else(|| listener_key(key).map_or(key, |(_, key)| key))
}

/// An empty value and the default ask for nothing.
pub(super) fn asks_for_nothing(base: &str, value: &str) -> bool {
    let value = value.trim();
    if value.is_empty() {
        return true;
    }
    let row = broker_config(base);
    let default = match (row.and_then(|row| row.default), base) {
        (Some(default), _) => default,
        (None, "zookeeper.set.acl" | "zookeeper.ssl.client.enable") => "false",
        // How older Kafkas say that there is no limit.
        (None, "quota.producer.default" | "quota.consumer.default") => "9223372036854775807",
        (None, _) => return false,
    };
    match row.map(|row| row.kind) {
        Some(Kind::List) => list(value).eq(list(default)),
        _ => value.eq_ignore_ascii_case(default),
    }
}

/// What there is to say about a key that is set.
pub(super) enum Finding {
    /// It is used, or asks for what is so anyway.
    Fine,
    /// It goes into the summary.
    Idle,
    Warning(String),
}

/// Looks at one key of the operator's.
///
/// # Errors
/// It protects, or is mistyped and meant to, and is not there.
pub(super) fn find(key: &str, value: &str) -> Result<Finding, ConfigError> {
    if let Some(why) = unserved_protection(key, value) {
        return Err(ConfigError::unserved(key, why));
    }
    let (base, known) = (base_name(key), row_behind(key).is_some());
    if is_read(key, base) || known && asks_for_nothing(base, value) {
        return Ok(Finding::Fine);
    }
    Ok(match effect(base) {
        Some(Effect::Missed(why)) => Finding::Warning(format!("key {key} has no effect: {why}")),
        Some(Effect::Nothing | Effect::Protects(_)) => Finding::Idle,
        None if known => Finding::Warning(format!(
            "key {key} has no effect: {base} is for all listeners or none"
        )),
        None => Finding::Warning(match nearest(key) {
            // A lock that is mistyped leaves the door open.
            Some(meant) if protects(meant) => {
                return Err(ConfigError::Misspelt {
                    key: key.to_owned(),
                    meant,
                });
            }
            Some(meant) => {
                format!("key {key} is unknown and has no effect; did you mean {meant}?")
            }
            None => format!("key {key} is unknown and has no effect"),
        }),
    })
}

/// How alike two names have to be for one to be meant by the other: a letter or two, or a forgotten word.
const ALIKE: f64 = 0.8;

/// The known key that a mistyped or misplaced one most likely means.
fn nearest(key: &str) -> Option<&'static str> {
    if let Some(synonym) = topic_config(key).and_then(|row| row.synonyms.first()) {
        return Some(synonym.broker_key);
    }
    let names = broker_configs().keys().copied();
    let others = EFFECTS.iter().map(|(pattern, _)| *pattern);
    let names = names.chain(others.filter(|pattern| !pattern.ends_with('*')));
    let of_topics = TOPIC_CONFIGS
        .iter()
        .filter_map(|row| Some((row.def.name, row.synonyms.first()?.broker_key)));
    let scored = names
        .map(|name| (name, name))
        .chain(of_topics)
        .map(|(name, meant)| (strsim::normalized_damerau_levenshtein(key, name), meant));
    let best = scored.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (best.0 >= ALIKE).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_is_not_used_has_a_class() {
        for row in broker_configs().values() {
            let effect = effect(row.name);
            assert!(effect.is_some() || !row.unused, "{} has none", row.name);
            let refused = unserved_protection(row.name, "other than the default");
            assert!(
                row.unused || refused.is_none(),
                "{} is used and refused",
                row.name
            );
        }
    }

    #[test]
    fn every_class_is_that_of_a_key() {
        let mut left: Vec<_> = EFFECTS.iter().map(|(pattern, _)| *pattern).collect();
        let first_of = |key: &str| {
            let covers = |pattern: &&str| match pattern.strip_suffix('*') {
                Some(start) => key.starts_with(start),
                None => *pattern == key,
            };
            EFFECTS.iter().map(|(pattern, _)| *pattern).find(covers)
        };
        // Those that Kafka 4.4 does not know are named one by one.
        let others = EFFECTS
            .iter()
            .map(|(pattern, _)| pattern.trim_end_matches('*'));
        for key in broker_configs().keys().copied().chain(others) {
            left.retain(|pattern| Some(*pattern) != first_of(key));
        }
        assert_eq!(
            left,
            Vec::<&str>::new(),
            "hidden by one above, or of no key"
        );
    }

    #[test]
    fn the_nearest_known_key_is_found_across_a_slip_and_from_a_topics_key() {
        for (key, expected) in [
            ("num.partition", Some("num.partitions")),
            ("log.retention.hour", Some("log.retention.hours")),
            ("listners", Some("listeners")),
            ("retention.ms", Some("log.retention.ms")),
            ("retention.mss", Some("log.retention.ms")),
            ("super.user", Some("super.users")),
            ("ottla.durabilty", Some("ottla.durability")),
            ("my.plugin.setting", None),
        ] {
            assert_eq!(nearest(key), expected, "{key}");
        }
    }
}
