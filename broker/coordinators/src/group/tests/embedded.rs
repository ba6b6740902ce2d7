//! What classic consumers say to each other, byte for byte.

use super::context::*;
use crate::group::{
    embedded::{Assignment, Subscription, write_assignment},
    *,
};

/// Version 3: topics `t` and `u`, user data `d`, partitions 1 and 2 of `t`, generation 7, rack `r`.
const SUBSCRIPTION: &[u8] = &[
    0, 3, 0, 0, 0, 2, 0, 1, b't', 0, 1, b'u', 0, 0, 0, 1, b'd', 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2,
    0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 7, 0, 1, b'r',
];
/// Where a subscription of each version ends.
const ENDS: [usize; 4] = [17, 36, 40, 43];

fn in_version(version: usize) -> Vec<u8> {
    let mut bytes = SUBSCRIPTION[..ENDS[version]].to_vec();
    bytes[1] = version as u8;
    bytes
}

#[test]
fn every_version_of_a_subscription_says_what_it_has_room_for() {
    for version in 0..=3 {
        let read = Subscription::read(&in_version(version)).expect("it is whole");
        assert_eq!(read.topics, ["t".into(), "u".into()].into());
        let owned = vec![("t".into(), vec![1, 2])];
        assert_eq!(read.owned, if version >= 1 { owned } else { Vec::new() });
        let rack_id = (version >= 3).then(|| "r".into());
        assert_eq!(read.rack_id, rack_id);
    }
}

#[test]
fn a_newer_version_is_read_as_far_as_it_is_known() {
    let mut bytes = SUBSCRIPTION.to_vec();
    bytes[1] = 9;
    bytes.extend([1, 2, 3]);
    let read = Subscription::read(&bytes).expect("the beginning is known");
    assert_eq!(read.rack_id.as_deref(), Some("r"));
}

#[test]
fn a_subscription_that_ends_too_early_or_lies_about_its_length_is_none() {
    for version in 0..=3 {
        let whole = in_version(version);
        for end in 0..whole.len() {
            assert!(
                Subscription::read(&whole[..end]).is_err(),
                "{version} {end}"
            );
        }
    }
    let many = [0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0];
    assert!(Subscription::read(&many).is_err());
    assert!(
        Subscription::read(&[0xff; 8]).is_err(),
        "a negative version"
    );
    assert!(Assignment::read(&[0, 1, 0x7f, 0xff, 0xff, 0xff]).is_err());
}

#[test]
fn an_assignment_is_written_in_the_members_own_version() {
    let mut catalog = TestCatalog::default();
    catalog.put("t", 3);
    let partitions = Partitions::from([
        (topic_id("t"), [0, 2].into()),
        (topic_id("gone"), [1].into()),
    ]);
    for (said, written) in [(0, 0), (1, 1), (3, 3), (9, 3)] {
        let bytes = write_assignment(&partitions, &[0, said], &catalog).expect("it fits");
        let mut expected = vec![0, written, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2];
        expected.extend([0, 0, 0, 0, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(bytes, expected);
        let read = Assignment::read(&bytes).expect("it is whole");
        assert_eq!(read.partitions, vec![("t".into(), vec![0, 2])]);
        assert!(!read.has_user_data);
    }
    assert_eq!(Assignment::read(&[]), Ok(Assignment::default()));
}
