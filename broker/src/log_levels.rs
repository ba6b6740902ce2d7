//! What the log tells, and how that is changed while the broker runs: Kafka's broker loggers (KIP-412).
//!
//! The log belongs to the process, so its levels do, too. A logger is a part of the code; what is set counts for it and for
//! whatever is below it. Nothing is kept: a restart goes by `--log-level` again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Targets;

use crate::log_limited;
use crate::metadata::{ConfigChange, MetadataError, Operation};

/// The logger above all others.
const ROOT: &str = "root";

/// Every logger. Those behind the first are beginnings of what `RUST_LOG` calls targets.
const LOGGERS: [&str; 14] = [
    ROOT,
    "ottla",
    "ottla::api",
    "ottla::authorizer",
    "ottla::coordinator",
    "ottla::dispatch",
    "ottla::metadata",
    "ottla::metrics",
    "ottla::net",
    "ottla::partition",
    "ottla::quota",
    "ottla::security",
    "storage",
    "storage::local::compaction",
];

/// Kafka's names of levels, in the order in which it tells them. Nothing is fatal here without being the end, so FATAL is
/// silence.
const LEVELS: [(&str, LevelFilter); 6] = [
    ("DEBUG", LevelFilter::DEBUG),
    ("ERROR", LevelFilter::ERROR),
    ("FATAL", LevelFilter::OFF),
    ("INFO", LevelFilter::INFO),
    ("TRACE", LevelFilter::TRACE),
    ("WARN", LevelFilter::WARN),
];

/// Puts a filter in the place of the one that the log goes by.
type Apply = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

static OF_PROCESS: OnceLock<LogLevels> = OnceLock::new();

/// The levels of a process.
struct LogLevels {
    /// What the start has set, in `RUST_LOG`'s syntax.
    base: String,
    set: Mutex<BTreeMap<&'static str, LevelFilter>>,
    /// `None`: nobody has set up a log.
    apply: Option<Apply>,
}

/// Lets levels be changed from now on. `base` is the filter that the log has, `apply` gives it another one.
pub fn install(
    base: &str,
    apply: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static,
) {
    let _ = OF_PROCESS.set(LogLevels {
        base: base.to_owned(),
        set: Mutex::default(),
        apply: Some(Box::new(apply)),
    });
}

/// Each logger with the level that is in force, in Kafka's words.
pub(crate) fn describe() -> Vec<(&'static str, &'static str)> {
    of_process().describe()
}

/// Changes levels as IncrementalAlterConfigs asks for it: all of them, or none.
///
/// # Errors
/// What Kafka refuses, in its words.
pub(crate) fn alter(
    node_id: i32,
    name: &str,
    change: &ConfigChange,
    validate_only: bool,
) -> Result<(), MetadataError> {
    of_process().alter(node_id, name, change, validate_only)
}

fn of_process() -> &'static LogLevels {
    OF_PROCESS.get_or_init(|| LogLevels {
        base: LevelFilter::current().to_string(),
        set: Mutex::default(),
        apply: None,
    })
}

fn invalid<T>(what: String) -> Result<T, MetadataError> {
    Err(MetadataError::InvalidRequest(what))
}

fn logger(name: &str) -> Result<&'static str, MetadataError> {
    let found = LOGGERS.into_iter().find(|logger| *logger == name);
    found.ok_or_else(|| {
        let what = format!("Logger {name} does not exist!");
        MetadataError::InvalidConfig(what)
    })
}

fn level(logger: &str, name: &str) -> Result<LevelFilter, MetadataError> {
    let found = LEVELS.into_iter().find(|(level, _)| *level == name);
    found.map(|(_, level)| level).ok_or_else(|| {
        let valid = LEVELS.map(|(level, _)| level).join(", ");
        MetadataError::InvalidConfig(format!(
            "Cannot set the log level of {logger} to {name} as it is not a supported log level. \
             Valid log levels are {valid}"
        ))
    })
}

