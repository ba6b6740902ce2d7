//! What takes long is answered while the shards go on: targets and patterns.

use super::groups::{commit, coordinator_with, error_of};
use super::*;

fn heartbeat(group: &str, member_epoch: i32, topics: &[Name]) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group_id: group.into(),
        member_id: "m".into(),
        member_epoch,
        instance_id: None,
        rack_id: None,
        rebalance_timeout_ms: 60_000,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        viewer: Viewer::anonymous(),
        subscribed_topic_names: Some(topics.to_vec()),
        subscribed_topic_regex: None,
        resolved: None,
        server_assignor: None,
        owned: Some(Vec::new()),
        api_version: 1,
        member_uuid: Uuid::new_v4(),
    }
}

/// Runs a test that has one thread for blocking work.
fn with_one_blocking_thread(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().max_blocking_threads(1).build();
    let runtime = runtime.expect("built");
    runtime.block_on(test);
}

/// Keeps that thread busy until what it returns is dropped.
fn keep_busy() -> std::sync::mpsc::Sender<()> {
    let (let_go, told) = std::sync::mpsc::channel();
    tokio::task::spawn_blocking(move || told.recv());
    let_go
}

#[test]
fn a_shard_serves_its_groups_while_an_assignor_is_at_work() {
    with_one_blocking_thread(async {
        let log = TestLog::new();
        let metadata = metadata().await;
        let names: Vec<String> = (0..3_000).map(|number| format!("t{number}")).collect();
        let created = metadata.auto_create(names.clone()).await;
        assert!(created.iter().all(Result::is_ok));
        let (coordinator, _stop) = coordinator_with(&log, metadata).await;
        let names: Vec<Name> = names.into_iter().map(Name::from).collect();
        let let_go = keep_busy();

        let beat = async |group: &str, epoch: i32, topics: &[Name]| {
            let answered = coordinator.call(group, heartbeat(group, epoch, topics));
            let reply = answered.await.expect("answered");
            assert_eq!(reply.refusal, None);
            let topics = reply.assignment.expect("the answer to a full request");
            (reply.member_epoch, topics.len())
        };
        assert_eq!(beat("large", 0, &names).await, (1, 0));
        // The others of the shard, and the group itself, are served meanwhile.
        assert_eq!(beat("small", 0, &names[..1]).await, (2, 1));
        let committed = coordinator.call("other", commit("other", 1, 10)).await;
        assert_eq!(error_of(committed), Ok(None));
        assert_eq!(beat("large", 1, &names).await, (1, 0));

        drop(let_go);
        let mut large = (1, 0);
        while large.0 == 1 {
            tokio::task::yield_now().await;
            large = beat("large", 1, &names).await;
        }
        assert_eq!(large, (2, 3_000));
    });
}

fn moment(catalog: Arc<dyn Catalog>) -> Moment<dyn Catalog> {
    Moment {
        steady_ms: 0,
        wall_ahead_ms: 0,
        max_batch_bytes: MAX_BATCH_BYTES,
        catalog,
    }
}

fn target_of(question: Question) -> std::sync::Weak<TargetQuestion> {
    match question {
        Question::Target(asked) => asked,
        Question::Patterns(asked) => panic!("{asked:?}"),
    }
}

#[test]
fn an_assignor_does_not_begin_for_a_group_that_no_longer_waits() {
    with_one_blocking_thread(async {
        let now = moment(metadata().await.published());
        let let_go = keep_busy();
        let mut shard = GroupShard::new(GroupConfig {
            consumer_assignment_step_work: 0,
            ..GroupConfig::default()
        });
        let mut ask = |group: &str| {
            let request = GroupRequest::ConsumerHeartbeat(heartbeat(group, 0, &[]));
            let mut effects = shard.handle(&now, Token(0), request);
            assert_eq!(effects.questions.len(), 0, "nothing to compute");
            let request = GroupRequest::ConsumerHeartbeat(heartbeat(group, 1, &["t".into()]));
            effects = shard.handle(&now, Token(0), request);
            target_of(effects.questions.remove(0))
        };
        let asked: Vec<_> = (0..4).map(|number| ask(&format!("g{number}"))).collect();
        let assignors = Arc::new(Assignors::default());
        let computing: Vec<_> = asked
            .iter()
            .map(|asked| {
                let (assignors, asked) = (Arc::clone(&assignors), asked.clone());
                tokio::spawn(async move { assignors.compute(asked).await })
            })
            .collect();
        // Two are at work, the others wait for their turns.
        tokio::task::yield_now().await;
        drop(shard);
        let begun = asked.iter().map(|asked| asked.strong_count());
        assert_eq!(begun.collect::<Vec<_>>(), [1, 1, 0, 0]);
        drop(let_go);
        let mut answers = Vec::new();
        for computed in computing {
            answers.push(computed.await.expect("no panic").is_some());
        }
        assert_eq!(answers, [true, true, false, false]);
    });
}

