//! One file per API key.
//!
//! Each has `pub async fn handle(ctx: &RequestContext, request: …Request) -> …Response` and opens
//! with its key, versions, behaviour, KIPs and deviations. Wire structs stop here.

pub mod alter_configs;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_log_dirs;
pub mod describe_topic_partitions;
pub mod incremental_alter_configs;
pub mod list_config_resources;
pub mod metadata;
