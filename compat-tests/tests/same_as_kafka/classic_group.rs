//! The classic group protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use compat_tests::scenario::{Talk, string};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
};

const REBALANCE_IN_PROGRESS: i16 = 27;
const MEMBER_ID_REQUIRED: i16 = 79;

/// A consumer's subscription, as it stands in its metadata (version 0). Kafka reads it, and leaves a consumer
/// that says something else without an answer.
pub fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 0];
    bytes.extend_from_slice(&(topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend_from_slice(&(topic.len() as i16).to_be_bytes());
        bytes.extend_from_slice(topic.as_bytes());
    }
    bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    bytes.into()
}

/// A member's wish to join; `protocols` in the order of its preference.
pub fn join(version: i16, group: &str, member: &str, protocols: &[&str]) -> JoinGroupRequest {
    let protocols = protocols.iter().map(|name| {
        JoinGroupRequestProtocol::default()
            .with_name(string(name))
            .with_metadata(subscription(&["a-topic"]))
    });
    JoinGroupRequest::default()
        .with_group_id(string(group).into())
        .with_member_id(string(member))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(if version >= 1 { 60_000 } else { -1 })
        .with_protocol_type(string("consumer"))
        .with_protocols(protocols.collect())
}

/// A member's wish for its assignment; the leader brings everybody's.
pub fn sync(
    version: i16,
    group: &str,
    generation: i32,
    member: &str,
    assignments: &[(&str, &'static [u8])],
) -> SyncGroupRequest {
    let assignments = assignments.iter().map(|(member, assignment)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(string(member))
            .with_assignment(Bytes::from_static(assignment))
    });
    let request = SyncGroupRequest::default()
        .with_group_id(string(group).into())
        .with_generation_id(generation)
        .with_member_id(string(member))
        .with_assignments(assignments.collect());
    if version < 5 {
        return request;
    }
    request
        .with_protocol_type(Some(string("consumer")))
        .with_protocol_name(Some(string("range")))
}

pub fn heartbeat(group: &str, generation: i32, member: &str) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(string(group).into())
        .with_generation_id(generation)
        .with_member_id(string(member))
}

/// A member's goodbye in the form of the version.
pub fn leave(version: i16, group: &str, member: &str) -> LeaveGroupRequest {
    let request = LeaveGroupRequest::default().with_group_id(string(group).into());
    if version < 3 {
        return request.with_member_id(string(member));
    }
    request.with_members(vec![
        MemberIdentity::default().with_member_id(string(member)),
    ])
}

/// Joins on a connection of its own, with the round for the member's id where the version has it.
pub fn join_as(
    talk: &mut Talk<'_>,
    connection: &'static str,
    version: i16,
    request: JoinGroupRequest,
) -> Result<JoinGroupResponse> {
    let response = talk.ask_on(connection, connection, version, &request)?;
    talk.name(&response.member_id, connection);
    if response.error_code != MEMBER_ID_REQUIRED {
        return Ok(response);
    }
    let request = request.with_member_id(response.member_id);
    talk.ask_on(
        connection,
        &format!("{connection} with its id"),
        version,
        &request,
    )
}

/// Waits until a member is told to join again.
fn wait_for_rebalance(
    talk: &mut Talk<'_>,
    group: &str,
    generation: i32,
    member: &str,
) -> Result<()> {
    let request = heartbeat(group, generation, member);
    talk.settle("a rebalance", |talk| {
        Ok(talk.quietly(4, &request)?.error_code == REBALANCE_IN_PROGRESS)
    })
}

