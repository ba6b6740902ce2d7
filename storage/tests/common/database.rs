//! What every database of a cluster promises.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use storage::object::database::{
    Database, DatabaseError, Endpoint, FIRST_TAKEN_BROKER_ID, Fence, Head, LogGroup, MetadataError,
    MetadataTable, Mode, News, ObjectsPlace, Proposal, Registered, Registration, Row,
};
use uuid::Uuid;

pub const LONG: Duration = Duration::from_secs(600);
/// Ends soon.
const SHORT: Duration = Duration::from_millis(100);
pub const GROUPS: u16 = 64;

/// Makes a test of each rule for a kind of database. There is none where what it needs is missing.
macro_rules! database_rules {
    ($fixture:expr) => {
        database_rules! { $fixture;
            a_group_begins_with_nothing
            rows_are_numbered_without_a_gap_and_read_as_they_were_written
            a_proposal_that_is_too_late_is_left_out
            all_or_nothing_is_nothing_if_one_is_too_late
            a_commit_of_nothing_is_nothing
            what_makes_no_sense_is_refused
            of_many_who_expect_the_same_one_is_first
            many_writers_leave_no_gap_and_lose_nothing
            a_reader_gets_what_is_new_and_at_least_a_row_of_each_group
            whoever_is_behind_what_was_trimmed_is_told
            a_snapshot_takes_the_place_of_an_older_one_only
            what_was_committed_is_resolved_as_such_and_nothing_else_is
            a_commit_that_was_resolved_as_lost_stays_lost
            whose_a_trimmed_row_was_cannot_be_told
            each_registration_has_a_higher_epoch_than_all_before
            a_broker_is_fenced_by_the_next_under_its_id
            a_lease_that_has_ended_fences_and_is_not_renewed
            a_lease_that_is_renewed_goes_on
            another_process_gets_an_id_only_when_its_lease_has_ended
            the_next_process_of_a_broker_waits_for_no_lease
            a_broker_without_an_id_gets_one_that_is_free
            a_broker_is_seen_as_it_has_registered
            where_the_objects_are_is_settled_by_the_first
            metadata_is_appended_to_the_version_that_was_expected
            an_append_of_metadata_that_is_repeated_is_done_once
            metadata_that_was_forgotten_is_not_loaded
            a_job_is_done_by_one_broker_at_a_time
            a_job_that_is_another_s_is_done_when_nobody_has_for_a_while
            condemned_objects_are_given_by_age_until_they_are_forgotten
            whoever_is_fenced_writes_nothing
        }
    };
    ($fixture:expr; $($rule:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $rule() {
            if let Some(fixture) = $fixture.await {
                crate::rules::$rule(fixture).await;
            }
        })*
    };
}

/// A database that is new.
pub struct Fixture {
    pub database: Arc<dyn Database>,
}

impl Fixture {
    async fn broker(&self, id: i32) -> Fence {
        register(&*self.database, id, LONG).await.unwrap().fence
    }

    async fn heads(&self, groups: &[u16]) -> Vec<i64> {
        let groups: Vec<LogGroup> = groups.iter().copied().map(LogGroup).collect();
        let heads = self.database.heads(&groups).await.unwrap();
        assert!(heads.iter().map(|head| head.group).eq(groups));
        heads.iter().map(|head| head.seq).collect()
    }

    async fn append(&self, fence: Fence, proposals: &[Proposal]) -> Vec<u16> {
        append(&*self.database, fence, Mode::Each, proposals)
            .await
            .unwrap()
    }

