//! A sorted map whose versions share most of their memory.
//!
//! Entries lie in chunks. A clone shares all of them, and a change copies the one it touches and the list of
//! chunks: with 100,000 entries that is about 2,000 words instead of all entries.
//!
//! `imbl::OrdMap` would do the same. It is under the MPL, which no other dependency is, and this is 200 lines.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::sync::Arc;

/// A chunk that grows beyond is split.
const CHUNK_ENTRIES: usize = 128;

type Chunk<K, V> = Vec<(K, V)>;

/// Entries by key. Values are cheap to clone, like an `Arc`.
#[derive(Clone, Debug)]
pub struct SortedMap<K, V> {
    /// None is empty.
    chunks: Arc<Vec<Arc<Chunk<K, V>>>>,
    len: usize,
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self {
            chunks: Arc::default(),
            len: 0,
        }
    }
}

/// Equal when the entries are, whatever chunks they lie in.
impl<K: PartialEq, V: PartialEq> PartialEq for SortedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K, V> SortedMap<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether both are one map, of which nothing has changed. Others may be equal all the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.chunks, &other.chunks)
    }

    /// All entries, by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries((0, 0))
    }

    /// The entries behind those whose keys are `before`, which has to hold for a beginning of all keys.
    pub(crate) fn behind(&self, before: impl Fn(&K) -> bool) -> impl Iterator<Item = (&K, &V)> {
        self.entries(self.end_of(before))
    }

    /// The last entry whose key is `before`, which has to hold for a beginning of all keys.
    pub(crate) fn last(&self, before: impl Fn(&K) -> bool) -> Option<(&K, &V)> {
        let (chunk, at) = self.end_of(before);
        let (key, value) = self.chunks.get(chunk)?.get(at.checked_sub(1)?)?;
        Some((key, value))
    }

    fn end_of(&self, before: impl Fn(&K) -> bool) -> (usize, usize) {
        let begins_before = |chunk: &Arc<Chunk<K, V>>| {
            let first = chunk.first();
            first.is_some_and(|(first, _)| before(first))
        };
        let behind = self.chunks.partition_point(begins_before);
        let chunk = behind.saturating_sub(1);
        let entries = self.chunks.get(chunk);
        let at = entries.map_or(0, |entries| entries.partition_point(|(key, _)| before(key)));
        (chunk, at)
    }

    fn entries(&self, (chunk, at): (usize, usize)) -> impl Iterator<Item = (&K, &V)> {
        let chunks = self.chunks[chunk..].iter();
        chunks
            .flat_map(|chunk| chunk.iter())
            .skip(at)
            .map(|(key, value)| (key, value))
    }
}

impl<K: Ord + Clone, V: Clone> SortedMap<K, V> {
    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let (chunk, at) = self.find(key);
        let (_, value) = self.chunks.get(chunk)?.get(at.ok()?)?;
        Some(value)
    }

    /// The entries whose keys are not before `first`, by key.
    pub(crate) fn from<Q: Ord + ?Sized>(&self, first: &Q) -> impl Iterator<Item = (&K, &V)>
    where
        K: Borrow<Q>,
    {
        let (chunk, at) = self.find(first);
        self.entries((chunk, at.unwrap_or_else(|at| at)))
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        let (chunk, at) = self.find(&key);
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(entries) = chunks.get_mut(chunk) else {
            chunks.push(Arc::new(vec![(key, value)]));
            self.len = 1;
            return;
        };
        let entries = Arc::make_mut(entries);
        match at {
            Ok(at) => entries[at].1 = value,
            Err(at) => {
                entries.insert(at, (key, value));
                self.len += 1;
            }
        }
        if entries.len() > CHUNK_ENTRIES {
            let upper = entries.split_off(CHUNK_ENTRIES / 2);
            chunks.insert(chunk + 1, Arc::new(upper));
        }
    }

    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let (chunk, Ok(at)) = self.find(key) else {
            return;
        };
        let chunks = Arc::make_mut(&mut self.chunks);
        let entries = Arc::make_mut(&mut chunks[chunk]);
        entries.remove(at);
        if entries.is_empty() {
            chunks.remove(chunk);
        }
        self.len -= 1;
    }

    /// Visits every key whose value is not the same in both, with the old value and the new one.
    ///
    /// Costs a step for each chunk that both share, and for each entry of the others.
    pub(crate) fn differences<'a>(
        old: &'a Self,
        new: &'a Self,
        same: impl Fn(&V, &V) -> bool,
        mut visit: impl FnMut(Option<&'a V>, Option<&'a V>),
    ) {
        let (mut old, mut new) = (Cursor::of(old), Cursor::of(new));
        loop {
            if old.skip_shared(&mut new) {
                continue;
            }
            match (old.entry(), new.entry()) {
                (None, None) => return,
                (Some((old_key, before)), Some((new_key, after))) => match old_key.cmp(new_key) {
                    Ordering::Equal => {
                        if !same(before, after) {
                            visit(Some(before), Some(after));
                        }
                        old.advance();
                        new.advance();
                    }
                    Ordering::Less => {
                        visit(Some(before), None);
                        old.advance();
                    }
                    Ordering::Greater => {
                        visit(None, Some(after));
                        new.advance();
                    }
                },
                (Some((_, before)), None) => {
                    visit(Some(before), None);
                    old.advance();
                }
                (None, Some((_, after))) => {
                    visit(None, Some(after));
                    new.advance();
                }
            }
        }
    }

    /// The chunk where a key is or would be, and where in it. No chunk only if there is none.
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> (usize, Result<usize, usize>)
    where
        K: Borrow<Q>,
    {
        let begins_after = |chunk: &Arc<Chunk<K, V>>| {
            let first = chunk.first();
            first.is_some_and(|(first, _)| first.borrow() > key)
        };
        let behind = self.chunks.partition_point(|chunk| !begins_after(chunk));
        let chunk = behind.saturating_sub(1);
        let found = self.chunks.get(chunk).map_or(Err(0), |entries| {
            entries.binary_search_by(|(known, _)| known.borrow().cmp(key))
        });
        (chunk, found)
    }
}

