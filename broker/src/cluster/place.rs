//! A cluster has its objects in one place, and the place is this cluster's alone.
//!
//! A broker with the address of another bucket would write records that the others cannot read, and of two clusters in one place
//! each would take the other's objects for orphans. So the place has a mark, an object that names the cluster and has an id of its
//! own, and the cluster's database has that id. Each is written once, by the broker that comes first, and compared at every start.

use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload};
use serde_json::{Value, json};
use storage::object::database::{Brokers, ObjectsPlace};
use uuid::Uuid;

use super::stores::StoresError;

const MARK: &str = "cluster.json";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    cluster_id: Uuid,
    place_id: Uuid,
}

impl Mark {
    fn encode(self) -> String {
        let (cluster_id, place_id) = (self.cluster_id, self.place_id);
        json!({ "cluster_id": cluster_id.to_string(), "place_id": place_id.to_string() })
            .to_string()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let fields: Value = serde_json::from_slice(bytes).ok()?;
        let id = |name: &str| fields.get(name)?.as_str()?.parse().ok();
        Some(Self {
            cluster_id: id("cluster_id")?,
            place_id: id("place_id")?,
        })
    }
}

/// Makes sure that the objects of the database's cluster are here, and no other cluster's. Of a cluster that has none yet they are
/// from now on. Whoever was interrupted begins anew.
///
/// # Errors
/// They are elsewhere, or the place is another cluster's; or one of the stores does not answer.
pub(super) async fn claim(
    objects: &dyn ObjectStore,
    url: &str,
    database: &dyn Brokers,
) -> Result<(), StoresError> {
    let refused = |what: String| {
        let url = url.to_owned();
        Err(StoresError::Objects { url, what })
    };
    let cluster = database.identity().await.map_err(StoresError::Database)?;
    let ours = storage::kafka_uuid(cluster.cluster_id);
    let mark = match (read(objects, url).await?, &cluster.objects) {
        (Some(mark), _) => mark,
        (None, Some(settled)) => {
            return refused(format!(
                "nothing of the cluster {ours} is here: its brokers have their objects in {}",
                settled.url
            ));
        }
        (None, None) => put(objects, url, cluster.cluster_id).await?,
    };
    if mark.cluster_id != cluster.cluster_id {
        return refused(format!(
            "this is the place of the cluster {}, and the database is that of the cluster {ours}: \
             name another prefix, or the other database",
            storage::kafka_uuid(mark.cluster_id)
        ));
    }
    let here = ObjectsPlace {
        id: mark.place_id,
        url: url.to_owned(),
    };
    let settled = match cluster.objects {
        Some(settled) => settled,
        None => database
            .settle_objects(&here)
            .await
            .map_err(StoresError::Database)?,
    };
    match settled.id == here.id {
        true => Ok(()),
        false => refused(format!(
            "the other brokers of the cluster {ours} have their objects in {}, which is not the same place",
            settled.url
        )),
    }
}

async fn read(objects: &dyn ObjectStore, url: &str) -> Result<Option<Mark>, StoresError> {
    let failed = |what: String| StoresError::Objects {
        url: url.to_owned(),
        what: format!("{MARK} cannot be read: {what}"),
    };
    let found = match objects.get(&Path::from(MARK)).await {
        Ok(found) => found.bytes().await,
        Err(Error::NotFound { .. }) => return Ok(None),
        Err(error) => Err(error),
    };
    let found = found.map_err(|error| failed(error.to_string()))?;
    let mark = Mark::decode(&found);
    mark.map(Some)
        .ok_or_else(|| failed("it is another program's".to_owned()))
}

