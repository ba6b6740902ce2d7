//! Compressed batches are opened on arrival, as by Kafka; where that is turned off they pass through, and a gigabyte on the
//! wire costs what an uncompressed one costs.

use anyhow::Result;
use storage::record::CompressionType;

use super::Workload;
use super::produce::{BATCH_BYTES, bulk_load, run_load};
use crate::bench::admin::Topic;
use crate::bench::batch::BatchShape;
use crate::bench::contender::{Contender, KAFKA, OTTLA, OTTLA_UNOPENED, Settings};
use crate::bench::figures::{Figures, Limit, Target};

const CODECS: [(&str, CompressionType); 5] = [
    ("none", CompressionType::None),
    ("zstd", CompressionType::Zstd),
    ("lz4", CompressionType::Lz4),
    ("snappy", CompressionType::Snappy),
    ("gzip", CompressionType::Gzip),
];
/// What two runs of the same load differ by.
const TOLERANCE: f64 = 1.1;

pub(super) fn workload() -> Workload {
    let cost = |codec: &str| format!("{codec}, CPU per GB");
    let to_itself = |(codec, _): &(&str, CompressionType)| {
        Target::to_itself(
            &OTTLA_UNOPENED,
            &cost(codec),
            &cost("none"),
            Limit::AtMost(TOLERANCE),
        )
    };
    // Both look at every record: it must not cost more here.
    let to_kafka = |(codec, _): &(&str, CompressionType)| {
        Target::ratio(&cost(codec), &OTTLA, &KAFKA, Limit::AtMost(1.0))
    };
    Workload {
        name: "codecs",
        about: "The load of `produce`, with as many 1 KiB records in a batch as compress to 64 KiB. Throughput \
                and CPU are per GB on the wire, that is of compressed bytes: a codec costs the broker what \
                looking into the batches costs. `ottla unopened` has `ottla.record.validation=compacted`. A fresh \
                broker for each codec.",
        contenders: vec![OTTLA, OTTLA_UNOPENED, KAFKA],
        targets: (CODECS[1..].iter().map(to_itself))
            .chain(CODECS[1..].iter().map(to_kafka))
            .collect(),
        run,
    }
}

fn run(contender: &Contender, settings: &Settings) -> Result<Figures> {
    let mut figures = Figures::default();
    for (name, compression) in CODECS {
        let mut load = bulk_load(vec![Topic::bench(12)]);
        load.shape = fill_batch(BatchShape {
            compression,
            ..load.shape
        })?;
        figures.extend(&format!("{name}, "), &run_load(contender, settings, &load)?);
    }
    Ok(figures)
}

/// As many records as fit into a batch once they are compressed.
fn fill_batch(shape: BatchShape) -> Result<BatchShape> {
    let compressed_bytes = shape.build(0)?.len();
    let records_count = shape.records_count as usize * BATCH_BYTES / compressed_bytes;
    Ok(BatchShape {
        records_count: i32::try_from(records_count)?,
        ..shape
    })
}
