use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::SOCKET;
use crate::config::BrokerConfig;
use crate::server::Server;
use credentials::scram::ScramMechanism;

async fn start(data: &Path) -> Server {
    let properties = [
        ("listeners", "PLAINTEXT://127.0.0.1:0"),
        ("log.dirs", data.to_str().unwrap()),
    ];
    let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let (config, _) = BrokerConfig::from_properties(properties.into()).unwrap();
    Server::start(config).await.unwrap()
}

/// Runs what blocks beside the broker.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn call(data: &Path, request: Value) -> Result<Value, String> {
    let data = data.to_owned();
    beside(move || super::call(&data, &request, |_| {})).await
}

/// What is answered to these bytes until the other end hangs up.
async fn raw(data: &Path, bytes: impl AsRef<[u8]> + Send + 'static) -> String {
    let path = data.join(SOCKET);
    beside(move || {
        let mut stream = UnixStream::connect(path).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        // It may hang up before all is sent.
        let _ = stream.write_all(bytes.as_ref());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_its_owners_alone_replaces_a_dead_one_and_goes_with_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    // What a killed broker leaves.
    drop(UnixListener::bind(data.join(SOCKET)).unwrap());
    let refused = call(&data, json!({ "command": "snapshot" }))
        .await
        .unwrap_err();
    assert!(refused.contains("no broker serves"), "{refused}");
    let server = start(&data).await;
    let mode = std::fs::metadata(data.join(SOCKET))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let refused = call(&data, json!({ "command": "dance" }))
        .await
        .unwrap_err();
    assert!(refused.contains("another release"), "{refused}");
    server.shutdown().await.unwrap();
    assert!(!data.join(SOCKET).exists());
    let refused = call(&data, json!({ "command": "snapshot" }))
        .await
        .unwrap_err();
    assert!(refused.contains("no broker serves"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_sent_the_broker_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    for (sent, expected) in [
        ("\n", "makes no sense"),
        ("{}\n", "no text"),
        ("[1, 2]\n", "no text"),
        ("{\"command\": 5}\n", "no text"),
        ("{\"command\": \"snapshot\"}\n", "no text"),
        (
            "{\"command\": \"snapshot\", \"to\": \"relative\"}\n",
            "absolute",
        ),
        (
            "{\"command\": \"add_user\", \"name\": \"\", \"password\": \"x\"}\n",
            "name",
        ),
        (
            "{\"command\": \"add_user\", \"name\": \"x\", \"password\": \"\"}\n",
            "no password",
        ),
    ] {
        let answer = raw(data.path(), sent).await;
        assert!(
            answer.starts_with("{\"error\":") && answer.contains(expected),
            "{sent}: {answer}"
        );
    }
    // A line that does not end, and one that is cut off.
    assert_eq!(raw(data.path(), vec![b'x'; 200 << 10]).await, "");
    let deep = "[".repeat(60_000) + "\n";
    assert!(raw(data.path(), deep).await.contains("makes no sense"));
    // Of those who say nothing some are let in, and they hold up nobody's stop.
    let silent: Vec<_> = (0..10)
        .map(|_| UnixStream::connect(data.path().join(SOCKET)).unwrap())
        .collect();
    tokio::time::timeout(Duration::from_secs(30), server.shutdown())
        .await
        .expect("nobody is waited for")
        .unwrap();
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_too_long_for_a_socket_is_no_reason_to_stop() {
    let dir = tempfile::tempdir().unwrap();
    let data: PathBuf = dir.path().join("d".repeat(120));
    let server = start(&data).await;
    assert!(!data.join(SOCKET).exists());
    let refused = call(&data, json!({ "command": "snapshot" }))
        .await
        .unwrap_err();
    assert!(refused.contains(SOCKET), "{refused}");
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "looks at what was made")]
async fn a_user_gets_a_password_whether_or_not_there_is_one() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let file = data.path().join("password");
    std::fs::write(&file, "canary\nanother line\n").unwrap();
    let arguments = |name: &str| -> Vec<std::ffi::OsString> {
        let words = ["ottla users", "add", name, "--data-dir"].map(Into::into);
        let mut words = Vec::from(words);
        words.extend([
            data.path().into(),
            "--password-file".into(),
            file.clone().into(),
        ]);
        words
    };
    let credential = || {
        let published = server.broker.metadata.published();
        let of = |mechanism| published.image.scram().get(mechanism, "ann").cloned();
        ScramMechanism::ALL.map(|mechanism| of(mechanism).expect("a credential"))
    };
    let add = |name: &str| {
        let arguments = arguments(name);
        beside(move || crate::users::run(arguments.into_iter()))
    };
    add("ann").await.unwrap().unwrap();
    let first = credential();
    add("ann").await.unwrap().unwrap();
    assert_ne!(first, credential(), "it is made anew");
    server.shutdown().await.unwrap();
    let refused = add("ann").await.unwrap().unwrap_err();
    assert!(refused.contains("no broker serves"), "{refused}");
}
