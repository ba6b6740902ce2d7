//! Delegation tokens (KIP-48), at one moment: whose they are, and how long they hold. What somebody who has one has to know is
//! not here (`security/delegation.rs`).

pub(super) mod plan;

use std::sync::Arc;

use super::error::ApplyError;
use super::record::MetadataRecord;
use super::sorted_map::SortedMap;

/// What is kept of one token. Principals are `Type:name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelegationToken {
    pub id: Arc<str>,
    /// Who its bearer is.
    pub owner: Arc<str>,
    /// Who has asked for it.
    pub requester: Arc<str>,
    /// Who else may renew it and end it.
    pub renewers: Vec<String>,
    pub issued_at_ms: i64,
    /// When it ends, however often it is renewed.
    pub max_at_ms: i64,
    /// When it ends unless it is renewed.
    pub expires_at_ms: i64,
}

impl DelegationToken {
    /// Whether it holds no longer.
    pub(crate) fn has_expired(&self, now_ms: i64) -> bool {
        self.max_at_ms < now_ms || self.expires_at_ms < now_ms
    }

    /// Whether somebody may renew it and end it.
    pub(crate) fn is_renewed_by(&self, principal: &str) -> bool {
        *self.owner == *principal || self.renewers.iter().any(|renewer| renewer == principal)
    }

    /// Whether somebody has to do with it, and so may see it.
    pub(crate) fn concerns(&self, principal: &str) -> bool {
        *self.requester == *principal || self.is_renewed_by(principal)
    }

    /// About how much memory it takes.
    pub(crate) fn size_bytes(&self) -> usize {
        const TOKEN_BYTES: usize = 256;
        let renewers = self.renewers.iter();
        let renewers = renewers.map(|renewer| size_of::<String>() + renewer.len());
        TOKEN_BYTES
            + self.id.len()
            + self.owner.len()
            + self.requester.len()
            + renewers.sum::<usize>()
    }

    pub(super) fn record(&self) -> MetadataRecord {
        MetadataRecord::DelegationToken {
            owner: self.owner.to_string(),
            requester: self.requester.to_string(),
            renewers: self.renewers.clone(),
            issued_at_ms: self.issued_at_ms,
            max_at_ms: self.max_at_ms,
            expires_at_ms: self.expires_at_ms,
            token_id: self.id.to_string(),
        }
    }
}

/// All tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokensImage {
    by_id: SortedMap<Arc<str>, Arc<DelegationToken>>,
    /// What those take that one principal has asked for.
    bytes_of: SortedMap<Arc<str>, usize>,
    bytes: usize,
}

impl TokensImage {
    pub(crate) fn get(&self, id: &str) -> Option<&Arc<DelegationToken>> {
        self.by_id.get(id)
    }

    /// All of them, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<DelegationToken>> {
        self.by_id.iter().map(|(_, token)| token)
    }

    /// Visits each token that is not the same in `old` and here, with both.
    pub(crate) fn changes_since<'a>(
        &'a self,
        old: &'a Self,
        visit: impl FnMut(Option<&'a Arc<DelegationToken>>, Option<&'a Arc<DelegationToken>>),
    ) {
        SortedMap::differences(&old.by_id, &self.by_id, Arc::ptr_eq, visit);
    }

    /// What all tokens take, and what those take that `requester` has asked for.
    fn bytes(&self, requester: &str) -> (usize, usize) {
        let own = self.bytes_of.get(requester).copied();
        (self.bytes, own.unwrap_or_default())
    }

    pub(super) fn set(&mut self, token: DelegationToken) -> Result<(), ApplyError> {
        let has_type = |principal: &str| principal.contains(':');
        let renewers_have = token.renewers.iter().all(|renewer| has_type(renewer));
        if !has_type(&token.owner) || !has_type(&token.requester) || !renewers_have {
            return Err(ApplyError::Inconsistent(format!(
                "a principal of delegation token {} has no type",
                token.id
            )));
        }
        self.uncount(&token.id);
        let bytes = token.size_bytes();
        let (_, own) = self.bytes(&token.requester);
        self.bytes_of
            .insert(Arc::clone(&token.requester), own + bytes);
        self.bytes += bytes;
        self.by_id.insert(Arc::clone(&token.id), Arc::new(token));
        Ok(())
    }

    /// As in Kafka, a token that is gone may be removed.
    pub(super) fn remove(&mut self, id: &str) {
        self.uncount(id);
        self.by_id.remove(id);
    }

    fn uncount(&mut self, id: &str) {
        let Some(old) = self.by_id.get(id).cloned() else {
            return;
        };
        let bytes = old.size_bytes();
        let (_, own) = self.bytes(&old.requester);
        match own.saturating_sub(bytes) {
            0 => self.bytes_of.remove(&old.requester),
            left => self.bytes_of.insert(Arc::clone(&old.requester), left),
        }
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    pub(super) fn records(&self) -> impl Iterator<Item = MetadataRecord> {
        self.iter().map(|token| token.record())
    }

    /// How many records [`records`](Self::records) gives.
    pub(super) fn record_count(&self) -> usize {
        self.by_id.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: &str, requester: &str) -> DelegationToken {
        DelegationToken {
            id: id.into(),
            owner: "User:ann".into(),
            requester: requester.into(),
            renewers: vec!["User:ben".to_owned()],
            issued_at_ms: 10,
            max_at_ms: 100,
            expires_at_ms: 50,
        }
    }

    #[test]
    fn what_tokens_take_is_known_of_each_who_has_asked_for_some() {
        let mut image = TokensImage::default();
        let one = token("a", "User:ann").size_bytes();
        image.set(token("a", "User:ann")).expect("set");
        image.set(token("b", "User:ann")).expect("set");
        image.set(token("c", "User:cho")).expect("set");
        let renewed = DelegationToken {
            expires_at_ms: 60,
            ..token("a", "User:ann")
        };
        image.set(renewed).expect("renewed");
        assert_eq!(image.bytes("User:ann"), (3 * one, 2 * one));
        assert_eq!(image.get("a").map(|token| token.expires_at_ms), Some(60));
        assert_eq!(image.record_count(), image.records().count());
        for id in ["a", "b", "c", "c"] {
            image.remove(id);
        }
        assert!(image == TokensImage::default());
    }

    #[test]
    fn a_principal_without_a_type_is_refused() {
        for wrong in [
            DelegationToken {
                owner: "ann".into(),
                ..token("a", "User:ann")
            },
            token("a", ""),
            DelegationToken {
                renewers: vec!["User:ben".to_owned(), "cho".to_owned()],
                ..token("a", "User:ann")
            },
        ] {
            assert!(TokensImage::default().set(wrong).is_err());
        }
    }

    #[test]
    fn a_token_holds_up_to_its_last_millisecond() {
        for (now_ms, has_expired) in [(49, false), (50, false), (51, true)] {
            assert_eq!(token("a", "User:ann").has_expired(now_ms), has_expired);
        }
        let mut token = token("a", "User:ann");
        token.expires_at_ms = 1000;
        assert!(!token.has_expired(100) && token.has_expired(101));
    }
}
