//! The broker's own configuration keys: Kafka's, as Kafka defines them, and Ottla's.
//!
//! `kafka_keys.txt` is what Kafka 4.4's own definitions say, a line for each key; compat-tests holds it against
//! Kafka's jars. A key that Ottla reads has a row in a section (`section.rs`), or stands for a topic's key in
//! [`TOPIC_CONFIGS`]. What the others mean is in `effects.rs`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use coordinators::group::GroupConfig;
use coordinators::txn::TransactionConfig;
use storage::local::LocalConfig;
use storage::log::{CleanerConfig, LiveConfig};

use super::authorization::AuthorizationConfig;
use super::between_brokers::BetweenBrokersConfig;
use super::broker_row::BrokerRow;
use super::cluster::ClusterConfig;
use super::connections::ConnectionSettings;
use super::def::{ConfigDef, Kind, Rule, UpdateMode, def_null};
use super::login::AuthenticationConfig;
use super::new_topics::NewTopicsConfig;
use super::quotas::QuotaSettings;
use super::section::Section;
use super::serving::ServingConfig;
use super::start_keys::STARTING;
use super::tls::TLS;
use super::tokens::TokensConfig;
use super::topic::{HOUR_MS, MINUTE_MS, TOPIC_CONFIGS, TopicConfigDef};

/// The rows of all sections.
fn used() -> impl Iterator<Item = &'static BrokerRow> {
    let sections = [
        STARTING,
        TLS,
        ServingConfig::ROWS,
        AuthenticationConfig::ROWS,
        AuthorizationConfig::ROWS,
        TokensConfig::ROWS,
        BetweenBrokersConfig::ROWS,
        NewTopicsConfig::ROWS,
        ConnectionSettings::ROWS,
        QuotaSettings::ROWS,
        GroupConfig::ROWS,
        TransactionConfig::ROWS,
        LocalConfig::ROWS,
        ClusterConfig::ROWS,
        LiveConfig::ROWS,
        CleanerConfig::ROWS,
    ];
    sections.into_iter().flatten()
}

/// `name TYPE mode rule default`, as `compat-tests/clients/java/BrokerKeys.java` writes it.
static KAFKA: &str = include_str!("kafka_keys.txt");

static BROKER_CONFIGS: LazyLock<BTreeMap<&'static str, ConfigDef>> = LazyLock::new(|| {
    let kafkas = KAFKA.lines().filter_map(parse_line);
    let mut rows: BTreeMap<_, _> = kafkas.map(|row| (row.name, row)).collect();
    for used in used() {
        let own = used.own.clone();
        let Some(mut row) = own.or_else(|| rows.get(used.name).cloned()) else {
            continue;
        };
        (row.unused, row.documentation) = (false, used.documentation);
        row.default = used.default.or(row.default);
        row.rule = used.rule.unwrap_or(row.rule);
        rows.insert(used.name, row);
    }
    for topic in TOPIC_CONFIGS.iter().filter(|topic| !topic.idle) {
        for (index, synonym) in topic.synonyms.iter().enumerate() {
            if let Some(row) = rows.get_mut(synonym.broker_key).filter(|row| row.unused) {
                (row.unused, row.documentation) = (false, default_of_topic(topic, index).leak());
            }
        }
    }
    rows
});

/// Documents a broker's key that stands for a topic's. Of the keys that win over it the nearest is named first.
fn default_of_topic(topic: &TopicConfigDef, index: usize) -> String {
    let stronger = topic.synonyms[..index].iter().rev();
    let stronger: Vec<&str> = stronger.map(|synonym| synonym.broker_key).collect();
    let unit = match topic.synonyms[index].factor {
        HOUR_MS => ", in hours",
        MINUTE_MS => ", in minutes",
        _ => "",
    };
    let wins = match stronger.as_slice() {
        [] => String::new(),
        [one] => format!("; {one} wins"),
        several => format!("; {} win", several.join(" and ")),
    };
    format!("Default of the topic's {}{unit}{wins}.", topic.def.name)
}

fn parse_line(line: &'static str) -> Option<ConfigDef> {
    let mut fields = line.splitn(5, ' ');
    let mut next = || fields.next();
    let (name, kind, mode, rule) = (next()?, next()?, next()?, next()?);
    let default = next().unwrap_or("");
    let mut row = def_null(name, Kind::from_kafka_name(kind)?).without_effect();
    row.rule = parse_rule(row.kind, rule)?;
    row.default = Some(default).filter(|default| *default != "-");
    let (mode, visible) = match mode.split_once(",internal") {
        Some((mode, _)) => (mode, false),
        None => (mode, true),
    };
    row.internal = !visible;
    row.update_mode = match mode {
        "read-only" => UpdateMode::ReadOnly,
        "per-broker" => UpdateMode::PerBroker,
        "cluster-wide" => UpdateMode::ClusterWide,
        // No file can set it, and nobody is told a default.
        "dynamic-only" => {
            (row.internal, row.default) = (true, None);
            UpdateMode::ClusterWide
        }
        _ => return None,
    };
    Some(row)
}

