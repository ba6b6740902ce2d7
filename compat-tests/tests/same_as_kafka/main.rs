//! The same requests to real Kafka and to Ottla: every field of every answer is the same, or the difference
//! stands in [`deliberate::TABLE`] with its reason. An entry of the table that is not needed any more fails too.
//!
//! A scenario is a list of raw requests in chosen versions (see [`compat_tests::scenario`]). What the two
//! cannot have in common (ids, ports, times) is named by its first appearance; of texts for people only
//! whether there is one is compared. The last one, [`sweep`], goes through every API and version by itself.
//!
//! Needs Java and Maven, for Kafka's jars; skipped where they are not. `SCENARIO=name` runs the scenarios whose names
//! begin so, and leaves the table's completeness unchecked.

mod broker_configs;
mod classic_group;
mod cluster;
mod configs;
mod consumer_group;
mod deliberate;
mod fetch;
mod group_admin;
mod last_epochs;
mod later;
mod list_offsets;
mod markers;
mod metadata;
mod migration;
mod offsets;
mod produce;
mod produce_compressed;
mod quotas;
mod replicas;
mod sweep;
mod telemetry;
mod topics;
mod transactional_ids;
mod transactions;

use anyhow::{Context as _, Result, ensure};
use compat_tests::scenario::comparison::{Verdict, differences, judge_of};
use compat_tests::scenario::{Exchange, Talk};
use compat_tests::{BrokerKind, BrokerProcess, RawClient, toolchain};

