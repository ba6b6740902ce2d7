//! The bytes that records take in a batch. What has to stay whole must fit into one.

/// What a batch takes besides its records.
pub const BATCH_OVERHEAD_BYTES: usize = 61;

/// What a record takes in a batch, or up to three bytes more, since its offset in the batch is not known.
pub fn record_bytes(key_bytes: usize, value_bytes: Option<usize>) -> usize {
    let value_bytes = value_bytes.unwrap_or(0);
    let fields = 6 + varint_bytes(key_bytes) + varint_bytes(value_bytes);
    let body = fields + key_bytes + value_bytes;
    varint_bytes(body) + body
}

/// The bytes of a length in zigzag encoding.
fn varint_bytes(length: usize) -> usize {
    let bits = usize::BITS - length.leading_zeros() + 1;
    usize::try_from(bits.div_ceil(7)).unwrap_or(10)
}
