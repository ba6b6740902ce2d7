//! Text as Kafka reads it: bytes that are not UTF-8 become U+FFFD, and nothing is refused.

use std::borrow::Cow;

/// What Java's `new String(bytes, UTF_8)` makes of `bytes`; borrowed when they are UTF-8.
///
/// Each longest start of a character becomes one U+FFFD, as Unicode advises and [`String::from_utf8_lossy`] does. The one
/// difference: half of a surrogate pair (`ED A0..BF`, with or without its third byte) is one to Java and one for each byte
/// to Rust.
pub(crate) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len());
    // How many bytes of a surrogate have been read. Rust gives them one by one.
    let mut surrogate_bytes = 0;
    for chunk in bytes.utf8_chunks() {
        if !chunk.valid().is_empty() {
            text.push_str(chunk.valid());
            surrogate_bytes = 0;
        }
        surrogate_bytes = match (surrogate_bytes, chunk.invalid()) {
            (_, []) => break,
            (1, [0xa0..=0xbf]) => 2,
            (2, [0x80..=0xbf]) => 0,
            (_, invalid) => {
                text.push(char::REPLACEMENT_CHARACTER);
                usize::from(invalid == [0xed])
            }
        };
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Per row: bytes, and what Java 17 makes of them, `.` for U+FFFD.
    const BY_JAVA: &[(&[u8], &str)] = &[
        (b"\x80", "."),
        (b"a\xffb", "a.b"),
        (b"\xfe\xff", ".."),
        (b"\xc0\x80", ".."),
        (b"\xc3", "."),
        (b"\xc3\xc3\xa9", ".é"),
        // Cut short: as far as a character can go, it is one.
        (b"\xe1\x80", "."),
        (b"\xe1\x80A", ".A"),
        (b"\xf1\x80\x80", "."),
        (b"\xf1\x80\x80A", ".A"),
        (b"\xf1\x80\xe1\x80\xc0", "..."),
        // Written too long, or beyond U+10FFFF: no start of any character.
        (b"\xe0\x80\x80", "..."),
        (b"\xf0\x80\x80\x80", "...."),
        (b"\xf4\x90\x80\x80", "...."),
        (b"\xf5\x80\x80\x80", "...."),
        (b"\xf8\x88\x80\x80\x80", "....."),
        // Surrogates.
        (b"\xed\xa0\x80", "."),
        (b"\xed\xbf\xbf", "."),
        (b"\xed\xa0", "."),
        (b"\xed", "."),
        (b"\xed\xa0A", ".A"),
        (b"\xed\xa0\xc0", ".."),
        (b"\xed\xa0\x80\x80", ".."),
        (b"\xed\xa0\xed\xa0\x80", ".."),
        (b"\xed\xa0\xbd\xed\xb8\x80", ".."),
        (b"\xed\xed\xa0\x80", ".."),
        (b"\xedA\xa0", ".A."),
        (b"\xed\x9f\xbf\xa0", "\u{d7ff}."),
    ];

    #[test]
    fn bytes_that_are_not_utf8_are_replaced_as_java_does() {
        for (bytes, expected) in BY_JAVA {
            let expected = expected.replace('.', "\u{fffd}");
            assert_eq!(decode(bytes), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn text_that_is_utf8_is_borrowed() {
        for text in ["", "plain", "é\0\u{d7ff}\u{e000}\u{fffd}😀"] {
            assert!(matches!(decode(text.as_bytes()), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn no_more_than_three_bytes_stand_for_one_that_is_not_utf8() {
        let seed = rand::random();
        println!("seed {seed}");
        let mut rng: rand::rngs::StdRng = rand::SeedableRng::seed_from_u64(seed);
        for _ in 0..100_000 {
            let length = rand::Rng::random_range(&mut rng, 0..12);
            let bytes: Vec<u8> = (0..length)
                .map(|_| rand::Rng::random_range(&mut rng, 0x70..=0xff))
                .collect();
            let text = decode(&bytes);
            assert!(text.len() <= 3 * bytes.len(), "{bytes:02x?}");
            // What is UTF-8 at the start is kept.
            let valid = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
            assert!(text.starts_with(valid), "{bytes:02x?}");
        }
    }
}
