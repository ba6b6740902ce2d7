//! Topics that are there before clients can connect: `--create-topic`, and `KAFKA_CREATE_TOPICS` as images have it.

use super::topic::topic_config;
use crate::metadata::{NewTopic, Placement, validate_topic_name};

/// A topic to make if it is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstTopic {
    pub name: String,
    pub partitions: i32,
    replication_factor: i16,
    cleanup_policy: Option<String>,
}

/// Why an entry is no topic; one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FirstTopicError {
    #[error("{0}: expected NAME:PARTITIONS[:POLICY]")]
    OfOption(String),
    #[error("{0}: expected NAME:PARTITIONS:REPLICAS[:POLICY]")]
    OfVariable(String),
    #[error("{entry}: {what}")]
    Unusable { entry: String, what: String },
    #[error("{0} is named twice")]
    Twice(String),
}

impl FirstTopic {
    /// Reads `NAME:PARTITIONS[:POLICY]`.
    ///
    /// # Errors
    /// See [`FirstTopicError`].
    pub fn parse_option(entry: &str) -> Result<Self, FirstTopicError> {
        let mut fields = entry.splitn(3, ':').map(str::trim);
        let (name, partitions, policy) = (fields.next(), fields.next(), fields.next());
        let topic = Self::new(name, partitions, Some("-1"), policy);
        let topic = topic.ok_or_else(|| FirstTopicError::OfOption(entry.to_owned()))?;
        topic.checked(entry)
    }

    /// Reads what `KAFKA_CREATE_TOPICS` has: `NAME:PARTITIONS:REPLICAS[:POLICY]` with commas between them, or with whatever else
    /// `KAFKA_CREATE_TOPICS_SEPARATOR` names.
    ///
    /// # Errors
    /// See [`FirstTopicError`].
    pub fn parse_variable(
        text: &str,
        separator: Option<&str>,
    ) -> Result<Vec<Self>, FirstTopicError> {
        // Compose files name a newline in the words of a shell.
        let separator = separator.unwrap_or(",");
        let quoted = separator.strip_prefix("$'");
        let quoted = quoted.and_then(|rest| rest.strip_suffix('\''));
        let separator = quoted.unwrap_or(separator).replace("\\n", "\n");
        let entries = text.split(|c| separator.contains(c)).map(str::trim);
        let entries = entries.filter(|entry| !entry.is_empty());
        let parse = |entry: &str| {
            let mut fields = entry.splitn(4, ':').map(str::trim);
            let mut next = || fields.next();
            let (name, partitions, replicas, policy) = (next(), next(), next(), next());
            let topic = Self::new(name, partitions, replicas, policy);
            let topic = topic.ok_or_else(|| FirstTopicError::OfVariable(entry.to_owned()))?;
            topic.checked(entry)
        };
        entries.map(parse).collect()
    }

    fn new(
        name: Option<&str>,
        partitions: Option<&str>,
        replicas: Option<&str>,
        policy: Option<&str>,
    ) -> Option<Self> {
        Some(Self {
            name: name?.to_owned(),
            partitions: partitions?.parse().ok()?,
            replication_factor: replicas?.parse().ok()?,
            cleanup_policy: policy
                .filter(|policy| !policy.is_empty())
                .map(str::to_owned),
        })
    }

    fn checked(self, entry: &str) -> Result<Self, FirstTopicError> {
        let unusable = |what: String| FirstTopicError::Unusable {
            entry: entry.to_owned(),
            what,
        };
        validate_topic_name(&self.name).map_err(|error| unusable(error.to_string()))?;
        if self.partitions < 1 {
            return Err(unusable("expected at least one partition".to_owned()));
        }
        if let (Some(policy), Some(row)) = (&self.cleanup_policy, topic_config(CLEANUP_POLICY)) {
            let checked = row.def.check(policy);
            checked.map_err(|error| unusable(error.to_string()))?;
        }
        Ok(self)
    }

    /// Refuses what cannot be together, and more copies than there are.
    ///
    /// # Errors
    /// See [`FirstTopicError`].
    pub(super) fn check_all(
        topics: &[Self],
        accept_any_replication_factor: bool,
    ) -> Result<(), FirstTopicError> {
        for (place, topic) in topics.iter().enumerate() {
            let name = &topic.name;
            if topics[..place].iter().any(|other| other.name == *name) {
                return Err(FirstTopicError::Twice(name.clone()));
            }
            let factor = topic.replication_factor;
            if factor < -1 || factor == 0 || factor > 1 && !accept_any_replication_factor {
                return Err(FirstTopicError::Unusable {
                    entry: name.clone(),
                    what: format!(
                        "a single node stores one copy, not {factor}: expected 1, or \
                         ottla.accept.any.replication.factor=true"
                    ),
                });
            }
        }
        Ok(())
    }
}

