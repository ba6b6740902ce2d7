//! How clients of a listener log in: the keys of SASL, for each listener and mechanism.
//!
//! Key K for listener X and mechanism M is `listener.name.x.m.K`, else `listener.name.x.K`, else `K`. Only
//! `sasl.jaas.config` counts for one mechanism of one listener alone.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::broker_keys::listener_key;
use super::broker_row::{BrokerRow, kafka, own};
use super::def::{InvalidValue, Kind, list};
use super::effects::{Remark, asks_for_nothing, base_name};
use super::error::ConfigError;
use super::listeners::{Listener, controller_names};
use super::section::section;
use super::settings::Settings;
use crate::security::jwks::KeySource;
#[cfg(feature = "gssapi")]
use crate::security::kerberos_names::LocalNames;
#[cfg(feature = "gssapi")]
use crate::security::sasl::gssapi::KerberosService;
use crate::security::sasl::mechanisms::{Mechanism, Mechanisms, Offered};
use crate::security::sasl::plain::PlainUsers;
use crate::security::tokens::{SignedTokens, TokenCheck, UnsecuredTokens};
use credentials::jaas::LoginModule;
use credentials::scram::ScramMechanism;
use credentials::secret::Secret;

section! {
    /// How long clients may take to log in, and how many may be about it. Times are milliseconds.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct AuthenticationConfig of BrokerRow {}
    keys {
        /// A client whose log-in has failed waits for its answer this long.
        failed_delay_ms: u64 = kafka("connection.failed.authentication.delay.ms"),
        /// How long a client may take from connecting until it has logged in.
        timeout_ms: u64 = own("ottla.authentication.timeout.ms", Kind::Long, "30000").at_least(1),
        /// Most connections that have not logged in yet, where the listener asks for that; the oldest of them makes room.
        unauthenticated_max: usize =
            own("ottla.unauthenticated.connections.max", Kind::Int, "512").at_least(1),
    }
    also {
        /// What clients of SASL listeners may log in with: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER; in builds with the cargo
        /// feature gssapi also Kafka's default, GSSAPI. May be set for one listener.
        _ = kafka(ENABLED_MECHANISMS),
        /// Login module of one mechanism of one listener (listener.name.LISTENER.MECHANISM.sasl.jaas.config): users of PLAIN as
        /// user_NAME="PASSWORD". Without one PLAIN takes the passwords of SCRAM users. For GSSAPI the Krb5LoginModule with keyTab and
        /// principal.
        _ = kafka(JAAS_CONFIG),
        /// How long a log-in holds before the client has to prove again who it is (KIP-368); 0: as long as the connection. May be
        /// set for one listener, and for one mechanism of it.
        _ = kafka(MAX_REAUTH),
        /// Largest frame of a client that has not logged in. May be set for one listener.
        _ = kafka(MAX_RECEIVE_SIZE),
        /// How tokens of OAUTHBEARER are checked: Kafka's OAuthBearerValidatorCallbackHandler, or
        /// OAuthBearerUnsecuredValidatorCallbackHandler, which accepts tokens that anybody may have written. Counts as
        /// listener.name.LISTENER.oauthbearer.sasl.server.callback.handler.class.
        _ = kafka(CALLBACK_HANDLER),
        /// JWK set with the keys that tokens are signed with: file:, http: or https:, with the certificates that the system
        /// trusts (SSL_CERT_FILE). May be set for one listener, as the other keys of tokens.
        _ = kafka(JWKS_URL),
        /// How often that set is read again.
        _ = kafka(JWKS_REFRESH),
        /// A token has to be for one of these; unset: it must name no audience.
        _ = kafka(AUDIENCE),
        /// A token has to be of this issuer; unset: of any whose key is in the set.
        _ = kafka(ISSUER),
        /// How far the clock of an issuer may be off.
        _ = kafka(CLOCK_SKEW),
        /// Claim that has a token's scope.
        _ = kafka(SCOPE_CLAIM),
        /// Claim that names the user of a token.
        _ = kafka(SUB_CLAIM),
        /// What makes a user's name of a principal of Kerberos: DEFAULT, or RULE:[N:FORMAT](MATCH)s/FROM/TO/g/L. May be set for one
        /// listener.
        _ = kafka(KERBEROS_RULES),
        /// The first part of the broker's principal, which clients ask for tickets to. Has to be that of the login module.
        _ = kafka(KERBEROS_SERVICE),
    }
}

