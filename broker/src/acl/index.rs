//! What follows from all entries: Kafka's `StandardAuthorizerData`, and `Authorizer.authorizeByResourceType`.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use uuid::Uuid;

use super::{Acl, AclOperation, EVERY, PatternKind, Permission, ResourceKind};
use crate::metadata::SortedMap;

/// The type of principal that [`EVERY`] is a name of.
const USER: &str = "User";
/// Kafka asks for a name that nobody is thought to have entries on, to find out who may do everything.
const PROBE: &str = "hardcode";

/// All entries, found by whom and what they are about. A clone shares everything, and a change of it copies next to nothing.
///
/// A decision looks at the entries of who asks and at those of everybody. How many others have on the same name, or on what
/// it begins with, does not matter to it.
#[derive(Clone, Debug, Default)]
pub struct AclIndex {
    all: Rules,
    /// By the name of the principal.
    by_principal: SortedMap<Arc<str>, Rules>,
}

/// Some entries. Those on one name of one type follow each other: see [`Place`].
type Rules = SortedMap<Arc<Acl>, Rule>;

/// An entry's id, and its host as it is compared.
#[derive(Clone, Copy, Debug)]
struct Rule {
    id: Uuid,
    host: Host,
}

/// What an entry is about. Entries are sorted by it before all else; the name is in bytes, of which text is sorted alike.
type Place<'a> = (ResourceKind, PatternKind, &'a [u8]);

/// What Kafka compares as text is compared as addresses: Java writes the same one in other words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    Every,
    Only(IpAddr),
    /// Addresses that begin with these bits, so many of the address.
    Within(IpAddr, u32),
    /// No address is so written.
    Nowhere,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    /// Type and name of the principal.
    pub kind: &'a str,
    pub name: &'a str,
    pub host: IpAddr,
    pub operation: AclOperation,
}

/// What the entries say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Allowed,
    Denied,
    /// There are entries on the resource, and none allows it.
    NotAllowed,
    /// Nobody has an entry on the resource.
    NoEntries,
}

