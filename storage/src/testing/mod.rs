//! What tests put behind the doors of [`crate::env`], and entry points for fuzzers.

pub mod faulty_objects;
pub mod fuzzing;
pub mod hooked_fs;
pub(crate) mod random;
#[cfg(feature = "simulation")]
pub mod scheduler;
pub mod sim_disk;
