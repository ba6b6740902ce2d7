//! The end that asks.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use super::SOCKET;

/// Asks the broker whose data is in `data_dir`. `progress` is told how far it has come.
///
/// # Errors
/// No broker serves the directory, or it refuses; one line for the operator.
pub fn call(
    data_dir: &Path,
    request: &Value,
    mut progress: impl FnMut(&Value),
) -> Result<Value, String> {
    let path = data_dir.join(SOCKET);
    let shown = path.display();
    let mut stream = UnixStream::connect(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => format!(
            "no broker serves {}: nobody listens on {shown}",
            data_dir.display()
        ),
        ErrorKind::PermissionDenied => {
            format!("{shown}: only the user that the broker runs as may use it, and root")
        }
        _ => format!("{shown}: {error}"),
    })?;
    let failed = |error: std::io::Error| format!("{shown}: {error}");
    stream
        .write_all(format!("{request}\n").as_bytes())
        .map_err(failed)?;
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(failed)?;
        let mut answer: Value = serde_json::from_str(&line)
            .map_err(|error| format!("{shown}: the answer makes no sense: {error}"))?;
        if let Some(error) = answer.get("error") {
            return Err(error
                .as_str()
                .map_or_else(|| error.to_string(), str::to_owned));
        }
        match answer.get_mut("done") {
            Some(done) => return Ok(done.take()),
            None => progress(answer.get("progress").unwrap_or(&Value::Null)),
        }
    }
    Err(format!(
        "{shown}: the broker has hung up without an answer: it stops, or too many ask at once"
    ))
}
