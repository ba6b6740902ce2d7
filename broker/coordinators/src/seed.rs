//! What repeats a random test: its seed, and for how many seeds it runs.

/// A number from the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "a test that failed takes its seed back"
)]
pub(crate) fn number_from_env(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}
