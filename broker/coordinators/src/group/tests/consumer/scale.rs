//! A large group: what a heartbeat costs, and how many of them it takes to settle.

#![expect(clippy::disallowed_methods, reason = "a stopwatch")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::*;

const MEMBERS: usize = 1000;

fn beat(
    shard: &mut GroupShard,
    now: &Moment<dyn Catalog>,
    request: ConsumerHeartbeat,
) -> ConsumerHeartbeatReply {
    let request = GroupRequest::ConsumerHeartbeat(request);
    let mut effects = shard.handle(now, Token(0), request);
    let mut replies = std::mem::take(&mut effects.replies);
    for asked in targets_asked(effects) {
        let question = asked.upgrade().expect("the group waits for it");
        shard.outcome(now, Outcome::Target(question.compute()));
    }
    match replies.pop() {
        Some((_, GroupReply::ConsumerHeartbeat(reply))) if reply.refusal.is_none() => reply,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_thousand_members_settle_within_four_rounds_of_heartbeats_and_each_is_cheap() {
    let mut catalog = TestCatalog::default();
    catalog.put("t", MEMBERS as i32);
    let mut shard = GroupShard::new(GroupConfig::default());
    let catalog: Arc<dyn Catalog> = Arc::new(catalog);
    let mut members: Vec<Consumer> = (0..MEMBERS)
        .map(|number| Consumer::new("g", &format!("m{number}"), &["t"]))
        .collect();
    let mut now_ms = 0;
    let started = Instant::now();
    let mut beats = 0;
    for member in &mut members {
        now_ms += 2;
        beats += 1;
        let reply = beat(&mut shard, &at(now_ms, &catalog), member.full());
        member.epoch = reply.member_epoch;
        member.owned = reply.assignment.expect("the answer to a join");
    }
    for _ in 0..4 {
        now_ms += 3_000;
        for member in &mut members {
            now_ms += 2;
            let mut request = member.quiet();
            // A client that has given something up, or taken something over, says so at once.
            loop {
                beats += 1;
                let reply = beat(&mut shard, &at(now_ms, &catalog), request);
                member.epoch = reply.member_epoch;
                let Some(assignment) = reply.assignment else {
                    break;
                };
                member.owned = assignment;
                let owned = member.full().owned;
                request = ConsumerHeartbeat {
                    owned,
                    ..member.quiet()
                };
            }
        }
    }
    assert!(members.iter().all(|member| member.size() == 1));
    let each = started.elapsed() / beats;
    println!("{beats} heartbeats, {each:?} each");
    assert!(each < Duration::from_millis(10), "{each:?}");

    let quiet = Instant::now();
    for member in &members {
        beat(&mut shard, &at(now_ms, &catalog), member.quiet());
    }
    let each = quiet.elapsed() / MEMBERS as u32;
    println!("a quiet heartbeat: {each:?}");
    assert!(each < Duration::from_millis(1), "{each:?}");
}
