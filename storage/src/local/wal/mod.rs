//! The write-ahead log: what makes the appends of all partitions durable with one device write.
//!
//! [`commit::Wal`] collects entries in [`chunk`]s and writes them into the [`ring`] in groups;
//! [`format`] names their bytes. Behind it, segments are written from the same chunks, and a
//! [`checkpoint`] says from where on the log is still needed. [`replay`] reads it back.

pub mod checkpoint;
pub mod chunk;
pub mod commit;
pub mod entry;
mod filling;
pub mod format;
pub mod logs;
pub mod replay;
pub mod ring;

#[cfg(test)]
mod tests;