pub(super) const ENABLED_MECHANISMS: &str = "sasl.enabled.mechanisms";
const BETWEEN_BROKERS: &str = "sasl.mechanism.inter.broker.protocol";
pub(super) const JAAS_CONFIG: &str = "sasl.jaas.config";
const MAX_REAUTH: &str = "connections.max.reauth.ms";
const MAX_RECEIVE_SIZE: &str = "sasl.server.max.receive.size";
const CALLBACK_HANDLER: &str = "sasl.server.callback.handler.class";
const JWKS_URL: &str = "sasl.oauthbearer.jwks.endpoint.url";
const JWKS_REFRESH: &str = "sasl.oauthbearer.jwks.endpoint.refresh.ms";
const AUDIENCE: &str = "sasl.oauthbearer.expected.audience";
const ISSUER: &str = "sasl.oauthbearer.expected.issuer";
const CLOCK_SKEW: &str = "sasl.oauthbearer.clock.skew.seconds";
const SCOPE_CLAIM: &str = "sasl.oauthbearer.scope.claim.name";
const KERBEROS_RULES: &str = "sasl.kerberos.principal.to.local.rules";
const KERBEROS_SERVICE: &str = "sasl.kerberos.service.name";
const SUB_CLAIM: &str = "sasl.oauthbearer.sub.claim.name";

/// Those that let nobody in, or not for as long, where a listener asks for a log-in.
const PROTECTING: &[&str] = &[
    ENABLED_MECHANISMS,
    JAAS_CONFIG,
    MAX_REAUTH,
    CALLBACK_HANDLER,
    JWKS_URL,
    AUDIENCE,
    ISSUER,
    SCOPE_CLAIM,
    SUB_CLAIM,
    KERBEROS_RULES,
    KERBEROS_SERVICE,
];

/// Keys that count for one listener, too.
pub(super) const OF_LISTENERS: &[&str] = &[
    ENABLED_MECHANISMS,
    JAAS_CONFIG,
    MAX_REAUTH,
    MAX_RECEIVE_SIZE,
    CALLBACK_HANDLER,
    JWKS_URL,
    JWKS_REFRESH,
    AUDIENCE,
    ISSUER,
    CLOCK_SKEW,
    SCOPE_CLAIM,
    SUB_CLAIM,
    KERBEROS_RULES,
    KERBEROS_SERVICE,
];

/// Those of them that are for clients with tickets of Kerberos.
const OF_KERBEROS: &[&str] = &[KERBEROS_RULES, KERBEROS_SERVICE];

const KERBEROS: &str = "GSSAPI";
const KERBEROS_MODULE: &str = "com.sun.security.auth.module.Krb5LoginModule";
const PLAIN_MODULE: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";
const SCRAM_MODULE: &str = "org.apache.kafka.common.security.scram.ScramLoginModule";
const TOKEN_MODULE: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule";
const SIGNED_CLASSES: &[&str] = &[
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler",
    "org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerValidatorCallbackHandler",
];
const UNSECURED_CLASS: &str = "org.apache.kafka.common.security.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler";
const USER_OPTION: &str = "user_";

/// The class of a mechanism's login module.
pub(super) fn login_module(mechanism: &str) -> Option<&'static str> {
    match mechanism {
        "PLAIN" => Some(PLAIN_MODULE),
        "OAUTHBEARER" => Some(TOKEN_MODULE),
        KERBEROS => Some(KERBEROS_MODULE),
        other => ScramMechanism::from_name(other).map(|_| SCRAM_MODULE),
    }
}

/// The mechanisms of a listener that asks for a log-in.
///
/// # Errors
/// One of them is not there, none is named, or a key of theirs cannot be used.
pub(super) fn mechanisms(settings: &Settings, listener: &str) -> Result<Mechanisms, ConfigError> {
    let keys = Keys { settings, listener };
    let (key, names) = keys.get(None, ENABLED_MECHANISMS);
    let mut offered = Vec::new();
    for name in list(names) {
        let Some(mechanism) = keys.mechanism(name)? else {
            return Err(refuse(&key, names, not_there(name, listener)));
        };
        offered.push(Offered {
            mechanism,
            max_reauth: keys.max_reauth(name),
        });
    }
    if offered.is_empty() {
        let expected = format!("listener {listener} needs a mechanism; {THERE_ARE}");
        return Err(refuse(&key, names, expected));
    }
    let (_, size) = keys.get(None, MAX_RECEIVE_SIZE);
    Ok(Mechanisms {
        offered,
        max_receive_bytes: size.trim().parse().unwrap_or(0),
    })
}

