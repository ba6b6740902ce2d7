//! What the image has in it, run without Docker: as testcontainers' modules start it.

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
