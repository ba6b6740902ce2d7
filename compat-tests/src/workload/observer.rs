//! Asks for offsets again and again, and writes down what it is told.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::Stop;
use super::asker::{Asker, Ends};
use super::recorder::Recorder;
use crate::checker::{Action, Outcome};

const PAUSE: Duration = Duration::from_millis(250);

pub(super) struct Observer {
    pub id: u32,
    pub asker: Asker,
    pub recorder: Arc<Recorder>,
    /// By number.
    pub groups: Vec<(u32, &'static str)>,
}

impl Observer {
    /// Asks again and again until it is told to stop.
    pub fn run(mut self, stop: &Stop) -> Result<()> {
        while !stop.is_set() {
            // What could not be asked was not asked.
            let _ = self.look();
            stop.wait(PAUSE);
        }
        Ok(())
    }

    fn look(&mut self) -> Result<()> {
        let start = self.recorder.moment();
        let ends = self.asker.ends()?.into_iter().map(|ends| {
            let Ends {
                partition,
                high,
                stable,
            } = ends;
            let read = Action::ReadEnds {
                partition,
                high,
                stable,
            };
            (Outcome::Ok, read)
        });
        self.recorder.ended(self.id, start, ends);
        for &(group, name) in &self.groups {
            let start = self.recorder.moment();
            let offsets = self.asker.offsets(name)?.into_iter();
            let read = offsets.map(|next| (Outcome::Ok, Action::ReadOffset { group, next }));
            self.recorder.ended(self.id, start, read);
        }
        Ok(())
    }
}