/// As whom this broker logs in at the others by a listener, as its login module says.
///
/// # Errors
/// The key that does not say it.
pub(crate) fn own_login(
    settings: &Settings,
    listener: &str,
    mechanism: &str,
) -> Result<(String, Secret), ConfigError> {
    let keys = Keys { settings, listener };
    if mechanism != "PLAIN" && ScramMechanism::from_name(mechanism).is_none() {
        let expected = format!(
            "brokers log in at each other by listener {listener}: expected PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
        );
        return Err(refuse(BETWEEN_BROKERS, mechanism, expected));
    }
    let module = login_module(mechanism).unwrap_or_default();
    let mut options = keys.options(mechanism, module)?.unwrap_or_default();
    match (options.remove("username"), options.remove("password")) {
        (Some(user), Some(password)) => Ok((user.expose().to_owned(), password)),
        _ => {
            let key = keys.of_mechanism(mechanism, JAAS_CONFIG);
            let expected = format!(
                "brokers log in at each other by this listener: expected {module} required username=\"NAME\" password=\"PASSWORD\" ...;"
            );
            Err(refuse(&key, "[hidden]", expected))
        }
    }
}

/// Refuses keys that protect where no listener asks for a log-in: whoever has set them believes that one does.
///
/// # Errors
/// The first such key.
pub(super) fn check_used(
    settings: &Settings,
    listeners: &[Listener],
) -> Result<Vec<Remark>, ConfigError> {
    let mut remarks = Vec::new();
    let controllers: Vec<String> = controller_names(settings);
    let has_login = |name: &str| {
        let named = |listener: &&Listener| listener.name.eq_ignore_ascii_case(name);
        let found = listeners.iter().find(named);
        found.map(|listener| listener.mechanisms.is_some())
    };
    for listener in listeners.iter().filter(|one| is_in_clear(one)) {
        remarks.push(Remark::Warning(format!(
            "clients of listener {} send passwords in the clear (PLAIN over SASL_PLAINTEXT): use SASL_SSL, or SCRAM",
            listener.name
        )));
    }
    for key in settings.set_keys() {
        let (base, value) = (base_name(key), settings.explicit(key).unwrap_or_default());
        if !PROTECTING.contains(&base) || asks_for_nothing(base, value) {
            continue;
        }
        let unserved = |why| Err(ConfigError::unserved(key, why));
        if OF_KERBEROS.contains(&base) && !listeners.iter().any(has_kerberos) {
            return unserved("no listener lets its clients log in with SASL's GSSAPI");
        }
        match listener_key(key) {
            Some((name, _)) => match has_login(name) {
                Some(true) => {}
                // Of a listener that is not opened.
                None if controllers.iter().any(|one| one.eq_ignore_ascii_case(name)) => {}
                Some(false) => {
                    return unserved("its listener is neither SASL_PLAINTEXT nor SASL_SSL");
                }
                None => {
                    return unserved("there is no listener of this name to log in at with SASL");
                }
            },
            None if listeners.iter().all(|one| one.mechanisms.is_none()) => {
                return unserved("no listener is SASL_PLAINTEXT or SASL_SSL");
            }
            None if base == JAAS_CONFIG => remarks.push(Remark::Warning(format!(
                "key {key} has no effect: it counts as listener.name.LISTENER.MECHANISM.{key} only"
            ))),
            None => {}
        }
    }
    Ok(remarks)
}

fn has_kerberos(listener: &Listener) -> bool {
    let mechanisms = listener.mechanisms.as_ref();
    mechanisms.is_some_and(|mechanisms| mechanisms.names().any(|name| name == KERBEROS))
}

/// Whether passwords can be read on their way, beyond this machine.
fn is_in_clear(listener: &Listener) -> bool {
    let is_plain = |offered: &Offered| matches!(offered.mechanism, Mechanism::Plain(_));
    let takes_plain = listener.mechanisms.as_ref();
    let takes_plain = takes_plain.is_some_and(|one| one.offered.iter().any(is_plain));
    let host = listener.bind.host.as_str();
    let is_near = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    takes_plain && !listener.security_protocol.encrypts() && !is_near
}

