//! The door to chance. In a simulation a seed decides it.

#[cfg(feature = "simulation")]
pub(crate) use crate::testing::scheduler::new_uuid;

/// An id that nobody has.
#[cfg(not(feature = "simulation"))]
pub(crate) fn new_uuid() -> uuid::Uuid {
    uuid::Uuid::new_v4()
}
