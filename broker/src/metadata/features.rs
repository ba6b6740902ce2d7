//! Which level the records of the log have.

use super::error::ApplyError;
use super::record::{METADATA_VERSION, METADATA_VERSION_FEATURE, MetadataRecord};

/// The levels of features.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FeaturesImage {
    /// 0: the log is empty.
    pub metadata_version: i16,
}

impl FeaturesImage {
    pub(crate) fn set_level(&mut self, name: &str, level: i16) -> Result<(), ApplyError> {
        if name != METADATA_VERSION_FEATURE {
            return Ok(());
        }
        if level > METADATA_VERSION {
            return Err(ApplyError::NewerMetadata { found: level });
        }
        self.metadata_version = level;
        Ok(())
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = MetadataRecord> {
        [metadata_version(self.metadata_version)].into_iter()
    }

    /// What comes before a record that needs this level: before the first of an empty log, and where an older version has
    /// written so far.
    pub(crate) fn plan_level(&self, level: i16) -> Option<MetadataRecord> {
        (self.metadata_version < level).then(|| metadata_version(level))
    }
}

/// Says that the log holds records of this level.
pub(crate) fn metadata_version(level: i16) -> MetadataRecord {
    MetadataRecord::FeatureLevel {
        name: METADATA_VERSION_FEATURE.to_owned(),
        level,
    }
}