impl AclIndex {
    /// All entries, with their ids. Those on one name follow each other.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Uuid, &Arc<Acl>)> {
        self.all.iter().map(|(acl, rule)| (rule.id, acl))
    }

    /// Whether there is this entry.
    pub fn contains(&self, acl: &Acl) -> bool {
        self.all.get(acl).is_some()
    }

    /// Takes an entry in that is not there.
    pub fn add(&mut self, id: Uuid, acl: &Arc<Acl>) {
        let host = Host::parse(&acl.host);
        let rule = Rule { id, host };
        self.all.insert(Arc::clone(acl), rule);
        let (_, name) = acl.who();
        let mut own = self.by_principal.get(name).cloned().unwrap_or_default();
        own.insert(Arc::clone(acl), rule);
        self.by_principal.insert(name.into(), own);
    }

    /// Takes an entry out that is there.
    pub(crate) fn remove(&mut self, acl: &Arc<Acl>) {
        self.all.remove(acl);
        let (_, name) = acl.who();
        let Some(mut own) = self.by_principal.get(name).cloned() else {
            return;
        };
        own.remove(acl);
        match own.len() {
            0 => self.by_principal.remove(name),
            _ => self.by_principal.insert(name.into(), own),
        }
    }

    /// What the entries say of one resource.
    pub(crate) fn decide(&self, question: Question<'_>, on: ResourceKind, name: &str) -> Decision {
        let mut is_allowed = false;
        for rules in self.of(question) {
            for (acl, rule) in about(rules, on, name) {
                if means(acl, question.operation) && is_about(acl, rule, question) {
                    match acl.permission {
                        Permission::Deny => return Decision::Denied,
                        Permission::Allow => is_allowed = true,
                    }
                }
            }
        }
        if is_allowed {
            return Decision::Allowed;
        }
        match about(&self.all, on, name).next() {
            Some(_) => Decision::NotAllowed,
            None => Decision::NoEntries,
        }
    }

    /// The entries of who asks, and those of everybody.
    fn of(&self, question: Question<'_>) -> impl Iterator<Item = &Rules> {
        let principals = [question.name, EVERY].into_iter();
        principals.filter_map(|name| self.by_principal.get(name))
    }

    /// Whether somebody may do something to any resource of a type: one that there is or one that there may be. Nothing
    /// implies the operation.
    pub(crate) fn allows_on_any(
        &self,
        question: Question<'_>,
        on: ResourceKind,
        if_no_entries: bool,
    ) -> bool {
        match self.decide(question, on, PROBE) {
            Decision::Allowed => return true,
            Decision::NoEntries if if_no_entries => return true,
            _ => {}
        }
        let (mut denied, mut denied_prefixes) = (HashSet::new(), HashSet::new());
        let mut allowed = Vec::new();
        let rules = self.of(question).flat_map(SortedMap::iter);
        let rules = rules.filter(|(acl, rule)| {
            let same_operation = [question.operation, AclOperation::All].contains(&acl.operation);
            acl.resource == on && same_operation && is_about(acl, rule, question)
        });
        for (acl, _) in rules {
            match (acl.permission, acl.pattern) {
                (Permission::Deny, PatternKind::Literal) => drop(denied.insert(&*acl.name)),
                (Permission::Deny, PatternKind::Prefixed) => {
                    denied_prefixes.insert(&*acl.name);
                }
                (Permission::Allow, pattern) => allowed.push((pattern, &*acl.name)),
            }
        }
        if denied.contains(EVERY) {
            return false;
        }
        allowed.into_iter().any(|(pattern, name)| {
            let is_literal = pattern == PatternKind::Literal;
            if is_literal && name == EVERY {
                return true;
            }
            let ends = name.char_indices().map(|(at, char)| at + char.len_utf8());
            let mut prefixes = ends.map(|end| &name[..end]);
            let is_denied = is_literal && denied.contains(name);
            !is_denied && !prefixes.any(|prefix| denied_prefixes.contains(prefix))
        })
    }
}

/// The entries that are about a name: on itself, on every one, and on what it begins with.
fn about<'a>(
    rules: &'a Rules,
    on: ResourceKind,
    name: &'a str,
) -> impl Iterator<Item = (&'a Arc<Acl>, &'a Rule)> {
    let literal = [name, EVERY].into_iter();
    let literal = literal.map(move |name| (on, PatternKind::Literal, name.as_bytes()));
    let places = literal.chain(beginnings(rules, on, name));
    places.flat_map(|wanted| {
        let found = rules.behind(move |acl| place(acl) < wanted);
        found.take_while(move |(acl, _)| place(acl) == wanted)
    })
}

/// Where there are entries on what a name begins with. What lies before a name in the order, but is no beginning of it, tells
/// how long the next one can be at most; so this is a step for each that there is, and few others.
fn beginnings<'a>(
    rules: &'a Rules,
    on: ResourceKind,
    name: &'a str,
) -> impl Iterator<Item = Place<'a>> {
    let mut rest = Some(name.as_bytes());
    std::iter::from_fn(move || {
        while let Some(longest) = rest {
            let wanted = (on, PatternKind::Prefixed, longest);
            let (acl, _) = rules.last(|acl| place(acl) <= wanted)?;
            if (acl.resource, acl.pattern) != (on, PatternKind::Prefixed) {
                return None;
            }
            let common = std::iter::zip(acl.name.bytes(), longest);
            let common = common.take_while(|(one, other)| one == *other).count();
            if common < acl.name.len() {
                rest = longest.get(..common);
                continue;
            }
            rest = common.checked_sub(1).and_then(|end| longest.get(..end));
            return Some((on, PatternKind::Prefixed, &longest[..common]));
        }
        None
    })
}

fn place(acl: &Acl) -> Place<'_> {
    (acl.resource, acl.pattern, acl.name.as_bytes())
}