/// Puts a mark, unless another is first. Gives the one that is there.
async fn put(objects: &dyn ObjectStore, url: &str, cluster_id: Uuid) -> Result<Mark, StoresError> {
    let mark = Mark {
        cluster_id,
        place_id: Uuid::new_v4(),
    };
    let bytes = mark.encode();
    let path = Path::from(MARK);
    let only_if_first = objects.put_opts(
        &path,
        PutPayload::from(bytes.clone()),
        PutMode::Create.into(),
    );
    let put = match only_if_first.await {
        // A store that knows no conditions.
        Err(Error::NotImplemented { .. } | Error::NotSupported { .. }) => {
            objects.put(&path, PutPayload::from(bytes)).await
        }
        put => put,
    };
    // Whatever became of it: what counts is what is there.
    match (read(objects, url).await?, put) {
        (Some(mark), _) => Ok(mark),
        (None, put) => {
            let why = put
                .err()
                .map_or_else(String::new, |error| format!(": {error}"));
            Err(StoresError::Objects {
                url: url.to_owned(),
                what: format!("{MARK} cannot be put{why}"),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use storage::env::clock::SystemClock;
    use storage::object::database::MemoryDatabase;

    use super::*;

    fn database() -> MemoryDatabase {
        MemoryDatabase::new(Arc::new(SystemClock::default()), 4)
    }

    async fn refusal(objects: &InMemory, database: &MemoryDatabase) -> String {
        let claimed = claim(objects, "s3://bucket/wrong", database).await;
        claimed.expect_err("refused").to_string()
    }

    #[tokio::test]
    async fn brokers_of_a_cluster_have_one_place_and_two_clusters_two() {
        let (ours, here) = (database(), InMemory::new());
        for _ in 0..3 {
            claim(&here, "s3://bucket/here", &ours).await.expect("ours");
        }
        // An empty place, and it stays so.
        let elsewhere = InMemory::new();
        for _ in 0..2 {
            let why = refusal(&elsewhere, &ours).await;
            assert!(why.starts_with("s3://bucket/wrong: "), "{why}");
            assert!(
                why.ends_with("have their objects in s3://bucket/here"),
                "{why}"
            );
        }
        let theirs = database();
        let why = refusal(&here, &theirs).await;
        assert!(
            why.contains("name another prefix, or the other database"),
            "{why}"
        );
        // Its database is not settled by that.
        claim(&elsewhere, "s3://bucket/there", &theirs)
            .await
            .expect("free");
        assert!(
            refusal(&here, &theirs)
                .await
                .contains("name another prefix")
        );
        claim(&here, "s3://alias/here", &ours)
            .await
            .expect("the same place");
    }

    #[tokio::test]
    async fn a_place_that_was_marked_for_a_broker_which_came_second_is_not_used() {
        let (ours, here, there) = (database(), InMemory::new(), InMemory::new());
        let cluster = ours.identity().await.expect("there").cluster_id;
        // Both have marked a place; one has settled it.
        put(&there, "s3://bucket/there", cluster)
            .await
            .expect("marked");
        claim(&here, "s3://bucket/here", &ours).await.expect("ours");
        let why = refusal(&there, &ours).await;
        assert!(
            why.contains("in s3://bucket/here, which is not the same place"),
            "{why}"
        );
    }

    #[tokio::test]
    async fn of_many_that_come_at_once_all_have_the_first_one_s_place() {
        let (ours, here) = (database(), Arc::new(InMemory::new()));
        let claims = (0..16).map(|_| {
            let (ours, here) = (ours.clone(), Arc::clone(&here));
            tokio::spawn(async move { claim(&*here, "s3://bucket", &ours).await })
        });
        for claim in claims.collect::<Vec<_>>() {
            claim.await.expect("no panic").expect("ours");
        }
    }

    #[tokio::test]
    async fn a_mark_that_is_no_mark_is_not_written_over() {
        let (ours, here) = (database(), InMemory::new());
        let theirs = PutPayload::from_static(b"{}");
        here.put(&Path::from(MARK), theirs).await.expect("put");
        let why = refusal(&here, &ours).await;
        assert!(why.contains("cluster.json cannot be read"), "{why}");
    }
}
