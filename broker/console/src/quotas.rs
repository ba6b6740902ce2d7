//! `ottla quotas`

use clap::{Args, Subcommand};
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::{AlterClientQuotasRequest, DescribeClientQuotasRequest};
use kafka_protocol::protocol::StrBytes;
use serde_json::json;

use crate::cluster::Cluster;
use crate::connection::text;
use crate::failure::{Result, check, failed, usage};
use crate::page::{Output, Table, line};

/// How entities are matched in DescribeClientQuotas.
const EXACT: i8 = 0;
const DEFAULT: i8 = 1;

/// List, set and remove quotas
#[derive(Debug, Subcommand)]
pub(crate) enum Quotas {
    /// Those of an entity, or all
    List {
        #[command(flatten)]
        entity: Entity,
    },
    /// Set quotas: producer_byte_rate, consumer_byte_rate, request_percentage, controller_mutation_rate,
    /// connection_creation_rate
    Set {
        #[command(flatten)]
        entity: Entity,
        #[arg(value_name = "KEY=NUMBER", required = true, value_parser = parse_quota)]
        quotas: Vec<(String, f64)>,
    },
    /// Remove quotas
    Remove {
        #[command(flatten)]
        entity: Entity,
        #[arg(value_name = "KEY", required = true)]
        keys: Vec<String>,
    },
}

/// Whom it is about: a user, a client id, both together, or an address.
#[derive(Args, Debug)]
pub(crate) struct Entity {
    #[arg(long, value_name = "NAME", conflicts_with = "user_default")]
    user: Option<String>,
    /// Users without a quota of their own
    #[arg(long)]
    user_default: bool,
    #[arg(long, value_name = "NAME", conflicts_with = "client_id_default")]
    client_id: Option<String>,
    /// Client ids without a quota of their own
    #[arg(long)]
    client_id_default: bool,
    #[arg(long, value_name = "ADDRESS", conflicts_with = "ip_default")]
    ip: Option<String>,
    /// Addresses without a quota of their own
    #[arg(long)]
    ip_default: bool,
}

fn parse_quota(text: &str) -> Result<(String, f64), String> {
    let (key, value) = crate::parse_pair(text)?;
    match value.parse() {
        Ok(value) => Ok((key, value)),
        Err(_) => Err(format!(
            "{value}: expected a number, as in producer_byte_rate=1048576"
        )),
    }
}

impl Entity {
    /// Types with names; no name is the default.
    fn parts(&self) -> Vec<(&'static str, Option<&str>)> {
        let part = |kind, name: &'_ Option<String>, default| match (name, default) {
            (Some(_), _) | (None, true) => Some(kind),
            (None, false) => None,
        };
        let user = part("user", &self.user, self.user_default);
        let client = part("client-id", &self.client_id, self.client_id_default);
        let ip = part("ip", &self.ip, self.ip_default);
        let parts = [
            user.map(|kind| (kind, self.user.as_deref())),
            client.map(|kind| (kind, self.client_id.as_deref())),
            ip.map(|kind| (kind, self.ip.as_deref())),
        ];
        parts.into_iter().flatten().collect()
    }

    async fn alter(&self, cluster: &mut Cluster, ops: Vec<OpData>) -> Result<()> {
        let parts = self.parts();
        if parts.is_empty() {
            return Err(usage(
                "whose? Expected --user NAME, --client-id NAME, --ip ADDRESS or their --...-default",
            ));
        }
        let entity = parts.into_iter().map(|(kind, name)| {
            EntityData::default()
                .with_entity_type(StrBytes::from_static_str(kind))
                .with_entity_name(name.map(text))
        });
        let entry = EntryData::default()
            .with_entity(entity.collect())
            .with_ops(ops);
        let request = AlterClientQuotasRequest::default().with_entries(vec![entry]);
        let answer = cluster.any().call(request).await?;
        let entry = answer.entries.first();
        let entry = entry.ok_or_else(|| failed("change quotas: the broker left it out"))?;
        check(
            "change quotas",
            entry.error_code,
            entry.error_message.as_ref(),
        )?;
        line("changed");
        Ok(())
    }
}

impl Quotas {
    pub(crate) async fn run(self, cluster: &mut Cluster, output: Output) -> Result<()> {
        match self {
            Self::List { entity } => list(cluster, output, &entity).await,
            Self::Set { entity, quotas } => {
                let op = |(key, value): &(String, f64)| {
                    OpData::default().with_key(text(key)).with_value(*value)
                };
                entity.alter(cluster, quotas.iter().map(op).collect()).await
            }
            Self::Remove { entity, keys } => {
                let op = |key: &String| OpData::default().with_key(text(key)).with_remove(true);
                entity.alter(cluster, keys.iter().map(op).collect()).await
            }
        }
    }
}

async fn list(cluster: &mut Cluster, output: Output, entity: &Entity) -> Result<()> {
    let component = |(kind, name): (&'static str, Option<&str>)| {
        ComponentData::default()
            .with_entity_type(StrBytes::from_static_str(kind))
            .with_match_type(if name.is_some() { EXACT } else { DEFAULT })
            .with_match(name.map(text))
    };
    let parts = entity.parts();
    let request = DescribeClientQuotasRequest::default()
        .with_strict(!parts.is_empty())
        .with_components(parts.into_iter().map(component).collect());
    let answer = cluster.any().call(request).await?;
    check(
        "list quotas",
        answer.error_code,
        answer.error_message.as_ref(),
    )?;
    let mut table = Table::new(&["user", "client_id", "ip", "key", "value"]);
    for entry in answer.entries.unwrap_or_default() {
        let name = |kind: &str| {
            let mut parts = entry.entity.iter();
            let part = parts.find(|part| part.entity_type.as_str() == kind)?;
            let name = part.entity_name.as_ref();
            Some(name.map_or("(default)", |name| name.as_str()))
        };
        for quota in &entry.values {
            table.row([
                json!(name("user")),
                json!(name("client-id")),
                json!(name("ip")),
                json!(quota.key.as_str()),
                json!(quota.value),
            ]);
        }
    }
    output.table(&table);
    Ok(())
}
