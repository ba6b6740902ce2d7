//! One row of a configuration table: name, type, default, rule, documentation.
//!
//! The same row validates what is set, answers DescribeConfigs and feeds the typed configurations.
//! Messages are those of Kafka's `ConfigDef`, so that tools and people recognise them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::host_port::parse_host_port;

/// What kind of value a key takes; the discriminant is DescribeConfigs' `config_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Kind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

impl Kind {
    fn kafka_name(self) -> &'static str {
        match self {
            Kind::Boolean => "BOOLEAN",
            Kind::String => "STRING",
            Kind::Int => "INT",
            Kind::Short => "SHORT",
            Kind::Long => "LONG",
            Kind::Double => "DOUBLE",
            Kind::List => "LIST",
            Kind::Class => "CLASS",
            Kind::Password => "PASSWORD",
        }
    }

    pub(super) fn from_kafka_name(name: &str) -> Option<Self> {
        [
            Kind::Boolean,
            Kind::String,
            Kind::Int,
            Kind::Short,
            Kind::Long,
            Kind::Double,
            Kind::List,
            Kind::Class,
            Kind::Password,
        ]
        .into_iter()
        .find(|kind| kind.kafka_name() == name)
    }
}

/// Whether AlterConfigs may change a broker key, and for whom (KIP-226).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateMode {
    ReadOnly,
    PerBroker,
    ClusterWide,
}

/// What a value must satisfy besides its type.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    Any,
    AtLeast(i64),
    Between(i64, i64),
    /// `Between` or this one value.
    BetweenOr(i64, i64, i64),
    /// A floating-point number within these bounds.
    Within(f64, f64),
    /// Every value of a list, or the one string, is among these.
    OneOf(&'static [&'static str]),
    /// As `OneOf` for a list that has at least one value.
    SomeOf(&'static [&'static str]),
    OneOfIgnoringCase(&'static [&'static str]),
    /// A list of different values.
    Set,
    /// A list of different values, at least one.
    NonEmptySet,
    NonEmptyString,
    /// `host:port`, or this one value.
    HostPortOr(&'static str),
    /// `*` or `partition:broker,…`.
    ThrottledReplicas,
}

/// A key's row.
#[derive(Clone, Debug)]
pub struct ConfigDef {
    pub name: &'static str,
    pub kind: Kind,
    /// `None` is Kafka's null.
    pub default: Option<&'static str>,
    pub rule: Rule,
    pub update_mode: UpdateMode,
    /// Empty for keys without an effect.
    pub documentation: &'static str,
    /// Kafka has the key; nothing in Ottla reads it yet.
    pub unused: bool,
    /// Kafka keeps the key to itself: accepted, never described.
    pub internal: bool,
}

/// A row with a default.
pub(super) const fn def(name: &'static str, kind: Kind, default: &'static str) -> ConfigDef {
    let mut row = def_null(name, kind);
    row.default = Some(default);
    row
}

/// A row whose default is null.
pub(super) const fn def_null(name: &'static str, kind: Kind) -> ConfigDef {
    ConfigDef {
        name,
        kind,
        default: None,
        rule: Rule::Any,
        update_mode: UpdateMode::ReadOnly,
        documentation: "",
        unused: false,
        internal: false,
    }
}

impl ConfigDef {
    pub(super) const fn rule(mut self, rule: Rule) -> Self {
        self.rule = rule;
        self
    }

    pub(super) const fn at_least(self, min: i64) -> Self {
        self.rule(Rule::AtLeast(min))
    }

    pub(super) const fn doc(mut self, documentation: &'static str) -> Self {
        self.documentation = documentation.trim_ascii_start();
        self
    }

    pub(super) const fn without_effect(mut self) -> Self {
        self.unused = true;
        self
    }

    pub(super) const fn hidden(mut self) -> Self {
        self.internal = true;
        self
    }

    pub fn is_sensitive(&self) -> bool {
        self.kind == Kind::Password
    }

    /// Says what is wrong with a value, in Kafka's words.
    pub fn check(&self, value: &str) -> Result<(), InvalidValue> {
        self.check_inner(value)
            .map_err(|(shown, expected)| InvalidValue {
                key: self.name.to_owned(),
                value: if self.is_sensitive() {
                    "[hidden]".to_owned()
                } else {
                    shown.unwrap_or_else(|| value.to_owned())
                },
                expected,
            })
    }

