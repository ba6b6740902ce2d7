//! Kafka's wire protocol: bytes to typed requests and typed responses to bytes. No I/O, no state.
//!
//! A request passes [`frame`] (its length), [`header`], [`api_spec`] (is it served), [`guard`] and [`decode`]; a
//! response leaves through [`encode`], or through [`fetch_response`] when it carries records.
//!
//! The structs of requests and responses are those of [`kafka_protocol::messages`], or of [`newer`] where that crate lacks
//! a version.

pub mod access;
#[cfg(any(test, feature = "samples"))]
pub mod any_message;
pub mod api_spec;
pub mod decode;
pub mod encode;
pub mod error_code;
pub mod fetch_response;
mod first_error;
pub mod frame;
pub mod guard;
pub mod header;
pub mod newer;
pub mod primitives;
#[cfg(any(test, feature = "samples"))]
pub mod sample;
mod text;

pub use api_spec::{ApiClass, ApiSpec};
pub use decode::{DecodeError, decode_request};
pub use encode::{EncodeError, ResponseFrame, encode_response};
pub use error_code::ErrorCode;
pub use header::RequestHeader;
