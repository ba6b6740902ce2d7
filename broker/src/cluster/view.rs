//! Which brokers there are, and which of them does what.
//!
//! A handler may not assume that this broker leads a partition or coordinates a group. It asks here.
//!
//! Nobody elects leaders. Any broker could append to any log, the database decides what comes first. But what many brokers
//! write and read at once is cached nowhere and conflicts, so all of them prefer the same one: of each log group
//! the broker whose number, hashed with the group's, is the largest (rendezvous hashing). When a broker comes or goes, only
//! its groups move. The records are near to none and far from none of them, so each rack has a leader of its own, too.
//!
//! An object has records of all groups that its writer leads. If the leaders of another rack were chosen group by group, nearly
//! all brokers of that rack would have to get the object. So what one broker leads for all is led by one broker in each other
//! rack, too: its partner.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use storage::object::database::{LogGroup, log_group_of};
use tokio::sync::watch;
use uuid::Uuid;

use crate::config::HostPort;
use crate::coordinator::group::Groups;
use crate::coordinator::runtime::Outside as _;
use crate::coordinator::txn::Transactions;
use crate::net::session::ClientListener;

/// A broker of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: i32,
    pub rack: Option<Arc<str>>,
    /// Where it is to be reached, by the name of the listener. What a client is told of this broker itself is in its
    /// session.
    pub endpoints: BTreeMap<String, HostPort>,
}

/// A broker, and where it is to be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint<'a> {
    pub id: i32,
    pub rack: Option<&'a str>,
    pub host: &'a str,
    pub port: u16,
}

/// What is coordinated; as in FindCoordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordinatorKind {
    Group,
    Transaction,
}

impl CoordinatorKind {
    /// The topic that has what is known of them.
    pub(crate) const fn topic(self) -> &'static str {
        match self {
            Self::Group => Groups::TOPIC,
            Self::Transaction => Transactions::TOPIC,
        }
    }
}

/// Who is there at one moment, and who does what.
#[derive(Debug)]
pub struct Members {
    me: i32,
    /// Those who do something, by their ids.
    nodes: Vec<Node>,
    /// Those whom clients are told of, by their ids: more than `nodes` while brokers come and go.
    listed: Vec<Node>,
    /// Who leads each log group, for clients of no rack in particular. One entry, if there is one broker.
    leaders: Vec<i32>,
    /// The same among the brokers of a rack.
    leaders_in: BTreeMap<Arc<str>, Vec<i32>>,
    /// Of each log group the leader, and those of the other racks.
    replicas: Vec<Vec<i32>>,
}

impl Members {
    /// These brokers, in a cluster of so many log groups. They do everything, and clients are told of them alone.
    pub(crate) fn new(me: i32, mut nodes: Vec<Node>, groups: u16) -> Self {
        nodes.sort_unstable_by_key(|node| node.id);
        // With one broker it does not matter what belongs to which group.
        let groups = if nodes.len() == 1 { 1 } else { groups.max(1) };
        let mut racks: BTreeMap<Option<&Arc<str>>, Vec<&Node>> = BTreeMap::new();
        for node in &nodes {
            racks.entry(node.rack.as_ref()).or_default().push(node);
        }
        let leaders: Vec<i32> = (0..groups).map(|group| leader(&nodes, group)).collect();
        let in_racks = racks.iter().map(|(rack, among)| {
            let partners = partners(&nodes, among);
            (
                *rack,
                leaders.iter().map(|leader| partners[leader]).collect(),
            )
        });
        let in_racks: Vec<(Option<&Arc<str>>, Vec<i32>)> = in_racks.collect();
        let replicas = leaders.iter().enumerate().map(|(group, &leader)| {
            let others = in_racks.iter().map(|(_, leaders)| leaders[group]);
            let others = others.filter(|&other| other != leader);
            std::iter::once(leader).chain(others).collect()
        });
        let replicas = replicas.collect();
        let leaders_in = in_racks.into_iter();
        let leaders_in =
            leaders_in.filter_map(|(rack, leaders)| Some((Arc::clone(rack?), leaders)));
        let leaders_in = leaders_in.collect();
        Self {
            me,
            leaders,
            leaders_in,
            replicas,
            listed: nodes.clone(),
            nodes,
        }
    }

