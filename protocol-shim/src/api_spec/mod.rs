//! Every API of a Kafka broker, one row each: its key, its versions, who may use it, and the shape of its requests.
//!
//! A range here is what Kafka 4.4 has and either `kafka-protocol` or [`newer`](crate::newer) decodes. The crate's own ranges
//! are not used: they overstate some APIs. The shapes are facts from Kafka's message definitions
//! (`clients/src/main/resources/common/message`). To add a version, extend the range and the fields; `guard/tests`
//! compares both with the decoder.
//!
//! Which of them a broker serves is the broker's business.

mod admin;
mod cluster;
mod data;
mod group;
mod security;
mod share;
mod transaction;

use crate::access::Access;
use crate::guard::field::Shape;

/// What an API is about. Decides nothing about the wire; for metrics, quotas and permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApiClass {
    /// Records, and what clients ask before they produce or fetch.
    Data,
    /// Consumer groups and committed offsets.
    Group,
    /// Producer ids and transactions.
    Transaction,
    /// Topics, partitions and configs.
    Admin,
    /// Brokers, replicas, quorum, telemetry.
    Cluster,
    /// Authentication, ACLs, tokens, quotas, credentials.
    Security,
    /// Share groups (KIP-932).
    Share,
}

/// One API of a broker listener.
#[derive(Debug)]
pub struct ApiSpec {
    pub api_key: i16,
    /// As in Kafka's `ApiKeys`, for logs and metrics: `OffsetForLeaderEpoch`.
    pub name: &'static str,
    /// First version whose requests are accepted.
    pub min_version: i16,
    /// Last version whose requests are accepted.
    pub max_version: i16,
    /// First version that ApiVersions announces. Below `min_version` only for Produce (KAFKA-18659: librdkafka reads
    /// a range that does not start at 0 as "no compression codec beyond gzip").
    pub advertised_min_version: i16,
    /// First version with compact lengths, tagged fields and request header v2 (KIP-482).
    pub flexible_from: i16,
    pub class: ApiClass,
    /// What somebody must be allowed to do before the request is looked at.
    pub access: Access,
    pub(crate) shape: Shape,
}

impl ApiSpec {
    /// Whether requests of `version` are accepted.
    pub const fn has(&self, version: i16) -> bool {
        self.min_version <= version && version <= self.max_version
    }

    /// Whether `version` has compact lengths and tagged fields.
    pub const fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }

    /// Version of the header before a request of `version`: 1, or 2 when flexible.
    pub const fn request_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// Version of the header before a response of `version`: 0, or 1 when flexible.
    ///
    /// ApiVersions answers with header 0 always, so that a client which asked in a version that the broker
    /// does not know can still read the answer (KIP-511).
    pub const fn response_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) && self.api_key != API_VERSIONS {
            1
        } else {
            0
        }
    }

    const fn advertised_from(mut self, version: i16) -> Self {
        self.advertised_min_version = version;
        self
    }
}

/// Key of Fetch.
pub const FETCH: i16 = 1;
/// Keys of what log-ins are made of.
pub const SASL_HANDSHAKE: i16 = 17;
pub const SASL_AUTHENTICATE: i16 = 36;
/// Key of the one API whose versions a client may not know yet.
pub const API_VERSIONS: i16 = 18;

/// A request names an API or a version that the broker does not serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    #[error("API key {api_key} is not served")]
    Api { api_key: i16 },
    #[error("{name} v{version} is not served, only {min}..={max}")]
    Version {
        name: &'static str,
        version: i16,
        min: i16,
        max: i16,
    },
}

/// The spec of an API key.
pub const fn spec(api_key: i16) -> Option<&'static ApiSpec> {
    match api_key >= 0 && (api_key as usize) < KEY_COUNT {
        true => BY_KEY[api_key as usize],
        false => None,
    }
}

/// All APIs, in the order of their keys.
pub fn all() -> impl Iterator<Item = &'static ApiSpec> {
    BY_KEY.iter().copied().flatten()
}

const NEVER: i16 = i16::MAX;

/// A row without the shape of its requests.
struct Row(ApiSpec);

impl Row {
    /// What a request looks like, in all versions.
    const fn body(mut self, shape: Shape) -> ApiSpec {
        self.0.shape = shape;
        self.0
    }
}

const fn api(
    api_key: i16,
    name: &'static str,
    (min_version, max_version): (i16, i16),
    flexible_from: i16,
    class: ApiClass,
    access: Access,
) -> Row {
    Row(ApiSpec {
        api_key,
        name,
        min_version,
        max_version,
        advertised_min_version: min_version,
        flexible_from,
        class,
        access,
        shape: &[],
    })
}

static BY_CLASS: [&[ApiSpec]; 7] = [
    data::APIS,
    group::APIS,
    transaction::APIS,
    admin::APIS,
    cluster::APIS,
    security::APIS,
    share::APIS,
];

/// One more than the largest key.
pub const KEY_COUNT: usize = 93;

static BY_KEY: [Option<&'static ApiSpec>; KEY_COUNT] = {
    let mut specs: [Option<&'static ApiSpec>; KEY_COUNT] = [None; KEY_COUNT];
    let mut class = 0;
    while class < BY_CLASS.len() {
        let mut row = 0;
        while row < BY_CLASS[class].len() {
            let spec = &BY_CLASS[class][row];
            assert!(specs[spec.api_key as usize].is_none(), "a key occurs twice");
            specs[spec.api_key as usize] = Some(spec);
            row += 1;
        }
        class += 1;
    }
    specs
};

#[cfg(test)]
mod tests;