impl LogLevels {
    fn describe(&self) -> Vec<(&'static str, &'static str)> {
        let base = self.base.parse::<Targets>().ok();
        let set = self.set.lock();
        // As the filter decides: of all that a name begins with, the longest counts.
        let of_root = || match (set.get(ROOT), &base) {
            (Some(level), _) => *level,
            (None, Some(base)) => base.default_level().unwrap_or(LevelFilter::OFF),
            // It tells spans and fields apart, too. What is loudest is closest.
            (None, None) => EnvFilter::new(&self.base)
                .max_level_hint()
                .unwrap_or(LevelFilter::TRACE),
        };
        let in_force = |logger: &'static str| {
            let based = base.iter().flat_map(Targets::iter);
            let set = set.iter().map(|(target, level)| (*target, *level));
            let all = based.chain(set.filter(|(target, _)| *target != ROOT));
            let above = all.filter(|(target, _)| logger.starts_with(*target));
            // What was set comes last, and so counts among equals.
            let nearest = above.max_by_key(|(target, _)| target.len());
            nearest.map_or_else(of_root, |(_, level)| level)
        };
        let told = LOGGERS.map(|logger| {
            let level = match logger {
                ROOT => of_root(),
                logger => in_force(logger),
            };
            let name = LEVELS.iter().find(|(_, known)| *known == level);
            (logger, name.map_or("FATAL", |(name, _)| name))
        });
        told.to_vec()
    }

    fn alter(
        &self,
        node_id: i32,
        name: &str,
        change: &ConfigChange,
        validate_only: bool,
    ) -> Result<(), MetadataError> {
        let changes = match change {
            ConfigChange::Incremental(changes) => changes,
            ConfigChange::Replace(_) => {
                return invalid("levels are changed with IncrementalAlterConfigs".to_owned());
            }
        };
        let named: BTreeSet<&str> = changes.iter().map(|(key, ..)| key.as_str()).collect();
        if named.len() != changes.len() {
            return invalid("Error due to duplicate config keys".to_owned());
        }
        for (key, operation, value) in changes {
            if *operation != Operation::Delete && value.is_none() {
                return invalid(format!("Null value not supported for : {key}"));
            }
        }
        match name.parse::<i32>() {
            Err(_) => return invalid(format!("Node id must be an integer, but it is: {name}")),
            Ok(id) if id != node_id => {
                let what = format!("Unexpected node id. Expected {node_id}, but received {id}");
                return invalid(what);
            }
            Ok(_) => {}
        }
        let mut checked = Vec::with_capacity(changes.len());
        for (key, operation, value) in changes {
            checked.push(match operation {
                Operation::Set => {
                    let logger = logger(key)?;
                    let level = level(logger, value.as_deref().unwrap_or_default())?;
                    (logger, Some(level))
                }
                Operation::Delete => match logger(key)? {
                    ROOT => {
                        let what = "Removing the log level of the root logger is not allowed";
                        return invalid(what.to_owned());
                    }
                    logger => (logger, None),
                },
                Operation::Append => return not_for_loggers("APPEND"),
                Operation::Subtract => return not_for_loggers("SUBTRACT"),
            });
        }
        match validate_only {
            true => Ok(()),
            false => self.set(checked),
        }
    }

    fn set(&self, changes: Vec<(&'static str, Option<LevelFilter>)>) -> Result<(), MetadataError> {
        let mut set = self.set.lock();
        let mut new = set.clone();
        for (logger, level) in &changes {
            match level {
                Some(level) => new.insert(logger, *level),
                None => new.remove(logger),
            };
        }
        if let Some(apply) = &self.apply {
            let failed = |error| MetadataError::InvalidRequest(format!("the log: {error}"));
            apply(filter(&self.base, &new)).map_err(failed)?;
        }
        *set = new;
        for (logger, level) in changes {
            match level {
                Some(level) => log_limited!(warn, logger, "the log level is now {level}"),
                None => log_limited!(warn, logger, "the log level is what the start has set"),
            }
        }
        Ok(())
    }
}

fn not_for_loggers(operation: &str) -> Result<(), MetadataError> {
    let what = format!("{operation} operation is not allowed for the BROKER_LOGGER resource");
    invalid(what)
}

