//! Producers whose epochs run out: 32,766 is the last that a client is given, and 32,767 is for markers alone.
//!
//! Getting there by requests takes 32,766 of them for each transactional id. So records of `__transaction_state` say that the ids
//! are there, which administrators may write, and a restart has the coordinators read them.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use compat_tests::scenario::Talk;
use compat_tests::scenario::comparison::Deliberate;
use compat_tests::{BrokerProcess, RawClient, records};
use kafka_protocol::messages::FindCoordinatorRequest;
use kafka_protocol::protocol::StrBytes;
use storage::record::BatchBuilder;

use super::transactional_ids::{
    ADD, DESCRIBE, Producer, TOPIC, add, begin, describe, end, init, producer, settled,
};

const STATE_TOPIC: &str = "__transaction_state";
/// By this name Kafka lets clients write to internal topics.
const ADMINISTRATOR: &str = "__admin_client";
/// Of the first transactional id; higher than any that a broker gives out here.
const FIRST_PRODUCER_ID: i64 = 1 << 40;
/// The last epoch that a client is given.
const LAST: i16 = 32_766;
const EPOCHS: [i16; 3] = [LAST - 2, LAST - 1, LAST];

/// Every difference that is meant.
#[rustfmt::skip] // a table: one row per difference
pub static TABLE: &[Deliberate] = &[
    // At the last epoch Kafka looks for the next one before it looks who is asking.
    Deliberate::new("last epochs: InitProducerId v* *: error_code", "-1 UNKNOWN_SERVER_ERROR", "0 NONE",
        "a producer that has not heard that it has the last epoch is told again"),
    Deliberate::new("last epochs: InitProducerId v3 before 32766: *: error_code", "-1 UNKNOWN_SERVER_ERROR", "47 INVALID_PRODUCER_EPOCH",
        "whoever is not the producer is fenced"),
    Deliberate::new("last epochs: InitProducerId v* *: error_code", "-1 UNKNOWN_SERVER_ERROR", "90 PRODUCER_FENCED",
        "whoever is not the producer is fenced"),
    // Kafka forgets the id before with the first answer that it gives again.
    Deliberate::new("last epochs: InitProducerId v3 *: error_code", "47 INVALID_PRODUCER_EPOCH", "0 NONE",
        "a producer that has not heard of its new id is told as often as it asks"),
    Deliberate::new("last epochs: InitProducerId v* *: error_code", "90 PRODUCER_FENCED", "0 NONE",
        "a producer that has not heard of its new id is told as often as it asks"),
    Deliberate::new("last epochs: EndTxn v5 open at 32766, by itself: error_code", "49 INVALID_PRODUCER_ID_MAPPING", "90 PRODUCER_FENCED",
        "the id before is known, and its transaction was aborted"),
    // What follows from both.
    Deliberate::new("last epochs: InitProducerId v* *: producer_*", "-1", "*", "who is answered has a producer"),
    Deliberate::new("last epochs: EndTxn v5 open at 32765, by itself: error_code", "48 INVALID_TXN_STATE", "90 PRODUCER_FENCED",
        "InitProducerId has succeeded, so the producer before is over"),
    Deliberate::new("last epochs: DescribeTransactions v0 open at 32765, by itself*: *", "*", "*",
        "InitProducerId has succeeded"),
    Deliberate::new("last epochs: DescribeTransactions v0 late at 32765, afterwards: *", "*", "*",
        "InitProducerId has succeeded"),
];

/// The transactional ids, and how long their transactions may take.
fn ids() -> Vec<(String, i16, i32)> {
    let mut ids = Vec::new();
    for epoch in EPOCHS {
        for version in 0..=5 {
            ids.push((format!("next-{version}-{epoch}"), epoch, 60_000));
        }
        for version in 3..=5 {
            ids.push((format!("own-{version}-{epoch}"), epoch, 60_000));
            ids.push((format!("others-{version}-{epoch}"), epoch, 60_000));
        }
        for version in [0, 4, 5] {
            for commit in [true, false] {
                ids.push((format!("end-{version}-{commit}-{epoch}"), epoch, 60_000));
                ids.push((format!("nothing-{version}-{commit}-{epoch}"), epoch, 60_000));
            }
        }
        for who in ["somebody", "itself"] {
            ids.push((format!("open-{who}-{epoch}"), epoch, 60_000));
        }
        ids.push((format!("late-{epoch}"), epoch, 1_000));
    }
    ids
}

/// The producer that a record has given to a transactional id.
fn first(id: &str) -> Result<Producer> {
    let mut ids = (0..).zip(ids());
    let (place, (_, epoch, _)) = ids
        .find(|(_, (known, ..))| known == id)
        .with_context(|| id.to_owned())?;
    Ok(Producer {
        id: FIRST_PRODUCER_ID + place,
        epoch,
    })
}