    #[cfg(test)]
    fn led_by(me: i32, chief: i32) -> Self {
        let address = HostPort {
            host: "there".to_owned(),
            port: 9092,
        };
        let chief = Node {
            id: chief,
            rack: None,
            endpoints: BTreeMap::from([("PLAINTEXT".to_owned(), address)]),
        };
        Self::new(me, vec![chief], 1)
    }

    /// This broker's id. It may be missing among those who are there: then it has nothing to do.
    pub fn me(&self) -> i32 {
        self.me
    }

    /// Whether this broker is the only one.
    pub fn is_alone(&self) -> bool {
        matches!(self.nodes.as_slice(), [only] if only.id == self.me)
    }

    /// Whether this broker is there.
    pub(crate) fn has_me(&self) -> bool {
        self.nodes.iter().any(|node| node.id == self.me)
    }

    /// How many brokers do something.
    pub fn broker_count(&self) -> usize {
        self.nodes.len()
    }

    /// The ids of all brokers that do something, in order.
    pub fn broker_ids(&self) -> impl Iterator<Item = i32> {
        self.nodes.iter().map(|node| node.id)
    }

    /// All brokers that a client of this listener is told of, by their ids, each as such a client reaches it.
    pub fn brokers<'a>(&'a self, own: &'a ClientListener) -> impl Iterator<Item = Endpoint<'a>> {
        self.listed.iter().filter_map(|node| {
            let address = match node.id == self.me {
                true => &own.advertised,
                false => node.endpoints.get(&own.name)?,
            };
            Some(Endpoint {
                id: node.id,
                rack: node.rack.as_deref(),
                host: &address.host,
                port: address.port,
            })
        })
    }

    /// Where another broker is to be reached by a listener of this name, as host and port.
    pub(crate) fn address_of(&self, id: i32, listener: &str) -> Option<String> {
        let mut nodes = self.nodes.iter();
        let node = nodes.find(|node| node.id == id)?;
        node.endpoints.get(listener).map(HostPort::to_string)
    }

    /// The broker that leads a partition for clients in `rack`. Where there is no broker in the rack, it is the one for all.
    pub fn leader_for(&self, topic_id: Uuid, partition: i32, rack: Option<&str>) -> i32 {
        let in_rack = rack.and_then(|rack| self.leader_in(topic_id, partition, rack));
        in_rack.unwrap_or_else(|| self.leaders[self.group_of(topic_id, partition)])
    }

    /// The same, if there is a broker in the rack.
    pub fn leader_in(&self, topic_id: Uuid, partition: i32, rack: &str) -> Option<i32> {
        let leaders = self.leaders_in.get(rack)?;
        Some(leaders[self.group_of(topic_id, partition)])
    }

    /// The brokers that have a partition's records: one in each rack, and first the one that leads for all. All of them are in
    /// sync.
    pub fn replicas_for(&self, topic_id: Uuid, partition: i32) -> &[i32] {
        &self.replicas[self.group_of(topic_id, partition)]
    }

    /// How many replicas each partition has: one in each rack.
    pub(crate) fn replica_count(&self) -> usize {
        self.replicas.first().map_or(0, Vec::len)
    }

    /// How much memory and bytes on the wire the list of a partition's replicas takes in an answer, at most.
    pub(crate) fn replica_bytes(&self) -> usize {
        let racks = self.replica_count();
        // No allocation is smaller than 16 bytes.
        (racks * size_of::<i32>()).max(16) + racks * size_of::<i32>() + 4
    }

    /// Whether this broker leads a partition, for the clients of some rack or for all.
    pub fn serves(&self, topic_id: Uuid, partition: i32) -> bool {
        self.replicas_for(topic_id, partition).contains(&self.me)
    }

    /// The broker that clients are told to change the metadata at. Each could.
    pub fn controller(&self) -> i32 {
        self.nodes.first().map_or(self.me, |node| node.id)
    }

    /// The broker that leads a log group, for all.
    pub(crate) fn leader_of(&self, group: u16) -> i32 {
        // There is one entry, if there is one broker.
        let leader = self.leaders.get(usize::from(group));
        leader.or(self.leaders.first()).copied().unwrap_or(-1)
    }

