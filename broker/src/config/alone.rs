//! Whether the operator expects other nodes: Ottla is one node and its own controller.
//!
//! An operator who names controllers elsewhere wants this broker to join a cluster, with its topics, users and ACLs. An empty
//! cluster of one would be open to everybody, and not what was meant.

use std::net::IpAddr;

use super::def::list;
use super::error::ConfigError;
use super::host_port::parse_host_port;
use super::listeners::{host_name, parse_endpoint};
use super::settings::Settings;

/// # Errors
/// Something names other nodes.
pub(super) fn check_alone(settings: &Settings, node_id: i32) -> Result<(), ConfigError> {
    let refuse = |key: &'static str, why: String| Err(settings.invalid(key, why));
    let has_role = |wanted: &str| settings.list("process.roles").any(|role| role == wanted);
    if !has_role("broker") {
        let why = "expected broker among the roles, as in broker,controller".to_owned();
        return refuse("process.roles", why);
    }
    if !has_role("controller") {
        let why = "controllers elsewhere are not supported, Ottla is its own; \
                   set broker,controller to start a cluster of one";
        return refuse("process.roles", why.to_owned());
    }
    for voter in settings.list("controller.quorum.voters") {
        let id = voter
            .split_once('@')
            .and_then(|(id, _)| id.trim().parse::<i32>().ok());
        if id != Some(node_id) {
            let why = format!(
                "{voter} is another node than {node_id}, and Ottla is its own controller; \
                 remove the key to start a cluster of one"
            );
            return refuse("controller.quorum.voters", why);
        }
    }
    let mine = own_hosts(settings);
    for key in ["controller.quorum.bootstrap.servers", "zookeeper.connect"] {
        let hosts = list(settings.explicit(key).unwrap_or("")).map(|server| {
            // ZooKeeper's last server may be followed by a path.
            let server = server.split('/').next().unwrap_or(server);
            parse_host_port(server).map_or_else(|| server.to_owned(), |address| address.host)
        });
        let hosts: Vec<String> = hosts.collect();
        let other = hosts.iter().find(|host| !is_mine(host, &mine));
        if let (Some(other), _) | (None, [_, other, ..]) = (other, hosts.as_slice()) {
            let why = format!(
                "{other} is not this node, and Ottla is its own controller; \
                 remove the key to start a cluster of one"
            );
            return refuse(key, why);
        }
    }
    Ok(())
}

/// What this machine is called, as far as the configuration and the system say.
fn own_hosts(settings: &Settings) -> Vec<String> {
    let mut hosts = vec!["localhost".to_owned(), host_name()];
    for key in ["listeners", "advertised.listeners"] {
        let endpoints = settings.list(key).filter_map(parse_endpoint);
        hosts.extend(endpoints.map(|(_, address)| address.host));
    }
    hosts
}

fn is_mine(host: &str, mine: &[String]) -> bool {
    let local = host
        .parse::<IpAddr>()
        .is_ok_and(|address| address.is_loopback() || address.is_unspecified());
    local || host.is_empty() || mine.iter().any(|name| name.eq_ignore_ascii_case(host))
}
