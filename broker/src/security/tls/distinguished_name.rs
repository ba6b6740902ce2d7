//! Names of certificates as Java writes them.
//!
//! ACLs, `super.users` and mapping rules hold what `X500Principal.getName()` gives, the form of RFC 2253. Another blank, case
//! or order would be another principal.

use std::fmt::Write as _;

use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The attributes that have a keyword; others go by their numbers.
const KEYWORDS: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
];

/// The tags of values that Java takes for text: UTF8String, PrintableString, T61String, IA5String, GeneralString, BMPString.
const TEXT_TAGS: &[u8] = &[12, 19, 20, 22, 27, 30];

/// The name as text: what comes last in the certificate comes first.
pub(super) fn rfc2253(name: &X509Name<'_>) -> String {
    let parts: Vec<String> = name
        .iter()
        .map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+"))
        .collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let number = attribute.attr_type().to_id_string();
    let value = attribute.attr_value();
    let keyword = KEYWORDS.iter().find(|(known, _)| *known == number);
    let tag = u8::try_from(value.tag().0).unwrap_or(u8::MAX);
    match keyword {
        Some((_, keyword)) if TEXT_TAGS.contains(&tag) => {
            format!(
                "{keyword}={}",
                escaped(&String::from_utf8_lossy(value.data))
            )
        }
        _ => {
            let keyword = keyword.map_or(number.as_str(), |(_, keyword)| keyword);
            let mut text = format!("{keyword}=#");
            let class = (value.class() as u8) << 6 | u8::from(value.header.is_constructed()) << 5;
            for byte in [&[class | tag], &length(value.data.len())[..], value.data].concat() {
                let _ = write!(text, "{byte:02x}");
            }
            text
        }
    }
}

/// A length in DER.
fn length(bytes: usize) -> Vec<u8> {
    match u8::try_from(bytes) {
        Ok(short @ ..0x80) => vec![short],
        _ => {
            let digits = bytes.to_be_bytes();
            let zeros = digits.iter().take_while(|digit| **digit == 0).count();
            let digits = &digits[zeros..];
            [&[0x80 | digits.len() as u8], digits].concat()
        }
    }
}

fn escaped(value: &str) -> String {
    let is_blank = |c: char| matches!(c, ' ' | '\r');
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            ',' | '=' | '+' | '<' | '>' | '#' | ';' | '"' | '\\' => text.extend(['\\', c]),
            '\0' => text.push_str("\\00"),
            _ => text.push(c),
        }
    }
    // Blanks at the ends belong to the value.
    let lead = text.len() - text.trim_start_matches(is_blank).len();
    let trail = text.trim_end_matches(is_blank).len().max(lead);
    let blanks = |part: &str| part.chars().flat_map(|c| ['\\', c]).collect::<String>();
    format!(
        "{}{}{}",
        blanks(&text[..lead]),
        &text[lead..trail],
        blanks(&text[trail..])
    )
}
