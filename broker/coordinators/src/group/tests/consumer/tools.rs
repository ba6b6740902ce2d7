//! What administrators see and do.

use super::*;

#[test]
fn a_description_shows_members_epochs_and_assignments() {
    let mut cx = context();
    let members = cx.settled("g", 2);
    let group = cx.describe_consumer("g");
    assert_eq!(group.refusal, None);
    assert_eq!((group.state, group.assignor), ("Stable", "uniform"));
    assert_eq!(group.group_epoch, group.assignment_epoch);
    let member = &group.members[0];
    assert_eq!(
        (&*member.member_id, member.member_epoch),
        ("m0", members[0].epoch)
    );
    assert_eq!(member.subscribed_topic_names, ["t".into()]);
    assert_eq!(&*member.assignment[0].topic_name, "t");
    assert_eq!(member.assignment, member.target_assignment);
}

#[test]
fn each_description_knows_its_own_kind_of_group_only() {
    let mut cx = context();
    cx.settled("g", 1);
    cx.stable_group("c", 1);
    let refusal = cx.describe_consumer("c").refusal.expect("a refusal");
    assert_eq!(
        refusal,
        Refusal {
            error: ErrorCode::GroupIdNotFound,
            message: "Group c is not a consumer group.".into()
        }
    );
    let refusal = cx.describe_consumer("x").refusal.expect("a refusal");
    assert_eq!(refusal.message, "Group x not found.");
    let refusal = cx.describe_consumer("").refusal.expect("a refusal");
    assert_eq!(refusal.error, ErrorCode::InvalidGroupId);
    let described = cx.describe("g");
    assert_eq!(
        (described.error, described.state),
        (Some(ErrorCode::GroupIdNotFound), "Dead")
    );
    assert_eq!(
        described.error_message.as_deref(),
        Some("Group g is not a classic group.")
    );
}

#[test]
fn lists_can_be_filtered_by_type_and_state() {
    let mut cx = context();
    cx.settled("g", 1);
    cx.stable_group("c", 1);
    let names = |groups: Vec<ListedGroup>| {
        groups
            .iter()
            .map(|group| group.group_id.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(cx.list(&[], &["Consumer"])), ["g"]);
    assert_eq!(names(cx.list(&[], &["classic"])), ["c"]);
    assert_eq!(names(cx.list(&["stable"], &[])), ["c", "g"]);
    assert_eq!(names(cx.list(&["assigning"], &[])), Vec::<String>::new());
}

#[test]
fn a_group_can_be_deleted_when_it_is_empty_and_stays_deleted() {
    let mut cx = context();
    let members = cx.settled("g", 1);
    assert_eq!(cx.delete_groups(&["g"]), [Some(ErrorCode::NonEmptyGroup)]);
    cx.leave_consumer(&members[0], -1);
    assert_eq!(cx.delete_groups(&["g"]), [None]);
    cx.crash();
    assert_eq!(
        cx.describe_consumer("g")
            .refusal
            .map(|refusal| refusal.error),
        Some(ErrorCode::GroupIdNotFound)
    );
}
