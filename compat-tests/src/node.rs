//! Node.js clients.
