//! Quotas: how much clients may do in a second, and what becomes of those that do more (KIP-13, 124, 219, 546, 599).

pub mod rate;
pub mod token_bucket;

#[cfg(test)]
mod tests;

/// What a rate is measured over: so many spans of so long. Kafka's `quota.window.num` and `quota.window.size.seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    pub count: usize,
    pub span_ms: i64,
}

impl Sampling {
    /// `count` spans of `span_seconds`.
    pub fn new(count: i32, span_seconds: i32) -> Self {
        Self {
            count: usize::try_from(count).unwrap_or(1).max(1),
            span_ms: i64::from(span_seconds.max(1)) * 1000,
        }
    }
}
