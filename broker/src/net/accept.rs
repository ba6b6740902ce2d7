//! Accepting connections, whatever the system says meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::client_text::client_text;
use crate::log_limit::{LogLimit, Verdict};

/// Pause after accept fails for lack of file descriptors, instead of spinning.
const PAUSE: Duration = Duration::from_millis(50);
/// As long as there are none, it fails again and again: that is one line in 30 seconds.
static FAILURES: LogLimit = LogLimit::of(1, Duration::from_secs(30));

/// The next connection of a listener called `name`.
pub(crate) async fn accept(listener: &TcpListener, name: &str) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                if let Verdict::Write { left_out_before } =
                    FAILURES.admit(std::time::Instant::now())
                {
                    tracing::warn!(listener = %client_text(name), failed_before = left_out_before, "cannot accept a connection: {error}");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