/// Whether an entry is about who asks, and from where.
fn is_about(acl: &Acl, rule: &Rule, question: Question<'_>) -> bool {
    let (kind, name) = acl.who();
    let is_own = kind == question.kind && name == question.name;
    let is_everybodys = kind == USER && name == EVERY;
    let is_here = match rule.host {
        Host::Every => true,
        Host::Only(address) => address == question.host.to_canonical(),
        Host::Within(network, length) => {
            begins_alike(network, question.host.to_canonical(), length)
        }
        Host::Nowhere => false,
    };
    (is_own || is_everybodys) && is_here
}

/// Whether an entry is about an operation. Who may change something may also look at it.
fn means(acl: &Acl, operation: AclOperation) -> bool {
    use AclOperation::{All, Alter, AlterConfigs, Delete, Describe, DescribeConfigs, Read, Write};
    let said = acl.operation;
    let is_implied = match operation {
        Describe => matches!(said, Read | Write | Delete | Alter),
        DescribeConfigs => said == AlterConfigs,
        _ => false,
    };
    let is_implied = is_implied && acl.permission == Permission::Allow;
    said == All || said == operation || is_implied
}

impl Host {
    fn parse(text: &str) -> Self {
        if let Some((network, length)) = parse_range(text) {
            return Self::Within(network, length);
        }
        match text.parse::<IpAddr>() {
            _ if text == EVERY => Self::Every,
            Ok(address) => Self::Only(address.to_canonical()),
            Err(_) => Self::Nowhere,
        }
    }
}

/// Address and length of `ADDRESS/LENGTH` (CIDR, in Kafka since 4.4).
fn parse_range(text: &str) -> Option<(IpAddr, u32)> {
    let (network, length) = text.split_once('/')?;
    let network: IpAddr = network.parse().ok()?;
    let length: u8 = length.parse().ok()?;
    let longest = if network.is_ipv4() { 32 } else { 128 };
    (length <= longest).then_some((network, u32::from(length)))
}

/// Whether the first bits of two addresses of the same kind are the same.
fn begins_alike(one: IpAddr, other: IpAddr, length: u32) -> bool {
    let differing = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        _ => return false,
    };
    differing >= length
}

