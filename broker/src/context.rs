//! What an API handler knows besides the request itself.

use std::sync::Arc;
use std::time::Instant;

use protocol_shim::api_spec;
use protocol_shim::header::RequestHeader;
use uuid::Uuid;

use crate::broker::Broker;
use crate::certificates::Certificates;
use crate::client_metrics::{Client, ClientMetrics};
use crate::clock::Clock;
use crate::config::BrokerConfig;
use crate::metadata::Metadata;
use crate::net::account::{FREE_BYTES, Unaffordable};
use crate::net::session::Session;
use crate::partition::fetch_session::FetchSessionCache;
use crate::partition::validation::Validators;
use crate::quota::toll::Toll;
use crate::security::delegation::DelegationTokens;
use crate::view::View;

/// What an answer whose size the request decides may take, besides a multiple of what the request took.
const ANSWER_BYTES: usize = 48 << 20;
const ANSWER_BYTES_PER_REQUEST_BYTE: usize = 4;

/// How much may be made before it is paid for, and what needs no payment at all.
const UNPAID_BYTES: usize = FREE_BYTES;

/// One request on its way through a handler.
///
/// What the request names is asked for through its `view`.
pub struct RequestContext {
    broker: Arc<Broker>,
    pub session: Arc<Session>,
    /// The name of the API.
    pub api: &'static str,
    pub api_version: i16,
    pub client_id: Arc<str>,
    /// The request's own size, without its length prefix.
    pub request_bytes: usize,
    /// When it had been read.
    pub asked_at: Instant,
    /// `None`: the client has no quotas.
    toll: Option<Box<Toll>>,
}

impl RequestContext {
    pub(crate) fn new(
        broker: &Arc<Broker>,
        session: &Arc<Session>,
        header: &RequestHeader,
        request_bytes: usize,
        asked_at: Instant,
    ) -> Self {
        let client_id = header.client_id.clone().unwrap_or_default();
        let toll = Toll::of(&broker.quotas, session, &client_id);
        Self {
            broker: Arc::clone(broker),
            session: Arc::clone(session),
            api: api_spec::spec(header.api_key).map_or("unknown", |spec| spec.name),
            api_version: header.api_version,
            client_id,
            request_bytes,
            asked_at,
            toll,
        }
    }

    /// A request of a client that nobody knows, which connects to where `advertised` says.
    #[cfg(test)]
    pub(crate) fn of_stranger(
        broker: &Arc<Broker>,
        advertised: crate::config::HostPort,
        api_version: i16,
        client_id: Option<&str>,
    ) -> Self {
        let listener = crate::net::session::ClientListener::plaintext(advertised);
        let peer_addr = (std::net::Ipv4Addr::LOCALHOST, 50_000).into();
        let session = Session::anonymous(peer_addr, listener);
        let header = RequestHeader {
            api_key: 0,
            api_version,
            correlation_id: 0,
            client_id: client_id.map(Arc::from),
        };
        Self::new(broker, &Arc::new(session), &header, 1000, Instant::now())
    }

    /// What the request takes of its client's quotas; `None`: the client has none.
    pub(crate) fn toll(&self) -> Option<&Toll> {
        self.toll.as_deref()
    }

    /// For how long the client has to wait after this request: see [`Toll::decide`].
    pub(crate) fn throttle_time_ms(&self) -> i32 {
        self.toll().map_or(0, Toll::decide)
    }

    /// The metadata, which charges the client for the partitions that it has created and deleted. Versions from
    /// `strict_since` on are refused what is above the quota, and older ones have to wait.
    pub(crate) fn charged_metadata(&self, strict_since: i16) -> Metadata {
        let is_strict = self.api_version >= strict_since;
        let mutations = self.toll().and_then(|toll| toll.mutations(is_strict));
        self.broker.metadata.charging(mutations)
    }

    /// The same for a client that only asks for topics, which are created on the way: it is refused what is above its quota,
    /// and does not have to wait.
    pub(crate) fn charged_metadata_of_bystander(&self) -> Metadata {
        let mutations = self.toll().and_then(|toll| toll.charge(true));
        self.broker.metadata.charging(mutations)
    }

