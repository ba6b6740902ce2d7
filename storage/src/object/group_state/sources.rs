//! What the runs of a group have their bytes in, and how many of them each has.

use std::collections::{BTreeMap, HashMap};

use super::super::entry::{ObjectId, Source};

/// Objects and rows by small numbers, so that a run does not have to name one in full.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    slots: Vec<Slot>,
    free: Vec<u32>,
    objects: HashMap<ObjectId, u32>,
    rows: BTreeMap<i64, u32>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    source: Source,
    uses: Uses,
}

/// What of an object, or of the inline bytes of a row, a group still needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    pub runs: u32,
    pub bytes: u64,
    /// The most that it ever needed, after an effect: of an object that this group has for itself, what is in it.
    pub most_bytes: u64,
}

impl Uses {
    /// Bytes that the group once needed. If nobody else needs them either, they only take room.
    pub fn dead_bytes(&self) -> u64 {
        self.most_bytes.saturating_sub(self.bytes)
    }
}

impl Sources {
    /// No source has a number from here on.
    pub const LIMIT: u32 = 1 << 30;

    /// A run of so many bytes is in `source`. `None`: there are too many sources.
    pub fn add(&mut self, source: Source, bytes: u32) -> Option<u32> {
        let index = match self.index_of(source) {
            Some(index) => index,
            None => self.insert(source)?,
        };
        let uses = &mut self.slots[index as usize].uses;
        uses.runs += 1;
        uses.bytes += u64::from(bytes);
        Some(index)
    }

    /// A run is not needed any more; returns its source if it was the last there.
    pub fn remove(&mut self, index: u32, bytes: u32) -> Option<Source> {
        let slot = &mut self.slots[index as usize];
        slot.uses.runs -= 1;
        slot.uses.bytes -= u64::from(bytes);
        if slot.uses.runs > 0 {
            return None;
        }
        match slot.source {
            Source::Object(object) => self.objects.remove(&object),
            Source::Row(seq) => self.rows.remove(&seq),
        };
        self.free.push(index);
        Some(slot.source)
    }

    /// An effect that has added runs is over.
    pub fn settle(&mut self, index: u32) {
        let uses = &mut self.slots[index as usize].uses;
        uses.most_bytes = uses.most_bytes.max(uses.bytes);
    }

    /// The most that was ever needed of a source is known, and not less than what is.
    pub fn set_most(&mut self, source: Source, most_bytes: u64) {
        if let Some(index) = self.index_of(source) {
            self.slots[index as usize].uses.most_bytes = most_bytes;
            self.settle(index);
        }
    }

    pub fn get(&self, index: u32) -> Source {
        self.slots[index as usize].source
    }

    pub fn uses_of(&self, source: Source) -> Option<Uses> {
        let index = self.index_of(source)?;
        Some(self.slots[index as usize].uses)
    }

    fn index_of(&self, source: Source) -> Option<u32> {
        let known = match source {
            Source::Object(object) => self.objects.get(&object),
            Source::Row(seq) => self.rows.get(&seq),
        };
        known.copied()
    }

    pub fn objects(&self) -> impl ExactSizeIterator<Item = (ObjectId, Uses)> {
        let uses = |index: &u32| self.slots[*index as usize].uses;
        self.objects
            .iter()
            .map(move |(object, index)| (*object, uses(index)))
    }

    /// Rows whose inline bytes are needed, the oldest first.
    pub fn rows(&self) -> impl Iterator<Item = (i64, Uses)> {
        self.rows
            .iter()
            .map(|(seq, index)| (*seq, self.slots[*index as usize].uses))
    }

    /// All that are in use, in an order that depends on nothing else.
    pub fn sorted(&self) -> Vec<(Source, Uses)> {
        let indices = self.objects.values().chain(self.rows.values());
        let slots = indices.map(|index| self.slots[*index as usize]);
        let mut all: Vec<_> = slots.map(|slot| (slot.source, slot.uses)).collect();
        all.sort_unstable_by_key(|(source, _)| *source);
        all
    }

    fn insert(&mut self, source: Source) -> Option<u32> {
        let slot = Slot {
            source,
            uses: Uses::default(),
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = slot;
                index
            }
            None => {
                let index = u32::try_from(self.slots.len()).ok();
                let index = index.filter(|index| *index < Self::LIMIT)?;
                self.slots.push(slot);
                index
            }
        };
        match source {
            Source::Object(object) => self.objects.insert(object, index),
            Source::Row(seq) => self.rows.insert(seq, index),
        };
        Some(index)
    }
}
