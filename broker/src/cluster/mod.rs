//! The cluster, of which this broker is a part.

pub mod view;
