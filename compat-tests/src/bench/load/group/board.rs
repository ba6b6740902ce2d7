//! Who holds what, as the members themselves believe.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Result, bail};
use tokio::sync::Notify;

/// What all members of a group hold.
#[derive(Clone)]
pub struct Board(Rc<Shared>);

struct Shared {
    partitions_count: usize,
    members: RefCell<Vec<Member>>,
    stable_since: Cell<Option<Instant>>,
    became_stable: Notify,
}

#[derive(Clone)]
struct Member {
    alive: bool,
    last_sign_of_life: Instant,
    /// The generation or member epoch, and the partitions.
    held: Option<(i32, Vec<i32>)>,
}

/// One member's place on the board.
pub struct Place {
    board: Board,
    index: usize,
}

impl Board {
    pub fn new(members_count: usize, partitions_count: i32) -> Result<Self> {
        let member = Member {
            alive: true,
            last_sign_of_life: Instant::now(),
            held: None,
        };
        Ok(Self(Rc::new(Shared {
            partitions_count: usize::try_from(partitions_count)?,
            members: RefCell::new(vec![member; members_count]),
            stable_since: Cell::new(None),
            became_stable: Notify::new(),
        })))
    }

    pub fn place(&self, index: usize) -> Place {
        Place {
            board: self.clone(),
            index,
        }
    }

    /// Since when all living members are of one generation and hold all partitions, each at least one.
    pub fn stable_since(&self) -> Option<Instant> {
        self.0.stable_since.get()
    }

    pub async fn stable(&self) -> Instant {
        loop {
            if let Some(since) = self.stable_since() {
                return since;
            }
            self.0.became_stable.notified().await;
        }
    }

    /// Takes a member off; gives when it last asked the broker something.
    pub fn bury(&self, index: usize) -> Instant {
        let last = {
            let mut members = self.0.members.borrow_mut();
            let member = &mut members[index];
            member.alive = false;
            member.held = None;
            member.last_sign_of_life
        };
        self.look();
        last
    }

    /// How far the group is, for an error message.
    pub fn describe(&self) -> String {
        let members = self.0.members.borrow();
        let holding = members.iter().filter(|member| member.held.is_some());
        let newest = holding.clone().filter_map(|member| member.held.as_ref());
        let newest = newest.map(|(generation, _)| *generation).max();
        format!(
            "{} of {} members hold partitions, the newest generation is {newest:?}",
            holding.count(),
            members.len()
        )
    }

    fn look(&self) {
        let stable = self.is_stable();
        if !stable {
            self.0.stable_since.set(None);
        } else if self.stable_since().is_none() {
            self.0.stable_since.set(Some(Instant::now()));
            self.0.became_stable.notify_one();
        }
    }

    fn is_stable(&self) -> bool {
        let members = self.0.members.borrow();
        let mut generations = None;
        let mut owned = vec![false; self.0.partitions_count];
        let mut owned_count = 0;
        for member in members.iter().filter(|member| member.alive) {
            let Some((generation, partitions)) = &member.held else {
                return false;
            };
            if partitions.is_empty() || *generations.get_or_insert(*generation) != *generation {
                return false;
            }
            for partition in partitions {
                match usize::try_from(*partition)
                    .ok()
                    .and_then(|at| owned.get_mut(at))
                {
                    Some(owned) if !*owned => *owned = true,
                    _ => return false,
                }
                owned_count += 1;
            }
        }
        owned_count == self.0.partitions_count
    }
}

impl Place {
    /// The member asks the broker something now.
    pub fn sign_of_life(&self) {
        self.board.0.members.borrow_mut()[self.index].last_sign_of_life = Instant::now();
    }

    /// The member holds exactly these from now on.
    ///
    /// # Errors
    /// Another member still holds one of them.
    pub fn hold(&self, generation: i32, partitions: Vec<i32>) -> Result<()> {
        {
            let mut members = self.board.0.members.borrow_mut();
            for (index, other) in members.iter().enumerate() {
                let Some((_, held)) = other.held.as_ref().filter(|_| index != self.index) else {
                    continue;
                };
                if let Some(shared) = held.iter().find(|held| partitions.contains(held)) {
                    bail!("member {index} still holds partition {shared}");
                }
            }
            members[self.index].held = Some((generation, partitions));
        }
        self.board.look();
        Ok(())
    }

    /// The member holds nothing until it is told again.
    pub fn revoke(&self) {
        self.board.0.members.borrow_mut()[self.index].held = None;
        self.board.look();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_stable_when_all_members_of_one_generation_hold_all_partitions() {
        let board = Board::new(2, 3).unwrap();
        let [first, second] = [0, 1].map(|index| board.place(index));
        first.hold(1, vec![0, 1]).unwrap();
        assert_eq!(board.stable_since(), None, "one member holds nothing");
        second.hold(2, vec![2]).unwrap();
        assert_eq!(board.stable_since(), None, "of two generations");
        first.hold(2, vec![0]).unwrap();
        assert_eq!(board.stable_since(), None, "nobody holds partition 1");
        first.hold(2, vec![0, 1]).unwrap();
        assert!(board.stable_since().is_some());
        first.revoke();
        assert_eq!(board.stable_since(), None, "one has given its share back");
    }

    #[test]
    fn a_partition_with_two_owners_is_an_error_in_any_generation() {
        let board = Board::new(2, 2).unwrap();
        board.place(0).hold(1, vec![0, 1]).unwrap();
        assert!(board.place(1).hold(2, vec![1]).is_err());
    }

    #[test]
    fn a_dead_member_is_not_waited_for_but_its_share_is() {
        let board = Board::new(2, 2).unwrap();
        let [first, second] = [0, 1].map(|index| board.place(index));
        first.hold(1, vec![0]).unwrap();
        second.hold(1, vec![1]).unwrap();
        board.bury(1);
        assert_eq!(board.stable_since(), None);
        first.hold(2, vec![0, 1]).unwrap();
        assert!(board.stable_since().is_some());
    }
}
