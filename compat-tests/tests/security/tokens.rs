//! Delegation tokens (KIP-48): what clients are told of them, in every version, by Ottla and by Kafka; and what
//! `kafka-delegation-tokens` and Java clients make of it.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use compat_tests::broker_process::ottla_binary;
use compat_tests::java::KafkaTools;
use compat_tests::tool_answers::both;
use compat_tests::{BrokerKind, RawClient, cluster, toolchain};
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_delegation_token_request::CreatableRenewers;
use kafka_protocol::messages::describe_delegation_token_request::DescribeDelegationTokenOwner;
use kafka_protocol::messages::{
    AlterClientQuotasRequest, CreateAclsRequest, CreateDelegationTokenRequest,
    CreateDelegationTokenResponse, DescribeAclsRequest, DescribeClientQuotasRequest,
    DescribeDelegationTokenRequest, DescribeDelegationTokenResponse,
    DescribeUserScramCredentialsRequest, ExpireDelegationTokenRequest, RenewDelegationTokenRequest,
    SaslAuthenticateRequest, SaslHandshakeRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::Secured;
use super::client_programs::client;
use super::sasl::{log_in, run};

/// Tokens, and an authorizer to which alice is a super user.
pub const PROPERTIES: &[(&str, &str)] = &[
    ("delegation.token.secret.key", "key-secret"),
    ("delegation.token.expiry.time.ms", "7200000"),
    (
        "authorizer.class.name",
        "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    ),
    ("super.users", "User:ANONYMOUS;User:alice"),
];

fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A client that has logged in with PLAIN.
fn logged_in(broker: &Secured, user: &str) -> Result<RawClient> {
    let mut client = RawClient::connect(broker.login)?;
    let shaken = SaslHandshakeRequest::default().with_mechanism(string("PLAIN"));
    client.call(1, &shaken)?;
    let token = format!("\0{user}\0{user}-secret").into_bytes();
    let token = SaslAuthenticateRequest::default().with_auth_bytes(token.into());
    let done = client.call(2, &token)?;
    ensure!(done.error_code == 0, "{done:?}");
    Ok(client)
}

/// Without what is by chance: times are counted from the issue.
fn created(mut told: CreateDelegationTokenResponse) -> String {
    let issued_ms = told.issue_timestamp_ms;
    if issued_ms > 0 {
        told.expiry_timestamp_ms -= issued_ms;
        told.max_timestamp_ms -= issued_ms;
        told.issue_timestamp_ms = 1;
    }
    told.token_id = string(&format!("{} characters", told.token_id.len()));
    told.hmac = Bytes::from(format!("{} bytes", told.hmac.len()));
    format!("{told:?}")
}

fn described(mut told: DescribeDelegationTokenResponse) -> String {
    for token in &mut told.tokens {
        token.expiry_timestamp -= token.issue_timestamp;
        token.max_timestamp -= token.issue_timestamp;
        token.issue_timestamp = 1;
        token.token_id = string(&format!("{} characters", token.token_id.len()));
        token.hmac = Bytes::from(format!("{} bytes", token.hmac.len()));
    }
    told.tokens.sort_by_key(|token| format!("{token:?}"));
    format!("{told:?}")
}

fn create(
    renewers: &[(&str, &str)],
    owner: Option<(Option<&str>, &str)>,
) -> CreateDelegationTokenRequest {
    let renewer = |(kind, name): &(&str, &str)| {
        CreatableRenewers::default()
            .with_principal_type(string(kind))
            .with_principal_name(string(name))
    };
    let request = CreateDelegationTokenRequest::default()
        .with_renewers(renewers.iter().map(renewer).collect())
        .with_max_lifetime_ms(-1);
    match owner {
        None => request,
        Some((kind, name)) => request
            .with_owner_principal_type(kind.map(string))
            .with_owner_principal_name(Some(string(name))),
    }
}

fn describe(owners: Option<&[&str]>) -> DescribeDelegationTokenRequest {
    let owner = |name: &&str| {
        DescribeDelegationTokenOwner::default()
            .with_principal_type(string("User"))
            .with_principal_name(string(name))
    };
    let owners = owners.map(|owners| owners.iter().map(owner).collect());
    DescribeDelegationTokenRequest::default().with_owners(owners)
}

fn renew(hmac: &Bytes, period_ms: i64) -> RenewDelegationTokenRequest {
    RenewDelegationTokenRequest::default()
        .with_hmac(hmac.clone())
        .with_renew_period_ms(period_ms)
}

fn expire(hmac: &Bytes, period_ms: i64) -> ExpireDelegationTokenRequest {
    ExpireDelegationTokenRequest::default()
        .with_hmac(hmac.clone())
        .with_expiry_time_period_ms(period_ms)
}

/// Waits until so many tokens are seen: what Kafka has answered everybody can see a moment later.
fn wait_for(client: &mut RawClient, count: usize) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let seen = client.call(3, &describe(None))?;
        if seen.tokens.len() == count {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{count} tokens expected: {seen:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a broker says in every version, to those who may and to those who may not.
fn told(broker: &Secured) -> Result<Vec<String>> {
    let mut told = Vec::new();
    let mut nobody = RawClient::connect(broker.broker.address())?;
    let mut alice = logged_in(broker, "alice")?;
    let mut bob = logged_in(broker, "bob")?;
    let no_token = Bytes::from_static(&[1; 64]);
    // Those that the tool has left.
    let mut count = 2;
    for version in 1..=3 {
        let mut ask = |who: &mut RawClient, what: &str, request: CreateDelegationTokenRequest| {
            let answer = who.call(version, &request)?;
            let hmac = answer.hmac.clone();
            told.push(format!("create v{version} {what}: {}", created(answer)));
            anyhow::Ok(hmac)
        };
        ask(&mut nobody, "by nobody", create(&[], None))?;
        let by_bob = ask(
            &mut alice,
            "own",
            create(&[("User", "bob"), ("User", "bob")], None),
        )?;
        ask(
            &mut alice,
            "no user",
            create(&[("User", "bob"), ("Group", "bob")], None),
        )?;
        let longest = create(&[], None).with_max_lifetime_ms(i64::MAX);
        let of_alice = ask(&mut alice, "longest", longest)?;
        ask(
            &mut alice,
            "short",
            create(&[], None).with_max_lifetime_ms(60_000),
        )?;
        if version == 3 {
            let for_carol = || create(&[], Some((Some("User"), "carol")));
            ask(&mut alice, "for carol", for_carol())?;
            ask(&mut bob, "for carol by bob", for_carol())?;
            let invalid = create(&[("Group", "x")], Some((Some("User"), "carol")));
            ask(&mut bob, "invalid for carol by bob", invalid)?;
            ask(&mut bob, "named", create(&[], Some((Some("Group"), ""))))?;
        }
        count += if version == 3 { 5 } else { 3 };
        wait_for(&mut alice, count)?;
        for (who, client) in [
            ("nobody", &mut nobody),
            ("alice", &mut alice),
            ("bob", &mut bob),
        ] {
            for owners in [
                None,
                Some(&[][..]),
                Some(&["bob", "nobody"]),
                Some(&["carol"]),
            ] {
                let answer = client.call(version, &describe(owners))?;
                told.push(format!(
                    "describe v{version} {owners:?} {who}: {}",
                    described(answer)
                ));
            }
        }
        let version = version.min(2);
        for period_ms in [-1, 0, 3_600_000, i64::MAX] {
            let mut clients = [&mut nobody, &mut bob, &mut alice];
            for (what, by, hmac) in [
                ("by nobody", 0, &by_bob),
                ("by bob of another", 1, &of_alice),
                ("of no token", 1, &no_token),
                ("by bob", 1, &by_bob),
                ("by alice", 2, &by_bob),
            ] {
                let client = &mut clients[by];
                let what = format!("v{version} {what} {period_ms}");
                let answer = client.call(version, &renew(hmac, period_ms))?;
                let left = left(answer.expiry_timestamp_ms);
                told.push(format!("renew {what}: {} {left}", answer.error_code));
                // One that has ended cannot be renewed.
                let answer = client.call(version, &expire(hmac, period_ms.max(60_000)))?;
                let left = self::left(answer.expiry_timestamp_ms);
                told.push(format!("expire {what}: {} {left}", answer.error_code));
            }
        }
        let answer = bob.call(version, &expire(&of_alice, -1))?;
        told.push(format!("end v{version} another's: {answer:?}"));
        let answer = bob.call(version, &expire(&by_bob, -1))?;
        told.push(format!(
            "end v{version}: {} {}",
            answer.error_code,
            left(answer.expiry_timestamp_ms)
        ));
        count -= 1;
        wait_for(&mut alice, count)?;
        let answer = bob.call(version, &expire(&by_bob, -1))?;
        told.push(format!("end v{version} again: {answer:?}"));
    }
    Ok(told)
}

/// How far away a time is, in tens of seconds.
fn left(at_ms: i64) -> i64 {
    match at_ms {
        ..=0 => at_ms,
        _ => (at_ms - broker::clock::system_ms() + 5_000).div_euclid(10_000),
    }
}

/// What differs.
pub fn compare([ottla, kafka]: &[Secured; 2], wrong: &mut Vec<String>) -> Result<()> {
    let (by_ottla, by_kafka) = both(|| told(ottla), || told(kafka));
    let (by_ottla, by_kafka) = (by_ottla?, by_kafka?);
    ensure!(by_ottla.len() == by_kafka.len());
    for (by_ottla, by_kafka) in by_ottla.into_iter().zip(by_kafka) {
        if by_ottla != by_kafka {
            wrong.push(format!("Ottla {by_ottla}\nKafka {by_kafka}"));
        }
    }
    Ok(())
}

/// What differs in the transcripts of the tool, where there are no tokens yet.
pub fn compare_tool([ottla, kafka]: &[Secured; 2], wrong: &mut Vec<String>) -> Result<()> {
    let Some(tools) = toolchain::available(KafkaTools::new())? else {
        return Ok(());
    };
    let run = |broker: &Secured| {
        let mut command = tools.command("TokenTools", &[&broker.login.to_string()]);
        toolchain::run(&mut command)
    };
    let (by_ottla, by_kafka) = both(|| run(ottla), || run(kafka));
    let (by_ottla, by_kafka) = (by_ottla?, by_kafka?);
    ensure!(by_kafka.trim_end().ends_with("end"), "{by_kafka}");
    if by_ottla != by_kafka {
        wrong.push(format!("Ottla:\n{by_ottla}\nKafka:\n{by_kafka}"));
    }
    let log = ottla.broker.log();
    ensure!(!log.contains("key-secret"), "{log}");
    Ok(())
}

/// What a broker has of users, rights, quotas and tokens; none of them by chance.
fn kept(broker: &Secured) -> Result<String> {
    let mut admin = RawClient::connect(broker.broker.address())?;
    let every = DescribeAclsRequest::default()
        .with_resource_type_filter(1)
        .with_resource_name_filter(None)
        .with_pattern_type_filter(1)
        .with_principal_filter(None)
        .with_host_filter(None)
        .with_operation(1)
        .with_permission_type(1);
    let acls = admin.call(3, &every)?.resources;
    let quotas = admin.call(1, &DescribeClientQuotasRequest::default())?;
    let users = DescribeUserScramCredentialsRequest::default().with_users(None);
    let mut users = admin.call(0, &users)?.results;
    users.sort_by(|one, other| one.user.cmp(&other.user));
    for user in &mut users {
        user.credential_infos.sort_by_key(|info| info.mechanism);
    }
    let mut tokens = logged_in(broker, "alice")?.call(3, &describe(None))?.tokens;
    tokens.retain(|token| token.max_timestamp - token.issue_timestamp > 60_000);
    tokens.sort_by(|one, other| one.token_id.cmp(&other.token_id));
    ensure!(
        !users.is_empty() && !tokens.is_empty(),
        "{users:?} {tokens:?}"
    );
    Ok(format!(
        "{acls:#?}\n{:#?}\n{users:#?}\n{tokens:#?}",
        quotas.entries
    ))
}

fn set_quota(broker: &Secured, bytes: f64) -> Result<()> {
    let user = EntityData::default()
        .with_entity_type(string("user"))
        .with_entity_name(Some(string("alice")));
    let rate = OpData::default()
        .with_key(string("producer_byte_rate"))
        .with_value(bytes);
    let entry = EntryData::default()
        .with_entity(vec![user])
        .with_ops(vec![rate]);
    let request = AlterClientQuotasRequest::default().with_entries(vec![entry]);
    let answer = RawClient::connect(broker.broker.address())?.call(1, &request)?;
    ensure!(answer.entries[0].error_code == 0, "{answer:?}");
    Ok(())
}

/// What Kafka's directory says of users, rights, quotas and tokens is so with Ottla, too; and a kill takes back nothing that
/// is changed there.
pub fn import(kafka: &mut Secured) -> Result<()> {
    if cluster::leaves_out("import") {
        return Ok(());
    }
    let entry = AclCreation::default()
        .with_resource_type(7)
        .with_resource_name(string("User:carol"))
        .with_resource_pattern_type(3)
        .with_principal(string("User:bob"))
        .with_host(string("*"))
        .with_operation(14)
        .with_permission_type(3);
    let acls = CreateAclsRequest::default().with_creations(vec![entry]);
    let made = RawClient::connect(kafka.broker.address())?.call(3, &acls)?;
    ensure!(made.results[0].error_code == 0, "{made:?}");
    set_quota(kafka, 1e9)?;
    // What Kafka has answered everybody can see a moment later.
    let deadline = Instant::now() + Duration::from_secs(10);
    let before = loop {
        let kept = kept(kafka)?;
        if kept.contains("User:bob") && kept.contains("producer_byte_rate") {
            break kept;
        }
        ensure!(Instant::now() < deadline, "{kept}");
        std::thread::sleep(Duration::from_millis(20));
    };
    kafka.broker.terminate()?;

    let mut ottla = Secured::stopped(BrokerKind::Ottla, PROPERTIES)?;
    let imported = Command::new(ottla_binary()?)
        .arg("import")
        .arg(kafka.broker.data_dir())
        .arg("--data-dir")
        .arg(ottla.broker.data_dir())
        .output()?;
    let said = String::from_utf8_lossy(&imported.stdout);
    ensure!(
        imported.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&imported.stderr)
    );
    ensure!(said.contains("delegation tokens are taken over"), "{said}");
    ottla.broker.restart()?;
    let after = kept(&ottla)?;
    ensure!(after == before, "Ottla {after}\nKafka {before}");
    let told = run(
        client("confluent-kafka")?,
        &ottla,
        &log_in("SCRAM-SHA-512", "alice", "alice-secret"),
    )?;
    ensure!(
        told.as_ref().is_none_or(|told| told.contains("read value")),
        "{told:?}"
    );

    set_quota(&ottla, 2e9)?;
    let changed = kept(&ottla)?;
    ensure!(changed != before);
    ottla.broker.kill9()?;
    ottla.broker.restart()?;
    let after = kept(&ottla)?;
    ensure!(after == changed, "{after}\nbefore the kill {changed}");
    Ok(())
}
