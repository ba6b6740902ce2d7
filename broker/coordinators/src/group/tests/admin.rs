use protocol_shim::ErrorCode;

use crate::partition_for;

use super::{
    super::*,
    context::{TestContext, nobody, protocol},
};

#[test]
fn a_group_is_described_in_every_state() {
    let mut cx = TestContext::new();
    let id = cx.new_member_id("g");
    assert_eq!(cx.state("g"), "Empty");
    let token = cx.join("g", &id);
    let joining = cx.describe("g");
    assert_eq!(
        (
            joining.state,
            &*joining.protocol_type,
            &*joining.protocol_data
        ),
        ("CompletingRebalance", "consumer", "")
    );
    assert!(
        joining.members[0].metadata.is_empty(),
        "the subscription shows when the group is stable"
    );
    let member = super::context::Joined {
        member_id: id.clone(),
        generation_id: cx.join_reply(token).generation_id,
    };
    cx.sync_all("g", &[member]);
    let stable = cx.describe("g");
    assert_eq!(
        (stable.error, stable.state, &*stable.protocol_data),
        (None, "Stable", "range")
    );
    let member = &stable.members[0];
    assert_eq!(
        (&*member.client_id, &*member.client_host),
        ("client", "/127.0.0.1")
    );
    assert_eq!(member.metadata, protocol("range", &["topic"]).metadata);
    assert_eq!(&*member.assignment, id.as_bytes());
    let newcomer = cx.new_member_id("g");
    cx.join("g", &newcomer);
    assert_eq!(cx.state("g"), "PreparingRebalance");
}

#[test]
fn an_unknown_group_is_dead_and_from_version_6_on_not_found() {
    let mut cx = TestContext::new();
    for (api_version, error) in [(5, None), (6, Some(ErrorCode::GroupIdNotFound))] {
        let request = DescribeGroups {
            group_ids: vec!["g".into()],
            api_version,
            allowance: Allowance::unlimited(),
        };
        let token = cx.send(GroupRequest::DescribeGroups(request));
        let GroupReply::DescribeGroups(groups) = cx.reply(token) else {
            panic!();
        };
        assert_eq!((groups[0].state, groups[0].error), ("Dead", error));
        assert_eq!(
            groups[0].error_message.as_deref(),
            error.map(|_| "Group g not found.")
        );
    }
}

#[test]
fn groups_are_listed_by_state_and_type_without_regard_to_case() {
    let mut cx = TestContext::new();
    cx.stable_group("stable", 1);
    cx.commit("simple", &nobody(), 1);
    let mut names = |states: &[&str], types: &[&str]| -> Vec<String> {
        cx.list(states, types)
            .into_iter()
            .map(|group| group.group_id.to_string())
            .collect()
    };
    assert_eq!(names(&[], &[]), ["simple", "stable"]);
    assert_eq!(names(&["STABLE"], &[]), ["stable"]);
    assert_eq!(names(&["empty", "dead"], &["Classic"]), ["simple"]);
    assert_eq!(
        names(&["empty", "stable"], &["classic"]),
        ["simple", "stable"]
    );
    assert!(names(&[], &["consumer"]).is_empty());
    assert!(names(&["no such state"], &[]).is_empty());
    let group = &cx.list(&["stable"], &[])[0];
    assert_eq!(
        (&*group.protocol_type, group.state, group.group_type),
        ("consumer", "Stable", "classic")
    );
}

#[test]
fn only_groups_without_members_can_be_deleted_and_their_offsets_go_with_them() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 1);
    cx.commit("g", &members[0], 1);
    cx.commit("simple", &nobody(), 1);
    let errors = cx.delete_groups(&["g", "unknown", "simple"]);
    assert_eq!(
        errors,
        [
            Some(ErrorCode::NonEmptyGroup),
            Some(ErrorCode::GroupIdNotFound),
            None
        ]
    );
    cx.leave("g", &[(&members[0].member_id, None)]);
    assert_eq!(cx.delete_groups(&["g"]), [None]);
    cx.crash();
    assert!(cx.list(&[], &[]).is_empty());
    assert_eq!(cx.fetch("g", "topic", false), Ok(None));
}

