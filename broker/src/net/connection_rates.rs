//! How fast connections may come: `max.connection.creation.rate` of the broker and of a listener, and quotas of addresses
//! (KIP-612).
//!
//! A listener that gets more of them than it may accepts the next one later. A connection of an address that opens too many
//! is closed after a while, so that its client does not come back at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::RateSettings;
use crate::metadata::{Part, QuotaKey, QuotasImage};
use crate::quota::rate::Rate;
use crate::quota::{Kind, Quotas, Sampling};

/// Most addresses that are told apart. Whichever come then share what one may.
const MAX_ADDRESSES: usize = 16_384;
/// How often addresses are looked through while there is no room.
const SWEEP_MS: i64 = 1000;
/// Most connections that wait for their end; others are closed at once.
const MAX_WAITING: usize = 256;

/// Counts new connections, and has the limits follow settings and quotas.
pub struct ConnectionRates {
    quotas: Arc<Quotas>,
    /// Otherwise nothing is counted.
    is_limited: AtomicBool,
    rates: Mutex<Rates>,
    waiting: Arc<Semaphore>,
}

struct Rates {
    settings: RateSettings,
    of_broker: Rate,
    /// By name.
    of_listeners: HashMap<String, Rate>,
    addresses: Addresses,
}

#[derive(Default)]
struct Addresses {
    /// For those without a limit of their own.
    limit: Option<f64>,
    limits: HashMap<IpAddr, f64>,
    rates: HashMap<IpAddr, AddressRate>,
    /// Of those for whom there is no room.
    shared: AddressRate,
    swept_ms: i64,
}

#[derive(Default)]
struct AddressRate {
    rate: Rate,
    last_ms: i64,
}

impl ConnectionRates {
    pub(crate) fn new(settings: RateSettings, quotas: Arc<Quotas>) -> Self {
        Self {
            quotas,
            is_limited: AtomicBool::new(settings.is_limited()),
            rates: Mutex::new(Rates {
                settings,
                of_broker: Rate::default(),
                of_listeners: HashMap::new(),
                addresses: Addresses::default(),
            }),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
        }
    }

    /// Has other limits in force.
    pub(crate) fn change(&self, settings: RateSettings, image: &QuotasImage) {
        let mut rates = self.rates.lock();
        rates.settings = settings;
        rates.addresses.change(image);
        let is_limited = rates.settings.is_limited() || rates.addresses.is_limited();
        self.is_limited.store(is_limited, Ordering::Relaxed);
    }

    /// What new connections are held to.
    #[cfg(test)]
    pub(crate) fn in_force(&self) -> RateSettings {
        self.rates.lock().settings.clone()
    }

    /// A connection has come to a listener. Says how long to wait before it is served and the next one is accepted.
    pub(crate) fn came(&self, listener: &str) -> Duration {
        if !self.is_limited.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        let (sampling, now_ms) = (self.quotas.sampling(), self.quotas.now_ms());
        let mut rates = self.rates.lock();
        let rates = &mut *rates;
        let mut delay_ms = 0;
        if let Some(limit) = rates.settings.broker {
            delay_ms = count(&mut rates.of_broker, sampling, limit, now_ms);
        }
        if let Some(limit) = rates.settings.of(listener) {
            let rate = rates.of_listeners.entry(listener.to_owned()).or_default();
            delay_ms = delay_ms.max(count(rate, sampling, limit, now_ms));
        }
        if delay_ms > 0 {
            self.quotas.throttled.note(Kind::Connection, delay_ms);
        }
        millis(delay_ms)
    }

    /// Whether an address may have one connection more.
    ///
    /// # Errors
    /// After how long to close it. It does not count then.
    pub(crate) fn admit(&self, listener: &str, ip: IpAddr) -> Result<(), Duration> {
        if !self.is_limited.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (sampling, now_ms) = (self.quotas.sampling(), self.quotas.now_ms());
        let mut rates = self.rates.lock();
        let rates = &mut *rates;
        let Some((rate, limit)) = rates.addresses.of(ip, sampling, now_ms) else {
            return Ok(());
        };
        let delay_ms = count(rate, sampling, limit, now_ms);
        if delay_ms == 0 {
            return Ok(());
        }
        rate.record(sampling, -1.0, now_ms);
        if rates.settings.broker.is_some() {
            rates.of_broker.record(sampling, -1.0, now_ms);
        }
        if let Some(rate) = rates.of_listeners.get_mut(listener) {
            rate.record(sampling, -1.0, now_ms);
        }
        self.quotas.throttled.note(Kind::Ip, delay_ms);
        Err(millis(delay_ms))
    }

    /// A place for a connection that waits for its end, if there is one.
    pub(crate) fn wait(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.waiting).try_acquire_owned().ok()
    }
}

/// Counts a connection, and says for how long none may follow; no longer than one span of time, as in Kafka.
fn count(rate: &mut Rate, sampling: Sampling, limit: f64, now_ms: i64) -> i64 {
    rate.record(sampling, 1.0, now_ms);
    let delay_ms = rate.measure(sampling, now_ms).delay_ms(limit);
    delay_ms.min(sampling.span_ms)
}

fn millis(delay_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(delay_ms).unwrap_or(0))
}

