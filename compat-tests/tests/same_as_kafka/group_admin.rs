//! DescribeGroups, ListGroups and DeleteGroups.

use anyhow::Result;
use compat_tests::scenario::{Talk, string};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DescribeGroupsRequest,
    JoinGroupRequest, ListGroupsRequest,
};
use protocol_shim::newer::delete_groups::DeleteGroupsRequest;

use super::classic_group::{heartbeat, join, join_as, leave, sync};
use super::offsets::commit_request;

fn ids(groups: &[&str]) -> Vec<kafka_protocol::messages::GroupId> {
    groups.iter().map(|id| string(id).into()).collect()
}

/// A group that joins and one that is stable, one without members and one with offsets only.
fn groups(talk: &mut Talk<'_>, prefix: &str) -> Result<[String; 4]> {
    let names = ["joining", "stable", "empty", "offsets"].map(|kind| format!("{prefix}-{kind}"));
    let [joining, stable, empty, offsets] = &names;
    join_as(talk, "alice", 5, join(5, joining, "", &["range"]))?;
    let request = join(5, stable, "", &["range"]).with_group_instance_id(Some(string("instance")));
    let member = join_as(talk, "bob", 5, request)?;
    let assigned = sync(
        3,
        stable,
        member.generation_id,
        &member.member_id,
        &[(&member.member_id, b"assigned")],
    )
    .with_group_instance_id(Some(string("instance")));
    talk.ask("bob", 3, &assigned)?;
    let member = join_as(talk, "carol", 5, join(5, empty, "", &["range"]))?;
    talk.ask("carol leaves", 3, &leave(3, empty, &member.member_id))?;
    talk.ask(
        "offsets",
        7,
        &commit_request(offsets, &[(prefix, &[(0, 5)])]),
    )?;
    Ok(names)
}

pub fn describe(talk: &mut Talk<'_>) -> Result<()> {
    talk.create_topic("described", 1)?;
    let names = groups(talk, "described")?;
    for version in 0..=6 {
        let mut ask = |what: &str, groups: &[&str]| {
            let request = DescribeGroupsRequest::default().with_groups(ids(groups));
            talk.ask(what, version, &request).map(|_| ())
        };
        ask("joining", &[&names[0]])?;
        ask("stable", &[&names[1]])?;
        ask("empty", &[&names[2]])?;
        ask("offsets only", &[&names[3]])?;
        ask("unknown", &["described-unknown"])?;
        ask("no name", &[""])?;
        ask("several", &[&names[2], &names[1], "described-unknown"])?;
        ask("one twice", &[&names[2], &names[2]])?;
        ask("none", &[])?;
        if version >= 3 {
            let request = DescribeGroupsRequest::default()
                .with_groups(ids(&[&names[1], "described-unknown"]))
                .with_include_authorized_operations(true);
            talk.ask("with operations", version, &request)?;
        }
    }
    Ok(())
}

pub fn list(talk: &mut Talk<'_>) -> Result<()> {
    talk.create_topic("listed", 1)?;
    groups(talk, "listed")?;
    for version in 0..=5 {
        talk.ask("all", version, &ListGroupsRequest::default())?;
        let mut ask = |what: &str, states: &[&str], types: &[&str]| {
            let request = ListGroupsRequest::default()
                .with_states_filter(states.iter().map(|state| string(state)).collect())
                .with_types_filter(types.iter().map(|kind| string(kind)).collect());
            talk.ask(what, version, &request).map(|_| ())
        };
        if version >= 4 {
            ask("stable", &["Stable"], &[])?;
            ask("stable in small letters", &["stable"], &[])?;
            ask("two states", &["Empty", "CompletingRebalance"], &[])?;
            ask("dead", &["Dead"], &[])?;
            ask("no such state", &["NoSuchState"], &[])?;
            ask("no such state and one", &["NoSuchState", "Stable"], &[])?;
        }
        if version >= 5 {
            ask("classic", &[], &["classic"])?;
            ask("Classic", &["Stable"], &["Classic"])?;
            ask("consumer", &[], &["consumer"])?;
            ask("no such type", &[], &["no-such-type"])?;
        }
    }
    Ok(())
}

