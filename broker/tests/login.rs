//! What a client has to say before it is known, and again while it is connected.

#![allow(clippy::unwrap_used)]

extern crate ottla as broker;

mod support;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use broker::broker::Broker;
use broker::config::BrokerConfig;
use broker::server::Server;
use bytes::Bytes;
use credentials::scram::ScramMechanism;
use kafka_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_delegation_token_request::CreatableRenewers;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_delegation_token_request::DescribeDelegationTokenOwner;
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, CreateAclsRequest, CreateDelegationTokenRequest,
    CreateDelegationTokenResponse, DescribeConfigsRequest, DescribeDelegationTokenRequest,
    DescribeUserScramCredentialsRequest, ExpireDelegationTokenRequest, MetadataRequest,
    RenewDelegationTokenRequest, SaslAuthenticateRequest, SaslAuthenticateResponse,
    SaslHandshakeRequest, SaslHandshakeResponse,
};
use protocol_shim::newer::api_versions::ApiVersionsRequest;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use support::{Client, connect, connect_to_login, start_broker_with, string};

const NONE: i16 = 0;
const UNSUPPORTED_MECHANISM: i16 = 33;
const ILLEGAL_STATE: i16 = 34;
const UNSUPPORTED_VERSION: i16 = 35;
const FAILED: i16 = 58;
const METADATA: i16 = 9;
const PLAIN_MODULE: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";
/// Its clients log in, with users of a login module.
const LISTED: &str = "LISTED";
/// Its clients log in as users of SCRAM.
const LOGIN: &str = "LOGIN";
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

