//! Objects of which it is not decided yet whether an entry will name them.
//!
//! Whoever removes what no entry names has to know which objects may still be named. Only the broker that wrote an object can
//! name it for the first time, so each broker keeps account of its own: an object is *settled* when nothing that is under way can
//! name it any more. Ids rise, so one id says it of all objects before it, and one small object tells the other brokers
//! (`jobs/orphans.rs`). No clock is asked.

use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use super::entry::ObjectId;
use crate::env::sync::Mutex;

/// The objects of this broker that are not settled.
#[derive(Debug, Default)]
pub struct InFlight(Mutex<Ids>);

#[derive(Debug, Default)]
struct Ids {
    last: Uuid,
    unsettled: BTreeSet<Uuid>,
}

impl InFlight {
    /// The name of a new object, to be written now. It has an id above all that were given before.
    pub fn begin(&self, broker_epoch: i64) -> ObjectId {
        let mut ids = self.0.lock();
        // The clock that the ids begin with may have been set back.
        let id = Uuid::now_v7().max(next(ids.last));
        ids.last = id;
        ids.unsettled.insert(id);
        ObjectId { broker_epoch, id }
    }

    /// No entry that names the object is under way any more: it was appended, or never will be. A commit that is in doubt settles
    /// nothing, nor does a task that ended before it knew: such an object stays, for as long as the broker has this epoch.
    pub fn settle(&self, object: &ObjectId) {
        self.0.lock().unsettled.remove(&object.id);
    }

    /// All objects of this broker with ids below are settled.
    pub fn settled_below(&self) -> Uuid {
        let ids = self.0.lock();
        let first = ids.unsettled.first();
        first.copied().unwrap_or_else(|| next(ids.last))
    }
}

/// An object that is settled when this is let go: for as long as nobody has been told its name.
#[derive(Debug)]
pub struct Unnamed {
    in_flight: Arc<InFlight>,
    object: ObjectId,
    is_named: bool,
}

impl Unnamed {
    /// See [`InFlight::begin`].
    pub fn begin(in_flight: &Arc<InFlight>, broker_epoch: i64) -> Self {
        Self {
            in_flight: Arc::clone(in_flight),
            object: in_flight.begin(broker_epoch),
            is_named: false,
        }
    }

    pub fn object(&self) -> ObjectId {
        self.object
    }

    /// The name is out. Whoever has it settles it.
    pub fn name(mut self) -> ObjectId {
        self.is_named = true;
        self.object
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if !self.is_named {
            self.in_flight.settle(&self.object);
        }
    }
}

fn next(id: Uuid) -> Uuid {
    Uuid::from_u128(id.as_u128().saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_settled_up_to_the_first_that_is_not() {
        let in_flight = InFlight::default();
        let objects: Vec<_> = (0..1_000).map(|_| in_flight.begin(7)).collect();
        assert!(objects.is_sorted_by(|a, b| a.id < b.id));
        for object in objects[1..].iter().rev() {
            in_flight.settle(object);
        }
        assert_eq!(in_flight.settled_below(), objects[0].id);
        in_flight.settle(&objects[0]);
        assert!(in_flight.settled_below() > objects[999].id);
        let next = in_flight.begin(8);
        assert!(in_flight.settled_below() == next.id && next.id > objects[999].id);
    }
}
