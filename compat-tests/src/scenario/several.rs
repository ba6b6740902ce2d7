//! Several brokers, as if the first of them were the only one.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Instant;

use anyhow::{Result, ensure};
use kafka_protocol::messages::{ApiKey, FindCoordinatorRequest};

use super::tree::Tree;
use super::{POLL_INTERVAL, SETTLING_TIME, string};
use crate::RawClient;

/// What one of several brokers coordinates. Of each kind it is the same broker whatever the name, where the topic behind it has one
/// partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coordinates {
    Groups,
    Transactions,
}

impl Coordinates {
    /// Whose coordinator an API is asked of.
    pub fn of(api_key: i16) -> Option<Self> {
        use ApiKey::*;
        match ApiKey::try_from(api_key).ok()? {
            OffsetCommit
            | OffsetFetch
            | JoinGroup
            | Heartbeat
            | LeaveGroup
            | SyncGroup
            | DescribeGroups
            | ListGroups
            | DeleteGroups
            | OffsetDelete
            | TxnOffsetCommit
            | ConsumerGroupHeartbeat
            | ConsumerGroupDescribe => Some(Self::Groups),
            InitProducerId | AddPartitionsToTxn | AddOffsetsToTxn | EndTxn
            | DescribeTransactions | ListTransactions => Some(Self::Transactions),
            _ => None,
        }
    }

    /// Asks a broker who that is.
    ///
    /// # Errors
    /// It does not know in time.
    pub fn coordinator(self, broker: SocketAddr) -> Result<SocketAddr> {
        let find = FindCoordinatorRequest::default()
            .with_key(string("any"))
            .with_key_type(match self {
                Self::Groups => 0,
                Self::Transactions => 1,
            });
        let deadline = Instant::now() + SETTLING_TIME;
        let mut client = RawClient::connect(broker)?;
        loop {
            let found = client.call(3, &find)?;
            if found.error_code == 0 {
                return Ok(format!("{}:{}", &*found.host, found.port).parse()?);
            }
            ensure!(Instant::now() < deadline, "{self:?} have no coordinator");
            sleep(POLL_INTERVAL);
        }
    }
}

/// Lists of brokers.
const BROKERS: &[&str] = &["brokers", "nodes", "current_voters"];
/// Lists of the brokers that have a partition.
const REPLICAS: &[&str] = &["replica_nodes", "isr_nodes"];
/// The id of a broker.
const IDS: &[&str] = &[
    "leader_id",
    "node_id",
    "controller_id",
    "broker_id",
    "replica_id",
];

/// An answer that names one broker wherever it names any of these, and names it once.
pub fn as_by_one(tree: Tree, bootstrap: &str) -> Tree {
    let ports = bootstrap
        .split(',')
        .filter_map(|address| address.rsplit_once(':'));
    let ports: Vec<&str> = ports.map(|(_, port)| port).collect();
    in_field("", tree, &ports)
}

fn in_field(field: &str, tree: Tree, ports: &[&str]) -> Tree {
    match tree {
        Tree::Value(value) => Tree::Value(by_one(field, value, ports)),
        Tree::List(mut items) => {
            if BROKERS.contains(&field) || REPLICAS.contains(&field) {
                items.truncate(1);
            }
            // Whichever of them leads comes first.
            let item = |item| match item {
                Tree::Value(_) if REPLICAS.contains(&field) => Tree::Value("1".to_owned()),
                item => in_field(field, item, ports),
            };
            Tree::List(items.into_iter().map(item).collect())
        }
        Tree::Struct(fields) => {
            let fields = fields.into_iter().map(|(name, value)| {
                let value = in_field(&name, value, ports);
                (name, value)
            });
            Tree::Struct(fields.collect())
        }
    }
}

fn by_one(field: &str, value: String, ports: &[&str]) -> String {
    let is_id = || (1..=ports.len()).any(|id| value == id.to_string());
    match field {
        "port" if ports.contains(&value.as_str()) => ports[0].to_owned(),
        "rack" => "None".to_owned(),
        // One in each rack.
        "replication_factor" if value == ports.len().to_string() => "1".to_owned(),
        _ if IDS.contains(&field) && is_id() => "1".to_owned(),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_brokers_one_is_told_and_nothing_else_changes() -> Result<()> {
        let told =
            |debug: &str| Ok::<_, anyhow::Error>(as_by_one(Tree::parse(debug)?, "h:7,h:8,h:9"));
        let several = "R { brokers: [B { node_id: 2, port: 8, rack: Some(\"b\") }, B { node_id: 3, port: 9, rack: None }], \
            topics: [T { leader_id: 3, replica_nodes: [3, 1, 2], isr_nodes: [], count: 3 }, T { leader_id: -1 }] }";
        let one = "R { brokers: [B { node_id: 1, port: 7, rack: None }], \
            topics: [T { leader_id: 1, replica_nodes: [1], isr_nodes: [], count: 3 }, T { leader_id: -1 }] }";
        ensure!(told(several)? == Tree::parse(one)?, "{:?}", told(several)?);
        Ok(())
    }
}
