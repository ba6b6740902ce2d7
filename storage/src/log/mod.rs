//! One partition's log and the state that is rebuilt from it.

pub mod leader_epoch;
pub mod producer_state;
