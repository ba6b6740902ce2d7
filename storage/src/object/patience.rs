//! How long to wait for the object store. One that never answers must not keep anything from being tried again.

use std::time::Duration;

use object_store::{Error, Result};

/// For what is read.
pub(super) const READING: Duration = Duration::from_secs(10);
/// For what is written, listed or removed: it cannot be asked for twice at the same time.
pub(super) const WRITING: Duration = Duration::from_secs(60);

/// The answer to a request, if it comes in time.
pub(super) async fn answered<T>(
    patience: Duration,
    request: impl Future<Output = Result<T>>,
) -> Result<T> {
    let answer = tokio::time::timeout(patience, request).await;
    answer.unwrap_or_else(|_| {
        Err(Error::Generic {
            store: "cluster",
            source: format!("no answer within {} s", patience.as_secs()).into(),
        })
    })
}
