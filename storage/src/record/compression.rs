//! The codecs of record batches, decompressing never more than the caller allows.
//!
//! A few bytes can stand for gigabytes, so every decoder stops at a limit given in decompressed bytes, and memory
//! is taken as the output grows or up to the limit, never because the input says so.

use std::io::{Cursor, Read, Write};

use flate2::bufread::GzDecoder;
use flate2::read::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use thiserror::Error;
use zstd::zstd_safe::{self, zstd_sys::ZSTD_ErrorCode};

/// A codec of Kafka's record batches; the discriminant is the id in the batch attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum CompressionType {
    #[default]
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

impl CompressionType {
    /// Every codec, in the order of their ids.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    pub const fn id(self) -> u8 {
        self as u8
    }

    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.get(usize::from(id)).copied()
    }

    /// The name in `compression.type`, except that no compression is also called `uncompressed` there.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl std::fmt::Display for CompressionType {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A codec and how hard it tries; `level` is the codec's own scale, `None` its default.
///
/// Gzip: 1 to 9. Zstd: -131072 to 22. Snappy has no levels, and lz4 is written at its only level here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compression {
    pub compression_type: CompressionType,
    pub level: Option<i32>,
}

impl From<CompressionType> for Compression {
    fn from(compression_type: CompressionType) -> Self {
        Self {
            compression_type,
            level: None,
        }
    }
}

/// Why bytes could not be decompressed (or, out of memory, compressed).
#[derive(Debug, Error)]
pub enum CompressionError {
    /// The output would be larger than the caller allows.
    #[error("records decompress to more than {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
    /// Not what the codec writes.
    #[error("cannot decompress {codec} records: {reason}")]
    Corrupt {
        codec: CompressionType,
        reason: String,
    },
    /// The encoder failed.
    #[error("cannot compress records with {codec}: {reason}")]
    Compress {
        codec: CompressionType,
        reason: String,
    },
}

/// Decompresses `input` to at most `limit_bytes`.
///
/// # Errors
/// `TooLarge` as soon as the limit is passed, `Corrupt` for anything the codec does not accept.
pub fn decompress(
    codec: CompressionType,
    input: &[u8],
    limit_bytes: usize,
) -> Result<Vec<u8>, CompressionError> {
    let mut decompressor = Decompressor::default();
    decompressor.decompress(codec, input, limit_bytes)?;
    Ok(decompressor.output)
}

/// Decompresses one thing after the other, and keeps its memory for the next one.
#[derive(Default)]
pub struct Decompressor {
    output: Vec<u8>,
    zstd: Option<zstd_safe::DCtx<'static>>,
    /// Bytes that the last call has written, whether they are of any use or not.
    spent_bytes: usize,
}

/// More memory than this is not kept.
const KEPT_BYTES: usize = 1 << 20;

impl Decompressor {
    /// As [`decompress`]; what is returned is overwritten by the next call.
    ///
    /// # Errors
    /// As those of [`decompress`].
    pub fn decompress(
        &mut self,
        codec: CompressionType,
        input: &[u8],
        limit_bytes: usize,
    ) -> Result<&[u8], CompressionError> {
        self.output.clear();
        self.spent_bytes = 0;
        let output = &mut self.output;
        let outcome = match codec {
            CompressionType::None if input.len() > limit_bytes => {
                Err(CompressionError::TooLarge { limit_bytes })
            }
            CompressionType::None => {
                output.extend_from_slice(input);
                Ok(())
            }
            CompressionType::Gzip => gzip_decompress(input, limit_bytes, output),
            CompressionType::Snappy => snappy_decompress(input, limit_bytes, output),
            CompressionType::Lz4 => lz4_decompress(input, limit_bytes, output),
            CompressionType::Zstd => zstd_decompress(
                &mut self.zstd,
                input,
                limit_bytes,
                output,
                &mut self.spent_bytes,
            ),
        };
        self.spent_bytes = self.spent_bytes.max(match outcome {
            // Whether it was written or only announced: all that was allowed is gone.
            Err(CompressionError::TooLarge { .. }) => limit_bytes,
            _ => self.output.len(),
        });
        outcome.map(|()| &self.output[..])
    }

