//! One thread for many connections: with a thread for each, small requests would cost more in switching
//! between threads than in the broker.

use std::os::fd::OwnedFd;

use anyhow::Result;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::bench::connection::Connection;

/// Waits for responses on a set of connections.
pub struct Poll {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poll {
    /// Watches `connections`; they are known by their index from here on.
    ///
    /// # Errors
    /// There are no more file descriptors.
    pub fn new<'a>(connections: impl Iterator<Item = &'a Connection>) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut count = 0;
        for connection in connections {
            epoll::add(
                &epoll,
                connection,
                EventData::new_u64(count),
                EventFlags::IN,
            )?;
            count += 1;
        }
        Ok(Self {
            epoll,
            events: Vec::with_capacity(usize::try_from(count)?),
        })
    }

    /// Waits until at least one can be read and calls `ready` for each that can.
    ///
    /// # Errors
    /// Those of `ready`.
    pub fn wait(&mut self, mut ready: impl FnMut(usize) -> Result<()>) -> Result<()> {
        self.events.clear();
        epoll::wait(&self.epoll, spare_capacity(&mut self.events), None)?;
        for event in &self.events {
            ready(usize::try_from(event.data.u64())?)?;
        }
        Ok(())
    }
}
