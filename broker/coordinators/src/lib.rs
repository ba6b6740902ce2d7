//! Coordinators as pure state machines.
//!
//! [`machine`] says what a coordinator is and how its owner drives it; [`group`] is the coordinator of groups and their
//! committed offsets. Whatever needs time, files, the network or randomness is in the broker, around these machines.

pub mod batch_size;
mod codec;
pub mod group;
pub mod machine;
mod timer;
