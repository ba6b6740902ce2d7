//! Which brokers there are, and which of them does what.
//!
//! A handler may not assume that this broker leads a partition or coordinates a group. It asks here. There is one
//! implementation, for one machine, where this broker does everything.

use std::sync::Arc;

use tokio::sync::watch;
use uuid::Uuid;

use crate::config::HostPort;

/// A broker of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: i32,
    pub rack: Option<Arc<str>>,
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

/// See the [module](self).
pub struct ClusterView {
    me: Node,
    /// Who leads, coordinates and controls everything.
    chief: Node,
    changes: watch::Sender<()>,
}

impl ClusterView {
    /// A cluster of one.
    pub fn alone(me: Node) -> Self {
        let chief = me.clone();
        Self::led_by(me, chief)
    }

    /// A cluster in which `chief` does everything.
    pub(crate) fn led_by(me: Node, chief: Node) -> Self {
        Self {
            me,
            chief,
            changes: watch::Sender::new(()),
        }
    }

    /// This broker's id.
    pub fn me(&self) -> i32 {
        self.me.id
    }

    /// The ids of all brokers.
    pub fn broker_ids(&self) -> impl Iterator<Item = i32> {
        self.nodes().map(|node| node.id)
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        let others = std::iter::once(&self.chief).filter(|chief| chief.id != self.me.id);
        std::iter::once(&self.me).chain(others)
    }

    /// All brokers, for a client whose listener advertises `own`: each as a client of that listener reaches it.
    pub fn brokers<'a>(&'a self, own: &'a HostPort) -> impl Iterator<Item = Endpoint<'a>> {
        self.nodes().map(|node| Endpoint {
            id: node.id,
            rack: node.rack.as_deref(),
            host: &own.host,
            port: own.port,
        })
    }

    /// The broker that leads a partition for clients in `rack`.
    pub fn leader_for(&self, _topic_id: Uuid, _partition: i32, _rack: Option<&str>) -> i32 {
        self.chief.id
    }

    /// The brokers that have a partition's records. All of them are in sync.
    pub fn replicas_for(&self, _topic_id: Uuid, _partition: i32) -> &[i32] {
        std::slice::from_ref(&self.chief.id)
    }

    /// The broker that coordinates the group or the transactional id of this name.
    pub fn coordinator_for(&self, _kind: CoordinatorKind, _key: &str) -> i32 {
        self.chief.id
    }

    /// The broker that changes the metadata.
    pub fn controller(&self) -> i32 {
        self.chief.id
    }

    /// Sees every change of who is there and who does what.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}
