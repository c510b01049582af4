//! What a kind of handshake must be able to do for the filter.

use std::fmt;

use super::{Claim, Credentials, Down, Unusable};
use crate::counters::DropReason;
use crate::security::record::Keys;

/// Which end of a handshake we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It began here.
    Initiator,
    /// It began at the peer.
    Responder,
}

impl Side {
    /// The peer's side.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }
}

/// How a handshake begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Which end we are.
    pub side: Side,
    /// 0 for the first handshake of an association, one more for each later one, modulo 256.
    pub generation: u8,
}

/// What a handshake has to say, and what it threw away.
#[derive(Debug, Default)]
pub struct Reply {
    /// The datagrams of the next flight; none if there is nothing new to say.
    pub flight: Vec<Vec<u8>>,
    /// Why something in the peer's datagram was dropped.
    pub dropped: Option<DropReason>,
}

/// How far a handshake has come.
#[derive(Debug)]
pub enum Step {
    /// More is to come from the peer.
    Waiting,
    /// Complete.
    Done(Outcome),
    /// It cannot be completed.
    Failed(Down),
}

/// What a complete handshake yields.
#[derive(Debug)]
pub struct Outcome {
    /// What the peer claims.
    pub claim: Claim,
    /// How records are protected from now on.
    pub protection: Protection,
}

/// How records are protected.
#[derive(Debug)]
pub enum Protection {
    /// Not at all: a record is its payload.
    Open,
    /// As with keys, but without cryptography.
    Modelled {
        /// Bytes that a record has more than with keys.
        padding: usize,
        /// Whether this end says an empty record at once.
        greets: bool,
    },
    /// With these keys.
    Sealed(Keys),
}

/// Makes handshakes of one kind.
pub trait Handshaker: fmt::Debug + Send {
    /// One of them.
    type Handshake: Handshake;

    /// Bytes that sealing adds to a payload.
    fn overhead(&self) -> usize;

    /// Begins a handshake. The initiator says its first flight, which is one datagram unless [`Handshake::is_bulky`].
    ///
    /// # Errors
    /// It cannot begin.
    fn begin(&mut self, start: Start, reply: &mut Reply) -> Result<Self::Handshake, Down>;

    /// Shows these credentials from now on; a kind of handshake that shows none ignores them.
    ///
    /// # Errors
    /// They cannot be used.
    fn present(&mut self, credentials: &Credentials) -> Result<(), Unusable> {
        let _ = credentials;
        Ok(())
    }
}

/// One handshake. It keeps no timer: the filter sends a flight again until the next one comes.
pub trait Handshake: fmt::Debug + Send {
    /// Takes a datagram of the peer's.
    fn advance(&mut self, datagram: &[u8], reply: &mut Reply) -> Step;

    /// Whether the first flight has several datagrams, too many for a hello without proof: that one carries nothing.
    fn is_bulky(&self) -> bool {
        false
    }

    /// Gives the parts of a datagram that is sent (again) numbers that were never used, counted by `next`.
    fn renumber(datagram: &mut [u8], next: &mut u64) {
        let _ = (datagram, next);
    }
}
