//! Names for the values that two brokers cannot have in common.

use std::collections::HashMap;

use super::tree::Tree;

/// Fields whose values every broker chooses for itself, and how they are told apart in the comparison.
const CHOSEN: &[(&str, &str)] = &[
    ("port", "port"),
    ("cluster_id", "cluster"),
    ("session_id", "session"),
    ("producer_id", "producer"),
    ("log_dir", "directory"),
    ("subscription_id", "subscription"),
];
/// Fields whose values are one broker's at one moment; that there is one is all they have in common.
const MEASURED: &[&str] = &[
    "log_append_time_ms",
    "transaction_start_time_ms",
    "total_bytes",
    "usable_bytes",
    "finalized_features_epoch",
];
/// Values of those fields that mean something by themselves.
const NOT_CHOSEN: &[&str] = &["-1", "0", "None", ""];
const UUID_LENGTH: usize = 36;
const NIL_UUID: &str = "00000000-0000-0000-0000-000000000000";

/// Replaces what one broker chose by names that are the same for both.
#[derive(Default)]
pub struct Names {
    /// Given names.
    by_value: HashMap<String, String>,
    /// Numbers in the order of appearance.
    by_kind: HashMap<&'static str, HashMap<String, usize>>,
}

impl Names {
    /// Calls `value` by `name` wherever it appears from now on; no id stays no id.
    pub fn set(&mut self, value: &str, name: &str) {
        if value == NIL_UUID || value.is_empty() {
            return;
        }
        self.by_value.insert(value.to_owned(), format!("<{name}>"));
    }

    /// The tree with names for what the broker chose.
    pub fn apply(&mut self, tree: Tree) -> Tree {
        self.in_field("", tree)
    }

    fn in_field(&mut self, field: &str, tree: Tree) -> Tree {
        match tree {
            Tree::Value(value) => Tree::Value(self.value(field, &value)),
            Tree::List(items) => Tree::List(
                items
                    .into_iter()
                    .map(|item| self.in_field(field, item))
                    .collect(),
            ),
            Tree::Struct(fields) => Tree::Struct(
                fields
                    .into_iter()
                    .map(|(name, value)| {
                        let value = self.in_field(&name, value);
                        (name, value)
                    })
                    .collect(),
            ),
        }
    }

    fn value(&mut self, field: &str, value: &str) -> String {
        if let Some(name) = self.by_value.get(value) {
            return name.clone();
        }
        let chosen = CHOSEN.iter().find(|(name, _)| *name == field);
        if let Some((_, kind)) = chosen
            && !NOT_CHOSEN.contains(&value)
        {
            return self.numbered(value, kind);
        }
        if MEASURED.contains(&field) && !NOT_CHOSEN.contains(&value) {
            return "<some>".to_owned();
        }
        self.without_uuids(value)
    }

    /// The text with a name for each UUID in it: topic ids, and the end of a member's id.
    fn without_uuids(&mut self, text: &str) -> String {
        let mut named = String::new();
        let mut rest = text;
        while let Some((before, uuid, after)) = split_at_uuid(rest) {
            named.push_str(before);
            let name = match self.by_value.get(uuid) {
                Some(name) => name.clone(),
                None if uuid == NIL_UUID => uuid.to_owned(),
                None => self.numbered(uuid, "uuid"),
            };
            named.push_str(&name);
            rest = after;
        }
        named + rest
    }

    /// The name of a value among those of its kind: a producer id is no offset of the same number.
    fn numbered(&mut self, value: &str, kind: &'static str) -> String {
        let of_kind = self.by_kind.entry(kind).or_default();
        let count = of_kind.len() + 1;
        let number = *of_kind.entry(value.to_owned()).or_insert(count);
        format!("<{kind} {number}>")
    }
}

fn split_at_uuid(text: &str) -> Option<(&str, &str, &str)> {
    let is_uuid = |text: &[u8]| {
        text.iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    let start = text.as_bytes().windows(UUID_LENGTH).position(is_uuid)?;
    let (before, rest) = text.split_at(start);
    let (uuid, after) = rest.split_at(UUID_LENGTH);
    Some((before, uuid, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "5d9b1fb6-4c32-4f0a-9f6d-0123456789ab";

    fn value(names: &mut Names, field: &str, value: &str) -> String {
        let tree = Tree::Struct(vec![(field.to_owned(), Tree::Value(value.to_owned()))]);
        match names.apply(tree) {
            Tree::Struct(fields) => match &fields[0].1 {
                Tree::Value(value) => value.clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_broker_chooses_is_named_by_its_first_appearance() {
        let mut names = Names::default();
        assert_eq!(value(&mut names, "producer_id", "4000"), "<producer 1>");
        assert_eq!(value(&mut names, "producer_id", "4001"), "<producer 2>");
        assert_eq!(value(&mut names, "producer_id", "4000"), "<producer 1>");
        assert_eq!(value(&mut names, "producer_id", "-1"), "-1");
        assert_eq!(value(&mut names, "base_offset", "4001"), "4001");
    }

    #[test]
    fn a_uuid_is_named_wherever_it_stands_and_no_uuid_stays_none() {
        let mut names = Names::default();
        assert_eq!(
            value(&mut names, "leader", &format!("raw-{UUID}")),
            "raw-<uuid 1>"
        );
        assert_eq!(value(&mut names, "topic_id", UUID), "<uuid 1>");
        assert_eq!(value(&mut names, "topic_id", NIL_UUID), NIL_UUID);
    }

    #[test]
    fn a_given_name_comes_first() {
        let mut names = Names::default();
        names.set(UUID, "id of a");
        assert_eq!(value(&mut names, "topic_id", UUID), "<id of a>");
    }
}
