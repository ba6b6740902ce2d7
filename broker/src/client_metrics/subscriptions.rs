//! What clients should report: settings of the resource type CLIENT_METRICS, ready to be held against a client.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use kafka_protocol::protocol::StrBytes;
use storage::kafka_uuid;
use tracing::warn;
use uuid::Uuid;

use super::instances::Terms;
use crate::client_text::client_text;
use crate::config::def::list;
use crate::config::resource::{ClientAttribute, ClientMatch, client_matches};
use crate::metadata::{MetadataImage, ResourceType};
use crate::net::session::Session;

/// How often a client comes back that nobody wants anything of.
const DEFAULT_PUSH_INTERVAL_MS: i32 = 300_000;
/// The metrics of one subscription that wants all.
const ALL: &str = "*";

/// All subscriptions at one moment.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// Grows with every change.
    pub version: u64,
    all: Vec<Subscription>,
}

#[derive(Debug)]
struct Subscription {
    metrics: Vec<StrBytes>,
    push_interval_ms: i32,
    matches: Vec<ClientMatch>,
}

/// Who asks or pushes.
pub(crate) struct Client<'a> {
    pub instance_id: Uuid,
    pub client_id: &'a str,
    /// Its name and version, where it has said so.
    pub software: Option<(&'a str, &'a str)>,
    pub session: &'a Session,
}

impl Client<'_> {
    /// It was not known, or not under these terms.
    pub(super) fn comes(&self) {
        *self.session.reports_as.lock() = Some(self.instance_id);
    }
}

/// What of all subscriptions is for one client.
pub(super) struct Found {
    pub id: i32,
    pub push_interval_ms: i32,
    pub metrics: Vec<StrBytes>,
}

/// Whether two images have the same subscriptions.
pub(super) fn are_same(one: &MetadataImage, other: &MetadataImage) -> bool {
    fn of(image: &MetadataImage) -> impl Iterator<Item = (&str, &crate::metadata::Overrides)> {
        let kind = ResourceType::ClientMetrics;
        let names = image.configured(kind);
        names.map(move |name| (name, image.overrides(kind, name)))
    }
    of(one).eq(of(other))
}

impl Subscriptions {
    pub(super) fn of(image: &MetadataImage, version: u64) -> Self {
        let kind = ResourceType::ClientMetrics;
        let all = image.configured(kind).filter_map(|name| {
            let settings = image.overrides(kind, name);
            let setting = |key: &str| settings.get(key).map_or("", String::as_str);
            // A Kafka may have had expressions that only Java knows.
            let matches = client_matches(setting("match")).inspect_err(|pattern| {
                let (name, pattern) = (client_text(name), client_text(pattern));
                warn!("nobody reports to the client metrics {name}: this is no pattern: {pattern}");
            });
            Some(Subscription {
                metrics: list(setting("metrics"))
                    .map(|metric| StrBytes::from_string(metric.to_owned()))
                    .collect(),
                push_interval_ms: setting("interval.ms")
                    .trim()
                    .parse()
                    .unwrap_or(DEFAULT_PUSH_INTERVAL_MS),
                matches: matches.ok()?,
            })
        });
        Self {
            version,
            all: all.collect(),
        }
    }

    /// What is for this client: what any subscription wants that matches it, as often as the most impatient of them.
    pub(super) fn find(&self, client: &Client<'_>) -> Found {
        let instance_id = kafka_uuid(client.instance_id);
        let peer_addr = client.session.peer_addr;
        let address = peer_addr.ip().to_canonical().to_string();
        let port = peer_addr.port().to_string();
        let value = |attribute: ClientAttribute| match attribute {
            ClientAttribute::InstanceId => Some(&*instance_id),
            ClientAttribute::ClientId => Some(client.client_id),
            ClientAttribute::SoftwareName => client.software.map(|(name, _)| name),
            ClientAttribute::SoftwareVersion => client.software.map(|(_, version)| version),
            ClientAttribute::SourceAddress => Some(&*address),
            ClientAttribute::SourcePort => Some(&*port),
        };
        let mut push_interval_ms = DEFAULT_PUSH_INTERVAL_MS;
        let mut metrics = BTreeSet::new();
        for subscription in &self.all {
            let mut matches = subscription.matches.iter();
            let is_for =
                matches.all(|one| value(one.attribute).is_some_and(|it| one.is_met_by(it)));
            if is_for {
                push_interval_ms = push_interval_ms.min(subscription.push_interval_ms);
                metrics.extend(&subscription.metrics);
            }
        }
        if let Some(all) = metrics.iter().find(|metric| ***metric == *ALL) {
            metrics = BTreeSet::from([*all]);
        }
        let mut hasher = DefaultHasher::new();
        (client.instance_id, push_interval_ms).hash(&mut hasher);
        for metric in &metrics {
            metric.as_str().hash(&mut hasher);
        }
        Found {
            id: (hasher.finish() as u32).cast_signed(),
            push_interval_ms,
            metrics: metrics.into_iter().cloned().collect(),
        }
    }
}

impl Found {
    pub(super) fn terms(&self) -> Terms {
        Terms {
            subscription_id: self.id,
            push_interval_ms: self.push_interval_ms,
        }
    }
}
