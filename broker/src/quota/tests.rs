//! The windows against Kafka's own: `kafka_windows.txt` is what Kafka's classes said to random sequences, written by
//! `compat-tests/clients/java/QuotaWindows.java`.

use super::rate::Rate;
use super::token_bucket::TokenBucket;
use super::*;

static KAFKA: &str = include_str!("kafka_windows.txt");

fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(word: Option<&str>) -> T {
    word.expect("a word").parse().expect("a number")
}

#[test]
fn windows_say_what_kafkas_say_about_the_same_sequence() {
    let (mut sampling, mut bound) = (Sampling::new(1, 1), 0.0);
    let (mut rate, mut bucket) = (Rate::default(), None);
    let mut delayed = 0;
    for (index, line) in KAFKA.lines().enumerate() {
        let mut words = line.split(' ');
        let kind = words.next();
        if kind == Some("window") {
            sampling = Sampling::new(number(words.next()), number(words.next()));
            bound = number(words.next());
            (rate, bucket) = (Rate::default(), None);
            continue;
        }
        let (now_ms, amount): (i64, f64) = (number(words.next()), number(words.next()));
        let (value, delay_ms): (f64, i64) = (number(words.next()), number(words.next()));
        let (our_value, our_delay_ms) = match kind {
            Some("rate") => {
                rate.record(sampling, amount, now_ms);
                let measured = rate.measure(sampling, now_ms);
                (measured.per_second, measured.delay_ms(bound))
            }
            _ => {
                let bucket = bucket.get_or_insert_with(|| TokenBucket::full(now_ms));
                bucket.take(sampling, bound, amount, now_ms);
                let tokens = bucket.tokens(sampling, bound, now_ms);
                (tokens, bucket.delay_ms(sampling, bound, now_ms))
            }
        };
        assert_eq!(
            (our_value, our_delay_ms),
            (value, delay_ms),
            "line {}: {line}",
            index + 1
        );
        delayed += usize::from(delay_ms > 0);
    }
    assert!(delayed > 100, "the sequences say something: {delayed}");
}

mod precedence {
    use super::super::limits::{Found, find};
    use crate::metadata::{MetadataImage, MetadataRecord, QuotaKey, QuotaName, QuotasImage};

    type Entity = &'static [(&'static str, Option<&'static str>)];

    /// The order of Kafka's `ClientQuotaManager`: the entity, and whether its user and its client share it with nobody.
    const ORDER: [(Entity, bool, bool); 8] = [
        (
            &[("user", Some("ann")), ("client-id", Some("app"))],
            true,
            true,
        ),
        (&[("user", Some("ann")), ("client-id", None)], true, true),
        (&[("user", Some("ann"))], true, false),
        (&[("user", None), ("client-id", Some("app"))], true, true),
        (&[("user", None), ("client-id", None)], true, true),
        (&[("user", None)], true, false),
        (&[("client-id", Some("app"))], false, true),
        (&[("client-id", None)], false, true),
    ];

    fn image(entities: impl Iterator<Item = (Entity, f64)>) -> QuotasImage {
        let mut image = MetadataImage::empty("c");
        for (entity, value) in entities {
            let names = entity.iter().map(|(kind, name)| QuotaName {
                kind: (*kind).to_owned(),
                name: name.map(str::to_owned),
            });
            let record = MetadataRecord::ClientQuota {
                entity: names.collect(),
                key: "producer_byte_rate".to_owned(),
                value,
                remove: false,
            };
            image.apply(&record).expect("fits");
        }
        image.quotas().clone()
    }

    #[test]
    fn the_most_specific_quota_counts_and_says_who_shares_it() {
        let key = QuotaKey::ProducerByteRate;
        for from in 0..ORDER.len() {
            let left = ORDER[from..].iter().zip(1_i32..);
            let image = image(left.map(|((entity, ..), value)| (*entity, f64::from(value))));
            let (_, of_user, of_client) = ORDER[from];
            let expected = Found {
                bound: 1.0,
                user: if of_user { "ann" } else { "" },
                client_id: if of_client { "app" } else { "" },
            };
            assert_eq!(find(&image, key, "ann", "app"), Some(expected), "{from}");
            // Of another user and client only the defaults count.
            let defaults =
                |(entity, ..): &(Entity, bool, bool)| entity.iter().all(|(_, name)| name.is_none());
            let place = ORDER[from..]
                .iter()
                .position(defaults)
                .expect("the last is one");
            let found = find(&image, key, "bob", "cli").map(|found| found.bound);
            assert_eq!(found, Some((place + 1) as f64), "{from}");
            assert_eq!(find(&image, QuotaKey::ConsumerByteRate, "ann", "app"), None);
        }
    }

