//! What the image has in it, run without Docker: as testcontainers' modules start it, and as a compose file does.

use std::process::Command;

use anyhow::Result;
use compat_tests::python::Python;
use compat_tests::toolchain::{available, run};

use crate::{binary, on_a_copy, source};

/// A program of `clients/image`, where Kafka's Python client is at hand.
fn program(name: &str, args: &[&str]) -> Result<Command> {
    let python = Python::with("image", "1")?;
    let mut command = on_a_copy(&python.command(name, args))?;
    command.env("BINARY", binary()?).env("SOURCE", source("."));
    Ok(command)
}

#[test]
fn the_modules_of_testcontainers_start_it() -> Result<()> {
    let Some(mut modules) = available(program("modules.py", &[]))? else {
        return Ok(());
    };
    println!("seconds until each was ready: {}", run(&mut modules)?);
    Ok(())
}

#[test]
fn a_compose_file_is_served_with_its_health_check_and_its_topics() -> Result<()> {
    let file = source("compat-tests/clients/image/docker-compose.yml");
    let Some(mut compose) = available(program("compose.py", &[&file.display().to_string()]))?
    else {
        return Ok(());
    };
    assert_eq!(run(&mut compose)?.lines().last(), Some("done"));
    Ok(())
}
