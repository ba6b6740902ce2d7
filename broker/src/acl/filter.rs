//! Which entries a filter means: Kafka's `AclBindingFilter`.
//!
//! A request may bring thousands of filters, and there may be as many entries. To hold each against each would be work times
//! work. So filters of the same shape lie side by side, and an entry looks itself up among them: once for each shape.

use std::collections::{BTreeMap, BTreeSet};

use super::{Acl, AclOperation, EVERY, PatternKind, Permission, ResourceKind};

/// How the name of a filter is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PatternFilter {
    /// It is the name in the entry, whatever that means.
    Any,
    /// It is the name of a resource: every entry that is about that one.
    Match,
    Only(PatternKind),
}

/// What an entry has to be; `None`: anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AclFilter<'a> {
    pub pattern: PatternFilter,
    pub resource: Option<ResourceKind>,
    pub principal: Option<&'a str>,
    pub host: Option<&'a str>,
    pub operation: Option<AclOperation>,
    pub permission: Option<Permission>,
    /// Last, so that filters with the same beginning of a name lie side by side.
    pub name: Option<&'a str>,
}

/// What filters of one shape have something to say about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    pattern: PatternFilter,
    resource: bool,
    principal: bool,
    host: bool,
    operation: bool,
    permission: bool,
    name: bool,
}

impl AclFilter<'_> {
    fn shape(&self) -> Shape {
        Shape {
            pattern: self.pattern,
            resource: self.resource.is_some(),
            principal: self.principal.is_some(),
            host: self.host.is_some(),
            operation: self.operation.is_some(),
            permission: self.permission.is_some(),
            name: self.name.is_some(),
        }
    }

    /// Whether both are the same but for the name, which both have.
    fn differs_by_name_only(&self, other: &Self) -> bool {
        self.name.is_some()
            && other.name.is_some()
            && Self {
                name: None,
                ..*self
            } == Self {
                name: None,
                ..*other
            }
    }
}

impl Shape {
    /// The filter of this shape that means nothing but this entry.
    fn of<'a>(&self, acl: &'a Acl) -> AclFilter<'a> {
        AclFilter {
            pattern: self.pattern,
            resource: self.resource.then_some(acl.resource),
            principal: self.principal.then_some(&*acl.principal),
            host: self.host.then_some(&*acl.host),
            operation: self.operation.then_some(acl.operation),
            permission: self.permission.then_some(acl.permission),
            name: self.name.then_some(&*acl.name),
        }
    }
}

/// Filters, found by the entries that they mean.
pub(crate) struct Matches<'a> {
    shapes: BTreeSet<Shape>,
    /// The places of a filter in the request.
    places: BTreeMap<AclFilter<'a>, Vec<usize>>,
}

