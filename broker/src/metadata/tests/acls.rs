//! Access control entries in the log.

use super::super::record::METADATA_VERSION_FEATURE;
use super::*;
use crate::acl::{Acl, AclOperation, PatternKind, Permission, ResourceKind};

fn acl(name: &str) -> Acl {
    Acl {
        resource: ResourceKind::Topic,
        pattern: PatternKind::Literal,
        name: name.into(),
        principal: "User:ann".into(),
        host: "*".into(),
        operation: AclOperation::Read,
        permission: Permission::Allow,
    }
}

fn names(metadata: &Metadata) -> Vec<String> {
    let image = metadata.image();
    image
        .acls()
        .iter()
        .map(|(_, acl)| acl.name.to_string())
        .collect()
}

async fn open(log: &Arc<dyn storage::log::PartitionLog>) -> Metadata {
    let store = Box::new(MetadataLog::new(Arc::clone(log)));
    let observer: Observer = Arc::new(|_, _| {});
    let opened = Metadata::open(store, "test-cluster", broker_config(""), observer).await;
    opened.expect("opened")
}

async fn levels(log: &Arc<dyn storage::log::PartitionLog>) -> Vec<i16> {
    let loaded = MetadataLog::new(Arc::clone(log))
        .load(0)
        .await
        .expect("loaded");
    let records = loaded.records.into_iter();
    let levels = records.filter_map(|record| match record {
        MetadataRecord::FeatureLevel { name, level } if name == METADATA_VERSION_FEATURE => {
            Some(level)
        }
        _ => None,
    });
    levels.collect()
}

/// An older version goes on with a log that has nothing new to it, and refuses one that has.
#[tokio::test]
async fn a_log_has_the_lowest_level_until_the_first_acl() {
    let manager = storage::memory::open();
    let config = Arc::new(metadata_log_config());
    let log = manager.open_log(metadata_log_id(), config).expect("open");
    let metadata = open(&log).await;
    create(&metadata, topic("one", 1)).await.expect("made");
    assert_eq!(levels(&log).await, [1]);
    metadata
        .create_acls(NewAcls(vec![acl("one")]))
        .await
        .expect("made");
    metadata
        .create_acls(NewAcls(vec![acl("two")]))
        .await
        .expect("made");
    assert_eq!(levels(&log).await, [1, 2]);
    drop(metadata);
    let again = open(&log).await;
    assert_eq!(names(&again), ["one", "two"]);
    create(&again, topic("two", 1)).await.expect("made");
    assert_eq!(levels(&log).await, [1, 2]);
}

#[tokio::test]
async fn an_acl_is_there_once_and_gone_when_it_is_deleted() {
    let metadata = in_memory("").await;
    let twice = NewAcls(vec![acl("one"), acl("one"), acl("two")]);
    metadata.create_acls(twice).await.expect("made");
    metadata
        .create_acls(NewAcls(vec![acl("one")]))
        .await
        .expect("there");
    assert_eq!(names(&metadata), ["one", "two"]);
    let ids: Vec<Uuid> = metadata.image().acls().iter().map(|(id, _)| id).collect();
    for _ in 0..2 {
        metadata
            .delete_acls(OldAcls(vec![ids[0]]))
            .await
            .expect("gone");
        assert_eq!(names(&metadata), ["two"]);
    }
}

#[tokio::test]
async fn a_change_of_too_many_acls_changes_nothing() {
    let metadata = in_memory("").await;
    let many = |count: usize| NewAcls((0..count).map(|at| acl(&format!("topic-{at}"))).collect());
    let refused = metadata.create_acls(many(MAX_ACLS_PER_CHANGE + 1)).await;
    let expected = "Unable to perform excessively large batch operation.";
    assert_eq!(
        refused,
        Err(MetadataError::PolicyViolation(expected.to_owned()))
    );
    assert_eq!(names(&metadata).len(), 0);
    metadata
        .create_acls(many(MAX_ACLS_PER_CHANGE))
        .await
        .expect("made");
    assert_eq!(names(&metadata).len(), MAX_ACLS_PER_CHANGE);
    // What is there already does not count.
    metadata
        .create_acls(many(MAX_ACLS_PER_CHANGE + 1))
        .await
        .expect("made");
    let long = (0..300).map(|at| acl(&format!("{at}{}", "x".repeat(32_000))));
    let refused = metadata.create_acls(NewAcls(long.collect())).await;
    assert_eq!(
        refused,
        Err(MetadataError::PolicyViolation(expected.to_owned()))
    );
}

#[tokio::test]
async fn a_snapshot_has_the_acls() {
    let metadata = in_memory("").await;
    metadata
        .create_acls(NewAcls(vec![acl("one"), acl("two")]))
        .await
        .expect("made");
    let image = metadata.image();
    let mut replay = Replay::new(MetadataImage::empty(image.cluster_id()), None);
    for record in snapshot::records(&image, 1) {
        replay.apply(&record).expect("fits");
    }
    assert_eq!(replay.image, *image);
}

#[test]
fn an_acl_that_is_not_understood_is_never_passed_over() {
    let record = |principal: &str, codes: [i8; 4]| MetadataRecord::AccessControlEntry {
        id: Uuid::new_v4(),
        resource_type: codes[0],
        resource_name: "one".to_owned(),
        pattern_type: codes[1],
        principal: principal.to_owned(),
        host: "*".to_owned(),
        operation: codes[2],
        permission_type: codes[3],
    };
    let mut image = MetadataImage::empty("test-cluster");
    for codes in [[9, 3, 3, 3], [2, 2, 3, 3], [2, 3, 16, 3], [2, 3, 3, 1]] {
        assert!(
            image.apply(&record("User:ann", codes)).is_err(),
            "{codes:?}"
        );
    }
    assert!(image.apply(&record("ann", [2, 3, 3, 3])).is_err());
    image
        .apply(&record("User:ann", [2, 3, 3, 3]))
        .expect("understood");
    assert!(
        image.apply(&record("User:ann", [2, 3, 3, 3])).is_err(),
        "it is there"
    );
}
