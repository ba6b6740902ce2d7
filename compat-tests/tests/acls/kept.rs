//! What CreateAcls has answered holds, whatever happens to the broker.

use anyhow::{Result, ensure};
use compat_tests::{BrokerProcess, RawClient};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{CreateAclsRequest, DeleteAclsRequest, MetadataRequest};
use kafka_protocol::protocol::StrBytes;

fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Nobody may do anything to a topic from now on.
fn deny(client: &mut RawClient, name: &str) -> Result<()> {
    let entry = AclCreation::default()
        .with_resource_type(2)
        .with_resource_name(string(name))
        .with_resource_pattern_type(3)
        .with_principal(string("User:*"))
        .with_host(string("*"))
        .with_operation(2)
        .with_permission_type(2);
    let request = CreateAclsRequest::default().with_creations(vec![entry]);
    let made = client.call(3, &request)?;
    ensure!(made.results[0].error_code == 0, "{made:?}");
    Ok(())
}

fn allow(client: &mut RawClient, name: &str) -> Result<()> {
    let filter = DeleteAclsFilter::default()
        .with_resource_type_filter(2)
        .with_resource_name_filter(Some(string(name)))
        .with_pattern_type_filter(3)
        .with_principal_filter(None)
        .with_host_filter(None)
        .with_operation(1)
        .with_permission_type(1);
    let request = DeleteAclsRequest::default().with_filters(vec![filter]);
    let deleted = client.call(3, &request)?;
    let result = &deleted.filter_results[0];
    ensure!(
        result.error_code == 0 && result.matching_acls.len() == 1,
        "{deleted:?}"
    );
    Ok(())
}

fn is_denied(client: &mut RawClient, name: &str) -> Result<bool> {
    let topic = MetadataRequestTopic::default().with_name(Some(string(name).into()));
    let request = MetadataRequest::default().with_topics(Some(vec![topic]));
    Ok(client.call(9, &request)?.topics[0].error_code == 29)
}

#[test]
fn entries_outlive_a_restart_and_a_kill() -> Result<()> {
    let mut broker = BrokerProcess::start_with(super::CONFIG)?;
    let mut client = RawClient::connect(broker.address())?;
    deny(&mut client, "one")?;
    deny(&mut client, "two")?;
    broker.terminate()?;
    broker.restart()?;
    client = RawClient::connect(broker.address())?;
    ensure!(
        is_denied(&mut client, "one")? && is_denied(&mut client, "two")?,
        "after a restart"
    );
    // An answer is a promise: what comes right after it changes nothing.
    allow(&mut client, "one")?;
    deny(&mut client, "three")?;
    broker.kill9()?;
    broker.restart()?;
    client = RawClient::connect(broker.address())?;
    for (name, expected) in [("one", false), ("two", true), ("three", true)] {
        ensure!(
            is_denied(&mut client, name)? == expected,
            "{name} after a kill"
        );
    }
    let log = broker.log();
    ensure!(
        log.contains("no listener on which clients say who they are"),
        "{log}"
    );
    ensure!(
        log.contains("ottla::authorizer") && log.contains("User:ANONYMOUS"),
        "{log}"
    );
    Ok(())
}