#[test]
fn a_deleted_group_starts_anew() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 1);
    cx.leave("g", &[(&members[0].member_id, None)]);
    let pending = cx.new_member_id("g");
    assert_eq!(cx.delete_groups(&["g"]), [None]);
    let token = cx.join("g", &pending);
    assert_eq!(cx.join_error(token), ErrorCode::UnknownMemberId);
    cx.advance(20_000);
    assert_eq!(cx.stable_group("g", 1)[0].generation_id, 1);
}

#[test]
fn the_partition_of_a_group_is_javas_hash_of_its_name() {
    // From java.lang.String.hashCode, 50 partitions; the third has the hash Integer.MIN_VALUE.
    let known = [
        ("", 0),
        ("my-group", 12),
        ("polygenelubricants", 0),
        ("grüße", 23),
        ("😀", 49),
    ];
    for (group, partition) in known {
        assert_eq!(partition_for(group, 50), partition, "{group}");
    }
    assert_eq!(partition_for("any", 1), 0);
}

#[test]
fn descriptions_of_one_group_again_and_again_end_where_their_allowance_does() {
    let mut cx = TestContext::new();
    cx.join_with("g", "", |request| {
        request.api_version = 3;
        request.protocols[0].metadata = vec![0; 10_000].into();
    });
    let price = cx.describe("g").price_bytes();
    let request = DescribeGroups {
        group_ids: vec!["g".into(); 4],
        api_version: 6,
        allowance: Allowance::new(2 * price),
    };
    let token = cx.send(GroupRequest::DescribeGroups(request));
    let GroupReply::DescribeGroups(groups) = cx.reply(token) else {
        panic!();
    };
    let errors: Vec<_> = groups.iter().map(|group| group.error).collect();
    let again = Some(ErrorCode::CoordinatorLoadInProgress);
    assert_eq!(errors, [None, None, again, again]);
    assert!(groups.iter().all(|group| &*group.group_id == "g"));
}

#[test]
fn a_survey_in_parts_tells_what_one_as_a_whole_does() {
    let mut cx = TestContext::new();
    cx.stable_group("m", 3);
    for (group, topics) in [("a", 1), ("b", 3), ("empty", 0), ("z", 2)] {
        for topic in 0..topics {
            let partitions = (0..4).map(|partition_index| CommitPartition {
                partition_index,
                committed_offset: i64::from(10 * topic + partition_index),
                committed_leader_epoch: -1,
                metadata: "".into(),
            });
            let topic = CommitTopic {
                name: format!("topic-{topic}").into(),
                topic_id: uuid::Uuid::nil(),
                partitions: partitions.collect(),
            };
            cx.commit_with(group, &nobody(), 0, |request| request.topics = vec![topic]);
        }
    }
    let mut survey = |from: Option<SurveyPlace>, rows_max| {
        let request = SurveyGroups {
            from,
            rows_max,
            with_assignments: true,
        };
        let token = cx.send(GroupRequest::Survey(request));
        match cx.reply(token) {
            GroupReply::Survey(part) => part,
            other => panic!("{other:?}"),
        }
    };
    let whole = survey(None, usize::MAX);
    assert_eq!(whole.next, None);
    let seen = |groups: &[SurveyedGroup]| -> Vec<(String, usize, usize)> {
        let of = |group: &SurveyedGroup| {
            let id = group.group_id.to_string();
            (id, group.member_count, group.offsets.len())
        };
        groups.iter().map(of).collect()
    };
    let expected = [("a", 0, 4), ("b", 0, 12), ("m", 3, 0), ("z", 0, 8)];
    let expected = expected.map(|(id, members, offsets)| (id.to_owned(), members, offsets));
    assert_eq!(seen(&whole.groups), expected);
    for rows_max in 0..30 {
        let (mut groups, mut from) = (Vec::<SurveyedGroup>::new(), None);
        loop {
            let part = survey(from, rows_max);
            let rows = part.groups.iter().map(|group| group.offsets.len());
            assert!(rows.sum::<usize>() <= rows_max.max(1));
            for group in part.groups {
                match groups.last_mut() {
                    Some(last) if group.goes_on => {
                        assert_eq!(last.group_id, group.group_id);
                        last.offsets.extend(group.offsets);
                        last.commits += group.commits;
                    }
                    _ => {
                        assert!(!group.goes_on);
                        groups.push(group);
                    }
                }
            }
            match part.next {
                None => break,
                next => from = next,
            }
        }
        assert_eq!(groups, whole.groups, "{rows_max} rows at a time");
    }
}
