//! What the figures were measured on.

use std::fs;
use std::process::Command;

/// Lines that say which machine, which system and which commit this is.
pub fn describe() -> Vec<String> {
    let field = |file: &str, key: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.split_once(':'));
        value.map_or_else(|| "?".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let output = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output();
        output.map_or_else(
            |_| "?".to_owned(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let temp = std::env::temp_dir();
    vec![
        format!("date: {}", output("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        format!(
            "commit: {}",
            output("git", &["rev-parse", "--short", "HEAD"])
        ),
        format!(
            "processor: {}, {cores} cores",
            field("/proc/cpuinfo", "model name")
        ),
        format!("memory: {}", field("/proc/meminfo", "MemTotal")),
        format!("system: {}", output("uname", &["-sr"])),
        format!(
            "file system of the data: {}",
            output("stat", &["-f", "-c", "%T", &temp.to_string_lossy()])
        ),
        format!("load of the machine before: {}", load_average()),
    ]
}

fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}
