//! What others append: how this broker comes to know a group, and how it keeps up.
//!
//! A group is read when one of its logs is first used: its newest snapshot, and the rows behind it. From then on one query asks for
//! what is new in all groups in use, again and again, until nobody has used the group for a while. Whoever must not miss what was
//! appended before he asked goes through a barrier: where do the groups end now, and has this broker come as far?

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use object_store::ObjectStore;
use tokio::time::Instant;

use super::config::ObjectConfig;
use super::database::{Head, LogGroup, News};
use super::engine::{Counters, Engine, closed_text};
use super::group::{Aftermath, Group, Load};
use super::group_state::GroupState;
use super::read_group::{READ_BYTES, read_group};

/// Between two looks at groups in which nothing happens.
const LONGEST_POLL: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// For so long a group is tried to be read before those who wait for it are told that it cannot be.
const LONGEST_UNTOLD: Duration = Duration::from_secs(1);
/// How often a barrier asks before it fails: for some seconds, which a database takes to fail over.
const BARRIER_ATTEMPTS: u32 = 100;
/// A verification that no batch has followed for so long was given up.
const VERIFICATION_MS: i64 = 3_600_000;

impl Engine {
    pub fn ready_groups(&self) -> Vec<LogGroup> {
        let groups = self.groups.iter().filter(|group| group.is_ready());
        groups.map(|group| group.id).collect()
    }

    /// Reads what is new in the groups in use, for ever.
    pub async fn follow_others(self: Arc<Self>) {
        let mut poll = self.config.poll;
        let mut rows_before = self.counters.rows.load(Ordering::Relaxed);
        let mut forgotten_at = Instant::now();
        loop {
            tokio::time::sleep(poll).await;
            for group in &self.groups {
                group.let_go_if_idle(self.config.idle);
            }
            let groups = self.ready_groups();
            if groups.is_empty() {
                *self.counters.followed_at.lock() = None;
                continue;
            }
            let began = Instant::now();
            match self.read_news(&groups).await {
                Ok(rows) => {
                    *self.counters.followed_at.lock() = Some(began);
                    // Where something happens more is to come.
                    let own = self.counters.rows.load(Ordering::Relaxed);
                    let is_busy = rows > 0 || std::mem::replace(&mut rows_before, own) != own;
                    poll = match is_busy {
                        true => self.config.poll,
                        false => (poll * 5 / 4).min(LONGEST_POLL.max(self.config.poll)),
                    };
                }
                Err(what) => {
                    tracing::debug!("cannot read what is new: {what}");
                    poll = (poll * 2).min(LONGEST_PAUSE);
                }
            }
            if forgotten_at.elapsed() > Duration::from_secs(60) {
                forgotten_at = Instant::now();
                let now_ms = self.now_ms();
                for mut inner in self.groups.iter().filter_map(|group| group.known()) {
                    inner.state.forget_verifications(now_ms - VERIFICATION_MS);
                }
            }
        }
    }

    /// Reads rows that are not known yet, some of them, and gives how many there were.
    async fn read_news(self: &Arc<Self>, groups: &[LogGroup]) -> Result<usize, String> {
        let known = self.known_seqs(groups);
        let news = self.config.log.read_from(&known, READ_BYTES).await;
        let News { rows, cut } = news.map_err(|error| error.to_string())?;
        let mut aftermath = Aftermath::default();
        for row in &rows {
            let Some(group) = self.group(row.group) else {
                continue;
            };
            match group.take_in(row, &self.cache) {
                Ok(more) => aftermath.merge(more),
                Err(what) => self.break_off(group, &what),
            }
        }
        self.follow(aftermath);
        Counters::add(&self.counters.followed_rows, rows.len() as u64);
        let known: HashMap<_, _> = known.into_iter().collect();
        for head in cut {
            let (Some(group), Some(seq)) = (self.group(head.group), known.get(&head.group)) else {
                continue;
            };
            if head.seq < *seq {
                self.break_off(group, &lost_commits(&head, *seq));
                continue;
            }
            // This broker was away while the rows that it needs were put into a snapshot.
            match self.read_state(group).await {
                Ok(state) => {
                    let aftermath = group.known().map(|mut inner| inner.replace_state(state));
                    self.follow(aftermath.unwrap_or_default());
                }
                // The other groups go on.
                Err(what) => self.read_anew(group, what),
            }
        }
        Ok(rows.len())
    }

    /// How far this broker has followed those of these groups that it follows.
    fn known_seqs(&self, groups: &[LogGroup]) -> Vec<(LogGroup, i64)> {
        let known = |id: &LogGroup| Some((*id, self.group(*id)?.known()?.state.seq()));
        groups.iter().filter_map(known).collect()
    }

