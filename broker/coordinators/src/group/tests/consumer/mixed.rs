//! Members of the classic protocol for the tests of consumer groups, and what they send and read.

use bytes::Bytes;

use super::*;

/// A classic consumer with the cooperative protocol, as far as it knows about itself.
#[derive(Debug, Clone)]
pub(super) struct Classic {
    pub(super) group: &'static str,
    pub(super) member_id: MemberId,
    pub(super) generation_id: i32,
    pub(super) instance_id: Option<InstanceId>,
    pub(super) topics: Vec<Name>,
    /// What it has been given and not given up.
    pub(super) owned: Partitions,
}

impl Classic {
    pub(super) fn new(group: &'static str, topics: &[&str]) -> Self {
        Self {
            group,
            member_id: "".into(),
            generation_id: -1,
            instance_id: None,
            topics: topics.iter().map(|&name| name.into()).collect(),
            owned: Partitions::new(),
        }
    }

    pub(super) fn named(mut self, instance_id: &str) -> Self {
        self.instance_id = Some(instance_id.into());
        self
    }

    pub(super) fn size(&self) -> usize {
        self.owned.values().map(|partitions| partitions.len()).sum()
    }

    pub(super) fn joined(&self) -> Joined {
        Joined {
            member_id: self.member_id.clone(),
            generation_id: self.generation_id,
        }
    }

    /// Subscription version 1: topics, no user data, what it owns.
    pub(super) fn protocol(&self) -> Protocol {
        let mut bytes = vec![0, 1];
        bytes.extend((self.topics.len() as i32).to_be_bytes());
        self.topics
            .iter()
            .for_each(|topic| put_string(&mut bytes, topic));
        bytes.extend((-1i32).to_be_bytes());
        put_partitions(&mut bytes, &self.owned);
        Protocol {
            name: "range".into(),
            metadata: bytes.into(),
        }
    }
}

fn put_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as i16).to_be_bytes());
    bytes.extend(text.as_bytes());
}

fn put_partitions(bytes: &mut Vec<u8>, partitions: &Partitions) {
    bytes.extend((partitions.len() as i32).to_be_bytes());
    for (id, indexes) in partitions {
        put_string(bytes, &topic_named(*id));
        bytes.extend((indexes.len() as i32).to_be_bytes());
        indexes
            .iter()
            .for_each(|index| bytes.extend(index.to_be_bytes()));
    }
}

/// The other way round than [`topic_id`].
fn topic_named(id: uuid::Uuid) -> String {
    let bytes = id.as_u128().to_be_bytes();
    let name = bytes.into_iter().skip_while(|&byte| byte == 0).collect();
    String::from_utf8(name).unwrap()
}

/// Assignment version 1.
pub(super) fn assignment(partitions: &Partitions, user_data: &[u8]) -> Bytes {
    let mut bytes = vec![0, 1];
    put_partitions(&mut bytes, partitions);
    match user_data.len() {
        0 => bytes.extend((-1i32).to_be_bytes()),
        length => bytes.extend((length as i32).to_be_bytes()),
    }
    bytes.extend(user_data);
    bytes.into()
}

/// What an assignment says, by the schema and nothing else.
pub(super) fn read_assignment(bytes: &[u8]) -> Partitions {
    let mut partitions = Partitions::new();
    let mut rest = bytes;
    let mut take = |count: usize| {
        let (head, tail) = rest.split_at(count);
        rest = tail;
        head
    };
    if bytes.is_empty() {
        return partitions;
    }
    assert_eq!(take(2), [0, 1], "the version that the member uses");
    let number = |bytes: &[u8]| {
        let bytes = bytes.iter();
        bytes.fold(0, |number, &byte| number << 8 | i32::from(byte))
    };
    for _ in 0..number(take(4)) {
        let length = number(take(2)) as usize;
        let name = String::from_utf8(take(length).to_vec()).unwrap();
        let indexes = (0..number(take(4))).map(|_| number(take(4))).collect();
        partitions.insert(topic_id(&name), indexes);
    }
    assert_eq!(take(4), [0xff; 4], "no user data");
    assert!(rest.is_empty());
    partitions
}

/// Partitions of topic `t`.
pub(super) fn of_t(indexes: impl IntoIterator<Item = i32>) -> Partitions {
    [(topic_id("t"), indexes.into_iter().collect())].into()
}

impl TestContext {
    /// JoinGroup, with the id that the member has.
    pub(super) fn send_join(&mut self, member: &Classic) -> Token {
        self.join_with(member.group, &member.member_id, |request| {
            request.group_instance_id = member.instance_id.clone();
            request.protocols = vec![member.protocol()];
        })
    }

