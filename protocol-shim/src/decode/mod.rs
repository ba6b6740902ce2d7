//! Request bodies to typed requests.

use bytes::Bytes;
use kafka_protocol::protocol::Decodable;

use crate::api_spec::{self, API_VERSIONS, ApiSpec};
use crate::error_code::ErrorCode;
use crate::guard::{self, GuardError};
use crate::newer::api_versions::{ApiVersion, ApiVersionsResponse};

/// A body is not a request of its API and version. Kafka answers INVALID_REQUEST where it can, or closes the
/// connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Nothing in this crate describes the API.
    #[error("unknown API key {0}")]
    UnknownApi(i16),
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// A tagged field in a version that does not have it.
    #[error("{api} v{version}: {reason}")]
    Malformed {
        api: &'static str,
        version: i16,
        reason: String,
    },
}

/// Decodes the body of a request of `api_key`, which must be `R`'s.
///
/// Strings, bytes and records of the result share `body`'s memory: copy what is to outlive the request. As in Kafka,
/// bytes behind the last field are ignored, and text that is not UTF-8 is replaced.
///
/// Does not ask whether the broker serves the API.
///
/// # Errors
/// When `body` does not begin with a request of `R` in `version`.
pub fn decode_request<R: Decodable>(
    api_key: i16,
    version: i16,
    body: Bytes,
) -> Result<R, DecodeError> {
    check_request(api_key, version, &body)?.decode()
}

/// A body that is complete, before it takes more memory than its bytes.
#[derive(Debug)]
pub struct CheckedBody {
    spec: &'static ApiSpec,
    version: i16,
    decodable: Bytes,
    element_count: usize,
}

/// The first half of [`decode_request`]: nothing is allocated, unless text has to be replaced.
///
/// # Errors
/// As [`decode_request`].
pub fn check_request(api_key: i16, version: i16, body: &Bytes) -> Result<CheckedBody, DecodeError> {
    let spec = api_spec::spec(api_key).ok_or(DecodeError::UnknownApi(api_key))?;
    let (decodable, element_count) = guard::check_and_count(spec, version, body)?;
    Ok(CheckedBody {
        spec,
        version,
        decodable,
        element_count,
    })
}

impl CheckedBody {
    /// How many elements of arrays and tagged fields there are. Each may take some hundred bytes when it is decoded, and
    /// again in the response.
    pub fn element_count(&self) -> usize {
        self.element_count
    }

    /// The second half of [`decode_request`].
    ///
    /// # Errors
    /// As [`decode_request`].
    pub fn decode<R: Decodable>(mut self) -> Result<R, DecodeError> {
        let decoded = <R as Decodable>::decode(&mut self.decodable, self.version);
        decoded.map_err(|error| DecodeError::Malformed {
            api: self.spec.name,
            version: self.version,
            reason: error.to_string(),
        })
    }
}

/// The answer to ApiVersions in a version that is not served; to be encoded in version 0, whatever was asked.
///
/// It names the versions of ApiVersions alone, so that the client can ask again (KIP-511). The body of such a
/// request is not to be decoded: nobody knows what it says.
pub fn api_versions_fallback() -> ApiVersionsResponse {
    let range = api_spec::spec(API_VERSIONS).map(|spec| {
        ApiVersion::default()
            .with_api_key(spec.api_key)
            .with_min_version(spec.advertised_min_version)
            .with_max_version(spec.max_version)
    });
    ApiVersionsResponse::default()
        .with_error_code(ErrorCode::UnsupportedVersion.into())
        .with_api_keys(range.into_iter().collect())
}

#[cfg(test)]
mod tests;
