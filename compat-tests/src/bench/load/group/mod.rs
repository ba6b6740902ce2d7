//! Groups of consumers: each member a task that joins, holds what it is given, and sends heartbeats.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use kafka_protocol::messages::GroupId;
use kafka_protocol::protocol::StrBytes;
use tokio::task::{AbortHandle, JoinSet, LocalSet};
use tokio::time::timeout;

use self::board::Board;
use crate::RawClient;
use crate::bench::admin::Topic;
use crate::bench::async_client::AsyncClient;

mod board;
mod classic;
mod consumer;

const HEARTBEAT_VERSION: i16 = 4;
const STABLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Between becoming stable and the death.
const QUIET: Duration = Duration::from_secs(2);

/// How a group agrees on who has what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// JoinGroup and SyncGroup; the leader assigns ranges.
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848); the broker assigns.
    Consumer,
}

/// A group and the topic that all of its members read.
#[derive(Clone, Debug)]
pub struct GroupLoad {
    pub protocol: Protocol,
    pub id: String,
    pub topic: Topic,
    pub topic_id: uuid::Uuid,
    pub members: usize,
    /// After so much silence a member is dead. With [`Protocol::Consumer`] the broker's configuration says it.
    pub session_timeout: Duration,
    /// With [`Protocol::Consumer`] the broker's configuration says it.
    pub heartbeat_interval: Duration,
}

/// How long the group was not stable.
pub struct Rebalances {
    /// From the first join until all members had their share.
    pub first_join: Duration,
    /// From when the session of a member that fell silent ended until the others had its share.
    pub death: Duration,
}

impl GroupLoad {
    /// Lets all members join at once, waits until all is assigned, and lets one of them fall silent.
    ///
    /// # Errors
    /// A request fails, a partition has two owners, or the group does not become stable.
    pub fn run(&self, address: SocketAddr) -> Result<Rebalances> {
        RawClient::connect(address)?.to_coordinator(&self.id)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        LocalSet::new().block_on(&runtime, self.rebalance(address))
    }

    async fn rebalance(&self, address: SocketAddr) -> Result<Rebalances> {
        let board = Board::new(self.members, self.topic.partitions)?;
        let mut clients = Vec::new();
        for _ in 0..self.members {
            clients.push(AsyncClient::connect(address).await?);
        }
        let start = Instant::now();
        let mut members = JoinSet::new();
        let mut handles: Vec<AbortHandle> = Vec::new();
        for (index, client) in clients.into_iter().enumerate() {
            let (load, place) = (self.clone(), board.place(index));
            handles.push(members.spawn_local(async move {
                match load.protocol {
                    Protocol::Classic => classic::be_member(&load, client, place).await,
                    Protocol::Consumer => consumer::be_member(&load, client, place).await,
                }
                .with_context(|| format!("member {index}"))
            }));
        }
        let stable_at = stable(&board, &mut members).await?;
        let first_join = stable_at - start;

        let quiet = timeout(QUIET, members.join_next()).await;
        ensure!(quiet.is_err(), "a member has ended: {quiet:?}");
        ensure!(
            board.stable_since() == Some(stable_at),
            "the group did not stay stable"
        );
        let victim = self.members / 2;
        handles[victim].abort();
        let session_end = board.bury(victim) + self.session_timeout;
        let stable_again = stable(&board, &mut members).await?;
        let death = stable_again
            .checked_duration_since(session_end)
            .context("the member was declared dead before its session timeout")?;
        Ok(Rebalances { first_join, death })
    }
}

/// Waits until every partition has its owner.
async fn stable(board: &Board, members: &mut JoinSet<Result<()>>) -> Result<Instant> {
    let wait = async {
        loop {
            tokio::select! {
                stable_since = board.stable() => return Ok(stable_since),
                Some(ended) = members.join_next() => match ended {
                    Ok(Ok(())) => bail!("a member has left"),
                    Ok(Err(error)) => return Err(error),
                    Err(error) => ensure!(error.is_cancelled(), "a member panicked"),
                },
            }
        }
    };
    timeout(STABLE_TIMEOUT, wait)
        .await
        .with_context(|| format!("not stable in {STABLE_TIMEOUT:?}: {}", board.describe()))?
}

fn group_id(id: &str) -> GroupId {
    GroupId(StrBytes::from_string(id.to_owned()))
}
