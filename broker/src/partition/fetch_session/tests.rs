use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::protocol::StrBytes;

use super::*;

fn request(session_id: i32, epoch: i32, partitions: &[i32]) -> FetchRequest {
    let partitions: Vec<_> = partitions
        .iter()
        .map(|p| {
            FetchPartition::default()
                .with_partition(*p)
                .with_partition_max_bytes(1)
        })
        .collect();
    let topics = if partitions.is_empty() {
        Vec::new()
    } else {
        let name = StrBytes::from_static_str("t");
        vec![
            FetchTopic::default()
                .with_topic(name.into())
                .with_partitions(partitions),
        ]
    };
    FetchRequest::default()
        .with_session_id(session_id)
        .with_session_epoch(epoch)
        .with_topics(topics)
}

fn outcome(has_records: bool, high_watermark: i64) -> Outcome {
    Outcome {
        has_records,
        failed: false,
        told: Told {
            high_watermark,
            log_start_offset: 0,
        },
    }
}

fn ids() -> impl FnMut() -> i32 {
    let mut last = 0;
    move || {
        last += 1;
        last
    }
}

fn principal(name: &str) -> Principal {
    Principal {
        kind: "User".into(),
        name: name.into(),
    }
}

fn ann() -> Principal {
    principal("ann")
}

fn wanted(plan: &FetchPlan) -> Vec<i32> {
    plan.partitions
        .iter()
        .map(|wanted| wanted.partition)
        .collect()
}

/// A cache with one session of partitions 0 and 1, of which both high watermarks are told.
fn with_session() -> FetchSessionCache {
    let cache = FetchSessionCache::new(1);
    let plan = cache
        .plan(&request(0, 0, &[0, 1]), 12, &ann(), 0, ids())
        .unwrap();
    assert_eq!(plan.session_id, 1);
    assert_eq!(
        cache.conclude(&plan, &[outcome(false, 5), outcome(false, 5)]),
        [true, true]
    );
    cache
}

#[test]
fn a_full_fetch_answers_every_partition_and_an_incremental_one_only_news() {
    let cache = with_session();
    let plan = cache
        .plan(&request(1, 1, &[]), 12, &ann(), 0, ids())
        .unwrap();
    assert!(plan.incremental);
    assert_eq!(wanted(&plan), [0, 1]);
    let news = cache.conclude(&plan, &[outcome(false, 5), outcome(false, 6)]);
    assert_eq!(
        news,
        [false, true],
        "the high watermark of partition 1 moved"
    );
}

#[test]
fn the_epoch_counts_every_fetch_and_a_wrong_one_is_refused() {
    let cache = with_session();
    assert!(
        cache
            .plan(&request(1, 1, &[]), 12, &ann(), 0, ids())
            .is_ok()
    );
    let again = cache.plan(&request(1, 1, &[]), 12, &ann(), 0, ids());
    assert_eq!(again.unwrap_err(), ErrorCode::InvalidFetchSessionEpoch);
    assert!(
        cache
            .plan(&request(1, 2, &[]), 12, &ann(), 0, ids())
            .is_ok()
    );
    assert_eq!(
        next_epoch(i32::MAX),
        1,
        "epochs wrap past the ones with a meaning"
    );
}

#[test]
fn an_unknown_session_and_a_change_from_names_to_ids_are_refused() {
    let cache = with_session();
    let unknown = cache.plan(&request(9, 1, &[]), 12, &ann(), 0, ids());
    assert_eq!(unknown.unwrap_err(), ErrorCode::FetchSessionIdNotFound);
    let by_id = cache.plan(&request(1, 1, &[]), 13, &ann(), 0, ids());
    assert_eq!(by_id.unwrap_err(), ErrorCode::FetchSessionTopicIdError);
}

#[test]
fn partitions_are_added_and_forgotten_in_place() {
    let cache = with_session();
    let forgotten = ForgottenTopic::default()
        .with_topic(StrBytes::from_static_str("t").into())
        .with_partitions(vec![0]);
    let request = request(1, 1, &[2]).with_forgotten_topics_data(vec![forgotten]);
    let plan = cache.plan(&request, 12, &ann(), 0, ids()).unwrap();
    assert_eq!(wanted(&plan), [1, 2]);
}

