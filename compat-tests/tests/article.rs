//! Consumer groups as an article on kafka-python would show them, with the client that most people still
//! run and with the newest. The programs are in `clients/kafka-python/`; they say what happened, and the
//! tests here what should have.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use compat_tests::java::KafkaTools;
use compat_tests::python::Python;
use compat_tests::{BrokerProcess, Program, available};

const LIMIT: Duration = Duration::from_secs(240);

/// A broker and one version of kafka-python.
struct Scenario {
    broker: BrokerProcess,
    python: Python,
    version: &'static str,
}

impl Scenario {
    fn new(version: &'static str) -> Result<Option<Self>> {
        Self::with_config(version, &[])
    }

    fn with_config(version: &'static str, config: &[(&str, &str)]) -> Result<Option<Self>> {
        let Some(python) = available(Python::with("kafka-python", version))? else {
            return Ok(None);
        };
        // Members that die without a goodbye are found out in three seconds instead of in six.
        let config = [&[("group.min.session.timeout.ms", "1000")], config].concat();
        let broker = available(BrokerProcess::start_with(&config))?;
        Ok(broker.map(|broker| Self {
            broker,
            python,
            version,
        }))
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let bootstrap = self.broker.bootstrap();
        let mut all = vec![bootstrap.as_str()];
        all.extend(args);
        self.python.command(program, &all)
    }

    fn start(&self, program: &str, args: &[&str]) -> Result<Program> {
        Program::start(self.command(program, args), LIMIT)
    }

    /// Runs a program to its end and gives its result.
    fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        self.finish(self.start(program, args)?)
    }

    fn finish(&self, program: Program) -> Result<String> {
        program.finish().with_context(|| self.broker.log_tail())
    }

    /// Kills the broker with -9 when the program has written a line, and starts it again.
    fn kill_at(&mut self, program: &mut Program, line: &str) -> Result<()> {
        program
            .wait_for_line(line)
            .with_context(|| self.broker.log_tail())?;
        self.broker.kill9()?;
        self.broker.restart()
    }

    /// Whether a batch that the producer sends again is stored once.
    fn producer_is_idempotent(&self) -> bool {
        self.version != "2.0.2"
    }
}

