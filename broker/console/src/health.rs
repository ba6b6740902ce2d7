//! `ottla health`: one line and an exit code, for health checks.

use kafka_protocol::messages::MetadataRequest;
use serde_json::json;

use crate::cluster::Cluster;
use crate::failure::{Result, check, failed};
use crate::page::{Output, line};

/// Asks a broker what it serves and who leads: healthy is one that answers with itself and a controller.
pub(crate) async fn run(cluster: &mut Cluster, output: Output) -> Result<()> {
    let request = MetadataRequest::default().with_topics(Some(Vec::new()));
    let answer = cluster.any().call(request).await?;
    check("metadata", answer.error_code, None)?;
    let address = cluster.any().address().to_owned();
    let controller = answer.controller_id.0;
    if answer.brokers.is_empty() || controller < 0 {
        let text = "the broker answers, but the cluster has no brokers or no controller yet";
        return Err(failed(format!("{address}: {text}")));
    }
    let cluster_id = answer
        .cluster_id
        .map_or_else(String::new, |id| id.to_string());
    let brokers = answer.brokers.len();
    match output.json {
        true => {
            let page = json!({
                "healthy": true, "address": address, "cluster_id": cluster_id, "brokers": brokers,
                "controller": controller
            });
            line(&page.to_string());
        }
        false => line(&format!(
            "healthy: {address}, cluster {cluster_id}, {brokers} broker{}, controller {controller}",
            if brokers == 1 { "" } else { "s" }
        )),
    }
    Ok(())
}