    fn group_of(&self, topic_id: Uuid, partition: i32) -> usize {
        match u16::try_from(self.leaders.len()) {
            Ok(..2) | Err(_) => 0,
            Ok(groups) => {
                let LogGroup(group) = log_group_of(topic_id, partition, groups);
                usize::from(group)
            }
        }
    }
}

/// Who of these brokers leads a log group; -1: nobody is there.
fn leader(nodes: &[Node], group: u16) -> i32 {
    let ids = nodes.iter().map(|node| node.id);
    ids.max_by_key(|&id| weight(u32::from(group), id))
        .unwrap_or(-1)
}

/// For each of all brokers the one of a rack that leads in the rack what it leads for all.
///
/// A broker of the rack is its own partner. The others choose one after the other, each the partner of the largest hash among
/// those that are not full (consistent hashing with bounded loads: Mirrokni, Thorup and Zadimoghaddam, 2018). A broker is full
/// with a quarter more than its share: with less, one that goes would make many of the others choose anew.
fn partners(nodes: &[Node], rack: &[&Node]) -> BTreeMap<i32, i32> {
    let mut partners: BTreeMap<i32, i32> = rack.iter().map(|node| (node.id, node.id)).collect();
    let full = (5 * (nodes.len() - rack.len())).div_ceil(4 * rack.len());
    let mut free: Vec<(i32, usize)> = rack.iter().map(|node| (node.id, full)).collect();
    for node in nodes {
        if partners.contains_key(&node.id) {
            continue;
        }
        let open = free.iter_mut().filter(|(_, places)| *places > 0);
        // There are places for all.
        let Some((partner, places)) = open.max_by_key(|(id, _)| weight(node.id as u32, *id)) else {
            break;
        };
        *places -= 1;
        partners.insert(node.id, *partner);
    }
    partners
}

/// How much a broker is wanted for something; all brokers agree on it.
fn weight(what: u32, id: i32) -> (u64, i32) {
    (mix(u64::from(what) << 32 | u64::from(id as u32)), id)
}

/// The end of SplitMix64 (Steele, Lea and Flood, 2014). Fixed for ever, since brokers of two releases have to agree.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Who is there now. See the [module](self).
pub struct ClusterView {
    me: i32,
    now: ArcSwap<Members>,
    changes: watch::Sender<()>,
}

impl ClusterView {
    /// A cluster of one.
    pub fn alone(id: i32, rack: Option<Arc<str>>) -> Self {
        let me = Node {
            id,
            rack,
            endpoints: BTreeMap::new(),
        };
        Self::of(Members::new(id, vec![me], 1))
    }

    /// A cluster as it is at the beginning.
    pub(crate) fn of(members: Members) -> Self {
        Self {
            me: members.me,
            now: ArcSwap::from_pointee(members),
            changes: watch::Sender::new(()),
        }
    }

    /// From now on `chief` does everything.
    #[cfg(test)]
    pub(crate) fn lead(&self, chief: i32) {
        self.show(Members::led_by(self.me, chief));
    }

    /// These brokers do everything, in a cluster of so many log groups, and clients are told of the `others`, too. Says whether that
    /// is new. Who leads is found out only then: it takes all brokers times all groups, and somebody looks every few milliseconds.
    pub(crate) fn follow(&self, mut nodes: Vec<Node>, others: Vec<Node>, groups: u16) -> bool {
        nodes.sort_unstable_by_key(|node| node.id);
        let mut listed = nodes.clone();
        listed.extend(others);
        // The sort is stable: of two with one id the one that does something is told of.
        listed.sort_by_key(|node| node.id);
        listed.dedup_by_key(|node| node.id);
        let now = self.now.load();
        let is_new = now.nodes != nodes || now.listed != listed;
        if is_new {
            let members = Members::new(self.me, nodes, groups);
            self.show(Members { listed, ..members });
        }
        is_new
    }

    fn show(&self, members: Members) {
        self.now.store(Arc::new(members));
        self.changes.send_replace(());
    }

