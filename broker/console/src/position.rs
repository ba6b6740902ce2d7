//! Where in a partition: `earliest`, `latest`, an offset, or a time.

use std::collections::BTreeMap;
use std::str::FromStr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cluster::{Cluster, EARLIEST, LATEST, Partition};
use crate::failure::Result;

/// How it is written, for options.
pub(crate) const SYNTAX: &str = "earliest|latest|OFFSET|@TIME";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    Earliest,
    Latest,
    Offset(i64),
    /// In ms since 1970.
    Time(i64),
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || {
            "expected earliest, latest, an offset such as 42, or a time such as @1767225600000 (ms) or @2026-01-01T00:00:00Z".to_owned()
        };
        match (text, text.strip_prefix('@')) {
            ("earliest" | "beginning", _) => Ok(Self::Earliest),
            ("latest" | "end", _) => Ok(Self::Latest),
            (_, Some(time)) => time
                .parse()
                .ok()
                .filter(|ms| *ms >= 0)
                .or_else(|| {
                    let time = OffsetDateTime::parse(time, &Rfc3339).ok()?;
                    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
                })
                .map(Self::Time)
                .ok_or_else(expected),
            _ => text
                .parse()
                .ok()
                .filter(|offset| *offset >= 0)
                .map(Self::Offset)
                .ok_or_else(expected),
        }
    }
}

impl Position {
    /// The offset in each partition. What is beyond its ends is at the end, as for Kafka's tools.
    ///
    /// # Errors
    /// A leader refuses.
    pub(crate) async fn find(
        self,
        cluster: &mut Cluster,
        partitions: &[Partition],
    ) -> Result<BTreeMap<Partition, i64>> {
        let at = |timestamp| -> BTreeMap<Partition, i64> {
            let partitions = partitions.iter().cloned();
            partitions.map(|partition| (partition, timestamp)).collect()
        };
        match self {
            Self::Earliest => cluster.offsets(&at(EARLIEST)).await,
            Self::Latest => cluster.offsets(&at(LATEST)).await,
            Self::Offset(offset) => {
                let first = cluster.offsets(&at(EARLIEST)).await?;
                let mut found = cluster.offsets(&at(LATEST)).await?;
                for (partition, next) in &mut found {
                    let first = first.get(partition).copied().unwrap_or(0);
                    *next = offset.min(*next).max(first);
                }
                Ok(found)
            }
            Self::Time(ms) => {
                let mut found = cluster.offsets(&at(ms)).await?;
                let latest = cluster.offsets(&at(LATEST)).await?;
                for (partition, offset) in &mut found {
                    if *offset < 0 {
                        *offset = latest.get(partition).copied().unwrap_or(0);
                    }
                }
                Ok(found)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_are_written() {
        for (text, expected) in [
            ("earliest", Some(Position::Earliest)),
            ("beginning", Some(Position::Earliest)),
            ("latest", Some(Position::Latest)),
            ("end", Some(Position::Latest)),
            ("42", Some(Position::Offset(42))),
            ("@1767225600000", Some(Position::Time(1_767_225_600_000))),
            (
                "@2026-01-01T00:00:00Z",
                Some(Position::Time(1_767_225_600_000)),
            ),
            (
                "@2026-01-01T01:00:00.5+01:00",
                Some(Position::Time(1_767_225_600_500)),
            ),
            ("-1", None),
            ("@-1", None),
            ("@yesterday", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }
}