/// What the start has set, with what was set since in its place.
fn filter(base: &str, set: &BTreeMap<&'static str, LevelFilter>) -> EnvFilter {
    let mut filter = EnvFilter::new(base);
    for (logger, level) in set {
        let directive = match *logger {
            ROOT => level.to_string(),
            logger => format!("{logger}={level}"),
        };
        if let Ok(directive) = directive.parse() {
            filter = filter.add_directive(directive);
        }
    }
    filter
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn levels(base: &str) -> (LogLevels, Arc<Mutex<String>>) {
        let applied = Arc::<Mutex<String>>::default();
        let told = Arc::clone(&applied);
        let levels = LogLevels {
            base: base.to_owned(),
            set: Mutex::default(),
            apply: Some(Box::new(move |filter| {
                *told.lock() = filter.to_string();
                Ok(())
            })),
        };
        (levels, applied)
    }

    fn change(changes: &[(&str, Operation, Option<&str>)]) -> ConfigChange {
        let changes = changes.iter();
        let changes = changes.map(|(key, operation, value)| {
            ((*key).to_owned(), *operation, value.map(str::to_owned))
        });
        ConfigChange::Incremental(changes.collect())
    }

    fn of(levels: &LogLevels, logger: &str) -> &'static str {
        let told = levels.describe().into_iter();
        let mut told = told.filter(|(name, _)| *name == logger);
        told.next().expect("a logger").1
    }

    #[test]
    fn what_is_set_counts_for_what_is_below_until_it_is_taken_back() {
        let (levels, applied) = levels("info,storage=debug");
        let told: Vec<_> = ["root", "ottla", "ottla::net", "storage"]
            .map(|logger| of(&levels, logger))
            .to_vec();
        assert_eq!(told, ["INFO", "INFO", "INFO", "DEBUG"]);
        let changes = [
            ("ottla", Operation::Set, Some("TRACE")),
            ("ottla::net", Operation::Set, Some("ERROR")),
            ("root", Operation::Set, Some("FATAL")),
            ("storage", Operation::Set, Some("WARN")),
        ];
        levels.alter(1, "1", &change(&changes), false).expect("set");
        for (logger, level) in [
            ("root", "FATAL"),
            ("ottla", "TRACE"),
            ("ottla::net", "ERROR"),
            ("ottla::metadata", "TRACE"),
            ("ottla::authorizer", "TRACE"),
            ("storage", "WARN"),
            ("storage::local::compaction", "WARN"),
        ] {
            assert_eq!(of(&levels, logger), level, "{logger}");
        }
        let filter = applied.lock().clone();
        for directive in ["ottla=trace", "ottla::net=error", "storage=warn", "off"] {
            assert!(filter.split(',').any(|one| one == directive), "{filter}");
        }
        assert!(!filter.contains("storage=debug"), "{filter}");
        let back = [
            ("storage", Operation::Delete, None),
            ("ottla::net", Operation::Delete, Some("whatever")),
        ];
        levels
            .alter(1, "1", &change(&back), false)
            .expect("taken back");
        assert_eq!(of(&levels, "storage"), "DEBUG");
        assert_eq!(of(&levels, "ottla::net"), "TRACE");
        assert!(applied.lock().contains("storage=debug"));
    }

    #[test]
    fn what_kafka_refuses_is_refused_in_its_words_and_changes_nothing() {
        let (levels, applied) = levels("info");
        let good = ("ottla", Operation::Set, Some("DEBUG"));
        for (name, wrong, expected) in [
            (
                "1",
                ("no.such", Operation::Set, Some("INFO")),
                "Logger no.such does not exist!",
            ),
            (
                "1",
                ("no.such", Operation::Delete, None),
                "Logger no.such does not exist!",
            ),
            (
                "1",
                ("root", Operation::Set, Some("debug")),
                "Cannot set the log level of root to debug as it is not a supported log level. \
                 Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN",
            ),
            (
                "1",
                ("root", Operation::Delete, None),
                "Removing the log level of the root logger is not allowed",
            ),
            (
                "1",
                ("root", Operation::Append, Some("INFO")),
                "APPEND operation is not allowed for the BROKER_LOGGER resource",
            ),
            (
                "1",
                ("root", Operation::Set, None),
                "Null value not supported for : root",
            ),
            ("1", good, "Error due to duplicate config keys"),
            (
                "7",
                ("root", Operation::Set, Some("INFO")),
                "Unexpected node id. Expected 1, but received 7",
            ),
            (
                "",
                ("root", Operation::Set, Some("INFO")),
                "Node id must be an integer, but it is: ",
            ),
        ] {
            let refused = levels.alter(1, name, &change(&[good, wrong]), false);
            assert_eq!(refused.expect_err("refused").to_string(), expected);
        }
        levels.alter(1, "1", &change(&[good]), true).expect("valid");
        assert_eq!(of(&levels, "ottla"), "INFO");
        assert!(applied.lock().is_empty());
    }
}
