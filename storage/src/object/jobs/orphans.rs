//! Removes objects that nothing refers to.
//!
//! An object has batches of many groups, and no group knows of the others. So now and then one broker reads the states of all
//! groups, lists what there is, and *condemns* what no state names. What was condemned long enough ago for every fetch to be over,
//! and is still named by nobody, is removed.
//!
//! That nobody names an object is not enough: it may be on its way. It is removed only if nobody can name it any more:
//!
//! | the broker that wrote it | nobody can, if |
//! |---|---|
//! | has this epoch | it says itself that its objects up to there are settled ([`InFlight`](crate::object::in_flight::InFlight)) |
//! | is gone, or has another epoch | the database lets nobody write under an epoch that is not the newest, or whose lease has ended |
//!
//! First it is asked who can still write, and only then what is named: so what is not named then never will be. As the end of a
//! lease is a matter of the clock and a statement may still be running then, objects of those that are gone have to be old, and
//! are looked at twice.
//!
//! Each broker says in an object of its own what it has settled, and how far it has seen the groups. If the database shows less of a
//! group than somebody has seen, it has lost commits, and what they named may be all that is left of them: nothing is removed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_core::stream::BoxStream;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt, PutPayload};
use uuid::Uuid;

use super::group::Group;
use super::{JobError, Shared, snapshot};
use crate::object::database::LogGroup;
use crate::object::entry::ObjectId;
use crate::object::patience::{self, answered};

const JOB: &str = "orphans";
/// Where brokers say what they have settled: `settled/EPOCH`.
const SETTLED: &str = "settled";
const DATA: &str = "data";
/// Keys are condemned, and removed, so many at a time.
const BATCH: usize = 500;
/// No sweep removes more.
const REMOVALS: usize = 100_000;

/// What a broker says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Declaration {
    settled_below: Uuid,
    /// Up to which entry it has seen which group.
    seen: Vec<(LogGroup, i64)>,
}

impl Declaration {
    fn encode(&self) -> String {
        let mut text = format!("{}\n", self.settled_below);
        for (group, seq) in &self.seen {
            text.push_str(&format!("{} {seq}\n", group.0));
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let settled_below = Uuid::try_parse(lines.next()?).ok()?;
        let seen = lines.map(|line| {
            let (group, seq) = line.split_once(' ')?;
            Some((LogGroup(group.parse().ok()?), seq.parse().ok()?))
        });
        let seen = seen.collect::<Option<_>>()?;
        Some(Self {
            settled_below,
            seen,
        })
    }
}

/// Who can still name objects, and what is named. The first was asked before the second.
#[derive(Debug, Default)]
struct Known {
    /// What each broker with a lease has settled: what is below. `None`: it has not said.
    settled: HashMap<i64, Option<Uuid>>,
    /// No epoch was above this one.
    newest_epoch: i64,
    named: HashSet<ObjectId>,
}

impl Known {
    /// Whether nobody names an object, or ever will.
    fn is_orphan(&self, object: &ObjectId) -> bool {
        let is_settled = match self.settled.get(&object.broker_epoch) {
            Some(settled) => settled.is_some_and(|below| object.id < below),
            None => object.broker_epoch <= self.newest_epoch,
        };
        is_settled && !self.named.contains(object)
    }