impl<'a> Matches<'a> {
    /// Some filters, each with its place.
    pub(crate) fn of(filters: impl IntoIterator<Item = (usize, AclFilter<'a>)>) -> Self {
        let mut matches = Self {
            shapes: BTreeSet::new(),
            places: BTreeMap::new(),
        };
        for (place, filter) in filters {
            matches.shapes.insert(filter.shape());
            matches.places.entry(filter).or_default().push(place);
        }
        matches
    }

    /// The places of all filters that mean an entry.
    pub(crate) fn of_entry<'s>(&'s self, acl: &'s Acl) -> impl Iterator<Item = usize> + 's {
        let shapes = self.shapes.iter().filter(|shape| match shape.pattern {
            PatternFilter::Any | PatternFilter::Match => true,
            PatternFilter::Only(pattern) => pattern == acl.pattern,
        });
        shapes.flat_map(|shape| self.of_shape(*shape, acl)).copied()
    }

    fn of_shape<'s>(&'s self, shape: Shape, acl: &'s Acl) -> impl Iterator<Item = &'s usize> {
        let mut first = shape.of(acl);
        // A filter that names a resource means more entries than those with its name.
        let beginning = match (shape.pattern, shape.name, acl.pattern) {
            (PatternFilter::Match, true, PatternKind::Prefixed) => Some(&*acl.name),
            (PatternFilter::Match, true, PatternKind::Literal) if &*acl.name == EVERY => Some(""),
            _ => None,
        };
        if beginning.is_some() {
            first.name = beginning;
        }
        let means = move |filter: &AclFilter<'_>| match beginning {
            None => *filter == first,
            Some(beginning) => {
                let begins = filter.name.is_some_and(|name| name.starts_with(beginning));
                begins && filter.differs_by_name_only(&first)
            }
        };
        let found = self.places.range::<AclFilter<'s>, _>(first..);
        found
            .take_while(move |(filter, _)| means(filter))
            .flat_map(|(_, places)| places)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Kafka's `AclBindingFilter.matches`, one filter and one entry at a time.
    fn means(filter: &AclFilter<'_>, acl: &Acl) -> bool {
        let is_pattern = match filter.pattern {
            PatternFilter::Any | PatternFilter::Match => true,
            PatternFilter::Only(pattern) => pattern == acl.pattern,
        };
        let is_name = filter
            .name
            .is_none_or(|name| match (filter.pattern, acl.pattern) {
                (PatternFilter::Match, PatternKind::Literal) => {
                    name == &*acl.name || &*acl.name == EVERY
                }
                (PatternFilter::Match, PatternKind::Prefixed) => name.starts_with(&*acl.name),
                _ => name == &*acl.name,
            });
        is_pattern
            && is_name
            && filter
                .resource
                .is_none_or(|resource| resource == acl.resource)
            && filter
                .principal
                .is_none_or(|principal| principal == &*acl.principal)
            && filter.host.is_none_or(|host| host == &*acl.host)
            && filter
                .operation
                .is_none_or(|operation| operation == acl.operation)
            && filter
                .permission
                .is_none_or(|permission| permission == acl.permission)
    }

    const NAMES: [&str; 6] = ["a", "ab", "abc", "b", "bä", EVERY];
    const PRINCIPALS: [&str; 3] = ["User:ann", "User:bob", "User:*"];
    const HOSTS: [&str; 2] = ["*", "10.0.0.1"];

    fn any_of<T: Copy + std::fmt::Debug + 'static>(
        these: &'static [T],
    ) -> impl Strategy<Value = T> {
        proptest::sample::select(these)
    }

    prop_compose! {
        fn any_acl()(
            resource in any_of(&[ResourceKind::Topic, ResourceKind::Group]),
            pattern in any_of(PatternKind::ALL),
            name in any_of(&NAMES),
            principal in any_of(&PRINCIPALS),
            host in any_of(&HOSTS),
            operation in any_of(&[AclOperation::Read, AclOperation::All]),
            permission in any_of(Permission::ALL),
        ) -> Acl {
            Acl { resource, pattern, name: name.into(), principal: principal.into(), host: host.into(), operation, permission }
        }
    }

    prop_compose! {
        fn any_filter()(
            pattern in any_of(&[
                PatternFilter::Any,
                PatternFilter::Match,
                PatternFilter::Only(PatternKind::Literal),
                PatternFilter::Only(PatternKind::Prefixed),
            ]),
            resource in proptest::option::of(any_of(&[ResourceKind::Topic, ResourceKind::Group])),
            name in proptest::option::of(any_of(&NAMES)),
            principal in proptest::option::of(any_of(&PRINCIPALS)),
            host in proptest::option::of(any_of(&HOSTS)),
            operation in proptest::option::of(any_of(&[AclOperation::Read, AclOperation::All])),
            permission in proptest::option::of(any_of(Permission::ALL)),
        ) -> AclFilter<'static> {
            AclFilter { pattern, resource, principal, host, operation, permission, name }
        }
    }

    proptest! {
        #[test]
        fn many_filters_at_once_mean_what_each_of_them_means(
            filters in proptest::collection::vec(any_filter(), 0..40),
            acls in proptest::collection::vec(any_acl(), 0..40),
        ) {
            let matches = Matches::of(filters.iter().copied().enumerate());
            for acl in &acls {
                let mut found: Vec<usize> = matches.of_entry(acl).collect();
                found.sort_unstable();
                let expected = filters.iter().enumerate().filter(|(_, filter)| means(filter, acl));
                prop_assert_eq!(found, expected.map(|(place, _)| place).collect::<Vec<_>>());
            }
        }
    }
}