/// A place in a map.
struct Cursor<'a, K, V> {
    chunks: &'a [Arc<Chunk<K, V>>],
    /// In the first of the chunks, and less than its length.
    at: usize,
}

impl<'a, K, V> Cursor<'a, K, V> {
    fn of(map: &'a SortedMap<K, V>) -> Self {
        Self {
            chunks: &map.chunks,
            at: 0,
        }
    }

    fn entry(&self) -> Option<(&'a K, &'a V)> {
        let (key, value) = self.chunks.first()?.get(self.at)?;
        Some((key, value))
    }

    fn advance(&mut self) {
        self.at += 1;
        if self
            .chunks
            .first()
            .is_some_and(|chunk| self.at >= chunk.len())
        {
            (self.chunks, self.at) = (&self.chunks[1..], 0);
        }
    }

    /// Leaps over a chunk that begins here in both maps.
    fn skip_shared(&mut self, other: &mut Self) -> bool {
        let shared = match (self.chunks.first(), other.chunks.first()) {
            (Some(mine), Some(theirs)) => {
                self.at == 0 && other.at == 0 && Arc::ptr_eq(mine, theirs)
            }
            _ => false,
        };
        if shared {
            self.chunks = &self.chunks[1..];
            other.chunks = &other.chunks[1..];
        }
        shared
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn random_changes(
        map: &mut SortedMap<u32, u32>,
        model: &mut BTreeMap<u32, u32>,
        rng: &mut StdRng,
        count: usize,
    ) {
        for _ in 0..count {
            let key = rng.random_range(0..2_000);
            if rng.random_bool(0.4) {
                map.remove(&key);
                model.remove(&key);
            } else {
                let value = rng.random();
                map.insert(key, value);
                model.insert(key, value);
            }
        }
    }

    #[test]
    fn it_holds_what_a_btree_map_holds_and_a_clone_stays_as_it_was() {
        let seed = rand::random();
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut map, mut model) = (SortedMap::default(), BTreeMap::new());
        for _ in 0..30 {
            let (map_before, model_before) = (map.clone(), model.clone());
            let count = rng.random_range(0..400);
            random_changes(&mut map, &mut model, &mut rng, count);
            for (map, model) in [(&map, &model), (&map_before, &model_before)] {
                assert!(map.iter().eq(model.iter()));
                assert_eq!(map.len(), model.len());
                for key in 0..2_000 {
                    assert_eq!(map.get(&key), model.get(&key));
                }
                let first = rng.random_range(0..2_100);
                assert!(map.from(&first).eq(model.range(first..)));
                assert!(map.behind(|key| *key < first).eq(model.range(first..)));
                let last = model.range(..first).next_back();
                assert_eq!(map.last(|key| *key < first), last);
            }
        }
    }

    #[test]
    fn the_differences_are_the_keys_with_another_value_and_shared_chunks_cost_nothing() {
        let seed = rand::random();
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut map, mut model) = (SortedMap::default(), BTreeMap::new());
        random_changes(&mut map, &mut model, &mut rng, 5_000);
        for count in [0, 1, 3, 50, 1_000] {
            let (map_before, model_before) = (map.clone(), model.clone());
            random_changes(&mut map, &mut model, &mut rng, count);
            let mut found = Vec::new();
            let compared = std::cell::Cell::new(0);
            SortedMap::differences(
                &map_before,
                &map,
                |a, b| {
                    compared.set(compared.get() + 1);
                    a == b
                },
                |before, after| found.push((before.copied(), after.copied())),
            );
            let expected: Vec<_> = (0..2_000)
                .map(|key| (model_before.get(&key).copied(), model.get(&key).copied()))
                .filter(|(before, after)| before != after)
                .collect();
            assert_eq!(found, expected);
            assert!(compared.get() <= count * 2 * CHUNK_ENTRIES);
        }
    }
}