    #[test]
    fn a_client_without_an_id_has_the_quota_of_its_user_only() {
        let key = QuotaKey::ProducerByteRate;
        let all = image(ORDER.iter().map(|(entity, ..)| (*entity, 1.0)));
        let found = find(&all, key, "ann", "").expect("of the user");
        assert_eq!((found.user, found.client_id), ("ann", ""));
        let of_clients = [ORDER[0], ORDER[1], ORDER[6], ORDER[7]];
        let image = image(of_clients.iter().map(|(entity, ..)| (*entity, 1.0)));
        assert_eq!(find(&image, key, "ann", ""), None);
    }
}

mod sharing {
    use std::sync::Arc;

    use super::super::limits::Found;
    use super::super::windows::{IDLE_MS, MAX_WINDOWS, Windows};
    use super::*;

    fn of<'a>(user: &'a str, client_id: &'a str) -> Found<'a> {
        Found {
            bound: 1.0,
            user,
            client_id,
        }
    }

    #[test]
    fn those_that_share_a_quota_share_a_window_and_others_do_not() {
        let windows = Windows::<Rate>::default();
        let get = |kind, user, client| windows.get(kind, &of(user, client), Rate::default(), 0);
        let ann = get(Kind::Produce, "ann", "");
        assert!(Arc::ptr_eq(&ann, &get(Kind::Produce, "ann", "")));
        for other in [
            get(Kind::Fetch, "ann", ""),
            get(Kind::Produce, "", "ann"),
            get(Kind::Produce, "ann", "app"),
            get(Kind::Produce, "bob", ""),
        ] {
            assert!(!Arc::ptr_eq(&ann, &other));
        }
    }

    #[test]
    fn windows_are_bounded_and_those_that_nobody_uses_leave_after_an_hour() {
        let windows = Windows::<Rate>::default();
        let get = |client: usize, now_ms| {
            let client_id = client.to_string();
            windows.get(Kind::Produce, &of("", &client_id), Rate::default(), now_ms)
        };
        let kept = get(0, 1);
        for client in 1..MAX_WINDOWS {
            get(client, 1);
        }
        let shared = get(MAX_WINDOWS, 1);
        assert!(Arc::ptr_eq(&shared, &get(MAX_WINDOWS + 1, 1)));
        assert_eq!(windows.len(), MAX_WINDOWS);
        drop(get(1, IDLE_MS));
        assert!(Arc::ptr_eq(&shared, &get(MAX_WINDOWS, IDLE_MS)), "not yet");
        // One is held by a connection.
        let own = get(MAX_WINDOWS, 2 * IDLE_MS + 1);
        assert!(!Arc::ptr_eq(&shared, &own));
        assert_eq!(windows.len(), 2);
        assert!(Arc::ptr_eq(&kept, &get(0, 2 * IDLE_MS + 1)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_planned_again_costs_once() {
    use std::time::Duration;

    use super::toll::Toll;
    use crate::config::{BrokerConfig, HostPort};
    use crate::metadata::{MetadataImage, MetadataRecord, QuotaName};
    use crate::net::session::ClientListener;

    let mut image = MetadataImage::empty("c");
    let everybody = QuotaName {
        kind: "user".to_owned(),
        name: None,
    };
    let record = MetadataRecord::ClientQuota {
        entity: vec![everybody],
        key: "controller_mutation_rate".to_owned(),
        value: 1.0,
        remove: false,
    };
    image.apply(&record).expect("fits");
    let quotas = Arc::new(Quotas::new(
        &BrokerConfig::default().section(),
        Clock::new(),
    ));
    quotas.change(image.quotas());
    let advertised = HostPort {
        host: "here".to_owned(),
        port: 1,
    };
    let listener = ClientListener::plaintext(advertised);
    let session = Arc::new(Session::anonymous(([127, 0, 0, 1], 5).into(), listener));
    let toll = Toll::of(&quotas, &session, &"app".into()).expect("it has a quota");
    let mutations = toll.mutations(true).expect("of mutations");
    for _ in 0..100 {
        assert!(mutations.charge(0, 11));
        assert!(
            mutations.charge(1, 2),
            "nothing is left, and nothing is owed"
        );
        assert!(!mutations.charge(2, 1));
    }
    tokio::time::advance(Duration::from_millis(500)).await;
    assert!(!mutations.charge(2, 1), "that is decided");
    assert_eq!(toll.decide(), 1500);
}