    /// This broker's id.
    pub fn me(&self) -> i32 {
        self.me
    }

    /// Who is there at this moment. Load it once per request: two moments may differ.
    pub fn now(&self) -> Arc<Members> {
        self.now.load_full()
    }

    /// The broker that leads a partition for clients in `rack`, at this moment.
    pub fn leader_for(&self, topic_id: Uuid, partition: i32, rack: Option<&str>) -> i32 {
        self.now.load().leader_for(topic_id, partition, rack)
    }

    /// Sees every change of who is there and who does what.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const GROUPS: u16 = 64;

    fn node(id: i32, rack: Option<&str>) -> Node {
        Node {
            id,
            rack: rack.map(Arc::from),
            endpoints: BTreeMap::new(),
        }
    }

    fn members(nodes: &[(i32, Option<&str>)]) -> Members {
        let nodes = nodes.iter().map(|(id, rack)| node(*id, *rack));
        Members::new(1, nodes.collect(), GROUPS)
    }

    fn leaders(members: &Members, rack: Option<&str>) -> Vec<i32> {
        let topic_id = Uuid::from_u128(7);
        let partitions = 0..1000;
        partitions
            .map(|partition| members.leader_for(topic_id, partition, rack))
            .collect()
    }

    #[test]
    fn all_brokers_agree_on_who_leads_and_share_the_work() {
        let nodes = [(1, None), (2, None), (3, None)];
        let one = members(&nodes);
        let reversed = nodes.iter().rev().map(|(id, rack)| node(*id, *rack));
        let other = Members::new(2, reversed.collect(), GROUPS);
        assert_eq!(leaders(&one, None), leaders(&other, None));
        for (id, _) in nodes {
            let led = leaders(&one, None).iter().filter(|&&led| led == id).count();
            assert!((150..550).contains(&led), "{id} leads {led} of 1000");
        }
    }

    #[test]
    fn when_a_broker_goes_only_its_partitions_move() {
        let before = leaders(&members(&[(1, None), (2, None), (3, None)]), None);
        let after = leaders(&members(&[(1, None), (3, None)]), None);
        for (before, after) in before.iter().zip(&after) {
            assert!(before == after || *before == 2, "{before} to {after}");
        }
    }

