//! Ottla.

pub mod group;
