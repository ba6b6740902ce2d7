//! From the hash of a key to the last offset at which the key was written: what compaction knows of the dirty range.
//!
//! As Kafka's SkimpyOffsetMap it keeps hashes instead of keys, so its memory does not depend on how long keys are,
//! and two keys of one hash would be taken for one. Kafka relies on MD5 for that not to happen; here the hash is
//! SipHash with a key drawn for each map, so nobody can choose record keys that collide.

use std::hash::{BuildHasher, Hasher, RandomState};

use thiserror::Error;

/// Memory of one entry: 128 bits of hash, and the offset.
pub const ENTRY_BYTES: usize = size_of::<Slot>();

/// `log.cleaner.io.buffer.load.factor`: beyond this share of used slots, probing takes too long.
const LOAD_PERCENT: usize = 90;

/// The hash in two halves, then offset + 1. All zero, which the allocator gives for nothing, is an empty slot.
type Slot = [u64; 3];

/// A new key, for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the offset map is full")]
pub struct MapFull;

/// Open addressing with linear probing over slots that are allocated once.
#[derive(Debug)]
pub struct OffsetMap {
    hasher: RandomState,
    slots: Vec<Slot>,
    len: usize,
    capacity: usize,
    latest_offset: Option<i64>,
}

impl OffsetMap {
    /// A map of at most `budget_bytes`, and no larger than `keys` different keys need.
    ///
    /// However small the budget, there is room for one key: compaction then makes little progress, but some.
    pub fn new(budget_bytes: usize, keys: u64) -> Self {
        let needed = keys.saturating_mul(100) / LOAD_PERCENT as u64 + 2;
        let slots = (budget_bytes / ENTRY_BYTES)
            .min(usize::try_from(needed).unwrap_or(usize::MAX))
            .max(2);
        // One slot always stays empty: it ends the search for a key that is not there.
        let capacity = (slots - slots.div_ceil(100 / (100 - LOAD_PERCENT))).max(1);
        Self {
            hasher: RandomState::new(),
            slots: vec![[0; 3]; slots],
            len: 0,
            capacity,
            latest_offset: None,
        }
    }

    /// Notes that `key` was written at `offset`, which is above all offsets before and not negative.
    ///
    /// # Errors
    /// `MapFull` for a key that is not in a full map; the map is as before.
    pub fn put(&mut self, key: &[u8], offset: i64) -> Result<(), MapFull> {
        let hash = self.hash(key);
        let at = self.find(hash);
        if self.slots[at][2] == 0 {
            if self.is_full() {
                return Err(MapFull);
            }
            self.len += 1;
        }
        self.slots[at] = [hash[0], hash[1], offset as u64 + 1];
        self.latest_offset = Some(offset);
        Ok(())
    }

    /// The last offset of `key` in the range that the map covers.
    pub fn get(&self, key: &[u8]) -> Option<i64> {
        let slot = self.slots[self.find(self.hash(key))];
        slot[2].checked_sub(1).map(|offset| offset as i64)
    }

    /// Extends the covered range to `offset`: there is no key of interest between the last one and here.
    pub fn cover(&mut self, offset: i64) {
        self.latest_offset = Some(offset);
    }

    /// The end of the covered range, inclusive; nothing is known of records beyond it.
    pub fn latest_offset(&self) -> Option<i64> {
        self.latest_offset
    }

    pub fn is_full(&self) -> bool {
        self.len >= self.capacity
    }

    /// The slot of `hash`, or the empty one in which to put it.
    fn find(&self, hash: [u64; 2]) -> usize {
        let count = self.slots.len();
        // Scales the hash down to the number of slots without a division.
        let mut at = ((u128::from(hash[0]) * count as u128) >> 64) as usize;
        while self.slots[at][2] != 0 && self.slots[at][..2] != hash {
            at += 1;
            if at == count {
                at = 0;
            }
        }
        at
    }

    /// 128 bits in one pass over the key: the hash of the key, and that of the key with a byte more.
    fn hash(&self, key: &[u8]) -> [u64; 2] {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        let first = hasher.finish();
        hasher.write(&[0]);
        [first, hasher.finish()]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn a_full_map_takes_no_new_key_but_newer_offsets_of_known_ones() {
        let mut map = OffsetMap::new(100 * ENTRY_BYTES, u64::MAX);
        assert_eq!(map.capacity, 90);
        for key in 0..90_i64 {
            assert!(!map.is_full());
            map.put(&key.to_be_bytes(), key).unwrap();
        }
        assert!(map.is_full());
        assert_eq!(map.put(b"one more", 90), Err(MapFull));
        assert_eq!(
            (map.get(b"one more"), map.latest_offset()),
            (None, Some(89))
        );
        map.put(&7_i64.to_be_bytes(), 90).unwrap();
        assert_eq!(map.get(&7_i64.to_be_bytes()), Some(90));
        assert_eq!((map.len, map.latest_offset()), (90, Some(90)));
    }

    #[test]
    fn the_memory_follows_the_budget_and_the_number_of_keys_whichever_is_less() {
        for (budget_bytes, keys) in [(0, 0), (0, u64::MAX), (1 << 20, 0), (1 << 20, 1)] {
            let mut map = OffsetMap::new(budget_bytes, keys);
            assert!(map.slots.len() <= 3);
            map.put(b"", 0).unwrap();
            assert_eq!((map.get(b""), map.get(b"x")), (Some(0), None));
        }
        let map = OffsetMap::new(1 << 20, u64::MAX);
        assert!(map.slots.len() * ENTRY_BYTES <= 1 << 20);
        for keys in 1..1_000 {
            let map = OffsetMap::new(1 << 20, keys);
            assert!(map.capacity as u64 >= keys, "{keys}");
            assert!(map.slots.len() as u64 <= keys * 10 / 9 + 2, "{keys}");
        }
    }

    #[test]
    fn it_answers_as_a_hash_map_of_whole_keys_would() {
        let seed: u64 = rand::rng().random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..20 {
            let budget_bytes = random.random_range(0..100_000);
            let mut map = OffsetMap::new(budget_bytes, u64::MAX);
            let mut model = HashMap::new();
            let key_range = random.random_range(1..10_000_u32);
            for offset in 0..5_000 {
                // Keys of all lengths, and ones that differ by a trailing zero only.
                let number = random.random_range(0..key_range);
                let mut key = number.to_be_bytes()[(number % 4) as usize..].to_vec();
                key.resize(key.len() + (number % 7) as usize, 0);
                let fits = map.put(&key, offset).is_ok();
                assert_eq!(fits, model.contains_key(&key) || model.len() < map.capacity);
                if fits {
                    model.insert(key, offset);
                } else {
                    assert_eq!(map.get(&key), None);
                }
            }
            assert_eq!(map.len, model.len());
            for (key, offset) in &model {
                assert_eq!(map.get(key), Some(*offset));
            }
        }
    }
}
