//! The doors to what lies outside of the process: files, time, threads and chance. Tests put something else behind them.

pub mod clock;
pub mod fs;
pub(crate) mod random;
pub(crate) mod sync;
pub(crate) mod wakeup;