const THERE_ARE: &str = match cfg!(feature = "gssapi") {
    true => "there are PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER and GSSAPI",
    false => "there are PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER",
};

fn not_there(name: &str, listener: &str) -> String {
    let why = match name {
        KERBEROS => {
            ", which is Kafka's default, is not in this build: those with the cargo feature gssapi have it (cargo build --release -p \
             ottla --features gssapi). Take one of them, or"
        }
        _ => " is not supported;",
    };
    format!(
        "listener {listener} asks for a log-in, and mechanism {name}{why} set \
         listener.name.{}.{ENABLED_MECHANISMS}: {THERE_ARE}",
        listener.to_lowercase()
    )
}

fn refuse(key: &str, value: &str, expected: String) -> ConfigError {
    ConfigError::InvalidValue(InvalidValue {
        key: key.to_owned(),
        value: value.to_owned(),
        expected,
    })
}

struct Keys<'a> {
    settings: &'a Settings,
    listener: &'a str,
}

impl<'a> Keys<'a> {
    /// The value that counts, and the key that has it.
    fn get(&self, mechanism: Option<&str>, key: &str) -> (String, &'a str) {
        let listener = self.listener.to_lowercase();
        let of_listener = format!("listener.name.{listener}.{key}");
        let of_mechanism = mechanism.map(|name| self.of_mechanism(name, key));
        for own in of_mechanism.into_iter().chain([of_listener]) {
            if let Some(value) = self.settings.explicit(&own) {
                return (own, value);
            }
        }
        (key.to_owned(), self.settings.get(key).unwrap_or(""))
    }

    fn of_mechanism(&self, mechanism: &str, key: &str) -> String {
        let listener = self.listener.to_lowercase();
        format!(
            "listener.name.{listener}.{}.{key}",
            mechanism.to_lowercase()
        )
    }

    fn max_reauth(&self, mechanism: &str) -> Option<Duration> {
        let (_, value) = self.get(Some(mechanism), MAX_REAUTH);
        let ms = value.trim().parse().ok().filter(|ms| *ms > 0);
        ms.map(Duration::from_millis)
    }

    /// `None`: there is no such mechanism.
    fn mechanism(&self, name: &str) -> Result<Option<Mechanism>, ConfigError> {
        if name == "OAUTHBEARER" {
            return Ok(Some(Mechanism::OAuthBearer(Arc::new(self.tokens(name)?))));
        }
        let (key, class) = (self.of_mechanism(name, CALLBACK_HANDLER), CALLBACK_HANDLER);
        if let Some(class) = self
            .settings
            .explicit(&key)
            .or(self.settings.explicit(class))
        {
            let expected = "there are no plugins: SASL would not ask the class".to_owned();
            return Err(refuse(&key, class, expected));
        }
        if name == "PLAIN" {
            let users = self.options(name, PLAIN_MODULE)?.map(|options| {
                let users = options.into_iter().filter_map(|(name, password)| {
                    Some((name.strip_prefix(USER_OPTION)?.to_owned(), password))
                });
                PlainUsers::Listed(Arc::new(users.collect()))
            });
            return Ok(Some(Mechanism::Plain(users.unwrap_or(PlainUsers::Scram))));
        }
        #[cfg(feature = "gssapi")]
        if name == KERBEROS {
            return Ok(Some(Mechanism::Gssapi(Arc::new(self.kerberos()?))));
        }
        let Some(scram) = ScramMechanism::from_name(name) else {
            return Ok(None);
        };
        // What it says is for connections to other brokers.
        self.options(name, SCRAM_MODULE)?;
        Ok(Some(Mechanism::Scram(scram)))
    }

