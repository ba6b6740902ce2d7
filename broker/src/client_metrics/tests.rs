use super::instances::{Instances, Terms};
use super::*;

const INTERVAL_MS: i64 = 1000;

fn terms(subscription_id: i32) -> Terms {
    Terms {
        subscription_id,
        push_interval_ms: 1000,
    }
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

#[test]
fn as_many_clients_are_remembered_as_there_is_room_for_and_the_silent_ones_leave_first() {
    let mut instances = Instances::new(3);
    for number in 0..3 {
        let instance = instances.get(id(number), 1, || terms(0));
        instance.may_ask(0).expect("the first time");
    }
    // The first one is heard of again.
    instances.get(id(0), 1, || unreachable!("it is known"));
    for number in 10..1000 {
        instances
            .get(id(number), 1, || terms(0))
            .may_ask(0)
            .expect("the first time");
        assert_eq!(instances.len(), 3);
        instances.get(id(0), 1, || unreachable!("it is known"));
    }
    let asks_again = instances.get(id(1), 1, || terms(0)).may_ask(1);
    assert_eq!(asks_again, Ok(()), "it was forgotten");
}

#[test]
fn a_client_asks_and_pushes_once_in_an_interval() {
    let mut instances = Instances::new(3);
    let client = instances.get(id(7), 1, || terms(5));
    let early = Err(ErrorCode::ThrottlingQuotaExceeded);
    // Nobody has to ask first.
    assert_eq!(client.may_push(5, false, 0), Ok(()));
    assert_eq!(client.may_push(5, false, INTERVAL_MS - 1), early);
    assert_eq!(client.may_ask(INTERVAL_MS - 1), early);
    assert_eq!(client.may_push(5, false, INTERVAL_MS), Ok(()));
    assert_eq!(client.may_ask(2 * INTERVAL_MS), Ok(()));
    // Who has asked may push at once, and then not again.
    assert_eq!(client.may_push(5, false, 2 * INTERVAL_MS + 1), Ok(()));
    assert_eq!(client.may_push(5, false, 2 * INTERVAL_MS + 2), early);
    // But at the end.
    assert_eq!(client.may_push(5, true, 2 * INTERVAL_MS + 3), Ok(()));
    client.remember(None, true);
    let over = Err(ErrorCode::InvalidRequest);
    assert_eq!(client.may_push(5, true, 9 * INTERVAL_MS), over);
}

#[test]
fn a_client_with_other_terms_is_told_so_and_asks_at_once() {
    let mut instances = Instances::new(3);
    let client = instances.get(id(7), 1, || terms(5));
    assert_eq!(client.may_ask(0), Ok(()));
    let unknown = client.may_push(6, false, 1);
    assert_eq!(unknown, Err(ErrorCode::UnknownSubscriptionId));
    client.remember(unknown.err(), false);
    assert_eq!(client.may_ask(2), Ok(()));
    assert_eq!(client.may_ask(3), Err(ErrorCode::ThrottlingQuotaExceeded));
    // A change makes everything new.
    let client = instances.get(id(7), 2, || terms(6));
    assert_eq!(client.may_ask(4), Ok(()));
    assert_eq!(client.may_push(6, false, 5), Ok(()));
}
