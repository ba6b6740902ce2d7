//! Whether the object store is there, while nobody needs it.
//!
//! Uploads and reads find out by themselves. A broker that nobody writes to would tell that all is well until somebody does. So it
//! asks for the head of one object every now and then; whether there is such an object does not matter.

use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path;
use object_store::{Error, ObjectStoreExt};

use super::engine::Engine;

const ASKED_FOR: &str = "cluster.json";
/// A store that takes longer is not well.
const PATIENCE: Duration = Duration::from_secs(5);

impl Engine {
    /// Looks whether the object store answers, for ever.
    pub async fn look_at_objects(self: Arc<Self>, every: Duration) {
        let path = Path::from(ASKED_FOR);
        loop {
            tokio::time::sleep(every).await;
            let looked = tokio::time::timeout(PATIENCE, self.config.objects.head(&path)).await;
            let trouble = match looked {
                Ok(Ok(_) | Err(Error::NotFound { .. })) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {} s", PATIENCE.as_secs())),
            };
            *self.objects_trouble.lock() = trouble.map(|what| format!("the object store: {what}"));
        }
    }
}
