//! Subscriptions by regular expression: when the owner has to match them, and what follows from the answer.

use std::collections::BTreeSet;

use protocol_shim::ErrorCode;

use crate::group::consumer::ConsumerGroup;
use crate::group::context::Context;
use crate::group::effects::{Question, ResolvePatterns};
use crate::group::id::Name;
use crate::group::record::consumer::{ConsumerRecord, ResolvedRegex};
use crate::group::reply::Refusal;
use crate::group::request::{PatternsResolved, ResolvedPattern};

impl ConsumerGroup {
    /// Takes in what a member's new expression matches. All members that have it share this.
    pub(super) fn pattern_said(
        &mut self,
        cx: &mut Context<'_>,
        pattern: &Name,
        resolved: Option<ResolvedPattern>,
    ) -> Result<(), Refusal> {
        let Some(ResolvedPattern { topics, catalog }) = resolved else {
            return Ok(());
        };
        let topics = topics.map_err(|what| {
            let message = format!(
                "SubscribedTopicRegex `{pattern}` is not a valid regular expression: {what}."
            );
            Refusal::new(ErrorCode::InvalidRegularExpression, message)
        })?;
        let is_newest = cx.is_newest(&catalog);
        if is_newest || !self.regexes.contains_key(pattern) {
            self.set_topics(cx, pattern, topics);
        }
        if is_newest {
            self.patterns
                .matched
                .insert(pattern.clone(), cx.catalog_version);
        }
        Ok(())
    }

    /// Notes what an expression matches, and says whether this has changed. If not, it is only written now and then.
    fn set_topics(&mut self, cx: &mut Context<'_>, pattern: &Name, topics: BTreeSet<Name>) -> bool {
        let known = self.regexes.get(pattern);
        let has_changed = known.is_none_or(|known| known.topics != topics);
        if !has_changed && known.is_some_and(|known| !is_old(cx, known)) {
            return false;
        }
        let resolved = ResolvedRegex {
            topics,
            version: i64::try_from(cx.catalog_version).unwrap_or(i64::MAX),
            timestamp_ms: cx.wall_ms,
        };
        let record = ConsumerRecord::Regex(pattern.clone(), Some(resolved));
        self.append(cx, record);
        has_changed
    }

    /// The expressions that members have.
    fn used_patterns(&self) -> BTreeSet<Name> {
        let members = self.members.values();
        members
            .filter_map(|member| member.subscription.pattern().cloned())
            .collect()
    }

    /// Forgets expressions that nobody uses, and notes which have not been matched with the newest topics.
    pub(super) fn review_patterns(&mut self, cx: &mut Context<'_>) {
        if self.regexes.is_empty()
            && self
                .members
                .values()
                .all(|one| one.subscription.pattern().is_none())
        {
            return;
        }
        let used = self.used_patterns();
        let unused: Vec<Name> = self
            .regexes
            .keys()
            .filter(|known| !used.contains(*known))
            .cloned()
            .collect();
        for pattern in unused {
            self.append(cx, ConsumerRecord::Regex(pattern, None));
        }
        let newest = Some(&cx.catalog_version);
        let patterns = &mut self.patterns;
        patterns.matched.retain(|pattern, _| used.contains(pattern));
        patterns.viewers.retain(|pattern, _| used.contains(pattern));
        patterns.are_stale = used
            .iter()
            .any(|pattern| patterns.matched.get(pattern) != newest);
    }

    /// Asks what the expressions match if that may have changed, or if nobody has asked for long. Does not ask too often.
    pub(super) fn refresh_patterns(&mut self, cx: &mut Context<'_>) {
        let interval_ms = cx.config.consumer_regex_refresh_min_interval_ms;
        let due_at_ms = self
            .patterns
            .asked_at_ms
            .map(|at_ms| at_ms.saturating_add(interval_ms));
        let is_due = due_at_ms.is_none_or(|due_at_ms| cx.now_ms >= due_at_ms);
        let are_old = self.regexes.values().any(|known| is_old(cx, known));
        let is_wanted = self.patterns.are_stale || are_old;
        if !is_wanted || self.patterns.is_asked || !is_due {
            return;
        }
        let newest = Some(&cx.catalog_version);
        let asked = self.used_patterns().into_iter();
        let asked = asked.filter(|pattern| are_old || self.patterns.matched.get(pattern) != newest);
        // After a load nobody knows who has an expression until one of its members is heard of.
        let asked = asked.filter_map(|pattern| {
            let viewer = self.patterns.viewers.get(&pattern)?.clone();
            Some((pattern, viewer))
        });
        let asked = ResolvePatterns {
            group_id: self.id.clone(),
            patterns: asked.collect(),
        };
        if asked.patterns.is_empty() {
            return;
        }
        cx.effects.questions.push(Question::Patterns(asked));
        self.patterns.asked_at_ms = Some(cx.now_ms);
        self.patterns.is_asked = true;
    }

    /// Takes over the answer. If an expression matches other topics now, a new target is needed.
    pub(crate) fn patterns_resolved(&mut self, cx: &mut Context<'_>, resolved: PatternsResolved) {
        let is_newest = cx.is_newest(&resolved.catalog);
        self.patterns.is_asked = false;
        let used = self.used_patterns();
        let mut have_changed = false;
        for (pattern, topics) in resolved.topics {
            if !used.contains(&pattern) {
                continue;
            }
            have_changed |= self.set_topics(cx, &pattern, topics);
            if is_newest {
                self.patterns.matched.insert(pattern, cx.catalog_version);
            }
        }
        self.review_patterns(cx);
        if have_changed {
            self.refresh_epoch(cx, true, "a regular expression matches other topics");
        }
    }
}

/// Whether it is time to match an expression anew, even if no topic has changed. A time in the future was written before
/// the clock was put back.
fn is_old(cx: &Context<'_>, known: &ResolvedRegex) -> bool {
    let interval_ms = cx.config.consumer_regex_refresh_interval_ms;
    let since_ms = cx.wall_ms.saturating_sub(known.timestamp_ms);
    !(0..=interval_ms).contains(&since_ms)
}
