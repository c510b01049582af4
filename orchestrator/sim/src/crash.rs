//! Machines that panic: contained, so that a run goes on without the host, says so and keeps its data.
//!
//! It never hides a panic: without containment it takes the whole run down, as a test wants it.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atoll_core::{Deadline, Input, Machine, Output, Time};
use atoll_topology::HostId;

/// A machine that panicked. Its host was silent from then on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// When.
    pub time: Time,
    /// Where.
    pub host: HostId,
    /// What the panic said.
    pub why: String,
}

/// All crashes of a world; its machines write into it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crashes(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    all: Vec<Crash>,
    seen: usize,
}

impl Crashes {
    pub(crate) fn list(&self) -> Vec<Crash> {
        self.lock().all.clone()
    }

    /// The next host whose machine crashed, each once for each crash.
    pub(crate) fn next(&self) -> Option<HostId> {
        let mut book = self.lock();
        let host = book.all.get(book.seen)?.host;
        book.seen += 1;
        Some(host)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a machine's panics from the world. After the first it is silent for ever.
pub(crate) struct Contained {
    machine: Box<dyn Machine + Send>,
    ward: Ward,
}

struct Ward {
    host: HostId,
    now: Time,
    crashed: Cell<bool>,
    crashes: Crashes,
}

impl Contained {
    pub(crate) fn new(machine: Box<dyn Machine + Send>, host: HostId, crashes: &Crashes) -> Self {
        let ward = Ward { host, now: Time::ZERO, crashed: Cell::new(false), crashes: crashes.clone() };
        Self { machine, ward }
    }
}

impl Ward {
    fn call<T>(&self, call: impl FnOnce() -> T) -> Option<T> {
        if self.crashed.get() {
            return None;
        }
        // What a panic leaves half done is inside the machine, and nobody looks at it again.
        let panic = match catch_unwind(AssertUnwindSafe(call)) {
            Ok(value) => return Some(value),
            Err(panic) => panic,
        };
        self.crashed.set(true);
        let crash = Crash { time: self.now, host: self.host, why: message(panic.as_ref()) };
        self.crashes.lock().all.push(crash);
        None
    }
}

impl Machine for Contained {
    fn handle_input(&mut self, input: Input, now: Time) {
        self.ward.now = now;
        self.ward.call(|| self.machine.handle_input(input, now));
    }

    fn handle_timeout(&mut self, now: Time) {
        self.ward.now = now;
        self.ward.call(|| self.machine.handle_timeout(now));
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.ward.call(|| self.machine.poll_output()).flatten()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.ward.call(|| self.machine.poll_timeout()).flatten()
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}
