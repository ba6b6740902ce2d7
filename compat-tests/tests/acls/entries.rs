//! CreateAcls, DescribeAcls and DeleteAcls: whole answers, whose lists have no order in Kafka.

use std::fmt::Debug;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use compat_tests::scenario::Exchange;
use compat_tests::{BrokerProcess, RawClient};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::{CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest};
use kafka_protocol::protocol::{Request, StrBytes};

/// Kafka's codes of anything.
const ANY: i8 = 1;

struct Notes<'b> {
    broker: &'b BrokerProcess,
    client: RawClient,
    notes: Vec<Exchange>,
}

impl Notes<'_> {
    fn ask<R: Request<Response: Debug>>(
        &mut self,
        what: &str,
        version: i16,
        request: &R,
        sort: impl Fn(&mut R::Response),
    ) -> Result<()> {
        let answer = match self.client.call(version, request) {
            Ok(mut response) => {
                sort(&mut response);
                format!("{response:?}")
            }
            Err(error) => {
                self.client = RawClient::connect(self.broker.address())?;
                error.to_string()
            }
        };
        self.notes.push(Exchange {
            label: format!("{} v{version} {what}", R::KEY),
            values: vec![("answer".to_owned(), answer)],
        });
        Ok(())
    }

    /// What Kafka has answered everybody can see a moment later.
    fn settle(&mut self) -> Result<()> {
        let mark = entry(2, 3, "mark");
        let create = CreateAclsRequest::default().with_creations(vec![mark]);
        self.client.call(3, &create)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        let filter = DescribeAclsRequest::default()
            .with_resource_type_filter(2)
            .with_resource_name_filter(Some(string("mark")))
            .with_pattern_type_filter(3)
            .with_principal_filter(None)
            .with_host_filter(None)
            .with_operation(ANY)
            .with_permission_type(ANY);
        while self.client.call(3, &filter)?.resources.is_empty() {
            ensure!(Instant::now() < deadline, "an entry is not there");
            sleep(Duration::from_millis(10));
        }
        let delete = DeleteAclsRequest::default().with_filters(vec![named(2, 3, "mark")]);
        self.client.call(3, &delete)?;
        while !self.client.call(3, &filter)?.resources.is_empty() {
            ensure!(Instant::now() < deadline, "an entry is still there");
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn create(&mut self, what: &str, version: i16, creations: Vec<AclCreation>) -> Result<()> {
        let request = CreateAclsRequest::default().with_creations(creations);
        self.ask(what, version, &request, |_| {})
    }

    fn describe(&mut self, what: &str, version: i16, filter: &DeleteAclsFilter) -> Result<()> {
        let request = DescribeAclsRequest::default()
            .with_resource_type_filter(filter.resource_type_filter)
            .with_resource_name_filter(filter.resource_name_filter.clone())
            .with_pattern_type_filter(filter.pattern_type_filter)
            .with_principal_filter(filter.principal_filter.clone())
            .with_host_filter(filter.host_filter.clone())
            .with_operation(filter.operation)
            .with_permission_type(filter.permission_type);
        self.ask(what, version, &request, |response| {
            for resource in &mut response.resources {
                resource.acls.sort_by_key(|acl| format!("{acl:?}"));
            }
            response
                .resources
                .sort_by_key(|resource| format!("{resource:?}"));
        })
    }

    fn delete(&mut self, what: &str, version: i16, filters: Vec<DeleteAclsFilter>) -> Result<()> {
        let request = DeleteAclsRequest::default().with_filters(filters);
        self.ask(what, version, &request, |response| {
            for result in &mut response.filter_results {
                result.matching_acls.sort_by_key(|acl| format!("{acl:?}"));
            }
        })
    }
}

fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// An entry on a resource: type, pattern type and name.
fn entry(resource: i8, pattern: i8, name: &str) -> AclCreation {
    AclCreation::default()
        .with_resource_type(resource)
        .with_resource_name(string(name))
        .with_resource_pattern_type(pattern)
        .with_principal(string("User:ann"))
        .with_host(string("*"))
        .with_operation(3)
        .with_permission_type(3)
}

fn anything() -> DeleteAclsFilter {
    DeleteAclsFilter::default()
        .with_resource_type_filter(ANY)
        .with_resource_name_filter(None)
        .with_pattern_type_filter(ANY)
        .with_principal_filter(None)
        .with_host_filter(None)
        .with_operation(ANY)
        .with_permission_type(ANY)
}

fn named(resource: i8, pattern: i8, name: &str) -> DeleteAclsFilter {
    anything()
        .with_resource_type_filter(resource)
        .with_pattern_type_filter(pattern)
        .with_resource_name_filter(Some(string(name)))
}

/// Every way to be wrong, and to be right.
fn creations() -> Vec<(&'static str, Vec<AclCreation>)> {
    let plain = entry(2, 3, "t");
    let mut all = vec![
        ("none", vec![]),
        ("one", vec![plain.clone()]),
        ("again", vec![plain.clone()]),
        (
            "twice in one",
            vec![entry(2, 3, "twice"), entry(2, 3, "twice")],
        ),
        (
            "prefix",
            vec![entry(2, 4, "t"), entry(2, 4, "*"), entry(2, 3, "*")],
        ),
        (
            "every type",
            (2..=7)
                .map(|kind| entry(kind, 3, "kafka-cluster"))
                .collect(),
        ),
        (
            "every operation",
            (2..=16)
                .map(|operation| plain.clone().with_operation(operation))
                .collect(),
        ),
        (
            "no name",
            vec![entry(2, 3, ""), entry(4, 3, ""), entry(99, 3, "")],
        ),
        (
            "another cluster",
            vec![
                entry(4, 3, "cluster"),
                entry(4, 4, "kafka"),
                entry(4, 4, "kafka-cluster"),
            ],
        ),
        (
            "wrong and right",
            vec![
                entry(98, 3, "wrong"),
                entry(3, 3, "right"),
                entry(99, 3, "wrong"),
            ],
        ),
        (
            "everything wrong",
            vec![
                entry(99, 99, "")
                    .with_operation(99)
                    .with_permission_type(99)
                    .with_principal(string("")),
            ],
        ),
        (
            "odd text",
            vec![
                entry(3, 3, "ä \"b\"")
                    .with_principal(string("User:CN=x, O=\"y\""))
                    .with_host(string("host")),
            ],
        ),
        ("no host", vec![plain.clone().with_host(string(""))]),
    ];
    for (what, wrong) in [
        ("resource any", entry(1, 3, "t")),
        ("resource unknown", entry(99, 3, "t")),
        ("pattern any", entry(2, 1, "t")),
        ("pattern match", entry(2, 2, "t")),
        ("pattern unknown", entry(2, 99, "t")),
        ("operation any", plain.clone().with_operation(1)),
        ("operation unknown", plain.clone().with_operation(99)),
        ("permission any", plain.clone().with_permission_type(1)),
        ("permission unknown", plain.clone().with_permission_type(99)),
        ("no colon", plain.clone().with_principal(string("ann"))),
        ("no principal", plain.clone().with_principal(string(""))),
        ("a range", plain.clone().with_host(string("10.0.0.0/8"))),
        ("no range", plain.clone().with_host(string("10.0.0.0/33"))),
        ("a colon alone", plain.clone().with_principal(string(":"))),
        ("code 0 of a resource", entry(0, 3, "t")),
        ("code 0 of an operation", plain.clone().with_operation(0)),
    ] {
        all.push((what, vec![wrong]));
    }
    all
}

fn filters() -> Vec<(&'static str, DeleteAclsFilter)> {
    vec![
        ("by name", named(2, 3, "t")),
        ("by prefix", named(2, 4, "t")),
        ("by name of any pattern", named(2, ANY, "t")),
        ("match", named(2, 2, "to")),
        ("match a star", named(2, 2, "*")),
        ("match of any type", named(ANY, 2, "kafka-cluster-1")),
        ("no such name", named(2, 3, "no-such")),
        ("by operation", anything().with_operation(4)),
        ("by permission", anything().with_permission_type(2)),
        (
            "by principal",
            anything().with_principal_filter(Some(string("User:CN=x, O=\"y\""))),
        ),
        ("by host", anything().with_host_filter(Some(string("host")))),
        ("by no host", anything().with_host_filter(Some(string("")))),
        (
            "by an unknown type",
            anything().with_resource_type_filter(99),
        ),
        (
            "by an unknown pattern",
            anything().with_pattern_type_filter(99),
        ),
        ("by an unknown operation", anything().with_operation(99)),
        (
            "by an unknown permission",
            anything().with_permission_type(99),
        ),
        ("code 0 of a type", anything().with_resource_type_filter(0)),
        ("code 0 of a permission", anything().with_permission_type(0)),
        (
            "match without a name",
            named(3, 2, "").with_resource_name_filter(None),
        ),
    ]
}

pub fn create_describe_delete(broker: &BrokerProcess) -> Result<Vec<Exchange>> {
    let mut notes = Notes {
        broker,
        client: RawClient::connect(broker.address())?,
        notes: Vec::new(),
    };
    for version in 1..=3 {
        // First, so that nobody is shut out by what follows: the cluster's own entries are ann's.
        let us = |operation| {
            let entry = entry(4, 3, "kafka-cluster").with_operation(operation);
            entry.with_principal(string("User:ANONYMOUS"))
        };
        notes.create("for us", version, vec![us(2)])?;
        for (what, creations) in creations() {
            notes.create(what, version, creations)?;
        }
        notes.settle()?;
        notes.describe("all", version, &anything())?;
        for (what, filter) in filters() {
            notes.describe(what, version, &filter)?;
        }
        for (what, filter) in filters() {
            notes.delete(what, version, vec![filter])?;
        }
        notes.delete("none", version, vec![])?;
        let both = vec![
            named(5, ANY, "kafka-cluster"),
            named(ANY, 3, "kafka-cluster"),
        ];
        notes.settle()?;
        notes.describe("what is left", version, &anything())?;
        notes.delete(
            "several",
            version,
            [both, vec![anything().with_operation(99)]].concat(),
        )?;
        notes.delete("all", version, vec![anything(), anything()])?;
        notes.settle()?;
        notes.describe("nothing", version, &anything())?;
    }
    Ok(notes.notes)
}
