//! The rules of groups and offsets, each as a sentence.

mod admin;
mod assignor;
mod consumer;
mod context;
mod embedded;
mod expiry;
mod join;
mod late_markers;
mod membership;
mod offsets;
mod prices;
mod random;
mod record;
mod scale;
mod static_members;
mod sync;
mod torn_steps;
mod transactions;