    fn check_inner(&self, value: &str) -> Result<(), (Option<String>, String)> {
        let plain = |expected: String| (None, expected);
        match self.kind {
            Kind::Boolean => parse_bool(value)
                .map(|_| ())
                .ok_or_else(|| plain("Expected value to be either true or false".to_owned())),
            Kind::Int | Kind::Short | Kind::Long => {
                let (min, max) = match self.kind {
                    Kind::Int => (i64::from(i32::MIN), i64::from(i32::MAX)),
                    Kind::Short => (i64::from(i16::MIN), i64::from(i16::MAX)),
                    _ => (i64::MIN, i64::MAX),
                };
                match value.trim().parse::<i64>() {
                    Ok(number) if (min..=max).contains(&number) => {
                        self.check_number(number).map_err(plain)
                    }
                    _ => Err(plain(format!(
                        "Not a number of type {}",
                        self.kind.kafka_name()
                    ))),
                }
            }
            Kind::Double => match value.trim().parse::<f64>() {
                Ok(number) if !number.is_nan() => match self.rule {
                    Rule::Within(min, _) if number < min => {
                        Err(plain(format!("Value must be at least {min}")))
                    }
                    Rule::Within(_, max) if number > max => {
                        Err(plain(format!("Value must be no more than {max}")))
                    }
                    _ => Ok(()),
                },
                _ => Err(plain("Not a number of type DOUBLE".to_owned())),
            },
            Kind::String | Kind::List | Kind::Class | Kind::Password => self.check_text(value),
        }
    }

    fn check_number(&self, number: i64) -> Result<(), String> {
        match self.rule {
            Rule::AtLeast(min) | Rule::Between(min, _) if number < min => {
                Err(format!("Value must be at least {min}"))
            }
            Rule::Between(_, max) if number > max => {
                Err(format!("Value must be no more than {max}"))
            }
            Rule::BetweenOr(min, max, other)
                if number != other && !(min..=max).contains(&number) =>
            {
                Err(format!(
                    "Value must be between {min} and {max} or equal to {other}"
                ))
            }
            _ => Ok(()),
        }
    }

    fn check_text(&self, value: &str) -> Result<(), (Option<String>, String)> {
        if self.kind == Kind::List {
            self.check_list(value)?;
        }
        match self.rule {
            Rule::OneOf(allowed) | Rule::SomeOf(allowed) => {
                let wrong = if self.kind == Kind::List {
                    list(value).find(|item| !allowed.contains(item))
                } else {
                    Some(value.trim()).filter(|item| !allowed.contains(item))
                };
                wrong.map_or(Ok(()), |item| {
                    let expected = format!("String must be one of: {}", allowed.join(", "));
                    Err((Some(item.to_owned()), expected))
                })
            }
            Rule::OneOfIgnoringCase(allowed) => {
                if allowed
                    .iter()
                    .any(|one| one.eq_ignore_ascii_case(value.trim()))
                {
                    return Ok(());
                }
                let mut expected = "String must be one of (case insensitive): ".to_owned();
                let _ = write!(expected, "{}", allowed.join(", "));
                Err((None, expected))
            }
            Rule::NonEmptyString if value.trim().is_empty() => {
                Err((None, "String must be non-empty".to_owned()))
            }
            Rule::HostPortOr(other)
                if value.trim() != other && parse_host_port(value).is_none() =>
            {
                Err((None, format!("expected host:port, or {other}")))
            }
            Rule::ThrottledReplicas if !is_throttled_replicas(value) => Err((
                Some(format!("[{}]", list(value).collect::<Vec<_>>().join(", "))),
                format!(
                    "{} must be the literal '*' or a list of replicas in the following format: \
                     [partitionId]:[brokerId],[partitionId]:[brokerId],...",
                    self.name
                ),
            )),
            _ => Ok(()),
        }
    }

    /// What Kafka 4.1 and newer ask of a list (`ConfigDef.ValidList`).
    fn check_list(&self, value: &str) -> Result<(), (Option<String>, String)> {
        let wrong = |what: &str| Err((None, what.to_owned()));
        let may_be_empty = match self.rule {
            Rule::Set | Rule::OneOf(_) => true,
            Rule::NonEmptySet | Rule::SomeOf(_) => false,
            _ => return Ok(()),
        };
        if value.trim().is_empty() {
            return match may_be_empty {
                true => Ok(()),
                false => wrong("must not be empty. Valid values include: any non-empty value"),
            };
        }
        let mut seen = BTreeSet::new();
        for item in value.split(',').map(str::trim) {
            if item.is_empty() {
                return wrong("values must not be empty.");
            }
            if !seen.insert(item) {
                return wrong("values must not be duplicated.");
            }
        }
        Ok(())
    }
}

/// A value that a table's row refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid value {value} for configuration {key}: {expected}")]
pub struct InvalidValue {
    pub key: String,
    pub value: String,
    pub expected: String,
}

/// The items of a comma-separated list, trimmed; an empty string is an empty list.
pub fn list(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

pub(super) fn parse_bool(value: &str) -> Option<bool> {
    let value = value.trim();
    if value.eq_ignore_ascii_case("true") {
        Some(true)
    } else if value.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

fn is_throttled_replicas(value: &str) -> bool {
    let is_pair = |item: &str| {
        item.split_once(':').is_some_and(|(partition, broker)| {
            partition.parse::<u32>().is_ok() && broker.parse::<u32>().is_ok()
        })
    };
    value.trim() == "*" || list(value).all(is_pair)
}
