//! Stock clients log in, with the right password and with a wrong one, and go on when their time is over.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use compat_tests::{BrokerKind, toolchain};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

use super::Secured;
use super::client_programs::{CLIENTS, Client, client};
use super::same_log_ins::make_alice;

/// One log-in of one client.
pub struct LogIn<'a> {
    mechanism: &'a str,
    user: &'a str,
    password: &'a str,
    seconds: u32,
}

/// What a client tells; `None`: its toolchain is missing.
pub fn run(client: &Client, broker: &Secured, log_in: &LogIn<'_>) -> Result<Option<String>> {
    let Some(mut command): Option<Command> = toolchain::available((client.command)())? else {
        return Ok(None);
    };
    command.arg(broker.login.to_string());
    command.args([log_in.mechanism, log_in.user, log_in.password, "topic"]);
    command.arg(log_in.seconds.to_string());
    Ok(Some(toolchain::run(&mut command)?))
}

fn start(properties: &[(&str, &str)]) -> Result<Secured> {
    let broker = Secured::start(BrokerKind::Ottla, properties)?;
    make_alice(&broker.broker)?;
    Ok(broker)
}

fn every_client(properties: &[(&str, &str)], log_ins: &[(LogIn<'_>, bool)]) -> Result<()> {
    let broker = start(properties)?;
    let only = std::env::var("SECURITY_CLIENT").ok();
    for client in CLIENTS {
        if only.as_deref().is_some_and(|only| only != client.name) {
            continue;
        }
        for (log_in, is_good) in log_ins {
            let LogIn {
                mechanism, user, ..
            } = log_in;
            let what = format!("{} with {mechanism} as {user}", client.name);
            let told = run(client, &broker, log_in).with_context(|| what.clone())?;
            let Some(told) = told else {
                continue;
            };
            let expected = if *is_good { "read value" } else { "refused" };
            ensure!(
                told.contains(expected),
                "{what}: {told}\n{}",
                broker.broker.log_tail()
            );
        }
    }
    let log = broker.broker.log();
    ensure!(!log.contains("-secret") && !log.contains("canary"), "{log}");
    Ok(())
}

pub const fn log_in<'a>(mechanism: &'a str, user: &'a str, password: &'a str) -> LogIn<'a> {
    LogIn {
        mechanism,
        user,
        password,
        seconds: 0,
    }
}

#[test]
fn every_client_logs_in_with_the_right_password_and_with_no_other() -> Result<()> {
    every_client(
        &[],
        &[
            (log_in("SCRAM-SHA-512", "alice", "alice-secret"), true),
            (log_in("PLAIN", "bob", "bob-secret"), true),
            (log_in("PLAIN", "alice", "canary"), false),
        ],
    )
}

/// `SECURITY_CLIENT=NAME` runs one client. Takes a minute.
#[test]
#[ignore = "waits for log-ins to run out: cargo test -p compat-tests --test security -- --ignored"]
fn every_client_goes_on_when_its_log_in_runs_out() -> Result<()> {
    let good = |mechanism, seconds| LogIn {
        mechanism,
        user: "alice",
        password: "alice-secret",
        seconds,
    };
    every_client(
        &[("connections.max.reauth.ms", "2000")],
        &[
            (good("SCRAM-SHA-256", 7), true),
            (good("PLAIN", 5), true),
            (log_in("SCRAM-SHA-256", "alice", "canary"), false),
            (log_in("SCRAM-SHA-512", "nobody", "canary"), false),
        ],
    )
}

const VALIDATOR: &str =
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler";

/// A token for alice, as an issuer signs it.
fn signed_by(issuer: &KeyPair) -> Result<String> {
    let now = broker::clock::system_ms() / 1000;
    let claims = serde_json::json!({
        "sub": "alice", "aud": "ottla", "iss": "those who issue", "iat": now, "exp": now + 300,
    });
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
    header.kid = Some("one".to_owned());
    let key = jsonwebtoken::EncodingKey::from_ec_der(&issuer.serialize_der());
    Ok(jsonwebtoken::encode(&header, &claims, &key)?)
}

/// The set of keys that tokens of an issuer are checked with.
fn keys_of(issuer: &KeyPair) -> serde_json::Value {
    let point = issuer.public_key_raw();
    let (x, y) = point[1..].split_at(32);
    serde_json::json!({ "keys": [{
        "kty": "EC", "crv": "P-256", "kid": "one", "use": "sig", "alg": "ES256",
        "x": BASE64.encode(x), "y": BASE64.encode(y),
    }] })
}

#[test]
fn a_client_with_a_token_that_its_issuer_has_signed_is_let_in_and_no_other() -> Result<()> {
    let issuer = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let dir = tempfile::tempdir()?;
    let keys = dir.path().join("keys.json");
    std::fs::write(&keys, keys_of(&issuer).to_string())?;
    let url = format!("file://{}", keys.display());
    let handler = "listener.name.login.oauthbearer.sasl.server.callback.handler.class";
    let broker = Secured::start(
        BrokerKind::Ottla,
        &[
            ("listener.name.login.sasl.enabled.mechanisms", "OAUTHBEARER"),
            (handler, VALIDATOR),
            (
                "listener.name.login.sasl.oauthbearer.jwks.endpoint.url",
                &url,
            ),
            (
                "listener.name.login.sasl.oauthbearer.expected.audience",
                "ottla",
            ),
        ],
    )?;
    let client = client("confluent-kafka")?;
    let stranger = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    for (issuer, expected) in [(&issuer, "read value"), (&stranger, "refused")] {
        let token = signed_by(issuer)?;
        let told = run(client, &broker, &log_in("OAUTHBEARER", "", &token))?;
        let log = broker.broker.log_tail();
        ensure!(
            told.is_none_or(|told| told.contains(expected)),
            "{expected}: {log}"
        );
        let signature = token.rsplit('.').next().context("a signature")?;
        ensure!(!broker.broker.log().contains(signature), "{log}");
    }
    Ok(())
}
