//! What whoever uses the DHT says to it and hears from it.

use std::time::Duration;

use crate::machine::RequestId;
use crate::wire::{Address, Content, Denial, DhtRequest, Item, Key, Mark, Upkeep};

/// The shortest lease; a shorter one is made this long.
pub const LEASE_MIN: Duration = Duration::from_secs(1);

/// Who wants something of the DHT, and so where the outcome goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A command; the outcome is its reply.
    User(RequestId),
    /// Another part of the node, which chose the number; the outcome waits in a queue.
    Node(u64),
    /// Another part of the same overlay, likewise; its queue is another one.
    Overlay(u64),
}

/// A value to be put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Under which key; an owned one must be our own.
    pub key: Key,
    /// The value, of at most [`crate::wire::VALUE_MAX`] bytes, or [`crate::wire::OWNED_VALUE_MAX`] under an owned key.
    pub value: Vec<u8>,
    /// For how long ([`LEASE_MIN`] to [`super::LEASE_MAX`]; the outcome says what was granted).
    pub lease: Duration,
}

/// How a value is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Beside others, or under an owned key in place of the last one.
    Append,
    /// Alone: only if there is nothing.
    Create,
}

/// A value that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The value.
    pub value: Vec<u8>,
    /// What is left of its lease.
    pub lease: Duration,
    /// Who created it, if it is alone under its key.
    pub creator: Option<Address>,
    /// Its sequence number, if it is its owner's.
    pub sequence: Option<u64>,
}

impl From<Item> for Found {
    fn from(item: Item) -> Self {
        let lease = Duration::from_millis(u64::from(item.lease));
        let (value, creator, sequence) = match item.content {
            Content::Plain { value } => (value, None, None),
            Content::Created { value, creator } => (value, Some(creator), None),
            Content::Owned { value, proof } => (value, None, Some(proof.sequence)),
        };
        Self { value, lease, creator, sequence }
    }
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Most points hold the value for this long at least.
    Stored {
        /// The shortest lease that was granted.
        lease: Duration,
    },
    /// Something else is under the key.
    Exists,
    /// What is under the key.
    Page {
        /// The values that are certain.
        values: Vec<Found>,
        /// Ask again behind this one for more; there is none if nothing stands here.
        next: Option<Mark>,
        /// Whether the points agreed; if not, there may be values that are not named.
        complete: bool,
    },
    /// It could not be carried out, or nobody can tell whether it was.
    Failed(Failure),
}

/// What a part of the node hears of an operation that it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The values that one point names: it may lie, lag or lack, and more is to come. Whoever can tell by the values themselves
    /// whether they are genuine need not wait for it.
    Glimpse(Vec<Vec<u8>>),
    /// It is over.
    Over(Outcome),
}

/// Why an operation came to nothing. Of several reasons the last one here is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Failure {
    /// Too few points answered in time.
    #[error("too few members answered in time")]
    NoAnswer,
    /// Others try to create the same key.
    #[error("others are creating the same key")]
    Contended,
    /// The holders, or our share of them, are full.
    #[error("the members that would hold it are full, or our share of them is")]
    Full,
    /// The holders find the value wrong.
    #[error("the members that would hold it refuse it")]
    Invalid,
    /// A value with a higher sequence number is there.
    #[error("a newer value is there")]
    Outdated,
    /// Something is under the key.
    #[error("something is under the key")]
    Exists,
    /// The value is too long.
    #[error("the value is too long")]
    TooLong,
    /// The key is another owner's, or this member has no key to sign with.
    #[error("the key is not this node's own")]
    NotOwner,
    /// Too many operations are under way, or too many values are kept.
    #[error("too many operations are under way")]
    Busy,
}

impl From<Denial> for Failure {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Exists => Self::Exists,
            Denial::Contended => Self::Contended,
            Denial::Full => Self::Full,
            Denial::Outdated(_) => Self::Outdated,
            Denial::Invalid => Self::Invalid,
            Denial::Unclaimed | Denial::Unsure => Self::NoAnswer,
        }
    }
}

/// What the service wants done.
#[derive(Debug)]
pub enum Wanted {
    /// Send a request to the member nearest to a point, which may be we.
    Ask(Address, DhtRequest),
    /// Tell a neighbour.
    Tell(Address, Upkeep),
    /// Tell a local user.
    Reply(RequestId, Outcome),
}