    #[test]
    fn a_rack_has_leaders_of_its_own_and_one_of_them_leads_for_all() {
        let (a, b) = (Some("a"), Some("b"));
        let members = members(&[(1, a), (2, a), (3, b), (4, b), (5, None)]);
        let topic_id = Uuid::from_u128(7);
        for partition in 0..100 {
            let leader = |rack| members.leader_for(topic_id, partition, rack);
            assert!([1, 2].contains(&leader(a)) && [3, 4].contains(&leader(b)));
            assert_eq!(leader(Some("elsewhere")), leader(None));
            let replicas = members.replicas_for(topic_id, partition);
            assert_eq!(replicas[0], leader(None));
            let mut sorted = replicas.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [leader(a), leader(b), 5]);
        }
    }

    /// Thirty brokers in three racks, but for those that are gone.
    fn racked(gone: &[i32]) -> Members {
        let racks = ["a", "b", "c"].map(Some);
        let there = (0..30).filter(|id| !gone.contains(id));
        let nodes: Vec<_> = there.map(|id| (id, racks[id as usize % 3])).collect();
        let nodes = nodes.iter().map(|(id, rack)| node(*id, *rack));
        Members::new(0, nodes.collect(), 1024)
    }

    #[test]
    fn what_a_broker_leads_has_one_leader_in_each_rack_and_none_of_them_has_too_much_to_do() {
        let members = racked(&[]);
        for leaders in members.leaders_in.values() {
            let pairs: BTreeSet<(i32, i32)> = members
                .leaders
                .iter()
                .copied()
                .zip(leaders.iter().copied())
                .collect();
            assert_eq!(pairs.len(), 30, "one partner each");
            for id in leaders {
                let partners = pairs.iter().filter(|(_, partner)| partner == id);
                assert!(partners.count() <= 4, "{id}: itself, and three at most");
            }
        }
    }

    #[test]
    fn when_a_broker_goes_few_leaders_of_racks_change() {
        let before = racked(&[]);
        let mut moved = 0;
        for gone in 0..30 {
            let after = racked(&[gone]);
            for (rack, leaders) in &before.leaders_in {
                let pairs = leaders.iter().zip(&after.leaders_in[rack]);
                moved += pairs.filter(|(before, after)| before != after).count();
            }
        }
        // Of 3 racks with 1024 groups each it leads a thirtieth for all, which has other leaders in all racks then. In its own
        // rack it had a partner's work, too; and what others could not give to their first choice moves up.
        let each = 3.0 * 1024.0 / 30.0;
        let share = moved as f64 / 30.0 / each;
        assert!(share < 3.0, "{share}");
    }

    #[test]
    fn who_leads_is_the_same_in_all_releases() {
        let members = members(&[(1, None), (2, None), (3, None)]);
        let leaders = leaders(&members, None);
        assert_eq!(
            leaders[..8],
            [3, 1, 2, 3, 3, 1, 1, 1],
            "brokers of two releases have to agree"
        );
    }

    #[test]
    fn brokers_that_were_there_before_are_no_change() {
        let there = |ids: &[i32]| ids.iter().map(|id| node(*id, None)).collect::<Vec<_>>();
        let view = ClusterView::of(Members::new(1, Vec::new(), GROUPS));
        let changes = view.watch();
        assert!(!view.follow(Vec::new(), Vec::new(), GROUPS));
        assert!(view.follow(there(&[1, 2]), Vec::new(), GROUPS));
        let before = view.now();
        assert!(!view.follow(there(&[2, 1]), Vec::new(), GROUPS));
        assert!(Arc::ptr_eq(&before, &view.now()));
        assert!(changes.has_changed().expect("the view is there"));
        let elsewhere = vec![node(1, None), node(2, Some("a"))];
        assert!(view.follow(elsewhere, Vec::new(), GROUPS));
        assert!(view.follow(there(&[1]), Vec::new(), GROUPS));
        assert!(view.now().is_alone());
    }

    /// `cargo test --release --workspace --lib -- --ignored --nocapture a_view_of_a_thousand_brokers`
    #[test]
    #[ignore = "a measurement, of an optimised build"]
    fn a_view_of_a_thousand_brokers() {
        let racks = ["a", "b", "c"].map(Arc::<str>::from);
        let nodes = |count: i32| {
            let node = |id: i32| Node {
                id,
                rack: Some(Arc::clone(&racks[id as usize % 3])),
                endpoints: BTreeMap::new(),
            };
            (0..count).map(node).collect::<Vec<_>>()
        };
        for brokers in [100, 1000] {
            let groups = brokers as u16 * 10;
            let view = ClusterView::of(Members::new(0, Vec::new(), groups));
            for what in ["new", "the same"] {
                let nodes = nodes(brokers);
                let began = std::time::Instant::now();
                view.follow(nodes, Vec::new(), groups);
                println!("{brokers} brokers, {what}: {:?}", began.elapsed());
            }
        }
    }

    #[test]
    fn a_broker_that_is_not_there_serves_nothing() {
        let members = Members::new(1, vec![node(2, None), node(3, None)], GROUPS);
        assert!(!members.is_alone());
        assert!((0..100).all(|partition| !members.serves(Uuid::from_u128(7), partition)));
    }

    #[test]
    fn brokers_without_a_client_s_listener_are_not_shown_to_it() {
        let address = |host: &str| HostPort {
            host: host.to_owned(),
            port: 9092,
        };
        let reached = |id, listener: &str| Node {
            endpoints: BTreeMap::from([(listener.to_owned(), address("there"))]),
            ..node(id, None)
        };
        let nodes = vec![
            reached(1, "INSIDE"),
            reached(2, "INSIDE"),
            reached(3, "OUTSIDE"),
        ];
        let members = Members::new(1, nodes, GROUPS);
        let own = ClientListener {
            name: "INSIDE".to_owned(),
            ..ClientListener::plaintext(address("here"))
        };
        let shown = members.brokers(&own).map(|broker| (broker.id, broker.host));
        assert_eq!(shown.collect::<Vec<_>>(), [(1, "here"), (2, "there")]);
    }
}