    /// Whether the broker that wrote it may be there yet.
    fn is_of_a_live_broker(&self, object: &ObjectId) -> bool {
        self.settled.contains_key(&object.broker_epoch)
    }
}

fn object_of(key: &str) -> Option<ObjectId> {
    ObjectId::from_key(key).or_else(|| snapshot::from_key(key))
}

/// Says again and again what this broker has settled.
pub(super) async fn declare_for_ever(shared: Arc<Shared>) {
    loop {
        let settings = shared.settings();
        let interval = settings.check_interval.min(settings.delete_delay);
        if let Err(error) = declare(&shared).await {
            shared.tell("declaration of what is settled", None, &error);
        }
        tokio::time::sleep((interval / 2).max(settings.tick)).await;
    }
}

pub(super) async fn declare(shared: &Shared) -> Result<(), JobError> {
    let fence = shared.fence()?;
    let declaration = Declaration {
        settled_below: shared.config.in_flight.settled_below(),
        seen: shared.seen(),
    };
    let path = Path::from(format!("{SETTLED}/{}", fence.broker_epoch));
    let payload = PutPayload::from(declaration.encode().into_bytes());
    answered(patience::WRITING, shared.config.objects.put(&path, payload)).await?;
    Ok(())
}

pub(super) async fn sweep_for_ever(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(shared.settings().check_interval).await;
        match shared.take(JOB).await {
            Ok(false) => {
                let mut stats = shared.stats.lock();
                (stats.orphans, stats.orphan_bytes) = (0, 0);
            }
            Ok(true) => {
                if let Err(error) = sweep(&shared).await {
                    shared.tell("removal of orphans", None, &error);
                }
            }
            Err(error) => shared.tell("removal of orphans", None, &error),
        }
    }
}

/// Condemns what nothing refers to, and removes what was condemned before.
pub(super) async fn sweep(shared: &Arc<Shared>) -> Result<(), JobError> {
    let known = look(shared).await?;
    condemn(shared, &known).await?;
    remove(shared, &known).await
}

/// Asks who can still name objects, and then what is named.
async fn look(shared: &Arc<Shared>) -> Result<Known, JobError> {
    let mut known = Known::default();
    // Whoever has declared something has registered before the question.
    let declared = read_declarations(shared).await?;
    known.newest_epoch = declared.keys().copied().max().unwrap_or(0);
    for broker in shared.config.brokers.brokers().await? {
        let epoch = broker.broker_epoch;
        known.newest_epoch = known.newest_epoch.max(epoch);
        let settled = declared.get(&epoch).map(|(_, below)| *below);
        known.settled.insert(epoch, settled);
    }
    for (epoch, (meta, _)) in &declared {
        if !known.settled.contains_key(epoch) && is_old(shared, meta) {
            let delete = shared.config.objects.delete(&meta.location);
            answered(patience::WRITING, delete).await?;
        }
    }
    // Objects are named by states, and snapshots by heads.
    for group in shared.all_groups() {
        shared.keep(JOB).await?;
        let loaded = Group::load(shared, group).await?;
        let objects = loaded.state.objects().map(|(object, _)| object);
        known.named.extend(objects);
        known.named.extend(loaded.snapshot);
    }
    Ok(known)
}

/// What brokers have settled, by their epochs. Takes note of how far they have seen the groups.
async fn read_declarations(shared: &Shared) -> Result<HashMap<i64, (ObjectMeta, Uuid)>, JobError> {
    let mut declared = HashMap::new();
    let objects = &shared.config.objects;
    let mut listing = objects.list(Some(&Path::from(SETTLED)));
    while let Some(meta) = next(&mut listing).await? {
        let epoch = meta.location.as_ref().rsplit('/').next();
        let Some(epoch) = epoch.and_then(|epoch| epoch.parse::<i64>().ok()) else {
            continue;
        };
        let get = async { objects.get(&meta.location).await?.bytes().await };
        let text = answered(patience::READING, get).await?;
        let text = std::str::from_utf8(&text).unwrap_or_default();
        let Some(declaration) = Declaration::parse(text) else {
            let what = format!("{} cannot be read", meta.location);
            return Err(JobError::Damaged(what));
        };
        for (group, seq) in &declaration.seen {
            shared.saw(*group, *seq);
        }
        declared.insert(epoch, (meta, declaration.settled_below));
    }
    Ok(declared)
}