/// A rule in the words of `kafka_keys.txt`; `None`: there is no such rule.
fn parse_rule(kind: Kind, rule: &'static str) -> Option<Rule> {
    // Read once, and kept for as long as the process lives.
    let words =
        |words: &'static str| -> &'static [&'static str] { Vec::leak(words.split('|').collect()) };
    if let Some(names) = rule.strip_prefix("any-case:") {
        return Some(Rule::OneOfIgnoringCase(words(names)));
    }
    if let Some(names) = rule.strip_prefix("set-of:") {
        return Some(match names.strip_suffix(",not-empty") {
            Some(names) => Rule::SomeOf(words(names)),
            None => Rule::OneOf(words(names)),
        });
    }
    match rule {
        "-" | "non-null-string" | "non-empty-list" => return Some(Rule::Any),
        "set" => return Some(Rule::Set),
        "set,not-empty" => return Some(Rule::NonEmptySet),
        "non-empty-string" => return Some(Rule::NonEmptyString),
        _ => {}
    }
    let Some((min, max)) = rule.split_once("..") else {
        return rule.contains('|').then(|| Rule::OneOf(words(rule)));
    };
    if kind == Kind::Double {
        return Some(Rule::Within(min.parse().ok()?, max.parse().ok()?));
    }
    let min = min.parse().ok()?;
    Some(match max.split_once(",or=") {
        Some((max, other)) => Rule::BetweenOr(min, max.parse().ok()?, other.parse().ok()?),
        None if max.is_empty() => Rule::AtLeast(min),
        None => Rule::Between(min, max.parse().ok()?),
    })
}

/// Every key that Kafka's or Ottla's broker knows, by name.
pub fn broker_configs() -> &'static BTreeMap<&'static str, ConfigDef> {
    &BROKER_CONFIGS
}

/// The row of a broker key.
pub fn broker_config(name: &str) -> Option<&'static ConfigDef> {
    BROKER_CONFIGS.get(name)
}

/// The keys that give one setting, the strongest first (Kafka's `DynamicBrokerConfig.brokerConfigSynonyms`).
pub fn broker_synonyms(name: &'static str) -> &'static [&'static str] {
    match name {
        "log.roll.ms" | "log.roll.hours" => &["log.roll.ms", "log.roll.hours"],
        "log.roll.jitter.ms" | "log.roll.jitter.hours" => {
            &["log.roll.jitter.ms", "log.roll.jitter.hours"]
        }
        "log.retention.ms" | "log.retention.minutes" | "log.retention.hours" => &[
            "log.retention.ms",
            "log.retention.minutes",
            "log.retention.hours",
        ],
        "log.flush.interval.ms" => &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
        _ => &[],
    }
}

/// Kafka's file has no such key: it is a quota, and set while the broker runs or not at all.
pub fn is_dynamic_only(row: &ConfigDef) -> bool {
    row.internal && row.default.is_none() && row.update_mode == UpdateMode::ClusterWide
}

/// The listener and the key of `listener.name.LISTENER.KEY`.
pub fn listener_key(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("listener.name.")?.split_once('.')
}

/// Whether a key is read for one listener at a time: its `listener.name.LISTENER.` form goes over the plain one.
pub(super) fn is_of_listeners(name: &str) -> bool {
    TLS.iter().any(|row| row.name == name)
}

/// Keys that are set for one mechanism of one listener: `listener.name.LISTENER.MECHANISM.KEY`.
const MECHANISM_KEYS: &[&str] = &[
    "connections.max.reauth.ms",
    "sasl.jaas.config",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "sasl.oauthbearer.clock.skew.seconds",
    "sasl.oauthbearer.expected.audience",
    "sasl.oauthbearer.expected.issuer",
    "sasl.oauthbearer.jwks.endpoint.refresh.ms",
    "sasl.oauthbearer.jwks.endpoint.url",
    "sasl.oauthbearer.scope.claim.name",
    "sasl.oauthbearer.sub.claim.name",
    "sasl.server.callback.handler.class",
];

/// The row that says what a key means, for one listener or for all.
pub fn row_behind(name: &str) -> Option<&'static ConfigDef> {
    let Some((_, key)) = listener_key(name) else {
        return broker_config(name);
    };
    let of_mechanism = MECHANISM_KEYS.iter().find(|suffix| key.ends_with(*suffix));
    broker_config(of_mechanism.copied().unwrap_or(key))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_line_of_kafkas_keys_is_a_row() {
        for line in KAFKA.lines() {
            assert!(parse_line(line).is_some(), "{line}");
        }
    }

    #[test]
    fn every_section_names_keys_that_there_are_and_no_key_stands_in_two() {
        let known: Vec<_> = KAFKA.lines().filter_map(parse_line).collect();
        for row in used() {
            let is_kafkas = known.iter().any(|known| known.name == row.name);
            assert_eq!(is_kafkas, row.own.is_none(), "{}", row.name);
            assert!(!row.documentation.is_empty(), "{}", row.name);
        }
        let names: BTreeSet<_> = used().map(|row| row.name).collect();
        assert_eq!(used().count(), names.len(), "no key stands twice");
    }

    #[test]
    fn every_default_passes_its_own_check() {
        for row in broker_configs().values() {
            if let Some(default) = row.default {
                row.check(default).expect("default");
            }
        }
    }

    #[test]
    fn a_key_for_one_listener_means_what_the_key_means() {
        let behind = |name| row_behind(name).map(|row| row.name);
        for (name, expected) in [
            ("num.partitions", Some("num.partitions")),
            ("listener.name.x.ssl.client.auth", Some("ssl.client.auth")),
            (
                "listener.name.x.plain.sasl.jaas.config",
                Some("sasl.jaas.config"),
            ),
            ("listener.name.x.sasl.jaas.config", Some("sasl.jaas.config")),
            ("listener.name.x.no.such", None),
            ("listener.name.x", None),
            ("listener.name.", None),
        ] {
            assert_eq!(behind(name), expected, "{name}");
        }
    }
}
