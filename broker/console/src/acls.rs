//! `ottla acls`

use clap::{Args, Subcommand, ValueEnum};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::{CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest};
use kafka_protocol::protocol::StrBytes;
use serde_json::json;

use crate::cluster::Cluster;
use crate::connection::text;
use crate::failure::{Result, check, failed};
use crate::page::{Output, Table};

const ANY: i8 = 1;
const DENY: i8 = 2;
const ALLOW: i8 = 3;
const LITERAL: i8 = 3;
const PREFIXED: i8 = 4;

/// What is protected; the discriminant is Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[repr(i8)]
pub(crate) enum Kind {
    Topic = 2,
    Group = 3,
    Cluster = 4,
    TransactionalId = 5,
    DelegationToken = 6,
    User = 7,
}

/// What is done with it; the discriminant is Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[repr(i8)]
pub(crate) enum Operation {
    All = 2,
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    ClusterAction = 9,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
    CreateTokens = 13,
    DescribeTokens = 14,
    TwoPhaseCommit = 15,
}

/// List, add and remove who may do what
#[derive(Debug, Subcommand)]
pub(crate) enum Acls {
    /// Those that match, or all
    List {
        #[command(flatten)]
        filter: Filter,
    },
    /// Let a user do something, or with --deny keep it from that
    Add {
        /// User:NAME, or User:* for everybody
        #[arg(long, value_name = "USER", value_parser = parse_principal)]
        principal: String,
        /// topic:NAME, group:NAME, transactional-id:NAME, user:NAME or cluster; * is any name
        #[arg(long, value_name = "KIND:NAME", value_parser = parse_resource)]
        resource: Resource,
        /// What: repeat it for several
        #[arg(long, value_name = "OPERATION", required = true)]
        operation: Vec<Operation>,
        /// Where the user connects from: an address
        #[arg(long, default_value = "*")]
        host: String,
        /// All names that begin so
        #[arg(long)]
        prefixed: bool,
        /// Whoever else allows it
        #[arg(long)]
        deny: bool,
    },
    /// Remove all that match
    Remove {
        #[command(flatten)]
        filter: Filter,
        /// Also without any filter, which removes all
        #[arg(long)]
        all: bool,
    },
}

/// What is not given matches everything.
#[derive(Args, Debug)]
pub(crate) struct Filter {
    #[arg(long, value_name = "USER", value_parser = parse_principal)]
    principal: Option<String>,
    #[arg(long, value_name = "KIND:NAME", value_parser = parse_resource)]
    resource: Option<Resource>,
    #[arg(long)]
    operation: Option<Operation>,
    #[arg(long)]
    host: Option<String>,
    /// Entries of --deny, or of the others with --deny=false
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    deny: Option<bool>,
}

#[derive(Clone, Debug)]
pub(crate) struct Resource {
    kind: Kind,
    name: String,
}

fn parse_principal(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() => Ok(text.to_owned()),
        _ => Err("expected User:NAME".to_owned()),
    }
}

fn parse_resource(text: &str) -> Result<Resource, String> {
    let (kind, name) = text.split_once(':').unwrap_or((text, ""));
    let kind = Kind::from_str(kind, false).map_err(
        |_| "expected topic:NAME, group:NAME, transactional-id:NAME, user:NAME or cluster",
    )?;
    let name = match (kind, name) {
        (Kind::Cluster, "" | "kafka-cluster") => "kafka-cluster",
        (Kind::Cluster, _) => return Err("the cluster has no other name: say cluster".to_owned()),
        (_, "") => return Err(format!("which one? Expected {text}:NAME")),
        (_, name) => name,
    };
    Ok(Resource {
        kind,
        name: name.to_owned(),
    })
}

impl Acls {
    pub(crate) async fn run(self, cluster: &mut Cluster, output: Output) -> Result<()> {
        match self {
            Self::List { filter } => list(cluster, output, filter.wire()).await,
            Self::Add {
                principal,
                resource,
                operation,
                host,
                prefixed,
                deny,
            } => {
                let entry = |operation: &Operation| {
                    AclCreation::default()
                        .with_resource_type(resource.kind as i8)
                        .with_resource_name(text(&resource.name))
                        .with_resource_pattern_type(if prefixed { PREFIXED } else { LITERAL })
                        .with_principal(text(&principal))
                        .with_host(text(&host))
                        .with_operation(*operation as i8)
                        .with_permission_type(if deny { DENY } else { ALLOW })
                };
                let entries: Vec<_> = operation.iter().map(entry).collect();
                add(cluster, output, entries).await
            }
            Self::Remove { filter, all } => {
                if filter.is_empty() && !all {
                    return Err(crate::failure::usage(
                        "this would remove all entries: name --principal, --resource or --operation, or say --all",
                    ));
                }
                remove(cluster, output, filter.wire()).await
            }
        }
    }
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.principal.is_none()
            && self.resource.is_none()
            && self.operation.is_none()
            && self.host.is_none()
            && self.deny.is_none()
    }

    fn wire(self) -> DeleteAclsFilter {
        let some = |given: Option<String>| given.as_deref().map(text);
        let (kind, name) = match self.resource {
            Some(resource) => (resource.kind as i8, Some(resource.name)),
            None => (ANY, None),
        };
        DeleteAclsFilter::default()
            .with_resource_type_filter(kind)
            .with_resource_name_filter(some(name))
            .with_pattern_type_filter(ANY)
            .with_principal_filter(some(self.principal))
            .with_host_filter(some(self.host))
            .with_operation(self.operation.map_or(ANY, |operation| operation as i8))
            .with_permission_type(match self.deny {
                None => ANY,
                Some(true) => DENY,
                Some(false) => ALLOW,
            })
    }
}

