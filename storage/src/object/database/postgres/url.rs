//! The URL of a database: what it means, and what is wrong with it. Nothing here repeats a password.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

const EXAMPLE: &str = "postgres://user:password@host:5432/database?sslmode=verify-full";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Whom to believe that it is the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Whoever answers.
    Anyone,
    /// Whose certificate is for the host, by an authority of the operating system.
    System,
    /// Whose certificate is for the host, by an authority of this file.
    File(PathBuf),
}

/// A database, and how to get there.
pub(super) struct Target {
    pub config: Config,
    pub trust: Trust,
    /// Hosts, ports and database, for people.
    pub address: String,
    /// With the user, and without the password.
    pub place: String,
}

/// Reads a URL. `sslmode` is as with PostgreSQL's own clients, `prefer` if it is missing; `sslrootcert` is a file, or `system`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse(url: &str) -> Result<Target, String> {
    let known = ["postgres://", "postgresql://"];
    let Some(rest) = known.iter().find_map(|scheme| url.strip_prefix(scheme)) else {
        return Err(format!(
            "the database URL does not begin with postgres://; expected {EXAMPLE}"
        ));
    };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = place.split_once('/').map_or("", |(_, path)| path);
    if query.contains('@') || path.contains('@') {
        return Err(format!(
            "the database URL has an @ behind its host: characters of the password that have a meaning in URLs \
             have to be written as %2F for /, %3F for ?, %40 for @; expected {EXAMPLE}"
        ));
    }
    let mut mode = "prefer";
    let mut roots = None;
    let mut others = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("sslmode", value)) => mode = value,
            Some(("sslrootcert", value)) => roots = Some(value),
            _ => others.push(parameter),
        }
    }
    let trust = match (mode, roots) {
        ("verify-full", None) => Trust::System,
        ("verify-full", Some("system")) => Trust::System,
        ("verify-full", Some(roots)) => Trust::File(roots.into()),
        ("disable" | "prefer" | "require", None) => Trust::Anyone,
        ("disable" | "prefer" | "require", Some(_)) => {
            return Err(format!(
                "the database URL has sslrootcert with sslmode={mode}, which verifies nothing; \
                 expected sslmode=verify-full"
            ));
        }
        _ => {
            return Err(format!(
                "the database URL has sslmode={mode}; expected disable, prefer, require or verify-full"
            ));
        }
    };
    let plain = format!("postgres://{place}?{}", others.join("&"));
    let mut config: Config = plain.parse().map_err(|error| {
        format!(
            "the database URL cannot be read: {}; expected {EXAMPLE}",
            why(&error)
        )
    })?;
    if config.get_hosts().is_empty() {
        return Err(format!(
            "the database URL names no host; expected {EXAMPLE}"
        ));
    }
    config.ssl_mode(match mode {
        "disable" => SslMode::Disable,
        "prefer" => SslMode::Prefer,
        _ => SslMode::Require,
    });
    // Of several hosts the one that is no copy.
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    // Whoever is not heard is not waited for, or a lease ends meanwhile.
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(CONNECT_TIMEOUT);
    }
    if config.get_application_name().is_none() {
        config.application_name("ottla");
    }
    let (address, place) = names_of(&config);
    Ok(Target {
        config,
        trust,
        address,
        place,
    })
}

fn why(error: &tokio_postgres::Error) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), ToString::to_string)
}

/// Address and place.
fn names_of(config: &Config) -> (String, String) {
    let ports = config.get_ports();
    let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(5432);
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(index, host)| match host {
            Host::Tcp(host) => format!("{host}:{}", port(index)),
            #[cfg(unix)]
            Host::Unix(path) => path.display().to_string(),
        })
        .collect();
    let user = config.get_user().unwrap_or("(no user)");
    let database = config.get_dbname().unwrap_or(user);
    let hosts = hosts.join(",");
    (
        format!("{hosts}/{database}"),
        format!("database {database} on {hosts} as {user}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_how_to_connect() {
        let target =
            parse("postgres://me:s3cret@a.example,b.example:5433/data?sslmode=disable").unwrap();
        assert_eq!(target.config.get_ssl_mode(), SslMode::Disable);
        assert_eq!(target.config.get_password(), Some(&b"s3cret"[..]));
        assert_eq!(target.config.get_dbname(), Some("data"));
        assert_eq!(
            target.place,
            "database data on a.example:5432,b.example:5433 as me"
        );
        assert_eq!(target.address, "a.example:5432,b.example:5433/data");
        for (query, mode, trust) in [
            ("", SslMode::Prefer, Trust::Anyone),
            (
                "?sslmode=prefer&connect_timeout=3",
                SslMode::Prefer,
                Trust::Anyone,
            ),
            ("?sslmode=require", SslMode::Require, Trust::Anyone),
            ("?sslmode=verify-full", SslMode::Require, Trust::System),
            (
                "?sslrootcert=system&sslmode=verify-full",
                SslMode::Require,
                Trust::System,
            ),
            (
                "?sslmode=verify-full&sslrootcert=/etc/ca.pem",
                SslMode::Require,
                Trust::File("/etc/ca.pem".into()),
            ),
        ] {
            let target = parse(&format!("postgresql://me@host/data{query}")).unwrap();
            assert_eq!((target.config.get_ssl_mode(), target.trust), (mode, trust));
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_its_password() {
        for (url, hint) in [
            ("", "begin with postgres://"),
            ("mysql://me:s3cret@host/data", "begin with postgres://"),
            (
                "postgres://me:s3cret@host/data?sslmode=maybe",
                "verify-full",
            ),
            (
                "postgres://me:s3cret@host/data?sslmode=verify-ca",
                "verify-full",
            ),
            (
                "postgres://me:s3cret@host/data?sslrootcert=x",
                "verifies nothing",
            ),
            ("postgres://me:s3cret/more@host/data", "%2F"),
            ("postgres://me:s3cret?more=s3cret@host/data", "%3F"),
            ("postgres://me:s3cret@host:port/data", "port"),
            ("postgres://me:s3cret@host/data?colour=red", "colour"),
            ("postgres://", "no host"),
        ] {
            let Err(why) = parse(url) else {
                panic!("{url} was read")
            };
            assert!(why.contains(hint), "{url}: {why}");
            assert!(!why.contains("s3cret"), "{url}: {why}");
        }
    }
}