    /// Everything that is in a group.
    async fn rows(&self, group: u16) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        loop {
            let known = rows.last().map_or(0, |row| row.seq);
            let news = self
                .database
                .read_from(&[(LogGroup(group), known)], 10_000)
                .await
                .unwrap();
            assert_eq!(news.cut, []);
            if news.rows.is_empty() {
                return rows;
            }
            rows.extend(news.rows);
        }
    }

    /// Waits for a broker's lease to end.
    async fn is_gone(&self, broker_id: i32) {
        while self
            .database
            .brokers()
            .await
            .unwrap()
            .iter()
            .any(|broker| broker.broker_id == broker_id)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub fn registration(broker_id: Option<i32>, lease: Duration) -> Registration {
    Registration {
        broker_id,
        incarnation: Uuid::new_v4(),
        replaces: None,
        rack: None,
        endpoints: Vec::new(),
        lease,
    }
}

pub async fn register(
    database: &dyn Database,
    broker_id: i32,
    lease: Duration,
) -> Result<Registered, DatabaseError> {
    database
        .register(&registration(Some(broker_id), lease))
        .await
}

pub async fn append(
    database: &dyn Database,
    fence: Fence,
    mode: Mode,
    proposals: &[Proposal],
) -> Result<Vec<u16>, DatabaseError> {
    let appended = database
        .append_if(fence, Uuid::new_v4(), mode, proposals)
        .await?;
    let mut appended: Vec<u16> = appended.into_iter().map(|LogGroup(group)| group).collect();
    appended.sort_unstable();
    Ok(appended)
}

pub fn proposal(group: u16, expected_seq: i64, entry: &str) -> Proposal {
    Proposal {
        group: LogGroup(group),
        expected_seq,
        entry: Bytes::copy_from_slice(entry.as_bytes()),
        inline: Bytes::new(),
    }
}

fn entries(rows: &[Row]) -> Vec<&str> {
    let entries = rows.iter().map(|row| std::str::from_utf8(&row.entry));
    entries.collect::<Result<_, _>>().unwrap()
}

pub async fn a_group_begins_with_nothing(fixture: Fixture) {
    let heads = fixture.database.heads(&[LogGroup(63), LogGroup(0)]).await;
    let nothing = |group| Head {
        group: LogGroup(group),
        seq: 0,
        snapshot_seq: 0,
        snapshot_key: None,
    };
    assert_eq!(heads.unwrap(), [nothing(63), nothing(0)]);
    let known = [(LogGroup(0), 0), (LogGroup(63), 0)];
    let news = fixture.database.read_from(&known, 1000).await.unwrap();
    assert_eq!(news, News::default());
    assert_eq!(fixture.database.inline(LogGroup(0), 1).await, Ok(None));
}

pub async fn rows_are_numbered_without_a_gap_and_read_as_they_were_written(fixture: Fixture) {
    let fence = fixture.broker(3).await;
    let inline = Bytes::from(vec![0, 255, 7]);
    let first = Uuid::from_u128(1);
    let proposals = [
        Proposal {
            inline: inline.clone(),
            ..proposal(5, 0, "five")
        },
        proposal(2, 0, "two"),
    ];
    let database = &*fixture.database;
    let appended = database
        .append_if(fence, first, Mode::Each, &proposals)
        .await;
    let mut appended = appended.unwrap();
    appended.sort();
    assert_eq!(appended, [LogGroup(2), LogGroup(5)]);
    let second = Uuid::from_u128(2);
    let appended = database
        .append_if(fence, second, Mode::Each, &[proposal(5, 1, "more")])
        .await;
    assert_eq!(appended.unwrap(), [LogGroup(5)]);
    assert_eq!(fixture.heads(&[2, 3, 5]).await, [1, 0, 2]);
    let row = |group, seq, commit_id, entry: &str, inline| Row {
        group: LogGroup(group),
        seq,
        commit_id,
        broker_id: 3,
        entry: Bytes::copy_from_slice(entry.as_bytes()),
        inline,
    };
    let expected = [
        row(2, 1, first, "two", Bytes::new()),
        row(5, 1, first, "five", inline.clone()),
        row(5, 2, second, "more", Bytes::new()),
    ];
    let known = [(LogGroup(5), 0), (LogGroup(2), 0), (LogGroup(3), 0)];
    let news = database.read_from(&known, 1000).await.unwrap();
    assert_eq!(news.rows, expected);
    assert_eq!(news.cut, []);
    assert_eq!(database.inline(LogGroup(5), 1).await, Ok(Some(inline)));
    assert_eq!(
        database.inline(LogGroup(5), 2).await,
        Ok(Some(Bytes::new()))
    );
    assert_eq!(database.inline(LogGroup(5), 3).await, Ok(None));
}

pub async fn a_proposal_that_is_too_late_is_left_out(fixture: Fixture) {
    let fence = fixture.broker(1).await;
    assert_eq!(fixture.append(fence, &[proposal(1, 0, "a")]).await, [1]);
    let proposals = [
        proposal(0, 0, "b"),
        proposal(1, 0, "too late"),
        proposal(2, 1, "too early"),
        proposal(3, 0, "c"),
    ];
    assert_eq!(fixture.append(fence, &proposals).await, [0, 3]);
    assert_eq!(fixture.heads(&[0, 1, 2, 3]).await, [1, 1, 0, 1]);
    assert_eq!(entries(&fixture.rows(1).await), ["a"]);
}

pub async fn all_or_nothing_is_nothing_if_one_is_too_late(fixture: Fixture) {
    let fence = fixture.broker(1).await;
    fixture.append(fence, &[proposal(1, 0, "a")]).await;
    let database = &*fixture.database;
    let late = [proposal(0, 0, "b"), proposal(1, 0, "b")];
    let appended = append(database, fence, Mode::AllOrNothing, &late).await;
    assert_eq!(appended.unwrap(), [0u16; 0]);
    assert_eq!(fixture.heads(&[0, 1]).await, [0, 1]);
    let timely = [proposal(1, 1, "b"), proposal(0, 0, "b")];
    let appended = append(database, fence, Mode::AllOrNothing, &timely).await;
    assert_eq!(appended.unwrap(), [0, 1]);
    assert_eq!(fixture.heads(&[0, 1]).await, [1, 2]);
}

pub async fn a_commit_of_nothing_is_nothing(fixture: Fixture) {
    let fence = fixture.broker(1).await;
    assert_eq!(fixture.append(fence, &[]).await, [0u16; 0]);
    assert_eq!(fixture.database.heads(&[]).await, Ok(vec![]));
    assert_eq!(
        fixture.database.read_from(&[], 100).await,
        Ok(News::default())
    );
}

pub async fn what_makes_no_sense_is_refused(fixture: Fixture) {
    let fence = fixture.broker(1).await;
    let database = &*fixture.database;
    let twice = [proposal(1, 0, "a"), proposal(1, 0, "b")];
    for wrong in [
        &twice[..],
        &[proposal(GROUPS, 0, "a")],
        &[proposal(u16::MAX, 0, "a")],
        &[proposal(2, 0, "")],
    ] {
        let refused = append(database, fence, Mode::Each, wrong).await;
        assert!(
            matches!(refused, Err(DatabaseError::Refused(_))),
            "{refused:?}"
        );
    }
    let refused = database.heads(&[LogGroup(GROUPS)]).await;
    assert!(
        matches!(refused, Err(DatabaseError::Refused(_))),
        "{refused:?}"
    );
    let refused = database.read_from(&[(LogGroup(GROUPS), 0)], 10).await;
    assert!(
        matches!(refused, Err(DatabaseError::Refused(_))),
        "{refused:?}"
    );
    assert_eq!(fixture.heads(&[1, 2]).await, [0, 0]);
}

pub async fn of_many_who_expect_the_same_one_is_first(fixture: Fixture) {
    let mut writers = Vec::new();
    for id in 0..8 {
        let fence = fixture.broker(id).await;
        let database = Arc::clone(&fixture.database);
        writers.push(tokio::spawn(async move {
            let proposals = [proposal(7, 0, &format!("{id}")), proposal(9, 0, "x")];
            append(&*database, fence, Mode::AllOrNothing, &proposals)
                .await
                .unwrap()
        }));
    }
    let mut winners = Vec::new();
    for (id, writer) in writers.into_iter().enumerate() {
        if writer.await.unwrap() == [7, 9] {
            winners.push(id.to_string());
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(entries(&fixture.rows(7).await), [winners.remove(0)]);
    assert_eq!(fixture.heads(&[7, 9]).await, [1, 1]);
}

pub async fn many_writers_leave_no_gap_and_lose_nothing(fixture: Fixture) {
    const EACH: usize = 25;
    let mut writers = Vec::new();
    for id in 0..6 {
        let fence = fixture.broker(id).await;
        let database = Arc::clone(&fixture.database);
        writers.push(tokio::spawn(async move {
            // Backwards and forwards, so that locks in no order would wait for each other.
            let mut groups = vec![LogGroup(1), LogGroup(2), LogGroup(3)];
            if id % 2 == 0 {
                groups.reverse();
            }
            let mut written = [0; 4];
            while written.iter().sum::<usize>() < 3 * EACH {
                let heads = database.heads(&groups).await.unwrap();
                let proposals: Vec<Proposal> = heads
                    .iter()
                    .filter(|head| written[usize::from(head.group.0)] < EACH)
                    .map(|head| proposal(head.group.0, head.seq, &format!("{id}")))
                    .collect();
                let appended = append(&*database, fence, Mode::Each, &proposals).await;
                for group in appended.unwrap() {
                    written[usize::from(group)] += 1;
                }
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for group in 1..=3 {
        let rows = fixture.rows(group).await;
        let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
        assert!(seqs.iter().copied().eq(1..=6 * EACH as i64), "{seqs:?}");
        for id in 0..6 {
            let of_writer = rows.iter().filter(|row| row.broker_id == id);
            assert_eq!(of_writer.count(), EACH);
        }
    }
}

pub async fn a_reader_gets_what_is_new_and_at_least_a_row_of_each_group(fixture: Fixture) {
    let fence = fixture.broker(1).await;
    for seq in 0..5 {
        let entry = "x".repeat(100);
        let proposals = [1, 2].map(|group| proposal(group, seq, &entry));
        fixture.append(fence, &proposals).await;
    }
    fixture.append(fence, &[proposal(3, 0, "known")]).await;
    let known = [(LogGroup(1), 1), (LogGroup(2), 3), (LogGroup(3), 1)];
    let read = async |limit| {
        let news = fixture.database.read_from(&known, limit).await.unwrap();
        assert_eq!(news.cut, []);
        let rows = news.rows.iter().map(|row| (row.group.0, row.seq));
        rows.collect::<Vec<_>>()
    };
    assert_eq!(read(0).await, [(1, 2), (2, 4)]);
    assert_eq!(read(300).await, [(1, 2), (1, 3), (2, 4)]);
    assert_eq!(read(400).await, [(1, 2), (1, 3), (2, 4), (2, 5)]);
    let all = [(1, 2), (1, 3), (1, 4), (1, 5), (2, 4), (2, 5)];
    assert_eq!(read(10_000).await, all);
}

pub async fn whoever_is_behind_what_was_trimmed_is_told(fixture: Fixture) {
    let fence = fixture.broker(1).await;
    for seq in 0..5 {
        fixture.append(fence, &[proposal(1, seq, "x")]).await;
    }
    let database = &*fixture.database;
    let newest = database
        .trim(fence, LogGroup(1), 4, "snapshot".into(), 3)
        .await;
    assert_eq!(newest, Ok(true));
    let head = Head {
        group: LogGroup(1),
        seq: 5,
        snapshot_seq: 4,
        snapshot_key: Some("snapshot".into()),
    };
    assert_eq!(database.heads(&[LogGroup(1)]).await, Ok(vec![head.clone()]));
    for known in 0..=2 {
        let news = database.read_from(&[(LogGroup(1), known)], 1000).await;
        let cut = News {
            rows: Vec::new(),
            cut: vec![head.clone()],
        };
        assert_eq!(news, Ok(cut), "from {known}");
    }
    let news = database.read_from(&[(LogGroup(1), 3)], 1000).await.unwrap();
    assert_eq!(news.cut, []);
    assert_eq!(
        news.rows.iter().map(|row| row.seq).collect::<Vec<_>>(),
        [4, 5]
    );
    let news = database.read_from(&[(LogGroup(1), 5)], 1000).await.unwrap();
    assert_eq!(news, News::default());
    // Somebody has seen more than there is.
    let news = database.read_from(&[(LogGroup(1), 6)], 1000).await.unwrap();
    assert_eq!(news.cut, [head]);
    assert_eq!(database.inline(LogGroup(1), 3).await, Ok(None));
}

pub async fn a_snapshot_takes_the_place_of_an_older_one_only(fixture: Fixture) {
    let fence = fixture.broker(1).await;
    for seq in 0..5 {
        fixture.append(fence, &[proposal(1, seq, "x")]).await;
    }
    let database = &*fixture.database;
    let trim =
        |seq, key: &str, trim_to| database.trim(fence, LogGroup(1), seq, key.into(), trim_to);
    assert_eq!(trim(3, "b", 0).await, Ok(true));
    assert_eq!(trim(2, "a", 2).await, Ok(false));
    assert_eq!(trim(3, "c", 2).await, Ok(false));
    let head = &database.heads(&[LogGroup(1)]).await.unwrap()[0];
    assert_eq!(
        (head.snapshot_seq, head.snapshot_key.as_deref()),
        (3, Some("b"))
    );
    let early = trim(6, "of what is not there", 0).await;
    assert!(matches!(early, Err(DatabaseError::Refused(_))), "{early:?}");
    // No more than what the snapshot has.
    assert_eq!(trim(4, "d", 100).await, Ok(true));
    let news = database.read_from(&[(LogGroup(1), 4)], 1000).await.unwrap();
    assert_eq!(news.rows.len(), 1);
}

pub async fn what_was_committed_is_resolved_as_such_and_nothing_else_is(fixture: Fixture) {
    let fence = fixture.broker(1).await;
    let database = &*fixture.database;
    let [mine, other] = [Uuid::from_u128(1), Uuid::from_u128(2)];
    for (seq, commit_id) in [(0, mine), (1, other)] {
        let proposals = [proposal(4, seq, "x")];
        let appended = database.append_if(fence, commit_id, Mode::Each, &proposals);
        assert_eq!(appended.await.unwrap(), [LogGroup(4)]);
    }
    assert_eq!(database.resolve(LogGroup(4), 1, mine).await, Ok(true));
    assert_eq!(database.resolve(LogGroup(4), 2, mine).await, Ok(false));
    assert_eq!(database.resolve(LogGroup(4), 2, other).await, Ok(true));
    assert_eq!(fixture.heads(&[4]).await, [2], "it was only looked at");
}

pub async fn a_commit_that_was_resolved_as_lost_stays_lost(fixture: Fixture) {
    let fence = fixture.broker(1).await;
    fixture.append(fence, &[proposal(4, 0, "before")]).await;
    let database = &*fixture.database;
    let mine = Uuid::new_v4();
    for _ in 0..2 {
        assert_eq!(database.resolve(LogGroup(4), 2, mine).await, Ok(false));
        assert_eq!(fixture.heads(&[4]).await, [2]);
    }
    // The statement has been on its way all the time.
    let late = [proposal(4, 1, "late")];
    let appended = database.append_if(fence, mine, Mode::Each, &late).await;
    assert_eq!(appended, Ok(vec![]));
    assert_eq!(database.resolve(LogGroup(4), 2, mine).await, Ok(false));
    let rows = fixture.rows(4).await;
    assert_eq!(entries(&rows), ["before", ""]);
    assert_eq!((rows[1].commit_id, rows[1].broker_id), (Uuid::nil(), -1));
    // A group that ends before what was known to be there.
    let refused = database.resolve(LogGroup(4), 4, mine).await;
    assert!(
        matches!(refused, Err(DatabaseError::Refused(_))),
        "{refused:?}"
    );
}

pub async fn whose_a_trimmed_row_was_cannot_be_told(fixture: Fixture) {
    let fence = fixture.broker(1).await;
    fixture.append(fence, &[proposal(4, 0, "x")]).await;
    let database = &*fixture.database;
    let trimmed = database.trim(fence, LogGroup(4), 1, "key".into(), 1).await;
    assert_eq!(trimmed, Ok(true));
    let refused = database.resolve(LogGroup(4), 1, Uuid::new_v4()).await;
    assert!(
        matches!(refused, Err(DatabaseError::Refused(_))),
        "{refused:?}"
    );
}

pub async fn each_registration_has_a_higher_epoch_than_all_before(fixture: Fixture) {
    let mut last: Option<Registered> = None;
    for id in [5, 2, 9, 7] {
        let registered = register(&*fixture.database, id, LONG).await.unwrap();
        assert_eq!(registered.fence.broker_id, id);
        assert_eq!(registered.groups, GROUPS);
        if let Some(last) = last {
            assert!(registered.fence.broker_epoch > last.fence.broker_epoch);
            assert_eq!(registered.cluster_id, last.cluster_id);
        }
        last = Some(registered);
    }
    // Also together.
    let mut joining = Vec::new();
    for id in 10..18 {
        let database = Arc::clone(&fixture.database);
        joining.push(tokio::spawn(async move {
            register(&*database, id, LONG)
                .await
                .unwrap()
                .fence
                .broker_epoch
        }));
    }
    let mut epochs = Vec::new();
    for joining in joining {
        epochs.push(joining.await.unwrap());
    }
    epochs.sort_unstable();
    epochs.dedup();
    assert_eq!(epochs.len(), 8);
    assert!(epochs[0] > last.unwrap().fence.broker_epoch);
}

pub async fn a_broker_is_fenced_by_the_next_under_its_id(fixture: Fixture) {
    let database = &*fixture.database;
    let registration = registration(Some(1), LONG);
    let old = database.register(&registration).await.unwrap().fence;
    let other = fixture.broker(2).await;
    // The same process, which wants to be sure that nothing of what it wrote comes later.
    let new = database.register(&registration).await.unwrap().fence;
    assert!(new.broker_epoch > old.broker_epoch);
    for mode in [Mode::Each, Mode::AllOrNothing] {
        let refused = append(database, old, mode, &[proposal(1, 0, "zombie")]).await;
        assert_eq!(refused, Err(DatabaseError::Fenced));
        // Also where it would be too late anyway.
        let refused = append(database, old, mode, &[proposal(1, 9, "zombie")]).await;
        assert_eq!(refused, Err(DatabaseError::Fenced));
    }
    assert_eq!(
        database.renew(old, LONG, 0).await,
        Err(DatabaseError::Fenced)
    );
    assert_eq!(database.leave(old).await, Ok(()));
    assert_eq!(database.renew(new, LONG, 0).await, Ok(()));
    assert_eq!(fixture.append(new, &[proposal(1, 0, "x")]).await, [1]);
    assert_eq!(fixture.append(other, &[proposal(2, 0, "x")]).await, [2]);
    let nobody = Fence {
        broker_id: 77,
        ..new
    };
    let refused = append(database, nobody, Mode::Each, &[proposal(3, 0, "x")]).await;
    assert_eq!(refused, Err(DatabaseError::Fenced));
}

pub async fn a_lease_that_has_ended_fences_and_is_not_renewed(fixture: Fixture) {
    let database = &*fixture.database;
    let short = register(database, 1, SHORT).await.unwrap().fence;
    fixture.is_gone(1).await;
    let refused = append(database, short, Mode::Each, &[proposal(1, 0, "x")]).await;
    assert_eq!(refused, Err(DatabaseError::Fenced));
    assert_eq!(
        database.renew(short, LONG, 0).await,
        Err(DatabaseError::Fenced)
    );
    assert_eq!(database.brokers().await, Ok(vec![]));
    // Who leaves is gone at once.
    let fence = fixture.broker(2).await;
    assert_eq!(database.brokers().await.unwrap().len(), 1);
    assert_eq!(database.leave(fence).await, Ok(()));
    assert_eq!(database.brokers().await, Ok(vec![]));
    let refused = append(database, fence, Mode::Each, &[proposal(1, 0, "x")]).await;
    assert_eq!(refused, Err(DatabaseError::Fenced));
    assert_eq!(
        database.renew(fence, LONG, 0).await,
        Err(DatabaseError::Fenced)
    );
    assert_eq!(fixture.heads(&[1]).await, [0]);
}

pub async fn a_lease_that_is_renewed_goes_on(fixture: Fixture) {
    let database = &*fixture.database;
    let renewed = register(database, 1, Duration::from_secs(3)).await;
    let renewed = renewed.unwrap().fence;
    assert_eq!(database.renew(renewed, LONG, 17).await, Ok(()));
    register(database, 2, Duration::from_secs(3)).await.unwrap();
    fixture.is_gone(2).await;
    let brokers = database.brokers().await.unwrap();
    assert_eq!(brokers.len(), 1);
    assert_eq!((brokers[0].broker_id, brokers[0].seen_metadata), (1, 17));
    assert_eq!(fixture.append(renewed, &[proposal(1, 0, "x")]).await, [1]);
}

pub async fn another_process_gets_an_id_only_when_its_lease_has_ended(fixture: Fixture) {
    let database = &*fixture.database;
    let first = register(database, 1, LONG).await.unwrap().fence;
    let refused = register(database, 1, LONG).await.unwrap_err();
    let DatabaseError::Unavailable(why) = &refused else {
        panic!("{refused:?}")
    };
    assert!(why.contains("node.id"), "{why}");
    assert_eq!(database.renew(first, SHORT, 0).await, Ok(()));
    fixture.is_gone(1).await;
    let second = register(database, 1, LONG).await.unwrap().fence;
    assert!(second.broker_epoch > first.broker_epoch);
}

pub async fn the_next_process_of_a_broker_waits_for_no_lease(fixture: Fixture) {
    let database = &*fixture.database;
    let first = registration(Some(1), LONG);
    let old = database.register(&first).await.unwrap().fence;
    let next = Registration {
        replaces: Some(first.incarnation),
        ..registration(Some(1), LONG)
    };
    let new = database.register(&next).await.unwrap().fence;
    assert!(new.broker_epoch > old.broker_epoch);
    // If the first is there after all, it can do nothing, nor take the id back.
    let refused = database.renew(old, LONG, 0).await;
    assert_eq!(refused, Err(DatabaseError::Fenced));
    let refused = database.register(&first).await;
    assert!(
        matches!(refused, Err(DatabaseError::Unavailable(_))),
        "{refused:?}"
    );
    assert_eq!(database.renew(new, LONG, 0).await, Ok(()));
    // What another process has been since then is not replaced, either.
    let refused = Registration {
        replaces: Some(first.incarnation),
        ..registration(Some(1), LONG)
    };
    let refused = database.register(&refused).await;
    assert!(
        matches!(refused, Err(DatabaseError::Unavailable(_))),
        "{refused:?}"
    );
    // One that was given its id keeps it.
    let first = registration(None, LONG);
    let old = database.register(&first).await.unwrap().fence;
    let next = Registration {
        replaces: Some(first.incarnation),
        ..registration(None, LONG)
    };
    let new = database.register(&next).await.unwrap().fence;
    assert_eq!(new.broker_id, old.broker_id);
    assert_eq!(database.brokers().await.unwrap().len(), 2);
}

pub async fn a_broker_without_an_id_gets_one_that_is_free(fixture: Fixture) {
    let database = &*fixture.database;
    fixture.broker(FIRST_TAKEN_BROKER_ID + 1).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let registered = database.register(&registration(None, LONG)).await.unwrap();
        ids.push(registered.fence);
    }
    let taken: Vec<i32> = ids
        .iter()
        .map(|fence| fence.broker_id - FIRST_TAKEN_BROKER_ID)
        .collect();
    assert_eq!(taken, [0, 2, 3]);
    database.leave(ids[1]).await.unwrap();
    let again = registration(None, LONG);
    let registered = database.register(&again).await.unwrap();
    assert_eq!(registered.fence.broker_id, FIRST_TAKEN_BROKER_ID + 2);
    // A process keeps its id, even if a lower one has become free.
    database.leave(ids[0]).await.unwrap();
    let registered = database.register(&again).await.unwrap();
    assert_eq!(registered.fence.broker_id, FIRST_TAKEN_BROKER_ID + 2);
}

pub async fn a_broker_is_seen_as_it_has_registered(fixture: Fixture) {
    let database = &*fixture.database;
    let endpoint = |listener: &str, port| Endpoint {
        listener: listener.into(),
        host: "broker-1.example".into(),
        port,
    };
    let first = Registration {
        rack: Some("a 'rack'".into()),
        endpoints: vec![endpoint("PLAINTEXT", 9092), endpoint("EXTERNAL", 65535)],
        ..registration(Some(4), LONG)
    };
    let second = registration(Some(2), LONG);
    for registration in [&first, &second] {
        database.register(registration).await.unwrap();
    }
    let brokers = database.brokers().await.unwrap();
    assert_eq!(brokers.len(), 2);
    assert_eq!(brokers[0].broker_id, 2);
    assert_eq!((&brokers[0].rack, &brokers[0].endpoints), (&None, &vec![]));
    assert_eq!(brokers[1].broker_id, 4);
    assert_eq!(brokers[1].incarnation, first.incarnation);
    assert_eq!(brokers[1].rack, first.rack);
    assert_eq!(brokers[1].endpoints, first.endpoints);
    assert_eq!(brokers[1].seen_metadata, 0);
    // In a year that there can be.
    let years = database.clock_ms().await.unwrap() / (366 * 24 * 3600 * 1000);
    assert!((50..500).contains(&years), "{years} years since 1970");
    // One that has gone is not forgotten.
    let third = registration(Some(3), LONG);
    let gone = database.register(&third).await.unwrap().fence;
    database.leave(gone).await.unwrap();
    assert_eq!(database.brokers().await.unwrap().len(), 2);
    assert_eq!(database.registered().await, Ok(vec![2, 3, 4]));
    // The first comes again with other listeners.
    let moved = Registration {
        rack: None,
        endpoints: vec![endpoint("OTHER", 1)],
        ..first
    };
    let registered = database.register(&moved).await.unwrap();
    let brokers = database.brokers().await.unwrap();
    assert_eq!(brokers[1].broker_epoch, registered.fence.broker_epoch);
    assert_eq!(brokers[1].rack, None);
    assert_eq!(brokers[1].endpoints, moved.endpoints);
}

fn records(texts: &[&str]) -> Vec<Bytes> {
    let bytes = |text: &&str| Bytes::copy_from_slice(text.as_bytes());
    texts.iter().map(bytes).collect()
}

pub async fn where_the_objects_are_is_settled_by_the_first(fixture: Fixture) {
    let database = &fixture.database;
    let before = database.identity().await.unwrap();
    assert_eq!(before.objects, None);
    let place = |number: u128| ObjectsPlace {
        id: Uuid::from_u128(number),
        url: format!("s3://bucket/{number}"),
    };
    let settling = (1..=8).map(|number| {
        let (database, place) = (Arc::clone(database), place(number));
        tokio::spawn(async move { database.settle_objects(&place).await.unwrap() })
    });
    let mut settled = Vec::new();
    for settling in settling.collect::<Vec<_>>() {
        settled.push(settling.await.unwrap());
    }
    settled.dedup();
    assert_eq!(settled.len(), 1, "{settled:?}");
    assert_eq!(settled[0].url, place(settled[0].id.as_u128()).url);
    assert_eq!(
        database.settle_objects(&place(9)).await.unwrap(),
        settled[0]
    );
    let after = database.identity().await.unwrap();
    assert_eq!(after.objects.as_ref(), settled.first());
    assert_eq!(after.cluster_id, before.cluster_id);
    let registered = register(&**database, 1, LONG).await.unwrap();
    assert_eq!(registered.cluster_id, after.cluster_id);
}

pub async fn metadata_is_appended_to_the_version_that_was_expected(fixture: Fixture) {
    let fence = fixture.broker(1).await;
    let database = &*fixture.database;
    assert_eq!(database.version().await, Ok(0));
    assert_eq!(database.load(0).await.unwrap().records, records(&[]));
    let append = |expected, texts: &[&str]| {
        let records = records(texts);
        async move { MetadataTable::append(database, fence, Uuid::new_v4(), expected, &records).await }
    };
    assert_eq!(append(0, &["a", "b"]).await, Ok(2));
    let conflict = |expected| MetadataError::Conflict { expected, found: 2 };
    assert_eq!(append(0, &["x"]).await, Err(conflict(0)));
    assert_eq!(append(1, &["x"]).await, Err(conflict(1)));
    assert_eq!(append(3, &["x"]).await, Err(conflict(3)));
    assert_eq!(append(2, &["", "d"]).await, Ok(4));
    assert_eq!(append(4, &[]).await, Ok(4));
    assert_eq!(database.version().await, Ok(4));
    for from in 0..=4 {
        let loaded = database.load(from).await.unwrap();
        assert_eq!(loaded.from_version, from);
        let all = records(&["a", "b", "", "d"]);
        assert_eq!(loaded.records, all[from as usize..]);
        assert_eq!(loaded.version(), 4);
    }
    // Nobody is ahead of what there is, unless the database has lost something.
    assert_eq!(database.load(9).await.unwrap().version(), 4);
}

pub async fn an_append_of_metadata_that_is_repeated_is_done_once(fixture: Fixture) {
    let fence = fixture.broker(1).await;
    let other = fixture.broker(2).await;
    let database = &*fixture.database;
    let append = async |fence, id: u128, expected, texts: &[&str]| {
        let records = records(texts);
        MetadataTable::append(database, fence, Uuid::from_u128(id), expected, &records).await
    };
    assert_eq!(append(fence, 1, 0, &["a", "b"]).await, Ok(2));
    assert_eq!(append(fence, 1, 0, &["a", "b"]).await, Ok(2));
    assert_eq!(append(other, 2, 2, &["c"]).await, Ok(3));
    assert_eq!(append(fence, 1, 0, &["a", "b"]).await, Ok(2));
    database.leave(fence).await.unwrap();
    // What was done was done, whatever has become of the broker since.
    assert_eq!(append(fence, 1, 0, &["a", "b"]).await, Ok(2));
    let fenced = append(fence, 3, 3, &["d"]).await;
    assert_eq!(fenced, Err(DatabaseError::Fenced.into()));
    assert_eq!(
        database.load(0).await.unwrap().records,
        records(&["a", "b", "c"])
    );
}

pub async fn metadata_that_was_forgotten_is_not_loaded(fixture: Fixture) {
    let fence = fixture.broker(1).await;
    let database = &*fixture.database;
    let texts = records(&["a", "b", "c"]);
    let appended = MetadataTable::append(database, fence, Uuid::new_v4(), 0, &texts).await;
    assert_eq!(appended, Ok(3));
    assert_eq!(database.forget_before(fence, 2).await, Ok(()));
    let loaded = database.load(0).await.unwrap();
    assert_eq!((loaded.from_version, loaded.version()), (2, 3));
    assert_eq!(loaded.records, records(&["c"]));
    assert_eq!(database.forget_before(fence, 1).await, Ok(()));
    assert_eq!(database.load(2).await.unwrap().records, records(&["c"]));
    assert_eq!(database.forget_before(fence, 3).await, Ok(()));
    let loaded = database.load(1).await.unwrap();
    assert_eq!((loaded.from_version, loaded.version()), (3, 3));
    let appended = MetadataTable::append(database, fence, Uuid::new_v4(), 3, &texts).await;
    assert_eq!(appended, Ok(6));
}

pub async fn a_job_is_done_by_one_broker_at_a_time(fixture: Fixture) {
    let [first, second] = [fixture.broker(1).await, fixture.broker(2).await];
    let database = &*fixture.database;
    assert_eq!(database.take(first, "merge 1", LONG).await, Ok(true));
    assert_eq!(database.take(second, "merge 1", LONG).await, Ok(false));
    assert_eq!(database.take(second, "merge 2", LONG).await, Ok(true));
    assert_eq!(database.take(first, "merge 1", SHORT).await, Ok(true));
    while !database.take(second, "merge 1", LONG).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(database.take(first, "merge 1", LONG).await, Ok(false));
}

pub async fn a_job_that_is_another_s_is_done_when_nobody_has_for_a_while(fixture: Fixture) {
    let [first, second] = [fixture.broker(1).await, fixture.broker(2).await];
    let database = &*fixture.database;
    let is_idle = async |fence, idle| database.take_idle(fence, "tidy 1", LONG, idle).await;
    // Nobody has had it, so it is idle from now on, and whoever should do it may.
    assert_eq!(is_idle(second, LONG).await, Ok(false));
    assert_eq!(database.take(first, "tidy 1", LONG).await, Ok(true));
    assert_eq!(is_idle(second, Duration::ZERO).await, Ok(false));
    // It is given up by whom it is not for any more, and by nobody else.
    assert_eq!(database.take(second, "tidy 1", LONG).await, Ok(false));
    assert_eq!(is_idle(first, LONG).await, Ok(false));
    assert_eq!(database.take(second, "tidy 1", LONG).await, Ok(true));
    // It is done by the other one after a while, however often that one has asked.
    assert_eq!(database.take(second, "tidy 1", SHORT).await, Ok(true));
    while !is_idle(first, SHORT).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(database.take(second, "tidy 1", LONG).await, Ok(false));
}

pub async fn condemned_objects_are_given_by_age_until_they_are_forgotten(fixture: Fixture) {
    let fence = fixture.broker(1).await;
    let database = &*fixture.database;
    let keys = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>()
    };
    database.condemn(fence, &keys(&["b"])).await.unwrap();
    let age = Duration::from_millis(200);
    while database.condemned(age, 10).await.unwrap() != ["b"] {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Those that are condemned already stay so.
    let more = keys(&["a", "b", "c"]);
    database.condemn(fence, &more).await.unwrap();
    assert_eq!(database.condemned(LONG, 10).await, Ok(vec![]));
    assert!(
        database
            .condemned(age, 10)
            .await
            .unwrap()
            .contains(&"b".to_owned())
    );
    let all = database.condemned(Duration::ZERO, 10).await.unwrap();
    assert_eq!(all, ["b", "a", "c"]);
    let oldest = database.condemned(Duration::ZERO, 1).await.unwrap();
    assert_eq!(oldest, ["b"]);
    database.forget(fence, &keys(&["b", "x"])).await.unwrap();
    let left = database.condemned(Duration::ZERO, 10).await.unwrap();
    assert_eq!(left, ["a", "c"]);
    assert_eq!(database.condemn(fence, &[]).await, Ok(()));
}

pub async fn whoever_is_fenced_writes_nothing(fixture: Fixture) {
    let zombie = fixture.broker(1).await;
    let fence = fixture.broker(2).await;
    fixture.append(fence, &[proposal(1, 0, "x")]).await;
    let database = &*fixture.database;
    let key = ["key".to_owned()];
    database.condemn(fence, &key).await.unwrap();
    database.leave(zombie).await.unwrap();
    let fenced = Err(DatabaseError::Fenced);
    assert_eq!(
        database
            .trim(zombie, LogGroup(1), 1, "key".into(), 1)
            .await
            .map(drop),
        fenced
    );
    assert_eq!(database.take(zombie, "job", LONG).await.map(drop), fenced);
    let taken = database.take_idle(zombie, "job", LONG, Duration::ZERO);
    assert_eq!(taken.await.map(drop), fenced);
    assert_eq!(database.condemn(zombie, &["x".to_owned()]).await, fenced);
    assert_eq!(database.forget(zombie, &key).await, fenced);
    assert_eq!(database.forget_before(zombie, 0).await, fenced);
    let refused =
        MetadataTable::append(database, zombie, Uuid::new_v4(), 0, &records(&["x"])).await;
    assert_eq!(refused, Err(DatabaseError::Fenced.into()));
    assert_eq!(database.take(fence, "job", LONG).await, Ok(true));
    assert_eq!(database.condemned(Duration::ZERO, 9).await.unwrap(), key);
    assert_eq!(database.version().await, Ok(0));
    assert_eq!(
        database.heads(&[LogGroup(1)]).await.unwrap()[0].snapshot_seq,
        0
    );
}
