//! A segment to be read, and what its batches' offsets must be.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use crate::env::fs::Fs;
use crate::local::segment::scan::{Found, OffsetRule, ScanEnd, scan_windows};
use crate::local::segment::{Part, Segment};
use crate::log::{ReadError, TopicPartition};

/// A segment, and what its batches' offsets must be.
pub(super) struct Span {
    pub(super) segment: Arc<Segment>,
    pub(super) end_offset: i64,
    pub(super) may_have_gaps: bool,
}

/// Where a walk begins, and what is known of the batch there.
#[derive(PartialEq)]
pub(super) struct Start {
    pub(super) position: u64,
    /// The batch begins with it, or behind it if there may be gaps.
    pub(super) next: i64,
    /// What the index says of it.
    pub(super) last_offset: Option<i64>,
}

impl Start {
    /// Whether it is where the last read of the segment ended.
    pub(super) fn goes_on(&self) -> bool {
        self.position > 0 && self.last_offset.is_none()
    }
}

impl Span {
    pub(super) fn beginning(&self) -> Start {
        Start {
            position: 0,
            next: self.segment.base_offset,
            last_offset: None,
        }
    }

    /// Where to look for an offset: where the last read ended, if that was there, or what the index says.
    pub(super) fn start(&self, fs: &dyn Fs, from_offset: i64) -> io::Result<Start> {
        if let Some(position) = self.segment.position_of_next_read(from_offset) {
            return Ok(Start {
                position,
                next: from_offset,
                last_offset: None,
            });
        }
        let entry = self.segment.entry_before(fs, from_offset)?;
        Ok(entry.map_or_else(
            || self.beginning(),
            |entry| Start {
                position: entry.position.into(),
                last_offset: Some(self.segment.base_offset + i64::from(entry.relative_offset)),
                ..self.beginning()
            },
        ))
    }

    /// Calls `visit` for the batches from `start` on; says where and how they are damaged.
    pub(super) fn walk(
        &self,
        mut start: Start,
        window_bytes: usize,
        read: &mut dyn FnMut(u64, usize) -> io::Result<Option<Bytes>>,
        visit: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> io::Result<Option<String>> {
        let segment = &self.segment;
        loop {
            let from = start.position;
            let mut rule = OffsetRule {
                next: start.next,
                end: self.end_offset,
                may_have_gaps: self.may_have_gaps,
                first_last_offset: start.last_offset,
            };
            let mut wrong = None;
            let to = segment.written_bytes();
            let end = scan_windows(&mut *read, window_bytes, from, to, |found| {
                if let Err(what) = rule.check(&found.header) {
                    wrong = Some((found.position, what));
                    return ControlFlow::Break(());
                }
                visit(found)
            })?;
            if let ScanEnd::Invalid { position, error } = end {
                wrong = Some((position, error.to_string()));
            }
            match wrong {
                // It may be the index that is wrong: no checksum covers it. The segment is read without it.
                Some((position, _)) if position == from && start != self.beginning() => {
                    start = self.beginning();
                }
                Some((position, what)) => {
                    let path = segment.path(Part::Log);
                    return Ok(Some(format!(
                        "{} at byte {position}: {what}",
                        path.display()
                    )));
                }
                None => return Ok(None),
            }
        }
    }
}

pub(super) fn failed(id: &TopicPartition, error: &dyn std::fmt::Display) -> ReadError {
    ReadError::Storage(format!("{id}: {error}"))
}
