//! What follows from all entries: Kafka's `StandardAuthorizerData`, and `Authorizer.authorizeByResourceType`.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use uuid::Uuid;

use super::{Acl, AclOperation, EVERY, PatternKind, Permission, ResourceKind};
use crate::metadata::SortedMap;

/// The type of principal that [`EVERY`] is a name of.
const USER: &str = "User";
/// Kafka asks for a name that nobody is thought to have entries on, to find out who may do everything.
const PROBE: &str = "hardcode";

/// All entries, found by what they are about. A clone shares everything, and a change of it copies next to nothing.
#[derive(Clone, Debug, Default)]
pub struct AclIndex {
    /// In the order of [`ResourceKind::ALL`].
    kinds: [OfKind; ResourceKind::ALL.len()],
    /// By the name of the principal.
    by_principal: SortedMap<Arc<str>, SortedMap<Arc<Acl>, Rule>>,
}

/// The entries on resources of one type, by name.
#[derive(Clone, Debug, Default)]
struct OfKind {
    literal: SortedMap<Arc<str>, OnName>,
    prefixed: SortedMap<Arc<str>, OnName>,
    /// How many of the prefixes have so many bytes.
    prefix_lengths: Arc<BTreeMap<usize, usize>>,
}

/// The entries on one name, by the name of the principal.
type OnName = SortedMap<Arc<str>, Arc<Vec<Rule>>>;

