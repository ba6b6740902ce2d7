//! Who a client is: log-ins, and the secrets that they are about.

pub mod jaas;
pub(crate) mod logins;
pub mod sasl;
pub mod scram;
pub mod secret;
