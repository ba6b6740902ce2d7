//! What a wrong checksum means.

/// Whether a wrong checksum passes for a right one: under `cfg(fuzzing)` alone, where hardly an input would get any further.
#[allow(unexpected_cfgs)] // set by cargo-fuzz
pub(crate) const CHECKSUMS_PASS: bool = cfg!(fuzzing);
