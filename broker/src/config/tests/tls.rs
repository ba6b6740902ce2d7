//! What is set for TLS has to fit together, as Kafka's `DefaultSslEngineFactory` asks for it.

use super::*;
use crate::config::tls::{ClientAuth, Keystore, TlsSettings, Truststore};

const STORE: &str = "listeners=SSL://:1\nssl.keystore.location=/k\nssl.keystore.password=p\n";
const PEM: &str = "listeners=SSL://:1\nssl.keystore.type=PEM\nssl.keystore.location=/k\n";

/// What is set for the listeners that encrypt, and what the operator is told.
fn settings(text: &str) -> (Vec<TlsSettings>, Vec<String>) {
    let (config, remarks) = BrokerConfig::from_properties(properties(text)).expect(text);
    let encrypted = config.listeners.iter();
    let encrypted = encrypted.filter(|listener| listener.security_protocol.encrypts());
    let settings = encrypted.map(|listener| {
        let none = DynamicSettings::none();
        let read = config.settings.tls(listener, none, &mut Vec::new());
        read.expect("it was read before")
    });
    let remarks = remarks.into_iter().map(|remark| match remark {
        Remark::Info(text) | Remark::Warning(text) => text,
    });
    (settings.collect(), remarks.collect())
}

#[test]
fn a_store_is_a_file_two_files_or_text() {
    let keystore = |text: &str| settings(text).0.remove(0).keystore;
    assert!(matches!(
        keystore(STORE),
        Keystore::Store { path, key_password: None, .. } if path.as_os_str() == "/k"
    ));
    assert!(matches!(
        keystore(&format!("{PEM}ottla.ssl.key.location=/key\nssl.key.password=p")),
        Keystore::Pem { key_path: Some(key), key_password: Some(_), .. } if key.as_os_str() == "/key"
    ));
    let inline = "listeners=SSL://:1\nssl.keystore.type=PEM\nssl.keystore.key=k\nssl.keystore.certificate.chain=c";
    assert!(matches!(keystore(inline), Keystore::Inline { .. }));
    let trusted = |text: &str| settings(&format!("{STORE}{text}")).0.remove(0).truststore;
    assert!(trusted("").is_none());
    assert!(matches!(
        trusted("ssl.truststore.location=/t"),
        Some(Truststore::Store { password: None, .. })
    ));
    assert!(matches!(
        trusted("ssl.truststore.type=PEM\nssl.truststore.location=/t"),
        Some(Truststore::Pem { .. })
    ));
    assert!(matches!(
        trusted("ssl.truststore.type=PEM\nssl.truststore.certificates=c"),
        Some(Truststore::Inline { .. })
    ));
}

#[test]
fn what_does_not_fit_together_stops_the_start_and_names_the_key() {
    for (start, text, expected) in [
        (
            "listeners=SSL://:1\n",
            "",
            "ssl.keystore.location: the listener is to encrypt",
        ),
        (
            STORE,
            "ssl.keystore.key=k",
            "ssl.keystore.location: ssl.keystore.key is set as well",
        ),
        (
            STORE,
            "ssl.keystore.certificate.chain=c",
            "ssl.keystore.location: ssl.keystore.cert",
        ),
        (
            STORE,
            "ottla.ssl.key.location=/x",
            "ottla.ssl.key.location: it goes with",
        ),
        (
            STORE,
            "ssl.keystore.type=JCEKS",
            "ssl.keystore.type: expected PEM, PKCS12 or JKS",
        ),
        (
            STORE,
            "ssl.keystore.type=PEM",
            "ssl.keystore.password: a PEM keystore has no password",
        ),
        (
            PEM,
            "ssl.keystore.type=PKCS12",
            "ssl.keystore.location: there is no ssl.keystore.password",
        ),
        (
            "listeners=SSL://:1\nssl.keystore.type=PEM\n",
            "ssl.keystore.key=k",
            "ssl.keystore.key: there is no",
        ),
        (
            "listeners=SSL://:1\nssl.keystore.type=PEM\n",
            "ssl.keystore.certificate.chain=k",
            "there is no ssl.keystore.key",
        ),
        (
            "listeners=SSL://:1\n",
            "ssl.keystore.key=k\nssl.keystore.certificate.chain=c",
            "ssl.keystore.key: it is PEM",
        ),
        (
            PEM,
            "ssl.truststore.password=p",
            "ssl.truststore.password: there is no ssl.truststore.location",
        ),
        (
            PEM,
            "ssl.truststore.certificates=c",
            "ssl.truststore.certificates: it is PEM",
        ),
        (
            PEM,
            "ssl.client.auth=required",
            "ssl.client.auth: clients are to show a certificate",
        ),
        (
            PEM,
            "ssl.client.auth=requested",
            "ssl.client.auth: clients are to show a certificate",
        ),
        (
            PEM,
            "ssl.enabled.protocols=TLSv1.1",
            "older ones are not safe",
        ),
        (
            PEM,
            "ssl.enabled.protocols=TLS",
            "expected TLSv1.2 and TLSv1.3, not TLS",
        ),
        (
            PEM,
            "ssl.principal.mapping.rules=RULE:(/x/",
            "ssl.principal.mapping.rules: the pattern",
        ),
        (
            PEM,
            "ssl.engine.factory.class=org.example.Factory",
            "ssl.engine.factory.class cannot be ignored",
        ),
        (PEM, "ssl.provider=BCFIPS", "ssl.provider cannot be ignored"),
        (
            PEM,
            "ssl.trustmanager.algorithm=Any",
            "ssl.trustmanager.algorithm cannot be ignored",
        ),
        (
            PEM,
            "listener.name.sll.ssl.client.auth=required",
            "there is no listener of that name",
        ),
        (
            PEM,
            "security.inter.broker.protocol=SASL_SSL",
            "no listener has this security protocol",
        ),
    ] {
        let refused = refusal(&format!("{start}{text}"));
        assert!(refused.contains(expected), "{text}: {refused}");
    }
    let open =
        "listeners=PLAINTEXT://:1,SSL://:2\nssl.keystore.type=PEM\nssl.keystore.location=/k\n";
    let refused = refusal(&format!(
        "{open}listener.name.plaintext.ssl.client.auth=required"
    ));
    assert!(refused.contains("that listener has no TLS"), "{refused}");
}

