//! Which of the broker's settings may change while it runs, and how far (KIP-226): the rules of Kafka's
//! `DynamicBrokerConfig` and of the parts that it reconfigures. Their errors are INVALID_REQUEST.
//!
//! What protects is refused here as it is at the start, see [`super::effects`].

use std::collections::BTreeMap;

use super::broker_keys::{broker_config, listener_key, row_behind};
use super::def::{ConfigDef, Kind, UpdateMode, list};
use super::effects::{asks_for_nothing, base_name, unserved_protection};
use super::login::OF_LISTENERS;
use super::rules::{Misfit, check_together};
use super::settings::{DynamicSettings, Settings};
use super::tls::why_without_tls;
use super::topic::topic_config;

/// Kafka changes these for one listener alone (`SslConfigs.RECONFIGURABLE_CONFIGS`).
const STORES: &[&str] = &[
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
];

/// Threads: neither more than twice as many at once, nor less than half.
const THREADS: &[&str] = &[
    "background.threads",
    "log.cleaner.threads",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
    "remote.log.manager.copier.thread.pool.size",
    "remote.log.manager.expiration.thread.pool.size",
    "remote.log.manager.follower.thread.pool.size",
    "remote.log.reader.threads",
];

/// Keys for a listener that Kafka takes for all brokers at once, too.
const FOR_ALL_BROKERS: &[&str] = &[
    "max.connection.creation.rate",
    "max.connections",
    "num.network.threads",
];

/// Kafka opens and closes listeners while it runs.
const OF_THE_START: &[&str] = &[
    "listeners",
    "listener.security.protocol.map",
    "sasl.mechanism.inter.broker.protocol",
];

/// Whether a key can have another value while the broker runs. Kafka can change some more, which are refused here.
pub fn changes_while_running(row: &ConfigDef) -> bool {
    let is_of_the_start = OF_THE_START.contains(&row.name) || OF_LISTENERS.contains(&row.name);
    row.update_mode != UpdateMode::ReadOnly && !is_of_the_start
}

/// A change that a client asks for: keys with their new values, for one broker or for all.
pub struct Change<'a> {
    pub set: BTreeMap<&'a str, &'a str>,
    pub for_one_broker: bool,
}

/// Says why the broker's settings may not change in this way.
pub(crate) fn check_change(
    settings: &Settings,
    change: &Change<'_>,
    before: DynamicSettings<'_>,
    after: DynamicSettings<'_>,
) -> Result<(), String> {
    let refuse = |what: &str, wrong: &dyn Fn(&str) -> bool| {
        let keys: Vec<&str> = change
            .set
            .keys()
            .copied()
            .filter(|key| wrong(key))
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        Err(format!("{what}: [{}]", keys.join(", ")))
    };
    let mode = |key: &str| broker_config(key).map(|row| row.update_mode);
    refuse("Cannot update these configs dynamically", &|key| {
        mode(key) == Some(UpdateMode::ReadOnly)
    })?;
    refuse(
        "These security configs can be dynamically updated only per-listener using the listener prefix",
        &|key| STORES.contains(&key),
    )?;
    for (key, value) in &change.set {
        check_value(key, value)?;
    }
    if !change.for_one_broker {
        refuse(
            "Cannot update these configs at default cluster level, broker id must be specified",
            &|key| match listener_key(key) {
                Some((_, base)) => !FOR_ALL_BROKERS.contains(&base),
                None => mode(key) == Some(UpdateMode::PerBroker),
            },
        )?;
    }
    for (key, value) in &change.set {
        if let Some(why) = unserved_protection(key, value) {
            return Err(format!("{key} cannot be set: {why}"));
        }
        let base = base_name(key);
        let asks = |value: &str| !asks_for_nothing(base, value);
        // What is so anyway may be said.
        if !asks(value) && !settings.explicit(key).is_some_and(asks) {
            continue;
        }
        if OF_LISTENERS.contains(&base) {
            return Err(format!("{key} cannot change while the broker runs yet"));
        }
        if let Some(why) = why_without_tls(settings, key) {
            return Err(format!("{key} cannot be set: {why}"));
        }
    }
    let value = |key: &str| settings.effective(key, after).map(str::to_owned);
    check_together(&value).map_err(|Misfit { key, what }| {
        let value = value(key).unwrap_or_default();
        format!("Invalid value {value} for configuration {key}: {what}")
    })?;
    check_steps(settings, change, before, after)?;
    check_local_retention(settings, change, after)
}

