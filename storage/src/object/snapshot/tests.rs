use super::*;
use crate::object::entry::Entry;

#[test]
fn a_group_without_entries_has_a_snapshot() {
    let bytes = GroupState::new().to_snapshot();
    let state = GroupState::from_snapshot(&bytes).unwrap();
    assert_eq!((state.seq(), state.partitions().count()), (0, 0));
}

#[test]
fn a_snapshot_that_was_cut_off_or_changed_is_refused() {
    let mut state = GroupState::new();
    state.apply(1, &Entry::default()).unwrap();
    let bytes = state.to_snapshot();
    for at in 0..bytes.len() {
        assert!(GroupState::from_snapshot(&bytes[..at]).is_err());
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(GroupState::from_snapshot(&changed).is_err());
    }
}
