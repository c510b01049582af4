//! What machines handed to their applications, kept until somebody takes it.

use std::collections::VecDeque;
use std::sync::Arc;

use atoll_core::control::Author;
use atoll_core::wire::Address;
use atoll_core::{Evidence, Time};
use atoll_topology::HostId;

/// Payloads that are kept; beyond, the oldest is forgotten.
pub const RECEIVED_MAX: usize = 65_536;

/// A payload that a member sent to another, end to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// When it arrived.
    pub time: Time,
    /// Where.
    pub host: HostId,
    /// The overlay's place in the receiver's configuration.
    pub overlay: u8,
    /// Who sent it, as the receiver's trust rule proved it.
    pub author: Arc<Author>,
    /// What was sent.
    pub payload: Vec<u8>,
}

/// A datagram of a program that secures itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// When it arrived.
    pub time: Time,
    /// Where.
    pub host: HostId,
    /// The overlay's place in the receiver's configuration.
    pub overlay: u8,
    /// Who sent it, as the packet says.
    pub from: Address,
    /// The datagram.
    pub payload: Vec<u8>,
}

/// What a member said to all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When it arrived.
    pub time: Time,
    /// Where.
    pub host: HostId,
    /// The overlay's place in the receiver's configuration.
    pub overlay: u8,
    /// Who said it, as the message says.
    pub origin: Address,
    /// What was said.
    pub payload: Vec<u8>,
}

/// What a member wants to know after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// When it said so.
    pub time: Time,
    /// Where.
    pub host: HostId,
    /// The overlay's place in its configuration.
    pub overlay: u8,
    /// What.
    pub evidence: Evidence,
}

#[derive(Debug)]
pub(crate) struct Shelf<T>(VecDeque<T>);

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Shelf<T> {
    pub(crate) fn put(&mut self, one: T) {
        if self.0.len() == RECEIVED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(one);
    }

    pub(crate) fn take(&mut self) -> Vec<T> {
        self.0.drain(..).collect()
    }
}
