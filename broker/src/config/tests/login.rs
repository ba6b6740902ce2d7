//! Which mechanisms a listener offers, as its keys say it.

use super::*;
use crate::security::jwks::KeySource;
use crate::security::sasl::mechanisms::{Mechanism, Mechanisms};
use crate::security::sasl::plain::PlainUsers;
use crate::security::tokens::TokenCheck;

const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";
const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule";

fn of(text: &str) -> Mechanisms {
    let config = config(&format!(
        "listeners=SASL_PLAINTEXT://localhost:9092\n{text}"
    ));
    let mechanisms = config.listeners[0].mechanisms.as_deref();
    mechanisms.cloned().expect("it asks for a log-in")
}

fn names(mechanisms: &Mechanisms) -> Vec<&str> {
    let offered = mechanisms.offered.iter();
    offered.map(|offered| offered.mechanism.name()).collect()
}

fn refused(text: &str) -> String {
    refusal(&format!(
        "listeners=SASL_PLAINTEXT://localhost:9092\n{text}"
    ))
}

#[test]
fn a_listener_offers_what_it_is_told_to_in_that_order() {
    let all = "SCRAM-SHA-512,PLAIN,SCRAM-SHA-256";
    let text = format!("sasl.enabled.mechanisms={all}");
    assert_eq!(names(&of(&text)).join(","), all);
    // The listener's own key goes over the one for all.
    let own = "listener.name.sasl_plaintext.sasl.enabled.mechanisms=PLAIN";
    assert_eq!(names(&of(&format!("{text}\n{own}"))), ["PLAIN"]);
    let mechanisms = of(&format!("{text}\nsasl.server.max.receive.size=77"));
    assert_eq!(mechanisms.max_receive_bytes, 77);
    assert_eq!(of(&text).max_receive_bytes, 524_288);
    assert!(config("").listeners[0].mechanisms.is_none());
}

#[test]
fn users_of_plain_are_those_of_the_login_module_of_the_listener() {
    let enabled = "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256";
    let jaas = "listener.name.sasl_plaintext.plain.sasl.jaas.config";
    let text = format!(
        "{enabled}\n{jaas}={PLAIN} required \\\n username=\"x\" password=\"canary\" user_alice=\"canary\";"
    );
    let mechanisms = of(&text);
    let Mechanism::Plain(PlainUsers::Listed(users)) = &mechanisms.offered[0].mechanism else {
        panic!("{mechanisms:?}");
    };
    assert_eq!(users.keys().collect::<Vec<_>>(), ["alice"]);
    assert!(users["alice"].is(b"canary"));
    assert!(!format!("{mechanisms:?}").contains("canary"));
    let without = of(enabled);
    assert_eq!(
        without.offered[0].mechanism,
        Mechanism::Plain(PlainUsers::Scram)
    );
    // What it says is for connections to other brokers.
    let scram = "listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config";
    of(&format!(
        "{enabled}\n{scram}={SCRAM} required username=\"a\" password=\"b\";"
    ));
    for (value, expected) in [
        (
            format!("{PLAIN} required user_a=\"canary\""),
            "not terminated",
        ),
        (format!("{SCRAM} required user_a=\"canary\";"), PLAIN),
        (
            "org.example.Module required x=\"canary\";".to_owned(),
            PLAIN,
        ),
        ("canary".to_owned(), "control flag"),
    ] {
        let refused = refused(&format!("{enabled}\n{jaas}={value}"));
        assert!(
            refused.contains(expected) && refused.contains(jaas),
            "{refused}"
        );
        assert!(
            refused.contains("[hidden]") && !refused.contains("canary"),
            "{refused}"
        );
    }
}

#[test]
fn how_long_a_log_in_holds_may_be_said_for_each_mechanism() {
    let text = "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
                connections.max.reauth.ms=1000\n\
                listener.name.sasl_plaintext.connections.max.reauth.ms=2000\n\
                listener.name.sasl_plaintext.scram-sha-256.connections.max.reauth.ms=3000\n\
                listener.name.sasl_plaintext.scram-sha-512.connections.max.reauth.ms=0";
    let mechanisms = of(text);
    let seconds = mechanisms.offered.iter();
    let seconds: Vec<_> = seconds
        .map(|offered| offered.max_reauth.map(|max| max.as_secs()))
        .collect();
    assert_eq!(seconds, [Some(2), Some(3), None]);
}

