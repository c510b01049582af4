//! The one trait between the protocol and the world, and what passes through it.
//!
//! Laws, which [`Checked`] asserts in tests and simulations:
//! 1. drain [`Machine::poll_output`] to `None` after every `handle_*`;
//! 2. `now` never falls;
//! 3. an early [`Machine::handle_timeout`] changes nothing;
//! 4. after `handle_timeout(now)` and a drain, the deadline is later than `now`;
//! 5. same seed and inputs, same outputs;
//! 6. no bytes make it panic.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use openssl::pkey::{PKey, Private};

use crate::buffer::Buffer;
use crate::control::{Author, Command, Event, Reply};
use crate::time::Time;
use crate::wire::{Address, Epoch, Transport};

/// A protocol state machine that owns no socket, clock, task or thread.
pub trait Machine {
    /// Takes one input. Bad bytes are counted and dropped, never returned as an error.
    fn handle_input(&mut self, input: Input, now: Time);

    /// Runs every timer that is due at `now`. An early call changes nothing.
    fn handle_timeout(&mut self, now: Time);

    /// Returns the next thing to carry out. Drain it to `None` after every `handle_*`.
    fn poll_output(&mut self) -> Option<Output>;

    /// When `handle_timeout` is wanted next, and what for.
    fn poll_timeout(&self) -> Option<Deadline>;
}

/// Names one command, so that its reply can be told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What the world tells a machine.
#[derive(Debug)]
pub enum Input {
    /// A UDP payload arrived, or a datagram in a TCP connection.
    Datagram {
        /// Who sent it, as the socket saw it.
        from: Transport,
        /// Its bytes; the machine may keep, rewrite and send the buffer on.
        payload: Buffer,
    },
    /// Over UDP: the network refused a datagram to this address (ICMP unreachable); a hint, not a proof. Over TCP: the
    /// connection could not be opened, or is no more.
    Unreachable {
        /// The transport address that was refused.
        to: Transport,
    },
    /// The local control interface, a test or an experiment asks for something.
    Command {
        /// Returned with the reply.
        id: RequestId,
        /// What is asked.
        command: Command,
    },
    /// An application sends a payload to a member, end to end. It may be lost; [`crate::control::EventKind::NotSent`]
    /// tells of what never left.
    Send {
        /// The overlay's place in the configuration.
        overlay: u8,
        /// The member.
        to: Address,
        /// What only that member shall read.
        payload: Buffer,
    },
    /// A program that secures itself sends a datagram to a member. It may be lost, and whoever carries it reads it.
    Carry {
        /// The overlay's place in the configuration.
        overlay: u8,
        /// The member.
        to: Address,
        /// At most [`crate::wire::CARRIED_MAX`] bytes; [`crate::control::EventKind::NotSent`] tells of a longer one.
        payload: Buffer,
    },
    /// An application says something to all members of an overlay that takes broadcasts, or to those in a range.
    Broadcast {
        /// The overlay's place in the configuration.
        overlay: u8,
        /// The first address and the first beyond, clockwise; everybody if it is not there.
        range: Option<(Address, Address)>,
        /// At most [`crate::wire::BROADCAST_MAX`] bytes. Every member on the way reads them.
        payload: Vec<u8>,
    },
    /// The host's own transport addresses, as its interfaces have them.
    LocalAddresses(Vec<SocketAddr>),
    /// What the wall clock says at `now`; told whenever it may have been set.
    WallClock {
        /// Seconds since 1970 (UTC).
        unix_seconds: u64,
    },
    /// The bootstraps of an overlay are these from now on, as when their names were looked up.
    Bootstraps {
        /// Name of the overlay; an unknown one is ignored.
        overlay: String,
        /// Their transport addresses.
        bootstraps: Vec<SocketAddr>,
    },
    /// The authority of an overlay's group revoked these. A list that it did not sign, or an older one, changes nothing.
    Revocations {
        /// The overlay's place in the configuration.
        overlay: u8,
        /// The revocation list, in DER.
        list: Vec<u8>,
    },
    /// The same authority's list of revoked users, or one that the member kept. One that it did not sign, or an older one,
    /// changes nothing.
    UserList {
        /// The overlay's place in the configuration.
        overlay: u8,
        /// In one piece with its signature ([`crate::security::SignedList::join`]).
        list: Vec<u8>,
    },
    /// A notice of the same authority, or one that the member kept. One that it did not sign changes nothing.
    Notice {
        /// The overlay's place in the configuration.
        overlay: u8,
        /// As the authority signed it.
        notice: Vec<u8>,
    },
    /// The salt that the group has since a notice, from whoever keeps its authority. One that has not the notice's mark
    /// changes nothing; one that comes before the notice waits for it.
    Epoch {
        /// The overlay's place in the configuration.
        overlay: u8,
        /// It with the notice's number.
        epoch: Epoch,
    },
    /// The site of a group has members of the group told that somebody was revoked, through the node's first overlay. The reply
    /// comes when it is over ([`crate::control::Reply::Announced`]).
    Announce {
        /// Returned with the reply.
        id: RequestId,
        /// What to tell whom.
        telling: Box<Telling>,
    },
    /// The member has a new certificate. One that its own trust rule refuses, or for another address, changes nothing.
    Credentials {
        /// The overlay's place in the configuration.
        overlay: u8,
        /// The certificate, in DER.
        certificate: Vec<u8>,
        /// Its private key.
        key: PKey<Private>,
    },
}