#[test]
fn a_listeners_own_key_goes_over_the_one_for_all() {
    let text = "listeners=A://:1,B://:2\nlistener.security.protocol.map=A:SSL,B:SSL\n\
        ssl.keystore.type=PEM\nssl.keystore.location=/all\nssl.truststore.type=PEM\nssl.truststore.location=/t\n\
        ssl.client.auth=required\nssl.enabled.protocols=TLSv1.3\n\
        listener.name.b.ssl.client.auth=none\nlistener.name.b.ssl.keystore.location=/own\n\
        listener.name.b.ssl.enabled.protocols=TLSv1.2,TLSv1.1";
    let (settings, remarks) = settings(text);
    let [a, b] = settings.as_slice() else {
        panic!("{settings:?}");
    };
    assert_eq!(a.client_auth, ClientAuth::Required);
    assert_eq!((a.tls12, a.tls13), (false, true));
    assert_eq!(b.client_auth, ClientAuth::None);
    assert_eq!((b.tls12, b.tls13), (true, false));
    assert!(b.files().iter().any(|path| path.as_os_str() == "/own"));
    assert!(
        remarks.iter().any(|remark| remark.contains("TLSv1.1")),
        "{remarks:?}"
    );
}

/// The trap of Kafka: a certificate that is required of everybody is not asked for where clients log in.
#[test]
fn a_listener_with_log_ins_asks_for_certificates_with_its_own_key_alone() {
    let text = "listeners=SASL_SSL://:1\nsasl.enabled.mechanisms=PLAIN\nssl.keystore.type=PEM\nssl.keystore.location=/k\n\
        ssl.truststore.type=PEM\nssl.truststore.location=/t\nssl.client.auth=required\n";
    let (for_all, remarks) = settings(text);
    assert_eq!(for_all[0].client_auth, ClientAuth::None);
    let warns = |remark: &String| remark.contains("listener.name.LISTENER.ssl.client.auth");
    assert!(remarks.iter().any(warns), "{remarks:?}");
    let (own, remarks) = settings(&format!(
        "{text}listener.name.sasl_ssl.ssl.client.auth=required"
    ));
    assert_eq!(own[0].client_auth, ClientAuth::Required);
    assert!(!remarks.iter().any(warns), "{remarks:?}");
}

#[test]
fn no_password_is_told() {
    let text = format!(
        "{STORE}ssl.key.password=canary\nssl.truststore.location=/t\nssl.truststore.password=canary"
    );
    let (config, _) = BrokerConfig::from_properties(properties(&text)).expect("valid");
    let (settings, _) = settings(&text);
    let told = format!("{config:?} {settings:?}");
    assert!(!told.contains("canary"), "{told}");
}
