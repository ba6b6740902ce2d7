//! An allocator that remembers, per thread, what it was asked for.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What a piece of work allocated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// The largest single allocation, in bytes.
    pub(super) largest: usize,
    /// All allocations together, in bytes, whether freed again or not.
    pub(super) total: usize,
}

const NOTHING: Usage = Usage {
    largest: 0,
    total: 0,
};

thread_local! {
    static USAGE: Cell<Usage> = const { Cell::new(NOTHING) };
}

struct Recording;

#[global_allocator]
static ALLOCATOR: Recording = Recording;

fn record(size: usize) {
    // Fails only while the thread ends.
    let _ = USAGE.try_with(|usage| {
        let Usage { largest, total } = usage.get();
        usage.set(Usage {
            largest: largest.max(size),
            total: total + size,
        });
    });
}

// SAFETY: every call is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Recording {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        record(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        record(new_size);
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What `work` allocates on this thread.
pub(super) fn during<T>(work: impl FnOnce() -> T) -> (T, Usage) {
    USAGE.set(NOTHING);
    let result = work();
    (result, USAGE.get())
}
