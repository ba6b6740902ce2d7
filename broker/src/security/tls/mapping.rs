//! `ssl.principal.mapping.rules` (KIP-371): from a certificate's name to a principal's.
//!
//! The rules are Java's regular expressions and replacements. What means something else here, or would fail for every
//! client in Kafka, stops the start: a rule that maps to another name than its author meant gives somebody else's rights.

use std::iter::Peekable;
use std::str::Chars;

use regex::{Captures, Regex};

/// The rules in their order.
#[derive(Clone, Debug)]
pub struct MappingRules {
    text: String,
    rules: Vec<Rule>,
}

impl PartialEq for MappingRules {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for MappingRules {}

#[derive(Clone, Debug)]
enum Rule {
    /// `DEFAULT`: the name as it is.
    Whole,
    Replace {
        /// Matches whole names only.
        anchored: Regex,
        pattern: Regex,
        replacement: Vec<Part>,
        case: Case,
    },
}

#[derive(Clone, Copy, Debug)]
enum Case {
    Kept,
    Lower,
    Upper,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

/// Where a rule ends: before a comma or at the end of the text.
const BLANKS: &[char] = &[' ', '\t', '\n', '\x0b', '\x0c', '\r'];

impl MappingRules {
    /// Reads rules separated by commas.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut rules = Vec::new();
        let mut rest = text.trim_matches(|c: char| c <= ' ');
        loop {
            rest = rest.trim_start_matches(BLANKS);
            let (rule, end) = if let Some(after) = rest.strip_prefix("RULE:") {
                let (rule, after) = parse_rule(after)?;
                (Some(rule), after)
            } else if let Some(after) = rest.strip_prefix("DEFAULT") {
                (Some(Rule::Whole), after)
            } else {
                (None, rest)
            };
            let after = end.trim_start_matches(BLANKS);
            rules.extend(rule);
            match after.strip_prefix(',') {
                Some(next) => rest = next,
                None if after.is_empty() => {
                    let text = text.to_owned();
                    return Ok(Self { text, rules });
                }
                None => {
                    let what =
                        "expected DEFAULT or RULE:pattern/replacement/[LU], separated by commas";
                    return Err(format!("{what}, not `{after}`"));
                }
            }
        }
    }

