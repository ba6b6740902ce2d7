//! What is remembered of each client that reports: some bytes, of so many clients and no more.

use std::collections::{BTreeMap, HashMap};

use protocol_shim::ErrorCode;
use uuid::Uuid;

/// Clients by their ids; the one that has been silent for the longest makes room.
pub(super) struct Instances {
    max: usize,
    by_id: HashMap<Uuid, (u64, Instance)>,
    /// By when they were asked for, counted.
    by_use: BTreeMap<u64, Uuid>,
    uses: u64,
}

/// What a client was told to keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub subscription_id: i32,
    pub push_interval_ms: i32,
}

/// One client. Times are milliseconds of the clock that deadlines go by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instance {
    /// That of the subscriptions that its terms come from.
    version: u64,
    terms: Terms,
    last_asked_ms: Option<i64>,
    last_pushed_ms: Option<i64>,
    last_error: Option<ErrorCode>,
    terminating: bool,
}

impl Instances {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            by_id: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
        }
    }

    /// A client, which begins anew, with `terms`, when subscriptions have changed since.
    pub(super) fn get(
        &mut self,
        id: Uuid,
        version: u64,
        terms: impl FnOnce() -> Terms,
    ) -> &mut Instance {
        self.uses += 1;
        if !self.by_id.contains_key(&id)
            && self.by_id.len() >= self.max
            && let Some((_, silent)) = self.by_use.pop_first()
        {
            self.by_id.remove(&silent);
        }
        // No use has the number 0.
        let (used, instance) = self
            .by_id
            .entry(id)
            .or_insert((0, Instance::new(0, Terms::NONE)));
        let is_new = *used == 0;
        self.by_use.remove(used);
        *used = self.uses;
        self.by_use.insert(self.uses, id);
        if is_new || instance.version != version {
            *instance = Instance::new(version, terms());
        }
        instance
    }

    pub(super) fn forget(&mut self, id: Uuid) {
        if let Some((used, _)) = self.by_id.remove(&id) {
            self.by_use.remove(&used);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}

impl Terms {
    const NONE: Self = Self {
        subscription_id: 0,
        push_interval_ms: 0,
    };
}

impl Instance {
    fn new(version: u64, terms: Terms) -> Self {
        Self {
            version,
            terms,
            last_asked_ms: None,
            last_pushed_ms: None,
            last_error: None,
            terminating: false,
        }
    }

    /// Whether it may ask now what it should report: once in an interval, and whenever it was told to.
    pub(super) fn may_ask(&mut self, now_ms: i64) -> Result<(), ErrorCode> {
        let last_ms = self.last_asked_ms.max(self.last_pushed_ms);
        let told_to = matches!(
            self.last_error,
            Some(ErrorCode::UnknownSubscriptionId | ErrorCode::UnsupportedCompressionType)
        );
        match self.is_over(last_ms, now_ms) {
            true => self.last_asked_ms = Some(now_ms),
            false if told_to => {}
            false => return Err(ErrorCode::ThrottlingQuotaExceeded),
        }
        self.last_error = None;
        Ok(())
    }

    /// Whether it may push now: when it has asked since it pushed, once in an interval, and at its end.
    pub(super) fn may_push(
        &mut self,
        subscription_id: i32,
        terminating: bool,
        now_ms: i64,
    ) -> Result<(), ErrorCode> {
        if self.terminating {
            return Err(ErrorCode::InvalidRequest);
        }
        let has_asked = self.last_asked_ms > self.last_pushed_ms;
        let is_time = has_asked || self.is_over(self.last_pushed_ms, now_ms);
        if is_time {
            self.last_pushed_ms = Some(now_ms);
        } else if !terminating {
            return Err(ErrorCode::ThrottlingQuotaExceeded);
        }
        match subscription_id == self.terms.subscription_id {
            true => Ok(()),
            false => Err(ErrorCode::UnknownSubscriptionId),
        }
    }

    pub(super) fn remember(&mut self, error: Option<ErrorCode>, terminating: bool) {
        self.last_error = error;
        self.terminating = terminating;
    }

    fn is_over(&self, since_ms: Option<i64>, now_ms: i64) -> bool {
        let interval_ms = i64::from(self.terms.push_interval_ms);
        since_ms.is_none_or(|since_ms| now_ms - since_ms >= interval_ms)
    }
}