    /// Bytes that the last call has written, in vain or not: what it has cost.
    pub fn spent_bytes(&self) -> usize {
        self.spent_bytes
    }

    /// Lets go of what only an unusually large batch needs.
    pub fn release(&mut self) {
        if self.output.capacity() > KEPT_BYTES {
            self.output = Vec::new();
        }
    }
}

/// Compresses `input`, in the framing that Kafka's own clients write.
///
/// # Errors
/// `Compress` if the encoder fails, which no input should cause.
pub fn compress(compression: Compression, input: &[u8]) -> Result<Vec<u8>, CompressionError> {
    let codec = compression.compression_type;
    let failed = |reason: String| CompressionError::Compress { codec, reason };
    match codec {
        CompressionType::None => Ok(input.to_vec()),
        CompressionType::Gzip => {
            let level = match compression.level {
                Some(level @ 0..=9) => flate2::Compression::new(level.unsigned_abs()),
                _ => flate2::Compression::default(),
            };
            let mut output = Vec::with_capacity(input.len() / 4 + 32);
            GzEncoder::new(input, level)
                .read_to_end(&mut output)
                .map_err(|error| failed(error.to_string()))?;
            Ok(output)
        }
        CompressionType::Snappy => {
            snappy_compress(input).map_err(|error| failed(error.to_string()))
        }
        CompressionType::Lz4 => {
            // Small independent blocks, as in Kafka's Lz4BlockOutputStream, which its older readers insist on.
            let frame = FrameInfo::new()
                .block_size(BlockSize::Max64KB)
                .block_mode(BlockMode::Independent);
            let mut encoder =
                FrameEncoder::with_frame_info(frame, Vec::with_capacity(input.len() / 2 + 32));
            encoder
                .write_all(input)
                .map_err(|error| failed(error.to_string()))?;
            encoder.finish().map_err(|error| failed(error.to_string()))
        }
        CompressionType::Zstd => {
            let level = compression.level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
            zstd::bulk::compress(input, level).map_err(|error| failed(error.to_string()))
        }
    }
}

fn corrupt(codec: CompressionType, reason: impl ToString) -> CompressionError {
    CompressionError::Corrupt {
        codec,
        reason: reason.to_string(),
    }
}

/// Appends what `reader` gives; `output` as a whole is held to the limit.
fn read_bounded(
    codec: CompressionType,
    reader: impl Read,
    limit_bytes: usize,
    output: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    // One byte more than allowed tells "at the limit" from "past it".
    let left_bytes = limit_bytes.saturating_sub(output.len());
    let mut bounded = reader.take(left_bytes as u64 + 1);
    let read = bounded.read_to_end(output);
    if output.len() > limit_bytes {
        return Err(CompressionError::TooLarge { limit_bytes });
    }
    read.map(|_| ()).map_err(|error| corrupt(codec, error))
}

/// One gzip stream after the other. What follows a stream and does not begin another one is ignored, as in Java's
/// GZIPInputStream: some producers send their buffers to the end.
fn gzip_decompress(
    input: &[u8],
    limit_bytes: usize,
    output: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    let mut rest = input;
    loop {
        let is_first = rest.len() == input.len();
        let mut stream = GzDecoder::new(rest);
        if !is_first && stream.header().is_none() {
            return Ok(());
        }
        read_bounded(CompressionType::Gzip, &mut stream, limit_bytes, output)?;
        rest = stream.into_inner();
    }
}

const LZ4_FRAME_MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();
/// The bit of the frame's flags, which follow the magic, that says that no block needs the one before it.
const LZ4_INDEPENDENT_BLOCKS: u8 = 0x20;

