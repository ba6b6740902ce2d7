//! `host:port`, as it stands in settings.

/// A host and a port as written; an empty host is every interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Parses `host:port`; an IPv6 address stands in brackets.
pub fn parse_host_port(text: &str) -> Option<HostPort> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, rest.strip_prefix(':')?)
        }
        None => text.rsplit_once(':')?,
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
    if !host.chars().all(legal) || (host.contains(':') && !text.starts_with('[')) {
        return None;
    }
    Some(HostPort {
        host: host.to_owned(),
        port: port.parse().ok()?,
    })
}
