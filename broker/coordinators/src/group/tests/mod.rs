//! The rules of groups and offsets, each as a sentence.

mod admin;
mod consumer;
mod context;
mod embedded;
mod expiry;
mod join;
mod membership;
mod offsets;
mod random;
mod record;
mod scale;
pub(super) mod seed;
mod static_members;
mod sync;
mod torn_steps;
mod transactions;
