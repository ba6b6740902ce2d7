//! Text from outside on its way into the log: it may not forge a line, drive a terminal, or fill the disk.
//!
//! Every name, id and reason that a client chooses goes through [`client_text`] where a line is written, and so does an
//! error whose text may hold one. [`OneLine`] is behind it: whatever an event says, it is one line of bounded length.

use std::fmt::{self, Write as _};
use std::io;

/// Bytes of one piece of client text that a line tells. Kafka's longest topic name is 249.
const MAX_TEXT_BYTES: usize = 256;
/// Bytes of one line: a path, an error of the system and some pieces of text have room.
const MAX_LINE_BYTES: usize = 8192;

/// Text that a client chose, for a line of the log: escaped, and cut after 256 bytes.
pub fn client_text(text: &str) -> ClientText<'_> {
    ClientText(text)
}

/// See [`client_text`].
#[derive(Clone, Copy)]
pub struct ClientText<'a>(&'a str);

impl fmt::Display for ClientText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut end = self.0.len().min(MAX_TEXT_BYTES);
        while !self.0.is_char_boundary(end) {
            end -= 1;
        }
        let shown = &self.0[..end];
        for char in shown.chars() {
            match char {
                // What Rust calls printable is; that leaves out line ends, escapes, and marks that turn text around.
                '"' | '\'' => f.write_char(char)?,
                char => write!(f, "{}", char.escape_debug())?,
            }
        }
        if shown.len() < self.0.len() {
            write!(f, "... ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

/// A writer of log events, each given in one `write`: what would break the line is escaped, a long line is cut.
///
/// ESC passes, because colours need it; tracing escapes it in what is logged.
pub struct OneLine<W>(pub W);

impl<W: io::Write> io::Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = event.strip_suffix(b"\n").unwrap_or(event);
        if line.len() <= MAX_LINE_BYTES && !line.iter().any(|byte| breaks_a_line(*byte)) {
            self.0.write_all(event)?;
            return Ok(event.len());
        }
        let shown = &line[..line.len().min(MAX_LINE_BYTES)];
        let mut out = Vec::with_capacity(shown.len() + 64);
        for byte in shown {
            match breaks_a_line(*byte) {
                true => out.extend(byte.escape_ascii()),
                false => out.push(*byte),
            }
        }
        if shown.len() < line.len() {
            out.extend(format!("... ({} bytes)", line.len()).bytes());
        }
        out.push(b'\n');
        self.0.write_all(&out)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The same for events that are JSON objects, whose text is escaped already: of a long one the beginning is told, as text in
/// an object.
pub struct OneObject<W>(pub W);

impl<W: io::Write> io::Write for OneObject<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        if event.len() <= MAX_LINE_BYTES {
            self.0.write_all(event)?;
            return Ok(event.len());
        }
        let shown = String::from_utf8_lossy(&event[..MAX_LINE_BYTES / 2]);
        let cut = serde_json::json!({ "cut": shown, "bytes": event.len() });
        self.0.write_all(format!("{cut}\n").as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn breaks_a_line(byte: u8) -> bool {
    byte.is_ascii_control() && !matches!(byte, b'\t' | b'\x1b')
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn text_that_would_forge_a_line_or_drive_a_terminal_is_escaped() {
        for (text, shown) in [
            ("orders-2.eu", "orders-2.eu"),
            ("it's \"ours\"", "it's \"ours\""),
            ("größe", "größe"),
            ("a\nb", "a\\nb"),
            ("a\r\nb", "a\\r\\nb"),
            ("\x1b[31mred", "\\u{1b}[31mred"),
            ("a\\nb", "a\\\\nb"),
            ("\u{85}\u{2028}\u{2029}", "\\u{85}\\u{2028}\\u{2029}"),
            ("evil\u{202e}txt", "evil\\u{202e}txt"),
            ("\0", "\\0"),
        ] {
            assert_eq!(client_text(text).to_string(), shown);
        }
    }

    #[test]
    fn long_text_is_cut_between_characters_and_says_how_long_it_was() {
        let fits = "x".repeat(MAX_TEXT_BYTES);
        assert_eq!(client_text(&fits).to_string(), fits);
        let long = format!("{}ß", "x".repeat(MAX_TEXT_BYTES - 1));
        let cut = format!("{}... (257 bytes)", "x".repeat(MAX_TEXT_BYTES - 1));
        assert_eq!(client_text(&long).to_string(), cut);
        let newlines = "\n".repeat(20 << 20);
        assert!(client_text(&newlines).to_string().len() < 1000);
    }

    #[test]
    fn an_event_is_one_object_however_long_it_is() {
        for bytes in [10, MAX_LINE_BYTES, 10 * MAX_LINE_BYTES] {
            let event = serde_json::json!({ "message": "\"\n".repeat(bytes) });
            let mut out = OneObject(Vec::new());
            out.write_all(format!("{event}\n").as_bytes()).unwrap();
            let line = String::from_utf8(out.0).unwrap();
            assert_eq!(line.matches('\n').count(), 1);
            assert!(line.len() < 2 * MAX_LINE_BYTES, "{}", line.len());
            let told: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert!(told == event || told["bytes"] == event.to_string().len() + 1);
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_it_says() {
        let write = |event: &str| {
            let mut out = OneLine(Vec::new());
            out.write_all(event.as_bytes()).unwrap();
            String::from_utf8(out.0).unwrap()
        };
        assert_eq!(write("INFO started\n"), "INFO started\n");
        assert_eq!(write("\x1b[32mINFO\x1b[0m ß\n"), "\x1b[32mINFO\x1b[0m ß\n");
        assert_eq!(
            write("a\r\nERROR forged\x07\n"),
            "a\\r\\nERROR forged\\x07\n"
        );
        let long = write(&format!("{}\n", "x".repeat(20 << 20)));
        assert!(long.len() < MAX_LINE_BYTES + 100);
        assert!(long.ends_with("... (20971520 bytes)\n"));
    }
}
