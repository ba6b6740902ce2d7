//! `control.sock` in the data directory: what the operator of this machine asks of a broker that runs, past its listeners.
//!
//! Whoever may write into the data directory can do all of this anyway, and nobody else can use the socket: its file is the
//! owner's alone, and the user at the other end is asked for. So a request needs no password, which is the way back in when
//! nobody knows one.
//!
//! A request is one line of JSON. The answer is a line `{"done": ...}` or `{"error": "..."}`; lines `{"progress": ...}` may come
//! before it. Whoever hangs up breaks off what was asked for.

mod client;
mod server;

pub use client::call;
pub(crate) use server::{ControlSocket, run};

/// The name of the socket in the data directory.
const SOCKET: &str = "control.sock";

#[cfg(test)]
mod tests;
