//! A step whose records do not fit into one batch is appended in several: a crash may leave its beginning. Then a load and
//! the next heartbeats lead to where the whole step would have.

use super::{mixed::*, *};

/// A group, and what its members believe.
struct Members {
    cx: TestContext,
    classic: Vec<Classic>,
    consumers: Vec<Consumer>,
}

impl Members {
    fn consumers(count: usize) -> Self {
        let mut cx = context();
        Self {
            consumers: cx.settled("g", count),
            classic: Vec::new(),
            cx,
        }
    }

    /// A heartbeat of everybody, as stock clients send it: who is not known any more joins again.
    fn beat(&mut self) {
        for consumer in &mut self.consumers {
            let reply = self.cx.consumer_heartbeat(ConsumerHeartbeat {
                owned: Some(Vec::new())
                    .filter(|_| consumer.epoch == 0)
                    .or(consumer.full().owned),
                ..consumer.full()
            });
            match reply.refusal {
                None => {
                    consumer.epoch = reply.member_epoch;
                    consumer.owned = reply
                        .assignment
                        .unwrap_or(std::mem::take(&mut consumer.owned));
                }
                Some(_) => (consumer.epoch, consumer.owned) = (0, Partitions::new()),
            }
        }
        for member in &mut self.classic {
            if self.cx.beat_as(member).is_none() {
                continue;
            }
            let reply = self.cx.join_as(member);
            match reply.error {
                None => assert_eq!(self.cx.sync_as(member), None),
                Some(_) => *member = Classic::new("g", &["t"]),
            }
        }
    }

    /// Every partition has one owner, and nobody has none.
    fn assert_settled(&mut self, what: &str) {
        // Longer than a session: who has left halfway is gone.
        for _ in 0..20 {
            self.beat();
            self.cx.advance(5_000);
        }
        let consumers = self.consumers.iter().map(|one| &one.owned);
        let all: Vec<&Partitions> = consumers
            .chain(self.classic.iter().map(|one| &one.owned))
            .collect();
        let sizes = all
            .iter()
            .map(|owned| owned.values().map(|indexes| indexes.len()).sum::<usize>());
        let sizes: Vec<usize> = sizes.collect();
        let mut owned: Vec<i32> = all
            .iter()
            .flat_map(|owned| owned.values().flatten().copied())
            .collect();
        owned.sort_unstable();
        assert_eq!(owned, (0..6).collect::<Vec<_>>(), "{what}: {sizes:?}");
        let share = 6 / sizes.len();
        assert!(sizes.iter().all(|size| *size >= share), "{what}: {sizes:?}");
        assert_eq!(self.cx.describe_consumer("g").state, "Stable", "{what}");
    }
}

/// Ends the log behind each record of a step but the last.
fn torn(what: &str, prepare: impl Fn() -> Members, step: impl Fn(&mut Members)) {
    let mut tried = 0;
    for cut in 1.. {
        let mut members = prepare();
        members.cx.hold = true;
        step(&mut members);
        let count = members.cx.in_flight_records();
        if cut >= count {
            break;
        }
        members.cx.crash_behind(cut);
        members.cx.hold = false;
        members.assert_settled(&format!("{what}, cut behind record {cut} of {count}"));
        tried += 1;
    }
    assert!(tried > 1, "{what} is one record");
}

#[test]
fn a_target_that_is_half_written_is_computed_anew() {
    torn(
        "a join",
        || Members::consumers(3),
        |members| {
            let new = Consumer::new("g", "new", &["t"]);
            members
                .cx
                .send(GroupRequest::ConsumerHeartbeat(ConsumerHeartbeat {
                    owned: Some(Vec::new()),
                    ..new.full()
                }));
            members.consumers.push(new);
        },
    );
    torn(
        "a leave",
        || Members::consumers(4),
        |members| {
            let gone = members.consumers.pop().unwrap();
            members
                .cx
                .send(GroupRequest::ConsumerHeartbeat(ConsumerHeartbeat {
                    member_epoch: -1,
                    ..gone.quiet()
                }));
            let next = members.consumers[0].full();
            members.cx.send(GroupRequest::ConsumerHeartbeat(next));
        },
    );
}

#[test]
fn a_classic_group_that_has_half_become_a_consumer_group_finds_itself_again() {
    let classic = || {
        let mut cx = context();
        Members {
            classic: cx.classic_group("g", 2),
            consumers: Vec::new(),
            cx,
        }
    };
    torn("an upgrade", classic, |members| {
        let new = Consumer::new("g", "new", &["t"]);
        members
            .cx
            .send(GroupRequest::ConsumerHeartbeat(ConsumerHeartbeat {
                owned: Some(Vec::new()),
                ..new.full()
            }));
        members.consumers.push(new);
    });
}