const CLEANUP_POLICY: &str = "cleanup.policy";

impl From<&FirstTopic> for NewTopic {
    fn from(topic: &FirstTopic) -> Self {
        let policy = topic.cleanup_policy.clone();
        Self {
            name: topic.name.clone(),
            placement: Placement::Counts {
                partitions: topic.partitions,
                replication_factor: topic.replication_factor,
            },
            configs: policy
                .map(|policy| (CLEANUP_POLICY.to_owned(), Some(policy)))
                .into_iter()
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(topic: &FirstTopic) -> (String, i32, i16, Option<&str>) {
        let policy = topic.cleanup_policy.as_deref();
        let FirstTopic {
            name,
            partitions,
            replication_factor,
            ..
        } = topic;
        (name.clone(), *partitions, *replication_factor, policy)
    }

    fn of_variable(text: &str, separator: Option<&str>) -> Vec<(String, i32)> {
        let topics = FirstTopic::parse_variable(text, separator).expect(text);
        topics
            .into_iter()
            .map(|topic| (topic.name, topic.partitions))
            .collect()
    }

    #[test]
    fn an_option_is_a_topic_its_partitions_and_perhaps_its_policy() {
        for (entry, expected) in [
            ("a:3", ("a".to_owned(), 3, -1, None)),
            ("a.b_c-D: 1 ", ("a.b_c-D".to_owned(), 1, -1, None)),
            ("a:1:", ("a".to_owned(), 1, -1, None)),
            (
                "a:1:compact,delete",
                ("a".to_owned(), 1, -1, Some("compact,delete")),
            ),
        ] {
            let topic = FirstTopic::parse_option(entry).expect(entry);
            assert_eq!(told(&topic), expected, "{entry}");
        }
        for entry in [
            "", "a", "a:", "a:x", "a:1.5", ":1", "a:0", "a:-1", "a b:1", "a:1:no", "..:1",
        ] {
            let refused = FirstTopic::parse_option(entry)
                .expect_err(entry)
                .to_string();
            assert!(refused.starts_with(&format!("{entry}: ")), "{refused}");
        }
    }

    #[test]
    fn a_variable_has_topics_with_replicas_between_separators() {
        let topics = FirstTopic::parse_variable("Topic1:1:3,Topic2:2:1:compact", None);
        let topics = topics.expect("two topics");
        let told: Vec<_> = topics.iter().map(told).collect();
        let expected = [
            ("Topic1".to_owned(), 1, 3, None),
            ("Topic2".to_owned(), 2, 1, Some("compact")),
        ];
        assert_eq!(told, expected);
        let two = [("a".to_owned(), 1), ("b".to_owned(), 2)];
        for (text, separator) in [
            ("a:1:1, b:2:1,", None),
            ("a:1:1;b:2:1", Some(";")),
            ("a:1:1;b:2:1", Some(",;")),
            ("a:1:1\n  b:2:1\n", Some("\n")),
            ("a:1:1\nb:2:1:compact,delete\n", Some("$'\\n'")),
            ("a:1:1\nb:2:1\n", Some("\\n")),
        ] {
            assert_eq!(of_variable(text, separator), two, "{text:?}");
        }
        assert_eq!(of_variable("", None), []);
        for text in ["a", "a:1", "a:1:x", "a:1:1,b", "a:1:1:no", "a:1:1;b:1:1"] {
            let refused = FirstTopic::parse_variable(text, None);
            assert!(refused.is_err(), "{text}: {refused:?}");
        }
    }

    #[test]
    fn more_copies_than_there_are_and_a_name_that_occurs_twice_are_refused() {
        let check = |text: &str, any| {
            let topics = FirstTopic::parse_variable(text, None).expect(text);
            FirstTopic::check_all(&topics, any).map_err(|error| error.to_string())
        };
        assert_eq!(check("a:1:1,b:1:-1", false), Ok(()));
        assert_eq!(check("a:1:3", true), Ok(()));
        for (text, any, expected) in [
            ("a:1:3", false, "ottla.accept.any.replication.factor=true"),
            ("a:1:0", true, "one copy, not 0"),
            ("a:1:1,b:1:1,a:2:1", false, "a is named twice"),
        ] {
            let refused = check(text, any).expect_err(text);
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