pub fn one_member(talk: &mut Talk<'_>) -> Result<()> {
    for version in 0..=9 {
        // The versions of the other APIs that came with that of JoinGroup.
        let sync_version = version.min(5);
        let heartbeat_version = version.min(4);
        let leave_version = version.min(5);
        let group = format!("one-{version}");
        let joined = join_as(
            talk,
            "alice",
            version,
            join(version, &group, "", &["range", "roundrobin"]),
        )?;
        let alice = joined.member_id.to_string();
        let generation = joined.generation_id;
        talk.ask(
            "before the sync",
            heartbeat_version,
            &heartbeat(&group, generation, &alice),
        )?;
        let again = join(version, &group, &alice, &["range", "roundrobin"]);
        talk.ask("join again before the sync", version, &again)?;
        talk.ask(
            "sync, old generation",
            sync_version,
            &sync(sync_version, &group, generation - 1, &alice, &[]),
        )?;
        talk.ask(
            "sync, unknown member",
            sync_version,
            &sync(sync_version, &group, generation, "nobody", &[]),
        )?;
        talk.ask(
            "sync, no member",
            sync_version,
            &sync(sync_version, &group, generation, "", &[]),
        )?;
        talk.ask(
            "sync, unknown group",
            sync_version,
            &sync(sync_version, "one-unknown", generation, &alice, &[]),
        )?;
        talk.ask(
            "sync, no group",
            sync_version,
            &sync(sync_version, "", generation, &alice, &[]),
        )?;
        if sync_version >= 5 {
            let mut wrong = sync(5, &group, generation, &alice, &[]);
            wrong.protocol_name = Some(string("roundrobin"));
            talk.ask("sync, other protocol", 5, &wrong)?;
            wrong.protocol_name = Some(string("range"));
            wrong.protocol_type = Some(string("connect"));
            talk.ask("sync, other type", 5, &wrong)?;
            wrong.protocol_name = None;
            wrong.protocol_type = None;
            talk.ask("sync, no protocol", 5, &wrong)?;
        } else {
            let mine = sync(
                sync_version,
                &group,
                generation,
                &alice,
                &[(&alice, b"all of it")],
            );
            talk.ask("sync", sync_version, &mine)?;
        }
        talk.ask(
            "sync again",
            sync_version,
            &sync(sync_version, &group, generation, &alice, &[]),
        )?;
        let beat = |talk: &mut Talk<'_>, what: &str, group: &str, generation: i32, member: &str| {
            let request = heartbeat(group, generation, member);
            talk.ask(what, heartbeat_version, &request).map(|_| ())
        };
        beat(talk, "good", &group, generation, &alice)?;
        beat(talk, "old generation", &group, generation - 1, &alice)?;
        beat(talk, "new generation", &group, generation + 1, &alice)?;
        beat(talk, "generation -1", &group, -1, &alice)?;
        beat(talk, "unknown member", &group, generation, "nobody")?;
        beat(talk, "no member", &group, generation, "")?;
        beat(talk, "unknown group", "one-unknown", generation, &alice)?;
        beat(talk, "no group", "", generation, &alice)?;
        talk.ask("the leader joins again", version, &again)?;
        let resynced = sync(
            sync_version,
            &group,
            generation + 1,
            &alice,
            &[(&alice, b"again")],
        );
        talk.ask("and syncs", sync_version, &resynced)?;
        let changed = join(version, &group, &alice, &["roundrobin"]);
        talk.ask("join with another protocol", version, &changed)?;
        talk.ask(
            "leave, unknown member",
            leave_version,
            &leave(leave_version, &group, "nobody"),
        )?;
        talk.ask(
            "leave, unknown group",
            leave_version,
            &leave(leave_version, "one-unknown", &alice),
        )?;
        talk.ask(
            "leave, no group",
            leave_version,
            &leave(leave_version, "", &alice),
        )?;
        talk.ask(
            "leave",
            leave_version,
            &leave(leave_version, &group, &alice),
        )?;
        talk.ask(
            "leave again",
            leave_version,
            &leave(leave_version, &group, &alice),
        )?;
        beat(talk, "after the end", &group, generation, &alice)?;
        talk.ask(
            "sync after the end",
            sync_version,
            &sync(sync_version, &group, generation, &alice, &[]),
        )?;
        talk.ask("join after the end", version, &again)?;
    }
    Ok(())
}

