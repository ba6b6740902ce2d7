//! The rules of transactions, each as a sentence.

mod add;
mod context;
mod end;
mod init;
mod list;
mod producer_ids;
mod random;
mod record;
mod restart;
mod time;
