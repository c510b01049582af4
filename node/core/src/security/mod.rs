//! Floor 1: the filter between abstract senders and receivers.
//!
//! To an engine a UDP path, a relayed path, a path carried by another overlay and an end-to-end path through the
//! ring look alike: datagrams in, datagrams out, over a *channel* that is only a number. An engine demultiplexes all
//! its peers by itself, may turn one send into any number of datagrams, and keeps its own timers. It owns no
//! transport address, no socket and no clock, and knows nothing of rings.
//!
//! An engine proves that the peer holds the key of what it claims; whether the claim is good is for a trust rule.
//! `door` admits strangers without keeping state, `filter` runs handshakes and records, and a [`Handshaker`] fills in
//! what the flights say.

mod announcement;
mod certificate;
mod cookie;
mod door;
mod dtls;
mod entries;
mod filter;
mod modelled;
mod plain;
mod quic;
mod record;
mod revocation;
mod suite;
mod trust;
mod wrap;

use std::fmt;
use std::time::Duration;

pub use announcement::{Course, Envelope, Once, holds_receipt, sign_receipt};
pub use certificate::{
    ADDRESS as ADDRESS_NAME, Credentials, GROUP as GROUP_NAME, USER as USER_NAME, Unusable, address_of,
    derived_key,
};
pub use cookie::CookieJar;
pub use dtls::Dtls;
pub use entries::{ENTRY_LEN, Entries, Entry, SHARDS};
pub use filter::{
    Filter, HALF_OPEN_KNOWN_MAX, HALF_OPEN_MAX, Handshake, Handshaker, Limits, Outcome, Protection, Reply,
    Setting, Side, Start, Step,
};
pub use modelled::Modelled;
pub use plain::Plain;
pub use quic::{Quic, QuicEngine, QuicOptions, QuicTls};
pub use record::{Keys, WINDOW};
pub use revocation::{
    Epoch, Known, LIST_MAX, Mark, NOTICE_MAX, Notice, SALT_LEN, SERIALS_MAX, Salt, SignedList, UserList,
    digest as list_digest, sign_list,
};
pub use suite::{Around, Security};
pub use trust::{Authority, Identity, Listed, Refusal, Serial, Trust, Wall, is_name};
pub use wrap::GroupSecret;

use crate::buffer::Buffer;
use crate::counters::DropReason;
use crate::machine::Deadline;
use crate::time::Time;
use crate::wire::{Address, DATAGRAM_MAX, LONG_LEN};

/// One pair of an abstract sender and an abstract receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u32);

/// What the initiator of an association knows beforehand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Intent {
    /// The member that must answer; anyone if it is not known.
    pub target: Option<Address>,
    /// The token from the peer's `ConnectToMe`, which counts as its cookie.
    pub token: Option<u64>,
}

/// What a peer says that it is. An engine with cryptography has seen proof that the peer holds the key of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A bare address, which nothing supports.
    Address(Address),
    /// A certificate in DER, whose private key the peer holds.
    Certificate(Vec<u8>),
}

/// A first datagram from a sender that is not known, with what its cookie is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Knock<'a> {
    /// The bytes that stand for the sender: a transport address (PtP) or a node address (EtE).
    pub source: &'a [u8],
    /// The handshake datagram.
    pub datagram: &'a [u8],
}

/// The verdict on a [`Knock`]; reaching it keeps no state.
#[derive(Debug)]
pub enum Admission {
    /// The sender holds a valid cookie or token: make a channel and call [`Engine::accept`].
    Accept,
    /// Send this back, and forget.
    Answer(Buffer),
    /// Not for us, or not well-formed.
    Drop(DropReason),
}

/// Why an association ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// The peer did not answer the handshake.
    Silent,
    /// The handshake cannot be completed.
    Failed,
    /// The keys are used up, and no new ones could be agreed on.
    Exhausted,
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "no answer",
            Self::Failed => "the handshake failed",
            Self::Exhausted => "the keys are used up",
        })
    }
}

/// What an engine wants done.
#[derive(Debug)]
pub enum Action {
    /// Send a handshake datagram.
    Handshake(ChannelId, Buffer),
    /// Send a sealed record.
    Record(ChannelId, Buffer),
    /// The association stands, with somebody at the other end who claims this.
    Up(ChannelId, Claim),
    /// The association has new keys, and the peer now claims this.
    Renewed(ChannelId, Claim),
    /// An opened payload arrived.
    Opened(ChannelId, Buffer),
    /// The association ended; the channel is forgotten.
    Down(ChannelId, Down),
    /// Something that arrived was dropped.
    Dropped(DropReason),
}

/// Why a payload was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The handshake is not complete.
    #[error("the association is not up")]
    NotUp,
    /// The keys have sealed all that they may.
    #[error("the keys are used up")]
    Exhausted,
    /// It is longer than [`Engine::payload_max`].
    #[error("the payload is too long")]
    TooBig,
}

/// A security engine at the end of all channels of one overlay.
pub trait Engine: fmt::Debug + Send {
    /// Begins an association over a channel.
    fn connect(&mut self, channel: ChannelId, intent: Intent, now: Time);

    /// Judges a first datagram without keeping state. `token_known` tells whether a token was handed out.
    fn admit(&mut self, knock: Knock<'_>, token_known: &dyn Fn(u64) -> bool, now: Time) -> Admission;

    /// Begins an association from an admitted first datagram.
    fn accept(&mut self, channel: ChannelId, datagram: &[u8], now: Time);

    /// Takes a further handshake datagram.
    fn handshake(&mut self, channel: ChannelId, datagram: &[u8], now: Time);

    /// Takes a record.
    fn record(&mut self, channel: ChannelId, record: Buffer, now: Time);

    /// Seals and sends a payload of at least one byte.
    ///
    /// # Errors
    /// The association is not up, its keys are used up, or the payload is too long.
    fn send(&mut self, channel: ChannelId, payload: Buffer, now: Time) -> Result<(), SendError>;

    /// Agrees on new keys now, for example because a membership that was shown is about to end.
    fn renew(&mut self, channel: ChannelId, now: Time);

    /// Shows these credentials in the handshakes to come, renewals included.
    ///
    /// # Errors
    /// They cannot be used; what was shown before stays.
    fn present(&mut self, credentials: &Credentials) -> Result<(), Unusable>;

    /// What the member's exchanges usually take there and back: no first wait for an answer is much shorter. Engines that measure
    /// each channel by themselves need not listen.
    fn set_round_trip(&mut self, _usual: Duration) {}

    /// Forgets a channel without a word.
    fn forget(&mut self, channel: ChannelId);

    /// Runs the timers that are due.
    fn handle_timeout(&mut self, now: Time);

    /// The next thing to do. Drain it to `None` after every other call.
    fn poll(&mut self) -> Option<Action>;

    /// When `handle_timeout` is wanted next.
    fn poll_timeout(&self) -> Option<Deadline>;

    /// Bytes that sealing adds to a payload at most.
    fn overhead(&self) -> usize;

    /// Bytes of a payload at most, so that its record fits into a datagram with either header.
    fn payload_max(&self) -> usize {
        DATAGRAM_MAX - LONG_LEN - self.overhead()
    }
}
