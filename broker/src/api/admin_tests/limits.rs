//! How topics come and go: limits, and names that were deleted a moment ago.

use super::*;

fn asked(topic: &str) -> MetadataRequest {
    let topic = MetadataRequestTopic::default().with_name(Some(name(topic)));
    MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(true)
}

async fn error_of(broker: &Arc<Broker>, topic: &str) -> i16 {
    metadata::handle(&at(broker, 9), asked(topic))
        .await
        .expect("paid")
        .topics[0]
        .error_code
}

async fn delete(broker: &Arc<Broker>, topic: &str) {
    let request = DeleteTopicsRequest::default().with_topic_names(vec![name(topic)]);
    let response = delete_topics::handle(&at(broker, 5), request).await;
    assert_eq!(response.responses[0].error_code, NONE);
}

#[tokio::test]
async fn a_topic_that_was_deleted_a_moment_ago_is_unknown_once_and_one_that_never_was_is_created() {
    let broker = broker_with(&[("a", 1)]).await;
    assert_eq!(error_of(&broker, "new").await, NONE);
    let unknown = ErrorCode::UnknownTopicOrPartition as i16;
    for _ in 0..2 {
        delete(&broker, "a").await;
        assert_eq!(error_of(&broker, "a").await, unknown);
        assert!(
            broker.metadata.image().topic("a").is_none(),
            "looking creates nothing"
        );
        assert_eq!(error_of(&broker, "a").await, NONE);
        assert_eq!(error_of(&broker, "a").await, NONE);
    }
    // Created again by somebody before anybody has looked: it is there.
    delete(&broker, "a").await;
    create(&broker, vec![creatable("a", 1)]).await;
    assert_eq!(error_of(&broker, "a").await, NONE);
}

#[tokio::test]
async fn topics_and_partitions_beyond_the_limits_are_a_violation_of_policy_however_they_are_asked_for()
 {
    let broker = broker("ottla.max.topics=3\nottla.max.partitions=10").await;
    let refused = ErrorCode::PolicyViolation as i16;
    let created = create(
        &broker,
        vec![creatable("a", 4), creatable("b", 7), creatable("c", 5)],
    )
    .await;
    let expected = [("a", NONE), ("b", refused), ("c", NONE)];
    assert_eq!(
        created,
        expected.map(|(name, error)| (name.to_owned(), error))
    );
    let grown = |topic: &str, count| {
        let topic = CreatePartitionsTopic::default()
            .with_name(name(topic))
            .with_count(count)
            .with_assignments(None);
        CreatePartitionsRequest::default().with_topics(vec![topic])
    };
    for (count, expected) in [(6, refused), (5, NONE)] {
        let answer = create_partitions::handle(&at(&broker, 3), grown("a", count)).await;
        assert_eq!(answer.results[0].error_code, expected, "{answer:?}");
    }
    assert_eq!(error_of(&broker, "d").await, refused);
    delete(&broker, "c").await;
    for (topic, expected) in [("d", NONE), ("e", NONE), ("f", refused)] {
        assert_eq!(error_of(&broker, topic).await, expected, "{topic}");
    }
    let request = CreateTopicsRequest::default().with_topics(vec![creatable("g", 1)]);
    let answer = create_topics::handle(&at(&broker, 7), request).await;
    let message = answer.topics[0].error_message.clone().expect("a message");
    assert!(message.contains("ottla.max.topics"), "{message}");
    // Or nobody could commit an offset any more.
    let offsets = broker
        .metadata
        .ensure_internal_topic("__consumer_offsets")
        .await;
    assert!(offsets.is_ok(), "{offsets:?}");
}