pub fn join_errors(talk: &mut Talk<'_>) -> Result<()> {
    for version in 0..=9 {
        let group = format!("errors-{version}");
        let mut ask =
            |what: &str, request: JoinGroupRequest| talk.ask(what, version, &request).map(|_| ());
        let good = || join(version, &group, "", &["range"]);
        ask(
            "session timeout too short",
            good().with_session_timeout_ms(999),
        )?;
        ask(
            "session timeout too long",
            good().with_session_timeout_ms(1_800_001),
        )?;
        ask(
            "negative session timeout",
            good().with_session_timeout_ms(-1),
        )?;
        ask("no group", good().with_group_id(string("").into()))?;
        ask("unknown member", good().with_member_id(string("nobody")))?;
        ask(
            "unknown member with an id like ours",
            good().with_member_id(string("raw-1b671a64-40d5-491e-99b0-da01ff1f3341")),
        )?;
        ask("no protocols", join(version, &group, "", &[]))?;
        ask("no protocol type", good().with_protocol_type(string("")))?;
        if version >= 5 {
            // Each in a group of its own: those that are accepted stay in it.
            for (number, name) in ["", ".", "a b", &"x".repeat(250)].iter().enumerate() {
                let request = join(version, &format!("{group}-{number}"), "", &["range"]);
                let request = request.with_group_instance_id(Some(string(name)));
                ask(&format!("instance {name:.10}"), request)?;
            }
            let unknown = good().with_group_instance_id(Some(string("i")));
            ask(
                "unknown instance with a member",
                unknown.with_member_id(string("nobody")),
            )?;
        }
        let member = join_as(talk, "alice", version, good())?;
        let mut ask =
            |what: &str, request: JoinGroupRequest| talk.ask(what, version, &request).map(|_| ());
        ask("another type", good().with_protocol_type(string("connect")))?;
        ask("no common protocol", join(version, &group, "", &["sticky"]))?;
        ask("no protocols in common", join(version, &group, "", &[]))?;
        ask(
            "known member, another type",
            join(version, &group, &member.member_id, &["range"])
                .with_protocol_type(string("connect")),
        )?;
        // The only member may do so.
        ask(
            "known member, another protocol",
            join(version, &group, &member.member_id, &["sticky"]),
        )?;
        let leave_version = version.min(5);
        talk.ask(
            "leave",
            leave_version,
            &leave(leave_version, &group, &member.member_id),
        )?;
        let member = join_as(
            talk,
            "alice",
            version,
            good().with_protocol_type(string("connect")),
        )?;
        talk.ask(
            "leave",
            leave_version,
            &leave(leave_version, &group, &member.member_id),
        )?;
    }
    Ok(())
}

pub fn two_members(talk: &mut Talk<'_>) -> Result<()> {
    for version in 0..=9 {
        let sync_version = version.min(5);
        let leave_version = version.min(5);
        let group = format!("two-{version}");
        let both = &["range", "roundrobin"];
        let alice = join_as(
            talk,
            "alice",
            version,
            join(version, &group, "", &["roundrobin", "range"]),
        )?;
        let alice_id = alice.member_id.to_string();
        let mine = sync(
            0,
            &group,
            alice.generation_id,
            &alice_id,
            &[(&alice_id, b"all of it")],
        );
        talk.ask_on("alice", "alice alone", 0, &mine)?;

        // Bob comes: Alice is told by her heartbeats, and both are answered when she has joined.
        let mut bobs = join(version, &group, "", both);
        if version >= 4 {
            let response = talk.ask_on("bob", "bob", version, &bobs)?;
            talk.name(&response.member_id, "bob");
            bobs.member_id = response.member_id;
        }
        let bob = talk.start("bob", "bob comes", version, &bobs)?;
        wait_for_rebalance(talk, &group, alice.generation_id, &alice_id)?;
        let mine = sync(0, &group, alice.generation_id, &alice_id, &[]);
        talk.ask_on("alice", "alice during the rebalance", 0, &mine)?;
        let alice = talk.ask_on(
            "alice",
            "alice again",
            version,
            &join(version, &group, &alice_id, &["roundrobin", "range"]),
        )?;
        let bob = talk.finish(bob)?;
        let bob_id = bob.member_id.to_string();
        talk.name(&bob_id, "bob");
        let generation = alice.generation_id;

        // Bob waits for the leader's assignment.
        let protocol = alice
            .protocol_name
            .clone()
            .context("a protocol was chosen")?;
        let mut bobs = sync(sync_version, &group, generation, &bob_id, &[]);
        let mut alices = sync(
            sync_version,
            &group,
            generation,
            &alice_id,
            &[
                (&alice_id, b"for alice"),
                (&bob_id, b"for bob"),
                ("nobody", b"for nobody"),
            ],
        );
        if sync_version >= 5 {
            bobs.protocol_name = Some(protocol.clone());
            alices.protocol_name = Some(protocol);
        }
        let waiting = talk.start("bob", "bob waits", sync_version, &bobs)?;
        talk.ask("bob, waiting", 4, &heartbeat(&group, generation, &bob_id))?;
        talk.ask_on("alice", "alice assigns", sync_version, &alices)?;
        talk.finish(waiting)?;
        talk.ask(
            "alice, stable",
            4,
            &heartbeat(&group, generation, &alice_id),
        )?;
        talk.ask("bob, stable", 4, &heartbeat(&group, generation, &bob_id))?;
        talk.ask(
            "bob, old generation",
            4,
            &heartbeat(&group, generation - 1, &bob_id),
        )?;

        // A follower that joins again with nothing changed is answered at once.
        let same = talk.ask_on(
            "bob",
            "bob again, unchanged",
            version,
            &join(version, &group, &bob_id, both),
        )?;
        assert_eq!(same.generation_id, generation);

        // The leader leaves; who stays leads.
        talk.ask_on(
            "alice",
            "alice leaves",
            leave_version,
            &leave(leave_version, &group, &alice_id),
        )?;
        talk.ask(
            "bob, during the rebalance",
            4,
            &heartbeat(&group, generation, &bob_id),
        )?;
        talk.ask_on(
            "bob",
            "bob leads",
            version,
            &join(version, &group, &bob_id, both),
        )?;
        talk.ask(
            "bob, not synced",
            4,
            &heartbeat(&group, generation + 1, &bob_id),
        )?;

        // Two leave in one request, one of them unknown.
        if leave_version >= 3 {
            let request = LeaveGroupRequest::default()
                .with_group_id(string(&group).into())
                .with_members(vec![
                    MemberIdentity::default().with_member_id(string(&bob_id)),
                    MemberIdentity::default().with_member_id(string("nobody")),
                ]);
            talk.ask_on("bob", "bob and nobody leave", leave_version, &request)?;
        } else {
            talk.ask_on(
                "bob",
                "bob leaves",
                leave_version,
                &leave(leave_version, &group, &bob_id),
            )?;
        }
    }
    Ok(())
}

