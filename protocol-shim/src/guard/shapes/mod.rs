//! The shape of every request body that a broker listener may meet and `kafka-protocol` can decode.
//!
//! Facts from Kafka's message definitions (`clients/src/main/resources/common/message`), restricted to the
//! versions in [`crate::api_spec`]. To add a version: extend the field list here, the range there, and let
//! `guard/tests` compare both with the decoder.

pub(crate) mod admin;
pub(crate) mod cluster;
pub(crate) mod data;
pub(crate) mod group;
pub(crate) mod security;
pub(crate) mod share;
pub(crate) mod transaction;
