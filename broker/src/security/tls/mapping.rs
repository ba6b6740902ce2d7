//! `ssl.principal.mapping.rules` (KIP-371): from a certificate's name to a principal's.
//!
//! The rules are Java's regular expressions and replacements; what cannot be read as Java reads it stops the start.

use crate::security::java_pattern::{JavaPattern, Replacement};

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
        pattern: JavaPattern,
        replacement: Replacement,
        case: Case,
    },
}

#[derive(Clone, Copy, Debug)]
enum Case {
    Kept,
    Lower,
    Upper,
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
    let pattern = JavaPattern::parse(pattern)?;
    let rule = Rule::Replace {
        // As in Kafka; with a second one Kafka fails.
        replacement: pattern.replacement(replacement, 1)?,
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

impl Rule {
    fn apply(&self, name: &str) -> Option<String> {
        let Self::Replace {
            pattern,
            replacement,
            case,
        } = self
        else {
            return Some(name.to_owned());
        };
        pattern.is_whole(name).then(|| {
            let mapped = pattern.replace(name, replacement, usize::MAX);
            match case {
                Case::Kept => mapped,
                Case::Lower => mapped.to_lowercase(),
                Case::Upper => mapped.to_uppercase(),
            }
        })
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