    /// Reads until everything is known that is in these groups now.
    ///
    /// # Errors
    /// In words: the database did not answer.
    pub async fn catch_up(self: &Arc<Self>, groups: &[LogGroup]) -> Result<(), String> {
        let known: HashMap<_, _> = self.known_seqs(groups).into_iter().collect();
        let heads = self.config.log.heads(groups).await;
        let heads = heads.map_err(|error| error.to_string())?;
        for head in &heads {
            if let (Some(group), Some(seq)) = (self.group(head.group), known.get(&head.group))
                && head.seq < *seq
            {
                self.break_off(group, &lost_commits(head, *seq));
            }
        }
        loop {
            let is_behind = |head: &&Head| {
                let known = self.group(head.group).and_then(|group| group.known());
                known.is_some_and(|inner| inner.state.seq() < head.seq)
            };
            let behind: Vec<_> = heads.iter().filter(is_behind).collect();
            let behind: Vec<_> = behind.into_iter().map(|head| head.group).collect();
            if behind.is_empty() {
                return Ok(());
            }
            self.read_news(&behind).await?;
        }
    }

    /// Waits until this broker knows everything that was appended to a group before the call.
    ///
    /// # Errors
    /// In words: that cannot be found out.
    pub async fn barrier(&self, group: LogGroup) -> Result<(), String> {
        let stopped = |_| closed_text();
        self.barriers.ask(group).await.map_err(stopped)?
    }

    /// Answers barriers, all that have come meanwhile at once, for ever.
    pub async fn serve_barriers(self: Arc<Self>) {
        loop {
            let waiting = self.barriers.take().await;
            let mut groups: Vec<_> = waiting.iter().map(|(group, _)| *group).collect();
            groups.sort_unstable();
            groups.dedup();
            let mut known = self.catch_up(&groups).await;
            for _ in 1..BARRIER_ATTEMPTS {
                if known.is_err() {
                    tokio::time::sleep(PAUSE).await;
                    known = self.catch_up(&groups).await;
                }
            }
            for (_, waiting) in waiting {
                // Whoever is gone does not need it.
                let _ = waiting.send(known.clone());
            }
        }
    }

    /// Sees to it that a group is read, if nobody has yet.
    pub fn load(self: &Arc<Self>, group: &Arc<Group>) {
        let is_first = group.load.send_if_modified(|load| {
            let is_first = *load == Load::Unused;
            if is_first {
                *load = Load::Loading;
            }
            is_first
        });
        if is_first {
            let (engine, group) = (Arc::clone(self), Arc::clone(group));
            self.spawn(async move { engine.read_group(&group).await });
        }
    }

    /// A group that cannot be followed is of no use until it is read.
    fn read_anew(self: &Arc<Self>, group: &Arc<Group>, what: String) {
        let is_first = group.load.send_if_modified(|load| {
            let is_first = *load == Load::Ready;
            if is_first {
                *load = unreadable(group.id, &what);
            }
            is_first
        });
        if is_first {
            let (engine, group) = (Arc::clone(self), Arc::clone(group));
            self.spawn(async move { engine.read_group(&group).await });
        }
    }

    async fn read_group(self: &Arc<Self>, group: &Arc<Group>) {
        let (mut pause, began) = (PAUSE, Instant::now());
        loop {
            match self.read_state(group).await {
                Ok(state) => {
                    let aftermath = {
                        let mut inner = group.lock();
                        inner.used();
                        let aftermath = inner.replace_state(state);
                        let verifies = self.verifies_transactions.load(Ordering::Relaxed);
                        inner.state.verify_transactions(verifies);
                        aftermath
                    };
                    group.now_is(Load::Ready);
                    self.follow(aftermath);
                    self.ready.notify_one();
                    return;
                }
                Err(_) if group.is_broken() => return,
                Err(what) => {
                    // One call that was refused is no reason to refuse clients, who wait for the group meanwhile.
                    if began.elapsed() >= LONGEST_UNTOLD {
                        group.now_is(unreadable(group.id, &what));
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// What snapshot and rows have made of a group.
    async fn read_state(&self, group: &Group) -> Result<GroupState, String> {
        let seen_seq = group.lock().seen_seq();
        let check = |head: &Head| match head.seq < seen_seq {
            true => {
                let what = lost_commits(head, seen_seq);
                self.break_off(group, &what);
                Err(what)
            }
            false => Ok(()),
        };
        let ObjectConfig { log, objects, .. } = &self.config;
        let objects = Arc::clone(objects) as Arc<dyn ObjectStore>;
        let (mut state, _) = read_group(log, &objects, group.id, check).await?;
        state.verify_transactions(self.verifies_transactions.load(Ordering::Relaxed));
        Ok(state)
    }

    /// A group is not what it has to be.
    pub fn break_off(&self, group: &Group, what: &str) {
        self.fail(what);
        self.follow(group.break_off(what));
    }
}

fn unreadable(group: LogGroup, what: &str) -> Load {
    let what = format!("log group {} cannot be read: {what}", group.0);
    tracing::warn!("{what}");
    Load::Failed(what)
}

fn lost_commits(head: &Head, seen_seq: i64) -> String {
    format!(
        "log group {} ends at row {}, and this broker has seen row {seen_seq}: the database has lost commits; \
         it has to be one that loses none when it fails over",
        head.group.0, head.seq
    )
}