#[test]
#[cfg(not(feature = "gssapi"))]
fn a_mechanism_that_is_not_there_stops_the_start() {
    for (text, expected) in [
        (
            "",
            "mechanism GSSAPI, which is Kafka's default, is not in this build: those with the cargo feature gssapi have it",
        ),
        ("sasl.enabled.mechanisms=PLAIN,GSSAPI", "mechanism GSSAPI"),
        (
            "sasl.enabled.mechanisms=SCRAM-SHA-1",
            "mechanism SCRAM-SHA-1 is not supported",
        ),
        (
            "sasl.enabled.mechanisms=plain",
            "mechanism plain is not supported",
        ),
        ("sasl.enabled.mechanisms=", "needs a mechanism"),
    ] {
        let refused = refused(text);
        assert!(refused.contains(expected), "{text}: {refused}");
        assert!(
            refused.contains("SCRAM-SHA-512 and OAUTHBEARER"),
            "{text}: {refused}"
        );
    }
}

#[test]
fn keys_of_log_ins_that_nobody_is_asked_for_stop_the_start() {
    let sasl = "listeners=SASL_PLAINTEXT://localhost:1,OPEN://localhost:2,C://localhost:3\n\
                listener.security.protocol.map=SASL_PLAINTEXT:SASL_PLAINTEXT,OPEN:PLAINTEXT,C:SASL_PLAINTEXT\n\
                controller.listener.names=C\nsasl.enabled.mechanisms=PLAIN\n";
    assert_eq!(remarks(sasl), []);
    let controllers = "listener.name.c.plain.sasl.jaas.config=x required;";
    assert_eq!(remarks(&format!("{sasl}{controllers}")), []);
    for (line, expected) in [
        (
            "listener.name.open.sasl.enabled.mechanisms=PLAIN",
            "neither SASL_PLAINTEXT nor SASL_SSL",
        ),
        (
            "listener.name.sasl_plain.plain.sasl.jaas.config=x",
            "no listener of this name",
        ),
        ("listener.name.open.connections.max.reauth.ms=1", "neither"),
    ] {
        let refused = refusal(&format!("{sasl}{line}"));
        assert!(refused.contains(expected), "{line}: {refused}");
    }
    let misplaced = remarks(&format!("{sasl}sasl.jaas.config=x"));
    assert!(matches!(&misplaced[..], [Remark::Warning(text)] if text.contains("has no effect")));
}