/// One lz4 frame; what follows it is ignored, as in Kafka's Lz4BlockInputStream.
fn lz4_decompress(
    input: &[u8],
    limit_bytes: usize,
    output: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    // The decoder also takes the legacy frame, whose 8 MiB blocks Kafka refuses, and dependent blocks, which Kafka's
    // consumers do not read.
    let flags = match input.split_at_checked(LZ4_FRAME_MAGIC.len()) {
        Some((magic, [flags, ..])) if magic == LZ4_FRAME_MAGIC => flags,
        _ => return Err(corrupt(CompressionType::Lz4, "not an lz4 frame")),
    };
    if flags & LZ4_INDEPENDENT_BLOCKS == 0 {
        return Err(corrupt(CompressionType::Lz4, "blocks depend on each other"));
    }
    let mut source = Lz4Source {
        rest: input,
        starved: false,
    };
    read_bounded(
        CompressionType::Lz4,
        FrameDecoder::new(&mut source),
        limit_bytes,
        output,
    )?;
    if source.starved {
        return Err(corrupt(CompressionType::Lz4, "lz4 frame is cut off"));
    }
    Ok(())
}

/// Notices that the decoder asked for more than there is: it takes the end of the input for the end of the frame.
struct Lz4Source<'a> {
    rest: &'a [u8],
    starved: bool,
}

impl Read for Lz4Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.rest.read(buffer)?;
        self.starved |= read < buffer.len();
        Ok(read)
    }
}

/// Zstd frames, each decoded in one pass: unlike a streaming decoder this needs no window buffer of the size that the
/// frame asks for (up to 128 MiB), only the output. Streamed frames do not state their size, so the room for them starts
/// from a guess and grows.
fn zstd_decompress(
    context: &mut Option<zstd_safe::DCtx<'static>>,
    input: &[u8],
    limit_bytes: usize,
    output: &mut Vec<u8>,
    spent_bytes: &mut usize,
) -> Result<(), CompressionError> {
    let failed = |reason: &str| corrupt(CompressionType::Zstd, reason);
    if input.is_empty() {
        return Err(failed("empty input"));
    }
    if context.is_none() {
        *context = zstd_safe::DCtx::try_create();
    }
    let context = context.as_mut().ok_or_else(|| failed("out of memory"))?;
    let mut rest = input;
    while !rest.is_empty() {
        let frame_bytes = zstd_safe::find_frame_compressed_size(rest)
            .map_err(|code| failed(zstd_safe::get_error_name(code)))?;
        let (frame, after) = rest
            .split_at_checked(frame_bytes)
            .ok_or_else(|| failed("frame is cut off"))?;
        zstd_frame(context, frame, limit_bytes, output, spent_bytes)?;
        rest = after;
    }
    Ok(())
}

/// Appends what one frame holds; `output` as a whole is held to the limit.
fn zstd_frame(
    context: &mut zstd_safe::DCtx<'static>,
    frame: &[u8],
    limit_bytes: usize,
    output: &mut Vec<u8>,
    spent_bytes: &mut usize,
) -> Result<(), CompressionError> {
    let failed = |reason: &str| corrupt(CompressionType::Zstd, reason);
    let left_bytes = limit_bytes.saturating_sub(output.len());
    let stated_bytes = zstd_safe::get_frame_content_size(frame).ok().flatten();
    let stated_bytes = stated_bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if stated_bytes.is_some_and(|bytes| bytes > left_bytes) {
        return Err(CompressionError::TooLarge { limit_bytes });
    }
    let guess_bytes = frame
        .len()
        .saturating_mul(ZSTD_GUESSED_RATIO)
        .min(left_bytes);
    let mut room_bytes = stated_bytes.unwrap_or(guess_bytes);
    let start = output.len();
    loop {
        output.reserve_exact(room_bytes);
        *spent_bytes = spent_bytes.saturating_add(room_bytes);
        // The decoder writes behind the cursor without that it has to be filled with zeros first.
        let mut place = Cursor::new(std::mem::take(output));
        place.set_position(start as u64);
        let written = context.decompress(&mut place, frame);
        *output = place.into_inner();
        output.truncate(start + written.unwrap_or(0));
        match written {
            Ok(written_bytes) => {
                *spent_bytes -= room_bytes.saturating_sub(written_bytes);
                return match written_bytes > left_bytes {
                    true => Err(CompressionError::TooLarge { limit_bytes }),
                    false => Ok(()),
                };
            }
            Err(ZSTD_OUTPUT_FULL) if stated_bytes.is_none() && room_bytes >= left_bytes => {
                return Err(CompressionError::TooLarge { limit_bytes });
            }
            Err(ZSTD_OUTPUT_FULL) if stated_bytes.is_none() => {
                room_bytes = room_bytes.saturating_mul(4).min(left_bytes).max(1);
            }
            Err(code) => return Err(failed(zstd_safe::get_error_name(code))),
        }
    }
}

