//! What clients are told while they log in, and of users, by Ottla and by Kafka: every field of every answer, in the order of
//! what is said over one connection.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use compat_tests::{BrokerKind, BrokerProcess, RawClient, toolchain};
use kafka_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, ApiVersionsRequest, DescribeUserScramCredentialsRequest,
    MetadataRequest, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::{Secured, tokens};

/// What a client says.
enum Say {
    Versions(i16),
    Handshake(i16, &'static str),
    /// In SaslAuthenticate, in some version.
    Token(i16, &'static [u8]),
    /// As it is.
    Raw(&'static [u8]),
    Metadata,
}

use Say::{Handshake, Metadata, Raw, Token, Versions};

const GOOD: &[u8] = b"\0alice\0alice-secret";
const WRONG: &[u8] = b"\0alice\0wrong";

/// What else comes between tokens Kafka decodes, to say that it is illegal. Ottla decodes nothing of a stranger but what is
/// said here, and closes the connection.
#[rustfmt::skip] // a table
const CONVERSATIONS: &[&[Say]] = &[
    &[Versions(3), Handshake(1, "PLAIN"), Token(2, GOOD), Metadata, Handshake(1, "PLAIN"), Token(2, GOOD), Metadata],
    &[Versions(0), Handshake(1, "PLAIN"), Token(0, GOOD), Metadata],
    &[Handshake(0, "PLAIN"), Raw(GOOD), Metadata],
    &[Handshake(0, "PLAIN"), Raw(WRONG)],
    &[Handshake(0, "SCRAM-SHA-512"), Raw(b"n,,n=alice"), Metadata],
    &[Handshake(1, "PLAIN"), Token(1, WRONG), Metadata],
    &[Handshake(1, "PLAIN"), Token(1, b"\0nobody\0alice-secret")],
    &[Handshake(1, "PLAIN"), Token(1, b"")],
    &[Handshake(1, "PLAIN"), Token(1, b"alice")],
    &[Handshake(1, "PLAIN"), Token(1, b"\0alice")],
    &[Handshake(1, "PLAIN"), Token(1, b"\0alice\0alice-secret\0\0")],
    &[Handshake(1, "PLAIN"), Token(1, b"\0\0alice-secret")],
    &[Handshake(1, "PLAIN"), Token(1, b"\0alice\0")],
    &[Handshake(1, "PLAIN"), Token(1, b"bob\0alice\0alice-secret")],
    &[Handshake(1, "PLAIN"), Token(1, b"bob\0alice\0wrong")],
    &[Handshake(1, "PLAIN"), Token(1, b"alice\0alice\0alice-secret"), Metadata],
    &[Handshake(1, "PLAIN"), Token(1, b"\0alice\0\xff")],
    &[Handshake(1, "GSSAPI")],
    &[Handshake(1, "")],
    &[Handshake(0, "plain")],
    &[Handshake(1, "SCRAM-SHA-256"), Token(2, b"n,,n=alice,r=")],
    &[Handshake(1, "SCRAM-SHA-256"), Token(2, b"y,,n=alice,r=abc")],
    &[Handshake(1, "SCRAM-SHA-256"), Token(2, b"n,a=bob,n=alice,r=abc")],
    &[Handshake(1, "SCRAM-SHA-512"), Token(2, b"n,,n=alice,r=abc"), Token(2, b"c=biws,r=abc,p=AQID")],
    &[Handshake(1, "SCRAM-SHA-512"), Token(2, b"n,,n=alice,r=abc"), Token(2, b"")],
    &[Handshake(1, "SCRAM-SHA-512"), Token(2, b"n,,n=alice,r=abc,x=y"), Token(2, b"nonsense"), Metadata],
    &[Metadata],
    &[Token(1, GOOD)],
    &[Raw(GOOD)],
    &[Raw(b"")],
    &[Versions(0), Versions(0), Metadata],
    &[Versions(0), Metadata],
    &[Versions(0), Token(1, GOOD)],
    &[Handshake(1, "PLAIN"), Handshake(1, "PLAIN")],
    &[Handshake(1, "PLAIN"), Versions(0), Metadata],
    &[Handshake(1, "PLAIN"), Raw(GOOD)],
];

/// Where a log-in holds for a minute. A mechanism that is not there Kafka answers with the connection's end then.
#[rustfmt::skip] // a table
const AGAIN: &[&[Say]] = &[
    &[Handshake(1, "PLAIN"), Token(2, GOOD), Handshake(1, "PLAIN"), Token(2, GOOD), Metadata, Handshake(1, "PLAIN"), Metadata],
    &[Handshake(1, "PLAIN"), Token(0, GOOD), Handshake(1, "PLAIN"), Token(1, WRONG)],
    &[Handshake(1, "PLAIN"), Token(2, GOOD), Handshake(1, "PLAIN"), Token(2, b"\0bob\0bob-secret")],
    &[Handshake(1, "PLAIN"), Token(2, GOOD), Handshake(1, "SCRAM-SHA-256"), Token(2, GOOD)],
    &[Handshake(1, "PLAIN"), Token(2, GOOD), Handshake(1, "PLAIN"), Versions(0)],
    &[Handshake(0, "PLAIN"), Raw(GOOD), Handshake(0, "PLAIN"), Raw(GOOD), Metadata],
    &[Handshake(1, "PLAIN"), Token(2, GOOD), Handshake(1, "SCRAM-SHA-512"), Metadata],
];

impl Say {
    /// What comes back; `None`: the connection's end.
    fn to(&self, client: &mut RawClient) -> Result<Option<String>> {
        let told = match self {
            // Which APIs there are is compared elsewhere.
            Versions(version) => {
                let request = ApiVersionsRequest::default()
                    .with_client_software_name(string("tester"))
                    .with_client_software_version(string("1"));
                let request = if *version < 3 {
                    ApiVersionsRequest::default()
                } else {
                    request
                };
                let told = client.call(*version, &request);
                told.map(|told| format!("versions: {}", told.error_code))
            }
            Handshake(version, mechanism) => {
                let request = SaslHandshakeRequest::default().with_mechanism(string(mechanism));
                client.call(*version, &request).map(|mut told| {
                    told.mechanisms.sort();
                    format!("{told:?}")
                })
            }
            Token(version, token) => {
                let request =
                    SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from_static(token));
                client.call(*version, &request).map(|mut told| {
                    // Nonce and salt are by chance.
                    if told.auth_bytes.starts_with(b"r=") {
                        told.auth_bytes = Bytes::from_static(b"a challenge");
                    }
                    format!("{told:?}")
                })
            }
            Raw(token) => {
                let length = (token.len() as i32).to_be_bytes();
                client.send(&[&length[..], token].concat())?;
                return Ok(client.receive()?.map(|told| format!("{told:?}")));
            }
            Metadata => {
                let told = client.call(9, &MetadataRequest::default());
                told.map(|told| format!("brokers: {}", !told.brokers.is_empty()))
            }
        };
        match told {
            Ok(told) => Ok(Some(told)),
            Err(error) if is_end(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn is_end(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("closed instead of answered") || error.is::<std::io::Error>()
}

fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn told(broker: &Secured, conversation: &[Say]) -> Result<Vec<Option<String>>> {
    let mut client = RawClient::connect(broker.login)?;
    let mut all = Vec::new();
    for say in conversation {
        all.push(say.to(&mut client)?);
        if all.last() == Some(&None) {
            break;
        }
    }
    Ok(all)
}

fn compare(both: &[Secured; 2], conversations: &[&[Say]], wrong: &mut Vec<String>) -> Result<()> {
    for (number, conversation) in conversations.iter().enumerate() {
        let of = |broker| told(broker, conversation).with_context(|| format!("{number}"));
        let (ottla, kafka) = (of(&both[0])?, of(&both[1])?);
        if ottla != kafka {
            wrong.push(format!("{number}: Ottla {ottla:#?}\nKafka {kafka:#?}"));
        }
    }
    Ok(())
}

/// `alice-secret` with the salt `salt` and 4096 iterations, as SCRAM-SHA-256 and SCRAM-SHA-512 salt it.
const SALTED: [&str; 2] = [
    "bf8f391db29020272d3610a3c2f7e537609b5c899100aac8d73e9d4b18c68ead",
    "4384db73e1554d68389c74b1302313f9805a7357ce83b813bf51e186112f637493d6c6f309838cf8cd991ba9975d3fa52c176c0a17381e4c01dc6f650208276d",
];

/// Lets `alice` log in with both hashes of SCRAM. Her password is `alice-secret`.
pub fn make_alice(broker: &BrokerProcess) -> Result<()> {
    let new = SALTED.iter().zip(1..).map(|(hex, mechanism)| {
        let bytes = (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..][..2], 16));
        let salted = bytes.collect::<Result<Vec<u8>, _>>()?;
        Ok(upsertion("alice", mechanism, 4096).with_salted_password(salted.into()))
    });
    let mut admin = RawClient::connect(broker.address())?;
    // A request may name a user once.
    for upsertion in new.collect::<Result<Vec<_>>>()? {
        let request = AlterUserScramCredentialsRequest::default().with_upsertions(vec![upsertion]);
        let response = admin.call(0, &request)?;
        ensure!(response.results[0].error_code == 0, "{response:?}");
    }
    Ok(())
}

fn upsertion(user: &str, mechanism: i8, iterations: i32) -> ScramCredentialUpsertion {
    ScramCredentialUpsertion::default()
        .with_name(string(user))
        .with_mechanism(mechanism)
        .with_iterations(iterations)
        .with_salt(Bytes::from_static(b"salt"))
        .with_salted_password(Bytes::from_static(b"salted"))
}

/// What both say of users, each answer in the order of the users.
fn users(broker: &Secured) -> Result<Vec<String>> {
    let mut client = RawClient::connect(broker.broker.address())?;
    let mut all = Vec::new();
    let deletion = |user: &str, mechanism| {
        ScramCredentialDeletion::default()
            .with_name(string(user))
            .with_mechanism(mechanism)
    };
    for (deletions, upsertions) in [
        (
            vec![],
            vec![upsertion("ann", 1, 4096), upsertion("ben", 2, 16384)],
        ),
        (
            vec![],
            vec![upsertion("ann", 2, 8192), upsertion("cat", 1, 4095)],
        ),
        (
            vec![],
            vec![
                upsertion("cat", 1, 16385),
                upsertion("", 1, 4096),
                upsertion("dan", 3, 4096),
            ],
        ),
        (vec![deletion("ann", 1)], vec![upsertion("ann", 2, 8192)]),
        (
            vec![],
            vec![upsertion("ann", 1, 1), upsertion("ann", 1, 5000)],
        ),
        (
            vec![],
            vec![upsertion("eve", 1, 4096), upsertion("eve", 2, 4096)],
        ),
        (
            vec![
                deletion("eve", 1),
                deletion("ben", 1),
                deletion("", 1),
                deletion("ann", 0),
            ],
            vec![],
        ),
        (vec![deletion("ben", 2), deletion("ben", 2)], vec![]),
        (vec![deletion("ben", 2)], vec![upsertion("fay", 2, 4096)]),
        (vec![], vec![]),
    ] {
        let request = AlterUserScramCredentialsRequest::default()
            .with_deletions(deletions)
            .with_upsertions(upsertions);
        let mut response = client.call(0, &request)?;
        response.results.sort_by(|a, b| a.user.cmp(&b.user));
        all.push(format!("{response:?}"));
    }
    let named = |users: &[&str]| {
        let users = users
            .iter()
            .map(|user| UserName::default().with_name(string(user)));
        Some(users.collect::<Vec<_>>())
    };
    for users in [
        None,
        named(&[]),
        named(&["ann", "ben", "nobody"]),
        named(&["ann", "ann", "fay"]),
    ] {
        let request = DescribeUserScramCredentialsRequest::default().with_users(users);
        let mut response = client.call(0, &request)?;
        response.results.retain(|result| &*result.user != "alice");
        response.results.sort_by(|a, b| a.user.cmp(&b.user));
        for result in &mut response.results {
            result.credential_infos.sort_by_key(|info| info.mechanism);
        }
        all.push(format!("{response:?}"));
    }
    Ok(all)
}

#[test]
fn a_log_in_goes_as_with_kafka_whatever_the_client_says() -> Result<()> {
    let Some(kafka) = toolchain::available(Secured::start(BrokerKind::Kafka, tokens::PROPERTIES))?
    else {
        return Ok(());
    };
    let mut both = [
        Secured::start(BrokerKind::Ottla, tokens::PROPERTIES)?,
        kafka,
    ];
    for broker in &both {
        make_alice(&broker.broker)?;
    }
    let mut wrong = Vec::new();
    compare(&both, CONVERSATIONS, &mut wrong)?;
    let (ottla, kafka) = (users(&both[0])?, users(&both[1])?);
    for (ottla, kafka) in ottla.into_iter().zip(kafka) {
        if ottla != kafka {
            wrong.push(format!("Ottla {ottla}\nKafka {kafka}"));
        }
    }
    tokens::compare_tool(&both, &mut wrong)?;
    tokens::compare(&both, &mut wrong)?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    tokens::import(&mut both[1])
}

#[test]
#[ignore = "starts another Kafka: cargo test -p compat-tests --test security -- --ignored"]
fn a_log_in_on_a_live_connection_goes_as_with_kafka() -> Result<()> {
    let properties = [("connections.max.reauth.ms", "60000")];
    let Some(kafka) = toolchain::available(Secured::start(BrokerKind::Kafka, &properties))? else {
        return Ok(());
    };
    let both = [Secured::start(BrokerKind::Ottla, &properties)?, kafka];
    let mut wrong = Vec::new();
    compare(&both, AGAIN, &mut wrong)?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