pub fn static_members(talk: &mut Talk<'_>) -> Result<()> {
    for version in 5..=9 {
        let sync_version = version.min(5);
        let group = format!("static-{version}");
        let instance = |member: &str, instance: &str| {
            join(version, &group, member, &["range"]).with_group_instance_id(Some(string(instance)))
        };
        let alice = join_as(talk, "alice", version, instance("", "a"))?;
        let first = alice.member_id.to_string();
        let synced = sync(
            sync_version,
            &group,
            alice.generation_id,
            &first,
            &[(&first, b"all of it")],
        )
        .with_group_instance_id(Some(string("a")));
        talk.ask("alice", sync_version, &synced)?;
        let beat = |member: &str, instance: Option<&str>| {
            heartbeat(&group, alice.generation_id, member)
                .with_group_instance_id(instance.map(string))
        };
        talk.ask("alice", 4, &beat(&first, Some("a")))?;
        talk.ask("without her instance", 4, &beat(&first, None))?;
        talk.ask("with another instance", 4, &beat(&first, Some("b")))?;
        talk.ask(
            "her instance, another member",
            4,
            &beat("nobody", Some("a")),
        )?;
        talk.ask("nobody", 4, &beat("nobody", Some("b")))?;

        // She restarts: a new member id, the same place.
        let again = talk.ask_on("alice", "alice restarted", version, &instance("", "a"))?;
        let second = again.member_id.to_string();
        talk.name(&second, "alice's second id");
        talk.ask("alice's old id is fenced", 4, &beat(&first, Some("a")))?;
        talk.ask("alice's old id without instance", 4, &beat(&first, None))?;
        talk.ask("alice's old id is fenced", version, &instance(&first, "a"))?;
        talk.ask("alice's old id is fenced", sync_version, &synced)?;
        let beat = |member: &str, instance: Option<&str>| {
            heartbeat(&group, again.generation_id, member)
                .with_group_instance_id(instance.map(string))
        };
        talk.ask("alice's second id", 4, &beat(&second, Some("a")))?;
        let mut resync = sync(sync_version, &group, again.generation_id, &second, &[])
            .with_group_instance_id(Some(string("a")));
        talk.ask("alice's second id", sync_version, &resync)?;

        // Restarted with other protocols: everybody joins again.
        let changed = join(version, &group, "", &["range", "sticky"])
            .with_group_instance_id(Some(string("a")));
        let changed = talk.ask_on("alice", "alice restarted and changed", version, &changed)?;
        let third = changed.member_id.to_string();
        talk.name(&third, "alice's third id");
        resync.member_id = string(&third);
        resync.generation_id = changed.generation_id;
        talk.ask("alice's third id", sync_version, &resync)?;

        let goodbye = |member: &str, instance: Option<&str>| {
            let member = MemberIdentity::default()
                .with_member_id(string(member))
                .with_group_instance_id(instance.map(string));
            LeaveGroupRequest::default()
                .with_group_id(string(&group).into())
                .with_members(vec![member])
        };
        let leave_version = version.min(5);
        talk.ask("unknown instance", leave_version, &goodbye("", Some("b")))?;
        talk.ask(
            "her instance, old id",
            leave_version,
            &goodbye(&second, Some("a")),
        )?;
        talk.ask(
            "unknown instance, her id",
            leave_version,
            &goodbye(&third, Some("b")),
        )?;
        talk.ask(
            "by her instance alone",
            leave_version,
            &goodbye("", Some("a")),
        )?;
        talk.ask("again", leave_version, &goodbye("", Some("a")))?;
    }
    Ok(())
}