/// Says what is wrong with the host of an entry, in Kafka's words.
///
/// # Errors
/// No host is so written. What is neither a range nor an address is let pass, as by Kafka, and means nobody.
pub(crate) fn check_host(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("Host pattern cannot be null or empty".to_owned());
    }
    match text.contains('/') && parse_range(text).is_none() {
        true => Err(format!(
            "Invalid CIDR notation '{text}': expected ADDRESS/LENGTH"
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    /// Kafka's rule, one entry after the other.
    fn decide_slowly(acls: &[Arc<Acl>], question: Question<'_>, name: &str) -> Decision {
        let mut decision = Decision::NoEntries;
        for acl in acls {
            let is_on_it = match acl.pattern {
                PatternKind::Literal => [name, EVERY].contains(&&*acl.name),
                PatternKind::Prefixed => name.starts_with(&*acl.name),
            };
            if !is_on_it || acl.resource != ResourceKind::Topic {
                continue;
            }
            let rule = Rule {
                id: Uuid::nil(),
                host: Host::parse(&acl.host),
            };
            let counts = is_about(acl, &rule, question) && means(acl, question.operation);
            decision = match (counts, acl.permission, decision) {
                (true, Permission::Deny, _) | (_, _, Decision::Denied) => Decision::Denied,
                (true, Permission::Allow, _) | (_, _, Decision::Allowed) => Decision::Allowed,
                _ => Decision::NotAllowed,
            };
        }
        decision
    }

    /// Names that begin with one another, part at half a character, or are nothing at all.
    fn any_name() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(EVERY.to_owned()),
            proptest::collection::vec(proptest::sample::select(vec!["a", "b", "ä", "ö"]), 0..5)
                .prop_map(|parts| parts.concat()),
        ]
    }

    prop_compose! {
        fn any_acl()(
            resource in proptest::sample::select(vec![ResourceKind::Topic, ResourceKind::Group]),
            pattern in proptest::sample::select(PatternKind::ALL),
            name in any_name(),
            principal in proptest::sample::select(vec!["User:ann", "User:bob", "User:*", "Group:ann"]),
            host in proptest::sample::select(vec!["*", "10.0.0.1", "10.0.0.0/8"]),
            operation in proptest::sample::select(AclOperation::ALL),
            permission in proptest::sample::select(Permission::ALL),
        ) -> Arc<Acl> {
            let (name, principal, host) = (name.into(), principal.into(), host.into());
            Arc::new(Acl { resource, pattern, name, principal, host, operation, permission })
        }
    }

    proptest! {
        #[test]
        fn a_decision_is_what_all_entries_say_one_after_the_other(
            acls in proptest::collection::btree_set(any_acl(), 0..60),
            removed in proptest::collection::vec(any::<prop::sample::Index>(), 0..10),
            names in proptest::collection::vec(any_name(), 1..20),
        ) {
            let mut acls: Vec<_> = acls.into_iter().collect();
            let mut index = AclIndex::default();
            for acl in &acls {
                index.add(Uuid::new_v4(), acl);
            }
            for place in removed {
                if !acls.is_empty() {
                    index.remove(&acls.swap_remove(place.index(acls.len())));
                }
            }
            for name in &names {
                for operation in AclOperation::ALL {
                    for host in ["10.0.0.1", "10.0.0.2", "::1"] {
                        let question = ann(host, *operation);
                        let said = index.decide(question, ResourceKind::Topic, name);
                        prop_assert_eq!(said, decide_slowly(&acls, question, name), "{}", name);
                    }
                }
            }
        }
    }

    /// Nanoseconds of the processor for a decision about `name`.
    fn decision_ns(index: &AclIndex, name: &str) -> u64 {
        const DECISIONS: u64 = 200_000;
        let now = || {
            let now = clock_gettime(ClockId::ThreadCPUTime);
            now.tv_sec * 1_000_000_000 + now.tv_nsec
        };
        let begin = now();
        for _ in 0..DECISIONS {
            let question = ann("10.0.0.1", AclOperation::Write);
            let said = index.decide(question, ResourceKind::Topic, std::hint::black_box(name));
            assert_eq!(said, Decision::Allowed);
        }
        (now() - begin).unsigned_abs() / DECISIONS
    }

    /// `cargo test --release -p ottla --lib -- --ignored --nocapture entries_of_others`
    #[test]
    #[ignore = "measures"]
    fn entries_of_others_on_a_topic_cost_a_decision_next_to_nothing() {
        let name = "a-topic-of-a-team";
        let allowed = format!("ALLOW User:* * ALL LITERAL {name}");
        let few = index(&[&allowed]);
        let mut many = few.clone();
        for number in 1..1000 {
            let (pattern, on) = match number % 4 {
                0 => ("LITERAL", name.to_owned()),
                1 => ("PREFIXED", name[..1 + number % name.len()].to_owned()),
                2 => ("PREFIXED", format!("team-{number}-")),
                _ => ("LITERAL", format!("topic-{number}")),
            };
            let text = format!("ALLOW User:user-{number} * ALL {pattern} {on}");
            many.add(Uuid::new_v4(), &acl(&text));
        }
        let (few, many) = (decision_ns(&few, name), decision_ns(&many, name));
        println!("{few} ns with one entry, {many} ns with 1,000");
        assert!(
            many < 5 * few,
            "{few} ns with one entry, {many} ns with 1,000"
        );
    }

    fn acl(text: &str) -> Arc<Acl> {
        let words: Vec<&str> = text.split(' ').collect();
        let [permission, principal, host, operation, pattern, name] = words[..] else {
            panic!("six words: {text}");
        };
        fn of<T: Copy + std::fmt::Display>(all: &[T], name: &str) -> T {
            let mut all = all.iter().copied();
            all.find(|one| one.to_string() == name)
                .expect("a name of Kafka's")
        }
        Arc::new(Acl {
            resource: ResourceKind::Topic,
            pattern: of(PatternKind::ALL, pattern),
            name: name.into(),
            principal: principal.into(),
            host: host.into(),
            operation: of(AclOperation::ALL, operation),
            permission: of(Permission::ALL, permission),
        })
    }

    fn index(acls: &[&str]) -> AclIndex {
        let mut index = AclIndex::default();
        for text in acls {
            index.add(Uuid::new_v4(), &acl(text));
        }
        index
    }

    fn ann(host: &str, operation: AclOperation) -> Question<'static> {
        Question {
            kind: "User",
            name: "ann",
            host: host.parse().expect("an address"),
            operation,
        }
    }

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        use AclOperation::Read;
        for (written, from, expected) in [
            ("0:0:0:0:0:0:0:1", "::1", Decision::Allowed),
            ("::1", "::1", Decision::Allowed),
            ("::1", "127.0.0.1", Decision::NotAllowed),
            ("10.0.0.1", "::ffff:10.0.0.1", Decision::Allowed),
            ("10.0.0.1", "10.0.0.11", Decision::NotAllowed),
            ("localhost", "127.0.0.1", Decision::NotAllowed),
            ("", "127.0.0.1", Decision::NotAllowed),
            ("10.0.0.0/8", "10.255.0.1", Decision::Allowed),
            ("10.0.0.0/8", "11.0.0.1", Decision::NotAllowed),
            ("10.0.0.5/32", "10.0.0.5", Decision::Allowed),
            ("10.0.0.5/32", "10.0.0.4", Decision::NotAllowed),
            ("0.0.0.0/0", "10.0.0.4", Decision::Allowed),
            ("0.0.0.0/0", "::1", Decision::NotAllowed),
            ("10.0.0.0/8", "::ffff:10.0.0.1", Decision::Allowed),
            ("fe80::/10", "fe81::1", Decision::Allowed),
            ("::1/128", "::1", Decision::Allowed),
            ("10.0.0.0/33", "10.0.0.0", Decision::NotAllowed),
            ("10.0.0.0/", "10.0.0.0", Decision::NotAllowed),
        ] {
            let acls = format!("ALLOW User:ann {written} READ LITERAL t");
            let said = index(&[&acls]).decide(ann(from, Read), ResourceKind::Topic, "t");
            assert_eq!(said, expected, "{written} and {from}");
        }
    }

    #[test]
    fn a_prefix_ends_where_a_character_does() {
        let index = index(&["ALLOW User:ann * READ PREFIXED bä"]);
        let says = |name| index.decide(ann("::1", AclOperation::Read), ResourceKind::Topic, name);
        assert_eq!(says("bär"), Decision::Allowed);
        assert_eq!(says("b\u{300}r"), Decision::NoEntries);
        assert_eq!(says("bö"), Decision::NoEntries);
    }

    /// What was taken out is as if it had never been there, and nothing of it stays behind.
    #[test]
    fn an_index_without_entries_is_empty() {
        let texts = [
            "ALLOW User:ann * READ PREFIXED te",
            "DENY User:ann * READ PREFIXED te",
            "ALLOW User:ann * READ PREFIXED to",
            "ALLOW User:bob * ALL LITERAL *",
            "ALLOW User:* 10.0.0.1 WRITE LITERAL t",
        ];
        let mut index = index(&texts);
        let before = index.clone();
        for text in texts {
            assert!(index.contains(&acl(text)));
            index.remove(&acl(text));
            assert!(!index.contains(&acl(text)));
        }
        assert_eq!(format!("{index:?}"), format!("{:?}", AclIndex::default()));
        assert_eq!(before.iter().count(), texts.len(), "a copy stays as it was");
    }
}
