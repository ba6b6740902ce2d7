//! What people are told who have the URL, the server, or the database wrong; and TLS.

use compat_tests::available;
use compat_tests::stores::Postgres;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use storage::object::database::{Brokers as _, DatabaseError, PostgresDatabase};

use crate::rules::{GROUPS, LONG, registration};
use crate::{new_database, server};

/// What opening this is refused with.
async fn refused(url: &str) -> String {
    match PostgresDatabase::open(url, GROUPS).await.map(drop) {
        Err(DatabaseError::Refused(why)) => why,
        other => panic!("{url}: {other:?}"),
    }
}

#[track_caller]
fn says(why: &str, hints: &[&str]) {
    for hint in hints {
        assert!(why.contains(hint), "no {hint:?} in: {why}");
    }
    assert!(!why.contains("secret"), "a password is in: {why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_said_with_what_to_do() {
    let Some(server) = server() else { return };
    let url = new_database(server);
    let wrong_password = url.replace("ottla-secret", "another-secret");
    says(
        &refused(&wrong_password).await,
        &["password authentication", "check user and password"],
    );
    says(
        &refused(&server.url_of("missing")).await,
        &["missing", "CREATE DATABASE"],
    );
    says(
        &refused("mysql://ottla:secret@host/x").await,
        &["postgres://"],
    );

    let name = url.rsplit('/').next().unwrap();
    server
        .psql(
            "postgres",
            &format!("ALTER DATABASE {name} OWNER TO postgres"),
        )
        .unwrap();
    says(
        &refused(&url).await,
        &["permission denied", "own the database"],
    );
    // Somebody who may makes the schema for a user who may not.
    server
        .psql(name, "CREATE SCHEMA ottla AUTHORIZATION ottla")
        .unwrap();
    PostgresDatabase::open(&url, GROUPS)
        .await
        .map(drop)
        .unwrap();

    server
        .psql(name, "UPDATE ottla.cluster SET format_version = 2")
        .unwrap();
    says(&refused(&url).await, &["format 2", "up to 1", "release"]);
    server
        .psql(name, "UPDATE ottla.cluster SET format_version = -7")
        .unwrap();
    says(
        &refused(&url).await,
        &["not this program's", "another database"],
    );
    server
        .psql(
            name,
            "ALTER TABLE ottla.cluster RENAME format_version TO colour",
        )
        .unwrap();
    says(
        &refused(&url).await,
        &["not this program's", "another database"],
    );

    let foreign = new_database(server);
    let name = foreign.rsplit('/').next().unwrap();
    server
        .psql(
            name,
            "CREATE SCHEMA ottla AUTHORIZATION ottla; CREATE TABLE ottla.broker (n int)",
        )
        .unwrap();
    says(
        &refused(&foreign).await,
        &["already exists", "another database"],
    );

    let nobody = "postgres://ottla:secret@127.0.0.1:1/ottla";
    let unavailable = PostgresDatabase::open(nobody, GROUPS).await.map(drop);
    let Err(DatabaseError::Unavailable(why)) = unavailable else {
        panic!("{unavailable:?}")
    };
    says(&why, &["127.0.0.1:1", "check host and port"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_start_at_once_make_one_cluster() {
    let Some(server) = server() else { return };
    for _ in 0..3 {
        let url = new_database(server);
        let mut brokers = Vec::new();
        for id in 0..6 {
            let url = url.clone();
            brokers.push(tokio::spawn(async move {
                let database = PostgresDatabase::open(&url, GROUPS).await.unwrap();
                let registered = database.register(&registration(Some(id), LONG)).await;
                registered.unwrap().cluster_id
            }));
        }
        let mut ids = Vec::new();
        for broker in brokers {
            ids.push(broker.await.unwrap());
        }
        ids.dedup();
        assert_eq!(ids.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_tls_is_used_unless_that_is_not_wanted() {
    let Some(server) = server() else { return };
    let url = new_database(server);
    for mode in ["disable", "prefer"] {
        let url = format!("{url}?sslmode={mode}");
        PostgresDatabase::open(&url, GROUPS)
            .await
            .map(drop)
            .unwrap();
    }
    for mode in ["require", "verify-full"] {
        let url = format!("{url}?sslmode={mode}");
        let Err(error) = PostgresDatabase::open(&url, GROUPS).await.map(drop) else {
            panic!("sslmode={mode} has connected without TLS")
        };
        says(&error.to_string(), &["TLS", "sslmode=disable"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_verified_if_that_is_wanted() {
    let authority = || {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        (certificate, Issuer::new(params, key))
    };
    let ((roots, issuer), (other_roots, _)) = (authority(), authority());
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let files = [
        ("server.crt", &*certificate.pem()),
        ("server.key", &*key.serialize_pem()),
    ];
    let Some(server) = available(Postgres::start_with(&["ssl=on"], &files)).unwrap() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let [good, bad] = [("good.pem", roots), ("bad.pem", other_roots)].map(|(name, pem)| {
        let path = dir.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path.display().to_string()
    });
    let by_address = server.url();
    let by_name = by_address.replace("127.0.0.1", "localhost");
    for mode in ["disable", "prefer", "require"] {
        let url = format!("{by_address}?sslmode={mode}");
        PostgresDatabase::open(&url, GROUPS)
            .await
            .map(drop)
            .unwrap();
    }
    let verified = |url: &str, roots: &str| {
        let url = format!("{url}?sslmode=verify-full&sslrootcert={roots}");
        async move { PostgresDatabase::open(&url, GROUPS).await }
    };
    let database = verified(&by_name, &good).await.unwrap();
    let encrypted = "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a ON a.pid = s.pid \
                     WHERE a.usename = 'ottla' AND s.ssl";
    assert_ne!(server.psql("ottla", encrypted).unwrap().trim(), "0");
    drop(database);
    // Not the authority, not the name.
    for (url, roots) in [(&by_name, &bad), (&by_address, &good)] {
        let Err(error) = verified(url, roots).await.map(drop) else {
            panic!("{url} was believed with {roots}")
        };
        says(&error.to_string(), &["certificate", "sslrootcert"]);
    }
    says(
        &refused(&format!("{by_name}?sslmode=verify-full&sslrootcert=/none")).await,
        &["/none"],
    );
}
