//! What a commit takes: `cargo test --release -p compat-tests --test database -- --ignored --nocapture speed`
//!
//! The server syncs to disk here, as it does in earnest.

use std::time::{Duration, Instant};

use bytes::Bytes;
use compat_tests::available;
use compat_tests::stores::Postgres;
use hdrhistogram::Histogram;
use storage::object::database::{
    Brokers as _, LogGroup, Mode, OrderedLog as _, PostgresDatabase, Proposal,
};
use uuid::Uuid;

use crate::rules::{GROUPS, LONG, register};

const TIME: Duration = Duration::from_secs(10);
/// About fifty runs of batches.
const ENTRY_BYTES: usize = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, for a minute"]
async fn speed_of_commits() {
    let settings = ["fsync=on"];
    let Some(server) = available(Postgres::start_with(&settings, &[])).unwrap() else {
        return;
    };
    // So many brokers share the groups without meeting in any.
    for brokers in [1, 4, 16] {
        let own = GROUPS / brokers;
        let mut running = Vec::new();
        for broker in 0..brokers {
            let groups = broker * own..(broker + 1) * own;
            let url = server.url();
            running.push(tokio::spawn(
                async move { commit(&url, broker, groups).await },
            ));
        }
        let mut took = Histogram::<u64>::new(3).unwrap();
        for running in running {
            took.add(running.await.unwrap()).unwrap();
        }
        let ms = |quantile| took.value_at_quantile(quantile) as f64 / 1000.0;
        let commits = took.len() as f64 / TIME.as_secs_f64();
        println!(
            "{brokers} brokers, {own} groups each: {commits:.0} commits/s, {:.0} rows/s, p50 {:.1} ms, p99 {:.1} ms",
            commits * f64::from(own),
            ms(0.5),
            ms(0.99)
        );
    }
}

/// Commits to these groups for a while; gives how long each commit took, in µs.
async fn commit(url: &str, broker: u16, groups: std::ops::Range<u16>) -> Histogram<u64> {
    let database = PostgresDatabase::open(url, GROUPS).await.unwrap();
    let fence = register(&database, i32::from(broker), LONG)
        .await
        .unwrap()
        .fence;
    let groups: Vec<LogGroup> = groups.map(LogGroup).collect();
    let heads = database.heads(&groups).await.unwrap();
    let mut seqs: Vec<i64> = heads.iter().map(|head| head.seq).collect();
    let entry = Bytes::from(vec![7; ENTRY_BYTES]);
    let mut took = Histogram::new(3).unwrap();
    let began = Instant::now();
    while began.elapsed() < TIME {
        let proposals: Vec<Proposal> = groups
            .iter()
            .zip(&seqs)
            .map(|(group, seq)| Proposal {
                group: *group,
                expected_seq: *seq,
                entry: entry.clone(),
                inline: Bytes::new(),
            })
            .collect();
        let start = Instant::now();
        let appended = database
            .append_if(fence, Uuid::new_v4(), Mode::Each, &proposals)
            .await
            .unwrap();
        assert_eq!(appended.len(), groups.len());
        took.record(start.elapsed().as_micros() as u64).unwrap();
        for seq in &mut seqs {
            *seq += 1;
        }
    }
    database.leave(fence).await.unwrap();
    took
}
