//! Regular expressions of clients: subscriptions (KIP-848) and lists of transactional ids (KIP-1152). The owner of a shard
//! compiles and matches them, on a thread of its own.
//!
//! Kafka uses RE2/J. Rust's `regex` also comes from RE2 and also matches in linear time. As in RE2, `\w`, `\d` and `\s` are
//! ASCII, and so are the names of topics. The two agree on everything that occurs in names, except for `\Q...\E` and classes
//! such as `\pL`, which are refused here.

use regex::bytes::{Regex, RegexBuilder};

use crate::codec::MAX_STRING_BYTES;

/// Memory that one compiled expression may take, however short it is. It is enough for `[a-z]` 500 times. The time that
/// matching a name takes grows with it.
const MIN_COMPILED_BYTES: usize = 32 << 10;
/// What each byte of the text may add to that. A list of names with `|` between them takes up to 60 for each byte, and
/// matching costs next to nothing in it. Counted repetitions take more; those must do with the minimum.
const COMPILED_BYTES_PER_BYTE: usize = 64;
/// What one compiled expression may take in any case.
const MAX_COMPILED_BYTES: usize = 256 << 10;
/// How deep groups in an expression may nest.
const MAX_NESTING: u32 = 64;

/// An expression that has to match a whole name.
#[derive(Debug)]
pub struct NamePattern(Regex);

impl NamePattern {
    /// Compiles an expression. Takes up to some milliseconds.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(pattern: &str) -> Result<Self, String> {
        if pattern.len() > MAX_STRING_BYTES {
            return Err("the expression is too long".to_owned());
        }
        let spelled_out = COMPILED_BYTES_PER_BYTE * pattern.len();
        let size_limit = (MIN_COMPILED_BYTES + spelled_out).min(MAX_COMPILED_BYTES);
        let build = |pattern: &str| {
            RegexBuilder::new(pattern)
                .unicode(false)
                .size_limit(size_limit)
                .dfa_size_limit(4 * size_limit)
                .nest_limit(MAX_NESTING)
                .build()
                .map_err(|error| in_one_line(&error))
        };
        // First without the group around it, in which an expression such as `a)|(b` would pass.
        build(pattern)?;
        build(&format!(r"\A(?:{pattern})\z")).map(Self)
    }

    /// Whether the whole name matches. An expression that is made for it may take some milliseconds.
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name.as_bytes())
    }
}

/// `regex` draws a syntax error over several lines. The last one says what is wrong.
fn in_one_line(error: &regex::Error) -> String {
    let drawn = error.to_string();
    let last = drawn.lines().last().unwrap_or_default().trim();
    let what = last.strip_prefix("error: ").unwrap_or(last);
    what.trim_end_matches('.').to_owned()
}
