//! Many brokers commit to the same log groups while sessions die, the server dies, or answers are lost. Whatever was
//! acknowledged is there once and in its place, whatever was not is not, and each group has one order without a gap.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use compat_tests::available;
use compat_tests::database_proxy::DatabaseProxy;
use compat_tests::stores::Postgres;
use storage::object::database::{
    Brokers as _, DatabaseError, Fence, LogGroup, Mode, OrderedLog as _, PostgresDatabase, Proposal,
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::rules::{GROUPS, registration};
use crate::{new_database, server};

const BROKERS: i32 = 6;
const LOG_GROUPS: u16 = 4;
/// How many acknowledgements each broker wants, at least.
const ENTRIES: usize = 150;
const LEASE: Duration = Duration::from_secs(2);

/// What a broker was told of its entries.
#[derive(Default)]
struct Told {
    /// Group and row of what was acknowledged, or was resolved as committed.
    committed: Vec<(Bytes, LogGroup, i64)>,
    lost: HashSet<Bytes>,
    counts: Arc<Counts>,
}

/// What has befallen all brokers so far.
#[derive(Debug, Default)]
struct Counts {
    committed: AtomicUsize,
    /// How often one was in doubt, of which so many had been committed.
    doubts: AtomicUsize,
    committed_in_doubt: AtomicUsize,
    fenced: AtomicUsize,
}

struct Broker {
    id: i32,
    database: PostgresDatabase,
    incarnation: Uuid,
    entries: usize,
    /// Where the first group ended when it was last looked at.
    last_seq: i64,
    told: Told,
}

impl Broker {
    async fn open(id: i32, url: &str, counts: &Arc<Counts>) -> Self {
        Self {
            id,
            database: open(url).await,
            incarnation: Uuid::new_v4(),
            entries: 0,
            last_seq: 0,
            told: Told {
                counts: Arc::clone(counts),
                ..Told::default()
            },
        }
    }

    async fn register(&self) -> Fence {
        register(&self.database, self.id, self.incarnation).await
    }

    /// Commits until it is told to stop and has had its entries acknowledged.
    async fn run(mut self, is_over: Arc<AtomicBool>) -> Told {
        let groups: Vec<LogGroup> = (0..LOG_GROUPS).map(LogGroup).collect();
        let mut fence = self.register().await;
        while self.told.committed.len() < ENTRIES || !is_over.load(Relaxed) {
            // Now and then there is a new epoch while the old one is still writing.
            if rand::random_ratio(1, 20) {
                let zombie = self.proposal(fence, LogGroup(0), self.last_seq);
                let (new, ()) = tokio::join!(
                    register(&self.database, self.id, self.incarnation),
                    commit(
                        &self.database,
                        &mut self.told,
                        fence,
                        Mode::Each,
                        vec![zombie]
                    ),
                );
                fence = new;
            }
            if self.database.renew(fence, LEASE, 0).await == Err(DatabaseError::Fenced) {
                self.told.counts.fenced.fetch_add(1, Relaxed);
                fence = self.register().await;
            }
            let Ok(heads) = self.database.heads(&groups).await else {
                pause().await;
                continue;
            };
            self.last_seq = heads[0].seq;
            let mut proposals = Vec::new();
            for head in heads {
                if rand::random_bool(0.7) {
                    proposals.push(self.proposal(fence, head.group, head.seq));
                }
            }
            let mode = if rand::random_bool(0.5) {
                Mode::Each
            } else {
                Mode::AllOrNothing
            };
            commit(&self.database, &mut self.told, fence, mode, proposals).await;
        }
        self.told
    }

    fn proposal(&mut self, fence: Fence, group: LogGroup, expected_seq: i64) -> Proposal {
        self.entries += 1;
        let entry = format!("{} {} {}", self.id, fence.broker_epoch, self.entries);
        Proposal {
            group,
            expected_seq,
            entry: entry.into(),
            inline: Bytes::from(vec![7; 2000]),
        }
    }
}

async fn open(url: &str) -> PostgresDatabase {
    loop {
        match PostgresDatabase::open(url, GROUPS).await {
            Ok(database) => return database,
            Err(DatabaseError::Refused(why)) => panic!("{why}"),
            Err(_) => pause().await,
        }
    }
}

async fn register(database: &PostgresDatabase, id: i32, incarnation: Uuid) -> Fence {
    let mut registration = registration(Some(id), LEASE);
    registration.incarnation = incarnation;
    loop {
        match database.register(&registration).await {
            Ok(registered) => return registered.fence,
            Err(DatabaseError::Refused(why)) => panic!("{why}"),
            Err(_) => pause().await,
        }
    }
}

async fn commit(
    log: &PostgresDatabase,
    told: &mut Told,
    fence: Fence,
    mode: Mode,
    proposals: Vec<Proposal>,
) {
    let commit_id = Uuid::new_v4();
    let committed = match log.append_if(fence, commit_id, mode, &proposals).await {
        Ok(appended) => appended,
        Err(DatabaseError::InDoubt(_)) => {
            let mut committed = Vec::new();
            for Proposal {
                group,
                expected_seq,
                ..
            } in &proposals
            {
                told.counts.doubts.fetch_add(1, Relaxed);
                if resolve(log, *group, expected_seq + 1, commit_id).await {
                    told.counts.committed_in_doubt.fetch_add(1, Relaxed);
                    committed.push(*group);
                }
            }
            committed
        }
        Err(DatabaseError::Refused(why)) => panic!("{why}"),
        Err(DatabaseError::Fenced) => {
            told.counts.fenced.fetch_add(1, Relaxed);
            Vec::new()
        }
        Err(DatabaseError::Unavailable(_)) => {
            pause().await;
            Vec::new()
        }
    };
    if mode == Mode::AllOrNothing {
        assert!(committed.is_empty() || committed.len() == proposals.len());
    }
    for proposal in proposals {
        if committed.contains(&proposal.group) {
            let seq = proposal.expected_seq + 1;
            told.counts.committed.fetch_add(1, Relaxed);
            told.committed.push((proposal.entry, proposal.group, seq));
        } else {
            told.lost.insert(proposal.entry);
        }
    }
}

async fn resolve(log: &PostgresDatabase, group: LogGroup, seq: i64, commit_id: Uuid) -> bool {
    loop {
        match log.resolve(group, seq, commit_id).await {
            Ok(is_there) => return is_there,
            Err(DatabaseError::Unavailable(_)) => pause().await,
            Err(other) => panic!("{other}"),
        }
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Brokers at work, until `faults` have happened.
async fn through(url: &str, counts: &Arc<Counts>, faults: impl Future<Output = ()>) -> Vec<Told> {
    let is_over = Arc::new(AtomicBool::new(false));
    let mut brokers = JoinSet::new();
    for id in 0..BROKERS {
        let broker = Broker::open(id, url, counts).await;
        brokers.spawn(broker.run(Arc::clone(&is_over)));
    }
    tokio::select! {
        () = faults => is_over.store(true, Relaxed),
        ended = brokers.join_next() => panic!("a broker ends too early: {:?}", ended.map(|told| told.map(drop))),
    }
    brokers.join_all().await
}

/// Compares what brokers were told with what is there.
async fn judge(url: &str, counts: &Counts, told: Vec<Told>) {
    let database = open(url).await;
    let mut there: HashMap<Bytes, (LogGroup, i64)> = HashMap::new();
    for group in (0..LOG_GROUPS).map(LogGroup) {
        let mut known = 0;
        let mut epochs: HashMap<i32, i64> = HashMap::new();
        loop {
            let news = match database.read_from(&[(group, known)], 1 << 20).await {
                Ok(news) => news,
                Err(DatabaseError::Unavailable(_)) => {
                    pause().await;
                    continue;
                }
                Err(other) => panic!("{other}"),
            };
            assert_eq!(news.cut, []);
            if news.rows.is_empty() {
                break;
            }
            for row in news.rows {
                assert_eq!(row.seq, known + 1, "a gap");
                known = row.seq;
                if row.entry.is_empty() {
                    continue;
                }
                let text = std::str::from_utf8(&row.entry).unwrap();
                let epoch: i64 = text.split(' ').nth(1).unwrap().parse().unwrap();
                let newest = epochs.entry(row.broker_id).or_default();
                assert!(*newest <= epoch, "{text} was written by a zombie");
                *newest = epoch;
                let before = there.insert(row.entry.clone(), (group, row.seq));
                assert_eq!(before, None, "{text} is there twice");
            }
        }
    }
    for told in told {
        for (entry, group, seq) in &told.committed {
            assert_eq!(there.remove(entry), Some((*group, *seq)), "{entry:?}");
        }
        for entry in &told.lost {
            assert_eq!(there.get(entry), None, "{entry:?} was told to be lost");
        }
    }
    assert_eq!(there, HashMap::new(), "nobody was told of these");
    println!("{counts:?}");
    assert!(counts.doubts.load(Relaxed) > 0, "nothing has befallen them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_are_killed_lose_and_double_nothing() {
    let Some(server) = server() else { return };
    let url = new_database(server);
    let counts = Arc::default();
    let told = through(&url, &counts, async {
        let name = url.rsplit('/').next().unwrap();
        let (killer, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        for _ in 0..60 {
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE datname = $1 AND pid <> pg_backend_pid() AND state = 'active' \
                       ORDER BY random() LIMIT 3";
            killer.query(sql, &[&name]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    judge(&url, &counts, told.await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_lost_lose_and_double_nothing() {
    let Some(server) = server() else { return };
    let url = new_database(server);
    let proxy = DatabaseProxy::start(server.port()).await.unwrap();
    let port = |port: u16| format!(":{port}/");
    let url_of_proxy = url.replace(&port(server.port()), &port(proxy.port));
    let counts = Arc::default();
    let told = through(&url_of_proxy, &counts, async {
        proxy.lose_answers(3);
        tokio::time::sleep(Duration::from_secs(4)).await;
        for _ in 0..10 {
            proxy.cut();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        proxy.lose_answers(0);
    });
    judge(&url, &counts, told.await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_loses_and_doubles_nothing() {
    let Some(mut server) = available(Postgres::start()).unwrap() else {
        return;
    };
    let url = server.url();
    let counts = Arc::<Counts>::default();
    let told = through(&url, &counts, async {
        let mut kills = 0;
        while kills < 3 || counts.doubts.load(Relaxed) == 0 {
            assert!(kills < 30, "no kill meets a commit");
            // However slow the machine is: a kill is to meet brokers that commit.
            let before = counts.committed.load(Relaxed);
            while counts.committed.load(Relaxed) < before + 50 {
                pause().await;
            }
            server.kill();
            server.restart().unwrap();
            kills += 1;
        }
    });
    let told = told.await;
    judge(&url, &counts, told).await;
}
