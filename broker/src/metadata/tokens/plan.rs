//! Plans changes of delegation tokens by Kafka's rules (`DelegationTokenControlManager`).

use std::sync::Arc;

use protocol_shim::ErrorCode;
use storage::kafka_uuid;

use super::{DelegationToken, TokensImage};
use crate::metadata::record::MetadataRecord;
use crate::metadata::topics::plan::new_topic_id;

/// What all tokens may take. Kafka has no bound, and whoever can log in may ask for tokens.
const MAX_BYTES: usize = 64 << 20;
/// What those may take that one principal has asked for: about 10,000 without renewers.
const MAX_REQUESTER_BYTES: usize = 4 << 20;

/// A token that somebody has asked for.
#[derive(Clone, Debug)]
pub struct NewToken {
    pub id: Arc<str>,
    /// `Type:name`, as the others.
    pub owner: String,
    pub requester: String,
    pub renewers: Vec<String>,
    pub now_ms: i64,
    /// For how long it can be renewed.
    pub lifetime_ms: i64,
    /// For how long it holds before that.
    pub period_ms: i64,
}

/// What somebody wants with a token that is there.
#[derive(Clone, Debug)]
pub struct TokenChange {
    pub id: Arc<str>,
    /// `Type:name` of who wants it.
    pub by: String,
    pub now_ms: i64,
    pub what: TokenWish,
}

#[derive(Clone, Copy, Debug)]
pub enum TokenWish {
    /// It holds for so long from now on, if it still does.
    Renew { for_ms: i64 },
    /// The same; who may not is told so first.
    Expire { in_ms: i64 },
    /// It holds no longer.
    Remove,
}

/// An id that no token has had.
pub(crate) fn new_token_id() -> Arc<str> {
    kafka_uuid(new_topic_id()).into()
}

/// Plans a token.
///
/// # Errors
/// POLICY_VIOLATION: there are too many.
pub(crate) fn plan_create(
    image: &TokensImage,
    new: &NewToken,
) -> Result<DelegationToken, ErrorCode> {
    let max_at_ms = new.now_ms.saturating_add(new.lifetime_ms);
    let token = DelegationToken {
        id: Arc::clone(&new.id),
        owner: new.owner.as_str().into(),
        requester: new.requester.as_str().into(),
        renewers: new.renewers.clone(),
        issued_at_ms: new.now_ms,
        max_at_ms,
        expires_at_ms: max_at_ms.min(new.now_ms.saturating_add(new.period_ms)),
    };
    let (all, own) = image.bytes(&token.requester);
    let bytes = token.size_bytes();
    match own + bytes > MAX_REQUESTER_BYTES || all + bytes > MAX_BYTES {
        true => Err(ErrorCode::PolicyViolation),
        false => Ok(token),
    }
}

/// Plans what becomes of a token: the record, and when the token holds no longer.
///
/// # Errors
/// DELEGATION_TOKEN_NOT_FOUND; DELEGATION_TOKEN_EXPIRED; DELEGATION_TOKEN_OWNER_MISMATCH: it is neither theirs nor theirs
/// to renew.
pub(crate) fn plan_change(
    image: &TokensImage,
    change: &TokenChange,
) -> Result<(MetadataRecord, i64), ErrorCode> {
    let token = image.get(&change.id);
    let token = token.ok_or(ErrorCode::DelegationTokenNotFound)?;
    let holds = match token.has_expired(change.now_ms) {
        true => Err(ErrorCode::DelegationTokenExpired),
        false => Ok(()),
    };
    let is_theirs = match token.is_renewed_by(&change.by) {
        true => Ok(()),
        false => Err(ErrorCode::DelegationTokenOwnerMismatch),
    };
    let in_ms = match change.what {
        TokenWish::Remove => {
            is_theirs?;
            return Ok((remove(&token.id), change.now_ms));
        }
        TokenWish::Renew { for_ms } => holds.and(is_theirs).map(|()| for_ms)?,
        TokenWish::Expire { in_ms } => is_theirs.and(holds).map(|()| in_ms)?,
    };
    let expires_at_ms = change.now_ms.saturating_add(in_ms).min(token.max_at_ms);
    let token = DelegationToken {
        expires_at_ms,
        ..DelegationToken::clone(token)
    };
    Ok((token.record(), expires_at_ms))
}

/// The records that remove what holds no longer, up to `room`.
pub(crate) fn plan_removal(image: &TokensImage, now_ms: i64, room: usize) -> Vec<MetadataRecord> {
    let expired = image.iter().filter(|token| token.has_expired(now_ms));
    expired.take(room).map(|token| remove(&token.id)).collect()
}

