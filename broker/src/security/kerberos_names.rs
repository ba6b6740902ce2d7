//! `sasl.kerberos.principal.to.local.rules`: from a principal of Kerberos to the name of a user, as Kafka's
//! `KerberosShortNamer` has it.
//!
//! A rule is `DEFAULT` (the first part of a principal of the own realm) or `RULE:[N:FORMAT](MATCH)s/FROM/TO/g/L`, all behind
//! the format as one likes: for principals of N parts, FORMAT is filled in (`$0` is the realm, `$1` and `$2` the parts), has
//! to match, and is changed. The first rule that is about a principal counts.

use std::sync::LazyLock;

use regex::Regex;

use super::java_pattern::{JavaPattern, Replacement};

/// The rules in their order.
#[derive(Clone, Debug)]
pub struct LocalNames {
    texts: Vec<String>,
    rules: Vec<Rule>,
}

impl PartialEq for LocalNames {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

impl Eq for LocalNames {}

#[derive(Clone, Debug)]
enum Rule {
    Default { is_lower: bool },
    Of(Box<Transformation>),
}

#[derive(Clone, Debug)]
struct Transformation {
    /// How many parts the principals have that it is for.
    parts: usize,
    format: Vec<Piece>,
    matching: Option<JavaPattern>,
    change: Option<(JavaPattern, Replacement)>,
    most_changes: usize,
    is_lower: bool,
}

/// A piece of what a format is filled in to.
#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    /// 0 is the realm.
    Part(usize),
}

static RULE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let rule = r"^(?:(DEFAULT)|RULE:\[([0-9]*):([^\]]*)\](?:\(([^)]*)\))?(?:s/([^/]*)/([^/]*)/(g)?)?)/?(L)?$";
    Regex::new(rule).ok()
});

impl LocalNames {
    /// Reads rules, one after the other.
    ///
    /// # Errors
    /// One of them is none, or would fail for every principal.
    pub(crate) fn parse<'a>(rules: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let texts: Vec<String> = rules.map(str::to_owned).collect();
        let rules: Result<_, _> = texts.iter().map(|text| Rule::parse(text)).collect();
        Ok(Self {
            rules: rules?,
            texts,
        })
    }

    /// The user's name; `None`: no rule is about the principal, or the one that is leaves no simple name.
    pub(crate) fn apply(&self, principal: &str, default_realm: &str) -> Option<String> {
        let (name, realm) = principal.split_once('@')?;
        let parts: Vec<&str> = std::iter::once(realm).chain(name.split('/')).collect();
        // More than the host's name makes three parts, which have no place here; and what is escaped would be taken apart.
        let is_known = parts.len() <= 3 && !realm.contains(['/', '@']) && !name.contains('\\');
        let mut applied = self.rules.iter().filter(|_| is_known);
        let (name, is_lower) = applied.find_map(|rule| rule.apply(&parts, default_realm))?;
        let is_simple = !name.is_empty() && !name.contains(['/', '@']);
        is_simple.then(|| if is_lower { name.to_lowercase() } else { name })
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Self, String> {
        let invalid =
            || format!("expected DEFAULT or RULE:[N:FORMAT](MATCH)s/FROM/TO/g/L, not `{text}`");
        let found = RULE.as_ref().and_then(|rule| rule.captures(text));
        let found = found.ok_or_else(invalid)?;
        let part = |group| found.get(group).map(|part| part.as_str());
        let is_lower = part(8).is_some();
        if part(1).is_some() {
            return Ok(Self::Default { is_lower });
        }
        let parts = part(2).and_then(|count| count.parse().ok());
        let parts = parts.ok_or_else(invalid)?;
        let matching = part(4).map(JavaPattern::parse).transpose()?;
        let change = match (part(5), part(6)) {
            (Some(from), Some(to)) => {
                let from = JavaPattern::parse(from)?;
                let to = from.replacement(to, 0)?;
                Some((from, to))
            }
            _ => None,
        };
        Ok(Self::Of(Box::new(Transformation {
            parts,
            format: format_of(part(3).unwrap_or_default(), parts)?,
            matching,
            change,
            most_changes: part(7).map_or(1, |_| usize::MAX),
            is_lower,
        })))
    }

    /// What it makes of a principal, whose realm stands first, and whether in small letters. `None`: it is not about it.
    fn apply(&self, parts: &[&str], default_realm: &str) -> Option<(String, bool)> {
        let rule = match self {
            Self::Default { is_lower } => {
                let [realm, first, ..] = parts else {
                    return None;
                };
                let is_own = *realm == default_realm && !realm.is_empty();
                return is_own.then(|| ((*first).to_owned(), *is_lower));
            }
            Self::Of(rule) => rule,
        };
        if parts.len() != rule.parts + 1 {
            return None;
        }
        let pieces = rule.format.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Part(number) => parts.get(*number).copied().unwrap_or_default(),
        });
        let base: String = pieces.collect();
        let matching = rule.matching.as_ref();
        if matching.is_some_and(|pattern| !pattern.is_whole(&base)) {
            return None;
        }
        let name = match &rule.change {
            None => base,
            Some((from, to)) => from.replace(&base, to, rule.most_changes),
        };
        Some((name, rule.is_lower))
    }
}

