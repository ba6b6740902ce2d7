//! Who is let in, and what is hidden from others on the way: log-ins, certificates, and the secrets that they are about.

pub(crate) mod delegation;
pub mod first_users;
pub mod jwks;
pub(crate) mod logins;
pub mod sasl;
pub mod tls;
pub mod tokens;
