//! Rows of the broker's keys, as the sections have them.

use super::def::{ConfigDef, Kind, Rule, def, def_null};
use super::section::Row;

/// The row of a key that Ottla reads.
#[derive(Clone, Debug)]
pub struct BrokerRow {
    pub name: &'static str,
    pub documentation: &'static str,
    /// `None`: the key is Kafka's, and is what Kafka says but for what follows.
    pub own: Option<ConfigDef>,
    pub default: Option<&'static str>,
    pub rule: Option<Rule>,
}

impl Row for BrokerRow {
    fn name(&self) -> &'static str {
        self.name
    }
}

/// A key of Kafka's, with Kafka's type, default and rule.
pub(super) const fn kafka(name: &'static str) -> BrokerRow {
    BrokerRow {
        name,
        documentation: "",
        own: None,
        default: None,
        rule: None,
    }
}

/// A key of Ottla's.
pub(super) const fn own(name: &'static str, kind: Kind, default: &'static str) -> BrokerRow {
    let mut row = kafka(name);
    row.own = Some(def(name, kind, default));
    row
}

/// A key of Ottla's whose default is null.
pub(super) const fn own_null(name: &'static str, kind: Kind) -> BrokerRow {
    let mut row = kafka(name);
    row.own = Some(def_null(name, kind));
    row
}

impl BrokerRow {
    /// Not described where nobody has set it.
    pub(super) const fn hidden(mut self) -> Self {
        if let Some(own) = &mut self.own {
            own.internal = true;
        }
        self
    }

    /// Another default than Kafka's.
    pub(super) const fn default(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// Another rule than Kafka's.
    pub(super) const fn rule(mut self, rule: Rule) -> Self {
        self.rule = Some(rule);
        self
    }

    pub(super) const fn at_least(self, min: i64) -> Self {
        self.rule(Rule::AtLeast(min))
    }

    pub(super) const fn doc(mut self, documentation: &'static str) -> Self {
        self.documentation = documentation.trim_ascii_start();
        self
    }
}
