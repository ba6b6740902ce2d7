//! A response as a list of named values, read from what `Debug` prints of it.
//!
//! The structs of the protocol have no other way to be walked field by field, and there are hundreds.

use anyhow::{Context as _, Result, bail, ensure};

/// What `Debug` prints, as a tree. `Some(x)` and structs around a single value are that value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// A number, a string without its quotes, bytes, `None`, `true`, a UUID.
    Value(String),
    List(Vec<Tree>),
    /// Fields in their order.
    Struct(Vec<(String, Tree)>),
}

impl Tree {
    /// Reads what `{:?}` printed of a response.
    ///
    /// # Errors
    /// The text is not of the form that derived implementations print.
    pub fn parse(debug: &str) -> Result<Self> {
        let mut parser = Parser { rest: debug };
        let tree = parser.tree()?;
        ensure!(
            parser.rest.is_empty(),
            "something is left over: {}",
            parser.rest
        );
        Ok(tree)
    }

    /// The fields of a struct; none of anything else.
    fn fields(&self) -> &[(String, Tree)] {
        match self {
            Self::Struct(fields) => fields,
            _ => &[],
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn tree(&mut self) -> Result<Tree> {
        self.blanks();
        if self.takes("[") {
            return Ok(Tree::List(self.items("]")?));
        }
        if self.takes("{") {
            // Only unknown tagged fields are maps, and nothing sets them.
            self.expect("}")?;
            return Ok(Tree::List(Vec::new()));
        }
        if self.rest.starts_with('"') || self.rest.starts_with("b\"") {
            return self.quoted().map(Tree::Value);
        }
        let word = self.word();
        ensure!(!word.is_empty(), "a value expected: {:.40}", self.rest);
        if self.takes("(") {
            let mut items = self.items(")")?;
            ensure!(items.len() == 1, "{word} is around {} values", items.len());
            return items.pop().context("it has one");
        }
        if self.takes(" {") {
            return self.fields().map(Tree::Struct);
        }
        Ok(Tree::Value(word))
    }

    fn fields(&mut self) -> Result<Vec<(String, Tree)>> {
        let mut fields = Vec::new();
        loop {
            self.blanks();
            if self.takes("}") {
                return Ok(fields);
            }
            let name = self.word();
            self.expect(":")?;
            let value = self.tree()?;
            if name != "unknown_tagged_fields" {
                fields.push((name, value));
            }
            self.takes(",");
        }
    }

    fn items(&mut self, end: &str) -> Result<Vec<Tree>> {
        let mut items = Vec::new();
        loop {
            self.blanks();
            if self.takes(end) {
                return Ok(items);
            }
            items.push(self.tree()?);
            self.takes(",");
        }
    }

    /// A string without its quotes, or bytes with `b` and quotes.
    fn quoted(&mut self) -> Result<String> {
        let is_bytes = self.takes("b");
        self.expect("\"")?;
        let mut escaped = false;
        for (index, character) in self.rest.char_indices() {
            match character {
                '"' if !escaped => {
                    let text = &self.rest[..index];
                    self.rest = &self.rest[index + 1..];
                    return Ok(if is_bytes {
                        format!("b\"{text}\"")
                    } else {
                        text.to_owned()
                    });
                }
                '\\' if !escaped => escaped = true,
                _ => escaped = false,
            }
        }
        bail!("a string without an end: {:.40}", self.rest)
    }

    fn word(&mut self) -> String {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn takes(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<()> {
        ensure!(self.takes(token), "{token} expected: {:.40}", self.rest);
        Ok(())
    }
}

/// Fields by which the elements of a list are told apart, the first that is set and different for each.
const KEYS: &[&str] = &[
    "name",
    "topic",
    "resource_name",
    "group_id",
    "key",
    "topic_id",
    "partition_index",
    "partition",
    "index",
    "group_instance_id",
    "member_id",
    "batch_index",
    "api_key",
    "node_id",
    "broker_id",
    "log_dir",
];

/// All values of a tree with their places: `topics[a].partitions[0].error_code`.
///
/// Elements of a list are named by their key, so that order makes no difference to them; their order is a
/// value of its own, `topics.(order)`.
pub fn values(tree: &Tree) -> Vec<(String, String)> {
    let mut values = Vec::new();
    collect(tree, String::new(), &mut values);
    values
}

fn collect(tree: &Tree, place: String, values: &mut Vec<(String, String)>) {
    match tree {
        Tree::Value(value) => values.push((place, value.clone())),
        Tree::Struct(fields) => {
            for (name, field) in fields {
                let dot = if place.is_empty() { "" } else { "." };
                collect(field, format!("{place}{dot}{name}"), values);
            }
        }
        Tree::List(items) => {
            let keys = keys(items);
            values.push((format!("{place}.(order)"), keys.join(" ")));
            for (item, key) in items.iter().zip(keys) {
                // A list of plain values is told by its order already.
                if !matches!(item, Tree::Value(_)) {
                    collect(item, format!("{place}[{key}]"), values);
                }
            }
        }
    }
}

/// What tells the elements of a list apart; their places where nothing does.
fn keys(items: &[Tree]) -> Vec<String> {
    if items.iter().all(|item| matches!(item, Tree::Value(_))) {
        let value = |item: &Tree| match item {
            Tree::Value(value) => value.clone(),
            _ => String::new(),
        };
        return items.iter().map(value).collect();
    }
    let by_field = |field: &&str| -> Option<Vec<String>> {
        let keys: Option<Vec<String>> = items.iter().map(|item| key(item, field)).collect();
        let keys = keys.filter(|keys| keys.iter().any(|key| !key.is_empty()))?;
        let mut different = keys.clone();
        different.sort();
        different.dedup();
        (different.len() == keys.len()).then_some(keys)
    };
    let numbered = || (0..items.len()).map(|index| format!("#{index}")).collect();
    KEYS.iter().find_map(by_field).unwrap_or_else(numbered)
}

fn key(item: &Tree, field: &str) -> Option<String> {
    let (_, value) = item.fields().iter().find(|(name, _)| name == field)?;
    match value {
        Tree::Value(value) if value != "None" => Some(value.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    #[allow(dead_code)] // read through Debug
    struct Name(&'static str);

    #[derive(Debug)]
    #[allow(dead_code)] // read through Debug
    struct Partition {
        partition_index: i32,
        records: Option<bytes::Bytes>,
        replicas: Vec<i32>,
    }

    #[derive(Debug)]
    #[allow(dead_code)] // read through Debug
    struct Topic {
        name: Option<Name>,
        partitions: Vec<Partition>,
        unknown_tagged_fields: std::collections::BTreeMap<i32, bytes::Bytes>,
    }

    fn topic() -> Topic {
        let partition = |partition_index, records: Option<&'static [u8]>| Partition {
            partition_index,
            records: records.map(bytes::Bytes::from_static),
            replicas: vec![1, 2],
        };
        Topic {
            name: Some(Name("a \"quoted\" name")),
            partitions: vec![partition(4, Some(b"\"\\\x00")), partition(3, None)],
            unknown_tagged_fields: Default::default(),
        }
    }

    #[test]
    fn every_value_of_a_response_is_listed_with_its_place() {
        let tree = Tree::parse(&format!("{:?}", topic())).unwrap();
        let values: Vec<String> = values(&tree)
            .iter()
            .map(|(place, value)| format!("{place} = {value}"))
            .collect();
        assert_eq!(
            values,
            [
                r#"name = a \"quoted\" name"#,
                "partitions.(order) = 4 3",
                "partitions[4].partition_index = 4",
                r#"partitions[4].records = b"\"\\\0""#,
                "partitions[4].replicas.(order) = 1 2",
                "partitions[3].partition_index = 3",
                "partitions[3].records = None",
                "partitions[3].replicas.(order) = 1 2",
            ]
        );
    }

    #[test]
    fn elements_that_nothing_tells_apart_are_numbered() {
        let tree = Tree::parse("[T { name: \"a\" }, T { name: \"a\" }]").unwrap();
        let places: Vec<String> = values(&tree).into_iter().map(|(place, _)| place).collect();
        assert_eq!(places, [".(order)", "[#0].name", "[#1].name"]);
    }

    #[test]
    fn text_that_no_derived_debug_prints_is_refused() {
        for text in ["", "{1: 2}", "A(1, 2)", "\"no end", "[1] 2"] {
            assert!(Tree::parse(text).is_err(), "{text}");
        }
    }
}