#[test]
fn a_partition_that_gave_records_goes_to_the_end() {
    let cache = with_session();
    let plan = cache
        .plan(&request(1, 1, &[]), 12, &ann(), 0, ids())
        .unwrap();
    cache.conclude(&plan, &[outcome(true, 6), outcome(false, 5)]);
    let plan = cache
        .plan(&request(1, 2, &[]), 12, &ann(), 0, ids())
        .unwrap();
    assert_eq!(wanted(&plan), [1, 0]);
}

#[test]
fn a_failed_partition_is_named_until_it_succeeds() {
    let cache = with_session();
    let failed = || Outcome {
        failed: true,
        ..outcome(false, -1)
    };
    for epoch in 1..3 {
        let plan = cache
            .plan(&request(1, epoch, &[]), 12, &ann(), 0, ids())
            .unwrap();
        assert_eq!(
            cache.conclude(&plan, &[failed(), outcome(false, 5)]),
            [true, false]
        );
    }
    let plan = cache
        .plan(&request(1, 3, &[]), 12, &ann(), 0, ids())
        .unwrap();
    assert_eq!(
        cache.conclude(&plan, &[outcome(false, 5), outcome(false, 5)]),
        [true, false]
    );
}

#[test]
fn without_a_free_slot_there_is_no_session_until_one_has_been_idle_for_two_minutes() {
    let cache = with_session();
    let mut next = ids();
    next();
    let plan = cache
        .plan(&request(0, 0, &[0]), 12, &ann(), EVICTION_MS - 1, &mut next)
        .unwrap();
    assert_eq!((plan.session_id, plan.incremental), (0, false));
    let plan = cache
        .plan(&request(0, 0, &[0]), 12, &ann(), EVICTION_MS, &mut next)
        .unwrap();
    assert_eq!(plan.session_id, 2);
    let evicted = cache.plan(&request(1, 1, &[]), 12, &ann(), EVICTION_MS, ids());
    assert_eq!(evicted.unwrap_err(), ErrorCode::FetchSessionIdNotFound);
}

#[test]
fn the_final_epoch_closes_the_session_and_fetches_once_more() {
    let cache = with_session();
    let plan = cache
        .plan(&request(1, FINAL_EPOCH, &[0]), 12, &ann(), 0, ids())
        .unwrap();
    assert_eq!((plan.session_id, wanted(&plan)), (0, vec![0]));
    let closed = cache.plan(&request(1, 1, &[]), 12, &ann(), 0, ids());
    assert_eq!(closed.unwrap_err(), ErrorCode::FetchSessionIdNotFound);
}

/// A cache with a session of so many partitions, all told.
fn with_large_session(count: i32) -> FetchSessionCache {
    let cache = FetchSessionCache::new(1);
    let all: Vec<i32> = (0..count).collect();
    let plan = cache
        .plan(&request(0, 0, &all), 12, &ann(), 0, ids())
        .unwrap();
    let outcomes: Vec<_> = all.iter().map(|_| outcome(false, 5)).collect();
    cache.conclude(&plan, &outcomes);
    cache
}

fn steps(cache: &FetchSessionCache) -> usize {
    cache
        .find(1)
        .map_or(0, |slot| slot.session.lock().partitions.steps)
}

fn forget(partitions: Vec<i32>) -> Vec<ForgottenTopic> {
    let name = StrBytes::from_static_str("t");
    vec![
        ForgottenTopic::default()
            .with_topic(name.into())
            .with_partitions(partitions),
    ]
}

#[test]
fn the_work_for_a_fetch_grows_no_faster_than_what_it_names_and_remembers() {
    // Entries looked at for each partition; a list that is shifted would need some thousand.
    const STEPS_EACH: usize = 8;
    for count in [1_000, 4_000, 16_000] {
        let all: Vec<i32> = (0..count).collect();
        let allowed = STEPS_EACH * count as usize;

        let cache = with_large_session(count);
        let mut before = steps(&cache);
        assert!(before <= allowed, "begin: {before} steps");
        // All of them busy, again and again.
        for epoch in 1..20 {
            let plan = cache
                .plan(&request(1, epoch, &[]), 12, &ann(), 0, ids())
                .unwrap();
            let busy: Vec<_> = all.iter().map(|_| outcome(true, 5)).collect();
            assert_eq!(cache.conclude(&plan, &busy).len(), count as usize);
            let after = steps(&cache);
            assert!(after - before <= allowed, "fetch: {} steps", after - before);
            before = after;
        }
        // All but one forgotten in one request, first to last and last to first.
        for backwards in [false, true] {
            let cache = with_large_session(count);
            let before = steps(&cache);
            let mut forgotten: Vec<i32> = all[1..].to_vec();
            if backwards {
                forgotten.reverse();
            }
            let request = request(1, 1, &[]).with_forgotten_topics_data(forget(forgotten));
            let plan = cache.plan(&request, 12, &ann(), 0, ids()).unwrap();
            assert_eq!(wanted(&plan), [0]);
            let taken = steps(&cache) - before;
            assert!(taken <= allowed, "forget: {taken} steps");
        }
    }
}

