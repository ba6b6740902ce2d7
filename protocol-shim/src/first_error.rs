//! The first error that a response tells, for a line in a log.

use std::fmt::{self, Write as _};

use crate::error_code::ErrorCode;

/// Finds the first error in the text of a response: they have it at different depths. Only for the log.
#[derive(Default)]
pub(crate) struct FirstError {
    /// What may be the beginning of a field with an error.
    text: String,
    seen_bytes: usize,
    found: i16,
}

/// How much of a response is looked through.
const LOOKED_THROUGH_BYTES: usize = 64 << 10;

impl FirstError {
    pub(crate) fn of(response: &impl fmt::Debug) -> ErrorCode {
        let mut search = Self::default();
        // It is broken off when something is found.
        let _ = write!(search, "{response:?}");
        ErrorCode::from_code(search.found).unwrap_or(ErrorCode::UnknownServerError)
    }
}

impl fmt::Write for FirstError {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        const FIELD: &str = "error_code: ";
        self.seen_bytes += piece.len();
        self.text.push_str(piece);
        while let Some(at) = self.text.find(FIELD) {
            let value = &self.text[at + FIELD.len()..];
            // Its value comes in a piece of its own, and then what ends it.
            let Some(end) = value.find([',', ' ']) else {
                break;
            };
            self.found = value[..end].parse().unwrap_or(0);
            if self.found != 0 {
                return Err(fmt::Error);
            }
            self.text.drain(..at + FIELD.len());
        }
        if !self.text.contains(FIELD) {
            let mut keep_from = self.text.len().saturating_sub(FIELD.len());
            while !self.text.is_char_boundary(keep_from) {
                keep_from += 1;
            }
            self.text.drain(..keep_from);
        }
        match self.seen_bytes < LOOKED_THROUGH_BYTES {
            true => Ok(()),
            false => Err(fmt::Error),
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::metadata_response::{
        MetadataResponsePartition, MetadataResponseTopic,
    };
    use kafka_protocol::messages::{FindCoordinatorResponse, MetadataResponse};

    use super::*;

    #[test]
    fn the_first_error_of_a_response_is_found_at_any_depth() {
        let fine = FindCoordinatorResponse::default();
        assert_eq!(FirstError::of(&fine), ErrorCode::None);
        let refused = fine.with_error_code(15);
        assert_eq!(FirstError::of(&refused), ErrorCode::CoordinatorNotAvailable);
        let partition = |error| MetadataResponsePartition::default().with_error_code(error);
        let topic = |errors: &[i16]| {
            MetadataResponseTopic::default()
                .with_partitions(errors.iter().map(|error| partition(*error)).collect())
        };
        let deep = MetadataResponse::default().with_topics(vec![topic(&[0, 0]), topic(&[0, 5, 3])]);
        assert_eq!(FirstError::of(&deep), ErrorCode::LeaderNotAvailable);
        let long = MetadataResponse::default().with_topics(vec![topic(&[0; 100_000])]);
        assert_eq!(FirstError::of(&long), ErrorCode::None);
    }
}