/// An entry, with its host as it is compared.
#[derive(Clone, Debug)]
struct Rule {
    id: Uuid,
    acl: Arc<Acl>,
    host: Host,
}

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
        let patterns = self
            .kinds
            .iter()
            .flat_map(|of_kind| [&of_kind.literal, &of_kind.prefixed]);
        let names = patterns.flat_map(|names| names.iter().map(|(_, on_name)| on_name));
        let rules = names.flat_map(|on_name| on_name.iter().flat_map(|(_, rules)| rules.iter()));
        rules.map(|rule| (rule.id, &rule.acl))
    }

    /// Whether there is this entry.
    pub fn contains(&self, acl: &Acl) -> bool {
        let (_, name) = acl.who();
        let of_kind = &self.kinds[place(acl.resource)];
        let on_name = of_kind.names(acl.pattern).get(&*acl.name);
        let rules = on_name.and_then(|on_name| on_name.get(name));
        rules.is_some_and(|rules| rules.iter().any(|rule| *rule.acl == *acl))
    }

    /// Takes an entry in that is not there.
    pub fn add(&mut self, id: Uuid, acl: &Arc<Acl>) {
        let (_, name) = acl.who();
        let name: Arc<str> = name.into();
        let rule = Rule {
            id,
            acl: Arc::clone(acl),
            host: Host::parse(&acl.host),
        };
        let mut of_principal = self.by_principal.get(&name).cloned().unwrap_or_default();
        of_principal.insert(Arc::clone(acl), rule.clone());
        self.by_principal.insert(Arc::clone(&name), of_principal);

        let of_kind = &mut self.kinds[place(acl.resource)];
        let names = of_kind.names_mut(acl.pattern);
        let known = names.get(&*acl.name).cloned();
        let is_new = known.is_none();
        let mut on_name = known.unwrap_or_default();
        let mut rules = on_name.get(&name).cloned().unwrap_or_default();
        Arc::make_mut(&mut rules).push(rule);
        on_name.insert(name, rules);
        names.insert(Arc::clone(&acl.name), on_name);
        if is_new && acl.pattern == PatternKind::Prefixed {
            let lengths = Arc::make_mut(&mut of_kind.prefix_lengths);
            *lengths.entry(acl.name.len()).or_default() += 1;
        }
    }

    /// Takes an entry out that is there.
    pub(crate) fn remove(&mut self, acl: &Arc<Acl>) {
        let (_, name) = acl.who();
        if let Some(mut of_principal) = self.by_principal.get(name).cloned() {
            of_principal.remove(acl);
            match of_principal.len() {
                0 => self.by_principal.remove(name),
                _ => self.by_principal.insert(name.into(), of_principal),
            }
        }
        let of_kind = &mut self.kinds[place(acl.resource)];
        let names = of_kind.names_mut(acl.pattern);
        let Some(mut on_name) = names.get(&*acl.name).cloned() else {
            return;
        };
        if let Some(mut rules) = on_name.get(name).cloned() {
            Arc::make_mut(&mut rules).retain(|rule| *rule.acl != **acl);
            match rules.is_empty() {
                true => on_name.remove(name),
                false => on_name.insert(name.into(), rules),
            }
        }
        if on_name.len() > 0 {
            names.insert(Arc::clone(&acl.name), on_name);
            return;
        }
        names.remove(&*acl.name);
        if acl.pattern == PatternKind::Prefixed {
            let lengths = Arc::make_mut(&mut of_kind.prefix_lengths);
            match lengths.get_mut(&acl.name.len()) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(lengths.remove(&acl.name.len())),
            }
        }
    }

    /// What the entries say of one resource.
    pub(crate) fn decide(&self, question: Question<'_>, on: ResourceKind, name: &str) -> Decision {
        let mut decision = Decision::NoEntries;
        for on_name in self.kinds[place(on)].on(name) {
            if decision == Decision::NoEntries {
                decision = Decision::NotAllowed;
            }
            match said(on_name, question) {
                Some(Permission::Deny) => return Decision::Denied,
                Some(Permission::Allow) => decision = Decision::Allowed,
                None => {}
            }
        }
        decision
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
        let principals = [question.name, EVERY].map(|name| self.by_principal.get(name));
        let rules = principals.into_iter().flatten().flat_map(SortedMap::iter);
        let rules = rules.filter(|(acl, rule)| {
            let same_operation = [question.operation, AclOperation::All].contains(&acl.operation);
            acl.resource == on && same_operation && rule.is_about(question)
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

const fn place(kind: ResourceKind) -> usize {
    (kind.code() - ResourceKind::Topic.code()) as usize
}

impl OfKind {
    fn names(&self, pattern: PatternKind) -> &SortedMap<Arc<str>, OnName> {
        match pattern {
            PatternKind::Literal => &self.literal,
            PatternKind::Prefixed => &self.prefixed,
        }
    }

    fn names_mut(&mut self, pattern: PatternKind) -> &mut SortedMap<Arc<str>, OnName> {
        match pattern {
            PatternKind::Literal => &mut self.literal,
            PatternKind::Prefixed => &mut self.prefixed,
        }
    }

    /// The entries that are about a name: on itself, on every one, and on what it begins with.
    fn on(&self, name: &str) -> impl Iterator<Item = &OnName> {
        let literal = [name, EVERY].into_iter();
        let literal = literal.filter_map(|name| self.literal.get(name));
        let lengths = self.prefix_lengths.range(..=name.len());
        let prefixes = lengths.filter_map(move |(length, _)| name.get(..*length));
        literal.chain(prefixes.filter_map(|prefix| self.prefixed.get(prefix)))
    }
}

/// What the entries on one name say. One that denies counts, whatever others allow.
fn said(on_name: &OnName, question: Question<'_>) -> Option<Permission> {
    let mut said = None;
    let rules = [question.name, EVERY].map(|name| on_name.get(name));
    for rule in rules.into_iter().flatten().flat_map(|rules| rules.iter()) {
        if rule.is_about(question) && rule.means(question.operation) {
            match rule.acl.permission {
                Permission::Deny => return Some(Permission::Deny),
                Permission::Allow => said = Some(Permission::Allow),
            }
        }
    }
    said
}

impl Rule {
    /// Whether it is about who asks, and from where.
    fn is_about(&self, question: Question<'_>) -> bool {
        let (kind, name) = self.acl.who();
        let is_own = kind == question.kind && name == question.name;
        let is_everybodys = kind == USER && name == EVERY;
        let is_here = match self.host {
            Host::Every => true,
            Host::Only(address) => address == question.host.to_canonical(),
            Host::Within(network, length) => {
                begins_alike(network, question.host.to_canonical(), length)
            }
            Host::Nowhere => false,
        };
        (is_own || is_everybodys) && is_here
    }

    /// Whether it is about an operation. Who may change something may also look at it.
    fn means(&self, operation: AclOperation) -> bool {
        use AclOperation::{
            All, Alter, AlterConfigs, Delete, Describe, DescribeConfigs, Read, Write,
        };
        let said = self.acl.operation;
        let is_implied = match operation {
            Describe => matches!(said, Read | Write | Delete | Alter),
            DescribeConfigs => said == AlterConfigs,
            _ => false,
        };
        let is_implied = is_implied && self.acl.permission == Permission::Allow;
        said == All || said == operation || is_implied
    }
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
    use super::*;

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
