//! Merges of states without bytes: what is read and written is only counted.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use super::super::object_writer::Packer;
use super::*;
use crate::object::entry::{BatchEffect, Effect, Entry, Marker};
use crate::record::{EndTxnMarker, TransactionResult};

/// A group, and what merges have cost it.
struct World {
    state: GroupState,
    settings: JobSettings,
    objects: u128,
    appended_bytes: u64,
    copied_bytes: u64,
}

impl World {
    fn new() -> Self {
        Self {
            state: GroupState::new(),
            settings: JobSettings::default(),
            objects: 0,
            appended_bytes: 0,
            copied_bytes: 0,
        }
    }

    fn object(&mut self) -> ObjectId {
        self.objects += 1;
        ObjectId {
            broker_epoch: 1,
            id: Uuid::from_u128(self.objects),
        }
    }

    fn apply(&mut self, effects: Vec<Effect>) {
        let seq = self.state.seq() + 1;
        self.state.apply(seq, &Entry { at_ms: 0, effects }).unwrap();
    }

    fn end_offset(&self, id: PartitionId) -> i64 {
        self.state.partition(id).unwrap().offsets().log_end_offset
    }

    /// A flush with so many bytes of each of these partitions, in an object or in the row.
    fn flush(&mut self, parts: &[(PartitionId, u32)], inline: bool) {
        let object = self.object();
        let seq = self.state.seq() + 1;
        let mut position = 0;
        let effects = parts.iter().map(|(partition, size_bytes)| {
            let place = match inline {
                true => Place::Inline { seq, position },
                false => Place::Object { object, position },
            };
            position += size_bytes;
            self.appended_bytes += u64::from(*size_bytes);
            Effect::Append {
                partition: *partition,
                base_offset: self.end_offset(*partition),
                place,
                batches: vec![BatchEffect {
                    size_bytes: *size_bytes,
                    last_offset_delta: 9,
                    max_timestamp: seq,
                    producer: None,
                }],
            }
        });
        let effects = effects.collect();
        self.apply(effects);
    }

    fn marker(&mut self, partition: PartitionId) {
        let effect = Effect::Marker {
            partition,
            offset: self.end_offset(partition),
            timestamp: 5,
            marker: Marker {
                producer_id: 1,
                producer_epoch: 0,
                marker: EndTxnMarker {
                    result: TransactionResult::Commit,
                    coordinator_epoch: 0,
                },
            },
        };
        self.apply(vec![effect]);
    }

    /// Merges once; false if there is nothing to merge.
    fn merge(&mut self, is_overdue: bool) -> bool {
        let Some(merge) = plan_merge(&self.state, &self.settings, is_overdue) else {
            return false;
        };
        let mut packer = Packer::new(self.object());
        let mut effects = Vec::new();
        for piece in &merge.pieces {
            for (run, moves) in piece.old.iter().zip(&piece.moves) {
                if *moves {
                    packer.push(run, run.size_bytes as usize).unwrap();
                    self.copied_bytes += u64::from(run.size_bytes);
                } else {
                    packer.keep(run);
                }
            }
            effects.push(Effect::Replaced {
                partition: piece.partition,
                from: piece.old[0].base_offset,
                to: piece.old[piece.old.len() - 1].next_offset,
                runs: packer.take_runs(),
                aborted: None,
            });
        }
        self.apply(effects);
        true
    }

    fn merge_all(&mut self) {
        let merges = (0..1_000).take_while(|_| self.merge(false)).count();
        assert!(merges < 1_000, "it does not end");
    }

    fn delete_before(&mut self, partition: PartitionId, offset: i64) {
        self.apply(vec![Effect::LogStart { partition, offset }]);
    }

    /// Every offset is in one run.
    fn check(&self) {
        for one in self.state.partitions() {
            assert_eq!(one.offsets().log_start_offset, 0);
        }
        self.check_from_start();
    }

    /// The same, of logs that have lost their beginning.
    fn check_from_start(&self) {
        for one in self.state.partitions() {
            let mut offset = one.runs(0).next().map_or(0, |first| first.base_offset);
            assert!(offset <= one.offsets().log_start_offset);
            if one.run_count() == 0 {
                continue;
            }
            let mut bytes = 0;
            for run in one.runs(0) {
                assert_eq!(run.base_offset, offset);
                offset = run.next_offset;
                bytes += u64::from(run.size_bytes);
            }
            assert_eq!(offset, one.offsets().log_end_offset);
            assert_eq!(bytes, one.size_bytes());
        }
    }
}

fn partition(number: i32) -> PartitionId {
    PartitionId {
        topic_id: Uuid::from_u128(1),
        partition: number,
    }
}

#[test]
fn little_is_left_alone_and_enough_of_it_is_merged() {
    let mut world = World::new();
    for _ in 0..63 {
        world.flush(&[(partition(0), 1_000), (partition(1), 1_000)], false);
    }
    assert!(!world.merge(false));
    world.flush(&[(partition(0), 1_000)], false);
    assert!(world.merge(false));
    world.check();
    assert_eq!(world.state.objects().len(), 1);
    assert_eq!(world.state.partition(partition(0)).unwrap().run_count(), 1);
    assert!(!world.merge(false));
}

