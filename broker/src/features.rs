//! What this broker tells of itself as Kafka's features (KIP-584): what works, at the one level at which it does.
//!
//! A feature that is not here is not to be relied on. Levels are those of Kafka 4.4. They do not change while the broker runs,
//! and cannot be changed by UpdateFeatures.

/// A feature, and its level.
pub(crate) const FEATURES: &[(&str, i16)] = &[
    ("group.version", 1),
    // Tools show it as the release 4.4-IV2. What it stands for is between Kafka's own brokers and controllers.
    ("metadata.version", 33),
    ("transaction.version", 2),
];

/// The level of a feature, if this broker has it.
pub(crate) fn level(feature: &str) -> Option<i16> {
    let found = FEATURES.iter().find(|(name, _)| *name == feature);
    found.map(|(_, level)| *level)
}
