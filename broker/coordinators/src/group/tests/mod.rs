//! The rules of groups and offsets, each as a sentence.

mod admin;
mod allowance;
mod assignor;
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
mod seed;
mod static_members;
mod sync;
mod torn_steps;
mod transactions;