#[test]
fn bytes_in_rows_are_merged_when_they_are_old_or_many() {
    let mut world = World::new();
    for _ in 0..10 {
        world.flush(&[(partition(0), 100)], true);
    }
    assert!(!world.merge(false));
    assert!(world.merge(true));
    assert_eq!(world.state.inline_rows().count(), 0);
    for _ in 0..11 {
        assert!(!world.merge(false));
        world.flush(&[(partition(0), 100_000)], true);
    }
    assert!(world.merge(false), "more than a mebibyte");
    assert_eq!(world.state.inline_rows().count(), 0);
    world.check();
}

#[test]
fn a_quiet_group_does_not_keep_many_objects_for_little_in_each() {
    let mut world = World::new();
    for _ in 0..FEW_OBJECTS - 1 {
        world.flush(&[(partition(0), 100)], false);
    }
    assert!(!world.merge(true));
    world.flush(&[(partition(1), 100)], false);
    assert!(!world.merge(false));
    assert!(world.merge(true));
    world.check();
    assert_eq!(world.state.objects().len(), 1);
    assert!(!world.merge(true));
}

#[test]
fn what_lies_between_stays_where_it_is_and_markers_move_only_between_runs_that_do() {
    let mut world = World::new();
    world.settings.object_bytes = 1 << 20;
    world.settings.merge_bytes = 100_000;
    for _ in 0..40 {
        world.flush(&[(partition(0), 100)], false);
        world.marker(partition(0));
    }
    world.flush(&[(partition(0), 900_000)], false);
    world.marker(partition(0));
    for _ in 0..40 {
        world.flush(&[(partition(0), 100)], false);
    }
    world.marker(partition(0));
    assert!(world.merge(false));
    world.check();
    let runs: Vec<_> = world
        .state
        .partition(partition(0))
        .unwrap()
        .runs(0)
        .collect();
    let sizes: Vec<_> = runs.iter().map(|run| run.size_bytes).collect();
    assert_eq!(sizes, [40 * 100 + 39 * 78, 78, 900_000, 78, 4_000, 78]);
    assert_eq!(world.state.objects().len(), 2);
}

#[test]
fn what_is_left_of_objects_moves_on_when_most_of_them_is_dead() {
    const MIB: u64 = 1 << 20;
    let mut world = World::new();
    // Two large objects, each with as much of two partitions.
    for _ in 0..2 {
        for _ in 0..64 {
            let half = MIB as u32 / 2;
            world.flush(&[(partition(0), half), (partition(1), half)], false);
        }
        world.merge_all();
    }
    let bytes_in_store = |world: &World| -> u64 {
        let objects = world.state.objects();
        objects.map(|(_, uses)| uses.most_bytes).sum()
    };
    assert_eq!(bytes_in_store(&world), 128 * MIB);
    let copied_before = world.copied_bytes;
    let end = world.end_offset(partition(0));
    for number in 0..2 {
        for step in 1..=64 {
            world.delete_before(partition(number), end * step / 64);
            world.merge_all();
            world.check_from_start();
            let live: u64 = world.state.partitions().map(|one| one.size_bytes()).sum();
            let stored = bytes_in_store(&world);
            assert!(
                stored <= 2 * live + 2 * MIB * 8,
                "{live} bytes are needed, and {stored} are stored"
            );
        }
    }
    // 128 MiB have died.
    let copied = world.copied_bytes - copied_before;
    assert!(
        (1..=256 * MIB).contains(&copied),
        "{copied} bytes were copied for it"
    );
}

#[test]
fn however_brokers_flush_it_ends_with_few_objects_and_each_byte_is_copied_a_few_times() {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for partitions in [1, 3, 40] {
        let mut world = World::new();
        // As usual, a hundred times smaller.
        world.settings.object_bytes = 640 << 10;
        world.settings.merge_bytes = 80 << 10;
        while world.appended_bytes < 30 << 20 {
            let mut parts = Vec::new();
            for number in 0..partitions {
                if random.random_bool(0.7) {
                    let most = 40_000 / partitions as u32 + 62;
                    parts.push((partition(number), random.random_range(61..most)));
                }
            }
            let inline = random.random_bool(0.1);
            world.flush(&parts, inline);
            if random.random_bool(0.02) {
                world.merge_all();
                world.check();
            }
        }
        world.merge_all();
        world.check();
        let objects = world.state.objects().len() as u64;
        let least = world.appended_bytes / world.settings.object_bytes;
        assert!(
            objects < 3 * least + 100,
            "{partitions} partitions: {objects} objects, at least {least}"
        );
        let copies = world.copied_bytes as f64 / world.appended_bytes as f64;
        assert!(
            copies < 4.5,
            "{partitions} partitions: each byte was copied {copies} times"
        );
    }
}