    /// What the broker reads tickets with.
    #[cfg(feature = "gssapi")]
    fn kerberos(&self) -> Result<KerberosService, ConfigError> {
        let key = self.of_mechanism(KERBEROS, JAAS_CONFIG);
        let options = self.options(KERBEROS, KERBEROS_MODULE)?.unwrap_or_default();
        let option = |name| options.get(name).map(Secret::expose).unwrap_or_default();
        let (keytab, principal) = (option("keyTab"), option("principal"));
        let has_key = option("useKeyTab").eq_ignore_ascii_case("true") && !keytab.is_empty();
        if !has_key || principal.is_empty() {
            let expected = format!(
                "GSSAPI needs {KERBEROS_MODULE} required useKeyTab=true keyTab=\"FILE\" principal=\"SERVICE/HOST@REALM\";"
            );
            return Err(refuse(&key, "[hidden]", expected));
        }
        let of_module = options.get("serviceName").map(Secret::expose);
        let (service_key, service) = match of_module {
            Some(service) => (key, service),
            None => self.get(Some(KERBEROS), KERBEROS_SERVICE),
        };
        let own = principal.split(['/', '@']).next().unwrap_or_default();
        if !service.is_empty() && service != own {
            let expected =
                format!("clients would ask for tickets to it, and the key is that of {own}");
            return Err(refuse(&service_key, service, expected));
        }
        let (rules_key, rules) = self.get(Some(KERBEROS), KERBEROS_RULES);
        let names = LocalNames::parse(list(rules));
        Ok(KerberosService {
            keytab: keytab.into(),
            principal: principal.to_owned(),
            names: names.map_err(|expected| refuse(&rules_key, rules, expected))?,
        })
    }

    /// How tokens are checked.
    fn tokens(&self, name: &str) -> Result<TokenCheck, ConfigError> {
        let options = self.options(name, TOKEN_MODULE)?.unwrap_or_default();
        let key = self.of_mechanism(name, CALLBACK_HANDLER);
        let class = self.settings.explicit(&key);
        let (url_key, url) = self.get(Some(name), JWKS_URL);
        let is_signed = match class {
            Some(class) if SIGNED_CLASSES.contains(&class) => true,
            Some(UNSECURED_CLASS) => false,
            Some(other) => {
                let expected = format!("expected {} or {UNSECURED_CLASS}", SIGNED_CLASSES[0]);
                return Err(refuse(&key, other, expected));
            }
            None => true,
        };
        let text = |option: &str, default: &str| {
            let text = options
                .get(option)
                .map(|text| text.expose().trim().to_owned());
            text.filter(|text| !text.is_empty())
                .unwrap_or_else(|| default.to_owned())
        };
        if !is_signed {
            return Ok(TokenCheck::Unsecured(UnsecuredTokens {
                subject_claim: text("unsecuredValidatorPrincipalClaimName", "sub"),
                scope_claim: text("unsecuredValidatorScopeClaimName", "scope"),
                required_scope: text("unsecuredValidatorRequiredScope", "")
                    .split_whitespace()
                    .map(str::to_owned)
                    .collect(),
                skew_ms: text("unsecuredValidatorAllowableClockSkewMs", "0")
                    .parse()
                    .unwrap_or(0),
            }));
        }
        let Some(keys) = KeySource::parse(url.trim()) else {
            let expected = "OAUTHBEARER needs a URL (file:, http:, https:) of the keys that tokens are signed with";
            return Err(refuse(&url_key, url, expected.to_owned()));
        };
        let value = |key| self.get(Some(name), key).1.trim();
        let number = |key| value(key).parse::<i64>().unwrap_or(0).max(0);
        let refresh_ms = u64::try_from(number(JWKS_REFRESH)).unwrap_or(0).max(1000);
        Ok(TokenCheck::Signed(SignedTokens {
            keys,
            refresh: Duration::from_millis(refresh_ms),
            audience: list(value(AUDIENCE)).map(str::to_owned).collect(),
            issuer: Some(value(ISSUER).to_owned()).filter(|issuer| !issuer.is_empty()),
            skew_ms: number(CLOCK_SKEW).saturating_mul(1000),
            subject_claim: value(SUB_CLAIM).to_owned(),
            scope_claim: value(SCOPE_CLAIM).to_owned(),
        }))
    }

    /// The options of a mechanism's login module. `None`: it has none.
    fn options(
        &self,
        mechanism: &str,
        class: &str,
    ) -> Result<Option<BTreeMap<String, Secret>>, ConfigError> {
        let key = self.of_mechanism(mechanism, JAAS_CONFIG);
        let Some(text) = self.settings.explicit(&key) else {
            return Ok(None);
        };
        let hidden = |expected: String| refuse(&key, "[hidden]", expected);
        let module = LoginModule::parse(text).map_err(|error| hidden(error.to_string()))?;
        if module.class != class {
            let expected =
                format!("expected {class}, there are no other login modules for {mechanism}");
            return Err(hidden(expected));
        }
        Ok(Some(module.options))
    }
}
