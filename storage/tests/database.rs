//! What every database of a cluster promises, held against the one in memory; and what tests do with that one.

#![allow(clippy::unwrap_used)]

#[macro_use]
#[path = "common/database.rs"]
mod rules;

use std::sync::Arc;

use storage::env::clock::SystemClock;
use storage::log::BoxFuture;
use storage::object::database::{
    Call, DatabaseError, Fate, Faults, LogGroup, MemoryDatabase, Mode, OrderedLog,
};
use uuid::Uuid;

use self::rules::{Fixture, GROUPS, LONG, append, proposal, register};

mod in_memory {
    database_rules!(crate::in_memory());
}

async fn in_memory() -> Option<Fixture> {
    let database = Arc::new(memory());
    Some(Fixture { database })
}

fn memory() -> MemoryDatabase {
    MemoryDatabase::new(Arc::new(SystemClock::default()), GROUPS)
}

/// The same for each call of a kind.
struct Fated(Call, Fate);

impl Faults for Fated {
    fn before(&self, call: Call) -> BoxFuture<'_, Fate> {
        let Self(fated, fate) = self;
        let fate = if call == *fated {
            *fate
        } else {
            Fate::Answered
        };
        Box::pin(std::future::ready(fate))
    }
}

fn fated(database: &MemoryDatabase, call: Call, fate: Fate) -> MemoryDatabase {
    database.with_faults(Arc::new(Fated(call, fate)))
}

#[tokio::test]
async fn a_handle_has_its_faults_and_the_others_do_not() {
    let database = memory();
    let fence = register(&database, 1, LONG).await.unwrap().fence;
    let proposals = |seq| [proposal(1, seq, "x")];

    let refusing = fated(&database, Call::AppendIf, Fate::Refused);
    let refused = append(&refusing, fence, Mode::Each, &proposals(0)).await;
    assert!(matches!(refused, Err(DatabaseError::Unavailable(_))));
    assert_eq!(database.heads(&[LogGroup(1)]).await.unwrap()[0].seq, 0);

    let losing = fated(&database, Call::AppendIf, Fate::AnswerLost);
    let id = Uuid::new_v4();
    let lost = losing.append_if(fence, id, Mode::Each, &proposals(0)).await;
    assert!(matches!(lost, Err(DatabaseError::InDoubt(_))));
    assert_eq!(database.resolve(LogGroup(1), 1, id).await, Ok(true));

    let late = fated(&database, Call::AppendIf, Fate::Late);
    for resolved_first in [false, true] {
        let head = database.heads(&[LogGroup(1)]).await.unwrap()[0].seq;
        let id = Uuid::new_v4();
        let lost = late
            .append_if(fence, id, Mode::Each, &proposals(head))
            .await;
        assert!(matches!(lost, Err(DatabaseError::InDoubt(_))));
        assert_eq!(database.late(), 1);
        if resolved_first {
            let resolved = database.resolve(LogGroup(1), head + 1, id).await;
            assert_eq!(resolved, Ok(false));
        }
        database.let_late_arrive(0);
        let resolved = database.resolve(LogGroup(1), head + 1, id).await;
        assert_eq!(resolved, Ok(!resolved_first));
    }

    let unread = fated(&database, Call::ReadFrom, Fate::AnswerLost);
    let unread = unread.read_from(&[(LogGroup(1), 0)], 10).await;
    assert!(matches!(unread, Err(DatabaseError::Unavailable(_))));
}

#[tokio::test]
async fn a_database_that_has_lost_commits_is_noticed() {
    let database = memory();
    let fence = register(&database, 1, LONG).await.unwrap().fence;
    for seq in 0..3 {
        append(&database, fence, Mode::Each, &[proposal(1, seq, "x")])
            .await
            .unwrap();
    }
    database.lose_commits(LogGroup(1), 1);
    let news = database.read_from(&[(LogGroup(1), 3)], 10).await.unwrap();
    assert_eq!((news.rows.len(), news.cut[0].seq), (0, 1));
    let refused = database.resolve(LogGroup(1), 4, Uuid::new_v4()).await;
    assert!(matches!(refused, Err(DatabaseError::Refused(_))));
}