    /// JoinGroup, twice for a new member that needs an id. Not for a group in which it would be parked.
    pub(super) fn join_as(&mut self, member: &mut Classic) -> JoinReply {
        let token = self.send_join(member);
        let mut reply = self.join_reply(token);
        if reply.error == Some(ErrorCode::MemberIdRequired) {
            member.member_id = reply.member_id;
            let token = self.send_join(member);
            reply = self.join_reply(token);
        }
        if reply.error.is_none() {
            member.member_id = reply.member_id.clone();
            member.generation_id = reply.generation_id;
        }
        reply
    }

    pub(super) fn send_sync(
        &mut self,
        member: &Classic,
        assignments: &[(MemberId, Bytes)],
    ) -> Token {
        self.sync_with(member.group, &member.joined(), &[], |request| {
            request.group_instance_id = member.instance_id.clone();
            request.assignments = assignments.to_vec();
        })
    }

    pub(super) fn sync_as(&mut self, member: &mut Classic) -> Option<ErrorCode> {
        let token = self.send_sync(member, &[]);
        let reply = self.sync_reply(token);
        if reply.error.is_none() {
            member.owned = read_assignment(&reply.assignment);
        }
        reply.error
    }

    pub(super) fn beat_as(&mut self, member: &Classic) -> Option<ErrorCode> {
        let instance_id = member.instance_id.clone();
        self.heartbeat_as(member.group, &member.joined(), instance_id.as_deref())
    }

    /// What a client does between two heartbeats, in a consumer group.
    pub(super) fn go_on(&mut self, member: &mut Classic) {
        if member.generation_id >= 0 {
            match self.beat_as(member) {
                None => return,
                Some(error) => assert_eq!(error, ErrorCode::RebalanceInProgress),
            }
        }
        assert_eq!(self.join_as(member).error, None);
        assert_eq!(self.sync_as(member), None);
    }

    /// Heartbeats of all until nothing changes any more.
    pub(super) fn settle_both(&mut self, classic: &mut [Classic], consumers: &mut [Consumer]) {
        for _ in 0..20 {
            let before = self.log.len();
            classic.iter_mut().for_each(|member| self.go_on(member));
            consumers.iter_mut().for_each(|member| self.beat(member));
            if self.log.len() == before {
                return;
            }
        }
        panic!("the group does not settle: {classic:?} {consumers:?}");
    }

    /// A stable classic group that has divided `t` among its members.
    pub(super) fn classic_group(&mut self, group: &'static str, count: usize) -> Vec<Classic> {
        let mut members: Vec<Classic> = (0..count).map(|_| Classic::new(group, &["t"])).collect();
        self.divide(&mut members, b"");
        members
    }

    /// All join a classic group, the first of them leads and gives everybody a part of `t`.
    pub(super) fn divide(&mut self, members: &mut [Classic], user_data: &[u8]) {
        for member in members.iter_mut() {
            if member.member_id.is_empty() && member.instance_id.is_none() {
                member.member_id = self.new_member_id(member.group);
            }
        }
        self.serve_deadlines = false;
        let tokens: Vec<Token> = members.iter().map(|one| self.send_join(one)).collect();
        self.serve_deadlines = true;
        self.serve();
        let mut leader = 0;
        for (number, (member, token)) in members.iter_mut().zip(&tokens).enumerate() {
            let reply = self.join_reply(*token);
            assert_eq!(reply.error, None);
            if reply.leader == reply.member_id {
                leader = number;
            }
            member.member_id = reply.member_id;
            member.generation_id = reply.generation_id;
        }
        let count = members.len() as i32;
        let part = |number: usize| of_t((0..6).filter(|index| index % count == number as i32));
        let assignments: Vec<(MemberId, Bytes)> = members
            .iter()
            .enumerate()
            .map(|(number, one)| (one.member_id.clone(), assignment(&part(number), user_data)))
            .collect();
        let first = self.send_sync(&members[leader], &assignments);
        assert_eq!(self.sync_reply(first).error, None);
        for (number, member) in members.iter_mut().enumerate() {
            let token = self.send_sync(member, &[]);
            assert_eq!(self.sync_reply(token).assignment, assignments[number].1);
            member.owned = part(number);
        }
    }

    pub(super) fn type_of(&mut self, group: &str) -> &'static str {
        let groups = self.list(&[], &[]);
        let mut found = groups.iter().filter(|listed| &*listed.group_id == group);
        found.next().expect("the group is there").group_type
    }
}
