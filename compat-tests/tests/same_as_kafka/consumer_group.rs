//! Groups of the consumer protocol alone: what asks for a new target, and what the last member leaves behind.

use anyhow::{Result, ensure};
use compat_tests::scenario::{Talk, string};
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, LeaveGroupRequest,
};

use super::migration::{full, look, partitions, quiet, short_sessions, written};

fn votes(request: ConsumerGroupHeartbeatRequest, assignor: &str) -> ConsumerGroupHeartbeatRequest {
    request.with_server_assignor(Some(string(assignor)))
}

/// Every change that asks for a new epoch, and some that do not.
pub fn epochs(talk: &mut Talk<'_>) -> Result<()> {
    let (group, topic) = ("epochs", "epochs-topic");
    let topic_id = talk.create_topic(topic, 2)?;
    talk.name(&topic_id.to_string(), "topic");
    let nothing = full(group, "anna", 0, topic, vec![]).with_subscribed_topic_names(Some(vec![]));
    talk.ask("anna reads nothing", 1, &nothing)?;
    look(talk, "nothing to assign", group)?;
    let anna = |epoch, owned| full(group, "anna", epoch, topic, owned);
    talk.ask("anna reads", 1, &anna(1, vec![]))?;
    talk.ask(
        "anna says so again",
        1,
        &anna(2, partitions(topic_id, &[0, 1])),
    )?;
    look(talk, "one member", group)?;
    talk.ask("the default", 1, &votes(quiet(group, "anna", 2), "uniform"))?;
    look(talk, "nothing new", group)?;
    talk.ask(
        "another assignor",
        1,
        &votes(quiet(group, "anna", 2), "range"),
    )?;
    look(talk, "another assignor", group)?;
    talk.ask("unknown assignor", 1, &votes(quiet(group, "anna", 3), "x"))?;
    talk.ask("bob joins", 1, &full(group, "bob", 0, topic, vec![]))?;
    // With one vote each, Kafka goes by the order of a hash map.
    talk.ask("bob agrees", 1, &votes(quiet(group, "bob", 4), "range"))?;
    look(talk, "two votes", group)?;
    for member in ["anna", "bob"] {
        talk.ask("all leave", 1, &quiet(group, member, -1))?;
        look(talk, "one less", group)?;
    }
    Ok(())
}

/// The ways in which the last member can leave, with what is written then.
pub fn emptied(talk: &mut Talk<'_>) -> Result<()> {
    let (group, topic) = ("emptied", "emptied-topic");
    let topic_id = talk.create_topic(topic, 2)?;
    talk.name(&topic_id.to_string(), "topic");
    short_sessions(talk, group)?;
    let mut offset = 0;
    let mut expect = |talk: &mut Talk<'_>, what: &str, expected: &[&str]| {
        let found = written(talk, group, &mut offset)?;
        ensure!(found == expected, "{what}: {found:?}");
        look(talk, what, group)
    };
    let is_empty = |talk: &mut Talk<'_>| {
        let ids = vec![string(group).into()];
        let request = ConsumerGroupDescribeRequest::default().with_group_ids(ids);
        let described = talk.quietly(1, &request)?;
        Ok(described.groups[0].members.is_empty())
    };
    let anna = full(group, "anna", 0, topic, vec![]);
    let joins = ["5 anna", "3", "7 anna", "6", "8 anna"];
    let gone = ["-8 anna", "-7 anna", "-5 anna", "3", "6"];

    talk.ask("anna", 1, &anna)?;
    expect(talk, "joined", &joins)?;
    talk.ask("anna leaves", 1, &quiet(group, "anna", -1))?;
    expect(talk, "left", &gone)?;

    talk.ask("anna again", 1, &anna)?;
    expect(talk, "joined again", &joins)?;
    talk.settle("the end of a session", is_empty)?;
    expect(talk, "silent", &gone)?;

    let named =
        |request: ConsumerGroupHeartbeatRequest| request.with_instance_id(Some(string("one")));
    talk.ask("anna with a name", 1, &named(anna.clone()))?;
    expect(talk, "static", &joins)?;
    talk.ask("for a while", 1, &named(quiet(group, "anna", -2)))?;
    expect(talk, "away", &["8 anna"])?;
    talk.settle("the end of a static member's session", is_empty)?;
    expect(talk, "did not come back", &gone)?;

    talk.ask("anna, once more", 1, &named(anna))?;
    talk.ask("bob", 1, &full(group, "bob", 0, topic, vec![]))?;
    let who = |member: &str, instance: Option<&str>| {
        MemberIdentity::default()
            .with_member_id(string(member))
            .with_group_instance_id(instance.map(string))
    };
    let request = LeaveGroupRequest::default()
        .with_group_id(string(group).into())
        .with_members(vec![who("", Some("one")), who("bob", None)]);
    talk.ask("an administrator removes all", 5, &request)?;
    look(talk, "removed", group)?;
    Ok(())
}
