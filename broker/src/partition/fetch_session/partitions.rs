//! The partitions of one session, in the order in which they are fetched.

use std::collections::HashMap;

use super::{Told, TopicKey, WantedPartition};

/// What the session remembers of one partition.
#[derive(Debug)]
pub(super) struct Entry {
    pub wanted: WantedPartition,
    pub told: Told,
}

/// A map with an order. To remove an entry, or to move it to the end, costs no more than to find it: its place stays
/// empty until half of the places are.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    places: Vec<Option<Entry>>,
    place_of: HashMap<(TopicKey, i32), usize>,
    /// Entries and places that were looked at.
    #[cfg(test)]
    pub steps: usize,
}

/// Empty places that a small session may have.
const FEW: usize = 16;

impl Partitions {
    pub(crate) fn len(&self) -> usize {
        self.place_of.len()
    }

    /// Remembers a partition; one that is known keeps its place, and false is returned.
    pub(crate) fn put(&mut self, wanted: WantedPartition, told: Told) -> bool {
        self.step(1);
        let next = self.places.len();
        let place = *self.place_of.entry(key(&wanted)).or_insert(next);
        match self.places.get_mut(place) {
            Some(Some(entry)) => entry.wanted = wanted,
            _ => self.places.push(Some(Entry { wanted, told })),
        }
        place == next
    }

    pub(crate) fn remove(&mut self, topic: &TopicKey, partition: i32) -> Option<Entry> {
        self.step(1);
        let place = self.place_of.remove(&(topic.clone(), partition))?;
        self.places[place].take()
    }

    /// All of them in their order, each with its place.
    pub(crate) fn iter(&mut self) -> impl Iterator<Item = (usize, &Entry)> {
        self.step(self.places.len());
        let places = self.places.iter().enumerate();
        places.filter_map(|(place, entry)| Some((place, entry.as_ref()?)))
    }

    /// The entry of `wanted`, which most likely is at `place`, with the place where it is.
    pub(crate) fn find(
        &mut self,
        place: usize,
        wanted: &WantedPartition,
    ) -> Option<(usize, &mut Entry)> {
        self.step(1);
        let is_there = |entry: &Entry| {
            entry.wanted.partition == wanted.partition && entry.wanted.topic == wanted.topic
        };
        let at_place = self.places.get(place).and_then(Option::as_ref);
        let place = match at_place.is_some_and(is_there) {
            true => place,
            false => *self.place_of.get(&key(wanted))?,
        };
        Some((place, self.places[place].as_mut()?))
    }

    pub(crate) fn move_to_end(&mut self, place: usize) {
        self.step(1);
        if let Some(entry) = self.places[place].take() {
            self.place_of.insert(key(&entry.wanted), self.places.len());
            self.places.push(Some(entry));
        }
    }

    /// Closes the gaps if there are many. Places are others afterwards.
    pub(crate) fn tidy(&mut self) {
        if self.places.len() <= 2 * self.len() + FEW {
            return;
        }
        self.step(self.places.len());
        self.places.retain(Option::is_some);
        for (place, entry) in self.places.iter().enumerate() {
            if let Some(known) = entry
                .as_ref()
                .and_then(|e| self.place_of.get_mut(&key(&e.wanted)))
            {
                *known = place;
            }
        }
    }

    #[cfg(test)]
    fn step(&mut self, count: usize) {
        self.steps += count;
    }

    #[cfg(not(test))]
    fn step(&mut self, _count: usize) {}
}

fn key(wanted: &WantedPartition) -> (TopicKey, i32) {
    (wanted.topic.clone(), wanted.partition)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::NOTHING_TOLD;
    use super::*;

    fn wanted(partition: i32) -> WantedPartition {
        WantedPartition {
            topic: TopicKey::Name("t".into()),
            partition,
            fetch_offset: 0,
            max_bytes: 1,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(i32),
        Remove(i32),
        MoveToEnd(i32),
        Tidy,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..40).prop_map(Step::Put),
            (0..40).prop_map(Step::Remove),
            (0..40).prop_map(Step::MoveToEnd),
            Just(Step::Tidy),
        ]
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_a_plain_list(steps in prop::collection::vec(step(), 0..400)) {
            let mut partitions = Partitions::default();
            let mut list: Vec<i32> = Vec::new();
            for step in steps {
                match step {
                    Step::Put(p) => {
                        let is_new = !list.contains(&p);
                        prop_assert_eq!(partitions.put(wanted(p), NOTHING_TOLD), is_new);
                        if is_new {
                            list.push(p);
                        }
                    }
                    Step::Remove(p) => {
                        let known = list.contains(&p);
                        let removed = partitions.remove(&TopicKey::Name("t".into()), p);
                        prop_assert_eq!(removed.is_some(), known);
                        list.retain(|other| *other != p);
                    }
                    Step::MoveToEnd(p) => {
                        // A place of long ago is no hindrance.
                        let found = partitions.find(7, &wanted(p)).map(|(place, _)| place);
                        prop_assert_eq!(found.is_some(), list.contains(&p));
                        if let Some(place) = found {
                            partitions.move_to_end(place);
                            list.retain(|other| *other != p);
                            list.push(p);
                        }
                    }
                    Step::Tidy => {
                        partitions.tidy();
                        prop_assert!(partitions.places.len() <= 2 * list.len() + FEW);
                    }
                }
                let order: Vec<i32> = partitions.iter().map(|(_, e)| e.wanted.partition).collect();
                prop_assert_eq!(&order, &list);
                prop_assert_eq!(partitions.len(), list.len());
            }
        }
    }
}
