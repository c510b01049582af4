//! A host's place in the world: its machine, its socket's address, its counters.

use std::net::SocketAddr;

use atoll_core::{Checked, Deadline, Input, Machine, Output, Time};

use crate::counters::Traffic;
use crate::stall::Spins;

/// A machine in a box; a wrapper because the trait is another crate's.
#[derive(Debug)]
struct Boxed<M: ?Sized>(Box<M>);

impl<M: Machine + ?Sized> Machine for Boxed<M> {
    fn handle_input(&mut self, input: Input, now: Time) {
        self.0.handle_input(input, now);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.0.handle_timeout(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.0.poll_output()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.0.poll_timeout()
    }
}

/// Puts the assertions of the machine trait's laws around a machine.
pub(crate) fn checked(machine: Box<dyn Machine + Send>) -> Box<dyn Machine + Send> {
    Box::new(Checked::new(Boxed(machine)))
}

/// One host.
pub(crate) struct Seat {
    /// What runs there, if anything does.
    pub(crate) machine: Option<Box<dyn Machine + Send>>,
    /// The socket's own address.
    pub(crate) socket: SocketAddr,
    /// When it is gone for good, once it was told to leave.
    pub(crate) leaving: Option<Time>,
    /// How often a machine started there.
    pub(crate) starts: u32,
    /// Seconds by which its wall clock is off.
    pub(crate) clock_off: i64,
    pub(crate) traffic: Traffic,
    pub(crate) spins: Spins,
}

impl Seat {
    /// An empty place.
    pub(crate) fn new(socket: SocketAddr) -> Self {
        Self {
            machine: None,
            socket,
            leaving: None,
            starts: 0,
            clock_off: 0,
            traffic: Traffic::default(),
            spins: Spins::default(),
        }
    }

    /// The machine's deadline, or the end of its grace.
    pub(crate) fn deadline(&self) -> Option<Deadline> {
        let machine = self.machine.as_ref()?;
        let gone = self.leaving.map(|at| Deadline { at, reason: "end of the grace" });
        Deadline::earlier(gone, machine.poll_timeout())
    }
}
