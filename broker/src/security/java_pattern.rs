//! Java's regular expressions and replacements, which rules for names are written in.
//!
//! What means something else here, or would fail for every client in Kafka, is refused: a rule that maps to another name than
//! its author meant gives somebody else's rights.

use std::iter::Peekable;
use std::str::Chars;

use regex::{Captures, Regex};

/// A pattern of Java's.
#[derive(Clone, Debug)]
pub(crate) struct JavaPattern {
    /// Matches whole texts only.
    whole: Regex,
    anywhere: Regex,
}

/// What a match is replaced with.
#[derive(Clone, Debug)]
pub(crate) struct Replacement(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

impl JavaPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It means something else here, or nothing; what, in words.
    pub(crate) fn parse(pattern: &str) -> Result<Self, String> {
        let translated = from_java(pattern)?;
        let compile = |pattern: &str| {
            Regex::new(pattern).map_err(|error| {
                let why = error.to_string();
                let why = why.lines().last().unwrap_or_default().trim().to_owned();
                format!("the pattern `{translated}` cannot be used: {why}")
            })
        };
        Ok(Self {
            whole: compile(&format!("^(?:{translated})$"))?,
            anywhere: compile(&translated)?,
        })
    }

    /// Reads what matches of the pattern are replaced with. Up to `unknown` references to groups that the pattern has not stand
    /// for themselves, where it has any.
    ///
    /// # Errors
    /// It names more of them, or ends too early.
    pub(crate) fn replacement(&self, text: &str, unknown: usize) -> Result<Replacement, String> {
        let groups = self.anywhere.captures_len() - 1;
        parse_replacement(text, groups, unknown).map(Replacement)
    }

    /// Whether all of a text matches: Java's `matches`.
    pub(crate) fn is_whole(&self, text: &str) -> bool {
        self.whole.is_match(text)
    }

    /// Replaces the first matches, `most` of them: Java's `replaceFirst` and `replaceAll`, which finds an empty match right behind
    /// another: `.*` is replaced twice.
    pub(crate) fn replace(
        &self,
        text: &str,
        Replacement(parts): &Replacement,
        most: usize,
    ) -> String {
        let mut replaced = String::new();
        let mut copied = 0;
        let mut from = Some(0);
        for _ in 0..most {
            let found = from.and_then(|from| self.anywhere.captures_at(text, from));
            let Some((whole, found)) = found
                .as_ref()
                .and_then(|found| Some((found.get(0)?, found)))
            else {
                break;
            };
            replaced.push_str(&text[copied..whole.start()]);
            push_replacement(&mut replaced, parts, found);
            copied = whole.end();
            from = match text[copied..].chars().next() {
                _ if !whole.is_empty() => Some(copied),
                next => next.map(|next| copied + next.len_utf8()),
            };
        }
        replaced.push_str(&text[copied..]);
        replaced
    }
}

/// A pattern of Java's in the words of `regex`, where they differ.
fn from_java(pattern: &str) -> Result<String, String> {
    let refuse = |what: &str| {
        Err(format!(
            "the pattern `{pattern}` uses {what}, which is not supported"
        ))
    };
    let mut translated = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    // What a `+` would make possessive.
    let mut after_quantifier = false;
    while let Some(c) = chars.next() {
        let was_quantifier = std::mem::take(&mut after_quantifier);
        match c {
            '\\' => match chars.next() {
                Some(c @ ('p' | 'P' | 'v')) => return refuse(&format!("\\{c}")),
                Some(escaped) => push_escape(&mut translated, escaped),
                None => translated.push('\\'),
            },
            '[' if in_class => return refuse("a class within a class"),
            '[' => {
                in_class = true;
                translated.push(c);
                take_first_of_class(&mut translated, &mut chars);
            }
            ']' => {
                in_class = false;
                translated.push(c);
            }
            '-' | '~' | '&' if in_class && chars.peek() == Some(&c) => {
                return refuse("--, ~~ or && in a class");
            }
            _ if in_class => translated.push(c),
            '.' => translated.push_str("[^\\n\\r\\u{85}\\u{2028}\\u{2029}]"),
            '+' if was_quantifier => return refuse("a possessive quantifier"),
            '*' | '+' | '?' | '}' => {
                translated.push(c);
                after_quantifier = true;
            }
            '(' => {
                translated.push(c);
                if chars.peek() == Some(&'?') {
                    translated.extend(chars.next());
                    let flags: String = std::iter::from_fn(|| {
                        chars.next_if(|c| c.is_ascii_alphabetic() || *c == '-')
                    })
                    .collect();
                    if flags.chars().any(|flag| !matches!(flag, 'i' | '-')) {
                        return refuse("a flag other than (?i)");
                    }
                    translated.push_str(&flags);
                }
            }
            _ => translated.push(c),
        }
    }
    Ok(translated)
}

/// `[^`, and a `]` that stands first, which ends nothing in Java either.
fn take_first_of_class(translated: &mut String, chars: &mut Peekable<Chars<'_>>) {
    translated.extend(chars.next_if_eq(&'^'));
    if chars.next_if_eq(&']').is_some() {
        translated.push_str("\\]");
    }
}

/// Java's classes are ASCII.
fn push_escape(translated: &mut String, escaped: char) {
    match escaped {
        'd' => translated.push_str("[0-9]"),
        'D' => translated.push_str("[^0-9]"),
        'w' => translated.push_str("[0-9A-Za-z_]"),
        'W' => translated.push_str("[^0-9A-Za-z_]"),
        's' => translated.push_str("[ \\t\\n\\x0b\\x0c\\r]"),
        'S' => translated.push_str("[^ \\t\\n\\x0b\\x0c\\r]"),
        // Anything but a letter or a digit stands for itself.
        _ if !escaped.is_ascii() => translated.push(escaped),
        '<' | '>' | ' ' | '_' => translated.push(escaped),
        _ => translated.extend(['\\', escaped]),
    }
}

/// A replacement of Java's `Matcher`.
fn parse_replacement(text: &str, groups: usize, mut unknown: usize) -> Result<Vec<Part>, String> {
    let refuse = |what: String| Err(format!("the replacement `{text}` {what}"));
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped) => literal.push(escaped),
                None => return refuse("ends with a backslash".to_owned()),
            },
            '$' => {
                let Some(first) = chars.next_if(char::is_ascii_digit) else {
                    return refuse("has a $ without the number of a group; write \\$".to_owned());
                };
                let digit = |c: char| c.to_digit(10).map_or(0, |digit| digit as usize);
                let mut group = digit(first);
                if group > groups && groups > 0 {
                    let Some(left) = unknown.checked_sub(1) else {
                        return refuse(format!(
                            "names ${group}, and the pattern has no such group"
                        ));
                    };
                    unknown = left;
                    literal.extend(['$', first]);
                    continue;
                }
                if group > groups {
                    return refuse(format!("names group {group}, and the pattern has {groups}"));
                }
                while let Some(next) =
                    chars.next_if(|c| c.is_ascii_digit() && group * 10 + digit(*c) <= groups)
                {
                    group = group * 10 + digit(next);
                }
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(Part::Group(group));
            }
            _ => literal.push(c),
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(parts)
}

fn push_replacement(mapped: &mut String, replacement: &[Part], found: &Captures<'_>) {
    for part in replacement {
        match part {
            Part::Text(text) => mapped.push_str(text),
            // A group that took no part is empty.
            Part::Group(group) => mapped.push_str(found.get(*group).map_or("", |m| m.as_str())),
        }
    }
}