fn remove(id: &str) -> MetadataRecord {
    MetadataRecord::RemoveDelegationToken {
        token_id: id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(id: &str) -> NewToken {
        NewToken {
            id: id.into(),
            owner: "User:ann".to_owned(),
            requester: "User:cho".to_owned(),
            renewers: vec!["User:ben".to_owned()],
            now_ms: 1000,
            lifetime_ms: 500,
            period_ms: 100,
        }
    }

    fn image() -> TokensImage {
        let mut image = TokensImage::default();
        let token = plan_create(&image, &new("a")).expect("planned");
        image.set(token).expect("set");
        image
    }

    fn change(by: &str, now_ms: i64, what: TokenWish) -> Result<i64, ErrorCode> {
        let change = TokenChange {
            id: "a".into(),
            by: by.to_owned(),
            now_ms,
            what,
        };
        plan_change(&image(), &change).map(|(_, expires_at_ms)| expires_at_ms)
    }

    #[test]
    fn a_token_holds_for_its_period_and_never_beyond_its_lifetime() {
        let image = TokensImage::default();
        let ends = |lifetime_ms, period_ms| {
            let new = NewToken {
                lifetime_ms,
                period_ms,
                ..new("b")
            };
            let token = plan_create(&image, &new).expect("planned");
            (token.issued_at_ms, token.expires_at_ms, token.max_at_ms)
        };
        assert_eq!(ends(500, 100), (1000, 1100, 1500));
        assert_eq!(ends(50, 100), (1000, 1050, 1050));
        assert_eq!(ends(i64::MAX, i64::MAX), (1000, i64::MAX, i64::MAX));
    }

    #[test]
    fn owner_and_renewers_change_it_while_it_holds_and_may_remove_it_after() {
        let in_ms = |in_ms| TokenWish::Expire { in_ms };
        let mismatch = Err(ErrorCode::DelegationTokenOwnerMismatch);
        let expired = Err(ErrorCode::DelegationTokenExpired);
        for by in ["User:ann", "User:ben"] {
            let renew = TokenWish::Renew { for_ms: 200 };
            assert_eq!(change(by, 1100, renew), Ok(1300));
            assert_eq!(change(by, 1101, renew), expired);
            assert_eq!(change(by, 1100, in_ms(200)), Ok(1300));
            assert_eq!(change(by, 1100, in_ms(i64::MAX)), Ok(1500));
            assert_eq!(change(by, 1100, in_ms(0)), Ok(1100));
            assert_eq!(change(by, 1100, TokenWish::Remove), Ok(1100));
            assert_eq!(change(by, 1101, in_ms(200)), expired);
            assert_eq!(change(by, 9999, TokenWish::Remove), Ok(9999));
        }
        // Who has asked for it for somebody else may see it, and no more.
        for by in ["User:cho", "User:anna", "Group:ann", "ann", ""] {
            assert_eq!(change(by, 1100, in_ms(200)), mismatch);
            assert_eq!(change(by, 1101, TokenWish::Remove), mismatch);
            // As in Kafka, what comes first depends on what is wanted.
            let renew = TokenWish::Renew { for_ms: 200 };
            assert_eq!(change(by, 1100, renew), mismatch);
            assert_eq!(change(by, 1101, renew), expired);
            assert_eq!(change(by, 1101, in_ms(200)), mismatch);
        }
        let gone = TokenChange {
            id: "b".into(),
            by: "User:ann".to_owned(),
            now_ms: 1000,
            what: TokenWish::Remove,
        };
        let not_found = ErrorCode::DelegationTokenNotFound;
        assert_eq!(plan_change(&image(), &gone), Err(not_found));
    }

    #[test]
    fn one_principal_has_so_many_and_all_have_so_many() {
        let mut image = TokensImage::default();
        let full = Err(ErrorCode::PolicyViolation);
        let mut of = |requester: String, renewer: &str| {
            let mut made = 0;
            loop {
                let new = NewToken {
                    requester: requester.clone(),
                    renewers: vec![format!("User:{renewer}")],
                    ..new(&format!("{requester} {made}"))
                };
                match plan_create(&image, &new) {
                    Ok(token) => image.set(token).expect("set"),
                    refused => return (made, refused.map(|token| token.size_bytes())),
                }
                made += 1;
            }
        };
        let (made, refused) = of("User:greedy".to_owned(), "x");
        assert!((9_000..15_000).contains(&made), "{made}");
        assert_eq!(refused, full);
        let long = "x".repeat(64 << 10);
        let (made, refused) = of("User:wordy".to_owned(), &long);
        assert!((50..64).contains(&made), "{made}");
        assert_eq!(refused, full);
        let others = (0..).map(|number| of(format!("User:{number}"), &long).0);
        let others = others.take_while(|made| *made > 0).count();
        assert!((13..=15).contains(&others), "{others}");
    }

    #[test]
    fn what_holds_no_longer_is_removed() {
        let image = image();
        assert_eq!(plan_removal(&image, 1100, 10), []);
        assert_eq!(plan_removal(&image, 1101, 10), [remove("a")]);
        assert_eq!(plan_removal(&image, 1101, 0), []);
    }
}