fn format_of(text: &str, parts: usize) -> Result<Vec<Piece>, String> {
    let mut pieces = text.split('$');
    let mut format = vec![Piece::Text(pieces.next().unwrap_or_default().to_owned())];
    for piece in pieces {
        let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = piece.split_at(digits);
        match number.parse::<usize>() {
            Ok(number) if number <= parts => format.push(Piece::Part(number)),
            _ => {
                return Err(format!(
                    "the format `{text}` of principals with {parts} parts names ${number}: expected $0 to ${parts}"
                ));
            }
        }
        format.push(Piece::Text(rest.to_owned()));
    }
    Ok(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(rules: &[&str], principal: &str) -> Option<String> {
        let rules = LocalNames::parse(rules.iter().copied()).expect("rules");
        rules.apply(principal, "REALM")
    }

    #[test]
    fn the_first_rule_that_is_about_a_principal_names_its_user() {
        let rules = [
            "RULE:[1:$1](App\\..*)s/App\\.(.*)/$1/g",
            "RULE:[2:$1](App\\..*)s/App\\.(.*)/$1/g",
            "RULE:[2:$1@$0](.*@OTHER)s/@.*//L",
            "DEFAULT",
        ];
        for (principal, expected) in [
            ("App.service-name@REALM", Some("service-name")),
            ("App.service-name/example.com@REALM", Some("service-name")),
            ("ann@REALM", Some("ann")),
            ("Ann/example.com@REALM", Some("Ann")),
            ("Ann/example.com@OTHER", Some("ann")),
            ("ann@OTHER", None),
            ("ann", None),
            ("a/b/c@REALM", None),
            ("ann\\/x@REALM", None),
            ("ann@REALM@REALM", None),
            ("@REALM", None),
        ] {
            assert_eq!(named(&rules, principal).as_deref(), expected, "{principal}");
        }
    }

    #[test]
    fn a_rule_changes_the_first_match_or_all_of_them() {
        let base = "aXbXc@REALM";
        for (rule, expected) in [
            ("RULE:[1:$1]", "aXbXc"),
            ("RULE:[1:$1]s/X/-/", "a-bXc"),
            ("RULE:[1:$1]s/X/-/g", "a-b-c"),
            ("RULE:[1:$1]/L", "axbxc"),
            ("RULE:[1:$1-$0](.*)s/X(.)/$1/g/L", "abc-realm"),
            ("DEFAULT/L", "axbxc"),
        ] {
            assert_eq!(named(&[rule], base).as_deref(), Some(expected), "{rule}");
        }
    }

    #[test]
    fn nobody_has_a_name_that_is_none() {
        for rule in ["RULE:[1:$1@$0]", "RULE:[1:$1]s/.*//g", "RULE:[1:a/b]"] {
            // Nor does a later rule mend it, as in Kafka.
            assert_eq!(named(&[rule, "DEFAULT"], "ann@REALM"), None, "{rule}");
        }
    }

    #[test]
    fn what_is_no_rule_is_named() {
        for rule in [
            "",
            "default",
            "RULE:[1:$1",
            "RULE:[:$1]",
            "RULE:[1:$2]",
            "RULE:[1:$]",
            "RULE:[1:$1](()",
            "RULE:[1:$1]s/a/$1/",
            "RULE:[1:$1]s/(a)/$2/",
            "RULE:[1:$1]s/a/",
            "RULE:[1:$1]/U",
            "RULE:[99999999999999999999:$1]",
        ] {
            assert!(LocalNames::parse([rule].into_iter()).is_err(), "{rule}");
        }
    }
}