pub fn delete(talk: &mut Talk<'_>) -> Result<()> {
    for version in 0..=3 {
        let topic = format!("delete-groups-{version}");
        talk.create_topic(&topic, 1)?;
        let names = groups(talk, &topic)?;
        let mut ask = |what: &str, groups: &[&str]| {
            let request = DeleteGroupsRequest::default().with_groups_names(ids(groups));
            talk.ask(what, version, &request).map(|_| ())
        };
        ask("joining", &[&names[0]])?;
        ask("stable", &[&names[1]])?;
        ask(
            "several",
            &[&names[2], &names[1], "delete-groups-unknown", ""],
        )?;
        ask("again", &[&names[2]])?;
        ask("one twice", &[&names[3], &names[3]])?;
        ask("none", &[])?;
    }
    Ok(())
}

/// An empty group id together with another fault: which of both is told.
pub fn nameless(talk: &mut Talk<'_>) -> Result<()> {
    talk.create_topic("nameless", 1)?;
    for version in 0..=9 {
        let mut ask =
            |what: &str, request: JoinGroupRequest| talk.ask(what, version, &request).map(|_| ());
        let good = || join(version, "", "", &["range"]);
        ask(
            "session timeout too short",
            good().with_session_timeout_ms(1),
        )?;
        ask(
            "session timeout too long",
            good().with_session_timeout_ms(i32::MAX),
        )?;
        ask("unknown member", good().with_member_id(string("nobody")))?;
        ask("no protocols", join(version, "", "", &[]))?;
        if version >= 5 {
            let instance = |name| good().with_group_instance_id(Some(string(name)));
            ask("empty instance", instance(""))?;
            ask("long instance", instance(&"x".repeat(250)))?;
        }
    }
    for version in 0..=5 {
        let no_generation = sync(version, "", -1, "nobody", &[]);
        talk.ask("no generation", version, &no_generation)?;
        let other = sync(version, "", 1, "nobody", &[]).with_protocol_name(
            // Which only later versions tell.
            (version >= 5).then(|| string("other")),
        );
        talk.ask("another protocol", version, &other)?;
    }
    for version in 0..=4 {
        talk.ask("no generation", version, &heartbeat("", -1, "nobody"))?;
        talk.ask("no member", version, &heartbeat("", 1, ""))?;
    }
    for version in 0..=5 {
        talk.ask("no member", version, &leave(version, "", ""))?;
        talk.ask("unknown member", version, &leave(version, "", "nobody"))?;
    }
    for version in 2..=9 {
        let request = commit_request("", &[("nameless", &[(0, 5)])]);
        let request = request.with_member_id(string("nobody"));
        let request = request.with_generation_id_or_member_epoch(1);
        talk.ask("unknown member", version, &request)?;
    }
    for version in 0..=5 {
        let request = DescribeGroupsRequest::default().with_groups(ids(&[""]));
        talk.ask("no group", version, &request)?;
    }
    for version in 0..=1 {
        let request = ConsumerGroupHeartbeatRequest::default();
        let epoch = |epoch| request.clone().with_member_epoch(epoch);
        let with_id = |epoch: i32| {
            let request = request.clone().with_member_epoch(epoch);
            request.with_member_id(string("nobody"))
        };
        talk.ask("joins with nothing", version, &with_id(0))?;
        talk.ask("another epoch", version, &with_id(7))?;
        talk.ask("impossible epoch", version, &with_id(-7))?;
        talk.ask("no member", version, &epoch(7))?;
        let describe = ConsumerGroupDescribeRequest::default().with_group_ids(ids(&[""]));
        talk.ask("no group", version, &describe)?;
    }
    Ok(())
}