async fn condemn(shared: &Shared, known: &Known) -> Result<(), JobError> {
    let (mut orphans, mut orphan_bytes) = (0, 0);
    for prefix in [DATA, snapshot::PREFIX] {
        let mut listing = shared.config.objects.list(Some(&Path::from(prefix)));
        let mut keys = Vec::new();
        loop {
            let meta = next(&mut listing).await?;
            let is_last = meta.is_none();
            if let Some(meta) = meta
                && let Some(object) = object_of(meta.location.as_ref())
                && known.is_orphan(&object)
            {
                orphans += 1;
                orphan_bytes += meta.size;
                if known.is_of_a_live_broker(&object) || is_old(shared, &meta) {
                    keys.push(meta.location.to_string());
                }
            }
            if keys.len() >= BATCH || (is_last && !keys.is_empty()) {
                let fence = shared.fence()?;
                shared.config.jobs.condemn(fence, &keys).await?;
                keys.clear();
            }
            if is_last {
                break;
            }
        }
    }
    let mut stats = shared.stats.lock();
    (stats.orphans, stats.orphan_bytes) = (orphans, orphan_bytes);
    Ok(())
}

async fn remove(shared: &Shared, known: &Known) -> Result<(), JobError> {
    let delay = shared.settings().delete_delay;
    let mut removed = 0;
    while removed < REMOVALS {
        shared.keep(JOB).await?;
        let condemned = shared.config.jobs.condemned(delay, BATCH).await?;
        let mut gone = Vec::new();
        for key in &condemned {
            match object_of(key) {
                Some(object) if known.is_orphan(&object) => {
                    let path = Path::from(key.as_str());
                    let delete = shared.config.objects.delete(&path);
                    match answered(patience::WRITING, delete).await {
                        Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                        Err(error) => return Err(error.into()),
                    }
                    shared.stats.lock().removed += 1;
                    gone.push(key.clone());
                }
                Some(object) if known.named.contains(&object) => {
                    tracing::error!(key, "an object was condemned that is needed: it stays");
                    gone.push(key.clone());
                }
                Some(_) => {}
                None => gone.push(key.clone()),
            }
        }
        removed += gone.len();
        shared.config.jobs.forget(shared.fence()?, &gone).await?;
        if condemned.len() < BATCH || gone.is_empty() {
            break;
        }
    }
    if removed > 0 {
        tracing::info!(removed, "objects that nothing refers to were removed");
    }
    Ok(())
}

fn is_old(shared: &Shared, meta: &ObjectMeta) -> bool {
    let written_ms = meta.last_modified.timestamp_millis();
    let age_ms = shared.config.clock.now_ms().saturating_sub(written_ms);
    u64::try_from(age_ms)
        .is_ok_and(|age_ms| Duration::from_millis(age_ms) >= shared.settings().orphan_age)
}

async fn next(
    listing: &mut BoxStream<'static, object_store::Result<ObjectMeta>>,
) -> object_store::Result<Option<ObjectMeta>> {
    let next = std::future::poll_fn(|context| listing.as_mut().poll_next(context));
    answered(patience::WRITING, async { next.await.transpose() }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(broker_epoch: i64, id: u128) -> ObjectId {
        ObjectId {
            broker_epoch,
            id: Uuid::from_u128(id),
        }
    }

    #[test]
    fn only_what_nobody_names_and_nobody_can_name_any_more_is_an_orphan() {
        let known = Known {
            settled: [(5, Some(Uuid::from_u128(100))), (7, None)].into(),
            newest_epoch: 7,
            named: [object(3, 1), object(5, 1)].into(),
        };
        for (object, is_orphan, why) in [
            (object(3, 1), false, "named"),
            (object(3, 2), true, "of a broker that is gone"),
            (object(5, 1), false, "named"),
            (object(5, 99), true, "settled"),
            (object(5, 100), false, "may be on its way"),
            (object(7, 1), false, "its broker has said nothing"),
            (object(8, 1), false, "its broker came after the question"),
        ] {
            assert_eq!(known.is_orphan(&object), is_orphan, "{object:?}: {why}");
        }
    }

    #[test]
    fn a_declaration_is_read_back_and_no_half_of_one_is() {
        let declaration = Declaration {
            settled_below: Uuid::from_u128(9),
            seen: vec![(LogGroup(0), 17), (LogGroup(63), 1)],
        };
        let text = declaration.encode();
        assert_eq!(Declaration::parse(&text), Some(declaration));
        for bad in ["", "x", &text.replace("63 ", "63"), &text[1..]] {
            assert_eq!(Declaration::parse(bad), None, "{bad}");
        }
    }
}