type Scenario = fn(&mut Talk<'_>) -> Result<()>;

/// In this order: the first ones look at everything that there is.
const SCENARIOS: &[(&str, Scenario)] = &[
    ("api versions", cluster::api_versions),
    ("cluster", cluster::describe_cluster),
    ("metadata of all topics", metadata::all_topics),
    ("metadata of some topics", metadata::some_topics),
    ("metadata creates topics", metadata::auto_creation),
    ("create topics", topics::create),
    ("delete topics", topics::delete),
    ("create partitions", topics::grow),
    ("describe topic partitions", topics::describe_partitions),
    ("describe configs", configs::describe),
    ("describe broker configs", configs::describe_broker),
    ("alter configs", configs::alter),
    ("incremental alter configs", configs::alter_incrementally),
    ("broker configs", broker_configs::set),
    ("broker configs replaced", broker_configs::replace_all),
    ("broker configs edited", broker_configs::edit),
    ("broker configs of listeners", broker_configs::others),
    (
        "broker configs described",
        broker_configs::change_and_describe,
    ),
    ("produce", produce::errors_of_requests),
    ("produce invalid batches", produce::invalid_batches),
    ("produce idempotently", produce::idempotent),
    ("produce compressed batches", produce_compressed::streams),
    ("produce to transactions", produce::transactional),
    ("produce timestamps", produce::timestamps),
    ("produce twice", produce::repeated),
    ("init producer id", produce::init_producer_id),
    ("fetch", fetch::offsets_and_errors),
    ("fetch limits", fetch::limits),
    ("fetch sessions", fetch::sessions),
    ("list offsets", list_offsets::places_and_times),
    ("offset for leader epoch", list_offsets::leader_epochs),
    ("delete records", list_offsets::delete_records),
    ("find coordinator", cluster::find_coordinator),
    ("group of one", classic_group::one_member),
    ("group join errors", classic_group::join_errors),
    ("group of two", classic_group::two_members),
    ("group of static members", classic_group::static_members),
    ("commit offsets", offsets::commit),
    ("commit text that is not UTF-8", offsets::commit_not_utf8),
    ("commit offsets as a member", offsets::commit_as_member),
    ("fetch offsets", offsets::fetch),
    ("delete offsets", offsets::delete),
    ("describe groups", group_admin::describe),
    ("list groups", group_admin::list),
    ("delete groups", group_admin::delete),
    ("groups without a name", group_admin::nameless),
    ("consumer group epochs", consumer_group::epochs),
    ("consumer group emptied", consumer_group::emptied),
    ("migration both ways", migration::both_ways),
    ("migration of static members", migration::static_members),
    ("migration of a rebalancing group", migration::rebalancing),
    ("migration records", migration::records),
    ("migration refused", migration::refusals),
    ("migration timeouts", migration::timeouts),
    ("log dirs", cluster::describe_log_dirs),
    ("security", later::security),
    ("quotas", quotas::alter_and_describe),
    ("quotas throttle", quotas::throttle),
    ("transactions", later::transactions),
    ("transactional producers", transactions::init_producers),
    ("transactional partitions", transactions::add),
    ("transactional ends", transactions::end),
    ("transactional reads", transactions::read),
    ("transactional offsets", transactions::commit_offsets),
    ("transactional descriptions", transactions::describe),
    ("markers without data", markers::without_data),
    ("transactional ids end", transactional_ids::ends),
    ("transactional ids begin", transactional_ids::inits),
    ("transactional ids grow", transactional_ids::adds),
    ("transactional ids time out", transactional_ids::timeout),
    ("replicas", later::replicas),
    ("replicas' directories", replicas::log_dirs),
    ("reassignments", replicas::reassignments),
    ("features", replicas::features),
    ("unregister broker", replicas::unregister),
    ("client metrics", telemetry::reports),
    ("clients that report, by connection", telemetry::connections),
];

/// What both brokers are started with; most of it is what makes Kafka run as a single node.
const CONFIG: &[(&str, &str)] = &[
    ("offsets.topic.num.partitions", "1"),
    // Of several brokers one coordinates all groups, and one all transactions.
    ("transaction.state.log.num.partitions", "1"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
    // Somebody who takes metrics of clients (`clients/java/Reports.java`): without one Kafka does not ask for them.
    ("metric.reporters", "Reports"),
    // Short enough to wait for.
    ("group.min.session.timeout.ms", "1000"),
    ("group.consumer.min.session.timeout.ms", "1000"),
    ("group.consumer.min.heartbeat.interval.ms", "500"),
    ("group.consumer.assignment.interval.ms", "0"),
    (
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        "100",
    ),
    // Their records may be older than the retention time: nothing is deleted while this runs.
    ("log.initial.task.delay.ms", "3600000"),
];

#[test]
fn every_answer_is_that_of_kafka_or_its_difference_is_meant() -> Result<()> {
    let started = BrokerProcess::start_as(BrokerKind::Kafka, CONFIG, &[]);
    let Some(kafka) = toolchain::available(started)? else {
        return Ok(());
    };
    let config = [CONFIG, &[("ottla.client.metrics", "true")]].concat();
    let ottla = BrokerProcess::start_as(BrokerKind::Ottla, &config, &[])?;
    for broker in [&kafka, &ottla] {
        RawClient::connect(broker.address())?.to_coordinator("any group")?;
    }

    let chosen = std::env::var("SCENARIO").unwrap_or_default();
    let mut found = Vec::new();
    let mut failed = Vec::new();
    for (name, scenario) in SCENARIOS
        .iter()
        .filter(|(name, _)| name.starts_with(&chosen))
    {
        let compared = run(*scenario, &kafka)
            .context("Kafka")
            .and_then(|by_kafka| {
                let by_ottla = run(*scenario, &ottla).context("Ottla")?;
                differences(name, &by_kafka, &by_ottla)
            });
        match compared {
            Ok(mut differences) => found.append(&mut differences),
            Err(error) => failed.push(format!("{name}: {error:#}")),
        }
    }

    if sweep::NAME.starts_with(&chosen) {
        match sweep::compare(&kafka, &ottla) {
            Ok(mut differences) => found.append(&mut differences),
            Err(error) => failed.push(format!("{}: {error:#}", sweep::NAME)),
        }
    }

    let (meant, of_several) = (deliberate::TABLE, deliberate::OF_SEVERAL);
    let mut verdict = judge_of(ottla.count(), found, meant, of_several);
    if !chosen.is_empty() {
        verdict.outdated.clear();
    }
    tell(&verdict, &failed)
}

/// They have an id's coordinator begin where requests would not get to, so they have brokers of their own.
#[test]
fn the_last_epochs_of_a_producer_are_those_of_kafka() -> Result<()> {
    let started = BrokerProcess::start_as(BrokerKind::Kafka, CONFIG, &[]);
    let Some(mut kafka) = toolchain::available(started)? else {
        return Ok(());
    };
    let mut ottla = BrokerProcess::start_as(BrokerKind::Ottla, CONFIG, &[])?;
    last_epochs::prepare(&mut kafka).context("Kafka")?;
    last_epochs::prepare(&mut ottla).context("Ottla")?;
    let by_kafka = run(last_epochs::run, &kafka).context("Kafka")?;
    let by_ottla = run(last_epochs::run, &ottla).context("Ottla")?;
    let found = differences("last epochs", &by_kafka, &by_ottla)?;
    tell(
        &judge_of(ottla.count(), found, last_epochs::TABLE, &[]),
        &[],
    )
}

/// Says what is not as it should be.
///
/// # Errors
/// There is such a thing.
fn tell(verdict: &Verdict, failed: &[String]) -> Result<()> {
    for difference in &verdict.unexpected {
        println!("{difference}");
    }
    for failure in failed {
        println!("FAILED {failure}");
    }
    for outdated in &verdict.outdated {
        println!("not a difference any more, remove it from the table: {outdated:?}");
    }
    let (unexpected, outdated) = (verdict.unexpected.len(), verdict.outdated.len());
    ensure!(
        failed.is_empty() && unexpected + outdated == 0,
        "{} scenarios failed, {unexpected} unexpected differences, {outdated} outdated entries: see above",
        failed.len(),
    );
    Ok(())
}

fn run(scenario: Scenario, broker: &BrokerProcess) -> Result<Vec<Exchange>> {
    let mut talk = Talk::new(broker);
    scenario(&mut talk)?;
    Ok(talk.into_transcript())
}