    /// The broker, as the client may see it at this moment. Load it once per request: two views may differ.
    pub(crate) fn view(&self) -> View<'_> {
        View::new(&self.broker, &self.session, self.api)
    }

    pub(crate) fn config(&self) -> &BrokerConfig {
        &self.broker.config
    }

    /// The certificates that follow some of the broker's settings.
    pub(crate) fn certificates(&self) -> Certificates<'_> {
        Certificates(&self.broker)
    }

    /// The rack that the client says it is in: `rack=a` among the parts of its client id, such as in `orders,rack=a`.
    pub(crate) fn client_rack(&self) -> Option<&str> {
        let mut parts = self.client_id.split([',', ';', ' ']);
        let rack = parts.find_map(|part| part.trim().strip_prefix("rack="));
        rack.filter(|rack| !rack.is_empty())
    }

    /// How delegation tokens are made.
    pub(crate) fn delegation(&self) -> &DelegationTokens {
        &self.broker.delegation
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.broker.clock
    }

    pub(crate) fn fetch_sessions(&self) -> &FetchSessionCache {
        &self.broker.fetch_sessions
    }

    pub(crate) fn client_metrics(&self) -> &ClientMetrics {
        &self.broker.client_metrics
    }

    pub(crate) fn validators(&self) -> &Validators {
        &self.broker.validators
    }

    /// The client, as it is told apart from others that report metrics under an id.
    pub(crate) fn reporting_client(&self, instance_id: Uuid) -> Client<'_> {
        let software = self.session.software.get();
        Client {
            instance_id,
            client_id: &self.client_id,
            software: software.map(|software| (&*software.name, &*software.version)),
            session: &self.session,
        }
    }

    /// The id of the data directory; nil in a cluster, where no directory has data.
    pub(crate) fn directory_id(&self) -> Uuid {
        match self.broker.members {
            Some(_) => Uuid::nil(),
            None => self.broker.directory_id,
        }
    }

    /// Resolves when a request should wait no longer: the broker shuts down, or another one may have taken over.
    pub(crate) async fn interrupted(&self) {
        let mut changes = self.broker.cluster.watch();
        tokio::select! {
            () = self.broker.wait_for_shutdown() => {}
            Ok(()) = changes.changed() => {}
        }
    }

    /// Pays for a part of the response before it is made: `bytes` of memory, structs and encoded bytes together, which count
    /// until the kernel has the response. Several payments add up. Waits while others hold the memory.
    ///
    /// For answers whose size the request decides, by what it names. In all they may take 48 MiB and four times what
    /// the request took.
    ///
    /// # Errors
    /// It is too large, or there was no memory for 30 s. Nothing is to be made then: the answer is an error, or, where
    /// the API has none for the whole, `Err` from the handler, which closes the connection.
    pub(crate) async fn pay(&self, bytes: usize) -> Result<(), Unaffordable> {
        let of_request = ANSWER_BYTES_PER_REQUEST_BYTE.saturating_mul(self.request_bytes);
        self.pay_up_to(bytes, Some(ANSWER_BYTES.saturating_add(of_request)))
            .await
    }

    /// As [`pay`](Self::pay), for an answer that tells once what the broker has: a list of everything may be long. One that
    /// is larger than the whole budget waits until no other such answer is made.
    ///
    /// # Errors
    /// There was no memory for 30 s.
    pub(crate) async fn pay_for_all(&self, bytes: usize) -> Result<(), Unaffordable> {
        self.pay_up_to(bytes, None).await
    }

    async fn pay_up_to(
        &self,
        bytes: usize,
        limit_bytes: Option<usize>,
    ) -> Result<(), Unaffordable> {
        let budget = &self.broker.response_budget;
        let address = self.session.peer_addr.ip();
        let account = &self.session.account;
        account.pay(budget, address, bytes, limit_bytes).await
    }
}

/// Pays for a response in steps while it is made, for handlers that learn its size on the way. A small one costs nothing.
pub struct Tab<'a> {
    ctx: &'a RequestContext,
    owed_bytes: usize,
    owed_for_all_bytes: usize,
}

impl RequestContext {
    /// A tab for the response to this request.
    pub(crate) fn tab(&self) -> Tab<'_> {
        Tab {
            ctx: self,
            owed_bytes: 0,
            owed_for_all_bytes: 0,
        }
    }
}

impl Tab<'_> {
    /// Puts down what is about to be made, as [`RequestContext::pay`].
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn add(&mut self, bytes: usize) -> Result<(), Unaffordable> {
        self.owed_bytes += bytes;
        if self.owed_bytes >= UNPAID_BYTES {
            self.ctx.pay(std::mem::take(&mut self.owed_bytes)).await?;
        }
        Ok(())
    }

    /// Puts down what is told once, as [`RequestContext::pay_for_all`].
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn add_for_all(&mut self, bytes: usize) -> Result<(), Unaffordable> {
        self.owed_for_all_bytes += bytes;
        if self.owed_for_all_bytes >= UNPAID_BYTES {
            let owed_bytes = std::mem::take(&mut self.owed_for_all_bytes);
            self.ctx.pay_for_all(owed_bytes).await?;
        }
        Ok(())
    }
}