/// Type and rule of one value, as Kafka checks what can change at all.
fn check_value(key: &str, value: &str) -> Result<(), String> {
    // Kafka takes them out before it looks at the others.
    if key.starts_with("config.providers") {
        return Ok(());
    }
    // A listener has a configuration of its own, in which everything is looked at.
    let is_looked_at =
        |row: &&ConfigDef| row.update_mode != UpdateMode::ReadOnly || listener_key(key).is_some();
    let Some(row) = row_behind(key).filter(is_looked_at) else {
        return Ok(());
    };
    row.check(value).map_err(|error| error.to_string())?;
    let invalid = |what: &str| {
        let name = row.name;
        Err(format!(
            "Invalid value {value} for configuration {name}: {what}"
        ))
    };
    let is_default = row.default == Some(value.trim());
    match row.name {
        _ if row.kind == Kind::Class && !is_default => {
            invalid(&format!("Class {value} could not be found."))
        }
        "metric.reporters" if !list(value).all(|class| row.default == Some(class)) => {
            invalid("there are no plugins, and no such class")
        }
        "cordoned.log.dirs" if list(value).next().is_some() => {
            invalid("the one directory there is cannot be left out")
        }
        "max.connections" | "max.connection.creation.rate" if value.trim() == "0" => {
            invalid("Value must be at least 1")
        }
        _ => Ok(()),
    }
}

/// What may only change a little, or not at all.
fn check_steps(
    settings: &Settings,
    change: &Change<'_>,
    before: DynamicSettings<'_>,
    after: DynamicSettings<'_>,
) -> Result<(), String> {
    for key in change.set.keys() {
        let base = listener_key(key).map_or(*key, |(_, base)| base);
        let effective = |dynamic| {
            let own = settings.effective(key, dynamic);
            own.or_else(|| settings.effective(base, dynamic))
        };
        let (old, new) = (effective(before), effective(after));
        if OF_THE_START.contains(key) && old != new {
            return Err(format!("{key} cannot change while the broker runs"));
        }
        let number = |text: Option<&str>| text?.trim().parse::<i64>().ok();
        let (Some(old), Some(new)) = (number(old), number(new)) else {
            continue;
        };
        // Only the network threads are a listener's own.
        let counted = THREADS.contains(&base) && (base == *key || base == "num.network.threads");
        let limit = match counted {
            true if new < 1 => "value should be at least 1".to_owned(),
            true if new < old / 2 => {
                format!("value should be at least half the current value {old}")
            }
            true if new > old * 2 => {
                format!("value should not be greater than double the current value {old}")
            }
            _ => continue,
        };
        return Err(format!(
            "Dynamic thread count update validation failed for {key}={new}, {limit}"
        ));
    }
    Ok(())
}

/// What tiered storage would keep here cannot be more than what is kept at all.
fn check_local_retention(
    settings: &Settings,
    change: &Change<'_>,
    after: DynamicSettings<'_>,
) -> Result<(), String> {
    for unit in ["ms", "bytes"] {
        let (local_key, lag_key) = (
            format!("log.local.retention.{unit}"),
            format!("log.remote.copy.lag.{unit}"),
        );
        let total_key = format!("log.retention.{unit}");
        let keys = [&local_key, &lag_key, &total_key];
        if !keys.iter().any(|key| change.set.contains_key(key.as_str())) {
            continue;
        }
        let number =
            |key: &str| -> Option<i64> { settings.effective(key, after)?.trim().parse().ok() };
        // log.retention.ms has minutes and hours behind it.
        let topic_key = format!("retention.{unit}");
        let total = topic_config(&topic_key).and_then(|row| settings.topic_default(row, after).0);
        let total = total
            .and_then(|total| total.parse::<i64>().ok())
            .unwrap_or(-1);
        let local = number(&local_key).unwrap_or(-2);
        let lag = number(&lag_key).unwrap_or(-1);
        if total >= 0 && local == -1 {
            return Err(format!(
                "Invalid value -1 for configuration {local_key}: Value must not be -1 as {total_key} value is set as {total}."
            ));
        }
        if total >= 0 && local > total {
            return Err(format!(
                "Invalid value {local} for configuration {local_key}: Value must not be more than {total_key} property value: {total}"
            ));
        }
        let kept = if local == -2 { total } else { local };
        if kept >= 0 && lag > kept {
            return Err(format!(
                "Invalid value {lag} for configuration {lag_key}: Value must not exceed {local_key} (effective value: {kept})"
            ));
        }
    }
    Ok(())
}
