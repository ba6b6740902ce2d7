//! What those who log in and those who let in have in common: secrets, the arithmetic of SCRAM, and the lines of JAAS.
//!
//! The broker and its command line (`console`) use it, and see nothing else of each other.

pub mod jaas;
mod password_variable;
pub mod scram;
pub mod secret;

pub use password_variable::password_variable;