const ZSTD_GUESSED_RATIO: usize = 8;
const ZSTD_OUTPUT_FULL: usize =
    (ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall as usize).wrapping_neg();

/// Start of a snappy stream in the framing of xerial's snappy-java: this, then version and compatible version.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER_BYTES: usize = 16;
const XERIAL_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// The block size that Kafka's Java client asks of snappy-java.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// A snappy copy of 3 bytes yields 64 bytes at most, and no element yields more for its size.
const SNAPPY_MAX_RATIO: usize = 22;

/// Xerial-framed (Java, kafka-python, sarama) or raw (librdkafka) snappy.
fn snappy_decompress(
    input: &[u8],
    limit_bytes: usize,
    output: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    if !(input.starts_with(&XERIAL_MAGIC) && input.len() >= XERIAL_HEADER_BYTES) {
        return snappy_block(input, output, limit_bytes);
    }
    let mut rest = &input[XERIAL_HEADER_BYTES..];
    while !rest.is_empty() {
        // Streams may be concatenated: a header is then where a block is due.
        if rest.starts_with(&XERIAL_MAGIC) && rest.len() >= XERIAL_HEADER_BYTES {
            rest = &rest[XERIAL_HEADER_BYTES..];
            continue;
        }
        // Less than a block's length is no block, for snappy-java.
        let Some((length, after)) = rest.split_first_chunk::<4>() else {
            return Ok(());
        };
        let block = usize::try_from(i32::from_be_bytes(*length))
            .ok()
            .and_then(|length| after.split_at_checked(length));
        let Some((block, after)) = block else {
            return Err(corrupt(CompressionType::Snappy, "block cut off"));
        };
        snappy_block(block, output, limit_bytes)?;
        rest = after;
    }
    Ok(())
}

/// Appends one raw snappy block to `output`.
fn snappy_block(
    block: &[u8],
    output: &mut Vec<u8>,
    limit_bytes: usize,
) -> Result<(), CompressionError> {
    let codec = CompressionType::Snappy;
    if block.is_empty() {
        return Err(corrupt(codec, "empty block"));
    }
    let length = snap::raw::decompress_len(block).map_err(|error| corrupt(codec, error))?;
    if length > limit_bytes - output.len() {
        return Err(CompressionError::TooLarge { limit_bytes });
    }
    if length > block.len().saturating_mul(SNAPPY_MAX_RATIO) {
        return Err(corrupt(codec, "block cannot hold the length it claims"));
    }
    let start = output.len();
    output.resize(start + length, 0);
    let written = snap::raw::Decoder::new()
        .decompress(block, &mut output[start..])
        .map_err(|error| corrupt(codec, error))?;
    output.truncate(start + written);
    Ok(())
}

fn snappy_compress(input: &[u8]) -> Result<Vec<u8>, snap::Error> {
    let mut encoder = snap::raw::Encoder::new();
    let mut block = vec![0; snap::raw::max_compress_len(XERIAL_BLOCK_BYTES.min(input.len()))];
    let mut output = Vec::with_capacity(XERIAL_HEADER_BYTES + input.len() / 2);
    output.extend_from_slice(&XERIAL_MAGIC);
    output.extend_from_slice(&XERIAL_VERSIONS);
    for chunk in input.chunks(XERIAL_BLOCK_BYTES) {
        let length = encoder.compress(chunk, &mut block)?;
        output.extend_from_slice(&(length as i32).to_be_bytes());
        output.extend_from_slice(&block[..length]);
    }
    Ok(output)
}
