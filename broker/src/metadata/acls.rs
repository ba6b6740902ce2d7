//! Who may do what: the access control entries at one moment.

use std::sync::Arc;

use uuid::Uuid;

use super::error::{ApplyError, MetadataError};
use super::record::MetadataRecord;
use super::sorted_map::SortedMap;
use crate::acl::{Acl, AclIndex, AclOperation, PatternKind, Permission, ResourceKind};

/// Entries in one change, as in Kafka (`QuorumController.MAX_RECORDS_PER_USER_OP`).
pub(crate) const MAX_ACLS_PER_CHANGE: usize = 10_000;

/// Entries to be made.
#[derive(Debug)]
pub struct NewAcls(pub Vec<Acl>);

/// Entries to be deleted, by their ids.
#[derive(Debug)]
pub struct OldAcls(pub Vec<Uuid>);

/// All entries.
#[derive(Clone, Debug, Default)]
pub(super) struct AclsImage {
    by_id: SortedMap<Uuid, Arc<Acl>>,
    index: AclIndex,
}

impl PartialEq for AclsImage {
    fn eq(&self, other: &Self) -> bool {
        self.by_id == other.by_id
    }
}

impl AclsImage {
    pub(crate) fn index(&self) -> &AclIndex {
        &self.index
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn add(&mut self, id: Uuid, acl: Acl) -> Result<(), ApplyError> {
        if self.by_id.get(&id).is_some() || self.index.contains(&acl) {
            return Err(ApplyError::Inconsistent(format!(
                "the ACL {id} is there already"
            )));
        }
        let acl = Arc::new(acl);
        self.index.add(id, &acl);
        self.by_id.insert(id, acl);
        Ok(())
    }

    pub(crate) fn remove(&mut self, id: Uuid) -> Result<(), ApplyError> {
        let unknown = || ApplyError::Inconsistent(format!("there is no ACL {id} to delete"));
        let acl = self.by_id.get(&id).cloned().ok_or_else(unknown)?;
        self.index.remove(&acl);
        self.by_id.remove(&id);
        Ok(())
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = MetadataRecord> {
        self.by_id.iter().map(|(id, acl)| acl_record(*id, acl))
    }

    /// The record of an entry that is to be made; `None`: it is there.
    pub(crate) fn plan_create(&self, acl: &Acl) -> Option<MetadataRecord> {
        (!self.index.contains(acl)).then(|| acl_record(Uuid::new_v4(), acl))
    }

    /// The record that deletes an entry; `None`: somebody else has.
    pub(crate) fn plan_delete(&self, id: Uuid) -> Option<MetadataRecord> {
        self.by_id
            .get(&id)
            .map(|_| MetadataRecord::RemoveAccessControlEntry { id })
    }
}

/// More than one change may have; Kafka's words.
pub(super) fn too_many() -> MetadataError {
    MetadataError::PolicyViolation(
        "Unable to perform excessively large batch operation.".to_owned(),
    )
}

fn acl_record(id: Uuid, acl: &Acl) -> MetadataRecord {
    MetadataRecord::AccessControlEntry {
        id,
        resource_type: acl.resource.code(),
        resource_name: acl.name.to_string(),
        pattern_type: acl.pattern.code(),
        principal: acl.principal.to_string(),
        host: acl.host.to_string(),
        operation: acl.operation.code(),
        permission_type: acl.permission.code(),
    }
}

/// The entry that the fields of a record are, in their order.
///
/// # Errors
/// One of them has a meaning that this version does not know. To pass it over could let somebody in.
pub(crate) fn acl_of(
    resource_type: i8,
    resource_name: &str,
    pattern_type: i8,
    principal: &str,
    host: &str,
    operation: i8,
    permission_type: i8,
) -> Result<Acl, ApplyError> {
    let known = || {
        principal.contains(':').then_some(())?;
        Some(Acl {
            resource: ResourceKind::from_code(resource_type)?,
            pattern: PatternKind::from_code(pattern_type)?,
            name: resource_name.into(),
            principal: principal.into(),
            host: host.into(),
            operation: AclOperation::from_code(operation)?,
            permission: Permission::from_code(permission_type)?,
        })
    };
    known().ok_or_else(|| {
        ApplyError::Inconsistent(format!(
            "an ACL is not understood: resource type {resource_type}, pattern type {pattern_type}, operation {operation}, \
             permission type {permission_type}, principal {principal:?}"
        ))
    })
}