#[test]
fn a_partition_that_is_named_twice_is_fetched_once_as_it_was_named_last() {
    for epoch in [INITIAL_EPOCH, FINAL_EPOCH] {
        let cache = FetchSessionCache::new(1);
        let mut twice = request(0, epoch, &[3, 4, 3]);
        twice.topics[0].partitions[2].fetch_offset = 7;
        let plan = cache.plan(&twice, 12, &ann(), 0, ids()).unwrap();
        assert_eq!(wanted(&plan), [3, 4]);
        assert_eq!(plan.partitions[0].fetch_offset, 7);
    }
}

#[test]
fn what_sessions_remember_is_bounded_and_who_finds_no_room_fetches_in_full() {
    let mut cache = FetchSessionCache::new(10);
    cache.max_bytes = 100_000;
    let many: Vec<i32> = (0..1000).collect();
    let plan = cache
        .plan(&request(0, 0, &many), 12, &ann(), 0, ids())
        .unwrap();
    assert_eq!((plan.session_id, plan.partitions.len()), (0, 1000));
    assert_eq!(cache.used_bytes.load(Ordering::Relaxed), 0);

    let plan = cache
        .plan(&request(0, 0, &[0, 1]), 12, &ann(), 0, ids())
        .unwrap();
    assert_eq!(plan.session_id, 1);
    assert!(
        cache
            .plan(&request(1, 1, &[2]), 12, &ann(), 0, ids())
            .is_ok()
    );
    let grown = cache.plan(&request(1, 2, &many), 12, &ann(), 0, ids());
    assert_eq!(grown.unwrap_err(), ErrorCode::FetchSessionIdNotFound);
    assert_eq!(cache.used_bytes.load(Ordering::Relaxed), 0);

    // What is forgotten makes room again, and the session's end all of it.
    let plan = cache
        .plan(&request(0, 0, &[0]), 12, &ann(), 0, ids())
        .unwrap();
    let one = cache.used_bytes.load(Ordering::Relaxed);
    assert!(
        cache
            .plan(&request(plan.session_id, 1, &[1, 2]), 12, &ann(), 0, ids())
            .is_ok()
    );
    let less = request(plan.session_id, 2, &[]).with_forgotten_topics_data(forget(vec![1, 2]));
    assert!(cache.plan(&less, 12, &ann(), 0, ids()).is_ok());
    assert_eq!(cache.used_bytes.load(Ordering::Relaxed), one);
    let end = request(plan.session_id, FINAL_EPOCH, &[]);
    assert!(cache.plan(&end, 12, &ann(), 0, ids()).is_ok());
    assert_eq!(cache.used_bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn one_session_that_is_worked_on_holds_up_no_other() {
    let cache = with_session();
    let slot = cache.find(1).unwrap();
    let _busy = slot.session.lock();
    let mut next = ids();
    next();
    // Neither the end of that session nor the begin of another waits for it.
    let plan = cache.plan(&request(1, INITIAL_EPOCH, &[0]), 12, &ann(), 0, &mut next);
    assert_eq!(plan.unwrap().session_id, 2);
}

/// Ids are small numbers: somebody else may name one.
#[test]
fn a_session_is_its_owners_alone() {
    let cache = with_session();
    let bob = principal("bob");
    let theirs = cache.plan(&request(1, 1, &[]), 12, &bob, 0, ids());
    assert_eq!(theirs.unwrap_err(), ErrorCode::FetchSessionIdNotFound);
    for epoch in [FINAL_EPOCH, INITIAL_EPOCH] {
        let plan = cache.plan(&request(1, epoch, &[7]), 12, &bob, 0, ids());
        assert_eq!(
            wanted(&plan.unwrap()),
            [7],
            "what is remembered is not told"
        );
    }
    let own = cache.plan(&request(1, 1, &[]), 12, &ann(), 0, ids());
    assert_eq!(wanted(&own.unwrap()), [0, 1], "it goes on as it was");
}