async fn start(properties: &[(&str, &str)]) -> Arc<Broker> {
    let jaas =
        format!("{PLAIN_MODULE} required user_alice=\"alice-secret\" user_bob=\"bob-secret\";");
    let common = [
        (
            "listeners",
            "PLAINTEXT://localhost:1,LOGIN://localhost:2,LISTED://localhost:3",
        ),
        (
            "listener.security.protocol.map",
            "PLAINTEXT:PLAINTEXT,LOGIN:SASL_PLAINTEXT,LISTED:SASL_PLAINTEXT",
        ),
        (
            "sasl.enabled.mechanisms",
            "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        ),
        ("listener.name.listed.plain.sasl.jaas.config", &jaas),
    ];
    let properties: Vec<_> = common.iter().chain(properties).copied().collect();
    let broker = start_broker_with(&properties).await;
    let mut admin = connect(&broker);
    for (mechanism, user) in [(2, "alice"), (1, "bob"), (2, "bob")] {
        set_password(&mut admin, user, mechanism, &format!("{user}-secret")).await;
    }
    broker
}

async fn set_password(admin: &mut Client, user: &'static str, mechanism: i8, password: &str) {
    let scram = ScramMechanism::from_wire(mechanism).unwrap();
    let iterations = NonZeroU32::new(4096).unwrap();
    let salted = scram.salted_password(password.as_bytes(), b"salt", iterations);
    let upsertion = ScramCredentialUpsertion::default()
        .with_name(string(user))
        .with_mechanism(mechanism)
        .with_iterations(4096)
        .with_salt(Bytes::from_static(b"salt"))
        .with_salted_password(salted.into());
    alter(admin, vec![upsertion], vec![]).await;
}

async fn remove(admin: &mut Client, user: &'static str, mechanism: i8) {
    let deletion = ScramCredentialDeletion::default()
        .with_name(string(user))
        .with_mechanism(mechanism);
    alter(admin, vec![], vec![deletion]).await;
}

async fn alter(
    admin: &mut Client,
    upsertions: Vec<ScramCredentialUpsertion>,
    deletions: Vec<ScramCredentialDeletion>,
) {
    let request = AlterUserScramCredentialsRequest::default()
        .with_upsertions(upsertions)
        .with_deletions(deletions);
    let response = admin.call(0, request).await;
    assert_eq!(response.results[0].error_code, NONE, "{response:?}");
}

async fn handshake(client: &mut Client, version: i16, mechanism: &'static str) {
    let response = try_handshake(client, version, mechanism).await;
    assert_eq!(response.error_code, NONE);
    assert_eq!(response.mechanisms, MECHANISMS.map(string));
}

async fn try_handshake(
    client: &mut Client,
    version: i16,
    mechanism: &'static str,
) -> SaslHandshakeResponse {
    let request = SaslHandshakeRequest::default().with_mechanism(string(mechanism));
    client.call(version, request).await
}

async fn authenticate(client: &mut Client, token: &[u8]) -> SaslAuthenticateResponse {
    let token = Bytes::copy_from_slice(token);
    let request = SaslAuthenticateRequest::default().with_auth_bytes(token);
    client.call(2, request).await
}

/// Sends a token as it is.
async fn raw(client: &mut Client, token: &[u8]) -> Option<Bytes> {
    client.send_frame(token).await;
    client.next_frame().await
}

async fn asks(client: &mut Client) {
    let response = client.call(METADATA, MetadataRequest::default()).await;
    assert_eq!(response.brokers[0].port, 9193);
}

/// The client's side of SCRAM.
struct ScramClient {
    mechanism: ScramMechanism,
    bare: String,
}

impl ScramClient {
    fn new(mechanism: &str, user: &str) -> Self {
        Self {
            mechanism: ScramMechanism::from_name(mechanism).unwrap(),
            bare: format!("n={user},r=clientnonce"),
        }
    }

    /// With a delegation token in the place of a user.
    fn with_token(mechanism: &str, id: &str) -> Self {
        let mut client = Self::new(mechanism, id);
        client.bare += ",tokenauth=true";
        client
    }

    fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.bare).into_bytes()
    }

    /// The last message, and what the broker has to answer.
    fn last(&self, server_first: &[u8], password: &str) -> (Vec<u8>, String) {
        use base64::Engine as _;
        use base64::prelude::BASE64_STANDARD as BASE64;
        let server_first = std::str::from_utf8(server_first).unwrap();
        let mut parts = server_first.split(',');
        let mut part = |name: &str| parts.next().unwrap().strip_prefix(name).unwrap();
        let (nonce, salt, iterations) = (part("r="), part("s="), part("i="));
        assert!(
            nonce.starts_with("clientnonce") && nonce.len() > 30,
            "{nonce}"
        );
        let iterations = NonZeroU32::new(iterations.parse().unwrap()).unwrap();
        let salt = BASE64.decode(salt).unwrap();
        let scram = self.mechanism;
        let salted = scram.salted_password(password.as_bytes(), &salt, iterations);
        let client_key = scram.hmac(&salted, b"Client Key");
        let stored_key = scram.hash(&client_key);
        let without_proof = format!("c=biws,r={nonce}");
        let said = format!("{},{server_first},{without_proof}", self.bare);
        let signature = scram.hmac(&stored_key, said.as_bytes());
        let proof: Vec<u8> = client_key
            .iter()
            .zip(signature)
            .map(|(a, b)| a ^ b)
            .collect();
        let server_key = scram.hmac(&salted, b"Server Key");
        let verifier = BASE64.encode(scram.hmac(&server_key, said.as_bytes()));
        let last = format!("{without_proof},p={}", BASE64.encode(proof));
        (last.into_bytes(), format!("v={verifier}"))
    }

    /// Logs in over SaslAuthenticate, behind a handshake.
    async fn log_in(&self, client: &mut Client, password: &str) -> SaslAuthenticateResponse {
        let challenge = authenticate(client, &self.first()).await;
        assert_eq!(challenge.error_code, NONE, "{challenge:?}");
        let (last, verifier) = self.last(&challenge.auth_bytes, password);
        let done = authenticate(client, &last).await;
        if done.error_code == NONE {
            assert_eq!(done.auth_bytes, verifier);
        }
        done
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_asks_for_versions_logs_in_with_plain_and_is_served() {
    let broker = start(&[]).await;
    for listener in [LISTED, LOGIN] {
        let (mut client, _) = connect_to_login(&broker, listener);
        let request = ApiVersionsRequest::default()
            .with_client_software_name(string("tester"))
            .with_client_software_version(string("1"));
        let versions = client.call(3, request).await;
        assert_eq!(versions.error_code, NONE);
        let keys: Vec<i16> = versions.api_keys.iter().map(|api| api.api_key).collect();
        assert!(
            [17, 36, 50, 51].iter().all(|key| keys.contains(key)),
            "{keys:?}"
        );
        handshake(&mut client, 1, "PLAIN").await;
        let done = authenticate(&mut client, b"\0alice\0alice-secret").await;
        assert_eq!((done.error_code, done.auth_bytes.len()), (NONE, 0));
        assert_eq!(done.session_lifetime_ms, 0);
        asks(&mut client).await;
        // Nothing lets it log in again, and it is told so.
        assert_eq!(
            try_handshake(&mut client, 1, "PLAIN").await.error_code,
            ILLEGAL_STATE
        );
        assert_eq!(
            authenticate(&mut client, b"x").await.error_code,
            ILLEGAL_STATE
        );
        asks(&mut client).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_oldest_clients_send_their_tokens_as_they_are() {
    let broker = start(&[]).await;
    let (mut client, _) = connect_to_login(&broker, LISTED);
    handshake(&mut client, 0, "PLAIN").await;
    let done = raw(&mut client, b"\0alice\0alice-secret").await;
    assert_eq!(done.as_deref(), Some(&b""[..]), "an empty token");
    asks(&mut client).await;

    let (mut client, _) = connect_to_login(&broker, LOGIN);
    handshake(&mut client, 0, "SCRAM-SHA-256").await;
    let scram = ScramClient::new("SCRAM-SHA-256", "bob");
    let challenge = raw(&mut client, &scram.first()).await.unwrap();
    let (last, verifier) = scram.last(&challenge, "bob-secret");
    let done = raw(&mut client, &last).await.unwrap();
    assert_eq!(done, verifier);
    asks(&mut client).await;

    let (mut client, _) = connect_to_login(&broker, LISTED);
    handshake(&mut client, 0, "PLAIN").await;
    assert_eq!(raw(&mut client, b"\0alice\0wrong").await, None);
}

#[tokio::test(start_paused = true)]
async fn both_hashes_of_scram_let_in_who_knows_the_password_and_nobody_else() {
    let broker = start(&[]).await;
    for (mechanism, user, password, error) in [
        ("SCRAM-SHA-256", "bob", "bob-secret", NONE),
        ("SCRAM-SHA-512", "bob", "bob-secret", NONE),
        ("SCRAM-SHA-512", "alice", "alice-secret", NONE),
        ("SCRAM-SHA-256", "alice", "alice-secret", FAILED),
        ("SCRAM-SHA-512", "alice", "alice-secreT", FAILED),
        ("SCRAM-SHA-512", "nobody", "alice-secret", FAILED),
    ] {
        let what = format!("{mechanism} {user} {password}");
        let (mut client, _) = connect_to_login(&broker, LOGIN);
        handshake(&mut client, 1, mechanism).await;
        let done = ScramClient::new(mechanism, user)
            .log_in(&mut client, password)
            .await;
        assert_eq!(done.error_code, error, "{what}");
        match error {
            NONE => asks(&mut client).await,
            _ => {
                let message = format!(
                    "Authentication failed during authentication due to invalid credentials with SASL mechanism {mechanism}"
                );
                assert_eq!(done.error_message.as_deref(), Some(&*message), "{what}");
                assert!(client.next_frame().await.is_none(), "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_answered_after_a_while_and_nothing_behind_it_is_done() {
    let broker = start(&[("connection.failed.authentication.delay.ms", "700")]).await;
    for listener in [LISTED, LOGIN] {
        let (mut client, _) = connect_to_login(&broker, listener);
        handshake(&mut client, 1, "PLAIN").await;
        let began = Instant::now();
        client.hold();
        let token = Bytes::from_static(b"\0alice\0wrong");
        let request = SaslAuthenticateRequest::default().with_auth_bytes(token);
        let asked = client.send(1, request).await;
        let metadata = MetadataRequest::default();
        client.send(METADATA, metadata).await;
        client.release().await;
        let refused = client.answer(asked).await;
        assert!(began.elapsed() >= Duration::from_millis(700));
        assert_eq!(refused.error_code, FAILED);
        assert_eq!(
            refused.error_message.as_deref(),
            Some("Authentication failed: Invalid username or password")
        );
        assert!(client.next_frame().await.is_none(), "it is closed");
    }
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_good_token_at_once_is_served() {
    let broker = start(&[]).await;
    let (mut client, _) = connect_to_login(&broker, LISTED);
    client.hold();
    let request = SaslHandshakeRequest::default().with_mechanism(string("PLAIN"));
    let shaken = client.send(1, request).await;
    let token = Bytes::from_static(b"\0alice\0alice-secret");
    let request = SaslAuthenticateRequest::default().with_auth_bytes(token);
    let done = client.send(1, request).await;
    let asked = client.send(METADATA, MetadataRequest::default()).await;
    client.release().await;
    assert_eq!(client.answer(shaken).await.error_code, NONE);
    assert_eq!(client.answer(done).await.error_code, NONE);
    assert_eq!(client.answer(asked).await.brokers.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_but_versions_once_and_a_handshake_is_looked_at_before() {
    let broker = start(&[]).await;
    let open = || connect_to_login(&broker, LISTED).0;

    let mut client = open();
    client.send(METADATA, MetadataRequest::default()).await;
    assert!(client.next_frame().await.is_none(), "a request");

    let mut client = open();
    let token = SaslAuthenticateRequest::default();
    client.send(1, token).await;
    assert!(
        client.next_frame().await.is_none(),
        "a token without a handshake"
    );

    let mut client = open();
    assert_eq!(
        raw(&mut client, b"\0alice\0alice-secret").await,
        None,
        "a token alone"
    );
    let mut client = open();
    assert_eq!(
        raw(&mut client, b"\x60\x82").await,
        None,
        "a ticket of Kerberos"
    );
    let mut client = open();
    assert_eq!(raw(&mut client, b"").await, None, "nothing");

    let mut client = open();
    client.call(0, ApiVersionsRequest::default()).await;
    client.send(0, ApiVersionsRequest::default()).await;
    assert!(client.next_frame().await.is_none(), "versions twice");

    // A newer client asks again, in a version that it has been told of.
    let mut client = open();
    client.send_body(18, 99, 2, b"").await;
    let told = client.next_frame().await.unwrap();
    assert_eq!(told[4..6], UNSUPPORTED_VERSION.to_be_bytes());
    client.call(0, ApiVersionsRequest::default()).await;
    handshake(&mut client, 1, "PLAIN").await;

    let mut client = open();
    let refused = try_handshake(&mut client, 1, "GSSAPI").await;
    assert_eq!(refused.error_code, UNSUPPORTED_MECHANISM);
    assert_eq!(refused.mechanisms, MECHANISMS.map(string));
    assert!(client.next_frame().await.is_none());

    let mut client = open();
    client.send_body(17, 9, 1, b"\0\x05PLAIN").await;
    assert!(
        client.next_frame().await.is_none(),
        "a version that is not there"
    );
}

#[tokio::test(start_paused = true)]
async fn something_else_between_tokens_is_told_to_be_illegal_where_that_can_be_said() {
    let broker = start(&[]).await;
    let begun = async || {
        let mut client = connect_to_login(&broker, LISTED).0;
        handshake(&mut client, 1, "PLAIN").await;
        client
    };
    let mut client = begun().await;
    let again = try_handshake(&mut client, 1, "PLAIN").await;
    assert_eq!(again.error_code, ILLEGAL_STATE);
    assert!(client.next_frame().await.is_none());

    let mut client = begun().await;
    let versions = client.call(0, ApiVersionsRequest::default()).await;
    assert_eq!(versions.error_code, ILLEGAL_STATE);
    assert!(client.next_frame().await.is_none());

    let mut client = begun().await;
    client.send(METADATA, MetadataRequest::default()).await;
    assert!(client.next_frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_its_time_or_sends_too_much_is_closed() {
    let broker = start(&[("listener.name.listed.sasl.server.max.receive.size", "100")]).await;
    let began = Instant::now();
    let (mut client, _) = connect_to_login(&broker, LISTED);
    client.send_bytes(&[0, 0]).await;
    assert!(client.next_frame().await.is_none());
    assert_eq!(began.elapsed().as_secs(), 30);

    let (mut client, _) = connect_to_login(&broker, LISTED);
    client.send_bytes(&101i32.to_be_bytes()).await;
    let began = Instant::now();
    assert!(client.next_frame().await.is_none());
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_of_too_many_that_have_not_logged_in_gives_way() {
    let broker = start(&[("ottla.unauthenticated.connections.max", "2")]).await;
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..3 {
        let mut client = connect_to_login(&broker, LISTED).0;
        client.call(0, ApiVersionsRequest::default()).await;
        clients.push(client);
    }
    assert!(clients[0].next_frame().await.is_none());
    for client in &mut clients[1..] {
        handshake(client, 1, "PLAIN").await;
        let done = authenticate(client, b"\0alice\0alice-secret").await;
        assert_eq!(done.error_code, NONE);
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_in_runs_out_unless_the_same_user_proves_it_again() {
    let broker = start(&[("connections.max.reauth.ms", "5000")]).await;
    let log_in = async || {
        let mut client = connect_to_login(&broker, LISTED).0;
        handshake(&mut client, 1, "PLAIN").await;
        let done = authenticate(&mut client, b"\0alice\0alice-secret").await;
        assert_eq!((done.error_code, done.session_lifetime_ms), (NONE, 5000));
        client
    };
    let wait = |ms| tokio::time::sleep(Duration::from_millis(ms));

    // In time, again and again.
    let mut client = log_in().await;
    for _ in 0..3 {
        wait(4000).await;
        asks(&mut client).await;
        handshake(&mut client, 1, "PLAIN").await;
        let done = authenticate(&mut client, b"\0alice\0alice-secret").await;
        assert_eq!((done.error_code, done.session_lifetime_ms), (NONE, 5000));
        asks(&mut client).await;
    }
    // Not twice in a second.
    assert_eq!(
        try_handshake(&mut client, 1, "PLAIN").await.error_code,
        ILLEGAL_STATE
    );
    asks(&mut client).await;

    // Too late for a request, and not for a log-in.
    let mut client = log_in().await;
    wait(6000).await;
    handshake(&mut client, 1, "PLAIN").await;
    authenticate(&mut client, b"\0alice\0alice-secret").await;
    asks(&mut client).await;
    wait(6000).await;
    client.send(METADATA, MetadataRequest::default()).await;
    assert!(client.next_frame().await.is_none(), "it has run out");

    // Somebody else, a wrong password, another mechanism, another request.
    let mut client = log_in().await;
    handshake(&mut client, 1, "PLAIN").await;
    let refused = authenticate(&mut client, b"\0bob\0bob-secret").await;
    assert_eq!(refused.error_code, FAILED);
    let message = "Cannot change principals during re-authentication from User.alice: User.bob";
    assert_eq!(refused.error_message.as_deref(), Some(message));
    assert!(client.next_frame().await.is_none());
    let mut client = log_in().await;
    handshake(&mut client, 1, "PLAIN").await;
    assert_eq!(
        authenticate(&mut client, b"\0alice\0wrong")
            .await
            .error_code,
        FAILED
    );
    assert!(client.next_frame().await.is_none());
    let mut client = log_in().await;
    handshake(&mut client, 1, "SCRAM-SHA-256").await;
    assert_eq!(raw(&mut client, b"\0alice\0alice-secret").await, None);
    let mut client = log_in().await;
    handshake(&mut client, 1, "PLAIN").await;
    client.send(METADATA, MetadataRequest::default()).await;
    assert!(client.next_frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_user_that_is_removed_stays_until_its_log_in_has_run_out() {
    let broker = start(&[(
        "listener.name.login.scram-sha-512.connections.max.reauth.ms",
        "5000",
    )])
    .await;
    let mut admin = connect(&broker);
    let (mut client, _) = connect_to_login(&broker, LOGIN);
    let scram = ScramClient::new("SCRAM-SHA-512", "alice");
    handshake(&mut client, 1, "SCRAM-SHA-512").await;
    let done = scram.log_in(&mut client, "alice-secret").await;
    assert_eq!((done.error_code, done.session_lifetime_ms), (NONE, 5000));
    remove(&mut admin, "alice", 2).await;
    asks(&mut client).await;
    handshake(&mut client, 1, "SCRAM-SHA-512").await;
    let refused = scram.log_in(&mut client, "alice-secret").await;
    assert_eq!(refused.error_code, FAILED);
    let message = "Authentication failed during re-authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512";
    assert_eq!(refused.error_message.as_deref(), Some(message));
    assert!(client.next_frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn whatever_a_stranger_sends_ends_no_task_but_its_own() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let broker = start(&[("connection.failed.authentication.delay.ms", "0")]).await;
    // What a good client sends, of which each byte is another in its turn.
    let mut good = connect_to_login(&broker, LOGIN).0;
    good.hold();
    good.send(0, ApiVersionsRequest::default()).await;
    let request = SaslHandshakeRequest::default().with_mechanism(string("SCRAM-SHA-512"));
    good.send(1, request).await;
    let first = ScramClient::new("SCRAM-SHA-512", "alice").first();
    for token in [&first[..], b"c=biws,r=clientnonce,p=AQID"] {
        let token = Bytes::copy_from_slice(token);
        good.send(2, SaslAuthenticateRequest::default().with_auth_bytes(token))
            .await;
    }
    let good = good.take_held();
    for at in 0..good.len() {
        for _ in 0..3 {
            let mut bytes = good.clone();
            bytes[at] = rng.random();
            bytes.truncate(rng.random_range(at..bytes.len()) + 1);
            let (mut client, serving) = connect_to_login(&broker, LOGIN);
            client.send_bytes(&bytes).await;
            drop(client);
            serving.await.expect("no panic");
        }
    }
    let mut client = connect_to_login(&broker, LOGIN).0;
    handshake(&mut client, 1, "PLAIN").await;
    let done = authenticate(&mut client, b"\0alice\0alice-secret").await;
    assert_eq!(done.error_code, NONE);
}

#[tokio::test(start_paused = true)]
async fn a_token_lets_in_for_as_long_as_it_holds() {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
    let class = "org.apache.kafka.common.security.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler";
    let broker = start(&[
        ("listener.name.login.sasl.enabled.mechanisms", "OAUTHBEARER"),
        (
            "listener.name.login.oauthbearer.sasl.server.callback.handler.class",
            class,
        ),
    ])
    .await;
    let message = |seconds: i64| {
        let now = broker.clock.wall_ms() / 1000;
        let claims = format!(
            "{{\"sub\":\"ann\",\"iat\":{now},\"exp\":{}}}",
            now + seconds
        );
        let (header, claims) = (BASE64.encode("{\"alg\":\"none\"}"), BASE64.encode(claims));
        format!("n,,\x01auth=Bearer {header}.{claims}.\x01\x01")
    };
    let begin = async || {
        let mut client = connect_to_login(&broker, LOGIN).0;
        let shaken = try_handshake(&mut client, 1, "OAUTHBEARER").await;
        assert_eq!(shaken.error_code, NONE);
        client
    };
    let mut client = begin().await;
    let done = authenticate(&mut client, message(20).as_bytes()).await;
    assert_eq!((done.error_code, done.auth_bytes.len()), (NONE, 0));
    assert!(
        (18_000..=20_000).contains(&done.session_lifetime_ms),
        "{done:?}"
    );
    asks(&mut client).await;
    tokio::time::sleep(Duration::from_secs(21)).await;
    client.send(METADATA, MetadataRequest::default()).await;
    assert!(client.next_frame().await.is_none(), "it has run out");

    let mut client = begin().await;
    let told = authenticate(&mut client, message(-5).as_bytes()).await;
    assert_eq!(
        (told.error_code, &told.auth_bytes[..]),
        (NONE, &b"{\"status\":\"invalid_token\"}"[..])
    );
    let refused = authenticate(&mut client, b"\x01").await;
    assert_eq!(refused.error_code, FAILED);
    assert_eq!(
        refused.error_message.as_deref(),
        Some("{\"status\":\"invalid_token\"}")
    );
    assert!(client.next_frame().await.is_none());
}

/// A broker with delegation tokens that hold for 20 s, and an authorizer.
async fn start_with_tokens() -> Arc<Broker> {
    start(&[
        ("delegation.token.secret.key", "key-secret"),
        ("delegation.token.expiry.time.ms", "20000"),
        ("delegation.token.max.lifetime.ms", "60000"),
        (
            "authorizer.class.name",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        ),
        ("super.users", "User:alice;User:ANONYMOUS"),
    ])
    .await
}

async fn logged_in(broker: &Arc<Broker>, user: &str) -> Client {
    let (mut client, _) = connect_to_login(broker, LOGIN);
    handshake(&mut client, 1, "SCRAM-SHA-512").await;
    let scram = ScramClient::new("SCRAM-SHA-512", user);
    let done = scram.log_in(&mut client, &format!("{user}-secret")).await;
    assert_eq!(done.error_code, NONE);
    client
}

fn password_of(token: &CreateDelegationTokenResponse) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(&token.hmac)
}

/// Logs in with a token.
async fn with_token(
    broker: &Arc<Broker>,
    mechanism: &'static str,
    id: &str,
    password: &str,
) -> (Client, SaslAuthenticateResponse) {
    let (mut client, _) = connect_to_login(broker, LOGIN);
    handshake(&mut client, 1, mechanism).await;
    let scram = ScramClient::with_token(mechanism, id);
    let done = scram.log_in(&mut client, password).await;
    (client, done)
}

fn new_token(renewers: &[&'static str]) -> CreateDelegationTokenRequest {
    let renewer = |name: &&'static str| {
        CreatableRenewers::default()
            .with_principal_type(string("User"))
            .with_principal_name(string(name))
    };
    CreateDelegationTokenRequest::default()
        .with_renewers(renewers.iter().map(renewer).collect())
        .with_max_lifetime_ms(-1)
}

async fn renew(client: &mut Client, hmac: &Bytes, period_ms: i64) -> (i16, i64) {
    let request = RenewDelegationTokenRequest::default()
        .with_hmac(hmac.clone())
        .with_renew_period_ms(period_ms);
    let response = client.call(2, request).await;
    (response.error_code, response.expiry_timestamp_ms)
}

async fn expire(client: &mut Client, hmac: &Bytes, period_ms: i64) -> (i16, i64) {
    let request = ExpireDelegationTokenRequest::default()
        .with_hmac(hmac.clone())
        .with_expiry_time_period_ms(period_ms);
    let response = client.call(2, request).await;
    (response.error_code, response.expiry_timestamp_ms)
}

/// The owners of the tokens that a client sees.
async fn described(client: &mut Client, owners: Option<&[&'static str]>) -> Vec<String> {
    let owner = |name: &&'static str| {
        DescribeDelegationTokenOwner::default()
            .with_principal_type(string("User"))
            .with_principal_name(string(name))
    };
    let owners = owners.map(|owners| owners.iter().map(owner).collect());
    let request = DescribeDelegationTokenRequest::default().with_owners(owners);
    let response = client.call(3, request).await;
    assert_eq!(response.error_code, NONE);
    let tokens = response.tokens.iter();
    tokens
        .map(|token| token.principal_name.to_string())
        .collect()
}

const NO_TOKENS: i16 = 61;
const NOT_FOUND: i16 = 62;
const OWNER_MISMATCH: i16 = 63;
const NOT_ALLOWED: i16 = 64;
const DENIED: i16 = 65;
const EXPIRED: i16 = 66;
const PRINCIPAL_TYPE: i16 = 67;

#[tokio::test(start_paused = true)]
async fn a_delegation_token_lets_in_as_its_owner_and_makes_no_other_tokens() {
    let broker = start_with_tokens().await;
    let mut alice = logged_in(&broker, "alice").await;
    let token = alice.call(3, new_token(&["bob"])).await;
    assert_eq!(token.error_code, NONE);
    assert_eq!(token.expiry_timestamp_ms, token.issue_timestamp_ms + 20_000);
    assert_eq!(token.max_timestamp_ms, token.issue_timestamp_ms + 60_000);
    let password = password_of(&token);
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let (mut bearer, done) = with_token(&broker, mechanism, &token.token_id, &password).await;
        assert_eq!(done.error_code, NONE, "{done:?}");
        let lifetime_ms = done.session_lifetime_ms;
        assert!((15_000..=20_000).contains(&lifetime_ms), "{done:?}");
        // Only alice may ask this.
        let users = DescribeUserScramCredentialsRequest::default();
        assert_eq!(bearer.call(0, users).await.error_code, NONE);
        let refused = bearer.call(3, new_token(&[])).await;
        assert_eq!(refused.error_code, NOT_ALLOWED);
        let times = (refused.issue_timestamp_ms, refused.max_timestamp_ms);
        assert_eq!((times, refused.hmac.len()), ((-1, -1), 0));
        assert_eq!(renew(&mut bearer, &token.hmac, -1).await, (NOT_ALLOWED, -1));
        assert_eq!(
            expire(&mut bearer, &token.hmac, -1).await,
            (NOT_ALLOWED, -1)
        );
        let all = DescribeDelegationTokenRequest::default().with_owners(None);
        assert_eq!(bearer.call(3, all).await.error_code, NOT_ALLOWED);
        tokio::time::sleep(Duration::from_secs(21)).await;
        bearer.send(METADATA, MetadataRequest::default()).await;
        assert!(bearer.next_frame().await.is_none(), "it has run out");
    }
    for wrong in ["", "wrong", &password[1..]] {
        let (_, done) = with_token(&broker, "SCRAM-SHA-512", &token.token_id, wrong).await;
        assert_eq!(done.error_code, FAILED, "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_logged_in_with_a_token_and_then_proves_more_may_ask_for_tokens() {
    let broker = start_with_tokens().await;
    let mut alice = logged_in(&broker, "alice").await;
    let token = alice.call(3, new_token(&[])).await;
    let password = password_of(&token);
    let (mut client, _) = with_token(&broker, "SCRAM-SHA-512", &token.token_id, &password).await;
    assert_eq!(client.call(3, new_token(&[])).await.error_code, NOT_ALLOWED);
    handshake(&mut client, 1, "SCRAM-SHA-512").await;
    let by_password = ScramClient::new("SCRAM-SHA-512", "alice");
    let done = by_password.log_in(&mut client, "alice-secret").await;
    assert_eq!(done.error_code, NONE, "{done:?}");
    assert_eq!(client.call(3, new_token(&[])).await.error_code, NONE);
}

#[tokio::test(start_paused = true)]
async fn owner_and_renewers_renew_a_token_and_end_it() {
    let broker = start_with_tokens().await;
    let (mut alice, mut bob) = (
        logged_in(&broker, "alice").await,
        logged_in(&broker, "bob").await,
    );
    let token = alice.call(3, new_token(&["bob"])).await;
    let own = alice.call(1, new_token(&[])).await;
    assert_eq!(renew(&mut bob, &own.hmac, -1).await, (OWNER_MISMATCH, 0));
    assert_eq!(expire(&mut bob, &own.hmac, -1).await, (OWNER_MISMATCH, 0));
    for wrong in [&b""[..], b"x", &[7; 64]] {
        let wrong = Bytes::from_static(wrong);
        assert_eq!(renew(&mut bob, &wrong, -1).await, (NOT_FOUND, 0));
        assert_eq!(expire(&mut bob, &wrong, -1).await, (NOT_FOUND, 0));
    }
    broker.clock.step_wall(15_000);
    let (error, renewed_ms) = renew(&mut bob, &token.hmac, -1).await;
    assert_eq!(error, NONE);
    assert!(renewed_ms >= token.issue_timestamp_ms + 35_000);
    let (_, shortened_ms) = renew(&mut bob, &token.hmac, 1000).await;
    assert!(shortened_ms < renewed_ms);
    let (error, longest_ms) = expire(&mut alice, &token.hmac, i64::MAX).await;
    assert_eq!((error, longest_ms), (NONE, token.max_timestamp_ms));
    broker.clock.step_wall(60_000);
    let password = password_of(&token);
    let (_, done) = with_token(&broker, "SCRAM-SHA-512", &token.token_id, &password).await;
    assert_eq!(done.error_code, FAILED, "it has expired");
    assert_eq!(renew(&mut bob, &token.hmac, -1).await, (EXPIRED, 0));
    assert_eq!(expire(&mut bob, &token.hmac, 5).await, (EXPIRED, 0));
    assert_eq!(expire(&mut bob, &token.hmac, -1).await.0, NONE);
    assert_eq!(expire(&mut bob, &token.hmac, -1).await, (NOT_FOUND, 0));
    assert_eq!(
        described(&mut alice, None).await,
        ["alice"],
        "the other one"
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_for_somebody_else_and_the_sight_of_one_take_rights() {
    let broker = start_with_tokens().await;
    let mut admin = connect(&broker);
    let mut alice = logged_in(&broker, "alice").await;
    let mut bob = logged_in(&broker, "bob").await;
    let for_carol = || {
        new_token(&[])
            .with_owner_principal_type(Some(string("User")))
            .with_owner_principal_name(Some(string("carol")))
    };
    let refused = bob.call(3, for_carol()).await;
    assert_eq!(
        (refused.error_code, &*refused.principal_name),
        (DENIED, "carol")
    );
    assert_eq!(&*refused.token_requester_principal_name, "bob");
    // For itself it may, named or not.
    let own = new_token(&[])
        .with_owner_principal_type(Some(string("User")))
        .with_owner_principal_name(Some(string("bob")));
    assert_eq!(bob.call(3, own).await.error_code, NONE);
    let mut typeless = for_carol();
    typeless.owner_principal_type = None;
    assert_eq!(alice.call(3, typeless).await.error_code, PRINCIPAL_TYPE);
    let mut group = new_token(&["bob"]);
    group.renewers[0].principal_type = string("Group");
    assert_eq!(bob.call(3, group).await.error_code, PRINCIPAL_TYPE);

    assert_eq!(alice.call(3, for_carol()).await.error_code, NONE);
    assert_eq!(alice.call(3, new_token(&[])).await.error_code, NONE);
    // Alice may do everything.
    let mut all = described(&mut alice, None).await;
    all.sort();
    assert_eq!(all, ["alice", "bob", "carol"]);
    assert_eq!(described(&mut alice, Some(&["carol"])).await, ["carol"]);
    assert_eq!(described(&mut alice, Some(&[])).await, [""; 0]);
    assert_eq!(described(&mut bob, None).await, ["bob"]);
    assert_eq!(described(&mut bob, Some(&["carol"])).await, [""; 0]);
    let entry = |operation| {
        AclCreation::default()
            .with_resource_type(7)
            .with_resource_name(string("User:carol"))
            .with_resource_pattern_type(3)
            .with_principal(string("User:bob"))
            .with_host(string("*"))
            .with_operation(operation)
            .with_permission_type(3)
    };
    let acls = CreateAclsRequest::default().with_creations(vec![entry(13), entry(14)]);
    let made = admin.call(3, acls).await;
    assert!(made.results.iter().all(|result| result.error_code == NONE));
    assert_eq!(described(&mut bob, Some(&["carol"])).await, ["carol"]);
    let token = bob.call(3, for_carol()).await;
    assert_eq!(token.error_code, NONE);
    // It is carol's: who has asked for it sees it, and no more.
    assert_eq!(renew(&mut bob, &token.hmac, -1).await, (OWNER_MISMATCH, 0));
    let password = password_of(&token);
    let (mut carol, done) = with_token(&broker, "SCRAM-SHA-512", &token.token_id, &password).await;
    assert_eq!(done.error_code, NONE);
    let users = DescribeUserScramCredentialsRequest::default();
    assert_ne!(carol.call(0, users).await.error_code, NONE);
}

#[tokio::test]
async fn tokens_that_hold_no_longer_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let jaas = format!("{PLAIN_MODULE} required user_alice=\"alice-secret\";");
    let properties = [
        ("listeners", "LOGIN://127.0.0.1:0"),
        ("listener.security.protocol.map", "LOGIN:SASL_PLAINTEXT"),
        ("sasl.enabled.mechanisms", "PLAIN"),
        ("listener.name.login.plain.sasl.jaas.config", &jaas),
        ("log.dirs", dir.path().to_str().unwrap()),
        ("delegation.token.secret.key", "key-secret"),
        ("delegation.token.expiry.check.interval.ms", "20"),
    ];
    let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let (config, _) = BrokerConfig::from_properties(properties.into()).unwrap();
    let running = Server::start(config).await.unwrap();
    let (mut alice, _) = connect_to_login(&running.broker, LOGIN);
    try_handshake(&mut alice, 1, "PLAIN").await;
    let done = authenticate(&mut alice, b"\0alice\0alice-secret").await;
    assert_eq!(done.error_code, NONE);
    let kept = alice.call(3, new_token(&[])).await;
    let short = alice.call(3, new_token(&[]).with_max_lifetime_ms(1)).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    // It has expired, and then it is gone.
    loop {
        match expire(&mut alice, &short.hmac, 0).await.0 {
            NOT_FOUND => break,
            NONE | EXPIRED => assert!(Instant::now() < deadline, "it is still there"),
            other => panic!("{other}"),
        }
    }
    assert_eq!(renew(&mut alice, &kept.hmac, -1).await.0, NONE);
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_a_key_there_are_no_tokens() {
    let broker = start(&[]).await;
    let mut alice = logged_in(&broker, "alice").await;
    let refused = alice.call(3, new_token(&[])).await;
    assert_eq!(
        (refused.error_code, &*refused.principal_name),
        (NO_TOKENS, "alice")
    );
    let hmac = Bytes::from_static(&[1; 64]);
    assert_eq!(renew(&mut alice, &hmac, -1).await, (NO_TOKENS, 0));
    assert_eq!(expire(&mut alice, &hmac, -1).await, (NO_TOKENS, 0));
    let all = DescribeDelegationTokenRequest::default().with_owners(None);
    assert_eq!(alice.call(3, all).await.error_code, NO_TOKENS);
    let (_, done) = with_token(&broker, "SCRAM-SHA-512", "id", "password").await;
    assert_eq!(done.error_code, FAILED);
}

#[tokio::test(start_paused = true)]
async fn no_answer_tells_a_password() {
    let broker = start(&[("delegation.token.secret.key", "key-secret")]).await;
    let mut admin = connect(&broker);
    let resource = DescribeConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name(string("1"));
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true)
        .with_include_documentation(true);
    let told = format!("{:?}", admin.call(4, request).await);
    assert!(
        told.contains("listener.name.listed.plain.sasl.jaas.config"),
        "{told}"
    );
    assert!(!told.contains("-secret"), "{told}");
    let described = DescribeUserScramCredentialsRequest::default();
    let described = format!("{:?}", admin.call(0, described).await);
    assert!(
        described.contains("alice") && !described.contains("salt"),
        "{described}"
    );
    assert!(told.contains("delegation.token.secret.key"), "{told}");
    assert!(!format!("{:?}", broker.config.listeners).contains("-secret"));
}