/// What a machine wants done.
#[derive(Debug)]
pub enum Output {
    /// Send a UDP payload, or a datagram in a TCP connection, which is opened if there is none.
    Transmit {
        /// Destination.
        to: Transport,
        /// Bytes to send.
        payload: Buffer,
    },
    /// Give an application what a member sent to it, end to end.
    Received {
        /// The overlay's place in the configuration.
        overlay: u8,
        /// Who sent it, proved.
        author: Arc<Author>,
        /// What it sent.
        payload: Buffer,
    },
    /// Give a program that secures itself a datagram which came over the ring.
    Carried {
        /// The overlay's place in the configuration.
        overlay: u8,
        /// Who sent it, as the packet says; nothing proves it.
        from: Address,
        /// The datagram.
        payload: Buffer,
    },
    /// Give an application what a member said to all.
    Broadcast {
        /// The overlay's place in the configuration.
        overlay: u8,
        /// Who said it, as the message says; the payload has to prove it.
        origin: Address,
        /// What it said.
        payload: Buffer,
    },
    /// Keep what the authority of an overlay's group said, so that the member knows it after a restart
    /// ([`Input::Notice`], [`Input::UserList`], [`crate::config::DiscoveryConfig::salted`]).
    Keep {
        /// The overlay's place in the configuration.
        overlay: u8,
        /// What.
        evidence: Evidence,
    },
    /// Somebody was revoked in the group of an overlay: fetch the salt that it has since, and hand it in ([`Input::Epoch`]).
    /// Peers that get it first tell it.
    SaltWanted {
        /// The overlay's place in the configuration.
        overlay: u8,
        /// The number of the notice.
        number: u64,
    },
    /// Answer a command.
    Reply {
        /// The command's id.
        id: RequestId,
        /// The answer.
        reply: Reply,
    },
    /// Something that a user or an experiment may want to know.
    Event(Event),
}

/// What a group's site has the group's members told.
#[derive(Clone)]
pub struct Telling {
    /// The group.
    pub group: String,
    /// Its secret.
    pub secret: [u8; 32],
    /// Its authority's certificate, in DER.
    pub authority: Vec<u8>,
    /// The authority's list in one piece with its signature, so that receipts of the revoked do not count.
    pub list: Option<Vec<u8>>,
    /// Notices as the authority signed them (1 to [`crate::wire::ANNOUNCED_MAX`], of at most
    /// [`crate::wire::ANNOUNCED_BYTES`] bytes together).
    pub notices: Vec<Vec<u8>>,
    /// The salts that members may be found by, the last first; none stands for the time before the first one.
    pub epochs: Vec<Option<Epoch>>,
    /// Addresses of nodes that the authority gave certificates to: they are told first.
    pub members: BTreeSet<Address>,
    /// Of nodes that are revoked: they are not told.
    pub revoked: BTreeSet<Address>,
}

/// It holds secrets.
impl fmt::Debug for Telling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Telling({})", self.group)
    }
}

/// What the authority of a group said about revocations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// One revocation.
    Notice(Vec<u8>),
    /// All of them up to then, in one piece with the signature; it stands for all notices before it.
    List(Arc<[u8]>),
    /// The salt since the last notice: a secret.
    Epoch(Epoch),
}

/// When a machine wants to be woken, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// The time to call `handle_timeout` at.
    pub at: Time,
    /// Why, for logs and the stall watch.
    pub reason: &'static str,
}

impl Deadline {
    /// The earlier of two deadlines that may be absent.
    #[must_use]
    pub fn earlier(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(a), Some(b)) => Some(if b.at < a.at { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}

/// Asserts the laws of [`Machine`] around another machine.
#[derive(Debug)]
pub struct Checked<M> {
    inner: M,
    now: Time,
    drained: bool,
    after_timeout: bool,
}

impl<M: Machine> Checked<M> {
    /// Wraps a machine.
    pub fn new(inner: M) -> Self {
        Self { inner, now: Time::ZERO, drained: true, after_timeout: false }
    }

    /// The machine inside.
    pub fn get(&self) -> &M {
        &self.inner
    }

    fn enter(&mut self, now: Time, after_timeout: bool) {
        assert!(self.drained, "law 1: outputs were not drained");
        assert!(now >= self.now, "law 2: now fell from {} to {now}", self.now);
        self.now = now;
        self.drained = false;
        self.after_timeout = after_timeout;
    }
}

impl<M: Machine> Machine for Checked<M> {
    fn handle_input(&mut self, input: Input, now: Time) {
        self.enter(now, false);
        self.inner.handle_input(input, now);
    }

    fn handle_timeout(&mut self, now: Time) {
        let early = self.inner.poll_timeout().is_none_or(|deadline| deadline.at > now);
        self.enter(now, !early);
        let before = self.inner.poll_timeout();
        self.inner.handle_timeout(now);
        if early {
            assert_eq!(before, self.inner.poll_timeout(), "law 3: an early timeout moved the deadline");
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        let output = self.inner.poll_output();
        if output.is_none() {
            self.drained = true;
            if self.after_timeout {
                let next = self.inner.poll_timeout();
                assert!(
                    next.is_none_or(|deadline| deadline.at > self.now),
                    "law 4: {next:?} is not later than {}",
                    self.now
                );
            }
        }
        output
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.inner.poll_timeout()
    }
}
