//! Every announced API in every version, and what is odd of each: see `clients/java/Sweep.java`, which sends it and has
//! Kafka's own classes read the answers. What is compared is whether there is one, its lists and its error codes.

use std::io::Write as _;
use std::ops::RangeInclusive;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use compat_tests::BrokerProcess;
use compat_tests::java::KafkaTools;
use compat_tests::scenario::comparison::{Difference, differences};
use compat_tests::scenario::{Exchange, Talk};
use kafka_protocol::messages::ApiVersionsRequest;
use protocol_shim::api_spec::{self, ApiSpec};

pub const NAME: &str = "sweep";

/// Sends the same to both and gives what they answer differently.
///
/// # Errors
/// The program fails; Ottla answers what Kafka's classes do not read to the end.
pub fn compare(kafka: &BrokerProcess, ottla: &BrokerProcess) -> Result<Vec<Difference>> {
    let brokers = [kafka.bootstrap(), ottla.bootstrap()];
    let announced = announced(ottla)?;
    let answers = run(&brokers, &announced)?;
    let [by_kafka, by_ottla] = brokers
        .each_ref()
        .map(|broker| transcript(&answers, broker));
    for (spec, _) in announced {
        let name = format!("{} v{} ", spec.name, spec.max_version);
        let is_swept = by_ottla
            .iter()
            .any(|exchange| exchange.label.starts_with(&name));
        ensure!(is_swept, "{} is announced and was not asked", spec.name);
    }
    for exchange in &by_ottla {
        match &exchange.values[..] {
            [(place, outcome), ..]
                if place == "outcome" && (outcome == "answered" || outcome == "closed") => {}
            other => bail!("{}: {other:?}", exchange.label),
        }
    }
    differences(NAME, &by_kafka, &by_ottla)
}

/// The APIs that a broker announces, with their versions.
fn announced(broker: &BrokerProcess) -> Result<Vec<(&'static ApiSpec, RangeInclusive<i16>)>> {
    let response = Talk::new(broker).quietly(0, &ApiVersionsRequest::default())?;
    let announced = response.api_keys.iter().map(|api| {
        let spec = api_spec::spec(api.api_key).context("nobody knows the API")?;
        Ok((
            spec,
            spec.min_version.max(api.min_version)..=api.max_version,
        ))
    });
    announced.collect()
}

fn run(
    brokers: &[String],
    announced: &[(&'static ApiSpec, RangeInclusive<i16>)],
) -> Result<String> {
    let brokers: Vec<&str> = brokers.iter().map(String::as_str).collect();
    let mut program = KafkaTools::new()?.command("Sweep", &brokers);
    program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut program = program.spawn()?;
    let apis: String = announced
        .iter()
        .map(|(spec, versions)| {
            let (first, last) = (versions.start(), versions.end());
            format!("{} {first} {last}\n", spec.api_key)
        })
        .collect();
    // It ends the list.
    program
        .stdin
        .take()
        .context("it was piped")?
        .write_all(apis.as_bytes())?;
    let output = program.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {errors}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// What one broker has answered: lines of broker, request, place and value.
fn transcript(answers: &str, broker: &str) -> Vec<Exchange> {
    let mut transcript: Vec<Exchange> = Vec::new();
    for line in answers.lines() {
        let mut words = line.split('\t').map(str::to_owned);
        if words.next().as_deref() != Some(broker) {
            continue;
        }
        let (Some(label), Some(place), Some(value)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        match transcript.last_mut() {
            Some(exchange) if exchange.label == label => exchange.values.push((place, value)),
            _ => transcript.push(Exchange {
                label,
                values: vec![(place, value)],
            }),
        }
    }
    transcript
}
