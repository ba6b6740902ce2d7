//! One partition's log and the state that is rebuilt from it.