#[test]
fn tokens_are_checked_with_keys_or_not_at_all_where_the_class_for_that_is_named() {
    let enabled = "sasl.enabled.mechanisms=OAUTHBEARER\n";
    let own = "listener.name.sasl_plaintext.oauthbearer";
    let class = format!("{own}.sasl.server.callback.handler.class");
    let package = "org.apache.kafka.common.security.oauthbearer";
    let unsecured =
        format!("{package}.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler");
    let check = |text: &str| match of(&format!("{enabled}{text}")).offered.remove(0).mechanism {
        Mechanism::OAuthBearer(check) => check,
        other => panic!("{other:?}"),
    };
    let text = format!(
        "{class}={package}.OAuthBearerValidatorCallbackHandler\n\
         {own}.sasl.oauthbearer.jwks.endpoint.url=https://h/keys\n\
         sasl.oauthbearer.expected.audience=a,b\n\
         listener.name.sasl_plaintext.sasl.oauthbearer.expected.issuer=me\n\
         sasl.oauthbearer.clock.skew.seconds=7\n\
         {own}.sasl.jaas.config={package}.OAuthBearerLoginModule required;"
    );
    let TokenCheck::Signed(signed) = &*check(&text) else {
        panic!("unsigned");
    };
    assert_eq!(
        Some(signed.keys.clone()),
        KeySource::parse("https://h/keys")
    );
    assert_eq!(
        (signed.audience.join(" "), signed.issuer.as_deref()),
        ("a b".into(), Some("me"))
    );
    assert_eq!((signed.skew_ms, signed.refresh.as_secs()), (7000, 3600));
    assert_eq!(
        (signed.subject_claim.as_str(), signed.scope_claim.as_str()),
        ("sub", "scope")
    );
    let text = format!(
        "{class}={unsecured}\n{own}.sasl.jaas.config={package}.OAuthBearerLoginModule required \
         unsecuredValidatorPrincipalClaimName=\"user\" unsecuredValidatorRequiredScope=\"a b\";"
    );
    let TokenCheck::Unsecured(unsigned) = &*check(&text) else {
        panic!("signed");
    };
    assert_eq!(
        (
            unsigned.subject_claim.as_str(),
            unsigned.required_scope.join(",")
        ),
        ("user", "a,b".into())
    );
    for (text, expected) in [
        (String::new(), "needs a URL"),
        (
            "sasl.oauthbearer.jwks.endpoint.url=ftp://h".to_owned(),
            "needs a URL",
        ),
        (
            format!("{class}=org.example.Handler"),
            "OAuthBearerValidatorCallbackHandler",
        ),
    ] {
        let refused = refused(&format!("{enabled}{text}"));
        assert!(refused.contains(expected), "{text}: {refused}");
    }
    let scram = "listener.name.sasl_plaintext.scram-sha-256.sasl.server.callback.handler.class=x";
    let refused = refused(&format!("sasl.enabled.mechanisms=SCRAM-SHA-256\n{scram}"));
    assert!(refused.contains("no plugins"), "{refused}");
}

#[test]
fn passwords_in_the_clear_beyond_this_machine_are_warned_of() {
    let warned = |listener: &str, mechanisms: &str| {
        let text = format!("listeners={listener}\nsasl.enabled.mechanisms={mechanisms}");
        let remarks = remarks(&text);
        let is_it = |remark: &Remark| matches!(remark, Remark::Warning(text) if text.contains("in the clear"));
        remarks.iter().any(is_it)
    };
    assert!(warned(
        "SASL_PLAINTEXT://192.0.2.1:9092",
        "SCRAM-SHA-256,PLAIN"
    ));
    assert!(!warned("SASL_PLAINTEXT://192.0.2.1:9092", "SCRAM-SHA-256"));
    for near in ["localhost", "127.0.0.1", "[::1]"] {
        assert!(
            !warned(&format!("SASL_PLAINTEXT://{near}:9092"), "PLAIN"),
            "{near}"
        );
    }
}

#[test]
fn a_broker_logs_in_at_the_others_as_the_login_module_of_the_listener_says() {
    let own = |text: &str, mechanism: &str| {
        let listener = "listeners=SASL_PLAINTEXT://localhost:9092\nsasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256\n";
        let config = config(&format!("{listener}{text}"));
        let login = own_login(&config.settings, "SASL_PLAINTEXT", mechanism);
        login.map_err(|error| error.to_string())
    };
    let key = "listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config";
    let module = format!("{key}={SCRAM} required username=\"broker\" password=\"between\";");
    let (user, password) = own(&module, "SCRAM-SHA-256").expect("it is said");
    assert_eq!((&*user, password.expose()), ("broker", "between"));
    let clients = format!(
        "listener.name.sasl_plaintext.plain.sasl.jaas.config={PLAIN} required user_a=\"between\";"
    );
    for (text, mechanism, expected) in [
        ("", "GSSAPI", "sasl.mechanism.inter.broker.protocol"),
        ("", "SCRAM-SHA-256", "username="),
        (&*clients, "PLAIN", "username="),
    ] {
        let why = own(text, mechanism).expect_err("nobody says who it is");
        assert!(why.contains(expected), "{why}");
        assert!(!why.contains("between\""), "it tells a password: {why}");
    }
}