/// Each rule below becomes one test for each version of the client.
macro_rules! rules {
    ($($(#[$attribute:meta])* $rule:ident)*) => {
        mod kafka_python_2_0_2 {
            $($(#[$attribute])* #[test] fn $rule() -> anyhow::Result<()> { super::$rule("2.0.2") })*
        }
        mod kafka_python_3_0_12 {
            $($(#[$attribute])* #[test] fn $rule() -> anyhow::Result<()> { super::$rule("3.0.12") })*
        }
    };
}

rules! {
    one_consumer_counts_the_successful_logins_exactly
    a_broker_killed_while_logins_are_counted_loses_none
    three_consumers_share_a_topic_that_grows_and_a_second_run_finds_nothing_left
    a_broker_killed_while_three_consumers_count_loses_none
    consumers_beyond_the_partitions_get_nothing_until_one_leaves
    one_consumer_of_three_partitions_sees_each_in_its_order
    two_groups_read_one_topic_independently
    a_rebalance_under_traffic_gives_each_partition_one_owner_and_loses_no_event
    a_broker_killed_between_rebalances_loses_no_event
    the_range_assignor_gives_neighbouring_partitions_topic_by_topic
    the_round_robin_assignor_deals_partitions_out_in_turn
    the_sticky_assignor_moves_no_more_than_it_must
    a_consumer_without_group_id_commits_nothing
    auto_offset_reset_earliest_starts_at_the_first_record
    auto_offset_reset_latest_starts_behind_the_last_record
    auto_offset_reset_none_refuses_to_guess
    auto_commit_commits_only_where_it_is_enabled
    max_poll_records_bounds_each_batch_and_drops_nothing
    a_consumer_that_exceeds_max_poll_interval_loses_its_partitions
    the_lag_of_a_group_is_shown_by_kafkas_own_tool
}

fn one_consumer_counts_the_successful_logins_exactly(version: &'static str) -> Result<()> {
    let Some(scenario) = Scenario::new(version)? else {
        return Ok(());
    };
    assert_eq!(
        scenario.run("count_successful_logins.py", &["300"])?,
        r#"{"committed": 300, "end_offset": 300, "events": 300, "records_read": 300, "successes": 200}"#
    );
    Ok(())
}

fn a_broker_killed_while_logins_are_counted_loses_none(version: &'static str) -> Result<()> {
    let Some(mut scenario) = Scenario::new(version)? else {
        return Ok(());
    };
    let mut counting = scenario.start("count_successful_logins.py", &["900", "3"])?;
    scenario.kill_at(&mut counting, "# counted 300")?;
    let result = scenario.finish(counting)?;
    if scenario.producer_is_idempotent() {
        assert_eq!(
            result,
            r#"{"committed": 900, "end_offset": 900, "events": 900, "records_read": 900, "successes": 600}"#
        );
    } else {
        // A batch whose acknowledgement died with the broker is stored twice: the count of users is exact.
        assert!(
            result.contains(r#""events": 900,"#) && result.ends_with(r#""successes": 600}"#),
            "{result}"
        );
    }
    Ok(())
}

fn three_consumers_share_a_topic_that_grows_and_a_second_run_finds_nothing_left(
    version: &'static str,
) -> Result<()> {
    let Some(scenario) = Scenario::new(version)? else {
        return Ok(());
    };
    assert_eq!(
        scenario.run("count_logins_in_a_group.py", &["300"])?,
        r#"{"end_offsets": 300, "processed_records": 300, "processed_users": 300}"#
    );
    assert_eq!(
        scenario.run("count_logins_in_a_group.py", &["0"])?,
        r#"{"end_offsets": 300, "processed_records": 0, "processed_users": 0}"#
    );
    Ok(())
}

fn a_broker_killed_while_three_consumers_count_loses_none(version: &'static str) -> Result<()> {
    let Some(mut scenario) = Scenario::new(version)? else {
        return Ok(());
    };
    let mut counting = scenario.start("count_logins_in_a_group.py", &["600", "5"])?;
    scenario.kill_at(&mut counting, "# grown")?;
    let result = scenario.finish(counting)?;
    assert!(result.ends_with(r#""processed_users": 600}"#), "{result}");
    if scenario.producer_is_idempotent() {
        assert!(
            result.contains(r#""end_offsets": 600, "processed_records": 600"#),
            "{result}"
        );
    }
    let again = scenario.run("count_logins_in_a_group.py", &["0"])?;
    assert!(
        again.ends_with(r#""processed_records": 0, "processed_users": 0}"#),
        "{again}"
    );
    Ok(())
}

fn consumers_beyond_the_partitions_get_nothing_until_one_leaves(
    version: &'static str,
) -> Result<()> {
    let Some(scenario) = Scenario::new(version)? else {
        return Ok(());
    };
    assert_eq!(
        scenario.run("more_consumers_than_partitions.py", &[])?,
        r#"{"distinct": 200, "idle": 2, "processed": 200, "received_by_idle": 0, "took_over": 1}"#
    );
    Ok(())
}

fn one_consumer_of_three_partitions_sees_each_in_its_order(version: &'static str) -> Result<()> {
    let Some(scenario) = Scenario::new(version)? else {
        return Ok(());
    };
    assert_eq!(
        scenario.run("order_within_a_partition.py", &["600"])?,
        r#"{"events": 600, "interleaved": true, "partitions_in_order": 3}"#
    );
    Ok(())
}

fn two_groups_read_one_topic_independently(version: &'static str) -> Result<()> {
    let Some(scenario) = Scenario::new(version)? else {
        return Ok(());
    };
    assert_eq!(
        scenario.run("two_groups.py", &[])?,
        concat!(
            r#"{"auditors": true, "auditors_second_start": 40, "committed": {"auditors": 40, "counters": 100}, "#,
            r#""counters": true, "counters_second_start": 100}"#
        )
    );
    Ok(())
}

fn a_rebalance_under_traffic_gives_each_partition_one_owner_and_loses_no_event(
    version: &'static str,
) -> Result<()> {
    let Some(scenario) = Scenario::new(version)? else {
        return Ok(());
    };
    assert_eq!(
        scenario.run("rebalance_under_traffic.py", &[])?,
        concat!(
            r#"{"committed_everything": true, "lost": 0, "out_of_order": 0, "partitions_with_two_owners": 0, "#,
            r#""read_again_without_a_death": 0}"#
        )
    );
    Ok(())
}

fn a_broker_killed_between_rebalances_loses_no_event(version: &'static str) -> Result<()> {
    let Some(mut scenario) = Scenario::new(version)? else {
        return Ok(());
    };
    let mut traffic = scenario.start("rebalance_under_traffic.py", &[])?;
    scenario.kill_at(&mut traffic, "# stable: a, b, c")?;
    scenario.kill_at(&mut traffic, "# stable: b, c")?;
    let result = scenario.finish(traffic)?;
    // What was read but not committed when the broker died may be read again.
    let expected = concat!(
        r#"{"committed_everything": true, "lost": 0, "out_of_order": 0, "partitions_with_two_owners": 0, "#,
        r#""read_again_without_a_death": "#
    );
    assert!(result.starts_with(expected), "{result}");
    Ok(())
}

fn the_range_assignor_gives_neighbouring_partitions_topic_by_topic(
    version: &'static str,
) -> Result<()> {
    let Some(scenario) = Scenario::new(version)? else {
        return Ok(());
    };
    assert_eq!(
        scenario.run("assignors.py", &["range"])?,
        r#"{"a": ["left-0", "left-1", "right-0", "right-1"], "b": ["left-2", "right-2"]}"#
    );
    Ok(())
}

fn the_round_robin_assignor_deals_partitions_out_in_turn(version: &'static str) -> Result<()> {
    let Some(scenario) = Scenario::new(version)? else {
        return Ok(());
    };
    assert_eq!(
        scenario.run("assignors.py", &["roundrobin"])?,
        r#"{"a": ["left-0", "left-2", "right-1"], "b": ["left-1", "right-0", "right-2"]}"#
    );
    Ok(())
}

fn the_sticky_assignor_moves_no_more_than_it_must(version: &'static str) -> Result<()> {
    if version == "2.0.2" {
        // On Python 3 its members die of a TypeError when they join a second time: what they keep cannot be
        // seen, only that all who come in time for the first generation get the same.
        let delay = [("group.initial.rebalance.delay.ms", "4000")];
        let Some(scenario) = Scenario::with_config(version, &delay)? else {
            return Ok(());
        };
        let result = scenario.run("assignors.py", &["sticky", "first-generation"])?;
        assert_eq!(result, r#"{"counts": [2, 2, 2], "generation": 1}"#);
        return Ok(());
    }
    let Some(scenario) = Scenario::new(version)? else {
        return Ok(());
    };
    assert_eq!(
        scenario.run("assignors.py", &["sticky"])?,
        concat!(
            r#"{"counts": [[2, 2, 2], [3, 3], [2, 2, 2]], "kept_when_one_joined": [2, 2], "#,
            r#""kept_when_one_left": [2, 2]}"#
        )
    );
    Ok(())
}

fn a_consumer_without_group_id_commits_nothing(version: &'static str) -> Result<()> {
    let Some(scenario) = Scenario::new(version)? else {
        return Ok(());
    };
    assert_eq!(
        scenario.run("consumer_settings.py", &["group_id"])?,
        r#"{"commit_refused": true, "groups": [], "read": 10, "read_again": 10}"#
    );
    Ok(())
}

fn auto_offset_reset_earliest_starts_at_the_first_record(version: &'static str) -> Result<()> {
    let Some(scenario) = Scenario::new(version)? else {
        return Ok(());
    };
    let result = scenario.run("consumer_settings.py", &["earliest"])?;
    assert_eq!(result, r#"{"first_offset": 0, "read": 10}"#);
    Ok(())
}

fn auto_offset_reset_latest_starts_behind_the_last_record(version: &'static str) -> Result<()> {
    let Some(scenario) = Scenario::new(version)? else {
        return Ok(());
    };
    let result = scenario.run("consumer_settings.py", &["latest"])?;
    assert_eq!(result, r#"{"first_offset": 10, "read": 10}"#);
    Ok(())
}

fn auto_offset_reset_none_refuses_to_guess(version: &'static str) -> Result<()> {
    let Some(scenario) = Scenario::new(version)? else {
        return Ok(());
    };
    let result = scenario.run("consumer_settings.py", &["none"])?;
    assert_eq!(result, r#"{"error": "NoOffsetForPartitionError"}"#);
    Ok(())
}

fn auto_commit_commits_only_where_it_is_enabled(version: &'static str) -> Result<()> {
    let Some(scenario) = Scenario::new(version)? else {
        return Ok(());
    };
    assert_eq!(
        scenario.run("consumer_settings.py", &["enable_auto_commit"])?,
        r#"{"disabled": null, "enabled": 10, "enabled_while_open": 10}"#
    );
    Ok(())
}

fn max_poll_records_bounds_each_batch_and_drops_nothing(version: &'static str) -> Result<()> {
    let Some(scenario) = Scenario::new(version)? else {
        return Ok(());
    };
    let result = scenario.run("consumer_settings.py", &["max_poll_records"])?;
    assert_eq!(
        result,
        r#"{"in_order": true, "largest_batch": 7, "read": 100}"#
    );
    Ok(())
}

fn a_consumer_that_exceeds_max_poll_interval_loses_its_partitions(
    version: &'static str,
) -> Result<()> {
    let Some(scenario) = Scenario::new(version)? else {
        return Ok(());
    };
    assert_eq!(
        scenario.run("consumer_settings.py", &["max_poll_interval_ms"])?,
        r#"{"commit_of_the_slow": "CommitFailedError", "read_by_the_slow": 10, "taken_over": 10}"#
    );
    Ok(())
}

fn the_lag_of_a_group_is_shown_by_kafkas_own_tool(version: &'static str) -> Result<()> {
    let Some(tools) = available(KafkaTools::new())? else {
        return Ok(());
    };
    let Some(scenario) = Scenario::new(version)? else {
        return Ok(());
    };
    let mut member = scenario.start("lag.py", &[])?;
    let ready = member
        .wait_for_line("# ready ")
        .with_context(|| scenario.broker.log_tail())?;
    let member_id = ready.trim_start_matches("# ready ");
    let bootstrap = scenario.broker.bootstrap();
    let describe = [
        "--bootstrap-server",
        &bootstrap,
        "--describe",
        "--group",
        "laggards",
    ];
    let table = tools.run(
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        &describe,
    )?;
    scenario.finish(member)?;

    let mut rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_ascii_whitespace().collect())
        .filter(|row: &Vec<&str>| row.first() == Some(&"laggards"))
        .collect();
    rows.sort();
    // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID HOST CLIENT-ID
    let row = |partition, current, end, lag| {
        vec![
            "laggards",
            "user_logins",
            partition,
            current,
            end,
            lag,
            member_id,
            "/127.0.0.1",
            "laggard",
        ]
    };
    let expected = vec![
        row("0", "10", "10", "0"),
        row("1", "4", "20", "16"),
        row("2", "-", "0", "-"),
    ];
    assert_eq!(rows, expected, "{table}");
    Ok(())
}
