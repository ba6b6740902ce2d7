//! Commits: from the queues of all groups to rows, one after the other.
//!
//! A round takes from each queue what is ready, plans it, and appends the plans: those of joint appends all or none, the others each by
//! itself. What is not appended stays in its queue, so whatever went wrong, the next round tries again with what is known by then:
//!
//! | answer | what follows |
//! |---|---|
//! | another row was first | read it, and plan again |
//! | not applied | a pause |
//! | in doubt | ask until it is known; the queue and its objects stay as they are |
//! | fenced | wait for another fence, read everything that is new, plan again; objects of the old epoch are written anew |
//! | refused | callers are told |
//!
//! A round is one statement for all groups, and what comes meanwhile goes with the next: so the rate of statements does not grow
//! with that of batches. Within a group a partition whose bytes are still on their way does not hold up the others.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::database::{DatabaseError, Fence, LogGroup, Mode, Proposal};
use super::engine::{Counters, Engine};
use super::entry::Entry;
use super::group::{Aftermath, Attempt, Group, Inner, epochs_of};
use super::pending::{Batch, BatchPlace, Joint, Outcome, Pending};
use super::plan::plan;
use crate::env::random::new_uuid;
use crate::log::{AppendError, IfRefused};

/// Of one group, in one row.
const ROW_BATCHES: usize = 10_000;
const ROW_INLINE_BYTES: usize = 1 << 20;
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

type Picks = BTreeMap<LogGroup, Vec<Arc<Pending>>>;
type JointKey = *const Joint;

/// What came of a round.
enum Round {
    /// Nothing was ready.
    Idle,
    /// Something was settled, or may be by the next round.
    Done,
    /// The database does not answer as it should.
    Trouble(String),
}

/// Plans that are appended together.
struct Set {
    mode: Mode,
    attempts: Vec<(Arc<Group>, Arc<Attempt>)>,
}

