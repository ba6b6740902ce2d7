use std::sync::atomic::{AtomicUsize, Ordering};

use storage::record::{BatchBuilder, CompressionType, validate::validate};

use super::*;
use crate::config::TopicConfig;

const NOW_MS: i64 = 1_700_000_000_000;

fn settings() -> Arc<TopicSettings> {
    let config = TopicConfig::from_effective(|_| None);
    Arc::new(TopicSettings::new(Arc::new(config), true))
}

/// A batch of one record of so many zeros.
fn zeros(codec: CompressionType, bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new().compression(codec);
    builder.append(NOW_MS, Some(b"key"), Some(&vec![0; bytes]), &[]);
    builder.build().expect("it fits")
}

/// How often others had their turn while `work` was done; there is one worker.
async fn turns_of_others<T>(work: impl Future<Output = T>) -> (T, usize) {
    let turns = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&turns);
    let other = tokio::spawn(async move {
        loop {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    tokio::task::yield_now().await;
    let before = turns.load(Ordering::Relaxed);
    let done = work.await;
    let after = turns.load(Ordering::Relaxed);
    other.abort();
    (done, after - before)
}

#[tokio::test]
async fn what_is_answered_does_not_depend_on_where_a_batch_is_opened() {
    let validators = Validators::default();
    let settings = settings();
    for codec in CompressionType::ALL {
        for bytes in [
            10,
            QUICK_BYTES - 200,
            QUICK_BYTES,
            900_000,
            20 << 20,
            70 << 20,
        ] {
            let whole = zeros(codec, bytes);
            let mut cut = whole.slice(..whole.len() - 3).to_vec();
            let length = cut.len() as i32 - 12;
            cut[8..12].copy_from_slice(&length.to_be_bytes());
            let crc = storage::record::batch::compute_crc(&cut);
            cut[17..21].copy_from_slice(&crc.to_be_bytes());
            for records in [whole, cut.into()] {
                let mut request = RequestValidation::new(&validators, records.len(), true);
                let found = request.validate(&records, &settings, NOW_MS).await;
                let expected = validate(&records, &settings.validate, true, NOW_MS);
                match (found, expected) {
                    (Ok(found), Ok(expected)) => assert_eq!(found.bytes, expected.bytes),
                    (found, expected) => {
                        let kind = |error: &ValidateError| std::mem::discriminant(error);
                        let (found, expected) = (found.unwrap_err(), expected.unwrap_err());
                        assert_eq!(kind(&found), kind(&expected), "{codec}, {bytes}: {found}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_batch_that_takes_long_is_opened_while_others_go_on() {
    // The only thread for long work is taken: what needs it waits, and the worker goes on.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let validators = Validators::default();
    let settings = settings();
    for codec in &CompressionType::ALL[1..] {
        let records = zeros(*codec, 15 << 20);
        let mut request = RequestValidation::new(&validators, records.len(), true);
        runtime.block_on(async {
            let (free_thread, until_free) = std::sync::mpsc::channel::<()>();
            tokio::task::spawn_blocking(move || until_free.recv());
            let mut validating = std::pin::pin!(request.validate(&records, &settings, NOW_MS));
            let others = async {
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                biased;
                _ = &mut validating => panic!("{codec}: opened on the worker"),
                () = others => {}
            }
            free_thread.send(()).unwrap();
            assert!(validating.await.is_ok(), "{codec}");
        });
    }
}

#[tokio::test]
async fn many_small_batches_let_others_have_their_turn() {
    let validators = Validators::default();
    let settings = settings();
    let records = zeros(CompressionType::Zstd, QUICK_BYTES / 2);
    let mut request = RequestValidation::new(&validators, 100 * records.len(), true);
    let all = async {
        for _ in 0..100 {
            let validated = request.validate(&records, &settings, NOW_MS).await;
            assert!(validated.is_ok());
        }
    };
    let ((), turns) = turns_of_others(all).await;
    assert!(turns >= 30, "{turns}");
}

#[tokio::test]
async fn a_request_opens_only_so_much_however_many_batches_it_has() {
    let validators = Validators::default();
    let settings = settings();
    for bytes in [200_000, 30 << 20] {
        let bomb = zeros(CompressionType::Zstd, bytes);
        assert!(bomb.len() < bytes / 1000);
        let count = 2 * REQUEST_BYTES / bytes;
        let request_bytes = count * bomb.len();
        let mut request = RequestValidation::new(&validators, request_bytes, true);
        let mut opened = 0;
        for _ in 0..count {
            match request.validate(&bomb, &settings, NOW_MS).await {
                Ok(_) => opened += bytes,
                Err(error) => assert!(matches!(error, ValidateError::MessageTooLarge(_))),
            }
        }
        let allowed = REQUEST_BYTES + REQUEST_RATIO * request_bytes;
        assert!(opened <= allowed, "{opened} of {allowed}");
        assert!(opened >= REQUEST_BYTES / 2, "{opened} of {allowed}");
        // What need not be opened is taken all the same.
        let plain = zeros(CompressionType::None, 1000);
        assert!(request.validate(&plain, &settings, NOW_MS).await.is_ok());
    }
}
