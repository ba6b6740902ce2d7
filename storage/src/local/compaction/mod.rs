//! Compaction of logs on files. What is due and what is kept says [`crate::compaction`], which knows no files.
//!
//! [`crate::local::segment::swap`] replaces the files of segments so that a crash at any point leaves either the old or the
//! new ones. The file names and the checkpoint file are Kafka's.

mod file_log;
mod log_cleaner;

pub(crate) use log_cleaner::LogCleaner;
