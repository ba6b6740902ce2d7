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
