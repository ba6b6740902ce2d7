//! When retention looks at which log. Idle ones are not looked at before their time.

use std::collections::{BTreeSet, HashMap};

use crate::env::sync::Mutex;

/// When each log is looked at next, in ms since 1970. Logs that have nothing to lose are not in it, and a deleted one leaves it
/// when its time has come.
#[derive(Default)]
pub(crate) struct Schedule(Mutex<Plan>);

#[derive(Default)]
struct Plan {
    by_time: BTreeSet<(i64, u32)>,
    due: HashMap<u32, i64>,
}

impl Schedule {
    /// Plans a look at a log, unless an earlier one is planned.
    pub fn bring_forward(&self, log_id: u32, due_ms: i64) {
        let mut plan = self.0.lock();
        if let Some(&planned_ms) = plan.due.get(&log_id) {
            if planned_ms <= due_ms {
                return;
            }
            plan.by_time.remove(&(planned_ms, log_id));
        }
        plan.by_time.insert((due_ms, log_id));
        plan.due.insert(log_id, due_ms);
    }

    /// Takes out the ids of at most `limit` logs that are due.
    pub fn take_due(&self, now_ms: i64, limit: usize) -> Vec<u32> {
        let mut plan = self.0.lock();
        let mut due = Vec::new();
        while due.len() < limit
            && let Some(&(due_ms, log_id)) = plan.by_time.first()
            && due_ms <= now_ms
        {
            plan.by_time.pop_first();
            plan.due.remove(&log_id);
            due.push(log_id);
        }
        due
    }
}
