//! The users that have SCRAM credentials (KIP-554), at one moment.

pub(super) mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::ApplyError;
use super::record::MetadataRecord;
use super::sorted_map::SortedMap;
use credentials::scram::{ScramCredential, ScramMechanism};

/// Credentials by user.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScramImage {
    users: SortedMap<Arc<str>, Arc<Credentials>>,
    count: usize,
    /// How many credentials have so many iterations.
    iterations: Arc<BTreeMap<(ScramMechanism, i32), usize>>,
}

/// What one user has; at least one.
pub type Credentials = BTreeMap<ScramMechanism, ScramCredential>;

impl ScramImage {
    pub(crate) fn get(&self, mechanism: ScramMechanism, user: &str) -> Option<&ScramCredential> {
        self.users.get(user)?.get(&mechanism)
    }

    pub(crate) fn credentials(&self, user: &str) -> Option<&Credentials> {
        self.users.get(user).map(|credentials| &**credentials)
    }

    /// All users, by name.
    pub(crate) fn users(&self) -> impl Iterator<Item = (&str, &Credentials)> {
        let users = self.users.iter();
        users.map(|(user, credentials)| (&**user, &**credentials))
    }

    pub(crate) fn user_count(&self) -> usize {
        self.users.len()
    }

    /// What most credentials of a mechanism have.
    pub(crate) fn usual_iterations(&self, mechanism: ScramMechanism) -> Option<i32> {
        let of_mechanism = (mechanism, i32::MIN)..=(mechanism, i32::MAX);
        let counts = self.iterations.range(of_mechanism);
        let most = counts.max_by_key(|(_, count)| **count);
        most.map(|((_, iterations), _)| *iterations)
    }

    pub(super) fn set(
        &mut self,
        user: &str,
        mechanism: i8,
        credential: ScramCredential,
    ) -> Result<(), ApplyError> {
        let mechanism = known(mechanism)?;
        let mut credentials = self.users.get(user).cloned().unwrap_or_default();
        let iterations = credential.iterations;
        let old = Arc::make_mut(&mut credentials).insert(mechanism, credential);
        self.users.insert(user.into(), credentials);
        if let Some(old) = old {
            self.uncount(mechanism, old.iterations);
        }
        self.count += 1;
        let counts = Arc::make_mut(&mut self.iterations);
        *counts.entry((mechanism, iterations)).or_default() += 1;
        Ok(())
    }

    pub(super) fn remove(&mut self, user: &str, mechanism: i8) -> Result<(), ApplyError> {
        let mechanism = known(mechanism)?;
        let mut credentials = self.users.get(user).cloned().unwrap_or_default();
        let Some(old) = Arc::make_mut(&mut credentials).remove(&mechanism) else {
            return Err(ApplyError::Inconsistent(
                "a credential is removed that is not there".to_owned(),
            ));
        };
        match credentials.is_empty() {
            true => self.users.remove(user),
            false => self.users.insert(user.into(), credentials),
        }
        self.uncount(mechanism, old.iterations);
        Ok(())
    }

    fn uncount(&mut self, mechanism: ScramMechanism, iterations: i32) {
        self.count -= 1;
        let counts = Arc::make_mut(&mut self.iterations);
        if let Some(count) = counts.get_mut(&(mechanism, iterations)) {
            *count -= 1;
        }
        counts.retain(|_, count| *count > 0);
    }

    pub(super) fn records(&self) -> impl Iterator<Item = MetadataRecord> {
        self.users().flat_map(|(user, credentials)| {
            let credentials = credentials.iter();
            credentials.map(move |(mechanism, credential)| record(user, *mechanism, credential))
        })
    }

    /// How many records [`records`](Self::records) gives.
    pub(super) fn record_count(&self) -> usize {
        self.count
    }
}

fn known(mechanism: i8) -> Result<ScramMechanism, ApplyError> {
    ScramMechanism::from_wire(mechanism)
        .ok_or_else(|| ApplyError::Inconsistent(format!("unknown SCRAM mechanism {mechanism}")))
}

/// Gives a user a credential.
pub(crate) fn record(
    user: &str,
    mechanism: ScramMechanism,
    credential: &ScramCredential,
) -> MetadataRecord {
    MetadataRecord::UserScramCredential {
        name: user.to_owned(),
        mechanism: mechanism as i8,
        salt: credential.salt.clone(),
        stored_key: credential.stored_key.clone(),
        server_key: credential.server_key.clone(),
        iterations: credential.iterations,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA_256: i8 = ScramMechanism::Sha256 as i8;

    fn credential(iterations: i32) -> ScramCredential {
        ScramCredential {
            salt: vec![1],
            stored_key: vec![2],
            server_key: vec![3],
            iterations,
        }
    }

    #[test]
    fn a_user_has_a_credential_of_each_mechanism_and_is_gone_with_the_last() {
        let mut image = ScramImage::default();
        image.set("a", 1, credential(4096)).expect("set");
        image.set("a", 2, credential(8192)).expect("set");
        image.set("a", 1, credential(5000)).expect("set again");
        assert_eq!(image.record_count(), 2);
        assert_eq!(image.records().count(), 2);
        let found = image.get(ScramMechanism::Sha256, "a");
        assert_eq!(found.map(|found| found.iterations), Some(5000));
        image.remove("a", SHA_256).expect("removed");
        assert!(image.remove("a", SHA_256).is_err());
        assert_eq!(image.credentials("a").map(BTreeMap::len), Some(1));
        image.remove("a", 2).expect("removed");
        assert!(image == ScramImage::default());
        assert!(image.set("a", 3, credential(1)).is_err());
    }

    #[test]
    fn what_most_users_have_is_known() {
        let mut image = ScramImage::default();
        assert_eq!(image.usual_iterations(ScramMechanism::Sha256), None);
        for (user, iterations) in [("a", 4096), ("b", 8192), ("c", 8192), ("d", 9000)] {
            image
                .set(user, SHA_256, credential(iterations))
                .expect("set");
        }
        assert_eq!(image.usual_iterations(ScramMechanism::Sha256), Some(8192));
        assert_eq!(image.usual_iterations(ScramMechanism::Sha512), None);
    }
}