/// Topics about which nobody can ask on another thread.
#[derive(Debug)]
struct OneThread(std::thread::ThreadId);

impl Catalog for OneThread {
    fn topic(&self, _: &str) -> Option<(Uuid, i32)> {
        assert_eq!(std::thread::current().id(), self.0, "meant to panic");
        Some((Uuid::from_u128(1), 1))
    }

    fn topic_name(&self, _: Uuid) -> Option<Name> {
        None
    }

    fn visit_topic_names(&self, _: &mut dyn FnMut(&Name)) {}

    fn group_setting(&self, _: &str, _: &str) -> Option<i32> {
        None
    }
}

#[tokio::test]
async fn an_assignor_that_panics_does_not_do_so_unnoticed() {
    let mut shard = GroupShard::new(GroupConfig {
        consumer_assignment_step_work: 0,
        ..GroupConfig::default()
    });
    let now = moment(Arc::new(OneThread(std::thread::current().id())));
    let request = GroupRequest::ConsumerHeartbeat(heartbeat("g", 0, &["t".into()]));
    let mut questions = shard.handle(&now, Token(0), request).questions;
    let asked = target_of(questions.remove(0));
    let computed = tokio::spawn(async move { Assignors::default().compute(asked).await });
    // Its shard panics with it, and so the broker ends.
    assert!(computed.await.is_err_and(|error| error.is_panic()));
}

#[tokio::test]
async fn an_expression_is_matched_with_what_is_new_and_forgets_what_is_gone() {
    let metadata = metadata().await;
    let resolver = PatternResolver::default();
    let pattern: Name = "log-.*".into();
    let create = async |name: &str| {
        let created = metadata.auto_create(vec![name.to_owned()]).await;
        created[0].as_ref().expect("created").topic_id
    };
    let resolve = async || {
        let image = metadata.image();
        let topics = resolver.resolve(&pattern, &image).await.expect("valid");
        topics
            .iter()
            .map(|name| name.to_string())
            .collect::<Vec<_>>()
    };
    let first = create("log-a").await;
    create("other").await;
    assert_eq!(resolve().await, ["log-a"]);
    create("log-b").await;
    create("my-log-c").await;
    assert_eq!(resolve().await, ["log-a", "log-b"]);
    let deleted = metadata.delete_topics(vec![TopicRef::Id(first)]).await;
    assert!(deleted[0].is_ok());
    assert_eq!(resolve().await, ["log-b"]);
    create("log-a").await;
    assert_eq!(resolve().await, ["log-a", "log-b"]);
    let wrong = resolver.resolve(&"(".into(), &metadata.image()).await;
    assert!(wrong.is_err());
}

#[tokio::test]
async fn an_expression_with_much_to_match_takes_turns_with_others() {
    let metadata = metadata().await;
    let create = async |names: Vec<String>| {
        let created = metadata.auto_create(names).await;
        assert!(created.iter().all(Result::is_ok));
        metadata.image()
    };
    let few = create(vec!["one".to_owned()]).await;
    let many = create((0..500).map(|number| format!("t{number}")).collect()).await;
    // Each turn takes the least that it can.
    let resolver = Arc::new(PatternResolver::with_turns_of(std::time::Duration::ZERO));
    let long = tokio::spawn({
        let (resolver, pattern) = (Arc::clone(&resolver), "t.*".into());
        async move { resolver.resolve(&pattern, &many).await }
    });
    let short = resolver.resolve(&"o.*".into(), &few).await;
    assert_eq!(short.expect("valid").len(), 1);
    assert!(!long.is_finished(), "the short one had to wait for it");
    assert_eq!(long.await.expect("no panic").expect("valid").len(), 500);
}
