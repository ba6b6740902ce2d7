//! What the crate rdkafka can do.  usage: compat-tests-rdkafka BOOTSTRAP

mod admin;
mod groups;
mod kit;
mod records;

use anyhow::Result;

#[tokio::main]
async fn main() -> Result<()> {
    let all = async {
        kit::begin().await?;
        records::try_all().await;
        groups::try_all().await;
        admin::try_all().await;
        Ok(())
    };
    tokio::task::LocalSet::new().run_until(all).await
}