impl Addresses {
    fn change(&mut self, image: &QuotasImage) {
        self.limit = None;
        self.limits.clear();
        for (ip, values) in image.of_addresses() {
            let Some(limit) = values.get(QuotaKey::ConnectionCreationRate) else {
                continue;
            };
            match ip {
                Part::Any => {}
                Part::Default => self.limit = Some(limit),
                Part::Named(ip) => {
                    if let Ok(ip) = ip.parse::<IpAddr>() {
                        self.limits.insert(ip.to_canonical(), limit);
                    }
                }
            }
        }
        if !self.is_limited() {
            self.rates = HashMap::new();
        }
    }

    fn is_limited(&self) -> bool {
        self.limit.is_some() || !self.limits.is_empty()
    }

    /// The rate of an address and its limit, if it has one.
    fn of(&mut self, ip: IpAddr, sampling: Sampling, now_ms: i64) -> Option<(&mut Rate, f64)> {
        let ip = ip.to_canonical();
        let limit = self.limits.get(&ip).copied().or(self.limit)?;
        if self.rates.len() >= MAX_ADDRESSES && !self.rates.contains_key(&ip) {
            // What is older than all spans together says nothing any more.
            let expires_ms = sampling.count as i64 * sampling.span_ms;
            if now_ms - self.swept_ms >= SWEEP_MS {
                self.swept_ms = now_ms;
                self.rates
                    .retain(|_, rate| now_ms - rate.last_ms < expires_ms);
            }
        }
        let found = match self.rates.len() < MAX_ADDRESSES || self.rates.contains_key(&ip) {
            true => self.rates.entry(ip).or_default(),
            false => &mut self.shared,
        };
        found.last_ms = now_ms;
        Some((&mut found.rate, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::config::BrokerConfig;
    use crate::metadata::MetadataRecord;
    use crate::metadata::QuotaName;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn rates(settings: RateSettings) -> ConnectionRates {
        let quotas = Quotas::new(&BrokerConfig::default().section(), Clock::new());
        ConnectionRates::new(settings, Arc::new(quotas))
    }

    fn image(limits: &[(Option<&str>, f64)]) -> QuotasImage {
        let mut image = crate::metadata::MetadataImage::empty("c");
        for (ip, limit) in limits {
            let record = MetadataRecord::ClientQuota {
                entity: vec![QuotaName {
                    kind: "ip".to_owned(),
                    name: ip.map(str::to_owned),
                }],
                key: "connection_creation_rate".to_owned(),
                value: *limit,
                remove: false,
            };
            image.apply(&record).expect("fits");
        }
        image.quotas().clone()
    }

    /// How many of so many connections at once are not made to wait.
    fn at_once(mut came: impl FnMut() -> bool) -> usize {
        (0..1000).take_while(|_| came()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn connections_beyond_the_rate_of_the_broker_or_the_listener_wait_a_second_at_most() {
        let settings = RateSettings {
            broker: Some(30.0),
            listeners: vec![("EXTERNAL".to_owned(), 20.0)],
        };
        let rates = rates(settings);
        // Ten whole seconds count from the start.
        assert_eq!(at_once(|| rates.came("EXTERNAL").is_zero()), 200);
        assert_eq!(at_once(|| rates.came("PLAINTEXT").is_zero()), 300 - 201);
        let mut longest = Duration::ZERO;
        for _ in 0..200 {
            longest = longest.max(rates.came("PLAINTEXT"));
        }
        assert_eq!(longest, Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(rates.came("EXTERNAL"), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_its_own_rate_or_that_of_all_and_what_is_refused_does_not_count() {
        let rates = rates(RateSettings::default());
        assert_eq!(at_once(|| rates.admit("X", A).is_ok()), 1000);
        rates.change(
            RateSettings::default(),
            &image(&[(None, 5.0), (Some("192.0.2.2"), 7.0)]),
        );
        assert_eq!(at_once(|| rates.admit("X", A).is_ok()), 50);
        assert_eq!(at_once(|| rates.admit("X", B).is_ok()), 70);
        for _ in 0..100 {
            let refused = rates.admit("X", A).expect_err("too many");
            assert_eq!(refused, Duration::from_millis(200));
        }
        tokio::time::advance(Duration::from_secs(12)).await;
        assert!(rates.admit("X", A).is_ok());
        rates.change(RateSettings::default(), &image(&[]));
        assert_eq!(at_once(|| rates.admit("X", A).is_ok()), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_beyond_those_that_are_told_apart_share_a_rate() {
        let rates = rates(RateSettings::default());
        rates.change(RateSettings::default(), &image(&[(None, 1.0)]));
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        let many = u32::try_from(MAX_ADDRESSES).expect("few");
        for number in 0..many {
            assert!(rates.admit("X", address(number)).is_ok());
        }
        assert_eq!(at_once(|| rates.admit("X", address(many)).is_ok()), 10);
        assert!(rates.admit("X", address(many + 1)).is_err());
        // Those that are known have what they had.
        assert_eq!(at_once(|| rates.admit("X", address(0)).is_ok()), 9);
        tokio::time::advance(Duration::from_secs(12)).await;
        assert_eq!(at_once(|| rates.admit("X", address(many + 1)).is_ok()), 10);
        assert_eq!(at_once(|| rates.admit("X", address(many)).is_ok()), 10);
    }

    #[test]
    fn so_many_wait_for_their_end() {
        let rates = rates(RateSettings::default());
        let waiting: Vec<_> = (0..MAX_WAITING).map(|_| rates.wait()).collect();
        assert!(waiting.iter().all(Option::is_some) && rates.wait().is_none());
        drop(waiting);
        assert!(rates.wait().is_some());
    }
}
