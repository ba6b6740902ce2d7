//! What systemd is told, if it is what has started the broker and wants to know (`Type=notify`, `WatchdogSec=`).

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::debug;

/// A start or a stop may take this long from each time that systemd is told so.
const MORE_TIME: Duration = Duration::from_secs(60);
/// How often it is told.
const MORE_TIME_EVERY: Duration = Duration::from_secs(10);

/// Tells systemd how far the broker is. Where nobody has asked, nothing happens.
pub struct Supervisor {
    is_asked: bool,
    extending: JoinSet<()>,
    watchdog: JoinSet<()>,
}

impl Supervisor {
    /// The start begins. It takes as long as there is something to recover.
    pub fn starting() -> Self {
        let mut supervisor = Self {
            is_asked: std::env::var_os("NOTIFY_SOCKET").is_some(),
            extending: JoinSet::new(),
            watchdog: JoinSet::new(),
        };
        supervisor.extend();
        if supervisor.is_asked
            && let Some(timeout) = sd_notify::watchdog_enabled()
        {
            // It is not told when the runtime hangs. A disk that stalls is not a reason: a restart would not help.
            let telling = repeat(timeout / 2, || NotifyState::Watchdog);
            supervisor.watchdog.spawn(telling);
        }
        supervisor
    }

    /// Clients are served.
    pub fn ready(&mut self) {
        self.extending.abort_all();
        self.tell(&NotifyState::Ready);
    }

    /// The stop begins.
    pub fn stopping(&mut self) {
        self.tell(&NotifyState::Stopping);
        self.extend();
    }

    fn extend(&mut self) {
        if self.is_asked {
            let more_time = || NotifyState::ExtendTimeoutUsec(MORE_TIME.as_micros() as u32);
            self.extending.spawn(repeat(MORE_TIME_EVERY, more_time));
        }
    }

    fn tell(&self, state: &NotifyState<'_>) {
        if self.is_asked {
            tell(state);
        }
    }
}

/// Tells something at once and then again and again.
async fn repeat(every: Duration, state: fn() -> NotifyState<'static>) {
    let mut turns = tokio::time::interval(every.max(Duration::from_millis(1)));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        tell(&state());
    }
}

fn tell(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        debug!("systemd cannot be told: {error}");
    }
}
