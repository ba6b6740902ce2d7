//! Label values that clients have chosen: names of groups and topics.

use std::fmt::{self, Write as _};

use aws_lc_rs::digest::{SHA256, digest};
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// A longer name is cut: ten thousand rows must not take what ten thousand names may.
const MAX_BYTES: usize = 249;
/// What is left of it, before what tells it from others.
const CUT_BYTES: usize = 220;

/// A name, escaped, and cut if it is longer than the name of a topic may be. Different names stay different.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label<'a>(pub &'a str);

impl EncodeLabelValue for Label<'_> {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        write!(encoder, "{self}")
    }
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = match self.0.len() {
            ..=MAX_BYTES => self.0.len(),
            _ => self.0.floor_char_boundary(CUT_BYTES),
        };
        for c in self.0[..cut].chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c if c.is_control() => f.write_char(char::REPLACEMENT_CHARACTER)?,
                c => f.write_char(c)?,
            }
        }
        if cut < self.0.len() {
            f.write_char('~')?;
            for byte in &digest(&SHA256, self.0.as_bytes()).as_ref()[..8] {
                write!(f, "{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_label_is_escaped_and_what_nobody_prints_is_replaced() {
        let hostile = "a\"} 1\nb\\c\r\0\u{1b}ü";
        let escaped = Label(hostile).to_string();
        assert_eq!(escaped, "a\\\"} 1\\nb\\\\c\u{fffd}\u{fffd}\u{fffd}ü");
    }

    #[test]
    fn long_names_are_cut_and_stay_different() {
        let longest = "x".repeat(MAX_BYTES);
        assert_eq!(Label(&longest).to_string(), longest);
        let [one, other] = ["a", "b"].map(|end| format!("{}{end}", "ü".repeat(20_000)));
        let [one, other] = [Label(&one).to_string(), Label(&other).to_string()];
        assert_ne!(one, other);
        assert!(one.len() <= MAX_BYTES && one.starts_with('ü'), "{one}");
    }
}