fn table() -> Table {
    Table::new(&[
        "principal",
        "host",
        "permission",
        "operation",
        "resource",
        "name",
        "pattern",
    ])
}

/// An entry as brokers tell it.
struct Entry<'a> {
    principal: &'a StrBytes,
    host: &'a StrBytes,
    permission: i8,
    operation: i8,
    kind: i8,
    name: &'a StrBytes,
    pattern: i8,
}

fn put(table: &mut Table, entry: &Entry<'_>) {
    let permission = match entry.permission {
        DENY => "deny",
        ALLOW => "allow",
        _ => "unknown",
    };
    let pattern = match entry.pattern {
        LITERAL => "literal",
        PREFIXED => "prefixed",
        _ => "unknown",
    };
    table.row([
        json!(entry.principal.as_str()),
        json!(entry.host.as_str()),
        json!(permission),
        json!(named::<Operation>(|one| *one as i8 == entry.operation)),
        json!(named::<Kind>(|one| *one as i8 == entry.kind)),
        json!(entry.name.as_str()),
        json!(pattern),
    ]);
}

fn named<E: ValueEnum>(is_it: impl Fn(&E) -> bool) -> String {
    let found = E::value_variants().iter().find(|one| is_it(one));
    let value = found.and_then(ValueEnum::to_possible_value);
    value.map_or_else(|| "unknown".to_owned(), |value| value.get_name().to_owned())
}

async fn list(cluster: &mut Cluster, output: Output, filter: DeleteAclsFilter) -> Result<()> {
    let request = DescribeAclsRequest::default()
        .with_resource_type_filter(filter.resource_type_filter)
        .with_resource_name_filter(filter.resource_name_filter)
        .with_pattern_type_filter(filter.pattern_type_filter)
        .with_principal_filter(filter.principal_filter)
        .with_host_filter(filter.host_filter)
        .with_operation(filter.operation)
        .with_permission_type(filter.permission_type);
    let answer = cluster.any().call(request).await?;
    check(
        "list ACLs",
        answer.error_code,
        answer.error_message.as_ref(),
    )?;
    let mut table = table();
    for resource in &answer.resources {
        for acl in &resource.acls {
            let entry = Entry {
                principal: &acl.principal,
                host: &acl.host,
                permission: acl.permission_type,
                operation: acl.operation,
                kind: resource.resource_type,
                name: &resource.resource_name,
                pattern: resource.pattern_type,
            };
            put(&mut table, &entry);
        }
    }
    output.table(&table);
    Ok(())
}

async fn add(cluster: &mut Cluster, output: Output, entries: Vec<AclCreation>) -> Result<()> {
    let request = CreateAclsRequest::default().with_creations(entries.clone());
    let answer = cluster.any().call(request).await?;
    if answer.results.len() != entries.len() {
        return Err(failed("add ACLs: the broker left some out of its answer"));
    }
    let mut table = table();
    for (entry, result) in entries.iter().zip(&answer.results) {
        check(
            "add an ACL",
            result.error_code,
            result.error_message.as_ref(),
        )?;
        let entry = Entry {
            principal: &entry.principal,
            host: &entry.host,
            permission: entry.permission_type,
            operation: entry.operation,
            kind: entry.resource_type,
            name: &entry.resource_name,
            pattern: entry.resource_pattern_type,
        };
        put(&mut table, &entry);
    }
    output.table(&table);
    Ok(())
}

/// Shows what was removed.
async fn remove(cluster: &mut Cluster, output: Output, filter: DeleteAclsFilter) -> Result<()> {
    let request = DeleteAclsRequest::default().with_filters(vec![filter]);
    let answer = cluster.any().call(request).await?;
    let mut table = table();
    for result in &answer.filter_results {
        check(
            "remove ACLs",
            result.error_code,
            result.error_message.as_ref(),
        )?;
        for acl in &result.matching_acls {
            check("remove an ACL", acl.error_code, acl.error_message.as_ref())?;
            let entry = Entry {
                principal: &acl.principal,
                host: &acl.host,
                permission: acl.permission_type,
                operation: acl.operation,
                kind: acl.resource_type,
                name: &acl.resource_name,
                pattern: acl.pattern_type,
            };
            put(&mut table, &entry);
        }
    }
    output.table(&table);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_have_a_kind_and_a_name() {
        let read = |text| {
            let resource = parse_resource(text)?;
            Ok::<_, String>((resource.kind, resource.name))
        };
        assert_eq!(read("topic:a:b"), Ok((Kind::Topic, "a:b".to_owned())));
        assert_eq!(
            read("transactional-id:*"),
            Ok((Kind::TransactionalId, "*".to_owned()))
        );
        assert_eq!(
            read("cluster"),
            Ok((Kind::Cluster, "kafka-cluster".to_owned()))
        );
        for wrong in ["topic", "topic:", "cluster:other", "table:x", ""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