impl Engine {
    /// Commits what is ready, for ever.
    pub async fn commit_on_demand(self: Arc<Self>) {
        let mut pause = PAUSE;
        loop {
            match self.commit_round().await {
                Round::Idle => self.ready.notified().await,
                Round::Done => {
                    *self.waits_for_database.lock() = None;
                    pause = PAUSE;
                }
                Round::Trouble(what) => {
                    tracing::debug!("a commit is tried again: {what}");
                    *self.waits_for_database.lock() = Some(format!("the database: {what}"));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn commit_round(self: &Arc<Self>) -> Round {
        let fence = *self.config.fence.borrow();
        let fence = match fence {
            Some(fence) => fence,
            None if self.pick(None).is_empty() => return Round::Idle,
            None => self.fence().await,
        };
        let picks = self.pick(Some(fence));
        if picks.is_empty() {
            return Round::Idle;
        }
        for set in self.plan_sets(picks) {
            match self.commit_set(fence, set).await {
                Round::Trouble(what) => return Round::Trouble(what),
                Round::Idle | Round::Done => {}
            }
        }
        Round::Done
    }

    /// What can be committed now, of each group in the order of submission. Batches in objects of another fence's epoch go back into the
    /// write buffer: such objects count as orphans, and may be removed any time.
    fn pick(&self, fence: Option<Fence>) -> Picks {
        let mut picks = Picks::new();
        for group in &self.groups {
            if !group.is_ready() {
                continue;
            }
            let inner = group.lock();
            let picked = self.pick_of(&inner, fence);
            if !picked.is_empty() {
                picks.insert(group.id, picked);
            }
        }
        keep_whole(&mut picks);
        picks
    }

    fn pick_of(&self, inner: &Inner, fence: Option<Fence>) -> Vec<Arc<Pending>> {
        let mut picked = Vec::new();
        let mut waiting = HashSet::new();
        let mut inline_bytes = 0;
        for pending in inner.queue.iter() {
            let is_full = picked.len() >= ROW_BATCHES || inline_bytes >= ROW_INLINE_BYTES;
            // A joint append has no second part in another row.
            if is_full && pending.joint.is_none() {
                break;
            }
            if let (Some(fence), Some(batch)) = (fence, pending.batch())
                && let BatchPlace::Object(object, _) = batch.place()
                && object.broker_epoch != fence.broker_epoch
            {
                batch.set_place(BatchPlace::Memory);
                self.settle_batch_of(object);
                let bytes = batch.stored.len();
                let now = Instant::now();
                self.buffer.lock().push(Arc::clone(pending), bytes, now);
                self.buffered.notify_one();
            }
            if waiting.contains(&pending.id) || !pending.is_ready() {
                waiting.insert(pending.id);
                continue;
            }
            if let Some(batch) = pending.batch()
                && batch.place() == BatchPlace::Inline
            {
                inline_bytes += batch.stored.len();
            }
            picked.push(Arc::clone(pending));
        }
        picked
    }

    /// Plans what was picked: what belongs together is one set.
    fn plan_sets(&self, picks: Picks) -> Vec<Set> {
        let is_joint = |picked: &[Arc<Pending>]| picked.iter().any(|item| item.joint.is_some());
        let (joint, single): (Picks, Picks) =
            picks.into_iter().partition(|(_, picked)| is_joint(picked));
        let mut failed = HashMap::new();
        let joint = loop {
            let attempts = self.plan_groups(&joint, &failed);
            let known = failed.len();
            for (_, attempt) in &attempts {
                for (pending, outcome) in &attempt.items {
                    if let (Some(part), Err(error)) = (&pending.joint, outcome)
                        && part.if_refused == IfRefused::FailAll
                    {
                        failed
                            .entry(Arc::as_ptr(&part.joint))
                            .or_insert_with(|| error.clone());
                    }
                }
            }
            if failed.len() == known {
                break attempts;
            }
        };
        let sets = [
            (Mode::AllOrNothing, joint),
            (Mode::Each, self.plan_groups(&single, &HashMap::new())),
        ];
        sets.into_iter()
            .filter(|(_, attempts)| !attempts.is_empty())
            .map(|(mode, attempts)| Set { mode, attempts })
            .collect()
    }

    /// Plans each group. The joint appends in `failed` are not appended: all their parts are answered with the error.
    fn plan_groups(
        &self,
        picks: &Picks,
        failed: &HashMap<JointKey, AppendError>,
    ) -> Vec<(Arc<Group>, Arc<Attempt>)> {
        let commit_id = new_uuid();
        let at_ms = self.now_ms();
        let mut attempts = Vec::with_capacity(picks.len());
        for (id, picked) in picks {
            let Some(group) = self.group(*id) else {
                continue;
            };
            let mut inner = group.lock();
            let (mut planned_for, mut not_at_all) = (Vec::new(), Vec::new());
            let (mut wanted, mut inline) = (Vec::with_capacity(picked.len()), Vec::new());
            for pending in picked {
                let key = pending.joint.as_ref().map(|part| Arc::as_ptr(&part.joint));
                match key.and_then(|key| failed.get(&key)) {
                    Some(error) => not_at_all.push((Arc::clone(pending), Err(error.clone()))),
                    None => {
                        wanted.push(pending.wanted(&mut inline));
                        planned_for.push(Arc::clone(pending));
                    }
                }
            }
            let planned = plan(&inner.state, &wanted, at_ms);
            let is_sure = planned.is_sure() && not_at_all.is_empty();
            let epochs = epochs_of(&inner.state, &planned.entry);
            let mut items: Vec<(Arc<Pending>, Outcome)> =
                planned_for.into_iter().zip(planned.answers).collect();
            items.extend(not_at_all);
            let attempt = Arc::new(Attempt {
                commit_id,
                seq: inner.state.seq() + 1,
                entry: planned.entry,
                inline: inline.into(),
                items,
                is_sure,
                epochs,
            });
            inner.attempt = (!attempt.entry.is_empty()).then(|| Arc::clone(&attempt));
            drop(inner);
            attempts.push((Arc::clone(group), attempt));
        }
        attempts
    }

    async fn commit_set(self: &Arc<Self>, fence: Fence, set: Set) -> Round {
        let Set { mode, attempts } = set;
        let (proposed, unproposed): (Vec<_>, Vec<_>) = attempts
            .into_iter()
            .partition(|(_, attempt)| !attempt.entry.is_empty());
        // An answer without a row is right only if there is no row that this broker does not know.
        let unsure = unproposed.iter().filter(|(_, attempt)| !attempt.is_sure);
        let unsure: Vec<_> = unsure.collect();
        if !unsure.is_empty() {
            match self.are_newest(&unsure).await {
                Ok(true) => {}
                Ok(false) => return Round::Done,
                Err(what) => return Round::Trouble(what),
            }
        }
        if !proposed.is_empty() {
            match self.append(fence, mode, &proposed).await {
                Ok(true) => {}
                // Some were late, and all of them if they belong together.
                Ok(false) if mode == Mode::AllOrNothing => return Round::Done,
                Ok(false) => {}
                Err(what) => return Round::Trouble(what),
            }
        }
        for (group, attempt) in unproposed {
            let aftermath = group.lock().answer(attempt.items.clone());
            self.follow(aftermath);
        }
        Round::Done
    }

    /// Whether the plans were made for the newest states. If not, what is new is read.
    async fn are_newest(
        self: &Arc<Self>,
        attempts: &[&(Arc<Group>, Arc<Attempt>)],
    ) -> Result<bool, String> {
        let groups: Vec<_> = attempts.iter().map(|(group, _)| group.id).collect();
        let heads = self.config.log.heads(&groups).await;
        let heads = heads.map_err(|error| error.to_string())?;
        let mut behind = Vec::new();
        for ((group, attempt), head) in attempts.iter().zip(heads) {
            if head.seq + 1 != attempt.seq {
                behind.push(group.id);
            }
        }
        if behind.is_empty() {
            return Ok(true);
        }
        self.catch_up(&behind).await?;
        Ok(false)
    }

    /// Appends rows; gives whether all are there. Those that are there are answered, and the others will be planned again.
    ///
    /// # Errors
    /// In words: it is not so yet.
    async fn append(
        self: &Arc<Self>,
        fence: Fence,
        mode: Mode,
        attempts: &[(Arc<Group>, Arc<Attempt>)],
    ) -> Result<bool, String> {
        let proposals: Vec<_> = attempts
            .iter()
            .map(|(group, attempt)| Proposal {
                group: group.id,
                expected_seq: attempt.seq - 1,
                entry: encoded(&attempt.entry),
                inline: attempt.inline.clone(),
            })
            .collect();
        let Some((_, first)) = attempts.first() else {
            return Ok(true);
        };
        let began = Instant::now();
        let log = &self.config.log;
        let answer = log
            .append_if(fence, first.commit_id, mode, &proposals)
            .await;
        let appended = match answer {
            Ok(appended) => appended,
            Err(DatabaseError::Unavailable(what)) => {
                self.give_up(attempts);
                return Err(what);
            }
            Err(DatabaseError::Refused(what)) => {
                tracing::error!("the database refuses a commit: {what}");
                for (group, attempt) in attempts {
                    let items = attempt.items.iter();
                    let refused = |(item, _): &(Arc<Pending>, Outcome)| {
                        (Arc::clone(item), Err(AppendError::Storage(what.clone())))
                    };
                    let mut inner = group.lock();
                    inner.attempt = None;
                    let aftermath = inner.answer(items.map(refused).collect());
                    drop(inner);
                    self.follow(aftermath);
                }
                return Err(what);
            }
            Err(DatabaseError::Fenced) => {
                self.give_up(attempts);
                Counters::add(&self.counters.fenced, 1);
                tracing::warn!("this broker was fenced, and waits until it is registered again");
                self.fence_but(Some(fence)).await;
                // Others have had time to do what this broker did before.
                self.catch_up(&self.ready_groups()).await?;
                return Ok(false);
            }
            Err(DatabaseError::InDoubt(what)) => {
                Counters::add(&self.counters.in_doubt, 1);
                tracing::debug!("a commit is in doubt: {what}");
                *self.waits_for_database.lock() = Some(format!("the database: {what}"));
                self.resolve(mode, attempts).await
            }
        };
        self.counters.commits.observe(began.elapsed());
        Counters::add(&self.counters.rows, appended.len() as u64);
        let appended: HashSet<_> = appended.into_iter().collect();
        let mut aftermath = Aftermath::default();
        let mut late = Vec::new();
        for (group, attempt) in attempts {
            if !appended.contains(&group.id) {
                late.push((group, attempt));
                continue;
            }
            Counters::add(&self.counters.inline_bytes, attempt.inline.len() as u64);
            for (run, bytes) in attempt.runs(group.id) {
                self.cache.insert(run, bytes);
            }
            match group.committed(attempt) {
                Ok(more) => aftermath.merge(more),
                Err(what) => self.break_off(group, &what),
            }
        }
        self.follow(aftermath);
        if late.is_empty() {
            return Ok(true);
        }
        Counters::add(&self.counters.conflicts, late.len() as u64);
        for (group, attempt) in &late {
            let mut inner = group.lock();
            inner.attempt.take_if(|open| Arc::ptr_eq(open, attempt));
        }
        let groups: Vec<_> = late.iter().map(|(group, _)| group.id).collect();
        self.catch_up(&groups).await?;
        Ok(false)
    }

    /// It is known that none of these rows will come.
    fn give_up(&self, attempts: &[(Arc<Group>, Arc<Attempt>)]) {
        for (group, attempt) in attempts {
            let mut inner = group.lock();
            inner.attempt.take_if(|open| Arc::ptr_eq(open, attempt));
        }
    }

    /// Finds out which rows of a commit are there. Takes as long as the database does: until then nobody is answered, and nothing that
    /// the rows name is given up.
    async fn resolve(
        self: &Arc<Self>,
        mode: Mode,
        attempts: &[(Arc<Group>, Arc<Attempt>)],
    ) -> Vec<LogGroup> {
        let mut appended = Vec::new();
        let mut unknown = Vec::new();
        for (group, attempt) in attempts {
            match (mode, self.resolve_row(group, attempt).await) {
                // One row tells of all.
                (Mode::AllOrNothing, Ok(true)) => {
                    return attempts.iter().map(|(group, _)| group.id).collect();
                }
                (Mode::AllOrNothing, Ok(false)) => return Vec::new(),
                (Mode::Each, Ok(true)) => appended.push(group.id),
                (Mode::Each, Ok(false)) => {}
                (_, Err(what)) => unknown.push((group, attempt, what)),
            }
        }
        for (group, attempt, what) in unknown {
            self.never_known(group, attempt, &what);
        }
        appended
    }

    /// Whether a row is there; asks until it is known.
    ///
    /// # Errors
    /// In words: it will never be known.
    async fn resolve_row(&self, group: &Group, attempt: &Attempt) -> Result<bool, String> {
        let log = &self.config.log;
        let mut pause = PAUSE;
        loop {
            let answer = log.resolve(group.id, attempt.seq, attempt.commit_id).await;
            match answer {
                Ok(is_there) => return Ok(is_there),
                Err(DatabaseError::Refused(what)) => return Err(what),
                Err(error) => {
                    let what = format!("the database: {error}");
                    *self.waits_for_database.lock() = Some(what);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Nobody can tell any more whether the row was appended.
    fn never_known(&self, group: &Arc<Group>, attempt: &Arc<Attempt>, what: &str) {
        tracing::error!("a commit stays in doubt: {what}");
        let mut inner = group.lock();
        if inner
            .attempt
            .take_if(|open| Arc::ptr_eq(open, attempt))
            .is_none()
        {
            return;
        }
        let items = attempt.items.iter();
        let unknown = |(item, _): &(Arc<Pending>, Outcome)| {
            let error = AppendError::Indeterminate(what.to_owned());
            (Arc::clone(item), Err(error))
        };
        let aftermath = inner.answer(items.map(unknown).collect());
        drop(inner);
        self.follow(aftermath);
    }

    /// Wakes and tells whom it concerns.
    pub fn follow(&self, aftermath: Aftermath) {
        self.inline_settled(aftermath.settled());
        for (pending, outcome) in aftermath.settled() {
            let is_known = !matches!(outcome, Err(AppendError::Indeterminate(_)));
            if let Some(BatchPlace::Object(object, _)) = pending.batch().map(Batch::place)
                && is_known
            {
                self.settle_batch_of(object);
            }
        }
        aftermath.follow();
        self.settled.notify_one();
    }
}

/// Leaves out joint appends of which not all parts were picked, and what stands behind those parts.
fn keep_whole(picks: &mut Picks) {
    loop {
        let mut parts: HashMap<JointKey, usize> = HashMap::new();
        for part in picks
            .values()
            .flatten()
            .filter_map(|item| item.joint.as_ref())
        {
            *parts.entry(Arc::as_ptr(&part.joint)).or_default() += 1;
        }
        let is_whole = |item: &Pending| {
            item.joint.as_ref().is_none_or(|part| {
                parts.get(&Arc::as_ptr(&part.joint)) == Some(&part.joint.parts())
            })
        };
        let mut is_changed = false;
        for picked in picks.values_mut() {
            let mut waiting = HashSet::new();
            picked.retain(|item| {
                let stays = is_whole(item) && !waiting.contains(&item.id);
                if !stays {
                    waiting.insert(item.id);
                    is_changed = true;
                }
                stays
            });
        }
        picks.retain(|_, picked| !picked.is_empty());
        if !is_changed {
            return;
        }
    }
}

fn encoded(entry: &Entry) -> bytes::Bytes {
    entry.encode().into()
}
