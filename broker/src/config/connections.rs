//! How many connections there may be, as the settings say it.

use super::broker_row::{BrokerRow, kafka};
use super::section::section;

pub(super) const OVERRIDES: &str = "max.connections.per.ip.overrides";

section! {
    /// What is set; it may change while the broker runs.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ConnectionSettings of BrokerRow {}
    keys {
        /// Most connections at one time; further ones wait until others end.
        max: usize = kafka("max.connections"),
        /// Most connections of one address at one time; further ones are closed.
        max_per_ip: usize = kafka("max.connections.per.ip"),
        /// Hosts with a max.connections.per.ip of their own, as host:limit, separated by commas.
        overrides: Vec<(String, usize)> =
            kafka(OVERRIDES) => |text: String| parse_overrides(&text).unwrap_or_default(),
    }
    also {}
}

/// Takes `host:limit,host:limit` apart as Kafka does (`Csv.parseCsvMap`): the last colon counts, so that a host may be an
/// IPv6 address, and a limit below zero lets nobody in.
pub(super) fn parse_overrides(text: &str) -> Result<Vec<(String, usize)>, String> {
    let text = text.trim_end_matches(|c: char| c == ',' || c.is_whitespace());
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let parse = |pair: &str| {
        let (host, limit) = pair
            .rsplit_once(':')
            .ok_or_else(|| format!("expected host:limit, not {}", pair.trim()))?;
        let (host, limit) = (host.trim(), limit.trim());
        let limit: i32 = limit
            .parse()
            .map_err(|_| format!("expected a number, not {limit}"))?;
        let is_of_host = |c: char| c.is_ascii_alphanumeric() || "-%._:".contains(c);
        if !host.chars().all(is_of_host) {
            return Err(format!("{host} is no name or address of a host"));
        }
        Ok((host.to_owned(), usize::try_from(limit).unwrap_or(0)))
    };
    text.split(',').map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_are_hosts_with_a_limit_behind_the_last_colon() {
        let parsed = |text| parse_overrides(text).ok();
        let pairs = |pairs: &[(&str, usize)]| {
            let owned = pairs
                .iter()
                .map(|(host, limit)| ((*host).to_owned(), *limit));
            Some(owned.collect::<Vec<_>>())
        };
        for (text, expected) in [
            ("", pairs(&[])),
            (" , ", pairs(&[])),
            ("127.0.0.1:5", pairs(&[("127.0.0.1", 5)])),
            (" a.b : 5 , ::1:0,", pairs(&[("a.b", 5), ("::1", 0)])),
            ("host:-1", pairs(&[("host", 0)])),
            ("127.0.0.1", None),
            ("127.0.0.1:x", None),
            ("127.0.0.1:", None),
            ("a b:5", None),
            ("[::1]:5", None),
            ("a:5,,b:6", None),
        ] {
            assert_eq!(parsed(text), expected, "{text:?}");
        }
    }
}
