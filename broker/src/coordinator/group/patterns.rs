//! Matches regular expressions with the names of topics, where no shard and no connection has to wait for it.
//!
//! A client chooses the expression, and with 100,000 topics an expensive one takes minutes. So all expressions share one
//! thread, in turns of some milliseconds, and none holds up another. The result is kept. Later only topics that have come or
//! gone since are looked at.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coordinators::group::{Name, PatternsResolved, ResolvePatterns};
use coordinators::pattern::NamePattern;
use parking_lot::Mutex;
use protocol_shim::access::Operation;
use tokio::sync::Semaphore;
use tokio::task::JoinError;

use crate::authorizer::{Asker, Audit, Authorizer, Resource};
use crate::metadata::{MetadataImage, Published};
use crate::net::session::Principal;

/// How long one expression is matched before it is another's turn.
const TURN: Duration = Duration::from_millis(5);
/// How many expressions are remembered at most, and how many topics they match all together.
const MAX_KNOWN_PATTERNS: usize = 1000;
const MAX_KNOWN_TOPICS: usize = 1_000_000;

/// See the [module](self).
pub(crate) struct PatternResolver {
    turns: Arc<Semaphore>,
    turn_time: Duration,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    by_pattern: HashMap<Name, Resolution>,
    topic_count: usize,
}

/// What an expression matches among the topics of an image.
#[derive(Clone)]
struct Resolution {
    image: Arc<MetadataImage>,
    topics: Arc<BTreeSet<Name>>,
}

impl Default for PatternResolver {
    fn default() -> Self {
        Self::with_turns_of(TURN)
    }
}

impl PatternResolver {
    pub(in crate::coordinator) fn with_turns_of(turn_time: Duration) -> Self {
        Self {
            turn_time,
            turns: Arc::new(Semaphore::new(1)),
            known: Mutex::default(),
        }
    }

    /// The topics of `image` that `pattern` matches.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) async fn resolve(
        &self,
        pattern: &Name,
        image: &Arc<MetadataImage>,
    ) -> Result<Arc<BTreeSet<Name>>, String> {
        let matched = self.try_resolve(pattern, image).await;
        matched.unwrap_or_else(|error| Err(error.to_string()))
    }

    async fn try_resolve(
        &self,
        pattern: &Name,
        image: &Arc<MetadataImage>,
    ) -> Result<Result<Arc<BTreeSet<Name>>, String>, JoinError> {
        let known = self.known.lock().by_pattern.get(pattern).cloned();
        if let Some(known) = known
            .as_ref()
            .filter(|known| Arc::ptr_eq(&known.image, image))
        {
            return Ok(Ok(Arc::clone(&known.topics)));
        }
        let (asked, newest) = (pattern.clone(), Arc::clone(image));
        let began = self
            .turn(move || Matching::begin(&asked, known.as_ref(), &newest))
            .await?;
        let mut matching = match began {
            Ok(matching) => matching,
            Err(what) => return Ok(Err(what)),
        };
        while !matching.is_done() {
            let turn_time = self.turn_time;
            matching = self.turn(move || matching.go_on(turn_time)).await?;
        }
        let topics = Arc::new(matching.topics);
        self.known.lock().remember(pattern, image, &topics);
        Ok(Ok(topics))
    }

    /// Answers the question of a shard: what each expression matches of the topics that its member may know of.
    ///
    /// # Panics
    /// If matching does: a group must not be told that nothing matches.
    pub(crate) async fn resolve_all(
        &self,
        asked: ResolvePatterns,
        published: Arc<Published>,
        authorizer: &Authorizer,
    ) -> PatternsResolved {
        let mut topics = Vec::with_capacity(asked.patterns.len());
        for (pattern, viewer) in asked.patterns {
            let matched = match self.try_resolve(&pattern, &published.image).await {
                // Another version may have let an expression pass that does not compile here. It matches nothing.
                Ok(matched) => matched.unwrap_or_default(),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // The runtime goes down.
                Err(_) => Arc::default(),
            };
            let principal = Principal {
                kind: viewer.kind,
                name: viewer.name,
            };
            let asker = Asker {
                principal: &principal,
                host: viewer.host,
                acls: published.image.acls(),
                api: "ConsumerGroupHeartbeat",
                audit: Audit::Filtering,
            };
            let visible = matched.iter().filter(|name| {
                authorizer.allows(asker, Operation::Describe, Resource::Topic(name))
            });
            topics.push((pattern, visible.cloned().collect()));
        }
        PatternsResolved {
            group_id: asked.group_id,
            topics,
            catalog: published,
        }
    }

    /// Runs a piece of work when its turn has come. Turns come in the order in which they were asked for.
    async fn turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let worked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        worked.await
    }
}

impl Known {
    fn remember(
        &mut self,
        pattern: &Name,
        image: &Arc<MetadataImage>,
        topics: &Arc<BTreeSet<Name>>,
    ) {
        let is_full = self.by_pattern.len() >= MAX_KNOWN_PATTERNS
            || self.topic_count + topics.len() > MAX_KNOWN_TOPICS;
        if is_full {
            *self = Self::default();
        }
        let resolution = Resolution {
            image: Arc::clone(image),
            topics: Arc::clone(topics),
        };
        self.topic_count += topics.len();
        if let Some(before) = self.by_pattern.insert(pattern.clone(), resolution) {
            self.topic_count -= before.topics.len();
        }
    }
}

/// An expression on its way through the names.
struct Matching {
    pattern: NamePattern,
    /// The names that are still to be looked at, the last one first.
    names: Vec<Name>,
    topics: BTreeSet<Name>,
}

impl Matching {
    fn begin(
        pattern: &str,
        known: Option<&Resolution>,
        image: &MetadataImage,
    ) -> Result<Self, String> {
        let pattern = NamePattern::compile(pattern)?;
        let Some(known) = known else {
            return Ok(Self {
                pattern,
                names: image.topics().map(|topic| topic.name.clone()).collect(),
                topics: BTreeSet::new(),
            });
        };
        let mut topics = BTreeSet::clone(&known.topics);
        let mut names = Vec::new();
        image.changes_since(&known.image, |before, after| match (before, after) {
            (Some(_), Some(_)) => {}
            (Some(gone), None) => drop(topics.remove(&gone.name)),
            (None, Some(new)) => names.push(new.name.clone()),
            (None, None) => {}
        });
        Ok(Self {
            pattern,
            names,
            topics,
        })
    }

    fn is_done(&self) -> bool {
        self.names.is_empty()
    }

    fn go_on(mut self, turn_time: Duration) -> Self {
        let began = Instant::now();
        while let Some(name) = self.names.pop() {
            if self.pattern.matches(&name) {
                self.topics.insert(name);
            }
            if began.elapsed() >= turn_time {
                break;
            }
        }
        self
    }
}