    /// The principal's name; `None`: no rule is for it.
    pub(crate) fn apply(&self, name: &str) -> Option<String> {
        self.rules.iter().find_map(|rule| rule.apply(name))
    }
}

/// Takes `pattern/replacement/[LU]` off the front.
fn parse_rule(text: &str) -> Result<(Rule, &str), String> {
    let incomplete = || format!("expected RULE:pattern/replacement/[LU], not `RULE:{text}`");
    let (pattern, rest) = until_slash(text).ok_or_else(incomplete)?;
    let (replacement, rest) = until_slash(rest).ok_or_else(incomplete)?;
    let (case, rest) = match rest.chars().next() {
        Some('L') => (Case::Lower, &rest[1..]),
        Some('U') => (Case::Upper, &rest[1..]),
        _ => (Case::Kept, rest),
    };
    let translated = from_java(pattern)?;
    let compile = |pattern: &str| {
        Regex::new(pattern).map_err(|error| {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim().to_owned();
            format!("the pattern `{translated}` cannot be used: {why}")
        })
    };
    let pattern = compile(&translated)?;
    let rule = Rule::Replace {
        anchored: compile(&format!("^(?:{translated})$"))?,
        replacement: parse_replacement(replacement, pattern.captures_len() - 1)?,
        pattern,
        case,
    };
    Ok((rule, rest))
}

/// What stands before the next slash that is not escaped, and what after it.
fn until_slash(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '/' => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
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

/// A replacement of Java's `Matcher`. As in Kafka, a reference to a group that there is not stands for itself; with a second
/// one Kafka fails.
fn parse_replacement(text: &str, groups: usize) -> Result<Vec<Part>, String> {
    let refuse = |what: String| Err(format!("the replacement `{text}` {what}"));
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut is_literal_group = false;
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
                    if std::mem::replace(&mut is_literal_group, true) {
                        return refuse(format!(
                            "names several groups that the pattern has not, as ${group}"
                        ));
                    }
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

impl Rule {
    fn apply(&self, name: &str) -> Option<String> {
        let Self::Replace {
            anchored,
            pattern,
            replacement,
            case,
        } = self
        else {
            return Some(name.to_owned());
        };
        anchored.is_match(name).then(|| {
            let mapped = replace_all(pattern, replacement, name);
            match case {
                Case::Kept => mapped,
                Case::Lower => mapped.to_lowercase(),
                Case::Upper => mapped.to_uppercase(),
            }
        })
    }
}

/// Java's `replaceAll`, which finds an empty match right behind another: `.*` is replaced twice.
fn replace_all(pattern: &Regex, replacement: &[Part], name: &str) -> String {
    let mut mapped = String::new();
    let mut copied = 0;
    let mut from = 0;
    while let Some(found) = pattern.captures_at(name, from) {
        let Some(whole) = found.get(0) else { break };
        mapped.push_str(&name[copied..whole.start()]);
        push_replacement(&mut mapped, replacement, &found);
        copied = whole.end();
        from = match name[copied..].chars().next() {
            _ if !whole.is_empty() => copied,
            Some(next) => copied + next.len_utf8(),
            None => break,
        };
    }
    mapped.push_str(&name[copied..]);
    mapped
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

#[cfg(test)]
mod tests {
    use super::*;

    fn map(rules: &str, name: &str) -> Result<Option<String>, String> {
        MappingRules::parse(rules).map(|rules| rules.apply(name))
    }

    #[test]
    fn the_first_rule_that_matches_the_whole_name_counts() {
        let rules = "RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/, RULE:^CN=(.*?),OU=(.*?),O=(.*?),L=(.*?),ST=(.*?),C=(.*?)$/$1@$2/L, \
                     RULE:^.*[Cc][Nn]=([a-zA-Z0-9.]*).*$/$1/U,DEFAULT";
        for (name, expected) in [
            ("CN=kafka-server1,OU=ServiceUsers,O=x", "kafka-server1"),
            ("CN=kafka1,OU=SME,O=mycp,L=Fulton,ST=MD,C=US", "kafka1@sme"),
            ("cn=adm.1,OU=x", "ADM.1"),
            ("OU=nobody", "OU=nobody"),
        ] {
            assert_eq!(map(rules, name), Ok(Some(expected.to_owned())), "{name}");
        }
        assert_eq!(map("RULE:^CN=(.*)$/$1/", "OU=x"), Ok(None));
        assert_eq!(map("", "CN=x"), Ok(None), "Kafka has no rule then, either");
        assert_eq!(map(" , DEFAULT ,", "CN=x"), Ok(Some("CN=x".to_owned())));
    }

    #[test]
    fn what_java_would_read_otherwise_is_refused() {
        for rules in [
            "DEFAULTX",
            "NO",
            "RULE:a/b",
            "RULE:a/b/X",
            "RULE:a/b/L junk",
            "RULE:a/$1/",
            "RULE:(a)/$x/",
            "RULE:(a)/b\\/",
            "RULE:(?=a)a/b/",
            "RULE:a*+/b/",
            "RULE:[[:alpha:]]/b/",
            "RULE:(?s)a/b/",
            "RULE:(a)\\1/b/",
            "RULE:(/b/",
        ] {
            assert!(map(rules, "x").is_err(), "{rules}");
        }
    }

    #[test]
    fn a_dot_ends_at_a_line_and_a_digit_is_ascii() {
        assert_eq!(map("RULE:CN=(.*)/$1/", "CN=a\r"), Ok(None));
        assert_eq!(map("RULE:CN=(\\d)/$1/", "CN=\u{663}"), Ok(None));
        assert_eq!(
            map("RULE:CN=([\\w-]+)/$1/", "CN=a-1"),
            Ok(Some("a-1".to_owned()))
        );
    }
}
