//! Single records: is the broker there, is a partition there?

use std::net::SocketAddr;
use std::time::SystemTime;

use anyhow::{Result, ensure};

use crate::bench::admin::{self, Topic};
use crate::bench::batch::{BatchShape, Producer};
use crate::bench::connection::Connection;
use crate::bench::request::ProduceTemplate;
use crate::bench::wire::read_produce_response;

/// Partitions that one request writes to.
const BATCHES_PER_REQUEST: usize = 100;
const NOT_IDEMPOTENT: Producer = Producer { id: -1, epoch: -1 };
const NO_SEQUENCE: i32 = -1;

/// Writes one record to the first partition.
///
/// # Errors
/// The broker does not acknowledge it now.
pub fn produce(address: SocketAddr, topic: &Topic) -> Result<()> {
    let first = Topic {
        name: topic.name.clone(),
        partitions: 1,
    };
    produce_everywhere(address, &first, BatchShape::kib_records(0))
}

/// Creates the topic, unless it is there already, and does the same.
///
/// # Errors
/// The broker does not acknowledge it now.
pub fn create_and_produce(address: SocketAddr, topic: &Topic) -> Result<()> {
    admin::create_topic(address, topic)?;
    produce(address, topic)
}

/// Writes one batch to every partition of a topic.
///
/// # Errors
/// One of them is not acknowledged.
pub fn produce_everywhere(address: SocketAddr, topic: &Topic, shape: BatchShape) -> Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let batch = shape.build(i64::try_from(now.as_millis())?)?;
    let mut connection = Connection::open(address)?;
    let indexes: Vec<i32> = (0..topic.partitions).collect();
    for indexes in indexes.chunks(BATCHES_PER_REQUEST) {
        let mut template = ProduceTemplate::new(&topic.name, &batch, indexes.len())?;
        for (slot, index) in indexes.iter().enumerate() {
            template.set(slot, *index, NOT_IDEMPOTENT, NO_SEQUENCE);
        }
        connection.send(template.frame())?;
        let mut answers = 0;
        read_produce_response(connection.receive()?, |answer| {
            ensure!(
                answer.error_code == 0,
                "produce error {}",
                answer.error_code
            );
            answers += 1;
            Ok(())
        })?;
        ensure!(
            answers == indexes.len(),
            "{answers} answers for {} batches",
            indexes.len()
        );
    }
    Ok(())
}
