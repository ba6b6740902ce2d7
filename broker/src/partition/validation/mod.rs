//! Validates what producers send, without holding up other clients of the same worker.
//!
//! Small batches are opened where the request is handled, as uncompressed ones are walked through. Whatever takes longer
//! goes to a thread of its own, at most as many at once as there are processors; and one request opens only so much.

use std::sync::Arc;

use bytes::Bytes;
use storage::record::ValidatedBatch;
use storage::record::validate::{ValidateError, validate_within};
use tokio::sync::Semaphore;

use super::registry::TopicSettings;

/// What is decompressed on an async worker before others have their turn: half a millisecond of gzip.
const QUICK_BYTES: usize = 256 << 10;
/// What a request may decompress to, however small it is.
const REQUEST_BYTES: usize = 64 << 20;
/// What each byte of a request may decompress to beyond that.
const REQUEST_RATIO: usize = 64;

/// The threads that open large batches.
pub struct Validators(Arc<Semaphore>);

impl Default for Validators {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new(processors)))
    }
}

/// The batches of one request, one after the other.
pub struct RequestValidation<'a> {
    validators: &'a Validators,
    zstd_allowed: bool,
    /// Bytes that may still be decompressed.
    left_bytes: usize,
    /// Bytes decompressed here since others had their turn.
    quick_bytes: usize,
}

impl<'a> RequestValidation<'a> {
    /// For a request with `request_bytes` of batches.
    pub(crate) fn new(
        validators: &'a Validators,
        request_bytes: usize,
        zstd_allowed: bool,
    ) -> Self {
        Self {
            validators,
            zstd_allowed,
            left_bytes: request_bytes
                .saturating_mul(REQUEST_RATIO)
                .saturating_add(REQUEST_BYTES),
            quick_bytes: 0,
        }
    }

    /// Checks the batch for one partition.
    ///
    /// # Errors
    /// What to answer for this partition.
    pub(crate) async fn validate(
        &mut self,
        records: &Bytes,
        settings: &Arc<TopicSettings>,
        now_ms: i64,
    ) -> Result<ValidatedBatch, ValidateError> {
        let quick_bytes = QUICK_BYTES.min(self.left_bytes);
        let mut left_bytes = quick_bytes;
        let config = &settings.validate;
        let validated =
            validate_within(records, config, self.zstd_allowed, now_ms, &mut left_bytes);
        let spent_bytes = quick_bytes - left_bytes;
        self.left_bytes -= spent_bytes;
        self.quick_bytes += spent_bytes;
        let is_longer =
            spent_bytes > 0 && matches!(validated, Err(ValidateError::MessageTooLarge(_)));
        if is_longer {
            return self.validate_elsewhere(records, settings, now_ms).await;
        }
        if self.quick_bytes >= QUICK_BYTES {
            self.quick_bytes = 0;
            tokio::task::yield_now().await;
        }
        validated
    }

    async fn validate_elsewhere(
        &mut self,
        records: &Bytes,
        settings: &Arc<TopicSettings>,
        now_ms: i64,
    ) -> Result<ValidatedBatch, ValidateError> {
        let permit = Arc::clone(&self.validators.0).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let (records, settings) = (records.clone(), Arc::clone(settings));
        let (zstd_allowed, mut left_bytes) = (self.zstd_allowed, self.left_bytes);
        let validating = tokio::task::spawn_blocking(move || {
            // The request may have gone away meanwhile: the thread is taken until it is done.
            let _permit = permit;
            let config = &settings.validate;
            let validated =
                validate_within(&records, config, zstd_allowed, now_ms, &mut left_bytes);
            (validated, left_bytes)
        });
        match validating.await {
            Ok((validated, left_bytes)) => {
                self.left_bytes = left_bytes;
                validated
            }
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(ValidateError::CorruptMessage(
                    "the broker is shutting down".to_owned(),
                )),
            },
        }
    }
}

#[cfg(test)]
mod tests;
