//! The own tests of clients in Python, with their log-ins, certificates and ACLs: what passes, and why something else does not, is
//! what `coverage/public-suites/` says.

mod aiokafka;
mod kafka_python;

use std::process::Command;

use anyhow::Result;
use compat_tests::coverage::Outcome;
use compat_tests::python::Python;

/// The version of Kafka that the broker is to the tests; they leave out what is not for it.
const KAFKA_VERSION: &str = "4.4.0";

fn pytest(python: &Python) -> Command {
    let mut pytest = Command::new(python.installed("pytest"));
    pytest.args(["-q", "-rA", "--show-capture=no", "-p", "no:cacheprovider"]);
    pytest.env("KAFKA_VERSION", KAFKA_VERSION);
    pytest
}

/// Runs it, and gives what became of each test that was not left out, and all that it said.
fn outcomes(pytest: &mut Command) -> Result<(Vec<Outcome>, String)> {
    let said = pytest.output()?.stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    let mut outcomes = Vec::new();
    // Its summary: PASSED DIR/FILE.py::TEST, FAILED DIR/FILE.py::TEST - ERROR.
    for line in said.lines() {
        let Some((outcome, test)) = line.split_once(' ') else {
            continue;
        };
        let (test, error) = test.split_once(" - ").unwrap_or((test, "see its output"));
        let name = test.rsplit('/').next().unwrap_or(test).to_owned();
        match outcome {
            "PASSED" => outcomes.push((name, Ok(()))),
            "FAILED" | "ERROR" => outcomes.push((name, Err(error.to_owned()))),
            _ => {}
        }
    }
    Ok((outcomes, said))
}
