//! The rules of the consumer protocol (KIP-848), each as a sentence.

mod commits;
mod emptied;
mod join;
mod migration;
mod migration_refusals;
mod mixed;
mod random;
mod random_mixed;
mod reconcile;
mod record;
mod scale;
mod static_members;
mod target;
mod tools;
mod topics;
mod torn;

use super::context::*;
use crate::group::*;

/// A consumer, as far as it knows about itself.
#[derive(Debug, Clone)]
struct Consumer {
    group: &'static str,
    member_id: MemberId,
    epoch: i32,
    instance_id: Option<InstanceId>,
    topics: Vec<Name>,
    regex: Option<Name>,
    /// What it has been given and not given up.
    owned: Partitions,
}

impl Consumer {
    fn new(group: &'static str, member_id: &str, topics: &[&str]) -> Self {
        Self {
            group,
            member_id: member_id.into(),
            epoch: 0,
            instance_id: None,
            topics: topics.iter().map(|&name| name.into()).collect(),
            regex: None,
            owned: Partitions::new(),
        }
    }

    fn named(mut self, instance_id: &str) -> Self {
        self.instance_id = Some(instance_id.into());
        self
    }

    /// How many partitions it has.
    fn size(&self) -> usize {
        self.owned.values().map(|partitions| partitions.len()).sum()
    }

    /// A heartbeat that says nothing but that the member is there.
    fn quiet(&self) -> ConsumerHeartbeat {
        ConsumerHeartbeat {
            group_id: self.group.into(),
            member_id: self.member_id.clone(),
            member_epoch: self.epoch,
            instance_id: self.instance_id.clone(),
            rack_id: None,
            rebalance_timeout_ms: -1,
            client_id: "client".into(),
            client_host: "/127.0.0.1".into(),
            viewer: Viewer::anonymous(),
            subscribed_topic_names: None,
            subscribed_topic_regex: None,
            resolved: None,
            server_assignor: None,
            owned: None,
            api_version: 1,
            member_uuid: uuid::Uuid::from_u128(7),
        }
    }

    /// A heartbeat that says everything.
    fn full(&self) -> ConsumerHeartbeat {
        let owned = self.owned.iter();
        ConsumerHeartbeat {
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(self.topics.clone()),
            subscribed_topic_regex: self.regex.clone(),
            owned: Some(
                owned
                    .map(|(topic_id, partitions)| (*topic_id, partitions.iter().copied().collect()))
                    .collect(),
            ),
            ..self.quiet()
        }
    }
}

/// A context with a topic `t` of six partitions.
fn context() -> TestContext {
    let mut cx = TestContext::with_config(GroupConfig {
        consumer_assignment_interval_ms: 0,
        consumer_regex_refresh_min_interval_ms: 0,
        ..GroupConfig::default()
    });
    cx.set_catalog(|catalog| catalog.put("t", 6));
    cx
}

impl TestContext {
    fn consumer_heartbeat(&mut self, request: ConsumerHeartbeat) -> ConsumerHeartbeatReply {
        let token = self.send(GroupRequest::ConsumerHeartbeat(request));
        match self.reply(token) {
            GroupReply::ConsumerHeartbeat(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    fn refused(&mut self, request: ConsumerHeartbeat) -> ErrorCode {
        let reply = self.consumer_heartbeat(request);
        reply.refusal.expect("a refusal").error
    }

    /// One heartbeat of a well-behaved consumer: gives up at once what it is told to.
    fn beat(&mut self, consumer: &mut Consumer) {
        let request = match consumer.epoch {
            0 => ConsumerHeartbeat {
                owned: Some(Vec::new()),
                ..consumer.full()
            },
            _ => consumer.full(),
        };
        let reply = self.consumer_heartbeat(request);
        assert_eq!(reply.refusal, None);
        consumer.epoch = reply.member_epoch;
        if let Some(assignment) = reply.assignment {
            consumer.owned = assignment;
        }
    }

    /// Heartbeats of all until nothing changes any more. Once may be too early: what expressions match is known after an
    /// answer.
    fn settle(&mut self, consumers: &mut [Consumer]) {
        let mut was_quiet = false;
        for _ in 0..20 {
            let before: Vec<_> = consumers
                .iter()
                .map(|one| (one.epoch, one.owned.clone()))
                .collect();
            consumers
                .iter_mut()
                .for_each(|consumer| self.beat(consumer));
            let after: Vec<_> = consumers
                .iter()
                .map(|one| (one.epoch, one.owned.clone()))
                .collect();
            let is_quiet = before == after;
            if is_quiet && was_quiet {
                return;
            }
            was_quiet = is_quiet;
        }
        panic!("the group does not settle: {consumers:?}");
    }

    /// Consumers of topic `t`, joined and settled.
    fn settled(&mut self, group: &'static str, count: usize) -> Vec<Consumer> {
        let mut consumers: Vec<Consumer> = (0..count)
            .map(|number| Consumer::new(group, &format!("m{number}"), &["t"]))
            .collect();
        self.settle(&mut consumers);
        consumers
    }

    fn leave_consumer(&mut self, consumer: &Consumer, epoch: i32) -> ConsumerHeartbeatReply {
        self.consumer_heartbeat(ConsumerHeartbeat {
            member_epoch: epoch,
            ..consumer.quiet()
        })
    }

    fn describe_consumer(&mut self, group: &str) -> DescribedConsumerGroup {
        let request = DescribeConsumerGroups {
            group_ids: vec![group.into()],
            allowance: Allowance::unlimited(),
        };
        let token = self.send(GroupRequest::DescribeConsumerGroups(request));
        match self.reply(token) {
            GroupReply::DescribeConsumerGroups(mut groups) => groups.remove(0),
            other => panic!("{other:?}"),
        }
    }
}

fn sizes(consumers: &[Consumer]) -> Vec<usize> {
    consumers.iter().map(Consumer::size).collect()
}
