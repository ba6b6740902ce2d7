//! Who is let in, and what is hidden from others on the way: log-ins, certificates, and the secrets that they are about.

pub(crate) mod between_brokers;
pub(crate) mod delegation;
pub mod first_users;
pub(crate) mod java_pattern;
pub mod jwks;
#[cfg(any(feature = "gssapi", test))]
pub mod kerberos_names;
pub(crate) mod logins;
pub mod sasl;
pub mod tls;
pub mod tokens;
