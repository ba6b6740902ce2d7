//! Subscriptions by regular expression (KIP-848, version 1).
//!
//! Kafka uses RE2/J; the syntax here is that of Rust's `regex`, which also comes from RE2 and also matches in linear
//! time. They agree on everything that occurs in topic names, but for `\Q...\E`, which is refused here.

use std::collections::{BTreeMap, BTreeSet};

use regex::{Regex, RegexBuilder};

use crate::group::{catalog::Catalog, codec::MAX_STRING_BYTES, event::Id};

/// Memory one compiled expression may take.
const MAX_COMPILED_BYTES: usize = 1 << 20;
/// How deep groups in an expression may nest.
const MAX_NESTING: u32 = 64;

/// Compiles an expression that has to match the whole name.
///
/// # Errors
/// What is wrong with it.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > MAX_STRING_BYTES {
        return Err("the expression is too long".to_owned());
    }
    let build = |pattern: &str| {
        RegexBuilder::new(pattern)
            .size_limit(MAX_COMPILED_BYTES)
            .dfa_size_limit(MAX_COMPILED_BYTES)
            .nest_limit(MAX_NESTING)
            .build()
            .map_err(|error| in_one_line(&error))
    };
    // Alone first: within the group, an expression such as `a)|(b` would pass.
    build(pattern)?;
    build(&format!(r"\A(?:{pattern})\z"))
}

/// A syntax error is drawn over several lines; the last one says what is wrong.
fn in_one_line(error: &regex::Error) -> String {
    let drawn = error.to_string();
    let last = drawn.lines().last().unwrap_or_default().trim();
    let what = last.strip_prefix("error: ").unwrap_or(last);
    what.trim_end_matches('.').to_owned()
}

/// The topics that each expression matches. One that does not compile, which a newer version may have let pass,
/// matches none.
pub(super) fn resolve<'a>(
    patterns: impl Iterator<Item = &'a Id>,
    catalog: &dyn Catalog,
) -> BTreeMap<Id, BTreeSet<Id>> {
    let mut resolved: Vec<(Id, Option<Regex>, BTreeSet<Id>)> = patterns
        .map(|pattern| (pattern.clone(), compile(pattern).ok(), BTreeSet::new()))
        .collect();
    catalog.visit_topic_names(&mut |name| {
        for (_, regex, topics) in &mut resolved {
            if regex.as_ref().is_some_and(|regex| regex.is_match(name)) {
                topics.insert(name.clone());
            }
        }
    });
    resolved
        .into_iter()
        .map(|(pattern, _, topics)| (pattern, topics))
        .collect()
}