/// A record of a transactional id that has a producer and no transaction: key and value.
fn record(id: &str, timeout_ms: i32, now_ms: i64) -> Result<(Bytes, Bytes)> {
    let Producer {
        id: producer_id,
        epoch,
    } = first(id)?;
    let mut key = BytesMut::new();
    key.put_i16(0);
    key.put_i16(i16::try_from(id.len())?);
    key.put(id.as_bytes());
    let mut value = BytesMut::new();
    value.put_i16(0);
    value.put_i64(producer_id);
    value.put_i16(epoch);
    value.put_i32(timeout_ms);
    // Empty, and so without partitions.
    value.put_i8(0);
    value.put_i32(-1);
    value.put_i64(now_ms);
    value.put_i64(-1);
    Ok((key.freeze(), value.freeze()))
}

/// Has a broker's coordinator know the ids.
pub fn prepare(broker: &mut BrokerProcess) -> Result<()> {
    let mut client = RawClient::connect(broker.address())?;
    let find = FindCoordinatorRequest::default()
        .with_key(StrBytes::from_static_str("any"))
        .with_key_type(1);
    // Which creates the topic.
    client.call(3, &find)?;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let now_ms = i64::try_from(now_ms)?;
    let mut batch = BatchBuilder::new();
    for (id, _, timeout_ms) in ids() {
        let (key, value) = record(&id, timeout_ms, now_ms)?;
        batch.append(now_ms, Some(&key), Some(&value), &[]);
    }
    let batch = batch.build()?;
    client.set_client_id(&StrBytes::from_static_str(ADMINISTRATOR));
    let mut told = (-1, -1);
    for _ in 0..600 {
        told = records::produce(&mut client, STATE_TOPIC, 0, batch.clone())?;
        // The topic may not be there yet.
        if told.0 != 3 && told.0 != 6 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    ensure!(told.0 == 0, "error {} for {STATE_TOPIC}", told.0);
    broker.terminate()?;
    broker.restart()
}

/// What becomes of producers near their last epochs.
pub fn run(talk: &mut Talk<'_>) -> Result<()> {
    begin(talk)?;
    for epoch in EPOCHS {
        for version in 0..=5 {
            nexts(talk, version, epoch)?;
        }
        for version in 3..=5 {
            own(talk, version, epoch)?;
            others(talk, version, epoch)?;
        }
        for version in [0, 4, 5] {
            for commit in [true, false] {
                ends(talk, version, commit, epoch)?;
                ends_nothing(talk, version, commit, epoch)?;
            }
        }
        for who in ["somebody", "itself"] {
            fences(talk, who, epoch)?;
        }
        times_out(talk, epoch)?;
    }
    Ok(())
}

/// Somebody new, again and again.
fn nexts(talk: &mut Talk<'_>, version: i16, epoch: i16) -> Result<()> {
    let id = format!("next-{version}-{epoch}");
    talk.ask(&format!("{epoch}"), DESCRIBE, &describe(&id))?;
    for nth in 1..=4 {
        talk.ask(
            &format!("next after {epoch}, {nth}"),
            version,
            &init(&id, None),
        )?;
    }
    talk.ask(&format!("{epoch}, afterwards"), DESCRIBE, &describe(&id))?;
    Ok(())
}

/// The producer itself, which may not have heard the answer.
fn own(talk: &mut Talk<'_>, version: i16, epoch: i16) -> Result<()> {
    let id = format!("own-{version}-{epoch}");
    let mut asking = first(&id)?;
    for nth in 1..=3 {
        let mut next = None;
        for again in 0..3 {
            let what = format!("itself at {epoch}, {nth}, again {again}");
            let told = talk.ask(&what, version, &init(&id, Some(asking)))?;
            if told.error_code == 0 {
                next = Some(Producer {
                    id: told.producer_id.0,
                    epoch: told.producer_epoch,
                });
            }
        }
        talk.ask(
            &format!("itself at {epoch}, {nth}"),
            DESCRIBE,
            &describe(&id),
        )?;
        asking = next.unwrap_or(asking);
    }
    Ok(())
}

/// Others than the producer, and those that it was.
fn others(talk: &mut Talk<'_>, version: i16, epoch: i16) -> Result<()> {
    let id = format!("others-{version}-{epoch}");
    let current = first(&id)?;
    let stranger = Producer {
        id: current.id + (1 << 20),
        ..current
    };
    for round in ["before", "after"] {
        for asked in [LAST - 2, LAST - 1, LAST, i16::MAX] {
            if round == "before" && asked == epoch {
                continue;
            }
            let what = format!("{round} {epoch}: ");
            let expected = Some(current.with_epoch(asked));
            talk.ask(&format!("{what}{asked}"), version, &init(&id, expected))?;
            let expected = Some(stranger.with_epoch(asked));
            talk.ask(
                &format!("{what}a stranger, {asked}"),
                version,
                &init(&id, expected),
            )?;
        }
        // Past the last epoch, whoever it is.
        while producer(talk, &id, None)?.id == current.id {}
    }
    Ok(())
}

/// Transactions, one after the other, each ended again.
fn ends(talk: &mut Talk<'_>, version: i16, commit: bool, epoch: i16) -> Result<()> {
    let id = format!("end-{version}-{commit}-{epoch}");
    let mut current = first(&id)?;
    let former = current;
    for nth in 1..=4 {
        let what = format!("{commit} from {epoch}, {nth}");
        let request = add(&id, current, &[(TOPIC, 0)]);
        talk.ask(&what, ADD, &request)?;
        let told = talk.ask(&what, version, &end(&id, current, commit))?;
        settled(talk, &id)?;
        talk.ask(&what, DESCRIBE, &describe(&id))?;
        for again in ["again", "once more"] {
            talk.ask(
                &format!("{what}, {again}"),
                version,
                &end(&id, current, commit),
            )?;
            settled(talk, &id)?;
        }
        talk.ask(
            &format!("{what}, otherwise"),
            version,
            &end(&id, current, !commit),
        )?;
        settled(talk, &id)?;
        if told.error_code == 0 && told.producer_id.0 >= 0 {
            current = Producer {
                id: told.producer_id.0,
                epoch: told.producer_epoch,
            };
        }
    }
    let what = format!("{commit} from {epoch}, the first one");
    talk.ask(&what, version, &end(&id, former, commit))?;
    talk.ask(&what, 5, &init(&id, Some(former)))?;
    talk.ask(&format!("{what}, afterwards"), DESCRIBE, &describe(&id))?;
    Ok(())
}

/// The end of a transaction that was not begun.
fn ends_nothing(talk: &mut Talk<'_>, version: i16, commit: bool, epoch: i16) -> Result<()> {
    let id = format!("nothing-{version}-{commit}-{epoch}");
    let current = first(&id)?;
    for again in 0..3 {
        let what = format!("nothing {commit} at {epoch}, {again}");
        talk.ask(&what, version, &end(&id, current, commit))?;
        settled(talk, &id)?;
        talk.ask(&what, DESCRIBE, &describe(&id))?;
    }
    Ok(())
}

/// InitProducerId while a transaction is open, which Kafka has to be asked again.
fn fences(talk: &mut Talk<'_>, who: &str, epoch: i16) -> Result<()> {
    let id = format!("open-{who}-{epoch}");
    let current = first(&id)?;
    talk.quietly(ADD, &add(&id, current, &[(TOPIC, 0)]))?;
    let expected = (who == "itself").then_some(current);
    producer(talk, &id, expected)?;
    let what = format!("open at {epoch}, by {who}");
    talk.ask(&what, DESCRIBE, &describe(&id))?;
    talk.ask(&what, 5, &end(&id, current, true))?;
    talk.ask(&what, 4, &end(&id, current, true))?;
    talk.ask(&what, ADD, &add(&id, current, &[(TOPIC, 0)]))?;
    talk.ask(&what, 5, &init(&id, Some(current)))?;
    talk.ask(&format!("{what}, afterwards"), DESCRIBE, &describe(&id))?;
    Ok(())
}

/// A transaction whose time is up.
fn times_out(talk: &mut Talk<'_>, epoch: i16) -> Result<()> {
    let id = format!("late-{epoch}");
    let current = first(&id)?;
    talk.quietly(ADD, &add(&id, current, &[(TOPIC, 0)]))?;
    talk.settle("the timeout", |talk| {
        let described = talk.quietly(DESCRIBE, &describe(&id))?;
        Ok(described.transaction_states[0].transaction_state.as_str() == "CompleteAbort")
    })?;
    let what = format!("late at {epoch}");
    talk.ask(&what, DESCRIBE, &describe(&id))?;
    for version in [4, 5] {
        talk.ask(&what, version, &end(&id, current, true))?;
        talk.ask(&what, version, &end(&id, current, false))?;
    }
    talk.ask(&what, ADD, &add(&id, current, &[(TOPIC, 0)]))?;
    for again in 0..2 {
        talk.ask(&format!("{what}, {again}"), 5, &init(&id, Some(current)))?;
    }
    talk.ask(&format!("{what}, afterwards"), DESCRIBE, &describe(&id))?;
    Ok(())
}
